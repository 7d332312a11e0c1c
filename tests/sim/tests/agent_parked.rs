//! More than one call at a time (`calls.limit`), on virtual time: the present one waits on hold for another and goes on.

use qss_endpoint::agent::{Input, LinkErrorKind};
use qss_endpoint::config::{Caller, CallerAction, Config, Incoming};
use qss_endpoint::media::command::{Command, StreamParams};
use qss_endpoint::time::Span;
use serde_json::{Value, json};
use sim::{ROOM, World, config};

/// A device in the lobby that takes calls of anybody, and pages (`fire`) above all others.
fn busy(limit: usize) -> Config {
    let mut config = config();
    let page = Caller { from: vec!["fire".into()], does: CallerAction::Accept, priority: 9, ..Caller::default() };
    config.invites.callers = vec![page];
    config.invites.accept = vec!["*".into()];
    config.calls.limit = limit;
    config
}

fn comes(w: &mut World, id: &str, from: &str) {
    let room = json!({"uuid": format!("room of {from}"), "sipUri": format!("sip:888{from}@audiomixer-sfu1:5080")});
    let payload = json!({"id": id, "from": from, "room": room});
    w.qss_says(&json!({"request": "invite", "requestID": id, "payload": payload}).to_string());
}

/// The code of our only reply to an invite, 200 for an answer.
fn reply(w: &World, id: &str) -> u64 {
    let replies = w.qss.replies_to(id);
    assert_eq!(replies.len(), 1, "{replies:?}");
    replies[0]["error"].as_u64().unwrap_or(200)
}

fn here(w: &World) -> &str {
    w.watch.room()
}

#[track_caller]
fn plays_in(w: &mut World, room: &str) {
    w.run_until(5_000, |w| w.watch.room() == room && w.rung() == "playing");
    let stream = w.voice.stream.expect("a stream");
    assert!(stream.send && stream.receive);
}

/// In the lobby, with bob's call on hold for a page.
fn paged(limit: usize) -> World {
    let mut w = World::playing(1, busy(limit));
    comes(&mut w, "I1", "fire");
    plays_in(&mut w, "fire");
    w
}

fn hangs_up(w: &mut World, i: usize) {
    let bye = w.mixer.hang_up_one(i);
    w.post_all(bye);
    w.run(20);
}

fn holds(w: &World) -> Vec<String> {
    let word = |held: bool| if held { "holds" } else { "resumes" };
    let hold = |e: &&Value| format!("{} {}", word(e["held"] == true), e["room"]["name"].as_str().expect("a room"));
    w.events_of("hold").iter().map(hold).collect()
}

fn waiting(w: &mut World) -> Vec<String> {
    let calls = w.local("status")["held_calls"].clone();
    calls.as_array().expect("a list").iter().map(|room| room["name"].as_str().expect("a name").to_owned()).collect()
}

fn starts(w: &World) -> Vec<StreamParams> {
    let start = |command: &Command| match command {
        Command::Start(params) => Some(*params),
        _ => None,
    };
    w.commands().iter().filter_map(|(_, command)| start(command)).collect()
}

// --- to and fro --------------------------------------------------------------------------------------------------------

#[test]
fn a_page_during_a_call_puts_it_on_hold_and_the_call_goes_on_when_it_is_over() {
    let mut w = paged(2);
    assert_eq!((reply(&w, "I1"), w.mixer.invites(), w.mixer.count("BYE")), (200, 2, 0));
    assert_eq!((w.mixer.held(), holds(&w)), (vec![true, false], vec!["holds lobby".to_owned()]));
    assert_eq!(w.events_of("hold")[0]["cause"]["code"], "held_for_another");
    assert_eq!(waiting(&mut w), ["lobby"]);
    assert!(w.qss.requests("leaveRoom").is_empty(), "we are still there");

    let from = w.events.len();
    hangs_up(&mut w, 1);
    plays_in(&mut w, "lobby");
    assert_eq!((w.mixer.invites(), w.mixer.held()), (2, vec![false]), "no new call");
    assert_eq!(holds(&w), ["holds lobby", "resumes lobby"]);
    assert!(waiting(&mut w).is_empty());
    let streams = starts(&w);
    assert_eq!((streams.len(), streams[0].call, streams[2].call), (3, 1, 1));
    assert_eq!(streams[0].ssrc, streams[2].ssrc, "the stream goes on");
    assert!(!streams[2].send && !streams[2].receive, "before the mixer agrees nothing is sent");
    let climbed = w.events[from..].iter().filter(|e| e["event"] == "ladder" && e["room"]["name"] == "lobby");
    let mut climbed: Vec<_> = climbed.map(|e| e["rung"].as_str().expect("a rung")).collect();
    // Packets may arrive before the first one leaves.
    climbed.dedup();
    assert_eq!(climbed, ["room", "call", "sending", "receiving", "playing"]);
    // To the vendor's SDK the call was there all the time; only its streams were not.
    let statuses = w.events_of("status");
    let of_lobby: Vec<_> = statuses.iter().filter(|e| e["room"]["name"] == "lobby").map(|e| &e["new"]).collect();
    assert_eq!(of_lobby, [1, 2]);
    let streams = |name: &str| w.events_of(name).iter().filter(|e| e["room"]["name"] == "lobby").count();
    assert_eq!((streams("localStreamAdded"), streams("localStreamRemoved")), (2, 1));
    assert_eq!(w.events_of("call_ended").len(), 1);
}

