//! What time it is at least. A board without a battery wakes up in 1970, and no certificate was valid then. Time never
//! goes back behind the build of this program, nor behind a time that was once proven; certificates are judged at the
//! later of that *floor* and the clock. Verification itself is never relaxed.

use crate::time::WallTime;

/// When this program was built: `SOURCE_DATE_EPOCH` if the build says it (reproducible-builds.org), or else when this
/// line was last changed.
pub const BUILT: WallTime = WallTime(match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => latest(seconds(text.as_bytes()), WRITTEN) * 1_000,
    None => WRITTEN * 1_000,
});

/// 2026-11-22, in seconds since 1970.
const WRITTEN: u64 = 1_795_305_600;

/// The floor: the build, or the last time that was proven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Floor(WallTime);

/// What a clock shows, compared with the floor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// It may be right.
    Possible,
    /// It is wrong: the floor is later.
    Behind,
}

impl Floor {
    pub fn new(proven: Option<WallTime>) -> Floor {
        Floor(proven.map_or(BUILT, |proven| proven.max(BUILT)))
    }

    pub fn at(self) -> WallTime {
        self.0
    }

    pub fn judge(self, clock: WallTime) -> Reading {
        if clock < self.0 { Reading::Behind } else { Reading::Possible }
    }

    /// A clock that is known to be synchronised, and at which a certificate was found valid.
    pub fn proven(&mut self, clock: WallTime) {
        self.0 = self.0.max(clock);
    }
}

const fn seconds(text: &[u8]) -> u64 {
    let (mut i, mut number) = (0, 0u64);
    while i < text.len() {
        assert!(text[i].is_ascii_digit(), "SOURCE_DATE_EPOCH is a number of seconds");
        number = number * 10 + (text[i] - b'0') as u64;
        i += 1;
    }
    number
}

const fn latest(a: u64, b: u64) -> u64 {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_only_rises() {
        let mut floor = Floor::new(None);
        assert_eq!((floor.at(), floor.judge(WallTime(0))), (BUILT, Reading::Behind));
        assert_eq!(floor.judge(BUILT), Reading::Possible);
        let later = WallTime(BUILT.0 + 86_400_000);
        floor.proven(later);
        floor.proven(BUILT);
        assert_eq!((floor.at(), floor.judge(BUILT)), (later, Reading::Behind));
        assert_eq!(Floor::new(Some(WallTime(5))).at(), BUILT, "a file from before the build says nothing");
    }

    #[test]
    fn the_build_date_is_read_while_compiling() {
        assert_eq!((seconds(b"1795305600"), latest(1, 2), latest(2, 1)), (1_795_305_600, 2, 2));
        const { assert!(BUILT.0 >= 1_795_305_600_000) };
    }
}
