//! The cap, enforced and proven: every bit put on the wire in the last second, payload and headers, RTP and RTCP.
//!
//! One ring of what was sent answers two questions: how many bits the next packet may have, and how many bits the
//! busiest second had. There is no averaging between them: what is refused here never leaves.
//!
//! ```text
//!   ──┬────┬────┬────┬────┬────┬────┬─▶ now        allowed now  =  cap  -  all bits inside  -  kept for RTCP
//!     │◀─────────── WINDOW ────────▶│
//! ```

use crate::rtp::packet::HEADER_LEN;
use crate::rtp::rtcp;
use crate::rtp::xr::Asked;
use crate::srtp::Suite;
use crate::time::{Span, Time};
use heapless::Deque;

/// A second, and what a clock beside the wire may see differently.
pub const WINDOW: Span = Span::from_millis(1_005);
const SECOND: Span = Span::from_millis(1_000);
/// A second of 2.5 ms packets and RTCP.
const ENTRIES: usize = 512;
/// Of them, kept for RTCP.
const RTCP_ENTRIES: usize = 8;

/// What travels around the payload of RTP and RTCP: IP and UDP headers, the header of RTP, what SRTP adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overhead {
    ipv6: bool,
    suite: Option<Suite>,
    extended: Asked,
}

impl Overhead {
    pub const fn new(ipv6: bool, suite: Option<Suite>) -> Overhead {
        Overhead { ipv6, suite, extended: Asked::NOTHING }
    }

    /// The same with extended reports.
    pub const fn telling(self, extended: Asked) -> Overhead {
        Overhead { extended, ..self }
    }

    /// Bytes around the payload of an RTP packet.
    pub fn of_rtp(self) -> u32 {
        self.ip_udp() + HEADER_LEN as u32 + self.suite.map_or(0, |suite| suite.rtp_overhead() as u32)
    }

    /// Bytes around an RTCP packet.
    pub fn of_rtcp(self) -> u32 {
        self.ip_udp() + self.suite.map_or(0, |suite| suite.rtcp_overhead() as u32)
    }

    /// The largest report of ours (SR, one block, SDES, what the peer asks for, BYE) on the wire: always left free, so that
    /// no report waits.
    pub fn rtcp_reserve_bits(self) -> u32 {
        (self.of_rtcp() + rtcp::max_len(self.extended) as u32) * 8
    }

    fn ip_udp(self) -> u32 {
        if self.ipv6 { 48 } else { 28 }
    }
}

/// How many packets of this length a [`WINDOW`] can hold.
pub fn packets_per_window(ptime: Span) -> u32 {
    (WINDOW.as_micros() / ptime.as_micros().max(1)) as u32 + 1
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Media,
    Rtcp,
}

#[derive(Debug)]
pub struct Budget {
    sent: Deque<Entry, ENTRIES>,
    /// Bits per second; 0: none.
    cap: u32,
    rtcp_reserve: u32,
    busiest_second: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Time,
    bits: u32,
    kind: Kind,
}

impl Budget {
    pub fn new() -> Budget {
        Budget { sent: Deque::new(), cap: 0, rtcp_reserve: 0, busiest_second: 0 }
    }

    /// A new cap counts what the old one let through.
    pub fn set_cap(&mut self, cap: u32, overhead: Overhead) {
        self.cap = cap;
        self.rtcp_reserve = overhead.rtcp_reserve_bits();
    }

    /// Bits that a packet leaving now may have, all headers counted.
    pub fn allowed(&mut self, now: Time, kind: Kind) -> u32 {
        self.forget(now);
        if self.cap == 0 {
            return u32::MAX;
        }
        let free = self.sent.capacity() - self.sent.len();
        if free == 0 || (kind == Kind::Media && free <= RTCP_ENTRIES) {
            return 0;
        }
        let (mut all, mut rtcp) = (0, 0);
        for entry in &self.sent {
            all += entry.bits;
            match entry.kind {
                Kind::Rtcp => rtcp += entry.bits,
                Kind::Media => {}
            }
        }
        let kept = match kind {
            Kind::Media => self.rtcp_reserve.saturating_sub(rtcp),
            Kind::Rtcp => 0,
        };
        self.cap.saturating_sub(all + kept)
    }