#[test]
fn a_second_ordinary_call_is_busy_with_a_limit_of_one_and_held_for_with_two() {
    for (limit, code, calls) in [(1, 486, vec![false]), (2, 200, vec![true, false])] {
        let mut w = World::playing(2, busy(limit));
        comes(&mut w, "I1", "bob");
        w.run(3_000);
        assert_eq!((reply(&w, "I1"), w.mixer.held(), w.rung()), (code, calls, "playing"), "limit {limit}");
        assert_eq!(here(&w), if limit == 1 { "lobby" } else { "bob" });
        comes(&mut w, "I2", "ann");
        w.run(3_000);
        assert_eq!(reply(&w, "I2"), 486, "as many as there may be");
    }
}

#[test]
fn a_page_is_not_put_on_hold_for_less_and_takes_the_place_where_there_is_none_left() {
    let mut w = paged(3);
    comes(&mut w, "I2", "bob");
    w.run(1_000);
    assert_eq!((reply(&w, "I2"), here(&w)), (486, "fire"));

    // The lobby waits, bob has the second place: for the page bob is left, and come back to after the lobby.
    let mut w = World::playing(3, busy(2));
    comes(&mut w, "I1", "bob");
    plays_in(&mut w, "bob");
    comes(&mut w, "I2", "fire");
    plays_in(&mut w, "fire");
    assert_eq!((waiting(&mut w), w.mixer.held()), (vec!["lobby".to_owned()], vec![true, false]));
    hangs_up(&mut w, 1);
    plays_in(&mut w, "lobby");
}

#[test]
fn three_calls_go_on_in_the_order_of_their_importance() {
    let mut w = World::playing(4, busy(3));
    comes(&mut w, "I1", "bob");
    plays_in(&mut w, "bob");
    comes(&mut w, "I2", "fire");
    plays_in(&mut w, "fire");
    assert_eq!(waiting(&mut w), ["lobby", "bob"]);
    assert_eq!(w.mixer.held(), [true, true, false]);
    hangs_up(&mut w, 2);
    plays_in(&mut w, "bob");
    w.local("hangup");
    plays_in(&mut w, "lobby");
    assert_eq!((w.mixer.invites(), w.mixer.held()), (3, vec![false]));
}

#[test]
fn a_call_by_sip_is_answered_and_the_present_one_waits() {
    let mut config = busy(2);
    (config.sip.incoming, config.sip.callers) = (Incoming::Accept, vec!["door".into()]);
    config.sip.ring = Span::from_secs(1);
    let mut w = World::playing(5, config.clone());
    let call = w.mixer.call_device("door", "");
    w.post_all(call);
    w.run(500);
    assert_eq!((w.mixer.held()[0], w.rung()), (false, "playing"), "nothing changes while it rings");
    plays_in(&mut w, "sip:door@127.0.0.1");
    assert_eq!(waiting(&mut w), ["lobby"]);
    let second = w.mixer.call_device("door", "");
    w.post_all(second);
    w.run(2_000);
    assert!(w.mixer.answers.contains(&"486 1 INVITE".to_owned()), "{:?}", w.mixer.answers);
    w.local("hangup");
    plays_in(&mut w, "lobby");

    let mut w = World::playing(5, config);
    comes(&mut w, "I1", "fire");
    plays_in(&mut w, "fire");
    let call = w.mixer.call_device("door", "");
    w.post_all(call);
    w.run(2_000);
    assert!(w.mixer.answers.contains(&"486 1 INVITE".to_owned()), "a page waits for nobody");
}

