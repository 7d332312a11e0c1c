//! The sound card: one capture and one playback direction, driven together and without ever blocking.
//!
//! ```text
//!           open           start            underrun, overrun, suspend
//!   (none) -----> Card ----------> running ---------------------------> start again (both directions)
//!                                  running --- ENODEV and the like ---> Trouble::Gone, close, open later
//! ```
//!
//! The rest of the program knows mono 48 kHz only. A card with more channels gives the configured one and plays the
//! same on all; a card that wants 32 bit gets them; a card of another rate needs a `plughw:` name, where ALSA
//! converts. What the card granted is read back, never assumed: a forced period of 1024 works as well as 480.
//!
//! Capture sets the pace: at its interrupt the whole periods recorded so far are read, and as many are written, so that
//! the playback queue is a period and a margin long again. Late frames of a period are left for the next interrupt:
//! the rhythm stays the card's, and packets are full at every second interrupt. When two cards with two clocks serve
//! one device, the queue grows or shrinks; then a period is written less or more (see [`Slip`]), and the stream's
//! jitter buffer takes up the difference.

mod half;
pub mod listing;
pub mod machine;
mod slip;
mod words;

use crate::config::Audio;
use crate::config::card_name::{CardIdentity, PcmName};
use crate::media::command::CardError;
use alsa::Direction;
use alsa::poll::{Descriptors, Flags};
use half::{Half, RATE, Wish};
use machine::Machine;
use slip::Slip;

/// Why the card did not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It stopped because we were late (or was suspended): [`Card::start`] it again.
    Stopped(Stopped),
    /// It must be closed.
    Gone(CardError),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// EPIPE of capture: samples were lost.
    Overrun,
    /// EPIPE of playback: silence was heard.
    Underrun,
    Suspended,
}

/// What the card granted, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    pub rate: u32,
    pub period: u32,
    pub buffer: u32,
}

/// Descriptors a card may have; real ones have one.
pub const MAX_DESCRIPTORS: usize = 8;

/// Most frames that [`Card::read`] gives and [`Card::room`] asks for at once.
pub const MAX_FRAMES: usize = 4_800;

/// Why a card cannot be opened, and what a person may want to know about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenError {
    pub error: CardError,
    pub words: String,
}

pub struct Card {
    capture: Half,
    playback: Half,
    /// One start starts both.
    linked: bool,
    /// Frames kept beyond a period in the playback queue, so that a late wake-up is not heard.
    margin: usize,
    /// Periods read and not yet answered by as many written.
    owed: usize,
    slip: Slip,
}

impl Card {
    /// Opens both directions; neither runs. Takes as long as the hardware takes: call it outside of a call if possible.
    ///
    /// libasound's own messages are kept from standard error, and told with the error.
    pub fn open(config: &Audio, machine: &Machine) -> Result<Card, OpenError> {
        words::listen();
        let period = frames(config.period.as_micros());
        let wish = |channels: u16, channel: u16| Wish {
            channels: channels.into(),
            channel: channel.into(),
            period,
            buffer: period * config.periods.max(2) as usize,
        };
        let cards = machine.cards();
        let open = |name: &str, direction, wish: &Wish| {
            let error = match present_name(name, &cards) {
                Some(pcm) => match Half::open(&pcm, direction, wish) {
                    Ok(half) => return Ok(half),
                    Err(error) => error,
                },
                None => CardError::Absent,
            };
            Err(OpenError { error, words: explain(error, name, direction, machine, &cards) })
        };
        let capture_wish = wish(config.capture_channels, config.capture_channel);
        let playback = open(&config.playback, Direction::Playback, &wish(config.playback_channels, 0))?;
        let capture = open(&config.capture, Direction::Capture, &capture_wish)?;
        if playback.buffer < 2 * capture.period {
            let words = format!(
                "a buffer of {} frames for playback holds no two periods of {} for capture",
                playback.buffer, capture.period
            );
            return Err(OpenError { error: CardError::Unsuitable, words });
        }
        // Kernel cards of one clock start together then; plug-ins answer ENOSYS.
        let linked = playback.pcm.link(&capture.pcm).is_ok();
        let margin = (playback.buffer - capture.period) / 4;
        Ok(Card { capture, playback, linked, margin, owed: 0, slip: Slip::default() })
    }

