//! The hunt: who of a list is invited when, until one comes or nobody does. It knows neither wire nor room.
//!
//! ```text
//!             in turn: nobody else rings
//!             at once: immediately                 accepted
//!   Waiting ------------------------------> Ringing --------> the hunt is over, the others are withdrawn
//!      ^                                     |    |
//!      |   the session was lost              |    | refused, or `ring` is over (withdrawn with 487)
//!      +-------------------------------------+    v
//!                                               Over
//! ```
//!
//! An invite that a lost session leaves open is sent again under its id: it is the same invite, which a QSS that still
//! knows it takes for a repetition. Whoever is in the room already has come, whatever became of the invite.
//!
//! A withdrawal and an acceptance may cross on their way: who accepts late is in the room, and counts.

use crate::config::{Call, HuntMode as Mode, QssCodes};
use crate::qss::message::{self, Fields, InviteReply};
use crate::qss::requests::Ticket;
use crate::qss::session::Reply;
use crate::status::conference::{Invitation, InvitationState};
use crate::status::event::Outcome;
use crate::time::{Span, Time, Wakeup};
use std::collections::BTreeSet;

/// Words that go with an invite.
pub(super) type Context = Vec<(String, String)>;

/// Who is called, and how.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plan {
    pub(super) targets: Vec<Invitee>,
    pub(super) mode: Mode,
    /// How long each rings.
    pub(super) ring: Span,
    /// How long the whole hunt may take.
    pub(super) total: Span,
}

/// Somebody who is to be invited.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Invitee {
    pub(super) user: String,
    pub(super) context: Context,
}

impl Plan {
    /// As a `[[call]]` says, for these users; a word of `context` comes before the configured one.
    pub(super) fn of(call: &Call, users: Vec<String>, context: Context) -> Plan {
        Plan { targets: Invitee::all(call, users, context), mode: call.mode, ring: call.ring, total: call.total }
    }
}

impl Invitee {
    pub(super) fn all(call: &Call, users: Vec<String>, context: Context) -> Vec<Invitee> {
        let context = merged(&call.context, context);
        users.into_iter().map(|user| Invitee { user, context: context.clone() }).collect()
    }
}

/// The configured words, and those of a command, which come first.
pub(super) fn merged(configured: &[(String, String)], mut context: Context) -> Context {
    let missing = configured.iter().filter(|(key, _)| context.iter().all(|(given, _)| given != key));
    let missing: Vec<_> = missing.cloned().collect();
    context.extend(missing);
    context
}

#[derive(Debug)]
pub(super) struct Hunt {
    targets: Vec<Target>,
    mode: Mode,
    ring: Span,
}

#[derive(Debug)]
struct Target {
    user: String,
    context: Context,
    /// When it is of no use any more to ring them.
    ends_at: Time,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting {
        /// Of the invitation that a lost session has left open.
        id: Option<String>,
    },
    Ringing {
        ticket: Ticket,
        /// The invitation's id.
        id: String,
        until: Time,
    },
    Over {
        id: Option<String>,
        outcome: Outcome,
        /// Of a withdrawn invite, whose acceptance may be on its way.
        withdrawn: Option<Ticket>,
    },
}

/// What a reply means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Of no concern to this hunt.
    Nothing,
    /// The link is gone: invited again with the next session.
    Again,
    Answered {
        user: String,
        who: String,
    },
    Over {
        user: String,
        outcome: Outcome,
    },
}

impl Hunt {
    pub(super) fn new(now: Time, plan: Plan) -> Hunt {
        let mut hunt = Hunt { targets: Vec::new(), mode: plan.mode, ring: plan.ring };
        hunt.add(now, plan.targets, plan.total);
        hunt
    }

    /// More people, within `total` from now. Who is among them already is invited again, unless they ring.
    pub(super) fn add(&mut self, now: Time, invitees: Vec<Invitee>, total: Span) {
        for Invitee { user, context } in invitees {
            let rings = |t: &Target| t.user == user && matches!(t.state, State::Waiting { .. } | State::Ringing { .. });
            if self.targets.iter().any(rings) {
                continue;
            }
            self.targets.retain(|t| t.user != user);
            self.targets.push(Target { user, context, ends_at: now + total, state: State::Waiting { id: None } });
        }
    }