#[test]
fn a_call_that_does_not_stand_cannot_wait() {
    let mut w = World::started(6, busy(2));
    w.mixer.up = false;
    w.run(1_000);
    comes(&mut w, "I1", "bob");
    w.run(100);
    assert_eq!((reply(&w, "I1"), waiting(&mut w)), (486, vec![]), "on its way to the lobby");
    comes(&mut w, "I2", "fire");
    w.mixer.up = true;
    plays_in(&mut w, "fire");
    assert_eq!(waiting(&mut w), Vec::<String>::new());
}

#[test]
fn a_call_of_our_own_keeps_its_people_while_it_waits() {
    let mut config = busy(2);
    config.rooms.clear();
    let mut w = World::started(7, config);
    w.run(200);
    w.qss.people.insert("ann".into(), (500, 200));
    w.local("call ann");
    w.run_until(3_000, |w| w.rung() == "playing");
    let name = here(&w).to_owned();
    let room = w.events.last().expect("an event")["room"]["id"].as_str().expect("an id").to_owned();
    let presence = |status: &str| {
        let payload = json!({"room": room, "userId": "ann", "status": status});
        json!({"type": "event", "payload": {"eventName": "participant", "payload": payload}}).to_string()
    };
    w.run(1_000);
    w.qss_says(&presence("IN_CALL"));
    comes(&mut w, "I1", "fire");
    plays_in(&mut w, "fire");
    assert_eq!((waiting(&mut w), w.qss.rooms_left()), (vec![name.clone()], vec![room.as_str()]));
    hangs_up(&mut w, 1);
    plays_in(&mut w, &name);
    let participants = w.local("status")["participants"].clone();
    assert_eq!(participants[0]["userId"], "ann", "{participants}");
    comes(&mut w, "I2", "fire");
    plays_in(&mut w, "fire");
    // The last of the others leaves, and is not waited for.
    w.qss_says(&presence("GONE"));
    w.run(1_000);
    assert_eq!((waiting(&mut w), w.qss.rooms_left().len(), here(&w)), (vec![], 0, "fire"));
    let steps: Vec<_> = w.events_of("call").iter().map(|e| e["step"].as_str().expect("a step")).collect();
    assert_eq!(steps.last(), Some(&"ended"));
}

#[test]
fn a_call_out_from_a_configured_room_lets_it_wait_and_rings_nobody_it_holds() {
    let mut w = World::playing(8, busy(2));
    w.qss.people.insert("ann".into(), (60_000, 200));
    w.local("call ann");
    w.run_until(3_000, |w| w.watch.room() == "ann" && w.rung() == "playing");
    assert_eq!(waiting(&mut w), ["lobby"]);
    // Nobody has answered yet: there is nothing to keep.
    comes(&mut w, "I1", "fire");
    plays_in(&mut w, "fire");
    assert_eq!((waiting(&mut w), w.qss.rooms_left().len()), (vec!["lobby".to_owned()], 0));
    hangs_up(&mut w, 1);
    plays_in(&mut w, "lobby");
    assert_eq!(w.mixer.invites(), 3);
}

// --- what a person does ------------------------------------------------------------------------------------------------

#[test]
fn swap_changes_places_and_hangup_ends_the_present_one_only() {
    let mut w = paged(2);
    assert_eq!(w.local("swap")["room"], "lobby");
    plays_in(&mut w, "lobby");
    assert_eq!((waiting(&mut w), w.mixer.held()), (vec!["fire".to_owned()], vec![false, true]));
    assert_eq!(w.local("swap nowhere")["error"]["code"], "none_waits");
    assert_eq!(w.local("swap fire")["ok"], true);
    plays_in(&mut w, "fire");
    w.local("hangup");
    plays_in(&mut w, "lobby");
    assert_eq!(w.local("swap")["error"]["code"], "none_waits");
    assert_eq!((w.mixer.invites(), w.mixer.count("BYE")), (2, 1));
}

