//! The relay between a phone and the lab mixer: it is not noticed, it counts, and its harm is felt.
#![allow(clippy::disallowed_types)]

use lab::measure::{signal, tone, wire};
use lab::mixer::{Config, Mixer};
use lab::phone::{Phone, Plan};
use lab::wire::{Harm, Relay, Weather};
use std::time::Duration;

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !until() {
        assert!(std::time::Instant::now() < deadline, "no {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_call_through_the_relay_sounds_the_same_and_is_counted() {
    let mixer = Mixer::start(Config::default()).expect("loopback");
    let relay = Relay::start(mixer.address(), 1).expect("loopback");
    let near = Phone::dial(&Plan::to(relay.address(), "near", "8881234567")).expect("answered");
    let other = Phone::dial(&Plan::to(mixer.address(), "other", "8881234567")).expect("answered");
    near.say(&signal::tone(600.0, -12.0, 4.0));
    other.say(&signal::tone(900.0, -12.0, 4.0));
    wait("sound", || near.heard().len() > 96_000 && other.heard().len() > 96_000);
    assert!(tone::tone(&near.heard()[48_000..96_000], 900.0).snr_db > 25.0);
    assert!(tone::tone(&other.heard()[48_000..96_000], 600.0).snr_db > 25.0);
    let call = relay.calls().remove(0);
    let rate = wire::wire_rate(&call.up.packets());
    assert!(rate.packets > 90 && (rate.interval_ms - 20.0).abs() < 2.0, "{rate:?}");
    assert!(call.down.rtp.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
    mixer.kick(Some("near"));
    wait("BYE", || near.bye().is_some());
}

#[test]
fn loss_and_black_holes_are_felt_on_the_other_side_only() {
    let mixer = Mixer::start(Config::default()).expect("loopback");
    let relay = Relay::start(mixer.address(), 2).expect("loopback");
    let weather = Weather { up: Harm { loss: 0.2, ..Harm::default() }, ..Weather::default() };
    relay.weather(weather);
    let near = Phone::dial(&Plan::to(relay.address(), "near", "8881234567")).expect("answered");
    near.say(&signal::tone(600.0, -12.0, 10.0));
    let lost = |calls: &[lab::mixer::CallInfo]| {
        let counters = calls.first()?.counters;
        (counters.packets + counters.lost > 150).then_some(counters)
    };
    let counters = mixer.wait_for("150 packets", Duration::from_secs(10), lost).expect("traffic");
    let share = counters.lost as f64 / (counters.packets + counters.lost) as f64;
    assert!((0.1..0.3).contains(&share), "{counters:?}");
    let before = near.heard().len();
    assert!(before > 0);
    relay.weather(Weather { down: Harm { black_hole: true, ..Harm::default() }, ..Weather::default() });
    std::thread::sleep(Duration::from_millis(100));
    near.forget();
    std::thread::sleep(Duration::from_millis(300));
    assert!(near.heard().is_empty());
}

#[test]
fn delay_and_duplicates_arrive_as_ordered() {
    let mixer = Mixer::start(Config::default()).expect("loopback");
    let relay = Relay::start(mixer.address(), 3).expect("loopback");
    let up = Harm { duplicate: 1.0, delay_ms: 50.0, ..Harm::default() };
    relay.weather(Weather { up, ..Weather::default() });
    let _near = Phone::dial(&Plan::to(relay.address(), "near", "8881234567")).expect("answered");
    let doubled = |calls: &[lab::mixer::CallInfo]| {
        let call = calls.first()?;
        (call.counters.late >= 50).then_some(call.counters)
    };
    let counters = mixer.wait_for("50 duplicates", Duration::from_secs(10), doubled).expect("traffic");
    assert!(counters.lost == 0 && counters.packets.abs_diff(2 * counters.late) <= 2, "{counters:?}");
    let (sent, received) = (relay.calls()[0].up.rtp[0].packet.at_us, mixer.calls()[0].received[0].at_us);
    assert!((48_000..70_000).contains(&(received - sent)), "{} us", received - sent);
}
