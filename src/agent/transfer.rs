//! Transfers: we are moved to another room, or ask the QSS to put somebody in our place (docs/qss.md, Transfers).
//!
//! ```text
//!   blind:     event -> accept -> Accepting --answer--> Joining --answer--> Moving --200 OK--> done
//!   attended:  request, answered ------------------------(room is known)--> Moving
//!                          refused, timed out: we stay where we are <--+      | no call there, withdrawn
//!                                          back in the old room <-------------+
//!   ours:      transfer TARGET -> Asked --answer--> we leave, or (`qss.transfer_done`) Answered --ACCEPTED--> we leave
//!                                    refused, DECLINED, no word in time: we stay
//! ```
//!
//! The room that is left is left only when the target room is known and admits us; and until the call there stands, what
//! is needed to come back is kept: a call of our own, too, with its room ([`super::lending`]). One transfer at a time: a
//! second one meanwhile is declined.

use super::visit::{Origin, Visit};
use super::{Agent, Cx, Phase};
use crate::config::TransferDone;
use crate::qss::message::{self, AttendedTransfer, Body, CallTransfer, Room};
use crate::qss::requests::Ticket;
use crate::qss::session::Reply;
use crate::status::conference::{RoomEvent, TransferState};
use crate::status::failure::{Cause, Failure};
use crate::time::{Time, Wakeup};
use serde_json::{Value, json};

/// How far the transfer at hand has come.
#[derive(Debug, Default)]
pub(super) enum Transfer {
    #[default]
    None,
    /// Blind: our consent is on its way.
    Accepting { ticket: Ticket, goal: Goal },
    /// joinRoom of the target room is on its way; the old one goes on.
    Joining { ticket: Ticket, goal: Goal },
    /// The old room is left, the new one dialled.
    Moving { id: String, back: Back },
    /// We have asked that `to` takes our place.
    Asked { ticket: Ticket, request: Request },
    /// The QSS has said yes, and will tell whether `to` does too.
    Answered { call_transfer_id: Option<String>, request: Request, until: Time },
}

/// A transfer of ours, as it was asked for.
#[derive(Debug)]
pub(super) struct Request {
    id: String,
    word: String,
    to: String,
}

/// Where we are to go.
#[derive(Debug)]
pub(super) struct Goal {
    /// `callTransferId`, or the `requestID` of an attended transfer.
    id: String,
    /// For logs and status.
    name: String,
    room: Room,
}

/// What is needed to come back.
#[derive(Debug)]
pub(super) struct Back {
    name: String,
    origin: Origin,
    room: Room,
}

/// Whom we want to be replaced by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TransferOrder {
    /// Whoever is with us shall talk to this user.
    Blind { to: String },
    /// `transferee` shall talk to `to`, whom we have asked.
    Attended { to: String, transferee: String },
}

impl TransferOrder {
    /// The target, and for an attended transfer who shall talk to it. `None`: some other number of users.
    pub(super) fn of(users: Vec<String>) -> Option<TransferOrder> {
        let mut users = users.into_iter();
        match (users.next(), users.next(), users.next()) {
            (Some(to), None, _) => Some(TransferOrder::Blind { to }),
            (Some(to), Some(transferee), None) => Some(TransferOrder::Attended { to, transferee }),
            (None, ..) | (_, _, Some(_)) => None,
        }
    }
}

/// Why a transfer cannot be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TransferError {
    /// We are in no room of the QSS.
    NoCall,
    NoSession,
    /// Another transfer is under way.
    Moving,
    /// The configuration has no word for it.
    NotOffered,
}

impl Agent {
    // --- we are moved --------------------------------------------------------------------------------------------

