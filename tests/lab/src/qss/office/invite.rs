//! Invites: forked to every device of each invited user, answered once, withdrawn from the devices that lost.

use super::room::room_id;
use super::shape::{answer, cancel, request, strings};
use super::{Conn, Frames, Office};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An invite (or inviteRequest) on its way; keyed by the id used towards the invited.
#[derive(Clone, Debug)]
pub(super) struct Invite {
    /// The word towards the invited.
    word: String,
    inviter: Inviter,
    room: String,
    /// By user, or `user/device`, as the inviter wrote it.
    legs: BTreeMap<String, Leg>,
    payload: Value,
}

/// Where the result goes.
#[derive(Clone, PartialEq, Debug)]
enum Inviter {
    /// A test.
    Nobody,
    /// The connection, the word and the id of its own request, and whether it invited a list.
    Request { conn: Conn, word: String, id: String, several: bool },
    /// A blind transfer.
    Transfer(String),
}

#[derive(Clone, Debug)]
struct Leg {
    /// Connections that still ring; while nobody is connected, none.
    ringing: BTreeSet<Conn>,
    result: Option<u16>,
}

impl Office {
    /// `None`: the answer comes later, it rings.
    pub(super) fn on_invite(
        &mut self,
        conn: Conn,
        user: &str,
        word: &str,
        id: &str,
        payload: &Value,
        out: &mut Frames,
    ) -> Option<Value> {
        let targets = strings(&payload["to"]);
        let room = room_id(payload);
        if word != "inviteRequest" && !self.rooms.contains_key(room) {
            return Some(cancel(word, id, 404, "room not found"));
        }
        if targets.is_empty() {
            return Some(cancel(word, id, 400, "nobody is invited"));
        }
        if let [one] = targets.as_slice() {
            if self.connections_of(one).is_empty() {
                return Some(cancel(word, id, self.absence(one), "user not available"));
            }
            if word != "inviteRequest" && self.is_wanted_already(one, room) {
                return Some(cancel(word, id, 409, "a participant, or invited already"));
            }
        }
        let several = payload["to"].is_array();
        let inviter = Inviter::Request { conn, word: word.into(), id: id.into(), several };
        let asks = word == "inviteRequest";
        let word = if asks { word } else { self.shape.invite };
        let ours = self.ring(word, inviter, user, &targets, payload, out);
        if asks {
            self.asked.insert(ours.clone(), id.to_owned());
        }
        self.conclude(&ours, out);
        None
    }

    /// A test invites `to` into `room` in the name of `from`. Returns the `requestID` used.
    pub fn invite(&mut self, from: &str, to: &str, room: &str) -> (String, Frames) {
        let payload = json!({"from": from, "to": to, "room": room,
            "mediatypes": {"audio": true, "video": false, "screen": false}, "context": {}});
        let mut out = Vec::new();
        let id = self.ring(self.shape.invite, Inviter::Nobody, from, &[to.into()], &payload, &mut out);
        (id, out)
    }

    /// A test asks `to`, in the name of `from`, for an invite.
    pub fn ask_for_invite(&mut self, from: &str, to: &str) -> (String, Frames) {
        let mut out = Vec::new();
        let id = self.ring("inviteRequest", Inviter::Nobody, from, &[to.into()], &json!({"to": to}), &mut out);
        (id, out)
    }

    /// The invite that a blind transfer leads to.
    pub(super) fn invite_for_transfer(&mut self, transfer: &str, from: &str, to: &str, room: &str, out: &mut Frames) {
        let payload = json!({"room": room, "mediatypes": {"audio": true, "video": false, "screen": false}});
        let id = self.ring(self.shape.invite, Inviter::Transfer(transfer.into()), from, &[to.into()], &payload, out);
        self.conclude(&id, out);
    }

    /// A test withdraws an invite of its own, or a server's time is over.
    pub fn cancel_invite(&mut self, id: &str, error: u16) -> Frames {
        let mut out = Vec::new();
        if let Some(invite) = self.invites.get_mut(id) {
            for leg in invite.legs.values_mut().filter(|leg| leg.result.is_none()) {
                leg.result = Some(error);
                for conn in std::mem::take(&mut leg.ringing) {
                    out.push((conn, cancel(&invite.word, id, error, "cancelled")));
                }
            }
            self.conclude(id, &mut out);
        }
        out
    }

    /// A device accepts: the others of its user stop ringing.
    pub(super) fn on_accepted(&mut self, conn: Conn, id: &str, out: &mut Frames) {
        let Some(user) = self.peers.get(&conn).map(|peer| peer.user.clone()) else { return };
        let Some(invite) = self.invites.get_mut(id) else { return };
        let Some((_, leg)) = invite.legs.iter_mut().find(|(to, _)| user_of(to) == user) else { return };
        if leg.result.is_some() {
            return;
        }
        leg.result = Some(200);
        for loser in std::mem::take(&mut leg.ringing) {
            if loser != conn {
                out.push((loser, cancel(&invite.word, id, 487, "answered elsewhere")));
            }
        }
        self.conclude(id, out);
    }

