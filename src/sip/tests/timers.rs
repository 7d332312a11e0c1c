//! Session timers (RFC 4028), both roles.

use super::*;
use crate::sip::endpoint::Refreshes;

const SECOND: Span = Span::from_secs(1);

/// A confirmed call whose 200 had these headers.
fn confirmed(headers: &str) -> (World, CallId, Sent) {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 200, &format!("Contact: <sip:192.0.2.9:5080>\r\n{headers}"), ANSWER);
    world.expect(Method::Ack);
    assert!(matches!(world.expect_event(), Event::Confirmed { .. }));
    (world, id, invite)
}

const OURS: &str = "Allow: INVITE, UPDATE\r\nRequire: timer\r\nSession-Expires: 90;refresher=uac\r\n";
const PEERS: &str = "Allow: INVITE, UPDATE\r\nSession-Expires: 90;refresher=uas\r\n";

#[test]
fn an_invite_offers_timers_and_leaves_the_refresher_to_the_peer() {
    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    assert_eq!(invite.header("Supported"), Some("100rel, timer"));
    assert_eq!((invite.header("Session-Expires"), invite.header("Min-SE")), (Some("1800"), Some("90")));
    assert!(invite.bytes.len() < 1_300, "{} bytes", invite.bytes.len());
    let mut unasked = World::with(config::Sip { session_expires: Span::ZERO, ..config() }, 1);
    unasked.dial();
    let invite = unasked.expect(Method::Invite);
    assert_eq!((invite.header("Supported"), invite.header("Session-Expires")), (Some("100rel, timer"), None));
}

#[test]
fn without_session_expires_in_the_answer_the_session_never_expires() {
    let (mut world, ..) = confirmed("Supported: timer\r\n");
    world.pass(SECOND.times(1_000_000));
    world.expect_silence();
    assert_eq!(world.endpoint.poll_timeout(), None);
}

#[test]
fn we_refresh_by_update_at_half_the_interval_for_as_long_as_the_call_stands() {
    let (mut world, id, invite) = confirmed(OURS);
    for round in 1..=100 {
        world.pass(ms(44_999));
        world.expect_silence();
        world.pass(ms(1));
        let update = world.expect(Method::Update);
        assert_eq!(update.header("Session-Expires"), Some("90;refresher=uac"));
        assert_eq!((update.header("Min-SE"), update.header("Supported")), (Some("90"), Some("100rel, timer")));
        assert_eq!(update.identity().cseq.number, 1 + round);
        assert_eq!(update.identity().from.tag(), invite.identity().from.tag());
        assert!(update.body().is_empty() && update.header("Contact").is_some());
        world.reply(&update, 200, OURS, "");
    }
    assert_eq!(world.endpoint.refreshes(), Refreshes { ours: 100, peers: 0 });
    assert!(world.events.is_empty());
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    assert_eq!(bye.header("CSeq"), Some("102 BYE"));
}

#[test]
fn a_peer_without_update_is_refreshed_by_reinvite_with_the_same_offer() {
    let refused = "Allow: INVITE, BYE\r\n";
    for (headers, tries_update) in [(OURS.replace(", UPDATE", ""), false), (OURS.to_string(), true)] {
        let (mut world, _, invite) = confirmed(&headers);
        world.pass(SECOND.times(45));
        if tries_update {
            let update = world.expect(Method::Update);
            world.reply(&update, 405, refused, "");
        }
        for _ in 0..3 {
            let again = world.expect(Method::Invite);
            assert_eq!(again.header("Session-Expires"), Some("90;refresher=uac"));
            assert_eq!(again.body(), invite.body(), "the version is the old one, because nothing changed");
            world.reply(&again, 200, OURS, ANSWER);
            world.expect(Method::Ack);
            assert!(world.events.is_empty(), "{:?}", world.events);
            world.pass(SECOND.times(45));
        }
        assert_eq!(world.endpoint.refreshes().ours, 3);
    }
}

#[test]
fn a_refresh_that_is_refused_for_the_moment_is_tried_again_until_the_session_ends() {
    let (mut world, ..) = confirmed(OURS);
    world.pass(SECOND.times(45));
    for _ in 0..3 {
        let update = world.expect(Method::Update);
        world.reply(&update, 491, "", "");
        world.expect_silence();
        world.pass(SECOND.times(5));
    }
    // 60 s after the 200: a third of the interval before it ends (RFC 4028 10).
    let bye = world.expect(Method::Bye);
    assert_eq!(bye.header("Reason"), Some("SIP;cause=408;text=\"session expired\""));
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Timeout);
    assert!(world.endpoint.is_idle());
}

#[test]
fn a_refresh_is_tried_again_after_the_configured_time() {
    let sip = config::Sip { refresh_retry: SECOND.times(2), ..config() };
    let mut world = World::with(sip, 1);
    world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 200, &format!("Contact: <sip:192.0.2.9:5080>\r\n{OURS}"), ANSWER);
    world.expect(Method::Ack);
    world.pass(SECOND.times(45));
    let update = world.expect(Method::Update);
    world.reply(&update, 491, "", "");
    world.pass(SECOND.times(2) - ms(1));
    world.expect_silence();
    world.pass(ms(1));
    world.expect(Method::Update);
}

