//! How the server writes: the frames of the public pages, and which of their spellings it uses.

use serde_json::{Map, Value, json};

/// Which of the documented spellings the server uses, and which slips of the pages it makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Room fields inside `payload` (true) or beside `answer` (false), both readings of the createRoom sample.
    pub nested: bool,
    /// `server` as an array of objects instead of one object.
    pub server_array: bool,
    /// Answer every leaveRoom with the 403 that the page prints in the place of success.
    pub leave_slip: bool,
    /// What the pages name as events comes as requests, to be answered.
    pub notices: Notices,
    pub news: News,
    /// The word of an invite, and whether it has the room's whole description, or its id only.
    pub invite: &'static str,
    pub invite_describes: bool,
    /// Of rooms of others the list of one's rooms has the id only.
    pub list_ids: bool,
    /// Where the code of a refusal stands.
    pub code: CodePlace,
    /// The word of an expulsion (empty: it is told as news of oneself, who is gone), and of a room's end.
    pub expelled: &'static str,
    pub destroyed: &'static str,
}

/// Where the code of a refusal stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodePlace {
    /// `error`, as the page has it.
    Top,
    /// `code` under `payload`.
    Payload,
}

/// How an expulsion, a room's end, a transfer and the wish for a status are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notices {
    Events,
    Requests,
}

/// How changes of the participants are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// `participant` with `{userId, status}`.
    Single,
    /// `participants` with everybody who is there, as a list: who holds as an object, the others as mere ids.
    List,
    /// `roomUpdated` with the room and a map of everybody who is there.
    Map,
    /// The SDK's own event names, which imply the status.
    Names,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            nested: true,
            server_array: false,
            leave_slip: false,
            notices: Notices::Events,
            news: News::Single,
            invite: "invite",
            invite_describes: true,
            list_ids: false,
            code: CodePlace::Top,
            expelled: "expelled",
            destroyed: "destroyed",
        }
    }
}

impl Shape {
    /// The opposite of the default in everything that the pages leave open.
    pub fn other() -> Shape {
        Shape {
            nested: false,
            server_array: true,
            leave_slip: true,
            notices: Notices::Requests,
            news: News::List,
            invite: "invitation",
            invite_describes: false,
            list_ids: true,
            code: CodePlace::Payload,
            expelled: "removedFromRoom",
            destroyed: "removeRoom",
        }
    }
}

impl Shape {
    /// A frame as it is sent: a refusal has its code where this server puts it.
    pub fn spell(&self, mut frame: Value) -> Value {
        if self.code == CodePlace::Payload
            && frame["cancel"].is_string()
            && let Some(code) = frame.as_object_mut().and_then(|fields| fields.remove("error"))
        {
            frame["payload"]["code"] = code;
        }
        frame
    }
}

/// `payload` null: left out.
pub(super) fn answer(name: &str, id: &str, payload: Value) -> Value {
    let mut frame = Map::new();
    frame.insert("requestID".into(), id.into());
    frame.insert("answer".into(), name.into());
    if !payload.is_null() {
        frame.insert("payload".into(), payload);
    }
    Value::Object(frame)
}

pub(super) fn cancel(name: &str, id: &str, error: u16, message: &str) -> Value {
    json!({"requestID": id, "cancel": name, "error": error, "message": message})
}

pub(super) fn request(name: &str, id: &str, payload: Value) -> Value {
    json!({"request": name, "requestID": id, "payload": payload})
}

pub(super) fn event(name: &str, payload: Value) -> Value {
    json!({"type": "event", "payload": {"eventName": name, "payload": payload}})
}

/// The texts of a list; one text counts as a list of one.
pub(super) fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(String::from).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}
