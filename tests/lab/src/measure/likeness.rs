//! How like the sent speech the heard speech is.
//!
//! Opus at speech rates does not keep the waveform, so two numbers with different meanings are given: *segmental SNR*, the
//! classic waveform measure (harsh on codecs), and *coherence*, the share of each band's power that is linearly explained
//! by what was sent (1 = all). Both need the time alignment found first; both ignore a constant gain.

use super::latency::{Latency, PIECE, best_match, by_speech};
use super::{RATE, decibels};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

#[derive(Clone, PartialEq, Debug)]
pub struct Likeness {
    pub latency: Latency,
    /// Mean over active 20 ms frames of waveform SNR, each clipped to -10..35 dB.
    pub segmental_snr_db: f64,
    /// Magnitude-squared coherence from 200 to 3400 Hz, weighted by the power sent; 0..1.
    pub coherence: f64,
    /// The same as a ratio: `10 log10(c / (1 - c))`.
    pub coherence_snr_db: f64,
    /// Level of what was heard against what was sent, pieces aligned.
    pub gain_db: f64,
}

/// Compares recordings with a common epoch. `None` if no piece of the sent speech was found again.
///
/// Pieces of half a second are found first; inside them segments of 83 ms are aligned once more, within 3 ms, because an
/// adaptive jitter buffer moves the sound by that much while it plays, and nobody hears it.
pub fn likeness(sent: &[i16], heard: &[i16], max_delay_ms: f64) -> Option<Likeness> {
    const SEGMENT: usize = 4000;
    const PLAY: usize = 144;
    let latency = by_speech(sent, heard, max_delay_ms);
    let (mut frames, mut bands) = (Vec::new(), Bands::new());
    let (mut energy_sent, mut energy_heard) = (0.0, 0.0);
    for found in &latency.found {
        let delay = (found.delay_ms * f64::from(RATE) / 1000.0).round() as usize;
        let loudest = sent[found.at..found.at + PIECE].chunks(960).map(|frame| power(&real(frame))).fold(0.0, f64::max);
        for at in (found.at..found.at + PIECE - SEGMENT + 1).step_by(SEGMENT) {
            let original = real(&sent[at..at + SEGMENT]);
            let from = (at + delay).saturating_sub(PLAY);
            let Some(around) = heard.get(from..from + SEGMENT + 2 * PLAY) else { continue };
            if power(&original) < loudest * 1e-3 {
                continue;
            }
            let lag = best_match(&original, around).map_or(PLAY, |(lag, _)| lag.round().max(0.0) as usize);
            let echo = real(&around[lag.min(2 * PLAY)..lag.min(2 * PLAY) + SEGMENT]);
            let dot: f64 = original.iter().zip(&echo).map(|(a, b)| a * b).sum();
            let own: f64 = original.iter().map(|a| a * a).sum();
            energy_sent += own;
            energy_heard += echo.iter().map(|b| b * b).sum::<f64>();
            let gain = dot / own.max(1.0);
            for (a, b) in original.chunks_exact(960).zip(echo.chunks_exact(960)) {
                if power(a) > loudest * 1e-3 {
                    let error: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - gain * a).collect();
                    frames.push(decibels(power(a) * gain * gain / power(&error).max(1e-9)).clamp(-10.0, 35.0));
                }
            }
            bands.add(&original, &echo);
        }
    }
    if frames.is_empty() {
        return None;
    }
    let coherence = bands.coherence();
    Some(Likeness {
        latency,
        segmental_snr_db: frames.iter().sum::<f64>() / frames.len() as f64,
        coherence,
        coherence_snr_db: decibels(coherence / (1.0 - coherence).max(1e-9)),
        gain_db: decibels(energy_heard / energy_sent.max(1.0)),
    })
}

/// The sound after Opus twice at that bitrate, as a conference does it: what codecs alone leave of a likeness.
pub fn twice_through_opus(sound: &[i16], bitrate: i32) -> Vec<i16> {
    let once = |sound: &[i16]| -> Result<Vec<i16>, opus::Error> {
        let mut encoder = opus::Encoder::new(RATE, opus::Channels::Mono, opus::Application::Voip)?;
        encoder.set_bitrate(opus::Bitrate::Bits(bitrate))?;
        let mut decoder = opus::Decoder::new(RATE, opus::Channels::Mono)?;
        let mut out = Vec::with_capacity(sound.len());
        for frame in sound.chunks_exact(960) {
            let mut decoded = [0; 960];
            decoder.decode(&encoder.encode_vec(frame, 1500)?, &mut decoded, false)?;
            out.extend(decoded);
        }
        Ok(out)
    };
    once(sound).and_then(|sound| once(&sound)).expect("libopus codes 20 ms frames")
}

fn real(samples: &[i16]) -> Vec<f64> {
    samples.iter().map(|sample| f64::from(*sample)).collect()
}

