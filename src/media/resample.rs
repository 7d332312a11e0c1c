//! A signal played a little faster or slower than it was recorded, at a ratio that may change at any time.
//!
//! Each output is a sum of sixteen inputs around its place, weighted by a windowed sinc (Kaiser, beta 7) that is kept for
//! 64 places between two samples and interpolated between these. Up to 12 kHz what it adds to a sine lies 70 dB below it,
//! and it attenuates by less than 0.1 dB: see the tests. It delays by eight samples, 0.17 ms, and costs 32
//! multiplications a sample. At a ratio of one, from the beginning on, it only delays.
//!
//! ```text
//!   past: 16 samples │ taken: as many as `needed`
//!   ─┴──┴──┴──┴──┴──┴──┴──┴──┴──┴──┴──┴──┴──┴──┴─
//!           ▲ place of the next output, `phase` beyond the last whole sample
//! ```

use super::gain;
use super::kaiser::{self, sum};

/// Inputs that make an output; the one it lies behind is the eighth of them.
const TAPS: usize = 16;
const PLACES: usize = 64;
const BETA: f64 = 7.0;
/// The most that one call gives.
pub const MAX_OUTPUT: usize = 4_096;
/// A ratio further from one is no drift: 0.5 %.
const MAX_PPM: f64 = 5_000.0;
const BUFFER: usize = TAPS + MAX_OUTPUT + MAX_OUTPUT / 128 + 4;

pub struct Resampler {
    filter: Box<[[f32; TAPS]; PLACES + 1]>,
    /// The last `TAPS` inputs, then those just taken.
    inputs: Box<[f32; BUFFER]>,
    /// Inputs per output.
    step: f64,
    /// Where the next output lies, in samples behind the newest input; -1 to 2.
    phase: f64,
}

impl Resampler {
    pub fn new() -> Resampler {
        Resampler { filter: filter(), inputs: Box::new([0.0; BUFFER]), step: 1.0, phase: 0.0 }
    }

    /// Forgets what it was given last.
    pub fn restart(&mut self) {
        self.inputs[..TAPS].fill(0.0);
        self.phase = 0.0;
    }

    /// Takes so many more (or less) inputs than it gives outputs, in parts per million.
    pub fn set_ppm(&mut self, ppm: f64) {
        self.step = 1.0 + ppm.clamp(-MAX_PPM, MAX_PPM) * 1e-6;
    }

    pub fn ppm(&self) -> f64 {
        (self.step - 1.0) * 1e6
    }

    /// Whether inputs come out as they are.
    pub fn is_idle(&self) -> bool {
        self.step == 1.0 && self.phase == 0.0
    }

    /// Inputs that `outputs` (at most [`MAX_OUTPUT`]) will take.
    pub fn needed(&self, outputs: usize) -> usize {
        match outputs {
            0 => 0,
            n => ((self.phase + (n - 1) as f64 * self.step).floor() + 1.0) as usize,
        }
    }

    /// Fills `out` from exactly as many inputs as are [`needed`](Resampler::needed) for it.
    pub fn process(&mut self, input: &[i16], out: &mut [i16]) {
        if self.is_idle() && input.len() >= TAPS {
            return self.delay(input, out);
        }
        let n = input.len();
        for (place, sample) in self.inputs[TAPS..].iter_mut().zip(input) {
            *place = f32::from(*sample);
        }
        for (i, sample) in out.iter_mut().enumerate() {
            // Counted from the oldest input, it is not negative: then a cast rounds down, which costs less than `floor`.
            let place = self.phase + i as f64 * self.step + 1.0;
            let from = place as usize;
            let taps = self.inputs[from..].first_chunk().expect("`needed` inputs were given");
            *sample = interpolate(&self.filter, taps, (place - from as f64) as f32);
        }
        self.phase += out.len() as f64 * self.step - n as f64;
        self.inputs.copy_within(n..n + TAPS, 0);
    }

    /// The same while the clocks are alike: nothing but the filter's delay is left of it.
    fn delay(&mut self, input: &[i16], out: &mut [i16]) {
        let (first, rest) = out.split_at_mut(TAPS / 2);
        for (sample, before) in first.iter_mut().zip(&self.inputs[TAPS / 2..]) {
            *sample = *before as i16;
        }
        rest.copy_from_slice(&input[..rest.len()]);
        for (place, sample) in self.inputs.iter_mut().zip(&input[input.len() - TAPS..]) {
            *place = f32::from(*sample);
        }
    }
}

impl Default for Resampler {
    fn default() -> Resampler {
        Resampler::new()
    }
}

fn interpolate(filter: &[[f32; TAPS]; PLACES + 1], taps: &[f32; TAPS], between: f32) -> i16 {
    let place = between * PLACES as f32;
    let index = (place as usize).min(PLACES - 1);
    let part = place - index as f32;
    let (before, after) = (&filter[index], &filter[index + 1]);
    let (near, far) = (sum(taps, before), sum(taps, after));
    gain::nearest(near + (far - near) * part)
}

