//! The gauge of allocations and locks, in a program of somebody else.

use lab::bench::gauge;
use lab::folder::Folder;
use std::process::{Command, Stdio};

#[test]
fn allocations_and_locks_of_a_preloaded_program_are_counted_by_thread() {
    let folder = Folder::new("gauge").expect("a folder");
    let table = folder.path().join("table");
    let mut command = Command::new("sort");
    command.arg("/proc/self/status").envs(gauge::environment(&table).expect("built with the workspace"));
    let mut child = command.stdout(Stdio::null()).spawn().expect("sort");
    let id = child.id();
    assert!(child.wait().expect("it ends").success());
    let of_main = gauge::counts(&table, id).expect("its counts");
    assert!(of_main.own > 10, "sort allocates: {of_main:?}");
    assert!(of_main.locks > 0, "and has a lock for its threads: {of_main:?}");
    assert_eq!(of_main.cards, 0, "without a card");
}