fn power(samples: &[f64]) -> f64 {
    samples.iter().map(|x| x * x).sum::<f64>() / samples.len().max(1) as f64
}

/// Welch sums: Hann windows of 1024 samples, half overlapped.
struct Bands {
    fft: std::sync::Arc<dyn rustfft::Fft<f64>>,
    sent: Vec<f64>,
    heard: Vec<f64>,
    cross: Vec<Complex<f64>>,
}

const WINDOW: usize = 1024;

impl Bands {
    fn new() -> Bands {
        let fft = FftPlanner::new().plan_fft_forward(WINDOW);
        Bands { fft, sent: vec![0.0; WINDOW], heard: vec![0.0; WINDOW], cross: vec![Complex::default(); WINDOW] }
    }

    fn add(&mut self, sent: &[f64], heard: &[f64]) {
        for at in (0..(sent.len() + 1).saturating_sub(WINDOW)).step_by(WINDOW / 2) {
            let a = self.spectrum(&sent[at..at + WINDOW]);
            let b = self.spectrum(&heard[at..at + WINDOW]);
            for bin in 0..WINDOW {
                self.sent[bin] += a[bin].norm_sqr();
                self.heard[bin] += b[bin].norm_sqr();
                self.cross[bin] += a[bin].conj() * b[bin];
            }
        }
    }

    fn spectrum(&self, samples: &[f64]) -> Vec<Complex<f64>> {
        let window = |n: usize| 0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / WINDOW as f64).cos();
        let mut bins: Vec<Complex<f64>> =
            samples.iter().enumerate().map(|(n, sample)| Complex::new(sample * window(n), 0.0)).collect();
        self.fft.process(&mut bins);
        bins
    }

    fn coherence(&self) -> f64 {
        let bin = |hz: f64| (hz * WINDOW as f64 / f64::from(RATE)).round() as usize;
        let (mut sum, mut weights) = (0.0, 0.0);
        for at in bin(200.0)..=bin(3400.0) {
            let powers = self.sent[at] * self.heard[at];
            if powers > 0.0 {
                sum += self.sent[at] * self.cross[at].norm_sqr() / powers;
                weights += self.sent[at];
            }
        }
        if weights > 0.0 { sum / weights } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::signal;
    use super::*;

    fn heard_with_noise(said: &[i16], noise_dbfs: f64) -> Vec<i16> {
        let mut echo: Vec<i16> = vec![0; 4000];
        echo.extend(said.iter().map(|x| x / 2));
        echo.extend(vec![0; 48_000]);
        let seconds = echo.len() as f64 / 48_000.0;
        signal::add(&echo, &signal::white_noise(noise_dbfs, seconds, 9))
    }

    #[test]
    fn a_clean_echo_is_alike_and_noise_lowers_both_numbers() {
        let said = signal::speech(4.0, 2);
        let clean = likeness(&said, &heard_with_noise(&said, -110.0), 300.0).expect("found");
        assert!(clean.segmental_snr_db > 30.0 && clean.coherence > 0.999, "{clean:?}");
        assert!((clean.gain_db + 6.02).abs() < 0.1, "{clean:?}");
        let noisy = likeness(&said, &heard_with_noise(&said, -40.0), 300.0).expect("found");
        assert!(noisy.segmental_snr_db < clean.segmental_snr_db - 10.0, "{noisy:?}");
        assert!(noisy.coherence_snr_db < clean.coherence_snr_db - 10.0, "{noisy:?}");
        assert!((noisy.latency.p50_ms().expect("found") - 4000.0 / 48.0).abs() < 0.05);
    }

    #[test]
    fn a_buffer_that_moves_the_sound_by_a_millisecond_does_no_harm() {
        let said = signal::speech(4.0, 2);
        let mut heard = heard_with_noise(&said, -110.0);
        let steady = likeness(&said, &heard, 300.0).expect("found");
        for at in [40_000, 90_000, 140_000] {
            heard.drain(at..at + 48);
        }
        let moved = likeness(&said, &heard, 300.0).expect("found");
        assert!(moved.coherence_snr_db > 18.0 && steady.coherence_snr_db > 30.0, "{moved:?} {steady:?}");
    }

    #[test]
    fn codecs_alone_cost_likeness_but_the_sound_is_found() {
        let said = signal::speech(4.0, 2);
        let mut heard = twice_through_opus(&said, 32_000);
        heard.extend([0; 48_000]);
        let found = likeness(&said, &heard, 300.0).expect("found");
        assert!(found.latency.missed.is_empty() && (8.0..25.0).contains(&found.coherence_snr_db), "{found:?}");
    }

    #[test]
    fn silence_is_like_nothing() {
        assert_eq!(likeness(&signal::speech(2.0, 2), &vec![0; 144_000], 300.0), None);
    }
}
