//! `[[room]]`.

use super::{Key, WORD, key};
use crate::config::file::RoomDraft;
use crate::config::shape;
use crate::config::value::Rule;

/// A `[[room]]`, repeatable. Most wanted first; one at a time is in audio.
pub(in crate::config) static ROOM: &[Key<RoomDraft>] = &[
    key("name", |r| &mut r.name, Rule::Any, "Short name for logs and status. If not given: the id, the URI, or `new`."),
    key("id", |r| &mut r.id, WORD, "Join the room with this id through the QSS."),
    key(
        "sip_uri",
        |r| &mut r.sip_uri,
        Rule::Text("sip:user@host[:port]", shape::sip_uri),
        "Dial this address directly, with or without a QSS.",
    ),
    key("meeting", |r| &mut r.meeting, WORD, "Join the meeting with this id; before it begins, wait for it."),
    key("password", |r| &mut r.password, Rule::Any, "Password of the meeting."),
    key(
        "quick_conference",
        |r| &mut r.quick_conference,
        Rule::Text("wac-conf and 20 digits", shape::quick_conference),
        "Join the quick conference with this URI; it need not exist before.",
    ),
    key(
        "rejoin_after_expel_ms",
        |r| &mut r.after_expel,
        Rule::ZeroOr(1_000, 86_400_000),
        "Somebody has removed the device from the room: it comes back by itself after this time; 0: not before `join`.",
    ),
    key(
        "rejoin_after_destroy_ms",
        |r| &mut r.after_destroy,
        Rule::ZeroOr(1_000, 86_400_000),
        "Somebody has destroyed the room: it is asked for again after this time, and then more and more slowly; 0: not \
         before `join`. If not given: 60000 for a meeting and a quick conference, which can be there again, 0 for the \
         others. A room of the device's own making is made anew whatever this says.",
    ),
    key("create", |r| &mut r.create, Rule::Any, "Ask the QSS for a new room at each start, and join that one."),
    key("record", |r| &mut r.record, Rule::Any, "Ask for a room that is recorded; only with `create = true`."),
];
