//! The server's memory and manners, without any socket: registered peers, rooms, pending invites.
//!
//! [`Office::handle`] takes one frame of one connection and answers with the frames to send. The shapes follow the
//! public pages: `answer` and `cancel` repeat the request's name and id, a room is written as the createRoom sample has
//! it. [`Shape`] chooses among the spellings those pages leave open, so a client is tested against each.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Number of a connection.
pub type Conn = u64;

/// A room as a test describes it.
#[derive(Clone, PartialEq, Debug)]
pub struct RoomSpec {
    /// Written as `uuid` and `room`.
    pub id: String,
    pub sip_uri: String,
    /// kbit/s, written as `bitrate`.
    pub bitrate: u32,
    /// Users that may join; `None`: everyone.
    pub acl: Option<Vec<String>>,
}

impl RoomSpec {
    pub fn open(id: &str, sip_uri: &str, bitrate: u32) -> RoomSpec {
        RoomSpec { id: id.into(), sip_uri: sip_uri.into(), bitrate, acl: None }
    }

    /// Reads `{"id":..,"sipUri":..,"bitrate":..,"acl":[..]}`; bitrate and acl may be missing.
    pub fn from_json(value: &Value) -> Option<RoomSpec> {
        let acl = value["acl"].as_array();
        Some(RoomSpec {
            id: value["id"].as_str()?.into(),
            sip_uri: value["sipUri"].as_str()?.into(),
            bitrate: value["bitrate"].as_u64().unwrap_or(1024) as u32,
            acl: acl.map(|users| users.iter().filter_map(Value::as_str).map(String::from).collect()),
        })
    }
}

/// Which of the documented spellings the server uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Room fields inside `payload` (true) or beside `answer` (false), both readings of the createRoom sample.
    pub nested: bool,
    /// `server` as an array of objects instead of one object.
    pub server_array: bool,
    /// Answer every leaveRoom with the 403 that the page prints in the place of success.
    pub leave_slip: bool,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { nested: true, server_array: false, leave_slip: false }
    }
}

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
    pub out: Vec<(Conn, Value)>,
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
    invites: BTreeMap<String, Invite>,
    /// Answers given, by user (or connection) and `requestID`: a repeated request gets the same one.
    answered: BTreeMap<(String, String), Option<Value>>,
    counter: u64,
}

