//! What others ask of us: outside any call, inside ours, and where nothing fits.

use super::*;

/// A request outside any dialog.
fn stranger(method: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} sip:device7@192.0.2.1:5062 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5070;branch=z9hG4bKstranger\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\n\
         From: <sip:x@198.51.100.7>;tag=s1\r\nTo: <sip:device7@192.0.2.1>\r\nCall-ID: abc@x\r\nCSeq: 7 {method}\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn options_is_answered_out_of_dialog_and_within() {
    let mut world = World::new();
    world.receive(&stranger("OPTIONS", "", ""));
    let ok = world.expect_status(200);
    assert!(ok.header("Allow").unwrap().contains("INVITE"));
    assert_eq!(ok.header("Accept"), Some("application/sdp"));
    assert!(ok.identity().to.tag().is_some());
    let (_, invite, _) = world.confirmed();
    world.receive(&invite.peer_request("OPTIONS", 1, "", ""));
    assert!(world.expect_status(200).header("Allow").is_some());
}

#[test]
fn a_response_goes_where_rport_or_the_via_says() {
    let mut world = World::new();
    world.receive_from("198.51.100.9:1234", stranger("OPTIONS", "", "").as_bytes());
    let ok = world.expect_status(200);
    assert_eq!(ok.to, address("198.51.100.9:5070"), "RFC 3261 18.2.2: source address, port of the Via");
    let vias: Vec<&str> = ok.text().leak().lines().filter(|line| line.starts_with("Via")).collect();
    assert_eq!(vias.len(), 2);
    assert!(vias[0].ends_with(";received=198.51.100.9"), "{}", vias[0]);
    let natted = stranger("OPTIONS", "", "").replace("z9hG4bKstranger", "z9hG4bKnat;rport");
    world.receive_from("198.51.100.9:1234", natted.as_bytes());
    let ok = world.expect_status(200);
    assert_eq!(ok.to, address("198.51.100.9:1234"), "RFC 3581 4");
    assert!(ok.header("Via").unwrap().contains(";rport=1234"));
}

#[test]
fn a_repeated_request_gets_the_same_answer_until_timer_j() {
    let mut world = World::new();
    world.receive(&stranger("OPTIONS", "", ""));
    let first = world.expect_status(200);
    world.pass(Span::from_secs(31));
    world.receive(&stranger("OPTIONS", "", ""));
    assert_eq!(world.expect_status(200).bytes, first.bytes);
    world.pass(Span::from_secs(2));
    world.receive(&stranger("OPTIONS", "", ""));
    assert_ne!(world.expect_status(200).bytes, first.bytes, "a new tag: it is a new request");
}

#[test]
fn a_call_from_outside_is_turned_down() {
    let mut world = World::new();
    world.receive(&stranger("INVITE", "", ""));
    world.expect_status(480);
    world.receive(&stranger("INVITE", "", "").replace("7 INVITE", "7 ACK").replace("INVITE sip", "ACK sip"));
    world.pass(Span::from_secs(60));
    world.expect_silence();
    let (_, invite, _) = world.confirmed();
    world.receive(&stranger("INVITE", "", "").replace("stranger", "other"));
    world.expect_status(486);
    world.drop_sent();
    world.receive(&invite.peer_request("OPTIONS", 1, "", ""));
    world.expect_status(200);
}

#[test]
fn a_cancel_comes_too_late_or_fits_nothing() {
    let mut world = World::new();
    world.receive(&stranger("CANCEL", "", ""));
    world.expect_status(481);
    world.receive(&stranger("INVITE", "", "").replace("stranger", "second"));
    world.expect_status(480);
    world.receive(&stranger("CANCEL", "", "").replace("stranger", "second"));
    world.expect_status(200);
}

#[test]
fn what_makes_sense_only_in_a_dialog_gets_481_outside() {
    for method in ["BYE", "UPDATE", "INFO", "NOTIFY", "PRACK"] {
        let mut world = World::new();
        world.receive(&stranger(method, "", ""));
        world.expect_status(481);
    }
}

#[test]
fn methods_we_do_not_know_get_405_with_what_we_do() {
    for method in ["REGISTER", "MESSAGE", "SUBSCRIBE", "REFER", "PUBLISH", "FOO", "invite", "!strange'~"] {
        let mut world = World::new();
        world.receive(&stranger(method, "", ""));
        let refused = world.expect_status(405);
        assert!(refused.header("Allow").unwrap().contains("OPTIONS"));
        assert_eq!(refused.header("CSeq"), Some(format!("7 {method}").as_str()));
    }
}

