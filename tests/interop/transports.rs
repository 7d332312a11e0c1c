//! Every transport, keep-alives, a NAT, and calls that move, with the mixer's own view of them.

use super::caller::{Caller, ROOM};
use lab::asterisk::Asterisk;
use lab::name_server::{Manner, NameServer, Record};
use qss_endpoint::config::{Incoming, Keepalive, Secret, Sip};
use qss_endpoint::sip::endpoint::{EndCause, Event, RouteError};
use qss_endpoint::sip::transport::{Flow, Transport};
use qss_endpoint::time::Span;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) fn udp(mixer: &Asterisk) {
    joins_holds_and_is_kicked(mixer, Transport::Udp, mixer.sip);
}

pub(crate) fn tcp(mixer: &Asterisk) {
    joins_holds_and_is_kicked(mixer, Transport::Tcp, mixer.sip);
}

pub(crate) fn tls(mixer: &Asterisk) {
    joins_holds_and_is_kicked(mixer, Transport::Tls, mixer.tls);
    let mut caller = Caller::new("plain", |sip| sip.ca_file = Some(mixer.ca()));
    let call = caller.join(mixer, &format!("sips:{ROOM}@{}", mixer.tls));
    caller.hang_up(mixer, call);
    let by_tls = caller.sent.iter().all(|(flow, _)| flow.transport == Transport::Tls);
    assert!(by_tls && caller.sent[0].1.contains("Contact: <sips:plain@127.0.0.1:"), "{}", caller.sent[0].1);
    // Its certificate is not signed by any CA of the system, and not for this name.
    refused_by_us(|_| {}, &uri(Transport::Tls, mixer.tls));
    let ca = |sip: &mut Sip| sip.ca_file = Some(mixer.ca());
    refused_by_us(ca, &format!("sip:{ROOM}@127.0.0.2:{};transport=tls", mixer.tls.port()));
}

pub(crate) fn ws(mixer: &Asterisk) {
    joins_holds_and_is_kicked(mixer, Transport::Ws, mixer.ws);
}

pub(crate) fn wss(mixer: &Asterisk) {
    joins_holds_and_is_kicked(mixer, Transport::Wss, mixer.wss);
}

/// A call by this transport: joined, modified, ended by the mixer, and joined again and ended by us.
fn joins_holds_and_is_kicked(mixer: &Asterisk, transport: Transport, at: SocketAddr) {
    let mut caller = Caller::new("plain", |sip| sip.ca_file = Some(mixer.ca()));
    let call = caller.join(mixer, &uri(transport, at));
    caller.hold(call);
    caller.until("hold", |caller| caller.answers("200", "INVITE") >= 2);
    mixer.kick(ROOM, "all").expect("a kick");
    caller.until("BYE of the mixer", |caller| caller.ended().is_some());
    assert!(matches!(caller.ended(), Some(EndCause::Remote { .. })), "{:?}", caller.events);
    mixer.wait_for(ROOM, 0, Duration::from_secs(5)).expect("an empty room");
    caller.events.clear();
    let call = caller.join(mixer, &uri(transport, at));
    caller.hang_up(mixer, call);
    let all = caller.sent.iter().chain(&caller.received);
    let other: Vec<_> = all.filter(|(flow, _)| flow.transport != transport || flow.remote != at).collect();
    assert!(other.is_empty(), "all by one way: {other:?}");
    let via = format!("Via: SIP/2.0/{} ", transport.token());
    let requests = caller.sent.iter().filter(|(_, text)| !text.starts_with("SIP/2.0") && !text.trim().is_empty());
    assert!(requests.clone().count() >= 6 && requests.clone().all(|(_, text)| text.contains(&via)));
}

fn refused_by_us(change: impl FnOnce(&mut Sip), uri: &str) {
    let mut caller = Caller::new("plain", change);
    caller.dial(uri);
    caller.until("refusal", |caller| caller.ended().is_some());
    let refused = matches!(caller.ended(), Some(EndCause::Unroutable(RouteError::NoConnection(_))));
    assert!(refused && caller.sent.is_empty(), "{:?}", caller.events);
}

/// The mixer takes both kinds and the call goes on.
pub(crate) fn keepalive(mixer: &Asterisk) {
    for (transport, keepalive) in [
        (Transport::Udp, Keepalive::Crlf),
        (Transport::Tcp, Keepalive::Crlf),
        (Transport::Ws, Keepalive::Crlf),
        (Transport::Udp, Keepalive::Options),
        (Transport::Tcp, Keepalive::Options),
    ] {
        let at = if transport == Transport::Ws { mixer.ws } else { mixer.sip };
        let mut caller = Caller::new("plain", |sip| {
            (sip.keepalive, sip.keepalive_interval) = (keepalive, Span::from_millis(300));
        });
        let call = caller.join(mixer, &uri(transport, at));
        caller.until("three keep-alives", |caller| match keepalive {
            Keepalive::Crlf => caller.sent("\r\n\r\n") >= 3,
            Keepalive::Options => caller.answers("", "OPTIONS") >= 3,
        });
        assert_eq!(caller.ended(), None);
        caller.hang_up(mixer, call);
    }
}

