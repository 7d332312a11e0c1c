//! Invites: who may call the device into a room, and the races between invite, answer and withdrawal.
//!
//! | state                        | accepted inviter                   | anyone else  |
//! |------------------------------|------------------------------------|--------------|
//! | no call                      | answer, go                         | decline_code |
//! | in a call                    | busy_code, or go (`replaces_call`) | decline_code |
//! | in the very room             | answer, stay                       | decline_code |
//! | stopping                     | busy_code                          | busy_code    |

use super::visit::{Leg, Origin};
use super::{Agent, Cx, Phase};
use crate::config;
use crate::qss::message::{self, Body, Invite};
use crate::qss::names::Meaning;
use crate::status::event::{InviteOutcome, Kind};
use crate::status::failure::{Cause, Failure};
use serde_json::{Value, json};

/// What the policy says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Go,
    /// We are in that room already.
    Stay,
    Decline,
    Busy,
}

/// What the device is doing when the invite comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Engagement {
    Free,
    InCall,
    InThisRoom,
    Stopping,
}

fn judge(policy: &config::Invites, invite: &Invite, engagement: Engagement) -> Verdict {
    let known = |name: &str| policy.accept.iter().any(|accepted| accepted == "*" || accepted == name);
    let accepted = known(&invite.from) || invite.username.as_deref().is_some_and(known);
    match (engagement, accepted) {
        (Engagement::Stopping, _) => Verdict::Busy,
        (Engagement::Free | Engagement::InCall | Engagement::InThisRoom, false) => Verdict::Decline,
        (Engagement::InThisRoom, true) => Verdict::Stay,
        (Engagement::InCall, true) if !policy.replaces_call => Verdict::Busy,
        (Engagement::InCall | Engagement::Free, true) => Verdict::Go,
    }
}

impl Agent {
    /// A request of the server, never a duplicate. It is always answered.
    pub(super) fn on_request(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, body: &Body) {
        match Meaning::of(&self.config.qss.names, name) {
            Meaning::Invite => self.on_invite(cx, name, id, body),
            // As a request it asks us, as an event it tells what somebody did.
            Meaning::MuteChange => {
                self.with_session(cx, |session, _, out| session.answer(name, id, json!({}), out));
                self.on_meaning(cx, Meaning::MuteRequest, body);
            }
            meaning @ (Meaning::Expelled
            | Meaning::Destroyed
            | Meaning::MuteRequest
            | Meaning::Participant(_)
            | Meaning::Participants
            | Meaning::ActiveSpeaker
            | Meaning::CallTransfer
            | Meaning::TransferError) => {
                self.with_session(cx, |session, _, out| session.answer(name, id, json!({}), out));
                self.on_meaning(cx, meaning, body);
            }
            Meaning::AttendedTransfer => self.on_attended_transfer(cx, name, id, body),
            Meaning::InviteRequest | Meaning::Unknown => {
                if self.config.qss.refuse_unknown {
                    self.refuse(cx, name, id, 501, "not implemented", Value::Null);
                }
                self.problem(cx, "qss_unknown_request");
            }
        }
    }

    fn on_invite(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, body: &Body) {
        self.reporter.counters.invites += 1;
        let fields = body.fields();
        let Some(invite) = Invite::read(fields) else {
            self.refuse(cx, name, id, 400, "invite without inviter or room", Value::Null);
            let from = fields.text("from").unwrap_or_default();
            let cause = Cause::from(Failure::InviteUnusable);
            return self.invite_event(cx, InviteOutcome::Unusable, id, from, Some(cause));
        };
        let (from, policy) = (invite.from.as_str(), &self.config.invites);
        match judge(policy, &invite, self.engagement(&invite)) {
            Verdict::Decline => {
                let code = policy.decline_code;
                self.refuse(cx, name, id, code, "declined", message::decline_payload(from, code));
                let cause = Cause::from(Failure::InviteDeclined(code.into()));
                self.invite_event(cx, InviteOutcome::Declined, id, from, Some(cause));
            }
            Verdict::Busy => {
                let code = policy.busy_code;
                self.refuse(cx, name, id, code, "busy", message::decline_payload(from, code));
                let cause = Cause::from(Failure::InviteBusy(code.into()));
                self.invite_event(cx, InviteOutcome::Busy, id, from, Some(cause));
            }
            Verdict::Stay => self.accept(cx, name, id, from),
            Verdict::Go => {
                self.accept(cx, name, id, from);
                self.end_visit(cx, &Failure::Replaced.into());
                let origin = Origin::Invited { id: id.to_owned(), accepted_at: cx.now };
                let place = invite.display_name.clone().unwrap_or_else(|| invite.from.clone());
                self.begin_visit(cx, place, origin, invite.room);
            }
        }
    }

