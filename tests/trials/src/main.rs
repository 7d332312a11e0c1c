//! `make trials`: each behaviour is taken out of the product, one after the other, and its test must fail then
//! (docs/trials.md).
//!
//! Every trial is a small patch with a switch in it, so all of them live in one copy of the sources
//! (`target/trials/tree`), which is built once: with the variable `TRIAL=n` in the environment the behaviour of trial `n`
//! is gone, without it nothing is, and every test must pass.
//!
//! * [`trial`]: what stands in `tests/trials/*.txt`. * [`patch`]: the copy. * [`binaries`]: building it, running a test.
//! * [`page`]: `docs/trials.md`, and that nothing is stale.

mod binaries;
mod page;
mod patch;
mod trial;

use binaries::{Binaries, Outcome};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use trial::Trial;

/// One run of a test: with everything in its place, or in a trial.
#[derive(Clone, Copy)]
enum Run<'a> {
    Whole(&'a str),
    Trial(&'a Trial),
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match tried(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went as it must. `words`: only trials that have one of these in their row or their test.
fn tried(words: &[String]) -> Result<bool, String> {
    let (root, items) = (root(), trial::read_all(&root())?);
    items.iter().for_each(|item| println!("{}: {} trials", item.title, item.trials.len()));
    let trials: Vec<&Trial> = items.iter().flat_map(|item| &item.trials).collect();
    let place = root.join("target/trials");
    let tree = place.join("tree");
    patch::copy(&root, &tree, &trials)?;
    let chosen = |trial: &&&Trial| {
        words.is_empty() || words.iter().any(|word| trial.row.contains(word) || trial.test.contains(word))
    };
    let trials: Vec<&Trial> = trials.iter().filter(chosen).copied().collect();
    if trials.is_empty() {
        return Err(format!("no trial has one of these words: {}", words.join(" ")));
    }
    let tests: BTreeSet<&str> = trials.iter().map(|trial| trial.test.as_str()).collect();
    let binaries = Binaries::build(&tree, &place, &tests)?;
    let runs = tests.iter().map(|test| Run::Whole(test)).chain(trials.iter().map(|trial| Run::Trial(trial))).collect();
    let wrong = carry_out(runs, &binaries);
    println!("\n{} trials, {} tests, {wrong} not as they must be", trials.len(), tests.len());
    Ok(wrong == 0)
}

/// Runs all, as many at a time as there are processors; how many did not end as they must.
fn carry_out(runs: Vec<Run<'_>>, binaries: &Binaries) -> usize {
    let (next, wrong, output) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(()));
    let work = || {
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (outcome, told) = match run {
                Run::Whole(test) => (binaries.run(test, None), format!("with all in its place: {test}")),
                Run::Trial(trial) => (binaries.run(&trial.test, Some(trial.number)), trial.row.clone()),
            };
            let good =
                matches!((run, &outcome), (Run::Whole(_), Outcome::Passed) | (Run::Trial(_), Outcome::Failed(_)));
            let _one_at_a_time = output.lock().expect("nobody panics while printing");
            println!("{} {told}\n       {outcome}", if good { "   ok " } else { "WRONG " });
            wrong.fetch_add(usize::from(!good), Ordering::Relaxed);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    wrong.into_inner()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("this package lies in the project")
}
