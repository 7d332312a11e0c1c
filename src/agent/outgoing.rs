//! Calls of the device itself: it makes a room, joins it, invites people into it until one comes, and destroys the room
//! when they are gone.
//!
//! ```text
//!            room made, SIP call up        somebody accepts               the others are gone, hang-up
//!   Making -----------------------> Ringing ------------------> Talking ------------------------------> over
//!     |                               | nobody comes                                                      ^
//!     | no room, no SIP call          v                                                                   |
//!     |                          Nobody (busy tone) ------------------------------------------------------+
//!     +---------------------------------------------------------------------------------------------------+
//! ```
//!
//! Nobody is rung before our own call to the mixer stands: who accepts finds somebody there. The room is destroyed
//! without being left first: a QSS may give the room of a leaving owner to somebody else, and then refuse.

use super::hunt::{Hunt, Invitee, Plan, Turn};
use super::visit::{Hold, Leg, Membership, Origin, Reports, Visit};
use super::{Agent, Cx};
use crate::media::command::Command;
use crate::media::tone::Tone;
use crate::qss::backoff::Backoff;
use crate::qss::message::{self, InviteOffer, MediaTypes, ParticipantStatus, Presence, Roster};
use crate::qss::requests::Ticket;
use crate::qss::session::Reply;
use crate::status::conference::{Invitation, RoomEvent};
use crate::status::event::{CallStep, Kind, Outcome, RoomRef};
use crate::status::failure::{Cause, Failure};
use crate::time::{Span, Time, Wakeup, soonest};
use std::collections::BTreeSet;

/// Users remembered of a room; more is a conference that ends without us.
const MAX_OTHERS: usize = 64;

/// People of one call, those who have not answered too.
const MAX_TARGETS: usize = 64;

#[derive(Debug)]
pub(super) struct Outgoing {
    /// Counts up while the process lives: names the call in replies and events.
    pub(super) number: u32,
    name: String,
    /// The `inviteRequest` that this call answers: what our invite names, and the `requestID` of its frame.
    request_id: Option<String>,
    frame_id: Option<String>,
    stage: Stage,
    others: BTreeSet<String>,
    company: Company,
    /// As it was last told.
    invitations: Vec<Invitation>,
    /// Latest end, whoever is in it.
    ends_at: Option<Time>,
}

#[derive(Debug)]
enum Stage {
    Making { plan: Plan, until: Time },
    Ringing(Hunt),
    Talking(Hunt),
    Nobody { until: Time },
}

/// Whether we talk to anybody. A QSS that was away may never tell that the last one has left, or that who accepted has
/// not come.
#[derive(Debug)]
enum Company {
    /// Somebody is there, or nobody has to be.
    Enough,
    /// Nobody is known to be there; the QSS is asked then.
    Missed { ask_at: Time },
    /// It was; and is again then, should its answer tell nothing.
    Asked { again_at: Time },
}

/// What a call is to be.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Order {
    pub(super) name: String,
    /// Without targets: a room for whoever is invited later.
    pub(super) plan: Plan,
    pub(super) record: bool,
    pub(super) request_id: Option<String>,
    pub(super) frame_id: Option<String>,
}

/// What an invite says besides who and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    /// The `inviteRequest` that it answers.
    pub(super) request_id: Option<&'a str>,
    pub(super) context: &'a [(String, String)],
}

/// What a roster is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// Who is not in it is as before.
    Change,
    /// Who is not in it is not there.
    Everybody,
}

/// Why there is no call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoCall {
    NoSession,
    /// In a call that was not arranged by the configuration.
    Busy,
    /// More people than [`MAX_TARGETS`].
    TooMany,
    /// Rooms that could not be destroyed have piled up, or the QSS has no word for making one.
    NoRoom,
}

impl Agent {
    // --- the life of a call --------------------------------------------------------------------------------------