#[test]
fn a_call_that_waits_goes_on_when_we_are_moved_into_its_room() {
    let mut w = World::playing(31, busy(2));
    comes(&mut w, "I1", "bob");
    plays_in(&mut w, "bob");
    let payload = json!({"callTransferId": "T1", "roomId": ROOM, "to": "ann", "mediaTypes": {"audio": true}});
    w.qss_says(&json!({"type": "event", "payload": {"eventName": "callTransfer", "payload": payload}}).to_string());
    plays_in(&mut w, "lobby");
    w.run(2_000);
    assert_eq!((w.mixer.invites(), w.mixer.count("BYE"), w.mixer.held()), (2, 1, vec![false]), "no new call");
    let left: Vec<_> = w.qss.requests("leaveRoom").iter().map(|frame| frame["payload"]["room"].clone()).collect();
    assert_eq!(left, ["room of bob"]);
    assert_eq!(w.events_of("callTransfer").last().expect("its end")["state"], "DONE");
}

#[test]
fn who_is_invited_into_a_room_of_others_is_invited_no_more_when_the_call_there_waits() {
    let mut w = World::playing(32, busy(2));
    w.qss.people.insert("ann".into(), (60_000, 200));
    assert_eq!(w.local("invite ann")["ok"], true);
    w.run(1_000);
    comes(&mut w, "I1", "fire");
    plays_in(&mut w, "fire");
    let told = w.events_of("request");
    assert_eq!(
        told.iter().map(|e| (&e["outcome"], &e["room"]["name"])).collect::<Vec<_>>(),
        [(&json!("withdrawn"), &json!("lobby"))]
    );
}

#[test]
fn an_invite_into_the_room_that_waits_changes_places() {
    let mut w = World::playing(9, busy(2));
    comes(&mut w, "I1", "bob");
    plays_in(&mut w, "bob");
    w.local("swap");
    plays_in(&mut w, "lobby");
    comes(&mut w, "I2", "bob");
    plays_in(&mut w, "bob");
    assert_eq!((reply(&w, "I2"), waiting(&mut w), w.mixer.invites()), (200, vec!["lobby".to_owned()], 2));
}

#[test]
fn join_leaves_the_others_and_a_room_that_waits_is_joined_as_it_is() {
    let mut w = paged(2);
    w.qss.rooms.insert("r7".into(), sim::qss::room("r7", "sip:777@audiomixer-sfu1:5080"));
    assert_eq!(w.local("join lobby")["ok"], true);
    plays_in(&mut w, "lobby");
    assert_eq!((waiting(&mut w), w.mixer.held(), w.mixer.invites()), (vec![], vec![false], 2));
    comes(&mut w, "I2", "fire");
    plays_in(&mut w, "fire");
    w.local("join r7");
    plays_in(&mut w, "r7");
    assert_eq!((waiting(&mut w), w.mixer.held()), (vec![], vec![false]));
    assert_eq!(w.qss.requests("leaveRoom").len(), 3, "fire, and then both");
    comes(&mut w, "I3", "bob");
    plays_in(&mut w, "bob");
    w.local("swap");
    plays_in(&mut w, "r7");
    assert_eq!(w.local("join r7")["already"], true);
    assert_eq!((waiting(&mut w), w.mixer.held()), (vec![], vec![false]), "here, and nowhere else");
}

#[test]
fn what_a_person_holds_is_still_on_hold_when_it_goes_on() {
    let mut w = World::playing(10, busy(2));
    w.local("hold on");
    comes(&mut w, "I1", "fire");
    plays_in(&mut w, "fire");
    assert_eq!(holds(&w), ["holds lobby"], "nothing new");
    hangs_up(&mut w, 1);
    w.run_until(2_000, |w| w.watch.room() == "lobby" && w.rung() == "call");
    w.run(60_000);
    let stream = w.voice.stream.expect("a stream");
    assert!(!stream.send && !stream.receive && w.mixer.held() == [true]);
    w.local("hold off");
    plays_in(&mut w, "lobby");
}

// --- what becomes of it while it waits ---------------------------------------------------------------------------------

