//! The sound card: one capture and one playback direction, driven together and without ever blocking.
//!
//! ```text
//!           open           start            underrun, overrun, suspend
//!   (none) -----> Card ----------> running ---------------------------> start again (both directions)
//!                                  running --- ENODEV and the like ---> Trouble::Gone, close, open later
//! ```
//!
//! The rest of the program knows mono 48 kHz only. A card with more channels gives the configured one and plays the
//! same on all; 24 and 32 bits are taken and given, and other rates converted here, better than ALSA's `plug` does it.
//! What the card granted is read back, never assumed: a forced period of 1024 works as well as 480.
//!
//! Capture sets the pace: at its interrupt the whole periods recorded so far are read, and as many are written, so that
//! the playback queue is a period and a margin long again. Late frames of a period are left for the next interrupt:
//! the rhythm stays the card's, and packets are full at every second interrupt. When two cards with two clocks serve
//! one device, the queue grows or shrinks; then a period is written less or more (see [`Slip`]), and the stream's
//! jitter buffer takes up the difference.

mod format;
mod half;
pub(super) mod life;
pub mod listing;
pub mod machine;
mod mixer;
mod slip;
mod words;

use crate::config::Audio;
use crate::config::card_name::{CardIdentity, CardKey, PcmName};
use crate::media::command::CardError;
use crate::time::Span;
use alsa::Direction;
use alsa::poll::{Descriptors, Flags};
pub use half::Granted;
use half::{Half, Wish};
use machine::Machine;
use mixer::Amplifier;
use slip::Slip;
use std::cmp::Ordering;

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
    owed: Owed,
    slip: Slip,
    amplifier: Option<Amplifier>,
    complaints: Vec<String>,
}

/// What was read and is not yet answered by as much written.
#[derive(Clone, Copy, Default)]
struct Owed {
    periods: usize,
    frames: usize,
}

