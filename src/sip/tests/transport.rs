//! Connections, keep-alives, several addresses of one name, and calls whose way changes.

use super::*;
use crate::sip::endpoint::Outbox;

const NAT: &str = "198.51.100.7:61000";

fn flow(transport: Transport) -> Flow {
    Flow { transport, remote: address(MIXER) }
}

fn over(transport: Transport) -> config::Sip {
    config::Sip { transport, ..config() }
}

impl World {
    fn connected(&mut self, flow: Flow, local: &str) {
        self.endpoint.handle_connected(self.now, flow, address(local), &mut self.out);
        self.drain();
    }

    fn disconnected(&mut self, flow: Flow) {
        self.endpoint.handle_disconnected(self.now, flow, "refused", &mut self.out);
        self.drain();
    }

    fn deliver(&mut self, flow: Flow, bytes: &[u8]) {
        self.endpoint.handle_received(self.now, flow, bytes, &mut self.out);
        self.drain();
    }

    /// Dials and gives these ways to the target.
    fn dial_by(&mut self, routes: &[(Flow, &str)]) -> CallId {
        let id = self.endpoint.call(self.now, TARGET, local(), &mut self.out).unwrap();
        self.drain();
        let target = self.targets.last().unwrap().clone();
        let routes = routes.iter().map(|(flow, local)| Route { flow: *flow, local: local.parse().unwrap() }).collect();
        self.endpoint.handle_route(self.now, &target, Ok(routes), &mut self.out);
        self.drain();
        id
    }

    /// A call by a connection, its INVITE and ACK.
    fn confirmed_by(&mut self, flow: Flow, ours: &str) -> (CallId, Sent) {
        let id = self.dial_by(&[(flow, "192.0.2.1")]);
        assert_eq!(self.connects.pop_front(), Some((flow, "mixer.example".into())));
        self.expect_silence();
        self.connected(flow, ours);
        let invite = self.expect(Method::Invite);
        self.answer_by(flow, &invite, 200, ANSWER);
        self.expect(Method::Ack);
        assert!(matches!(self.expect_event(), Event::Confirmed { .. }));
        (id, invite)
    }

    fn answer_by(&mut self, flow: Flow, request: &Sent, status: u16, body: &str) {
        let contact = "Contact: <sip:192.0.2.9:5080;transport=tcp>\r\n";
        let contact = if flow.transport == Transport::Tcp { contact } else { "Contact: <sip:192.0.2.9:5080>\r\n" };
        let response = request.response(status, "peer", contact, body);
        self.deliver(flow, response.as_bytes());
    }
}

#[test]
fn over_a_connection_nothing_is_repeated_and_contact_and_via_are_its_own() {
    for (transport, via, contact) in [
        (Transport::Tcp, "SIP/2.0/TCP 192.0.2.1:49152;", "<sip:device7@192.0.2.1:49152;transport=tcp>"),
        (Transport::Tls, "SIP/2.0/TLS 192.0.2.1:49152;", "<sip:device7@192.0.2.1:49152;transport=tls>"),
    ] {
        let mut world = World::with(over(transport), 1);
        world.dial_by(&[(flow(transport), "192.0.2.1")]);
        world.connected(flow(transport), "192.0.2.1:49152");
        let invite = world.expect(Method::Invite);
        assert!(invite.header("Via").unwrap().starts_with(via), "{}", invite.text());
        assert_eq!(invite.header("Contact"), Some(contact));
        world.pass(ms(31_000));
        world.expect_silence();
        world.pass(ms(1_000));
        assert_eq!(world.expect_ended(), EndCause::Timeout, "timer B all the same");
    }
}

#[test]
fn a_websocket_client_has_no_address() {
    let mut world = World::with(over(Transport::Wss), 1);
    let (id, invite) = world.confirmed_by(flow(Transport::Wss), "192.0.2.1:49152");
    let via = invite.identity().via.clone();
    assert!(via.transport == "WSS" && via.host.ends_with(".invalid") && via.port.is_none(), "{via}");
    assert_eq!(invite.header("Contact").unwrap(), format!("<sip:device7@{};transport=ws>", via.host));
    assert!(invite.body().contains("IN IP4 192.0.2.1"), "media have one");
    world.hang_up(id);
    assert_eq!(world.expect(Method::Bye).to, address(MIXER), "by the same connection, whatever Contact says");
}

