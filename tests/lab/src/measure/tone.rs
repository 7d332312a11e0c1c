//! Tones by least squares: how strong each is, and how strong everything else is.
//!
//! The recording is cut into blocks of 100 ms. In each, sine and cosine of every expected frequency are fitted jointly
//! (normal equations), the frequency first refined by a fraction of a per cent: an adaptive jitter buffer may play a
//! shade too fast, which is no noise. What the fit leaves over is noise.

use super::{RATE, decibels};

const BLOCK: usize = RATE as usize / 10;

/// One expected tone over the whole recording.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tone {
    pub expected_hz: f64,
    /// Median of the blocks.
    pub measured_hz: f64,
    /// Mean over the blocks; a full-scale sine is 0.
    pub level_dbfs: f64,
    /// The same in the median block.
    pub median_dbfs: f64,
    /// This tone's energy over the energy that *no* expected tone explains.
    pub snr_db: f64,
    /// The same in the median block, and in the worst.
    pub median_snr_db: f64,
    pub worst_snr_db: f64,
}

/// Fits all `frequencies` at once. The recording should be at least one block (100 ms) long; a rest is ignored.
pub fn tones(samples: &[i16], frequencies: &[f64]) -> Vec<Tone> {
    let blocks: Vec<Vec<Fit>> = samples.chunks_exact(BLOCK).map(|block| fit_block(block, frequencies)).collect();
    let of_tone = |at: usize| -> Tone {
        let (mut signal, mut noise) = (0.0, 0.0);
        let (mut measured, mut levels, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let of_power = |power: f64| decibels(2.0 * power / 32_768.0_f64.powi(2));
        for block in &blocks {
            signal += block[at].power;
            noise += block[at].rest;
            ratios.push(ratio_db(block[at].power, block[at].rest));
            levels.push(of_power(block[at].power));
            measured.push(block[at].hz);
        }
        Tone {
            expected_hz: frequencies[at],
            measured_hz: super::percentile(&measured, 0.5).unwrap_or(0.0),
            level_dbfs: of_power(signal / blocks.len().max(1) as f64),
            median_dbfs: super::percentile(&levels, 0.5).unwrap_or(-200.0),
            snr_db: ratio_db(signal, noise),
            median_snr_db: super::percentile(&ratios, 0.5).unwrap_or(-200.0),
            worst_snr_db: super::percentile(&ratios, 0.0).unwrap_or(-200.0),
        }
    };
    (0..frequencies.len()).map(of_tone).collect()
}

/// One tone alone.
pub fn tone(samples: &[i16], frequency: f64) -> Tone {
    tones(samples, &[frequency])[0]
}

#[derive(Clone, Copy)]
struct Fit {
    hz: f64,
    /// Mean power of the fitted tone, and of what no tone explains.
    power: f64,
    rest: f64,
}

fn fit_block(block: &[i16], frequencies: &[f64]) -> Vec<Fit> {
    let signal: Vec<f64> = block.iter().map(|sample| f64::from(*sample)).collect();
    let mut hz = frequencies.to_vec();
    for at in 0..hz.len() {
        hz[at] = refine(&signal, &hz, at);
    }
    let (powers, rest) = solve(&signal, &hz);
    hz.into_iter().zip(powers).map(|(hz, power)| Fit { hz, power, rest }).collect()
}

/// Golden-section search for the frequency that leaves the least over, within 0.6 %.
fn refine(signal: &[f64], hz: &[f64], at: usize) -> f64 {
    let rest = |candidate: f64| {
        let mut tried = hz.to_vec();
        tried[at] = candidate;
        solve(signal, &tried).1
    };
    let golden = 0.618_033_988_75;
    let (mut low, mut high) = (hz[at] * 0.994, hz[at] * 1.006);
    let (mut a, mut b) = (high - golden * (high - low), low + golden * (high - low));
    let (mut rest_a, mut rest_b) = (rest(a), rest(b));
    for _ in 0..14 {
        if rest_a < rest_b {
            (high, b, rest_b) = (b, a, rest_a);
            a = high - golden * (high - low);
            rest_a = rest(a);
        } else {
            (low, a, rest_a) = (a, b, rest_b);
            b = low + golden * (high - low);
            rest_b = rest(b);
        }
    }
    (low + high) / 2.0
}

/// Joint least squares of sine and cosine per frequency: mean power of each tone, mean power of the rest.
fn solve(signal: &[f64], hz: &[f64]) -> (Vec<f64>, f64) {
    let basis: Vec<Vec<f64>> =
        hz.iter().flat_map(|hz| [wave(*hz, signal.len(), 0.0), wave(*hz, signal.len(), 1.0)]).collect();
    let n = basis.len();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut matrix = vec![vec![0.0; n + 1]; n];
    for row in 0..n {
        for column in 0..=row {
            matrix[row][column] = dot(&basis[row], &basis[column]);
            matrix[column][row] = matrix[row][column];
        }
        matrix[row][n] = dot(&basis[row], signal);
    }
    let weights = eliminate(matrix);
    let mut rest = signal.to_vec();
    for (weight, wave) in weights.iter().zip(&basis) {
        rest.iter_mut().zip(wave).for_each(|(rest, wave)| *rest -= weight * wave);
    }
    let powers = weights.chunks(2).map(|pair| (pair[0].powi(2) + pair[1].powi(2)) / 2.0).collect();
    (powers, dot(&rest, &rest) / signal.len().max(1) as f64)
}

/// A cosine, `quarter` times 90 degrees late, by rotation.
fn wave(hz: f64, length: usize, quarter: f64) -> Vec<f64> {
    let step = std::f64::consts::TAU * hz / f64::from(RATE);
    let (sin, cos) = step.sin_cos();
    let phase = -quarter * std::f64::consts::FRAC_PI_2;
    let (mut y, mut x) = phase.sin_cos();
    let turn = |_| {
        let now = x;
        (x, y) = (x * cos - y * sin, x * sin + y * cos);
        now
    };
    (0..length).map(turn).collect()
}

/// Gaussian elimination with partial pivots; a singular column gets weight 0.
fn eliminate(mut matrix: Vec<Vec<f64>>) -> Vec<f64> {
    let n = matrix.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()));
        matrix.swap(column, pivot.unwrap_or(column));
        let lead = matrix[column].clone();
        if lead[column].abs() < 1e-9 {
            continue;
        }
        for row in matrix.iter_mut().skip(column + 1) {
            let factor = row[column] / lead[column];
            row.iter_mut().zip(&lead).for_each(|(value, lead)| *value -= factor * lead);
        }
    }
    let mut weights = vec![0.0; n];
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|column| matrix[row][column] * weights[column]).sum();
        if matrix[row][row].abs() >= 1e-9 {
            weights[row] = (matrix[row][n] - known) / matrix[row][row];
        }
    }
    weights
}

