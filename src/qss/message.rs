//! Wire types of the QSS: one JSON object per text frame, of four kinds (docs/qss.md, Frames).
//!
//! ```text
//! {"request": name, "requestID": id, "payload": {..}}          either direction
//! {"answer":  name, "requestID": id, "payload": {..}}          reply to a request
//! {"cancel":  name, "requestID": id, "error": 403, "message": ""}   refusal, or withdrawal of a request
//! {"type": "event", "payload": {"eventName": name, "payload": {..}}}
//! ```
//!
//! Reading is tolerant: fields may stand at top level or under `payload`, ids have three names, `server` is an object
//! or a list, unknown fields are ignored, a field of an unexpected type counts as absent. Nothing read here can panic,
//! and everything kept is bounded by the size of the frame. Writing follows the documented samples.

use crate::config::Secret;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Longest `requestID`, message name or room id accepted, in bytes: they are remembered, so they must be small.
pub const MAX_ID: usize = 256;

/// One frame, read.
#[derive(Clone, PartialEq, Debug)]
pub enum Frame {
    Request {
        name: String,
        id: String,
        body: Body,
    },
    Answer {
        name: String,
        id: String,
        body: Body,
    },
    /// A refusal of our request, or the withdrawal of the server's.
    Cancel {
        name: String,
        id: String,
        code: Option<u16>,
        message: String,
    },
    Event {
        name: String,
        body: Body,
    },
}

/// Why a text is no frame. The server is to blame; the text is dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Malformed {
    TooLarge,
    /// No JSON, or nested deeper than 128.
    NotJson,
    NotAnObject,
    /// None of `request`, `answer`, `cancel`, `type: event`.
    NoKind,
    /// A request, answer or cancel without a usable `requestID`.
    NoRequestId,
}

impl Malformed {
    /// For status events: stable, lower case.
    pub const fn what(self) -> &'static str {
        match self {
            Malformed::TooLarge => "qss_too_large",
            Malformed::NotJson => "qss_not_json",
            Malformed::NotAnObject => "qss_not_an_object",
            Malformed::NoKind => "qss_no_kind",
            Malformed::NoRequestId => "qss_no_request_id",
        }
    }
}

impl Frame {
    /// Reads one text frame of at most `limit` bytes.
    pub fn parse(text: &str, limit: usize) -> Result<Frame, Malformed> {
        if text.len() > limit {
            return Err(Malformed::TooLarge);
        }
        let Value::Object(mut top) = serde_json::from_str(text).map_err(|_| Malformed::NotJson)? else {
            return Err(Malformed::NotAnObject);
        };
        for kind in ["request", "answer", "cancel"] {
            let Some(Value::String(name)) = top.get(kind) else { continue };
            if name.is_empty() || name.len() > MAX_ID {
                return Err(Malformed::NoKind);
            }
            let name = name.clone();
            top.remove(kind);
            let id = take_request_id(&mut top).ok_or(Malformed::NoRequestId)?;
            let body = Body::new(top);
            return Ok(match kind {
                "request" => Frame::Request { name, id, body },
                "answer" => Frame::Answer { name, id, body },
                _ => Frame::cancel(name, id, &body),
            });
        }
        Frame::event(top).ok_or(Malformed::NoKind)
    }

    fn cancel(name: String, id: String, body: &Body) -> Frame {
        let fields = body.fields();
        let code = ["error", "code"].iter().find_map(|key| fields.number(key)).and_then(|n| u16::try_from(n).ok());
        let message = ["message", "reason"].iter().find_map(|key| fields.text(key)).unwrap_or_default();
        Frame::Cancel { name, id, code, message: shorten(message) }
    }

    /// DOC(JS36:MuteRequestEventDto): the event's own payload lies in a second `payload`.
    fn event(mut top: Map<String, Value>) -> Option<Frame> {
        if top.get("type").and_then(Value::as_str) != Some("event") {
            return None;
        }
        let mut inner = match top.remove("payload") {
            Some(Value::Object(inner)) => inner,
            _ => top,
        };
        let name = match inner.remove("eventName") {
            Some(Value::String(name)) if !name.is_empty() && name.len() <= MAX_ID => name,
            _ => return None,
        };
        Some(Frame::Event { name, body: Body::new(inner) })
    }
}

