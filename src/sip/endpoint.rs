//! The way into the SIP core: place a call, hang it up, feed datagrams and time.
//!
//! ```text
//!   bytes -> Flows -> message::parse -> Transactions --Notice--> Call (invite, cancel, bye, modify) -> Flows -> Outbox
//!                                           '-- new request --> its call, or an answer at once
//! ```
//!
//! Whatever is sent passes the flows last: what has no connection yet waits there until it stands.

use super::bye;
use super::call::{Call, acknowledge};
use super::core::{Core, Incoming, SUPPORTED};
use super::dialog::Dialog;
use super::incoming::MAX_UNDECIDED;
use super::invite::{self, media_type_is};
use super::media_keys::MediaKeys;
use super::message::uri::Uri;
use super::message::{self, Headers, Message, Method, Name, Request};
use super::register::{self, Registration};
use super::transaction::{Answer, Notice, Purpose, User};
use super::transport::flows::Due;
use super::transport::{Flow, Route, Target};
use super::{cancel, options};
use crate::config;
use crate::dtmf::{Digit, Digits};
use crate::random::Rng;
use crate::sdp::{Local, Negotiated};
use crate::srtp::Entropy;
use crate::time::{Time, Wakeup, soonest};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// Number of a call; never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CallId(pub u32);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteError {
    UnknownHost,
    Unreachable,
    /// No connection came about, or it was lost; why, for people.
    NoConnection(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    Send {
        flow: Flow,
        bytes: Vec<u8>,
    },
    /// Connect; `host` is the name the peer's certificate has to bear. Answered by [`Endpoint::handle_connected`] or
    /// [`Endpoint::handle_disconnected`].
    Connect {
        flow: Flow,
        host: String,
    },
    /// Close the connection, or stop making it. Not answered.
    Disconnect {
        flow: Flow,
    },
    /// Find ways to a host (name or address literal); answered by [`Endpoint::handle_route`].
    Resolve(Target),
    Event(Event),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A provisional response: 100, 180, 183 ...
    Progress {
        call: CallId,
        status: u16,
    },
    /// Somebody calls (only with `sip.incoming = "accept"`): to be followed by [`Endpoint::ring`],
    /// [`Endpoint::answer`] or [`Endpoint::refuse`]. [`Event::Ended`] follows if the caller gives up first.
    Incoming {
        call: CallId,
        caller: Caller,
        /// Where the INVITE came from.
        source: SocketAddr,
        /// The Request-URI: whom the caller wants.
        number: String,
    },
    /// SDP of a provisional response: what arrives may be played before the call is answered (RFC 3261 13.2.1). Said
    /// again when it changes.
    Early {
        call: CallId,
        media: Negotiated,
    },
    /// 2xx and ACK are exchanged; media may flow.
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
    /// The peer wants us to call `target` instead, with these headers in the INVITE (only with `sip.refer = "follow"`);
    /// [`Endpoint::tell_referrer`] says what came of it.
    Referred {
        call: CallId,
        target: String,
        headers: Headers,
    },
    /// The peer has pressed a key (INFO).
    Digit {
        call: CallId,
        digit: Digit,
    },
    /// Digits that were to be [pressed](Endpoint::press) did not all arrive; the rest is dropped.
    DigitsLost {
        call: CallId,
    },
    /// This server of `sip.register.servers` knows the device now. Not said again when it is refreshed.
    Registered {
        server: String,
    },
    /// No server knows the device, the last one asked because of this.
    NotRegistered {
        server: String,
        cause: EndCause,
        retry_at: Time,
    },
    /// At our wish ([`Endpoint::unregister`]).
    Unregistered,
    /// A datagram was not SIP, or it or its SDP broke a rule; dropped (counted, reported once per kind by the agent).
    Malformed {
        from: SocketAddr,
        what: &'static str,
    },
}

/// Who calls, in his own words: From proves nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    pub uri: String,
    /// Display name; empty: none.
    pub name: String,
}

/// Why a call is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndCause {
    /// We hung up, and the peer knows (or will not answer).
    Local,
    /// BYE or CANCEL of the peer, with the text of its Reason header (RFC 3326), if any.
    Remote {
        reason: Option<String>,
    },
    /// A final response that is not 2xx: its phrase, with the text of its Reason header if it has one.
    Refused {
        status: u16,
        reason: String,
    },
    /// Timer B: nobody answered at all; or nobody acknowledged.
    Timeout,
    /// It rang until `invite_timeout`, here or there.
    NoAnswer,
    Unroutable(RouteError),
    /// The digest challenge could not be met (no or wrong password).
    AuthenticationFailed,
    /// The answer has no Opus, or is no SDP, or its media are not protected as they have to be.
    NoCommonMedia,
    /// Media have to be protected, and the way to the peer would show the keys to everybody.
    SignallingUnprotected,
}

