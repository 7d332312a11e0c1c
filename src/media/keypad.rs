//! Digits in the stream (RFC 4733): those we send, packet by packet, and those that are heard, each once.
//!
//! ```text
//!   tick      20    40    60    80   100   120   140   160 ..  200 ms
//!   sent    M 5   5     5     5   E 5   E 5   E 5   audio    M next          all of one digit with one timestamp
//! ```
//!
//! A packet of an event takes the place of one of audio, so digits cost no more than voice. The last one goes out three
//! times (2.5.1.4), a tick apart: a burst of loss takes neighbours.

use crate::dtmf::{Digit, Digits, MAX_DIGITS};
use crate::rtp::event::NamedEvent;
use crate::time::Span;
use heapless::{Deque, HistoryBuf};

/// Two full commands.
const QUEUE: usize = 2 * MAX_DIGITS;
/// How often the end of an event is sent.
const ENDS: u8 = 3;
/// Presses whose stragglers are known again.
const REMEMBERED: usize = 8;
/// A longer press goes on in another event, which begins where the counter of this one ends (RFC 4733 2.5.1.3).
const LONGEST: u32 = 0xffff;

/// Digits on their way out. Spans are in samples at 48 kHz.
#[derive(Debug, Default)]
pub struct Keypad {
    queue: Deque<Digit, QUEUE>,
    tone: u32,
    gap: u32,
    key: Key,
}

#[derive(Clone, Copy, Debug, Default)]
enum Key {
    #[default]
    Up,
    /// Pressed at the timestamp `since`, for `held` samples up to the next tick.
    Down { digit: Digit, since: u32, held: u32 },
    /// To be said so many times more.
    Released { digit: Digit, since: u32, held: u32, left: u8 },
    /// No key for so long, to tell a digit from the next.
    Gap { left: u32 },
}

/// An event packet to send in place of audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Press {
    /// The first of its event.
    pub marker: bool,
    /// At which the event began, at 48 kHz.
    pub timestamp: u32,
    pub digit: Digit,
    pub end: bool,
    /// Samples at 48 kHz.
    pub held: u32,
}

impl Keypad {
    /// Appends `digits`, each of them `tone` long and followed by at least `gap`; what the queue cannot hold is lost.
    pub fn press(&mut self, digits: &Digits, tone: Span, gap: Span) {
        (self.tone, self.gap) = (samples(tone), samples(gap));
        for digit in digits.iter() {
            let _ = self.queue.push_back(digit);
        }
    }

    /// Nothing may be sent any more.
    pub fn release(&mut self) {
        self.queue.clear();
        self.key = Key::Up;
    }

    /// What takes the place of the audio packet that would begin at `timestamp` and be `samples` long. `None`: nothing.
    pub fn next(&mut self, timestamp: u32, samples: u32) -> Option<Press> {
        if let Key::Gap { left } = self.key {
            self.key = if left > samples { Key::Gap { left: left - samples } } else { Key::Up };
            if left > 0 {
                return None;
            }
        }
        match self.key {
            Key::Up => {
                let digit = self.queue.pop_front()?;
                self.key = Key::Down { digit, since: timestamp, held: samples };
                Some(Press { marker: true, timestamp, digit, end: false, held: samples })
            }
            Key::Down { digit, since, held } => {
                let held = held + samples;
                let end = held >= self.tone;
                self.key = if end {
                    Key::Released { digit, since, held, left: ENDS - 1 }
                } else {
                    Key::Down { digit, since, held }
                };
                Some(Press { marker: false, timestamp: since, digit, end, held })
            }
            Key::Released { digit, since, held, left } => {
                self.key = match left {
                    0 | 1 => Key::Gap { left: self.gap.saturating_sub(samples * u32::from(ENDS - 1)) },
                    _ => Key::Released { digit, since, held, left: left - 1 },
                };
                Some(Press { marker: false, timestamp: since, digit, end: true, held })
            }
            Key::Gap { .. } => None,
        }
    }
}

