//! The call of a visit: dial, follow what SIP and the media thread say, hang up, dial again.
//!
//! ```text
//!   Due --dial--> Dialling --Confirmed--> Up --Ended, no media--> Pausing --at--> Due
//!                    |                                              ^
//!                    +--Ended (refused, timed out, ...)-------------+
//! ```
//!
//! The media thread follows: `Open` with the dial (the card takes its time to open), `Start` with the answer, `Update`
//! with a re-INVITE, `Stats` and `Stop` at the end. A dial that fails leaves the card open for the next one.

use super::digits::Way;
use super::offer::{cap, headers, local, stream_params, terms};
use super::visit::{Early, Hearing, Hold, Leg, Origin, Up, Visit};
use super::{Agent, CardUse, Cx, Output};
use crate::config::SrtpMode;
use crate::media::command::{Command, StreamParams};
use crate::media::plan::{self, Plan};
use crate::media::tone::Tone;
use crate::sdp::{Negotiated, Suites};
use crate::sip::endpoint::{self, CallId, EndCause, Event as SipEvent, RouteError};
use crate::status::event::{Attempt, Kind};
use crate::status::failure::{Cause, Failure};
use crate::time::{Span, Time};

/// Calls whose end is waited for; more than one is rare (an invite that replaces a call).
const MAX_ENDING: usize = 8;

impl Agent {
    /// `ports`: of the media thread's RTP and RTCP sockets.
    pub(super) fn dial(&mut self, cx: &mut Cx<'_>, ports: (u16, u16)) {
        let Some(visit) = &self.visit else { return };
        let Some(target) = visit.room.sip_uri.clone() else { return };
        let (plan, hold, mut extra) = (self.plan(visit), visit.hold, headers(&self.config, visit));
        if let Some(referral) = &self.referral {
            referral.headers.iter().for_each(|(name, value)| extra.push(name.clone(), value));
        }
        if self.voice.card == CardUse::Closed {
            self.voice.card = CardUse::Opened;
            self.media(cx, Command::Open);
        }
        let mut outputs = endpoint::Outbox::new();
        let dialled = self.sip.call_with(cx.now, &target, extra, local(&self.config, ports, plan, hold), &mut outputs);
        match (dialled, &mut self.visit) {
            (Ok(call), Some(visit)) => visit.leg = Leg::Dialling { call, target, plan, early: None },
            (Err(endpoint::CallError::BadUri(uri)), _) => {
                self.fail_visit(cx, &Cause::new(Failure::SipBadUri, uri));
            }
            (Ok(_), None) => {}
        }
        self.drain_sip(cx, outputs);
    }

    // --- what SIP says -------------------------------------------------------------------------------------------

    pub(super) fn on_sip(&mut self, cx: &mut Cx<'_>, event: SipEvent) {
        match event {
            SipEvent::Progress { .. } => {}
            SipEvent::Incoming { call, caller, source, .. } => self.on_incoming(cx, call, caller, source),
            SipEvent::Early { call, media } => self.on_early(cx, call, &media),
            SipEvent::Confirmed { call, media } => self.on_confirmed(cx, call, &media),
            SipEvent::Modified { call, media } => {
                self.on_parked_modified(call, &media);
                self.on_modified(cx, call, &media);
            }
            SipEvent::Ended { call, cause } => {
                self.ending.retain(|ending| *ending != call);
                self.on_referrer_gone(call);
                self.on_caller_gone(cx, call);
                if self.on_parked_ended(cx, call, &cause) {
                    return;
                }
                if self.visit.as_ref().and_then(Visit::has_call) == Some(call) {
                    self.on_ended(cx, &cause);
                }
            }
            SipEvent::Referred { call, target, headers } => self.on_referred(cx, call, target, headers),
            SipEvent::Digit { call, digit } => self.on_digit(cx, call.0, digit, Way::Info),
            SipEvent::DigitsLost { .. } => self.problem(cx, "digits_lost"),
            SipEvent::Malformed { what, .. } => self.problem(cx, what),
            SipEvent::Registered { server } => {
                self.reporter.succeeded(Attempt::Registration);
                self.emit(cx, Kind::SipRegistered { server }, None);
            }
            SipEvent::NotRegistered { server, cause, retry_at } => {
                let failure = match &cause {
                    EndCause::Refused { status, .. } => Failure::SipRegisterRefused((*status).into()),
                    EndCause::AuthenticationFailed => Failure::SipRegisterAuthFailed,
                    EndCause::Local
                    | EndCause::Remote { .. }
                    | EndCause::Timeout
                    | EndCause::NoAnswer
                    | EndCause::Unroutable(_)
                    | EndCause::NoCommonMedia
                    | EndCause::SignallingUnprotected => Failure::SipRegisterUnreachable,
                };
                let detail = format!("{server}: {}", words_of(&cause)).trim_end_matches([' ', ':']).to_owned();
                self.attempt_failed(cx, Attempt::Registration, &Cause::new(failure, detail), Some(retry_at));
            }
            SipEvent::Unregistered => {}
        }
    }

