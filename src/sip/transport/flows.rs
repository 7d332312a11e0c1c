//! The connections of the user agent: made when something is to be sent, kept alive while they are wanted, given up when
//! they are dead (RFC 3261 18, RFC 5626 3.5, 4.4.1).
//!
//! ```text
//!            send, open                connected
//!   (none) ------------> Connecting ------------> Up --ping_at: ping--> Up
//!      ^                     | refused, late       | lost, broken, ping unanswered, idle
//!      '---------------------'---------------------'
//! ```
//!
//! Connections that come in begin as Up. A flow of datagrams has nothing to connect, but the holes it keeps open in firewalls want the same pings. A peer need
//! not answer pings; once it has answered one, it has to answer all.

use super::stream::{Broken, Framer, PING, PONG, Piece};
use super::{Flow, Transport};
use crate::config;
use crate::sip::endpoint::{Outbox, Output};
use crate::time::{Span, Time, Wakeup, soonest};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

#[derive(Debug)]
pub(in crate::sip) struct Flows {
    records: BTreeMap<Flow, State>,
    /// Under which name each peer was looked up: its certificate has to bear it.
    names: BTreeMap<Flow, String>,
    /// How peers see us, where that is not how we see ourselves (RFC 3581).
    public: BTreeMap<Flow, SocketAddr>,
    connect_timeout: Span,
    /// A connection that nobody wants is closed when nothing has used it for this long.
    idle_timeout: Span,
    keepalive: Keepalive,
}

#[derive(Debug)]
enum State {
    Datagrams { ping_at: Option<Time> },
    Connecting { waiting: VecDeque<Vec<u8>>, give_up_at: Time },
    Up { local: SocketAddr, origin: Origin, framer: Framer, service: Service, pong: Pong },
}

/// Who made a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    Ours,
    /// It came in; our end of it is the peer's choice.
    Peers,
}

/// What a connection is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Service {
    /// A call or a registration lives by it. `ping_at` is None where keep-alives are switched off.
    Wanted { ping_at: Option<Time> },
    /// Transactions may still end by it.
    Idle { close_at: Time },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pong {
    /// The peer has answered none so far, and need not.
    Unseen,
    Seen,
    Awaited {
        until: Time,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Keepalive {
    Off,
    Crlf(Span),
    Options(Span),
}

/// Whether something can be sent at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sip) enum Access {
    Ready,
    Connecting,
}

/// What time brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sip) enum Due {
    /// A ping is out.
    Pinged(Flow),
    /// Nobody is there (any more).
    Lost(Flow),
    /// Time for an OPTIONS.
    Probe(Flow),
}

/// Messages that may wait for one connection; the oldest gives way.
const MAX_WAITING: usize = 32;
/// Flows remembered; a device has one or two.
const MAX_FLOWS: usize = 32;
/// How long a ping may go unanswered (RFC 5626 4.4.1).
const PONG_PATIENCE: Span = Span::from_secs(10);

impl Flows {
    pub(in crate::sip) fn new(config: &config::Sip) -> Flows {
        let keepalive = match (config.keepalive_interval, config.keepalive) {
            (Span::ZERO, _) => Keepalive::Off,
            (every, config::Keepalive::Crlf) => Keepalive::Crlf(every),
            (every, config::Keepalive::Options) => Keepalive::Options(every),
        };
        Flows {
            records: BTreeMap::new(),
            names: BTreeMap::new(),
            public: BTreeMap::new(),
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            keepalive,
        }
    }

    /// Makes sure of a connection to the peer known as `host`.
    pub(in crate::sip) fn open(&mut self, now: Time, flow: Flow, host: &str, out: &mut Outbox) -> Access {
        if !flow.transport.is_reliable() {
            return Access::Ready;
        }
        if self.names.len() >= MAX_FLOWS && !self.names.contains_key(&flow) {
            self.names.pop_first();
        }
        self.names.insert(flow, host.into());
        match self.records.get(&flow) {
            Some(State::Up { .. } | State::Datagrams { .. }) => Access::Ready,
            Some(State::Connecting { .. }) => Access::Connecting,
            None => {
                self.connect(now, flow, out);
                Access::Connecting
            }
        }
    }

    /// Sends, or lets the message wait for the connection.
    pub(in crate::sip) fn send(&mut self, now: Time, flow: Flow, bytes: Vec<u8>, out: &mut Outbox) {
        if !flow.transport.is_reliable() {
            return out.push_back(Output::Send { flow, bytes });
        }
        if !self.records.contains_key(&flow) {
            self.connect(now, flow, out);
        }
        match self.records.get_mut(&flow) {
            Some(State::Up { service, .. }) => {
                service.used(now, self.idle_timeout);
                out.push_back(Output::Send { flow, bytes });
            }
            Some(State::Connecting { waiting, .. }) => {
                if waiting.len() >= MAX_WAITING {
                    waiting.pop_front();
                }
                waiting.push_back(bytes);
            }
            Some(State::Datagrams { .. }) | None => {}
        }
    }

