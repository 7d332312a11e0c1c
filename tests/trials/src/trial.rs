//! The trials as they are written: `tests/trials/*.txt`, a file for each group, paragraphs with a blank line between.
//!
//! ```text
//! # 1. Session                                        what the file is about
//!
//! any inbound frame keeps the link                    the behaviour that is tried
//! lib::qss::session::tests::any_inbound_...           the test that must fail without it
//! src/qss/session.rs                                  a file of the product
//!   pub fn handle_frame(..) {                         lines that stay, to find the place
//! - self.handle_alive();                              lines that go
//! + if !REMOVED { self.handle_alive(); }              lines that come
//! ```
//!
//! White space at either end of a line does not count. `REMOVED` is true in the trial and false otherwise.

use std::path::Path;

/// A file of trials.
pub struct Item {
    pub title: String,
    pub trials: Vec<Trial>,
}

pub struct Trial {
    /// Names it in the environment.
    pub number: usize,
    /// The behaviour.
    pub row: String,
    /// `binary::path::of::the::test`.
    pub test: String,
    pub hunks: Vec<Hunk>,
}

/// A place in a file, and what is changed there.
pub struct Hunk {
    pub file: String,
    pub lines: Vec<Line>,
}

pub enum Line {
    Stays(String),
    Goes(String),
    Comes(String),
}

/// All trials, in the order of their files' names.
pub fn read_all(root: &Path) -> Result<Vec<Item>, String> {
    let folder = root.join("tests/trials");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut number = 0;
    let mut read = |file: &std::path::PathBuf| {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        read_item(&text, &mut number).map_err(|what| format!("{}: {what}", file.display()))
    };
    files.iter().map(&mut read).collect()
}

fn read_item(text: &str, number: &mut usize) -> Result<Item, String> {
    let mut paragraphs = text.split("\n\n").map(str::trim_end).filter(|paragraph| !paragraph.trim().is_empty());
    let title = paragraphs.next().and_then(|first| first.strip_prefix("# ")).ok_or("the first line is no title")?;
    let trials = paragraphs.map(|paragraph| {
        *number += 1;
        read_trial(paragraph.trim_start_matches('\n'), *number).ok_or(format!("no trial: {paragraph}"))
    });
    Ok(Item { title: title.to_owned(), trials: trials.collect::<Result<_, _>>()? })
}

fn read_trial(paragraph: &str, number: usize) -> Option<Trial> {
    let mut lines = paragraph.lines();
    let (row, test) = (lines.next()?.to_owned(), lines.next()?.to_owned());
    let mut hunks: Vec<Hunk> = Vec::new();
    for line in lines {
        let (mark, rest) = line.split_at_checked(1)?;
        let rest = rest.trim().to_owned();
        match mark {
            " " => hunks.last_mut()?.lines.push(Line::Stays(rest)),
            "-" => hunks.last_mut()?.lines.push(Line::Goes(rest)),
            "+" => hunks.last_mut()?.lines.push(Line::Comes(rest)),
            _ => hunks.push(Hunk { file: line.to_owned(), lines: Vec::new() }),
        }
    }
    let switched =
        |hunk: &Hunk| hunk.lines.iter().any(|line| matches!(line, Line::Comes(text) if text.contains("REMOVED")));
    (test.contains("::") && hunks.iter().any(switched)).then_some(Trial { number, row, test, hunks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_a_row_a_test_and_places_in_files() {
        let text = "# T\n\nrow\nlib::a::b\nsrc/a.rs\n  stays\n- goes\n+ REMOVED\nsrc/b.rs\n+ comes\n";
        let item = read_item(text, &mut 7).expect("a trial");
        let [trial] = &item.trials[..] else { panic!("one trial") };
        assert_eq!((trial.number, trial.row.as_str(), trial.test.as_str()), (8, "row", "lib::a::b"));
        let places: Vec<_> = trial.hunks.iter().map(|hunk| (hunk.file.as_str(), hunk.lines.len())).collect();
        assert_eq!(places, [("src/a.rs", 3), ("src/b.rs", 1)]);
    }

    #[test]
    fn what_is_no_trial_is_said() {
        for wrong in
            ["", "row\nlib::t\n", "# T\n\nrow", "# T\n\nrow\nlib::t\n+ REMOVED", "# T\n\nrow\nlib::t\nsrc/a.rs\n+ x"]
        {
            assert!(read_item(wrong, &mut 0).is_err(), "{wrong}");
        }
    }
}
