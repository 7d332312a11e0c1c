//! What the QSS says about the rooms of calls that wait ([`parked`](super::parked)): their membership is proved, lost and
//! ended as that of the present one, and who comes and goes there is told when the call goes on.

use super::membership::Sentence;
use super::outgoing::News;
use super::parked::Parked;
use super::visit::{Hold, Membership, Origin, Proof};
use super::{Agent, Cx};
use crate::config::OwnGone;
use crate::qss::message::{self, ParticipantStatus, Presence, Roster};
use crate::qss::requests::Ticket;
use crate::qss::session::Reply;
use crate::status::conference::RoomEvent;
use crate::status::event::Kind;
use crate::status::failure::{Cause, Failure};

impl Agent {
    /// Which of the calls that wait is in this room.
    pub(super) fn parked_in(&self, room: &message::Room) -> Option<usize> {
        let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        let is_it =
            |parked: &Parked| same(&parked.visit.room.id, &room.id) || same(&parked.visit.room.sip_uri, &room.sip_uri);
        self.parked.iter().position(is_it)
    }

    /// The same by the room's id.
    pub(super) fn parked_in_room(&self, id: Option<&str>) -> Option<usize> {
        self.parked.iter().position(|parked| id.is_some() && parked.visit.room.id.as_deref() == id)
    }

    // --- the session ---------------------------------------------------------------------------------------------

    /// Proves an unproven membership.
    pub(super) fn prove_parked(&mut self, cx: &mut Cx<'_>, i: usize) {
        let Some(Parked { visit, .. }) = self.parked.get(i) else { return };
        let Membership::Unproven { until, .. } = visit.membership else { return };
        let (origin, id) = (visit.origin.clone(), visit.room.id.clone());
        let membership = self.proven(cx, until, &origin, id.as_deref());
        if let Some(parked) = self.parked.get_mut(i) {
            parked.visit.membership = membership;
        }
    }

    /// The reply to what a membership was asked by; false: it is about something else.
    pub(super) fn on_parked_reply(&mut self, cx: &mut Cx<'_>, ticket: Ticket, reply: &Reply) -> bool {
        let is_asked = |parked: &Parked| matches!(parked.visit.membership, Membership::Unproven { proof: Proof::Asked(asked), .. } if asked == ticket);
        let Some(i) = self.parked.iter().position(is_asked) else { return false };
        match reply {
            Reply::Answer(body) => self.on_parked_admitted(cx, i, message::Room::read(body.fields())),
            Reply::Refused { code, message, body } => {
                let visit = &self.parked[i].visit;
                let refusal = self.refusal(Some(&visit.origin), *code, message, body);
                match Sentence::of(refusal, *code, message.clone(), visit.room.sip_uri.is_some()) {
                    Sentence::Stays => self.on_parked_admitted(cx, i, None),
                    Sentence::Open(_) => self.prove_parked_later(cx, i),
                    Sentence::Out(cause) => self.fail_parked(cx, i, &cause),
                }
            }
            Reply::TimedOut => self.prove_parked_later(cx, i),
            // The loss of the session has said all there is to say.
            Reply::LinkLost => {}
        }
        true
    }

    fn prove_parked_later(&mut self, cx: &mut Cx<'_>, i: usize) {
        let visit = &mut self.parked[i].visit;
        if let Membership::Unproven { until, .. } = visit.membership {
            let again = visit.redial.next_with_floor(cx.now, &mut self.rng);
            visit.membership = Membership::Unproven { until, proof: Proof::Again(again) };
        }
    }

    /// A room that has another address by now is dialled there when its turn comes.
    fn on_parked_admitted(&mut self, cx: &mut Cx<'_>, i: usize, described: Option<message::Room>) {
        let Parked { visit, participants, outgoing, .. } = &mut self.parked[i];
        visit.membership = Membership::Admitted;
        let before = visit.room.sip_uri.clone();
        let (mut users, mut listed) = (Vec::new(), false);
        if let Some(mut described) = described {
            users = described.participants.take().unwrap_or_default();
            // An empty list says nothing: not every QSS fills it.
            listed = !users.is_empty();
            visit.describe(described);
        }
        let moved = before != visit.room.sip_uri;
        let (qss, us) = (&self.config.qss, self.own.us());
        users.retain(|user| !qss.is_us(user) && us != Some(user));
        let here = |user| Presence { user, status: ParticipantStatus::InCall };
        let others: Vec<Presence> = users.into_iter().map(here).collect();
        let others: Vec<&Presence> = others.iter().collect();
        if !others.is_empty() {
            participants.note(&others, &[], News::Change);
        }
        if let (true, Some(outgoing)) = (listed, outgoing) {
            outgoing.relist(cx.now, &others, self.config.calls.alone);
        }
        if moved && let Some(call) = self.lose_parked_leg(cx, i, &Failure::Replaced.into()) {
            self.hang_up(cx, call, Failure::Replaced.code());
        }
    }

