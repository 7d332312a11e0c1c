//! `sim --hours H`: simulates so many device-hours, one seed after the other, and writes `target/sim/report.json`.
//! `sim --seed S`: one seed again.
#![allow(clippy::disallowed_types)] // The time that the simulation itself takes.

use serde_json::json;
use sim::memory::Accountant;
use sim::storm::{Life, live};
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: Accountant = Accountant;

/// Violations told one by one; the rest are counted.
const MAX_TOLD: usize = 20;

struct Arguments {
    hours: u64,
    /// Device-hours of one seed.
    life: u64,
    first: u64,
    only: Option<u64>,
    report: PathBuf,
}

#[derive(Default)]
struct Sum {
    total: Life,
    violations: Vec<(u64, String)>,
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\nusage: sim [--hours H] [--life H] [--first SEED] [--seed SEED] [--report FILE]");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = arguments.only {
        let life = live(seed, arguments.life);
        println!("seed {seed}: {} steps, nothing broken, {:?}", life.steps, life.faults);
        return ExitCode::SUCCESS;
    }
    let started = Instant::now();
    std::panic::set_hook(Box::new(|_| {}));
    let (next, seeds) = (AtomicU64::new(0), arguments.hours.div_ceil(arguments.life));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut sum = Sum::default();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= seeds {
                return sum;
            }
            let seed = arguments.first + n;
            match catch_unwind(|| live(seed, arguments.life)) {
                Ok(life) => sum.total = added(sum.total, &life),
                Err(panic) => sum.violations.push((seed, words(panic.as_ref()))),
            }
        }
    };
    let sums: Vec<Sum> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker catches panics")).collect()
    });
    let mut violations: Vec<_> = sums.iter().flat_map(|sum| sum.violations.clone()).collect();
    violations.sort();
    let total = sums.iter().fold(Life::default(), |total, sum| added(total, &sum.total));
    for (seed, what) in violations.iter().take(MAX_TOLD) {
        eprintln!("seed {seed}: {what}\n  again: make sim SEED={seed}");
    }
    let report = json!({
        "device_hours": total.lived.as_micros() / 3_600_000_000,
        "faults": total.faults.values().sum::<u64>(),
        "violations": violations.len(),
        "seeds": { "first": arguments.first, "count": seeds,
                   "violated": violations.iter().map(|(seed, _)| seed).collect::<Vec<_>>() },
        "events_checked": total.steps,
        "faults_by_kind": total.faults,
        "recoveries": total.recoveries,
        "recoveries_alone": total.alone,
        "worst_recovery_s": total.worst_recovery.as_secs_f64(),
        "most_bytes_of_an_agent": total.most_bytes,
        "took_s": started.elapsed().as_secs_f64(),
        "threads": threads,
    });
    write(&arguments.report, &report);
    println!("{report:#}");
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse() -> Result<Arguments, lexopt::Error> {
    use lexopt::prelude::*;
    let report = PathBuf::from("target/sim/report.json");
    let mut arguments = Arguments { hours: 10_000, life: 10, first: 1, only: None, report };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("hours") => arguments.hours = parser.value()?.parse()?,
            Long("life") => arguments.life = parser.value()?.parse::<u64>()?.max(1),
            Long("first") => arguments.first = parser.value()?.parse()?,
            Long("seed") => arguments.only = Some(parser.value()?.parse()?),
            Long("report") => arguments.report = parser.value()?.into(),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}

fn added(mut total: Life, life: &Life) -> Life {
    total.lived = total.lived + life.lived;
    total.steps += life.steps;
    total.recoveries += life.recoveries;
    total.alone += life.alone;
    total.worst_recovery = std::cmp::max(total.worst_recovery, life.worst_recovery);
    total.most_bytes = total.most_bytes.max(life.most_bytes);
    for (fault, n) in &life.faults {
        *total.faults.entry(fault).or_default() += n;
    }
    total
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

fn write(path: &std::path::Path, report: &serde_json::Value) {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).expect("the directory of the report can be made");
    }
    std::fs::write(path, format!("{report:#}\n")).expect("the report can be written");
}
