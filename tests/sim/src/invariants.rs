//! What must hold at every step, whatever the world does. Each line of this file that fails ends the run with its seed.
//!
//! * Nothing is stuck: there is always a next deadline, or a token that was asked for, and it is not far away.
//! * A call on hold neither sends nor plays.
//! * One audio room at most: one stream (`voice`), no claim of audio without one, no more answered calls that neither
//!   side has ended than `calls.limit`, and all of them but one on hold, or about to be.
//! * A request id stands for one message for ever, over restarts of the device too.
//! * Attempts, questions for tokens, calls, requests and wake-ups come from budgets that refill slowly; so no storm of
//!   any of them. A `Retry-After` is obeyed.
//! * Memory, outputs and what is kept on disk are bounded.
//! * Policy: who may not invite gets no acceptance, no call and no invite of ours; what rings is answered by a person
//!   only; a page is answered at once, and nothing less important takes its place; nobody unmutes the device from afar
//!   or moves it where that is not allowed; a room that sent us away is not entered again by itself, and none has sent
//!   us away that does not say so.
//! * Only rooms of its own making are destroyed.

use qss_endpoint::agent::{Input, LinkError, LinkErrorKind, Outbox, Output};
use qss_endpoint::media::command::{Command, StreamParams};
use qss_endpoint::time::{Span, Time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Whoever has this in their name or URI is not admitted by any policy of the simulation.
pub const STRANGER: &str = "mallory";
/// Calls into this room begin with the URI `sip:666`.
pub const STRANGERS_ROOM: &str = "sip:666";
/// Whose invites are more important than anybody's.
pub const PAGER: &str = "fire";
/// For whom the device rings until a person answers.
pub const RINGER: &str = "dan";

/// How long a device that was sent away stays away.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// As its configuration says.
    Soon,
    WithinTheHour,
    SomebodyLetsItIn,
}

/// A frame with one of these may mean that the device is not in its room any more.
const SENDS_AWAY: [&str; 5] = ["expel", "destroy", "remove", "GONE", "participants"];

/// More outputs than this in one step is a storm.
const MAX_OUTPUTS: usize = 400;
/// What an agent may hold. Its queues are bounded by the configuration, the largest being the events for the server.
const MAX_BYTES: i64 = 1 << 20;
/// A hold is sent within this time: after a transaction of SIP that is under way (Timer B), and a pause.
const UNTIL_HELD: Span = Span::from_secs(45);
/// The longest that the agent may sleep: the longest `Retry-After` obeyed.
const MAX_SLEEP: Span = Span::from_secs(3_660);

/// Checks the steps of one world.
pub struct Watch {
    seed: u64,
    /// With `SIM_TRACE` in the environment every step is written to standard error.
    traces: bool,
    pub steps: u64,
    pub most_bytes: i64,
    ids: BTreeMap<String, u64>,
    phase: Phase,
    /// The device has a QSS that it can always wait for.
    has_qss: bool,
    /// A token was asked for, and the answer has not come.
    awaits_token: bool,
    /// No attempt before: a server asked for it.
    not_before: Time,
    /// The room that the device was moved to out of a page.
    moved_page: Option<String>,
    /// Invites that no policy accepts.
    forbidden: BTreeSet<String>,
    /// Whom an invite came from.
    inviters: BTreeMap<String, String>,
    /// What this step has to do.
    step: Step,
    /// The room that the device speaks of.
    room: String,
    /// By configuration others may move the device.
    pub movable: bool,
    /// Calls that the device may have at a time.
    pub most_calls: usize,
    /// Since when more than one call is not on hold.
    two_speak: Option<Time>,
    /// Configured rooms that somebody keeps the device out of: it was sent away, or hung up.
    barred: BTreeSet<String>,
    /// Those that it enters again within the hour.
    away: BTreeSet<String>,
    /// What has just come in may say that we are out of the room.
    sends_away: bool,
    microphone: Microphone,
    may_unmute: bool,
    /// Somebody has put a call on hold, and perhaps not resumed it.
    may_be_held: bool,
    /// The call that is on hold.
    held_call: Option<u32>,
    dialogs: Dialogs,
    connects: Budget,
    calls: Budget,
    requests: Budget,
    wakeups: Budget,
    tokens: Budget,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asleep,
    Running,
}

#[derive(Clone, PartialEq, Eq)]
enum Step {
    Nothing,
    /// A person has said `answer`.
    Answering,
    /// A page has come, and must be accepted.
    Paged(String),
}

#[derive(PartialEq, Eq)]
enum Microphone {
    Open,
    Muted,
}

