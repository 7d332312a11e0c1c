//! Whether the link lives: what has come in, the pings that are to provoke it, and the end of a link that answers none.

use super::{Close, Outbox, Output, Session, State};
use crate::agent::LinkErrorKind;
use crate::status::failure::Failure;
use crate::time::{Span, Time, Wakeup, soonest};
use serde_json::json;

/// The liveness of an open link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Pings of WebSocket: any frame is an answer.
    pub(super) ping: Beat,
    /// Pings in JSON, of a registered session that is to send them: any message is an answer.
    pub(super) json_ping: Option<Beat>,
}

/// The rhythm of pings of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    /// The next one.
    pub(super) at: Time,
    /// Those since the last answer.
    pub(super) unanswered: u32,
}

/// A request that is sent again and again, so that there is something to answer.
#[derive(Clone)]
pub(super) struct JsonPing {
    pub(super) word: String,
    pub(super) interval: Span,
}

impl Session {
    /// Any inbound frame, a pong too: the link lives.
    pub fn handle_alive(&mut self) {
        if let Some(link) = self.link_mut() {
            link.ping.unanswered = 0;
        }
    }

    /// An address or a route is not what it was: a link that stands is asked whether it still does, so that what is not
    /// acknowledged any more shows soon.
    pub fn probe(&mut self, now: Time, out: &mut Outbox) {
        match self.state {
            State::Registering { link, .. } | State::Registered { link, .. } if link.ping.unanswered == 0 => {
                let beat = link.ping;
                self.ping(now, beat, out);
            }
            State::Idle
            | State::AwaitingToken(_)
            | State::Connecting { .. }
            | State::Registering { .. }
            | State::Registered { .. }
            | State::Waiting { .. }
            | State::Leaving { .. } => {}
        }
    }

    pub(super) fn ping(&mut self, now: Time, beat: Beat, out: &mut Outbox) {
        if beat.unanswered >= self.settings.ping_misses {
            return self.silent(now, out);
        }
        let next = beat.next(now, self.settings.ping_interval);
        if let Some(link) = self.link_mut() {
            link.ping = next;
        }
        out.push_back(Output::Ping);
    }

    /// A request like any other; while one is repeated for want of an answer, it stands for the next ones too.
    pub(super) fn ping_in_json(&mut self, now: Time, beat: Beat, out: &mut Outbox) {
        if beat.unanswered >= self.settings.ping_misses {
            return self.silent(now, out);
        }
        let Some(JsonPing { word, interval }) = self.settings.json_ping.clone() else { return };
        if self.json_ping.is_none() {
            self.json_ping = self.send_request(now, &word, json!({}), out);
        }
        let mut next = beat.next(now, interval);
        if self.json_ping.is_none() {
            // Too many requests wait for it to be sent.
            next.unanswered = beat.unanswered;
        }
        if let Some(link) = self.link_mut() {
            link.json_ping = Some(next);
        }
    }

    /// Nothing has answered so many pings.
    fn silent(&mut self, now: Time, out: &mut Outbox) {
        match self.state {
            State::Leaving { .. } => {
                out.push_back(Output::Close);
                self.closed(now, LinkErrorKind::Dead.into(), out);
            }
            State::Idle
            | State::AwaitingToken(_)
            | State::Connecting { .. }
            | State::Registering { .. }
            | State::Registered { .. }
            | State::Waiting { .. } => self.lose(now, Failure::QssSilent.into(), None, Close::Ours, out),
        }
    }

    pub(super) fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Registering { link, .. } | State::Registered { link, .. } | State::Leaving { link } => Some(link),
            State::Idle | State::AwaitingToken(_) | State::Connecting { .. } | State::Waiting { .. } => None,
        }
    }
}

impl Link {
    pub(super) fn poll_timeout(self) -> Option<Wakeup> {
        let json_ping = self.json_ping.map(|beat| Wakeup::new(beat.at, "qss json ping"));
        soonest(Some(Wakeup::new(self.ping.at, "qss ping")), json_ping)
    }
}

impl Beat {
    pub(super) fn first(now: Time, interval: Span) -> Beat {
        Beat { at: now + interval, unanswered: 0 }
    }

    pub(super) fn next(self, now: Time, interval: Span) -> Beat {
        Beat { at: now + interval, unanswered: self.unanswered + 1 }
    }
}
