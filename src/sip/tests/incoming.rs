//! Calls to the device: rung, answered, refused, cancelled.

use super::*;
use crate::config::Incoming;

const CALLER: &str = "From: \"Door\" <sip:door@192.0.2.9>;tag=caller\r\nTo: <sip:device7@192.0.2.1:5062>";

/// A request of the caller; `to` is the tag of our side, once it is known.
fn request(method: &str, cseq: u32, to: Option<&str>, headers: &str, body: &str) -> String {
    let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let tag = to.map_or(String::new(), |tag| format!(";tag={tag}"));
    let branch = if method == "CANCEL" { "INVITE" } else { method };
    format!(
        "{method} sip:device7@192.0.2.1:5062 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5080;rport;branch=z9hG4bKcaller{branch}{cseq}\r\n{CALLER}{tag}\r\n\
         Call-ID: from-outside\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContact: <sip:door@192.0.2.9:5080>\r\n\
         {headers}{content}Content-Length: {}\r\n\r\n{body}",
        body.len(),
    )
}

fn world() -> World {
    World::with(config::Sip { incoming: Incoming::Accept, ..config() }, 5)
}

/// The INVITE is here and the agent has heard of it.
fn called(world: &mut World, headers: &str, body: &str) -> CallId {
    world.receive(&request("INVITE", 1, None, headers, body));
    let (host, port) = world.resolves.pop_front().expect("the way back is looked up");
    world.route(&host, port, Ok(MIXER));
    match world.expect_event() {
        Event::Incoming { call, caller, source, number } => {
            assert_eq!((caller.uri.as_str(), caller.name.as_str()), ("sip:door@192.0.2.9", "Door"));
            assert_eq!((source, number.as_str()), (address(MIXER), "sip:device7@192.0.2.1:5062"));
            call
        }
        other => panic!("not Incoming but {other:?}"),
    }
}

fn answer(world: &mut World, call: CallId) -> Sent {
    world.endpoint.answer(world.now, call, local(), &mut world.out);
    world.drain();
    world.expect_status(200)
}

fn ring(world: &mut World, call: CallId) -> Sent {
    world.endpoint.ring(world.now, call, &mut world.out);
    world.drain();
    world.expect_status(180)
}

fn tag(sent: &Sent) -> String {
    sent.identity().to.tag().expect("our tag").to_owned()
}

/// Called, answered, acknowledged.
fn in_call(world: &mut World) -> (CallId, String) {
    let call = called(world, "Allow: INVITE, BYE, UPDATE\r\n", OFFER);
    let ok = answer(world, call);
    world.receive(&request("ACK", 1, Some(&tag(&ok)), "", ""));
    assert!(matches!(world.expect_event(), Event::Confirmed { .. }));
    (call, tag(&ok))
}

#[test]
fn a_call_is_rung_answered_and_acknowledged() {
    let mut world = world();
    let call = called(&mut world, "Record-Route: <sip:192.0.2.20;lr>\r\n", OFFER);
    world.expect_silence();
    let ringing = ring(&mut world, call);
    assert_eq!(ringing.header("Contact"), Some("<sip:device7@192.0.2.1:5062>"));
    world.receive(&request("INVITE", 1, None, "", OFFER));
    assert_eq!(world.expect_status(180).bytes, ringing.bytes, "the repeated INVITE hears it again");
    let ok = answer(&mut world, call);
    assert_eq!(tag(&ok), tag(&ringing), "one dialog");
    assert_eq!(ok.header("Record-Route"), Some("<sip:192.0.2.20;lr>"));
    assert!(ok.body().contains("m=audio 40000 RTP/AVP 107 101\r\n"), "{}", ok.body());
    assert!(world.events.is_empty(), "no media before the ACK");
    world.pass(ms(1_600));
    assert_eq!(world.drop_sent(), 2, "the 200 again at 0.5 and 1.5 s");
    world.receive(&request("ACK", 1, Some(&tag(&ok)), "", ""));
    let Event::Confirmed { media, .. } = world.expect_event() else { panic!("not confirmed") };
    assert_eq!((media.remote_rtp, media.send_payload_type), (address("192.0.2.9:20140"), 107));
    world.pass(Span::from_secs(60));
    world.expect_silence();
    world.hang_up(call);
    let bye = world.expect(Method::Bye);
    assert_eq!((bye.header("CSeq"), bye.to), (Some("1 BYE"), address("192.0.2.20:5060")));
    assert_eq!(bye.header("Route"), Some("<sip:192.0.2.20;lr>"));
    assert_eq!((bye.identity().from.tag(), bye.identity().to.tag()), (Some(tag(&ok).as_str()), Some("caller")));
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Local);
}

