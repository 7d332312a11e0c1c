//! The visit and the QSS: what its session, its replies and its silence mean for the room we are in or on our way to.
//!
//! ```text
//!   Asked --answer--> Admitted --session lost--> Unproven --asked again, answer--> Admitted
//!     | refused          |                          | refused, or `call_grace` is over
//!     +------------------+------- end of the visit -+
//! ```

use super::pace::Pace;
use super::rooms::Pause;
use super::transfer::Transfer;
use super::visit::{Hold, Membership, Origin, Proof, Visit};
use super::{Agent, Cx};
use crate::config::RoomTarget;
use crate::qss::message::{self, Body, Refusal};
use crate::qss::requests::Ticket;
use crate::qss::session::Reply;
use crate::status::Rung;
use crate::status::event::Attempt;
use crate::status::failure::{Cause, Failure};
use crate::time::{Span, Time};

/// What a refusal of the QSS means for a visit.
pub(super) enum Sentence {
    /// No such request at this QSS: media alone joins.
    Stays,
    /// It may be starting up.
    Open(Cause),
    Out(Cause),
}

impl Sentence {
    /// `known`: the room's SIP URI is.
    pub(super) fn of(refusal: Refusal, code: Option<u16>, message: String, known: bool) -> Sentence {
        let failure = match refusal {
            Refusal::Forbidden => Failure::RoomForbidden,
            Refusal::NotFound => Failure::RoomNotFound,
            Refusal::WrongPassword => Failure::RoomWrongPassword,
            Refusal::Full => Failure::RoomFull,
            Refusal::TooEarly { .. } => Failure::RoomTooEarly,
            Refusal::Unknown if known => return Sentence::Stays,
            Refusal::Unknown | Refusal::Other => match code.map_or(0, i32::from) {
                status @ 500.. => return Sentence::Open(Cause::new(Failure::RoomRefused(status), message)),
                status => Failure::RoomRefused(status),
            },
        };
        Sentence::Out(Cause::new(failure, message))
    }
}

impl Agent {
    // --- the session ---------------------------------------------------------------------------------------------

    /// In this order: own rooms, current invitations, the room we are in, then the snapshot.
    pub(super) fn on_registered(&mut self, cx: &mut Cx<'_>) {
        self.reporter.registered();
        self.rooms.session_decided();
        self.observe(cx, None);
        self.look_for_leftovers(cx);
        self.ask_for_invites(cx);
        self.ask_again(cx);
        (0..self.parked.len()).for_each(|i| self.prove_parked(cx, i));
        self.advance(cx);
        self.snapshot_soon(cx);
    }

    /// Proves an unproven membership.
    pub(super) fn ask_again(&mut self, cx: &mut Cx<'_>) {
        let Some(Visit { membership: Membership::Unproven { until, .. }, room, origin, .. }) = &self.visit else {
            return;
        };
        let (until, origin, id) = (*until, origin.clone(), room.id.clone());
        let membership = self.proven(cx, until, &origin, id.as_deref());
        if let Some(visit) = &mut self.visit {
            visit.membership = membership;
        }
    }

    /// What becomes of an unproven membership when it is asked for. Without a room to ask for there is nothing to prove.
    pub(super) fn proven(&mut self, cx: &mut Cx<'_>, until: Time, origin: &Origin, id: Option<&str>) -> Membership {
        match id {
            Some(id) if !self.config.qss.names.join_room.is_empty() => {
                let proof = match self.ask_for(cx, origin, Some(id)) {
                    Some(ticket) => Proof::Asked(ticket),
                    None if self.session.is_registered() => Proof::Again(cx.now + self.config.sip.retry_min),
                    None => Proof::NoSession,
                };
                Membership::Unproven { until, proof }
            }
            Some(_) | None => Membership::Admitted,
        }
    }

    pub(super) fn on_session_lost(&mut self, cx: &mut Cx<'_>, cause: &Cause, was_registered: bool, retry_at: Time) {
        self.reporter.backlog.link_lost();
        self.rooms.session_decided();
        // From the first attempt at another session on, which may come late in the spread: a device must not run out
        // of its grace because it was polite.
        let grace_ends = match self.config.qss.call_grace {
            Span::ZERO => cx.now,
            grace => retry_at + grace,
        };
        let parked = self.parked.iter_mut().map(|parked| &mut parked.visit);
        self.visit.iter_mut().chain(parked).for_each(|visit| visit.lose_session(grace_ends));
        // Nothing has come of it yet; the room is chosen again with the next session.
        if self.visit.as_ref().is_some_and(|visit| matches!(visit.membership, Membership::Asked(_))) {
            self.end_visit(cx, cause);
        }
        if was_registered {
            self.observe(cx, Some(cause));
        }
        self.attempt_failed(cx, Attempt::Session, cause, Some(retry_at));
    }

