//! Text to [`Config`].
//!
//! ```text
//! endpoint.toml ──board──> boards/<name>.toml ──inherit──> boards/base.toml        (board)
//!      │                        │                              │
//!      └── applied last ────────┴── over ──────────────────────┴── first, over the defaults of the code
//!                                  │ every key looked up in one table              (keys, value, shape)
//!                                  v
//!                               Draft ── secrets read, ids filled in, keys compared with each other ──> Config  (check)
//! ```
//!
//! Nothing stops at the first problem: all of them come back in one [`Errors`]. The machine (files, environment) is
//! seen through [`Source`] only.

use super::card_name::CardIdentity;
use super::error::{Errors, Fault, MAX_PROBLEMS, Problem, nearest};
use super::keys::buttons::BUTTON;
use super::keys::callers::CALLER;
use super::keys::calls::CALL;
use super::keys::room::ROOM;
use super::keys::{Key, LISTS, SECTIONS, Section, TOP};
use super::value::found;
use super::{Button, Call, Caller, Config, Secret, board, check};
use crate::time::Span;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The machine as the loader sees it: `io::disk::Disk` is the real one, tests answer from memory.
pub trait Source {
    fn read(&self, path: &Path) -> Result<FileText, ReadError>;
    /// Names, without `.toml`, of the files of a directory that end so; empty if there is no such directory.
    fn boards_in(&self, directory: &Path) -> Vec<String>;
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
    /// The sound cards that are present, to be named in hints.
    fn sound_cards(&self) -> Vec<CardIdentity> {
        Vec::new()
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileText {
    pub text: String,
    /// Everybody on the machine may read it.
    pub world_readable: bool,
}

/// Why a file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadError {
    Missing,
    Forbidden,
    Directory,
    NotText,
    /// Larger than any configuration is.
    TooLarge,
    Other(String),
}

/// A good configuration, and what `check` has to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Allowed, but probably not meant: one line each.
    pub warnings: Vec<String>,
    pub(super) origins: Origins,
}

/// Why a configuration is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To work with it: everything it names must be there.
    Run,
    /// To look at it, perhaps from a shell: what only systemd gives to the service is warned of, but not missed.
    Check,
}

/// Reads `path` with the board it names. `boards` is a directory to look for boards in, instead of the usual ones.
pub fn load(path: &Path, boards: Option<&Path>, purpose: Purpose, source: &dyn Source) -> Result<Loaded, Errors> {
    let Read { draft, origins, mut problems, world_readable, complete } = read(path, boards, source);
    if !complete {
        // What seems to be missing may stand in the part that could not be read.
        return Err(problems.into_errors(path));
    }
    let mut check = check::Check::new(path, source, purpose, &origins, &mut problems);
    let config = check.finish(draft, world_readable);
    let warnings = check.warnings;
    if problems.list.is_empty() { Ok(Loaded { config, warnings, origins }) } else { Err(problems.into_errors(path)) }
}

/// Where the status socket of a configuration is, be the rest of it right or wrong, its secrets readable or not.
pub fn status_socket(path: &Path, boards: Option<&Path>, source: &dyn Source) -> Option<PathBuf> {
    let Read { mut draft, origins, mut problems, .. } = read(path, boards, source);
    let mut check = check::Check::new(path, source, Purpose::Check, &origins, &mut problems);
    check.socket(&mut draft);
    draft.config.status.socket
}

/// A configuration in the making: what the keys say, before anybody compares them.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) token_env: Option<String>,
    pub(super) client_secret_file: Option<PathBuf>,
    pub(super) auth_password_file: Option<PathBuf>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) rooms: Vec<Listed<RoomDraft>>,
    pub(super) callers: Vec<Listed<Caller>>,
    pub(super) buttons: Vec<Listed<Button>>,
    pub(super) calls: Vec<Listed<Call>>,
}

/// A table of a list, such as a `[[room]]`.
pub(super) struct Listed<T> {
    /// Its place among its like, from 1, and in the file.
    pub(super) number: usize,
    pub(super) place: Option<Place>,
    pub(super) item: T,
}

#[derive(Default)]
pub(super) struct RoomDraft {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) sip_uri: Option<String>,
    pub(super) create: bool,
    pub(super) record: bool,
    pub(super) meeting: Option<String>,
    pub(super) password: Secret,
    pub(super) quick_conference: Option<String>,
    pub(super) after_expel: Span,
    pub(super) after_destroy: Option<Span>,
}

/// Where a value stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) at: (usize, usize),
}

/// `section.key` to the place that had the last word.
pub(super) type Origins = BTreeMap<String, Place>;

/// One file of the stack.
pub(super) struct Layer {
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) is_board: bool,
}

