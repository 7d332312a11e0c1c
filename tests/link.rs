//! The link to the QSS against a server that is right, wrong, silent and rude: what the agent is told in each case.
#![cfg(feature = "io")]

use lab::qss::{Authority, CertificateKind, Config as ServerConfig, Door, QssServer};
use qss_endpoint::agent::{LinkError, LinkErrorKind};
use qss_endpoint::config::{Config, Qss, Secret};
use qss_endpoint::io::websocket::{Link, LinkEvent, Security};
use qss_endpoint::qss::clock::BUILT;
use qss_endpoint::time::{Span, WallTime};
use std::path::PathBuf;
use std::time::Duration;

/// A wss server with a certificate of this kind, and a client configuration that trusts its authority.
fn secure(kind: CertificateKind) -> (QssServer, Qss, CaFile) {
    let authority = Authority::new();
    let server = QssServer::start(ServerConfig { tls: Some(authority.server(kind)), ..ServerConfig::default() })
        .expect("loopback has free ports");
    let ca = CaFile::new(authority.pem());
    let qss = Qss { ca_file: Some(ca.0.clone()), ..client(&server) };
    (server, qss, ca)
}

fn client(server: &QssServer) -> Qss {
    Qss { url: Some(server.url()), connect_timeout: Span::from_secs(5), ..Config::default().qss }
}

