//! Silence that goes on is encoded once: a muted microphone, or a card that is away, costs packets but no encoder.
//!
//! ```text
//!            silence          so many packets of it, a few of one length
//!   Sound ───────────▶ Fading ──────────────────────────────────────▶ Known: the last of them is sent again and again
//!     ▲                  │ ▲                                            │ │
//!     │                  │ └───────────── another length ───────────────┘ │
//!     └──── a sample ────┴────────────────────────────────────────────────┘
//! ```
//!
//! An encoder lets what was said before fade out, so the first packets of a silence are its own. Then each is as good as
//! the one before. Digital silence is meant: a room in which nobody speaks is noise, and is encoded.

use heapless::Vec;

/// The past fades out in so many samples, 200 ms, after which libopus with DTX has nothing more to say of a silence, ...
const FADING: usize = 9_600;
/// ... and packets of one length, of which so many are encoded, are alike from then on.
const SETTLING: usize = 3;
/// Packets of silence are short: 107 bytes for 60 ms at 32 kbit/s. One that is longer than this is not kept.
pub const MOST: usize = 160;

#[derive(Debug)]
pub struct Hush {
    state: State,
}

#[derive(Debug)]
enum State {
    Sound,
    /// So many packets of silence, each of so many samples, have been encoded, after samples in packets of other lengths.
    Fading {
        samples: usize,
        packets: usize,
        before: usize,
    },
    Known {
        samples: usize,
        payload: Vec<u8, MOST>,
    },
}

impl Hush {
    pub fn new() -> Hush {
        Hush { state: State::Sound }
    }

    /// The encoder was told something new, or shall begin anew.
    pub fn forget(&mut self) {
        self.state = State::Sound;
    }

    /// The payload for this frame, if it is known; if not, it has to be encoded, and [`Hush::on_encoded`] told.
    pub fn payload(&mut self, frame: &[i16]) -> Option<&[u8]> {
        if frame.iter().any(|sample| *sample != 0) {
            self.state = State::Sound;
            return None;
        }
        let before = match self.state {
            State::Fading { samples, .. } | State::Known { samples, .. } if samples == frame.len() => None,
            State::Sound => Some(0),
            State::Fading { samples, packets, before } => Some((before + packets * samples).min(FADING)),
            State::Known { .. } => Some(FADING),
        };
        if let Some(before) = before {
            self.state = State::Fading { samples: frame.len(), packets: 0, before };
        }
        match &self.state {
            State::Known { payload, .. } => Some(payload),
            State::Sound | State::Fading { .. } => None,
        }
    }

    /// The encoder's packet for the frame that [`Hush::payload`] was asked about.
    pub fn on_encoded(&mut self, packet: &[u8]) {
        let State::Fading { samples, packets, before } = self.state else { return };
        let is_known = packets >= SETTLING && before + packets * samples >= FADING;
        self.state = match Vec::from_slice(packet) {
            Ok(payload) if is_known => State::Known { samples, payload },
            Ok(_) | Err(_) => State::Fading { samples, packets: (packets + 1).min(FADING), before },
        };
    }
}

impl Default for Hush {
    fn default() -> Hush {
        Hush::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: [i16; 960] = [0; 960];

    /// Packets that were encoded among so many of silence.
    fn encoded(hush: &mut Hush, frame: &[i16], packets: usize, payload: &[u8]) -> usize {
        let mut encoded = 0;
        for _ in 0..packets {
            match hush.payload(frame) {
                Some(known) => assert_eq!(known, payload),
                None => {
                    hush.on_encoded(payload);
                    encoded += 1;
                }
            }
        }
        encoded
    }

    #[test]
    fn of_a_long_silence_the_first_packets_are_encoded() {
        let mut hush = Hush::new();
        let first = 11;
        assert_eq!(encoded(&mut hush, &SILENCE, 3_000, &[1, 2]), first);
        let mut click = SILENCE;
        click[959] = 1;
        assert_eq!(encoded(&mut hush, &click, 3, &[9]), 3, "one sample is a sound");
        assert_eq!(encoded(&mut hush, &SILENCE, 50, &[3]), first, "and the silence after it another one");
        hush.forget();
        assert_eq!(encoded(&mut hush, &SILENCE[..480], 50, &[4]), 21, "shorter packets fade as long");
        hush.forget();
        assert_eq!(encoded(&mut hush, &SILENCE[..480], 50, &[5]), 21);
        hush.forget();
        assert_eq!(encoded(&mut hush, &SILENCE[..120], 500, &[6]), 81);
    }

    #[test]
    fn what_has_faded_has_faded_in_packets_of_every_length() {
        let mut hush = Hush::new();
        assert_eq!(encoded(&mut hush, &SILENCE, 7, &[1]), 7);
        assert_eq!(
            encoded(&mut hush, &SILENCE[..480], 50, &[2]),
            7,
            "seven of 20 ms, then six of 10, and the one that is kept"
        );
        assert_eq!(encoded(&mut hush, &SILENCE, 50, &[3]), 4, "a few, of which the last is kept");
        // A card that is tried again and again gives a short packet between long ones.
        let tries =
            (0..20).map(|_| encoded(&mut hush, &SILENCE[..480], 1, &[4]) + encoded(&mut hush, &SILENCE, 8, &[5]));
        assert_eq!(tries.sum::<usize>(), 20 * 5);
    }

    #[test]
    fn a_long_packet_is_not_kept() {
        assert_eq!(encoded(&mut Hush::new(), &SILENCE, 300, &[7; MOST + 1]), 300);
    }
}