/// Attempts that may be made: `full` at once, then one per `refill`.
struct Budget {
    what: &'static str,
    full: u64,
    refill: Span,
    left: u64,
    since: Time,
}

impl Watch {
    pub fn new(seed: u64, has_qss: bool) -> Watch {
        Watch {
            seed,
            traces: std::env::var_os("SIM_TRACE").is_some(),
            steps: 0,
            most_bytes: 0,
            ids: BTreeMap::new(),
            phase: Phase::Asleep,
            has_qss,
            awaits_token: false,
            not_before: Time::ZERO,
            moved_page: None,
            forbidden: BTreeSet::new(),
            inviters: BTreeMap::new(),
            step: Step::Nothing,
            room: String::new(),
            movable: true,
            most_calls: 1,
            two_speak: None,
            barred: BTreeSet::new(),
            away: BTreeSet::new(),
            sends_away: false,
            microphone: Microphone::Open,
            may_unmute: false,
            may_be_held: false,
            held_call: None,
            dialogs: Dialogs::default(),
            connects: Budget::new("connects", 15, Span::from_secs(4)),
            calls: Budget::new("calls", 15, Span::from_secs(4)),
            requests: Budget::new("requests", 30, Span::from_secs(2)),
            wakeups: Budget::new("wake-ups", 400, Span::from_millis(50)),
            tokens: Budget::new("questions for tokens", 15, Span::from_secs(4)),
        }
    }

    /// A new process: it knows nothing of the past, and its first attempts are first ones.
    pub fn restarted(&mut self, now: Time) {
        self.barred.clear();
        self.away.clear();
        self.microphone = Microphone::Open;
        self.may_unmute = false;
        self.held_call = None;
        self.may_be_held = false;
        self.dialogs = Dialogs::default();
        self.two_speak = None;
        (self.phase, self.awaits_token, self.not_before) = (Phase::Asleep, false, now);
        (self.room, self.moved_page) = (String::new(), None);
        for budget in [&mut self.connects, &mut self.calls, &mut self.requests, &mut self.tokens] {
            (budget.left, budget.since) = (budget.full, now);
        }
    }

    pub fn on_input(&mut self, now: Time, input: &Input<'_>) {
        self.trace(now, "<", || match input {
            Input::Sip { bytes, .. } => head(bytes),
            Input::QssFrame(text) => (*text).to_owned(),
            other => format!("{other:?}"),
        });
        self.step = Step::Nothing;
        self.sends_away = match input {
            Input::QssFrame(text) => SENDS_AWAY.iter().any(|word| text.contains(word)),
            _ => false,
        };
        match input {
            Input::QssFrame(text) if text.contains(r#""request":"invite"#) => {
                // An invite, or somebody who asks for one.
                self.calls.left += 2;
                self.requests.left += 8;
                self.on_invited(text);
            }
            // There and back, and what is asked and answered meanwhile.
            Input::QssFrame(text) if text.contains("ransfer") => {
                self.calls.left += 2;
                self.requests.left += 4;
            }
            Input::QssFrame(text) if text.contains("\"lobby\"") => self.requests.left += 1,
            Input::Pressed { .. } => {
                self.calls.left += 2;
                self.requests.left += 8;
            }
            Input::Local { line, .. } => {
                // A call of our own: a room, invites, their end, and back to where we were.
                self.calls.left += 2;
                self.requests.left += 8;
                if line.starts_with("answer") {
                    self.step = Step::Answering;
                }
                self.may_be_held |= line.starts_with("hold");
                self.may_unmute |= line.contains("off") || line.contains("false") || line.contains("unmute");
            }
            Input::Sip { bytes, .. } => self.dialogs.heard(bytes),
            Input::Start { .. } => self.phase = Phase::Running,
            Input::Stop => self.phase = Phase::Asleep,
            Input::QssFrame(_)
            | Input::Keys(_)
            | Input::QssOpened
            | Input::QssAlive
            | Input::QssPong(_)
            | Input::QssClosed(_)
            | Input::SipConnected { .. }
            | Input::SipAccepted { .. }
            | Input::SipDisconnected { .. }
            | Input::Recalled(_)
            | Input::QssToken(_)
            | Input::LinkUp
            | Input::NetworkChanged
            | Input::ClockProven
            | Input::Routed { .. }
            | Input::Media(_)
            | Input::Kept(_)
            | Input::ButtonDevice { .. } => {}
        }
    }

