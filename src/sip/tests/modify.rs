//! Offers and answers within the call, of both sides.

use super::*;

fn confirmed() -> (World, CallId, Sent) {
    let mut world = World::new();
    let (id, invite, _) = world.confirmed();
    (world, id, invite)
}

#[track_caller]
fn modified(world: &mut World) -> crate::sdp::Negotiated {
    match world.expect_event() {
        Event::Modified { media, .. } => media,
        other => panic!("not Modified but {other:?}"),
    }
}

fn version(body: &str) -> u64 {
    body.lines().find(|line| line.starts_with("o=")).and_then(|line| line.split(' ').nth(2)?.parse().ok()).unwrap()
}

#[test]
fn the_peer_holds_and_resumes() {
    let (mut world, _, invite) = confirmed();
    for (cseq, offered, answered, media) in [
        (1, "sendonly", "recvonly", (false, true)),
        (2, "inactive", "inactive", (false, false)),
        (3, "sendrecv", "sendrecv", (true, true)),
    ] {
        world.receive(&invite.peer_request("INVITE", cseq, "", &OFFER.replace("sendrecv", offered)));
        let ok = world.expect_status(200);
        assert!(ok.body().contains(&format!("a={answered}\r\n")), "{}", ok.body());
        assert!(ok.body().contains("m=audio 40000 RTP/AVP 107 101\r\n"), "the offerer's numbers: {}", ok.body());
        assert_eq!(ok.header("Contact"), Some("<sip:device7@192.0.2.1:5062>"));
        let now = modified(&mut world);
        assert_eq!((now.send, now.receive, now.receive_payload_type), (media.0, media.1, 107));
        world.receive(&invite.peer_request("ACK", cseq, "", ""));
        world.pass(Span::from_secs(40));
        world.expect_silence();
    }
}

#[test]
fn a_reinvite_that_changes_nothing_is_answered_and_not_reported() {
    let (mut world, _, invite) = confirmed();
    world.receive(&invite.peer_request("INVITE", 1, "", ANSWER));
    assert!(world.expect_status(200).body().contains("a=sendrecv"));
    assert!(world.events.is_empty());
}

#[test]
fn the_200_is_repeated_until_its_ack_comes() {
    let (mut world, _, invite) = confirmed();
    let reinvite = invite.peer_request("INVITE", 9, "", ANSWER);
    world.receive(&reinvite);
    let ok = world.expect_status(200);
    world.receive(&reinvite);
    assert_eq!(world.expect_status(200).bytes, ok.bytes, "the repeated INVITE gets the same answer");
    world.pass(ms(1_600));
    assert_eq!(world.drop_sent(), 2, "at 0.5 and 1.5 s");
    world.receive(&invite.peer_request("ACK", 9, "", ""));
    world.pass(Span::from_secs(60));
    world.expect_silence();
    assert!(world.events.is_empty());
}

#[test]
fn a_200_never_acknowledged_ends_the_call() {
    let (mut world, _, invite) = confirmed();
    world.receive(&invite.peer_request("INVITE", 9, "", ANSWER));
    world.pass(Span::from_secs(32));
    let (_, last) = world.sent.pop_back().unwrap();
    assert!(last.starts_with(b"BYE "));
    world.pass(Span::from_secs(32));
    assert_eq!(world.expect_ended(), EndCause::Timeout);
}

#[test]
fn a_peer_that_dies_after_its_100_to_a_reinvite_ends_the_call() {
    let (mut world, id, _) = confirmed();
    world.modify(id, held());
    let reinvite = world.expect(Method::Invite);
    world.reply(&reinvite, 100, "", "");
    world.pass(Span::from_millis(31_900));
    world.expect_silence();
    world.pass(Span::from_millis(200));
    world.expect(Method::Bye);
    world.pass(Span::from_secs(70));
    assert_eq!(world.expect_ended(), EndCause::Timeout);
    assert!(world.endpoint.poll_timeout().is_none(), "no transaction is left");
}

