//! `lab-demo`: the main job from end to end, on one machine, in less than a minute.
//!
//! ```text
//!   card a ─ endpoint A ─┐
//!                        ├─ wire (counts) ─ mixer: ours, or a real Asterisk
//!   card b ─ endpoint B ─┘
//! ```
//! First a talk ([`talk`]): A joins a room by itself, B is invited; A says something, B answers, each loudspeaker is
//! recorded. The ladder is shown while it is climbed, then a table; what B heard is written to a WAV file. Then a tour
//! ([`tour`]) of what else there is: a call out, a hold, a mute, a transfer, an invite and an expulsion. The exit code is
//! 0 only if both heard the other and each scene was seen to happen.
#![allow(clippy::disallowed_types)]

mod call_out;
mod expulsion;
mod hold;
mod invite;
mod mute;
mod show;
mod stage;
mod talk;
mod tour;
mod transfer;

use lab::button::Word;
use lab::process::endpoint_binary;
use lab::qss::{Authority, CertificateKind, Config, QssServer, RoomSpec};
use lexopt::{Arg, ValueExt};
use show::Show;
use stage::Stage;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str =
    "lab-demo [--endpoint PROGRAM] [--mixer lab|asterisk|IP:PORT] [--cap KBPS] [--out FILE.wav] [--32-bit]
  --32-bit  PROGRAM is for a processor of 32 bit, and runs under an emulator";
const ROOM: &str = "2f11c52047f244f78e1deac1839fbd45d008d20f6eabcf2e17ede0b5d3d520e9";
const SIP_URI: &str = "sip:88826777033@audiomixer-sfu1:5080";
const TOKEN: &str = "demo-token";
/// Everybody must have climbed the whole ladder by then.
const PATIENCE: Duration = Duration::from_secs(12);
/// Louder than this counts as sound.
const AUDIBLE_DBFS: f64 = -45.0;

struct Options {
    endpoint: PathBuf,
    mixer: String,
    cap_kbps: u32,
    out: PathBuf,
    /// Of the endpoint.
    word: Word,
}

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<(), Box<dyn Error>> {
    let options = read_options()?;
    let stage = Stage::build(&options)?;
    let mut show = Show::new();
    let authority = Authority::new();
    std::fs::write(stage.ca_file(), authority.pem())?;
    let qss = QssServer::start(Config {
        tls: Some(authority.server(CertificateKind::Good)),
        rooms: vec![RoomSpec::open(ROOM, SIP_URI, options.cap_kbps)],
        token: Some(TOKEN.into()),
        bitrate: options.cap_kbps,
        ..Config::default()
    })?;
    println!("   QSS {}   mixer {} ({})   cap {} kbit/s", qss.url(), stage.sip, options.mixer, options.cap_kbps);
    talk::run(&options, &stage, &qss, &mut show)?;
    tour::run(&options, &stage, &qss)?;
    println!("   seen: a talk, and {} scenes", tour::SCENES.len());
    Ok(())
}

fn read_options() -> Result<Options, Box<dyn Error>> {
    let out = PathBuf::from("heard.wav");
    let mut options =
        Options { endpoint: endpoint_binary(), mixer: "lab".into(), cap_kbps: 64, out, word: Word::Bits64 };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("endpoint") => options.endpoint = arguments.value()?.into(),
            Arg::Long("mixer") => options.mixer = arguments.value()?.string()?,
            Arg::Long("cap") => options.cap_kbps = arguments.value()?.parse()?,
            Arg::Long("out") => options.out = arguments.value()?.into(),
            Arg::Long("32-bit") => options.word = Word::Bits32,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