    /// What has to be left over so that a packet of `bits` can follow every `ptime`, as what was sent leaves the window.
    pub fn needed_later(&self, now: Time, ptime: Span, bits: u32) -> u32 {
        let (mut needed, mut freed) = (0, 0);
        for entry in &self.sent {
            // Just before this entry is forgotten, so many packets will have followed.
            let remaining = (entry.at + WINDOW).since(now).as_micros().saturating_sub(1);
            let packets = (remaining / ptime.as_micros().max(1)) as u32;
            needed = needed.max(packets.saturating_mul(bits).saturating_sub(freed));
            freed += entry.bits;
        }
        needed
    }

    pub fn on_sent(&mut self, now: Time, bits: u32, kind: Kind) {
        self.forget(now);
        if let Err(entry) = self.sent.push_back(Entry { at: now, bits, kind })
            && let Some(last) = self.sent.back_mut()
        {
            // Only without a cap can the ring be full: the sum stays right, the moment is off by a few milliseconds.
            last.bits += entry.bits;
        }
        self.busiest_second = self.busiest_second.max(self.last_second(now));
    }

    pub fn last_second(&self, now: Time) -> u32 {
        self.sent.iter().filter(|entry| now.since(entry.at) < SECOND).map(|entry| entry.bits).sum()
    }

    /// The largest number of bits in any one second of this call.
    pub fn busiest_second(&self) -> u32 {
        self.busiest_second
    }

    fn forget(&mut self, now: Time) {
        while self.sent.front().is_some_and(|entry| now.since(entry.at) >= WINDOW) {
            self.sent.pop_front();
        }
    }
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;
    use crate::rtp::xr::RoundTrip;

    const PLAIN: Overhead = Overhead::new(false, None);

    #[test]
    fn no_second_of_any_traffic_exceeds_the_cap() {
        for seed in 0..20 {
            let mut rng = Rng::from_u64(seed);
            let mut budget = Budget::new();
            budget.set_cap(24_000, PLAIN);
            let mut sent: Vec<(Time, u32)> = Vec::new();
            let mut now = Time::ZERO;
            for _ in 0..3_000 {
                now += Span::from_micros(rng.below(30_000));
                let kind = if rng.below(100) == 0 { Kind::Rtcp } else { Kind::Media };
                let bits = budget.allowed(now, kind).min(rng.below(3_000) as u32);
                if bits > 0 {
                    budget.on_sent(now, bits, kind);
                    sent.push((now, bits));
                }
            }
            let busiest = (sent.iter())
                .map(|(end, _)| sent.iter().filter(|(at, _)| *at <= *end && end.since(*at) < SECOND).map(|s| s.1).sum())
                .max();
            assert_eq!(busiest, Some(budget.busiest_second()), "seed {seed}");
            assert!(budget.busiest_second() <= 24_000, "seed {seed}: {}", budget.busiest_second());
            assert!(budget.busiest_second() > 20_000, "seed {seed}: the cap is used");
        }
    }

    #[test]
    fn a_report_always_finds_room() {
        let all = Asked { round_trip: RoundTrip::All, voip_metrics: true };
        for overhead in [PLAIN, PLAIN.telling(all)] {
            let mut budget = Budget::new();
            budget.set_cap(16_000, overhead);
            for ms in 0..5_000 {
                let now = Time::from_millis(ms);
                let bits = budget.allowed(now, Kind::Media).min(300);
                if bits > 0 {
                    budget.on_sent(now, bits, Kind::Media);
                }
                assert!(budget.allowed(now, Kind::Rtcp) >= overhead.rtcp_reserve_bits(), "at {ms} ms");
            }
        }
        assert_eq!(PLAIN.telling(all).rtcp_reserve_bits() - PLAIN.rtcp_reserve_bits(), 480);
        assert_eq!(PLAIN.telling(Asked::NOTHING), PLAIN);
    }

    #[test]
    fn without_a_cap_everything_is_allowed_and_counted() {
        let mut budget = Budget::new();
        for ms in 0..2_000 {
            assert_eq!(budget.allowed(Time::from_millis(ms), Kind::Media), u32::MAX);
            budget.on_sent(Time::from_millis(ms), 100, Kind::Media);
        }
        let counted = budget.last_second(Time::from_millis(1_999));
        assert!((99_000..=126_000).contains(&counted), "{counted}");
    }
}
