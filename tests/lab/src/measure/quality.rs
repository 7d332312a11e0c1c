//! How speech sounds at the end of a line, as people would rate it: PESQ-WB (ITU-T P.862.2), 1.0 bad to 4.64 flawless.
//!
//! The measure compares what was said with what was heard, after both went through a model of the ear; it finds the delay
//! of each utterance by itself. It wants sentences of some seconds: those of [`passages`].

use super::signal::espeak_as;
use super::{RATE, level};
use std::f64::consts::{PI, TAU};

/// Speech to be rated, in one recording.
#[derive(Clone, Debug)]
pub struct Passages {
    pub sound: Vec<i16>,
    /// Where each passage begins and ends, its pauses before and behind included.
    pub spans: Vec<(usize, usize)>,
}

/// Two of the phonetically balanced sentences of IEEE 297 ("Harvard sentences") a passage, read by turns. What Opus alone
/// leaves of a synthetic voice differs much from voice to voice: of these it leaves 3.4 to 3.9 after two passes at 32 kbit/s.
const TEXTS: [(&str, &str); 4] = [
    ("en+m5", "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background."),
    ("en+f4", "It is easy to tell the depth of a well. These days a chicken leg is a rare dish."),
    ("en+m5", "Rice is often served in round bowls. The juice of lemons makes fine punch."),
    ("en+f2", "The box was thrown beside the parked truck. The hogs were fed chopped corn and garbage."),
];
/// Silence before each passage, and behind it.
const LEAD: usize = RATE as usize * 3 / 10;
const TAIL: usize = RATE as usize / 2;
const PEAK_DBFS: f64 = -6.0;

/// What is said, the same on every machine with that espeak-ng; `None` where there is none.
pub fn passages() -> Option<Passages> {
    let mut passages = Passages { sound: Vec::new(), spans: Vec::new() };
    for (voice, text) in TEXTS {
        let spoken = espeak_as(voice, text)?;
        let gain = 10_f64.powf((PEAK_DBFS - level::peak_dbfs(&spoken)) / 20.0);
        let from = passages.sound.len();
        passages.sound.resize(from + LEAD, 0);
        passages.sound.extend(spoken.iter().map(|sample| (f64::from(*sample) * gain) as i16));
        passages.sound.resize(passages.sound.len() + TAIL, 0);
        passages.spans.push((from, passages.sound.len()));
    }
    Some(passages)
}

impl Passages {
    /// The score of each passage, when the recording `heard` has frame 0 where `sound` begins and lags by about
    /// `delay` frames. A passage of which nothing was heard at all scores 1.
    pub fn scores(&self, heard: &[i16], delay: usize) -> Vec<f64> {
        let score = |&(from, to): &(usize, usize)| {
            let piece = heard.get((from + delay).min(heard.len())..(to + delay).min(heard.len()));
            wideband_mos(&self.sound[from..to], piece.unwrap_or(&[])).unwrap_or(1.0)
        };
        self.spans.iter().map(score).collect()
    }
}

/// PESQ-WB of two recordings at 48 kHz; `None` where the measure finds no speech.
pub fn wideband_mos(said: &[i16], heard: &[i16]) -> Option<f64> {
    pesq::pesq_wb(&to_16_khz(said), &to_16_khz(heard)).ok().map(f64::from)
}

/// Every third sample, after a low-pass of 7.2 kHz that lets less than -60 dB of what is above 8.6 kHz through.
fn to_16_khz(samples: &[i16]) -> Vec<i16> {
    const HALF: i64 = 66;
    let taps: Vec<f64> = (-HALF..=HALF)
        .map(|tap| {
            let (x, cutoff) = (tap as f64, 7_900.0 / f64::from(RATE));
            let sinc = if tap == 0 { 2.0 * cutoff } else { (TAU * cutoff * x).sin() / (PI * x) };
            let along = PI * x / (HALF + 1) as f64;
            sinc * (0.42 + 0.5 * along.cos() + 0.08 * (2.0 * along).cos())
        })
        .collect();
    let at = |centre: usize| {
        let sum: f64 = taps
            .iter()
            .zip(centre as i64 - HALF..)
            .filter_map(|(tap, at)| Some(tap * f64::from(*samples.get(usize::try_from(at).ok()?)?)))
            .sum();
        sum.round().clamp(-32_768.0, 32_767.0) as i16
    };
    (0..samples.len()).step_by(3).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{signal, tone};
    use super::*;

    #[test]
    fn decimation_keeps_what_is_heard_and_drops_what_would_fold() {
        let kept = to_16_khz(&signal::tone(6_000.0, -6.0, 0.5));
        assert!((level::rms_dbfs(&kept[200..7_800]) + 6.0).abs() < 0.3);
        let gone = to_16_khz(&signal::tone(9_200.0, -6.0, 0.5));
        assert!(level::rms_dbfs(&gone[200..7_800]) < -60.0);
        // The tone of 1 kHz at 16 kHz is one of 3 kHz when it is taken for 48 kHz.
        let low = to_16_khz(&signal::tone(1_000.0, -6.0, 0.9));
        assert!(tone::tone(&low[200..14_000], 3_000.0).snr_db > 35.0);
    }

    #[test]
    fn the_score_falls_with_what_is_missing_and_ignores_a_delay() {
        let said = signal::speech(6.0, 3);
        let score = |heard: &[i16]| wideband_mos(&said, heard).expect("there is speech");
        assert!(score(&said) > 4.6);
        let mut late = vec![0; 4_800];
        late.extend_from_slice(&said);
        assert!(score(&late) > 4.5);
        let without = |every: usize| {
            let mut heard = said.clone();
            heard.chunks_mut(960).step_by(every).for_each(|frame| frame.fill(0));
            score(&heard)
        };
        let (few, many) = (without(20), without(5));
        assert!(few < 4.2 && many < few - 0.3, "every 20th frame: {few}, every fifth: {many}");
    }

    #[test]
    fn each_passage_is_rated_by_itself() {
        let Some(passages) = passages() else { return };
        let (from, to) = passages.spans[1];
        let mut heard = vec![0; 3_000];
        heard.extend_from_slice(&passages.sound);
        heard[from + 3_000..to + 3_000].iter_mut().for_each(|sample| *sample /= 4_000);
        let scores = passages.scores(&heard, 3_000);
        assert!(scores.len() == 4 && scores[1] < 3.0, "{scores:?}");
        assert!([0, 2, 3].iter().all(|at| scores[*at] > 4.5), "{scores:?}");
        assert_eq!(passages.scores(&[], 0), [1.0; 4]);
    }
}
