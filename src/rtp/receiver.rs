//! What arrives, counted: validity and restarts (RFC 3550 A.1), loss (A.3), jitter (A.8), duplicates.
//!
//! The address of the peer is known from the offer/answer exchange and checked by the caller, so the first packet is
//! believed at once. Another SSRC, or a jump of the sequence number, must show two packets in a row first:
//!
//! ```text
//!          first packet              stranger: other SSRC, or a jump
//!   Silent ────────────▶ Source ───────────────────────────────▶ Source + Candidate
//!                          ▲  ▲        packet of the source           │    │
//!                          │  └───────────────────────────────────────┘    │
//!                          └── stranger's next number: a new source ◀──────┘
//! ```

use crate::rtp::CLOCK_RATE;
use crate::rtp::packet::Header;
use crate::rtp::rtcp::ReportBlock;
use crate::rtp::runs::Runs;
use crate::rtp::seq::{Seq, Timestamp};
use crate::time::{Span, Time};

/// RFC 3550 A.1: a larger step forward, or backward, is a restart.
const MAX_DROPOUT: i64 = 3000;
const MAX_MISORDER: i64 = 100;
/// Sequence numbers of which we remember whether they have come.
const REMEMBERED: i64 = 128;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The first packet with this number.
    Accepted {
        seq: Seq,
        timestamp: Timestamp,
        source: SourceIs,
    },
    Duplicate,
    /// A stranger that has to show a second packet.
    OnProbation,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceIs {
    Known,
    /// Numbers of earlier packets mean nothing any more; the decoder begins anew.
    New,
}

#[derive(Clone, Debug, Default)]
pub struct Receiver {
    source: Option<Source>,
    candidate: Option<Candidate>,
    /// Totals of sources that are gone.
    past_expected: u64,
    past_unique: u64,
    runs: Runs,
    duplicates: u64,
}

#[derive(Clone, Debug)]
struct Source {
    ssrc: u32,
    is_over: bool,
    first: Seq,
    highest: Seq,
    highest_timestamp: Timestamp,
    /// Bit n: number `highest - n` has come.
    seen: u128,
    /// All packets, as RFC 3550 counts them: duplicates too.
    received: u64,
    unique: u64,
    expected_at_report: u64,
    received_at_report: u64,
    /// Arrival minus timestamp of the last packet, in ticks.
    transit: u32,
    /// 16 times the mean deviation, in ticks.
    jitter_16: u32,
}

/// What the timestamps of a packet tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Times {
    /// When it was recorded.
    OfSound,
    /// When something began.
    OfEvent,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Candidate {
    ssrc: u32,
    next: u16,
}

impl Receiver {
    pub fn handle(&mut self, now: Time, header: &Header) -> Verdict {
        self.take(now, header, Times::OfSound)
    }

    /// A packet of an event, whose timestamps are in `clock_rate`. Several have the same one (RFC 4733 2.2.1), so they say
    /// nothing of the jitter; and those of another clock nothing at all.
    pub fn handle_event(&mut self, now: Time, header: &Header, clock_rate: u32) -> Verdict {
        let known = self.source.as_ref().filter(|_| clock_rate != CLOCK_RATE);
        let timestamp = known.map_or(header.timestamp, |source| source.highest_timestamp.ticks() as u32);
        self.take(now, &Header { timestamp, ..*header }, Times::OfEvent)
    }

    fn take(&mut self, now: Time, header: &Header, times: Times) -> Verdict {
        let Some(source) = self.source.as_mut().filter(|source| !source.is_over) else {
            return self.adopt(now, header);
        };
        if header.ssrc != source.ssrc || !source.would_follow(header.sequence_number) {
            let number = Candidate { ssrc: header.ssrc, next: header.sequence_number };
            if self.candidate.replace(Candidate { next: number.next.wrapping_add(1), ..number }) == Some(number) {
                return self.adopt(now, header);
            }
            return Verdict::OnProbation;
        }
        self.candidate = None;
        let missing = source.missing();
        let verdict = source.accept(now, header, times);
        self.runs.on_packet(source.missing() - missing);
        if verdict == Verdict::Duplicate {
            self.duplicates += 1;
        }
        verdict
    }

