//! A call with every fault that a virtual card can make, and the figures that hold for each of them.
#![cfg(feature = "io")]

use lab::bench::card::Faults;
use std::path::Path;

/// Runs before the machine is held to be too slow to judge.
const TRIES: usize = 3;

/// What the call costs without a card, as a share of what it costs with it.
const MOST_CPU_RATIO: f64 = 0.6;

/// What is wrong with a run; nothing, if all is well.
fn complaints(faults: &Faults) -> Vec<String> {
    let mut list = Vec::new();
    for it in &faults.outcomes {
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                list.push(format!("{}: {what}: {it:?}", it.fault));
            }
        };
        expect(it.return_ms <= 1_000.0, "back within a second of its return");
        expect(it.longest_gap_ms < 450.0, "packets go on");
        expect(it.timestamps_off_ms < 60.0 && it.jumps == 0, "their numbers are continuous");
        let short = it.cpu_percent.is_none();
        // A loose plug's return is told after ever longer proof: perhaps not within the time of this fault.
        expect(it.lost.len() <= 1 && it.returned <= 1, "told once");
        expect(!short || it.lost.is_empty(), "a card that goes on is not lost");
    }
    if faults.cpu_ratio().is_none_or(|ratio| ratio > MOST_CPU_RATIO) {
        list.push(format!("the call costs nearly as much without a card: {:?}", faults.cpu_ratio()));
    }
    if faults.calls != 1 {
        list.push(format!("{} calls: it did not survive", faults.calls));
    }
    if faults.lines_per_minute > 60.0 {
        list.push(format!("{} lines a minute", faults.lines_per_minute));
    }
    list
}

#[test]
fn the_call_survives_every_fault_of_the_card_and_sound_is_back_within_a_second() {
    let mut wrong = Vec::new();
    for _ in 0..TRIES {
        let endpoint = std::env::var_os("QSS_ENDPOINT").unwrap_or_else(|| env!("CARGO_BIN_EXE_qss-endpoint").into());
        let faults = Faults::play(Path::new(&endpoint)).expect("the lab works");
        for it in &faults.outcomes {
            let cpu = it.cpu_percent.map_or(String::new(), |(without, with)| {
                format!(", {without:.2} % CPU without the card, {with:.2} % with it")
            });
            println!("{}: back after {:.0} ms, {:?}{cpu}", it.fault, it.return_ms, it.lost);
        }
        println!("{:.0} lines a minute", faults.lines_per_minute);
        assert_eq!(faults.outcomes.len(), 8);
        wrong = complaints(&faults);
        if wrong.is_empty() {
            return;
        }
        println!("{wrong:#?}");
    }
    panic!("{wrong:#?}");
}
