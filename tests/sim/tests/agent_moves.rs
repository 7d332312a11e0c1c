//! Hold, and the vendor's room events.

use qss_endpoint::config::{Caller, CallerAction, OwnGone, Refer, TransferDone};
use qss_endpoint::media::command::Command;
use serde_json::{Value, json};
use sim::mixer::Manner;
use sim::{ROOM, World, config};

/// The vendor's events since `from`, by name.
fn room_events(w: &World, from: usize) -> Vec<&str> {
    const OWN: [&str; 9] = ["ladder", "attempt", "invite", "call_ended", "card", "mute", "hold", "problem", "snapshot"];
    let names = w.events[from..].iter().map(|e| e["event"].as_str().expect("a kind"));
    names.filter(|name| !OWN.contains(name)).collect()
}

fn statuses(w: &World) -> Vec<(u64, u64)> {
    let number = |v: &Value| v.as_u64().expect("a number");
    w.events_of("status").iter().map(|e| (number(&e["old"]), number(&e["new"]))).collect()
}

fn says(word: &str, payload: &Value) -> String {
    json!({"type": "event", "payload": {"eventName": word, "payload": payload}}).to_string()
}

/// What the media thread was last told to send and to play.
fn media(w: &World) -> (bool, bool) {
    w.voice.stream.map(|stream| (stream.send, stream.receive)).expect("a stream")
}

// --- the events of a call ----------------------------------------------------------------------------------------------

#[test]
fn a_call_tells_the_vendors_events_from_beginning_to_end() {
    let mut w = World::playing(1, config());
    let begun = [
        "conferenceServiceAvailable",
        "status",
        "participantAdded",
        "remoteParticipants",
        "status",
        "localStreamAdded",
        "remoteStreamAdded",
        "remoteStreams",
    ];
    let mut told = room_events(&w, 0);
    // Which packet is the first is chance.
    told[5..].sort_unstable();
    assert_eq!(told, begun);
    assert_eq!(statuses(&w), [(0, 1), (1, 2)]);
    let from = w.events.len();
    w.local("hangup");
    let ended = ["remoteParticipants", "localStreamRemoved", "remoteStreamRemove", "remoteStreams", "status", "status"];
    assert_eq!(room_events(&w, from), ended);
    assert_eq!(statuses(&w)[2..], [(2, 3), (3, 0)]);
    let end = *w.events_of("status").last().expect("an end");
    assert_eq!(
        (&end["reason"], &end["room"]["id"], &end["cause"]["code"]),
        (&json!(1), &json!(ROOM), &json!("hung_up"))
    );
    let added = w.events_of("remoteStreamAdded")[0];
    assert_eq!((&added["userId"], &added["mediaTypes"]["audio"]), (&json!("audiomixer"), &json!(true)));
    let streams: Vec<_> = w.events_of("remoteStreams").iter().map(|e| e["streams"].as_array().map(Vec::len)).collect();
    assert_eq!(streams, [Some(1), Some(0)]);
}

#[test]
fn the_spelling_and_the_events_themselves_are_a_matter_of_configuration() {
    let mut spelt = config();
    spelt.status.page_spelling = false;
    let mut w = World::playing(2, spelt);
    w.local("hangup");
    assert_eq!((w.events_of("remoteStreamRemoved").len(), w.events_of("remoteStreamRemove").len()), (1, 0));
    let mut none = config();
    none.status.room_events = false;
    let mut w = World::playing(3, none);
    w.local("hangup");
    assert_eq!(room_events(&w, 0), Vec::<&str>::new());
}

#[test]
fn expelled_and_destroyed_are_told_and_the_room_is_not_entered_again() {
    for (word, last) in [("expelled", 0), ("destroyed", 4)] {
        let mut w = World::playing(4, config());
        let from = w.events.len();
        w.qss_says(&says(word, &json!({ "room": ROOM })));
        w.run(60_000);
        assert_eq!(room_events(&w, from)[0], word, "before everything that follows from it");
        assert_eq!(w.events_of(word)[0]["room"]["id"], ROOM);
        assert_eq!(statuses(&w)[2..], [(2, 3), (3, last)], "{word}");
        assert_eq!(w.mixer.invites(), 1, "{word}: nobody goes back by himself");
    }
}

#[test]
fn a_call_that_is_lost_is_connecting_again() {
    let mut w = World::playing(5, config());
    w.mixer_hangs_up();
    w.run_until(10_000, |w| w.rung() == "playing" && w.mixer.invites() == 2);
    assert_eq!(statuses(&w), [(0, 1), (1, 2), (2, 1), (1, 2)]);
}

// --- hold --------------------------------------------------------------------------------------------------------------

