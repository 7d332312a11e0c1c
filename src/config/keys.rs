//! Every key there is: one row each, with its place in [`Config`](super::Config), what it allows and what it means.
//!
//! Parsing, error messages, `check`, `docs/config.md` and `docs/endpoint.toml` are all made from these rows. Defaults
//! are those of `Config::default()`; only what is worked out at load time (a device id, a socket) says so in its text.

pub(super) mod buttons;
pub(super) mod callers;
pub(super) mod calls;
mod device;
mod invites;
mod media;
mod names;
mod register;
pub(super) mod room;
mod session;
mod sip;
mod status;

use super::file::Draft;
use super::shape;
use super::value::{Field, Rule};

/// A row: the key's name in its section, where its value goes, what it allows, what it means.
pub(super) struct Key<T: 'static> {
    pub(super) name: &'static str,
    pub(super) field: fn(&mut T) -> &mut dyn Field,
    pub(super) rule: Rule,
    pub(super) doc: &'static str,
}

pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    /// A board may set it: it depends on the hardware, not on the site.
    pub(super) board: bool,
    pub(super) keys: &'static [Key<Draft>],
}

pub(super) const fn key<T>(
    name: &'static str,
    field: fn(&mut T) -> &mut dyn Field,
    rule: Rule,
    doc: &'static str,
) -> Key<T> {
    Key { name, field, rule, doc }
}

/// The end of a pause that grows.
const fn most<T>(name: &'static str, field: fn(&mut T) -> &mut dyn Field) -> Key<T> {
    key(name, field, Rule::Range(10, 3_600_000), "... up to this.")
}

pub(super) const WORD: Rule = Rule::Text("not empty", shape::word);
pub(super) const WORDS: Rule = Rule::Text("none of them empty", shape::word);

pub(super) static SECTIONS: &[Section] = &[
    device::DEVICE,
    session::QSS,
    session::AUTH,
    names::NAMES,
    super::reads::READS,
    names::CODES,
    invites::INVITES,
    calls::SECTION,
    invites::CONTROL,
    sip::SIP,
    register::REGISTER,
    media::RTP,
    media::CODEC,
    media::AUDIO,
    media::JITTER,
    status::STATUS,
];

/// Lists of tables: each may be given again and again.
pub(super) const LISTS: &[&str] = &["room", "caller", "call", "button"];

/// Keys outside every section, with their meaning.
pub(super) const TOP: &[(&str, &str)] = &[(
    "board",
    "Name of a board: a file of defaults for this hardware, below this file's own values. Looked for in the directory \
     given by `--boards` or `QSS_ENDPOINT_BOARDS`, in `boards` beside this file, in `/usr/share/qss-endpoint/boards`, \
     and among those built in. A board file has the sections rtp, codec, audio, jitter and status; with \
     `inherit = \"base\"` at its top it says only how it differs from another board.",
)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_stands_twice() {
        for section in SECTIONS {
            for (i, key) in section.keys.iter().enumerate() {
                assert!(section.keys[..i].iter().all(|k| k.name != key.name), "[{}] {}", section.name, key.name);
            }
        }
    }

    /// A default outside its own range could not be written into a file.
    #[test]
    fn each_default_passes_its_own_rule() {
        use crate::config::file::{Draft, RoomDraft};
        let mut draft = Draft::default();
        for section in SECTIONS {
            for key in section.keys {
                let field = (key.field)(&mut draft);
                let Some(shown) = field.show() else { continue };
                if key.name == "id" {
                    continue;
                }
                let value = toml::de::DeValue::parse(&shown).expect("show writes TOML");
                let mut wrong = Vec::new();
                field.set(&value, &key.rule, &mut wrong);
                assert!(wrong.is_empty(), "[{}] {} = {shown}: {}", section.name, key.name, wrong[0].fault);
                assert_eq!(field.show(), Some(shown));
            }
        }
        assert_eq!(draft.config, crate::config::Config::default());
        let _ = RoomDraft::default();
    }
}
