//! The border of the agent: what the world tells it ([`Input`]), and what it wants done ([`Output`]).

use crate::config::Secret;
use crate::media::command;
use crate::qss::token;
use crate::sip::endpoint::RouteError;
use crate::sip::transport::{Flow, Route, Target};
use crate::srtp::Entropy;
use crate::time::WallTime;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// What the world tells the agent.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is made, handed over and gone: nothing keeps one")]
pub enum Input<'a> {
    /// What an earlier life of the process has kept ([`Output::Keep`]); before [`Input::Start`].
    Kept(&'a str),
    /// Before [`Input::Start`]: what [`Output::Remember`] said last, in the life before this one.
    Recalled(&'a str),
    /// The sockets are bound; the agent begins.
    Start {
        sip_port: u16,
    },
    /// The WebSocket is open.
    QssOpened,
    QssFrame(&'a str),
    /// The answer to the ping of that number: everything sent before it has arrived.
    QssPong(u64),
    /// Any other control frame, a pong that no ping asked for too: the link lives.
    QssAlive,
    /// The WebSocket is closed, or could not be opened.
    QssClosed(LinkError),
    /// What came of [`Output::QssToken`].
    QssToken(token::Answer),
    /// The network has come up, or an address was added.
    LinkUp,
    /// An address or a route is there no longer, or another one.
    NetworkChanged,
    /// The clock is synchronised, and a certificate was found valid by it.
    ClockProven,
    /// A datagram, a WebSocket message or bytes of a stream.
    Sip {
        flow: Flow,
        bytes: &'a [u8],
    },
    /// The connection asked for stands; `local` is our end.
    SipConnected {
        flow: Flow,
        local: SocketAddr,
    },
    /// A SIP peer has connected to us.
    SipAccepted {
        flow: Flow,
        local: SocketAddr,
    },
    /// A connection is lost, or could not be made; why, for people.
    SipDisconnected {
        flow: Flow,
        why: &'a str,
    },
    Routed {
        target: &'a Target,
        routes: Result<Vec<Route>, RouteError>,
    },
    Media(command::Event),
    /// Random bytes of the operating system, the answer to [`Output::DrawKeys`].
    Keys(Entropy),
    /// A line of the local socket, answered with [`Output::Reply`].
    Local {
        client: u32,
        line: &'a str,
    },
    /// A key went down at an input device.
    Pressed {
        device: &'a str,
        code: u16,
    },
    /// An input device can be read again (`Ok`), or not (`Err`, in the system's words).
    ButtonDevice {
        device: &'a str,
        state: Result<(), &'a str>,
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
    /// The peer wants a certificate of ours, or another one.
    TlsClientCertificate,
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
    QssOpen {
        token: Secret,
        /// Certificates are judged at this time if the clock shows an earlier one.
        not_before: WallTime,
        /// Of the host's addresses, the one to begin with, counted round.
        turn: usize,
    },
    /// Get a token; asked for again, the former question is void.
    QssToken {
        ask: token::Ask,
        not_before: WallTime,
        turn: usize,
    },
    QssSend(String),
    /// A ping of this number, which its pong repeats.
    QssPing(u64),
    QssClose,
    SipSend {
        flow: Flow,
        bytes: Vec<u8>,
    },
    /// Connect to a SIP peer whose certificate has to bear `host`; answered by [`Input::SipConnected`] or
    /// [`Input::SipDisconnected`].
    SipConnect {
        flow: Flow,
        host: String,
        not_before: WallTime,
    },
    SipDisconnect {
        flow: Flow,
    },
    Resolve(Target),
    /// Keep this text where a crash does not reach it, in place of the one before; comes seldom.
    Remember(String),
    Media(command::Command),
    /// Keys for the media of the next call are wanted: [`Input::Keys`].
    DrawKeys,
    /// One status event as one line of JSON: for standard output and for every client of the status socket.
    Status(String),
    Reply {
        client: u32,
        line: String,
    },
    /// To be written where a crash does not reach it, instead of what was kept before, and before anything that follows
    /// is carried out.
    Keep(String),
    /// All is said: the process may end.
    Exit,
}

pub type Outbox = VecDeque<Output>;
