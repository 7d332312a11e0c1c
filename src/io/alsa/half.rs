//! One direction of a card: opened, configured, read or written.
//!
//! Outside it is mono at [`RATE`]; inside it has the card's format, channels and rate, and a [`Converter`] if the latter
//! is another one. Frames are those of [`RATE`] unless they are said to be the card's.

use super::format::SampleFormat;
use super::{MAX_FRAMES, Stopped, Trouble, card_error, trouble};
use crate::media::command::CardError;
use crate::media::convert::Converter;
use crate::time::Span;
use alsa::pcm::{Access, Frames, HwParams, PCM, State};
use alsa::{Direction, ValueOr};
use std::ffi::CString;

/// One direction.
pub(super) struct Half {
    pub(super) pcm: PCM,
    format: SampleFormat,
    channels: usize,
    channel: usize,
    pub(super) granted: Granted,
    converter: Option<Converter>,
    /// Mono, in the card's rate.
    mono: Vec<i16>,
    /// Interleaved frames in the card's format.
    bytes: Vec<u8>,
}

/// What is asked of it.
pub(super) struct Wish {
    pub(super) rate: u32,
    pub(super) channels: usize,
    pub(super) channel: usize,
    pub(super) period: Span,
    pub(super) periods: u32,
}

/// What the card granted, in frames of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    pub rate: u32,
    pub period: u32,
    pub buffer: u32,
}

/// Frames per second of everything behind this file.
pub(super) const RATE: u32 = 48_000;

impl Half {
    pub(super) fn open(name: &str, direction: Direction, wish: &Wish) -> Result<Half, CardError> {
        let name = CString::new(name).map_err(|_| CardError::Absent)?;
        let pcm = PCM::open(&name, direction, true).map_err(card_error)?;
        let format = configure(&pcm, wish).map_err(card_error)?;
        let (channels, granted) = granted(&pcm).map_err(card_error)?;
        let Granted { rate, period, buffer } = granted;
        // A period that we cannot take at once would never be taken.
        if channels == 0 || period == 0 || buffer < period || in_frames(period, rate) > MAX_FRAMES {
            return Err(CardError::Unsuitable);
        }
        set_thresholds(&pcm, granted, 1).map_err(card_error)?;
        let most = (MAX_FRAMES * rate as usize).div_ceil(RATE as usize) + 1;
        let (from, to) = match direction {
            Direction::Capture => (rate, RATE),
            Direction::Playback => (RATE, rate),
        };
        let converter = match rate {
            RATE => None,
            _ => Some(Converter::new(from, to, most.max(MAX_FRAMES)).ok_or(CardError::Unsuitable)?),
        };
        let channel = wish.channel.min(channels - 1);
        let (mono, bytes) = (vec![0; most], vec![0; most * channels * format.bytes()]);
        Ok(Half { pcm, format, channels, channel, granted, converter, mono, bytes })
    }

    /// From now on `poll` returns when so many periods are there, not after each.
    pub(super) fn wake_after(&self, periods: usize) -> Result<(), CardError> {
        set_thresholds(&self.pcm, self.granted, periods).map_err(card_error)
    }

    pub(super) fn period(&self) -> usize {
        in_frames(self.granted.period, self.granted.rate)
    }

    pub(super) fn buffer(&self) -> usize {
        in_frames(self.granted.buffer, self.granted.rate)
    }

    /// Frames that can be read or written, as of this direction's last interrupt.
    pub(super) fn avail(&self, xrun: Stopped) -> Result<usize, Trouble> {
        self.cards_avail(PCM::avail_update, xrun).map(|avail| self.usable(avail))
    }

    /// The same as of now, which the kernel has to be asked for: it was the other direction's interrupt that has woken us, and
    /// by the last of this one the queue may look a period longer than it is.
    pub(super) fn avail_now(&self, xrun: Stopped) -> Result<usize, Trouble> {
        self.cards_avail(PCM::avail, xrun).map(|avail| self.usable(avail))
    }

    /// Rounded down, they never become more than that when they are converted.
    fn usable(&self, avail: u32) -> usize {
        in_frames(avail.min(self.granted.buffer), self.granted.rate)
    }

    /// Whole periods recorded by now.
    pub(super) fn periods(&self) -> Result<usize, Trouble> {
        Ok((self.cards_avail(PCM::avail_update, Stopped::Overrun)? / self.granted.period) as usize)
    }

    fn cards_avail(&self, ask: fn(&PCM) -> alsa::Result<Frames>, xrun: Stopped) -> Result<u32, Trouble> {
        let avail = ask(&self.pcm).map_err(|error| trouble(error, xrun))?;
        // Plug-ins go on telling how much there is when there is no card any more.
        match self.pcm.state() {
            State::Disconnected => Err(Trouble::Gone(CardError::Absent)),
            State::Suspended => Err(Trouble::Stopped(Stopped::Suspended)),
            State::XRun => Err(Trouble::Stopped(xrun)),
            State::Open | State::Setup | State::Prepared | State::Running | State::Draining | State::Paused => {
                Ok(u32::try_from(avail).unwrap_or(0))
            }
        }
    }

