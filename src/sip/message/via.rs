//! Via (RFC 3261 20.42, RFC 3581): where a response goes and which transaction it belongs to.

use super::headers::split;
use super::params::Params;
use super::uri::{DEFAULT_PORT, bracketed, parse_host_port};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One Via element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Via {
    /// `UDP`, `TCP`, ... as written.
    pub transport: String,
    /// sent-by; an IPv6 address stands without brackets.
    pub host: String,
    pub port: Option<u16>,
    pub params: Params,
}

/// What a branch made by an RFC 3261 element begins with (8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

impl Via {
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Via, &'static str> {
        let (head, params) = text.split_once(';').unwrap_or((text, ""));
        let mut parts = head.splitn(3, '/');
        let (Some(protocol), Some(version), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("bad Via");
        };
        if !protocol.trim().eq_ignore_ascii_case("SIP") || version.trim() != "2.0" {
            return Err("Via of another protocol");
        }
        let rest = rest.trim();
        let (transport, sent_by) = rest.split_once([' ', '\t']).ok_or("Via without sent-by")?;
        // RFC 4475 3.1.1.1 writes `host : port`.
        let sent_by: String = sent_by.chars().filter(|c| !c.is_whitespace()).collect();
        let (host, port) = parse_host_port(&sent_by)?;
        Ok(Via { transport: transport.into(), host, port, params: Params::parse(params)? })
    }

    /// The first element of a Via header, and the rest of its list as it stands.
    ///
    /// # Errors
    /// As [`Via::parse`].
    pub fn first_of(value: &str) -> Result<(Via, Option<String>), &'static str> {
        let elements = split(value, ',');
        let (first, rest) = elements.split_first().ok_or("empty Via")?;
        Ok((Via::parse(first)?, (!rest.is_empty()).then(|| rest.join(", "))))
    }

    /// The branch, if an RFC 3261 element made it (17.2.3). The cookie alone identifies nothing.
    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch").filter(|branch| branch.starts_with(MAGIC_COOKIE) && *branch != MAGIC_COOKIE)
    }

    /// Notes the source of a request (RFC 3261 18.2.1, RFC 3581 4).
    pub fn note_source(&mut self, from: SocketAddr) {
        let rport = self.params.has("rport");
        if rport || self.host.parse() != Ok(from.ip()) {
            self.params.set("received", from.ip().to_string());
        }
        if rport {
            self.params.set("rport", from.port().to_string());
        }
    }

    /// Where the response to a request from `from` goes (RFC 3261 18.2.2, RFC 3581 4). `maddr` is not followed: it would
    /// let a stranger aim our datagrams.
    pub fn reply_to(&self, from: SocketAddr) -> SocketAddr {
        let ip: IpAddr = from.ip();
        if self.params.has("rport") { from } else { SocketAddr::new(ip, self.port.unwrap_or(DEFAULT_PORT)) }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, bracketed(&self.host))?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}
