//! Rows about signalling: the SIP core on a socket, without audio.

use crate::World;
use crate::lone_caller::Caller;
use lab::asterisk::SIP_SECRET;
use qss_endpoint::sip::endpoint::{CallId, EndCause, Event};
use qss_endpoint::time::Span;
use std::cell::Cell;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn digest(world: &World) -> String {
    let mut caller = Caller::new("digest", |sip| sip.password.0 = SIP_SECRET.into());
    let call = caller.dial(&world.mixer, &world.room());
    caller.confirm();
    assert!(caller.refused_with(401));
    caller.hang_up(call);
    let mut wrong = Caller::new("digest", |sip| sip.password.0 = "guess".into());
    wrong.dial(&world.mixer, &world.room());
    wrong.until("end", |caller| caller.ended().is_some());
    assert_eq!(wrong.ended(), Some(&EndCause::AuthenticationFailed));
    let asked = wrong.sent.iter().filter(|text| text.starts_with("INVITE ")).count();
    assert_eq!(asked, 2, "one refused password is enough");
    "challenge met; a wrong password is tried once".into()
}

/// 44 of the 45 s until the refresh pass at once for us; for the mixer they do not pass at all.
fn refreshed(world: &World, profile: &str) -> String {
    let mut caller = Caller::new(profile, |sip| sip.session_expires = Span::from_secs(90));
    let call = caller.dial(&world.mixer, &world.room());
    caller.confirm();
    let terms = caller.of_answer("Session-Expires").expect("a session timer").to_string();
    caller.since -= Duration::from_secs(44);
    caller.until("refresh", |caller| caller.endpoint.refreshes().ours == 1);
    let updates = caller.sent.iter().filter(|text| text.starts_with("UPDATE ")).count();
    assert!(updates > 0, "refreshed by UPDATE, without touching the media");
    assert_eq!(caller.ended(), None);
    caller.hang_up(call);
    format!("{terms}, refreshed by UPDATE")
}

pub(crate) fn timers(world: &World) -> String {
    refreshed(world, "timers")
}

pub(crate) fn timers_always(world: &World) -> String {
    refreshed(world, "timersalways")
}

/// Nobody sends RTP here.
pub(crate) fn rtp_timeout(world: &World) -> String {
    let mut caller = Caller::new("rtptimeout", |_| {});
    caller.dial(&world.mixer, &world.room());
    caller.confirm();
    let confirmed = Instant::now();
    caller.until("BYE", |caller| caller.ended().is_some());
    let Some(EndCause::Remote { reason }) = caller.ended() else { panic!("{:?}", caller.events) };
    format!("BYE after {:.1} s, {}", confirmed.elapsed().as_secs_f64(), reason.as_deref().unwrap_or("no reason"))
}

fn refused(world: &World, number: &str, expected: u16) -> String {
    let mut caller = Caller::new("plain", |_| {});
    caller.dial(&world.mixer, number);
    caller.until("refusal", |caller| caller.ended().is_some());
    let Some(EndCause::Refused { status, reason }) = caller.ended() else { panic!("{:?}", caller.events) };
    assert_eq!(*status, expected);
    assert!(caller.endpoint.is_idle() || caller.sent.iter().any(|text| text.starts_with("ACK ")));
    format!("{status} {reason}")
}

pub(crate) fn busy(world: &World) -> String {
    refused(world, "busy", 486)
}

pub(crate) fn forbidden(world: &World) -> String {
    refused(world, "reject", 403)
}

pub(crate) fn congested(world: &World) -> String {
    refused(world, "congested", 503)
}

pub(crate) fn unavailable(world: &World) -> String {
    refused(world, "noanswer", 480);
    refused(world, "unavailable", 480)
}

pub(crate) fn gone(world: &World) -> String {
    refused(world, "gone", 410)
}

pub(crate) fn bad_media(world: &World) -> String {
    refused(world, "badmedia", 488)
}

pub(crate) fn error(world: &World) -> String {
    refused(world, "error", 500)
}

pub(crate) fn too_short(world: &World) -> String {
    refused(world, "123", 484)
}

pub(crate) fn unknown(world: &World) -> String {
    refused(world, "nobody", 404)
}