    fn adopt(&mut self, now: Time, header: &Header) -> Verdict {
        if let Some(old) = &self.source {
            self.past_expected += old.expected();
            self.past_unique += old.unique;
        }
        let source = Source::new(now, header);
        let verdict =
            Verdict::Accepted { seq: source.highest, timestamp: source.highest_timestamp, source: SourceIs::New };
        self.source = Some(source);
        self.candidate = None;
        verdict
    }

    /// Whether a packet with this header goes on with the source that is heard.
    pub fn goes_on(&self, header: &Header) -> bool {
        let known = self.source.as_ref().filter(|source| !source.is_over && source.ssrc == header.ssrc);
        known.is_some_and(|source| source.would_follow(header.sequence_number))
    }

    /// What comes is not looked at for a while. Whatever comes then is a source just begun, though it be the same: nothing of
    /// what passed is missed.
    pub fn end_source(&mut self) {
        self.candidate = None;
        if let Some(source) = &mut self.source {
            source.is_over = true;
        }
    }

    /// SSRC of the source that is heard.
    pub fn ssrc(&self) -> Option<u32> {
        self.source.as_ref().map(|s| s.ssrc)
    }

    /// Packets that never arrived, by sequence number, all sources together.
    pub fn lost(&self) -> u64 {
        let (expected, unique) = self.source.as_ref().map_or((0, 0), |s| (s.expected(), s.unique));
        (self.past_expected + expected).saturating_sub(self.past_unique + unique)
    }

    /// Mean number of packets lost in a row, of late; 0: none.
    pub fn burst(&self) -> f32 {
        self.runs.mean()
    }

    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Interarrival jitter (RFC 3550 A.8).
    pub fn jitter(&self) -> Span {
        let ticks = self.source.as_ref().map_or(0, |s| s.jitter_16 >> 4);
        Span::from_micros(u64::from(ticks) * 1_000_000 / u64::from(CLOCK_RATE))
    }

    /// The block for the next report, and the beginning of the next interval; its `last_report` fields are the
    /// caller's to fill.
    pub fn report(&mut self) -> Option<ReportBlock> {
        self.source.as_mut().map(Source::report)
    }
}

impl Source {
    fn new(now: Time, header: &Header) -> Source {
        let first = Seq::first(header.sequence_number);
        Source {
            ssrc: header.ssrc,
            is_over: false,
            first,
            highest: first,
            highest_timestamp: Timestamp::first(header.timestamp),
            seen: 1,
            received: 1,
            unique: 1,
            expected_at_report: 0,
            received_at_report: 0,
            transit: ticks(now).wrapping_sub(header.timestamp),
            jitter_16: 0,
        }
    }

    fn would_follow(&self, wire: u16) -> bool {
        (-MAX_MISORDER..MAX_DROPOUT).contains(&self.highest.extend(wire).after(self.highest))
    }

    fn accept(&mut self, now: Time, header: &Header, times: Times) -> Verdict {
        self.received += 1;
        let seq = self.highest.extend(header.sequence_number);
        let timestamp = self.highest_timestamp.extend(header.timestamp);
        let ahead = seq.after(self.highest);
        if ahead > 0 {
            self.seen = if ahead < REMEMBERED { self.seen << ahead | 1 } else { 1 };
            self.highest = seq;
            self.highest_timestamp = timestamp;
        } else {
            let bit = 1u128 << (-ahead).min(REMEMBERED - 1);
            if self.seen & bit != 0 {
                return Verdict::Duplicate;
            }
            self.seen |= bit;
            // Numbers before the first packet: it was overtaken.
            self.first = self.first.min(seq);
        }
        self.unique += 1;
        match times {
            Times::OfSound => self.measure_jitter(now, header.timestamp),
            Times::OfEvent => {}
        }
        Verdict::Accepted { seq, timestamp, source: SourceIs::Known }
    }

    /// RFC 3550 A.8: `J += (|D| - J) / 16`, in integers. A timestamp that jumped says nothing about the network.
    fn measure_jitter(&mut self, now: Time, timestamp: u32) {
        let transit = ticks(now).wrapping_sub(timestamp);
        let d = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
        self.transit = transit;
        if d < 10 * CLOCK_RATE {
            self.jitter_16 = self.jitter_16 + d - ((self.jitter_16 + 8) >> 4);
        }
    }

    fn expected(&self) -> u64 {
        self.highest.after(self.first).unsigned_abs() + 1
    }

