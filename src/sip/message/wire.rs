//! The border to the `rsip` package: nothing outside this file names it.
//!
//! rsip reads method, version and header lines and prints the head. Its typed headers, URIs and status codes are not
//! used: they refuse or change what peers really send (IPv6 hosts, unknown methods, reason phrases, Via lists).

use super::{Headers, Malformed, Method, Name};
use rsip::headers::header::Tokenizer as HeaderTokenizer;

pub(super) enum Start {
    Request {
        method: Method,
        uri: String,
        /// Err: a version other than 2.0, to be answered with 505.
        version: Result<(), &'static str>,
    },
    Response {
        status: u16,
        reason: String,
    },
}

pub(super) fn start_line(line: &str) -> Result<Start, Malformed> {
    if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/")) {
        return status_line(line);
    }
    // The method ends at the first space and the version begins after the last one: what lies between is the
    // Request-URI, judged by `request_uri`, because a bad one can still be answered.
    let line = line.trim_end();
    let (method, rest) = line.split_once(' ').ok_or("no start line")?;
    let (uri, version) = rest.rsplit_once(' ').ok_or("no SIP version in the start line")?;
    let is_version = version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/"));
    if !is_version {
        return Err("no SIP version in the start line".into());
    }
    if method.is_empty() || !method.chars().all(is_token) {
        return Err("method is no token".into());
    }
    Ok(Start::Request { method: self::method(method), uri: uri.into(), version: self::version(version) })
}

fn status_line(line: &str) -> Result<Start, Malformed> {
    let (version, rest) = line.split_once(' ').ok_or("no status code")?;
    self::version(version)?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let three_digits = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    match status.parse() {
        Ok(status @ 100..=699) if three_digits => Ok(Start::Response { status, reason: reason.trim_end().into() }),
        _ => Err("status code out of range".into()),
    }
}

/// RFC 3261 25.1: a Request-URI has no white space and no angle brackets.
pub(super) fn request_uri(uri: &str) -> Result<(), &'static str> {
    if uri.is_empty() || uri.contains([' ', '\t', '<', '>', '"']) {
        return Err("Request-URI is no URI");
    }
    Ok(())
}

fn version(word: &str) -> Result<(), &'static str> {
    match rsip::Version::try_from(word.to_ascii_uppercase().as_bytes()) {
        Ok(rsip::Version::V2) if word.len() == "SIP/2.0".len() && word.ends_with(".0") => Ok(()),
        Ok(rsip::Version::V1 | rsip::Version::V2) | Err(_) => Err("another SIP version"),
    }
}

/// Methods are case-sensitive (RFC 3261 7.1), which rsip is not.
pub(super) fn method(token: &str) -> Method {
    match token.parse::<rsip::Method>() {
        Ok(known) if known.to_string() == token => match known {
            rsip::Method::Ack => Method::Ack,
            rsip::Method::Bye => Method::Bye,
            rsip::Method::Cancel => Method::Cancel,
            rsip::Method::Info => Method::Info,
            rsip::Method::Invite => Method::Invite,
            rsip::Method::Message => Method::Message,
            rsip::Method::Notify => Method::Notify,
            rsip::Method::Options => Method::Options,
            rsip::Method::PRack => Method::Prack,
            rsip::Method::Publish => Method::Publish,
            rsip::Method::Refer => Method::Refer,
            rsip::Method::Register => Method::Register,
            rsip::Method::Subscribe => Method::Subscribe,
            rsip::Method::Update => Method::Update,
        },
        Ok(_) | Err(_) => Method::Other(token.into()),
    }
}

/// One regular header line.
pub(super) fn header(line: &str) -> Result<(Name, String), &'static str> {
    let (_, token) = HeaderTokenizer::tokenize(line.as_bytes()).map_err(|_| "header name is no token")?;
    match (std::str::from_utf8(token.name), std::str::from_utf8(token.value)) {
        (Ok(name), Ok(value)) => Ok((Name::of(name), value.into())),
        (Err(_), _) | (_, Err(_)) => Err("header is no text"),
    }
}

/// Head and body as they go out. The body is appended as bytes: rsip would pass it through UTF-8.
pub(super) fn write(start: &str, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let mut list: Vec<rsip::Header> = headers
        .iter()
        .filter(|(name, _)| **name != Name::ContentLength)
        .map(|(name, value)| rsip::Header::Other(name.to_string(), value.into()))
        .collect();
    list.push(rsip::headers::ContentLength::from(body.len() as u32).into());
    let mut bytes = format!("{start}\r\n{}\r\n", rsip::Headers::from(list)).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// RFC 3261 25.1 `token`.
pub(super) fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c)
}
