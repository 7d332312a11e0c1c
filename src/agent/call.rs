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

use super::visit::{Hearing, Leg, Origin, Up, Visit};
use super::{Agent, CardUse, Cx, Output};
use crate::config::{self, Config};
use crate::media::command::{CardEvent, Command, Event as MediaEvent, PacketKind, StreamParams};
use crate::media::plan::{self, Plan};
use crate::sdp::{Local, Negotiated};
use crate::sip::endpoint::{self, CallId, EndCause, Event as SipEvent};
use crate::status::Rung;
use crate::status::event::{Attempt, Card, Kind};
use crate::status::failure::{Cause, Failure};
use crate::time::{Span, Time};

/// A BYE this soon after the 200 is a refusal: a locked or full ConfBridge answers before it refuses.
const REFUSED_BY_BYE: Span = Span::from_secs(2);

/// A held call brings no packets that could show that the mixer lives: it is asked this often. As often as Asterisk
/// asks by OPTIONS; a lost one costs the time until it is noticed, each question one re-INVITE.
const HOLD_PROBE: Span = Span::from_secs(30);

/// An invited call that the mixer has lost is dialled again so often; then the invite is over.
const INVITED_REDIALS: u32 = 3;

/// Calls whose end is waited for; more than one is rare (an invite that replaces a call).
const MAX_ENDING: usize = 8;

/// RFC 7587 6.1: the range of `maxaveragebitrate`.
const MIN_BITRATE: u32 = 6_000;

impl Agent {
    /// `ports`: of the media thread's RTP and RTCP sockets.
    pub(super) fn dial(&mut self, cx: &mut Cx<'_>, ports: (u16, u16)) {
        let Some(visit) = &self.visit else { return };
        let Some(target) = visit.room.sip_uri.clone() else { return };
        let plan = self.plan(visit);
        if self.voice.card == CardUse::Closed {
            self.voice.card = CardUse::Opened;
            self.media(cx, Command::Open);
        }
        let mut outputs = endpoint::Outbox::new();
        let dialled = self.sip.call(cx.now, &target, local(&self.config, ports, plan), &mut outputs);
        match (dialled, &mut self.visit) {
            (Ok(call), Some(visit)) => visit.leg = Leg::Dialling { call, target, plan },
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
            SipEvent::Confirmed { call, media } => self.on_confirmed(cx, call, &media),
            SipEvent::Modified { call, media } => self.on_modified(cx, call, &media),
            SipEvent::Ended { call, cause } => {
                self.ending.retain(|ending| *ending != call);
                if self.visit.as_ref().and_then(Visit::has_call) == Some(call) {
                    self.on_ended(cx, &cause);
                }
            }
            SipEvent::Malformed { what, .. } => self.problem(cx, what),
        }
    }

    fn on_confirmed(&mut self, cx: &mut Cx<'_>, call: CallId, media: &Negotiated) {
        let ssrc = self.rng.next_u32();
        let Some(visit) = &mut self.visit else { return };
        let (target, plan) = match &mut visit.leg {
            Leg::Dialling { call: dialled, target, plan } if *dialled == call => (std::mem::take(target), *plan),
            Leg::Dialling { .. } | Leg::Due | Leg::Pausing { .. } | Leg::Up(_) => return,
        };
        let params = stream_params(call, ssrc, media, plan, cap(visit, &self.config.codec));
        visit.leg = Leg::Up(Up {
            call,
            target,
            plan,
            params,
            since: cx.now,
            sending: false,
            playing: false,
            hearing: if media.receive { Hearing::Silence(cx.now) } else { held(cx.now) },
        });
        self.voice.card = CardUse::Streaming(call);
        self.voice.stats = None;
        self.reporter.counters.calls += 1;
        self.reporter.succeeded(Attempt::Call);
        self.media(cx, Command::Mute(self.voice.muted));
        self.media(cx, Command::Start(params));
    }

