//! Every input that a fuzz target was given or ever found, once more.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::path::{Path, PathBuf};

#[test]
fn every_corpus_replays() {
    for (name, body) in bodies::ALL {
        let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name));
        assert!(files.len() >= 3, "the corpus of {name} has {} files", files.len());
        for file in files {
            let bytes = std::fs::read(&file).expect("a file of the corpus");
            // The test's own output names the file when the body panics.
            println!("{}", file.display());
            body(&bytes);
        }
    }
}

/// A target that is not in the list of bodies would never be replayed.
#[test]
fn every_target_has_a_body() {
    let targets = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/targets"));
    let mut targets: Vec<_> = targets.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
    let mut bodies: Vec<_> = bodies::ALL.iter().map(|(name, _)| *name).collect();
    targets.sort_unstable();
    bodies.sort_unstable();
    assert_eq!(targets, bodies);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort_unstable();
    files
}
