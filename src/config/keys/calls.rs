//! `[calls]` and `[[call]]`.

use super::super::calls::Call;
use super::super::file::Draft;
use super::super::value::Rule;
use super::{Key, Section, WORD, WORDS, key};

const RING: Rule = Rule::Range(1_000, 600_000);
const TOTAL: Rule = Rule::Range(1_000, 3_600_000);

pub(in super::super) const SECTION: Section = Section {
    name: "calls",
    doc: "Calls of the device itself: it makes a room, invites people into it, and destroys the room when they are gone.",
    board: false,
    keys: CALLS,
};

const CALLS: &[Key<Draft>] = &[
    key(
        "limit",
        |d| &mut d.config.calls.limit,
        Rule::Range(1, 4),
        "Calls that the device has at a time, of whatever kind: an accepted invite, a SIP call to the device or a call of \
         its own from a configured room puts the present call on hold for as long as it lasts, unless that is more \
         important. When there are as many: busy, or the present call ends for a more important one. 1: no call waits.",
    ),
    key(
        "mode",
        |d| &mut d.config.calls.plain.mode,
        Rule::Any,
        "How users are called who are named on the spot (`call USER ..`): one after the other, or all together until \
         the first answers.",
    ),
    key("ring_ms", |d| &mut d.config.calls.plain.ring, RING, "How long each of them rings ..."),
    key("total_ms", |d| &mut d.config.calls.plain.total, TOTAL, "... and all of them together."),
    key("record", |d| &mut d.config.calls.plain.record, Rule::Any, "Ask for a room that is recorded, for these calls."),
    key(
        "context",
        |d| &mut d.config.calls.plain.context,
        Rule::Any,
        "Sent with the invites of these calls for those who are invited, such as `{ door = \"north\" }`.",
    ),
    key(
        "busy_tone_ms",
        |d| &mut d.config.calls.busy_tone,
        Rule::ZeroOr(100, 60_000),
        "How long the busy tone lasts when nobody has answered; 0: none.",
    ),
    key(
        "longest_ms",
        |d| &mut d.config.calls.longest,
        Rule::ZeroOr(1_000, 86_400_000),
        "A call of the device ends after this time, whoever is in it; 0: only when the others are gone.",
    ),
    key(
        "alone_ms",
        |d| &mut d.config.calls.alone,
        Rule::ZeroOr(1_000, 86_400_000),
        "When nobody is seen in the room this long after an invite was accepted, or after a reconnect has shown that \
         the others are gone, the QSS is asked who is there; a list of nobody else ends the call. 0: never.",
    ),
    key(
        "answer_travel_ms",
        |d| &mut d.config.calls.answer_travel,
        Rule::Range(0, 600_000),
        "The answer to an invite, which a person gives, is waited for so much longer than it rings.",
    ),
    key(
        "leftover_ms",
        |d| &mut d.config.calls.leftover,
        Rule::ZeroOr(1_000, 86_400_000),
        "A room whose owner is the device's user, that this process has not made, and that nobody else is in, was left \
         behind by a crash: it is destroyed when it has been so for this time. 0: never, which is right where several \
         devices share a user and make rooms that they are alone in.",
    ),
    key(
        "destroy_retry_min_ms",
        |d| &mut d.config.calls.destroy_retry.0,
        Rule::Range(100, 600_000),
        "A room of the device that could not be destroyed is tried again after a random pause: at least this, doubled \
         each time ...",
    ),
    key(
        "destroy_retry_max_ms",
        |d| &mut d.config.calls.destroy_retry.1,
        Rule::Range(100, 3_600_000),
        "... up to this.",
    ),
];

/// A `[[call]]`, repeatable.
pub(in super::super) static CALL: &[Key<Call>] = &[
    key("name", |c| &mut c.name, WORD, "What it is called by: `call NAME`."),
    key("targets", |c| &mut c.targets, WORDS, "User ids, or `user/session` for one device of a user."),
    key("mode", |c| &mut c.mode, Rule::Any, "One after the other, or all together until the first answers."),
    key("ring_ms", |c| &mut c.ring, RING, "How long each target rings ..."),
    key("total_ms", |c| &mut c.total, TOTAL, "... and all of them together."),
    key("record", |c| &mut c.record, Rule::Any, "Ask for a room that is recorded."),
    key(
        "context",
        |c| &mut c.context,
        Rule::Any,
        "Sent with each invite for those who are called, such as `{ door = \"north\" }`.",
    ),
];
