//! The fields that any message of the QSS is known to have. What is not among them is ignored, and counted: it may be the
//! first sign of a version that says more than this device understands.

use super::frame::Fields;
use serde_json::{Map, Value};

/// Deeper than any message is nested.
const DEEPEST: usize = 6;

/// Every field of docs/qss.md, sorted. One list for all: a field that stands in an unusual place is still understood.
const FIELDS: &[&str] = &[
    "acl",
    "answer",
    "audio",
    "bitrate",
    "callTransferID",
    "callTransferId",
    "cancel",
    "code",
    "contactName",
    "context",
    "contextInfo",
    "credential",
    "currentInvitations",
    "deviceId",
    "displayName",
    "error",
    "eventName",
    "from",
    "fromDetails",
    "http",
    "https",
    "ice",
    "id",
    "idInvite",
    "isPasswordProtected",
    "media",
    "mediaTypes",
    "mediatypes",
    "meeting",
    "message",
    "muted",
    "name",
    "number",
    "owner",
    "participant",
    "participants",
    "participantsLimit",
    "password",
    "payload",
    "queryRoom",
    "reason",
    "record",
    "remoteParticipants",
    "request",
    "requestID",
    "requestId",
    "requestedBy",
    "room",
    "roomId",
    "rooms",
    "screen",
    "server",
    "serverUuid",
    "sipUri",
    "speaker",
    "state",
    "status",
    "target",
    "targetRoom",
    "targetUserId",
    "timestamp",
    "to",
    "token",
    "transferId",
    "transferee",
    "transferor",
    "type",
    "urls",
    "user",
    "userId",
    "username",
    "users",
    "uuid",
    "validSince",
    "validUntil",
    "video",
    "whoAccepted",
    "ws",
    "wss",
];

/// Whose keys are no fields, but words of the inviter, or users.
const MAPS: &[&str] = &["context", "contextInfo", "participants", "remoteParticipants", "users"];

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
        count(map, 0, &mut found);
    }
    found
}

fn count(map: &Map<String, Value>, depth: usize, found: &mut Option<Unknown>) {
    for (key, value) in map {
        if FIELDS.binary_search(&key.as_str()).is_err() {
            let example = || key.chars().take(64).collect();
            found.get_or_insert_with(|| Unknown { count: 0, example: example() }).count += 1;
        } else if depth < DEEPEST && !(MAPS.contains(&key.as_str()) && value.is_object()) {
            match value {
                Value::Object(inner) => count(inner, depth + 1, found),
                Value::Array(list) => {
                    list.iter().filter_map(Value::as_object).for_each(|inner| count(inner, depth + 1, found));
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields_of;
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(FIELDS.windows(2).all(|pair| pair[0] < pair[1]));
    }

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
}