fn ratio_db(signal: f64, noise: f64) -> f64 {
    match (signal > 0.0, noise > 0.0) {
        (false, _) => -200.0,
        (true, false) => 200.0,
        (true, true) => decibels(signal / noise),
    }
}

#[cfg(test)]
mod tests {
    use super::super::signal;
    use super::*;

    #[test]
    fn the_snr_of_white_noise_is_the_snr_set() {
        for wanted in [10.0, 30.0, 40.0] {
            let clean = signal::tone(440.0, -6.0, 2.0);
            let noisy = signal::add(&clean, &signal::white_noise(-6.0 - wanted, 2.0, 7));
            let found = tone(&noisy, 440.0);
            assert!((found.snr_db - wanted).abs() < 0.3, "{wanted}: {found:?}");
            assert!((found.level_dbfs + 6.0).abs() < 0.05, "{found:?}");
        }
    }

    #[test]
    fn two_tones_are_told_apart_and_a_third_is_noise() {
        let two = signal::add(&signal::tone(440.0, -12.0, 1.0), &signal::tone(880.0, -18.0, 1.0));
        let found = tones(&two, &[440.0, 880.0]);
        assert!(found[0].snr_db > 60.0 && found[1].snr_db > 60.0, "{found:?}");
        assert!((found[1].level_dbfs + 18.0).abs() < 0.05, "{found:?}");
        let three = signal::add(&two, &signal::tone(1500.0, -42.0, 1.0));
        let found = tones(&three, &[440.0, 880.0]);
        assert!((found[0].snr_db - 30.0).abs() < 0.3, "{found:?}");
    }

    #[test]
    fn a_stretched_tone_is_still_clean_and_a_gap_is_not() {
        let stretched = signal::tone(440.0 * 1.003, -6.0, 1.0);
        let found = tone(&stretched, 440.0);
        assert!(found.snr_db > 55.0 && (found.measured_hz - 441.32).abs() < 0.1, "{found:?}");
        let mut gap = signal::tone(440.0, -6.0, 1.0);
        gap[20_000..20_960].fill(0);
        let found = tone(&gap, 440.0);
        assert!(found.worst_snr_db < 10.0 && found.snr_db < 20.0 && found.median_snr_db > 55.0, "{found:?}");
    }

    #[test]
    fn silence_has_no_tone() {
        let found = tone(&[0; 48_000], 440.0);
        assert_eq!((found.level_dbfs, found.snr_db), (-200.0, -200.0));
        assert!(tone(&signal::white_noise(-20.0, 1.0, 1), 440.0).snr_db < -15.0);
    }
}
