//! Visits: the kinds take turns, so that what the machine does meanwhile hits all of them. A visit that a stall of the
//! machine spoilt counts for nothing and is made again, as long as there is time; with too few clean ones there are no
//! rows. Every visit ends up in `runs.json`.

use crate::{Lab, Rows, Size};
use lab::bench::figures::{FIGURES, milliseconds, missing, rows};
use lab::bench::programme::{Programme, Turn};
use lab::bench::report::{self, Row};
use lab::bench::visit::Visit;
use serde_json::json;
use std::time::{Duration, Instant};

/// No visit begins later than this.
const TIME: Duration = Duration::from_secs(270);
const TIME_FULL: Duration = Duration::from_secs(540);

pub fn measure(lab: &Lab) -> Rows {
    let began = Instant::now();
    let (mut programme, time) = match lab.size {
        Size::Quick => (Programme::quick(), TIME),
        Size::Usual => (Programme::usual(), TIME),
        Size::Full => (Programme::full(), TIME_FULL),
    };
    let (mut clean, mut spoilt) = (Vec::new(), Vec::new());
    while began.elapsed() < time
        && let Some(Turn { number, kind, script }) = programme.next()
    {
        match Visit::make(&lab.stage, &lab.canary, kind, script, number) {
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

    let runs = lab.folder.join("runs.json");
    let all: serde_json::Value =
        clean.iter().map(|it| run(it, true)).chain(spoilt.iter().map(|it| run(it, false))).collect();
    report::write_json(&runs, &all)?;
    println!("\n{}", programme.summary(spoilt.len()));
    programme.suffices().map_err(|why| format!("{why}; what there is: {}", runs.display()))?;
    let mut rows = rows(&clean);
    let missing = missing(&rows);
    if !missing.is_empty() {
        return Err(format!("nothing was seen of {}", missing.join(", ")).into());
    }
    println!("\nwhere our mouth_to_ear_p50 goes");
    for (name, what, ms) in milliseconds(&clean) {
        println!("{ms:>8.1} ms  {what}");
        rows.push(Row::alone(&format!("delay_of_{name}"), "ms", Some(ms)));
    }
    Ok(rows)
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
