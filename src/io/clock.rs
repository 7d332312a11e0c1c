//! The machine's two clocks, read here and nowhere else.
//!
//! [`now`] is CLOCK_MONOTONIC: what every component is given as [`Time`], the same in all threads. [`wall`] is the
//! date, as good as it is; it only ever becomes text.

use crate::io::sys;
use crate::time::{Clock, Time, Wall, WallTime};
use std::time::{SystemTime, UNIX_EPOCH};

/// 2026-01-01: no clock that is right shows an earlier time.
const WRITTEN: WallTime = WallTime(1_767_225_600_000);

/// The present instant; never goes back, stands still while the machine sleeps.
pub fn now() -> Time {
    Time::from_micros(sys::monotonic_us())
}

/// Sleeps until then, or a little longer; not at all if that is past.
pub fn wait_until(at: Time) {
    while now() < at && sys::poll(&mut [], Some(at.since(now()))).is_ok() {}
}

/// Milliseconds since 1970 UTC; zero if the date is before that. Whether somebody keeps the clock right is the kernel's
/// word, one system call; where that is forbidden nobody is said to.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = WallTime(since.as_millis().try_into().unwrap_or(u64::MAX));
    Wall { at, clock: mark(at, sys::clock_is_synchronised()) }
}

/// How far to trust a clock that shows `at`.
fn mark(at: WallTime, synchronised: bool) -> Clock {
    match (at < WRITTEN, synchronised) {
        (true, _) => Clock::Unset,
        (false, true) => Clock::Synced,
        (false, false) => Clock::Kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_waits_for_what_is_to_come_only() {
        let begun = now();
        wait_until(begun);
        let at = now() + crate::time::Span::from_millis(3);
        wait_until(at);
        assert!(now() >= at);
    }

    #[test]
    fn a_clock_is_unset_synced_or_kept() {
        let now = WallTime(WRITTEN.0 + 1);
        assert_eq!([mark(now, true), mark(now, false)], [Clock::Synced, Clock::Kept]);
        assert_eq!([mark(WallTime(0), true), mark(WallTime(0), false)], [Clock::Unset; 2], "whatever the kernel says");
    }
}
