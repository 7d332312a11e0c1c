//! Who is in a room (docs/qss.md, Participants). The pages name the fields `userId` and `status` and three words for the
//! latter; where they stand on the wire is deduced, so one, several, a list and a map are all read.

use super::frame::{Fields, MAX_ID};
use super::room::object;
use super::{Request, Room};
use crate::config::{QssNames, QssReads};
use serde_json::{Value, json};

/// DOC(JS37:ParticipantEvent).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ParticipantStatus {
    InCall,
    Hold,
    Gone,
}

impl ParticipantStatus {
    /// `None`: a word of a later version. The usual numbers are those of ConferenceParticipantState, DOC(JS37).
    fn read(reads: &QssReads, value: &Value) -> Option<ParticipantStatus> {
        let number = value.as_u64().map(|number| number.to_string());
        let said = number.as_deref().or_else(|| value.as_str())?;
        let table = [
            (&reads.in_call, ParticipantStatus::InCall),
            (&reads.on_hold, ParticipantStatus::Hold),
            (&reads.gone, ParticipantStatus::Gone),
        ];
        table.into_iter().find(|(words, _)| words.iter().any(|word| word == said)).map(|(_, status)| status)
    }

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            ParticipantStatus::InCall => "IN_CALL",
            ParticipantStatus::Hold => "HOLD",
            ParticipantStatus::Gone => "GONE",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    pub user: String,
    pub status: ParticipantStatus,
}

/// What an event tells of the participants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roster {
    /// The room it is about, if it says so.
    pub room: Option<String>,
    pub told: Vec<Presence>,
    /// Entries that could not be understood.
    pub unknown: u32,
}

impl Roster {
    /// Reads a change (`{userId, status}`), several, or a whole list: whether who is missing has gone, the event's name
    /// decides. `implied`: the status that the event's name means, whatever its fields say.
    pub fn read(fields: Fields<'_>, implied: Option<ParticipantStatus>) -> Roster {
        let mut roster = Roster { room: Room::read(fields).and_then(|room| room.id), ..Roster::default() };
        let inside = fields.object(&fields.reads.room_object).unwrap_or(fields);
        roster.list(holder(inside).or_else(|| fields.get("payload")), fields, implied);
        roster
    }

    /// Who is in the room that `fields` describe; `None`: no list, or one that was not understood to its last entry.
    pub(super) fn present(fields: Fields<'_>) -> Option<Vec<String>> {
        let list = holder(fields).filter(|list| list.is_array() || list.is_object())?;
        let mut roster = Roster::default();
        roster.list(Some(list), fields, None);
        let here = |presence: Presence| (presence.status != ParticipantStatus::Gone).then_some(presence.user);
        (roster.unknown == 0).then(|| roster.told.into_iter().filter_map(here).collect())
    }

    fn list(&mut self, list: Option<&Value>, fields: Fields<'_>, implied: Option<ParticipantStatus>) {
        match list {
            Some(Value::Array(list)) => list.iter().for_each(|entry| self.entry(entry, fields, implied)),
            Some(Value::Object(map)) => {
                let reads = fields.reads;
                for (user, entry) in map {
                    let said = entry.as_object().and_then(|entry| fields.inside(entry).any(&reads.status));
                    let status = ParticipantStatus::read(reads, said.unwrap_or(entry));
                    self.add(Some(user), implied.or(status));
                }
            }
            Some(Value::String(user)) => self.add(Some(user), implied),
            Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => self.one(fields, implied),
        }
    }

    /// An entry of a list: an object, or a user's id, which is there because the user is.
    fn entry(&mut self, entry: &Value, fields: Fields<'_>, implied: Option<ParticipantStatus>) {
        match entry {
            Value::String(user) => self.add(Some(user), Some(implied.unwrap_or(ParticipantStatus::InCall))),
            Value::Object(entry) => self.one(fields.inside(entry), implied),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => self.unknown += 1,
        }
    }

    fn one(&mut self, fields: Fields<'_>, implied: Option<ParticipantStatus>) {
        let reads = fields.reads;
        let said = fields.any(&reads.status).and_then(|said| ParticipantStatus::read(reads, said));
        self.add(fields.text(&reads.user), implied.or(said));
    }

    fn add(&mut self, user: Option<&str>, status: Option<ParticipantStatus>) {
        match (user.filter(|user| (1..=MAX_ID).contains(&user.len())), status) {
            (Some(user), Some(status)) => self.told.push(Presence { user: user.to_owned(), status }),
            (None, _) | (_, None) => self.unknown += 1,
        }
    }
}

/// Where a list of participants stands.
fn holder<'a>(fields: Fields<'a>) -> Option<&'a Value> {
    fields.any(&fields.reads.participants)
}

/// Who was expelled; `None`: the event does not say, and means us.
pub fn expelled_user<'a>(fields: Fields<'a>) -> Option<&'a str> {
    fields.text(&fields.reads.expelled_user)
}

/// Who speaks now; `None`: nobody, or the event does not say.
pub fn active_speaker(fields: Fields<'_>) -> Option<String> {
    fields.object(&fields.reads.speaker).unwrap_or(fields).id(&fields.reads.user)
}

// --- requests ----------------------------------------------------------------------------------------------------

