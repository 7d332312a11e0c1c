//! The machine's two clocks, read here and nowhere else.
//!
//! [`now`] is CLOCK_MONOTONIC: what every component is given as [`Time`], the same in all threads. [`wall`] is the
//! date, as good as it is; it only ever becomes text.

use crate::io::sys;
use crate::time::{Time, WallTime};
use std::time::{SystemTime, UNIX_EPOCH};

/// The present instant; never goes back, stands still while the machine sleeps.
pub fn now() -> Time {
    Time::from_micros(sys::monotonic_us())
}

/// Milliseconds since 1970 UTC; zero if the date is before that.
pub fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(since.as_millis().try_into().unwrap_or(u64::MAX))
}
