//! The lab mixer under real callers: what they hear, how they are refused, capped, kicked and held.
#![allow(clippy::disallowed_types)]

use lab::measure::{level, signal, tone, wire};
use lab::mixer::{CallState, Config, End, Mixer, Reception};
use lab::phone::{DialError, Phone, Plan};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(3);

fn mixer() -> Mixer {
    Mixer::start(Config::default()).expect("loopback is there")
}

fn plan(mixer: &Mixer, user: &str) -> Plan {
    Plan::to(mixer.address(), user, "88826777033")
}

/// Waits until that many samples were heard since the last look.
fn listen(phone: &Phone, samples: usize) -> Vec<i16> {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while std::time::Instant::now() < deadline {
        let heard = phone.heard();
        if heard.len() >= samples {
            return heard;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("only {} of {samples} samples were heard", phone.heard().len());
}

#[test]
fn three_in_a_room_hear_the_other_two_and_not_themselves() {
    let mixer = mixer();
    let phones: Vec<Phone> = ["a", "b", "c"].map(|user| Phone::dial(&plan(&mixer, user)).expect("answered")).into();
    let outside = Phone::dial(&Plan { room: "88800000000".into(), ..plan(&mixer, "d") }).expect("answered");
    let frequencies = [440.0, 700.0, 1100.0];
    for (phone, hz) in phones.iter().zip(frequencies) {
        phone.say(&signal::tone(hz, -15.0, 6.0));
    }
    std::thread::sleep(Duration::from_millis(600));
    phones.iter().for_each(Phone::forget);
    for (own, phone) in phones.iter().enumerate() {
        let heard = listen(phone, 144_000);
        let found = tone::tones(&heard, &frequencies);
        for (at, tone) in found.iter().enumerate() {
            if at == own {
                assert!(tone.level_dbfs < -60.0, "{own} hears itself: {tone:?}");
            } else {
                // The median: one late wake-up of a phone on a busy machine is no fault of the mixer.
                assert!(tone.median_snr_db > 25.0 && (tone.level_dbfs + 15.0).abs() < 3.0, "{own}: {tone:?}");
            }
        }
        assert!(level::silent_blocks(&heard, 960, -40.0).is_empty());
    }
    assert!(level::rms_dbfs(&outside.heard()) < -80.0, "the other room is silent");
    let calls = mixer.calls();
    assert!(calls.iter().all(|call| call.state == CallState::Confirmed && call.counters.packet_ms == 20), "{calls:?}");
}

#[test]
fn the_wire_keeps_to_maxaveragebitrate_and_to_the_packet_time_wished() {
    let mixer = mixer();
    let low = Plan { fmtp: "maxaveragebitrate=10000".into(), ptime_ms: 60, bitrate: 10_000, ..plan(&mixer, "low") };
    let low = Phone::dial(&low).expect("answered");
    assert!(low.answer.contains("maxaveragebitrate=10000") && low.answer.contains("a=ptime:60"), "{}", low.answer);
    let talker = Phone::dial(&plan(&mixer, "talker")).expect("answered");
    talker.say(&signal::speech(5.0, 1));
    let done = |calls: &[lab::mixer::CallInfo]| {
        let call = calls.iter().find(|call| call.user == "low")?;
        (call.sent.len() >= 50 && call.received.len() >= 50).then(|| (call.sent.clone(), call.received.clone()))
    };
    let (sent, received) = mixer.wait_for("fifty packets each way", Duration::from_secs(8), done).expect("traffic");
    for packets in [&sent, &received] {
        let rate = wire::wire_rate(packets);
        assert!((rate.interval_ms - 60.0).abs() < 5.0, "{rate:?}");
        assert!(rate.peak_bps < 18_000.0, "{rate:?}");
    }
}

#[test]
fn numbers_refuse_in_their_own_way() {
    let mixer = mixer();
    for (number, status) in [("busy", 486), ("reject", 403), ("12", 484), ("nowhere", 404), ("congested", 503)] {
        let result = Phone::dial(&Plan { room: number.into(), ..plan(&mixer, "a") });
        assert!(matches!(result, Err(DialError::Refused(found)) if found == status), "{number}");
    }
    mixer.reception(Reception::Refuse(480));
    std::thread::sleep(Duration::from_millis(50));
    assert!(matches!(Phone::dial(&plan(&mixer, "a")), Err(DialError::Refused(480))));
}

#[test]
fn a_challenge_must_be_answered_with_the_password() {
    let config = Config { digest: Some(("a".into(), "secret".into())), ..Config::default() };
    let mixer = Mixer::start(config).expect("loopback is there");
    assert!(matches!(Phone::dial(&plan(&mixer, "a")), Err(DialError::Refused(401))));
    let wrong = Plan { password: Some("guess".into()), ..plan(&mixer, "a") };
    assert!(matches!(Phone::dial(&wrong), Err(DialError::Refused(401))));
    let right = Plan { password: Some("secret".into()), ..plan(&mixer, "a") };
    Phone::dial(&right).expect("the password is right").hang_up();
}

#[test]
fn ringing_can_be_cancelled_and_calls_end_from_both_sides() {
    let mixer = mixer();
    let forever = Plan { room: "forever".into(), patience: Duration::from_millis(300), ..plan(&mixer, "a") };
    assert!(matches!(Phone::dial(&forever), Err(DialError::NoAnswer)));
    let ended = |end: End| {
        move |calls: &[lab::mixer::CallInfo]| calls.iter().any(|call| call.state == CallState::Ended(end)).then_some(())
    };
    mixer.wait_for("a cancelled call", SOON, ended(End::Cancelled)).expect("cancelled");
    Phone::dial(&plan(&mixer, "b")).expect("answered").hang_up();
    mixer.wait_for("a BYE", SOON, ended(End::ByPeer)).expect("hung up");
    let kicked = Phone::dial(&plan(&mixer, "c")).expect("answered");
    mixer.kick(Some("c"));
    mixer.wait_for("a kicked call", SOON, ended(End::ByMixer)).expect("kicked");
    let deadline = std::time::Instant::now() + SOON;
    while kicked.bye().is_none() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(kicked.bye().expect("a BYE").header("Reason"), Some("Q.850;cause=16"));
}

#[test]
fn hold_stops_the_stream_and_resume_brings_it_back() {
    let mixer = mixer();
    let phone = Phone::dial(&plan(&mixer, "a")).expect("answered");
    let talker = Phone::dial(&plan(&mixer, "b")).expect("answered");
    talker.say(&signal::tone(500.0, -12.0, 8.0));
    listen(&phone, 9600);
    phone.reinvite("inactive");
    let answered = |count: usize| {
        let deadline = std::time::Instant::now() + SOON;
        while phone.responses().len() < count && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        phone.responses()
    };
    assert!(answered(1)[0].body.contains("a=inactive"));
    std::thread::sleep(Duration::from_millis(100));
    phone.forget();
    std::thread::sleep(Duration::from_millis(300));
    assert!(phone.heard().is_empty());
    phone.reinvite("sendrecv");
    assert!(answered(2)[1].body.contains("a=sendrecv"));
    assert!(tone::tone(&listen(&phone, 48_000)[9600..], 500.0).snr_db > 20.0);
}
