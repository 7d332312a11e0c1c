//! The session on virtual time: each test reads like a trace.

use super::*;
use crate::config::QssNames;
use serde_json::{Value, json};

/// A session and what it said since the last look.
struct Trace {
    session: Session,
    now: Time,
    out: Outbox,
}

impl Trace {
    fn new(seed: u64) -> Trace {
        Trace::spread(seed, Span::ZERO)
    }

    fn spread(seed: u64, spread: Span) -> Trace {
        Trace::with(seed, |config| config.qss.spread = spread)
    }

    fn with(seed: u64, change: impl FnOnce(&mut Config)) -> Trace {
        let mut config = Config::default();
        config.qss.spread = Span::ZERO;
        change(&mut config);
        config.device.id = "dev1".into();
        config.qss.username = "lobby".into();
        config.qss.token = Secret("t0k".into());
        let session = Session::new(&config, Rng::from_u64(seed));
        Trace { session, now: Time::ZERO, out: Outbox::new() }
    }

    fn connecting() -> Trace {
        let mut t = Trace::new(1);
        t.session.start(t.now, &mut t.out);
        assert_eq!(t.take(), [Output::Attempts(1), Output::Open(Secret("t0k".into()))]);
        t
    }

    fn registering() -> (Trace, String) {
        let mut t = Trace::connecting();
        t.session.opened(t.now, &mut t.out);
        let text = t.sent();
        let id = field(&text, "requestID");
        (t, id)
    }

