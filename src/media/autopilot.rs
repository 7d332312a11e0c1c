//! What the encoder is told, from what the receiver reports of the line (RFC 3550 6.4.1, RFC 3611 4.7), under the room's
//! cap; and why.
//!
//! | why | when | packet time | FEC | band | bitrate |
//! |---|---|---|---|---|---|
//! | [`Why::Clean`] | nothing to speak of is lost | planned | off | full | planned |
//! | [`Why::Loss`] | packets are lost | planned, or the next that leaves room | on | wide | twice as much, or three times, if there is room |
//! | [`Why::Bursts`] | they are, several in a row | 40 or 60 ms, if there is room | on | wide | twice as much, or three times, if there is room |
//! | the same, with copies | the peer takes them (RFC 2198), and they fit | as above | off, a copy in each packet | wide | planned, or half of the room |
//! | [`Why::Congestion`] | they are, and the round trip has grown: the line is full | planned | on, if it fits | wide | half |
//! | [`Why::NoRoom`] | they are, and the cap leaves no room for FEC in any packet time | planned | off | full | planned |
//! | [`Why::Configured`] | `codec.fec = "off"` | planned | off | full | planned |
//!
//! Without an expected loss libopus produces no FEC at all, and with it each packet pays: so it is on while there is
//! loss, and off on a clean line. What is expected is always fifteen percent, however much is lost: for more libopus gives
//! the copy more of the same bits, and what the copy gains the packet loses; for less, the copy is too poor to be heard.
//! Wide band (8 kHz) leaves all bits to the part of the signal that the copy has, too.
//!
//! A copy of the whole packet in the next one ([`redundancy`](super::redundancy)) is as good as the packet, and leaves the decoder as if nothing
//! had been lost. It costs as much as the packet, and so needs room for both.
//!
//! Either copy is of one packet. So where packets are lost two or three in a row, longer ones are lost one at a time, and
//! each copy covers the hole. How long bursts are is told by a peer that sends extended reports, within
//! bounds ([`extended`](super::extended)); else it is seen on what comes *from* the peer.

use crate::config::FecMode;
use crate::media::budget::Overhead;
use crate::media::codec::Band;
use crate::media::jitter::MAX_PAYLOAD;
use crate::media::plan::{self, PTIMES};
use crate::media::shortest::Shortest;
use crate::rtp::red;
use crate::time::{Span, Time};

/// Reported loss above which FEC is worth its bits, and below which it goes off again, in percent.
const ON_AT: f32 = 2.0;
const OFF_AT: f32 = 0.5;
/// Each report counts for this much of a falling estimate; a rising one is believed at once.
const FALL: f32 = 0.3;
/// The loss in percent that the encoder is told to expect.
const EXPECTED: u8 = 15;
/// From so many percent of loss on packet and copy have three times as many bits instead of twice, and until less than so many;
/// but no more than a speech coder has a use for.
const MUCH: f32 = 8.0;
const NOT_MUCH: f32 = 5.0;
const USEFUL: u32 = 96_000;
/// Below so many bit/s packet and copy are both worse than the packet without.
const LEAST_WITH_FEC: u32 = 18_000;
/// Packet and copy have so many each, unless no more is wanted: with 18,000 they are still no worse than FEC in the bits of both.
const LEAST_WITH_COPY: u32 = 16_000;
/// A line is full when its round trip is twice the shortest and this much more, and no longer when it is half as long
/// again and half of this more.
const GROWN: Span = Span::from_millis(100);
/// Mean packets of 20 ms lost in a row, from which they are longer.
const BURSTS_OF_2: f32 = 1.7;
const BURSTS_OF_3: f32 = 2.7;
/// Less is never sent because a line is full.
const LEAST_WHEN_FULL: u32 = 12_000;

/// Why the encoder is set as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Why {
    #[default]
    Clean,
    Loss,
    Bursts,
    Congestion,
    NoRoom,
    Configured,
}

