//! Facts to events: every change of the ladder is said at once, locally and upstream; what cannot go upstream now is
//! kept, and a snapshot follows each registration (`docs/status-events.md`).

use super::conference::Told;
use super::unknown::Seen;
use super::visit::{Hearing, Hold, Visit};
use super::{Agent, CardUse, Cx, Output, Phase};
use crate::config::Config;
use crate::media::command::{Command, Stats};
use crate::media::tone::Tone;
use crate::sip::endpoint::CallId;
use crate::status::backlog::Backlog;
use crate::status::event::{Attempt, Kind, RoomRef, Stamp};
use crate::status::failure::{Cause, Failure};
use crate::status::flood::Flood;
use crate::status::ladder::{Holds, Ladder, Rung};
use crate::status::snapshot::{Counters, Media, Snapshot, fact_states};
use crate::status::tally::{Repeats, Tally};
use crate::time::{Clock, Span, Time, Wakeup, Wall, soonest};
use serde::Serialize;

/// Local clients that wait for a snapshot; more are answered at once with the last numbers known.
const MAX_WAITING: usize = 8;

pub(super) struct Reporter {
    stamp: Stamp,
    ladder: Ladder,
    pub(super) backlog: Backlog,
    pub(super) told: Told,
    /// As it was told last: there is a session.
    pub(super) service: bool,
    flood: Flood,
    problems: Tally,
    tokens: Repeats<Failure>,
    sessions: Repeats<Failure>,
    rooms: Repeats<Failure>,
    calls: Repeats<Failure>,
    registrations: Repeats<Failure>,
    pub(super) counters: Counters,
    heartbeat: Span,
    heartbeat_at: Option<Time>,
    requested: Requested,
    awaited: Option<Awaited>,
}

/// What is to be said once the media thread has given its numbers, or at `until`.
struct Awaited {
    until: Time,
    snapshot: bool,
    clients: Vec<u32>,
    summary: Option<Summary>,
}

/// Snapshots that somebody asks for: one in each `status.snapshot_interval_ms`, however often they ask.
#[derive(Clone, Copy, Debug)]
enum Requested {
    Rest,
    /// One was sent a short time ago; another may be sent then.
    Sent(Time),
    /// ... and will be.
    Due(Time),
}

/// A call that is over.
struct Summary {
    call: CallId,
    room: RoomRef,
    duration: Span,
    cause: Cause,
}

impl Reporter {
    pub(super) fn new(config: &Config) -> Reporter {
        Reporter {
            stamp: Stamp::new(&config.device.id),
            ladder: Ladder::new(Time::ZERO),
            backlog: Backlog::new(config.status.backlog),
            told: Told::default(),
            service: false,
            flood: Flood::new(config.status.provoked, config.status.provoked_interval),
            problems: Tally::default(),
            tokens: Repeats::new(),
            sessions: Repeats::new(),
            rooms: Repeats::new(),
            calls: Repeats::new(),
            registrations: Repeats::new(),
            counters: Counters::default(),
            heartbeat: config.status.heartbeat,
            heartbeat_at: None,
            requested: Requested::Rest,
            awaited: None,
        }
    }

    pub(super) fn start(&mut self, now: Time) {
        self.ladder = Ladder::new(now);
        self.heartbeat_at = (self.heartbeat > Span::ZERO).then(|| now + self.heartbeat);
    }

    pub(super) fn registered(&mut self) {
        self.counters.sessions += 1;
        self.sessions.clear();
        self.tokens.clear();
    }

    pub(super) fn succeeded(&mut self, what: Attempt) {
        self.repeats(what).clear();
    }

    pub(super) fn explain(&mut self, fact: Rung, cause: &Cause) {
        self.ladder.explain(fact, cause);
    }

    pub(super) fn awaits_summary(&self) -> bool {
        self.awaited.as_ref().is_some_and(|a| a.summary.is_some())
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        let heartbeat = self.heartbeat_at.map(|at| Wakeup::new(at, "status heartbeat"));
        let requested = match self.requested {
            Requested::Due(at) => Some(Wakeup::new(at, "requested snapshot")),
            Requested::Rest | Requested::Sent(_) => None,
        };
        let heartbeat = soonest(heartbeat, requested);
        soonest(heartbeat, self.awaited.as_ref().map(|a| Wakeup::new(a.until, "media stats")))
    }