#[derive(Clone, Debug)]
struct Room {
    spec: RoomSpec,
    owner: String,
    record: bool,
    participants: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Peer {
    user: String,
    device: String,
}

/// An invite (or inviteRequest) on its way; keyed by the id used towards the invited.
#[derive(Clone, Debug)]
struct Invite {
    name: String,
    /// Where the result goes: connection and id of the inviter's own request; `None`: a test invites.
    inviter: Option<(Conn, String)>,
    to: String,
    /// Connections that still ring.
    ringing: BTreeSet<Conn>,
    payload: Value,
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
            invites: BTreeMap::new(),
            answered: BTreeMap::new(),
            counter: 0,
        };
        rooms.into_iter().for_each(|room| office.add_room(room));
        office
    }

    pub fn add_room(&mut self, spec: RoomSpec) {
        let room = Room { spec, owner: String::new(), record: false, participants: BTreeSet::new() };
        self.rooms.insert(room.spec.id.clone(), room);
    }

    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusals.retain(|old| old.request != refusal.request);
        self.refusals.push(refusal);
    }

    /// Forgets every connection, membership, invite and answer, as a restarted process does; rooms stay if `rooms`.
    pub fn forget(&mut self, rooms: bool) {
        self.peers.clear();
        self.invites.clear();
        self.answered.clear();
        match rooms {
            true => self.rooms.values_mut().for_each(|room| room.participants.clear()),
            false => self.rooms.clear(),
        }
    }

    pub fn peer(&self, conn: Conn) -> Option<(&str, &str)> {
        self.peers.get(&conn).map(|peer| (peer.user.as_str(), peer.device.as_str()))
    }

    pub fn participants(&self, room: &str) -> Vec<String> {
        self.rooms.get(room).map(|room| room.participants.iter().cloned().collect()).unwrap_or_default()
    }

    pub fn connections_of(&self, user: &str) -> Vec<Conn> {
        self.peers.iter().filter(|(_, peer)| peer.user == user).map(|(conn, _)| *conn).collect()
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
            self.on_invite_accepted(conn, &id, &mut out);
        } else if text("cancel").is_some() {
            let error = frame["error"].as_u64().or(frame["payload"]["error"].as_u64()).unwrap_or(487) as u16;
            self.on_cancel(conn, &id, error, &mut out);
        }
        Handled { out, again: false }
    }

    /// The connection is gone: its user leaves every room at once (`rooms.removeAfter` 0).
    pub fn closed(&mut self, conn: Conn) -> Vec<(Conn, Value)> {
        let mut out = Vec::new();
        let Some(peer) = self.peers.remove(&conn) else { return out };
        if self.connections_of(&peer.user).is_empty() {
            let rooms: Vec<String> = self.rooms.keys().cloned().collect();
            rooms.iter().for_each(|room| self.remove_participant(room, &peer.user, &mut out));
        }
        for invite in self.invites.values_mut() {
            invite.ringing.remove(&conn);
        }
        out
    }

    /// A test invites `to` into `room` in the name of `from`. Returns the `requestID` used.
    pub fn invite(&mut self, from: &str, to: &str, room: &str) -> (String, Vec<(Conn, Value)>) {
        let payload = json!({"from": from, "to": to, "room": room,
            "mediatypes": {"audio": true, "video": false, "screen": false}, "context": {}});
        let mut out = Vec::new();
        let id = self.ring("invite", None, from, to, &payload, &mut out);
        (id, out)
    }

    /// A test withdraws an invite of its own.
    pub fn cancel_invite(&mut self, id: &str, error: u16) -> Vec<(Conn, Value)> {
        let mut out = Vec::new();
        if let Some(invite) = self.invites.remove(id) {
            stop_ringing(&invite, id, error, None, &mut out);
        }
        out
    }

    /// Ends a room for everyone in it.
    pub fn destroy(&mut self, room: &str) -> Vec<(Conn, Value)> {
        let Some(gone) = self.rooms.remove(room) else { return Vec::new() };
        let notice = event("destroyed", json!({"roomId": room}));
        self.to_users(&gone.participants, &notice)
    }

    /// Puts a user out of a room; the ACL loses them too.
    pub fn expel(&mut self, room: &str, user: &str) -> Vec<(Conn, Value)> {
        let mut out = Vec::new();
        for conn in self.connections_of(user) {
            out.push((conn, event("expelled", json!({"roomId": room, "userId": user}))));
        }
        self.remove_participant(room, user, &mut out);
        if let Some(acl) = self.rooms.get_mut(room).and_then(|room| room.spec.acl.as_mut()) {
            acl.retain(|name| name != user);
        }
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
        let mut all: Vec<(Conn, Value)> = reply.into_iter().map(|frame| (conn, frame)).collect();
        all.extend(out);
        Handled { out: all, again: false }
    }

    fn on_register(&mut self, conn: Conn, id: &str, payload: &Value) -> Value {
        let text = |key: &str| payload[key].as_str().unwrap_or_default().to_string();
        if self.token.as_ref().is_some_and(|token| *token != text("token")) {
            return cancel("register", id, 403, "invalid token");
        }
        if text("username").is_empty() {
            return cancel("register", id, 400, "no username");
        }
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
        out: &mut Vec<(Conn, Value)>,
    ) -> Option<Value> {
        let room = ["room", "roomId", "uuid"].iter().find_map(|key| payload[*key].as_str()).unwrap_or_default();
        let known = self.rooms.contains_key(room);
        let admitted = self.rooms.get(room).is_some_and(|room| room.admits(user));
        let inside = self.rooms.get(room).is_some_and(|room| room.participants.contains(user));
        let not_in_acl = || Some(cancel(name, id, 403, "user not included into ACL"));
        match name {
            "register" => Some(answer("register", id, json!({"id": format!("{conn:024x}")}))),
            "unregister" => {
                out.extend(self.closed(conn));
                Some(answer(name, id, json!({})))
            }
            "createRoom" => {
                let room = self.create_room(user, payload["record"] == true);
                Some(self.room_answer(name, id, &room, user))
            }
            "joinRoom" if !known => Some(cancel(name, id, 404, "room not found")),
            "joinRoom" if !admitted => not_in_acl(),
            "joinRoom" => {
                self.add_participant(room, user, out);
                Some(self.room_answer(name, id, room, user))
            }
            "leaveRoom" => {
                self.remove_participant(room, user, out);
                if inside && !self.shape.leave_slip { Some(answer(name, id, Value::Null)) } else { not_in_acl() }
            }
            "destroyRoom" if !known => Some(cancel(name, id, 404, "room not found")),
            "destroyRoom" if self.rooms[room].owner != user => Some(cancel(name, id, 403, "not the owner")),
            "destroyRoom" => {
                out.extend(self.destroy(room));
                Some(answer(name, id, Value::Null))
            }
            "getRooms" => {
                let mine = self.rooms.values().filter(|room| room.participants.contains(user));
                let rooms: Vec<Value> = mine.map(|room| self.room_fields(room, user)).collect();
                Some(answer(name, id, json!({"rooms": rooms})))
            }
            "getCurrentInvitations" => {
                let mine = self.invites.iter().filter(|(_, invite)| invite.to == user);
                let pending: Vec<Value> = mine.map(|(_, invite)| invite.payload.clone()).collect();
                Some(answer(name, id, json!({"currentInvitations": pending})))
            }
            "addParticipants" | "removeParticipants" if !known => Some(cancel(name, id, 404, "room not found")),
            "addParticipants" => {
                let added = strings(&payload["participants"]);
                if let Some(acl) = self.rooms.get_mut(room).and_then(|room| room.spec.acl.as_mut()) {
                    acl.extend(added);
                }
                Some(answer(name, id, Value::Null))
            }
            "removeParticipants" => {
                strings(&payload["participants"]).iter().for_each(|gone| out.extend(self.expel(room, gone)));
                Some(answer(name, id, Value::Null))
            }
            "mute" => {
                self.on_mute(user, room, payload, out);
                Some(answer(name, id, Value::Null))
            }
            "invite" | "invitation" | "inviteRequest" => {
                let to = payload["to"].as_str().unwrap_or_default();
                if name != "inviteRequest" && !known {
                    return Some(cancel(name, id, 404, "room not found"));
                }
                if self.connections_of(to).is_empty() {
                    return Some(cancel(name, id, 480, "user not available"));
                }
                self.ring(name, Some((conn, id.to_string())), user, to, payload, out);
                None
            }
            _ => Some(cancel(name, id, 501, "unknown request")),
        }
    }

    fn on_mute(&mut self, user: &str, room: &str, payload: &Value, out: &mut Vec<(Conn, Value)>) {
        let target = payload["to"].as_str().unwrap_or_default();
        let muted = payload["muted"].as_bool().unwrap_or(true);
        if target == user {
            let participants = self.rooms.get(room).map(|room| room.participants.clone()).unwrap_or_default();
            let notice = event("mute", json!({"roomId": room, "userId": user, "muted": muted}));
            out.extend(self.to_users(&participants, &notice));
            return;
        }
        for conn in self.connections_of(target) {
            let wish = json!({"roomId": room, "to": target, "media": "audio", "muted": muted});
            out.push((conn, event("mute-request", wish)));
        }
    }

    /// Sends an invite to every device of `to`, and lets them into the room.
    fn ring(
        &mut self,
        name: &str,
        inviter: Option<(Conn, String)>,
        from: &str,
        to: &str,
        wish: &Value,
        out: &mut Vec<(Conn, Value)>,
    ) -> String {
        let id = self.next_id();
        let mut payload = wish.as_object().cloned().unwrap_or_default();
        payload.insert("id".into(), id.as_str().into());
        payload.insert("from".into(), from.into());
        payload.insert("fromDetails".into(), json!({"username": from, "displayName": from, "contactName": from}));
        payload.remove("to");
        if let Some(room) = payload.get("room").and_then(Value::as_str).map(String::from) {
            if let Some(acl) = self.rooms.get_mut(&room).and_then(|room| room.spec.acl.as_mut()) {
                acl.push(to.into());
            }
            if let Some(room) = self.rooms.get(&room) {
                payload.insert("room".into(), self.room_fields(room, to));
            }
        }
        let payload = Value::Object(payload);
        let ringing: BTreeSet<Conn> = self.connections_of(to).into_iter().collect();
        for conn in &ringing {
            out.push((*conn, json!({"request": name, "requestID": id, "payload": payload})));
        }
        self.invites.insert(id.clone(), Invite { name: name.into(), inviter, to: to.into(), ringing, payload });
        id
    }

    fn on_invite_accepted(&mut self, conn: Conn, id: &str, out: &mut Vec<(Conn, Value)>) {
        let Some(invite) = self.invites.remove(id) else { return };
        stop_ringing(&invite, id, 487, Some(conn), out);
        if let Some((inviter, their_id)) = &invite.inviter {
            out.push((*inviter, answer(&invite.name, their_id, json!({"code": 200, "whoAccepted": invite.to}))));
        }
    }

    /// Either an invited device declines, or an inviter withdraws.
    fn on_cancel(&mut self, conn: Conn, id: &str, error: u16, out: &mut Vec<(Conn, Value)>) {
        if let Some(invite) = self.invites.get_mut(id) {
            invite.ringing.remove(&conn);
            if !invite.ringing.is_empty() {
                return;
            }
            let invite = self.invites.remove(id).expect("it was just found");
            if let Some((inviter, their_id)) = &invite.inviter {
                out.push((*inviter, cancel(&invite.name, their_id, error, "declined")));
            }
            return;
        }
        let withdrawn = self.invites.iter().find(|(_, invite)| invite.inviter == Some((conn, id.to_string())));
        if let Some(ours) = withdrawn.map(|(ours, _)| ours.clone()) {
            out.extend(self.cancel_invite(&ours, error));
        }
    }

    fn create_room(&mut self, user: &str, record: bool) -> String {
        self.counter += 1;
        let number = 26_777_000 + self.counter;
        let id = format!("{:064x}", u128::from(number) * 0x2f11_c520_47f2_44f7_8e1d_eac1);
        let spec = RoomSpec {
            id: id.clone(),
            sip_uri: format!("sip:888{number}@{}", self.mixer),
            bitrate: self.bitrate,
            acl: Some(vec![user.into()]),
        };
        let room = Room { spec, owner: user.into(), record, participants: BTreeSet::from([user.to_string()]) };
        self.rooms.insert(id.clone(), room);
        id
    }

    fn add_participant(&mut self, room: &str, user: &str, out: &mut Vec<(Conn, Value)>) {
        let Some(entry) = self.rooms.get_mut(room) else { return };
        let others = entry.participants.clone();
        if entry.participants.insert(user.to_string()) {
            let notice = event("participant", json!({"roomId": room, "userId": user, "status": "IN_CALL"}));
            out.extend(self.to_users(&others, &notice));
        }
    }

    fn remove_participant(&mut self, room: &str, user: &str, out: &mut Vec<(Conn, Value)>) {
        let Some(entry) = self.rooms.get_mut(room) else { return };
        if entry.participants.remove(user) {
            let others = entry.participants.clone();
            let notice = event("participant", json!({"roomId": room, "userId": user, "status": "GONE"}));
            out.extend(self.to_users(&others, &notice));
        }
    }

    fn to_users(&self, users: &BTreeSet<String>, frame: &Value) -> Vec<(Conn, Value)> {
        let of_users = self.peers.iter().filter(|(_, peer)| users.contains(&peer.user));
        of_users.map(|(conn, _)| (*conn, frame.clone())).collect()
    }

    fn room_answer(&self, name: &str, id: &str, room: &str, user: &str) -> Value {
        let fields = self.room_fields(&self.rooms[room], user);
        if self.shape.nested {
            return answer(name, id, fields);
        }
        let mut flat = fields.as_object().cloned().unwrap_or_default();
        flat.insert("answer".into(), name.into());
        flat.insert("requestID".into(), id.into());
        Value::Object(flat)
    }

    /// The fields of the createRoom sample, all of them.
    fn room_fields(&self, room: &Room, user: &str) -> Value {
        let number: String = room.spec.sip_uri.chars().skip_while(|c| *c != ':').skip(1).collect();
        let number: String = number.chars().take_while(char::is_ascii_digit).collect();
        let server =
            json!({"https": "wss://collaborator.example/sfu1/socket.io", "wss": "wss://collaborator.example/ws-sfu1"});
        let token =
            room.spec.id.bytes().chain(user.bytes()).fold(7_u128, |sum, b| sum.wrapping_mul(257) + u128::from(b));
        json!({
            "id": "60315b4fe951a9c42cae6e0f",
            "uuid": room.spec.id,
            "owner": room.owner,
            "record": room.record,
            "number": number.strip_prefix("888").unwrap_or(&number),
            "sipUri": room.spec.sip_uri,
            "bitrate": room.spec.bitrate,
            "serverUuid": "RQQVnaPf9ZQtiL2sDDZf5aoZ1gBTUagW6AcIRVG47jyEpl80nKkBMG0be0VmROmf",
            "server": if self.shape.server_array { json!([server]) } else { server },
            "timestamp": 1_613_847_375_280_u64,
            "participantsLimit": 100,
            "ice": [{"urls": "stun:stun.example:19302"}],
            "room": room.spec.id,
            "token": format!("{token:032x}"),
            "participants": room.participants,
        })
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

impl Room {
    fn admits(&self, user: &str) -> bool {
        self.spec.acl.as_ref().is_none_or(|acl| acl.iter().any(|name| name == user))
    }
}

fn stop_ringing(invite: &Invite, id: &str, error: u16, except: Option<Conn>, out: &mut Vec<(Conn, Value)>) {
    for conn in invite.ringing.iter().filter(|conn| Some(**conn) != except) {
        out.push((*conn, cancel(&invite.name, id, error, "cancelled")));
    }
}

fn answer(name: &str, id: &str, payload: Value) -> Value {
    let mut frame = Map::new();
    frame.insert("requestID".into(), id.into());
    frame.insert("answer".into(), name.into());
    if !payload.is_null() {
        frame.insert("payload".into(), payload);
    }
    Value::Object(frame)
}

fn cancel(name: &str, id: &str, error: u16, message: &str) -> Value {
    json!({"requestID": id, "cancel": name, "error": error, "message": message})
}

fn event(name: &str, payload: Value) -> Value {
    json!({"type": "event", "payload": {"eventName": name, "payload": payload}})
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office(shape: Shape) -> Office {
        let closed = RoomSpec { acl: Some(vec!["bob".into()]), ..RoomSpec::open("r2", "sip:8882@mixer:5080", 24) };
        let rooms = vec![RoomSpec::open("r1", "sip:88826777033@mixer:5080", 64), closed];
        let mut office = Office::new(shape, Some("secret".into()), "mixer:5080".into(), 1024, rooms);
        for (conn, user) in [(1, "alice"), (2, "bob")] {
            let frame = request("register", "reg", json!({"username": user, "token": "secret", "deviceId": user}));
            assert_eq!(office.handle(conn, &frame).out[0].1["answer"], "register");
        }
        office
    }

    fn request(name: &str, id: &str, payload: Value) -> Value {
        json!({"request": name, "requestID": id, "payload": payload})
    }

    #[test]
    fn a_room_has_every_field_of_the_sample_in_both_shapes() {
        let fields = [
            "id",
            "uuid",
            "owner",
            "record",
            "number",
            "sipUri",
            "bitrate",
            "serverUuid",
            "server",
            "timestamp",
            "participantsLimit",
            "ice",
            "room",
            "token",
            "participants",
        ];
        for shape in [Shape::default(), Shape { nested: false, server_array: true, leave_slip: false }] {
            let reply = office(shape).handle(1, &request("createRoom", "c1", json!({}))).out.remove(0).1;
            assert_eq!((&reply["answer"], &reply["requestID"]), (&json!("createRoom"), &json!("c1")));
            let room = if shape.nested { &reply["payload"] } else { &reply };
            fields.iter().for_each(|field| assert!(room.get(field).is_some(), "{field} is missing in {room}"));
            assert_eq!(room["server"].is_array(), shape.server_array);
            assert_eq!(room["participants"], json!(["alice"]));
            let number = room["number"].as_str().expect("a string");
            assert_eq!(room["sipUri"], format!("sip:888{number}@mixer:5080"));
        }
    }

    #[test]
    fn joining_and_leaving_follow_the_acl_and_tell_the_others() {
        let mut office = office(Shape::default());
        office.handle(2, &request("joinRoom", "1", json!({"room": "r1"})));
        let out = office.handle(1, &request("joinRoom", "2", json!({"room": "r1"}))).out;
        assert_eq!(out[0].1["payload"]["sipUri"], "sip:88826777033@mixer:5080");
        assert_eq!(out[0].1["payload"]["number"], "26777033");
        assert_eq!((out[1].0, &out[1].1["payload"]["payload"]["status"]), (2, &json!("IN_CALL")));
        let refused = office.handle(1, &request("joinRoom", "3", json!({"room": "r2"}))).out.remove(0).1;
        assert_eq!(refused, cancel("joinRoom", "3", 403, "user not included into ACL"));
        assert_eq!(office.handle(1, &request("joinRoom", "4", json!({"room": "?"}))).out[0].1["error"], 404);
        let left = office.handle(1, &request("leaveRoom", "5", json!({"room": "r1"}))).out;
        assert_eq!(left[0].1, json!({"requestID": "5", "answer": "leaveRoom"}));
        assert_eq!(left[1].1["payload"]["payload"]["status"], "GONE");
        assert_eq!(office.handle(1, &request("leaveRoom", "6", json!({"room": "r1"}))).out[0].1["error"], 403);
    }

    #[test]
    fn a_repeated_id_gets_the_same_answer_and_makes_no_second_room() {
        let mut office = office(Shape::default());
        let first = office.handle(1, &request("createRoom", "x", json!({})));
        let second = office.handle(1, &request("createRoom", "x", json!({})));
        assert_eq!(first.out, second.out);
        assert!(second.again && !first.again);
        assert_eq!(office.rooms.len(), 3);
    }

    #[test]
    fn an_invite_goes_through_and_its_result_comes_back() {
        let mut office = office(Shape::default());
        let wish = json!({"to": "bob", "room": "r1"});
        let ring = office.handle(1, &request("invite", "i1", wish.clone())).out;
        assert_eq!((ring.len(), ring[0].0), (1, 2));
        assert_eq!(ring[0].1["payload"]["from"], "alice");
        assert_eq!(ring[0].1["payload"]["room"]["sipUri"], "sip:88826777033@mixer:5080");
        let id = ring[0].1["requestID"].as_str().expect("an id").to_string();
        let out = office.handle(2, &json!({"answer": "invite", "requestID": id, "payload": {}})).out;
        assert_eq!(out, [(1, answer("invite", "i1", json!({"code": 200, "whoAccepted": "bob"})))]);

        let id = office.handle(1, &request("invite", "i2", wish.clone())).out[0].1["requestID"].clone();
        let out = office.handle(2, &json!({"cancel": "invite", "requestID": id, "error": 486})).out;
        assert_eq!(out, [(1, cancel("invite", "i2", 486, "declined"))]);

        office.handle(1, &request("invite", "i3", wish));
        let out = office.handle(1, &json!({"cancel": "invite", "requestID": "i3", "error": 487})).out;
        assert_eq!((out[0].0, &out[0].1["error"]), (2, &json!(487)));
        let nobody = office.handle(1, &request("invite", "i4", json!({"to": "zoe", "room": "r1"}))).out;
        assert_eq!(nobody[0].1["error"], 480);
    }

    #[test]
    fn a_stranger_is_refused_and_a_lost_connection_leaves_its_rooms() {
        let mut office = office(Shape::default());
        assert_eq!(office.handle(9, &request("joinRoom", "1", json!({"room": "r1"}))).out[0].1["error"], 401);
        let bad = request("register", "2", json!({"username": "eve", "token": "guess"}));
        assert_eq!(office.handle(9, &bad).out[0].1["error"], 403);
        office.handle(1, &request("joinRoom", "3", json!({"room": "r1"})));
        office.closed(1);
        assert!(office.participants("r1").is_empty());
    }

    #[test]
    fn a_standing_refusal_counts_down() {
        let mut office = office(Shape::default());
        office.refuse(Refusal { request: "joinRoom".into(), error: 503, message: "busy".into(), times: 1 });
        assert_eq!(office.handle(1, &request("joinRoom", "1", json!({"room": "r1"}))).out[0].1["error"], 503);
        assert_eq!(office.handle(1, &request("joinRoom", "2", json!({"room": "r1"}))).out[0].1["answer"], "joinRoom");
    }
}
