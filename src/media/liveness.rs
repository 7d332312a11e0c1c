//! What is proven, as events: packets leave, packets arrive, sound is played; each told once when it begins and when
//! it ends.
//!
//! ```text
//!   sending     Due ── packet left: Sending ──▶ Proven ── none for silence_timeout: NotSending ──▶ Missing
//!                └─ none for silence_timeout: NotSending ──▶ Missing ── packet left: Sending ──▶ Proven
//!   receiving   Quiet ── packet: Receiving ──▶ Heard ── none for silence_timeout: Silent ──▶ Quiet
//!                 └─ Silent again, each silence_timeout
//!   playing     Unproven ── heard, decoded, and the card moves: Playing ──▶ Proven
//!                  ▲ └──── none for silence_timeout although packets arrive: NotPlaying ◀─┘
//! ```
//!
//! `sending` and `receiving` are Off where the other side holds the call. `Silent` ends `playing` too: it is told anew
//! when packets come again, and so is each rung after a hold.

use crate::media::command::{Event, PacketKind};
use crate::time::{Span, Time, Wakeup, soonest};
use heapless::Deque;

/// More than a call can produce between two looks of the media thread; beyond it the oldest are dropped and counted.
const EVENTS: usize = 16;

#[derive(Debug)]
pub struct Liveness {
    call: u32,
    silence_timeout: Span,
    sending: Sending,
    receiving: Receiving,
    playing: Playing,
    card: Card,
    events: Deque<Event, EVENTS>,
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
enum Sending {
    /// We are not meant to send.
    Off,
    /// The first packet has not left yet.
    Due {
        since: Time,
    },
    Proven {
        last: Time,
    },
    /// That nothing leaves has been told.
    Missing,
}

#[derive(Clone, Copy, Debug)]
enum Receiving {
    /// The other side is not meant to send.
    Off,
    Quiet {
        since: Time,
        reported: Time,
    },
    Heard {
        last: Time,
    },
}

#[derive(Clone, Copy, Debug)]
enum Playing {
    Unproven,
    Proven { last: Time },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Card {
    Still,
    Moves,
}

impl Liveness {
    pub fn new(silence_timeout: Span) -> Liveness {
        Liveness {
            call: 0,
            // Zero would be due again as soon as it was handled.
            silence_timeout: if silence_timeout == Span::ZERO { Span::from_millis(1) } else { silence_timeout },
            sending: Sending::Off,
            receiving: Receiving::Off,
            playing: Playing::Unproven,
            card: Card::Still,
            events: Deque::new(),
            dropped: 0,
        }
    }

    /// A call begins: nothing is proven yet.
    pub fn start(&mut self, now: Time, call: u32, send: bool, receive: bool) {
        self.stop();
        self.call = call;
        // The card of the call before says nothing about the card of this one.
        self.card = Card::Still;
        self.expect_packets(now, receive);
        self.expect_sending(now, send);
    }

    pub fn stop(&mut self) {
        self.sending = Sending::Off;
        self.receiving = Receiving::Off;
        self.playing = Playing::Unproven;
    }

    /// Whether the other side may send has been negotiated.
    pub fn expect_packets(&mut self, now: Time, receive: bool) {
        match (self.receiving, receive) {
            (Receiving::Off, true) => self.receiving = Receiving::Quiet { since: now, reported: now },
            (Receiving::Quiet { .. } | Receiving::Heard { .. }, false) => {
                self.receiving = Receiving::Off;
                self.playing = Playing::Unproven;
            }
            (Receiving::Off, false) | (Receiving::Quiet { .. } | Receiving::Heard { .. }, true) => {}
        }
    }

    /// Whether we may send has been negotiated; if not, that nothing leaves is no fault.
    pub fn expect_sending(&mut self, now: Time, send: bool) {
        match (self.sending, send) {
            (Sending::Off, true) => self.sending = Sending::Due { since: now },
            (Sending::Due { .. } | Sending::Proven { .. } | Sending::Missing, false) => self.sending = Sending::Off,
            (Sending::Off, false) | (Sending::Due { .. } | Sending::Proven { .. } | Sending::Missing, true) => {}
        }
    }

    pub fn on_sent(&mut self, now: Time) {
        match self.sending {
            Sending::Off => return,
            Sending::Due { .. } | Sending::Missing => self.push(Event::Sending { call: self.call }),
            Sending::Proven { .. } => {}
        }
        self.sending = Sending::Proven { last: now };
    }

    pub fn on_received(&mut self, now: Time) {
        match self.receiving {
            // A straggler: what comes after the hold is to be told as new.
            Receiving::Off => return,
            Receiving::Quiet { .. } => self.push(Event::Receiving { call: self.call }),
            Receiving::Heard { .. } => {}
        }
        self.receiving = Receiving::Heard { last: now };
    }

    /// The decoder produced sound for the card.
    pub fn on_decoded(&mut self, now: Time) {
        match (self.receiving, self.card) {
            (Receiving::Heard { .. }, Card::Moves) => {}
            // What is left in the buffer after the last packet proves nothing new.
            (Receiving::Off | Receiving::Quiet { .. }, _) | (_, Card::Still) => return,
        }
        if let Playing::Unproven = self.playing {
            self.push(Event::Playing { call: self.call });
        }
        self.playing = Playing::Proven { last: now };
    }