/// Session refreshes that were answered with 2xx (RFC 4028): those we sent, and those of peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refreshes {
    pub ours: u32,
    pub peers: u32,
}

pub type Outbox = VecDeque<Output>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallError {
    /// Not a `sip:` or `sips:` URI we can dial.
    BadUri(String),
}

/// The SIP user agent of the device: its calls and its transactions.
pub struct Endpoint {
    pub(super) core: Core,
    pub(super) registration: Registration,
    calls: BTreeMap<CallId, Call>,
    next_call: u32,
}

impl Endpoint {
    pub fn new(config: &config::Sip, rng: Rng) -> Endpoint {
        let mut core = Core::new(config, rng);
        let registration = Registration::new(config, &mut core);
        Endpoint { core, registration, calls: BTreeMap::new(), next_call: 1 }
    }

    /// How media are protected, from the next call on.
    pub fn protect_media(&mut self, config: &config::Rtp) {
        self.core.media_keys = MediaKeys::new(config);
    }

    /// The next call needs keys of its own: [`give_keys`](Endpoint::give_keys).
    pub fn wants_keys(&self) -> bool {
        self.core.media_keys.wanted()
    }

    /// Keys for the next call, from the system's random generator.
    pub fn give_keys(&mut self, entropy: Entropy) {
        self.core.media_keys.give(entropy);
    }

    /// The device's own id: servers know it again by it (RFC 5626 4.1).
    pub fn set_device(&mut self, device: &str) {
        self.core.instance = register::instance(device);
    }

    /// The port of the SIP socket, once it is bound.
    pub fn set_local_port(&mut self, port: u16) {
        self.core.port = port;
    }

    /// Dials `target`, a `sip:` or `sips:` URI as the room gives it; host map and outbound proxy are applied here.
    ///
    /// # Errors
    /// [`CallError::BadUri`]: nothing was started.
    pub fn call(&mut self, now: Time, target: &str, local: Local, out: &mut Outbox) -> Result<CallId, CallError> {
        self.call_with(now, target, Headers::default(), local, out)
    }

    /// [`call`](Endpoint::call) with `headers` in its INVITEs.
    ///
    /// # Errors
    /// [`CallError::BadUri`]: nothing was started.
    pub fn call_with(
        &mut self,
        now: Time,
        target: &str,
        headers: Headers,
        local: Local,
        out: &mut Outbox,
    ) -> Result<CallId, CallError> {
        self.step(now, out, |endpoint, out| {
            let id = CallId(endpoint.next_call);
            let call = Call::place(&mut endpoint.core, now, id, target, headers, local, out)?;
            endpoint.next_call += 1;
            endpoint.calls.insert(id, call);
            Ok(id)
        })
    }

    /// Ends a call in whatever state it is: nothing, CANCEL or BYE. [`Event::Ended`] follows, at once or later: at the
    /// latest 64 T1 after the last request went out (Timers B and F).
    pub fn hang_up(&mut self, now: Time, call: CallId, reason: Option<&str>, out: &mut Outbox) {
        self.with_call(now, call, out, |call, core, out| call.hang_up(core, now, reason, out));
    }

    /// Lets an incoming call ring at its caller.
    pub fn ring(&mut self, now: Time, call: CallId, out: &mut Outbox) {
        self.with_call(now, call, out, |call, core, out| call.ring(core, now, out));
    }

    /// Accepts an incoming call: 200, and [`Event::Confirmed`] with its ACK. An offer without Opus is refused with 488.
    pub fn answer(&mut self, now: Time, call: CallId, local: Local, out: &mut Outbox) {
        self.with_call(now, call, out, |call, core, out| call.accept_invite(core, now, local, out));
    }

    /// Turns an incoming call down with a final `status` of 400 to 699. [`Event::Ended`] follows at once.
    pub fn refuse(&mut self, now: Time, call: CallId, status: u16, out: &mut Outbox) {
        let status = status.clamp(400, 699);
        self.with_call(now, call, out, |call, core, out| call.decline(core, now, status, EndCause::Local, out));
    }

