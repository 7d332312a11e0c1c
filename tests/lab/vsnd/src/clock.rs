//! The card's clock: CLOCK_MONOTONIC scaled to frames, counted from an epoch that all cards of a directory share.

use std::fs;
use std::path::Path;

/// Converts between nanoseconds of CLOCK_MONOTONIC and frames since the epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch_ns: i64,
    frames_per_second: f64,
}

impl Clock {
    /// `speed` scales the whole clock: 0.1 makes a second of audio last ten.
    pub(crate) fn new(epoch_ns: i64, rate: u32, ppm: f64, speed: f64) -> Clock {
        Clock { epoch_ns, frames_per_second: f64::from(rate) * (1.0 + ppm * 1e-6) * speed }
    }

    /// Frames the crystal has ticked at `ns`.
    pub(crate) fn frame_at(&self, ns: i64) -> i64 {
        ((ns - self.epoch_ns) as f64 * self.frames_per_second / 1e9).floor() as i64
    }

    /// The first nanosecond at which `frame` frames have ticked.
    pub(crate) fn ns_of(&self, frame: i64) -> i64 {
        self.epoch_ns + (frame as f64 * 1e9 / self.frames_per_second).ceil() as i64
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
#[allow(clippy::unnecessary_cast)] // both fields are narrower on 32-bit machines
pub(crate) fn monotonic_ns() -> i64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as i64 * 1_000_000_000 + t.tv_nsec as i64
}

/// The epoch of a directory: written by whoever comes first, in one step (a hard link either exists or does not).
pub(crate) fn epoch_of(dir: &Path) -> i64 {
    let path = dir.join("epoch");
    let mine = monotonic_ns();
    let draft = dir.join(format!("epoch.{}.{mine}", std::process::id()));
    if !path.exists() && fs::write(&draft, format!("{mine}\n")).is_ok() {
        let _ = fs::hard_link(&draft, &path);
        let _ = fs::remove_file(&draft);
    }
    fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(mine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_ticked_exactly_from_its_nanosecond_on() {
        for (ppm, speed) in [(0.0, 1.0), (100.0, 1.0), (-1000.0, 0.1)] {
            let clock = Clock::new(1_000, 48_000, ppm, speed);
            for frame in [1, 479, 480, 48_000, 172_800_000] {
                let ns = clock.ns_of(frame);
                assert!(clock.frame_at(ns) >= frame && clock.frame_at(ns - 2) < frame, "{frame} at {ppm} ppm");
            }
        }
    }

    #[test]
    fn plus_hundred_ppm_is_48_frames_ahead_after_ten_seconds() {
        let (right, fast) = (Clock::new(0, 48_000, 0.0, 1.0), Clock::new(0, 48_000, 100.0, 1.0));
        assert_eq!(fast.frame_at(10_000_000_000) - right.frame_at(10_000_000_000), 48);
    }
}