    pub fn granted(&self) -> Granted {
        Granted { rate: RATE, period: self.capture.period as u32, buffer: self.playback.buffer as u32 }
    }

    /// Starts both directions from an empty ring, with silence queued for playback.
    pub fn start(&mut self) -> Result<(), CardError> {
        for half in [&self.playback, &self.capture] {
            let _ = half.pcm.drop();
            half.pcm.prepare().map_err(card_error)?;
        }
        self.owed = 0;
        self.slip = Slip::default();
        let silence = self.level();
        match self.playback.write_silence(silence) {
            Ok(()) => {}
            Err(Trouble::Gone(error)) => return Err(error),
            Err(Trouble::Stopped(_)) => return Err(CardError::Other(libc::EPIPE)),
        }
        self.playback.pcm.start().map_err(card_error)?;
        if !self.linked {
            self.capture.pcm.start().map_err(card_error)?;
        }
        Ok(())
    }

    /// After an underrun: a greater margin for as long as the card stays open.
    pub fn widen_margin(&mut self) {
        let most = self.playback.buffer - self.capture.period;
        self.margin = (self.margin + self.capture.period / 4).min(most);
    }

    /// Fills in what to `poll` for and returns how many entries.
    pub fn descriptors(&self, fds: &mut [libc::pollfd]) -> Result<usize, CardError> {
        match self.capture.pcm.count() {
            count if count <= fds.len() => self.capture.pcm.fill(&mut fds[..count]).map_err(card_error),
            _ => Err(CardError::Unsuitable),
        }
    }

    /// Whether the wake-up was the card's: a period is there, or an error to be met by reading.
    pub fn is_ready(&self, fds: &[libc::pollfd]) -> bool {
        let errors = Flags::ERR | Flags::HUP | Flags::NVAL;
        self.capture.pcm.revents(fds).map_or(true, |flags| flags.intersects(Flags::IN | errors))
    }

    /// Reads the whole periods that were recorded, as far as they fit into `samples`; 0 if none is complete.
    pub fn read(&mut self, samples: &mut [i16]) -> Result<usize, Trouble> {
        let period = self.capture.period;
        let periods = self.capture.avail(Stopped::Overrun)?.min(samples.len()).min(MAX_FRAMES) / period;
        let got = if periods == 0 { 0 } else { self.capture.read(&mut samples[..periods * period])? };
        self.owed += got / period;
        Ok(got)
    }

    /// Frames to write now: as many as were read, a period more or less if the clocks have drifted apart by one.
    pub fn room(&mut self) -> Result<usize, Trouble> {
        let free = self.playback.avail(Stopped::Underrun)?.min(self.playback.buffer);
        let period = self.capture.period;
        let after = (self.playback.buffer - free + self.owed * period) as isize;
        let wanted = self.level().saturating_sub(self.capture.avail(Stopped::Overrun)?) as isize;
        let periods = self.slip.periods(self.owed, after - wanted, self.margin, period);
        self.owed = 0;
        Ok((periods * period).min(free).min(MAX_FRAMES))
    }

    /// Writes mono samples, as many as [`Card::room`] said.
    pub fn write(&mut self, samples: &[i16]) -> Result<(), Trouble> {
        self.playback.write(samples)
    }

    fn level(&self) -> usize {
        (self.capture.period + self.margin).min(self.playback.buffer)
    }
}

/// What libasound remembers of its configuration, and for which cards it was made.
///
/// It has parts for each card, made when it is first read; cards that came since then are unknown to it. To read it
/// again costs more than everything else about a card that is not there, so it is done when the cards have changed.
/// Machines without a list of cards (virtual ones) cannot tell: theirs is read each time.
#[derive(Default)]
pub struct Remembered {
    cards: Option<Vec<CardIdentity>>,
}