fn take_request_id(top: &mut Map<String, Value>) -> Option<String> {
    ["requestID", "requestId"].iter().find_map(|key| match top.remove(*key) {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_ID => Some(id),
        _ => None,
    })
}

/// The fields of a frame: those under `payload`, and those that a server puts beside it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Body {
    payload: Map<String, Value>,
    beside: Map<String, Value>,
}

impl Body {
    fn new(mut beside: Map<String, Value>) -> Body {
        let payload = match beside.remove("payload") {
            Some(Value::Object(payload)) => payload,
            _ => Map::new(),
        };
        Body { payload, beside }
    }

    pub fn fields(&self) -> Fields<'_> {
        Fields { payload: &self.payload, beside: Some(&self.beside) }
    }
}

/// A view of an object's fields; `null` and fields of another type count as absent.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    payload: &'a Map<String, Value>,
    beside: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    pub fn of(object: &'a Map<String, Value>) -> Fields<'a> {
        Fields { payload: object, beside: None }
    }

    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.payload.get(key).filter(|v| !v.is_null()).or_else(|| self.beside?.get(key).filter(|v| !v.is_null()))
    }

    /// A string that is not empty.
    pub fn text(self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str().filter(|s| !s.is_empty())
    }

    /// A non-negative integer, also when written as a string of digits.
    pub fn number(self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Number(n) => n.as_u64(),
            Value::String(s) => s.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    pub fn flag(self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    pub fn object(self, key: &str) -> Option<Fields<'a>> {
        self.get(key)?.as_object().map(Fields::of)
    }

    /// The elements of a list; a single value counts as a list of one.
    fn list(self, key: &str) -> &'a [Value] {
        match self.get(key) {
            Some(Value::Array(list)) => list,
            Some(one) => std::slice::from_ref(one),
            None => &[],
        }
    }

    fn texts(self, key: &str) -> Vec<String> {
        self.list(key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The room a message is about, under any of the three names (docs/qss.md, Frames).
    pub fn room_id(self) -> Option<&'a str> {
        ["room", "roomId", "uuid"].iter().find_map(|key| self.text(key)).filter(|id| id.len() <= MAX_ID)
    }
}

/// A conference room as createRoom, joinRoom or an invite describes it (docs/qss.md, Rooms). Every field may be missing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Room {
    /// What later requests name the room by; opaque (`room`, `roomId` or `uuid`).
    pub id: Option<String>,
    /// `id` on the wire: the room's document, not the room.
    pub document_id: Option<String>,
    pub owner: Option<String>,
    pub record: bool,
    pub number: Option<String>,
    pub sip_uri: Option<String>,
    /// Largest bitrate per user in kbit/s.
    pub bitrate_kbps: Option<u32>,
    pub server_uuid: Option<String>,
    pub servers: Vec<Server>,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: Option<u64>,
    pub participants_limit: Option<u32>,
    pub ice: Vec<IceServer>,
    /// Access token of the room's media server: no SIP credential.
    pub token: Option<Secret>,
    pub participants: Vec<String>,
    /// One media token per user: (user, token).
    pub acl: Vec<(String, Secret)>,
}

/// Addresses of the wrapper in front of the SFU; which of them exist depends on the deployment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Server {
    pub http: Option<String>,
    pub https: Option<String>,
    pub ws: Option<String>,
    pub wss: Option<String>,
}

/// An ICE server in the W3C form.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IceServer {
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub credential: Option<Secret>,
}

impl Room {
    /// Reads a room whose fields stand in `fields`, or in an object named `room` there. `None`: neither an id nor a
    /// SIP URI, so nothing can be done with it.
    pub fn read(fields: Fields<'_>) -> Option<Room> {
        if let Some(nested) = fields.object("room") {
            return Room::read_flat(nested);
        }
        Room::read_flat(fields)
    }

