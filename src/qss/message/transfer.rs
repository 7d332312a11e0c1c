//! Transfers: blind, and attended (docs/qss.md, Transfers). The *transferor* starts one, the *transferee* is moved, the
//! *target* is the new party.

use super::frame::Fields;
use super::invite::MediaTypes;
use super::room::object;
use super::{Request, Room};
use crate::config::{QssNames, QssReads};
use serde_json::json;

/// We are to move to another room, or a transfer we started has come further. DOC(JS36:CallTransferEvent) and
/// DOC(JS37:Transfer).
#[derive(Clone, PartialEq, Debug)]
pub struct CallTransfer {
    /// What it is accepted under.
    pub id: Option<String>,
    /// The room to go to; often no more than its id.
    pub room: Room,
    pub from: Option<String>,
    /// Whom we are to talk to, or who is to be moved.
    pub to: Option<String>,
    /// The invite that belongs to it.
    pub invite_id: Option<String>,
    pub media: MediaTypes,
    pub state: Option<TransferState>,
}

/// DOC(JS37:Transfer).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferState {
    Invited,
    Accepted,
    Declined,
    /// A word of a later version.
    Unknown,
}

impl TransferState {
    fn of(reads: &QssReads, said: &str) -> TransferState {
        let table = [
            (&reads.transfer_invited, TransferState::Invited),
            (&reads.transfer_accepted, TransferState::Accepted),
            (&reads.transfer_declined, TransferState::Declined),
        ];
        let known = table.into_iter().find(|(words, _)| words.iter().any(|word| word == said));
        known.map_or(TransferState::Unknown, |(_, state)| state)
    }
}

impl CallTransfer {
    /// `None`: no room to go to, and no state that would say more.
    pub fn read(fields: Fields<'_>) -> Option<CallTransfer> {
        let reads = fields.reads;
        let state = fields.text(&reads.transfer_state).map(|said| TransferState::of(reads, said));
        let room = Room::read(fields);
        (room.is_some() || state.is_some()).then(|| CallTransfer {
            id: call_transfer_id(fields),
            room: room.unwrap_or_default(),
            from: fields.id(&reads.from),
            to: fields.id(&reads.transfer_to),
            invite_id: fields.id(&reads.transfer_invite),
            media: MediaTypes::read(fields),
            state,
        })
    }
}

/// We are to move to a room that is ready for us: a request, to be answered. DOC(JS37:IncomingAttendedTransfer).
#[derive(Clone, PartialEq, Debug)]
pub struct AttendedTransfer {
    /// The transfer's own id, under which it may be withdrawn besides the request's.
    pub id: Option<String>,
    pub target_user: Option<String>,
    pub room: Room,
}

impl AttendedTransfer {
    /// `None`: no room to go to.
    pub fn read(fields: Fields<'_>) -> Option<AttendedTransfer> {
        Some(AttendedTransfer {
            id: fields.id(&fields.reads.attended_id),
            target_user: fields.id(&fields.reads.target_user),
            room: Room::read(fields)?,
        })
    }
}

/// The answer to an attended transfer of ours. DOC(JS37:AttendedTransferResponseData).
#[derive(Clone, PartialEq, Debug)]
pub struct AttendedTransferReply {
    pub room: Option<Room>,
    pub target: Option<String>,
    pub transferee: Option<String>,
    pub transferor: Option<String>,
}

impl AttendedTransferReply {
    pub fn read(fields: Fields<'_>) -> AttendedTransferReply {
        AttendedTransferReply {
            room: Room::read(fields),
            target: fields.id(&fields.reads.target),
            transferee: fields.id(&fields.reads.transferee),
            transferor: fields.id(&fields.reads.transferor),
        }
    }
}

/// A transfer failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransferError {
    pub id: Option<String>,
    pub room: Option<String>,
    pub code: Option<u16>,
    /// For people; may be empty.
    pub message: String,
}

impl TransferError {
    pub fn read(fields: Fields<'_>) -> TransferError {
        let message = fields.text(&fields.reads.message).unwrap_or_default();
        TransferError {
            id: call_transfer_id(fields),
            room: fields.room_id().map(str::to_owned),
            code: fields.code(),
            message: message.chars().take(200).collect(),
        }
    }
}

/// What a transfer is accepted under, and told of.
pub fn call_transfer_id(fields: Fields<'_>) -> Option<String> {
    fields.id(&fields.reads.transfer_id)
}

// --- requests ----------------------------------------------------------------------------------------------------

/// Blind: whoever is with us in `room` shall talk to `to` instead.
pub fn transfer(names: &QssNames, room: &str, to: &str) -> Option<Request> {
    let user = (names.transfer_to_key.clone(), json!(to));
    let media = (names.transfer_media_key.clone(), MediaTypes::default().write());
    let entries = [(names.room_id_key.clone(), json!(room)), user, media];
    Request::new(&names.transfer, object(entries.iter().map(|(key, value)| (key, value.clone()))))
}

/// We let ourselves be transferred.
pub fn accept_transfer(names: &QssNames, id: &str) -> Option<Request> {
    Request::new(&names.accept_transfer, object([(&names.transfer_id_key, json!(id))]))
}

