//! The microphone: muted here or from afar, and the QSS told of it. Mute belongs to the device, not to a call: it
//! outlives every room.

use super::visit::{Membership, Visit};
use super::{Agent, Cx};
use crate::media::command::Command;
use crate::media::tone::Tone;
use crate::qss::message::{self, Body, MuteRequest, Refusal};
use crate::qss::requests::Ticket;
use crate::qss::session::Reply;
use crate::status::conference::RoomEvent;
use crate::status::event::{Kind, MutedBy};

impl Agent {
    /// A wish from afar. A mute is obeyed (`control.remote_mute`); an *unmute* is not, unless the configuration opens
    /// the microphone to everyone in the room (`control.remote_unmute`).
    pub(super) fn on_mute_request(&mut self, cx: &mut Cx<'_>, body: &Body) {
        let request = MuteRequest::read(body.fields());
        let to_us = request.to.is_none_or(|to| self.is_us(&to));
        let here = request.room.is_none() || self.is_ours(request.room.as_deref());
        let control = &self.config.control;
        let allowed = if request.muted { control.remote_mute } else { control.remote_unmute };
        // Told once, however often they repeat it.
        if to_us && here && request.audio && self.voice.wish.replace(request.muted) != Some(request.muted) {
            let event = RoomEvent::MuteRequest { muted: request.muted, requested_by: request.requested_by };
            self.emit_room(cx, event, None);
        }
        if to_us && here && request.audio && allowed {
            self.set_muted(cx, request.muted, MutedBy::Remote);
        }
    }

    pub(super) fn set_muted(&mut self, cx: &mut Cx<'_>, muted: bool, by: MutedBy) {
        if self.voice.muted == muted {
            return;
        }
        self.voice.muted = muted;
        self.voice.wish = self.voice.wish.filter(|wish| *wish == muted);
        self.media(cx, Command::Mute(muted));
        self.tone(cx, if muted { Tone::Muted } else { Tone::Unmuted });
        self.emit(cx, Kind::Mute { muted, by }, None);
    }

    /// Tells the QSS, and by it the others in the room, if they believe something else; after everything that happens.
    pub(super) fn report_mute(&mut self, cx: &mut Cx<'_>) {
        let muted = self.voice.muted;
        let Some(Visit { membership: Membership::Admitted, believed_muted, room, reports, .. }) = &self.visit else {
            return;
        };
        let (Some(id), false, None) = (&room.id, *believed_muted == Some(muted), reports.again_at) else { return };
        let request = message::report_mute(&self.config.qss.names, id, &self.config.qss.username, muted);
        if let Some(request) = request
            && let Some(ticket) =
                self.with_session(cx, |session, now, out| session.request(now, &request.name, request.payload, out))
            && let Some(visit) = &mut self.visit
        {
            (visit.believed_muted, visit.reports.mute) = (Some(muted), Some(ticket));
        }
    }

    /// The reply to a report of mute or hold. One that was not taken is made again, unless the QSS has no such request.
    pub(super) fn on_report_reply(&mut self, cx: &Cx<'_>, ticket: Ticket, reply: &Reply) {
        let parked = self.parked.iter_mut().map(|parked| &mut parked.visit);
        let told = |visit: &&mut Visit| visit.reports.mute == Some(ticket) || visit.reports.hold == Some(ticket);
        let Some(visit) = self.visit.iter_mut().chain(parked).find(told) else { return };
        let of_mute = visit.reports.mute == Some(ticket);
        let again_at = match reply {
            Reply::Answer(_) => return,
            Reply::Refused { code, message, body } => match Refusal::of(&self.config.qss.codes, *code, message, body) {
                Refusal::Unknown => return,
                Refusal::Forbidden
                | Refusal::NotFound
                | Refusal::WrongPassword
                | Refusal::Full
                | Refusal::TooEarly { .. }
                | Refusal::Other => Some(cx.now + self.config.qss.report_retry),
            },
            Reply::TimedOut => Some(cx.now + self.config.qss.report_retry),
            // The next session is told.
            Reply::LinkLost => None,
        };
        if of_mute {
            (visit.believed_muted, visit.reports.mute) = (None, None);
        } else {
            (visit.believed_hold, visit.reports.hold) = (None, None);
        }
        visit.reports.again_at = visit.reports.again_at.or(again_at);
    }
}
