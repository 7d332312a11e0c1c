//! Packets in packets (RFC 2198): a packet that carries the one before it once more repairs its loss, and leaves the decoder as
//! if nothing had been lost. In-band FEC does neither wholly, but costs less: docs/voice.md has both measured.
//!
//! ```text
//!   on the wire     ┌─────────┐ ┌─────────┐     lost      ┌─────────┐
//!                   │ 0  │ 1  │ │ 1  │ 2  │   (2 │ 3)     │ 3  │ 4  │
//!                   └─────────┘ └─────────┘               └─────────┘
//!   jitter buffer          1           2                    3    4
//! ```
//!
//! *In*: a copy says how long before its packet it was recorded, not which number it had. Numbers follow from lengths: a copy
//! that ends where the block behind it begins is of the packet just before. A copy fills a hole and does nothing else: it is no
//! arrival, and tells nothing of the line.
//!
//! *Out*: a copy is sent only if the packet before left just before, in number and in time; so after a frame that was withheld,
//! an event or a hold there is none. Whether there are any at all is the [`autopilot`](super::autopilot)'s to say.

use crate::media::command::StreamParams;
use crate::media::toc::{self, Toc};
use crate::rtp::packet::{Header, Malformed, Packet};
use crate::rtp::red::{self, MAX_BEHIND, MAX_COPY, Redundant};
use heapless::Vec;

/// A copy that came with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Earlier<'a> {
    /// How many numbers, and how many samples, before that packet.
    pub back: u64,
    pub behind: u32,
    pub toc: Toc,
    pub payload: &'a [u8],
}

/// The Opus in a packet, with or without copies; `None`: it is something else.
///
/// # Errors
/// Its blocks cannot be told apart, or its own is no Opus.
pub fn sound<'a>(params: &StreamParams, packet: &Packet<'a>) -> Result<Option<Redundant<'a>>, Malformed> {
    let (opus, of_packet) = (params.receive_payload_type, packet.header.payload_type);
    if of_packet == opus {
        return Ok(Some(Redundant::alone(opus, packet.payload)));
    }
    if params.redundancy.is_none_or(|red| red.receive_payload_type != of_packet) {
        return Ok(None);
    }
    let sound = Redundant::parse(packet.payload)?;
    if sound.payload_type == opus { Ok(Some(sound)) } else { Err(Malformed) }
}

/// The copies of the same kind as the packet's own block whose place is certain, the newest first.
pub fn earlier<'a>(sound: &Redundant<'a>) -> impl Iterator<Item = Earlier<'a>> {
    let kind = sound.payload_type;
    // Where the block behind stands.
    let (mut back, mut behind) = (0, 0);
    sound.copies().filter(move |copy| copy.payload_type == kind).filter_map(move |copy| {
        let toc = toc::read(copy.payload)?;
        let between = copy.behind.checked_sub(behind + toc.samples)?;
        if !between.is_multiple_of(toc.samples) {
            return None;
        }
        back += 1 + u64::from(between / toc.samples);
        behind = copy.behind;
        Some(Earlier { back, behind, toc, payload: copy.payload })
    })
}

/// The packet that left last.
#[derive(Debug, Default)]
pub struct Echo {
    /// Number and timestamp of the one that comes next, if nothing is in between; and how long this one is.
    next: Option<(u16, u32, u32)>,
    payload: Vec<u8, MAX_COPY>,
}

impl Echo {
    /// The packet with this header, `samples` long, is about to leave. If it does not, no later one follows it.
    pub fn keep(&mut self, header: &Header, samples: u32, payload: &[u8]) {
        self.payload.clear();
        let fits = samples <= MAX_BEHIND && self.payload.extend_from_slice(payload).is_ok();
        let next = (header.sequence_number.wrapping_add(1), header.timestamp.wrapping_add(samples), samples);
        self.next = fits.then_some(next);
    }

