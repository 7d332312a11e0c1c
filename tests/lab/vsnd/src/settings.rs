//! What a card is like: fields of its ALSA definition, then the lines of `<dir>/<card>.card`, which win.

use crate::ffi::field_pairs;
use alsa_sys::snd_config_t;
use libc::c_int;
use std::path::PathBuf;
use std::{env, fs};

/// How a sample lies in the ring. The raw files are S16LE whatever the card speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    S16,
    S32,
    /// Three bytes.
    S24Packed,
    /// The lower three of four bytes.
    S24,
}

impl Format {
    /// Where in a sample the two bytes of its S16 begin.
    pub(crate) const fn upper(self) -> usize {
        match self {
            Format::S16 => 0,
            Format::S24Packed | Format::S24 => 1,
            Format::S32 => 2,
        }
    }

    pub(crate) const fn bytes(self) -> u32 {
        match self {
            Format::S16 => 2,
            Format::S24Packed => 3,
            Format::S32 | Format::S24 => 4,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) card: String,
    pub(crate) dir: PathBuf,
    pub(crate) rate: u32,
    pub(crate) capture_channels: u32,
    pub(crate) playback_channels: u32,
    pub(crate) format: Format,
    /// How fast the crystal runs, against CLOCK_MONOTONIC.
    pub(crate) ppm: f64,
    /// Scales the whole clock; also `$VSND_SPEED`.
    pub(crate) speed: f64,
    /// The pointer moves in steps of so many frames; 0: of a period.
    pub(crate) granularity: i64,
    /// Frames between the ring and the air.
    pub(crate) delay_play: i64,
    pub(crate) delay_cap: i64,
    pub(crate) periods_min: u32,
    pub(crate) period_min: u32,
    pub(crate) period_max: u32,
    /// Default: `<dir>/<card>.mic.raw`. A file that does not exist is silence.
    pub(crate) mic: Option<PathBuf>,
    /// The microphone's file starts again at its end; otherwise silence follows.
    pub(crate) mic_loop: bool,
    /// The recording is a ring of so many frames; 0: it grows.
    pub(crate) record_frames: i64,
    /// Wake-ups come up to so much late, at random.
    pub(crate) irq_jitter_us: i64,
    /// One direction at a time: the other is EBUSY meanwhile.
    pub(crate) half_duplex: bool,
    pub(crate) faults: String,
}

impl Settings {
    /// # Safety
    /// `conf` is the compound that libasound gave to the plug-in's open function.
    pub(crate) unsafe fn read(conf: *mut snd_config_t) -> Result<Settings, c_int> {
        let mut settings = Settings::new();
        // SAFETY: as promised by the caller.
        for (key, value) in unsafe { field_pairs(conf) } {
            settings.set(&key, &value).ok_or(-libc::EINVAL)?;
        }
        fs::create_dir_all(&settings.dir).map_err(|_| -libc::EACCES)?;
        let more = fs::read_to_string(settings.file("card")).unwrap_or_default();
        for line in more.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = line.split_once(char::is_whitespace).ok_or(-libc::EINVAL)?;
            settings.set(key, value.trim()).ok_or(-libc::EINVAL)?;
        }
        let timed = fs::read_to_string(settings.file("faults")).unwrap_or_default();
        settings.faults = format!("{};{timed}", settings.faults);
        Ok(settings)
    }

    /// `<dir>/<card>.<what>`
    pub(crate) fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.card))
    }

    fn new() -> Settings {
        Settings {
            card: "vsnd".into(),
            dir: env::var_os("VSND_DIR").map_or_else(|| "/tmp/vsnd".into(), PathBuf::from),
            rate: 48_000,
            capture_channels: 1,
            playback_channels: 1,
            format: Format::S16,
            ppm: 0.0,
            speed: env::var("VSND_SPEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0),
            granularity: 1,
            delay_play: 0,
            delay_cap: 0,
            periods_min: 2,
            period_min: 32,
            period_max: 8192,
            mic: None,
            mic_loop: false,
            record_frames: 0,
            irq_jitter_us: 0,
            half_duplex: false,
            faults: String::new(),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "type" | "comment" | "hint" => {}
            "card" => self.card = value.into(),
            "dir" => self.dir = value.into(),
            "rate" => self.rate = value.parse().ok()?,
            "channels" => {
                self.capture_channels = value.parse().ok()?;
                self.playback_channels = self.capture_channels;
            }
            "capture_channels" => self.capture_channels = value.parse().ok()?,
            "playback_channels" => self.playback_channels = value.parse().ok()?,
            "format" => {
                self.format = match value {
                    "S16_LE" => Format::S16,
                    "S32_LE" => Format::S32,
                    "S24_3LE" => Format::S24Packed,
                    "S24_LE" => Format::S24,
                    _ => return None,
                }
            }
            "ppm" => self.ppm = value.parse().ok()?,
            "speed" => self.speed = value.parse().ok()?,
            "granularity" => self.granularity = value.parse().ok()?,
            "delay_play" => self.delay_play = value.parse().ok()?,
            "delay_cap" => self.delay_cap = value.parse().ok()?,
            "periods_min" => self.periods_min = value.parse().ok()?,
            "period_min" => self.period_min = value.parse().ok()?,
            "period_max" => self.period_max = value.parse().ok()?,
            "mic" => self.mic = Some(value.into()),
            "mic_loop" => self.mic_loop = value == "1" || value == "true",
            "record_frames" => self.record_frames = value.parse().ok()?,
            "irq_jitter_us" => self.irq_jitter_us = value.parse().ok()?,
            "half_duplex" => self.half_duplex = value == "1" || value == "true",
            "faults" => self.faults = value.into(),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_or_value_is_refused() {
        let mut settings = Settings::new();
        assert!(settings.set("channels", "2").is_some() && settings.playback_channels == 2);
        assert!(settings.set("chanels", "2").is_none());
        assert!(settings.set("ppm", "fast").is_none());
        assert!(settings.set("format", "S20_LE").is_none());
    }
}
