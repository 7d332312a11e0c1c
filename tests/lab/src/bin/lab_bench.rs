//! `lab-bench`: the endpoint and Debian's baresip, measured in the same run by the same means; see `docs/bench.md`.
//!
//! The kinds take turns, so that what the machine does meanwhile hits all of them. A visit that a stall of the machine
//! spoilt is made again, as long as there is time; every visit ends up in `runs.json` beside the report.
#![allow(clippy::disallowed_types)]

use lab::bench::canary::Canary;
use lab::bench::figures::{FIGURES, milliseconds, rows};
use lab::bench::report;
use lab::bench::station::{Kind, Stage};
use lab::bench::visit::{Busy, Script, Visit};
use lab::process::endpoint_binary;
use lexopt::{Arg, ValueExt};
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "lab-bench [--endpoint PROGRAM] [--report FILE.json] [--quick]
  --quick   two visits of each kind instead of six, for trying things out";

/// A visit is tried so often at most, and no more once so much time has gone into repeating.
const TRIES: usize = 4;
const TRIES_AS_SHIPPED: usize = 2;
const SPARE: Duration = Duration::from_secs(100);
/// Below this, percent of all processors, the machine is quiet; waited for at most so long.
const QUIET: f64 = 10.0;
const QUIET_PATIENCE: Duration = Duration::from_secs(30);

struct Options {
    endpoint: PathBuf,
    report: PathBuf,
    quick: bool,
}

fn main() -> ExitCode {
    match read_options().and_then(|options| measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    if !options.endpoint.exists() {
        return Err(format!("there is no {}: cargo build --release", options.endpoint.display()).into());
    }
    let began = Instant::now();
    let stage = Stage::build(options.endpoint.clone())?;
    let canary = Canary::start()?;
    wait_for_quiet();
    let (mut visits, mut spoilt, mut failed) = (Vec::new(), Vec::new(), 0);
    let mut spare = if options.quick { Duration::ZERO } else { SPARE };
    for (turn, (kind, script)) in programme(options.quick).into_iter().enumerate() {
        let tries = if kind == Kind::PeerAsShipped { TRIES_AS_SHIPPED } else { TRIES };
        for attempt in 1..=tries {
            let tried = Instant::now();
            let last = attempt == tries || spare.is_zero();
            match Visit::make(&stage, &canary, kind, script, turn * TRIES + attempt) {
                Err(error) if last => return Err(error),
                Err(error) => {
                    println!("        {}: {error}", kind.word());
                    failed += 1;
                }
                Ok(visit) => {
                    println!("{:4} s  {}", began.elapsed().as_secs(), line(&visit));
                    match visit.spoilt() {
                        Some(_) if !last => spoilt.push(visit),
                        why => {
                            why.iter().for_each(|why| println!("        kept although {why}"));
                            visits.push(visit);
                            break;
                        }
                    }
                }
            }
            spare = spare.saturating_sub(tried.elapsed());
        }
    }

    let rows = rows(&visits);
    report::write(&options.report, &rows)?;
    let runs = options.report.with_file_name("runs.json");
    let all: serde_json::Value =
        visits.iter().map(|it| run(it, true)).chain(spoilt.iter().map(|it| run(it, false))).collect();
    std::fs::write(&runs, serde_json::to_string_pretty(&all)?)?;
    print!("{}", report::table(&rows));
    println!("\nwhere our mouth_to_ear_p50 goes");
    milliseconds(&visits).iter().for_each(|(what, ms)| println!("{ms:>8.1} ms  {what}"));
    let kept = visits.iter().filter(|visit| visit.spoilt().is_some()).count();
    println!(
        "\n{} visits; {} more were spoilt by the machine and repeated, {failed} failed and were repeated; \
         {kept} kept although spoilt",
        visits.len(),
        spoilt.len()
    );
    if !canary.is_realtime() {
        println!("note: no right to SCHED_FIFO here, neither for the endpoint nor for the canary");
    }
    println!("{} s; {} and {}", began.elapsed().as_secs(), options.report.display(), runs.display());
    Ok(())
}

/// The visits, in an order in which the kinds take turns.
fn programme(quick: bool) -> Vec<(Kind, Script)> {
    let script = |speech, chirps| Script { speech: Duration::from_secs(speech), chirps: Duration::from_secs(chirps) };
    let (both, delay) = (script(10, 8), script(0, 8));
    if quick {
        return [Kind::Ours, Kind::Peer].iter().flat_map(|kind| [(*kind, both), (*kind, delay)]).collect();
    }
    let mut visits = Vec::new();
    for turn in 0..6 {
        for kind in [Kind::Ours, Kind::Peer] {
            visits.push((kind, if turn < 2 { both } else { delay }));
        }
        if turn < 2 {
            visits.push((Kind::PeerAsShipped, if turn < 1 { both } else { delay }));
        }
    }
    visits
}

fn wait_for_quiet() {
    let end = Instant::now() + QUIET_PATIENCE;
    loop {
        let busy = Busy::start();
        std::thread::sleep(Duration::from_secs(2));
        let percent = busy.read();
        if percent < QUIET || Instant::now() > end {
            println!("the machine is {percent:.0} % busy with other things at the start");
            return;
        }
    }
}

/// A visit in a line.
fn line(visit: &Visit) -> String {
    let values = |name: &str| {
        let figure = FIGURES.iter().find(|figure| figure.name == name).expect("a figure of that name");
        let values = visit.stations.iter().filter_map(figure.of).map(|value| format!("{value:.1}"));
        values.collect::<Vec<_>>().join(" ")
    };
    format!(
        "{:<19} delay {:<13} audio after {:<13} CPU {:<8} private {:<14} stall {:.1} ms, xruns {}, machine {:.0} %",
        visit.kind.word(),
        values("mouth_to_ear_p50"),
        values("invite_to_audio"),
        values("cpu_per_call"),
        values("private_memory"),
        visit.stall_ms,
        visit.xruns,
        visit.machine_busy
    )
}

/// Everything that was measured in a visit.
fn run(visit: &Visit, counts: bool) -> serde_json::Value {
    let station = |at: usize| {
        let seen = &visit.stations[at];
        let mut values: serde_json::Value =
            FIGURES.iter().map(|figure| (figure.name.to_string(), json!((figure.of)(seen)))).collect();
        values["delays_ms"] = json!(seen.delay.as_ref().map(|delay| delay.delays()));
        values["media"] = json!(seen.media);
        values["code"] = json!(seen.code);
        values
    };
    json!({
        "kind": visit.kind.word(), "counts": counts, "spoilt": visit.spoilt(), "stall_ms": visit.stall_ms,
        "early_stall_ms": visit.early_stall_ms,
        "xruns": visit.xruns, "machine_busy": visit.machine_busy, "stations": [station(0), station(1)],
    })
}

fn read_options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options { endpoint: endpoint_binary(), report: "target/bench/report.json".into(), quick: false };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("endpoint") => options.endpoint = arguments.value()?.into(),
            Arg::Long("report") => options.report = arguments.value()?.parse()?,
            Arg::Long("quick") => options.quick = true,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