    /// What the mixer plays before it answers is heard. The microphone is not: nobody has answered yet.
    fn on_early(&mut self, cx: &mut Cx<'_>, call: CallId, media: &Negotiated) {
        let fresh = self.rng.next_u32();
        let Some(visit) = &mut self.visit else { return };
        let terms = terms(visit, &self.config);
        let Leg::Dialling { call: dialled, plan, early, .. } = &mut visit.leg else { return };
        if *dialled != call {
            return;
        }
        let ssrc = early.map_or(fresh, |early| early.params.ssrc);
        let params = StreamParams { send: false, ..stream_params(call, ssrc, media, *plan, terms) };
        let command = match early {
            Some(early) => {
                early.params = params;
                Command::Update(params)
            }
            None => {
                *early = Some(Early { params, hearing: Hearing::Silence(cx.now), playing: false });
                Command::Start(params)
            }
        };
        self.voice.card = CardUse::Streaming(call);
        self.media(cx, command);
    }

    fn on_confirmed(&mut self, cx: &mut Cx<'_>, call: CallId, media: &Negotiated) {
        let fresh = self.rng.next_u32();
        let Some(visit) = &mut self.visit else { return };
        let (target, plan, early) = match &mut visit.leg {
            Leg::Dialling { call: dialled, target, plan, early } if *dialled == call => {
                (std::mem::take(target), *plan, early.take())
            }
            Leg::Dialling { .. } | Leg::Due | Leg::Pausing { .. } | Leg::Up(_) => return,
        };
        let ssrc = early.map_or(fresh, |early| early.params.ssrc);
        let params = stream_params(call, ssrc, media, plan, terms(visit, &self.config));
        visit.leg = Leg::Up(Up {
            call,
            target,
            plan,
            params,
            since: cx.now,
            sending: false,
            playing: early.is_some_and(|early| early.playing),
            hearing: match early.map(|early| early.hearing) {
                Some(Hearing::Packets) if params.receive => Hearing::Packets,
                Some(_) | None if params.receive => Hearing::Silence(cx.now),
                Some(_) | None => held(cx.now, self.config.sip.hold_probe),
            },
        });
        self.voice.card = CardUse::Streaming(call);
        self.voice.stats = None;
        self.reporter.counters.calls += 1;
        self.reporter.succeeded(Attempt::Call);
        self.media(cx, Command::Mute(self.voice.muted));
        self.media(cx, if early.is_some() { Command::Update(params) } else { Command::Start(params) });
        self.tone(cx, Tone::Connected);
        self.referral_succeeded(cx);
        self.on_arrived(cx);
    }

    /// A re-INVITE: another address, hold, unhold, another cap.
    fn on_modified(&mut self, cx: &mut Cx<'_>, call: CallId, media: &Negotiated) {
        let Some(visit) = &mut self.visit else { return };
        let terms = terms(visit, &self.config);
        let Some(up) = visit.up_mut().filter(|up| up.call == call) else { return };
        let params = stream_params(call, up.params.ssrc, media, up.plan, terms);
        let before = std::mem::replace(&mut up.params, params);
        let holder = match terms.hold {
            Hold::Off => Failure::OnHold,
            Hold::On => Failure::HeldHere,
        };
        up.hearing = match (params.receive, up.hearing) {
            (false, hearing) => {
                up.playing = false;
                match hearing {
                    Hearing::Held { .. } => hearing,
                    Hearing::Packets | Hearing::Silence(_) => held(cx.now, self.config.sip.hold_probe),
                }
            }
            (true, Hearing::Held { .. }) => Hearing::Silence(cx.now),
            (true, hearing @ (Hearing::Packets | Hearing::Silence(_))) => hearing,
        };
        up.sending &= params.send;
        let cause = (!params.send || !params.receive).then(|| Cause::from(holder));
        if params != before {
            self.media(cx, Command::Update(params));
        }
        self.observe(cx, cause.as_ref());
    }

    fn on_ended(&mut self, cx: &mut Cx<'_>, end: &EndCause) {
        if self.referral_failed(cx, end) {
            return self.stop_stream(cx, &Failure::from(end).into());
        }
        let Some(visit) = &self.visit else { return };
        let at_once = visit.up().is_some_and(|up| cx.now.since(up.since) < self.config.sip.refused_by_bye);
        let failure = match (Failure::from(end), at_once) {
            (Failure::SipRemoteBye, true) => Failure::SipRefusedByBye,
            (failure, _) => failure,
        };
        self.lose_call(cx, Cause::new(failure, words_of(end)));
    }