    fn read_flat(fields: Fields<'_>) -> Option<Room> {
        let text = |key| fields.text(key).map(str::to_owned);
        let room = Room {
            id: fields.room_id().map(str::to_owned),
            document_id: text("id"),
            owner: text("owner"),
            record: fields.flag("record").unwrap_or(false),
            number: text("number"),
            sip_uri: text("sipUri").filter(|uri| uri.len() <= MAX_ID),
            bitrate_kbps: fields.number("bitrate").and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0),
            server_uuid: text("serverUuid"),
            servers: fields.list("server").iter().filter_map(Server::read).collect(),
            timestamp_ms: fields.number("timestamp"),
            participants_limit: fields.number("participantsLimit").and_then(|n| u32::try_from(n).ok()),
            ice: fields.list("ice").iter().filter_map(IceServer::read).collect(),
            token: text("token").map(Secret),
            participants: fields.texts("participants"),
            acl: fields.list("acl").iter().filter_map(read_acl_entry).collect(),
        };
        (room.id.is_some() || room.sip_uri.is_some()).then_some(room)
    }
}

impl Server {
    fn read(value: &Value) -> Option<Server> {
        let fields = Fields::of(value.as_object()?);
        let text = |key| fields.text(key).map(str::to_owned);
        Some(Server { http: text("http"), https: text("https"), ws: text("ws"), wss: text("wss") })
    }
}

impl IceServer {
    fn read(value: &Value) -> Option<IceServer> {
        let fields = Fields::of(value.as_object()?);
        let urls = fields.texts("urls");
        let text = |key| fields.text(key).map(str::to_owned);
        (!urls.is_empty()).then(|| IceServer {
            urls,
            username: text("username"),
            credential: text("credential").map(Secret),
        })
    }
}

fn read_acl_entry(value: &Value) -> Option<(String, Secret)> {
    let fields = Fields::of(value.as_object()?);
    Some((fields.text("username")?.to_owned(), Secret(fields.text("token").unwrap_or_default().to_owned())))
}

/// An invitation into a room (docs/qss.md, Invites).
#[derive(Clone, PartialEq, Debug)]
pub struct Invite {
    /// User id of the inviter.
    pub from: String,
    /// `fromDetails.username`, when it says something else than `from`.
    pub username: Option<String>,
    pub display_name: Option<String>,
    pub room: Room,
}

impl Invite {
    /// `None`: there is nobody who invites, or no room to go to.
    pub fn read(fields: Fields<'_>) -> Option<Invite> {
        let details = fields.object("fromDetails");
        let detail = |key| details.and_then(|d| d.text(key)).map(str::to_owned);
        let username = detail("username");
        let from = fields.text("from").map(str::to_owned).or_else(|| username.clone())?;
        Some(Invite {
            username: username.filter(|name| *name != from),
            display_name: detail("displayName").or_else(|| detail("contactName")),
            from,
            room: Room::read(fields)?,
        })
    }
}

// --- writing ---------------------------------------------------------------------------------------------------

#[derive(Serialize)]
struct RequestFrame<'a> {
    request: &'a str,
    #[serde(rename = "requestID")]
    id: &'a str,
    payload: Value,
}

#[derive(Serialize)]
struct AnswerFrame<'a> {
    answer: &'a str,
    #[serde(rename = "requestID")]
    id: &'a str,
    payload: Value,
}

#[derive(Serialize)]
struct CancelFrame<'a> {
    cancel: &'a str,
    #[serde(rename = "requestID")]
    id: &'a str,
    error: u16,
    message: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    payload: Value,
}

pub fn write_request(name: &str, id: &str, payload: Value) -> String {
    write(&RequestFrame { request: name, id, payload })
}

pub fn write_answer(name: &str, id: &str, payload: Value) -> String {
    write(&AnswerFrame { answer: name, id, payload })
}

/// `payload` null: left out.
pub fn write_cancel(name: &str, id: &str, error: u16, message: &str, payload: Value) -> String {
    write(&CancelFrame { cancel: name, id, error, message, payload })
}

