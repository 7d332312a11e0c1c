//! One run: two stations of a kind start, idle, are called into the room, talk, leave.
//!
//! ```text
//!   start   1 s idle   somebody hums in the room for 3 s   2 s    speech   chirps    end
//!     │◄─── usage ───►│ order A, order B: first sound? │ settle │◄ usage ►│ delay │
//! ```

use super::canary::Canary;
use super::station::{Kind, NUMBER, Room, Setup, Stage, Station};
use crate::cards::{Card, Cards};
use crate::clock::{mono_us, sleep_until};
use crate::measure::latency::{Latency, by_chirps};
use crate::measure::signal::{self, Chirps};
use crate::process::{Usage, usage};
use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// How long both talk, and how long both chirp; zero: not at all.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Script {
    pub speech: Duration,
    pub chirps: Duration,
}

/// What was seen of both stations, and whether the machine kept pace while it mattered.
#[derive(Debug)]
pub struct Visit {
    pub kind: Kind,
    pub stations: [Seen; 2],
    /// The canary's worst while they talked and chirped, ms.
    pub stall_ms: f64,
    /// The same from the first call until then: it may have left the mixer with a queue.
    pub early_stall_ms: f64,
    /// Xruns of either card in the same time; nobody asked for any.
    pub xruns: usize,
    /// Of all processors, percent, in the same time.
    pub machine_busy: f64,
}

/// What was seen of one station.
#[derive(Debug)]
pub struct Seen {
    pub invite_to_audio_ms: Option<f64>,
    /// Of what it heard from the other; `None` if nobody chirped.
    pub delay: Option<Latency>,
    /// While it waited for a call, and while both talked.
    pub idle: Cost,
    pub call: Option<Cost>,
    /// Frames queued for the loudspeaker when its card last started.
    pub queued: Option<u64>,
    /// Files whose code it has in memory.
    pub code: BTreeSet<PathBuf>,
    /// Its own numbers of the call.
    pub media: Option<serde_json::Value>,
}

/// What a process used over some time, and held at its end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cost {
    pub cpu_percent: f64,
    pub switches_per_second: f64,
    pub resident_kib: u64,
    pub private_kib: u64,
}

/// What costs is measured for longer than what only has to pass.
const IDLE: Duration = Duration::from_secs(1);
const IDLE_MEASURED: Duration = Duration::from_secs(5);
const HUM_SECONDS: u32 = 3;
/// Longer than any buffer needs to find its size.
const SETTLE: Duration = Duration::from_secs(2);
/// Delays are told apart up to this; the chirps are 500 ms apart.
const MOST_DELAY_MS: f64 = 450.0;
const PATIENCE: Duration = Duration::from_secs(8);
/// Louder than this is sound: -45 dBFS. A card that plays silence plays zeros.
const AUDIBLE: i16 = 184;
/// Half a tick of the mixer, the shortest period of a card. What is shorter neither delays nor is heard, unless a card ran dry,
/// which is looked for as well.
const MOST_STALL_MS: f64 = 10.0;
/// A tick of the mixer.
const MOST_EARLY_STALL_MS: f64 = 20.0;

impl Visit {
    pub fn make(
        stage: &Stage,
        canary: &Canary,
        kind: Kind,
        script: Script,
        turn: usize,
    ) -> Result<Visit, Box<dyn Error>> {
        let cards = Cards::new(kind.word())?;
        let card = [cards.card("a", "")?, cards.card("b", "")?];
        let start = |at: usize| {
            kind.start(stage, &Setup::new(&format!("bench-{turn}-{at}"), &cards, &card[at], stage.asterisk.sip))
        };
        let mut stations = [start(0)?, start(1)?];
        let [a, b] = &mut stations;
        std::thread::sleep(IDLE / 2);
        let meter = [Meter::start(a.id()), Meter::start(b.id())];
        std::thread::sleep(if script.speech.is_zero() { IDLE } else { IDLE_MEASURED });
        let idle = meter.map(Meter::read);

        stage.asterisk.play_tone(NUMBER, 440, HUM_SECONDS)?;
        stage.asterisk.wait_for(NUMBER, 1, PATIENCE)?;
        let order = |station: &mut Station| {
            let at_us = station.call(stage, &Room::main());
            std::thread::sleep(Duration::from_millis(400));
            at_us
        };
        let ordered_us = [order(a)?, order(b)?];
        sleep_until(ordered_us[0] + u64::from(HUM_SECONDS) * 1_000_000);
        if let Err(error) = stage.asterisk.wait_for(NUMBER, 2, PATIENCE) {
            return Err(format!("{error}\n{}\n{}", a.log(), b.log()).into());
        }
        std::thread::sleep(SETTLE);

        let (from_us, busy) = (mono_us(), Busy::start());
        let call = talk(&card, [a.id(), b.id()], script.speech)?;
        let chirps = chirp(&card, script.chirps)?;
        let (to_us, machine_busy) = (mono_us(), busy.read());
        let code = [code_of(a.id()), code_of(b.id())];
        let mut media = stations.map(Station::end).into_iter();
        stage.asterisk.wait_for(NUMBER, 0, PATIENCE)?;

        let xruns = card.iter().map(|card| xruns(card, from_us, to_us)).sum();
        let mut seen = |at: usize| -> Result<Seen, Box<dyn Error>> {
            let heard = card[at].loudspeaker();
            Ok(Seen {
                invite_to_audio_ms: first_sound_ms(&heard, card[at].frame_at(ordered_us[at])),
                delay: chirps.map(|said| said.found_in(&heard, 1 - at)),
                idle: idle[at],
                call: call.map(|call| call[at]),
                queued: queued(&card[at]),
                code: code[at].clone(),
                media: media.next().transpose()?.flatten(),
            })
        };
        let stations = [seen(0)?, seen(1)?];
        if stations.iter().any(|seen| seen.delay.as_ref().is_some_and(|delay| delay.found.is_empty())) {
            return Err(format!("{}: a station heard nothing of the other", kind.word()).into());
        }
        let stall_ms = canary.worst_ms(from_us, to_us);
        let early_stall_ms = canary.worst_ms(ordered_us[0], from_us);
        Ok(Visit { kind, stations, stall_ms, early_stall_ms, xruns, machine_busy })
    }

