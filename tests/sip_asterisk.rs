//! The SIP core against a real Asterisk: only a socket and a clock stand between them.
#![allow(clippy::disallowed_types)]

mod caller;

use caller::Caller;
use lab::asterisk::Asterisk;
use qss_endpoint::sip::endpoint::{CallId, EndCause};
use qss_endpoint::time::Span;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const ROOM: &str = "88826777033";
const PATIENCE: Duration = Duration::from_secs(10);
static TURN: Mutex<()> = Mutex::new(());

/// Asks for `expires`, and then says who has to refresh what, as the mixer sees it.
fn negotiated(mixer: &Asterisk, profile: &str, expires: u64) -> (Option<String>, Option<String>) {
    let mut caller = Caller::new(profile, |sip| sip.session_expires = Span::from_secs(expires));
    let call = caller.dial(mixer, ROOM);
    caller.confirm();
    assert!(!caller.refused_with(421) && !caller.refused_with(422));
    let answer = ["Session-Expires", "Require"].map(|header| caller.of_answer(header).map(String::from));
    caller.hang_up(call);
    answer.into()
}

#[test]
fn session_timers_are_agreed_on_with_each_profile_of_the_mixer() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mixer = Asterisk::start("timers").unwrap();
    let some = |text: &str| Some(text.to_string());
    for profile in ["timers", "timersalways"] {
        assert_eq!(negotiated(&mixer, profile, 90), (some("90;refresher=uac"), some("timer")), "{profile}");
        let (unasked, _) = negotiated(&mixer, profile, 0);
        assert!(unasked.is_some_and(|value| value.starts_with("90;refresher=")), "{profile} wants one by itself");
    }
    assert_eq!(negotiated(&mixer, "timersno", 90), (None, None), "never");
    assert_eq!(negotiated(&mixer, "plain", 0), (None, None), "nobody asked");
}

#[test]
fn the_mixer_takes_our_refresh() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mixer = Asterisk::start("refresh").unwrap();
    let mut caller = Caller::new("timers", |sip| sip.session_expires = Span::from_secs(90));
    let call = caller.dial(&mixer, ROOM);
    caller.confirm();
    // 44 of the 45 s until the refresh pass at once for us; for the mixer they do not pass at all.
    caller.since -= Duration::from_secs(44);
    caller.until("refresh", |caller| caller.endpoint.refreshes().ours == 1);
    assert!(caller.sent.iter().any(|text| text.starts_with("UPDATE ") && text.contains("90;refresher=uac")));
    assert_eq!(caller.ended(), None);
    caller.hang_up(call);
}

#[test]
fn a_full_room_and_a_locked_one_answer_and_hang_up_at_once() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mixer = Asterisk::start("full").unwrap();
    let full = format!("small{ROOM}");
    let turned_away = |number: &str| {
        let mut caller = Caller::new("plain", |_| {});
        caller.dial(&mixer, number);
        caller.confirm();
        let confirmed = Instant::now();
        caller.until("BYE", |caller| caller.ended().is_some());
        assert!(matches!(caller.ended(), Some(EndCause::Remote { .. })), "{:?}", caller.events);
        assert!(confirmed.elapsed() < Duration::from_secs(1), "{:?}", confirmed.elapsed());
        assert!(caller.endpoint.is_idle());
    };
    let mut inside: Vec<(Caller, CallId)> = Vec::new();
    for _ in 0..2 {
        let mut caller = Caller::new("plain", |_| {});
        let call = caller.dial(&mixer, &full);
        caller.confirm();
        inside.push((caller, call));
        mixer.wait_for(ROOM, inside.len(), PATIENCE).unwrap();
    }
    turned_away(&full);
    inside.drain(1..).for_each(|(mut caller, call)| caller.hang_up(call));
    mixer.wait_for(ROOM, 1, PATIENCE).unwrap();
    mixer.lock(ROOM).unwrap();
    turned_away(ROOM);
    inside.into_iter().for_each(|(mut caller, call)| caller.hang_up(call));
}
