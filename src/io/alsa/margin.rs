//! How much silence is kept behind the period that plays, so that a late wake-up is not heard.
//!
//! A card that ran dry gets an eighth of the rest of its buffer more, and gives it back when it has run for long: a conference may
//! last for months, and each stumble in it would be delay for good. Where it was given back too soon it is kept for twice as long.

use super::Stopped;
use crate::media::delay::samples_last;
use crate::time::Span;

/// All in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Margin {
    frames: usize,
    /// What the queue has beyond what is played between two wake-ups.
    most: usize,
    asleep: usize,
    /// After how many frames without a stop a part is given back, and how many there have been.
    kept_for: usize,
    calm: usize,
    /// Some was given back since the card ran dry last.
    given_back: bool,
}

/// How long the first part is kept, two minutes, and at most, two hours.
const KEPT_FOR: usize = 120 * 48_000;
const KEPT_FOR_AT_MOST: usize = 60 * KEPT_FOR;

impl Margin {
    /// A quarter of `spare`, which is what the queue has beyond the frames that are played while we are `asleep`.
    pub(super) fn new(spare: usize, asleep: usize) -> Margin {
        Margin { frames: spare / 4, most: spare, asleep, kept_for: KEPT_FOR, calm: 0, given_back: false }
    }

    fn part(&self) -> usize {
        self.most / 8
    }

    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// The card has stopped `after` its last reading.
    ///
    /// The microphone is asked first, and linked directions stop together: that it overran says as much as that the loudspeaker ran
    /// dry. Who was late by more than the longest margin would not have been helped by it.
    pub(super) fn on_stopped(&mut self, why: Stopped, after: Span) {
        self.calm = 0;
        match why {
            Stopped::Overrun | Stopped::Underrun if after <= samples_last((self.asleep + self.most) as u64) => {
                self.frames = (self.frames + self.part()).min(self.most);
                if std::mem::take(&mut self.given_back) {
                    self.kept_for = (2 * self.kept_for).min(KEPT_FOR_AT_MOST);
                }
            }
            Stopped::Overrun | Stopped::Underrun | Stopped::Suspended => {}
        }
    }

    /// So many frames are to be written, and nothing has stopped. Returns how many fewer it shall be.
    pub(super) fn give_back(&mut self, frames: usize) -> usize {
        let part = self.part().min(frames);
        let spare = (self.frames - self.most / 4).min(part);
        self.calm = self.calm.saturating_add(frames);
        if self.calm > KEPT_FOR_AT_MOST {
            (self.kept_for, self.given_back) = (KEPT_FOR, false);
        }
        if spare == 0 || self.calm < self.kept_for {
            return 0;
        }
        self.calm = 0;
        self.frames -= spare;
        self.given_back = true;
        spare
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(margin: &mut Margin, why: Stopped, ms: u64) -> usize {
        margin.on_stopped(why, Span::from_millis(ms));
        margin.frames()
    }

    #[test]
    fn the_margin_grows_where_a_greater_one_would_have_helped() {
        let of = |why, ms| stopped(&mut Margin::new(960, 480), why, ms);
        assert_eq!([of(Stopped::Underrun, 16), of(Stopped::Overrun, 30)], [360, 360]);
        assert_eq!([of(Stopped::Underrun, 31), of(Stopped::Overrun, 2_000)], [240, 240], "a freeze");
        assert_eq!(of(Stopped::Suspended, 16), 240);
        let mut margin = Margin::new(960, 480);
        assert_eq!((0..8).map(|_| stopped(&mut margin, Stopped::Underrun, 16)).max(), Some(960));
    }

    /// How many seconds of periods pass until the margin is as it was.
    fn grown_for(margin: &mut Margin) -> usize {
        let mut periods = 0;
        while margin.frames() > 240 && periods < 10_000_000 {
            let fewer = margin.give_back(480);
            assert!([0, 120].contains(&fewer));
            periods += 1;
        }
        periods / 100
    }

    #[test]
    fn no_more_is_given_back_than_was_to_be_written() {
        // A buffer of 19 periods of 10 ms.
        let mut margin = Margin::new(19 * 480, 960);
        let before = stopped(&mut margin, Stopped::Underrun, 16);
        let fewer = (0..20_000).map(|_| margin.give_back(480)).max();
        assert_eq!((fewer, before - margin.frames()), (Some(480), 480));
    }

    #[test]
    fn the_margin_shrinks_when_nothing_has_stopped_for_long() {
        let mut margin = Margin::new(960, 480);
        assert_eq!((0..1_000).map(|_| margin.give_back(480)).sum::<usize>(), 0, "there is nothing to give back");
        (0..3).for_each(|_| _ = stopped(&mut margin, Stopped::Underrun, 16));
        let mut kept = || (0..2_000_000).filter(|_| margin.give_back(480) > 0).collect::<Vec<_>>();
        assert_eq!(kept(), [11_999, 23_999, 35_999]);
        margin.on_stopped(Stopped::Overrun, Span::from_millis(16));
        for _ in 0..2 {
            assert_eq!((0..11_000).map(|_| margin.give_back(480)).sum::<usize>(), 0);
            margin.on_stopped(Stopped::Suspended, Span::from_secs(9));
        }
    }

    #[test]
    fn what_was_given_back_too_soon_is_kept_for_longer_until_all_is_well() {
        let mut margin = Margin::new(960, 480);
        let mut kept = |pause: usize| {
            stopped(&mut margin, Stopped::Underrun, 16);
            let seconds = grown_for(&mut margin);
            (0..pause * 100).for_each(|_| _ = margin.give_back(480));
            seconds
        };
        assert_eq!([60, 60, 60, 60, 60, 60, 60, 60].map(&mut kept), [120, 240, 480, 960, 1_920, 3_840, 7_200, 7_200]);
        assert_eq!([7_201, 60, 60].map(&mut kept), [7_200, 120, 240]);
    }
}
