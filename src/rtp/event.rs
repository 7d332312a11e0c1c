//! The payload of a telephone event (RFC 4733 2.3).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |     event     |E|R| volume    |          duration             |
//! ```

use crate::rtp::packet::Malformed;

pub const PAYLOAD_LEN: usize = 4;

/// -10 dBm0, as every telephone has it.
const VOLUME: u8 = 10;
const END: u8 = 0x80;

/// How far an event is; it began at the timestamp of its packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedEvent {
    pub code: u8,
    /// It is over.
    pub end: bool,
    /// In ticks of the payload type's clock.
    pub duration: u16,
}

impl NamedEvent {
    /// # Errors
    /// The payload is too short. A longer one carries more events, which no DTMF needs (2.5.1.5): the first counts.
    pub fn parse(payload: &[u8]) -> Result<NamedEvent, Malformed> {
        let Some(&[code, flags, high, low]) = payload.first_chunk() else { return Err(Malformed) };
        Ok(NamedEvent { code, end: flags & END != 0, duration: u16::from_be_bytes([high, low]) })
    }

    pub fn write(self) -> [u8; PAYLOAD_LEN] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, if self.end { END | VOLUME } else { VOLUME }, high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let event = NamedEvent { code: 11, end: true, duration: 0x1234 };
        assert_eq!(event.write(), [11, 0x8a, 0x12, 0x34]);
        assert_eq!(NamedEvent::parse(&event.write()), Ok(event));
        assert_eq!(NamedEvent::parse(&[5, 0x4a, 0, 160, 9, 9]), Ok(NamedEvent { code: 5, end: false, duration: 160 }));
        for len in 0..PAYLOAD_LEN {
            assert_eq!(NamedEvent::parse(&event.write()[..len]), Err(Malformed));
        }
    }
}
