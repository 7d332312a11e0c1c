//! Calls that wait on hold while the device is in another one (`calls.limit`).
//!
//! ```text
//!                      another call comes, `swap`
//!   the present call ----------------------------> parked, re-INVITE a=inactive
//!        ^                                            |   |
//!        | the other is over, `swap`, `join`          |   | BYE, sent away, withdrawn, refused by the QSS:
//!        +-- sound card, re-INVITE a=sendrecv --------+   | it is over
//!        |                                                v
//!        +-- dialled anew, if the mixer has lost it meanwhile (`invites.returns`)
//! ```
//!
//! There is one sound card: of all calls only the present one has a stream. Only a call that stands can wait, and only
//! one that nothing moves; any other is left for the new one, as it always is with a limit of one.
//!
//! A parked call is on hold here whatever was said of it before: [`Hold`] of its visit is what a person wants, and counts
//! again when it goes on. What the QSS says about it is in [`parked_room`](super::parked_room).

use super::call::{held, is_lost, words_of};
use super::conference::Told;
use super::offer::{Terms, local, stream_params, terms};
use super::outgoing::Outgoing;
use super::participants::Participants;
use super::transfer::Transfer;
use super::visit::{Hearing, Hold, Leg, Membership, Origin, Proof, Up, Visit};
use super::{Agent, CardUse, Cx, Phase};
use crate::media::command::Command;
use crate::media::tone::Tone;
use crate::sdp::Negotiated;
use crate::sip::endpoint::{CallId, EndCause};
use crate::status::event::{Kind, RoomRef};
use crate::status::failure::{Cause, Failure};
use crate::time::{Wakeup, soonest};

/// Calls that wait, at most; `calls.limit` allows no more.
pub(super) const MAX_PARKED: usize = 3;

/// A call that waits, with everything that is to be as it was when it goes on.
#[derive(Debug)]
pub(super) struct Parked {
    /// Its leg is up, or due again when the mixer has lost the call.
    pub(super) visit: Visit,
    /// The call of our own that the visit is for.
    pub(super) outgoing: Option<Outgoing>,
    pub(super) participants: Participants,
    told: Told,
}

/// Longest wait first.
pub(super) type ParkedCalls = heapless::Vec<Parked, MAX_PARKED>;

/// Why no call changes places with the present one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SwapError {
    /// None waits, or none in that room.
    NoneWaits,
    /// The present call does not stand yet, or is being moved.
    NotUp,
}

impl Agent {
    // --- to and fro ----------------------------------------------------------------------------------------------

    /// The present call stands, and may wait while the device is in another one.
    pub(super) fn can_wait(&self) -> bool {
        let stands = self.visit.as_ref().is_some_and(|visit| visit.up().is_some());
        let moves = self.referral.is_some()
            || match self.transfer {
                Transfer::None => false,
                Transfer::Accepting { .. }
                | Transfer::Joining { .. }
                | Transfer::Moving { .. }
                | Transfer::Asked { .. }
                | Transfer::Answered { .. } => true,
            };
        let calls = self.outgoing.as_ref().is_some_and(|outgoing| !outgoing.is_answered());
        stands && !moves && !calls && self.phase == Phase::Running
    }

    /// One more call may be had while the present one waits.
    pub(super) fn has_place(&self) -> bool {
        self.parked.len() + 1 < self.config.calls.limit.min(MAX_PARKED + 1)
    }

    /// Another call comes: the present one waits for it, or ends.
    pub(super) fn make_way(&mut self, cx: &mut Cx<'_>, priority: u8) {
        if !self.park(cx) {
            self.remember_interrupted(priority);
            self.end_visit(cx, &Failure::Replaced.into());
        }
    }

    /// Puts the present call on hold for another one. False: it cannot wait, or too many do, and nothing has changed.
    pub(super) fn park(&mut self, cx: &mut Cx<'_>) -> bool {
        if !self.can_wait() || !self.has_place() {
            return false;
        }
        let Some(visit) = &mut self.visit else { return false };
        visit.inquiry = None;
        let hold = visit.hold;
        let Some(up) = visit.up_mut() else { return false };
        (up.params.send, up.params.receive) = (false, false);
        (up.sending, up.playing, up.hearing) = (false, false, held(cx.now, self.config.sip.hold_probe));
        let (call, plan) = (up.call, up.plan);
        let cause = Cause::from(Failure::HeldForAnother);
        self.media(cx, Command::Park);
        self.voice.card = CardUse::Closed;
        self.ring_nobody(cx);
        self.withdraw_invited(cx);
        if hold == Hold::Off {
            self.emit(cx, Kind::Hold { held: true }, Some(cause.clone()));
        }
        let told = self.pause_telling(cx);
        let mut participants = std::mem::replace(&mut self.participants, Participants::new(&self.config));
        participants.rest();
        if let Some(visit) = self.visit.take() {
            let parked = Parked { visit, outgoing: self.outgoing.take(), participants, told };
            self.parked.push(parked).expect("there is a place");
        }
        self.observe(cx, Some(&cause));
        if let (Hold::Off, Some(ports)) = (hold, self.voice.ports) {
            let offer = local(&self.config, ports, plan, Hold::On);
            self.with_sip(cx, |sip, now, out| sip.modify(now, call, offer, out));
        }
        true
    }

