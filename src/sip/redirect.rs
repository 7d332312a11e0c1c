//! 3xx to an INVITE (RFC 3261 8.1.3.4, 21.3): the call goes on where the Contacts say, best first, each once.
//!
//! ```text
//!   Calling --300, 301, 302--> the targets --next--> Routing ---> Calling ...
//!              4xx, 5xx, timed out, no route ---^  none left: the last refusal ends the call
//! ```

use super::call::{Attempt, Call, State};
use super::core::Core;
use super::endpoint::{Outbox, Output};
use super::message::name_addr::NameAddr;
use super::message::uri::{Scheme, Uri};
use super::message::{Headers, Name};
use super::transport::Transport;
use crate::sdp::Local;
use crate::time::Time;
use std::collections::VecDeque;

/// Where an INVITE was and may still be sent.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    /// A call to a `sips:` URI stays protected (RFC 5630 4).
    least: Scheme,
    tried: Vec<String>,
    left: VecDeque<String>,
}

/// Request-URIs one call may have: enough for any honest chain, and the end of a dishonest one.
const MAX_TARGETS: usize = 6;

impl Targets {
    pub(super) fn new(first: &str) -> Targets {
        let least = Uri::parse(first).map_or(Scheme::Sip, |uri| uri.scheme);
        Targets { least, tried: vec![first.into()], left: VecDeque::new() }
    }

    /// Takes the Contacts of a 3xx that we can dial and have not dialled: before older ones, by falling `q`.
    pub(super) fn learn(&mut self, headers: &Headers) {
        let mut contacts: Vec<(u16, String)> =
            headers.elements(&Name::Contact).filter_map(|value| contact(value, self.least)).collect();
        contacts.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
        for (_, uri) in contacts.into_iter().rev() {
            if !self.tried.contains(&uri) {
                self.left.retain(|other| *other != uri);
                self.left.push_front(uri);
            }
        }
        self.left.truncate(MAX_TARGETS);
    }

    fn next(&mut self) -> Option<(String, Uri)> {
        if self.tried.len() >= MAX_TARGETS {
            return None;
        }
        let text = self.left.pop_front()?;
        self.tried.push(text.clone());
        let uri = Uri::parse(&text).ok()?;
        Some((text, uri))
    }
}

impl Call {
    /// Turns to the next target. `false`: there is none, and nothing has changed.
    pub(super) fn try_next(&mut self, core: &Core, local: Local, give_up_at: Time, out: &mut Outbox) -> bool {
        let Some((target, uri)) = self.plan.targets.next() else { return false };
        self.plan.hop = core.hop(&uri);
        self.plan.target = target;
        out.push_back(Output::Resolve(self.plan.hop.target().clone()));
        self.state = State::Routing { local, give_up_at, ways: VecDeque::new(), way: None };
        true
    }

    /// Turns to the next address of the same target (RFC 3263 4.3). `false`: there is none, and nothing has changed.
    pub(super) fn try_next_way(&mut self, core: &mut Core, now: Time, attempt: &Attempt, out: &mut Outbox) -> bool {
        if attempt.ways.is_empty() {
            return false;
        }
        let (local, give_up_at) = (attempt.next.unwrap_or(attempt.leg.media.local()), attempt.give_up_at);
        self.state = State::Routing { local, give_up_at, ways: attempt.ways.clone(), way: None };
        self.take_way(core, now, out)
    }

    /// [`try_next`](Call::try_next) after an attempt that failed; what was asked for meanwhile is offered at once.
    pub(super) fn try_next_after(&mut self, core: &Core, attempt: &Attempt, out: &mut Outbox) -> bool {
        let local = attempt.next.unwrap_or(attempt.leg.media.local());
        self.try_next(core, local, attempt.give_up_at, out)
    }
}

/// A Contact as a target, and its `q` in thousandths (RFC 3261 20.10: 1 when there is none). One that wants an unknown
/// transport, headers of its own or a scheme below `least` is none of ours.
fn contact(value: &str, least: Scheme) -> Option<(u16, String)> {
    let contact = NameAddr::parse(value).ok()?;
    let uri = Uri::parse(&contact.uri).ok()?;
    let known = uri.params.value("transport").is_none_or(|transport| Transport::of(transport).is_some());
    let q = contact.params.value("q").and_then(|q| q.parse::<f32>().ok()).filter(|q| (0.0..=1.0).contains(q));
    let ours = uri.scheme >= least && uri.headers.is_none() && known;
    ours.then(|| ((q.unwrap_or(1.0) * 1_000.0) as u16, contact.uri))
}
