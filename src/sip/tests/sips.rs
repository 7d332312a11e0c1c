//! `sips:` URIs: TLS and nothing less, in both directions (RFC 3261 26.2.2, RFC 5630).

use super::*;

const SECURE: &str = "sips:88826777033@mixer.example";

fn tls() -> Flow {
    Flow { transport: Transport::Tls, remote: address("192.0.2.9:5061") }
}

fn asked(sip: config::Sip, uri: &str) -> Target {
    let mut world = World::with(sip, 1);
    world.endpoint.call(world.now, uri, local(), &mut world.out).unwrap();
    world.drain();
    world.targets.pop().unwrap()
}

fn dialled(world: &mut World, uri: &str) -> Sent {
    world.endpoint.call(world.now, uri, local(), &mut world.out).unwrap();
    world.drain();
    let target = world.targets.last().unwrap().clone();
    let route = Route { flow: tls(), local: "192.0.2.1".parse().unwrap() };
    world.endpoint.handle_route(world.now, &target, Ok(vec![route]), &mut world.out);
    world.endpoint.handle_connected(world.now, tls(), address("192.0.2.1:49152"), &mut world.out);
    world.drain();
    world.expect(Method::Invite)
}

fn reply(world: &mut World, request: &Sent, status: u16, headers: &str, body: &str) {
    let text = request.response(status, "peer", headers, body);
    world.endpoint.handle_received(world.now, tls(), text.as_bytes(), &mut world.out);
    world.drain();
}

#[test]
fn whatever_the_configuration_says_a_sips_uri_goes_by_tls() {
    let of = |transport| config::Sip { transport, ..config() };
    let rows = [
        (of(Transport::Udp), SECURE, Transport::Tls, 5061),
        (of(Transport::Tcp), SECURE, Transport::Tls, 5061),
        (of(Transport::Ws), SECURE, Transport::Wss, 443),
        (of(Transport::Udp), "sips:a@mixer.example;transport=tcp", Transport::Tls, 5061),
        (of(Transport::Udp), "sips:a@mixer.example:5062", Transport::Tls, 5062),
        (config::Sip { outbound_proxy: Some("proxy.example".into()), ..config() }, SECURE, Transport::Tls, 5061),
        (config::Sip { outbound_proxy: Some("sips:proxy.example".into()), ..config() }, TARGET, Transport::Tls, 5061),
        (config::Sip { outbound_proxy: Some("sip:proxy.example".into()), ..config() }, TARGET, Transport::Udp, 5060),
    ];
    for (sip, uri, transport, port) in rows {
        let proxy = sip.outbound_proxy.clone();
        let target = asked(sip, uri);
        assert_eq!((target.transport, target.port_or_default()), (transport, port), "{uri} by {proxy:?}");
    }
}

#[test]
fn the_dialog_is_protected_in_both_directions() {
    let mut world = World::new();
    let invite = dialled(&mut world, SECURE);
    assert_eq!(invite.header("Contact"), Some("<sips:device7@192.0.2.1:49152>"));
    assert_eq!(invite.request().uri, SECURE);
    reply(&mut world, &invite, 200, "Contact: <sips:192.0.2.9>\r\n", ANSWER);
    let ack = world.expect(Method::Ack);
    assert_eq!((ack.to, ack.request().uri.as_str()), (tls().remote, "sips:192.0.2.9"));
    let update = invite.peer_request("UPDATE", 7, "", "").replace("<sip:192.0.2.9:5080>", "<sips:192.0.2.9>");
    world.endpoint.handle_received(world.now, tls(), update.as_bytes(), &mut world.out);
    world.drain();
    assert_eq!(world.expect_status(200).header("Contact"), Some("<sips:device7@192.0.2.1:49152>"));
}

#[test]
fn a_redirect_does_not_lead_out_of_it_but_may_lead_into_it() {
    let mut world = World::new();
    let invite = dialled(&mut world, SECURE);
    reply(&mut world, &invite, 302, "Contact: <sip:open@open.example>;q=1, <sips:safe@safe.example>;q=0.1\r\n", "");
    world.expect(Method::Ack);
    assert_eq!(world.targets.last().unwrap().host, "safe.example");
    world.route("safe.example", 5061, Err(RouteError::UnknownHost));
    assert_eq!(world.expect_ended(), EndCause::Unroutable(RouteError::UnknownHost), "the other one is none");

    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 302, "Contact: <sips:safe@safe.example>\r\n", "");
    world.expect(Method::Ack);
    assert_eq!(world.targets.last().unwrap().transport, Transport::Tls);
}

#[test]
fn a_caller_who_asks_for_it_gets_a_protected_contact() {
    for (uri, contact, ours) in [
        ("sips:device7@192.0.2.1", "sips:caller@192.0.2.9", "<sips:device7@192.0.2.1:49152>"),
        ("sip:device7@192.0.2.1", "sip:caller@192.0.2.9", "<sip:device7@192.0.2.1:49152;transport=tls>"),
        ("sip:device7@192.0.2.1", "sips:caller@192.0.2.9", "<sips:device7@192.0.2.1:49152>"),
    ] {
        let mut world = World::with(config::Sip { incoming: config::Incoming::Accept, ..config() }, 1);
        world.endpoint.handle_accepted(world.now, tls(), address("192.0.2.1:49152"), &mut world.out);
        let invite = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.9;branch=z9hG4bK1\r\nFrom: <{contact}>;tag=c\r\n\
             To: <{uri}>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: <{contact}>\r\nMax-Forwards: 70\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{OFFER}",
            OFFER.len()
        );
        world.endpoint.handle_received(world.now, tls(), invite.as_bytes(), &mut world.out);
        world.drain();
        let back = world.targets.last().unwrap().clone();
        let route = Route { flow: tls(), local: "192.0.2.1".parse().unwrap() };
        world.endpoint.handle_route(world.now, &back, Ok(vec![route]), &mut world.out);
        world.drain();
        let Event::Incoming { call, .. } = world.expect_event() else { panic!("nobody calls") };
        world.endpoint.answer(world.now, call, local(), &mut world.out);
        world.drain();
        assert_eq!(world.expect_status(200).header("Contact"), Some(ours), "{uri} {contact}");
    }
}
