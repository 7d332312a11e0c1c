//! The vendor's room events, out of the facts that the agent has anyway: after each step what is so is compared with
//! what was told, and the difference is told. So no path through the agent can forget one, or tell it twice.
//!
//! | event                                    | fact                                             |
//! |------------------------------------------|--------------------------------------------------|
//! | `status`                                 | the visit and its call, and calls still to end   |
//! | `localStreamAdded`, `localStreamRemoved` | `sending` of the ladder                          |
//! | `remoteStreamAdded`, `remoteStreamRemove`, `remoteStreams` | `receiving` of the ladder      |
//! | `conferenceServiceAvailable`             | `session` of the ladder                          |

use super::visit::{Leg, Visit};
use super::{Agent, Cx};
use crate::status::conference::{EndReason, RoomEvent, Status, Stream};
use crate::status::event::{Kind, RoomRef};
use crate::status::failure::{Cause, Failure};

/// What was told last.
#[derive(Debug)]
pub(super) struct Told {
    /// The room that the rest is about; kept after its end.
    room: Option<RoomRef>,
    status: Status,
    /// Why the room is being left, or was.
    cause: Option<Cause>,
    local: bool,
    remote: bool,
}

impl Default for Told {
    fn default() -> Told {
        Told { room: None, status: Status::Disconnected, cause: None, local: false, remote: false }
    }
}

impl Told {
    fn is_about(&self, visit: &Visit) -> bool {
        let known = |room: &RoomRef| room.name == visit.name && (room.id.is_none() || room.id == visit.room.id);
        self.room.as_ref().is_some_and(known)
    }
}

impl Agent {
    /// Tells what has changed; `cause` explains what ended.
    pub(super) fn tell_room(&mut self, cx: &mut Cx<'_>, cause: Option<&Cause>) {
        if !self.config.status.room_events {
            return;
        }
        let available = self.session.is_registered();
        if std::mem::replace(&mut self.reporter.service, available) != available {
            self.emit_room(cx, RoomEvent::ConferenceServiceAvailable { available }, None);
        }
        let elsewhere = self.visit.as_ref().is_some_and(|visit| !self.reporter.told.is_about(visit));
        if let (None, Some(cause)) = (&self.visit, cause) {
            self.reporter.told.cause = Some(cause.clone());
        }
        if elsewhere {
            self.tell_streams_ended(cx, true, true);
            self.tell_status(cx, self.after_the_end());
            let told = &mut self.reporter.told;
            (told.cause, told.status) = (None, Status::Disconnected);
        }
        if let Some(visit) = &self.visit
            && (elsewhere || self.reporter.told.room.as_ref().is_some_and(|room| room.id != visit.room.id))
        {
            self.reporter.told.room = Some(visit.room_ref());
        }
        let [_, _, _, local, remote, _] = self.holds();
        self.tell_streams_ended(cx, !local, !remote);
        self.tell_status(cx, self.conference_status());
        self.tell_streams_begun(cx, local, remote);
    }

    /// The call of the room waits on hold: its streams are no more. What was told of it, for when it goes on.
    pub(super) fn pause_telling(&mut self, cx: &mut Cx<'_>) -> Told {
        self.tell_streams_ended(cx, true, true);
        std::mem::take(&mut self.reporter.told)
    }

    /// It goes on; the room before it is left.
    pub(super) fn resume_telling(&mut self, cx: &mut Cx<'_>, told: Told) {
        self.tell_streams_ended(cx, true, true);
        self.tell_status(cx, self.after_the_end());
        self.reporter.told = told;
    }

    /// It is over without having gone on.
    pub(super) fn tell_parked_over(&mut self, cx: &mut Cx<'_>, told: Told, cause: &Cause) {
        let present = std::mem::replace(&mut self.reporter.told, told);
        self.reporter.told.cause = Some(cause.clone());
        self.tell_status(cx, self.after_the_end());
        self.reporter.told = present;
    }

    /// An event about the room of the visit.
    pub(super) fn emit_room(&mut self, cx: &mut Cx<'_>, event: RoomEvent, cause: Option<Cause>) {
        if self.config.status.room_events {
            self.emit(cx, Kind::Room(event), cause);
        }
    }

    fn conference_status(&self) -> Status {
        match &self.visit {
            Some(visit) => match visit.leg {
                Leg::Up(_) => Status::Connected,
                Leg::Due | Leg::Pausing { .. } | Leg::Dialling { .. } => Status::Connecting,
            },
            None if !self.ending.is_empty() && self.reporter.told.status != Status::Disconnected => {
                Status::Disconnecting
            }
            None => self.after_the_end(),
        }
    }

    fn after_the_end(&self) -> Status {
        match &self.reporter.told.cause {
            Some(Cause { failure: Failure::RoomDestroyed, .. }) => Status::Destroyed,
            Some(_) | None => Status::Disconnected,
        }
    }

    fn tell_status(&mut self, cx: &mut Cx<'_>, new: Status) {
        let old = std::mem::replace(&mut self.reporter.told.status, new);
        if old == new {
            return;
        }
        let cause = match new {
            Status::Connecting | Status::Connected => None,
            Status::Disconnected | Status::Disconnecting | Status::Destroyed => self.reporter.told.cause.clone(),
        };
        let reason = match new {
            Status::Connecting | Status::Connected | Status::Disconnecting => None,
            Status::Disconnected | Status::Destroyed => {
                Some(cause.as_ref().map_or(EndReason::Unspecified, |cause| cause.failure.into()))
            }
        };
        self.tell(cx, RoomEvent::Status { new, old, reason }, cause);
    }

    fn tell_streams_ended(&mut self, cx: &mut Cx<'_>, local: bool, remote: bool) {
        if local && std::mem::replace(&mut self.reporter.told.local, false) {
            self.tell(cx, RoomEvent::LocalStreamRemoved(Stream::Local), None);
        }
        if remote && std::mem::replace(&mut self.reporter.told.remote, false) {
            let removed = match self.config.status.page_spelling {
                true => RoomEvent::RemoteStreamRemove(Stream::Remote),
                false => RoomEvent::RemoteStreamRemoved(Stream::Remote),
            };
            self.tell(cx, removed, None);
            self.tell(cx, RoomEvent::RemoteStreams { streams: Vec::new(), old: vec![Stream::Remote] }, None);
        }
    }

    fn tell_streams_begun(&mut self, cx: &mut Cx<'_>, local: bool, remote: bool) {
        if local && !std::mem::replace(&mut self.reporter.told.local, true) {
            self.tell(cx, RoomEvent::LocalStreamAdded(Stream::Local), None);
        }
        if remote && !std::mem::replace(&mut self.reporter.told.remote, true) {
            self.tell(cx, RoomEvent::RemoteStreamAdded(Stream::Remote), None);
            self.tell(cx, RoomEvent::RemoteStreams { streams: vec![Stream::Remote], old: Vec::new() }, None);
        }
    }

    fn tell(&mut self, cx: &mut Cx<'_>, event: RoomEvent, cause: Option<Cause>) {
        let room = self.reporter.told.room.clone();
        self.emit_about(cx, Kind::Room(event), room, cause);
    }
}
