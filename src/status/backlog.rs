//! Events on their way to the QSS: kept while it is away, and kept a little longer after they were sent, because nobody
//! acknowledges an event and a dead link swallows what is written to it.
//!
//! ```text
//!   push --> waiting --next--> sent --ping, pong--> gone
//!               ^                |
//!               +---link lost----+      sent again; the server knows repeats by `seq` and time
//! ```
//!
//! A pong proves that everything sent before its ping has arrived. Only [`WINDOW`] events are sent beyond that proof: a
//! long backlog goes out at the pace of the link, and never overruns its queue. All is bounded: the oldest go first, and
//! those that were never sent are counted, so that the server knows how many it missed (`lost` of the first event after
//! the gap). Of several snapshots that wait only the newest is worth sending.

use crate::status::event::{Event, Kind};
use std::collections::VecDeque;

/// So many events may be on their way unproven: a quarter of what the link's own queue holds.
const WINDOW: usize = 16;

#[derive(Clone, Debug)]
pub struct Backlog {
    waiting: VecDeque<Event>,
    sent: VecDeque<Event>,
    /// Sent since the last proof; unlike `sent` not shortened by the bound.
    unproven: usize,
    covered: Option<Covered>,
    /// Of the latest ping; they count up while the process lives.
    pings: u64,
    /// Of what was sent, and had to make room before a pong proved it.
    doubtful: Gap,
    bound: usize,
    /// So many events may be unproven: [`WINDOW`], and once more at the end.
    window: usize,
    lost: u64,
    lost_ever: u64,
}

/// Events that are not kept any more.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    events: u64,
    /// With those of which they would have said that they were lost.
    told: u64,
}

/// A ping is out: what went before it.
#[derive(Clone, Copy, Debug)]
struct Covered {
    ping: u64,
    /// So many of `sent`.
    kept: usize,
    /// So many of `unproven`.
    unproven: usize,
    doubtful: Gap,
}

impl Backlog {
    /// Keeps at most `bound` events, and at least the one that is being sent.
    pub fn new(bound: usize) -> Backlog {
        let bound = bound.max(1);
        Backlog {
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            unproven: 0,
            covered: None,
            pings: 0,
            doubtful: Gap::default(),
            bound,
            window: WINDOW,
            lost: 0,
            lost_ever: 0,
        }
    }

    pub fn push(&mut self, mut event: Event) {
        if is_snapshot(&event) {
            event.lost += self.drop_snapshots();
        }
        self.waiting.push_back(event);
        self.shrink();
    }

    /// The next event to send; it says how many were lost before it. `None`: nothing waits, or no more may be on its
    /// way before the next pong.
    pub fn next_to_send(&mut self) -> Option<Event> {
        if self.unproven >= self.window {
            return None;
        }
        let mut event = self.waiting.pop_front()?;
        self.unproven += 1;
        event.lost += std::mem::take(&mut self.lost);
        self.sent.push_back(event.clone());
        self.shrink();
        Some(event)
    }

    /// Events wait, and only a pong would let them go; none is asked for yet.
    pub fn needs_ping(&self) -> bool {
        !self.waiting.is_empty() && self.unproven >= self.window && self.covered.is_none()
    }

    /// A ping goes out; its number. While one is unanswered, later ones prove nothing more.
    pub fn pinged(&mut self) -> u64 {
        self.pings += 1;
        let (ping, kept, unproven) = (self.pings, self.sent.len(), self.unproven);
        self.covered.get_or_insert(Covered { ping, kept, unproven, doubtful: self.doubtful });
        self.pings
    }

    /// The pong of that ping has come. It proves the pings before it too: a peer may answer the latest one only (RFC 6455
    /// 5.5.3). One that answers no ping of ours proves nothing.
    pub fn confirmed(&mut self, ping: u64) {
        let answered = |covered: &mut Covered| (covered.ping..=self.pings).contains(&ping);
        let Some(covered) = self.covered.take_if(answered) else { return };
        self.sent.drain(..covered.kept.min(self.sent.len()));
        self.unproven = self.unproven.saturating_sub(covered.unproven);
        self.doubtful.events -= covered.doubtful.events;
        self.doubtful.told -= covered.doubtful.told;
    }

    /// What is not known to have arrived is sent again over the next link, or counted if it is not kept any more.
    pub fn link_lost(&mut self) {
        let doubtful = std::mem::take(&mut self.doubtful);
        self.lost += doubtful.told;
        self.lost_ever += doubtful.events;
        self.covered = None;
        self.unproven = 0;
        while let Some(event) = self.sent.pop_back() {
            self.waiting.push_front(event);
        }
    }

    /// The process ends, and waits for no pong: as many again may go.
    pub fn last_words(&mut self) {
        self.window = 2 * WINDOW;
    }

    /// Since the process began.
    pub fn lost_ever(&self) -> u64 {
        self.lost_ever
    }

    /// A newer snapshot says all that these say. The event after each gap counts them; what comes back is the gap at the
    /// end.
    fn drop_snapshots(&mut self) -> u64 {
        let mut gap = 0;
        for mut event in std::mem::take(&mut self.waiting) {
            if is_snapshot(&event) {
                gap += 1 + event.lost;
                self.lost_ever += 1;
            } else {
                event.lost += std::mem::take(&mut gap);
                self.waiting.push_back(event);
            }
        }
        gap
    }

    /// Sent events go first: they have most likely arrived, which the next pong proves.
    fn shrink(&mut self) {
        while self.waiting.len() + self.sent.len() > self.bound {
            if let Some(event) = self.sent.pop_front() {
                self.doubtful.add(&event);
                if let Some(covered) = self.covered.as_mut().filter(|covered| covered.kept > 0) {
                    covered.kept -= 1;
                    covered.doubtful.add(&event);
                }
            } else if let Some(event) = self.waiting.pop_front() {
                self.lost += 1 + event.lost;
                self.lost_ever += 1;
            }
        }
    }
}

