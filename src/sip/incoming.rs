//! An INVITE from outside (RFC 3261 13.3): the agent hears of it, lets it ring, answers or refuses.
//!
//! ```text
//!             way back known             answer: 200            ACK
//!   Arriving ----------------> Ringing -------------> Accepting ----> Confirmed
//!      '--------------------------|                      '-- no ACK, hung up --> Leaving
//!                                 '-- refused, CANCEL and BYE (487), nobody decides (480) --> Over
//! ```
//!
//! Without an offer in the INVITE ours is in the 200, and the answer in the ACK (13.2.1). Media flow from the ACK on:
//! before it, the peer may not even have heard of the 200.

use super::bye::reason_of;
use super::call::{Call, Departure, Leg, Plan, Session, State, complain};
use super::core::{ACCEPT, Core, Hop, Incoming, reply_to};
use super::dialog::Dialog;
use super::endpoint::{CallId, Caller, EndCause, Event, Outbox, Output, RouteError};
use super::info::Keypad;
use super::invite::media_type_is;
use super::message::name_addr::{NameAddr, unquote};
use super::message::{Headers, Identity, Method, Name, Request, Response};
use super::modify::{Exchange, refuse_interval};
use super::moving::Reach;
use super::prack::{self, Outstanding};
use super::redirect::Targets;
use super::timer::{SessionTimer, Terms};
use super::transport::{Flow, Route, Target};
use crate::sdp::{Local, Negotiated, Negotiation};
use crate::time::{Span, Time};
use std::mem;

/// An INVITE that is not decided yet.
pub(super) struct Invitation {
    pub(super) request: Request,
    pub(super) identity: Identity,
    pub(super) flow: Flow,
    /// With our tag, which every answer bears.
    pub(super) dialog: Dialog,
    pub(super) terms: Terms,
    /// Nobody decides until then ...
    pub(super) give_up_at: Time,
    /// ... and then it gets this: 487 when its Expires is over (RFC 3261 13.3.1), else 480.
    pub(super) too_late: u16,
    /// RSeq of the last reliable provisional response.
    pub(super) rseq: Option<u32>,
}

/// A 200 of ours that is not acknowledged yet.
pub(super) struct Acceptance {
    pub(super) leg: Leg,
    pub(super) dialog: Dialog,
    /// None: the answer to our offer comes with the ACK.
    media: Option<Negotiated>,
    timer: SessionTimer,
    cseq: u32,
    outstanding: Option<Outstanding>,
    /// Hung up meanwhile: no BYE before the ACK (RFC 3261 15).
    hung_up: Option<Farewell>,
}

struct Farewell {
    cause: EndCause,
    reason: Option<String>,
}

/// Calls from outside that wait for a decision or an ACK at one time.
pub(super) const MAX_UNDECIDED: usize = 4;

impl Call {
    /// Takes an INVITE in; the way back to its sender is asked for. None: it was refused.
    pub(super) fn arrive(core: &mut Core, id: CallId, incoming: &Incoming<'_>, out: &mut Outbox) -> Option<Call> {
        let Incoming { now, flow, request, identity } = *incoming;
        if !accepts_sdp(request) {
            core.refuse(incoming, 406, out);
            return None;
        }
        let terms = Terms::new(&core.config);
        if let Some(least) = terms.refuses(&request.headers) {
            refuse_interval(core, incoming, least, out);
            return None;
        }
        if !core.transactions.undecided(request, identity, reply_to(&identity.via, flow), id) {
            core.refuse(incoming, 503, out);
            return None;
        }
        let tag = core.rng.hex(8);
        let dialog = Dialog::of_invite(request, identity, &tag);
        let (give_up_at, too_late) = patience(now, core.config.invite_timeout, request);
        let remote = flow.remote;
        let back = Target { host: remote.ip().to_string(), port: Some(remote.port()), transport: flow.transport };
        let plan = Plan {
            dialled: identity.from.uri.clone(),
            target: identity.from.uri.clone(),
            targets: Targets::new(&identity.from.uri),
            headers: Headers::default(),
            hop: Hop::Direct(back.clone()),
            call_id: identity.call_id.clone(),
            tag,
            cseq: 0,
        };
        out.push_back(Output::Resolve(back));
        let (request, identity) = (request.clone(), identity.clone());
        let invitation = Invitation { request, identity, flow, dialog, terms, give_up_at, too_late, rseq: None };
        Some(Call { id, plan, state: State::Arriving(Box::new(invitation)) })
    }