    /// Everybody who was ever to be invited.
    pub(super) fn users(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|t| t.user.as_str())
    }

    /// Who is to be invited now, how long they ring, and the id of the invite if it was sent before;
    /// [`Hunt::invited`] says that it was done.
    pub(super) fn next(&self) -> Option<(&str, Span, Option<&str>)> {
        self.next_target().map(|(target, id)| (target.user.as_str(), self.ring, id))
    }

    /// The words for who is to be invited now.
    pub(super) fn next_context(&self) -> &[(String, String)] {
        self.next_target().map_or(&[], |(target, _)| &target.context)
    }

    fn next_target(&self) -> Option<(&Target, Option<&str>)> {
        let rings = self.targets.iter().any(|t| matches!(t.state, State::Ringing { .. }));
        match self.mode {
            Mode::InTurn if rings => None,
            Mode::InTurn | Mode::AtOnce => self.targets.iter().find_map(|t| match &t.state {
                State::Waiting { id } => Some((t, id.as_deref())),
                State::Ringing { .. } | State::Over { .. } => None,
            }),
        }
    }

    pub(super) fn invited(&mut self, now: Time, ticket: Ticket, id: String) {
        let ring = self.ring;
        if let Some(target) = self.targets.iter_mut().find(|t| matches!(t.state, State::Waiting { .. })) {
            let until = (now + ring).min(target.ends_at);
            target.state = State::Ringing { ticket, id, until };
        }
    }

    pub(super) fn replied(&mut self, ticket: Ticket, reply: &Reply, codes: &QssCodes) -> Turn {
        let is_of = |t: &&mut Target| match t.state {
            State::Ringing { ticket: asked, .. } | State::Over { withdrawn: Some(asked), .. } => asked == ticket,
            State::Waiting { .. } | State::Over { withdrawn: None, .. } => false,
        };
        let Some(target) = self.targets.iter_mut().find(is_of) else { return Turn::Nothing };
        let (user, id) = (target.user.clone(), target.state.id());
        let over = |outcome| State::Over { id, outcome, withdrawn: None };
        let (state, turn) = match (&target.state, reply) {
            (_, Reply::Answer(body)) => {
                let replies = InviteReply::read_all(body.fields());
                match replies.iter().find(|reply| reply.code < 300).or(replies.first()) {
                    Some(InviteReply { code, .. }) if *code >= 300 => {
                        let outcome = outcome_of(codes, Some(*code), "", body.fields());
                        (over(outcome), Turn::Over { user, outcome })
                    }
                    reply => {
                        let who = reply.and_then(|reply| reply.who_accepted.clone()).unwrap_or_else(|| user.clone());
                        (over(Outcome::Answered), Turn::Answered { user, who })
                    }
                }
            }
            (State::Over { outcome, .. }, Reply::Refused { .. } | Reply::TimedOut | Reply::LinkLost) => {
                (over(*outcome), Turn::Nothing)
            }
            (State::Waiting { .. } | State::Ringing { .. }, Reply::Refused { code, message, body }) => {
                let outcome = outcome_of(codes, *code, message, body.fields());
                (over(outcome), Turn::Over { user, outcome })
            }
            (State::Waiting { .. } | State::Ringing { .. }, Reply::TimedOut) => {
                (over(Outcome::NoAnswer), Turn::Over { user, outcome: Outcome::NoAnswer })
            }
            (State::Waiting { .. } | State::Ringing { .. }, Reply::LinkLost) => {
                (State::Waiting { id: target.state.id() }, Turn::Again)
            }
        };
        target.state = state;
        turn
    }

    /// These are in the room. Who of them is invited, or was to be, has answered so.
    pub(super) fn came(&mut self, here: &BTreeSet<String>) -> Vec<String> {
        let mut came = Vec::new();
        for target in &mut self.targets {
            let user = target.user.split('/').next().unwrap_or_default();
            let invited = matches!(target.state, State::Waiting { .. } | State::Ringing { .. });
            if invited && (here.contains(user) || here.contains(&target.user)) {
                target.state = State::Over { id: target.state.id(), outcome: Outcome::Answered, withdrawn: None };
                came.push(target.user.clone());
            }
        }
        came
    }

    /// Nobody rings, and nobody will.
    pub(super) fn is_over(&self) -> bool {
        self.targets.iter().all(|t| matches!(t.state, State::Over { .. }))
    }

    /// What to tell of a hunt that found nobody: what was said to everyone, or else that nobody answered.
    pub(super) fn outcome(&self) -> Outcome {
        let mut outcomes = self.targets.iter().map(|t| t.state.outcome());
        let first = outcomes.next().unwrap_or(Outcome::Unknown);
        if outcomes.all(|other| other == first) { first } else { Outcome::NoAnswer }
    }

    /// Everybody who was invited, and how it stands with them.
    pub(super) fn invitations(&self) -> Vec<Invitation> {
        let invitation = |t: &Target| {
            let state = match &t.state {
                State::Waiting { .. } | State::Ringing { .. } => InvitationState::Pending,
                State::Over { outcome, .. } => match outcome {
                    Outcome::Answered => InvitationState::Accepted,
                    Outcome::Withdrawn | Outcome::NoAnswer => InvitationState::Canceled,
                    Outcome::Declined
                    | Outcome::Busy
                    | Outcome::NotConnected
                    | Outcome::Unknown
                    | Outcome::Forbidden
                    | Outcome::Elsewhere
                    | Outcome::Failed => InvitationState::Rejected,
                },
            };
            Some(Invitation { id: t.state.id()?, to: t.user.clone(), state })
        };
        self.targets.iter().filter_map(invitation).collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        let deadline = |t: &Target| match t.state {
            State::Ringing { until, .. } => Some(Wakeup::new(until, "ring time")),
            State::Waiting { .. } => Some(Wakeup::new(t.ends_at, "hunt time")),
            State::Over { .. } => None,
        };
        self.targets.iter().filter_map(deadline).min_by_key(|w| w.at)
    }

    /// Who has rung long enough, and when the time of the hunt is over everybody; with the id of the invite that is to be
    /// withdrawn.
    pub(super) fn handle_timeout(&mut self, now: Time) -> Vec<(String, Option<String>)> {
        self.end(Outcome::NoAnswer, |target| match target.state {
            State::Ringing { until, .. } => until <= now,
            State::Waiting { .. } => target.ends_at <= now,
            State::Over { .. } => false,
        })
    }

    /// We hung up, or somebody answered: all who still ring, to be withdrawn.
    pub(super) fn withdraw(&mut self) -> Vec<(String, Option<String>)> {
        self.end(Outcome::Withdrawn, |target| match target.state {
            State::Ringing { .. } | State::Waiting { .. } => true,
            State::Over { .. } => false,
        })
    }

    fn end(&mut self, outcome: Outcome, which: impl Fn(&Target) -> bool) -> Vec<(String, Option<String>)> {
        let mut ended = Vec::new();
        for target in self.targets.iter_mut().filter(|t| which(t)) {
            let withdrawn = match target.state {
                State::Ringing { ticket, .. } => Some(ticket),
                State::Waiting { .. } | State::Over { .. } => None,
            };
            let id = target.state.id();
            target.state = State::Over { id: id.clone(), outcome, withdrawn };
            ended.push((target.user.clone(), id));
        }
        ended
    }
}