#[test]
fn without_an_offer_ours_is_in_the_200_and_the_answer_in_the_ack() {
    let mut world = world();
    let call = called(&mut world, "", "");
    let ok = answer(&mut world, call);
    assert!(ok.body().contains("m=audio 40000 RTP/AVP 96 97 98 99\r\n"));
    world.receive(&request("UPDATE", 2, Some(&tag(&ok)), "", OFFER));
    world.expect_status(491);
    world.receive(&request("ACK", 1, Some(&tag(&ok)), "", ANSWER));
    let Event::Confirmed { media, .. } = world.expect_event() else { panic!("not confirmed") };
    assert_eq!(media.remote_rtp, address("192.0.2.9:20140"));
}

#[test]
fn an_ack_without_the_answer_ends_the_call() {
    let mut world = world();
    let call = called(&mut world, "", "");
    let ok = answer(&mut world, call);
    world.receive(&request("ACK", 1, Some(&tag(&ok)), "", ""));
    let bye = world.expect(Method::Bye);
    world.events.clear();
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::NoCommonMedia);
}

#[test]
fn an_offer_without_opus_is_refused() {
    let mut world = world();
    let call = called(&mut world, "", &OFFER.replace("opus/48000", "G722/8000"));
    world.endpoint.answer(world.now, call, local(), &mut world.out);
    world.drain();
    world.expect_status(488);
    assert_eq!(world.expect_ended(), EndCause::NoCommonMedia);
    world.receive(&request("ACK", 1, None, "", "").replace("callerACK1", "callerINVITE1"));
    world.pass(Span::from_secs(40));
    world.expect_silence();
    assert!(world.endpoint.poll_timeout().is_none());
}

#[test]
fn a_cancel_while_it_rings_gets_200_and_the_invite_487() {
    let mut world = world();
    let call = called(&mut world, "", OFFER);
    ring(&mut world, call);
    world.receive(&request("CANCEL", 1, None, "Reason: SIP;cause=200;text=\"elsewhere\"\r\n", ""));
    assert_eq!(world.expect_status(200).header("CSeq"), Some("1 CANCEL"));
    assert_eq!(world.expect_status(487).header("CSeq"), Some("1 INVITE"));
    assert_eq!(world.expect_ended(), EndCause::Remote { reason: Some("elsewhere".into()) });
    world.endpoint.answer(world.now, call, local(), &mut world.out);
    assert!(world.out.is_empty(), "too late to answer");
}

#[test]
fn a_cancel_after_the_200_changes_nothing() {
    let mut world = world();
    let call = called(&mut world, "", OFFER);
    let ok = answer(&mut world, call);
    world.receive(&request("CANCEL", 1, None, "", ""));
    world.expect_status(200);
    world.expect_silence();
    world.receive(&request("ACK", 1, Some(&tag(&ok)), "", ""));
    assert!(matches!(world.expect_event(), Event::Confirmed { .. }));
}

#[test]
fn a_200_that_nobody_acknowledges_ends_in_a_bye() {
    let mut world = world();
    let call = called(&mut world, "", OFFER);
    answer(&mut world, call);
    world.pass(Span::from_secs(33));
    let (_, last) = world.sent.pop_back().expect("something was sent");
    assert!(last.starts_with(b"BYE "), "{}", String::from_utf8_lossy(&last));
    world.pass(Span::from_secs(40));
    assert_eq!(world.expect_ended(), EndCause::Timeout);
}

#[test]
fn hanging_up_before_the_ack_waits_for_it() {
    let mut world = world();
    let call = called(&mut world, "", OFFER);
    let ok = answer(&mut world, call);
    world.hang_up(call);
    world.expect_silence();
    world.receive(&request("ACK", 1, Some(&tag(&ok)), "", ""));
    let bye = world.expect(Method::Bye);
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Local);
}

#[test]
fn refused_and_forgotten_calls_get_their_status() {
    let mut world = world();
    let call = called(&mut world, "", OFFER);
    world.endpoint.refuse(world.now, call, 403, &mut world.out);
    world.drain();
    world.expect_status(403);
    assert_eq!(world.expect_ended(), EndCause::Local);
    for (headers, status, cause, wait) in [
        ("", 480, EndCause::NoAnswer, config().invite_timeout),
        ("Expires: 5\r\n", 487, EndCause::Remote { reason: None }, Span::from_secs(5)),
    ] {
        let mut world = self::world();
        let call = called(&mut world, headers, OFFER);
        ring(&mut world, call);
        world.pass(wait - ms(1));
        world.expect_silence();
        world.pass(ms(1));
        world.expect_status(status);
        assert_eq!(world.expect_ended(), cause);
    }
}