    /// Begins a call; its number.
    pub(super) fn call_out(&mut self, cx: &mut Cx<'_>, order: Order) -> Result<u32, NoCall> {
        if !self.session.is_registered() {
            return Err(NoCall::NoSession);
        }
        if self.is_engaged() {
            return Err(NoCall::Busy);
        }
        if order.plan.targets.len() > MAX_TARGETS {
            return Err(NoCall::TooMany);
        }
        let ticket = self.ask_for_new_room(cx, order.record).ok_or(NoCall::NoRoom)?;
        self.interrupted = None;
        if !self.park(cx) {
            self.end_visit(cx, &Failure::Replaced.into());
        }
        let sip = &self.config.sip;
        self.visit = Some(Visit {
            name: order.name.clone(),
            origin: Origin::Made,
            room: message::Room::default(),
            membership: Membership::Asked(ticket),
            leg: Leg::Due,
            redial: Backoff::new(sip.retry_min, sip.retry_max),
            hold: Hold::Off,
            believed_muted: Some(false),
            believed_hold: Some(Hold::Off),
            reports: Reports::default(),
            doubted: None,
            leave_cause: 200,
            inquiry: None,
        });
        self.reporter.counters.calls_out += 1;
        let number = self.reporter.counters.calls_out;
        let longest = self.config.calls.longest;
        self.outgoing = Some(Outgoing {
            number,
            name: order.name,
            request_id: order.request_id,
            frame_id: order.frame_id,
            stage: Stage::Making { until: cx.now + order.plan.total, plan: order.plan },
            others: BTreeSet::new(),
            company: Company::Enough,
            invitations: Vec::new(),
            ends_at: (longest > Span::ZERO).then(|| cx.now + longest),
        });
        self.tell_call(cx, CallStep::Making, None);
        Ok(number)
    }

    /// In a call that somebody wanted: not one of the rooms that are visited whenever there is nothing else to do.
    pub(super) fn is_engaged(&self) -> bool {
        self.visit.as_ref().is_some_and(|visit| match visit.origin {
            Origin::Configured(_) => false,
            Origin::Invited { .. } | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred { .. } => true,
        })
    }

    /// Who asked to be invited takes it back: the call that we make for it ends, unless they have come. True: it was one.
    pub(super) fn request_withdrawn(&mut self, cx: &mut Cx<'_>, id: &str) -> bool {
        let Some(outgoing) = &self.outgoing else { return false };
        if outgoing.frame_id.as_deref() != Some(id) {
            return false;
        }
        match outgoing.stage {
            Stage::Making { .. } | Stage::Ringing(_) | Stage::Nobody { .. } => {
                self.emit_room(cx, RoomEvent::ConferenceInvitationRequestCancelled { id: id.to_owned() }, None);
                self.end_visit(cx, &Failure::InviteWithdrawn.into());
            }
            Stage::Talking(_) => {}
        }
        true
    }

    /// Invites more people into the room of our own call.
    pub(super) fn invite_more(&mut self, cx: &mut Cx<'_>, invitees: Vec<Invitee>) -> Option<u32> {
        let now = cx.now;
        let outgoing = self.outgoing.as_mut()?;
        match &mut outgoing.stage {
            Stage::Making { plan, .. } => plan.targets.extend(invitees),
            Stage::Ringing(hunt) | Stage::Talking(hunt) => hunt.add(now, invitees, self.config.calls.plain.total),
            Stage::Nobody { .. } => return None,
        }
        Some(outgoing.number)
    }

    /// Whether our call would have more than [`MAX_TARGETS`] people with these.
    pub(super) fn are_too_many(&self, users: &[String]) -> bool {
        let called: Vec<&str> = match self.outgoing.as_ref().map(|outgoing| &outgoing.stage) {
            Some(Stage::Making { plan, .. }) => plan.targets.iter().map(|target| target.user.as_str()).collect(),
            Some(Stage::Ringing(hunt) | Stage::Talking(hunt)) => hunt.users().collect(),
            Some(Stage::Nobody { .. }) | None => Vec::new(),
        };
        let all: BTreeSet<&str> = called.into_iter().chain(users.iter().map(String::as_str)).collect();
        all.len() > MAX_TARGETS
    }

