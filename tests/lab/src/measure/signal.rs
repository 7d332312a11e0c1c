//! Test signals, the same for the same arguments on every machine.

use super::{RATE, sound_file};
use std::process::Command;

/// A sine that starts at zero.
pub fn tone(hz: f64, dbfs: f64, seconds: f64) -> Vec<i16> {
    let amplitude = amplitude(dbfs);
    let step = std::f64::consts::TAU * hz / f64::from(RATE);
    (0..samples(seconds)).map(|n| round(amplitude * (step * n as f64).sin())).collect()
}

/// White noise of that RMS level (dBFS of a sine of equal power), from a seed.
pub fn white_noise(dbfs: f64, seconds: f64, seed: u64) -> Vec<i16> {
    let mut chance = Chance(seed);
    // The sum of four uniform values has variance 4/3; a sine of amplitude a has power a^2/2.
    let scale = amplitude(dbfs) / std::f64::consts::SQRT_2 / (4.0_f64 / 3.0).sqrt();
    let mut sample = || round(scale * (chance.signed() + chance.signed() + chance.signed() + chance.signed()));
    (0..samples(seconds)).map(|_| sample()).collect()
}

/// Sample by sample sum, clipped; as long as the longer.
pub fn add(a: &[i16], b: &[i16]) -> Vec<i16> {
    let at = |signal: &[i16], n: usize| signal.get(n).copied().unwrap_or(0);
    (0..a.len().max(b.len())).map(|n| at(a, n).saturating_add(at(b, n))).collect()
}

/// A train of short chirps, each found again by its correlation with the template.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Chirps {
    /// Sample of the first chirp's beginning.
    pub first: usize,
    /// Samples from one beginning to the next: latency is unambiguous below this.
    pub every: usize,
    pub dbfs: f64,
    /// From low to high; one that falls is not taken for one that rises.
    pub rises: bool,
}

impl Chirps {
    /// Half a second apart, beginning at half a second.
    pub fn standard() -> Chirps {
        Chirps { first: RATE as usize / 2, every: RATE as usize / 2, dbfs: -9.0, rises: true }
    }

    /// One chirp: 30 ms from 500 to 3000 Hz under a Hann window, a sound even narrow-band speech codecs carry.
    pub fn template(&self) -> Vec<i16> {
        let length = 1440;
        let (low, high) = if self.rises { (500.0, 3000.0) } else { (3000.0, 500.0) };
        let seconds = length as f64 / f64::from(RATE);
        let at = |n: usize| {
            let t = n as f64 / f64::from(RATE);
            let window = 0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / length as f64).cos();
            let phase = std::f64::consts::TAU * (low * t + (high - low) * t * t / (2.0 * seconds));
            round(amplitude(self.dbfs) * window * phase.sin())
        };
        (0..length).map(at).collect()
    }

    /// Beginnings of the chirps that lie wholly within `length` samples.
    pub fn positions(&self, length: usize) -> impl Iterator<Item = usize> {
        let (first, every) = (self.first, self.every);
        (0..).map(move |n| first + n * every).take_while(move |at| at + 1440 <= length)
    }

    pub fn signal(&self, seconds: f64) -> Vec<i16> {
        let mut out = vec![0; samples(seconds)];
        let template = self.template();
        for at in self.positions(out.len()) {
            out[at..at + template.len()].copy_from_slice(&template);
        }
        out
    }
}

/// Something speech-like: glottal pulses with wandering pitch through three formants that change every syllable, fricative
/// noise now and then, pauses between words. Peaks near -6 dBFS.
pub fn speech(seconds: f64, seed: u64) -> Vec<i16> {
    const VOWELS: [[f64; 3]; 6] = [
        [730.0, 1090.0, 2440.0],
        [270.0, 2290.0, 3010.0],
        [300.0, 870.0, 2240.0],
        [530.0, 1840.0, 2480.0],
        [570.0, 840.0, 2410.0],
        [660.0, 1720.0, 2410.0],
    ];
    let mut chance = Chance(seed);
    let wanted = samples(seconds);
    let mut out: Vec<f64> = Vec::with_capacity(wanted);
    let mut filters = [Resonator::default(); 3];
    let mut phase = 0.0;
    while out.len() < wanted {
        let syllables = 1 + (chance.unit() * 4.0) as usize;
        for _ in 0..syllables {
            let fricative = chance.unit() < 0.25;
            if fricative {
                let length = samples(0.05 + 0.05 * chance.unit());
                let mut before = 0.0;
                for n in 0..length {
                    let noise = chance.signed();
                    let shape = (std::f64::consts::PI * n as f64 / length as f64).sin();
                    out.push(0.12 * shape * (noise - before));
                    before = noise;
                }
            }
            let vowel = VOWELS[(chance.unit() * VOWELS.len() as f64) as usize];
            filters
                .iter_mut()
                .zip(vowel)
                .zip([80.0, 100.0, 140.0])
                .for_each(|((filter, hz), width)| filter.tune(hz, width));
            let length = samples(0.12 + 0.14 * chance.unit());
            let pitch = 95.0 + 60.0 * chance.unit();
            for n in 0..length {
                let along = n as f64 / length as f64;
                phase += pitch * (1.05 - 0.15 * along) / f64::from(RATE);
                let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
                phase -= pulse;
                let shape = (along * 12.0).min((1.0 - along) * 8.0).min(1.0);
                let source = pulse + 0.01 * chance.signed();
                let voice: f64 =
                    filters.iter_mut().zip([1.0, 0.6, 0.3]).map(|(filter, gain)| gain * filter.step(source)).sum();
                out.push(shape * voice);
            }
        }
        out.resize(out.len() + samples(0.06 + 0.25 * chance.unit()), 0.0);
    }
    out.truncate(wanted);
    let peak = out.iter().map(|sample| sample.abs()).fold(1e-9, f64::max);
    out.into_iter().map(|sample| round(sample / peak * amplitude(-6.0))).collect()
}