#[test]
fn a_message_in_pieces_and_two_in_one_are_the_same() {
    let tcp = flow(Transport::Tcp);
    let mut world = World::with(over(Transport::Tcp), 1);
    world.dial_by(&[(tcp, "192.0.2.1")]);
    world.connected(tcp, "192.0.2.1:49152");
    let invite = world.expect(Method::Invite);
    let ringing = invite.response(180, "peer", "", "");
    let stream = format!("{ringing}\r\n\r\n{ringing}");
    stream.as_bytes().chunks(7).for_each(|piece| world.deliver(tcp, piece));
    let rings = world.events.iter().filter(|event| matches!(event, Event::Progress { status: 180, .. })).count();
    assert_eq!(rings, 2);
    assert_eq!(world.sent.pop_front(), Some((tcp.remote, b"\r\n".to_vec())), "the ping in between is answered");
    world.deliver(tcp, b"BYE sip:x SIP/2.0\r\nContent-Length: x\r\n\r\n");
    assert_eq!(world.disconnects.pop_front(), Some(tcp), "nobody knows where the next message begins");
    let why = "what arrived is no SIP".to_string();
    assert_eq!(world.expect_ended_at_last(), EndCause::Unroutable(RouteError::NoConnection(why)));
}

#[test]
fn addresses_are_tried_in_turn_until_one_serves() {
    let (dead, deaf, full, good) = ("192.0.2.30:5080", "192.0.2.31:5080", "192.0.2.32:5080", MIXER);
    let tcp = |remote| Flow { transport: Transport::Tcp, remote: address(remote) };
    let mut world = World::with(over(Transport::Tcp), 1);
    world.dial_by(&[dead, deaf, full, good].map(|remote| (tcp(remote), "192.0.2.1")));
    assert_eq!(world.connects.pop_front().unwrap().0, tcp(dead));
    world.disconnected(tcp(dead));
    assert_eq!(world.connects.pop_front().unwrap().0, tcp(deaf));
    world.pass(ms(5_000));
    assert_eq!(world.disconnects.pop_front(), Some(tcp(deaf)), "it does not even refuse");
    assert_eq!(world.connects.pop_front().unwrap().0, tcp(full));
    world.connected(tcp(full), "192.0.2.1:49153");
    let first = world.expect(Method::Invite);
    let refusal = first.response(503, "peer", "", "");
    world.deliver(tcp(full), refusal.as_bytes());
    world.expect(Method::Ack);
    assert_eq!(world.connects.pop_front().unwrap().0, tcp(good));
    world.connected(tcp(good), "192.0.2.1:49154");
    let second = world.expect(Method::Invite);
    assert_eq!(second.identity().call_id, first.identity().call_id);
    assert_eq!((second.identity().cseq.number, second.to), (2, address(good)));
    assert_ne!(second.branch(), first.branch());
    world.answer_by(tcp(good), &second, 200, ANSWER);
    assert!(matches!(world.events.pop_back(), Some(Event::Confirmed { .. })));
}

#[test]
fn a_silent_datagram_address_is_followed_by_the_next() {
    let mut world = World::new();
    let way = |remote| (Flow::udp(address(remote)), "192.0.2.1");
    world.dial_by(&[way("192.0.2.30:5080"), way(MIXER)]);
    assert_eq!(world.expect(Method::Invite).to, address("192.0.2.30:5080"));
    world.pass(ms(32_000));
    let last = world.sent.pop_back().unwrap();
    assert_eq!(last.0, address(MIXER));
}

#[test]
fn a_lost_connection_is_made_again_and_the_call_moves_to_it() {
    let tcp = flow(Transport::Tcp);
    let mut world = World::with(over(Transport::Tcp), 1);
    let (id, invite) = world.confirmed_by(tcp, "192.0.2.1:49152");
    world.disconnected(tcp);
    world.expect_silence();
    world.pass(ms(200));
    assert_eq!(world.connects.pop_front(), Some((tcp, "mixer.example".into())));
    world.disconnected(tcp);
    world.pass(ms(399));
    assert!(world.connects.is_empty(), "the next pause is longer");
    world.pass(ms(1));
    assert!(world.connects.pop_front().is_some());
    world.connected(tcp, "192.0.2.44:50000");
    let moved = world.expect(Method::Invite);
    assert_eq!(moved.identity().call_id, invite.identity().call_id);
    assert_eq!(moved.header("Contact"), Some("<sip:device7@192.0.2.44:50000;transport=tcp>"));
    assert!(moved.body().contains("c=IN IP4 192.0.2.44"), "{}", moved.body());
    world.answer_by(tcp, &moved, 200, ANSWER);
    world.expect(Method::Ack);
    assert!(world.events.is_empty(), "nothing to tell: the media are the same");
    world.hang_up(id);
    world.expect(Method::Bye);
}

