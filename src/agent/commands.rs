//! The commands of the local socket and of the buttons: a line of words, or a JSON object (docs/local-socket.md).

use super::transfer::TransferOrder;
use super::visit::Hold;
use super::volume::VolumeOrder;
use crate::dtmf::Digits;
use crate::qss::message::MAX_ID;
use serde_json::{Map, Value};

/// Longest list of users in a command.
pub(super) const MAX_USERS: usize = 16;
/// Words that a command gives to those whom it invites: so many, and each side of so many bytes.
const MAX_CONTEXT: usize = 16;
const MAX_WORD: usize = 200;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Command {
    Status,
    Mute(bool),
    /// Asks somebody else in the room.
    MuteOther {
        user: String,
        muted: bool,
    },
    /// Tells how loud it is, after this change.
    Volume(Option<VolumeOrder>),
    Hold(Hold),
    /// The call that waits, or the one in that room, goes on; the present one waits.
    Swap(Option<String>),
    Digits(Digits),
    Transfer(TransferOrder),
    /// Takes a transfer of ours back that nobody has answered yet.
    CancelTransfer,
    HangUp,
    /// Leaves the room with this cause, a code as in SIP.
    Leave(u16),
    Join(String),
    Create {
        record: bool,
    },
    /// The room named, or the present one.
    Destroy(Option<String>),
    /// A `[[call]]` by its name, or users.
    Call(Whom),
    Invite(Whom),
    /// Admits users to the present room; they are not rung.
    Add(Vec<String>),
    /// Puts users out of the present room.
    Remove(Vec<String>),
    /// Asks a user to be invited, perhaps into a certain room.
    Request {
        user: String,
        room: Option<String>,
    },
    /// The ringing invite with this id, or the most important one.
    Answer(Option<String>),
    Reject {
        id: Option<String>,
        code: Option<u16>,
    },
}

/// Who is to be invited.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Whom {
    pub(super) users: Vec<String>,
    /// Words for them, besides those that are configured or in their place.
    pub(super) context: Vec<(String, String)>,
}

/// A line that is no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Malformed {
    UnknownCommand,
    BadArgument,
}

