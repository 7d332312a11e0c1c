//! `[[room]]`: each names one room.

use super::super::error::Fault;
use super::super::file::{Listed, RoomDraft};
use super::super::{Rejoin, Room, RoomTarget};
use super::Check;
use std::collections::BTreeMap;

impl Check<'_> {
    pub(super) fn rooms(&mut self, drafts: Vec<Listed<RoomDraft>>) -> Vec<Room> {
        let have_qss = self.origins.contains_key("qss.url");
        let mut rooms = Vec::new();
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for Listed { number, place, item } in drafts {
            let RoomDraft {
                name,
                id,
                sip_uri,
                create,
                record,
                meeting,
                password,
                quick_conference,
                after_expel,
                after_destroy,
            } = item;
            let label = format!("[[room]] {number}");
            if meeting.is_none() && !password.0.is_empty() {
                let what = "password: only a meeting has one";
                self.push(place.as_ref(), &label, Fault::Conflict(what.into()));
            }
            if record && !create {
                let what = "record: only a room of our own making (create = true) is recorded";
                self.push(place.as_ref(), &label, Fault::Conflict(what.into()));
            }
            let targets = [
                id.map(RoomTarget::Id),
                sip_uri.map(RoomTarget::SipUri),
                create.then_some(RoomTarget::Create { record }),
                meeting.map(|id| RoomTarget::Meeting { id, password }),
                quick_conference.map(RoomTarget::QuickConference),
            ];
            let mut targets = targets.into_iter().flatten();
            let target = match (targets.next(), targets.next()) {
                (Some(target), None) => target,
                (None, _) => {
                    let what = "says no room; needed: one of id, sip_uri, meeting, quick_conference or create = true";
                    self.push(place.as_ref(), &label, Fault::Missing(what.into()));
                    continue;
                }
                (Some(_), Some(_)) => {
                    let what = "says more than one room; allowed: only one of id, sip_uri, meeting, quick_conference or create = true";
                    self.push(place.as_ref(), &label, Fault::Conflict(what.into()));
                    continue;
                }
            };
            let (default_name, needs_qss) = match &target {
                RoomTarget::Id(id) => (id.clone(), true),
                RoomTarget::SipUri(uri) => (uri.clone(), false),
                RoomTarget::Create { .. } => ("new".to_owned(), true),
                RoomTarget::Meeting { id, .. } => (id.clone(), true),
                RoomTarget::QuickConference(uri) => (uri.clone(), true),
            };
            if needs_qss && !have_qss {
                let what = "only a QSS can give this room: set qss.url, or dial a sip_uri";
                self.push(place.as_ref(), &label, Fault::Missing(what.into()));
            }
            let name = if name.is_empty() { default_name } else { name };
            if let Some(first) = names.insert(name.clone(), number) {
                let what = format!("{} is the name of room {first} already", super::super::error::excerpt(&name));
                self.push(place.as_ref(), &label, Fault::Duplicate(what));
            } else if let Some(first) = rooms.iter().find(|room: &&Room| room.target == target) {
                let what = format!("room {} is the same one", super::super::error::excerpt(&first.name));
                self.push(place.as_ref(), &label, Fault::Duplicate(what));
            }
            let usual = Rejoin::usual(&target);
            let rejoin = Rejoin { after_expel, after_destroy: after_destroy.unwrap_or(usual.after_destroy) };
            rooms.push(Room { name, target, rejoin });
        }
        rooms
    }
}
