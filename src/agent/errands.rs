//! What a local command asks of the QSS about others: to admit them to the room, to put them out, to mute them, to invite
//! them into the room of others; and of somebody else: to be invited. The command is answered at once with a number; an
//! event with that number (`request`) tells what came of it, one for each who was invited.
//!
//! ```text
//!   add, remove, mute:  Asked --answer--> done;   --cancel--> refused;   --time, lost session--> unanswered
//!   invite:             Ringing --accepted--> done;   the same;   we leave the room: withdrawn
//!   request:            Asking --answer--> Promised --invite that names it--> done: we go there
//!                         |                   | `calls.ring_ms` without one: unanswered
//!                         +-------------------+--- invite that names it, before the answer or without one: done
//! ```
//!
//! An invite that names our request is accepted whoever sends it: the id is known to whom we asked, and to the QSS.

use super::commands::MAX_USERS;
use super::hunt::Invitee;
use super::outgoing::Words;
use super::{Agent, Cx};
use crate::media::command::Command;
use crate::media::tone::Tone;
use crate::qss::message::{self, Invite, InviteReply};
use crate::qss::requests::Ticket;
use crate::qss::session::Reply;
use crate::status::event::{Asked, Kind, RequestOutcome};
use crate::status::failure::{Cause, Failure};
use crate::time::{Time, Wakeup};

/// Requests of local commands that may wait for their outcome: as many as one command can invite.
const MAX_ERRANDS: usize = MAX_USERS;

#[derive(Debug, Default)]
pub(super) struct Errands {
    /// The number given last.
    number: u32,
    pending: Vec<Errand>,
}

#[derive(Debug)]
struct Errand {
    number: u32,
    what: Asked,
    users: Vec<String>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Waits for the reply.
    Asked { ticket: Ticket },
    /// Somebody is invited by this id, and decides.
    Ringing { ticket: Ticket, id: String },
    /// Somebody is asked for an invite, which will name this id.
    Asking { ticket: Ticket, id: String },
    /// They have said yes; the invite is to come.
    Promised { id: String, until: Time },
}

/// Why nothing was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoErrand {
    /// The device is in no room of the QSS.
    NoRoom,
    NoSession,
    /// The configuration has no word for it.
    NotOffered,
    /// Too many requests wait.
    TooMany,
    /// In a call, or asking somebody else already.
    Busy,
}

impl Agent {
    /// Admits users to the present room, or puts them out of it; the request's number.
    pub(super) fn change_participants(
        &mut self,
        cx: &mut Cx<'_>,
        admit: bool,
        users: Vec<String>,
    ) -> Result<u32, NoErrand> {
        let (names, room) = (&self.config.qss.names, self.room_of_errand()?);
        let (what, request) = match admit {
            true => (Asked::Add, message::add_participants(names, room, &users)),
            false => (Asked::Remove, message::remove_participants(names, room, &users)),
        };
        self.run_errand(cx, what, users, request)
    }

    /// Asks somebody in the present room to mute or unmute.
    pub(super) fn mute_other(&mut self, cx: &mut Cx<'_>, user: String, muted: bool) -> Result<u32, NoErrand> {
        let room = self.room_of_errand()?;
        let request = message::mute(&self.config.qss.names, room, &user, &self.config.qss.username, muted);
        let what = if muted { Asked::Mute } else { Asked::Unmute };
        self.run_errand(cx, what, vec![user], request)
    }

    /// Asks somebody to invite us, perhaps into a certain room. Their ring time is that of a call.
    pub(super) fn ask_for_invitation(
        &mut self,
        cx: &mut Cx<'_>,
        user: String,
        room: Option<&str>,
    ) -> Result<u32, NoErrand> {
        self.may_run_errand()?;
        if self.is_engaged() || self.asks_for_invitation() {
            return Err(NoErrand::Busy);
        }
        let request = message::send_invite_request(&self.config.qss.names, &self.config.qss.username, &user, room)
            .ok_or(NoErrand::NotOffered)?;
        let (id, patience) = (self.rng.request_id(), self.ring_patience());
        let ticket = self
            .with_session(cx, |session, now, out| {
                session.request_patiently(now, &id, &request.name, request.payload, patience, out)
            })
            .ok_or(NoErrand::TooMany)?;
        self.tone(cx, Tone::Ringback);
        let number = self.errands.next_number();
        Ok(self.errands.add(number, Asked::Invitation, vec![user], Stage::Asking { ticket, id }))
    }

