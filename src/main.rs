//! Arguments -> configuration -> [`qss_endpoint::io`] -> exit code.

mod arguments;

use arguments::{Options, parse};
use qss_endpoint::config::describe::effective;
use qss_endpoint::config::file::{Loaded, Purpose, load, status_socket};
use qss_endpoint::io::alsa::leave_out_locks;
use qss_endpoint::io::alsa::listing::listing;
use qss_endpoint::io::alsa::machine::Machine;
use qss_endpoint::io::disk::Disk;
use qss_endpoint::io::status_socket as socket;
use qss_endpoint::status::outcome::Verdict;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = include_str!("usage.txt");

/// The endpoint has refused a command.
const REFUSED: u8 = 1;
/// Exit codes of sysexits.h.
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const INTERNAL: u8 = 70;
const NOT_YET: u8 = 75;
const CONFIG: u8 = 78;

fn main() -> ExitCode {
    let options = match parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => return fail(USAGE, &format!("{error}\ntry: qss-endpoint help")),
    };
    let command = options.command.as_deref().unwrap_or_default();
    match (command, &options.config) {
        ("run", Some(_)) => run(&options),
        ("check", Some(_)) => check(&options),
        ("run", None) => fail(USAGE, "run needs --config FILE"),
        ("check", None) => fail(USAGE, "check needs a FILE"),
        ("status", _) => ask(&options, "status"),
        ("ctl", _) if options.words.is_empty() => fail(USAGE, "ctl needs a COMMAND"),
        ("ctl", _) if options.words == ["follow"] => fail(USAGE, "follow has no answer of its own: status --follow"),
        ("ctl", _) => ask(&options, &options.words.join(" ")),
        ("devices", _) => print(&listing(&Machine::default())),
        ("version", _) => print(concat!("qss-endpoint ", env!("CARGO_PKG_VERSION"), "\n")),
        ("help", _) => print(HELP),
        _ => fail(USAGE, HELP),
    }
}

fn run(options: &Options) -> ExitCode {
    let loaded = match read(options, Purpose::Run) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    leave_out_locks();
    match qss_endpoint::io::run::run(loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(INTERNAL, &error.to_string()),
    }
}

fn check(options: &Options) -> ExitCode {
    match read(options, Purpose::Check) {
        Ok(_) if options.quiet => ExitCode::SUCCESS,
        Ok(loaded) => print(&effective(&loaded)),
        Err(code) => code,
    }
}

/// Sends a line to the running endpoint, and prints what it answers.
fn ask(options: &Options, command: &str) -> ExitCode {
    let configured = || options.config.as_ref().and_then(|file| status_socket(file, options.boards.as_deref(), &Disk));
    let path = options.socket.clone().or_else(configured).unwrap_or_else(|| socket::DEFAULT_PATH.into());
    if let Some(seconds) = options.wait {
        return wait(&path, command, seconds);
    }
    let mut refused = false;
    let answer = socket::ask(&path, command, options.follow, |line| {
        refused |= line.starts_with(r#"{"ok":false"#);
        writeln!(std::io::stdout(), "{line}")
    });
    match answer {
        Err(e) => unanswered(&path, &e),
        Ok(()) if refused => ExitCode::from(REFUSED),
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// Sends a line, and prints what follows until it is known what came of it.
fn wait(path: &Path, command: &str, seconds: u64) -> ExitCode {
    let print = |line: &str| writeln!(std::io::stdout(), "{line}");
    match socket::ask_and_wait(path, command, Duration::from_secs(seconds), print) {
        Err(e) => unanswered(path, &e),
        Ok(Some(Verdict::Done)) => ExitCode::SUCCESS,
        Ok(Some(Verdict::Failed)) => ExitCode::from(REFUSED),
        Ok(Some(Verdict::Open) | None) => ExitCode::from(NOT_YET),
    }
}

fn unanswered(path: &Path, error: &std::io::Error) -> ExitCode {
    match error {
        e if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        e if e.kind() == std::io::ErrorKind::PermissionDenied => {
            fail(UNAVAILABLE, &format!("{}: {e}\nits owner and group may ask: try sudo", path.display()))
        }
        e => fail(UNAVAILABLE, &format!("{}: {e}\nis the endpoint running, with status.socket set?", path.display())),
    }
}

/// The configuration; warnings and errors go to standard error.
fn read(options: &Options, purpose: Purpose) -> Result<Loaded, ExitCode> {
    let file = options.config.as_deref().unwrap_or("".as_ref());
    let loaded = load(file, options.boards.as_deref(), purpose, &Disk);
    let loaded = loaded.map_err(|errors| fail(CONFIG, &errors.to_string()))?;
    for warning in &loaded.warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    Ok(loaded)
}

fn print(text: &str) -> ExitCode {
    // A reader that went away (`| head`) is no failure of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(code: u8, message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{}", message.trim_end());
    ExitCode::from(code)
}