    /// Invites somebody, who has asked for it, into the room we are in. False: we are in none.
    pub(super) fn invite_here(&mut self, cx: &mut Cx<'_>, user: &str, request_id: &str) -> bool {
        let in_room = self.visit.as_ref().is_some_and(|visit| visit.up().is_some() && visit.room.id.is_some());
        let (id, context) = (self.rng.request_id(), self.config.calls.plain.context.clone());
        let words = Words { request_id: Some(request_id), context: &context };
        in_room && self.send_invite(cx, &id, user, words, self.ring_patience()).is_some()
    }

    /// How long somebody is waited for who is asked on the spot.
    pub(super) fn ring_patience(&self) -> Span {
        self.config.calls.plain.ring + self.config.calls.answer_travel
    }

    /// The next step of our call, if there is one; after everything that happens.
    pub(super) fn advance_call(&mut self, cx: &mut Cx<'_>) {
        let Some(outgoing) = &mut self.outgoing else { return };
        let up = self.visit.as_ref().is_some_and(|visit| visit.up().is_some());
        if let Stage::Making { plan, .. } = &outgoing.stage
            && up
        {
            let plan = plan.clone();
            let rings = !plan.targets.is_empty();
            let hunt = Hunt::new(cx.now, plan);
            outgoing.stage = if rings { Stage::Ringing(hunt) } else { Stage::Talking(hunt) };
            if rings {
                self.tone(cx, Tone::Ringback);
            }
        }
        let request_id = self.outgoing.as_ref().and_then(|outgoing| outgoing.request_id.clone());
        while self.session.is_registered()
            && let Some(Outgoing { stage: Stage::Ringing(hunt) | Stage::Talking(hunt), .. }) = &self.outgoing
            && let Some((user, ring, id)) = hunt.next()
        {
            let (user, id) = (user.to_owned(), id.map_or_else(|| self.rng.request_id(), str::to_owned));
            let (patience, context) = (ring + self.config.calls.answer_travel, hunt.next_context().to_vec());
            let words = Words { request_id: request_id.as_deref(), context: &context };
            let Some(ticket) = self.send_invite(cx, &id, &user, words, patience) else { break };
            if let Some(Outgoing { stage: Stage::Ringing(hunt) | Stage::Talking(hunt), .. }) = &mut self.outgoing {
                hunt.invited(cx.now, ticket, id);
            }
            self.tell_call(cx, CallStep::Ringing { user }, None);
        }
        self.tell_invitations(cx);
        if let Some(Outgoing { stage: Stage::Ringing(hunt), .. }) = &self.outgoing
            && hunt.is_over()
        {
            let outcome = hunt.outcome();
            self.nobody(cx, outcome);
        }
    }

