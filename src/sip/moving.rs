//! A call whose way to its peer changes, and which goes on: its connection is lost and made again, or the device has
//! another address. Either way a re-INVITE tells the peer the new Contact and media address (RFC 3261 12.2, 14.1).
//!
//! ```text
//!   Here --connection lost--> Lost --pause--> Connecting --connected--> Here, re-INVITE
//!    ^  '--other local address--> re-INVITE       '--lost again--> Lost, a longer pause
//! ```
//!
//! Meanwhile the media flow on, and whether the peer is there is told by them (`media::liveness`) and by the session
//! timer.

use super::call::{Call, Session, State};
use super::core::Core;
use super::endpoint::Outbox;
use super::modify::Exchange;
use super::transport::flows::Access;
use super::transport::{Flow, Route};
use crate::time::{Span, Time, Wakeup};
use std::collections::BTreeSet;
use std::mem;
use std::net::IpAddr;

/// Whether requests of a confirmed call have a way to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    Here,
    Lost { retry_at: Time, pause: Span },
    Connecting { pause: Span },
}

impl Reach {
    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        match self {
            Reach::Lost { retry_at, .. } => Some(Wakeup::new(*retry_at, "sip: connect again")),
            Reach::Here | Reach::Connecting { .. } => None,
        }
    }
}

impl Call {
    /// The way the call lives by: it is worth keeping alive.
    pub(super) fn lives_by(&self) -> Option<Route> {
        match &self.state {
            State::Confirmed(session) => Some(session.leg.route),
            State::Accepting(acceptance) => Some(acceptance.leg.route),
            State::Calling(attempt) | State::Proceeding(attempt) => Some(attempt.leg.route),
            State::Routing { .. }
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Leaving(_)
            | State::Over => None,
        }
    }

    /// A way was chosen, and its connection is awaited.
    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Routing { way: Some(_), .. })
    }

    /// The local address for this confirmed call may have changed: ask.
    pub(super) fn flows_to_check(&self, flows: &mut BTreeSet<Flow>) {
        if let State::Confirmed(session) = &self.state {
            flows.insert(session.leg.route.flow);
        }
    }

    pub(super) fn on_flow_up(&mut self, core: &mut Core, now: Time, flow: Flow, out: &mut Outbox) {
        match &mut self.state {
            State::Routing { way: Some(route), .. } if route.flow == flow => self.on_way(core, now, out),
            State::Confirmed(session) if session.leg.route.flow == flow && session.reach != Reach::Here => {
                session.reach = Reach::Here;
                let local = core.flows.local(flow).map_or(session.leg.route.local, |local| local.ip());
                self.move_to(core, now, local, out);
            }
            State::Routing { .. }
            | State::Calling(_)
            | State::Proceeding(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Confirmed(_)
            | State::Leaving(_)
            | State::Over => {}
        }
    }

    pub(super) fn on_flow_lost(&mut self, core: &mut Core, now: Time, flow: Flow, out: &mut Outbox) {
        match &mut self.state {
            State::Routing { way: Some(route), .. } if route.flow == flow => {
                self.take_way(core, now, out);
            }
            State::Confirmed(session) if session.leg.route.flow == flow => {
                let pause = match session.reach {
                    Reach::Here => core.config.reconnect_min,
                    Reach::Lost { pause, .. } | Reach::Connecting { pause } => {
                        pause.times(2).min(core.config.reconnect_max)
                    }
                };
                session.reach = Reach::Lost { retry_at: now + pause, pause };
            }
            State::Routing { .. }
            | State::Calling(_)
            | State::Proceeding(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Confirmed(_)
            | State::Leaving(_)
            | State::Over => {}
        }
    }

    /// The peer is asked whether it knows the call: if it does not answer either, the call is over (RFC 3261 12.2.1.2).
    pub(super) fn on_silence(&mut self, core: &mut Core, now: Time, flow: Flow, out: &mut Outbox) {
        let State::Confirmed(session) = &self.state else { return };
        if session.leg.route.flow == flow {
            let local = session.leg.media.local();
            self.modify(core, now, local, out);
        }
    }

    /// The pause after a lost connection is over.
    pub(super) fn connect_again(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        let Reach::Lost { retry_at, pause } = session.reach else { return };
        if retry_at > now {
            return;
        }
        session.reach = Reach::Connecting { pause };
        let flow = session.leg.route.flow;
        match core.flows.open_again(now, flow, out) {
            Access::Ready => self.on_flow_up(core, now, flow, out),
            Access::Connecting => {}
        }
    }

    /// The system would reach the peer from `local` now.
    pub(super) fn on_local_address(&mut self, core: &mut Core, now: Time, local: IpAddr, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        // A connection has to be made anew first: `Endpoint::handle_route` sees to it.
        if session.leg.route.local != local && !session.leg.route.flow.transport.is_reliable() {
            self.move_to(core, now, local, out);
        }
    }

    fn move_to(&mut self, core: &mut Core, now: Time, local: IpAddr, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        core.flows.forget_public(session.leg.route.flow);
        session.leg.route.local = local;
        session.leg.media.set_address(local);
        // What waits for its time after a 491, or after the loss, need not wait any longer.
        let wanted = match mem::replace(&mut session.exchange, Exchange::Settled) {
            Exchange::Backoff { local, .. } => local,
            exchange @ (Exchange::Settled | Exchange::Offering { .. } | Exchange::Offered { .. }) => {
                session.exchange = exchange;
                session.leg.media.local()
            }
        };
        self.modify(core, now, wanted, out);
    }

    /// Our re-INVITE was lost with its connection; it is made up for when there is another.
    pub(super) fn on_reinvite_lost(&mut self, core: &Core, now: Time) {
        let State::Confirmed(Session { exchange, leg, .. }) = &mut self.state else { return };
        if let Exchange::Offering { before, next, .. } = exchange {
            let wanted = next.unwrap_or(leg.media.local());
            leg.media.set_local(**before);
            *exchange = Exchange::Backoff { at: now + core.config.reconnect_max, local: wanted };
        }
    }

    pub(super) fn on_refresh_lost(&mut self, now: Time) {
        if let State::Confirmed(session) = &mut self.state {
            session.timer.postpone(now);
        }
    }
}
