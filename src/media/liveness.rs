//! What is proven, as events: packets leave, packets arrive, sound is played; each told once when it begins and when
//! it ends.
//!
//! ```text
//!   sending     Off ── packet left ──▶ Proven ── none for silence_timeout: NotSending ──▶ Off
//!   receiving   Quiet ── packet: Receiving ──▶ Heard ── none for silence_timeout: Silent ──▶ Quiet
//!                 └─ Silent again, each silence_timeout
//!   playing     Unproven ── decoded, and the card moves: Playing ──▶ Proven
//!                  ▲ └──── none for silence_timeout although packets arrive: NotPlaying ◀─┘
//! ```

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
    Off,
    Proven { last: Time },
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
    pub fn start(&mut self, now: Time, call: u32, receive: bool) {
        self.stop();
        self.call = call;
        self.expect_packets(now, receive);
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

    /// We are not meant to send: that nothing leaves is no fault.
    pub fn expect_no_sending(&mut self) {
        self.sending = Sending::Off;
    }

    pub fn on_sent(&mut self, now: Time) {
        if let Sending::Off = self.sending {
            self.push(Event::Sending { call: self.call });
        }
        self.sending = Sending::Proven { last: now };
    }

    pub fn on_received(&mut self, now: Time) {
        if let Receiving::Quiet { .. } = self.receiving {
            self.push(Event::Receiving { call: self.call });
        }
        self.receiving = Receiving::Heard { last: now };
    }

    /// The decoder produced sound for the card.
    pub fn on_decoded(&mut self, now: Time) {
        if self.card == Card::Still {
            return;
        }
        if let Playing::Unproven = self.playing {
            self.push(Event::Playing { call: self.call });
        }
        self.playing = Playing::Proven { last: now };
    }

    pub fn on_card(&mut self, moves: bool) {
        self.card = if moves { Card::Moves } else { Card::Still };
    }

    /// Packets of no use came; `more` since the last time.
    pub fn on_invalid(&mut self, kind: PacketKind, more: u64) {
        self.push(Event::Invalid { call: self.call, kind, more });
    }

    pub fn on_bye(&mut self) {
        self.push(Event::PeerBye { call: self.call });
    }

    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let sending = match self.sending {
            Sending::Off => None,
            Sending::Proven { last } => Some(self.wakeup(last, "no packet left")),
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
        let sending_over = matches!(self.sending, Sending::Proven { last } if over(last));
        let playing_over = matches!(self.playing, Playing::Proven { last } if over(last));
        let quiet_since = match self.receiving {
            Receiving::Off => None,
            Receiving::Quiet { since, reported } => over(reported).then_some(since),
            Receiving::Heard { last } => over(last).then_some(last),
        };
        if sending_over {
            self.sending = Sending::Off;
            self.push(Event::NotSending { call });
        }
        if let Some(since) = quiet_since {
            self.receiving = Receiving::Quiet { since, reported: now };
            self.push(Event::Silent { call, since: now.since(since) });
        }
        if playing_over {
            self.playing = Playing::Unproven;
            // Without packets there is nothing to play: `Silent` says that already.
            if let Receiving::Heard { .. } = self.receiving {
                self.push(Event::NotPlaying { call });
            }
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
            liveness.start(Time::ZERO, CALL, true);
            Sim { liveness, now: Time::ZERO, log: Vec::new() }
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
        let mut sim = Sim::new();
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
    fn a_card_that_stands_still_is_told_although_packets_arrive() {
        let mut sim = Sim::new();
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
        let mut sim = Sim::new();
        sim.run(1_000, |l, now| l.on_sent(now)).seen();
        sim.run(5_000, |l, now| l.on_received(now));
        let call = CALL;
        assert_eq!(sim.seen(), [(1_020, Event::Receiving { call }), (3_000, Event::NotSending { call })]);
    }

    #[test]
    fn on_hold_nothing_is_missed() {
        let mut sim = Sim::new();
        sim.liveness.on_card(true);
        sim.run(1_000, all).seen();
        sim.liveness.expect_packets(sim.now, false);
        sim.liveness.expect_no_sending();
        sim.run(60_000, |_, _| {});
        assert_eq!(sim.seen(), []);
        assert_eq!(sim.liveness.poll_timeout(), None);
    }

    #[test]
    fn events_nobody_fetches_are_bounded_and_counted() {
        let mut liveness = Liveness::new(Span::from_secs(2));
        liveness.start(Time::ZERO, 1, true);
        for _ in 0..100 {
            liveness.on_bye();
        }
        assert_eq!(std::iter::from_fn(|| liveness.poll_event()).count(), EVENTS);
        assert_eq!(liveness.dropped(), 100 - EVENTS as u64);
    }
}
