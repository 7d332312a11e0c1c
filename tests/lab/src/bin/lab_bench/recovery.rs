//! Faults, and whether the delay comes back.

use crate::{Lab, Rows, Size};
use lab::bench::codec::batches;
use lab::bench::recovery::{AFTER_MS, FAULTS, Fault, PARTY, Recovery, measure as faults};
use lab::bench::report::{self, Aim, PEER, Row};
use lab::bench::station::Kind;
use lab::measure::percentile;
use serde_json::json;

/// Most that it may take until the delay is what it was.
const BACK_MS: f64 = 5_000.0;

/// Runs of a fault before the machine is held to be too slow to judge.
const TRIES: usize = 3;

pub fn measure(lab: &Lab) -> Rows {
    let (times, kinds) = match lab.size {
        Size::Quick => (1, [Kind::Ours].as_slice()),
        Size::Usual => (1, [Kind::Ours, Kind::Peer].as_slice()),
        Size::Full => (3, [Kind::Ours, Kind::Peer].as_slice()),
    };
    let mut seen: Vec<Recovery> = Vec::new();
    for _ in 0..times {
        for kind in kinds {
            // What the machine spoilt is made again.
            let mut wanted = FAULTS.to_vec();
            for _ in 0..TRIES {
                for batch in batches(&wanted, lab.carries, |_| PARTY) {
                    seen.extend(faults(&lab.stage, *kind, &batch)?.into_iter().inspect(tell));
                }
                let done = |fault: &Fault| seen.iter().any(|it| it.fault == *fault && it.kind == *kind && !it.spoilt);
                wanted.retain(|fault| !done(fault));
                if wanted.is_empty() || lab.size == Size::Quick {
                    break;
                }
            }
        }
    }
    let all = seen.iter().map(|it| {
        json!({"fault": it.fault.name, "kind": it.kind.word(), "start_ms": it.start_ms, "left_ms": it.left_ms,
            "back_ms": it.back_ms, "spoilt": it.spoilt, "course": it.course})
    });
    report::write_json(&lab.folder.join("recovery.json"), &all.collect())?;
    let mut rows = Vec::new();
    for fault in FAULTS {
        let median = |kind, of: fn(&Recovery) -> Option<f64>| {
            let those = seen.iter().filter(|it| it.fault == fault && it.kind == kind && !it.spoilt);
            percentile(&those.filter_map(of).collect::<Vec<_>>(), 0.5)
        };
        // Not back as long as it was watched counts as that long.
        let back = |kind| median(kind, |it| it.start_ms.map(|_| it.back_ms.unwrap_or(AFTER_MS)));
        let left = |kind| median(kind, |it| it.left_ms.map(|ms| ms.max(0.0)));
        let row = |name: String, of: &dyn Fn(Kind) -> Option<f64>, most| {
            Row::new(&name, "ms", of(Kind::Ours), of(Kind::Peer), PEER).aim(Some(Aim::AtMost(most)))
        };
        rows.push(row(format!("recovery_{}", fault.name), &back, BACK_MS));
        rows.push(row(format!("delay_left_{}", fault.name), &left, lab::bench::recovery::CLOSE_MS));
    }
    Ok(rows)
}

fn tell(it: &Recovery) {
    let words = |ms: Option<f64>| ms.map_or("-".into(), |ms| format!("{ms:.1}"));
    println!(
        "        {:<8}{:<22} from {:>6} ms, back after {:>7} ms, at last {:>6} ms off{}",
        it.kind.word(),
        it.fault.name,
        words(it.start_ms),
        words(it.back_ms),
        words(it.left_ms),
        if it.spoilt { "  (spoilt)" } else { "" }
    );
}
