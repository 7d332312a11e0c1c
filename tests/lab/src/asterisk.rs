//! A real Asterisk ConfBridge on loopback, one per test: `tests/lab/asterisk/*.sh` fetch, start and stop it, the
//! management interface (AMI) looks into it.
//!
//! Each takes a *slot*: a hundred ports below the range of ephemeral ones, held by a file lock, so that tests of several
//! processes run side by side. It never outlives the process that started it, however that ends: a guard kills it as
//! soon as the pipe from that process closes.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running mixer. Dropping it kills it and removes its folder, unless the test fails or `LAB_KEEP` is set.
pub struct Asterisk {
    /// SIP over UDP and TCP.
    pub sip: SocketAddr,
    /// SIP over TLS, with a certificate of [`Asterisk::ca`].
    pub tls: SocketAddr,
    /// SIP over WebSocket, at `/ws`; and over the same with TLS.
    pub ws: SocketAddr,
    pub wss: SocketAddr,
    ami: SocketAddr,
    run: PathBuf,
    slot: Slot,
    guard: Option<Child>,
}

/// Somebody in a room, as `ConfbridgeList` tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Participant {
    /// The name to mute or kick it by, for example `PJSIP/anonymous-00000003`.
    pub channel: String,
    /// The number in its From header.
    pub caller: String,
    pub muted: bool,
    pub talking: bool,
}

/// One block of `Key: Value` lines of the management interface. A repeated key (`Output`) is joined by line ends.
pub type AmiMessage = BTreeMap<String, String>;

/// The password of the profiles `digest` and `wsuser`, whose realm is `audiomixer`.
pub const SIP_SECRET: &str = "mixpass";
const AMI_SECRET: &str = "amipass";

