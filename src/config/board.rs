//! Boards: files of defaults for a kind of hardware, under the configuration file's own values.
//!
//! `board = "x"` names a file `x.toml`; a board may `inherit = "y"` in turn. A name is looked up in the directories
//! first and among the boards built into the program last, so that one binary works alone and a site can still
//! replace any board by its own.

use super::error::{Fault, excerpt, nearest};
use super::file::{FileText, Layer, Problems, ReadError, Source};
use super::value::found;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// The boards of the repository's `boards/`, compiled in.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("base", include_str!("../../boards/base.toml")),
    ("imx-wm8904", include_str!("../../boards/imx-wm8904.toml")),
    ("lab", include_str!("../../boards/lab.toml")),
    ("raspberry-pi-usb", include_str!("../../boards/raspberry-pi-usb.toml")),
];

const SYSTEM_DIRECTORY: &str = "/usr/share/qss-endpoint/boards";
/// Names a directory of boards; the command line goes before it.
const VARIABLE: &str = "QSS_ENDPOINT_BOARDS";

/// The layers below `file`, nearest first. What is wrong with them goes to `problems`.
pub(super) fn below(file: &Layer, given: Option<&Path>, source: &dyn Source, problems: &mut Problems) -> Vec<Layer> {
    let directories = match given.map(Path::to_owned).or_else(|| source.variable(VARIABLE).map(PathBuf::from)) {
        Some(directory) => vec![directory],
        None => {
            let beside = file.file.parent().unwrap_or(Path::new("")).join("boards");
            vec![beside, PathBuf::from(SYSTEM_DIRECTORY)]
        }
    };
    let mut layers: Vec<Layer> = Vec::new();
    let mut way: Vec<String> = Vec::new();
    loop {
        let (above, key) = layers.last().map_or((file, "board"), |layer| (layer, "inherit"));
        let Some((name, at)) = parent(above, key, problems) else { return layers };
        if way.contains(&name) {
            way.push(name);
            problems.push(above.problem(at, key, Fault::BoardLoop(way)));
            return layers;
        }
        match find(&name, &directories, source) {
            Ok(layer) => {
                way.push(name);
                layers.push(layer);
            }
            Err(fault) => {
                problems.push(above.problem(at, key, fault));
                return layers;
            }
        }
    }
}

/// The board that `layer` names, and where it does.
fn parent(layer: &Layer, key: &str, problems: &mut Problems) -> Option<(String, std::ops::Range<usize>)> {
    // Syntax errors are reported when the layer is applied.
    let (root, _) = DeTable::parse_recoverable(&layer.text);
    let value = root.get_ref().get(key)?;
    let Some(name) = value.get_ref().as_str() else {
        let fault = Fault::WrongType { expected: "a string, the name of a board", found: found(value.get_ref()) };
        problems.push(layer.problem(value.span(), key, fault));
        return None;
    };
    Some((name.to_owned(), value.span()))
}

fn find(name: &str, directories: &[PathBuf], source: &dyn Source) -> Result<Layer, Fault> {
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    for directory in directories.iter().filter(|_| is_name) {
        let file = directory.join(format!("{name}.toml"));
        match source.read(&file) {
            Ok(FileText { text, .. }) => return Ok(Layer { file, text, is_board: true }),
            Err(ReadError::Missing) => {}
            Err(why) => return Err(Fault::Unreadable { path: file, why }),
        }
    }
    if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        let file = PathBuf::from(format!("(built-in)/boards/{name}.toml"));
        return Ok(Layer { file, text: (*text).to_owned(), is_board: true });
    }
    let mut known: BTreeSet<String> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.extend(directories.iter().flat_map(|directory| source.boards_in(directory)));
    let nearest = nearest(name, known.iter().map(String::as_str));
    Err(Fault::UnknownBoard { name: excerpt(name), nearest, known: known.into_iter().collect() })
}
