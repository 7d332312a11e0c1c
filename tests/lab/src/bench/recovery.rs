//! What delay a fault leaves behind: pairs of stations, each in a room of its own with a fault of its own, all at once.
//!
//! ```text
//!   speaker: a chirp each half second, rising and falling in turns ─► mixer ─► relay ─► listener
//!   time      0 ....... 4 s          fault          .......... 10 s
//!             start value            until it ends             back within 10 ms of it, for good?
//! ```
//!
//! Rising and falling chirps are a second apart each, so a delay is unambiguous up to a second.

use super::station::{Kind, Room, Setup, Stage, Station};
use crate::cards::{Card, Cards};
use crate::clock::{mono_us, sleep_until};
use crate::measure::latency::{Found, by_chirps};
use crate::measure::percentile;
use crate::measure::signal::{self, Chirps};
use crate::wire::{Harm, Relay, Weather};
use std::error::Error;
use std::time::Duration;

/// What happens to a pair.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fault {
    pub name: &'static str,
    pub what: What,
    pub length_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// SIGSTOP of the listener, SIGCONT.
    FreezeListener,
    FreezeSpeaker,
    /// The pointer of the listener's card stands still, then jumps to where it should be.
    Stall,
    /// The listener's card reports an xrun in both directions.
    Xrun,
    /// Packets to the listener come up to 100 ms late.
    Jitter,
}

pub const FAULTS: [Fault; 7] = [
    Fault { name: "freeze_300ms", what: What::FreezeListener, length_ms: 300 },
    Fault { name: "freeze_2s", what: What::FreezeListener, length_ms: 2_000 },
    Fault { name: "speaker_freeze_300ms", what: What::FreezeSpeaker, length_ms: 300 },
    Fault { name: "speaker_freeze_2s", what: What::FreezeSpeaker, length_ms: 2_000 },
    Fault { name: "card_stall_100ms", what: What::Stall, length_ms: 100 },
    Fault { name: "xrun", what: What::Xrun, length_ms: 0 },
    Fault { name: "jitter_storm_10s", what: What::Jitter, length_ms: 10_000 },
];

/// What one pair went through.
#[derive(Clone, PartialEq, Debug)]
pub struct Recovery {
    pub fault: Fault,
    pub kind: Kind,
    /// Median delay before the fault, ms.
    pub start_ms: Option<f64>,
    /// Median delay of the last three seconds, less `start_ms`.
    pub left_ms: Option<f64>,
    /// From the end of the fault until the delay was within [`CLOSE_MS`] of the start and stayed there; `None`: not as
    /// long as it was watched. In steps of the chirps, half a second.
    pub back_ms: Option<f64>,
    /// Each chirp that was found: when it was said, against the end of the fault, and its delay, both ms.
    pub course: Vec<(f64, f64)>,
    /// A card had an xrun that the fault does not explain.
    pub spoilt: bool,
}

pub const CLOSE_MS: f64 = 10.0;
const BEFORE: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(10);
/// So long it is watched after its end.
pub const AFTER_MS: f64 = AFTER.as_millis() as f64;
const SETTLE: Duration = Duration::from_secs(4);
const APART: Duration = Duration::from_millis(60);
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_DELAY_MS: f64 = 950.0;
const STORM: Harm = Harm {
    jitter_ms: 100.0,
    loss: 0.0,
    duplicate: 0.0,
    reorder: 0.0,
    held_ms: 0.0,
    burst: 0.0,
    delay_ms: 0.0,
    black_hole: false,
};

struct Pair {
    fault: Fault,
    cards: [Card; 2],
    relay: Relay,
    /// Speaker and listener.
    stations: [Station; 2],
}