impl Remembered {
    /// Drops it if it may be outdated. Not while a card is open.
    pub fn refresh(&mut self, machine: &Machine) {
        let cards = machine.cards();
        if cards.is_empty() || self.cards.as_ref() != Some(&cards) {
            let _ = alsa::config::update_free_global();
            self.cards = Some(cards);
        }
    }
}

/// What libasound has said since the card was opened.
pub fn last_words() -> String {
    words::heard()
}

/// Throws away what libasound has said, if that is much. Once in a while, by the thread that has the card.
pub fn trim_words() {
    words::trim();
}

/// The PCM's name for libasound, or none if its card is not there.
fn present_name(name: &str, cards: &[CardIdentity]) -> Option<String> {
    match PcmName::parse(name) {
        Ok(Some(pcm)) => pcm.resolve(cards).ok().map(|name| name.into_owned()),
        Ok(None) | Err(_) => Some(name.to_owned()),
    }
}

fn explain(error: CardError, name: &str, direction: Direction, machine: &Machine, cards: &[CardIdentity]) -> String {
    let card = PcmName::parse(name).ok().flatten().and_then(|pcm| pcm.find(cards));
    let letter = match direction {
        Direction::Playback => 'p',
        Direction::Capture => 'c',
    };
    let known = match (error, card) {
        (CardError::Busy, Some(card)) => match machine.holders(card, letter) {
            holders if holders.is_empty() => None,
            holders => Some(format!("{name} is held by {}", holders.join(", "))),
        },
        (CardError::Forbidden, Some(card)) => {
            machine.missing_group(card).map(|group| format!("{name} is for group {group}, and we are not in it"))
        }
        (
            CardError::Absent
            | CardError::Busy
            | CardError::Forbidden
            | CardError::Unsuitable
            | CardError::Stalled
            | CardError::Other(_),
            _,
        ) => None,
    };
    known.unwrap_or_else(|| match words::heard() {
        said if said.is_empty() => name.to_owned(),
        said => format!("{name}: {said}"),
    })
}

fn frames(microseconds: u64) -> usize {
    usize::try_from(microseconds * u64::from(RATE) / 1_000_000).unwrap_or(usize::MAX).clamp(48, MAX_FRAMES / 2)
}

fn trouble(error: alsa::Error, xrun: Stopped) -> Trouble {
    match error.errno() {
        libc::EPIPE => Trouble::Stopped(xrun),
        libc::ESTRPIPE => Trouble::Stopped(Stopped::Suspended),
        _ => Trouble::Gone(card_error(error)),
    }
}

/// The error number in words; crate `alsa` gives it with either sign.
fn card_error(error: alsa::Error) -> CardError {
    match error.errno().abs() {
        // A wrong state (EBADFD) and a lost ioctl (ENOTTY) are how some drivers say that the device has left.
        libc::ENODEV | libc::ENOENT | libc::ENXIO | libc::ENOTTY | libc::EBADFD => CardError::Absent,
        // A non-blocking open of a card in use is EAGAIN with some drivers.
        libc::EBUSY | libc::EAGAIN => CardError::Busy,
        libc::EACCES | libc::EPERM => CardError::Forbidden,
        libc::EINVAL => CardError::Unsuitable,
        other => CardError::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_become_advice_whatever_their_sign() {
        let of = |number| card_error(alsa::Error::new("test", number));
        assert_eq!((of(libc::ENODEV), of(-libc::ENODEV)), (CardError::Absent, CardError::Absent));
        assert_eq!((of(libc::EBUSY), of(libc::EACCES)), (CardError::Busy, CardError::Forbidden));
        assert_eq!((of(libc::EINVAL), of(libc::EIO)), (CardError::Unsuitable, CardError::Other(libc::EIO)));
        let while_running = |number| trouble(alsa::Error::new("test", number), Stopped::Overrun);
        assert_eq!(while_running(libc::EPIPE), Trouble::Stopped(Stopped::Overrun));
        assert_eq!(while_running(libc::ESTRPIPE), Trouble::Stopped(Stopped::Suspended));
        assert_eq!(while_running(libc::ENODEV), Trouble::Gone(CardError::Absent));
    }
}
