//! Which directions of the card are open, and how they are opened.
//!
//! ```text
//!   both at once                 one clock of capture paces them
//!   playback alone               no microphone, or the loudspeaker's turn: playback paces, silence is recorded
//!   capture alone                no loudspeaker, or the microphone's turn
//! ```
//!
//! A card that refuses capture as busy, but gives it once its playback is closed, can do one direction at a time.

use super::half::{Granted, Half, Wish};
use super::machine::Machine;
use super::margin::Margin;
use super::wake::Wake;
use super::{OpenError, explain, present_name};
use crate::config::card_name::CardIdentity;
use crate::config::{Audio, Duplex, NO_PCM};
use crate::media::command::CardError;
use crate::media::turn::Side;
use crate::time::Span;
use alsa::Direction;

pub(super) enum Sides {
    Both { capture: Half, playback: Half },
    Capture(Half),
    Playback(Half),
}

/// A period of a millisecond is the least a USB card can do; of one that is half of what can be read at once ...
const SHORTEST_PERIOD: Span = Span::from_millis(1);
/// ... there is always a second.
const LONGEST_PERIOD: Span = Span::from_millis(50);

impl Sides {
    /// All that the configuration wants and the card can do, and whether it can do both at once.
    pub(super) fn open(
        config: &Audio,
        machine: &Machine,
        cards: &[CardIdentity],
    ) -> Result<(Sides, Duplex), OpenError> {
        let half = |direction| open_half(config, machine, cards, direction);
        if config.capture == NO_PCM {
            return Ok((Sides::Playback(half(Direction::Playback)?), Duplex::Full));
        }
        if config.playback == NO_PCM {
            return Ok((Sides::Capture(half(Direction::Capture)?), Duplex::Full));
        }
        let playback = half(Direction::Playback)?;
        match config.duplex {
            Duplex::Half => return Ok((Sides::Playback(playback), Duplex::Half)),
            Duplex::Full => {}
        }
        let refused = match half(Direction::Capture) {
            Ok(capture) => return Ok((Sides::both(capture, playback)?, Duplex::Full)),
            Err(why) => why,
        };
        drop(playback);
        if refused.error != CardError::Busy || half(Direction::Capture).is_err() {
            return Err(refused);
        }
        Ok((Sides::Playback(half(Direction::Playback)?), Duplex::Half))
    }

    /// One direction.
    pub(super) fn open_one(
        config: &Audio,
        machine: &Machine,
        cards: &[CardIdentity],
        side: Side,
    ) -> Result<Sides, OpenError> {
        match side {
            Side::Capture => open_half(config, machine, cards, Direction::Capture).map(Sides::Capture),
            Side::Playback => open_half(config, machine, cards, Direction::Playback).map(Sides::Playback),
        }
    }

    fn both(capture: Half, playback: Half) -> Result<Sides, OpenError> {
        if playback.buffer() < 2 * capture.period() {
            let words = format!(
                "a buffer of {} frames for playback holds no two periods of {} for capture",
                playback.buffer(),
                capture.period()
            );
            return Err(OpenError { error: CardError::Unsuitable, words });
        }
        Ok(Sides::Both { capture, playback })
    }

    /// Whether one start starts both: kernel cards of one clock can; plug-ins answer ENOSYS.
    pub(super) fn link(&self) -> bool {
        match self {
            Sides::Both { capture, playback } => playback.pcm.link(&capture.pcm).is_ok(),
            Sides::Capture(_) | Sides::Playback(_) => false,
        }
    }

    /// The direction whose interrupts we wait for.
    pub(super) fn pace(&self) -> &Half {
        match self {
            Sides::Both { capture: half, .. } | Sides::Capture(half) | Sides::Playback(half) => half,
        }
    }

    pub(super) fn capture(&self) -> Option<&Half> {
        match self {
            Sides::Both { capture, .. } | Sides::Capture(capture) => Some(capture),
            Sides::Playback(_) => None,
        }
    }

    pub(super) fn playback(&self) -> Option<&Half> {
        match self {
            Sides::Both { playback, .. } | Sides::Playback(playback) => Some(playback),
            Sides::Capture(_) => None,
        }
    }

    pub(super) fn playback_mut(&mut self) -> Option<&mut Half> {
        match self {
            Sides::Both { playback, .. } | Sides::Playback(playback) => Some(playback),
            Sides::Capture(_) => None,
        }
    }

    /// Rate and period of what paces, buffer of playback.
    pub(super) fn granted(&self) -> Granted {
        let paces = self.pace().granted;
        Granted { buffer: self.playback().map_or(paces.buffer, |half| half.granted.buffer), ..paces }
    }

    /// For packets of so many frames.
    pub(super) fn wake(&self, packet: usize) -> Wake {
        let buffers = [self.capture(), self.playback()].into_iter().flatten().map(Half::buffer);
        Wake::new(packet, self.pace().period(), buffers.min().unwrap_or(0))
    }

    /// What of the playback queue can be spared for late wake-ups; alone, playback is kept full.
    pub(super) fn margin(&self, wake: Wake) -> Margin {
        let asleep = wake.most() * self.pace().period();
        match self {
            Sides::Both { playback, .. } => Margin::new(playback.buffer() - asleep, asleep),
            Sides::Capture(_) | Sides::Playback(_) => Margin::new(0, asleep),
        }
    }
}

fn open_half(
    config: &Audio,
    machine: &Machine,
    cards: &[CardIdentity],
    direction: Direction,
) -> Result<Half, OpenError> {
    let (name, channels, channel) = match direction {
        Direction::Capture => (&config.capture, config.capture_channels, config.capture_channel),
        Direction::Playback => (&config.playback, config.playback_channels, 0),
    };
    let wish = Wish {
        rate: config.rate,
        channels: channels.into(),
        channel: channel.into(),
        period: config.period.clamp(SHORTEST_PERIOD, LONGEST_PERIOD),
        periods: config.periods.max(2),
    };
    let error = match present_name(name, cards) {
        Some(pcm) => match Half::open(&pcm, direction, &wish) {
            Ok(half) => return Ok(half),
            Err(error) => error,
        },
        None => CardError::Absent,
    };
    Err(OpenError { error, words: explain(error, name, direction, machine, cards) })
}