    /// Offers other media by re-INVITE (hold, unhold). [`Event::Modified`] follows if the peer accepts; if it refuses,
    /// nothing changes and nothing is said (RFC 3261 14.1).
    pub fn modify(&mut self, now: Time, call: CallId, local: Local, out: &mut Outbox) {
        self.with_call(now, call, out, |call, core, out| call.modify(core, now, local, out));
    }

    /// The final status of what an [`Event::Referred`] asked for; nothing if none is open.
    pub fn tell_referrer(&mut self, now: Time, call: CallId, status: u16, out: &mut Outbox) {
        self.with_call(now, call, out, |call, core, out| call.tell_referrer(core, now, status, out));
    }

    /// Sends digits of a confirmed call by INFO, after those that still wait.
    pub fn press(&mut self, now: Time, call: CallId, digits: &Digits, out: &mut Outbox) {
        self.with_call(now, call, out, |call, core, out| call.press(core, now, digits, out));
    }

    /// A datagram, a WebSocket message, or bytes of a stream, cut anywhere.
    pub fn handle_received(&mut self, now: Time, flow: Flow, bytes: &[u8], out: &mut Outbox) {
        self.step(now, out, |endpoint, out| match endpoint.core.flows.receive(now, flow, bytes, out) {
            Ok(messages) => messages.iter().for_each(|message| endpoint.handle_message(now, flow, message, out)),
            Err(_) => {
                out.push_back(Output::Event(Event::Malformed { from: flow.remote, what: "stream_broken" }));
                endpoint.lose(now, flow, "what arrived is no SIP", out);
            }
        });
    }

    /// The connection asked for stands; `local` is our end of it.
    pub fn handle_connected(&mut self, now: Time, flow: Flow, local: SocketAddr, out: &mut Outbox) {
        self.step(now, out, |endpoint, out| {
            if endpoint.core.flows.on_connected(now, flow, local, out) {
                let Endpoint { calls, core, registration, .. } = endpoint;
                calls.values_mut().for_each(|call| call.on_flow_up(core, now, flow, out));
                registration.on_flow_up(core, now, flow, out);
            }
        });
    }

    /// A peer has connected to us; `local` is our end.
    pub fn handle_accepted(&mut self, now: Time, flow: Flow, local: SocketAddr, out: &mut Outbox) {
        self.step(now, out, |endpoint, out| {
            if !endpoint.core.flows.on_accepted(now, flow, local) {
                out.push_back(Output::Disconnect { flow });
            }
        });
    }

    /// A connection is lost, or could not be made: what waits for an answer by it has failed (RFC 3261 18.4).
    pub fn handle_disconnected(&mut self, now: Time, flow: Flow, why: &str, out: &mut Outbox) {
        self.step(now, out, |endpoint, out| {
            why.clone_into(&mut endpoint.core.last_loss);
            let made = endpoint.core.flows.local(flow).is_some();
            if endpoint.core.flows.on_disconnected(flow) {
                if !made {
                    endpoint.core.note_refusal(now, flow);
                }
                endpoint.on_lost(now, flow, out);
            }
        });
    }

    /// The device may have other addresses than before. Calls whose way begins at another one now move there.
    pub fn handle_addresses_changed(&mut self, now: Time, out: &mut Outbox) {
        self.step(now, out, |endpoint, out| {
            let mut flows = BTreeSet::new();
            endpoint.calls.values().for_each(|call| call.flows_to_check(&mut flows));
            out.extend(flows.into_iter().map(|flow| Output::Resolve(flow.target())));
            let Endpoint { registration, core, .. } = endpoint;
            registration.on_network(core, now, out);
        });
    }

    fn handle_message(&mut self, now: Time, flow: Flow, bytes: &[u8], out: &mut Outbox) {
        match message::parse(bytes) {
            // RFC 3261 8.1.3.3: a response with another Via below ours is for somebody behind us, and nobody is.
            Ok(Message::Response { response, .. }) if response.headers.elements(&Name::Via).count() > 1 => {}
            Ok(Message::Response { response, identity }) => {
                let notice = self.core.transactions.handle_response(now, response, identity, out);
                if let Some(notice) = notice {
                    if let Notice::Answered { answer, .. } = &notice {
                        self.core.learn_public(answer.route, &answer.identity.via);
                    }
                    self.deliver(now, notice, out);
                }
            }
            Ok(Message::Request { request, identity }) => {
                let incoming = Incoming { now, flow, request: &request, identity: &identity };
                self.handle_request(&incoming, out);
            }
            Err(malformed) => {
                out.push_back(Output::Event(Event::Malformed { from: flow.remote, what: malformed.what }));
                if let Some(refusal) = malformed.answer {
                    self.core.refuse_malformed(flow, &refusal, out);
                }
            }
        }
    }

