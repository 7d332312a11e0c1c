//! Speech over bad lines: one speaks in a room, many listen, each behind a [`Relay`] of its own; and the other way round,
//! many speak behind one in rooms of their own: as many at once as the machine carries.
//!
//! ```text
//!             ┌─ mixer ─┬─ relay: loss_5_random ── listener          speaker ── relay: up_loss_5 ─┐
//!   speaker ──┘         ├─ relay: loss_5_burst ─── listener                        mixer, room 1 ┴── listener
//!                       └─ ...                                       speaker ── ...
//! ```
//!
//! A relay draws its harm from a seed, so the n-th packet of a line has the same fate whoever is behind it. Speaker and
//! listeners are stations of one kind. Each is asked to listen for a while before it is rated, so that what adapts has.

use super::station::{Kind, PAIRS, Room, Setup, Stage, Station};
use crate::cards::{Card, Cards};
use crate::clock::{mono_us, sleep_until};
use crate::measure::latency::by_speech;
use crate::measure::level::rms_dbfs;
use crate::measure::quality::Passages;
use crate::process::free_port;
use crate::wire::{Harm, Relay, Weather};
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

/// A line, by what is wrong with it.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    pub name: String,
    pub weather: Weather,
    pub way: Way,
    /// The least that its score shall be, if that was laid down.
    pub bar: Option<f64>,
}

/// Which half of the way is bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Mixer to listener.
    Down,
    /// Speaker to mixer.
    Up,
    /// Speaker to listener: one calls the other, there is no mixer.
    Direct,
}

/// What was heard at the end of a line, in one round.
#[derive(Clone, PartialEq, Debug)]
pub struct Heard {
    pub line: String,
    pub kind: Kind,
    /// PESQ-WB of each passage during which no card had an xrun.
    pub scores: Vec<f64>,
    /// Passages that the machine spoilt: the listener's card or that of its counterpart had one.
    pub spoilt: usize,
    /// Mouth to ear, median over the speech.
    pub delay_ms: Option<f64>,
    /// What the listener, or on the way up the speaker, said of its call.
    pub media: Option<serde_json::Value>,
}

/// Packets lost in a row on average where losses come in bursts: 60 ms of speech.
const BURST: f64 = 3.0;
/// Percent lost, and the bars of what is to be heard then.
const LOSSES: [(u32, Option<f64>); 6] =
    [(0, Some(3.5)), (2, None), (5, Some(2.6)), (10, Some(2.2)), (20, Some(1.7)), (30, None)];
const LOSSES_DIRECT: [(u32, Option<f64>); 3] = [(0, Some(3.5)), (5, Some(3.0)), (10, Some(2.6))];
const LOSSES_UP: [(u32, Option<f64>); 4] = [(0, Some(3.5)), (5, Some(2.8)), (10, Some(2.7)), (20, Some(2.3))];

/// All lines there are.
pub fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    let mut down = |name: String, bar, harm| {
        let weather = Weather { down: harm, ..Weather::default() };
        lines.push(Line { name, weather, way: Way::Down, bar });
    };
    for (percent, bar) in LOSSES {
        let loss = f64::from(percent) / 100.0;
        // The bars were laid down for losses that do not come together.
        down(format!("loss_{percent}_random"), bar, Harm { loss, ..Harm::default() });
        down(format!("loss_{percent}_burst"), None, Harm { loss, burst: BURST, ..Harm::default() });
    }
    for (ms, bar) in [(0, 3.5), (30, 3.5), (80, 3.5)] {
        down(format!("jitter_{ms}"), Some(bar), Harm { jitter_ms: f64::from(ms), ..Harm::default() });
    }
    down("reordered_5".into(), Some(3.0), Harm { reorder: 0.05, held_ms: 45.0, ..Harm::default() });
    down("duplicated_5".into(), Some(3.5), Harm { duplicate: 0.05, ..Harm::default() });
    for (name, losses, way) in [("uplink", &LOSSES_UP[..], Way::Up), ("direct", &LOSSES_DIRECT[..], Way::Direct)] {
        for (percent, bar) in losses.iter().copied() {
            let up = Harm { loss: f64::from(percent) / 100.0, ..Harm::default() };
            let weather = Weather { up, ..Weather::default() };
            lines.push(Line { name: format!("{name}_{percent}"), weather, way, bar });
        }
    }
    lines
}

