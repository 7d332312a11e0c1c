//! RTCP (RFC 3550 6): the reports we send, what we read in the peer's, and when the next one is due.
//!
//! Reading is done by `rtcp-types`, one packet of the compound at a time, but for extended reports ([`xr`]); writing by hand,
//! because its builders allocate. APP packets are skipped unread: the crate's accessor panics on some of them. SDES is skipped as well: the
//! name of the peer decides nothing here.
//!
//! Round trip (RFC 3550 6.4.1), all in 1/65536 s, the middle 32 bits of an NTP timestamp:
//!
//! ```text
//!   we ──SR(ntp = LSR)──▶ peer          A    arrival of the peer's report
//!   we ◀──RR(LSR, DLSR)── peer          RTT  A - LSR - DLSR
//! ```

use crate::random::Rng;
use crate::rtp::packet::Malformed;
use crate::rtp::xr::{self, Asked};
use crate::time::{Span, Time};
use rtcp_types::{Bye, ReceiverReport, RtcpPacket, RtcpPacketParser, SenderReport};

/// Length of a canonical name: 96 random bits in base 64 (RFC 7022 4.2).
pub const CNAME_LEN: usize = 16;
/// The longest packet that [`write`] makes: SR with one block, SDES with CNAME, XR, BYE.
pub const MAX_LEN: usize = PLAIN_LEN + xr::MAX_LEN;
const PLAIN_LEN: usize = 28 + 24 + 4 + SDES_CHUNK + 8;
/// Chunk: SSRC, type, length, name, and zeros up to the next word.
const SDES_CHUNK: usize = 4 + 2 + CNAME_LEN + 2;
const SDES: u8 = 202;
const SDES_CNAME: u8 = 1;

/// What a receiver says about one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// In 1/256, since the report before.
    pub fraction_lost: u8,
    /// 24 bits, signed: duplicates can make it negative.
    pub cumulative_lost: i32,
    pub highest_seq: u32,
    /// In RTP ticks.
    pub jitter: u32,
    /// LSR: middle bits of the NTP timestamp of the last sender report seen, or 0.
    pub last_sender_report: u32,
    /// DLSR: in 1/65536 s.
    pub since_sender_report: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    pub ntp: u64,
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub payload_bytes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Farewell {
    None,
    Bye,
}

/// What a compound packet of the peer says, part by part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// A sender report came from `ssrc`; `ntp` is its timestamp's middle 32 bits.
    SenderReport {
        ssrc: u32,
        ntp: u32,
    },
    Block(ReportBlock),
    Extended(xr::Block),
    Bye {
        ssrc: u32,
    },
}

/// The longest packet for a peer that asks for so much.
pub const fn max_len(asked: Asked) -> usize {
    PLAIN_LEN + asked.most_bytes()
}

/// Writes one compound packet (RFC 3550 6.1: report first, then SDES, XR, at last BYE) and returns its length.
pub fn write(
    packet: &mut [u8; MAX_LEN],
    ssrc: u32,
    sender: Option<SenderInfo>,
    block: Option<ReportBlock>,
    cname: &[u8; CNAME_LEN],
    extended: &xr::Report,
    farewell: Farewell,
) -> usize {
    let mut out = Writer { packet, len: 0 };
    let blocks = u8::from(block.is_some());
    match sender {
        Some(info) => {
            out.header(SenderReport::PACKET_TYPE, blocks, 24 + 24 * usize::from(blocks));
            out.u32(ssrc);
            out.put(&info.ntp.to_be_bytes());
            out.u32(info.rtp_timestamp);
            out.u32(info.packets);
            out.u32(info.payload_bytes);
        }
        None => {
            out.header(ReceiverReport::PACKET_TYPE, blocks, 4 + 24 * usize::from(blocks));
            out.u32(ssrc);
        }
    }
    if let Some(block) = block {
        out.u32(block.ssrc);
        out.u32(u32::from(block.fraction_lost) << 24 | (block.cumulative_lost as u32 & 0xff_ffff));
        out.u32(block.highest_seq);
        out.u32(block.jitter);
        out.u32(block.last_sender_report);
        out.u32(block.since_sender_report);
    }
    out.header(SDES, 1, SDES_CHUNK);
    out.u32(ssrc);
    out.put(&[SDES_CNAME, CNAME_LEN as u8]);
    out.put(cname);
    out.put(&[0, 0]);
    extended.write(ssrc, |piece| out.put(piece));
    if farewell == Farewell::Bye {
        out.header(Bye::PACKET_TYPE, 1, 4);
        out.u32(ssrc);
    }
    out.len
}