#[test]
fn the_far_end_of_a_call_that_waits_may_end_it() {
    let mut config = busy(2);
    config.rooms.clear();
    let mut w = World::started(11, config);
    w.run(200);
    comes(&mut w, "I1", "bob");
    plays_in(&mut w, "bob");
    comes(&mut w, "I2", "fire");
    plays_in(&mut w, "fire");
    hangs_up(&mut w, 0);
    w.run(1_000);
    assert_eq!((waiting(&mut w), here(&w), w.rung()), (vec![], "fire", "playing"));
    let ended = w.events_of("call_ended")[0];
    assert_eq!((&ended["room"]["name"], &ended["cause"]["code"]), (&json!("bob"), &json!("sip_remote_bye")));
    assert_eq!(w.qss.requests("leaveRoom").last().expect("a request")["payload"]["room"], "room of bob");
    let over = w.events_of("status").into_iter().rfind(|e| e["room"]["name"] == "bob").expect("an end");
    assert_eq!((&over["new"], &over["old"]), (&json!(0), &json!(2)));
    // And then the present one ends, too.
    hangs_up(&mut w, 0);
    w.run(60_000);
    assert_eq!((w.rung(), w.mixer.invites(), w.mixer.confirmed_calls()), ("session", 2, 0));
}

#[test]
fn a_configured_room_whose_call_ended_while_it_waited_is_visited_anew() {
    let mut w = paged(2);
    hangs_up(&mut w, 0);
    assert_eq!((waiting(&mut w), here(&w)), (vec![], "fire"));
    hangs_up(&mut w, 0);
    plays_in(&mut w, "lobby");
    assert_eq!(w.mixer.invites(), 3);
}

#[test]
fn a_call_that_the_mixer_lost_while_it_waited_is_dialled_anew_when_its_turn_comes_or_not() {
    for returns in [true, false] {
        let mut config = busy(2);
        config.rooms.clear();
        config.invites.returns = returns;
        let mut w = World::started(12, config);
        w.run(200);
        comes(&mut w, "I1", "bob");
        plays_in(&mut w, "bob");
        comes(&mut w, "I2", "fire");
        plays_in(&mut w, "fire");
        w.mixer.forget_one(0);
        // The probe of the hold finds out.
        w.run(120_000);
        let lost = w.events_of("call_ended")[0];
        assert_eq!((&lost["room"]["name"], &lost["cause"]["code"]), (&json!("bob"), &json!("sip_call_gone")));
        assert_eq!(waiting(&mut w).len(), usize::from(returns));
        assert_eq!((here(&w), w.rung(), w.mixer.invites()), ("fire", "playing", 2));
        hangs_up(&mut w, 0);
        if returns {
            plays_in(&mut w, "bob");
            assert_eq!(w.mixer.invites(), 3);
        } else {
            w.run(60_000);
            assert_eq!((w.rung(), w.mixer.invites()), ("session", 2));
        }
    }
}

#[test]
fn who_is_sent_away_while_waiting_does_not_go_back() {
    for word in ["expelled", "destroyed"] {
        let mut w = paged(2);
        let payload = json!({"eventName": word, "payload": {"room": ROOM}});
        w.qss_says(&json!({"type": "event", "payload": payload}).to_string());
        w.run(1_000);
        assert_eq!((waiting(&mut w), here(&w), w.rung()), (vec![], "fire", "playing"), "{word}");
        assert_eq!(w.events_of(word)[0]["room"]["name"], "lobby");
        assert_eq!(w.mixer.confirmed_calls(), 1);
        hangs_up(&mut w, 0);
        w.run(600_000);
        assert_eq!((w.rung(), w.mixer.invites()), ("session", 2), "{word}");
        assert_eq!(w.local("join lobby")["ok"], true);
        plays_in(&mut w, "lobby");
    }
}