#[test]
fn the_pauses_before_a_connection_is_made_again_are_the_configured_ones() {
    let tcp = flow(Transport::Tcp);
    let sip = config::Sip { reconnect_min: ms(50), reconnect_max: ms(120), ..over(Transport::Tcp) };
    let mut world = World::with(sip, 1);
    world.confirmed_by(tcp, "192.0.2.1:49152");
    for pause in [50, 100, 120, 120] {
        world.disconnected(tcp);
        world.pass(ms(pause - 1));
        assert!(world.connects.is_empty(), "{pause}");
        world.pass(ms(1));
        assert!(world.connects.pop_front().is_some(), "{pause}");
    }
}

#[test]
fn a_reinvite_lost_with_its_connection_is_made_up_for() {
    let tcp = flow(Transport::Tcp);
    let mut world = World::with(over(Transport::Tcp), 1);
    let (id, _) = world.confirmed_by(tcp, "192.0.2.1:49152");
    world.modify(id, held());
    world.expect(Method::Invite);
    world.disconnected(tcp);
    world.pass(ms(200));
    world.connected(tcp, "192.0.2.1:49200");
    let again = world.expect(Method::Invite);
    assert!(again.body().contains("a=inactive"), "{}", again.body());
    world.expect_silence();
}

#[test]
fn a_bye_without_a_connection_makes_one() {
    let tcp = flow(Transport::Tcp);
    let mut world = World::with(over(Transport::Tcp), 1);
    let (id, _) = world.confirmed_by(tcp, "192.0.2.1:49152");
    world.disconnected(tcp);
    world.hang_up(id);
    assert!(world.connects.pop_front().is_some());
    world.connected(tcp, "192.0.2.1:49200");
    let bye = world.expect(Method::Bye);
    world.answer_by(tcp, &bye, 200, "");
    assert_eq!(world.expect_ended(), EndCause::Local);
    world.pass(ms(64_000));
    assert_eq!(world.disconnects.pop_front(), Some(tcp), "nobody needs it any more");
    assert_eq!(world.endpoint.poll_timeout(), None);
}

#[test]
fn a_connection_that_nobody_wants_stays_for_the_configured_time() {
    let tcp = flow(Transport::Tcp);
    let mut world = World::with(config::Sip { idle_timeout: ms(90_000), ..over(Transport::Tcp) }, 1);
    let (id, _) = world.confirmed_by(tcp, "192.0.2.1:49152");
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.answer_by(tcp, &bye, 200, "");
    world.pass(ms(89_999));
    assert!(world.disconnects.is_empty());
    world.pass(ms(1));
    assert_eq!(world.disconnects.pop_front(), Some(tcp));
}

#[test]
fn another_local_address_moves_the_call_by_reinvite() {
    let mut world = World::new();
    let (_, _, _) = world.confirmed();
    let moved_to = |world: &mut World, local: &str| {
        world.endpoint.handle_addresses_changed(world.now, &mut world.out);
        world.drain();
        let target = world.targets.last().unwrap().clone();
        assert_eq!(target, Flow::udp(address(MIXER)).target());
        let route = Route { flow: Flow::udp(address(MIXER)), local: local.parse().unwrap() };
        world.endpoint.handle_route(world.now, &target, Ok(vec![route]), &mut world.out);
        world.drain();
    };
    moved_to(&mut world, "192.0.2.1");
    world.expect_silence();
    for local in ["192.0.2.77", "192.0.2.1", "2001:db8::7", "192.0.2.78", "192.0.2.79"] {
        moved_to(&mut world, local);
        let invite = world.expect(Method::Invite);
        let (host, family) = if local.contains(':') { (format!("[{local}]"), "IP6") } else { (local.into(), "IP4") };
        assert!(invite.header("Via").unwrap().starts_with(&format!("SIP/2.0/UDP {host}:5062;")), "{}", invite.text());
        assert_eq!(invite.header("Contact").unwrap(), format!("<sip:device7@{host}:5062>"));
        assert!(invite.body().contains(&format!("c=IN {family} {local}")), "{}", invite.body());
        world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
        world.expect(Method::Ack);
    }
    world.endpoint.handle_addresses_changed(world.now, &mut world.out);
    world.drain();
    world.route("192.0.2.9", 5080, Err(RouteError::Unreachable));
    world.expect_silence();
    assert!(world.events.is_empty(), "no network for a while ends nothing");
}

