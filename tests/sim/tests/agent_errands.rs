//! What local commands ask of the QSS about others, and of others.

use qss_endpoint::agent::LinkErrorKind;
use qss_endpoint::config::Secret;
use serde_json::{Value, json};
use sim::{ROOM, World, config};

/// What came of the requests: number, what, outcome, code of the cause.
fn outcomes(w: &World) -> Vec<(u64, &str, &str, Value)> {
    w.events_of("request")
        .into_iter()
        .map(|e| {
            let word = |key: &str| e[key].as_str().expect("a word");
            (e["request"].as_u64().expect("a number"), word("what"), word("outcome"), e["cause"]["status"].clone())
        })
        .collect()
}

#[test]
fn participants_are_added_removed_and_muted_and_the_outcome_told() {
    let mut w = World::playing(1, config());
    assert_eq!(w.local("add bob eve"), json!({"ok": true, "request": 1}));
    assert_eq!(w.local("remove eve"), json!({"ok": true, "request": 2}));
    assert_eq!(w.local("mute bob"), json!({"ok": true, "request": 3}));
    assert_eq!(w.local(r#"{"command":"unmute","to":"bob"}"#), json!({"ok": true, "request": 4}));
    let sent = |name: &str| w.qss.requests(name).iter().map(|r| r["payload"].clone()).collect::<Vec<_>>();
    assert_eq!(sent("addParticipants"), [json!({"room": ROOM, "participants": ["bob", "eve"]})]);
    assert_eq!(sent("removeParticipants"), [json!({"room": ROOM, "participants": ["eve"]})]);
    let mute =
        |muted: bool| json!({"roomId": ROOM, "to": "bob", "requestedBy": "lobby", "media": "audio", "muted": muted});
    assert_eq!(sent("mute"), [mute(true), mute(false)]);
    let told = ["add", "remove", "mute", "unmute"];
    let told: Vec<_> = (1..).zip(told).map(|(number, what)| (number, what, "done", Value::Null)).collect();
    assert_eq!(outcomes(&w), told);
    assert_eq!(w.events_of("request")[0]["users"], json!(["bob", "eve"]));
    assert!(!w.voice.muted, "it is the other who is muted");
}

#[test]
fn a_refusal_and_a_silence_are_told_with_their_cause() {
    let mut w = World::playing(2, config());
    w.qss.refuse.insert("addParticipants".into(), (406, "participantsLimit"));
    w.qss.refuse.insert("removeParticipants".into(), (0, ""));
    w.local("add bob");
    w.local("remove bob");
    w.run(11_000);
    assert_eq!(outcomes(&w), [(1, "add", "refused", json!(406)), (2, "remove", "unanswered", Value::Null)]);
    let causes: Vec<_> = w.events_of("request").iter().map(|e| e["cause"]["code"].clone()).collect();
    assert_eq!(causes, ["request_refused", "request_timed_out"]);
    w.local("remove eve");
    w.kill_qss(Some(LinkErrorKind::Closed(1012)));
    w.run(100);
    assert_eq!(outcomes(&w)[2], (3, "remove", "unanswered", Value::Null), "a lost session answers nothing");
    assert_eq!(w.local("add bob")["error"]["code"], "no_session");
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let mut silent = config();
    silent.qss.names.add_participants = String::new();
    let mut w = World::playing(3, silent);
    assert_eq!(w.local("add bob")["error"]["code"], "not_offered");
    w.qss.refuse.insert("removeParticipants".into(), (0, ""));
    for _ in 0..16 {
        w.input(qss_endpoint::agent::Input::Local { client: 1, line: "remove bob" });
    }
    assert_eq!(w.local("remove bob")["error"]["code"], "too_many");
    w.local("hangup");
    assert_eq!(w.local("mute bob")["error"]["code"], "no_call");
    let mut direct = config();
    direct.qss.url = None;
    direct.qss.token = Secret::default();
    direct.rooms[0].target = qss_endpoint::config::RoomTarget::SipUri(sim::SIP_URI.into());
    let mut w = World::playing(4, direct);
    assert_eq!(w.local("add bob")["error"]["code"], "no_call", "a room dialled by its address is none of the QSS");
    assert_eq!(w.local("request desk")["error"]["code"], "no_session");
}

// --- into the room of others -----------------------------------------------------------------------------------------------

#[test]
fn anybody_in_a_room_may_invite_others_and_hears_what_each_of_them_says() {
    let mut config = config();
    config.calls.plain.context = vec![("floor".into(), "2".into())];
    let mut w = World::playing(7, config);
    w.qss.people = [("ann", (500, 200)), ("bob", (800, 486)), ("cid", (0, 0))]
        .map(|(user, habit)| (user.to_owned(), habit))
        .into();
    assert_eq!(w.local(r#"{"command":"invite","to":["ann","bob","cid"],"context":{"door":"north"}}"#)["request"], 1);
    let offer = w.qss.requests("invite")[0]["payload"].clone();
    assert_eq!((&offer["to"], &offer["room"], &offer["from"]), (&json!("ann"), &json!(ROOM), &json!("lobby")));
    assert_eq!(offer["context"], json!({"door": "north", "floor": "2"}));
    w.run(60_000);
    let (done, refused, unanswered) = ("done", "refused", "unanswered");
    assert_eq!(
        outcomes(&w),
        [(1, "invite", done, Value::Null), (1, "invite", refused, json!(486)), (1, "invite", unanswered, Value::Null)]
    );
    let users: Vec<_> = w.events_of("request").iter().map(|e| e["users"].clone()).collect();
    assert_eq!(users, [json!(["ann"]), json!(["bob"]), json!(["cid"])]);
    let withdrawn = |w: &World| w.qss.log.iter().filter(|(_, f)| f["cancel"] == "invite").count();
    assert_eq!(withdrawn(&w), 1, "who has rung for long enough is told");
    assert_eq!((w.rung(), w.mixer.invites()), ("playing", 1), "we stay");
    // Nobody is to come for the sake of somebody who has left.
    assert_eq!(w.local("invite cid")["request"], 2);
    w.local("hangup");
    assert_eq!((outcomes(&w)[3].clone(), withdrawn(&w)), ((2, "invite", "withdrawn", Value::Null), 2));
    assert_eq!(w.local("invite ann")["error"]["code"], "no_call");
}

// --- please invite me ----------------------------------------------------------------------------------------------------

const DESK_URI: &str = "sip:88800000077@audiomixer-sfu1:5080";

/// A QSS at which `desk` invites whoever asks for it, after so many milliseconds.
fn with_desk(seed: u64, after: u64) -> World {
    let mut w = World::playing(seed, config());
    w.qss.rooms.insert("desk-room".into(), sim::qss::room("desk-room", DESK_URI));
    w.qss.hosts.insert("desk".into(), (after, "desk-room".into()));
    w
}

fn called(w: &World, uri: &str) -> bool {
    w.mixer.last_invite.starts_with(&format!("INVITE {uri} "))
}

#[test]
fn an_invite_that_was_asked_for_is_accepted_though_nobody_else_is() {
    let mut w = with_desk(5, 8_000);
    assert_eq!(w.local("request desk lounge"), json!({"ok": true, "request": 1}));
    let asked = w.qss.requests("inviteRequest")[0];
    assert_eq!(asked["payload"], json!({"from": "lobby", "to": "desk", "room": "lounge"}));
    assert_eq!(w.local("request desk")["error"]["code"], "busy", "one at a time");
    w.run_until(20_000, |w| called(w, DESK_URI) && w.rung() == "playing");
    assert_eq!(outcomes(&w), [(1, "invitation", "done", Value::Null)]);
    assert_eq!(w.qss.replies_to("HOST1")[0]["answer"], "invite");
    // Anyone else is declined as before, whatever id they make up.
    w.qss_says(r#"{"request":"invite","requestID":"X","payload":{"from":"mallory","requestId":"made-up","room":"r"}}"#);
    assert_eq!(w.qss.replies_to("X")[0]["error"], 603);
    assert_eq!(w.local("request desk")["error"]["code"], "busy", "in a call");
}

#[test]
fn who_is_asked_may_refuse_or_never_keep_the_promise() {
    let mut w = with_desk(6, 8_000);
    w.local("request nobody");
    assert_eq!(outcomes(&w), [(1, "invitation", "refused", json!(404))]);
    w.qss.hosts.insert("desk".into(), (3_600_000, "desk-room".into()));
    w.local("request desk");
    w.run(45_000);
    assert_eq!(outcomes(&w)[1], (2, "invitation", "unanswered", Value::Null));
    assert_eq!((w.rung(), w.mixer.invites()), ("playing", 1), "the lobby goes on");
}

#[test]
fn hanging_up_ends_the_asking_before_it_ends_the_room() {
    let mut w = with_desk(7, 8_000);
    w.qss.refuse.insert("inviteRequest".into(), (0, ""));
    w.local("request desk");
    assert_eq!(w.local("hangup"), json!({"ok": true}));
    let cancel = w.qss.log.iter().map(|(_, f)| f).find(|f| f["cancel"] == "inviteRequest").expect("it is withdrawn");
    assert_eq!((&cancel["error"], &cancel["payload"]["to"]), (&json!(487), &json!("desk")));
    assert_eq!(outcomes(&w), [(1, "invitation", "withdrawn", Value::Null)]);
    assert_eq!(w.rung(), "playing");
    w.local("hangup");
    assert_eq!(w.rung(), "session");
}

#[test]
fn a_call_that_began_meanwhile_is_not_left_for_the_invite() {
    let mut w = with_desk(8, 8_000);
    w.qss.rooms.insert("other".into(), sim::qss::room("other", "sip:88800000078@audiomixer-sfu1:5080"));
    w.local("request desk");
    w.local("join other");
    w.run(20_000);
    assert_eq!(w.qss.replies_to("HOST1")[0]["error"], 486);
    assert_eq!(outcomes(&w), [(1, "invitation", "withdrawn", Value::Null)]);
    assert!(!called(&w, DESK_URI) && w.rung() == "playing");
}

// --- hold, told to a QSS that wants to know -----------------------------------------------------------------------------

#[test]
fn hold_is_reported_where_there_is_a_word_and_again_after_a_lost_session() {
    let mut wordy = config();
    (wordy.qss.names.hold, wordy.qss.names.unhold) = ("hold".into(), "unhold".into());
    let mut w = World::playing(9, wordy);
    w.local("hold on");
    assert_eq!(w.qss.requests("hold").iter().map(|r| &r["payload"]).collect::<Vec<_>>(), [&json!({"roomId": ROOM})]);
    w.kill_qss(Some(LinkErrorKind::Closed(1012)));
    w.qss.up = true;
    w.run(60_000);
    assert_eq!((w.qss.requests("hold").len(), w.qss.requests("unhold").len()), (2, 0), "the QSS may have forgotten");
    w.local("hold off");
    assert_eq!((w.qss.requests("hold").len(), w.qss.requests("unhold").len()), (2, 1));
    let mut w = World::playing(10, config());
    w.local("hold on");
    w.local("hold off");
    assert_eq!(w.qss.requests("hold").len() + w.qss.requests("unhold").len(), 0, "by default it is not told");
}
