//! As much SIP text as the mixer needs: start line, headers in order, body. RFC 3261 section 7.
//!
//! Lenient on purpose where a lab peer may be sloppy, and deliberately unrelated to the product's own SIP code.

use md5::{Digest as _, Md5};
use std::net::SocketAddr;

/// A request or a response.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// The first line, without its line end.
    pub start: String,
    /// Name as written (compact forms expanded) and value, in order.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Message {
    /// `None` if it does not look like SIP at all.
    pub fn parse(bytes: &[u8]) -> Option<Message> {
        let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let start = lines.next()?.trim().to_string();
        if !start.contains("SIP/2.0") {
            return None;
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                headers.push((expand(name.trim()).into(), value.trim().into()));
            }
        }
        Some(Message { start, headers, body: body.replace('\n', "\r\n") })
    }

    /// Method of a request; `None`: a response.
    pub fn method(&self) -> Option<&str> {
        self.start.ends_with("SIP/2.0").then(|| self.start.split(' ').next().unwrap_or_default())
    }

    pub fn request_uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `CSeq` as number and method.
    pub fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("CSeq")?.split_once(' ')?;
        Some((number.trim().parse().ok()?, method.trim()))
    }

    pub fn branch(&self) -> &str {
        self.header("Via").and_then(|via| parameter(via, "branch")).unwrap_or_default()
    }

    /// A response to this request: Vias, From, To, Call-ID and CSeq copied (8.2.6.2), `tag` put on To if it has none,
    /// the source written into the top Via (RFC 3581).
    pub fn reply(&self, status: &str, tag: &str, source: SocketAddr) -> Message {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            let first_via = headers.is_empty() && name.eq_ignore_ascii_case("Via");
            let value = match name.to_ascii_lowercase().as_str() {
                "via" if first_via => with_source(value, source),
                "via" | "from" | "call-id" | "cseq" | "record-route" => value.clone(),
                "to" if parameter(value, "tag").is_some() || status.starts_with("100") => value.clone(),
                "to" => format!("{value};tag={tag}"),
                _ => continue,
            };
            headers.push((name.clone(), value));
        }
        headers.push(("Server".into(), "lab-mixer".into()));
        Message { start: format!("SIP/2.0 {status}"), headers, body: String::new() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Message {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn with_sdp(mut self, sdp: &str) -> Message {
        self.headers.push(("Content-Type".into(), "application/sdp".into()));
        self.body = sdp.into();
        self
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case("Content-Length") {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{}", self.body.len(), self.body));
        text.into_bytes()
    }
}

/// The value of `;name=value` behind a header value; an empty string for a bare `;name`.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let behind = value.rsplit_once('>').map_or(value, |(_, behind)| behind);
    behind.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The URI inside `"Name" <uri>;params` or `uri;params`.
pub fn uri(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// The user part of a SIP URI, without its parameters.
pub fn user(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user.split([';', ':']).next().unwrap_or_default())
}

/// True if the request carries a correct answer (RFC 2617, MD5, with or without qop) to a challenge with `nonce`.
pub fn authorised(request: &Message, name: &str, password: &str, nonce: &str) -> bool {
    let Some(value) = request.header("Authorization").and_then(|value| value.strip_prefix("Digest ")) else {
        return false;
    };
    let field = |wanted: &str| {
        value.split(',').find_map(|part| {
            let (key, value) = part.split_once('=')?;
            (key.trim() == wanted).then(|| value.trim().trim_matches('"').to_string())
        })
    };
    let get = |wanted: &str| field(wanted).unwrap_or_default();
    let ha1 = hex_md5(&format!("{name}:{}:{password}", get("realm")));
    let ha2 = hex_md5(&format!("{}:{}", request.method().unwrap_or_default(), get("uri")));
    let expected = match field("qop") {
        Some(qop) => hex_md5(&format!("{ha1}:{nonce}:{}:{}:{qop}:{ha2}", get("nc"), get("cnonce"))),
        None => hex_md5(&format!("{ha1}:{nonce}:{ha2}")),
    };
    get("username") == name && get("nonce") == nonce && get("response") == expected
}

/// MD5 in lower-case hex.
pub fn hex_md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `received` always, `rport` filled in where the sender asked for it.
fn with_source(via: &str, source: SocketAddr) -> String {
    let parts = via.split(';').filter(|part| !part.trim_start().starts_with("received="));
    let parts = parts.map(|part| match part.trim() {
        "rport" => format!("rport={}", source.port()),
        _ => part.to_string(),
    });
    format!("{};received={}", parts.collect::<Vec<_>>().join(";"), source.ip())
}

fn expand(name: &str) -> &str {
    match name {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "c" => "Content-Type",
        "l" => "Content-Length",
        "k" => "Supported",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_copies_what_it_must_and_names_the_source() {
        let text = "INVITE sip:8881@m:5080 SIP/2.0\r\nv: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx;rport\r\n\
            From: <sip:a@b>;tag=1\r\nTo: \"Room; one\" <sip:8881@m;x=y>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\r\nv=0\r\n";
        let invite = Message::parse(text.as_bytes()).expect("SIP");
        assert_eq!((invite.method(), user(invite.request_uri())), (Some("INVITE"), "8881"));
        assert_eq!((invite.branch(), invite.cseq()), ("z9hG4bKx", Some((7, "INVITE"))));
        assert_eq!(uri(invite.header("to").expect("To")), "sip:8881@m;x=y");
        let reply = invite.reply("200 OK", "t9", SocketAddr::from(([127, 0, 0, 1], 5062)));
        let again = Message::parse(&reply.to_bytes()).expect("SIP");
        assert_eq!(again.status(), Some(200));
        assert_eq!(again.header("Via"), Some("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx;rport=5062;received=127.0.0.1"));
        assert_eq!(again.header("To").and_then(|to| parameter(to, "tag")), Some("t9"));
    }

    /// The example of RFC 2617, section 3.5.
    #[test]
    fn digest_agrees_with_the_rfc() {
        let message = Message {
            start: "GET /dir/index.html SIP/2.0".into(),
            headers: vec![(
                "Authorization".into(),
                "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
                 nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", qop=auth, nc=00000001, \
                 cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\""
                    .into(),
            )],
            body: String::new(),
        };
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        assert!(authorised(&message, "Mufasa", "Circle Of Life", nonce));
        assert!(!authorised(&message, "Mufasa", "Circle of Life", nonce));
        assert!(!authorised(&message, "Mufasa", "Circle Of Life", "another"));
    }
}
