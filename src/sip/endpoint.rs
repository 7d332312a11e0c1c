//! The way into the SIP core: place a call, hang it up, feed datagrams and time.

use crate::config;
use crate::random::Rng;
use crate::sdp::{Local, Negotiated};
use crate::time::{Time, Wakeup};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Number of a call; never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CallId(pub u32);

/// How to reach a host: what the shell answers to [`Output::Resolve`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    pub remote: SocketAddr,
    /// The local address the system would send from; goes into Via, Contact and SDP.
    pub local: IpAddr,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteError {
    UnknownHost,
    Unreachable,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    Send {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// Find address and route of `host` (name or address literal); answered by [`Endpoint::handle_route`].
    Resolve {
        host: String,
        port: u16,
    },
    Event(Event),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A provisional response: 100, 180, 183 ...
    Progress {
        call: CallId,
        status: u16,
    },
    /// 2xx received and acknowledged; media may flow.
    Confirmed {
        call: CallId,
        media: Negotiated,
    },
    /// A re-INVITE of either side changed the media.
    Modified {
        call: CallId,
        media: Negotiated,
    },
    Ended {
        call: CallId,
        cause: EndCause,
    },
    /// A datagram was not SIP, or broke a rule; dropped (counted, reported once per kind by the agent).
    Malformed {
        from: SocketAddr,
        what: &'static str,
    },
}

/// Why a call is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndCause {
    /// We hung up, and the peer knows (or will not answer).
    Local,
    /// BYE of the peer, with the text of its Reason header (RFC 3326), if any.
    Remote {
        reason: Option<String>,
    },
    /// A final response that is not 2xx.
    Refused {
        status: u16,
        reason: String,
    },
    /// Timer B: nobody answered at all.
    Timeout,
    /// It rang until `invite_timeout`.
    NoAnswer,
    Unroutable(RouteError),
    /// The digest challenge could not be met (no or wrong password).
    AuthenticationFailed,
    /// The answer has no Opus, or is no SDP.
    NoCommonMedia,
}

pub type Outbox = VecDeque<Output>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallError {
    /// Not a `sip:` URI we can dial.
    BadUri(String),
}

pub struct Endpoint {}

impl Endpoint {
    pub fn new(_config: &config::Sip, _rng: Rng) -> Endpoint {
        unimplemented!()
    }
    /// The port of the SIP socket, once it is bound.
    pub fn set_local_port(&mut self, _port: u16) {
        unimplemented!()
    }
    /// Dials `target`, a `sip:` URI as the room gives it; host map and outbound proxy are applied here.
    pub fn call(&mut self, _now: Time, _target: &str, _local: Local, _out: &mut Outbox) -> Result<CallId, CallError> {
        unimplemented!()
    }
    /// Ends a call in whatever state it is: nothing, CANCEL or BYE. [`Event::Ended`] follows, at once or later.
    pub fn hang_up(&mut self, _now: Time, _call: CallId, _reason: Option<&str>, _out: &mut Outbox) {
        unimplemented!()
    }
    /// Offers other media by re-INVITE (hold, unhold).
    pub fn modify(&mut self, _now: Time, _call: CallId, _local: Local, _out: &mut Outbox) {
        unimplemented!()
    }
    pub fn handle_datagram(&mut self, _now: Time, _from: SocketAddr, _bytes: &[u8], _out: &mut Outbox) {
        unimplemented!()
    }
    pub fn handle_route(
        &mut self,
        _now: Time,
        _host: &str,
        _port: u16,
        _route: Result<Route, RouteError>,
        _out: &mut Outbox,
    ) {
        unimplemented!()
    }
    pub fn poll_timeout(&self) -> Option<Wakeup> {
        unimplemented!()
    }
    pub fn handle_timeout(&mut self, _now: Time, _out: &mut Outbox) {
        unimplemented!()
    }
    /// No call, no transaction left: the process may exit.
    pub fn is_idle(&self) -> bool {
        unimplemented!()
    }
}