    /// A call without media is hung up and made anew.
    pub(super) fn give_up_call(&mut self, cx: &mut Cx<'_>, call: CallId, failure: Failure) {
        self.lose_call(cx, failure.into());
        self.hang_up(cx, call, failure.code());
    }

    /// The call of the visit is over, or was never answered: dial again, or give the room up.
    fn lose_call(&mut self, cx: &mut Cx<'_>, cause: Cause) {
        let lasted = self.visit.as_ref().and_then(Visit::up).map(|up| cx.now.since(up.since));
        if lasted.is_none_or(|lasted| lasted < self.config.sip.refused_by_bye) {
            self.reporter.counters.call_failures += 1;
        }
        if lasted.is_some_and(|lasted| lasted >= self.config.sip.retry_max) {
            self.forgive();
        }
        let Some(visit) = &self.visit else { return };
        let invited = match visit.origin {
            Origin::Configured(_) => false,
            Origin::Invited { .. } | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred { .. } => true,
        };
        let over = if invited {
            let stood_once = lasted.is_some() || visit.redial.attempts() > 0;
            visit.origin == Origin::Called
                || !(stood_once && is_lost(cause.failure))
                || visit.redial.attempts() >= self.config.invites.redials
        } else {
            // The room may have moved: ask the QSS again. Or another room may do better.
            matches!(cause.failure, Failure::SipNotFound | Failure::SipAuthFailed)
                || (lasted.is_none() && self.has_another_room())
        };
        self.stop_stream(cx, &cause);
        if over {
            return self.fail_visit(cx, &cause);
        }
        let Some(visit) = &mut self.visit else { return };
        let at = visit.redial.next_with_floor(cx.now, &mut self.rng);
        visit.leg = Leg::Pausing { at };
        self.observe(cx, Some(&cause));
        self.attempt_failed(cx, Attempt::Call, &cause, Some(at));
        if may_have_moved(cause.failure) {
            self.inquire(cx);
        }
    }

    // --- what time says ------------------------------------------------------------------------------------------

    pub(super) fn on_leg_timeout(&mut self, cx: &mut Cx<'_>) {
        let Some(visit) = &mut self.visit else { return };
        match &visit.leg {
            Leg::Pausing { at } if *at <= cx.now => visit.leg = Leg::Due,
            Leg::Up(Up { hearing: Hearing::Silence(since), call, .. })
                if *since + self.config.rtp.dead_timeout <= cx.now =>
            {
                let call = *call;
                self.give_up_call(cx, call, Failure::NoMedia);
            }
            Leg::Up(Up { hearing: Hearing::Held { probe_at }, .. }) if *probe_at <= cx.now => {
                if let Some(up) = visit.up_mut() {
                    up.hearing = held(cx.now, self.config.sip.hold_probe);
                }
                self.probe(cx);
            }
            Leg::Due | Leg::Pausing { .. } | Leg::Dialling { .. } | Leg::Up(_) => {}
        }
    }

    // --- hanging up ----------------------------------------------------------------------------------------------

    /// Ends the call of the visit, whatever its state. What the endpoint says of it later finds no visit.
    pub(super) fn end_leg(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        self.referral_ends(cx);
        let Some(call) = self.visit.as_ref().and_then(Visit::has_call) else { return };
        self.stop_stream(cx, cause);
        self.hang_up(cx, call, cause.failure.code());
    }

    pub(super) fn hang_up(&mut self, cx: &mut Cx<'_>, call: CallId, reason: &str) {
        if self.ending.len() >= MAX_ENDING {
            self.ending.pop_front();
        }
        self.ending.push_back(call);
        self.with_sip(cx, |sip, now, out| sip.hang_up(now, call, Some(reason), out));
    }

    /// The stream stops before anything else happens to the call.
    pub(super) fn stop_stream(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        let Some(visit) = &mut self.visit else { return };
        let room = visit.room_ref();
        match std::mem::replace(&mut visit.leg, Leg::Due) {
            Leg::Up(up) => {
                self.media(cx, Command::Stats);
                self.media(cx, Command::Stop);
                self.voice.card = CardUse::Closed;
                self.summarise_soon(cx, up.call, room, cx.now.since(up.since), cause.clone());
            }
            Leg::Dialling { early: Some(_), .. } => {
                self.media(cx, Command::Stop);
                self.voice.card = CardUse::Closed;
            }
            Leg::Due | Leg::Pausing { .. } | Leg::Dialling { early: None, .. } => {}
        }
    }

