//! How good a call is likely to sound: the E-model (ITU-T G.107) with all it does not know at its default values.
//!
//! What is left of it then is `R = 93.2 - Id - Ie,eff`: an impairment by delay and one by loss.
//!
//! * `Id` of G.107's 7.4 in the usual approximation: 0.024 per ms, and 0.11 more for each ms beyond 177.3.
//! * `Ie,eff = Ie + (95 - Ie) * Ppl / (Ppl + Bpl)`, 7.5. G.113 has no values for Opus: `Ie` 0 and `Bpl` 16 are assumed. (It
//!   has a `Bpl` of 16.1 for G.723.1, of 19.0 for G.729A, of 4.3 for G.711 without concealment.)
//!
//! A number to compare calls of one fleet by, not a measurement of speech: 80 and more is good, below 60 people complain.

use crate::time::Span;

const BEST: f32 = 93.2;
const BPL: f32 = 16.0;

/// `one_way`: from mouth to ear; `concealed`: the part of the sound that was invented, 0 to 1.
pub fn rating(one_way: Span, concealed: f32) -> u8 {
    let ms = one_way.as_secs_f64() as f32 * 1e3;
    let delay = 0.024 * ms + 0.11 * (ms - 177.3).max(0.0);
    let lost = 100.0 * concealed.clamp(0.0, 1.0);
    let loss = 95.0 * lost / (lost + BPL);
    (BEST - delay - loss).clamp(0.0, BEST).round() as u8
}

/// Ten times the mean opinion score that a rating stands for (G.107, annex B).
pub fn score_10(rating: u8) -> u8 {
    let r = f32::from(rating.min(100));
    let score = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    (score * 10.0).clamp(10.0, 45.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_and_loss_each_cost_what_the_model_says() {
        let at = |ms, concealed| rating(Span::from_millis(ms), concealed);
        assert_eq!((at(0, 0.0), at(100, 0.0), at(300, 0.0)), (93, 91, 73));
        assert_eq!((at(0, 0.01), at(0, 0.05), at(0, 0.2)), (88, 71, 40));
        assert_eq!((at(5_000, 1.0), at(0, f32::INFINITY)), (0, 11), "never below nothing");
    }

    #[test]
    fn a_rating_stands_for_a_score() {
        assert_eq!([0, 5, 50, 60, 70, 80, 93, 255].map(score_10), [10, 10, 26, 31, 36, 40, 44, 45]);
    }
}
