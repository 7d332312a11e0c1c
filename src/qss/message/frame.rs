//! Frames: the four kinds of message, and the fields of each (docs/qss.md, Frames).
//!
//! ```text
//! {"request": name, "requestID": id, "payload": {..}}          either direction
//! {"answer":  name, "requestID": id, "payload": {..}}          reply to a request
//! {"cancel":  name, "requestID": id, "error": 403, "message": ""}   refusal, or withdrawal of a request
//! {"type": "event", "payload": {"eventName": name, "payload": {..}}}
//! ```

use crate::config::QssReads;
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// Longest `requestID`, message name or room id accepted, in bytes: they are remembered, so they must be small.
pub const MAX_ID: usize = 256;
/// Stands where a secret was.
const HIDDEN: &str = "(secret)";

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
        body: Body,
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
    /// Reads one text frame of at most `limit` bytes, its fields under their usual names.
    pub fn parse(text: &str, limit: usize) -> Result<Frame, Malformed> {
        Frame::read(text, limit, &Arc::default())
    }

    /// Reads one text frame of at most `limit` bytes, its fields under the names of `reads`.
    pub fn read(text: &str, limit: usize, reads: &Arc<QssReads>) -> Result<Frame, Malformed> {
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
            let id = take_request_id(&mut top, reads).ok_or(Malformed::NoRequestId)?;
            let body = Body::new(top, text, reads);
            return Ok(match kind {
                "request" => Frame::Request { name, id, body },
                "answer" => Frame::Answer { name, id, body },
                _ => Frame::cancel(name, id, body),
            });
        }
        Frame::event(top, text, reads).ok_or(Malformed::NoKind)
    }

    fn cancel(name: String, id: String, body: Body) -> Frame {
        let fields = body.fields();
        let (code, message) = (fields.code(), fields.text(&fields.reads.message).map_or_else(String::new, shorten));
        Frame::Cancel { name, id, code, message, body }
    }

    /// DOC(JS36:MuteRequestEventDto): the event's own payload lies in a second `payload`.
    fn event(mut top: Map<String, Value>, text: &str, reads: &Arc<QssReads>) -> Option<Frame> {
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
        Some(Frame::Event { name, body: Body::new(inner, text, reads) })
    }
}

fn take_request_id(top: &mut Map<String, Value>, reads: &QssReads) -> Option<String> {
    reads.request_id.iter().find_map(|key| match top.remove(key) {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_ID => Some(id),
        _ => None,
    })
}

/// The fields of a frame: those under `payload`, and those that a server puts beside it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Body {
    payload: Map<String, Value>,
    beside: Map<String, Value>,
    frame: String,
    reads: Arc<QssReads>,
}

impl Body {
    fn new(mut beside: Map<String, Value>, frame: &str, reads: &Arc<QssReads>) -> Body {
        let payload = match beside.remove("payload") {
            Some(Value::Object(payload)) => payload,
            // A list: some answers are nothing else.
            Some(other) => {
                beside.insert("payload".to_owned(), other);
                Map::new()
            }
            None => Map::new(),
        };
        Body { payload, beside, frame: frame.to_owned(), reads: Arc::clone(reads) }
    }

    /// Bytes of the text that all of it was read from.
    pub fn len_of_frame(&self) -> usize {
        self.frame.len()
    }

    /// That text, for people: as it came, unless there are secrets in it, which are left out.
    pub fn frame(&self) -> Cow<'_, str> {
        let mut frame: Value = serde_json::from_str(&self.frame).unwrap_or_default();
        match self.hide_secrets(&mut frame) {
            true => Cow::Owned(frame.to_string()),
            false => Cow::Borrowed(&self.frame),
        }
    }

    /// Whether there were any.
    fn hide_secrets(&self, value: &mut Value) -> bool {
        match value {
            Value::Object(fields) => fields.iter_mut().fold(false, |hidden, (key, value)| {
                match self.is_secret(key) && !value.is_null() {
                    true => *value = Value::from(HIDDEN),
                    false => return self.hide_secrets(value) | hidden,
                }
                true
            }),
            Value::Array(items) => items.iter_mut().fold(false, |hidden, item| self.hide_secrets(item) | hidden),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }

    /// Whether by the name of a field it is one that lets somebody in, whatever a later version of the QSS calls it.
    fn is_secret(&self, key: &str) -> bool {
        let QssReads { token, acl_token, ice_credential, .. } = &*self.reads;
        let known = [token, acl_token, ice_credential].into_iter().flatten().any(|known| known == key);
        let key = key.to_ascii_lowercase();
        known || ["token", "password", "secret", "credential"].iter().any(|word| key.contains(word))
    }

    pub fn fields(&self) -> Fields<'_> {
        Fields { payload: &self.payload, beside: Some(&self.beside), reads: &self.reads }
    }
}

/// A view of an object's fields; `null` and fields of another type count as absent. A field is asked for by all the names
/// it may have (`[qss.reads]`), and the first that is there and of its type is it.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    payload: &'a Map<String, Value>,
    beside: Option<&'a Map<String, Value>>,
    pub reads: &'a QssReads,
}

