//! What becomes of invites by rule: ringing, answering, pre-emption, and what is pending after a reconnect.

use qss_endpoint::agent::LinkErrorKind;
use qss_endpoint::config::{Caller, CallerAction, Config, Incoming, RequestRoom};
use qss_endpoint::media::command::Command;
use qss_endpoint::media::tone::Tone;
use qss_endpoint::time::Span;
use serde_json::{Value, json};
use sim::{World, config};

fn rule(from: &str, does: CallerAction) -> Caller {
    Caller { from: vec![from.into()], does, ..Caller::default() }
}

/// An intercom that rings for everybody, after these rules.
fn intercom(mut rules: Vec<Caller>) -> Config {
    let mut config = config();
    config.rooms.clear();
    rules.push(rule("*", CallerAction::Ring));
    config.invites.callers = rules;
    config
}

fn idle(config: Config) -> World {
    let mut world = World::started(1, config);
    world.run(200);
    assert_eq!(world.rung(), "session");
    world
}

fn invite(id: &str, from: &str) -> Value {
    let uri = format!("sip:888{from}@audiomixer-sfu1:5080");
    json!({"id": id, "from": from, "room": {"uuid": format!("room of {from}"), "sipUri": uri}})
}

fn comes(w: &mut World, id: &str, from: &str) {
    w.qss_says(&json!({"request": "invite", "requestID": id, "payload": invite(id, from)}).to_string());
}

fn withdrawn(w: &mut World, id: &str) {
    w.qss_says(&json!({"cancel": "invite", "requestID": id, "error": 487}).to_string());
}

/// Our replies to the request: its code, 200 for an answer.
fn replies(w: &World, id: &str) -> Vec<u64> {
    w.qss.replies_to(id).iter().map(|reply| reply["error"].as_u64().unwrap_or(200)).collect()
}

fn outcomes(w: &World) -> Vec<&str> {
    w.events_of("invite").iter().map(|e| e["outcome"].as_str().expect("an outcome")).collect()
}

fn bells(w: &World) -> Vec<bool> {
    let bell = |command: &Command| match command {
        Command::Tone(Tone::Ring) => Some(true),
        Command::ToneStop => Some(false),
        _ => None,
    };
    w.commands().iter().filter_map(|(_, command)| bell(command)).collect()
}

#[test]
fn it_rings_until_somebody_answers() {
    let mut w = idle(intercom(vec![]));
    assert_eq!(w.local("answer")["error"]["code"], "not_ringing");
    comes(&mut w, "I1", "ann");
    w.run(10_000);
    assert_eq!((replies(&w, "I1").len(), w.rung(), bells(&w)), (0, "session", vec![true]));
    assert_eq!(w.local("answer")["ok"], true);
    w.run_until(1_000, |w| w.rung() == "playing");
    assert_eq!((replies(&w, "I1"), bells(&w)), (vec![200], vec![true, false]));
    assert_eq!(outcomes(&w), ["ringing", "accepted"]);
}

#[test]
fn it_rings_until_somebody_rejects_or_nobody_does_anything() {
    let silent = Caller { decline: false, ..rule("mum", CallerAction::Ring) };
    let mut w = idle(intercom(vec![silent]));
    for (id, from) in [("I1", "ann"), ("I2", "bob"), ("I3", "cid"), ("I4", "mum")] {
        comes(&mut w, id, from);
    }
    assert_eq!(w.local("reject I2 486")["ok"], true);
    assert_eq!(w.local("reject")["ok"], true);
    assert_eq!((replies(&w, "I1"), replies(&w, "I2")), (vec![603], vec![486]));
    w.run(46_000);
    assert_eq!((replies(&w, "I3"), replies(&w, "I4")), (vec![408], vec![]));
    assert_eq!(bells(&w), [true, false], "one bell for all of them");
    assert_eq!(w.causes().iter().filter(|cause| **cause == "invite_unanswered").count(), 2);
}

#[test]
fn a_withdrawal_or_an_answer_elsewhere_ends_the_ringing() {
    let mut w = idle(intercom(vec![]));
    comes(&mut w, "I1", "ann");
    withdrawn(&mut w, "I1");
    assert_eq!((outcomes(&w), bells(&w)), (vec!["ringing", "withdrawn"], vec![true, false]));
    assert_eq!(w.local("answer")["error"]["code"], "not_ringing");
    comes(&mut w, "I1", "ann");
    w.run(60_000);
    assert_eq!((replies(&w, "I1").len(), w.mixer.invites()), (0, 0), "a tombstone");
}

#[test]
fn more_than_the_list_holds_are_told_that_it_is_busy() {
    let mut w = idle(intercom(vec![]));
    for i in 0..50 {
        comes(&mut w, &format!("I{i}"), "ann");
    }
    let busy = (0..50).filter(|i| replies(&w, &format!("I{i}")) == [486]).count();
    assert_eq!(busy, 42);
    w.run(60_000);
    assert!((0..50).all(|i| replies(&w, &format!("I{i}")).len() == 1));
}

