//! Challenges along the life of a call.

use super::*;

const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"audiomixer\",nonce=\"1795367508/e5a0\",opaque=\"3cd6\",\
    algorithm=MD5,qop=\"auth\"\r\n";

fn with_password() -> World {
    let mut sip = config();
    sip.auth_user = "digest".into();
    sip.password = config::Secret("mixpass".into());
    World::with(sip, 3)
}

#[test]
fn a_401_is_met_with_a_new_invite_in_the_same_call() {
    let mut world = with_password();
    world.dial();
    let first = world.expect(Method::Invite);
    assert_eq!(first.header("Authorization"), None);
    world.reply(&first, 401, CHALLENGE, "");
    assert_eq!(world.expect(Method::Ack).branch(), first.branch());
    let second = world.expect(Method::Invite);
    assert_eq!(second.header("CSeq"), Some("2 INVITE"));
    assert_ne!(second.branch(), first.branch());
    assert_eq!(second.identity().call_id, first.identity().call_id);
    assert_eq!(second.header("From"), first.header("From"));
    assert_eq!(second.identity().to.tag(), None);
    assert_eq!(second.body(), first.body(), "the offer did not change, so neither does its version");
    let answer = second.header("Authorization").unwrap();
    for part in ["username=\"digest\"", "nonce=\"1795367508/e5a0\"", "nc=00000001", "opaque=\"3cd6\"", "qop=auth"] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    assert!(answer.contains(&format!("uri=\"{TARGET}\"")));
    assert!(second.bytes.len() < 1300, "{} bytes", second.bytes.len());
    world.reply(&second, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    let ack = world.expect(Method::Ack);
    assert_eq!(ack.header("Authorization"), Some(answer), "RFC 3261 22.1");
    assert!(matches!(world.expect_event(), Event::Confirmed { .. }));
}

#[test]
fn a_407_is_met_too() {
    let mut world = with_password();
    world.dial();
    let first = world.expect(Method::Invite);
    world.reply(&first, 407, &CHALLENGE.replace("WWW", "Proxy"), "");
    world.expect(Method::Ack);
    assert!(world.expect(Method::Invite).header("Proxy-Authorization").is_some());
}

#[test]
fn a_wrong_password_is_refused_again() {
    let mut world = with_password();
    world.dial();
    let first = world.expect(Method::Invite);
    world.reply(&first, 401, CHALLENGE, "");
    world.expect(Method::Ack);
    let second = world.expect(Method::Invite);
    world.reply(&second, 401, &CHALLENGE.replace("e5a0", "ffff"), "");
    world.expect(Method::Ack);
    assert_eq!(world.expect_ended(), EndCause::AuthenticationFailed);
    world.expect_silence();
    assert!(world.endpoint.is_idle());
}

#[test]
fn without_a_password_a_challenge_ends_the_call() {
    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 401, CHALLENGE, "");
    world.expect(Method::Ack);
    assert_eq!(world.expect_ended(), EndCause::AuthenticationFailed);
}

#[test]
fn a_stale_nonce_is_replaced_but_not_for_ever() {
    let mut world = with_password();
    world.dial();
    let mut invites = 0;
    while let Some((to, bytes)) = world.sent.pop_front() {
        let message = message::parse(&bytes).unwrap();
        let sent = Sent { to, bytes, message };
        if sent.request().method == Method::Invite {
            invites += 1;
            let nonce = format!("n{invites}");
            world.reply(
                &sent,
                401,
                &CHALLENGE.replace("algorithm", "stale=true,algorithm").replace("e5a0", &nonce),
                "",
            );
        }
    }
    assert_eq!(invites, 4);
    assert_eq!(world.expect_ended(), EndCause::AuthenticationFailed);
}

#[test]
fn bye_and_reinvite_carry_the_credentials_in_advance_and_meet_a_new_nonce() {
    let mut world = with_password();
    let id = world.dial();
    let first = world.expect(Method::Invite);
    world.reply(&first, 401, CHALLENGE, "");
    world.expect(Method::Ack);
    let second = world.expect(Method::Invite);
    world.reply(&second, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    world.expect_event();
    world.modify(id, held());
    let reinvite = world.expect(Method::Invite);
    assert!(reinvite.header("Authorization").unwrap().contains("nc=00000002"));
    world.reply(&reinvite, 401, &CHALLENGE.replace("e5a0", "new1"), "");
    world.expect(Method::Ack);
    let again = world.expect(Method::Invite);
    assert!(again.header("Authorization").unwrap().contains("new1"));
    assert_eq!((again.header("CSeq"), again.body()), (Some("4 INVITE"), reinvite.body()));
    world.reply(&again, 200, "", &ANSWER.replace("sendrecv", "inactive"));
    world.expect(Method::Ack);
    assert!(matches!(world.expect_event(), Event::Modified { .. }));
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.reply(&bye, 401, &CHALLENGE.replace("e5a0", "new2"), "");
    let again = world.expect(Method::Bye);
    assert!(again.header("Authorization").unwrap().contains("new2"));
    assert!(world.events.is_empty());
    world.reply(&again, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Local);
}

#[test]
fn a_bye_that_is_refused_for_good_still_ends_the_call() {
    let mut world = World::new();
    let (id, ..) = world.confirmed();
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.reply(&bye, 401, CHALLENGE, "");
    assert_eq!(world.expect_ended(), EndCause::Local);
}
