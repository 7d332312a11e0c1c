//! What is known of the call: told the peer and heard of it (RTCP, RFC 3550 section 6), and told whoever asks here.

use super::{Call, Stream, Wire, duration, overhead, samples_in};
use crate::media::budget::Kind;
use crate::media::codec::{Decoder, Encoder};
use crate::media::command::{Clocks, PacketKind, Stats};
use crate::media::extended::Listening;
use crate::media::liveness::Liveness;
use crate::media::quality;
use crate::rtp::packet::Malformed;
use crate::rtp::rtcp::{self, Farewell, Part, ReportBlock, SenderInfo};
use crate::rtp::xr::VoipMetrics;
use crate::srtp;
use crate::time::{Span, Time};
use std::net::SocketAddr;

/// A packet of 20 ms and libopus' look-ahead.
const CODEC_DELAY: Span = Span::from_micros(26_500);
const LOOK_AHEAD: Span = Span::from_micros(6_500);

impl<E: Encoder, D: Decoder> Stream<E, D> {
    pub fn handle_rtcp(&mut self, now: Time, from: SocketAddr, packet: &[u8]) {
        let Some(call) = &mut self.call else {
            return;
        };
        match call.peer.open_rtcp(packet, &mut self.opened[..]) {
            Ok(packet) if call.peer.admits_rtcp(from) => {
                let peers = self.playout.packet_time();
                if call.read_report(now, packet, peers, &mut self.liveness).is_err() {
                    self.on_invalid(PacketKind::Rtcp);
                }
                self.steer();
            }
            Ok(_) => self.on_invalid(PacketKind::Rtcp),
            Err(rejected) => self.on_rejected(PacketKind::Rtcp, rejected),
        }
    }

    /// One compound packet, if the cap leaves room for it: it always does, except for a BYE right after a report.
    pub(super) fn send_report(&mut self, now: Time, farewell: Farewell, wire: &mut impl Wire) {
        let metrics = self.call.as_ref().and_then(|call| self.metrics(now, call));
        let Some(call) = &mut self.call else {
            return;
        };
        let sender =
            (call.params.send && call.sender.packets() > 0).then(|| call.sender_info(now, self.microphone.waiting()));
        let block = call.report_block(now);
        let extended = call.extended.report(now, sender.is_some(), metrics);
        let mut packet = [0; rtcp::MAX_LEN + srtp::MAX_OVERHEAD];
        let place = packet.first_chunk_mut().expect("longer than MAX_LEN");
        let len = rtcp::write(place, call.sender.ssrc(), sender, block, &call.cname, &extended, farewell);
        let bits = (len as u32 + overhead(&call.params).of_rtcp()) * 8;
        if self.budget.allowed(now, Kind::Rtcp) < bits {
            return;
        }
        if call.peer.send_rtcp(&mut packet, len, wire) {
            self.budget.on_sent(now, bits, Kind::Rtcp);
        }
    }

    pub fn stats(&self, now: Time) -> Stats {
        let Some(call) = &self.call else {
            return Stats { muted: self.mute.is_on(), ..Stats::default() };
        };
        let played = self.playout.counters();
        let (tally, packet) = (call.extended.tally(), self.playout.packet_time());
        Stats {
            call: call.params.call,
            packets_sent: call.sender.packets(),
            bytes_sent: call.sender.payload_bytes(),
            packets_withheld: call.counters.withheld,
            packets_received: call.counters.packets_received,
            bytes_received: call.counters.bytes_received,
            packets_lost: call.receiver.lost(),
            packets_late: played.late,
            packets_duplicate: call.receiver.duplicates(),
            packets_invalid: call.counters.invalid_rtp + call.counters.invalid_rtcp + played.undecodable,
            packets_forged: call.counters.forged,
            packets_replayed: call.counters.replayed,
            frames_concealed: played.concealed_samples / 960,
            frames_fec: played.fec,
            frames_red: played.red,
            xruns: 0,
            kernel_drops: 0,
            stages: Default::default(),
            wire_bits_max_second: self.budget.busiest_second(),
            wire_bits_last_second: self.budget.last_second(now),
            jitter_us: call.receiver.jitter().as_micros() as u32,
            buffer_us: self.playout.delay(now).as_micros() as u32,
            round_trip_us: call.counters.round_trip.as_micros() as u32,
            peer_fraction_lost: call.counters.peer_fraction_lost,
            muted: self.mute.is_on(),
            capture_level: self.capture_level.dbfs_10(),
            playback_level: self.playback_level.dbfs_10(),
            clocks: self.clocks(),
            loss_burst: call.receiver.burst(),
            uplink: Some(call.choice),
            economy: self.governor.economy(),
            rating: self.concealed().map_or(0, |concealed| quality::rating(self.one_way(now, call), concealed)),
            burst_density: tally.burst_density(),
            gap_density: tally.gap_density(),
            burst_ms: tally.mean_burst(packet).as_millis() as u32,
            gap_ms: tally.mean_gap(packet).as_millis() as u32,
            heard: call.extended.heard(),
        }
    }

