//! The copy of the sources, with every trial in it.
//!
//! A place is found by its lines, wherever they stand: a trial goes stale only when those very lines change, and it says so.
//! What has not changed is not written again, so that building the copy once more takes only what did.

use crate::trial::{Hunk, Line, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Put at the end of `src/lib.rs`.
const SWITCH: &str = r#"
/// Whether the behaviour of this trial is taken out.
pub fn removed(trial: usize) -> bool {
    static TRIAL: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    *TRIAL.get_or_init(|| std::env::var("TRIAL").ok()?.parse().ok()) == Some(trial)
}
"#;

/// What all trials change in one file.
#[derive(Default)]
struct Changes {
    /// What comes instead of the line of this number.
    gone: BTreeMap<usize, Vec<String>>,
    /// What comes before it.
    come: BTreeMap<usize, Vec<String>>,
}

/// Writes the tree, or what of it has changed since.
pub fn copy(root: &Path, tree: &Path, trials: &[&Trial]) -> Result<(), String> {
    let patched = patched(root, trials)?;
    let files = sources(root)?;
    for file in &files {
        let text = match patched.get(file) {
            Some(text) => text.clone().into_bytes(),
            None => std::fs::read(root.join(file)).map_err(|e| format!("{file}: {e}"))?,
        };
        let to = tree.join(file);
        if std::fs::read(&to).is_ok_and(|there| there == text) {
            continue;
        }
        let folder = to.parent().expect("a file lies in a folder");
        std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&to, text)).map_err(|e| format!("{file}: {e}"))?;
    }
    for stale in sources_of_copy(tree, tree).into_iter().filter(|file| !files.contains(file)) {
        let _ = std::fs::remove_file(tree.join(stale));
    }
    Ok(())
}

/// The files that trials change, changed.
///
/// # Errors
/// Every place that is not found.
pub fn patched(root: &Path, trials: &[&Trial]) -> Result<BTreeMap<String, String>, String> {
    let mut files: BTreeMap<&str, (String, Changes)> = BTreeMap::new();
    let mut stale = Vec::new();
    for trial in trials {
        for hunk in &trial.hunks {
            let wrong = |what: String| format!("trial \"{}\": {}: {what}", trial.row, hunk.file);
            if !files.contains_key(hunk.file.as_str()) {
                let text = std::fs::read_to_string(root.join(&hunk.file)).map_err(|e| wrong(e.to_string()))?;
                files.insert(&hunk.file, (text, Changes::default()));
            }
            let (text, changes) = files.get_mut(hunk.file.as_str()).expect("it was just put there");
            stale.extend(changes.add(text, hunk, trial.number).map_err(wrong).err());
        }
    }
    if !stale.is_empty() {
        return Err(stale.join("\n"));
    }
    let mut texts: BTreeMap<String, String> =
        files.into_iter().map(|(file, (text, changes))| (file.to_owned(), changes.made_in(&text))).collect();
    let library = "src/lib.rs";
    if !texts.contains_key(library) {
        let text = std::fs::read_to_string(root.join(library)).map_err(|e| format!("{library}: {e}"))?;
        texts.insert(library.to_owned(), text);
    }
    texts.get_mut(library).expect("it is there now").push_str(SWITCH);
    Ok(texts)
}

impl Changes {
    fn add(&mut self, text: &str, hunk: &Hunk, number: usize) -> Result<(), String> {
        let mut at = place(text, hunk)?;
        let switch = match hunk.file.starts_with("src/") && hunk.file != "src/main.rs" {
            true => format!("crate::removed({number})"),
            false => format!("qss_endpoint::removed({number})"),
        };
        let mut took = None;
        for line in &hunk.lines {
            match line {
                Line::Stays(_) => (took, at) = (None, at + 1),
                Line::Goes(text) => {
                    if self.gone.insert(at, Vec::new()).is_some() {
                        return Err(format!("another trial takes the same line: {text}"));
                    }
                    (took, at) = (Some(at), at + 1);
                }
                Line::Comes(text) => {
                    let place = took.map_or_else(|| self.come.entry(at), |gone| self.gone.entry(gone));
                    place.or_default().push(text.replace("REMOVED", &switch));
                }
            }
        }
        Ok(())
    }

    fn made_in(&self, text: &str) -> String {
        let mut made = String::new();
        for (at, line) in text.lines().chain([""]).enumerate() {
            let before = self.come.get(&at).into_iter().flatten().map(String::as_str);
            let here = self.gone.get(&at).map_or_else(|| vec![line], |new| new.iter().map(String::as_str).collect());
            for line in before.chain(here) {
                made.push_str(line);
                made.push('\n');
            }
        }
        made
    }
}

/// Where the hunk's old lines stand: once, or the trial is stale.
fn place(text: &str, hunk: &Hunk) -> Result<usize, String> {
    let old = hunk.lines.iter().filter_map(|line| match line {
        Line::Stays(text) | Line::Goes(text) => Some(text.as_str()),
        Line::Comes(_) => None,
    });
    let (old, lines): (Vec<&str>, Vec<&str>) = (old.collect(), text.lines().map(str::trim).collect());
    let mut places = (0..lines.len()).filter(|at| lines[*at..].starts_with(&old));
    match (places.next(), places.next()) {
        (Some(at), None) if !old.is_empty() => Ok(at),
        (Some(_), _) => Err(format!("stands there more than once:\n{}", old.join("\n"))),
        (None, _) => Err(format!("does not stand there any more:\n{}", old.join("\n"))),
    }
}

/// What git knows, and what it would.
fn sources(root: &Path) -> Result<BTreeSet<String>, String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let told = git.output().map_err(|e| format!("git: {e}"))?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    Ok(text.split('\0').filter(|file| root.join(file).is_file()).map(str::to_owned).collect())
}

fn sources_of_copy(tree: &Path, folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let below = |path: std::path::PathBuf| match path.is_dir() {
        true => sources_of_copy(tree, &path),
        false => path.strip_prefix(tree).map(|path| path.to_string_lossy().into_owned()).into_iter().collect(),
    };
    entries.flat_map(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hunk(lines: Vec<Line>) -> Hunk {
        Hunk { file: "src/a.rs".into(), lines }
    }

    #[test]
    fn lines_go_and_come_where_they_are_found() {
        let mut changes = Changes::default();
        let text = "a\n    b\nc\nd";
        let lines = vec![Line::Stays("a".into()), Line::Goes("b".into()), Line::Comes("if !REMOVED { b }".into())];
        changes.add(text, &hunk(vec![Line::Stays("b".into()), Line::Comes("y".into())]), 2).expect("it fits");
        changes.add(text, &hunk(lines), 3).expect("it fits");
        changes.add(text, &hunk(vec![Line::Comes("x".into()), Line::Stays("d".into())]), 4).expect("it fits");
        assert_eq!(changes.made_in(text), "a\nif !crate::removed(3) { b }\ny\nc\nx\nd\n\n");
        assert!(changes.add(text, &hunk(vec![Line::Goes("b".into())]), 5).is_err(), "taken already");
    }

    #[test]
    fn what_stands_nowhere_or_twice_is_stale() {
        for wrong in ["z", "a"] {
            assert!(place("a\nb\na\n", &hunk(vec![Line::Goes(wrong.into())])).is_err(), "{wrong}");
        }
        assert!(place("a\n", &hunk(vec![Line::Comes("x".into())])).is_err(), "and nothing stands everywhere");
    }
}
