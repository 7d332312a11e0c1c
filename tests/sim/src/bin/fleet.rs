//! `fleet --endpoints N`: a restart of their QSS and a return of the power, and `target/sim/fleet.json`.

use serde_json::json;
use sim::fleet::{Story, power_return, restart, window};
use sim::memory::Accountant;
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Accountant = Accountant;

const REPORT: &str = "target/sim/fleet.json";

const MAX_PEAK_OVER_EVEN: f64 = 1.5;
/// Beyond the window.
const MAX_P99_S: f64 = 30.0;
const MAX_BYTES: f64 = 8_192.0;

fn main() -> ExitCode {
    let endpoints = match parse() {
        Ok(endpoints) => endpoints,
        Err(error) => {
            eprintln!("{error}\nusage: fleet [--endpoints N]");
            return ExitCode::from(2);
        }
    };
    let stories = [restart(endpoints, 1), power_return(endpoints, 2)];
    let worst = |of: fn(&Story) -> f64| stories.iter().map(of).fold(0.0, f64::max);
    let (peak, p99, bytes) = (worst(|s| s.peak_over_even), worst(|s| s.p99_back_s), worst(|s| s.bytes_per_core));
    let window_s = window().as_secs_f64();
    let told = |s: &Story| {
        json!({ "peak_over_even": s.peak_over_even, "attempts": s.attempts, "p99_back_s": s.p99_back_s,
                "all_back_s": s.all_back_s, "bytes_per_core": s.bytes_per_core.ceil() })
    };
    let report = json!({
        "endpoints": endpoints,
        "peak_over_even": peak,
        "p99_back_s": p99,
        "window_s": window_s,
        "bytes_per_core": bytes.ceil(),
        "restart": told(&stories[0]),
        "power_return": told(&stories[1]),
    });
    std::fs::create_dir_all(Path::new(REPORT).parent().expect("a directory")).expect("the directory can be made");
    std::fs::write(REPORT, format!("{report:#}\n")).expect("the report can be written");
    println!("{report:#}");
    let kept = peak <= MAX_PEAK_OVER_EVEN && p99 <= window_s + MAX_P99_S && bytes <= MAX_BYTES;
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse() -> Result<usize, lexopt::Error> {
    use lexopt::prelude::*;
    let mut endpoints = 10_000;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("endpoints") => endpoints = parser.value()?.parse::<usize>()?.max(100),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(endpoints)
}
