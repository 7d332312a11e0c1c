//! The matrix against a real Asterisk, a row for each transport, profile, number and fault of `docs/lab.md`, run one after the
//! other against one mixer. `cargo test --test interop -- NAME...` runs some of them.
//!
//! A row drives the program's own SIP sockets (`transports`), the SIP core alone where the numbers of the mixer are of
//! interest (`calls`), or the whole program with a virtual card (`voice`): then a tone has to be heard in both directions.
#![allow(clippy::disallowed_types)]

mod caller;
mod calls;
#[path = "../caller/mod.rs"]
mod lone_caller;
#[path = "../stage/mod.rs"]
mod stage;
mod transports;
mod voice;

use lab::asterisk::Asterisk;
use lab::cards::Cards;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// What every row finds.
pub(crate) struct World {
    pub(crate) mixer: Asterisk,
    pub(crate) cards: Cards,
    rooms: AtomicU32,
}

/// Panics if it fails; the text says what was seen.
type Row = (&'static str, fn(&World) -> String);

/// In the order of their running: whoever ends the mixer comes last.
const ROWS: &[Row] = &[
    ("udp", |world| then(transports::udp, world, voice::udp)),
    ("tcp", |world| then(transports::tcp, world, voice::tcp)),
    ("tls", |world| then(transports::tls, world, voice::tls)),
    ("ws", |world| then(transports::ws, world, voice::ws)),
    ("wss", |world| then(transports::wss, world, voice::wss)),
    ("keepalive", |world| then(transports::keepalive, world, voice::keepalive)),
    ("nat", |world| then(transports::nat, world, voice::nat)),
    ("srv", |world| then(transports::srv, world, |_| "the second server, the first is gone".into())),
    ("tcp-in", |world| then(transports::tcp_in, world, |_| "called by TCP".into())),
    ("frozen", |world| then(transports::frozen, world, |_| "the same call by another connection".into())),
    ("register", |world| then(transports::register, world, |_| "called by the way it keeps open".into())),
    ("moves", |world| then(transports::moves, world, |_| "the same call".into())),
    ("digest", calls::digest),
    ("sdes", voice::sdes),
    ("sdes-tls", voice::sdes_over_tls),
    ("mux", voice::mux),
    ("timers", calls::timers),
    ("timersalways", calls::timers_always),
    ("rtptimeout", calls::rtp_timeout),
    ("onecodec", voice::one_codec),
    ("ulawfirst", voice::ulaw_first),
    ("ptime", voice::ptime),
    ("486", calls::busy),
    ("403", calls::forbidden),
    ("503", calls::congested),
    ("480", calls::unavailable),
    ("410", calls::gone),
    ("488", calls::bad_media),
    ("500", calls::error),
    ("484", calls::too_short),
    ("404", calls::unknown),
    ("early", calls::early),
    ("ring", calls::ring),
    ("full", calls::full_room),
    ("locked", calls::locked_room),
    ("kick", calls::kick),
    ("end", calls::end),
    ("dtmf", voice::dtmf),
    ("dtmf-info", voice::dtmf_by_info),
    ("mute", voice::mute),
    ("call-out", voice::call_out),
    ("burst40", voice::burst_40),
    ("burst80", voice::burst_80),
    ("freeze", voice::freeze_and_thaw),
    ("kill", voice::kill_and_restart),
];

/// What has to be run before the matrix is complete; a row of these that is missing above has failed.
const REQUIRED: &str = "udp tcp tls ws wss digest sdes mux timers timersalways nat rtptimeout keepalive onecodec ulawfirst \
    ptime 486 403 503 480 410 488 500 484 404 early ring full locked kick end mute freeze kill call-out burst40 burst80";

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let asked: Vec<&str> = if wanted.is_empty() {
        REQUIRED.split_whitespace().collect()
    } else {
        wanted.iter().map(String::as_str).collect()
    };
    let not_run: Vec<&str> = asked.into_iter().filter(|name| ROWS.iter().all(|(row, _)| row != name)).collect();
    let rows = ROWS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name));
    let start = || Asterisk::start("interop").expect("a mixer");
    let cards = Cards::new("interop").expect("virtual cards");
    let mut world = World { mixer: start(), cards, rooms: AtomicU32::new(0) };
    let (mut passed, mut failed) = (0, 0);
    for name in not_run {
        println!("{name:<14}NOT RUN: there is no such row");
        failed += 1;
    }
    for (name, run) in rows {
        let began = Instant::now();
        let attempt = |world: &mut World, verdict: &str| {
            let seen = catch_unwind(AssertUnwindSafe(|| run(world))).ok();
            let seconds = began.elapsed().as_secs_f64();
            match &seen {
                Some(seen) => println!("{name:<14}ok      {seconds:5.1} s  {seen}"),
                None => {
                    println!("{name:<14}{verdict}  {seconds:5.1} s");
                    // What a failed row left behind must not fail the next one.
                    world.mixer = start();
                }
            }
            seen.is_some()
        };
        // A machine that stalls may spoil a row; what is wrong with the endpoint or the mixer is wrong twice.
        match attempt(&mut world, "again ") || attempt(&mut world, "FAILED") {
            true => passed += 1,
            false => failed += 1,
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The signalling first, then what is heard.
fn then(signalling: fn(&Asterisk), world: &World, voice: fn(&World) -> String) -> String {
    signalling(&world.mixer);
    voice(world)
}

impl World {
    /// The number of a room that nobody else uses.
    pub(crate) fn room(&self) -> String {
        format!("8882677{:04}", self.rooms.fetch_add(1, Ordering::Relaxed))
    }
}
