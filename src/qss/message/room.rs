//! The room: its description, the requests about it, and why one is refused (docs/qss.md, Rooms).

use super::Request;
use super::frame::{Body, Fields, MAX_ID};
use super::participant::Roster;
use crate::config::{QssCodes, QssNames, Secret};
use serde_json::{Map, Value, json};

/// How deep a room's object may lie in objects: an answer has it as `queryRoom.queryRoom` (docs/qss.md, Transfers).
const DEEPEST: usize = 4;

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
    /// Largest bitrate per user, in units of `qss.bitrate_unit`.
    pub bitrate: Option<u32>,
    pub server_uuid: Option<String>,
    pub servers: Vec<Server>,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: Option<u64>,
    pub participants_limit: Option<u32>,
    pub ice: Vec<IceServer>,
    /// Access token of the room's media server: no SIP credential.
    pub token: Option<Secret>,
    /// Who is in it; `None`: not told, or not all of it could be understood, so nothing follows from who is missing.
    pub participants: Option<Vec<String>>,
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
    /// Reads a room whose fields stand in `fields`, or in an object there that is named as a room's is, perhaps nested in
    /// another of these. `None`: neither an id nor a SIP URI, so nothing can be done with it.
    pub fn read(fields: Fields<'_>) -> Option<Room> {
        let mut fields = fields;
        for _ in 0..DEEPEST {
            match fields.object(&fields.reads.room_object) {
                Some(nested) => fields = nested,
                None => break,
            }
        }
        Room::read_flat(fields)
    }

    /// The rooms of an answer to `getRooms`: a list under a name of its own, or the payload itself. An entry may be a mere
    /// id.
    pub fn read_all(fields: Fields<'_>) -> Vec<Room> {
        let read = |value: &Value| match value {
            Value::String(id) if (1..=MAX_ID).contains(&id.len()) => {
                Some(Room { id: Some(id.clone()), ..Room::default() })
            }
            Value::Object(room) => Room::read(fields.inside(room)),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
        };
        fields.list_or_payload(&fields.reads.rooms).iter().filter_map(read).collect()
    }

    fn read_flat(fields: Fields<'_>) -> Option<Room> {
        let reads = fields.reads;
        let small = |names| fields.number(names).and_then(|n| u32::try_from(n).ok());
        let objects =
            |names| fields.list(names).iter().filter_map(Value::as_object).map(|object| fields.inside(object));
        let room = Room {
            id: fields.room_id().map(str::to_owned),
            document_id: fields.string(&reads.document),
            owner: fields.string(&reads.owner),
            record: fields.flag(&reads.record).unwrap_or(false),
            number: fields.string(&reads.number),
            sip_uri: fields.id(&reads.sip_uri),
            bitrate: small(&reads.bitrate).filter(|n| *n > 0),
            server_uuid: fields.string(&reads.server_uuid),
            servers: objects(&reads.server).map(Server::read).collect(),
            timestamp_ms: fields.number(&reads.timestamp),
            participants_limit: small(&reads.participants_limit),
            ice: objects(&reads.ice).filter_map(IceServer::read).collect(),
            token: fields.string(&reads.token).map(Secret),
            participants: Roster::present(fields),
            acl: objects(&reads.acl).filter_map(read_acl_entry).collect(),
        };
        (room.id.is_some() || room.sip_uri.is_some()).then_some(room)
    }
}

impl Server {
    fn read(fields: Fields<'_>) -> Server {
        let reads = fields.reads;
        Server {
            http: fields.string(&reads.http),
            https: fields.string(&reads.https),
            ws: fields.string(&reads.ws),
            wss: fields.string(&reads.wss),
        }
    }
}

impl IceServer {
    fn read(fields: Fields<'_>) -> Option<IceServer> {
        let reads = fields.reads;
        let urls = fields.texts(&reads.ice_urls);
        (!urls.is_empty()).then(|| IceServer {
            urls,
            username: fields.string(&reads.ice_username),
            credential: fields.string(&reads.ice_credential).map(Secret),
        })
    }
}

