//! Which room to be in, and what the QSS has to do with it: join, leave, rejoin.
//!
//! The configured rooms are wanted in their order. At the start a room without QSS gives those before it a moment, until
//! the first attempt at a session is decided ([`Outlook`]). Later a visit to a less wanted room ends when a more wanted
//! one has been possible for a while ([`Rooms::better`]); the while doubles with each failure of that room, so that a
//! working conference is not left again and again for one that never answers.

use super::visit::{Leg, Membership, Origin, Proof, Visit};
use super::{Agent, Cx, Phase};
use crate::config::{Config, Room, RoomTarget};
use crate::qss::backoff::Backoff;
use crate::qss::message::{self, Body};
use crate::qss::names::{self, Meaning};
use crate::qss::requests::Ticket;
use crate::qss::session::Reply;
use crate::status::Rung;
use crate::status::event::{Attempt, Kind, MutedBy};
use crate::status::failure::{Cause, Failure};
use crate::time::{Span, Time, Wakeup, soonest};
use serde_json::{Value, json};

/// How long a room without QSS waits at the start for the first session, which may make a more wanted one possible.
const FIRST_SESSION: Span = Span::from_secs(3);

/// How long a more wanted room must have been possible before a less wanted one is left for it: a session that flaps
/// moves nobody. It doubles with each failure of the more wanted room, at most so often.
const BETTER_AFTER: Span = Span::from_secs(10);
const MAX_DOUBLINGS: u32 = 9;

/// The configured rooms, most wanted first, and what keeps each from being visited.
#[derive(Debug)]
pub(super) struct Rooms {
    entries: Vec<Entry>,
    outlook: Outlook,
    /// A more wanted room than the visited one is possible: it is turned to at this time, if it still is then.
    better: Option<(usize, Time)>,
    /// The room that somebody said `join` to: while it is visited none is wanted more.
    asked_for: Option<usize>,
}

/// What is known of the session at the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outlook {
    /// The first attempt is under way; rooms that need no QSS wait for its outcome, at most until then.
    Undecided(Time),
    Decided,
}

#[derive(Debug)]
struct Entry {
    config: Room,
    /// A room made for [`RoomTarget::Create`]: joined again, not made again.
    created: Option<String>,
    pause: Pause,
    backoff: Backoff,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pause {
    Ready,
    Until(Time),
    /// Until somebody says `join`, or the process starts again: we were sent away, or our password is wrong.
    Barred,
}

/// How soon a room that failed is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    /// Back-off from `retry_min`.
    Normal,
    /// A refusal that will hardly change soon.
    Slow,
    Never,
}

impl Pace {
    fn after(failure: Failure) -> Pace {
        match failure {
            // A password that was refused is refused again, and servers lock out who insists.
            Failure::RoomExpelled | Failure::RoomDestroyed | Failure::HungUp | Failure::SipAuthFailed => Pace::Never,
            Failure::RoomForbidden | Failure::RoomNotFound | Failure::RoomWithoutSipUri | Failure::SipBadUri => {
                Pace::Slow
            }
            Failure::QssNotConfigured
            | Failure::DnsFailed
            | Failure::ConnectionRefused
            | Failure::HostUnreachable
            | Failure::ConnectTimedOut
            | Failure::TlsUnknownIssuer
            | Failure::TlsWrongName
            | Failure::TlsClock
            | Failure::TlsFailed
            | Failure::HttpStatus(_)
            | Failure::QssProtocolError
            | Failure::QssClosed(_)
            | Failure::QssSilent
            | Failure::QssUnauthorized(_)
            | Failure::RegisterRefused(_)
            | Failure::RegisterTimedOut
            | Failure::RoomRefused(_)
            | Failure::RoomTimedOut
            | Failure::QssLostTooLong
            | Failure::InviteDeclined(_)
            | Failure::InviteBusy(_)
            | Failure::InviteWithdrawn
            | Failure::InviteUnusable
            | Failure::SipUnknownHost
            | Failure::SipUnreachable
            | Failure::SipTimeout
            | Failure::SipNoAnswer
            | Failure::SipNoCommonMedia
            | Failure::SipForbidden
            | Failure::SipNotFound
            | Failure::SipBusy(_)
            | Failure::SipRefused(_)
            | Failure::SipRefusedByBye
            | Failure::SipCallGone
            | Failure::SipRemoteBye
            | Failure::MediaNotReady
            | Failure::NoMedia
            | Failure::MediaSilent
            | Failure::NotSending
            | Failure::NotPlaying
            | Failure::CardAbsent
            | Failure::CardBusy
            | Failure::CardForbidden
            | Failure::CardUnsuitable
            | Failure::CardStalled
            | Failure::CardError(_)
            | Failure::Replaced
            | Failure::MoreWanted
            | Failure::OnHold
            | Failure::Stopping => Pace::Normal,
        }
    }
}

