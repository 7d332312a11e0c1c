//! Being registered: refresh, digest, another server, NAT, lost connections, and calls by the way that is kept open.

use super::*;
use std::net::IpAddr;

const FIRST: &str = "192.0.2.50:5060";
const SPARE: &str = "192.0.2.51:5070";

fn registering() -> config::Sip {
    let mut sip = config();
    sip.register.servers = vec!["sip:reg.example".into(), "sip:spare.example:5070".into()];
    sip.register.retry_min = ms(1_000);
    sip
}

fn with_password() -> config::Sip {
    config::Sip { password: config::Secret("secret".into()), ..registering() }
}

impl World {
    /// Begins; the first server's address is known.
    fn begin(sip: config::Sip) -> World {
        let mut world = World::with(sip, 1);
        world.endpoint.register(world.now, &mut world.out);
        world.drain();
        world.route("reg.example", 5060, Ok(FIRST));
        world
    }

    fn registered(sip: config::Sip) -> (World, Sent) {
        let mut world = World::begin(sip);
        let register = world.expect(Method::Register);
        world.grant(FIRST, &register, 600);
        assert_eq!(world.expect_event(), Event::Registered { server: "sip:reg.example".into() });
        (world, register)
    }

    fn grant(&mut self, from: &str, register: &Sent, seconds: u32) {
        let contact = register.header("Contact").unwrap().split(';').next().unwrap().to_owned();
        let headers = format!("Contact: <sip:else@192.0.2.77>;expires=20, {contact};expires={seconds}\r\n");
        self.say(from, register, 200, &headers);
    }

    fn say(&mut self, from: &str, request: &Sent, status: u16, headers: &str) {
        let text = request.response(status, "reg", headers, "");
        self.receive_from(from, text.as_bytes());
    }

    /// By a connection that comes about at once.
    fn register_at_the_spare(&mut self, tcp: Flow) {
        self.route("spare.example", 5070, Ok(SPARE));
        self.endpoint.handle_connected(self.now, tcp, address("192.0.2.1:49152"), &mut self.out);
        self.drain();
        let register = self.expect(Method::Register);
        let answer = register.response(200, "reg", "Expires: 3600\r\n", "");
        self.endpoint.handle_received(self.now, tcp, answer.as_bytes(), &mut self.out);
        self.drain();
    }

    fn not_registered(&mut self) -> (EndCause, Time) {
        match self.expect_event() {
            Event::NotRegistered { cause, retry_at, .. } => (cause, retry_at),
            other => panic!("{other:?}"),
        }
    }

    fn moved(&mut self, remote: &str, transport: Transport, local: &str) {
        let flow = Flow { transport, remote: address(remote) };
        let route = Route { flow, local: local.parse::<IpAddr>().unwrap() };
        self.endpoint.handle_addresses_changed(self.now, &mut self.out);
        self.drain();
        self.endpoint.handle_route(self.now, &flow.target(), Ok(vec![route]), &mut self.out);
        self.drain();
    }
}

#[test]
fn a_registration_is_refreshed_before_it_ends_and_taken_back_at_the_end() {
    let mut world = World::begin(registering());
    let first = world.expect(Method::Register);
    assert_eq!((first.to, first.request().uri.as_str()), (address(FIRST), "sip:reg.example"));
    assert_eq!((first.header("To"), first.header("Expires")), (Some("<sip:device7@reg.example>"), Some("600")));
    let contact = first.header("Contact").unwrap();
    assert!(contact.starts_with("<sip:device7@192.0.2.1:5062>;+sip.instance=\"<urn:uuid:"), "{contact}");
    assert!(contact.ends_with(";reg-id=1") && first.header("Supported") == Some("path, outbound"));
    world.grant(FIRST, &first, 120);
    assert_eq!(world.expect_event(), Event::Registered { server: "sip:reg.example".into() });
    for number in 2..5 {
        world.pass(ms(79_999));
        world.expect_silence();
        world.pass(ms(1));
        let refresh = world.expect(Method::Register);
        assert_eq!(refresh.identity().call_id, first.identity().call_id);
        assert_eq!(refresh.identity().cseq.number, number);
        assert_eq!(refresh.header("Contact"), Some(contact));
        world.grant(FIRST, &refresh, 120);
        assert!(world.events.is_empty(), "nothing new");
    }
    world.endpoint.unregister(world.now, &mut world.out);
    world.drain();
    let last = world.expect(Method::Register);
    assert_eq!((last.header("Expires"), last.header("Contact")), (Some("0"), Some("<sip:device7@192.0.2.1:5062>")));
    assert!(world.endpoint.is_registering());
    world.say(FIRST, &last, 200, "");
    assert_eq!(world.expect_event(), Event::Unregistered);
    assert!(!world.endpoint.is_registering());
    world.pass(ms(600_000));
    assert_eq!((world.sent.len(), world.endpoint.poll_timeout()), (0, None));
}