#[test]
fn a_peer_that_does_not_answer_the_refresh_is_gone() {
    let long = OURS.replace("90;", "300;");
    let (mut world, ..) = confirmed(&long);
    world.pass(SECOND.times(150));
    world.expect(Method::Update);
    world.pass(SECOND.times(32));
    world.drop_sent();
    world.pass(SECOND.times(32));
    assert_eq!(world.expect_ended(), EndCause::Timeout);
    for status in [408, 481] {
        let (mut world, ..) = confirmed(OURS);
        world.pass(SECOND.times(45));
        let update = world.expect(Method::Update);
        world.reply(&update, status, "", "");
        let bye = world.expect(Method::Bye);
        world.reply(&bye, 481, "", "");
        assert_eq!(world.expect_ended(), EndCause::Refused { status, reason: "Some Reason".into() });
    }
}

#[test]
fn an_unanswered_refresh_is_not_repeated_after_the_end() {
    let (mut world, id, _) = confirmed(OURS);
    world.pass(SECOND.times(45));
    world.expect(Method::Update);
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.pass(ms(400));
    world.reply(&bye, 200, "", "");
    world.pass(SECOND.times(60));
    world.expect_silence();

    let (mut world, _, invite) = confirmed(OURS);
    world.pass(SECOND.times(45));
    world.expect(Method::Update);
    world.receive(&invite.peer_request("BYE", 1, "", ""));
    world.expect_status(200);
    world.pass(SECOND.times(60));
    world.expect_silence();
}

#[test]
fn the_peer_refreshes_and_when_it_stops_the_session_ends() {
    let (mut world, _, invite) = confirmed(PEERS);
    // As a real mixer does it: UPDATE without SDP, naming itself.
    let headers = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\nMin-SE: 90\r\n";
    for cseq in 1..=20 {
        world.pass(SECOND.times(45));
        world.expect_silence();
        world.receive(&invite.peer_request("UPDATE", cseq, headers, ""));
        let ok = world.expect_status(200);
        assert_eq!(ok.header("Session-Expires"), Some("90;refresher=uac"));
        assert_eq!((ok.header("Require"), ok.header("Supported")), (Some("timer"), Some("100rel, timer")));
    }
    assert_eq!(world.endpoint.refreshes(), Refreshes { ours: 0, peers: 20 });
    world.pass(ms(59_999));
    world.expect_silence();
    world.pass(ms(1));
    let bye = world.expect(Method::Bye);
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Timeout);
}

#[test]
fn long_intervals_end_32_seconds_early() {
    let (mut world, ..) = confirmed(&PEERS.replace("90;", "1800;"));
    world.pass(SECOND.times(1_800 - 32) - ms(1));
    world.expect_silence();
    world.pass(ms(1));
    world.expect(Method::Bye);
}

#[test]
fn a_request_that_says_nothing_of_timers_does_not_end_them() {
    let (mut world, _, invite) = confirmed(OURS);
    world.pass(SECOND.times(40));
    world.receive(&invite.peer_request("INVITE", 1, "", OFFER));
    let ok = world.expect_status(200);
    assert_eq!((ok.header("Session-Expires"), ok.header("Require")), (Some("90;refresher=uas"), None));
    world.receive(&invite.peer_request("ACK", 1, "", ""));
    world.pass(ms(44_999));
    world.expect_silence();
    world.pass(ms(1));
    world.expect(Method::Update);
}

#[test]
fn the_roles_may_change_with_a_refresh_of_the_peer() {
    let (mut world, _, invite) = confirmed(PEERS);
    let headers = "Supported: timer\r\nSession-Expires: 120;refresher=uas\r\n";
    world.receive(&invite.peer_request("UPDATE", 1, headers, ""));
    assert_eq!(world.expect_status(200).header("Session-Expires"), Some("120;refresher=uas"));
    world.pass(SECOND.times(60));
    assert_eq!(world.expect(Method::Update).header("Session-Expires"), Some("120;refresher=uac"));
}

#[test]
fn our_own_reinvite_keeps_the_roles_and_starts_the_interval_anew() {
    let (mut world, id, _) = confirmed(PEERS);
    world.pass(SECOND.times(50));
    world.modify(id, held());
    let reinvite = world.expect(Method::Invite);
    assert_eq!(reinvite.header("Session-Expires"), Some("90;refresher=uas"));
    world.reply(&reinvite, 200, PEERS, &ANSWER.replace("sendrecv", "inactive"));
    world.expect(Method::Ack);
    world.pass(SECOND.times(59));
    world.expect_silence();
    world.pass(SECOND);
    world.expect(Method::Bye);
}

