//! `[[call]]`, `[[button]]` and `[calls]`, compared with each other and with the rest.

use super::super::error::Fault;
use super::super::file::Listed;
use super::super::{Button, Call, Config};
use super::Check;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// More people do not ring for one press of a button.
const MAX_TARGETS: usize = 16;

impl Check<'_> {
    pub(super) fn calls(&mut self, listed: Vec<Listed<Call>>) -> Vec<Call> {
        let have_qss = self.origins.contains_key("qss.url");
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut calls = Vec::new();
        for Listed { number, place, item } in listed {
            let label = format!("[[call]] {number}");
            let mut wrong = Vec::new();
            if item.name.is_empty() {
                wrong.push(Fault::Missing("has no name".into()));
            } else if let Some(first) = names.insert(item.name.clone(), number) {
                let name = super::super::error::excerpt(&item.name);
                wrong.push(Fault::Duplicate(format!("{name} is the name of call {first} already")));
            }
            if item.targets.is_empty() {
                wrong.push(Fault::Missing("has no targets: nobody would be called".into()));
            }
            if item.targets.len() > MAX_TARGETS {
                wrong.push(Fault::Conflict(format!("has more than {MAX_TARGETS} targets")));
            }
            if item.ring > item.total {
                wrong.push(Fault::Conflict("ring_ms is more than total_ms".into()));
            }
            if !have_qss {
                wrong.push(Fault::Missing("only a QSS can carry this call: set qss.url".into()));
            }
            for fault in wrong {
                self.push(place.as_ref(), &label, fault);
            }
            calls.push(item);
        }
        calls
    }

    pub(super) fn buttons(&mut self, listed: Vec<Listed<Button>>) -> Vec<Button> {
        let mut buttons: Vec<Button> = Vec::new();
        for Listed { number, place, item } in listed {
            let missing = [("device", &item.device), ("key", &item.key), ("does", &item.does)];
            let mut wrong: Vec<Fault> = missing
                .iter()
                .filter(|(_, value)| value.is_empty())
                .map(|(key, _)| Fault::Missing(format!("has no {key}")))
                .collect();
            if !item.key.is_empty() && crate::evdev::code(&item.key).is_none() {
                wrong.push(Fault::not_allowed(&item.key, "must be a number, or a name such as \"KEY_PHONE\""));
            }
            if !item.does.is_empty() && !crate::agent::is_command(&item.does) {
                wrong.push(Fault::not_allowed(&item.does, "must be a command of the local socket, with its arguments"));
            }
            if buttons.iter().any(|known| known.device == item.device && known.key == item.key) {
                wrong.push(Fault::Duplicate("another button is the same key of the same device".into()));
            }
            for fault in wrong {
                self.push(place.as_ref(), &format!("[[button]] {number}"), fault);
            }
            buttons.push(item);
        }
        buttons
    }

    /// Where what must outlive a crash is kept: as given, or systemd's directory.
    pub(super) fn state_dir(&mut self, config: &mut Config) {
        match config.device.state_dir.take() {
            Some(path) => config.device.state_dir = self.path("device.state_dir", &path),
            None if !self.origins.contains_key("device.state_dir") => {
                let first = |dirs: String| PathBuf::from(dirs.split(':').next().unwrap_or_default());
                config.device.state_dir = self.source.variable("STATE_DIRECTORY").map(first);
            }
            None => {}
        }
    }
}
