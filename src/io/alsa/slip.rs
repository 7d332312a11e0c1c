//! How much is written to the playback queue: as much as was read; a period more or less where two cards have two clocks, and
//! a little less once where the [`Margin`] shrinks.

use super::margin::Margin;
use std::cmp::Ordering;

/// What was read and is not yet answered by as much written.
#[derive(Clone, Copy, Default)]
pub(super) struct Owed {
    pub(super) periods: usize,
    pub(super) frames: usize,
}

/// How far the playback queue is from where capture says it should be, over half a second.
///
/// The pointers of some cards move in coarse steps, each on its own: only what holds for all of that time is drift.
#[derive(Default)]
pub(super) struct Slip {
    seen: usize,
    least: isize,
    most: isize,
}

impl Slip {
    /// How many frames to write for `owed`, when these would leave the queue `error` frames too long.
    pub(super) fn frames(&mut self, owed: Owed, error: isize, margin: &mut Margin, period: usize) -> usize {
        let frames = match self.periods(owed.periods, error, margin.frames(), period).cmp(&owed.periods) {
            Ordering::Less => owed.frames.saturating_sub(period),
            Ordering::Equal => owed.frames,
            Ordering::Greater => owed.frames + period,
        };
        frames - margin.give_back(frames)
    }

    /// How many periods to write instead of `owed`.
    fn periods(&mut self, owed: usize, error: isize, margin: usize, period: usize) -> usize {
        if owed == 0 {
            return 0;
        }
        if self.seen >= SLIP_AFTER {
            *self = Slip::default();
        }
        (self.least, self.most) =
            if self.seen == 0 { (error, error) } else { (self.least.min(error), self.most.max(error)) };
        self.seen += owed;
        if self.seen < SLIP_AFTER {
            owed
        } else if self.most < -(margin as isize) / 4 {
            owed + 1
        // More than a period too long: what one period more has made too long is not taken back by one less.
        } else if self.least > period as isize {
            owed - 1
        } else {
            owed
        }
    }
}

/// Periods after which drift is judged: half a second, if they are of 10 ms.
const SLIP_AFTER: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::alsa::Stopped;
    use crate::time::Span;

    /// Shortest and longest queue just before and after writing, over ten minutes of periods of 480 and a margin of 240, and
    /// how many periods more and less were written. `coarse`: the interrupts, of two, at which the pointer shows 512
    /// frames too many.
    fn queue_under_drift(ppm: f64, coarse: Option<i32>) -> (f64, f64, [usize; 2]) {
        let (mut slip, mut slips) = (Slip::default(), [0, 0]);
        let (mut queue, mut shortest, mut longest) = (720.0f64, f64::MAX, f64::MIN);
        for turn in 0..60_000 {
            queue -= 480.0 * (1.0 + ppm * 1e-6);
            // A coarse pointer shows 512 frames more in the queue than there are, every other time.
            let seen = if coarse == Some(turn % 2) { queue + 512.0 } else { queue };
            shortest = shortest.min(queue);
            let periods = slip.periods(1, (seen + 480.0 - 720.0).round() as isize, 240, 480);
            slips[0] += usize::from(periods > 1);
            slips[1] += usize::from(periods < 1);
            queue += (periods * 480) as f64;
            longest = longest.max(queue);
        }
        (shortest, longest, slips)
    }

    #[test]
    fn the_playback_queue_neither_runs_dry_nor_over_when_clocks_drift() {
        assert_eq!(queue_under_drift(0.0, None), (240.0, 720.0, [0, 0]));
        for turn in [0, 1] {
            assert_eq!(queue_under_drift(0.0, Some(turn)), (240.0, 720.0, [0, 0]), "a coarse pointer is no drift");
        }
        for ppm in [-2_000.0_f64, -100.0, -20.0, 20.0, 100.0, 2_000.0] {
            let (shortest, longest, [more, less]) = queue_under_drift(ppm, None);
            assert!(shortest > 60.0 && longest < 1_400.0, "{ppm} ppm: {shortest}..{longest}");
            // So many periods are ten minutes at that rate; and each goes one way.
            let drifted = (60_000.0 * ppm.abs() * 1e-6) as usize;
            let (with, against) = if ppm > 0.0 { (more, less) } else { (less, more) };
            assert!(against == 0 && with.abs_diff(drifted) <= 1, "{ppm} ppm: {more} more, {less} less");
        }
    }

    #[test]
    fn what_the_margin_gives_back_is_not_written() {
        let (mut slip, mut margin) = (Slip::default(), Margin::new(960, 480));
        margin.on_stopped(Stopped::Underrun, Span::from_millis(16));
        let owed = Owed { periods: 1, frames: 480 };
        let written: Vec<usize> = (0..60_000).map(|_| slip.frames(owed, 0, &mut margin, 480)).collect();
        assert_eq!(written.iter().filter(|frames| **frames != 480).collect::<Vec<_>>(), [&360]);
        assert_eq!(margin.frames(), 240);
    }
}
