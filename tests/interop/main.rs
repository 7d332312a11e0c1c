//! The matrix against a real Asterisk: a row each, by name and function, run one after the other against one mixer.
//! `cargo test --test interop -- NAME...` runs some of them.
#![allow(clippy::disallowed_types)]

mod caller;
mod transports;

use lab::asterisk::Asterisk;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

type Row = (&'static str, fn(&Asterisk));

const ROWS: &[Row] = &[
    ("udp", transports::udp),
    ("tcp", transports::tcp),
    ("tls", transports::tls),
    ("ws", transports::ws),
    ("wss", transports::wss),
    ("keepalive", transports::keepalive),
    ("nat", transports::nat),
    ("moves", transports::moves),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let rows = ROWS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name));
    let mut mixer = Asterisk::start("interop").expect("a mixer");
    let (mut passed, mut failed) = (0, 0);
    for (name, run) in rows {
        let ok = catch_unwind(AssertUnwindSafe(|| run(&mixer))).is_ok();
        println!("{name:<16}{}", if ok { "ok" } else { "FAILED" });
        *if ok { &mut passed } else { &mut failed } += 1;
        if !ok {
            // What a failed row left behind must not fail the next one.
            mixer = Asterisk::start("interop").expect("a mixer");
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
