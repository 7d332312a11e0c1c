//! Reliable provisional responses (RFC 3262): our PRACKs for those of the peer, and how we send our own.
//!
//! ```text
//!   183 Require: 100rel, RSeq: 7 --> PRACK, RAck: 7 1 INVITE        the first RSeq of a dialog may be any number,
//!   180 Require: 100rel, RSeq: 8 --> PRACK, RAck: 8 1 INVITE        each further one is the next; others are dropped
//! ```
//!
//! Every To tag of a provisional response is an early dialog (RFC 3261 12.1) with its own numbers: `CSeq` goes on from
//! the INVITE's, also into the dialog that the 2xx confirms. SDP in a provisional response lets early media be heard; in
//! a reliable one it *is* the answer, and the 2xx need not repeat it (RFC 3262 5).

use super::call::{Attempt, Call, State, complain};
use super::core::{ACCEPT, Core, Incoming, NextHop};
use super::dialog::Dialog;
use super::endpoint::{Event, Outbox, Output};
use super::incoming::retry_later;
use super::message::{Headers, Method, Name, Request};
use super::transaction::{Answer, Purpose, User};
use crate::random::Rng;
use crate::sdp::Negotiated;
use crate::time::Time;

pub(super) const OPTION: &str = "100rel";

/// Early dialogs of one INVITE; more forks are not listened to before they answer.
const MAX_EARLY: usize = 8;

/// A dialog that a provisional response made.
pub(super) struct Early {
    pub(super) dialog: Dialog,
    rseq: Option<u32>,
    media: Preview,
}

/// A reliable provisional response of ours: its PRACK may come after the 200 has gone out (RFC 3262 3).
pub(super) struct Outstanding {
    pub(super) rseq: u32,
    /// CSeq of the INVITE.
    pub(super) invite: u32,
}

impl Outstanding {
    pub(super) fn is_confirmed_by(&self, prack: &Request) -> bool {
        confirmed(prack, self.invite) == Some(self.rseq)
    }
}

/// What a provisional response said about media.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Preview {
    Nothing,
    /// Perhaps the answer: the 2xx says it again.
    Heard(Negotiated),
    /// The answer: offer and answer are exchanged.
    Settled(Negotiated),
}

impl Early {
    /// The answer that was given before the 2xx, which need not repeat it.
    pub(super) fn answer(&self) -> Option<Negotiated> {
        match self.media {
            Preview::Settled(media) => Some(media),
            Preview::Heard(_) | Preview::Nothing => None,
        }
    }
}

impl Call {
    /// A provisional response. `false`: one that is repeated or out of order, and means nothing.
    pub(super) fn on_provisional(
        &mut self,
        core: &mut Core,
        now: Time,
        attempt: &mut Attempt,
        answer: &Answer,
        out: &mut Outbox,
    ) -> bool {
        let Attempt { leg, early, .. } = attempt;
        let Some(early) = early_of(early, answer) else { return true };
        let headers = &answer.response.headers;
        let reliable = match (is_required(headers), rseq_of(headers)) {
            // RFC 3262 4: in order, each once.
            (true, Some(rseq)) if early.rseq.is_some_and(|last| last.checked_add(1) != Some(rseq)) => return false,
            (true, rseq) => rseq,
            (false, _) => None,
        };
        early.dialog.refresh_target(headers);
        if let Some(rseq) = reliable {
            early.rseq = Some(rseq);
            let mut prack = early.dialog.request(Method::Prack);
            prack.headers.push(Name::RAck, format!("{rseq} {}", answer.identity.cseq));
            leg.credentials.authorize(&mut prack);
            let user = User { call: self.id, purpose: Purpose::Prack };
            let mut route = leg.route;
            if let NextHop::At(flow) = core.next_hop(&self.plan.hop, &early.dialog.next_hop()) {
                route.flow = flow;
            }
            core.send(now, prack, route, user, out);
        }
        if !answer.response.body.is_empty() && early.media == Preview::Nothing {
            match leg.media.preview(&answer.response.body) {
                Ok(media) => {
                    early.media = if reliable.is_some() { Preview::Settled(media) } else { Preview::Heard(media) };
                    out.push_back(Output::Event(Event::Early { call: self.id, media }));
                }
                Err(error) => complain(error, answer.route.flow.remote, out),
            }
        }
        true
    }

