//! Volumes and their limits.

use super::{Check, heading};
use crate::config::error::Fault;
use crate::config::{Audio, VolumeRange};
use crate::media::volume::Decibels;

impl Check<'_> {
    /// What they are at the start must lie between the limits of the command.
    pub(super) fn volumes(&mut self, audio: &Audio) {
        for (of, volume) in [("playback", audio.playback_volume), ("capture", audio.capture_volume)] {
            let [start, min, max] = ["db", "min_db", "max_db"].map(|key| format!("audio.{of}_{key}"));
            let known = [&start, &min, &max].iter().all(|key| !self.problems.has(&heading(key)));
            if known && !(volume.min..=volume.max).contains(&volume.start) {
                let VolumeRange { start: Decibels(is), min: Decibels(least), max: Decibels(most) } = volume;
                let what = format!("{start} ({is}) is not between {min} ({least}) and {max} ({most})");
                let key = [&start, &min, &max].into_iter().find(|key| self.origins.contains_key(key.as_str()));
                self.at(key.unwrap_or(&start), Fault::Conflict(what));
            }
        }
    }
}
