//! The configuration explained: as reference, as example, and as it is in effect. All from the one table of keys.

use super::file::{Draft, Loaded, Origins};
use super::keys::buttons::BUTTON;
use super::keys::callers::CALLER;
use super::keys::calls::CALL;
use super::keys::room::ROOM;
use super::keys::{Key, SECTIONS, TOP};
use super::{Config, Rejoin, RoomTarget};
use std::fmt::Write;

/// `docs/config.md`.
pub fn reference() -> String {
    let mut page = String::from(REFERENCE_HEAD);
    let _ = writeln!(page, "## Outside the sections\n\n{TABLE_HEAD}");
    for (name, doc) in TOP {
        let _ = writeln!(page, "| `{name}` | a string | – | {doc} |");
    }
    let mut draft = Draft::default();
    for section in SECTIONS {
        let also = if section.board { " May stand in a board, too." } else { "" };
        let _ = writeln!(page, "\n## [{}]\n\n{}{also}\n\n{TABLE_HEAD}", section.name, section.doc);
        for key in section.keys {
            page.push_str(&row(key, &mut draft));
        }
        if section.name == "qss.codes" {
            list("room", ROOM_DOC, ROOM, &mut page);
        }
        if section.name == "invites" {
            list("caller", CALLER_DOC, CALLER, &mut page);
        }
        if section.name == "calls" {
            list("call", CALL_DOC, CALL, &mut page);
            list("button", BUTTON_DOC, BUTTON, &mut page);
        }
    }
    page
}

/// The part of the reference about a `[[name]]`.
fn list<T: Default>(name: &str, doc: &str, keys: &[Key<T>], page: &mut String) {
    let _ = writeln!(page, "\n## [[{name}]]\n\n{doc}\n\n{TABLE_HEAD}");
    let mut item = T::default();
    for key in keys {
        page.push_str(&row(key, &mut item));
    }
}

/// `docs/endpoint.toml`: what most devices need, and every other key, commented out, at its default.
pub fn example() -> String {
    let mut page = String::from(EXAMPLE_HEAD);
    let mut draft = Draft::default();
    for section in SECTIONS {
        let _ = write!(page, "\n\n# {}\n[{}]\n", section.doc, section.name);
        for key in section.keys {
            entry(section.name, key, &mut draft, &mut page);
        }
        match section.name {
            "qss.codes" => example_list("room", ROOM_DOC, ROOM, &mut page),
            "invites" => example_list("caller", CALLER_DOC, CALLER, &mut page),
            "calls" => {
                example_list("call", CALL_DOC, CALL, &mut page);
                example_list("button", BUTTON_DOC, BUTTON, &mut page);
            }
            _ => {}
        }
    }
    page
}

/// The part of the example about a `[[name]]`: commented out, if nothing of it is given.
fn example_list<T: Default>(name: &str, doc: &str, keys: &[Key<T>], page: &mut String) {
    page.push_str("\n\n");
    comment(&format!("{doc} More may follow."), page);
    let is_given = keys.iter().any(|key| find(EXAMPLE_GIVEN, name, key.name).is_some());
    let _ = writeln!(page, "{}[[{name}]]", if is_given { "" } else { "#" });
    let mut item = T::default();
    for key in keys {
        entry(name, key, &mut item, page);
    }
}

/// A key with what it means and its value.
fn entry<T>(section: &str, key: &Key<T>, owner: &mut T, page: &mut String) {
    comment(key.doc, page);
    let _ = match find(EXAMPLE_GIVEN, section, key.name) {
        Some(value) => writeln!(page, "{} = {value}", key.name),
        None => {
            let shown = find(EXAMPLE_SHOWN, section, key.name).map(str::to_owned);
            let shown = shown.or_else(|| (key.field)(owner).show()).unwrap_or_else(|| "\"\"".to_owned());
            writeln!(page, "#{} = {shown}", key.name)
        }
    };
}