    fn nobody(&mut self, cx: &mut Cx<'_>, outcome: Outcome) {
        self.media(cx, Command::ToneStop);
        self.tone(cx, Tone::Busy);
        self.tell_call(cx, CallStep::Nobody { outcome }, Some(Failure::NobodyAnswered.into()));
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.stage = Stage::Nobody { until: cx.now + self.config.calls.busy_tone };
        }
    }

    /// Our call, which somebody has answered, waits on hold: who rings besides is told that nobody wants them now.
    pub(super) fn ring_nobody(&mut self, cx: &mut Cx<'_>) {
        if let Some(Outgoing { stage: Stage::Talking(hunt), .. }) = &mut self.outgoing {
            let ringing = hunt.withdraw();
            self.withdraw_invites(cx, ringing);
            self.tell_invitations(cx);
        }
    }

    /// A call of ours that waited on hold is over.
    pub(super) fn tell_parked_call_over(&mut self, cx: &mut Cx<'_>, outgoing: Outgoing, room: RoomRef, cause: &Cause) {
        let kind = Kind::Call { call: outgoing.number, name: outgoing.name, step: CallStep::Ended };
        self.emit_about(cx, kind, Some(room), Some(cause.clone()));
    }

    /// The visit of our call ends: who still rings is told, and the room goes.
    pub(super) fn end_call(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        let ringing = match self.outgoing.as_mut().map(|outgoing| &mut outgoing.stage) {
            Some(Stage::Making { .. } | Stage::Nobody { .. }) | None => Vec::new(),
            Some(Stage::Ringing(hunt)) => {
                let ringing = hunt.withdraw();
                self.media(cx, Command::ToneStop);
                ringing
            }
            Some(Stage::Talking(hunt)) => hunt.withdraw(),
        };
        self.withdraw_invites(cx, ringing);
        self.tell_invitations(cx);
        let Some(outgoing) = self.outgoing.take() else { return };
        let kind = Kind::Call { call: outgoing.number, name: outgoing.name, step: CallStep::Ended };
        self.emit(cx, kind, Some(cause.clone()));
    }

    /// The same for a call that was lent to others, and that we do not come back to.
    pub(super) fn end_lent_call(&mut self, cx: &mut Cx<'_>, mut call: Outgoing, room: RoomRef, cause: &Cause) {
        if let Stage::Talking(hunt) = &mut call.stage {
            let ringing = hunt.withdraw();
            self.withdraw_invites(cx, ringing);
        }
        self.tell_parked_call_over(cx, call, room, cause);
    }

    // --- what the QSS says -----------------------------------------------------------------------------------------

    /// The reply to an invite of ours.
    pub(super) fn on_invite_reply(&mut self, cx: &mut Cx<'_>, ticket: Ticket, reply: &Reply) {
        let Some(outgoing) = &mut self.outgoing else { return };
        let (Stage::Ringing(hunt) | Stage::Talking(hunt)) = &mut outgoing.stage else { return };
        match hunt.replied(ticket, reply, &self.config.qss.codes) {
            Turn::Nothing | Turn::Again => {}
            Turn::Over { user, outcome } => self.tell_call(cx, CallStep::Refused { user, outcome }, None),
            Turn::Answered { user, who } => self.on_answered(cx, user, who),
        }
    }

    /// The first who answers gets the call; who was invited into a running one joins it.
    fn on_answered(&mut self, cx: &mut Cx<'_>, user: String, who: String) {
        let Some(outgoing) = &mut self.outgoing else { return };
        if let Stage::Ringing(hunt) = &mut outgoing.stage {
            let ringing = hunt.withdraw();
            if let Stage::Ringing(hunt) = std::mem::replace(&mut outgoing.stage, Stage::Nobody { until: cx.now }) {
                outgoing.stage = Stage::Talking(hunt);
            }
            self.media(cx, Command::ToneStop);
            self.withdraw_invites(cx, ringing);
        }
        if let Some(outgoing) = &mut self.outgoing
            && outgoing.others.is_empty()
        {
            outgoing.company = Company::missed(cx.now, self.config.calls.alone);
        }
        self.tell_call(cx, CallStep::Answered { user, who }, None);
    }

    /// Who is in the room. Our call is over when the last of the others has left.
    pub(super) fn on_roster(&mut self, cx: &mut Cx<'_>, roster: &Roster, news: News) {
        let here = self.visit.as_ref().and_then(|visit| visit.room.id.as_deref());
        if roster.room.is_some() && roster.room.as_deref() != here {
            return;
        }
        let others: Vec<_> = roster.told.iter().filter(|presence| !self.is_us(&presence.user)).collect();
        let Some(outgoing) = &mut self.outgoing else { return };
        let deserted = outgoing.note(&others, news);
        self.greet(cx);
        if deserted && self.outgoing.as_ref().is_some_and(Outgoing::is_answered) {
            self.end_visit(cx, &Failure::OthersGone.into());
        }
    }

    /// The list in the room's description: after a reconnect, or because it was asked for. Right after a restart of the
    /// QSS it may be too early for the others, so that nobody in it ends the call only if it stays so.
    pub(super) fn on_company(&mut self, cx: &mut Cx<'_>, others: &[&Presence]) {
        let Some(outgoing) = &mut self.outgoing else { return };
        let before = std::mem::take(&mut outgoing.others);
        outgoing.others.extend(others.iter().take(MAX_OTHERS).map(|presence| presence.user.clone()));
        self.greet(cx);
        let Some(outgoing) = &mut self.outgoing else { return };
        let alone = outgoing.others.is_empty() && matches!(outgoing.stage, Stage::Talking(_));
        match outgoing.company {
            _ if !outgoing.others.is_empty() => outgoing.company = Company::Enough,
            Company::Asked { .. } if alone => self.end_visit(cx, &Failure::OthersGone.into()),
            Company::Enough if alone && !before.is_empty() => {
                outgoing.company = Company::missed(cx.now, self.config.calls.alone);
            }
            Company::Enough | Company::Missed { .. } | Company::Asked { .. } => {}
        }
    }

    /// Who is invited and is in the room has come, whether or not their answer has.
    fn greet(&mut self, cx: &mut Cx<'_>) {
        let Some(outgoing) = &mut self.outgoing else { return };
        let (Stage::Ringing(hunt) | Stage::Talking(hunt)) = &mut outgoing.stage else { return };
        for user in hunt.came(&outgoing.others) {
            self.on_answered(cx, user.clone(), user);
        }
    }

    // --- time ------------------------------------------------------------------------------------------------------

    pub(super) fn call_timeout(&self) -> Option<Wakeup> {
        let outgoing = self.outgoing.as_ref()?;
        let stage = match &outgoing.stage {
            Stage::Making { until, .. } => Some(Wakeup::new(*until, "no room for the call")),
            Stage::Ringing(hunt) | Stage::Talking(hunt) => hunt.poll_timeout(),
            Stage::Nobody { until } => Some(Wakeup::new(*until, "busy tone")),
        };
        let company = match outgoing.company {
            Company::Enough => None,
            Company::Missed { ask_at: at } | Company::Asked { again_at: at } => Some(Wakeup::new(at, "nobody there")),
        };
        soonest(soonest(stage, company), outgoing.end())
    }

    pub(super) fn on_call_timeout(&mut self, cx: &mut Cx<'_>) {
        let Some(outgoing) = &mut self.outgoing else { return };
        if outgoing.ends_at.is_some_and(|at| at <= cx.now) {
            return self.end_visit(cx, &Failure::CallTooLong.into());
        }
        match outgoing.company {
            Company::Missed { ask_at: at } | Company::Asked { again_at: at } if at <= cx.now => {
                outgoing.company = Company::Asked { again_at: cx.now + self.config.calls.alone };
                self.inquire(cx);
            }
            Company::Enough | Company::Missed { .. } | Company::Asked { .. } => {}
        }
        let Some(outgoing) = &mut self.outgoing else { return };
        match &mut outgoing.stage {
            Stage::Making { until, .. } if *until <= cx.now => {
                let cause = Cause::new(Failure::NobodyAnswered, "the room was not reached in time");
                self.end_visit(cx, &cause);
            }
            Stage::Nobody { until } if *until <= cx.now => self.end_visit(cx, &Failure::NobodyAnswered.into()),
            Stage::Making { .. } | Stage::Nobody { .. } => {}
            Stage::Ringing(hunt) | Stage::Talking(hunt) => {
                let ended = hunt.handle_timeout(cx.now);
                for (user, _) in &ended {
                    let step = CallStep::Refused { user: user.clone(), outcome: Outcome::NoAnswer };
                    self.tell_call(cx, step, None);
                }
                self.withdraw_invites(cx, ended);
            }
        }
    }

    // --- helpers -----------------------------------------------------------------------------------------------------

    pub(super) fn send_invite(
        &mut self,
        cx: &mut Cx<'_>,
        id: &str,
        to: &str,
        words: Words<'_>,
        patience: Span,
    ) -> Option<Ticket> {
        let room = self.visit.as_ref()?.room.id.as_deref()?;
        let offer = InviteOffer {
            from: &self.config.qss.username,
            to,
            room,
            media: MediaTypes::default(),
            request_id: words.request_id,
            context: words.context,
        };
        let request = message::send_invite(&self.config.qss.names, &offer)?;
        self.with_session(cx, |session, now, out| {
            session.request_patiently(now, id, &request.name, request.payload, patience, out)
        })
    }

    /// `invites.withdraw_code` to those who were invited and do not ring any more.
    pub(super) fn withdraw_invites(&mut self, cx: &mut Cx<'_>, ended: Vec<(String, Option<String>)>) {
        let (name, us) = (self.config.qss.names.send_invite.clone(), self.config.qss.username.clone());
        let code = self.config.invites.withdraw_code;
        for (user, id) in ended {
            if let Some(id) = id {
                let payload = message::withdraw_payload(&self.config.qss.names, &us, &user, code);
                self.with_session(cx, |session, now, out| session.withdraw_id(now, &id, &name, code, payload, out));
            }
        }
    }

    /// Tells how the invitations stand, if they stand otherwise than was told.
    fn tell_invitations(&mut self, cx: &mut Cx<'_>) {
        let Some(outgoing) = &mut self.outgoing else { return };
        let (Stage::Ringing(hunt) | Stage::Talking(hunt)) = &outgoing.stage else { return };
        let invitations = hunt.invitations();
        if invitations != outgoing.invitations {
            let old = std::mem::replace(&mut outgoing.invitations, invitations.clone());
            self.emit_room(cx, RoomEvent::OutgoingInvitations { invitations, old }, None);
        }
    }

    fn tell_call(&mut self, cx: &mut Cx<'_>, step: CallStep, cause: Option<Cause>) {
        if let Some(outgoing) = &self.outgoing {
            let kind = Kind::Call { call: outgoing.number, name: outgoing.name.clone(), step };
            self.emit(cx, kind, cause);
        }
    }
}

