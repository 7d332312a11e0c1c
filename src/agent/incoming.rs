//! Calls to the device (`sip.incoming = "accept"`): a call that is answered is the visit, named after its caller.
//!
//! | state                | allowed caller           | anyone else |
//! |----------------------|--------------------------|-------------|
//! | no call              | rings `sip.ring`, answer | 403         |
//! | in a call, ringing   | 486                      | 403         |
//! | in one that can wait | rings `sip.ring`, answer | 403         |
//! | stopping, no socket  | 480                      | 480         |
//!
//! A call of no higher priority than 0 can wait, under `calls.limit` ([`parked`](super::parked)).
//!
//! In status events such a call is an invite: accepted, declined, busy, or withdrawn by who hung up while it rang.

use super::offer::local;
use super::visit::{Hold, Leg, Origin};
use super::{Agent, CardUse, Cx, Phase};
use crate::config;
use crate::media::command::Command;
use crate::media::tone::Tone;
use crate::qss::message::Room;
use crate::sip::endpoint::{CallId, Caller};
use crate::status::event::{InviteOutcome, Kind};
use crate::status::failure::{Cause, Failure};
use crate::time::{Span, Time, Wakeup};
use std::net::{IpAddr, SocketAddr};

/// A call that rings here.
#[derive(Debug)]
pub(super) struct Ringing {
    call: CallId,
    caller: Caller,
    answer_at: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Answer,
    Decline,
    Busy,
    Unable,
}

/// What the device is doing when the call comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Engagement {
    Free,
    Engaged,
    Unable,
}

/// 403, 486, 480 (RFC 3261 21.4).
const FORBIDDEN: u16 = 403;
const BUSY: u16 = 486;
const UNAVAILABLE: u16 = 480;

fn judge(policy: &config::Sip, caller: &Caller, source: IpAddr, engagement: Engagement) -> Verdict {
    let from_peer = policy.peers.is_empty()
        || policy.peers.iter().any(|peer| peer.parse::<IpAddr>().is_ok_and(|ip| ip == source.to_canonical()));
    let allowed = from_peer && policy.callers.iter().any(|known| is_called(known, &caller.uri));
    match (engagement, allowed) {
        (Engagement::Unable, _) => Verdict::Unable,
        (Engagement::Free | Engagement::Engaged, false) => Verdict::Decline,
        (Engagement::Engaged, true) => Verdict::Busy,
        (Engagement::Free, true) => Verdict::Answer,
    }
}

/// `known`: `*`, the whole URI, `user@host` or the user alone.
fn is_called(known: &str, uri: &str) -> bool {
    let address = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let address = address.split([';', '?']).next().unwrap_or_default();
    let user = address.split_once('@').map(|(user, _)| user);
    known == "*" || known == uri || user.is_some_and(|user| known == address || known == user)
}

impl Agent {
    pub(super) fn on_incoming(&mut self, cx: &mut Cx<'_>, call: CallId, caller: Caller, source: SocketAddr) {
        let engagement = match (self.phase, self.voice.ports, &self.ringing) {
            (Phase::Asleep | Phase::Stopping { .. } | Phase::Gone, ..) | (_, None, ..) => Engagement::Unable,
            (Phase::Running, Some(_), Some(_)) => Engagement::Engaged,
            (Phase::Running, Some(_), None) if self.is_taken() => Engagement::Engaged,
            (Phase::Running, Some(_), None) => Engagement::Free,
        };
        self.reporter.counters.invites += 1;
        let (status, outcome, failure) = match judge(&self.config.sip, &caller, source.ip(), engagement) {
            Verdict::Answer => {
                let answer_at = cx.now + self.config.sip.ring;
                self.ringing = Some(Ringing { call, caller, answer_at });
                if answer_at > cx.now {
                    self.with_sip(cx, |sip, now, out| sip.ring(now, call, out));
                    self.tone(cx, Tone::Ring);
                }
                return self.on_ringing_timeout(cx);
            }
            Verdict::Decline => (FORBIDDEN, InviteOutcome::Declined, Failure::InviteDeclined(FORBIDDEN.into())),
            Verdict::Busy => (BUSY, InviteOutcome::Busy, Failure::InviteBusy(BUSY.into())),
            Verdict::Unable => (UNAVAILABLE, InviteOutcome::Busy, Failure::InviteBusy(UNAVAILABLE.into())),
        };
        self.with_sip(cx, |sip, now, out| sip.refuse(now, call, status, out));
        self.called(cx, outcome, call, &caller.uri, Some(failure.into()));
    }

    pub(super) fn ringing_wakeup(&self) -> Option<Wakeup> {
        self.ringing.as_ref().map(|ringing| Wakeup::new(ringing.answer_at, "answer a call"))
    }

