//! The session: a link, a registration on it, and what travels over it (docs/qss.md, Session). Sans IO.
//!
//! ```text
//!            start                 token                  opened                answer register
//!   Idle -----------> AwaitingToken -----> Connecting ----------> Registering -------------------> Registered
//!                       ^    |                 |                      |                                |
//!          at `retry_at`|    | no token        | failed               | refused, lost                  | lost
//!                       |    v                 v                      v                                |
//!                      Waiting <-----------------------------------------------------------------------+
//!
//!   a 401 or 403 on the way: once more through AwaitingToken with another token, before the attempt counts as refused
//!   stop: Registered ---> Leaving (unregister, open requests) ---> Idle;   any other state ---> Idle
//! ```
//!
//! The shell opens and closes the link when told ([`Output::Open`], [`Output::Close`]); after `Close` it says nothing
//! more about that link. Every inbound frame proves that the link lives; pings are only sent to provoke one. A proxy may
//! answer those of WebSocket in front of a QSS that is dead: pings in JSON, if they are wanted, are answered by any
//! message of the QSS. The back-off starts again from its first window only after a session that lasted `stable_after`, because a server may
//! accept a link and drop it at once.
//!
//! Two things happen to all devices of a server in the same instant: they lose it, and the power returns to them. After
//! either, attempts are spread (`spread`); a call goes on meanwhile. A device that crashes again and again is a third
//! way to make a storm: the number of attempts outlives the process ([`Output::Attempts`], [`Session::recall`]).
//!
//! Here is the life of link and registration; `session/liveness.rs` knows whether the link lives, and `session/exchange.rs`
//! has the requests and replies that travel over it.

mod exchange;
mod liveness;

use crate::agent::{LinkError, LinkErrorKind};
use crate::config::{CancelCode, Config, QssReads, Secret};
use crate::qss::attempts::Attempts;
use crate::qss::backoff::Backoff;
use crate::qss::message::{self, Body, Frame, Malformed, Registration};
use crate::qss::requests::{Due, Requests, Rhythm, Ticket};
use crate::qss::token::{Answer, Ask, Outcome, Readiness, Tokens};
use crate::qss::transactions::Transactions;
use crate::random::Rng;
use crate::status::failure::{Cause, Failure};
use crate::time::{Span, Time, Wakeup, soonest};
use liveness::{Beat, JsonPing, Link};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;

/// What the session wants done, and what it has to tell the agent.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Open a link; the token is for the upgrade request.
    Open(Secret),
    /// Get a token.
    Ask(Ask),
    Send(String),
    Ping,
    Close,
    /// To be kept where a crash does not reach it, for [`Session::recall`].
    Attempts(u32),
    Event(Event),
}

pub type Outbox = VecDeque<Output>;

#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    Registered,
    /// The session, or an attempt at one, is over; the next attempt is at `retry_at`.
    Lost {
        cause: Cause,
        /// There was a registered session.
        was_registered: bool,
        retry_at: Time,
    },
    /// The token could not be renewed; the session goes on. `None`: the next session tries again.
    TokenLate {
        cause: Cause,
        retry_at: Option<Time>,
    },
    /// One of our requests is over.
    Replied {
        ticket: Ticket,
        reply: Reply,
    },
    /// An answer that nobody waits for: to a request that was given up, or was answered before.
    Late {
        id: String,
        body: Body,
    },
    /// A request of the server, never a duplicate: to be answered with [`Session::answer`] or [`Session::refuse`].
    Request {
        name: String,
        id: String,
        body: Body,
    },
    /// The server withdraws a request that we know. `replied`: our answer was on its way already.
    Withdrawn {
        id: String,
        code: Option<u16>,
        replied: bool,
    },
    /// An event of the server.
    Notice {
        name: String,
        body: Body,
    },
    Malformed(Malformed),
    /// [`Session::stop`] is done.
    Stopped,
}

/// How one of our requests ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    Answer(Body),
    Refused { code: Option<u16>, message: String, body: Body },
    TimedOut,
    LinkLost,
}

pub struct Session {
    settings: Settings,
    rng: Rng,
    backoff: Backoff,
    attempts: Attempts,
    turn: usize,
    tokens: Tokens,
    state: State,
    /// When the network last came up while an attempt waited.
    link_up: Option<Time>,
    requests: Requests,
    /// The ping in JSON that waits for its answer.
    json_ping: Option<Ticket>,
    transactions: Transactions,
    /// Replies and withdrawals that found no session.
    owed: VecDeque<String>,
}

