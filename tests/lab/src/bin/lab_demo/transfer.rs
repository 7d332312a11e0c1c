//! B sends A over to another room, and hangs up: A goes there, and leaves the old one.

use super::show::reached;
use super::tour::{Tour, room_of};
use super::{PATIENCE, ROOM};
use std::error::Error;

pub fn scene(tour: &mut Tour<'_>) -> Result<(), Box<dyn Error>> {
    let mark = tour.qss.mark();
    tour.note("QSS", "transfers A to another room");
    tour.qss.attended_transfer("B", "A", "carol", ROOM);
    tour.qss.wait_for("the answer of A", PATIENCE, |log| {
        log.after(mark).answers("transferring-attended-transfer").next().map(|_| ())
    })?;
    tour.until("A plays there", |tour| reached(&tour.a, "playing") && room_of(&tour.a).as_deref() == Some(ROOM))?;
    tour.order("B", "hangup")?;
    tour.until("B is free", |tour| reached(&tour.b, "session"))
}
