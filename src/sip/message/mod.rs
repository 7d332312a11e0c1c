//! SIP messages: bytes to values and back (RFC 3261 sections 7, 20 and 25).
//!
//! ```text
//!   datagram --frame--> lines, body --wire (rsip)--> start line, headers --identity--> Message
//! ```
//!
//! * `frame`: cuts head from body and makes the head regular (folding, compact names, odd white space, odd bytes).
//! * `wire`: the only file that knows the `rsip` package: tokens of a regular head, and the printing of one.
//! * [`headers`], [`method`]: names and values as text, in order; bodies are bytes and stay byte-exact.
//! * [`uri`], [`name_addr`], [`via`], [`challenge`], [`params`]: what a value means, read only where it matters.
//! * [`identity`]: the five headers by which a message finds its transaction and its dialog.

pub mod challenge;
mod frame;
pub mod headers;
pub mod identity;
pub mod method;
pub mod name_addr;
pub mod params;
pub mod uri;
pub mod via;
mod wire;

pub use headers::{Headers, Name};
pub use identity::{CSeq, Identity};
pub use method::Method;

use std::fmt::Write as _;

/// A message that may be acted on: start line, headers and the identity all parsed, the body cut to its length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    Request { request: Request, identity: Identity },
    Response { response: Response, identity: Identity },
}

/// A request, received or to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: Method,
    /// The Request-URI as it stands on the wire.
    pub uri: String,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// A response, received or to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// 100..=699.
    pub status: u16,
    /// The reason phrase as it stands on the wire; may be empty.
    pub reason: String,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// Bytes that are no SIP message, or break a rule that makes them useless.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    pub what: &'static str,
    /// Set when the bytes are a request which can be told so (RFC 3261 8.2, 16.3).
    pub answer: Option<Box<Refusal>>,
}

/// A request that is answered with an error because of its form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// 400, or 505 for another version.
    pub status: u16,
    /// As far as it could be read.
    pub request: Request,
}

/// Reads one datagram.
///
/// # Errors
/// [`Malformed`] names the first broken rule; it carries what is needed for a 400 or 505 if the sender can be told.
pub fn parse(datagram: &[u8]) -> Result<Message, Malformed> {
    let frame = frame::cut(datagram)?;
    let mut headers = Headers::default();
    let mut broken = None;
    for line in frame.lines {
        match line.and_then(|line| wire::header(&line)) {
            Ok((name, value)) => headers.push(name, value),
            Err(what) => broken = broken.or(Some(what)),
        }
    }
    match wire::start_line(&frame.start)? {
        wire::Start::Request { method, uri, version } => {
            let mut request = Request { method, uri, headers, body: Vec::new() };
            let whole = broken.map_or(Ok(()), Err);
            let checked = version.map_err(|what| (505, what)).and_then(|()| {
                whole.and_then(|()| check_request(&mut request, frame.body)).map_err(|what| (400, what))
            });
            match checked {
                Ok(identity) => Ok(Message::Request { request, identity }),
                Err((status, what)) => Err(refuse(status, what, request)),
            }
        }
        wire::Start::Response { status, reason } => {
            if let Some(what) = broken {
                return Err(what.into());
            }
            let body = frame::body(&headers, frame.body)?.to_vec();
            let identity = Identity::of(&headers)?;
            Ok(Message::Response { response: Response { status, reason, headers, body }, identity })
        }
    }
}

/// The Content-Length of a head, which ends with its empty line: how a stream is cut (RFC 3261 18.3).
///
/// # Errors
/// It is no number, or there are several different ones.
pub fn content_length(head: &[u8]) -> Result<Option<usize>, &'static str> {
    let frame = frame::cut(head).map_err(|malformed| malformed.what)?;
    let lines = frame.lines.iter().flatten().filter_map(|line| wire::header(line).ok());
    let headers: Headers = lines.filter(|(name, _)| *name == Name::ContentLength).collect();
    frame::length(&headers)
}

fn check_request(request: &mut Request, body: &[u8]) -> Result<Identity, &'static str> {
    wire::request_uri(&request.uri)?;
    request.body = frame::body(&request.headers, body)?.to_vec();
    check_values(&request.headers)?;
    let identity = Identity::of(&request.headers)?;
    if identity.cseq.method != request.method {
        return Err("CSeq names another method");
    }
    Ok(identity)
}

/// Values outside the five that must hold all the same (RFC 3261 7.3.1, 20.10, 20.19, 20.22).
fn check_values(headers: &Headers) -> Result<(), &'static str> {
    for name in [Name::MaxForwards, Name::ContentType] {
        if headers.first(&name).is_some() {
            headers.only(&name, "")?;
        }
    }
    if let Some(hops) = headers.first(&Name::MaxForwards) {
        number::<u8>(hops).ok_or("Max-Forwards is no number")?;
    }
    let digits = |value: &&str| value.bytes().all(|byte| byte.is_ascii_digit());
    if headers.all(&Name::Expires).filter(digits).any(|value| number::<u32>(value).is_none()) {
        return Err("Expires out of range");
    }
    headers.elements(&Name::Contact).filter(|contact| *contact != "*").try_for_each(|contact| {
        name_addr::NameAddr::parse(contact)?;
        Ok(())
    })
}

/// An ACK is never answered (RFC 3261 17.1.1.3), and without a Via nobody would take the answer for one.
fn refuse(status: u16, what: &'static str, request: Request) -> Malformed {
    let answerable = request.method != Method::Ack && request.headers.first(&Name::Via).is_some();
    Malformed { what, answer: answerable.then(|| Box::new(Refusal { status, request })) }
}