/// The part of the configuration that the session reads.
struct Settings {
    registration: Registration,
    reads: Arc<QssReads>,
    cancel_code: CancelCode,
    withdrawn: Vec<u16>,
    unauthorized: Vec<u16>,
    connect_timeout: Span,
    ping_interval: Span,
    ping_misses: u32,
    json_ping: Option<JsonPing>,
    stable_after: Span,
    spread: Span,
    power_return: Span,
    link_up_spread: Span,
    revoked_codes: Vec<u16>,
    register_again: bool,
    max_message: usize,
}

#[derive(Debug)]
enum State {
    Idle,
    AwaitingToken(Need),
    Connecting { gives_up: Time },
    Registering { link: Link, ticket: Ticket },
    Registered { link: Link, age: Age, again: Option<Ticket> },
    Waiting { retry_at: Time, not_before: Time },
    Leaving { link: Link },
}

/// Why a token is waited for.
#[derive(Debug)]
enum Need {
    /// An attempt begins.
    Attempt,
    /// The QSS refused the last one so.
    Another(Cause),
}

/// Whether a registered session has lasted.
#[derive(Clone, Copy, Debug)]
enum Age {
    Young { stable_at: Time },
    Stable,
}

impl Session {
    pub fn new(config: &Config, rng: Rng) -> Session {
        let qss = &config.qss;
        Session {
            settings: Settings {
                registration: Registration::new(config),
                reads: Arc::clone(&qss.reads),
                cancel_code: qss.cancel_code,
                withdrawn: qss.codes.withdrawn.clone(),
                unauthorized: qss.codes.unauthorized.clone(),
                connect_timeout: qss.connect_timeout,
                ping_interval: qss.ping_interval,
                ping_misses: qss.ping_misses,
                json_ping: Some(JsonPing { word: qss.names.json_ping.clone(), interval: qss.json_ping_interval })
                    .filter(|ping| ping.interval > Span::ZERO && !ping.word.is_empty()),
                stable_after: qss.stable_after,
                spread: qss.spread,
                power_return: qss.power_return,
                link_up_spread: qss.link_up_spread,
                revoked_codes: qss.revoked_codes.clone(),
                register_again: qss.auth.register_again,
                max_message: qss.max_message,
            },
            rng,
            backoff: Backoff::new(qss.reconnect_min, qss.reconnect_max).obeying(qss.retry_after_max),
            attempts: Attempts::default(),
            turn: 0,
            tokens: Tokens::new(config),
            state: State::Idle,
            link_up: None,
            requests: Requests::new(Rhythm {
                timeout: qss.request_timeout,
                resend: qss.request_resend,
                resends: qss.request_resends,
            }),
            json_ping: None,
            transactions: Transactions::default(),
            owed: VecDeque::new(),
        }
    }

    // --- the agent's side ----------------------------------------------------------------------------------------

    /// What [`Output::Attempts`] said last, in the life before this one. Before [`start`](Session::start).
    pub fn recall(&mut self, attempts: u32) {
        self.attempts = Attempts::recalled(attempts);
        self.backoff.at_least(attempts);
    }

    /// Begins to keep a session up: at once; or somewhere within the spread, if the power has just returned; or after a
    /// pause, if the lives before this one made attempts of which nothing lasting came. Ignored when that is under way.
    pub fn start(&mut self, now: Time, out: &mut Outbox) {
        if !matches!(self.state, State::Idle) {
            return;
        }
        let many = now < Time::ZERO + self.settings.power_return && self.settings.spread > Span::ZERO;
        match (many, self.backoff.attempts()) {
            (false, 0) => return self.connect(now, out),
            (true, _) => self.backoff.join_crowd(self.settings.spread),
            (false, _) => {}
        }
        let retry_at = self.backoff.next(now, None, &mut self.rng).max(now + Span::from_millis(1));
        self.state = State::Waiting { retry_at, not_before: now };
    }

    pub fn is_registered(&self) -> bool {
        match self.state {
            State::Registered { .. } => true,
            State::Idle
            | State::AwaitingToken(_)
            | State::Connecting { .. }
            | State::Registering { .. }
            | State::Waiting { .. }
            | State::Leaving { .. } => false,
        }
    }