impl Press {
    /// Timestamp and payload in a clock of `clock_rate`.
    pub fn in_clock(&self, clock_rate: u32) -> (u32, NamedEvent) {
        let ratio = (48_000 / clock_rate.max(1)).max(1);
        let duration = (self.held / ratio).min(LONGEST) as u16;
        (self.timestamp / ratio, NamedEvent { code: self.digit.event(), end: self.end, duration })
    }
}

/// Digits on their way in: a press is told with the first packet that is heard of it, whichever that is.
#[derive(Debug, Default)]
pub struct Ear {
    /// Timestamps of presses that were told.
    told: HistoryBuf<u32, REMEMBERED>,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    timestamp: u32,
    event: NamedEvent,
}

impl Ear {
    /// A packet of an event; each only once, in whatever order. The digit, if it is a new press.
    pub fn hear(&mut self, timestamp: u32, marker: bool, event: NamedEvent) -> Option<Digit> {
        if self.told.as_slice().contains(&timestamp) {
            if let Some(last) = self.last.as_mut().filter(|last| last.timestamp == timestamp) {
                last.event.end |= event.end;
                last.event.duration = last.event.duration.max(event.duration);
            }
            return None;
        }
        let goes_on = !marker && self.last.is_some_and(|last| last.goes_on(timestamp, event));
        self.told.write(timestamp);
        self.last = Some(Last { timestamp, event });
        Digit::of_event(event.code).filter(|_| !goes_on)
    }

    /// Another source: its timestamps have nothing to do with those before.
    pub fn restart(&mut self) {
        *self = Ear::default();
    }
}

impl Last {
    /// Whether an event with another timestamp is the same press all the same.
    fn goes_on(&self, timestamp: u32, event: NamedEvent) -> bool {
        let later = timestamp.wrapping_sub(self.timestamp);
        let (before, after) = (u32::from(self.event.duration), u32::from(event.duration));
        if event.code != self.event.code {
            return false;
        }
        if self.event.end {
            // Repetitions of an end by a sender whose timestamps run on (seen with small gateways).
            return event.end && after == before && later < before;
        }
        // The next segment of a long press; or timestamps that run on as the duration does.
        later == LONGEST || (later == before && before > 0) || (after > before && later == after - before)
    }
}