    /// Nothing is visited: the call goes on that waits and is the most important one, of equals the one that waits least
    /// long; unless what an invite has interrupted is more important. False: there is none.
    pub(super) fn go_on(&mut self, cx: &mut Cx<'_>) -> bool {
        let waiting = self.parked.iter().enumerate().map(|(i, parked)| (parked.visit.origin.priority(), i)).max();
        let Some((priority, i)) = waiting else { return self.resume_interrupted(cx) };
        if self.interrupted_priority().is_some_and(|interrupted| interrupted > priority) && self.resume_interrupted(cx)
        {
            return true;
        }
        let parked = self.parked.remove(i);
        self.resume(cx, parked);
        true
    }

    /// The present call waits, and this one goes on: that in the room of this name, or the one that waits longest. Its
    /// room.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed.
    pub(super) fn swap(&mut self, cx: &mut Cx<'_>, name: Option<&str>) -> Result<String, SwapError> {
        let named = |parked: &Parked| name.is_none_or(|name| parked.is_called(name));
        let i = self.parked.iter().position(named).ok_or(SwapError::NoneWaits)?;
        if !self.can_wait() {
            return Err(SwapError::NotUp);
        }
        let room = self.parked[i].visit.name.clone();
        self.turn_to(cx, i, 0);
        Ok(room)
    }

    /// Call number `i` of those that wait goes on; the present one waits, or ends for it.
    pub(super) fn turn_to(&mut self, cx: &mut Cx<'_>, i: usize, priority: u8) {
        let parked = self.parked.remove(i);
        self.make_way(cx, priority);
        self.resume(cx, parked);
    }

