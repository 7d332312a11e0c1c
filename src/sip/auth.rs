//! Digest authentication of our requests (RFC 3261 22, RFC 7616, RFC 2617).
//!
//! ```text
//!   401/407 --learn--> Protection {challenge, nonce count} --authorize--> Authorization of every later request
//! ```
//!
//! A challenge learnt once is answered in advance by all later requests of the call, with a growing nonce count.

use super::message::challenge::Challenge;
use super::message::name_addr::quote;
use super::message::{Name, Request, Response};
use crate::config;
use crate::random::Rng;
use md5::{Digest, Md5};

/// Name, password, and the challenges they have to meet.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    user: String,
    password: config::Secret,
    protections: Vec<Protection>,
}

#[derive(Clone, Debug)]
struct Protection {
    asker: Asker,
    challenge: Challenge,
    algorithm: Algorithm,
    nonce_count: u32,
}

/// Who asks: the far end by 401, a proxy by 407.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asker {
    Server,
    Proxy,
}

/// Hash functions we can answer with, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Algorithm {
    Md5,
}

/// The challenge cannot be met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unanswerable;

/// How often one request is sent: the first refusal, one of another realm, stale nonces.
const MAX_ATTEMPTS: u8 = 4;
/// Realms remembered per call.
const MAX_REALMS: usize = 4;

impl Credentials {
    pub(super) fn new(config: &config::Sip) -> Credentials {
        let user = if config.auth_user.is_empty() { &config.user } else { &config.auth_user };
        Credentials { user: user.clone(), password: config.password.clone(), protections: Vec::new() }
    }

    /// Takes the challenge of `response` to a request that was refused `attempt` times before.
    ///
    /// # Errors
    /// No password, no challenge we can compute, or the same realm refused this very request before although the nonce
    /// was fresh: the password is wrong (RFC 3261 22.2).
    pub(super) fn learn(&mut self, response: &Response, attempt: u8) -> Result<(), Unanswerable> {
        let (asker, header) = match response.status {
            401 => (Asker::Server, Name::WwwAuthenticate),
            _ => (Asker::Proxy, Name::ProxyAuthenticate),
        };
        if self.password.0.is_empty() || attempt + 1 >= MAX_ATTEMPTS {
            return Err(Unanswerable);
        }
        let offered = response.headers.all(&header).filter_map(|value| Challenge::parse(value).ok());
        let mut learnt = false;
        for challenge in offered {
            let Some(algorithm) = Algorithm::of(&challenge) else { continue };
            let known = self.protections.iter().position(|p| p.asker == asker && p.challenge.realm == challenge.realm);
            match known {
                Some(_) if attempt > 0 && !challenge.stale => return Err(Unanswerable),
                Some(at) => self.protections[at] = Protection { asker, challenge, algorithm, nonce_count: 0 },
                None if self.protections.len() < MAX_REALMS => {
                    self.protections.push(Protection { asker, challenge, algorithm, nonce_count: 0 });
                }
                None => continue,
            }
            learnt = true;
        }
        if learnt { Ok(()) } else { Err(Unanswerable) }
    }

    /// Adds an answer to each known challenge.
    pub(super) fn authorize(&mut self, request: &mut Request, rng: &mut Rng) {
        for protection in &mut self.protections {
            protection.nonce_count += 1;
            let name = match protection.asker {
                Asker::Server => Name::Authorization,
                Asker::Proxy => Name::ProxyAuthorization,
            };
            let cnonce = rng.hex(8);
            let value = protection.answer(&self.user, &self.password.0, request.method.as_str(), &request.uri, &cnonce);
            request.headers.push(name, value);
        }
    }
}

impl Algorithm {
    /// The algorithm of a challenge we can answer: MD5, with qop `auth` or none.
    fn of(challenge: &Challenge) -> Option<Algorithm> {
        let qop = challenge.qop.is_empty() || challenge.qop.iter().any(|qop| qop.eq_ignore_ascii_case("auth"));
        match challenge.algorithm.as_deref() {
            _ if !qop => None,
            None => Some(Algorithm::Md5),
            Some(name) if name.eq_ignore_ascii_case("MD5") => Some(Algorithm::Md5),
            Some(_) => None,
        }
    }

    fn hash(self, text: &str) -> String {
        use std::fmt::Write;
        match self {
            Algorithm::Md5 => Md5::digest(text.as_bytes()).iter().fold(String::with_capacity(32), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            }),
        }
    }
}