    /// Which address of the QSS is to be tried first, counted round: one that takes connections, and then fails before it has registered
    /// us, must not hide the others for ever.
    pub fn turn(&self) -> usize {
        self.turn
    }

    /// The same of the token server.
    pub fn token_turn(&self) -> usize {
        self.tokens.turn()
    }

    /// The registration has lasted for `qss.stable_after`.
    pub fn is_stable(&self) -> bool {
        match self.state {
            State::Registered { age: Age::Stable, .. } => true,
            State::Registered { age: Age::Young { .. }, .. }
            | State::Idle
            | State::AwaitingToken(_)
            | State::Connecting { .. }
            | State::Registering { .. }
            | State::Waiting { .. }
            | State::Leaving { .. } => false,
        }
    }

    /// There is a registration, or one that is being given up: events can go upstream.
    pub fn takes_events(&self) -> bool {
        match self.state {
            State::Registered { .. } | State::Leaving { .. } => true,
            State::Idle
            | State::AwaitingToken(_)
            | State::Connecting { .. }
            | State::Registering { .. }
            | State::Waiting { .. } => false,
        }
    }

    /// Sends an event upstream. Nobody acknowledges events.
    pub fn send_event(&mut self, name: &str, payload: &impl Serialize, out: &mut Outbox) {
        if self.takes_events() {
            out.push_back(Output::Send(message::write_event(name, payload)));
        }
    }

    /// Unregisters, waits for the replies to what is still open, closes. [`Event::Stopped`] follows, now or later; the
    /// caller decides how long it waits for it.
    pub fn stop(&mut self, now: Time, out: &mut Outbox) {
        match self.state {
            State::Registered { link, .. } => {
                if let Some(goodbye) = self.settings.registration.unregister() {
                    self.send_request(now, &goodbye.name, goodbye.payload, out);
                }
                self.state = State::Leaving { link: Link { json_ping: None, ..link } };
                self.finish_leaving(out);
            }
            State::Connecting { .. } | State::Registering { .. } => {
                self.fail_requests(out);
                out.push_back(Output::Close);
                self.state = State::Idle;
                out.push_back(Output::Event(Event::Stopped));
            }
            State::Idle | State::AwaitingToken(_) | State::Waiting { .. } => {
                self.state = State::Idle;
                out.push_back(Output::Event(Event::Stopped));
            }
            State::Leaving { .. } => {}
        }
    }

    // --- the link's side -----------------------------------------------------------------------------------------

    pub fn opened(&mut self, now: Time, out: &mut Outbox) {
        if !matches!(self.state, State::Connecting { .. }) {
            return;
        }
        let link = Link { ping: Beat::first(now, self.settings.ping_interval), json_ping: None };
        let Some(register) = self.settings.registration.register(self.tokens.token()) else {
            return self.registered(now, link, out);
        };
        match self.send_request(now, &register.name, register.payload, out) {
            Some(ticket) => self.state = State::Registering { link, ticket },
            None => self.lose(now, Failure::RegisterTimedOut.into(), None, Close::Ours, out),
        }
    }

    pub fn handle_frame(&mut self, now: Time, text: &str, out: &mut Outbox) {
        self.handle_alive();
        if let Some(Link { json_ping: Some(beat), .. }) = self.link_mut() {
            beat.unanswered = 0;
        }
        match Frame::read(text, self.settings.max_message, &self.settings.reads) {
            Ok(Frame::Request { name, id, body }) => self.on_request(name, id, body, out),
            Ok(Frame::Answer { id, body, .. }) => self.on_answer(now, id, body, out),
            Ok(Frame::Cancel { id, code, message, body, .. }) => {
                self.on_cancel(now, id, Reply::Refused { code, message, body }, code, out);
            }
            Ok(Frame::Event { name, body }) => out.push_back(Output::Event(Event::Notice { name, body })),
            Err(malformed) => out.push_back(Output::Event(Event::Malformed(malformed))),
        }
    }