    fn clocks(&self) -> Clocks {
        let (network, playback) = self.playout.clocks();
        let short = |ppm: Option<f64>| ppm.map(|ppm| ppm as f32);
        Clocks { network: short(network), capture: short(self.microphone.clock().ppm()), playback: short(playback) }
    }

    /// From mouth to ear.
    fn one_way(&self, now: Time, call: &Call) -> Span {
        Span::from_micros(call.counters.round_trip.as_micros() / 2) + self.playout.delay(now) + CODEC_DELAY
    }

    /// The part of the sound that was invented; `None`: there was no sound.
    fn concealed(&self) -> Option<f32> {
        let played = self.playout.counters();
        let all = played.decoded_samples + played.concealed_samples;
        (all > 0).then(|| played.concealed_samples as f32 / all as f32)
    }

    /// How the peer is heard, if it is.
    fn metrics(&self, now: Time, call: &Call) -> Option<VoipMetrics> {
        let played = self.playout.counters();
        let rate = |one_way| self.concealed().map(|concealed| quality::rating(one_way, concealed));
        Some(call.extended.metrics(&Listening {
            ssrc: call.receiver.ssrc()?,
            packet: self.playout.packet_time(),
            recovered: (played.fec + played.red).saturating_sub(played.mended_late),
            outwaited: played.discarded,
            round_trip: call.counters.round_trip,
            end_system: duration(call.frame_samples) + LOOK_AHEAD + self.playout.delay(now),
            rating: rate(self.one_way(now, call)),
            listening: rate(Span::ZERO),
            buffer: self.playout.target(),
            buffer_most: self.settings.jitter.max,
        }))
    }
}

impl Call {
    /// `peers`: how long the peer's packets are.
    fn read_report(&mut self, now: Time, packet: &[u8], peers: Span, liveness: &mut Liveness) -> Result<(), Malformed> {
        let (ssrc, peer) = (self.sender.ssrc(), self.receiver.ssrc());
        rtcp::read(packet, |part| match part {
            Part::SenderReport { ssrc, ntp } => self.sender_report = Some((ssrc, ntp, now)),
            Part::Block(block) if block.ssrc == ssrc => {
                self.counters.peer_fraction_lost = block.fraction_lost;
                let trip = rtcp::round_trip(now, &block);
                self.counters.round_trip = trip.unwrap_or(self.counters.round_trip);
                let burst = self.extended.burst(self.receiver.burst(), peers);
                self.autopilot.on_report(now, block.fraction_lost, trip, burst);
                if let Some(times) = self.uplink.on_report(block.highest_seq, self.sender.packets()) {
                    liveness.on_unheard(times);
                }
            }
            Part::Block(_) => {}
            Part::Extended(block) => {
                let trip = self.extended.on_block(now, ssrc, self.choice.ptime, block);
                self.counters.round_trip = trip.unwrap_or(self.counters.round_trip);
            }
            // A source that was replaced may say goodbye; only the one that is heard ends the call.
            Part::Bye { ssrc } => {
                if peer.is_none_or(|peer| peer == ssrc) {
                    liveness.on_bye();
                }
            }
        })
    }

    fn sender_info(&self, now: Time, waiting: usize) -> SenderInfo {
        // The timestamp that a sample captured right now would get.
        let apart = |later: Time, earlier: Time| samples_in(later.since(earlier));
        let since_capture = self.recorded_until.map_or(0, |at| apart(now, at).wrapping_sub(apart(at, now)));
        SenderInfo {
            ntp: rtcp::ntp(now),
            rtp_timestamp: self.sender.timestamp().wrapping_add(waiting as u32).wrapping_add(since_capture),
            packets: self.sender.packets() as u32,
            payload_bytes: self.sender.payload_bytes() as u32,
        }
    }

    fn report_block(&mut self, now: Time) -> Option<ReportBlock> {
        let block = self.receiver.report()?;
        Some(match self.sender_report {
            Some((ssrc, ntp, arrived)) if ssrc == block.ssrc => {
                ReportBlock { last_sender_report: ntp, since_sender_report: rtcp::short(now.since(arrived)), ..block }
            }
            Some(_) | None => block,
        })
    }
}