    /// Either an invited device declines, or an inviter withdraws.
    pub(super) fn on_invite_cancel(&mut self, conn: Conn, id: &str, error: u16, out: &mut Frames) {
        if let Some(invite) = self.invites.get_mut(id) {
            for leg in invite.legs.values_mut() {
                if leg.ringing.remove(&conn) && leg.ringing.is_empty() && leg.result.is_none() {
                    leg.result = Some(error);
                }
            }
            return self.conclude(id, out);
        }
        let is_theirs = |invite: &Invite| match &invite.inviter {
            Inviter::Request { conn: theirs, id: their_id, .. } => *theirs == conn && their_id == id,
            Inviter::Nobody | Inviter::Transfer(_) => false,
        };
        if let Some(ours) = self.invites.iter().find(|(_, invite)| is_theirs(invite)).map(|(ours, _)| ours.clone()) {
            out.extend(self.cancel_invite(&ours, error));
        }
    }

    /// What still rings for a user; the device that asks rings from now on.
    pub(super) fn on_current_invitations(&mut self, conn: Conn, user: &str, id: &str) -> Value {
        let mut pending = Vec::new();
        for (ours, invite) in &mut self.invites {
            for (to, leg) in &mut invite.legs {
                if user_of(to) == user && leg.result.is_none() && invite.word != "inviteRequest" {
                    leg.ringing.insert(conn);
                    pending.push(match self.shape.nested {
                        true => invite.payload.clone(),
                        false => request(&invite.word, ours, invite.payload.clone()),
                    });
                }
            }
        }
        answer("getCurrentInvitations", id, json!({"currentInvitations": pending}))
    }

    /// A connection is gone; its user may come back, so the invite stays.
    pub(super) fn stop_ringing_at(&mut self, conn: Conn) {
        for leg in self.invites.values_mut().flat_map(|invite| invite.legs.values_mut()) {
            leg.ringing.remove(&conn);
        }
    }

    /// Sends an invite to every device of each target, and lets them into the room.
    fn ring(
        &mut self,
        word: &str,
        inviter: Inviter,
        from: &str,
        targets: &[String],
        wish: &Value,
        out: &mut Frames,
    ) -> String {
        let id = self.next_id();
        let mut payload = wish.as_object().cloned().unwrap_or_default();
        payload.insert("id".into(), id.as_str().into());
        payload.insert("from".into(), from.into());
        payload.insert("fromDetails".into(), json!({"username": from, "displayName": from, "contactName": from}));
        payload.remove("to");
        // Who asked for this invite knows the question by the id it gave it.
        if let Some(asked) = wish["requestId"].as_str().and_then(|id| self.asked.get(id)) {
            payload.insert("requestId".into(), asked.as_str().into());
        }
        let room = room_id(wish).to_owned();
        let admitted = targets.iter().map(|to| user_of(to).to_owned());
        if let Some(acl) = self.rooms.get_mut(&room).and_then(|room| room.spec.acl.as_mut()) {
            acl.extend(admitted);
        }
        if let Some(entry) = self.rooms.get(&room) {
            let described = match self.shape.invite_describes {
                true => self.room_fields(entry, user_of(&targets[0])),
                false => json!(room),
            };
            payload.insert("room".into(), described);
        }
        let payload = Value::Object(payload);
        let mut legs = BTreeMap::new();
        for to in targets {
            let ringing: BTreeSet<Conn> = self.connections_of(to).into_iter().collect();
            out.extend(ringing.iter().map(|conn| (*conn, request(word, &id, payload.clone()))));
            let result = ringing.is_empty().then(|| self.absence(to));
            legs.insert(to.clone(), Leg { ringing, result });
        }
        let invite = Invite { word: word.into(), inviter, room, legs, payload };
        self.invites.insert(id.clone(), invite);
        id
    }

    /// If every invited user has decided, the inviter learns it and the invite is over.
    fn conclude(&mut self, id: &str, out: &mut Frames) {
        let decided = |invite: &Invite| invite.legs.values().all(|leg| leg.result.is_some());
        let Some(invite) = self.invites.get(id).filter(|invite| decided(invite)) else { return };
        let invite = invite.clone();
        self.invites.remove(id);
        let results: Vec<(String, u16)> =
            invite.legs.iter().map(|(to, leg)| (user_of(to).to_owned(), leg.result.unwrap_or(480))).collect();
        match &invite.inviter {
            Inviter::Nobody => {}
            Inviter::Request { conn, word, id, several: true } => {
                let list: Vec<Value> =
                    results.iter().map(|(who, code)| json!({"code": code, "whoAccepted": who})).collect();
                out.push((*conn, answer(word, id, json!(list))));
            }
            Inviter::Request { conn, word, id, several: false } => {
                let (who, code) = &results[0];
                out.push((
                    *conn,
                    match code {
                        200 => answer(word, id, json!({"code": 200, "whoAccepted": who})),
                        code => cancel(word, id, *code, "declined"),
                    },
                ));
            }
            Inviter::Transfer(transfer) => self.transfer_decided(transfer, id, results[0].1, out),
        }
    }

    /// A participant already, or ringing for the very room.
    fn is_wanted_already(&self, to: &str, room: &str) -> bool {
        let user = user_of(to);
        let rings = |invite: &Invite| {
            invite.room == room && invite.legs.iter().any(|(to, leg)| user_of(to) == user && leg.result.is_none())
        };
        self.rooms.get(room).is_some_and(|room| room.participants.contains(user)) || self.invites.values().any(rings)
    }
}

/// `user` of `user/session`.
pub(super) fn user_of(address: &str) -> &str {
    address.split('/').next().unwrap_or(address)
}