    /// Closes a card that was opened for a dial.
    pub(super) fn release_card(&mut self, cx: &mut Cx<'_>) {
        if self.voice.card == CardUse::Opened {
            self.voice.card = CardUse::Closed;
            self.media(cx, Command::Stop);
        }
    }

    // --- the room's word ------------------------------------------------------------------------------------------

    /// The room has been described anew: a running call moves to another URI, or changes to another cap.
    pub(super) fn follow_room(&mut self, cx: &mut Cx<'_>) {
        let Some(visit) = &self.visit else { return };
        let uri = visit.room.sip_uri.as_deref();
        match &visit.leg {
            Leg::Due | Leg::Pausing { .. } => {}
            Leg::Dialling { target, .. } | Leg::Up(Up { target, .. }) if uri != Some(target) => {
                self.end_leg(cx, &Failure::Replaced.into());
            }
            Leg::Dialling { .. } => {}
            Leg::Up(up) => {
                let (call, plan) = (up.call, self.plan(visit));
                if let Some(ports) = self.voice.ports
                    && plan != up.plan
                {
                    let offer = local(&self.config, ports, plan, visit.hold);
                    if let Some(up) = self.visit.as_mut().and_then(Visit::up_mut) {
                        up.plan = plan;
                    }
                    self.with_sip(cx, |sip, now, out| sip.modify(now, call, offer, out));
                }
            }
        }
    }

    pub(super) fn plan(&self, visit: &Visit) -> Plan {
        let (codec, cap) = (&self.config.codec, cap(visit, &self.config));
        match self.config.rtp.srtp {
            SrtpMode::Off => plan::plan(codec, cap),
            SrtpMode::Offer | SrtpMode::Require => {
                plan::plan_protected(codec, cap, Suites::named(&self.config.rtp.srtp_suites).iter())
            }
        }
    }

    /// Asks the mixer whether it still knows the call, by offering again what holds already.
    pub(super) fn probe(&mut self, cx: &mut Cx<'_>) {
        let Some(visit) = &self.visit else { return };
        let (Some(up), Some(ports)) = (visit.up(), self.voice.ports) else { return };
        let (call, offer) = (up.call, local(&self.config, ports, up.plan, visit.hold));
        self.with_sip(cx, |sip, now, out| sip.modify(now, call, offer, out));
    }

    pub(super) fn drain_sip(&mut self, cx: &mut Cx<'_>, outputs: endpoint::Outbox) {
        for output in outputs {
            match output {
                endpoint::Output::Send { flow, bytes } => cx.out.push_back(Output::SipSend { flow, bytes }),
                endpoint::Output::Connect { flow, host } => {
                    let not_before = self.floor(cx);
                    cx.out.push_back(Output::SipConnect { flow, host, not_before });
                }
                endpoint::Output::Disconnect { flow } => cx.out.push_back(Output::SipDisconnect { flow }),
                endpoint::Output::Resolve(target) => cx.out.push_back(Output::Resolve(target)),
                endpoint::Output::Event(event) => self.on_sip(cx, event),
            }
        }
    }
}

/// A held call brings no packets that could show that the mixer lives: it is asked after `probe`.
pub(super) fn held(now: Time, probe: Span) -> Hearing {
    Hearing::Held { probe_at: now + probe }
}

/// The mixer is there again or will be, without our call: no word of the peer that it is over.
pub(super) fn is_lost(failure: Failure) -> bool {
    const LOST: [Failure; 4] = [Failure::NoMedia, Failure::MediaUnheard, Failure::SipCallGone, Failure::SipTimeout];
    LOST.contains(&failure)
}

/// Nobody reasonable answers at this address (any more).
fn may_have_moved(failure: Failure) -> bool {
    const MOVED: [Failure; 6] = [
        Failure::NoMedia,
        Failure::SipTimeout,
        Failure::SipUnreachable,
        Failure::SipUnknownHost,
        Failure::SipRefused(480),
        Failure::SipRefused(503),
    ];
    MOVED.contains(&failure)
}

/// What the peer said about the end, for people.
pub(super) fn words_of(end: &EndCause) -> String {
    match end {
        EndCause::Remote { reason } => reason.clone().unwrap_or_default(),
        EndCause::Refused { status, reason } => format!("{status} {reason}"),
        EndCause::Unroutable(RouteError::NoConnection(why)) => why.clone(),
        EndCause::Local
        | EndCause::Timeout
        | EndCause::NoAnswer
        | EndCause::Unroutable(RouteError::UnknownHost | RouteError::Unreachable)
        | EndCause::AuthenticationFailed
        | EndCause::NoCommonMedia
        | EndCause::SignallingUnprotected => String::new(),
    }
}
