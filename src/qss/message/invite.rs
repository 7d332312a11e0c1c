//! Invites: into a room or out of one, by request of either side (docs/qss.md, Invites).

use super::frame::Fields;
use super::room::object;
use super::{Request, Room};
use crate::config::QssNames;
use serde_json::{Map, Value, json};

/// An invitation into a room.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Invite {
    /// `id` of the payload; the `requestID` of its frame is what it is answered under.
    pub id: Option<String>,
    /// User id of the inviter.
    pub from: String,
    /// `fromDetails.username`, when it says something else than `from`.
    pub username: Option<String>,
    pub display_name: Option<String>,
    /// The `inviteRequest` of ours that provoked it.
    pub request_id: Option<String>,
    pub media: MediaTypes,
    /// Free-form words of the inviter; those under `contextInfo` among them.
    pub context: Vec<(String, String)>,
    pub room: Room,
}

impl Invite {
    /// `None`: there is nobody who invites, or no room to go to.
    pub fn read(fields: Fields<'_>) -> Option<Invite> {
        let (from, username, display_name) = read_from(fields)?;
        Some(Invite {
            id: fields.id(&fields.reads.invite),
            from,
            username,
            display_name,
            request_id: fields.id(&fields.reads.invite_request),
            media: MediaTypes::read(fields),
            context: read_context(fields),
            room: Room::read(fields)?,
        })
    }
}

/// Somebody asks to be invited (`inviteRequest`): a visitor of a personal URL, or a call from outside.
#[derive(Clone, PartialEq, Debug)]
pub struct InviteRequest {
    /// What the invite that follows names as its `requestId`.
    pub id: Option<String>,
    pub from: String,
    /// `fromDetails.username`, when it says something else than `from`.
    pub username: Option<String>,
    pub display_name: Option<String>,
    /// The room they want to be invited into, if they know one.
    pub room: Option<String>,
    pub context: Vec<(String, String)>,
}

impl InviteRequest {
    /// `None`: there is nobody who asks.
    pub fn read(fields: Fields<'_>) -> Option<InviteRequest> {
        let (from, username, display_name) = read_from(fields)?;
        Some(InviteRequest {
            id: fields.id(&fields.reads.asked_id),
            from,
            username,
            display_name,
            room: Room::read(fields).and_then(|room| room.id),
            context: read_context(fields),
        })
    }
}

/// What the invited side is asked to share. What is not said is taken as audio alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaTypes {
    pub audio: bool,
    pub video: bool,
    pub screen: bool,
}

impl Default for MediaTypes {
    fn default() -> MediaTypes {
        MediaTypes { audio: true, video: false, screen: false }
    }
}

impl MediaTypes {
    pub(super) fn read(fields: Fields<'_>) -> MediaTypes {
        let reads = fields.reads;
        let Some(types) = fields.object(&reads.media) else {
            return MediaTypes::default();
        };
        MediaTypes {
            audio: types.flag(&reads.audio).unwrap_or(true),
            video: types.flag(&reads.video).unwrap_or(false),
            screen: types.flag(&reads.screen).unwrap_or(false),
        }
    }

    pub(super) fn write(self) -> Value {
        json!({ "audio": self.audio, "video": self.video, "screen": self.screen })
    }
}

/// How an invite of ours was answered: a code, and who accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InviteReply {
    pub code: u16,
    pub who_accepted: Option<String>,
}

impl InviteReply {
    /// One reply, or one for each of several invited. An answer without a code means 200.
    pub fn read_all(fields: Fields<'_>) -> Vec<InviteReply> {
        let read = |fields: Fields<'_>| InviteReply {
            code: fields.code().unwrap_or(200),
            who_accepted: fields.id(&fields.reads.who_accepted),
        };
        match fields.list_or_payload(&fields.reads.results) {
            [] => vec![read(fields)],
            list => list.iter().filter_map(Value::as_object).map(|entry| read(fields.inside(entry))).collect(),
        }
    }
}

/// The invitations still pending for us, each with the id it is answered under: the answer to
/// [`current_invitations`]. The pages do not say what an entry is: a whole request frame is read as well as its payload.
pub fn read_current_invitations(fields: Fields<'_>) -> Vec<(String, Invite)> {
    let read = |value: &Value| {
        let entry = fields.unfold(value.as_object()?);
        Some((entry.id(&entry.reads.invitation_id)?, Invite::read(entry)?))
    };
    fields.list_or_payload(&fields.reads.invitations).iter().filter_map(read).collect()
}

