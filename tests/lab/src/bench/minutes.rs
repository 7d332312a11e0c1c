//! Minutes in real time with a card whose clock is wrong: does the delay stay, and is everything heard?

use super::station::{Kind, Room, Setup, Stage, Station};
use crate::cards::Cards;
use crate::measure::latency::by_chirps;
use crate::measure::percentile;
use crate::measure::signal::Chirps;
use std::error::Error;
use std::time::Duration;

/// What became of the delay.
#[derive(Clone, PartialEq, Debug)]
pub struct Course {
    pub kind: Kind,
    /// When each chirp was said, s, and how much later it was heard, ms; in the time of the wall.
    pub delays: Vec<(f64, f64)>,
    pub said: usize,
    /// A card had an xrun while it was listened to.
    pub spoilt: bool,
    /// What speaker and listener said of their calls.
    pub media: Vec<Option<serde_json::Value>>,
}

const SETTLE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);
/// What adapts has adapted by then, s.
const LEARNT: f64 = 30.0;
/// Delays are the medians of so many seconds.
const WINDOW: f64 = 15.0;

/// One speaks for `length`, the other listens; the speaker's card and the listener's run so much too fast, in ppm.
///
/// # Errors
/// No call comes about.
pub fn measure(
    stage: &Stage,
    kind: Kind,
    room: &Room,
    ppm: [f64; 2],
    length: Duration,
) -> Result<Course, Box<dyn Error>> {
    let name = format!("minutes-{}-{}", kind.word(), room.number);
    let cards = Cards::new(&name)?;
    let card = |at: usize| cards.card(["a", "b"][at], &format!("ppm {}\n", ppm[at]));
    let card = [card(0)?, card(1)?];
    let setup = |at: usize| Setup::new(&format!("{name}-{at}"), &cards, &card[at], stage.asterisk.sip);
    let start = |at: usize| kind.start(stage, &setup(at));
    let mut stations = [start(0)?, start(1)?];
    for station in &mut stations {
        station.call(stage, room)?;
        std::thread::sleep(Duration::from_millis(300));
    }
    stage.asterisk.wait_for(&room.number, 2, PATIENCE)?;
    std::thread::sleep(SETTLE);
    let chirps = Chirps { first: 0, ..Chirps::standard() };
    let sound = chirps.signal(length.as_secs_f64());
    // A tape runs on its card's clock: frame n passes n / rate frames after the epoch.
    let rate = ppm.map(|ppm| 1.0 + ppm * 1e-6);
    let begin = card[0].say_now(&sound)?;
    std::thread::sleep(length + Duration::from_secs(1));
    let media = stations.into_iter().map(Station::end).collect::<Result<_, _>>()?;
    let begins = (begin as f64 / rate[0] * rate[1]) as usize;
    // Counted in frames, what a fast tape says last is heard before it is said.
    let early = (sound.len() as f64 * (rate[0] / rate[1] - 1.0).max(0.0)) as usize;
    let begins = begins.saturating_sub(early);
    let heard = card[1].loudspeaker();
    let found = by_chirps(heard.get(begins..).unwrap_or(&[]), sound.len(), &chirps, 450.0).found;
    let delay = |at: usize, delay_ms: f64| {
        let played = (begins as f64 + at as f64 + delay_ms * 48.0) / rate[1];
        (at as f64 / 48_000.0, (played - (begin + at) as f64 / rate[0]) / 48.0)
    };
    let delays = found.iter().map(|found| delay(found.at, found.delay_ms)).collect();
    let late = |xrun: &serde_json::Value| xrun["at"].as_u64().is_some_and(|at| at as usize > begins);
    let spoilt = card.iter().any(|card| card.logged("xrun").iter().any(late));
    Ok(Course { kind, delays, said: chirps.positions(sound.len()).count(), spoilt, media })
}

impl Course {
    /// Median delay of [`WINDOW`] seconds from then on.
    fn around(&self, from: f64) -> Option<f64> {
        let those = self.delays.iter().filter(|(at, _)| (from..from + WINDOW).contains(at)).map(|(_, delay)| *delay);
        percentile(&those.collect::<Vec<_>>(), 0.5)
    }

    /// The delay at the end less that after half a minute.
    pub fn grown_ms(&self) -> Option<f64> {
        let last = self.delays.last()?.0;
        Some(self.around(last - WINDOW)? - self.around(LEARNT)?)
    }

    /// The largest change from one chirp to the next after half a minute: what a reset or a cut would do.
    pub fn largest_step_ms(&self) -> Option<f64> {
        let learnt: Vec<f64> = self.delays.iter().filter(|(at, _)| *at > LEARNT).map(|(_, delay)| *delay).collect();
        learnt.windows(2).map(|pair| (pair[1] - pair[0]).abs()).reduce(f64::max)
    }

    pub fn lost_percent(&self) -> f64 {
        100.0 * (self.said - self.delays.len().min(self.said)) as f64 / self.said.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_steps_and_losses_are_seen() {
        let delay = |n: usize| (n as f64 / 2.0, 60.0 + n as f64 * 0.01 + if n == 100 { 5.0 } else { 0.0 });
        let delays: Vec<(f64, f64)> = (0..200).map(delay).filter(|(at, _)| *at != 70.0).collect();
        let course = Course { kind: Kind::Ours, delays, said: 200, spoilt: false, media: Vec::new() };
        assert!((course.grown_ms().expect("long enough") - 1.09).abs() < 0.1, "{:?}", course.grown_ms());
        assert!((course.largest_step_ms().expect("long enough") - 5.01).abs() < 0.01);
        assert!((course.lost_percent() - 0.5).abs() < 1e-9);
    }
}
