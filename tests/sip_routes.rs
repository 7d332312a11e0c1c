//! How the endpoint finds its servers, asking a name server of the lab with its own sockets (RFC 3263, RFC 2782).

use lab::name_server::{Manner, NameServer, Record};
use qss_endpoint::config::{Config, Sip};
use qss_endpoint::io::sip_routes::Lookup;
use qss_endpoint::io::sip_socket::SipSocket;
use qss_endpoint::random::Rng;
use qss_endpoint::sip::endpoint::RouteError;
use qss_endpoint::sip::transport::{Flow, Target, Transport};
use qss_endpoint::time::Span;
use std::net::SocketAddr;
use tokio::runtime::Builder;

const DOMAIN: &str = "rooms.example";

fn address(ip: &str) -> Record {
    Record::Address(ip.parse().expect("an address"))
}

fn server(priority: u16, port: u16, host: &str) -> Record {
    Record::Service { priority, weight: 1, port, host: host.into() }
}

/// Two servers of which the first has both families, behind UDP; addresses and nothing else behind TLS.
fn zone() -> Vec<(&'static str, Record)> {
    vec![
        ("_sip._udp.rooms.example", server(20, 5090, "b.rooms.example")),
        ("_sip._udp.rooms.example", server(10, 5080, "a.rooms.example")),
        ("_sip._udp.rooms.example", server(15, 5085, "gone.rooms.example")),
        ("_sip._tcp.rooms.example", server(0, 0, "")),
        ("rooms.example", address("127.0.0.9")),
        ("a.rooms.example", address("127.0.0.1")),
        ("a.rooms.example", address("::1")),
        ("b.rooms.example", address("127.0.0.2")),
    ]
}

fn lookup(
    servers: &[SocketAddr],
    host: &str,
    port: Option<u16>,
    transport: Transport,
) -> Result<Vec<Flow>, RouteError> {
    let sip = Sip {
        nameservers: servers.iter().map(SocketAddr::to_string).collect(),
        dns_timeout: Span::from_millis(300),
        ..Config::default().sip
    };
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let target = Target { host: host.into(), port, transport };
    runtime.block_on(async {
        let socket = SipSocket::bind(sip.bind).await.expect("a socket");
        let routes = Lookup::new(&sip, socket.bound(), Rng::from_u64(1)).routes(&target).await?;
        for route in &routes {
            assert_eq!(route.local.is_loopback(), route.flow.remote.ip().is_loopback());
            assert_eq!(route.local.is_ipv4(), route.flow.remote.is_ipv4());
        }
        Ok(routes.into_iter().map(|route| route.flow).collect())
    })
}

fn flows(transport: Transport, remotes: &[&str]) -> Result<Vec<Flow>, RouteError> {
    Ok(remotes.iter().map(|remote| Flow { transport, remote: remote.parse().expect("an address") }).collect())
}

fn good() -> NameServer {
    NameServer::start(Manner::Good, &zone()).expect("a name server")
}

/// Both families of the best, then the next best; a server without an address is passed over.
const UDP: [&str; 3] = ["[::1]:5080", "127.0.0.1:5080", "127.0.0.2:5090"];

#[test]
fn servers_come_by_priority_with_their_ports_and_both_families() {
    let server = good();
    assert_eq!(lookup(&[server.address], DOMAIN, None, Transport::Udp), flows(Transport::Udp, &UDP));
}

#[test]
fn without_service_records_it_is_the_address_and_the_default_port() {
    let server = good();
    let found = lookup(&[server.address], DOMAIN, None, Transport::Tls);
    assert_eq!(found, flows(Transport::Tls, &["127.0.0.9:5061"]));
    assert!(server.questions().contains(&"_sips._tcp.rooms.example".to_owned()));
}

#[test]
fn a_port_or_an_address_asks_for_no_service() {
    let server = good();
    let found = lookup(&[server.address], DOMAIN, Some(7), Transport::Udp);
    assert_eq!(found, flows(Transport::Udp, &["127.0.0.9:7"]));
    assert_eq!(lookup(&[server.address], "::1", None, Transport::Udp), flows(Transport::Udp, &["[::1]:5060"]));
    assert_eq!(server.questions(), [DOMAIN; 2], "its two families");
}

#[test]
fn a_service_that_is_decidedly_not_there_is_not_sought_elsewhere() {
    let server = good();
    assert_eq!(lookup(&[server.address], DOMAIN, None, Transport::Tcp), Err(RouteError::UnknownHost));
    assert_eq!(lookup(&[server.address], "no.example", None, Transport::Udp), Err(RouteError::UnknownHost));
}

#[test]
fn what_does_not_fit_a_datagram_comes_by_tcp() {
    let server = NameServer::start(Manner::Truncating, &zone()).expect("a name server");
    assert_eq!(lookup(&[server.address], DOMAIN, None, Transport::Udp), flows(Transport::Udp, &UDP));
}

#[test]
fn a_silent_or_failing_name_server_is_passed_over() {
    let good = good();
    for manner in [Manner::Silent, Manner::Failing] {
        let bad = NameServer::start(manner, &[]).expect("a name server");
        let found = lookup(&[bad.address, good.address], DOMAIN, None, Transport::Udp);
        assert_eq!(found, flows(Transport::Udp, &UDP), "{manner:?}");
        assert!(!bad.questions().is_empty());
    }
    let silent = NameServer::start(Manner::Silent, &[]).expect("a name server");
    assert_eq!(lookup(&[silent.address], DOMAIN, None, Transport::Udp), Err(RouteError::UnknownHost));
}

#[test]
fn a_guessed_answer_is_not_believed_and_the_true_one_is() {
    let server = NameServer::start(Manner::Forged, &zone()).expect("a name server");
    assert_eq!(lookup(&[server.address], DOMAIN, None, Transport::Udp), flows(Transport::Udp, &UDP));
}
