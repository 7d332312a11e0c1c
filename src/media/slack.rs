//! When our packets come to a mixer, and how long the queue becomes that it keeps of them.
//!
//! A mixer takes a packet of each speaker at each of its ticks. One that comes too late for its tick leaves a hole, and from then on
//! there is always one more in the queue: whatever is said is heard a tick later, for good, until the mixer throws away all that
//! waits (Asterisk: at 80 ms). It tells nobody.
//!
//! * *In time.* Asterisk's `Answer` waits for our first packet before it goes on (`__ast_answer` in its `main/channel.c`), and the ticks
//!   of a room begin when the first one enters: so each comes a moment after a packet of ours, and one that is late by as little is too
//!   late. So the second packet leaves half a packet after the first (`stream/up.rs`): from then on they come between the ticks.
//! * *Short again.* A call may begin with one packet too many (`Answer` gives the first one back to be read again), a restart of the card
//!   may leave one, and what we sent late we know. A packet of silence that is left out makes the queue one shorter; where there was none
//!   too many in it, silence has a hole that is silent.
//!
//! ```text
//!   tick        1   2   3   4   5   6   7   8
//!   we send     a   b    (c)d   e   f   -   h       c is late, silence is left out
//!   it plays    a   b   -   c   d   e   f   h
//! ```
//!
//! A machine that is late again and again would have a hole in what is said each time, were the queue made short each time: it keeps
//! the queue for most of the time. A card that was restarted has left holes already.

use super::delay::samples_last;
use super::gain;
use crate::time::{Span, Time};

/// What a mixer takes at a tick, in samples; the longest packet that is left out.
pub(super) const TICK: usize = 960;
/// Later than this may be too late for the tick.
const LATE: Span = Span::from_millis(5);
/// No mixer keeps more: 80 ms.
const MOST: usize = 4 * TICK;
/// Nothing is left out sooner after the machine was late, ...
const CALM: Span = Span::from_secs(2);
/// ... nor again within this time.
const SELDOM: Span = Span::from_secs(30);
/// Peak of what is silence: -48 dBFS.
const QUIET: u16 = 128;
/// Not in the middle of a word: so much before it was quiet, too, 100 ms.
const PAUSE: usize = 4_800;

#[derive(Debug)]
pub(super) struct Slack {
    /// Samples that may wait for nothing.
    waiting: usize,
    /// Nothing is left out before.
    not_before: Time,
    /// Samples after which the next are due to be read; 0: that is not known.
    due: usize,
    /// Those were read late.
    is_late: bool,
    /// Samples in a row that were quiet, since something may be left out.
    quiet: usize,
}

impl Slack {
    /// A call begins.
    pub(super) fn new(now: Time) -> Slack {
        Slack { waiting: TICK, not_before: now + CALM, due: 0, is_late: false, quiet: 0 }
    }

    /// Packets come again after a hole.
    pub(super) fn on_restarted(&mut self, now: Time) {
        self.waiting = (self.waiting + TICK).min(MOST);
        self.not_before = now + CALM;
        self.due = 0;
    }

    /// The card is lost: packets are left out until silence comes in its place.
    pub(super) fn on_lost(&mut self) {
        self.due = 0;
    }

    /// So many samples were read, so long after those before had been recorded. The next are due when there are as many again.
    pub(super) fn on_recorded(&mut self, now: Time, passed: Span, samples: usize) {
        let is_known = self.due > 0;
        let late = is_known && passed - samples_last(self.due as u64) >= LATE;
        if late {
            // A step of the card's clock is late for a while, and is one.
            self.waiting = if self.is_late { self.waiting } else { (self.waiting + TICK).min(MOST) };
            self.not_before = self.not_before.max(now + CALM);
        }
        (self.due, self.is_late) = (samples, late);
    }

    /// They are due when there are so many instead.
    pub(super) fn on_awaited(&mut self, samples: usize) {
        if self.due > 0 {
            self.due = samples;
        }
    }

