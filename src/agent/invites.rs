//! Invites: who may call the device into a room, and the races between invite, answer and withdrawal.
//!
//! | state                        | accepted inviter                   | anyone else  |
//! |------------------------------|------------------------------------|--------------|
//! | no call                      | answer, go                         | decline_code |
//! | in a call as important       | busy_code, or go (`replaces_call`) | decline_code |
//! | in a call less important     | answer, go                         | decline_code |
//! | in a call more important     | busy_code                          | decline_code |
//! | in a call that can wait      | answer, go, unless more important  | decline_code |
//! | in the very room             | answer, stay                       | decline_code |
//! | stopping                     | busy_code                          | busy_code    |
//!
//! A call can wait on hold under `calls.limit` ([`parked`](super::parked)); one to whose room the invite is and that
//! waits already needs no further place.
//!
//! A call that somebody wanted counts from its acceptance to its end: also while joinRoom is on its way and while it is
//! dialled again.

use super::hunt::Plan;
use super::outgoing::Order;
use super::visit::Origin;
use super::{Agent, Cx, Phase};
use crate::config::{self, Caller, CallerAction, RequestRoom};
use crate::qss::message::{self, Body, Invite, InviteRequest};
use crate::qss::names::Meaning;
use crate::status::conference::{MediaTypes, RoomEvent};
use crate::status::event::{InviteOutcome, Kind};
use crate::status::failure::{Cause, Failure};
use crate::time::Span;
use serde_json::{Value, json};

/// Of the inviter's own words (`context`), so many and so long ones are told.
const MAX_WORDS: usize = 16;
const LONGEST_WORD: usize = 200;

/// What the policy says.
#[derive(Clone, PartialEq, Debug)]
enum Verdict {
    Go {
        priority: u8,
    },
    /// We are in that room already.
    Stay,
    /// By this rule: until a person, or time, answers.
    Ring(Caller),
    Decline,
    Busy,
}

/// What the device is doing when the invite comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Engagement {
    Free,
    InCall {
        priority: u8,
    },
    /// In a call that waits on hold for one that is not less important.
    CanWait {
        priority: u8,
    },
    InThisRoom,
    Stopping,
}

/// The first rule that fits; without one, the list of those who are accepted.
fn rule(policy: &config::Invites, invite: &Invite) -> Caller {
    let fits = |entries: &[String]| entries.iter().any(|entry| names(entry, invite));
    let room = |rooms: &[String]| rooms.is_empty() || invite.room.id.as_ref().is_some_and(|id| rooms.contains(id));
    let found = policy.callers.iter().find(|rule| fits(&rule.from) && room(&rule.rooms));
    let does = if fits(&policy.accept) { CallerAction::Accept } else { CallerAction::Reject };
    found.cloned().unwrap_or_else(|| Caller { does, ..Caller::default() })
}

/// `*` is everyone, `*@domain` everyone of a domain.
fn names(entry: &str, invite: &Invite) -> bool {
    let is = |name: &str| entry == name || entry.strip_prefix('*').is_some_and(|end| name.ends_with(end));
    is(&invite.from) || invite.username.as_deref().is_some_and(is)
}

fn judge(policy: &config::Invites, invite: &Invite, engagement: Engagement) -> Verdict {
    let rule = rule(policy, invite);
    match (engagement, rule.does) {
        (Engagement::Stopping, _) => Verdict::Busy,
        (_, CallerAction::Reject) => Verdict::Decline,
        (_, CallerAction::Busy) => Verdict::Busy,
        (Engagement::InThisRoom, CallerAction::Accept | CallerAction::Ring) => Verdict::Stay,
        (_, CallerAction::Accept | CallerAction::Ring) if !gets_in(policy, &rule, engagement) => Verdict::Busy,
        (_, CallerAction::Accept) if rule.after == Span::ZERO => Verdict::Go { priority: rule.priority },
        (_, CallerAction::Accept | CallerAction::Ring) => Verdict::Ring(rule),
    }
}

/// Whether there is a place for an invite by this rule: the present call's, or one beside it.
pub(super) fn gets_in(policy: &config::Invites, rule: &Caller, engagement: Engagement) -> bool {
    match engagement {
        Engagement::Free | Engagement::InThisRoom | Engagement::Stopping => true,
        Engagement::InCall { priority } => {
            rule.priority > priority || (rule.priority == priority && policy.replaces_call)
        }
        Engagement::CanWait { priority } => rule.priority >= priority,
    }
}