    /// A re-INVITE: another address, hold, unhold, another cap.
    fn on_modified(&mut self, cx: &mut Cx<'_>, call: CallId, media: &Negotiated) {
        let Some(visit) = &mut self.visit else { return };
        let cap = cap(visit, &self.config.codec);
        let Some(up) = visit.up_mut().filter(|up| up.call == call) else { return };
        let params = stream_params(call, up.params.ssrc, media, up.plan, cap);
        let before = std::mem::replace(&mut up.params, params);
        let mut cause = None;
        up.hearing = match (media.receive, up.hearing) {
            (false, hearing) => {
                cause = Some(Cause::from(Failure::OnHold));
                up.playing = false;
                match hearing {
                    Hearing::Held { .. } => hearing,
                    Hearing::Packets | Hearing::Silence(_) => held(cx.now),
                }
            }
            (true, Hearing::Held { .. }) => Hearing::Silence(cx.now),
            (true, hearing @ (Hearing::Packets | Hearing::Silence(_))) => hearing,
        };
        if !media.send {
            cause = Some(Cause::from(Failure::OnHold));
            up.sending = false;
        }
        if params != before {
            self.media(cx, Command::Update(params));
        }
        self.observe(cx, cause.as_ref());
    }

    fn on_ended(&mut self, cx: &mut Cx<'_>, end: &EndCause) {
        let Some(visit) = &self.visit else { return };
        let at_once = visit.up().is_some_and(|up| cx.now.since(up.since) < REFUSED_BY_BYE);
        let failure = match (Failure::from(end), at_once) {
            (Failure::SipRemoteBye, true) => Failure::SipRefusedByBye,
            (failure, _) => failure,
        };
        self.lose_call(cx, Cause::new(failure, words_of(end)));
    }

