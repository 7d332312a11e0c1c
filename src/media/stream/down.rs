//! Packets become frames of the loudspeaker: what is not the peer's, or no packet at all, is counted and goes no further.

use super::{Call, Stream};
use crate::media::codec::{Decoder, Encoder};
use crate::media::command::PacketKind;
use crate::media::playout::Arrival;
use crate::media::redundancy;
use crate::rtp::event::NamedEvent;
use crate::rtp::packet::{Header, Malformed, Packet, is_rtcp};
use crate::rtp::receiver::{SourceIs, Verdict};
use crate::rtp::red::Redundant;
use crate::srtp::Rejected;
use crate::time::Time;
use std::net::SocketAddr;

/// RFC 3389 4: a number that is the same in every call, and the clock that goes with it, which is not that of Opus.
const COMFORT_NOISE: u8 = 13;
const COMFORT_NOISE_CLOCK: u32 = 8_000;

/// What is in a packet.
enum Content<'a> {
    Sound(Redundant<'a>),
    Event {
        clock_rate: u32,
    },
    /// Some send it in their pauses though nobody asked. It is not played, but it is no packet lost.
    ComfortNoise,
}

impl<E: Encoder, D: Decoder> Stream<E, D> {
    /// Fills `samples` with what the loudspeaker shall play next (mono, 48 kHz, any number).
    pub fn playback(&mut self, now: Time, samples: &mut [i16]) {
        self.play_far_end(now, samples);
        self.tones.mix(samples);
        self.playback_volume.apply(samples);
    }

    /// Time passes in which nobody can hear anything, because there is no card: as much as `samples` take. What arrives
    /// is counted and not decoded.
    pub fn play_unheard(&mut self, samples: &mut [i16]) {
        samples.fill(0);
        self.playout.pause();
        self.playback_level.measure(samples);
        self.tones.mix(samples);
    }

    fn play_far_end(&mut self, now: Time, samples: &mut [i16]) {
        if self.call.is_none() {
            samples.fill(0);
            return;
        }
        let before = self.playout.counters().decoded_samples;
        self.playout.play(now, samples);
        self.turn.on_far_end(now, self.playback_level.measure(samples));
        if self.playout.counters().decoded_samples > before {
            self.liveness.on_decoded(now);
        }
    }

    pub fn handle_rtp(&mut self, now: Time, from: SocketAddr, packet: &[u8]) {
        let Some(call) = &mut self.call else {
            return;
        };
        if call.params.rtcp_mux && is_rtcp(packet) {
            return self.handle_rtcp(now, from, packet);
        }
        // Opened on hold, too: the roll-over counter has to follow.
        let packet = match call.peer.open_rtp(packet, &mut self.opened[..]) {
            Ok(packet) => packet,
            Err(rejected) => return self.on_rejected(PacketKind::Rtp, rejected),
        };
        if !call.params.receive {
            return;
        }
        let Ok(packet) = Packet::parse(packet) else {
            return self.on_invalid(PacketKind::Rtp);
        };
        let header = packet.header;
        let Ok(sound) = redundancy::sound(&call.params, &packet) else {
            return self.on_invalid(PacketKind::Rtp);
        };
        let content = sound.map(Content::Sound).or_else(|| call.content(&header));
        let strange = self.parted.knows(header.ssrc) && !call.peer.is_negotiated(from);
        // Our own SSRC is a packet of ours that somebody sent back.
        let ours = header.ssrc == call.sender.ssrc();
        let admitted = content.filter(|_| !ours && !strange && call.peer.admits(now, from, &header));
        let Some(content) = admitted else {
            return self.on_invalid(PacketKind::Rtp);
        };
        let verdict = match content {
            Content::Sound(_) => call.receiver.handle(now, &header),
            Content::Event { clock_rate } => call.receiver.handle_event(now, &header, clock_rate),
            Content::ComfortNoise => call.receiver.handle_event(now, &header, COMFORT_NOISE_CLOCK),
        };
        let Verdict::Accepted { seq, timestamp, source } = verdict else {
            return;
        };
        match source {
            SourceIs::New => {
                self.playout.restart();
                call.ear.restart();
                call.extended.restart();
            }
            SourceIs::Known => {}
        }
        let is_soundless = !matches!(content, Content::Sound(_));
        let arrival = match content {
            Content::Sound(sound) => self.playout.insert(now, seq, timestamp, header.marker, &sound),
            Content::Event { .. } => match call.hear(&packet) {
                // Heard however late it comes: a digit is not played.
                Ok(()) => self.playout.insert_event(now, seq, timestamp),
                Err(Malformed) => Arrival::Invalid,
            },
            Content::ComfortNoise => self.playout.insert_event(now, seq, timestamp),
        };
        call.extended.on_packet(seq, arrival);
        match arrival {
            Arrival::Invalid => self.on_invalid(PacketKind::Rtp),
            Arrival::Kept | Arrival::Late | Arrival::Duplicate => {
                call.counters.packets_received += 1;
                call.counters.bytes_received += packet.payload.len() as u64;
                self.liveness.on_received(now);
                if is_soundless {
                    self.liveness.on_soundless(now);
                }
            }
        }
    }

    pub(super) fn on_rejected(&mut self, kind: PacketKind, rejected: Rejected) {
        let Some(call) = &mut self.call else { return };
        match rejected {
            // The network doubles packets as well: that is nobody's fault.
            Rejected::Replayed => call.counters.replayed += 1,
            Rejected::Forged => {
                call.counters.forged += 1;
                self.on_invalid(kind);
            }
            Rejected::Malformed | Rejected::TooManySources => self.on_invalid(kind),
        }
    }

    pub(super) fn on_invalid(&mut self, kind: PacketKind) {
        let Some(call) = &mut self.call else { return };
        let total = match kind {
            PacketKind::Rtp => &mut call.counters.invalid_rtp,
            PacketKind::Rtcp => &mut call.counters.invalid_rtcp,
        };
        *total += 1;
        if 10_u64.checked_pow(total.ilog10()) == Some(*total) {
            self.liveness.on_invalid(kind, (*total - *total / 10).max(1));
        }
    }
}

impl Call {
    /// What a packet is that is no sound; `None`: nothing that was agreed upon.
    fn content(&self, header: &Header) -> Option<Content<'static>> {
        match self.params.telephone_event {
            Some(event) if event.has(header.payload_type) => Some(Content::Event { clock_rate: event.clock_rate }),
            Some(_) | None => {
                let goes_on = header.payload_type == COMFORT_NOISE && self.receiver.goes_on(header);
                goes_on.then_some(Content::ComfortNoise)
            }
        }
    }

    /// A packet of the peer's telephone events.
    fn hear(&mut self, packet: &Packet<'_>) -> Result<(), Malformed> {
        let event = NamedEvent::parse(packet.payload)?;
        if let Some(digit) = self.ear.hear(packet.header.timestamp, packet.header.marker, event) {
            let _ = self.digits.push_back(digit);
        }
        Ok(())
    }
}
