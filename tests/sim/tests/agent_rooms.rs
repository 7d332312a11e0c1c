//! Rooms of every kind, and what becomes of each refusal: its own cause, and its own way to be tried again.

use qss_endpoint::config::{Config, Room, RoomTarget, Secret};
use qss_endpoint::time::Span;
use sim::qss::Meeting;
use sim::{ROOM, SIP_URI, World, config};

const QUICK: &str = "wac-conf01234567890123456789";

fn into(target: RoomTarget) -> Config {
    let mut config = config();
    config.rooms[0] = Room::new("lobby", target);
    config
}

fn meeting(password: &str) -> Config {
    into(RoomTarget::Meeting { id: "standup".into(), password: Secret(password.into()) })
}

/// A world with a meeting that begins in so many milliseconds.
fn with_meeting(seed: u64, config: Config, begins_in_ms: u64) -> World {
    let mut w = World::new(seed, config);
    let begins_ms = sim::wall(w.now, 0).0 + begins_in_ms;
    w.qss.rooms.insert("standup".into(), sim::qss::room(ROOM, SIP_URI));
    w.qss.meetings.insert("standup".into(), Meeting { password: "open sesame".into(), begins_ms });
    w.start();
    w
}

#[test]
fn a_meeting_is_joined_with_its_password_and_left_by_the_rooms_id() {
    let mut w = with_meeting(1, meeting("open sesame"), 0);
    w.run_until(5_000, |w| w.rung() == "playing");
    let join = &w.qss.requests("joinRoom")[0]["payload"];
    assert_eq!((&join["room"], &join["password"]), (&"standup".into(), &"open sesame".into()));
    w.local("leave");
    w.run(100);
    assert_eq!(w.qss.requests("leaveRoom")[0]["payload"]["room"], ROOM);
}

#[test]
fn a_meeting_is_asked_for_again_by_its_own_id_after_a_lost_session() {
    let mut w = with_meeting(2, meeting("open sesame"), 0);
    w.run_until(5_000, |w| w.rung() == "playing");
    w.kill_qss(Some(qss_endpoint::agent::LinkErrorKind::Closed(1006)));
    w.qss.up = true;
    w.run(15_000);
    assert_eq!((w.rung(), w.mixer.invites()), ("playing", 1));
    let joins = w.qss.requests("joinRoom");
    assert_eq!((joins.len(), &joins[1]["payload"]["password"]), (2, &"open sesame".into()));
}

#[test]
fn a_meeting_that_has_not_begun_is_waited_for() {
    let mut w = with_meeting(3, meeting("open sesame"), 300_000);
    w.run(299_000);
    assert_eq!(w.causes()[0], "room_too_early");
    assert_eq!(w.qss.requests("joinRoom").len(), 1, "it said when it begins");
    w.run_until(5_000, |w| w.rung() == "playing");
}

#[test]
fn a_wrong_clock_delays_a_meeting_only_so_long() {
    let mut config = meeting("open sesame");
    config.qss.meeting_retry = qss_endpoint::time::Span::from_secs(60);
    let mut w = World::new(4, config);
    w.wall_error = -86_400_000;
    let begins_ms = sim::wall(w.now, 0).0 + 30_000;
    w.qss.rooms.insert("standup".into(), sim::qss::room(ROOM, SIP_URI));
    w.qss.meetings.insert("standup".into(), Meeting { password: String::new(), begins_ms });
    w.start();
    w.run_until(70_000, |w| w.rung() == "playing");
}

#[test]
fn a_wrong_password_is_not_said_twice_until_somebody_says_join() {
    let mut w = with_meeting(5, meeting("guess"), 0);
    w.run(3_600_000);
    assert_eq!((w.qss.requests("joinRoom").len(), w.causes()[0]), (1, "room_wrong_password"));
    w.local("join lobby");
    w.run(1_000);
    assert_eq!(w.qss.requests("joinRoom").len(), 2);
}

#[test]
fn who_gave_no_password_is_not_barred_by_a_word_about_passwords() {
    let mut w = World::new(6, config());
    w.qss.refuse.insert("joinRoom".into(), (403, "WrongPasswordError"));
    w.start();
    w.run(60_000);
    assert!(w.qss.requests("joinRoom").len() > 1);
    w.qss.refuse.clear();
    w.run_until(31_000, |w| w.rung() == "playing");
}

