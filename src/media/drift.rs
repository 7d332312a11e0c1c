//! How fast another clock runs against ours, from what it shows at times that may be late but never early.
//!
//! Of each second the least late observation is kept, for four minutes. Each is compared with the one half a minute
//! later; the rate is the median of these slopes. A packet that was held up, or a wake-up that came late, is no
//! least one; and a clock that was set (samples or packets were lost, the path has changed) is a step that spoils
//! the slopes of half a minute, and moves the median by less than their noise.
//!
//! ```text
//!   late        ·   ·      ·                    ┄┄┄┄┄ a step: same slope
//!         ·  ·    ·    · ·     ·   ·  ▁▁▂▂──────
//!         ▁▁▂▂──────────────────────
//!                                       time
//! ```

use heapless::{HistoryBuf, Vec};

/// Samples of our clock in a second.
const SECOND: i64 = 48_000;
/// Seconds that are kept.
const KEPT: usize = 240;
/// Seconds between those that are compared; at the beginning a third of what there is.
const APART: usize = 30;
const PAIRS: usize = KEPT - APART;
/// Fewer seconds tell nothing.
const FEW: usize = 12;
/// A rate is known when its error is probably less, in ppm.
const KNOWN_WITHIN: f64 = 40.0;
/// Clocks that differ by more, in ppm, are followed, until they differ by less than the other.
const DRIFT: f64 = 20.0;
const NO_DRIFT: f64 = 10.0;

/// By how many ppm one clock is faster than another, if that is known and worth resampling for; who does so already goes on
/// until it is little.
pub fn apart(faster: &Rate, than: &Rate, following: bool) -> Option<f64> {
    let drift = faster.ppm()? - than.ppm()?;
    let doubt = 3.0 * (faster.error() + than.error());
    let worth = if following { NO_DRIFT } else { DRIFT.max(doubt) };
    (drift.abs() >= worth).then_some(drift)
}

#[derive(Debug)]
pub struct Rate {
    seconds: HistoryBuf<Least, KEPT>,
    present: Option<Least>,
    /// All that it was set by, as far as that was told.
    shifted: i64,
    /// In ppm, with its probable error; as of the last second that ended.
    seen: Option<(f64, f64)>,
    /// What was known last, in this call or an earlier one: crystals keep their rate, whatever spoils the view of it.
    before: Option<f64>,
}

/// The least late observation of a second.
#[derive(Clone, Copy, Debug)]
struct Least {
    second: i64,
    late: i64,
}

impl Rate {
    pub fn new() -> Rate {
        Rate { seconds: HistoryBuf::new(), present: None, shifted: 0, seen: None, before: None }
    }

    /// The same clock is read anew, from anywhere: its rate is what it was.
    pub fn restart(&mut self) {
        if self.present.is_some() {
            *self = Rate { before: self.ppm(), ..Rate::new() };
        }
    }

    /// So fast it was in an earlier life of the process.
    pub fn recall(&mut self, ppm: f64) {
        self.before.get_or_insert(ppm);
    }

    /// At `now` of our clock the other one has come to `shown`, both in samples.
    pub fn observe(&mut self, now: i64, shown: i64) {
        let (second, late) = (now.div_euclid(SECOND), now.saturating_sub(shown).saturating_add(self.shifted));
        match &mut self.present {
            Some(present) if present.second == second => present.late = present.late.min(late),
            present => {
                if let Some(over) = present.replace(Least { second, late }) {
                    self.seconds.write(over);
                    self.look();
                }
            }
        }
    }

    /// From now on the other clock shows `by` samples more than it would have.
    pub fn shift(&mut self, by: i64) {
        self.shifted += by;
    }

    /// How much faster the other clock is, in ppm, as it was known last.
    pub fn ppm(&self) -> Option<f64> {
        self.seen.filter(|(_, error)| *error < KNOWN_WITHIN).map(|(ppm, _)| ppm).or(self.before)
    }

    /// What this call has shown so far, in ppm, and its probable error, however great that is.
    pub fn seen(&self) -> Option<(f64, f64)> {
        self.seen
    }

    /// The probable error of [`Rate::ppm`]; 0 for what was known earlier.
    pub fn error(&self) -> f64 {
        self.seen.map(|(_, error)| error).filter(|error| *error < KNOWN_WITHIN).unwrap_or(0.0)
    }

    fn look(&mut self) {
        let known = self.seconds.len();
        if known < FEW {
            return;
        }
        let apart = APART.min(known / 3);
        let (earlier, later) = (self.seconds.oldest_ordered(), self.seconds.oldest_ordered().skip(apart));
        let slope = |(a, b): (&Least, &Least)| {
            let passed = ((b.second - a.second).max(1) * SECOND) as f64;
            -(b.late.saturating_sub(a.late)) as f64 / passed * 1e6
        };
        let mut slopes: Vec<f64, PAIRS> = earlier.zip(later).map(slope).collect();
        let ppm = median(&mut slopes);
        slopes.iter_mut().for_each(|slope| *slope = (*slope - ppm).abs());
        // So many of the pairs have nothing to do with each other.
        let error = 1.5 * median(&mut slopes) / ((known / apart) as f64).sqrt();
        self.seen = Some((ppm, error));
        if error < KNOWN_WITHIN {
            self.before = Some(ppm);
        }
    }
}

