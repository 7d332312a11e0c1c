//! Invites that ring: a bounded list, from which a person, time or the inviter takes them.
//!
//! ```text
//!   rung by its rule ---> pending ---+--> answered by a person (`answer`), or by itself after `after_ms`
//!                                    +--> rejected by a person (`reject`)
//!                                    +--> rung long enough: `invites.unanswered_code`, or silence
//!                                    +--> withdrawn: the inviter gave up, or another device answered
//! ```
//!
//! Several may ring at once; what is answered or rejected without an id is the most important of them, and of those the
//! first. A lost session ends no ringing: after the next registration the QSS is asked what is still pending.

use super::invites::{Engagement, gets_in};
use super::visit::Origin;
use super::{Agent, Cx};
use crate::config::{Caller, CallerAction};
use crate::media::command::Command;
use crate::media::tone::Tone;
use crate::qss::message::{self, Invite};
use crate::qss::session::Reply;
use crate::status::event::InviteOutcome;
use crate::status::failure::{Cause, Failure};
use crate::time::{Time, Wakeup, soonest};

/// Invites that ring at once; more are told that the device is busy.
const MAX_PENDING: usize = 8;

#[derive(Debug)]
pub(super) struct Pending {
    /// The word it came by: it is answered under the same.
    pub(super) word: String,
    pub(super) id: String,
    pub(super) invite: Invite,
    pub(super) rule: Caller,
    until: Time,
}

impl Agent {
    /// Rings; false: too many do.
    pub(super) fn ring(&mut self, cx: &mut Cx<'_>, word: &str, id: &str, invite: Invite, rule: Caller) -> bool {
        if self.pending.len() >= MAX_PENDING {
            return false;
        }
        let until = match rule.does {
            CallerAction::Accept => cx.now + rule.after,
            CallerAction::Ring | CallerAction::Reject | CallerAction::Busy => cx.now + rule.ring,
        };
        let from = invite.from.clone();
        let rang = self.rings();
        self.pending.push(Pending { word: word.to_owned(), id: id.to_owned(), invite, rule, until });
        self.follow_bell(cx, rang);
        self.invite_event(cx, InviteOutcome::Ringing, id, &from, None);
        true
    }

    /// A person answers the invite with this id, or the most important one. False: none rings.
    pub(super) fn answer_pending(&mut self, cx: &mut Cx<'_>, id: Option<&str>) -> bool {
        let Some(pending) = self.take_pending(cx, id) else { return false };
        self.go(cx, &pending.word, &pending.id, pending.invite, pending.rule.priority);
        true
    }

    /// A person rejects it.
    pub(super) fn reject_pending(&mut self, cx: &mut Cx<'_>, id: Option<&str>, code: Option<u16>) -> bool {
        let Some(Pending { word, id, invite, .. }) = self.take_pending(cx, id) else { return false };
        let code = code.unwrap_or(self.config.invites.decline_code);
        self.decline(cx, &word, &id, &invite.from, code);
        true
    }

    /// Withdrawn by the inviter; whether it rang.
    pub(super) fn forget_pending(&mut self, cx: &mut Cx<'_>, id: &str) -> Option<Pending> {
        let i = self.pending.iter().position(|pending| pending.id == id)?;
        let rang = self.rings();
        let pending = self.pending.remove(i);
        self.follow_bell(cx, rang);
        Some(pending)
    }

    pub(super) fn pending_wakeup(&self) -> Option<Wakeup> {
        let rings = self.pending.iter().map(|pending| Wakeup::new(pending.until, "ringing invite"));
        soonest(rings.min_by_key(|w| w.at), self.invites_again.map(|at| Wakeup::new(at, "current invitations")))
    }