impl Agent {
    /// A request of the server, never a duplicate. It is always answered.
    pub(super) fn on_request(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, body: &Body) {
        let meaning = Meaning::of(&self.config.qss.names, name);
        if !matches!(meaning, Meaning::Unknown | Meaning::StatusEvent) {
            self.count_unknown_fields(cx, body);
        }
        match meaning {
            Meaning::Invite => self.on_invite(cx, name, id, body),
            // As a request it asks us, as an event it tells what somebody did.
            Meaning::MuteChange => {
                self.with_session(cx, |session, _, out| session.answer(name, id, json!({}), out));
                self.on_meaning(cx, name, Meaning::MuteRequest, body);
            }
            meaning @ (Meaning::Expelled
            | Meaning::Destroyed
            | Meaning::MuteRequest
            | Meaning::Participant(_)
            | Meaning::Participants
            | Meaning::ActiveSpeaker
            | Meaning::Snapshot
            | Meaning::CallTransfer
            | Meaning::TransferError) => {
                self.with_session(cx, |session, _, out| session.answer(name, id, json!({}), out));
                self.on_meaning(cx, name, meaning, body);
            }
            Meaning::AttendedTransfer => self.on_attended_transfer(cx, name, id, body),
            Meaning::InviteRequest => self.on_invite_request(cx, name, id, body),
            Meaning::StatusEvent | Meaning::Unknown => {
                if self.config.qss.refuse_unknown {
                    self.refuse(cx, name, id, self.config.qss.codes.say_unknown, "not implemented", Value::Null);
                }
                self.not_understood(cx, "qss_unknown_request", name, 1, body);
            }
        }
    }

    fn on_invite(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, body: &Body) {
        self.reporter.counters.invites += 1;
        let fields = body.fields();
        let Some(invite) = Invite::read(fields) else {
            self.refuse(
                cx,
                name,
                id,
                self.config.qss.codes.say_malformed,
                "invite without inviter or room",
                Value::Null,
            );
            let from = fields.text(&fields.reads.from).unwrap_or_default();
            let cause = Cause::from(Failure::InviteUnusable);
            return self.invite_event(cx, InviteOutcome::Unusable, id, from, Some(cause));
        };
        self.consider(cx, name, id, invite);
    }

    /// An invite that was never seen before.
    pub(super) fn consider(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, invite: Invite) {
        let from = invite.from.clone();
        if self.is_asked_for(&invite) {
            return self.follow_invitation(cx, name, id, invite);
        }
        let verdict = judge(&self.config.invites, &invite, self.engagement(&invite));
        match verdict {
            Verdict::Stay | Verdict::Go { .. } | Verdict::Ring(_) => self.tell_invitation(cx, id, &invite),
            Verdict::Decline | Verdict::Busy => {}
        }
        match verdict {
            Verdict::Decline => self.decline(cx, name, id, &from, self.config.invites.decline_code),
            Verdict::Busy => self.say_busy(cx, name, id, &from),
            Verdict::Stay => self.accept(cx, name, id, &from),
            Verdict::Go { priority } => self.go(cx, name, id, invite, priority),
            Verdict::Ring(rule) => {
                if !self.ring(cx, name, id, invite, rule) {
                    self.say_busy(cx, name, id, &from);
                }
            }
        }
    }

    /// The invite that we have asked for. A call that has begun meanwhile is not ended for it.
    fn follow_invitation(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, invite: Invite) {
        match self.engagement(&invite) {
            Engagement::Stopping => self.say_busy(cx, name, id, &invite.from),
            Engagement::InCall { .. } if self.is_engaged() => {
                self.withdraw_invitation_request(cx);
                self.say_busy(cx, name, id, &invite.from);
            }
            Engagement::Free | Engagement::InCall { .. } | Engagement::CanWait { .. } | Engagement::InThisRoom => {
                self.invitation_came(cx, &invite);
                self.go(cx, name, id, invite, 0);
            }
        }
    }