    // --- replies to join, create, leave --------------------------------------------------------------------------

    pub(super) fn on_reply(&mut self, cx: &mut Cx<'_>, ticket: Ticket, reply: Reply) {
        if let Reply::Answer(body) = &reply {
            self.count_unknown_fields(cx, body);
        }
        if self.on_transfer_reply(cx, ticket, &reply)
            || self.on_errand_reply(cx, ticket, &reply)
            || self.on_rooms_listed(cx, ticket, &reply)
        {
            return;
        }
        if self.invites_asked == Some(ticket) {
            self.invites_asked = None;
            return self.on_current_invites(cx, &reply);
        }
        self.on_own_reply(cx, ticket, &reply);
        self.on_invite_reply(cx, ticket, &reply);
        self.on_report_reply(cx, ticket, &reply);
        if self.on_parked_reply(cx, ticket, &reply) {
            return;
        }
        let Some(visit) = &mut self.visit else { return };
        if visit.inquiry == Some(ticket) {
            visit.inquiry = None;
            return self.on_inquiry_reply(cx, reply);
        }
        match visit.membership {
            Membership::Asked(asked) if asked == ticket => {}
            Membership::Unproven { proof: Proof::Asked(asked), .. } if asked == ticket => {}
            // leaveRoom: whatever the answer, we are out.
            Membership::Direct | Membership::Asked(_) | Membership::Admitted | Membership::Unproven { .. } => return,
        }
        match reply {
            Reply::Answer(body) => self.on_admitted(cx, message::Room::read(body.fields())),
            Reply::Refused { code, message, body } => self.on_room_refused(cx, code, message, &body),
            Reply::TimedOut => self.on_room_undecided(cx, &Failure::RoomTimedOut.into()),
            // The loss of the session has said all there is to say.
            Reply::LinkLost => {}
        }
    }

    /// The mixer of a room that the QSS described does not answer: perhaps the room has another one by now.
    pub(super) fn inquire(&mut self, cx: &mut Cx<'_>) {
        let Some(Visit { membership: Membership::Admitted, inquiry: None, room, origin, .. }) = &self.visit else {
            return;
        };
        let origin = origin.clone();
        let id = match origin {
            Origin::Configured(_) | Origin::Asked | Origin::Made | Origin::Transferred { .. } => room.id.clone(),
            // Invited is not admitted to join by itself.
            Origin::Invited { .. } | Origin::Called => None,
        };
        if let Some(id) = id
            && let Some(ticket) = self.ask_for(cx, &origin, Some(&id))
            && let Some(visit) = &mut self.visit
        {
            visit.inquiry = Some(ticket);
        }
    }

    /// Where the room is now, or that it is gone. Without an answer the old address is dialled on.
    fn on_inquiry_reply(&mut self, cx: &mut Cx<'_>, reply: Reply) {
        match reply {
            // The next dial takes the new address, at its own time: two that alternate must not make a storm.
            Reply::Answer(body) => self.on_admitted(cx, message::Room::read(body.fields())),
            Reply::Refused { code, message, body } => match self.refusal_here(code, &message, &body) {
                Refusal::Forbidden | Refusal::NotFound => self.on_room_refused(cx, code, message, &body),
                Refusal::TooEarly { .. }
                | Refusal::WrongPassword
                | Refusal::Full
                | Refusal::Unknown
                | Refusal::Other => {}
            },
            Reply::TimedOut | Reply::LinkLost => {}
        }
    }

