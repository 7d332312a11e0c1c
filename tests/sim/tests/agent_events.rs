//! Every event of the vendor's SDK that this device can know is produced, with its fields: the 15 of a conference, and the
//! others of its sessions and rooms.

use qss_endpoint::config::Config;
use serde_json::{Value, json};
use sim::{ROOM, World, config};

fn says(word: &str, payload: &Value) -> String {
    json!({"type": "event", "payload": {"eventName": word, "payload": payload}}).to_string()
}

/// The room's own 15, as the page lists them.
const PAGE: [&str; 15] = [
    "remoteStreams",
    "outgoingInvitations",
    "expelled",
    "destroyed",
    "status",
    "remoteParticipants",
    "transferError",
    "participantAdded",
    "participantRemoved",
    "participantHold",
    "participantUnhold",
    "localStreamAdded",
    "localStreamRemoved",
    "remoteStreamAdded",
    "remoteStreamRemove",
];

fn open() -> Config {
    let mut config = config();
    config.invites.accept = vec!["alice".into()];
    config.invites.requests = vec!["*".into()];
    config.invites.replaces_call = true;
    config
}

#[test]
fn a_day_in_a_room_produces_all_fifteen_with_their_payloads() {
    let mut w = World::playing(1, open());
    w.qss.people.insert("bob".into(), (500, 200));
    for (word, status) in [("bob", "IN_CALL"), ("bob", "HOLD"), ("bob", "IN_CALL"), ("bob", "GONE")] {
        w.qss_says(&says("participant", &json!({"roomId": ROOM, "userId": word, "status": status})));
    }
    w.run(2_000);
    w.qss_says(&says("callTransfer", &json!({"callTransferId": "T1", "roomId": "nowhere", "to": "eve"})));
    w.run(2_000);
    w.local("call bob");
    w.run_until(10_000, |w| w.rung() == "playing" && w.qss.requests("invite").len() == 1);
    w.run(2_000);
    w.qss_says(&says("destroyed", &json!({"roomId": "created1"})));
    w.run_until(10_000, |w| w.rung() == "playing");
    w.qss_says(&says("expelled", &json!({ "roomId": ROOM })));
    w.run(1_000);
    for event in PAGE {
        assert!(!w.events_of(event).is_empty(), "{event} was not produced");
    }
    let first = |kind: &str| w.events_of(kind)[0].clone();
    let audio = json!({"audio": true, "video": false, "screen": false});
    let has = |kind: &str, key: &str, value: Value| assert_eq!(first(kind)[key], value, "{kind}: {}", first(kind));
    has("remoteStreams", "streams", json!([{"stream": "remote", "mediaTypes": audio, "userId": "audiomixer"}]));
    has("remoteStreams", "old", json!([]));
    has("status", "new", json!(1));
    has("status", "old", json!(0));
    has("participantAdded", "userId", json!("5da6"));
    has("participantHold", "userId", json!("bob"));
    has("participantUnhold", "userId", json!("bob"));
    has("participantRemoved", "userId", json!("bob"));
    has("remoteParticipants", "participants", json!({"5da6": "IN_CALL"}));
    has("transferError", "code", json!(403));
    has("transferError", "callTransferId", json!("T1"));
    for kind in ["localStreamAdded", "localStreamRemoved"] {
        has(kind, "userId", json!("self"));
        has(kind, "mediaTypes", audio.clone());
    }
    for kind in ["remoteStreamAdded", "remoteStreamRemove"] {
        has(kind, "userId", json!("audiomixer"));
        has(kind, "mediaTypes", audio.clone());
    }
    has("expelled", "cause", first("expelled")["cause"].clone());
    assert_eq!(first("expelled")["room"]["id"], ROOM);
    assert_eq!(first("destroyed")["room"]["id"], "created1");
    let told: Vec<_> =
        w.events_of("outgoingInvitations").iter().map(|e| e["invitations"][0]["state"].clone()).collect();
    assert_eq!(told, ["pending", "accepted"]);
    has("outgoingInvitations", "old", json!([]));
    assert_eq!(first("outgoingInvitations")["invitations"][0]["to"], "bob");
    let ended = *w.events_of("status").last().expect("an end");
    assert_eq!((&ended["new"], &ended["old"]), (&json!(0), &json!(3)));
}