#[test]
fn hold_stops_the_media_at_once_and_the_mixer_is_told() {
    let mut w = World::playing(6, config());
    w.mixer.up = false;
    let reply = w.local("hold on");
    assert_eq!(reply, json!({"ok": true, "held": true}));
    assert_eq!(media(&w), (false, false), "the microphone does not wait for the mixer's consent");
    w.mixer.up = true;
    w.run(5_000);
    assert!(w.mixer.last_invite.contains("a=inactive"), "{}", w.mixer.last_invite);
    assert_eq!(w.rung(), "call");
    let ladder = *w.events_of("ladder").last().expect("a ladder event");
    assert_eq!(ladder["cause"]["code"], "held_here");
    assert_eq!(w.events_of("hold")[0]["held"], true);
    assert_eq!((w.events_of("localStreamRemoved").len(), w.events_of("remoteStreamRemove").len()), (1, 1));
    assert_eq!(w.local("status")["held"], true);
    // Nothing else happens for an hour: no redial, no silence.
    w.run(3_600_000);
    assert_eq!((w.mixer.invites(), media(&w), w.mixer.confirmed_calls()), (1, (false, false), 1));
    w.local("hold off");
    w.run_until(2_000, |w| w.rung() == "playing");
    assert!(w.mixer.last_invite.contains("a=sendrecv"), "{}", w.mixer.last_invite);
    assert_eq!(media(&w), (true, true));
}

#[test]
fn hold_outlives_a_lost_call_and_a_lost_session() {
    let mut w = World::playing(7, config());
    w.local("hold on");
    w.mixer_hangs_up();
    w.run_until(10_000, |w| w.mixer.invites() == 2 && w.rung() == "call");
    assert!(w.mixer.last_invite.contains("a=inactive"), "dialled again on hold");
    assert_eq!(media(&w), (false, false));
    w.kill_qss(Some(qss_endpoint::agent::LinkErrorKind::Closed(1012)));
    w.run(120_000);
    assert_eq!(w.mixer.confirmed_calls(), 0, "the grace is over");
    w.qss.up = true;
    w.run_until(120_000, |w| w.rung() == "call");
    assert_eq!(media(&w), (false, false), "still on hold");
    let sent = |w: &World| w.commands().iter().any(|(_, c)| matches!(c, Command::Start(p) if p.send));
    assert!(w.commands().iter().skip(8).all(|(_, c)| !matches!(c, Command::Update(p) if p.send)));
    assert!(sent(&w), "the first call did send");
    // Whoever hangs up holds nothing any more.
    w.local("hangup");
    w.local("join lobby");
    w.run_until(10_000, |w| w.rung() == "playing");
}

#[test]
fn hold_while_dialling_counts_for_the_call() {
    let mut w = World::started(8, config());
    w.mixer.up = false;
    w.run_until(2_000, |w| w.commands().iter().any(|(_, c)| *c == Command::Open));
    w.local("hold on");
    w.mixer.up = true;
    w.run_until(5_000, |w| w.rung() == "call");
    w.run(1_000);
    assert_eq!(media(&w), (false, false));
    assert!(!w.commands().iter().any(|(_, c)| matches!(c, Command::Start(p) | Command::Update(p) if p.send)));
    assert!(w.mixer.last_invite.contains("a=inactive"));
}

#[test]
fn a_hold_that_nobody_answers_is_resumed_by_a_new_call() {
    let mut w = World::playing(9, config());
    w.local("hold on");
    w.run(100);
    w.mixer.kill();
    w.local("hold off");
    w.run(1_000);
    w.mixer.up = true;
    w.run_until(60_000, |w| w.rung() == "playing");
    assert_eq!(media(&w), (true, true));
}

#[test]
fn there_is_nothing_to_hold_without_a_room() {
    let mut w = World::playing(10, config());
    w.local("hangup");
    assert_eq!(w.local("hold on")["error"]["code"], "no_call");
}

// --- participants ------------------------------------------------------------------------------------------------------

fn participant(w: &mut World, user: &str, status: &str) {
    w.qss_says(&says("participant", &json!({"roomId": ROOM, "userId": user, "status": status})));
}