impl Protection {
    /// RFC 7616 3.4: without qop the form of RFC 2069, which servers without `qop` expect.
    fn answer(&self, user: &str, password: &str, method: &str, uri: &str, cnonce: &str) -> String {
        let Challenge { realm, nonce, opaque, algorithm, qop, .. } = &self.challenge;
        let secret = self.algorithm.hash(&format!("{user}:{realm}:{password}"));
        let subject = self.algorithm.hash(&format!("{method}:{uri}"));
        let mut value = format!("Digest username={}, realm={}, nonce={}", quote(user), quote(realm), quote(nonce));
        value += &format!(", uri={}", quote(uri));
        let response = if qop.is_empty() {
            self.algorithm.hash(&format!("{secret}:{nonce}:{subject}"))
        } else {
            let count = format!("{:08x}", self.nonce_count);
            value += &format!(", qop=auth, nc={count}, cnonce={}", quote(cnonce));
            self.algorithm.hash(&format!("{secret}:{nonce}:{count}:{cnonce}:auth:{subject}"))
        };
        value += &format!(", response={}", quote(&response));
        if let Some(algorithm) = algorithm {
            value += &format!(", algorithm={algorithm}");
        }
        if let Some(opaque) = opaque {
            value += &format!(", opaque={}", quote(opaque));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protection(challenge: &str) -> Protection {
        let challenge = Challenge::parse(challenge).unwrap();
        let algorithm = Algorithm::of(&challenge).unwrap();
        Protection { asker: Asker::Server, challenge, algorithm, nonce_count: 1 }
    }

    fn refusal(status: u16, challenges: &[&str]) -> Response {
        let name = if status == 401 { Name::WwwAuthenticate } else { Name::ProxyAuthenticate };
        let mut response = Response::new(status);
        challenges.iter().for_each(|challenge| response.headers.push(name.clone(), *challenge));
        response
    }

    fn credentials() -> Credentials {
        Credentials { user: "Mufasa".into(), password: config::Secret("Circle Of Life".into()), protections: vec![] }
    }

    #[test]
    fn the_example_of_rfc_2617_3_5() {
        let protection = protection(
            "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        );
        let value = protection.answer("Mufasa", "Circle Of Life", "GET", "/dir/index.html", "0a4f113b");
        assert!(value.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{value}");
        assert!(value.contains("nc=00000001") && value.contains("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""));
    }

    #[test]
    fn the_example_of_rfc_7616_3_9_1_with_md5() {
        let protection = protection(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=MD5, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
        );
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let value = protection.answer("Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce);
        assert!(value.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""), "{value}");
    }

    #[test]
    fn the_nonce_count_is_hexadecimal_and_grows_with_each_request() {
        let mut credentials = credentials();
        credentials.learn(&refusal(401, &["Digest realm=\"r\", nonce=\"n\", qop=\"auth\""]), 0).unwrap();
        let mut rng = Rng::from_u64(1);
        for _ in 0..16 {
            credentials.authorize(&mut Request::new(super::super::message::Method::Bye, "sip:a@b"), &mut rng);
        }
        let mut request = Request::new(super::super::message::Method::Bye, "sip:a@b");
        credentials.authorize(&mut request, &mut rng);
        assert!(request.headers.first(&Name::Authorization).unwrap().contains("nc=00000011"));
    }

    #[test]
    fn a_second_refusal_is_final_unless_the_nonce_was_stale() {
        let fresh = refusal(401, &["Digest realm=\"r\", nonce=\"n2\", qop=\"auth\""]);
        let stale = refusal(401, &["Digest realm=\"r\", nonce=\"n2\", stale=TRUE, qop=\"auth\""]);
        let mut credentials = credentials();
        assert_eq!(credentials.learn(&fresh, 0), Ok(()));
        assert_eq!(credentials.learn(&stale, 1), Ok(()));
        assert_eq!(credentials.learn(&fresh, 1), Err(Unanswerable));
        assert_eq!(credentials.learn(&stale, 3), Err(Unanswerable), "a server that only ever says stale");
    }

    #[test]
    fn a_proxy_and_a_server_may_both_ask() {
        let mut credentials = credentials();
        credentials.learn(&refusal(407, &["Digest realm=\"proxy\", nonce=\"n\""]), 0).unwrap();
        credentials.learn(&refusal(401, &["Digest realm=\"server\", nonce=\"n\""]), 1).unwrap();
        let mut request = Request::new(super::super::message::Method::Invite, "sip:a@b");
        credentials.authorize(&mut request, &mut Rng::from_u64(1));
        assert!(request.headers.first(&Name::ProxyAuthorization).unwrap().contains("realm=\"proxy\""));
        assert!(request.headers.first(&Name::Authorization).unwrap().contains("realm=\"server\""));
    }

    #[test]
    fn what_cannot_be_computed_is_skipped_and_alone_it_fails() {
        let sha = "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"";
        let integrity = "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"";
        let md5 = "Digest realm=\"r\", nonce=\"n\", algorithm=MD5, qop=\"auth\"";
        assert_eq!(credentials().learn(&refusal(401, &[sha, integrity]), 0), Err(Unanswerable));
        assert_eq!(credentials().learn(&refusal(401, &[sha, md5]), 0), Ok(()));
        assert_eq!(credentials().learn(&refusal(401, &["Basic realm=\"r\""]), 0), Err(Unanswerable));
        let mut nobody = credentials();
        nobody.password = config::Secret::default();
        assert_eq!(nobody.learn(&refusal(401, &[md5]), 0), Err(Unanswerable));
    }
}
