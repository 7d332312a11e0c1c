//! Bursts of loss and the gaps between them (RFC 3611 4.7.2), counted packet by packet.
//!
//! A burst begins and ends with a packet that was lost or came too late, and nowhere in it [`GMIN`] packets in a row came in
//! time. A loss that is alone in that sense is no burst. What is no burst is gap.
//!
//! ```text
//!   1 1 1 1 0 1 1 .. 1 X 1 1 1 X 1 0 1 1 1 1 0 1 1 .. 1 X 1 1        1 came in time, 0 lost, X too late
//!   ──────── gap ─────┤├─────── burst ───────┤├──── gap ────
//! ```
//!
//! What has become of a packet is known only a while later, for it may still come: the last [`WINDOW`] numbers are
//! undecided, and are counted anew each time that somebody asks. (The example of A.2 tells of a burst when the next one
//! begins, and guesses densities from transitions; with bursts and gaps at hand they are divided as 4.7.2 says.)

use crate::rtp::seq::Seq;
use crate::time::Span;

/// So many packets in a row end a burst: what RFC 3611 4.7.2 recommends.
pub const GMIN: u8 = 16;
/// Numbers that may still come.
const WINDOW: u64 = 64;

/// How a packet came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Came {
    InTime,
    /// It was of no use any more.
    Late,
}

/// Why a packet is missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Missed {
    Lost,
    Discarded,
}

/// The line from one peer; sources follow each other.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    tally: Tally,
    window: Option<Window>,
}

/// Numbers whose fate may still change. Bit n is number `newest - n`.
#[derive(Clone, Copy, Debug)]
struct Window {
    newest: Seq,
    length: u64,
    came: u64,
    late: u64,
}

/// What has become of the packets so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Packets expected, and of them those that never came and those that came too late.
    pub packets: u64,
    pub lost: u64,
    pub discarded: u64,
    /// Bursts that are over, the packets in them, and those missed of these.
    over: Bursts,
    run: Option<Run>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Bursts {
    bursts: u64,
    packets: u64,
    missed: u64,
}

/// Losses less than [`GMIN`] apart, of which the last is less than that ago: two or more are a burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Run {
    /// Packets from the first loss to the last.
    length: u64,
    missed: u64,
    /// Packets that came in time since.
    since: u64,
}

impl Gaps {
    /// The first packet with this number.
    pub fn on_packet(&mut self, seq: Seq, came: Came) {
        let Some(window) = &mut self.window else {
            self.window = Some(Window { newest: seq, length: 1, came: 1, late: u64::from(came == Came::Late) });
            return;
        };
        let ahead = seq.after(window.newest);
        if ahead > 0 {
            window.advance(ahead.unsigned_abs(), &mut self.tally);
        }
        window.note((-ahead).max(0).unsigned_abs(), came);
    }

    /// Another source: its numbers are no continuation.
    pub fn restart(&mut self) {
        if let Some(window) = self.window.take() {
            window.decide(window.length, &mut self.tally);
        }
    }

    /// As if nothing that is missing came any more.
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally;
        if let Some(window) = &self.window {
            window.decide(window.length, &mut tally);
        }
        tally
    }
}

impl Window {
    /// Makes room for `ahead` later numbers; the oldest are decided.
    fn advance(&mut self, ahead: u64, tally: &mut Tally) {
        self.decide((self.length + ahead).saturating_sub(WINDOW).min(self.length), tally);
        tally.missed(Missed::Lost, ahead.saturating_sub(WINDOW));
        self.newest = self.newest + ahead;
        self.length = (self.length + ahead).min(WINDOW);
        let shifted = |bits: u64| u32::try_from(ahead).ok().and_then(|ahead| bits.checked_shl(ahead)).unwrap_or(0);
        (self.came, self.late) = (shifted(self.came), shifted(self.late));
    }

    /// A number so far before the newest; one that was decided to be lost stays so.
    fn note(&mut self, back: u64, came: Came) {
        if back >= WINDOW {
            return;
        }
        // Before the first packet: it was overtaken.
        self.length = self.length.max(back + 1);
        self.came |= 1 << back;
        self.late |= u64::from(came == Came::Late) << back;
    }

