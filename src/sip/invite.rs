//! INVITE: dialling out (RFC 3261 13.2), and turning down who dials us when that is the policy (13.3.1.3).

use super::auth::Credentials;
use super::bye::{drop_fork, reason_of};
use super::call::{Attempt, Call, Departure, Leg, Plan, Session, State, acknowledge, complain};
use super::core::{ACCEPT, Core, Incoming};
use super::dialog::Dialog;
use super::endpoint::{CallError, CallId, EndCause, Event, Outbox, Output, RouteError};
use super::incoming::accepts_sdp;
use super::info::Keypad;
use super::message::uri::Uri;
use super::message::{Headers, Method, Name, Request, Response};
use super::modify::Exchange;
use super::moving::Reach;
use super::prack::Early;
use super::redirect::Targets;
use super::timer::{SessionTimer, Terms};
use super::transaction::{Answer, Purpose, User};
use super::transport::Route;
use super::transport::flows::Access;
use crate::sdp::{Local, Negotiation};
use crate::time::Time;
use std::collections::VecDeque;
use std::mem;

impl Call {
    /// Dials `target`; the way to its host is asked for.
    ///
    /// # Errors
    /// `target` is no `sip:` or `sips:` URI.
    pub(super) fn place(
        core: &mut Core,
        now: Time,
        id: CallId,
        target: &str,
        headers: Headers,
        local: Local,
        out: &mut Outbox,
    ) -> Result<Call, CallError> {
        let uri = Uri::parse(target).ok().filter(|uri| uri.headers.is_none());
        let uri = uri.ok_or_else(|| CallError::BadUri(target.into()))?;
        let hop = core.hop(&uri);
        out.push_back(Output::Resolve(hop.target().clone()));
        let plan = Plan {
            dialled: target.into(),
            target: target.into(),
            targets: Targets::new(target),
            headers,
            hop,
            call_id: core.rng.hex(16),
            tag: core.rng.hex(8),
            cseq: 0,
        };
        let give_up_at = now + core.config.invite_timeout;
        Ok(Call { id, plan, state: State::Routing { local, give_up_at, ways: VecDeque::new(), way: None } })
    }

    pub(super) fn on_first_routes(
        &mut self,
        core: &mut Core,
        now: Time,
        routes: &Result<Vec<Route>, RouteError>,
        out: &mut Outbox,
    ) {
        match (&mut self.state, routes) {
            (State::Routing { ways, .. }, Ok(routes)) => {
                *ways = routes.iter().copied().collect();
                self.take_way(core, now, out);
            }
            (State::Routing { local, give_up_at, .. }, Err(error)) => {
                let (local, give_up_at) = (*local, *give_up_at);
                if !self.try_next(core, local, give_up_at, out) {
                    self.end(EndCause::Unroutable(error.clone()), out);
                }
            }
            _ => {}
        }
    }

    /// Sends the INVITE by the first way, at once or when its connection stands; no way left: the next target, or none.
    /// `true`, so that a caller can say that something has happened.
    pub(super) fn take_way(&mut self, core: &mut Core, now: Time, out: &mut Outbox) -> bool {
        let State::Routing { ways, way, local, give_up_at } = &mut self.state else { return true };
        let (local, give_up_at) = (*local, *give_up_at);
        *way = ways.pop_front();
        let Some(route) = *way else {
            if !self.try_next(core, local, give_up_at, out) {
                let why = core.last_loss.clone();
                self.end(EndCause::Unroutable(RouteError::NoConnection(why)), out);
            }
            return true;
        };
        match core.flows.open(now, route.flow, &self.plan.hop.target().host, out) {
            Access::Ready => self.on_way(core, now, out),
            Access::Connecting => {}
        }
        true
    }