#[test]
fn who_wants_us_muted_and_who_speaks_is_told_and_not_too_often() {
    let mut w = World::playing(2, config());
    w.run(2_000);
    for _ in 0..50 {
        let wish = json!({"roomId": ROOM, "to": "lobby", "requestedBy": "eve", "media": "audio", "muted": false});
        w.qss_says(&says("mute-request", &wish));
    }
    let told = w.events_of("muteRequest");
    assert_eq!(told.len(), 1, "an unmute that is refused, fifty times");
    assert_eq!((&told[0]["muted"], &told[0]["requestedBy"]), (&json!(false), &json!("eve")));
    w.qss_says(&says("mute-request", &json!({"roomId": ROOM, "to": "lobby", "muted": true})));
    assert_eq!((w.events_of("muteRequest").len(), w.events_of("mute").len()), (2, 1));
    for n in 0..100 {
        w.qss_says(&says("activeSpeaker", &json!({"roomId": ROOM, "participant": {"userId": format!("u{}", n % 2)}})));
    }
    w.qss_says(&says("activeSpeaker", &json!({"roomId": ROOM, "participant": null})));
    w.run(3_000);
    let speakers: Vec<_> = w.events_of("activeSpeaker").iter().map(|e| e["userId"].clone()).collect();
    assert!(speakers.len() <= 4, "{speakers:?}");
    assert_eq!((&speakers[0], speakers.last()), (&json!("u0"), Some(&Value::Null)));
}

#[test]
fn invitations_and_requests_for_one_are_told_with_the_words_of_who_sends_them() {
    let mut w = World::playing(3, open());
    w.qss_says(
        r#"{"request":"invite","requestID":"I1","payload":{"from":"alice","fromDetails":{"displayName":"Alice"},"context":{"door":"north","contextInfo":{"floor":"2"}},"room":{"room":"r","sipUri":"sip:1@audiomixer-sfu1:5080"}}}"#,
    );
    let told = w.events_of("conferenceInvitation")[0];
    assert_eq!((&told["id"], &told["from"], &told["displayName"]), (&json!("I1"), &json!("alice"), &json!("Alice")));
    assert_eq!((&told["roomId"], &told["context"]), (&json!("r"), &json!({"door": "north", "floor": "2"})));
    w.qss_says(r#"{"request":"invite","requestID":"I2","payload":{"from":"mallory","room":"r2"}}"#);
    assert_eq!(w.events_of("conferenceInvitation").len(), 1, "a stranger is declined, and that is all");
    // A visitor asks, and goes away before anybody could come.
    let mut w = World::playing(4, open());
    w.qss.people.insert("visitor".into(), (60_000, 200));
    w.qss_says(r#"{"request":"inviteRequest","requestID":"REQ1","payload":{"id":"R","from":"visitor","to":"lobby"}}"#);
    w.run_until(10_000, |w| w.qss.requests("invite").len() == 1);
    assert_eq!(w.qss.requests("invite")[0]["payload"]["requestId"], "R");
    w.qss_says(r#"{"cancel":"inviteRequest","requestID":"REQ1","error":487}"#);
    w.run_until(10_000, |w| w.rung() == "playing" && w.qss.rooms_left().is_empty());
    assert_eq!(w.events_of("conferenceInvitationRequest")[0]["from"], "visitor");
    assert_eq!(w.events_of("conferenceInvitationRequestCancelled")[0]["id"], "REQ1");
    assert!(w.qss.log.iter().any(|(_, f)| f["cancel"] == "invite" && f["error"] == 487), "nobody rings on");
}

#[test]
fn whether_conferences_are_to_be_had_is_told_when_the_session_comes_and_goes() {
    let mut w = World::playing(5, config());
    w.kill_qss(Some(qss_endpoint::agent::LinkErrorKind::Closed(1006)));
    w.run(1_000);
    w.qss.up = true;
    w.run(30_000);
    let told: Vec<_> = w.events_of("conferenceServiceAvailable").iter().map(|e| e["available"].clone()).collect();
    assert_eq!(told, [json!(true), json!(false), json!(true)]);
}
