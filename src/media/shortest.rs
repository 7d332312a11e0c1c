//! The shortest round trip of late: a route may become longer for good, and is then no line that is full.
//!
//! Two spans of five minutes follow each other, and the shorter of their minima counts: that of the last five to ten minutes.

use crate::time::{Span, Time};

const SPAN: Span = Span::from_secs(300);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shortest {
    present: Option<Minimum>,
    before: Option<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Minimum {
    since: Time,
    trip: Span,
}

impl Shortest {
    pub(super) fn note(&mut self, now: Time, trip: Span) {
        *self = match self.present {
            Some(Minimum { since, trip: shortest }) if now.since(since) < SPAN => {
                Shortest { present: Some(Minimum { since, trip: shortest.min(trip) }), ..*self }
            }
            ended => {
                let recent = ended.filter(|ended| now.since(ended.since) < SPAN.times(2));
                Shortest { present: Some(Minimum { since: now, trip }), before: recent.map(|recent| recent.trip) }
            }
        };
    }

    /// `None`: nothing is known yet.
    pub(super) fn trip(&self) -> Option<Span> {
        let present = self.present?.trip;
        Some(self.before.map_or(present, |before| before.min(present)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is the shortest after each of these, a second of the call and a round trip in ms.
    fn after(noted: &[(u64, u64)]) -> u64 {
        let mut shortest = Shortest::default();
        for (second, trip) in noted {
            shortest.note(Time::from_millis(second * 1_000), Span::from_millis(*trip));
        }
        shortest.trip().map_or(0, Span::as_millis)
    }

    #[test]
    fn the_shortest_of_the_last_minutes_counts_and_none_of_long_ago() {
        assert_eq!(after(&[]), 0);
        assert_eq!(after(&[(0, 50), (5, 20), (10, 200)]), 20);
        let longer =
            |until: u64| after(&[&[(0, 20)][..], &(1..until).map(|second| (second, 200)).collect::<Vec<_>>()].concat());
        assert_eq!([longer(299), longer(590), longer(610)], [20, 20, 200]);
        assert_eq!(after(&[(0, 20), (700, 200)]), 200, "nothing was known of the time between");
    }
}
