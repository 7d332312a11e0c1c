//! When our packets come to a mixer, and how long the queue becomes that it keeps of them.
//!
//! A mixer takes a packet of each speaker at each of its ticks. One that comes too late for its tick leaves a hole, and from then on
//! there is always one more in the queue: whatever is said is heard a tick later, for good, until the mixer throws away all that
//! waits (Asterisk: at 80 ms). It tells nobody.
//!
//! * *In time.* Asterisk's `Answer` waits for our first packet before it goes on (`__ast_answer` in its `main/channel.c`), and the ticks
//!   of a room begin when the first one enters: so each comes two milliseconds after a packet of ours, and one that is as little late
//!   is too late. The second packet begins half a packet later: from then on they come in the middle between two ticks.
//! * *Short again.* What we sent late we know. A packet of silence that is left out makes the queue one shorter; where there was none
//!   in it, silence has a hole that is silent.
//!
//! ```text
//!   tick        1   2   3   4   5   6   7   8
//!   we send     a   b    (c)d   e   f   -   h       c is late, silence is left out
//!   it plays    a   b   -   c   d   e   f   h
//! ```
//!
//! A machine that is late again and again would have a hole in what is said each time, were the queue made short each time: it keeps
//! the queue for most of the time. A card that was restarted has left holes already.

use super::gain;
use crate::time::{Span, Time};

/// What a mixer takes at a tick, in samples; the longest packet that is left out.
const TICK: usize = 960;
/// Later than this may be too late for the tick.
const LATE: Span = Span::from_millis(5);
/// No mixer keeps more: 80 ms.
const MOST: usize = 4 * TICK;
/// Nothing is left out sooner after the machine was late, ...
const CALM: Span = Span::from_secs(2);
/// ... nor again within this time.
const SELDOM: Span = Span::from_secs(30);
/// Peak of what is silence: -48 dBFS. Room noise of 20 ms more or less is not heard.
const QUIET: u16 = 128;
/// Not in the middle of a word: so much before it was quiet, too, 100 ms.
const PAUSE: usize = 4_800;

#[derive(Debug)]
pub(super) struct Slack {
    /// Frames of the call, as far as they matter.
    frames: u8,
    /// Samples that may wait for nothing.
    waiting: usize,
    /// Nothing is left out before.
    not_before: Time,
    /// What was sent last was sent late.
    is_late: bool,
    /// Samples in a row that were quiet.
    quiet: usize,
}

impl Slack {
    /// A call begins.
    pub(super) fn new(now: Time) -> Slack {
        Slack { frames: 0, waiting: TICK, not_before: now + CALM, is_late: false, quiet: 0 }
    }

    /// Packets come again after a hole.
    pub(super) fn on_restarted(&mut self, now: Time) {
        self.waiting = (self.waiting + TICK).min(MOST);
        self.not_before = now + CALM;
    }

    /// The first of what is sent now had been recorded so long ago.
    pub(super) fn on_recorded(&mut self, now: Time, late: Span) {
        let before = std::mem::replace(&mut self.is_late, late >= LATE);
        if self.is_late {
            self.waiting = (self.waiting + if before { 0 } else { TICK }).min(MOST);
            self.not_before = self.not_before.max(now + CALM);
        }
    }

    /// How many samples of this frame, from its beginning on, are better left out: none, half or all of them.
    pub(super) fn leaves_out(&mut self, now: Time, frame: &[i16]) -> usize {
        self.frames = self.frames.saturating_add(1);
        if self.frames == 2 {
            return frame.len() / 2;
        }
        if gain::peak(frame) > QUIET {
            self.quiet = 0;
            return 0;
        }
        let paused = self.quiet >= PAUSE;
        self.quiet = (self.quiet + frame.len()).min(PAUSE);
        if !paused || self.waiting == 0 || frame.len() > TICK || now < self.not_before {
            return 0;
        }
        self.waiting = self.waiting.saturating_sub(frame.len());
        if self.waiting == 0 {
            self.not_before = now + SELDOM;
        }
        frame.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(60_000);

    /// Sends frames of this peak for so many ms, and says at which of them, in ms, how many samples were left out.
    fn left_out(slack: &mut Slack, from_ms: u64, ms: u64, peak: i16, samples: usize) -> Vec<(u64, usize)> {
        let step = samples as u64 / 48;
        let frame = vec![peak; samples];
        let ends = (from_ms..from_ms + ms).step_by(step as usize);
        let all = ends.map(|at| (at, slack.leaves_out(START + Span::from_millis(at), &frame)));
        all.filter(|(_, left_out)| *left_out > 0).collect()
    }

    /// In the course of a call.
    fn settled() -> Slack {
        let mut slack = Slack::new(START);
        left_out(&mut slack, 0, 40_000, 0, 960);
        slack
    }

    #[test]
    fn the_second_packet_begins_half_a_packet_later() {
        for samples in [240, 960, 2_880] {
            let left_out = left_out(&mut Slack::new(START), 0, 1_000, 5_000, samples);
            assert_eq!(left_out, [(samples as u64 / 48, samples / 2)]);
        }
    }

    #[test]
    fn a_call_begins_with_one_packet_too_many_until_there_is_a_pause() {
        let after_talk = |samples, peak| {
            let mut slack = Slack::new(START);
            left_out(&mut slack, 0, 10_000, 5_000, samples);
            left_out(&mut slack, 10_000, 60_000, peak, samples)
        };
        assert_eq!(after_talk(960, 50), [(10_100, 960)], "100 ms of it are a pause");
        assert_eq!(after_talk(960, 5_000), [], "nobody loses a word");
        assert_eq!(after_talk(240, 50), [10_100, 10_105, 10_110, 10_115].map(|at| (at, 240)), "a tick is four of them");
        assert_eq!(after_talk(2_880, 50), [], "it would be too much");
        assert_eq!(left_out(&mut Slack::new(START), 0, 60_000, 0, 960)[1..], [(2_000, 960)], "the call has begun");
    }

    #[test]
    fn what_left_late_is_made_up_for_by_a_silent_packet_when_the_machine_is_calm_again() {
        let mut slack = settled();
        let late = |slack: &mut Slack, at, ms| {
            slack.on_recorded(START + Span::from_millis(at), Span::from_millis(ms));
            slack.on_recorded(START + Span::from_millis(at), Span::ZERO);
        };
        late(&mut slack, 40_000, 4);
        assert_eq!(left_out(&mut slack, 40_000, 10_000, 0, 960), [], "hardly late");
        late(&mut slack, 50_000, 5);
        assert_eq!(left_out(&mut slack, 50_000, 10_000, 0, 960), [(52_000, 960)]);
        late(&mut slack, 60_000, 15);
        late(&mut slack, 61_000, 15);
        assert_eq!(left_out(&mut slack, 61_000, 60_000, 0, 960), [(82_000, 960), (82_020, 960)], "not all the time");
        (0..100).for_each(|_| late(&mut slack, 200_000, 15));
        assert_eq!(left_out(&mut slack, 200_000, 60_000, 0, 960).len(), 4, "more is in no queue");
    }

    #[test]
    fn after_a_restart_it_is_made_up_for_soon() {
        let mut slack = settled();
        slack.on_recorded(START + Span::from_secs(40), LATE);
        assert_eq!(left_out(&mut slack, 40_000, 3_000, 0, 960), [(42_000, 960)]);
        slack.on_restarted(START + Span::from_secs(43));
        assert_eq!(left_out(&mut slack, 43_000, 10_000, 0, 960), [(45_000, 960)]);
    }
}
