//! Somebody in the room asks A to mute: A does and says so. It is A itself who opens the microphone again.

use super::PATIENCE;
use super::tour::{Tour, room_of};
use serde_json::json;
use std::error::Error;

pub fn scene(tour: &mut Tour<'_>) -> Result<(), Box<dyn Error>> {
    let mark = tour.qss.mark();
    let room = room_of(&tour.a).ok_or("A is in no room")?;
    tour.note("QSS", "asks A to mute");
    tour.qss.send_event("A", "mute-request", json!({"roomId": room, "to": "A", "media": "audio", "muted": true}));
    let report = tour.qss.wait_request("mute", mark, PATIENCE)?;
    if report["to"] != "A" || report["muted"] != true {
        return Err(format!("a strange report: {report}").into());
    }
    tour.until_b_hears(false)?;
    tour.order("A", "mute off")?;
    tour.until_b_hears(true)
}