/// Whether the answer to [`current_invitations`] has a list: one that has none says nothing about what is over.
pub fn lists_invitations(fields: Fields<'_>) -> bool {
    fields.any(&fields.reads.invitations).is_some()
}

// --- what we say -------------------------------------------------------------------------------------------------

/// An invite of ours.
#[derive(Clone, Copy, Debug)]
pub struct InviteOffer<'a> {
    pub from: &'a str,
    /// A user, or one device of a user as `user/session`.
    pub to: &'a str,
    pub room: &'a str,
    pub media: MediaTypes,
    /// The `inviteRequest` that this answers.
    pub request_id: Option<&'a str>,
    pub context: &'a [(String, String)],
}

/// [`InviteReply::read_all`] reads the answer; a refusal has a code as in SIP.
pub fn send_invite(names: &QssNames, offer: &InviteOffer<'_>) -> Option<Request> {
    let context: Map<_, _> = offer.context.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let mut payload = json!({
        names.from_key.as_str(): offer.from,
        names.to_key.as_str(): offer.to,
        names.room_key.as_str(): offer.room,
        names.media_key.as_str(): offer.media.write(),
        names.context_key.as_str(): context,
    });
    if let (Some(id), Some(payload)) = (offer.request_id, payload.as_object_mut()) {
        payload.insert(names.invite_request_key.clone(), json!(id));
    }
    Request::new(&names.send_invite, payload)
}

/// Asks `to` for an invite, into `room` if one is named.
pub fn send_invite_request(names: &QssNames, from: &str, to: &str, room: Option<&str>) -> Option<Request> {
    let mut payload = json!({ names.from_key.as_str(): from, names.to_key.as_str(): to });
    if let (Some(room), Some(payload)) = (room, payload.as_object_mut()) {
        payload.insert(names.room_key.clone(), json!(room));
    }
    Request::new(&names.send_invite_request, payload)
}

/// Asks which invitations are still pending.
pub fn current_invitations(names: &QssNames) -> Option<Request> {
    Request::new(&names.current_invitations, object([]))
}

/// Payload of the `answer` that accepts an invite.
pub fn accept_payload(names: &QssNames, from: &str) -> Value {
    json!({ names.from_key.as_str(): from })
}

/// Payload of the `cancel` that declines an invite: the code stands at top level and here.
pub fn decline_payload(names: &QssNames, from: &str, error: u16) -> Value {
    json!({ names.from_key.as_str(): from, "error": error })
}

/// Payload of the `cancel` by which we withdraw an invite of ours.
pub fn withdraw_payload(names: &QssNames, from: &str, to: &str, error: u16) -> Value {
    json!({ names.from_key.as_str(): from, names.to_key.as_str(): to, "error": error })
}

// --- parts -------------------------------------------------------------------------------------------------------

/// Who invites: their id, their name if it is another, and how they are called.
fn read_from(fields: Fields<'_>) -> Option<(String, Option<String>, Option<String>)> {
    let reads = fields.reads;
    let detail = |names| fields.object(&reads.from_details).and_then(|details| details.string(names));
    let username = detail(&reads.from_username);
    let from = fields.string(&reads.from).or_else(|| username.clone())?;
    let username = username.filter(|name| *name != from);
    Some((from, username, detail(&reads.from_name)))
}

