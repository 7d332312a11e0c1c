//! The ladder: how far audio is *proven*.
//!
//! ```text
//! offline -> session -> room -> call -> sending -> receiving -> playing
//! ```
//!
//! The ladder remembers facts (what is true, since when, why not), never a rung: the rung is derived from them each
//! time. A call proves more than the session that led to it, so a lost QSS in mid-call costs the facts `session` and
//! `room` but not the rung.

use crate::status::failure::Cause;
use crate::time::Time;
use serde::Serialize;

/// How far audio is *proven*, from nothing to sound out of the loudspeaker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rung {
    /// Nothing.
    Offline,
    /// Registered with the QSS.
    Session,
    /// The room is known and admits us (or a `sip_uri` stands in the configuration and is being dialled).
    Room,
    /// The SIP dialog is confirmed.
    Call,
    /// RTP leaves.
    Sending,
    /// RTP arrives.
    Receiving,
    /// The decoder produces and the card's pointer moves.
    Playing,
}

/// What each rung above `offline` stands on, in this order.
pub const FACTS: [Rung; 6] = [Rung::Session, Rung::Room, Rung::Call, Rung::Sending, Rung::Receiving, Rung::Playing];

/// Which facts hold now, in the order of [`FACTS`].
pub type Holds = [bool; FACTS.len()];

/// One fact: true or not, since when, and if not, why.
#[derive(Clone, PartialEq, Debug)]
pub struct Fact {
    pub holds: bool,
    pub since: Time,
    pub cause: Option<Cause>,
}

/// What an observation changed.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    pub previous: Rung,
    pub rung: Rung,
    /// Why a fact no longer holds; `None` when everything that changed is new truth.
    pub cause: Option<Cause>,
}

#[derive(Clone, Debug)]
pub struct Ladder {
    facts: [Fact; FACTS.len()],
}

impl Ladder {
    pub fn new(now: Time) -> Ladder {
        Ladder { facts: std::array::from_fn(|_| Fact { holds: false, since: now, cause: None }) }
    }

    pub fn rung(&self) -> Rung {
        rung_of(self.facts.each_ref().map(|f| f.holds))
    }

    /// The rungs proven above `previous` up to the present one: a climb is told rung by rung, even when the proofs
    /// came in another order (packets may arrive before the first one leaves). Just the present rung otherwise.
    pub fn climbed(&self, previous: Rung) -> Vec<Rung> {
        let rung = self.rung();
        let steps: Vec<_> = self
            .facts()
            .filter(|(name, f)| f.holds && *name > previous && *name <= rung)
            .map(|(name, _)| name)
            .collect();
        if steps.is_empty() { vec![rung] } else { steps }
    }

    /// The facts with their names.
    pub fn facts(&self) -> impl Iterator<Item = (Rung, &Fact)> {
        FACTS.into_iter().zip(&self.facts)
    }

    /// Since when the present rung is proven (or, offline, since when nothing is).
    pub fn since(&self) -> Time {
        let rung = self.rung();
        let own = self.facts().find(|(name, _)| *name == rung).map(|(_, fact)| fact.since);
        own.unwrap_or_else(|| self.facts.iter().map(|f| f.since).max().unwrap_or(Time::ZERO))
    }

    /// Takes in what is true now. `cause` explains what is no longer true.
    pub fn observe(&mut self, now: Time, holds: Holds, cause: Option<&Cause>) -> Option<Change> {
        let previous = self.rung();
        let (mut changed, mut lost) = (false, false);
        for (fact, holds) in self.facts.iter_mut().zip(holds) {
            if fact.holds == holds {
                continue;
            }
            changed = true;
            lost |= !holds;
            *fact = Fact { holds, since: now, cause: cause.filter(|_| !holds).cloned() };
        }
        changed.then(|| Change { previous, rung: self.rung(), cause: cause.filter(|_| lost).cloned() })
    }

    /// The reason why the next rung is not reached has become known, or has changed.
    pub fn explain(&mut self, fact: Rung, cause: &Cause) {
        if let Some(i) = FACTS.iter().position(|f| *f == fact)
            && !self.facts[i].holds
        {
            self.facts[i].cause = Some(cause.clone());
        }
    }
}

/// A confirmed call counts by itself; below it, a room; below that, the session.
fn rung_of([session, room, call, sending, receiving, playing]: Holds) -> Rung {
    match (call, room, session) {
        (true, ..) if sending && receiving && playing => Rung::Playing,
        (true, ..) if sending && receiving => Rung::Receiving,
        (true, ..) if sending => Rung::Sending,
        (true, ..) => Rung::Call,
        (false, true, _) => Rung::Room,
        (false, false, true) => Rung::Session,
        (false, false, false) => Rung::Offline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::failure::Failure;

    const T: Time = Time::from_millis(5);

    #[test]
    fn the_ladder_is_climbed_rung_by_rung() {
        let mut ladder = Ladder::new(Time::ZERO);
        let mut rungs = vec![ladder.rung()];
        for n in 1..=6 {
            let change = ladder.observe(T, std::array::from_fn(|i| i < n), None).expect("a change");
            assert_eq!((change.previous, change.cause), (rungs[n - 1], None));
            rungs.push(change.rung);
        }
        assert!(rungs.is_sorted() && rungs.len() == 7 && rungs[6] == Rung::Playing);
        assert_eq!(ladder.observe(T, [true; 6], None), None, "nothing new");
    }

    #[test]
    fn a_lost_session_does_not_cost_the_call_its_rung() {
        let mut ladder = Ladder::new(Time::ZERO);
        ladder.observe(T, [true; 6], None);
        let cause = Cause::from(Failure::QssSilent);
        let change = ladder.observe(T, [false, false, true, true, true, true], Some(&cause)).expect("a change");
        assert_eq!((change.previous, change.rung), (Rung::Playing, Rung::Playing));
        assert_eq!(change.cause, Some(cause));
        assert_eq!(
            ladder.facts().filter(|(_, f)| !f.holds).map(|(n, _)| n).collect::<Vec<_>>(),
            [Rung::Session, Rung::Room]
        );
    }

    #[test]
    fn each_fact_says_since_when_and_why_not() {
        let mut ladder = Ladder::new(Time::ZERO);
        ladder.observe(T, [true, true, true, false, false, false], None);
        let (later, cause) = (Time::from_millis(9), Cause::from(Failure::SipRemoteBye));
        ladder.observe(later, [true, true, false, false, false, false], Some(&cause));
        let told = ladder.facts().map(|(_, f)| (f.since, f.cause.clone())).collect::<Vec<_>>();
        assert_eq!(told[..4], [(T, None), (T, None), (later, Some(cause)), (Time::ZERO, None)]);
        assert_eq!((ladder.rung(), ladder.since()), (Rung::Room, T));
    }

    #[test]
    fn arriving_packets_prove_nothing_while_none_leave() {
        let mut ladder = Ladder::new(Time::ZERO);
        ladder.observe(T, [true, true, true, false, true, true], None);
        assert_eq!(ladder.rung(), Rung::Call);
        ladder.observe(T, [true; 6], None);
        assert_eq!(ladder.climbed(Rung::Call), [Rung::Sending, Rung::Receiving, Rung::Playing], "all are told");
    }
}
