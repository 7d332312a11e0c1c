//! When to try again: exponential windows with jitter, so that a fleet does not come back in one instant.

use crate::random::Rng;
use crate::time::{Span, Time};

/// Longest `Retry-After` obeyed unless [`Backoff::obeying`] says another: a server must not silence a device for ever.
const MAX_RETRY_AFTER: Span = Span::from_secs(3_600);
/// [`Within`](Backoff::within) an hour what was refused for good is tried again: no server locks out who tries so seldom, and nobody
/// has to visit the device when the fault is gone.
pub const LONG: Span = Span::from_secs(3_600);
/// So many attempts in a crowd keep to its rhythm before their pauses grow.
const STEADY_ATTEMPTS: u32 = 4;

/// Attempts since the last success that lasted. The window doubles with each, from `min` up to `max`.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Span,
    max: Span,
    retry_after_max: Span,
    attempts: u32,
    company: Company,
}

/// Who else makes attempts.
#[derive(Clone, Copy, Debug)]
enum Company {
    Alone,
    /// Everybody at once, for want of the same server: see [`Backoff::join_crowd`]. `attempts` of ours were in it.
    Crowd {
        spread: Span,
        attempts: u32,
    },
}

impl Backoff {
    pub fn new(min: Span, max: Span) -> Backoff {
        Backoff { min, max, retry_after_max: MAX_RETRY_AFTER, attempts: 0, company: Company::Alone }
    }

    /// A `Retry-After` is waited for up to this.
    #[must_use]
    pub fn obeying(self, retry_after_max: Span) -> Backoff {
        Backoff { retry_after_max, ..self }
    }

    /// Something has happened that happens to all clients of the server in the same instant. Each takes a place
    /// anywhere in `spread` and keeps it: its further attempts follow at least `spread` apart, so the server sees the
    /// even rate of one attempt of each client per `spread`, at first and as long as it is away. Ignored with a
    /// `spread` of zero, and until [`reset`](Backoff::reset) when already in a crowd.
    pub fn join_crowd(&mut self, spread: Span) {
        match self.company {
            Company::Alone if spread > Span::ZERO => self.company = Company::Crowd { spread, attempts: 0 },
            Company::Alone | Company::Crowd { .. } => {}
        }
    }

    /// Alone, "full jitter": a pause anywhere in `0..=window`. In a crowd: its rhythm. A `retry_after` of the server
    /// is waited for in full, and the pause comes on top, because every client was told the same number.
    pub fn next(&mut self, now: Time, retry_after: Option<Span>, rng: &mut Rng) -> Time {
        let pause = match &mut self.company {
            Company::Alone => rng.span_up_to(self.window()),
            Company::Crowd { spread, attempts: attempts @ 0 } => {
                *attempts = 1;
                rng.span_up_to(*spread)
            }
            Company::Crowd { spread, attempts } => {
                let doublings = attempts.saturating_sub(STEADY_ATTEMPTS).min(32);
                *attempts = attempts.saturating_add(1);
                // A fifth more at most: it blurs the edges of the first round, never adds to it.
                let least = spread.times(1 << doublings).min(fraction(self.max, 5, 6)).max(*spread);
                least + rng.span_up_to(fraction(least, 1, 5))
            }
        };
        self.attempts = self.attempts.saturating_add(1);
        self.not_before(now, retry_after) + pause
    }

    /// Before this a `retry_after` allows no attempt at all, whatever else happens.
    pub fn not_before(&self, now: Time, retry_after: Option<Span>) -> Time {
        now + retry_after.unwrap_or(Span::ZERO).min(self.retry_after_max)
    }

    /// Attempts that were made elsewhere for the same thing count here too.
    pub fn at_least(&mut self, attempts: u32) {
        self.attempts = self.attempts.max(attempts);
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
        self.within(self.max, now, rng)
    }

    /// A pause in the upper half of `span`.
    pub fn within(&mut self, span: Span, now: Time, rng: &mut Rng) -> Time {
        let half = Span::from_micros(span.as_micros() / 2);
        self.attempts = self.attempts.saturating_add(1);
        now + half + rng.span_up_to(half)
    }

    /// It worked, and lasted.
    pub fn reset(&mut self) {
        self.attempts = 0;
        self.company = Company::Alone;
    }

    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    fn window(&self) -> Span {
        self.min.times(1 << self.attempts.min(32)).min(self.max)
    }
}

fn fraction(span: Span, part: u64, of: u64) -> Span {
    Span::from_micros(span.as_micros() / of * part)
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
        let (mut largest, mut smallest) = ([0; 12], [u64::MAX; 12]);
        for seed in 0..200 {
            for (i, pause) in pauses(12, seed).into_iter().enumerate() {
                let window = (1_000_000 << i).min(60_000_000);
                assert!(pause <= window, "attempt {i}: {pause} us");
                (largest[i], smallest[i]) = (largest[i].max(pause), smallest[i].min(pause));
            }
        }
        assert!(largest[11] > 55_000_000 && largest[0] > 900_000, "jitter is full: {largest:?}");
        assert!(smallest[11] < 5_000_000 && smallest[0] < 100_000, "jitter is full: {smallest:?}");
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

    /// A thousand clients lose their server, which stays away: in no tenth of the spread do more come than a tenth of
    /// them and what chance adds, and later they come less often.
    #[test]
    fn a_crowd_comes_evenly_for_as_long_as_the_server_is_away() {
        let spread = Span::from_secs(10);
        let mut bins = [0; 100];
        for seed in 0..1_000 {
            let mut rng = Rng::from_u64(seed);
            let mut backoff = Backoff::new(Span::from_secs(1), Span::from_secs(60));
            backoff.join_crowd(spread);
            let mut at = backoff.next(Time::ZERO, None, &mut rng);
            while let Some(bin) = bins.get_mut((at.as_micros() / 1_000_000) as usize) {
                *bin += 1;
                backoff.join_crowd(spread);
                at = backoff.next(at, None, &mut rng);
            }
        }
        assert!(bins.iter().all(|n| *n < 145), "{bins:?}");
        assert!(bins[..40].iter().sum::<i32>() > 3_300, "and nobody waits longer than is needed: {bins:?}");
        assert!(bins[80..].iter().sum::<i32>() < 1_400, "pauses grow: {bins:?}");
    }

    #[test]
    fn a_crowd_is_left_by_success_and_a_spread_of_zero_is_none() {
        let mut rng = Rng::from_u64(3);
        let mut backoff = Backoff::new(Span::from_secs(1), Span::from_secs(60));
        backoff.join_crowd(Span::from_secs(20));
        backoff.next(Time::ZERO, None, &mut rng);
        assert!(backoff.next(Time::ZERO, None, &mut rng) >= Time::from_millis(20_000));
        backoff.reset();
        backoff.join_crowd(Span::ZERO);
        assert!(backoff.next(Time::ZERO, None, &mut rng) <= Time::from_millis(1_000));
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
