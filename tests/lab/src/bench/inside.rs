//! What a station does in every frame of a call, seen from outside: when its packets leave, what its media thread asks of
//! the kernel (strace) and of the heap (`gauge`, preloaded), and what its codec alone would cost (`lab-codec`).

use super::canary::Canary;
use super::codec;
use super::gauge::{self, Counts};
use super::station::{Kind, Room, Setup, Stage, Station};
use super::visit::Meter;
use crate::cards::{Card, Cards};
use crate::clock::mono_us;
use crate::measure::signal;
use crate::wire::Relay;
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Two stations of a kind talk; these are seen of the first, which is behind a relay.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Inside {
    /// From packet to packet, ms, where the machine kept pace; and how many it did not.
    pub intervals_ms: Vec<f64>,
    pub spoilt: usize,
    /// Of its media thread, while so many frames of 20 ms passed.
    pub counted: Option<(Counts, f64)>,
    pub calls: Option<Calls>,
}

/// System calls of its media thread.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Calls {
    pub frames: f64,
    /// The program's own, by name.
    pub own: BTreeMap<String, u64>,
    /// Made by the virtual card, which lives in the same process: a real one is in the kernel.
    pub cards: u64,
}

/// What a call costs and what of it the codec is, percent of a core.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share {
    pub process: f64,
    /// Of the virtual card's code inside the process.
    pub card: f64,
    pub encode: f64,
    pub decode: f64,
    /// Of a thread that only wakes up, once a frame.
    pub wake: f64,
    /// Of a packet sent and one received, once a frame.
    pub packets: f64,
}

impl Share {
    /// The process without the virtual card, in units of its codec.
    pub fn over_libopus(&self) -> f64 {
        (self.process - self.card) / (self.encode + self.decode)
    }

    pub fn over_libopus_with_card(&self) -> f64 {
        self.process / (self.encode + self.decode)
    }

    /// What [`over_libopus`](Share::over_libopus) would be, were there no code of ours, no alsa-lib, and one wake-up in a frame.
    pub fn least_over_libopus(&self) -> f64 {
        let libopus = self.encode + self.decode;
        (libopus + self.wake + self.packets) / libopus
    }
}

const SETTLE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);
/// So long allocations and packets are counted, and then system calls.
const COUNTED: Duration = Duration::from_secs(8);
const TRACED: Duration = Duration::from_secs(4);
const COST: Duration = Duration::from_secs(10);
const FRAME_MS: f64 = 20.0;
/// A machine that lets the canary wait for longer does not keep pace (a station itself holds a processor for one at most), and
/// up to so long before an interval it counts.
const LATE_MS: f64 = 2.0;
const LATE_US: u64 = 10_000;

/// Pace, and of ours allocations and system calls.
///
/// # Errors
/// No call comes about, or the gauge is not built.
pub fn measure(stage: &Stage, kind: Kind, canary: &Canary) -> Result<Inside, Box<dyn Error>> {
    let cards = Cards::new("inside")?;
    let card = [cards.card("a", "")?, cards.card("b", "")?];
    let relay = Relay::start(stage.asterisk.sip, 1)?;
    let table = cards.path().join("allocations");
    let gauged = match kind {
        Kind::Ours => gauge::environment(&table)?,
        Kind::Peer | Kind::PeerAsShipped => Vec::new(),
    };
    let stations = [
        kind.start(stage, &Setup { environment: gauged, ..Setup::new("inside-0", &cards, &card[0], relay.address()) })?,
        kind.start(stage, &Setup::new("inside-1", &cards, &card[1], stage.asterisk.sip))?,
    ];
    let stations = talk(stage, stations, &card, SETTLE + COUNTED + TRACED)?;
    let thread = (kind == Kind::Ours).then(|| gauge::thread_of(stations[0].id(), "media")).flatten();
    let mut seen = Inside::default();
    let counts = || thread.and_then(|thread| gauge::counts(&table, thread));
    let (from_us, before) = (mono_us(), counts());
    std::thread::sleep(COUNTED);
    let (to_us, after) = (mono_us(), counts());
    let frames = (to_us - from_us) as f64 / 1000.0 / FRAME_MS;
    seen.counted = before.zip(after).map(|(before, after)| (after.since(before), frames));
    let flow = relay.calls().into_iter().next_back().map(|call| call.up.packets()).unwrap_or_default();
    let times: Vec<u64> = flow.iter().map(|it| it.at_us).filter(|at| (from_us..to_us).contains(at)).collect();
    let intervals = times.windows(2).map(|pair| (pair[0], pair[1]));
    // A packet that leaves late makes an interval too long and the next one too short.
    let (clean, spoilt): (Vec<_>, Vec<_>) =
        intervals.partition(|(from, to)| canary.worst_ms(from - LATE_US, *to) < LATE_MS);
    seen.intervals_ms = clean.iter().map(|(from, to)| (to - from) as f64 / 1000.0).collect();
    seen.spoilt = spoilt.len();
    if let Some(thread) = thread {
        seen.calls = Some(trace(thread, &cards.path().join("strace"))?);
    }
    for station in stations {
        station.end()?;
    }
    Ok(seen)
}

