//! Who else is in the room, from what the QSS tells: a bounded list, and a bounded flow of events about it.
//!
//! A room may hold thousands, and all of them may come in one second. Kept are the first `status.participants`, the
//! others are a number. Told are single changes, the first `status.participant_changes` of each `status.participants_interval_ms`,
//! and the whole map: with the first change at once, after that at the end of each interval in which it changed. So the
//! map is never older than an interval, and no storm in the room becomes one in the log.

use super::outgoing::News;
use super::visit::{Membership, Proof, Visit};
use super::{Agent, Cx};
use crate::config::{Config, OwnGone};
use crate::qss::message::{self, Body, MuteChange, ParticipantStatus, Presence, Roster};
use crate::status::conference::{Participant, RoomEvent, State};
use crate::status::failure::Failure;
use crate::time::{Span, Time, Wakeup};
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Participants {
    known: BTreeMap<String, Known>,
    /// Those beyond the bound: as the last list had it, and about so many since.
    more: u64,
    /// The map as it was told last.
    told: BTreeMap<String, State>,
    told_more: u64,
    /// Who speaks, and who was told to.
    speaker: Option<String>,
    told_speaker: Option<String>,
    /// Runs while something was told a short time ago.
    interval: Option<Interval>,
    /// The QSS has named us as a participant: a list without us means that we are out.
    listed: bool,
    bound: usize,
    length: Span,
    singles: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    state: State,
    muted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    ends: Time,
    singles: u64,
    folded: u64,
}

impl Participants {
    pub(super) fn new(config: &Config) -> Participants {
        Participants {
            known: BTreeMap::new(),
            more: 0,
            told: BTreeMap::new(),
            told_more: 0,
            speaker: None,
            told_speaker: None,
            interval: None,
            listed: false,
            bound: config.status.participants,
            length: config.status.participants_interval,
            singles: config.status.participant_changes.into(),
        }
    }

    /// For a snapshot: those kept, and how many more there are.
    pub(super) fn list(&self) -> (Vec<Participant>, u64) {
        let one = |(user, known): (&String, &Known)| Participant {
            user_id: user.clone(),
            state: known.state,
            muted: known.muted,
        };
        (self.known.iter().map(one).collect(), self.more)
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        self.interval.map(|interval| Wakeup::new(interval.ends, "participants"))
    }

    /// Takes in one piece of news; what is to be told of it.
    fn set(&mut self, user: &str, status: ParticipantStatus) -> [Option<RoomEvent>; 2] {
        let user_id = || user.to_owned();
        let state = match status {
            ParticipantStatus::InCall => State::InCall,
            ParticipantStatus::Hold => State::Hold,
            ParticipantStatus::Gone => {
                let gone = self.known.remove(user).map(|_| RoomEvent::ParticipantRemoved { user_id: user_id() });
                if gone.is_none() {
                    self.more = self.more.saturating_sub(1);
                }
                return [gone, None];
            }
        };
        if let Some(known) = self.known.get_mut(user) {
            let before = std::mem::replace(&mut known.state, state);
            return match (before, state) {
                (State::Hold, State::InCall) => [Some(RoomEvent::ParticipantUnhold { user_id: user_id() }), None],
                (State::InCall | State::Calling, State::Hold) => {
                    [Some(RoomEvent::ParticipantHold { user_id: user_id() }), None]
                }
                (State::InCall | State::Calling | State::Hold, _) => [None, None],
            };
        }
        if self.known.len() >= self.bound {
            self.more += 1;
            return [None, None];
        }
        self.known.insert(user_id(), Known { state, muted: false });
        let held = (state == State::Hold).then(|| RoomEvent::ParticipantHold { user_id: user_id() });
        [Some(RoomEvent::ParticipantAdded { user_id: user_id() }), held]
    }

    /// The whole list: who is not in it has gone.
    fn replace(&mut self, list: &[&Presence]) -> Vec<RoomEvent> {
        let here: BTreeMap<&str, ParticipantStatus> = list
            .iter()
            .filter(|presence| presence.status != ParticipantStatus::Gone)
            .map(|presence| (presence.user.as_str(), presence.status))
            .collect();
        let gone: Vec<String> = self.known.keys().filter(|user| !here.contains_key(user.as_str())).cloned().collect();
        let mut news: Vec<_> = gone.iter().flat_map(|user| self.set(user, ParticipantStatus::Gone)).flatten().collect();
        for (user, status) in &here {
            news.extend(self.set(user, *status).into_iter().flatten());
        }
        self.more = (here.len() - self.known.len()) as u64;
        news
    }

