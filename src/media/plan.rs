//! The bitrate cap: which packet time and which codec bitrate fit under it, headers counted.
//!
//! A packet costs 40 bytes of headers whatever it carries, so a low cap forces longer packets:
//!
//! | cap kbit/s | packet | headers bit/s | left for Opus | asked of the mixer |
//! |---|---|---|---|---|
//! | 16 | 60 ms | 5 333 | 9 400 | 6 000 (see below) |
//! | 24 | 40 ms | 8 000 | 14 100 | 6 400 |
//! | 32 | 20 ms | 16 000 | 14 400 | 14 000 |
//! | 64 | 20 ms | 16 000 | 45 800 | 44 400 |
//!
//! The mixer always sends 20 ms packets, and Opus does not go below 6 kbit/s: what it sends us takes at least 22 kbit/s
//! with its headers. Under a cap of about 24 kbit/s its direction cannot keep the cap; ours does.
//!
//! This is a plan, made once; [`budget`](super::budget) holds every packet to the cap.

use crate::config::Codec;
use crate::media::budget::{Overhead, packets_per_window};
use crate::srtp::Suite;
use crate::time::Span;

/// IPv4 (20), UDP (8) and RTP (12) on each packet. The plan is made before the route is known; IPv6 has 20 bytes more.
const PLAIN: Overhead = Overhead::new(false, None);
/// RFC 7587 6.1: the least `maxaveragebitrate`.
const MIN_BITRATE: u32 = 6_000;
/// Below it speech suffers more than a longer packet costs in delay.
const SENSIBLE_BITRATE: u32 = 12_000;
/// The same for packets below 10 ms, in which Opus cannot use its speech coder.
const SENSIBLE_SHORT_BITRATE: u32 = 24_000;
pub const LONGEST_PTIME: Span = Span::from_millis(60);
/// The packet times that we send, shortest first: those of Opus' speech coder, which alone can repeat the packet before ...
pub const PTIMES: [Span; 4] = [Span::from_millis(10), Span::from_millis(20), Span::from_millis(40), LONGEST_PTIME];
/// ... and those without it, which are sent only where they are asked for.
const SHORT_PTIMES: [Span; 2] = [Span::from_micros(2_500), Span::from_millis(5)];
const MIXER_PTIME: Span = Span::from_millis(20);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    pub ptime: Span,
    /// Opus payload bitrate in bit/s.
    pub bitrate: u32,
    /// What we ask the mixer for in `maxaveragebitrate`; it sends 20 ms packets whatever we say.
    pub max_average_bitrate: u32,
}

/// `cap` in bit/s on the wire, RTCP included; 0: none.
///
/// The wanted packet time stays if a sensible bitrate fits beside its headers; else the shortest longer one that leaves
/// it; else the longest.
pub fn plan(codec: &Codec, cap: u32) -> Plan {
    plan_around(codec, cap, PLAIN)
}

/// The same for protected media under the suite with the longest tags that may be agreed on.
pub fn plan_protected(codec: &Codec, cap: u32, suites: impl Iterator<Item = Suite>) -> Plan {
    let longest = suites.max_by_key(|suite| suite.rtp_overhead());
    plan_around(codec, cap, Overhead::new(false, longest))
}

fn plan_around(codec: &Codec, cap: u32, overhead: Overhead) -> Plan {
    let wanted = codec.bitrate;
    let enough = |ptime: &Span| match SHORT_PTIMES.contains(ptime) {
        true => wanted.min(SENSIBLE_SHORT_BITRATE),
        false => wanted.min(SENSIBLE_BITRATE),
    };
    // Written as whole milliseconds, 2.5 ms are 3 (RFC 7587 6.1).
    let mut candidates = SHORT_PTIMES
        .into_iter()
        .chain(PTIMES)
        .filter(|ptime| ptime.as_micros().div_ceil(1_000) >= codec.ptime.as_millis());
    let ptime = candidates.find(|ptime| payload_room(cap, *ptime, overhead) >= enough(ptime)).unwrap_or(LONGEST_PTIME);
    Plan {
        ptime,
        bitrate: wanted.min(payload_room(cap, ptime, overhead)).max(MIN_BITRATE),
        max_average_bitrate: wanted.min(mixer_room(cap, overhead)).max(MIN_BITRATE),
    }
}