/// What a call of ours costs, and right before and after it the codec alone with the same speech.
///
/// # Errors
/// No call comes about, or `lab-codec` is not built.
pub fn share(stage: &Stage) -> Result<Share, Box<dyn Error>> {
    let cards = Cards::new("share")?;
    let card = [cards.card("a", "")?, cards.card("b", "")?];
    let setup = |at: usize| Setup::new(&format!("share-{at}"), &cards, &card[at], stage.asterisk.sip);
    let start = |at: usize| Kind::Ours.start(stage, &setup(at));
    let stations = talk(stage, [start(0)?, start(1)?], &card, SETTLE + COST)?;
    let meters = [0, 1].map(|at| Meter::start(stations[at].id()));
    // While they talk: what a machine does in a second shows in all alike.
    let alone = codec::cost(COST.as_secs() as u32)?;
    let process = meters.map(|meter| meter.read().cpu_percent).iter().sum::<f64>() / 2.0;
    for station in stations {
        station.end()?;
    }
    let own = card.iter().map(own_percent).sum::<f64>() / 2.0;
    let codec::Cost { encode, decode, wake, packets } = alone;
    Ok(Share { process, card: own, encode, decode, wake, packets })
}

/// Both are called into the room, and speak from a little later on.
fn talk(
    stage: &Stage,
    mut stations: [Station; 2],
    card: &[Card; 2],
    length: Duration,
) -> Result<[Station; 2], Box<dyn Error>> {
    for station in &mut stations {
        station.call(stage, &Room::main())?;
        std::thread::sleep(Duration::from_millis(300));
    }
    stage.asterisk.wait_for(&Room::main().number, 2, PATIENCE)?;
    for (card, seed) in card.iter().zip(1..) {
        card.say_now(&signal::speech(length.as_secs_f64() + 2.0, seed))?;
    }
    std::thread::sleep(SETTLE);
    Ok(stations)
}

/// What the virtual card's code cost while it ran, percent of a core; both directions.
fn own_percent(card: &Card) -> f64 {
    let percent = |stop: &Value| Some(stop["own_us"].as_f64()? / (stop["frames"].as_f64()? / 48.0 * 10.0));
    let last = |direction: &str| card.logged("stop").iter().rev().find(|it| it["dir"] == direction).and_then(percent);
    last("p").unwrap_or(0.0) + last("c").unwrap_or(0.0)
}

fn trace(thread: u32, file: &PathBuf) -> Result<Calls, Box<dyn Error>> {
    // With a priority of its own: a thread that waits for its tracer misses its deadlines.
    let mut command = Command::new("chrt");
    command.args(["--fifo", "30", "strace", "-q", "-k", "-ttt", "-p", &thread.to_string(), "-o"]).arg(file);
    let mut strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(TRACED);
    crate::process::signal(strace.id(), libc::SIGINT);
    strace.wait()?;
    let calls = read_trace(&std::fs::read_to_string(file)?);
    if calls.frames < 10.0 || calls.own.is_empty() {
        return Err("strace saw nothing: is it installed, and allowed to trace?".into());
    }
    Ok(calls)
}

/// Who made a call, by its stack. The calls that strace breaks into as it comes and goes have none, and nobody knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Nobody,
    Program,
    Card,
}

