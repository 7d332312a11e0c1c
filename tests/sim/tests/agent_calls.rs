//! Calls of the device itself, on virtual time: the room that is made, who rings when, and that no room is left behind.

use qss_endpoint::agent::LinkErrorKind;
use qss_endpoint::config::{Button, Call, Config, HuntMode, OwnGone, RoomTarget};
use qss_endpoint::media::command::Command;
use qss_endpoint::media::tone::Tone;
use qss_endpoint::time::Span;
use serde_json::{Value, json};
use sim::mixer::Manner;
use sim::{World, config};

const MADE: &str = "created1";

/// A door station: no room of its own, somebody to call.
fn door() -> Config {
    let mut config = config();
    config.rooms.clear();
    let desk = |mode| Call {
        name: "desk".into(),
        targets: vec!["ann".into(), "bob".into(), "cid".into()],
        mode,
        ring: Span::from_secs(20),
        total: Span::from_secs(50),
        record: false,
        context: vec![("door".into(), "north".into())],
    };
    config.calls.list = vec![desk(HuntMode::InTurn), Call { name: "all".into(), ..desk(HuntMode::AtOnce) }];
    config
}

fn idle(config: Config) -> World {
    let mut world = World::started(1, config);
    // Whoever is not said to do anything else rings for ever.
    world.qss.people = ["ann", "bob", "cid"].map(|user| (user.to_owned(), (0, 0))).into();
    world.run(200);
    assert_eq!(world.rung(), "session");
    world
}

fn steps(w: &World) -> Vec<String> {
    let step = |e: &&Value| {
        let user = e["user"].as_str().map(|user| format!(" {user}")).unwrap_or_default();
        let outcome = e["outcome"].as_str().map(|outcome| format!(" {outcome}")).unwrap_or_default();
        format!("{}{user}{outcome}", e["step"].as_str().expect("a step"))
    };
    w.events_of("call").iter().map(step).collect()
}

/// Users invited, in order; the same request sent again does not count.
fn invited(w: &World) -> Vec<String> {
    let mut requests = w.qss.requests("invite");
    let mut seen = std::collections::BTreeSet::new();
    requests.retain(|r| seen.insert(r["requestID"].to_string()));
    requests.iter().map(|r| r["payload"]["to"].as_str().expect("a user").to_owned()).collect()
}

/// Withdrawals of invites, by user.
fn withdrawn(w: &World) -> Vec<String> {
    let frames = w.qss.log.iter().map(|(_, frame)| frame).filter(|frame| frame["cancel"] == "invite");
    frames.map(|frame| frame["payload"]["to"].as_str().expect("a user").to_owned()).collect()
}

fn tones(w: &World) -> Vec<Option<Tone>> {
    let tone = |command: &Command| match command {
        Command::Tone(tone @ (Tone::Ringback | Tone::Busy)) => Some(Some(*tone)),
        Command::ToneStop => Some(None),
        _ => None,
    };
    w.commands().iter().filter_map(|(_, command)| tone(command)).collect()
}

fn presence(user: &str, status: &str) -> String {
    json!({"type": "event", "payload": {"eventName": "participantStatus", "payload":
        {"roomId": MADE, "userId": user, "status": status}}})
    .to_string()
}

#[track_caller]
fn nothing_left(w: &mut World) {
    w.run(1_000);
    assert_eq!(w.qss.rooms_left(), [""; 0], "{:?}", steps(w));
    assert_eq!((w.rung(), w.mixer.confirmed_calls()), ("session", 0));
    assert_eq!(kept_rooms(w), [0, 0]);
}

/// How many rooms are kept on disk, and how many questions for one.
fn kept_rooms(w: &World) -> [usize; 2] {
    let kept: Value = serde_json::from_str(w.kept.as_deref().expect("something was kept")).expect("JSON");
    ["rooms", "births"].map(|list| kept[list].as_array().map_or(0, Vec::len))
}

