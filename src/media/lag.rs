//! How much later than they were recorded samples are read: a card takes its time to start, and we to wake up.
//!
//! Packets leave when samples are read. Were a card that begins again in a call started where the packets before left, those
//! after would leave later by this much, each time it begins.

use super::delay::samples_last;
use crate::time::{Span, Time};

/// From so many samples after the start on, the card's clock may be off by as much: 500 ms.
const MEASURED: usize = 24_000;

#[derive(Debug)]
pub(super) struct Lag {
    started: Time,
    /// Samples since then; [`MEASURED`]: enough, or the start is not known.
    read: usize,
    lag: Span,
}

impl Lag {
    /// A card may run already when a call begins, for a tone: its start is not known.
    pub(super) fn new() -> Lag {
        Lag { started: Time::ZERO, read: MEASURED, lag: Span::ZERO }
    }

    pub(super) fn on_started(&mut self, now: Time) {
        (self.started, self.read) = (now, 0);
    }

    /// So many samples more were read, as if all had been recorded until then.
    pub(super) fn on_read(&mut self, samples: usize, until: Time) {
        self.read = self.read.saturating_add(samples).min(MEASURED);
        if self.read < MEASURED {
            self.lag = until.since(self.started + samples_last(self.read as u64));
        }
    }

    /// Some were lost, and how many is not known.
    pub(super) fn on_gap(&mut self) {
        self.read = MEASURED;
    }

    pub(super) fn lag(&self) -> Span {
        self.lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_first_reads_after_a_start_show() {
        let mut lag = Lag::new();
        lag.on_read(960, Time::from_millis(20));
        assert_eq!(lag.lag(), Span::ZERO, "when it was started is not known");
        for (started_ms, later_us) in [(1_000, 300), (90_000, 400), (180_000, 0)] {
            let started = Time::from_millis(started_ms);
            lag.on_started(started);
            for n in 1..=500 {
                // The card is 100 ppm slow, which makes a millisecond in ten seconds.
                let until = started + Span::from_micros(n * 20_002 + later_us);
                lag.on_read(960, until);
            }
            let off = lag.lag().as_micros().abs_diff(later_us);
            assert!(off <= 50, "{off} us off {later_us}");
        }
        let before = lag.lag();
        lag.on_started(Time::from_millis(500_000));
        lag.on_gap();
        lag.on_read(960, Time::from_millis(501_000));
        assert_eq!(lag.lag(), before, "a gap is no lag");
    }
}