    pub fn closed(&mut self, now: Time, error: LinkError, out: &mut Outbox) {
        let retry_after = error.retry_after.map(|s| Span::from_secs(s.into()));
        let failure = if let LinkErrorKind::Closed(code) = error.kind
            && self.settings.revoked_codes.contains(&code)
        {
            Failure::QssRevoked(code.into())
        } else {
            error.kind.into()
        };
        let cause = Cause::new(failure, error.detail);
        match self.state {
            State::Connecting { .. } | State::Registering { .. } => {
                if matches!(failure, Failure::QssUnauthorized(_) | Failure::QssRevoked(_)) {
                    self.on_refused(now, cause, Close::Theirs, out);
                } else {
                    self.lose(now, cause, retry_after, Close::Theirs, out);
                }
            }
            State::Registered { .. } => {
                if let Failure::QssRevoked(_) = failure {
                    // The next attempt asks for another.
                    self.tokens.refused();
                }
                self.lose(now, cause, retry_after, Close::Theirs, out);
            }
            State::Leaving { .. } => {
                self.fail_requests(out);
                self.state = State::Idle;
                out.push_back(Output::Event(Event::Stopped));
            }
            State::Idle | State::AwaitingToken(_) | State::Waiting { .. } => {}
        }
    }

    /// The network has come up, or an address was added. An attempt that waits is made soon, but not before a
    /// `Retry-After` is over and only once in a spread, however the network flaps. A link that stands is asked whether
    /// it still does.
    pub fn link_up(&mut self, now: Time, out: &mut Outbox) {
        match &mut self.state {
            State::Waiting { retry_at, not_before } => {
                let spread = self.settings.link_up_spread;
                let window = self.link_up.map_or(now, |last| now.max(last + spread));
                let soon = (window + self.rng.span_up_to(spread)).max(*not_before).max(now + Span::from_millis(1));
                if soon < *retry_at {
                    *retry_at = soon;
                    self.link_up = Some(window);
                }
            }
            State::Registering { .. } | State::Registered { .. } => self.probe(now, out),
            State::Idle | State::AwaitingToken(_) | State::Connecting { .. } | State::Leaving { .. } => {}
        }
    }

    /// What came of [`Output::Ask`].
    pub fn answered(&mut self, now: Time, answer: Answer, out: &mut Outbox) {
        let mut asks = None;
        let outcome = self.tokens.handle_answer(now, answer, &mut self.rng, &mut asks);
        out.extend(asks.map(Output::Ask));
        self.on_token(now, outcome, out);
    }

