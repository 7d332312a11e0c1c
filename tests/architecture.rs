//! The borders of the house: what decides is pure, what waits lives in `src/io`, the lab stays outside the product.

use std::path::{Path, PathBuf};

/// Words that no file outside `src/io` and the program (`main.rs`, `arguments.rs`) may say: whoever needs one belongs into `src/io`.
const NOT_IN_THE_CORE: &[&str] = &[
    "tokio",
    "alsa::",
    "opus::",
    "opusic_sys",
    "libc::",
    "socket2",
    "tungstenite",
    "rustls",
    "getrandom",
    "lexopt",
    "crate::io",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::io::std",
    "println!",
    "eprintln!",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "Mutex",
    "RwLock",
    "mpsc",
];

#[test]
fn the_core_neither_waits_nor_looks_at_a_clock() {
    let mut trespasses = Vec::new();
    for (file, text) in sources().into_iter().filter(|(file, _)| is_core(file)) {
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !is_comment(line)) {
            let said = NOT_IN_THE_CORE.iter().filter(|word| says(line, word));
            trespasses.extend(said.map(|word| format!("{}:{number}: {word}", file.display())));
        }
    }
    assert!(trespasses.is_empty(), "these belong into src/io:\n{}", trespasses.join("\n"));
}

/// rsip has gaps that its one user fills: nobody else shall come to rely on it.
#[test]
fn one_file_knows_rsip() {
    let users: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().any(|line| !is_comment(line) && says(line, "rsip")))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(users, [PathBuf::from("src/sip/message/wire.rs")]);
}

/// The guard itself must see what it guards against.
#[test]
fn the_guard_is_awake() {
    assert!(says("use tokio::net::UdpSocket;", "tokio") && says("    std::thread::sleep(x)", "std::thread"));
    assert!(says("use std::{fs, env};", "std::fs") && says("let t: Instant = now;", "Instant"));
    assert!(!says("the Instantiation", "Instant") && !says("let alsa = 1;", "alsa::"));
    assert!(is_core(Path::new("src/sip/endpoint.rs")) && !is_core(Path::new("src/io/run.rs")));
    assert!(sources().len() >= 15 && sources().iter().any(|(file, _)| file.ends_with("src/config/keys.rs")));
}

/// `Cargo.toml` itself: without the feature `io` there is nothing to wait with.
#[test]
fn what_waits_is_optional_and_the_lab_is_no_dependency() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    for name in
        ["alsa", "getrandom", "lexopt", "libc", "opus", "opusic-sys", "rustls", "socket2", "tokio", "tokio-tungstenite"]
    {
        let optional = dependencies[name].get("optional").and_then(toml::Value::as_bool);
        assert_eq!(optional, Some(true), "{name} must come with the feature io only");
    }
    for (name, dependency) in dependencies {
        assert!(dependency.get("path").is_none(), "{name}: the product depends on nothing inside the repository");
        assert!(!name.contains("lab") && !name.contains("vsnd"), "{name}");
    }
    assert!(manifest.get("build-dependencies").is_none());
    let features: Vec<_> = manifest["features"].as_table().unwrap().keys().map(String::as_str).collect();
    assert_eq!(features, ["default", "io"], "one feature line");
}

#[test]
fn files_stay_readable() {
    for (file, text) in sources() {
        let lines = text.lines().count();
        let most = if file.ends_with("src/main.rs") { 150 } else { 1200 };
        assert!(lines < most, "{}: {lines} lines, split it at {most}", file.display());
        assert!(text.starts_with("//!"), "{} does not say what it is for", file.display());
        assert!(!text.contains("todo!(") && !text.contains("dbg!("), "{}", file.display());
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `src`, with a path that begins with `src`.
fn sources() -> Vec<(PathBuf, String)> {
    let (mut files, mut directories) = (Vec::new(), vec![PathBuf::from("src")]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((path.clone(), std::fs::read_to_string(root().join(path)).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn is_core(file: &Path) -> bool {
    let shell = ["src/main.rs", "src/arguments.rs", "src/lib.rs"];
    !file.starts_with("src/io") && !shell.iter().any(|name| file.ends_with(name))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// `word` stands in `line` as code, also as `std::{fs, ..}`.
fn says(line: &str, word: &str) -> bool {
    let edge = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let stands = |word: &str| {
        line.match_indices(word).any(|(at, _)| {
            let after = line[at + word.len()..].chars().next();
            edge(line[..at].chars().next_back()) && (word.ends_with(':') || word.ends_with('!') || edge(after))
        })
    };
    let grouped = word.strip_prefix("std::").is_some_and(|module| {
        line.contains("std::{") && line.split(['{', ',', '}', ' ', ':', ';']).any(|part| part == module)
    });
    stands(word) || grouped
}
