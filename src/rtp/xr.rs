//! Extended reports (RFC 3611): what we send if the peer's description asks for it, and what we read.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |V=2|P|reserved |   PT=XR=207   |             length            |
//! |                     SSRC of the reporter                      |
//! |      BT       | type-specific |         block length          |
//! :                             block                             :
//! ```
//!
//! | block | | words |
//! |---|---|---|
//! | 4, receiver reference time | who only listens says what time it is ... | 3 |
//! | 5, DLRR | ... and is told how long ago that was heard: a round trip as that of a sender | 1 + 3 each |
//! | 7, VoIP metrics | how somebody is heard | 9 |
//!
//! Reading is by hand as well: `rtcp-types` has no VoIP metrics, and reads beyond the end of a DLRR block.

use crate::rtp::gaps::GMIN;
use crate::rtp::packet::Malformed;

pub const PACKET_TYPE: u8 = 207;
/// A level, factor or score that is not known (RFC 3611 4.7).
pub const UNKNOWN: u8 = 127;

const REFERENCE_TIME: u8 = 4;
const DLRR: u8 = 5;
const VOIP_METRICS: u8 = 7;

const HEADER_LEN: usize = 8;
const REFERENCE_TIME_LEN: usize = 12;
/// Of one delay.
const DLRR_LEN: usize = 16;
const VOIP_METRICS_LEN: usize = 36;
/// What a sender tells at most. Who sends nothing tells the time as well, but does without the sender report's 20 bytes.
pub const MAX_LEN: usize = HEADER_LEN + DLRR_LEN + VOIP_METRICS_LEN;

/// The reports that somebody asks the other side for (RFC 3611 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    pub round_trip: RoundTrip,
    pub voip_metrics: bool,
}

/// Who may be asked for a delay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RoundTrip {
    #[default]
    Nobody,
    /// Who sends media.
    Senders,
    All,
}

/// What one packet tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// NTP time of this report.
    pub reference_time: Option<u64>,
    pub delay: Option<Delay>,
    pub metrics: Option<VoipMetrics>,
}

/// How long ago a reference time was heard (4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delay {
    /// Whose it was.
    pub ssrc: u32,
    /// LRR: middle bits of the NTP time.
    pub reference_time: u32,
    /// DLRR: in 1/65536 s.
    pub since: u32,
}

/// How a source is heard (4.7). Rates and densities are in 1/256, times in ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoipMetrics {
    pub ssrc: u32,
    /// After error correction.
    pub loss_rate: u8,
    pub discard_rate: u8,
    pub burst_density: u8,
    pub gap_density: u8,
    pub burst_duration: u16,
    pub gap_duration: u16,
    /// 0: not known yet.
    pub round_trip: u16,
    pub end_system_delay: u16,
    /// In dBm0.
    pub signal_level: u8,
    pub noise_level: u8,
    /// Residual echo return loss, in dB.
    pub echo_return_loss: u8,
    pub gmin: u8,
    /// E-model, 0 to 100.
    pub r_factor: u8,
    /// The same of another network that the call goes on through.
    pub external_r_factor: u8,
    /// 10 to 50: ten times the score of listening, and of conversation.
    pub mos_lq: u8,
    pub mos_cq: u8,
    /// Concealment, kind and rate of the jitter buffer (4.7.6).
    pub rx_config: u8,
    pub buffer_nominal: u16,
    pub buffer_maximum: u16,
    pub buffer_absolute_maximum: u16,
}

/// What a peer's packet tells, block by block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    /// `ntp`: its middle bits.
    ReferenceTime {
        ssrc: u32,
        ntp: u32,
    },
    Delay(Delay),
    Metrics(VoipMetrics),
}

/// Two bits "enhanced" concealment, two an adaptive buffer, whose rate is not told (4.7.6).
pub const OPUS_IN_ADAPTIVE_BUFFER: u8 = 0b1011_0000;

impl Asked {
    pub const NOTHING: Asked = Asked { round_trip: RoundTrip::Nobody, voip_metrics: false };

    /// The longest packet that tells a sender's peer what it asks for.
    pub const fn most_bytes(self) -> usize {
        let delay = match self.round_trip {
            RoundTrip::Nobody => 0,
            RoundTrip::Senders | RoundTrip::All => DLRR_LEN,
        };
        match delay + if self.voip_metrics { VOIP_METRICS_LEN } else { 0 } {
            0 => 0,
            blocks => HEADER_LEN + blocks,
        }
    }

