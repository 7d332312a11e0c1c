//! Reads the input devices that `[[button]]`s are on. One that is not there, or goes, is tried again quietly.

use crate::evdev::Keys;
use crate::io::sys;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Nobody writes at present, which only happens to a pipe: it is looked at again after this.
const NO_WRITER: Duration = Duration::from_millis(100);
/// Presses that wait for the control thread; more are a stuck key, and dropped.
const WAITING: usize = 32;

/// What happens at a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ButtonEvent {
    Pressed {
        device: String,
        code: u16,
    },
    /// It can be read, after it could not.
    There {
        device: String,
    },
    /// It cannot be read, for this reason.
    Gone {
        device: String,
        why: String,
    },
}

/// Follows each of the devices, until the receiver is dropped; one that cannot be read is looked for each `retry`. Must be
/// called within a tokio runtime.
pub fn follow(mut devices: Vec<String>, retry: Duration) -> mpsc::Receiver<ButtonEvent> {
    devices.sort();
    devices.dedup();
    let (events, receiver) = mpsc::channel(WAITING);
    for device in devices {
        tokio::spawn(follow_one(device, retry, events.clone()));
    }
    receiver
}

async fn follow_one(device: String, retry: Duration, events: mpsc::Sender<ButtonEvent>) {
    let mut there = true;
    while !events.is_closed() {
        let why = match open(Path::new(&device)) {
            Ok((file, readable)) => {
                if !std::mem::replace(&mut there, true) {
                    let _ = events.send(ButtonEvent::There { device: device.clone() }).await;
                }
                read(file, readable, &device, &events).await
            }
            Err(error) => error,
        };
        if std::mem::replace(&mut there, false) {
            let why = why.to_string();
            let _ = events.send(ButtonEvent::Gone { device: device.clone(), why }).await;
        }
        tokio::time::sleep(retry).await;
    }
}

/// The device, and what tells that it has something to say.
fn open(path: &Path) -> std::io::Result<(File, AsyncFd<OwnedFd>)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let ready = sys::readable(file.try_clone()?.into())?;
    Ok((file, ready))
}

/// Until it fails.
async fn read(
    mut file: File,
    readable: AsyncFd<OwnedFd>,
    device: &str,
    events: &mpsc::Sender<ButtonEvent>,
) -> std::io::Error {
    let mut keys = Keys::default();
    let mut bytes = [0; 1024];
    while !events.is_closed() {
        let mut ready = match readable.readable().await {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        match file.read(&mut bytes) {
            Ok(0) => tokio::time::sleep(NO_WRITER).await,
            Ok(n) => {
                for code in keys.take(&bytes[..n]) {
                    let _ = events.try_send(ButtonEvent::Pressed { device: device.to_owned(), code });
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error,
        }
    }
    ErrorKind::BrokenPipe.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evdev::EVENT;
    use std::io::Write;

    fn press(code: u16) -> Vec<u8> {
        let mut bytes = vec![0; EVENT - 8];
        bytes.extend(1_u16.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(1_i32.to_ne_bytes());
        bytes
    }

    async fn next(events: &mut mpsc::Receiver<ButtonEvent>) -> ButtonEvent {
        tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap()
    }

    #[test]
    fn a_device_may_come_late_go_and_come_again() {
        let path = std::env::temp_dir().join(format!("qss-endpoint-button-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let device = path.to_string_lossy().into_owned();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let mut events = follow(vec![device.clone(), device.clone()], Duration::from_millis(20));
            assert!(matches!(next(&mut events).await, ButtonEvent::Gone { .. }));
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            assert_eq!(next(&mut events).await, ButtonEvent::There { device: device.clone() });
            for code in [169, 2] {
                let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
                writer.write_all(&press(code)).unwrap();
                drop(writer);
                assert_eq!(next(&mut events).await, ButtonEvent::Pressed { device: device.clone(), code });
            }
        });
        std::fs::remove_file(&path).unwrap();
    }
}
