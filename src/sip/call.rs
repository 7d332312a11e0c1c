//! One call from its first INVITE to its end (RFC 3261 13, 15): the states, and which verb's file handles what.
//!
//! ```text
//!             route          1xx               2xx
//!   Routing --------> Calling ---> Proceeding ------> Confirmed --BYE of the peer--> Over
//!      | hung up        | hung up      | hung up, rang too long  | hung up
//!      v                v              v                         v
//!     Over          Abandoning -1xx-> Cancelling ---2xx-----> Leaving ---answered, timed out--> Over
//!                       '--2xx-----------------------------------'
//!
//!   Arriving --way back--> Ringing --we answer--> Accepting --ACK--> Confirmed      (the peer's INVITE: `incoming`)
//! ```
//!
//! * `invite`, `redirect`: Routing, Calling, Proceeding and what an INVITE brings, forks and late 2xx included.
//! * `prack`: reliable provisional responses, early dialogs and early media. * `incoming`: who calls us.
//! * `cancel`: Abandoning, Cancelling.  * `bye`: hanging up, Leaving, the peer's BYE.
//! * `modify`: re-INVITE and UPDATE of either side while Confirmed.  * `timer`: how long Confirmed lasts unrefreshed.
//! * `info`: digits.  * `refer`: being sent elsewhere.

use super::auth::Credentials;
use super::core::{Core, Hop, Incoming, NextHop};
use super::dialog::Dialog;
use super::endpoint::{CallId, EndCause, Event, Outbox, Output, RouteError};
use super::incoming::{Acceptance, Invitation};
use super::info::Keypad;
use super::message::{Headers, Identity, Method, Name};
use super::modify::Exchange;
use super::moving::Reach;
use super::prack::{Early, Outstanding};
use super::redirect::Targets;
use super::refer::Referral;
use super::timer::{SessionTimer, Terms};
use super::transaction::{Answer, Notice, Purpose, Transactions};
use super::transport::{Route, Target};
use crate::sdp::{self, Local, Negotiated, Negotiation};
use crate::time::{Time, Wakeup, soonest};
use std::collections::VecDeque;
use std::net::SocketAddr;

pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) plan: Plan,
    pub(super) state: State,
}

/// What identifies the call and its far end, from the first INVITE on.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Whom we dialled: To, and the first Request-URI.
    pub(super) dialled: String,
    /// Request-URI; another one after a 3xx.
    pub(super) target: String,
    pub(super) targets: Targets,
    /// What else its INVITEs say.
    pub(super) headers: Headers,
    pub(super) hop: Hop,
    pub(super) call_id: String,
    pub(super) tag: String,
    /// Of the last INVITE; 0: none was sent.
    pub(super) cseq: u32,
}

pub(super) enum State {
    /// The shell looks for ways to the host, and connects.
    Routing {
        local: Local,
        give_up_at: Time,
        /// Not tried yet, best first (RFC 3263 4.2).
        ways: VecDeque<Route>,
        /// The one that is being connected.
        way: Option<Route>,
    },
    /// INVITE sent, nothing heard.
    Calling(Attempt),
    /// Answered provisionally.
    Proceeding(Attempt),
    /// To be cancelled, but before a provisional response no CANCEL may go out (RFC 3261 9.1).
    Abandoning {
        attempt: Attempt,
        cause: EndCause,
        reason: Option<String>,
    },
    /// CANCEL sent; the INVITE's final response is awaited.
    Cancelling {
        attempt: Attempt,
        cause: EndCause,
        give_up_at: Time,
    },
    /// INVITE of the peer: the shell looks for the way back.
    Arriving(Box<Invitation>),
    /// The agent has heard of it and decides.
    Ringing(Box<Invitation>, Route),
    /// Our 200 is out, its ACK awaited.
    Accepting(Box<Acceptance>),
    Confirmed(Session),
    /// BYE sent.
    Leaving(Departure),
    Over,
}

/// How we reach the peer and what we told it.
pub(super) struct Leg {
    pub(super) route: Route,
    /// The name of a Contact that is being looked up; until then `route` serves.
    pub(super) moving: Option<Target>,
    pub(super) media: Negotiation,
    pub(super) credentials: Credentials,
    pub(super) terms: Terms,
}