#[test]
fn a_full_room_is_tried_again_more_and_more_slowly() {
    let mut w = World::new(7, config());
    w.qss.refuse.insert("joinRoom".into(), (486, "participantsLimit reached"));
    w.start();
    w.run(5_000);
    let early = w.qss.requests("joinRoom").len();
    w.run(295_000);
    let all = w.qss.requests("joinRoom").len();
    assert!(early >= 2 && all < 60 * early / 2, "{early} in 5 s, {all} in 5 min");
    assert!(w.causes().iter().all(|cause| *cause == "room_full"));
    w.qss.refuse.clear();
    w.run_until(31_000, |w| w.rung() == "playing");
}

#[test]
fn a_quick_conference_need_not_exist() {
    let mut w = World::started(8, into(RoomTarget::QuickConference(QUICK.into())));
    w.run_until(5_000, |w| w.rung() == "playing");
    assert_eq!(w.qss.requests("joinRoom")[0]["payload"]["room"], QUICK);
}

#[test]
fn the_words_and_codes_are_the_configured_ones() {
    let mut config = meeting("open sesame");
    config.qss.names.join_meeting = "getMeeting".into();
    config.qss.names.meeting_key = "meetingId".into();
    config.qss.codes.not_found = vec!["501".into()];
    config.qss.codes.unknown_request = Vec::new();
    let mut w = World::started(9, config);
    w.run(1_000);
    assert_eq!(w.qss.requests("getMeeting")[0]["payload"]["meetingId"], "standup");
    assert_eq!(w.causes()[0], "room_not_found", "the simulated QSS says 501 to what it does not know");
}

#[test]
fn each_refusal_has_its_own_pause() {
    let (soon, slow) = (0..5_000, 15_000..60_001);
    for (refusal, cause, pause) in [
        ((403, "user not included into ACL"), "room_forbidden", &slow),
        ((404, "no such room"), "room_not_found", &slow),
        ((486, "participantsLimit reached"), "room_full", &soon),
        ((500, "starting"), "room_refused", &soon),
    ] {
        let mut w = World::new(26, config());
        w.qss.refuse.insert("joinRoom".into(), refusal);
        w.start();
        w.run(200);
        let attempt = w.events_of("attempt")[0];
        assert_eq!(attempt["cause"]["code"], cause);
        assert!(pause.contains(&attempt["retry_in_ms"].as_u64().expect("a time")), "{attempt}");
    }
}

#[test]
fn who_leaves_says_why() {
    for (line, payload) in [
        ("leave", serde_json::json!({ "room": ROOM })),
        ("leave 480", serde_json::json!({ "room": ROOM, "error": 480 })),
    ] {
        let mut w = World::playing(27, config());
        assert_eq!(w.local(line)["ok"], true);
        assert_eq!(w.qss.requests("leaveRoom")[0]["payload"], payload);
    }
}

// --- sent away -----------------------------------------------------------------------------------------------------------