    fn repeats(&mut self, what: Attempt) -> &mut Repeats<Failure> {
        match what {
            Attempt::Token => &mut self.tokens,
            Attempt::Session => &mut self.sessions,
            Attempt::Room => &mut self.rooms,
            Attempt::Call => &mut self.calls,
            Attempt::Registration => &mut self.registrations,
        }
    }
}

impl Agent {
    /// Lets the ladder look at what is true now; `cause` explains what no longer is.
    pub(super) fn observe(&mut self, cx: &mut Cx<'_>, cause: Option<&Cause>) {
        if let Some(change) = self.reporter.ladder.observe(cx.now, self.holds(), cause) {
            let proven: Vec<_> = self.reporter.ladder.facts().filter(|(_, f)| f.holds).map(|(name, _)| name).collect();
            let room = self.visit.as_ref().map(Visit::room_ref);
            let mut previous = change.previous;
            for rung in self.reporter.ladder.climbed(previous) {
                let kind = Kind::Ladder { previous, proven: proven.clone() };
                self.emit_at(cx, rung, kind, room.clone(), change.cause.clone());
                previous = rung;
            }
            if change.rung != change.previous {
                self.tone(cx, Tone::Rung(change.rung));
            }
        }
        self.tell_room(cx, cause);
    }

    /// The facts, from where they are true. A process that stops claims nothing any more.
    pub(super) fn holds(&self) -> Holds {
        match self.phase {
            Phase::Running => {}
            Phase::Asleep | Phase::Stopping { .. } | Phase::Gone => return Holds::default(),
        }
        let up = self.visit.as_ref().and_then(Visit::up);
        [
            self.session.is_registered(),
            self.visit.as_ref().is_some_and(Visit::is_admitted),
            up.is_some(),
            up.is_some_and(|up| up.sending),
            up.is_some_and(|up| up.hearing == Hearing::Packets),
            up.is_some_and(|up| up.playing),
        ]
    }

    /// Says something about the room of the visit, or of none.
    pub(super) fn emit(&mut self, cx: &mut Cx<'_>, kind: Kind, cause: Option<Cause>) {
        let room = self.visit.as_ref().map(Visit::room_ref);
        self.emit_about(cx, kind, room, cause);
    }

    pub(super) fn emit_about(&mut self, cx: &mut Cx<'_>, kind: Kind, room: Option<RoomRef>, cause: Option<Cause>) {
        self.emit_at(cx, self.reporter.ladder.rung(), kind, room, cause);
    }

    fn emit_at(&mut self, cx: &mut Cx<'_>, rung: Rung, kind: Kind, room: Option<RoomRef>, cause: Option<Cause>) {
        let reporter = &mut self.reporter;
        let Some(withheld) = reporter.flood.admit(cx.now, &kind) else { return };
        // A clock behind what has certainly passed is wrong: no event is dated before that.
        let floor = self.memory.floor().at();
        let wall = match cx.wall.clock {
            Clock::Unset | Clock::Floor => cx.wall,
            Clock::Kept | Clock::Synced if cx.wall.at < floor => Wall { at: floor, clock: Clock::Floor },
            Clock::Kept | Clock::Synced => cx.wall,
        };
        let mut event = reporter.stamp.event(cx.now, wall, kind, rung, room, cause);
        event.lost = withheld;
        cx.out.push_back(Output::Status(event.line()));
        if self.config.qss.url.is_none() {
            return;
        }
        reporter.backlog.push(event);
        self.flush_backlog(cx);
    }

    /// Sends what waits, oldest first, as far as the link is proven to keep up; its pong sends the next.
    pub(super) fn flush_backlog(&mut self, cx: &mut Cx<'_>) {
        while self.session.takes_events()
            && let Some(event) = self.reporter.backlog.next_to_send()
        {
            let name = self.config.qss.names.status_event.clone();
            self.with_session(cx, |session, _, out| session.send_event(&name, &event, out));
        }
        if self.session.takes_events() && self.reporter.backlog.needs_ping() {
            let ping = self.reporter.backlog.pinged();
            cx.out.push_back(Output::QssPing(ping));
        }
    }