#[test]
fn who_comes_goes_and_holds_is_told_one_by_one_and_as_a_map() {
    let mut w = World::playing(11, config());
    w.run(2_000);
    let from = w.events.len();
    participant(&mut w, "bob", "IN_CALL");
    participant(&mut w, "bob", "HOLD");
    participant(&mut w, "bob", "IN_CALL");
    participant(&mut w, "lobby", "IN_CALL");
    w.qss_says(&says("participant", &json!({"roomId": "another", "userId": "eve", "status": "IN_CALL"})));
    w.qss_says(&says("mute", &json!({"roomId": ROOM, "userId": "bob", "muted": true})));
    w.run(2_000);
    participant(&mut w, "bob", "HOLD");
    let told = [
        "participantAdded",
        "remoteParticipants",
        "participantHold",
        "participantUnhold",
        "muteChange",
        "participantHold",
    ];
    assert_eq!(room_events(&w, from)[..6], told, "the map is as it was told, so it is not told again");
    let snapshot = w.local("status");
    let here = json!([{"userId": "5da6", "state": "IN_CALL", "muted": false}, {"userId": "bob", "state": "HOLD", "muted": true}]);
    assert_eq!(snapshot["participants"], here);
    w.run(2_000);
    let map = *w.events_of("remoteParticipants").last().expect("a map");
    assert_eq!((&map["participants"]["bob"], &map["old"]["bob"]), (&json!("HOLD"), &json!("IN_CALL")));
    participant(&mut w, "bob", "GONE");
    assert_eq!(w.events_of("participantRemoved")[0]["userId"], "bob");
    w.qss_says(&says("expelled", &json!({ "room": ROOM })));
    assert_eq!(w.local("status")["participants"], json!([]), "and with the room everybody is gone");
    assert_eq!(w.events_of("remoteParticipants").last().expect("a map")["participants"], json!({}));
}

#[test]
fn ten_thousand_participants_are_a_number_and_a_handful_of_events() {
    let mut w = World::playing(12, config());
    w.run(2_000);
    let from = w.events.len();
    let users: Vec<_> = (0..10_000).map(|n| format!("user{n:05}")).collect();
    w.qss_says(&says("participants", &json!({ "participants": users })));
    for user in users.iter().take(2_000) {
        w.qss_says(&says("participant", &json!({"userId": user, "status": "HOLD"})));
    }
    w.run(2_000);
    let told = room_events(&w, from);
    // 20 s of news.
    assert!(told.len() < 22 * 17, "{} events", told.len());
    let snapshot = w.local("status");
    assert_eq!(snapshot["participants"].as_array().map(Vec::len), Some(64));
    assert!(
        snapshot["participants_more"].as_u64().is_some_and(|more| more >= 9_936),
        "{}",
        snapshot["participants_more"]
    );
    let folded: u64 = w.events_of("remoteParticipants").iter().filter_map(|e| e["folded"].as_u64()).sum();
    assert!(folded >= 48, "what was not told one by one is counted: {folded}");
}

#[test]
fn a_qss_that_says_we_are_gone_is_asked_and_its_refusal_counts() {
    let mut w = World::playing(13, config());
    participant(&mut w, "lobby", "GONE");
    w.run(1_000);
    assert_eq!((w.rung(), w.qss.requests("joinRoom").len()), ("playing", 2), "a late word about an earlier session");
    w.run(20_000);
    w.qss.refuse.insert("joinRoom".into(), (403, "user not included into ACL"));
    for _ in 0..20 {
        participant(&mut w, "lobby", "GONE");
    }
    w.run(1_000);
    assert_eq!(w.qss.requests("joinRoom").len(), 3, "and not asked for each repetition");
    assert!(w.causes().contains(&"room_forbidden"), "{:?}", w.causes());
}

#[test]
fn a_qss_that_says_we_are_gone_has_expelled_us_unless_it_is_to_be_asked() {
    for (own_gone, stays) in [(OwnGone::Expelled, false), (OwnGone::Ask, true)] {
        let gone = says("participant", &json!({"roomId": ROOM, "userId": "lobby", "status": "GONE"}));
        let list = |users: &[&str]| says("participants", &json!({"roomId": ROOM, "participants": users}));
        for words in [vec![gone], vec![list(&["lobby", "bob"]), list(&["bob"])]] {
            let mut config = config();
            config.qss.own_gone = own_gone;
            let mut w = World::playing(34, config);
            w.run(120_000);
            words.iter().for_each(|word| w.qss_says(word));
            w.run(1_700_000);
            assert_eq!((w.rung() == "playing", w.events_of("expelled").len()), (stays, usize::from(!stays)));
            assert_eq!(w.qss.requests("joinRoom").len(), 1 + usize::from(stays), "no immediate return");
            w.run(2_000_000);
            assert_eq!((w.rung(), w.qss.requests("joinRoom").len()), ("playing", 2), "but one within the hour");
        }
    }
}

// --- mute --------------------------------------------------------------------------------------------------------------