/// Checks a compound packet (RFC 3550 A.2) and hands its parts to `on`. Nothing is handed on if its frame is malformed.
pub fn read(datagram: &[u8], mut on: impl FnMut(Part)) -> Result<(), Malformed> {
    let first = datagram.first_chunk::<2>().ok_or(Malformed)?;
    if !matches!(first[1], SenderReport::PACKET_TYPE | ReceiverReport::PACKET_TYPE) {
        return Err(Malformed);
    }
    packets(datagram).try_for_each(|packet| packet.map(|_| ()))?;
    for packet in packets(datagram) {
        read_one(packet?, &mut on)?;
    }
    Ok(())
}

fn read_one(packet: &[u8], on: &mut impl FnMut(Part)) -> Result<(), Malformed> {
    match packet[1] {
        SenderReport::PACKET_TYPE => {
            let report = SenderReport::parse(packet).map_err(|_| Malformed)?;
            on(Part::SenderReport { ssrc: report.ssrc(), ntp: middle(report.ntp_timestamp()) });
            report.report_blocks().for_each(|block| on(Part::Block((&block).into())));
        }
        ReceiverReport::PACKET_TYPE => {
            let report = ReceiverReport::parse(packet).map_err(|_| Malformed)?;
            report.report_blocks().for_each(|block| on(Part::Block((&block).into())));
        }
        Bye::PACKET_TYPE => {
            let bye = Bye::parse(packet).map_err(|_| Malformed)?;
            bye.ssrcs().for_each(|ssrc| on(Part::Bye { ssrc }));
        }
        xr::PACKET_TYPE => xr::read(packet, |block| on(Part::Extended(block)))?,
        _ => {}
    }
    Ok(())
}

/// Cuts a compound into its packets by their length fields.
fn packets(mut rest: &[u8]) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = match rest {
            [first, _, high, low, ..] if first >> 6 == 2 => (usize::from(u16::from_be_bytes([*high, *low])) + 1) * 4,
            _ => usize::MAX,
        };
        match rest.split_at_checked(length) {
            Some((packet, after)) => {
                rest = after;
                Some(Ok(packet))
            }
            None => {
                rest = &[];
                Some(Err(Malformed))
            }
        }
    })
}

/// The NTP timestamp of our reports: elapsed monotonic time, because the wall clock of a device may be wrong or step
/// (RFC 3550 4 and 6.4.1 allow both). Never zero, which would mean "none" in a LSR field.
pub fn ntp(now: Time) -> u64 {
    let us = now.as_micros() + 1_000_000;
    ((us / 1_000_000) << 32) + ((us % 1_000_000) << 32) / 1_000_000
}

pub fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// A span in 1/65536 s.
pub fn short(span: Span) -> u32 {
    (u128::from(span.as_micros()) * 65_536 / 1_000_000).min(u128::from(u32::MAX)) as u32
}

/// The round trip that a report block about our stream proves; `None` before it has seen a report of ours, or when the
/// numbers are nonsense.
pub fn round_trip(now: Time, block: &ReportBlock) -> Option<Span> {
    trip(now, block.last_sender_report, block.since_sender_report)
}

/// The same by the answer to a reference time of ours (RFC 3611 4.5).
pub fn round_trip_of_listener(now: Time, delay: &xr::Delay) -> Option<Span> {
    trip(now, delay.reference_time, delay.since)
}

/// Since we said `sent`, the middle bits of our time, less what the peer took.
fn trip(now: Time, sent: u32, taken: u32) -> Option<Span> {
    if sent == 0 {
        return None;
    }
    let trip = middle(ntp(now)).wrapping_sub(sent).wrapping_sub(taken);
    // One unit is 15 us: rounding on a fast network can come out slightly negative.
    let trip = if (trip as i32) < 0 && (trip as i32) > -64 { 0 } else { trip };
    (trip < 60 << 16).then(|| Span::from_micros(u64::from(trip) * 1_000_000 / 65_536))
}

/// When to report: around the interval, not on it, so that the members of a session do not fall into step
/// (RFC 3550 6.2); the first time after about half of it.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Span,
    rng: Rng,
    next: Time,
}

impl Schedule {
    pub fn new(now: Time, interval: Span, mut rng: Rng) -> Schedule {
        let half = Span::from_micros(interval.as_micros() / 2);
        let next = now + around(half, &mut rng);
        Schedule { interval, rng, next }
    }

    pub fn next(&self) -> Time {
        self.next
    }