    /// A packet came that has no sound in it: that nothing is played is no fault of the card.
    pub fn on_soundless(&mut self, now: Time) {
        if let (Playing::Proven { last }, Card::Moves) = (&mut self.playing, self.card) {
            *last = now;
        }
    }

    pub fn on_card(&mut self, moves: bool) {
        self.card = if moves { Card::Moves } else { Card::Still };
    }

    /// Packets of no use came; `more` since the last time.
    pub fn on_invalid(&mut self, kind: PacketKind, more: u64) {
        self.push(Event::Invalid { call: self.call, kind, more });
    }

    /// So many times in a row the peer's reports have said that it does not hear us.
    pub fn on_unheard(&mut self, times: u32) {
        self.push(Event::Unheard { call: self.call, times });
    }

    pub fn on_bye(&mut self) {
        self.push(Event::PeerBye { call: self.call });
    }

    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let sending = match self.sending {
            Sending::Off | Sending::Missing => None,
            Sending::Due { since: last } | Sending::Proven { last } => Some(self.wakeup(last, "no packet left")),
        };
        let receiving = match self.receiving {
            Receiving::Off => None,
            Receiving::Quiet { reported, .. } => Some(self.wakeup(reported, "no packet came")),
            Receiving::Heard { last } => Some(self.wakeup(last, "no packet came")),
        };
        let playing = match self.playing {
            Playing::Unproven => None,
            Playing::Proven { last } => Some(self.wakeup(last, "nothing was played")),
        };
        soonest(soonest(sending, receiving), playing)
    }

