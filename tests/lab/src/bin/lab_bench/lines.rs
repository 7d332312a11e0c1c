//! Bad lines: rounds of the [`sweep`](lab::bench::sweep), by turns of the kinds, each with the same seeds.

use crate::{Lab, Rows, Size};
use lab::bench::codec::batches;
use lab::bench::report;
use lab::bench::scores::{outcomes, plot, rows, table};
use lab::bench::station::Kind;
use lab::bench::sweep::{Heard, Line, lines, round};
use lab::cards::workspace;
use lab::measure::RATE;
use lab::measure::quality::passages;
use serde_json::json;

/// What stands above the table.
const HEAD: &str = "\
# Bad lines

Scores (PESQ-WB) and delay of the endpoint and of baresip 1.0 through the same room of a real Asterisk; ± is a standard error. What the
lines are, how it is measured, and where \"at least\" comes from: [bench.md](bench.md#bad-lines). Written by `make bench-full`.

![The same as a plot](lines.svg)

";
/// Spoken before what is rated.
const WARM: usize = 8 * RATE as usize;

pub fn measure(lab: &Lab) -> Rows {
    let passages = passages().ok_or("there is no espeak-ng: tests/lab/setup/packages.sh bench")?;
    let lines = lines();
    let (rounds, kinds) = match lab.size {
        Size::Quick => (1, [Kind::Ours].as_slice()),
        Size::Usual => (1, [Kind::Ours, Kind::Peer].as_slice()),
        Size::Full => (4, [Kind::Ours, Kind::Peer, Kind::PeerAsShipped].as_slice()),
    };
    let mut heard: Vec<Heard> = Vec::new();
    for seed in 1..=rounds {
        for kind in kinds {
            // One of them is the speaker that all listen to.
            for lines in batches(&lines, lab.carries - 1, Line::stations) {
                let more = round(&lab.stage, *kind, &lines, &passages, WARM, seed)?;
                let spoilt: usize = more.iter().map(|heard| heard.spoilt).sum();
                println!(
                    "        round {seed}, {}: {} lines, {spoilt} passages spoilt by xruns",
                    kind.word(),
                    more.len()
                );
                heard.extend(more);
            }
        }
    }
    let all = heard.iter().map(|heard| {
        json!({"line": heard.line, "kind": heard.kind.word(), "scores": heard.scores, "delay_ms": heard.delay_ms,
            "spoilt": heard.spoilt, "media": heard.media})
    });
    report::write_json(&lab.folder.join("lines.json"), &all.collect())?;
    let outcomes = outcomes(&lines, &heard);
    let folder = if lab.size == Size::Full { workspace().join("docs") } else { lab.folder.clone() };
    std::fs::write(folder.join("lines.svg"), plot(&outcomes))?;
    std::fs::write(folder.join("lines.md"), format!("{HEAD}{}", table(&outcomes)))?;
    println!("\n{}", table(&outcomes));
    Ok(rows(&outcomes))
}
