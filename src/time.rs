//! Time as a value: the core never reads a clock, it is told what time it is and answers when it wants to be woken.
//!
//! [`Time`] is microseconds on the machine's monotonic clock; [`Span`] is a distance between two of them; [`Wakeup`]
//! is a deadline that carries its reason, so that a log line can say *why* the agent woke. Wall-clock time enters only
//! as data (`WallTime`), never to decide how long to wait.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// An instant of the monotonic clock, in microseconds since an arbitrary origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Time(u64);

/// A length of time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Span(u64);

/// Milliseconds since the Unix epoch, UTC, as the device's wall clock shows them (it may be wrong).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct WallTime(pub u64);

/// What is known of the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// It shows a time before this program was written: a board without a battery, and no time source yet.
    Unset,
    /// It shows an earlier time than one that has certainly passed; what is given is that time.
    Floor,
    /// It may be right, but nobody keeps it right.
    #[default]
    Kept,
    /// The kernel is told by a time source, and follows it.
    Synced,
}

/// A reading of the wall clock, and how far to trust it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wall {
    pub at: WallTime,
    pub clock: Clock,
}

impl From<WallTime> for Wall {
    fn from(at: WallTime) -> Wall {
        Wall { at, clock: Clock::default() }
    }
}

/// The next moment at which a component wants `handle_timeout` to be called, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wakeup {
    pub at: Time,
    pub why: &'static str,
}

impl Time {
    pub const ZERO: Time = Time(0);

    pub const fn from_micros(us: u64) -> Time {
        Time(us)
    }

    pub const fn from_millis(ms: u64) -> Time {
        Time(ms * 1_000)
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// The distance from `earlier` to `self`; zero when `earlier` is in fact later.
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    pub const ZERO: Span = Span(0);

    pub const fn from_micros(us: u64) -> Span {
        Span(us)
    }

    pub const fn from_millis(ms: u64) -> Span {
        Span(ms.saturating_mul(1_000))
    }

    pub const fn from_secs(s: u64) -> Span {
        Span(s.saturating_mul(1_000_000))
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    #[must_use]
    pub const fn times(self, n: u64) -> Span {
        Span(self.0.saturating_mul(n))
    }

    #[must_use]
    pub const fn min(self, other: Span) -> Span {
        if self.0 < other.0 { self } else { other }
    }
}

impl Wakeup {
    pub const fn new(at: Time, why: &'static str) -> Wakeup {
        Wakeup { at, why }
    }
}

/// The earlier of two optional deadlines; on a tie the first.
pub fn soonest(a: Option<Wakeup>, b: Option<Wakeup>) -> Option<Wakeup> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
        (a, None) => a,
        (None, b) => b,
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Time {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us if us >= 10_000_000 => write!(f, "{} s", us / 1_000_000),
            us if us >= 10_000 => write!(f, "{} ms", us / 1_000),
            us => write!(f, "{us} us"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soonest_prefers_the_earlier_and_keeps_its_reason() {
        let a = Wakeup::new(Time::from_millis(5), "a");
        let b = Wakeup::new(Time::from_millis(3), "b");
        assert_eq!(soonest(Some(a), Some(b)), Some(b));
        assert_eq!(soonest(Some(a), None), Some(a));
        assert_eq!(soonest(None, None), None);
    }

    #[test]
    fn a_clock_that_steps_back_gives_no_negative_span() {
        assert_eq!(Time::from_millis(1).since(Time::from_millis(2)), Span::ZERO);
    }
}