#[test]
fn a_delayed_answer_comes_by_itself() {
    let late = Caller { after: Span::from_secs(5), ..rule("ann", CallerAction::Accept) };
    let mut w = idle(intercom(vec![late]));
    comes(&mut w, "I1", "ann");
    w.run(4_900);
    assert_eq!(replies(&w, "I1").len(), 0);
    w.run(1_000);
    assert_eq!((replies(&w, "I1"), w.rung(), bells(&w)), (vec![200], "playing", vec![true, false]));
}

#[test]
fn an_emergency_takes_the_place_of_a_call_and_is_not_displaced_itself() {
    let page = Caller { priority: 9, ..rule("fire", CallerAction::Accept) };
    let mut config = intercom(vec![page, rule("bob", CallerAction::Accept)]);
    config.rooms = sim::config().rooms;
    let mut w = World::playing(2, config);
    comes(&mut w, "I0", "bob");
    assert_eq!(replies(&w, "I0"), [486], "no more important than the lobby");
    comes(&mut w, "I1", "fire");
    w.run_until(1_000, |w| w.rung() == "playing");
    assert_eq!(replies(&w, "I1"), [200]);
    assert!(w.mixer.last_invite.starts_with("INVITE sip:888fire@"));
    comes(&mut w, "I2", "fire");
    comes(&mut w, "I3", "ann");
    assert_eq!((replies(&w, "I2"), replies(&w, "I3")), (vec![200], vec![486]), "the first is into the same room");
    assert_eq!((w.mixer.confirmed_calls(), w.mixer.invites()), (1, 2));
    w.mixer_hangs_up();
    w.run(20);
    w.run_until(5_000, |w| w.rung() == "playing");
    assert!(w.mixer.last_invite.starts_with("INVITE sip:88826777033@"), "back in the lobby");
}

#[test]
fn where_calls_replace_each_other_nothing_takes_the_place_of_an_emergency() {
    let page = Caller { priority: 9, ..rule("fire", CallerAction::Accept) };
    let late = Caller { after: Span::from_secs(5), ..rule("cid", CallerAction::Accept) };
    let mut config = intercom(vec![page, late, rule("bob", CallerAction::Accept)]);
    config.invites.replaces_call = true;
    let mut w = idle(config);
    comes(&mut w, "I1", "bob");
    w.run_until(1_000, |w| w.rung() == "playing");
    comes(&mut w, "I2", "cid");
    w.run(6_000);
    assert_eq!((replies(&w, "I2"), w.rung()), (vec![200], "playing"), "also one that is answered after a while");
    comes(&mut w, "I3", "fire");
    w.run_until(1_000, |w| w.rung() == "playing");
    comes(&mut w, "I4", "bob");
    comes(&mut w, "I5", "cid");
    w.run(6_000);
    assert_eq!((replies(&w, "I4"), replies(&w, "I5")), (vec![486], vec![486]));
    assert!(w.mixer.last_invite.starts_with("INVITE sip:888fire@"));
}

