//! Before the answer: reliable provisional responses, early dialogs, early media; and answers that come too late.

use super::*;

/// A provisional response that wants its PRACK.
fn reliable(world: &mut World, invite: &Sent, status: u16, tag: &str, rseq: u32, body: &str) {
    let headers = format!("Require: 100rel\r\nRSeq: {rseq}\r\nContact: <sip:{tag}@192.0.2.9:5080>\r\n");
    let text = invite.response(status, tag, &headers, body);
    world.receive(&text);
}

fn dialled() -> (World, CallId, Sent) {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    (world, id, invite)
}

fn early(world: &mut World) -> crate::sdp::Negotiated {
    loop {
        match world.expect_event() {
            Event::Early { media, .. } => return media,
            Event::Progress { .. } => {}
            other => panic!("not Early but {other:?}"),
        }
    }
}

#[test]
fn each_reliable_provisional_response_gets_one_prack_in_order() {
    let (mut world, _, invite) = dialled();
    assert!(invite.header("Supported").unwrap().contains("100rel"));
    reliable(&mut world, &invite, 183, "peer", 7_000, "");
    let prack = world.expect(Method::Prack);
    assert_eq!((prack.header("RAck"), prack.header("CSeq")), (Some("7000 1 INVITE"), Some("2 PRACK")));
    assert_eq!((prack.identity().to.tag(), prack.request().uri.as_str()), (Some("peer"), "sip:peer@192.0.2.9:5080"));
    world.events.clear();
    for (status, rseq) in [(183, 7_000), (180, 7_002), (180, 6_999)] {
        reliable(&mut world, &invite, status, "peer", rseq, "");
        world.expect_silence();
        assert!(world.events.is_empty(), "{rseq} is repeated or out of order");
    }
    reliable(&mut world, &invite, 180, "peer", 7_001, "");
    let second = world.expect(Method::Prack);
    assert_eq!((second.header("RAck"), second.header("CSeq")), (Some("7001 1 INVITE"), Some("3 PRACK")));
    world.pass(ms(1_600));
    assert_eq!(world.drop_sent(), 4, "each PRACK is repeated by itself");
    world.reply(&prack, 200, "", "");
    world.reply(&second, 481, "", "");
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    assert_eq!(world.expect(Method::Ack).header("CSeq"), Some("1 ACK"));
}

#[test]
fn numbers_go_on_from_the_early_dialog() {
    let (mut world, id, invite) = dialled();
    reliable(&mut world, &invite, 180, "peer", 1, "");
    let prack = world.expect(Method::Prack);
    world.reply(&prack, 200, "", "");
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    world.hang_up(id);
    assert_eq!(world.expect(Method::Bye).header("CSeq"), Some("3 BYE"));
}

#[test]
fn every_fork_has_numbers_of_its_own() {
    let (mut world, _, invite) = dialled();
    reliable(&mut world, &invite, 180, "one", 10, "");
    reliable(&mut world, &invite, 180, "two", 500, "");
    let (one, two) = (world.expect(Method::Prack), world.expect(Method::Prack));
    assert_eq!((one.identity().to.tag(), one.header("RAck")), (Some("one"), Some("10 1 INVITE")));
    assert_eq!((two.identity().to.tag(), two.header("RAck")), (Some("two"), Some("500 1 INVITE")));
    assert_eq!((one.header("CSeq"), two.header("CSeq")), (Some("2 PRACK"), Some("2 PRACK")));
    for n in 0..20 {
        reliable(&mut world, &invite, 180, &format!("fork{n}"), 1, "");
    }
    assert_eq!(world.drop_sent(), 6, "eight forks are listened to");
}

#[test]
fn early_media_may_be_heard_and_the_answer_need_not_be_repeated() {
    let (mut world, id, invite) = dialled();
    reliable(&mut world, &invite, 183, "peer", 1, ANSWER);
    let prack = world.expect(Method::Prack);
    assert_eq!(early(&mut world).remote_rtp, address("192.0.2.9:20140"));
    world.reply(&prack, 200, "", "");
    // RFC 3311 5.1: offer and answer are exchanged, so the callee may move the media.
    let moved = OFFER.replace("20140", "30000");
    world.receive(&invite.peer_request("UPDATE", 1, "", &moved));
    assert!(world.expect_status(200).body().contains("RTP/AVP 107 101"));
    assert_eq!(early(&mut world).remote_rtp, address("192.0.2.9:30000"));
    world.events.clear();
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", "");
    world.expect(Method::Ack);
    let Event::Confirmed { call, media } = world.expect_event() else { panic!("not confirmed") };
    assert_eq!((call, media.remote_rtp), (id, address("192.0.2.9:30000")));
    world.receive(&invite.peer_request("BYE", 1, "", ""));
    world.expect_status(500);
    world.receive(&invite.peer_request("BYE", 2, "", ""));
    world.expect_status(200);
}