    /// A provisional response to an INVITE that is given up: its PRACK is due all the same (RFC 3262 4), or it is repeated
    /// for 64 T1. Nobody is to hear of its media.
    pub(super) fn prack_unheard(
        &mut self,
        core: &mut Core,
        now: Time,
        attempt: &mut Attempt,
        answer: &Answer,
        out: &mut Outbox,
    ) {
        let mut all = Outbox::new();
        self.on_provisional(core, now, attempt, answer, &mut all);
        out.extend(all.into_iter().filter(|output| !matches!(output, Output::Event(_))));
    }

    /// The callee asks within an early dialog of our INVITE (RFC 3311 5.2).
    pub(super) fn on_callee_request(&mut self, core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
        let State::Proceeding(attempt) = &mut self.state else { return core.refuse(incoming, 481, out) };
        let Some(early) = attempt.early.iter_mut().find(|early| early.dialog.matches(incoming.identity)) else {
            return core.refuse(incoming, 481, out);
        };
        if early.dialog.note_remote_seq(&incoming.identity.cseq).is_err() {
            return core.refuse(incoming, 500, out);
        }
        match (&incoming.request.method, early.media) {
            (Method::Update, Preview::Nothing | Preview::Heard(_)) if !incoming.request.body.is_empty() => {
                core.refuse(incoming, 491, out);
            }
            (Method::Update, _) => {
                let body = match incoming.request.body.is_empty() {
                    true => None,
                    false => match attempt.leg.media.answer(&incoming.request.body) {
                        Ok((body, media)) => {
                            early.media = Preview::Settled(media);
                            out.push_back(Output::Event(Event::Early { call: self.id, media }));
                            Some(body)
                        }
                        Err(error) => {
                            complain(error, incoming.flow.remote, out);
                            return core.refuse(incoming, 488, out);
                        }
                    },
                };
                early.dialog.refresh_target(&incoming.request.headers);
                let mut response = core.response(incoming, 200);
                response.headers.push(Name::Contact, core.contact_for(attempt.leg.route, incoming.request));
                response.headers.push(Name::Allow, core.allow());
                if let Some(body) = body {
                    response.headers.push(Name::ContentType, ACCEPT);
                    response.body = body;
                }
                core.respond(incoming, &response, None, out);
            }
            (Method::Options, _) => super::options::answer(core, incoming, out),
            (Method::Info, _) => core.refuse(incoming, 200, out),
            (Method::Invite, _) => retry_later(core, incoming, 500, out),
            // RFC 3261 15: a callee ends an early dialog by its final response.
            (Method::Bye | Method::Prack | Method::Notify, _) => core.refuse(incoming, 481, out),
            (
                Method::Ack
                | Method::Cancel
                | Method::Message
                | Method::Publish
                | Method::Refer
                | Method::Register
                | Method::Subscribe
                | Method::Other(_),
                _,
            ) => core.refuse(incoming, 405, out),
        }
    }
}

/// The early dialog a provisional response belongs to; a first one makes it. None: 100, no tag, too many forks.
fn early_of<'a>(all: &'a mut Vec<Early>, answer: &Answer) -> Option<&'a mut Early> {
    let tag = answer.identity.to.tag().filter(|_| answer.response.status > 100)?;
    let known = all.iter().position(|early| early.dialog.remote_tag() == tag);
    let at = match known {
        Some(at) => at,
        None if all.len() >= MAX_EARLY => return None,
        None => {
            all.push(Early { dialog: Dialog::of_answer(answer), rseq: None, media: Preview::Nothing });
            all.len() - 1
        }
    };
    all.get_mut(at)
}

/// `Require: 100rel` of a request or a response.
pub(super) fn is_required(headers: &Headers) -> bool {
    headers.elements(&Name::Require).any(|option| option.eq_ignore_ascii_case(OPTION))
}

/// RFC 3262 3: uniformly between 1 and 2^31 - 1.
pub(super) fn first_rseq(rng: &mut Rng) -> u32 {
    1 + rng.below((1 << 31) - 1) as u32
}

/// The RSeq that the RAck of a PRACK confirms, if the rest of it names the INVITE with this number.
pub(super) fn confirmed(prack: &Request, invite: u32) -> Option<u32> {
    let mut words = prack.headers.first(&Name::RAck)?.split_whitespace();
    let (rseq, cseq, method) = (words.next()?, words.next()?, words.next()?);
    let names_it = cseq.parse() == Ok(invite) && method == Method::Invite.as_str() && words.next().is_none();
    names_it.then(|| rseq.parse().ok())?
}

fn rseq_of(headers: &Headers) -> Option<u32> {
    headers.first(&Name::RSeq).and_then(|value| value.trim().parse().ok()).filter(|rseq| *rseq > 0)
}
