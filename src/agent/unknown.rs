//! What the QSS says and the device does not understand (docs/qss.md, Events of the QSS): it is counted; the last of it
//! is kept as it came but for its secrets, for people; and an event that means nothing is passed on as the status event
//! `unknown_event`, because who reads those may know more than the device. So many are passed on in each interval, of each
//! so many bytes, and never what the device has said itself: a QSS that tells everybody everything makes no loop.

use super::{Agent, Cx};
use crate::config::QssUnknown;
use crate::qss::message::Body;
use crate::status::event::Kind;
use crate::time::Time;
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;

/// A message that was not understood, or not all of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Seen {
    what: &'static str,
    /// The event, the request, the field, or where the value stands.
    word: String,
    /// How often since it is kept.
    count: u64,
    /// Monotonic clock, of the last time.
    mono_ms: u64,
    /// The message as it came then but for secrets, cut after `qss.unknown_bytes`, and its whole length.
    raw: String,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// The latest last, each `what` and `word` once.
    seen: VecDeque<Seen>,
    interval: Option<Interval>,
    /// Events that were not passed on since the last that was.
    skipped: u64,
}

/// Events are being passed on.
#[derive(Clone, Copy, Debug)]
struct Interval {
    began: Time,
    passed: u32,
}

impl Unknown {
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.iter().cloned().collect()
    }

    fn keep(
        &mut self,
        limits: &QssUnknown,
        now: Time,
        (what, word): (&'static str, &str),
        (raw, bytes): (&str, usize),
    ) {
        let known = self.seen.iter().position(|seen| seen.what == what && seen.word == word);
        let count = known.and_then(|i| self.seen.remove(i)).map_or(0, |seen| seen.count) + 1;
        let (word, raw) = (word.to_owned(), cut(raw, limits.bytes));
        self.seen.push_back(Seen { what, word, count, mono_ms: now.as_millis(), raw, bytes });
        while self.seen.len() > limits.kept {
            self.seen.pop_front();
        }
    }

    /// So many events before this one were not passed on; `None`: this one is not either.
    fn pass(&mut self, limits: &QssUnknown, now: Time) -> Option<u64> {
        if self.interval.is_none_or(|interval| interval.began + limits.interval <= now) {
            self.interval = Some(Interval { began: now, passed: 0 });
        }
        match self.interval.as_mut().filter(|interval| interval.passed < limits.events) {
            Some(interval) => {
                interval.passed += 1;
                Some(std::mem::take(&mut self.skipped))
            }
            None => {
                self.skipped += 1;
                None
            }
        }
    }
}

impl Agent {
    /// So many things in a message that mean nothing to us; `word` is one of them.
    pub(super) fn not_understood(&mut self, cx: &mut Cx<'_>, what: &'static str, word: &str, count: u64, body: &Body) {
        let raw = (&*body.frame(), body.len_of_frame());
        self.unknown.keep(&self.config.qss.unknown, cx.now, (what, word), raw);
        self.problem_with(cx, what, count, word);
    }

    /// An event whose name means nothing to us, or that lacks what its name promises.
    pub(super) fn unknown_event(&mut self, cx: &mut Cx<'_>, name: &str, body: &Body) {
        self.not_understood(cx, "qss_unknown_event", name, 1, body);
        if self.is_an_echo(body) {
            return;
        }
        if let Some(skipped) = self.unknown.pass(&self.config.qss.unknown, cx.now) {
            let (raw, bytes) = (cut(&body.frame(), self.config.qss.unknown.bytes), body.len_of_frame());
            self.emit(cx, Kind::UnknownEvent { name: name.to_owned(), raw, bytes, skipped }, None);
        }
    }

    /// One of our own events has come back under another name.
    fn is_an_echo(&self, body: &Body) -> bool {
        let fields = body.fields();
        let device = fields.get("device").and_then(Value::as_str);
        device == Some(&self.config.device.id) && fields.get("seq").is_some()
    }
}

/// At most so many bytes of `text`, and whole characters.
fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const LIMITS: QssUnknown = QssUnknown { events: 2, interval: Span::from_secs(60), bytes: 8, kept: 3 };

    #[test]
    fn the_latest_are_kept_each_once_and_cut() {
        let mut unknown = Unknown::default();
        for (ms, word) in [(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "d")] {
            unknown.keep(&LIMITS, Time::from_millis(ms), ("qss_unknown_event", word), ("ééééé", 10));
        }
        let told: Vec<_> = unknown.seen().iter().map(|s| (s.word.clone(), s.count, s.mono_ms)).collect();
        assert_eq!(told, [("a".into(), 2, 3), ("c".into(), 1, 4), ("d".into(), 1, 5)]);
        assert_eq!((unknown.seen[0].raw.as_str(), unknown.seen[0].bytes), ("éééé", 10));
        unknown.keep(&LIMITS, Time::ZERO, ("qss_unknown_field", "a"), ("", 0));
        assert!(unknown.seen().iter().any(|s| (s.what, s.count) == ("qss_unknown_field", 1)), "another kind");
        let none = QssUnknown { kept: 0, ..LIMITS };
        unknown.keep(&none, Time::ZERO, ("qss_unknown_event", "e"), ("", 0));
        assert!(unknown.seen().is_empty());
    }

    #[test]
    fn so_many_pass_in_each_interval_and_the_next_says_how_many_did_not() {
        let mut unknown = Unknown::default();
        let mut pass = |s| unknown.pass(&LIMITS, Time::ZERO + Span::from_secs(s));
        assert_eq!([pass(5), pass(5), pass(5), pass(64)], [Some(0), Some(0), None, None]);
        assert_eq!([pass(65), pass(65), pass(66)], [Some(2), Some(0), None]);
        assert_eq!(Unknown::default().pass(&QssUnknown { events: 0, ..LIMITS }, Time::ZERO), None);
    }
}
