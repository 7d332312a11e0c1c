//! Keys of a telephone: the sixteen digits of DTMF, however they travel.
//!
//! * `rtp::event`, `media::keypad`: as packets of the stream (RFC 4733), when both sides have them.
//! * `sip::info`: as INFO requests (`application/dtmf-relay`).
//! * `agent::digits`: which of the two, and what becomes of what the mixer sends.

/// One key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digit(u8);

/// Some keys, one after the other. `Copy`, because they travel between threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digits {
    keys: [Digit; MAX_DIGITS],
    len: u8,
}

/// Longest sequence of one command.
pub const MAX_DIGITS: usize = 32;

/// In the order of their events (RFC 4733 3.2).
const KEYS: &[u8; 16] = b"0123456789*#ABCD";

impl Digit {
    /// The key of an event code; 16 (flash) and above are none.
    pub fn of_event(code: u8) -> Option<Digit> {
        (usize::from(code) < KEYS.len()).then_some(Digit(code))
    }

    /// The key that is written like this; letters in any case.
    pub fn of_char(c: char) -> Option<Digit> {
        let code = KEYS.iter().position(|key| char::from(*key) == c.to_ascii_uppercase())?;
        Digit::of_event(code as u8)
    }

    /// Event code (RFC 4733 3.2).
    pub fn event(self) -> u8 {
        self.0
    }

    pub fn as_char(self) -> char {
        char::from(KEYS[usize::from(self.0) % KEYS.len()])
    }
}

impl Digits {
    /// `text` as keys: one to [`MAX_DIGITS`], and nothing else in it.
    pub fn parse(text: &str) -> Option<Digits> {
        let mut digits = Digits { keys: [Digit(0); MAX_DIGITS], len: 0 };
        for c in text.chars() {
            *digits.keys.get_mut(usize::from(digits.len))? = Digit::of_char(c)?;
            digits.len += 1;
        }
        (digits.len > 0).then_some(digits)
    }

    pub fn iter(&self) -> impl Iterator<Item = Digit> + '_ {
        self.keys.iter().take(self.len.into()).copied()
    }
}

/// Telephone events that both sides of a stream have (RFC 4733 2.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TelephoneEvent {
    /// Payload type the peer wants, and the one we announced.
    pub send_payload_type: u8,
    pub receive_payload_type: u8,
    /// Of timestamps and durations: Opus' 48000, or the 8000 of a mixer that knows no other.
    pub clock_rate: u32,
}

impl TelephoneEvent {
    /// Whether a packet with this payload type is one. Some senders use the number they announced in place of ours.
    pub fn has(&self, payload_type: u8) -> bool {
        payload_type == self.receive_payload_type || payload_type == self.send_payload_type
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let digits = Digits::parse("0123456789*#abcD").expect("all there are");
        assert_eq!(digits.iter().map(Digit::as_char).collect::<String>(), "0123456789*#ABCD");
        assert_eq!(digits.iter().map(Digit::event).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
        assert_eq!(Digit::of_event(16), None);
        for bad in ["", "1 2", "E", "\u{661}", &"1".repeat(MAX_DIGITS + 1)] {
            assert_eq!(Digits::parse(bad), None, "{bad}");
        }
        assert!(Digits::parse(&"1".repeat(MAX_DIGITS)).is_some());
    }
}