#[test]
fn a_call_makes_a_room_rings_talks_and_destroys_it_when_the_other_has_gone() {
    let mut config = door();
    config.qss.own_gone = OwnGone::Ask;
    let mut w = idle(config);
    w.qss.people.insert("ann".into(), (3_000, 200));
    assert_eq!(w.local("call desk"), json!({"ok": true, "call": 1}));
    assert_eq!((w.rung(), w.qss.rooms_left()), ("playing", vec![MADE]));
    assert_eq!(w.qss.requests("invite")[0]["payload"]["room"], MADE);
    assert_eq!(tones(&w), [Some(Tone::Ringback)]);
    w.run(3_000);
    assert_eq!(tones(&w), [Some(Tone::Ringback), None]);
    assert_eq!(steps(&w), ["making", "ringing ann", "answered ann"]);
    w.qss_says(&presence("ann", "IN_CALL"));
    w.run(60_000);
    assert_eq!(w.rung(), "playing");
    w.qss_says(&presence("lobby", "GONE"));
    w.qss_says(&presence("5da6", "GONE"));
    assert_eq!(w.rung(), "playing", "it is not us who leaves us alone");
    w.qss_says(&presence("ann", "GONE"));
    nothing_left(&mut w);
    assert_eq!(w.events_of("call").last().expect("an event")["cause"]["code"], "others_gone");
    assert!(w.qss.requests("leaveRoom").is_empty(), "a room whose owner leaves may get another");
    assert_eq!(withdrawn(&w), [""; 0]);
}

#[test]
fn a_roster_without_anybody_ends_the_call_too() {
    let mut w = idle(door());
    w.qss.people.insert("ann".into(), (100, 200));
    w.local("call desk");
    w.run(1_000);
    let roster = |users: &[&str]| {
        json!({"type": "event", "payload": {"eventName": "participants", "payload":
            {"room": MADE, "participants": users}}})
        .to_string()
    };
    w.qss_says(&roster(&["lobby", "ann"]));
    w.qss_says(&roster(&["lobby", "ann"]));
    assert_eq!(w.rung(), "playing");
    w.qss_says(&roster(&["lobby"]));
    nothing_left(&mut w);
}

#[test]
fn in_turn_each_refusal_and_each_silence_leads_to_the_next() {
    let mut w = idle(door());
    w.qss.people.insert("ann".into(), (500, 486));
    w.qss.people.insert("cid".into(), (2_000, 200));
    w.local("call desk");
    w.run(1_000);
    assert_eq!(invited(&w), ["ann", "bob"]);
    w.run(20_000);
    assert_eq!((invited(&w), withdrawn(&w)), (vec!["ann".into(), "bob".into(), "cid".into()], vec!["bob".to_owned()]));
    w.run(2_000);
    assert_eq!(
        steps(&w),
        [
            "making",
            "ringing ann",
            "refused ann busy",
            "ringing bob",
            "refused bob no_answer",
            "ringing cid",
            "answered cid"
        ]
    );
    let last = w.events_of("outgoingInvitations").last().expect("an event")["invitations"].clone();
    let states: Vec<_> = last.as_array().expect("a list").iter().map(|i| i["state"].as_str().expect("one")).collect();
    assert_eq!(states, ["rejected", "canceled", "accepted"]);
    assert_eq!(w.local("hangup")["ok"], true);
    nothing_left(&mut w);
}

#[test]
fn each_refusal_has_its_name() {
    let rows = [
        (603, "declined"),
        (486, "busy"),
        (480, "not_connected"),
        (404, "unknown"),
        (408, "no_answer"),
        (487, "elsewhere"),
        (403, "forbidden"),
        (501, "failed"),
    ];
    for (code, outcome) in rows {
        let mut w = idle(door());
        w.qss.people.insert("eve".into(), (500, code));
        assert_eq!(w.local("call eve")["ok"], true);
        w.run(1_000);
        assert_eq!(steps(&w)[2..], [format!("refused eve {outcome}"), format!("nobody {outcome}")]);
        w.run(3_100);
        nothing_left(&mut w);
    }
}

