//! A holds the call: nothing of it is heard, and it is there again afterwards.

use super::show::reached;
use super::tour::Tour;
use std::error::Error;

pub fn scene(tour: &mut Tour<'_>) -> Result<(), Box<dyn Error>> {
    tour.order("A", "hold on")?;
    tour.until_b_hears(false)?;
    tour.order("A", "hold off")?;
    tour.until_b_hears(true)?;
    tour.until("A plays again", |tour| reached(&tour.a, "playing"))
}
