//! Session timers (RFC 4028): a call neither side refreshes is over, so that none hangs on after its peer has died.
//!
//! ```text
//!   2xx with Session-Expires --refresher is us--> Ours   --half the interval--> UPDATE, or re-INVITE --2xx--> Ours
//!                           '-the peer-----------> Peers  --its UPDATE or re-INVITE, our 2xx--> Peers
//!                                                    '---- not refreshed: BYE a third before the end (10)
//! ```
//!
//! Each 2xx to an INVITE or UPDATE of either side settles interval and refresher anew; roles stay (7.4).

use super::bye::reason_of_status;
use super::call::{Call, Departure, Session, State};
use super::core::{Core, SUPPORTED};
use super::endpoint::{EndCause, Outbox};
use super::message::params::Params;
use super::message::{Headers, Method, Name, Request, Response};
use super::modify::Exchange;
use super::transaction::{Answer, Purpose, User};
use crate::config;
use crate::time::{Span, Time, Wakeup, soonest};

/// What our requests ask for. Grows with each 422.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Session-Expires; None: left to the peer.
    expires: Option<Span>,
    /// Min-SE: the shortest interval we accept.
    min_se: Span,
    raises: u8,
}

/// The timer of one confirmed call.
#[derive(Debug)]
pub(super) struct SessionTimer {
    means: Means,
    duty: Duty,
    /// Between a refresh that was refused for the moment and the next.
    retry: Span,
}

/// How we refresh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Means {
    /// Without SDP: nothing is renegotiated (RFC 4028 7.4).
    Update,
    /// The peer does not allow UPDATE.
    Reinvite,
}

/// Who refreshes. `end_at`: then the session is over unless it was refreshed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Duty {
    Nobodys,
    Ours { interval: Span, step: Step, end_at: Time },
    Peers { interval: Span, end_at: Time },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Waiting {
        refresh_at: Time,
    },
    /// The refresh is out; so often it was refused with a challenge.
    Asked {
        refusals: u8,
    },
}

/// `refresher` of Session-Expires, within one transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refresher {
    Uac,
    Uas,
}

/// The least interval there is (RFC 4028 5).
const LEAST: Span = Span::from_secs(90);
/// What nobody needs: a 422 that wants more is not obeyed.
const MOST: Span = Span::from_secs(86_400);
const MAX_RAISES: u8 = 3;

impl Terms {
    pub(super) fn new(config: &config::Sip) -> Terms {
        let expires = Some(config.session_expires).filter(|span| *span != Span::ZERO);
        Terms { expires: expires.map(|span| span.max(config.min_se)), min_se: config.min_se.max(LEAST), raises: 0 }
    }

    /// Takes the Min-SE of a 422 (RFC 4028 7.3). `false`: there is none to be had, or it is absurd.
    pub(super) fn raise(&mut self, response: &Response) -> bool {
        let wanted = response.headers.first(&Name::MinSe).and_then(|value| value.split(';').next()).and_then(seconds);
        match wanted {
            Some(wanted) if self.raises < MAX_RAISES && wanted <= MOST => {
                self.raises += 1;
                self.min_se = self.min_se.max(wanted);
                self.expires = Some(self.expires.unwrap_or(wanted).max(wanted));
                true
            }
            Some(_) | None => false,
        }
    }

    /// Into the first INVITE: who refreshes is left to the peer (RFC 4028 7.1).
    pub(super) fn ask(&self, request: &mut Request) {
        self.push(request, self.expires, None);
    }

    fn push(&self, request: &mut Request, expires: Option<Span>, refresher: Option<Refresher>) {
        if let Some(expires) = expires {
            request.headers.push(Name::SessionExpires, session_expires(expires, refresher));
            request.headers.push(Name::MinSe, whole_seconds(self.min_se).to_string());
        }
    }

    /// 422 is due: the interval of a request is below what we accept, and its sender knows 422 (RFC 4028 9). The value
    /// is our Min-SE.
    pub(super) fn refuses(&self, headers: &Headers) -> Option<String> {
        let (interval, _) = read(headers)?;
        let knows = headers.elements(&Name::Supported).any(|option| option.eq_ignore_ascii_case("timer"));
        (interval < self.min_se && knows).then(|| whole_seconds(self.min_se).to_string())
    }
}

impl SessionTimer {
    /// Of the 2xx that confirmed our INVITE.
    pub(super) fn of_answer(config: &config::Sip, now: Time, headers: &Headers) -> SessionTimer {
        let mut timer = SessionTimer::of_request(config, headers);
        timer.on_answer(now, headers);
        timer
    }