#[test]
fn when_nobody_comes_the_busy_tone_is_heard_and_the_room_goes() {
    let mut w = idle(door());
    w.local("call desk");
    w.run(51_000);
    assert_eq!((invited(&w).len(), withdrawn(&w).len()), (3, 3));
    assert_eq!(tones(&w), [Some(Tone::Ringback), None, Some(Tone::Busy)]);
    assert_eq!((w.rung(), steps(&w).last().map(String::as_str)), ("playing", Some("nobody no_answer")));
    w.run(3_000);
    nothing_left(&mut w);
    assert_eq!(w.events_of("call").last().expect("an event")["cause"]["code"], "nobody_answered");
}

#[test]
fn at_once_all_ring_and_the_first_gets_the_call() {
    let mut w = idle(door());
    w.qss.people.insert("bob".into(), (4_000, 200));
    w.qss.people.insert("cid".into(), (1_000, 603));
    w.local("call all");
    assert_eq!(invited(&w), ["ann", "bob", "cid"]);
    w.run(5_000);
    assert_eq!(withdrawn(&w), ["ann"]);
    w.qss_says(&presence("bob", "IN_CALL"));
    w.qss_says(&presence("bob", "GONE"));
    nothing_left(&mut w);
}

#[test]
fn the_words_of_a_call_go_with_its_invites() {
    let mut config = door();
    config.calls.plain.context = vec![("floor".into(), "2".into())];
    for (line, words) in [("call all", json!({"door": "north"})), ("call eve", json!({"floor": "2"}))] {
        let mut w = idle(config.clone());
        w.local(line);
        w.run(1_000);
        let invites = w.qss.requests("invite");
        assert!(!invites.is_empty() && invites.iter().all(|invite| invite["payload"]["context"] == words), "{line}");
    }
    // Those of a command come besides the configured ones, or in their place.
    let mut w = idle(config);
    w.local(r#"{"command":"call","to":"all","context":{"door":"south","rings":"twice"}}"#);
    w.run(1_000);
    let words = json!({"door": "south", "rings": "twice"});
    assert!(w.qss.requests("invite").iter().all(|invite| invite["payload"]["context"] == words));
    assert_eq!(invited(&w).len(), 3);
    w.local(r#"{"command":"invite","to":"eve","context":{"floor":"9"}}"#);
    w.run(1_000);
    let last = *w.qss.requests("invite").last().expect("an invite");
    assert_eq!((&last["payload"]["to"], &last["payload"]["context"]), (&json!("eve"), &json!({"floor": "9"})));
}

#[test]
fn an_acceptance_that_crosses_its_withdrawal_is_a_call() {
    let mut w = idle(door());
    w.qss.people.insert("ann".into(), (20_003, 200));
    w.local("call desk");
    w.run(21_000);
    assert_eq!(
        (invited(&w), withdrawn(&w)),
        (vec!["ann".into(), "bob".into()], vec!["ann".to_owned(), "bob".to_owned()])
    );
    assert_eq!(steps(&w).last().map(String::as_str), Some("answered ann"));
}

#[test]
fn hanging_up_while_it_rings_withdraws_and_destroys() {
    for after_ms in [0, 5, 12, 15, 20, 100, 5_000] {
        let mut w = idle(door());
        w.input(qss_endpoint::agent::Input::Local { client: 1, line: "call all" });
        w.run(after_ms);
        assert_eq!(w.local("hangup"), json!({"ok": true}), "after {after_ms} ms");
        w.run(2_000);
        let (mut asked, mut told) = (invited(&w), withdrawn(&w));
        asked.sort();
        told.sort();
        assert_eq!(asked, told, "who was invited was told, after {after_ms} ms");
        w.run(60_000);
        nothing_left(&mut w);
    }
}

#[test]
fn more_are_invited_into_a_room_that_was_made_without_anybody() {
    let mut w = idle(door());
    assert_eq!(w.local("invite ann")["error"]["code"], "no_call");
    assert_eq!(w.local("create record")["call"], 1);
    w.run(500);
    assert_eq!((w.rung(), w.qss.rooms[MADE]["record"].clone()), ("playing", json!(true)));
    assert_eq!(w.qss.requests("createRoom")[0]["payload"], json!({"record": true}));
    w.qss.people.insert("ann".into(), (100, 200));
    assert_eq!(w.local("invite ann bob/4")["call"], 1);
    w.run(1_000);
    w.qss_says(&presence("ann", "IN_CALL"));
    w.run(59_000);
    assert_eq!(invited(&w), ["ann", "bob/4"]);
    assert_eq!(steps(&w).last().map(String::as_str), Some("refused bob/4 no_answer"));
    assert_eq!(w.rung(), "playing", "nobody else is needed to talk to ann");
    assert_eq!(w.local("destroy")["ok"], true);
    nothing_left(&mut w);
}

#[test]
fn a_call_takes_the_place_of_a_configured_room_and_gives_it_back() {
    let mut config = door();
    config.rooms = sim::config().rooms;
    let mut w = World::playing(2, config);
    w.qss.people.insert("eve".into(), (100, 603));
    assert_eq!(w.local("call eve")["ok"], true);
    assert_eq!(w.local("call eve")["error"]["code"], "busy");
    assert_eq!(w.local("destroy lobby")["error"]["code"], "not_ours");
    w.run(5_000);
    w.run_until(5_000, |w| w.rung() == "playing");
    assert_eq!(
        (w.qss.rooms_left(), w.events.last().expect("an event")["room"]["name"].clone()),
        (vec![], json!("lobby"))
    );
}

#[test]
fn nobody_is_rung_before_our_own_call_stands() {
    let mut w = idle(door());
    w.mixer.manner = Manner::Refuse(486);
    w.local("call desk");
    w.run(60_000);
    assert_eq!(invited(&w), [""; 0]);
    assert!(w.causes().contains(&"sip_busy"));
    nothing_left(&mut w);
}

#[test]
fn a_call_without_a_room_or_a_session_is_refused() {
    let mut w = World::started(1, door());
    w.kill_qss(Some(LinkErrorKind::Closed(1001)));
    assert_eq!(w.local("call desk")["error"]["code"], "no_session");
    let mut w = idle(door());
    w.qss.refuse.insert("createRoom".into(), (403, "notInACall"));
    assert_eq!(w.local("call desk")["ok"], true, "the QSS has its say later");
    w.run(1_000);
    assert_eq!(steps(&w), ["making", "ended"]);
    assert_eq!(w.events_of("call")[1]["cause"]["code"], "room_forbidden");
    nothing_left(&mut w);
}

#[test]
fn a_lost_session_rings_again_and_the_room_goes_when_it_is_back() {
    let mut config = door();
    config.qss.spread = Span::ZERO;
    let mut w = idle(config);
    w.local("call desk");
    w.kill_qss(Some(LinkErrorKind::Closed(1012)));
    w.qss.up = true;
    w.qss.people.insert("ann".into(), (500, 200));
    w.run(5_000);
    assert_eq!((invited(&w), w.rung()), (vec!["ann".to_owned()], "playing"), "the same invite, sent again");
    assert_eq!(w.qss.requests("invite").len(), 2);
    assert_eq!(steps(&w).last().map(String::as_str), Some("answered ann"));
    w.kill_qss(Some(LinkErrorKind::Closed(1012)));
    w.run(10);
    assert_eq!(w.local("hangup")["ok"], true);
    assert_eq!(w.qss.rooms_left(), [MADE]);
    w.qss.up = true;
    w.run(60_000);
    nothing_left(&mut w);
}

/// A door station that comes back at once when its session is lost.
fn prompt_door() -> Config {
    let mut config = door();
    config.qss.spread = Span::ZERO;
    config
}

fn lose_the_session(w: &mut World) {
    w.kill_qss(Some(LinkErrorKind::Closed(1012)));
    w.qss.up = true;
}

#[test]
fn who_accepts_and_never_comes_is_not_waited_for_for_ever() {
    let mut w = idle(door());
    w.qss.people.insert("ann".into(), (500, 200));
    w.local("call desk");
    w.run(59_000);
    assert_eq!((w.rung(), w.qss.requests("joinRoom").len()), ("playing", 0));
    w.run(3_000);
    assert_eq!(w.qss.requests("joinRoom").len(), 1, "the QSS says who is there");
    nothing_left(&mut w);
    assert_eq!(w.events_of("call").last().expect("an event")["cause"]["code"], "others_gone");

    let mut w = idle(door());
    w.qss.people.insert("ann".into(), (500, 200));
    w.local("call desk");
    w.run(1_000);
    w.qss.rooms.get_mut(MADE).expect("a room")["participants"] = json!([]);
    w.run(600_000);
    assert_eq!(w.rung(), "playing", "a QSS that lists nobody says nothing");
    w.qss.rooms.get_mut(MADE).expect("a room")["participants"] = json!(["5da6", "ann"]);
    w.run(600_000);
    assert_eq!(w.rung(), "playing");
}

#[test]
fn the_others_who_leave_while_the_session_is_lost_are_missed() {
    for returns in [false, true] {
        let mut w = idle(prompt_door());
        w.qss.people.insert("ann".into(), (500, 200));
        w.local("call desk");
        w.run(1_000);
        w.qss_says(&presence("ann", "IN_CALL"));
        w.run(100_000);
        lose_the_session(&mut w);
        w.run(10_000);
        assert_eq!(w.rung(), "playing", "the others may come later than we do");
        if returns {
            w.qss_says(&presence("ann", "IN_CALL"));
        }
        w.run(600_000);
        assert_eq!(w.rung(), if returns { "playing" } else { "session" });
    }
}

#[test]
fn an_invite_that_a_lost_session_leaves_open_stays_one_invite() {
    let mut w = idle(prompt_door());
    w.local("call desk");
    w.run(1_000);
    lose_the_session(&mut w);
    w.run(5_000);
    let sent = w.qss.requests("invite");
    assert!(sent.len() > 1 && sent.iter().all(|r| **r == *sent[0]), "{sent:?}");
    // Hung up without a session: what still rings is told with the next one.
    lose_the_session(&mut w);
    w.run(10);
    assert_eq!((w.local("hangup")["ok"].clone(), withdrawn(&w)), (json!(true), vec![]));
    w.run(5_000);
    assert_eq!(withdrawn(&w), ["ann"]);
    nothing_left(&mut w);

    // Somebody has come meanwhile: a QSS that does not repeat its answers refuses to invite them again.
    let mut w = idle(prompt_door());
    w.local("call desk");
    w.run(1_000);
    lose_the_session(&mut w);
    w.qss.rooms.get_mut(MADE).expect("a room")["participants"] = json!(["5da6", "ann"]);
    w.qss.people.insert("ann".into(), (50, 409));
    w.run(60_000);
    assert_eq!((w.rung(), invited(&w)), ("playing", vec!["ann".to_owned()]));
    assert_eq!(steps(&w).last().map(String::as_str), Some("answered ann"));
}

#[test]
fn no_room_outlives_a_crash() {
    // Before the answer, right after it, while it rings, while they talk.
    for after_ms in [1, 6, 9, 11, 14, 100, 2_000, 30_000] {
        let mut w = idle(door());
        w.qss.people.insert("ann".into(), (1_000, 200));
        w.input(qss_endpoint::agent::Input::Local { client: 1, line: "call desk" });
        w.run(after_ms);
        w.restart_device();
        w.run(60_000);
        assert_eq!(w.qss.rooms_left(), [""; 0], "crashed after {after_ms} ms");
        assert_eq!(kept_rooms(&w), [0, 0]);
    }
}

/// What must hold at each step says so (`sim::World::act`).
#[test]
fn a_room_is_written_down_before_it_is_asked_for() {
    let mut w = idle(door());
    w.local("create");
    assert_eq!((w.qss.rooms_left(), kept_rooms(&w)), (vec![MADE], [1, 0]));
}

#[test]
fn a_question_without_an_answer_is_repeated_under_its_id_and_its_room_destroyed() {
    let mut w = idle(door());
    w.qss.mute = true;
    w.local("call desk");
    w.run(15_000);
    w.qss.mute = false;
    w.run(120_000);
    let asked = w.qss.requests("createRoom");
    assert!(asked.len() > 4, "sent, sent again three times, and later for its name only");
    assert!(asked.iter().all(|r| r["requestID"] == asked[0]["requestID"]), "it is one and the same request");
    nothing_left(&mut w);
}

#[test]
fn a_room_of_the_configuration_goes_when_it_is_hung_up_and_when_the_process_stops_or_has_crashed() {
    let mut config = config();
    config.rooms[0].target = RoomTarget::Create { record: false };
    let mut w = World::playing(3, config.clone());
    w.local("hangup");
    w.run(1_000);
    assert_eq!(w.qss.rooms_left(), [""; 0]);
    assert_eq!(w.local("join lobby")["ok"], true);
    w.run_until(2_000, |w| w.rung() == "playing");
    assert_eq!(w.qss.rooms_left(), ["created2"]);
    w.restart_device();
    w.run_until(60_000, |w| w.rung() == "playing");
    w.run(2_000);
    assert_eq!(w.qss.rooms_left(), ["created3"]);
    w.input(qss_endpoint::agent::Input::Stop);
    w.run(2_000);
    assert!(w.exited_at.is_some());
    assert_eq!(w.qss.rooms_left(), [""; 0]);
}

#[test]
fn a_qss_that_lets_no_room_be_destroyed_is_told_of_once() {
    let mut w = idle(door());
    w.qss.refuse.insert("destroyRoom".into(), (501, "unknown"));
    w.local("create");
    w.local("hangup");
    w.run(600_000);
    assert_eq!(w.qss.requests("destroyRoom").len(), 1);
    let left = w.events_of("room_left");
    assert_eq!(
        (left.len(), &left[0]["id"], &left[0]["cause"]["code"]),
        (1, &json!(MADE), &json!("room_not_destroyed"))
    );
}

#[test]
fn a_room_that_is_not_found_when_it_is_joined_is_destroyed_all_the_same() {
    let mut w = idle(door());
    w.local("create");
    w.run(500);
    w.qss.refuse.insert("joinRoom".into(), (404, "no such room"));
    // After the return of the session the device asks whether it is still in the room.
    w.kill_qss(Some(LinkErrorKind::Closed(1012)));
    w.qss.up = true;
    w.run(30_000);
    assert!(w.causes().contains(&"room_not_found"));
    nothing_left(&mut w);
}

#[test]
fn a_room_whose_making_is_answered_by_silence_and_then_refused_is_destroyed_in_the_end() {
    let mut w = idle(door());
    w.qss.tongueless = true;
    w.local("create");
    w.run(15_000);
    assert_eq!(w.qss.rooms_left(), [MADE], "it was made");
    w.qss.tongueless = false;
    w.qss.forgets_ids = true;
    w.qss.refuse.insert("createRoom".into(), (503, "starting"));
    w.run(300_000);
    w.qss.refuse.clear();
    w.run(120_000);
    nothing_left(&mut w);
}

#[test]
fn the_room_that_others_destroy_needs_no_destruction() {
    let mut w = idle(door());
    w.qss.people.insert("ann".into(), (100, 200));
    w.local("call desk");
    w.run(1_000);
    w.qss.rooms.remove(MADE);
    w.qss_says(&json!({"type": "event", "payload": {"eventName": "destroyed", "payload": {"uuid": MADE}}}).to_string());
    nothing_left(&mut w);
    assert!(w.qss.requests("destroyRoom").is_empty());
}

#[test]
fn a_button_calls_and_pressed_again_hangs_up() {
    let mut config = door();
    let button =
        |key: &str, does: &str, toggle| Button { device: "/dev/b".into(), key: key.into(), does: does.into(), toggle };
    config.buttons = vec![button("KEY_PHONE", "call desk", true), button("2", "destroy nothing", false)];
    let mut w = idle(config);
    let press = |w: &mut World, device: &str, code| {
        w.input(qss_endpoint::agent::Input::Pressed { device, code });
        w.run(500);
    };
    press(&mut w, "/dev/other", 169);
    press(&mut w, "/dev/b", 170);
    assert_eq!(w.events_of("button").len(), 0, "no button of ours");
    press(&mut w, "/dev/b", 169);
    assert_eq!((w.rung(), invited(&w)), ("playing", vec!["ann".to_owned()]));
    press(&mut w, "/dev/b", 169);
    nothing_left(&mut w);
    press(&mut w, "/dev/b", 2);
    let told: Vec<_> = w.events_of("button").iter().map(|e| (e["does"].clone(), e["refused"].clone())).collect();
    let (none, refused) = (Value::Null, json!("not_ours"));
    assert_eq!(
        told,
        [(json!("call desk"), none.clone()), (json!("hangup"), none), (json!("destroy nothing"), refused)]
    );
    w.input(qss_endpoint::agent::Input::ButtonDevice { device: "/dev/b", state: Err("No such device") });
    assert_eq!(w.events_of("button_device")[0]["there"], false);
}

#[test]
fn a_call_has_so_many_people_at_most() {
    let mut w = idle(door());
    let people = |from: usize, n: usize| (from..from + n).map(|i| format!("u{i}")).collect::<Vec<_>>().join(" ");
    w.qss.people.insert("u0".into(), (100, 200));
    assert_eq!(w.local(&format!("call {}", people(0, 16)))["ok"], true);
    for from in [16, 32, 48] {
        assert_eq!(w.local(&format!("invite {}", people(from, 16)))["ok"], true);
    }
    assert_eq!(w.local("invite somebody")["error"]["code"], "too_many");
    assert_eq!(w.local("invite u1 u20")["ok"], true, "they are among them");
}

#[test]
fn a_room_of_ours_that_was_left_to_others_is_destroyed_when_it_is_empty() {
    let mut w = idle(door());
    w.qss.people.insert("ann".into(), (500, 200));
    w.local("call desk");
    w.run(1_000);
    w.qss.rooms.get_mut(MADE).expect("a room")["participants"] = json!(["ann", "bob"]);
    assert_eq!(w.local("transfer bob")["ok"], true);
    w.run(600_000);
    assert_eq!((w.rung(), w.qss.rooms_left()), ("session", vec![MADE]), "they talk");
    w.qss.rooms.get_mut(MADE).expect("a room")["participants"] = json!(["5da6"]);
    w.run(181_000);
    nothing_left(&mut w);
}

#[test]
fn the_longest_call_has_an_end() {
    let mut config = door();
    config.calls.longest = Span::from_secs(600);
    let mut w = idle(config);
    w.qss.people.insert("ann".into(), (100, 200));
    w.local("call desk");
    w.run(1_000);
    w.qss_says(&presence("ann", "IN_CALL"));
    w.run(598_000);
    assert_eq!(w.rung(), "playing");
    w.run(1_000);
    nothing_left(&mut w);
    assert!(w.causes().contains(&"call_too_long"));
}

#[test]
fn the_mixer_is_told_who_comes_and_where_to_as_configured() {
    let mut config = config();
    let pairs = [("X-Room", "{room}"), ("X-Who", "{user} at {device}"), ("X-Token", "t={token}")];
    config.sip.headers = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let user = config.qss.username.clone();
    let w = World::playing(1, config);
    assert!(w.mixer.last_invite.contains(&format!("\r\nX-Room: {}\r\n", sim::ROOM)), "{}", w.mixer.last_invite);
    assert!(w.mixer.last_invite.contains(&format!("\r\nX-Who: {user} at ")), "{}", w.mixer.last_invite);
    assert!(w.mixer.last_invite.contains("\r\nX-Token: t=51e4\r\n"), "{}", w.mixer.last_invite);
    let mut config = sim::config();
    config.sip.headers = vec![("X-Room".to_owned(), "{room}".to_owned())];
    let mut w = World::started(1, config);
    w.run(100);
    w.local("join sip:elsewhere@127.0.0.1:5080");
    w.run(1_000);
    assert!(
        w.mixer.last_invite.contains("elsewhere") && !w.mixer.last_invite.contains("X-Room"),
        "nothing is known of it"
    );
}
