//! The gauge of allocations, in a program of somebody else.

use lab::cards::beside_plugin;
use lab::folder::Folder;
use std::fs::File;
use std::process::{Command, Stdio};

#[test]
fn allocations_of_a_preloaded_program_are_counted_by_thread() {
    let library = beside_plugin("libgauge.so").expect("built with the workspace: cargo build -p gauge");
    let folder = Folder::new("gauge").expect("a folder");
    let table = folder.path().join("table");
    File::create(&table).expect("a file").set_len(256 * 24).expect("its size");
    let mut command = Command::new("sort");
    command.arg("/proc/self/status").env("LD_PRELOAD", library).env("GAUGE_FILE", &table).stdout(Stdio::null());
    let mut child = command.spawn().expect("sort");
    let id = u64::from(child.id());
    assert!(child.wait().expect("it ends").success());
    let bytes = std::fs::read(&table).expect("the table");
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect();
    let of_main = words.chunks_exact(3).find(|slot| slot[0] == id).expect("a slot of its only thread");
    assert!(of_main[1] > 10, "sort allocates: {}", of_main[1]);
    assert_eq!(of_main[2], 0, "without a card");
}
