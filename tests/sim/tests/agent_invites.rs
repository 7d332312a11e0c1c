//! Invites on virtual time: policy, duplicates, and the races between invite, answer and withdrawal.

use qss_endpoint::agent::LinkErrorKind;
use qss_endpoint::config::Config;
use serde_json::{Value, json};
use sim::mixer::Manner;
use sim::{SIP_URI, World, config};

const OTHER_URI: &str = "sip:88811111111@audiomixer-sfu1:5080";

/// An intercom without a room of its own.
fn intercom() -> Config {
    let mut config = config();
    config.rooms.clear();
    config.invites.accept = vec!["alice".into()];
    config
}

fn idle(config: Config) -> World {
    let mut world = World::started(1, config);
    world.run(200);
    assert_eq!(world.rung(), "session");
    world
}

fn invite(id: &str, from: &str, uri: &str) -> String {
    json!({"request": "invite", "requestID": id, "payload": {
        "id": id, "from": "5da6", "fromDetails": {"username": from, "displayName": from},
        "mediatypes": {"audio": true, "video": false, "screen": false}, "context": {},
        "room": {"uuid": "r2", "room": "r2", "sipUri": uri, "token": "t"}}})
    .to_string()
}

fn only_reply<'w>(w: &'w World, id: &str) -> &'w Value {
    let replies = w.qss.replies_to(id);
    assert_eq!(replies.len(), 1, "{replies:?}");
    replies[0]
}

#[test]
fn an_accepted_inviter_gets_an_answer_and_the_device_comes() {
    let mut w = idle(intercom());
    w.qss_says(&invite("INV1", "alice", OTHER_URI));
    assert_eq!(only_reply(&w, "INV1"), &json!({"answer": "invite", "requestID": "INV1", "payload": {"from": "5da6"}}));
    w.run_until(1_000, |w| w.rung() == "playing");
    assert!(w.mixer.last_invite.starts_with("INVITE sip:88811111111@"));
    assert_eq!(w.events_of("invite")[0]["outcome"], "accepted");
    assert_eq!(w.events.last().expect("an event")["room"], json!({"name": "alice", "id": "r2"}));
    assert!(w.qss.requests("joinRoom").is_empty(), "the invite describes the room");
}

#[test]
fn the_other_word_for_an_invite_is_understood() {
    let mut w = idle(intercom());
    w.qss_says(&invite("INV1", "alice", OTHER_URI).replacen("\"invite\"", "\"invitation\"", 1));
    assert_eq!(only_reply(&w, "INV1")["answer"], "invitation");
}