    /// A call goes on. The card opens while the mixer is asked; media wait for its answer, and should none come, the
    /// silence is noticed and the call made anew.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>, parked: Parked) {
        let Parked { mut visit, outgoing, participants, told } = parked;
        self.resume_telling(cx, told);
        self.participants = participants;
        self.outgoing = outgoing;
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.resume(cx.now, self.config.calls.alone);
        }
        let (plan, hold) = (self.plan(&visit), visit.hold);
        let up = visit.up_mut().map(|up| {
            up.plan = plan;
            up.hearing = match hold {
                Hold::Off => Hearing::Silence(cx.now),
                Hold::On => held(cx.now, self.config.sip.hold_probe),
            };
            (up.call, up.params)
        });
        self.visit = Some(visit);
        if let (Some((call, params)), Some(ports)) = (up, self.voice.ports) {
            if self.voice.card == CardUse::Closed {
                self.media(cx, Command::Open);
            }
            self.voice.card = CardUse::Streaming(call);
            self.voice.stats = None;
            self.media(cx, Command::Mute(self.voice.muted));
            self.media(cx, Command::Start(params));
            self.tone(cx, Tone::Connected);
            if hold == Hold::Off {
                let offer = local(&self.config, ports, plan, Hold::Off);
                self.with_sip(cx, |sip, now, out| sip.modify(now, call, offer, out));
            }
        }
        if hold == Hold::Off {
            self.emit(cx, Kind::Hold { held: false }, None);
        }
        self.tell_participants(cx, Vec::new());
        let cause = match hold {
            Hold::Off => None,
            Hold::On => Some(Cause::from(Failure::HeldHere)),
        };
        self.observe(cx, cause.as_ref());
    }

    // --- the end of a call that waits ----------------------------------------------------------------------------

    /// It is over; a configured room is tried again in its time.
    pub(super) fn fail_parked(&mut self, cx: &mut Cx<'_>, i: usize, cause: &Cause) {
        if let Some(Parked { visit, .. }) = self.parked.get(i) {
            let (origin, redials) = (visit.origin.clone(), visit.redial.attempts());
            self.pause_after(cx.now, &origin, redials, cause.failure);
        }
        self.end_parked(cx, i, cause);
    }

    /// Nobody wants any of them any more.
    pub(super) fn end_all_parked(&mut self, cx: &mut Cx<'_>, cause: &Cause) {
        (0..self.parked.len()).rev().for_each(|i| self.end_parked(cx, i, cause));
    }

    /// Hangs up, leaves the room at the QSS, and forgets it.
    pub(super) fn end_parked(&mut self, cx: &mut Cx<'_>, i: usize, cause: &Cause) {
        if i >= self.parked.len() {
            return;
        }
        if let Some(call) = self.lose_parked_leg(cx, i, cause) {
            self.hang_up(cx, call, cause.failure.code());
        }
        let Parked { visit, outgoing, told, .. } = self.parked.remove(i);
        if let Some(outgoing) = outgoing {
            self.tell_parked_call_over(cx, outgoing, visit.room_ref(), cause);
        }
        self.depart(cx, &visit, cause);
        self.tell_parked_over(cx, told, cause);
    }

    /// The call is no more, the visit still is: it is dialled anew when its turn comes. The call that is left.
    pub(super) fn lose_parked_leg(&mut self, cx: &mut Cx<'_>, i: usize, cause: &Cause) -> Option<CallId> {
        let visit = &mut self.parked.get_mut(i)?.visit;
        let Leg::Up(up) = std::mem::replace(&mut visit.leg, Leg::Due) else { return None };
        // It stood once: `invites.redials` count from here.
        visit.redial.at_least(1);
        let (room, duration_ms) = (visit.room_ref(), cx.now.since(up.since).as_millis());
        self.media(cx, Command::Forget(up.call.0));
        self.emit_about(cx, Kind::CallEnded { duration_ms, media: None }, Some(room), Some(cause.clone()));
        Some(up.call)
    }

    // --- what SIP says -------------------------------------------------------------------------------------------

    /// The end of a call that waits; false: it is none.
    pub(super) fn on_parked_ended(&mut self, cx: &mut Cx<'_>, call: CallId, end: &EndCause) -> bool {
        let Some(i) = self.parked.iter().position(|parked| parked.visit.has_call() == Some(call)) else { return false };
        let cause = Cause::new(Failure::from(end), words_of(end));
        self.lose_parked_leg(cx, i, &cause);
        let returns = match self.parked[i].visit.origin {
            Origin::Called => false,
            Origin::Configured(_) => true,
            Origin::Invited { .. } | Origin::Asked | Origin::Made | Origin::Transferred { .. } => {
                self.config.invites.returns
            }
        };
        if !(returns && is_lost(cause.failure)) {
            self.fail_parked(cx, i, &cause);
        }
        true
    }

    /// The answer to our hold, or an offer of the mixer: what holds when the call goes on.
    pub(super) fn on_parked_modified(&mut self, call: CallId, media: &Negotiated) {
        let Some(parked) = self.parked.iter_mut().find(|parked| parked.visit.has_call() == Some(call)) else { return };
        let terms = Terms { hold: Hold::On, ..terms(&parked.visit, &self.config) };
        if let Some(up) = parked.visit.up_mut() {
            up.params = stream_params(call, up.params.ssrc, media, up.plan, terms);
        }
    }

    // --- time ----------------------------------------------------------------------------------------------------

    pub(super) fn parked_wakeup(&self) -> Option<Wakeup> {
        let one = |parked: &Parked| {
            let visit = parked.visit.poll_timeout(self.config.rtp.dead_timeout);
            soonest(visit, parked.outgoing.as_ref().and_then(Outgoing::end))
        };
        self.parked.iter().filter_map(one).min_by_key(|wakeup| wakeup.at)
    }

    pub(super) fn on_parked_timeout(&mut self, cx: &mut Cx<'_>) {
        for i in (0..self.parked.len()).rev() {
            let Some(Parked { visit, outgoing, .. }) = self.parked.get_mut(i) else { continue };
            visit.reports.again_at = visit.reports.again_at.filter(|at| *at > cx.now);
            let lost = matches!(visit.membership, Membership::Unproven { until, .. } if until <= cx.now);
            let too_long = outgoing.as_ref().and_then(Outgoing::end).is_some_and(|end| end.at <= cx.now);
            let proves =
                matches!(visit.membership, Membership::Unproven { proof: Proof::Again(at), .. } if at <= cx.now);
            let probes =
                matches!(&visit.leg, Leg::Up(Up { hearing: Hearing::Held { probe_at }, .. }) if *probe_at <= cx.now);
            match (lost, too_long) {
                (true, _) if self.session.is_registered() => {
                    self.fail_parked(cx, i, &Failure::QssLostTooLong.into());
                    continue;
                }
                (true, _) => {
                    self.end_parked(cx, i, &Failure::QssLostTooLong.into());
                    continue;
                }
                (false, true) => {
                    self.end_parked(cx, i, &Failure::CallTooLong.into());
                    continue;
                }
                (false, false) => {}
            }
            if proves {
                self.prove_parked(cx, i);
            }
            if probes {
                self.probe_parked(cx, i);
            }
        }
    }

    /// Asks the mixer whether it still knows the call, by offering again what holds already.
    fn probe_parked(&mut self, cx: &mut Cx<'_>, i: usize) {
        let probe = held(cx.now, self.config.sip.hold_probe);
        let Some(up) = self.parked.get_mut(i).and_then(|parked| parked.visit.up_mut()) else { return };
        up.hearing = probe;
        let (call, plan) = (up.call, up.plan);
        let Some(ports) = self.voice.ports else { return };
        let offer = local(&self.config, ports, plan, Hold::On);
        self.with_sip(cx, |sip, now, out| sip.modify(now, call, offer, out));
    }

    // --- what is told --------------------------------------------------------------------------------------------

    /// For a snapshot.
    pub(super) fn held_calls(&self) -> Vec<RoomRef> {
        self.parked.iter().map(|parked| parked.visit.room_ref()).collect()
    }
}

impl Parked {
    /// By its name, or by the id or URI of its room.
    fn is_called(&self, name: &str) -> bool {
        let Visit { name: own, room, .. } = &self.visit;
        own == name || room.id.as_deref() == Some(name) || room.sip_uri.as_deref() == Some(name)
    }
}
