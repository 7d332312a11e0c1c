//! Where a packet belongs in the peer's time, from three things of which each can lie.
//!
//! * *Sequence number*: the order, always. But it does not tell how long a pause was.
//! * *Timestamp*: pauses and jumps. But a mixer under load, or one that ticks at 40 ms, sends bursts of packets with
//!   one and the same timestamp, and a restarted one begins anew anywhere.
//! * *Length of the packet* (its TOC): the least that lies between two neighbours.
//!
//! So a packet stands where its timestamp says, but never before the end of its predecessor; and a step of the
//! timestamp that the clock on the wall did not make is not believed.
//!
//! ```text
//!   seq        7      8      9     10            bursts of two, 20 ms each
//!   timestamp  0      0    1920   1920
//!   position   0     960   1920   2880
//!   slip       0     960      0    960
//! ```
//!
//! How far a packet stands behind its timestamp is its *slip*. One that stays tells of a mixer that stood still and then
//! made up for its ticks at once: the packets of the burst are stamped with the time at which they left, so what
//! follows is stamped right but has to be played after all of them. That slip is no faster line: it is *settled*, into
//! the offset between timestamps and positions, and said so that what is known of the line can move along.

use crate::rtp::seq::{Seq, Timestamp};
use heapless::HistoryBuf;

/// A packet this far behind the end of its predecessor shows that the timestamps began anew: 200 ms.
const MAX_BEHIND: i64 = 9_600;
/// A pause that took this much less time than its timestamp says did not happen: 1 s.
const MAX_AHEAD: i64 = 48_000;

/// A slip that so many ticks in a row have at least is there to stay.
const SETTLED_AFTER: usize = 4;

/// Positions of the packets of one source.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    newest: Option<Placed>,
    /// The timestamp that came last, and the least slip of its packets.
    tick: Option<(Timestamp, i64)>,
    /// The same of the ticks before.
    slips: HistoryBuf<i64, SETTLED_AFTER>,
}

/// Where a packet belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub position: Timestamp,
    /// By how many samples the position lies behind the timestamp.
    pub slip: i64,
    /// From this packet on positions stand so many samples further from timestamps than before.
    pub settled: i64,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    seq: Seq,
    /// Where it ends.
    end: Timestamp,
    /// Position minus timestamp, for all packets since the last jump.
    offset: i64,
    /// Length of the last packet that had one.
    samples: u32,
    slip: i64,
    arrival: i64,
}

impl Timeline {
    /// The position of the first sample of a packet that is `samples` long (0: an event, which takes no time) and came
    /// at `arrival` (any origin, in samples).
    pub fn place(&mut self, seq: Seq, timestamp: Timestamp, samples: u32, arrival: i64) -> Place {
        let Some(newest) = self.newest else {
            self.newest =
                Some(Placed { seq, end: timestamp + u64::from(samples), offset: 0, samples, slip: 0, arrival });
            return Place { position: timestamp, slip: 0, settled: 0 };
        };
        let by_timestamp = timestamp.shifted(newest.offset);
        let steps = seq.after(newest.seq);
        if steps <= 0 {
            // Overtaken: at the latest where it would stand if all between were as long as the newest.
            let back = (1 - steps) * i64::from(newest.samples);
            self.note_slip(timestamp, 0);
            return Place { position: by_timestamp.min(newest.end.shifted(-back)), slip: 0, settled: 0 };
        }
        let by_sequence = newest.end.shifted((steps - 1) * i64::from(newest.samples));
        let ahead = by_timestamp.after(by_sequence);
        let time_passed = arrival - newest.arrival;
        let believed = ahead >= -MAX_BEHIND && by_timestamp.after(newest.end) <= time_passed + MAX_AHEAD;
        let (position, slip, settled) = if believed {
            let slip = (-ahead).max(0);
            let settled = self.settle(timestamp, slip);
            (by_timestamp.max(by_sequence), slip - settled, settled)
        } else {
            (self.tick, self.slips) = (None, HistoryBuf::new());
            // Timestamps that stood still too long; or that began anew, which says nothing of a slip.
            let grown = ahead < 0 && -ahead - newest.slip <= i64::from(newest.samples);
            (by_sequence, 0, if grown { -ahead } else { newest.slip })
        };
        self.newest = Some(Placed {
            seq,
            end: position + u64::from(samples),
            offset: position.after(timestamp) - slip,
            slip,
            samples: if samples == 0 { newest.samples } else { samples },
            arrival,
        });
        Place { position, slip, settled }
    }

    /// Notes the slip of a packet that is the newest; how much of it is there to stay.
    fn settle(&mut self, timestamp: Timestamp, slip: i64) -> i64 {
        if self.note_slip(timestamp, slip) {
            return 0;
        }
        if let Some((_, least)) = self.tick.replace((timestamp, slip)) {
            self.slips.write(least);
        }
        let known = self.slips.len() == SETTLED_AFTER;
        let settled = self.slips.oldest_ordered().copied().min().filter(|_| known).unwrap_or(0).min(slip);
        if settled > 0 {
            self.slips.clear();
            self.tick = Some((timestamp, slip - settled));
        }
        settled
    }