impl Why {
    /// The word of the status events.
    pub fn word(self) -> &'static str {
        match self {
            Why::Clean => "clean",
            Why::Loss => "loss",
            Why::Bursts => "bursts",
            Why::Congestion => "congestion",
            Why::NoRoom => "no_room",
            Why::Configured => "configured",
        }
    }
}

/// How the encoder shall be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    pub why: Why,
    pub ptime: Span,
    /// Of the encoder, in bit/s.
    pub bitrate: u32,
    /// The loss in percent that the encoder shall expect; 0: no FEC.
    pub expected_loss: u8,
    /// Each packet has a copy of the one before in it.
    pub redundancy: bool,
    pub band: Band,
}

impl Choice {
    /// Payload that leaves, in bit/s.
    pub fn payload_bitrate(&self) -> u32 {
        match self.redundancy {
            true => self.bitrate.saturating_mul(2).saturating_add(red_bitrate(self.ptime)),
            false => self.bitrate,
        }
    }
}

/// What the plan and the cap allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    pub ptime: Span,
    /// Not less than that.
    pub max_ptime: Span,
    /// Planned payload bitrate in bit/s.
    pub bitrate: u32,
    /// Bits per second on the wire; 0: none.
    pub cap: u32,
    pub overhead: Overhead,
    /// The peer takes copies of packets (RFC 2198).
    pub redundancy: bool,
}

#[derive(Clone, Debug)]
pub struct Autopilot {
    mode: FecMode,
    limits: Limits,
    line: Line,
    /// Smoothed loss in percent.
    loss: f32,
    /// The shortest round trip of late, and the last.
    shortest: Shortest,
    trip: Span,
    /// Packets lost in a row.
    burst: f32,
    /// What packet and copy have together.
    share: Share,
}

/// How many times the bits of a packet without a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Share {
    Two,
    Three,
    /// The line has been full: more may be what is lost.
    NeverThree,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Clean,
    Lossy,
    Full,
}

impl Autopilot {
    pub fn new(mode: FecMode, limits: Limits) -> Autopilot {
        let shortest = Shortest::default();
        let (line, share) = (Line::Clean, Share::Two);
        Autopilot { mode, limits, line, loss: 0.0, shortest, trip: Span::ZERO, burst: 0.0, share }
    }

    /// The same line under another plan.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Packets go elsewhere from now on: that way has a round trip of its own.
    pub fn on_moved(&mut self) {
        self.shortest = Shortest::default();
        self.trip = Span::ZERO;
        self.share = Share::Two;
    }

    /// A report about our stream: the fraction lost in 1/256, and the round trip if the report proves one. `burst`: how
    /// many packets of 20 ms are lost in a row, on average, as far as known.
    pub fn on_report(&mut self, now: Time, fraction_lost: u8, round_trip: Option<Span>, burst: f32) {
        self.burst = burst;
        let reported = f32::from(fraction_lost) * 100.0 / 256.0;
        self.loss = reported.max(self.loss + (reported - self.loss) * FALL);
        // One of no time at all is no round trip.
        if let Some(trip) = round_trip.filter(|trip| *trip > Span::ZERO) {
            self.trip = trip;
            self.shortest.note(now, trip);
        }
        let shortest = self.shortest.trip().unwrap_or(self.trip);
        let full = shortest.times(2) + GROWN;
        let not_full = Span::from_micros((shortest.times(3) + GROWN).as_micros() / 2);
        self.line = match self.line {
            Line::Clean if self.loss < ON_AT => Line::Clean,
            Line::Lossy | Line::Full if self.loss <= OFF_AT => Line::Clean,
            Line::Full if self.trip > not_full => Line::Full,
            Line::Clean | Line::Lossy | Line::Full if self.trip > full => Line::Full,
            Line::Clean | Line::Lossy | Line::Full => Line::Lossy,
        };
        self.share = match self.share {
            _ if self.line == Line::Full => Share::NeverThree,
            Share::Two if self.loss >= MUCH => Share::Three,
            Share::Three if self.loss < NOT_MUCH => Share::Two,
            share @ (Share::Two | Share::Three | Share::NeverThree) => share,
        };
    }

