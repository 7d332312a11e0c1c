//! `[status]`.

use super::{Section, key};
use crate::config::value::Rule;

pub(super) const STATUS: Section = Section {
    name: "status",
    doc: "What the device says about itself.",
    board: true,
    keys: &[
        key(
            "socket",
            |d| &mut d.config.status.socket,
            Rule::Any,
            "Unix socket that serves `qss-endpoint status`. If not given: `status.sock` in systemd's \
             `RuntimeDirectory`, or none.",
        ),
        key(
            "stdout",
            |d| &mut d.config.status.stdout,
            Rule::Any,
            "Write each event as a JSON line to standard output.",
        ),
        key(
            "heartbeat_ms",
            |d| &mut d.config.status.heartbeat,
            Rule::ZeroOr(10, 86_400_000),
            "A full snapshot is sent this often, even if nothing changes; 0: never.",
        ),
        key(
            "snapshot_interval_ms",
            |d| &mut d.config.status.snapshot_interval,
            Rule::Range(10, 3_600_000),
            "Of the snapshots that the QSS asks for one is sent this often at most.",
        ),
        key(
            "stats_timeout_ms",
            |d| &mut d.config.status.stats_timeout,
            Rule::Range(10, 60_000),
            "How long a snapshot waits for the numbers of the running call.",
        ),
        key(
            "backlog",
            |d| &mut d.config.status.backlog,
            Rule::Range(1, 100_000),
            "Events kept for the QSS while it is away; beyond it the oldest are dropped, and counted.",
        ),
        key(
            "room_events",
            |d| &mut d.config.status.room_events,
            Rule::Any,
            "Tell the room events of the vendor's SDK too (`participantAdded` and the like), besides the device's own.",
        ),
        key(
            "participants",
            |d| &mut d.config.status.participants,
            Rule::Range(0, 1_000),
            "So many participants of a room are kept by name; the others are counted.",
        ),
        key(
            "participants_interval_ms",
            |d| &mut d.config.status.participants_interval,
            Rule::Range(10, 3_600_000),
            "The list of participants is told at most this often, and at most `participant_changes` of its changes one by one.",
        ),
        key(
            "participant_changes",
            |d| &mut d.config.status.participant_changes,
            Rule::Range(0, 10_000),
            "So many changes of participants are told one by one in each interval.",
        ),
        key(
            "provoked",
            |d| &mut d.config.status.provoked,
            Rule::Range(1, 100_000),
            "Of events that others provoke (`invite`, `mute`, `digit`, and those of the room) so many of each sort are told \
             in each interval; the next event says in `lost` how many were not.",
        ),
        key(
            "provoked_interval_ms",
            |d| &mut d.config.status.provoked_interval,
            Rule::Range(10, 3_600_000),
            "How long such an interval is.",
        ),
        key(
            "page_spelling",
            |d| &mut d.config.status.page_spelling,
            Rule::Any,
            "The event of a stream that ended is `remoteStreamRemove`, as the vendor's page spells it (true), or \
             `remoteStreamRemoved`, as the SDK does (false).",
        ),
    ],
};
