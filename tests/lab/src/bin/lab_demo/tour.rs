//! The tour: what two endpoints can do besides talking, scene by scene. Each scene is seen to happen, by the QSS, by the
//! endpoints' own status and by what comes out of a loudspeaker, or the demo fails.

use super::show::{Show, reached, stuck};
use super::stage::Stage;
use super::{AUDIBLE_DBFS, Options, PATIENCE, ROOM, call_out, expulsion, hold, invite, mute, transfer};
use lab::button::Button;
use lab::cards::Card;
use lab::clock::mono_us;
use lab::measure::{level, signal};
use lab::process::Endpoint;
use lab::qss::QssServer;
use serde_json::Value;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much of a loudspeaker is listened to, in samples, and how late it may be.
const LISTEN: usize = 19_200;
const SETTLED: usize = 4_800;

type Scene = fn(&mut Tour<'_>) -> Result<(), Box<dyn Error>>;

/// In this order: each begins where the one before it ended.
pub const SCENES: &[(&str, Scene)] = &[
    ("a call out by button", call_out::scene),
    ("a hold", hold::scene),
    ("a mute", mute::scene),
    ("a transfer", transfer::scene),
    ("an invite", invite::scene),
    ("an expulsion", expulsion::scene),
];

/// Two endpoints without a room of their own, A humming all the time.
pub struct Tour<'a> {
    pub show: Show,
    pub qss: &'a QssServer,
    pub stage: &'a Stage,
    pub a: Endpoint,
    pub b: Endpoint,
    sockets: [PathBuf; 2],
    /// A's, beside its door; it calls B.
    button: Button,
}

pub fn run(options: &Options, stage: &Stage, qss: &QssServer) -> Result<(), Box<dyn Error>> {
    println!();
    let sockets = ["a.sock", "b.sock"].map(|name| stage.cards.path().join(name));
    let button = Button::new(stage.cards.path().join("button"), options.word)?;
    let start = |name: &str, card: &Card, socket: &Path| {
        let mut file = stage.config(qss, name, card);
        file.set("status", "socket", &socket.to_string_lossy()).call("desk", &["B"]);
        if name == "A" {
            file.button(&button, "call desk");
        }
        Endpoint::start(&options.endpoint, name, &file, &stage.cards)
    };
    let (a, b) = (start("A", &stage.card_a, &sockets[0])?, start("B", &stage.card_b, &sockets[1])?);
    let mut tour = Tour { show: Show::new(), qss, stage, a, b, sockets, button };
    tour.until("both have a session", |tour| reached(&tour.a, "session") && reached(&tour.b, "session"))?;
    stage.card_a.say_now(&signal::tone(440.0, -20.0, 60.0))?;
    for (name, scene) in SCENES {
        scene(&mut tour).map_err(|error| format!("{name}: {error}"))?;
        tour.note("", &format!("seen: {name}"));
    }
    tour.goodbye()
}

impl Tour<'_> {
    pub fn note(&self, who: &str, what: &str) {
        self.show.note(mono_us(), who, what);
    }

    /// Presses A's button.
    pub fn press_button(&self) -> Result<(), Box<dyn Error>> {
        self.note("A", "its button is pressed");
        self.button.press().map_err(|error| format!("nobody reads the button: {error}").into())
    }

    /// Says a line on the local socket of A or B.
    pub fn order(&self, who: &str, command: &str) -> Result<Value, Box<dyn Error>> {
        self.note(who, &format!("local command: {command}"));
        say(&self.sockets[usize::from(who == "B")], command)
    }

    /// Shows what happens until `done`.
    pub fn until(&mut self, what: &str, done: impl Fn(&Tour<'_>) -> bool) -> Result<(), Box<dyn Error>> {
        let deadline = mono_us() + PATIENCE.as_micros() as u64;
        loop {
            self.show.lines(&[&self.a, &self.b]);
            if done(self) {
                return Ok(());
            }
            if mono_us() > deadline {
                return Err(format!("not so: {what}; {}", stuck(&[("A", &self.a), ("B", &self.b)])).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// B's loudspeaker sounds, or is silent, before patience ends.
    pub fn until_b_hears(&mut self, sound: bool) -> Result<(), Box<dyn Error>> {
        let deadline = mono_us() + PATIENCE.as_micros() as u64;
        loop {
            self.show.wait(&[&self.a, &self.b], Duration::from_millis(200));
            if (loudness(&self.stage.card_b) > AUDIBLE_DBFS) == sound {
                return Ok(());
            }
            if mono_us() > deadline {
                return Err(if sound { "B hears nothing" } else { "B still hears A" }.into());
            }
        }
    }

    pub fn wait(&mut self, how_long: Duration) {
        self.show.wait(&[&self.a, &self.b], how_long);
    }

    /// Both stop; no room is left behind.
    fn goodbye(mut self) -> Result<(), Box<dyn Error>> {
        self.a.terminate();
        self.b.terminate();
        for endpoint in [&mut self.a, &mut self.b] {
            let exit = endpoint.wait_exit(Duration::from_secs(4));
            if !exit.is_some_and(|exit| exit.success()) {
                return Err(format!("an endpoint did not stop by itself: {exit:?}").into());
            }
        }
        self.show.lines(&[&self.a, &self.b]);
        match self.qss.rooms().as_slice() {
            [only] if only == ROOM => Ok(()),
            rooms => Err(format!("rooms are left behind: {rooms:?}").into()),
        }
    }
}

/// The room an endpoint last said it is in.
pub fn room_of(endpoint: &Endpoint) -> Option<String> {
    endpoint.lines().last().and_then(|line| line.event["room"]["id"].as_str().map(String::from))
}

fn say(socket: &Path, command: &str) -> Result<Value, Box<dyn Error>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    writeln!(stream, "{command}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let reply: Value = serde_json::from_str(&line)?;
    if reply["ok"] == true { Ok(reply) } else { Err(format!("{command}: {reply}").into()) }
}

/// The level of what a loudspeaker played just now, in dBFS; a card that nobody plays to is silent.
fn loudness(card: &Card) -> f64 {
    let end = card.frame_now().saturating_sub(SETTLED);
    let mut played = card.loudspeaker();
    played.resize(played.len().max(end), 0);
    level::rms_dbfs(&played[end.saturating_sub(LISTEN)..end])
}
