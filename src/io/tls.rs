//! TLS for the QSS link and the token server: rustls with ring, roots from the system or from one CA file, our own
//! certificate if the peer asks for one, verification never off.
//!
//! Roots and our certificate are read anew for each connection: an image update or a replaced file needs no restart, and
//! a device that only speaks `ws://` never holds them in memory.

use crate::agent::{LinkError, LinkErrorKind};
use crate::io::clock;
use crate::time::WallTime;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, CertificateError, ClientConfig, ConfigBuilder, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom to believe, and who we are.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// The CA to trust instead of the system's roots.
    pub ca_file: Option<&'a Path>,
    /// Our certificate with its chain, and its key.
    pub identity: Option<(&'a Path, &'a Path)>,
    /// Certificates are judged at this time if the clock shows an earlier one.
    pub not_before: WallTime,
}

/// Handshakes on an open TCP connection. `host` is the name (or address) the certificate must be for.
///
/// # Errors
/// The certificate's fault by kind (unknown CA, wrong name, wrong date), or what else broke the handshake.
pub async fn connect(host: &str, tcp: TcpStream, trust: Trust<'_>) -> Result<TlsStream<TcpStream>, LinkError> {
    let roots = match trust.ca_file {
        Some(path) => roots_from_file(path)?,
        None => roots_from_system()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Floored(trust.not_before)))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
        .with_root_certificates(roots);
    let config = match trust.identity {
        Some((certificate, key)) => identify(builder, certificate, key)?,
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| LinkError::new(LinkErrorKind::TlsWrongName, format!("{host:?} is no name for a certificate")))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    connected.map_err(|e| {
        let error = classify(&e);
        match error.kind {
            LinkErrorKind::TlsWrongDate => dated(error, trust.not_before),
            _ => error,
        }
    })
}

/// The kind of link error behind an I/O error of a TLS stream, at the handshake or later: under TLS 1.3 a refused
/// client certificate shows itself only at the first read (RFC 8446 4.4.2, 6.2).
pub fn classify(error: &std::io::Error) -> LinkError {
    let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) else {
        return LinkError::from_io(error);
    };
    let kind = match tls {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => LinkErrorKind::TlsUnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                LinkErrorKind::TlsWrongName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => LinkErrorKind::TlsWrongDate,
            _ => LinkErrorKind::TlsOther,
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // What the peer could not verify of ours is the signature that goes with the certificate (RFC 8446 6.2).
            | AlertDescription::DecryptError,
        ) => LinkErrorKind::TlsClientCertificate,
        _ => LinkErrorKind::TlsOther,
    };
    let detail = match kind {
        LinkErrorKind::TlsClientCertificate => {
            format!("the peer refuses the device's own certificate, or its lack: {tls}")
        }
        _ => tls.to_string(),
    };
    LinkError::new(kind, detail)
}

/// The clock, but never earlier than the floor.
#[derive(Debug)]
struct Floored(WallTime);

impl TimeProvider for Floored {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(clock::wall().at.max(self.0).0)))
    }
}

/// Says which time the certificate was judged at.
fn dated(error: LinkError, not_before: WallTime) -> LinkError {
    let shown = clock::wall().at;
    let judged = if shown < not_before {
        format!("the clock shows {}, which cannot be: judged at {}", seconds(shown), seconds(not_before))
    } else {
        format!("the clock shows {}", seconds(shown))
    };
    LinkError { detail: format!("{} ({judged})", error.detail), ..error }
}

/// Without a calendar: `date -d @<n>` shows it.
fn seconds(time: WallTime) -> String {
    format!("@{}", time.0 / 1_000)
}

type Builder = ConfigBuilder<ClientConfig, WantsClientCert>;

fn identify(builder: Builder, certificate: &Path, key: &Path) -> Result<ClientConfig, LinkError> {
    let chain = certificates("client_cert_file", certificate)?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable("client_key_file", key, &e.to_string()))?;
    builder
        .with_client_auth_cert(chain, key_der)
        .map_err(|e| unusable("client_cert_file", certificate, &format!("{e} (with {})", key.display())))
}

fn roots_from_file(path: &Path) -> Result<RootCertStore, LinkError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", path)? {
        roots.add(certificate).map_err(|e| unusable("ca_file", path, &e.to_string()))?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let wrong = |e: rustls::pki_types::pem::Error| unusable(key, path, &e.to_string());
    let list: Vec<_> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)?;
    if list.is_empty() { Err(unusable(key, path, "holds no certificate")) } else { Ok(list) }
}

fn unusable(key: &str, path: &Path, what: &str) -> LinkError {
    LinkError::new(LinkErrorKind::TlsOther, format!("{key} {}: {what}", path.display()))
}

fn roots_from_system() -> Result<RootCertStore, LinkError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |e| format!(" ({e})"));
        let what = format!("the system has no root certificates{why}: install ca-certificates or set [qss] ca_file");
        return Err(LinkError::new(LinkErrorKind::TlsOther, what));
    }
    Ok(roots)
}