    pub(super) fn on_pending_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.invites_again.is_some_and(|at| at <= cx.now) {
            self.ask_for_invites(cx);
        }
        while let Some(id) = self.pending.iter().find(|pending| pending.until <= cx.now).map(|p| p.id.clone()) {
            let Some(Pending { word, id, invite, rule, .. }) = self.forget_pending(cx, &id) else { return };
            match rule.does {
                CallerAction::Accept => match gets_in(&self.config.invites, &rule, self.engagement(&invite)) {
                    true => self.go(cx, &word, &id, invite, rule.priority),
                    false => self.say_busy(cx, &word, &id, &invite.from),
                },
                CallerAction::Ring | CallerAction::Reject | CallerAction::Busy => {
                    if rule.decline {
                        let code = self.config.invites.unanswered_code;
                        let payload = message::decline_payload(&self.config.qss.names, &invite.from, code);
                        self.refuse(cx, &word, &id, code, "nobody answers", payload);
                    }
                    let cause = Cause::from(Failure::InviteUnanswered);
                    self.invite_event(cx, InviteOutcome::Unanswered, &id, &invite.from, Some(cause));
                }
            }
        }
    }

    /// The process stops: nobody will answer.
    pub(super) fn refuse_pending(&mut self, cx: &mut Cx<'_>) {
        while let Some(Pending { word, id, invite, .. }) = self.take_pending(cx, None) {
            self.say_busy(cx, &word, &id, &invite.from);
        }
    }

    // --- after a reconnect -----------------------------------------------------------------------------------------

    /// Asks the QSS which invites are still pending.
    pub(super) fn ask_for_invites(&mut self, cx: &mut Cx<'_>) {
        self.invites_again = None;
        if let Some(request) = message::current_invitations(&self.config.qss.names) {
            self.invites_asked =
                self.with_session(cx, |session, now, out| session.request(now, &request.name, request.payload, out));
        }
    }

    /// What we have not heard of comes in as any invite; what rings here and is not in the list is over. A QSS that is
    /// silent is asked again after a pause.
    pub(super) fn on_current_invites(&mut self, cx: &mut Cx<'_>, reply: &Reply) {
        let body = match reply {
            Reply::Answer(body) => body,
            Reply::TimedOut => {
                self.problem(cx, "qss_no_reply");
                self.invites_again = Some(cx.now + self.config.qss.request_timeout);
                return;
            }
            Reply::Refused { .. } | Reply::LinkLost => return,
        };
        let current = message::read_current_invitations(body.fields());
        let over: Vec<String> = self.pending.iter().map(|p| p.id.clone()).collect();
        // An answer that has no list says nothing about what is over.
        let listed = message::lists_invitations(body.fields());
        for id in over.into_iter().filter(|id| listed && current.iter().all(|(listed, _)| listed != id)) {
            if let Some(pending) = self.forget_pending(cx, &id) {
                let cause = Cause::from(Failure::InviteWithdrawn);
                self.invite_event(cx, InviteOutcome::Withdrawn, &id, &pending.invite.from, Some(cause));
            }
        }
        let word = self.config.qss.names.invite.first().cloned().unwrap_or_default();
        for (id, invite) in current {
            if self.with_session(cx, |session, _, out| session.arrived(&id, out)) {
                self.consider(cx, &word, &id, invite);
            }
        }
    }

    // --- helpers -----------------------------------------------------------------------------------------------------

    fn take_pending(&mut self, cx: &mut Cx<'_>, id: Option<&str>) -> Option<Pending> {
        let id = match id {
            Some(id) => id.to_owned(),
            None => {
                let highest = self.pending.iter().map(|pending| pending.rule.priority).max()?;
                self.pending.iter().find(|pending| pending.rule.priority == highest)?.id.clone()
            }
        };
        self.forget_pending(cx, &id)
    }

    fn rings(&self) -> bool {
        self.pending.iter().any(|pending| pending.rule.tone)
    }

    /// The ring tone begins with the first and ends with the last that rings.
    fn follow_bell(&mut self, cx: &mut Cx<'_>, rang: bool) {
        match (rang, self.rings()) {
            (false, true) => self.tone(cx, Tone::Ring),
            (true, false) => self.media(cx, Command::ToneStop),
            (true, true) | (false, false) => {}
        }
    }

    /// The invite is accepted: the present call waits on hold, or its room is left, for the one it is into.
    pub(super) fn go(&mut self, cx: &mut Cx<'_>, word: &str, id: &str, invite: Invite, priority: u8) {
        let here = self.engagement(&invite) == Engagement::InThisRoom;
        self.accept(cx, word, id, &invite.from);
        if here {
            return;
        }
        if let Some(i) = self.parked_in(&invite.room) {
            return self.turn_to(cx, i, priority);
        }
        self.make_way(cx, priority);
        let origin = Origin::Invited { id: id.to_owned(), accepted_at: cx.now, priority };
        let place = invite.display_name.clone().unwrap_or_else(|| invite.from.clone());
        self.begin_visit(cx, place, origin, invite.room);
    }
}
