//! Digest authentication of our requests (RFC 3261 22, RFC 7616, RFC 8760, RFC 2617).
//!
//! ```text
//!   401/407 --learn--> Protection {challenge, cnonce, nonce count} --authorize--> Authorization of every later request
//! ```
//!
//! A challenge learnt once is answered in advance by all later requests of the call, with a growing nonce count.
//!
//! Of several challenges of one realm the strongest counts, not the topmost: RFC 8760 2.4 leaves that to local policy,
//! and an order that a stranger on the way may change is no reason to use MD5.

use super::message::challenge::Challenge;
use super::message::name_addr::quote;
use super::message::{Headers, Name, Request, Response};
use crate::config;
use crate::random::Rng;
use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

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
    scheme: Scheme,
    /// One for the life of the nonce: the session key of `-sess` is made of the first one (RFC 7616 3.4.2).
    cnonce: String,
    nonce_count: u32,
}

/// Who asks: the far end by 401, a proxy by 407.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asker {
    Server,
    Proxy,
}

/// How a challenge is answered; the better one is the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Scheme {
    hash: Hash,
    key: Key,
    protects: Protects,
}

/// Hash functions (RFC 8760 2.1), weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Hash {
    Md5,
    Sha256,
    Sha512Of256,
}

/// What A1 is (RFC 7616 3.4.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Password,
    /// `-sess`: bound to nonce and cnonce.
    Session,
}