    /// The way back is known: the agent may decide.
    pub(super) fn on_way_back(
        &mut self,
        core: &mut Core,
        now: Time,
        route: &Result<Route, RouteError>,
        out: &mut Outbox,
    ) {
        match (mem::replace(&mut self.state, State::Over), route) {
            (State::Arriving(invitation), Ok(route)) => {
                let event = Event::Incoming {
                    call: self.id,
                    caller: caller(&invitation.identity.from),
                    source: invitation.flow.remote,
                    number: invitation.request.uri.clone(),
                };
                let route = Route { flow: invitation.flow, local: route.local };
                self.state = State::Ringing(invitation, route);
                out.push_back(Output::Event(event));
            }
            // The answer still leaves by the way of the INVITE itself.
            (State::Arriving(invitation), Err(error)) => {
                let cause = EndCause::Unroutable(error.clone());
                self.refuse_invitation(core, now, *invitation, 480, cause, out);
            }
            (state, _) => self.state = state,
        }
    }

    /// 180, so that the caller hears it ring. Reliable when the caller requires it (RFC 3262 3).
    pub(super) fn ring(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        let State::Ringing(invitation, route) = &mut self.state else { return };
        // A second one may only follow the PRACK of the first, and says nothing new.
        if invitation.rseq.is_some() {
            return;
        }
        let mut response = invitation.response(core, now, 180);
        response.headers.push(Name::Contact, core.contact_for(*route, &invitation.request));
        response.headers.push(Name::Allow, core.allow());
        if prack::is_required(&invitation.request.headers) {
            let rseq = prack::first_rseq(&mut core.rng);
            response.headers.push(Name::Require, prack::OPTION);
            response.headers.push(Name::RSeq, rseq.to_string());
            invitation.rseq = Some(rseq);
        }
        core.transactions.proceed(now, self.id, response.to_bytes(), invitation.rseq, out);
    }

    /// Accepts the INVITE.
    pub(super) fn accept_invite(&mut self, core: &mut Core, now: Time, local: Local, out: &mut Outbox) {
        let State::Ringing(_, route) = self.state else { return };
        let Some(invitation) = self.take_invitation() else { return };
        let Some(protection) = core.media_keys.take(invitation.flow.transport) else {
            return self.refuse_invitation(core, now, invitation, 488, EndCause::SignallingUnprotected, out);
        };
        let mut negotiation = Negotiation::new(core.rng.next_u64(), route.local, local).protected(protection);
        let (body, media) = match invitation.request.body.is_empty() {
            true => (negotiation.offer(), None),
            false => match negotiation.answer(&invitation.request.body) {
                Ok((body, media)) => (body, Some(media)),
                Err(error) => {
                    complain(error, invitation.flow.remote, out);
                    return self.refuse_invitation(core, now, invitation, 488, EndCause::NoCommonMedia, out);
                }
            },
        };
        let mut response = invitation.response(core, now, 200);
        response.headers.push(Name::Contact, core.contact_for(route, &invitation.request));
        response.headers.push(Name::Allow, core.allow());
        let headers = &invitation.request.headers;
        let mut timer = SessionTimer::of_request(&core.config, headers);
        timer.on_request(now, headers, &mut response);
        response.headers.push(Name::ContentType, ACCEPT);
        response.body = body;
        invitation.respond(core, now, &response, Some(self.id), out);
        let credentials = super::auth::Credentials::new(&core.config);
        let mut leg = Leg { route, moving: None, media: negotiation, credentials, terms: invitation.terms };
        leg.follow(core, &self.plan.hop, &invitation.dialog, out);
        let (dialog, cseq) = (invitation.dialog, invitation.identity.cseq.number);
        let outstanding = invitation.rseq.map(|rseq| Outstanding { rseq, invite: cseq });
        let acceptance = Acceptance { leg, dialog, media, timer, cseq, outstanding, hung_up: None };
        self.state = State::Accepting(Box::new(acceptance));
    }