impl Command {
    pub(super) fn parse(line: &str) -> Result<Command, Malformed> {
        let line = line.trim();
        if line.starts_with('{') {
            return Command::from_json(line);
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (rest, words) = (rest.trim(), rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        match word {
            "status" | "snapshot" => Ok(Command::Status),
            "mute" if rest.is_empty() || rest == "on" => Ok(Command::Mute(true)),
            "mute" if rest == "off" => Ok(Command::Mute(false)),
            "mute" => Ok(Command::MuteOther { user: user(words)?, muted: true }),
            "unmute" if rest.is_empty() => Ok(Command::Mute(false)),
            "unmute" => Ok(Command::MuteOther { user: user(words)?, muted: false }),
            "volume" => match &words[..] {
                [] => Ok(Command::Volume(None)),
                [direction, to] => volume(direction, to.parse().ok(), None),
                [direction, by, step] if by == "by" => volume(direction, None, step.parse().ok()),
                _ => Err(Malformed::BadArgument),
            },
            "hold" if rest.is_empty() || rest == "on" => Ok(Command::Hold(Hold::On)),
            "hold" if rest == "off" => Ok(Command::Hold(Hold::Off)),
            "unhold" => Ok(Command::Hold(Hold::Off)),
            "swap" if rest.is_empty() => Ok(Command::Swap(None)),
            "swap" => Ok(Command::Swap(Some(id(rest)?))),
            "dtmf" => digits(rest),
            "transfer" if rest == "cancel" => Ok(Command::CancelTransfer),
            "transfer" => transfer(users(words)?),
            "hangup" => Ok(Command::HangUp),
            "leave" if rest.is_empty() => Ok(Command::Leave(200)),
            "leave" => cause(rest.parse().ok()),
            "join" => Ok(Command::Join(id(rest)?)),
            "create" if rest.is_empty() => Ok(Command::Create { record: false }),
            "create" if rest == "record" => Ok(Command::Create { record: true }),
            "destroy" if rest.is_empty() => Ok(Command::Destroy(None)),
            "destroy" => Ok(Command::Destroy(Some(id(rest)?))),
            "call" => Ok(Command::Call(Whom { users: users(words)?, context: Vec::new() })),
            "invite" => Ok(Command::Invite(Whom { users: users(words)?, context: Vec::new() })),
            "add" => Ok(Command::Add(users(words)?)),
            "remove" => Ok(Command::Remove(users(words)?)),
            "request" => match &words[..] {
                [user] => Ok(Command::Request { user: id(user)?, room: None }),
                [user, room] => Ok(Command::Request { user: id(user)?, room: Some(id(room)?) }),
                _ => Err(Malformed::BadArgument),
            },
            "answer" if rest.is_empty() => Ok(Command::Answer(None)),
            "answer" => Ok(Command::Answer(Some(id(rest)?))),
            "reject" => match &words[..] {
                [] => Ok(Command::Reject { id: None, code: None }),
                [one] => Ok(Command::Reject { id: Some(id(one)?), code: None }),
                [one, code] => Ok(Command::Reject { id: Some(id(one)?), code: Some(refusal(code.parse().ok())?) }),
                _ => Err(Malformed::BadArgument),
            },
            "hold" | "create" => Err(Malformed::BadArgument),
            _ => Err(Malformed::UnknownCommand),
        }
    }

    fn from_json(line: &str) -> Result<Command, Malformed> {
        let Ok(Value::Object(object)) = serde_json::from_str(line) else { return Err(Malformed::BadArgument) };
        let word = object.get("command").and_then(Value::as_str).ok_or(Malformed::UnknownCommand)?;
        match word {
            "status" | "snapshot" => Ok(Command::Status),
            "mute" => mute(text(&object, "to")?, flag(&object, "on", true)?),
            "unmute" => mute(text(&object, "to")?, false),
            "volume" => match text(&object, "direction")? {
                None => Ok(Command::Volume(None)),
                Some(direction) => volume(direction, number(&object, "db")?, number(&object, "by")?),
            },
            "hold" => Ok(Command::Hold(if flag(&object, "on", true)? { Hold::On } else { Hold::Off })),
            "unhold" => Ok(Command::Hold(Hold::Off)),
            "swap" => Ok(Command::Swap(text(&object, "room")?.map(id).transpose()?)),
            "dtmf" => digits(text(&object, "digits")?.unwrap_or_default()),
            "transfer" if flag(&object, "cancel", false)? => Ok(Command::CancelTransfer),
            "transfer" => {
                let mut all = list(&object, "to")?;
                all.extend(text(&object, "transferee")?.map(str::to_owned));
                transfer(users(all)?)
            }
            "hangup" => Ok(Command::HangUp),
            "leave" => match object.get("cause") {
                None => Ok(Command::Leave(200)),
                Some(code) => cause(code.as_u64()),
            },
            "join" => Ok(Command::Join(id(text(&object, "room")?.unwrap_or_default())?)),
            "create" => Ok(Command::Create { record: flag(&object, "record", false)? }),
            "destroy" => match text(&object, "room")? {
                None => Ok(Command::Destroy(None)),
                Some(room) => Ok(Command::Destroy(Some(id(room)?))),
            },
            "call" => Ok(Command::Call(whom(&object)?)),
            "invite" => Ok(Command::Invite(whom(&object)?)),
            "add" => Ok(Command::Add(users(list(&object, "to")?)?)),
            "remove" => Ok(Command::Remove(users(list(&object, "to")?)?)),
            "request" => Ok(Command::Request {
                user: id(text(&object, "to")?.unwrap_or_default())?,
                room: text(&object, "room")?.map(id).transpose()?,
            }),
            "answer" => Ok(Command::Answer(text(&object, "id")?.map(id).transpose()?)),
            "reject" => Ok(Command::Reject {
                id: text(&object, "id")?.map(id).transpose()?,
                code: object.get("code").map(|code| refusal(code.as_u64())).transpose()?,
            }),
            _ => Err(Malformed::UnknownCommand),
        }
    }
}

/// A room's id, name or URI.
fn id(text: &str) -> Result<String, Malformed> {
    if (1..=MAX_ID).contains(&text.len()) { Ok(text.to_owned()) } else { Err(Malformed::BadArgument) }
}

/// Codes as in SIP.
fn cause(code: Option<u64>) -> Result<Command, Malformed> {
    let code = code.filter(|code| (200..700).contains(code)).and_then(|code| u16::try_from(code).ok());
    code.map(Command::Leave).ok_or(Malformed::BadArgument)
}

/// Codes that refuse.
fn refusal(code: Option<u64>) -> Result<u16, Malformed> {
    let code = code.filter(|code| (400..700).contains(code)).and_then(|code| u16::try_from(code).ok());
    code.ok_or(Malformed::BadArgument)
}

fn digits(text: &str) -> Result<Command, Malformed> {
    Digits::parse(text).map(Command::Digits).ok_or(Malformed::BadArgument)
}

fn users(users: Vec<String>) -> Result<Vec<String>, Malformed> {
    let usable = (1..=MAX_USERS).contains(&users.len()) && users.iter().all(|user| (1..=MAX_ID).contains(&user.len()));
    if usable { Ok(users) } else { Err(Malformed::BadArgument) }
}

fn whom(object: &Map<String, Value>) -> Result<Whom, Malformed> {
    let word = |(key, value): (&String, &Value)| {
        let value = value.as_str().filter(|value| value.len() <= MAX_WORD && (1..=MAX_WORD).contains(&key.len()));
        value.map(|value| (key.clone(), value.to_owned())).ok_or(Malformed::BadArgument)
    };
    let context = match object.get("context") {
        None => Vec::new(),
        Some(Value::Object(words)) if words.len() <= MAX_CONTEXT => words.iter().map(word).collect::<Result<_, _>>()?,
        Some(_) => return Err(Malformed::BadArgument),
    };
    Ok(Whom { users: users(list(object, "to")?)?, context })
}

fn user(words: Vec<String>) -> Result<String, Malformed> {
    match <[String; 1]>::try_from(words) {
        Ok([user]) => id(&user),
        Err(_) => Err(Malformed::BadArgument),
    }
}

fn mute(user: Option<&str>, muted: bool) -> Result<Command, Malformed> {
    user.map_or(Ok(Command::Mute(muted)), |user| Ok(Command::MuteOther { user: id(user)?, muted }))
}

fn volume(direction: &str, to: Option<i64>, by: Option<i64>) -> Result<Command, Malformed> {
    VolumeOrder::of(direction, to, by).map(|order| Command::Volume(Some(order))).ok_or(Malformed::BadArgument)
}

fn transfer(users: Vec<String>) -> Result<Command, Malformed> {
    TransferOrder::of(users).map(Command::Transfer).ok_or(Malformed::BadArgument)
}

fn flag(object: &Map<String, Value>, key: &str, otherwise: bool) -> Result<bool, Malformed> {
    object.get(key).map_or(Ok(otherwise), |value| value.as_bool().ok_or(Malformed::BadArgument))
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, Malformed> {
    object.get(key).map(|value| value.as_str().ok_or(Malformed::BadArgument)).transpose()
}

fn number(object: &Map<String, Value>, key: &str) -> Result<Option<i64>, Malformed> {
    object.get(key).map(|value| value.as_i64().ok_or(Malformed::BadArgument)).transpose()
}

/// One text, or a list of them.
fn list(object: &Map<String, Value>, key: &str) -> Result<Vec<String>, Malformed> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(Malformed::BadArgument);
    match object.get(key) {
        Some(Value::Array(values)) => values.iter().take(MAX_USERS + 1).map(text).collect(),
        Some(value) => text(value).map(|text| vec![text]),
        None => Err(Malformed::BadArgument),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::volume::{Change, Direction};

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    fn whom(users: &[&str]) -> Whom {
        Whom { users: words(users), context: Vec::new() }
    }

    #[test]
    fn words_and_json_mean_the_same() {
        let rows = [
            ("status", r#"{"command":"snapshot"}"#, Command::Status),
            (
                "transfer bob",
                r#"{"command":"transfer","to":"bob"}"#,
                Command::Transfer(TransferOrder::Blind { to: "bob".into() }),
            ),
            (
                "transfer bob eve",
                r#"{"command":"transfer","to":"bob","transferee":"eve"}"#,
                Command::Transfer(TransferOrder::Attended { to: "bob".into(), transferee: "eve".into() }),
            ),
            ("transfer cancel", r#"{"command":"transfer","cancel":true}"#, Command::CancelTransfer),
            ("mute on\n", r#"{"command":"mute"}"#, Command::Mute(true)),
            ("mute off", r#"{"command":"mute","on":false}"#, Command::Mute(false)),
            ("unmute", r#"{"command":"unmute"}"#, Command::Mute(false)),
            ("volume", r#"{"command":"volume"}"#, Command::Volume(None)),
            (
                "volume playback -12",
                r#"{"command":"volume","direction":"playback","db":-12}"#,
                Command::Volume(Some(VolumeOrder { direction: Direction::Playback, change: Change::To(-12) })),
            ),
            (
                "volume capture by 3",
                r#"{"command":"volume","direction":"capture","by":3}"#,
                Command::Volume(Some(VolumeOrder { direction: Direction::Capture, change: Change::By(3) })),
            ),
            ("hold", r#"{"command":"hold","on":true}"#, Command::Hold(Hold::On)),
            ("hold off", r#"{"command":"unhold"}"#, Command::Hold(Hold::Off)),
            ("swap", r#"{"command":"swap"}"#, Command::Swap(None)),
            ("swap the lobby", r#"{"command":"swap","room":"the lobby"}"#, Command::Swap(Some("the lobby".into()))),
            (
                "dtmf 12#d",
                r#"{"command":"dtmf","digits":"12#D"}"#,
                Command::Digits(Digits::parse("12#D").expect("digits")),
            ),
            ("hangup", r#"{"command":"hangup"}"#, Command::HangUp),
            ("leave", r#"{"command":"leave"}"#, Command::Leave(200)),
            ("leave 480", r#"{"command":"leave","cause":480}"#, Command::Leave(480)),
            ("  join  the lobby ", r#"{"command":"join","room":"the lobby"}"#, Command::Join("the lobby".into())),
            ("create", r#"{"command":"create"}"#, Command::Create { record: false }),
            ("create record", r#"{"command":"create","record":true}"#, Command::Create { record: true }),
            ("destroy", r#"{"command":"destroy"}"#, Command::Destroy(None)),
            ("destroy r1", r#"{"command":"destroy","room":"r1"}"#, Command::Destroy(Some("r1".into()))),
            ("call alice bob", r#"{"command":"call","to":["alice","bob"]}"#, Command::Call(whom(&["alice", "bob"]))),
            ("answer", r#"{"command":"answer"}"#, Command::Answer(None)),
            ("answer I1", r#"{"command":"answer","id":"I1"}"#, Command::Answer(Some("I1".into()))),
            ("reject", r#"{"command":"reject"}"#, Command::Reject { id: None, code: None }),
            (
                "reject I1 486",
                r#"{"command":"reject","id":"I1","code":486}"#,
                Command::Reject { id: Some("I1".into()), code: Some(486) },
            ),
            ("mute bob", r#"{"command":"mute","to":"bob"}"#, Command::MuteOther { user: "bob".into(), muted: true }),
            (
                "unmute bob",
                r#"{"command":"mute","to":"bob","on":false}"#,
                Command::MuteOther { user: "bob".into(), muted: false },
            ),
            ("add bob eve", r#"{"command":"add","to":["bob","eve"]}"#, Command::Add(words(&["bob", "eve"]))),
            ("remove bob", r#"{"command":"remove","to":"bob"}"#, Command::Remove(words(&["bob"]))),
            (
                "request desk",
                r#"{"command":"request","to":"desk"}"#,
                Command::Request { user: "desk".into(), room: None },
            ),
            (
                "request desk r1",
                r#"{"command":"request","to":"desk","room":"r1"}"#,
                Command::Request { user: "desk".into(), room: Some("r1".into()) },
            ),
            ("invite bob/4", r#"{"command":"invite","to":"bob/4"}"#, Command::Invite(whom(&["bob/4"]))),
        ];
        for (line, json, command) in rows {
            assert_eq!(Command::parse(line).as_ref(), Ok(&command), "{line}");
            assert_eq!(Command::parse(json).as_ref(), Ok(&command), "{json}");
        }
    }

    #[test]
    fn a_call_has_words_for_those_who_are_invited() {
        let context = vec![("door".to_owned(), "north".to_owned()), ("floor".to_owned(), String::new())];
        for (word, command) in [("call", Command::Call as fn(Whom) -> Command), ("invite", Command::Invite)] {
            let line = format!(r#"{{"command":"{word}","to":"bob","context":{{"door":"north","floor":""}}}}"#);
            let meant = command(Whom { users: words(&["bob"]), context: context.clone() });
            assert_eq!(Command::parse(&line), Ok(meant));
        }
        let long = "x".repeat(MAX_WORD + 1);
        let many: Map<String, Value> = (0..=MAX_CONTEXT).map(|n| (n.to_string(), Value::from("x"))).collect();
        for context in [
            "7".to_owned(),
            r#"{"door":7}"#.to_owned(),
            r#"{"":"x"}"#.to_owned(),
            format!(r#"{{"door":"{long}"}}"#),
            format!(r#"{{"{long}":""}}"#),
            Value::Object(many).to_string(),
        ] {
            let line = format!(r#"{{"command":"call","to":"bob","context":{context}}}"#);
            assert_eq!(Command::parse(&line), Err(Malformed::BadArgument), "{context}");
        }
    }

    #[test]
    fn what_is_no_command_says_why() {
        let long = "x".repeat(MAX_ID + 1);
        let many = format!("call {}", "u ".repeat(MAX_USERS + 1));
        let bad = [
            "join",
            "mute bob eve",
            "volume 3",
            "volume up",
            "volume playback",
            "volume playback by",
            "volume playback loud",
            "volume loudspeaker 3",
            "volume playback 99999999999999999999",
            r#"{"command":"volume","direction":"playback"}"#,
            r#"{"command":"volume","direction":"playback","db":1,"by":1}"#,
            r#"{"command":"volume","direction":"playback","db":"1"}"#,
            r#"{"command":"volume","direction":7,"db":1}"#,
            "unmute bob eve",
            "add",
            "remove",
            "request",
            "request desk room more",
            r#"{"command":"request"}"#,
            r#"{"command":"mute","to":7}"#,
            "leave 7",
            "leave x",
            "create two",
            "dtmf",
            "dtmf 1 2",
            "dtmf 5!",
            "call",
            "invite",
            "{",
            r#"{"command":"join"}"#,
            r#"{"command":"swap","room":7}"#,
            r#"{"command":"mute","on":"yes"}"#,
            r#"{"command":"call","to":[7]}"#,
            r#"{"command":"call","to":[]}"#,
            r#"{"command":"leave","cause":-1}"#,
            &many,
        ];
        for line in bad {
            assert_eq!(Command::parse(line), Err(Malformed::BadArgument), "{line}");
        }
        assert_eq!(Command::parse(&format!("join {long}")), Err(Malformed::BadArgument));
        for line in ["reboot", "", "{}", r#"{"command":7}"#, "\u{0}"] {
            assert_eq!(Command::parse(line), Err(Malformed::UnknownCommand), "{line}");
        }
    }
}