#[test]
fn how_long_before_its_end_a_registration_is_refreshed_is_configured() {
    // What the server grants, the lead and the least, and the refresh after.
    for (granted, lead, least, refresh) in [(120, 10, 20, 108), (120, 30, 20, 90), (120, 90, 20, 60), (5, 1, 40, 36)] {
        let mut sip = registering();
        (sip.register.lead, sip.register.least) = (Span::from_secs(lead), Span::from_secs(least));
        let mut world = World::begin(sip);
        let first = world.expect(Method::Register);
        world.grant(FIRST, &first, granted);
        world.expect_event();
        world.pass(ms(refresh * 1_000 - 1));
        world.expect_silence();
        world.pass(ms(1));
        world.expect(Method::Register);
    }
}

#[test]
fn without_a_server_nothing_is_sent() {
    let mut world = World::new();
    world.endpoint.register(world.now, &mut world.out);
    world.endpoint.unregister(world.now, &mut world.out);
    world.drain();
    assert!(world.sent.is_empty() && world.resolves.is_empty() && world.endpoint.poll_timeout().is_none());
    assert_eq!(world.expect_event(), Event::Unregistered);
}

#[test]
fn challenges_are_answered_and_a_refused_password_is_not_offered_again_soon() {
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n";
    let mut world = World::begin(with_password());
    let first = world.expect(Method::Register);
    world.say(FIRST, &first, 401, challenge);
    let second = world.expect(Method::Register);
    assert!(second.header("Authorization").unwrap().contains("uri=\"sip:reg.example\""));
    assert_eq!(second.identity().cseq.number, 2);
    world.grant(FIRST, &second, 120);
    assert!(matches!(world.expect_event(), Event::Registered { .. }));
    world.pass(ms(80_000));
    let refresh = world.expect(Method::Register);
    assert!(refresh.header("Authorization").unwrap().contains("nc=00000002"), "known in advance");

    let mut world = World::begin(with_password());
    for (server, host, port) in [(FIRST, "spare.example", 5070), (SPARE, "", 0)] {
        let first = world.expect(Method::Register);
        world.say(server, &first, 401, &challenge.replace("\"r\"", &format!("\"{server}\"")));
        let second = world.expect(Method::Register);
        world.say(server, &second, 401, &challenge.replace("\"r\"", &format!("\"{server}\"")));
        if !host.is_empty() {
            world.route(host, port, Ok(SPARE));
        }
    }
    let (cause, retry_at) = world.not_registered();
    assert_eq!(cause, EndCause::AuthenticationFailed);
    let pause = retry_at.since(world.now);
    assert!(pause >= ms(1_800_000) && pause <= ms(3_600_000), "{pause}");
    world.resolves.clear();
    world.endpoint.handle_addresses_changed(world.now, &mut world.out);
    world.pass(ms(1_799_000));
    assert!(world.resolves.is_empty() && world.sent.is_empty(), "nobody insists, whatever happens to the network");
    world.pass(ms(1_801_000));
    assert!(!world.resolves.is_empty(), "the fault may have been the server's");
}

