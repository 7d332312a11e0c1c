//! Messages out of a stream of bytes (RFC 3261 7.5, 18.3) and the line ends between them (RFC 5626 3.5.1, 4.4.1).
//!
//! ```text
//!   bytes, cut anywhere --> [line ends: pong, ping] [head .. empty line] [body, Content-Length bytes] --> Piece
//! ```
//!
//! A stream that cannot be cut for sure has no next message: the connection has to be closed.

use crate::sip::message;

/// What stood next in the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// A message, head and body, to be parsed.
    Message(Vec<u8>),
    /// An empty line: the answer to a ping of ours.
    Pong,
    /// Two empty lines: the peer wants one back.
    Ping,
}

/// Why a stream has no next message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    HeadTooLong,
    BodyTooLong,
    /// Several Content-Lengths, or one that is no number.
    NoLength,
}

/// Cuts what one connection delivers.
#[derive(Debug, Default)]
pub struct Framer {
    /// What has arrived and is not cut yet.
    bytes: Vec<u8>,
    /// Up to here there is no end of a head.
    searched: usize,
    /// Head and body of the message that is arriving, once its head is there.
    length: Option<usize>,
    /// The piece before was a [`Piece::Pong`]: another empty line makes it a ping.
    after_pong: bool,
}

/// Longest head and longest body taken.
pub const MAX_HEAD: usize = 32 * 1024;
pub const MAX_BODY: usize = 64 * 1024;
/// What the peer is sent, and what it answers (RFC 5626 3.5.1).
pub const PING: &[u8] = b"\r\n\r\n";
pub const PONG: &[u8] = b"\r\n";

