//! Ten minutes through the mixer with a listener whose card is 300 ppm too fast, ours and the peer side by side.

use crate::{Lab, Rows, Size};
use lab::bench::minutes::{Course, measure as minutes};
use lab::bench::report::{self, Aim, PEER, Row};
use lab::bench::station::{Kind, PAIRS, Room};
use serde_json::json;
use std::time::Duration;

const PPM: f64 = 300.0;

pub fn measure(lab: &Lab) -> Rows {
    let length = Duration::from_secs(if lab.size == Size::Full { 600 } else { 60 });
    let of = |kind, room: usize| minutes(&lab.stage, kind, &Room::pair(room), PPM, length).map_err(|e| e.to_string());
    let (ours, peer) = std::thread::scope(|scope| {
        let peer = scope.spawn(|| of(Kind::Peer, PAIRS - 2));
        let ours = of(Kind::Ours, PAIRS - 1);
        (ours, peer.join().unwrap_or_else(|_| Err("the peer's thread has died".into())))
    });
    let (ours, peer) = (ours?, peer?);
    let all = [&ours, &peer]
        .map(|it| json!({"kind": it.kind.word(), "said": it.said, "spoilt": it.spoilt, "delays": it.delays}));
    report::write_json(&lab.folder.join("minutes.json"), &all.into_iter().collect())?;
    for it in [&ours, &peer].into_iter().filter(|it| it.spoilt) {
        println!("        {}: the machine had its cards run dry meanwhile", it.kind.word());
    }
    let name = |what: &str| format!("drift_300ppm_{}s_{what}", length.as_secs());
    let row = |what: &str, unit, of: &dyn Fn(&Course) -> Option<f64>, aim| {
        Row::new(&name(what), unit, of(&ours), of(&peer), PEER).aim(aim)
    };
    Ok(vec![
        row("ms", "ms", &|it| it.grown_ms().map(f64::abs), Some(Aim::AtMost(10.0))),
        row("largest_step", "ms", &Course::largest_step_ms, None),
        row("chirps_lost", "percent", &|it| Some(it.lost_percent()), Some(Aim::AtMost(0.5))),
    ])
}
