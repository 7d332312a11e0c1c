//! The local socket: one command per line, as words (`mute on`) or as JSON (`{"command":"mute","on":true}`); one line
//! of JSON back, `{"ok":true, ..}` or `{"ok":false,"error":{"code":..,"detail":..}}`.
//!
//! | command         | effect                                                        | errors             |
//! |-----------------|---------------------------------------------------------------|--------------------|
//! | `status`        | the snapshot (`snapshot` is the same)                         |                    |
//! | `mute on\|off`  | the microphone                                                |                    |
//! | `hold on\|off`  | nothing is sent and nothing played, but the device stays      | `no_call`          |
//! | `hangup`        | leaves the room; it is not visited again until `join`         | `no_call`          |
//! | `join NAME`     | a configured room by name, any room by id or `sip:` URI       | `no_session`       |

use super::hold::HoldError;
use super::visit::{Hold, Origin, Visit};
use super::{Agent, Cx, Output, Phase};
use crate::qss::message::{MAX_ID, Room};
use crate::status::event::MutedBy;
use crate::status::failure::Failure;
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Clone, PartialEq, Eq, Debug)]
enum Command {
    Status,
    Mute(bool),
    Hold(Hold),
    HangUp,
    Join(String),
}

/// Why a command is refused: stable code, words for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    UnknownCommand,
    BadArgument,
    NoCall,
    NoSession,
    Stopping,
}

impl Refusal {
    const fn code(self) -> &'static str {
        match self {
            Refusal::UnknownCommand => "unknown_command",
            Refusal::BadArgument => "bad_argument",
            Refusal::NoCall => "no_call",
            Refusal::NoSession => "no_session",
            Refusal::Stopping => "stopping",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Refusal::UnknownCommand => "known are: status, mute on|off, hold on|off, hangup, join NAME",
            Refusal::BadArgument => "usage: mute on|off, hold on|off, join NAME",
            Refusal::NoCall => "the device is in no room",
            Refusal::NoSession => "this room is reached through the QSS, and there is no session",
            Refusal::Stopping => "the process is stopping",
        }
    }
}

impl Command {
    fn parse(line: &str) -> Result<Command, Refusal> {
        let line = line.trim();
        if line.starts_with('{') {
            return Command::from_json(line);
        }
        let mut words = line.splitn(2, char::is_whitespace);
        let (word, argument) = (words.next().unwrap_or_default(), words.next().map(str::trim));
        Command::new(word, argument)
    }

    fn from_json(line: &str) -> Result<Command, Refusal> {
        let Ok(Value::Object(object)) = serde_json::from_str(line) else { return Err(Refusal::BadArgument) };
        let word = object.get("command").and_then(Value::as_str).ok_or(Refusal::UnknownCommand)?;
        let argument = match (object.get("on"), object.get("room")) {
            (Some(Value::Bool(true)), _) => Some("on"),
            (Some(Value::Bool(false)), _) => Some("off"),
            (_, room) => room.and_then(Value::as_str),
        };
        Command::new(word, argument)
    }

    fn new(word: &str, argument: Option<&str>) -> Result<Command, Refusal> {
        match (word, argument) {
            ("status" | "snapshot", _) => Ok(Command::Status),
            ("mute", Some("on") | None) => Ok(Command::Mute(true)),
            ("mute", Some("off")) | ("unmute", _) => Ok(Command::Mute(false)),
            ("hold", Some("on") | None) => Ok(Command::Hold(Hold::On)),
            ("hold", Some("off")) | ("unhold", _) => Ok(Command::Hold(Hold::Off)),
            ("hangup" | "leave", _) => Ok(Command::HangUp),
            ("join", Some(name)) if !name.is_empty() && name.len() <= MAX_ID => Ok(Command::Join(name.to_owned())),
            ("mute" | "hold" | "join", _) => Err(Refusal::BadArgument),
            _ => Err(Refusal::UnknownCommand),
        }
    }
}

