//! Mute: a request to a participant, and that participant's report (docs/qss.md, Mute).

use super::Request;
use super::frame::Fields;
use super::room::object;
use crate::config::QssNames;
use serde_json::json;

/// Somebody asks the device to mute or unmute. DOC(JS36:MuteRequestEventDto).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MuteRequest {
    pub room: Option<String>,
    /// Whom it is meant for; the QSS may leave it out.
    pub to: Option<String>,
    pub requested_by: Option<String>,
    /// False: it is about video or the screen.
    pub audio: bool,
    pub muted: bool,
}

impl MuteRequest {
    /// A request that does not say `muted` asks to mute: the documented default, and the one that opens no microphone.
    pub fn read(fields: Fields<'_>) -> MuteRequest {
        let reads = fields.reads;
        MuteRequest {
            room: fields.room_id().map(str::to_owned),
            to: fields.id(&reads.mute_to),
            requested_by: fields.id(&reads.requested_by),
            audio: fields.text(&reads.mute_media).is_none_or(|media| reads.mute_audio.iter().any(|word| word == media)),
            muted: fields.flag(&reads.muted).unwrap_or(true),
        }
    }
}

/// A participant is muted or unmuted now. DOC(JS37:MuteChangeEvent).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MuteChange {
    pub room: Option<String>,
    pub user: String,
    pub muted: bool,
}

impl MuteChange {
    /// `None`: it does not say who.
    pub fn read(fields: Fields<'_>) -> Option<MuteChange> {
        Some(MuteChange {
            room: fields.room_id().map(str::to_owned),
            user: fields.id(&fields.reads.muted_user)?,
            muted: fields.flag(&fields.reads.muted).unwrap_or(true),
        })
    }
}

/// Asks `to` to mute or unmute. DOC(JS36:MuteRequestDto).
pub fn mute(names: &QssNames, room: &str, to: &str, requested_by: &str, muted: bool) -> Option<Request> {
    Request::new(&names.mute, payload(names, room, to, requested_by, muted))
}

/// Tells that we are muted or unmuted now: the same request, with ourselves as both ends.
pub fn report_mute(names: &QssNames, room: &str, us: &str, muted: bool) -> Option<Request> {
    Request::new(&names.mute_report, payload(names, room, us, us, muted))
}

fn payload(names: &QssNames, room: &str, to: &str, requested_by: &str, muted: bool) -> serde_json::Value {
    let (to, by) = (("to".to_owned(), json!(to)), ("requestedBy".to_owned(), json!(requested_by)));
    let (media, muted) = (("media".to_owned(), json!("audio")), ("muted".to_owned(), json!(muted)));
    let entries = [(names.room_id_key.clone(), json!(room)), to, by, media, muted];
    object(entries.iter().map(|(key, value)| (key, value.clone())))
}

#[cfg(test)]
mod tests {
    use super::super::fields_of;
    use super::*;

    #[test]
    fn the_documented_request_is_read_and_written() {
        let body = fields_of(
            r#"{"type":"event","payload":{"eventName":"mute-request","payload":{"roomId":"r","to":"lobby","media":"audio","muted":true}}}"#,
        );
        let request = MuteRequest::read(body.fields());
        assert_eq!((request.room.as_deref(), request.to.as_deref()), (Some("r"), Some("lobby")));
        assert!(request.audio && request.muted);
        let names = QssNames::default();
        let ours = mute(&names, "r", "bob", "alice", true).expect("a word for it");
        let expected = json!({"roomId":"r","to":"bob","requestedBy":"alice","media":"audio","muted":true});
        assert_eq!((ours.name.as_str(), ours.payload), ("mute", expected));
        let report = report_mute(&names, "r", "lobby", false).expect("a word for it").payload;
        assert_eq!(
            (&report["to"], &report["requestedBy"], &report["muted"]),
            (&json!("lobby"), &json!("lobby"), &json!(false))
        );
    }

    #[test]
    fn what_is_missing_opens_no_microphone() {
        let body = fields_of(r#"{"request":"mute-request","requestID":"x","muted":"no","media":"video"}"#);
        let request = MuteRequest::read(body.fields());
        assert!(request.muted && !request.audio && request.to.is_none());
    }

    #[test]
    fn a_change_names_its_user() {
        let read = |text| MuteChange::read(fields_of(text).fields());
        let change = read(
            r#"{"type":"event","payload":{"eventName":"mute","payload":{"roomId":"r","userId":"bob","muted":false}}}"#,
        );
        assert_eq!(change, Some(MuteChange { room: Some("r".into()), user: "bob".into(), muted: false }));
        assert_eq!(read(r#"{"type":"event","payload":{"eventName":"mute","payload":{"muted":true}}}"#), None);
    }
}
