//! One participant's media: RTP in, a short queue of samples, RTP out, RTCP both ways.
//!
//! ```text
//!   RTP ─ decode / conceal ─ queue ─ pop 20 ms per tick ─┐
//!                                                        ├─ mix of the others ─ gather ptime ─ encode ─ RTP
//! ```
//! The queue starts a stream one tick after its first packet if that packet came within [`MARGIN_US`] of the tick, so
//! that ordinary jitter does not starve it; a starved tick is concealed by Opus.

use super::sdp::{Direction, Offer};
use opus::{Application, Bitrate, Channels, Decoder, Encoder};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Samples of one mixing tick: 20 ms at 48 kHz.
pub const TICK: usize = 960;
const MARGIN_US: u64 = 5_000;
/// More than this is never queued; the oldest goes.
const QUEUE_MAX: usize = 48_000 / 5;
const RTCP_INTERVAL_US: u64 = 5_000_000;

pub struct Leg {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub port: u16,
    remote: Option<Offer>,
    decoder: Decoder,
    encoder: Encoder,
    queue: VecDeque<i16>,
    flow: Flow,
    /// Smallest queue length at a tick since `trim_at`, to notice delay that is never used.
    slack: usize,
    ticks_to_trim: u32,
    gathered: Vec<i16>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    packets_sent: u32,
    octets_sent: u32,
    source: Option<Source>,
    next_rtcp_us: u64,
    pub counters: Counters,
}

/// What the leg counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    pub packets: u64,
    pub lost: u64,
    pub late: u64,
    /// Ticks with nothing in the queue while the stream ran.
    pub starved: u64,
    /// 20 ms pieces thrown away because the queue held more than it needed.
    pub trimmed: u64,
    pub undecodable: u64,
    pub rtcp_packets: u64,
    /// Duration of the last packet received.
    pub packet_ms: u32,
    /// Fraction lost (of 256) in the last report about our stream.
    pub reported_loss: u8,
}

/// Something arrived on a leg's RTP socket, or left by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    pub at_us: u64,
    /// UDP payload in bytes, RTP header included.
    pub bytes: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flow {
    Idle,
    /// The first packet is here; its arrival.
    Primed {
        since_us: u64,
    },
    /// Samples are popped each tick; this many ticks in a row were concealed.
    Running {
        starved: u32,
    },
}

/// The peer's stream as RFC 3550 appendix A counts it.
#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    /// Extended sequence numbers.
    first: u64,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Middle of the NTP time of its last SR, and our clock at its arrival.
    last_sr: Option<(u32, u64)>,
}