#[test]
fn a_reinvite_under_way_at_the_hangup_leaves_nothing_behind() {
    let (mut world, id, _) = confirmed();
    world.modify(id, held());
    let reinvite = world.expect(Method::Invite);
    world.reply(&reinvite, 100, "", "");
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Local);
    world.pass(Span::from_secs(40));
    world.expect_silence();
    world.reply(&reinvite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    world.pass(Span::from_secs(40));
    world.expect_silence();
    assert!(world.endpoint.poll_timeout().is_none());
}

#[test]
fn the_peers_bye_stops_the_repetition_of_our_200() {
    let (mut world, _, invite) = confirmed();
    world.receive(&invite.peer_request("INVITE", 9, "", ANSWER));
    world.expect_status(200);
    world.receive(&invite.peer_request("BYE", 10, "", ""));
    world.expect_status(200);
    world.pass(Span::from_secs(60));
    world.expect_silence();
}

#[test]
fn a_reinvite_without_an_offer_gets_ours_and_the_answer_comes_in_the_ack() {
    let (mut world, _, invite) = confirmed();
    world.receive(&invite.peer_request("INVITE", 1, "", ""));
    let ok = world.expect_status(200);
    assert!(ok.body().contains("m=audio 40000 RTP/AVP 96 97 98 99\r\n") && ok.body().contains("a=sendrecv\r\n"));
    assert!(world.events.is_empty());
    world.receive(&invite.peer_request("UPDATE", 2, "", OFFER));
    world.expect_status(491);
    world.receive(&invite.peer_request("ACK", 1, "", &ANSWER.replace("20140", "20150")));
    assert_eq!(modified(&mut world).remote_rtp, address("192.0.2.9:20150"));
    world.receive(&invite.peer_request("ACK", 1, "", &ANSWER.replace("20140", "20160")));
    assert!(world.events.is_empty(), "only the first ACK counts");
    world.pass(Span::from_secs(40));
    world.expect_silence();
}

#[test]
fn what_we_want_while_our_offer_is_with_the_peer_follows_after_its_ack() {
    let (mut world, id, invite) = confirmed();
    world.receive(&invite.peer_request("INVITE", 1, "", ""));
    world.expect_status(200);
    world.modify(id, held());
    world.expect_silence();
    world.receive(&invite.peer_request("ACK", 1, "", ANSWER));
    assert!(world.expect(Method::Invite).body().contains("a=inactive"));
}

#[test]
fn an_offer_without_opus_is_refused_and_nothing_changes() {
    let (mut world, id, invite) = confirmed();
    world.receive(&invite.peer_request("INVITE", 1, "", &OFFER.replace("opus/48000", "G722/8000")));
    let refused = world.expect_status(488);
    let ack = invite.peer_request("ACK", 1, "", "").replace("peerACK1", "peerINVITE1");
    world.receive(&ack);
    world.pass(Span::from_secs(40));
    world.expect_silence();
    assert!(refused.body().is_empty() && world.events.is_empty());
    world.hang_up(id);
    world.expect(Method::Bye);
}

#[test]
fn a_refusal_is_repeated_until_its_ack_comes() {
    let (mut world, _, invite) = confirmed();
    world.receive(&invite.peer_request("INVITE", 1, "", "v=0\r\n"));
    world.expect_status(488);
    world.pass(ms(1_600));
    assert_eq!(world.drop_sent(), 2);
    world.receive(&invite.peer_request("ACK", 1, "", "").replace("peerACK1", "peerINVITE1"));
    world.pass(Span::from_secs(40));
    world.expect_silence();
}

#[test]
fn a_video_stream_is_refused_in_its_place() {
    let (mut world, _, invite) = confirmed();
    let offer = OFFER.replace("m=audio", "m=video 30000 RTP/AVP 31\r\nm=audio");
    world.receive(&invite.peer_request("INVITE", 1, "", &offer));
    let body = world.expect_status(200).body();
    let streams: Vec<&str> = body.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(streams, ["m=video 0 RTP/AVP 31", "m=audio 40000 RTP/AVP 107 101"]);
}

