//! Which room to be in.
//!
//! The configured rooms are wanted in their order. At the start a room without QSS gives those before it a moment, until
//! the first attempt at a session is decided ([`Outlook`]). Later a visit to a less wanted room ends when a more wanted
//! one has been possible for a while ([`Rooms::better`]); the while doubles with each failure of that room, so that a
//! working conference is not left again and again for one that never answers.

use super::pace::{Manners, Pace};
use super::visit::{Hold, Leg, Membership, Origin, Reports, Visit};
use super::{Agent, Cx};
use crate::config::{Config, Qss, Rejoin, Room, RoomTarget};
use crate::qss::backoff::Backoff;
use crate::qss::message;
use crate::qss::requests::Ticket;
use crate::status::Rung;
use crate::status::failure::Failure;
use crate::time::{Span, Time, Wakeup, soonest};

/// A session that flaps moves nobody: how long a more wanted room must have been possible doubles with each failure of
/// it, at most so often.
const MAX_DOUBLINGS: u32 = 9;

/// The configured rooms, most wanted first, and what keeps each from being visited.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) entries: Vec<Entry>,
    outlook: Outlook,
    /// A more wanted room than the visited one is possible: it is turned to at this time, if it still is then.
    better: Option<(usize, Time)>,
    /// The room that somebody said `join` to: while it is visited none is wanted more.
    asked_for: Option<usize>,
    first_session: Span,
    better_after: Span,
}

/// What is known of the session at the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outlook {
    /// The first attempt is under way; rooms that need no QSS wait for its outcome, at most until then.
    Undecided(Time),
    Decided,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) config: Room,
    /// A room made for [`RoomTarget::Create`]: joined again, not made again.
    pub(super) created: Option<String>,
    pub(super) pause: Pause,
    pub(super) backoff: Backoff,
    /// Its meeting does not begin before then.
    pub(super) not_before: Option<Time>,
    /// Of the visits to this room, kept from one to the next.
    pub(super) hold: Hold,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pause {
    Ready,
    Until(Time),
    /// Until somebody says `join`, or the process starts again: we were sent away, or our password is wrong.
    Barred,
}

impl Rooms {
    pub(super) fn new(config: &Config) -> Rooms {
        let entry = |room: &Room| Entry {
            config: room.clone(),
            created: None,
            pause: Pause::Ready,
            backoff: Backoff::new(config.sip.retry_min, config.sip.retry_max),
            not_before: None,
            hold: Hold::Off,
        };
        let entries = config.rooms.iter().map(entry).collect();
        Rooms {
            entries,
            outlook: Outlook::Decided,
            better: None,
            asked_for: None,
            first_session: config.qss.first_session,
            better_after: config.qss.better_room_after,
        }
    }

