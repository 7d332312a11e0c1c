//! What a program must be able to do to be measured, for our endpoint and for baresip.

use crate::asterisk::Asterisk;
use crate::baresip::{Baresip, Plan, Sound, Tuning};
use crate::cards::{Card, Cards};
use crate::clock::mono_us;
use crate::process::{ConfigFile, Endpoint, signal};
use crate::qss::{QssServer, RoomSpec};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that is not measured, the same for all kinds.
pub struct Stage {
    pub asterisk: Asterisk,
    qss: QssServer,
    endpoint: PathBuf,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Ours,
    /// Debian's baresip at the best settings we know.
    Peer,
    /// The same with the settings its package ships.
    PeerAsShipped,
}

/// A program that runs, knows its mixer, and is in no call yet.
pub enum Station {
    Ours { endpoint: Endpoint, user: String },
    Peer { baresip: Baresip, mixer: SocketAddr },
}

/// A room: what the QSS calls it, and its number at the mixer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Room {
    pub id: String,
    pub number: String,
}

impl Room {
    /// Where visits are made.
    pub fn main() -> Room {
        Room { id: "bench-room".into(), number: NUMBER.into() }
    }

    /// The same room, entered muted.
    pub fn hall() -> Room {
        Room { id: "bench-hall".into(), number: format!("muted{NUMBER}") }
    }

    /// No room: another station, which answers behind what its caller takes for the mixer.
    pub fn other() -> Room {
        Room { id: "bench-other".into(), number: crate::baresip::USER.into() }
    }

    /// Rooms for two, up to [`PAIRS`].
    pub fn pair(number: usize) -> Room {
        Room { id: format!("bench-pair-{number}"), number: format!("888267771{number:02}") }
    }
}

/// The room's number at the mixer.
pub const NUMBER: &str = "88826777033";
/// Rooms for two.
pub const PAIRS: usize = 16;
/// bit/s of Opus each way; all kinds encode mono, 20 ms, without FEC and DTX.
pub const BITRATE: u32 = 32_000;
pub const COMPLEXITY: u32 = 5;
const MIXER_NAME: &str = "audiomixer-sfu1:5080";
/// Of everything on the wire, kbit/s: more than what [`BITRATE`] needs, so that it shapes nothing.
const CAP_KBPS: u32 = 64;
const PATIENCE: Duration = Duration::from_secs(10);

impl Stage {
    pub fn build(endpoint: PathBuf) -> io::Result<Stage> {
        let all = [Room::main(), Room::hall(), Room::other()].into_iter().chain((0..PAIRS).map(Room::pair));
        let rooms = all.map(|Room { id, number }| RoomSpec::open(&id, &format!("sip:{number}@{MIXER_NAME}"), CAP_KBPS));
        let rooms = rooms.collect();
        let qss = QssServer::start(crate::qss::Config { rooms, ..crate::qss::Config::default() })?;
        Ok(Stage { asterisk: Asterisk::start("bench")?, qss, endpoint })
    }

    /// Our program.
    pub fn endpoint(&self) -> &Path {
        &self.endpoint
    }
}

impl Kind {
    /// In file names and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Ours => "ours",
            Kind::Peer => "baresip",
            Kind::PeerAsShipped => "baresip-as-shipped",
        }
    }

    /// Starts the program and waits until it could be called upon: ours has its session, baresip its control port.
    pub fn start(self, stage: &Stage, setup: &Setup<'_>) -> Result<Station, Box<dyn Error>> {
        match self {
            Kind::Ours => ours(stage, setup),
            Kind::Peer => peer(Tuning::Best, setup),
            Kind::PeerAsShipped => peer(Tuning::Shipped, setup),
        }
    }
}

/// How a station is set up.
#[derive(Clone)]
pub struct Setup<'a> {
    pub name: String,
    pub cards: &'a Cards,
    pub card: &'a Card,
    /// The SIP address it knows: of the mixer itself, or of a relay to it.
    pub mixer: SocketAddr,
    /// Answers calls to this address.
    pub answers: Option<SocketAddr>,
    /// Forward error correction, for those who have to be told.
    pub fec: bool,
    /// Variables in ours' environment.
    pub environment: Vec<(&'static str, PathBuf)>,
}

impl<'a> Setup<'a> {
    pub fn new(name: &str, cards: &'a Cards, card: &'a Card, mixer: SocketAddr) -> Setup<'a> {
        Setup { name: name.into(), cards, card, mixer, answers: None, fec: false, environment: Vec::new() }
    }
}

