//! `[invites]` and `[control]`: what others may do with the device.

use super::{Section, WORDS, key};
use crate::config::value::Rule;

pub(super) const INVITES: Section = Section {
    name: "invites",
    doc: "What happens when somebody invites the device into a room.",
    board: false,
    keys: &[
        key(
            "accept",
            |d| &mut d.config.invites.accept,
            WORDS,
            "User ids whose invites are accepted; `\"*\"` stands for everyone. All others are declined.",
        ),
        key(
            "decline_code",
            |d| &mut d.config.invites.decline_code,
            Rule::Range(400, 699),
            "Code of the refusal to those who are not on the list.",
        ),
        key(
            "busy_code",
            |d| &mut d.config.invites.busy_code,
            Rule::Range(400, 699),
            "Code of the refusal while the device is in a call.",
        ),
        key(
            "unanswered_code",
            |d| &mut d.config.invites.unanswered_code,
            Rule::Range(400, 699),
            "Code of the refusal when nobody has answered in time.",
        ),
        key(
            "withdraw_code",
            |d| &mut d.config.invites.withdraw_code,
            Rule::Range(400, 699),
            "Code by which the device takes an invite or a request of its own back.",
        ),
        key(
            "redials",
            |d| &mut d.config.invites.redials,
            Rule::Range(0, 100),
            "The call of an accepted invite that the mixer has lost is dialled again so often; then the \
             invite is over.",
        ),
        key(
            "returns",
            |d| &mut d.config.invites.returns,
            Rule::Any,
            "A call whose place was taken by an invite of a higher priority is gone back to when that is over (true), or \
             not (false). Configured rooms are gone back to anyway; a room of the device's own is destroyed when it is \
             left.",
        ),
        key(
            "replaces_call",
            |d| &mut d.config.invites.replaces_call,
            Rule::Any,
            "An accepted invite ends a present call of the same priority (true), or is refused as busy (false).",
        ),
        key(
            "requests",
            |d| &mut d.config.invites.requests,
            WORDS,
            "User ids that are invited when they ask for it (`inviteRequest`: visitors of a personal URL, calls from \
             outside); `\"*\"` stands for everyone. All others are declined.",
        ),
        key(
            "request_room",
            |d| &mut d.config.invites.request_room,
            Rule::Any,
            "They are invited into a new room, or into the one the device is in; while it is in another call, they \
             are told that it is busy.",
        ),
    ],
};

pub(super) const CONTROL: Section = Section {
    name: "control",
    doc: "What others in a room may do with the device.",
    board: false,
    keys: &[
        key("remote_mute", |d| &mut d.config.control.remote_mute, Rule::Any, "They may mute it."),
        key(
            "remote_unmute",
            |d| &mut d.config.control.remote_unmute,
            Rule::Any,
            "They may unmute it: whoever is in the room opens the microphone.",
        ),
        key(
            "transfer",
            |d| &mut d.config.control.transfer,
            Rule::Any,
            "A transfer, blind or attended, moves it to another room.",
        ),
        key(
            "transfer_priority",
            |d| &mut d.config.control.transfer_priority,
            Rule::Range(0, 9),
            "... unless its call has a higher priority than this (`[[caller]] priority`): 8 keeps a page of priority 9 \
             where it is. A call that is moved keeps its priority.",
        ),
    ],
};