#[test]
fn a_connection_from_an_address_that_is_gone_is_made_anew() {
    let tcp = flow(Transport::Tcp);
    let mut world = World::with(over(Transport::Tcp), 1);
    world.confirmed_by(tcp, "192.0.2.1:49152");
    let route = Route { flow: tcp, local: "192.0.2.77".parse().unwrap() };
    world.endpoint.handle_route(world.now, &tcp.target(), Ok(vec![route]), &mut world.out);
    world.drain();
    assert_eq!(world.disconnects.pop_front(), Some(tcp));
    world.pass(ms(200));
    world.connected(tcp, "192.0.2.77:49152");
    assert!(world.expect(Method::Invite).body().contains("c=IN IP4 192.0.2.77"));
}

#[test]
fn a_long_request_goes_over_tcp_and_by_udp_where_there_is_none() {
    let sip = config::Sip { udp_limit: 500, ..config() };
    let (udp, tcp) = (flow(Transport::Udp), flow(Transport::Tcp));
    let mut world = World::with(sip.clone(), 1);
    world.dial_by(&[(udp, "192.0.2.1")]);
    assert_eq!(world.connects.pop_front().unwrap().0, tcp);
    world.connected(tcp, "192.0.2.1:49152");
    let invite = world.expect(Method::Invite);
    assert!(invite.header("Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.1:"));
    assert_eq!(invite.header("Contact"), Some("<sip:device7@192.0.2.1:5062>"));
    world.answer_by(tcp, &invite, 180, "");
    assert!(matches!(world.expect_event(), Event::Progress { status: 180, .. }));

    let mut world = World::with(sip.clone(), 1);
    world.dial_by(&[(udp, "192.0.2.1")]);
    world.disconnected(tcp);
    let invite = world.expect(Method::Invite);
    assert!(invite.header("Via").unwrap().starts_with("SIP/2.0/UDP 192.0.2.1:5062;"), "{}", invite.text());
    world.pass(ms(500));
    assert_eq!(world.expect(Method::Invite).bytes, invite.bytes, "and is repeated as datagrams are");
    world.connects.clear();
    let second = world.dial_by(&[(udp, "192.0.2.1")]);
    assert!(world.connects.is_empty(), "it is not asked for TCP again so soon");
    world.hang_up(second);

    let mut world = World::with(config::Sip { udp_only: ms(100), ..sip }, 1);
    world.dial_by(&[(udp, "192.0.2.1")]);
    world.disconnected(tcp);
    world.connects.clear();
    world.pass(ms(101));
    world.dial_by(&[(udp, "192.0.2.1")]);
    assert!(!world.connects.is_empty(), "the refusal is believed for the configured time");
}