    pub fn choice(&self) -> Choice {
        let Limits { ptime, bitrate, .. } = self.limits;
        let plain = Choice {
            why: Why::Clean,
            ptime,
            bitrate: bitrate.min(self.room(ptime)),
            expected_loss: 0,
            redundancy: false,
            band: Band::Full,
        };
        if self.line == Line::Lossy
            && self.limits.redundancy
            && let Some(repeated) = self.repeated(plain)
        {
            return repeated;
        }
        match (self.mode, self.line) {
            (FecMode::Off, _) => Choice { why: Why::Configured, ..plain },
            (FecMode::Auto, Line::Clean) => plain,
            (FecMode::On, Line::Clean) | (FecMode::Auto | FecMode::On, Line::Lossy) => self.protected(plain),
            (FecMode::Auto | FecMode::On, Line::Full) => self.reduced(plain),
        }
    }

    /// With a copy of each packet in the next one, if the peer takes it and both have room.
    fn repeated(&self, plain: Choice) -> Option<Choice> {
        let longer = self.longer(plain);
        let each = |ptime: Span| {
            let room = self.room(ptime).saturating_sub(red_bitrate(ptime)) / 2;
            self.limits.bitrate.min(room).min(longest_pair(ptime))
        };
        let enough = self.limits.bitrate.min(LEAST_WITH_COPY);
        let fits = |ptime: &Span| *ptime >= longer && each(*ptime) >= enough;
        let ptime = [plain.ptime].into_iter().chain(self.lengths(plain.ptime)).find(fits)?;
        Some(Choice {
            why: if longer > plain.ptime { Why::Bursts } else { Why::Loss },
            ptime,
            bitrate: each(ptime),
            redundancy: true,
            band: Band::Wide,
            ..plain
        })
    }

    /// As long as bursts are.
    fn longer(&self, plain: Choice) -> Span {
        let burst = match self.burst {
            burst if burst >= BURSTS_OF_3 => Span::from_millis(60),
            burst if burst >= BURSTS_OF_2 => Span::from_millis(40),
            _ => plain.ptime,
        };
        self.lengths(plain.ptime).take_while(|ptime| *ptime <= burst).last().unwrap_or(plain.ptime)
    }

    /// From `least` on, as long as the peer takes.
    fn lengths(&self, least: Span) -> impl Iterator<Item = Span> {
        let most = self.limits.max_ptime;
        PTIMES.into_iter().filter(move |ptime| (least..=most).contains(ptime))
    }

    fn protected(&self, plain: Choice) -> Choice {
        let twice = self.limits.bitrate.saturating_mul(2);
        let three_times = self.limits.bitrate.saturating_mul(3).min(USEFUL);
        let wanted = match self.share {
            Share::Two | Share::NeverThree => twice,
            Share::Three => three_times.max(twice),
        };
        let longer = self.longer(plain);
        let fits = |ptime: &Span| wanted.min(self.room(*ptime)) >= LEAST_WITH_FEC;
        match self.lengths(longer).find(fits) {
            Some(ptime) => Choice {
                why: if longer > plain.ptime { Why::Bursts } else { Why::Loss },
                ptime,
                bitrate: wanted.min(self.room(ptime)),
                expected_loss: EXPECTED,
                redundancy: false,
                band: Band::Wide,
            },
            None => Choice { why: Why::NoRoom, ..plain },
        }
    }