fn says(word: &str, room: &str) -> String {
    format!(r#"{{"type":"event","payload":{{"eventName":"{word}","payload":{{"roomId":"{room}"}}}}}}"#)
}

#[test]
fn an_expelled_device_comes_back_only_where_the_room_says_so_and_not_soon() {
    let mut config = config();
    config.rooms[0].rejoin.after_expel = Span::from_secs(600);
    let mut w = World::playing(10, config);
    w.qss_says(&says("expelled", ROOM));
    w.run(590_000);
    assert_eq!((w.rung(), w.mixer.invites()), ("session", 1));
    w.run_until(150_000, |w| w.rung() == "playing");
    // The default is in agent_moves: not by itself.
}

#[test]
fn those_who_were_sent_away_come_back_spread_as_configured() {
    let back_after = |percent: u8, seed: u64| {
        let mut config = config();
        config.rooms[0].rejoin.after_expel = Span::from_secs(100);
        config.qss.rejoin_spread = percent;
        let mut w = World::playing(seed, config);
        w.qss_says(&says("expelled", ROOM));
        let sent_away = w.now;
        w.run_until(400_000, |w| w.rung() == "playing");
        w.now.since(sent_away).as_millis()
    };
    let at_once: Vec<_> = (1..=8).map(|seed| back_after(0, seed)).collect();
    assert!(at_once.iter().all(|ms| (100_000..105_000).contains(ms)), "{at_once:?}");
    let spread: Vec<_> = (1..=8).map(|seed| back_after(200, seed)).collect();
    assert!(spread.iter().any(|ms| *ms > 150_000) && spread.iter().all(|ms| *ms < 305_000), "{spread:?}");
}

#[test]
fn a_destroyed_quick_conference_is_asked_for_again_and_a_room_by_its_id_is_not() {
    let mut w = World::started(11, into(RoomTarget::QuickConference(QUICK.into())));
    w.run_until(5_000, |w| w.rung() == "playing");
    w.qss.rooms.remove(QUICK);
    w.qss_says(&says("destroyed", QUICK));
    w.run(59_000);
    assert_eq!(w.qss.requests("joinRoom").len(), 1);
    w.run_until(20_000, |w| w.rung() == "playing" && w.qss.requests("joinRoom").len() == 2);
    let mut never = into(RoomTarget::QuickConference(QUICK.into()));
    never.rooms[0].rejoin.after_destroy = Span::ZERO;
    let mut w = World::started(12, never);
    w.run_until(5_000, |w| w.rung() == "playing");
    w.qss_says(&says("destroyed", QUICK));
    w.run(86_400_000);
    assert_eq!(w.qss.requests("joinRoom").len(), 1);
}

#[test]
fn a_room_that_is_destroyed_again_and_again_is_asked_for_more_and_more_slowly() {
    let mut config = into(RoomTarget::Id(ROOM.into()));
    config.rooms[0].rejoin.after_destroy = Span::from_secs(1);
    config.sip.retry_max = Span::from_secs(3_600);
    let mut w = World::started(13, config);
    let mut joined = Vec::new();
    for _ in 0..8 {
        w.run_until(3_700_000, |w| w.rung() == "room");
        joined.push(w.now);
        w.qss_says(&says("destroyed", ROOM));
    }
    let pause = |i: usize| joined[i + 1].since(joined[i]);
    assert!(pause(6) > pause(0).times(8), "{joined:?}");
}

#[test]
fn a_room_of_the_configuration_is_made_recorded_if_it_says_so() {
    for (record, payload) in [(true, serde_json::json!({"record": true})), (false, serde_json::json!({}))] {
        let mut w = World::started(15, into(RoomTarget::Create { record }));
        w.run_until(5_000, |w| w.rung() == "playing");
        assert_eq!(w.qss.requests("createRoom")[0]["payload"], payload);
        assert_eq!(w.qss.rooms["created1"]["record"], record);
    }
}

#[test]
fn what_a_rooms_bitrate_counts_is_a_key() {
    let mut config = config();
    config.qss.bitrate_unit = 500;
    let w = World::playing(14, config);
    assert_eq!(w.voice.stream.expect("a stream").cap, 32_000, "64 of 500 bit/s");
}

// --- rooms left behind ---------------------------------------------------------------------------------------------------

/// A device that the QSS knows as `5da6`, and that keeps nothing over a crash.
fn forgetful(seed: u64) -> World {
    let mut config = config();
    config.qss.user_id = "5da6".into();
    let mut w = World::playing(seed, config);
    w.local("create");
    w.run_until(5_000, |w| w.qss.rooms_left().len() == 1 && w.rung() == "playing");
    w.kept = None;
    w
}

#[test]
fn a_room_that_a_crash_left_behind_is_destroyed_though_nothing_was_kept() {
    let mut w = forgetful(20);
    w.restart_device();
    w.run_until(10_000, |w| w.rung() == "playing");
    w.run(50_000);
    assert_eq!(w.qss.rooms_left(), ["created1"], "two looks");
    w.run(20_000);
    assert_eq!((w.qss.rooms_left().len(), w.rung()), (0, "playing"));
    w.run(60_000);
    let looks = w.qss.requests("getRooms").len();
    w.run(3_600_000);
    assert_eq!(w.qss.requests("getRooms").len(), looks, "and that is the end of it");
}

#[test]
fn nothing_that_is_in_use_configured_or_of_others_is_destroyed() {
    let mut w = forgetful(21);
    let room = |id: &str, owner: &str, users: &[&str]| {
        let mut room = sim::qss::room(id, SIP_URI);
        (room["owner"], room["participants"]) = (owner.into(), users.into());
        room
    };
    for (id, owner, users) in [
        ("created-by-bob", "bob", &["5da6"][..]),
        ("created-by-nobody", "", &[]),
        ("created-in-use", "5da6", &["5da6", "eve"]),
        ("created-alone", "5da6", &[]),
        ("lobby", "5da6", &[]),
    ] {
        w.qss.rooms.insert(id.into(), room(id, owner, users));
    }
    for (id, users) in [
        ("created-in-use-by-object", serde_json::json!([{"userId": "eve", "status": "IN_CALL"}])),
        ("created-in-use-by-map", serde_json::json!({"eve": "HOLD"})),
        ("created-of-later-words", serde_json::json!([{"member": "eve"}])),
        ("created-untold", serde_json::Value::Null),
    ] {
        let mut told = room(id, "5da6", &[]);
        told["participants"] = users;
        w.qss.rooms.insert(id.into(), told);
    }
    // The device's own one, of this life, stays, too: it is in it.
    w.run(1_000);
    w.kill_qss(Some(qss_endpoint::agent::LinkErrorKind::Closed(1012)));
    w.qss.up = true;
    w.run(200_000);
    let dim = ["created-in-use-by-map", "created-in-use-by-object", "created-of-later-words", "created-untold"];
    let left = [&["created-by-bob", "created-by-nobody", "created-in-use"][..], &dim, &["created1"]].concat();
    assert_eq!(w.qss.rooms_left(), left);
    w.qss.rooms.get_mut("created-in-use").expect("it is there")["participants"] = serde_json::json!([]);
    w.run(130_000);
    assert_eq!(
        w.qss.rooms_left(),
        [&["created-by-bob", "created-by-nobody"][..], &dim, &["created1"]].concat(),
        "it is watched until it is empty"
    );
    assert!(w.qss.rooms.contains_key("lobby"), "not in the list of the simulated QSS");
}

#[test]
fn leftovers_can_be_left_alone() {
    let mut config = config();
    config.qss.user_id = "5da6".into();
    config.calls.leftover = Span::ZERO;
    let mut w = World::playing(22, config);
    w.local("create");
    w.run_until(5_000, |w| w.qss.rooms_left().len() == 1);
    w.kept = None;
    w.restart_device();
    w.run(600_000);
    assert_eq!((w.qss.rooms_left().len(), w.qss.requests("getRooms").len()), (1, 2), "asked, and nothing follows");
}

#[test]
fn a_qss_that_does_not_tell_rooms_and_invitations_is_asked_again_after_a_pause() {
    let mut w = World::new(25, config());
    for name in ["getRooms", "getCurrentInvitations"] {
        w.qss.refuse.insert(name.into(), (0, ""));
    }
    w.start();
    w.run(15_000);
    let ids = |w: &World, name: &str| {
        let ids = w.qss.requests(name).into_iter().map(|frame| frame["requestID"].as_str().expect("an id").to_owned());
        ids.collect::<std::collections::BTreeSet<_>>().len()
    };
    let asked = |w: &World| (ids(w, "getRooms"), ids(w, "getCurrentInvitations"));
    assert_eq!(asked(&w), (1, 1), "not at once");
    w.run(10_000);
    assert_eq!(asked(&w), (2, 2));
    assert!(w.events_of("problem").iter().any(|e| e["what"] == "qss_no_reply"));
    w.qss.refuse.clear();
    w.run(600_000);
    assert_eq!(asked(&w), (2, 2), "they are told");
}

#[test]
fn a_configured_room_of_ours_is_no_leftover() {
    let mut config = config();
    config.qss.user_id = "5da6".into();
    config.rooms.push(Room::new("other", RoomTarget::Id("created-for-ever".into())));
    let mut w = World::new(23, config);
    let mut room = sim::qss::room("created-for-ever", SIP_URI);
    room["owner"] = "5da6".into();
    w.qss.rooms.insert("created-for-ever".into(), room);
    w.start();
    w.run(300_000);
    assert_eq!(w.qss.rooms_left(), ["created-for-ever"]);
}

#[test]
fn after_a_reconnect_all_is_asked_in_order() {
    let mut w = World::playing(24, config());
    w.kill_qss(Some(qss_endpoint::agent::LinkErrorKind::Closed(1012)));
    w.qss.up = true;
    let (before, seq) = (w.qss.log.len(), w.events.len() as u64);
    w.run(30_000);
    let told = w.qss.log[before..].iter().filter_map(|(_, frame)| {
        let event = &frame["payload"]["payload"];
        let snapshot = event["event"] == "snapshot" && event["seq"].as_u64() > Some(seq);
        frame["request"].as_str().or(snapshot.then_some("snapshot")).map(str::to_owned)
    });
    assert_eq!(told.collect::<Vec<_>>(), ["register", "getRooms", "getCurrentInvitations", "joinRoom", "snapshot"]);
}

#[test]
fn who_is_not_admitted_and_who_finds_no_room_ask_again_each_at_their_own_pace() {
    let asked_in_an_hour = |code, forbidden, not_found| {
        let mut config = config();
        (config.qss.forbidden_retry, config.qss.not_found_retry) = (forbidden, not_found);
        let mut w = World::new(6, config);
        w.qss.refuse.insert("joinRoom".into(), (code, "no"));
        w.start();
        w.run(3_600_000);
        w.qss.requests("joinRoom").len()
    };
    let (soon, late) = (Span::from_secs(10), Span::from_secs(600));
    assert!((360..=722).contains(&asked_in_an_hour(403, soon, late)));
    assert!((6..=13).contains(&asked_in_an_hour(403, late, soon)));
    assert!((360..=722).contains(&asked_in_an_hour(404, late, soon)));
    assert!((6..=13).contains(&asked_in_an_hour(404, soon, late)));
}
