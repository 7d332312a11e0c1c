//! Changing the media of a call (RFC 3261 14, RFC 3311): re-INVITE of either side, UPDATE of the peer.
//!
//! ```text
//!   Settled --our re-INVITE--> Offering --2xx, refused--> Settled
//!      |                          '--491--> Backoff --time--> Offering
//!      '--re-INVITE without an offer: 2xx with ours--> Offered --ACK with the answer--> Settled
//! ```
//!
//! Only one offer may be open at a time (RFC 3264 4): while one of ours is, the peer's gets 491 (RFC 3261 14.2), and
//! what our own side wants meanwhile waits.

use super::call::{Call, Departure, Session, State, acknowledge, complain};
use super::core::{ACCEPT, Core, Hop, Incoming};
use super::endpoint::{CallId, EndCause, Event, Outbox, Output};
use super::message::{Headers, Method, Name, Request};
use super::transaction::{Answer, Purpose, User};
use crate::sdp::{Local, Negotiated};
use crate::time::{Span, Time, Wakeup};
use std::mem;

/// How far an exchange of offer and answer within the call is.
pub(super) enum Exchange {
    Settled,
    /// Our re-INVITE is out.
    Offering {
        branch: String,
        /// What held before, in case it is refused.
        before: Box<Local>,
        /// What was asked for meanwhile.
        next: Option<Local>,
        refusals: u8,
    },
    /// The peer's offer met ours; ours goes out again later.
    Backoff {
        at: Time,
        local: Local,
    },
    /// Our offer is in a 2xx; the answer comes in the ACK with this CSeq.
    Offered {
        cseq: u32,
        next: Option<Local>,
    },
}

/// Between a re-INVITE that was refused with Retry-After and the next: what RFC 3261 14.2 lets a peer name, but not at once.
const LEAST_PAUSE: Span = Span::from_secs(1);
const LONGEST_PAUSE: Span = Span::from_secs(10);

impl Exchange {
    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        match self {
            Exchange::Backoff { at, .. } => Some(Wakeup::new(*at, "sip: re-INVITE after 491")),
            Exchange::Settled | Exchange::Offering { .. } | Exchange::Offered { .. } => None,
        }
    }

    /// The dialog is gone: nobody waits for the answer any more.
    pub(super) fn abandon(self, core: &mut Core, now: Time) {
        if let Exchange::Offering { branch, .. } = self {
            core.transactions.abandon(now, &branch);
        }
    }
}

impl Call {
    /// Asks for other media: now, or as soon as the exchange that is under way allows.
    pub(super) fn modify(&mut self, core: &mut Core, now: Time, local: Local, out: &mut Outbox) {
        match &mut self.state {
            State::Routing { local: wanted, .. } => *wanted = local,
            State::Calling(attempt) | State::Proceeding(attempt) => attempt.next = Some(local),
            State::Confirmed(session) => match &mut session.exchange {
                Exchange::Settled => self.offer(core, now, local, out),
                Exchange::Offering { next, .. } | Exchange::Offered { next, .. } => *next = Some(local),
                Exchange::Backoff { local: wanted, .. } => *wanted = local,
            },
            State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Leaving(_)
            | State::Over => {}
        }
    }

    /// The pause after a 491 is over.
    pub(super) fn offer_again(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        if session.exchange.poll_timeout().is_none_or(|wakeup| wakeup.at > now) {
            return;
        }
        if let Exchange::Backoff { local, .. } = mem::replace(&mut session.exchange, Exchange::Settled) {
            self.offer(core, now, local, out);
        }
    }

    pub(super) fn offer(&mut self, core: &mut Core, now: Time, local: Local, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        let before = session.leg.media.local();
        session.leg.media.set_local(local);
        let user = User { call: self.id, purpose: Purpose::Reinvite };
        let branch = session.send_reinvite(core, now, user, out);
        session.exchange = Exchange::Offering { branch, before: Box::new(before), next: None, refusals: 0 };
    }