    /// The answer to [`Output::Resolve`], good for every call that waits for it: the ways, best first.
    pub fn handle_route(
        &mut self,
        now: Time,
        target: &Target,
        routes: Result<Vec<Route>, RouteError>,
        out: &mut Outbox,
    ) {
        self.step(now, out, |endpoint, out| {
            // A connection from an address that is not ours any more leads nowhere, though nobody says so.
            for Route { flow, local } in routes.iter().flatten() {
                if endpoint.core.flows.is_stranded(*flow, *local) {
                    endpoint.lose(now, *flow, "the device has another address", out);
                }
            }
            let Endpoint { calls, core, registration, .. } = endpoint;
            calls.values_mut().for_each(|call| call.on_route(core, now, target, &routes, out));
            registration.on_route(core, now, target, &routes, out);
        });
    }

    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let core = soonest(self.core.transactions.poll_timeout(), self.core.flows.poll_timeout());
        let core = soonest(core, self.registration.poll_timeout());
        self.calls.values().map(Call::poll_timeout).fold(core, soonest)
    }

    pub fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        self.step(now, out, |endpoint, out| {
            for due in endpoint.core.flows.handle_timeout(now, out) {
                match due {
                    Due::Lost(flow) => endpoint.lose(now, flow, "nobody answers", out),
                    Due::Probe(flow) => {
                        let route = endpoint.lived_by().find(|route| route.flow == flow);
                        let core = &mut endpoint.core;
                        route.iter().for_each(|route| options::probe(core, now, *route, out));
                        out.push_back(Output::Resolve(flow.target()));
                    }
                    Due::Pinged(flow) => out.push_back(Output::Resolve(flow.target())),
                }
            }
            for notice in endpoint.core.transactions.handle_timeout(now, out) {
                endpoint.deliver(now, notice, out);
            }
            let Endpoint { calls, core, registration, .. } = endpoint;
            calls.values_mut().for_each(|call| call.handle_timeout(core, now, out));
            registration.handle_timeout(core, now, out);
        });
        debug_assert!(self.poll_timeout().is_none_or(|next| next.at > now), "a fired timer is still set");
    }

    /// Transactions that are remembered: none of a call that nothing has happened to for a minute.
    pub fn transactions(&self) -> usize {
        self.core.transactions.count()
    }

    /// Counted over all calls since the start.
    pub fn refreshes(&self) -> Refreshes {
        self.core.refreshes
    }

    /// No call left, and no BYE of an unwanted fork waits for its answer: the process may exit. Transactions that only
    /// listen for repetitions (Timers D, I, J, K, L, M) do not count.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.core.transactions.is_idle()
    }

    fn with_call(
        &mut self,
        now: Time,
        id: CallId,
        out: &mut Outbox,
        act: impl FnOnce(&mut Call, &mut Core, &mut Outbox),
    ) {
        self.step(now, out, |endpoint, out| {
            if let Some(call) = endpoint.calls.get_mut(&id) {
                act(call, &mut endpoint.core, out);
            }
        });
    }

    /// Does something, and then what follows from it: calls that are over go, flows carry what is to be sent.
    pub(super) fn step<R>(
        &mut self,
        now: Time,
        out: &mut Outbox,
        act: impl FnOnce(&mut Endpoint, &mut Outbox) -> R,
    ) -> R {
        let mut outputs = Outbox::new();
        let result = act(self, &mut outputs);
        self.sweep();
        for output in outputs {
            match output {
                Output::Send { flow, bytes } => self.core.flows.send(now, flow, bytes, out),
                output @ (Output::Connect { .. }
                | Output::Disconnect { .. }
                | Output::Resolve(_)
                | Output::Event(_)) => {
                    out.push_back(output);
                }
            }
        }
        let waiting = self.core.transactions.waiting_by().filter(|flow| flow.transport.is_reliable());
        let wanted = self.lived_by().map(|route| route.flow).chain(waiting).collect();
        self.core.flows.settle(now, &wanted);
        result
    }

    /// The ways that calls and the registration live by.
    fn lived_by(&self) -> impl Iterator<Item = Route> {
        self.calls.values().filter_map(Call::lives_by).chain(self.registration.lives_by())
    }

    /// Gives a connection up, or the making of one.
    fn lose(&mut self, now: Time, flow: Flow, why: &str, out: &mut Outbox) {
        why.clone_into(&mut self.core.last_loss);
        if self.core.flows.local(flow).is_none() {
            self.core.note_refusal(now, flow);
        }
        self.core.flows.close(flow, out);
        self.on_lost(now, flow, out);
    }

    /// Nobody answers an OPTIONS by this flow. A connection is given up, and calls move to another. Of datagrams nothing
    /// is left to be made anew: each call asks its own peer, and ends if that is silent too.
    fn on_silence(&mut self, now: Time, flow: Flow, out: &mut Outbox) {
        if flow.transport.is_reliable() {
            return self.lose(now, flow, "nobody answers OPTIONS", out);
        }
        let Endpoint { calls, core, registration, .. } = self;
        calls.values_mut().for_each(|call| call.on_silence(core, now, flow, out));
        registration.on_flow_lost(core, now, flow, out);
    }

    fn on_lost(&mut self, now: Time, flow: Flow, out: &mut Outbox) {
        for notice in self.core.transactions.handle_failure(now, flow, out) {
            self.deliver(now, notice, out);
        }
        let Endpoint { calls, core, registration, .. } = self;
        calls.values_mut().for_each(|call| call.on_flow_lost(core, now, flow, out));
        registration.on_flow_lost(core, now, flow, out);
    }

    fn sweep(&mut self) {
        let over: Vec<CallId> = self.calls.values().filter(|call| call.is_over()).map(|call| call.id).collect();
        for id in over {
            self.calls.remove(&id);
            self.core.transactions.release(id);
        }
    }

    fn deliver(&mut self, now: Time, notice: Notice, out: &mut Outbox) {
        let id = match &notice {
            Notice::Answered { user, .. } | Notice::TimedOut { user } | Notice::Failed { user } => {
                match (user.purpose, &notice) {
                    (Purpose::Register, _) => return self.registration.on_notice(&mut self.core, now, notice, out),
                    (Purpose::Probe(flow), Notice::TimedOut { .. }) => return self.on_silence(now, flow, out),
                    _ => user.call,
                }
            }
            Notice::Unacknowledged { call } => *call,
        };
        match (self.calls.get_mut(&id), notice) {
            (Some(call), notice) => call.on_notice(&mut self.core, now, notice, out),
            (None, Notice::Answered { user, answer }) if answer.response.status / 100 == 2 => {
                self.acknowledge_late(now, user, &answer, out);
            }
            (
                None,
                Notice::Answered { .. }
                | Notice::TimedOut { .. }
                | Notice::Failed { .. }
                | Notice::Unacknowledged { .. },
            ) => {}
        }
    }

    /// A 2xx for a call that is over: a fork of its INVITE is hung up, a re-INVITE only wants its ACK.
    fn acknowledge_late(&mut self, now: Time, user: User, answer: &Answer, out: &mut Outbox) {
        match user.purpose {
            Purpose::Invite => bye::drop_fork(&mut self.core, now, user.call, answer, out),
            Purpose::Reinvite => {
                let dialog = Dialog::of_answer(answer);
                acknowledge(&mut self.core, &dialog, answer.route, answer, out);
            }
            Purpose::Bye
            | Purpose::Cancel
            | Purpose::Digit
            | Purpose::DropFork
            | Purpose::Notify
            | Purpose::Prack
            | Purpose::Probe(_)
            | Purpose::Refresh
            | Purpose::Register
            | Purpose::Unregister => {}
        }
    }

    /// RFC 3261 8.2: repetitions first, then the dialog, then method, headers and body, each with its own refusal.
    fn handle_request(&mut self, incoming: &Incoming<'_>, out: &mut Outbox) {
        let Incoming { now, request, identity, .. } = *incoming;
        if self.core.transactions.absorb(now, request, identity, out) {
            return;
        }
        let call = self.calls.values_mut().find(|call| call.matches(identity));
        if request.method == Method::Ack {
            // One that fits nothing is a stray; nothing answers an ACK.
            if let Some(call) = call {
                call.on_ack(&mut self.core, now, request, identity.cseq.number, out);
            }
            return;
        }
        if request.method == Method::Cancel {
            let cancelled = cancel::answer(&mut self.core, incoming, out);
            if let Some(call) = cancelled.and_then(|call| self.calls.get_mut(&call)) {
                let cause = EndCause::Remote { reason: bye::reason_of(&request.headers) };
                call.decline(&mut self.core, now, 487, cause, out);
            }
            return;
        }
        if let Some(status) = unacceptable(request, self.core.config.refer) {
            return self.refuse_unacceptable(incoming, status, out);
        }
        if let Some(call) = call {
            return call.on_request(&mut self.core, incoming, out);
        }
        if identity.to.tag().is_some() {
            return self.core.refuse(incoming, 481, out);
        }
        match request.method {
            Method::Options => options::answer(&mut self.core, incoming, out),
            Method::Invite => self.on_invite(incoming, out),
            // These make sense in a dialog only (RFC 3261 15.1.2, RFC 3311 5.2, RFC 6086 4.2.2, RFC 6665, RFC 3262).
            Method::Bye | Method::Update | Method::Info | Method::Notify | Method::Prack => {
                self.core.refuse(incoming, 481, out);
            }
            Method::Ack
            | Method::Cancel
            | Method::Message
            | Method::Publish
            | Method::Refer
            | Method::Register
            | Method::Subscribe
            | Method::Other(_) => self.core.refuse(incoming, 405, out),
        }
    }

    fn on_invite(&mut self, incoming: &Incoming<'_>, out: &mut Outbox) {
        // RFC 3261 8.2.2.2: the same request by another way.
        let transactions = &self.core.transactions;
        let merged = self.calls.values().any(|call| call.is_made_by(incoming.identity, transactions));
        if merged {
            return self.core.refuse(incoming, 482, out);
        }
        let undecided = self.calls.values().filter(|call| call.is_undecided()).count();
        match self.core.config.incoming {
            config::Incoming::Accept if undecided < MAX_UNDECIDED => {
                let id = CallId(self.next_call);
                if let Some(call) = Call::arrive(&mut self.core, id, incoming, out) {
                    self.next_call += 1;
                    self.calls.insert(id, call);
                }
            }
            config::Incoming::Accept | config::Incoming::Refuse => {
                let busy = !self.calls.is_empty();
                invite::turn_down(&mut self.core, incoming, busy, out);
            }
        }
    }

    fn refuse_unacceptable(&mut self, incoming: &Incoming<'_>, status: u16, out: &mut Outbox) {
        if status != 420 {
            return self.core.refuse(incoming, status, out);
        }
        let mut response = self.core.response(incoming, 420);
        let unsupported: Vec<&str> = unsupported(&incoming.request.headers).collect();
        response.headers.push(Name::Unsupported, unsupported.join(", "));
        self.core.respond(incoming, &response, None, out);
    }
}