#[test]
fn an_invite_that_only_names_its_room_is_joined_through_the_qss() {
    let mut w = idle(intercom());
    w.qss_says(r#"{"request":"invite","requestID":"INV1","payload":{"id":"INV1","from":"alice","room":"2f11c520"}}"#);
    w.run_until(1_000, |w| w.rung() == "playing");
    assert_eq!(w.qss.requests("joinRoom").len(), 1);
}

#[test]
fn anyone_else_is_declined() {
    let mut w = idle(intercom());
    w.qss_says(&invite("INV1", "mallory", OTHER_URI));
    let reply = only_reply(&w, "INV1");
    assert_eq!((&reply["cancel"], &reply["error"]), (&json!("invite"), &json!(603)));
    assert_eq!(reply["payload"], json!({"from": "5da6", "error": 603}));
    w.run(60_000);
    assert_eq!((w.mixer.invites(), w.rung()), (0, "session"));
    assert_eq!(w.events_of("invite")[0]["cause"]["code"], "invite_declined");
}

#[test]
fn a_repeated_invite_is_one_invite_and_gets_the_same_answer() {
    let mut w = idle(intercom());
    for _ in 0..5 {
        w.qss_says(&invite("INV1", "alice", OTHER_URI));
    }
    w.run(2_000);
    let replies = w.qss.replies_to("INV1");
    assert_eq!(replies.len(), 5);
    assert!(replies.iter().all(|r| *r == replies[0]));
    assert_eq!((w.mixer.invites(), w.events_of("invite").len()), (1, 1));
}

#[test]
fn busy_is_said_in_a_call_unless_invites_replace_it() {
    let mut busy = config();
    busy.invites.accept = vec!["*".into()];
    let mut w = World::playing(2, busy.clone());
    w.qss_says(&invite("INV1", "alice", OTHER_URI));
    assert_eq!(only_reply(&w, "INV1")["error"], 486);
    w.run(1_000);
    assert_eq!((w.mixer.invites(), w.rung()), (1, "playing"));

    busy.invites.replaces_call = true;
    let mut w = World::playing(2, busy);
    w.qss_says(&invite("INV1", "alice", OTHER_URI));
    w.run(1_000);
    assert_eq!(only_reply(&w, "INV1")["answer"], "invite");
    assert!(w.mixer.last_invite.starts_with("INVITE sip:88811111111@"));
    assert_eq!((w.mixer.count("BYE"), w.mixer.confirmed_calls(), w.rung()), (1, 1, "playing"));
    assert_eq!(w.qss.requests("leaveRoom").len(), 1);
    w.mixer_hangs_up();
    w.run(20);
    w.run_until(3_000, |w| w.rung() == "playing");
    assert!(w.mixer.last_invite.starts_with("INVITE sip:88826777033@"), "back in the room of its own");
}

#[test]
fn an_invite_into_the_present_room_is_accepted_and_changes_nothing() {
    let mut config = config();
    config.invites.accept = vec!["*".into()];
    let mut w = World::playing(3, config);
    w.qss_says(&invite("INV1", "alice", SIP_URI));
    w.run(1_000);
    assert_eq!(only_reply(&w, "INV1")["answer"], "invite");
    assert_eq!((w.mixer.invites(), w.mixer.count("BYE")), (1, 0));
}

#[test]
fn a_withdrawal_that_overtakes_its_invite_leaves_nothing() {
    let mut w = idle(intercom());
    w.qss_says(r#"{"cancel":"invite","requestID":"INV1","error":487}"#);
    w.qss_says(&invite("INV1", "alice", OTHER_URI));
    w.run(10_000);
    assert_eq!(w.mixer.invites(), 0);
    assert!(w.qss.replies_to("INV1").is_empty());
}

#[test]
fn a_withdrawal_while_the_call_is_set_up_or_just_up_ends_it() {
    for after_ms in [0, 1, 3, 5, 8, 12, 100, 2_000] {
        let mut w = idle(intercom());
        w.qss_says(&invite("INV1", "alice", OTHER_URI));
        w.run(after_ms);
        w.qss_says(r#"{"cancel":"invite","requestID":"INV1","error":487}"#);
        w.run(5_000);
        assert_eq!((w.rung(), w.mixer.confirmed_calls()), ("session", 0), "after {after_ms} ms");
        assert!(w.voice.stream.is_none());
        assert_eq!(w.events_of("invite").last().expect("an event")["outcome"], "withdrawn");
    }
}

#[test]
fn a_withdrawal_long_after_is_no_reason_to_hang_up() {
    let mut w = idle(intercom());
    w.qss_says(&invite("INV1", "alice", OTHER_URI));
    w.run(20_000);
    w.qss_says(r#"{"cancel":"invite","requestID":"INV1","error":487}"#);
    w.run(1_000);
    assert_eq!(w.rung(), "playing");
}

#[test]
fn an_invited_call_that_ends_or_is_refused_ends_the_invite() {
    let mut w = idle(intercom());
    w.qss_says(&invite("INV1", "alice", OTHER_URI));
    w.run(5_000);
    w.mixer_hangs_up();
    w.run(60_000);
    assert_eq!((w.rung(), w.mixer.invites()), ("session", 1));
    assert_eq!(w.qss.requests("leaveRoom")[0]["payload"], json!({"room": "r2"}));

    let mut w = idle(intercom());
    w.mixer.manner = Manner::Refuse(403);
    w.qss_says(&invite("INV1", "alice", OTHER_URI));
    w.run(60_000);
    assert_eq!((w.rung(), w.mixer.invites()), ("session", 1));
    assert!(w.causes().contains(&"sip_forbidden"));
}

#[test]
fn an_invited_call_survives_the_qss_and_is_joined_by_its_id_again() {
    let mut w = idle(intercom());
    w.qss_says(&invite("INV1", "alice", OTHER_URI));
    w.run(2_000);
    w.kill_qss(Some(LinkErrorKind::Closed(1001)));
    w.qss.rooms.insert("r2".into(), sim::qss::room("r2", OTHER_URI));
    w.qss.up = true;
    w.run(11_000);
    assert_eq!((w.rung(), w.mixer.invites()), ("playing", 1));
    assert_eq!(w.qss.requests("joinRoom")[0]["payload"], json!({"room": "r2"}));
}

#[test]
fn an_invite_without_a_room_is_refused_and_told() {
    let mut w = idle(intercom());
    w.qss_says(r#"{"request":"invite","requestID":"INV1","payload":{"from":"alice"}}"#);
    assert_eq!(only_reply(&w, "INV1")["error"], 400);
    assert_eq!(w.events_of("invite")[0]["outcome"], "unusable");
}

#[test]
fn a_storm_of_invites_is_answered_one_by_one_and_leads_to_one_call() {
    let mut w = idle(intercom());
    for i in 0..1_000 {
        let from = if i % 2 == 0 { "alice" } else { "mallory" };
        w.qss_says(&invite(&format!("INV{i}"), from, OTHER_URI));
    }
    w.run(1_000);
    assert!((0..1_000).all(|i| w.qss.replies_to(&format!("INV{i}")).len() == 1));
    assert_eq!((w.mixer.invites(), w.rung()), (1, "playing"));
}

#[test]
fn expelled_means_out_until_somebody_says_join() {
    for message in [
        r#"{"type":"event","payload":{"eventName":"expelled","payload":{"roomId":"2f11c520"}}}"#,
        r#"{"request":"removedFromRoom","requestID":"X1","payload":{"room":"2f11c520"}}"#,
        r#"{"type":"event","payload":{"eventName":"destroyed","payload":{"uuid":"2f11c520"}}}"#,
    ] {
        let mut w = World::playing(4, config());
        w.qss_says(&message.replace("2f11c520", "another").replace("X1", "X0"));
        assert_eq!(w.rung(), "playing", "another room is none of our business");
        w.qss_says(message);
        w.run(3_600_000);
        assert_eq!((w.rung(), w.mixer.count("BYE"), w.mixer.invites()), ("session", 1, 1), "{message}");
        assert!(w.qss.requests("leaveRoom").is_empty(), "we are out already");
        if message.contains("X1") {
            assert_eq!(w.qss.replies_to("X1").len(), 1);
        }
        assert_eq!(w.local("join lobby")["ok"], true);
        w.run_until(1_000, |w| w.rung() == "playing");
    }
}

#[test]
fn a_remote_mute_is_obeyed_and_a_remote_unmute_is_not() {
    let mut w = World::playing(5, config());
    let ask = |muted: bool| {
        json!({"type": "event", "payload": {"eventName": "mute-request", "payload":
            {"roomId": "2f11c520", "to": "lobby", "media": "audio", "muted": muted}}})
        .to_string()
    };
    w.qss_says(&ask(true));
    assert!(w.voice.muted);
    assert_eq!(w.events_of("mute")[0]["by"], "remote");
    w.qss_says(&ask(false));
    assert!(w.voice.muted, "nobody opens a microphone from afar");
    assert_eq!(w.local("mute off")["muted"], false);
    assert!(!w.voice.muted);
}

#[test]
fn an_invited_call_that_the_mixer_lost_is_dialled_again_a_few_times() {
    let mut w = idle(intercom());
    w.qss_says(&invite("INV1", "alice", OTHER_URI));
    w.run_until(1_000, |w| w.rung() == "playing");
    w.run(60_000);
    w.mixer.kill();
    w.mixer.up = true;
    w.run_until(10_000, |w| w.rung() == "playing" && w.mixer.invites() == 2);
    assert!(w.causes().contains(&"sip_call_gone"));
    w.mixer.kill();
    w.run(600_000);
    assert_eq!(w.rung(), "session", "the invite is over after a few tries");
}
