//! INVITE server transaction (RFC 3261 17.2.1, RFC 6026 7.1).
//!
//! ```text
//!   Proceeding   1xx; a reliable one is repeated (T1, 2 T1 ...) until PRACK (RFC 3262 3), told if there never is one
//!     |--2xx--> Accepted   repeated (T1 ... T2) until acknowledged;  L: over, told if never acknowledged
//!     '--3xx-6xx--> Completed   G: repeated until ACK;  H: over
//!                       '--ACK--> Confirmed   I: over
//! ```
//!
//! Over a connection a failure is not repeated and I is zero (17.2.1); a 2xx is repeated all the same (13.3.1.4).
//!
//! RFC 3261 13.3.1.4 gives the repetition of a 2xx to the user of the transaction; it stands here beside the other one.

use super::{Fired, Timing, due};
use crate::sip::endpoint::{CallId, Outbox, Output};
use crate::sip::transport::Flow;
use crate::time::{Span, Time, Wakeup, soonest};

pub(super) struct ServerInvite {
    response: Vec<u8>,
    flow: Flow,
    cseq: u32,
    call: Option<CallId>,
    state: State,
}

enum State {
    /// To be answered finally.
    Proceeding {
        unacknowledged: Option<Reliable>,
    },
    /// 2xx sent, no ACK yet.
    Accepted {
        repeat_at: Time,
        pause: Span,
        over_at: Time,
    },
    /// 2xx acknowledged; late copies of the INVITE are still absorbed.
    Acknowledged {
        over_at: Time,
    },
    Completed {
        repeat_at: Option<Time>,
        pause: Span,
        over_at: Time,
    },
    Confirmed {
        over_at: Time,
    },
}

/// A provisional response that wants its PRACK.
struct Reliable {
    rseq: u32,
    repeat_at: Time,
    pause: Span,
    give_up_at: Time,
}

impl ServerInvite {
    pub(super) fn undecided(flow: Flow, cseq: u32, call: CallId) -> ServerInvite {
        let state = State::Proceeding { unacknowledged: None };
        ServerInvite { response: Vec::new(), flow, cseq, call: Some(call), state }
    }

    pub(super) fn answered(
        now: Time,
        response: Vec<u8>,
        flow: Flow,
        success: bool,
        cseq: u32,
        call: Option<CallId>,
        timing: Timing,
    ) -> ServerInvite {
        let (repeat_at, pause, over_at) = (now + timing.t1, timing.t1, now + timing.timeout());
        let state = match success {
            true => State::Accepted { repeat_at, pause, over_at },
            false => {
                let repeat_at = (!flow.transport.is_reliable()).then_some(repeat_at);
                State::Completed { repeat_at, pause, over_at }
            }
        };
        ServerInvite { response, flow, cseq, call, state }
    }

    /// The call that has to decide; None: it has.
    pub(super) fn decider(&self) -> Option<CallId> {
        match self.state {
            State::Proceeding { .. } => self.call,
            State::Accepted { .. } | State::Acknowledged { .. } | State::Completed { .. } | State::Confirmed { .. } => {
                None
            }
        }
    }

    /// Sends a provisional response.
    pub(super) fn proceed(&mut self, now: Time, bytes: Vec<u8>, rseq: Option<u32>, timing: Timing, out: &mut Outbox) {
        out.push_back(Output::Send { flow: self.flow, bytes: bytes.clone() });
        self.response = bytes;
        self.state = State::Proceeding {
            unacknowledged: rseq.map(|rseq| Reliable {
                rseq,
                repeat_at: now + timing.t1,
                pause: timing.t1,
                give_up_at: now + timing.timeout(),
            }),
        };
    }

    /// `true`: this PRACK was awaited.
    pub(super) fn pracked(&mut self, rseq: u32) -> bool {
        match &mut self.state {
            State::Proceeding { unacknowledged } => unacknowledged.take_if(|reliable| reliable.rseq == rseq).is_some(),
            State::Accepted { .. } | State::Acknowledged { .. } | State::Completed { .. } | State::Confirmed { .. } => {
                false
            }
        }
    }

    pub(super) fn flow(&self) -> Flow {
        self.flow
    }

    pub(super) fn call(&self) -> Option<CallId> {
        self.call
    }

