//! What both resamplers are made of: the weights of a sinc under Kaiser's window, and the sum of what is weighted.

use std::f64::consts::PI;

/// Sums that are made side by side. A filter's length is a multiple of it.
pub(super) const LANES: usize = 8;

/// What an input counts that lies `x` samples from the place of the output, in a filter that reaches `reach` samples to
/// either side and passes frequencies up to `cut_off`, of half the rate of the inputs. `beta` is the window's: the larger,
/// the less is folded, and the wider the edge. The weights of a filter do not yet add up to one.
pub(super) fn weight(x: f64, cut_off: f64, reach: f64, beta: f64) -> f64 {
    let edge = x / reach;
    sinc(x * cut_off) * bessel(beta * (1.0 - edge * edge).max(0.0).sqrt()) / bessel(beta)
}

/// The output whose inputs these are, with as many weights.
pub(super) fn sum(inputs: &[f32], weights: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for (inputs, weights) in inputs.chunks_exact(LANES).zip(weights.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += inputs[lane] * weights[lane];
        }
    }
    sums.iter().sum()
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// The modified Bessel function of the first kind, order zero, by its series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Abramowitz and Stegun, table 9.8.
    #[test]
    fn the_series_gives_what_the_tables_say() {
        for (x, told) in [(0.0, 1.0), (1.0, 1.266_065_878), (5.0, 27.239_871_82), (8.0, 427.564_115_7)] {
            assert!((bessel(x) / told - 1.0).abs() < 1e-9, "{x}: {}", bessel(x));
        }
    }

    #[test]
    fn the_window_ends_at_the_reach_and_every_other_sample_counts_nothing() {
        assert_eq!(weight(0.0, 1.0, 8.0, 7.0), 1.0);
        assert!(weight(7.5, 1.0, 8.0, 7.0).abs() < 1e-3);
        for x in 1..8 {
            assert!(weight(f64::from(x), 1.0, 8.0, 7.0).abs() < 1e-15);
            assert_eq!(weight(f64::from(x) + 0.5, 0.9, 8.0, 7.0), weight(-f64::from(x) - 0.5, 0.9, 8.0, 7.0));
        }
    }
}