    /// Why it must not be quoted.
    pub fn spoilt(&self) -> Option<String> {
        let words = |ms: f64| format!("the machine stalled for {ms:.1} ms");
        let stall = (self.stall_ms > MOST_STALL_MS).then(|| words(self.stall_ms));
        let early = (self.early_stall_ms > MOST_EARLY_STALL_MS).then(|| words(self.early_stall_ms) + " before");
        let xruns = (self.xruns > 0).then(|| format!("{} xruns of the virtual cards", self.xruns));
        stall.or(early).or(xruns)
    }
}

/// Both talk at once, and what that costs; the first and last moments are not counted.
fn talk(card: &[Card; 2], ids: [u32; 2], length: Duration) -> std::io::Result<Option<[Cost; 2]>> {
    if length.is_zero() {
        return Ok(None);
    }
    let seconds = length.as_secs_f64();
    card[0].say_now(&signal::speech(seconds + 0.5, 1))?;
    card[1].say_now(&signal::speech(seconds + 0.5, 2))?;
    std::thread::sleep(Duration::from_millis(300));
    let meter = ids.map(Meter::start);
    std::thread::sleep(length);
    let cost = meter.map(Meter::read);
    std::thread::sleep(Duration::from_millis(500));
    Ok(Some(cost))
}

/// The frames at which A and B began to chirp.
#[derive(Clone, Copy)]
struct Said {
    at: [usize; 2],
    chirps: Chirps,
    length: usize,
}

impl Said {
    fn found_in(&self, heard: &[i16], speaker: usize) -> Latency {
        let heard = heard.get(self.at[speaker]..).unwrap_or(&[]);
        by_chirps(heard, self.length, &self.chirps, MOST_DELAY_MS)
    }
}

/// Both chirp, in turns.
fn chirp(card: &[Card; 2], length: Duration) -> std::io::Result<Option<Said>> {
    if length.is_zero() {
        return Ok(None);
    }
    let chirps = Chirps { first: 0, ..Chirps::standard() };
    let sound = chirps.signal(length.as_secs_f64());
    let a = card[0].say_now(&sound)?;
    let b = a + chirps.every / 2;
    card[1].say(b, &sound)?;
    std::thread::sleep(length + Duration::from_millis(100 + 250 + 700));
    Ok(Some(Said { at: [a, b], chirps, length: sound.len() }))
}

/// From the order to the first sound of the loudspeaker.
fn first_sound_ms(heard: &[i16], ordered: usize) -> Option<f64> {
    let first = heard.get(ordered..)?.iter().position(|sample| sample.unsigned_abs() > AUDIBLE.unsigned_abs())?;
    Some(first as f64 / 48.0)
}

fn xruns(card: &Card, from_us: u64, to_us: u64) -> usize {
    let within = card.frame_at(from_us) as u64..card.frame_at(to_us) as u64;
    card.logged("xrun").iter().filter(|xrun| xrun["at"].as_u64().is_some_and(|at| within.contains(&at))).count()
}

/// Frames in the loudspeaker's ring when it last started.
fn queued(card: &Card) -> Option<u64> {
    card.logged("start").iter().rev().find(|start| start["dir"] == "p")?["queued"].as_u64()
}

/// Usage of a process from now on.
pub(super) struct Meter {
    id: u32,
    at_us: u64,
    before: Usage,
}

impl Meter {
    pub(super) fn start(id: u32) -> Meter {
        Meter { id, at_us: mono_us(), before: usage(id) }
    }

    pub(super) fn read(self) -> Cost {
        let now = usage(self.id);
        let seconds = (mono_us() - self.at_us) as f64 / 1e6;
        let switches = |usage: &Usage| usage.voluntary_switches + usage.involuntary_switches;
        Cost {
            cpu_percent: 100.0 * now.cpu.saturating_sub(self.before.cpu).as_secs_f64() / seconds,
            switches_per_second: switches(&now).saturating_sub(switches(&self.before)) as f64 / seconds,
            resident_kib: now.resident_kib,
            private_kib: now.private_kib,
        }
    }
}

/// How busy all processors of the machine are, from now on.
pub struct Busy(Option<[u64; 2]>);

impl Busy {
    pub fn start() -> Busy {
        Busy(Busy::ticks())
    }

    /// Percent; 0 where the system does not tell.
    pub fn read(&self) -> f64 {
        let (Some([busy, all]), Some([busy_now, all_now])) = (self.0, Busy::ticks()) else { return 0.0 };
        100.0 * busy_now.saturating_sub(busy) as f64 / all_now.saturating_sub(all).max(1) as f64
    }

    /// Busy and all ticks of the first line of /proc/stat: user nice system idle iowait irq softirq steal.
    fn ticks() -> Option<[u64; 2]> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let fields: Vec<u64> =
            text.lines().next()?.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
        let all = fields.iter().sum::<u64>();
        Some([all - fields.get(3)? - fields.get(4)?, all])
    }
}

/// Files of which a process has executable pages mapped.
fn code_of(id: u32) -> BTreeSet<PathBuf> {
    let maps = std::fs::read_to_string(format!("/proc/{id}/maps")).unwrap_or_default();
    let executable = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.contains('x')));
    executable.filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..]))).collect()
}
