//! Cuts a datagram into head and body and makes the head regular, so that a strict tokenizer can read it.
//!
//! What real peers and RFC 4475 send and RFC 3261 7.3, 7.5 and 25.1 allow or ask to tolerate: line ends before the
//! start line, bare LF, folded lines, white space before the colon, compact names, bytes that are not UTF-8, a missing
//! last line end.

use super::{Headers, Malformed, Name};

pub(super) struct Frame<'a> {
    pub(super) start: String,
    /// Each `Name: value`, unfolded and trimmed, or what is wrong with it.
    pub(super) lines: Vec<Result<String, &'static str>>,
    /// Everything after the empty line; [`body`] cuts it.
    pub(super) body: &'a [u8],
}

/// More header lines than any honest message has.
const MAX_LINES: usize = 512;

pub(super) fn cut(datagram: &[u8]) -> Result<Frame<'_>, Malformed> {
    let skip = datagram.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let mut rest = &datagram[skip..];
    if rest.is_empty() {
        return Err("empty datagram".into());
    }
    let start = text(take_line(&mut rest));
    let mut lines: Vec<String> = Vec::new();
    loop {
        if rest.is_empty() {
            break;
        }
        let line = take_line(&mut rest);
        match line.first() {
            None => break,
            Some(b' ' | b'\t') => {
                let previous = lines.last_mut().ok_or("folded line without a header")?;
                previous.push(' ');
                previous.push_str(text(line).trim());
            }
            Some(_) => lines.push(text(line)),
        }
        if lines.len() > MAX_LINES {
            return Err("too many header lines".into());
        }
    }
    let lines = lines.iter().map(|line| regular(line)).collect();
    Ok(Frame { start, lines, body: rest })
}

/// The body by its Content-Length (RFC 3261 18.3): bytes beyond it are dropped, too few of them is an error.
pub(super) fn body<'a>(headers: &Headers, rest: &'a [u8]) -> Result<&'a [u8], &'static str> {
    let Some(length) = length(headers)? else { return Ok(rest) };
    rest.get(..length).ok_or("body shorter than its Content-Length")
}

/// Content-Length, if there is one.
pub(super) fn length(headers: &Headers) -> Result<Option<usize>, &'static str> {
    let mut lengths = headers.all(&Name::ContentLength);
    let Some(first) = lengths.next() else { return Ok(None) };
    if lengths.any(|other| other != first) {
        return Err("several Content-Lengths");
    }
    super::number(first).map(Some).ok_or("Content-Length is no number")
}

/// The line without its end; `rest` becomes what follows.
fn take_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (line, after) = match rest.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (*rest, &rest[rest.len()..]),
    };
    *rest = after;
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Bytes as text: what is not UTF-8 is replaced, and control characters become spaces, because values are echoed.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}

/// `Name: value` with the long name and no white space before the colon or around the value.
fn regular(line: &str) -> Result<String, &'static str> {
    let (name, value) = line.split_once(':').ok_or("header line without a colon")?;
    let name = name.trim();
    Ok(format!("{}: {}", long_name(name), value.trim()))
}

/// RFC 3261 7.3.3 and 20, RFC 3515, RFC 3841, RFC 3891, RFC 4028, RFC 6665.
fn long_name(name: &str) -> &str {
    let [letter] = name.as_bytes() else { return name };
    match letter.to_ascii_lowercase() {
        b'a' => "Accept-Contact",
        b'b' => "Referred-By",
        b'c' => "Content-Type",
        b'd' => "Request-Disposition",
        b'e' => "Content-Encoding",
        b'f' => "From",
        b'i' => "Call-ID",
        b'j' => "Reject-Contact",
        b'k' => "Supported",
        b'l' => "Content-Length",
        b'm' => "Contact",
        b'o' => "Event",
        b'r' => "Refer-To",
        b's' => "Subject",
        b't' => "To",
        b'u' => "Allow-Events",
        b'v' => "Via",
        b'x' => "Session-Expires",
        b'y' => "Identity",
        _ => name,
    }
}