pub fn write_event(name: &str, payload: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct EventFrame<'a, P> {
        r#type: &'static str,
        payload: Named<'a, P>,
    }
    #[derive(Serialize)]
    struct Named<'a, P> {
        #[serde(rename = "eventName")]
        name: &'a str,
        payload: &'a P,
    }
    write(&EventFrame { r#type: "event", payload: Named { name, payload } })
}

/// Payload of `register` (docs/qss.md, Session).
pub fn register_payload(username: &str, token: &Secret, device_id: &str) -> Value {
    json!({ "username": username, "token": token.0, "deviceId": device_id })
}

/// Payload of `joinRoom` and `leaveRoom`; `key` is `room` unless the configuration says otherwise (1.3, 1.4).
pub fn room_payload(key: &str, room_id: &str) -> Value {
    json!({ key: room_id })
}

/// Payload of the `answer` that accepts an invite (1.6).
pub fn accept_payload(from: &str) -> Value {
    json!({ "from": from })
}

/// Payload of the `cancel` that declines an invite: the code stands at top level and here (7.15).
pub fn decline_payload(from: &str, error: u16) -> Value {
    json!({ "from": from, "error": error })
}

fn write(frame: &impl Serialize) -> String {
    serde_json::to_string(frame).expect("frames have string keys and no failing serializer")
}

/// A peer's text for people, short enough to be kept and sent on.
fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4096;

    /// The seed's createRoom answer, nesting repaired.
    const CREATED: &str = r#"{"requestID":"zoyhQtp_rbHP_u7TX58GN","answer":"createRoom","payload":{
        "id":"60315b4fe951a9c42cae6e0f","uuid":"2f11","owner":"","record":false,"number":"26777033",
        "sipUri":"sip:88826777033@audiomixer-sfu1:5080","bitrate":1024,"serverUuid":"RQQV",
        "server":{"https":"wss://h/sfu1/socket.io","wss":"wss://h/ws-sfu1"},
        "timestamp":1613847375280,"participantsLimit":100,"ice":[{"urls":"stun:stun.l.google.com:19302"}],
        "room":"2f11","token":"51e4","participants":["5da6"]}}"#;

    fn room_of(text: &str) -> Room {
        match Frame::parse(text, LIMIT) {
            Ok(Frame::Answer { body, .. }) => Room::read(body.fields()).expect("a room"),
            other => panic!("no answer: {other:?}"),
        }
    }

    #[test]
    fn the_seeds_room_is_read() {
        let room = room_of(CREATED);
        assert_eq!(room.id.as_deref(), Some("2f11"));
        assert_eq!(room.sip_uri.as_deref(), Some("sip:88826777033@audiomixer-sfu1:5080"));
        assert_eq!((room.bitrate_kbps, room.participants_limit), (Some(1024), Some(100)));
        assert_eq!(room.owner, None, "an empty owner is no owner");
        assert_eq!(room.servers[0].wss.as_deref(), Some("wss://h/ws-sfu1"));
        assert_eq!(room.ice[0].urls, ["stun:stun.l.google.com:19302"]);
        assert_eq!(room.timestamp_ms, Some(1_613_847_375_280));
        assert_eq!(room.participants, ["5da6"]);
    }

    #[test]
    fn the_same_room_at_top_level_with_other_spellings_is_read() {
        let room = room_of(
            r#"{"answer":"joinRoom","requestID":"x","roomId":"2f11","sipUri":"sip:8@m","bitrate":"24",
               "server":[{"ws":"ws://a"},{"http":"http://b"}],"ice":[{"urls":["stun:a","turn:b"],"username":"u","credential":"c"},7],
               "acl":[{"username":"bob","token":"t"}],"unknown":{"deep":[1,2,3]}}"#,
        );
        assert_eq!(room.id.as_deref(), Some("2f11"));
        assert_eq!(room.bitrate_kbps, Some(24));
        assert_eq!(room.servers.len(), 2);
        assert_eq!(room.ice.len(), 1);
        assert_eq!(room.ice[0].urls.len(), 2);
        assert_eq!(room.acl[0].0, "bob");
    }

    #[test]
    fn an_invite_carries_its_room_as_an_object_or_as_an_id() {
        let whole = r#"{"request":"invite","requestID":"INV1","payload":{"id":"INV1","from":"5da6",
            "fromDetails":{"username":"alice","displayName":"Alice"},"room":{"uuid":"2f11","sipUri":"sip:8@m"}}}"#;
        let only_id = r#"{"request":"invite","requestID":"INV1","payload":{"id":"INV1","from":"alice","room":"2f11"}}"#;
        let read = |text| match Frame::parse(text, LIMIT) {
            Ok(Frame::Request { body, .. }) => Invite::read(body.fields()),
            other => panic!("no request: {other:?}"),
        };
        let invite = read(whole).expect("an invite");
        assert_eq!((invite.from.as_str(), invite.username.as_deref()), ("5da6", Some("alice")));
        assert_eq!(invite.room.sip_uri.as_deref(), Some("sip:8@m"));
        let invite = read(only_id).expect("an invite");
        assert_eq!((invite.room.id.as_deref(), invite.room.sip_uri), (Some("2f11"), None));
        assert_eq!(read(r#"{"request":"invite","requestID":"I","payload":{"id":"I","from":"alice"}}"#), None);
    }

    #[test]
    fn a_refusal_has_its_code_at_top_level_or_in_the_payload() {
        let parse = |text| Frame::parse(text, LIMIT).expect("a frame");
        let seed =
            parse(r#"{"requestID":"w","cancel":"leaveRoom","error":403,"message":"user not included into ACL"}"#);
        assert!(matches!(&seed, Frame::Cancel { code: Some(403), message, .. } if message.ends_with("ACL")));
        let inner = parse(r#"{"requestID":"w","cancel":"invite","payload":{"from":"a","error":487}}"#);
        assert!(matches!(inner, Frame::Cancel { code: Some(487), .. }));
        let bare = parse(r#"{"requestID":"w","cancel":"invite"}"#);
        assert!(matches!(bare, Frame::Cancel { code: None, .. }));
        let absurd = parse(r#"{"requestID":"w","cancel":"invite","error":-1e300}"#);
        assert!(matches!(absurd, Frame::Cancel { code: None, .. }));
    }

    #[test]
    fn what_is_no_frame_says_why() {
        let why = |text: &str| Frame::parse(text, LIMIT).expect_err("malformed");
        assert_eq!(why(""), Malformed::NotJson);
        assert_eq!(why("{"), Malformed::NotJson);
        assert_eq!(why("[]"), Malformed::NotAnObject);
        assert_eq!(why("{}"), Malformed::NoKind);
        assert_eq!(why(r#"{"request":7,"requestID":"a"}"#), Malformed::NoKind);
        assert_eq!(why(r#"{"type":"event","payload":{}}"#), Malformed::NoKind);
        assert_eq!(why(r#"{"request":"x"}"#), Malformed::NoRequestId);
        assert_eq!(why(&format!(r#"{{"request":"x","requestID":"{}"}}"#, "a".repeat(300))), Malformed::NoRequestId);
        assert_eq!(why(&" ".repeat(LIMIT + 1)), Malformed::TooLarge);
        let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(Frame::parse(&nested, 1 << 20), Err(Malformed::NotJson));
    }

    #[test]
    fn what_we_write_we_read() {
        let text = write_request("joinRoom", "ID", room_payload("room", "2f11"));
        assert_eq!(text, r#"{"request":"joinRoom","requestID":"ID","payload":{"room":"2f11"}}"#);
        assert!(matches!(Frame::parse(&text, LIMIT), Ok(Frame::Request { name, .. }) if name == "joinRoom"));
        let text = write_cancel("invite", "ID", 603, "declined", decline_payload("alice", 603));
        assert!(matches!(Frame::parse(&text, LIMIT), Ok(Frame::Cancel { code: Some(603), .. })));
        let text = write_event("endpointStatus", &json!({"seq": 1}));
        assert_eq!(text, r#"{"type":"event","payload":{"eventName":"endpointStatus","payload":{"seq":1}}}"#);
        assert!(matches!(Frame::parse(&text, LIMIT), Ok(Frame::Event { .. })));
    }
}
