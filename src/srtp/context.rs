//! What protects a direction of a call: [`Outbound`] numbers and seals, [`Inbound`] estimates, refuses what was seen,
//! opens (RFC 3711 3.3).
//!
//! A number counts as seen only after its packet was found authentic: a forged packet changes nothing here.

use super::index::{self, Window};
use super::transform::{ENCRYPTED, RTCP_HEADER, Transform};
use super::{Keying, MAX_SOURCES, Suite};
use heapless::Vec;

/// Why a packet that came is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// No RTP or RTCP.
    Malformed,
    /// It has come before, or is too old to tell.
    Replayed,
    /// Its tag is not of this key, or there is none: forged, changed on the way, not protected at all.
    Forged,
    /// Authentic, but of one source too many ([`MAX_SOURCES`]).
    TooManySources,
}

/// What we send, of one source (one SSRC).
pub struct Outbound {
    keying: Keying,
    rtp: Transform,
    rtcp: Transform,
    /// Of the last RTP packet.
    index: Option<u64>,
    next_rtcp: u32,
}

/// What the peer sends.
pub struct Inbound {
    keying: Keying,
    now: Keyed,
    /// Under the key before this one: what was on its way when the key changed.
    before: Option<Keyed>,
}

/// One master key of the peer and what has come under it.
struct Keyed {
    suite: Suite,
    rtp: Transform,
    rtcp: Transform,
    rtp_sources: Sources,
    rtcp_sources: Sources,
    /// Where the sources were under the key before: a new key does not reset the roll-over counter (RFC 3711 3.3.1), but
    /// some implementations do.
    inherited: Vec<(u32, u64), MAX_SOURCES>,
}

#[derive(Default)]
struct Sources(Vec<(u32, Window), MAX_SOURCES>);

impl Outbound {
    pub fn new(keying: Keying) -> Outbound {
        Outbound { rtp: Transform::rtp(&keying), rtcp: Transform::rtcp(&keying), keying, index: None, next_rtcp: 0 }
    }

    /// Goes on under `keying`; the same key changes nothing. Under another the roll-over counter
    /// (RFC 3711 3.3.1) and the index of RTCP go on: it may be a key that was used before, with numbers not to be used twice.
    pub fn set_keying(&mut self, keying: Keying) {
        if keying != self.keying {
            *self = Outbound { index: self.index, next_rtcp: self.next_rtcp, ..Outbound::new(keying) };
        }
    }

    /// Seals the RTP packet in the first `len` bytes of `packet`; its length then. `None`, and nothing must be sent: there
    /// is no room for the tag, it is no RTP, or the key has protected all it may (RFC 3711 9.2).
    pub fn seal_rtp(&mut self, packet: &mut [u8], len: usize) -> Option<usize> {
        let sealed_len = len + self.keying.suite().rtp_overhead();
        let packet = packet.get_mut(..sealed_len)?;
        let view = RtpView::of(&packet[..len])?;
        let index = self.next_index(&view)?;
        self.index = Some(index);
        self.rtp.seal_rtp(packet, view.header, len, view.ssrc, index);
        Some(sealed_len)
    }

    /// An RTP packet of this source leaves as it is: the roll-over counter has to follow its number all the same.
    pub fn on_plain(&mut self, packet: &[u8]) {
        self.index = RtpView::of(packet).and_then(|view| self.next_index(&view)).or(self.index);
    }

    fn next_index(&self, view: &RtpView) -> Option<u64> {
        match self.index {
            None => Some(u64::from(view.sequence_number)),
            Some(last) => index::estimate(last, view.sequence_number).filter(|index| *index > last),
        }
    }

    /// Seals the RTCP packet in the first `len` bytes of `packet`, as [`Outbound::seal_rtp`] does.
    pub fn seal_rtcp(&mut self, packet: &mut [u8], len: usize) -> Option<usize> {
        let sealed_len = len + self.keying.suite().rtcp_overhead();
        let packet = packet.get_mut(..sealed_len)?;
        let ssrc = rtcp_ssrc(&packet[..len])?;
        let index = self.next_rtcp;
        if index & ENCRYPTED != 0 {
            return None;
        }
        self.next_rtcp += 1;
        self.rtcp.seal_rtcp(packet, len, ssrc, index);
        Some(sealed_len)
    }
}

