//! Debian's baresip as the endpoint somebody else wrote: one call from a configuration folder of its own.
//!
//! It speaks and hears through a virtual ALSA card like any program, or without cards: a file or a tone is its
//! microphone, and a filter writes what it hears.

use crate::cards::{Card, Cards};
use crate::process::free_port;
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who it is, unless it is told otherwise.
pub const USER: &str = "plain";

/// Where its voice comes from and where what it hears goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sound {
    /// A card of the virtual sound card `vsnd`, opened by its ALSA name.
    Card {
        /// The ALSA configuration that names the plug-in.
        alsa_config: PathBuf,
        /// The folder with the card's files (`VSND_DIR`).
        folder: PathBuf,
        /// The card's name, as in `hw:CARD=name,DEV=0`.
        card: String,
    },
    /// A sine of this frequency; 48 kHz only. What it hears is recorded.
    Tone(u32),
    /// A WAV file. What it hears is recorded.
    File(PathBuf),
}

impl Sound {
    /// One of our virtual cards.
    pub fn card(cards: &Cards, card: &Card) -> Sound {
        let folder = cards.path().to_path_buf();
        Sound::Card { alsa_config: folder.join("asound.conf"), folder, card: card.name().into() }
    }
}

/// How well it is set up: a comparison should know both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tuning {
    /// As its package ships it: 200 ms of audio buffer, a jitter buffer of 5 to 10 frames.
    Shipped,
    /// The least latency that held in our trials: 20 ms of audio buffer, a jitter buffer of 1 to 2 frames, threads of
    /// their own for sending.
    Best,
}

/// A call to be. Fields are public: set what the test needs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub sound: Sound,
    pub tuning: Tuning,
    /// The user of From, which is the profile at our Asterisk.
    pub user: String,
    pub password: Option<String>,
    /// `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    /// `srtp`, `srtp-mand` or `dtls_srtp`.
    pub media_encryption: Option<&'static str>,
    pub rtcp_mux: bool,
    /// Answers whoever calls it.
    pub answers: bool,
    /// As its account line has them, for example `opus/48000/2,pcmu`.
    pub codecs: String,
    /// Average bitrate it offers and sends with, bit/s.
    pub bitrate: u32,
    /// Lines of its `config` that override all others, for example `opus_inbandfec yes`.
    pub extra: Vec<String>,
    /// PEM file it trusts for TLS.
    pub ca: Option<PathBuf>,
    /// Codecs and encryption it loads; what its sound needs comes by itself.
    pub modules: Vec<&'static str>,
}

impl Plan {
    pub fn new(sound: Sound) -> Plan {
        Plan {
            sound,
            tuning: Tuning::Best,
            user: USER.into(),
            password: None,
            transport: "udp",
            media_encryption: None,
            rtcp_mux: false,
            answers: false,
            codecs: "opus/48000/2".into(),
            bitrate: 64_000,
            extra: Vec::new(),
            ca: None,
            modules: vec!["opus", "g711", "srtp", "dtls_srtp"],
        }
    }
}

/// A running baresip. Dropping it ends the process and removes its folder, unless the test fails or `LAB_KEEP` is set.
pub struct Baresip {
    child: Child,
    folder: PathBuf,
    sound: Sound,
    /// Where it takes orders, if it was started to wait for them.
    control: Option<TcpStream>,
}

impl Baresip {
    /// Starts it and dials `room` at the mixer's `address`. `name` shows in the name of its folder.
    ///
    /// # Errors
    /// It is not installed, or its folder cannot be written.
    pub fn dial(name: &str, room: &str, address: SocketAddr, plan: &Plan) -> io::Result<Baresip> {
        Baresip::launch(name, address, plan, Some(&format!("/dial sip:{room}@{address}")))
    }