#[test]
fn wss_with_a_private_ca_carries_frames_both_ways() {
    let (server, qss, _ca) = secure(CertificateKind::Good);
    on_runtime(async {
        let mut link = Link::default();
        link.open(&qss, qss.token.clone(), BUILT, 0);
        assert!(matches!(next(&mut link).await, LinkEvent::Opened(_)));
        link.send(r#"{"request":"register","requestID":"r1","payload":{"username":"u","deviceId":"d"}}"#.into())
            .expect("an open link takes a frame");
        let LinkEvent::Frame(answer) = next(&mut link).await else { panic!("no answer") };
        assert!(answer.contains(r#""requestID":"r1""#), "{answer}");
        for number in [7, u64::MAX] {
            link.ping(number).expect("an open link takes a ping");
            assert!(matches!(next(&mut link).await, LinkEvent::Pong(pong) if pong == number));
        }
    });
    drop(server);
}

#[test]
fn a_certificate_of_another_authority_is_refused_as_such() {
    assert_eq!(refusal(CertificateKind::WrongIssuer).kind, LinkErrorKind::TlsUnknownIssuer);
    assert_eq!(refusal(CertificateKind::ForgedIssuer).kind, LinkErrorKind::TlsUnknownIssuer);
}

#[test]
fn a_certificate_for_another_name_is_refused_as_such() {
    assert_eq!(refusal(CertificateKind::WrongName).kind, LinkErrorKind::TlsWrongName);
}

#[test]
fn a_certificate_out_of_its_time_is_refused_as_such() {
    assert_eq!(refusal(CertificateKind::Expired).kind, LinkErrorKind::TlsWrongDate);
    assert_eq!(refusal(CertificateKind::NotYetValid).kind, LinkErrorKind::TlsWrongDate);
}

/// A board without a battery: its clock is before the floor, so certificates are judged at the floor.
#[test]
fn a_certificate_is_judged_at_the_floor_when_the_clock_is_behind_it() {
    let (server, qss, _ca) = secure(CertificateKind::Good);
    let in_2096 = WallTime(3_976_214_400_000);
    let error = failure_at(qss, in_2096);
    assert_eq!(error.kind, LinkErrorKind::TlsWrongDate);
    assert!(error.detail.contains("clock") && error.detail.contains("@3976214400"), "{}", error.detail);
    let (server_of_2090, qss, _ca) = secure(CertificateKind::NotYetValid);
    on_runtime(async {
        let mut link = Link::default();
        link.open(&qss, Secret::default(), WallTime(3_850_000_000_000), 0);
        assert!(matches!(next(&mut link).await, LinkEvent::Opened(_)), "valid at the floor");
    });
    drop((server, server_of_2090));
}

#[test]
fn a_server_that_wants_a_certificate_gets_it_or_says_so_under_each_tls() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let authority = Authority::new();
        let config = ServerConfig { tls: Some(authority.server_for_clients(&[version])), ..ServerConfig::default() };
        let server = QssServer::start(config).expect("loopback has free ports");
        let ca = CaFile::new(authority.pem());
        let anonymous = Qss { ca_file: Some(ca.0.clone()), ..client(&server) };
        let error = failure(anonymous.clone());
        assert_eq!(error.kind, LinkErrorKind::TlsClientCertificate, "{version:?}: {}", error.detail);

        let stranger = identity(&Authority::new());
        let error = failure(with_identity(&anonymous, &stranger));
        assert_eq!(error.kind, LinkErrorKind::TlsClientCertificate, "{version:?}: {}", error.detail);

        let ours = identity(&authority);
        on_runtime(async {
            let mut link = Link::default();
            link.open(&with_identity(&anonymous, &ours), Secret::default(), BUILT, 0);
            assert!(matches!(next(&mut link).await, LinkEvent::Opened(Security::Tls)), "{version:?}");
        });

        let mixed = (ours.0, identity(&authority).1);
        let error = failure(with_identity(&anonymous, &mixed));
        assert_eq!(error.kind, LinkErrorKind::TlsOther, "a key of another certificate: {}", error.detail);
        assert!(error.detail.contains("client_cert_file"), "{}", error.detail);
    }
}

fn identity(authority: &Authority) -> (CaFile, CaFile) {
    let (certificate, key) = authority.client();
    (CaFile::new(&certificate), CaFile::new(&key))
}

fn with_identity(qss: &Qss, (certificate, key): &(CaFile, CaFile)) -> Qss {
    Qss { client_cert_file: Some(certificate.0.clone()), client_key_file: Some(key.0.clone()), ..qss.clone() }
}

#[test]
fn a_ca_file_that_is_missing_or_empty_is_named() {
    let (server, qss, _ca) = secure(CertificateKind::Good);
    let empty = CaFile::new("");
    for path in [PathBuf::from("/nonexistent/ca.pem"), empty.0.clone()] {
        let error = failure(Qss { ca_file: Some(path.clone()), ..qss.clone() });
        assert_eq!(error.kind, LinkErrorKind::TlsOther);
        assert!(error.detail.contains(&path.display().to_string()), "{}", error.detail);
    }
    drop(server);
}

#[test]
fn the_status_and_retry_after_of_a_refused_upgrade_are_told() {
    let server = QssServer::start(ServerConfig::default()).expect("loopback has free ports");
    server.door(Door::Refuse { status: 503, retry_after: Some(17) });
    let error = failure(client(&server));
    assert_eq!((error.kind, error.retry_after), (LinkErrorKind::Http(503), Some(17)));
    for status in [401, 403, 429] {
        server.door(Door::Refuse { status, retry_after: None });
        let error = failure(client(&server));
        assert_eq!((error.kind, error.retry_after), (LinkErrorKind::Http(status), None));
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_after_the_configured_time() {
    let server = QssServer::start(ServerConfig::default()).expect("loopback has free ports");
    server.door(Door::Silent);
    let qss = Qss { connect_timeout: Span::from_millis(200), ..client(&server) };
    assert_eq!(failure(qss).kind, LinkErrorKind::TimedOut);
}

#[test]
fn a_close_after_the_upgrade_brings_its_code() {
    let server = QssServer::start(ServerConfig::default()).expect("loopback has free ports");
    server.door(Door::CloseAfterUpgrade { code: 4001 });
    let qss = client(&server);
    on_runtime(async {
        let mut link = Link::default();
        link.open(&qss, qss.token.clone(), BUILT, 0);
        assert!(matches!(next(&mut link).await, LinkEvent::Opened(_)));
        let LinkEvent::Closed(error) = next(&mut link).await else { panic!("still open") };
        assert_eq!(error.kind, LinkErrorKind::Closed(4001));
    });
}

#[test]
fn nobody_listening_and_no_such_host_are_told_apart() {
    let server = QssServer::start(ServerConfig::default()).expect("loopback has free ports");
    let nobody = client(&server);
    drop(server);
    assert_eq!(failure(nobody).kind, LinkErrorKind::Refused);
    let unknown = Qss { url: Some("ws://nowhere.invalid/".into()), ..Config::default().qss };
    assert_eq!(failure(unknown).kind, LinkErrorKind::Dns);
}

#[test]
fn a_message_over_the_limit_drops_the_link() {
    let server = QssServer::start(ServerConfig::default()).expect("loopback has free ports");
    let qss = Qss { max_message: 1024, max_link_message: 4096, ..client(&server) };
    on_runtime(async {
        let mut link = Link::default();
        link.open(&qss, qss.token.clone(), BUILT, 0);
        assert!(matches!(next(&mut link).await, LinkEvent::Opened(_)));
        link.send(r#"{"request":"register","requestID":"r1","payload":{"username":"u","deviceId":"d"}}"#.into())
            .expect("an open link takes a frame");
        assert!(matches!(next(&mut link).await, LinkEvent::Frame(_)));
        server.send_text("u", &"x".repeat(3000));
        let LinkEvent::Frame(long) = next(&mut link).await else { panic!("the session drops it, not the link") };
        assert_eq!(long.len(), 3000);
        server.send_text("u", &"x".repeat(5000));
        let LinkEvent::Closed(error) = next(&mut link).await else { panic!("still open") };
        assert_eq!(error.kind, LinkErrorKind::Protocol);
    });
}

#[test]
fn the_token_goes_into_the_upgrade_only_when_asked() {
    let server = QssServer::start(ServerConfig::default()).expect("loopback has free ports");
    let bad = Qss { bearer: true, token: Secret("two\nlines".into()), ..client(&server) };
    let error = failure(bad);
    assert_eq!(error.kind, LinkErrorKind::Protocol);
    assert!(!error.detail.contains("two"), "the token must not show: {}", error.detail);
}

#[test]
fn token_and_subprotocol_stand_in_the_upgrade_if_they_are_configured() {
    let server = QssServer::start(ServerConfig::default()).expect("loopback has free ports");
    let qss = Qss { token_query: "access_token".into(), subprotocol: "qss.v1".into(), ..client(&server) };
    on_runtime(async {
        let mut link = Link::default();
        link.open(&qss, Secret("a b&c=é".into()), BUILT, 0);
        assert!(matches!(next(&mut link).await, LinkEvent::Opened(_)));
    });
    let opened = |log: lab::qss::Log<'_>| {
        log.entries.iter().find_map(|entry| {
            let lab::qss::What::Opened { path, headers } = &entry.what else { return None };
            Some((path.clone(), headers.clone()))
        })
    };
    let (path, headers) = server.wait_for("an upgrade", Duration::from_secs(5), opened).expect("it was opened");
    assert!(path.ends_with("/qss?access_token=a%20b%26c%3D%C3%A9"), "{path}");
    assert!(headers.contains(&("sec-websocket-protocol".into(), "qss.v1".into())), "{headers:?}");
}

fn refusal(kind: CertificateKind) -> LinkError {
    let (_server, qss, _ca) = secure(kind);
    failure(qss)
}

/// Opens a link that must fail, and returns why.
fn failure(qss: Qss) -> LinkError {
    failure_at(qss, BUILT)
}

fn failure_at(qss: Qss, not_before: WallTime) -> LinkError {
    on_runtime(async {
        let mut link = Link::default();
        link.open(&qss, qss.token.clone(), not_before, 0);
        match next(&mut link).await {
            LinkEvent::Closed(error) => error,
            event @ (LinkEvent::Opened(_) | LinkEvent::Frame(_) | LinkEvent::Pong(_) | LinkEvent::Alive) => {
                panic!("not failed, but {event:?}")
            }
        }
    })
}

async fn next(link: &mut Link) -> LinkEvent {
    tokio::time::timeout(Duration::from_secs(20), link.next()).await.expect("the link says something")
}

fn on_runtime<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// A file that goes with the test.
struct CaFile(PathBuf);

impl CaFile {
    fn new(pem: &str) -> CaFile {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("qss-endpoint-ca-{}-{number}.pem", std::process::id()));
        std::fs::write(&path, pem).expect("the temporary directory is writable");
        CaFile(path)
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
