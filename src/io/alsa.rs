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

use crate::config::Audio;
use crate::media::command::CardError;
use alsa::pcm::{Access, Format, Frames, HwParams, PCM, State};
use alsa::poll::{Descriptors, Flags};
use alsa::{Direction, Output, ValueOr};
use std::ffi::CString;

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

/// How far the playback queue is from where capture says it should be, over half a second.
///
/// The pointers of some cards move in coarse steps, each on its own: only what holds for all of that time is drift.
#[derive(Default)]
struct Slip {
    seen: usize,
    least: isize,
    most: isize,
}

/// One direction.
struct Half {
    pcm: PCM,
    format: SampleFormat,
    channels: usize,
    channel: usize,
    period: usize,
    buffer: usize,
    /// Interleaved frames in the card's format.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SampleFormat {
    S16,
    S32,
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

struct Wish {
    channels: usize,
    channel: usize,
    period: usize,
    buffer: usize,
}

impl Slip {
    /// How many periods to write instead of `owed`, when these would leave the queue `error` frames too long.
    fn periods(&mut self, owed: usize, error: isize, margin: usize, period: usize) -> usize {
        if owed == 0 {
            return 0;
        }
        if self.seen == SLIP_AFTER {
            *self = Slip::default();
        }
        (self.least, self.most) =
            if self.seen == 0 { (error, error) } else { (self.least.min(error), self.most.max(error)) };
        self.seen += 1;
        if self.seen < SLIP_AFTER {
            owed
        } else if self.most < -(margin as isize) / 4 {
            owed + 1
        } else if self.least > (period - period / 4) as isize {
            owed - 1
        } else {
            owed
        }
    }
}

/// Interrupts after which drift is judged: half a second at periods of 10 ms.
const SLIP_AFTER: usize = 50;

impl Half {
    fn open(name: &str, direction: Direction, wish: &Wish) -> Result<Half, CardError> {
        let name = CString::new(name).map_err(|_| CardError::Absent)?;
        let pcm = PCM::open(&name, direction, true).map_err(card_error)?;
        let format = configure(&pcm, wish).map_err(card_error)?;
        let (channels, period, buffer, rate) = granted(&pcm).map_err(card_error)?;
        // A period that we cannot take at once would never be taken.
        if channels == 0 || !(1..=MAX_FRAMES).contains(&period) || buffer < period || rate != RATE {
            return Err(CardError::Unsuitable);
        }
        set_thresholds(&pcm, period, buffer).map_err(card_error)?;
        let channel = wish.channel.min(channels - 1);
        let bytes = vec![0; MAX_FRAMES * channels * format.bytes()];
        Ok(Half { pcm, format, channels, channel, period, buffer, bytes })
    }

    /// Frames that can be read or written now.
    fn avail(&self, xrun: Stopped) -> Result<usize, Trouble> {
        let avail = self.pcm.avail_update().map_err(|error| trouble(error, xrun))?;
        // Plug-ins go on telling how much there is when there is no card any more.
        match self.pcm.state() {
            State::Disconnected => Err(Trouble::Gone(CardError::Absent)),
            State::Suspended => Err(Trouble::Stopped(Stopped::Suspended)),
            State::XRun => Err(Trouble::Stopped(xrun)),
            State::Open | State::Setup | State::Prepared | State::Running | State::Draining | State::Paused => {
                Ok(usize::try_from(avail).unwrap_or(0))
            }
        }
    }

    fn read(&mut self, samples: &mut [i16]) -> Result<usize, Trouble> {
        let frame = self.channels * self.format.bytes();
        let wanted = samples.len().min(MAX_FRAMES) * frame;
        // `io_bytes` needs no look at the format, which would allocate; the format is ours since `open`.
        let got = match self.pcm.io_bytes().readi(&mut self.bytes[..wanted]) {
            Ok(got) => got,
            Err(error) if error.errno() == libc::EAGAIN => 0,
            Err(error) => return Err(trouble(error, Stopped::Overrun)),
        };
        let at = self.channel * self.format.bytes();
        for (sample, frame) in samples.iter_mut().zip(self.bytes[..got * frame].chunks_exact(frame)) {
            *sample = match self.format {
                SampleFormat::S16 => i16::from_ne_bytes([frame[at], frame[at + 1]]),
                SampleFormat::S32 => {
                    let wide = i32::from_ne_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
                    (wide >> 16) as i16
                }
            };
        }
        Ok(got.min(samples.len()))
    }

    fn write(&mut self, samples: &[i16]) -> Result<(), Trouble> {
        let frame = self.channels * self.format.bytes();
        for (sample, frame) in samples.iter().zip(self.bytes.chunks_exact_mut(frame)) {
            for slot in frame.chunks_exact_mut(self.format.bytes()) {
                match self.format {
                    SampleFormat::S16 => slot.copy_from_slice(&sample.to_ne_bytes()),
                    SampleFormat::S32 => slot.copy_from_slice(&(i32::from(*sample) << 16).to_ne_bytes()),
                }
            }
        }
        self.write_frames(samples.len().min(MAX_FRAMES))
    }

