//! A certificate authority for one test: good certificates, and the bad ones a client must refuse.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;

/// How the server's certificate is to be wrong, if at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateKind {
    /// For `localhost` and 127.0.0.1, valid, signed by this authority.
    Good,
    /// As good, but signed by an authority nobody was told about.
    WrongIssuer,
    /// The same, and that authority bears the known one's name: only the signature tells.
    ForgedIssuer,
    /// Issued to `somewhere-else.example`.
    WrongName,
    /// Ended in 2021.
    Expired,
    /// Begins in 2090.
    NotYetValid,
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Authority {
        Authority::named("lab authority")
    }

    fn named(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no name to get wrong");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let pem = params.self_signed(&key).expect("own key signs").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// The authority's own certificate: the client's `ca_file`.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A TLS server configuration with a fresh certificate of that kind.
    pub fn server(&self, kind: CertificateKind) -> Arc<rustls::ServerConfig> {
        let names = match kind {
            CertificateKind::WrongName => vec!["somewhere-else.example".to_string()],
            CertificateKind::Good
            | CertificateKind::WrongIssuer
            | CertificateKind::ForgedIssuer
            | CertificateKind::Expired
            | CertificateKind::NotYetValid => vec!["localhost".to_string(), "127.0.0.1".to_string()],
        };
        let mut params = CertificateParams::new(names).expect("valid names");
        params.distinguished_name.push(DnType::CommonName, "lab server");
        (params.not_before, params.not_after) = match kind {
            CertificateKind::Expired => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            CertificateKind::NotYetValid => (date_time_ymd(2090, 1, 1), date_time_ymd(2095, 1, 1)),
            CertificateKind::Good
            | CertificateKind::WrongIssuer
            | CertificateKind::ForgedIssuer
            | CertificateKind::WrongName => (date_time_ymd(2020, 1, 1), date_time_ymd(2095, 1, 1)),
        };
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let stranger = Authority::stranger(kind);
        let issuer = stranger.as_ref().map_or(&self.issuer, |other| &other.issuer);
        let certificate: CertificateDer<'static> = params.signed_by(&key, issuer).expect("the issuer signs").into();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)
            .expect("the key belongs to the certificate");
        Arc::new(config)
    }

    fn stranger(kind: CertificateKind) -> Option<Authority> {
        match kind {
            CertificateKind::WrongIssuer => Some(Authority::named("another authority")),
            CertificateKind::ForgedIssuer => Some(Authority::new()),
            CertificateKind::Good
            | CertificateKind::WrongName
            | CertificateKind::Expired
            | CertificateKind::NotYetValid => None,
        }
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}
