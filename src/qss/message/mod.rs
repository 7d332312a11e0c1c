//! Wire types of the QSS: one JSON object per text frame, of four kinds (docs/qss.md).
//!
//! | file           | what                                                                 |
//! |----------------|----------------------------------------------------------------------|
//! | `frame`        | the four kinds, the fields of a frame, how a frame is written        |
//! | `registration` | register, unregister                                                 |
//! | `room`         | the room object; create, join, leave, destroy, list; why one refuses |
//! | `invite`       | invites in and out, `inviteRequest`, current invitations             |
//! | `participant`  | who is in a room, and the list of who may be                         |
//! | `transfer`     | blind and attended                                                   |
//! | `mute`         | asked to mute, telling that one is muted                             |
//! | `known`        | the fields there are: others are ignored, and counted                |
//!
//! Reading is tolerant: fields may stand at top level or under `payload`, each under any of its names, `server` is an
//! object or a list, unknown fields are ignored, a field of an unexpected type counts as absent, an unknown word of an
//! enumeration counts as unknown. The names and words are those of `[qss.reads]`: a body brings them along. Nothing read
//! here can panic, and everything kept is bounded by the size of the frame. Writing follows the documented samples; every
//! word that is not documented comes from `[qss.names]`.

mod frame;
mod invite;
mod known;
mod mute;
mod participant;
mod registration;
mod room;
mod transfer;

pub use frame::{Body, Fields, Frame, MAX_ID, Malformed, write_answer, write_cancel, write_event, write_request};
pub use invite::{
    Invite, InviteOffer, InviteReply, InviteRequest, MediaTypes, accept_payload, current_invitations, decline_payload,
    lists_invitations, read_current_invitations, send_invite, send_invite_request, withdraw_payload,
};
pub use known::{Unknown, unknown_fields};
pub use mute::{MuteChange, MuteRequest, mute, report_mute};
pub use participant::{
    ParticipantStatus, Presence, Roster, active_speaker, add_participants, expelled_user, remove_participants,
    report_hold,
};
pub use registration::Registration;
pub use room::{
    IceServer, Refusal, Room, Server, create_room, destroy_room, get_rooms, join_meeting, join_quick_conference,
    join_room, leave_room, says,
};
pub use transfer::{
    AttendedTransfer, AttendedTransferReply, CallTransfer, TransferError, TransferState, accept_transfer,
    attended_transfer, call_transfer_id, transfer,
};

use serde_json::Value;

/// A request of ours, ready for [`Session::request`](crate::qss::session::Session::request).
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    pub name: String,
    pub payload: Value,
}

impl Request {
    /// `None`: the configuration has no word for it, so it is never sent.
    fn new(word: &str, payload: Value) -> Option<Request> {
        (!word.is_empty()).then(|| Request { name: word.to_owned(), payload })
    }
}

#[cfg(test)]
fn fields_of(text: &str) -> Body {
    match Frame::parse(text, 65_536) {
        Ok(Frame::Request { body, .. } | Frame::Answer { body, .. } | Frame::Event { body, .. })
        | Ok(Frame::Cancel { body, .. }) => body,
        Err(why) => panic!("{why:?}: {text}"),
    }
}