    /// Invites people into the room of others that we are in.
    pub(super) fn invite_others(&mut self, cx: &mut Cx<'_>, invitees: Vec<Invitee>) -> Result<u32, NoErrand> {
        self.room_of_errand()?;
        self.may_run_errand()?;
        if self.errands.pending.len() + invitees.len() > MAX_ERRANDS {
            return Err(NoErrand::TooMany);
        }
        if self.config.qss.names.send_invite.is_empty() {
            return Err(NoErrand::NotOffered);
        }
        let number = self.errands.next_number();
        for Invitee { user, context } in invitees {
            let (id, patience) = (self.rng.request_id(), self.ring_patience());
            let words = Words { request_id: None, context: &context };
            match self.send_invite(cx, &id, &user, words, patience) {
                Some(ticket) => {
                    self.errands.add(number, Asked::Invite, vec![user], Stage::Ringing { ticket, id });
                }
                // Too much else waits for the QSS.
                None => {
                    let kind = Kind::Request {
                        request: number,
                        what: Asked::Invite,
                        users: vec![user],
                        outcome: RequestOutcome::Unanswered,
                    };
                    self.emit(cx, kind, Some(Failure::RequestTimedOut.into()));
                }
            }
        }
        Ok(number)
    }

    /// We leave the room into which we have invited them: nobody is to come for our sake any more.
    pub(super) fn withdraw_invited(&mut self, cx: &mut Cx<'_>) {
        let rings = |errand: &Errand| matches!(errand.stage, Stage::Ringing { .. });
        while let Some(i) = self.errands.pending.iter().position(rings) {
            let errand = self.errands.pending.remove(i);
            self.withdraw_errand(cx, &errand);
            self.tell_errand(cx, errand, RequestOutcome::Withdrawn, None);
        }
    }

    fn withdraw_errand(&mut self, cx: &mut Cx<'_>, errand: &Errand) {
        if let Stage::Ringing { id, .. } = &errand.stage {
            let ended = errand.users.iter().map(|user| (user.clone(), Some(id.clone()))).collect();
            self.withdraw_invites(cx, ended);
        }
    }

    /// Somebody has been asked for an invite, and none has come yet.
    pub(super) fn asks_for_invitation(&self) -> bool {
        self.errands.pending.iter().any(|errand| errand.what == Asked::Invitation)
    }

    /// A person wants no invitation any more. False: none was asked for.
    pub(super) fn withdraw_invitation_request(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(i) = self.errands.pending.iter().position(|errand| errand.what == Asked::Invitation) else {
            return false;
        };
        let errand = self.errands.pending.remove(i);
        if let Stage::Asking { ticket, .. } = errand.stage {
            let name = self.config.qss.names.send_invite_request.clone();
            let to = errand.users.first().map_or("", String::as_str);
            let code = self.config.invites.withdraw_code;
            let payload = message::withdraw_payload(&self.config.qss.names, &self.config.qss.username, to, code);
            self.with_session(cx, |session, now, out| session.withdraw(now, ticket, &name, code, payload, out));
        }
        self.tell_errand(cx, errand, RequestOutcome::Withdrawn, None);
        true
    }

    /// An invite has come: whether it is the one that was asked for.
    pub(super) fn is_asked_for(&self, invite: &Invite) -> bool {
        invite.request_id.as_deref().is_some_and(|id| self.errands.waiting_for(id).is_some())
    }

    /// It was, and it is accepted.
    pub(super) fn invitation_came(&mut self, cx: &mut Cx<'_>, invite: &Invite) {
        if let Some(i) = invite.request_id.as_deref().and_then(|id| self.errands.waiting_for(id)) {
            let errand = self.errands.pending.remove(i);
            self.tell_errand(cx, errand, RequestOutcome::Done, None);
        }
    }