/// Every fault once, with stations of one kind.
///
/// # Errors
/// A station does not start, or does not come into its room.
pub fn measure(stage: &Stage, kind: Kind) -> Result<Vec<Recovery>, Box<dyn Error>> {
    let cards = Cards::new(kind.word())?;
    // Cards read their faults when they are opened: so it is known now when they come.
    let joined = Duration::from_millis(400) * FAULTS.len() as u32 + Duration::from_secs(4);
    let talk_us = mono_us() + (joined + SETTLE).as_micros() as u64;
    let fault_us = talk_us + BEFORE.as_micros() as u64;
    let mut pairs = Vec::new();
    for (at, fault) in FAULTS.into_iter().enumerate() {
        let [speaker, listener] = [cards.card(&format!("s{at}"), "")?, cards.card(&format!("l{at}"), "")?];
        let (frame, length) = (listener.frame_at(fault_us), fault.length_ms * 48);
        match fault.what {
            What::Stall => listener.faults(&format!("stall@{frame}+{length}"))?,
            What::Xrun => listener.faults(&format!("xrun.p@{frame};xrun.c@{frame}"))?,
            What::FreezeListener | What::FreezeSpeaker | What::Jitter => {}
        }
        let relay = Relay::start(stage.asterisk.sip, at as u64)?;
        let start = |role: &str, card: &Card, mixer| {
            kind.start(stage, &Setup::new(&format!("recovery-{role}{at}"), &cards, card, mixer))
        };
        let stations = [start("s", &speaker, stage.asterisk.sip)?, start("l", &listener, relay.address())?];
        pairs.push(Pair { fault, cards: [speaker, listener], relay, stations });
    }
    for (at, pair) in pairs.iter_mut().enumerate() {
        for station in &mut pair.stations {
            station.call(stage, &Room::pair(at))?;
            std::thread::sleep(APART);
        }
    }
    for at in 0..pairs.len() {
        stage.asterisk.wait_for(&Room::pair(at).number, 2, PATIENCE)?;
    }
    if mono_us() + SETTLE.as_micros() as u64 / 2 > talk_us {
        return Err("the stations took too long to come together".into());
    }

    let longest = FAULTS.iter().map(|fault| fault.length_ms).max().unwrap_or(0);
    let seconds = BEFORE.as_secs_f64() + longest as f64 / 1000.0 + AFTER.as_secs_f64();
    let [rising, falling] = trains();
    let sound = signal::add(&rising.signal(seconds), &falling.signal(seconds));
    for pair in &pairs {
        pair.cards[0].say(pair.cards[0].frame_at(talk_us), &sound)?;
    }
    let mut steps: Vec<(u64, usize, bool)> = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        steps.push((fault_us, at, true));
        steps.push((fault_us + pair.fault.length_ms * 1000, at, false));
    }
    steps.sort();
    for (due_us, at, begins) in steps {
        sleep_until(due_us);
        let pair = &pairs[at];
        match pair.fault.what {
            What::FreezeListener => pair.stations[1].freeze(begins),
            What::FreezeSpeaker => pair.stations[0].freeze(begins),
            What::Jitter => {
                pair.relay
                    .weather(Weather { down: if begins { STORM } else { Harm::default() }, ..Weather::default() });
            }
            What::Stall | What::Xrun => {}
        }
    }
    sleep_until(talk_us + (seconds * 1e6) as u64 + 1_500_000);

    let mut seen = Vec::new();
    for Pair { fault, cards: [speaker, listener], stations, .. } in pairs {
        for station in stations {
            station.end()?;
        }
        let begin = speaker.frame_at(talk_us);
        let heard = listener.loudspeaker();
        let heard = heard.get(begin..).unwrap_or(&[]);
        let mut found: Vec<Found> =
            trains().iter().flat_map(|train| by_chirps(heard, sound.len(), train, MOST_DELAY_MS).found).collect();
        found.sort_by_key(|found| found.at);
        let from = listener.frame_at(fault_us).saturating_sub(4_800);
        let to = from + fault.length_ms as usize * 48 + 9_600;
        let strange = |xrun: &serde_json::Value| {
            let at = xrun["at"].as_u64().unwrap_or(0) as usize;
            at > begin && !(from..to).contains(&at)
        };
        let spoilt = [&speaker, &listener].iter().any(|card| card.logged("xrun").iter().any(strange));
        seen.push(judge(fault, kind, &found, spoilt));
    }
    Ok(seen)
}

/// Rising and falling ones, each a second apart.
fn trains() -> [Chirps; 2] {
    let rising = Chirps { first: 0, every: 48_000, ..Chirps::standard() };
    [rising, Chirps { first: 24_000, rises: false, ..rising }]
}

/// From chirps in order of time. Positions are frames since the first was said.
fn judge(fault: Fault, kind: Kind, found: &[Found], spoilt: bool) -> Recovery {
    let begins_ms = BEFORE.as_secs_f64() * 1000.0;
    let ends_ms = begins_ms + fault.length_ms as f64;
    let said_ms = |found: &Found| found.at as f64 / 48.0;
    let before: Vec<f64> = found.iter().filter(|it| said_ms(it) + 300.0 < begins_ms).map(|it| it.delay_ms).collect();
    let start_ms = percentile(&before, 0.5);
    let after: Vec<(f64, f64)> =
        found.iter().filter(|it| said_ms(it) >= ends_ms).map(|it| (said_ms(it) - ends_ms, it.delay_ms)).collect();
    let until_ms = AFTER.as_secs_f64() * 1000.0;
    let watched: Vec<(f64, f64)> = after.iter().copied().filter(|(at, _)| *at < until_ms).collect();
    let last: Vec<f64> = watched.iter().filter(|(at, _)| *at > until_ms - 3_000.0).map(|(_, delay)| *delay).collect();
    let left_ms = percentile(&last, 0.5).zip(start_ms).map(|(last, start)| last - start);
    let back_ms = start_ms.and_then(|start| {
        let close = |(_, delay): &(f64, f64)| (delay - start).abs() <= CLOSE_MS;
        let settled = watched.iter().rposition(|chirp| !close(chirp)).map_or(0, |last_far| last_far + 1);
        watched.get(settled).map(|(at, _)| *at)
    });
    let course = found.iter().map(|it| (said_ms(it) - ends_ms, it.delay_ms)).collect();
    Recovery { fault, kind, start_ms, left_ms, back_ms, course, spoilt }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chirps(delay_at: impl Fn(f64) -> Option<f64>) -> Vec<Found> {
        let at =
            |n: usize| delay_at(n as f64 * 500.0).map(|delay_ms| Found { at: n * 24_000, delay_ms, likeness: 1.0 });
        (0..28).filter_map(at).collect()
    }

    #[test]
    fn it_is_back_when_it_stays_near_where_it_was() {
        let fault = FAULTS[0];
        let course = chirps(|ms| match ms {
            ..4_000.0 => Some(60.0),
            ..4_300.0 => None,
            ..5_900.0 => Some(130.0),
            ..6_400.0 => Some(65.0),
            ..6_900.0 => Some(75.0),
            _ => Some(64.0),
        });
        let seen = judge(fault, Kind::Ours, &course, false);
        assert_eq!((seen.start_ms, seen.left_ms), (Some(60.0), Some(4.0)));
        assert_eq!(seen.back_ms, Some(2_700.0), "the chirp of 7 s, 2.7 s after 4.3");
        let never = judge(fault, Kind::Peer, &chirps(|ms| Some(if ms < 4_000.0 { 60.0 } else { 90.0 })), false);
        assert_eq!((never.back_ms, never.left_ms), (None, Some(30.0)));
        assert_eq!(judge(fault, Kind::Peer, &[], false).back_ms, None);
    }
}