    fn registered() -> Trace {
        let (mut t, id) = Trace::registering();
        t.frame(&format!(r#"{{"answer":"register","requestID":"{id}","payload":{{"id":"p1"}}}}"#));
        assert_eq!(t.take(), [Output::Event(Event::Registered)]);
        t
    }

    fn frame(&mut self, text: &str) {
        self.session.handle_frame(self.now, text, &mut self.out);
    }

    /// Lets all timers up to `ms` fire.
    fn run_to(&mut self, ms: u64) {
        let end = Time::from_millis(ms);
        while let Some(wakeup) = self.session.poll_timeout().filter(|w| w.at <= end) {
            self.now = self.now.max(wakeup.at);
            self.session.handle_timeout(self.now, &mut self.out);
            let next = self.session.poll_timeout();
            assert!(next.is_none_or(|n| n.at > self.now), "no progress: {next:?} at {}", self.now);
        }
        self.now = end;
    }

    fn take(&mut self) -> Vec<Output> {
        self.out.drain(..).collect()
    }

    fn sent(&mut self) -> String {
        match self.take().as_slice() {
            [Output::Send(text)] => text.clone(),
            other => panic!("one frame expected: {other:?}"),
        }
    }

    fn lost(&mut self) -> (Cause, Time) {
        let event = self.take().into_iter().find_map(|o| match o {
            Output::Event(Event::Lost { cause, retry_at, .. }) => Some((cause, retry_at)),
            Output::Open(_)
            | Output::Ask(_)
            | Output::Send(_)
            | Output::Ping
            | Output::Close
            | Output::Attempts(_)
            | Output::Event(_) => None,
        });
        event.expect("the session is lost")
    }
}

fn field(text: &str, key: &str) -> String {
    let value: Value = serde_json::from_str(text).expect("JSON");
    value[key].as_str().expect("a string").to_owned()
}

#[test]
fn it_registers_with_user_token_and_device() {
    let mut t = Trace::connecting();
    t.session.opened(t.now, &mut t.out);
    let text = t.sent();
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["request"], "register");
    assert_eq!(value["payload"], json!({"username": "lobby", "token": "t0k", "deviceId": "dev1"}));
    assert_eq!(field(&text, "requestID").len(), 21);
    assert!(!t.session.is_registered());
}

#[test]
fn register_is_repeated_under_the_same_id_and_given_up() {
    let mut t = Trace::connecting();
    t.session.opened(t.now, &mut t.out);
    let first = t.sent();
    t.run_to(9_500);
    assert_eq!(t.take(), vec![Output::Send(first); 3]);
    t.run_to(10_000);
    assert_eq!(t.out.front(), Some(&Output::Close));
    let (cause, retry_at) = t.lost();
    assert_eq!(cause.failure, Failure::RegisterTimedOut);
    assert!(retry_at > t.now);
}

#[test]
fn a_refused_registration_is_classified_and_tried_again() {
    for (code, failure) in [
        (401, Failure::QssUnauthorized(401)),
        (403, Failure::QssUnauthorized(403)),
        (500, Failure::RegisterRefused(500)),
    ] {
        let (mut t, id) = Trace::registering();
        t.frame(&format!(r#"{{"cancel":"register","requestID":"{id}","error":{code},"message":"no"}}"#));
        assert_eq!(t.out.front(), Some(&Output::Close));
        let (cause, retry_at) = t.lost();
        assert_eq!((cause.failure, cause.detail.as_str()), (failure, "no"));
        t.run_to(retry_at.as_millis() + 1);
        assert_eq!(t.take(), [Output::Open(Secret("t0k".into()))]);
    }
}

#[test]
fn the_codes_of_a_bad_token_are_configured() {
    for (code, failure) in [(477, Failure::QssUnauthorized(477)), (401, Failure::RegisterRefused(401))] {
        let mut t = Trace::with(1, |config| config.qss.codes.unauthorized = vec![477]);
        t.session.start(t.now, &mut t.out);
        t.take();
        t.session.opened(t.now, &mut t.out);
        let id = field(&t.sent(), "requestID");
        t.frame(&format!(r#"{{"cancel":"register","requestID":"{id}","error":{code}}}"#));
        assert_eq!(t.out.front(), Some(&Output::Close));
        assert_eq!(t.lost().0.failure, failure);
    }
}

#[test]
fn silence_provokes_pings_and_then_ends_the_link() {
    let mut t = Trace::registered();
    t.run_to(74_999);
    assert_eq!(t.take(), [Output::Ping, Output::Ping, Output::Attempts(0)]);
    t.run_to(75_000);
    assert_eq!(t.out.front(), Some(&Output::Close));
    assert_eq!(t.lost().0.failure, Failure::QssSilent);
}

#[test]
fn any_inbound_frame_keeps_the_link() {
    let mut t = Trace::registered();
    for i in 1..20 {
        t.run_to(i * 25_000);
        assert_eq!(t.take().iter().filter(|o| **o == Output::Ping).count(), 1);
        match i % 3 {
            0 => t.session.handle_alive(),
            1 => t.frame("garbage"),
            _ => t.frame(r#"{"type":"event","payload":{"eventName":"x"}}"#),
        }
        t.take();
    }
    assert!(t.session.is_registered());
}

// --- pings in JSON -----------------------------------------------------------------------------------------------

/// Registered, and pinging in JSON every 5 s; WebSocket pings are an hour away.
fn pinging() -> Trace {
    let mut t = Trace::with(1, |config| {
        config.qss.json_ping_interval = Span::from_secs(5);
        config.qss.ping_interval = Span::from_secs(3_600);
    });
    t.session.start(t.now, &mut t.out);
    t.session.opened(t.now, &mut t.out);
    let id = field(&t.take().iter().find_map(sent_text).expect("register"), "requestID");
    t.frame(&format!(r#"{{"answer":"register","requestID":"{id}"}}"#));
    t.take();
    t
}

#[test]
fn a_ping_in_json_is_a_request_and_its_answer_is_told_to_nobody() {
    let mut t = pinging();
    let mut ids = Vec::new();
    for i in 1..20_u64 {
        t.run_to(i * 5_000);
        let sent: Vec<_> = t.take().iter().filter_map(sent_text).collect();
        assert_eq!(sent.len(), 1, "{sent:?}");
        let ping: Value = serde_json::from_str(&sent[0]).expect("JSON");
        assert_eq!((&ping["request"], &ping["payload"]), (&json!("ping"), &json!({})));
        let id = field(&sent[0], "requestID");
        let reply = match i % 2 {
            0 => format!(r#"{{"answer":"ping","requestID":"{id}"}}"#),
            _ => format!(r#"{{"cancel":"ping","requestID":"{id}","error":501}}"#),
        };
        t.frame(&reply);
        assert_eq!(t.take(), [], "a refusal is an answer too");
        ids.push(id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 19, "no id twice");
}

#[test]
fn unanswered_pings_in_json_end_the_link_whatever_a_proxy_says() {
    let mut t = pinging();
    for s in 1..15 {
        t.run_to(s * 1_000);
        t.session.handle_alive();
    }
    let sent: Vec<_> = t.take().iter().filter_map(sent_text).collect();
    assert!(sent.len() > 2 && sent.iter().all(|text| *text == sent[0]), "one request, repeated: {sent:?}");
    t.run_to(15_000);
    assert_eq!(t.out.front(), Some(&Output::Close));
    let out: Vec<_> = t.take();
    let told = |o: &Output| matches!(o, Output::Event(Event::Replied { .. }));
    assert!(!out.iter().any(told), "nobody has asked: {out:?}");
    let silent = |o: &Output| matches!(o, Output::Event(Event::Lost { cause, was_registered: true, .. }) if cause.failure == Failure::QssSilent);
    assert!(out.iter().any(silent), "{out:?}");
}

#[test]
fn any_message_answers_a_ping_in_json() {
    let mut t = pinging();
    for i in 1..20 {
        t.run_to(i * 5_000);
        match i % 2 {
            0 => t.frame("garbage"),
            _ => t.frame(r#"{"type":"event","payload":{"eventName":"x"}}"#),
        }
    }
    assert!(t.session.is_registered());
}

#[test]
fn without_an_interval_or_a_word_there_is_no_ping_in_json() {
    for (interval, word) in [(Span::ZERO, "ping"), (Span::from_secs(5), "")] {
        let mut t = Trace::with(1, |config| {
            config.qss.json_ping_interval = interval;
            config.qss.names.json_ping = word.into();
        });
        t.session.start(t.now, &mut t.out);
        t.session.opened(t.now, &mut t.out);
        let id = field(&t.take().iter().find_map(sent_text).expect("register"), "requestID");
        t.frame(&format!(r#"{{"answer":"register","requestID":"{id}"}}"#));
        t.run_to(24_000);
        assert!(t.take().iter().filter_map(sent_text).next().is_none());
    }
}

#[test]
fn a_ping_in_json_that_is_lost_with_its_link_is_told_to_nobody() {
    let mut t = pinging();
    t.run_to(5_000);
    t.sent();
    t.session.closed(t.now, LinkErrorKind::Closed(1006).into(), &mut t.out);
    let told = |o: &Output| matches!(o, Output::Event(Event::Replied { .. }));
    assert!(!t.take().iter().any(told));
}

#[test]
fn the_end_waits_for_no_ping_but_the_open_one() {
    let mut t = pinging();
    t.run_to(5_000);
    let ping = field(&t.sent(), "requestID");
    t.session.stop(t.now, &mut t.out);
    let bye = field(&t.sent(), "requestID");
    t.frame(&format!(r#"{{"answer":"unregister","requestID":"{bye}"}}"#));
    t.take();
    t.frame(&format!(r#"{{"answer":"ping","requestID":"{ping}"}}"#));
    assert_eq!(t.take(), [Output::Close, Output::Event(Event::Stopped)]);
}

#[test]
fn the_back_off_grows_until_a_session_was_stable() {
    let mut t = Trace::new(9);
    t.session.start(t.now, &mut t.out);
    let mut windows = Vec::new();
    let mut attempt = |t: &mut Trace, lasts_ms: u64| {
        t.session.opened(t.now, &mut t.out);
        let id = field(&t.take().iter().find_map(sent_text).expect("register"), "requestID");
        t.frame(&format!(r#"{{"answer":"register","requestID":"{id}"}}"#));
        t.run_to(t.now.as_millis() + lasts_ms);
        t.session.closed(t.now, LinkErrorKind::Closed(1006).into(), &mut t.out);
        windows.push(t.session.backoff.attempts());
        let (_, retry_at) = t.lost();
        t.run_to(retry_at.as_millis() + 1);
        t.take();
    };
    for _ in 0..5 {
        attempt(&mut t, 1_000);
    }
    attempt(&mut t, 61_000);
    assert_eq!(windows, [1, 2, 3, 4, 5, 1], "accept-then-close does not reset, a minute does");
}

#[test]
fn an_address_that_connects_and_fails_before_it_registers_does_not_hide_the_next() {
    let mut t = Trace::connecting();
    let fail = |t: &mut Trace, opened: bool| {
        if opened {
            t.session.opened(t.now, &mut t.out);
        }
        t.session.closed(t.now, LinkErrorKind::Closed(1006).into(), &mut t.out);
        let (_, at) = t.lost();
        t.run_to(at.as_millis() + 1);
        t.take();
        t.session.turn()
    };
    assert_eq!([fail(&mut t, false), fail(&mut t, true), fail(&mut t, false)], [1, 2, 3]);
    t.register(YES);
    t.take();
    assert_eq!(fail(&mut t, false), 3, "where it went well it begins again");
}

#[test]
fn retry_after_of_the_upgrade_is_honoured() {
    let mut t = Trace::connecting();
    let error = LinkError { kind: LinkErrorKind::Http(503), detail: "busy".into(), retry_after: Some(120) };
    t.session.closed(t.now, error, &mut t.out);
    let (cause, retry_at) = t.lost();
    assert_eq!(cause.failure, Failure::QssOverloaded(503));
    assert!(retry_at >= Time::from_millis(120_000) && retry_at <= Time::from_millis(121_000));
}

#[test]
fn an_attempt_that_the_shell_forgets_is_given_up() {
    let mut t = Trace::connecting();
    t.run_to(12_000);
    assert_eq!(t.lost().0.failure, Failure::ConnectTimedOut);
}

#[test]
fn requests_end_with_answer_refusal_time_out_or_loss() {
    let mut t = Trace::registered();
    let ask = |t: &mut Trace| {
        let ticket = t.session.request(t.now, "joinRoom", json!({"room": "r"}), &mut t.out).expect("a ticket");
        (ticket, field(&t.sent(), "requestID"))
    };
    let (ticket, id) = ask(&mut t);
    t.frame(&format!(r#"{{"answer":"joinRoom","requestID":"{id}","payload":{{"room":"r"}}}}"#));
    assert!(matches!(t.take().as_slice(), [Output::Event(Event::Replied { ticket: got, reply: Reply::Answer(body) })]
        if *got == ticket && body.fields().room_id() == Some("r")));
    t.frame(&format!(r#"{{"answer":"joinRoom","requestID":"{id}"}}"#));
    assert!(
        matches!(t.take().as_slice(), [Output::Event(Event::Late { id: late, .. })] if *late == id),
        "nobody waits"
    );

    let (ticket, id) = ask(&mut t);
    t.frame(&format!(
        r#"{{"cancel":"joinRoom","requestID":"{id}","error":403,"message":"user not included into ACL"}}"#
    ));
    assert!(matches!(t.take().as_slice(),
        [Output::Event(Event::Replied { ticket: got, reply: Reply::Refused { code: Some(403), message, .. } })]
        if *got == ticket && message == "user not included into ACL"));

    let (ticket, _) = ask(&mut t);
    t.run_to(10_000);
    assert_eq!(t.take().last(), Some(&Output::Event(Event::Replied { ticket, reply: Reply::TimedOut })));

    let (ticket, _) = ask(&mut t);
    t.session.closed(t.now, LinkErrorKind::Closed(1001).into(), &mut t.out);
    assert_eq!(t.take().last(), Some(&Output::Event(Event::Replied { ticket, reply: Reply::LinkLost })));
    assert_eq!(t.session.request(t.now, "joinRoom", json!({}), &mut t.out), None);
}

#[test]
fn the_servers_request_comes_up_once_and_is_answered_the_same_each_time() {
    let mut t = Trace::registered();
    let invite = r#"{"request":"invite","requestID":"INV1","payload":{"from":"alice"}}"#;
    t.frame(invite);
    assert!(matches!(t.take().as_slice(), [Output::Event(Event::Request { .. })]));
    t.frame(invite);
    assert_eq!(t.take(), [], "still thinking");
    t.session.answer("invite", "INV1", message::accept_payload(&QssNames::default(), "alice"), &mut t.out);
    let answer = t.sent();
    t.frame(invite);
    assert_eq!(t.sent(), answer);
    t.session.refuse("invite", "INV1", 603, "", Value::Null, &mut t.out);
    assert_eq!(t.take(), [], "one request, one reply");
}

#[test]
fn a_withdrawn_request_is_not_answered() {
    let mut t = Trace::registered();
    t.frame(r#"{"request":"invite","requestID":"INV1","payload":{}}"#);
    t.take();
    t.frame(r#"{"cancel":"invite","requestID":"INV1","error":487}"#);
    let withdrawn = Event::Withdrawn { id: "INV1".into(), code: Some(487), replied: false };
    assert_eq!(t.take(), [Output::Event(withdrawn)]);
    t.session.answer("invite", "INV1", json!({}), &mut t.out);
    assert_eq!(t.take(), []);
    t.frame(r#"{"cancel":"invite","requestID":"INV2","error":487}"#);
    t.frame(r#"{"request":"invite","requestID":"INV2","payload":{}}"#);
    assert_eq!(t.take(), [], "a cancel that overtook its invite");
}

/// A registered session with another configuration.
fn registered_with(change: impl FnOnce(&mut Config)) -> Trace {
    let mut t = Trace::with(1, change);
    t.session.start(t.now, &mut t.out);
    t.take();
    t.session.opened(t.now, &mut t.out);
    let id = field(&t.sent(), "requestID");
    t.frame(&format!(r#"{{"answer":"register","requestID":"{id}"}}"#));
    t.take();
    t
}

#[test]
fn the_code_of_a_cancel_stands_where_it_is_wanted() {
    use crate::config::CancelCode;
    for (place, top, inside) in [
        (CancelCode::Both, json!(603), json!(603)),
        (CancelCode::Top, json!(603), Value::Null),
        (CancelCode::Payload, Value::Null, json!(603)),
    ] {
        let mut t = registered_with(|config| config.qss.cancel_code = place);
        t.frame(r#"{"request":"invite","requestID":"INV1","payload":{}}"#);
        t.take();
        t.session.refuse(
            "invite",
            "INV1",
            603,
            "declined",
            message::decline_payload(&QssNames::default(), "alice", 603),
            &mut t.out,
        );
        let sent: Value = serde_json::from_str(&t.sent()).expect("JSON");
        assert_eq!((&sent["error"], &sent["payload"]["error"]), (&top, &inside), "{place:?}");
        assert_eq!(sent["payload"]["from"], "alice");
    }
    for (place, top, payload) in [
        (CancelCode::Both, json!(501), json!({"error": 501})),
        (CancelCode::Top, json!(501), Value::Null),
        (CancelCode::Payload, Value::Null, json!({"error": 501})),
    ] {
        let mut t = registered_with(|config| config.qss.cancel_code = place);
        t.frame(r#"{"request":"whiteboard","requestID":"U1"}"#);
        t.take();
        t.session.refuse("whiteboard", "U1", 501, "not implemented", Value::Null, &mut t.out);
        let sent: Value = serde_json::from_str(&t.sent()).expect("JSON");
        assert_eq!((&sent["error"], &sent["payload"]), (&top, &payload), "{place:?}");
    }
}

#[test]
fn only_the_configured_codes_withdraw_an_invite() {
    let mut t = registered_with(|config| config.qss.codes.withdrawn = vec![487]);
    t.frame(r#"{"request":"invite","requestID":"INV1","payload":{}}"#);
    t.take();
    t.frame(r#"{"cancel":"invite","requestID":"INV1","error":500}"#);
    assert_eq!(t.take(), []);
    t.frame(r#"{"cancel":"invite","requestID":"INV1","error":487}"#);
    assert!(matches!(t.take().as_slice(), [Output::Event(Event::Withdrawn { .. })]));
}

#[test]
fn the_keys_of_register_are_the_configured_ones() {
    let mut t = Trace::with(1, |config| {
        let names = &mut config.qss.names;
        (names.username_key, names.token_key, names.device_id_key) = ("user".into(), "ticket".into(), "device".into());
    });
    t.session.start(t.now, &mut t.out);
    t.take();
    t.session.opened(t.now, &mut t.out);
    assert!(t.sent().contains(r#""payload":{"device":"dev1","ticket":"t0k","user":"lobby"}"#));
}

#[test]
fn stop_unregisters_and_waits_for_what_is_open() {
    let mut t = Trace::registered();
    t.session.request(t.now, "leaveRoom", json!({"room": "r"}), &mut t.out);
    let leave = field(&t.sent(), "requestID");
    t.session.stop(t.now, &mut t.out);
    let text = t.sent();
    assert_eq!(field(&text, "request"), "unregister");
    let unregister = field(&text, "requestID");
    t.frame(&format!(r#"{{"cancel":"leaveRoom","requestID":"{leave}","error":403}}"#));
    assert!(!t.take().contains(&Output::Event(Event::Stopped)));
    t.frame(&format!(r#"{{"answer":"unregister","requestID":"{unregister}"}}"#));
    assert_eq!(t.take()[1..], [Output::Close, Output::Event(Event::Stopped)]);
    assert_eq!(t.session.poll_timeout(), None);
}

#[test]
fn stop_without_a_session_is_done_at_once() {
    let mut t = Trace::connecting();
    t.session.stop(t.now, &mut t.out);
    assert_eq!(t.take(), [Output::Close, Output::Event(Event::Stopped)]);
    assert_eq!(t.session.poll_timeout(), None);
}

#[test]
fn garbage_is_named_and_harmless() {
    let mut t = Trace::registered();
    for _ in 0..10_000 {
        t.frame("{\"request\":");
        assert_eq!(t.take(), [Output::Event(Event::Malformed(Malformed::NotJson))]);
    }
    assert!(t.session.is_registered());
}

fn sent_text(output: &Output) -> Option<String> {
    match output {
        Output::Send(text) => Some(text.clone()),
        Output::Open(_) | Output::Ask(_) | Output::Ping | Output::Close | Output::Attempts(_) | Output::Event(_) => {
            None
        }
    }
}

#[test]
fn the_power_returns_to_many_and_a_restart_is_of_one() {
    let spread = Span::from_secs(10);
    let first = |seed, started| {
        let mut t = Trace::spread(seed, spread);
        t.session.start(started, &mut t.out);
        (t.take().is_empty(), t.session.poll_timeout().expect("a deadline").at.since(started))
    };
    let pauses: Vec<_> = (0..200).map(|seed| first(seed, Time::from_millis(9_000))).collect();
    assert!(pauses.iter().all(|(waits, pause)| *waits && *pause <= spread));
    let early = pauses.iter().filter(|(_, pause)| *pause < Span::from_secs(5)).count();
    assert!((70..130).contains(&early), "anywhere in it: {early} of 200 in the first half");
    assert!(!first(1, Time::from_millis(121_000)).0, "the machine runs, somebody started the program: at once");
}

#[test]
fn a_lost_session_is_looked_for_within_the_spread_and_then_in_its_rhythm() {
    let mut t = Trace::spread(1, Span::from_secs(10));
    t.now = Time::from_millis(200_000);
    t.session.start(t.now, &mut t.out);
    t.session.opened(t.now, &mut t.out);
    t.take();
    let register = t.session.requests.poll_timeout().expect("register waits for its answer");
    assert_eq!(register.why, "qss resend");
    let link = Link { ping: Beat::first(t.now, Span::ZERO), json_ping: None };
    t.session.state = State::Registered { link, age: Age::Stable, again: None };
    t.session.closed(t.now, LinkErrorKind::Closed(1012).into(), &mut t.out);
    let (_, first) = t.lost();
    assert!(first.since(t.now) <= Span::from_secs(10));
    t.run_to(first.as_millis() + 1);
    t.session.closed(t.now, LinkErrorKind::Refused.into(), &mut t.out);
    let (_, second) = t.lost();
    assert!((Span::from_secs(10)..=Span::from_secs(12)).contains(&second.since(t.now)));
}

// --- tokens ------------------------------------------------------------------------------------------------------

impl Trace {
    fn from_file() -> Trace {
        let mut t = Trace::with(1, |config| config.qss.token_file = Some("/run/token".into()));
        t.session.start(t.now, &mut t.out);
        assert_eq!(t.take(), [Output::Attempts(1), Output::Ask(Ask::File)]);
        t
    }

    fn file(&mut self, text: &str) {
        self.session.answered(self.now, Answer::File(Ok(Secret(text.into()))), &mut self.out);
    }

    fn granting(register_again: bool) -> Trace {
        let mut t = Trace::with(1, |config| {
            config.qss.auth.token_url = Some("https://idp/token".into());
            config.qss.auth.register_again = register_again;
        });
        t.session.start(t.now, &mut t.out);
        assert!(matches!(t.take().as_slice(), [Output::Attempts(1), Output::Ask(Ask::Form(_))]));
        t
    }

    fn grant(&mut self, token: &str) {
        let body = Secret(format!(r#"{{"access_token":"{token}","expires_in":100}}"#));
        let answer = Answer::Http { status: 200, retry_after: None, body };
        self.session.answered(self.now, answer, &mut self.out);
    }

    /// Opens, and answers the registration.
    fn register(&mut self, reply: &str) {
        self.session.opened(self.now, &mut self.out);
        let id = field(&self.sent(), "requestID");
        self.frame(&reply.replace("@", &id));
    }
}

const YES: &str = r#"{"answer":"register","requestID":"@"}"#;
const NO: &str = r#"{"cancel":"register","requestID":"@","error":401,"message":"expired"}"#;

#[test]
fn the_token_file_is_read_before_each_attempt_and_once_more_after_a_refusal() {
    let mut t = Trace::from_file();
    t.file("t1\n");
    assert_eq!(t.take(), [Output::Open(Secret("t1".into()))]);
    t.register(NO);
    assert_eq!(t.take(), [Output::Close, Output::Ask(Ask::File)], "not lost yet");
    t.file("t2\n");
    assert_eq!(t.take(), [Output::Open(Secret("t2".into()))]);
    t.register(YES);
    assert_eq!(t.take(), [Output::Event(Event::Registered)]);
}

#[test]
fn a_file_that_has_not_changed_makes_the_refusal_count() {
    let mut t = Trace::from_file();
    t.file("t0k");
    t.take();
    t.register(NO);
    t.take();
    t.file("t0k");
    let (cause, retry_at) = t.lost();
    assert_eq!((cause.failure, cause.detail.as_str()), (Failure::QssUnauthorized(401), "expired"));
    t.run_to(retry_at.as_millis() + 1);
    assert_eq!(t.take(), [Output::Ask(Ask::File)], "and again with the next attempt");
}

#[test]
fn a_token_that_cannot_be_had_fails_the_attempt() {
    let mut t = Trace::from_file();
    t.session.answered(t.now, Answer::File(Err("gone".into())), &mut t.out);
    assert_eq!(t.lost().0, Cause::new(Failure::TokenUnreadable, "gone"));
    let mut t = Trace::granting(false);
    let answer = Answer::Http { status: 503, retry_after: Some(40), body: Secret::default() };
    t.session.answered(t.now, answer, &mut t.out);
    let (cause, retry_at) = t.lost();
    assert_eq!(cause.failure, Failure::TokenUnavailable(503));
    assert!(retry_at >= Time::from_millis(40_000), "the token server is obeyed, too");
    let mut t = Trace::granting(false);
    t.run_to(12_000);
    assert_eq!(t.lost().0.failure, Failure::TokenUnreachable);
}

#[test]
fn a_401_or_403_at_the_upgrade_or_a_close_for_it_renews_the_token_once() {
    for kind in [LinkErrorKind::Http(401), LinkErrorKind::Http(403), LinkErrorKind::Closed(4401)] {
        let mut t = Trace::granting(false);
        t.grant("a1");
        assert_eq!(t.take(), [Output::Open(Secret("a1".into()))]);
        t.session.closed(t.now, kind.into(), &mut t.out);
        assert!(matches!(t.take().as_slice(), [Output::Ask(Ask::Form(_))]), "{kind:?}");
        t.grant("a2");
        assert_eq!(t.take(), [Output::Open(Secret("a2".into()))]);
        t.session.closed(t.now, kind.into(), &mut t.out);
        let cause = t.lost().0;
        assert!(matches!(cause.failure, Failure::QssUnauthorized(_) | Failure::QssRevoked(4401)), "{cause:?}");
    }
}

#[test]
fn a_renewed_token_is_used_at_the_next_session_or_at_once() {
    for at_once in [false, true] {
        let mut t = Trace::granting(at_once);
        t.grant("a1");
        t.take();
        t.register(YES);
        t.take();
        t.run_to(40_000);
        t.frame("the link lives");
        t.take();
        t.run_to(80_000);
        let asked = t.take();
        assert!(asked.iter().any(|o| matches!(o, Output::Ask(_))), "80 % of its life is over: {asked:?}");
        t.grant("a2");
        let sent: Vec<_> = t.take().iter().filter_map(sent_text).collect();
        match at_once {
            false => assert_eq!(sent, [""; 0]),
            true => {
                assert_eq!(serde_json::from_str::<Value>(&sent[0]).expect("JSON")["payload"]["token"], "a2");
                let id = field(&sent[0], "requestID");
                t.frame(&YES.replace("@", &id));
                assert_eq!(t.take(), [], "the session knows already that it is registered");
            }
        }
        t.session.closed(t.now, LinkErrorKind::Closed(1006).into(), &mut t.out);
        let retry_at = t.lost().1;
        t.run_to(retry_at.as_millis() + 1);
        assert_eq!(t.take(), [Output::Open(Secret("a2".into()))]);
    }
}

#[test]
fn a_revoked_session_gets_a_new_token_and_waits_for_nobody_else() {
    let mut t = Trace::with(1, |config| {
        config.qss.auth.token_url = Some("https://idp/token".into());
        config.qss.spread = Span::from_secs(600);
    });
    t.now = Time::from_millis(3_600_000);
    t.session.start(t.now, &mut t.out);
    t.take();
    t.grant("a1");
    t.take();
    t.register(YES);
    t.take();
    t.session.closed(t.now, LinkErrorKind::Closed(4401).into(), &mut t.out);
    let (cause, retry_at) = t.lost();
    assert_eq!(cause.failure, Failure::QssRevoked(4401));
    assert!(retry_at <= t.now + Span::from_secs(1), "alone, not in the crowd");
    t.run_to(retry_at.as_millis() + 1);
    assert!(matches!(t.take().as_slice(), [Output::Ask(Ask::Form(_))]), "the old token is not shown again");
}

// --- a crash loop, and the network ---------------------------------------------------------------------------------

#[test]
fn a_life_after_many_crashes_waits_and_counts_on() {
    let mut late = 0;
    for seed in 0..50 {
        let mut t = Trace::new(seed);
        t.session.recall(5);
        t.session.start(t.now, &mut t.out);
        assert_eq!(t.take(), [], "no attempt at once");
        let at = t.session.poll_timeout().expect("an attempt is due").at;
        late = late.max(at.as_millis());
        t.run_to(at.as_millis() + 1);
        assert_eq!(t.take(), [Output::Attempts(6), Output::Open(Secret("t0k".into()))]);
    }
    assert!((20_000..=32_000).contains(&late), "full jitter of the sixth window: {late}");
}

#[test]
fn a_session_that_lasts_forgets_the_crashes() {
    let mut t = Trace::registered();
    t.run_to(59_999);
    assert!(!t.take().iter().any(|o| matches!(o, Output::Attempts(_))));
    t.run_to(60_000);
    assert_eq!(t.take(), [Output::Attempts(0)]);
}

#[test]
fn a_network_that_comes_up_is_used_soon_but_not_too_often() {
    let mut t = Trace::connecting();
    let mut attempts = 0;
    // The network flaps ten times a second for a minute, and no attempt ever succeeds.
    for tick in 1..600 {
        t.run_to(tick * 100);
        for output in t.take() {
            if matches!(output, Output::Open(_)) {
                attempts += 1;
            }
        }
        t.session.closed(t.now, LinkErrorKind::Unreachable.into(), &mut t.out);
        t.session.link_up(t.now, &mut t.out);
    }
    assert!((15..=35).contains(&attempts), "one attempt in two seconds: {attempts}");
}

#[test]
fn a_network_that_comes_up_does_not_break_a_retry_after_and_asks_a_link_that_stands() {
    let mut t = Trace::connecting();
    let error = LinkError { retry_after: Some(30), ..LinkErrorKind::Http(503).into() };
    t.session.closed(t.now, error, &mut t.out);
    t.session.link_up(t.now, &mut t.out);
    assert!(t.session.poll_timeout().expect("waits").at >= Time::from_millis(30_000));
    let mut t = Trace::registered();
    t.session.link_up(t.now, &mut t.out);
    t.session.link_up(t.now, &mut t.out);
    assert_eq!(t.take(), [Output::Ping], "one question is enough");
    let mut t = Trace::registered();
    t.session.probe(t.now, &mut t.out);
    assert_eq!(t.take(), [Output::Ping], "and one that has lost its address too, perhaps");
}
