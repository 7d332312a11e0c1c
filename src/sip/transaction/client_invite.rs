//! INVITE client transaction (RFC 3261 17.1.1, with the Accepted state of RFC 6026 7.2).
//!
//! ```text
//!               A: send again
//!   Calling ----1xx----> Proceeding
//!     | B: timed out       | B: timed out, within a dialog only
//!     |--2xx----------- 2xx|------> Accepted   M: over; 2xx again: its ACK again, another To tag: to the user
//!     '--3xx-6xx--- 3xx-6xx'------> Completed  D: over; the failure again: its ACK again
//!   timed out, or its CANCEL led to nothing: Late, for as long again: a 2xx still finds somebody who ends its dialog
//! ```
//!
//! A first INVITE may ring; its user gives up. A re-INVITE asks no person, and a peer that said 100 and died must not
//! keep the exchange open for ever: timer B goes on for it, although RFC 3261 17.1.1.2 stops it at the first 1xx.
//!
//! Over a connection nothing is sent again and D is zero (17.1.1.2). If it is lost, the transaction fails (17.1.4).
//!
//! The ACK of a failure belongs to the transaction (same branch, 17.1.1.3). The ACK of a 2xx is made by the user, but
//! kept here, because this is where repetitions of the 2xx arrive.

use super::{Answer, Fired, Notice, Purpose, Timing, User, due};
use crate::sip::endpoint::{Outbox, Output};
use crate::sip::message::{Headers, Identity, Method, Name, Request, Response};
use crate::sip::transport::{Flow, Route};
use crate::time::{Span, Time, Wakeup, soonest};

pub(super) struct ClientInvite {
    request: Request,
    route: Route,
    /// Where it goes if the connection it was given for its size cannot be had (RFC 3261 18.1.1).
    fallback: Option<Route>,
    user: User,
    state: State,
}

enum State {
    Calling {
        repeat_at: Option<Time>,
        pause: Span,
        give_up_at: Time,
    },
    Proceeding {
        give_up_at: Option<Time>,
    },
    Accepted {
        acks: Vec<Ack>,
        over_at: Time,
    },
    Completed {
        ack: Vec<u8>,
        over_at: Time,
    },
    /// Nobody waits any more, but a peer that accepts now believes in a call (RFC 3261 13.2.2.4).
    Late {
        over_at: Time,
    },
}

struct Ack {
    tag: String,
    bytes: Vec<u8>,
    flow: Flow,
}

/// Timer D (RFC 3261 17.1.1.2): at least 32 s, because the server's T1 is unknown.
const TIMER_D: Span = Span::from_secs(32);
/// 2xx from more branches than this are not even acknowledged.
const MAX_FORKS: usize = 16;

impl ClientInvite {
    pub(super) fn start(
        now: Time,
        request: Request,
        (route, fallback): (Route, Option<Route>),
        user: User,
        timing: Timing,
        out: &mut Outbox,
    ) -> ClientInvite {
        out.push_back(Output::Send { flow: route.flow, bytes: request.to_bytes() });
        let state = State::calling(now, route, timing);
        ClientInvite { request, route, fallback, user, state }
    }

    /// The connection the request went by is lost, or was never made. After a 2xx nothing is at stake: the ACK goes out
    /// again by a connection of its own.
    pub(super) fn handle_failure(&mut self, now: Time, timing: Timing, out: &mut Outbox) -> Fired {
        match (&self.state, self.fallback.take()) {
            (State::Accepted { .. }, _) => Fired::Nothing,
            (State::Completed { .. } | State::Late { .. }, _) => Fired::Done,
            (State::Calling { .. }, Some(route)) => {
                super::change_transport(&mut self.request, route.flow.transport);
                out.push_back(Output::Send { flow: route.flow, bytes: self.request.to_bytes() });
                self.route = route;
                self.state = State::calling(now, route, timing);
                Fired::Nothing
            }
            (State::Calling { .. } | State::Proceeding { .. }, _) => Fired::Failed,
        }
    }

    pub(super) fn flow(&self) -> Flow {
        self.route.flow
    }

    /// Its user waits for the final response.
    pub(super) fn is_waiting(&self) -> bool {
        match self.state {
            State::Calling { .. } | State::Proceeding { .. } => true,
            State::Accepted { .. } | State::Completed { .. } | State::Late { .. } => false,
        }
    }

    pub(super) fn user(&self) -> User {
        self.user
    }

    pub(super) fn keep_ack(&mut self, tag: &str, bytes: Vec<u8>, flow: Flow) {
        match &mut self.state {
            State::Accepted { acks, .. } => acks.push(Ack { tag: tag.into(), bytes, flow }),
            State::Calling { .. } | State::Proceeding { .. } | State::Completed { .. } | State::Late { .. } => {}
        }
    }

    /// Its user has given up.
    pub(super) fn abandon(&mut self, now: Time, timing: Timing) {
        match self.state {
            State::Calling { .. } | State::Proceeding { .. } => {
                self.state = State::Late { over_at: now + timing.timeout() };
            }
            State::Accepted { .. } | State::Completed { .. } | State::Late { .. } => {}
        }
    }

