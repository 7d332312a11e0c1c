//! The whole program against a QSS that is silent, rude, overloaded or strict; and the commands that ask it about others.
#![cfg(feature = "io")]
#![allow(clippy::disallowed_types)]

mod stage;

use lab::process::{ConfigFile, Endpoint};
use lab::qss::{Authority, CertificateKind, Config, Desk, Door, Shape, What};
use serde_json::{Value, json};
use stage::{PATIENCE, Stage};
use std::path::PathBuf;
use std::process::Command;

const ROOM: &str = "2f11c52047f244f78e1deac1839fbd45d008d20f6eabcf2e17ede0b5d3d520e9";
const NUMBER: &str = "88826777033";

/// A device that wants a session, and nothing else.
fn device(stage: &Stage, name: &str) -> ConfigFile {
    let card = stage.card(name);
    let mut config = stage.config(name, &card);
    config.set_raw("qss", "reconnect_min_ms", "50").set_raw("qss", "reconnect_max_ms", "400");
    config
}

/// The first event from `mark` on with this cause.
fn wait_cause(endpoint: &mut Endpoint, code: &str, mark: usize) -> Value {
    let found = endpoint.wait_for(code, PATIENCE, |lines| {
        lines.iter().skip(mark).find(|line| line.event["cause"]["code"] == code).map(|line| line.event.clone())
    });
    found.unwrap()
}

/// A session came to stand after `mark`.
fn wait_session(endpoint: &mut Endpoint, mark: usize) {
    let stands = endpoint.wait_for("a session", PATIENCE, |lines| {
        let proven = |event: &Value| event["proven"].as_array().is_some_and(|all| all.contains(&json!("session")));
        lines.iter().skip(mark).any(|line| line.event["event"] == "ladder" && proven(&line.event)).then_some(())
    });
    stands.unwrap();
}

// --- the link --------------------------------------------------------------------------------------------------------------

#[test]
fn a_black_hole_is_noticed_by_pings_and_costs_no_audio() {
    let stage = Stage::new("hole", &[(ROOM, NUMBER, 64)]);
    let mut config = device(&stage, "a").room(ROOM);
    config.set_raw("qss", "ping_interval_ms", "300").set_raw("qss", "ping_misses", "2");
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    let mark = endpoint.mark();
    stage.qss.desk(Desk::Deaf);
    wait_cause(&mut endpoint, "qss_silent", mark);
    stage.qss.desk(Desk::Answer);
    let mark = endpoint.mark();
    wait_session(&mut endpoint, mark);
    let rungs =
        endpoint.lines().iter().skip(mark).filter_map(|line| line.rung().map(str::to_owned)).collect::<Vec<_>>();
    assert!(rungs.iter().all(|rung| rung == "playing"), "{rungs:?}");
}

#[test]
fn a_qss_that_accepts_and_drops_at_once_is_not_stormed() {
    let stage = Stage::new("flapping", &[]);
    stage.qss.door(Door::CloseAfterUpgrade { code: 1013 });
    let mut endpoint = stage.start("a", &device(&stage, "a"));
    let refused = wait_cause(&mut endpoint, "qss_overloaded", 0);
    assert_eq!(refused["cause"]["status"], 1013);
    let opened = || stage.qss.log().iter().filter(|entry| matches!(entry.what, What::Opened { .. })).count();
    let waited = stage.qss.wait_for("ten attempts", PATIENCE, |log| {
        let times: Vec<_> =
            log.entries.iter().filter(|e| matches!(e.what, What::Opened { .. })).map(|e| e.at_us).collect();
        (times.len() >= 10).then(|| times[9] - times[0])
    });
    // Windows of 50, 100, 200, and then 400 ms: with every attempt at once it would be some milliseconds.
    assert!(waited.unwrap() > 300_000, "{opened} attempts came in a storm", opened = opened());
    stage.qss.door(Door::Open);
    wait_session(&mut endpoint, 0);
}