    /// The value of the attribute `rtcp-xr`. What is not known is left out, and so is a delay that must be shorter than it is.
    pub fn parse(value: &str) -> Asked {
        let mut asked = Asked::NOTHING;
        for format in value.split_ascii_whitespace() {
            let (name, rest) = format.split_once('=').unwrap_or((format, ""));
            if name.eq_ignore_ascii_case("voip-metrics") {
                asked.voip_metrics = true;
            } else if name.eq_ignore_ascii_case("rcvr-rtt") {
                let (mode, max_size) = rest.split_once(':').unwrap_or((rest, ""));
                asked.round_trip = match mode {
                    _ if max_size.parse().is_ok_and(|most: usize| most < DLRR_LEN) => RoundTrip::Nobody,
                    _ if mode.eq_ignore_ascii_case("all") => RoundTrip::All,
                    _ if mode.eq_ignore_ascii_case("sender") => RoundTrip::Senders,
                    _ => RoundTrip::Nobody,
                };
            }
        }
        asked
    }
}

impl Report {
    pub const NOTHING: Report = Report { reference_time: None, delay: None, metrics: None };

    /// Hands the packet on in pieces; nothing if there is nothing to tell.
    pub(super) fn write(&self, ssrc: u32, mut put: impl FnMut(&[u8])) {
        let len = [
            self.reference_time.map_or(0, |_| REFERENCE_TIME_LEN),
            self.delay.map_or(0, |_| DLRR_LEN),
            self.metrics.map_or(0, |_| VOIP_METRICS_LEN),
        ];
        let len: usize = len.into_iter().sum();
        if len == 0 {
            return;
        }
        put(&[0x80, PACKET_TYPE]);
        put(&words_after_first(HEADER_LEN + len));
        put(&ssrc.to_be_bytes());
        if let Some(ntp) = self.reference_time {
            put(&[REFERENCE_TIME, 0]);
            put(&words_after_first(REFERENCE_TIME_LEN));
            put(&ntp.to_be_bytes());
        }
        if let Some(delay) = &self.delay {
            put(&[DLRR, 0]);
            put(&words_after_first(DLRR_LEN));
            [delay.ssrc, delay.reference_time, delay.since].iter().for_each(|word| put(&word.to_be_bytes()));
        }
        if let Some(metrics) = &self.metrics {
            put(&[VOIP_METRICS, 0]);
            put(&words_after_first(VOIP_METRICS_LEN));
            put(&metrics.write());
        }
    }
}

impl VoipMetrics {
    /// Of a source of which nothing is known yet.
    pub const fn unheard(ssrc: u32) -> VoipMetrics {
        VoipMetrics {
            ssrc,
            loss_rate: 0,
            discard_rate: 0,
            burst_density: 0,
            gap_density: 0,
            burst_duration: 0,
            gap_duration: 0,
            round_trip: 0,
            end_system_delay: 0,
            signal_level: UNKNOWN,
            noise_level: UNKNOWN,
            echo_return_loss: UNKNOWN,
            gmin: GMIN,
            r_factor: UNKNOWN,
            external_r_factor: UNKNOWN,
            mos_lq: UNKNOWN,
            mos_cq: UNKNOWN,
            rx_config: 0,
            buffer_nominal: 0,
            buffer_maximum: 0,
            buffer_absolute_maximum: 0,
        }
    }

