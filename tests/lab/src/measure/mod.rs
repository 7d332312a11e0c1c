//! The numbers the tests assert on, from raw samples: tones, levels, silence, latency, likeness, quality, bitrate.
//!
//! Samples are mono S16. Levels are dBFS with a full-scale *sine* at 0 dBFS (AES17), so a sine of half amplitude is at
//! -6.0 dBFS. Positions are sample numbers; recordings that share an epoch share the axis.

pub mod latency;
pub mod level;
pub mod likeness;
pub mod quality;
pub mod signal;
pub mod sound_file;
pub mod tone;
pub mod wire;

/// Samples per second everywhere in the lab.
pub const RATE: u32 = 48_000;

/// The value below which `fraction` (0..=1) of the values lie; nearest rank. `None` for no values.
pub fn percentile(values: &[f64], fraction: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(fraction * last as f64).round() as usize])
}

/// `10 log10(ratio)`, with silence at -200 dB.
pub fn decibels(power_ratio: f64) -> f64 {
    if power_ratio > 1e-20 { 10.0 * power_ratio.log10() } else { -200.0 }
}
