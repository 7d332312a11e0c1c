//! Bad input, floods, and the local socket: answered, counted, bounded.

use qss_endpoint::agent::{Input, LinkErrorKind};
use qss_endpoint::config::{Room, RoomTarget};
use qss_endpoint::sip::transport::Flow;
use qss_endpoint::time::Span;
use serde_json::{Value, json};
use sim::{World, config};

#[test]
fn our_refusals_have_the_configured_codes() {
    let mut config = config();
    let codes = &mut config.qss.codes;
    (codes.say_unknown, codes.say_malformed, codes.say_no_call) = (405, 422, 455);
    let mut w = World::playing(1, config);
    w.local("hangup");
    for (id, request, payload, code) in [
        ("T1", "openDoor", "{}", 405),
        ("T2", "invite", "{}", 422),
        ("T3", "inviteRequest", "{}", 422),
        ("T4", "transferring-attended-transfer", "{}", 422),
        ("T5", "transferring-attended-transfer", r#"{"targetRoom":{"room":"x","sipUri":"sip:8@mixer"}}"#, 455),
    ] {
        w.qss_says(&format!(r#"{{"request":"{request}","requestID":"{id}","payload":{payload}}}"#));
        assert_eq!(w.qss.replies_to(id)[0]["error"], code, "{request}");
    }
}

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
fn ten_thousand_invites_that_nobody_can_use_are_all_refused_and_some_are_told() {
    let mut config = config();
    config.status.provoked = 20;
    let mut w = World::playing(29, config);
    let before = w.events.len();
    for i in 0..10_000 {
        let invite = json!({"request": "invite", "requestID": format!("g{i}"), "payload": {}});
        w.input(Input::QssFrame(&invite.to_string()));
        if i % 500 == 0 {
            w.run(100);
        }
    }
    w.run(1_000);
    for i in [0, 1, 5_000, 9_999] {
        assert_eq!(w.qss.replies_to(&format!("g{i}")).len(), 1, "{i}");
    }
    assert_eq!((w.events.len() - before, w.events_of("invite").len()), (20, 20));
    w.run(60_000);
    w.qss_says(r#"{"request":"invite","requestID":"late","payload":{}}"#);
    w.run(1_000);
    let told = w.events_of("invite");
    assert_eq!((told.len(), &told[20]["id"], &told[20]["lost"]), (21, &json!("late"), &json!(9_980)));
    assert_eq!(w.rung(), "playing");
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
    // Up to 16 were sent, and no pong had proven yet that they arrived.
    assert!((gap..=gap + 16).contains(&lost), "what may be missing is told: {gap} are, {lost} may be");
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

#[test]
fn what_is_unknown_is_ignored_counted_and_seen_in_the_status() {
    let mut w = World::playing(20, config());
    w.qss_says(r#"{"type":"event","payload":{"eventName":"participant","payload":{"roomId":"2f11c520","userId":"bob","status":"IN_CALL","mood":"sunny"}}}"#);
    w.qss_says(r#"{"type":"event","payload":{"eventName":"participant","payload":{"roomId":"2f11c520","userId":"eve","status":"DANCING"}}}"#);
    w.qss_says(r#"{"type":"event","payload":{"eventName":"fireworks","payload":{"roomId":"2f11c520"}}}"#);
    assert_eq!(w.events_of("participantAdded").last().expect("news")["userId"], "bob", "the rest is understood");
    let problems = w.local("status")["counters"]["problems"].clone();
    for what in ["qss_unknown_field", "qss_unknown_value", "qss_unknown_event"] {
        assert_eq!(problems[what], 1, "{what}: {problems}");
    }
    let details: Vec<_> = w.events_of("problem").iter().map(|e| e["detail"].clone()).collect();
    assert_eq!(details, ["mood", "participant", "fireworks"]);
    let mut quiet = config();
    quiet.qss.report_unknown = false;
    let mut w = World::playing(21, quiet);
    w.qss_says(r#"{"type":"event","payload":{"eventName":"participant","payload":{"roomId":"2f11c520","userId":"bob","status":"DANCING","mood":"sunny"}}}"#);
    assert!(w.events_of("problem").is_empty());
}

/// An event of that name, which no configuration knows.
fn weather(n: usize) -> String {
    format!(r#"{{"type":"event","payload":{{"eventName":"weather","payload":{{"sun":true,"é":{n}}}}}}}"#)
}

#[test]
fn an_unknown_event_is_passed_on_as_it_came_here_and_upstream() {
    let mut config = config();
    config.qss.unknown.bytes = 73;
    let mut w = World::playing(23, config);
    w.qss_says(&weather(7));
    w.run(100);
    let told = |event: &Value| json!([event["name"], event["raw"], event["bytes"]]);
    // The 73rd byte is the first half of a character.
    let expected = json!(["weather", weather(7)[..72], weather(7).len()]);
    assert_eq!(w.events_of("unknown_event").into_iter().map(told).collect::<Vec<_>>(), std::slice::from_ref(&expected));
    let upstream = w.qss.events().into_iter().filter(|event| event["event"] == "unknown_event");
    assert_eq!(upstream.map(told).collect::<Vec<_>>(), [expected]);
    let seen = w.local("status")["unknown"].clone();
    assert_eq!((&seen[0]["word"], &seen[0]["raw"]), (&json!("weather"), &json!(weather(7)[..72])));
}

#[test]
fn of_many_unknown_events_some_are_passed_on_and_the_next_says_how_many_were_not() {
    let mut config = config();
    config.qss.unknown.events = 3;
    config.qss.unknown.interval = Span::from_secs(30);
    let mut w = World::playing(24, config.clone());
    (0..50).for_each(|n| w.qss_says(&weather(n)));
    assert_eq!(w.events_of("unknown_event").len(), 3);
    w.run(30_000);
    w.qss_says(&weather(50));
    let told = w.events_of("unknown_event");
    assert_eq!((told.len(), &told[3]["skipped"], &told[0]["skipped"]), (4, &json!(47), &Value::Null));
    config.qss.unknown.events = 0;
    let mut w = World::playing(25, config);
    w.qss_says(&weather(1));
    assert!(w.events_of("unknown_event").is_empty());
    assert_eq!(w.local("status")["counters"]["problems"]["qss_unknown_event"], 1);
}

#[test]
fn our_own_events_that_come_back_are_not_passed_on_again() {
    let mut w = World::playing(26, config());
    w.run(1_000);
    let ours: Vec<Value> = w.qss.events().into_iter().cloned().collect();
    assert!(ours.len() > 5);
    for event in &ours {
        for word in ["endpointStatus", "deviceSaid"] {
            w.qss_says(&json!({"type": "event", "payload": {"eventName": word, "payload": event}}).to_string());
        }
    }
    assert!(w.events_of("unknown_event").is_empty());
    let known = &w.local("status")["counters"]["problems"];
    assert_eq!((&known["qss_unknown_event"], &known["qss_unknown_field"]), (&json!(ours.len()), &Value::Null));
    // A QSS that answers each of our events by an unknown one of its own is not answered for ever.
    let mut answered = w.qss.events().len();
    for _ in 0..200 {
        let more = w.qss.events().len() - answered;
        answered += more;
        (0..more.max(1)).for_each(|n| w.qss_says(&weather(n)));
        w.run(100);
    }
    assert!(w.events_of("unknown_event").len() <= 10, "{}", w.events_of("unknown_event").len());
}

#[test]
fn the_last_messages_that_were_not_understood_are_seen_in_the_status() {
    let mut config = config();
    config.qss.unknown.kept = 3;
    let mut w = World::playing(27, config);
    let participant = r#"{"type":"event","payload":{"eventName":"participant","payload":{"roomId":"2f11c520","userId":"bob","status":"DANCING","mood":"sunny"}}}"#;
    w.qss_says(&weather(1));
    w.qss_says(r#"{"request":"openDoor","requestID":"T1","payload":{}}"#);
    w.qss_says(participant);
    w.qss_says(participant);
    let seen = w.local("status")["unknown"].clone();
    let told: Vec<_> =
        seen.as_array().expect("a list").iter().map(|s| json!([s["what"], s["word"], s["count"]])).collect();
    let expected = [
        json!(["qss_unknown_request", "openDoor", 1]),
        json!(["qss_unknown_field", "mood", 2]),
        json!(["qss_unknown_value", "participant", 2]),
    ];
    assert_eq!(told, expected);
    assert_eq!(seen[2]["raw"], participant);
}

#[test]
fn a_snapshot_is_sent_when_the_qss_asks_and_not_for_each_time_it_asks() {
    let mut w = World::playing(22, config());
    w.run(5_000);
    let before = w.events_of("snapshot").len();
    w.qss_says(r#"{"request":"endpointSnapshot","requestID":"S1","payload":{}}"#);
    w.run(400);
    assert_eq!(w.qss.replies_to("S1")[0]["answer"], "endpointSnapshot");
    assert_eq!(w.events_of("snapshot").len(), before + 1);
    let told = *w.qss.events().last().expect("an event");
    assert!(told["event"] == "snapshot" && told["media"].is_object(), "with the numbers of the call: {told}");
    for _ in 0..500 {
        w.qss_says(r#"{"type":"event","payload":{"eventName":"endpointSnapshot","payload":{}}}"#);
    }
    w.run(2_000);
    // 500 times within five seconds.
    let sent = w.events_of("snapshot").len() - before;
    assert!((5..=9).contains(&sent), "{sent}");
}

#[test]
fn a_clock_behind_what_was_proven_is_marked_and_dates_nothing_before_it() {
    let mut w = World::new(23, config());
    let proven = sim::wall(w.now, 0).0 + 86_400_000;
    w.input(Input::Recalled(&format!(r#"{{"attempts":0,"proven_ms":{proven}}}"#)));
    w.start();
    w.run(1_000);
    let first = &w.events[0];
    assert_eq!((first["clock"].as_str(), first["time_ms"].as_u64()), (Some("floor"), Some(proven)));
    w.wall_error = 2 * 86_400_000;
    w.local("mute on");
    let last = w.events.last().expect("an event");
    assert_eq!(last["clock"], "kept");
    assert!(last["time_ms"].as_u64() > Some(proven));
}

#[test]
fn a_proven_time_is_kept_when_it_has_grown_by_the_configured_span() {
    let kept = |span: Span| {
        let mut config = config();
        config.device.clock_kept = span;
        let mut w = World::playing(28, config);
        let mut times = std::collections::BTreeSet::new();
        for _ in 0..6 {
            w.input(Input::ClockProven);
            let kept: Value = serde_json::from_str(w.remembered.as_deref().expect("something is kept")).expect("JSON");
            times.insert(kept["proven_ms"].as_u64());
            w.run(60_000);
        }
        times.len()
    };
    assert_eq!(kept(Span::from_secs(86_400)), 1);
    assert_eq!(kept(Span::from_secs(60)), 6);
}

#[test]
fn an_invited_call_that_the_mixer_loses_is_dialled_as_often_as_configured() {
    for redials in [0, 1, 3] {
        let mut config = config();
        config.rooms.clear();
        config.invites.accept = vec!["*".into()];
        config.invites.redials = redials;
        let mut w = World::started(29, config);
        w.mixer.manner = sim::mixer::Manner::AnswerSilently;
        w.run(1_000);
        let room = json!({"room": "r", "sipUri": sim::SIP_URI});
        let invite = json!({"request": "invite", "requestID": "I", "payload": {"from": "a", "room": room}});
        w.qss_says(&invite.to_string());
        w.run(300_000);
        assert_eq!((w.mixer.invites(), w.rung()), (redials as usize + 1, "session"));
    }
}

#[test]
fn so_many_changes_of_participants_are_told_one_by_one_as_configured() {
    let mut config = config();
    config.status.participant_changes = 2;
    let mut w = World::playing(30, config);
    w.run(5_000);
    let before = w.events_of("participantAdded").len();
    w.qss_says(r#"{"type":"event","payload":{"eventName":"participants","payload":{"roomId":"2f11c520","participants":["5da6","a","b","c","d","e"]}}}"#);
    assert_eq!(w.events_of("participantAdded").len() - before, 2);
}

#[test]
fn a_time_that_was_proven_outlives_the_process() {
    let mut w = World::started(24, config());
    w.wall_error = 86_400_000;
    w.input(Input::ClockProven);
    let proven = sim::wall(w.now, w.wall_error).0;
    w.wall_error = 0;
    w.restart_device();
    w.local("mute on");
    let first = &w.events[0];
    assert_eq!((first["clock"].as_str(), first["time_ms"].as_u64()), (Some("floor"), Some(proven)));
}

#[test]
fn each_command_that_cannot_be_obeyed_says_why() {
    let mut config = config();
    config.qss.names.create_room = String::new();
    let mut w = World::playing(25, config);
    let code = |reply: Value| reply["error"]["code"].as_str().expect("a code").to_owned();
    assert_eq!(code(w.local("call")), "bad_argument");
    assert_eq!(code(w.local("call bob")), "no_room", "there is no word for making one");
    w.input(Input::Stop);
    w.input(Input::Local { client: 1, line: "mute" });
    assert_eq!(code(w.replies.pop().expect("a reply")), "stopping");
}
