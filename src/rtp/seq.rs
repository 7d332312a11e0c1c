//! Numbers that wrap, extended to 64 bits once on entry, so that everything downstream uses an ordinary `<`.

use std::ops::Add;

/// An RTP sequence number with its wraps counted (RFC 3550 A.1, "extended").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Seq(u64);

/// An RTP timestamp with its wraps counted, in ticks of the 48 kHz clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timestamp(u64);

/// Both start in the middle of their range: what comes before the first packet still has a number.
const ORIGIN: u64 = 1 << 40;

impl Seq {
    pub fn first(wire: u16) -> Seq {
        Seq(ORIGIN + u64::from(wire))
    }

    /// The number that ends in `wire` and is nearest to `self`.
    #[must_use]
    pub fn extend(self, wire: u16) -> Seq {
        let step = wire.wrapping_sub(self.wire()) as i16;
        Seq(self.0.saturating_add_signed(i64::from(step)))
    }

    /// The 16 bits that travel.
    pub fn wire(self) -> u16 {
        self.0 as u16
    }

    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }

    /// The number `n` before it.
    #[must_use]
    pub fn before(self, n: u64) -> Seq {
        Seq(self.0.saturating_sub(n))
    }

    /// How many numbers `self` is after `earlier`; negative when it is before.
    pub fn after(self, earlier: Seq) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }

    /// Its place in a ring of `slots`.
    pub fn slot(self, slots: usize) -> usize {
        (self.0 % slots as u64) as usize
    }

    /// "Extended highest sequence number received" of a report block (RFC 3550 6.4.1).
    pub fn report(self) -> u32 {
        (self.0 - ORIGIN.min(self.0)) as u32
    }
}

impl Add<u64> for Seq {
    type Output = Seq;
    fn add(self, n: u64) -> Seq {
        Seq(self.0.saturating_add(n))
    }
}

impl Timestamp {
    pub fn first(wire: u32) -> Timestamp {
        Timestamp(ORIGIN + u64::from(wire))
    }

    /// The timestamp that ends in `wire` and is nearest to `self`.
    #[must_use]
    pub fn extend(self, wire: u32) -> Timestamp {
        let step = wire.wrapping_sub(self.0 as u32) as i32;
        Timestamp(self.0.saturating_add_signed(i64::from(step)))
    }

    /// The 32 bits that travel.
    pub fn wire(self) -> u32 {
        self.0 as u32
    }

    /// Ticks since the origin of the extended numbers.
    pub fn ticks(self) -> i64 {
        self.0 as i64
    }

    /// The timestamp `ticks` later, or earlier if negative.
    #[must_use]
    pub fn shifted(self, ticks: i64) -> Timestamp {
        Timestamp(self.0.saturating_add_signed(ticks))
    }

    /// Ticks since `earlier`; negative when `self` is before it.
    pub fn after(self, earlier: Timestamp) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }
}

impl Add<u64> for Timestamp {
    type Output = Timestamp;
    fn add(self, ticks: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_count_their_wraps_in_both_directions() {
        let last = Seq::first(65_534);
        let wrapped = last.extend(1);
        assert_eq!(wrapped.after(last), 3);
        assert_eq!(wrapped.extend(65_533).after(last), -1);
        assert_eq!(wrapped.wire(), 1);
        assert_eq!(wrapped.report(), 65_537);
    }

    #[test]
    fn a_packet_before_the_first_has_a_number() {
        assert_eq!(Seq::first(0).extend(65_535).after(Seq::first(0)), -1);
    }

    #[test]
    fn timestamps_count_their_wraps() {
        let last = Timestamp::first(u32::MAX - 959);
        assert_eq!(last.extend(0).after(last), 960);
        assert_eq!(last.extend(0).extend(u32::MAX - 959), last);
    }
}