    /// Turns the INVITE down.
    pub(super) fn decline(&mut self, core: &mut Core, now: Time, status: u16, cause: EndCause, out: &mut Outbox) {
        if let Some(invitation) = self.take_invitation() {
            self.refuse_invitation(core, now, invitation, status, cause, out);
        }
    }

    /// What is not decided yet, to be decided.
    fn take_invitation(&mut self) -> Option<Invitation> {
        if !matches!(self.state, State::Arriving(_) | State::Ringing(..)) {
            return None;
        }
        let state = mem::replace(&mut self.state, State::Over);
        let (State::Arriving(invitation) | State::Ringing(invitation, _)) = state else { return None };
        Some(*invitation)
    }

    fn take_acceptance(&mut self) -> Option<Acceptance> {
        if !matches!(self.state, State::Accepting(_)) {
            return None;
        }
        let State::Accepting(acceptance) = mem::replace(&mut self.state, State::Over) else { return None };
        Some(*acceptance)
    }

    fn refuse_invitation(
        &mut self,
        core: &mut Core,
        now: Time,
        invitation: Invitation,
        status: u16,
        cause: EndCause,
        out: &mut Outbox,
    ) {
        let response = invitation.response(core, now, status);
        invitation.respond(core, now, &response, None, out);
        self.end(cause, out);
    }

    /// Nobody has decided in time.
    pub(super) fn on_undecided(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        let (State::Arriving(invitation) | State::Ringing(invitation, _)) = &self.state else { return };
        if invitation.give_up_at <= now {
            let (status, cause) = match invitation.too_late {
                487 => (487, EndCause::Remote { reason: None }),
                status => (status, EndCause::NoAnswer),
            };
            self.decline(core, now, status, cause, out);
        }
    }

    /// Our 200 is acknowledged, perhaps with the answer to its offer.
    pub(super) fn on_acceptance_acknowledged(
        &mut self,
        core: &mut Core,
        now: Time,
        ack: &Request,
        cseq: u32,
        out: &mut Outbox,
    ) {
        if !matches!(&self.state, State::Accepting(acceptance) if acceptance.cseq == cseq) {
            return;
        }
        let Some(Acceptance { mut leg, dialog, media, timer, outstanding, hung_up, .. }) = self.take_acceptance()
        else {
            return;
        };
        if let Some(Farewell { cause, reason }) = hung_up {
            return self.leave(core, now, Departure { leg, dialog, cause, refusals: 0 }, reason, out);
        }
        match media.map_or_else(|| leg.media.accept_answer(&ack.body), Ok) {
            Ok(media) => {
                out.push_back(Output::Event(Event::Confirmed { call: self.id, media }));
                self.state = State::Confirmed(Session {
                    leg,
                    dialog,
                    media: Box::new(media),
                    exchange: Exchange::Settled,
                    timer,
                    reach: Reach::Here,
                    keypad: Keypad::default(),
                    referral: None,
                    outstanding,
                });
            }
            Err(error) => {
                complain(error, leg.route.flow.remote, out);
                let cause = EndCause::NoCommonMedia;
                self.leave(core, now, Departure { leg, dialog, cause, refusals: 0 }, None, out);
            }
        }
    }

    /// The ACK has not come in 64 T1 (RFC 3261 13.3.1.4): the dialog ends by BYE.
    pub(super) fn on_acceptance_ignored(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        if let Some(Acceptance { leg, dialog, hung_up, .. }) = self.take_acceptance() {
            let (cause, reason) = hung_up.map_or((EndCause::Timeout, None), |bye| (bye.cause, bye.reason));
            self.leave(core, now, Departure { leg, dialog, cause, refusals: 0 }, reason, out);
        }
    }