fn samples(span: Span) -> u32 {
    (span.as_micros() * 6 / 125).min(u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u32 = 960;

    /// Everything sent for `digits` in so many ticks, as (tick, press).
    fn sent(digits: &str, tone_ms: u64, gap_ms: u64, tick: u32, ticks: u32) -> Vec<(u32, Press)> {
        let mut keypad = Keypad::default();
        let digits = Digits::parse(digits).expect("digits");
        keypad.press(&digits, Span::from_millis(tone_ms), Span::from_millis(gap_ms));
        let start = u32::MAX - 3 * tick;
        (0..ticks).filter_map(|n| keypad.next(start.wrapping_add(n * tick), tick).map(|press| (n, press))).collect()
    }

    #[test]
    fn a_digit_has_a_marked_start_one_timestamp_and_three_ends() {
        let all = sent("5", 100, 100, TICK, 30);
        let shape: Vec<_> = all.iter().map(|(n, p)| (*n, p.marker, p.end, p.held / TICK)).collect();
        let expected = [
            (0, true, false, 1),
            (1, false, false, 2),
            (2, false, false, 3),
            (3, false, false, 4),
            (4, false, true, 5),
            (5, false, true, 5),
            (6, false, true, 5),
        ];
        assert_eq!(shape, expected);
        assert!(all.iter().all(|(_, p)| p.timestamp == all[0].1.timestamp && p.digit.as_char() == '5'));
    }

    #[test]
    fn between_two_digits_the_gap_passes_with_audio() {
        for (tone, gap, tick) in [(100, 100, 960), (40, 40, 480), (80, 250, 960), (100, 40, 2_880), (70, 70, 1_920)] {
            let all = sent("11", tone, gap, tick, 200);
            let second = all.iter().filter(|(_, p)| p.marker).nth(1).expect("a second press");
            let first_ends = all.iter().find(|(_, p)| p.end).expect("an end");
            let ms = |ticks: u32| u64::from(ticks * tick / 48);
            assert!(ms(first_ends.0 + 1) >= tone, "{tone} {gap} {tick}");
            assert!(ms(second.0 - first_ends.0 - 1) >= gap, "{tone} {gap} {tick}");
            assert_eq!(all.iter().filter(|(_, p)| p.end).count(), 6);
            assert_ne!(second.1.timestamp, first_ends.1.timestamp);
        }
    }

    #[test]
    fn the_clock_may_be_slower() {
        let press = Press {
            marker: false,
            timestamp: 96_000,
            digit: Digit::of_char('#').expect("a key"),
            end: true,
            held: 4_800,
        };
        assert_eq!(press.in_clock(48_000), (96_000, NamedEvent { code: 11, end: true, duration: 4_800 }));
        assert_eq!(press.in_clock(8_000), (16_000, NamedEvent { code: 11, end: true, duration: 800 }));
    }

    /// The digits that are told of the packets of `digits` that `arrives` lets through, in the order of `order`.
    fn heard(digits: &str, arrives: impl Fn(usize) -> bool) -> String {
        let mut ear = Ear::default();
        let packets = sent(digits, 100, 60, TICK, 400);
        let packets = packets.iter().enumerate().filter(|(n, _)| arrives(*n)).map(|(_, (_, press))| press);
        let events = packets.map(|press| (press.in_clock(48_000), press.marker));
        events
            .filter_map(|((timestamp, event), marker)| ear.hear(timestamp, marker, event))
            .map(Digit::as_char)
            .collect()
    }

    #[test]
    fn each_digit_is_told_once_whatever_is_lost_of_it() {
        assert_eq!(heard("1123#", |_| true), "1123#");
        assert_eq!(heard("1123#", |n| n % 7 != 0), "1123#", "no start");
        assert_eq!(heard("1123#", |n| n % 7 < 4), "1123#", "no end");
        for only in 0..7 {
            assert_eq!(heard("1123#", |n| n % 7 == only), "1123#", "only packet {only}");
        }
    }

    #[test]
    fn what_comes_late_or_again_is_not_another_press() {
        let mut ear = Ear::default();
        let event = |code, end, duration| NamedEvent { code, end, duration };
        assert_eq!(ear.hear(1_000, true, event(1, false, 960)).map(Digit::as_char), Some('1'));
        assert_eq!(ear.hear(9_000, true, event(1, false, 960)).map(Digit::as_char), Some('1'));
        for n in 0..5 {
            assert_eq!(ear.hear(1_000, false, event(1, true, 4_800)), None, "straggler {n}");
        }
        assert_eq!(ear.hear(9_000, false, event(1, true, 4_800)), None);
        assert_eq!(ear.hear(20_000, true, event(16, false, 960)), None, "flash is no digit");
    }

    #[test]
    fn a_long_press_is_one_press() {
        let mut ear = Ear::default();
        let mut told = 0;
        for segment in 0..4_u32 {
            let timestamp = 5_u32.wrapping_sub(2 * LONGEST).wrapping_add(segment * LONGEST);
            for duration in (960..=LONGEST).step_by(960) {
                let event = NamedEvent { code: 9, end: false, duration: duration as u16 };
                told += usize::from(ear.hear(timestamp, segment == 0 && duration == 960, event).is_some());
            }
        }
        assert_eq!(told, 1);
    }

    #[test]
    fn a_sender_whose_timestamps_run_on_is_heard_once_a_press() {
        let mut ear = Ear::default();
        let mut told = 0;
        for press in 0..3_u32 {
            for n in 0..8_u32 {
                let end = n >= 5;
                let duration = 960 * (n.min(5) + 1);
                let event = NamedEvent { code: 4, end, duration: duration as u16 };
                told += usize::from(ear.hear(press * 19_200 + n * 960, n == 0 && press > 0, event).is_some());
            }
        }
        assert_eq!(told, 3);
    }

    #[test]
    fn any_packets_are_survived() {
        let mut rng = crate::random::Rng::from_u64(5);
        let mut ear = Ear::default();
        for _ in 0..100_000 {
            let payload = rng.next_u32().to_be_bytes();
            let event = NamedEvent::parse(&payload).expect("four bytes");
            ear.hear(rng.next_u32(), rng.below(2) == 0, event);
        }
    }
}