#[test]
fn mute_is_reported_and_outlives_calls_and_sessions() {
    let mut w = World::playing(14, config());
    w.local("mute on");
    let report = json!({"roomId": ROOM, "to": "lobby", "requestedBy": "lobby", "media": "audio", "muted": true});
    assert_eq!(w.qss.requests("mute").iter().map(|r| &r["payload"]).collect::<Vec<_>>(), [&report]);
    w.mixer_hangs_up();
    w.run_until(10_000, |w| w.rung() == "playing" && w.mixer.invites() == 2);
    assert!(w.voice.muted && w.qss.requests("mute").len() == 1);
    w.kill_qss(Some(qss_endpoint::agent::LinkErrorKind::Closed(1012)));
    w.qss.up = true;
    w.run(60_000);
    assert_eq!(w.qss.requests("mute").len(), 2, "the QSS may have forgotten");
    w.local("mute off");
    assert_eq!(w.qss.requests("mute")[2]["payload"]["muted"], false);
}

#[test]
fn a_report_that_was_not_taken_is_made_again() {
    let mut spoken = config();
    (spoken.qss.names.hold, spoken.qss.names.unhold) = ("hold".into(), "unhold".into());
    for (what, line) in [("mute", "mute on"), ("hold", "hold on")] {
        for (code, reports) in [(503, 2), (0, 2), (501, 1)] {
            let mut w = World::playing(35, spoken.clone());
            w.qss.refuse.insert(what.into(), (code, "not now"));
            w.local(line);
            w.run(12_000);
            let told = |w: &World| {
                let ids = w.qss.requests(what).into_iter().map(|r| r["requestID"].to_string());
                ids.collect::<std::collections::BTreeSet<_>>().len()
            };
            assert_eq!(told(&w), 1, "{what} {code}: after a pause");
            w.qss.refuse.clear();
            w.run(600_000);
            assert_eq!(told(&w), reports, "{what} {code}");
        }
    }
}

#[test]
fn others_may_mute_us_but_unmute_us_only_by_configuration() {
    for (remote_mute, remote_unmute) in [(true, false), (false, false), (true, true)] {
        let mut config = config();
        (config.control.remote_mute, config.control.remote_unmute) = (remote_mute, remote_unmute);
        let mut w = World::playing(15, config);
        let ask = |muted: bool| {
            says("mute-request", &json!({"roomId": ROOM, "to": "lobby", "media": "audio", "muted": muted}))
        };
        w.qss_says(&ask(true));
        assert_eq!(w.voice.muted, remote_mute);
        w.watch.unmuted_from_afar(remote_unmute);
        w.qss_says(&ask(false));
        assert_eq!(w.voice.muted, remote_mute && !remote_unmute);
        assert_eq!(w.qss.requests("mute").len(), usize::from(remote_mute) + usize::from(remote_unmute));
        w.qss_says(&says("mute-request", &json!({"roomId": "another", "to": "lobby", "muted": true})));
        assert_eq!(w.voice.muted, remote_mute && !remote_unmute, "not our room");
    }
}

// --- transfers ---------------------------------------------------------------------------------------------------------

const TARGET_URI: &str = "sip:88800000042@audiomixer-sfu1:5080";

/// The states of transfers, and `error` for each `transferError`.
fn transfers(w: &World) -> Vec<&str> {
    let told = w.events.iter().filter(|e| e["event"] == "callTransfer" || e["event"] == "transferError");
    told.map(|e| e["state"].as_str().unwrap_or("error")).collect()
}

/// A QSS with a second room that knows transfers.
fn with_target(seed: u64) -> World {
    let mut w = World::playing(seed, config());
    w.qss.rooms.insert("target".into(), sim::qss::room("target", TARGET_URI));
    w
}

fn blind() -> String {
    says(
        "callTransfer",
        &json!({"callTransferId": "T1", "roomId": "target", "to": "bob", "mediaTypes": {"audio": true}}),
    )
}

fn attended(id: &str, uri: &str) -> String {
    let room = json!({"uuid": "target", "roomId": "target", "sipUri": uri, "token": "t", "server": {"wss": "wss://h"}});
    json!({"request": "transferring-attended-transfer", "requestID": id,
           "payload": {"requestID": "T2", "targetUserId": "bob", "targetRoom": room}})
    .to_string()
}

fn called(w: &World, uri: &str) -> bool {
    w.mixer.last_invite.starts_with(&format!("INVITE {uri} "))
}

#[test]
fn a_blind_transfer_is_accepted_joined_and_followed() {
    let mut w = with_target(20);
    w.qss_says(&blind());
    w.run_until(5_000, |w| called(w, TARGET_URI) && w.rung() == "playing");
    assert_eq!(w.qss.requests("acceptCallTransfer")[0]["payload"], json!({"callTransferId": "T1"}));
    assert_eq!(w.qss.requests("joinRoom")[1]["payload"], json!({"room": "target"}));
    assert_eq!(w.qss.requests("leaveRoom")[0]["payload"], json!({"room": ROOM}));
    assert_eq!(transfers(&w), ["INVITED", "ACCEPTED", "DONE"]);
    assert_eq!((w.mixer.confirmed_calls(), w.mixer.count("BYE")), (1, 1));
    // When the conversation there is over, the lobby is wanted again.
    w.mixer_hangs_up();
    w.run_until(10_000, |w| called(w, sim::SIP_URI) && w.rung() == "playing");
}

