//! TLS for the QSS link: rustls with ring, roots from the system or from one CA file, verification never off.
//!
//! The roots are read anew for each connection: an image update or a replaced CA file needs no restart, and a device
//! that only speaks `ws://` never holds them in memory.

use crate::agent::{LinkError, LinkErrorKind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Handshakes on an open TCP connection. `host` is the name (or address) the certificate must be for.
///
/// # Errors
/// The certificate's fault by kind (unknown CA, wrong name, wrong date), or what else broke the handshake.
pub async fn connect(host: &str, tcp: TcpStream, ca_file: Option<&Path>) -> Result<TlsStream<TcpStream>, LinkError> {
    let roots = match ca_file {
        Some(path) => roots_from_file(path)?,
        None => roots_from_system()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| LinkError::new(LinkErrorKind::TlsWrongName, format!("{host:?} is no name for a certificate")))?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|e| classify(&e))
}

/// The kind of link error behind an I/O error of a TLS stream, at the handshake or later: under TLS 1.3 a refused
/// client certificate shows itself only at the first read.
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
        _ => LinkErrorKind::TlsOther,
    };
    LinkError::new(kind, tls.to_string())
}

fn roots_from_file(path: &Path) -> Result<RootCertStore, LinkError> {
    let unusable =
        |what: String| LinkError::new(LinkErrorKind::TlsOther, format!("ca_file {}: {what}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unusable(e.to_string()))? {
        let certificate = certificate.map_err(|e| unusable(e.to_string()))?;
        roots.add(certificate).map_err(|e| unusable(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("holds no certificate".into()));
    }
    Ok(roots)
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