    /// The oldest `count` numbers.
    fn decide(&self, count: u64, tally: &mut Tally) {
        for back in (self.length - count..self.length).rev() {
            match (self.came >> back & 1, self.late >> back & 1) {
                (0, _) => tally.missed(Missed::Lost, 1),
                (_, 0) => tally.received(),
                (_, _) => tally.missed(Missed::Discarded, 1),
            }
        }
    }
}

impl Tally {
    /// Losses in bursts, in 1/256 of the packets there; 0: there was none.
    pub fn burst_density(&self) -> u8 {
        let bursts = self.bursts();
        of_256(bursts.missed, bursts.packets)
    }

    /// The same outside of bursts.
    pub fn gap_density(&self) -> u8 {
        let bursts = self.bursts();
        of_256((self.lost + self.discarded).saturating_sub(bursts.missed), self.packets - bursts.packets)
    }

    /// How long a burst lasts on average, of packets of this length.
    pub fn mean_burst(&self, packet: Span) -> Span {
        let bursts = self.bursts();
        mean(bursts.packets, bursts.bursts, packet)
    }

    /// The same for a gap. The first begins with the first packet, the last lasts until now.
    pub fn mean_gap(&self, packet: Span) -> Span {
        let bursts = self.bursts();
        let in_burst = self.run.is_some_and(|run| run.missed > 1 && run.since == 0);
        mean(self.packets - bursts.packets, bursts.bursts + u64::from(!in_burst), packet)
    }

    /// With the one that goes on, if it does: "preceded and followed by at least Gmin received packets" (4.7.2).
    fn bursts(&self) -> Bursts {
        self.run.map_or(self.over, |run| self.over.and(run))
    }

    fn received(&mut self) {
        self.packets += 1;
        let Some(run) = &mut self.run else { return };
        run.since += 1;
        if run.since >= u64::from(GMIN) {
            self.over = self.over.and(*run);
            self.run = None;
        }
    }

    /// So many in a row.
    fn missed(&mut self, why: Missed, count: u64) {
        if count == 0 {
            return;
        }
        self.packets += count;
        match why {
            Missed::Lost => self.lost += count,
            Missed::Discarded => self.discarded += count,
        }
        let Run { length, missed, since } = self.run.unwrap_or_default();
        self.run = Some(Run { length: length + since + count, missed: missed + count, since: 0 });
    }
}

impl Bursts {
    /// A single loss is no burst.
    fn and(self, run: Run) -> Bursts {
        if run.missed < 2 {
            return self;
        }
        Bursts { bursts: self.bursts + 1, packets: self.packets + run.length, missed: self.missed + run.missed }
    }
}

/// A part in 1/256 of the whole, as the fields of RFC 3611 4.7.1 and 4.7.2 have it; of nothing: 0.
pub fn of_256(part: u64, whole: u64) -> u8 {
    (part * 256).checked_div(whole).unwrap_or(0).min(255) as u8
}