impl Framer {
    /// Takes over what has arrived. Call [`Framer::cut`] until it has nothing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next piece, if it is complete.
    ///
    /// # Errors
    /// [`Broken`]: nothing that follows can be told apart.
    pub fn cut(&mut self) -> Result<Option<Piece>, Broken> {
        if self.length.is_none() {
            if let Some(piece) = self.cut_line_ends() {
                return Ok(Some(piece));
            }
            self.length = self.find_length()?;
        }
        match self.length {
            Some(length) if self.bytes.len() >= length => {
                let rest = self.bytes.split_off(length);
                let message = std::mem::replace(&mut self.bytes, rest);
                (self.length, self.searched) = (None, 0);
                Ok(Some(Piece::Message(message)))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Empty lines before a message. A lone CR may be the first half of one.
    fn cut_line_ends(&mut self) -> Option<Piece> {
        // CRs before the last of them begin neither a message nor a line end.
        let returns = self.bytes.iter().take_while(|byte| **byte == b'\r').count();
        let length = match self.bytes[returns..] {
            [b'\n', ..] => returns + 1,
            [] => {
                self.bytes.drain(..returns.saturating_sub(1));
                return None;
            }
            [_, ..] => {
                self.bytes.drain(..returns);
                self.after_pong = false;
                return None;
            }
        };
        self.bytes.drain(..length);
        self.after_pong = !self.after_pong;
        Some(if self.after_pong { Piece::Pong } else { Piece::Ping })
    }

    /// Length of the first message, once its head is complete.
    fn find_length(&mut self) -> Result<Option<usize>, Broken> {
        let Some(head) = end_of_head(&self.bytes, self.searched) else {
            // The last three bytes may be the beginning of the end.
            self.searched = self.bytes.len().saturating_sub(3);
            return if self.bytes.len() > MAX_HEAD { Err(Broken::HeadTooLong) } else { Ok(None) };
        };
        if head > MAX_HEAD {
            return Err(Broken::HeadTooLong);
        }
        // RFC 3261 20.14 wants a Content-Length; without one there is no body, or what follows is no message.
        let body = message::content_length(&self.bytes[..head]).map_err(|_| Broken::NoLength)?.unwrap_or(0);
        if body > MAX_BODY { Err(Broken::BodyTooLong) } else { Ok(Some(head + body)) }
    }
}

/// Where the body begins: behind the first empty line. Line ends may lack their CR, as in datagrams.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len()).filter(|&at| bytes[at] == b'\n').find_map(|at| match bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYE: &[u8] = b"BYE sip:a@b SIP/2.0\r\nl: 3\r\nX: y\r\n\r\nabc";
    const OK: &[u8] = b"SIP/2.0 200 OK\r\nCall-ID: 1\r\n\r\n";

    fn pieces(chunks: &[&[u8]]) -> Vec<Piece> {
        let mut framer = Framer::default();
        let mut pieces = Vec::new();
        for chunk in chunks {
            framer.push(chunk);
            while let Some(piece) = framer.cut().expect("whole") {
                pieces.push(piece);
            }
        }
        pieces
    }

    #[test]
    fn cut_anywhere_the_messages_are_the_same() {
        let stream = [BYE, b"\r\n\r\n", OK, BYE, b"\r\n", OK].concat();
        let message = |bytes: &[u8]| Piece::Message(bytes.to_vec());
        let whole =
            [message(BYE), Piece::Pong, Piece::Ping, message(OK), message(BYE), Piece::Pong, message(OK)].to_vec();
        assert_eq!(pieces(&[&stream]), whole);
        assert_eq!(pieces(&stream.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
        for at in 0..stream.len() {
            assert_eq!(pieces(&[&stream[..at], &stream[at..]]), whole, "cut at {at}");
        }
    }

    #[test]
    fn bodies_are_bytes_and_line_ends_may_be_bare() {
        let body: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        let head = b"MESSAGE sip:b SIP/2.0\nContent-Length :\n 1000\n\n";
        let stream = [&head[..], &body, OK].concat();
        assert_eq!(pieces(&[&stream])[0], Piece::Message([&head[..], &body].concat()));
        assert_eq!(pieces(&[&stream])[1], Piece::Message(OK.to_vec()));
    }

    #[test]
    fn what_cannot_be_cut_breaks_the_stream_early() {
        let broken = |bytes: &[u8]| {
            let mut framer = Framer::default();
            framer.push(bytes);
            framer.cut()
        };
        assert_eq!(broken(b"BYE sip:a SIP/2.0\r\nl: -1\r\n\r\n"), Err(Broken::NoLength));
        assert_eq!(broken(b"BYE sip:a SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n"), Err(Broken::NoLength));
        assert_eq!(broken(b"BYE sip:a SIP/2.0\r\nl: 99999999999999999999\r\n\r\n"), Err(Broken::NoLength));
        assert_eq!(broken(b"BYE sip:a SIP/2.0\r\nl: 65537\r\n\r\n"), Err(Broken::BodyTooLong));
        assert_eq!(broken(&[b'x'; MAX_HEAD + 1]), Err(Broken::HeadTooLong));
        assert_eq!(broken(b"BYE sip:a SIP/2.0\r\nl: 65536\r\n\r\n"), Ok(None), "waits for the body");
    }

    #[test]
    fn returns_without_their_line_feed_are_thrown_away_at_once() {
        let mut framer = Framer::default();
        framer.push(&[b'\r'; 8 * 1_024 * 1_024]);
        assert_eq!(framer.cut(), Ok(None));
        assert_eq!(framer.bytes, b"\r", "it may be half a line end");
        framer.push(b"\n");
        assert_eq!(framer.cut(), Ok(Some(Piece::Pong)));
        framer.push(&[b"\r\r\r", OK].concat());
        assert_eq!(framer.cut(), Ok(Some(Piece::Message(OK.to_vec()))));
    }

    #[test]
    fn a_long_stream_keeps_no_more_than_its_last_message() {
        let mut framer = Framer::default();
        for _ in 0..10_000 {
            framer.push(&[OK, BYE, b"\r\n\r\n"].concat());
            while framer.cut().expect("whole").is_some() {}
            assert!(framer.bytes.is_empty() && framer.bytes.capacity() < 4_096);
        }
    }
}
