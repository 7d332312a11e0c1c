//! B is invited to where A is, and comes.

use super::show::reached;
use super::tour::{Tour, room_of};
use super::{PATIENCE, ROOM};
use std::error::Error;

pub fn scene(tour: &mut Tour<'_>) -> Result<(), Box<dyn Error>> {
    let mark = tour.qss.mark();
    tour.note("QSS", "invites B into the room");
    tour.qss.invite("A", "B", ROOM);
    tour.qss.wait_for("the answer of B", PATIENCE, |log| log.after(mark).answers("invite").next().map(|_| ()))?;
    tour.until("B plays there", |tour| reached(&tour.b, "playing") && room_of(&tour.b).as_deref() == Some(ROOM))?;
    tour.until_b_hears(true)
}