#[test]
fn an_invite_that_is_withdrawn_while_its_call_waits_ends_it() {
    let mut w = World::playing(13, busy(3));
    comes(&mut w, "I1", "bob");
    plays_in(&mut w, "bob");
    comes(&mut w, "I2", "fire");
    w.run(500);
    w.qss_says(r#"{"cancel":"invite","requestID":"I1","error":487}"#);
    w.run(500);
    assert_eq!((waiting(&mut w), here(&w)), (vec!["lobby".to_owned()], "fire"));
    assert_eq!(w.events_of("invite").last().expect("an event")["outcome"], "withdrawn");
}

#[test]
fn a_qss_that_is_lost_in_between_is_asked_for_both_rooms_and_may_refuse_the_one_that_waits() {
    for refused in [false, true] {
        let mut config = busy(2);
        config.qss.spread = Span::ZERO;
        let mut w = World::playing(14, config);
        comes(&mut w, "I1", "fire");
        plays_in(&mut w, "fire");
        w.qss.rooms.insert("room of fire".into(), sim::qss::room("room of fire", "sip:888fire@audiomixer-sfu1:5080"));
        if refused {
            w.qss.rooms.remove(ROOM);
        }
        w.kill_qss(Some(LinkErrorKind::Closed(1006)));
        w.run(5_000);
        assert_eq!((waiting(&mut w), w.rung()), (vec!["lobby".to_owned()], "playing"), "both go on");
        w.qss.up = true;
        w.run(20_000);
        let joined = w.qss.requests("joinRoom").iter().filter(|r| r["payload"]["room"] == ROOM).count();
        assert_eq!(joined, 2, "asked for again");
        assert_eq!((waiting(&mut w).len(), w.rung(), w.mixer.invites()), (usize::from(!refused), "playing", 2));
        w.run(120_000);
        let last = w.mixer.held().len() - 1;
        hangs_up(&mut w, last);
        if refused {
            w.run(20_000);
            assert_eq!((w.rung(), w.mixer.confirmed_calls()), ("session", 0));
        } else {
            plays_in(&mut w, "lobby");
            assert_eq!(w.mixer.invites(), 2);
        }
    }
}

#[test]
fn without_a_qss_for_longer_than_the_grace_no_call_waits() {
    let mut w = paged(2);
    w.kill_qss(Some(LinkErrorKind::Closed(1006)));
    w.run(120_000);
    assert_eq!((waiting(&mut w), w.mixer.confirmed_calls(), w.rung()), (vec![], 0, "offline"));
    w.qss.up = true;
    w.run_until(120_000, |w| w.rung() == "playing" && w.watch.room() == "lobby");
}

#[test]
fn a_qss_that_wants_to_know_is_told_of_each_hold() {
    let mut config = busy(2);
    (config.qss.names.hold, config.qss.names.unhold) = ("hold".into(), "unhold".into());
    config.qss.spread = Span::ZERO;
    let mut w = World::playing(15, config);
    w.qss.rooms.insert("room of fire".into(), sim::qss::room("room of fire", "sip:888fire@audiomixer-sfu1:5080"));
    comes(&mut w, "I1", "fire");
    plays_in(&mut w, "fire");
    let told = |w: &World, word: &str| w.qss.requests(word).iter().filter(|r| r["payload"]["roomId"] == ROOM).count();
    assert_eq!((told(&w, "hold"), told(&w, "unhold")), (1, 0));
    w.kill_qss(Some(LinkErrorKind::Closed(1012)));
    w.qss.up = true;
    w.run(5_000);
    assert_eq!((told(&w, "hold"), told(&w, "unhold")), (2, 0), "the QSS may have forgotten");
    w.run(60_000);
    hangs_up(&mut w, 1);
    plays_in(&mut w, "lobby");
    w.run(1_000);
    assert_eq!((told(&w, "hold"), told(&w, "unhold")), (2, 1));
    assert_eq!(w.qss.requests("hold").len(), 2, "of the page nothing");
}

#[test]
fn a_hold_that_lasts_is_probed_and_its_session_kept() {
    let mut w = paged(2);
    let before = w.mixer.count("INVITE");
    w.run(3_600_000);
    assert!(w.mixer.count("INVITE") > before + 10, "{} probes", w.mixer.count("INVITE") - before);
    assert_eq!((w.mixer.invites(), w.mixer.held(), waiting(&mut w)), (2, vec![true, false], vec!["lobby".to_owned()]));
    hangs_up(&mut w, 1);
    plays_in(&mut w, "lobby");
}

#[test]
fn a_stop_ends_every_call() {
    let mut w = World::playing(16, busy(3));
    comes(&mut w, "I1", "bob");
    plays_in(&mut w, "bob");
    comes(&mut w, "I2", "fire");
    plays_in(&mut w, "fire");
    w.input(Input::Stop);
    w.run(2_000);
    assert!(w.exited_at.is_some());
    assert_eq!((w.mixer.confirmed_calls(), w.mixer.count("BYE"), w.qss.requests("leaveRoom").len()), (0, 3, 3));
}
