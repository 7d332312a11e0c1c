//! A day of virtual time with clocks that run apart: the test `a_day_of_drift` of `tests/voice.rs`, whose figures become
//! rows. It asks for processor time only when nothing else does.

use crate::{Lab, Rows};
use lab::bench::report::{Aim, Row};
use lab::cards::workspace;
use serde_json::Value;
use std::process::{Command, Stdio};

/// What every run of the tests lives through is six minutes; this is the whole day.
const DAY: [&str; 2] = ["a_day_of_drift_leaves_the_delay_where_it_was", "--ignored"];
/// Of a peak of 10,000: what the test allows.
const CLICK: f64 = 50.0;

pub fn measure(lab: &Lab) -> Rows {
    let file = std::path::absolute(lab.folder.join("day.jsonl"))?;
    let _ = std::fs::remove_file(&file);
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--locked", "--quiet", "--profile", "simulation", "--test", "voice", "--"]);
    command.args(DAY).current_dir(workspace()).env("DRIFT_REPORT", &file).stdin(Stdio::null());
    let output = command.output()?;
    let told = std::fs::read_to_string(&file).unwrap_or_default();
    let runs: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if !output.status.success() || runs.is_empty() {
        return Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into());
    }
    let number = |run: &Value, name: &str| run[name].as_f64().unwrap_or(f64::NAN);
    let hours = number(&runs[0], "hours");
    let mut rows = Vec::new();
    // How far the two clocks are apart, whichever of them is wrong.
    for ppm in [0.0, 300.0, 1_500.0] {
        let those = || runs.iter().filter(|run| (number(run, "talker_ppm") - number(run, "card_ppm")).abs() == ppm);
        let most = |of: &dyn Fn(&Value) -> f64| those().map(of).reduce(f64::max);
        let mut row = |what: &str, unit, value, aim| {
            rows.push(Row::alone(&format!("drift_{ppm}ppm_{hours}h_{what}"), unit, value).aim(Some(Aim::AtMost(aim))));
        };
        row("ms", "ms", most(&|run| (number(run, "last_ms") - number(run, "first_ms")).abs()), 10.0);
        row("click", "of 10,000", most(&|run| number(run, "click")), CLICK);
        row("lost", "samples", most(&|run| number(run, "lost_samples")), 0.0);
    }
    Ok(rows)
}
