//! Digits by INFO (RFC 6086), both ways.

use super::*;
use crate::dtmf::{Digit, Digits};

fn press(world: &mut World, id: CallId, digits: &str) {
    let digits = Digits::parse(digits).unwrap();
    world.endpoint.press(world.now, id, &digits, &mut world.out);
    world.drain();
}

fn info(invite: &Sent, cseq: u32, headers: &str, kind: &str, body: &str) -> String {
    invite.peer_request("INFO", cseq, headers, body).replace("application/sdp", kind)
}

#[test]
fn digits_go_out_one_after_the_other_each_once_answered_and_sounded() {
    let mut world = World::new();
    let (id, invite, _) = world.confirmed();
    press(&mut world, id, "5#");
    let first = world.expect(Method::Info);
    assert_eq!(first.header("Content-Type"), Some("application/dtmf-relay"));
    assert_eq!(first.body(), "Signal=5\r\nDuration=100\r\n");
    assert_eq!(first.identity().cseq.number, invite.identity().cseq.number + 1);
    press(&mut world, id, "7");
    world.pass(ms(400));
    world.expect_silence();
    world.pass(ms(200));
    assert_eq!(world.expect(Method::Info).bytes, first.bytes, "repeated, it may be lost");
    world.reply(&first, 200, "", "");
    let second = world.expect(Method::Info);
    assert_eq!(second.body(), "Signal=#\r\nDuration=100\r\n", "the answer came late enough");
    world.reply(&second, 200, "", "");
    world.pass(ms(199));
    world.expect_silence();
    world.pass(ms(1));
    let third = world.expect(Method::Info);
    assert_eq!(third.body(), "Signal=7\r\nDuration=100\r\n");
    world.reply(&third, 200, "", "");
    world.pass(Span::from_secs(10));
    world.expect_silence();
    press(&mut world, id, "8");
    assert!(world.expect(Method::Info).body().contains("Signal=8"));
    assert!(world.events.is_empty());
}

#[test]
fn a_challenge_is_met_and_a_refusal_drops_the_rest() {
    let mut world = World::with(config::Sip { password: config::Secret("secret".into()), ..config() }, 1);
    let (id, _, _) = world.confirmed();
    press(&mut world, id, "12");
    let first = world.expect(Method::Info);
    world.reply(&first, 401, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n", "");
    let again = world.expect(Method::Info);
    assert!(again.header("Authorization").is_some() && again.body().contains("Signal=1"));
    world.reply(&again, 415, "", "");
    assert_eq!(world.expect_event(), Event::DigitsLost { call: id });
    world.pass(Span::from_secs(40));
    world.expect_silence();
    press(&mut world, id, "3");
    let other = world.expect(Method::Info);
    assert!(other.body().contains("Signal=3"));
    world.reply(&other, 481, "", "");
    world.expect(Method::Bye);
}

#[test]
fn digits_of_a_call_that_ends_are_forgotten() {
    let mut world = World::new();
    let (id, _, _) = world.confirmed();
    press(&mut world, id, "123");
    world.expect(Method::Info);
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.reply(&bye, 200, "", "");
    assert_eq!(world.expect_ended(), EndCause::Local);
    world.pass(Span::from_secs(60));
    world.expect_silence();
    assert_eq!(world.endpoint.transactions(), 0);
}

#[test]
fn what_the_peer_presses_is_told_once_a_request() {
    let mut world = World::new();
    let (id, invite, _) = world.confirmed();
    let digit = |c| Event::Digit { call: id, digit: Digit::of_char(c).unwrap() };
    let relay = info(&invite, 1, "", "application/dtmf-relay", "Signal=5\r\nDuration=160\r\n");
    world.receive(&relay);
    world.expect_status(200);
    world.receive(&relay);
    world.expect_status(200);
    world.receive(&info(&invite, 2, "", "application/dtmf", "*"));
    world.expect_status(200);
    assert_eq!(
        [world.expect_event(), world.expect_event()],
        [digit('5'), digit('*')],
        "a repetition is no second press"
    );
    for (cseq, kind, body) in
        [(3, "application/dtmf-relay", "Signal=\r\n"), (4, "text/plain", "5"), (5, "application/dtmf", "flash")]
    {
        world.receive(&info(&invite, cseq, "", kind, body));
        world.expect_status(200);
    }
    world.receive(&info(&invite, 90, "Info-Package: foo\r\n", "application/dtmf", "1"));
    assert_eq!(world.expect_status(469).header("Recv-Info"), Some(""), "RFC 6086 4.2.2");
    assert!(world.events.is_empty());
}
