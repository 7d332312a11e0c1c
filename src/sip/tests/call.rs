//! Dialling: what the INVITE looks like, and what each kind of answer does.

use super::*;
use crate::config::{Config, SrtpMode};
use crate::srtp::Entropy;

#[test]
fn the_invite_says_who_and_what() {
    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    assert_eq!(invite.to, address(MIXER));
    assert_eq!(invite.request().uri, TARGET, "the Request-URI stays as the room gave it");
    assert!(invite.branch().len() > 20);
    assert!(invite.identity().via.params.has("rport"));
    assert_eq!(invite.identity().via.to_string().split(';').next(), Some("SIP/2.0/UDP 192.0.2.1:5062"));
    assert!(invite.header("From").unwrap().starts_with("\"Room \\\"A\\\"\" <sip:device7@192.0.2.1>;tag="));
    assert_eq!(invite.header("To"), Some("<sip:88826777033@mixer.example:5080>"));
    assert_eq!(invite.header("Contact"), Some("<sip:device7@192.0.2.1:5062>"));
    assert_eq!(invite.header("Max-Forwards"), Some("70"));
    assert_eq!(invite.header("CSeq"), Some("1 INVITE"));
    assert!(invite.header("Allow").unwrap().contains("BYE"));
    assert!(invite.header("User-Agent").unwrap().starts_with("qss-endpoint/"));
    assert_eq!(invite.header("Content-Type"), Some("application/sdp"));
    assert!(invite.bytes.len() < 1300, "RFC 3261 18.1.1: {} bytes", invite.bytes.len());
    world.expect_silence();
}

#[test]
fn a_200_is_acknowledged_to_the_contact_and_media_flow() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 100, "", "");
    assert_eq!(world.expect_event(), Event::Progress { call: id, status: 100 });
    world.reply(&invite, 200, "Contact: <sip:192.0.2.10:5070>\r\n", ANSWER);
    let ack = world.expect(Method::Ack);
    assert_eq!(ack.to, address("192.0.2.10:5070"));
    assert_eq!(ack.request().uri, "sip:192.0.2.10:5070");
    assert_ne!(ack.branch(), invite.branch(), "RFC 3261 13.2.2.4: a transaction of its own");
    assert_eq!(ack.header("CSeq"), Some("1 ACK"));
    assert_eq!(ack.identity().to.tag(), Some("peer"));
    let Event::Confirmed { call, media } = world.expect_event() else { panic!("not confirmed") };
    assert_eq!((call, media.remote_rtp), (id, address("192.0.2.9:20140")));
    assert_eq!(media.max_average_bitrate, Some(24_000));
    assert!(media.send && media.receive && !media.rtcp_mux);
    assert!(!world.endpoint.is_idle());
}

#[test]
fn each_repeated_200_is_acknowledged_with_the_same_ack() {
    let mut world = World::new();
    let (_, invite, ack) = world.confirmed();
    for _ in 0..3 {
        world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
        assert_eq!(world.expect(Method::Ack).bytes, ack.bytes);
    }
    world.expect_silence();
    assert!(world.events.is_empty(), "confirmed once");
}

#[test]
fn a_200_of_another_fork_gets_ack_and_bye_and_the_call_stays() {
    let mut world = World::new();
    let (_, invite, _) = world.confirmed();
    let fork = invite.response(200, "other", "Contact: <sip:192.0.2.66:5060>\r\n", ANSWER);
    world.receive(&fork);
    let ack = world.expect(Method::Ack);
    let bye = world.expect(Method::Bye);
    assert_eq!((ack.identity().to.tag(), bye.identity().to.tag()), (Some("other"), Some("other")));
    assert_eq!(bye.request().uri, "sip:192.0.2.66:5060");
    assert_eq!((ack.to, bye.to), (address("192.0.2.66:5060"), address("192.0.2.66:5060")));
    assert_eq!(bye.header("CSeq"), Some("2 BYE"));
    world.receive(&fork);
    assert_eq!(world.expect(Method::Ack).bytes, ack.bytes, "repeated: acknowledged again, but not hung up again");
    world.expect_silence();
    world.reply(&bye, 200, "", "");
    assert!(world.events.is_empty());
}

