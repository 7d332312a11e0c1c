//! Events kept for the QSS while it is away: bounded, the oldest go first, and what went is counted, so that the
//! server knows how many it missed (`lost` of the first event after the gap).

use crate::status::event::Event;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub struct Backlog {
    queue: VecDeque<Event>,
    bound: usize,
    lost: u64,
    lost_ever: u64,
}

impl Backlog {
    /// Keeps at most `bound` events.
    pub fn new(bound: usize) -> Backlog {
        Backlog { queue: VecDeque::new(), bound, lost: 0, lost_ever: 0 }
    }

    pub fn push(&mut self, event: Event) {
        self.queue.push_back(event);
        while self.queue.len() > self.bound {
            self.queue.pop_front();
            self.lost += 1;
            self.lost_ever += 1;
        }
    }

    /// The oldest event, which says how many were lost before it.
    pub fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        Some(self.mark(event))
    }

    /// An event that is sent at once, after the queue has been emptied: it says what was lost before it.
    pub fn mark(&mut self, mut event: Event) -> Event {
        event.lost = std::mem::take(&mut self.lost);
        event
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Since the process began.
    pub fn lost_ever(&self) -> u64 {
        self.lost_ever
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Rung;
    use crate::status::event::{Card, Kind, Stamp};
    use crate::time::{Time, WallTime};

    fn events(n: usize) -> impl Iterator<Item = Event> {
        let mut stamp = Stamp::new("d");
        let kind = Kind::Card { card: Card::Lost };
        (0..n).map(move |_| stamp.event(Time::ZERO, WallTime(0), kind.clone(), Rung::Call, None, None))
    }

    fn drain(backlog: &mut Backlog) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| backlog.pop()).map(|e| (e.seq, e.lost)).collect()
    }

    #[test]
    fn order_is_kept_and_the_loss_is_said_once() {
        let mut backlog = Backlog::new(3);
        events(5).for_each(|e| backlog.push(e));
        assert_eq!(drain(&mut backlog), [(3, 2), (4, 0), (5, 0)]);
        assert_eq!(backlog.lost_ever(), 2);
        events(1).for_each(|e| backlog.push(e));
        assert_eq!(drain(&mut backlog), [(1, 0)]);
    }

    #[test]
    fn with_no_room_at_all_the_next_live_event_says_the_loss() {
        let mut backlog = Backlog::new(0);
        events(2).for_each(|e| backlog.push(e));
        let live = events(1).next().expect("one event");
        assert_eq!(backlog.mark(live).lost, 2);
        assert!(backlog.is_empty());
    }
}
