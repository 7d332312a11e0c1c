//! What the preloaded library `gauge` has counted in a program: the table that it fills, and how it is loaded.

use crate::cards::{beside_plugin, library};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Of one thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Heap allocations of the program ...
    pub own: u64,
    /// ... and of the virtual card, which lives in the same process.
    pub cards: u64,
    /// Locks taken by the C library's means, free ones as well.
    pub locks: u64,
}

impl Counts {
    pub fn since(self, before: Counts) -> Counts {
        Counts { own: self.own - before.own, cards: self.cards - before.cards, locks: self.locks - before.locks }
    }
}

/// Words of a slot of the table, and how many slots it has.
const SLOT: usize = 4;
const SLOTS: usize = 256;

/// A program's environment in which it is counted into a new `table`.
///
/// # Errors
/// The library cannot be built, or the file cannot be made.
pub fn environment(table: &Path) -> io::Result<Vec<(&'static str, PathBuf)>> {
    const NAME: &str = "libgauge.so";
    let library = beside_plugin(NAME).map_or_else(|| library("gauge", NAME), Ok)?;
    File::create(table)?.set_len((SLOTS * SLOT * 8) as u64)?;
    Ok(vec![("LD_PRELOAD", library), ("GAUGE_FILE", table.to_owned())])
}

/// What a thread has come to so far; zeros if it never did any of it. `None`: nothing was counted at all, the library was not loaded.
pub fn counts(table: &Path, thread: u32) -> Option<Counts> {
    let bytes = std::fs::read(table).ok()?;
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect();
    words.iter().any(|word| *word > 0).then_some(())?;
    let slot = words.chunks_exact(SLOT).find(|slot| slot[0] == u64::from(thread));
    Some(slot.map_or(Counts::default(), |slot| Counts { own: slot[1], cards: slot[2], locks: slot[3] }))
}

/// The thread of that name.
pub fn thread_of(process: u32, name: &str) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    tasks.flatten().find_map(|task| {
        let is = std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name);
        is.then(|| task.file_name().to_string_lossy().parse().ok()).flatten()
    })
}
