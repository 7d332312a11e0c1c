//! Every fault of a card, in one call.

use crate::{Lab, Rows};
use lab::bench::card::Faults;

pub fn measure(lab: &Lab) -> Rows {
    let faults = Faults::play(lab.stage.endpoint())?;
    for outcome in &faults.outcomes {
        println!("        {:<26} back after {:>7.1} ms", outcome.fault, outcome.return_ms);
    }
    Ok(faults.rows())
}