impl Card {
    /// Opens both directions; neither runs. Takes as long as the hardware takes: call it outside of a call if possible.
    ///
    /// libasound's own messages are kept from standard error, and told with the error.
    pub fn open(config: &Audio, machine: &Machine) -> Result<Card, OpenError> {
        words::listen();
        let wish = |channels: u16, channel: u16| Wish {
            rate: config.rate,
            channels: channels.into(),
            channel: channel.into(),
            period: config.period.clamp(SHORTEST_PERIOD, LONGEST_PERIOD),
            periods: config.periods.max(2),
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
        if playback.buffer() < 2 * capture.period() {
            let words = format!(
                "a buffer of {} frames for playback holds no two periods of {} for capture",
                playback.buffer(),
                capture.period()
            );
            return Err(OpenError { error: CardError::Unsuitable, words });
        }
        // Kernel cards of one clock start together then; plug-ins answer ENOSYS.
        let linked = playback.pcm.link(&capture.pcm).is_ok();
        let margin = (playback.buffer() - capture.period()) / 4;
        let (amplifier, complaints) = set_mixer(config, &cards);
        let (owed, slip) = (Owed::default(), Slip::default());
        Ok(Card { capture, playback, linked, margin, owed, slip, amplifier, complaints })
    }

    /// What of the mixer is not as configured, in words.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Rate and period of capture, buffer of playback.
    pub fn granted(&self) -> Granted {
        Granted { buffer: self.playback.granted.buffer, ..self.capture.granted }
    }

    /// Starts both directions from an empty ring, with silence queued for playback.
    pub fn start(&mut self) -> Result<(), CardError> {
        for half in [&self.playback, &self.capture] {
            let _ = half.pcm.drop();
            half.pcm.prepare().map_err(card_error)?;
        }
        self.owed = Owed::default();
        self.slip = Slip::default();
        let silence = self.level();
        match self.playback.write_silence(silence) {
            Ok(()) => {}
            Err(Trouble::Gone(error)) => return Err(error),
            Err(Trouble::Stopped(_)) => return Err(CardError::Other(libc::EPIPE)),
        }
        if let Some(amplifier) = &self.amplifier {
            amplifier.switch(true);
        }
        self.playback.pcm.start().map_err(card_error)?;
        if !self.linked {
            self.capture.pcm.start().map_err(card_error)?;
        }
        Ok(())
    }

    /// After an underrun: a greater margin for as long as the card stays open.
    pub fn widen_margin(&mut self) {
        let most = self.playback.buffer() - self.capture.period();
        self.margin = (self.margin + self.capture.period() / 4).min(most);
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
        let most = samples.len().min(MAX_FRAMES);
        let there = self.capture.periods()?;
        let (periods, got) = self.capture.read(there, &mut samples[..most])?;
        self.owed.periods += periods;
        self.owed.frames += got;
        Ok(got)
    }

    /// Frames to write now: as many as were read, a period more or less if the clocks have drifted apart by one.
    pub fn room(&mut self) -> Result<usize, Trouble> {
        let free = self.playback.avail(Stopped::Underrun)?;
        let period = self.capture.period();
        let after = (self.playback.buffer().saturating_sub(free) + self.owed.frames) as isize;
        let wanted = self.level().saturating_sub(self.capture.avail(Stopped::Overrun)?) as isize;
        let periods = self.slip.periods(self.owed.periods, after - wanted, self.margin, period);
        let owed = std::mem::take(&mut self.owed);
        let frames = match periods.cmp(&owed.periods) {
            Ordering::Less => owed.frames.saturating_sub(period),
            Ordering::Equal => owed.frames,
            Ordering::Greater => owed.frames + period,
        };
        Ok(frames.min(free).min(MAX_FRAMES))
    }

    /// Writes mono samples, as many as [`Card::room`] said.
    pub fn write(&mut self, samples: &[i16]) -> Result<(), Trouble> {
        self.playback.write(samples)
    }

    fn level(&self) -> usize {
        (self.capture.period() + self.margin).min(self.playback.buffer())
    }
}

/// A period of a millisecond is the least a USB card can do; of one that is half of what can be read at once ...
const SHORTEST_PERIOD: Span = Span::from_millis(1);
/// ... there is always a second.
const LONGEST_PERIOD: Span = Span::from_millis(50);

/// Sets the controls, and finds the amplifier's switch.
fn set_mixer(config: &Audio, cards: &[CardIdentity]) -> (Option<Amplifier>, Vec<String>) {
    if config.controls.is_empty() && config.amplifier_control.is_empty() {
        return (None, Vec::new());
    }
    let name = mixer_name(config, cards);
    let mut complaints = mixer::set(&name, &config.controls);
    let amplifier = match config.amplifier_control.as_str() {
        "" => None,
        control => Amplifier::find(&name, control).map_err(|why| complaints.push(why)).ok(),
    };
    (amplifier, complaints)
}

/// The one configured, or that of the playback card.
fn mixer_name(config: &Audio, cards: &[CardIdentity]) -> String {
    if !config.mixer.is_empty() {
        return present_name(&config.mixer, cards).unwrap_or_else(|| config.mixer.clone());
    }
    match PcmName::parse(&config.playback).ok().flatten() {
        Some(pcm) => match (pcm.card, pcm.find(cards)) {
            (_, Some(card)) => format!("hw:{}", card.id),
            (CardKey::Id(id), None) => format!("hw:{id}"),
            (CardKey::Index(_) | CardKey::Usb { .. } | CardKey::Bus(_), None) => "default".to_owned(),
        },
        None => "default".to_owned(),
    }
}

/// What libasound remembers of its configuration, and for which cards it was made.
///
/// It has parts for each card, made when it is first read; cards that came since then are unknown to it. To read it
/// again costs more than everything else about a card that is not there, so it is done when the cards have changed.
/// That its files have changed it sees by itself.
#[derive(Default)]
pub struct Remembered {
    /// The cards, and when a device of theirs came or went last: not every machine shows us a list of them.
    seen: Option<(Vec<CardIdentity>, Option<(i64, i64)>)>,
}

impl Remembered {
    /// Drops it if it may be outdated. Not while a card is open.
    pub fn refresh(&mut self, machine: &Machine) {
        let seen = Some((machine.cards(), machine.devices_changed()));
        if self.seen != seen {
            let _ = alsa::config::update_free_global();
            self.seen = seen;
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