    /// It has rung long enough: the call is answered, unless the device has got another one meanwhile.
    pub(super) fn on_ringing_timeout(&mut self, cx: &mut Cx<'_>) {
        let Some(Ringing { call, caller, .. }) = self.ringing.take_if(|ringing| ringing.answer_at <= cx.now) else {
            return;
        };
        self.stop_ringing(cx);
        let ports = match (self.voice.ports, self.is_taken()) {
            (Some(ports), false) => ports,
            (None, _) | (_, true) => {
                self.with_sip(cx, |sip, now, out| sip.refuse(now, call, BUSY, out));
                let cause = Cause::from(Failure::InviteBusy(BUSY.into()));
                return self.called(cx, InviteOutcome::Busy, call, &caller.uri, Some(cause));
            }
        };
        self.make_way(cx, 0);
        let name = if caller.name.is_empty() { caller.uri.clone() } else { caller.name.clone() };
        self.begin_visit(cx, name, Origin::Called, Room::default());
        let Some(plan) = self.visit.as_ref().map(|visit| self.plan(visit)) else { return };
        if self.voice.card == CardUse::Closed {
            self.voice.card = CardUse::Opened;
            self.media(cx, Command::Open);
        }
        if let Some(visit) = &mut self.visit {
            visit.leg = Leg::Dialling { call, target: caller.uri.clone(), plan, early: None };
        }
        let offer = local(&self.config, ports, plan, Hold::Off);
        self.called(cx, InviteOutcome::Accepted, call, &caller.uri, None);
        self.with_sip(cx, |sip, now, out| sip.answer(now, call, offer, out));
    }

    /// The caller gave up while it rang.
    pub(super) fn on_caller_gone(&mut self, cx: &mut Cx<'_>, call: CallId) {
        if let Some(Ringing { caller, .. }) = self.ringing.take_if(|ringing| ringing.call == call) {
            self.stop_ringing(cx);
            let cause = Cause::from(Failure::InviteWithdrawn);
            self.called(cx, InviteOutcome::Withdrawn, call, &caller.uri, Some(cause));
        }
    }

    /// The process stops.
    pub(super) fn refuse_ringing(&mut self, cx: &mut Cx<'_>) {
        if let Some(Ringing { call, .. }) = self.ringing.take() {
            self.stop_ringing(cx);
            self.with_sip(cx, |sip, now, out| sip.refuse(now, call, UNAVAILABLE, out));
        }
    }

    /// In a call, or on the way to one that somebody wanted, which does not wait on hold for a call by SIP.
    fn is_taken(&self) -> bool {
        let Some(visit) = &self.visit else { return false };
        let waits = visit.origin.priority() == 0 && self.can_wait() && self.has_place();
        (self.is_engaged() || visit.has_call().is_some()) && !waits
    }

    fn stop_ringing(&mut self, cx: &mut Cx<'_>) {
        if self.config.sip.ring > Span::ZERO && self.config.audio.tones {
            self.media(cx, Command::ToneStop);
        }
    }

    fn called(&mut self, cx: &mut Cx<'_>, outcome: InviteOutcome, call: CallId, from: &str, cause: Option<Cause>) {
        self.emit(cx, Kind::Invite { outcome, id: format!("sip-{}", call.0), from: from.to_owned() }, cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_a_table() {
        let mut policy = config::Config::default().sip;
        let caller = |uri: &str| Caller { uri: uri.into(), name: String::new() };
        let mixer: IpAddr = "192.0.2.9".parse().expect("an address");
        let from = |policy: &config::Sip, uri: &str, ip: IpAddr| judge(policy, &caller(uri), ip, Engagement::Free);
        let alice = "sip:alice@mixer.example:5080;transport=udp";
        assert_eq!(from(&policy, alice, mixer), Verdict::Decline, "nobody by default");
        for known in ["alice", "alice@mixer.example:5080", alice, "*"] {
            policy.callers = vec![known.into()];
            assert_eq!(from(&policy, alice, mixer), Verdict::Answer, "{known}");
            assert_eq!(judge(&policy, &caller(alice), mixer, Engagement::Engaged), Verdict::Busy);
            assert_eq!(judge(&policy, &caller(alice), mixer, Engagement::Unable), Verdict::Unable);
        }
        policy.callers = vec!["alice".into()];
        assert_eq!(from(&policy, "sip:malice@mixer.example", mixer), Verdict::Decline);
        assert_eq!(from(&policy, "sip:alice", mixer), Verdict::Decline, "a host is no user");
        policy.peers = vec!["192.0.2.9".into()];
        assert_eq!(from(&policy, alice, mixer), Verdict::Answer);
        assert_eq!(from(&policy, alice, "::ffff:192.0.2.9".parse().expect("an address")), Verdict::Answer);
        assert_eq!(from(&policy, alice, "192.0.2.10".parse().expect("an address")), Verdict::Decline);
    }
}
