//! Digest challenges: WWW-Authenticate and Proxy-Authenticate (RFC 3261 20.44, RFC 7616 3.3, RFC 8760).

use super::headers::split;
use super::name_addr::unquote;

/// One challenge as the server wrote it; what of it can be met is decided in `sip::auth`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    /// As written; absent means MD5 (RFC 7616 3.3).
    pub algorithm: Option<String>,
    /// The elements of `qop`; empty when there is none (RFC 2069 style).
    pub qop: Vec<String>,
    /// The nonce was too old, the password right.
    pub stale: bool,
}

impl Challenge {
    /// # Errors
    /// Another scheme than Digest, or realm or nonce missing.
    pub fn parse(text: &str) -> Result<Challenge, &'static str> {
        let (scheme, rest) = text.trim().split_once([' ', '\t']).ok_or("challenge without parameters")?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err("challenge of another scheme");
        }
        let value = |wanted: &str| {
            split(rest, ',').into_iter().find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| unquote(value.trim()))
            })
        };
        let qop = value("qop").unwrap_or_default();
        Ok(Challenge {
            realm: value("realm").ok_or("challenge without realm")?,
            nonce: value("nonce").ok_or("challenge without nonce")?,
            opaque: value("opaque"),
            algorithm: value("algorithm"),
            qop: qop.split(',').map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect(),
            stale: value("stale").is_some_and(|value| value.eq_ignore_ascii_case("true")),
        })
    }
}
