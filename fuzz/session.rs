//! The body of `qss_session`: the session core under a sequence of operations, one line each.
//!
//! ```text
//! S   start          T   stop           o   the link is open      x   it is closed (x!: refused)    a   a pong comes
//! n   a request of ours                 A   answer the last of the QSS's requests     C   refuse it
//! e   an event of ours                  tN  N milliseconds pass
//! +   the QSS answers our last request  -   it refuses it          w   it withdraws its own last request
//! {...}                                 any frame; $i is the id of our last request, $s that of the QSS's last one
//! ```

use qss_endpoint::agent::{LinkError, LinkErrorKind};
use qss_endpoint::config::Config;
use qss_endpoint::qss::message::Frame;
use qss_endpoint::qss::session::{Event, Outbox, Output, Session};
use qss_endpoint::random::Rng;
use qss_endpoint::time::{Span, Time};
use std::collections::BTreeMap;

/// A peer of the session that remembers what it may rely on.
struct Peer {
    session: Session,
    now: Time,
    out: Outbox,
    /// What each of our ids was sent with: a repetition says the same, another request has another id.
    sent: BTreeMap<String, String>,
    ours: String,
    theirs: (String, String),
    open: bool,
}

pub(crate) fn run(data: &[u8]) {
    let mut config = Config::default();
    config.device.id = "door-1".into();
    config.qss.url = Some("ws://192.0.2.3/".into());
    config.qss.username = "door".into();
    config.qss.max_message = 4096;
    let mut peer = Peer {
        session: Session::new(&config, Rng::from_u64(1)),
        now: Time::from_millis(3_600_000),
        out: Outbox::new(),
        sent: BTreeMap::new(),
        ours: String::new(),
        theirs: (String::new(), String::new()),
        open: false,
    };
    for line in data.split(|byte| *byte == b'\n').take(128) {
        peer.step(&String::from_utf8_lossy(line));
        peer.drain();
    }
    // Whatever happened, time alone brings it to rest or to the next attempt, never to a busy loop.
    peer.pass(600_000);
}

impl Peer {
    fn step(&mut self, line: &str) {
        let mut chars = line.chars();
        let (now, out) = (self.now, &mut self.out);
        match chars.next() {
            Some('S') => self.session.start(now, out),
            Some('T') => self.session.stop(now, out),
            Some('o') => {
                self.open = true;
                self.session.opened(now, out);
            }
            Some('x') => {
                self.open = false;
                let kind = if chars.next().is_some() { LinkErrorKind::Refused } else { LinkErrorKind::Closed(1006) };
                self.session.closed(now, LinkError { kind, detail: String::new(), retry_after: None }, out);
            }
            Some('a') => self.session.handle_alive(),
            Some('n') => drop(self.session.request(now, "joinRoom", serde_json::json!({"room": "r"}), out)),
            Some('A') if !self.theirs.1.is_empty() => {
                self.session.answer(&self.theirs.0, &self.theirs.1, serde_json::json!({}), out)
            }
            Some('C') if !self.theirs.1.is_empty() => {
                let null = serde_json::Value::Null;
                self.session.refuse(&self.theirs.0, &self.theirs.1, 486, "busy", null, out);
            }
            Some('e') => self.session.send_event("endpointStatus", &1, out),
            Some('t') => self.pass(chars.as_str().trim().parse::<u32>().unwrap_or(1)),
            Some('+') => self.hear(&format!(r#"{{"answer":"x","requestID":"{}","payload":{{}}}}"#, self.ours)),
            Some('-') => self.hear(&format!(r#"{{"cancel":"x","requestID":"{}","error":403}}"#, self.ours)),
            Some('w') => self.hear(&format!(r#"{{"cancel":"x","requestID":"{}","error":487}}"#, self.theirs.1)),
            Some('{') => self.hear(&line.replace("$i", &self.ours).replace("$s", &self.theirs.1)),
            Some(_) | None => {}
        }
    }

    fn hear(&mut self, text: &str) {
        self.session.handle_frame(self.now, text, &mut self.out);
    }

    fn pass(&mut self, ms: u32) {
        let end = self.now + Span::from_millis(u64::from(ms));
        for _ in 0..1000 {
            let Some(due) = self.session.poll_timeout().filter(|wakeup| wakeup.at <= end) else { break };
            self.now = self.now.max(due.at);
            self.session.handle_timeout(self.now, &mut self.out);
            assert!(self.session.poll_timeout().is_none_or(|next| next.at > self.now), "a timer does not go out");
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        assert!(self.out.len() < 200, "{} outputs at once", self.out.len());
        while let Some(output) = self.out.pop_front() {
            match output {
                Output::Send(text) => self.sent(text),
                Output::Close => self.open = false,
                Output::Event(Event::Request { name, id, .. }) => self.theirs = (name, id),
                Output::Event(Event::Lost { retry_at, .. }) => assert!(retry_at > self.now, "no pause at all"),
                Output::Open(_) | Output::Ask(_) | Output::Ping | Output::Attempts(_) | Output::Event(_) => {}
            }
        }
    }

    fn sent(&mut self, text: String) {
        match Frame::parse(&text, 65_536) {
            Ok(Frame::Request { id, .. }) => {
                self.ours.clone_from(&id);
                let known = self.sent.entry(id).or_insert_with(|| text.clone());
                assert_eq!(*known, text, "one id, two requests");
            }
            Ok(Frame::Answer { .. } | Frame::Cancel { .. } | Frame::Event { .. }) => {}
            Err(why) => panic!("{why:?}: we sent {text}"),
        }
    }
}
