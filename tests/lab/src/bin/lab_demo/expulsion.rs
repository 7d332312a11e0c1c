//! B is expelled: it hangs up at once and does not come back. A stays.

use super::ROOM;
use super::show::reached;
use super::tour::Tour;
use std::error::Error;
use std::time::Duration;

/// Whoever comes back by itself has come back by then: the pauses of the lab are short.
const LONG_ENOUGH: Duration = Duration::from_secs(3);

pub fn scene(tour: &mut Tour<'_>) -> Result<(), Box<dyn Error>> {
    let mark = tour.qss.mark();
    tour.note("QSS", "expels B");
    tour.qss.expel(ROOM, "B");
    tour.until("B is out", |tour| reached(&tour.b, "session"))?;
    tour.until_b_hears(false)?;
    tour.wait(LONG_ENOUGH);
    let log = tour.qss.log();
    let came_back = lab::qss::Log { entries: &log }
        .after(mark)
        .requests("joinRoom")
        .any(|(entry, _)| entry.user.as_deref() == Some("B"));
    match (came_back, reached(&tour.b, "session"), reached(&tour.a, "playing")) {
        (false, true, true) => Ok(()),
        (true, _, _) => Err("B came back by itself".into()),
        (false, stayed_out, _) => Err(if stayed_out { "A does not play" } else { "B is in a room" }.into()),
    }
}