fn answered_after(world: &World, number: &str, provisional: u16) -> String {
    let mut caller = Caller::new("plain", |_| {});
    let call = caller.dial(&world.mixer, number);
    let dialled = Instant::now();
    let is_it = |event: &Event| matches!(event, Event::Progress { status, .. } if *status == provisional);
    caller.until("provisional response", |caller| caller.events.iter().any(is_it));
    let heard = dialled.elapsed();
    caller.confirm();
    let waited = dialled.elapsed() - heard;
    assert!(waited > Duration::from_secs(2), "answered {waited:?} after {provisional}");
    caller.hang_up(call);
    format!("{provisional}, then 200 after {:.1} s", waited.as_secs_f64())
}

pub(crate) fn early(world: &World) -> String {
    answered_after(world, &format!("early{}", world.room()), 183)
}

pub(crate) fn ring(world: &World) -> String {
    answered_after(world, &format!("ring{}", world.room()), 180)
}

/// Somebody in the room.
fn inside(world: &World, user: &str, number: &str) -> (Caller, CallId) {
    let mut caller = Caller::new(user, |_| {});
    let call = caller.dial(&world.mixer, number);
    caller.confirm();
    (caller, call)
}

/// Who comes to a full or locked room is answered, and hung up at once.
fn turned_away(world: &World, number: &str) -> String {
    let (mut caller, _) = inside(world, "late", number);
    let confirmed = Instant::now();
    caller.until("BYE", |caller| caller.ended().is_some());
    assert!(matches!(caller.ended(), Some(EndCause::Remote { .. })), "{:?}", caller.events);
    let stayed = confirmed.elapsed();
    assert!(stayed < Duration::from_secs(1), "{stayed:?}");
    format!("200, then BYE after {} ms", stayed.as_millis())
}

pub(crate) fn full_room(world: &World) -> String {
    let room = world.room();
    let number = format!("small{room}");
    let mut callers = Vec::new();
    for user in ["one", "two"] {
        callers.push(inside(world, user, &number));
        world.mixer.wait_for(&room, callers.len(), PATIENCE).unwrap();
    }
    let seen = turned_away(world, &number);
    callers.into_iter().for_each(|(mut caller, call)| caller.hang_up(call));
    seen
}

pub(crate) fn locked_room(world: &World) -> String {
    let room = world.room();
    let (mut caller, call) = inside(world, "one", &room);
    world.mixer.wait_for(&room, 1, PATIENCE).unwrap();
    world.mixer.lock(&room).unwrap();
    let seen = turned_away(world, &room);
    caller.hang_up(call);
    seen
}

fn reason(caller: &mut Caller) -> String {
    caller.until("BYE", |caller| caller.ended().is_some());
    let Some(EndCause::Remote { reason }) = caller.ended() else { panic!("{:?}", caller.events) };
    format!("BYE, {}", reason.as_deref().unwrap_or("no reason"))
}

pub(crate) fn kick(world: &World) -> String {
    let room = world.room();
    let (mut stays, call) = inside(world, "stays", &room);
    let (mut goes, _) = inside(world, "goes", &room);
    let there = world.mixer.wait_for(&room, 2, PATIENCE).unwrap();
    let channel = &there.iter().find(|participant| participant.caller == "goes").expect("it is there").channel;
    // The order is lost on a channel that is still on its way into the bridge.
    let due = Cell::new(Instant::now());
    goes.until("BYE", |caller| {
        if Instant::now() >= due.get() {
            due.set(Instant::now() + Duration::from_secs(3));
            let _ = world.mixer.kick(&room, channel);
        }
        caller.ended().is_some()
    });
    let seen = reason(&mut goes);
    world.mixer.wait_for(&room, 1, PATIENCE).unwrap();
    assert_eq!(stays.ended(), None);
    stays.hang_up(call);
    seen
}

pub(crate) fn end(world: &World) -> String {
    let room = world.room();
    let mut callers = ["one", "two"].map(|user| inside(world, user, &room).0);
    world.mixer.wait_for(&room, 2, PATIENCE).unwrap();
    world.mixer.kick(&room, "all").unwrap();
    let seen = callers.each_mut().map(reason);
    assert_eq!(seen[0], seen[1]);
    format!("both: {}", seen[0])
}
