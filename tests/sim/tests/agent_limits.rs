//! Bad input, floods, and the local socket: answered, counted, bounded.

use qss_endpoint::agent::{Input, LinkErrorKind};
use qss_endpoint::config::{Room, RoomTarget};
use qss_endpoint::sip::transport::Flow;
use qss_endpoint::time::Span;
use serde_json::{Value, json};
use sim::{World, config};

#[test]
fn unknown_requests_are_refused_with_501_and_unknown_events_counted() {
    let mut w = World::playing(1, config());
    w.qss_says(r#"{"request":"openDoor","requestID":"T1","payload":{}}"#);
    let reply = w.qss.replies_to("T1")[0];
    assert_eq!((&reply["cancel"], &reply["error"]), (&json!("openDoor"), &json!(501)));
    for _ in 0..25 {
        w.qss_says(r#"{"type":"event","payload":{"eventName":"weather","payload":{"sun":true}}}"#);
    }
    let counts: Vec<_> = w.events_of("problem").iter().map(|e| (e["what"].clone(), e["count"].clone())).collect();
    assert_eq!(
        counts,
        [
            (json!("qss_unknown_request"), json!(1)),
            (json!("qss_unknown_event"), json!(1)),
            (json!("qss_unknown_event"), json!(10))
        ]
    );
    assert_eq!(w.local("status")["counters"]["problems"]["qss_unknown_event"], 25);
}

#[test]
fn ten_thousand_garbage_frames_cost_a_few_lines_and_nothing_else() {
    let mut w = World::playing(2, config());
    let before = w.events.len();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let huge = format!("\"{}\"", "x".repeat(1 << 20));
    let garbage = [
        "",
        "nonsense",
        "{}",
        "[]",
        "null",
        r#"{"request":"x"}"#,
        r#"{"answer":"x","requestID":"nobody"}"#,
        &deep,
        &huge,
    ];
    for i in 0..10_000 {
        w.input(Input::QssFrame(garbage[i % garbage.len()]));
    }
    assert_eq!(w.rung(), "playing");
    let lines = w.events.len() - before;
    assert!(lines <= 5 * 5, "{lines} lines");
    w.run(100_000);
    assert_eq!((w.rung(), w.connects.len()), ("playing", 1));
}

#[test]
fn garbage_on_the_sip_port_changes_nothing() {
    let mut w = World::playing(3, config());
    let from = sim::addr("192.0.2.7:5060");
    for i in 0..10_000_u32 {
        let noise = w.rng.hex(32);
        let bytes = match i % 3 {
            0 => noise.into_bytes(),
            1 => format!("BYE sip:x SIP/2.0\r\nCall-ID: {noise}\r\n\r\n").into_bytes(),
            _ => vec![0; (i % 1_500) as usize],
        };
        w.input(Input::Sip { flow: Flow::udp(from), bytes: &bytes });
    }
    w.run(1_000);
    assert_eq!(w.rung(), "playing");
    assert!(w.events.len() < 100, "{} events", w.events.len());
}

#[test]
fn the_backlog_is_bounded_and_says_what_it_lost() {
    let mut config = config();
    config.status.backlog = 10;
    config.rooms = vec![Room::new("lobby", RoomTarget::SipUri(sim::SIP_URI.into()))];
    let mut w = World::playing(4, config);
    w.run(100);
    let arrived = w.qss.events().len();
    w.kill_qss(Some(LinkErrorKind::Closed(1006)));
    for i in 0..50 {
        w.local(if i % 2 == 0 { "mute on" } else { "mute off" });
    }
    w.qss.up = true;
    w.run(61_000);
    let events: Vec<Value> = w.qss.events()[arrived..].iter().map(|e| (*e).clone()).collect();
    let lost: u64 = events.iter().filter_map(|e| e["lost"].as_u64()).sum();
    assert!(lost > 30);
    let seq = |e: &Value| e["seq"].as_u64().expect("seq");
    let gap = seq(&events[0]) - arrived as u64 - 1;
    assert!((gap..=gap + 10).contains(&lost), "what may be missing is told: {gap} are, {lost} may be");
    assert!(events.windows(2).all(|pair| seq(&pair[1]) == seq(&pair[0]) + 1));
    assert_eq!(w.local("status")["counters"]["events_lost"], lost);
}

#[test]
fn a_heartbeat_sends_snapshots_with_fresh_numbers() {
    let mut config = config();
    config.status.heartbeat = Span::from_secs(300);
    let mut w = World::playing(5, config);
    w.run(1_000_000);
    let snapshots = w.events_of("snapshot");
    assert_eq!(snapshots.len(), 1 + 3);
    assert_eq!(snapshots[1]["media"]["packets_sent"], 50);
    w.voice.deaf = true;
    w.run(300_000);
    assert_eq!(w.events_of("snapshot").len(), 5, "a deaf media thread delays it, no more");
}

#[test]
fn local_commands_are_answered_with_what_they_did() {
    let mut w = World::playing(6, config());
    let status = w.local("status");
    assert_eq!(
        (&status["ok"], &status["rung"], &status["room"]["name"]),
        (&json!(true), &json!("playing"), &json!("lobby"))
    );
    assert_eq!(status["facts"].as_array().expect("facts").len(), 6);
    assert_eq!(w.local("{\"command\":\"mute\",\"on\":true}"), json!({"ok": true, "muted": true}));
    assert!(w.voice.muted);
    assert_eq!(w.local("dance")["error"]["code"], "unknown_command");
    assert_eq!(w.local("join lobby")["already"], true);
    assert_eq!(w.local("hangup"), json!({"ok": true}));
    w.run(600_000);
    assert_eq!((w.rung(), w.mixer.count("BYE"), w.mixer.invites()), ("session", 1, 1), "asked to be quiet");
    assert_eq!(w.local("hangup")["error"]["code"], "no_call");
    assert_eq!(w.local("join lobby")["ok"], true);
    w.run_until(1_000, |w| w.rung() == "playing");
    assert!(w.voice.muted, "mute outlives the call");
    assert_eq!(w.local("join sip:42@127.0.0.1:5080")["ok"], true);
    w.run_until(1_000, |w| w.rung() == "playing" && w.mixer.last_invite.starts_with("INVITE sip:42@"));
    w.kill_qss(Some(LinkErrorKind::Closed(1006)));
    w.run(10);
    assert_eq!(w.local("join lobby")["error"]["code"], "no_session");
}

#[test]
fn muted_at_start_stays_muted_until_told() {
    let mut config = config();
    config.audio.mute_at_start = true;
    let w = World::playing(7, config);
    assert!(w.voice.muted);
}

#[test]
fn hold_by_the_mixer_is_no_loss_of_media() {
    let mut w = World::playing(8, config());
    let call = w.voice.stream.expect("a stream").call;
    assert!(call < u32::MAX);
    let hold = w.mixer.reinvite("inactive");
    w.post_all(hold);
    w.run(60_000);
    assert!(w.causes().contains(&"on_hold"));
    assert!(!w.causes().contains(&"no_media"));
    assert!(!w.voice.stream.expect("still a stream").receive);
    let unhold = w.mixer.reinvite("sendrecv");
    w.post_all(unhold);
    w.run(2_000);
    assert!(w.voice.stream.expect("still a stream").receive);
    assert_eq!((w.mixer.invites(), w.mixer.confirmed_calls()), (1, 1));
}

#[test]
fn a_long_backlog_goes_out_in_batches_that_the_link_can_hold() {
    let mut w = World::started(1, config());
    w.qss.up = false;
    w.run(1_000);
    for i in 0..200 {
        w.local(if i % 2 == 0 { "mute on" } else { "mute off" });
    }
    w.qss.up = true;
    w.run(120_000);
    let upstream: Vec<_> = w.qss.events().iter().map(|e| e["seq"].as_u64().expect("seq")).collect();
    assert_eq!(upstream, (1..=w.events.len() as u64).collect::<Vec<_>>());
    // What one step of the agent sends arrives in one instant.
    let mut at_once = std::collections::BTreeMap::new();
    for (at, _) in &w.qss.log {
        *at_once.entry(*at).or_insert(0) += 1;
    }
    assert!(at_once.values().all(|n| *n <= 20), "{:?}", at_once.values().max());
}
