//! After how many periods the card wakes us: as many as the next packet still takes.
//!
//! ```text
//!   periods      |     |     |     |     |     |     |     |
//!   packets     a           b        c           d           e         c leaves half a packet sooner
//!   wake-ups     |           |     |           |           |
//! ```
//!
//! To wake up for a part of a packet would cost nearly a tenth of what Opus does (`make bench`), and nothing could leave. But the buffers hold twice as
//! much at least: their other half is for wake-ups that are late.

/// In periods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wake {
    most: usize,
    next: usize,
}

impl Wake {
    /// Packets take `packet` frames, periods `period`, and the shorter buffer holds `buffer`.
    pub(super) fn new(packet: usize, period: usize, buffer: usize) -> Wake {
        let most = packet.div_ceil(period).min(buffer / period / 2).max(1);
        Wake { most, next: most }
    }

    /// So many frames more fill the next packet.
    pub(super) fn after(self, missing: usize, period: usize) -> Wake {
        Wake { next: missing.div_ceil(period).clamp(1, self.most), ..self }
    }

    /// The longest sleep since the start: as much is queued for playback.
    pub(super) fn most(self) -> usize {
        self.most
    }

    pub(super) fn next(self) -> usize {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_wakes_up_for_a_part_of_a_packet() {
        let wake = Wake::new(960, 480, 1_920);
        assert_eq!((wake.most(), wake.next()), (2, 2));
        assert_eq!([960, 961, 481, 480, 1, 0].map(|missing| wake.after(missing, 480).next()), [2, 2, 2, 1, 1, 1]);
        assert_eq!(wake.after(480, 480).after(960, 480), wake, "packets have another place in time once");
    }

    #[test]
    fn half_a_buffer_is_for_late_wake_ups() {
        let most = |packet, period, periods: usize| Wake::new(packet, period, period * periods).most();
        assert_eq!([2, 3, 4, 5, 6, 32].map(|periods| most(2_880, 480, periods)), [1, 1, 2, 2, 3, 6]);
        assert_eq!([120, 480, 481, 960].map(|packet| most(packet, 480, 4)), [1, 1, 2, 2]);
        assert_eq!(most(960, 1_024, 4), 1);
        assert_eq!(Wake::new(960, 480, 480).most(), 1);
    }
}
