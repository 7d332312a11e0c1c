//! Transactions (RFC 3261 17, RFC 6026): who repeats what until when, and what a lost connection does to them.
//!
//! ```text
//!              requests we send               requests we get
//!   INVITE     client_invite (A B D M)        server_invite (G H I L)
//!   others     client        (E F K)          server        (J)
//! ```
//!
//! [`Transactions`] owns them all, matches messages to them (17.1.3, 17.2.3) and tells the user of a transaction what
//! came of it by a [`Notice`]. A response without a transaction is a stray and ignored.

mod client;
mod client_invite;
mod server;
mod server_invite;

use self::client::Client;
use self::client_invite::ClientInvite;
use self::server::Server;
use self::server_invite::ServerInvite;
use super::endpoint::{CallId, Outbox, Output};
use super::message::via::Via;
use super::message::{Identity, Method, Name, Request, Response};
use super::transport::{Flow, Route, Transport};
use crate::time::{Span, Time, Wakeup, soonest};
use std::collections::BTreeMap;

/// T1, T2, T4 of RFC 3261 17.1.1.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) t1: Span,
    pub(super) t2: Span,
    pub(super) t4: Span,
}

impl Timing {
    /// Timers B, F, H, J, L and M.
    pub(super) fn timeout(self) -> Span {
        self.t1.times(64)
    }

    /// The pause after one of `pause` (Timers E and G).
    fn longer(self, pause: Span) -> Span {
        pause.times(2).min(self.t2)
    }

    /// When to send again (Timers A and E): never over a connection.
    fn repeat(self, now: Time, pause: Span, route: Route) -> Option<Time> {
        (!route.flow.transport.is_reliable()).then(|| now + pause)
    }

    /// How long repetitions of the other side may still come (Timers D, I, J and K): they do not over a connection.
    fn linger(self, now: Time, span: Span, flow: Flow) -> Time {
        if flow.transport.is_reliable() { now } else { now + span }
    }
}

/// For whom a client transaction runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct User {
    pub(super) call: CallId,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Invite,
    Reinvite,
    /// UPDATE without SDP, for the session timer.
    Refresh,
    /// INFO with a digit.
    Digit,
    /// What became of a REFER.
    Notify,
    Prack,
    Bye,
    /// Its outcome says nothing: the INVITE's own final response decides (RFC 3261 9.1).
    Cancel,
    /// BYE in a dialog nobody wants: a further fork of an INVITE, or one whose call is gone.
    DropFork,
    /// OPTIONS to keep a flow alive; of no call.
    Probe(Flow),
    /// Of no call either.
    Register,
    /// REGISTER that takes back a binding nobody needs: its outcome says nothing.
    Unregister,
}

/// What a transaction tells its user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Notice {
    Answered {
        user: User,
        answer: Box<Answer>,
    },
    /// Timer B or F.
    TimedOut {
        user: User,
    },
    /// The connection the request went by is lost, or could not be made (RFC 3261 17.1.4).
    Failed {
        user: User,
    },
    /// Our 2xx to an INVITE was never acknowledged (RFC 3261 13.3.1.4), or our reliable 1xx not by PRACK (RFC 3262 3).
    Unacknowledged {
        call: CallId,
    },
}

/// A response together with the request it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) request: Request,
    pub(super) response: Response,
    /// Of the response.
    pub(super) identity: Identity,
    /// The way the request took.
    pub(super) route: Route,
}

/// What a CANCEL meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cancelled {
    Unknown,
    /// Its INVITE is answered finally.
    TooLate,
    /// This call has to answer it.
    Undecided(CallId),
}

/// What a timer did to a transaction.
enum Fired {
    Nothing,
    /// The transaction is over, nothing to tell.
    Done,
    TimedOut,
    /// Nothing can be sent (any more) the way it was to go.
    Failed,
}

/// Beyond this many answers the oldest that is of no call gives way; for a longer one a request is answered but not
/// remembered.
const MAX_SERVERS: usize = 256;
const MAX_KEPT_ANSWER: usize = 8_192;

pub(super) struct Transactions {
    timing: Timing,
    client_invites: BTreeMap<String, ClientInvite>,
    clients: BTreeMap<(String, Method), Client>,
    server_invites: BTreeMap<String, ServerInvite>,
    servers: BTreeMap<String, Server>,
}

