//! What others provoke is told at a bounded pace, so that who floods the device with requests floods neither the journal
//! nor the way upstream: of each such sort so many events in an interval (`status.provoked`), and the next one says how
//! many were not told (`lost`). What the device does by itself is paced where it is done, and always told.

use crate::status::event::Kind;
use crate::time::{Span, Time};

#[derive(Clone, Debug)]
pub struct Flood {
    limit: u32,
    interval: Span,
    sorts: [Told; SORTS],
    /// Since the last event that was told.
    withheld: u64,
    withheld_ever: u64,
}

/// Events of one sort in the interval that began then.
#[derive(Clone, Copy, Default, Debug)]
struct Told {
    began: Option<Time>,
    events: u32,
}

const SORTS: usize = 4;

impl Flood {
    pub fn new(limit: u32, interval: Span) -> Flood {
        Flood { limit, interval, sorts: [Told::default(); SORTS], withheld: 0, withheld_ever: 0 }
    }

    /// Whether this event is told; if it is, how many before it were not.
    pub fn admit(&mut self, now: Time, kind: &Kind) -> Option<u64> {
        if let Some(sort) = sort(kind) {
            let told = &mut self.sorts[sort];
            if told.began.is_none_or(|began| began + self.interval <= now) {
                *told = Told { began: Some(now), events: 0 };
            }
            if told.events >= self.limit {
                self.withheld += 1;
                self.withheld_ever += 1;
                return None;
            }
            told.events += 1;
        }
        Some(std::mem::take(&mut self.withheld))
    }

    /// Since the process began.
    pub fn withheld_ever(&self) -> u64 {
        self.withheld_ever
    }
}

/// Below [`SORTS`]. `None`: nobody else decides how often it happens, or it is bounded or folded where it is told.
fn sort(kind: &Kind) -> Option<usize> {
    match kind {
        Kind::Invite { .. } => Some(0),
        Kind::Room(_) => Some(1),
        Kind::Mute { .. } => Some(2),
        Kind::Digit { .. } => Some(3),
        Kind::Ladder { .. }
        | Kind::Attempt { .. }
        | Kind::Call { .. }
        | Kind::Button { .. }
        | Kind::ButtonDevice { .. }
        | Kind::SipRegistered { .. }
        | Kind::RoomLeft { .. }
        | Kind::CallEnded { .. }
        | Kind::Card { .. }
        | Kind::Economy { .. }
        | Kind::UnknownEvent { .. }
        | Kind::Volume { .. }
        | Kind::Hold { .. }
        | Kind::Request { .. }
        | Kind::Snapshot(_)
        | Kind::Problem { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::event::{Card, InviteOutcome};

    #[test]
    fn of_each_sort_some_are_told_and_the_next_event_counts_the_others() {
        let mut flood = Flood::new(2, Span::from_secs(60));
        let invite = Kind::Invite { outcome: InviteOutcome::Unusable, id: "i".into(), from: "f".into() };
        let (card, at) = (Kind::Card { card: Card::Lost }, Time::from_millis);
        let told: Vec<_> = (0..5).map(|ms| flood.admit(at(ms), &invite)).collect();
        assert_eq!(told, [Some(0), Some(0), None, None, None]);
        assert_eq!((flood.admit(at(5), &card), flood.admit(at(6), &card)), (Some(3), Some(0)));
        assert_eq!((flood.admit(at(59_999), &invite), flood.admit(at(60_000), &invite)), (None, Some(1)));
        assert_eq!(flood.withheld_ever(), 4);
    }
}
