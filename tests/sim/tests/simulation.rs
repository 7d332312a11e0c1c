//! A little of `make sim` and `make fleet`: seeds that failed once, and a fixed few.

use sim::fleet::{power_return, restart, window};
use sim::memory::Accountant;
use sim::storm::live;

#[global_allocator]
static ALLOCATOR: Accountant = Accountant;

#[test]
fn seeds_that_failed_once_pass() {
    for line in include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#')) {
        let seed = line.split_whitespace().next().expect("a seed").parse().expect("a number");
        live(seed, 10);
    }
}

#[test]
fn some_lives_in_trouble_and_calm() {
    let lives: Vec<_> = (1..=48).map(|seed| live(seed, 2)).collect();
    assert!(lives.iter().all(|life| life.most_bytes > 1_000), "somebody counts the bytes");
    let mut kinds: Vec<_> = lives.iter().flat_map(|life| life.faults.keys()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert!(kinds.len() > 25, "{kinds:?}");
    let (all, alone) = lives.iter().fold((0, 0), |sum, life| (sum.0 + life.recoveries, sum.1 + life.alone));
    assert!(alone * 2 > all, "nobody helped in {alone} of {all} recoveries");
}

#[test]
fn a_fleet_comes_back_evenly_and_soon() {
    for story in [restart(2_000, 1), power_return(2_000, 2)] {
        assert!(story.peak_over_even <= 1.5, "{story:?}");
        assert!(story.p99_back_s <= window().as_secs_f64() + 30.0, "{story:?}");
        assert!(story.bytes_per_core <= 8_192.0, "{story:?}");
    }
}
