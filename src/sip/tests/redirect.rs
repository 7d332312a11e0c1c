//! 3xx: followed, best Contact first, each target once, and not for ever.

use super::*;

const OTHER: &str = "192.0.2.20:5060";

/// The INVITE to the next target, whose host was looked up.
#[track_caller]
fn next_invite(world: &mut World, host: &str, port: u16, remote: &str) -> Sent {
    assert_eq!(world.resolves.pop_front(), Some((host.to_string(), port)));
    world.route(host, port, Ok(remote));
    world.expect(Method::Invite)
}

#[test]
fn a_302_is_followed_within_the_same_call() {
    let mut world = World::new();
    let id = world.dial();
    let first = world.expect(Method::Invite);
    world.reply(&first, 302, "Contact: <sip:room@other.example>\r\n", "");
    assert_eq!(world.expect(Method::Ack).branch(), first.branch());
    let second = next_invite(&mut world, "other.example", 5060, OTHER);
    assert_eq!((second.request().uri.as_str(), second.to), ("sip:room@other.example", address(OTHER)));
    assert_eq!((second.header("To"), second.header("From")), (first.header("To"), first.header("From")));
    assert_eq!((second.header("Call-ID"), second.header("CSeq")), (first.header("Call-ID"), Some("2 INVITE")));
    world.reply(&second, 200, "Contact: <sip:192.0.2.20>\r\n", ANSWER);
    assert_eq!(world.expect(Method::Ack).request().uri, "sip:192.0.2.20");
    assert!(matches!(world.expect_event(), Event::Confirmed { .. }));
    world.hang_up(id);
    assert_eq!(world.expect(Method::Bye).header("CSeq"), Some("3 BYE"));
}

#[test]
fn contacts_are_tried_by_q_and_the_next_one_when_one_fails() {
    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    let contacts = "Contact: <sip:c@c.example>;q=0.1, <https://y.example>, <sip:t@x.example;transport=sctp>,\
        <sip:h@x.example?Route=%3Csip:evil%3E>, <mailto:a@b>\r\nContact: <sip:b@b.example>;q=0.7, <sip:a@a.example>\r\n";
    world.reply(&invite, 300, contacts, "");
    world.expect(Method::Ack);
    let a = next_invite(&mut world, "a.example", 5060, OTHER);
    world.reply(&a, 503, "", "");
    world.expect(Method::Ack);
    assert_eq!(world.resolves.pop_front(), Some(("b.example".into(), 5060)));
    world.route("b.example", 5060, Err(RouteError::UnknownHost));
    let c = next_invite(&mut world, "c.example", 5060, OTHER);
    assert_eq!(c.header("CSeq"), Some("3 INVITE"));
    world.reply(&c, 404, "", "");
    world.expect(Method::Ack);
    assert_eq!(world.expect_ended(), EndCause::Refused { status: 404, reason: "Some Reason".into() });
    assert!(world.resolves.is_empty() && world.endpoint.is_idle());
}

#[test]
fn a_silent_target_is_followed_by_the_next_and_a_6xx_by_none() {
    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    let contacts = "Contact: <sip:a@a.example>, <sip:b@b.example>, <sip:c@c.example>\r\n";
    world.reply(&invite, 301, contacts, "");
    world.expect(Method::Ack);
    next_invite(&mut world, "a.example", 5060, OTHER);
    world.pass(Span::from_secs(32));
    world.drop_sent();
    let b = next_invite(&mut world, "b.example", 5060, OTHER);
    world.reply(&b, 603, "", "");
    world.expect(Method::Ack);
    assert_eq!(world.expect_ended(), EndCause::Refused { status: 603, reason: "Some Reason".into() });
    assert!(world.resolves.is_empty());
}

#[test]
fn a_loop_is_not_followed_and_a_chain_not_for_ever() {
    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 302, &format!("Contact: <{TARGET}>\r\n"), "");
    world.expect(Method::Ack);
    assert_eq!(world.expect_ended(), EndCause::Refused { status: 302, reason: "Some Reason".into() });

    let mut world = World::new();
    world.dial();
    let mut invite = world.expect(Method::Invite);
    for hop in 1..=5 {
        world.reply(&invite, 302, &format!("Contact: <sip:{hop}@h{hop}.example>, <{TARGET}>\r\n"), "");
        world.expect(Method::Ack);
        invite = next_invite(&mut world, &format!("h{hop}.example"), 5060, OTHER);
    }
    world.reply(&invite, 302, "Contact: <sip:6@h6.example>\r\n", "");
    world.expect(Method::Ack);
    assert_eq!(world.expect_ended(), EndCause::Refused { status: 302, reason: "Some Reason".into() });
}

#[test]
fn what_cannot_be_followed_is_a_refusal() {
    for (status, headers) in
        [(302, ""), (302, "Contact: <tel:+461>\r\n"), (305, "Contact: <sip:a@b>\r\n"), (380, "Contact: <sip:a@b>\r\n")]
    {
        let mut world = World::new();
        world.dial();
        let invite = world.expect(Method::Invite);
        world.reply(&invite, status, headers, "");
        world.expect(Method::Ack);
        assert_eq!(world.expect_ended(), EndCause::Refused { status, reason: "Some Reason".into() });
    }
}

#[test]
fn hung_up_or_out_of_time_while_the_new_host_is_looked_up() {
    for hang_up in [true, false] {
        let mut world = World::new();
        let id = world.dial();
        let invite = world.expect(Method::Invite);
        world.reply(&invite, 302, "Contact: <sip:a@a.example>\r\n", "");
        world.expect(Method::Ack);
        if hang_up {
            world.hang_up(id);
            assert_eq!(world.expect_ended(), EndCause::Local);
        } else {
            world.pass(Span::from_secs(60));
            assert_eq!(world.expect_ended(), EndCause::Unroutable(RouteError::UnknownHost));
        }
        world.route("a.example", 5060, Ok(OTHER));
        world.expect_silence();
    }
}