/// The weights of the sixteen inputs for each place between the eighth and the ninth; they add up to one.
fn filter() -> Box<[[f32; TAPS]; PLACES + 1]> {
    let mut filter = Box::new([[0.0; TAPS]; PLACES + 1]);
    for (place, weights) in filter.iter_mut().enumerate() {
        let between = place as f64 / PLACES as f64;
        let at = |k: usize| k as f64 - (TAPS / 2 - 1) as f64 - between;
        let weight = |k: usize| kaiser::weight(at(k), 1.0, (TAPS / 2) as f64, BETA);
        let sum: f64 = (0..TAPS).map(weight).sum();
        for (k, place) in weights.iter_mut().enumerate() {
            *place = (weight(k) / sum) as f32;
        }
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sine through the resampler, in requests of odd sizes: loss of level and everything else against it, in dB.
    fn quality(hertz: f64, ppm: f64) -> (f64, f64) {
        let mut resampler = Resampler::new();
        resampler.set_ppm(ppm);
        let (mut taken, mut out) = (0, Vec::new());
        for n in (0..400).map(|n| 100 + n % 7 * 61) {
            let needed = resampler.needed(n);
            let sine = |n: usize| (10_000.0 * (n as f64 * hertz * std::f64::consts::TAU / 48_000.0).sin()) as f32;
            let input: Vec<i16> = (taken..taken + needed).map(|n| sine(n).round() as i16).collect();
            taken += needed;
            let mut chunk = vec![0; n];
            resampler.process(&input, &mut chunk);
            out.extend(chunk);
        }
        let (heard, step) = (&out[100..100 + 48_000], 1.0 + ppm * 1e-6);
        assert!((taken as f64 - out.len() as f64 * step).abs() <= 2.0, "{taken}");
        let angle = |n: usize| n as f64 * step * hertz * std::f64::consts::TAU / 48_000.0;
        let sum =
            |of: &dyn Fn(usize, f64) -> f64| heard.iter().enumerate().map(|(i, s)| of(i, f64::from(*s))).sum::<f64>();
        // Least squares of a sine and a cosine.
        let (ss, cc) = (sum(&|i, _| angle(i).sin().powi(2)), sum(&|i, _| angle(i).cos().powi(2)));
        let sc = sum(&|i, _| angle(i).sin() * angle(i).cos());
        let (sy, cy) = (sum(&|i, y| y * angle(i).sin()), sum(&|i, y| y * angle(i).cos()));
        let (a, b) = ((sy * cc - cy * sc) / (ss * cc - sc * sc), (cy * ss - sy * sc) / (ss * cc - sc * sc));
        let n = heard.len() as f64;
        let rest = heard.iter().enumerate().map(|(i, s)| f64::from(*s) - a * angle(i).sin() - b * angle(i).cos());
        let noise = (rest.map(|r| r * r).sum::<f64>() / n).sqrt();
        let level = (a * a + b * b).sqrt();
        (20.0 * (level / 10_000.0).log10(), 20.0 * (noise * std::f64::consts::SQRT_2 / level).log10())
    }

    #[test]
    fn speech_passes_unharmed_at_every_ratio() {
        for ppm in [-1_500.0, -300.0, 1.0, 300.0, 1_500.0] {
            for hertz in [100.0, 1_000.0, 4_000.0, 8_000.0, 12_000.0] {
                let (level, noise) = quality(hertz, ppm);
                assert!(level.abs() < 0.1, "{ppm} ppm, {hertz} Hz: {level:.2} dB");
                assert!(noise < -70.0, "{ppm} ppm, {hertz} Hz: {noise:.1} dB");
            }
        }
    }

    #[test]
    fn idle_it_delays_by_eight_samples_and_a_change_of_ratio_is_smooth() {
        let mut resampler = Resampler::new();
        let ramp: Vec<i16> = (0..4_000).collect();
        let mut out = [0; 480];
        resampler.process(&ramp[..480], &mut out);
        assert_eq!((out[0], out[8], out[479]), (0, 0, 471));
        let mut taken = 480;
        let mut last = out[479];
        for ppm in [1_500.0, -1_500.0, 0.0, 700.0] {
            resampler.set_ppm(ppm);
            let needed = resampler.needed(480);
            resampler.process(&ramp[taken..taken + needed], &mut out);
            taken += needed;
            for sample in out {
                assert!((0..=2).contains(&(sample - last)), "{ppm}: {last} {sample}");
                last = sample;
            }
        }
    }

    #[test]
    fn when_it_begins_anew_with_clocks_that_are_alike_it_is_idle() {
        let mut resampler = Resampler::new();
        resampler.set_ppm(700.0);
        let input = vec![9_000; resampler.needed(480)];
        resampler.process(&input, &mut [0; 480]);
        resampler.set_ppm(0.0);
        assert!(!resampler.is_idle(), "it lies between two samples");
        resampler.restart();
        let mut out = [1; 24];
        resampler.process(&[5; 24], &mut out);
        assert!(resampler.is_idle() && out[..8] == [0; 8] && out[8..] == [5; 16], "{out:?}");
    }

    #[test]
    fn any_request_is_met_whatever_the_ratio() {
        let mut rng = crate::random::Rng::from_u64(1);
        let mut resampler = Resampler::new();
        for _ in 0..5_000 {
            resampler.set_ppm(rng.below(20_000) as f64 - 10_000.0);
            let most = if rng.below(10) == 0 { MAX_OUTPUT as u64 + 1 } else { 5 };
            let n = rng.below(most) as usize;
            let input = vec![7; resampler.needed(n)];
            resampler.process(&input, &mut vec![0; n]);
        }
    }
}