    fn write_silence(&mut self, frames: usize) -> Result<(), Trouble> {
        self.bytes.fill(0);
        let mut left = frames;
        while left > 0 {
            let piece = left.min(MAX_FRAMES);
            self.write_frames(piece)?;
            left -= piece;
        }
        Ok(())
    }

    /// Writes the first `frames` of `bytes`. There is room for them, so what is not taken at once is given up.
    fn write_frames(&self, frames: usize) -> Result<(), Trouble> {
        let frame = self.channels * self.format.bytes();
        let mut bytes = &self.bytes[..frames * frame];
        while !bytes.is_empty() {
            match self.pcm.io_bytes().writei(bytes) {
                Ok(0) => break,
                Ok(written) => bytes = &bytes[(written * frame).min(bytes.len())..],
                Err(error) if error.errno() == libc::EAGAIN => break,
                Err(error) => return Err(trouble(error, Stopped::Underrun)),
            }
        }
        Ok(())
    }
}

impl SampleFormat {
    const fn bytes(self) -> usize {
        match self {
            SampleFormat::S16 => 2,
            SampleFormat::S32 => 4,
        }
    }
}

/// Frames per second of everything behind this file.
const RATE: u32 = 48_000;

fn frames(microseconds: u64) -> usize {
    usize::try_from(microseconds * u64::from(RATE) / 1_000_000).unwrap_or(usize::MAX).clamp(48, MAX_FRAMES / 2)
}

/// Asks for what we want, as near as the card can.
fn configure(pcm: &PCM, wish: &Wish) -> alsa::Result<SampleFormat> {
    let hardware = HwParams::any(pcm)?;
    hardware.set_access(Access::RWInterleaved)?;
    let format = match hardware.set_format(Format::s16()) {
        Ok(()) => SampleFormat::S16,
        Err(_) => hardware.set_format(Format::s32()).map(|()| SampleFormat::S32)?,
    };
    hardware.set_channels_near(wish.channels as u32)?;
    hardware.set_rate_near(RATE, ValueOr::Nearest)?;
    hardware.set_period_size_near(wish.period as Frames, ValueOr::Nearest)?;
    hardware.set_buffer_size_near(wish.buffer as Frames)?;
    pcm.hw_params(&hardware)?;
    Ok(format)
}

/// Channels, period, buffer and rate as they are.
fn granted(pcm: &PCM) -> alsa::Result<(usize, usize, usize, u32)> {
    let hardware = pcm.hw_params_current()?;
    let size = |frames: Frames| usize::try_from(frames).unwrap_or(0);
    Ok((
        hardware.get_channels()? as usize,
        size(hardware.get_period_size()?),
        size(hardware.get_buffer_size()?),
        hardware.get_rate()?,
    ))
}

/// Wake each period, never start by itself, stop when the ring is empty (or full).
fn set_thresholds(pcm: &PCM, period: usize, buffer: usize) -> alsa::Result<()> {
    let software = pcm.sw_params_current()?;
    software.set_avail_min(period as Frames)?;
    software.set_start_threshold(Frames::MAX >> 1)?;
    software.set_stop_threshold(buffer as Frames)?;
    pcm.sw_params(&software)
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

    /// Shortest and longest queue just before and after writing, over ten minutes of periods of 480 and a margin of 240.
    fn queue_under_drift(ppm: f64, coarse: bool) -> (f64, f64) {
        let mut slip = Slip::default();
        let (mut queue, mut shortest, mut longest) = (720.0f64, f64::MAX, f64::MIN);
        for turn in 0..60_000 {
            queue -= 480.0 * (1.0 + ppm * 1e-6);
            // A coarse pointer shows a period more in the queue than there is, every other time.
            let seen = if coarse && turn % 2 == 0 { queue + 480.0 } else { queue };
            shortest = shortest.min(queue);
            queue += (slip.periods(1, (seen + 480.0 - 720.0).round() as isize, 240, 480) * 480) as f64;
            longest = longest.max(queue);
        }
        (shortest, longest)
    }

    #[test]
    fn the_playback_queue_neither_runs_dry_nor_over_when_clocks_drift() {
        assert_eq!(queue_under_drift(0.0, false), (240.0, 720.0));
        assert_eq!(queue_under_drift(0.0, true), (240.0, 720.0), "a coarse pointer is no drift");
        for ppm in [-2_000.0, -100.0, 100.0, 2_000.0] {
            let (shortest, longest) = queue_under_drift(ppm, false);
            assert!(shortest > 60.0 && longest < 1_300.0, "{ppm} ppm: {shortest}..{longest}");
        }
    }

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
