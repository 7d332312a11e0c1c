//! The agent: QSS session, rooms, SIP call and status put together. Everything here is a decision; nothing waits.
//!
//! Three machines run side by side. The QSS session (`qss::session`) comes and goes by itself. A *visit* ([`visit`]) is
//! the one room the device is in, or on its way to; there is never more than one, because there is one sound card (calls
//! that are to go on later wait on hold, [`parked`]):
//!
//! ```text
//!                     admitted (or sip_uri)          200 OK
//!   choose a room --------------------------> dial ----------> in the call
//!        ^    |                               ^   |                |  |
//!        |    | refused, timed out            |   | refused        |  | BYE, no media
//!        |    v                               |   v                |  |
//!        +-- pause (per room) <--- gives up --- pause (redial) <---+  |
//!        ^                                                            |
//!        +-- expelled, destroyed, hung up (barred until `join`), <----+
//!            invited elsewhere, grace without QSS over
//! ```
//!
//! The third is the process itself: [`Phase`]. A lost QSS ends no call: the visit's membership becomes *unproven*, is
//! asked for again after the next registration, and only `call_grace` or a refusal ends the call.
//!
//! * [`border`]: what goes in and what comes out. * [`visit`]: what a visit is. * [`rooms`]: which room; [`pace`]: how soon again. * [`membership`]: join, leave, rejoin.
//! * [`call`]: dial and hang up; [`offer`]: what is offered. * [`sound`]: what the media thread says.
//! * [`outgoing`]: calls of our own; [`hunt`]: who rings when. * [`own_rooms`], [`making`], [`sweep`]: no room of ours is
//!   left behind.
//! * [`invites`]: policy and races; [`pending`]: what rings. * [`incoming`]: who calls by SIP. * [`notices`]: what the QSS tells about rooms;
//!   [`participants`]: who is there; [`mute`]: the microphone; [`volume`]: how loud it is. * [`local`]: the local socket; [`commands`]: its lines.
//! * [`errands`]: what is asked of the QSS about others. * [`digits`]: keys.
//! * [`parked`], [`parked_room`]: calls that wait on hold for another one. * [`hold`]: hold and resume. * [`transfer`]: we are moved, and move others; [`lending`]: out of a call of our own. * [`report`]: facts to events;
//!   [`conference`]: the vendor's room events out of them.
//! * [`referral`]: the mixer moves us. * [`memory`]: what outlives the process. * [`unknown`]: what nobody understands.
//!
//! Each `handle` ends in [`Agent::settle`]: children are drained, the next step of the visit is taken, and the ladder
//! looks at the facts.

mod border;
mod call;
mod commands;
mod conference;
mod digits;
mod errands;
mod hold;
mod hunt;
mod incoming;
mod invites;
mod lending;
mod local;
mod making;
mod membership;
mod memory;
mod mute;
mod notices;
mod offer;
mod outgoing;
mod own_rooms;
mod pace;
mod parked;
mod parked_room;
mod participants;
mod pending;
mod referral;
mod report;
mod rooms;
mod sound;
mod sweep;
mod transfer;
mod unknown;
mod visit;
mod volume;

pub use border::{Input, LinkError, LinkErrorKind, Outbox, Output};
pub use digits::Way;

use crate::config::Config;
use crate::media::command;
use crate::media::volume::Volumes;
use crate::qss::requests::Ticket;
use crate::qss::session::{self, Session};
use crate::random::Rng;
use crate::sip::endpoint::{self, CallId, Endpoint};
use crate::status::event::{Attempt, Kind};
use crate::status::failure::{Cause, Failure};
use crate::time::{Time, Wakeup, Wall, soonest};
use digits::Keys;
use errands::Errands;
use incoming::Ringing;
use lending::Lent;
use memory::Memory;
use outgoing::Outgoing;
use own_rooms::OwnRooms;
use parked::ParkedCalls;
use participants::Participants;
use pending::Pending;
use referral::Referral;
use report::Reporter;
use rooms::Rooms;
use std::collections::VecDeque;
use sweep::Sweep;
use transfer::{Back, Transfer};
use unknown::Unknown;
use visit::Visit;

/// A line that the local socket would understand.
pub fn is_command(line: &str) -> bool {
    commands::Command::parse(line).is_ok()
}