    /// A report has been sent, or given up, at `now`.
    pub fn on_reported(&mut self, now: Time) {
        self.next = now + around(self.interval, &mut self.rng);
    }
}

/// 0.5 to 1.5 times `interval`, and never nothing.
fn around(interval: Span, rng: &mut Rng) -> Span {
    let half = Span::from_micros(interval.as_micros() / 2);
    half + rng.span_up_to(interval) + Span::from_millis(1)
}

/// A canonical name that tells nobody who we are (RFC 7022).
pub fn cname(rng: &mut Rng) -> [u8; CNAME_LEN] {
    const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::array::from_fn(|_| BASE64[(rng.next_u32() & 63) as usize])
}

impl From<&rtcp_types::ReportBlock<'_>> for ReportBlock {
    fn from(block: &rtcp_types::ReportBlock<'_>) -> ReportBlock {
        ReportBlock {
            ssrc: block.ssrc(),
            fraction_lost: block.fraction_lost(),
            cumulative_lost: ((block.cumulative_lost() << 8) as i32) >> 8,
            highest_seq: block.extended_sequence_number(),
            jitter: block.interarrival_jitter(),
            last_sender_report: block.last_sender_report_timestamp(),
            since_sender_report: block.delay_since_last_sender_report_timestamp(),
        }
    }
}

struct Writer<'a> {
    packet: &'a mut [u8; MAX_LEN],
    len: usize,
}

