//! Every way a call ends, and the races between them.

use super::*;

#[test]
fn we_hang_up() {
    let mut world = World::new();
    let (id, _, ack) = world.confirmed();
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    assert_eq!(bye.request().uri, "sip:192.0.2.9:5080");
    assert_eq!(bye.header("CSeq"), Some("2 BYE"));
    assert_eq!(bye.header("From"), ack.header("From"));
    assert_eq!(bye.header("To"), ack.header("To"));
    assert_eq!(bye.header("Reason"), Some("Q.850;cause=16;text=\"bye\""));
    assert!(world.events.is_empty() && !world.endpoint.is_idle());
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Local);
    assert!(world.endpoint.is_idle());
    world.hang_up(id);
    world.expect_silence();
}

#[test]
fn the_peer_hangs_up() {
    let cases = [
        ("Reason: Q.850;cause=16\r\n", Some("Q.850;cause=16")),
        ("Reason: SIP ;cause=408 ;text=\"No session refresh received.\"\r\n", Some("No session refresh received.")),
        ("", None),
    ];
    for (header, reason) in cases {
        let mut world = World::new();
        let (_, invite, _) = world.confirmed();
        let bye = invite.peer_request("BYE", 30_676, header, "");
        world.receive(&bye);
        let ok = world.expect_status(200);
        assert_eq!(ok.to, address(MIXER));
        assert_eq!(world.expect_ended(), EndCause::Remote { reason: reason.map(String::from) });
        assert!(world.endpoint.is_idle());
        world.receive(&bye);
        assert_eq!(world.expect_status(200).bytes, ok.bytes, "the repeated BYE gets the same answer");
        assert!(world.events.is_empty());
    }
}

#[test]
fn answered_and_hung_up_within_20_ms_as_a_full_room_does() {
    let mut world = World::new();
    let (_, invite, _) = world.confirmed();
    world.pass(ms(20));
    world.receive(&invite.peer_request("BYE", 1, "Reason: Q.850;cause=0\r\n", ""));
    world.expect_status(200);
    assert_eq!(world.expect_ended(), EndCause::Remote { reason: Some("Q.850;cause=0".into()) });
    // The ACK was lost: the mixer still repeats its 200, and gets its ACK, but no second BYE.
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    world.expect_silence();
}

#[test]
fn the_byes_cross() {
    let mut world = World::new();
    let (id, invite, _) = world.confirmed();
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.receive(&invite.peer_request("BYE", 1, "", ""));
    world.expect_status(200);
    assert_eq!(world.expect_ended(), EndCause::Local);
    world.reply(&bye, 481, "", "");
    assert!(world.events.is_empty() && world.endpoint.is_idle());
}

#[test]
fn a_bye_nobody_answers_ends_by_timer_f() {
    let mut world = World::new();
    let (id, ..) = world.confirmed();
    world.hang_up(id);
    world.pass(ms(31_999));
    assert_eq!(world.drop_sent(), 11, "RFC 3261 17.1.2.2: 0, 0.5, 1.5, 3.5, 7.5 s, then every 4 s");
    world.pass(ms(1));
    assert_eq!(world.expect_ended(), EndCause::Local);
    assert!(world.endpoint.is_idle());
}

#[test]
fn hung_up_while_the_host_is_looked_up() {
    let mut world = World::new();
    let id = world.endpoint.call(world.now, TARGET, local(), &mut world.out).unwrap();
    world.drain();
    world.hang_up(id);
    assert_eq!(world.expect_ended(), EndCause::Local);
    world.route("mixer.example", 5080, Ok(MIXER));
    world.expect_silence();
}

#[test]
fn hung_up_while_it_rings() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 180, "", "");
    world.hang_up(id);
    let cancel = world.expect(Method::Cancel);
    assert_eq!(cancel.header("Via"), invite.header("Via"), "RFC 3261 9.1: the same branch");
    assert_eq!(cancel.request().uri, invite.request().uri);
    assert_eq!(cancel.header("CSeq"), Some("1 CANCEL"));
    assert_eq!((cancel.header("To"), cancel.header("From")), (invite.header("To"), invite.header("From")));
    assert_eq!(cancel.header("Reason"), Some("Q.850;cause=16;text=\"bye\""));
    world.reply(&cancel, 200, "", "");
    assert!(!world.events.iter().any(|event| matches!(event, Event::Ended { .. })));
    world.reply(&invite, 487, "", "");
    world.expect(Method::Ack);
    world.expect_event();
    assert_eq!(world.expect_ended(), EndCause::Local);
    assert!(world.endpoint.is_idle());
}

#[test]
fn hung_up_before_anything_was_heard_waits_for_a_provisional_response() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    world.hang_up(id);
    world.expect_silence();
    world.pass(ms(600));
    assert_eq!(world.next_sent().bytes, invite.bytes, "the INVITE is still repeated");
    world.reply(&invite, 100, "", "");
    world.expect(Method::Cancel);
    world.reply(&invite, 487, "", "");
    world.expect(Method::Ack);
    assert_eq!(world.expect_ended(), EndCause::Local);
}

#[test]
fn hung_up_before_anything_was_heard_and_nothing_ever_comes() {
    let mut world = World::new();
    let id = world.dial();
    world.hang_up(id);
    world.pass(Span::from_secs(32));
    assert_eq!(world.expect_ended(), EndCause::Local);
    assert!(world.endpoint.is_idle());
}

#[test]
fn the_200_wins_against_the_hang_up() {
    // (provisional first?, what is expected before the 200)
    for ringing in [true, false] {
        let mut world = World::new();
        let id = world.dial();
        let invite = world.expect(Method::Invite);
        if ringing {
            world.reply(&invite, 180, "", "");
            world.expect_event();
        }
        world.hang_up(id);
        if ringing {
            world.expect(Method::Cancel);
        }
        world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
        world.expect(Method::Ack);
        let bye = world.expect(Method::Bye);
        assert!(world.events.is_empty(), "never reported as confirmed");
        world.reply(&bye, 200, "", "");
        assert_eq!(world.expect_ended(), EndCause::Local);
        assert!(world.endpoint.is_idle());
    }
}

#[test]
fn a_cancel_that_leads_to_nothing_ends_after_64_t1() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 180, "", "");
    world.expect_event();
    world.hang_up(id);
    let cancel = world.expect(Method::Cancel);
    world.reply(&cancel, 200, "", "");
    world.pass(ms(31_999));
    assert!(world.events.is_empty());
    world.pass(ms(1));
    assert_eq!(world.expect_ended(), EndCause::Local);
    assert!(world.endpoint.is_idle());
    world.drop_sent();
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    world.expect(Method::Bye);
}

#[test]
fn a_refusal_while_cancelling_is_our_hang_up() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 180, "", "");
    world.expect_event();
    world.hang_up(id);
    world.expect(Method::Cancel);
    world.reply(&invite, 486, "", "");
    world.expect(Method::Ack);
    assert_eq!(world.expect_ended(), EndCause::Local);
}

#[test]
fn hanging_up_twice_says_it_once() {
    let mut world = World::new();
    let (id, ..) = world.confirmed();
    world.hang_up(id);
    world.hang_up(id);
    world.expect(Method::Bye);
    world.expect_silence();
}