    fn map(&self) -> BTreeMap<String, State> {
        self.known.iter().map(|(user, known)| (user.clone(), known.state)).collect()
    }

    /// The whole map, if it differs from the one told or something was folded into it.
    fn news(&mut self, folded: u64) -> Option<RoomEvent> {
        let participants = self.map();
        if participants == self.told && self.more == self.told_more && folded == 0 {
            return None;
        }
        self.told_more = self.more;
        let old = std::mem::replace(&mut self.told, participants.clone());
        Some(RoomEvent::RemoteParticipants { participants, old, more: self.more, folded })
    }

    /// Who speaks, if it is somebody else than was told.
    fn speaker_news(&mut self) -> Option<RoomEvent> {
        if self.speaker == self.told_speaker {
            return None;
        }
        self.told_speaker.clone_from(&self.speaker);
        Some(RoomEvent::ActiveSpeaker { user_id: self.speaker.clone() })
    }

    /// We wait on hold: nothing is told of the room until [`Agent::tell_participants`] is called for it again.
    pub(super) fn rest(&mut self) {
        self.interval = None;
        (self.speaker, self.told_speaker) = (None, None);
    }

    /// News of the room while we wait; true: we are not in it any more.
    pub(super) fn note(&mut self, others: &[&Presence], ours: &[&Presence], news: News) -> bool {
        match news {
            News::Change => {
                for presence in others {
                    self.set(&presence.user, presence.status);
                }
                match ours.last().map(|presence| presence.status) {
                    Some(ParticipantStatus::Gone) => true,
                    Some(ParticipantStatus::InCall | ParticipantStatus::Hold) => {
                        self.listed = true;
                        false
                    }
                    None => false,
                }
            }
            News::Everybody => {
                self.replace(others);
                let here = ours.iter().any(|presence| presence.status != ParticipantStatus::Gone);
                std::mem::replace(&mut self.listed, here) && !here
            }
        }
    }

    /// The room is left. The last map, if anybody was in it.
    pub(super) fn forget(&mut self) -> Option<RoomEvent> {
        self.known.clear();
        (self.more, self.interval, self.listed) = (0, None, false);
        (self.speaker, self.told_speaker) = (None, None);
        self.news(0)
    }
}

impl Agent {
    /// What has become of one participant or of several; `implied` by the event's name.
    pub(super) fn on_participant(&mut self, cx: &mut Cx<'_>, body: &Body, implied: Option<ParticipantStatus>) {
        let roster = Roster::read(body.fields(), implied);
        self.count_unknown(cx, &roster, body);
        if !self.is_ours(roster.room.as_deref()) {
            return;
        }
        let ours = roster.told.iter().rfind(|presence| self.is_us(&presence.user)).map(|presence| presence.status);
        let others: Vec<_> = roster.told.iter().filter(|presence| !self.is_us(&presence.user)).collect();
        let mut news = Vec::new();
        for presence in others {
            news.extend(self.participants.set(&presence.user, presence.status).into_iter().flatten());
        }
        self.tell_participants(cx, news);
        match ours {
            Some(ParticipantStatus::InCall | ParticipantStatus::Hold) => self.participants.listed = true,
            Some(ParticipantStatus::Gone) => self.on_own_absence(cx),
            None => {}
        }
    }

    /// All participants there are.
    pub(super) fn on_participants(&mut self, cx: &mut Cx<'_>, body: &Body) {
        let roster = Roster::read(body.fields(), None);
        self.count_unknown(cx, &roster, body);
        if !self.is_ours(roster.room.as_deref()) || (roster.told.is_empty() && roster.unknown > 0) {
            return;
        }
        let (ours, others): (Vec<_>, Vec<_>) = roster.told.iter().partition(|presence| self.is_us(&presence.user));
        let news = self.participants.replace(&others);
        self.tell_participants(cx, news);
        let here = ours.iter().any(|presence| presence.status != ParticipantStatus::Gone);
        let missed = std::mem::replace(&mut self.participants.listed, here);
        if missed && !here {
            self.on_own_absence(cx);
        }
    }