    pub fn handle_timeout(&mut self, now: Time) {
        let call = self.call;
        let over = |since: Time| now.since(since) >= self.silence_timeout;
        let sending_over = match self.sending {
            Sending::Due { since: last } | Sending::Proven { last } => over(last),
            Sending::Off | Sending::Missing => false,
        };
        let playing_over = matches!(self.playing, Playing::Proven { last } if over(last));
        let quiet_since = match self.receiving {
            Receiving::Off => None,
            Receiving::Quiet { since, reported } => over(reported).then_some(since),
            Receiving::Heard { last } => over(last).then_some(last),
        };
        if sending_over {
            self.sending = Sending::Missing;
            self.push(Event::NotSending { call });
        }
        if let Some(since) = quiet_since {
            self.receiving = Receiving::Quiet { since, reported: now };
            self.push(Event::Silent { call, since: now.since(since) });
            // Without packets there is nothing to play: `Silent` says that already.
            self.playing = Playing::Unproven;
        } else if playing_over {
            self.playing = Playing::Unproven;
            self.push(Event::NotPlaying { call });
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Events that nobody fetched in time.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn wakeup(&self, since: Time, why: &'static str) -> Wakeup {
        Wakeup::new(since + self.silence_timeout, why)
    }

    fn push(&mut self, event: Event) {
        if self.events.is_full() {
            self.events.pop_front();
            self.dropped += 1;
        }
        // There is room now: the ring holds more than one.
        let _ = self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: u32 = 3;

    struct Sim {
        liveness: Liveness,
        now: Time,
        log: Vec<(u64, Event)>,
    }

    impl Sim {
        fn new() -> Sim {
            let mut liveness = Liveness::new(Span::from_secs(2));
            liveness.start(Time::ZERO, CALL, false, true);
            Sim { liveness, now: Time::ZERO, log: Vec::new() }
        }

        fn sending() -> Sim {
            let mut sim = Sim::new();
            sim.liveness.expect_sending(Time::ZERO, true);
            sim
        }

        /// Lets `ms` pass in steps of 20 ms, doing `each` at every step.
        fn run(&mut self, ms: u64, mut each: impl FnMut(&mut Liveness, Time)) -> &mut Sim {
            for _ in 0..ms / 20 {
                self.now += Span::from_millis(20);
                each(&mut self.liveness, self.now);
                while self.liveness.poll_timeout().is_some_and(|w| w.at <= self.now) {
                    self.liveness.handle_timeout(self.now);
                    assert!(self.liveness.poll_timeout().is_none_or(|w| w.at > self.now));
                }
                while let Some(event) = self.liveness.poll_event() {
                    self.log.push((self.now.as_millis(), event));
                }
            }
            self
        }

        fn seen(&mut self) -> Vec<(u64, Event)> {
            std::mem::take(&mut self.log)
        }
    }

    fn all(l: &mut Liveness, now: Time) {
        l.on_sent(now);
        l.on_received(now);
        l.on_decoded(now);
    }

    #[test]
    fn each_rung_is_told_once() {
        let mut sim = Sim::sending();
        sim.liveness.on_card(true);
        sim.run(10_000, all);
        let (call, at) = (CALL, 20);
        assert_eq!(
            sim.seen(),
            [(at, Event::Sending { call }), (at, Event::Receiving { call }), (at, Event::Playing { call })]
        );
    }

    #[test]
    fn silence_is_told_again_and_again_and_ends_with_the_next_packet() {
        let mut sim = Sim::new();
        let call = CALL;
        sim.run(5_000, |_, _| {});
        let silences: Vec<_> =
            sim.seen().into_iter().map(|(at, event)| (at, matches!(event, Event::Silent { .. }))).collect();
        assert_eq!(silences, [(2_000, true), (4_000, true)], "silent from the start");
        sim.run(1_000, |l, now| l.on_received(now));
        assert_eq!(sim.seen(), [(5_020, Event::Receiving { call })]);
        sim.run(2_100, |_, _| {});
        assert_eq!(sim.seen().len(), 1);
    }

    #[test]
    fn of_packets_without_sound_nothing_has_to_be_played() {
        let mut sim = Sim::sending();
        sim.liveness.on_card(true);
        sim.run(1_000, all).seen();
        let soundless = |l: &mut Liveness, now| {
            l.on_sent(now);
            l.on_received(now);
            l.on_soundless(now);
        };
        sim.run(5_000, soundless);
        assert_eq!(sim.seen(), []);
        sim.liveness.on_card(false);
        sim.run(5_000, soundless);
        assert_eq!(sim.seen(), [(8_000, Event::NotPlaying { call: CALL })], "but the card has to move");
    }

    #[test]
    fn a_card_that_stands_still_is_told_although_packets_arrive() {
        let mut sim = Sim::sending();
        sim.liveness.on_card(true);
        sim.run(1_000, all).seen();
        sim.liveness.on_card(false);
        sim.run(5_000, all);
        assert_eq!(sim.seen(), [(3_000, Event::NotPlaying { call: CALL })]);
        sim.liveness.on_card(true);
        sim.run(100, all);
        assert_eq!(sim.seen(), [(6_020, Event::Playing { call: CALL })]);
    }

    #[test]
    fn a_dead_capture_clock_is_told() {
        let mut sim = Sim::sending();
        sim.run(1_000, |l, now| l.on_sent(now)).seen();
        sim.run(5_000, |l, now| l.on_received(now));
        let call = CALL;
        assert_eq!(sim.seen(), [(1_020, Event::Receiving { call }), (3_000, Event::NotSending { call })]);
    }

    #[test]
    fn on_hold_nothing_is_missed() {
        let mut sim = Sim::sending();
        sim.liveness.on_card(true);
        sim.run(1_000, all).seen();
        sim.liveness.expect_packets(sim.now, false);
        sim.liveness.expect_sending(sim.now, false);
        sim.run(100, all);
        sim.run(60_000, |_, _| {});
        assert_eq!(sim.seen(), [], "stragglers neither");
        assert_eq!(sim.liveness.poll_timeout(), None);
        sim.liveness.expect_packets(sim.now, true);
        sim.liveness.expect_sending(sim.now, true);
        sim.run(100, all);
        let (call, at) = (CALL, 61_120);
        let again = [(at, Event::Sending { call }), (at, Event::Receiving { call }), (at, Event::Playing { call })];
        assert_eq!(sim.seen(), again);
    }

    #[test]
    fn after_a_silence_playing_is_told_again() {
        let mut sim = Sim::sending();
        sim.liveness.on_card(true);
        sim.run(1_000, all).seen();
        // What is concealed after the last packet must not look like playing.
        sim.run(2_500, |l, now| {
            l.on_sent(now);
            l.on_decoded(now);
        });
        assert_eq!(sim.seen(), [(3_000, Event::Silent { call: CALL, since: Span::from_secs(2) })]);
        sim.run(100, all);
        let call = CALL;
        assert_eq!(sim.seen(), [(3_520, Event::Receiving { call }), (3_520, Event::Playing { call })]);
    }

    #[test]
    fn a_call_of_which_nothing_ever_leaves_is_told() {
        let mut sim = Sim::sending();
        sim.run(10_000, |l, now| l.on_received(now));
        let call = CALL;
        assert_eq!(sim.seen(), [(20, Event::Receiving { call }), (2_000, Event::NotSending { call })]);
        sim.run(20, |l, now| l.on_sent(now));
        assert_eq!(sim.seen(), [(10_020, Event::Sending { call })]);
    }

    #[test]
    fn the_card_of_the_last_call_proves_nothing_in_the_next() {
        let mut sim = Sim::sending();
        sim.liveness.on_card(true);
        sim.run(100, all).seen();
        sim.liveness.start(sim.now, CALL + 1, true, true);
        sim.run(100, all);
        assert!(!sim.seen().iter().any(|(_, event)| matches!(event, Event::Playing { .. })));
    }

    #[test]
    fn events_nobody_fetches_are_bounded_and_counted() {
        let mut liveness = Liveness::new(Span::from_secs(2));
        liveness.start(Time::ZERO, 1, false, true);
        for _ in 0..100 {
            liveness.on_bye();
        }
        assert_eq!(std::iter::from_fn(|| liveness.poll_event()).count(), EVENTS);
        assert_eq!(liveness.dropped(), 100 - EVENTS as u64);
    }
}
