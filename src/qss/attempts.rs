//! How many attempts at a session were made since one lasted, kept where a crash does not reach it: a device that crashes
//! whenever it gets a session must not try as if each life were its first.
//!
//! A flash wears out by writing, so little is written: once in the life of a process, whenever the number has grown
//! fourfold, and zero when a session has lasted.

/// Pauses have long reached their cap.
const ENOUGH: u32 = 64;

/// The number, as far as it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Attempts(Kept);

#[derive(Clone, Copy, Debug)]
enum Kept {
    /// In a life before this one.
    Before(u32),
    ByUs(u32),
}

impl Default for Attempts {
    fn default() -> Attempts {
        Attempts::recalled(0)
    }
}

impl Attempts {
    pub fn recalled(attempts: u32) -> Attempts {
        Attempts(Kept::Before(attempts))
    }

    /// An attempt is made, after so many that failed. `Some`: this number is to be kept.
    pub fn made(&mut self, failed: u32) -> Option<u32> {
        let count = failed.clamp(1, ENOUGH);
        let worth_it = match self.0 {
            Kept::Before(kept) => kept < ENOUGH,
            Kept::ByUs(kept) => count >= kept.max(1) * 4,
        };
        worth_it.then(|| self.keep(count))
    }

    /// A session has lasted.
    pub fn reset(&mut self) -> Option<u32> {
        match self.0 {
            Kept::Before(0) | Kept::ByUs(0) => None,
            Kept::Before(_) | Kept::ByUs(_) => Some(self.keep(0)),
        }
    }

    fn keep(&mut self, count: u32) -> u32 {
        self.0 = Kept::ByUs(count);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_counts_on_and_stops_writing() {
        let (mut kept, mut writes) = (0, 0);
        for _ in 0..1_000 {
            let mut life = Attempts::recalled(kept);
            // A start after `kept` attempts waits, which counts one more.
            if let Some(count) = life.made(if kept == 0 { 0 } else { kept + 1 }) {
                (kept, writes) = (count, writes + 1);
            }
        }
        assert_eq!((kept, writes), (ENOUGH, 64));
    }

    #[test]
    fn an_outage_of_days_is_written_a_few_times_and_its_end_once() {
        let mut attempts = Attempts::default();
        let written: Vec<u32> = (0..100_000).filter_map(|failed| attempts.made(failed)).collect();
        assert_eq!(written, [1, 4, 16, 64]);
        assert_eq!((attempts.reset(), attempts.reset()), (Some(0), None));
        assert_eq!((attempts.made(0), attempts.made(3)), (None, None), "a link lost now and then wears nothing out");
    }
}