    /// The list in a room's description. An empty one says nothing: not every QSS fills it.
    pub(super) fn on_described(&mut self, cx: &mut Cx<'_>, users: &[String]) {
        if users.is_empty() {
            return;
        }
        let here = |user: &String| Presence { user: user.clone(), status: ParticipantStatus::InCall };
        let others: Vec<_> = users.iter().filter(|user| !self.is_us(user)).map(here).collect();
        let others: Vec<_> = others.iter().collect();
        let news = self.participants.replace(&others);
        self.tell_participants(cx, news);
        self.on_company(cx, &others);
    }

    /// Somebody muted or unmuted. What we have done ourselves is told already.
    pub(super) fn on_mute_change(&mut self, cx: &mut Cx<'_>, body: &Body) {
        let Some(change) = MuteChange::read(body.fields()) else {
            return self.not_understood(cx, "qss_unknown_event", "mute change", 1, body);
        };
        if self.is_us(&change.user) || !self.is_ours(change.room.as_deref()) {
            return;
        }
        if let Some(known) = self.participants.known.get_mut(&change.user)
            && std::mem::replace(&mut known.muted, change.muted) != change.muted
        {
            self.tell_participants(cx, vec![RoomEvent::MuteChange { user_id: change.user, muted: change.muted }]);
        }
    }

    /// Speakers may change many times a second: the first change is told at once, others at the end of the interval.
    pub(super) fn on_active_speaker(&mut self, cx: &mut Cx<'_>, body: &Body) {
        if !self.is_ours(body.fields().room_id()) || self.visit.is_none() {
            return;
        }
        self.participants.speaker = message::active_speaker(body.fields());
        if self.participants.interval.is_none()
            && let Some(event) = self.participants.speaker_news()
        {
            let ends = cx.now + self.participants.length;
            self.participants.interval = Some(Interval { ends, singles: 0, folded: 0 });
            self.emit_room(cx, event, None);
        }
    }

    pub(super) fn on_participants_timeout(&mut self, cx: &mut Cx<'_>) {
        let Some(interval) = self.participants.interval.filter(|interval| interval.ends <= cx.now) else { return };
        self.participants.interval = None;
        for event in [self.participants.news(interval.folded), self.participants.speaker_news()].into_iter().flatten() {
            let ends = cx.now + self.participants.length;
            self.participants.interval = Some(Interval { ends, singles: 0, folded: 0 });
            self.emit_room(cx, event, None);
        }
    }

    /// The room is being left.
    pub(super) fn forget_participants(&mut self, cx: &mut Cx<'_>) {
        if let Some(event) = self.participants.forget() {
            self.emit_room(cx, event, None);
        }
    }

    pub(super) fn tell_participants(&mut self, cx: &mut Cx<'_>, news: Vec<RoomEvent>) {
        let first = self.participants.interval.is_none();
        let ends = cx.now + self.participants.length;
        let mut interval = self.participants.interval.unwrap_or(Interval { ends, singles: 0, folded: 0 });
        for event in news {
            if interval.singles < self.participants.singles {
                interval.singles += 1;
                self.emit_room(cx, event, None);
            } else {
                interval.folded += 1;
            }
        }
        if !first {
            self.participants.interval = Some(interval);
        } else if let Some(event) = self.participants.news(std::mem::take(&mut interval.folded)) {
            self.participants.interval = Some(interval);
            self.emit_room(cx, event, None);
        } else if interval.singles > 0 {
            self.participants.interval = Some(interval);
        }
    }

    /// Entries that could not be understood: a status of a later version, or no user.
    fn count_unknown(&mut self, cx: &mut Cx<'_>, roster: &Roster, body: &Body) {
        if roster.unknown > 0 && self.config.qss.report_unknown {
            self.not_understood(cx, "qss_unknown_value", "participant", roster.unknown.into(), body);
        }
    }

    /// Whether news about `room` is about the one we are in. What names no room is.
    pub(super) fn is_ours(&self, room: Option<&str>) -> bool {
        let here = self.visit.as_ref().and_then(|visit| visit.room.id.as_deref());
        here.is_some() && room.is_none_or(|room| here == Some(room))
    }