/// A page that waits for the QSS, and one whose mixer was lost: neither has a call, and neither is to be had.
#[test]
fn an_emergency_keeps_its_place_while_there_is_no_call_yet_or_any_more() {
    let page = Caller { priority: 9, ..rule("fire", CallerAction::Accept) };
    let mut config = intercom(vec![page, rule("bob", CallerAction::Accept)]);
    config.invites.replaces_call = true;
    (config.sip.incoming, config.sip.callers) = (Incoming::Accept, vec!["door".into()]);
    let mut w = idle(config.clone());
    w.qss.refuse.insert("joinRoom".into(), (0, "silence"));
    w.qss_says(r#"{"request":"invite","requestID":"I1","payload":{"id":"I1","from":"fire","room":"fire-room"}}"#);
    w.run(100);
    comes(&mut w, "I2", "bob");
    let call = w.mixer.call_device("door", "");
    w.post_all(call);
    w.run(100);
    assert_eq!((replies(&w, "I1"), replies(&w, "I2")), (vec![200], vec![486]));
    assert_eq!(w.events_of("invite").last().expect("an event")["outcome"], "busy", "a call by SIP neither");

    let mut w = idle(config);
    comes(&mut w, "I1", "fire");
    w.run_until(1_000, |w| w.rung() == "playing");
    w.run(60_000);
    w.mixer.kill();
    w.mixer.up = true;
    w.run_until(60_000, |w| w.rung() == "room");
    comes(&mut w, "I2", "bob");
    assert_eq!(replies(&w, "I2"), [486]);
    w.run_until(60_000, |w| w.rung() == "playing");
    assert!(w.mixer.last_invite.starts_with("INVITE sip:888fire@"));
}

#[test]
fn what_is_pending_after_a_reconnect_comes_in_once() {
    let mut config = intercom(vec![]);
    config.qss.spread = Span::ZERO;
    let mut w = idle(config);
    comes(&mut w, "I1", "ann");
    comes(&mut w, "I2", "bob");
    w.kill_qss(Some(LinkErrorKind::Closed(1012)));
    w.qss.up = true;
    w.qss.pending = vec![invite("I2", "bob"), invite("I3", "cid")];
    w.run(5_000);
    assert_eq!(outcomes(&w), ["ringing", "ringing", "withdrawn", "ringing"]);
    comes(&mut w, "I3", "cid");
    assert_eq!(w.local("answer I3")["ok"], true);
    w.run_until(2_000, |w| w.rung() == "playing");
    assert_eq!((replies(&w, "I3"), replies(&w, "I1").len()), (vec![200], 0));
}

#[test]
fn who_asks_to_be_invited_is_called_back_with_the_id_of_the_request() {
    let ask = |id: &str| {
        json!({"request": "inviteRequest", "requestID": id, "payload": {"id": "Q1", "from": "visitor", "to": "lobby"}})
            .to_string()
    };
    let mut w = idle(intercom(vec![]));
    w.qss_says(&ask("X1"));
    assert_eq!(replies(&w, "X1"), [603], "nobody may by default");

    let mut config = intercom(vec![]);
    config.invites.requests = vec!["visitor".into()];
    let mut w = idle(config.clone());
    w.qss.people.insert("visitor".into(), (1_000, 200));
    w.qss_says(&ask("X1"));
    w.run(3_000);
    assert_eq!((replies(&w, "X1"), w.rung(), w.qss.rooms_left()), (vec![200], "playing", vec!["created1"]));
    let sent = &w.qss.requests("invite")[0]["payload"];
    assert_eq!((&sent["to"], &sent["requestId"]), (&json!("visitor"), &json!("Q1")));
    w.qss_says(&ask("X2"));
    assert_eq!(replies(&w, "X2"), [486]);
    w.local("hangup");
    w.run(1_000);
    assert_eq!(w.qss.rooms_left(), [""; 0]);

    config.invites.request_room = RequestRoom::Present;
    config.rooms = sim::config().rooms;
    let mut w = World::playing(3, config);
    w.qss.people.insert("visitor".into(), (1_000, 200));
    w.qss_says(&ask("X1"));
    w.run(3_000);
    assert_eq!((replies(&w, "X1"), w.qss.rooms_left().len()), (vec![200], 0));
    assert_eq!(w.qss.requests("invite")[0]["payload"]["room"], sim::ROOM);
}

#[test]
fn a_stop_leaves_nobody_ringing() {
    let mut w = idle(intercom(vec![]));
    comes(&mut w, "I1", "ann");
    w.input(qss_endpoint::agent::Input::Stop);
    w.run(2_000);
    assert_eq!((replies(&w, "I1"), w.exited_at.is_some()), (vec![486], true));
}

#[test]
fn the_call_that_an_emergency_has_interrupted_is_gone_back_to() {
    for returns in [true, false] {
        let page = Caller { priority: 9, ..rule("fire", CallerAction::Accept) };
        let mut config = intercom(vec![page, rule("bob", CallerAction::Accept)]);
        config.rooms = sim::config().rooms;
        config.invites.replaces_call = true;
        config.invites.returns = returns;
        let mut w = World::playing(8, config);
        comes(&mut w, "I1", "bob");
        let bobs = w.mixer.last_invite.lines().next().expect("an INVITE").to_owned();
        w.run_until(1_000, |w| w.rung() == "playing");
        let room = w.events.last().expect("an event")["room"]["id"].as_str().expect("a room with an id").to_owned();
        w.qss.rooms.insert(room.clone(), sim::qss::room(&room, &bobs["INVITE ".len()..bobs.len() - " SIP/2.0".len()]));
        comes(&mut w, "I2", "fire");
        w.run_until(1_000, |w| w.mixer.last_invite.starts_with("INVITE sip:888fire@") && w.rung() == "playing");
        w.mixer_hangs_up();
        w.run(20);
        w.run_until(5_000, |w| w.rung() == "playing");
        assert_eq!(w.mixer.last_invite.starts_with(&bobs), returns, "{}", w.mixer.last_invite);
        // And after that the lobby, as ever.
        w.mixer_hangs_up();
        w.run(20);
        w.run_until(60_000, |w| w.rung() == "playing" && w.mixer.last_invite.starts_with("INVITE sip:88826777033@"));
    }
}

#[test]
fn an_answer_given_without_a_session_is_sent_with_the_next_one() {
    let mut config = intercom(vec![]);
    config.qss.spread = Span::ZERO;
    let mut w = idle(config);
    comes(&mut w, "I1", "ann");
    comes(&mut w, "I2", "bob");
    w.qss.refuse.insert("getCurrentInvitations".into(), (501, "unknown"));
    w.kill_qss(Some(LinkErrorKind::Closed(1012)));
    w.run(10);
    assert_eq!(w.local("reject I2")["ok"], true);
    assert_eq!(w.local("answer I1")["ok"], true);
    w.run_until(2_000, |w| w.rung() == "playing");
    w.qss.up = true;
    w.run(5_000);
    assert_eq!((replies(&w, "I1"), replies(&w, "I2"), w.rung()), (vec![200], vec![603], "playing"));
}