/// Real speech from espeak-ng, or `None` where it is not installed.
pub fn espeak(text: &str) -> Option<Vec<i16>> {
    espeak_as("en", text)
}

/// The same by a certain voice.
pub fn espeak_as(voice: &str, text: &str) -> Option<Vec<i16>> {
    let wav = Command::new("espeak-ng").args(["-v", voice, "-s", "150", "--stdout", text]).output().ok()?;
    let (samples, rate) = sound_file::parse_wav(&wav.stdout)?;
    let resampled = resample(&samples, rate);
    (resampled.len() > RATE as usize / 2).then_some(resampled)
}

/// To 48 kHz by a windowed sinc of 32 taps.
pub fn resample(input: &[i16], rate: u32) -> Vec<i16> {
    let step = f64::from(rate) / f64::from(RATE);
    let cutoff = step.recip().min(1.0);
    let length = (input.len() as f64 / step) as usize;
    let at = |n: usize| {
        let centre = n as f64 * step;
        let from = centre.floor() as i64 - 15;
        let taps = (from..from + 32).filter(|tap| (0..input.len() as i64).contains(tap));
        round(taps.map(|tap| f64::from(input[tap as usize]) * windowed_sinc(centre - tap as f64, cutoff)).sum())
    };
    (0..length).map(at).collect()
}

fn windowed_sinc(x: f64, cutoff: f64) -> f64 {
    let window = if x.abs() < 16.0 { 0.5 + 0.5 * (std::f64::consts::PI * x / 16.0).cos() } else { 0.0 };
    let y = std::f64::consts::PI * x * cutoff;
    let sinc = if y.abs() < 1e-9 { 1.0 } else { y.sin() / y };
    cutoff * sinc * window
}

/// Two poles around a frequency.
#[derive(Clone, Copy, Default)]
struct Resonator {
    a1: f64,
    a2: f64,
    y1: f64,
    y2: f64,
}

impl Resonator {
    fn tune(&mut self, hz: f64, width: f64) {
        let radius = (-std::f64::consts::PI * width / f64::from(RATE)).exp();
        self.a1 = 2.0 * radius * (std::f64::consts::TAU * hz / f64::from(RATE)).cos();
        self.a2 = -radius * radius;
    }

    fn step(&mut self, input: f64) -> f64 {
        let y = input + self.a1 * self.y1 + self.a2 * self.y2;
        (self.y2, self.y1) = (self.y1, y);
        y
    }
}

/// SplitMix64.
#[derive(Clone, Copy, Debug)]
pub struct Chance(pub u64);

impl Chance {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// -1..1.
    pub fn signed(&mut self) -> f64 {
        2.0 * self.unit() - 1.0
    }
}

fn samples(seconds: f64) -> usize {
    (seconds * f64::from(RATE)).round() as usize
}

fn amplitude(dbfs: f64) -> f64 {
    32_768.0 * 10_f64.powf(dbfs / 20.0)
}

fn round(sample: f64) -> i16 {
    sample.round().clamp(-32_768.0, 32_767.0) as i16
}

#[cfg(test)]
mod tests {
    use super::super::level;
    use super::*;

    #[test]
    fn noise_has_the_level_asked_for() {
        assert!((level::rms_dbfs(&white_noise(-20.0, 2.0, 3)) + 20.0).abs() < 0.1);
    }

    #[test]
    fn speech_is_loud_has_pauses_and_repeats_itself() {
        let said = speech(3.0, 5);
        assert_eq!(said.len(), 144_000);
        assert_eq!(said, speech(3.0, 5));
        assert_ne!(said, speech(3.0, 6));
        assert!((level::peak_dbfs(&said) + 6.0).abs() < 0.1);
        let levels = level::envelope_dbfs(&said, 960);
        let (loud, quiet) =
            (levels.iter().filter(|l| **l > -30.0).count(), levels.iter().filter(|l| **l < -70.0).count());
        assert!(loud > 60 && quiet > 5, "{loud} loud, {quiet} quiet of {}", levels.len());
    }

    #[test]
    fn resampling_keeps_a_tone() {
        let step = std::f64::consts::TAU * 1000.0 / 22_050.0;
        let low: Vec<i16> = (0..22_050).map(|n| (10_000.0 * (step * f64::from(n)).sin()) as i16).collect();
        let high = resample(&low, 22_050);
        let found = super::super::tone::tone(&high[4800..43_200], 1000.0);
        assert!(found.snr_db > 40.0, "{found:?}");
    }
}
