//! Extended reports (RFC 3611) of one call: what is told to a peer that asks for it, and what the peer tells of us.
//!
//! Who asks for nothing is told nothing; what is told to us is heard in any case.

use crate::media::playout::Arrival;
use crate::media::quality;
use crate::rtp::gaps::{Came, GMIN, Gaps, Tally, of_256};
use crate::rtp::rtcp;
use crate::rtp::seq::Seq;
use crate::rtp::xr::{Asked, Block, Delay, OPUS_IN_ADAPTIVE_BUFFER, Report, RoundTrip, UNKNOWN, VoipMetrics};
use crate::time::{Span, Time};

/// What bursts are measured in (see [`autopilot`](super::autopilot)).
const UNIT: Span = Span::from_millis(20);

#[derive(Debug)]
pub struct Extended {
    asked: Asked,
    gaps: Gaps,
    /// The peer's last reference time, until it is answered: whose, its middle bits, when it came.
    reference: Option<(u32, u32, Time)>,
    heard: Option<VoipMetrics>,
    in_a_row: Option<InARow>,
}

/// How many of our packets are lost in a row, on average.
#[derive(Clone, Copy, PartialEq, Debug)]
struct InARow {
    least: f32,
    most: f32,
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
        Extended { asked, gaps: Gaps::default(), reference: None, heard: None, in_a_row: None }
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

    /// Part of a report of the peer, to `ours`, whose packets last `ptime`. The round trip, if it proves one.
    pub fn on_block(&mut self, now: Time, ours: u32, ptime: Span, block: Block) -> Option<Span> {
        match block {
            Block::ReferenceTime { ssrc, ntp } => self.reference = Some((ssrc, ntp, now)),
            Block::Delay(delay) if delay.ssrc == ours => return rtcp::round_trip_of_listener(now, &delay),
            Block::Metrics(metrics) if metrics.ssrc == ours => {
                self.heard = Some(metrics);
                // Longer ones are lost one at a time: that says nothing of the bursts for which they are longer.
                if ptime <= UNIT {
                    self.in_a_row = InARow::of(&metrics, ptime);
                }
            }
            Block::Delay(_) | Block::Metrics(_) => {}
        }
        None
    }