    /// An attempt failed and is repeated at `retry_at` (`None`: not by itself). Repeats of one failure are folded.
    pub(super) fn attempt_failed(&mut self, cx: &mut Cx<'_>, what: Attempt, cause: &Cause, retry_at: Option<Time>) {
        let next = match what {
            // No rung is missing: the old token still holds; calls of the device need no SIP server to know it.
            Attempt::Token | Attempt::Registration => None,
            Attempt::Session => Some(Rung::Session),
            Attempt::Room => Some(Rung::Room),
            Attempt::Call => Some(Rung::Call),
        };
        if let Some(next) = next {
            self.reporter.explain(next, cause);
        }
        if let Some(repeats) = self.reporter.repeats(what).count(cause.failure) {
            let retry_in_ms = retry_at.map(|at| at.since(cx.now).as_millis());
            self.emit(cx, Kind::Attempt { what, repeats, retry_in_ms }, Some(cause.clone()));
        }
    }

    /// Input that nobody can use: counted, said once per kind and then on powers of ten.
    pub(super) fn problem(&mut self, cx: &mut Cx<'_>, what: &'static str) {
        self.problems(cx, what, 1);
    }

    /// So many of the same kind at once.
    pub(super) fn problems(&mut self, cx: &mut Cx<'_>, what: &'static str, more: u64) {
        self.problem_with(cx, what, more, "");
    }

    /// `detail`: a short word of the peer's that says which; empty: none.
    pub(super) fn problem_with(&mut self, cx: &mut Cx<'_>, what: &'static str, more: u64, detail: &str) {
        if let Some(count) = self.reporter.problems.add(what, more) {
            let detail = (!detail.is_empty()).then(|| detail.chars().take(64).collect());
            self.emit(cx, Kind::Problem { what, count, detail }, None);
        }
    }

    // --- numbers of the media thread -------------------------------------------------------------------------------

    /// A snapshot, with fresh numbers if a call is running.
    pub(super) fn snapshot_soon(&mut self, cx: &mut Cx<'_>) {
        match self.voice.card {
            CardUse::Streaming(_) => {
                self.await_stats(cx).snapshot = true;
                self.media(cx, Command::Stats);
            }
            CardUse::Closed | CardUse::Opened => self.emit_snapshot(cx),
        }
    }

    /// The QSS wants to know how the device is.
    pub(super) fn snapshot_on_request(&mut self, cx: &mut Cx<'_>) {
        self.reporter.requested = match self.reporter.requested {
            Requested::Sent(next) if cx.now < next => Requested::Due(next),
            due @ Requested::Due(_) => due,
            Requested::Rest | Requested::Sent(_) => {
                self.snapshot_soon(cx);
                Requested::Sent(cx.now + self.config.status.snapshot_interval)
            }
        };
    }

    pub(super) fn reply_snapshot_soon(&mut self, cx: &mut Cx<'_>, client: u32) {
        match self.voice.card {
            CardUse::Streaming(_) if self.reporter.awaited.as_ref().is_none_or(|a| a.clients.len() < MAX_WAITING) => {
                self.await_stats(cx).clients.push(client);
                self.media(cx, Command::Stats);
            }
            CardUse::Streaming(_) | CardUse::Closed | CardUse::Opened => self.reply_snapshot(cx, client),
        }
    }

    /// The end of a call is told with its last numbers, which [`Command::Stats`] has been asked for.
    pub(super) fn summarise_soon(
        &mut self,
        cx: &mut Cx<'_>,
        call: CallId,
        room: RoomRef,
        duration: Span,
        cause: Cause,
    ) {
        self.flush_summary(cx);
        self.await_stats(cx).summary = Some(Summary { call, room, duration, cause });
    }

    fn await_stats(&mut self, cx: &Cx<'_>) -> &mut Awaited {
        let until = cx.now + self.config.status.stats_timeout;
        self.reporter.awaited.get_or_insert(Awaited { until, snapshot: false, clients: Vec::new(), summary: None })
    }

