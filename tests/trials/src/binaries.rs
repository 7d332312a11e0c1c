//! The test binaries of the copy: built once, and run as often as there are trials.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A test takes a few seconds; one that takes so long will never end.
const PATIENCE: Duration = Duration::from_secs(300);
const GLANCE: Duration = Duration::from_millis(20);

pub struct Binaries {
    /// By their names, `lib` for the product's own.
    executables: BTreeMap<String, PathBuf>,
    tree: PathBuf,
    logs: PathBuf,
}

/// How a test ended.
pub enum Outcome {
    Passed,
    /// With these words of its panic.
    Failed(String),
    /// It did not run, or did not end: the log says more.
    Unclear(PathBuf),
}

impl Binaries {
    /// Builds those in which the tests are: a test is named `binary::path`.
    pub fn build(tree: &Path, place: &Path, tests: &BTreeSet<&str>) -> Result<Binaries, String> {
        let mut packages: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for test in tests {
            let binary = binary(test);
            packages.entry(package(tree, binary)).or_default().insert(binary);
        }
        let mut executables = BTreeMap::new();
        for (package, binaries) in packages {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args([
                "test",
                "--locked",
                "--no-run",
                "--message-format=json-render-diagnostics",
                "--package",
                package,
            ]);
            for binary in &binaries {
                match *binary {
                    "lib" => cargo.arg("--lib"),
                    name => cargo.args(["--test", name]),
                };
            }
            // A behaviour that is taken out leaves code that nobody uses.
            cargo.env("RUSTFLAGS", "--cap-lints=allow").env("CARGO_TARGET_DIR", place.join("build"));
            cargo.env("CARGO_PROFILE_DEV_DEBUG", "false").current_dir(tree).stderr(Stdio::inherit());
            let built = cargo.output().map_err(|e| format!("cargo: {e}"))?;
            if !built.status.success() {
                return Err(format!("the trials do not compile: cargo test --package {package}"));
            }
            executables.extend(String::from_utf8_lossy(&built.stdout).lines().filter_map(executable));
        }
        let logs = place.join("logs");
        std::fs::create_dir_all(&logs).map_err(|e| format!("{}: {e}", logs.display()))?;
        Ok(Binaries { executables, tree: tree.to_owned(), logs })
    }

    /// Runs one test, in the trial of this number or with everything in its place.
    pub fn run(&self, test: &str, trial: Option<usize>) -> Outcome {
        let log = self.logs.join(trial.map_or_else(|| test.replace("::", "-"), |number| format!("{number:03}")));
        let said = self.start(test, trial, &log).and_then(|child| {
            watch(child);
            std::fs::read_to_string(&log)
        });
        match said {
            Ok(said) if said.contains("test result: ok. 1 passed;") => Outcome::Passed,
            Ok(said) if said.contains("test result: FAILED. 0 passed; 1 failed;") => Outcome::Failed(panic_of(&said)),
            Ok(_) | Err(_) => Outcome::Unclear(log),
        }
    }

    fn start(&self, test: &str, trial: Option<usize>, log: &Path) -> std::io::Result<Child> {
        let (binary, path) = (binary(test), test.split_once("::").map_or("", |(_, path)| path));
        let executable = self.executables.get(binary).ok_or(std::io::ErrorKind::NotFound)?;
        let out = File::create(log)?;
        let mut command = Command::new(executable);
        command.args([path, "--exact", "--test-threads=1", "--nocapture"]).current_dir(&self.tree);
        match trial {
            Some(number) => command.env("TRIAL", number.to_string()),
            None => command.env_remove("TRIAL"),
        };
        command.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out).spawn()
    }
}

/// Until it ends, or will not.
fn watch(mut child: Child) {
    let mut waited = Duration::ZERO;
    while waited < PATIENCE && matches!(child.try_wait(), Ok(None)) {
        sleep(GLANCE);
        waited += GLANCE;
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Name and path of an executable test, from a line of cargo's.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let path = message["executable"].as_str().filter(|_| message["profile"]["test"] == true)?;
    let name = match message["target"]["kind"][0].as_str()? {
        "test" => message["target"]["name"].as_str()?,
        _ => "lib",
    };
    Some((name.to_owned(), path.into()))
}

/// The words of the first panic.
fn panic_of(said: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.contains("panicked at"));
    let words: Vec<&str> = lines.by_ref().skip(1).take_while(|line| !line.starts_with("note: ")).take(3).collect();
    words.join(" ").chars().take(150).collect()
}

fn binary(test: &str) -> &str {
    test.split_once("::").map_or(test, |(binary, _)| binary)
}

fn package<'a>(tree: &Path, binary: &str) -> &'a str {
    let there = |folder: &str| tree.join(folder).join(format!("{binary}.rs")).exists();
    if there("tests/sim/tests") { "sim" } else { "qss-endpoint" }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed => write!(f, "passed"),
            Outcome::Failed(words) => write!(f, "failed: {words}"),
            Outcome::Unclear(log) => write!(f, "neither passed nor failed: {}", log.display()),
        }
    }
}
