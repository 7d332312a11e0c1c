//! `[[caller]]`.

use super::super::callers::Caller;
use super::super::value::Rule;
use super::{Key, WORDS, key};

/// A `[[caller]]`, repeatable.
pub(in super::super) static CALLER: &[Key<Caller>] = &[
    key("from", |c| &mut c.from, WORDS, "Who invites: user ids, user names or `user@domain`; `\"*\"` is everyone."),
    key("rooms", |c| &mut c.rooms, WORDS, "Ids of the rooms invited to; empty: any."),
    key(
        "does",
        |c| &mut c.does,
        Rule::Any,
        "Accept, ring until somebody answers at the device, reject with `invites.decline_code`, or say \
         `invites.busy_code`.",
    ),
    key(
        "after_ms",
        |c| &mut c.after,
        Rule::Range(0, 600_000),
        "With `accept`: answer after this time; it rings until then.",
    ),
    key("ring_ms", |c| &mut c.ring, Rule::Range(1_000, 600_000), "With `ring`: for how long."),
    key("tone", |c| &mut c.tone, Rule::Any, "Play the ring tone while it rings."),
    key(
        "decline",
        |c| &mut c.decline,
        Rule::Any,
        "When the ring time is over: refuse with 408 (true), or say nothing.",
    ),
    key(
        "priority",
        |c| &mut c.priority,
        Rule::Range(0, 9),
        "The invite takes the place of a call with a lower priority, such as for emergency paging. Configured rooms and \
         calls of the device have 0.",
    ),
];