impl State {
    fn id(&self) -> Option<String> {
        match self {
            State::Ringing { id, .. } => Some(id.clone()),
            State::Waiting { id } | State::Over { id, .. } => id.clone(),
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            State::Over { outcome, .. } => *outcome,
            State::Waiting { .. } | State::Ringing { .. } => Outcome::NoAnswer,
        }
    }
}

/// Why somebody does not come, by `[qss.codes]`.
fn outcome_of(codes: &QssCodes, code: Option<u16>, message: &str, fields: Fields<'_>) -> Outcome {
    let table = [
        (&codes.not_allowed, Outcome::Forbidden),
        (&codes.unknown_user, Outcome::Unknown),
        (&codes.no_answer, Outcome::NoAnswer),
        (&codes.not_connected, Outcome::NotConnected),
        (&codes.busy, Outcome::Busy),
        (&codes.elsewhere, Outcome::Elsewhere),
        (&codes.failed, Outcome::Failed),
    ];
    let find = |code| table.iter().find(|(list, _)| message::says(list, code, message, fields));
    // An unknown 5xx is taken for 500 (RFC 3261 8.1.3.2).
    let class = || code.filter(|code| (500..600).contains(code)).and_then(|_| find(Some(500)));
    find(code).or_else(class).map_or(Outcome::Declined, |(_, outcome)| *outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qss::message::Body;
    use crate::qss::requests::{Requests, Rhythm};

    /// Tickets are only made by the table of requests.
    fn tickets<const N: usize>() -> [Ticket; N] {
        let second = Span::from_secs(1);
        let mut requests = Requests::new(Rhythm { timeout: second, resend: second, resends: 0 });
        std::array::from_fn(|i| requests.add(Time::ZERO, i.to_string(), String::new()).expect("there is room"))
    }

    fn hunt(mode: Mode, users: &[&str]) -> Hunt {
        let invitee = |user: &&str| Invitee { user: (*user).to_owned(), context: Vec::new() };
        let targets = users.iter().map(invitee).collect();
        Hunt::new(Time::ZERO, Plan { targets, mode, ring: Span::from_secs(20), total: Span::from_secs(50) })
    }

    fn codes() -> QssCodes {
        QssCodes::default()
    }

    fn refused(code: u16) -> Reply {
        Reply::Refused { code: Some(code), message: String::new(), body: Body::default() }
    }

    fn accepted() -> Reply {
        let text = r#"{"answer":"invite","requestID":"x","payload":{"whoAccepted":"7f"}}"#;
        match crate::qss::message::Frame::parse(text, 4096) {
            Ok(crate::qss::message::Frame::Answer { body, .. }) => Reply::Answer(body),
            other => panic!("no answer: {other:?}"),
        }
    }

    #[test]
    fn in_turn_the_next_is_invited_when_one_has_refused_or_rung_long_enough() {
        let [a, b, c] = tickets();
        let mut hunt = hunt(Mode::InTurn, &["ann", "bob", "cid"]);
        assert_eq!(hunt.next().map(|n| n.0), Some("ann"));
        hunt.invited(Time::ZERO, a, "id".into());
        assert_eq!(hunt.next(), None, "one rings");
        let over = |user: &str, outcome| Turn::Over { user: user.into(), outcome };
        assert_eq!(hunt.replied(a, &refused(486), &codes()), over("ann", Outcome::Busy));
        assert_eq!(hunt.next().map(|n| n.0), Some("bob"));
        hunt.invited(Time::from_millis(1_000), b, "id".into());
        assert_eq!(hunt.poll_timeout(), Some(Wakeup::new(Time::from_millis(21_000), "ring time")));
        assert_eq!(hunt.handle_timeout(Time::from_millis(21_000)), [("bob".to_owned(), Some("id".to_owned()))]);
        assert_eq!(hunt.next().map(|n| n.0), Some("cid"));
        hunt.invited(Time::from_millis(21_000), c, "id".into());
        assert_eq!(hunt.replied(c, &refused(480), &codes()), over("cid", Outcome::NotConnected));
        assert!(hunt.is_over());
        assert_eq!((hunt.outcome(), hunt.poll_timeout()), (Outcome::NoAnswer, None));
    }

    #[test]
    fn at_once_the_first_who_answers_wins_and_the_others_are_withdrawn() {
        let [a, b] = tickets();
        let mut hunt = hunt(Mode::AtOnce, &["ann", "bob"]);
        hunt.invited(Time::ZERO, a, "id".into());
        assert_eq!(hunt.next().map(|n| n.0), Some("bob"));
        hunt.invited(Time::ZERO, b, "id".into());
        assert_eq!(hunt.next(), None);
        assert_eq!(hunt.replied(b, &accepted(), &codes()), Turn::Answered { user: "bob".into(), who: "7f".into() });
        assert_eq!(hunt.withdraw(), [("ann".to_owned(), Some("id".to_owned()))]);
        assert!(hunt.is_over());
        let states: Vec<_> = hunt.invitations().into_iter().map(|i| i.state).collect();
        assert_eq!(states, [InvitationState::Canceled, InvitationState::Accepted]);
        assert_eq!(hunt.replied(a, &refused(487), &codes()), Turn::Nothing, "that was our own withdrawal");
    }

    #[test]
    fn an_acceptance_that_crosses_its_withdrawal_counts() {
        let [a, b] = tickets();
        let mut hunt = hunt(Mode::InTurn, &["ann", "bob"]);
        hunt.invited(Time::ZERO, a, "id".into());
        hunt.handle_timeout(Time::from_millis(20_000));
        hunt.invited(Time::from_millis(20_000), b, "id".into());
        assert!(matches!(hunt.replied(a, &accepted(), &codes()), Turn::Answered { user, .. } if user == "ann"));
        assert_eq!(hunt.withdraw(), [("bob".to_owned(), Some("id".to_owned()))]);
    }

    #[test]
    fn who_is_in_the_room_has_answered() {
        let [a] = tickets();
        let mut hunt = hunt(Mode::InTurn, &["ann/7", "bob"]);
        hunt.invited(Time::ZERO, a, "id".into());
        hunt.replied(a, &Reply::LinkLost, &codes());
        assert_eq!(hunt.came(&BTreeSet::from(["eve".to_owned()])), [""; 0]);
        assert_eq!(hunt.came(&BTreeSet::from(["eve".to_owned(), "ann".to_owned()])), ["ann/7"]);
        assert_eq!(hunt.withdraw(), [("bob".to_owned(), None)], "who was never invited is not withdrawn");
    }

    #[test]
    fn a_lost_link_invites_again_within_the_time_of_the_hunt() {
        let [a] = tickets();
        let mut hunt = hunt(Mode::InTurn, &["ann"]);
        hunt.invited(Time::ZERO, a, "id".into());
        assert_eq!(hunt.replied(a, &Reply::LinkLost, &codes()), Turn::Again);
        assert_eq!(hunt.next(), Some(("ann", Span::from_secs(20), Some("id"))), "under its id");
        assert_eq!(hunt.poll_timeout().map(|w| w.at), Some(Time::from_millis(50_000)));
        assert_eq!(hunt.handle_timeout(Time::from_millis(50_000)), [("ann".to_owned(), Some("id".to_owned()))]);
        assert!(hunt.is_over() && hunt.poll_timeout().is_none());
    }

    #[test]
    fn each_code_says_why() {
        let rows = [
            (Some(603), Outcome::Declined),
            (None, Outcome::Declined),
            (Some(486), Outcome::Busy),
            (Some(600), Outcome::Busy),
            (Some(408), Outcome::NoAnswer),
            (Some(480), Outcome::NotConnected),
            (Some(404), Outcome::Unknown),
            (Some(403), Outcome::Forbidden),
            (Some(487), Outcome::Elsewhere),
            (Some(501), Outcome::Failed),
            (Some(503), Outcome::Failed),
        ];
        for (code, outcome) in rows {
            assert_eq!(outcome_of(&codes(), code, "", Body::default().fields()), outcome, "{code:?}");
        }
        let mut words = codes();
        assert_eq!(outcome_of(&words, Some(500), "UserBusy", Body::default().fields()), Outcome::Busy, "by its word");
        words.busy = vec!["777".into()];
        assert_eq!(outcome_of(&words, Some(777), "", Body::default().fields()), Outcome::Busy);
        assert_eq!(outcome_of(&words, Some(486), "", Body::default().fields()), Outcome::Declined);
        words.failed = vec!["799".into()];
        assert_eq!(outcome_of(&words, Some(799), "", Body::default().fields()), Outcome::Failed);
        assert_eq!(outcome_of(&words, Some(503), "", Body::default().fields()), Outcome::Declined);
    }
}
