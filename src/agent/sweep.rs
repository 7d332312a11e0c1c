//! Rooms that an earlier life of the device has left behind, where nothing was kept of it (`device.state_dir`): after each
//! registration, and some time after a room was left to others by a transfer, the QSS is asked which rooms are the user's
//! (docs/qss.md, Rooms).
//!
//! ```text
//!   registered --getRooms--> ours, unknown, nobody else in it: suspect --seen again `calls.leftover_ms` later--> doomed
//!                            ours, unknown, somebody in it: looked at again then
//!                            ours, unknown, not told who is in it: left alone
//! ```
//!
//! Only what the QSS calls ours is ever destroyed: a room whose owner we are, or (`rooms.userIdAsRoomId` of the QSS) whose id
//! is our user's. Two looks, because another device of the same user may be making the room this very moment.

use super::{Agent, Cx};
use crate::config::RoomTarget;
use crate::qss::message::{self, Room};
use crate::qss::requests::Ticket;
use crate::qss::session::Reply;
use crate::time::{Span, Time, Wakeup};
use std::collections::BTreeMap;

/// Rooms suspected at a time.
const MAX_SUSPECTS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Sweep {
    asked: Option<Ticket>,
    /// When each was seen first.
    suspects: BTreeMap<String, Time>,
    look_at: Option<Time>,
    /// Rooms in the last list that somebody else owns: or we do, by a name that the QSS has for us and we have not heard.
    foreign: usize,
}

impl Sweep {
    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        self.look_at.map(|at| Wakeup::new(at, "rooms left behind"))
    }
}

impl Agent {
    /// Asks the QSS for the user's rooms; also where leftovers are left alone: what comes after a registration is the same
    /// for all (docs/qss.md, Rooms).
    pub(super) fn look_for_leftovers(&mut self, cx: &mut Cx<'_>) {
        self.sweep.look_at = None;
        if let Some(request) = message::get_rooms(&self.config.qss.names) {
            self.sweep.asked =
                self.with_session(cx, |session, now, out| session.request(now, &request.name, request.payload, out));
        }
    }

    /// A room of ours has been left to others: whether it was left behind shows later.
    pub(super) fn look_again(&mut self, cx: &Cx<'_>) {
        let leftover = self.config.calls.leftover;
        if leftover > Span::ZERO && self.sweep.look_at.is_none() {
            self.sweep.look_at = Some(cx.now + leftover);
        }
    }

    pub(super) fn on_sweep_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.sweep.look_at.is_some_and(|at| at <= cx.now) {
            self.look_for_leftovers(cx);
        }
    }

    /// The user's rooms, if this is the reply that tells them. A QSS that does not know the request is asked again in the
    /// next session, one that is silent after a pause.
    pub(super) fn on_rooms_listed(&mut self, cx: &mut Cx<'_>, ticket: Ticket, reply: &Reply) -> bool {
        if self.sweep.asked != Some(ticket) {
            return false;
        }
        self.sweep.asked = None;
        let body = match reply {
            Reply::Answer(body) => body,
            Reply::TimedOut => {
                self.problem(cx, "qss_no_reply");
                self.sweep.look_at = Some(cx.now + self.config.qss.request_timeout);
                return true;
            }
            Reply::Refused { .. } | Reply::LinkLost => return true,
        };
        if self.config.calls.leftover == Span::ZERO {
            return true;
        }
        let rooms = Room::read_all(body.fields());
        let foreign = |room: &&Room| room.owner.as_deref().is_some_and(|owner| !owner.is_empty() && !self.is_us(owner));
        self.sweep.foreign = rooms.iter().filter(foreign).count();
        let ours = rooms.iter().filter(|room| self.is_leftover(room)).take(MAX_SUSPECTS);
        let mut suspects = BTreeMap::new();
        let mut again = false;
        for room in ours {
            // Not told who is in it: it may be full.
            let Some(users) = &room.participants else { continue };
            again = true;
            let Some(id) = room.id.clone().filter(|_| users.iter().all(|user| self.is_us(user))) else { continue };
            let since = self.sweep.suspects.get(&id).copied().unwrap_or(cx.now);
            suspects.insert(id, since);
        }
        let due = |since: &Time| *since + self.config.calls.leftover <= cx.now;
        let doomed: Vec<String> = suspects.iter().filter(|(_, since)| due(since)).map(|(id, _)| id.clone()).collect();
        for id in doomed {
            suspects.remove(&id);
            self.own.doom(&id);
        }
        self.sweep.suspects = suspects;
        self.sweep.look_at = again.then_some(cx.now + self.config.calls.leftover);
        true
    }

    /// Whether this is us, by any of the names that the QSS has for us.
    pub(super) fn is_us(&self, user: &str) -> bool {
        self.config.qss.is_us(user) || self.own.us() == Some(user)
    }

    /// What the QSS calls us stands in the room that it has made for us.
    pub(super) fn learn_our_id(&mut self, cx: &Cx<'_>, room: &Room) {
        let id = match (&room.owner, room.participants.as_deref().unwrap_or_default()) {
            (Some(owner), _) => owner,
            (None, [only]) => only,
            (None, _) => return,
        };
        if !self.is_us(id) && id.len() <= message::MAX_ID {
            self.own.learn_us(id);
            if self.sweep.foreign > 0 {
                self.look_again(cx);
            }
        }
    }

    /// Of our making, and nothing that this process knows of.
    fn is_leftover(&self, room: &Room) -> bool {
        let Some(id) = room.id.as_deref() else { return false };
        let ours = match room.owner.as_deref() {
            Some(owner) => self.is_us(owner),
            None => self.is_us(id),
        };
        let here = self.visit.as_ref().and_then(|visit| visit.room.id.as_deref()) == Some(id)
            || self.parked_in_room(Some(id)).is_some();
        let configured = self.config.rooms.iter().any(|room| match &room.target {
            RoomTarget::Id(wanted) | RoomTarget::Meeting { id: wanted, .. } | RoomTarget::QuickConference(wanted) => {
                wanted == id
            }
            RoomTarget::SipUri(_) | RoomTarget::Create { .. } => false,
        });
        ours && !here && !configured && !self.own.knows(id)
    }
}