    /// Of an INVITE of the peer: nobody's, until the 2xx to it settles whose it is ([`SessionTimer::on_request`]).
    pub(super) fn of_request(config: &config::Sip, headers: &Headers) -> SessionTimer {
        let update = headers.elements(&Name::Allow).any(|method| method == Method::Update.as_str());
        let means = if update { Means::Update } else { Means::Reinvite };
        SessionTimer { means, duty: Duty::Nobodys, retry: config.refresh_retry }
    }

    /// A 2xx to an INVITE or UPDATE of ours: without Session-Expires the session never expires (RFC 4028 7.2).
    /// `true`: it answers a refresh.
    pub(super) fn on_answer(&mut self, now: Time, headers: &Headers) -> bool {
        let refreshed = self.is_asked();
        self.duty = match read(headers) {
            None => Duty::Nobodys,
            // A 2xx has to name the refresher; where it does not, nobody else may be counted on.
            Some((interval, None | Some(Refresher::Uac))) => Duty::ours(now, interval),
            Some((interval, Some(Refresher::Uas))) => Duty::peers(now, interval),
        };
        refreshed
    }

    /// Into an INVITE or UPDATE within the call: the roles as they are (RFC 4028 7.4).
    pub(super) fn ask(&self, terms: &Terms, request: &mut Request) {
        let (expires, refresher) = match self.duty {
            Duty::Nobodys => (terms.expires, None),
            Duty::Ours { interval, .. } => (Some(interval.max(terms.min_se)), Some(Refresher::Uac)),
            Duty::Peers { interval, .. } => (Some(interval.max(terms.min_se)), Some(Refresher::Uas)),
        };
        terms.push(request, expires, refresher);
    }

    /// A refresh of the peer, or any INVITE or UPDATE of it, gets `response`, a 2xx (RFC 4028 9). Once there is a timer,
    /// a request that says nothing of it does not end it. `true`: a timer runs.
    pub(super) fn on_request(&mut self, now: Time, headers: &Headers, response: &mut Response) -> bool {
        response.headers.push(Name::Supported, SUPPORTED);
        let peer_knows = headers.elements(&Name::Supported).any(|option| option.eq_ignore_ascii_case("timer"));
        let running = match self.duty {
            Duty::Nobodys => None,
            Duty::Ours { interval, .. } => Some((interval, Some(Refresher::Uas))),
            Duty::Peers { interval, .. } => Some((interval, None)),
        };
        let Some((interval, wanted)) = read(headers).or(running) else { return false };
        let refresher = match wanted {
            Some(refresher) => refresher,
            None if peer_knows => Refresher::Uac,
            None => Refresher::Uas,
        };
        match refresher {
            Refresher::Uac => {
                response.headers.push(Name::Require, "timer");
                self.duty = Duty::peers(now, interval);
            }
            Refresher::Uas => self.duty = Duty::ours(now, interval),
        }
        response.headers.push(Name::SessionExpires, session_expires(interval, Some(refresher)));
        true
    }

    /// Our refresh came to nothing for the moment.
    pub(super) fn postpone(&mut self, now: Time) {
        if let Duty::Ours { step, .. } = &mut self.duty {
            *step = Step::Waiting { refresh_at: now + self.retry };
        }
    }

    fn asked(&mut self, refusals: u8) {
        if let Duty::Ours { step, .. } = &mut self.duty {
            *step = Step::Asked { refusals };
        }
    }

    /// A refresh of ours is out.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.duty, Duty::Ours { step: Step::Asked { .. }, .. })
    }

    fn refusals(&self) -> u8 {
        match self.duty {
            Duty::Ours { step: Step::Asked { refusals }, .. } => refusals,
            Duty::Ours { step: Step::Waiting { .. }, .. } | Duty::Nobodys | Duty::Peers { .. } => 0,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        let end = |at| Some(Wakeup::new(at, "sip: session expires"));
        match self.duty {
            Duty::Nobodys => None,
            Duty::Ours { step: Step::Waiting { refresh_at }, end_at, .. } => {
                soonest(Some(Wakeup::new(refresh_at, "sip: session refresh")), end(end_at))
            }
            Duty::Ours { step: Step::Asked { .. }, end_at, .. } | Duty::Peers { end_at, .. } => end(end_at),
        }
    }
}

impl Duty {
    fn ours(now: Time, interval: Span) -> Duty {
        let interval = interval.max(LEAST);
        let refresh_at = now + Span::from_millis(interval.as_millis() / 2);
        Duty::Ours { interval, step: Step::Waiting { refresh_at }, end_at: end_of(now, interval) }
    }

    fn peers(now: Time, interval: Span) -> Duty {
        let interval = interval.max(LEAST);
        Duty::Peers { interval, end_at: end_of(now, interval) }
    }
}

