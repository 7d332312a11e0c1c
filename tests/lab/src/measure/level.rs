//! Loudness and silence.

use super::decibels;

/// Root mean square level in dBFS (full-scale sine = 0); -200 for digital silence or no samples.
pub fn rms_dbfs(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    decibels(2.0 * energy / (samples.len().max(1) as f64 * 32_768.0_f64.powi(2)))
}

/// Highest absolute sample, as dBFS.
pub fn peak_dbfs(samples: &[i16]) -> f64 {
    let peak = samples.iter().map(|sample| f64::from(*sample).abs()).fold(0.0, f64::max);
    decibels((peak / 32_768.0).powi(2))
}

/// Blocks of `block` samples that lie below `threshold_dbfs`, as sample positions of their beginnings. The blocks
/// follow each other at half their length, so a gap of one and a half blocks cannot hide between two of them.
pub fn silent_blocks(samples: &[i16], block: usize, threshold_dbfs: f64) -> Vec<usize> {
    let starts = (0..samples.len().saturating_sub(block - 1)).step_by((block / 2).max(1));
    starts.filter(|start| rms_dbfs(&samples[*start..*start + block]) < threshold_dbfs).collect()
}

/// Levels of consecutive blocks, in dBFS.
pub fn envelope_dbfs(samples: &[i16], block: usize) -> Vec<f64> {
    samples.chunks_exact(block).map(rms_dbfs).collect()
}

/// Level of the loud parts alone: the mean power of the 20 ms blocks that lie within 30 dB of the loudest.
pub fn active_dbfs(samples: &[i16]) -> f64 {
    let levels = envelope_dbfs(samples, 960);
    let loudest = levels.iter().copied().fold(-200.0, f64::max);
    let active: Vec<f64> = levels.into_iter().filter(|level| *level > (loudest - 30.0).max(-80.0)).collect();
    if active.is_empty() {
        return -200.0;
    }
    decibels(active.iter().map(|level| 10_f64.powf(level / 10.0)).sum::<f64>() / active.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::signal;
    use super::*;

    #[test]
    fn a_sine_of_half_amplitude_is_at_minus_six() {
        assert!((rms_dbfs(&signal::tone(440.0, -6.02, 1.0)) + 6.02).abs() < 0.01);
        assert!((peak_dbfs(&signal::tone(440.0, -6.02, 1.0)) + 6.02).abs() < 0.01);
        assert_eq!(rms_dbfs(&[0; 960]), -200.0);
    }

    #[test]
    fn a_gap_is_found_where_it_is() {
        let mut tone = signal::tone(440.0, -10.0, 1.0);
        assert!(silent_blocks(&tone, 960, -60.0).is_empty());
        tone[10_000..10_000 + 1440].fill(0);
        let found = silent_blocks(&tone, 960, -60.0);
        assert!(!found.is_empty() && found.iter().all(|at| (10_000..10_481).contains(at)), "{found:?}");
    }

    #[test]
    fn pauses_do_not_lower_the_active_level() {
        let mut half = signal::tone(440.0, -12.0, 1.0);
        half[24_000..].fill(0);
        assert!((active_dbfs(&half) + 12.0).abs() < 0.2);
    }
}
