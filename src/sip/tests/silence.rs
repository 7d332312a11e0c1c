//! Peers that fall silent: an OPTIONS nobody answers, a pong that does not come; and connections that peers make.

use super::*;

fn asking(transport: Transport) -> config::Sip {
    let keepalive = config::Keepalive::Options;
    config::Sip { transport, keepalive, keepalive_interval: ms(20_000), ..config() }
}

fn tcp() -> Flow {
    Flow { transport: Transport::Tcp, remote: address(MIXER) }
}

fn by_tcp(world: &mut World, text: &str) {
    world.endpoint.handle_received(world.now, tcp(), text.as_bytes(), &mut world.out);
    world.drain();
}

const CONTACT: &str = "Contact: <sip:192.0.2.9:5080;transport=tcp>\r\n";

/// A call by a connection.
fn confirmed(sip: config::Sip) -> World {
    let mut world = World::with(sip, 1);
    world.endpoint.call(world.now, TARGET, local(), &mut world.out).unwrap();
    world.drain();
    let target = world.targets.last().unwrap().clone();
    let route = Route { flow: tcp(), local: "192.0.2.1".parse().unwrap() };
    world.endpoint.handle_route(world.now, &target, Ok(vec![route]), &mut world.out);
    world.endpoint.handle_connected(world.now, tcp(), address("192.0.2.1:49152"), &mut world.out);
    world.drain();
    let invite = world.expect(Method::Invite);
    by_tcp(&mut world, &invite.response(200, "peer", CONTACT, ANSWER));
    world.expect(Method::Ack);
    world.events.clear();
    world.connects.clear();
    world
}

#[test]
fn an_options_nobody_answers_closes_the_connection_and_the_call_moves_to_another() {
    let mut world = confirmed(asking(Transport::Tcp));
    world.pass(ms(20_000));
    let options = world.expect(Method::Options);
    by_tcp(&mut world, &options.response(200, "peer", "", ""));
    world.pass(ms(20_000 + 31_999));
    assert!(world.disconnects.is_empty(), "timer F is not over");
    world.pass(ms(1));
    assert_eq!(world.disconnects.pop_front(), Some(tcp()));
    world.sent.clear();
    world.pass(ms(200));
    assert_eq!(world.connects.pop_front().map(|(flow, _)| flow), Some(tcp()));
    world.endpoint.handle_connected(world.now, tcp(), address("192.0.2.1:49153"), &mut world.out);
    world.drain();
    let moved = world.expect(Method::Invite);
    assert!(moved.header("Contact").unwrap().contains(":49153;"), "{}", moved.text());
    by_tcp(&mut world, &moved.response(200, "peer", CONTACT, ANSWER));
    world.expect(Method::Ack);
    assert!(world.events.is_empty(), "the same call");
}

#[test]
fn a_peer_of_datagrams_that_answers_no_options_is_asked_for_the_call() {
    for lives in [true, false] {
        let mut world = World::with(asking(Transport::Udp), 1);
        world.confirmed();
        world.pass(ms(52_000));
        let last = world.sent.pop_back().map(|(_, bytes)| message::parse(&bytes).unwrap());
        let Some(Message::Request { request, .. }) = last else { panic!("{last:?}") };
        assert_eq!(request.method, Method::Invite, "the call itself");
        let bytes = request.to_bytes();
        let message = message::parse(&bytes).unwrap();
        let invite = Sent { to: address(MIXER), bytes, message };
        if lives {
            world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
            assert!(world.sent.iter().any(|(_, bytes)| bytes.starts_with(b"ACK ")) && world.events.is_empty());
        } else {
            world.pass(ms(64_000));
            assert_eq!(world.expect_ended(), EndCause::Timeout);
        }
    }
}

#[test]
fn a_peer_may_connect_and_is_forgotten_when_it_says_nothing() {
    let mut world = World::new();
    let theirs = Flow { transport: Transport::Tcp, remote: address("192.0.2.9:33333") };
    world.endpoint.handle_accepted(world.now, theirs, address("192.0.2.1:5062"), &mut world.out);
    let options = "OPTIONS sip:device7@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bKx;rport\r\n\
        From: <sip:m@192.0.2.9>;tag=m\r\nTo: <sip:device7@192.0.2.1>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n\
        Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
    for half in [&options[..100], &options[100..]] {
        world.endpoint.handle_received(world.now, theirs, half.as_bytes(), &mut world.out);
        world.drain();
    }
    assert_eq!(world.expect_status(200).to, theirs.remote, "by the connection it came by");
    // Another local address is not ours to choose for it.
    let route = Route { flow: theirs, local: "192.0.2.2".parse().unwrap() };
    world.endpoint.handle_route(world.now, &theirs.target(), Ok(vec![route]), &mut world.out);
    world.drain();
    assert!(world.disconnects.is_empty());
    world.pass(ms(64_000));
    assert_eq!(world.disconnects.pop_front(), Some(theirs));
    assert_eq!(world.endpoint.poll_timeout(), None);
}

#[test]
fn connections_of_peers_are_bounded() {
    let mut world = World::new();
    for port in 1..=100 {
        let flow = Flow { transport: Transport::Tcp, remote: address(&format!("192.0.2.9:{port}")) };
        world.endpoint.handle_accepted(world.now, flow, address("192.0.2.1:5062"), &mut world.out);
    }
    world.drain();
    assert_eq!(world.disconnects.len(), 100 - 32);
}
