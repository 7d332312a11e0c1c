//! What has become of a command of the local socket, read from the lines that follow its answer
//! (`docs/local-socket.md`): the client's side of `qss-endpoint ctl --wait`.

use serde_json::Value;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Open,
    Done,
    Failed,
}

/// A command under way.
#[derive(Debug)]
pub struct Pending {
    word: String,
    /// People whom the command names: an invite ends when all have decided.
    users: usize,
    /// Until the answer says what is waited for: the events that came before it.
    awaits: Option<Awaits>,
    early: Vec<Value>,
}

#[derive(Debug)]
enum Awaits {
    Call(u64),
    /// So many events are to come, unless one of them says that it is done.
    Request {
        number: u64,
        left: usize,
    },
    /// The call in a room of this name, id or address; any room, if it has none yet.
    Room(Option<String>),
    Transfer,
}

impl Pending {
    /// `command`: the line that is sent, words or JSON.
    pub fn of(command: &str) -> Pending {
        let object: Option<Value> = serde_json::from_str(command).ok();
        let word = object.as_ref().and_then(|object| object["command"].as_str());
        let word = word.or_else(|| command.split_whitespace().next()).unwrap_or_default().to_owned();
        let named = object.as_ref().map(|object| object["to"].as_array().map_or(1, Vec::len));
        let users = named.unwrap_or_else(|| command.split_whitespace().count().saturating_sub(1)).max(1);
        Pending { word, users, awaits: None, early: Vec::new() }
    }

    /// The next line, the answer or an event.
    pub fn line(&mut self, line: &str) -> Verdict {
        let Ok(value) = serde_json::from_str::<Value>(line) else { return Verdict::Open };
        match (value["ok"].as_bool(), &mut self.awaits) {
            (Some(false), _) => Verdict::Failed,
            (Some(true), _) => self.answered(&value),
            (None, Some(awaits)) => awaits.judge(&value),
            (None, None) => {
                self.early.push(value);
                Verdict::Open
            }
        }
    }

    fn answered(&mut self, answer: &Value) -> Verdict {
        let number = |key: &str| answer[key].as_u64();
        let mut awaits = match (self.word.as_str(), number("call"), number("request")) {
            ("create", ..) => Awaits::Room(None),
            (_, Some(call), _) => Awaits::Call(call),
            ("invite", None, Some(number)) => Awaits::Request { number, left: self.users },
            (_, None, Some(number)) => Awaits::Request { number, left: 1 },
            ("transfer", ..) => Awaits::Transfer,
            ("join", ..) if answer["already"] != true => Awaits::Room(answer["room"].as_str().map(str::to_owned)),
            _ => return Verdict::Done,
        };
        let early = std::mem::take(&mut self.early);
        let verdict = early.iter().map(|event| awaits.judge(event)).find(|verdict| *verdict != Verdict::Open);
        self.awaits = Some(awaits);
        verdict.unwrap_or(Verdict::Open)
    }
}