impl<'a> Fields<'a> {
    /// The fields of an object among these.
    pub(super) fn inside(self, object: &'a Map<String, Value>) -> Fields<'a> {
        Fields { payload: object, beside: None, reads: self.reads }
    }

    /// The fields of an object that may be a whole frame.
    pub(super) fn unfold(self, object: &'a Map<String, Value>) -> Fields<'a> {
        match object.get("payload") {
            Some(Value::Object(payload)) => Fields { payload, beside: Some(object), reads: self.reads },
            Some(_) | None => self.inside(object),
        }
    }

    /// The field of this very name.
    pub fn get(self, name: &str) -> Option<&'a Value> {
        self.payload.get(name).filter(|v| !v.is_null()).or_else(|| self.beside?.get(name).filter(|v| !v.is_null()))
    }

    /// What is there under any of these names, in their order.
    pub fn all(self, names: &[String]) -> impl Iterator<Item = &'a Value> {
        names.iter().filter_map(move |name| self.get(name))
    }

    pub fn any(self, names: &[String]) -> Option<&'a Value> {
        self.all(names).next()
    }

    /// A string that is not empty.
    pub fn text(self, names: &[String]) -> Option<&'a str> {
        self.all(names).find_map(|value| value.as_str().filter(|text| !text.is_empty()))
    }

    pub(super) fn string(self, names: &[String]) -> Option<String> {
        self.text(names).map(str::to_owned)
    }

    /// A non-negative integer, also when written as a string of digits.
    pub fn number(self, names: &[String]) -> Option<u64> {
        self.all(names).find_map(|value| match value {
            Value::Number(n) => n.as_u64(),
            Value::String(s) => s.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        })
    }

    /// The code of a reply.
    pub(super) fn code(self) -> Option<u16> {
        self.number(&self.reads.code).and_then(|code| u16::try_from(code).ok())
    }

    pub fn flag(self, names: &[String]) -> Option<bool> {
        self.all(names).find_map(Value::as_bool)
    }

    pub fn object(self, names: &[String]) -> Option<Fields<'a>> {
        self.map(names).map(|object| self.inside(object))
    }

    pub(super) fn map(self, names: &[String]) -> Option<&'a Map<String, Value>> {
        self.all(names).find_map(Value::as_object)
    }

    /// The objects that the fields stand in.
    pub(super) fn maps(self) -> impl Iterator<Item = &'a Map<String, Value>> {
        std::iter::once(self.payload).chain(self.beside)
    }

    /// The elements of a list; a single value counts as a list of one.
    pub(super) fn list(self, names: &[String]) -> &'a [Value] {
        self.any(names).map_or(&[], elements)
    }

    /// The same; without any, the whole payload if it is a list.
    pub(super) fn list_or_payload(self, names: &[String]) -> &'a [Value] {
        match self.list(names) {
            [] => self.get("payload").map_or(&[], elements),
            list => list,
        }
    }

    pub(super) fn texts(self, names: &[String]) -> Vec<String> {
        self.list(names).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// A short text that is kept: an id, a user.
    pub(super) fn id(self, names: &[String]) -> Option<String> {
        self.text(names).filter(|id| id.len() <= MAX_ID).map(str::to_owned)
    }

    /// The room a message is about.
    pub fn room_id(self) -> Option<&'a str> {
        self.text(&self.reads.room).filter(|id| id.len() <= MAX_ID)
    }
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice)
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
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<u16>,
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

/// `error` none and `payload` null are left out.
pub fn write_cancel(name: &str, id: &str, error: Option<u16>, message: &str, payload: Value) -> String {
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
    use serde_json::json;

    const LIMIT: usize = 4096;

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
    fn what_lets_somebody_in_is_not_shown() {
        let body = |text: &str| {
            let Ok(Frame::Answer { body, .. }) = Frame::parse(text, LIMIT) else { panic!("{text}") };
            body
        };
        let plain = r#"{"requestID":"w",  "answer":"joinRoom","payload":{"roomId":"r","tokens":null}}"#;
        assert_eq!(body(plain).frame(), plain, "as it came");
        let text = r#"{"requestID":"w","answer":"joinRoom","payload":{"room":{"token":"51e4","acl":[{"username":"bob","token":"77f0"}],
            "ice":{"credential":"geheim","urls":"turn:h"}},"accessToken":{"a":"77f1"},"roomPassword":1234,"mood":"sunny"}}"#;
        let shown = body(text);
        assert_eq!(shown.len_of_frame(), text.len());
        let shown = shown.frame().into_owned();
        assert!(["51e4", "77f", "geheim", "1234"].iter().all(|secret| !shown.contains(secret)), "{shown}");
        assert!(["bob", "turn:h", "sunny"].iter().all(|word| shown.contains(word)), "{shown}");
        let reads = QssReads { token: vec!["key".into()], ..QssReads::default() };
        let named = Frame::read(r#"{"answer":"a","requestID":"w","payload":{"key":"51e4"}}"#, LIMIT, &Arc::new(reads));
        assert!(matches!(&named, Ok(Frame::Answer { body, .. }) if !body.frame().contains("51e4")), "{named:?}");
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
        let text = write_request("joinRoom", "ID", json!({"room": "2f11"}));
        assert_eq!(text, r#"{"request":"joinRoom","requestID":"ID","payload":{"room":"2f11"}}"#);
        assert!(matches!(Frame::parse(&text, LIMIT), Ok(Frame::Request { name, .. }) if name == "joinRoom"));
        let text = write_cancel("invite", "ID", Some(603), "declined", json!({"from": "alice", "error": 603}));
        assert!(matches!(Frame::parse(&text, LIMIT), Ok(Frame::Cancel { code: Some(603), .. })));
        let text = write_event("endpointStatus", &json!({"seq": 1}));
        assert_eq!(text, r#"{"type":"event","payload":{"eventName":"endpointStatus","payload":{"seq":1}}}"#);
        assert!(matches!(Frame::parse(&text, LIMIT), Ok(Frame::Event { .. })));
    }
}
