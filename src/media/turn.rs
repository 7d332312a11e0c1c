//! Whose turn it is, where a card can only do one direction at a time.
//!
//! ```text
//!              the far end speaks for 30 ms
//!    Speak ────────────────────────────────▶ Listen
//!      ▲                                       │
//!      └── it has been silent for `hang` ──────┘
//! ```
//!
//! Who is far away cannot be interrupted: he does not know that he is not heard. So he has the loudspeaker as soon as he
//! speaks, and the microphone has the card in between.

use crate::media::volume::Decibels;
use crate::time::{Span, Time};

/// A direction of the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Capture,
    Playback,
}

#[derive(Clone, Debug)]
pub struct Turn {
    /// A peak from which sound is speech.
    speech: u16,
    hang: Span,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The far end has been loud since then.
    Speak { loud_since: Option<Time> },
    /// It was loud last then.
    Listen { loud: Time },
}

/// Shorter sounds are clicks.
const ONSET: Span = Span::from_millis(30);

impl Turn {
    /// `speech` is relative to full scale.
    pub fn new(speech: Decibels, hang: Span) -> Turn {
        let speech = (32_768.0 * speech.as_factor()).clamp(1.0, 32_767.0) as u16;
        Turn { speech, hang, state: State::Speak { loud_since: None } }
    }

    /// The far end's next piece of sound has this peak.
    pub fn on_far_end(&mut self, now: Time, peak: u16) {
        let loud = peak >= self.speech;
        self.state = match self.state {
            State::Speak { .. } if !loud => State::Speak { loud_since: None },
            State::Speak { loud_since } => {
                let since = loud_since.unwrap_or(now);
                if now.since(since) >= ONSET {
                    State::Listen { loud: now }
                } else {
                    State::Speak { loud_since: Some(since) }
                }
            }
            State::Listen { .. } if loud => State::Listen { loud: now },
            State::Listen { loud } if now.since(loud) >= self.hang => State::Speak { loud_since: None },
            listen @ State::Listen { .. } => listen,
        };
    }

    pub fn side(&self) -> Side {
        match self.state {
            State::Speak { .. } => Side::Capture,
            State::Listen { .. } => Side::Playback,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_end_has_the_card_while_it_speaks_and_a_little_longer() {
        let mut turn = Turn::new(Decibels(-40), Span::from_millis(600));
        let mut now = Time::from_millis(1_000);
        // How many ms until it is the turn of `side`, with a far end of this peak.
        let mut until = |side, peak| {
            let began = now;
            for _ in 0..1_000 {
                if turn.side() == side {
                    return Some(now.since(began).as_millis());
                }
                now += Span::from_millis(10);
                turn.on_far_end(now, peak);
            }
            None
        };
        assert_eq!(until(Side::Playback, 320), None, "-40 dB are 328");
        assert_eq!(until(Side::Playback, 340), Some(40));
        assert_eq!(until(Side::Capture, 340), None);
        assert_eq!(until(Side::Capture, 0), Some(600));
        assert_eq!(until(Side::Playback, 32_768), Some(40));
    }

    #[test]
    fn a_click_is_no_speech_and_a_pause_between_words_no_end() {
        let mut turn = Turn::new(Decibels(-40), Span::from_millis(600));
        let at = |ms: u64| Time::from_millis(1_000 + ms);
        for ms in (0..1_000).step_by(100) {
            turn.on_far_end(at(ms), 20_000);
            turn.on_far_end(at(ms + 10), 0);
            assert_eq!(turn.side(), Side::Capture);
        }
        (0..10).for_each(|n| turn.on_far_end(at(1_000 + 10 * n), 20_000));
        for ms in (1_100..5_000).step_by(500) {
            turn.on_far_end(at(ms), 0);
            turn.on_far_end(at(ms + 490), 0);
            assert_eq!(turn.side(), Side::Playback);
            turn.on_far_end(at(ms + 495), 20_000);
        }
    }
}