#[test]
fn the_bye_to_another_fork_answers_one_challenge() {
    let mut sip = config();
    sip.password = config::Secret("mixpass".into());
    let mut world = World::with(sip, 5);
    let (_, invite, _) = world.confirmed();
    let fork = invite.response(200, "other", "Contact: <sip:192.0.2.66:5060>\r\n", ANSWER);
    world.receive(&fork);
    world.expect(Method::Ack);
    let bye = world.expect(Method::Bye);
    let challenge = "WWW-Authenticate: Digest realm=\"m\", nonce=\"n\", qop=\"auth\"\r\n";
    world.reply(&bye, 401, challenge, "");
    let again = world.expect(Method::Bye);
    assert!(again.header("Authorization").is_some());
    assert_eq!((again.header("CSeq"), again.identity().to.tag()), (Some("3 BYE"), Some("other")));
    world.reply(&again, 401, challenge, "");
    world.expect_silence();
}

#[test]
fn a_refusal_is_acknowledged_in_the_same_transaction_and_reported() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    let busy = invite.response(486, "peer", "", "").replace("Some Reason", "No members");
    world.receive(&busy);
    let ack = world.expect(Method::Ack);
    assert_eq!(ack.branch(), invite.branch());
    assert_eq!(ack.request().uri, TARGET);
    assert_eq!(ack.identity().to.tag(), Some("peer"));
    assert_eq!(
        world.expect_event(),
        Event::Ended { call: id, cause: EndCause::Refused { status: 486, reason: "No members".into() } }
    );
    assert!(world.endpoint.is_idle());
    world.receive(&busy);
    assert_eq!(world.expect(Method::Ack).bytes, ack.bytes);
    assert!(world.events.is_empty());
}

#[test]
fn nobody_answers_timer_b() {
    let mut world = World::new();
    world.dial();
    world.pass(ms(31_999));
    assert_eq!(world.drop_sent(), 7, "RFC 3261 17.1.1.2: at 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s");
    assert!(world.events.is_empty());
    world.pass(ms(1));
    assert_eq!(world.expect_ended(), EndCause::Timeout);
    assert!(world.endpoint.is_idle());
    world.pass(Span::from_secs(100));
    world.expect_silence();
}

#[test]
fn a_provisional_response_stops_the_repetition() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 180, "", "");
    assert_eq!(world.expect_event(), Event::Progress { call: id, status: 180 });
    world.pass(Span::from_secs(40));
    world.expect_silence();
}

#[test]
fn it_rings_too_long() {
    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 180, "", "");
    world.expect_event();
    world.pass(Span::from_secs(60));
    let cancel = world.expect(Method::Cancel);
    assert!(world.events.is_empty());
    world.reply(&cancel, 200, "", "");
    world.reply(&invite, 487, "", "");
    assert_eq!(world.expect(Method::Ack).branch(), invite.branch());
    assert_eq!(world.expect_ended(), EndCause::NoAnswer);
}

#[test]
fn an_answer_without_opus_is_acknowledged_and_hung_up() {
    for body in ["", "nonsense", &ANSWER.replace("opus/48000/2", "PCMU/8000"), &ANSWER.replace("20140", "0")] {
        let mut world = World::new();
        world.dial();
        let invite = world.expect(Method::Invite);
        world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", body);
        world.expect(Method::Ack);
        let bye = world.expect(Method::Bye);
        let told = world.events.drain(..).any(|event| matches!(event, Event::Malformed { what: "sdp_malformed", .. }));
        assert_eq!(told, body.is_empty() || body == "nonsense", "{body}");
        world.reply(&bye, 200, "", "");
        assert_eq!(world.expect_ended(), EndCause::NoCommonMedia);
        assert!(world.endpoint.is_idle());
    }
}

#[test]
fn what_is_no_sip_uri_is_not_dialled() {
    let mut world = World::new();
    for bad in ["", "room", "tel:+123", "sips:", "sip:", "sip:a@", "sip:a@b c", "sip:a@b\r\nX: y", "sip:a@b?X=1"] {
        let result = world.endpoint.call(world.now, bad, local(), &mut world.out);
        assert!(result.is_err(), "{bad:?}");
    }
    assert!(world.out.is_empty() && world.endpoint.is_idle());
}

#[test]
fn two_calls_do_not_meet() {
    let mut world = World::new();
    let (first, ..) = world.confirmed();
    let second = world.dial();
    assert_ne!(first, second);
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 404, "", "");
    world.expect(Method::Ack);
    assert!(matches!(world.expect_event(), Event::Ended { call, .. } if call == second));
    assert!(!world.endpoint.is_idle());
}

