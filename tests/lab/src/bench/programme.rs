//! Whose turn it is. Each kind of station wants a number of clean visits; the kind that has had the smallest share of
//! its tries goes next, so that one whose visits keep being spoilt holds up nobody else's. The first two clean visits of
//! a kind measure everything, speech included; the rest only the delay, whose median needs many.

use super::station::Kind;
use super::visit::Script;
use std::time::Duration;

/// Fewer clean visits than this, of ours or of the peer, are no measurement.
const FEWEST: usize = 3;
/// So many visits may fail altogether (no call came about) before something is taken to be wrong.
const MOST_FAILURES: usize = 4;

pub struct Programme {
    shares: Vec<Share>,
    fewest: usize,
    tries: usize,
    failures: usize,
}

struct Share {
    kind: Kind,
    wanted: usize,
    /// Clean visits with speech wanted among them.
    talks_wanted: usize,
    tries: usize,
    clean: usize,
    talks: usize,
}

/// One visit to make.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Turn {
    /// Counts up from 1, also over visits that do not count.
    pub number: usize,
    pub kind: Kind,
    pub script: Script,
}

impl Programme {
    pub fn full() -> Programme {
        Programme::new([(Kind::Ours, 6, 2), (Kind::Peer, 6, 2), (Kind::PeerAsShipped, 2, 1)], FEWEST)
    }

    /// What ten minutes hold beside the other parts.
    pub fn usual() -> Programme {
        Programme::new([(Kind::Ours, 3, 2), (Kind::Peer, 3, 2), (Kind::PeerAsShipped, 1, 1)], FEWEST)
    }

    pub fn quick() -> Programme {
        Programme::new([(Kind::Ours, 2, 1), (Kind::Peer, 2, 1), (Kind::PeerAsShipped, 0, 0)], 1)
    }

    fn new(wanted: [(Kind, usize, usize); 3], fewest: usize) -> Programme {
        let share = |(kind, wanted, talks_wanted)| Share { kind, wanted, talks_wanted, tries: 0, clean: 0, talks: 0 };
        Programme { shares: wanted.map(share).into(), fewest, tries: 0, failures: 0 }
    }

    /// The next visit, or `None` when every kind has what it wants.
    #[expect(clippy::should_implement_trait, reason = "what comes next depends on what is said in between")]
    pub fn next(&mut self) -> Option<Turn> {
        let unsatisfied = self.shares.iter_mut().filter(|share| share.clean < share.wanted);
        // tries / wanted, compared without dividing: every kind has been tried in proportion.
        let share = unsatisfied.min_by(|a, b| (a.tries * b.wanted).cmp(&(b.tries * a.wanted)))?;
        share.tries += 1;
        self.tries += 1;
        let speech = Duration::from_secs(if share.talks < share.talks_wanted { 10 } else { 0 });
        Some(Turn { number: self.tries, kind: share.kind, script: Script { speech, chirps: Duration::from_secs(8) } })
    }

    /// The visit was clean.
    pub fn counted(&mut self, kind: Kind, script: Script) {
        for share in self.shares.iter_mut().filter(|share| share.kind == kind) {
            share.clean += 1;
            share.talks += usize::from(!script.speech.is_zero());
        }
    }

    /// The visit did not come about.
    ///
    /// # Errors
    /// How many have not, once these are too many.
    pub fn failed(&mut self) -> Result<(), usize> {
        self.failures += 1;
        if self.failures > MOST_FAILURES { Err(self.failures) } else { Ok(()) }
    }

    /// Whether there is enough to compare ours with the peer.
    ///
    /// # Errors
    /// What is missing.
    pub fn suffices(&self) -> Result<(), String> {
        let compared = self.shares.iter().filter(|share| share.kind != Kind::PeerAsShipped);
        let poor = compared.filter(|share| share.clean < self.fewest || share.talks == 0);
        let words: Vec<_> = poor
            .map(|share| format!("{} of {}, {} with speech", share.clean, share.kind.word(), share.talks))
            .collect();
        if words.is_empty() {
            return Ok(());
        }
        Err(format!("too few clean visits ({}), {} are needed", words.join("; "), self.fewest))
    }

    pub fn summary(&self, spoilt: usize) -> String {
        let clean = self.shares.iter().map(|share| format!("{} {}", share.clean, share.kind.word()));
        let clean = clean.collect::<Vec<_>>().join(", ");
        format!(
            "clean visits: {clean}; {spoilt} were spoilt by the machine and count for nothing, {} failed",
            self.failures
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lives the programme; `spoils` says which visits the machine spoils.
    fn live(mut programme: Programme, mut spoils: impl FnMut(Turn) -> bool, most: usize) -> (Programme, Vec<Turn>) {
        let mut turns = Vec::new();
        while turns.len() < most
            && let Some(turn) = programme.next()
        {
            if !spoils(turn) {
                programme.counted(turn.kind, turn.script);
            }
            turns.push(turn);
        }
        (programme, turns)
    }

    #[test]
    fn the_kinds_take_turns_and_each_talks_first() {
        let (programme, turns) = live(Programme::full(), |_| false, 100);
        assert_eq!(turns.len(), 14);
        assert_eq!(turns.iter().filter(|turn| !turn.script.speech.is_zero()).count(), 2 + 2 + 1);
        for pair in turns.chunks(7) {
            let of = |kind| pair.iter().filter(|turn| turn.kind == kind).count();
            assert_eq!((of(Kind::Ours), of(Kind::Peer), of(Kind::PeerAsShipped)), (3, 3, 1));
        }
        assert_eq!(programme.suffices(), Ok(()));
    }

    #[test]
    fn a_spoilt_visit_is_made_again_and_never_counts() {
        let mut tries = std::collections::BTreeMap::new();
        let mut every_other = |turn: Turn| {
            let tried = tries.entry(turn.kind).or_insert(0);
            *tried += 1;
            *tried % 2 == 1
        };
        let (programme, turns) = live(Programme::full(), &mut every_other, 100);
        assert_eq!(turns.len(), 2 * 14, "of each kind as many clean ones as spoilt ones");
        assert_eq!(programme.suffices(), Ok(()));
    }

    #[test]
    fn too_few_clean_visits_are_no_measurement() {
        let (programme, turns) = live(Programme::full(), |turn| turn.kind == Kind::Peer, 40);
        assert_eq!(turns.iter().filter(|turn| turn.kind == Kind::Ours).count(), 6, "ours is not held up by the peer");
        let why = programme.suffices().expect_err("no clean visit of the peer");
        assert!(why.contains("0 of baresip"), "{why}");
        let mut silent = Programme::quick();
        assert!((0..MOST_FAILURES).all(|_| silent.failed().is_ok()) && silent.failed().is_err());
    }
}