impl Asterisk {
    /// Installs Asterisk if that has not been done, and starts one. `name` shows in the name of its folder.
    ///
    /// # Errors
    /// What the scripts print when they fail: no mirror, no free port, or its own log when it dies at start.
    pub fn start(name: &str) -> io::Result<Asterisk> {
        finish(Command::new(script("install.sh")), "install.sh")?;
        let mut last = io::Error::other("no slot is free");
        for slot in slots()? {
            let port = |offset| SocketAddr::from((Ipv4Addr::LOCALHOST, slot.base + offset));
            let mut asterisk = Asterisk {
                sip: port(0),
                tls: port(1),
                ws: port(2),
                wss: port(3),
                ami: port(4),
                run: std::env::temp_dir().join(format!("qss-lab-{}-{name}-{}", std::process::id(), slot.base)),
                slot,
                guard: None,
            };
            match asterisk.script("start") {
                Ok(()) => {
                    let mut guard = asterisk.command("guard");
                    asterisk.guard = Some(guard.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?);
                    return Ok(asterisk);
                }
                Err(error) if error.to_string().contains("is taken") => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The URI of a number (see docs/lab.md) over UDP.
    pub fn uri(&self, number: &str) -> String {
        format!("sip:{number}@{}", self.sip)
    }

    /// Who signed the certificate of [`Asterisk::tls`] and [`Asterisk::wss`], which is for `localhost` and 127.0.0.1.
    pub fn ca(&self) -> PathBuf {
        self.run.join("tls/ca.crt")
    }

    /// Warnings and errors of the mixer; `full.log` beside it has everything.
    pub fn log(&self) -> PathBuf {
        self.run.join("log/messages.log")
    }

    // ---- faults of the process

    /// SIGKILL: no BYE, no RTCP BYE, the sockets just close.
    pub fn kill(&self) -> io::Result<()> {
        self.script("kill")
    }

    /// Starts it again on the same ports, after [`Asterisk::kill`] or [`Asterisk::stop`].
    pub fn start_again(&self) -> io::Result<()> {
        self.script("start")
    }

    /// Leaves properly: BYE to every call.
    pub fn stop(&self) -> io::Result<()> {
        self.script("stop")
    }

    /// Stops and starts; every call gets a BYE.
    pub fn restart(&self) -> io::Result<()> {
        self.script("restart")
    }

    /// SIGSTOP: everything falls silent, the sockets stay open.
    pub fn freeze(&self) -> io::Result<()> {
        self.script("freeze")
    }

    /// SIGCONT.
    pub fn thaw(&self) -> io::Result<()> {
        self.script("thaw")
    }

    // ---- rooms

    /// Who is in the room; nobody when there is no such room.
    pub fn participants(&self, room: &str) -> io::Result<Vec<Participant>> {
        let mut answer = self.request("ConfbridgeList", &[("Conference", room)])?;
        if answer.first().is_some_and(|first| first.get("Response").is_some_and(|it| it != "Success")) {
            return Ok(Vec::new());
        }
        answer.retain(|message| message.get("Event").is_some_and(|event| event == "ConfbridgeList"));
        let text = |message: &AmiMessage, key: &str| message.get(key).cloned().unwrap_or_default();
        Ok(answer
            .iter()
            .map(|message| Participant {
                channel: text(message, "Channel"),
                caller: text(message, "CallerIDNum"),
                muted: text(message, "Muted") == "Yes",
                talking: text(message, "Talking") == "Yes",
            })
            .collect())
    }

    /// Waits until exactly `count` are in the room.
    ///
    /// # Errors
    /// `TimedOut`, with who is there.
    pub fn wait_for(&self, room: &str, count: usize, limit: Duration) -> io::Result<Vec<Participant>> {
        let end = Instant::now() + limit;
        loop {
            let there = self.participants(room)?;
            if there.len() == count {
                return Ok(there);
            }
            if Instant::now() > end {
                let text = format!("{count} were expected in {room}, there are {there:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Puts one out: it gets a BYE with `Reason: Q.850;cause=16`. `channel` may be `all`.
    pub fn kick(&self, room: &str, channel: &str) -> io::Result<()> {
        self.accept("ConfbridgeKick", &[("Conference", room), ("Channel", channel)])
    }

    /// Others no longer hear it; SIP does not tell anybody.
    pub fn mute(&self, room: &str, channel: &str) -> io::Result<()> {
        self.accept("ConfbridgeMute", &[("Conference", room), ("Channel", channel)])
    }

    pub fn unmute(&self, room: &str, channel: &str) -> io::Result<()> {
        self.accept("ConfbridgeUnmute", &[("Conference", room), ("Channel", channel)])
    }

    /// Who comes now is answered with 200 and a BYE 20 ms later. Needs somebody in the room.
    pub fn lock(&self, room: &str) -> io::Result<()> {
        self.accept("ConfbridgeLock", &[("Conference", room)])
    }

    pub fn unlock(&self, room: &str) -> io::Result<()> {
        self.accept("ConfbridgeUnlock", &[("Conference", room)])
    }

    /// The mixer calls `uri` by a profile and puts it into the room when it answers.
    pub fn call_out(&self, uri: &str, room: &str, profile: &str) -> io::Result<()> {
        self.cli(&format!("channel originate PJSIP/{profile}/{uri} extension {room}@audiomixer")).map(drop)
    }

    /// A tone joins the room for some seconds, in telephone quality.
    pub fn play_tone(&self, room: &str, hertz: u32, seconds: u32) -> io::Result<()> {
        self.cli(&format!("channel originate Local/{room}@audiomixer/n extension {hertz}*{seconds}@feeder")).map(drop)
    }

    /// Anything Asterisk's command line knows; the answer is its text.
    pub fn cli(&self, command: &str) -> io::Result<String> {
        let answer = self.request("Command", &[("Command", command)])?;
        Ok(answer.into_iter().next().and_then(|mut first| first.remove("Output")).unwrap_or_default())
    }

    // ---- management interface

    /// An action whose answer is a list is read to its end; the first message is the response.
    pub fn request(&self, action: &str, fields: &[(&str, &str)]) -> io::Result<Vec<AmiMessage>> {
        let mut ami = Ami::log_in(self.ami)?;
        ami.send(action, fields)?;
        let mut answer = vec![ami.receive()?];
        if answer[0].get("EventList").is_some_and(|list| list == "start") {
            while answer.last().is_some_and(|last| last.get("EventList").is_none_or(|list| list != "Complete")) {
                answer.push(ami.receive()?);
            }
        }
        Ok(answer)
    }

    fn accept(&self, action: &str, fields: &[(&str, &str)]) -> io::Result<()> {
        let answer = self.request(action, fields)?.swap_remove(0);
        match answer.get("Response").map(String::as_str) {
            Some("Success") => Ok(()),
            _ => Err(io::Error::other(format!("{action} {fields:?}: {answer:?}"))),
        }
    }

    // ---- scripts

    fn command(&self, verb: &str) -> Command {
        let base = self.slot.base;
        let mut command = Command::new(script("asterisk.sh"));
        command.arg(verb).env("AST_RUN", &self.run).env("AST_BIND", "127.0.0.1");
        command.env("AST_SIP_SECRET", SIP_SECRET).env("AST_AMI_SECRET", AMI_SECRET);
        let ports = [("SIP_PORT", 0), ("TLS_PORT", 1), ("WS_PORT", 2), ("WSS_PORT", 3), ("AMI_PORT", 4)];
        for (name, offset) in ports.into_iter().chain([("RTP_LOW", 20), ("RTP_HIGH", 99)]) {
            command.env(format!("AST_{name}"), (base + offset).to_string());
        }
        command
    }

    fn script(&self, verb: &str) -> io::Result<()> {
        finish(self.command(verb), verb)
    }
}

impl Drop for Asterisk {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
        if std::thread::panicking() || std::env::var_os("LAB_KEEP").is_some() {
            eprintln!("the mixer's folder is kept: {}", self.run.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.run);
        }
    }
}

// ------------------------------------------------------------ management interface

struct Ami {
    write: TcpStream,
    read: BufReader<TcpStream>,
}

impl Ami {
    fn log_in(address: SocketAddr) -> io::Result<Ami> {
        let limit = Duration::from_secs(5);
        let write = TcpStream::connect_timeout(&address, limit)?;
        write.set_read_timeout(Some(limit))?;
        let mut ami = Ami { read: BufReader::new(write.try_clone()?), write };
        ami.read.read_line(&mut String::new())?; // the greeting
        ami.send("Login", &[("Username", "tester"), ("Secret", AMI_SECRET), ("Events", "off")])?;
        match ami.receive()?.get("Response").map(String::as_str) {
            Some("Success") => Ok(ami),
            _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "the management interface refused the login")),
        }
    }

    fn send(&mut self, action: &str, fields: &[(&str, &str)]) -> io::Result<()> {
        let mut text = format!("Action: {action}\r\n");
        for (key, value) in fields {
            text.push_str(&format!("{key}: {value}\r\n"));
        }
        self.write.write_all((text + "\r\n").as_bytes())
    }

    fn receive(&mut self) -> io::Result<AmiMessage> {
        let mut message = AmiMessage::new();
        loop {
            let mut line = Vec::new();
            if self.read.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some((key, value)) = line.split_once(':') {
                let value = value.strip_prefix(' ').unwrap_or(value);
                message
                    .entry(key.to_owned())
                    .and_modify(|had| {
                        had.push('\n');
                        had.push_str(value);
                    })
                    .or_insert_with(|| value.to_owned());
            } else if line.is_empty() && !message.is_empty() {
                return Ok(message);
            }
        }
    }
}

// ------------------------------------------------------------ slots

/// A hundred ports from `base`, ours as long as the lock is held.
struct Slot {
    base: u16,
    _lock: File,
}

/// The slots nobody holds, each locked when it is asked for. Each process starts at another one.
fn slots() -> io::Result<impl Iterator<Item = Slot>> {
    const SLOTS: u16 = 120;
    const FIRST_PORT: u16 = 20_000;
    let folder = std::env::temp_dir().join("qss-lab-slots");
    std::fs::create_dir_all(&folder)?;
    let start = (std::process::id() % u32::from(SLOTS)) as u16;
    Ok((0..SLOTS).filter_map(move |step| {
        let base = FIRST_PORT + (start + step) % SLOTS * 100;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join(base.to_string())).ok()?;
        match lock.try_lock() {
            Ok(()) => Some(Slot { base, _lock: lock }),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
        }
    }))
}

// ------------------------------------------------------------ scripts

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("asterisk").join(name)
}

/// Runs a script to its end; its error output becomes the error.
fn finish(mut command: Command, what: &str) -> io::Result<()> {
    // Files, not pipes: the mixer that `start` leaves behind must not keep the reader waiting.
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{what}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
}
