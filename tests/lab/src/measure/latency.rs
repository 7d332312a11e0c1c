//! Mouth to ear: where in the heard recording the sent sound is found again.
//!
//! Both recordings share an epoch: sample n of each happened at the same instant. [`by_chirps`] is exact and sees single
//! losses; [`by_speech`] needs no marker and works on whatever was said.

use super::signal::Chirps;
use super::{RATE, percentile};

/// Samples of a piece of speech that is looked for at once.
pub(super) const PIECE: usize = RATE as usize / 2;

/// One piece of sound found again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Found {
    /// Sample in the sent recording.
    pub at: usize,
    pub delay_ms: f64,
    /// Normalised correlation, 1 = identical up to gain.
    pub likeness: f64,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Latency {
    pub found: Vec<Found>,
    /// Sent pieces that were not heard, by their sample.
    pub missed: Vec<usize>,
}

impl Latency {
    pub fn p50_ms(&self) -> Option<f64> {
        percentile(&self.delays(), 0.5)
    }

    pub fn p95_ms(&self) -> Option<f64> {
        percentile(&self.delays(), 0.95)
    }

    pub fn delays(&self) -> Vec<f64> {
        self.found.iter().map(|found| found.delay_ms).collect()
    }
}

/// Finds every chirp of the train within `max_ms` after it was sent. Below a likeness of 0.5 it counts as missed. Chirps
/// whose window lies beyond the end of the recording are not judged.
pub fn by_chirps(heard: &[i16], sent_length: usize, chirps: &Chirps, max_ms: f64) -> Latency {
    let template: Vec<f64> = chirps.template().iter().map(|sample| f64::from(*sample)).collect();
    let window = (max_ms * f64::from(RATE) / 1000.0) as usize;
    assert!(window <= chirps.every, "the latency would be ambiguous");
    let mut latency = Latency::default();
    for at in chirps.positions(sent_length) {
        if at + window + template.len() > heard.len() {
            break;
        }
        let best = best_match(&template, &heard[at..at + window + template.len()]);
        match best {
            Some((delay, likeness)) if likeness >= 0.5 => {
                latency.found.push(Found { at, delay_ms: delay * 1000.0 / f64::from(RATE), likeness });
            }
            _ => latency.missed.push(at),
        }
    }
    latency
}

/// Cuts the sent sound into pieces of half a second and finds each loud one again within `max_ms`, first roughly at 8 kHz,
/// then to the sample. Pieces with a likeness below 0.5 count as missed.
pub fn by_speech(sent: &[i16], heard: &[i16], max_ms: f64) -> Latency {
    const COARSE: usize = 6;
    let window = (max_ms * f64::from(RATE) / 1000.0) as usize / COARSE * COARSE;
    let loudest = sent.chunks(PIECE).map(super::level::rms_dbfs).fold(-200.0, f64::max);
    let mut latency = Latency::default();
    for at in (0..sent.len().saturating_sub(PIECE)).step_by(PIECE) {
        if at + PIECE + window > heard.len() {
            break;
        }
        let piece = &sent[at..at + PIECE];
        if super::level::rms_dbfs(piece) < (loudest - 20.0).max(-60.0) {
            continue;
        }
        let coarse = best_match(&thin(piece, COARSE), &round(&thin(&heard[at..at + PIECE + window], COARSE)));
        let fine = coarse.filter(|(_, likeness)| *likeness >= 0.3).and_then(|(delay, _)| {
            let from = (delay * COARSE as f64) as usize;
            let from = from.saturating_sub(2 * COARSE).min(window - (4 * COARSE).min(window));
            let to = (from + 4 * COARSE).min(window);
            let fine: Vec<f64> = piece.iter().map(|sample| f64::from(*sample)).collect();
            best_match(&fine, &heard[at + from..at + to + PIECE])
                .map(|(delay, likeness)| (delay + from as f64, likeness))
        });
        match fine {
            Some((delay, likeness)) if likeness >= 0.5 => {
                latency.found.push(Found { at, delay_ms: delay * 1000.0 / f64::from(RATE), likeness });
            }
            _ => latency.missed.push(at),
        }
    }
    latency
}

