//! Every fault that a virtual card can make, one after the other in one call, and what the call and the people in it notice.
//!
//! ```text
//!   phone: a tone for two minutes ─► mixer ─► relay ─► endpoint ─► loudspeaker: from when on is it heard again?
//!                                              ▲ no packet missing, no timestamp that is not the time that passed
//!                                              └───── endpoint ◄── microphone: from when on does it run again?
//! ```
//!
//! The call begins without a card. Faults that need no hand on the card stand at frames that it is told when it is
//! opened; the others are control files (see `tests/lab/vsnd/src/faults.rs`).

use super::report::{Aim, Row};
use crate::cards::{Card, Cards};
use crate::clock::{mono_us, sleep_until};
use crate::measure::signal;
use crate::mixer::{self, Mixer};
use crate::phone::{self, Phone};
use crate::process::{ConfigFile, Endpoint, Line};
use crate::wire::{Relay, Rtp};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

/// What one fault did.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    pub fault: &'static str,
    /// From the end of the fault until loudspeaker and microphone run for good.
    pub return_ms: f64,
    /// Longest pause between two packets of ours, from the fault's beginning on.
    pub longest_gap_ms: f64,
    /// How far timestamps and time ran apart meanwhile.
    pub timestamps_off_ms: f64,
    /// Sequence numbers that did not follow upon each other.
    pub jumps: usize,
    /// Events `card` with `lost`, the code of their cause, and with `returned`.
    pub lost: Vec<String>,
    pub returned: usize,
    /// While there was no card, and when it was back; `None` if that was too short.
    pub cpu_percent: Option<(f64, f64)>,
}

/// All of them, and what holds for the whole call.
#[derive(Clone, PartialEq, Debug)]
pub struct Faults {
    pub outcomes: Vec<Outcome>,
    /// Calls that the relay saw; more than one, and the call did not survive.
    pub calls: usize,
    /// Lines on standard output and standard error while one fault chased the other.
    pub lines_per_minute: f64,
}

const ROOM: &str = "88826777099";
const PATIENCE: Duration = Duration::from_secs(10);
/// A fault is judged for so long after its end.
const AFTER_US: u64 = 2_300_000;
const AWAY_US: u64 = 3_000_000;
/// What a card plays is on its tape when it is asked for the next time.
const TAPED_US: u64 = 50_000;
/// By then sound is to be back.
const BACK_US: u64 = 1_000_000;
/// -45 dBFS; the tone has -20.
const AUDIBLE: u16 = 184;
/// Frames of a block that is silent or is not.
const BLOCK: usize = 480;

impl Faults {
    /// Plays all of it, in half a minute.
    ///
    /// # Errors
    /// A piece of the lab that does not start, or an endpoint that does not get into the call.
    pub fn play(endpoint: &Path) -> Result<Faults, Box<dyn Error>> {
        let mixer = Mixer::start(mixer::Config::default())?;
        let relay = Relay::start(mixer.address(), 1)?;
        let cards = Cards::new("card-faults")?;
        let card = cards.card("a", "")?;
        card.say(0, &signal::tone(440.0, -20.0, 120.0))?;
        let phone = Phone::dial(&phone::Plan::to(mixer.address(), "phone", ROOM)).map_err(|e| format!("{e:?}"))?;
        phone.say(&signal::tone(440.0, -20.0, 120.0));

        card.unplug()?;
        let mut config = ConfigFile::lab("card-faults", &card).sip_uri(&format!("sip:{ROOM}@{}", relay.address()));
        config.set_raw("audio", "reopen_interval_ms", "500");
        let began_us = mono_us();
        let mut endpoint = Endpoint::start(endpoint, "card-faults", &config, &cards)?;
        endpoint.wait_rung("receiving", 0, PATIENCE)?;
        let mut run = Run { card, endpoint, relay, list: Vec::new() };

        run.away("absent at boot", |_| Ok(()), Card::replug)?;
        run.away("unplugged", Card::unplug, Card::replug)?;
        run.away(
            "taken by another when it returns",
            |card| {
                card.busy(true)?;
                card.unplug()
            },
            |card| card.busy(false),
        )?;
        run.timed()?;
        run.away("clock stands still", |card| card.stall(true), |card| card.stall(false))?;
        let seconds = (mono_us() - began_us) as f64 / 1e6;
        let said = run.endpoint.mark() + run.endpoint.errors().lines().count();
        let outcomes = run.judge();
        let calls = run.relay.calls().len();
        Ok(Faults { outcomes, calls, lines_per_minute: said as f64 * 60.0 / seconds })
    }

