//! A QSS gone mad: huge frames, broken text, deep nesting, ten thousand frames of nonsense. The call goes on, the session
//! survives or comes back, memory and log stay as they were.
#![cfg(feature = "io")]
#![allow(clippy::disallowed_types)]

mod stage;

use lab::process::Endpoint;
use stage::{PATIENCE, Stage};

const ROOM: &str = "2f11c52047f244f78e1deac1839fbd45d008d20f6eabcf2e17ede0b5d3d520e9";
const NUMBER: &str = "88826777033";
/// What one story of garbage may add to the log.
const LINES: usize = 40;

fn playing(name: &str) -> (Stage, Endpoint) {
    let stage = Stage::new(name, &[(ROOM, NUMBER, 64)]);
    let card = stage.card("a");
    let config = stage.config("a", &card).room(ROOM);
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    (stage, endpoint)
}

/// A request that nobody knows is refused: everything before it has been read.
fn answers(stage: &Stage, id: &str) {
    let question = serde_json::json!({"request": "whiteboard", "requestID": id, "payload": {}});
    assert_eq!(stage.qss.send("a", &question), 1, "there is a session");
    let reply =
        |log: lab::qss::Log<'_>| log.got().find(|(_, frame)| frame["requestID"] == id).map(|(_, frame)| frame.clone());
    assert_eq!(stage.qss.wait_for("a reply", PATIENCE, reply).unwrap()["error"], 501);
}

#[test]
fn ten_thousand_frames_of_nonsense_cost_neither_memory_nor_log_nor_call() {
    let (stage, endpoint) = playing("nonsense");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = format!("\"{}\"", "x".repeat(200_000));
    let unknown = r#"{"type":"event","payload":{"eventName":"weather","payload":{"sun":true}}}"#;
    let flood = |from: usize, to: usize| {
        for i in from..to {
            let text = match i % 500 {
                0 => &deep,
                1 => &long,
                n => [unknown, "", "nonsense", "{}", "[1]", r#"{"request":7}"#][n % 6],
            };
            stage.qss.send_text("a", text);
        }
        answers(&stage, &format!("after-{to}"));
    };
    flood(0, 2_000);
    let (before, lines) = (endpoint.usage().private_kib, endpoint.mark());
    flood(2_000, 12_000);
    let grown = endpoint.usage().private_kib.saturating_sub(before);
    assert!(grown < 1_024, "{grown} KiB more");
    let said = endpoint.mark() - lines;
    assert!(said < LINES, "{said} lines for 10,000 frames");
    let last = endpoint.lines().last().and_then(|line| line.rung().map(String::from));
    assert_eq!(last.as_deref(), Some("playing"));
    assert_eq!(stage.mixer.calls().len(), 1, "one call from the beginning to the end");
}

#[test]
fn a_frame_of_a_mebibyte_or_of_broken_text_ends_the_link_and_no_more() {
    let (stage, mut endpoint) = playing("broken");
    let more_than_allowed = vec![b'x'; (1 << 20) + 1];
    for bytes in [&more_than_allowed[..], b"{\"request\":\"\xff\xfe\"}"] {
        let (mark, lines) = (stage.qss.mark(), endpoint.mark());
        assert_eq!(stage.qss.send_text_bytes("a", bytes), 1, "there is a session");
        stage.qss.wait_request("register", mark, PATIENCE).expect("it comes back");
        let said = |said: &[lab::process::Line]| {
            said[lines..].iter().any(|line| line.event["cause"]["code"] == "qss_protocol_error").then_some(())
        };
        endpoint.wait_for("the reason", PATIENCE, said).unwrap();
        stage.qss.wait_request("joinRoom", mark, PATIENCE).expect("the membership is proven again");
        answers(&stage, &format!("after-{}", bytes.len()));
        assert!(endpoint.mark() - lines < LINES);
    }
    assert_eq!(stage.mixer.calls().len(), 1, "one call from the beginning to the end");
}