impl Outgoing {
    /// Somebody has come.
    pub(super) fn is_answered(&self) -> bool {
        match self.stage {
            Stage::Talking(_) => true,
            Stage::Making { .. } | Stage::Ringing(_) | Stage::Nobody { .. } => false,
        }
    }

    /// Whoever is in it.
    pub(super) fn end(&self) -> Option<Wakeup> {
        self.ends_at.map(|at| Wakeup::new(at, "longest call"))
    }

    /// It goes on after a wait on hold.
    pub(super) fn resume(&mut self, now: Time, alone: Span) {
        self.company = match self.company {
            Company::Enough => Company::Enough,
            Company::Missed { .. } | Company::Asked { .. } => Company::missed(now, alone),
        };
    }

    /// Who is there while it waits, told after a lost session. If nobody is, it may be too early for the others: their time
    /// counts from when it goes on.
    pub(super) fn relist(&mut self, now: Time, others: &[&Presence], alone: Span) {
        if self.note(others, News::Everybody) {
            self.company = Company::missed(now, alone);
        }
    }

    /// Takes in who is there; whether somebody has left, and nobody is there now.
    pub(super) fn note(&mut self, others: &[&Presence], news: News) -> bool {
        let mut left = match news {
            News::Change => false,
            News::Everybody => !std::mem::take(&mut self.others).is_empty(),
        };
        for presence in others {
            match presence.status {
                ParticipantStatus::Gone => {
                    self.others.remove(&presence.user);
                    left = true;
                }
                ParticipantStatus::InCall | ParticipantStatus::Hold if self.others.len() < MAX_OTHERS => {
                    self.others.insert(presence.user.clone());
                }
                ParticipantStatus::InCall | ParticipantStatus::Hold => {}
            }
        }
        if !self.others.is_empty() {
            self.company = Company::Enough;
        }
        left && self.others.is_empty()
    }
}

impl Company {
    fn missed(now: Time, alone: Span) -> Company {
        match alone {
            Span::ZERO => Company::Enough,
            alone => Company::Missed { ask_at: now + alone },
        }
    }
}