impl Agent {
    pub(super) fn on_local(&mut self, cx: &mut Cx<'_>, client: u32, line: &str) {
        let done = Command::parse(line).and_then(|command| match (command, self.phase) {
            (Command::Status, _) => {
                self.reply_snapshot_soon(cx, client);
                Ok(None)
            }
            (_, Phase::Asleep | Phase::Stopping { .. } | Phase::Gone) => Err(Refusal::Stopping),
            (Command::Mute(muted), Phase::Running) => {
                self.set_muted(cx, muted, MutedBy::Local);
                Ok(Some(json!({ "ok": true, "muted": muted })))
            }
            (Command::Hold(wanted), Phase::Running) => match self.hold(cx, wanted) {
                Ok(()) => Ok(Some(json!({ "ok": true, "held": wanted == Hold::On }))),
                Err(HoldError::NoCall) => Err(Refusal::NoCall),
            },
            (Command::HangUp, Phase::Running) => self.on_hang_up(cx).map(Some),
            (Command::Join(name), Phase::Running) => self.on_join(cx, &name).map(Some),
        });
        match done {
            Ok(None) => {}
            Ok(Some(reply)) => self.reply(cx, client, &reply),
            Err(refusal) => {
                let error = json!({ "code": refusal.code(), "detail": refusal.detail() });
                self.reply(cx, client, &json!({ "ok": false, "error": error }));
            }
        }
    }

    fn on_hang_up(&mut self, cx: &mut Cx<'_>) -> Result<Value, Refusal> {
        if self.visit.is_none() {
            return Err(Refusal::NoCall);
        }
        self.fail_visit(cx, &Failure::HungUp.into());
        Ok(json!({ "ok": true }))
    }

    fn on_join(&mut self, cx: &mut Cx<'_>, name: &str) -> Result<Value, Refusal> {
        let configured = self.rooms.admit_again(name);
        let is_uri = name.starts_with("sip:");
        let possible = self.session.is_registered() || configured.map_or(is_uri, |i| self.rooms.is_direct(i));
        if !possible {
            return Err(Refusal::NoSession);
        }
        if let Some(i) = configured {
            self.rooms.ask_for(i);
        }
        if self.visit.as_ref().is_some_and(|visit| is_in(visit, configured, name)) {
            return Ok(json!({ "ok": true, "room": name, "already": true }));
        }
        self.end_visit(cx, &Failure::Replaced.into());
        match configured {
            Some(i) => self.visit_configured(cx, i),
            None => {
                let (id, sip_uri) = if is_uri { (None, Some(name.to_owned())) } else { (Some(name.to_owned()), None) };
                self.begin_visit(cx, name.to_owned(), Origin::Asked, Room { id, sip_uri, ..Room::default() });
            }
        }
        Ok(json!({ "ok": true, "room": name }))
    }

    pub(super) fn reply(&self, cx: &mut Cx<'_>, client: u32, reply: &impl Serialize) {
        let line = serde_json::to_string(reply).expect("replies have string keys and no failing serializer");
        cx.out.push_back(Output::Reply { client, line });
    }
}

fn is_in(visit: &Visit, configured: Option<usize>, name: &str) -> bool {
    match (&visit.origin, configured) {
        (Origin::Configured(i), Some(wanted)) => *i == wanted,
        (Origin::Configured(_), None) | (Origin::Invited { .. } | Origin::Asked | Origin::Called, _) => {
            visit.room.id.as_deref() == Some(name) || visit.room.sip_uri.as_deref() == Some(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_json_mean_the_same() {
        for (line, command) in [
            ("status", Ok(Command::Status)),
            (r#"{"command":"snapshot"}"#, Ok(Command::Status)),
            ("mute on\n", Ok(Command::Mute(true))),
            (r#"{"command":"mute","on":false}"#, Ok(Command::Mute(false))),
            ("  join  the lobby ", Ok(Command::Join("the lobby".into()))),
            (r#"{"command":"join","room":"lobby"}"#, Ok(Command::Join("lobby".into()))),
            ("hold on", Ok(Command::Hold(Hold::On))),
            (r#"{"command":"hold","on":false}"#, Ok(Command::Hold(Hold::Off))),
            ("hangup", Ok(Command::HangUp)),
            ("join", Err(Refusal::BadArgument)),
            ("mute maybe", Err(Refusal::BadArgument)),
            ("{", Err(Refusal::BadArgument)),
            ("reboot", Err(Refusal::UnknownCommand)),
            ("", Err(Refusal::UnknownCommand)),
        ] {
            assert_eq!(Command::parse(line), command, "{line}");
        }
    }
}
