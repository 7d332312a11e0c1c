//! The shapes texts must have: each check answers what is wrong, in words that complete "... is not allowed: ...".

use super::card_name::PcmName;
use super::control_value::ControlValue;
use crate::sip::message::Name;
use crate::srtp::Suite;

/// `ws://host[:port][/path]` or the same with `wss` (RFC 6455 section 3).
pub(super) fn qss_url(text: &str) -> Result<(), &'static str> {
    let Some(rest) = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://")) else {
        return Err("must begin with ws:// or wss://");
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a user or password in the URL would end up in logs: use qss.username and qss.token");
    }
    if text.contains('#') {
        return Err("a WebSocket URL has no fragment (#)");
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err("only visible ASCII characters may stand in a URL: write others as %XX, hosts in punycode");
    }
    host_port(authority)
}

/// `http://host[:port][/path]` or the same with `https` (RFC 9110 4.2).
pub(super) fn token_url(text: &str) -> Result<(), &'static str> {
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return Err("must begin with http:// or https://");
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a user or password in the URL would end up in logs: use username and password");
    }
    if text.contains('#') || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err("only visible ASCII characters and no fragment (#) may stand in it");
    }
    host_port(authority)
}

/// `sip:[user@]host[:port][;parameters]`, or the same with `sips` (RFC 3261 19.1.1).
pub(super) fn sip_uri(text: &str) -> Result<(), &'static str> {
    let Some(rest) = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:")) else {
        return Err("must begin with sip: or sips:");
    };
    let rest = rest.split([';', '?']).next().unwrap_or_default();
    if !text.chars().all(|c| c.is_ascii_graphic() && !"<>\"".contains(c)) {
        return Err("must be the bare URI: no spaces, quotes, <> or non-ASCII characters");
    }
    match rest.rsplit_once('@') {
        Some(("", _)) => Err("nothing stands before the @"),
        Some((_, host)) => host_port(host),
        None => host_port(rest),
    }
}

/// [`sip_uri`] of somebody: with a user, and no parameters.
pub(super) fn sip_address(text: &str) -> Result<(), &'static str> {
    if !text.contains('@') || text.contains([';', '?']) {
        return Err("must be of the form sip:user@host");
    }
    sip_uri(text)
}

/// The name of a header that may be added to an INVITE (RFC 3261 7.3.1): none that the device reads or writes itself.
pub(super) fn sip_header_name(text: &str) -> Result<(), &'static str> {
    let token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    if text.is_empty() || !text.chars().all(token) {
        return Err("a header name is letters, digits and - . ! % * _ + ` ' ~");
    }
    let own = !matches!(Name::of(text), Name::Other(_));
    if own || text.len() == 1 || text.to_ascii_lowercase().starts_with("content-") {
        return Err("the device writes this header itself, or it would change what the INVITE means");
    }
    Ok(())
}

/// Its value: one line, in which `{room}`, `{user}`, `{device}` and `{token}` stand for what they say.
pub(super) fn sip_header_value(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
        return Err("must be one line of at most 256 bytes");
    }
    let plain = HEADER_FIELDS.iter().fold(text.to_owned(), |text, field| text.replace(field, ""));
    if plain.contains(['{', '}']) { Err("the only {fields} are {room}, {user}, {device} and {token}") } else { Ok(()) }
}

/// What may stand in a header value: the QSS' id of the room, `qss.username`, `device.id`, the room's token.
pub(super) const HEADER_FIELDS: [&str; 4] = ["{room}", "{user}", "{device}", "{token}"];

/// An IPv4 or IPv6 address, without brackets.
pub(super) fn ip(text: &str) -> Result<(), &'static str> {
    text.parse::<std::net::IpAddr>().map(|_| ()).map_err(|_| "must be an IP address, such as 192.0.2.7")
}

/// An IP address with or without a port.
pub(super) fn nameserver(text: &str) -> Result<(), &'static str> {
    let good = text.parse::<std::net::IpAddr>().is_ok() || text.parse::<std::net::SocketAddr>().is_ok();
    if good { Ok(()) } else { Err("must be an IP address, such as 192.0.2.53, 192.0.2.53:53 or [2001:db8::53]:53") }
}

/// The crypto suites there are, for documentation.
pub(super) const SUITES: &str = "AES_CM_128_HMAC_SHA1_80, AEAD_AES_128_GCM, AEAD_AES_256_GCM";

pub(super) fn srtp_suite(text: &str) -> Result<(), &'static str> {
    Suite::named(text).map(drop).ok_or(SUITES)
}

/// `host` or `host:port`; an IPv6 address stands in brackets.
pub(super) fn host_port(text: &str) -> Result<(), &'static str> {
    let (host, port) = if text.starts_with('[') {
        let Some((address, rest)) = text.trim_start_matches('[').split_once(']') else {
            return Err("the ] after the IPv6 address is missing");
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("what stands in [] must be an IPv6 address");
        }
        match rest.strip_prefix(':') {
            Some(port) => ("ipv6", Some(port)),
            None if rest.is_empty() => ("ipv6", None),
            None => return Err("after ] only :port may follow"),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address must stand in []: [2001:db8::1]:5060");
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    if !host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) {
        return Err("a host is made of letters, digits, - and . only");
    }
    match port.map(str::parse::<u16>) {
        None => Ok(()),
        Some(Ok(port)) if port > 0 => Ok(()),
        Some(_) => Err("after : a port from 1 to 65535 must follow"),
    }
}

/// `host`, `host:port`, or a `sip:` URI.
pub(super) fn proxy(text: &str) -> Result<(), &'static str> {
    if text.starts_with("sip:") || text.starts_with("sips:") { sip_uri(text) } else { host_port(text) }
}