#[test]
fn an_unreliable_183_is_a_preview_and_its_200_has_to_say_it_again() {
    let (mut world, _, invite) = dialled();
    world.reply(&invite, 183, "", ANSWER);
    early(&mut world);
    world.reply(&invite, 183, "", &ANSWER.replace("20140", "30000"));
    assert!(!world.events.iter().any(|event| matches!(event, Event::Early { .. })), "only the first counts");
    world.receive(&invite.peer_request("UPDATE", 1, "", OFFER));
    world.expect_status(491);
    world.receive(&invite.peer_request("UPDATE", 2, "", ""));
    world.expect_status(200);
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", "");
    world.expect(Method::Ack);
    world.expect(Method::Bye);
}

#[test]
fn what_a_callee_may_ask_in_an_early_dialog() {
    let (mut world, _, invite) = dialled();
    world.reply(&invite, 180, "Contact: <sip:192.0.2.9:5080>\r\n", "");
    for (cseq, method, status) in [
        (1, "OPTIONS", 200),
        (2, "BYE", 481),
        (3, "INFO", 200),
        (4, "PRACK", 481),
        (5, "INVITE", 500),
        (6, "MESSAGE", 405),
    ] {
        world.receive(&invite.peer_request(method, cseq, "", ""));
        world.expect_status(status);
    }
    world.receive(&invite.peer_request("OPTIONS", 1, "", "").replace("z9hG4bKpeer", "z9hG4bKlate"));
    world.expect_status(500);
}

#[test]
fn a_200_just_after_timer_b_gets_ack_and_bye() {
    let (mut world, _, invite) = dialled();
    world.pass(Span::from_secs(32));
    world.drop_sent();
    assert_eq!(world.expect_ended(), EndCause::Timeout);
    assert!(world.endpoint.is_idle());
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    let bye = world.expect(Method::Bye);
    world.reply(&bye, 200, "", "");
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    world.expect_silence();
    assert!(world.events.is_empty());
    world.pass(Span::from_secs(70));
    assert!(world.endpoint.poll_timeout().is_none());
}

#[test]
fn a_refusal_just_after_timer_b_is_acknowledged_and_means_nothing() {
    let (mut world, _, invite) = dialled();
    world.pass(Span::from_secs(32));
    world.drop_sent();
    world.events.clear();
    world.reply(&invite, 180, "", "");
    world.expect_silence();
    world.reply(&invite, 486, "", "");
    world.expect(Method::Ack);
    assert!(world.events.is_empty());
}

#[test]
fn what_is_being_cancelled_still_gets_its_pracks() {
    let (mut world, id, invite) = dialled();
    world.hang_up(id);
    reliable(&mut world, &invite, 183, "peer", 7, ANSWER);
    assert_eq!(world.expect(Method::Prack).header("RAck"), Some("7 1 INVITE"));
    world.expect(Method::Cancel);
    reliable(&mut world, &invite, 180, "peer", 8, "");
    assert_eq!(world.expect(Method::Prack).header("RAck"), Some("8 1 INVITE"));
    assert!(world.events.is_empty(), "nobody wants to hear it");
}

#[test]
fn a_200_long_after_its_cancel_gets_ack_and_bye() {
    let (mut world, id, invite) = dialled();
    world.reply(&invite, 180, "", "");
    world.hang_up(id);
    world.expect(Method::Cancel);
    world.pass(Span::from_secs(33));
    world.drop_sent();
    world.events.clear();
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    world.expect(Method::Bye);
}

#[test]
fn a_late_200_of_an_earlier_target_does_not_answer_the_present_one() {
    let (mut world, _, invite) = dialled();
    let contacts = "Contact: <sip:a@192.0.2.30>;q=0.9, <sip:b@192.0.2.31>;q=0.1\r\n";
    world.reply(&invite, 302, contacts, "");
    world.expect(Method::Ack);
    let (host, port) = world.resolves.pop_front().unwrap();
    world.route(&host, port, Ok("192.0.2.30:5060"));
    let first = world.expect(Method::Invite);
    world.pass(Span::from_secs(32));
    world.drop_sent();
    let (host, port) = world.resolves.pop_front().unwrap();
    world.route(&host, port, Ok("192.0.2.31:5060"));
    let second = world.expect(Method::Invite);
    world.events.clear();
    world.reply(&first, 200, "Contact: <sip:192.0.2.30>\r\n", ANSWER);
    world.expect(Method::Ack);
    assert_eq!(world.expect(Method::Bye).request().uri, "sip:192.0.2.30");
    assert!(world.events.is_empty());
    world.reply(&second, 200, "Contact: <sip:192.0.2.31>\r\n", ANSWER);
    world.expect(Method::Ack);
    assert!(matches!(world.expect_event(), Event::Confirmed { .. }));
}