/// Method, header and body inspection of RFC 3261 8.2.1 to 8.2.3: the status to refuse with, if any.
fn unacceptable(request: &Request, refer: config::Refer) -> Option<u16> {
    if !is_known(&request.method, refer) {
        return Some(405);
    }
    let headers = &request.headers;
    if Uri::parse(&request.uri).is_err() {
        return Some(if Uri::is_sip(&request.uri) { 400 } else { 416 });
    }
    if unsupported(headers).next().is_some() {
        return Some(420);
    }
    let carries_sdp = matches!(request.method, Method::Invite | Method::Update) && !request.body.is_empty();
    let is_sdp = headers.first(&Name::ContentType).is_none_or(|value| media_type_is(value, "application/sdp"));
    let is_plain = headers.elements(&Name::ContentEncoding).all(|encoding| encoding.eq_ignore_ascii_case("identity"));
    if carries_sdp && !(is_sdp && is_plain) {
        return Some(415);
    }
    None
}

/// What a request requires that we cannot do (RFC 3261 8.2.2.3).
fn unsupported(headers: &Headers) -> impl Iterator<Item = &str> {
    let known = |option: &str| SUPPORTED.split(", ").any(|known| known.eq_ignore_ascii_case(option));
    headers.elements(&Name::Require).filter(move |option| !known(option))
}

/// What is not in `Allow` but has an answer of its own is known too.
fn is_known(method: &Method, refer: config::Refer) -> bool {
    match method {
        Method::Refer => refer == config::Refer::Follow,
        Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Info
        | Method::Invite
        | Method::Notify
        | Method::Options
        | Method::Prack
        | Method::Update => true,
        Method::Message | Method::Publish | Method::Register | Method::Subscribe | Method::Other(_) => false,
    }
}
