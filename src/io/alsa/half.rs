//! One direction of a card: opened, configured, read or written, in the card's own format.

use super::{MAX_FRAMES, Stopped, Trouble, card_error, trouble};
use crate::media::command::CardError;
use alsa::pcm::{Access, Format, Frames, HwParams, PCM, State};
use alsa::{Direction, ValueOr};
use std::ffi::CString;

/// One direction.
pub(super) struct Half {
    pub(super) pcm: PCM,
    format: SampleFormat,
    channels: usize,
    channel: usize,
    pub(super) period: usize,
    pub(super) buffer: usize,
    /// Interleaved frames in the card's format.
    bytes: Vec<u8>,
}

/// What is asked of it.
pub(super) struct Wish {
    pub(super) channels: usize,
    pub(super) channel: usize,
    pub(super) period: usize,
    pub(super) buffer: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SampleFormat {
    S16,
    S32,
}

/// Frames per second of everything behind this file.
pub(super) const RATE: u32 = 48_000;

impl Half {
    pub(super) fn open(name: &str, direction: Direction, wish: &Wish) -> Result<Half, CardError> {
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
    pub(super) fn avail(&self, xrun: Stopped) -> Result<usize, Trouble> {
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

    pub(super) fn read(&mut self, samples: &mut [i16]) -> Result<usize, Trouble> {
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

    pub(super) fn write(&mut self, samples: &[i16]) -> Result<(), Trouble> {
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

    pub(super) fn write_silence(&mut self, frames: usize) -> Result<(), Trouble> {
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