    fn on_admitted(&mut self, cx: &mut Cx<'_>, described: Option<message::Room>) {
        let Some(visit) = &mut self.visit else { return };
        let mut users = Vec::new();
        if let Some(mut described) = described {
            users = described.participants.take().unwrap_or_default();
            visit.describe(described);
        }
        if let Origin::Configured(i) = visit.origin
            && let Some(entry) = self.rooms.entries.get_mut(i)
        {
            match entry.config.target {
                RoomTarget::Create { .. } => entry.created = visit.room.id.clone(),
                RoomTarget::Id(_)
                | RoomTarget::SipUri(_)
                | RoomTarget::Meeting { .. }
                | RoomTarget::QuickConference(_) => {}
            }
        }
        visit.membership = Membership::Admitted;
        self.reporter.succeeded(Attempt::Room);
        if visit.room.sip_uri.is_none() {
            return self.fail_visit(cx, &Failure::RoomWithoutSipUri.into());
        }
        self.on_described(cx, &users);
        self.follow_room(cx);
    }

    fn on_room_refused(&mut self, cx: &mut Cx<'_>, code: Option<u16>, message: String, body: &Body) {
        let refusal = self.refusal_here(code, &message, body);
        if let Refusal::TooEarly { valid_since_ms } = refusal {
            self.wait_for_meeting(cx, valid_since_ms);
        }
        let known = self.visit.as_ref().is_some_and(|visit| visit.room.sip_uri.is_some());
        match Sentence::of(refusal, code, message, known) {
            Sentence::Stays => self.on_admitted(cx, None),
            Sentence::Open(cause) => self.on_room_undecided(cx, &cause),
            Sentence::Out(cause) => self.fail_visit(cx, &cause),
        }
    }

    fn refusal_here(&self, code: Option<u16>, message: &str, body: &Body) -> Refusal {
        self.refusal(self.visit.as_ref().map(|visit| &visit.origin), code, message, body)
    }

    /// What a refusal means for a visit of that origin. Who gave no password cannot have given a wrong one.
    pub(super) fn refusal(&self, of: Option<&Origin>, code: Option<u16>, message: &str, body: &Body) -> Refusal {
        let meeting = of.is_some_and(|origin| match origin {
            Origin::Configured(i) => self.rooms.is_meeting(*i),
            Origin::Invited { .. } | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred { .. } => {
                false
            }
        });
        let refusal = Refusal::of(&self.config.qss.codes, code, message, body);
        if refusal == Refusal::WrongPassword && !meeting { Refusal::Other } else { refusal }
    }

    /// The room is not tried again before its meeting begins. The wall clock may be wrong, and the meeting be moved, so
    /// it is asked for now and then all the same.
    fn wait_for_meeting(&mut self, cx: &Cx<'_>, valid_since_ms: Option<u64>) {
        let (Some(since), Some(Visit { origin: Origin::Configured(i), .. })) = (valid_since_ms, &self.visit) else {
            return;
        };
        let wait = Span::from_millis(since.saturating_sub(cx.wall.at.0)).min(self.config.qss.meeting_retry);
        if let Some(entry) = self.rooms.entries.get_mut(*i) {
            entry.not_before = Some(cx.now + wait);
        }
    }

    /// The QSS does not say whether we may be in the room. A call that is up waits for its word, within the grace.
    fn on_room_undecided(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        let Some(visit) = &mut self.visit else { return };
        let Membership::Unproven { until, .. } = visit.membership else { return self.fail_visit(cx, cause) };
        let again = visit.redial.next_with_floor(cx.now, &mut self.rng);
        visit.membership = Membership::Unproven { until, proof: Proof::Again(again) };
        self.attempt_failed(cx, Attempt::Room, cause, Some(again));
    }

    // --- the end of a visit --------------------------------------------------------------------------------------

    /// Hangs up, leaves the room at the QSS, and forgets it. The ladder is told why.
    pub(super) fn end_visit(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        if self.visit.is_none() {
            return;
        }
        self.end_leg(cx, cause);
        self.release_card(cx);
        if self.visit.as_ref().is_some_and(|visit| visit.origin == Origin::Made) {
            self.end_call(cx, cause);
        }
        self.withdraw_invited(cx);
        self.forget_participants(cx);
        self.transfer = Transfer::None;
        let Some(visit) = self.visit.take() else { return };
        self.depart(cx, &visit, cause);
        self.observe(cx, Some(cause));
    }

