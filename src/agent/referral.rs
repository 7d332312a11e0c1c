//! The mixer sends us elsewhere by REFER (`sip.refer = "follow"`; RFC 3515).
//!
//! ```text
//!   Up --REFER--> Dialling the target --200--> Up there, the referrer is told and hung up
//!                       '--refused--> the referrer is told and hung up, the former address dialled again
//! ```
//!
//! There is one sound card: while the target is dialled the call with the referrer stands silent.

use super::visit::Visit;
use super::{Agent, Cx};
use crate::sip::endpoint::{CallId, EndCause};
use crate::sip::message::Headers;
use crate::status::failure::Failure;

/// A REFER that is being followed.
#[derive(Debug)]
pub(super) struct Referral {
    /// The call in which it came; `None`: it is over.
    referrer: Option<CallId>,
    /// Where the room was before.
    back: Option<String>,
    /// For the new INVITE.
    pub(super) headers: Headers,
}

impl Agent {
    pub(super) fn on_referred(&mut self, cx: &mut Cx<'_>, call: CallId, target: String, headers: Headers) {
        let follows =
            self.referral.is_none() && self.visit.as_ref().and_then(Visit::up).is_some_and(|up| up.call == call);
        if !follows {
            return self.with_sip(cx, |sip, now, out| sip.tell_referrer(now, call, 603, out));
        }
        self.stop_stream(cx, &Failure::Transferred.into());
        let Some(visit) = &mut self.visit else { return };
        let back = visit.room.sip_uri.replace(target);
        self.referral = Some(Referral { referrer: Some(call), back, headers });
        self.observe(cx, Some(&Failure::Transferred.into()));
    }

    /// The call there stands.
    pub(super) fn referral_succeeded(&mut self, cx: &mut Cx<'_>) {
        if let Some(referral) = self.referral.take() {
            self.part(cx, referral, 200);
        }
    }

    /// There is no call there: back to where we were. `false`: nobody has sent us.
    pub(super) fn referral_failed(&mut self, cx: &mut Cx<'_>, end: &EndCause) -> bool {
        let Some(mut referral) = self.referral.take() else { return false };
        if let Some(visit) = &mut self.visit {
            visit.room.sip_uri = referral.back.take();
        }
        self.part(cx, referral, status_of(end));
        self.problem(cx, "refer_failed");
        true
    }

    /// The visit ends while the target is dialled.
    pub(super) fn referral_ends(&mut self, cx: &mut Cx<'_>) {
        if let Some(referral) = self.referral.take() {
            self.part(cx, referral, 603);
        }
    }

    /// A call has ended, perhaps the one with the referrer.
    pub(super) fn on_referrer_gone(&mut self, call: CallId) {
        if let Some(referral) = &mut self.referral {
            referral.referrer.take_if(|referrer| *referrer == call);
        }
    }

    fn part(&mut self, cx: &mut Cx<'_>, referral: Referral, status: u16) {
        let Some(referrer) = referral.referrer else { return };
        self.with_sip(cx, |sip, now, out| sip.tell_referrer(now, referrer, status, out));
        self.hang_up(cx, referrer, Failure::Transferred.code());
    }
}

/// What the referrer is told of an attempt that failed.
fn status_of(end: &EndCause) -> u16 {
    match end {
        EndCause::Refused { status, .. } => *status,
        EndCause::Timeout => 408,
        EndCause::NoAnswer => 480,
        EndCause::NoCommonMedia | EndCause::SignallingUnprotected => 488,
        EndCause::AuthenticationFailed => 403,
        EndCause::Unroutable(_) | EndCause::Local | EndCause::Remote { .. } => 503,
    }
}
