//! `sip:` and `sips:` URIs (RFC 3261 19.1). Only read to find out where to send: what was written stays as text.

use super::params::Params;
use std::fmt;
use std::net::IpAddr;

/// What a SIP URI says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uri {
    pub scheme: Scheme,
    /// User part with its escapes, password included.
    pub user: Option<String>,
    /// Name or address; an IPv6 address stands without its brackets.
    pub host: String,
    pub port: Option<u16>,
    pub params: Params,
    /// What follows `?`.
    pub headers: Option<String>,
}

/// The greater one promises more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scheme {
    Sip,
    /// By TLS at each hop (RFC 3261 26.2.2, RFC 5630).
    Sips,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Sip => "sip",
            Scheme::Sips => "sips",
        }
    }

    fn of(word: &str) -> Option<Scheme> {
        match word {
            word if word.eq_ignore_ascii_case("sip") => Some(Scheme::Sip),
            word if word.eq_ignore_ascii_case("sips") => Some(Scheme::Sips),
            _ => None,
        }
    }
}

/// The port of `sip:` URIs that name none (RFC 3261 19.1.2).
pub const DEFAULT_PORT: u16 = 5060;

impl Uri {
    /// # Errors
    /// Says which part is wrong; another scheme than `sip` or `sips` is an error too.
    pub fn parse(text: &str) -> Result<Uri, &'static str> {
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || "<>\"".contains(c)) {
            return Err("white space or brackets in a URI");
        }
        let (scheme, rest) = text.split_once(':').ok_or("URI without a scheme")?;
        let scheme = Scheme::of(scheme).ok_or("not a sip: URI")?;
        // The user part may hold `;` and `?` (RFC 3261 25.1 `user-unreserved`): look for `@` first.
        let (user, rest) = match rest.split_once('@') {
            Some((user, rest)) => (Some(user.to_string()), rest),
            None => (None, rest),
        };
        if user.as_ref().is_some_and(String::is_empty) {
            return Err("empty user in a URI");
        }
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers.to_string())),
            None => (rest, None),
        };
        let (host_port, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = parse_host_port(host_port)?;
        Ok(Uri { scheme, user, host, port, params: Params::parse(params)?, headers })
    }

    /// Whether `text` claims to be one of ours, well formed or not.
    pub fn is_sip(text: &str) -> bool {
        text.split_once(':').is_some_and(|(scheme, _)| Scheme::of(scheme).is_some())
    }

    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }
}

/// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; the host comes back without brackets.
///
/// # Errors
/// Says which part is wrong.
pub fn parse_host_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("unclosed [ in a host")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "no IPv6 address in []")?;
            (host, after.strip_prefix(':').or_else(|| after.is_empty().then_some("")).ok_or("text after ]")?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let (host, port) = (host.trim(), port.trim());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return Err("bad host");
    }
    if text.ends_with(':') {
        return Err("empty port");
    }
    let port = match port {
        "" => None,
        port => Some(port.parse::<u16>().ok().filter(|port| *port != 0).ok_or("bad port")?),
    };
    Ok((host.into(), port))
}

/// `host` as it stands in a URI or Via: an IPv6 address in brackets.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_string() }
}

/// [`bracketed`] of an address.
pub fn bracketed_ip(ip: IpAddr) -> String {
    bracketed(&ip.to_string())
}

/// `user` with everything escaped that the user part of a URI may not hold (RFC 3261 25.1).
pub fn escape_user(user: &str) -> String {
    use std::fmt::Write;
    user.bytes().fold(String::with_capacity(user.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// `text` with its escapes undone (RFC 3261 25.1). None: one of them is none, or what comes out is no text.
pub fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme.as_str())?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&bracketed(&self.host))?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)?;
        self.headers.as_ref().map_or(Ok(()), |headers| write!(f, "?{headers}"))
    }
}