    pub(super) fn on_stats(&mut self, cx: &mut Cx<'_>, stats: Stats) {
        let current = match self.voice.card {
            CardUse::Streaming(call) => call.0 == stats.call,
            CardUse::Closed | CardUse::Opened => true,
        };
        let summarised =
            self.reporter.awaited.as_ref().and_then(|a| a.summary.as_ref()).is_some_and(|s| s.call.0 == stats.call);
        if current || summarised {
            self.voice.stats = Some(stats);
            self.stats_done(cx);
        }
    }

    pub(super) fn on_report_timeout(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.reporter.requested, Requested::Due(at) if at <= cx.now) {
            self.reporter.requested = Requested::Rest;
            self.snapshot_on_request(cx);
        }
        if self.reporter.awaited.as_ref().is_some_and(|a| a.until <= cx.now) {
            self.stats_done(cx);
        }
        if self.reporter.heartbeat_at.is_some_and(|at| at <= cx.now) {
            self.reporter.heartbeat_at = Some(cx.now + self.reporter.heartbeat);
            if self.phase == Phase::Running {
                self.snapshot_soon(cx);
            }
        }
    }

    /// Says whatever waited for numbers, with the newest there are.
    fn stats_done(&mut self, cx: &mut Cx<'_>) {
        self.flush_summary(cx);
        let Some(awaited) = self.reporter.awaited.take() else { return };
        if awaited.snapshot {
            self.emit_snapshot(cx);
        }
        for client in awaited.clients {
            self.reply_snapshot(cx, client);
        }
    }

    pub(super) fn flush_summary(&mut self, cx: &mut Cx<'_>) {
        let Some(summary) = self.reporter.awaited.as_mut().and_then(|a| a.summary.take()) else { return };
        let stats = self.voice.stats.filter(|s| s.call == summary.call.0);
        if let Some(stats) = &stats {
            self.remember_clocks(cx, stats.clocks);
        }
        let kind = Kind::CallEnded {
            duration_ms: summary.duration.as_millis(),
            media: stats.as_ref().map(|stats| Box::new(stats.into())),
        };
        self.emit_about(cx, kind, Some(summary.room), Some(summary.cause));
    }

    fn emit_snapshot(&mut self, cx: &mut Cx<'_>) {
        let snapshot = self.snapshot();
        self.emit(cx, Kind::Snapshot(Box::new(snapshot)), None);
    }

    fn reply_snapshot(&mut self, cx: &mut Cx<'_>, client: u32) {
        #[derive(Serialize)]
        struct Status {
            ok: bool,
            rung: Rung,
            #[serde(skip_serializing_if = "Option::is_none")]
            room: Option<RoomRef>,
            /// What the QSS has said and the device did not understand, the latest last.
            unknown: Vec<Seen>,
            #[serde(flatten)]
            snapshot: Snapshot,
        }
        let room = self.visit.as_ref().map(Visit::room_ref);
        let (rung, unknown) = (self.reporter.ladder.rung(), self.unknown.seen());
        let status = Status { ok: true, rung, room, unknown, snapshot: self.snapshot() };
        self.reply(cx, client, &status);
    }

    fn snapshot(&self) -> Snapshot {
        let reporter = &self.reporter;
        let running = match self.voice.card {
            CardUse::Streaming(call) => self.voice.stats.as_ref().filter(|s| s.call == call.0),
            CardUse::Closed | CardUse::Opened => None,
        };
        let (participants, participants_more) = self.participants.list();
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            since_ms: reporter.ladder.since().as_millis(),
            facts: fact_states(&reporter.ladder),
            muted: self.voice.muted,
            playback_db: self.voice.volumes.playback,
            capture_db: self.voice.volumes.capture,
            held: self.visit.as_ref().is_some_and(|visit| visit.hold == Hold::On),
            held_calls: self.held_calls(),
            participants,
            participants_more,
            counters: Counters {
                events_lost: reporter.backlog.lost_ever() + reporter.flood.withheld_ever(),
                problems: reporter.problems.counts().clone(),
                ..reporter.counters.clone()
            },
            media: running.map(Media::from),
        }
    }
}
