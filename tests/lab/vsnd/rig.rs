//! For test binaries: builds the virtual sound card, makes this process use it, and handles cards as values.
//!
//! Include it with `#[path = "lab/vsnd/rig.rs"] mod rig;`. All cards of a process live in one directory, thus on one
//! frame axis; a test gives its cards names of their own.
#![allow(dead_code)] // each test binary uses a part of it

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A virtual card, known by its files (see `src/lib.rs`).
pub(crate) struct VirtualCard {
    name: String,
    dir: &'static Path,
}

/// Makes a card; `settings` are lines of its `.card` file.
pub(crate) fn card(name: &str, settings: &str) -> VirtualCard {
    let card = VirtualCard { name: name.into(), dir: directory() };
    fs::write(card.file("card"), settings).expect("the rig's directory is writable");
    card
}

/// The directory of this process's cards. The first call builds the plug-in and points libasound to it.
pub(crate) fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let library = built_plugin();
        let dir = fresh_directory();
        let template = include_str!("asound.conf.in");
        let conf = dir.join("asound.conf");
        fs::write(&conf, template.replace("@LIB@", &library.to_string_lossy())).expect("the directory is writable");
        // SAFETY: this runs once, before the first call into libasound of the process, and nothing else reads the
        // environment without the standard library's lock.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("ALSA_CONFIG_PATH", &conf);
            std::env::set_var("VSND_DIR", &dir);
        }
        dir
    })
}

impl VirtualCard {
    /// The ALSA name of its PCMs.
    pub(crate) fn pcm(&self) -> String {
        format!("hw:CARD={},DEV=0", self.name)
    }

    /// The ALSA name of its mixer.
    pub(crate) fn mixer(&self) -> String {
        format!("hw:{}", self.name)
    }

    /// What the microphone hears from frame 0 on. Before the card is opened.
    pub(crate) fn set_mic(&self, samples: &[i16]) {
        fs::write(self.file("mic.raw"), bytes(samples)).expect("the rig's directory is writable");
    }

    /// Faults at given frames (see `src/faults.rs`). Before the card is opened.
    pub(crate) fn set_faults(&self, faults: &str) {
        fs::write(self.file("faults"), faults).expect("the rig's directory is writable");
    }

    /// What the loudspeaker has played since frame 0.
    pub(crate) fn speaker(&self) -> Vec<i16> {
        let bytes = fs::read(self.file("spk.raw")).unwrap_or_default();
        bytes.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect()
    }

    /// The lines of the log with this event.
    pub(crate) fn logged(&self, event: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.file("log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line["ev"] == event).collect()
    }

    /// Xruns that no fault asked for: the machine was late, and what the test measured means nothing.
    pub(crate) fn spoilt(&self) -> bool {
        self.logged("xrun").iter().any(|xrun| xrun["injected"] != true)
    }

    /// Microphone's volume in dB and switch, loudspeaker's volume and switch (see `src/ctl.rs`).
    pub(crate) fn controls(&self) -> Vec<i32> {
        let bytes = fs::read(self.file("ctl")).unwrap_or_default();
        bytes.chunks_exact(4).map(|four| i32::from_ne_bytes([four[0], four[1], four[2], four[3]])).collect()
    }

    pub(crate) fn unplug(&self) {
        self.mark("unplugged", true);
    }

    pub(crate) fn replug(&self) {
        self.mark("unplugged", false);
    }

    pub(crate) fn set_busy(&self, busy: bool) {
        self.mark("busy", busy);
    }

    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.mark("stalled", stalled);
    }

    fn mark(&self, what: &str, on: bool) {
        if on {
            fs::write(self.file(what), "").expect("the rig's directory is writable");
        } else {
            let _ = fs::remove_file(self.file(what));
        }
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.name))
    }
}

/// A root with the kernel's list of cards in it, as `src/io/alsa/machine.rs` reads it. One for each test.
pub(crate) struct CardList(PathBuf);

impl CardList {
    pub(crate) fn new(test: &str) -> CardList {
        let root = directory().join(format!("machine-{test}"));
        fs::create_dir_all(root.join("sys/class/sound")).expect("the rig's directory is writable");
        CardList(root)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// A USB device at a port of its own becomes card `index`: `card`.
    pub(crate) fn plug(&self, index: u32, card: &VirtualCard, usb: (&str, &str)) {
        let device = format!("platform/xhci/usb1/1-{}", index + 1);
        let place = format!("{device}/1-{}:1.0/sound/card{index}", index + 1);
        self.write(&format!("sys/devices/{device}/idVendor"), usb.0);
        self.write(&format!("sys/devices/{device}/idProduct"), usb.1);
        self.write(&format!("sys/devices/{place}/id"), &card.name);
        let link = self.0.join(format!("sys/class/sound/card{index}"));
        std::os::unix::fs::symlink(format!("../../devices/{place}"), link).expect("not plugged in twice");
    }

    pub(crate) fn unplug(&self, index: u32) {
        let _ = fs::remove_file(self.0.join(format!("sys/class/sound/card{index}")));
    }

    /// A file of `proc`, `etc` or `dev`.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("the rig's directory is writable");
        fs::write(path, format!("{text}\n")).expect("the rig's directory is writable");
    }
}

/// The frame number of a 48 kHz card without ppm, now.
pub(crate) fn frame_now() -> i64 {
    let epoch = fs::read_to_string(directory().join("epoch")).ok().and_then(|text| text.trim().parse::<i64>().ok());
    let now = qss_endpoint::io::clock::now().as_micros() as i64;
    epoch.map_or(0, |epoch| (now - epoch / 1_000) * 48 / 1_000)
}

/// `$VSND_LIB`, or what `cargo build -p vsnd` says it has built.
fn built_plugin() -> PathBuf {
    if let Some(path) = std::env::var_os("VSND_LIB") {
        return path.into();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "-p", "vsnd", "--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "vsnd does not build: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let artifacts = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let libraries = artifacts.flat_map(|artifact| artifact["filenames"].as_array().cloned().unwrap_or_default());
    let mut paths = libraries.filter_map(|name| name.as_str().map(PathBuf::from));
    let library = paths.find(|path| path.ends_with("libasound_module_pcm_vsnd.so"));
    library.expect("vsnd is a cdylib of that name")
}

/// On tmpfs, because samples are written from the audio thread. Those of processes that ended are removed.
fn fresh_directory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
    for entry in fs::read_dir(&base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ended = |pid: &str| !Path::new("/proc").join(pid).exists();
        if name.strip_prefix("vsnd-rig-").is_some_and(ended) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let dir = base.join(format!("vsnd-rig-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a temporary directory can be made");
    dir
}

fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}
