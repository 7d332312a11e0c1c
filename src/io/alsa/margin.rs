//! How much silence is kept behind the period that plays, so that a late wake-up is not heard.

use super::Stopped;
use crate::media::delay::samples_last;
use crate::time::Span;

/// The margin after the card has stopped `after` its last reading; `most` is what the queue has beyond a period. All in frames.
///
/// The microphone is asked first, and linked directions stop together: that it overran says as much as that the loudspeaker ran
/// dry. Who was late by more than the longest margin would not have been helped by it.
pub(super) fn after(margin: usize, why: Stopped, after: Span, period: usize, most: usize) -> usize {
    match why {
        Stopped::Overrun | Stopped::Underrun if after <= samples_last((period + most) as u64) => {
            (margin + period / 4).min(most)
        }
        Stopped::Overrun | Stopped::Underrun | Stopped::Suspended => margin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_grows_where_a_greater_one_would_have_helped() {
        let stopped = |why, ms| after(240, why, Span::from_millis(ms), 480, 960);
        assert_eq!([stopped(Stopped::Underrun, 16), stopped(Stopped::Overrun, 30)], [360, 360]);
        assert_eq!([stopped(Stopped::Underrun, 31), stopped(Stopped::Overrun, 2_000)], [240, 240], "a freeze");
        assert_eq!(stopped(Stopped::Suspended, 16), 240);
        assert_eq!(after(900, Stopped::Underrun, Span::from_millis(16), 480, 960), 960);
    }
}