impl Request {
    pub fn new(method: Method, uri: impl Into<String>) -> Request {
        Request { method, uri: uri.into(), headers: Headers::default(), body: Vec::new() }
    }

    /// The bytes to send; `Content-Length` is added.
    pub fn to_bytes(&self) -> Vec<u8> {
        let start = format!("{} {} SIP/2.0", self.method, self.uri);
        wire::write(&start, &self.headers, &self.body)
    }
}

impl Response {
    /// A response with the usual phrase for `status` and no headers.
    pub fn new(status: u16) -> Response {
        Response { status, reason: phrase(status).into(), headers: Headers::default(), body: Vec::new() }
    }

    /// The bytes to send; `Content-Length` is added.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut start = format!("SIP/2.0 {} ", self.status);
        let _ = start.write_str(&self.reason);
        wire::write(&start, &self.headers, &self.body)
    }
}

impl Message {
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Message::Request { request, .. } => request.to_bytes(),
            Message::Response { response, .. } => response.to_bytes(),
        }
    }
}

impl From<&'static str> for Malformed {
    fn from(what: &'static str) -> Malformed {
        Malformed { what, answer: None }
    }
}

/// Digits and nothing else: `parse` alone would take a sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Reason phrases of the statuses this agent sends (RFC 3261 21).
fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        469 => "Bad Info Package",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        603 => "Decline",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::name_addr::NameAddr;
    use super::uri::{Uri, escape_user};
    use super::via::Via;
    use super::*;

    const HEAD: &str = "Via: SIP/2.0/UDP [2001:db8::9]:5060;branch=z9hG4bKa, SIP/2.0/TCP b.example;branch=z9hG4bKb\r\n\
        From: \"A <b>, \\\"c\\\"\" <sip:a@[2001:db8::1];x=y>;tag=1\r\nTo: sip:b@x;tag=2\r\nCall-ID: 1@x\r\nCSeq: 1 INVITE\r\n";

    fn response(line: &str) -> Response {
        match parse(format!("{line}\r\n{HEAD}\r\n").as_bytes()) {
            Ok(Message::Response { response, .. }) => response,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reason_phrases_stay_as_they_are() {
        for (line, reason) in [
            ("SIP/2.0 480 No members", "No members"),
            ("SIP/2.0 200 = 2**3 * 5**2 \u{43d}\u{43e}", "= 2**3 * 5**2 \u{43d}\u{43e}"),
            ("SIP/2.0 100 ", ""),
            ("sip/2.0 299 odd", "odd"),
        ] {
            let response = response(line);
            assert_eq!(response.reason, reason);
            assert!(
                String::from_utf8(response.to_bytes())
                    .unwrap()
                    .starts_with(&format!("SIP/2.0 {} {reason}\r\n", response.status))
            );
        }
    }

    #[test]
    fn a_binary_body_stays_byte_exact_and_its_length_is_kept_to() {
        let body: Vec<u8> = (0..=255).collect();
        let head = HEAD.replace("1 INVITE", "1 MESSAGE");
        let mut bytes = format!("MESSAGE sip:b@x SIP/2.0\r\n{head}Content-Length: 256\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(b"and more");
        let Ok(Message::Request { request, .. }) = parse(&bytes) else { panic!() };
        assert_eq!(request.body, body);
        assert!(request.to_bytes().ends_with(&body));
    }

    #[test]
    fn the_identity_reads_what_lists_brackets_and_quotes_hide() {
        let Ok(Message::Response { identity, .. }) = parse(format!("SIP/2.0 200 OK\r\n{HEAD}\r\n").as_bytes()) else {
            panic!()
        };
        assert_eq!(
            (identity.via.host.as_str(), identity.via.port, identity.via.branch()),
            ("2001:db8::9", Some(5060), Some("z9hG4bKa"))
        );
        assert_eq!(identity.from.uri, "sip:a@[2001:db8::1];x=y");
        assert_eq!((identity.from.tag(), identity.to.tag()), (Some("1"), Some("2")));
        assert_eq!(identity.to.uri, "sip:b@x", "without brackets the parameters are the header's");
    }

    #[test]
    fn uris_and_their_parts() {
        let uri = Uri::parse("sip:8882;p=1@[2001:db8::1]:5070;transport=tls;lr?X-Room=1").unwrap();
        assert_eq!((uri.host.as_str(), uri.port, uri.user.as_deref()), ("2001:db8::1", Some(5070), Some("8882;p=1")));
        assert!(uri.params.has("LR") && uri.params.value("transport") == Some("tls"));
        assert_eq!(uri.to_string(), "sip:8882;p=1@[2001:db8::1]:5070;transport=tls;lr?X-Room=1");
        for bad in
            ["sip:a@[::1", "sip:a@[x]", "sip:a@b:", "sip:a@b:0", "sip:a@b:99999", "sip:@b", "sip:a@b;=1", "sip:a@b_c d"]
        {
            assert!(Uri::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(escape_user("J\u{e4}r @:7"), "J%C3%A4r%20%40%3A7");
    }

    #[test]
    fn addresses_and_vias_that_are_wrong() {
        for bad in ["", "<>", "<sip:a@b", "\"x <sip:a@b>", "<sip:a@b>x", "sip:a@b?X=1", "<sip:a@b>;tag=\"", "sip:a b"] {
            assert!(NameAddr::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "SIP/2.0/UDP", "SIP/1.0/UDP x", "HTTP/2.0/UDP x", "SIP/2.0/UDP x:y", "SIP/2.0/UDP ;branch=z"] {
            assert!(Via::parse(bad).is_err(), "{bad}");
        }
    }
}
