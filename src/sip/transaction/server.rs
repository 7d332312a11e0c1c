//! Server transaction of every other method (RFC 3261 17.2.2), from its final response on: repeat it until Timer J
//! (zero over a connection).

use super::Timing;
use crate::sip::endpoint::{Outbox, Output};
use crate::sip::transport::Flow;
use crate::time::{Time, Wakeup};

pub(super) struct Server {
    response: Vec<u8>,
    flow: Flow,
    over_at: Time,
}

impl Server {
    pub(super) fn answered(now: Time, response: Vec<u8>, flow: Flow, timing: Timing) -> Server {
        Server { response, flow, over_at: timing.linger(now, timing.timeout(), flow) }
    }

    /// The request came again.
    pub(super) fn repeat(&self, out: &mut Outbox) {
        out.push_back(Output::Send { flow: self.flow, bytes: self.response.clone() });
    }

    pub(super) fn over_at(&self) -> Time {
        self.over_at
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        Some(Wakeup::new(self.over_at, "sip timer J"))
    }

    pub(super) fn is_over(&self, now: Time) -> bool {
        self.over_at <= now
    }
}