    fn reduced(&self, plain: Choice) -> Choice {
        let bitrate = (plain.bitrate / 2).max(LEAST_WHEN_FULL).min(plain.bitrate);
        let expected_loss = if bitrate >= LEAST_WITH_FEC { EXPECTED } else { 0 };
        Choice { why: Why::Congestion, bitrate, expected_loss, band: Band::Wide, ..plain }
    }

    fn room(&self, ptime: Span) -> u32 {
        plan::payload_room(self.limits.cap, ptime, self.limits.overhead)
    }
}

/// What the header of a copy costs, in bit/s.
fn red_bitrate(ptime: Span) -> u32 {
    per_second(red::HEADER_LEN, ptime)
}

/// The bit/s of either, of which two fit into one packet.
fn longest_pair(ptime: Span) -> u32 {
    per_second(((MAX_PAYLOAD - red::HEADER_LEN) / 2).min(red::MAX_COPY), ptime)
}

/// Bit/s of so many bytes in each packet.
fn per_second(bytes: usize, ptime: Span) -> u32 {
    (bytes as u64 * 8_000_000 / ptime.as_micros().max(1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Limits = Limits {
        ptime: Span::from_millis(20),
        max_ptime: Span::from_millis(60),
        bitrate: 32_000,
        cap: 0,
        overhead: Overhead::new(false, None),
        redundancy: false,
    };

    const NOW: Time = Time::from_millis(1_000);

    /// After reports of so many 256ths lost, all with this round trip in ms.
    fn after(pilot: &mut Autopilot, lost: u8, trip: u64, reports: usize) -> Choice {
        (0..reports).for_each(|_| pilot.on_report(NOW, lost, Some(Span::from_millis(trip)), 1.0));
        pilot.choice()
    }

    #[test]
    fn a_clean_line_costs_nothing_and_loss_is_met_at_the_first_report() {
        let mut auto = Autopilot::new(FecMode::Auto, LINE);
        let clean = auto.choice();
        assert_eq!((clean.why, clean.bitrate, clean.expected_loss), (Why::Clean, 32_000, 0));
        assert_eq!(after(&mut auto, 3, 20, 10), clean, "one percent");
        let lossy = after(&mut auto, 15, 20, 1);
        assert_eq!((lossy.why, lossy.bitrate, lossy.band), (Why::Loss, 64_000, Band::Wide));
        assert_eq!(after(&mut auto, 128, 20, 1).expected_loss, EXPECTED, "more is not better");
        let until_clean = (0..30).position(|_| after(&mut auto, 0, 20, 1) == clean);
        assert!(until_clean.is_some_and(|n| (5..20).contains(&n)), "{until_clean:?}");
    }

    #[test]
    fn where_much_is_planned_loss_does_not_ask_for_more_than_is_useful() {
        let asked = |bitrate| after(&mut Autopilot::new(FecMode::Auto, Limits { bitrate, ..LINE }), 26, 20, 1).bitrate;
        assert_eq!([16_000, 40_000, 64_000].map(asked), [48_000, 96_000, 128_000]);
    }

    #[test]
    fn where_much_is_lost_there_are_three_times_the_bits_unless_that_is_why() {
        let mut auto = Autopilot::new(FecMode::Auto, LINE);
        assert_eq!(
            [15, 26, 15].map(|lost| after(&mut auto, lost, 20, 20).bitrate),
            [64_000, 96_000, 96_000],
            "6, 10, 6 %"
        );
        assert_eq!(after(&mut auto, 12, 20, 20).bitrate, 64_000, "4.7 %");
        assert_eq!(after(&mut auto, 26, 400, 1).why, Why::Congestion);
        assert_eq!(after(&mut auto, 26, 20, 20).bitrate, 64_000, "it has been full");
        auto.on_moved();
        assert_eq!(after(&mut auto, 26, 20, 1).bitrate, 96_000, "another way");
    }

    #[test]
    fn loss_is_believed_at_once_and_its_end_when_hardly_any_is_left() {
        let mut auto = Autopilot::new(FecMode::Auto, LINE);
        assert_eq!(after(&mut auto, 6, 20, 1).why, Why::Loss, "2.3 %");
        assert_eq!(after(&mut auto, 3, 20, 100).why, Why::Loss, "one percent would not have been enough");
        assert_eq!(after(&mut auto, 1, 20, 100).why, Why::Clean, "0.4 %");
    }

    #[test]
    fn bursts_are_met_with_packets_as_long_as_they_are() {
        let mut auto = Autopilot::new(FecMode::Auto, LINE);
        let mut with = |burst| {
            auto.on_report(NOW, 26, None, burst);
            (auto.choice().why, auto.choice().ptime.as_millis())
        };
        assert_eq!(
            [1.2, 2.0, 3.0, 9.0].map(&mut with),
            [(Why::Loss, 20), (Why::Bursts, 40), (Why::Bursts, 60), (Why::Bursts, 60)]
        );
        for (max, lossy) in [(20, 20), (30, 20), (50, 40)] {
            for redundancy in [false, true] {
                let limits = Limits { max_ptime: Span::from_millis(max), redundancy, ..LINE };
                let mut auto = Autopilot::new(FecMode::Auto, limits);
                auto.on_report(NOW, 26, None, 9.0);
                assert_eq!(auto.choice().ptime.as_millis(), lossy, "the peer takes no more than {max} ms");
            }
        }
        let mut clean = Autopilot::new(FecMode::Auto, LINE);
        clean.on_report(NOW, 0, None, 3.0);
        assert_eq!(clean.choice().ptime.as_millis(), 20, "what is lost the other way only is not ours to repair");
    }

    #[test]
    fn under_a_cap_fec_takes_the_place_of_bitrate_or_of_short_packets() {
        let lossy = |cap, bitrate| {
            let limits = Limits { cap, bitrate, ..LINE };
            let choice = after(&mut Autopilot::new(FecMode::Auto, limits), 26, 20, 1);
            assert!(choice.bitrate <= plan::payload_room(cap, choice.ptime, limits.overhead), "{cap}: {choice:?}");
            (choice.why, choice.ptime.as_millis(), choice.expected_loss)
        };
        assert_eq!(lossy(64_000, 32_000), (Why::Loss, 20, EXPECTED));
        assert_eq!(lossy(32_000, 14_400), (Why::Loss, 40, EXPECTED), "headers make room");
        let short = Limits { cap: 32_000, bitrate: 14_400, max_ptime: Span::from_millis(20), ..LINE };
        let choice = after(&mut Autopilot::new(FecMode::Auto, short), 26, 20, 1);
        assert_eq!((choice.why, choice.ptime), (Why::NoRoom, short.ptime), "the peer takes no longer ones");
        assert_eq!(lossy(24_000, 14_100), (Why::NoRoom, 20, 0));
        assert_eq!(lossy(0, 6_000), (Why::Loss, 20, EXPECTED));
        assert_eq!(lossy(0, 5_900), (Why::NoRoom, 20, 0), "a bitrate that was asked for is tripled at most");
    }

    #[test]
    fn copies_are_sent_where_the_peer_takes_them_and_packet_and_copy_have_room() {
        let lossy = |cap, bitrate, burst| {
            let limits = Limits { cap, bitrate, redundancy: true, ..LINE };
            let mut auto = Autopilot::new(FecMode::Auto, limits);
            assert!(!auto.choice().redundancy, "a clean line costs nothing");
            auto.on_report(NOW, 26, None, burst);
            let choice = auto.choice();
            assert!(choice.payload_bitrate() <= plan::payload_room(cap, choice.ptime, limits.overhead), "{choice:?}");
            (choice.redundancy, choice.why, choice.ptime.as_millis(), choice.bitrate / 1_000)
        };
        assert_eq!(lossy(0, 32_000, 1.0), (true, Why::Loss, 20, 32));
        assert_eq!(lossy(0, 11_000, 1.0), (true, Why::Loss, 20, 11), "a copy takes nothing from the packet");
        assert_eq!(lossy(0, 510_000, 1.0), (true, Why::Loss, 20, 254), "two of them in one packet");
        assert_eq!(lossy(64_000, 32_000, 1.0), (true, Why::Loss, 20, 21));
        assert_eq!(lossy(64_000, 32_000, 2.0), (true, Why::Bursts, 40, 25));
        assert_eq!(lossy(32_000, 14_400, 1.0), (false, Why::Loss, 40, 21), "FEC costs less");
        let mut full = Autopilot::new(FecMode::Auto, Limits { redundancy: true, ..LINE });
        full.on_report(NOW, 0, Some(Span::from_millis(40)), 1.0);
        assert!(!after(&mut full, 20, 400, 1).redundancy, "what is full is not given twice as much");
    }

    #[test]
    fn a_line_that_is_full_is_given_less_until_it_is_not() {
        let mut auto = Autopilot::new(FecMode::Auto, LINE);
        assert_eq!(after(&mut auto, 0, 40, 3).why, Why::Clean);
        assert_eq!(after(&mut auto, 0, 400, 3).why, Why::Clean, "a long way is no loss");
        let full = after(&mut auto, 20, 400, 1);
        assert_eq!((full.why, full.bitrate, full.expected_loss), (Why::Congestion, 16_000, 0));
        assert_eq!(after(&mut auto, 20, 150, 1).why, Why::Congestion, "not yet");
        assert_eq!(after(&mut auto, 20, 60, 1).why, Why::Loss);
        let mut far = Autopilot::new(FecMode::Auto, LINE);
        assert_eq!(after(&mut far, 20, 600, 2).why, Why::Loss, "far is not full");
        for (planned, least) in [(20_000, 12_000), (11_000, 11_000)] {
            let mut auto = Autopilot::new(FecMode::Auto, Limits { bitrate: planned, ..LINE });
            after(&mut auto, 0, 40, 1);
            assert_eq!(after(&mut auto, 20, 400, 1).bitrate, least, "half of {planned} is no voice");
        }
    }

    #[test]
    fn a_way_that_has_become_longer_for_good_is_not_full_for_ever() {
        let mut auto = Autopilot::new(FecMode::Auto, LINE);
        after(&mut auto, 0, 20, 1);
        let mut minutes = (1..=12).map(|minute| {
            auto.on_report(NOW + Span::from_secs(60 * minute), 20, Some(Span::from_millis(200)), 1.0);
            auto.choice().why
        });
        assert_eq!(minutes.next(), Some(Why::Congestion));
        assert_eq!(minutes.last(), Some(Why::Loss));
    }

    #[test]
    fn another_way_has_another_round_trip_and_one_of_no_time_is_none() {
        let mut auto = Autopilot::new(FecMode::Auto, LINE);
        auto.on_report(NOW, 0, Some(Span::ZERO), 1.0);
        assert_eq!(after(&mut auto, 20, 150, 2).why, Why::Loss);
        let mut auto = Autopilot::new(FecMode::Auto, LINE);
        assert_eq!((after(&mut auto, 0, 20, 1).why, after(&mut auto, 20, 200, 1).why), (Why::Clean, Why::Congestion));
        auto.on_moved();
        assert_eq!(after(&mut auto, 20, 200, 1).why, Why::Loss);
    }

    #[test]
    fn the_other_modes_keep_to_their_word() {
        let mut off = Autopilot::new(FecMode::Off, LINE);
        assert_eq!((after(&mut off, 128, 20, 3).expected_loss, off.choice().why), (0, Why::Configured));
        let mut on = Autopilot::new(FecMode::On, LINE);
        assert_eq!((on.choice().expected_loss, after(&mut on, 0, 20, 9).why), (EXPECTED, Why::Loss));
    }
}
