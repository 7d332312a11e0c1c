//! `lab-bench`: the endpoint and Debian's baresip, measured in the same run by the same means; see `docs/bench.md`.
//!
//! The kinds take turns, so that what the machine does meanwhile hits all of them. A visit that a stall of the machine
//! spoilt counts for nothing and is made again, as long as there is time; with too few clean ones there is no report.
//! Every visit ends up in `runs.json` beside it.
#![allow(clippy::disallowed_types)]

use lab::bench::canary::Canary;
use lab::bench::figures::{FIGURES, milliseconds, missing, rows};
use lab::bench::programme::{Programme, Turn};
use lab::bench::report;
use lab::bench::station::Stage;
use lab::bench::visit::{Busy, Visit};
use lab::process::endpoint_binary;
use lexopt::{Arg, ValueExt};
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "lab-bench [--endpoint PROGRAM] [--report FILE.json] [--quick]
  --quick   two visits of each kind instead of six, for trying things out";

/// No visit begins later than this: `make bench` has ten minutes.
const TIME: Duration = Duration::from_secs(480);
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
    let mut programme = if options.quick { Programme::quick() } else { Programme::full() };
    let (mut clean, mut spoilt) = (Vec::new(), Vec::new());
    while began.elapsed() < TIME
        && let Some(Turn { number, kind, script }) = programme.next()
    {
        match Visit::make(&stage, &canary, kind, script, number) {
            Err(error) => {
                println!("        {}: {error}", kind.word());
                programme.failed().map_err(|failures| format!("{failures} visits failed, at last: {error}"))?;
            }
            Ok(visit) => {
                println!("{:4} s  {}", began.elapsed().as_secs(), line(&visit));
                match visit.spoilt() {
                    Some(why) => {
                        println!("        does not count: {why}");
                        spoilt.push(visit);
                    }
                    None => {
                        programme.counted(kind, script);
                        clean.push(visit);
                    }
                }
            }
        }
    }

    let runs = options.report.with_file_name("runs.json");
    let all: serde_json::Value =
        clean.iter().map(|it| run(it, true)).chain(spoilt.iter().map(|it| run(it, false))).collect();
    report::write_json(&runs, &all)?;
    println!("\n{}", programme.summary(spoilt.len()));
    programme.suffices().map_err(|why| format!("no report: {why}; what there is: {}", runs.display()))?;
    let rows = rows(&clean);
    let missing = missing(&rows);
    if !missing.is_empty() {
        return Err(format!("no report: nothing was seen of {}", missing.join(", ")).into());
    }
    report::write(&options.report, &rows)?;
    print!("{}", report::table(&rows));
    println!("\nwhere our mouth_to_ear_p50 goes");
    milliseconds(&clean).iter().for_each(|(what, ms)| println!("{ms:>8.1} ms  {what}"));
    if !canary.is_realtime() {
        println!("note: no right to SCHED_FIFO here, neither for the endpoint nor for the canary");
    }
    println!("{} s; {} and {}", began.elapsed().as_secs(), options.report.display(), runs.display());
    Ok(())
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
