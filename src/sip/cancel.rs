//! CANCEL (RFC 3261 9): giving up an INVITE of ours, and answering the CANCELs of others.

use super::call::{Attempt, Call, State};
use super::core::{Core, Incoming};
use super::endpoint::{CallId, EndCause, Outbox};
use super::transaction::Cancelled;
use crate::time::Time;
use std::mem;

impl Call {
    /// Ends an INVITE that has no final response: by CANCEL once a provisional one has come.
    pub(super) fn give_up(
        &mut self,
        core: &mut Core,
        now: Time,
        cause: EndCause,
        reason: Option<String>,
        out: &mut Outbox,
    ) {
        match mem::replace(&mut self.state, State::Over) {
            State::Calling(attempt) => self.state = State::Abandoning { attempt, cause, reason },
            State::Proceeding(attempt) => self.send_cancel(core, now, attempt, cause, reason, out),
            state @ (State::Routing { .. }
            | State::Arriving(_)
            | State::Ringing(..)
            | State::Accepting(_)
            | State::Abandoning { .. }
            | State::Cancelling { .. }
            | State::Confirmed(_)
            | State::Leaving(_)
            | State::Over) => self.state = state,
        }
    }

    pub(super) fn send_cancel(
        &mut self,
        core: &mut Core,
        now: Time,
        attempt: Attempt,
        cause: EndCause,
        reason: Option<String>,
        out: &mut Outbox,
    ) {
        core.transactions.cancel(now, &attempt.branch, reason, out);
        let give_up_at = now + core.transactions.timing().timeout();
        self.state = State::Cancelling { attempt, cause, give_up_at };
    }

    /// RFC 3261 9.1: 64 T1 after the CANCEL the INVITE counts as cancelled, whatever the peer says.
    pub(super) fn on_cancel_timeout(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        if let State::Cancelling { attempt, cause, .. } = mem::replace(&mut self.state, State::Over) {
            core.transactions.abandon(now, &attempt.branch);
            self.end(cause, out);
        }
    }
}

/// Answers a CANCEL (RFC 3261 9.2). The call whose INVITE it names has to answer that with 487, if it has not answered
/// yet.
pub(super) fn answer(core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) -> Option<CallId> {
    let cancelled = core.transactions.cancelled(incoming.request, incoming.identity);
    core.refuse(incoming, if cancelled == Cancelled::Unknown { 481 } else { 200 }, out);
    match cancelled {
        Cancelled::Undecided(call) => Some(call),
        Cancelled::Unknown | Cancelled::TooLate => None,
    }
}