    pub(super) fn handle_response(
        &mut self,
        now: Time,
        response: Response,
        identity: Identity,
        timing: Timing,
        out: &mut Outbox,
    ) -> Option<Notice> {
        match (&mut self.state, response.status) {
            (State::Calling { give_up_at, .. }, ..=199) => {
                let give_up_at = match self.user.purpose {
                    Purpose::Reinvite => Some(*give_up_at),
                    Purpose::Invite
                    | Purpose::Refresh
                    | Purpose::Digit
                    | Purpose::Notify
                    | Purpose::Prack
                    | Purpose::Bye
                    | Purpose::Cancel
                    | Purpose::DropFork
                    | Purpose::Probe(_)
                    | Purpose::Register
                    | Purpose::Unregister => None,
                };
                self.state = State::Proceeding { give_up_at };
            }
            (State::Proceeding { .. }, ..=199) => {}
            (State::Late { .. }, ..=199) => return None,
            (State::Calling { .. } | State::Proceeding { .. } | State::Late { .. }, 200..=299) => {
                self.state = State::Accepted { acks: Vec::new(), over_at: now + timing.timeout() };
            }
            (State::Calling { .. } | State::Proceeding { .. }, 300..) => {
                let ack = self.ack_of_failure(&response).to_bytes();
                out.push_back(Output::Send { flow: self.route.flow, bytes: ack.clone() });
                self.state = State::Completed { ack, over_at: timing.linger(now, TIMER_D, self.route.flow) };
            }
            (State::Late { .. }, 300..) => {
                let ack = self.ack_of_failure(&response).to_bytes();
                out.push_back(Output::Send { flow: self.route.flow, bytes: ack.clone() });
                self.state = State::Completed { ack, over_at: timing.linger(now, TIMER_D, self.route.flow) };
                return None;
            }
            (State::Accepted { acks, .. }, 200..=299) => {
                let tag = identity.to.tag().unwrap_or("");
                if let Some(ack) = acks.iter().find(|ack| ack.tag == tag) {
                    out.push_back(Output::Send { flow: ack.flow, bytes: ack.bytes.clone() });
                    return None;
                }
                if acks.len() >= MAX_FORKS {
                    return None;
                }
            }
            (State::Completed { ack, .. }, 300..) => {
                out.push_back(Output::Send { flow: self.route.flow, bytes: ack.clone() });
                return None;
            }
            (State::Accepted { .. } | State::Completed { .. }, _) => return None,
        }
        let (request, route) = (self.request.clone(), self.route);
        let answer = Box::new(Answer { request, response, identity, route });
        Some(Notice::Answered { user: self.user, answer })
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        match &self.state {
            State::Calling { repeat_at, give_up_at, .. } => soonest(
                repeat_at.map(|at| Wakeup::new(at, "sip timer A (INVITE again)")),
                Some(Wakeup::new(*give_up_at, "sip timer B (INVITE timed out)")),
            ),
            State::Proceeding { give_up_at } => {
                give_up_at.map(|at| Wakeup::new(at, "sip timer B (re-INVITE timed out)"))
            }
            State::Accepted { over_at, .. } => Some(Wakeup::new(*over_at, "sip timer M")),
            State::Completed { over_at, .. } => Some(Wakeup::new(*over_at, "sip timer D")),
            State::Late { over_at } => Some(Wakeup::new(*over_at, "sip: no late answer")),
        }
    }

    /// After [`Fired::TimedOut`] the transaction listens on.
    pub(super) fn handle_timeout(&mut self, now: Time, timing: Timing, out: &mut Outbox) -> Fired {
        match &mut self.state {
            State::Calling { give_up_at, .. } | State::Proceeding { give_up_at: Some(give_up_at) }
                if due(*give_up_at, now) =>
            {
                self.abandon(now, timing);
                Fired::TimedOut
            }
            State::Calling { repeat_at: Some(repeat_at), pause, .. } if due(*repeat_at, now) => {
                // Timer A doubles without bound, unlike E (17.1.1.2).
                *pause = pause.times(2);
                *repeat_at = now + *pause;
                out.push_back(Output::Send { flow: self.route.flow, bytes: self.request.to_bytes() });
                Fired::Nothing
            }
            State::Accepted { over_at, .. } | State::Completed { over_at, .. } | State::Late { over_at }
                if due(*over_at, now) =>
            {
                Fired::Done
            }
            State::Calling { .. }
            | State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Completed { .. }
            | State::Late { .. } => Fired::Nothing,
        }
    }

    /// The CANCEL of this INVITE, where it goes, and for whom (RFC 3261 9.1).
    pub(super) fn cancel(&self, reason: Option<String>) -> (Request, Route, User) {
        let mut cancel = self.same_branch(Method::Cancel, self.request.headers.first(&Name::To));
        if let Some(reason) = reason {
            cancel.headers.push(Name::Reason, reason);
        }
        (cancel, self.route, self.user)
    }

    /// RFC 3261 17.1.1.3: the To of the response, everything else of the INVITE.
    fn ack_of_failure(&self, response: &Response) -> Request {
        self.same_branch(Method::Ack, response.headers.first(&Name::To))
    }

    fn same_branch(&self, method: Method, to: Option<&str>) -> Request {
        let mut headers = Headers::default();
        let of_invite = &self.request.headers;
        let mut copy = |name: Name, value: Option<&str>| {
            if let Some(value) = value {
                headers.push(name, value);
            }
        };
        copy(Name::Via, of_invite.first(&Name::Via));
        copy(Name::MaxForwards, Some("70"));
        for route in of_invite.all(&Name::Route) {
            copy(Name::Route, Some(route));
        }
        copy(Name::From, of_invite.first(&Name::From));
        copy(Name::To, to);
        copy(Name::CallId, of_invite.first(&Name::CallId));
        let number = of_invite.first(&Name::CSeq).and_then(|cseq| cseq.split(' ').next()).unwrap_or("1");
        copy(Name::CSeq, Some(&format!("{number} {method}")));
        copy(Name::UserAgent, of_invite.first(&Name::UserAgent));
        Request { method, uri: self.request.uri.clone(), headers, body: Vec::new() }
    }
}

impl State {
    fn calling(now: Time, route: Route, timing: Timing) -> State {
        let repeat_at = timing.repeat(now, timing.t1, route);
        State::Calling { repeat_at, pause: timing.t1, give_up_at: now + timing.timeout() }
    }
}