fn read_context(fields: Fields<'_>) -> Vec<(String, String)> {
    let Some(context) = fields.map(&fields.reads.context) else { return Vec::new() };
    let inner = fields.inside(context).map(&fields.reads.context_info).into_iter().flatten();
    let entry = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    context.iter().chain(inner).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Frame, fields_of};
    use super::*;

    const LIMIT: usize = 4096;

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
    fn what_an_invite_says_besides_is_kept() {
        let body = fields_of(
            r#"{"request":"invite","requestID":"I","payload":{"id":"I","from":"alice","room":"r","requestId":"Q",
               "mediatypes":{"audio":true,"video":true},"context":{"door":"north","contextInfo":{"floor":"2","n":7}}}}"#,
        );
        let invite = Invite::read(body.fields()).expect("an invite");
        assert_eq!((invite.id.as_deref(), invite.request_id.as_deref()), (Some("I"), Some("Q")));
        assert_eq!(invite.media, MediaTypes { audio: true, video: true, screen: false });
        assert_eq!(invite.context, [("door".into(), "north".into()), ("floor".into(), "2".into())]);
    }

    #[test]
    fn a_request_to_be_invited_needs_no_room() {
        let read = |text| InviteRequest::read(fields_of(text).fields());
        let asked =
            read(r#"{"request":"inviteRequest","requestID":"Q","payload":{"id":"Q1","from":"visitor","to":"lobby"}}"#)
                .expect("a request");
        assert_eq!((asked.from.as_str(), asked.id.as_deref(), asked.room), ("visitor", Some("Q1"), None));
        let asked = read(r#"{"request":"inviteRequest","requestID":"Q","fromDetails":{"username":"v"},"roomId":"r"}"#);
        assert_eq!(asked.and_then(|a| a.room).as_deref(), Some("r"));
        assert_eq!(read(r#"{"request":"inviteRequest","requestID":"Q"}"#), None);
    }

    #[test]
    fn an_invite_of_ours_is_answered_by_one_or_by_several() {
        let read = |text| InviteReply::read_all(fields_of(text).fields());
        let by = |code, who: &str| InviteReply { code, who_accepted: Some(who.into()) };
        assert_eq!(read(r#"{"answer":"invite","requestID":"x","payload":{"whoAccepted":"bob"}}"#), [by(200, "bob")]);
        assert_eq!(read(r#"{"answer":"invite","requestID":"x","code":200,"whoAccepted":"bob"}"#), [by(200, "bob")]);
        let none = InviteReply { code: 200, who_accepted: None };
        assert_eq!(read(r#"{"answer":"invite","requestID":"x"}"#), std::slice::from_ref(&none));
        assert_eq!(
            read(
                r#"{"answer":"invite","requestID":"x","payload":[{"code":200,"whoAccepted":"bob"},{"code":486,"whoAccepted":"eve"},3]}"#
            ),
            [by(200, "bob"), by(486, "eve")]
        );
    }

    #[test]
    fn pending_invitations_are_read_as_frames_and_as_payloads() {
        let body = fields_of(
            r#"{"answer":"getCurrentInvitations","requestID":"x","payload":{"currentInvitations":[
                {"id":"I1","from":"alice","room":"r"},
                {"request":"invite","requestID":"I2","payload":{"id":"other","from":"bob","room":{"uuid":"s"}}},
                {"id":"I3","from":"no room"}, 7, null]}}"#,
        );
        let pending = read_current_invitations(body.fields());
        let told: Vec<_> = pending.iter().map(|(id, invite)| (id.as_str(), invite.from.as_str())).collect();
        assert_eq!(told, [("I1", "alice"), ("I2", "bob")]);
        let bare = fields_of(r#"{"answer":"x","requestID":"x","payload":[{"id":"I1","from":"a","room":"r"}]}"#);
        assert_eq!(read_current_invitations(bare.fields()).len(), 1);
    }

    #[test]
    fn our_invite_has_the_documented_fields() {
        let names = QssNames::default();
        let context = [("door".to_owned(), "north".to_owned())];
        let offer = InviteOffer {
            from: "lobby",
            to: "bob/4",
            room: "r",
            media: MediaTypes::default(),
            request_id: Some("Q"),
            context: &context,
        };
        let request = send_invite(&names, &offer).expect("a word for it");
        let expected = json!({"from":"lobby","to":"bob/4","room":"r","requestId":"Q","context":{"door":"north"},
            "mediatypes":{"audio":true,"video":false,"screen":false}});
        assert_eq!((request.name.as_str(), request.payload), ("invite", expected));
    }

    #[test]
    fn what_we_say_of_invites_has_the_configured_keys() {
        let names = QssNames {
            from_key: "inviter".into(),
            to_key: "invitee".into(),
            media_key: "media".into(),
            context_key: "info".into(),
            invite_request_key: "askedBy".into(),
            ..QssNames::default()
        };
        let media = MediaTypes::default();
        let offer = InviteOffer { from: "a", to: "b", room: "r", media, request_id: Some("Q"), context: &[] };
        let expected = json!({"inviter":"a","invitee":"b","room":"r","askedBy":"Q","info":{},"media":media.write()});
        assert_eq!(send_invite(&names, &offer).map(|request| request.payload), Some(expected));
        let asked = send_invite_request(&names, "a", "b", None).map(|request| request.payload);
        assert_eq!(asked, Some(json!({"inviter":"a","invitee":"b"})));
        assert_eq!(accept_payload(&names, "a"), json!({"inviter":"a"}));
        assert_eq!(decline_payload(&names, "a", 603), json!({"inviter":"a","error":603}));
        assert_eq!(withdraw_payload(&names, "a", "b", 487), json!({"inviter":"a","invitee":"b","error":487}));
    }
}
