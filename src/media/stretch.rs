//! Time made shorter or longer without a click: whole periods of the waveform cut out or put in.
//!
//! The place to cut is where the signal best resembles itself a little later (waveform similarity overlap-add): the two
//! alike pieces are cross-faded over `OVERLAP`, so that neither pitch nor phase steps.
//!
//! ```text
//!   shorten:  x[0..M] ╲                        lengthen:  x[0..L] x[L..L+M] ╲
//!                      ╳ x[L+M..]                                            ╳ x[M..]
//!        x[L..L+M]  ╱                                          x[0..M]    ╱
//! ```

/// Cross-fade, 5 ms; a quarter of a frame that is shorter than 20 ms.
const OVERLAP: usize = 240;
/// No voice has a shorter period: 2.5 ms.
const MIN_LAG: usize = 120;
/// 15 ms: the lowest voice.
const MAX_LAG: usize = 720;
/// Similarity is searched on every fourth sample first.
const COARSE: usize = 4;
/// Peak below which a frame is silence, and any place is good: -50 dBFS.
const QUIET: u16 = 100;

/// The similarity that a cut asks for, 0 to 1: higher is less audible.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Similarity(pub f32);

impl Similarity {
    /// Not to be heard.
    pub const GOOD: Similarity = Similarity(0.75);
    /// Better a small roughness than the delay.
    pub const FAIR: Similarity = Similarity(0.4);
    pub const ANY: Similarity = Similarity(-1.0);
}

/// Cuts at most `most` samples out of `frame` and returns how many; what is left stands at its beginning.
pub fn shorten(frame: &mut [i16], most: usize, at_least: Similarity) -> usize {
    let overlap = overlap(frame.len());
    let Some(lag) = best_lag(frame, overlap, most, at_least) else {
        return 0;
    };
    for i in 0..overlap {
        frame[i] = mix(frame[i], frame[lag + i], i, overlap);
    }
    frame.copy_within(lag + overlap.., overlap);
    lag
}

/// Puts at most `most` samples into the first `len` of `frame` and returns how many.
pub fn lengthen(frame: &mut [i16], len: usize, most: usize, at_least: Similarity) -> usize {
    let overlap = overlap(len);
    let most = most.min(frame.len() - len);
    let Some(lag) = best_lag(&frame[..len], overlap, most, at_least) else {
        return 0;
    };
    let mut joint = [0; OVERLAP];
    for i in 0..overlap {
        joint[i] = mix(frame[lag + i], frame[i], i, overlap);
    }
    frame.copy_within(overlap..len, lag + overlap);
    frame[lag..lag + overlap].copy_from_slice(&joint[..overlap]);
    lag
}

/// Lets `from` fade into the beginning of `frame`.
pub fn merge(frame: &mut [i16], from: &[i16]) {
    let n = from.len().min(frame.len());
    for i in 0..n {
        frame[i] = mix(from[i], frame[i], i, n);
    }
}

fn overlap(len: usize) -> usize {
    OVERLAP.min(len / 4)
}

fn mix(old: i16, new: i16, i: usize, n: usize) -> i16 {
    let (i, n) = (i as i32, n as i32);
    ((i32::from(old) * (n - i) + i32::from(new) * i) / n) as i16
}