    pub(super) fn on_reinvite_response(&mut self, core: &mut Core, now: Time, answer: &Answer, out: &mut Outbox) {
        let status = answer.response.status;
        let session = match &mut self.state {
            State::Confirmed(session) => session,
            // Leaving or gone: a 2xx still wants its ACK.
            State::Leaving(Departure { leg, dialog, .. }) if (200..=299).contains(&status) => {
                return acknowledge(core, dialog, leg.route, answer, out);
            }
            State::Routing { .. }
            | State::Calling(_)
            | State::Proceeding(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Leaving(_)
            | State::Over => return,
        };
        let Exchange::Offering { before, next, refusals, .. } = &session.exchange else { return };
        let (before, next, refusals) = (**before, *next, *refusals);
        match status {
            ..=199 => {}
            200..=299 => {
                session.dialog.refresh_target(&answer.response.headers);
                session.leg.follow(core, &self.plan.hop, &session.dialog, out);
                acknowledge(core, &session.dialog, session.leg.route, answer, out);
                session.exchange = Exchange::Settled;
                core.refreshes.ours += u32::from(session.timer.on_answer(now, &answer.response.headers));
                match session.leg.media.accept_answer(&answer.response.body) {
                    Ok(media) => {
                        // A refresh asks for nothing new, and what it does not change is not reported.
                        if before == session.leg.media.local() {
                            session.adopt(media, self.id, out);
                        } else {
                            *session.media = media;
                            out.push_back(Output::Event(Event::Modified { call: self.id, media }));
                        }
                        self.offer_next(core, now, next, out);
                    }
                    Err(error) => {
                        complain(error, answer.route.flow.remote, out);
                        self.leave_session(core, now, EndCause::NoCommonMedia, out);
                    }
                }
            }
            401 | 407 if session.leg.credentials.learn(&answer.response, refusals, &mut core.rng).is_ok() => {
                let user = User { call: self.id, purpose: Purpose::Reinvite };
                let branch = session.send_reinvite(core, now, user, out);
                session.exchange =
                    Exchange::Offering { branch, before: Box::new(before), next, refusals: refusals + 1 };
            }
            // This re-INVITE is a refresh, and its password is refused: as with UPDATE.
            401 | 407 if session.timer.is_asked() => {
                self.leave_session(core, now, EndCause::AuthenticationFailed, out);
            }
            422 if session.leg.terms.raise(&answer.response) => {
                let user = User { call: self.id, purpose: Purpose::Reinvite };
                let branch = session.send_reinvite(core, now, user, out);
                session.exchange = Exchange::Offering { branch, before: Box::new(before), next, refusals };
            }
            491 => {
                session.timer.postpone(now);
                let local = next.unwrap_or(session.leg.media.local());
                session.leg.media.set_local(before);
                let at = now + session.dialog.pause_after_glare(&mut core.rng);
                session.exchange = Exchange::Backoff { at, local };
            }
            // An offer of the peer's is open that has not reached us (14.2), or it is busy: asked again when it says so.
            500 | 503 if retry_after(&answer.response.headers).is_some() => {
                session.timer.postpone(now);
                let local = next.unwrap_or(session.leg.media.local());
                session.leg.media.set_local(before);
                let pause = retry_after(&answer.response.headers).unwrap_or(LEAST_PAUSE);
                session.exchange = Exchange::Backoff { at: now + pause, local };
            }
            // RFC 3261 12.2.1.2: these two say that the dialog is gone.
            408 | 481 => {
                let reason = answer.response.reason.clone();
                self.leave_session(core, now, EndCause::Refused { status, reason }, out);
            }
            // Everything stays as it was (14.1).
            _ => {
                session.leg.media.set_local(before);
                session.exchange = Exchange::Settled;
                session.timer.postpone(now);
                self.offer_next(core, now, next, out);
            }
        }
    }

    pub(super) fn on_reinvite_timeout(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        self.leave_session(core, now, EndCause::Timeout, out);
    }

    /// Our 2xx to a re-INVITE was never acknowledged: the peer is gone (RFC 3261 13.3.1.4).
    /// Of an INVITE that is not accepted yet it was the reliable 180: it gets 504 (RFC 3262 3).
    pub(super) fn on_unacknowledged(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        self.decline(core, now, 504, EndCause::Timeout, out);
        self.on_acceptance_ignored(core, now, out);
        self.leave_session(core, now, EndCause::Timeout, out);
    }

    /// The peer's re-INVITE, with an offer or asking for one.
    pub(super) fn on_reinvite(&mut self, core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return core.refuse(incoming, 481, out) };
        if let Some(least) = session.leg.terms.refuses(&incoming.request.headers) {
            return refuse_interval(core, incoming, least, out);
        }
        match session.exchange {
            Exchange::Offering { .. } | Exchange::Offered { .. } => return core.refuse(incoming, 491, out),
            Exchange::Settled | Exchange::Backoff { .. } => {}
        }
        let id = self.id;
        if incoming.request.body.is_empty() {
            let body = session.leg.media.offer();
            // What was to be offered after the back-off is in this offer only if it is asked for again.
            let next = match mem::replace(&mut session.exchange, Exchange::Settled) {
                Exchange::Backoff { local, .. } => Some(local),
                Exchange::Settled | Exchange::Offering { .. } | Exchange::Offered { .. } => None,
            };
            session.exchange = Exchange::Offered { cseq: incoming.identity.cseq.number, next };
            session.accept(core, incoming, &self.plan.hop, Some(body), id, out);
            return;
        }
        self.answer_offer(core, incoming, out);
    }