/// Admits users to a room: they may join, they are not rung.
pub fn add_participants(names: &QssNames, room: &str, users: &[String]) -> Option<Request> {
    let payload = object([(&names.room_key, json!(room)), (&names.participants_key, json!(users))]);
    Request::new(&names.add_participants, payload)
}

/// Expels users from a room.
pub fn remove_participants(names: &QssNames, room: &str, users: &[String]) -> Option<Request> {
    let payload = object([(&names.room_key, json!(room)), (&names.participants_key, json!(users))]);
    Request::new(&names.remove_participants, payload)
}

/// Tells that we hold or resume the call. By default there is no word for it: the media server tells the QSS.
pub fn report_hold(names: &QssNames, room: &str, held: bool) -> Option<Request> {
    let word = if held { &names.hold } else { &names.unhold };
    Request::new(word, object([(&names.room_id_key, json!(room))]))
}

#[cfg(test)]
mod tests {
    use super::super::fields_of;
    use super::ParticipantStatus::{Gone, Hold, InCall};
    use super::*;

    fn read(payload: &str, implied: Option<ParticipantStatus>) -> Roster {
        let text = format!(r#"{{"type":"event","payload":{{"eventName":"participants","payload":{payload}}}}}"#);
        Roster::read(fields_of(&text).fields(), implied)
    }

    fn told(roster: &Roster) -> Vec<(&str, ParticipantStatus)> {
        roster.told.iter().map(|p| (p.user.as_str(), p.status)).collect()
    }

    #[test]
    fn every_form_of_the_news_is_read() {
        let rows = [
            (r#"{"userId":"bob","status":"HOLD"}"#, vec![("bob", Hold)]),
            (r#"{"username":"bob","state":1,"roomId":"r"}"#, vec![("bob", InCall)]),
            (r#"{"participants":["bob","eve"]}"#, vec![("bob", InCall), ("eve", InCall)]),
            (r#"{"participants":[{"userId":"bob","status":"GONE"},"eve"]}"#, vec![("bob", Gone), ("eve", InCall)]),
            (r#"{"participants":{"bob":"IN_CALL","eve":{"status":"HOLD"}}}"#, vec![("bob", InCall), ("eve", Hold)]),
            (r#"{"room":{"uuid":"r","participants":["bob"]}}"#, vec![("bob", InCall)]),
            (r#"[{"userId":"bob","status":"GONE"}]"#, vec![("bob", Gone)]),
        ];
        for (payload, expected) in rows {
            let roster = read(payload, None);
            assert_eq!((told(&roster), roster.unknown), (expected, 0), "{payload}");
        }
        assert_eq!(read(r#"{"roomId":"r","userId":"bob","status":"HOLD"}"#, None).room.as_deref(), Some("r"));
    }

    #[test]
    fn a_name_may_imply_the_status() {
        assert_eq!(told(&read(r#"{"userId":"bob"}"#, Some(Gone))), [("bob", Gone)]);
        assert_eq!(told(&read(r#"{"participants":["bob"]}"#, Some(Hold))), [("bob", Hold)]);
    }

    #[test]
    fn what_is_not_understood_is_counted() {
        let rows = [
            r#"{"userId":"bob","status":"DANCING"}"#,
            r#"{"userId":"bob"}"#,
            r#"{"status":"HOLD"}"#,
            r#"{"participants":[7]}"#,
            r#"{"participants":{"bob":[]}}"#,
            "7",
        ];
        for payload in rows {
            let roster = read(payload, None);
            assert_eq!((roster.told.len(), roster.unknown), (0, 1), "{payload}");
        }
        assert_eq!(read(&format!(r#"{{"userId":"{}","status":"GONE"}}"#, "x".repeat(300)), None).unknown, 1);
    }

    #[test]
    fn the_speaker_is_a_user_an_object_or_nobody() {
        let speaker = |payload: &str| {
            let text = format!(r#"{{"type":"event","payload":{{"eventName":"activeSpeaker","payload":{payload}}}}}"#);
            active_speaker(fields_of(&text).fields())
        };
        assert_eq!(speaker(r#"{"userId":"bob"}"#).as_deref(), Some("bob"));
        assert_eq!(speaker(r#"{"participant":{"id":"bob"}}"#).as_deref(), Some("bob"));
        assert_eq!(speaker(r#"{"participant":"bob"}"#).as_deref(), Some("bob"));
        assert_eq!(speaker("{}"), None);
        assert_eq!(speaker("null"), None);
    }

    #[test]
    fn the_list_of_who_may_come_is_written() {
        let mut names = QssNames::default();
        let users = ["bob".to_owned()];
        let request = add_participants(&names, "r", &users).expect("a word for it");
        assert_eq!(
            (request.name.as_str(), request.payload),
            ("addParticipants", json!({"room":"r","participants":["bob"]}))
        );
        names.participants_key = "users".into();
        let request = remove_participants(&names, "r", &users).expect("a word for it");
        assert_eq!(request.payload, json!({"room":"r","users":["bob"]}));
        assert_eq!(report_hold(&names, "r", true), None, "nobody documented one");
        names.hold = "hold".into();
        assert_eq!(report_hold(&names, "r", true).map(|r| r.payload), Some(json!({"roomId":"r"})));
    }
}