impl Default for Rate {
    fn default() -> Rate {
        Rate::new()
    }
}

fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    /// A clock `ppm` fast, read every 20 ms for so many seconds, each time up to `jitter` us late.
    fn read(rate: &mut Rate, from: i64, seconds: i64, ppm: f64, jitter: u64, rng: &mut Rng) -> i64 {
        for n in 0..seconds * 50 {
            let at = from + n * 960;
            let late = rng.below(jitter.max(1)) as i64 * 48 / 1_000;
            rate.observe(at + late, at + (at as f64 * ppm * 1e-6) as i64);
        }
        from + seconds * SECOND
    }

    #[test]
    fn a_rate_is_known_within_twenty_seconds_on_a_calm_line_and_in_four_minutes_on_a_bad_one() {
        for ppm in [-1_500.0, -300.0, 0.0, 300.0, 1_500.0] {
            for (jitter, seconds, within) in [(500, 20, 5.0), (10_000, 60, 15.0), (30_000, 240, 15.0)] {
                let mut rate = Rate::new();
                read(&mut rate, 777, seconds, ppm, jitter, &mut Rng::from_u64(1));
                let found = rate.ppm().unwrap_or(f64::NAN);
                assert!((found - ppm).abs() < within, "{ppm} with {jitter} us: {found:.1}");
            }
        }
    }

    #[test]
    fn steps_of_the_clock_are_no_drift() {
        let (mut rate, mut rng) = (Rate::new(), Rng::from_u64(2));
        let mut at = read(&mut rate, 0, 60, 300.0, 1_000, &mut rng);
        for step in [4_800, 14_400, 494_400] {
            for n in 0..3_000 {
                let at = at + n * 960;
                rate.observe(at, at + (at as f64 * 300e-6) as i64 - step);
            }
            at += 60 * SECOND;
            let (found, _) = rate.seen().filter(|(_, error)| *error < KNOWN_WITHIN).expect("known");
            assert!((found - 300.0).abs() < 3.0, "after {step}: {found:.1}");
        }
        let before = rate.present.expect("one").late;
        rate.shift(1_000);
        for n in 0..100 {
            let at = at + n * 960;
            rate.observe(at, at + (at as f64 * 300e-6) as i64 - 494_400 + 1_000);
        }
        let after = rate.present.expect("one").late;
        assert!((before - after).abs() < 50, "a step that is told of is none");
    }

    #[test]
    fn what_is_known_starts_the_next_call() {
        let (mut rate, mut rng) = (Rate::new(), Rng::from_u64(3));
        assert_eq!(rate.ppm(), None);
        read(&mut rate, 0, 60, -700.0, 1_000, &mut rng);
        rate.restart();
        assert!((rate.ppm().expect("remembered") + 700.0).abs() < 5.0);
        read(&mut rate, -5_000_000, 60, -500.0, 1_000, &mut rng);
        assert!((rate.ppm().expect("known") + 500.0).abs() < 5.0, "and is forgotten when it is not so");
    }

    #[test]
    fn a_rate_that_was_known_is_not_forgotten_when_the_clock_is_set_again_and_again() {
        let (mut rate, mut rng) = (Rate::new(), Rng::from_u64(5));
        let end = read(&mut rate, 0, 60, 1_500.0, 1_000, &mut rng);
        let mut set = 0;
        for n in 0..9_000 {
            set += if n % 100 == 0 { rng.below(4_800) as i64 } else { 0 };
            rate.observe(end + n * 960, end + n * 960 + set);
        }
        assert!(rate.seen().is_some_and(|(_, error)| error > KNOWN_WITHIN));
        assert!((rate.ppm().expect("remembered") - 1_500.0).abs() < 50.0, "{:?}", rate.ppm());
    }

    #[test]
    fn who_does_not_follow_yet_begins_with_what_is_much_and_certain() {
        let known = |ppm, jitter, seconds| {
            let mut rate = Rate::new();
            read(&mut rate, 0, seconds, ppm, jitter, &mut Rng::from_u64(6));
            rate
        };
        let right = known(0.0, 0, 60);
        for (ppm, begins, goes_on) in [(25.0, true, true), (15.0, false, true), (5.0, false, false)] {
            let other = known(ppm, 0, 60);
            let found = [false, true].map(|following| apart(&other, &right, following).is_some());
            assert_eq!(found, [begins, goes_on], "{ppm}");
        }
        let doubtful = known(25.0, 15_000, 40);
        assert!((8.0..KNOWN_WITHIN).contains(&doubtful.error()), "{}", doubtful.error());
        assert_eq!(apart(&doubtful, &right, false), None);
        assert_eq!(apart(&Rate::new(), &right, true), None, "what is not known");
    }

    #[test]
    fn any_numbers_and_any_silence_are_survived() {
        let (mut rate, mut rng) = (Rate::new(), Rng::from_u64(4));
        let mut now = 0;
        for _ in 0..20_000 {
            let most = if rng.below(100) == 0 { 1 << 40 } else { 5_000 };
            now += rng.below(most) as i64;
            rate.observe(now, rng.next_u32().into());
            assert!(rate.ppm().is_none_or(f64::is_finite));
        }
    }
}