    /// A request of the caller before there is a call: in the early dialog, or before its own ACK.
    pub(super) fn on_early_request(&mut self, core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
        match (&mut self.state, &incoming.request.method) {
            (State::Ringing(invitation, _), Method::Prack) => {
                let known = prack::confirmed(incoming.request, invitation.identity.cseq.number)
                    .is_some_and(|rseq| core.transactions.pracked(self.id, rseq));
                core.refuse(incoming, if known { 200 } else { 481 }, out);
            }
            (State::Accepting(acceptance), Method::Prack) => {
                let known = acceptance.outstanding.take_if(|own| own.is_confirmed_by(incoming.request)).is_some();
                core.refuse(incoming, if known { 200 } else { 481 }, out);
            }
            (State::Ringing(..) | State::Arriving(_) | State::Accepting(_), Method::Bye) => {
                core.refuse(incoming, 200, out);
                let cause = EndCause::Remote { reason: reason_of(&incoming.request.headers) };
                // RFC 3261 15.1.2: an INVITE that still waits gets 487.
                match self.take_invitation() {
                    Some(invitation) => self.refuse_invitation(core, incoming.now, invitation, 487, cause, out),
                    None => self.end(cause, out),
                }
            }
            // RFC 3311 5.2: an offer that meets one which is not answered yet; after our 200 with an offer it is 491.
            (State::Accepting(acceptance), Method::Update | Method::Invite) => {
                let status = if acceptance.media.is_none() { 491 } else { 500 };
                retry_later(core, incoming, status, out);
            }
            (State::Ringing(invitation, route), Method::Update) => {
                if !incoming.request.body.is_empty() {
                    return retry_later(core, incoming, 500, out);
                }
                invitation.dialog.refresh_target(&incoming.request.headers);
                let mut response = core.response(incoming, 200);
                response.headers.push(Name::Contact, core.contact_for(*route, incoming.request));
                response.headers.push(Name::Allow, core.allow());
                core.respond(incoming, &response, None, out);
            }
            (_, Method::Invite | Method::Update) => retry_later(core, incoming, 500, out),
            (_, Method::Options) => super::options::answer(core, incoming, out),
            (_, Method::Info) => core.refuse(incoming, 200, out),
            _ => core.refuse(incoming, 481, out),
        }
    }
}

impl Acceptance {
    /// The BYE waits for the ACK.
    pub(super) fn hang_up(&mut self, reason: Option<String>) {
        self.hung_up.get_or_insert(Farewell { cause: EndCause::Local, reason });
    }
}

impl Invitation {
    fn incoming(&self, now: Time) -> Incoming<'_> {
        Incoming { now, flow: self.flow, request: &self.request, identity: &self.identity }
    }

    /// An answer with our tag, which never changes, and the route set (RFC 3261 12.1.1).
    fn response(&self, core: &mut Core, now: Time, status: u16) -> Response {
        let mut response = core.response(&self.incoming(now), status);
        response.headers.replace(&Name::To, self.dialog.local());
        for route in self.request.headers.all(&Name::RecordRoute) {
            response.headers.push(Name::RecordRoute, route);
        }
        response
    }

    fn respond(&self, core: &mut Core, now: Time, response: &Response, call: Option<CallId>, out: &mut Outbox) {
        core.respond(&self.incoming(now), response, call, out);
    }
}

/// How long an INVITE may wait, and what it gets then.
fn patience(now: Time, timeout: Span, request: &Request) -> (Time, u16) {
    let expires = request.headers.first(&Name::Expires).and_then(|value| value.trim().parse::<u32>().ok());
    match expires.map(|seconds| Span::from_secs(seconds.into())) {
        Some(expires) if expires < timeout => (now + expires.max(Span::from_millis(1)), 487),
        Some(_) | None => (now + timeout, 480),
    }
}

fn caller(from: &NameAddr) -> Caller {
    Caller { uri: from.uri.clone(), name: from.display.as_deref().map(unquote).unwrap_or_default() }
}

/// Whether our SDP would be understood (RFC 3261 20.1).
pub(super) fn accepts_sdp(request: &Request) -> bool {
    let mut accept = request.headers.elements(&Name::Accept).peekable();
    let fits = |range: &str| ["application/sdp", "application/*", "*/*"].iter().any(|t| media_type_is(range, t));
    accept.peek().is_none() || accept.any(fits)
}

/// RFC 3261 14.2, RFC 3311 5.2: not now; 500 names a pause of 0 to 10 s.
pub(super) fn retry_later(core: &mut Core, incoming: &Incoming<'_>, status: u16, out: &mut Outbox) {
    let mut response = core.response(incoming, status);
    if status == 500 {
        response.headers.push(Name::RetryAfter, core.rng.below(11).to_string());
    }
    core.respond(incoming, &response, None, out);
}
