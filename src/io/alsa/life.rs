//! The lives of a card that comes and goes: when it is tried again, and when that it is back is news.
//!
//! ```text
//!   open ---> trial ---- both directions moved for `proof` ---> returned, told ---- lost, told ---> away
//!                |                                                                                   |  `pause`
//!                +---- lost, not told ----> away <---------------------------------------------------+
//! ```
//!
//! Sound is there from the first period on, trial or not. A card that dies within a second is tried ever more rarely: it
//! would cost a board more than the call. One with a loose plug lives longer, and is taken back at once each time; but it
//! has to prove itself for longer each time, so that it makes no flood of news.

use crate::media::command::CardError;
use crate::time::{Span, Time};

/// There is no card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::io) struct Away {
    pub(in crate::io) since: Time,
    pub(in crate::io) retry_at: Time,
    /// Between two tries.
    pub(in crate::io) pause: Span,
    /// Of the life that follows.
    proof: Span,
}

/// How long an open card has been running, and what it has to show yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::io) struct Life {
    /// It was started last then.
    pub(in crate::io) since: Time,
    pub(in crate::io) trial: Trial,
    /// The pause before it was opened; zero at its first opening.
    pause: Span,
    /// It has returned when both directions have moved for so long.
    proof: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::io) enum Trial {
    Passed,
    /// Lost at that time, in this call, and that it returned is not told yet.
    Pending {
        lost: Time,
    },
}

/// When each direction of the card last moved.
#[derive(Clone, Copy)]
pub(in crate::io) struct Moved {
    pub(in crate::io) capture: Time,
    pub(in crate::io) playback: Time,
    /// So often in a row the card woke us for nothing: its descriptors are not listened to for a moment.
    false_alarms: u8,
}

/// How long a card's descriptors are not listened to after they woke us for nothing; longer each time, up to a period.
const FALSE_ALARM: Span = Span::from_millis(2);
/// A card that has not moved for so long is stuck; long enough for the pauses of a virtual machine.
pub(in crate::io) const STALL: Span = Span::from_millis(300);
/// A card that was lost sooner than this after its start is tried again later than the time before, at most so late.
pub(in crate::io) const LONGEST_PAUSE: Span = Span::from_secs(5);
const DEAD_AT_BIRTH: Span = Span::from_secs(1);
/// The first proof, and the longest.
const PROOF: Span = Span::from_secs(1);
const LONGEST_PROOF: Span = Span::from_secs(16);
/// A card that ran for less before it was lost has to prove itself for longer the next time.
const SHORT_LIFE: Span = Span::from_secs(10);

impl Moved {
    pub(in crate::io) const fn at(now: Time) -> Moved {
        Moved { capture: now, playback: now, false_alarms: 0 }
    }

    pub(in crate::io) fn on_captured(&mut self, now: Time) {
        (self.capture, self.false_alarms) = (now, 0);
    }

    pub(in crate::io) fn on_false_alarm(&mut self) {
        self.false_alarms = self.false_alarms.saturating_add(1);
    }

    /// How long the card is not listened to now; `None`: it is.
    pub(in crate::io) fn deaf_for(&self, period: Span) -> Option<Span> {
        (self.false_alarms > 0).then(|| FALSE_ALARM.times(self.false_alarms.into()).min(period))
    }
}

impl Away {
    /// It was not there when it was wanted.
    pub(in crate::io) fn first(now: Time, pause: Span) -> Away {
        Away { since: now, retry_at: now + pause, pause, proof: PROOF }
    }

    /// It cannot be opened. Opening may have taken long: the pause comes after it. A card that is not there, or is busy, does not
    /// die at birth: when it comes it is taken at once, whatever it did before.
    pub(in crate::io) fn still(&mut self, now: Time, error: CardError, first_pause: Span) {
        if matches!(error, CardError::Absent | CardError::Busy) {
            self.pause = first_pause;
        }
        self.retry_at = now + self.pause;
    }

    /// It can be opened.
    pub(in crate::io) fn life(self, now: Time) -> Life {
        Life { since: now, trial: Trial::Pending { lost: self.since }, pause: self.pause, proof: self.proof }
    }
}

impl Life {
    /// It was there when it was wanted.
    pub(in crate::io) fn first(now: Time) -> Life {
        Life { since: now, trial: Trial::Passed, pause: Span::ZERO, proof: PROOF }
    }

    pub(in crate::io) fn restarted(&mut self, now: Time) {
        match self.trial {
            Trial::Passed => {}
            Trial::Pending { .. } => self.since = now,
        }
    }

    /// How long the card was away, once it has shown that it is back.
    pub(in crate::io) fn proven(&mut self, now: Time, moved: Moved) -> Option<Span> {
        let Trial::Pending { lost } = self.trial else { return None };
        let both = moved.capture > self.since && moved.playback > self.since;
        (both && now.since(self.since) >= self.proof).then(|| {
            self.trial = Trial::Passed;
            self.since.since(lost)
        })
    }

