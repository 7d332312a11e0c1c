//! What delay a fault leaves behind: speaker, listener and witness, in rooms of their own with a fault of their own, as many at
//! once as the machine carries.
//!
//! ```text
//!   speaker: a chirp each half second, rising and falling in turns ─► mixer ─┬─► relay ─► listener
//!                                                                            └──────────► witness
//!   time      0 ....... 4 s          fault          .......... 10 s
//!             start value            until it ends             no more than 10 ms above it, for good?
//! ```
//!
//! Rising and falling chirps are a second apart each, so a delay is unambiguous up to a second.
//!
//! The mixer keeps a queue for each speaker and takes a packet from it at each tick: one that comes a moment too late makes
//! that queue a tick longer for good, whoever listens. The witness has no fault, and hears the same queue: a tick by which its
//! delay changes as well is not the listener's.

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
    /// From the end of the fault until the delay was at most [`CLOSE_MS`] above the start and stayed there; `None`: not as
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

/// The mixer's.
const TICK_MS: f64 = 20.0;

struct Party {
    fault: Fault,
    /// Of speaker, listener and witness, as the stations.
    cards: [Card; PARTY],
    relay: Relay,
    stations: [Station; PARTY],
}

/// Stations that one fault wants.
pub const PARTY: usize = 3;

/// Each of these faults once and at once, with stations of one kind.
///
/// # Errors
/// A station does not start, or does not come into its room.
pub fn measure(stage: &Stage, kind: Kind, faults: &[Fault]) -> Result<Vec<Recovery>, Box<dyn Error>> {
    let cards = Cards::new(kind.word())?;
    // Cards read their faults when they are opened: so it is known now when they come.
    let joined = Duration::from_millis(400) * faults.len() as u32 + Duration::from_secs(4);
    let talk_us = mono_us() + (joined + SETTLE).as_micros() as u64;
    let fault_us = talk_us + BEFORE.as_micros() as u64;
    let mut parties = Vec::new();
    for (at, fault) in faults.iter().copied().enumerate() {
        let card = |role: &str| cards.card(&format!("{role}{at}"), "");
        let [speaker, listener, witness] = [card("s")?, card("l")?, card("w")?];
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
        let mixer = stage.asterisk.sip;
        let stations =
            [start("s", &speaker, mixer)?, start("l", &listener, relay.address())?, start("w", &witness, mixer)?];
        parties.push(Party { fault, cards: [speaker, listener, witness], relay, stations });
    }
    for (at, party) in parties.iter_mut().enumerate() {
        for station in &mut party.stations {
            station.call(stage, &Room::pair(at))?;
            std::thread::sleep(APART);
        }
    }
    for (at, party) in parties.iter().enumerate() {
        stage.asterisk.wait_for(&Room::pair(at).number, party.stations.len(), PATIENCE)?;
    }
    if mono_us() + SETTLE.as_micros() as u64 / 2 > talk_us {
        return Err("the stations took too long to come together".into());
    }

    let longest = faults.iter().map(|fault| fault.length_ms).max().unwrap_or(0);
    let seconds = BEFORE.as_secs_f64() + longest as f64 / 1000.0 + AFTER.as_secs_f64();
    let [rising, falling] = trains();
    let sound = signal::add(&rising.signal(seconds), &falling.signal(seconds));
    for party in &parties {
        party.cards[0].say(party.cards[0].frame_at(talk_us), &sound)?;
    }
    let mut steps: Vec<(u64, usize, bool)> = Vec::new();
    for (at, party) in parties.iter().enumerate() {
        steps.push((fault_us, at, true));
        steps.push((fault_us + party.fault.length_ms * 1000, at, false));
    }
    steps.sort();
    for (due_us, at, begins) in steps {
        sleep_until(due_us);
        let party = &parties[at];
        match party.fault.what {
            What::FreezeListener => party.stations[1].freeze(begins),
            What::FreezeSpeaker => party.stations[0].freeze(begins),
            What::Jitter => {
                party
                    .relay
                    .weather(Weather { down: if begins { STORM } else { Harm::default() }, ..Weather::default() });
            }
            What::Stall | What::Xrun => {}
        }
    }
    sleep_until(talk_us + (seconds * 1e6) as u64 + 1_500_000);

    let mut recorded = Vec::new();
    for Party { fault, cards, stations, .. } in parties {
        for station in stations {
            station.end()?;
        }
        recorded.push((fault, cards));
    }
    let look = |(fault, cards): &(Fault, [Card; PARTY])| {
        let [speaker, listener, witness] = cards;
        let begin = speaker.frame_at(talk_us);
        let by = |card: &Card| {
            let heard = card.loudspeaker();
            let heard = heard.get(begin..).unwrap_or(&[]);
            let mut found: Vec<Found> =
                trains().iter().flat_map(|train| by_chirps(heard, sound.len(), train, MOST_DELAY_MS).found).collect();
            found.sort_by_key(|found| found.at);
            found
        };
        let from = listener.frame_at(fault_us).saturating_sub(4_800);
        let to = from + fault.length_ms as usize * 48 + 9_600;
        let strange = |xrun: &serde_json::Value| {
            let at = xrun["at"].as_u64().unwrap_or(0) as usize;
            at > begin && !(from..to).contains(&at)
        };
        let spoilt = [speaker, listener].iter().any(|card| card.logged("xrun").iter().any(strange));
        let mut heard = by(listener);
        match fault.what {
            What::FreezeListener | What::Stall | What::Xrun | What::Jitter => forgive_ticks(&mut heard, &by(witness)),
            // What becomes of the mixer's queue is this fault's doing.
            What::FreezeSpeaker => {}
        }
        judge(*fault, kind, &heard, spoilt)
    };
    // Side by side: looking for chirps takes a while.
    let (left, right) = recorded.split_at(recorded.len() / 2);
    let seen = std::thread::scope(|scope| {
        let right = scope.spawn(|| right.iter().map(look).collect::<Vec<_>>());
        let left: Vec<_> = left.iter().map(look).collect();
        right.join().map(|right| [left, right].concat())
    });
    seen.map_err(|_| "a thread that looks for chirps has died".into())
}