    /// A first session is being tried for.
    pub(super) fn start(&mut self, now: Time) {
        self.outlook = Outlook::Undecided(now + self.first_session);
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
            Origin::Configured(_)
            | Origin::Invited { .. }
            | Origin::Asked
            | Origin::Called
            | Origin::Made
            | Origin::Transferred { .. } => 0,
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
                (i, now + self.better_after.times(1 << doublings))
            }
        });
        self.better.take_if(|(_, at)| *at <= now).map(|(i, _)| i)
    }

    /// Somebody said `join`: room `i` is what is wanted now.
    pub(super) fn ask_for(&mut self, i: usize) {
        self.asked_for = Some(i);
    }

    /// How soon room `i` is tried again. One that we had made can be made anew when it is gone.
    pub(super) fn pace(&mut self, i: usize, failure: Failure, qss: &Qss) -> Pace {
        let gone = matches!(failure, Failure::RoomDestroyed | Failure::RoomNotFound);
        match self.entries.get_mut(i) {
            Some(entry) if gone && matches!(entry.config.target, RoomTarget::Create { .. }) => {
                entry.created = None;
                Pace::Normal
            }
            Some(entry) => Pace::after(failure, Manners::of(qss, entry.config.rejoin)),
            None => Pace::after(failure, Manners::of(qss, Rejoin::default())),
        }
    }

    /// Dialled without the QSS.
    pub(super) fn is_direct(&self, i: usize) -> bool {
        match self.entries[i].config.target {
            RoomTarget::SipUri(_) => true,
            RoomTarget::Id(_)
            | RoomTarget::Create { .. }
            | RoomTarget::Meeting { .. }
            | RoomTarget::QuickConference(_) => false,
        }
    }

    /// Joined with a password.
    pub(super) fn is_meeting(&self, i: usize) -> bool {
        self.entries.get(i).is_some_and(|entry| matches!(entry.config.target, RoomTarget::Meeting { .. }))
    }

    /// Lifts every pause and bar of the room called `name`.
    pub(super) fn admit_again(&mut self, name: &str) -> Option<usize> {
        let is_called = |e: &Entry| {
            e.config.name == name
                || match &e.config.target {
                    RoomTarget::Id(id) | RoomTarget::Meeting { id, .. } => id == name,
                    RoomTarget::SipUri(uri) | RoomTarget::QuickConference(uri) => uri == name,
                    RoomTarget::Create { .. } => false,
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
                if self.go_on(cx) {
                    // The call goes on that waits on hold, or was left for a more important one.
                } else if let Some(i) = self.rooms.first_ready(registered) {
                    self.rooms.asked_for = None;
                    self.visit_configured(cx, i);
                }
            }
        }
        let dials = self
            .visit
            .as_ref()
            .is_some_and(|visit| matches!(visit.leg, Leg::Due) && !matches!(visit.membership, Membership::Asked(_)));
        match (dials && !self.sip.wants_keys(), self.voice.ports) {
            (true, Some(ports)) => self.dial(cx, ports),
            (true, None) => self.reporter.explain(Rung::Call, &Failure::MediaNotReady.into()),
            (false, _) => {}
        }
    }

    /// Another configured room could be visited instead of the present one.
    pub(super) fn has_another_room(&self) -> bool {
        let here = match self.visit.as_ref().map(|v| &v.origin) {
            Some(Origin::Configured(i)) => Some(*i),
            Some(
                Origin::Invited { .. } | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred { .. },
            )
            | None => None,
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
            RoomTarget::Create { .. } => room.id = entry.created.clone(),
            // The answer says what the room is called.
            RoomTarget::Meeting { .. } | RoomTarget::QuickConference(_) => {}
        }
        self.begin_visit(cx, name, Origin::Configured(i), room);
    }

    /// Turns to a room. One that has a SIP URI needs nothing else; any other is asked for.
    pub(super) fn begin_visit(&mut self, cx: &mut Cx<'_>, name: String, origin: Origin, room: message::Room) {
        // One that waits in this room is this one.
        if let Some(i) = self.parked_in(&room) {
            self.end_parked(cx, i, &Failure::Replaced.into());
        }
        let membership = match (&origin, &room.sip_uri) {
            (Origin::Configured(_) | Origin::Asked | Origin::Made, Some(_)) => Some(Membership::Direct),
            (Origin::Called, _) => Some(Membership::Direct),
            (Origin::Invited { .. } | Origin::Transferred { .. }, Some(_)) => Some(Membership::Admitted),
            (_, None) => self.ask_for(cx, &origin, room.id.as_deref()).map(Membership::Asked),
        };
        // A room that keeps failing is not dialled faster because another one failed in between.
        let (redial, hold) = match &origin {
            Origin::Configured(i) => (self.rooms.entries[*i].backoff.clone(), self.rooms.entries[*i].hold),
            Origin::Invited { .. } | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred { .. } => {
                (Backoff::new(self.config.sip.retry_min, self.config.sip.retry_max), Hold::Off)
            }
        };
        let visit = Visit {
            name,
            origin,
            room,
            membership: Membership::Direct,
            leg: Leg::Due,
            redial,
            hold,
            believed_muted: Some(false),
            believed_hold: Some(Hold::Off),
            reports: Reports::default(),
            doubted: None,
            leave_cause: 200,
            inquiry: None,
        };
        match membership {
            Some(membership) => self.visit = Some(Visit { membership, ..visit }),
            // No session, no join message configured, or too many requests: this room is not to be had now.
            None => {
                self.visit = Some(visit);
                self.fail_visit(cx, &Failure::RoomWithoutSipUri.into());
            }
        }
    }

    /// Asks for the room of a visit: a meeting or quick conference as it is configured, any other by its id.
    pub(super) fn ask_for(&mut self, cx: &mut Cx<'_>, origin: &Origin, id: Option<&str>) -> Option<Ticket> {
        let names = &self.config.qss.names;
        let target = match origin {
            Origin::Configured(i) => self.rooms.entries.get(*i).map(|entry| &entry.config.target),
            Origin::Invited { .. } | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred { .. } => None,
        };
        let request = match target {
            Some(RoomTarget::Meeting { id, password }) => message::join_meeting(names, id, password),
            Some(RoomTarget::QuickConference(uri)) => message::join_quick_conference(names, uri),
            Some(RoomTarget::Create { record }) if id.is_none() => {
                let record = *record;
                return self.ask_for_new_room(cx, record);
            }
            Some(RoomTarget::Id(_) | RoomTarget::SipUri(_) | RoomTarget::Create { .. }) | None => {
                return self.ask(cx, id);
            }
        }?;
        self.with_session(cx, |session, now, out| session.request(now, &request.name, request.payload, out))
    }

    /// Sends joinRoom, or createRoom for a room that has no id yet.
    pub(super) fn ask(&mut self, cx: &mut Cx<'_>, id: Option<&str>) -> Option<Ticket> {
        let Some(id) = id else { return self.ask_for_new_room(cx, false) };
        let request = message::join_room(&self.config.qss.names, id)?;
        self.with_session(cx, |session, now, out| session.request(now, &request.name, request.payload, out))
    }
}
