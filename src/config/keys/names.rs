//! `[qss.names]` and `[qss.codes]`: a row for each word and code of the wire that the public pages leave open
//! (docs/qss.md, Open questions).

use super::{Draft, Key, Rule, Section, WORD, WORDS, key};
use crate::config::value::Field;

/// A word we say; empty: it is never said.
macro_rules! word {
    ($name:ident, $doc:expr) => {
        key(stringify!($name), |d: &mut Draft| -> &mut dyn Field { &mut d.config.qss.names.$name }, Rule::Any, $doc)
    };
}

/// A word that must be there.
macro_rules! needed {
    ($name:ident, $doc:expr) => {
        key(stringify!($name), |d: &mut Draft| -> &mut dyn Field { &mut d.config.qss.names.$name }, WORD, $doc)
    };
}

/// Words we understand.
macro_rules! words {
    ($name:ident, $doc:expr) => {
        key(stringify!($name), |d: &mut Draft| -> &mut dyn Field { &mut d.config.qss.names.$name }, WORDS, $doc)
    };
}

/// The code of a refusal of ours.
macro_rules! said {
    ($name:ident, $doc:expr) => {
        key(
            stringify!($name),
            |d: &mut Draft| -> &mut dyn Field { &mut d.config.qss.codes.$name },
            Rule::Range(400, 699),
            $doc,
        )
    };
}

/// What a refusal may say.
macro_rules! codes {
    ($name:ident, $doc:expr) => {
        key(stringify!($name), |d: &mut Draft| -> &mut dyn Field { &mut d.config.qss.codes.$name }, WORDS, $doc)
    };
}

pub(super) const CODES: Section = Section {
    name: "qss.codes",
    doc: "What a refusal of the QSS means, by its code or a word in its texts, and what the device's own refusals say.",
    board: false,
    keys: &[
        key(
            "unauthorized",
            |d: &mut Draft| -> &mut dyn Field { &mut d.config.qss.codes.unauthorized },
            Rule::Range(200, 699),
            "By which codes `register` is refused for its token: another one is tried first.",
        ),
        codes!(forbidden, "The user is not admitted to the room: tried again slowly, or an invite is waited for."),
        codes!(not_found, "There is no such room: tried again slowly."),
        codes!(too_early, "The meeting has not begun: tried again when it begins."),
        codes!(wrong_password, "The password is wrong: not tried again, since servers lock out who insists."),
        codes!(room_full, "The room has as many participants as it may: tried again, more and more slowly."),
        codes!(
            unknown_request,
            "The QSS has no such request: a room whose address is known is joined by the call alone."
        ),
        codes!(busy, "Who was invited is busy."),
        codes!(no_answer, "Who was invited does not answer."),
        codes!(not_connected, "Who was invited is known, but not connected."),
        codes!(unknown_user, "Nobody knows who was invited."),
        codes!(not_allowed, "The device must not invite this user, or into this room."),
        codes!(elsewhere, "Somebody else has taken the call."),
        codes!(failed, "The QSS could not invite. A 5xx that stands in no list counts as 500."),
        key(
            "withdrawn",
            |d: &mut Draft| -> &mut dyn Field { &mut d.config.qss.codes.withdrawn },
            Rule::Range(200, 699),
            "By which codes of a `cancel` a ringing invite is over; empty: by any.",
        ),
        said!(say_malformed, "Code for an invite or a transfer that lacks its inviter or its room."),
        said!(say_no_call, "Code for a transfer while no call can be transferred."),
        said!(say_unknown, "Code for a request that the device does not know (`qss.refuse_unknown`)."),
    ],
};

pub(super) const NAMES: Section = Section {
    name: "qss.names",
    doc: "The words of the wire that differ between QSS versions. Change them only if the log shows that the QSS uses others.",
    board: false,
    keys: KEYS,
};