pub struct Agent {
    config: Config,
    rng: Rng,
    phase: Phase,
    session: Session,
    sip: Endpoint,
    rooms: Rooms,
    visit: Option<Visit>,
    /// The call of our own that the visit is for.
    outgoing: Option<Outgoing>,
    /// One that goes on without us while we are being moved.
    lent: Option<Lent>,
    own: OwnRooms,
    sweep: Sweep,
    /// Invites that ring.
    pending: Vec<Pending>,
    /// What local commands have asked of the QSS.
    errands: Errands,
    /// Asked what invites are pending.
    invites_asked: Option<Ticket>,
    /// The QSS did not tell the current invitations: asked again then.
    invites_again: Option<Time>,
    voice: Voice,
    /// A call to the device that is about to be answered.
    ringing: Option<Ringing>,
    /// Calls we have hung up and whose end the peer has not confirmed; the oldest is forgotten first.
    ending: VecDeque<CallId>,
    /// Of the call that had digits last.
    keys: Option<Keys>,
    referral: Option<Referral>,
    participants: Participants,
    transfer: Transfer,
    /// Calls that wait on hold for the one of the visit.
    parked: ParkedCalls,
    /// The call that a more important invite has taken the place of.
    interrupted: Option<Back>,
    reporter: Reporter,
    /// What the QSS has said and we did not understand.
    unknown: Unknown,
    memory: Memory,
}

/// The life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Before [`Input::Start`].
    Asleep,
    Running,
    /// Said goodbye; waiting for the replies until `until`.
    Stopping {
        until: Time,
        session: Stopping,
    },
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stopping {
    Unregistering,
    Unregistered,
}

/// What is known of the media thread.
#[derive(Debug)]
struct Voice {
    /// Local RTP and RTCP port, once bound.
    ports: Option<(u16, u16)>,
    card: CardUse,
    muted: bool,
    volumes: Volumes,
    /// What others wanted last: to be muted, or not.
    wish: Option<bool>,
    /// Why the card cannot be used at present.
    trouble: Option<command::CardError>,
    stats: Option<command::Stats>,
}

/// What the media thread was last told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CardUse {
    Closed,
    /// A call is being dialled.
    Opened,
    Streaming(CallId),
}

/// The circumstances of one step.
struct Cx<'a> {
    now: Time,
    wall: Wall,
    out: &'a mut Outbox,
}

impl Agent {
    pub fn new(config: Config, mut rng: Rng) -> Agent {
        Agent {
            session: Session::new(&config, rng.fork()),
            sip: {
                let mut sip = Endpoint::new(&config.sip, rng.fork());
                sip.protect_media(&config.rtp);
                sip.set_device(&config.device.id);
                sip
            },
            rooms: Rooms::new(&config),
            visit: None,
            outgoing: None,
            lent: None,
            pending: Vec::new(),
            errands: Errands::default(),
            invites_asked: None,
            invites_again: None,
            own: OwnRooms::new(config.calls.destroy_retry),
            sweep: Sweep::default(),
            voice: Voice {
                ports: None,
                card: CardUse::Closed,
                muted: config.audio.mute_at_start,
                volumes: config.audio.volumes(),
                wish: None,
                trouble: None,
                stats: None,
            },
            ringing: None,
            ending: VecDeque::new(),
            keys: None,
            referral: None,
            participants: Participants::new(&config),
            transfer: Transfer::None,
            parked: ParkedCalls::new(),
            interrupted: None,
            reporter: Reporter::new(&config),
            unknown: Unknown::default(),
            memory: Memory::default(),
            phase: Phase::Asleep,
            rng,
            config,
        }
    }

