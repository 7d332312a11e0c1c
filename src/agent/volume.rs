//! How loud loudspeaker and microphone are: a command changes it between the limits of the configuration. Like mute it
//! belongs to the device, not to a call.

use super::{Agent, Cx};
use crate::config::VolumeRange;
use crate::media::command::Command;
use crate::media::volume::{Decibels, Volumes};
use crate::status::event::Kind;

/// What a command wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct VolumeOrder {
    pub(super) direction: Direction,
    pub(super) change: Change,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Capture,
    Playback,
}

/// In dB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    To(i64),
    By(i64),
}

impl VolumeOrder {
    /// One of `to` and `by`, in dB; `None`: the words make no sense.
    pub(super) fn of(direction: &str, to: Option<i64>, by: Option<i64>) -> Option<VolumeOrder> {
        let direction = match direction {
            "capture" => Direction::Capture,
            "playback" => Direction::Playback,
            _ => return None,
        };
        let change = match (to, by) {
            (Some(to), None) => Change::To(to),
            (None, Some(by)) => Change::By(by),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        Some(VolumeOrder { direction, change })
    }
}

impl Agent {
    /// Obeys as far as the limits allow, and tells what holds now.
    pub(super) fn set_volume(&mut self, cx: &mut Cx<'_>, order: VolumeOrder) -> Volumes {
        let before = self.voice.volumes;
        let audio = &self.config.audio;
        let (level, range) = match order.direction {
            Direction::Capture => (&mut self.voice.volumes.capture, audio.capture_volume),
            Direction::Playback => (&mut self.voice.volumes.playback, audio.playback_volume),
        };
        *level = changed(*level, order.change, range);
        let Volumes { capture, playback } = self.voice.volumes;
        if self.voice.volumes != before {
            self.media(cx, Command::Volume(self.voice.volumes));
            self.emit(cx, Kind::Volume { playback_db: playback, capture_db: capture }, None);
        }
        self.voice.volumes
    }
}

fn changed(present: Decibels, change: Change, range: VolumeRange) -> Decibels {
    let wanted = match change {
        Change::To(level) => level,
        Change::By(step) => i64::from(present.0).saturating_add(step),
    };
    // The configuration has seen to it that the limits are in order.
    let within = wanted.max(range.min.0.into()).min(range.max.0.into());
    i8::try_from(within).map_or(present, Decibels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_leaves_the_limits() {
        let range = VolumeRange { start: Decibels(0), min: Decibels(-40), max: Decibels(6) };
        let of = |change| changed(Decibels(-10), change, range).0;
        assert_eq!([of(Change::To(-3)), of(Change::By(3)), of(Change::By(-3))], [-3, -7, -13]);
        assert_eq!([of(Change::To(7)), of(Change::By(i64::MAX)), of(Change::To(i64::MIN))], [6, 6, -40]);
    }
}