    /// Writes what stands before the own block of the packet with this header, which is to have `least` bytes of all that
    /// `packet` can take; how long that is. 0: there is no copy, and no header for one.
    pub fn write(&self, header: &Header, least: usize, packet: &mut [u8]) -> usize {
        let Some((number, timestamp, samples)) = self.next else { return 0 };
        let length = red::HEADER_LEN + self.payload.len();
        let follows = number == header.sequence_number && timestamp == header.timestamp;
        if !follows || packet.len() < length + least {
            return 0;
        }
        let Some(place) = packet.get_mut(..length) else { return 0 };
        let (head, copy) = place.split_at_mut(red::HEADER_LEN);
        head.copy_from_slice(&red::header(header.payload_type, samples, self.payload.len()));
        copy.copy_from_slice(&self.payload);
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 ms, and 10 ms.
    const LONG: &[u8] = &[9 << 3, 0];
    const SHORT: &[u8] = &[8 << 3, 0];

    fn packet(copies: &[(u8, u32, &[u8])]) -> std::vec::Vec<u8> {
        let headers = copies.iter().flat_map(|(kind, behind, copy)| {
            let [header @ .., _] = red::header(*kind, *behind, copy.len());
            header
        });
        let blocks = copies.iter().flat_map(|(_, _, copy)| copy.iter().copied());
        headers.chain([96]).chain(blocks).chain(LONG.iter().copied()).collect()
    }

    fn places(copies: &[(u8, u32, &[u8])]) -> std::vec::Vec<(u64, u32)> {
        let packet = packet(copies);
        let sound = Redundant::parse(&packet).unwrap();
        assert_eq!(sound.payload, LONG);
        earlier(&sound).map(|copy| (copy.back, copy.behind)).collect()
    }

    #[test]
    fn the_number_of_a_copy_follows_from_lengths() {
        assert_eq!(places(&[(96, 960, LONG)]), [(1, 960)]);
        assert_eq!(places(&[(96, 480, SHORT)]), [(1, 480)], "packets that became longer");
        assert_eq!(places(&[(96, 1_920, LONG), (96, 960, LONG)]), [(1, 960), (2, 1_920)]);
        assert_eq!(places(&[(96, 1_440, LONG), (96, 480, SHORT)]), [(1, 480), (2, 1_440)]);
        assert_eq!(places(&[(96, 2_880, LONG)]), [(3, 2_880)], "of one further back");
    }

    #[test]
    fn a_copy_without_a_place_is_left_out() {
        assert_eq!(places(&[]), []);
        assert_eq!(places(&[(96, 0, LONG)]), [], "at the time of the packet itself");
        assert_eq!(places(&[(96, 1_000, LONG)]), [], "a part of a packet before it");
        assert_eq!(places(&[(96, 960, LONG), (96, 960, LONG)]), [(1, 960)], "twice the same");
        assert_eq!(places(&[(96, 960, &[])]), [], "empty, as browsers send it");
        assert_eq!(places(&[(97, 1_920, LONG), (96, 960, LONG)]), [(1, 960)], "of something else");
    }

    #[test]
    fn a_copy_follows_its_packet_in_number_and_in_time() {
        let first = Header { marker: true, payload_type: 96, sequence_number: 65_535, timestamp: u32::MAX, ssrc: 1 };
        let next = Header { sequence_number: 0, timestamp: 959, ..first };
        let written = |echo: &Echo, header: &Header, room: usize| {
            let mut packet = [0; 64];
            let len = echo.write(header, 10, &mut packet[..room]);
            packet[..len].to_vec()
        };
        let mut echo = Echo::default();
        assert_eq!(written(&echo, &next, 64), [0; 0]);
        echo.keep(&first, 960, LONG);
        let expected = [&red::header(96, 960, 2)[..], LONG].concat();
        assert_eq!(written(&echo, &next, 64), expected);
        assert_eq!(written(&echo, &next, expected.len() + 10), expected);
        assert_eq!(written(&echo, &next, expected.len() + 9), [0; 0], "too little room beside it");
        assert_eq!(written(&echo, &next, 3), [0; 0]);
        assert_eq!(written(&echo, &Header { timestamp: 1_919, ..next }, 64), [0; 0], "a frame was withheld");
        assert_eq!(written(&echo, &Header { sequence_number: 1, ..next }, 64), [0; 0], "an event has left");
        echo.keep(&first, 960, &[7; MAX_COPY + 1]);
        assert_eq!(written(&echo, &next, 64), [0; 0], "too long");
    }
}