impl Leg {
    /// Binds an even RTP port and the next one for RTCP.
    pub fn bind(ip: IpAddr, ssrc: u32) -> io::Result<Leg> {
        let (rtp, rtcp, port) = bind_pair(ip)?;
        let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip).map_err(io::Error::other)?;
        encoder.set_complexity(5).map_err(io::Error::other)?;
        let decoder = Decoder::new(48_000, Channels::Mono).map_err(io::Error::other)?;
        Ok(Leg {
            rtp,
            rtcp,
            port,
            remote: None,
            decoder,
            encoder,
            queue: VecDeque::new(),
            flow: Flow::Idle,
            slack: usize::MAX,
            ticks_to_trim: 50,
            gathered: Vec::new(),
            ssrc,
            sequence: ssrc as u16,
            timestamp: ssrc.rotate_left(7),
            packets_sent: 0,
            octets_sent: 0,
            source: None,
            next_rtcp_us: 0,
            counters: Counters::default(),
        })
    }

    /// Takes over what the peer described; also after a re-INVITE.
    pub fn agree(&mut self, offer: Offer, forward_error_correction: bool) {
        let limit = offer.fmtp("maxaveragebitrate").and_then(|rate| rate.parse::<i32>().ok());
        let bandwidth = match offer.fmtp("maxplaybackrate").and_then(|rate| rate.parse::<u32>().ok()) {
            Some(..=8_000) => opus::Bandwidth::Narrowband,
            Some(..=12_000) => opus::Bandwidth::Mediumband,
            Some(..=16_000) => opus::Bandwidth::Wideband,
            Some(..=24_000) => opus::Bandwidth::Superwideband,
            Some(_) | None => opus::Bandwidth::Fullband,
        };
        let correct = forward_error_correction && offer.fmtp("useinbandfec") == Some("1");
        let tuned = self
            .encoder
            .set_bitrate(limit.map_or(Bitrate::Auto, |rate| Bitrate::Bits(rate.clamp(6_000, 510_000))))
            .and_then(|()| self.encoder.set_max_bandwidth(bandwidth))
            .and_then(|()| self.encoder.set_vbr(offer.fmtp("cbr") != Some("1")))
            .and_then(|()| self.encoder.set_dtx(offer.fmtp("usedtx") == Some("1")))
            .and_then(|()| self.encoder.set_inband_fec(correct))
            .and_then(|()| self.encoder.set_packet_loss_perc(if correct { 15 } else { 0 }));
        tuned.expect("libopus accepts clamped settings");
        self.remote = Some(offer);
    }

    pub fn remote(&self) -> Option<&Offer> {
        self.remote.as_ref()
    }

    /// One datagram of the RTP socket.
    pub fn on_rtp(&mut self, now_us: u64, datagram: &[u8]) {
        if datagram.len() >= 2 && (192..=223).contains(&datagram[1]) {
            return self.on_rtcp(now_us, datagram);
        }
        let Some(offer) = &self.remote else { return };
        let Some((kind, sequence, ssrc, payload)) = parse_rtp(datagram) else {
            self.counters.undecodable += 1;
            return;
        };
        if kind != offer.opus || matches!(offer.direction, Direction::RecvOnly | Direction::Inactive) {
            return;
        }
        self.counters.packets += 1;
        let missing = match &mut self.source {
            Some(source) if source.ssrc == ssrc => {
                source.received += 1;
                let step = sequence.wrapping_sub(source.highest as u16) as i16;
                if step <= 0 {
                    self.counters.late += 1;
                    return;
                }
                source.highest += step as u64;
                step as usize - 1
            }
            _ => {
                let first = 0x1_0000 + u64::from(sequence);
                self.source = Some(Source {
                    ssrc,
                    first,
                    highest: first,
                    received: 1,
                    expected_before: 0,
                    received_before: 0,
                    last_sr: None,
                });
                0
            }
        };
        self.counters.lost += missing as u64;
        let samples = opus::packet::get_nb_samples(payload, 48_000).unwrap_or(TICK);
        if missing <= 5 {
            for gap in 0..missing {
                // The copy of the last missing packet may travel in this one.
                if gap + 1 == missing { self.decode(payload, samples, true) } else { self.decode(&[], samples, false) }
            }
        }
        self.decode(payload, samples, false);
        self.counters.packet_ms = (samples / 48) as u32;
        if self.flow == Flow::Idle {
            self.flow = Flow::Primed { since_us: now_us };
        }
        while self.queue.len() > QUEUE_MAX {
            self.queue.drain(..TICK);
            self.counters.trimmed += 1;
        }
    }

    /// One datagram of the RTCP socket.
    pub fn on_rtcp(&mut self, now_us: u64, datagram: &[u8]) {
        self.counters.rtcp_packets += 1;
        let word =
            |at: usize| datagram.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four")));
        let report_at = match datagram.get(1) {
            Some(200) => {
                if let (Some(source), Some(high), Some(low)) = (&mut self.source, word(8), word(12)) {
                    source.last_sr = Some((high << 16 | low >> 16, now_us));
                }
                28
            }
            Some(201) => 8,
            _ => return,
        };
        if datagram[0] & 0x1f > 0 && word(report_at) == Some(self.ssrc) {
            self.counters.reported_loss = datagram.get(report_at + 4).copied().unwrap_or(0);
        }
    }

    /// The 20 ms this participant contributes at a tick; silence if it has nothing to say.
    pub fn pop(&mut self, now_us: u64, out: &mut [i16; TICK]) {
        out.fill(0);
        if let Flow::Primed { since_us } = self.flow
            && now_us >= since_us + MARGIN_US
            && self.queue.len() >= TICK
        {
            self.flow = Flow::Running { starved: 0 };
        }
        let Flow::Running { starved } = self.flow else { return };
        if self.queue.len() < TICK {
            self.counters.starved += 1;
            if starved == 4 {
                self.flow = Flow::Idle;
                self.queue.clear();
                return;
            }
            self.decode(&[], TICK - self.queue.len(), false);
            self.flow = Flow::Running { starved: starved + 1 };
        } else {
            self.flow = Flow::Running { starved: 0 };
        }
        self.slack = self.slack.min(self.queue.len());
        self.ticks_to_trim -= 1;
        if self.ticks_to_trim == 0 {
            // A whole second never needed this much: it is only delay.
            let packet = (self.counters.packet_ms.max(20) * 48) as usize;
            if self.slack >= packet.max(TICK) + TICK + TICK / 2 {
                self.queue.drain(..TICK);
                self.counters.trimmed += 1;
            }
            self.slack = usize::MAX;
            self.ticks_to_trim = 50;
        }
        for (sample, queued) in out.iter_mut().zip(self.queue.drain(..TICK.min(self.queue.len()))) {
            *sample = queued;
        }
    }

    /// Sends one tick of the mix, as soon as a whole packet is gathered. Returns the packet sent, if any.
    pub fn push(&mut self, now_us: u64, mix: &[i16; TICK], buffer: &mut [u8]) -> Option<Packet> {
        let offer = self.remote.as_ref()?;
        let (to, kind, wanted) = (offer.rtp, offer.opus, offer.send_ptime_ms() as usize * 48);
        if matches!(offer.direction, Direction::SendOnly | Direction::Inactive) {
            self.gathered.clear();
            self.timestamp = self.timestamp.wrapping_add(TICK as u32);
            return None;
        }
        self.gathered.extend_from_slice(mix);
        if self.gathered.len() < wanted {
            return None;
        }
        let length = self.encoder.encode(&self.gathered, &mut buffer[12..]).expect("a legal frame fits the buffer");
        self.gathered.clear();
        buffer[0] = 0x80;
        buffer[1] = kind | if self.packets_sent == 0 { 0x80 } else { 0 };
        buffer[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        buffer[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        buffer[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(wanted as u32);
        self.packets_sent += 1;
        self.octets_sent = self.octets_sent.wrapping_add(length as u32);
        let _ = self.rtp.send_to(&buffer[..12 + length], to);
        Some(Packet { at_us: now_us, bytes: (12 + length) as u16 })
    }

    /// A sender report with one block about the peer, and a CNAME, every five seconds.
    pub fn report(&mut self, now_us: u64, mux_allowed: bool) {
        if now_us < self.next_rtcp_us {
            return;
        }
        let first = self.next_rtcp_us == 0;
        self.next_rtcp_us = now_us + RTCP_INTERVAL_US;
        let Some(offer) = self.remote.as_ref().filter(|_| !first) else { return };
        let to = if offer.mux && mux_allowed { offer.rtp } else { offer.rtcp };
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let fraction = ((unix.subsec_nanos() as u64) << 32) / 1_000_000_000;
        let mut words = vec![
            self.ssrc,
            (unix.as_secs() + 2_208_988_800) as u32,
            fraction as u32,
            self.timestamp,
            self.packets_sent,
            self.octets_sent,
        ];
        words.extend(self.source.as_mut().into_iter().flat_map(|source| source.report_block(now_us)));
        let blocks = u8::from(self.source.is_some());
        let mut bytes = vec![0x80 | blocks, 200];
        bytes.extend_from_slice(&(words.len() as u16).to_be_bytes());
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
        bytes.extend_from_slice(&[0x81, 202, 0, 4]);
        bytes.extend_from_slice(&self.ssrc.to_be_bytes());
        bytes.extend_from_slice(b"\x01\x09lab-mixer\x00");
        let socket = if offer.mux && mux_allowed { &self.rtp } else { &self.rtcp };
        let _ = socket.send_to(&bytes, to);
    }

    fn decode(&mut self, payload: &[u8], samples: usize, correction: bool) {
        let mut pcm = [0_i16; 5760];
        // libopus conceals in steps of 2.5 ms only.
        let room = (samples.clamp(120, 5760) / 120) * 120;
        match self.decoder.decode(payload, &mut pcm[..room], correction) {
            Ok(decoded) => self.queue.extend(&pcm[..decoded]),
            Err(_) => self.counters.undecodable += 1,
        }
    }
}

impl Source {
    fn report_block(&mut self, now_us: u64) -> [u32; 6] {
        let expected = self.highest - self.first + 1;
        let lost = expected.saturating_sub(self.received).min(0x7f_ffff) as u32;
        let expected_now = expected - self.expected_before;
        let lost_now = expected_now.saturating_sub(self.received - self.received_before);
        let fraction = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u32;
        (self.expected_before, self.received_before) = (expected, self.received);
        let (last, delay) = match self.last_sr {
            Some((middle, at_us)) => (middle, ((now_us - at_us) * 65_536 / 1_000_000) as u32),
            None => (0, 0),
        };
        [self.ssrc, fraction << 24 | lost, self.highest as u32, 0, last, delay]
    }
}

/// (payload type, sequence number, SSRC, payload) of an RTP packet, RFC 3550 5.1.
fn parse_rtp(datagram: &[u8]) -> Option<(u8, u16, u32, &[u8])> {
    let (&[flags, kind, s0, s1, _, _, _, _, c0, c1, c2, c3], rest) = datagram.split_first_chunk::<12>()?;
    if flags >> 6 != 2 {
        return None;
    }
    let mut rest = rest.get(usize::from(flags & 0x0f) * 4..)?;
    if flags & 0x10 != 0 {
        let words = u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?);
        rest = rest.get(4 + usize::from(words) * 4..)?;
    }
    if flags & 0x20 != 0 {
        let padding = usize::from(*rest.last()?);
        rest = rest.get(..rest.len().checked_sub(padding)?)?;
    }
    Some((kind & 0x7f, u16::from_be_bytes([s0, s1]), u32::from_be_bytes([c0, c1, c2, c3]), rest))
}

/// An even port and its odd neighbour, non-blocking.
pub fn bind_pair(ip: IpAddr) -> io::Result<(UdpSocket, UdpSocket, u16)> {
    for _ in 0..200 {
        let rtp = UdpSocket::bind(SocketAddr::new(ip, 0))?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 1 || port == u16::MAX {
            continue;
        }
        let Ok(rtcp) = UdpSocket::bind(SocketAddr::new(ip, port + 1)) else { continue };
        rtp.set_nonblocking(true)?;
        rtcp.set_nonblocking(true)?;
        return Ok((rtp, rtcp, port));
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free pair of ports"))
}