impl Rooms {
    pub(super) fn new(config: &Config) -> Rooms {
        let entry = |room: &Room| Entry {
            config: room.clone(),
            created: None,
            pause: Pause::Ready,
            backoff: Backoff::new(config.sip.retry_min, config.sip.retry_max),
        };
        let entries = config.rooms.iter().map(entry).collect();
        Rooms { entries, outlook: Outlook::Decided, better: None, asked_for: None }
    }

    /// A first session is being tried for.
    pub(super) fn start(&mut self, now: Time) {
        self.outlook = Outlook::Undecided(now + FIRST_SESSION);
    }

    /// The first attempt at a session has succeeded or failed.
    pub(super) fn session_decided(&mut self) {
        self.outlook = Outlook::Decided;
    }

    /// The pause of a room matters while it is wanted more than the visited one.
    pub(super) fn poll_timeout(&self, visit: Option<&Visit>) -> Option<Wakeup> {
        let wanted = visit.map_or(self.entries.len(), |visit| self.wanted_more(visit));
        let ends = self.entries[..wanted].iter().filter_map(|e| match e.pause {
            Pause::Until(at) => Some(Wakeup::new(at, "room pause")),
            Pause::Ready | Pause::Barred => None,
        });
        let outlook = match self.outlook {
            Outlook::Undecided(until) if visit.is_none() => Some(Wakeup::new(until, "first session")),
            Outlook::Undecided(_) | Outlook::Decided => None,
        };
        let better = self.better.map(|(_, at)| Wakeup::new(at, "a more wanted room"));
        soonest(soonest(ends.min_by_key(|w| w.at), outlook), better)
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        if matches!(self.outlook, Outlook::Undecided(until) if until <= now) {
            self.outlook = Outlook::Decided;
        }
        for entry in &mut self.entries {
            if matches!(entry.pause, Pause::Until(at) if at <= now) {
                entry.pause = Pause::Ready;
            }
        }
    }

    /// The first room that may be visited now; a room by its id needs the session, and is waited for while the first
    /// session may come any moment.
    fn first_ready(&self, registered: bool) -> Option<usize> {
        let mut ready = (0..self.entries.len()).filter(|i| self.entries[*i].pause == Pause::Ready);
        match self.outlook {
            Outlook::Undecided(_) => ready.next().filter(|i| registered || self.is_direct(*i)),
            Outlook::Decided => ready.find(|i| registered || self.is_direct(*i)),
        }
    }

    /// How many rooms, from the first, are wanted more than the visited one. Who was invited or asked for stays.
    fn wanted_more(&self, visit: &Visit) -> usize {
        match visit.origin {
            Origin::Configured(i) if self.asked_for != Some(i) => i.min(self.entries.len()),
            Origin::Configured(_) | Origin::Invited { .. } | Origin::Asked => 0,
        }
    }

    /// The more wanted room that has been possible for long enough.
    fn better_than(&mut self, visit: &Visit, registered: bool, now: Time) -> Option<usize> {
        let wanted = self.wanted_more(visit);
        let possible = |i: &usize| self.entries[*i].pause == Pause::Ready && (registered || self.is_direct(*i));
        self.better = (0..wanted).find(possible).map(|i| match self.better {
            Some((known, at)) if known == i => (i, at),
            Some(_) | None => {
                let doublings = self.entries[i].backoff.attempts().min(MAX_DOUBLINGS);
                (i, now + BETTER_AFTER.times(1 << doublings))
            }
        });
        self.better.take_if(|(_, at)| *at <= now).map(|(i, _)| i)
    }

    /// Somebody said `join`: room `i` is what is wanted now.
    pub(super) fn ask_for(&mut self, i: usize) {
        self.asked_for = Some(i);
    }

    /// How soon room `i` is tried again. One that we had made can be made anew when it is gone.
    fn pace(&mut self, i: usize, failure: Failure) -> Pace {
        let gone = matches!(failure, Failure::RoomDestroyed | Failure::RoomNotFound);
        match self.entries.get_mut(i) {
            Some(entry) if gone && entry.config.target == RoomTarget::Create => {
                entry.created = None;
                Pace::Normal
            }
            Some(_) | None => Pace::after(failure),
        }
    }

    /// Dialled without the QSS.
    pub(super) fn is_direct(&self, i: usize) -> bool {
        match self.entries[i].config.target {
            RoomTarget::SipUri(_) => true,
            RoomTarget::Id(_) | RoomTarget::Create => false,
        }
    }

