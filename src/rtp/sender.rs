//! The numbers of the packets that leave: sequence, timestamp, marker, SSRC (RFC 3550 5.1, RFC 7587 4.1).
//!
//! The timestamp counts captured samples, sent or not: it runs through mute, hold, a frame withheld under the cap and
//! the loss of the card. The sequence number counts packets sent, so that a frame never sent is a hole in time and not
//! a packet lost. The first packet after such a hole carries the marker (RFC 3551 4.1).

use crate::random::Rng;
use crate::rtp::packet::Header;

#[derive(Clone, Debug)]
pub struct Sender {
    ssrc: u32,
    payload_type: u8,
    sequence_number: u16,
    /// Timestamp of the next sample captured.
    timestamp: u32,
    next_is: Talkspurt,
    packets: u64,
    payload_bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Talkspurt {
    Begins,
    GoesOn,
}

impl Sender {
    /// Sequence number and timestamp begin at random (RFC 3550 5.1), the number in the lower half: a receiver of SRTP that
    /// misses the first packets must not miss a roll-over with them (RFC 3711 3.3.1).
    pub fn new(ssrc: u32, payload_type: u8, rng: &mut Rng) -> Sender {
        Sender {
            ssrc,
            payload_type,
            sequence_number: rng.next_u32() as u16 & 0x7fff,
            timestamp: rng.next_u32(),
            next_is: Talkspurt::Begins,
            packets: 0,
            payload_bytes: 0,
        }
    }

    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// A re-INVITE may give our Opus another number.
    pub fn set_payload_type(&mut self, payload_type: u8) {
        self.payload_type = payload_type;
    }

    /// The header of a packet whose first sample is the next one.
    pub fn header(&self) -> Header {
        Header {
            marker: self.next_is == Talkspurt::Begins,
            payload_type: self.payload_type,
            sequence_number: self.sequence_number,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        }
    }

    /// The packet with [`Sender::header`], `samples` long, has left.
    pub fn on_sent(&mut self, samples: u32, payload_bytes: usize) {
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(samples);
        self.next_is = Talkspurt::GoesOn;
        self.packets += 1;
        self.payload_bytes += payload_bytes as u64;
    }

    /// A packet with the next number that is no sound has left while `samples` passed.
    pub fn on_event_sent(&mut self, samples: u32, payload_bytes: usize) {
        self.on_sent(samples, payload_bytes);
        self.next_is = Talkspurt::Begins;
    }

    /// `samples` pass without a packet.
    pub fn on_skipped(&mut self, samples: u32) {
        self.timestamp = self.timestamp.wrapping_add(samples);
        self.next_is = Talkspurt::Begins;
    }

    /// Timestamp of the next sample captured: "corresponds to the same time" as a report's NTP field.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload only, as a sender report counts (RFC 3550 6.4.1).
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_not_sent_is_a_hole_in_time_and_not_in_sequence() {
        let mut sender = Sender::new(7, 96, &mut Rng::from_u64(1));
        let first = sender.header();
        assert!(first.marker);
        sender.on_sent(960, 80);
        let second = sender.header();
        assert!(!second.marker);
        assert_eq!(second.sequence_number, first.sequence_number.wrapping_add(1));
        assert_eq!(second.timestamp, first.timestamp.wrapping_add(960));
        sender.on_skipped(4800);
        let third = sender.header();
        assert!(third.marker);
        assert_eq!(third.sequence_number, second.sequence_number);
        assert_eq!(third.timestamp, second.timestamp.wrapping_add(4800));
        assert_eq!((sender.packets(), sender.payload_bytes()), (1, 80));
    }

    #[test]
    fn the_first_number_lies_in_the_lower_half() {
        let mut rng = Rng::from_u64(2);
        let firsts: Vec<u16> = (0..100).map(|_| Sender::new(7, 96, &mut rng).header().sequence_number).collect();
        assert!(firsts.iter().all(|number| *number < 0x8000), "{firsts:?}");
        assert!(firsts.iter().any(|number| *number > 0x4000) && firsts.iter().any(|number| *number < 0x4000));
    }
}