impl Gap {
    fn add(&mut self, event: &Event) {
        self.events += 1;
        self.told += 1 + event.lost;
    }
}

fn is_snapshot(event: &Event) -> bool {
    match event.kind {
        Kind::Snapshot(_) => true,
        Kind::Ladder { .. }
        | Kind::Attempt { .. }
        | Kind::Invite { .. }
        | Kind::Call { .. }
        | Kind::Button { .. }
        | Kind::ButtonDevice { .. }
        | Kind::SipRegistered { .. }
        | Kind::RoomLeft { .. }
        | Kind::CallEnded { .. }
        | Kind::Card { .. }
        | Kind::Economy { .. }
        | Kind::UnknownEvent { .. }
        | Kind::Mute { .. }
        | Kind::Volume { .. }
        | Kind::Hold { .. }
        | Kind::Room(_)
        | Kind::Request { .. }
        | Kind::Digit { .. }
        | Kind::Problem { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Rung;
    use crate::status::event::{Card, Stamp};
    use crate::status::snapshot::{Counters, Snapshot};
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
        let ping = backlog.pinged();
        assert_eq!(backlog.next_to_send().map(|e| e.seq), Some(3));
        backlog.pinged();
        backlog.confirmed(ping);
        backlog.confirmed(ping);
        backlog.link_lost();
        assert_eq!(drain(&mut backlog), [(3, 0), (4, 0)], "the pong covers only what went before its ping");
    }

    #[test]
    fn a_pong_proves_only_the_pings_up_to_its_own() {
        for (pong, left) in [(0, 2), (1, 2), (2, 0), (3, 0), (4, 2), (u64::MAX, 2)] {
            let mut backlog = filled(10, 2);
            backlog.pinged();
            backlog.confirmed(1);
            drain(&mut backlog);
            backlog.pinged();
            backlog.pinged();
            backlog.confirmed(pong);
            backlog.link_lost();
            assert_eq!(drain(&mut backlog).len(), left, "pong {pong}");
        }
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
    fn sent_events_that_made_room_are_counted_unless_a_pong_proves_them() {
        let events =
            |range: std::ops::Range<usize>| filled(20, 20).waiting.into_iter().skip(range.start).take(range.len());
        for (pings, pong, told) in [(false, false, 4), (true, false, 4), (true, true, 0)] {
            let mut backlog = filled(4, 4);
            drain(&mut backlog);
            let ping = if pings { backlog.pinged() } else { 0 };
            events(4..8).for_each(|event| backlog.push(event));
            if pong {
                backlog.confirmed(ping);
            }
            backlog.link_lost();
            assert_eq!(drain(&mut backlog), [(5, told), (6, 0), (7, 0), (8, 0)], "ping {pings}, pong {pong}");
            assert_eq!(backlog.lost_ever(), told);
        }
        // What made room after the ping is not proven by its pong.
        let mut backlog = filled(2, 1);
        drain(&mut backlog);
        let ping = backlog.pinged();
        for event in events(1..4) {
            backlog.push(event);
            drain(&mut backlog);
        }
        backlog.confirmed(ping);
        backlog.link_lost();
        assert_eq!(drain(&mut backlog), [(3, 1), (4, 0)], "the second was sent after the ping");
    }

    #[test]
    fn a_bound_of_zero_still_sends_what_happens_now() {
        let mut backlog = filled(0, 2);
        assert_eq!(drain(&mut backlog), [(2, 1)]);
    }

    #[test]
    fn a_long_backlog_waits_for_pongs_and_arrives_whole() {
        let mut backlog = filled(100, 50);
        let mut batches = Vec::new();
        loop {
            let batch = drain(&mut backlog);
            if batch.is_empty() {
                break;
            }
            batches.push(batch.len());
            assert_eq!(backlog.needs_ping(), batch.len() == WINDOW);
            let ping = backlog.pinged();
            assert!(!backlog.needs_ping(), "one ping is enough");
            backlog.confirmed(ping);
        }
        assert_eq!(batches, [16, 16, 16, 2]);
        // A bound below the window does not lift it.
        let mut small = filled(4, 4);
        let sent: usize = (0..30)
            .map(|_| {
                small.push(filled(1, 1).waiting.remove(0).expect("one waits"));
                drain(&mut small).len()
            })
            .sum();
        assert_eq!(sent, WINDOW);
        small.link_lost();
        assert!(!drain(&mut small).is_empty(), "a new link has its own window");
    }

    #[test]
    fn of_waiting_snapshots_the_newest_is_sent_and_the_others_counted() {
        let mut stamp = Stamp::new("d");
        let snapshot = Snapshot {
            version: "1",
            since_ms: 0,
            facts: Vec::new(),
            muted: false,
            playback_db: Default::default(),
            capture_db: Default::default(),
            held: false,
            held_calls: Vec::new(),
            participants: Vec::new(),
            participants_more: 0,
            counters: Counters::default(),
            media: None,
        };
        let mut backlog = Backlog::new(100);
        for kind in [
            Kind::Snapshot(Box::new(snapshot.clone())),
            Kind::Card { card: Card::Lost },
            Kind::Snapshot(Box::new(snapshot.clone())),
            Kind::Snapshot(Box::new(snapshot)),
        ] {
            backlog.push(stamp.event(Time::ZERO, WallTime(0), kind, Rung::Call, None, None));
        }
        assert_eq!(drain(&mut backlog), [(2, 1), (4, 1)]);
        assert_eq!(backlog.lost_ever(), 2);
    }
}
