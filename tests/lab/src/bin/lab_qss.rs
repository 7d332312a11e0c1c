//! `lab-qss`: the test signalling server as a process. It prints one JSON line per thing it sees, and obeys JSON lines.
//!
//! Orders on standard input, one object each:
//! `{"do":"invite","from":F,"to":U,"room":R}` (prints the id), `{"do":"cancel","id":I,"error":487}`,
//! `{"do":"room","room":{"id":..,"sipUri":..,"bitrate":..,"acl":[..]}}`, `{"do":"destroy","room":R}`,
//! `{"do":"expel","room":R,"user":U}`, `{"do":"hold","room":R,"user":U,"held":true}`,
//! `{"do":"speaker","room":R,"user":U}` (without user: nobody speaks), `{"do":"snapshot","user":U}`, `{"do":"ask","from":F,"to":U}` (an
//! inviteRequest, prints the id), `{"do":"transfer","from":F,"user":U,"to":T}` (prints id and room),
//! `{"do":"attended","from":F,"user":U,"to":T,"room":R}` (prints the id), `{"do":"cancel-attended","id":I,"error":487}`,
//! `{"do":"revoke","user":U}`, `{"do":"reinstate","user":U}`, `{"do":"event","user":U,"name":N,"payload":{..}}`, `{"do":"text","user":U,"text":T}`,
//! `{"do":"refuse","request":N,"error":E,"times":K}`, `{"do":"door","status":S,"retry_after":A}` (without status: open),
//! `{"do":"desk","mode":"answer|slow|mute|deaf","ms":N}`, `{"do":"drop"}`, `{"do":"down","forget":true}`, `{"do":"up"}`,
//! `{"do":"quit"}`. The end of standard input changes nothing.
#![allow(clippy::disallowed_types)]

use lab::qss::{Authority, CertificateKind, Config, Desk, Door, Memory, QssServer, Refusal, RoomSpec, Shape};
use lexopt::{Arg, ValueExt};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

const USAGE: &str = "lab-qss [--listen IP:PORT] [--room JSON].. [--token T] [--mixer HOST:PORT] [--bitrate KBPS]
        [--flat] [--server-array] [--leave-slip] [--other-spellings] [--tls CA_FILE_TO_WRITE] [--certificate good|issuer|forged|name|expired|early]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config { listen: ([127, 0, 0, 1], 8090).into(), ..Config::default() };
    let (mut ca_file, mut kind) = (None, CertificateKind::Good);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("listen") => config.listen = arguments.value()?.parse()?,
            Arg::Long("room") => {
                let room = serde_json::from_str(&arguments.value()?.string()?)?;
                config.rooms.push(RoomSpec::from_json(&room).ok_or("a room needs id and sipUri")?);
            }
            Arg::Long("token") => config.token = Some(arguments.value()?.string()?),
            Arg::Long("mixer") => config.mixer = arguments.value()?.string()?,
            Arg::Long("bitrate") => config.bitrate = arguments.value()?.parse()?,
            Arg::Long("flat") => config.shape.nested = false,
            Arg::Long("server-array") => config.shape.server_array = true,
            Arg::Long("leave-slip") => config.shape.leave_slip = true,
            Arg::Long("other-spellings") => config.shape = Shape::other(),
            Arg::Long("tls") => ca_file = Some(arguments.value()?),
            Arg::Long("certificate") => {
                kind = match arguments.value()?.string()?.as_str() {
                    "good" => CertificateKind::Good,
                    "issuer" => CertificateKind::WrongIssuer,
                    "forged" => CertificateKind::ForgedIssuer,
                    "name" => CertificateKind::WrongName,
                    "expired" => CertificateKind::Expired,
                    "early" => CertificateKind::NotYetValid,
                    other => return Err(format!("no certificate is called {other}\n{USAGE}").into()),
                }
            }
            _ => return Err(USAGE.into()),
        }
    }
    if let Some(file) = ca_file {
        let authority = Authority::new();
        std::fs::write(&file, authority.pem())?;
        config.tls = Some(authority.server(kind));
    }
    let server = Arc::new(QssServer::start(config)?);
    print(&json!({"what": "ready", "url": server.url()}));
    let printer = server.clone();
    std::thread::spawn(move || print_log(&printer));
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str::<Value>(&line?) {
            Ok(order) if order["do"] == "quit" => return Ok(()),
            Ok(order) => obey(&server, &order),
            Err(error) => print(&json!({"what": "bad-order", "detail": error.to_string()})),
        }
    }
    loop {
        std::thread::park();
    }
}

