//! Where requests go: host map, outbound proxy, Contact, Record-Route, and hosts that cannot be found.

use super::*;

fn resolves(config: config::Sip, target: &str) -> (String, u16) {
    let mut world = World::with(config, 1);
    world.endpoint.call(world.now, target, local(), &mut world.out).unwrap();
    world.drain();
    world.resolves.pop_front().unwrap()
}

fn mapped(from: &str, to: &str) -> config::Sip {
    let mut sip = config();
    sip.host_map = vec![("other.example".into(), "203.0.113.99".into()), (from.into(), to.into())];
    sip
}

#[test]
fn the_host_map_knows_host_and_host_with_port() {
    let cases = [
        (mapped("mixer.example", "192.0.2.44"), ("192.0.2.44", 5080)),
        (mapped("MIXER.example", "sbc.example:5070"), ("sbc.example", 5070)),
        (mapped("mixer.example:5080", "192.0.2.44:1"), ("192.0.2.44", 1)),
        (mapped("mixer.example:5061", "192.0.2.44:1"), ("mixer.example", 5080)),
        (mapped("mixer.example", "[2001:db8::1]:6000"), ("2001:db8::1", 6000)),
        (mapped("mixer.example", "2001:db8::1"), ("2001:db8::1", 5080)),
        (config(), ("mixer.example", 5080)),
    ];
    for (config, (host, port)) in cases {
        assert_eq!(resolves(config.clone(), TARGET), (host.to_string(), port), "{:?}", config.host_map);
    }
    assert_eq!(resolves(config(), "sip:room@[2001:db8::9]"), ("2001:db8::9".to_string(), 5060));
    let mut proxy = mapped("mixer.example", "192.0.2.44");
    proxy.outbound_proxy = Some("proxy.example".into());
    assert_eq!(resolves(proxy, TARGET), ("proxy.example".to_string(), 5060));
}

#[test]
fn a_dialog_of_a_mapped_host_stays_where_it_was_mapped_to() {
    let mut world = World::with(mapped("mixer.example", "192.0.2.44"), 1);
    world.endpoint.call(world.now, TARGET, local(), &mut world.out).unwrap();
    world.drain();
    world.route("192.0.2.44", 5080, Ok("192.0.2.44:5080"));
    let invite = world.expect(Method::Invite);
    assert_eq!((invite.to, invite.request().uri.as_str()), (address("192.0.2.44:5080"), TARGET));
    world.reply(&invite, 200, "Contact: <sip:10.244.1.7:5060>\r\n", ANSWER);
    let ack = world.expect(Method::Ack);
    assert_eq!(ack.request().uri, "sip:10.244.1.7:5060");
    assert_eq!(ack.to, address("192.0.2.44:5080"), "the cluster's own address cannot be reached");
}

#[test]
fn a_contact_the_map_names_is_followed() {
    let mut sip = mapped("mixer.example", "192.0.2.44");
    sip.host_map.push(("10.244.1.7".into(), "192.0.2.45:5090".into()));
    let mut world = World::with(sip, 1);
    world.endpoint.call(world.now, TARGET, local(), &mut world.out).unwrap();
    world.drain();
    world.route("192.0.2.44", 5080, Ok("192.0.2.44:5080"));
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 200, "Contact: <sip:10.244.1.7:5060>\r\n", ANSWER);
    assert_eq!(world.expect(Method::Ack).to, address("192.0.2.45:5090"));
}

#[test]
fn with_an_outbound_proxy_everything_goes_there() {
    let mut sip = config();
    sip.outbound_proxy = Some("192.0.2.80:5070".into());
    let mut world = World::with(sip, 1);
    let id = world.endpoint.call(world.now, TARGET, local(), &mut world.out).unwrap();
    world.drain();
    world.route("192.0.2.80", 5070, Ok("192.0.2.80:5070"));
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
    assert_eq!(world.expect(Method::Ack).to, address("192.0.2.80:5070"));
    world.hang_up(id);
    assert_eq!(world.expect(Method::Bye).to, address("192.0.2.80:5070"));
}

#[test]
fn a_contact_given_by_name_is_looked_up_while_the_ack_goes_out() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 200, "Contact: <sip:node3.example:5066>\r\n", ANSWER);
    assert_eq!(world.expect(Method::Ack).to, address(MIXER));
    assert_eq!(world.resolves.pop_front(), Some(("node3.example".into(), 5066)));
    world.route("node3.example", 5066, Ok("192.0.2.13:5066"));
    world.hang_up(id);
    assert_eq!(world.expect(Method::Bye).to, address("192.0.2.13:5066"));
}

#[test]
fn record_route_is_followed_backwards() {
    let mut world = World::new();
    let id = world.dial();
    let invite = world.expect(Method::Invite);
    let routes = "Record-Route: <sip:192.0.2.21;lr>, <sip:192.0.2.22:5070;lr>\r\nRecord-Route: <sip:192.0.2.23;lr>\r\n";
    world.reply(&invite, 200, &format!("{routes}Contact: <sip:192.0.2.9:5080>\r\n"), ANSWER);
    let ack = world.expect(Method::Ack);
    assert_eq!((ack.to, ack.request().uri.as_str()), (address("192.0.2.23:5060"), "sip:192.0.2.9:5080"));
    world.hang_up(id);
    let bye = world.expect(Method::Bye);
    let route: Vec<&str> = bye.request().headers.elements(&Name::Route).collect();
    assert_eq!(route, ["<sip:192.0.2.23;lr>", "<sip:192.0.2.22:5070;lr>", "<sip:192.0.2.21;lr>"]);
}

#[test]
fn a_strict_router_becomes_the_request_uri() {
    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    let routes = "Record-Route: <sip:192.0.2.22>\r\nRecord-Route: <sip:192.0.2.23>\r\n";
    world.reply(&invite, 200, &format!("{routes}Contact: <sip:192.0.2.9:5080>\r\n"), ANSWER);
    let ack = world.expect(Method::Ack);
    assert_eq!((ack.to, ack.request().uri.as_str()), (address("192.0.2.23:5060"), "sip:192.0.2.23"));
    let route: Vec<&str> = ack.request().headers.elements(&Name::Route).collect();
    assert_eq!(route, ["<sip:192.0.2.22>", "<sip:192.0.2.9:5080>"]);
}

#[test]
fn a_host_nobody_knows_ends_the_call() {
    for error in [RouteError::UnknownHost, RouteError::Unreachable] {
        let mut world = World::new();
        world.endpoint.call(world.now, TARGET, local(), &mut world.out).unwrap();
        world.drain();
        world.route("unrelated.example", 5080, Ok("192.0.2.99:5080"));
        world.expect_silence();
        world.route("mixer.example", 5080, Err(error.clone()));
        assert_eq!(world.expect_ended(), EndCause::Unroutable(error));
        assert!(world.endpoint.is_idle());
    }
    let mut world = World::new();
    world.endpoint.call(world.now, TARGET, local(), &mut world.out).unwrap();
    world.drain();
    world.pass(Span::from_secs(60));
    assert_eq!(world.expect_ended(), EndCause::Unroutable(RouteError::UnknownHost), "never answered");
}