/// The path of a URL (RFC 3986 3.3).
pub(super) fn path(text: &str) -> Result<(), &'static str> {
    let good = text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic() && !"#\"<>".contains(c));
    if good { Ok(()) } else { Err("must begin with / and hold no spaces, quotes, < > or #") }
}

/// An ALSA PCM name; that it names no card by number is checked where the cards are known.
pub(super) fn pcm(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("must be the name of an ALSA PCM, such as default or plughw:CARD=Speakerphone");
    }
    if text.contains('\0') {
        return Err("must hold no NUL");
    }
    PcmName::parse(text).map(|_| ())
}

/// A mixer's name; empty: that of the playback card.
pub(super) fn mixer(text: &str) -> Result<(), &'static str> {
    if text.is_empty() { Ok(()) } else { pcm(text) }
}

/// A control of a mixer.
pub(super) fn control(text: &str) -> Result<(), &'static str> {
    match text {
        "" => Err("must be the name of a control, as `amixer scontrols` shows it"),
        _ if text.contains('\0') || text.len() > 43 => Err("must hold no NUL, and at most 43 bytes"),
        _ => Ok(()),
    }
}

/// Empty: none.
pub(super) fn control_or_none(text: &str) -> Result<(), &'static str> {
    if text.is_empty() { Ok(()) } else { control(text) }
}

pub(super) fn control_value(text: &str) -> Result<(), &'static str> {
    ControlValue::parse(text).map(|_| ())
}

/// The id goes to the QSS, into logs and file names.
pub(super) fn device_id(text: &str) -> Result<(), &'static str> {
    let good = (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    if good { Ok(()) } else { Err("must be 1 to 64 letters, digits or . - _ :") }
}

/// `qss_quickconference`: what a QSS accepts as the URI of a quick conference.
pub(super) fn quick_conference(text: &str) -> Result<(), &'static str> {
    let digits = text.strip_prefix("wac-conf").unwrap_or_default();
    if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) {
        Ok(())
    } else {
        Err("must be wac-conf and 20 digits")
    }
}

/// Name of a parameter in a URL's query; empty: none.
pub(super) fn query_name(text: &str) -> Result<(), &'static str> {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(())
    } else {
        Err("must be letters, digits and _")
    }
}

/// A token of RFC 9110 5.6.2, as RFC 6455 4.1 wants of a subprotocol; empty: none.
pub(super) fn subprotocol(text: &str) -> Result<(), &'static str> {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)) {
        Ok(())
    } else {
        Err("must be letters, digits and - . _")
    }
}

/// A word of the QSS wire that must not be empty.
pub(super) fn word(text: &str) -> Result<(), &'static str> {
    if text.is_empty() { Err("must not be empty") } else { Ok(()) }
}

/// `user` of RFC 3261 25.1.
pub(super) fn sip_user(text: &str) -> Result<(), &'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()%&=+$,;?/".contains(c);
    if !text.is_empty() && text.chars().all(good) {
        Ok(())
    } else {
        Err("must be what stands before the @ of a SIP URI: letters, digits and - _ . ! ~ * ' ( ) % & = + $ , ; ? /")
    }
}

/// A header name (RFC 9110 5.1) that is ours to give: the handshake's own are not (RFC 6455 4.1).
pub(super) fn header_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)) {
        return Err("must be a header name: letters, digits and -");
    }
    let lower = text.to_ascii_lowercase();
    if ["host", "upgrade", "connection", "content-length", "transfer-encoding"].contains(&lower.as_str())
        || lower.starts_with("sec-websocket-")
    {
        return Err("is written by the WebSocket handshake itself");
    }
    Ok(())
}

pub(super) fn header_value(text: &str) -> Result<(), &'static str> {
    if text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be visible ASCII characters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["mixer", "mixer:5060", "192.0.2.1", "192.0.2.1:5062", "[2001:db8::1]", "[::1]:5060", "a_b.c-d"] {
            assert_eq!(host_port(good), Ok(()), "{good}");
        }
        for bad in
            ["", ":5060", "mixer:", "mixer:0", "mixer:65536", "2001:db8::1", "[::1", "[x]:1", "[::1]5", "a b", "a/b"]
        {
            assert!(host_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn uris() {
        for good in ["ws://qss", "wss://qss.example.com:8443/ws?x=1", "ws://[::1]:8080/"] {
            assert_eq!(qss_url(good), Ok(()), "{good}");
        }
        for bad in ["http://qss", "qss.example.com", "ws://", "wss:///x", "ws://u:p@h/", "ws://h/#f", "ws://h/ä"] {
            assert!(qss_url(bad).is_err(), "{bad}");
        }
        for good in ["http://127.0.0.1:8080/token", "https://idp.example.com/auth/realms/q/token"] {
            assert_eq!(token_url(good), Ok(()), "{good}");
        }
        for bad in ["wss://idp", "https://", "https://u:p@idp/t", "https://idp/t#x", "https://idp/t x"] {
            assert!(token_url(bad).is_err(), "{bad}");
        }
        for good in ["sip:room@mixer", "sip:mixer:5080", "sip:a@[::1]:5060;transport=udp", "sip:1000@10.0.0.1"] {
            assert_eq!(sip_uri(good), Ok(()), "{good}");
        }
        for bad in ["tel:a@b", "a@b", "sip:", "sip:@b", "sip:a@", "<sip:a@b>", "sip:a b@c"] {
            assert!(sip_uri(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_of_the_handshake_are_not_ours() {
        assert!(header_name("Sec-WebSocket-Key").is_err());
        assert!(header_name("X Foo").is_err());
        assert_eq!(header_name("X-Site"), Ok(()));
    }
}