#[test]
fn each_header_rule_has_its_refusal() {
    let cases = [
        ("Require: nothingSupportsThis, nor-this\r\n", "", 420),
        ("Content-Type: text/plain\r\n", "hello", 415),
        ("Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n", "x", 415),
        ("Accept: text/nobodyKnowsThis\r\n", "", 406),
        ("Accept: text/plain, application/sdp;level=1\r\n", "", 480),
    ];
    for (headers, body, status) in cases {
        let mut world = World::new();
        world.receive(&stranger("INVITE", headers, body));
        let refused = world.expect_status(status);
        match status {
            420 => assert_eq!(refused.header("Unsupported"), Some("nothingSupportsThis, nor-this")),
            415 | 406 => assert_eq!(refused.header("Accept"), Some("application/sdp")),
            _ => {}
        }
    }
    for uri in ["nobodyKnowsThisScheme:totallyopaque", "tel:+4612", "soap.beep://192.0.2.103:3002"] {
        let mut world = World::new();
        world.receive(&stranger("OPTIONS", "", "").replace("sip:device7@192.0.2.1:5062 SIP", &format!("{uri} SIP")));
        world.expect_status(416);
    }
}

#[test]
fn an_old_or_foreign_request_within_a_dialog_is_refused_and_the_call_stays() {
    let mut world = World::new();
    let (id, invite, _) = world.confirmed();
    world.receive(&invite.peer_request("INFO", 5, "Content-Type: application/dtmf-relay\r\n", ""));
    world.expect_status(200);
    for old in [4, 5] {
        world.receive(&invite.peer_request("BYE", old, "", ""));
        world.expect_status(500);
    }
    world.receive(&invite.peer_request("BYE", 6, "", "").replace("tag=peer", "tag=forged"));
    world.expect_status(481);
    let wrong = invite.peer_request("BYE", 7, "", "").replace(invite.identity().from.tag().unwrap(), "wrong");
    world.receive(&wrong);
    world.expect_status(481);
    world.receive(&invite.peer_request("BYE", 8, "", "").replace(&invite.identity().call_id, "another-call"));
    world.expect_status(481);
    assert!(world.events.is_empty());
    world.receive(&invite.peer_request("NOTIFY", 9, "Event: presence\r\n", ""));
    world.expect_status(481);
    world.receive(&invite.peer_request("REFER", 10, "Refer-To: <sip:x@y>\r\n", ""));
    world.expect_status(405);
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.receive(&invite.peer_request("INVITE", 11, "", OFFER));
    world.expect_status(481);
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Local);
}

#[test]
fn a_dialog_is_matched_by_tags_alone() {
    let mut world = World::new();
    let (_, invite, _) = world.confirmed();
    let bye = invite
        .peer_request("BYE", 1, "", "")
        .replace("<sip:88826777033@mixer.example>", "\"Room\" <sip:conference@10.9.8.7:5080;x=y>")
        .replace("To: <sip:device7@192.0.2.1>", "To: <sip:someone@else.example>");
    world.receive(&bye);
    world.expect_status(200);
    assert!(matches!(world.expect_ended(), EndCause::Remote { .. }));
}

#[test]
fn strays_are_ignored() {
    let mut world = World::new();
    let (id, invite, ack) = world.confirmed();
    world.receive(&stranger("ACK", "", ""));
    world.receive(&invite.peer_request("ACK", 77, "", OFFER));
    world.receive(&invite.response(200, "peer", "", ANSWER).replace(invite.branch(), "z9hG4bKnobodys"));
    world.receive(&invite.response(200, "peer", "", ANSWER).replace("branch=", "nobranch="));
    world.receive(&ack.response(200, "peer", "", ""));
    world.receive(&invite.response(180, "peer", "", ""));
    world.receive(&invite.response(486, "peer", "", ""));
    world.receive("\r\n\r\n");
    world.receive_from(MIXER, &[0, 0, 0, 0]);
    world.expect_silence();
    assert!(world.events.is_empty());
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.reply(&bye, 100, "", "");
    assert!(world.events.is_empty());
    world.reply(&bye, 200, "", "");
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Local);
    assert!(world.events.is_empty());
}

#[test]
fn a_flood_of_requests_is_answered_in_bounded_memory() {
    let mut world = World::new();
    for number in 0..2_000 {
        world.receive(&stranger("OPTIONS", "", "").replace("stranger", &format!("s{number}")));
    }
    assert_eq!(world.drop_sent(), 2_000);
    world.pass(Span::from_secs(33));
    assert_eq!(world.endpoint.poll_timeout(), None);
}

#[test]
fn an_rfc_2543_peer_without_branch_and_tag_is_served() {
    let mut world = World::new();
    let old = stranger("INVITE", "", "").replace(";branch=z9hG4bKstranger", "").replace(";tag=s1", "");
    world.receive(&old);
    let first = world.expect_status(480);
    world.receive(&old);
    assert_eq!(world.expect_status(480).bytes, first.bytes);
    world.receive(&old.replace("INVITE", "ACK"));
    world.pass(Span::from_secs(60));
    world.expect_silence();
}
