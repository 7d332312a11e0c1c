//! Files and environment, for [`config::file::load`](crate::config::file::load).

use crate::config::file::{FileText, ReadError, Source};
use std::fs::File;
use std::io::{ErrorKind, Read};
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