    /// The call of the visit is over, or was never answered: dial again, or give the room up.
    fn lose_call(&mut self, cx: &mut Cx<'_>, cause: Cause) {
        let lasted = self.visit.as_ref().and_then(Visit::up).map(|up| cx.now.since(up.since));
        if lasted.is_none_or(|lasted| lasted < REFUSED_BY_BYE) {
            self.reporter.counters.call_failures += 1;
        }
        if lasted.is_some_and(|lasted| lasted >= self.config.sip.retry_max) {
            self.forgive();
        }
        let Some(visit) = &self.visit else { return };
        let invited = match visit.origin {
            Origin::Configured(_) => false,
            Origin::Invited { .. } | Origin::Asked => true,
        };
        let over = if invited {
            let stood_once = lasted.is_some() || visit.redial.attempts() > 0;
            !(stood_once && is_lost(cause.failure)) || visit.redial.attempts() >= INVITED_REDIALS
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
                let (call, cause) = (*call, Cause::from(Failure::NoMedia));
                self.lose_call(cx, cause);
                self.hang_up(cx, call, "no media");
            }
            Leg::Up(Up { hearing: Hearing::Held { probe_at }, .. }) if *probe_at <= cx.now => {
                if let Some(up) = visit.up_mut() {
                    up.hearing = held(cx.now);
                }
                self.probe(cx);
            }
            Leg::Due | Leg::Pausing { .. } | Leg::Dialling { .. } | Leg::Up(_) => {}
        }
    }

    // --- hanging up ----------------------------------------------------------------------------------------------

    /// Ends the call of the visit, whatever its state. What the endpoint says of it later finds no visit.
    pub(super) fn end_leg(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        let Some(call) = self.visit.as_ref().and_then(Visit::has_call) else { return };
        self.stop_stream(cx, cause);
        self.hang_up(cx, call, cause.failure.code());
    }

    fn hang_up(&mut self, cx: &mut Cx<'_>, call: CallId, reason: &str) {
        if self.ending.len() >= MAX_ENDING {
            self.ending.pop_front();
        }
        self.ending.push_back(call);
        self.with_sip(cx, |sip, now, out| sip.hang_up(now, call, Some(reason), out));
    }

    /// The stream stops before anything else happens to the call.
    fn stop_stream(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        let Some(visit) = &mut self.visit else { return };
        let room = visit.room_ref();
        match std::mem::replace(&mut visit.leg, Leg::Due) {
            Leg::Up(up) => {
                self.media(cx, Command::Stats);
                self.media(cx, Command::Stop);
                self.voice.card = CardUse::Closed;
                self.summarise_soon(cx, up.call, room, cx.now.since(up.since), cause.clone());
            }
            Leg::Due | Leg::Pausing { .. } | Leg::Dialling { .. } => {}
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
                    let offer = local(&self.config, ports, plan);
                    if let Some(up) = self.visit.as_mut().and_then(Visit::up_mut) {
                        up.plan = plan;
                    }
                    self.with_sip(cx, |sip, now, out| sip.modify(now, call, offer, out));
                }
            }
        }
    }

    fn plan(&self, visit: &Visit) -> Plan {
        plan::plan(&self.config.codec, cap(visit, &self.config.codec))
    }

    // --- what the media thread says ------------------------------------------------------------------------------

    pub(super) fn on_media(&mut self, cx: &mut Cx<'_>, event: MediaEvent) {
        match event {
            MediaEvent::Bound { rtp_port, rtcp_port } => self.voice.ports = Some((rtp_port, rtcp_port)),
            // Said before a hold reached the media thread, these three are no longer true.
            MediaEvent::Sending { call } => self.on_stream(cx, call, None, |up, _| up.sending = up.params.send),
            MediaEvent::NotSending { call } => self.on_not_sending(cx, call),
            MediaEvent::Receiving { call } => {
                self.on_stream(cx, call, None, |up, _| {
                    up.hearing = match up.hearing {
                        Hearing::Packets | Hearing::Silence(_) => Hearing::Packets,
                        held @ Hearing::Held { .. } => held,
                    }
                });
            }
            MediaEvent::Silent { call, since } => self.on_silent(cx, call, since),
            MediaEvent::Playing { call } => {
                self.on_stream(cx, call, None, |up, _| up.playing = up.hearing == Hearing::Packets);
            }
            MediaEvent::NotPlaying { call } => {
                let cause = self.card_cause(Failure::NotPlaying);
                self.on_stream(cx, call, Some(cause), |up, _| up.playing = false);
            }
            MediaEvent::Invalid { kind, more, .. } => {
                let what = match kind {
                    PacketKind::Rtp => "rtp_invalid",
                    PacketKind::Rtcp => "rtcp_invalid",
                };
                self.problems(cx, what, more);
            }
            // The SIP BYE follows, or the silence does.
            MediaEvent::PeerBye { .. } => {}
            MediaEvent::Card(event) => self.on_card(cx, event),
            MediaEvent::Stats(stats) => self.on_stats(cx, stats),
            MediaEvent::Alive => {}
        }
    }

    /// Packets stopped leaving; or none has ever left, which changes no rung: a snapshot says why.
    fn on_not_sending(&mut self, cx: &mut Cx<'_>, call: u32) {
        let cause = self.card_cause(Failure::NotSending);
        let Some(up) = self.visit.as_mut().and_then(Visit::up_mut).filter(|up| up.call.0 == call) else { return };
        if std::mem::replace(&mut up.sending, false) {
            self.observe(cx, Some(&cause));
        } else {
            self.reporter.explain(Rung::Sending, &cause);
            self.snapshot_soon(cx);
        }
    }

    /// The first silence counts, its repetitions only confirm it. A mixer that was restarted says 481 to the probe, and
    /// need not be waited for.
    fn on_silent(&mut self, cx: &mut Cx<'_>, call: u32, since: Span) {
        let Some(up) = self.visit.as_mut().and_then(Visit::up_mut).filter(|up| up.call.0 == call) else { return };
        match up.hearing {
            Hearing::Packets => up.hearing = Hearing::Silence(cx.now - since),
            Hearing::Silence(_) | Hearing::Held { .. } => return,
        }
        up.playing = false;
        self.observe(cx, Some(&Failure::MediaSilent.into()));
        self.probe(cx);
    }

    /// Asks the mixer whether it still knows the call, by offering again what holds already.
    fn probe(&mut self, cx: &mut Cx<'_>) {
        let (Some(up), Some(ports)) = (self.visit.as_ref().and_then(Visit::up), self.voice.ports) else { return };
        let (call, offer) = (up.call, local(&self.config, ports, up.plan));
        self.with_sip(cx, |sip, now, out| sip.modify(now, call, offer, out));
    }

    /// Events of an earlier call's stream find none.
    fn on_stream(&mut self, cx: &mut Cx<'_>, call: u32, cause: Option<Cause>, change: impl FnOnce(&mut Up, Time)) {
        if let Some(up) = self.visit.as_mut().and_then(Visit::up_mut).filter(|up| up.call.0 == call) {
            change(up, cx.now);
            self.observe(cx, cause.as_ref());
        }
    }

    fn on_card(&mut self, cx: &mut Cx<'_>, event: CardEvent) {
        let (card, cause) = match event {
            CardEvent::Opened { rate, period, buffer } => {
                self.voice.trouble = None;
                (Card::Opened { rate, period, buffer }, None)
            }
            CardEvent::Lost { error } => {
                self.reporter.counters.card_losses += 1;
                if self.voice.trouble.replace(error) == Some(error) {
                    return;
                }
                (Card::Lost, Some(Cause::from(Failure::from(error))))
            }
            CardEvent::Returned { away } => {
                self.voice.trouble = None;
                (Card::Returned { away_ms: away.as_millis() }, None)
            }
            CardEvent::Xrun { count } => {
                self.reporter.counters.xruns += u64::from(count);
                return;
            }
            CardEvent::Closed => return,
        };
        self.emit(cx, Kind::Card { card }, cause);
    }

    /// A card in trouble explains more than what follows from it.
    fn card_cause(&self, otherwise: Failure) -> Cause {
        self.voice.trouble.map_or(otherwise, Failure::from).into()
    }

    pub(super) fn drain_sip(&mut self, cx: &mut Cx<'_>, outputs: endpoint::Outbox) {
        for output in outputs {
            match output {
                endpoint::Output::Send { to, bytes } => cx.out.push_back(Output::SipSend { to, bytes }),
                endpoint::Output::Resolve { host, port } => cx.out.push_back(Output::Resolve { host, port }),
                endpoint::Output::Event(event) => self.on_sip(cx, event),
            }
        }
    }
}

