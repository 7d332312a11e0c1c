//! The numbers of one source: its packet index, which only half travels in the packet, and which indices have come.
//!
//! ```text
//!   index (48 bits) = roll-over counter (32) │ sequence number (16, in the packet)
//!   seen:   highest ┬ -1 ┬ -2 ┬ ...  ┬ -127     bit n: index `highest - n` has come; what is older is refused
//! ```

/// Packets that may come late and still be told from replayed ones; RFC 3711 3.3.2 wants at least 64.
pub(super) const WINDOW: u64 = 128;
/// RFC 3711 9.2: a key protects no more packets than there are indices.
pub(super) const END: u64 = 1 << 48;

/// The newest index of a source, and those just before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    highest: u64,
    seen: u128,
}

impl Window {
    pub(super) fn new(first: u64) -> Window {
        Window { highest: first, seen: 1 }
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether `index` has not come yet, as far back as is remembered (RFC 3711 3.3.2).
    pub(super) fn is_new(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => true,
            Some(age) => age < WINDOW && self.seen & (1 << age) == 0,
        }
    }

    /// `index` has come and was authentic.
    pub(super) fn note(&mut self, index: u64) {
        match index.checked_sub(self.highest) {
            Some(0) => {}
            Some(ahead) => {
                self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
                self.highest = index;
            }
            None => {
                let age = self.highest - index;
                if age < WINDOW {
                    self.seen |= 1 << age;
                }
            }
        }
    }
}

/// The index that a sequence number most likely stands for, after `highest` (RFC 3711 3.3.1). `None`: one from before the
/// first packet, or after the last one that a key may protect.
pub(super) fn estimate(highest: u64, sequence_number: u16) -> Option<u64> {
    const HALF: i32 = 0x8000;
    let (roll_over, newest, number) = (highest >> 16, i32::from(highest as u16), i32::from(sequence_number));
    let roll_over = if newest < HALF && number - newest > HALF {
        roll_over.checked_sub(1)?
    } else if newest >= HALF && newest - HALF > number {
        roll_over + 1
    } else {
        roll_over
    };
    let index = roll_over << 16 | u64::from(sequence_number);
    (index < END).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    #[test]
    fn the_estimate_follows_the_number_over_each_edge() {
        let cases = [
            (10, 11, Some(11)),
            (10, 9, Some(9)),
            (10, 0xffff, None),
            (0xfff0, 0x0003, Some(0x1_0003)),
            (0x1_0003, 0xfff0, Some(0xfff0)),
            (0x1_fff0, 0x0003, Some(0x2_0003)),
            (0x2_0003, 0xfff0, Some(0x1_fff0)),
            (0x1_0000, 0x8000, Some(0x1_8000)),
            (0x1_8000, 0x0000, Some(0x1_0000)),
            (0x1_8001, 0x0000, Some(0x2_0000)),
            (END - 1, 5, None),
        ];
        for (highest, number, expected) in cases {
            assert_eq!(estimate(highest, number), expected, "{highest:x} {number:x}");
        }
    }

    #[test]
    fn an_index_is_new_once_and_never_when_it_is_too_old() {
        let mut window = Window::new(1_000);
        for index in [1_000, 1_005, 1_003, 1_130] {
            assert_eq!(window.is_new(index), index != 1_000);
            window.note(index);
            assert!(!window.is_new(index));
        }
        assert!(window.is_new(1_004) && window.is_new(1_130 + 1_000));
        assert!(!window.is_new(1_130 - 128) && window.is_new(1_130 - 127 + 1));
        assert!(!window.is_new(1_003), "its bit is at the very end");
        window.note(5_000);
        assert!(!window.is_new(1_131) && window.is_new(4_999));
    }

    #[test]
    fn any_order_of_numbers_is_told_apart_as_a_list_would() {
        let mut rng = Rng::from_u64(8);
        let (mut window, mut come) = (Window::new(500), vec![500u64]);
        for _ in 0..20_000 {
            let newest = window.highest();
            let index = (newest + 20).saturating_sub(rng.below(200));
            let expected = !come.contains(&index) && index + WINDOW > newest;
            assert_eq!(window.is_new(index), expected, "{index} after {newest}");
            if expected {
                window.note(index);
                come.push(index);
            }
        }
    }
}