    /// The event of a blind transfer: of ours, or one that moves us.
    pub(super) fn on_call_transfer(&mut self, cx: &mut Cx<'_>, body: &Body) {
        let Some(asked) = CallTransfer::read(body.fields()) else {
            return self.not_understood(cx, "qss_unknown_event", "transfer", 1, body);
        };
        let id = asked.id.clone().or(asked.invite_id).unwrap_or_default();
        match asked.state {
            // How one of ours stands.
            Some(message::TransferState::Accepted) => {
                self.tell_transfer(cx, &id, TransferState::Accepted, &asked.room, asked.to.as_deref());
                return self.on_ours_decided(cx, &id, asked.to.as_deref(), Ok(()));
            }
            Some(message::TransferState::Declined) => {
                self.tell_transfer(cx, &id, TransferState::Declined, &asked.room, asked.to.as_deref());
                let cause = Cause::new(Failure::TransferRefused(0), "declined");
                return self.on_ours_decided(cx, &id, asked.to.as_deref(), Err(cause));
            }
            Some(message::TransferState::Unknown) => {
                return self.not_understood(cx, "qss_unknown_value", "state", 1, body);
            }
            Some(message::TransferState::Invited) | None => {}
        }
        let name = asked.to.clone().or_else(|| asked.room.id.clone()).unwrap_or_default();
        let goal = Goal { id, name, room: asked.room };
        let here = self.is_ours(goal.room.id.as_deref()) && goal.room.id.is_some();
        if !here && goal.room.id.is_none() && goal.room.sip_uri.is_none() {
            return self.not_understood(cx, "qss_unknown_event", "transfer", 1, body);
        }
        if !self.is_movable() || !self.may_move() {
            return self.tell_transfer(cx, &goal.id, TransferState::Declined, &goal.room, None);
        }
        self.tell_transfer(cx, &goal.id, TransferState::Invited, &goal.room, asked.to.as_deref());
        let accept = message::accept_transfer(&self.config.qss.names, &goal.id).filter(|_| !goal.id.is_empty());
        // Somebody else takes a place in the very room: we stay, and say that it is well.
        if here {
            if let Some(accept) = accept {
                self.with_session(cx, |session, now, out| session.request(now, &accept.name, accept.payload, out));
            }
            return self.tell_transfer(cx, &goal.id, TransferState::Accepted, &goal.room, None);
        }
        let Some(accept) = accept else { return self.join_target(cx, goal) };
        match self.with_session(cx, |session, now, out| session.request(now, &accept.name, accept.payload, out)) {
            Some(ticket) => self.transfer = Transfer::Accepting { ticket, goal },
            None => self.transfer_failed(cx, &goal.id, Failure::TransferTimedOut.into()),
        }
    }