    /// The slowest return of all.
    pub fn return_ms(&self) -> f64 {
        self.outcomes.iter().map(|outcome| outcome.return_ms).fold(0.0, f64::max)
    }

    /// The most that was used without a card.
    pub fn cpu_percent(&self) -> Option<f64> {
        self.outcomes.iter().filter_map(|outcome| outcome.cpu_percent).map(|(without, _)| without).reduce(f64::max)
    }

    /// What a call uses without a card, as a share of what it uses with it, over all faults.
    pub fn cpu_ratio(&self) -> Option<f64> {
        let cpu = self.outcomes.iter().filter_map(|outcome| outcome.cpu_percent);
        let (without, with) = cpu.reduce(|(a, b), (c, d)| (a + c, b + d))?;
        (with > 0.0).then_some(without / with)
    }

    /// For the report.
    pub fn rows(&self) -> Vec<Row> {
        let worst = |of: &dyn Fn(&Outcome) -> f64| self.outcomes.iter().map(of).reduce(f64::max);
        let news = self.outcomes.iter().map(|outcome| outcome.lost.len().max(outcome.returned)).max();
        vec![
            Row::alone("card_return_ms", "ms", Some(self.return_ms())).aim(Some(Aim::AtMost(1_000.0))),
            Row::alone("card_absent_cpu", "%", self.cpu_percent()).aim(Some(Aim::AtMost(1.0))),
            Row::alone("card_absent_cpu_ratio", "x", self.cpu_ratio()).aim(Some(Aim::AtMost(0.5))),
            Row::alone("card_fault_timestamps_off_ms", "ms", worst(&|it| it.timestamps_off_ms))
                .aim(Some(Aim::AtMost(40.0))),
            Row::alone("card_fault_news", "events", news.map(|count| count as f64)).aim(Some(Aim::AtMost(1.0))),
            Row::alone("card_fault_calls", "calls", Some(self.calls as f64)).aim(Some(Aim::AtMost(1.0))),
            Row::alone("card_fault_lines", "lines/min", Some(self.lines_per_minute)).aim(Some(Aim::AtMost(60.0))),
        ]
    }
}

/// A fault that was made, to be judged from the recordings at the end.
struct Made {
    fault: &'static str,
    began_us: u64,
    ended_us: u64,
    cpu_percent: Option<(f64, f64)>,
}

struct Run {
    card: Card,
    endpoint: Endpoint,
    relay: Relay,
    list: Vec<Made>,
}

impl Run {
    /// A fault that lasts for three seconds.
    fn away(
        &mut self,
        fault: &'static str,
        begin: impl Fn(&Card) -> std::io::Result<()>,
        end: impl Fn(&Card) -> std::io::Result<()>,
    ) -> Result<(), Box<dyn Error>> {
        let began_us = mono_us();
        begin(&self.card)?;
        // What it does at first is not what it does as long as the card is away.
        sleep_until(began_us + AWAY_US / 3);
        if fault.starts_with("taken") {
            self.card.replug()?;
        }
        let without = self.cpu_percent_until(began_us + AWAY_US);
        end(&self.card)?;
        let ended_us = mono_us();
        sleep_until(ended_us + AFTER_US / 3);
        let with = self.cpu_percent_until(ended_us + AFTER_US);
        self.list.push(Made { fault, began_us, ended_us, cpu_percent: Some((without, with)) });
        Ok(())
    }

    fn cpu_percent_until(&self, until_us: u64) -> f64 {
        let (from_us, before) = (mono_us(), self.endpoint.usage().cpu);
        sleep_until(until_us);
        let (passed, used) = ((mono_us() - from_us) as f64 / 1e6, self.endpoint.usage().cpu - before);
        100.0 * used.as_secs_f64() / passed
    }

    /// Those that stand at frames: the card reads them when it is opened.
    fn timed(&mut self) -> Result<(), Box<dyn Error>> {
        const STALL_FRAMES: usize = 4_800;
        let list = [
            ("xrun of playback", "xrun.p"),
            ("xrun of capture", "xrun.c"),
            ("suspended", "suspend"),
            ("stall of 100 ms", "stall"),
        ];
        let pause = (AFTER_US as usize + 400_000) * 48 / 1_000;
        self.card.unplug()?;
        std::thread::sleep(Duration::from_millis(300));
        let first = self.card.frame_now() + 48_000 * 4;
        let at = |n: usize| first + n * pause;
        let lines = list.iter().enumerate().map(|(n, (_, what))| match *what {
            "stall" => format!("{what}@{}+{STALL_FRAMES}\n", at(n)),
            _ => format!("{what}@{}\n", at(n)),
        });
        self.card.faults(&lines.collect::<String>())?;
        self.card.replug()?;
        for (n, (fault, what)) in list.into_iter().enumerate() {
            let length = if what == "stall" { STALL_FRAMES } else { 0 };
            let (began_us, ended_us) = (self.card.us_at(at(n)), self.card.us_at(at(n) + length));
            self.list.push(Made { fault, began_us, ended_us, cpu_percent: None });
            sleep_until(ended_us + AFTER_US);
        }
        Ok(())
    }