    /// [`open`](Flows::open) for a peer whose name is known.
    pub(in crate::sip) fn open_again(&mut self, now: Time, flow: Flow, out: &mut Outbox) -> Access {
        let host = self.name(flow);
        self.open(now, flow, &host, out)
    }

    fn name(&self, flow: Flow) -> String {
        self.names.get(&flow).cloned().unwrap_or_else(|| flow.remote.ip().to_string())
    }

    fn connect(&mut self, now: Time, flow: Flow, out: &mut Outbox) {
        let host = self.name(flow);
        let give_up_at = now + self.connect_timeout;
        self.records.insert(flow, State::Connecting { waiting: VecDeque::new(), give_up_at });
        out.push_back(Output::Connect { flow, host });
    }

    /// The connection stands; what has waited for it goes out. `false`: nobody asked for it.
    pub(in crate::sip) fn on_connected(&mut self, now: Time, flow: Flow, local: SocketAddr, out: &mut Outbox) -> bool {
        let Some(State::Connecting { waiting, .. }) = self.records.get_mut(&flow) else { return false };
        let waiting = std::mem::take(waiting);
        self.records.insert(flow, State::up(now + self.idle_timeout, local, Origin::Ours));
        out.extend(waiting.into_iter().map(|bytes| Output::Send { flow, bytes }));
        true
    }

    /// A peer has connected. `false`: there are too many.
    pub(in crate::sip) fn on_accepted(&mut self, now: Time, flow: Flow, local: SocketAddr) -> bool {
        let fits = self.records.len() < MAX_FLOWS || self.records.contains_key(&flow);
        if fits {
            self.records.insert(flow, State::up(now + self.idle_timeout, local, Origin::Peers));
        }
        fits
    }

    /// A connection of ours that begins at another address than the device would use now.
    pub(in crate::sip) fn is_stranded(&self, flow: Flow, here: IpAddr) -> bool {
        match self.records.get(&flow) {
            Some(State::Up { local, origin: Origin::Ours, .. }) => local.ip() != here,
            Some(State::Up { origin: Origin::Peers, .. } | State::Connecting { .. } | State::Datagrams { .. })
            | None => false,
        }
    }

    /// The connection is lost, or could not be made. `false`: it was not known.
    pub(in crate::sip) fn on_disconnected(&mut self, flow: Flow) -> bool {
        self.public.remove(&flow);
        self.records.remove(&flow).is_some()
    }

    /// Closes a connection, if there is one.
    pub(in crate::sip) fn close(&mut self, flow: Flow, out: &mut Outbox) {
        if flow.transport.is_reliable() && self.on_disconnected(flow) {
            out.push_back(Output::Disconnect { flow });
        }
    }

    /// The messages in what arrived.
    ///
    /// # Errors
    /// The stream is [`Broken`]; what came before is lost with the connection.
    pub(in crate::sip) fn receive(
        &mut self,
        now: Time,
        flow: Flow,
        bytes: &[u8],
        out: &mut Outbox,
    ) -> Result<Vec<Vec<u8>>, Broken> {
        let whole = || Ok(if is_keepalive(bytes) { Vec::new() } else { vec![bytes.to_vec()] });
        let Some(State::Up { framer, service, pong, .. }) = self.records.get_mut(&flow) else {
            return match flow.transport {
                Transport::Udp => whole(),
                // Of a connection that has been given up.
                Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => Ok(Vec::new()),
            };
        };
        service.used(now, self.idle_timeout);
        if matches!(pong, Pong::Awaited { .. }) {
            *pong = Pong::Seen;
        }
        match flow.transport {
            Transport::Tcp | Transport::Tls => framer.push(bytes),
            // A WebSocket message is one SIP message (RFC 7118 5).
            Transport::Udp | Transport::Ws | Transport::Wss => {
                if bytes == PONG {
                    *pong = Pong::Seen;
                }
                return whole();
            }
        }
        let (mut messages, mut pings) = (Vec::new(), 0);
        while let Some(piece) = framer.cut()? {
            match piece {
                Piece::Message(message) => messages.push(message),
                Piece::Pong => *pong = Pong::Seen,
                Piece::Ping => pings += 1,
            }
        }
        out.extend((0..pings).map(|_| Output::Send { flow, bytes: PONG.to_vec() }));
        Ok(messages)
    }

    /// Our end of a connection.
    pub(in crate::sip) fn local(&self, flow: Flow) -> Option<SocketAddr> {
        match self.records.get(&flow) {
            Some(State::Up { local, .. }) => Some(*local),
            Some(State::Connecting { .. } | State::Datagrams { .. }) | None => None,
        }
    }