    /// Starts it and waits until it takes orders: see [`Baresip::order`]. It is in no call.
    ///
    /// # Errors
    /// As [`Baresip::dial`]; or its control port does not open.
    pub fn start(name: &str, address: SocketAddr, plan: &Plan) -> io::Result<Baresip> {
        let port = SocketAddr::from((address.ip(), free_port()));
        let mut plan = plan.clone();
        plan.extra.extend([format!("ctrl_tcp_listen {port}"), "module_app ctrl_tcp.so".into()]);
        let mut baresip = Baresip::launch(name, address, &plan, None)?;
        let end = Instant::now() + Duration::from_secs(5);
        let control = loop {
            match TcpStream::connect(port) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        control.set_nodelay(true)?;
        baresip.control = Some(control);
        Ok(baresip)
    }

    /// Gives it an order, for example `dial` with a URI; its answer is not waited for.
    ///
    /// # Errors
    /// It was not made by [`Baresip::start`], or is gone.
    pub fn order(&mut self, command: &str, parameters: &str) -> io::Result<()> {
        let control = self.control.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let text = serde_json::json!({ "command": command, "params": parameters }).to_string();
        control.write_all(format!("{}:{text},", text.len()).as_bytes())
    }

    fn launch(name: &str, address: SocketAddr, plan: &Plan, first: Option<&str>) -> io::Result<Baresip> {
        let folder = std::env::temp_dir().join(format!("qss-lab-{}-baresip-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("heard"))?;
        fs::write(folder.join("config"), config(plan, &folder)?)?;
        fs::write(folder.join("accounts"), account(plan, address))?;
        fs::write(folder.join("contacts"), "")?;
        let log = fs::File::create(folder.join("log"))?;
        // It asks for no priority itself; on a busy machine it would be judged for that.
        let paced = Command::new("chrt").args(["--fifo", "10", "true"]).stderr(Stdio::null()).status();
        let mut command = match paced.is_ok_and(|status| status.success()) {
            true => Command::new("chrt"),
            false => Command::new("env"),
        };
        if command.get_program() == "chrt" {
            command.args(["--fifo", "10"]);
        }
        command.arg("baresip").arg("-f").arg(&folder).args(["-4", "-v", "-t", &LONGEST.as_secs().to_string()]);
        command.args(first.iter().flat_map(|first| ["-e", first]));
        if let Sound::Card { alsa_config, folder, .. } = &plan.sound {
            command.env("ALSA_CONFIG_PATH", alsa_config).env("VSND_DIR", folder);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        Ok(Baresip { child: command.spawn()?, folder, sound: plan.sound.clone(), control: None })
    }

    /// Waits until the call is answered.
    ///
    /// # Errors
    /// `TimedOut`, or `ConnectionRefused` when it ended before; both with the end of its log.
    pub fn wait_established(&mut self, limit: Duration) -> io::Result<()> {
        let end = Instant::now() + limit;
        loop {
            let log = self.log();
            if log.contains("Call established") {
                return Ok(());
            }
            let ended = self.child.try_wait()?.is_some() || log.contains("session closed");
            if ended || Instant::now() > end {
                let kind = if ended { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::TimedOut };
                let tail =
                    log.lines().rev().take(15).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(io::Error::new(kind, format!("baresip is not in a call:\n{tail}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Hangs up (BYE) and waits until the process is gone. What it heard is complete then.
    pub fn hang_up(&mut self) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        signal(&self.child, libc::SIGTERM);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                self.child.kill()?;
                self.child.wait()?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// What it heard: a WAV file, or the raw tape of its card's loudspeaker (16 bit, 48 kHz). Without a card there is
    /// nothing before the first packet.
    pub fn heard(&self) -> Option<PathBuf> {
        match &self.sound {
            Sound::Card { folder, card, .. } => Some(folder.join(format!("{card}.spk.raw"))),
            Sound::Tone(_) | Sound::File(_) => fs::read_dir(self.folder.join("heard"))
                .ok()?
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .find(|path| path.to_string_lossy().ends_with("-dec.wav")),
        }
    }

    /// Its process, to measure CPU and memory by.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read(self.folder.join("log")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.hang_up();
        if std::thread::panicking() || std::env::var_os("LAB_KEEP").is_some() {
            eprintln!("baresip's folder is kept: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// It ends by itself after this, should the test be killed.
const LONGEST: Duration = Duration::from_secs(900);

fn config(plan: &Plan, folder: &Path) -> io::Result<String> {
    let (source, player) = match &plan.sound {
        Sound::Card { card, .. } => (format!("alsa,hw:CARD={card},DEV=0"), Some(format!("alsa,hw:CARD={card},DEV=0"))),
        Sound::Tone(hertz) => (format!("ausine,{hertz}"), None),
        Sound::File(path) => (format!("aufile,{}", path.display()), None),
    };
    let mut lines = vec![
        "poll_method epoll".into(),
        "sip_listen 127.0.0.1:0".into(),
        // Keeps it off the network: no other interface, no resolver.
        "net_interface 127.0.0.1".into(),
        "dns_server 127.0.0.1:53".into(),
        "call_local_timeout 30".into(),
        "call_max_calls 1".into(),
        "audio_level no".into(),
        format!("audio_source {source}"),
        "rtp_ports 12000-19999".into(),
        format!("rtcp_mux {}", if plan.rtcp_mux { "yes" } else { "no" }),
        format!("opus_bitrate {}", plan.bitrate),
        format!("module_path {}", modules()?.display()),
    ];
    match &player {
        Some(player) => {
            lines.extend([format!("audio_player {player}"), "ausrc_channels 1".into(), "auplay_channels 1".into()])
        }
        None => lines.push(format!("snd_path {}", folder.join("heard").display())),
    }
    match plan.tuning {
        Tuning::Shipped => lines.extend(["audio_buffer 200", "jitter_buffer_delay 5-10"].map(String::from)),
        Tuning::Best => {
            lines.extend(["audio_buffer 20", "jitter_buffer_delay 1-2", "audio_txmode thread"].map(String::from))
        }
    }
    if let Some(ca) = &plan.ca {
        lines.push(format!("sip_cafile {}", ca.display()));
    }
    // The first line of a key counts.
    let overridden = |line: &String| {
        let key = |text: &str| text.split_whitespace().next().map(str::to_owned);
        plan.extra.iter().any(|extra| key(extra) == key(line))
    };
    lines.retain(|line| !overridden(line));
    lines.extend(plan.extra.iter().cloned());
    let device = if player.is_some() { ["alsa"].as_slice() } else { ["ausine", "aufile", "sndfile"].as_slice() };
    for module in plan.modules.iter().chain(device) {
        lines.push(format!("module {module}.so"));
    }
    lines.extend(["module_tmp uuid.so", "module_tmp account.so", "module_app menu.so"].map(String::from));
    Ok(lines.join("\n") + "\n")
}

fn account(plan: &Plan, address: SocketAddr) -> String {
    let mut line = format!(
        "<sip:{}@{address};transport={}>;regint=0;ptime=20;audio_codecs={}",
        plan.user, plan.transport, plan.codecs
    );
    if let Some(password) = &plan.password {
        line += &format!(";auth_user={};auth_pass={password}", plan.user);
    }
    if let Some(encryption) = plan.media_encryption {
        line += &format!(";mediaenc={encryption}");
    }
    if plan.answers {
        line += ";answermode=auto";
    }
    line + "\n"
}

/// Where the package keeps its modules; another distribution has another folder.
fn modules() -> io::Result<PathBuf> {
    ["/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules"]
        .map(PathBuf::from)
        .into_iter()
        .find(|folder| folder.join("opus.so").exists())
        .ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "baresip is not installed: tests/lab/setup/packages.sh test")
        })
}

#[allow(unsafe_code)]
fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: kill has no memory effects, and the pid is that of a child not yet waited for.
    unsafe { libc::kill(child.id().cast_signed(), signal) };
}