fn held(now: Time) -> Hearing {
    Hearing::Held { probe_at: now + HOLD_PROBE }
}

/// The mixer is there again or will be, without our call: no word of the peer that it is over.
fn is_lost(failure: Failure) -> bool {
    const LOST: [Failure; 4] = [Failure::NoMedia, Failure::SipCallGone, Failure::SipTimeout, Failure::SipRefused(408)];
    LOST.contains(&failure)
}

/// Nobody reasonable answers at this address (any more).
fn may_have_moved(failure: Failure) -> bool {
    const MOVED: [Failure; 7] = [
        Failure::NoMedia,
        Failure::SipTimeout,
        Failure::SipUnreachable,
        Failure::SipUnknownHost,
        Failure::SipRefused(408),
        Failure::SipRefused(480),
        Failure::SipRefused(503),
    ];
    MOVED.contains(&failure)
}

/// The cap in bit/s: the room's, the configuration's, or the smaller of both; 0: none.
fn cap(visit: &Visit, codec: &config::Codec) -> u32 {
    let configured = Some(codec.cap_kbps).filter(|kbps| *kbps > 0);
    let smaller = match (visit.room.bitrate_kbps, configured) {
        (Some(room), Some(own)) => Some(room.min(own)),
        (room, own) => room.or(own),
    };
    smaller.unwrap_or(0).saturating_mul(1_000)
}