fn read_acl_entry(fields: Fields<'_>) -> Option<(String, Secret)> {
    let user = fields.string(&fields.reads.acl_user)?;
    Some((user, Secret(fields.string(&fields.reads.acl_token).unwrap_or_default())))
}

// --- requests ----------------------------------------------------------------------------------------------------

/// `record`: have it recorded.
pub fn create_room(names: &QssNames, record: bool) -> Option<Request> {
    let payload = if record { object([(&names.record_key, json!(true))]) } else { json!({}) };
    Request::new(&names.create_room, payload)
}

pub fn join_room(names: &QssNames, room: &str) -> Option<Request> {
    Request::new(&names.join_room, object([(&names.room_key, json!(room))]))
}

/// An empty password is none.
pub fn join_meeting(names: &QssNames, meeting: &str, password: &Secret) -> Option<Request> {
    let id = (&names.meeting_key, json!(meeting));
    let payload = match password.0.as_str() {
        "" => object([id]),
        password => object([id, (&names.password_key, json!(password))]),
    };
    Request::new(&names.join_meeting, payload)
}

/// `uri`: `wac-conf` and 20 digits.
pub fn join_quick_conference(names: &QssNames, uri: &str) -> Option<Request> {
    Request::new(&names.join_quick_conference, object([(&names.quick_conference_key, json!(uri))]))
}

/// `cause`: a code as in SIP; 200 is the default and not said.
pub fn leave_room(names: &QssNames, room: &str, cause: u16) -> Option<Request> {
    let id = (&names.room_key, json!(room));
    let payload = match (cause, names.leave_cause_key.as_str()) {
        (200, _) | (_, "") => object([id]),
        _ => object([id, (&names.leave_cause_key, json!(cause))]),
    };
    Request::new(&names.leave_room, payload)
}

pub fn destroy_room(names: &QssNames, room: &str) -> Option<Request> {
    Request::new(&names.destroy_room, object([(&names.room_key, json!(room))]))
}

/// The rooms the user participates in; [`Room::read_all`] reads the answer.
pub fn get_rooms(names: &QssNames) -> Option<Request> {
    Request::new(&names.get_rooms, json!({}))
}

/// An object with configured keys.
pub(super) fn object<'a>(entries: impl IntoIterator<Item = (&'a String, Value)>) -> Value {
    Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), value)).collect::<Map<_, _>>())
}

// --- refusals ----------------------------------------------------------------------------------------------------

/// Why a room is not to be had; each has its own way to be tried again (docs/qss.md, Rooms).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Not on the room's list of participants.
    Forbidden,
    NotFound,
    /// The meeting has not begun; it does at that time (milliseconds since the Unix epoch), if that is told.
    TooEarly {
        valid_since_ms: Option<u64>,
    },
    WrongPassword,
    /// As many participants as it may have.
    Full,
    /// The QSS does not know the request.
    Unknown,
    Other,
}

impl Refusal {
    /// What `code`, or a word in the reply's texts, means by `[qss.codes]`.
    pub fn of(codes: &QssCodes, code: Option<u16>, message: &str, body: &Body) -> Refusal {
        let fields = body.fields();
        let matches = |list: &[String]| says(list, code, message, fields);
        // In the refusal itself or, DOC(AND:Meeting), in the meeting it describes.
        let begins = &fields.reads.valid_since;
        let valid_since = || fields.number(begins).or_else(|| fields.object(&fields.reads.meeting)?.number(begins));
        match () {
            () if matches(&codes.too_early) => Refusal::TooEarly { valid_since_ms: valid_since() },
            () if matches(&codes.wrong_password) => Refusal::WrongPassword,
            () if matches(&codes.room_full) => Refusal::Full,
            () if matches(&codes.unknown_request) => Refusal::Unknown,
            () if matches(&codes.forbidden) => Refusal::Forbidden,
            () if matches(&codes.not_found) => Refusal::NotFound,
            () => Refusal::Other,
        }
    }
}