impl Call {
    /// The session timer has fired: refresh, or give the session up.
    pub(super) fn on_session_timeout(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        match session.timer.duty {
            Duty::Ours { end_at, .. } | Duty::Peers { end_at, .. } if end_at <= now => self.expire(core, now, out),
            Duty::Ours { step: Step::Waiting { refresh_at }, .. } if refresh_at <= now => {
                self.refresh(core, now, 0, out);
            }
            Duty::Nobodys | Duty::Ours { .. } | Duty::Peers { .. } => {}
        }
    }

    fn refresh(&mut self, core: &mut Core, now: Time, refusals: u8, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        match (session.timer.means, &session.exchange) {
            (Means::Update, _) => {
                session.timer.asked(refusals);
                session.send_update(core, now, User { call: self.id, purpose: Purpose::Refresh }, out);
            }
            (Means::Reinvite, Exchange::Settled) => {
                session.timer.asked(refusals);
                let local = session.leg.media.local();
                self.offer(core, now, local, out);
            }
            // A re-INVITE is under way or to come, and refreshes as well.
            (Means::Reinvite, Exchange::Offering { .. } | Exchange::Backoff { .. } | Exchange::Offered { .. }) => {
                session.timer.postpone(now);
            }
        }
    }

    /// The answer to our UPDATE.
    pub(super) fn on_refresh_response(&mut self, core: &mut Core, now: Time, answer: &Answer, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        let response = &answer.response;
        let refusals = session.timer.refusals();
        match response.status {
            ..=199 => {}
            200..=299 => {
                session.dialog.refresh_target(&response.headers);
                session.leg.follow(core, &self.plan.hop, &session.dialog, out);
                core.refreshes.ours += u32::from(session.timer.on_answer(now, &response.headers));
            }
            401 | 407 if session.leg.credentials.learn(response, refusals, &mut core.rng).is_ok() => {
                self.refresh(core, now, refusals + 1, out);
            }
            // A refused password is not tried again (RFC 3261 22.2), and without a refresh the session ends anyway.
            401 | 407 => self.leave_session(core, now, EndCause::AuthenticationFailed, out),
            422 if session.leg.terms.raise(response) => self.refresh(core, now, refusals, out),
            405 | 501 => {
                session.timer.means = Means::Reinvite;
                self.refresh(core, now, 0, out);
            }
            408 | 481 => {
                let cause = EndCause::Refused { status: response.status, reason: response.reason.clone() };
                self.leave_session(core, now, cause, out);
            }
            _ => session.timer.postpone(now),
        }
    }

    /// RFC 4028 10: nobody refreshed in time.
    fn expire(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Confirmed(Session { leg, dialog, exchange, .. }) => {
                exchange.abandon(core, now);
                let departure = Departure { leg, dialog, cause: EndCause::Timeout, refusals: 0 };
                self.leave(core, now, departure, Some(reason_of_status(408, "session expired")), out);
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
    fn send_update(&mut self, core: &mut Core, now: Time, user: User, out: &mut Outbox) {
        let mut update = self.dialog.request(Method::Update);
        self.timer.ask(&self.leg.terms, &mut update);
        self.leg.credentials.authorize(&mut update);
        core.send(now, update, self.leg.route, user, out);
    }
}

/// RFC 4028 10: BYE the smaller of 32 s and a third of the interval before it ends.
fn end_of(now: Time, interval: Span) -> Time {
    let third = Span::from_millis(interval.as_millis() / 3);
    now + (interval - third.min(Span::from_secs(32)))
}

fn session_expires(interval: Span, refresher: Option<Refresher>) -> String {
    let refresher = match refresher {
        None => "",
        Some(Refresher::Uac) => ";refresher=uac",
        Some(Refresher::Uas) => ";refresher=uas",
    };
    format!("{}{refresher}", whole_seconds(interval))
}

fn whole_seconds(span: Span) -> u64 {
    span.as_millis().div_ceil(1_000)
}

/// Session-Expires; one that cannot be read counts as none.
fn read(headers: &Headers) -> Option<(Span, Option<Refresher>)> {
    let value = headers.first(&Name::SessionExpires)?;
    let (interval, params) = value.split_once(';').unwrap_or((value, ""));
    let params = Params::parse(params).ok()?;
    let refresher = match params.value("refresher") {
        Some(word) if word.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
        Some(word) if word.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
        Some(_) | None => None,
    };
    Some((seconds(interval)?, refresher))
}

fn seconds(text: &str) -> Option<Span> {
    text.trim().parse::<u32>().ok().map(|seconds| Span::from_secs(seconds.into()))
}