impl Line {
    /// Stations that it wants, beside one speaker for all lines from the mixer.
    pub fn stations(&self) -> usize {
        match self.way {
            Way::Down => 1,
            Way::Up | Way::Direct => 2,
        }
    }
}

/// Between one's order to call and the next one's.
const APART: Duration = Duration::from_millis(60);
const PATIENCE: Duration = Duration::from_secs(15);
const SETTLE: Duration = Duration::from_secs(2);
/// Frames before and behind a passage within which an xrun is heard in it.
const MARGIN: usize = 9_600;
/// Below this there was no call.
const SILENT_DBFS: f64 = -70.0;
/// Delays are looked for up to this.
const MOST_DELAY_MS: f64 = 700.0;

/// One who speaks, and one who is listened with; behind a relay is the one whose way is bad.
struct Ends {
    line: usize,
    speaker: usize,
    listener: usize,
}

struct Member {
    card: Card,
    station: Station,
    /// Which it calls; `None`: it is called.
    room: Option<Room>,
    relay: Option<Relay>,
}

/// These lines once and at once, with stations of one kind. `warm` frames of the speech are said before it begins.
///
/// # Errors
/// A station does not start, or does not come into its room.
pub fn round(
    stage: &Stage,
    kind: Kind,
    lines: &[Line],
    passages: &Passages,
    warm: usize,
    seed: u64,
) -> Result<Vec<Heard>, Box<dyn Error>> {
    let cards = Cards::new(kind.word())?;
    let mut members: Vec<Member> = Vec::new();
    // Behind a relay to `mixer` if a line is given.
    let mut enter =
        |room: Option<Room>, line: Option<&Line>, mixer: SocketAddr, answers| -> Result<usize, Box<dyn Error>> {
            let at = members.len();
            let card = cards.card(&format!("s{at}"), "")?;
            // The seed belongs to the line, not to its place among those that are tried together.
            let relay = line.map(|line| Relay::start(mixer, seed_of(seed, &line.name))).transpose()?;
            let mixer = relay.as_ref().map_or(mixer, Relay::address);
            let fec = line.is_some_and(|line| line.way == Way::Direct);
            let setup = Setup { answers, fec, ..Setup::new(&format!("sweep-{at}"), &cards, &card, mixer) };
            let station = kind.start(stage, &setup)?;
            members.push(Member { card, station, room, relay });
            Ok(at)
        };
    let sip = stage.asterisk.sip;
    let mut ends = Vec::new();
    let mut orator = None;
    for (line, it) in lines.iter().enumerate() {
        let (speaker, listener) = match it.way {
            Way::Down => {
                let speaker = match orator {
                    Some(orator) => orator,
                    None => *orator.insert(enter(Some(Room::main()), None, sip, None)?),
                };
                (speaker, enter(Some(Room::hall()), Some(it), sip, None)?)
            }
            Way::Up => {
                let room = Room::pair(line % PAIRS);
                (enter(Some(room.clone()), Some(it), sip, None)?, enter(Some(room), None, sip, None)?)
            }
            Way::Direct => {
                let address = SocketAddr::new(sip.ip(), free_port());
                let listener = enter(None, None, sip, Some(address))?;
                (enter(Some(Room::other()), Some(it), address, None)?, listener)
            }
        };
        ends.push(Ends { line, speaker, listener });
    }
    for member in &mut members {
        if let Some(room) = &member.room {
            member.station.call(stage, room)?;
            std::thread::sleep(APART);
        }
    }
    gather(stage, &members)?;
    std::thread::sleep(SETTLE);

    let mut speakers: Vec<usize> = ends.iter().map(|ends| ends.speaker).collect();
    speakers.dedup();
    let sound = &passages.sound;
    let said: Vec<i16> = sound[sound.len() - warm.min(sound.len())..].iter().chain(sound).copied().collect();
    let from = members[0].card.frame_now() + 14_400;
    for speaker in &speakers {
        members[*speaker].card.say(from, &said)?;
    }
    for Ends { line, speaker, listener } in &ends {
        let relay = members[*speaker].relay.as_ref().or(members[*listener].relay.as_ref());
        relay.into_iter().for_each(|relay| relay.weather(lines[*line].weather));
    }
    sleep_until(mono_us() + (said.len() as u64 * 1000 / 48) + 1_300_000);

    let cards: Vec<Card> = members.iter().map(|member| member.card.clone()).collect();
    // All are told before the first is waited for.
    let mut media = members.into_iter().map(|member| member.station.end()).collect::<Result<Vec<_>, _>>()?;
    let begin = from + said.len() - sound.len();
    let rate = |Ends { line, speaker, listener }: &Ends| {
        let heard = cards[*listener].loudspeaker();
        let heard = heard.get(begin..).unwrap_or(&[]);
        let found = by_speech(sound, heard, MOST_DELAY_MS);
        let delay_ms = found.p50_ms();
        let delay = delay_ms.map_or(0, |ms| (ms * 48.0) as usize);
        let xruns = [xruns(&cards[*speaker]), xruns(&cards[*listener])].concat();
        let clean = |&(from, to): &(usize, usize)| {
            let touched = (begin + from).saturating_sub(MARGIN)..begin + to + MARGIN;
            !xruns.iter().any(|at| touched.contains(at))
        };
        let rated = passages.scores(heard, delay).into_iter().zip(&passages.spans);
        let scores: Vec<f64> = rated.filter(|(_, span)| clean(span)).map(|(score, _)| score).collect();
        (scores, delay_ms, *line)
    };
    for Ends { line, listener, .. } in &ends {
        let heard = cards[*listener].loudspeaker();
        if heard.get(begin..).is_none_or(|heard| rms_dbfs(heard) < SILENT_DBFS) {
            return Err(format!("{}: nothing was heard behind {}", kind.word(), lines[*line].name).into());
        }
    }
    // The two halves side by side: rating takes a while.
    let (left, right) = ends.split_at(ends.len() / 2);
    let rated = std::thread::scope(|scope| {
        let right = scope.spawn(|| right.iter().map(rate).collect::<Vec<_>>());
        let left: Vec<_> = left.iter().map(rate).collect();
        left.into_iter().chain(right.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    let heard = rated.into_iter().zip(&ends).map(|((scores, delay_ms, line), ends)| {
        let spoilt = passages.spans.len() - scores.len();
        let behind = match lines[line].way {
            Way::Down => ends.listener,
            Way::Up | Way::Direct => ends.speaker,
        };
        Heard { line: lines[line].name.clone(), kind, scores, delay_ms, media: media[behind].take(), spoilt }
    });
    Ok(heard.collect())
}

/// Waits until everyone is in the room called.
fn gather(stage: &Stage, members: &[Member]) -> Result<(), Box<dyn Error>> {
    let number = |member: &Member| {
        let room = member.room.as_ref().filter(|room| **room != Room::other())?;
        Some(room.number.trim_start_matches("muted").to_string())
    };
    let mut rooms: Vec<String> = members.iter().filter_map(number).collect();
    rooms.sort();
    rooms.dedup();
    for room in rooms {
        let there = || members.iter().filter(|member| number(member).is_some_and(|number| number == room));
        if let Err(error) = stage.asterisk.wait_for(&room, there().count(), PATIENCE) {
            let last = there().next_back().map(|member| member.station.log());
            return Err(format!("{error}\n{}", last.unwrap_or_default()).into());
        }
    }
    Ok(())
}

/// The frames at which a card had xruns.
fn xruns(card: &Card) -> Vec<usize> {
    card.logged("xrun").iter().filter_map(|xrun| xrun["at"].as_u64()).map(|at| at as usize).collect()
}

/// FNV-1a.
fn seed_of(seed: u64, name: &str) -> u64 {
    name.bytes()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