    /// Somebody asks to be invited. Who may, is called by us, or invited into the room we are in.
    fn on_invite_request(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, body: &Body) {
        let Some(asked) = InviteRequest::read(body.fields()) else {
            return self.refuse(cx, name, id, self.config.qss.codes.say_malformed, "nobody to be invited", Value::Null);
        };
        let who = Invite { from: asked.from.clone(), username: asked.username.clone(), ..Invite::default() };
        let (policy, from) = (&self.config.invites, asked.from.as_str());
        if !policy.requests.iter().any(|entry| names(entry, &who)) {
            return self.decline(cx, name, id, from, policy.decline_code);
        }
        let request_id = asked.id.clone().unwrap_or_else(|| id.to_owned());
        let present = policy.request_room == RequestRoom::Present && self.phase == Phase::Running;
        let invited = (present && self.invite_here(cx, from, &request_id)) || {
            let call = self.config.calls.plain.clone();
            let name = asked.display_name.clone().unwrap_or_else(|| from.to_owned());
            let plan = Plan::of(&call, vec![from.to_owned()], Vec::new());
            let order =
                Order { name, plan, record: call.record, request_id: Some(request_id), frame_id: Some(id.to_owned()) };
            self.phase == Phase::Running && self.call_out(cx, order).is_ok()
        };
        if !invited {
            return self.say_busy(cx, name, id, from);
        }
        self.accept(cx, name, id, from);
        self.emit_room(cx, RoomEvent::ConferenceInvitationRequest { id: id.to_owned(), from: from.to_owned() }, None);
    }

    /// The SDK's event of an invitation, with as many of the inviter's own words as a person may need.
    fn tell_invitation(&mut self, cx: &mut Cx<'_>, id: &str, invite: &Invite) {
        let short = |text: &str| text.chars().take(LONGEST_WORD).collect::<String>();
        let words = invite.context.iter().take(MAX_WORDS);
        let event = RoomEvent::ConferenceInvitation {
            id: id.to_owned(),
            from: invite.from.clone(),
            display_name: invite.display_name.as_deref().map(short),
            room_id: invite.room.id.clone(),
            media_types: MediaTypes {
                audio: invite.media.audio,
                video: invite.media.video,
                screen: invite.media.screen,
            },
            context: words.map(|(key, value)| (short(key), short(value))).collect(),
        };
        self.emit_room(cx, event, None);
    }

    pub(super) fn decline(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, from: &str, code: u16) {
        self.refuse(cx, name, id, code, "declined", message::decline_payload(&self.config.qss.names, from, code));
        let cause = Cause::from(Failure::InviteDeclined(code.into()));
        self.invite_event(cx, InviteOutcome::Declined, id, from, Some(cause));
    }

    pub(super) fn say_busy(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, from: &str) {
        let code = self.config.invites.busy_code;
        self.refuse(cx, name, id, code, "busy", message::decline_payload(&self.config.qss.names, from, code));
        let cause = Cause::from(Failure::InviteBusy(code.into()));
        self.invite_event(cx, InviteOutcome::Busy, id, from, Some(cause));
    }

    pub(super) fn accept(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, from: &str) {
        let payload = message::accept_payload(&self.config.qss.names, from);
        self.with_session(cx, |session, _, out| session.answer(name, id, payload, out));
        self.invite_event(cx, InviteOutcome::Accepted, id, from, None);
    }

    pub(super) fn refuse(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, code: u16, message: &str, payload: Value) {
        self.with_session(cx, |session, _, out| session.refuse(name, id, code, message, payload, out));
    }

    pub(super) fn engagement(&self, invite: &Invite) -> Engagement {
        if self.phase != Phase::Running {
            return Engagement::Stopping;
        }
        let Some(visit) = &self.visit else { return Engagement::Free };
        let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        let here = same(&visit.room.id, &invite.room.id) || same(&visit.room.sip_uri, &invite.room.sip_uri);
        match (&visit.origin, visit.has_call()) {
            // On its way there, or to be dialled again: nothing is lost.
            (Origin::Configured(_), None) => Engagement::Free,
            (_, _) if here => Engagement::InThisRoom,
            (origin, _) if self.can_wait() && (self.has_place() || self.parked_in(&invite.room).is_some()) => {
                Engagement::CanWait { priority: origin.priority() }
            }
            // What somebody wanted keeps its place also while it waits for joinRoom or for a redial.
            (origin, _) => Engagement::InCall { priority: origin.priority() },
        }
    }