#[test]
fn the_same_invite_by_another_way_is_a_loop_and_too_many_callers_are_turned_down() {
    let mut world = world();
    let call = called(&mut world, "", OFFER);
    ring(&mut world, call);
    world.receive(&request("INVITE", 1, None, "", OFFER).replace("z9hG4bKcaller", "z9hG4bKother"));
    world.expect_status(482);
    for n in 0..4 {
        let other = request("INVITE", 1, None, "", OFFER);
        world.receive(&other.replace("from-outside", &format!("c{n}")).replace("callerINVITE", &format!("c{n}")));
    }
    world.expect_status(486);
    world.expect_silence();
}

#[test]
fn the_same_invite_by_another_way_is_a_loop_after_the_answer_too() {
    let mut world = world();
    let other_way = request("INVITE", 1, None, "", OFFER).replace("z9hG4bKcaller", "z9hG4bKother");
    let call = called(&mut world, "", OFFER);
    let ok = answer(&mut world, call);
    world.receive(&other_way);
    world.expect_status(482);
    world.receive(&request("ACK", 1, Some(&tag(&ok)), "", ""));
    world.receive(&other_way.replace("z9hG4bKother", "z9hG4bKthird"));
    world.expect_status(482);
    assert!(matches!(world.expect_event(), Event::Confirmed { .. }) && world.events.is_empty());
}

#[test]
fn strangers_do_not_keep_a_call_from_its_answers() {
    let mut world = world();
    let flood = |world: &mut World| {
        for n in 0..400 {
            let options = request("OPTIONS", 1, None, "", "");
            world
                .receive(&options.replace("from-outside", &format!("f{n}")).replace("callerOPTIONS", &format!("f{n}")));
        }
        assert_eq!(world.drop_sent(), 400);
    };
    flood(&mut world);
    let (_, tag) = in_call(&mut world);
    let reinvite = request("INVITE", 2, Some(&tag), "", OFFER);
    world.receive(&reinvite);
    let ok = world.expect_status(200);
    flood(&mut world);
    world.receive(&reinvite);
    assert_eq!(world.expect_status(200).bytes, ok.bytes, "as long as its ACK has not come");
}

#[test]
fn a_connection_by_which_a_call_rings_is_kept() {
    let sip = config::Sip { incoming: Incoming::Accept, invite_timeout: Span::from_secs(180), ..config() };
    let mut world = World::with(sip, 5);
    let theirs = Flow { transport: Transport::Tcp, remote: address("192.0.2.9:33333") };
    world.endpoint.handle_accepted(world.now, theirs, address("192.0.2.1:5062"), &mut world.out);
    let invite = request("INVITE", 1, None, "", OFFER).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    world.endpoint.handle_received(world.now, theirs, invite.as_bytes(), &mut world.out);
    world.drain();
    let target = world.targets.last().expect("the way back is looked up").clone();
    let route = Route { flow: theirs, local: "192.0.2.1".parse().unwrap() };
    world.endpoint.handle_route(world.now, &target, Ok(vec![route]), &mut world.out);
    world.drain();
    assert!(matches!(world.expect_event(), Event::Incoming { .. }));
    world.pass(Span::from_secs(170));
    assert!(world.disconnects.is_empty() && world.events.is_empty());
    world.pass(Span::from_secs(10));
    world.expect_status(480);
    world.pass(Span::from_secs(64));
    assert_eq!(world.disconnects.pop_front(), Some(theirs), "nothing rings any more");
}

#[test]
fn an_early_bye_ends_the_ringing() {
    let mut world = world();
    let call = called(&mut world, "", OFFER);
    let ringing = ring(&mut world, call);
    world.receive(&request("BYE", 2, Some(&tag(&ringing)), "", ""));
    assert_eq!(world.expect_status(200).header("CSeq"), Some("2 BYE"));
    assert_eq!(world.expect_status(487).header("CSeq"), Some("1 INVITE"));
    assert!(matches!(world.expect_ended(), EndCause::Remote { .. }));
}

#[test]
fn session_timers_of_the_caller_are_kept() {
    let mut world = world();
    world.receive(&request("INVITE", 1, None, "Session-Expires: 60\r\nSupported: timer\r\n", OFFER));
    assert_eq!(world.expect_status(422).header("Min-SE"), Some("90"));
    let mut world = self::world();
    let call = called(&mut world, "Session-Expires: 90;refresher=uas\r\nSupported: timer\r\nAllow: UPDATE\r\n", OFFER);
    let ok = answer(&mut world, call);
    assert_eq!(ok.header("Session-Expires"), Some("90;refresher=uas"));
    world.receive(&request("ACK", 1, Some(&tag(&ok)), "", ""));
    world.pass(Span::from_secs(45));
    let update = world.expect(Method::Update);
    assert_eq!(update.header("Session-Expires"), Some("90;refresher=uac"));
}