impl Awaits {
    fn judge(&mut self, event: &Value) -> Verdict {
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        match self {
            Awaits::Call(number) if event["call"].as_u64() == Some(*number) => match text("step") {
                "answered" => Verdict::Done,
                "nobody" | "ended" => Verdict::Failed,
                _ => Verdict::Open,
            },
            Awaits::Request { number, left } if event["request"].as_u64() == Some(*number) => {
                *left = left.saturating_sub(1);
                match text("outcome") {
                    "done" => Verdict::Done,
                    _ if *left > 0 => Verdict::Open,
                    _ => Verdict::Failed,
                }
            }
            Awaits::Transfer => match (text("event"), text("state")) {
                ("callTransfer", "DONE") => Verdict::Done,
                ("callTransfer", "CANCELED") | ("transferError", _) => Verdict::Failed,
                _ => Verdict::Open,
            },
            Awaits::Room(name) => {
                let room = &event["room"];
                let is_it = name.as_deref().is_none_or(|name| room["name"] == name || room["id"] == name);
                match (text("event"), text("what")) {
                    ("ladder", _) if is_it && matches!(text("rung"), "call" | "sending" | "receiving" | "playing") => {
                        Verdict::Done
                    }
                    ("attempt", "room" | "call") if is_it => Verdict::Failed,
                    _ => Verdict::Open,
                }
            }
            Awaits::Call(_) | Awaits::Request { .. } => Verdict::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(command: &str, lines: &[&str]) -> Vec<Verdict> {
        let mut pending = Pending::of(command);
        lines.iter().map(|line| pending.line(line)).collect()
    }

    #[test]
    fn each_command_has_its_end() {
        use Verdict::{Done, Failed, Open};
        let call = [r#"{"seq":1,"event":"call","call":1,"step":"making"}"#, r#"{"ok":true,"call":1}"#];
        let answered = r#"{"seq":2,"event":"call","call":1,"step":"answered"}"#;
        let other = r#"{"seq":2,"event":"call","call":2,"step":"answered"}"#;
        let nobody = r#"{"seq":2,"event":"call","call":1,"step":"nobody"}"#;
        assert_eq!(verdicts("call bob", &[call[0], call[1], other, answered]), [Open, Open, Open, Done]);
        assert_eq!(verdicts(r#"{"command":"call","to":"bob"}"#, &[call[1], nobody]), [Open, Failed]);
        let request = |outcome: &str| format!(r#"{{"seq":3,"event":"request","request":4,"outcome":"{outcome}"}}"#);
        assert_eq!(verdicts("add bob", &[r#"{"ok":true,"request":4}"#, &request("done")]), [Open, Done]);
        assert_eq!(verdicts("add bob", &[&request("refused"), r#"{"ok":true,"request":4}"#]), [Open, Failed]);
        let answer = r#"{"ok":true,"request":4}"#;
        let two = [answer, &request("refused"), &request("done")];
        assert_eq!(verdicts("invite bob eve", &two), [Open, Open, Done], "one who comes is enough");
        assert_eq!(verdicts(r#"{"command":"invite","to":["bob","eve"]}"#, &two[..2]), [Open, Open]);
        assert_eq!(verdicts(r#"{"command":"invite","to":"bob"}"#, &two[..2]), [Open, Failed]);
        let rung = |rung: &str, name: &str| {
            format!(r#"{{"seq":5,"event":"ladder","rung":"{rung}","room":{{"name":"{name}"}}}}"#)
        };
        let joins = r#"{"ok":true,"room":"lobby"}"#;
        let lines = [joins, &rung("playing", "other"), &rung("room", "lobby"), &rung("call", "lobby")];
        assert_eq!(verdicts("join lobby", &lines), [Open, Open, Open, Done]);
        assert_eq!(verdicts("join lobby", &[r#"{"ok":true,"room":"lobby","already":true}"#]), [Done]);
        let failed = r#"{"seq":6,"event":"attempt","what":"room","rung":"session","room":{"name":"lobby"}}"#;
        assert_eq!(verdicts("join lobby", &[joins, failed]), [Open, Failed]);
        assert_eq!(verdicts("create", &[r#"{"ok":true,"call":1}"#, &rung("call", "own")]), [Open, Done]);
        let moved = r#"{"seq":7,"event":"callTransfer","state":"DONE"}"#;
        assert_eq!(verdicts("transfer bob", &[r#"{"ok":true}"#, moved]), [Open, Done]);
        assert_eq!(verdicts("mute on", &[r#"{"ok":true,"muted":true}"#]), [Done]);
        assert_eq!(verdicts("hold", &[r#"{"ok":false,"error":{"code":"no_call"}}"#]), [Failed]);
        assert_eq!(verdicts("call bob", &["garbage", "7", "{}"]), [Open, Open, Open]);
    }
}