    /// Reads so many periods of those that are there, as far as they fit; returns how many, and the samples they gave.
    pub(super) fn read(&mut self, periods: usize, samples: &mut [i16]) -> Result<(usize, usize), Trouble> {
        let period = self.granted.period as usize;
        let fits = |periods: usize| {
            let frames = periods * period;
            let given = self.converter.as_ref().map_or(frames, |converter| converter.gives_at_most(frames));
            given <= samples.len() && frames <= self.mono.len()
        };
        let periods = (1..=periods).take_while(|periods| fits(*periods)).last().unwrap_or(0);
        if periods == 0 {
            return Ok((0, 0));
        }
        let frame = self.channels * self.format.bytes();
        // `io_bytes` needs no look at the format, which would allocate; the format is ours since `open`.
        let got = match self.pcm.io_bytes().readi(&mut self.bytes[..periods * period * frame]) {
            Ok(got) => got,
            Err(error) if error.errno() == libc::EAGAIN => 0,
            Err(error) => return Err(trouble(error, Stopped::Overrun)),
        };
        let mono = if self.converter.is_some() { &mut self.mono[..] } else { &mut *samples };
        self.format.read(&self.bytes[..got * frame], self.channels, self.channel, mono);
        let given = match &mut self.converter {
            Some(converter) => converter.process(&self.mono[..got], samples),
            None => got,
        };
        Ok((got / period, given))
    }

    pub(super) fn write(&mut self, samples: &[i16]) -> Result<(), Trouble> {
        let samples = match &mut self.converter {
            Some(converter) => {
                let given = converter.process(samples, &mut self.mono);
                &self.mono[..given]
            }
            None => &samples[..samples.len().min(MAX_FRAMES)],
        };
        self.format.write(samples, self.channels, &mut self.bytes);
        self.write_frames(samples.len())
    }

    pub(super) fn write_silence(&mut self, frames: usize) -> Result<(), Trouble> {
        self.bytes.fill(0);
        let most = self.bytes.len() / (self.channels * self.format.bytes());
        let mut left = frames * self.granted.rate as usize / RATE as usize;
        while left > 0 {
            let piece = left.min(most);
            self.write_frames(piece)?;
            left -= piece;
        }
        Ok(())
    }

    /// Writes the first `frames` of the card's in `bytes`. There is room for them, so what is not taken at once is given up.
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

/// So many of a card's as frames of [`RATE`], rounded down.
fn in_frames(cards: u32, rate: u32) -> usize {
    (u64::from(cards) * u64::from(RATE) / u64::from(rate.max(1))) as usize
}

/// Asks for what we want, as near as the card can.
fn configure(pcm: &PCM, wish: &Wish) -> alsa::Result<SampleFormat> {
    let hardware = HwParams::any(pcm)?;
    hardware.set_access(Access::RWInterleaved)?;
    let format = SampleFormat::choose(&hardware)?;
    hardware.set_channels_near(wish.channels as u32)?;
    let rate = hardware.set_rate_near(wish.rate, ValueOr::Nearest)?;
    let period = wish.period.as_micros() * u64::from(rate) / 1_000_000;
    // Some cards have one period only, and it is longer: of that one there shall be as many.
    let period = hardware.set_period_size_near(period.max(1) as Frames, ValueOr::Nearest)?;
    hardware.set_buffer_size_near(period * wish.periods as Frames)?;
    pcm.hw_params(&hardware)?;
    Ok(format)
}

/// Channels, and the rest as it is.
fn granted(pcm: &PCM) -> alsa::Result<(usize, Granted)> {
    let hardware = pcm.hw_params_current()?;
    let size = |frames: Frames| u32::try_from(frames).unwrap_or(0);
    let granted = Granted {
        rate: hardware.get_rate()?,
        period: size(hardware.get_period_size()?),
        buffer: size(hardware.get_buffer_size()?),
    };
    Ok((hardware.get_channels()? as usize, granted))
}

/// Wake after so many periods, never start by itself, stop when the ring is empty (or full).
fn set_thresholds(pcm: &PCM, granted: Granted, periods: usize) -> alsa::Result<()> {
    let software = pcm.sw_params_current()?;
    software.set_avail_min(periods as Frames * Frames::from(granted.period))?;
    software.set_start_threshold(Frames::MAX >> 1)?;
    software.set_stop_threshold(granted.buffer as Frames)?;
    pcm.sw_params(&software)
}