/// The mixer sees another address than ours, tells it, and reaches us there.
pub(crate) fn nat(mixer: &Asterisk) {
    let nat = Nat::before(mixer.sip);
    let map = (mixer.sip.to_string(), nat.inside.to_string());
    let mut caller = Caller::new("nat", |sip| sip.host_map = vec![map]);
    let call = caller.join(mixer, &mixer.uri(ROOM));
    caller.hold(call);
    caller.until("hold", |caller| caller.answers("200", "INVITE") >= 2);
    let contact = format!("Contact: <sip:nat@{}>", nat.outside);
    assert!(caller.sent.iter().any(|(_, text)| text.starts_with("INVITE ") && text.contains(&contact)), "{contact}");
    mixer.kick(ROOM, "all").expect("a kick");
    caller.until("BYE through the NAT", |caller| caller.ended().is_some());
    assert!(matches!(caller.ended(), Some(EndCause::Remote { .. })), "{:?}", caller.events);
    mixer.wait_for(ROOM, 0, Duration::from_secs(5)).expect("an empty room");
}

/// The mixer calls by TCP: no datagram is sent, in either direction.
pub(crate) fn tcp_in(mixer: &Asterisk) {
    let mut caller = Caller::new("plain", |sip| sip.incoming = Incoming::Accept);
    let uri = format!("sip:plain@127.0.0.1:{};transport=tcp", caller.port());
    mixer.call_out(&uri, ROOM, "plain").expect("a call");
    let call = caller.take_call();
    mixer.wait_for(ROOM, 1, Duration::from_secs(5)).expect("us in the room");
    caller.hang_up(mixer, call);
    let all = caller.sent.iter().chain(&caller.received);
    assert!(all.clone().count() >= 4 && all.clone().all(|(flow, _)| flow.transport == Transport::Tcp));
}

/// The mixer's process stands still for a while: OPTIONS are not answered, so the connection is given up and the call
/// moves to another one, where it goes on when the mixer does.
pub(crate) fn frozen(mixer: &Asterisk) {
    let mut caller = Caller::new("plain", |sip| {
        (sip.keepalive, sip.keepalive_interval) = (Keepalive::Options, Span::from_millis(1_000));
        sip.t1 = Span::from_millis(50);
    });
    let call = caller.join(mixer, &uri(Transport::Tcp, mixer.sip));
    caller.until("OPTIONS answered", |caller| caller.answers("", "OPTIONS") >= 1);
    mixer.freeze().expect("a mixer to freeze");
    caller.until("re-INVITE by another connection", |caller| caller.sent("INVITE ") >= 2);
    mixer.thaw().expect("a mixer to thaw");
    caller.until("answer to it", |caller| caller.answers("200", "INVITE") >= 2);
    assert_eq!((caller.ended(), caller.sent("BYE ")), (None, 0));
    caller.hang_up(mixer, call);
}

/// Registered with a password, called by the mixer over that way, and forgotten by it. The first server is gone.
pub(crate) fn register(mixer: &Asterisk) {
    let contacts = || mixer.cli("pjsip show contacts").expect("a list");
    for (transport, at) in [
        (Transport::Udp, mixer.sip),
        (Transport::Tcp, mixer.sip),
        (Transport::Tls, mixer.tls),
        (Transport::Ws, mixer.ws),
    ] {
        let registers = |sip: &mut Sip, password: &str| {
            (sip.ca_file, sip.incoming) = (Some(mixer.ca()), Incoming::Accept);
            sip.password = Secret(password.into());
            let server = uri(transport, at).replace(&format!("{ROOM}@"), "");
            sip.register.servers = vec!["sip:127.0.0.1:1;transport=tcp".into(), server];
        };
        let mut caller = Caller::new("digest", |sip| registers(sip, "mixpass"));
        caller.register();
        let server = format!("{:?}", caller.events);
        assert!(
            matches!(caller.events[..], [Event::Registered { .. }]) && server.contains(&at.to_string()),
            "{server}"
        );
        assert_eq!(contacts().matches("digest/sip:digest@").count(), 1, "{}", contacts());
        let dialled = mixer.cli(&format!("channel originate PJSIP/digest extension {ROOM}@audiomixer"));
        dialled.expect("a call to the contact");
        let call = caller.take_call();
        mixer.wait_for(ROOM, 1, Duration::from_secs(5)).expect("us in the room");
        caller.hang_up(mixer, call);
        caller.unregister();
        assert_eq!(contacts().matches("digest/sip:digest@").count(), 0, "{}", contacts());

        let mut stranger = Caller::new("digest", |sip| registers(sip, "wrong"));
        stranger.register();
        let said = stranger.events.last();
        let refused = matches!(said, Some(Event::NotRegistered { cause: EndCause::AuthenticationFailed, .. }));
        assert!(refused, "{transport:?}: {said:?}");
        assert_eq!(stranger.sent("REGISTER "), 2, "asked once, refused once");
    }
}

