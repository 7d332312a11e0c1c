//! Pace, allocations and system calls of every frame, and the processor's time against that of the codec alone.

use crate::{Lab, Rows, Size};
use lab::bench::gauge::Counts;
use lab::bench::inside::{Share, measure as inside, share};
use lab::bench::report::{Aim, PEER, Row};
use lab::bench::station::Kind;
use lab::measure::percentile;

pub fn measure(lab: &Lab) -> Rows {
    let ours = inside(&lab.stage, Kind::Ours, &lab.canary)?;
    println!(
        "        pace: the machine was late in {} of {} intervals",
        ours.spoilt,
        ours.spoilt + ours.intervals_ms.len()
    );
    let peer = if lab.size == Size::Quick { None } else { Some(inside(&lab.stage, Kind::Peer, &lab.canary)?) };
    let mut rows = Vec::new();
    for (name, fraction, aim) in [
        ("sending_pace_p1", 0.01, Some(Aim::Within(19.5, 20.5))),
        ("sending_pace_p99", 0.99, Some(Aim::Within(19.5, 20.5))),
        ("sending_pace_max", 1.0, Some(Aim::AtMost(25.0))),
    ] {
        let peer = peer.as_ref().and_then(|peer| percentile(&peer.intervals_ms, fraction));
        rows.push(Row::new(name, "ms", percentile(&ours.intervals_ms, fraction), peer, PEER).aim(aim));
    }
    let counted = |of: &dyn Fn(&Counts) -> u64| ours.counted.map(|(counts, frames)| of(&counts) as f64 / frames);
    rows.push(Row::alone("allocations_per_frame", "", counted(&|it| it.own)).aim(Some(Aim::AtMost(0.0))));
    rows.push(Row::alone("locks_per_frame", "", counted(&|it| it.locks)).aim(Some(Aim::AtMost(0.0))));
    rows.push(Row::alone("allocations_of_virtual_card", "per frame", counted(&|it| it.cards)));
    if let Some(calls) = &ours.calls {
        for (kind, per_frame) in calls.kinds() {
            let aim = (kind == "other").then_some(Aim::AtMost(0.0));
            rows.push(Row::alone(&format!("system_calls_{kind}"), "per frame", Some(per_frame)).aim(aim));
        }
        let of_card = calls.cards as f64 / calls.frames;
        rows.push(Row::alone("system_calls_of_virtual_card", "per frame", Some(of_card)));
        println!(
            "        system calls in {:.0} frames: {:?}, and {} of the card",
            calls.frames, calls.own, calls.cards
        );
    }

    let times = if lab.size == Size::Full { 5 } else { 2 };
    let mut shares: Vec<Share> = Vec::new();
    for _ in 0..times {
        let share = share(&lab.stage)?;
        println!(
            "        CPU {:.2} % of a core, of it the card {:.2}; libopus alone {:.2} + {:.2}: {:.2} x, {:.2} x with the card; to wake up once a frame {:.2}, a packet each way {:.2}: {:.2} x at least",
            share.process,
            share.card,
            share.encode,
            share.decode,
            share.over_libopus(),
            share.over_libopus_with_card(),
            share.wake,
            share.packets,
            share.least_over_libopus()
        );
        shares.push(share);
    }
    let median = |of: &dyn Fn(&Share) -> f64| percentile(&shares.iter().map(of).collect::<Vec<_>>(), 0.5);
    rows.push(Row::alone("cpu_over_libopus", "", median(&Share::over_libopus)).aim(Some(Aim::AtMost(1.25))));
    rows.push(Row::alone("cpu_over_libopus_with_card", "", median(&Share::over_libopus_with_card)));
    rows.push(Row::alone("cpu_over_libopus_at_least", "", median(&Share::least_over_libopus)));
    rows.push(Row::alone("cpu_of_libopus", "percent of a core", median(&|share| share.encode + share.decode)));
    rows.push(Row::alone("cpu_of_waking_once_a_frame", "percent of a core", median(&|share| share.wake)));
    rows.push(Row::alone("cpu_of_a_packet_each_way", "percent of a core", median(&|share| share.packets)));
    rows.push(Row::alone("cpu_of_virtual_card", "percent of a core", median(&|share| share.card)));
    Ok(rows)
}
