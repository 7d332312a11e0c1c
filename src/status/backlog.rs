//! Events on their way to the QSS: kept while it is away, and kept a little longer after they were sent, because nobody
//! acknowledges an event and a dead link swallows what is written to it.
//!
//! ```text
//!   push --> waiting --next--> sent --ping, pong--> gone
//!               ^                |
//!               +---link lost----+      sent again; the server knows repeats by `seq`
//! ```
//!
//! A pong proves that everything sent before its ping has arrived. All is bounded: the oldest go first, and those that
//! were never sent are counted, so that the server knows how many it missed (`lost` of the first event after the gap).

use crate::status::event::Event;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub struct Backlog {
    waiting: VecDeque<Event>,
    sent: VecDeque<Event>,
    /// A ping is out: so many of `sent` went before it.
    covered: Option<usize>,
    bound: usize,
    lost: u64,
    lost_ever: u64,
}

impl Backlog {
    /// Keeps at most `bound` events, and at least the one that is being sent.
    pub fn new(bound: usize) -> Backlog {
        let bound = bound.max(1);
        Backlog { waiting: VecDeque::new(), sent: VecDeque::new(), covered: None, bound, lost: 0, lost_ever: 0 }
    }

    pub fn push(&mut self, event: Event) {
        self.waiting.push_back(event);
        self.shrink();
    }

    /// The next event to send; it says how many were lost before it.
    pub fn next_to_send(&mut self) -> Option<Event> {
        let mut event = self.waiting.pop_front()?;
        event.lost += std::mem::take(&mut self.lost);
        self.sent.push_back(event.clone());
        self.shrink();
        Some(event)
    }

    /// A ping goes out. While one is unanswered, later ones prove nothing more.
    pub fn pinged(&mut self) {
        self.covered.get_or_insert(self.sent.len());
    }

    /// A pong has come.
    pub fn confirmed(&mut self) {
        let covered = self.covered.take().unwrap_or(0).min(self.sent.len());
        self.sent.drain(..covered);
    }

    /// What is not known to have arrived is sent again over the next link.
    pub fn link_lost(&mut self) {
        self.covered = None;
        while let Some(event) = self.sent.pop_back() {
            self.waiting.push_front(event);
        }
    }

    /// Since the process began.
    pub fn lost_ever(&self) -> u64 {
        self.lost_ever
    }

    /// Sent events go first: they have most likely arrived.
    fn shrink(&mut self) {
        while self.waiting.len() + self.sent.len() > self.bound {
            if self.sent.pop_front().is_some() {
                self.covered = self.covered.map(|n| n.saturating_sub(1));
            } else if let Some(event) = self.waiting.pop_front() {
                self.lost += 1 + event.lost;
                self.lost_ever += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Rung;
    use crate::status::event::{Card, Kind, Stamp};
    use crate::time::{Time, WallTime};

    fn filled(bound: usize, n: usize) -> Backlog {
        let mut backlog = Backlog::new(bound);
        let mut stamp = Stamp::new("d");
        let kind = Kind::Card { card: Card::Lost };
        (0..n).for_each(|_| {
            backlog.push(stamp.event(Time::ZERO, WallTime(0), kind.clone(), Rung::Call, None, None));
        });
        backlog
    }

    fn drain(backlog: &mut Backlog) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| backlog.next_to_send()).map(|e| (e.seq, e.lost)).collect()
    }

    #[test]
    fn order_is_kept_and_the_loss_is_said_once() {
        let mut backlog = filled(3, 5);
        assert_eq!(drain(&mut backlog), [(3, 2), (4, 0), (5, 0)]);
        assert_eq!(backlog.lost_ever(), 2);
        assert_eq!(drain(&mut backlog), []);
    }

    #[test]
    fn what_no_pong_proved_is_sent_again() {
        let mut backlog = filled(10, 4);
        assert_eq!((backlog.next_to_send().map(|e| e.seq), backlog.next_to_send().map(|e| e.seq)), (Some(1), Some(2)));
        backlog.pinged();
        assert_eq!(backlog.next_to_send().map(|e| e.seq), Some(3));
        backlog.pinged();
        backlog.confirmed();
        backlog.confirmed();
        backlog.link_lost();
        assert_eq!(drain(&mut backlog), [(3, 0), (4, 0)], "the pong covers only what went before its ping");
    }

    #[test]
    fn sent_events_make_room_before_waiting_ones_are_lost() {
        let mut backlog = filled(4, 3);
        drain(&mut backlog);
        for event in filled(9, 9).waiting.into_iter().skip(3) {
            backlog.push(event);
        }
        assert_eq!(backlog.lost_ever(), 2);
        assert_eq!(drain(&mut backlog), [(6, 2), (7, 0), (8, 0), (9, 0)]);
    }

    #[test]
    fn a_bound_of_zero_still_sends_what_happens_now() {
        let mut backlog = filled(0, 2);
        assert_eq!(drain(&mut backlog), [(2, 1)]);
    }
}