    /// Lifts every pause and bar of the room called `name`.
    pub(super) fn admit_again(&mut self, name: &str) -> Option<usize> {
        let is_called = |e: &Entry| {
            e.config.name == name
                || match &e.config.target {
                    RoomTarget::Id(id) => id == name,
                    RoomTarget::SipUri(uri) => uri == name,
                    RoomTarget::Create => false,
                }
        };
        let i = self.entries.iter().position(is_called)?;
        self.entries[i].pause = Pause::Ready;
        self.entries[i].backoff.reset();
        Some(i)
    }
}

impl Agent {
    /// The next step of the visit, or a new one.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) {
        let registered = self.session.is_registered();
        match &self.visit {
            Some(visit) => {
                if let Some(i) = self.rooms.better_than(visit, registered, cx.now) {
                    self.end_visit(cx, &Failure::MoreWanted.into());
                    self.visit_configured(cx, i);
                }
            }
            None => {
                self.rooms.better = None;
                if let Some(i) = self.rooms.first_ready(registered) {
                    self.rooms.asked_for = None;
                    self.visit_configured(cx, i);
                }
            }
        }
        let dials = self
            .visit
            .as_ref()
            .is_some_and(|visit| matches!(visit.leg, Leg::Due) && !matches!(visit.membership, Membership::Asked(_)));
        match (dials, self.voice.ports) {
            (true, Some(ports)) => self.dial(cx, ports),
            (true, None) => self.reporter.explain(Rung::Call, &Failure::MediaNotReady.into()),
            (false, _) => {}
        }
    }

    /// Another configured room could be visited instead of the present one.
    pub(super) fn has_another_room(&self) -> bool {
        let here = match self.visit.as_ref().map(|v| &v.origin) {
            Some(Origin::Configured(i)) => Some(*i),
            Some(Origin::Invited { .. } | Origin::Asked) | None => None,
        };
        let (rooms, registered) = (&self.rooms, self.session.is_registered());
        let ready = |i: usize| rooms.entries[i].pause == Pause::Ready && (registered || rooms.is_direct(i));
        (0..rooms.entries.len()).any(|i| Some(i) != here && ready(i))
    }

    pub(super) fn visit_configured(&mut self, cx: &mut Cx<'_>, i: usize) {
        let entry = &self.rooms.entries[i];
        let (name, mut room) = (entry.config.name.clone(), message::Room::default());
        match &entry.config.target {
            RoomTarget::SipUri(uri) => room.sip_uri = Some(uri.clone()),
            RoomTarget::Id(id) => room.id = Some(id.clone()),
            RoomTarget::Create => room.id = entry.created.clone(),
        }
        self.begin_visit(cx, name, Origin::Configured(i), room);
    }

    /// Turns to a room. One that has a SIP URI needs nothing else; any other is asked for.
    pub(super) fn begin_visit(&mut self, cx: &mut Cx<'_>, name: String, origin: Origin, room: message::Room) {
        let membership = match (&origin, &room.sip_uri) {
            (Origin::Configured(_) | Origin::Asked, Some(_)) => Some(Membership::Direct),
            (Origin::Invited { .. }, Some(_)) => Some(Membership::Admitted),
            (_, None) => self.ask(cx, room.id.as_deref()).map(Membership::Asked),
        };
        // A room that keeps failing is not dialled faster because another one failed in between.
        let redial = match &origin {
            Origin::Configured(i) => self.rooms.entries[*i].backoff.clone(),
            Origin::Invited { .. } | Origin::Asked => {
                Backoff::new(self.config.sip.retry_min, self.config.sip.retry_max)
            }
        };
        let visit = Visit { name, origin, room, membership: Membership::Direct, leg: Leg::Due, redial, inquiry: None };
        match membership {
            Some(membership) => self.visit = Some(Visit { membership, ..visit }),
            // No session, no join message configured, or too many requests: this room is not to be had now.
            None => {
                self.visit = Some(visit);
                self.fail_visit(cx, &Failure::RoomWithoutSipUri.into());
            }
        }
    }

    /// Sends joinRoom, or createRoom for a room that has no id yet.
    fn ask(&mut self, cx: &mut Cx<'_>, id: Option<&str>) -> Option<Ticket> {
        let names = &self.config.qss.names;
        let (name, payload) = match id {
            Some(id) => (names.join_room.clone(), message::room_payload(&names.room_key, id)),
            None => (names.create_room.clone(), json!({})),
        };
        if name.is_empty() {
            return None;
        }
        self.with_session(cx, |session, now, out| session.request(now, &name, payload, out))
    }

    // --- the session ---------------------------------------------------------------------------------------------

    pub(super) fn on_registered(&mut self, cx: &mut Cx<'_>) {
        self.reporter.registered();
        self.rooms.session_decided();
        self.observe(cx, None);
        self.ask_again(cx);
        self.advance(cx);
        self.snapshot_soon(cx);
    }

    /// Proves an unproven membership.
    fn ask_again(&mut self, cx: &mut Cx<'_>) {
        let Some(Visit { membership: Membership::Unproven { until, .. }, room, .. }) = &self.visit else { return };
        let until = *until;
        let membership = match room.id.clone() {
            Some(id) if !self.config.qss.names.join_room.is_empty() => {
                let proof = match self.ask(cx, Some(&id)) {
                    Some(ticket) => Proof::Asked(ticket),
                    None if self.session.is_registered() => Proof::Again(cx.now + self.config.sip.retry_min),
                    None => Proof::NoSession,
                };
                Membership::Unproven { until, proof }
            }
            Some(_) | None => Membership::Admitted,
        };
        if let Some(visit) = &mut self.visit {
            visit.membership = membership;
        }
    }

    pub(super) fn on_session_lost(&mut self, cx: &mut Cx<'_>, cause: &Cause, was_registered: bool, retry_at: Time) {
        self.reporter.backlog.link_lost();
        self.rooms.session_decided();
        let grace_ends = cx.now + self.config.qss.call_grace;
        if let Some(visit) = &mut self.visit {
            match visit.membership {
                Membership::Direct => {}
                Membership::Admitted => {
                    visit.membership = Membership::Unproven { until: grace_ends, proof: Proof::NoSession }
                }
                Membership::Unproven { until, .. } => {
                    visit.membership = Membership::Unproven { until, proof: Proof::NoSession };
                }
                // Nothing has come of it yet; the room is chosen again with the next session.
                Membership::Asked(_) => self.end_visit(cx, cause),
            }
        }
        if was_registered {
            self.observe(cx, Some(cause));
        }
        self.attempt_failed(cx, Attempt::Session, cause, Some(retry_at));
    }

    // --- replies to join, create, leave --------------------------------------------------------------------------

    pub(super) fn on_reply(&mut self, cx: &mut Cx<'_>, ticket: Ticket, reply: Reply) {
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
            Reply::Refused { code, message } => self.on_room_refused(cx, code, message),
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
        let id = match origin {
            Origin::Configured(_) | Origin::Asked => room.id.clone(),
            // Invited is not admitted to join by itself.
            Origin::Invited { .. } => None,
        };
        if let Some(id) = id
            && let Some(ticket) = self.ask(cx, Some(&id))
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
            Reply::Refused { code: Some(code @ (403 | 404)), message } => {
                self.on_room_refused(cx, Some(code), message);
            }
            Reply::Refused { .. } | Reply::TimedOut | Reply::LinkLost => {}
        }
    }

    fn on_admitted(&mut self, cx: &mut Cx<'_>, described: Option<message::Room>) {
        let Some(visit) = &mut self.visit else { return };
        if let Some(described) = described {
            let known = std::mem::take(&mut visit.room);
            visit.room = message::Room {
                id: described.id.clone().or(known.id),
                sip_uri: described.sip_uri.clone().or(known.sip_uri),
                bitrate_kbps: described.bitrate_kbps.or(known.bitrate_kbps),
                ..described
            };
        }
        if let Origin::Configured(i) = visit.origin
            && let Some(entry) = self.rooms.entries.get_mut(i)
        {
            match entry.config.target {
                RoomTarget::Create => entry.created = visit.room.id.clone(),
                RoomTarget::Id(_) | RoomTarget::SipUri(_) => {}
            }
        }
        visit.membership = Membership::Admitted;
        self.reporter.succeeded(Attempt::Room);
        if visit.room.sip_uri.is_none() {
            return self.fail_visit(cx, &Failure::RoomWithoutSipUri.into());
        }
        self.follow_room(cx);
    }

    fn on_room_refused(&mut self, cx: &mut Cx<'_>, code: Option<u16>, message: String) {
        let failure = match code {
            Some(403) => Failure::RoomForbidden,
            Some(404) => Failure::RoomNotFound,
            // No such request at this QSS: media alone joins.
            Some(501) if self.visit.as_ref().is_some_and(|v| v.room.sip_uri.is_some()) => {
                return self.on_admitted(cx, None);
            }
            Some(code @ 500..) => {
                return self.on_room_undecided(cx, &Cause::new(Failure::RoomRefused(code.into()), message));
            }
            code => Failure::RoomRefused(code.map_or(0, i32::from)),
        };
        self.fail_visit(cx, &Cause::new(failure, message));
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
        let Some(visit) = self.visit.take() else { return };
        let out_already = matches!(cause.failure, Failure::RoomExpelled | Failure::RoomDestroyed);
        let leave_room = self.config.qss.names.leave_room.clone();
        if let (Membership::Admitted, Some(id), false, false) =
            (visit.membership, &visit.room.id, out_already, leave_room.is_empty())
        {
            let payload = message::room_payload(&self.config.qss.names.room_key, id);
            self.with_session(cx, |session, now, out| session.request(now, &leave_room, payload, out));
        }
        self.observe(cx, Some(cause));
    }

    /// The room cannot be had, or not kept: it pauses, and the next most wanted gets its turn.
    pub(super) fn fail_visit(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        let retry_at = match self.visit.as_ref().map(|v| (v.origin.clone(), v.redial.attempts())) {
            Some((Origin::Configured(i), redials)) => {
                let pace = self.rooms.pace(i, cause.failure);
                // What failed within the visit counts for the room, or two refusing rooms would be dialled in turns
                // as if each were new.
                if let Some(entry) = self.rooms.entries.get_mut(i) {
                    entry.backoff.at_least(redials);
                }
                self.pause(cx.now, i, pace)
            }
            Some((Origin::Invited { .. } | Origin::Asked, _)) | None => None,
        };
        self.attempt_failed(cx, Attempt::Room, cause, retry_at);
        self.end_visit(cx, cause);
        self.reporter.explain(Rung::Room, cause);
    }

    fn pause(&mut self, now: Time, i: usize, pace: Pace) -> Option<Time> {
        let rng = &mut self.rng;
        let entry = self.rooms.entries.get_mut(i)?;
        entry.pause = match pace {
            Pace::Normal => Pause::Until(entry.backoff.next_with_floor(now, rng)),
            Pace::Slow => Pause::Until(entry.backoff.slow(now, rng)),
            Pace::Never => Pause::Barred,
        };
        match entry.pause {
            Pause::Until(at) => Some(at),
            Pause::Ready | Pause::Barred => None,
        }
    }

    /// The call of this visit stood long: the next failure is a first one.
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

    // --- what the QSS tells about rooms ----------------------------------------------------------------------------

    pub(super) fn on_notice(&mut self, cx: &mut Cx<'_>, name: &str, body: &Body) {
        self.on_meaning(cx, names::of_event(name), body);
    }

    /// Events, and requests that mean the same.
    pub(super) fn on_meaning(&mut self, cx: &mut Cx<'_>, meaning: Meaning, body: &Body) {
        if self.phase != Phase::Running {
            return;
        }
        match meaning {
            Meaning::Expelled => self.sent_away(cx, body, Failure::RoomExpelled),
            Meaning::Destroyed => self.sent_away(cx, body, Failure::RoomDestroyed),
            Meaning::MuteRequest => self.on_mute_request(cx, body),
            // An event invites nobody: it could not be answered.
            Meaning::Invite => {}
            Meaning::Unknown => self.problem(cx, "qss_unknown_event"),
        }
    }

    /// An expulsion without a room, or from the one we are in, ends the visit; it is not tried again by itself.
    fn sent_away(&mut self, cx: &mut Cx<'_>, body: &Body, failure: Failure) {
        let fields = body.fields();
        let Some(visit) = &self.visit else { return };
        let ours = match (fields.room_id(), visit.room.id.as_deref()) {
            (Some(named), Some(id)) => named == id,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let about_us = fields.text("userId").is_none_or(|user| user == self.config.qss.username);
        if ours && (about_us || failure == Failure::RoomDestroyed) {
            self.fail_visit(cx, &failure.into());
        }
    }

    /// A remote mute is obeyed; a remote *unmute* is not: nobody opens a microphone from afar.
    fn on_mute_request(&mut self, cx: &mut Cx<'_>, body: &Body) {
        let fields = body.fields();
        let to_us = fields.text("to").is_none_or(|to| to == self.config.qss.username);
        if to_us && fields.get("muted").and_then(Value::as_bool) == Some(true) {
            self.set_muted(cx, true, MutedBy::Remote);
        }
    }

    pub(super) fn set_muted(&mut self, cx: &mut Cx<'_>, muted: bool, by: MutedBy) {
        if self.voice.muted == muted {
            return;
        }
        self.voice.muted = muted;
        self.media(cx, crate::media::command::Command::Mute(muted));
        self.emit(cx, Kind::Mute { muted, by }, None);
    }
}