/// Whether a refusal is one of `list`: by its code, or by a word in its texts.
pub fn says(list: &[String], code: Option<u16>, message: &str, fields: Fields<'_>) -> bool {
    let further = || fields.all(&fields.reads.refusal_words).filter_map(Value::as_str);
    list.iter().any(|entry| match entry.parse::<u16>() {
        Ok(number) => code == Some(number),
        Err(_) => std::iter::once(message).chain(further()).any(|text| text.contains(entry.as_str())),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Frame, fields_of};
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
        assert_eq!((room.bitrate, room.participants_limit), (Some(1024), Some(100)));
        assert_eq!(room.owner, None, "an empty owner is no owner");
        assert_eq!(room.servers[0].wss.as_deref(), Some("wss://h/ws-sfu1"));
        assert_eq!(room.ice[0].urls, ["stun:stun.l.google.com:19302"]);
        assert_eq!(room.timestamp_ms, Some(1_613_847_375_280));
        assert_eq!(room.participants, Some(vec!["5da6".to_owned()]));
        assert_eq!(room.token, Some(Secret("51e4".into())));
    }

    #[test]
    fn the_same_room_at_top_level_with_other_spellings_is_read() {
        let room = room_of(
            r#"{"answer":"joinRoom","requestID":"x","roomId":"2f11","sipUri":"sip:8@m","bitrate":"24",
               "server":[{"ws":"ws://a"},{"http":"http://b"}],"ice":[{"urls":["stun:a","turn:b"],"username":"u","credential":"c"},7],
               "acl":[{"username":"bob","token":"t"}],"unknown":{"deep":[1,2,3]}}"#,
        );
        assert_eq!(room.id.as_deref(), Some("2f11"));
        assert_eq!(room.bitrate, Some(24));
        assert_eq!(room.servers.len(), 2);
        assert_eq!(room.ice.len(), 1);
        assert_eq!(room.ice[0].urls.len(), 2);
        assert_eq!(room.acl, [("bob".to_owned(), Secret("t".into()))]);
    }

    #[test]
    fn who_is_in_a_room_is_known_only_if_all_of_it_was_understood() {
        let of = |told: &str| {
            let room = room_of(&format!(r#"{{"answer":"x","requestID":"x","payload":{{"room":"r"{told}}}}}"#));
            room.participants.map(|users| users.join(" "))
        };
        for (told, present) in [
            ("", None),
            (r#","participants":[]"#, Some("")),
            (r#","participants":["a","b"]"#, Some("a b")),
            (r#","participants":[{"userId":"a","status":"HOLD"},{"userId":"b","status":"GONE"}]"#, Some("a")),
            (r#","participants":{"a":"IN_CALL","b":{"status":"GONE"}}"#, Some("a")),
            (r#","users":["a"]"#, Some("a")),
            (r#","participants":[{"name":"a"}]"#, None),
            (r#","participants":["a",7]"#, None),
            (r#","participants":{"a":"SOMETHING_NEW"}"#, None),
            (r#","participants":null"#, None),
            (r#","participants":3"#, None),
        ] {
            assert_eq!(of(told).as_deref(), present, "{told}");
        }
    }

    #[test]
    fn a_room_may_lie_in_objects() {
        let nested = room_of(
            r#"{"answer":"attended","requestID":"x","payload":{"uuid":"outer","queryRoom":{"queryRoom":{"roomId":"2f11","sipUri":"sip:8@m"}}}}"#,
        );
        assert_eq!(nested.id.as_deref(), Some("2f11"));
        let mut deep = r#"{"room":"2f11"}"#.to_owned();
        for _ in 0..20 {
            deep = format!(r#"{{"room":{deep}}}"#);
        }
        let body = fields_of(&format!(r#"{{"answer":"x","requestID":"x","payload":{deep}}}"#));
        assert_eq!(Room::read(body.fields()), None, "nobody nests so deep, and nothing recurses");
    }

    #[test]
    fn the_list_of_rooms_is_read_in_every_form() {
        let ids = |text: &str| -> Vec<String> {
            Room::read_all(fields_of(text).fields()).into_iter().filter_map(|room| room.id).collect()
        };
        let two = ["a", "b"];
        assert_eq!(ids(r#"{"answer":"getRooms","requestID":"x","payload":[{"uuid":"a"},{"roomId":"b"}]}"#), two);
        assert_eq!(ids(r#"{"answer":"getRooms","requestID":"x","payload":{"rooms":["a",{"room":"b"},7,null]}}"#), two);
        assert_eq!(ids(r#"{"answer":"getRooms","requestID":"x","rooms":[{"room":{"room":"a"}},{"room":"b"}]}"#), two);
        assert!(ids(r#"{"answer":"getRooms","requestID":"x","payload":{}}"#).is_empty());
    }

    #[test]
    fn requests_have_the_configured_words_and_keys() {
        let mut names = QssNames::default();
        let text = |request: Option<Request>| request.map(|r| format!("{} {}", r.name, r.payload));
        assert_eq!(text(create_room(&names, false)).as_deref(), Some("createRoom {}"));
        assert_eq!(text(create_room(&names, true)).as_deref(), Some(r#"createRoom {"record":true}"#));
        assert_eq!(text(leave_room(&names, "r", 200)).as_deref(), Some(r#"leaveRoom {"room":"r"}"#));
        let leave = text(leave_room(&names, "r", 480)).expect("a request");
        assert!(leave.contains(r#""error":480"#), "{leave}");
        let meeting = text(join_meeting(&names, "m", &Secret("pw".into()))).expect("a request");
        assert!(meeting.contains(r#""password":"pw""#) && meeting.contains(r#""room":"m""#), "{meeting}");
        assert_eq!(text(join_meeting(&names, "m", &Secret::default())).as_deref(), Some(r#"joinRoom {"room":"m"}"#));
        names.join_quick_conference = "getQuickConference".into();
        names.quick_conference_key = "uri".into();
        let quick = text(join_quick_conference(&names, "wac-conf01234567890123456789"));
        assert_eq!(quick.as_deref(), Some(r#"getQuickConference {"uri":"wac-conf01234567890123456789"}"#));
        names.leave_cause_key = String::new();
        assert_eq!(text(leave_room(&names, "r", 480)).as_deref(), Some(r#"leaveRoom {"room":"r"}"#));
        names.destroy_room = String::new();
        assert_eq!(destroy_room(&names, "r"), None);
        assert_eq!(text(get_rooms(&names)).as_deref(), Some("getRooms {}"));
    }

    #[test]
    fn a_refusal_is_told_by_code_or_by_word() {
        let mut codes = QssCodes::default();
        let of = |codes: &QssCodes, text: &str| match Frame::parse(text, LIMIT) {
            Ok(Frame::Cancel { code, message, body, .. }) => Refusal::of(codes, code, &message, &body),
            other => panic!("{other:?}"),
        };
        let cancel = |rest: &str| format!(r#"{{"cancel":"joinRoom","requestID":"x",{rest}}}"#);
        let rows = [
            (r#""error":403,"message":"user not included into ACL""#, Refusal::Forbidden),
            (r#""error":404"#, Refusal::NotFound),
            (r#""error":403,"message":"WrongPasswordError""#, Refusal::WrongPassword),
            (
                r#""error":"AccessBeforeTimeError","payload":{"validSince":1700000000000}"#,
                Refusal::TooEarly { valid_since_ms: Some(1_700_000_000_000) },
            ),
            (
                r#""error":403,"message":"AccessBeforeTimeError","payload":{"meeting":{"validSince":"5"}}"#,
                Refusal::TooEarly { valid_since_ms: Some(5) },
            ),
            (r#""payload":{"error":486,"message":"participantsLimit reached"}"#, Refusal::Full),
            (r#""error":501"#, Refusal::Unknown),
            (r#""error":500"#, Refusal::Other),
            (r#""error":{}"#, Refusal::Other),
        ];
        for (rest, refusal) in rows {
            assert_eq!(of(&codes, &cancel(rest)), refusal, "{rest}");
        }
        codes.room_full = vec!["509".into()];
        assert_eq!(of(&codes, &cancel(r#""error":509"#)), Refusal::Full);
    }
}
