//! The server's memory and manners, without any socket: registered peers, rooms, pending invites, transfers.
//!
//! [`Office::handle`] takes one frame of one connection and answers with the frames to send. The shapes follow the
//! public pages: `answer` and `cancel` repeat the request's name and id, a room is written as the createRoom sample has
//! it. [`Shape`] chooses among the spellings those pages leave open, so a client is tested against each.

mod invite;
mod room;
mod shape;
mod transfer;

pub use room::{Meeting, RoomSpec};
pub use shape::{CodePlace, News, Notices, Shape};

use invite::{Invite, user_of};
use room::{Room, room_id};
use serde_json::{Value, json};
use shape::{answer, cancel};
use std::collections::{BTreeMap, BTreeSet};
use transfer::Transfers;

/// Number of a connection.
pub type Conn = u64;

/// What is to be sent, and where.
pub type Frames = Vec<(Conn, Value)>;

/// A standing order to refuse a request by its name.
#[derive(Clone, PartialEq, Debug)]
pub struct Refusal {
    pub request: String,
    pub error: u16,
    pub message: String,
    /// How many times; `u32::MAX` for ever.
    pub times: u32,
}

/// What [`Office::handle`] made of a frame.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Handled {
    pub out: Frames,
    /// The request had been seen before.
    pub again: bool,
}

#[derive(Debug)]
pub struct Office {
    shape: Shape,
    /// Token every register must carry; `None`: any.
    token: Option<String>,
    /// `host:port` written into the `sipUri` of created rooms.
    mixer: String,
    /// kbit/s of created rooms.
    bitrate: u32,
    refusals: Vec<Refusal>,
    rooms: BTreeMap<String, Room>,
    peers: BTreeMap<Conn, Peer>,
    /// Everybody who has ever registered: who is not connected is not available (480), others are unknown (404).
    users: BTreeSet<String>,
    /// Users whose session an administrator has revoked.
    revoked: BTreeSet<String>,
    invites: BTreeMap<String, Invite>,
    /// Under which id an inviteRequest was passed on, and the one of who asked.
    asked: BTreeMap<String, String>,
    transfers: Transfers,
    /// Answers given, by user (or connection) and `requestID`: a repeated request gets the same one.
    answered: BTreeMap<(String, String), Option<Value>>,
    counter: u64,
}

#[derive(Clone, Debug)]
struct Peer {
    user: String,
    device: String,
}

impl Office {
    pub fn new(shape: Shape, token: Option<String>, mixer: String, bitrate: u32, rooms: Vec<RoomSpec>) -> Office {
        let mut office = Office {
            shape,
            token,
            mixer,
            bitrate,
            refusals: Vec::new(),
            rooms: BTreeMap::new(),
            peers: BTreeMap::new(),
            users: BTreeSet::new(),
            revoked: BTreeSet::new(),
            invites: BTreeMap::new(),
            asked: BTreeMap::new(),
            transfers: Transfers::default(),
            answered: BTreeMap::new(),
            counter: 0,
        };
        rooms.into_iter().for_each(|room| office.add_room(room));
        office
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub fn add_room(&mut self, spec: RoomSpec) {
        self.rooms.insert(spec.id.clone(), Room::new(spec));
    }

    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusals.retain(|old| old.request != refusal.request);
        self.refusals.push(refusal);
    }

    /// Forgets every connection, membership, invite and answer, as a restarted process does; rooms stay if `rooms`.
    pub fn forget(&mut self, rooms: bool) {
        self.peers.clear();
        self.invites.clear();
        self.transfers = Transfers::default();
        self.answered.clear();
        match rooms {
            true => self.rooms.values_mut().for_each(|room| room.participants.clear()),
            false => self.rooms.clear(),
        }
    }

    /// An administrator ends the session of `user`, who cannot register again until reinstated.
    pub fn revoke(&mut self, user: &str) {
        self.revoked.insert(user.into());
    }

    pub fn reinstate(&mut self, user: &str) {
        self.revoked.remove(user);
    }

    pub fn peer(&self, conn: Conn) -> Option<(&str, &str)> {
        self.peers.get(&conn).map(|peer| (peer.user.as_str(), peer.device.as_str()))
    }

    pub fn rooms(&self) -> Vec<String> {
        self.rooms.keys().cloned().collect()
    }

    pub fn participants(&self, room: &str) -> Vec<String> {
        self.rooms.get(room).map(|room| room.participants.iter().cloned().collect()).unwrap_or_default()
    }

    /// The devices of a user, or the one of `user/device`.
    pub fn connections_of(&self, address: &str) -> Vec<Conn> {
        let (user, device) = match address.split_once('/') {
            Some((user, device)) => (user, Some(device)),
            None => (address, None),
        };
        let is_meant = |peer: &Peer| peer.user == user && device.is_none_or(|device| device == peer.device);
        self.peers.iter().filter(|(_, peer)| is_meant(peer)).map(|(conn, _)| *conn).collect()
    }

    /// One frame from a connection.
    pub fn handle(&mut self, conn: Conn, frame: &Value) -> Handled {
        let text = |key: &str| frame[key].as_str().map(String::from);
        let id = text("requestID").unwrap_or_default();
        if let Some(name) = text("request") {
            return self.on_request(conn, &name, &id, &frame["payload"]);
        }
        let mut out = Vec::new();
        if text("answer").is_some() {
            self.on_accepted(conn, &id, &mut out);
            self.on_attended_accepted(&id, &mut out);
        } else if text("cancel").is_some() {
            let error = frame["error"].as_u64().or(frame["payload"]["error"].as_u64()).unwrap_or(487) as u16;
            self.on_invite_cancel(conn, &id, error, &mut out);
            self.on_attended_cancel(conn, &id, error, &mut out);
        }
        Handled { out, again: false }
    }

