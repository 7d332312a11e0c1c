//! A certificate authority for one test: good certificates, and the bad ones a client must refuse.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
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
        let stranger = Authority::stranger(kind);
        let (certificate, key) = self.issue(params, stranger.as_ref());
        let config = builder(rustls::DEFAULT_VERSIONS)
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("the key belongs to the certificate");
        Arc::new(config)
    }

    /// A good server that takes only clients with a certificate of this authority, over these versions of TLS.
    pub fn server_for_clients(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<rustls::ServerConfig> {
        let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
        let (certificate, key) = self.issue(CertificateParams::new(names).expect("valid names"), None);
        let mut roots = rustls::RootCertStore::empty();
        let own = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("rcgen writes PEM");
        roots.add(own).expect("our own certificate is one");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let config = builder(versions)
            .with_client_cert_verifier(verifier.build().expect("there is a root"))
            .with_single_cert(vec![certificate], key)
            .expect("the key belongs to the certificate");
        Arc::new(config)
    }

    /// Certificate and key, in PEM, of a client of this authority.
    pub fn client(&self) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).expect("no name to get wrong");
        params.distinguished_name.push(DnType::CommonName, "lab device");
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let certificate = params.signed_by(&key, &self.issuer).expect("the issuer signs");
        (certificate.pem(), key.serialize_pem())
    }

    fn issue(
        &self,
        params: CertificateParams,
        stranger: Option<&Authority>,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let issuer = stranger.map_or(&self.issuer, |other| &other.issuer);
        let certificate = params.signed_by(&key, issuer).expect("the issuer signs").into();
        (certificate, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
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

fn builder(
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<rustls::ServerConfig, rustls::WantsVerifier> {
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("ring supports these versions")
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}
