//! The endpoint as a process: its configuration, its status lines, its end, what it costs.

use crate::button::{self, Button};
use crate::cards::{Card, Cards, target_folder};
use crate::clock::mono_us;
use crate::folder::Folder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A configuration file in the making: sections of TOML lines.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    rooms: Vec<String>,
    calls: Vec<String>,
    buttons: Vec<String>,
}

impl ConfigFile {
    /// For a lab device: board `lab`, loopback only, that card, patience of a test instead of a night.
    pub fn lab(device: &str, card: &Card) -> ConfigFile {
        let mut file = ConfigFile::default();
        file.set("", "board", "lab").set("device", "id", device);
        file.set("sip", "bind", "127.0.0.1:0").set("sip", "user", device).set("rtp", "bind", "127.0.0.1");
        file.set("audio", "capture", &card.pcm()).set("audio", "playback", &card.pcm());
        file.set_raw("qss", "reconnect_min_ms", "200").set_raw("qss", "reconnect_max_ms", "2000");
        file.set_raw("qss", "spread_ms", "0");
        file.set_raw("sip", "retry_min_ms", "200").set_raw("sip", "retry_max_ms", "2000");
        file
    }

    /// A session at this server.
    pub fn session(mut self, url: &str, user: &str, token: &str) -> ConfigFile {
        self.set("qss", "url", url).set("qss", "username", user).set("qss", "token", token);
        self
    }

    /// Joins this room by itself.
    pub fn room(mut self, id: &str) -> ConfigFile {
        self.rooms.push(format!("id = {}", quoted(id)));
        self
    }

    /// Dials this address by itself.
    pub fn sip_uri(mut self, uri: &str) -> ConfigFile {
        self.rooms.push(format!("sip_uri = {}", quoted(uri)));
        self
    }

    /// Somebody to call by a name.
    pub fn call(&mut self, name: &str, targets: &[&str]) -> &mut ConfigFile {
        let targets: Vec<String> = targets.iter().map(|target| quoted(target)).collect();
        self.calls.push(format!("name = {}\ntargets = [{}]", quoted(name), targets.join(", ")));
        self
    }

    /// A button that stands for a local command.
    pub fn button(&mut self, button: &Button, does: &str) -> &mut ConfigFile {
        let device = quoted(&button.device().to_string_lossy());
        self.buttons.push(format!("device = {device}\nkey = {}\ndoes = {}", quoted(button::KEY), quoted(does)));
        self
    }

    /// Accepts invites of everyone.
    pub fn accept_all(mut self) -> ConfigFile {
        self.set_raw("invites", "accept", "[\"*\"]");
        self
    }

    /// Where a host of a `sipUri` really is.
    pub fn host_map(mut self, host: &str, to: SocketAddr) -> ConfigFile {
        self.set_raw("sip", "host_map", &format!("{{ {} = {} }}", quoted(host), quoted(&to.to_string())));
        self
    }

    /// Sets a key to a string; section "" is the top.
    pub fn set(&mut self, section: &str, key: &str, value: &str) -> &mut ConfigFile {
        self.set_raw(section, key, &quoted(value))
    }

    /// Sets a key to TOML text: a number, `true`, a list.
    pub fn set_raw(&mut self, section: &str, key: &str, value: &str) -> &mut ConfigFile {
        self.sections.entry(section.into()).or_default().insert(key.into(), value.into());
        self
    }

    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            if !section.is_empty() {
                text.push_str(&format!("\n[{section}]\n"));
            }
            keys.iter().for_each(|(key, value)| text.push_str(&format!("{key} = {value}\n")));
        }
        self.rooms.iter().for_each(|room| text.push_str(&format!("\n[[room]]\n{room}\n")));
        self.calls.iter().for_each(|call| text.push_str(&format!("\n[[call]]\n{call}\n")));
        self.buttons.iter().for_each(|button| text.push_str(&format!("\n[[button]]\n{button}\n")));
        text
    }
}

/// A status line and when it was read ([`mono_us`]).
#[derive(Clone, Debug)]
pub struct Line {
    pub at_us: u64,
    pub event: Value,
}

impl Line {
    pub fn rung(&self) -> Option<&str> {
        self.event["rung"].as_str()
    }
}

/// A running `qss-endpoint run`. Dropped, it is killed.
pub struct Endpoint {
    child: Child,
    started_us: u64,
    said: Arc<Said>,
    folder: Folder,
}

#[derive(Default)]
struct Said {
    lines: Mutex<Spoken>,
    changed: Condvar,
}

#[derive(Default)]
struct Spoken {
    status: Vec<Line>,
    /// Standard error, and lines of standard output that are not JSON.
    other: String,
}

/// What a process has used.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Usage {
    pub cpu: Duration,
    /// Resident, and the part of it nobody else shares, in KiB.
    pub resident_kib: u64,
    pub private_kib: u64,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
}

impl Endpoint {
    /// Writes the configuration and starts the program.
    pub fn start(binary: &Path, name: &str, config: &ConfigFile, cards: &Cards) -> io::Result<Endpoint> {
        Endpoint::start_with(binary, name, config, cards, &[])
    }

    /// The same with more variables in its environment.
    pub fn start_with(
        binary: &Path,
        name: &str,
        config: &ConfigFile,
        cards: &Cards,
        environment: &[(&str, PathBuf)],
    ) -> io::Result<Endpoint> {
        let folder = Folder::new(name)?;
        let file = folder.path().join("endpoint.toml");
        std::fs::write(&file, config.to_toml())?;
        let started_us = mono_us();
        let mut child = Command::new(binary)
            .args(["run", "--config"])
            .arg(&file)
            .envs(cards.environment())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let said = Arc::new(Said::default());
        let out = child.stdout.take().expect("it was piped");
        let err = child.stderr.take().expect("it was piped");
        for (stream, is_status) in [(Box::new(out) as Box<dyn io::Read + Send>, true), (Box::new(err), false)] {
            let said = said.clone();
            std::thread::spawn(move || listen(BufReader::new(stream), is_status, &said));
        }
        Ok(Endpoint { child, started_us, said, folder })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// [`mono_us`] just before the process was made.
    pub fn started_us(&self) -> u64 {
        self.started_us
    }

    /// The folder with its configuration.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn lines(&self) -> Vec<Line> {
        self.lock().status.clone()
    }