    /// The reply to a request of a local command; false: it is about something else.
    pub(super) fn on_errand_reply(&mut self, cx: &mut Cx<'_>, ticket: Ticket, reply: &Reply) -> bool {
        let is_of = |errand: &Errand| errand.stage.ticket() == Some(ticket);
        let Some(i) = self.errands.pending.iter().position(is_of) else { return false };
        let mut errand = self.errands.pending.remove(i);
        match (reply, &mut errand.stage) {
            (Reply::Answer(_), Stage::Asking { id, .. }) => {
                errand.stage = Stage::Promised { id: std::mem::take(id), until: cx.now + self.ring_patience() };
                self.errands.pending.push(errand);
            }
            (Reply::Answer(body), Stage::Ringing { .. }) => {
                let code = InviteReply::read_all(body.fields()).first().map_or(200, |reply| reply.code);
                let refused = (code >= 300).then(|| Cause::from(Failure::RequestRefused(code.into())));
                let outcome = if refused.is_some() { RequestOutcome::Refused } else { RequestOutcome::Done };
                self.tell_errand(cx, errand, outcome, refused);
            }
            (Reply::Answer(_), Stage::Asked { .. } | Stage::Promised { .. }) => {
                self.tell_errand(cx, errand, RequestOutcome::Done, None);
            }
            (Reply::Refused { code, message, .. }, _) => {
                let failure = Failure::RequestRefused(code.map_or(0, i32::from));
                self.tell_errand(cx, errand, RequestOutcome::Refused, Some(Cause::new(failure, message.clone())));
            }
            (Reply::TimedOut | Reply::LinkLost, _) => {
                self.withdraw_errand(cx, &errand);
                self.tell_unanswered(cx, errand);
            }
        }
        true
    }

    pub(super) fn errands_wakeup(&self) -> Option<Wakeup> {
        let ends = self.errands.pending.iter().filter_map(|errand| match errand.stage {
            Stage::Promised { until, .. } => Some(until),
            Stage::Asked { .. } | Stage::Ringing { .. } | Stage::Asking { .. } => None,
        });
        ends.min().map(|at| Wakeup::new(at, "promised invite"))
    }

    pub(super) fn on_errands_timeout(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now;
        let is_over = |errand: &Errand| matches!(errand.stage, Stage::Promised { until, .. } if until <= now);
        while let Some(i) = self.errands.pending.iter().position(is_over) {
            let errand = self.errands.pending.remove(i);
            self.tell_unanswered(cx, errand);
        }
    }

    // --- helpers -----------------------------------------------------------------------------------------------------

    fn may_run_errand(&self) -> Result<(), NoErrand> {
        match (self.session.is_registered(), self.errands.pending.len() < MAX_ERRANDS) {
            (false, _) => Err(NoErrand::NoSession),
            (true, false) => Err(NoErrand::TooMany),
            (true, true) => Ok(()),
        }
    }

    fn room_of_errand(&self) -> Result<&str, NoErrand> {
        self.visit.as_ref().and_then(|visit| visit.room.id.as_deref()).ok_or(NoErrand::NoRoom)
    }

    fn run_errand(
        &mut self,
        cx: &mut Cx<'_>,
        what: Asked,
        users: Vec<String>,
        request: Option<message::Request>,
    ) -> Result<u32, NoErrand> {
        self.may_run_errand()?;
        let request = request.ok_or(NoErrand::NotOffered)?;
        let ticket = self
            .with_session(cx, |session, now, out| session.request(now, &request.name, request.payload, out))
            .ok_or(NoErrand::TooMany)?;
        let number = self.errands.next_number();
        Ok(self.errands.add(number, what, users, Stage::Asked { ticket }))
    }

    fn tell_unanswered(&mut self, cx: &mut Cx<'_>, errand: Errand) {
        self.tell_errand(cx, errand, RequestOutcome::Unanswered, Some(Failure::RequestTimedOut.into()));
    }

    fn tell_errand(&mut self, cx: &mut Cx<'_>, errand: Errand, outcome: RequestOutcome, cause: Option<Cause>) {
        if errand.what == Asked::Invitation {
            self.media(cx, Command::ToneStop);
        }
        let kind = Kind::Request { request: errand.number, what: errand.what, users: errand.users, outcome };
        self.emit(cx, kind, cause);
    }
}

impl Errands {
    fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    fn add(&mut self, number: u32, what: Asked, users: Vec<String>, stage: Stage) -> u32 {
        self.pending.push(Errand { number, what, users, stage });
        number
    }

    /// Who waits for an invite that names this request.
    fn waiting_for(&self, request_id: &str) -> Option<usize> {
        self.pending.iter().position(|errand| match &errand.stage {
            Stage::Asking { id, .. } | Stage::Promised { id, .. } => id == request_id,
            Stage::Asked { .. } | Stage::Ringing { .. } => false,
        })
    }
}

impl Stage {
    fn ticket(&self) -> Option<Ticket> {
        match self {
            Stage::Asked { ticket } | Stage::Ringing { ticket, .. } | Stage::Asking { ticket, .. } => Some(*ticket),
            Stage::Promised { .. } => None,
        }
    }
}
