//! A call with every fault that a virtual card can make, and the figures that hold for each of them.
#![cfg(feature = "io")]

use lab::bench::card::Faults;
use lab::bench::gauge;
use lab::cards::Cards;

use lab::mixer::{self, Mixer};
use lab::process::{ConfigFile, Endpoint};
use std::path::Path;
use std::time::Duration;

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

/// libasound takes a lock in each call, if one lets it; a lock that is free costs as well.
#[test]
fn in_a_call_the_media_thread_takes_no_lock_and_allocates_nothing() {
    let mixer = Mixer::start(mixer::Config::default()).expect("the mixer starts");
    let cards = Cards::new("locks").expect("cards");
    let card = cards.card("a", "").expect("a card");
    let config = ConfigFile::lab("locks", &card).sip_uri(&format!("sip:88826777099@{}", mixer.address()));
    let table = cards.path().join("gauge");
    let gauged = gauge::environment(&table).expect("the gauge is built");
    let binary = env!("CARGO_BIN_EXE_qss-endpoint");
    let mut endpoint = Endpoint::start_with(Path::new(binary), "locks", &config, &cards, &gauged).expect("it starts");
    endpoint.wait_rung("playing", 0, Duration::from_secs(10)).expect("in the call");
    let media = gauge::thread_of(endpoint.id(), "media").expect("a media thread");
    let counts = || gauge::counts(&table, media).expect("the gauge is loaded");
    // What the call's beginning takes, and what a frame takes: fifty are enough to see one lock in each.
    std::thread::sleep(Duration::from_secs(1));
    let before = counts();
    std::thread::sleep(Duration::from_secs(1));
    let taken = counts().since(before);
    assert_eq!((taken.locks, taken.own), (0, 0), "{taken:?}");
}