    fn write(&self) -> [u8; VOIP_METRICS_LEN - 4] {
        let mut bytes = [0; VOIP_METRICS_LEN - 4];
        bytes[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes[4..8].copy_from_slice(&[self.loss_rate, self.discard_rate, self.burst_density, self.gap_density]);
        for (place, value) in bytes[8..16].chunks_exact_mut(2).zip([
            self.burst_duration,
            self.gap_duration,
            self.round_trip,
            self.end_system_delay,
        ]) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        bytes[16..20].copy_from_slice(&[self.signal_level, self.noise_level, self.echo_return_loss, self.gmin]);
        bytes[20..24].copy_from_slice(&[self.r_factor, self.external_r_factor, self.mos_lq, self.mos_cq]);
        bytes[24] = self.rx_config;
        let buffer = [self.buffer_nominal, self.buffer_maximum, self.buffer_absolute_maximum];
        for (place, value) in bytes[26..].chunks_exact_mut(2).zip(buffer) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    fn read(block: &[u8; VOIP_METRICS_LEN - 4]) -> VoipMetrics {
        let short = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
        VoipMetrics {
            ssrc: word(block, 0),
            loss_rate: block[4],
            discard_rate: block[5],
            burst_density: block[6],
            gap_density: block[7],
            burst_duration: short(8),
            gap_duration: short(10),
            round_trip: short(12),
            end_system_delay: short(14),
            signal_level: block[16],
            noise_level: block[17],
            echo_return_loss: block[18],
            gmin: block[19],
            r_factor: block[20],
            external_r_factor: block[21],
            mos_lq: block[22],
            mos_cq: block[23],
            rx_config: block[24],
            buffer_nominal: short(26),
            buffer_maximum: short(28),
            buffer_absolute_maximum: short(30),
        }
    }
}

/// Reads a packet whose header says [`PACKET_TYPE`] and its own length. Blocks of other types are skipped.
pub(super) fn read(packet: &[u8], mut on: impl FnMut(Block)) -> Result<(), Malformed> {
    let (header, blocks) = packet.split_first_chunk::<HEADER_LEN>().ok_or(Malformed)?;
    let ssrc = word(header, 4);
    let mut rest = without_padding(header[0], blocks)?;
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
        let (block, after) = after.split_at_checked(length).ok_or(Malformed)?;
        rest = after;
        match head[0] {
            REFERENCE_TIME => {
                let [_, _, a, b, c, d, _, _] = block else { return Err(Malformed) };
                on(Block::ReferenceTime { ssrc, ntp: u32::from_be_bytes([*a, *b, *c, *d]) });
            }
            DLRR => {
                let (delays, []) = block.as_chunks::<12>() else { return Err(Malformed) };
                for delay in delays {
                    let [ssrc, reference_time, since] = [0, 4, 8].map(|at| word(delay, at));
                    on(Block::Delay(Delay { ssrc, reference_time, since }));
                }
            }
            VOIP_METRICS => on(Block::Metrics(VoipMetrics::read(block.try_into().map_err(|_| Malformed)?))),
            _ => {}
        }
    }
    Ok(())
}

/// RFC 3550 6.4.1: the last byte of padding says how many there are.
fn without_padding(first: u8, blocks: &[u8]) -> Result<&[u8], Malformed> {
    if first & 0x20 == 0 {
        return Ok(blocks);
    }
    let padding = usize::from(*blocks.last().ok_or(Malformed)?);
    match blocks.len().checked_sub(padding) {
        Some(len) if padding > 0 && padding % 4 == 0 => Ok(&blocks[..len]),
        Some(_) | None => Err(Malformed),
    }
}

fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word))
}

