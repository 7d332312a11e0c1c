//! A button without hardware: a FIFO that says what Linux's input layer says of a key (`struct input_event`: time, type,
//! code, value; linux/input.h).

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The key of [`Button`], as a configuration names it, and its number.
pub const KEY: &str = "KEY_PHONE";
const KEY_CODE: u16 = 169;
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;

pub struct Button {
    path: PathBuf,
    word: Word,
}

/// How long a `long` is to who reads the button: two of them, the time, begin each event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    Bits32,
    Bits64,
}

impl Button {
    /// Makes the device.
    pub fn new(path: PathBuf, word: Word) -> io::Result<Button> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: the name is a string with its zero at the end.
        let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
        match made {
            0 => Ok(Button { path, word }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub fn device(&self) -> &Path {
        &self.path
    }

    /// Down, and up again.
    ///
    /// # Errors
    /// `ENXIO`: nobody reads the device.
    pub fn press(&self) -> io::Result<()> {
        let mut device = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&self.path)?;
        let events = [(EV_KEY, KEY_CODE, 1), (EV_SYN, 0, 0), (EV_KEY, KEY_CODE, 0), (EV_SYN, 0, 0)];
        device.write_all(&events.map(|(kind, code, value)| self.event(kind, code, value)).concat())
    }

    fn event(&self, kind: u16, code: u16, value: i32) -> Vec<u8> {
        let time = match self.word {
            Word::Bits32 => 2 * 4,
            Word::Bits64 => 2 * 8,
        };
        let mut bytes = vec![0; time];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }
}
