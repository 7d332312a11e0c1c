//! When to try again: exponential windows with jitter, so that a fleet does not come back in one instant.

use crate::random::Rng;
use crate::time::{Span, Time};

/// Longest `Retry-After` obeyed: a server must not be able to silence a device for ever.
const MAX_RETRY_AFTER: Span = Span::from_secs(3_600);

/// Attempts since the last success that lasted. The window doubles with each, from `min` up to `max`.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Span,
    max: Span,
    attempts: u32,
}

impl Backoff {
    pub fn new(min: Span, max: Span) -> Backoff {
        Backoff { min, max, attempts: 0 }
    }

    /// "Full jitter": a pause anywhere in `0..=window`. A `retry_after` of the server is waited for in full, and the
    /// jitter comes on top, because every client was told the same number.
    pub fn next(&mut self, now: Time, retry_after: Option<Span>, rng: &mut Rng) -> Time {
        let pause = rng.span_up_to(self.window());
        self.attempts = self.attempts.saturating_add(1);
        now + retry_after.unwrap_or(Span::ZERO).min(MAX_RETRY_AFTER) + pause
    }

    /// A pause of at least `min`, anywhere in `min..=2 * window`: for a peer that is reached without a connection and
    /// would otherwise be asked again in the same instant.
    pub fn next_with_floor(&mut self, now: Time, rng: &mut Rng) -> Time {
        let window = self.window().times(2).min(self.max);
        self.attempts = self.attempts.saturating_add(1);
        now + self.min + rng.span_up_to(window - self.min)
    }

    /// A pause in the upper half of the largest window: for a refusal that will hardly change soon.
    pub fn slow(&mut self, now: Time, rng: &mut Rng) -> Time {
        let half = Span::from_micros(self.max.as_micros() / 2);
        self.attempts = self.attempts.saturating_add(1);
        now + half + rng.span_up_to(half)
    }

    /// It worked, and lasted.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    fn window(&self) -> Span {
        self.min.times(1 << self.attempts.min(32)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(n: usize, seed: u64) -> Vec<u64> {
        let mut rng = Rng::from_u64(seed);
        let mut backoff = Backoff::new(Span::from_secs(1), Span::from_secs(60));
        (0..n).map(|_| backoff.next(Time::ZERO, None, &mut rng).as_micros()).collect()
    }

    #[test]
    fn each_pause_lies_in_its_window_and_the_window_is_used() {
        let mut largest = [0; 12];
        for seed in 0..200 {
            for (i, pause) in pauses(12, seed).into_iter().enumerate() {
                let window = (1_000_000 << i).min(60_000_000);
                assert!(pause <= window, "attempt {i}: {pause} us");
                largest[i] = largest[i].max(pause);
            }
        }
        assert!(largest[11] > 55_000_000 && largest[0] > 900_000, "jitter is full: {largest:?}");
    }

    #[test]
    fn retry_after_is_waited_for_and_bounded() {
        let mut rng = Rng::from_u64(1);
        let mut backoff = Backoff::new(Span::from_secs(1), Span::from_secs(60));
        let at = backoff.next(Time::ZERO, Some(Span::from_secs(30)), &mut rng);
        assert!(at >= Time::from_millis(30_000) && at <= Time::from_millis(31_000));
        let at = backoff.next(Time::ZERO, Some(Span::from_secs(1 << 40)), &mut rng);
        assert!(at <= Time::from_millis(3_602_000));
    }

    #[test]
    fn a_floor_is_kept_and_reset_starts_again() {
        let mut rng = Rng::from_u64(2);
        let mut backoff = Backoff::new(Span::from_millis(500), Span::from_secs(30));
        for _ in 0..100 {
            let pause = backoff.next_with_floor(Time::ZERO, &mut rng);
            assert!(pause >= Time::from_millis(500) && pause <= Time::from_millis(30_000));
        }
        backoff.reset();
        assert!(backoff.next_with_floor(Time::ZERO, &mut rng) <= Time::from_millis(1_000));
    }
}