/// Lag (in samples, refined by a parabola) and value of the best normalised correlation of `needle` in `hay`.
pub(super) fn best_match(needle: &[f64], hay: &[i16]) -> Option<(f64, f64)> {
    let lags = (hay.len() + 1).checked_sub(needle.len())?;
    let hay: Vec<f64> = hay.iter().map(|sample| f64::from(*sample)).collect();
    let needle_energy: f64 = needle.iter().map(|x| x * x).sum();
    let mut energy: f64 = hay[..needle.len()].iter().map(|x| x * x).sum();
    let mut values = Vec::with_capacity(lags);
    for lag in 0..lags {
        let dot: f64 = needle.iter().zip(&hay[lag..]).map(|(a, b)| a * b).sum();
        let norm = (needle_energy * energy.max(0.0)).sqrt();
        // A piece that is nearly silent correlates with anything.
        values.push(if energy > needle_energy * 1e-5 && norm > 0.0 { dot / norm } else { 0.0 });
        if lag + needle.len() < hay.len() {
            energy += hay[lag + needle.len()].powi(2) - hay[lag].powi(2);
        }
    }
    let (best, value) = values.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let fraction = match (best.checked_sub(1).map(|left| values[left]), values.get(best + 1)) {
        (Some(left), Some(right)) if left + right - 2.0 * value < 0.0 => {
            (left - right) / (2.0 * (left + right - 2.0 * value))
        }
        _ => 0.0,
    };
    Some((best as f64 + fraction, value))
}

/// Every `by`-th sample of a moving average.
fn thin(samples: &[i16], by: usize) -> Vec<f64> {
    samples
        .chunks_exact(by)
        .map(|chunk| chunk.iter().map(|sample| f64::from(*sample)).sum::<f64>() / by as f64)
        .collect()
}

fn round(samples: &[f64]) -> Vec<i16> {
    samples.iter().map(|sample| *sample as i16).collect()
}

#[cfg(test)]
mod tests {
    use super::super::signal;
    use super::*;

    fn delayed(sound: &[i16], by: usize) -> Vec<i16> {
        let mut out = vec![0; by];
        out.extend_from_slice(sound);
        out
    }

    #[test]
    fn chirps_are_found_to_the_sample_in_noise_and_losses_are_seen() {
        let chirps = Chirps::standard();
        let sent = chirps.signal(4.0);
        let mut heard = signal::add(&delayed(&sent, 3000), &signal::white_noise(-30.0, 5.0, 3));
        heard[51_000..52_500].fill(0);
        let latency = by_chirps(&heard, sent.len(), &chirps, 400.0);
        assert_eq!(latency.missed, [48_000]);
        assert_eq!(latency.found.len(), 6);
        assert!(latency.found.iter().all(|found| (found.delay_ms - 62.5).abs() < 0.03), "{latency:?}");
    }

    #[test]
    fn rising_chirps_between_falling_ones_are_told_apart_beyond_their_distance() {
        let rising = Chirps { every: 48_000, ..Chirps::standard() };
        let falling = Chirps { first: 48_000, rises: false, ..rising };
        let sent = signal::add(&rising.signal(6.0), &falling.signal(6.0));
        let heard = delayed(&sent, 33_600);
        for chirps in [rising, falling] {
            let latency = by_chirps(&heard, sent.len(), &chirps, 950.0);
            assert!(latency.found.len() >= 4 && latency.missed.is_empty(), "{latency:?}");
            assert!(latency.found.iter().all(|found| (found.delay_ms - 700.0).abs() < 0.05), "{latency:?}");
        }
    }

    #[test]
    fn a_step_of_the_delay_shows_in_the_percentiles() {
        let chirps = Chirps::standard();
        let sent = chirps.signal(10.0);
        let mut heard = delayed(&sent[..384_000], 2400);
        heard.extend(vec![0; 960]);
        heard.extend_from_slice(&sent[384_000..]);
        heard.extend(vec![0; 48_000]);
        let latency = by_chirps(&heard, sent.len(), &chirps, 300.0);
        assert!((latency.p50_ms().expect("found") - 50.0).abs() < 0.05, "{latency:?}");
        assert!((latency.p95_ms().expect("found") - 70.0).abs() < 0.05, "{latency:?}");
    }

    #[test]
    fn speech_is_found_too_and_silence_is_not() {
        let said = signal::speech(4.0, 11);
        let heard = signal::add(&delayed(&said, 5000), &signal::white_noise(-45.0, 5.0, 4));
        let latency = by_speech(&said, &heard, 300.0);
        assert!(latency.found.len() >= 5 && latency.missed.is_empty(), "{latency:?}");
        assert!(latency.found.iter().all(|found| (found.delay_ms - 5000.0 / 48.0).abs() < 0.05), "{latency:?}");
        let nothing = by_speech(&said, &vec![0; 240_000], 300.0);
        assert!(nothing.found.is_empty() && !nothing.missed.is_empty());
    }
}
