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
mod slip;

use crate::config::Audio;
use crate::media::command::CardError;
use alsa::poll::{Descriptors, Flags};
use alsa::{Direction, Output};
use half::{Half, RATE, Wish};
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
    /// libasound's own messages are kept from standard error: what matters is in the error number.
    pub fn open(config: &Audio) -> Result<Card, CardError> {
        // Also empties the buffer of messages of the previous try.
        let _messages = Output::local_error_handler();
        let period = frames(config.period.as_micros());
        let wish = |channels: u16, channel: u16| Wish {
            channels: channels.into(),
            channel: channel.into(),
            period,
            buffer: period * config.periods.max(2) as usize,
        };
        let capture_wish = wish(config.capture_channels, config.capture_channel);
        let playback = Half::open(&config.playback, Direction::Playback, &wish(config.playback_channels, 0))?;
        let capture = Half::open(&config.capture, Direction::Capture, &capture_wish)?;
        if playback.buffer < 2 * capture.period {
            return Err(CardError::Unsuitable);
        }
        // Kernel cards of one clock start together then; plug-ins answer ENOSYS.
        let linked = playback.pcm.link(&capture.pcm).is_ok();
        let margin = (playback.buffer - capture.period) / 4;
        Ok(Card { capture, playback, linked, margin, owed: 0, slip: Slip::default() })
    }

    /// Drops what libasound remembers of its configuration: cards that came since then are unknown to it otherwise.
    /// Not while a card is open.
    pub fn forget_configuration() {
        let _ = alsa::config::update_free_global();
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
