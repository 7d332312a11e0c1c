//! Extended reports (RFC 3611) of one call: what is told to a peer that asks for it, and what the peer tells of us.
//!
//! Who asks for nothing is told nothing; what is told to us is heard in any case.

use crate::media::playout::Arrival;
use crate::media::quality;
use crate::rtp::gaps::{Came, Gaps, Tally, of_256};
use crate::rtp::rtcp;
use crate::rtp::seq::Seq;
use crate::rtp::xr::{Asked, Block, Delay, OPUS_IN_ADAPTIVE_BUFFER, Report, RoundTrip, UNKNOWN, VoipMetrics};
use crate::time::{Span, Time};

#[derive(Debug)]
pub struct Extended {
    asked: Asked,
    gaps: Gaps,
    /// The peer's last reference time, until it is answered: whose, its middle bits, when it came.
    reference: Option<(u32, u32, Time)>,
    heard: Option<VoipMetrics>,
}

/// What is known of how the peer is heard.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    pub ssrc: u32,
    /// How long its packets are.
    pub packet: Span,
    /// Lost packets that others had a copy of.
    pub recovered: u64,
    /// Packets that came in time and waited too long.
    pub outwaited: u64,
    pub round_trip: Span,
    /// From the network to the loudspeaker, and from the microphone to the network.
    pub end_system: Span,
    /// E-model, with the delay of a conversation, and without.
    pub rating: Option<u8>,
    pub listening: Option<u8>,
    /// What the buffer adds to the delay, and may add at most.
    pub buffer: Span,
    pub buffer_most: Span,
}

impl Extended {
    pub fn new(asked: Asked) -> Extended {
        Extended { asked, gaps: Gaps::default(), reference: None, heard: None }
    }

    pub fn set_asked(&mut self, asked: Asked) {
        self.asked = asked;
    }

    /// A packet of the present source, seen for the first time.
    pub fn on_packet(&mut self, seq: Seq, arrival: Arrival) {
        let came = match arrival {
            Arrival::Kept | Arrival::Duplicate => Came::InTime,
            Arrival::Late | Arrival::Invalid => Came::Late,
        };
        self.gaps.on_packet(seq, came);
    }

    /// Another source.
    pub fn restart(&mut self) {
        self.gaps.restart();
    }

    pub fn tally(&self) -> Tally {
        self.gaps.tally()
    }

    /// The peer's last word on how it hears us.
    pub fn heard(&self) -> Option<VoipMetrics> {
        self.heard
    }

    /// Part of a report of the peer, to `ours`. The round trip, if it proves one.
    pub fn on_block(&mut self, now: Time, ours: u32, block: Block) -> Option<Span> {
        match block {
            Block::ReferenceTime { ssrc, ntp } => self.reference = Some((ssrc, ntp, now)),
            Block::Delay(delay) if delay.ssrc == ours => return rtcp::round_trip_of_listener(now, &delay),
            Block::Metrics(metrics) if metrics.ssrc == ours => self.heard = Some(metrics),
            Block::Delay(_) | Block::Metrics(_) => {}
        }
        None
    }

    /// What is told now; `metrics`: how the peer is heard.
    pub fn report(&mut self, now: Time, sending: bool, metrics: Option<VoipMetrics>) -> Report {
        let (reference_time, may_answer) = match self.asked.round_trip {
            RoundTrip::Nobody => (None, false),
            // Who sends has sender reports for it.
            RoundTrip::All => ((!sending).then(|| rtcp::ntp(now)), true),
            RoundTrip::Senders => ((!sending).then(|| rtcp::ntp(now)), sending),
        };
        let delay = self.reference.take().filter(|_| may_answer).map(|(ssrc, reference_time, came)| Delay {
            ssrc,
            reference_time,
            since: rtcp::short(now.since(came)),
        });
        Report { reference_time, delay, metrics: metrics.filter(|_| self.asked.voip_metrics) }
    }

    pub fn metrics(&self, sound: &Listening) -> VoipMetrics {
        let tally = self.tally();
        let score = |rating: Option<u8>| rating.map_or(UNKNOWN, quality::score_10);
        VoipMetrics {
            loss_rate: of_256(tally.lost.saturating_sub(sound.recovered), tally.packets),
            discard_rate: of_256(tally.discarded + sound.outwaited, tally.packets),
            burst_density: tally.burst_density(),
            gap_density: tally.gap_density(),
            burst_duration: whole_ms(tally.mean_burst(sound.packet)),
            gap_duration: whole_ms(tally.mean_gap(sound.packet)),
            round_trip: whole_ms(sound.round_trip),
            end_system_delay: whole_ms(sound.end_system),
            r_factor: sound.rating.unwrap_or(UNKNOWN),
            mos_lq: score(sound.listening),
            mos_cq: score(sound.rating),
            rx_config: OPUS_IN_ADAPTIVE_BUFFER,
            buffer_nominal: whole_ms(sound.buffer),
            buffer_maximum: whole_ms(sound.buffer_most),
            buffer_absolute_maximum: whole_ms(sound.buffer_most),
            ..VoipMetrics::unheard(sound.ssrc)
        }
    }
}

/// 65 s at most.
fn whole_ms(span: Span) -> u16 {
    ((span.as_micros() + 500) / 1_000).min(u64::from(u16::MAX)) as u16
}
