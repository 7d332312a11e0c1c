//! A payload with copies of earlier ones in front of its own (RFC 2198 3): a checked view, and the header of what is sent.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |1|  block PT   |      timestamp offset     |   block length    |   one for each copy
//! |0|  block PT   |                                                 the packet's own block
//! |               copies, then the packet's own block             |
//! ```

use crate::rtp::packet::Malformed;

/// In front of a packet with one copy.
pub const HEADER_LEN: usize = COPY_HEADER_LEN + 1;
/// Ten bits have room for no longer copy.
pub const MAX_COPY: usize = (1 << 10) - 1;
/// Fourteen bits have room for no older one.
pub const MAX_BEHIND: u32 = (1 << 14) - 1;

const COPY_HEADER_LEN: usize = 4;
/// Another header follows.
const MORE: u8 = 0x80;

/// What both sides agreed on: the payload type that the peer wants, and the one we announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redundancy {
    pub send_payload_type: u8,
    pub receive_payload_type: u8,
}

/// A payload that has been checked: no accessor can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redundant<'a> {
    headers: &'a [[u8; COPY_HEADER_LEN]],
    /// All copies, one after the other.
    copies: &'a [u8],
    /// Of the packet's own block.
    pub payload_type: u8,
    pub payload: &'a [u8],
}

/// One block of an earlier packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy<'a> {
    pub payload_type: u8,
    /// How many ticks before the packet's own timestamp its first sample was recorded.
    pub behind: u32,
    pub payload: &'a [u8],
}

impl<'a> Redundant<'a> {
    /// A payload of this type without copies.
    pub fn alone(payload_type: u8, payload: &'a [u8]) -> Redundant<'a> {
        Redundant { headers: &[], copies: &[], payload_type, payload }
    }

    /// # Errors
    /// The headers do not end, or say more than there is.
    pub fn parse(payload: &'a [u8]) -> Result<Redundant<'a>, Malformed> {
        let (all, _) = payload.as_chunks();
        let count = all.iter().take_while(|header| header[0] & MORE != 0).count();
        let headers = &all[..count];
        let (own, blocks) = payload[count * COPY_HEADER_LEN..].split_first().ok_or(Malformed)?;
        // What is left over behind the last whole header may be one that is cut off.
        if own & MORE != 0 {
            return Err(Malformed);
        }
        let lengths = headers.iter().map(length).sum();
        let (copies, payload) = blocks.split_at_checked(lengths).ok_or(Malformed)?;
        Ok(Redundant { headers, copies, payload_type: *own, payload })
    }

    /// The copies from the last in the packet to the first: whoever sends several has the oldest first.
    pub fn copies(&self) -> impl Iterator<Item = Copy<'a>> {
        let mut rest = self.copies;
        self.headers.iter().rev().map(move |header| {
            let (before, payload) = rest.split_at(rest.len() - length(header));
            rest = before;
            let [first, high, low, _] = *header;
            let behind = u32::from(high) << 6 | u32::from(low) >> 2;
            Copy { payload_type: first & !MORE, behind, payload }
        })
    }
}

/// Of the copy with this header.
fn length(header: &[u8; COPY_HEADER_LEN]) -> usize {
    usize::from(header[2] & 3) << 8 | usize::from(header[3])
}

/// The header of a packet with one copy, both with this payload type, which fits: at most [`MAX_COPY`] long, and
/// [`MAX_BEHIND`] old.
pub fn header(payload_type: u8, behind: u32, length: usize) -> [u8; HEADER_LEN] {
    debug_assert!(length <= MAX_COPY && behind <= MAX_BEHIND);
    let payload_type = payload_type & !MORE;
    let [high, low] = ((behind << 2) as u16 | (length >> 8) as u16 & 3).to_be_bytes();
    [MORE | payload_type, high, low, length as u8, payload_type]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn copies(payload: &[u8]) -> Vec<(u8, u32, &[u8])> {
        let read = Redundant::parse(payload).unwrap();
        read.copies().map(|copy| (copy.payload_type, copy.behind, copy.payload)).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for (behind, length) in [(960, 3), (0, 0), (MAX_BEHIND, MAX_COPY), (2_880, 256), (120, 255)] {
            let mut payload = header(96, behind, length).to_vec();
            payload.extend(vec![7; length]);
            payload.extend(*b"own");
            assert_eq!(copies(&payload), [(96, behind, &vec![7; length][..])]);
            let read = Redundant::parse(&payload).unwrap();
            assert_eq!((read.payload_type, read.payload), (96, &b"own"[..]));
        }
    }

    #[test]
    fn copies_come_from_the_last_to_the_first() {
        let (old, new) = (header(96, 1_920, 2), header(97, 960, 1));
        let payload = [&old[..4], &new[..], b"abcdef"].concat();
        assert_eq!(copies(&payload), [(97, 960, &b"c"[..]), (96, 1_920, b"ab")]);
        assert_eq!(Redundant::parse(&payload).unwrap().payload, b"def");
        assert_eq!(copies(&[96, 1, 2]), []);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let payload = [&header(96, 960, 4)[..], b"copy"].concat();
        for len in 0..payload.len() {
            assert_eq!(Redundant::parse(&payload[..len]), Err(Malformed), "{len}");
        }
        assert_eq!(Redundant::parse(&payload).unwrap().payload, b"");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(read) = Redundant::parse(&payload) {
                let blocks: usize = read.copies().map(|copy| copy.payload.len() + COPY_HEADER_LEN).sum();
                prop_assert_eq!(blocks + 1 + read.payload.len(), payload.len());
            }
        }
    }
}
