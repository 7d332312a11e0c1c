//! What the vendor's SDK tells an application about a conference room, told by this device: its 15 room events under
//! their own names, with the SDK's field names and numbers, and those of its other events that a device without a screen
//! can know (`docs/status-events.md`, Room events).

use crate::status::failure::Failure;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// One of the SDK's events; the variant's name is the event's.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RoomEvent {
    /// The remote streams are others than before. The mixer sends one for all participants.
    RemoteStreams {
        streams: Vec<Stream>,
        old: Vec<Stream>,
    },
    /// Our invitations are others than before, or stand otherwise.
    OutgoingInvitations {
        invitations: Vec<Invitation>,
        old: Vec<Invitation>,
    },
    /// Somebody removed us from the room.
    Expelled,
    /// The room is gone.
    Destroyed,
    Status {
        new: Status,
        old: Status,
        /// Of an end.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<EndReason>,
    },
    /// Who else is there; users by id.
    RemoteParticipants {
        participants: BTreeMap<String, State>,
        old: BTreeMap<String, State>,
        /// So many participants beyond those that the device keeps.
        #[serde(skip_serializing_if = "is_zero")]
        more: u64,
        /// So many single changes were not told one by one.
        #[serde(skip_serializing_if = "is_zero")]
        folded: u64,
    },
    TransferError {
        /// `callTransferId`, or the `requestID` of an attended transfer.
        call_transfer_id: String,
        /// Of whoever refused; 0: none was given.
        code: u16,
        message: String,
    },
    ParticipantAdded {
        user_id: String,
    },
    ParticipantRemoved {
        user_id: String,
    },
    ParticipantHold {
        user_id: String,
    },
    ParticipantUnhold {
        user_id: String,
    },
    LocalStreamAdded(Stream),
    LocalStreamRemoved(Stream),
    RemoteStreamAdded(Stream),
    /// The vendor's page spells it so.
    RemoteStreamRemove(Stream),
    /// The SDK's type is spelt so.
    RemoteStreamRemoved(Stream),
    /// A participant, or we, muted or unmuted.
    MuteChange {
        user_id: String,
        muted: bool,
    },
    /// Somebody in the room wants us to mute or unmute; `mute` follows if it is obeyed.
    MuteRequest {
        muted: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        requested_by: Option<String>,
    },
    /// Who speaks; `null`: nobody.
    ActiveSpeaker {
        user_id: Option<String>,
    },
    /// Conferences are to be had, or not: there is a session, or none.
    ConferenceServiceAvailable {
        available: bool,
    },
    /// Somebody whom the policy lets in invites us.
    ConferenceInvitation {
        id: String,
        from: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        display_name: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        room_id: Option<String>,
        media_types: MediaTypes,
        /// The inviter's own words.
        context: BTreeMap<String, String>,
    },
    /// Somebody whom the policy lets in wants to be invited, and is called.
    ConferenceInvitationRequest {
        id: String,
        from: String,
    },
    /// ... and does not want it any more.
    ConferenceInvitationRequestCancelled {
        id: String,
    },
    /// How a transfer stands.
    CallTransfer {
        call_transfer_id: String,
        state: TransferState,
        #[serde(skip_serializing_if = "Option::is_none")]
        room_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
}

/// A stream of audio: whose it is, and what it carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Our microphone on its way to the mixer; of the user with this device's `qss.username`.
    Local,
    /// What the mixer sends: all others in one.
    Remote,
}

impl Stream {
    /// `userId` of what the mixer sends.
    pub const MIXER: &'static str = "audiomixer";

    const fn id(self) -> &'static str {
        match self {
            Stream::Local => "local",
            Stream::Remote => "remote",
        }
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            stream: &'static str,
            media_types: MediaTypes,
            user_id: &'static str,
        }
        let user_id = match self {
            Stream::Local => "self",
            Stream::Remote => Stream::MIXER,
        };
        Wire { stream: self.id(), media_types: MediaTypes::AUDIO, user_id }.serialize(serializer)
    }
}

/// What the SDK calls media types; this device has audio only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct MediaTypes {
    pub audio: bool,
    pub video: bool,
    pub screen: bool,
}

impl MediaTypes {
    pub const AUDIO: MediaTypes = MediaTypes { audio: true, video: false, screen: false };
}

/// One of our invitations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    pub id: String,
    /// The user invited.
    pub to: String,
    pub state: InvitationState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InvitationState {
    Pending,
    Accepted,
    Rejected,
    Canceled,
}

/// `ConferenceParticipantState` by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    Calling,
    InCall,
    Hold,
}

/// A participant as a snapshot lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    pub user_id: String,
    pub state: State,
    pub muted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TransferState {
    /// We were asked to move, or have asked for a transfer.
    Invited,
    Accepted,
    Declined,
    /// We are in the target room.
    Done,
    /// Withdrawn by whoever asked for it.
    Canceled,
}

/// `ConferenceStatus`; a number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Disconnected = 0,
    /// On the way into the room, for the first time or again.
    Connecting = 1,
    /// The call to the mixer is confirmed.
    Connected = 2,
    /// Hung up; the mixer has not confirmed it yet.
    Disconnecting = 3,
    Destroyed = 4,
}

/// `ConferenceEndReason`; a number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    Unspecified = 0,
    NormalClearing = 1,
    MediaAccessError = 2,
    ServerError = 3,
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl Serialize for EndReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl From<Failure> for EndReason {
    /// The table of failures says to which group each belongs.
    fn from(failure: Failure) -> EndReason {
        use crate::status::failure::Group;
        match failure.group() {
            Group::Link | Group::Token | Group::Qss | Group::Call => EndReason::ServerError,
            Group::Invite => EndReason::Unspecified,
            Group::Audio => EndReason::MediaAccessError,
            Group::Ourselves => EndReason::NormalClearing,
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