    /// The way stands: the INVITE goes out.
    pub(super) fn on_way(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        match mem::replace(&mut self.state, State::Over) {
            State::Routing { local, give_up_at, ways, way: Some(mut route) } => {
                route.local = core.flows.local(route.flow).map_or(route.local, |local| local.ip());
                let Some(protection) = core.media_keys.take(route.flow.transport) else {
                    return self.end(EndCause::SignallingUnprotected, out);
                };
                let media = Negotiation::new(core.rng.next_u64(), route.local, local).protected(protection);
                let credentials = Credentials::new(&core.config);
                let terms = Terms::new(&core.config);
                let leg = Leg { route, moving: None, media, credentials, terms };
                let (branch, early) = (String::new(), Vec::new());
                let attempt = Attempt { leg, branch, refusals: 0, give_up_at, early, next: None, ways };
                self.send_invite(core, now, attempt, out);
            }
            state @ (State::Routing { way: None, .. }
            | State::Calling(_)
            | State::Proceeding(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Confirmed(_)
            | State::Leaving(_)
            | State::Over) => self.state = state,
        }
    }

    fn send_invite(&mut self, core: &mut Core, now: Time, mut attempt: Attempt, out: &mut Outbox) {
        self.plan.cseq += 1;
        let Plan { dialled, target, headers: extra, call_id, tag, cseq, .. } = &self.plan;
        let mut invite = Request::new(Method::Invite, target.clone());
        let headers = &mut invite.headers;
        headers.push(Name::MaxForwards, "70");
        if let Some(proxy) = core.preloaded_route() {
            headers.push(Name::Route, proxy);
        }
        headers.push(Name::From, core.identity_value(attempt.leg.route.local, tag));
        headers.push(Name::To, format!("<{dialled}>"));
        headers.push(Name::CallId, call_id.clone());
        headers.push(Name::CSeq, format!("{cseq} INVITE"));
        extra.iter().for_each(|(name, value)| headers.push(name.clone(), value));
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
        if !self.awaits(answer) {
            // An INVITE of this call that was given up before: to another target, or before its CANCEL.
            if (200..=299).contains(&status) {
                drop_fork(core, now, self.id, answer, out);
            }
            return;
        }
        match (mem::replace(&mut self.state, State::Over), status) {
            (State::Calling(mut attempt) | State::Proceeding(mut attempt), ..=199) => {
                let news = self.on_provisional(core, now, &mut attempt, answer, out);
                self.state = State::Proceeding(attempt);
                if news {
                    out.push_back(Output::Event(Event::Progress { call: self.id, status }));
                }
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
                // The same again with plain media, if the peer has no SRTP and that is allowed.
                if matches!(status, 488 | 606) && attempt.leg.media.fall_back_to_plain() {
                    return self.send_invite(core, now, attempt, out);
                }
                if matches!(status, 300..=302) {
                    self.plan.targets.learn(&answer.response.headers);
                }
                // RFC 3263 4.3: this server cannot, another of the same name may.
                if status == 503 && self.try_next_way(core, now, &attempt, out) {
                    return;
                }
                // RFC 3261 8.1.3.4: a global refusal (6xx) speaks for all targets.
                if status < 600 && self.try_next_after(core, &attempt, out) {
                    return;
                }
                self.end(EndCause::Refused { status, reason: words_of(&answer.response) }, out);
            }
            (State::Abandoning { mut attempt, cause, reason }, ..=199) => {
                self.prack_unheard(core, now, &mut attempt, answer, out);
                self.send_cancel(core, now, attempt, cause, reason, out);
            }
            (State::Cancelling { mut attempt, cause, give_up_at }, ..=199) => {
                self.prack_unheard(core, now, &mut attempt, answer, out);
                self.state = State::Cancelling { attempt, cause, give_up_at };
            }
            // 2xx won the race against our CANCEL, or there was no time for one (RFC 3261 9.1, 15).
            (State::Abandoning { attempt, cause, .. } | State::Cancelling { attempt, cause, .. }, 200..=299) => {
                let Attempt { leg, early, .. } = attempt;
                let (leg, mut dialog) = self.dialog_of(core, leg, answer, out);
                resume(&mut dialog, &early);
                self.leave(core, now, Departure { leg, dialog, cause, refusals: 0 }, None, out);
            }
            (State::Abandoning { cause, .. } | State::Cancelling { cause, .. }, _) => self.end(cause, out),
            (
                state @ (State::Confirmed(_)
                | State::Leaving(_)
                | State::Over
                | State::Routing { .. }
                | State::Arriving(_)
                | State::Ringing(..)
                | State::Accepting(_)),
                status,
            ) => {
                self.state = state;
                // The transaction answers repetitions itself: this 2xx is of another branch (RFC 3261 13.2.2.4).
                if (200..=299).contains(&status) {
                    drop_fork(core, now, self.id, answer, out);
                }
            }
        }
    }

    /// Whether an answer is to the INVITE that is out now; when none is, it is for whoever has no state for it.
    fn awaits(&self, answer: &Answer) -> bool {
        match &self.state {
            State::Calling(attempt)
            | State::Proceeding(attempt)
            | State::Abandoning { attempt, .. }
            | State::Cancelling { attempt, .. } => answer.identity.via.branch() == Some(attempt.branch.as_str()),
            State::Routing { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Confirmed(_)
            | State::Leaving(_)
            | State::Over => true,
        }
    }

    /// Nobody answered, or `cause` says why nobody can: the next address, the next target, or the end.
    pub(super) fn on_invite_lost(&mut self, core: &mut Core, now: Time, cause: EndCause, out: &mut Outbox) {
        match mem::replace(&mut self.state, State::Over) {
            State::Calling(attempt) | State::Proceeding(attempt) => {
                if !self.try_next_way(core, now, &attempt, out) && !self.try_next_after(core, &attempt, out) {
                    self.end(cause, out);
                }
            }
            State::Abandoning { cause, .. } | State::Cancelling { cause, .. } => self.end(cause, out),
            state @ (State::Routing { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Confirmed(_)
            | State::Leaving(_)
            | State::Over) => self.state = state,
        }
    }

    fn confirm(&mut self, core: &mut Core, now: Time, attempt: Attempt, answer: &Answer, out: &mut Outbox) {
        let next = attempt.next;
        let early = attempt.early.iter().find(|early| Some(early.dialog.remote_tag()) == answer.identity.to.tag());
        // RFC 3262 5: an answer in a reliable provisional response need not stand in the 2xx again.
        let answered = early.and_then(Early::answer).filter(|_| answer.response.body.is_empty());
        let Attempt { leg, early, .. } = attempt;
        let (mut leg, mut dialog) = self.dialog_of(core, leg, answer, out);
        resume(&mut dialog, &early);
        match answered.map_or_else(|| leg.media.preview(&answer.response.body), Ok) {
            Ok(media) => {
                leg.media.settle(&media);
                out.push_back(Output::Event(Event::Confirmed { call: self.id, media }));
                let timer = SessionTimer::of_answer(&core.config, now, &answer.response.headers);
                self.state = State::Confirmed(Session {
                    leg,
                    dialog,
                    media: Box::new(media),
                    exchange: Exchange::Settled,
                    timer,
                    reach: Reach::Here,
                    keypad: Keypad::default(),
                    referral: None,
                    outstanding: None,
                });
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

/// What a refusal says of itself: its phrase, and its Reason header (RFC 3326; RFC 6432 lets responses bear one).
fn words_of(response: &Response) -> String {
    match reason_of(&response.headers) {
        Some(reason) if reason != response.reason => format!("{} ({reason})", response.reason),
        Some(_) | None => response.reason.clone(),
    }
}

/// The numbers of a confirmed dialog go on from those of the early dialog that it was.
fn resume(dialog: &mut Dialog, early: &[Early]) {
    let same = early.iter().find(|early| early.dialog.remote_tag() == dialog.remote_tag());
    if let Some(same) = same {
        dialog.resume(&same.dialog);
    }
}

/// Turns down a call from outside, whoever calls. `busy` when there is a call.
pub(super) fn turn_down(core: &mut Core, incoming: &Incoming<'_>, busy: bool, out: &mut Outbox) {
    if !accepts_sdp(incoming.request) {
        return core.refuse(incoming, 406, out);
    }
    core.refuse(incoming, if busy { 486 } else { 480 }, out);
}

/// Whether a Content-Type or Accept element is `wanted`, parameters aside.
pub(super) fn media_type_is(value: &str, wanted: &str) -> bool {
    value.split(';').next().is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted))
}