    /// `wall` is written into events, and says how long a meeting is not asked for; nothing else is decided by it.
    pub fn handle(&mut self, now: Time, wall: impl Into<Wall>, input: Input<'_>, out: &mut Outbox) {
        let wall = wall.into();
        if self.phase == Phase::Gone {
            return;
        }
        let cx = &mut Cx { now, wall, out };
        match input {
            Input::Kept(text) => {
                if self.phase == Phase::Asleep {
                    self.own.restore(text);
                }
            }
            Input::Recalled(text) => self.recall(cx, text),
            Input::Start { sip_port } => self.start(cx, sip_port),
            Input::QssOpened => {
                self.with_session(cx, |session, now, out| session.opened(now, out));
                // A link that had to be made anew often comes from another address; the call then moves there.
                self.with_sip(cx, |sip, now, out| sip.handle_addresses_changed(now, out));
            }
            Input::QssFrame(text) => self.with_session(cx, |session, now, out| session.handle_frame(now, text, out)),
            Input::QssPong(ping) => {
                self.session.handle_alive();
                self.reporter.backlog.confirmed(ping);
                self.flush_backlog(cx);
            }
            // A server that pings proves nothing about what we have sent.
            Input::QssAlive => self.session.handle_alive(),
            Input::QssClosed(error) => self.with_session(cx, |session, now, out| session.closed(now, error, out)),
            Input::QssToken(answer) => self.with_session(cx, |session, now, out| session.answered(now, answer, out)),
            Input::LinkUp => {
                self.with_session(cx, |session, now, out| session.link_up(now, out));
                self.with_sip(cx, |sip, now, out| sip.handle_addresses_changed(now, out));
            }
            Input::NetworkChanged => {
                self.with_session(cx, |session, now, out| session.probe(now, out));
                self.with_sip(cx, |sip, now, out| sip.handle_addresses_changed(now, out));
            }
            Input::ClockProven => self.clock_proven(cx),
            Input::Sip { flow, bytes } => self.with_sip(cx, |sip, now, out| sip.handle_received(now, flow, bytes, out)),
            Input::SipConnected { flow, local } => {
                self.with_sip(cx, |sip, now, out| sip.handle_connected(now, flow, local, out));
            }
            Input::SipAccepted { flow, local } => {
                self.with_sip(cx, |sip, now, out| sip.handle_accepted(now, flow, local, out));
            }
            Input::SipDisconnected { flow, why } => {
                self.with_sip(cx, |sip, now, out| sip.handle_disconnected(now, flow, why, out));
            }
            Input::Routed { target, routes } => {
                self.with_sip(cx, |sip, now, out| sip.handle_route(now, target, routes, out));
            }
            Input::Media(event) => self.on_media(cx, event),
            Input::Keys(entropy) => self.sip.give_keys(entropy),
            Input::Local { client, line } => self.on_local(cx, client, line),
            Input::Pressed { device, code } => self.on_pressed(cx, device, code),
            Input::ButtonDevice { device, state } => {
                let detail = state.err().map(str::to_owned);
                self.emit(cx, Kind::ButtonDevice { input: device.to_owned(), there: detail.is_none(), detail }, None);
            }
            Input::Stop => self.stop(cx),
        }
        self.settle(cx);
    }

    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let own = match self.phase {
            Phase::Asleep | Phase::Gone => return None,
            Phase::Running => soonest(self.rooms.poll_timeout(self.visit.as_ref()), self.reporter.poll_timeout()),
            Phase::Stopping { until, .. } => {
                soonest(Some(Wakeup::new(until, "stop patience")), self.reporter.poll_timeout())
            }
        };
        let visit = self.visit.as_ref().and_then(|v| v.poll_timeout(self.config.rtp.dead_timeout));
        let visit = soonest(soonest(visit, self.parked_wakeup()), self.ringing_wakeup());
        let visit = soonest(visit, self.participants.poll_timeout());
        let calls = match self.phase {
            Phase::Running => {
                let rooms = soonest(self.own.poll_timeout(), self.sweep.poll_timeout());
                let calls = soonest(self.call_timeout(), rooms);
                soonest(soonest(calls, self.transfer_wakeup()), soonest(self.pending_wakeup(), self.errands_wakeup()))
            }
            Phase::Asleep | Phase::Stopping { .. } | Phase::Gone => None,
        };
        soonest(soonest(soonest(own, visit), calls), soonest(self.session.poll_timeout(), self.sip.poll_timeout()))
    }

    pub fn handle_timeout(&mut self, now: Time, wall: impl Into<Wall>, out: &mut Outbox) {
        let wall = wall.into();
        let cx = &mut Cx { now, wall, out };
        self.with_session(cx, |session, now, out| session.handle_timeout(now, out));
        self.with_sip(cx, |sip, now, out| sip.handle_timeout(now, out));
        self.rooms.handle_timeout(now);
        self.own.handle_timeout(now);
        self.on_visit_timeout(cx);
        self.on_parked_timeout(cx);
        self.on_ringing_timeout(cx);
        self.on_participants_timeout(cx);
        self.on_call_timeout(cx);
        self.on_transfer_timeout(cx);
        self.on_pending_timeout(cx);
        self.on_errands_timeout(cx);
        self.on_sweep_timeout(cx);
        self.on_report_timeout(cx);
        if let Phase::Stopping { until, .. } = self.phase
            && until <= now
        {
            self.exit(cx);
        }
        self.settle(cx);
    }

    // --- the life of the process ---------------------------------------------------------------------------------

    fn start(&mut self, cx: &mut Cx<'_>, sip_port: u16) {
        if self.phase != Phase::Asleep {
            return;
        }
        self.phase = Phase::Running;
        self.sip.set_local_port(sip_port);
        self.reporter.start(cx.now);
        if !self.config.sip.register.servers.is_empty() {
            self.with_sip(cx, |sip, now, out| sip.register(now, out));
        }
        if self.config.qss.url.is_some() {
            self.rooms.start(cx.now);
            self.with_session(cx, |session, now, out| session.start(now, out));
        } else {
            self.reporter.explain(crate::status::Rung::Session, &Failure::QssNotConfigured.into());
        }
    }

    /// BYE, leaveRoom and unregister go out together; the status goes upstream before the registration does.
    fn stop(&mut self, cx: &mut Cx<'_>) {
        match self.phase {
            Phase::Asleep => return self.exit(cx),
            Phase::Stopping { .. } | Phase::Gone => return,
            Phase::Running => {}
        }
        let cause = Cause::from(Failure::Stopping);
        self.reporter.backlog.last_words();
        self.refuse_ringing(cx);
        self.refuse_pending(cx);
        self.own.doom_all();
        self.end_all_parked(cx, &cause);
        self.leave(cx, &cause);
        self.tend_lent(cx);
        self.tend_rooms(cx);
        self.phase =
            Phase::Stopping { until: cx.now + self.config.device.stop_timeout, session: Stopping::Unregistering };
        self.observe(cx, Some(&cause));
        self.with_sip(cx, |sip, now, out| sip.unregister(now, out));
        self.with_session(cx, |session, now, out| session.stop(now, out));
    }

    fn exit(&mut self, cx: &mut Cx<'_>) {
        self.phase = Phase::Gone;
        self.flush_summary(cx);
        self.ending.clear();
        self.tell_room(cx, None);
        cx.out.push_back(Output::Media(command::Command::Shutdown));
        cx.out.push_back(Output::Exit);
    }

    /// After every step: what follows from it, and what is to be said about it.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        match self.phase {
            Phase::Running => {
                self.tend_lent(cx);
                self.advance(cx);
                self.advance_call(cx);
                self.tend_rooms(cx);
                self.report_mute(cx);
                self.report_hold(cx);
                self.report_parked_holds(cx);
                self.observe(cx, None);
                if self.sip.wants_keys() {
                    cx.out.push_back(Output::DrawKeys);
                }
            }
            Phase::Stopping { session: Stopping::Unregistered, .. }
                if self.ending.is_empty() && !self.sip.is_registering() && !self.reporter.awaits_summary() =>
            {
                self.exit(cx);
            }
            Phase::Stopping { .. } | Phase::Asleep | Phase::Gone => {}
        }
    }

    // --- children, drained where they are called ---------------------------------------------------------------------

    fn with_session<R>(
        &mut self,
        cx: &mut Cx<'_>,
        call: impl FnOnce(&mut Session, Time, &mut session::Outbox) -> R,
    ) -> R {
        let mut outputs = session::Outbox::new();
        let result = call(&mut self.session, cx.now, &mut outputs);
        for output in outputs {
            match output {
                session::Output::Open(token) => {
                    let not_before = self.floor(cx);
                    cx.out.push_back(Output::QssOpen { token, not_before, turn: self.session.turn() });
                }
                session::Output::Ask(ask) => {
                    let not_before = self.floor(cx);
                    cx.out.push_back(Output::QssToken { ask, not_before, turn: self.session.token_turn() });
                }
                session::Output::Attempts(attempts) => self.remember_attempts(cx, attempts),
                session::Output::Send(text) => cx.out.push_back(Output::QssSend(text)),
                session::Output::Ping => {
                    let ping = self.reporter.backlog.pinged();
                    cx.out.push_back(Output::QssPing(ping));
                }
                session::Output::Close => cx.out.push_back(Output::QssClose),
                session::Output::Event(event) => self.on_session(cx, event),
            }
        }
        result
    }

    fn on_session(&mut self, cx: &mut Cx<'_>, event: session::Event) {
        match event {
            session::Event::Registered => self.on_registered(cx),
            session::Event::Lost { cause, was_registered, retry_at } => {
                self.on_session_lost(cx, &cause, was_registered, retry_at);
            }
            session::Event::TokenLate { cause, retry_at } => {
                self.attempt_failed(cx, Attempt::Token, &cause, retry_at);
            }
            session::Event::Replied { ticket, reply } => self.on_reply(cx, ticket, reply),
            session::Event::Late { id, body } => self.on_late_answer(&id, &body),
            session::Event::Request { name, id, body } => self.on_request(cx, &name, &id, &body),
            session::Event::Withdrawn { id, replied, .. } => self.on_withdrawn(cx, &id, replied),
            session::Event::Notice { name, body } => self.on_notice(cx, &name, &body),
            session::Event::Malformed(malformed) => self.problem(cx, malformed.what()),
            session::Event::Stopped => {
                if let Phase::Stopping { session, .. } = &mut self.phase {
                    *session = Stopping::Unregistered;
                }
            }
        }
    }

    fn with_sip<R>(
        &mut self,
        cx: &mut Cx<'_>,
        call: impl FnOnce(&mut Endpoint, Time, &mut endpoint::Outbox) -> R,
    ) -> R {
        let mut outputs = endpoint::Outbox::new();
        let result = call(&mut self.sip, cx.now, &mut outputs);
        self.drain_sip(cx, outputs);
        result
    }

    fn media(&mut self, cx: &mut Cx<'_>, command: command::Command) {
        cx.out.push_back(Output::Media(command));
    }
}