#[test]
fn a_422_is_met_with_a_longer_interval_in_the_same_call() {
    let mut world = World::new();
    world.dial();
    let first = world.expect(Method::Invite);
    world.reply(&first, 422, "Min-SE: 3600\r\n", "");
    world.expect(Method::Ack);
    let second = world.expect(Method::Invite);
    assert_eq!((second.header("Session-Expires"), second.header("Min-SE")), (Some("3600"), Some("3600")));
    assert_eq!((second.header("CSeq"), second.header("Call-ID")), (Some("2 INVITE"), first.header("Call-ID")));
    assert_eq!(second.body(), first.body());
    world.reply(&second, 200, "Contact: <sip:192.0.2.9:5080>\r\nSession-Expires: 3600;refresher=uac\r\n", ANSWER);
    world.expect(Method::Ack);
    assert!(matches!(world.expect_event(), Event::Confirmed { .. }));
}

#[test]
fn a_422_that_never_ends_or_is_absurd_ends_the_call() {
    for (min_se, invites) in [("Min-SE: 4000\r\n", 4), ("Min-SE: 4000000000\r\n", 1), ("Min-SE: x\r\n", 1), ("", 1)] {
        let mut world = World::new();
        world.dial();
        for _ in 0..invites {
            let invite = world.expect(Method::Invite);
            world.reply(&invite, 422, min_se, "");
            world.expect(Method::Ack);
        }
        assert_eq!(world.expect_ended(), EndCause::Refused { status: 422, reason: "Some Reason".into() });
        world.expect_silence();
    }
}

#[test]
fn a_421_is_a_refusal_like_any_other() {
    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 421, "Require: 100rel\r\n", "");
    world.expect(Method::Ack);
    assert_eq!(world.expect_ended(), EndCause::Refused { status: 421, reason: "Some Reason".into() });
}

#[test]
fn a_422_and_a_challenge_to_a_refresh_are_met() {
    let mut sip = config();
    sip.password = config::Secret("mixpass".into());
    let mut world = World::with(sip, 5);
    world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 200, &format!("Contact: <sip:192.0.2.9:5080>\r\n{OURS}"), ANSWER);
    world.expect(Method::Ack);
    world.pass(SECOND.times(45));
    let update = world.expect(Method::Update);
    world.reply(&update, 422, "Min-SE: 120\r\n", "");
    let longer = world.expect(Method::Update);
    assert_eq!((longer.header("Session-Expires"), longer.header("Min-SE")), (Some("120;refresher=uac"), Some("120")));
    world.reply(&longer, 401, "WWW-Authenticate: Digest realm=\"m\", nonce=\"n\", qop=\"auth\"\r\n", "");
    let authorized = world.expect(Method::Update);
    assert!(authorized.header("Authorization").is_some());
    world.reply(&authorized, 200, "Session-Expires: 120;refresher=uac\r\n", "");
    assert_eq!(world.endpoint.refreshes().ours, 1);
    world.pass(SECOND.times(60));
    assert!(world.expect(Method::Update).header("Authorization").unwrap().contains("nc=00000002"));
}

#[test]
fn a_refresh_whose_password_is_refused_ends_the_call_at_once() {
    for (method, headers) in [(Method::Update, OURS.to_string()), (Method::Invite, OURS.replace(", UPDATE", ""))] {
        let mut sip = config();
        sip.password = config::Secret("wrong".into());
        let mut world = World::with(sip, 5);
        world.dial();
        let invite = world.expect(Method::Invite);
        world.reply(&invite, 200, &format!("Contact: <sip:192.0.2.9:5080>\r\n{headers}"), ANSWER);
        world.expect(Method::Ack);
        world.expect_event();
        world.pass(SECOND.times(45));
        for nonce in ["n", "m"] {
            let refresh = world.expect(method.clone());
            let challenge = format!("WWW-Authenticate: Digest realm=\"m\", nonce=\"{nonce}\", qop=\"auth\"\r\n");
            world.reply(&refresh, 401, &challenge, "");
            if method == Method::Invite {
                world.expect(Method::Ack);
            }
        }
        let bye = world.expect(Method::Bye);
        world.reply(&bye, 200, "", "");
        assert_eq!(world.expect_ended(), EndCause::AuthenticationFailed);
        world.pass(SECOND.times(64));
        assert!(world.endpoint.is_idle());
    }
}

#[test]
fn too_short_an_interval_of_the_peer_gets_422_if_it_knows_422() {
    let (mut world, _, invite) = confirmed(PEERS);
    for (cseq, method, body) in [(1, "UPDATE", ""), (2, "INVITE", OFFER)] {
        world.receive(&invite.peer_request(method, cseq, "Supported: timer\r\nSession-Expires: 60\r\n", body));
        assert_eq!(world.expect_status(422).header("Min-SE"), Some("90"));
    }
    world.receive(&invite.peer_request("UPDATE", 3, "Session-Expires: 60\r\n", ""));
    world.expect_status(200);
}

#[test]
fn a_request_that_requires_timers_is_served() {
    let (mut world, _, invite) = confirmed(PEERS);
    world.receive(&invite.peer_request(
        "UPDATE",
        1,
        "Require: timer\r\nSession-Expires: 90\r\nSupported: timer\r\n",
        "",
    ));
    world.expect_status(200);
    world.receive(&invite.peer_request("UPDATE", 2, "Require: timer, precondition\r\n", ""));
    assert_eq!(world.expect_status(420).header("Unsupported"), Some("precondition"));
}