/// Takes out of what the listener heard the ticks that the witness heard as well.
fn forgive_ticks(heard: &mut [Found], witness: &[Found]) {
    let Some((first, mine)) = witness.first().zip(heard.first().map(|found| found.delay_ms)) else { return };
    let mut common = 0.0;
    for found in heard {
        if let Some(same) = witness.iter().find(|same| same.at == found.at) {
            common = ((same.delay_ms - first.delay_ms) / TICK_MS).round() * TICK_MS;
        }
        // One that had its own reason to stay where it was is not moved.
        let moved = found.delay_ms - mine;
        if (moved - common).abs() < moved.abs() {
            found.delay_ms -= common;
        }
    }
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
        // That it is shorter than before, because packets and ticks have come to another step, is no harm.
        let close = |(_, delay): &(f64, f64)| delay - start <= CLOSE_MS;
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
        let shorter = judge(fault, Kind::Ours, &chirps(|ms| Some(if ms < 4_000.0 { 78.0 } else { 66.0 })), false);
        assert_eq!((shorter.back_ms, shorter.left_ms), (Some(200.0), Some(-12.0)), "what is shorter is back");
    }

    #[test]
    fn a_tick_that_the_witness_has_as_well_is_not_the_listeners() {
        let witness = chirps(|ms| Some(if ms < 9_000.0 { 58.0 } else { 77.0 }));
        let mut both = chirps(|ms| Some(if ms < 9_000.0 { 60.0 } else { 80.5 }));
        forgive_ticks(&mut both, &witness);
        assert!(both.iter().all(|found| (found.delay_ms - 60.0).abs() < 1.0));
        let mut alone = chirps(|ms| Some(if ms < 5_000.0 { 60.0 } else { 80.0 }));
        forgive_ticks(&mut alone, &witness);
        let late = alone.iter().filter(|found| found.delay_ms > 79.0).count();
        assert_eq!(late, 8, "only from the tick on is it forgiven");
        let mut still = chirps(|_| Some(60.0));
        forgive_ticks(&mut still, &witness);
        assert!(still.iter().all(|found| found.delay_ms == 60.0));
    }
}