#[derive(Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    more: usize,
}

/// What came out of the files.
struct Read {
    draft: Draft,
    origins: Origins,
    problems: Problems,
    /// The configuration file is readable for everybody.
    world_readable: bool,
    /// Every file was there, and was TOML.
    complete: bool,
}

fn read(path: &Path, boards: Option<&Path>, source: &dyn Source) -> Read {
    let (mut draft, mut origins, mut problems) = (Draft::default(), Origins::new(), Problems::default());
    let FileText { text, world_readable } = match source.read(path) {
        Ok(file) => file,
        Err(why) => {
            let fault = Fault::Unreadable { path: path.to_owned(), why };
            problems.push(Problem { file: path.to_owned(), at: None, key: String::new(), fault });
            return Read { draft, origins, problems, world_readable: false, complete: false };
        }
    };
    let file = Layer { file: path.to_owned(), text, is_board: false };
    let below = board::below(&file, boards, source, &mut problems);
    let mut complete = true;
    for layer in below.iter().rev().chain([&file]) {
        let reading = Reading { layer, draft: &mut draft, origins: &mut origins, problems: &mut problems };
        complete &= reading.apply();
    }
    Read { draft, origins, problems, world_readable, complete }
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        if self.list.len() < MAX_PROBLEMS { self.list.push(problem) } else { self.more += 1 }
    }

    /// Something is known to be wrong with this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.list.iter().any(|problem| problem.key == key)
    }

    /// In the order of the text, the configuration file before its boards.
    fn into_errors(mut self, path: &Path) -> Errors {
        self.list.sort_by_key(|problem| (problem.file != path, problem.file.clone(), problem.at));
        Errors { problems: self.list, more: self.more }
    }
}

impl Layer {
    /// Line and column of a byte, from 1.
    pub(super) fn position(&self, byte: usize) -> (usize, usize) {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
    }

    pub(super) fn problem(&self, at: Range<usize>, key: impl Into<String>, fault: Fault) -> Problem {
        Problem { file: self.file.clone(), at: Some(self.position(at.start)), key: key.into(), fault }
    }
}

/// One layer on its way into the draft.
struct Reading<'a> {
    layer: &'a Layer,
    draft: &'a mut Draft,
    origins: &'a mut Origins,
    problems: &'a mut Problems,
}

