//! What the QSS tells about rooms: expelled, destroyed, who else is there, wishes of others.

use super::outgoing::News;
use super::{Agent, Cx, Phase};
use crate::qss::message::{self, Body, Roster};
use crate::qss::names::Meaning;
use crate::status::conference::RoomEvent;
use crate::status::failure::Failure;

impl Agent {
    pub(super) fn on_notice(&mut self, cx: &mut Cx<'_>, name: &str, body: &Body) {
        let meaning = Meaning::of(&self.config.qss.names, name);
        if !matches!(meaning, Meaning::Unknown | Meaning::StatusEvent) {
            self.count_unknown_fields(cx, body);
        }
        self.on_meaning(cx, name, meaning, body);
    }

    /// Fields of a message that we know otherwise.
    pub(super) fn count_unknown_fields(&mut self, cx: &mut Cx<'_>, body: &Body) {
        if let (true, Some(unknown)) = (self.config.qss.report_unknown, message::unknown_fields(body.fields())) {
            self.not_understood(cx, "qss_unknown_field", &unknown.example, unknown.count, body);
        }
    }

    /// Events, and requests that mean the same.
    pub(super) fn on_meaning(&mut self, cx: &mut Cx<'_>, name: &str, meaning: Meaning, body: &Body) {
        if self.phase != Phase::Running {
            return;
        }
        match meaning {
            Meaning::Expelled => self.sent_away(cx, body, RoomEvent::Expelled, Failure::RoomExpelled),
            Meaning::Destroyed => self.sent_away(cx, body, RoomEvent::Destroyed, Failure::RoomDestroyed),
            Meaning::MuteRequest => self.on_mute_request(cx, body),
            // An event invites nobody: it could not be answered.
            Meaning::Invite | Meaning::InviteRequest => {}
            Meaning::MuteChange => self.on_mute_change(cx, body),
            Meaning::Participant(implied) => {
                self.on_participant(cx, body, implied);
                let roster = Roster::read(body.fields(), implied);
                self.on_roster(cx, &roster, News::Change);
                self.on_parked_roster(cx, &roster, News::Change);
            }
            Meaning::Participants => {
                self.on_participants(cx, body);
                let roster = Roster::read(body.fields(), None);
                self.on_roster(cx, &roster, News::Everybody);
                self.on_parked_roster(cx, &roster, News::Everybody);
            }
            Meaning::ActiveSpeaker => self.on_active_speaker(cx, body),
            Meaning::Snapshot => self.snapshot_on_request(cx),
            Meaning::CallTransfer => self.on_call_transfer(cx, body),
            Meaning::TransferError => self.on_transfer_error(cx, body),
            // Without a request there is nothing to answer; the room may not be ready either.
            Meaning::AttendedTransfer | Meaning::Unknown => self.unknown_event(cx, name, body),
            // A QSS that tells everybody what a device says tells the device too.
            Meaning::StatusEvent => {}
        }
    }

    /// An expulsion without a room, or from the one we are in, ends the visit; it is not tried again by itself.
    fn sent_away(&mut self, cx: &mut Cx<'_>, body: &Body, event: RoomEvent, failure: Failure) {
        let fields = body.fields();
        let described = message::Room::read(fields).and_then(|room| room.id);
        let named = fields.room_id().or(described.as_deref());
        if let (Failure::RoomDestroyed, Some(room)) = (failure, named) {
            self.own.gone(room);
        }
        let about_us =
            message::expelled_user(fields).is_none_or(|user| self.is_us(user)) || failure == Failure::RoomDestroyed;
        if about_us && self.sent_away_from_parked(cx, named, &event, failure) {
            return;
        }
        let Some(visit) = &self.visit else { return };
        let ours = match (named, visit.room.id.as_deref()) {
            (Some(named), Some(id)) => named == id,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if ours && about_us {
            self.emit_room(cx, event, Some(failure.into()));
            self.fail_visit(cx, &failure.into());
        }
    }
}
