//! A machine in memory, for tests of the configuration.
#![allow(dead_code)] // Each test binary uses its own part.

use qss_endpoint::config::card_name::CardIdentity;
use qss_endpoint::config::error::Errors;
use qss_endpoint::config::file::{FileText, Loaded, Purpose, ReadError, Source, load, status_socket};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) const FILE: &str = "/etc/endpoint.toml";
pub(crate) const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) files: BTreeMap<PathBuf, String>,
    pub(crate) unreadable: BTreeMap<PathBuf, ReadError>,
    pub(crate) world_readable: Vec<PathBuf>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) sound_cards: Vec<CardIdentity>,
}

/// A configuration in which only what a test adds can be wrong.
pub(crate) fn minimal() -> &'static str {
    "[qss]\nurl = 'wss://qss.example.com/'\nusername = 'door'\ntoken = 'secret'\n[[room]]\nid = 'b7f0'\n"
}

impl Memory {
    /// A machine with an id, a host name, and `text` as its configuration.
    pub(crate) fn with(text: &str) -> Memory {
        let mut memory = Memory::default();
        memory.file("/etc/machine-id", &format!("{MACHINE_ID}\n"));
        memory.file("/proc/sys/kernel/hostname", "kitchen\n");
        memory.file(FILE, text);
        memory
    }

    pub(crate) fn file(&mut self, path: &str, text: &str) {
        self.files.insert(path.into(), text.to_owned());
    }

    pub(crate) fn load(&self) -> Result<Loaded, Errors> {
        load(Path::new(FILE), None, Purpose::Run, self)
    }

    pub(crate) fn check(&self) -> Result<Loaded, Errors> {
        load(Path::new(FILE), None, Purpose::Check, self)
    }

    pub(crate) fn status_socket(&self) -> Option<PathBuf> {
        status_socket(Path::new(FILE), None, self)
    }
}

impl Source for Memory {
    fn read(&self, path: &Path) -> Result<FileText, ReadError> {
        if let Some(why) = self.unreadable.get(path) {
            return Err(why.clone());
        }
        let text = self.files.get(path).cloned().ok_or(ReadError::Missing)?;
        Ok(FileText { text, world_readable: self.world_readable.iter().any(|p| p == path) })
    }

    fn boards_in(&self, directory: &Path) -> Vec<String> {
        let inside = self.files.keys().filter(|path| path.parent() == Some(directory));
        inside.filter_map(|path| Some(path.file_name()?.to_str()?.strip_suffix(".toml")?.to_owned())).collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn sound_cards(&self) -> Vec<CardIdentity> {
        self.sound_cards.clone()
    }
}