fn find(values: &[(&str, &'static str)], section: &str, key: &str) -> Option<&'static str> {
    let path = format!("{section}.{key}");
    values.iter().find(|(known, _)| *known == path).map(|(_, value)| *value)
}

fn comment(text: &str, page: &mut String) {
    for line in wrapped(text, 110) {
        let _ = writeln!(page, "# {line}");
    }
}

/// The whole configuration as the program sees it: TOML, secrets masked, each line that differs from the default with
/// the place it comes from.
pub fn effective(loaded: &Loaded) -> String {
    let mut text = String::new();
    let mut draft = Draft { config: loaded.config.clone(), ..Draft::default() };
    if let Some(place) = loaded.origins.get("board") {
        let _ = writeln!(text, "# board: see {}:{}", place.file.display(), place.at.0);
    }
    for section in SECTIONS {
        let _ = writeln!(text, "[{}]", section.name);
        for key in section.keys {
            if let Some(shown) = (key.field)(&mut draft).show() {
                let _ = writeln!(text, "{} = {shown}{}", key.name, origin(&loaded.origins, section.name, key.name));
            }
        }
        text.push('\n');
    }
    rooms(&loaded.config, &mut text);
    for caller in &mut draft.config.invites.callers {
        table("caller", CALLER, caller, &mut text);
    }
    for call in &mut draft.config.calls.list {
        table("call", CALL, call, &mut text);
    }
    for button in &mut draft.config.buttons {
        table("button", BUTTON, button, &mut text);
    }
    text
}

fn table<T>(name: &str, keys: &[Key<T>], item: &mut T, text: &mut String) {
    let _ = writeln!(text, "[[{name}]]");
    for key in keys {
        if let Some(shown) = (key.field)(item).show() {
            let _ = writeln!(text, "{} = {shown}", key.name);
        }
    }
    text.push('\n');
}

fn rooms(config: &Config, text: &mut String) {
    for room in &config.rooms {
        let target = match &room.target {
            RoomTarget::Id(id) => format!("id = {}", super::value::quoted(id)),
            RoomTarget::SipUri(uri) => format!("sip_uri = {}", super::value::quoted(uri)),
            RoomTarget::Create { record: false } => "create = true".to_owned(),
            RoomTarget::Create { record: true } => "create = true\nrecord = true".to_owned(),
            RoomTarget::Meeting { id, password } if password.0.is_empty() => {
                format!("meeting = {}", super::value::quoted(id))
            }
            RoomTarget::Meeting { id, password } => {
                format!("meeting = {}\npassword = \"{password:?}\"", super::value::quoted(id))
            }
            RoomTarget::QuickConference(uri) => format!("quick_conference = {}", super::value::quoted(uri)),
        };
        let Rejoin { after_expel, after_destroy } = room.rejoin;
        let _ = writeln!(
            text,
            "[[room]]\nname = {}\n{target}\nrejoin_after_expel_ms = {}\nrejoin_after_destroy_ms = {}\n",
            super::value::quoted(&room.name),
            after_expel.as_millis(),
            after_destroy.as_millis()
        );
    }
}

fn origin(origins: &Origins, section: &str, key: &str) -> String {
    let of = |name: &str| origins.get(&format!("{section}.{name}"));
    let place = of(key).or_else(|| of(&format!("{key}_file")));
    place.map_or_else(String::new, |place| format!("  # {}:{}", place.file.display(), place.at.0))
}

fn row<T>(key: &Key<T>, owner: &mut T) -> String {
    let field = (key.field)(owner);
    let kind = match key.rule.in_words() {
        words if words.is_empty() => field.kind().to_owned(),
        words => format!("{}: {words}", field.kind()),
    };
    let default = match field.show() {
        Some(shown) if shown != "\"\"" => format!("`{shown}`"),
        Some(_) | None => "–".to_owned(),
    };
    format!("| `{}` | {kind} | {default} | {} |\n", key.name, key.doc)
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("starts with one line and only grows");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}

const TABLE_HEAD: &str = "| key | value | default | meaning |\n|---|---|---|---|";

const ROOM_DOC: &str = "Rooms to join without being asked, most wanted first; one at a time is in audio. Each has \
exactly one of `id`, `sip_uri`, `meeting`, `quick_conference` and `create`.";

const CALLER_DOC: &str =
    "What becomes of an invite; the first rule that fits decides, and `[invites]` where none does.";

const BUTTON_DOC: &str =
    "A button, and the command it stands for. The device must be readable for the service: group `input`.";

const CALL_DOC: &str =
    "Somebody to call by a short name: `call NAME` on the local socket. Several targets make a hunt.";

const REFERENCE_HEAD: &str = "\
# Configuration

One TOML file. `qss-endpoint check FILE` says whether it is right, and prints what is in effect; `endpoint.toml` beside
this page has every key with its default. An unknown key, a wrong type or a value out of range is an error (exit code
78), and all errors are reported at once, with file, line and column.

* Times are whole milliseconds, in keys that end in `_ms`.
* Paths are relative to the directory of the file; `${NAME}` in a path is replaced from the environment.
* `–` as default: not set.
* A value in the file wins over its board, a board over the board it inherits, that over the default.
* This page is made from the table in `src/config/keys.rs`: `REWRITE=1 cargo test --test config_docs`.

";

const EXAMPLE_HEAD: &str = "\
# A configuration of qss-endpoint: what most devices need, and every other key, commented out, with its default.
# `qss-endpoint check FILE` tells what is wrong with a file; docs/config.md has the ranges.
# This file is made from the table in src/config/keys.rs: REWRITE=1 cargo test --test config_docs

# Defaults for this hardware. Known: imx-wm8904, lab, raspberry-pi-usb, and your own files (see docs/config.md).
board = \"raspberry-pi-usb\"
";

/// What the example gives.
const EXAMPLE_GIVEN: &[(&str, &str)] = &[
    ("qss.url", "\"wss://qss.example.com/\""),
    ("qss.username", "\"door-3\""),
    ("qss.token", "\"replace me, or better: use token_file\""),
    ("audio.capture", "\"plughw:CARD=UC03\""),
    ("audio.playback", "\"plughw:CARD=UC03\""),
    ("room.name", "\"reception\""),
    ("room.id", "\"b7f0c1de-reception\""),
];

/// What it shows, commented out, where there is no default.
const EXAMPLE_SHOWN: &[(&str, &str)] = &[
    ("room.sip_uri", "\"sip:b7f0c1de@audiomixer-0.audiomixer\""),
    ("room.meeting", "\"b7f0c1de-meeting\""),
    ("room.quick_conference", "\"wac-conf12345678901234567890\""),
    ("room.rejoin_after_destroy_ms", "60000"),
    ("call.name", "\"front-desk\""),
    ("call.targets", "[\"alice\", \"bob\"]"),
    ("button.device", "\"/dev/input/by-path/platform-gpio-keys-event\""),
    ("button.key", "\"KEY_PHONE\""),
    ("button.does", "\"call front-desk\""),
];
