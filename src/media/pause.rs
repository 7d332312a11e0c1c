//! What leaves of a silence where `codec.dtx` is on.
//!
//! ```text
//!           needless: it leaves all the same
//!   Sound ──────────────────────────────────▶ Pause: one more every 400 ms
//!     ▲                                         │
//!     └──────────── a packet with sound ────────┘
//! ```
//!
//! libopus says by a packet of one or two bytes that it need not be sent, and every 400 ms has one that shows what the room
//! sounds like. The first needless one after each of these leaves, so that the far end knows that there is nothing more to come
//! and goes on with that sound, in place of taking it for loss. Digital silence ([`hush`](super::hush)) is not encoded, so nothing
//! there shows that we are still there but what is sent again.

/// At 48 kHz; as long as libopus pauses. Nobody who waits for packets gives up before.
const REFRESH: u32 = 19_200;
/// opus.h: "2 bytes or less".
pub(super) const NEEDLESS: usize = 2;

#[derive(Debug, Default)]
pub(super) enum Pause {
    #[default]
    Sound,
    /// So many samples ago the last packet began.
    Since(u32),
}

impl Pause {
    /// Whether the packet of the next `samples` stays here.
    pub(super) fn withholds(&mut self, samples: u32, needless: bool) -> bool {
        let since = match self {
            _ if !needless => {
                *self = Pause::Sound;
                return false;
            }
            Pause::Sound => REFRESH,
            Pause::Since(since) => *since + samples,
        };
        let withheld = since < REFRESH;
        *self = Pause::Since(if withheld { since } else { 0 });
        withheld
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these packets leave, `1` with sound, `0` needless.
    fn left(samples: u32, packets: &str) -> String {
        let mut pause = Pause::default();
        packets.chars().map(|packet| if pause.withholds(samples, packet == '0') { '.' } else { packet }).collect()
    }

    #[test]
    fn of_a_silence_the_first_packet_leaves_and_one_every_400_ms() {
        assert_eq!(left(2_880, "1100000000000000011"), "110......0......011");
        assert_eq!(left(960, &"0".repeat(41)), format!("0{0}0{0}0", ".".repeat(19)));
    }

    #[test]
    fn after_each_packet_that_shows_the_room_one_says_that_no_more_comes() {
        assert_eq!(left(960, "1000100010"), "10..10..10");
    }
}