fn ours(stage: &Stage, setup: &Setup<'_>) -> Result<Station, Box<dyn Error>> {
    let name = &setup.name;
    let mut file = ConfigFile::lab(name, setup.card).session(&stage.qss.url(), name, "token").accept_all();
    file = file.host_map(MIXER_NAME, setup.mixer);
    file.set_raw("codec", "bitrate", &BITRATE.to_string());
    file.set_raw("codec", "complexity", &COMPLEXITY.to_string());
    if let Some(address) = setup.answers {
        file.set("sip", "bind", &address.to_string()).set("sip", "incoming", "accept");
        file.set_raw("sip", "callers", "[\"*\"]");
    }
    let mut endpoint = Endpoint::start_with(&stage.endpoint, name, &file, setup.cards, &setup.environment)?;
    endpoint.wait_rung("session", 0, PATIENCE)?;
    Ok(Station::Ours { endpoint, user: name.clone() })
}

/// Opus as ours, no module it does not need.
fn peer(tuning: Tuning, setup: &Setup<'_>) -> Result<Station, Box<dyn Error>> {
    let mut plan = Plan::new(Sound::card(setup.cards, setup.card));
    plan.tuning = tuning;
    plan.bitrate = BITRATE;
    plan.codecs = "opus/48000/1".into();
    plan.modules = vec!["opus"];
    plan.answers = setup.answers.is_some();
    if tuning == Tuning::Best {
        // In our trials each of these took another 20 ms off `Tuning::Best`; nothing less starts or is faster.
        plan.extra = vec!["jitter_buffer_delay 0-1".into(), "audio_txmode poll".into()];
    }
    plan.extra.extend([
        format!("opus_complexity {COMPLEXITY}"),
        "opus_stereo no".into(),
        "opus_sprop_stereo no".into(),
        "opus_application voip".into(),
    ]);
    if setup.fec {
        plan.extra.extend(["opus_inbandfec yes".into(), "opus_packet_loss 10".into()]);
    }
    plan.extra.extend(setup.answers.map(|address| format!("sip_listen {address}")));
    Ok(Station::Peer { baresip: Baresip::start(&setup.name, setup.mixer, &plan)?, mixer: setup.mixer })
}

impl Station {
    /// Sends the order to call the room: to ours an invite through the QSS, to baresip `dial` through its control
    /// port. Both are a few bytes over TCP to a program that waits for them. Returns the instant before.
    pub fn call(&mut self, stage: &Stage, room: &Room) -> io::Result<u64> {
        match self {
            Station::Ours { user, .. } => {
                let at_us = mono_us();
                stage.qss.invite("bench", user, &room.id);
                Ok(at_us)
            }
            Station::Peer { baresip, mixer } => {
                let at_us = mono_us();
                baresip.order("dial", &format!("sip:{}@{mixer}", room.number))?;
                Ok(at_us)
            }
        }
    }

    /// SIGSTOP, and SIGCONT.
    pub fn freeze(&self, frozen: bool) {
        signal(self.id(), if frozen { libc::SIGSTOP } else { libc::SIGCONT });
    }

    pub fn id(&self) -> u32 {
        match self {
            Station::Ours { endpoint, .. } => endpoint.id(),
            Station::Peer { baresip, .. } => baresip.pid(),
        }
    }

    /// Leaves the room and ends. What it said of the call itself, if it says such things: `media` of its last event.
    pub fn end(self) -> io::Result<Option<serde_json::Value>> {
        match self {
            Station::Ours { mut endpoint, .. } => {
                endpoint.terminate();
                endpoint.wait_exit(Duration::from_secs(4));
                let lines = endpoint.lines();
                Ok(lines.iter().rev().map(|line| line.event["media"].clone()).find(|media| media.is_object()))
            }
            Station::Peer { mut baresip, .. } => baresip.hang_up().map(|()| None),
        }
    }

    /// Its own words, for a message about what went wrong.
    pub fn log(&self) -> String {
        match self {
            Station::Ours { endpoint, .. } => {
                let lines = endpoint.lines();
                let said: Vec<String> = lines.iter().map(|line| line.event.to_string()).collect();
                format!("{}\n{}", said.join("\n"), endpoint.errors())
            }
            Station::Peer { baresip, .. } => baresip.log(),
        }
    }
}