/// A name whose best server is gone and whose second is the mixer (RFC 3263 4.3).
pub(crate) fn srv(mixer: &Asterisk) {
    let gone = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let server = |priority, at: SocketAddr| {
        let host = "mixer.rooms.example".into();
        Record::Service { priority, weight: 1, port: at.port(), host }
    };
    let zone = [
        ("_sip._udp.rooms.example", server(1, gone)),
        ("_sip._udp.rooms.example", server(2, mixer.sip)),
        ("_sip._tcp.rooms.example", server(1, gone)),
        ("_sip._tcp.rooms.example", server(2, mixer.sip)),
        ("mixer.rooms.example", Record::Address(mixer.sip.ip())),
    ];
    let names = NameServer::start(Manner::Good, &zone).expect("a name server");
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut caller = Caller::new("plain", |sip| {
            sip.nameservers = vec![names.address.to_string()];
            // Nobody answers at the first: 64 T1 is what that costs.
            (sip.transport, sip.t1) = (transport, Span::from_millis(20));
        });
        let call = caller.join(mixer, &format!("sip:{ROOM}@rooms.example"));
        let tried =
            |at: SocketAddr| caller.sent.iter().any(|(flow, text)| flow.remote == at && text.starts_with("INV"));
        assert_eq!((tried(gone), tried(mixer.sip)), (transport == Transport::Udp, true), "{transport:?}");
        caller.hang_up(mixer, call);
    }
}

/// A connection that is cut, and an address that changes: the same call goes on, and the mixer reaches it.
pub(crate) fn moves(mixer: &Asterisk) {
    let mut caller = Caller::new("plain", |_| {});
    caller.join(mixer, &uri(Transport::Tcp, mixer.sip));
    caller.cut(Flow { transport: Transport::Tcp, remote: mixer.sip });
    caller.until("re-INVITE by another connection", |caller| caller.answers("200", "INVITE") >= 2);
    mixer.kick(ROOM, "all").expect("a kick");
    caller.until("BYE by that connection", |caller| caller.ended().is_some());
    assert_eq!((caller.sent("INVITE "), caller.sent("BYE ")), (2, 0));
    mixer.wait_for(ROOM, 0, Duration::from_secs(5)).expect("an empty room");

    let mut caller = Caller::new("plain", |_| {});
    caller.join(mixer, &mixer.uri(ROOM));
    caller.local = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    caller.addresses_changed();
    caller.until("re-INVITE from there", |caller| caller.answers("200", "INVITE") >= 2);
    let moved = caller.sent.iter().rfind(|(_, text)| text.starts_with("INVITE ")).expect("a re-INVITE");
    assert!(
        moved.1.contains("c=IN IP4 127.0.0.2") && moved.1.contains("Contact: <sip:plain@127.0.0.2:"),
        "{}",
        moved.1
    );
    mixer.kick(ROOM, "all").expect("a kick");
    caller.until("BYE there", |caller| caller.ended().is_some());
    assert!(matches!(caller.ended(), Some(EndCause::Remote { .. })), "{:?}", caller.events);
    mixer.wait_for(ROOM, 0, Duration::from_secs(5)).expect("an empty room");
}

fn uri(transport: Transport, at: SocketAddr) -> String {
    match transport {
        Transport::Udp => format!("sip:{ROOM}@{at}"),
        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
            format!("sip:{ROOM}@{at};transport={}", transport.token().to_lowercase())
        }
    }
}

/// A network address translator for one client and one server.
struct Nat {
    inside: SocketAddr,
    outside: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Nat {
    fn before(server: SocketAddr) -> Nat {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a time limit");
            socket
        };
        let (inside, outside, stop) = (socket(), socket(), Arc::new(AtomicBool::new(false)));
        let nat = Nat {
            inside: inside.local_addr().expect("an address"),
            outside: outside.local_addr().expect("an address"),
            stop: stop.clone(),
        };
        std::thread::spawn(move || {
            let (mut buffer, mut client) = (vec![0; 65_535], None);
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = inside.recv_from(&mut buffer) {
                    client = Some(from);
                    let _ = outside.send_to(&buffer[..length], server);
                }
                if let (Ok((length, _)), Some(client)) = (outside.recv_from(&mut buffer), client) {
                    let _ = inside.send_to(&buffer[..length], client);
                }
            }
        });
        nat
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