impl Reading<'_> {
    /// False if the text is no TOML.
    fn apply(mut self) -> bool {
        let (root, syntax) = DeTable::parse_recoverable(&self.layer.text);
        for error in &syntax {
            let fault = Fault::Syntax(error.message().to_owned());
            self.wrong(error.span().unwrap_or_default(), "", fault);
        }
        // What the parser made of a broken text is a guess: no further complaints about it.
        if !syntax.is_empty() {
            return false;
        }
        for (name, value) in root.get_ref() {
            match name.get_ref().as_ref() {
                "board" if !self.layer.is_board => self.seen("board".into(), name.span()),
                "inherit" if self.layer.is_board => {}
                list if self.layer.is_board && LISTS.contains(&list) => {
                    self.wrong(name.span(), &format!("[[{list}]]"), Fault::NotInBoard);
                }
                "room" => self.draft.rooms = self.tables("room", ROOM, value),
                "caller" => self.draft.callers = self.tables("caller", CALLER, value),
                "button" => self.draft.buttons = self.tables("button", BUTTON, value),
                "call" => self.draft.calls = self.tables("call", CALL, value),
                other => match section(other) {
                    Some(section) => self.section(section, name.span(), value),
                    None => self.unknown_at_top(other, name.span(), value),
                },
            }
        }
        true
    }

    fn section(&mut self, section: &Section, at: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let heading = format!("[{}]", section.name);
        if self.layer.is_board && !section.board {
            return self.wrong(at, &heading, Fault::NotInBoard);
        }
        let DeValue::Table(table) = value.get_ref() else {
            let fault = Fault::WrongType { expected: "a table", found: found(value.get_ref()) };
            return self.wrong(value.span(), &heading, fault);
        };
        for (name, value) in table {
            let word = name.get_ref().as_ref();
            let path = format!("{}.{word}", section.name);
            if let Some(key) = section.keys.iter().find(|key| key.name == word) {
                let mut wrong = Vec::new();
                (key.field)(self.draft).set(value, &key.rule, &mut wrong);
                self.all_wrong(wrong, &format!("{heading} {word}"));
                self.seen(path, name.span());
            } else if let Some(inner) = self::section(&path) {
                self.section(inner, name.span(), value);
            } else {
                let fault = unknown_key(word, section.keys, Some(section.name));
                self.wrong(name.span(), &format!("{heading} {word}"), fault);
            }
        }
    }

    /// The tables under `[[name]]`; one with a problem is left out.
    fn tables<T: Default>(&mut self, name: &str, keys: &[Key<T>], value: &Spanned<DeValue<'_>>) -> Vec<Listed<T>> {
        let expected = "a list of tables, each under its own [[heading]]";
        let mut tables = Vec::new();
        let DeValue::Array(list) = value.get_ref() else {
            let fault = Fault::WrongType { expected, found: found(value.get_ref()) };
            self.wrong(value.span(), &format!("[[{name}]]"), fault);
            return tables;
        };
        for (number, item) in (1..).zip(list.iter()) {
            let heading = format!("[[{name}]] {number}");
            let DeValue::Table(table) = item.get_ref() else {
                let fault = Fault::WrongType { expected, found: found(item.get_ref()) };
                self.wrong(item.span(), &heading, fault);
                continue;
            };
            let mut listed = Listed { number, place: Some(self.place(item.span())), item: T::default() };
            let problems_before = self.problems.list.len();
            for (name, value) in table {
                let word = name.get_ref().as_ref();
                let label = format!("{heading}, {word}");
                if let Some(key) = keys.iter().find(|key| key.name == word) {
                    let mut wrong = Vec::new();
                    (key.field)(&mut listed.item).set(value, &key.rule, &mut wrong);
                    self.all_wrong(wrong, &label);
                } else {
                    self.wrong(name.span(), &label, unknown_key(word, keys, None));
                }
            }
            if self.problems.list.len() == problems_before {
                tables.push(listed);
            }
        }
        tables
    }

    fn unknown_at_top(&mut self, word: &str, at: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let headings = SECTIONS.iter().map(|s| s.name).filter(|name| !name.contains('.')).chain(LISTS.iter().copied());
        let looks_like_section = match value.get_ref() {
            DeValue::Table(_) => true,
            DeValue::Array(list) => list.iter().any(|item| item.get_ref().is_table()),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => false,
        };
        if looks_like_section {
            let heading = |name: &str| if LISTS.contains(&name) { format!("[[{name}]]") } else { format!("[{name}]") };
            let nearest = nearest(word, headings.clone()).map(|name| heading(&name));
            let fault = Fault::UnknownSection { nearest, allowed: headings.map(heading).collect() };
            return self.wrong(at, &format!("[{word}]"), fault);
        }
        let top = if self.layer.is_board { "inherit" } else { TOP[0].0 };
        let fault = Fault::UnknownKey {
            nearest: nearest(word, [top]),
            elsewhere: home_of(word, None),
            allowed: vec![top.to_owned(), "and the sections".to_owned()],
        };
        self.wrong(at, word, fault);
    }

    fn all_wrong(&mut self, list: Vec<super::value::Wrong>, label: &str) {
        for wrong in list {
            let label = match wrong.entry {
                Some(entry) => format!("{label}.{}", super::error::excerpt(&entry).trim_matches('"')),
                None => label.to_owned(),
            };
            self.wrong(wrong.at, &label, wrong.fault);
        }
    }

    fn wrong(&mut self, at: Range<usize>, key: &str, fault: Fault) {
        let shown: String = key.chars().take(120).flat_map(char::escape_debug).collect();
        self.problems.push(self.layer.problem(at, shown, fault));
    }

    fn seen(&mut self, path: String, at: Range<usize>) {
        let place = self.place(at);
        self.origins.insert(path, place);
    }

    fn place(&self, at: Range<usize>) -> Place {
        Place { file: self.layer.file.clone(), at: self.layer.position(at.start) }
    }
}

pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

fn unknown_key<T>(word: &str, keys: &[Key<T>], section: Option<&str>) -> Fault {
    Fault::UnknownKey {
        nearest: nearest(word, keys.iter().map(|key| key.name)),
        elsewhere: home_of(word, section),
        allowed: keys.iter().map(|key| key.name.to_owned()).collect(),
    }
}

/// The one section, other than `here`, that has a key called `word`.
fn home_of(word: &str, here: Option<&str>) -> Option<String> {
    let mut homes = SECTIONS.iter().filter(|s| Some(s.name) != here && s.keys.iter().any(|key| key.name == word));
    match (homes.next(), homes.next()) {
        (Some(home), None) => Some(format!("[{}]", home.name)),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadError::Missing => "there is no such file",
            ReadError::Forbidden => "permission denied (which user runs this? who owns the file?)",
            ReadError::Directory => "it is a directory",
            ReadError::NotText => "it is not UTF-8 text",
            ReadError::TooLarge => "it is larger than 1 MiB",
            ReadError::Other(why) => why,
        })
    }
}