/// An INVITE without a final response.
pub(super) struct Attempt {
    pub(super) leg: Leg,
    pub(super) branch: String,
    /// How often this INVITE was refused with a challenge.
    pub(super) refusals: u8,
    /// `invite_timeout`.
    pub(super) give_up_at: Time,
    /// What provisional responses began.
    pub(super) early: Vec<Early>,
    /// Media asked for while the offer was on its way.
    pub(super) next: Option<Local>,
    /// Where else this target can be reached.
    pub(super) ways: VecDeque<Route>,
}

/// A dialog that is being ended.
pub(super) struct Departure {
    pub(super) leg: Leg,
    pub(super) dialog: Dialog,
    pub(super) cause: EndCause,
    /// How often the BYE was refused with a challenge.
    pub(super) refusals: u8,
}

/// A confirmed dialog with media.
pub(super) struct Session {
    pub(super) leg: Leg,
    pub(super) dialog: Dialog,
    /// Boxed: with its keys it is long.
    pub(super) media: Box<Negotiated>,
    pub(super) exchange: Exchange,
    pub(super) timer: SessionTimer,
    pub(super) reach: Reach,
    pub(super) keypad: Keypad,
    pub(super) referral: Option<Referral>,
    /// The 180 before our 200, while its PRACK has not come.
    pub(super) outstanding: Option<Outstanding>,
}

