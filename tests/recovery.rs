//! Disturbances of line, mixer and card, and the way back: the delay is soon what it was before.

mod line;

use line::{LEAST_AGE, Line, Room, Talker, VoiceEar, each_seed, ms, secs, settled, shipped};
use qss_endpoint::time::Span;

/// After the disturbance, at most five seconds later, the delay is what it was, within 10 ms.
fn comes_back(name: &str, disturb: impl Fn(&mut Room)) {
    each_seed(|seed| {
        let mut room = settled(seed, Line { jitter: 2_000, ..Line::default() }, Talker::default());
        room.run(secs(10));
        let before = room.age_ms();
        disturb(&mut room);
        room.run(secs(5)).mark().run(secs(10));
        let after = room.age_ms();
        assert!((after - before).abs() <= 10.0, "{name}: {before} ms before, {after} ms after");
        assert!(room.clean() >= 0.995, "{name}: {}", room.clean());
    });
}

#[test]
fn a_freeze_of_the_line_leaves_no_delay() {
    for freeze in [60, 100, 300, 1_000, 2_000, 10_000] {
        comes_back("freeze", |room| {
            room.freeze(ms(freeze));
            room.run(ms(freeze));
        });
    }
}

#[test]
fn a_gap_of_the_line_leaves_no_delay() {
    for gap in [50, 300, 2_000] {
        comes_back("gap", |room| {
            let line = room.line.clone();
            room.line.loss = 1.0;
            room.run(ms(gap));
            room.line = line;
        });
    }
}

#[test]
fn a_stall_of_the_card_leaves_no_delay() {
    for stall in [50, 100, 400, 3_000] {
        comes_back("card", |room| {
            room.card_stalled_until = room.now + ms(stall);
            room.run(ms(stall));
        });
    }
}

#[test]
fn a_storm_of_jitter_is_forgotten() {
    comes_back("storm", |room| {
        let line = room.line.clone();
        room.line.jitter = 80_000;
        room.run(secs(10));
        room.line = line;
    });
}

#[test]
fn a_frozen_mixer_whose_timestamps_jump_leaves_no_delay() {
    for pause in [300, 3_040] {
        comes_back("mixer", |room| {
            room.talker_pauses(ms(pause));
            room.run(ms(pause));
        });
    }
}

/// As somebody does whose sound card stalls, or who was on hold elsewhere: seen in the numbers there was no pause.
#[test]
fn who_stops_and_goes_on_as_if_no_time_had_passed_is_clean_half_a_second_later() {
    for pause in [100, 160, 260, 400, 1_000, 10_000] {
        each_seed(|seed| {
            let mut room = settled(seed, Line { jitter: 2_000, ..Line::default() }, Talker::default());
            room.run(secs(10));
            let before = room.age_ms();
            room.talker_stops(ms(pause));
            room.run(ms(pause + 500)).mark().run(secs(3));
            let (after, clean) = (room.age_ms(), room.clean());
            assert!((after - before).abs() <= 10.0, "{pause}: {before} ms before, {after} ms after");
            assert!(clean >= 0.98, "{pause}: {clean}");
        });
    }
}

#[test]
fn a_mixer_that_makes_up_for_its_ticks_at_once_leaves_no_delay() {
    for stall in [60, 100, 160, 300, 1_000] {
        comes_back("mixer's burst", |room| room.mixer_stalls(ms(stall)));
    }
}

#[test]
fn what_has_passed_meanwhile_is_not_played_afterwards() {
    type Fault = fn(&mut Room);
    let faults: [(&str, Fault); 3] = [
        ("the card stood still for longer than the buffer may hold", |room| {
            room.card_stalled_until = room.now + ms(400);
            room.run(ms(400));
        }),
        ("the line stood still until all had faded out", |room| {
            room.freeze(ms(900));
            room.run(ms(900));
        }),
        ("the line stood still for less", |room| {
            room.freeze(ms(80));
            room.run(ms(80));
        }),
    ];
    for (name, fault) in faults {
        each_seed(|seed| {
            let mut room = settled(seed, Line::default(), Talker::default());
            fault(&mut room);
            room.run(ms(60)).mark().run(ms(300));
            assert!(room.age_quantile(1.0) <= LEAST_AGE + 25.0, "{name}: {}", room.age_quantile(1.0));
        });
    }
}

