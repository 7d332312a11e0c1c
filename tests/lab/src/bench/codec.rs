//! What libopus alone costs on this machine (`lab-codec`), and what follows from it: how many stations it carries at once.

use super::station::{BITRATE, COMPLEXITY};
use crate::cards::beside_plugin;
use crate::folder::Folder;
use crate::measure::signal;
use crate::measure::sound_file::write_raw;
use serde_json::Value;
use std::error::Error;
use std::process::Command;

/// Percent of a core.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cost {
    pub encode: f64,
    pub decode: f64,
    /// To wake up for it, once a frame.
    pub wake: f64,
    /// To send a packet and to receive one, by loopback, once a frame.
    pub packets: f64,
}

/// A station, its card, its relay and its leg in the mixer, which encodes with more effort, cost this many times the codec.
const STATION: f64 = 3.2;
/// The part of all processors that stations may take: with more of it, cards run dry.
const MOST: f64 = 0.65;
/// A room, and something that can be compared with it, however slow the machine is.
const FEWEST: usize = 8;

/// Encodes and decodes `seconds` of speech as in a call.
///
/// # Errors
/// `lab-codec` is not built, or says something else.
pub fn cost(seconds: u32) -> Result<Cost, Box<dyn Error>> {
    let program = beside_plugin("lab-codec").ok_or("there is no lab-codec: cargo build -p gauge")?;
    let folder = Folder::new("codec")?;
    let sound = folder.path().join("speech");
    write_raw(&sound, &signal::speech(seconds.into(), 1), 1)?;
    let mut command = Command::new(program);
    command.arg(&sound).args([seconds.to_string(), BITRATE.to_string(), COMPLEXITY.to_string()]);
    let said = command.output()?;
    let line: Value = serde_json::from_slice(&said.stdout)
        .map_err(|error| format!("lab-codec: {error}: {}", String::from_utf8_lossy(&said.stderr)))?;
    let percent = |name: &str| line[name].as_f64().ok_or_else(|| format!("lab-codec said nothing of {name}"));
    Ok(Cost {
        encode: percent("encode_percent")?,
        decode: percent("decode_percent")?,
        wake: percent("wake_percent")?,
        packets: percent("packets_percent")?,
    })
}

impl Cost {
    pub fn sum(&self) -> f64 {
        self.encode + self.decode
    }

    /// How many stations a machine with so many processors carries at once.
    pub fn stations(&self, processors: usize) -> usize {
        let most = processors as f64 * 100.0 * MOST / (STATION * self.sum());
        (most as usize).max(FEWEST)
    }
}

/// Cuts `all` in order into few pieces that are much alike, each of which wants at most `most` stations; `wants` says how many one wants.
pub fn batches<T: Clone>(all: &[T], most: usize, wants: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let total: usize = all.iter().map(&wants).sum();
    let largest = all.iter().map(&wants).max().unwrap_or(0);
    let share = total.div_ceil(total.div_ceil(most.max(1)).max(1));
    let limit = most.min(share + largest.saturating_sub(1));
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut taken = usize::MAX;
    for one in all {
        let wanted = wants(one);
        if taken.saturating_add(wanted) > limit {
            batches.push(Vec::new());
            taken = 0;
        }
        taken += wanted;
        batches.last_mut().expect("there is one").push(one.clone());
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_half_as_fast_carries_half_as_many() {
        let cost = |sum: f64| Cost { encode: sum * 0.8, decode: sum * 0.2, wake: 0.0, packets: 0.0 };
        assert_eq!((cost(1.25).stations(2), cost(2.5).stations(2), cost(60.0).stations(2)), (32, 16, FEWEST));
    }

    #[test]
    fn a_batch_is_never_larger_than_what_is_carried_and_batches_are_alike() {
        let all = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2];
        for (most, sizes) in [(100, vec![14]), (13, vec![8, 6]), (7, vec![6, 6, 2]), (5, vec![5, 5, 4])] {
            let batches = batches(&all, most, |wants| *wants);
            let found: Vec<usize> = batches.iter().map(|batch| batch.iter().sum()).collect();
            assert!(found.iter().all(|size| *size <= most), "{most}: {found:?}");
            assert_eq!((batches.concat(), found), (all.to_vec(), sizes), "{most}");
        }
    }
}