const KEYS: &[Key<Draft>] = &[
    needed!(register, "Request that opens the session."),
    needed!(unregister, "Request that ends it."),
    needed!(create_room, "Request for a new room."),
    word!(join_room, "Request to join a room by its id; empty: none is sent, the call alone joins."),
    word!(join_meeting, "Request to join a meeting."),
    word!(join_quick_conference, "Request to join a quick conference."),
    needed!(leave_room, "Request to leave."),
    word!(destroy_room, "Request to destroy a room the device made."),
    word!(get_rooms, "Request for the rooms the user participates in."),
    word!(add_participants, "Request to admit users to a room."),
    word!(remove_participants, "Request to expel users from a room."),
    word!(send_invite, "Request to invite somebody."),
    word!(send_invite_request, "Request to be invited by somebody."),
    word!(current_invitations, "Request for the invitations that are still pending."),
    word!(mute, "Request to mute or unmute somebody else."),
    word!(mute_report, "Request that tells that the device is muted or unmuted."),
    word!(hold, "Request that tells that the device holds the call; by default the media server tells the QSS."),
    word!(unhold, "Request that tells that it resumes the call."),
    word!(json_ping, "Request that asks for nothing but a reply (`qss.json_ping_interval_ms`)."),
    word!(transfer, "Request for a blind transfer."),
    word!(accept_transfer, "Request that accepts being transferred."),
    word!(attended_transfer, "Request for an attended transfer."),
    needed!(status_event, "`eventName` of the device's own events."),
    words!(invite, "Words of an invite."),
    words!(invite_request, "Words by which somebody asks to be invited."),
    words!(expelled, "Words of an expulsion."),
    words!(destroyed, "Words of the end of a room."),
    words!(mute_request, "Words by which somebody asks the device to mute or unmute."),
    words!(mute_change, "Words of a participant's change of mute."),
    words!(participant, "Words of a participant's status; it says `IN_CALL`, `HOLD` or `GONE`."),
    words!(participants, "Words of the whole list of participants: who is not on it has gone."),
    words!(participant_in_call, "Words that mean `IN_CALL` by themselves."),
    words!(participant_on_hold, "Words that mean `HOLD` by themselves."),
    words!(participant_gone, "Words that mean `GONE` by themselves."),
    words!(active_speaker, "Words of a change of speaker."),
    words!(call_transfer, "Words by which the device is transferred, or a transfer changes its state."),
    words!(incoming_attended_transfer, "Words by which the device is transferred after consultation."),
    words!(transfer_error, "Words of a transfer that failed."),
    words!(snapshot, "Words by which a snapshot of the device's status is asked for."),
    needed!(username_key, "Key of the user name in `register` and `unregister`."),
    needed!(token_key, "Key of the token in `register`."),
    needed!(device_id_key, "Key of the device's id in both."),
    needed!(room_key, "Key of the room id in requests to join, leave, destroy and invite."),
    needed!(room_id_key, "Key of the room id in requests to mute, hold and transfer."),
    needed!(meeting_key, "Key of a meeting's id in `join_meeting`."),
    needed!(quick_conference_key, "Key of the URI in `join_quick_conference`."),
    needed!(password_key, "Key of a meeting's password."),
    needed!(record_key, "Key of the flag that has a new room recorded."),
    word!(leave_cause_key, "Key of the cause in `leave_room`, given unless it is 200; empty: never given."),
    needed!(from_key, "Key of who invites, or asks to be invited, in what the device says of invites."),
    needed!(to_key, "Key of who is invited, or asked, there."),
    needed!(media_key, "Key of what is to be shared, in `send_invite`."),
    needed!(context_key, "Key of the context in `send_invite`."),
    needed!(invite_request_key, "Key of the request that an invite answers, in `send_invite`."),
    needed!(participants_key, "Key of the users in `add_participants` and `remove_participants`."),
    needed!(transfer_id_key, "Key of the transfer's id in `accept_transfer`."),
    needed!(transfer_to_key, "Key of the new party in `transfer`."),
    needed!(transfer_media_key, "Key of what is to be shared, in `transfer`."),
    needed!(attended_target_key, "Key of the new party in `attended_transfer` ..."),
    needed!(attended_transferee_key, "... and of who is moved."),
];