    /// The QSS says that we are not in the room: we were sent away (`qss.own_gone`). A session that is young may be told
    /// so of the one before it, whoever is being moved may be out already, and what is not proven is being asked for.
    fn on_own_absence(&mut self, cx: &mut Cx<'_>) {
        let expels = match self.config.qss.own_gone {
            OwnGone::Expelled => self.session.is_stable() && self.may_move(),
            OwnGone::Ask => false,
        };
        if !expels {
            return self.doubt_membership(cx);
        }
        if self.visit.as_ref().is_some_and(|visit| visit.membership == Membership::Admitted) {
            self.emit_room(cx, RoomEvent::Expelled, Some(Failure::RoomAbsent.into()));
            self.fail_visit(cx, &Failure::RoomAbsent.into());
        }
    }

    /// Perhaps it means the session before this one. It is asked; a refusal ends the visit. Not more often than a request may take, whatever it says.
    fn doubt_membership(&mut self, cx: &mut Cx<'_>) {
        let (grace, patience) = (self.config.qss.call_grace, self.config.qss.request_timeout);
        let Some(Visit { membership, doubted, .. }) = &mut self.visit else { return };
        if *membership != Membership::Admitted || doubted.is_some_and(|at| cx.now.since(at) < patience) {
            return;
        }
        *doubted = Some(cx.now);
        *membership = Membership::Unproven { until: cx.now + grace.max(patience), proof: Proof::NoSession };
        self.ask_again(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn participants(bound: usize) -> Participants {
        let mut config = Config::default();
        config.status.participants = bound;
        Participants::new(&config)
    }

    fn told(news: impl IntoIterator<Item = RoomEvent>) -> Vec<String> {
        let json = |event: &RoomEvent| serde_json::to_value(event).expect("JSON");
        news.into_iter().map(|event| format!("{} {}", json(&event)["event"], json(&event)["userId"])).collect()
    }

    #[test]
    fn each_change_of_state_has_its_event() {
        use ParticipantStatus::{Gone, Hold, InCall};
        let mut p = participants(2);
        let rows = [
            ("bob", InCall, vec![r#""participantAdded" "bob""#]),
            ("bob", InCall, vec![]),
            ("bob", Hold, vec![r#""participantHold" "bob""#]),
            ("bob", Hold, vec![]),
            ("bob", InCall, vec![r#""participantUnhold" "bob""#]),
            ("eve", Hold, vec![r#""participantAdded" "eve""#, r#""participantHold" "eve""#]),
            ("zoe", InCall, vec![]),
            ("bob", Gone, vec![r#""participantRemoved" "bob""#]),
            ("zoe", Gone, vec![]),
            ("zoe", Gone, vec![]),
        ];
        for (user, status, expected) in rows {
            assert_eq!(told(p.set(user, status).into_iter().flatten()), expected, "{user} {status:?}");
        }
        assert_eq!((p.known.len(), p.more), (1, 0));
    }

    #[test]
    fn a_list_says_who_came_who_went_and_how_many_more_there_are() {
        let mut p = participants(3);
        let here = |users: &[&str]| -> Vec<Presence> {
            users.iter().map(|u| Presence { user: (*u).into(), status: ParticipantStatus::InCall }).collect()
        };
        let list = here(&["a", "b", "c", "d", "e"]);
        assert_eq!(p.replace(&list.iter().collect::<Vec<_>>()).len(), 3);
        assert_eq!((p.known.len(), p.more), (3, 2));
        let list = here(&["b", "e"]);
        let news = told(p.replace(&list.iter().collect::<Vec<_>>()));
        assert_eq!(news, [r#""participantRemoved" "a""#, r#""participantRemoved" "c""#, r#""participantAdded" "e""#]);
        assert_eq!((p.known.len(), p.more), (2, 0));
        let last = p.news(0).expect("a map");
        assert!(matches!(last, RoomEvent::RemoteParticipants { participants, .. } if participants.len() == 2));
        assert_eq!(p.news(0), None, "told once");
        assert!(p.forget().is_some() && p.forget().is_none());
    }
}