#[test]
fn our_offer_after_one_with_video_has_audio_where_it_was() {
    let (mut world, id, invite) = confirmed();
    let offer = OFFER.replace("m=audio", "m=video 30000 RTP/AVP 31\r\nm=audio");
    world.receive(&invite.peer_request("INVITE", 1, "", &offer));
    world.expect_status(200);
    world.receive(&invite.peer_request("ACK", 1, "", ""));
    world.events.clear();
    world.modify(id, held());
    let ours = world.expect(Method::Invite);
    let body = ours.body();
    let lines: Vec<&str> = body.lines().filter(|line| line.starts_with("m=")).collect();
    assert!(lines.len() == 2 && lines[0].starts_with("m=video 0 ") && lines[1].starts_with("m=audio 40000 "), "{body}");
    let answer = offer.replace("video 30000", "video 0").replace("sendrecv", "inactive");
    world.reply(&ours, 200, "Contact: <sip:192.0.2.9:5080>\r\n", &answer);
    world.expect(Method::Ack);
    assert_eq!(modified(&mut world).remote_rtp, address("192.0.2.9:20140"));
}

#[test]
fn update_with_an_offer_is_answered_and_without_one_only_acknowledged() {
    let (mut world, _, invite) = confirmed();
    world.receive(&invite.peer_request("UPDATE", 1, "Session-Expires: 90;refresher=uac\r\n", ""));
    let ok = world.expect_status(200);
    assert!(ok.body().is_empty() && ok.header("Contact").is_some());
    world.receive(&invite.peer_request("UPDATE", 2, "", &OFFER.replace("sendrecv", "sendonly")));
    assert!(world.expect_status(200).body().contains("a=recvonly"));
    assert!(!modified(&mut world).send);
    world.pass(Span::from_secs(40));
    world.expect_silence();
}

#[test]
fn we_hold_and_resume() {
    let (mut world, id, invite) = confirmed();
    world.modify(id, held());
    let hold = world.expect(Method::Invite);
    assert_eq!(hold.request().uri, "sip:192.0.2.9:5080");
    assert_eq!((hold.header("CSeq"), hold.identity().to.tag()), (Some("2 INVITE"), Some("peer")));
    assert!(hold.body().contains("a=inactive\r\n"));
    assert_eq!(version(&hold.body()), version(&invite.body()) + 1);
    world.reply(&hold, 100, "", "");
    world.reply(&hold, 200, "Contact: <sip:192.0.2.10:5080>\r\n", &ANSWER.replace("sendrecv", "inactive"));
    let ack = world.expect(Method::Ack);
    assert_eq!((ack.header("CSeq"), ack.to), (Some("2 ACK"), address("192.0.2.10:5080")));
    let media = modified(&mut world);
    assert!(!media.send && !media.receive);
    world.reply(&hold, 200, "Contact: <sip:192.0.2.10:5080>\r\n", &ANSWER.replace("sendrecv", "inactive"));
    assert_eq!(world.expect(Method::Ack).bytes, ack.bytes);
    world.modify(id, local());
    let resume = world.expect(Method::Invite);
    assert_eq!(version(&resume.body()), version(&hold.body()) + 1);
    world.reply(&resume, 200, "", ANSWER);
    world.expect(Method::Ack);
    assert!(modified(&mut world).send);
}

#[test]
fn two_wishes_in_a_row_the_last_one_follows() {
    let (mut world, id, _) = confirmed();
    world.modify(id, held());
    world.modify(id, local());
    world.modify(id, held());
    world.modify(id, local());
    let hold = world.expect(Method::Invite);
    world.expect_silence();
    world.reply(&hold, 200, "", &ANSWER.replace("sendrecv", "inactive"));
    world.expect(Method::Ack);
    modified(&mut world);
    assert!(world.expect(Method::Invite).body().contains("a=sendrecv"));
    world.expect_silence();
}

#[test]
fn a_wish_before_the_call_is_answered_follows_the_answer() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    world.modify(id, held());
    world.expect_silence();
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    assert!(world.expect(Method::Invite).body().contains("a=inactive"));
}