impl Writer<'_> {
    fn header(&mut self, packet_type: u8, count: u8, body: usize) {
        self.put(&[0x80 | count, packet_type]);
        self.put(&((body / 4) as u16).to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// `MAX_LEN` is the sum of all that `write` puts.
    fn put(&mut self, bytes: &[u8]) {
        self.packet[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;
    use proptest::prelude::*;
    use rtcp_types::{Compound, Packet};

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 0xaaaa_bbbb,
        fraction_lost: 25,
        cumulative_lost: -3,
        highest_seq: 0x0001_fffe,
        jitter: 480,
        last_sender_report: 0x1234_5678,
        since_sender_report: 65_536,
    };
    const INFO: SenderInfo = SenderInfo { ntp: 5 << 32, rtp_timestamp: 99, packets: 50, payload_bytes: 4000 };

    fn written(sender: Option<SenderInfo>, block: Option<ReportBlock>, farewell: Farewell) -> Vec<u8> {
        let mut packet = [0; MAX_LEN];
        let len = write(&mut packet, 7, sender, block, b"0123456789abcdef", &xr::Report::NOTHING, farewell);
        packet[..len].to_vec()
    }

    fn parts(bytes: &[u8]) -> Result<Vec<Part>, Malformed> {
        let mut parts = Vec::new();
        read(bytes, |part| parts.push(part)).map(|()| parts)
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = written(Some(INFO), Some(BLOCK), Farewell::Bye);
        assert_eq!(bytes.len(), max_len(Asked::NOTHING));
        let expected = vec![Part::SenderReport { ssrc: 7, ntp: 5 << 16 }, Part::Block(BLOCK), Part::Bye { ssrc: 7 }];
        assert_eq!(parts(&bytes), Ok(expected));
        assert_eq!(parts(&written(None, None, Farewell::None)), Ok(vec![]));
    }

    #[test]
    fn an_extended_report_stands_before_the_farewell_and_the_longest_packet_is_known() {
        let delay = xr::Delay { ssrc: 9, reference_time: 0x1_0000, since: 7 };
        let metrics = xr::VoipMetrics::unheard(9);
        for (sender, block, reference_time, farewell) in
            [(Some(INFO), Some(BLOCK), None, Farewell::Bye), (None, Some(BLOCK), Some(5 << 32), Farewell::None)]
        {
            let extended = xr::Report { reference_time, delay: Some(delay), metrics: Some(metrics) };
            let mut packet = [0; MAX_LEN];
            let len = write(&mut packet, 7, sender, block, b"0123456789abcdef", &extended, farewell);
            let asked = Asked { round_trip: xr::RoundTrip::All, voip_metrics: true };
            assert!(len <= max_len(asked) && (sender.is_none() || len == MAX_LEN), "{len}");
            let told = parts(&packet[..len]).unwrap();
            let at = |part: &Part| told.iter().position(|told| told == part);
            assert!(at(&Part::Extended(xr::Block::Delay(delay))) < at(&Part::Extended(xr::Block::Metrics(metrics))));
            assert_eq!(at(&Part::Bye { ssrc: 7 }).is_some(), farewell == Farewell::Bye);
            let types: Vec<u8> = packets(&packet[..len]).map(|packet| packet.unwrap()[1]).collect();
            let expected: &[u8] = if sender.is_some() { &[200, 202, 207, 203] } else { &[201, 202, 207] };
            assert_eq!(types, expected);
        }
    }

    #[test]
    fn another_implementation_reads_every_field() {
        let bytes = written(Some(INFO), Some(BLOCK), Farewell::Bye);
        let packets: Vec<_> = Compound::parse(&bytes).unwrap().map(Result::unwrap).collect();
        let [Packet::Sr(sr), Packet::Sdes(sdes), Packet::Bye(bye)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!((sr.ssrc(), sr.packet_count(), sr.octet_count(), sr.rtp_timestamp()), (7, 50, 4000, 99));
        let chunk = sdes.chunks().next().unwrap();
        let item = chunk.items().next().unwrap();
        assert_eq!((chunk.ssrc(), item.type_(), item.value()), (7, SDES_CNAME, &b"0123456789abcdef"[..]));
        assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn a_compound_begins_with_a_report_and_its_lengths_add_up() {
        let good = written(None, Some(BLOCK), Farewell::None);
        assert_eq!(parts(&good[32..]), Err(Malformed), "SDES first");
        assert_eq!(parts(&good[..good.len() - 1]), Err(Malformed));
        assert_eq!(parts(&[]), Err(Malformed));
        let mut overlong = good.clone();
        overlong[3] = 200;
        assert_eq!(parts(&overlong), Err(Malformed));
    }

    #[test]
    fn of_a_compound_that_is_cut_nothing_is_believed() {
        let whole = written(Some(INFO), Some(BLOCK), Farewell::Bye);
        let mut told = 0;
        assert_eq!(read(&whole[..whole.len() - 4], |_| told += 1), Err(Malformed));
        assert_eq!(told, 0);
    }

    #[test]
    fn each_call_has_a_name_of_its_own() {
        let mut rng = Rng::from_u64(1);
        let names: Vec<_> = (0..10).map(|_| cname(&mut rng)).collect();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
        assert!(names.iter().flatten().all(is_base64), "{names:?}");
    }

    #[test]
    fn an_app_packet_with_absurd_padding_is_skipped() {
        let mut bytes = written(None, Some(BLOCK), Farewell::None);
        bytes.extend([0xa0, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', 255]);
        assert_eq!(parts(&bytes), Ok(vec![Part::Block(BLOCK)]));
    }

    #[test]
    fn the_round_trip_is_what_the_network_took() {
        let sent = Time::from_millis(10_000);
        let block = ReportBlock {
            last_sender_report: middle(ntp(sent)),
            since_sender_report: short(Span::from_millis(300)),
            ..BLOCK
        };
        let trip = round_trip(sent + Span::from_millis(342), &block).unwrap().as_micros();
        assert!((41_900..42_100).contains(&trip), "{trip}");
        assert_eq!(round_trip(sent, &ReportBlock { last_sender_report: 0, ..BLOCK }), None);
        assert_eq!(round_trip(sent, &block), None, "answered before it was asked");
        let beside = ReportBlock { since_sender_report: short(Span::from_millis(300)) + 20, ..block };
        assert_eq!(round_trip(sent + Span::from_millis(300), &beside), Some(Span::ZERO), "rounded, 0.3 ms before it");
    }

    #[test]
    fn the_first_report_comes_after_about_half_an_interval_and_no_two_devices_keep_step() {
        let interval = Span::from_secs(5);
        let mut firsts = Vec::new();
        for seed in 0..100 {
            let mut schedule = Schedule::new(Time::ZERO, interval, Rng::from_u64(seed));
            firsts.push(schedule.next().as_millis());
            let now = schedule.next();
            schedule.on_reported(now);
            let gap = schedule.next().since(now).as_millis();
            assert!((2_500..=7_501).contains(&gap), "{gap}");
        }
        assert!(firsts.iter().all(|ms| (1_250..=3_751).contains(ms)), "{firsts:?}");
        firsts.dedup();
        assert!(firsts.len() > 90);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            packet_type in 199u8..209,
            first in any::<u8>(),
            tail in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut report = written(None, Some(BLOCK), Farewell::None);
            let words = tail.len() / 4;
            report.extend([0x80 | first & 0x3f, packet_type, 0, words as u8]);
            report.extend(&tail[..words * 4]);
            let _ = parts(&report);
            let _ = parts(&report[report.len() - words * 4 - 4..]);
            let _ = parts(&tail);
        }
    }
}