#[test]
fn each_refusal_of_the_upgrade_is_told_and_retry_after_is_obeyed() {
    for (status, code) in [(401, "qss_unauthorized"), (403, "qss_unauthorized"), (429, "qss_overloaded")] {
        let stage = Stage::new("refused", &[]);
        stage.qss.door(Door::Refuse { status, retry_after: None });
        let mut endpoint = stage.start("a", &device(&stage, "a"));
        let refused = wait_cause(&mut endpoint, code, 0);
        assert_eq!(refused["cause"]["status"], status);
        stage.qss.door(Door::Open);
        wait_session(&mut endpoint, 0);
    }
    let stage = Stage::new("later", &[]);
    stage.qss.door(Door::Refuse { status: 503, retry_after: Some(2) });
    let mut endpoint = stage.start("a", &device(&stage, "a"));
    let refused = wait_cause(&mut endpoint, "qss_overloaded", 0);
    let pause = refused["retry_in_ms"].as_u64().expect("it is tried again");
    assert!(pause >= 2_000, "{refused}");
    stage.qss.door(Door::Open);
    wait_session(&mut endpoint, 0);
    let log = stage.qss.log();
    let turned = log.iter().find(|e| matches!(e.what, What::TurnedAway { .. })).expect("it was turned away").at_us;
    let opened = log.iter().find(|e| matches!(e.what, What::Opened { .. })).expect("it was let in").at_us;
    assert!(opened - turned >= 2_000_000, "{} us", opened - turned);
}

#[test]
fn a_revoked_session_is_told_and_comes_back_when_it_may() {
    let stage = Stage::new("revoked", &[]);
    let mut endpoint = stage.start("a", &device(&stage, "a"));
    wait_session(&mut endpoint, 0);
    let mark = endpoint.mark();
    stage.qss.revoke("a");
    let revoked = wait_cause(&mut endpoint, "qss_revoked", mark);
    assert_eq!(revoked["cause"]["status"], 1008);
    wait_cause(&mut endpoint, "qss_unauthorized", mark);
    stage.qss.reinstate("a");
    let mark = endpoint.mark();
    wait_session(&mut endpoint, mark);
}

#[test]
fn an_alert_under_tls_1_3_and_a_wrong_clock_have_their_names() {
    let authority = Authority::new();
    let strict = authority.server_for_clients(&[&rustls::version::TLS13]);
    let expired = authority.server(CertificateKind::Expired);
    for (tls, code, word) in [(strict, "tls_client_certificate", "ertificate"), (expired, "tls_clock", "clock")] {
        let stage =
            Stage::with("alert", &[], lab::mixer::Config::default(), Config { tls: Some(tls), ..Config::default() });
        let ca = stage.cards.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).unwrap();
        let mut config = device(&stage, "a");
        config.set("qss", "ca_file", &ca.to_string_lossy());
        let mut endpoint = stage.start("a", &config);
        let refused = wait_cause(&mut endpoint, code, 0);
        assert!(refused["cause"].to_string().contains(word), "{refused}");
    }
}

// --- commands --------------------------------------------------------------------------------------------------------------

/// A device that is spoken to.
fn spoken(stage: &Stage, name: &str, change: impl FnOnce(&mut ConfigFile)) -> (Endpoint, PathBuf) {
    let socket = stage.cards.path().join(format!("{name}.sock"));
    let mut config = device(stage, name);
    config.set("status", "socket", &socket.to_string_lossy());
    change(&mut config);
    (stage.start(name, &config), socket)
}

