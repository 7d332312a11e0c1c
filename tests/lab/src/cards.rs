//! Virtual sound cards for programs under test, handled as values: speak into a microphone, read a loudspeaker, pull the
//! plug. What a card is and which files it has: `tests/lab/vsnd/src/lib.rs`.
//!
//! All cards of one [`Cards`] share an epoch, so frame n of every recording happened at the same instant.

use crate::clock::mono_us;
use crate::folder::Folder;
use crate::measure::sound_file;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory of cards.
#[derive(Debug)]
pub struct Cards {
    folder: Folder,
    epoch_us: u64,
}

/// One card.
#[derive(Clone, Debug)]
pub struct Card {
    name: String,
    folder: PathBuf,
    epoch_us: u64,
}

impl Cards {
    /// A fresh directory whose frame 0 is now.
    ///
    /// # Errors
    /// If the plug-in cannot be found or built.
    pub fn new(name: &str) -> io::Result<Cards> {
        let folder = Folder::new(name)?;
        let conf = fs::read_to_string(workspace().join("tests/lab/vsnd/asound.conf.in"))?;
        fs::write(folder.path().join("asound.conf"), conf.replace("@LIB@", &plugin()?.to_string_lossy()))?;
        let epoch_us = mono_us();
        fs::write(folder.path().join("epoch"), format!("{}\n", epoch_us * 1000))?;
        Ok(Cards { folder, epoch_us })
    }

    /// A card with lines of settings, e.g. `ppm 100` (see `tests/lab/vsnd/src/settings.rs`). Mono unless they say otherwise.
    pub fn card(&self, name: &str, settings: &str) -> io::Result<Card> {
        let card = Card { name: name.into(), folder: self.folder.path().into(), epoch_us: self.epoch_us };
        fs::write(card.file("card"), settings)?;
        File::create(card.file("mic.raw"))?;
        Ok(card)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The variables that lead a program's libasound here.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("ALSA_CONFIG_PATH", self.path().join("asound.conf")), ("VSND_DIR", self.path().into())]
    }
}

impl Card {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ALSA name of its PCMs.
    pub fn pcm(&self) -> String {
        format!("hw:CARD={},DEV=0", self.name)
    }

    /// The frame that is being heard and played now (48 kHz, no ppm).
    pub fn frame_now(&self) -> usize {
        ((mono_us() - self.epoch_us) * 48 / 1000) as usize
    }

    /// The frame at an instant of [`mono_us`].
    pub fn frame_at(&self, at_us: u64) -> usize {
        (at_us.saturating_sub(self.epoch_us) * 48 / 1000) as usize
    }

    /// Puts sound before the (mono) microphone, from a frame on; also while the card runs, if the frame is still to come.
    pub fn say(&self, at: usize, samples: &[i16]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.file("mic.raw"))?;
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        file.write_all_at(&bytes, at as u64 * 2)
    }

    /// The same, a moment (100 ms) from now. Returns the frame at which it begins.
    pub fn say_now(&self, samples: &[i16]) -> io::Result<usize> {
        let at = self.frame_now() + 4800;
        self.say(at, samples)?;
        Ok(at)
    }

    /// What the microphone hears, from frame 0 on.
    pub fn microphone(&self) -> Vec<i16> {
        sound_file::read_raw(&self.file("mic.raw"), 1, 0).unwrap_or_default()
    }

    /// What the (mono) loudspeaker has played, from frame 0 on. The last period may be missing.
    pub fn loudspeaker(&self) -> Vec<i16> {
        sound_file::read_raw(&self.file("spk.raw"), 1, 0).unwrap_or_default()
    }

    /// Faults at certain frames, in the words of `tests/lab/vsnd/src/faults.rs`. The card reads them when it is opened.
    pub fn faults(&self, text: &str) -> io::Result<()> {
        fs::write(self.file("faults"), text)
    }

    pub fn unplug(&self) -> io::Result<()> {
        fs::write(self.file("unplugged"), "")
    }

    pub fn replug(&self) -> io::Result<()> {
        fs::remove_file(self.file("unplugged"))
    }

    /// Opening it fails with EBUSY.
    pub fn busy(&self, busy: bool) -> io::Result<()> {
        if busy { fs::write(self.file("busy"), "") } else { fs::remove_file(self.file("busy")) }
    }

    /// Its clock stands still, for as long as it is so.
    pub fn stall(&self, stalled: bool) -> io::Result<()> {
        if stalled { fs::write(self.file("stalled"), "") } else { fs::remove_file(self.file("stalled")) }
    }

    /// The instant of [`mono_us`] at which a frame passes.
    pub fn us_at(&self, frame: usize) -> u64 {
        self.epoch_us + frame as u64 * 1000 / 48
    }

    /// The lines of the card's log with this event (`xrun`, `start`, `stop`, `unplug` ...).
    pub fn logged(&self, event: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.file("log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line["ev"] == event).collect()
    }

    /// Xruns nobody asked for: the machine was late, and a measurement of that run means nothing.
    pub fn spoilt(&self) -> bool {
        self.logged("xrun").iter().any(|xrun| xrun["injected"] != true)
    }

    fn file(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{}.{what}", self.name))
    }
}

/// The plug-in: `$VSND_LIB`, or the workspace's.
fn plugin() -> io::Result<PathBuf> {
    std::env::var_os("VSND_LIB").map_or_else(|| library("vsnd", "libasound_module_pcm_vsnd.so"), |path| Ok(path.into()))
}

/// A library of the workspace: beside this program, or in the workspace's target folder, or built there now.
pub(crate) fn library(package: &str, name: &str) -> io::Result<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    if let Some(found) = beside.into_iter().chain([target_folder().join("debug").join(name)]).find(|path| path.exists())
    {
        return Ok(found);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--quiet", "-p", package]).current_dir(workspace()).status()?;
    let library = target_folder().join("debug").join(name);
    match built.success() && library.exists() {
        true => Ok(library),
        false => Err(io::Error::other(format!("{name} cannot be built: cargo build -p {package}"))),
    }
}

/// Another of the lab's programs or libraries, which lies beside the plug-in.
pub fn beside_plugin(name: &str) -> Option<PathBuf> {
    let path = plugin().ok()?.parent()?.join(name);
    path.exists().then_some(path)
}

/// The root of the repository this was built from.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where cargo puts finished programs.
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