    fn accept(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, from: &str) {
        let payload = message::accept_payload(from);
        self.with_session(cx, |session, _, out| session.answer(name, id, payload, out));
        self.invite_event(cx, InviteOutcome::Accepted, id, from, None);
    }

    fn refuse(&mut self, cx: &mut Cx<'_>, name: &str, id: &str, code: u16, message: &str, payload: Value) {
        self.with_session(cx, |session, _, out| session.refuse(name, id, code, message, payload, out));
    }

    fn engagement(&self, invite: &Invite) -> Engagement {
        if self.phase != Phase::Running {
            return Engagement::Stopping;
        }
        let Some(visit) = &self.visit else { return Engagement::Free };
        let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        match visit.leg {
            // A call of our own begins with the making of its room.
            Leg::Due | Leg::Pausing { .. } if visit.origin == Origin::Made => Engagement::InCall,
            Leg::Due | Leg::Pausing { .. } => Engagement::Free,
            Leg::Dialling { .. } | Leg::Up(_)
                if same(&visit.room.id, &invite.room.id) || same(&visit.room.sip_uri, &invite.room.sip_uri) =>
            {
                Engagement::InThisRoom
            }
            Leg::Dialling { .. } | Leg::Up(_) => Engagement::InCall,
        }
    }

    /// The inviter changed their mind, or another device answered first. While the acceptance is fresh it was a race
    /// and we lost it; long after it, the call stands on its own.
    pub(super) fn on_withdrawn(&mut self, cx: &mut Cx<'_>, id: &str, replied: bool) {
        self.on_transfer_withdrawn(cx, id);
        let fresh = self.config.qss.request_timeout;
        let ours = self.visit.as_ref().is_some_and(|visit| match &visit.origin {
            Origin::Invited { id: accepted, accepted_at } => accepted == id && cx.now.since(*accepted_at) < fresh,
            Origin::Configured(_) | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred => false,
        });
        if replied && !ours {
            return;
        }
        let cause = Cause::from(Failure::InviteWithdrawn);
        if ours {
            self.end_visit(cx, &cause);
        }
        self.invite_event(cx, InviteOutcome::Withdrawn, id, "", Some(cause));
    }

    fn invite_event(&mut self, cx: &mut Cx<'_>, outcome: InviteOutcome, id: &str, from: &str, cause: Option<Cause>) {
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
        assert_eq!(judge(&policy, &alice, Engagement::Free), Verdict::Decline, "nobody is accepted by default");
        policy.accept = vec!["alice".into()];
        let rows = [
            (Engagement::Free, false, Verdict::Go),
            (Engagement::InCall, false, Verdict::Busy),
            (Engagement::InCall, true, Verdict::Go),
            (Engagement::InThisRoom, false, Verdict::Stay),
            (Engagement::Stopping, true, Verdict::Busy),
        ];
        for (engagement, replaces_call, verdict) in rows {
            policy.replaces_call = replaces_call;
            assert_eq!(judge(&policy, &alice, engagement), verdict, "{engagement:?}");
        }
        assert_eq!(judge(&policy, &invite("mallory", None), Engagement::InCall), Verdict::Decline);
        policy.accept = vec!["*".into()];
        assert_eq!(judge(&policy, &invite("mallory", None), Engagement::Free), Verdict::Go);
    }
}
