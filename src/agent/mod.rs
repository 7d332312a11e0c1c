//! The agent: QSS session, rooms, SIP call and status put together. Everything here is a decision; nothing waits.

use crate::config::Config;
use crate::media::command;
use crate::random::Rng;
use crate::sip::endpoint::{Route, RouteError};
use crate::time::{Time, Wakeup, WallTime};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// What the world tells the agent.
#[derive(Debug)]
pub enum Input<'a> {
    /// The sockets are bound; the agent begins.
    Start {
        sip_port: u16,
    },
    /// The WebSocket is open.
    QssOpened,
    QssFrame(&'a str),
    /// A pong, or any other control frame: the link lives.
    QssAlive,
    /// The WebSocket is closed, or could not be opened.
    QssClosed(LinkError),
    Sip {
        from: SocketAddr,
        bytes: &'a [u8],
    },
    Routed {
        host: &'a str,
        port: u16,
        route: Result<Route, RouteError>,
    },
    Media(command::Event),
    /// A line of the local socket, answered with [`Output::Reply`].
    Local {
        client: u32,
        line: &'a str,
    },
    /// SIGTERM: leave, unregister, say goodbye; [`Output::Exit`] follows within two seconds.
    Stop,
}

/// Why there is no link to the QSS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkError {
    pub kind: LinkErrorKind,
    /// For people: the library's own words.
    pub detail: String,
    /// `Retry-After` of a 429/503, in seconds.
    pub retry_after: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkErrorKind {
    Dns,
    Refused,
    Unreachable,
    TimedOut,
    /// Certificate: unknown CA.
    TlsUnknownIssuer,
    /// Certificate: wrong name.
    TlsWrongName,
    /// Certificate: expired, or not yet valid. Says "clock" in its message.
    TlsWrongDate,
    TlsOther,
    /// The upgrade was answered with another status than 101.
    Http(u16),
    /// A protocol error, or a message over the size limit.
    Protocol,
    /// Closed by the server: WebSocket close code, 1006 if none.
    Closed(u16),
    /// Pings remained unanswered.
    Dead,
}

/// What the agent wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Open the WebSocket to the configured URL.
    QssOpen,
    QssSend(String),
    QssPing,
    QssClose,
    SipSend {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Resolve {
        host: String,
        port: u16,
    },
    Media(command::Command),
    /// One status event as one line of JSON: for standard output and for every client of the status socket.
    Status(String),
    Reply {
        client: u32,
        line: String,
    },
    /// All is said: the process may end.
    Exit,
}

pub type Outbox = VecDeque<Output>;

pub struct Agent {}

impl Agent {
    pub fn new(_config: Config, _rng: Rng) -> Agent {
        unimplemented!()
    }
    /// `wall` is only written into events, never used to decide.
    pub fn handle(&mut self, _now: Time, _wall: WallTime, _input: Input<'_>, _out: &mut Outbox) {
        unimplemented!()
    }
    pub fn poll_timeout(&self) -> Option<Wakeup> {
        unimplemented!()
    }
    pub fn handle_timeout(&mut self, _now: Time, _wall: WallTime, _out: &mut Outbox) {
        unimplemented!()
    }
}