    /// Its end at `now`.
    pub(in crate::io) fn over(self, now: Time, error: CardError, first_pause: Span) -> Away {
        let lived = now.since(self.since);
        let since = match self.trial {
            Trial::Passed => now,
            Trial::Pending { lost } => lost,
        };
        // A clock that goes on gives no sign but that it goes: it is looked at as often as a card that left.
        let pause = if lived < DEAD_AT_BIRTH && error != CardError::Stalled {
            self.pause.times(2).min(LONGEST_PAUSE).max(first_pause)
        } else {
            first_pause
        };
        let is_first = self.pause == Span::ZERO;
        let proof = if is_first || lived >= SHORT_LIFE { PROOF } else { self.proof.times(2).min(LONGEST_PROOF) };
        Away { since, retry_at: now + pause, pause, proof }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Span = Span::from_millis(500);

    /// Pauses in ms after lives that end with `error` after `lived`, and what they had to prove.
    fn lives(error: CardError, lived: Span) -> (Vec<u64>, Vec<u64>) {
        let lost = Time::from_millis(10_000);
        let mut away = Away::first(lost, FIRST);
        let ends = |_| {
            let (lost, born) = (away.since, away.retry_at);
            let mut life = away.life(born);
            let now = born + lived;
            let told = life.proven(now, Moved::at(now)).is_some();
            assert_eq!(told, lived >= life.proof);
            away = life.over(now, error, FIRST);
            assert_eq!(away.since, if told { now } else { lost }, "an absence goes on until its end was told");
            (away.pause.as_millis(), life.proof.as_millis())
        };
        (0..6).map(ends).unzip()
    }

    #[test]
    fn a_card_that_opens_but_does_not_run_is_tried_ever_more_rarely_and_never_told_as_returned() {
        let (pauses, _) = lives(CardError::Other(5), Span::from_millis(20));
        assert_eq!(pauses, [1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
        let (pauses, _) = lives(CardError::Stalled, STALL);
        assert_eq!(pauses, [500; 6], "its clock may go on at any time");
        let (lost, pause) = (Time::from_millis(10_000), Span::from_secs(5));
        for (error, pause_ms) in [(CardError::Other(5), 5_000), (CardError::Absent, 500), (CardError::Busy, 500)] {
            let (mut away, tried) = (Away { pause, ..Away::first(lost, FIRST) }, lost + Span::from_secs(60));
            away.still(tried, error, FIRST);
            assert_eq!(away.retry_at, tried + Span::from_millis(pause_ms), "{error:?}");
        }
    }

    #[test]
    fn a_card_that_wakes_us_for_nothing_is_listened_to_less_and_less_often() {
        let (now, period) = (Time::from_millis(10_000), Span::from_millis(10));
        let mut moved = Moved::at(now);
        assert_eq!(moved.deaf_for(period), None);
        let mut deaf = |_| {
            moved.on_false_alarm();
            moved.deaf_for(period).map(|span| span.as_millis())
        };
        assert_eq!([1, 2, 3, 4, 5, 6].map(&mut deaf), [2, 4, 6, 8, 10, 10].map(Some));
        assert_eq!((0..300).map(&mut deaf).last(), Some(Some(10)), "however often");
        moved.on_captured(now);
        assert_eq!(moved.deaf_for(period), None);
    }

    #[test]
    fn a_loose_plug_is_taken_back_at_once_and_told_ever_less_often() {
        let (pauses, proofs) = lives(CardError::Absent, Span::from_secs(3));
        assert_eq!(pauses, [500; 6]);
        assert_eq!(proofs, [1_000, 2_000, 4_000, 8_000, 16_000, 16_000]);
        let (pauses, proofs) = lives(CardError::Absent, Span::from_secs(60));
        assert_eq!((pauses, proofs), (vec![500; 6], vec![1_000; 6]));
    }

    #[test]
    fn a_card_has_returned_when_both_directions_have_moved_for_a_while_without_an_xrun() {
        let lost = Time::from_millis(10_000);
        let since = Time::from_millis(12_000);
        let mut life = Away::first(lost, FIRST).life(since);
        let later = since + PROOF;
        assert_eq!(life.proven(later, Moved { playback: since, ..Moved::at(later) }), None, "one direction stands");
        life.restarted(later);
        assert_eq!(life.proven(later, Moved::at(later)), None, "an xrun begins the trial anew");
        let later = later + PROOF;
        assert_eq!(life.proven(later, Moved::at(later)), Some(Span::from_secs(3)));
        assert_eq!(life.proven(later, Moved::at(later)), None, "told once");
    }
}
