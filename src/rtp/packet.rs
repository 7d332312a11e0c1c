//! One RTP packet (RFC 3550 5.1): a checked view over received bytes, and the header of a packet to send.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! |                           timestamp                           |
//! |                             SSRC                              |
//! |            CSRC list, extension, payload, padding             |
//! ```

use rtp_types::{RtpPacket, RtpPacketBuilder};

/// Bytes of the header that we send: no CSRC, no extension.
pub const HEADER_LEN: usize = 12;

/// Not an RTP packet: too short, wrong version, or lengths inside that do not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// A packet that has been checked: no accessor can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    pub header: Header,
    /// Without CSRCs, extension and padding; may be empty.
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Packet<'_> {
    pub fn parse(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
        let view = RtpPacket::parse(bytes).map_err(|_| Malformed)?;
        let payload_end = bytes.len() - usize::from(view.padding().unwrap_or(0));
        Ok(Packet {
            header: Header {
                marker: view.marker_bit(),
                payload_type: view.payload_type(),
                sequence_number: view.sequence_number(),
                timestamp: view.timestamp(),
                ssrc: view.ssrc(),
            },
            payload: bytes.get(view.payload_offset()..payload_end).ok_or(Malformed)?,
        })
    }
}

impl Header {
    /// Writes the header into the first [`HEADER_LEN`] bytes of `packet`.
    pub fn write(&self, packet: &mut [u8; HEADER_LEN]) {
        RtpPacketBuilder::<&[u8], &[u8]>::new()
            .marker_bit(self.marker)
            .payload_type(self.payload_type & 0x7f)
            .sequence_number(self.sequence_number)
            .timestamp(self.timestamp)
            .ssrc(self.ssrc)
            .write_into_unchecked(packet);
    }
}

/// Whether a datagram on a shared port is RTCP (RFC 5761 4: packet types 192..=223).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [first, 192..=223, ..] if first >> 6 == 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Header =
        Header { marker: true, payload_type: 111, sequence_number: 0xfffe, timestamp: 0xdead_beef, ssrc: 0x0102_0304 };

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = [0; HEADER_LEN + 3];
        HEADER.write(bytes.first_chunk_mut().unwrap());
        bytes[HEADER_LEN..].copy_from_slice(b"abc");
        assert_eq!(Packet::parse(&bytes), Ok(Packet { header: HEADER, payload: b"abc" }));
        assert_eq!(bytes[..4], [0x80, 0x80 | 111, 0xff, 0xfe]);
        assert!(!is_rtcp(&bytes));
    }

    #[test]
    fn csrc_extension_and_padding_are_not_payload() {
        let mut bytes = vec![0; HEADER_LEN];
        HEADER.write(bytes.first_chunk_mut().unwrap());
        bytes[0] = 0x80 | 0x20 | 0x10 | 1;
        bytes.extend([9, 9, 9, 9]); // CSRC
        bytes.extend([0xbe, 0xde, 0, 1, 7, 7, 7, 7]); // one word of extension
        bytes.extend(*b"voice");
        bytes.extend([0, 0, 3]); // padding
        assert_eq!(Packet::parse(&bytes).unwrap().payload, b"voice");
        for cut in 0..bytes.len() - 8 {
            assert_eq!(Packet::parse(&bytes[..cut]), Err(Malformed), "cut at {cut}");
        }
    }

    #[test]
    fn rtcp_on_a_shared_port_is_told_apart() {
        assert!(is_rtcp(&[0x81, 201, 0, 7]));
        assert!(!is_rtcp(&[0x80, 224, 0, 7]));
        assert!(!is_rtcp(&[0x16, 200]));
        assert!(!is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload.len() + HEADER_LEN <= bytes.len());
            }
        }
    }
}
