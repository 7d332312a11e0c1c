//! SIP over TLS against servers that are right, wrong, and want to know who we are.
#![cfg(feature = "io")]

use lab::qss::{Authority, CertificateKind};
use qss_endpoint::config::{Config, Sip};
use qss_endpoint::io::sip_transport::{SipConnections, SipEvent};
use qss_endpoint::qss::clock::BUILT;
use qss_endpoint::sip::transport::{Flow, Transport};
use qss_endpoint::time::WallTime;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const MESSAGE: &[u8] = b"OPTIONS sip:a SIP/2.0\r\n\r\n";

/// Connects as `host`, sends a message, and returns what came back, or why nothing did.
fn exchange(server: Arc<rustls::ServerConfig>, sip: &Sip, host: &str) -> Result<Vec<u8>, String> {
    exchange_at(BUILT, server, sip, host)
}

/// The same at this time at least.
fn exchange_at(
    not_before: WallTime,
    server: Arc<rustls::ServerConfig>,
    sip: &Sip,
    host: &str,
) -> Result<Vec<u8>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let flow = Flow { transport: Transport::Tls, remote: listener.local_addr().expect("an address") };
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a client");
            let Ok(mut stream) = TlsAcceptor::from(server).accept(tcp).await else { return };
            let mut echo = [0; MESSAGE.len()];
            if stream.read_exact(&mut echo).await.is_ok() {
                let _ = stream.write_all(&echo).await;
                let _ = stream.flush().await;
                let _ = stream.read(&mut echo).await;
            }
        });
        let mut connections = SipConnections::new(sip);
        connections.open(flow, host.into(), not_before);
        loop {
            match tokio::time::timeout(Duration::from_secs(20), connections.next()).await.expect("an event") {
                SipEvent::Connected { .. } => connections.send(flow, MESSAGE.to_vec()).expect("it takes a message"),
                SipEvent::Accepted { .. } => panic!("nobody listens"),
                SipEvent::Received { bytes, .. } => return Ok(bytes),
                SipEvent::Closed { why, .. } => return Err(why),
            }
        }
    })
}

fn trusting(authority: &Authority) -> (Sip, Vec<PemFile>) {
    let ca = PemFile::new("ca", authority.pem());
    (Sip { ca_file: Some(ca.0.clone()), ..Config::default().sip }, vec![ca])
}

#[test]
fn a_certificate_has_to_be_of_the_authority_and_for_the_name_that_was_dialled() {
    let authority = Authority::new();
    let (sip, _files) = trusting(&authority);
    let good = authority.server(CertificateKind::Good);
    for name in ["localhost", "127.0.0.1"] {
        assert_eq!(exchange(good.clone(), &sip, name).as_deref(), Ok(MESSAGE), "{name}");
    }
    assert!(
        exchange(good, &sip, "mixer.example").unwrap_err().contains("mixer.example"),
        "not the name it was reached by"
    );
    for kind in [
        CertificateKind::WrongName,
        CertificateKind::WrongIssuer,
        CertificateKind::ForgedIssuer,
        CertificateKind::Expired,
        CertificateKind::NotYetValid,
    ] {
        exchange(authority.server(kind), &sip, "localhost").expect_err("a wrong certificate");
    }
}

/// A board without a battery wakes up in the past, and the certificate has been renewed since.
#[test]
fn a_certificate_is_judged_at_the_last_time_that_was_proven() {
    let authority = Authority::new();
    let (sip, _files) = trusting(&authority);
    let year_2092 = WallTime(3_866_000_000_000);
    let exchange = |kind| exchange_at(year_2092, authority.server(kind), &sip, "localhost");
    assert_eq!(exchange(CertificateKind::NotYetValid).as_deref(), Ok(MESSAGE));
    exchange(CertificateKind::Expired).expect_err("it is even later");
}

#[test]
fn a_server_that_wants_our_certificate_gets_it_or_says_so_under_each_tls() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let authority = Authority::new();
        let server = authority.server_for_clients(&[version]);
        let (anonymous, _files) = trusting(&authority);
        let why = exchange(server.clone(), &anonymous, "localhost").unwrap_err();
        assert!(why.contains("certificate"), "{version:?}: {why}");
        let known = |authority: &Authority| {
            let (certificate, key) = authority.client();
            let files = (PemFile::new("cert", &certificate), PemFile::new("key", &key));
            let (client_cert_file, client_key_file) = (Some(files.0.0.clone()), Some(files.1.0.clone()));
            (Sip { client_cert_file, client_key_file, ..anonymous.clone() }, files)
        };
        let (ours, _files) = known(&authority);
        assert_eq!(exchange(server.clone(), &ours, "localhost").as_deref(), Ok(MESSAGE), "{version:?}");
        let (strangers, _files) = known(&Authority::new());
        let why = exchange(server, &strangers, "localhost").unwrap_err();
        assert!(why.contains("certificate"), "{version:?}: {why}");
    }
}

/// A file that goes with the test.
struct PemFile(PathBuf);

impl PemFile {
    fn new(kind: &str, pem: &str) -> PemFile {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("qss-endpoint-sip-{kind}-{}-{number}.pem", std::process::id()));
        std::fs::write(&path, pem).expect("the temporary directory is writable");
        PemFile(path)
    }
}

impl Drop for PemFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