    fn on_invited(&mut self, text: &str) {
        let Ok(frame) = serde_json::from_str::<Value>(text) else { return };
        let (Some(id), Some(from)) = (frame["requestID"].as_str(), frame["payload"]["from"].as_str()) else { return };
        if from.contains(STRANGER) {
            self.forbidden.insert(id.to_owned());
        }
        let invites = frame["request"] == "invite";
        let new = invites && self.inviters.insert(id.to_owned(), from.to_owned()).is_none();
        if new && from == PAGER && self.phase == Phase::Running {
            self.step = Step::Paged(id.to_owned());
        }
    }

    /// The device says that it has accepted the invite with this id.
    pub fn on_accepted(&self, id: &str) {
        let (seed, by_person) = (self.seed, self.step == Step::Answering);
        let Some(from) = self.inviters.get(id) else { return };
        assert!(by_person || from != RINGER, "seed {seed}: nobody has answered what rings: {id}");
        let paged = self.room == PAGER;
        assert!(by_person || from == PAGER || !paged, "seed {seed}: a page was displaced: {id} of {from}");
    }

    /// The link is closed.
    pub fn on_closed(&mut self, now: Time, error: &LinkError) {
        if let (LinkErrorKind::Http(429 | 503), Some(seconds)) = (error.kind, error.retry_after) {
            self.not_before = now + Span::from_secs(seconds.into());
        }
    }

    /// A token was asked for, or the answer has come.
    pub fn on_token(&mut self, asked: bool) {
        self.awaits_token = asked;
    }

    /// The device has said this of the room it is in; some events are about another.
    pub fn on_event(&mut self, event: &Value) {
        self.follow_page(event);
        let of_present = match event["event"].as_str().unwrap_or_default() {
            // The summary of a call may come when the device is elsewhere, and calls on hold end, too.
            "call_ended" | "call" | "expelled" | "destroyed" => false,
            "status" => event["new"] == 1 || event["new"] == 2,
            _ => true,
        };
        if of_present {
            self.room = event["room"]["name"].as_str().unwrap_or_default().to_owned();
        }
    }

    /// Who is moved out of a page keeps its rank, and is busy for another page.
    fn follow_page(&mut self, event: &Value) {
        let (name, id) = (&event["room"]["name"], event["room"]["id"].as_str());
        let of_page = name == PAGER || (id.is_some() && id == self.moved_page.as_deref());
        if !of_page && id.is_some() {
            self.moved_page = None;
        } else if of_page && event["event"] == "callTransfer" && event["state"] == "ACCEPTED" {
            self.moved_page = event["roomId"].as_str().map(str::to_owned);
        }
    }

    /// The room that the device was in when it last spoke of it.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// The device says that it was sent away from the room.
    pub fn sent_away(&mut self, room: &str, until: Until) {
        assert!(self.sends_away, "seed {}: nobody has sent the device away from {room}", self.seed);
        match until {
            Until::SomebodyLetsItIn => _ = self.barred.insert(room.to_owned()),
            Until::WithinTheHour => _ = self.away.insert(room.to_owned()),
            Until::Soon => {}
        }
    }

    /// A person has hung up in this configured room.
    pub fn hung_up(&mut self, room: &str) {
        self.barred.insert(room.to_owned());
    }

    /// A person has said `join`.
    pub fn let_in(&mut self, room: &str) {
        self.barred.remove(room);
        self.away.remove(room);
    }

    /// A person keeps the device out of this room, until one says `join`.
    pub fn is_barred(&self, room: &str) -> bool {
        self.barred.contains(room)
    }

    pub fn may_be_held(&self) -> bool {
        self.may_be_held
    }

    /// The device stays away from this room, for longer than anybody wants to wait.
    pub fn is_away(&self, room: &str) -> bool {
        self.is_barred(room) || self.away.contains(room)
    }

    /// The device is on its way to this room.
    pub fn enters(&mut self, room: &str) {
        assert!(!self.is_barred(room), "seed {}: back by itself in a room that sent us away", self.seed);
        self.away.remove(room);
    }

    /// By configuration the microphone may be opened from afar.
    pub fn unmuted_from_afar(&mut self, allowed: bool) {
        self.may_unmute |= allowed;
    }

    /// The wish of a person to open the microphone has been fulfilled.
    pub fn unmuted(&mut self) {
        self.may_unmute = false;
    }

    /// Answered calls that neither side has ended.
    pub fn open_calls(&self) -> usize {
        self.dialogs.open.len()
    }

    pub fn on_wakeup(&mut self, now: Time) {
        self.step = Step::Nothing;
        self.sends_away = false;
        self.wakeups.spend(now, self.seed);
    }