/// Attended: `transferee`, who is with us in `room`, shall talk to `target`, whom we have asked. Withdrawn by a `cancel`
/// under its id.
pub fn attended_transfer(names: &QssNames, room: &str, transferee: &str, target: &str) -> Option<Request> {
    let who = (names.attended_transferee_key.clone(), json!(transferee));
    let whom = (names.attended_target_key.clone(), json!(target));
    let entries = [(names.room_id_key.clone(), json!(room)), who, whom];
    Request::new(&names.attended_transfer, object(entries.iter().map(|(key, value)| (key, value.clone()))))
}

#[cfg(test)]
mod tests {
    use super::super::fields_of;
    use super::*;

    #[test]
    fn a_blind_transfer_is_an_event_or_a_state() {
        let read = |payload: &str| {
            let text = format!(r#"{{"type":"event","payload":{{"eventName":"callTransfer","payload":{payload}}}}}"#);
            CallTransfer::read(fields_of(&text).fields())
        };
        let moved =
            read(r#"{"callTransferId":"T1","roomId":"r","to":"bob","mediaTypes":{"audio":true}}"#).expect("read");
        assert_eq!((moved.id.as_deref(), moved.room.id.as_deref()), (Some("T1"), Some("r")));
        assert_eq!((moved.to.as_deref(), moved.state), (Some("bob"), None));
        let other = read(r#"{"callTransferID":"T1","room":{"uuid":"r","sipUri":"sip:8@m"},"to":"bob"}"#).expect("read");
        assert_eq!((other.id.as_deref(), other.room.sip_uri.as_deref()), (Some("T1"), Some("sip:8@m")));
        let state = read(r#"{"from":"a","to":"b","roomId":"r","idInvite":"I","state":"DECLINED"}"#).expect("read");
        assert_eq!((state.state, state.invite_id.as_deref()), (Some(TransferState::Declined), Some("I")));
        assert_eq!(read(r#"{"roomId":"r","state":"LATER"}"#).expect("read").state, Some(TransferState::Unknown));
        assert_eq!(read(r#"{"to":"bob"}"#), None);
    }

    #[test]
    fn an_attended_transfer_brings_its_room_and_its_reply_hides_one() {
        let body = fields_of(
            r#"{"request":"transferring-attended-transfer","requestID":"F","payload":{"requestID":"T","targetUserId":"bob",
               "targetRoom":{"uuid":"u","roomId":"r","sipUri":"sip:8@m","token":"t","server":{"wss":"wss://h"},
               "ice":[{"urls":"stun:h"}],"acl":[{"username":"bob","token":"t"}]}}}"#,
        );
        let moved = AttendedTransfer::read(body.fields()).expect("a room");
        assert_eq!((moved.id.as_deref(), moved.target_user.as_deref()), (Some("T"), Some("bob")));
        assert_eq!((moved.room.id.as_deref(), moved.room.acl.len()), (Some("r"), 1));
        let body = fields_of(
            r#"{"answer":"attended-transfer","requestID":"F","payload":{"uuid":"u","roomId":"r","target":"bob","transferee":"eve",
               "transferor":"lobby","queryRoom":{"queryRoom":{"uuid":"u","roomId":"r","sipUri":"sip:8@m",
               "server":[{"http":"h","https":"h","ws":"h","wss":"h"}],"ice":[{"urls":"stun:h"}]}}}}"#,
        );
        let reply = AttendedTransferReply::read(body.fields());
        assert_eq!(reply.room.and_then(|room| room.sip_uri).as_deref(), Some("sip:8@m"));
        assert_eq!(reply.transferee.as_deref(), Some("eve"));
        let none =
            fields_of(r#"{"request":"transferring-attended-transfer","requestID":"F","payload":{"targetUserId":"b"}}"#);
        assert_eq!(AttendedTransfer::read(none.fields()), None);
    }

    #[test]
    fn a_failure_says_what_it_can() {
        let body = fields_of(
            r#"{"type":"event","payload":{"eventName":"transferError","payload":{"code":"486","reason":"busy"}}}"#,
        );
        let error = TransferError::read(body.fields());
        assert_eq!((error.code, error.message.as_str()), (Some(486), "busy"));
        let bare = fields_of(r#"{"type":"event","payload":{"eventName":"transferError"}}"#);
        assert_eq!(
            TransferError::read(bare.fields()),
            TransferError { id: None, room: None, code: None, message: String::new() }
        );
    }

    #[test]
    fn requests_have_the_configured_words_and_keys() {
        let mut names = QssNames::default();
        let blind = transfer(&names, "r", "bob").expect("a word for it");
        let expected = json!({"roomId":"r","to":"bob","mediaTypes":{"audio":true,"video":false,"screen":false}});
        assert_eq!((blind.name.as_str(), blind.payload), ("callTransfer", expected));
        names.transfer_media_key = "media".into();
        let blind = transfer(&names, "r", "bob").expect("a word for it").payload;
        assert!(blind.get("media").is_some() && blind.get("mediaTypes").is_none(), "{blind}");
        names.transfer_id_key = "callTransferID".into();
        let accept = accept_transfer(&names, "T").expect("a word for it");
        assert_eq!(accept.payload, json!({"callTransferID":"T"}));
        let attended = attended_transfer(&names, "r", "eve", "bob").expect("a word for it");
        assert_eq!(attended.payload, json!({"roomId":"r","transferee":"eve","target":"bob"}));
    }
}