impl Call {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether a request of the peer belongs to this call.
    pub(super) fn matches(&self, identity: &Identity) -> bool {
        match &self.state {
            State::Confirmed(Session { dialog, .. }) | State::Leaving(Departure { dialog, .. }) => {
                dialog.matches(identity)
            }
            State::Arriving(invitation) | State::Ringing(invitation, _) => invitation.dialog.matches(identity),
            State::Accepting(acceptance) => acceptance.dialog.matches(identity),
            State::Proceeding(attempt) => attempt.early.iter().any(|early| early.dialog.matches(identity)),
            State::Routing { .. }
            | State::Calling(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Over => false,
        }
    }

    /// An INVITE of the peer that waits for our decision, or for its ACK.
    pub(super) fn is_undecided(&self) -> bool {
        matches!(self.state, State::Arriving(_) | State::Ringing(..) | State::Accepting(_))
    }

    /// Whether this very INVITE made the call, and came again by another way (RFC 3261 8.2.2.2).
    pub(super) fn is_made_by(&self, invite: &Identity, transactions: &Transactions) -> bool {
        let dialog = match &self.state {
            State::Arriving(invitation) | State::Ringing(invitation, _) => &invitation.dialog,
            State::Accepting(acceptance) => &acceptance.dialog,
            State::Confirmed(Session { dialog, .. }) | State::Leaving(Departure { dialog, .. }) => dialog,
            State::Routing { .. }
            | State::Calling(_)
            | State::Proceeding(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Over => return false,
        };
        self.plan.call_id == invite.call_id
            && Some(dialog.remote_tag()) == invite.from.tag()
            && transactions.has_invite(self.id, invite.cseq.number)
    }

    pub(super) fn on_notice(&mut self, core: &mut Core, now: Time, notice: Notice, out: &mut Outbox) {
        match notice {
            Notice::Answered { user, answer } => match user.purpose {
                Purpose::Invite => self.on_invite_response(core, now, &answer, out),
                Purpose::Reinvite => self.on_reinvite_response(core, now, &answer, out),
                Purpose::Refresh => self.on_refresh_response(core, now, &answer, out),
                Purpose::Digit => self.on_digit_response(core, now, &answer, out),
                Purpose::Bye => self.on_bye_response(core, now, &answer.response, out),
                Purpose::DropFork => super::bye::drop_fork_again(core, now, self.id, &answer, out),
                // A PRACK that is refused changes nothing: the INVITE's own final response decides (RFC 3262 4).
                Purpose::Notify
                | Purpose::Prack
                | Purpose::Cancel
                | Purpose::Probe(_)
                | Purpose::Register
                | Purpose::Unregister => {}
            },
            Notice::TimedOut { user } => match user.purpose {
                Purpose::Invite => self.on_invite_lost(core, now, EndCause::Timeout, out),
                Purpose::Reinvite | Purpose::Refresh | Purpose::Digit => self.on_reinvite_timeout(core, now, out),
                Purpose::Bye => self.on_bye_timeout(out),
                Purpose::Notify
                | Purpose::Prack
                | Purpose::Cancel
                | Purpose::DropFork
                | Purpose::Probe(_)
                | Purpose::Register
                | Purpose::Unregister => {}
            },
            Notice::Failed { user } => match user.purpose {
                Purpose::Invite => {
                    let cause = EndCause::Unroutable(RouteError::NoConnection(core.last_loss.clone()));
                    self.on_invite_lost(core, now, cause, out);
                }
                Purpose::Reinvite => self.on_reinvite_lost(core, now),
                Purpose::Refresh => self.on_refresh_lost(now),
                Purpose::Digit => self.on_digits_lost(out),
                Purpose::Bye => self.on_bye_timeout(out),
                Purpose::Notify
                | Purpose::Prack
                | Purpose::Cancel
                | Purpose::DropFork
                | Purpose::Probe(_)
                | Purpose::Register
                | Purpose::Unregister => {}
            },
            Notice::Unacknowledged { .. } => self.on_unacknowledged(core, now, out),
        }
    }

    /// A request within the dialog, other than ACK. Repetitions never come here.
    pub(super) fn on_request(&mut self, core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
        let (dialog, early) = match &mut self.state {
            State::Confirmed(Session { dialog, .. }) | State::Leaving(Departure { dialog, .. }) => (dialog, false),
            State::Arriving(invitation) | State::Ringing(invitation, _) => (&mut invitation.dialog, true),
            State::Accepting(acceptance) => (&mut acceptance.dialog, true),
            State::Proceeding(_) => return self.on_callee_request(core, incoming, out),
            State::Routing { .. }
            | State::Calling(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Over => return core.refuse(incoming, 481, out),
        };
        if dialog.note_remote_seq(&incoming.identity.cseq).is_err() {
            return core.refuse(incoming, 500, out);
        }
        if early {
            return self.on_early_request(core, incoming, out);
        }
        match incoming.request.method {
            Method::Invite => self.on_reinvite(core, incoming, out),
            Method::Update => self.on_update(core, incoming, out),
            Method::Bye => self.on_bye(core, incoming, out),
            Method::Options => super::options::answer(core, incoming, out),
            Method::Info => self.on_info(core, incoming, out),
            Method::Refer => self.on_refer(core, incoming, out),
            Method::Prack => {
                let State::Confirmed(session) = &mut self.state else { return core.refuse(incoming, 481, out) };
                let known = session.outstanding.take_if(|own| own.is_confirmed_by(incoming.request)).is_some();
                core.refuse(incoming, if known { 200 } else { 481 }, out);
            }
            // No subscription is ours (RFC 6665 4.1.3).
            Method::Notify => core.refuse(incoming, 481, out),
            Method::Ack
            | Method::Cancel
            | Method::Message
            | Method::Publish
            | Method::Register
            | Method::Subscribe
            | Method::Other(_) => core.refuse(incoming, 405, out),
        }
    }

    /// A way to `target` was found, or not: for the INVITE, or for a Contact given as a name.
    pub(super) fn on_route(
        &mut self,
        core: &mut Core,
        now: Time,
        target: &Target,
        routes: &Result<Vec<Route>, RouteError>,
        out: &mut Outbox,
    ) {
        let leg = match &mut self.state {
            State::Routing { .. } => {
                if self.plan.hop.target() == target && !self.is_connecting() {
                    self.on_first_routes(core, now, routes, out);
                }
                return;
            }
            State::Arriving(_) => {
                if self.plan.hop.target() == target {
                    let route = routes
                        .as_ref()
                        .map_err(Clone::clone)
                        .and_then(|routes| routes.first().copied().ok_or(RouteError::Unreachable));
                    self.on_way_back(core, now, &route, out);
                }
                return;
            }
            State::Confirmed(Session { leg, .. }) | State::Leaving(Departure { leg, .. }) => leg,
            State::Accepting(acceptance) => &mut acceptance.leg,
            State::Calling(_)
            | State::Proceeding(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Ringing(..)
            | State::Over => return,
        };
        let Some(route) = routes.iter().flatten().next() else { return };
        if leg.moving.take_if(|moving| moving == target).is_some() {
            core.flows.open(now, route.flow, &target.host, out);
            leg.route.flow = route.flow;
        } else if route.flow == leg.route.flow {
            self.on_local_address(core, now, route.local, out);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        match &self.state {
            State::Routing { give_up_at, .. } => Some(Wakeup::new(*give_up_at, "sip: no route")),
            State::Calling(attempt) | State::Proceeding(attempt) => {
                Some(Wakeup::new(attempt.give_up_at, "sip: invite_timeout"))
            }
            State::Cancelling { give_up_at, .. } => Some(Wakeup::new(*give_up_at, "sip: CANCEL led to nothing")),
            State::Arriving(invitation) | State::Ringing(invitation, _) => {
                Some(Wakeup::new(invitation.give_up_at, "sip: INVITE undecided"))
            }
            State::Confirmed(session) => {
                let exchange = soonest(session.exchange.poll_timeout(), session.reach.poll_timeout());
                soonest(exchange, soonest(session.timer.poll_timeout(), session.keypad.poll_timeout()))
            }
            State::Accepting(_) | State::Abandoning { .. } | State::Leaving(_) | State::Over => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        if self.poll_timeout().is_none_or(|wakeup| wakeup.at > now) {
            return;
        }
        match &mut self.state {
            State::Routing { .. } => self.end(EndCause::Unroutable(RouteError::UnknownHost), out),
            State::Calling(_) | State::Proceeding(_) => self.give_up(core, now, EndCause::NoAnswer, None, out),
            State::Cancelling { .. } => self.on_cancel_timeout(core, now, out),
            State::Confirmed(_) => {
                self.offer_again(core, now, out);
                self.connect_again(core, now, out);
                self.press_next(core, now, out);
                self.on_session_timeout(core, now, out);
            }
            State::Arriving(_) | State::Ringing(..) => self.on_undecided(core, now, out),
            State::Accepting(_) | State::Abandoning { .. } | State::Leaving(_) | State::Over => {}
        }
    }

    pub(super) fn end(&mut self, cause: EndCause, out: &mut Outbox) {
        self.state = State::Over;
        out.push_back(Output::Event(Event::Ended { call: self.id, cause }));
    }
}

impl Leg {
    /// Turns to where the dialog's requests go now (RFC 3261 12.2.1.1).
    pub(super) fn follow(&mut self, core: &Core, first: &Hop, dialog: &Dialog, out: &mut Outbox) {
        self.moving = None;
        match core.next_hop(first, &dialog.next_hop()) {
            NextHop::Same => {}
            NextHop::At(flow) => self.route.flow = flow,
            NextHop::Named(target) => {
                out.push_back(Output::Resolve(target.clone()));
                self.moving = Some(target);
            }
        }
    }
}

/// Says so when a body was no SDP; what is SDP and of no use is said by what becomes of the call.
pub(super) fn complain(error: sdp::Error, from: SocketAddr, out: &mut Outbox) {
    match error {
        sdp::Error::Malformed => out.push_back(Output::Event(Event::Malformed { from, what: "sdp_malformed" })),
        sdp::Error::NoAudio | sdp::Error::NoOpus | sdp::Error::NoAddress | sdp::Error::NoKey => {}
    }
}

/// Sends the ACK of a 2xx, with the credentials of its INVITE (RFC 3261 13.2.2.4, 22.1).
pub(super) fn acknowledge(core: &mut Core, dialog: &Dialog, route: Route, answer: &Answer, out: &mut Outbox) {
    let mut ack = dialog.ack(answer.identity.cseq.number);
    for name in [Name::Authorization, Name::ProxyAuthorization] {
        for value in answer.request.headers.all(&name) {
            ack.headers.push(name.clone(), value);
        }
    }
    core.stamp(&mut ack, route);
    let branch = answer.identity.via.branch().unwrap_or_default();
    core.transactions.acknowledge(branch, dialog.remote_tag(), ack.to_bytes(), route.flow, out);
}
