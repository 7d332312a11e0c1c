//! What is wrong with a configuration, in the words a technician needs, and all of it at once.
//!
//! One [`Problem`] is one line: `file:line:column: [section] key: what is wrong; what is allowed; the nearest spelling`.
//! A [`Fault`] is the same as a value, for tests and for whoever must tell the cases apart.

use super::file::ReadError;
use std::fmt;
use std::path::PathBuf;

/// Everything that was found wrong; never empty. Its `Display` has one line per problem, in the order of the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Errors {
    pub problems: Vec<Problem>,
    /// Problems beyond [`MAX_PROBLEMS`], only counted.
    pub more: usize,
}

/// A file that is not a configuration at all would otherwise print a line for each of its lines.
pub const MAX_PROBLEMS: usize = 100;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub file: PathBuf,
    /// Line and column, both from 1; `None` when the problem is something that is *not* in the file.
    pub at: Option<(usize, usize)>,
    /// `[audio] period_ms`, `[[room]] 2`, `board`; empty for a file as a whole.
    pub key: String,
    pub fault: Fault,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Not TOML; in the words of the parser. A key given twice is one of these.
    Syntax(String),
    UnknownKey {
        nearest: Option<String>,
        /// Section that has a key of this very name.
        elsewhere: Option<String>,
        allowed: Vec<String>,
    },
    UnknownSection {
        nearest: Option<String>,
        allowed: Vec<String>,
    },
    WrongType {
        expected: &'static str,
        found: &'static str,
    },
    OutOfRange {
        value: String,
        allowed: String,
    },
    /// Not one of a few words.
    UnknownWord {
        value: String,
        nearest: Option<String>,
        allowed: Vec<String>,
    },
    /// A text of the wrong shape, and which shape it must have.
    NotAllowed {
        value: String,
        why: String,
    },
    UnknownBoard {
        name: String,
        nearest: Option<String>,
        known: Vec<String>,
    },
    /// `inherit` leads back to where it came from: the way it went.
    BoardLoop(Vec<String>),
    /// A board describes hardware; this belongs into the configuration file.
    NotInBoard,
    Unreadable {
        path: PathBuf,
        why: ReadError,
    },
    /// A file that can be read but does not hold what it should.
    BadContent {
        path: PathBuf,
        why: &'static str,
    },
    Duplicate(String),
    /// Each value is fine, together they cannot be.
    Conflict(String),
    Missing(String),
}

impl Fault {
    pub(super) fn not_allowed(value: &str, why: impl Into<String>) -> Fault {
        Fault::NotAllowed { value: excerpt(value), why: why.into() }
    }
}

/// A value as it may stand in a message: short, on one line, without control characters.
pub(super) fn excerpt(value: &str) -> String {
    const LONGEST: usize = 60;
    let short: String = value.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if value.chars().nth(LONGEST).is_some() { format!("\"{short}…\"") } else { format!("\"{short}\"") }
}

/// The candidate a typist most likely meant, if any is near enough to be worth saying.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Long words are not typing errors, and the distance costs the product of the lengths.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let length = word.chars().count();
    let candidates = candidates.into_iter().filter_map(|candidate| {
        let whole = strsim::damerau_levenshtein(&word, candidate);
        // `period` for `period_ms`, `raspbery` for `raspberry-pi-usb`: the beginning is right, the rest was left out.
        let beginning: String = candidate.chars().take(length).collect();
        let begun = strsim::damerau_levenshtein(&word, &beginning);
        let near = whole <= (candidate.len() / 3).max(1) || (length >= 3 && begun <= length / 4);
        near.then_some(((whole.min(begun + 1), whole), candidate))
    });
    candidates.min_by_key(|&(rank, _)| rank).map(|(_, candidate)| candidate.to_owned())
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\n... and {} more", self.more)?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.at {
            write!(f, "{line}:{column}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Syntax(message) => write!(f, "not valid TOML: {message}"),
            Fault::UnknownKey { elsewhere: Some(section), allowed, .. } => {
                write!(f, "unknown key; it belongs to {section}{}", Choice(&None, "allowed here", allowed))
            }
            Fault::UnknownKey { nearest, elsewhere: None, allowed } => {
                write!(f, "unknown key{}", Choice(nearest, "allowed", allowed))
            }
            Fault::UnknownSection { nearest, allowed } => {
                write!(f, "unknown section{}", Choice(nearest, "allowed", allowed))
            }
            Fault::WrongType { expected, found } => write!(f, "is {found}; allowed: {expected}"),
            Fault::OutOfRange { value, allowed } => write!(f, "{value} is out of range; allowed: {allowed}"),
            Fault::UnknownWord { value, nearest, allowed } => {
                write!(f, "{value} is not known{}", Choice(nearest, "allowed", allowed))
            }
            Fault::NotAllowed { value, why } => write!(f, "{value} is not allowed: {why}"),
            Fault::UnknownBoard { name, nearest, known } => {
                write!(f, "unknown board {name}{}", Choice(nearest, "known", known))
            }
            Fault::BoardLoop(way) => write!(f, "boards inherit in a circle: {}", way.join(" -> ")),
            Fault::NotInBoard => write!(f, "a board describes hardware; this belongs into the configuration file"),
            Fault::Unreadable { path, why } => write!(f, "cannot read {}: {why}", path.display()),
            Fault::BadContent { path, why } => write!(f, "{}: {why}", path.display()),
            Fault::Duplicate(what) => write!(f, "given twice: {what}"),
            Fault::Conflict(what) | Fault::Missing(what) => f.write_str(what),
        }
    }
}

/// The nearest spelling, if there is one, and all there are.
struct Choice<'a>(&'a Option<String>, &'static str, &'a [String]);

impl fmt::Display for Choice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Choice(nearest, title, all) = self;
        match nearest {
            Some(nearest) => write!(f, "; did you mean {nearest}? {title}: {}", all.join(", ")),
            None => write!(f, "; {title}: {}", all.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["period_ms", "periods", "capture", "playback"];
        assert_eq!(nearest("perod_ms", words).as_deref(), Some("period_ms"));
        assert_eq!(nearest("Capture", words).as_deref(), Some("capture"));
        assert_eq!(nearest("period", words).as_deref(), Some("periods"));
        assert_eq!(nearest("connect", ["connect_timeout_ms"]).as_deref(), Some("connect_timeout_ms"));
        assert_eq!(nearest("raspbery", ["base", "raspberry-pi-usb"]).as_deref(), Some("raspberry-pi-usb"));
        assert_eq!(nearest("volume", words), None);
        assert_eq!(nearest("", words), None);
        assert_eq!(nearest(&"a".repeat(100), words), None);
    }

    #[test]
    fn an_excerpt_stays_on_one_short_line() {
        assert_eq!(excerpt("a\n\u{1b}[31mb"), r#""a\n\u{1b}[31mb""#);
        assert!(excerpt(&"x".repeat(1000)).len() < 80);
    }
}
