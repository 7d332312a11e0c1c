//! Files and environment, for [`config::file::load`](crate::config::file::load).

use crate::config::card_name::CardIdentity;
use crate::config::file::{FileText, ReadError, Source};
use crate::io::alsa::machine::Machine;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The real machine.
pub struct Disk;

/// No configuration, board, token or CA bundle is larger; `/dev/zero` is.
const LARGEST: u64 = 1024 * 1024;

impl Source for Disk {
    fn read(&self, path: &Path) -> Result<FileText, ReadError> {
        let file = File::open(path).map_err(|e| why(&e))?;
        let mode = file.metadata().map_err(|e| why(&e))?.permissions().mode();
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| why(&e))?;
        if bytes.len() as u64 > LARGEST {
            return Err(ReadError::TooLarge);
        }
        let text = String::from_utf8(bytes).map_err(|_| ReadError::NotText)?;
        Ok(FileText { text, world_readable: mode & 0o004 != 0 })
    }

    fn boards_in(&self, directory: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
        let names =
            entries.flatten().filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned()));
        names.collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn sound_cards(&self) -> Vec<CardIdentity> {
        Machine::default().cards()
    }
}

/// What must outlive a crash: the files of `device.state_dir`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keepsake {
    /// The rooms of our own.
    Rooms,
    /// Attempts at a session, and a time that has passed.
    Session,
}

/// What [`keep`] has written last; `None`: nothing, or nothing that can be read.
pub fn kept(directory: &Path, what: Keepsake) -> Option<String> {
    Disk.read(&directory.join(what.file())).ok().map(|file| file.text)
}

/// Writes `text` so that after a crash there is either all of it or what was there before.
///
/// # Errors
/// The directory is not there and cannot be made, or is full or read-only.
pub fn keep(directory: &Path, what: Keepsake, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(what.file());
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    File::open(directory)?.sync_all()
}

impl Keepsake {
    fn file(self) -> &'static str {
        match self {
            Keepsake::Rooms => "kept.json",
            Keepsake::Session => "session.json",
        }
    }
}

fn why(error: &std::io::Error) -> ReadError {
    let known = [
        (ErrorKind::NotFound, ReadError::Missing),
        (ErrorKind::NotADirectory, ReadError::Missing),
        (ErrorKind::PermissionDenied, ReadError::Forbidden),
        (ErrorKind::IsADirectory, ReadError::Directory),
    ];
    let found = known.into_iter().find(|(kind, _)| *kind == error.kind());
    found.map_or_else(|| ReadError::Other(error.to_string()), |(_, why)| why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_replaced_as_a_whole() {
        let directory = std::env::temp_dir().join(format!("qss-endpoint-kept-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        assert_eq!(kept(&directory, Keepsake::Rooms), None);
        keep(&directory, Keepsake::Rooms, "one and a long tail").unwrap();
        keep(&directory, Keepsake::Rooms, "two").unwrap();
        assert_eq!(kept(&directory, Keepsake::Rooms).as_deref(), Some("two"));
        assert_eq!(kept(&directory, Keepsake::Session), None);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        std::fs::write(directory.join("kept.json"), [0xff, 0xfe]).unwrap();
        assert_eq!(kept(&directory, Keepsake::Rooms), None, "what is no text is nothing");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