    pub fn on_outputs(&mut self, now: Time, outputs: &Outbox) {
        let seed = self.seed;
        assert!(outputs.len() <= MAX_OUTPUTS, "seed {seed}: {} outputs in one step", outputs.len());
        for output in outputs {
            self.trace(now, ">", || match output {
                Output::SipSend { bytes, .. } => head(bytes),
                other => format!("{other:?}"),
            });
            match output {
                Output::QssOpen { .. } => {
                    assert!(now >= self.not_before, "seed {seed}: an attempt before Retry-After is over");
                    self.connects.spend(now, seed);
                }
                Output::QssToken { .. } => self.tokens.spend(now, seed),
                Output::QssSend(text) => self.on_message(now, text),
                Output::SipSend { bytes, .. } => {
                    self.dialogs.said(bytes);
                    if bytes.starts_with(b"INVITE ") {
                        self.on_invite(now, bytes);
                    }
                }
                Output::Media(Command::Mute(true)) => self.microphone = Microphone::Muted,
                Output::Media(Command::Mute(false)) => {
                    let allowed = self.microphone == Microphone::Open || self.may_unmute;
                    assert!(allowed, "seed {seed}: somebody opened the microphone from afar");
                    self.microphone = Microphone::Open;
                }
                Output::Media(_)
                | Output::QssPing(_)
                | Output::Remember(_)
                | Output::QssClose
                | Output::SipConnect { .. }
                | Output::SipDisconnect { .. }
                | Output::Resolve(_)
                | Output::DrawKeys
                | Output::Status(_)
                | Output::Reply { .. }
                | Output::Keep(_)
                | Output::Exit => {}
            }
        }
        if let (Step::Paged(id), None) = (&self.step, &self.moved_page) {
            let accepts = |output: &Output| match output {
                Output::QssSend(text) => text.contains(r#""answer":"invite""#) && text.contains(id.as_str()),
                _ => false,
            };
            assert!(outputs.iter().any(accepts), "seed {seed}: a page was not answered at once");
        }
    }

    fn trace(&self, now: Time, way: &str, what: impl FnOnce() -> String) {
        if self.traces {
            eprintln!("{now} {way} {}", what());
        }
    }

    /// One id, one message: a repetition is the same text (docs/qss.md, Frames).
    fn on_message(&mut self, now: Time, text: &str) {
        let seed = self.seed;
        let frame: Value = serde_json::from_str(text).expect("the agent writes JSON");
        if let Some(name) = frame["request"].as_str() {
            self.on_request(name, &frame["payload"]);
            let id = frame["requestID"].as_str().expect("an id").to_owned();
            let hash = fingerprint(text.as_bytes());
            match self.ids.insert(id, hash) {
                Some(known) => assert_eq!(known, hash, "seed {seed}: an id stands for one message: {text}"),
                None => self.requests.spend(now, seed),
            }
        }
        if frame.get("answer").is_some() {
            let id = frame["requestID"].as_str().expect("an id");
            assert!(!self.forbidden.contains(id), "seed {seed}: a stranger's invite was accepted: {text}");
            let moved = frame["answer"] == "transferring-attended-transfer";
            assert!(self.movable || !moved, "seed {seed}: moved, which is not allowed: {text}");
        }
    }

    fn on_request(&self, name: &str, payload: &Value) {
        let seed = self.seed;
        match name {
            "invite" => {
                let to = payload["to"].as_str().expect("a user");
                assert!(!to.contains(STRANGER), "seed {seed}: a stranger is invited");
            }
            "destroyRoom" => {
                let room = payload["room"].as_str().expect("a room");
                assert!(room.starts_with("created"), "seed {seed}: destroys a room of others: {room}");
            }
            "acceptCallTransfer" => assert!(self.movable, "seed {seed}: moved, which is not allowed"),
            _ => {}
        }
    }

    fn on_invite(&mut self, now: Time, bytes: &[u8]) {
        let seed = self.seed;
        let text = String::from_utf8_lossy(bytes);
        let uri = text.split(' ').nth(1).expect("a request URI");
        assert!(!uri.starts_with(STRANGERS_ROOM), "seed {seed}: calls a stranger's room");
        let to = value(&text, "To", "t").expect("a To");
        // A retransmission is told from a new call by its id, a re-INVITE by its tag.
        let call_id = value(&text, "Call-ID", "i").expect("a Call-ID");
        if to.contains("tag=") || self.ids.insert(call_id.to_owned(), 0).is_some() {
            return;
        }
        self.calls.spend(now, seed);
    }

    /// The call of `stream` was put on hold, or goes on.
    pub fn on_hold(&mut self, held: bool, stream: Option<StreamParams>) {
        self.held_call = stream.filter(|_| held).map(|stream| stream.call);
    }

    /// `bytes`: what the agent holds, 0 if nobody counts.
    pub fn after_step(
        &mut self,
        now: Time,
        deadline: Option<Time>,
        rung: &str,
        stream: Option<StreamParams>,
        bytes: i64,
    ) {
        let seed = self.seed;
        let silent = stream.is_none_or(|s| self.held_call != Some(s.call) || !(s.send || s.receive));
        assert!(silent, "seed {seed}: a call on hold sends or plays");
        self.steps += 1;
        let open = &self.dialogs.open;
        assert!(open.len() <= self.most_calls, "seed {seed}: {} answered calls at once: {open:?}", open.len());
        self.two_speak = self.two_speak.or(Some(now)).filter(|_| self.dialogs.speaking() > 1);
        let late = self.two_speak.is_some_and(|since| now.since(since) > UNTIL_HELD);
        assert!(!late, "seed {seed}: two calls go on at once, none of them on hold: {open:?}");
        self.most_bytes = self.most_bytes.max(bytes);
        assert!(bytes <= MAX_BYTES, "seed {seed}: the agent holds {bytes} bytes");
        assert!(stream.is_some() || rung != "playing", "seed {seed}: says that it plays, without a stream");
        assert!(deadline.is_none_or(|at| at.since(now) <= MAX_SLEEP), "seed {seed}: sleeps until {deadline:?}");
        let waits = deadline.is_some() || self.awaits_token || self.phase == Phase::Asleep || !self.has_qss;
        assert!(waits, "seed {seed}: nothing will ever happen again by itself");
    }
}

/// The calls as both sides have spoken of them; by Call-ID.
#[derive(Default)]
struct Dialogs {
    asked: BTreeSet<String>,
    answered: BTreeSet<String>,
    /// Answered, and the answer acknowledged.
    open: BTreeSet<String>,
    over: BTreeSet<String>,
    /// Our last offer was one of silence.
    held: BTreeSet<String>,
}

impl Dialogs {
    fn speaking(&self) -> usize {
        self.open.difference(&self.held).count()
    }

