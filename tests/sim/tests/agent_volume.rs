//! How loud the device is, as local commands have it.

use qss_endpoint::media::command::Command;
use qss_endpoint::media::volume::{Decibels, Volumes};
use serde_json::{Value, json};
use sim::{World, config};

/// What the media thread was told, loudspeaker first.
fn told(w: &World) -> Vec<(i8, i8)> {
    let volumes = w.voice.commands.iter().filter_map(|(_, command)| {
        let Command::Volume(Volumes { playback, capture }) = command else { return None };
        Some((playback.0, capture.0))
    });
    volumes.collect()
}

#[test]
fn a_command_changes_the_volume_between_the_limits_and_the_status_has_it() {
    let mut config = config();
    (config.audio.playback_volume.start, config.audio.playback_volume.max) = (Decibels(-6), Decibels(3));
    let mut w = World::playing(1, config);
    let answer = |playback: i8, capture: i8| json!({"ok": true, "playback_db": playback, "capture_db": capture});
    assert_eq!(w.local("volume"), answer(-6, 0));
    assert_eq!(w.local("volume playback by 2"), answer(-4, 0));
    assert_eq!(w.local("volume capture 12"), answer(-4, 12));
    assert_eq!(w.local(r#"{"command":"volume","direction":"playback","db":90}"#), answer(3, 12));
    assert_eq!(w.local("volume playback by 1"), answer(3, 12), "as loud as it may be");
    assert_eq!(told(&w), [(-4, 0), (-4, 12), (3, 12)], "what changes nothing is not told");
    let events: Vec<Value> = w.events_of("volume").iter().map(|e| e["playback_db"].clone()).collect();
    assert_eq!(events, [-4, -4, 3]);
    let status = w.local("status");
    assert_eq!((&status["playback_db"], &status["capture_db"]), (&json!(3), &json!(12)));
    assert_eq!(w.local("volume playback loud")["error"]["code"], "bad_argument");
}