impl Transactions {
    pub(super) fn new(timing: Timing) -> Transactions {
        Transactions {
            timing,
            client_invites: BTreeMap::new(),
            clients: BTreeMap::new(),
            server_invites: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.client_invites.len() + self.clients.len() + self.server_invites.len() + self.servers.len()
    }

    pub(super) fn timing(&self) -> Timing {
        self.timing
    }

    /// Sends `request`, whose topmost Via has `branch`, and repeats it until it is answered. The second route of `way`
    /// serves when the connection of the first cannot be had.
    pub(super) fn start(
        &mut self,
        now: Time,
        request: Request,
        branch: &str,
        way: (Route, Option<Route>),
        user: User,
        out: &mut Outbox,
    ) {
        if request.method == Method::Invite {
            let transaction = ClientInvite::start(now, request, way, user, self.timing, out);
            self.client_invites.insert(branch.into(), transaction);
        } else {
            let key = (branch.to_string(), request.method.clone());
            self.clients.insert(key, Client::start(now, request, way, user, self.timing, out));
        }
    }

    /// Keeps the ACK of a 2xx with To tag `tag`: each repetition of that 2xx is answered with it (RFC 3261 13.2.2.4).
    pub(super) fn acknowledge(&mut self, branch: &str, tag: &str, ack: Vec<u8>, flow: Flow, out: &mut Outbox) {
        out.push_back(Output::Send { flow, bytes: ack.clone() });
        if let Some(transaction) = self.client_invites.get_mut(branch) {
            transaction.keep_ack(tag, ack, flow);
        }
    }

    /// Sends the CANCEL of an INVITE that was answered provisionally (RFC 3261 9.1).
    pub(super) fn cancel(&mut self, now: Time, branch: &str, reason: Option<String>, out: &mut Outbox) {
        let Some(invite) = self.client_invites.get(branch) else { return };
        let (request, route, user) = invite.cancel(reason);
        let user = User { purpose: Purpose::Cancel, ..user };
        self.start(now, request, branch, (route, None), user, out);
    }

    /// Nobody waits for the outcome of an INVITE any more: its CANCEL led to nothing (RFC 3261 9.1), or its dialog ended.
    pub(super) fn abandon(&mut self, now: Time, branch: &str) {
        if let Some(invite) = self.client_invites.get_mut(branch) {
            invite.abandon(now, self.timing);
        }
    }

    /// Matches a response by branch and CSeq method (RFC 3261 17.1.3).
    pub(super) fn handle_response(
        &mut self,
        now: Time,
        response: Response,
        identity: Identity,
        out: &mut Outbox,
    ) -> Option<Notice> {
        let branch = identity.via.branch()?;
        if identity.cseq.method == Method::Invite {
            let transaction = self.client_invites.get_mut(branch)?;
            return transaction.handle_response(now, response, identity, self.timing, out);
        }
        let key = (branch.to_string(), identity.cseq.method.clone());
        self.clients.get_mut(&key)?.handle_response(now, response, identity, self.timing)
    }

    /// `true`: the request repeats one that was answered; the answer was sent again if one is due.
    pub(super) fn absorb(&mut self, now: Time, request: &Request, identity: &Identity, out: &mut Outbox) -> bool {
        if request.method == Method::Ack {
            let key = server_key(request, identity, Method::Invite.as_str());
            return self.server_invites.get_mut(&key).is_some_and(|invite| invite.handle_ack(now, self.timing));
        }
        let key = server_key(request, identity, request.method.as_str());
        if request.method == Method::Invite {
            return self.server_invites.get(&key).map(|invite| invite.repeat(out)).is_some();
        }
        self.servers.get(&key).map(|server| server.repeat(out)).is_some()
    }

    /// The INVITE that `cancel` names (RFC 3261 9.2).
    pub(super) fn cancelled(&self, cancel: &Request, identity: &Identity) -> Cancelled {
        match self.server_invites.get(&server_key(cancel, identity, Method::Invite.as_str())) {
            None => Cancelled::Unknown,
            Some(invite) => invite.decider().map_or(Cancelled::TooLate, Cancelled::Undecided),
        }
    }

    /// An INVITE has come whose answer is `call`'s to give. `false`: there are too many already.
    pub(super) fn undecided(&mut self, request: &Request, identity: &Identity, flow: Flow, call: CallId) -> bool {
        if !self.make_room() {
            return false;
        }
        let key = server_key(request, identity, request.method.as_str());
        self.server_invites.insert(key, ServerInvite::undecided(flow, identity.cseq.number, call));
        true
    }

    /// A provisional answer to such an INVITE: sent, and sent again with each repetition of the INVITE; one with an RSeq
    /// (RFC 3262 3) also by itself, until [`Transactions::pracked`].
    pub(super) fn proceed(&mut self, now: Time, call: CallId, bytes: Vec<u8>, rseq: Option<u32>, out: &mut Outbox) {
        let timing = self.timing;
        for invite in self.server_invites.values_mut().filter(|invite| invite.decider() == Some(call)) {
            invite.proceed(now, bytes.clone(), rseq, timing, out);
        }
    }

    /// A PRACK for that RSeq came. `false`: it was not awaited.
    pub(super) fn pracked(&mut self, call: CallId, rseq: u32) -> bool {
        let mut invites = self.server_invites.values_mut().filter(|invite| invite.decider() == Some(call));
        invites.any(|invite| invite.pracked(rseq))
    }

    /// Sends the final `response` to `request` and keeps it for repetitions. `call` hears of a 2xx to INVITE that is
    /// never acknowledged.
    #[allow(clippy::too_many_arguments)] // one call of a plain table; a struct for it would only be taken apart again
    pub(super) fn respond(
        &mut self,
        now: Time,
        request: &Request,
        identity: &Identity,
        response: &Response,
        flow: Flow,
        call: Option<CallId>,
        out: &mut Outbox,
    ) {
        let bytes = response.to_bytes();
        out.push_back(Output::Send { flow, bytes: bytes.clone() });
        let key = server_key(request, identity, request.method.as_str());
        let has_place = self.server_invites.contains_key(&key);
        if !has_place && (bytes.len() > MAX_KEPT_ANSWER || !self.make_room()) {
            return;
        }
        if request.method == Method::Invite {
            let number = identity.cseq.number;
            let success = response.status < 300;
            let invite = ServerInvite::answered(now, bytes, flow, success, number, call, self.timing);
            self.server_invites.insert(key, invite);
        } else {
            self.servers.insert(key, Server::answered(now, bytes, flow, self.timing));
        }
    }

    /// Forgets the oldest answer that is of no call if there are too many: strangers must not keep calls from theirs.
    /// `false`: there is none.
    fn make_room(&mut self) -> bool {
        if self.servers.len() + self.server_invites.len() < MAX_SERVERS {
            return true;
        }
        let server = self.servers.iter().map(|(key, server)| (server.over_at(), key)).min();
        let invite = self.server_invites.iter().filter_map(|(key, invite)| Some((invite.strangers()?, key))).min();
        match (server, invite) {
            (Some((server_at, _)), Some((at, key))) if at < server_at => {
                let key = key.clone();
                self.server_invites.remove(&key);
            }
            (Some((_, key)), _) => {
                let key = key.clone();
                self.servers.remove(&key);
            }
            (None, Some((_, key))) => {
                let key = key.clone();
                self.server_invites.remove(&key);
            }
            (None, None) => return false,
        }
        true
    }

    /// The ACK of a 2xx we gave to `call`'s re-INVITE with that CSeq arrived.
    pub(super) fn acknowledged(&mut self, call: CallId, cseq: u32) {
        self.server_invites.values_mut().filter(|invite| invite.is_of(call, cseq)).for_each(ServerInvite::acknowledged);
    }

    /// Whether an INVITE of the peer of `call` with that CSeq is still remembered.
    pub(super) fn has_invite(&self, call: CallId, cseq: u32) -> bool {
        self.server_invites.values().any(|invite| invite.is_of(call, cseq))
    }

    /// The flows by which a final response to an INVITE is to come or to go: it may ring for long, and nothing is sent
    /// meanwhile.
    pub(super) fn waiting_by(&self) -> impl Iterator<Item = Flow> {
        let ours = self.client_invites.values().filter(|invite| invite.is_waiting()).map(ClientInvite::flow);
        let theirs = self.server_invites.values().filter(|invite| invite.decider().is_some());
        ours.chain(theirs.map(ServerInvite::flow))
    }

    /// The session ends: a refresh or a digit that is still unanswered need not be repeated any more.
    pub(super) fn forget_requests(&mut self, call: CallId) {
        let is_moot =
            |user| [Purpose::Refresh, Purpose::Digit].iter().any(|purpose| user == User { call, purpose: *purpose });
        self.clients.retain(|_, client| !is_moot(client.user()));
    }

    /// The call is over: its 2xx need not be repeated any more.
    pub(super) fn release(&mut self, call: CallId) {
        self.forget_requests(call);
        self.server_invites.values_mut().filter(|t| t.call() == Some(call)).for_each(ServerInvite::acknowledged);
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        let client_invites = self.client_invites.values().map(ClientInvite::poll_timeout);
        let clients = self.clients.values().map(Client::poll_timeout);
        let server_invites = self.server_invites.values().map(ServerInvite::poll_timeout);
        let servers = self.servers.values().map(Server::poll_timeout);
        client_invites.chain(clients).chain(server_invites).chain(servers).fold(None, soonest)
    }

    /// Repeats what is due, forgets what is over, and returns what has failed.
    pub(super) fn handle_timeout(&mut self, now: Time, out: &mut Outbox) -> Vec<Notice> {
        let timing = self.timing;
        let mut notices = Vec::new();
        self.client_invites.retain(|_, t| match t.handle_timeout(now, timing, out) {
            Fired::Nothing => true,
            Fired::Done | Fired::Failed => false,
            Fired::TimedOut => {
                notices.push(Notice::TimedOut { user: t.user() });
                true
            }
        });
        self.clients.retain(|_, t| {
            let user = t.user();
            keep(t.handle_timeout(now, timing, out), || notices.push(Notice::TimedOut { user }))
        });
        self.server_invites.retain(|_, t| {
            let call = t.call();
            keep(t.handle_timeout(now, timing, out), || {
                notices.extend(call.map(|call| Notice::Unacknowledged { call }));
            })
        });
        self.servers.retain(|_, t| !t.is_over(now));
        notices
    }

    /// A connection is lost, or was not made: what waits for an answer by it has failed, unless it has another way.
    pub(super) fn handle_failure(&mut self, now: Time, flow: Flow, out: &mut Outbox) -> Vec<Notice> {
        let timing = self.timing;
        let mut notices = Vec::new();
        self.client_invites.retain(|_, t| {
            let user = t.user();
            t.flow() != flow || keep(t.handle_failure(now, timing, out), || notices.push(Notice::Failed { user }))
        });
        self.clients.retain(|_, t| {
            let user = t.user();
            t.flow() != flow || keep(t.handle_failure(now, timing, out), || notices.push(Notice::Failed { user }))
        });
        notices
    }

    /// Nothing is left that outlives its call and wants an answer.
    pub(super) fn is_idle(&self) -> bool {
        !self.clients.values().any(|client| client.is_waiting() && client.user().purpose == Purpose::DropFork)
    }
}

fn keep(fired: Fired, lost: impl FnOnce()) -> bool {
    match fired {
        Fired::Nothing => true,
        Fired::Done => false,
        Fired::TimedOut | Fired::Failed => {
            lost();
            false
        }
    }
}

/// The topmost Via of a request that goes out by another transport; its branch stays.
pub(super) fn change_transport(request: &mut Request, transport: Transport) {
    let Some(Ok((mut via, None))) = request.headers.first(&Name::Via).map(Via::first_of) else { return };
    via.transport = transport.token().into();
    request.headers.remove(&Name::Via);
    request.headers.push_front(Name::Via, via.to_string());
}

/// RFC 3261 17.2.3: branch, sent-by and method; for RFC 2543 peers what that RFC compared, less the To tag, which an
/// ACK has and its INVITE has not.
fn server_key(request: &Request, identity: &Identity, method: &str) -> String {
    let via = &identity.via;
    match via.branch() {
        Some(branch) => format!("{branch} {}:{} {method}", via.host.to_ascii_lowercase(), via.port.unwrap_or(0)),
        None => format!(
            "{} {} {} {} {via} {method}",
            identity.call_id,
            identity.from.tag().unwrap_or(""),
            identity.cseq.number,
            request.uri
        ),
    }
}

fn due(at: Time, now: Time) -> bool {
    at <= now
}