    fn said(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let Some(id) = value(&text, "Call-ID", "i") else { return };
        if text.starts_with("INVITE ") {
            self.asked.insert(id.to_owned());
            match text.contains("a=inactive") {
                true => self.held.insert(id.to_owned()),
                false => self.held.remove(id),
            };
        } else if text.starts_with("ACK ") && self.answered.contains(id) && !self.over.contains(id) {
            self.open.insert(id.to_owned());
        } else if text.starts_with("BYE ") {
            self.end(id);
        }
    }

    fn heard(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let Some(id) = value(&text, "Call-ID", "i").filter(|id| self.asked.contains(*id)) else { return };
        let of_invite = value(&text, "CSeq", "CSeq").is_some_and(|cseq| cseq.ends_with("INVITE"));
        if text.starts_with("SIP/2.0 2") && of_invite {
            self.answered.insert(id.to_owned());
        }
        // RFC 3261 12.2.1.2: these end the dialog.
        if ["BYE ", "SIP/2.0 481", "SIP/2.0 408"].iter().any(|start| text.starts_with(start)) {
            self.end(id);
        }
    }

    fn end(&mut self, id: &str) {
        self.open.remove(id);
        self.held.remove(id);
        self.over.insert(id.to_owned());
    }
}

/// What tells one SIP message from another.
fn head(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let first = text.lines().next().unwrap_or_default();
    let (id, cseq) = (value(&text, "Call-ID", "i"), value(&text, "CSeq", "CSeq"));
    format!("{first} | {} | {}", id.unwrap_or_default(), cseq.unwrap_or_default())
}

/// The value of a header, in its long or its short form.
fn value<'a>(text: &'a str, long: &str, short: &str) -> Option<&'a str> {
    let named = |line: &'a str| line.split_once(':').filter(|(name, _)| *name == long || *name == short);
    text.lines().find_map(named).map(|(_, value)| value.trim())
}

impl Budget {
    fn new(what: &'static str, full: u64, refill: Span) -> Budget {
        Budget { what, full, refill, left: full, since: Time::ZERO }
    }

    fn spend(&mut self, now: Time, seed: u64) {
        let earned = now.since(self.since).as_micros() / self.refill.as_micros();
        self.since += self.refill.times(earned);
        self.left = (self.left + earned).min(self.full.max(self.left));
        assert!(self.left > 0, "seed {seed}: a storm of {} at {now}", self.what);
        self.left -= 1;
    }
}

/// FNV-1a, 64 bits: kept instead of the text.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