    fn judge(&self) -> Vec<Outcome> {
        let loudspeaker = self.card.loudspeaker();
        let starts = self.card.logged("start");
        let packets = self.relay.calls().into_iter().next().map(|call| call.up.rtp).unwrap_or_default();
        let lines = self.endpoint.lines();
        let xruns = self.card.logged("xrun");
        let strange: Vec<u64> = xruns
            .iter()
            .filter(|xrun| xrun["injected"] != true)
            .filter_map(|xrun| Some(xrun["t"].as_u64()? / 1000))
            .collect();
        let one = |made: &Made| {
            let until_us = judged_until(made.ended_us, &strange);
            let (from, to) = (self.card.frame_at(made.ended_us), self.card.frame_at(until_us - TAPED_US));
            let heard = heard_after_ms(&loudspeaker, from, to);
            let started = starts.iter().filter(|start| start["dir"] == "c");
            let started = started
                .filter_map(|start| Some(start["t"].as_u64()? / 1000))
                .filter(|at| (made.ended_us..until_us).contains(at));
            let spoke = started.max().map_or(0.0, |at| (at - made.ended_us) as f64 / 1000.0);
            let during: Vec<&Rtp> =
                packets.iter().filter(|rtp| (made.began_us..until_us).contains(&rtp.packet.at_us)).collect();
            let pairs = || during.windows(2).map(|pair| (pair[0], pair[1]));
            let off = |a: &Rtp, b: &Rtp| {
                let (told, passed) = (b.timestamp.wrapping_sub(a.timestamp), b.packet.at_us - a.packet.at_us);
                (f64::from(told) / 48.0 - passed as f64 / 1000.0).abs()
            };
            let news = lines
                .iter()
                .filter(|line| (made.began_us..until_us).contains(&line.at_us) && line.event["event"] == "card");
            let state = |line: &&Line, state: &str| line.event["card"]["state"] == state;
            let code = |line: &Line| line.event["cause"]["code"].as_str().unwrap_or_default().to_owned();
            Outcome {
                fault: made.fault,
                return_ms: heard.max(spoke),
                longest_gap_ms: pairs()
                    .map(|(a, b)| (b.packet.at_us - a.packet.at_us) as f64 / 1000.0)
                    .fold(0.0, f64::max),
                timestamps_off_ms: match (during.first(), during.last()) {
                    (Some(first), Some(last)) => off(first, last),
                    _ => f64::INFINITY,
                },
                jumps: pairs().filter(|(a, b)| b.sequence != a.sequence.wrapping_add(1)).count(),
                lost: news.clone().filter(|line| state(line, "lost")).map(code).collect(),
                returned: news.filter(|line| state(line, "returned")).count(),
                cpu_percent: made.cpu_percent,
            }
        };
        self.list.iter().map(one).collect()
    }
}

/// A card has to be back by now, and what comes after it is judged as well, until the machine is late: an xrun that nobody asked
/// for stops the card once more.
fn judged_until(ended_us: u64, strange: &[u64]) -> u64 {
    let judged = ended_us + BACK_US..ended_us + AFTER_US;
    strange.iter().copied().filter(|at| judged.contains(at)).min().unwrap_or(judged.end)
}

/// From `from` until the tone is in the loudspeaker without another silent block.
fn heard_after_ms(loudspeaker: &[i16], from: usize, to: usize) -> f64 {
    let window = loudspeaker.get(from..to.min(loudspeaker.len())).unwrap_or_default();
    if window.len() < BLOCK {
        return f64::INFINITY;
    }
    let silent = |block: &[i16]| block.iter().all(|sample| sample.unsigned_abs() < AUDIBLE);
    let last = window.chunks_exact(BLOCK).rposition(silent);
    last.map_or(0.0, |block| ((block + 1) * BLOCK) as f64 / 48.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xrun_that_nobody_asked_for_ends_the_judgement_but_not_before_a_card_has_to_be_back() {
        let ended = 5_000_000;
        assert_eq!(judged_until(ended, &[]), ended + AFTER_US);
        assert_eq!(judged_until(ended, &[ended - 1, ended + 900_000]), ended + AFTER_US);
        assert_eq!(judged_until(ended, &[ended + 1_800_000, ended + 1_420_000]), ended + 1_420_000);
    }
}