/// Lines of calls (`TIME NAME(...`), each followed by its stack (` > FILE(FUNCTION+...`).
fn read_trace(text: &str) -> Calls {
    let mut calls = Calls::default();
    let (mut first, mut last) = (None, 0.0);
    let mut pending: Option<(String, By)> = None;
    let mut close = |pending: &mut Option<(String, By)>| match pending.take() {
        Some((name, By::Program)) => *calls.own.entry(name).or_insert(0) += 1,
        Some((_, By::Card)) => calls.cards += 1,
        Some((_, By::Nobody)) | None => {}
    };
    for line in text.lines() {
        if let Some(frame) = line.strip_prefix(" > ") {
            if let Some((_, by)) = &mut pending {
                let by_card = *by == By::Card || frame.contains("libasound_module_pcm_vsnd");
                *by = if by_card { By::Card } else { By::Program };
            }
            continue;
        }
        close(&mut pending);
        let Some((time, rest)) = line.split_once(' ') else { continue };
        let Ok(time) = time.parse::<f64>() else { continue };
        first.get_or_insert(time);
        last = time;
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        // Not a call: `<... poll resumed>`, `--- SIGINT ---`, `+++ exited +++`; the first is a call's second half.
        pending = (!name.is_empty()).then_some((name, By::Nobody));
    }
    close(&mut pending);
    calls.frames = (last - first.unwrap_or(last)) * 1000.0 / FRAME_MS;
    calls
}

impl Calls {
    /// The kinds that a frame may need, and everything else, each per frame.
    pub fn kinds(&self) -> [(&'static str, f64); 6] {
        const KINDS: [(&str, &[&str]); 5] = [
            ("poll", &["poll", "ppoll"]),
            ("read", &["read", "readv"]),
            ("write", &["write", "writev"]),
            ("send", &["sendto", "sendmsg", "sendmmsg"]),
            ("recv", &["recvfrom", "recvmsg", "recvmmsg"]),
        ];
        let per_frame = |count: u64| count as f64 / self.frames.max(1.0);
        let of = |names: &[&str]| names.iter().filter_map(|name| self.own.get(*name)).sum::<u64>();
        let [poll, read, write, send, recv] = KINDS.map(|(kind, names)| (kind, of(names)));
        let other =
            self.own.values().sum::<u64>() - [poll, read, write, send, recv].iter().map(|(_, n)| n).sum::<u64>();
        [poll, read, write, send, recv, ("other", other)].map(|(kind, count)| (kind, per_frame(count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_the_card_are_told_from_the_programs_own() {
        let text = "\
10.000000 poll([{fd=5, events=POLLIN}], 1, NULL) = 1\n > /lib/libc.so.6(__poll+0x4f) [0x1]\n > /x/qss-endpoint() [0x2]\n\
10.001000 pwrite64(9, \"\", 960, 0) = 960\n > /lib/libc.so.6(pwrite+0x1) [0x1]\n > /x/libasound_module_pcm_vsnd.so(y) [0x3]\n\
10.002000 sendto(7, \"\", 99, MSG_DONTWAIT) = 99\n > /lib/libc.so.6(sendto+0x1) [0x1]\n\
10.002500 futex(0x1, FUTEX_WAKE, 1) = 0\n > /lib/libc.so.6(futex+0x1) [0x1]\n\
10.199000 pwrite64(9, \"\", 960, 0 <detached ...>\n\
10.200000 <... poll resumed>) = 1\n\
10.200000 --- SIGINT {si_signo=SIGINT} ---\n";
        let calls = read_trace(text);
        assert_eq!(calls.cards, 1);
        assert_eq!(calls.own.keys().collect::<Vec<_>>(), ["futex", "poll", "sendto"]);
        assert!((calls.frames - 10.0).abs() < 1e-6);
        let kinds = BTreeMap::from(calls.kinds());
        assert!((kinds["send"] - 0.1).abs() < 1e-6 && (kinds["other"] - 0.1).abs() < 1e-6 && kinds["recv"] == 0.0);
    }

    #[test]
    fn a_share_counts_the_process_without_the_card() {
        let share = Share { process: 1.5, card: 0.25, encode: 0.75, decode: 0.25, wake: 0.125, packets: 0.25 };
        assert_eq!((share.over_libopus(), share.over_libopus_with_card()), (1.25, 1.5));
        assert_eq!(share.least_over_libopus(), 1.375);
    }
}