    /// The peer's UPDATE: with an offer it is a re-INVITE without the handshake; without one it only shows life.
    pub(super) fn on_update(&mut self, core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return core.refuse(incoming, 481, out) };
        if let Some(least) = session.leg.terms.refuses(&incoming.request.headers) {
            return refuse_interval(core, incoming, least, out);
        }
        if incoming.request.body.is_empty() {
            return session.accept(core, incoming, &self.plan.hop, None, self.id, out);
        }
        match session.exchange {
            Exchange::Offering { .. } | Exchange::Offered { .. } => core.refuse(incoming, 491, out),
            Exchange::Settled | Exchange::Backoff { .. } => self.answer_offer(core, incoming, out),
        }
    }

    fn answer_offer(&mut self, core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        match session.leg.media.answer(&incoming.request.body) {
            Ok((body, media)) => {
                session.accept(core, incoming, &self.plan.hop, Some(body), self.id, out);
                session.adopt(media, self.id, out);
            }
            Err(error) => {
                complain(error, incoming.flow.remote, out);
                core.refuse(incoming, 488, out);
            }
        }
    }

    /// An ACK in the dialog; it may carry the answer to the offer in our 2xx.
    pub(super) fn on_ack(&mut self, core: &mut Core, now: Time, request: &Request, cseq: u32, out: &mut Outbox) {
        core.transactions.acknowledged(self.id, cseq);
        self.on_acceptance_acknowledged(core, now, request, cseq, out);
        let State::Confirmed(session) = &mut self.state else { return };
        match &session.exchange {
            Exchange::Offered { cseq: awaited, next } if *awaited == cseq => {
                let next = *next;
                session.exchange = Exchange::Settled;
                // Without a usable answer the media stays as it was: the peer asked, so it is the peer's to complain.
                match session.leg.media.accept_answer(&request.body) {
                    Ok(media) => session.adopt(media, self.id, out),
                    Err(error) => complain(error, session.leg.route.flow.remote, out),
                }
                self.offer_next(core, now, next, out);
            }
            Exchange::Settled | Exchange::Offering { .. } | Exchange::Backoff { .. } | Exchange::Offered { .. } => {}
        }
    }

    fn offer_next(&mut self, core: &mut Core, now: Time, next: Option<Local>, out: &mut Outbox) {
        if let Some(local) = next {
            self.offer(core, now, local, out);
        }
    }

    pub(super) fn leave_session(&mut self, core: &mut Core, now: Time, cause: EndCause, out: &mut Outbox) {
        match mem::replace(&mut self.state, State::Over) {
            State::Confirmed(Session { leg, dialog, .. }) => {
                self.leave(core, now, Departure { leg, dialog, cause, refusals: 0 }, None, out)
            }
            state @ (State::Routing { .. }
            | State::Calling(_)
            | State::Proceeding(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Leaving(_)
            | State::Over) => self.state = state,
        }
    }
}

impl Session {
    /// Sends a re-INVITE with our offer; its branch comes back.
    fn send_reinvite(&mut self, core: &mut Core, now: Time, user: User, out: &mut Outbox) -> String {
        let mut invite = self.dialog.request(Method::Invite);
        invite.headers.push(Name::ContentType, ACCEPT);
        invite.body = self.leg.media.offer();
        self.timer.ask(&self.leg.terms, &mut invite);
        self.leg.credentials.authorize(&mut invite);
        core.send(now, invite, self.leg.route, user, out)
    }

    /// 200 to a re-INVITE or UPDATE, with our description if there is one to give.
    fn accept(
        &mut self,
        core: &mut Core,
        incoming: &Incoming<'_>,
        first: &Hop,
        body: Option<Vec<u8>>,
        call: CallId,
        out: &mut Outbox,
    ) {
        self.dialog.refresh_target(&incoming.request.headers);
        self.leg.follow(core, first, &self.dialog, out);
        let mut response = core.response(incoming, 200);
        response.headers.push(Name::Contact, core.contact_for(self.leg.route, incoming.request));
        response.headers.push(Name::Allow, core.allow());
        let timed = self.timer.on_request(incoming.now, &incoming.request.headers, &mut response);
        core.refreshes.peers += u32::from(timed);
        if let Some(body) = body {
            response.headers.push(Name::ContentType, ACCEPT);
            response.body = body;
        }
        core.respond(incoming, &response, Some(call), out);
    }

    /// Reports media that differ from those before.
    fn adopt(&mut self, media: Negotiated, call: CallId, out: &mut Outbox) {
        if mem::replace(&mut *self.media, media) != media {
            out.push_back(Output::Event(Event::Modified { call, media }));
        }
    }
}

/// Retry-After of a refusal that is one for the moment only.
fn retry_after(headers: &Headers) -> Option<Span> {
    let value = headers.first(&Name::RetryAfter)?;
    let digits = value.trim().split(|c: char| !c.is_ascii_digit()).next()?;
    let pause = Span::from_secs(digits.parse::<u32>().ok()?.into());
    (pause <= LONGEST_PAUSE).then(|| pause.max(LEAST_PAUSE))
}

/// RFC 4028 9: the peer's session interval is too short for us.
pub(super) fn refuse_interval(core: &mut Core, incoming: &Incoming<'_>, least: String, out: &mut Outbox) {
    let mut response = core.response(incoming, 422);
    response.headers.push(Name::MinSe, least);
    core.respond(incoming, &response, None, out);
}
