//! A call of our own from which we are moved: it is lent to the others until the call in the target room stands. Then it is
//! over and its room goes; but if there is no call there, we come back to it.
//!
//! ```text
//!   in our own room --moved--> lent --the call there stands, or another end--> over: the room is destroyed
//!         ^                     |
//!         +--- no call there ---+
//! ```
//!
//! The room is not left meanwhile: a QSS may give the room of a leaving owner to somebody else, and then refuse to destroy
//! it. It stays on the list of rooms that a crash does not forget ([`super::own_rooms`]).

use super::outgoing::Outgoing;
use super::visit::Origin;
use super::{Agent, Cx};
use crate::status::event::RoomRef;
use crate::status::failure::Failure;

/// A call that goes on without us.
#[derive(Debug)]
pub(super) struct Lent {
    call: Outgoing,
    room: RoomRef,
}

impl Agent {
    /// We are being moved out of a call of our own in which somebody is talking to us.
    pub(super) fn lend_call(&mut self) {
        let Some(visit) = self.visit.as_ref().filter(|visit| visit.origin == Origin::Made && visit.room.id.is_some())
        else {
            return;
        };
        let room = visit.room_ref();
        if let Some(call) = self.outgoing.take_if(|call| call.is_answered()) {
            self.lent = Some(Lent { call, room });
        }
    }

    pub(super) fn is_lent(&self, room: &str) -> bool {
        self.lent.as_ref().is_some_and(|lent| lent.room.id.as_deref() == Some(room))
    }

    /// We come back. False: there is no call to come back to.
    pub(super) fn take_call_back(&mut self) -> bool {
        let Some(lent) = self.lent.take() else { return false };
        self.outgoing = Some(lent.call);
        true
    }

    /// After every step: once nothing moves us any more, we do not come back.
    pub(super) fn tend_lent(&mut self, cx: &mut Cx<'_>) {
        if self.is_moving() {
            return;
        }
        if let Some(Lent { call, room }) = self.lent.take() {
            let id = room.id.clone().filter(|id| self.own.needs(id));
            self.end_lent_call(cx, call, room, &Failure::Transferred.into());
            if let Some(id) = id {
                self.own.doom(&id);
            }
        }
    }
}
