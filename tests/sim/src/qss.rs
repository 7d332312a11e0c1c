//! The QSS of the simulated world: the documented shapes, slips included, and knobs for refusals and silence.

use super::{Delivery, ROOM, SIP_URI};
use qss_endpoint::agent::{LinkError, LinkErrorKind};
use qss_endpoint::time::{Span, Time};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// For so long a request that comes again is known to be the same: longer than the device repeats one.
const IDS_REMEMBERED: Span = Span::from_secs(30);

/// What becomes of a new link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Door {
    Open,
    /// It never comes about: TLS, HTTP, the name.
    Shut(LinkError),
    /// Accepted, and closed so many milliseconds later.
    Revolving(u64),
    /// Accepted only so many milliseconds later.
    Slow(u64),
}

pub struct Meeting {
    pub password: String,
    /// By the wall clock, milliseconds since the Unix epoch.
    pub begins_ms: u64,
}

pub struct Qss {
    pub up: bool,
    /// Accepts the link, reads everything, does and says nothing.
    pub mute: bool,
    /// Does what it is asked, and says nothing.
    pub tongueless: bool,
    /// How a new link fares.
    pub door: Door,
    /// Request name -> refusal (code, message); 0 as code: no answer at all.
    pub refuse: BTreeMap<String, (u16, &'static str)>,
    pub rooms: BTreeMap<String, Value>,
    /// By id, when requests were refused and how.
    refused: BTreeMap<String, (Time, (u16, &'static str))>,
    /// Put the room's fields beside `answer` instead of under `payload`.
    pub flat: bool,
    /// Rooms that are meetings.
    pub meetings: BTreeMap<String, Meeting>,
    /// Whom the device may invite: after how many milliseconds they decide, and how (200: they accept; 0: never).
    pub people: BTreeMap<String, (u64, u16)>,
    /// Whom the device may ask to be invited: after how many milliseconds they invite it, and into which room.
    pub hosts: BTreeMap<String, (u64, String)>,
    /// Invitations that are still pending for the device, as `getCurrentInvitations` tells them.
    pub pending: Vec<Value>,
    /// Every frame that came in: (time, frame).
    pub log: Vec<(Time, Value)>,
    /// Refuses what it has done already when it is asked again, as if it were asked for the first time.
    pub forgets_ids: bool,
    /// Tokens that are good for nothing any more.
    pub revoked: BTreeSet<String>,
    /// Sequence numbers of the status events that arrived, of the device's present process.
    pub heard: BTreeSet<u64>,
    /// So many events the device said were lost.
    pub lost: u64,
    /// Rooms made, by the id of their request: the same request again means the same room.
    made: BTreeMap<String, String>,
    /// The device looks for rooms that it has left behind.
    pub sweeps: bool,
    /// Rooms made by the device that nobody destroys: it has lost its memory, or has left them to others by a transfer
    /// and does not look for them.
    pub given: BTreeSet<String>,
    link: Option<u32>,
    created: u32,
}

impl Default for Qss {
    fn default() -> Qss {
        Qss {
            up: true,
            mute: false,
            tongueless: false,
            door: Door::Open,
            refuse: BTreeMap::new(),
            rooms: BTreeMap::from([(ROOM.to_owned(), room(ROOM, SIP_URI))]),
            refused: BTreeMap::new(),
            flat: false,
            meetings: BTreeMap::new(),
            people: BTreeMap::new(),
            hosts: BTreeMap::new(),
            pending: Vec::new(),
            log: Vec::new(),
            forgets_ids: false,
            revoked: BTreeSet::new(),
            heard: BTreeSet::new(),
            lost: 0,
            made: BTreeMap::new(),
            sweeps: true,
            given: BTreeSet::new(),
            link: None,
            created: 0,
        }
    }
}

impl Qss {
    pub fn connect(&mut self, link: u32) -> Vec<(u64, Delivery)> {
        if !self.up {
            let error = LinkError { kind: LinkErrorKind::Refused, detail: "refused".into(), retry_after: None };
            return vec![(5, Delivery::Closed(link, error))];
        }
        match &self.door {
            Door::Open => {
                self.link = Some(link);
                vec![(5, Delivery::Opened(link))]
            }
            Door::Shut(error) => vec![(5, Delivery::Closed(link, error.clone()))],
            Door::Revolving(ms) => {
                self.link = Some(link);
                let error = LinkError { kind: LinkErrorKind::Closed(1013), detail: String::new(), retry_after: None };
                vec![(5, Delivery::Opened(link)), (5 + ms, Delivery::Closed(link, error))]
            }
            Door::Slow(ms) => {
                self.link = Some(link);
                vec![(*ms, Delivery::Opened(link))]
            }
        }
    }

    pub fn ping(&self, link: u32, ping: u64) -> Vec<(u64, Delivery)> {
        if self.link == Some(link) && self.up { vec![(5, Delivery::Alive(link, ping))] } else { Vec::new() }
    }

    pub fn disconnected(&mut self, link: u32) {
        if self.link == Some(link) {
            self.link = None;
        }
    }

    /// A restart without memory: the rooms that were made are gone, the configured one is not.
    pub fn forget_rooms(&mut self) {
        self.rooms.retain(|id, _| id == ROOM);
        self.made.clear();
    }

    /// The device has lost its memory: what it has made so far nobody destroys any more.
    pub fn orphan_rooms(&mut self) {
        self.given.extend(self.rooms.keys().cloned());
    }

    fn give_away(&mut self, room: &str) {
        if !self.sweeps {
            self.given.insert(room.to_owned());
        }
    }

    pub fn forget_links(&mut self) {
        self.link = None;
    }

    pub fn handle(&mut self, link: u32, text: &str, now: Time) -> Vec<(u64, Delivery)> {
        if self.link != Some(link) || !self.up {
            return Vec::new();
        }
        let frame: Value = serde_json::from_str(text).expect("the agent writes JSON");
        self.log.push((now, frame.clone()));
        if frame["type"] == "event" {
            let event = &frame["payload"]["payload"];
            self.heard.extend(event["seq"].as_u64());
            self.lost += event["lost"].as_u64().unwrap_or(0);
        }
        let Some(name) = frame["request"].as_str() else { return Vec::new() };
        let id = &frame["requestID"];
        // What has been done is not refused when it is asked for again.
        let done = !self.forgets_ids && self.made.contains_key(&id.to_string());
        let refusal = self.refuse.get(name).copied().filter(|_| !done);
        // A request that comes again under its id is the same request: refused once, it is refused again.
        self.refused.retain(|_, (at, _)| now.since(*at) < IDS_REMEMBERED);
        let before = self.refused.get(&id.to_string()).map(|(_, refusal)| *refusal);
        let refusal = refusal.or(before.filter(|_| !done));
        if let Some(refusal) = refusal.filter(|(code, _)| *code != 0 && !self.forgets_ids) {
            self.refused.entry(id.to_string()).or_insert((now, refusal));
        }
        if self.mute || refusal.is_some_and(|(code, _)| code == 0) {
            return Vec::new();
        }
        let payload = &frame["payload"];
        let said = |reply: Value| vec![(5, Delivery::Frame(link, reply.to_string()))];
        let replies = match (refusal, name) {
            (Some((code, message)), _) => said(cancel(name, id, code, message)),
            (None, "invite") => self.on_invite(link, id, payload),
            (None, "inviteRequest") => self.on_invite_request(link, id, payload),
            (None, "joinRoom") if self.meetings.contains_key(payload["room"].as_str().unwrap_or_default()) => {
                said(self.on_meeting(id, payload, now))
            }
            (None, _) => said(self.reply(name, id, payload)),
        };
        if self.tongueless { Vec::new() } else { replies }
    }

    fn on_meeting(&mut self, id: &Value, payload: &Value, now: Time) -> Value {
        let name = "joinRoom";
        let meeting = &self.meetings[payload["room"].as_str().unwrap_or_default()];
        if meeting.begins_ms > crate::wall(now, 0).0 {
            let mut refusal = cancel(name, id, 403, "AccessBeforeTimeError");
            refusal["payload"] = json!({"validSince": meeting.begins_ms});
            return refusal;
        }
        if !meeting.password.is_empty() && payload["password"] != meeting.password {
            return cancel(name, id, 403, "WrongPasswordError");
        }
        self.reply(name, id, payload)
    }

    /// Somebody is invited and decides in their own time; whom nobody knows is not found.
    fn on_invite(&self, link: u32, id: &Value, payload: &Value) -> Vec<(u64, Delivery)> {
        let to = payload["to"].as_str().unwrap_or_default();
        let user = to.split('/').next().unwrap_or_default();
        let (after, code) = self.people.get(user).copied().unwrap_or((0, 404));
        let reply = match code {
            0 => return Vec::new(),
            200 => answer("invite", id, json!({"code": 200, "whoAccepted": user})),
            code => cancel("invite", id, code, "declined"),
        };
        vec![(5 + after, Delivery::Frame(link, reply.to_string()))]
    }

    /// A host says yes, and invites in their own time; whom nobody knows is not found.
    fn on_invite_request(&self, link: u32, id: &Value, payload: &Value) -> Vec<(u64, Delivery)> {
        let name = "inviteRequest";
        let Some((after, room)) = payload["to"].as_str().and_then(|to| self.hosts.get(to)) else {
            return vec![(5, Delivery::Frame(link, cancel(name, id, 404, "no such user").to_string()))];
        };
        let invite = json!({"request": "invite", "requestID": "HOST1",
            "payload": {"from": payload["to"], "requestId": id, "room": self.rooms.get(room)}});
        vec![
            (5, Delivery::Frame(link, answer(name, id, json!({})).to_string())),
            (5 + after, Delivery::Frame(link, invite.to_string())),
        ]
    }

    fn reply(&mut self, name: &str, id: &Value, payload: &Value) -> Value {
        let wanted = ["room", "roomId"].iter().find_map(|key| payload[*key].as_str()).unwrap_or_default();
        match name {
            "register" if self.revoked.contains(payload["token"].as_str().unwrap_or_default()) => {
                cancel(name, id, 401, "token revoked")
            }
            "register" => answer(name, id, json!({"id": "peer1"})),
            "createRoom" => {
                let created = &mut self.created;
                let made = self.made.entry(id.to_string()).or_insert_with(|| {
                    *created += 1;
                    format!("created{created}")
                });
                // A conference of its own at the mixer.
                let uri = format!("sip:555{}@audiomixer-sfu1:5080", made.trim_start_matches("created"));
                let mut room = room(made, &uri);
                room["record"] = json!(payload["record"] == true);
                room["owner"] = json!("5da6");
                self.rooms.insert(made.clone(), room.clone());
                answer(name, id, room)
            }
            "joinRoom" => match self.rooms.get(wanted) {
                Some(room) if self.flat => {
                    let mut flat = room.clone();
                    flat["answer"] = json!(name);
                    flat["requestID"] = id.clone();
                    flat
                }
                Some(room) => answer(name, id, room.clone()),
                None if wanted.starts_with("wac-conf") => {
                    self.rooms.insert(wanted.to_owned(), room(wanted, SIP_URI));
                    answer(name, id, self.rooms[wanted].clone())
                }
                None if wanted.starts_with("created") => cancel(name, id, 404, "no such room"),
                None => cancel(name, id, 403, "user not included into ACL"),
            },
            // The page's own sample prints a refusal where the success should be.
            "leaveRoom" => cancel(name, id, 403, "user not included into ACL"),
            "destroyRoom" => match self.rooms.remove(wanted) {
                Some(_) => answer(name, id, json!({})),
                None => cancel(name, id, 404, "no such room"),
            },
            "getRooms" => {
                let ours = self.rooms.iter().filter(|(id, _)| id.starts_with("created")).map(|(_, room)| room);
                answer(name, id, json!({"rooms": ours.collect::<Vec<_>>()}))
            }
            "getCurrentInvitations" => answer(name, id, json!({"currentInvitations": self.pending})),
            "acceptCallTransfer" => answer(name, id, json!({})),
            "callTransfer" => {
                self.give_away(wanted);
                answer(name, id, json!({"callTransferId": "T1"}))
            }
            "attended-transfer" => {
                self.give_away(wanted);
                let target = self.rooms.values().next().cloned().unwrap_or(Value::Null);
                answer(name, id, json!({"queryRoom": {"queryRoom": target}}))
            }
            "ping" | "unregister" | "addParticipants" | "removeParticipants" | "mute" | "hold" | "unhold" => {
                answer(name, id, json!({}))
            }
            _ => cancel(name, id, 501, "unknown"),
        }
    }

    /// The rooms that the device has made and not destroyed, without those that it may have forgotten.
    pub fn rooms_left(&self) -> Vec<&str> {
        let made = self.rooms.keys().filter(|id| id.starts_with("created") && !self.given.contains(*id));
        made.map(String::as_str).collect()
    }

    pub fn requests(&self, name: &str) -> Vec<&Value> {
        self.log.iter().map(|(_, frame)| frame).filter(|frame| frame["request"] == name).collect()
    }

    /// The device's status events that arrived.
    pub fn events(&self) -> Vec<&Value> {
        let events = self.log.iter().map(|(_, frame)| frame).filter(|frame| frame["type"] == "event");
        events.map(|frame| &frame["payload"]["payload"]).collect()
    }

    /// Our reply to a request of the QSS.
    pub fn replies_to(&self, id: &str) -> Vec<&Value> {
        let is_reply = |f: &&Value| f["requestID"] == id && (f.get("answer").is_some() || f.get("cancel").is_some());
        self.log.iter().map(|(_, frame)| frame).filter(is_reply).collect()
    }
}

fn answer(name: &str, id: &Value, payload: Value) -> Value {
    json!({"answer": name, "requestID": id, "payload": payload})
}

fn cancel(name: &str, id: &Value, code: u16, message: &str) -> Value {
    json!({"requestID": id, "cancel": name, "error": code, "message": message})
}

pub fn room(id: &str, sip_uri: &str) -> Value {
    json!({"id": "60315b4fe951a9c42cae6e0f", "uuid": id, "room": id, "owner": "", "record": false,
           "number": "26777033", "sipUri": sip_uri, "bitrate": 64, "serverUuid": "RQQV",
           "server": [{"wss": "wss://collaborator/ws-sfu1"}], "timestamp": 1_613_847_375_280_u64,
           "participantsLimit": 100, "ice": [{"urls": "stun:stun.example:19302"}], "token": "51e4",
           "participants": ["5da6"]})
}