    /// An attended transfer comes as a request, with a room that is ready.
    pub(super) fn on_attended_transfer(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, body: &Body) {
        let refuse = |agent: &mut Agent, cx: &mut Cx<'_>, code, words| {
            agent.with_session(cx, |session, _, out| session.refuse(name, id, code, words, Value::Null, out));
        };
        let Some(asked) = AttendedTransfer::read(body.fields()) else {
            return refuse(self, cx, self.config.qss.codes.say_malformed, "transfer without a room");
        };
        if !self.is_movable() {
            refuse(self, cx, self.config.invites.decline_code, "declined");
            return self.tell_transfer(cx, id, TransferState::Declined, &asked.room, None);
        }
        if !self.may_move() {
            refuse(
                self,
                cx,
                self.config.qss.codes.say_no_call,
                "no call to be transferred, or it is being transferred already",
            );
            return self.tell_transfer(cx, id, TransferState::Declined, &asked.room, None);
        }
        self.with_session(cx, |session, _, out| session.answer(name, id, json!({}), out));
        self.tell_transfer(cx, id, TransferState::Invited, &asked.room, asked.target_user.as_deref());
        if self.is_ours(asked.room.id.as_deref()) && asked.room.id.is_some() {
            return self.tell_transfer(cx, id, TransferState::Accepted, &asked.room, None);
        }
        let name = asked.target_user.or_else(|| asked.room.id.clone()).unwrap_or_default();
        self.join_target(cx, Goal { id: id.to_owned(), name, room: asked.room });
    }

    /// Whoever asked for an attended transfer takes it back.
    pub(super) fn on_transfer_withdrawn(&mut self, cx: &mut Cx<'_>, id: &str) {
        let concerned = match &self.transfer {
            Transfer::Joining { goal, .. } | Transfer::Accepting { goal, .. } => goal.id == id,
            Transfer::Moving { id: moving, .. } => moving == id,
            Transfer::None | Transfer::Asked { .. } | Transfer::Answered { .. } => false,
        };
        if !concerned {
            return;
        }
        match std::mem::take(&mut self.transfer) {
            Transfer::Moving { back, .. } => {
                self.end_visit(cx, &Failure::Transferred.into());
                self.come_back(cx, back);
            }
            Transfer::Joining { .. }
            | Transfer::Accepting { .. }
            | Transfer::None
            | Transfer::Asked { .. }
            | Transfer::Answered { .. } => {}
        }
        self.tell_transfer(cx, id, TransferState::Canceled, &Room::default(), None);
    }

    /// The QSS says that a transfer has failed.
    pub(super) fn on_transfer_error(&mut self, cx: &mut Cx<'_>, body: &Body) {
        let error = message::TransferError::read(body.fields());
        let cause = Cause::new(Failure::TransferRefused(error.code.unwrap_or_default().into()), error.message);
        let named = |id: &str| error.id.as_deref().is_none_or(|named| named == id);
        match std::mem::take(&mut self.transfer) {
            Transfer::Accepting { goal, .. } | Transfer::Joining { goal, .. } if named(&goal.id) => {
                self.transfer_failed(cx, &goal.id, cause);
            }
            Transfer::Moving { id, back } if named(&id) => {
                self.end_visit(cx, &cause);
                self.come_back(cx, back);
                self.transfer_failed(cx, &id, cause);
            }
            Transfer::Asked { .. } | Transfer::Answered { .. } => {
                self.transfer_failed(cx, error.id.as_deref().unwrap_or_default(), cause);
            }
            // Of an earlier one: of ours, most likely, which was answered and which we have left for.
            another @ (Transfer::None
            | Transfer::Accepting { .. }
            | Transfer::Joining { .. }
            | Transfer::Moving { .. }) => {
                self.transfer = another;
                self.transfer_failed(cx, error.id.as_deref().unwrap_or_default(), cause);
            }
        }
    }

    /// Whether others may move the present call, if there is one.
    fn is_movable(&self) -> bool {
        let control = &self.config.control;
        control.transfer && self.visit.as_ref().is_none_or(|visit| visit.origin.priority() <= control.transfer_priority)
    }

    /// There is a call to be moved, and nothing moves it yet.
    pub(super) fn may_move(&self) -> bool {
        let idle = match self.transfer {
            Transfer::None => true,
            Transfer::Accepting { .. }
            | Transfer::Joining { .. }
            | Transfer::Moving { .. }
            | Transfer::Asked { .. }
            | Transfer::Answered { .. } => false,
        };
        idle && self.phase == Phase::Running && self.visit.is_some()
    }

    fn join_target(&mut self, cx: &mut Cx<'_>, goal: Goal) {
        if goal.room.sip_uri.is_some() {
            return self.move_to(cx, goal);
        }
        match goal.room.id.as_deref().and_then(|id| self.ask(cx, Some(id))) {
            Some(ticket) => self.transfer = Transfer::Joining { ticket, goal },
            None => self.transfer_failed(cx, &goal.id, Failure::RoomWithoutSipUri.into()),
        }
    }

    fn move_to(&mut self, cx: &mut Cx<'_>, goal: Goal) {
        // A call waits there already: it goes on.
        if let Some(i) = self.parked_in(&goal.room) {
            let parked = self.parked.remove(i);
            self.tell_transfer(cx, &goal.id, TransferState::Accepted, &goal.room, None);
            self.transfer = Transfer::None;
            self.end_visit(cx, &Failure::Transferred.into());
            self.resume(cx, parked);
            return self.tell_transfer(cx, &goal.id, TransferState::Done, &goal.room, None);
        }
        let Some(Visit { name, origin, room, .. }) = &self.visit else {
            return self.transfer_failed(cx, &goal.id, Failure::TransferTimedOut.into());
        };
        let priority = origin.priority();
        let back = Back { name: name.clone(), origin: origin.clone(), room: room.clone() };
        self.tell_transfer(cx, &goal.id, TransferState::Accepted, &goal.room, None);
        self.lend_call();
        self.end_visit(cx, &Failure::Transferred.into());
        self.transfer = Transfer::Moving { id: goal.id, back };
        self.begin_visit(cx, goal.name, Origin::Transferred { priority }, goal.room);
    }

    /// A reply to a request of a transfer; false: it is about something else.
    pub(super) fn on_transfer_reply(&mut self, cx: &mut Cx<'_>, ticket: Ticket, reply: &Reply) -> bool {
        let awaited = match &self.transfer {
            Transfer::Accepting { ticket, .. } | Transfer::Joining { ticket, .. } | Transfer::Asked { ticket, .. } => {
                Some(*ticket)
            }
            Transfer::None | Transfer::Moving { .. } | Transfer::Answered { .. } => None,
        };
        if awaited != Some(ticket) {
            return false;
        }
        let failed = match reply {
            Reply::Answer(_) => None,
            Reply::Refused { code, message, .. } => {
                Some(Cause::new(Failure::TransferRefused(code.unwrap_or_default().into()), message.clone()))
            }
            Reply::TimedOut | Reply::LinkLost => Some(Cause::from(Failure::TransferTimedOut)),
        };
        let described = match reply {
            Reply::Answer(body) => Room::read(body.fields()),
            Reply::Refused { .. } | Reply::TimedOut | Reply::LinkLost => None,
        };
        match (std::mem::take(&mut self.transfer), failed) {
            (Transfer::Accepting { goal, .. } | Transfer::Joining { goal, .. }, Some(cause)) => {
                self.transfer_failed(cx, &goal.id, cause);
            }
            (Transfer::Accepting { goal, .. }, None) => self.join_target(cx, goal.described(described)),
            (Transfer::Joining { goal, .. }, None) => {
                let goal = goal.described(described);
                match goal.room.sip_uri {
                    Some(_) => self.move_to(cx, goal),
                    None => self.transfer_failed(cx, &goal.id, Failure::RoomWithoutSipUri.into()),
                }
            }
            (Transfer::Asked { .. }, Some(cause)) => self.transfer_failed(cx, "", cause),
            (Transfer::Asked { request, .. }, None) => match self.config.qss.transfer_done {
                TransferDone::Answer => self.leave_to(cx, "", &request.to),
                TransferDone::Accepted => {
                    let call_transfer_id = match reply {
                        Reply::Answer(body) => message::call_transfer_id(body.fields()),
                        Reply::Refused { .. } | Reply::TimedOut | Reply::LinkLost => None,
                    };
                    let until = cx.now + self.ring_patience();
                    self.transfer = Transfer::Answered { call_transfer_id, request, until };
                }
            },
            (Transfer::None | Transfer::Moving { .. } | Transfer::Answered { .. }, _) => {}
        }
        true
    }

    /// The call in the target room stands.
    pub(super) fn on_arrived(&mut self, cx: &mut Cx<'_>) {
        if !self.visit.as_ref().is_some_and(|visit| matches!(visit.origin, Origin::Transferred { .. })) {
            return;
        }
        match std::mem::take(&mut self.transfer) {
            Transfer::Moving { id, .. } => {
                let room = self.visit.as_ref().map(|visit| visit.room.clone()).unwrap_or_default();
                self.tell_transfer(cx, &id, TransferState::Done, &room, None);
            }
            another @ (Transfer::None
            | Transfer::Accepting { .. }
            | Transfer::Joining { .. }
            | Transfer::Asked { .. }
            | Transfer::Answered { .. }) => self.transfer = another,
        }
    }

    /// The visit is about to end. If it was to the target of a move that did not come to stand, what to come back to.
    pub(super) fn take_move(&mut self, cause: &Cause) -> Option<(String, Back)> {
        if !self.visit.as_ref().is_some_and(|visit| matches!(visit.origin, Origin::Transferred { .. })) {
            return None;
        }
        match std::mem::take(&mut self.transfer) {
            // Whoever hangs up does not want to be elsewhere.
            Transfer::Moving { id, back } if cause.failure != Failure::HungUp => Some((id, back)),
            Transfer::Moving { .. } => None,
            another @ (Transfer::None
            | Transfer::Accepting { .. }
            | Transfer::Joining { .. }
            | Transfer::Asked { .. }
            | Transfer::Answered { .. }) => {
                self.transfer = another;
                None
            }
        }
    }

    /// The move failed: back to where we were.
    pub(super) fn return_from_move(&mut self, cx: &mut Cx<'_>, (id, back): (String, Back), cause: &Cause) {
        self.come_back(cx, back);
        self.transfer_failed(cx, &id, cause.clone());
    }

    /// A more important invite takes the place of the present call: what to come back to when it is over. Configured
    /// rooms are come back to anyway; the first of several interrupted calls counts.
    pub(super) fn remember_interrupted(&mut self, priority: u8) {
        let Some(Visit { name, origin, room, .. }) = &self.visit else { return };
        let below = match origin {
            Origin::Invited { .. } | Origin::Transferred { .. } | Origin::Asked => origin.priority() < priority,
            Origin::Configured(_) | Origin::Called | Origin::Made => false,
        };
        if below && self.config.invites.returns && self.interrupted.is_none() {
            self.interrupted = Some(Back { name: name.clone(), origin: origin.clone(), room: room.clone() });
        }
    }

    /// How important the call is that was interrupted.
    pub(super) fn interrupted_priority(&self) -> Option<u8> {
        self.interrupted.as_ref().map(|back| back.origin.priority())
    }

    /// Nothing is visited any more: back to the call that was interrupted. False: there is none.
    pub(super) fn resume_interrupted(&mut self, cx: &mut Cx<'_>) -> bool {
        if !self.session.is_registered() {
            return false;
        }
        let Some(back) = self.interrupted.take() else { return false };
        self.come_back(cx, back);
        self.visit.is_some()
    }

    fn come_back(&mut self, cx: &mut Cx<'_>, Back { name, origin, mut room }: Back) {
        if self.phase != Phase::Running || self.visit.is_some() {
            return;
        }
        match origin {
            Origin::Configured(i) => return self.visit_configured(cx, i),
            // Whoever called us by SIP was hung up on.
            Origin::Called => return,
            Origin::Made if !self.take_call_back() => return,
            Origin::Made => {}
            Origin::Invited { .. } | Origin::Transferred { .. } | Origin::Asked => {}
        }
        // We said that we leave: we ask again.
        if room.id.is_some() {
            room.sip_uri = None;
        }
        self.begin_visit(cx, name, origin, room);
    }

    // --- we move others ------------------------------------------------------------------------------------------

    /// Asks the QSS to put somebody else in our place. Once it says yes we leave; until then, and if it refuses, we
    /// stay, and `transferError` says why.
    ///
    /// # Errors
    /// Nothing was sent: see [`TransferError`].
    pub(super) fn transfer(&mut self, cx: &mut Cx<'_>, order: &TransferOrder) -> Result<(), TransferError> {
        let visit = self.visit.as_ref().ok_or(TransferError::NoCall)?;
        let room = visit.room.id.clone().ok_or(TransferError::NoCall)?;
        if !self.may_move() {
            return Err(TransferError::Moving);
        }
        let names = &self.config.qss.names;
        let (request, to) = match order {
            TransferOrder::Blind { to } => (message::transfer(names, &room, to), to),
            TransferOrder::Attended { to, transferee } => {
                (message::attended_transfer(names, &room, transferee, to), to)
            }
        };
        let request = request.ok_or(TransferError::NotOffered)?;
        let id = self.rng.request_id();
        let ticket = self
            .with_session(cx, |session, now, out| session.request_as(now, &id, &request.name, request.payload, out))
            .ok_or(TransferError::NoSession)?;
        self.transfer = Transfer::Asked { ticket, request: Request { id, word: request.name, to: to.clone() } };
        self.tell_transfer(cx, "", TransferState::Invited, &Room::default(), Some(to));
        Ok(())
    }

    /// Takes our transfer back, as long as we are still here: we stay. False: there is none.
    pub(super) fn cancel_transfer(&mut self, cx: &mut Cx<'_>) -> bool {
        match std::mem::take(&mut self.transfer) {
            Transfer::Asked { request: Request { id, word, to }, .. }
            | Transfer::Answered { request: Request { id, word, to }, .. } => {
                let code = self.config.invites.withdraw_code;
                let payload = message::withdraw_payload(&self.config.qss.names, &self.config.qss.username, &to, code);
                self.with_session(cx, |session, now, out| session.withdraw_id(now, &id, &word, code, payload, out));
                self.tell_transfer(cx, "", TransferState::Canceled, &Room::default(), Some(&to));
                true
            }
            another @ (Transfer::None
            | Transfer::Accepting { .. }
            | Transfer::Joining { .. }
            | Transfer::Moving { .. }) => {
                self.transfer = another;
                false
            }
        }
    }

    /// The QSS tells what has become of the transfer with this id, to this user; perhaps it is one of ours that waits for it.
    fn on_ours_decided(&mut self, cx: &mut Cx<'_>, id: &str, user: Option<&str>, decided: Result<(), Cause>) {
        let waits = self.config.qss.transfer_done == TransferDone::Accepted;
        let to = match &self.transfer {
            // The word may come before the answer.
            Transfer::Asked { request, .. } if waits => request.to.clone(),
            Transfer::Answered { call_transfer_id, request, .. }
                if call_transfer_id.as_deref().is_none_or(|ours| ours == id) =>
            {
                request.to.clone()
            }
            Transfer::None
            | Transfer::Accepting { .. }
            | Transfer::Joining { .. }
            | Transfer::Moving { .. }
            | Transfer::Asked { .. }
            | Transfer::Answered { .. } => return,
        };
        if user.is_some_and(|user| user != to) {
            return;
        }
        self.transfer = Transfer::None;
        match decided {
            Ok(()) => self.leave_to(cx, id, &to),
            Err(cause) => self.transfer_failed(cx, id, cause),
        }
    }

    /// Somebody has taken our place. A room that we have made goes on without us: it is theirs as long as somebody is in
    /// it.
    fn leave_to(&mut self, cx: &mut Cx<'_>, id: &str, to: &str) {
        if let Some(room) = self.visit.as_ref().and_then(|visit| visit.room.id.clone()) {
            self.own.gone(&room);
            self.look_again(cx);
        }
        self.tell_transfer(cx, id, TransferState::Done, &Room::default(), Some(to));
        self.fail_visit(cx, &Failure::Transferred.into());
    }

    pub(super) fn transfer_wakeup(&self) -> Option<Wakeup> {
        match self.transfer {
            Transfer::Answered { until, .. } => Some(Wakeup::new(until, "word of a transfer")),
            Transfer::None
            | Transfer::Accepting { .. }
            | Transfer::Joining { .. }
            | Transfer::Moving { .. }
            | Transfer::Asked { .. } => None,
        }
    }

    /// The word does not come: we stay.
    pub(super) fn on_transfer_timeout(&mut self, cx: &mut Cx<'_>) {
        if let Transfer::Answered { call_transfer_id, until, .. } = &self.transfer
            && *until <= cx.now
        {
            let id = call_transfer_id.clone().unwrap_or_default();
            self.transfer = Transfer::None;
            self.transfer_failed(cx, &id, Failure::TransferTimedOut.into());
        }
    }

    /// The transfer at hand has taken us to another room, where the call does not stand yet.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self.transfer, Transfer::Moving { .. })
    }

    // --- what is told --------------------------------------------------------------------------------------------

    fn transfer_failed(&mut self, cx: &mut Cx<'_>, id: &str, cause: Cause) {
        let code = cause.failure.status().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
        let (call_transfer_id, message) = (id.to_owned(), cause.detail.clone());
        self.emit_room(cx, RoomEvent::TransferError { call_transfer_id, code, message }, Some(cause));
    }

    fn tell_transfer(&mut self, cx: &mut Cx<'_>, id: &str, state: TransferState, room: &Room, to: Option<&str>) {
        let (call_transfer_id, room_id, to) = (id.to_owned(), room.id.clone(), to.map(str::to_owned));
        self.emit_room(cx, RoomEvent::CallTransfer { call_transfer_id, state, room_id, to }, None);
    }
}

impl Goal {
    /// With what a reply says of the room.
    fn described(mut self, described: Option<Room>) -> Goal {
        if let Some(described) = described {
            self.room = Room {
                id: described.id.clone().or(self.room.id),
                sip_uri: described.sip_uri.clone().or(self.room.sip_uri),
                bitrate: described.bitrate.or(self.room.bitrate),
                ..described
            };
        }
        self
    }
}