    // --- what it tells of the room -------------------------------------------------------------------------------

    /// We are out of a room by its name. True: a call waited in it, and is over.
    pub(super) fn sent_away_from_parked(
        &mut self,
        cx: &mut Cx<'_>,
        room: Option<&str>,
        event: &RoomEvent,
        failure: Failure,
    ) -> bool {
        let Some(i) = self.parked_in_room(room) else { return false };
        self.tell_of_parked(cx, i, event.clone(), failure);
        self.fail_parked(cx, i, &failure.into());
        true
    }

    /// The inviter changed their mind while the acceptance was fresh. True: the call waited, and is over.
    pub(super) fn withdraw_parked(&mut self, cx: &mut Cx<'_>, id: &str, cause: &Cause) -> bool {
        let fresh = self.config.qss.request_timeout;
        let is_ours = |parked: &Parked| match &parked.visit.origin {
            Origin::Invited { id: accepted, accepted_at, .. } => accepted == id && cx.now.since(*accepted_at) < fresh,
            Origin::Configured(_) | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred { .. } => false,
        };
        let Some(i) = self.parked.iter().position(is_ours) else { return false };
        self.end_parked(cx, i, cause);
        true
    }

    /// Who comes and goes where a call waits. Our own call there is over when the last of the others has left; and so is
    /// any when we are gone ourselves (`qss.own_gone`).
    pub(super) fn on_parked_roster(&mut self, cx: &mut Cx<'_>, roster: &Roster, news: News) {
        let Some(i) = self.parked_in_room(roster.room.as_deref()) else { return };
        if roster.told.is_empty() && roster.unknown > 0 {
            return;
        }
        let (ours, others): (Vec<_>, Vec<_>) = roster.told.iter().partition(|presence| self.is_us(&presence.user));
        let Parked { participants, outgoing, .. } = &mut self.parked[i];
        let absent = participants.note(&others, &ours, news);
        let alone = outgoing.as_mut().is_some_and(|outgoing| outgoing.note(&others, news));
        match (alone, absent, self.config.qss.own_gone) {
            (true, ..) => self.end_parked(cx, i, &Failure::OthersGone.into()),
            (false, true, OwnGone::Expelled) if self.session.is_stable() => {
                self.tell_of_parked(cx, i, RoomEvent::Expelled, Failure::RoomAbsent);
                self.fail_parked(cx, i, &Failure::RoomAbsent.into());
            }
            (false, true, OwnGone::Expelled | OwnGone::Ask) => self.doubt_parked(cx, i),
            (false, false, _) => {}
        }
    }

    /// As with the present room: not more often than a request may take.
    fn doubt_parked(&mut self, cx: &mut Cx<'_>, i: usize) {
        let (grace, patience) = (self.config.qss.call_grace, self.config.qss.request_timeout);
        let visit = &mut self.parked[i].visit;
        if visit.membership != Membership::Admitted || visit.doubted.is_some_and(|at| cx.now.since(at) < patience) {
            return;
        }
        visit.doubted = Some(cx.now);
        visit.membership = Membership::Unproven { until: cx.now + grace.max(patience), proof: Proof::NoSession };
        self.prove_parked(cx, i);
    }

    /// Tells the QSS that the calls are on hold, where it has a word for it; after everything that happens.
    pub(super) fn report_parked_holds(&mut self, cx: &mut Cx<'_>) {
        for i in 0..self.parked.len() {
            let visit = &self.parked[i].visit;
            let believed = visit.believed_hold == Some(Hold::On) || visit.reports.again_at.is_some();
            let (Membership::Admitted, Some(id), false) = (visit.membership, &visit.room.id, believed) else {
                continue;
            };
            let Some(request) = message::report_hold(&self.config.qss.names, id, true) else { return };
            let ticket =
                self.with_session(cx, |session, now, out| session.request(now, &request.name, request.payload, out));
            if let (Some(ticket), Some(Parked { visit, .. })) = (ticket, self.parked.get_mut(i)) {
                (visit.believed_hold, visit.reports.hold) = (Some(Hold::On), Some(ticket));
            }
        }
    }

    fn tell_of_parked(&mut self, cx: &mut Cx<'_>, i: usize, event: RoomEvent, failure: Failure) {
        if self.config.status.room_events {
            let room = self.parked[i].visit.room_ref();
            self.emit_about(cx, Kind::Room(event), Some(room), Some(failure.into()));
        }
    }
}
