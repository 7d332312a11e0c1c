//! Rooms: who may come, who is there, and the object that describes one.

use super::shape::{answer, cancel, event, strings};
use super::{Frames, News, Notices, Office};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

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
    /// Most participants at a time.
    pub limit: usize,
    /// It is a meeting: joined by its id, with this password (empty: none), from this time on.
    pub meeting: Option<Meeting>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Meeting {
    pub password: String,
    /// Milliseconds since the Unix epoch; 0: it has begun.
    pub valid_since_ms: u64,
}

impl RoomSpec {
    pub fn open(id: &str, sip_uri: &str, bitrate: u32) -> RoomSpec {
        RoomSpec { id: id.into(), sip_uri: sip_uri.into(), bitrate, acl: None, limit: 100, meeting: None }
    }

    /// Reads `{"id":..,"sipUri":..,"bitrate":..,"acl":[..],"limit":..,"password":..,"validSince":..}`; all but the first
    /// two may be missing, and one of the last two makes it a meeting.
    pub fn from_json(value: &Value) -> Option<RoomSpec> {
        let acl = value["acl"].as_array();
        let meeting = (value["password"].is_string() || value["validSince"].is_u64()).then(|| Meeting {
            password: value["password"].as_str().unwrap_or_default().into(),
            valid_since_ms: value["validSince"].as_u64().unwrap_or(0),
        });
        Some(RoomSpec {
            id: value["id"].as_str()?.into(),
            sip_uri: value["sipUri"].as_str()?.into(),
            bitrate: value["bitrate"].as_u64().unwrap_or(1024) as u32,
            acl: acl.map(|users| users.iter().filter_map(Value::as_str).map(String::from).collect()),
            limit: value["limit"].as_u64().unwrap_or(100) as usize,
            meeting,
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) spec: RoomSpec,
    pub(super) owner: String,
    pub(super) record: bool,
    pub(super) participants: BTreeSet<String>,
    /// Participants that hold their call.
    pub(super) holding: BTreeSet<String>,
}

impl Room {
    pub(super) fn new(spec: RoomSpec) -> Room {
        Room { spec, owner: String::new(), record: false, participants: BTreeSet::new(), holding: BTreeSet::new() }
    }

    fn admits(&self, user: &str) -> bool {
        self.spec.acl.as_ref().is_none_or(|acl| acl.iter().any(|name| name == user))
    }
}

/// The place of a room's id in a request.
pub(super) fn room_id(payload: &Value) -> &str {
    ["room", "roomId", "uuid"].iter().find_map(|key| payload[*key].as_str()).unwrap_or_default()
}

impl Office {
    pub(super) fn on_create(&mut self, user: &str, id: &str, payload: &Value) -> Value {
        let room = self.new_room(vec![user.into()]);
        let entry = self.rooms.get_mut(&room).expect("it was just made");
        entry.owner = user.into();
        entry.record = payload["record"] == true;
        entry.participants.insert(user.into());
        self.room_answer("createRoom", id, &room, user)
    }

    pub(super) fn on_join(&mut self, user: &str, name: &str, id: &str, payload: &Value, out: &mut Frames) -> Value {
        let wanted = room_id(payload);
        if !self.rooms.contains_key(wanted) && is_quick_conference(wanted) {
            let uri = format!("sip:888{}@{}", &wanted[wanted.len() - 8..], self.mixer);
            let spec = RoomSpec { bitrate: self.bitrate, ..RoomSpec::open(wanted, &uri, 0) };
            self.rooms.insert(wanted.into(), Room::new(spec));
        }
        let Some(room) = self.rooms.get(wanted) else { return cancel(name, id, 404, "room not found") };
        if let Some(meeting) = &room.spec.meeting {
            if meeting.valid_since_ms > unix_ms() {
                let mut refusal = cancel(name, id, 403, "AccessBeforeTimeError");
                refusal["payload"] = json!({"validSince": meeting.valid_since_ms});
                return refusal;
            }
            if !meeting.password.is_empty() && payload["password"] != meeting.password {
                return cancel(name, id, 403, "WrongPasswordError");
            }
        }
        if !room.admits(user) {
            return cancel(name, id, 403, "user not included into ACL");
        }
        if room.participants.len() >= room.spec.limit && !room.participants.contains(user) {
            return cancel(name, id, 486, "participantsLimit reached");
        }
        self.add_participant(wanted, user, out);
        self.room_answer(name, id, wanted, user)
    }

    pub(super) fn on_leave(&mut self, user: &str, id: &str, room: &str, out: &mut Frames) -> Value {
        let inside = self.rooms.get(room).is_some_and(|room| room.participants.contains(user));
        self.remove_participant(room, user, out);
        if inside && !self.shape.leave_slip {
            answer("leaveRoom", id, Value::Null)
        } else {
            cancel("leaveRoom", id, 403, "user not included into ACL")
        }
    }

    pub(super) fn on_destroy(&mut self, user: &str, id: &str, room: &str, out: &mut Frames) -> Value {
        match self.rooms.get(room) {
            None => cancel("destroyRoom", id, 404, "room not found"),
            Some(room) if room.owner != user => cancel("destroyRoom", id, 403, "not the owner"),
            Some(_) => {
                out.extend(self.destroy(room));
                answer("destroyRoom", id, Value::Null)
            }
        }
    }

    /// Rooms a user is in, or made and did not destroy.
    pub(super) fn on_list(&self, user: &str, id: &str) -> Value {
        let mine = self.rooms.values().filter(|room| room.participants.contains(user) || room.owner == user);
        let entry = |room: &Room| match self.shape.list_ids && room.owner != user {
            true => json!(room.spec.id),
            false => self.room_fields(room, user),
        };
        let rooms: Vec<Value> = mine.map(entry).collect();
        match self.shape.nested {
            true => answer("getRooms", id, json!({"rooms": rooms})),
            false => answer("getRooms", id, json!(rooms)),
        }
    }

    pub(super) fn on_acl(&mut self, name: &str, id: &str, room: &str, payload: &Value, out: &mut Frames) -> Value {
        let Some(entry) = self.rooms.get_mut(room) else { return cancel(name, id, 404, "room not found") };
        let users = strings(&payload["participants"]);
        if name == "removeParticipants" {
            users.iter().for_each(|gone| out.extend(self.expel(room, gone)));
        } else if let Some(acl) = &mut entry.spec.acl {
            acl.extend(users);
        }
        answer(name, id, Value::Null)
    }

    /// Asked about oneself it is a report, which all hear; asked about another it is a request to that one.
    pub(super) fn on_mute(&mut self, user: &str, id: &str, room: &str, payload: &Value, out: &mut Frames) -> Value {
        let target = payload["to"].as_str().unwrap_or_default();
        let muted = payload["muted"].as_bool().unwrap_or(true);
        if target == user {
            let participants = self.rooms.get(room).map(|room| room.participants.clone()).unwrap_or_default();
            let notice = event("mute", json!({"roomId": room, "userId": user, "muted": muted}));
            out.extend(self.to_users(&participants, &notice));
            return answer("mute", id, Value::Null);
        }
        let targets = self.connections_of(target);
        if targets.is_empty() {
            return cancel("mute", id, self.absence(target), "user not available");
        }
        let wish = json!({"roomId": room, "to": target, "media": "audio", "muted": muted});
        out.extend(targets.into_iter().map(|conn| (conn, event("mute-request", wish.clone()))));
        answer("mute", id, Value::Null)
    }

    /// The media server tells that a participant holds or resumes.
    pub fn hold(&mut self, room: &str, user: &str, held: bool) -> Frames {
        let mut out = Vec::new();
        let Some(entry) = self.rooms.get_mut(room) else { return out };
        let changed = if held { entry.holding.insert(user.into()) } else { entry.holding.remove(user) };
        if changed {
            self.tell_news(room, user, if held { "HOLD" } else { "IN_CALL" }, held, &mut out);
        }
        out
    }

    /// Tells everybody in the room who speaks; `None`: nobody does.
    pub fn active_speaker(&self, room: &str, user: Option<&str>) -> Frames {
        let Some(entry) = self.rooms.get(room) else { return Vec::new() };
        let speaker = user.map_or(Value::Null, |user| json!({"userId": user, "isTalking": true}));
        let notice = event("activeSpeaker", json!({"roomId": room, "participant": speaker}));
        self.to_users(&entry.participants, &notice)
    }

    /// Wants to know how every device of a user is.
    pub fn ask_for_snapshot(&mut self, user: &str) -> Frames {
        let mut out = Vec::new();
        self.notify(user, "endpointSnapshot", json!({}), &mut out);
        out
    }

    /// Ends a room for everyone in it.
    pub fn destroy(&mut self, room: &str) -> Frames {
        let Some(gone) = self.rooms.remove(room) else { return Vec::new() };
        let word = self.shape.destroyed;
        let mut out = Vec::new();
        for user in &gone.participants {
            self.notify(user, word, json!({"roomId": room}), &mut out);
        }
        out
    }

    /// Puts a user out of a room; the ACL loses them too.
    pub fn expel(&mut self, room: &str, user: &str) -> Frames {
        let mut out = Vec::new();
        match self.shape.expelled {
            "" => {
                let gone = event("participant", json!({"roomId": room, "userId": user, "status": "GONE"}));
                out.extend(self.connections_of(user).into_iter().map(|conn| (conn, gone.clone())));
            }
            word => self.notify(user, word, json!({"roomId": room, "userId": user}), &mut out),
        }
        self.remove_participant(room, user, &mut out);
        if let Some(acl) = self.rooms.get_mut(room).and_then(|room| room.spec.acl.as_mut()) {
            acl.retain(|name| name != user);
        }
        out
    }

    /// A room of the server's making, for these users.
    pub(super) fn new_room(&mut self, acl: Vec<String>) -> String {
        self.counter += 1;
        let number = 26_777_000 + self.counter;
        let id = format!("{:064x}", u128::from(number) * 0x2f11_c520_47f2_44f7_8e1d_eac1);
        let uri = format!("sip:888{number}@{}", self.mixer);
        let spec = RoomSpec { acl: Some(acl), ..RoomSpec::open(&id, &uri, self.bitrate) };
        self.rooms.insert(id.clone(), Room::new(spec));
        id
    }

    pub(super) fn add_participant(&mut self, room: &str, user: &str, out: &mut Frames) {
        let Some(entry) = self.rooms.get_mut(room) else { return };
        if entry.participants.insert(user.to_string()) {
            self.tell_news(room, user, "IN_CALL", false, out);
        }
    }

    pub(super) fn remove_participant(&mut self, room: &str, user: &str, out: &mut Frames) {
        let Some(entry) = self.rooms.get_mut(room) else { return };
        entry.holding.remove(user);
        if entry.participants.remove(user) {
            self.tell_news(room, user, "GONE", false, out);
        }
    }

    /// Tells the others in the room what has become of `user`.
    fn tell_news(&self, room: &str, user: &str, status: &str, held: bool, out: &mut Frames) {
        let Some(entry) = self.rooms.get(room) else { return };
        let status_of = |name: &String| if entry.holding.contains(name) { "HOLD" } else { "IN_CALL" };
        let notice = match self.shape.news {
            News::Single => event("participant", json!({"roomId": room, "userId": user, "status": status})),
            News::List => {
                let one = |name: &String| match status_of(name) {
                    "IN_CALL" => json!(name),
                    status => json!({"userId": name, "status": status}),
                };
                let all = entry.participants.iter().map(one);
                event("participants", json!({"roomId": room, "participants": all.collect::<Vec<_>>()}))
            }
            News::Map => {
                let all = entry.participants.iter().map(|name| (name.clone(), json!(status_of(name))));
                let all: serde_json::Map<_, _> = all.collect();
                event("roomUpdated", json!({"room": {"uuid": room, "participants": all}}))
            }
            News::Names => {
                let word = match (status, held) {
                    ("GONE", _) => "participantRemoved",
                    (_, true) => "participantHold",
                    (_, false) => "participantAdded",
                };
                event(word, json!({"roomId": room, "userId": user}))
            }
        };
        let mut others = entry.participants.clone();
        others.remove(user);
        out.extend(self.to_users(&others, &notice));
    }

    /// Tells every device of `user` something that the pages name as an event; the server may send it as a request.
    pub(super) fn notify(&mut self, user: &str, word: &str, payload: Value, out: &mut Frames) {
        for conn in self.connections_of(user) {
            let frame = match self.shape.notices {
                Notices::Events => event(word, payload.clone()),
                Notices::Requests => super::shape::request(word, &self.next_id(), payload.clone()),
            };
            out.push((conn, frame));
        }
    }

    pub(super) fn room_answer(&self, name: &str, id: &str, room: &str, user: &str) -> Value {
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
    pub(super) fn room_fields(&self, room: &Room, user: &str) -> Value {
        let number: String = room.spec.sip_uri.chars().skip_while(|c| *c != ':').skip(1).collect();
        let number: String = number.chars().take_while(char::is_ascii_digit).collect();
        let server =
            json!({"https": "wss://collaborator.example/sfu1/socket.io", "wss": "wss://collaborator.example/ws-sfu1"});
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
            "participantsLimit": room.spec.limit,
            "ice": [{"urls": "stun:stun.example:19302"}],
            "room": room.spec.id,
            "token": token(&room.spec.id, user),
            "participants": room.participants,
        })
    }

    /// As transfers have it: one media token for each user instead of the participants.
    pub(super) fn room_with_acl(&self, room: &str) -> Value {
        let Some(entry) = self.rooms.get(room) else { return Value::Null };
        let mut fields = self.room_fields(entry, "");
        let users = entry.spec.acl.iter().flatten().chain(&entry.participants).collect::<BTreeSet<_>>();
        let acl = users.iter().map(|user| json!({"username": user, "token": token(room, user)}));
        fields["acl"] = acl.collect();
        fields["roomId"] = json!(room);
        fields
    }
}

/// The server accepts `wac-conf` and 20 digits (`quickConference.uriRegex`).
fn is_quick_conference(uri: &str) -> bool {
    uri.strip_prefix("wac-conf").is_some_and(|digits| digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn token(room: &str, user: &str) -> String {
    let sum = room.bytes().chain(user.bytes()).fold(7_u128, |sum, b| sum.wrapping_mul(257) + u128::from(b));
    format!("{sum:032x}")
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