/// Exit code of `ctl --wait`, and what it printed.
fn ctl(socket: &PathBuf, words: &[&str]) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_qss-endpoint");
    let output =
        Command::new(program).arg("ctl").arg("--socket").arg(socket).args(["--wait", "20"]).args(words).output();
    let output = output.expect("the program starts");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn others_are_added_muted_asked_and_removed_and_a_hold_is_told() {
    let stage = Stage::new("others", &[(ROOM, NUMBER, 64)]);
    let (mut a, to_a) = spoken(&stage, "a", |config| {
        config.set("qss.names", "hold", "hold").set("qss.names", "unhold", "unhold");
        *config = std::mem::take(config).room(ROOM);
    });
    let (mut b, to_b) = spoken(&stage, "b", |config| {
        config.set_raw("invites", "requests", "[\"*\"]");
    });
    a.wait_rung("playing", 0, PATIENCE).unwrap();
    wait_session(&mut b, 0);
    assert_eq!(ctl(&to_a, &["add", "b"]).0, 0);
    let (code, said) = ctl(&to_b, &["join", ROOM]);
    assert_eq!(code, 0, "{said}");
    b.wait_rung("playing", 0, PATIENCE).unwrap();
    assert_eq!(ctl(&to_a, &["mute", "b"]).0, 0);
    let muted = b.wait_for("the mute", PATIENCE, |lines| {
        lines.iter().find(|line| line.event["event"] == "mute").map(|line| line.event["by"].clone())
    });
    assert_eq!(muted.unwrap(), "remote");
    let (code, said) = ctl(&to_a, &["mute", "nobody"]);
    assert!(code == 1 && said.contains("request_refused"), "{said}");
    let mark = stage.qss.mark();
    assert_eq!(ctl(&to_a, &["hold", "on"]).0, 0);
    stage.qss.wait_request("hold", mark, PATIENCE).unwrap();
    let mark_of_a = a.mark();
    assert_eq!(ctl(&to_a, &["hold", "off"]).0, 0);
    stage.qss.wait_request("unhold", mark, PATIENCE).unwrap();
    a.wait_rung("playing", mark_of_a, PATIENCE).unwrap();
    let mark = b.mark();
    assert_eq!(ctl(&to_a, &["remove", "b"]).0, 0);
    wait_cause(&mut b, "room_expelled", mark);
    // Who asks for it is invited into a room that the other makes.
    let (code, said) = ctl(&to_a, &["request", "b"]);
    assert_eq!(code, 0, "{said}");
    let plays_in = |line: &&lab::process::Line, in_it: &dyn Fn(&Value) -> bool| {
        line.event["event"] == "ladder" && line.rung() == Some("playing") && in_it(&line.event["room"]["id"])
    };
    let made = b.wait_for("a room that it makes", PATIENCE, |lines| {
        let line = lines.iter().find(|line| plays_in(line, &|room| room != ROOM))?;
        Some(line.event["room"]["id"].clone())
    });
    let made = made.unwrap();
    let followed = a.wait_for("the same room", PATIENCE, |lines| {
        lines.iter().any(|line| plays_in(&line, &|room| *room == made)).then_some(())
    });
    followed.unwrap();
    stage.qss.wait_request("invite", 0, PATIENCE).unwrap();
    let answered = b.wait_for("the answer", PATIENCE, |lines| {
        lines.iter().any(|line| line.event["event"] == "call" && line.event["step"] == "answered").then_some(())
    });
    answered.unwrap();
}

/// The opposite of everything that the pages leave open: rooms by their ids, fields beside `answer`, requests for events,
/// lists for news, codes under `payload`, and the page's slips.
#[test]
fn a_qss_that_spells_everything_otherwise_is_understood_as_well() {
    let qss = Config { shape: Shape::other(), ..Config::default() };
    let stage = Stage::with("spellings", &[(ROOM, NUMBER, 64)], lab::mixer::Config::default(), qss);
    let (mut a, to_a) = spoken(&stage, "a", |config| *config = std::mem::take(config).room(ROOM));
    let (mut b, _) = spoken(&stage, "b", |config| {
        config.set_raw("invites", "accept", "[\"a\"]");
    });
    let tells = |device: &mut Endpoint, kind: &str, mark: usize| {
        let told = device.wait_for(kind, PATIENCE, |lines| {
            lines.iter().skip(mark).find(|line| line.event["event"] == kind).map(|line| line.event.clone())
        });
        told.unwrap()
    };
    a.wait_rung("playing", 0, PATIENCE).unwrap();
    wait_session(&mut b, 0);
    let (code, said) = ctl(&to_a, &["invite", "b"]);
    assert_eq!(code, 0, "{said}");
    b.wait_rung("playing", 0, PATIENCE).unwrap();
    assert_eq!(tells(&mut a, "participantAdded", 0)["userId"], "b");
    stage.qss.active_speaker(ROOM, Some("b"));
    assert_eq!(tells(&mut a, "activeSpeaker", 0)["userId"], "b");
    let mark = a.mark();
    stage.qss.ask_for_snapshot("a");
    tells(&mut a, "snapshot", mark);
    let (code, said) = ctl(&to_a, &["mute", "nobody"]);
    assert!(code == 1 && said.contains("\"status\":404"), "{said}");
    let mark = b.mark();
    stage.qss.expel(ROOM, "b");
    wait_cause(&mut b, "room_expelled", mark);
    let mark = a.mark();
    stage.qss.destroy_room(ROOM);
    wait_cause(&mut a, "room_destroyed", mark);
}