    /// Standard error so far.
    pub fn errors(&self) -> String {
        self.lock().other.clone()
    }

    /// How many status lines there are: a mark for the waits.
    pub fn mark(&self) -> usize {
        self.lock().status.len()
    }

    /// Waits until the probe finds what it looks for among the status lines; ends early if the process ended.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut probe: impl FnMut(&[Line]) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + timeout;
        loop {
            let ended = self.child.try_wait().ok().flatten();
            let said = self.said.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = probe(&said.status) {
                return Ok(found);
            }
            let now = Instant::now();
            if now >= deadline || ended.is_some() {
                let how =
                    ended.map_or(format!("within {timeout:?}"), |status| format!("before it ended with {status}"));
                let from = said.status.len().saturating_sub(20);
                let lines = said.status[from..].iter().map(|line| format!("  {}\n", line.event)).collect::<String>();
                return Err(format!("no {what} {how}; it said:\n{lines}{}", said.other));
            }
            let step = (deadline - now).min(Duration::from_millis(100));
            drop(self.said.changed.wait_timeout(said, step));
        }
    }

    /// Waits for a rung in a line after `mark`.
    pub fn wait_rung(&mut self, rung: &str, mark: usize, timeout: Duration) -> Result<Line, String> {
        self.wait_for(&format!("rung {rung}"), timeout, |lines| {
            lines.get(mark..)?.iter().find(|line| line.rung() == Some(rung)).cloned()
        })
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        signal(self.child.id(), libc::SIGTERM);
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP and SIGCONT.
    pub fn freeze(&self, frozen: bool) {
        signal(self.child.id(), if frozen { libc::SIGSTOP } else { libc::SIGCONT });
    }

    /// How it ended, if it does in time.
    pub fn wait_exit(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                _ if Instant::now() >= deadline => return None,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    pub fn usage(&self) -> Usage {
        usage(self.child.id())
    }

    fn lock(&self) -> MutexGuard<'_, Spoken> {
        self.said.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{} said:\n{}", self.folder.path().display(), self.errors());
        }
    }
}

/// The endpoint's program: `$QSS_ENDPOINT`, or what cargo last built for debugging.
pub fn endpoint_binary() -> PathBuf {
    std::env::var_os("QSS_ENDPOINT").map_or_else(|| target_folder().join("debug/qss-endpoint"), PathBuf::from)
}

/// What a process has used so far; zeros for a process that is gone.
pub fn usage(id: u32) -> Usage {
    let mut usage = Usage::default();
    let process = PathBuf::from(format!("/proc/{id}"));
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(process.join("task")).into_iter().flatten().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        nanoseconds += read("schedstat").split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        let status = read("status");
        usage.voluntary_switches += field(&status, "voluntary_ctxt_switches:");
        usage.involuntary_switches += field(&status, "nonvoluntary_ctxt_switches:");
    }
    usage.cpu = Duration::from_nanos(nanoseconds);
    let memory = std::fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
    usage.resident_kib = field(&memory, "Rss:");
    usage.private_kib = field(&memory, "Private_Clean:") + field(&memory, "Private_Dirty:");
    usage
}

/// A port of loopback that was free a moment ago, for UDP and TCP.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let Ok(udp) = UdpSocket::bind("127.0.0.1:0") else { continue };
        let Ok(address) = udp.local_addr() else { continue };
        if TcpListener::bind(address).is_ok() {
            return address.port();
        }
    }
    panic!("loopback has no free port");
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn listen(stream: impl BufRead, is_status: bool, said: &Said) {
    for line in stream.lines().map_while(Result::ok) {
        let mut spoken = said.lines.lock().unwrap_or_else(PoisonError::into_inner);
        match serde_json::from_str::<Value>(&line) {
            Ok(event) if is_status && event.is_object() => spoken.status.push(Line { at_us: mono_us(), event }),
            _ => {
                spoken.other.push_str(&line);
                spoken.other.push('\n');
            }
        }
        said.changed.notify_all();
    }
}

/// Sends a signal to a process of ours.
pub(crate) fn signal(id: u32, number: libc::c_int) {
    // SAFETY: kill takes no pointers; the child is ours and not yet waited for.
    unsafe { libc::kill(id as libc::pid_t, number) };
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_written_section_by_section() {
        let mut file = ConfigFile::default().session("ws://h", "u", "t").room("r1").sip_uri("sip:8881@m");
        file.set("", "board", "lab").set_raw("codec", "ptime_ms", "60");
        let text = file.to_toml();
        assert!(text.starts_with("board = \"lab\"\n"), "{text}");
        assert!(text.contains("[codec]\nptime_ms = 60\n") && text.contains("[[room]]\nid = \"r1\"\n"), "{text}");
    }

    #[test]
    fn this_process_has_used_something() {
        let spun = (0..20_000_000_u64).fold(0, |sum: u64, n| sum.wrapping_mul(31).wrapping_add(n));
        assert_ne!(spun, 1);
        let usage = usage(std::process::id());
        assert!(
            usage.cpu > Duration::from_millis(1) && usage.resident_kib > 500 && usage.private_kib > 100,
            "{usage:?}"
        );
    }
}
