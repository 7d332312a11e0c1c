//! Packets become frames of the loudspeaker: what is not the peer's, or no packet at all, is counted and goes no further.

use super::{Call, Stream};
use crate::media::codec::{Decoder, Encoder};
use crate::media::command::PacketKind;
use crate::media::playout::Arrival;
use crate::media::redundancy;
use crate::rtp::event::NamedEvent;
use crate::rtp::packet::{Malformed, Packet, is_rtcp};
use crate::rtp::receiver::{SourceIs, Verdict};
use crate::srtp::Rejected;
use crate::time::Time;
use std::net::SocketAddr;

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
        let event = call.params.telephone_event.filter(|event| sound.is_none() && event.has(header.payload_type));
        let strange = self.parted.knows(header.ssrc) && !call.peer.is_negotiated(from);
        // Our own SSRC is a packet of ours that somebody sent back.
        let ours = header.ssrc == call.sender.ssrc();
        if !(sound.is_some() || event.is_some()) || ours || strange || !call.peer.admits(now, from, &header) {
            return self.on_invalid(PacketKind::Rtp);
        }
        let verdict = match event {
            None => call.receiver.handle(now, &header),
            Some(event) => call.receiver.handle_event(now, &header, event.clock_rate),
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
        let arrival = match sound {
            Some(sound) => self.playout.insert(now, seq, timestamp, header.marker, &sound),
            None => match call.hear(&packet) {
                // Heard however late it comes: a digit is not played.
                Ok(()) => self.playout.insert_event(now, seq, timestamp),
                Err(Malformed) => Arrival::Invalid,
            },
        };
        call.extended.on_packet(seq, arrival);
        match arrival {
            Arrival::Invalid => self.on_invalid(PacketKind::Rtp),
            Arrival::Kept | Arrival::Late | Arrival::Duplicate => {
                call.counters.packets_received += 1;
                call.counters.bytes_received += packet.payload.len() as u64;
                self.liveness.on_received(now);
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
    /// A packet of the peer's telephone events.
    fn hear(&mut self, packet: &Packet<'_>) -> Result<(), Malformed> {
        let event = NamedEvent::parse(packet.payload)?;
        if let Some(digit) = self.ear.hear(packet.header.timestamp, packet.header.marker, event) {
            let _ = self.digits.push_back(digit);
        }
        Ok(())
    }
}