fn local(config: &Config, (rtp_port, rtcp_port): (u16, u16), plan: Plan) -> Local {
    let codec = &config.codec;
    Local {
        address: Some(config.rtp.bind).filter(|bind| !bind.is_unspecified()),
        rtp_port,
        rtcp_port,
        ptime: plan.ptime,
        max_average_bitrate: plan.max_average_bitrate,
        fec: match codec.fec {
            config::FecMode::Off => false,
            config::FecMode::On | config::FecMode::Auto => true,
        },
        dtx: codec.dtx,
        active: true,
    }
}

/// The plan under the peer's limits. Its `maxaveragebitrate` is law (RFC 7587 6.1), unless it is the very number we
/// offered: Asterisk copies ours into its answer, and ours limits what it sends, not what it takes. Its `ptime` is a
/// wish (RFC 8866 6.4), granted when longer than the plan's; 20 ms is what every mixer says and wishes nothing.
fn stream_params(call: CallId, ssrc: u32, media: &Negotiated, plan: Plan, cap: u32) -> StreamParams {
    let longer = [40, 60].map(Span::from_millis);
    let wish = media.ptime.filter(|wish| longer.contains(wish) && *wish > plan.ptime);
    let own_limit = |limit: &u32| *limit != plan.max_average_bitrate;
    let limit = media.max_average_bitrate.filter(own_limit).unwrap_or(u32::MAX).max(MIN_BITRATE);
    StreamParams {
        call: call.0,
        remote_rtp: media.remote_rtp,
        remote_rtcp: media.remote_rtcp,
        rtcp_mux: media.rtcp_mux,
        send_payload_type: media.send_payload_type,
        receive_payload_type: media.receive_payload_type,
        telephone_event: media.telephone_event,
        ssrc,
        ptime: wish.unwrap_or(plan.ptime),
        bitrate: plan.bitrate.min(limit),
        cap,
        send: media.send,
        receive: media.receive,
    }
}

/// What the peer said about the end, for people.
fn words_of(end: &EndCause) -> String {
    match end {
        EndCause::Remote { reason } => reason.clone().unwrap_or_default(),
        EndCause::Refused { status, reason } => format!("{status} {reason}"),
        EndCause::Local
        | EndCause::Timeout
        | EndCause::NoAnswer
        | EndCause::Unroutable(_)
        | EndCause::AuthenticationFailed
        | EndCause::NoCommonMedia => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(ptime_ms: Option<u64>, max_average_bitrate: Option<u32>) -> Negotiated {
        let remote = "192.0.2.1:20000".parse().expect("an address");
        Negotiated {
            remote_rtp: remote,
            remote_rtcp: remote,
            rtcp_mux: true,
            send_payload_type: 107,
            receive_payload_type: 96,
            telephone_event: None,
            ptime: ptime_ms.map(Span::from_millis),
            max_average_bitrate,
            send: true,
            receive: true,
        }
    }

    #[test]
    fn the_peers_limits_bend_the_plan_and_its_echo_does_not() {
        let plan = Plan { ptime: Span::from_millis(20), bitrate: 32_000, max_average_bitrate: 24_000 };
        let params = |ptime, limit| {
            let params = stream_params(CallId(1), 7, &negotiated(ptime, limit), plan, 64_000);
            (params.ptime.as_millis(), params.bitrate)
        };
        assert_eq!(params(None, None), (20, 32_000));
        assert_eq!(params(Some(20), Some(16_000)), (20, 16_000));
        assert_eq!(params(Some(20), Some(24_000)), (20, 32_000), "our own number came back");
        assert_eq!(params(Some(60), Some(1)), (60, MIN_BITRATE));
        assert_eq!(params(Some(10), None), (20, 32_000), "the cap may need the longer packet");
        assert_eq!(params(Some(50), None), (20, 32_000), "Opus has no such packet here");
    }
}