    /// How many of our packets of 20 ms are lost in a row, if as long is lost as of the peer's: so many of these, which are
    /// as long as `packet`. Its metrics say between which bounds, as exactly as they can.
    pub fn burst(&self, peers: f32, packet: Span) -> f32 {
        let guess = peers * units(packet);
        self.in_a_row.map_or(guess, |bounds| guess.max(bounds.least).min(bounds.most))
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

impl InARow {
    /// A burst of RFC 3611 has packets in it that came, one to fifteen between two runs of losses, so its length and density
    /// leave open how many runs there are. Losses in gaps stand alone.
    fn of(metrics: &VoipMetrics, packet: Span) -> Option<InARow> {
        let packets = |ms: u16| f32::from(ms) * 1e3 / packet.as_micros().max(1) as f32;
        // Of 256 and rounded down: 255 is all.
        let share = |density: u8| f32::from(density) / 255.0;
        let alone = packets(metrics.gap_duration) * share(metrics.gap_density);
        let lost = packets(metrics.burst_duration) * share(metrics.burst_density);
        if lost + alone == 0.0 {
            return None;
        }
        let came = packets(metrics.burst_duration) - lost;
        let (fewest, most) = match lost {
            0.0 => (0.0, 0.0),
            lost => (1.0 + came / f32::from(GMIN - 1), lost.min(1.0 + came)),
        };
        let mean = |runs: f32| ((lost + alone) / (runs + alone)).max(1.0);
        Some(InARow { least: mean(most) * units(packet), most: mean(fewest) * units(packet) })
    }
}

fn units(packet: Span) -> f32 {
    packet.as_micros() as f32 / UNIT.as_micros() as f32
}

/// 65 s at most.
fn whole_ms(span: Span) -> u16 {
    ((span.as_micros() + 500) / 1_000).min(u64::from(u16::MAX)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    const OURS: u32 = 7;

    /// What the peer says of packets of 20 ms, of which these came (`1`) and these did not (`0`).
    fn metrics_of(packets: &[u8]) -> VoipMetrics {
        let mut gaps = Gaps::default();
        for (n, _) in packets.iter().enumerate().filter(|(_, packet)| **packet == b'1') {
            gaps.on_packet(Seq::first(0) + n as u64, Came::InTime);
        }
        let tally = gaps.tally();
        VoipMetrics {
            burst_density: tally.burst_density(),
            gap_density: tally.gap_density(),
            burst_duration: whole_ms(tally.mean_burst(UNIT)),
            gap_duration: whole_ms(tally.mean_gap(UNIT)),
            ..VoipMetrics::unheard(OURS)
        }
    }

    fn line_of(pattern: &str, times: usize) -> Vec<u8> {
        format!("1{}1", pattern.repeat(times)).into_bytes()
    }

    #[test]
    fn losses_are_counted_after_error_correction_and_packets_that_waited_too_long_as_discards() {
        let mut extended = Extended::new(Asked::NOTHING);
        for n in (0..128).filter(|n| n % 4 != 1) {
            extended.on_packet(Seq::first(0) + n, Arrival::Kept);
        }
        let sound = Listening {
            ssrc: OURS,
            packet: UNIT,
            recovered: 24,
            outwaited: 16,
            round_trip: Span::from_secs(100),
            end_system: Span::from_micros(33_500),
            rating: None,
            listening: Some(93),
            buffer: UNIT,
            buffer_most: UNIT.times(10),
        };
        let told = extended.metrics(&sound);
        assert_eq!((told.loss_rate, told.discard_rate), (16, 32));
        assert_eq!(
            (told.round_trip, told.end_system_delay, told.buffer_nominal, told.buffer_maximum),
            (u16::MAX, 34, 20, 200)
        );
        assert_eq!((told.r_factor, told.mos_cq, told.mos_lq), (UNKNOWN, UNKNOWN, 44));
    }

    #[test]
    fn a_delay_told_to_another_source_proves_no_round_trip() {
        let mut extended = Extended::new(Asked::NOTHING);
        let sent = Time::from_millis(5_000);
        let mut told = |ssrc| {
            let delay = Delay { ssrc, reference_time: rtcp::middle(rtcp::ntp(sent)), since: 0 };
            extended
                .on_block(sent + Span::from_millis(40), OURS, UNIT, Block::Delay(delay))
                .map(|trip| trip.as_millis())
        };
        assert_eq!((told(OURS + 1), told(OURS).map(|ms| ms.abs_diff(40) <= 1)), (None, Some(true)));
    }

    #[test]
    fn what_the_metrics_say_of_losses_in_a_row_is_exact_where_each_burst_is_one_run() {
        let ones = "1".repeat(20);
        let bounds = |pattern: &str| InARow::of(&metrics_of(&line_of(pattern, 50)), UNIT);
        let close = |bounds: Option<InARow>, mean: f32| {
            let InARow { least, most } = bounds.expect("losses");
            assert!((least - mean).abs() < 0.05 && (most - mean).abs() < 0.05, "{least} to {most}, not {mean}");
        };
        assert_eq!(bounds("1"), None, "nothing is lost");
        close(bounds(&format!("0{ones}")), 1.0);
        close(bounds(&format!("00{ones}")), 2.0);
        close(bounds(&format!("0000{ones}")), 4.0);
        close(bounds(&format!("0{ones}000{ones}")), 2.0);
    }

    #[test]
    fn what_they_leave_open_has_the_truth_in_it() {
        for (seed, run) in (0..60).map(|seed| (seed, 1 + seed as usize % 4)) {
            let mut rng = Rng::from_u64(seed);
            let mut packets = vec![b'1'];
            let mut runs = 0;
            while packets.len() < 3_000 {
                packets.extend(vec![b'1'; 1 + rng.below(60) as usize]);
                packets.extend(vec![b'0'; run]);
                runs += 1;
            }
            packets.push(b'1');
            assert!(runs > 20);
            let InARow { least, most } = InARow::of(&metrics_of(&packets), UNIT).expect("losses");
            let truth = run as f32;
            assert!(least <= truth * 1.1 && truth <= most * 1.1 && least <= most, "seed {seed}: {least} to {most}");
        }
    }

    #[test]
    fn the_other_direction_judges_only_what_is_left_open() {
        let mut extended = Extended::new(Asked::NOTHING);
        assert_eq!(extended.burst(2.5, UNIT), 2.5, "nothing is known");
        assert_eq!(extended.burst(1.5, UNIT.times(2)), 3.0, "what hides two of ours");
        let mut say = |pattern: &str, ptime| {
            let metrics = Block::Metrics(metrics_of(&line_of(pattern, 50)));
            extended.on_block(Time::ZERO, OURS, ptime, metrics);
            [0.0, 9.0].map(|guess| extended.burst(guess, UNIT).round())
        };
        let ones = "1".repeat(20);
        assert_eq!(say(&format!("00{ones}"), UNIT), [2.0, 2.0]);
        assert_eq!(say(&format!("0{ones}"), UNIT.times(2)), [2.0, 2.0], "packets of 40 ms hide the bursts");
        for pattern in ["1", &format!("0000{ones}")] {
            assert_eq!(say(pattern, UNIT.times(2)), [2.0, 2.0], "what was learnt before stands");
        }
        assert_eq!(say(&format!("0{ones}"), UNIT), [1.0, 1.0]);
        assert_eq!(say(&format!("010000{ones}"), UNIT), [3.0, 5.0]);
    }
}