/// Length fields of packets and blocks count so.
fn words_after_first(len: usize) -> [u8; 2] {
    ((len / 4 - 1) as u16).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: VoipMetrics = VoipMetrics {
        ssrc: 0x0102_0304,
        loss_rate: 13,
        discard_rate: 2,
        burst_density: 85,
        gap_density: 9,
        burst_duration: 120,
        gap_duration: 2_600,
        round_trip: 48,
        end_system_delay: 67,
        signal_level: UNKNOWN,
        noise_level: UNKNOWN,
        echo_return_loss: UNKNOWN,
        gmin: 16,
        r_factor: 88,
        external_r_factor: UNKNOWN,
        mos_lq: 43,
        mos_cq: 42,
        rx_config: OPUS_IN_ADAPTIVE_BUFFER,
        buffer_nominal: 40,
        buffer_maximum: 200,
        buffer_absolute_maximum: 300,
    };
    const DELAY: Delay = Delay { ssrc: 0xaabb_ccdd, reference_time: 0x1234_5678, since: 0x0001_8000 };

    /// By hand from the figures of RFC 3611 2, 4.4, 4.5 and 4.7.
    #[rustfmt::skip]
    const WHOLE: [u8; 72] = [
        0x80, 207, 0, 17,            0x11, 0x22, 0x33, 0x44,
        4, 0, 0, 2,                  0xe0, 0x00, 0x00, 0x01,  0x80, 0x00, 0x00, 0x00,
        5, 0, 0, 3,                  0xaa, 0xbb, 0xcc, 0xdd,  0x12, 0x34, 0x56, 0x78,  0x00, 0x01, 0x80, 0x00,
        7, 0, 0, 8,                  0x01, 0x02, 0x03, 0x04,
        13, 2, 85, 9,                0, 120, 0x0a, 0x28,      0, 48, 0, 67,            127, 127, 127, 16,
        88, 127, 43, 42,             0xb0, 0, 0, 40,          0, 200, 0x01, 0x2c,
    ];

    fn written(report: Report) -> Vec<u8> {
        let mut bytes = Vec::new();
        report.write(0x1122_3344, |piece| bytes.extend(piece));
        bytes
    }

    fn blocks(packet: &[u8]) -> Result<Vec<Block>, Malformed> {
        let mut blocks = Vec::new();
        read(packet, |block| blocks.push(block)).map(|()| blocks)
    }

    #[test]
    fn a_whole_packet_byte_by_byte() {
        let report = Report { reference_time: Some(0xe000_0001_8000_0000), delay: Some(DELAY), metrics: Some(METRICS) };
        assert_eq!(written(report), WHOLE);
        let time = Block::ReferenceTime { ssrc: 0x1122_3344, ntp: 0x0001_8000 };
        assert_eq!(blocks(&WHOLE), Ok(vec![time, Block::Delay(DELAY), Block::Metrics(METRICS)]));
        assert!(written(Report::NOTHING).is_empty());
    }

    #[test]
    fn another_implementation_reads_what_it_knows_of_it() {
        use rtcp_types::{ReceiverReferenceTime, RtcpPacketParser, Xr};
        let xr = Xr::parse(&WHOLE).unwrap();
        assert_eq!((xr.sender_ssrc(), xr.block_iter().count()), (0x1122_3344, 3));
        let time = xr.block_iter().next().unwrap().parse_into::<ReceiverReferenceTime<'_>>().unwrap();
        assert_eq!(time.ntp_timestamp(), 0xe000_0001_8000_0000);
    }

    #[test]
    fn blocks_that_nobody_knows_are_skipped_and_those_of_a_wrong_length_refused() {
        let packet = |blocks: &[u8]| [&WHOLE[..8], blocks].concat();
        let unknown = [&[6, 0xe0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 200, 0, 0, 0][..], &WHOLE[8..20]].concat();
        assert_eq!(blocks(&packet(&unknown)).map(|blocks| blocks.len()), Ok(1));
        assert_eq!(blocks(&packet(&[])), Ok(vec![]));
        assert_eq!(blocks(&packet(&[5, 0, 0, 0])), Ok(vec![]), "nobody's delay");
        let wrong: [&[u8]; 6] = [
            &[200, 0, 0, 1],
            &[200, 0, 0xff, 0xff, 1, 2, 3, 4],
            &[4, 0, 0, 1, 1, 2, 3, 4],
            &[5, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8],
            &[7, 0, 0, 1, 1, 2, 3, 4],
            &[7, 0],
        ];
        for wrong in wrong {
            assert_eq!(blocks(&packet(wrong)), Err(Malformed), "{wrong:?}");
        }
        assert_eq!(blocks(&WHOLE[..4]), Err(Malformed));
    }

    #[test]
    fn padding_is_no_block() {
        let padded = |padding: &[u8]| {
            let mut packet = [&WHOLE[..20], padding].concat();
            packet[0] |= 0x20;
            blocks(&packet).map(|blocks| blocks.len())
        };
        assert_eq!((padded(&[0, 0, 0, 4]), padded(&[0, 0, 0, 0, 0, 0, 0, 8])), (Ok(1), Ok(1)));
        for wrong in [[0, 0, 0, 0], [0, 0, 0, 3], [0, 0, 0, 255]] {
            assert_eq!(padded(&wrong), Err(Malformed));
        }
    }

    #[test]
    fn what_a_description_asks_for() {
        use RoundTrip::{All, Nobody, Senders};
        let asked = |value| {
            let asked = Asked::parse(value);
            (asked.round_trip, asked.voip_metrics)
        };
        assert_eq!(asked("rcvr-rtt=all voip-metrics"), (All, true));
        assert_eq!(asked("pkt-loss-rle=400 Rcvr-RTT=sender:10000 stat-summary=loss,dup,jitt,HL x=y"), (Senders, false));
        assert_eq!(asked("VoIP-metrics"), (Nobody, true));
        assert_eq!((asked("rcvr-rtt=all:16"), asked("rcvr-rtt=all:15")), ((All, false), (Nobody, false)));
        for nothing in ["", " ", "rcvr-rtt", "rcvr-rtt=", "rcvr-rtt=none", "voip-metric"] {
            assert_eq!(Asked::parse(nothing), Asked::NOTHING, "{nothing:?}");
        }
        assert_eq!(
            ["", "voip-metrics", "rcvr-rtt=all voip-metrics"].map(|v| Asked::parse(v).most_bytes()),
            [0, 44, 60]
        );
        assert_eq!(Asked::parse("rcvr-rtt=all voip-metrics").most_bytes(), MAX_LEN);
    }
}
