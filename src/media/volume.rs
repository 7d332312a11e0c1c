//! The volume of a direction: a gain in decibels that glides to where it shall be.
//!
//! A gain that jumps is a click. This one changes by half a decibel a millisecond, an eighth of a percent from one sample to
//! the next: less than the steepest part of any sound it is applied to. What becomes too loud is clipped.
//!
//! It stands beside the mixer of the card: `audio.controls` say how loud 0 dB is, once, when the card is opened.

use crate::media::gain;
use serde::Serialize;

/// Relative to what the card gives and takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Decibels(pub i8);

/// Of both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Volumes {
    /// The microphone.
    pub capture: Decibels,
    /// The loudspeaker, tones included.
    pub playback: Decibels,
}

#[derive(Clone, Debug)]
pub struct Volume {
    gain: f32,
    wanted: f32,
}

/// Half a decibel in the 48 samples of a millisecond: 10^(0.5 / 20 / 48).
const GLIDE: f32 = 1.0012;

impl Volume {
    pub fn new(level: Decibels) -> Volume {
        Volume { gain: level.as_factor(), wanted: level.as_factor() }
    }

    /// Where it shall glide from now on.
    pub fn set(&mut self, level: Decibels) {
        self.wanted = level.as_factor();
    }

    pub fn apply(&mut self, samples: &mut [i16]) {
        if self.gain == 1.0 && self.wanted == 1.0 {
            return;
        }
        for sample in samples {
            if self.gain < self.wanted {
                self.gain = (self.gain * GLIDE).min(self.wanted);
            } else if self.gain > self.wanted {
                self.gain = (self.gain / GLIDE).max(self.wanted);
            }
            *sample = gain::nearest(f32::from(*sample) * self.gain);
        }
    }
}

impl Decibels {
    pub(super) fn as_factor(self) -> f32 {
        10f32.powf(f32::from(self.0) / 20.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A volume that has played a fifth of a second of `sample` at each of these levels.
    fn played(levels: &[i8], sample: i16) -> Vec<i16> {
        let mut volume = Volume::new(Decibels(levels[0]));
        let mut all = Vec::new();
        for level in levels {
            volume.set(Decibels(*level));
            for _ in 0..20 {
                let mut period = [sample; 480];
                volume.apply(&mut period);
                all.extend(period);
            }
        }
        all
    }

    #[test]
    fn it_glides_and_never_jumps() {
        for sample in [3_000, -3_000] {
            let heard = played(&[0, -40, 20, -1, 0, 20], sample);
            for pair in heard.windows(2) {
                let step = (i32::from(pair[1]) - i32::from(pair[0])).abs();
                let most = i32::from(pair[0].unsigned_abs().max(pair[1].unsigned_abs())) / 800 + 1;
                assert!(step <= most, "from {} to {}", pair[0], pair[1]);
            }
            let settled: Vec<i16> = heard.chunks(9_600).map(|level| level[9_599] / sample.signum()).collect();
            assert_eq!(settled, [3_000, 30, 30_000, 2_674, 3_000, 30_000]);
        }
    }

    #[test]
    fn it_takes_two_milliseconds_for_a_decibel() {
        let heard = played(&[0, -20], 10_000);
        let there = heard.iter().rposition(|sample| *sample != 1_000).unwrap() - 9_600;
        assert!((1_880..1_960).contains(&there), "{there} samples for 20 dB");
    }

    #[test]
    fn zero_decibels_change_nothing_and_too_much_is_clipped() {
        assert!(played(&[0], i16::MIN).iter().all(|sample| *sample == i16::MIN));
        assert_eq!(played(&[20], 20_000)[4_799], i16::MAX);
        assert_eq!(played(&[20], -20_000)[4_799], i16::MIN);
    }
}