#[test]
fn a_target_that_does_not_admit_us_costs_nothing() {
    for (request, code) in [("acceptCallTransfer", 410), ("joinRoom", 403)] {
        let mut w = with_target(21);
        w.qss.refuse.insert(request.into(), (code, "no"));
        w.qss_says(&blind());
        w.run(30_000);
        assert_eq!((w.rung(), w.mixer.invites(), w.mixer.count("BYE")), ("playing", 1, 0), "{request}: we stay");
        assert_eq!(transfers(&w), ["INVITED", "error"]);
        let error = w.events_of("transferError")[0];
        assert_eq!((&error["callTransferId"], &error["code"]), (&json!("T1"), &json!(code)));
        assert_eq!(error["cause"]["code"], "transfer_refused");
    }
}

#[test]
fn a_target_that_cannot_be_called_brings_us_back() {
    let mut w = with_target(22);
    w.mixer.manner = Manner::Refuse(404);
    w.qss_says(&attended("F1", TARGET_URI));
    w.run(50);
    w.mixer.manner = Manner::Answer;
    w.run_until(5_000, |w| called(w, sim::SIP_URI) && w.rung() == "playing");
    assert_eq!(transfers(&w), ["INVITED", "ACCEPTED", "error"]);
    assert_eq!(w.events_of("transferError")[0]["cause"]["code"], "sip_not_found");
    assert_eq!(w.mixer.confirmed_calls(), 1);
}

/// Nobody would go back there by himself: no room of the configuration.
#[test]
fn a_target_that_cannot_be_called_brings_us_back_to_the_call_that_we_were_invited_to() {
    const ALICE_URI: &str = "sip:88800000077@audiomixer-sfu1:5080";
    let mut config = config();
    config.rooms.clear();
    config.invites.accept = vec!["alice".into()];
    let mut w = World::started(36, config);
    w.run(200);
    w.qss.rooms.insert("alices".into(), sim::qss::room("alices", ALICE_URI));
    let invite = json!({"from": "alice", "room": {"room": "alices", "sipUri": ALICE_URI}});
    w.qss_says(&json!({"request": "invite", "requestID": "I1", "payload": invite}).to_string());
    w.run_until(5_000, |w| w.rung() == "playing");
    w.mixer.manner = Manner::Refuse(404);
    w.qss_says(&attended("F1", TARGET_URI));
    w.run_until(1_000, |w| called(w, TARGET_URI));
    w.mixer.manner = Manner::Answer;
    w.run_until(5_000, |w| called(w, ALICE_URI) && w.rung() == "playing");
    assert_eq!(transfers(&w), ["INVITED", "ACCEPTED", "error"]);
}

