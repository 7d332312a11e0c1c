//! Hold: nothing of us goes into the room and nothing of it is heard, but we stay in it.
//!
//! ```text
//!              hold on: media off at once, re-INVITE a=inactive
//!   Hold::Off -------------------------------------------------> Hold::On
//!       ^                                                           |
//!       +---- hold off: re-INVITE a=sendrecv, media with its answer-+
//! ```
//!
//! A hold belongs to the room: a call that is lost meanwhile is dialled again with `a=inactive` (RFC 3264 8.4), and a
//! configured room that is left for another one is still on hold when we come back. Whoever hangs up, and whoever is
//! sent away, holds nothing any more.
//!
//! The QSS is told only where the configuration has words for it (`qss.names.hold`, `.unhold`): by default the media
//! server sees it.

use super::call::held;
use super::offer::local;
use super::visit::{Hearing, Hold, Leg, Membership, Origin, Visit};
use super::{Agent, Cx};
use crate::media::command::Command;
use crate::qss::message;
use crate::status::event::Kind;
use crate::status::failure::{Cause, Failure};

/// Why there is nothing to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HoldError {
    NoCall,
}

impl Agent {
    /// Holds the call of the present visit, or goes on with it, and with every other room that was left on hold. Asking
    /// for what is so already changes nothing.
    ///
    /// # Errors
    /// There is no visit.
    pub(super) fn hold(&mut self, cx: &mut Cx<'_>, wanted: Hold) -> Result<(), HoldError> {
        if wanted == Hold::Off {
            self.rooms.entries.iter_mut().for_each(|entry| entry.hold = Hold::Off);
            self.parked.iter_mut().for_each(|parked| parked.visit.hold = Hold::Off);
        }
        let visit = self.visit.as_mut().ok_or(HoldError::NoCall)?;
        if visit.hold == wanted {
            return Ok(());
        }
        visit.hold = wanted;
        if let Origin::Configured(i) = visit.origin
            && let Some(entry) = self.rooms.entries.get_mut(i)
        {
            entry.hold = wanted;
        }
        let mut silenced = None;
        let offer = match &mut visit.leg {
            Leg::Up(up) => {
                match wanted {
                    // The microphone does not wait for the mixer's consent.
                    Hold::On => {
                        (up.params.send, up.params.receive) = (false, false);
                        (up.sending, up.playing, up.hearing) = (false, false, held(cx.now, self.config.sip.hold_probe));
                        silenced = Some(up.params);
                    }
                    // Should no answer come, the silence is noticed and the call made anew.
                    Hold::Off => up.hearing = Hearing::Silence(cx.now),
                }
                Some((up.call, up.plan))
            }
            Leg::Dialling { call, plan, early, .. } => {
                if let (Hold::On, Some(early)) = (wanted, early) {
                    (early.params.send, early.params.receive) = (false, false);
                    silenced = Some(early.params);
                }
                Some((*call, *plan))
            }
            Leg::Due | Leg::Pausing { .. } => None,
        };
        if let Some(params) = silenced {
            self.media(cx, Command::Update(params));
        }
        if let (Some((call, plan)), Some(ports)) = (offer, self.voice.ports) {
            let offer = local(&self.config, ports, plan, wanted);
            self.with_sip(cx, |sip, now, out| sip.modify(now, call, offer, out));
        }
        self.emit(cx, Kind::Hold { held: wanted == Hold::On }, None);
        let cause = match wanted {
            Hold::On => Some(Cause::from(Failure::HeldHere)),
            Hold::Off => None,
        };
        self.observe(cx, cause.as_ref());
        Ok(())
    }

    /// Tells the QSS, if it believes something else; after everything that happens.
    pub(super) fn report_hold(&mut self, cx: &mut Cx<'_>) {
        let Some(Visit { membership: Membership::Admitted, believed_hold, hold, room, reports, .. }) = &self.visit
        else {
            return;
        };
        let believed = *believed_hold == Some(*hold) || reports.again_at.is_some();
        let (hold, Some(id), false) = (*hold, &room.id, believed) else { return };
        let Some(request) = message::report_hold(&self.config.qss.names, id, hold == Hold::On) else { return };
        if let Some(ticket) =
            self.with_session(cx, |session, now, out| session.request(now, &request.name, request.payload, out))
            && let Some(visit) = &mut self.visit
        {
            (visit.believed_hold, visit.reports.hold) = (Some(hold), Some(ticket));
        }
    }
}