impl Inbound {
    pub fn new(keying: Keying) -> Inbound {
        Inbound { now: Keyed::new(&keying, Vec::new()), before: None, keying }
    }

    /// Goes on under `keying`; the same key changes nothing. Until the first packet under another one has come, the old
    /// one is good, too.
    pub fn set_keying(&mut self, keying: Keying) {
        if keying != self.keying {
            let inherited = self.now.rtp_sources.0.iter().map(|(ssrc, window)| (*ssrc, window.highest())).collect();
            self.before = Some(std::mem::replace(&mut self.now, Keyed::new(&keying, inherited)));
            self.keying = keying;
        }
    }

    /// Opens an SRTP packet, in place; the RTP packet is the first so many bytes.
    ///
    /// # Errors
    /// See [`Rejected`]; nothing has changed then, not even the bytes.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, Rejected> {
        let view = RtpView::of(packet).ok_or(Rejected::Malformed)?;
        match (self.now.open_rtp(packet, &view), &mut self.before) {
            (Ok(len), _) => {
                self.before = None;
                Ok(len)
            }
            (Err(Rejected::Forged), Some(before)) => before.open_rtp(packet, &view),
            (Err(rejected), _) => Err(rejected),
        }
    }

    /// The same for an SRTCP packet.
    ///
    /// # Errors
    /// See [`Rejected`].
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Rejected> {
        let ssrc = rtcp_ssrc(packet).ok_or(Rejected::Malformed)?;
        match (self.now.open_rtcp(packet, ssrc), &mut self.before) {
            (Err(Rejected::Forged), Some(before)) => before.open_rtcp(packet, ssrc),
            (opened, _) => opened,
        }
    }
}

impl Keyed {
    fn new(keying: &Keying, inherited: Vec<(u32, u64), MAX_SOURCES>) -> Keyed {
        Keyed {
            suite: keying.suite(),
            rtp: Transform::rtp(keying),
            rtcp: Transform::rtcp(keying),
            rtp_sources: Sources::default(),
            rtcp_sources: Sources::default(),
            inherited,
        }
    }

    fn open_rtp(&mut self, packet: &mut [u8], view: &RtpView) -> Result<usize, Rejected> {
        let (ssrc, number) = (view.ssrc, view.sequence_number);
        let len = packet.len().checked_sub(self.suite.rtp_overhead()).filter(|len| *len >= view.header);
        let len = len.ok_or(Rejected::Forged)?;
        if let Some(window) = self.rtp_sources.of(ssrc) {
            let index = index::estimate(window.highest(), number).ok_or(Rejected::Replayed)?;
            if !window.is_new(index) {
                return Err(Rejected::Replayed);
            }
            self.rtp.open_rtp(packet, view.header, ssrc, index).map_err(|_| Rejected::Forged)?;
            window.note(index);
            return Ok(len);
        }
        let index = self.first_index(packet, view).ok_or(Rejected::Forged)?;
        self.rtp_sources.add(ssrc, index)?;
        Ok(len)
    }

    /// The index of the first packet of a source, once opened. It may have been heard under the key before; else it begins
    /// at 0, and may have rolled over once in packets that did not come.
    fn first_index(&self, packet: &mut [u8], view: &RtpView) -> Option<u64> {
        let inherited = self.inherited.iter().find(|(ssrc, _)| *ssrc == view.ssrc).map(|(_, highest)| *highest);
        let number = u64::from(view.sequence_number);
        let continued = inherited.and_then(|highest| index::estimate(highest, view.sequence_number));
        let rolled_over = Some(1 << 16 | number).filter(|_| number < 0x8000);
        let mut candidates =
            [continued.filter(|index| *index != number), Some(number), rolled_over].into_iter().flatten();
        candidates.find(|index| self.rtp.open_rtp(packet, view.header, view.ssrc, *index).is_ok())
    }