/// The lag at which the frame continues most like its beginning.
fn best_lag(frame: &[i16], overlap: usize, most: usize, at_least: Similarity) -> Option<usize> {
    let most = most.min(frame.len().saturating_sub(overlap));
    if overlap == 0 || most < MIN_LAG {
        return None;
    }
    if super::gain::peak(frame) < QUIET {
        return Some(most);
    }
    let most = most.min(MAX_LAG);
    let best = |lags: &mut dyn Iterator<Item = usize>, step| {
        lags.map(|lag| (lag, similarity(frame, lag, overlap, step))).max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let (coarse, _) = best(&mut (MIN_LAG..=most).step_by(COARSE), COARSE)?;
    let near = coarse.saturating_sub(COARSE).max(MIN_LAG)..=(coarse + COARSE).min(most);
    let (lag, found) = best(&mut near.into_iter(), 1)?;
    (found >= at_least.0).then_some(lag)
}

/// Normalised cross-correlation of the frame's beginning with itself `lag` later, of every `step`th sample.
fn similarity(frame: &[i16], lag: usize, overlap: usize, step: usize) -> f32 {
    let (mut product, mut here, mut there) = (0.0f32, 1.0f32, 1.0f32);
    let pairs = frame[..overlap].iter().zip(&frame[lag..lag + overlap]);
    for (a, b) in pairs.step_by(step) {
        let (a, b) = (f32::from(*a), f32::from(*b));
        product += a * b;
        here += a * a;
        there += b * b;
    }
    product / (here * there).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hertz: f32, from: usize, n: usize) -> Vec<i16> {
        let at = |i| (10_000.0 * (i as f32 * hertz * std::f32::consts::TAU / 48_000.0).sin()) as i16;
        (from..from + n).map(at).collect()
    }

    /// The largest step from one sample to the next.
    fn steepest(samples: &[i16]) -> i32 {
        samples.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap()
    }

    #[test]
    fn a_cut_removes_whole_periods_and_does_not_click() {
        for hertz in [100.0, 137.0, 220.0, 440.0, 1_000.0] {
            let mut frame = sine(hertz, 0, 960);
            let natural = steepest(&frame);
            let cut = shorten(&mut frame, 720, Similarity::GOOD);
            let periods = cut as f32 * hertz / 48_000.0;
            assert!(cut >= MIN_LAG && (periods - periods.round()).abs() < 0.05, "{hertz} Hz: {cut}");
            let mut heard = frame[..960 - cut].to_vec();
            heard.extend(sine(hertz, 960, 100));
            assert!(steepest(&heard) <= natural + natural / 8 + 8, "{hertz} Hz: {} > {natural}", steepest(&heard));
        }
    }

    #[test]
    fn an_insertion_adds_whole_periods_and_does_not_click() {
        for hertz in [100.0, 220.0, 1_000.0] {
            let mut frame = sine(hertz, 0, 960);
            let natural = steepest(&frame);
            frame.resize(2_000, 0);
            let added = lengthen(&mut frame, 960, 480, Similarity::GOOD);
            assert!((MIN_LAG..=480).contains(&added), "{hertz} Hz: {added}");
            let mut heard = frame[..960 + added].to_vec();
            heard.extend(sine(hertz, 960, 100));
            assert!(steepest(&heard) <= natural + natural / 8 + 8, "{hertz} Hz: {} > {natural}", steepest(&heard));
        }
    }

    #[test]
    fn noise_is_left_alone_unless_it_must_be() {
        let mut rng = crate::random::Rng::from_u64(1);
        let noise: Vec<i16> = (0..960).map(|_| rng.next_u32() as i16 / 4).collect();
        assert_eq!(shorten(&mut noise.clone(), 480, Similarity::GOOD), 0);
        assert!(shorten(&mut noise.clone(), 480, Similarity::ANY) > 0);
    }

    #[test]
    fn silence_is_cut_to_measure() {
        assert_eq!(shorten(&mut [3; 960], 333, Similarity::GOOD), 333);
        assert_eq!(shorten(&mut [0; 960], 5_000, Similarity::GOOD), 720);
        assert_eq!(lengthen(&mut [0; 2_000], 960, 333, Similarity::GOOD), 333);
        assert_eq!(lengthen(&mut [0; 960], 960, 333, Similarity::GOOD), 0, "no room");
    }

    #[test]
    fn nothing_is_too_short_to_survive() {
        for len in 0..300 {
            shorten(&mut vec![1_000; len], 480, Similarity::ANY);
            lengthen(&mut vec![1_000; len + 400], len, 480, Similarity::ANY);
            merge(&mut vec![1; len], &[5; 240]);
        }
    }
}