#[test]
fn what_nat_does_is_seen_and_the_contact_follows() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    let seen = format!(";received={};rport={}", address(NAT).ip(), address(NAT).port());
    let response = invite.response(200, "peer", "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.receive(&response.replace(";rport;received=192.0.2.1", &seen));
    world.expect(Method::Ack);
    world.modify(id, held());
    assert_eq!(world.expect(Method::Invite).header("Contact").unwrap(), format!("<sip:device7@{NAT}>"));

    let mut world = World::with(config::Sip { rewrite_contact: false, ..config() }, 1);
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    let response = invite.response(200, "peer", "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.receive(&response.replace(";rport;received=192.0.2.1", &seen));
    world.expect(Method::Ack);
    world.modify(id, held());
    assert_eq!(world.expect(Method::Invite).header("Contact").unwrap(), "<sip:device7@192.0.2.1:5062>");
}

#[test]
fn a_call_is_kept_alive_and_a_peer_that_answered_once_has_to_answer() {
    let every = |transport| config::Sip { keepalive_interval: ms(20_000), ..over(transport) };
    let mut world = World::with(every(Transport::Udp), 1);
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    world.expect(Method::Ack);
    world.pass(ms(60_000));
    assert_eq!(world.sent, vec![(address(MIXER), b"\r\n\r\n".to_vec()); 3]);
    assert_eq!(world.resolves.len(), 3, "whether the device still has its address");
    world.sent.clear();
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    world.reply(&bye, 200, "", "");
    world.pass(ms(60_000));
    world.expect_silence();

    let tcp = flow(Transport::Tcp);
    let mut world = World::with(every(Transport::Tcp), 1);
    world.confirmed_by(tcp, "192.0.2.1:49152");
    world.pass(ms(40_000));
    assert_eq!(world.drop_sent(), 2);
    assert!(world.disconnects.is_empty(), "nobody has to answer");
    world.deliver(tcp, b"\r\n");
    world.pass(ms(20_000));
    assert_eq!(world.drop_sent(), 1);
    world.deliver(tcp, b"\r\n");
    world.pass(ms(29_999));
    assert!(world.disconnects.is_empty());
    world.pass(ms(1));
    assert_eq!(world.disconnects.pop_front(), Some(tcp), "the second ping is not answered");
}

#[test]
fn an_options_keeps_alive_too() {
    let sip = config::Sip { keepalive_interval: ms(20_000), keepalive: config::Keepalive::Options, ..config() };
    let mut world = World::with(sip, 1);
    let (_, invite, _) = world.confirmed();
    world.pass(ms(20_000));
    let options = world.expect(Method::Options);
    assert_eq!(options.request().uri, "sip:192.0.2.9:5080");
    assert_ne!(options.identity().call_id, invite.identity().call_id);
    world.reply(&options, 404, "", "");
    world.pass(ms(10_000));
    world.expect_silence();
    assert!(world.events.is_empty());
}

#[test]
fn a_proxy_given_as_a_uri_stands_in_route() {
    let proxy = "sip:192.0.2.80:5071;transport=tls;lr";
    let mut world = World::with(config::Sip { outbound_proxy: Some(proxy.into()), ..config() }, 1);
    let tls = Flow { transport: Transport::Tls, remote: address("192.0.2.80:5071") };
    world.dial_by(&[(tls, "192.0.2.1")]);
    assert_eq!(world.targets.last(), Some(&tls.target()));
    assert_eq!(world.connects.pop_front(), Some((tls, "192.0.2.80".into())));
    world.connected(tls, "192.0.2.1:49152");
    let invite = world.expect(Method::Invite);
    assert_eq!((invite.header("Route"), invite.request().uri.as_str()), (Some(&*format!("<{proxy}>")), TARGET));
}

#[test]
fn the_uri_says_the_transport() {
    for (parameter, transport) in [("tcp", Transport::Tcp), ("TLS", Transport::Tls), ("ws", Transport::Ws)] {
        let mut world = World::new();
        let target = format!("sip:room@mixer.example;transport={parameter}");
        world.endpoint.call(world.now, &target, local(), &mut world.out).unwrap();
        world.drain();
        let asked = world.targets.last().unwrap();
        assert_eq!((asked.transport, asked.port), (transport, None));
    }
}

#[test]
fn whatever_a_stream_brings_memory_is_bounded() {
    let tcp = flow(Transport::Tcp);
    let mut world = World::with(over(Transport::Tcp), 1);
    let (id, _) = world.confirmed_by(tcp, "192.0.2.1:49152");
    world.disconnected(tcp);
    for _ in 0..1_000 {
        world.endpoint.handle_disconnected(world.now, tcp, "gone", &mut Outbox::new());
        world.modify(id, held());
        world.modify(id, local());
    }
    world.pass(ms(30_000));
    world.connected(tcp, "192.0.2.1:49152");
    assert!(world.drop_sent() <= 33);
}

#[test]
fn a_received_address_may_stand_in_brackets_and_has_to_be_one() {
    for (received, place) in
        [("[2001:db8::7]", "[2001:db8::7]:61000"), ("2001:db8::7", "[2001:db8::7]:61000"), ("x", "192.0.2.1:5062")]
    {
        let mut world = World::new();
        let id = world.dial();
        let invite = world.expect(Method::Invite);
        let ok = invite.response(200, "peer", "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
        world.receive(&ok.replace(";rport;received=192.0.2.1", &format!(";received={received};rport=61000")));
        world.expect(Method::Ack);
        world.modify(id, held());
        assert_eq!(world.expect(Method::Invite).header("Contact"), Some(format!("<sip:device7@{place}>").as_str()));
    }
}