#[test]
fn who_was_called_waits_shorter_after_a_glare() {
    let mut world = world();
    let (call, _) = in_call(&mut world);
    world.modify(call, held());
    let ours = world.expect(Method::Invite);
    world.reply(&ours, 491, "", "");
    world.expect(Method::Ack);
    world.pass(ms(2_000));
    assert!(world.expect(Method::Invite).body().contains("a=inactive"), "within 2 s (RFC 3261 14.1)");
}

#[test]
fn a_prack_that_comes_after_our_200_is_answered_with_200() {
    for acknowledged in [false, true] {
        let mut world = world();
        let call = called(&mut world, "Require: 100rel\r\nSupported: 100rel\r\n", OFFER);
        let ringing = ring(&mut world, call);
        let (us, rseq) = (tag(&ringing), ringing.header("RSeq").unwrap().to_owned());
        answer(&mut world, call);
        if acknowledged {
            world.receive(&request("ACK", 1, Some(&us), "", ""));
        }
        for (cseq, status) in [(2, 200), (3, 481)] {
            world.receive(&request("PRACK", cseq, Some(&us), &format!("RAck: {rseq} 1 INVITE\r\n"), ""));
            assert_eq!(world.expect_status(status).header("CSeq"), Some(format!("{cseq} PRACK").as_str()));
        }
    }
}

#[test]
fn a_caller_that_requires_100rel_gets_it() {
    let mut world = world();
    let call = called(&mut world, "Require: 100rel\r\nSupported: 100rel\r\n", OFFER);
    let ringing = ring(&mut world, call);
    assert_eq!(ringing.header("Require"), Some("100rel"));
    let rseq: u32 = ringing.header("RSeq").unwrap().parse().unwrap();
    world.pass(ms(1_600));
    assert_eq!(world.drop_sent(), 2, "at 0.5 and 1.5 s");
    let us = tag(&ringing);
    world.receive(&request("PRACK", 2, Some(&us), &format!("RAck: {} 1 INVITE\r\n", rseq ^ 1), ""));
    world.expect_status(481);
    world.receive(&request("PRACK", 3, Some(&us), &format!("RAck: {rseq} 1 INVITE\r\n"), ""));
    world.expect_status(200);
    world.pass(Span::from_secs(20));
    world.expect_silence();
    world.receive(&request("PRACK", 4, Some(&us), &format!("RAck: {rseq} 1 INVITE\r\n"), ""));
    world.expect_status(481);
    answer(&mut world, call);
}

#[test]
fn a_caller_that_never_pracks_gets_504() {
    let mut world = world();
    let call = called(&mut world, "Require: 100rel\r\n", OFFER);
    ring(&mut world, call);
    world.pass(Span::from_secs(32));
    let (_, last) = world.sent.pop_back().unwrap();
    assert!(last.starts_with(b"SIP/2.0 504 "), "{}", String::from_utf8_lossy(&last));
    assert_eq!(world.expect_ended(), EndCause::Timeout);
}

#[test]
fn an_update_before_the_answer() {
    let mut world = world();
    let call = called(&mut world, "", OFFER);
    let us = tag(&ring(&mut world, call));
    world.receive(&request("UPDATE", 2, Some(&us), "", ""));
    world.expect_status(200);
    world.receive(&request("UPDATE", 3, Some(&us), "", OFFER));
    assert!(world.expect_status(500).header("Retry-After").is_some(), "RFC 3311 5.2");
    world.receive(&request("INFO", 3, Some(&us), "", ""));
    world.expect_status(500);
}

#[test]
fn by_default_nobody_may_call() {
    let mut world = World::new();
    world.receive(&request("INVITE", 1, None, "", OFFER));
    world.expect_status(480);
    assert!(world.events.is_empty() && world.endpoint.is_idle());
}

#[test]
fn ipv6_callers_are_answered_where_they_are() {
    let mut world = world();
    let invite = request("INVITE", 1, None, "", OFFER).replace("192.0.2.9:5080", "[2001:db8::9]:5080");
    world.receive_from("[2001:db8::9]:5080", invite.as_bytes());
    assert_eq!(world.resolves.pop_front(), Some(("2001:db8::9".into(), 5080)));
}
