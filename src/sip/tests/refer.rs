//! REFER within a call (RFC 3515), refused and followed.

use super::*;
use crate::config::Refer;

fn following() -> World {
    World::with(config::Sip { refer: Refer::Follow, ..config() }, 1)
}

fn refer(world: &mut World, invite: &Sent, cseq: u32, headers: &str) {
    world.receive(&invite.peer_request("REFER", cseq, headers, ""));
}

#[test]
fn by_default_it_is_refused_and_the_call_goes_on() {
    let mut world = World::new();
    let (_, invite, _) = world.confirmed();
    refer(&mut world, &invite, 1, "Refer-To: <sip:bob@b.example>\r\n");
    assert!(!world.expect_status(405).header("Allow").unwrap().contains("REFER"));
    assert!(world.events.is_empty());
}

#[test]
fn what_is_followed_is_told_from_beginning_to_end() {
    let mut world = following();
    let (id, invite, _) = world.confirmed();
    let to = "Refer-To: <sip:bob@b.example?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\nReferred-By: <sip:m@b>\r\n";
    refer(&mut world, &invite, 7, to);
    world.expect_status(202);
    let first = world.expect(Method::Notify);
    assert_eq!((first.header("Event"), first.body().as_str()), (Some("refer;id=7"), "SIP/2.0 100 Trying\r\n"));
    assert_eq!(first.header("Subscription-State"), Some("active;expires=600"));
    assert_eq!(first.header("Content-Type"), Some("message/sipfrag;version=2.0"));
    world.reply(&first, 200, "", "");
    let Event::Referred { call, target, headers } = world.expect_event() else { panic!() };
    assert_eq!((call, target.as_str()), (id, "sip:bob@b.example"));
    assert_eq!(headers.first(&Name::Replaces), Some("x;to-tag=1;from-tag=2"));
    assert_eq!(headers.first(&Name::ReferredBy), Some("<sip:m@b>"));
    refer(&mut world, &invite, 8, "Refer-To: <sip:eve@b.example>\r\n");
    world.expect_status(603);
    for _ in 0..2 {
        world.endpoint.tell_referrer(world.now, id, 486, &mut world.out);
        world.drain();
    }
    let last = world.expect(Method::Notify);
    assert_eq!((last.header("Event"), last.body().as_str()), (Some("refer;id=7"), "SIP/2.0 486 Busy Here\r\n"));
    assert_eq!(last.header("Subscription-State"), Some("terminated;reason=noresource"));
    world.reply(&last, 481, "", "");
    world.expect_silence();
    refer(&mut world, &invite, 9, "Refer-To: sip:eve@b.example\r\n");
    world.expect_status(202);
    assert!(matches!(world.expect_event(), Event::Referred { .. }), "the next one");
}

#[test]
fn what_cannot_be_followed_has_its_refusal() {
    for (headers, status) in [
        ("", 400),
        ("Refer-To: <sip:a@b\r\n", 400),
        ("Refer-To: <sip:a@b>\r\nRefer-To: <sip:c@d>\r\n", 400),
        ("Refer-To: <tel:+49>\r\n", 603),
        ("Refer-To: <sip:a@b;method=BYE>\r\n", 603),
        ("Refer-To: <sip:a@b?Route=x>\r\n", 603),
    ] {
        let mut world = following();
        let (_, invite, _) = world.confirmed();
        refer(&mut world, &invite, 1, headers);
        world.expect_status(status);
        assert!(world.events.is_empty(), "{headers}");
        world.expect_silence();
    }
    let mut world = following();
    let (id, invite, _) = world.confirmed();
    world.hang_up(id);
    world.expect(Method::Bye);
    refer(&mut world, &invite, 1, "Refer-To: <sip:a@b>\r\n");
    world.expect_status(481);
}