    /// When an answer that is of no call is forgotten; None: it is of one.
    pub(super) fn strangers(&self) -> Option<Time> {
        match self.state {
            State::Accepted { over_at, .. }
            | State::Acknowledged { over_at }
            | State::Completed { over_at, .. }
            | State::Confirmed { over_at }
                if self.call.is_none() =>
            {
                Some(over_at)
            }
            State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Acknowledged { .. }
            | State::Completed { .. }
            | State::Confirmed { .. } => None,
        }
    }

    pub(super) fn is_of(&self, call: CallId, cseq: u32) -> bool {
        self.call == Some(call) && self.cseq == cseq
    }

    /// The INVITE came again.
    pub(super) fn repeat(&self, out: &mut Outbox) {
        match self.state {
            State::Proceeding { .. } if self.response.is_empty() => {}
            State::Proceeding { .. } | State::Accepted { .. } | State::Completed { .. } => {
                out.push_back(Output::Send { flow: self.flow, bytes: self.response.clone() });
            }
            State::Acknowledged { .. } | State::Confirmed { .. } => {}
        }
    }

    /// An ACK with the branch of the INVITE: it ends a failure. `false`: it is the ACK of a 2xx sent by a peer that
    /// takes the old branch again; then the dialog has to see it.
    pub(super) fn handle_ack(&mut self, now: Time, timing: Timing) -> bool {
        match self.state {
            State::Completed { .. } => {
                self.state = State::Confirmed { over_at: timing.linger(now, timing.t4, self.flow) };
                true
            }
            State::Confirmed { .. } => true,
            State::Proceeding { .. } | State::Accepted { .. } | State::Acknowledged { .. } => false,
        }
    }

    pub(super) fn acknowledged(&mut self) {
        match self.state {
            State::Accepted { over_at, .. } => self.state = State::Acknowledged { over_at },
            State::Proceeding { .. }
            | State::Acknowledged { .. }
            | State::Completed { .. }
            | State::Confirmed { .. } => {}
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        match &self.state {
            State::Proceeding { unacknowledged: None } => None,
            State::Proceeding { unacknowledged: Some(Reliable { repeat_at, give_up_at, .. }) } => soonest(
                Some(Wakeup::new(*repeat_at, "sip reliable 1xx again")),
                Some(Wakeup::new(*give_up_at, "sip: no PRACK")),
            ),
            State::Accepted { repeat_at, over_at, .. } => soonest(
                Some(Wakeup::new(*repeat_at, "sip 2xx again")),
                Some(Wakeup::new(*over_at, "sip timer L (no ACK)")),
            ),
            State::Acknowledged { over_at } => Some(Wakeup::new(*over_at, "sip timer L")),
            State::Completed { repeat_at, over_at, .. } => soonest(
                repeat_at.map(|at| Wakeup::new(at, "sip timer G (failure again)")),
                Some(Wakeup::new(*over_at, "sip timer H (no ACK)")),
            ),
            State::Confirmed { over_at } => Some(Wakeup::new(*over_at, "sip timer I")),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Time, timing: Timing, out: &mut Outbox) -> Fired {
        match &mut self.state {
            State::Proceeding { unacknowledged: Some(reliable) } if due(reliable.give_up_at, now) => Fired::TimedOut,
            State::Proceeding { unacknowledged: Some(reliable) } if due(reliable.repeat_at, now) => {
                reliable.pause = reliable.pause.times(2);
                reliable.repeat_at = now + reliable.pause;
                out.push_back(Output::Send { flow: self.flow, bytes: self.response.clone() });
                Fired::Nothing
            }
            State::Accepted { over_at, .. } if due(*over_at, now) => Fired::TimedOut,
            State::Acknowledged { over_at } | State::Completed { over_at, .. } | State::Confirmed { over_at }
                if due(*over_at, now) =>
            {
                Fired::Done
            }
            State::Accepted { repeat_at, pause, .. } | State::Completed { repeat_at: Some(repeat_at), pause, .. }
                if due(*repeat_at, now) =>
            {
                *pause = timing.longer(*pause);
                *repeat_at = now + *pause;
                out.push_back(Output::Send { flow: self.flow, bytes: self.response.clone() });
                Fired::Nothing
            }
            State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Acknowledged { .. }
            | State::Completed { .. }
            | State::Confirmed { .. } => Fired::Nothing,
        }
    }
}