    /// Whether it is one of the present tick.
    fn note_slip(&mut self, timestamp: Timestamp, slip: i64) -> bool {
        match &mut self.tick {
            Some((of, least)) if *of == timestamp => {
                *least = slip.min(*least);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Another source: its numbers have nothing to do with those before.
    pub fn restart(&mut self) {
        *self = Timeline::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions, relative to the first packet, of (sequence number, timestamp, arrival in ms), all 20 ms long.
    fn positions(packets: &[(u16, u32, i64)]) -> Vec<i64> {
        let mut timeline = Timeline::default();
        let origin = Timestamp::first(packets[0].1);
        let first = Seq::first(packets[0].0);
        packets
            .iter()
            .map(|(seq, timestamp, ms)| {
                timeline.place(first.extend(*seq), origin.extend(*timestamp), 960, ms * 48).position.after(origin)
            })
            .collect()
    }

    #[test]
    fn an_orderly_stream_stands_at_its_timestamps() {
        assert_eq!(positions(&[(1, 0, 0), (2, 960, 20), (4, 2_880, 60), (3, 1_920, 61)]), [0, 960, 2_880, 1_920]);
    }

    #[test]
    fn bursts_with_one_timestamp_do_not_pile_up() {
        let burst = [(1, 0, 0), (2, 0, 0), (3, 1_920, 40), (4, 1_920, 40), (5, 3_840, 80), (6, 3_840, 80)];
        assert_eq!(positions(&burst), [0, 960, 1_920, 2_880, 3_840, 4_800]);
        let swapped = [(1, 0, 0), (2, 0, 0), (4, 1_920, 40), (3, 1_920, 41), (5, 3_840, 80)];
        assert_eq!(positions(&swapped), [0, 960, 2_880, 1_920, 3_840]);
    }

    #[test]
    fn a_pause_is_a_pause() {
        let thaw = 145_968;
        assert_eq!(positions(&[(1, 0, 0), (2, thaw, 3_041), (3, thaw + 960, 3_061)]), [0, 145_968, 146_928]);
        assert_eq!(positions(&[(1, 0, 0), (2, 1_920, 40)]), [0, 1_920], "one frame withheld");
    }

    #[test]
    fn a_jump_that_took_no_time_is_none() {
        assert_eq!(positions(&[(1, 0, 0), (2, 9_000_000, 20), (3, 9_000_960, 40)]), [0, 960, 1_920]);
        assert_eq!(positions(&[(1, 900_000, 0), (2, 1_000, 20), (3, 1_960, 40)]), [0, 960, 1_920]);
    }

    #[test]
    fn a_jump_settles_nothing() {
        for jump in [9_000_000, 4_000_000_000] {
            let (mut timeline, stamp, first) = (Timeline::default(), Timestamp::first(7), Seq::first(0));
            for n in 0..40_u32 {
                let stamp = stamp.extend((n * 960 + if n < 20 { 7 } else { jump }) % u32::MAX);
                let place = timeline.place(first + u64::from(n), stamp, 960, i64::from(n) * 960);
                assert_eq!((place.slip, place.settled), (0, 0), "packet {n}, {jump}");
            }
        }
    }

    #[test]
    fn what_was_overtaken_stands_before_it_even_if_timestamps_began_anew_in_between() {
        assert_eq!(positions(&[(1, 900_000, 0), (3, 1_000, 40), (2, 900_960, 41)]), [0, 1_920, 960]);
    }

    #[test]
    fn all_that_timestamps_stood_still_for_is_settled_in_the_end() {
        let mut timeline = Timeline::default();
        let (stamp, first, mut settled) = (Timestamp::first(7), Seq::first(0), 0);
        for n in 0..40 {
            let place = timeline.place(first + n, stamp, 960, n as i64 * 960);
            settled += place.settled;
            assert_eq!(place.position.after(stamp) - place.slip - settled, 0, "packet {n}: {place:?}");
        }
        assert!(settled > MAX_BEHIND, "{settled}");
    }

    #[test]
    fn timestamps_that_stand_still_do_not_stop_the_timeline() {
        let packets: Vec<_> = (0..40).map(|n| (n, 7, i64::from(n) * 20)).collect();
        let expected: Vec<_> = (0..40).map(|n| n * 960).collect();
        assert_eq!(positions(&packets), expected);
    }

    #[test]
    fn what_a_mixer_made_up_for_at_once_is_settled_and_a_bursting_mixer_is_not() {
        // 20 ms each, then 100 ms of nothing, five packets at once, and on time again.
        let mut stamps: Vec<u32> = (0..20).map(|n| n * 960).collect();
        stamps.extend([25 * 960; 5]);
        stamps.extend((26..60).map(|n| n * 960));
        let settled = |stamps: &[u32]| -> Vec<(usize, i64)> {
            let mut timeline = Timeline::default();
            let (origin, first) = (Timestamp::first(0), Seq::first(0));
            let places = stamps.iter().enumerate().map(|(n, stamp)| {
                let arrival = i64::from(*stamp);
                timeline.place(first.extend(n as u16), origin.extend(*stamp), 960, arrival).settled
            });
            places.enumerate().filter(|(_, settled)| *settled != 0).collect()
        };
        assert_eq!(settled(&stamps), [(29, 4 * 960)]);
        let bursts: Vec<u32> = (0..100).map(|n| n / 4 * 4 * 960).collect();
        assert_eq!(settled(&bursts), []);
    }
}
