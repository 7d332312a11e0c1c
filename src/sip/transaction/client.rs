//! Client transaction of every other method (RFC 3261 17.1.2).
//!
//! ```text
//!   Trying --1xx--> Proceeding        E: send again (T1, 2 T1 ... T2; while Proceeding every T2)
//!      '--- 2xx-6xx ---'---> Completed   F: timed out    K: over
//! ```
//!
//! Over a connection nothing is sent again and K is zero.

use super::{Answer, Fired, Notice, Timing, User, due};
use crate::sip::endpoint::{Outbox, Output};
use crate::sip::message::{Identity, Request, Response};
use crate::sip::transport::{Flow, Route};
use crate::time::{Span, Time, Wakeup, soonest};

pub(super) struct Client {
    request: Request,
    route: Route,
    /// Where it goes if the connection it was given for its size cannot be had (RFC 3261 18.1.1).
    fallback: Option<Route>,
    user: User,
    state: State,
}

enum State {
    Trying { repeat_at: Option<Time>, pause: Span, give_up_at: Time },
    Proceeding { repeat_at: Option<Time>, give_up_at: Time },
    Completed { over_at: Time },
}

impl Client {
    pub(super) fn start(
        now: Time,
        request: Request,
        (route, fallback): (Route, Option<Route>),
        user: User,
        timing: Timing,
        out: &mut Outbox,
    ) -> Client {
        out.push_back(Output::Send { flow: route.flow, bytes: request.to_bytes() });
        let state = State::trying(now, route, timing);
        Client { request, route, fallback, user, state }
    }

    /// The connection the request went by is lost, or was never made.
    pub(super) fn handle_failure(&mut self, now: Time, timing: Timing, out: &mut Outbox) -> Fired {
        match (&self.state, self.fallback.take()) {
            (State::Completed { .. }, _) => Fired::Done,
            (State::Trying { .. } | State::Proceeding { .. }, None) => Fired::Failed,
            (State::Trying { .. } | State::Proceeding { .. }, Some(route)) => {
                super::change_transport(&mut self.request, route.flow.transport);
                out.push_back(Output::Send { flow: route.flow, bytes: self.request.to_bytes() });
                self.route = route;
                self.state = State::trying(now, route, timing);
                Fired::Nothing
            }
        }
    }

    pub(super) fn flow(&self) -> Flow {
        self.route.flow
    }

    pub(super) fn user(&self) -> User {
        self.user
    }

    pub(super) fn is_waiting(&self) -> bool {
        match self.state {
            State::Trying { .. } | State::Proceeding { .. } => true,
            State::Completed { .. } => false,
        }
    }

    pub(super) fn handle_response(
        &mut self,
        now: Time,
        response: Response,
        identity: Identity,
        timing: Timing,
    ) -> Option<Notice> {
        match (&self.state, response.status) {
            (State::Trying { give_up_at, .. }, ..=199) => {
                self.state =
                    State::Proceeding { repeat_at: timing.repeat(now, timing.t2, self.route), give_up_at: *give_up_at };
            }
            (State::Trying { .. } | State::Proceeding { .. }, 200..) => {
                self.state = State::Completed { over_at: timing.linger(now, timing.t4, self.route.flow) };
            }
            (State::Proceeding { .. }, ..=199) => {}
            (State::Completed { .. }, _) => return None,
        }
        let (request, route) = (self.request.clone(), self.route);
        let answer = Box::new(Answer { request, response, identity, route });
        Some(Notice::Answered { user: self.user, answer })
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        match &self.state {
            State::Trying { repeat_at, give_up_at, .. } | State::Proceeding { repeat_at, give_up_at } => soonest(
                repeat_at.map(|at| Wakeup::new(at, "sip timer E (request again)")),
                Some(Wakeup::new(*give_up_at, "sip timer F (request timed out)")),
            ),
            State::Completed { over_at } => Some(Wakeup::new(*over_at, "sip timer K")),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Time, timing: Timing, out: &mut Outbox) -> Fired {
        match &mut self.state {
            State::Trying { give_up_at, .. } | State::Proceeding { give_up_at, .. } if due(*give_up_at, now) => {
                return Fired::TimedOut;
            }
            State::Trying { repeat_at: Some(repeat_at), pause, .. } if due(*repeat_at, now) => {
                *pause = timing.longer(*pause);
                *repeat_at = now + *pause;
            }
            State::Proceeding { repeat_at: Some(repeat_at), .. } if due(*repeat_at, now) => {
                *repeat_at = now + timing.t2;
            }
            State::Completed { over_at } if due(*over_at, now) => return Fired::Done,
            State::Trying { .. } | State::Proceeding { .. } | State::Completed { .. } => return Fired::Nothing,
        }
        out.push_back(Output::Send { flow: self.route.flow, bytes: self.request.to_bytes() });
        Fired::Nothing
    }
}

impl State {
    fn trying(now: Time, route: Route, timing: Timing) -> State {
        let repeat_at = timing.repeat(now, timing.t1, route);
        State::Trying { repeat_at, pause: timing.t1, give_up_at: now + timing.timeout() }
    }
}
