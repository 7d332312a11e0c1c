//! What an end-to-end test needs: a QSS, a mixer behind a relay that sees every packet, virtual cards, endpoints.
//!
//! Real time runs here, so: tests of one program take turns, they wait for events and never for a while, and a
//! recording is only judged when the machine kept pace (a virtual card that was served late says so).
#![allow(dead_code, unreachable_pub)]

use lab::cards::{Card, Cards};
use lab::measure::{level, tone};
use lab::mixer::{self, Mixer};
use lab::process::{ConfigFile, Endpoint};
use lab::qss::{Config, QssServer, RoomSpec};
use lab::wire::Relay;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub const TOKEN: &str = "lab-token";
/// Host of every `sipUri`: cluster-internal, only the host map knows better.
pub const MIXER_HOST: &str = "audiomixer-sfu1:5080";
/// Longer than anything here takes on a slow machine; only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Runs of a measurement before the machine is held to be too slow to judge.
const TRIES: usize = 12;

pub struct Stage {
    pub cards: Cards,
    pub relay: Relay,
    pub mixer: Mixer,
    pub qss: QssServer,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    pub fn new(name: &str, rooms: &[(&str, &str, u32)]) -> Stage {
        Stage::with(name, rooms, mixer::Config::default(), Config::default())
    }

    /// `rooms`: id, number, cap in kbit/s.
    pub fn with(name: &str, rooms: &[(&str, &str, u32)], mixer: mixer::Config, qss: Config) -> Stage {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mixer = Mixer::start(mixer).expect("a mixer");
        let relay = Relay::start(mixer.address(), 1).expect("a relay");
        let rooms = rooms.iter().map(|(id, number, cap)| RoomSpec::open(id, &uri(number), *cap)).collect();
        let qss = QssServer::start(Config { rooms, token: Some(TOKEN.into()), ..qss }).expect("a QSS");
        Stage { cards: Cards::new(name).expect("virtual cards"), relay, mixer, qss, _turn: turn }
    }

    pub fn card(&self, name: &str) -> Card {
        self.cards.card(name, "").expect("a virtual card")
    }

    /// A device with a session here whose calls go through the relay.
    pub fn config(&self, device: &str, card: &Card) -> ConfigFile {
        let mut config = ConfigFile::lab(device, card).session(&self.qss.url(), device, TOKEN);
        config.set_raw("codec", "bitrate", "64000");
        config.host_map(MIXER_HOST, self.relay.address())
    }

    pub fn start(&self, device: &str, config: &ConfigFile) -> Endpoint {
        start(device, config, &self.cards)
    }
}

pub fn uri(number: &str) -> String {
    format!("sip:{number}@{MIXER_HOST}")
}

pub fn start(device: &str, config: &ConfigFile, cards: &Cards) -> Endpoint {
    Endpoint::start(Path::new(env!("CARGO_BIN_EXE_qss-endpoint")), device, config, cards).expect("the endpoint starts")
}

/// How well tones were heard over some seconds.
#[derive(Debug)]
pub struct Heard {
    pub snr_db: Vec<f64>,
    pub level_dbfs: Vec<f64>,
    /// Silent 20 ms blocks.
    pub gaps: usize,
}

impl Heard {
    pub fn of(recording: &[i16], frequencies: &[f64]) -> Heard {
        let tones = tone::tones(recording, frequencies);
        Heard {
            snr_db: tones.iter().map(|tone| tone.snr_db).collect(),
            level_dbfs: tones.iter().map(|tone| tone.level_dbfs).collect(),
            gaps: level::silent_blocks(recording, 960, -50.0).len(),
        }
    }
}

/// Waits until a card has played `seconds` more from now on, and returns that piece of its recording.
pub fn listen(card: &Card, seconds: f64) -> Vec<i16> {
    let (from, length) = (card.frame_now(), (seconds * 48_000.0) as usize);
    let end = std::time::Instant::now() + PATIENCE + Duration::from_secs_f64(seconds);
    loop {
        let recording = card.loudspeaker();
        if let Some(piece) = recording.get(from..from + length) {
            return piece.to_vec();
        }
        assert!(std::time::Instant::now() < end, "the loudspeaker stands still at {}", recording.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Repeats a measurement until it is good, or has been bad three times while the machine kept pace; returns the last one.
///
/// A machine that runs late makes real jitter, and how a jitter buffer follows it can be heard in a tone. That is told
/// by the virtual cards (served late) and by a thread that only sleeps (woken late). What is wrong with the
/// endpoint itself is wrong in an undisturbed run too.
pub fn undisturbed<T>(cards: &[&Card], mut measure: impl FnMut() -> T, good: impl Fn(&T) -> bool) -> T {
    let late = |cards: &[&Card]| cards.iter().map(|card| card.logged("xrun").len()).sum::<usize>();
    let (mut tries, mut without_excuse) = (0, 0);
    loop {
        let (before, canary) = (late(cards), Canary::start());
        let result = measure();
        tries += 1;
        let disturbed = late(cards) != before || canary.worst() > LATE;
        without_excuse += usize::from(!disturbed);
        if good(&result) || without_excuse == 3 || tries == TRIES {
            return result;
        }
    }
}

/// A wake-up later than this delays packets by enough to make a jitter buffer act.
const LATE: Duration = Duration::from_millis(3);

/// A thread that only looks how late it is woken.
struct Canary {
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Duration>,
}

impl Canary {
    fn start() -> Canary {
        let (stop, stopped) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut worst = Duration::ZERO;
            loop {
                let due = lab::clock::mono_us() + 2_000;
                match stopped.recv_timeout(Duration::from_millis(2)) {
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                        worst = worst.max(Duration::from_micros(lab::clock::mono_us().saturating_sub(due)));
                    }
                    Ok(()) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return worst,
                }
            }
        });
        Canary { stop, thread }
    }

    fn worst(self) -> Duration {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}