/// Payload bit/s that fit under `cap` beside what surrounds packets `ptime` long and a report.
pub fn payload_room(cap: u32, ptime: Span, overhead: Overhead) -> u32 {
    if cap == 0 {
        return u32::MAX;
    }
    let per_packet = cap.saturating_sub(overhead.rtcp_reserve_bits()) / packets_per_window(ptime);
    let payload = per_packet.saturating_sub(overhead.of_rtp() * 8);
    (u64::from(payload) * 1_000_000 / ptime.as_micros().max(1)) as u32
}

/// The mixer keeps to `maxaveragebitrate` within 3 %.
fn mixer_room(cap: u32, overhead: Overhead) -> u32 {
    (u64::from(payload_room(cap, MIXER_PTIME, overhead)) * 100 / 103) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn planned(bitrate: u32, ptime: u64, cap_kbps: u32) -> (u64, u32, u32) {
        let codec = Codec { bitrate, ptime: Span::from_millis(ptime), ..Config::default().codec };
        let Plan { ptime, bitrate, max_average_bitrate } = plan(&codec, cap_kbps * 1_000);
        (ptime.as_millis(), bitrate / 100, max_average_bitrate / 100)
    }

    #[test]
    fn the_table() {
        assert_eq!(planned(32_000, 20, 0), (20, 320, 320));
        assert_eq!(planned(32_000, 20, 1024), (20, 320, 320));
        assert_eq!(planned(32_000, 20, 64), (20, 320, 320));
        assert_eq!(planned(64_000, 20, 64), (20, 458, 444));
        assert_eq!(planned(32_000, 20, 32), (20, 144, 140));
        assert_eq!(planned(32_000, 20, 24), (40, 141, 64));
        assert_eq!(planned(32_000, 20, 16), (60, 94, 60));
        assert_eq!(planned(32_000, 10, 64), (10, 304, 320), "the wanted packet time is kept while it leaves speech");
        assert_eq!(planned(32_000, 10, 32), (20, 144, 140));
        assert_eq!(planned(32_000, 5, 0), (5, 320, 320));
        assert_eq!(planned(32_000, 5, 128), (5, 320, 320));
        assert_eq!(planned(32_000, 5, 96), (5, 300, 320), "short packets want more bits");
        assert_eq!(planned(32_000, 5, 88), (10, 320, 320));
        assert_eq!(planned(32_000, 3, 0), (2, 320, 320), "2.5 ms");
        assert_eq!(planned(32_000, 3, 128), (5, 320, 320), "whose headers alone are 128 kbit/s");
        assert_eq!(planned(6_000, 20, 24), (20, 60, 60), "who wants little need not wait for more");
        assert_eq!(planned(32_000, 60, 0), (60, 320, 320));
        assert_eq!(planned(32_000, 20, 1), (60, 60, 60), "nothing fits: the budget refuses what is too much");
    }

    #[test]
    fn a_plan_keeps_its_cap_in_every_second() {
        for (cap, suite) in (14_000..200_000).step_by(500).flat_map(|cap| SUITES.map(|suite| (cap, suite))) {
            let codec = Codec { bitrate: 510_000, ..Config::default().codec };
            let overhead = Overhead::new(false, suite);
            let plan = plan_protected(&codec, cap, suite.into_iter());
            let packets = packets_per_window(plan.ptime);
            let packet_bits = plan.bitrate * plan.ptime.as_millis() as u32 / 1_000 + overhead.of_rtp() * 8;
            let fits = plan.bitrate == MIN_BITRATE || packets * packet_bits + overhead.rtcp_reserve_bits() <= cap;
            assert!(fits, "{cap}: {plan:?}");
        }
    }

    const SUITES: [Option<Suite>; 3] = [None, Some(Suite::AesCm128HmacSha1_80), Some(Suite::AeadAes128Gcm)];
}
