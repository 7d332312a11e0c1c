//! INVITE: dialling out (RFC 3261 13.2), and turning down who dials us (13.3).

use super::auth::Credentials;
use super::bye::drop_fork;
use super::call::{Attempt, Call, Departure, Leg, Plan, Session, State, acknowledge, complain};
use super::core::{ACCEPT, Core, Incoming};
use super::dialog::Dialog;
use super::endpoint::{CallError, CallId, EndCause, Event, Outbox, Output, RouteError};
use super::message::uri::{Scheme, Uri};
use super::message::{Method, Name, Request};
use super::modify::Exchange;
use super::redirect::Targets;
use super::timer::{SessionTimer, Terms};
use super::transaction::{Answer, Purpose, User};
use super::transport::Route;
use crate::sdp::{Local, Negotiation};
use crate::time::Time;
use std::mem;

impl Call {
    /// Dials `target`; the way to its host is asked for.
    ///
    /// # Errors
    /// `target` is no `sip:` URI.
    pub(super) fn place(
        core: &mut Core,
        now: Time,
        id: CallId,
        target: &str,
        local: Local,
        out: &mut Outbox,
    ) -> Result<Call, CallError> {
        let uri = Uri::parse(target).ok().filter(|uri| uri.scheme == Scheme::Sip && uri.headers.is_none());
        let uri = uri.ok_or_else(|| CallError::BadUri(target.into()))?;
        let hop = core.hop(&uri);
        out.push_back(Output::Resolve(hop.target().clone()));
        let plan = Plan {
            dialled: target.into(),
            target: target.into(),
            targets: Targets::new(target),
            hop,
            call_id: core.rng.hex(16),
            tag: core.rng.hex(8),
            cseq: 0,
        };
        Ok(Call { id, plan, state: State::Routing { local, give_up_at: now + core.config.invite_timeout } })
    }

    pub(super) fn on_first_route(
        &mut self,
        core: &mut Core,
        now: Time,
        route: &Result<Route, RouteError>,
        out: &mut Outbox,
    ) {
        match (mem::replace(&mut self.state, State::Over), route) {
            (State::Routing { local, give_up_at }, Ok(route)) => {
                let media = Negotiation::new(core.rng.next_u64(), route.local, local);
                let credentials = Credentials::new(&core.config);
                let terms = Terms::new(&core.config);
                let leg = Leg { route: *route, moving: None, media, credentials, terms };
                let attempt = Attempt { leg, branch: String::new(), refusals: 0, give_up_at, next: None };
                self.send_invite(core, now, attempt, out);
            }
            (State::Routing { local, give_up_at }, Err(_)) if self.try_next(core, local, give_up_at, out) => {}
            (State::Routing { .. }, Err(error)) => self.end(EndCause::Unroutable(error.clone()), out),
            (state, _) => self.state = state,
        }
    }

    fn send_invite(&mut self, core: &mut Core, now: Time, mut attempt: Attempt, out: &mut Outbox) {
        self.plan.cseq += 1;
        let Plan { dialled, target, call_id, tag, cseq, .. } = &self.plan;
        let mut invite = Request::new(Method::Invite, target.clone());
        let headers = &mut invite.headers;
        headers.push(Name::MaxForwards, "70");
        headers.push(Name::From, core.identity_value(attempt.leg.route.local, tag));
        headers.push(Name::To, format!("<{dialled}>"));
        headers.push(Name::CallId, call_id.clone());
        headers.push(Name::CSeq, format!("{cseq} INVITE"));
        headers.push(Name::ContentType, ACCEPT);
        invite.body = attempt.leg.media.offer();
        attempt.leg.terms.ask(&mut invite);
        attempt.leg.credentials.authorize(&mut invite);
        let user = User { call: self.id, purpose: Purpose::Invite };
        attempt.branch = core.send(now, invite, attempt.leg.route, user, out);
        self.state = State::Calling(attempt);
    }

