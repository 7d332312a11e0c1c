//! `lab-mixer`: the small conference bridge as a process. It prints one JSON line per change of a call.
//!
//! Orders on standard input, one object each: `{"do":"kick","user":U}` (without user: everyone), `{"do":"ring","ms":N}`,
//! `{"do":"refuse","status":S}` (without status: by number again), `{"do":"silent"}`, `{"do":"freeze","ms":N}`,
//! `{"do":"quit"}` (with BYE). The end of standard input changes nothing.
#![allow(clippy::disallowed_types)]

use lab::measure::wire::wire_rate;
use lab::mixer::{CallInfo, Config, Mixer, Reception};
use lexopt::{Arg, ValueExt};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

const USAGE: &str =
    "lab-mixer [--listen IP:PORT] [--ring MS] [--digest USER:PASSWORD] [--fec] [--no-mux] [--priority N]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config { listen: ([127, 0, 0, 1], 5080).into(), ..Config::default() };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("listen") => config.listen = arguments.value()?.parse()?,
            Arg::Long("ring") => config.ring = Duration::from_millis(arguments.value()?.parse()?),
            Arg::Long("digest") => {
                let pair = arguments.value()?.string()?;
                let (user, password) = pair.split_once(':').ok_or(USAGE)?;
                config.digest = Some((user.into(), password.into()));
            }
            Arg::Long("fec") => config.fec = true,
            Arg::Long("no-mux") => config.rtcp_mux = false,
            Arg::Long("priority") => config.realtime_priority = arguments.value()?.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    let mixer = Mixer::start(config)?;
    print(&json!({"what": "ready", "sip": mixer.address().to_string()}));
    let (orders, received) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = orders.send(line);
        }
        std::mem::forget(orders);
    });
    let mut shown: Vec<Value> = Vec::new();
    loop {
        match received.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => match serde_json::from_str::<Value>(&line) {
                Ok(order) if order["do"] == "quit" => {
                    mixer.stop();
                    return Ok(());
                }
                Ok(order) => obey(&mixer, &order),
                Err(error) => print(&json!({"what": "bad-order", "detail": error.to_string()})),
            },
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        for (at, call) in mixer.calls().iter().enumerate() {
            let state = json!(format!("{:?}", call.state));
            if shown.get(at) != Some(&state) {
                shown.resize(at + 1, Value::Null);
                shown[at] = state;
                print(&describe(call));
            }
        }
    }
}

fn describe(call: &CallInfo) -> Value {
    let (up, down) = (wire_rate(&call.received), wire_rate(&call.sent));
    let counters = &call.counters;
    json!({"what": "call", "id": call.id, "user": call.user, "room": call.room, "state": format!("{:?}", call.state),
        "call_id": call.call_id, "received": up.packets, "received_bps": up.mean_bps, "sent": down.packets,
        "sent_bps": down.mean_bps, "lost": counters.lost, "late": counters.late, "starved": counters.starved})
}

fn obey(mixer: &Mixer, order: &Value) {
    let ms = || Duration::from_millis(order["ms"].as_u64().unwrap_or(0));
    match order["do"].as_str().unwrap_or_default() {
        "kick" => mixer.kick(order["user"].as_str()),
        "ring" => mixer.ring(ms()),
        "refuse" => mixer.reception(match order["status"].as_u64() {
            Some(status) => Reception::Refuse(status as u16),
            None => Reception::ByNumber,
        }),
        "silent" => mixer.reception(Reception::Silent),
        "freeze" => mixer.freeze(ms()),
        other => print(&json!({"what": "bad-order", "detail": format!("cannot do {other:?}")})),
    }
}

fn print(line: &Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
