//! Minutes through the mixer with a listener whose card is too fast, and with a speaker whose card is, ours and the peer side
//! by side.

use crate::{Lab, Rows, Size};
use lab::bench::minutes::{Course, measure as minutes};
use lab::bench::report::{self, Aim, PEER, Row};
use lab::bench::station::{Kind, PAIRS, Room};
use serde_json::{Value, json};
use std::time::Duration;

/// A card that is wrong, and how long it is watched.
struct Watch {
    name: &'static str,
    /// Of the speaker's card and the listener's, ppm.
    clocks: [f64; 2],
    /// The rooms of ours and of the peer.
    rooms: [usize; 2],
}

/// A minute shows only of a clock that is very wrong that a mixer's queue grows.
const MINUTE: [Watch; 2] = [
    Watch { name: "drift_300ppm", clocks: [0.0, 300.0], rooms: [PAIRS - 1, PAIRS - 2] },
    Watch { name: "microphone_1500ppm", clocks: [1_500.0, 0.0], rooms: [PAIRS - 3, PAIRS - 4] },
];
const TEN_MINUTES: [Watch; 2] = [
    Watch { name: "drift_300ppm", clocks: [0.0, 300.0], rooms: [PAIRS - 1, PAIRS - 2] },
    Watch { name: "microphone_300ppm", clocks: [300.0, 0.0], rooms: [PAIRS - 3, PAIRS - 4] },
];

pub fn measure(lab: &Lab) -> Rows {
    let (watches, seconds) = match lab.size {
        Size::Quick | Size::Usual => (MINUTE, 60),
        Size::Full => (TEN_MINUTES, 600),
    };
    let of = |watch: &Watch, kind, at: usize| {
        let room = Room::pair(watch.rooms[at]);
        minutes(&lab.stage, kind, &room, watch.clocks, Duration::from_secs(seconds)).map_err(|error| error.to_string())
    };
    let seen = std::thread::scope(|scope| {
        let (of, both) = (&of, [(Kind::Ours, 0), (Kind::Peer, 1)]);
        let threads: Vec<_> =
            watches.iter().map(|watch| both.map(|(kind, at)| scope.spawn(move || of(watch, kind, at)))).collect();
        let died = || Err("a thread that watches has died".to_string());
        threads.into_iter().map(|both| both.map(|one| one.join().unwrap_or_else(|_| died()))).collect::<Vec<_>>()
    });
    let mut rows = Vec::new();
    let mut all = Vec::new();
    for (watch, [ours, peer]) in watches.iter().zip(seen) {
        let (ours, peer) = (ours?, peer?);
        for it in [&ours, &peer] {
            if it.spoilt {
                println!("        {} {}: the machine had its cards run dry meanwhile", watch.name, it.kind.word());
            }
            all.push(json!({
                "name": watch.name, "kind": it.kind.word(), "said": it.said, "spoilt": it.spoilt, "delays": it.delays,
                "media": it.media,
            }));
        }
        let row = |what: &str, unit, of: &dyn Fn(&Course) -> Option<f64>, aim| {
            Row::new(&format!("{}_{seconds}s_{what}", watch.name), unit, of(&ours), of(&peer), PEER).aim(aim)
        };
        rows.extend([
            row("ms", "ms", &|it| it.grown_ms().map(f64::abs), Some(Aim::AtMost(10.0))),
            row("largest_step", "ms", &Course::largest_step_ms, None),
            row("chirps_lost", "percent", &|it| Some(it.lost_percent()), Some(Aim::AtMost(0.5))),
        ]);
    }
    report::write_json(&lab.folder.join("minutes.json"), &Value::Array(all))?;
    Ok(rows)
}
