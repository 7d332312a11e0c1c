//! Making rooms and getting rid of them: what [`own_rooms`](super::own_rooms) decides, said to the QSS and to the disk.
//!
//! A room made for a call of our own goes with the call. One made for a `create = true` of the configuration stays while
//! that room may be visited again, and goes when it is hung up or the process stops.

use super::own_rooms::{Chore, Conceived, End, Told};
use super::rooms::Pause;
use super::visit::{Membership, Origin, Visit};
use super::{Agent, Cx, Output};
use crate::config::RoomTarget;
use crate::qss::message::{self, Body, Refusal};
use crate::qss::requests::Ticket;
use crate::qss::session::Reply;
use crate::status::event::Kind;
use crate::status::failure::{Cause, Failure};

impl Agent {
    /// createRoom: written down, then sent.
    pub(super) fn ask_for_new_room(&mut self, cx: &mut Cx<'_>, record: bool) -> Option<Ticket> {
        let request = message::create_room(&self.config.qss.names, record)?;
        if !self.session.is_registered() {
            return None;
        }
        if let Some(room) = self.own.make_space() {
            self.leave_behind(cx, room);
        }
        let id = match self.own.conceive(record, &mut self.rng)? {
            Conceived::Asked(ticket) => return Some(ticket),
            Conceived::Ask(id) => id,
        };
        self.keep_rooms(cx);
        let ticket = self
            .with_session(cx, |session, now, out| session.request_as(now, &id, &request.name, request.payload, out))?;
        self.own.asked(&id, ticket);
        Some(ticket)
    }

    /// Destroys what nobody needs, and asks again for rooms whose names we never heard.
    pub(super) fn tend_rooms(&mut self, cx: &mut Cx<'_>) {
        while self.session.is_registered()
            && let Some(chore) = self.own.next_chore()
        {
            let names = &self.config.qss.names;
            let ticket = match &chore {
                Chore::Destroy { room } => message::destroy_room(names, room).map(|request| {
                    self.with_session(cx, |session, now, out| session.request(now, &request.name, request.payload, out))
                }),
                Chore::Repeat { id, record } => message::create_room(names, *record).map(|request| {
                    self.with_session(cx, |session, now, out| {
                        session.request_as(now, id, &request.name, request.payload, out)
                    })
                }),
            };
            match ticket {
                Some(ticket) => self.own.started(cx.now, &chore, ticket),
                // The configuration has no word for it.
                None => self.own.give_up(&chore),
            }
        }
        self.keep_rooms(cx);
    }

    /// A reply that may be about rooms of our making. Others look at it, too.
    pub(super) fn on_own_reply(&mut self, cx: &mut Cx<'_>, ticket: Ticket, reply: &Reply) {
        let room = match reply {
            Reply::Answer(body) => message::Room::read(body.fields()),
            Reply::Refused { .. } | Reply::TimedOut | Reply::LinkLost => None,
        };
        if let (true, Some(room)) = (self.own.is_birth(ticket), &room) {
            self.learn_our_id(cx, room);
        }
        let room = room.and_then(|room| room.id);
        let end = match reply {
            Reply::Answer(_) => End::Done(room.as_deref()),
            Reply::Refused { code, message, body } => match Refusal::of(&self.config.qss.codes, *code, message, body) {
                Refusal::NotFound => End::Gone,
                Refusal::Forbidden => End::Forbidden,
                Refusal::Unknown => End::Unknown,
                Refusal::TooEarly { .. } | Refusal::WrongPassword | Refusal::Full | Refusal::Other => End::Refused,
            },
            Reply::TimedOut | Reply::LinkLost => End::Unanswered,
        };
        match self.own.ended(cx.now, ticket, end, &mut self.rng) {
            Told::Nothing => {}
            Told::Settled => self.keep_rooms(cx),
            Told::LeftBehind { room } => self.leave_behind(cx, room),
        }
    }

    fn leave_behind(&mut self, cx: &mut Cx<'_>, room: String) {
        self.keep_rooms(cx);
        self.problem(cx, "room_left_behind");
        self.emit(cx, Kind::RoomLeft { id: room }, Some(Failure::RoomNotDestroyed.into()));
    }

    /// An answer comes that nobody waits for any more: a room that it names because we once asked for one goes.
    pub(super) fn on_late_answer(&mut self, id: &str, body: &Body) {
        if let Some(room) = message::Room::read(body.fields()).and_then(|room| room.id) {
            self.own.born_late(id, &room);
        }
    }

    /// Writes down what must outlive the process, if it is not what stands there already.
    pub(super) fn keep_rooms(&mut self, cx: &mut Cx<'_>) {
        if let Some(text) = self.own.changed() {
            cx.out.push_back(Output::Keep(text));
        }
    }

    /// The room goes, whoever may still want it.
    pub(super) fn forget_room(&mut self, id: &str) {
        for entry in &mut self.rooms.entries {
            entry.created.take_if(|created| created == id);
        }
        self.own.doom(id);
    }

    /// The visit is over, for this cause: whether its room goes, too.
    pub(super) fn release_room(&mut self, visit: &Visit, cause: &Cause) {
        if let Membership::Asked(ticket) = visit.membership {
            self.own.unwanted(ticket);
        }
        let Some(id) = visit.room.id.as_deref() else { return };
        if cause.failure == Failure::RoomDestroyed {
            self.own.gone(id);
        }
        // A room that could not be found when it was joined may be there all the same, in another part of the platform
        // or a moment later: it is forgotten when destroyRoom does not find it either.
        let lost = cause.failure == Failure::RoomNotFound;
        let goes = lost
            || match visit.origin {
                Origin::Made => !self.is_lent(id),
                Origin::Configured(i) => self.rooms.entries.get_mut(i).is_some_and(|entry| {
                    let barred = entry.pause == Pause::Barred;
                    if barred && matches!(entry.config.target, RoomTarget::Create { .. }) {
                        entry.created = None;
                    }
                    barred
                }),
                Origin::Invited { .. } | Origin::Asked | Origin::Called | Origin::Transferred { .. } => false,
            };
        if goes && self.own.needs(id) {
            self.own.doom(id);
        }
    }
}