/// What the buffer adds, in ms, twice a second: over the second before a fault, and over the ten after it. Somebody
/// speaks all the time.
fn recovery(seed: u64, fault: impl Fn(&mut Room<VoiceEar>)) -> (f64, Vec<f64>) {
    let mut room = Room::hearing(seed, line::params(), shipped(), VoiceEar::default());
    room.line = Line { jitter: 2_000, ..Line::default() };
    room.run(secs(15));
    let delay = |room: &mut Room<VoiceEar>| {
        let mut sum = 0.0;
        for _ in 0..50 {
            room.run(ms(10));
            sum += room.stream.playout().delay(room.now).as_secs_f64() * 1_000.0;
        }
        sum / 50.0
    };
    let before = (delay(&mut room) + delay(&mut room)) / 2.0;
    fault(&mut room);
    (before, (0..20).map(|_| delay(&mut room)).collect())
}

fn card_stalls(room: &mut Room<VoiceEar>, span: Span) {
    room.card_stalled_until = room.now + span;
    room.run(span);
}

fn line_freezes(room: &mut Room<VoiceEar>, span: Span) {
    room.freeze(span);
    room.run(span);
}

fn mixer_freezes(room: &mut Room<VoiceEar>, span: Span) {
    room.talker_pauses(span);
    room.run(span);
}

fn storm(room: &mut Room<VoiceEar>) {
    let calm = std::mem::replace(&mut room.line.jitter, 80_000);
    room.run(secs(10));
    room.line.jitter = calm;
}

#[test]
fn while_somebody_speaks_the_delay_is_back_within_ten_ms_after_five_seconds() {
    type Fault = fn(&mut Room<VoiceEar>);
    let faults: [(&str, Fault); 9] = [
        ("mixer bursts after 100 ms", |room| room.mixer_stalls(ms(100))),
        ("mixer bursts after 300 ms", |room| room.mixer_stalls(ms(300))),
        ("mixer frozen for 300 ms", |room| mixer_freezes(room, ms(300))),
        ("mixer frozen for 2 s", |room| mixer_freezes(room, secs(2))),
        ("line frozen for 100 ms", |room| line_freezes(room, ms(100))),
        ("line frozen for 300 ms", |room| line_freezes(room, ms(300))),
        ("line frozen for 2 s", |room| line_freezes(room, secs(2))),
        ("card stalled for 100 ms", |room| card_stalls(room, ms(100))),
        ("10 s of jitter", storm),
    ];
    for (name, fault) in faults {
        for seed in 0..3 {
            let (before, after) = recovery(seed, fault);
            let shown: Vec<_> = after.iter().map(|ms| ms.round()).collect();
            println!("{name:26} {before:4.1} {shown:?}");
            assert!(after[10..].iter().all(|ms| ms - before <= 10.0), "{name}: {before:.1} {shown:?}");
        }
    }
}

#[test]
fn a_longer_path_is_no_jitter() {
    each_seed(|seed| {
        let mut room = settled(seed, Line { jitter: 2_000, ..Line::default() }, Talker::default());
        room.line.latency = ms(80);
        room.run(secs(10)).mark().run(secs(10));
        assert!(room.age_ms() <= 20.0 + 80.0 + 14.0, "{}", room.age_ms());
        room.line.latency = ms(5);
        room.run(secs(8)).mark().run(secs(10));
        assert!(room.age_ms() <= LEAST_AGE + 14.0, "{}", room.age_ms());
        assert!(room.clean() >= 0.999);
    });
}

#[test]
fn another_source_is_heard_at_once() {
    each_seed(|seed| {
        let mut room = settled(seed, Line::default(), Talker::default());
        room.talker.ssrc = 77;
        room.restart_numbers();
        room.run(ms(100)).mark().run(secs(5));
        assert!(room.clean() >= 0.995, "{}", room.clean());
        assert!(room.age_ms() <= LEAST_AGE + 12.0, "{}", room.age_ms());
        let stats = room.stream.stats(room.now);
        assert_eq!((stats.packets_lost, stats.burst_density, stats.gap_density), (0, 0, 0));
    });
}