/// `qop`. Where a server leaves the choice it is `auth`: elements on the way do change bodies (RFC 3261 22.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Protects {
    /// No `qop` at all: the form of RFC 2069.
    Nothing,
    /// `auth-int`: the body too.
    Body,
    /// `auth`: method and URI.
    Request,
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
    pub(super) fn learn(&mut self, response: &Response, attempt: u8, rng: &mut Rng) -> Result<(), Unanswerable> {
        if self.password.0.is_empty() || attempt + 1 >= MAX_ATTEMPTS {
            return Err(Unanswerable);
        }
        // A forking proxy gathers the challenges of all branches in one response, of both kinds (RFC 3261 22.3).
        let mut learnt = false;
        for (asker, name) in [(Asker::Server, Name::WwwAuthenticate), (Asker::Proxy, Name::ProxyAuthenticate)] {
            for (scheme, challenge) in strongest(&response.headers, &name) {
                let protection = Protection { asker, challenge, scheme, cnonce: rng.hex(8), nonce_count: 0 };
                learnt |= self.adopt(protection, attempt)?;
            }
        }
        if learnt { Ok(()) } else { Err(Unanswerable) }
    }

    /// Takes or renews one protection; `false`: there are too many.
    fn adopt(&mut self, new: Protection, attempt: u8) -> Result<bool, Unanswerable> {
        let same = |old: &Protection| old.asker == new.asker && old.challenge.realm == new.challenge.realm;
        match self.protections.iter().position(same) {
            Some(_) if attempt > 0 && !new.challenge.stale => return Err(Unanswerable),
            Some(at) => self.protections[at] = new,
            None if self.protections.len() < MAX_REALMS => self.protections.push(new),
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Adds an answer to each known challenge.
    pub(super) fn authorize(&mut self, request: &mut Request) {
        for protection in &mut self.protections {
            protection.nonce_count += 1;
            let name = match protection.asker {
                Asker::Server => Name::Authorization,
                Asker::Proxy => Name::ProxyAuthorization,
            };
            let value = protection.answer(&self.user, &self.password.0, request);
            request.headers.push(name, value);
        }
    }
}

/// The best challenge of each realm that we can meet, in the order of the wire; of equals the topmost (RFC 8760 2.4).
fn strongest(headers: &Headers, name: &Name) -> Vec<(Scheme, Challenge)> {
    let mut best: Vec<(Scheme, Challenge)> = Vec::new();
    for challenge in headers.all(name).filter_map(|value| Challenge::parse(value).ok()) {
        let Some(scheme) = Scheme::of(&challenge) else { continue };
        match best.iter_mut().find(|(_, other)| other.realm == challenge.realm) {
            Some(known) if known.0 < scheme => *known = (scheme, challenge),
            Some(_) => {}
            None => best.push((scheme, challenge)),
        }
    }
    best
}

impl Scheme {
    /// How to answer a challenge; `None` when we cannot.
    fn of(challenge: &Challenge) -> Option<Scheme> {
        let name = challenge.algorithm.as_deref().unwrap_or("MD5").to_ascii_uppercase();
        let (name, key) = match name.strip_suffix("-SESS") {
            Some(name) => (name, Key::Session),
            None => (name.as_str(), Key::Password),
        };
        let hash = match name {
            "MD5" => Hash::Md5,
            "SHA-256" => Hash::Sha256,
            "SHA-512-256" => Hash::Sha512Of256,
            _ => return None,
        };
        let offers = |wanted: &str| challenge.qop.iter().any(|qop| qop.eq_ignore_ascii_case(wanted));
        let protects = match key {
            _ if offers("auth") => Protects::Request,
            _ if offers("auth-int") => Protects::Body,
            Key::Password if challenge.qop.is_empty() => Protects::Nothing,
            // A session key needs the cnonce, and without qop nobody would tell the server.
            Key::Password | Key::Session => return None,
        };
        Some(Scheme { hash, key, protects })
    }
}

impl Hash {
    fn hex(self, bytes: &[u8]) -> String {
        match self {
            Hash::Md5 => hex(&Md5::digest(bytes)),
            Hash::Sha256 => hex(&Sha256::digest(bytes)),
            Hash::Sha512Of256 => hex(&Sha512_256::digest(bytes)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl Protection {
    /// The value of (Proxy-)Authorization for `request`, whose body is complete (RFC 7616 3.4).
    fn answer(&self, user: &str, password: &str, request: &Request) -> String {
        let Challenge { realm, nonce, opaque, algorithm, .. } = &self.challenge;
        let Scheme { hash, key, protects } = self.scheme;
        let (Request { method, uri, .. }, cnonce) = (request, &self.cnonce);
        let hashed = |text: String| hash.hex(text.as_bytes());
        let secret = hashed(format!("{user}:{realm}:{password}"));
        let secret = match key {
            Key::Password => secret,
            Key::Session => hashed(format!("{secret}:{nonce}:{cnonce}")),
        };
        let (qop, subject) = match protects {
            Protects::Nothing => (None, hashed(format!("{method}:{uri}"))),
            Protects::Request => (Some("auth"), hashed(format!("{method}:{uri}"))),
            Protects::Body => (Some("auth-int"), hashed(format!("{method}:{uri}:{}", hash.hex(&request.body)))),
        };
        let mut value = format!("Digest username={}, realm={}, nonce={}", quote(user), quote(realm), quote(nonce));
        value += &format!(", uri={}", quote(uri));
        let response = match qop {
            None => hashed(format!("{secret}:{nonce}:{subject}")),
            Some(qop) => {
                let count = format!("{:08x}", self.nonce_count);
                value += &format!(", qop={qop}, nc={count}, cnonce={}", quote(cnonce));
                hashed(format!("{secret}:{nonce}:{count}:{cnonce}:{qop}:{subject}"))
            }
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
    use super::super::message::Method;
    use super::*;

    fn protection(challenge: &str, cnonce: &str) -> Protection {
        let challenge = Challenge::parse(challenge).unwrap();
        let scheme = Scheme::of(&challenge).unwrap();
        Protection { asker: Asker::Server, challenge, scheme, cnonce: cnonce.into(), nonce_count: 1 }
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

    fn learn(credentials: &mut Credentials, response: &Response, attempt: u8) -> Result<(), Unanswerable> {
        credentials.learn(response, attempt, &mut Rng::from_u64(9))
    }

    /// The header of the next request.
    fn authorization(credentials: &mut Credentials, name: &Name) -> String {
        let mut request = Request::new(Method::Bye, "sip:a@b");
        credentials.authorize(&mut request);
        request.headers.first(name).unwrap().into()
    }

    fn get(uri: &str) -> Request {
        Request::new(Method::Other("GET".into()), uri)
    }

    /// The text after `response=` of an answer.
    fn response_of(value: &str) -> &str {
        let (_, after) = value.split_once("response=\"").unwrap();
        after.split_once('"').unwrap().0
    }

    #[test]
    fn the_example_of_rfc_2617_3_5() {
        let protection = protection(
            "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
            "0a4f113b",
        );
        let value = protection.answer("Mufasa", "Circle Of Life", &get("/dir/index.html"));
        assert_eq!(response_of(&value), "6629fae49393a05397450978507c4ef1");
        assert!(value.contains("nc=00000001") && value.contains("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""));
    }

    const RFC_7616: &str = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=MD5, \
        nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    #[test]
    fn the_examples_of_rfc_7616_3_9_1_and_their_relatives() {
        // MD5 and SHA-256 are the RFC's; the others were computed with Python's hashlib from the same values.
        for (algorithm, qop, response) in [
            ("MD5", "auth", "8ca523f5e9506fed4657c9700eebdbec"),
            ("MD5", "auth-int", "8804a53d3640a40a4f73cea12c5ba451"),
            ("SHA-256", "auth", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
            ("SHA-256", "auth-int", "8bdf6f15638e260831e905028de5450562816d093c9bfc5c13d3a46adcdde940"),
            ("SHA-512-256", "auth", "430d05014cecc49cab6fbe03176d41a1da86cbfe24a16580e22aaad928d960d0"),
            ("SHA-512-256", "auth-int", "38244c4d345d09bb0000b355be27d2a55003ee188df9821c54df70a63aa0c1ca"),
            ("MD5-sess", "auth", "e783283f46242139c486a698fec7211d"),
            ("MD5-sess", "auth-int", "200cda1c37eb927016d1f97f2c0f04f6"),
            ("SHA-256-sess", "auth", "2fd51b3a77ad75bad6afad6003e818d767133c46d9e2749e7f5232ae1ea3efd7"),
            ("SHA-256-sess", "auth-int", "3c19fbb1d58d0c5baff1a2ef49d847b5d0dfd7e3252b355d978d3af7d895912b"),
            ("SHA-512-256-sess", "auth", "3f2a34f923c38b0fb26dce2fdfc2ce326c23cecf86fbb1444f3e51fbbc2cb92e"),
            ("SHA-512-256-sess", "auth-int", "1e68177aa6f998392db08ac130e9e08b7cf8c081a506e608d436be3e224f57ab"),
        ] {
            let challenge = RFC_7616.replace("=MD5", &format!("={algorithm}")).replace("auth, auth-int", qop);
            let value = protection(&challenge, CNONCE).answer("Mufasa", "Circle of Life", &get("/dir/index.html"));
            assert_eq!(response_of(&value), response, "{algorithm} {qop}");
            assert!(
                value.contains(&format!("algorithm={algorithm}")) && value.contains(&format!("qop={qop}")),
                "{value}"
            );
        }
    }

    #[test]
    fn the_example_of_rfc_7616_3_9_2_with_its_erratum_4897() {
        let protection = protection(
            "Digest realm=\"api@example.org\", qop=\"auth\", algorithm=SHA-512-256, \
             nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\", \
             charset=UTF-8, userhash=true",
            "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
        );
        let value = protection.answer("J\u{e4}s\u{f8}n Doe", "Secret, or not?", &get("/doe.json"));
        assert_eq!(response_of(&value), "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5");
    }

    #[test]
    fn auth_int_covers_the_body() {
        let integrity = protection(&RFC_7616.replace("auth, auth-int", "auth-int"), CNONCE);
        let mut request = get("/dir/index.html");
        let empty = integrity.answer("Mufasa", "Circle of Life", &request);
        request.body = b"v=0\r\n".to_vec();
        let full = integrity.answer("Mufasa", "Circle of Life", &request);
        assert_eq!(response_of(&full), "d1b8e2ac3f6782372de4bf3d8735b406");
        assert_ne!(response_of(&empty), response_of(&full));
    }

    #[test]
    fn the_strongest_challenge_of_a_realm_is_met_whatever_the_order() {
        let of =
            |algorithm: &str| format!("Digest realm=\"r\", nonce=\"{algorithm}\", algorithm={algorithm}, qop=\"auth\"");
        let lists: [(&[&str], &str); 5] = [
            (&["MD5", "SHA-256"], "SHA-256"),
            (&["SHA-256", "MD5", "SHA-512-256"], "SHA-512-256"),
            (&["SHA-256", "md5-sess"], "SHA-256"),
            (&["SHA3-512", "MD5"], "MD5"),
            (&["MD5", "MD5-sess"], "MD5-sess"),
        ];
        for (offered, chosen) in lists {
            let challenges: Vec<String> = offered.iter().map(|algorithm| of(algorithm)).collect();
            let mut credentials = credentials();
            let challenges: Vec<&str> = challenges.iter().map(String::as_str).collect();
            learn(&mut credentials, &refusal(401, &challenges), 0).unwrap();
            let value = authorization(&mut credentials, &Name::Authorization);
            assert!(value.contains(&format!("nonce=\"{chosen}\"")), "{offered:?}: {value}");
        }
    }

    #[test]
    fn the_nonce_count_is_hexadecimal_and_grows_with_each_request_of_one_cnonce() {
        let mut credentials = credentials();
        learn(&mut credentials, &refusal(401, &["Digest realm=\"r\", nonce=\"n\", qop=\"auth\""]), 0).unwrap();
        let cnonce = |value: &str| value.split_once("cnonce=").unwrap().1[..18].to_string();
        let first = authorization(&mut credentials, &Name::Authorization);
        (0..15).for_each(|_| drop(authorization(&mut credentials, &Name::Authorization)));
        let last = authorization(&mut credentials, &Name::Authorization);
        assert!(last.contains("nc=00000011"));
        assert_eq!(cnonce(&first), cnonce(&last), "RFC 7616 3.4.2: -sess needs the first one");
    }

    #[test]
    fn a_second_refusal_is_final_unless_the_nonce_was_stale() {
        let fresh = refusal(401, &["Digest realm=\"r\", nonce=\"n2\", qop=\"auth\""]);
        let stale = refusal(401, &["Digest realm=\"r\", nonce=\"n2\", stale=TRUE, qop=\"auth\""]);
        let mut credentials = credentials();
        assert_eq!(learn(&mut credentials, &fresh, 0), Ok(()));
        assert_eq!(learn(&mut credentials, &stale, 1), Ok(()));
        assert_eq!(learn(&mut credentials, &fresh, 1), Err(Unanswerable));
        assert_eq!(learn(&mut credentials, &stale, 3), Err(Unanswerable), "a server that only ever says stale");
    }

    #[test]
    fn a_proxy_and_a_server_may_both_ask_in_turn_or_at_once() {
        let mut in_turn = credentials();
        learn(&mut in_turn, &refusal(407, &["Digest realm=\"proxy\", nonce=\"n\""]), 0).unwrap();
        learn(&mut in_turn, &refusal(401, &["Digest realm=\"server\", nonce=\"n\""]), 1).unwrap();
        let mut at_once = credentials();
        let mut both = refusal(401, &["Digest realm=\"server\", nonce=\"n\""]);
        both.headers.push(Name::ProxyAuthenticate, "Digest realm=\"proxy\", nonce=\"n\"");
        learn(&mut at_once, &both, 0).unwrap();
        for mut credentials in [in_turn, at_once] {
            let mut request = Request::new(Method::Invite, "sip:a@b");
            credentials.authorize(&mut request);
            assert!(request.headers.first(&Name::ProxyAuthorization).unwrap().contains("realm=\"proxy\""));
            assert!(request.headers.first(&Name::Authorization).unwrap().contains("realm=\"server\""));
        }
    }

    #[test]
    fn what_cannot_be_computed_is_skipped_and_alone_it_fails() {
        let unknown = "Digest realm=\"r\", nonce=\"n\", algorithm=SHA3-256, qop=\"auth\"";
        let privacy = "Digest realm=\"r\", nonce=\"n\", qop=\"auth-conf\"";
        let session = "Digest realm=\"r\", nonce=\"n\", algorithm=MD5-sess";
        let md5 = "Digest realm=\"r\", nonce=\"n\", algorithm=MD5, qop=\"auth\"";
        let refused = refusal(401, &[unknown, privacy, session]);
        assert_eq!(learn(&mut credentials(), &refused, 0), Err(Unanswerable));
        assert_eq!(learn(&mut credentials(), &refusal(401, &[unknown, md5]), 0), Ok(()));
        assert_eq!(learn(&mut credentials(), &refusal(401, &["Basic realm=\"r\""]), 0), Err(Unanswerable));
        let mut nobody = credentials();
        nobody.password = config::Secret::default();
        assert_eq!(learn(&mut nobody, &refusal(401, &[md5]), 0), Err(Unanswerable));
    }
}