fn print_log(server: &QssServer) {
    let mut printed = 0;
    loop {
        let more = |log: lab::qss::Log<'_>| (log.len() > printed).then(|| log.after(printed).entries.to_vec());
        if let Ok(entries) = server.wait_for("entry", Duration::from_secs(3600), more) {
            printed += entries.len();
            entries.iter().for_each(|entry| print(&entry.to_json()));
        }
    }
}

fn obey(server: &QssServer, order: &Value) {
    let text = |key: &str| order[key].as_str().unwrap_or_default();
    let number = |key: &str, default: u64| order[key].as_u64().unwrap_or(default);
    match text("do") {
        "invite" => {
            let id = server.invite(text("from"), text("to"), text("room"));
            print(&json!({"what": "invited", "id": id}));
        }
        "cancel" => server.cancel_invite(text("id"), number("error", 487) as u16),
        "room" => match RoomSpec::from_json(&order["room"]) {
            Some(room) => server.add_room(room),
            None => print(&json!({"what": "bad-order", "detail": "a room needs id and sipUri"})),
        },
        "destroy" => server.destroy_room(text("room")),
        "expel" => server.expel(text("room"), text("user")),
        "hold" => server.hold(text("room"), text("user"), order["held"] != false),
        "speaker" => server.active_speaker(text("room"), order["user"].as_str()),
        "snapshot" => server.ask_for_snapshot(text("user")),
        "ask" => {
            let id = server.ask_for_invite(text("from"), text("to"));
            print(&json!({"what": "asked", "id": id}));
        }
        "transfer" => {
            let (id, room) = server.transfer(text("from"), text("user"), text("to"));
            print(&json!({"what": "transferred", "id": id, "room": room}));
        }
        "attended" => {
            let id = server.attended_transfer(text("from"), text("user"), text("to"), text("room"));
            print(&json!({"what": "transferred", "id": id}));
        }
        "cancel-attended" => server.cancel_attended(text("id"), number("error", 487) as u16),
        "revoke" => server.revoke(text("user")),
        "reinstate" => server.reinstate(text("user")),
        "event" => drop(server.send_event(text("user"), text("name"), order["payload"].clone())),
        "text" => drop(server.send_text(text("user"), text("text"))),
        "refuse" => server.refuse_requests(Refusal {
            request: text("request").into(),
            error: number("error", 503) as u16,
            message: "refused by the lab".into(),
            times: number("times", u64::from(u32::MAX)) as u32,
        }),
        "door" => server.door(match order["status"].as_u64() {
            Some(status) => Door::Refuse {
                status: status as u16,
                retry_after: order["retry_after"].as_u64().map(|seconds| seconds as u32),
            },
            None => Door::Open,
        }),
        "desk" => server.desk(match text("mode") {
            "slow" => Desk::Slow(Duration::from_millis(number("ms", 1000))),
            "mute" => Desk::Mute,
            "deaf" => Desk::Deaf,
            _ => Desk::Answer,
        }),
        "drop" => server.drop_connections(),
        "down" => server.down(if order["forget"] == true { Memory::Nothing } else { Memory::Rooms }),
        "up" => server.up(),
        other => print(&json!({"what": "bad-order", "detail": format!("cannot do {other:?}")})),
    }
}

fn print(line: &Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