    /// The inviter changed their mind, or another device answered first. While the acceptance is fresh it was a race
    /// and we lost it; long after it, the call stands on its own.
    pub(super) fn on_withdrawn(&mut self, cx: &mut Cx<'_>, id: &str, replied: bool) {
        self.on_transfer_withdrawn(cx, id);
        let fresh = self.config.qss.request_timeout;
        let ours = self.visit.as_ref().is_some_and(|visit| match &visit.origin {
            Origin::Invited { id: accepted, accepted_at, .. } => accepted == id && cx.now.since(*accepted_at) < fresh,
            Origin::Configured(_) | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred { .. } => false,
        });
        let cause = Cause::from(Failure::InviteWithdrawn);
        if self.request_withdrawn(cx, id) {
            return;
        }
        let waited = self.withdraw_parked(cx, id, &cause);
        if replied && !ours && !waited {
            return;
        }
        let rang = self.forget_pending(cx, id);
        if ours {
            self.end_visit(cx, &cause);
        }
        let from = rang.map_or_else(String::new, |pending| pending.invite.from);
        self.invite_event(cx, InviteOutcome::Withdrawn, id, &from, Some(cause));
    }

    pub(super) fn invite_event(
        &mut self,
        cx: &mut Cx<'_>,
        outcome: InviteOutcome,
        id: &str,
        from: &str,
        cause: Option<Cause>,
    ) {
        self.emit(cx, Kind::Invite { outcome, id: id.to_owned(), from: from.to_owned() }, cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(from: &str, username: Option<&str>) -> Invite {
        Invite { from: from.into(), username: username.map(str::to_owned), ..Invite::default() }
    }

    #[test]
    fn the_policy_is_a_table() {
        let mut policy = config::Config::default().invites;
        let alice = invite("5da6", Some("alice"));
        let (go, in_call) = (Verdict::Go { priority: 0 }, Engagement::InCall { priority: 0 });
        assert_eq!(judge(&policy, &alice, Engagement::Free), Verdict::Decline, "nobody is accepted by default");
        policy.accept = vec!["alice".into()];
        let rows = [
            (Engagement::Free, false, go.clone()),
            (in_call, false, Verdict::Busy),
            (in_call, true, go.clone()),
            (Engagement::InThisRoom, false, Verdict::Stay),
            (Engagement::Stopping, true, Verdict::Busy),
        ];
        for (engagement, replaces_call, verdict) in rows {
            policy.replaces_call = replaces_call;
            assert_eq!(judge(&policy, &alice, engagement), verdict, "{engagement:?}");
        }
        assert_eq!(judge(&policy, &invite("mallory", None), in_call), Verdict::Decline);
        policy.accept = vec!["*".into()];
        assert_eq!(judge(&policy, &invite("mallory", None), Engagement::Free), go);
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let mut policy = config::Config::default().invites;
        policy.accept = vec!["*".into()];
        let rule = |from: &str, does| Caller { from: vec![from.into()], does, ..Caller::default() };
        let ring = rule("*@example.org", CallerAction::Ring);
        let page = Caller { priority: 9, ..rule("fire", CallerAction::Accept) };
        let late = Caller { after: Span::from_secs(3), rooms: vec!["r1".into()], ..rule("bob", CallerAction::Accept) };
        policy.callers = vec![
            rule("eve@example.org", CallerAction::Reject),
            ring.clone(),
            page,
            late.clone(),
            rule("dan", CallerAction::Busy),
        ];
        let verdict = |from: &str, engagement| judge(&policy, &invite(from, None), engagement);
        let (low, high) = (Engagement::InCall { priority: 0 }, Engagement::InCall { priority: 9 });
        assert_eq!(verdict("eve@example.org", Engagement::Free), Verdict::Decline);
        assert_eq!(verdict("ann@example.org", Engagement::Free), Verdict::Ring(ring));
        assert_eq!(verdict("ann@example.org", low), Verdict::Busy, "it is no more important than the call");
        assert_eq!(verdict("fire", low), Verdict::Go { priority: 9 });
        assert_eq!(verdict("fire", high), Verdict::Busy, "the same importance takes nothing");
        let replacing = config::Invites { replaces_call: true, ..policy.clone() };
        let replaces = |from: &str, engagement| judge(&replacing, &invite(from, None), engagement);
        assert_eq!(replaces("bob", low), Verdict::Go { priority: 0 });
        assert_eq!(replaces("bob", high), Verdict::Busy, "nothing takes the place of what is more important");
        assert_eq!(verdict("dan", Engagement::Free), Verdict::Busy);
        assert_eq!(verdict("bob", Engagement::Free), Verdict::Go { priority: 0 }, "another room than the rule's");
        let mut bob = invite("5", Some("bob"));
        bob.room.id = Some("r1".into());
        assert_eq!(judge(&policy, &bob, Engagement::Free), Verdict::Ring(late));
    }
}
