//! Somebody presses A's button: A makes a room, joins it and calls B into it.

use super::show::reached;
use super::tour::{Tour, room_of};
use super::{PATIENCE, ROOM};
use std::error::Error;

pub fn scene(tour: &mut Tour<'_>) -> Result<(), Box<dyn Error>> {
    let mark = tour.qss.mark();
    tour.press_button()?;
    tour.qss.wait_request("createRoom", mark, PATIENCE)?;
    let invite = tour.qss.wait_request("invite", mark, PATIENCE)?;
    if invite["to"] != "B" {
        return Err(format!("somebody else is invited: {invite}").into());
    }
    tour.until("both play", |tour| reached(&tour.a, "playing") && reached(&tour.b, "playing"))?;
    tour.until_b_hears(true)?;
    match room_of(&tour.a) {
        Some(room) if room != ROOM && room_of(&tour.b) == Some(room.clone()) => Ok(()),
        other => Err(format!("not in the new room together: {other:?} and {:?}", room_of(&tour.b)).into()),
    }
}