    /// Whether this frame is better left out.
    pub(super) fn leaves_out(&mut self, now: Time, frame: &[i16]) -> bool {
        if self.waiting == 0 || now < self.not_before || frame.len() > TICK || gain::peak(frame) > QUIET {
            self.quiet = 0;
            return false;
        }
        if self.quiet < PAUSE {
            self.quiet += frame.len();
            return false;
        }
        self.waiting = self.waiting.saturating_sub(frame.len());
        if self.waiting == 0 {
            self.not_before = now + SELDOM;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(60_000);

    /// Sends frames of this peak for so many ms, and says at which of them, in ms, one was left out.
    fn left_out(slack: &mut Slack, from_ms: u64, ms: u64, peak: i16, samples: usize) -> Vec<u64> {
        let step = samples as u64 / 48;
        let frame = vec![peak; samples];
        let ends = (from_ms..from_ms + ms).step_by(step as usize);
        ends.filter(|at| slack.leaves_out(START + Span::from_millis(*at), &frame)).collect()
    }

    /// In the course of a call.
    fn settled() -> Slack {
        let mut slack = Slack::new(START);
        slack.on_recorded(START, Span::ZERO, 480);
        assert_eq!(left_out(&mut slack, 0, 40_000, 0, 960), [2_100], "the call has begun");
        slack
    }

    /// At this time a period of 10 ms was read so late, and the next one when it was due.
    fn late(slack: &mut Slack, at_ms: u64, ms: u64) {
        for passed in [10 + ms, 10] {
            slack.on_recorded(START + Span::from_millis(at_ms), Span::from_millis(passed), 480);
        }
    }

    #[test]
    fn a_call_begins_with_one_packet_too_many_until_there_is_a_pause() {
        let after_talk = |samples, peak| {
            let mut slack = Slack::new(START);
            left_out(&mut slack, 0, 10_000, 5_000, samples);
            left_out(&mut slack, 10_000, 60_000, peak, samples)
        };
        assert_eq!(after_talk(960, 50), [10_100], "100 ms of it are a pause");
        assert_eq!(after_talk(960, 5_000), [0; 0], "nobody loses a word");
        assert_eq!(after_talk(240, 50), [10_100, 10_105, 10_110, 10_115], "a tick is four of them");
        assert_eq!(after_talk(2_880, 50), [0; 0], "it would be too much");
    }

    #[test]
    fn what_left_late_is_made_up_for_by_a_silent_packet_when_the_machine_is_calm_again() {
        let mut slack = settled();
        late(&mut slack, 40_000, 4);
        assert_eq!(left_out(&mut slack, 40_000, 10_000, 0, 960), [0; 0], "hardly late");
        late(&mut slack, 50_000, 5);
        assert_eq!(left_out(&mut slack, 50_000, 10_000, 0, 960), [52_100]);
        late(&mut slack, 60_000, 15);
        late(&mut slack, 61_000, 15);
        assert_eq!(left_out(&mut slack, 61_000, 60_000, 0, 960), [82_200, 82_220], "not all the time");
        (0..100).for_each(|_| late(&mut slack, 200_000, 15));
        assert_eq!(left_out(&mut slack, 200_000, 60_000, 0, 960).len(), 4, "more is in no queue");
    }

    #[test]
    fn what_was_awaited_for_longer_than_the_time_before_was_not_late() {
        let mut slack = settled();
        for (passed, samples, awaited) in
            [(10, 480, 480), (10, 480, 960), (20, 960, 960), (20, 960, 480), (10, 480, 960)]
        {
            slack.on_recorded(START + Span::from_secs(41), Span::from_millis(passed), samples);
            slack.on_awaited(awaited);
        }
        assert_eq!(left_out(&mut slack, 41_000, 60_000, 0, 960), [0; 0]);
        slack.on_recorded(START + Span::from_secs(101), Span::from_millis(25), 960);
        assert_eq!(left_out(&mut slack, 101_000, 60_000, 0, 960).len(), 1);
    }

    #[test]
    fn a_clock_that_made_a_step_was_late_once() {
        let mut slack = settled();
        (0..20).for_each(|_| slack.on_recorded(START, Span::from_millis(30), 480));
        assert_eq!(left_out(&mut slack, 40_000, 60_000, 0, 960).len(), 1);
    }

    #[test]
    fn after_a_restart_it_is_made_up_for_soon() {
        let mut slack = settled();
        late(&mut slack, 40_000, 5);
        assert_eq!(left_out(&mut slack, 40_000, 3_000, 0, 960), [42_100]);
        slack.on_restarted(START + Span::from_secs(43));
        slack.on_recorded(START + Span::from_secs(43), Span::from_millis(20), 480);
        assert_eq!(left_out(&mut slack, 43_000, 60_000, 0, 960), [45_100]);
        slack.on_lost();
        slack.on_recorded(START + Span::from_secs(103), Span::from_millis(40), 960);
        assert_eq!(left_out(&mut slack, 103_000, 60_000, 0, 960), [0; 0], "holes make no queue longer");
    }
}