#[test]
fn offers_that_meet_both_get_491_and_ours_goes_out_again_later() {
    let (mut world, id, invite) = confirmed();
    world.modify(id, held());
    let ours = world.expect(Method::Invite);
    world.receive(&invite.peer_request("INVITE", 1, "", OFFER));
    world.expect_status(491);
    world.receive(&invite.peer_request("ACK", 1, "", "").replace("peerACK1", "peerINVITE1"));
    world.reply(&ours, 491, "", "");
    world.expect(Method::Ack);
    world.pass(ms(2_099));
    world.expect_silence();
    // Meanwhile the peer's own second try is served (RFC 3261 14.1).
    world.receive(&invite.peer_request("INVITE", 2, "", OFFER));
    world.expect_status(200);
    modified(&mut world);
    world.receive(&invite.peer_request("ACK", 2, "", ""));
    world.pass(ms(1_901));
    let again = world.expect(Method::Invite);
    assert!(again.body().contains("a=inactive") && again.body().contains("RTP/AVP 107 101"));
}

#[test]
fn a_refused_reinvite_leaves_the_call_as_it_was() {
    let (mut world, id, invite) = confirmed();
    world.modify(id, held());
    let ours = world.expect(Method::Invite);
    world.reply(&ours, 488, "", "");
    world.expect(Method::Ack);
    assert!(world.events.is_empty());
    world.receive(&invite.peer_request("INVITE", 1, "", ANSWER));
    assert!(world.expect_status(200).body().contains("a=sendrecv"), "not held");
}

#[test]
fn a_reinvite_refused_for_the_moment_goes_out_again_when_the_peer_says_so() {
    for (status, after, wait) in [(500, "0", 1_000), (500, "7", 7_000), (503, "10 (busy);duration=5", 10_000)] {
        let (mut world, id, _) = confirmed();
        world.modify(id, held());
        let ours = world.expect(Method::Invite);
        world.reply(&ours, status, &format!("Retry-After: {after}\r\n"), "");
        world.expect(Method::Ack);
        world.pass(ms(wait - 1));
        world.expect_silence();
        world.pass(ms(1));
        assert!(world.expect(Method::Invite).body().contains("a=inactive"));
    }
    let (mut world, id, _) = confirmed();
    world.modify(id, held());
    let ours = world.expect(Method::Invite);
    world.reply(&ours, 503, "Retry-After: 3600\r\n", "");
    world.expect(Method::Ack);
    world.pass(ms(60_000));
    world.expect_silence();
}

#[test]
fn a_reinvite_that_finds_no_dialog_or_nobody_ends_the_call() {
    for status in [Some(481), Some(408), None] {
        let (mut world, id, _) = confirmed();
        world.modify(id, held());
        let ours = world.expect(Method::Invite);
        match status {
            Some(status) => {
                world.reply(&ours, status, "", "");
                world.expect(Method::Ack);
            }
            None => {
                world.pass(Span::from_secs(32));
                world.sent.retain(|(_, bytes)| bytes.starts_with(b"BYE "));
            }
        }
        let bye = world.expect(Method::Bye);
        world.reply(&bye, 481, "", "");
        match (status, world.expect_ended()) {
            (Some(expected), EndCause::Refused { status, .. }) => assert_eq!(status, expected),
            (None, cause) => assert_eq!(cause, EndCause::Timeout),
            (_, cause) => panic!("{cause:?}"),
        }
    }
}

#[test]
fn our_reinvite_and_hang_up_cross() {
    let (mut world, id, _) = confirmed();
    world.modify(id, held());
    let ours = world.expect(Method::Invite);
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.reply(&ours, 200, "", ANSWER);
    world.expect(Method::Ack);
    world.expect_silence();
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Local);
    assert!(world.endpoint.is_idle());
}

#[test]
fn our_reinvite_and_the_peers_bye_cross() {
    let (mut world, id, invite) = confirmed();
    world.modify(id, held());
    world.expect(Method::Invite);
    world.receive(&invite.peer_request("BYE", 1, "", ""));
    world.expect_status(200);
    assert_eq!(world.expect_ended(), EndCause::Remote { reason: None });
    assert!(world.endpoint.is_idle());
    world.pass(Span::from_secs(60));
    world.expect_silence();
}