#[test]
fn an_attended_transfer_is_answered_followed_and_may_be_taken_back() {
    let mut w = with_target(23);
    w.qss_says(&attended("F1", TARGET_URI));
    w.run_until(5_000, |w| called(w, TARGET_URI) && w.rung() == "playing");
    assert_eq!(w.qss.replies_to("F1")[0]["answer"], "transferring-attended-transfer");
    assert_eq!(w.qss.requests("joinRoom").len(), 1, "the room is ready");
    assert_eq!(transfers(&w), ["INVITED", "ACCEPTED", "DONE"]);
    // Once it is done there is nothing to take back.
    w.qss_says(r#"{"cancel":"transferring-attended-transfer","requestID":"F1","error":487}"#);
    w.run(5_000);
    assert!(called(&w, TARGET_URI) && w.rung() == "playing");
    // Before that, we go back.
    let mut w = with_target(24);
    w.mixer.up = false;
    w.qss_says(&attended("F2", TARGET_URI));
    w.qss_says(r#"{"cancel":"transferring-attended-transfer","requestID":"F2","error":487}"#);
    w.mixer.up = true;
    w.run_until(10_000, |w| called(w, sim::SIP_URI) && w.rung() == "playing");
    assert_eq!(transfers(&w), ["INVITED", "ACCEPTED", "CANCELED"]);
}

#[test]
fn the_policy_may_forbid_transfers_and_there_must_be_a_call() {
    let mut config = config();
    config.control.transfer = false;
    let mut w = World::playing(25, config);
    w.qss_says(&blind());
    w.qss_says(&attended("F1", TARGET_URI));
    w.run(5_000);
    assert_eq!((w.mixer.invites(), w.qss.requests("acceptCallTransfer").len()), (1, 0));
    assert_eq!(w.qss.replies_to("F1")[0]["error"], 603);
    assert_eq!(transfers(&w), ["DECLINED", "DECLINED"]);
    let mut w = with_target(26);
    w.local("hangup");
    w.qss_says(&attended("F1", TARGET_URI));
    w.run(5_000);
    assert_eq!((w.qss.replies_to("F1")[0]["error"].clone(), w.mixer.invites()), (json!(481), 1));
}

#[test]
fn a_transfer_of_ours_ends_in_our_leaving_or_in_an_error() {
    let mut w = with_target(27);
    assert_eq!(w.local("transfer bob"), json!({"ok": true}));
    let asked = json!({"roomId": ROOM, "to": "bob", "mediaTypes": {"audio": true, "video": false, "screen": false}});
    assert_eq!(w.qss.requests("callTransfer")[0]["payload"], asked);
    w.run(5_000);
    assert_eq!(transfers(&w), ["INVITED", "DONE"]);
    assert_eq!((w.rung(), w.mixer.count("BYE")), ("session", 1), "somebody else has our place");
    for (code, cause) in [(486, "transfer_refused"), (0, "transfer_timed_out")] {
        let mut w = with_target(28);
        w.qss.refuse.insert("callTransfer".into(), (code, "busy"));
        w.local("transfer bob");
        assert_eq!(w.local("transfer eve")["error"]["code"] == "moving", code == 0);
        w.run(30_000);
        assert_eq!((w.rung(), w.mixer.count("BYE")), ("playing", 0), "we stay");
        assert_eq!(w.events_of("transferError")[0]["cause"]["code"], cause);
    }
    let mut w = with_target(29);
    w.local("transfer bob eve");
    let asked = json!({"roomId": ROOM, "target": "bob", "transferee": "eve"});
    assert_eq!(w.qss.requests("attended-transfer")[0]["payload"], asked);
    w.local("hangup");
    assert_eq!(w.local("transfer bob")["error"]["code"], "no_call");
}

#[test]
fn what_becomes_of_a_transfer_of_ours_is_told_also_when_we_have_left() {
    let mut w = with_target(32);
    w.local("transfer bob");
    w.run(1_000);
    for state in ["ACCEPTED", "DECLINED"] {
        w.qss_says(&says(
            "callTransfer",
            &json!({"callTransferId": "T1", "roomId": ROOM, "to": "bob", "state": state}),
        ));
    }
    w.qss_says(&says("transferError", &json!({"callTransferId": "T1", "code": 486, "message": "busy"})));
    assert_eq!(transfers(&w), ["INVITED", "DONE", "ACCEPTED", "DECLINED", "error"]);
    let error = w.events_of("transferError")[0];
    assert_eq!((&error["callTransferId"], &error["code"]), (&json!("T1"), &json!(486)));
    assert_eq!(w.rung(), "session");
}

#[test]
fn a_page_that_is_moved_stays_a_page_and_may_be_kept_where_it_is() {
    let page = |id: &str, from: &str| {
        json!({"request": "invite", "requestID": id, "payload": {"id": id, "from": from,
            "room": {"uuid": from, "sipUri": format!("sip:888{from}@audiomixer-sfu1:5080")}}})
        .to_string()
    };
    for (highest, moved) in [(9, true), (8, false)] {
        let mut config = config();
        let accepts = |from: &str, priority| Caller {
            from: vec![from.into()],
            does: CallerAction::Accept,
            priority,
            ..Caller::default()
        };
        config.invites.callers = vec![accepts("fire", 9), accepts("bob", 8)];
        config.control.transfer_priority = highest;
        let mut w = World::playing(33, config);
        w.qss_says(&page("I1", "fire"));
        w.run_until(2_000, |w| w.rung() == "playing");
        w.qss_says(&attended("F1", TARGET_URI));
        w.run(2_000);
        assert_eq!((called(&w, TARGET_URI), w.rung()), (moved, "playing"));
        w.qss_says(&page("I2", "bob"));
        assert_eq!(w.qss.replies_to("I2")[0]["error"], 486, "a page all the same");
    }
}

#[test]
fn a_transfer_of_ours_can_be_taken_back_until_it_is_answered() {
    let mut w = with_target(30);
    assert_eq!(w.local("transfer cancel")["error"]["code"], "no_transfer");
    w.qss.refuse.insert("callTransfer".into(), (0, ""));
    w.local("transfer bob");
    assert_eq!(w.local("transfer cancel"), json!({"ok": true}));
    let asked = w.qss.requests("callTransfer")[0]["requestID"].clone();
    let cancel = w.qss.log.iter().map(|(_, f)| f).find(|f| f["cancel"] == "callTransfer").expect("it is withdrawn");
    assert_eq!(
        (&cancel["requestID"], &cancel["error"], &cancel["payload"]["to"]),
        (&asked, &json!(487), &json!("bob"))
    );
    assert_eq!(transfers(&w), ["INVITED", "CANCELED"]);
    // A yes that crosses it moves nobody any more.
    w.qss_says(&format!(r#"{{"answer":"callTransfer","requestID":{asked},"payload":{{}}}}"#));
    w.run(20_000);
    assert_eq!((w.rung(), w.mixer.count("BYE")), ("playing", 0));
    w.qss.refuse.clear();
    w.local("transfer eve");
    assert_eq!(w.rung(), "session", "another may follow");
}

#[test]
fn a_transfer_of_ours_may_wait_for_the_word_of_who_takes_our_place() {
    let state =
        |id: &str, state: &str| says("callTransfer", &json!({"callTransferId": id, "to": "bob", "state": state}));
    let waiting = |seed| {
        let mut config = config();
        config.qss.transfer_done = TransferDone::Accepted;
        let mut w = World::playing(seed, config);
        w.local("transfer bob");
        w.run(1_000);
        assert_eq!((w.rung(), transfers(&w)), ("playing", vec!["INVITED"]), "answered, and no more");
        w
    };
    let mut w = waiting(34);
    w.qss_says(&state("another", "ACCEPTED"));
    assert_eq!((w.local("transfer eve")["error"]["code"].clone(), w.rung()), (json!("moving"), "playing"));
    w.qss_says(&state("T1", "ACCEPTED"));
    assert_eq!((w.rung(), transfers(&w)), ("session", vec!["INVITED", "ACCEPTED", "ACCEPTED", "DONE"]));
    let error = says("transferError", &json!({"callTransferId": "T1", "code": 480}));
    for (word, told) in
        [(state("T1", "DECLINED"), vec!["INVITED", "DECLINED", "error"]), (error, vec!["INVITED", "error"])]
    {
        let mut w = waiting(35);
        w.qss_says(&word);
        assert_eq!((w.rung(), transfers(&w)), ("playing", told), "we stay");
        assert_eq!(w.local("transfer eve")["ok"], true, "another may follow");
    }
    let mut w = waiting(36);
    w.run(40_000);
    assert_eq!((w.rung(), transfers(&w)), ("playing", vec!["INVITED", "error"]), "the word does not come");
    assert_eq!(w.events_of("transferError")[0]["cause"]["code"], "transfer_timed_out");
    let mut w = waiting(37);
    assert_eq!(w.local("transfer cancel")["ok"], true);
    let asked = w.qss.requests("callTransfer")[0]["requestID"].clone();
    assert!(w.qss.log.iter().any(|(_, f)| f["cancel"] == "callTransfer" && f["requestID"] == asked));
    w.qss_says(&state("T1", "ACCEPTED"));
    assert_eq!(w.rung(), "playing");
    // The word may come before the answer.
    let mut config = config();
    config.qss.transfer_done = TransferDone::Accepted;
    let mut w = World::playing(38, config);
    w.qss.refuse.insert("callTransfer".into(), (0, ""));
    w.local("transfer bob");
    let of_another = says("callTransfer", &json!({"callTransferId": "T9", "to": "eve", "state": "ACCEPTED"}));
    w.qss_says(&of_another);
    assert_eq!(w.rung(), "playing", "it is about somebody else");
    w.qss_says(&state("T1", "ACCEPTED"));
    assert_eq!(w.rung(), "session");
}

/// In a call of our own with ann.
fn with_ann(seed: u64) -> World {
    let mut w = with_target(seed);
    w.qss.people.insert("ann".into(), (100, 200));
    w.local("call ann");
    w.run_until(3_000, |w| w.events_of("call").iter().any(|e| e["step"] == "answered"));
    w.qss_says(&says("participant", &json!({"roomId": "created1", "userId": "ann", "status": "IN_CALL"})));
    w
}

#[test]
fn a_call_of_our_own_goes_when_the_one_that_we_are_moved_to_stands_and_not_before() {
    let mut w = with_ann(39);
    w.mixer.up = false;
    w.qss_says(&attended("F1", TARGET_URI));
    w.run(1_000);
    assert_eq!(w.qss.rooms_left(), ["created1"], "it is needed to come back to");
    assert_eq!(w.qss.requests("leaveRoom").len(), 1, "the lobby was left, and nothing else");
    w.mixer.up = true;
    w.run_until(10_000, |w| called(w, TARGET_URI) && w.rung() == "playing");
    w.run(500);
    assert_eq!(w.qss.rooms_left(), [""; 0]);
    assert_eq!(w.events_of("call").last().expect("its end")["step"], "ended");
    // With no call there it goes on, and ends as any.
    let mut w = with_ann(40);
    w.mixer.manner = Manner::Refuse(404);
    w.qss_says(&attended("F1", TARGET_URI));
    w.mixer.manner = Manner::Answer;
    w.run_until(5_000, |w| called(w, "sip:5551@audiomixer-sfu1:5080") && w.rung() == "playing");
    assert_eq!(transfers(&w), ["INVITED", "ACCEPTED", "error"]);
    assert!(w.events_of("call").iter().all(|e| e["step"] != "ended"));
    assert_eq!(w.local("invite bob")["call"], 1, "it is still our own");
    w.qss_says(&says("participant", &json!({"roomId": "created1", "userId": "ann", "status": "GONE"})));
    w.run_until(5_000, |w| called(w, sim::SIP_URI) && w.rung() == "playing");
    assert_eq!(w.qss.rooms_left(), [""; 0]);
    // Who hangs up on the way does not want to be in either.
    for ends in ["hangup", "join lobby"] {
        let mut w = with_ann(41);
        w.mixer.up = false;
        w.qss_says(&attended("F1", TARGET_URI));
        w.run(100);
        w.local(ends);
        w.mixer.up = true;
        w.run_until(60_000, |w| called(w, sim::SIP_URI) && w.rung() == "playing");
        w.run(500);
        assert_eq!(w.qss.rooms_left(), [""; 0], "{ends}");
    }
    let mut w = with_ann(42);
    w.mixer.up = false;
    w.qss_says(&attended("F1", TARGET_URI));
    w.run(100);
    w.input(qss_endpoint::agent::Input::Stop);
    w.run(1_000);
    assert_eq!(w.qss.rooms_left(), [""; 0], "a stop leaves nothing behind");
}

#[test]
fn a_transfer_in_a_state_that_nobody_knows_moves_nobody() {
    let mut w = with_target(31);
    w.qss_says(&says("callTransfer", &json!({"callTransferId": "T1", "roomId": "target", "state": "PONDERED"})));
    w.run(5_000);
    assert_eq!((w.rung(), w.mixer.invites(), w.qss.requests("acceptCallTransfer").len()), ("playing", 1, 0));
    assert_eq!(w.local("status")["counters"]["problems"]["qss_unknown_value"], 1);
}

/// A device that the mixer may send elsewhere, and is just sending.
fn referred(refer: Refer, manner: Manner) -> World {
    let mut config = config();
    config.sip.refer = refer;
    let mut w = World::playing(1, config);
    w.mixer.manner = manner;
    let refer = w.mixer.refer("sip:elsewhere@127.0.0.1:5080?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc");
    w.post_all(refer);
    w
}

#[test]
fn a_refer_is_followed_when_it_may_be() {
    let mut w = referred(Refer::Follow, Manner::Answer);
    w.run(1_000);
    assert!(w.mixer.last_invite.starts_with("INVITE sip:elsewhere@127.0.0.1:5080 "), "{}", w.mixer.last_invite);
    assert!(w.mixer.last_invite.contains("\r\nReplaces: a;to-tag=b;from-tag=c\r\n"));
    assert_eq!((w.mixer.count("NOTIFY"), w.mixer.count("BYE"), w.mixer.confirmed_calls()), (2, 1, 1));
    w.run_until(1_000, |w| w.rung() == "playing");
    w.run(60_000);
    assert_eq!((w.rung(), w.mixer.invites()), ("playing", 2));
}

#[test]
fn a_refer_that_leads_nowhere_brings_the_device_back() {
    let mut w = referred(Refer::Follow, Manner::Refuse(486));
    w.run_until(1_000, |w| w.mixer.count("NOTIFY") == 2);
    w.mixer.manner = Manner::Answer;
    w.run_until(5_000, |w| w.rung() == "playing");
    assert!(!w.mixer.last_invite.contains("elsewhere") && !w.mixer.last_invite.contains("Replaces"));
    assert_eq!(w.mixer.confirmed_calls(), 1);
}

#[test]
fn by_default_a_refer_changes_nothing_and_a_hang_up_ends_both_calls() {
    let mut w = referred(Refer::Refuse, Manner::Answer);
    w.run(5_000);
    assert_eq!((w.rung(), w.mixer.invites(), w.mixer.count("NOTIFY")), ("playing", 1, 0));
    assert!(w.mixer.answers.iter().any(|answer| answer == "405 1 REFER"), "{:?}", w.mixer.answers);
    let mut w = referred(Refer::Follow, Manner::PlayThenAnswer);
    w.run(500);
    w.local("hangup");
    w.run(5_000);
    assert_eq!((w.rung(), w.mixer.confirmed_calls()), ("session", 0));
}