    /// Numbers that have not come.
    fn missing(&self) -> i64 {
        self.expected() as i64 - self.unique as i64
    }

    /// RFC 3550 A.3.
    fn report(&mut self) -> ReportBlock {
        let expected = self.expected();
        let expected_now = expected - self.expected_at_report.min(expected);
        let received_now = self.received - self.received_at_report;
        self.expected_at_report = expected;
        self.received_at_report = self.received;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction_lost = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8;
        let lost = expected as i64 - self.received as i64;
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: self.highest.report(),
            jitter: self.jitter_16 >> 4,
            last_sender_report: 0,
            since_sender_report: 0,
        }
    }
}

/// The clock in RTP ticks, wrapping as timestamps do.
fn ticks(now: Time) -> u32 {
    (now.as_micros() as u128 * u128::from(CLOCK_RATE) / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(ssrc: u32, sequence_number: u16) -> Header {
        let timestamp = u32::from(sequence_number).wrapping_mul(960);
        Header { marker: false, payload_type: 96, sequence_number, timestamp, ssrc }
    }

    /// Packet n of source 1, which arrives on the beat.
    fn arrive(receiver: &mut Receiver, n: u16) -> Verdict {
        receiver.handle(Time::from_millis(u64::from(n) * 20), &header(1, n))
    }

    fn accepted(verdict: Verdict) -> Option<SourceIs> {
        match verdict {
            Verdict::Accepted { source, .. } => Some(source),
            Verdict::Duplicate | Verdict::OnProbation => None,
        }
    }

    #[test]
    fn loss_duplicates_and_reordering_are_counted_as_the_rfc_does() {
        let mut r = Receiver::default();
        for n in [0, 1, 2, 5, 4, 4, 6, 9] {
            arrive(&mut r, n);
        }
        assert_eq!(r.lost(), 3, "3, 7 and 8");
        assert!((r.burst() - 1.5).abs() < 0.05, "{}", r.burst());
        assert_eq!(r.duplicates(), 1);
        let block = r.report().unwrap();
        assert_eq!(block.cumulative_lost, 2, "10 expected, 8 received, the duplicate among them");
        assert_eq!(block.fraction_lost, (2 * 256 / 10) as u8);
        assert_eq!(block.highest_seq, 9);
        arrive(&mut r, 10);
        assert_eq!(r.report().unwrap().fraction_lost, 0, "nothing lost in the second interval");
    }

    #[test]
    fn the_sequence_may_wrap() {
        let mut r = Receiver::default();
        for n in 65_530..=65_535u16 {
            arrive(&mut r, n);
        }
        for n in 0..5u16 {
            assert_eq!(accepted(arrive(&mut r, n)), Some(SourceIs::Known));
        }
        assert_eq!(r.lost(), 0);
        assert_eq!(r.report().unwrap().highest_seq, 65_536 + 4);
    }

    #[test]
    fn a_new_ssrc_is_believed_after_two_packets_in_a_row() {
        let mut r = Receiver::default();
        arrive(&mut r, 0);
        arrive(&mut r, 2);
        assert_eq!(r.handle(Time::ZERO, &header(2, 100)), Verdict::OnProbation);
        assert_eq!(accepted(arrive(&mut r, 3)), Some(SourceIs::Known));
        assert_eq!(r.handle(Time::ZERO, &header(2, 101)), Verdict::OnProbation, "the known source spoke between");
        assert_eq!(accepted(r.handle(Time::ZERO, &header(2, 102))), Some(SourceIs::New));
        assert_eq!(r.ssrc(), Some(2));
        assert_eq!(r.lost(), 1, "losses of the old source are not forgotten");
    }

    #[test]
    fn what_passes_while_nobody_looks_is_no_loss_and_losses_before_are_not_forgotten() {
        let mut r = Receiver::default();
        [0, 2].into_iter().for_each(|n| assert!(accepted(arrive(&mut r, n)).is_some()));
        r.end_source();
        assert_eq!((r.ssrc(), r.report().map(|block| block.ssrc)), (Some(1), Some(1)), "it is still the last one");
        assert_eq!(accepted(arrive(&mut r, 500)), Some(SourceIs::New), "the same");
        assert_eq!(
            (accepted(arrive(&mut r, 501)), accepted(arrive(&mut r, 503))),
            (Some(SourceIs::Known), Some(SourceIs::Known))
        );
        assert_eq!((r.lost(), r.burst()), (2, 1.0));
        r.end_source();
        assert_eq!(accepted(r.handle(Time::ZERO, &header(2, 7))), Some(SourceIs::New), "another");
        assert_eq!(r.lost(), 2);
    }

    #[test]
    fn a_jump_of_the_sequence_is_a_restart() {
        let mut r = Receiver::default();
        arrive(&mut r, 0);
        assert_eq!(arrive(&mut r, 10_000), Verdict::OnProbation);
        assert_eq!(accepted(arrive(&mut r, 10_001)), Some(SourceIs::New));
        assert_eq!(r.lost(), 0, "a restart is not a loss of ten thousand");
    }

    #[test]
    fn jitter_is_the_smoothed_deviation() {
        let mut r = Receiver::default();
        for n in 0..2000u16 {
            let late = if n % 2 == 0 { 0 } else { 10 };
            r.handle(Time::from_millis(u64::from(n) * 20 + late), &header(1, n));
        }
        let jitter = r.jitter().as_micros();
        assert!((9_000..11_000).contains(&jitter), "10 ms back and forth, measured {jitter} us");
    }

    #[test]
    fn a_source_that_was_overtaken_by_its_second_packet_begins_with_its_first() {
        let mut r = Receiver::default();
        for n in [5, 4, 7] {
            arrive(&mut r, n);
        }
        assert_eq!(r.lost(), 1, "6: what came before the first that came makes up for no loss");
    }

    #[test]
    fn one_late_packet_is_a_sixteenth_and_a_timestamp_that_jumps_is_no_jitter() {
        let mut r = Receiver::default();
        let mut arrive_late = |n: u16, late, jump| {
            let header = Header { timestamp: header(1, n).timestamp.wrapping_add(jump), ..header(1, n) };
            r.handle(Time::from_millis(u64::from(n) * 20 + late), &header);
            r.jitter().as_micros()
        };
        (0..100).for_each(|n| assert_eq!(arrive_late(n, 0, 0), 0));
        let jitter = arrive_late(100, 32, 0);
        assert!((1_900..2_100).contains(&jitter), "32 ms once: {jitter} us");
        for n in 101..400 {
            arrive_late(n, 0, 0);
        }
        let before = arrive_late(400, 0, 0);
        assert!(arrive_late(401, 0, 60 * CLOCK_RATE) <= before && before < 20, "a minute in one step");
    }

    #[test]
    fn events_are_counted_and_say_nothing_of_the_jitter() {
        for clock_rate in [CLOCK_RATE, 8_000] {
            let mut r = Receiver::default();
            for n in 0..50 {
                arrive(&mut r, n);
            }
            for n in 50..60 {
                let event = Header { timestamp: 50 * 960 * (clock_rate / 8_000) / 6, ..header(1, n) };
                let verdict = r.handle_event(Time::from_millis(u64::from(n) * 20), &event, clock_rate);
                let Verdict::Accepted { timestamp, source: SourceIs::Known, .. } = verdict else {
                    panic!("{verdict:?}")
                };
                let sound = Timestamp::first(49 * 960);
                assert_eq!(timestamp.after(sound), if clock_rate == CLOCK_RATE { 960 } else { 0 });
            }
            for n in 60..70 {
                assert_eq!(accepted(arrive(&mut r, n)), Some(SourceIs::Known));
            }
            assert_eq!((r.jitter(), r.lost()), (Span::ZERO, 0), "{clock_rate}");
        }
    }

    #[test]
    fn any_numbers_in_any_order_are_survived() {
        let mut rng = crate::random::Rng::from_u64(3);
        let mut r = Receiver::default();
        let mut n = 0u16;
        for _ in 0..100_000 {
            n = if rng.below(20) == 0 { rng.next_u32() as u16 } else { n.wrapping_add(rng.below(4) as u16) };
            let header =
                Header { ssrc: rng.below(3) as u32, timestamp: rng.next_u32(), sequence_number: n, ..header(0, 0) };
            r.handle(Time::from_micros(rng.next_u64() >> 20), &header);
            if rng.below(50) == 0 {
                r.report();
            }
            r.lost();
        }
    }
}
