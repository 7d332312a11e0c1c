//! BYE (RFC 3261 15): hanging up, and being hung up on.

use super::auth::Credentials;
use super::call::{Call, Departure, Session, State, acknowledge};
use super::core::{Core, Incoming, NextHop};
use super::dialog::Dialog;
use super::endpoint::{CallId, EndCause, Outbox};
use super::message::name_addr::{quote, unquote};
use super::message::params::Params;
use super::message::uri::Uri;
use super::message::{Headers, Method, Name, Response};
use super::transaction::{Answer, Purpose, User};
use crate::time::Time;
use std::mem;

impl Call {
    /// Ends the call from our side, whatever its state.
    pub(super) fn hang_up(&mut self, core: &mut Core, now: Time, reason: Option<&str>, out: &mut Outbox) {
        let reason = reason.map(reason_value);
        match mem::replace(&mut self.state, State::Over) {
            State::Routing { .. } => self.end(EndCause::Local, out),
            State::Confirmed(Session { leg, dialog, .. }) => {
                let cause = EndCause::Local;
                self.leave(core, now, Departure { leg, dialog, cause, refusals: 0 }, reason, out);
            }
            state @ (State::Arriving(_) | State::Ringing(..)) => {
                self.state = state;
                self.decline(core, now, 480, EndCause::Local, out);
            }
            State::Accepting(mut acceptance) => {
                acceptance.hang_up(reason);
                self.state = State::Accepting(acceptance);
            }
            state @ (State::Calling(_) | State::Proceeding(_)) => {
                self.state = state;
                self.give_up(core, now, EndCause::Local, reason, out);
            }
            state @ (State::Abandoning { .. } | State::Cancelling { .. } | State::Leaving(_) | State::Over) => {
                self.state = state;
            }
        }
    }

    /// Sends BYE; the call ends when it is answered or times out.
    pub(super) fn leave(
        &mut self,
        core: &mut Core,
        now: Time,
        mut departure: Departure,
        reason: Option<String>,
        out: &mut Outbox,
    ) {
        core.transactions.forget_requests(self.id);
        let Departure { leg, dialog, .. } = &mut departure;
        let mut bye = dialog.request(Method::Bye);
        if let Some(reason) = reason {
            bye.headers.push(Name::Reason, reason);
        }
        leg.credentials.authorize(&mut bye);
        core.send(now, bye, leg.route, User { call: self.id, purpose: Purpose::Bye }, out);
        self.state = State::Leaving(departure);
    }

    /// Any final response ends the call (RFC 3261 15.1.1), but a challenge may be met.
    pub(super) fn on_bye_response(&mut self, core: &mut Core, now: Time, response: &Response, out: &mut Outbox) {
        match mem::replace(&mut self.state, State::Over) {
            State::Leaving(departure) if response.status < 200 => self.state = State::Leaving(departure),
            State::Leaving(mut departure) => {
                let challenged = matches!(response.status, 401 | 407);
                if challenged && departure.leg.credentials.learn(response, departure.refusals, &mut core.rng).is_ok() {
                    departure.refusals += 1;
                    self.leave(core, now, departure, None, out);
                } else {
                    self.end(departure.cause, out);
                }
            }
            state @ (State::Routing { .. }
            | State::Calling(_)
            | State::Proceeding(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Confirmed(_)
            | State::Over) => self.state = state,
        }
    }

    pub(super) fn on_bye_timeout(&mut self, out: &mut Outbox) {
        if let State::Leaving(departure) = &self.state {
            self.end(departure.cause.clone(), out);
        }
    }

    /// The peer hangs up. When the two BYEs cross, ours was first.
    pub(super) fn on_bye(&mut self, core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
        core.refuse(incoming, 200, out);
        match mem::replace(&mut self.state, State::Over) {
            State::Confirmed(session) => {
                session.exchange.abandon(core, incoming.now);
                self.end(EndCause::Remote { reason: reason_of(&incoming.request.headers) }, out);
            }
            State::Leaving(departure) => self.end(departure.cause, out),
            state @ (State::Routing { .. }
            | State::Calling(_)
            | State::Proceeding(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Over) => self.state = state,
        }
    }
}

/// A 2xx nobody wants, of another fork or for a call that is over: ACK, then BYE (RFC 3261 13.2.2.4).
pub(super) fn drop_fork(core: &mut Core, now: Time, call: CallId, answer: &Answer, out: &mut Outbox) {
    let mut dialog = Dialog::of_answer(answer);
    let mut route = answer.route;
    let first = Uri::parse(&answer.request.uri).map(|uri| core.hop(&uri));
    if let Ok(NextHop::At(flow)) = first.map(|first| core.next_hop(&first, &dialog.next_hop())) {
        route.flow = flow;
    }
    acknowledge(core, &dialog, route, answer, out);
    let bye = dialog.request(Method::Bye);
    core.send(now, bye, route, User { call, purpose: Purpose::DropFork }, out);
}

/// The BYE to such a fork was challenged: it goes out once more, with credentials.
pub(super) fn drop_fork_again(core: &mut Core, now: Time, call: CallId, answer: &Answer, out: &mut Outbox) {
    let asked = &answer.request.headers;
    let refused = [Name::Authorization, Name::ProxyAuthorization].iter().any(|name| asked.first(name).is_some());
    let mut credentials = Credentials::new(&core.config);
    let is_challenge = matches!(answer.response.status, 401 | 407);
    if refused || !is_challenge || credentials.learn(&answer.response, 0, &mut core.rng).is_err() {
        return;
    }
    let mut bye = answer.request.clone();
    bye.headers.remove(&Name::Via);
    bye.headers.remove(&Name::UserAgent);
    bye.headers.replace(&Name::CSeq, &format!("{} BYE", answer.identity.cseq.number.saturating_add(1)));
    credentials.authorize(&mut bye);
    core.send(now, bye, answer.route, User { call, purpose: Purpose::DropFork }, out);
}

/// Our Reason header (RFC 3326): a normal clearing, in words for people.
fn reason_value(text: &str) -> String {
    format!("Q.850;cause=16;text={}", quote(text))
}

/// Our Reason header for what a status says (RFC 3326).
pub(super) fn reason_of_status(status: u16, text: &str) -> String {
    format!("SIP;cause={status};text={}", quote(text))
}

/// The text of the peer's Reason, or the header as it stands when it has none.
pub(super) fn reason_of(headers: &Headers) -> Option<String> {
    let value = headers.elements(&Name::Reason).next()?;
    let params = value.split_once(';').and_then(|(_, params)| Params::parse(params).ok());
    Some(params.and_then(|params| params.value("text").map(unquote)).unwrap_or_else(|| value.into()))
}