    /// The visit is over: the QSS is told that we are out of its room, unless that is where we know it from.
    pub(super) fn depart(&mut self, cx: &mut Cx<'_>, visit: &Visit, cause: &Cause) {
        self.release_room(visit, cause);
        let out_already = matches!(cause.failure, Failure::RoomExpelled | Failure::RoomAbsent | Failure::RoomDestroyed);
        if let (Membership::Admitted, Some(id), false) = (visit.membership, &visit.room.id, out_already)
            && !self.own.is_doomed(id)
            && !self.is_lent(id)
            && let Some(leave) = message::leave_room(&self.config.qss.names, id, visit.leave_cause)
        {
            self.with_session(cx, |session, now, out| session.request(now, &leave.name, leave.payload, out));
        }
    }

    /// The room cannot be had, or not kept: it pauses, and the next most wanted gets its turn.
    pub(super) fn fail_visit(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        let failed = self.visit.as_ref().map(|visit| (visit.origin.clone(), visit.redial.attempts()));
        let retry_at = failed.and_then(|(origin, redials)| self.pause_after(cx.now, &origin, redials, cause.failure));
        let moving = self.take_move(cause);
        self.attempt_failed(cx, Attempt::Room, cause, retry_at);
        self.end_visit(cx, cause);
        self.reporter.explain(Rung::Room, cause);
        if let Some(moving) = moving {
            self.return_from_move(cx, moving, cause);
        }
    }

    /// A visit of that origin has failed after so many redials: when its room is tried again.
    pub(super) fn pause_after(&mut self, now: Time, of: &Origin, redials: u32, failure: Failure) -> Option<Time> {
        match *of {
            Origin::Configured(i) => {
                let pace = self.rooms.pace(i, failure, &self.config.qss);
                // What failed within the visit counts for the room, or two refusing rooms would be dialled in turns
                // as if each were new.
                if let Some(entry) = self.rooms.entries.get_mut(i) {
                    entry.backoff.at_least(redials);
                }
                self.pause(now, i, pace)
            }
            Origin::Invited { .. } | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred { .. } => None,
        }
    }

    fn pause(&mut self, now: Time, i: usize, pace: Pace) -> Option<Time> {
        let rng = &mut self.rng;
        let percent = u64::from(self.config.qss.rejoin_spread);
        let entry = self.rooms.entries.get_mut(i)?;
        entry.pause = match pace {
            Pace::Normal => Pause::Until(entry.backoff.next_with_floor(now, rng)),
            Pace::Slow => match entry.not_before.take() {
                Some(at) => Pause::Until(at.max(entry.backoff.next_with_floor(now, rng))),
                None => Pause::Until(entry.backoff.slow(now, rng)),
            },
            Pace::Within(span) => Pause::Until(entry.backoff.within(span, now, rng)),
            // All who were sent away come back, but not in the same instant.
            Pace::After(span) => {
                let at = now + span + rng.span_up_to(Span::from_micros(span.as_micros() / 100 * percent));
                Pause::Until(at.max(entry.backoff.next_with_floor(now, rng)))
            }
            Pace::Never => {
                entry.hold = Hold::Off;
                Pause::Barred
            }
        };
        match entry.pause {
            Pause::Until(at) => Some(at),
            Pause::Ready | Pause::Barred => None,
        }
    }

    /// The call of this visit stood long, or somebody asks for its room: the next failure is a first one.
    pub(super) fn forgive(&mut self) {
        let Some(visit) = &mut self.visit else { return };
        visit.redial.reset();
        if let Origin::Configured(i) = visit.origin
            && let Some(entry) = self.rooms.entries.get_mut(i)
        {
            entry.backoff.reset();
        }
    }

    /// Leaves for good: the process stops.
    pub(super) fn leave(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        self.end_visit(cx, cause);
    }

    pub(super) fn on_visit_timeout(&mut self, cx: &mut Cx<'_>) {
        let Some(visit) = &mut self.visit else { return };
        visit.reports.again_at = visit.reports.again_at.filter(|at| *at > cx.now);
        if let Membership::Unproven { until, .. } = visit.membership
            && until <= cx.now
        {
            // Without a session there is nothing to pause for: the room is chosen again once there is one.
            let cause = Cause::from(Failure::QssLostTooLong);
            return if self.session.is_registered() { self.fail_visit(cx, &cause) } else { self.end_visit(cx, &cause) };
        }
        if let Membership::Unproven { proof: Proof::Again(at), .. } = visit.membership
            && at <= cx.now
        {
            self.ask_again(cx);
        }
        self.on_leg_timeout(cx);
    }
}