    // --- time ----------------------------------------------------------------------------------------------------

    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let own = match self.state {
            State::Idle | State::AwaitingToken(_) => None,
            State::Connecting { gives_up } => Some(Wakeup::new(gives_up, "qss connect timeout")),
            State::Waiting { retry_at, .. } => Some(Wakeup::new(retry_at, "qss reconnect")),
            State::Registered { link, age: Age::Young { stable_at }, .. } => {
                soonest(link.poll_timeout(), Some(Wakeup::new(stable_at, "qss session stable")))
            }
            State::Registering { link, .. } | State::Registered { link, .. } | State::Leaving { link } => {
                link.poll_timeout()
            }
        };
        // Nobody needs a token while there is no session and none is tried for.
        let tokens = match self.state {
            State::Idle | State::Leaving { .. } => None,
            State::AwaitingToken(_)
            | State::Connecting { .. }
            | State::Registering { .. }
            | State::Registered { .. }
            | State::Waiting { .. } => self.tokens.poll_timeout(),
        };
        soonest(soonest(own, tokens), self.requests.poll_timeout())
    }

    pub fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        while let Some(due) = self.requests.handle_timeout(now) {
            match due {
                Due::Resend(text) => out.push_back(Output::Send(text)),
                Due::TimedOut(ticket) => self.finish(now, ticket, Reply::TimedOut, out),
            }
        }
        if !matches!(self.state, State::Idle | State::Leaving { .. }) {
            let mut asks = None;
            let outcome = self.tokens.handle_timeout(now, &mut self.rng, &mut asks);
            out.extend(asks.map(Output::Ask));
            self.on_token(now, outcome, out);
        }
        if let State::Registered { age: age @ Age::Young { .. }, .. } = &mut self.state
            && age.is_stable(now)
        {
            *age = Age::Stable;
            self.backoff.reset();
            out.extend(self.attempts.reset().map(Output::Attempts));
        }
        match self.state {
            State::Connecting { gives_up } if gives_up <= now => {
                self.lose(now, Failure::ConnectTimedOut.into(), None, Close::Ours, out);
            }
            State::Waiting { retry_at, .. } if retry_at <= now => self.connect(now, out),
            State::Registering { link, .. } | State::Registered { link, .. } | State::Leaving { link }
                if link.ping.at <= now =>
            {
                self.ping(now, link.ping, out);
            }
            State::Idle
            | State::AwaitingToken(_)
            | State::Connecting { .. }
            | State::Registering { .. }
            | State::Registered { .. }
            | State::Waiting { .. }
            | State::Leaving { .. } => {}
        }
        if let State::Registered { link: Link { json_ping: Some(beat), .. }, .. } = self.state
            && beat.at <= now
        {
            self.ping_in_json(now, beat, out);
        }
    }

    // --- what comes in -------------------------------------------------------------------------------------------

    /// A request of ours is over: the registration is ours, the rest is the agent's.
    fn finish(&mut self, now: Time, ticket: Ticket, reply: Reply, out: &mut Outbox) {
        if self.json_ping == Some(ticket) {
            self.json_ping = None;
            // It is one of the requests that the end waits for.
            if matches!(self.state, State::Leaving { .. }) {
                self.finish_leaving(out);
            }
            return;
        }
        match self.state {
            State::Registering { link, ticket: ours } if ours == ticket => match reply {
                Reply::Answer(_) => self.registered(now, link, out),
                Reply::Refused { code: Some(code), message, .. } if self.settings.unauthorized.contains(&code) => {
                    let cause = Cause::new(Failure::QssUnauthorized(code.into()), message);
                    self.on_refused(now, cause, Close::Ours, out);
                }
                Reply::Refused { code, message, .. } => {
                    let cause = Cause::new(Failure::RegisterRefused(code.map_or(0, i32::from)), message);
                    self.lose(now, cause, None, Close::Ours, out);
                }
                Reply::TimedOut | Reply::LinkLost => {
                    self.lose(now, Failure::RegisterTimedOut.into(), None, Close::Ours, out);
                }
            },
            State::Registered { link, age, again: Some(ours) } if ours == ticket => {
                self.state = State::Registered { link, age, again: None };
                match reply {
                    Reply::Answer(_) => self.tokens.accepted(),
                    Reply::Refused { code: Some(code), message, .. } if self.settings.unauthorized.contains(&code) => {
                        self.tokens.refused();
                        let cause = Cause::new(Failure::QssUnauthorized(code.into()), message);
                        self.lose(now, cause, None, Close::Ours, out);
                    }
                    // The session stands without it; whether the link does is another question.
                    Reply::Refused { .. } | Reply::TimedOut | Reply::LinkLost => {}
                }
            }
            State::Leaving { .. } => {
                out.push_back(Output::Event(Event::Replied { ticket, reply }));
                self.finish_leaving(out);
            }
            State::Idle
            | State::AwaitingToken(_)
            | State::Connecting { .. }
            | State::Registering { .. }
            | State::Registered { .. }
            | State::Waiting { .. } => out.push_back(Output::Event(Event::Replied { ticket, reply })),
        }
    }

    // --- transitions ---------------------------------------------------------------------------------------------

    fn connect(&mut self, now: Time, out: &mut Outbox) {
        out.extend(self.attempts.made(self.backoff.attempts()).map(Output::Attempts));
        self.fetch_token(now, Need::Attempt, out);
    }

    fn fetch_token(&mut self, now: Time, need: Need, out: &mut Outbox) {
        let mut asks = None;
        let readiness = self.tokens.prepare(now, &mut asks);
        out.extend(asks.map(Output::Ask));
        match readiness {
            Readiness::Ready => self.open(now, out),
            Readiness::Coming => self.state = State::AwaitingToken(need),
        }
    }

    fn open(&mut self, now: Time, out: &mut Outbox) {
        // A little longer than the shell's own time-out: it knows better what failed (name, TCP, TLS, upgrade).
        let patience = self.settings.connect_timeout.as_micros() / 5 * 6;
        self.state = State::Connecting { gives_up: now + Span::from_micros(patience) };
        out.push_back(Output::Open(self.tokens.token().clone()));
    }

    fn on_token(&mut self, now: Time, outcome: Outcome, out: &mut Outbox) {
        match (outcome, &mut self.state) {
            (Outcome::Nothing, _) => {}
            (Outcome::Later { cause, retry_at }, _) => {
                out.push_back(Output::Event(Event::TokenLate { cause, retry_at: Some(retry_at) }));
            }
            (Outcome::New, State::AwaitingToken(_)) | (Outcome::Same, State::AwaitingToken(Need::Attempt)) => {
                self.open(now, out);
            }
            // What the QSS has just refused need not be shown to it again.
            (Outcome::Same, State::AwaitingToken(Need::Another(cause))) => {
                let cause = cause.clone();
                self.lose(now, cause, None, Close::Theirs, out);
            }
            (Outcome::Failed { cause, retry_after }, State::AwaitingToken(_)) => {
                self.lose(now, cause, retry_after, Close::Theirs, out);
            }
            (Outcome::New, State::Registered { again: None, .. }) if self.settings.register_again => {
                let register = self.settings.registration.register(self.tokens.token());
                let ticket = register.and_then(|ours| self.send_request(now, &ours.name, ours.payload, out));
                if let State::Registered { again, .. } = &mut self.state {
                    *again = ticket;
                }
            }
            (Outcome::Failed { cause, .. }, _) => {
                out.push_back(Output::Event(Event::TokenLate { cause, retry_at: None }));
            }
            (Outcome::New | Outcome::Same, _) => {}
        }
    }

    /// The QSS refused the token: another is tried at once if there may be one.
    fn on_refused(&mut self, now: Time, cause: Cause, close: Close, out: &mut Outbox) {
        if !self.tokens.refused() {
            return self.lose(now, cause, None, close, out);
        }
        if matches!(close, Close::Ours) {
            out.push_back(Output::Close);
        }
        self.fail_requests(out);
        self.fetch_token(now, Need::Another(cause), out);
    }

    fn registered(&mut self, now: Time, link: Link, out: &mut Outbox) {
        self.tokens.accepted();
        let age = Age::Young { stable_at: now + self.settings.stable_after.max(Span::from_millis(1)) };
        let json_ping = self.settings.json_ping.as_ref().map(|ping| Beat::first(now, ping.interval));
        self.state = State::Registered { link: Link { json_ping, ..link }, age, again: None };
        self.say_what_is_owed(out);
        out.push_back(Output::Event(Event::Registered));
    }

    fn lose(&mut self, now: Time, cause: Cause, retry_after: Option<Span>, close: Close, out: &mut Outbox) {
        let was_registered = match self.state {
            State::Registered { age, .. } => {
                if age.is_stable(now) {
                    self.backoff.reset();
                }
                // Whom the QSS has sent away is alone in it.
                if !matches!(cause.failure, Failure::QssRevoked(_) | Failure::QssUnauthorized(_)) {
                    self.backoff.join_crowd(self.settings.spread);
                }
                true
            }
            State::Idle
            | State::AwaitingToken(_)
            | State::Connecting { .. }
            | State::Registering { .. }
            | State::Waiting { .. }
            | State::Leaving { .. } => false,
        };
        self.turn = self.turn.wrapping_add(usize::from(!was_registered));
        let earliest = now + Span::from_millis(1);
        let not_before = self.backoff.not_before(now, retry_after);
        let retry_at = self.backoff.next(now, retry_after, &mut self.rng).max(earliest);
        self.state = State::Waiting { retry_at, not_before };
        if matches!(close, Close::Ours) {
            out.push_back(Output::Close);
        }
        out.push_back(Output::Event(Event::Lost { cause, was_registered, retry_at }));
        self.fail_requests(out);
    }

    /// After [`State::Leaving`] is entered or a request has ended in it.
    fn finish_leaving(&mut self, out: &mut Outbox) {
        if self.requests.is_empty() {
            self.state = State::Idle;
            out.push_back(Output::Close);
            out.push_back(Output::Event(Event::Stopped));
        }
    }
}

impl Age {
    fn is_stable(self, now: Time) -> bool {
        match self {
            Age::Young { stable_at } => stable_at <= now,
            Age::Stable => true,
        }
    }
}

/// Who ends the link: if we do, the shell must be told.
#[derive(Clone, Copy)]
enum Close {
    Ours,
    Theirs,
}

impl From<LinkErrorKind> for LinkError {
    fn from(kind: LinkErrorKind) -> LinkError {
        LinkError { kind, detail: String::new(), retry_after: None }
    }
}

#[cfg(test)]
mod tests;
