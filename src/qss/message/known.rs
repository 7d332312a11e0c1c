//! The fields that any message of the QSS is known to have. What is not among them is ignored, and counted: it may be the
//! first sign of a version that says more than this device understands.

use super::frame::Fields;
use crate::config::QssReads;
use serde_json::{Map, Value};

/// Deeper than any message is nested.
const DEEPEST: usize = 6;

/// The fields of every frame, and those of docs/qss.md that nobody reads. The others have the names of `[qss.reads]`. One
/// list for all: a field that stands in an unusual place is still understood.
const FURTHER: &[&str] = &[
    "answer",
    "cancel",
    "deviceId",
    "eventName",
    "isPasswordProtected",
    "password",
    "payload",
    "request",
    "type",
    "validUntil",
];

/// Unknown fields: how many, and one of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unknown {
    pub count: u64,
    pub example: String,
}

/// The unknown fields of a message; `None`: there are none.
pub fn unknown_fields(fields: Fields<'_>) -> Option<Unknown> {
    let mut found = None;
    for map in fields.maps() {
        count(fields.reads, map, 0, &mut found);
    }
    found
}

fn count(reads: &QssReads, map: &Map<String, Value>, depth: usize, found: &mut Option<Unknown>) {
    for (key, value) in map {
        if !reads.has_field(key) && !FURTHER.contains(&key.as_str()) {
            let example = || key.chars().take(64).collect();
            found.get_or_insert_with(|| Unknown { count: 0, example: example() }).count += 1;
        } else if depth < DEEPEST && !(value.is_object() && is_map(reads, key)) {
            match value {
                Value::Object(inner) => count(reads, inner, depth + 1, found),
                Value::Array(list) => {
                    list.iter().filter_map(Value::as_object).for_each(|inner| count(reads, inner, depth + 1, found));
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
    }
}

/// Its keys are no fields, but words of the inviter, or users.
fn is_map(reads: &QssReads, field: &str) -> bool {
    [&reads.context, &reads.context_info, &reads.participants].into_iter().flatten().any(|name| name == field)
}

#[cfg(test)]
mod tests {
    use super::super::{Frame, Room, fields_of};
    use super::*;
    use std::sync::Arc;

    #[test]
    fn unknown_fields_are_found_wherever_they_stand_and_words_of_people_are_none() {
        let unknown = |text| unknown_fields(fields_of(text).fields());
        let known = r#"{"request":"invite","requestID":"I","payload":{"from":"a","context":{"door":"north"},"room":{"room":"r","server":[{"wss":"w"}],"participants":{"bob":"IN_CALL"}}}}"#;
        assert_eq!(unknown(known), None);
        let text = r#"{"request":"invite","requestID":"I","colour":1,"payload":{"from":"a","room":{"room":"r","server":[{"quic":"q"},{"quic":"q"}]}}}"#;
        assert_eq!(unknown(text).map(|u| u.count), Some(3));
        let long = format!(r#"{{"request":"x","requestID":"I","{}":1}}"#, "é".repeat(500));
        assert_eq!(unknown(&long).map(|u| u.example.chars().count()), Some(64));
    }
    #[test]
    fn what_is_read_under_a_configured_name_is_known_and_what_is_not_read_is_unknown() {
        let reads = QssReads { owner: vec!["host".into()], ..QssReads::default() };
        let text = r#"{"answer":"joinRoom","requestID":"I","payload":{"room":"r","host":"bob","owner":"eve"}}"#;
        let Ok(Frame::Answer { body, .. }) = Frame::read(text, 4096, &Arc::new(reads)) else { panic!("an answer") };
        assert_eq!(Room::read(body.fields()).and_then(|room| room.owner).as_deref(), Some("bob"));
        assert_eq!(unknown_fields(body.fields()), Some(Unknown { count: 1, example: "owner".into() }));
    }
}
