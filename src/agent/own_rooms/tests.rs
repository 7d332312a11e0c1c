//! What becomes of rooms and of questions for one.

use super::*;
use crate::qss::requests::{Requests, Rhythm};

fn tickets<const N: usize>() -> [Ticket; N] {
    let second = Span::from_secs(1);
    let mut requests = Requests::new(Rhythm { timeout: second, resend: second, resends: 0 });
    std::array::from_fn(|i| requests.add(Time::ZERO, i.to_string(), String::new()).expect("there is room"))
}

fn own() -> (OwnRooms, Rng) {
    (OwnRooms::new((Span::from_secs(1), Span::from_secs(60))), Rng::from_u64(1))
}

fn ask(own: &mut OwnRooms, rng: &mut Rng, record: bool) -> String {
    match own.conceive(record, rng) {
        Some(Conceived::Ask(id)) => id,
        other => panic!("nothing to ask: {other:?}"),
    }
}

#[test]
fn a_room_is_needed_then_doomed_then_destroyed() {
    let ([a, b], (mut own, mut rng)) = (tickets(), own());
    let id = ask(&mut own, &mut rng, false);
    assert!(own.to_text().contains(&id), "written down before it is asked for");
    own.asked(&id, a);
    assert_eq!(own.next_chore(), None);
    assert_eq!(own.ended(Time::ZERO, a, End::Done(Some("r1")), &mut rng), Told::Settled);
    assert!(own.needs("r1") && own.to_text().contains("r1") && !own.to_text().contains(&id));
    assert!(own.doom("r1"));
    let chore = own.next_chore().expect("a chore");
    assert_eq!(chore, Chore::Destroy { room: "r1".into() });
    own.started(Time::ZERO, &chore, Some(b));
    assert_eq!((own.next_chore(), own.poll_timeout()), (None, None));
    assert_eq!(own.ended(Time::ZERO, b, End::Done(None), &mut rng), Told::Settled);
    assert_eq!(own.to_text(), r#"{"rooms":[],"births":[]}"#);
}

#[test]
fn after_a_crash_rooms_are_destroyed_and_questions_repeated() {
    let ([a, b], (mut life, mut rng)) = (tickets(), own());
    let first = ask(&mut life, &mut rng, true);
    life.asked(&first, a);
    life.doom("r1");
    let (mut next, _) = own();
    next.restore(&life.to_text());
    let chore = next.next_chore().expect("a chore");
    assert_eq!(chore, Chore::Destroy { room: "r1".into() });
    next.started(Time::ZERO, &chore, None);
    let repeat = Chore::Repeat { id: first, record: true };
    assert_eq!(next.next_chore().as_ref(), Some(&repeat));
    next.started(Time::ZERO, &repeat, Some(b));
    next.ended(Time::ZERO, b, End::Done(Some("r2")), &mut rng);
    assert_eq!(next.next_chore(), Some(Chore::Destroy { room: "r2".into() }));
    assert_eq!(next.poll_timeout().map(|w| w.at), Some(Time::from_millis(1_000)), "r1 could not be asked for");
}

#[test]
fn a_question_without_an_answer_is_taken_over_by_the_next() {
    let ([a], (mut own, mut rng)) = (tickets(), own());
    let id = ask(&mut own, &mut rng, false);
    own.asked(&id, a);
    own.ended(Time::ZERO, a, End::Unanswered, &mut rng);
    assert_ne!(ask(&mut own, &mut rng, true), id, "another kind of room");
    assert_eq!(ask(&mut own, &mut rng, false), id, "the same question, so at most one room");
    own.asked(&id, a);
    own.unwanted(a);
    assert_eq!(own.conceive(false, &mut rng), Some(Conceived::Asked(a)), "one answer is enough");
}

#[test]
fn a_question_that_was_refused_after_no_answer_came_is_not_forgotten_at_once() {
    let ([a, b], (mut own, mut rng)) = (tickets(), own());
    let id = ask(&mut own, &mut rng, false);
    own.asked(&id, a);
    own.ended(Time::ZERO, a, End::Refused, &mut rng);
    assert_eq!((own.next_chore(), own.poll_timeout()), (None, None), "refused at first: there is no room");
    let id = ask(&mut own, &mut rng, false);
    own.asked(&id, a);
    own.ended(Time::ZERO, a, End::Unanswered, &mut rng);
    let repeat = Chore::Repeat { id, record: false };
    let mut refused = |own: &mut OwnRooms, end| {
        own.handle_timeout(own.poll_timeout().expect("a next attempt").at);
        assert_eq!(own.next_chore().as_ref(), Some(&repeat));
        own.started(Time::ZERO, &repeat, Some(b));
        own.ended(Time::ZERO, b, end, &mut rng);
    };
    (0..20).for_each(|_| refused(&mut own, End::Refused));
    (0..=MAX_FORBIDDEN).for_each(|_| refused(&mut own, End::Forbidden));
    assert_eq!((own.next_chore(), own.poll_timeout()), (None, None), "in the end it is believed");
    assert_eq!(own.to_text(), r#"{"rooms":[],"births":[]}"#);
}

#[test]
fn who_waited_for_the_room_may_be_gone_when_it_comes() {
    let ([a], (mut own, mut rng)) = (tickets(), own());
    let id = ask(&mut own, &mut rng, false);
    own.asked(&id, a);
    own.unwanted(a);
    own.ended(Time::ZERO, a, End::Done(Some("r1")), &mut rng);
    assert_eq!(own.next_chore(), Some(Chore::Destroy { room: "r1".into() }));
}

#[test]
fn an_answer_that_nobody_waits_for_names_a_room_that_goes() {
    let ([a], (mut own, mut rng)) = (tickets(), own());
    let id = ask(&mut own, &mut rng, false);
    own.asked(&id, a);
    own.ended(Time::ZERO, a, End::Unanswered, &mut rng);
    own.born_late("another's", "r0");
    assert_eq!(own.next_chore(), None);
    own.born_late(&id, "r1");
    assert_eq!(own.next_chore(), Some(Chore::Destroy { room: "r1".into() }));
    assert!(own.to_text().contains("r1") && !own.to_text().contains(&id), "it need not be asked again");

    let ([a], (mut own, mut rng)) = (tickets(), self::own());
    let id = ask(&mut own, &mut rng, false);
    own.asked(&id, a);
    own.ended(Time::ZERO, a, End::Done(Some("r1")), &mut rng);
    own.born_late(&id, "r1");
    assert_eq!((own.next_chore(), own.needs("r1")), (None, true), "the same answer twice");
    own.born_late(&id, "r2");
    assert_eq!(own.next_chore(), Some(Chore::Destroy { room: "r2".into() }), "one room for each copy");
}

#[test]
fn a_refusal_that_may_pass_is_tried_for_ever_and_one_that_will_not_is_told() {
    let ([a, b], (mut own, mut rng)) = (tickets(), own());
    own.doom("r1");
    let chore = Chore::Destroy { room: "r1".into() };
    for round in 0..20 {
        own.started(Time::ZERO, &chore, Some(a));
        assert_eq!(own.ended(Time::ZERO, a, End::Unanswered, &mut rng), Told::Settled, "{round}");
        let at = own.poll_timeout().expect("a next attempt").at;
        own.handle_timeout(at);
        assert_eq!((own.next_chore().as_ref(), own.poll_timeout()), (Some(&chore), None));
    }
    own.started(Time::ZERO, &chore, Some(b));
    let left = Told::LeftBehind { room: "r1".into() };
    assert_eq!(own.ended(Time::ZERO, b, End::Unknown, &mut rng), left);
    assert_eq!(own.next_chore(), None);
}

#[test]
fn a_new_room_is_worth_one_that_was_tried_to_be_destroyed_often() {
    let ([ticket], (mut own, mut rng)) = (tickets(), own());
    (0..MAX_ROOMS).for_each(|i| assert!(own.doom(&format!("r{i}"))));
    let mut now = Time::ZERO;
    let mut refuse = |own: &mut OwnRooms, rounds: u32| {
        for _ in 0..rounds {
            while let Some(chore) = own.next_chore() {
                own.started(now, &chore, Some(ticket));
                own.ended(now, ticket, End::Refused, &mut rng);
            }
            now += Span::from_secs(120);
            own.handle_timeout(now);
        }
    };
    refuse(&mut own, ENOUGH - 1);
    assert_eq!((own.make_space(), own.conceive(false, &mut Rng::from_u64(1))), (None, None), "not yet");
    refuse(&mut own, 1);
    assert_eq!(own.make_space().as_deref(), Some("r0"));
    assert_eq!(own.make_space(), None, "there is space now");
    assert!(matches!(own.conceive(false, &mut Rng::from_u64(1)), Some(Conceived::Ask(_))));
    assert_eq!(own.rooms.len(), MAX_ROOMS - 1, "the others are tried again");
}

#[test]
fn what_was_kept_may_be_rubbish() {
    for text in ["", "null", "[]", "{", r#"{"rooms":7}"#, r#"{"rooms":["",null]}"#, "\u{0}"] {
        let (mut own, _) = own();
        own.restore(text);
        assert_eq!(own.next_chore(), None, "{text}");
    }
    let (mut own, _) = own();
    let many: Vec<String> = (0..1_000).map(|i| format!("\"r{i}\"")).collect();
    own.restore(&format!(r#"{{"rooms":[{}],"more":1}}"#, many.join(",")));
    assert_eq!(own.rooms.len(), MAX_ROOMS);
    assert_eq!(own.conceive(false, &mut Rng::from_u64(1)), None, "enough is enough");
}