    /// The connection is gone: its user leaves every room at once (`rooms.removeAfter` 0).
    pub fn closed(&mut self, conn: Conn) -> Frames {
        let mut out = Vec::new();
        let Some(peer) = self.peers.remove(&conn) else { return out };
        if self.connections_of(&peer.user).is_empty() {
            let rooms: Vec<String> = self.rooms.keys().cloned().collect();
            rooms.iter().for_each(|room| self.remove_participant(room, &peer.user, &mut out));
        }
        self.stop_ringing_at(conn);
        out
    }

    fn on_request(&mut self, conn: Conn, name: &str, id: &str, payload: &Value) -> Handled {
        let user = self.peers.get(&conn).map(|peer| peer.user.clone());
        let whose = user.clone().unwrap_or_else(|| format!("#{conn}"));
        let key = (whose, id.to_string());
        if let Some(before) = self.answered.get(&key) {
            return Handled { out: before.iter().map(|frame| (conn, frame.clone())).collect(), again: true };
        }
        let mut out = Vec::new();
        let reply = match (self.standing_refusal(name), user) {
            (Some(refusal), _) => Some(cancel(name, id, refusal.0, &refusal.1)),
            (None, None) if name == "register" => Some(self.on_register(conn, id, payload)),
            (None, None) => Some(cancel(name, id, 401, "not registered")),
            (None, Some(user)) => self.on_registered_request(conn, &user, name, id, payload, &mut out),
        };
        self.answered.insert(key, reply.clone());
        let mut all: Frames = reply.into_iter().map(|frame| (conn, frame)).collect();
        all.extend(out);
        Handled { out: all, again: false }
    }

    fn on_register(&mut self, conn: Conn, id: &str, payload: &Value) -> Value {
        let text = |key: &str| payload[key].as_str().unwrap_or_default().to_string();
        if self.revoked.contains(&text("username")) {
            return cancel("register", id, 401, "session revoked");
        }
        if self.token.as_ref().is_some_and(|token| *token != text("token")) {
            return cancel("register", id, 403, "invalid token");
        }
        if text("username").is_empty() {
            return cancel("register", id, 400, "no username");
        }
        self.users.insert(text("username"));
        self.peers.insert(conn, Peer { user: text("username"), device: text("deviceId") });
        let peer_id = format!("{:024x}", 0x5da6_0000_0000_u64 + conn);
        answer("register", id, json!({"id": peer_id, "username": text("username"), "deviceId": text("deviceId")}))
    }

    /// `None`: the answer comes later (an invite rings).
    fn on_registered_request(
        &mut self,
        conn: Conn,
        user: &str,
        name: &str,
        id: &str,
        payload: &Value,
        out: &mut Frames,
    ) -> Option<Value> {
        let room = room_id(payload);
        Some(match name {
            "register" => answer("register", id, json!({"id": format!("{conn:024x}")})),
            "unregister" => {
                out.extend(self.closed(conn));
                answer(name, id, json!({}))
            }
            "ping" => answer(name, id, json!({})),
            "createRoom" => self.on_create(user, id, payload),
            "joinRoom" => self.on_join(user, name, id, payload, out),
            "leaveRoom" => self.on_leave(user, id, room, out),
            "destroyRoom" => self.on_destroy(user, id, room, out),
            "getRooms" => self.on_list(user, id),
            "addParticipants" | "removeParticipants" => self.on_acl(name, id, room, payload, out),
            "mute" => self.on_mute(user, id, room, payload, out),
            "hold" | "unhold" => {
                out.extend(self.hold(room, user, name == "hold"));
                answer(name, id, Value::Null)
            }
            "invite" | "invitation" | "inviteRequest" => return self.on_invite(conn, user, name, id, payload, out),
            "getCurrentInvitations" => self.on_current_invitations(conn, user, id),
            "callTransfer" => self.on_transfer(conn, user, id, payload, out),
            "acceptCallTransfer" => self.on_transfer_accepted(user, id, payload, out),
            "attended-transfer" => return self.on_attended(conn, user, id, payload, out),
            _ => cancel(name, id, 501, "unknown request"),
        })
    }

    fn to_users(&self, users: &BTreeSet<String>, frame: &Value) -> Frames {
        let of_users = self.peers.iter().filter(|(_, peer)| users.contains(&peer.user));
        of_users.map(|(conn, _)| (*conn, frame.clone())).collect()
    }

    /// The code for somebody who is not connected.
    fn absence(&self, address: &str) -> u16 {
        if self.users.contains(user_of(address)) { 480 } else { 404 }
    }

    fn standing_refusal(&mut self, name: &str) -> Option<(u16, String)> {
        let refusal = self.refusals.iter_mut().find(|refusal| refusal.request == name && refusal.times > 0)?;
        if refusal.times != u32::MAX {
            refusal.times -= 1;
        }
        Some((refusal.error, refusal.message.clone()))
    }

    /// 21 characters of the URL-safe alphabet, like the ids of the samples.
    fn next_id(&mut self) -> String {
        self.counter += 1;
        format!("srv-{:017x}", self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 4)
    }
}

#[cfg(test)]
mod tests;