    fn open_rtcp(&mut self, packet: &mut [u8], ssrc: u32) -> Result<usize, Rejected> {
        let len = packet.len().checked_sub(self.suite.rtcp_overhead()).filter(|len| *len >= RTCP_HEADER);
        let len = len.ok_or(Rejected::Forged)?;
        let marked = self.rtcp.marked_index(packet).ok_or(Rejected::Malformed)?;
        let index = u64::from(marked & !ENCRYPTED);
        let known = self.rtcp_sources.of(ssrc);
        if known.as_ref().is_some_and(|window| !window.is_new(index)) {
            return Err(Rejected::Replayed);
        }
        self.rtcp.open_rtcp(packet, ssrc, marked).map_err(|_| Rejected::Forged)?;
        match known {
            Some(window) => window.note(index),
            None => self.rtcp_sources.add(ssrc, index)?,
        }
        Ok(len)
    }
}

impl Sources {
    fn of(&mut self, ssrc: u32) -> Option<&mut Window> {
        self.0.iter_mut().find(|(known, _)| *known == ssrc).map(|(_, window)| window)
    }

    /// Forgetting an old source instead would let its packets be replayed. A call that really has so many falls silent,
    /// and is dialled again with new keys.
    fn add(&mut self, ssrc: u32, first: u64) -> Result<(), Rejected> {
        self.0.push((ssrc, Window::new(first))).map_err(|_| Rejected::TooManySources)
    }
}

/// What of an RTP header is needed here; the rest is read when the packet is known to be authentic.
struct RtpView {
    /// Length of the header with CSRCs and extension: it stays readable.
    header: usize,
    sequence_number: u16,
    ssrc: u32,
}

impl RtpView {
    fn of(packet: &[u8]) -> Option<RtpView> {
        let fixed = packet.first_chunk::<12>().filter(|fixed| fixed[0] >> 6 == 2)?;
        let mut header = 12 + 4 * usize::from(fixed[0] & 0x0f);
        if fixed[0] & 0x10 != 0 {
            let words = packet.get(header + 2..header + 4)?;
            header += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        Some(RtpView {
            header,
            sequence_number: u16::from_be_bytes([fixed[2], fixed[3]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        })
        .filter(|view| view.header <= packet.len())
    }
}

/// SSRC of the sender of an RTCP packet.
fn rtcp_ssrc(packet: &[u8]) -> Option<u32> {
    let header = packet.first_chunk::<RTCP_HEADER>().filter(|header| header[0] >> 6 == 2)?;
    Some(u32::from_be_bytes([header[4], header[5], header[6], header[7]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::Entropy;

    #[test]
    fn a_key_that_comes_back_does_not_use_an_rtcp_index_twice() {
        let entropy = Entropy::new([7; Entropy::LEN]);
        let (gcm, cm) = (entropy.keying(Suite::AeadAes128Gcm), entropy.keying(Suite::AesCm128HmacSha1_80));
        let mut outbound = Outbound::new(gcm);
        let mut indices = std::vec::Vec::new();
        for keying in [gcm, cm, gcm] {
            outbound.set_keying(keying);
            let mut packet = [0x80; 64];
            let len = outbound.seal_rtcp(&mut packet, 28).expect("there is room");
            if keying == gcm {
                indices.push(packet[len - 4..len].to_vec());
            }
        }
        assert_ne!(indices[0], indices[1]);
    }

    #[test]
    fn numbers_that_roll_over_in_plain_packets_have_rolled_over() {
        let keying = Entropy::new([7; Entropy::LEN]).keying(Suite::AeadAes128Gcm);
        let mut outbound = Outbound::new(keying);
        let packet = |number: u16| {
            let mut packet = [0x80; 64];
            packet[2..4].copy_from_slice(&number.to_be_bytes());
            packet
        };
        assert!(outbound.seal_rtp(&mut packet(1_000), 20).is_some());
        (1_001..=u16::MAX).chain(0..=2_000).for_each(|number| outbound.on_plain(&packet(number)));
        assert!(outbound.seal_rtp(&mut packet(2_001), 20).is_some());
        assert_eq!(outbound.index, Some(0x1_0000 + 2_001));
    }
}