    /// Notes how a peer sees us.
    pub(in crate::sip) fn learn_public(&mut self, flow: Flow, seen: SocketAddr) {
        if self.public.len() >= MAX_FLOWS && !self.public.contains_key(&flow) {
            self.public.pop_first();
        }
        self.public.insert(flow, seen);
    }

    pub(in crate::sip) fn forget_public(&mut self, flow: Flow) {
        self.public.remove(&flow);
    }

    pub(in crate::sip) fn public(&self, flow: Flow) -> Option<SocketAddr> {
        self.public.get(&flow).copied()
    }

    /// Pings what is wanted, lets go of what is not.
    pub(in crate::sip) fn settle(&mut self, now: Time, wanted: &BTreeSet<Flow>) {
        let ping_at = self.keepalive.interval().map(|every| now + every);
        let close_at = now + self.idle_timeout;
        for flow in wanted.iter().filter(|flow| !flow.transport.is_reliable()) {
            self.records.entry(*flow).or_insert(State::Datagrams { ping_at });
        }
        self.records.retain(|flow, state| match state {
            State::Datagrams { .. } => wanted.contains(flow),
            State::Up { service, .. } => {
                *service = match (*service, wanted.contains(flow)) {
                    (service @ Service::Wanted { .. }, true) | (service @ Service::Idle { .. }, false) => service,
                    (Service::Idle { .. }, true) => Service::Wanted { ping_at },
                    (Service::Wanted { .. }, false) => Service::Idle { close_at },
                };
                true
            }
            State::Connecting { .. } => true,
        });
    }

    pub(in crate::sip) fn poll_timeout(&self) -> Option<Wakeup> {
        self.records.values().map(State::poll_timeout).fold(None, soonest)
    }

    pub(in crate::sip) fn handle_timeout(&mut self, now: Time, out: &mut Outbox) -> Vec<Due> {
        let mut due = Vec::new();
        let keepalive = self.keepalive;
        for (&flow, state) in &mut self.records {
            if state.poll_timeout().is_none_or(|wakeup| wakeup.at > now) {
                continue;
            }
            let (ping_at, pong) = match state {
                State::Datagrams { ping_at } => (ping_at, None),
                State::Up { pong: Pong::Awaited { until }, .. } if *until <= now => {
                    due.push(Due::Lost(flow));
                    continue;
                }
                State::Up { service: Service::Wanted { ping_at }, pong, .. } => (ping_at, Some(pong)),
                State::Connecting { .. } | State::Up { service: Service::Idle { .. }, .. } => {
                    due.push(Due::Lost(flow));
                    continue;
                }
            };
            *ping_at = keepalive.interval().map(|every| now + every);
            match keepalive {
                Keepalive::Off => {}
                Keepalive::Crlf(_) => {
                    if let Some(pong @ Pong::Seen) = pong {
                        *pong = Pong::Awaited { until: now + PONG_PATIENCE };
                    }
                    out.push_back(Output::Send { flow, bytes: PING.to_vec() });
                    due.push(Due::Pinged(flow));
                }
                Keepalive::Options(_) => due.push(Due::Probe(flow)),
            }
        }
        due
    }
}

impl State {
    fn up(close_at: Time, local: SocketAddr, origin: Origin) -> State {
        let service = Service::Idle { close_at };
        State::Up { local, origin, framer: Framer::default(), service, pong: Pong::Unseen }
    }

    fn poll_timeout(&self) -> Option<Wakeup> {
        match self {
            State::Datagrams { ping_at } => ping_at.map(|at| Wakeup::new(at, "sip: keep-alive")),
            State::Connecting { give_up_at, .. } => Some(Wakeup::new(*give_up_at, "sip: no connection")),
            State::Up { service: Service::Idle { close_at }, .. } => {
                Some(Wakeup::new(*close_at, "sip: idle connection"))
            }
            State::Up { service: Service::Wanted { ping_at }, pong, .. } => {
                let pong = match pong {
                    Pong::Awaited { until } => Some(Wakeup::new(*until, "sip: no pong")),
                    Pong::Unseen | Pong::Seen => None,
                };
                soonest(ping_at.map(|at| Wakeup::new(at, "sip: keep-alive")), pong)
            }
        }
    }
}

impl Service {
    fn used(&mut self, now: Time, idle_timeout: Span) {
        if let Service::Idle { close_at } = self {
            *close_at = now + idle_timeout;
        }
    }
}

impl Keepalive {
    fn interval(self) -> Option<Span> {
        match self {
            Keepalive::Off => None,
            Keepalive::Crlf(every) | Keepalive::Options(every) => Some(every),
        }
    }
}

/// Line ends (RFC 5626 4.4.1), or zeros, as some NAT helpers send.
fn is_keepalive(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0))
}