    pub(super) fn on_invite_response(&mut self, core: &mut Core, now: Time, answer: &Answer, out: &mut Outbox) {
        let status = answer.response.status;
        match (mem::replace(&mut self.state, State::Over), status) {
            (State::Calling(attempt) | State::Proceeding(attempt), ..=199) => {
                self.state = State::Proceeding(attempt);
                out.push_back(Output::Event(Event::Progress { call: self.id, status }));
            }
            (State::Calling(attempt) | State::Proceeding(attempt), 200..=299) => {
                self.confirm(core, now, attempt, answer, out);
            }
            (State::Calling(mut attempt) | State::Proceeding(mut attempt), 401 | 407) => {
                match attempt.leg.credentials.learn(&answer.response, attempt.refusals, &mut core.rng) {
                    Ok(()) => {
                        attempt.refusals += 1;
                        self.send_invite(core, now, attempt, out);
                    }
                    Err(_) => self.end(EndCause::AuthenticationFailed, out),
                }
            }
            (State::Calling(mut attempt) | State::Proceeding(mut attempt), _) => {
                // RFC 4028 7.3: the same again, with an interval that everybody on the way accepts.
                if status == 422 && attempt.leg.terms.raise(&answer.response) {
                    return self.send_invite(core, now, attempt, out);
                }
                if matches!(status, 300..=302) {
                    self.plan.targets.learn(&answer.response.headers);
                }
                // RFC 3261 8.1.3.4: a global refusal (6xx) speaks for all targets.
                if status < 600 && self.try_next_after(core, &attempt, out) {
                    return;
                }
                let reason = answer.response.reason.clone();
                self.end(EndCause::Refused { status, reason }, out);
            }
            (State::Abandoning { attempt, cause, reason }, ..=199) => {
                self.send_cancel(core, now, attempt, cause, reason, out);
            }
            (State::Cancelling { attempt, cause, give_up_at }, ..=199) => {
                self.state = State::Cancelling { attempt, cause, give_up_at };
            }
            // 2xx won the race against our CANCEL, or there was no time for one (RFC 3261 9.1, 15).
            (State::Abandoning { attempt, cause, .. } | State::Cancelling { attempt, cause, .. }, 200..=299) => {
                let (leg, dialog) = self.dialog_of(core, attempt.leg, answer, out);
                self.leave(core, now, Departure { leg, dialog, cause, refusals: 0 }, None, out);
            }
            (State::Abandoning { cause, .. } | State::Cancelling { cause, .. }, _) => self.end(cause, out),
            (state @ (State::Confirmed(_) | State::Leaving(_) | State::Over | State::Routing { .. }), status) => {
                self.state = state;
                // The transaction answers repetitions itself: this 2xx is of another branch (RFC 3261 13.2.2.4).
                if (200..=299).contains(&status) {
                    drop_fork(core, now, self.id, answer, out);
                }
            }
        }
    }

    pub(super) fn on_invite_timeout(&mut self, core: &Core, out: &mut Outbox) {
        match mem::replace(&mut self.state, State::Over) {
            State::Calling(attempt) | State::Proceeding(attempt) => {
                if !self.try_next_after(core, &attempt, out) {
                    self.end(EndCause::Timeout, out);
                }
            }
            State::Abandoning { cause, .. } | State::Cancelling { cause, .. } => self.end(cause, out),
            state @ (State::Routing { .. } | State::Confirmed(_) | State::Leaving(_) | State::Over) => {
                self.state = state;
            }
        }
    }

    fn confirm(&mut self, core: &mut Core, now: Time, attempt: Attempt, answer: &Answer, out: &mut Outbox) {
        let next = attempt.next;
        let (leg, dialog) = self.dialog_of(core, attempt.leg, answer, out);
        match leg.media.accept_answer(&answer.response.body) {
            Ok(media) => {
                out.push_back(Output::Event(Event::Confirmed { call: self.id, media }));
                let timer = SessionTimer::of_answer(now, &answer.response.headers);
                self.state = State::Confirmed(Session { leg, dialog, media, exchange: Exchange::Settled, timer });
                if let Some(local) = next {
                    self.modify(core, now, local, out);
                }
            }
            Err(error) => {
                complain(error, answer.route.flow.remote, out);
                let cause = EndCause::NoCommonMedia;
                self.leave(core, now, Departure { leg, dialog, cause, refusals: 0 }, None, out);
            }
        }
    }

    /// The dialog of a 2xx, acknowledged.
    fn dialog_of(&self, core: &mut Core, mut leg: Leg, answer: &Answer, out: &mut Outbox) -> (Leg, Dialog) {
        let dialog = Dialog::of_answer(answer);
        leg.follow(core, &self.plan.hop, &dialog, out);
        acknowledge(core, &dialog, leg.route, answer, out);
        (leg, dialog)
    }
}

/// Turns down a call from outside: this agent only dials. `busy` when it is in a call.
pub(super) fn turn_down(core: &mut Core, incoming: &Incoming<'_>, busy: bool, out: &mut Outbox) {
    let accept: Vec<&str> = incoming.request.headers.elements(&Name::Accept).collect();
    let fits = |range: &&str| ["application/sdp", "application/*", "*/*"].iter().any(|t| media_type_is(range, t));
    if !accept.is_empty() && !accept.iter().any(fits) {
        return core.refuse(incoming, 406, out);
    }
    core.refuse(incoming, if busy { 486 } else { 480 }, out);
}

/// Whether a Content-Type or Accept element is `wanted`, parameters aside.
pub(super) fn media_type_is(value: &str, wanted: &str) -> bool {
    value.split(';').next().is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted))
}