fn mean(packets: u64, count: u64, packet: Span) -> Span {
    Span::from_micros((packets * packet.as_micros()).checked_div(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::seq::Seq;
    use proptest::prelude::*;

    const MS_10: Span = Span::from_millis(10);

    /// `1` came in time, `X` too late, `0` never.
    fn line(packets: &str) -> Gaps {
        let mut gaps = Gaps::default();
        let first = Seq::first(65_500);
        for (n, packet) in packets.bytes().enumerate() {
            match packet {
                b'1' => gaps.on_packet(first + n as u64, Came::InTime),
                b'X' => gaps.on_packet(first + n as u64, Came::Late),
                _ => {}
            }
        }
        gaps
    }

    /// Densities in 1/256 and durations in ms of packets of 10 ms: bursts, then gaps.
    fn figures(tally: Tally) -> (u8, u64, u8, u64) {
        let (burst, gap) = (tally.mean_burst(MS_10).as_millis(), tally.mean_gap(MS_10).as_millis());
        (tally.burst_density(), burst, tally.gap_density(), gap)
    }

    #[test]
    fn the_example_of_rfc_3611() {
        // 4.7.2: a gap of 23 packets, a burst of 12 in which four are missed, a gap of 29; two losses in the gaps.
        let tally = line("11110111111111111111111X111X1011110111111111111111111X1111111111").tally();
        assert_eq!((tally.packets, tally.lost, tally.discarded), (64, 3, 3));
        assert_eq!(figures(tally), (85, 120, 9, 260), "4/12 and 2/52 of 256");
    }

    #[test]
    fn sixteen_packets_in_time_end_a_burst_and_fifteen_do_not() {
        let between = |n| figures(line(&format!("1110{}0111", "1".repeat(n))).tally());
        assert_eq!(between(0), (255, 20, 0, 30));
        assert_eq!(between(15), (30, 170, 0, 30), "two of seventeen");
        assert_eq!(between(16), (0, 0, 21, 240), "two losses by themselves");
    }

    #[test]
    fn a_burst_that_goes_on_counts_as_if_it_were_over() {
        assert_eq!(figures(line("1").tally()), (0, 0, 0, 10));
        assert_eq!(figures(line(&"1".repeat(200)).tally()), (0, 0, 0, 2_000));
        assert_eq!(figures(line("1111X").tally()), (0, 0, 51, 50));
        assert_eq!(figures(line("111100X").tally()), (255, 30, 0, 40), "no gap after it");
        assert_eq!(figures(line("111100X1").tally()), (255, 30, 0, 25), "and one now");
        assert_eq!(figures(Gaps::default().tally()), (0, 0, 0, 0));
    }

    #[test]
    fn what_comes_out_of_order_is_counted_in_order_as_long_as_it_may_come() {
        let first = Seq::first(0);
        let after = |order: &[u64]| {
            let mut gaps = Gaps::default();
            order.iter().for_each(|n| gaps.on_packet(first + *n, Came::InTime));
            gaps.tally()
        };
        assert_eq!(after(&[1, 0, 3, 2, 5, 4]), after(&[0, 1, 2, 3, 4, 5]));
        let late: Vec<u64> = (0..10).chain(12..75).chain([10, 11]).collect();
        assert_eq!((after(&late).packets, after(&late).lost), (75, 1), "number 10 was given up, number 11 not yet");
    }

    #[test]
    fn a_great_jump_is_one_burst_and_another_source_is_none() {
        let mut gaps = line("1111");
        gaps.on_packet(Seq::first(65_500) + 2_903, Came::InTime);
        assert_eq!((gaps.tally().packets, gaps.tally().lost), (2_904, 2_899));
        assert_eq!(gaps.tally().mean_burst(MS_10).as_millis(), 28_990);
        let mut gaps = line("1100");
        gaps.restart();
        gaps.on_packet(Seq::first(9), Came::InTime);
        assert_eq!((gaps.tally().packets, gaps.tally().lost), (3, 0), "what was not seen to be missed is not");
    }

    /// By the words of 4.7.2, all packets at hand.
    fn figures_at_leisure(packets: &[u8]) -> (u8, u64, u8, u64) {
        let missed: Vec<usize> = (0..packets.len()).filter(|n| packets[*n] != b'1').collect();
        let runs = missed.chunk_by(|a, b| b - a <= usize::from(GMIN));
        let bursts: Vec<_> =
            runs.filter(|run| run.len() > 1).map(|run| (run[0], run[run.len() - 1], run.len())).collect();
        let in_bursts: usize = bursts.iter().map(|(first, last, _)| last - first + 1).sum();
        let missed_there: usize = bursts.iter().map(|burst| burst.2).sum();
        let gap = packets.len() - in_bursts;
        let last_is_gap = bursts.last().is_none_or(|burst| burst.1 + 1 < packets.len());
        let share = |part: usize, whole: usize| (part * 256).checked_div(whole).unwrap_or(0).min(255) as u8;
        let mean = |packets: usize, of: usize| (packets * 10).checked_div(of).unwrap_or(0) as u64;
        (
            share(missed_there, in_bursts),
            mean(in_bursts, bursts.len()),
            share(missed.len() - missed_there, gap),
            mean(gap, bursts.len() + usize::from(last_is_gap)),
        )
    }

    proptest! {
        #[test]
        fn packet_by_packet_or_at_leisure_the_figures_are_the_same(
            line_of in proptest::collection::vec((1usize..40, 0u8..3), 1..40),
        ) {
            let mut packets: Vec<u8> = vec![b'1'];
            for (ones, missed) in line_of {
                packets.extend(std::iter::repeat_n(b'1', ones % 23));
                packets.extend(["0", "X", "00"][usize::from(missed)].bytes());
            }
            // The last packet has come, or nobody would know of those before it.
            packets.push(b'1');
            let text = String::from_utf8(packets.clone()).unwrap();
            prop_assert_eq!(figures(line(&text).tally()), figures_at_leisure(&packets), "{}", text);
        }
    }
}