#[test]
fn the_same_seed_says_the_same() {
    let trace = |seed| {
        let mut world = World::with(config(), seed);
        let (id, ..) = world.confirmed();
        world.hang_up(id);
        world.expect(Method::Bye).bytes
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

/// A world that protects its media, with keys for some calls.
fn protected(srtp: SrtpMode, srtp_over_plain_signalling: bool) -> World {
    let mut world = World::new();
    world.endpoint.protect_media(&config::Rtp { srtp, srtp_over_plain_signalling, ..Config::default().rtp });
    assert!(world.endpoint.wants_keys());
    world.endpoint.give_keys(Entropy::new([7; Entropy::LEN]));
    world
}

#[test]
fn a_mixer_without_srtp_is_offered_plain_media_if_that_is_allowed() {
    let mut world = protected(SrtpMode::Offer, true);
    world.dial();
    let invite = world.expect(Method::Invite);
    assert!(invite.body().contains(" RTP/SAVP 96") && invite.body().contains("a=crypto:1 "));
    world.reply(&invite, 488, "", "");
    world.expect(Method::Ack);
    let second = world.expect(Method::Invite);
    assert!(second.body().contains(" RTP/AVP 96") && !second.body().contains("crypto"));
    world.reply(&second, 488, "", "");
    world.expect(Method::Ack);
    assert!(matches!(world.expect_ended(), EndCause::Refused { status: 488, .. }));
    let mut strict = protected(SrtpMode::Require, true);
    strict.dial();
    let invite = strict.expect(Method::Invite);
    strict.reply(&invite, 488, "", "");
    strict.expect(Method::Ack);
    assert!(matches!(strict.expect_ended(), EndCause::Refused { status: 488, .. }));
}

#[test]
fn keys_do_not_travel_in_the_open_unless_they_may() {
    let mut world = protected(SrtpMode::Offer, false);
    world.dial();
    let invite = world.expect(Method::Invite);
    assert!(invite.body().contains(" RTP/AVP 96") && !invite.body().contains("crypto"));
    let mut strict = protected(SrtpMode::Require, false);
    strict.dial();
    strict.expect_silence();
    assert_eq!(strict.expect_ended(), EndCause::SignallingUnprotected);
    assert!(strict.endpoint.is_idle() && !strict.endpoint.wants_keys(), "the keys were not used");
}

#[test]
fn a_plain_answer_to_a_protected_offer_is_hung_up() {
    let mut world = protected(SrtpMode::Offer, true);
    world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    let bye = world.expect(Method::Bye);
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::NoCommonMedia);
    assert!(world.endpoint.wants_keys(), "each call has keys of its own");
}

#[test]
fn a_refusal_is_told_with_its_reason_header() {
    for (header, told) in [
        ("", "Some Reason"),
        ("Reason: Q.850;cause=17\r\n", "Some Reason (Q.850;cause=17)"),
        ("Reason: Q.850;cause=21;text=\"the room is closed\"\r\n", "Some Reason (the room is closed)"),
        ("Reason: SIP;text=\"Some Reason\"\r\n", "Some Reason"),
    ] {
        let mut world = World::new();
        world.dial();
        let invite = world.expect(Method::Invite);
        world.reply(&invite, 603, header, "");
        world.expect(Method::Ack);
        assert_eq!(world.expect_ended(), EndCause::Refused { status: 603, reason: told.into() });
    }
}

#[test]
fn further_headers_are_in_every_invite_that_begins_the_call() {
    let mut world = World::with(config::Sip { password: config::Secret("x".into()), ..config() }, 1);
    let headers = [(Name::of("X-Room"), "2f11".to_owned())].into_iter().collect();
    let call = world.endpoint.call_with(world.now, TARGET, headers, local(), &mut world.out).unwrap();
    world.drain();
    world.route("mixer.example", 5080, Ok(MIXER));
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 401, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n", "");
    world.expect(Method::Ack);
    let again = world.expect(Method::Invite);
    assert_eq!([invite.header("X-Room"), again.header("X-Room")], [Some("2f11"); 2]);
    world.reply(&again, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    world.modify(call, held());
    assert_eq!(world.expect(Method::Invite).header("X-Room"), None);
}