#[test]
fn a_first_server_that_refused_the_password_is_returned_to_later_than_others() {
    let mut world = World::begin(registering());
    let first = world.expect(Method::Register);
    world.say(FIRST, &first, 401, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n");
    world.route("spare.example", 5070, Ok(SPARE));
    let spare = world.expect(Method::Register);
    world.grant(SPARE, &spare, 7 * 86_400);
    world.expect_event();
    world.resolves.clear();
    world.pass(ms(1_799_000));
    assert!(world.resolves.is_empty());
    world.pass(ms(1_801_000));
    assert_eq!(world.resolves.back(), Some(&("reg.example".into(), 5060)));
}

/// Registered by TCP at the spare server, and the first one is about to be tried again.
fn at_the_spare_by_tcp() -> (World, Flow) {
    let sip = config::Sip { transport: Transport::Tcp, ..registering() };
    let tcp = Flow { transport: Transport::Tcp, remote: address(SPARE) };
    let mut world = World::begin(sip);
    let first = Flow { remote: address(FIRST), ..tcp };
    world.endpoint.handle_disconnected(world.now, first, "refused", &mut world.out);
    world.drain();
    world.register_at_the_spare(tcp);
    world.expect_event();
    (world, tcp)
}

#[test]
fn a_binding_whose_connection_is_lost_while_another_server_is_asked_holds_no_more() {
    for lost in [false, true] {
        let (mut world, tcp) = at_the_spare_by_tcp();
        world.pass(ms(300_000));
        if lost {
            world.endpoint.handle_disconnected(world.now, tcp, "reset", &mut world.out);
            world.drain();
        }
        world.resolves.clear();
        world.route("reg.example", 5060, Err(RouteError::UnknownHost));
        assert_eq!(world.resolves.back().is_some(), lost, "the spare server is asked again");
    }
}

#[test]
fn a_connection_that_stood_for_a_while_was_a_success() {
    let (mut world, tcp) = at_the_spare_by_tcp();
    for round in 0..12 {
        world.pass(ms(61_000));
        world.resolves.clear();
        world.endpoint.handle_disconnected(world.now, tcp, "reset", &mut world.out);
        world.drain();
        world.pass(ms(2_001));
        assert_eq!(world.resolves.back(), Some(&("reg.example".into(), 5060)), "{round}: within the first pause");
        world.route("reg.example", 5060, Err(RouteError::UnknownHost));
        world.register_at_the_spare(tcp);
    }
}

#[test]
fn an_interval_too_brief_is_raised() {
    let mut world = World::begin(registering());
    let first = world.expect(Method::Register);
    world.say(FIRST, &first, 423, "Min-Expires: 3600\r\n");
    let second = world.expect(Method::Register);
    assert_eq!(second.header("Expires"), Some("3600"));
    world.say(FIRST, &second, 423, "Min-Expires: 3600\r\n");
    assert_eq!(world.resolves.pop_back(), Some(("spare.example".into(), 5070)), "it does not mean what it says");
}

#[test]
fn the_spare_server_stands_in_and_the_first_is_returned_to() {
    let mut world = World::begin(registering());
    world.pass(ms(31_999));
    assert_eq!(world.resolves.back(), Some(&("reg.example".into(), 5060)));
    world.drop_sent();
    world.pass(ms(1));
    assert_eq!(world.resolves.back(), Some(&("spare.example".into(), 5070)), "after timer F");
    world.route("spare.example", 5070, Ok(SPARE));
    let spare = world.expect(Method::Register);
    assert_eq!((spare.to, spare.header("To")), (address(SPARE), Some("<sip:device7@spare.example>")));
    world.grant(SPARE, &spare, 3_600);
    assert_eq!(world.expect_event(), Event::Registered { server: "sip:spare.example:5070".into() });

    world.pass(ms(300_000));
    assert_eq!(world.resolves.back(), Some(&("reg.example".into(), 5060)), "home_retry");
    world.route("reg.example", 5060, Err(RouteError::UnknownHost));
    world.expect_silence();
    assert!(world.events.is_empty(), "what holds goes on");
    world.pass(ms(300_000));
    world.route("reg.example", 5060, Ok(FIRST));
    let home = world.expect(Method::Register);
    assert_eq!(home.to, address(FIRST));
    world.grant(FIRST, &home, 600);
    assert_eq!(world.expect_event(), Event::Registered { server: "sip:reg.example".into() });
    let removal = world.expect(Method::Register);
    assert_eq!((removal.to, removal.header("Expires")), (address(SPARE), Some("0")));
    world.say(SPARE, &removal, 401, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n");
    world.expect_silence();
}

#[test]
fn when_nobody_registers_the_pauses_grow_and_the_network_ends_them() {
    let mut world = World::begin(registering());
    let refuse = |world: &mut World| {
        let register = world.expect(Method::Register);
        world.say(FIRST, &register, 403, "");
        world.route("spare.example", 5070, Err(RouteError::UnknownHost));
    };
    refuse(&mut world);
    let (cause, retry_at) = world.not_registered();
    assert_eq!(cause, EndCause::Unroutable(RouteError::UnknownHost), "the last one asked");
    let first = retry_at.since(world.now);
    assert!(first >= ms(1_000) && first <= ms(2_000), "{first:?}");
    for _ in 0..12 {
        world.resolves.clear();
        while world.resolves.is_empty() {
            world.pass(ms(500));
        }
        world.route("reg.example", 5060, Ok(FIRST));
        refuse(&mut world);
    }
    let pauses: Vec<_> = std::iter::from_fn(|| world.events.pop_front()).collect();
    assert_eq!(pauses.len(), 12, "one a round");
    world.targets.clear();
    world.endpoint.handle_addresses_changed(world.now, &mut world.out);
    world.drain();
    assert!(world.targets.is_empty(), "news come in crowds");
    world.pass(ms(1_000));
    assert_eq!(world.targets.len(), 1, "soon");
}

#[test]
fn a_retry_after_is_obeyed() {
    let mut sip = registering();
    sip.register.servers.truncate(1);
    let mut world = World::begin(sip);
    let register = world.expect(Method::Register);
    world.say(FIRST, &register, 503, "Retry-After: 200 (tired)\r\n");
    let (_, retry_at) = world.not_registered();
    assert!(retry_at.since(world.now) >= ms(200_000));
    world.targets.clear();
    world.endpoint.handle_addresses_changed(world.now, &mut world.out);
    world.pass(ms(199_999));
    assert!(world.targets.is_empty(), "whatever happens to the network");
    world.pass(ms(1));
    assert_eq!(world.targets.len(), 1, "then at once");
}

#[test]
fn behind_a_nat_the_address_the_server_sees_is_registered_once() {
    let mut world = World::begin(registering());
    let seen = |register: &Sent, port: u16| {
        let text = register.response(200, "reg", "Expires: 600\r\n", "");
        text.replace(";rport;received=192.0.2.1", &format!(";received=198.51.100.7;rport={port}"))
    };
    let first = world.expect(Method::Register);
    world.receive_from(FIRST, seen(&first, 61_000).as_bytes());
    let second = world.expect(Method::Register);
    let contacts: Vec<&str> = second.request().headers.all(&Name::Contact).collect();
    assert!(contacts[0].starts_with("<sip:device7@198.51.100.7:61000>;"), "{contacts:?}");
    assert_eq!(contacts[1], "<sip:device7@192.0.2.1:5062>;expires=0");
    world.receive_from(FIRST, seen(&second, 61_001).as_bytes());
    world.expect_silence();
    world.pass(ms(540_000));
    let refresh = world.expect(Method::Register);
    assert!(refresh.header("Contact").unwrap().starts_with("<sip:device7@198.51.100.7:61001>;"), "at the next refresh");
}

#[test]
fn when_the_nat_is_gone_the_own_address_is_registered_again() {
    let mut world = World::begin(registering());
    let seen = |register: &Sent, place: &str| {
        let text = register.response(200, "reg", "Expires: 600\r\n", "");
        text.replace(";rport;received=192.0.2.1", place)
    };
    let nat = ";received=198.51.100.7;rport=61000";
    let first = world.expect(Method::Register);
    world.receive_from(FIRST, seen(&first, nat).as_bytes());
    let second = world.expect(Method::Register);
    world.receive_from(FIRST, seen(&second, nat).as_bytes());
    world.pass(ms(540_000));
    let refresh = world.expect(Method::Register);
    world.receive_from(FIRST, seen(&refresh, ";received=192.0.2.1;rport=5062").as_bytes());
    let direct = world.expect(Method::Register);
    let contacts: Vec<&str> = direct.request().headers.all(&Name::Contact).collect();
    assert!(contacts[0].starts_with("<sip:device7@192.0.2.1:5062>;"), "{contacts:?}");
    assert_eq!(contacts[1], "<sip:device7@198.51.100.7:61000>;expires=0");
}

#[test]
fn another_address_is_registered_and_the_old_one_removed() {
    let (mut world, _) = World::registered(registering());
    world.moved(FIRST, Transport::Udp, "192.0.2.1");
    world.expect_silence();
    world.moved(FIRST, Transport::Udp, "192.0.2.99");
    let register = world.expect(Method::Register);
    let contacts: Vec<&str> = register.request().headers.all(&Name::Contact).collect();
    assert!(contacts[0].starts_with("<sip:device7@192.0.2.99:5062>;"));
    assert_eq!(contacts[1], "<sip:device7@192.0.2.1:5062>;expires=0");
}

#[test]
fn a_lost_connection_is_made_again_and_calls_come_by_it() {
    let sip = config::Sip { transport: Transport::Tcp, incoming: config::Incoming::Accept, ..registering() };
    let tcp = Flow { transport: Transport::Tcp, remote: address(FIRST) };
    let mut world = World::begin(sip);
    for port in [49_152, 49_153] {
        assert_eq!(world.connects.pop_front(), Some((tcp, "reg.example".into())));
        let ours = format!("192.0.2.1:{port}");
        world.endpoint.handle_connected(world.now, tcp, address(&ours), &mut world.out);
        world.drain();
        let register = world.expect(Method::Register);
        let contact = format!("<sip:device7@{ours};transport=tcp>");
        assert!(register.header("Contact").unwrap().starts_with(&contact), "{}", register.text());
        let answer = register.response(200, "reg", &format!("Contact: {contact};expires=600\r\n"), "");
        world.endpoint.handle_received(world.now, tcp, answer.as_bytes(), &mut world.out);
        world.drain();
        if port == 49_152 {
            world.endpoint.handle_disconnected(world.now, tcp, "reset", &mut world.out);
            world.drain();
            world.pass(ms(2_000));
            world.route("reg.example", 5060, Ok(FIRST));
        }
    }
    assert_eq!(world.events.len(), 1, "it was hardly away: {:?}", world.events);
    world.events.clear();
    let invite = format!(
        "INVITE sip:device7@192.0.2.1:49153;transport=tcp SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.50;branch=z9hG4bK1\r\n\
         From: <sip:bob@reg.example>;tag=b\r\nTo: <sip:device7@reg.example>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
         Max-Forwards: 70\r\nContact: <sip:bob@192.0.2.60>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{OFFER}",
        OFFER.len()
    );
    world.endpoint.handle_received(world.now, tcp, invite.as_bytes(), &mut world.out);
    world.drain();
    let back = world.targets.last().unwrap().clone();
    let route = Route { flow: tcp, local: "192.0.2.1".parse().unwrap() };
    world.endpoint.handle_route(world.now, &back, Ok(vec![route]), &mut world.out);
    world.drain();
    assert!(matches!(world.expect_event(), Event::Incoming { .. }));
}

#[test]
fn the_way_to_the_server_is_kept_alive() {
    let sip = config::Sip { keepalive_interval: ms(20_000), ..registering() };
    let (mut world, _) = World::registered(sip);
    world.pass(ms(60_000));
    assert_eq!(world.sent, vec![(address(FIRST), b"\r\n\r\n".to_vec()); 3]);
}

#[test]
fn own_calls_bear_the_public_address() {
    let mut sip = registering();
    sip.register.aor = Some("sip:door@example.com".into());
    let (mut world, register) = World::registered(sip);
    assert_eq!(
        (register.header("To"), register.request().uri.as_str()),
        (Some("<sip:door@example.com>"), "sip:example.com")
    );
    world.resolves.clear();
    world.dial();
    let from = world.expect(Method::Invite).header("From").unwrap().to_owned();
    assert!(from.contains("<sip:door@example.com>;tag="), "{from}");
}
