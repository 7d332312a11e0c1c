//! The raw files: what the microphone hears and what the loudspeaker played, indexed by the card's frame number.

use crate::settings::{Format, Settings};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

/// 200 ms.
const MOST_FRAMES: usize = 9_600;

/// A card's frames on their way between a ring of the card's format and a file of S16LE.
#[derive(Debug)]
pub(crate) struct Tape {
    file: Option<File>,
    channels: usize,
    format: Format,
    /// Length after which positions start again, in frames.
    wrap: Option<i64>,
    /// Has room for what a card is late by at worst: nothing is allocated while it runs.
    s16: Vec<u8>,
}

impl Tape {
    /// A microphone's file may be missing: silence.
    pub(crate) fn microphone(settings: &Settings) -> Tape {
        let path = settings.mic.clone().unwrap_or_else(|| settings.file("mic.raw"));
        let file = File::open(path).ok();
        let channels = settings.capture_channels as usize;
        let frames = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len()) as usize;
        let frames = (frames / (2 * channels)) as i64;
        let wrap = (settings.mic_loop && frames > 0).then_some(frames);
        Tape { file, channels, format: settings.format, wrap, s16: Vec::with_capacity(MOST_FRAMES * channels * 2) }
    }

    pub(crate) fn loudspeaker(settings: &Settings) -> io::Result<Tape> {
        let path = settings.file("spk.raw");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        let wrap = (settings.record_frames > 0).then_some(settings.record_frames);
        let channels = settings.playback_channels as usize;
        let s16 = Vec::with_capacity(MOST_FRAMES * channels * 2);
        Ok(Tape { file: Some(file), channels, format: settings.format, wrap, s16 })
    }

    pub(crate) const fn frame_bytes(&self) -> usize {
        self.channels * self.format.bytes() as usize
    }

    /// Fills `ring` with what was heard from frame `at` on, amplified; silence before the start and after the end.
    pub(crate) fn hear(&mut self, at: i64, gain: f32, ring: &mut [u8]) {
        let frames = ring.len() / self.frame_bytes();
        self.s16.clear();
        self.s16.resize(frames * self.channels * 2, 0);
        let mut done = 0;
        while done < frames {
            let (position, run) = self.place(at + done as i64, frames - done);
            let (from, to) = (done * self.channels * 2, (done + run) * self.channels * 2);
            if let (Some(file), Ok(position)) = (&self.file, u64::try_from(position)) {
                read_what_there_is(file, position * self.channels as u64 * 2, &mut self.s16[from..to]);
            }
            done += run;
        }
        for (sample, out) in self.s16.chunks_exact(2).zip(ring.chunks_exact_mut(self.format.bytes() as usize)) {
            let sample = amplify(i16::from_le_bytes([sample[0], sample[1]]), gain);
            // The sign fills the byte that S24_LE does not use.
            out.fill(if sample < 0 && self.format == Format::S24 { 0xff } else { 0 });
            out[..self.format.upper()].fill(0);
            out[self.format.upper()..][..2].copy_from_slice(&sample.to_le_bytes());
        }
    }

    /// Records what was played from frame `at` on.
    pub(crate) fn play(&mut self, at: i64, gain: f32, ring: &[u8]) {
        self.s16.clear();
        for sample in ring.chunks_exact(self.format.bytes() as usize) {
            let upper = &sample[self.format.upper()..][..2];
            self.s16.extend(amplify(i16::from_le_bytes([upper[0], upper[1]]), gain).to_le_bytes());
        }
        let frames = self.s16.len() / (self.channels * 2);
        let mut done = 0;
        while done < frames {
            let (position, run) = self.place(at + done as i64, frames - done);
            let bytes = &self.s16[done * self.channels * 2..(done + run) * self.channels * 2];
            if let (Some(file), Ok(position)) = (&self.file, u64::try_from(position)) {
                let _ = file.write_all_at(bytes, position * self.channels as u64 * 2);
            }
            done += run;
        }
    }

    /// Where frame `at` is in the file, and how many of `frames` follow it there.
    fn place(&self, at: i64, frames: usize) -> (i64, usize) {
        match self.wrap {
            None if at < 0 => (at, frames.min(at.unsigned_abs() as usize)),
            None => (at, frames),
            Some(wrap) => {
                let position = at.rem_euclid(wrap);
                (position, frames.min((wrap - position) as usize))
            }
        }
    }
}

fn read_what_there_is(file: &File, at: u64, buffer: &mut [u8]) {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) | Err(_) => return,
            Ok(more) => got += more,
        }
    }
}

fn amplify(sample: i16, gain: f32) -> i16 {
    if gain == 1.0 { sample } else { (f32::from(sample) * gain) as i16 }
}
