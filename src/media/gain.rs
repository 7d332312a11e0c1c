//! How loud it is, and the mute key.

/// Samples of one tenth of a second.
const TENTH: u32 = 4_800;
/// A mute begins and ends within 5 ms: no click.
const RAMP: i32 = 240;
/// Level of digital silence, in dBFS * 10.
const SILENT: i16 = -1_000;

/// The peak of the last second, in steps of a tenth.
#[derive(Clone, Debug, Default)]
pub struct Level {
    tenths: [u16; 10],
    at: usize,
    /// Samples of the running tenth, and their peak.
    counted: u32,
    peak: u16,
}

impl Level {
    /// Takes them in; their peak.
    pub fn measure(&mut self, samples: &[i16]) -> u16 {
        let mut loudest = 0;
        for chunk in samples.chunks(TENTH as usize) {
            let peak = peak(chunk);
            loudest = loudest.max(peak);
            self.peak = self.peak.max(peak);
            self.counted += chunk.len() as u32;
            if self.counted >= TENTH {
                self.at = (self.at + 1) % self.tenths.len();
                self.tenths[self.at] = self.peak;
                self.counted = 0;
                self.peak = 0;
            }
        }
        loudest
    }

    /// In dBFS * 10; digital silence is -100.0 dBFS.
    pub fn dbfs_10(&self) -> i16 {
        match self.tenths.iter().copied().max().unwrap_or(0).max(self.peak) {
            0 => SILENT,
            peak => (200.0 * (f32::from(peak) / 32_768.0).log10()).round() as i16,
        }
    }
}

/// The sample nearest to `value`; of what is too loud, the loudest. Without `round`, which not every machine has in one
/// instruction.
pub(super) fn nearest(value: f32) -> i16 {
    (value + 0.5f32.copysign(value)) as i16
}

/// The largest absolute value.
pub fn peak(samples: &[i16]) -> u16 {
    samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0)
}

/// Mute that goes on sending: digital silence, reached and left by a short ramp.
#[derive(Clone, Debug)]
pub struct Mute {
    wanted: bool,
    /// Present gain, 0 to `RAMP`.
    gain: i32,
}

impl Mute {
    pub fn new(muted: bool) -> Mute {
        Mute { wanted: muted, gain: if muted { 0 } else { RAMP } }
    }

    pub fn set(&mut self, muted: bool) {
        self.wanted = muted;
    }

    pub fn is_on(&self) -> bool {
        self.wanted
    }

    pub fn apply(&mut self, samples: &mut [i16]) {
        let (end, step) = if self.wanted { (0, -1) } else { (RAMP, 1) };
        if self.gain == end {
            if self.wanted {
                samples.fill(0);
            }
            return;
        }
        for sample in samples {
            if self.gain != end {
                self.gain += step;
            }
            *sample = (i32::from(*sample) * self.gain / RAMP) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_peaks_of_the_last_second() {
        let mut level = Level::default();
        assert_eq!(level.dbfs_10(), -1_000);
        level.measure(&[16_384, -16_384, 100]);
        assert_eq!(level.dbfs_10(), -60);
        for _ in 0..99 {
            level.measure(&[10; 480]);
        }
        assert_eq!(level.dbfs_10(), -60, "still within the second");
        for _ in 0..20 {
            level.measure(&[10; 480]);
        }
        assert_eq!(level.dbfs_10(), -703);
        level.measure(&[i16::MIN]);
        assert_eq!(level.dbfs_10(), 0);
    }

    #[test]
    fn mute_is_digital_silence_without_a_click() {
        let mut mute = Mute::new(false);
        mute.set(true);
        let mut samples = [10_000i16; 480];
        mute.apply(&mut samples);
        assert!(samples.windows(2).all(|w| (w[0] - w[1]).abs() < 100), "a ramp");
        assert!(samples[240..].iter().all(|s| *s == 0));
        mute.set(false);
        let mut samples = [10_000i16; 480];
        mute.apply(&mut samples);
        assert!(samples[0] < 100 && samples[479] == 10_000);
    }
}
