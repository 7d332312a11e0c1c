//! What systemd is told: ready, stopping, and that both threads still make progress (sd_notify(3)).
//!
//! The protocol is one datagram of `KEY=value` lines, so it is spoken here rather than by a crate: those read the
//! environment at each call and cannot be tested without changing that of the whole test process.
//!
//! A watchdog that a timer feeds proves that a timer runs. This one is ticked by the control thread's loop, which proves
//! that thread, and feeds only if the media thread has got something done since the tick before.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The line to the service manager; without one (no systemd) every call does nothing.
#[derive(Debug)]
pub struct Watchdog {
    manager: Option<(UnixDatagram, SocketAddr)>,
    interval: Option<Duration>,
    /// The media thread's progress at the last tick.
    media_progress: u64,
}

/// Ticks per allowed time: one in which the media thread had no turn must not kill a healthy process.
const TICKS: u32 = 4;

impl Watchdog {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_env() -> Watchdog {
        let variable = |name: &str| std::env::var(name).ok();
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let limit = variable("WATCHDOG_USEC").filter(|_| ours).and_then(|us| us.parse().ok());
        Watchdog::new(variable("NOTIFY_SOCKET").as_deref(), limit.map(Duration::from_micros))
    }

    /// `socket` is a path, or `@name` of an abstract socket; `limit` is how long the manager waits for food.
    pub fn new(socket: Option<&str>, limit: Option<Duration>) -> Watchdog {
        let manager = socket.and_then(|socket| Some((UnixDatagram::unbound().ok()?, address(socket).ok()?)));
        if let Some((socket, _)) = &manager {
            // A service manager that does not read must not hold up a call.
            let _ = socket.set_nonblocking(true);
        }
        let interval = limit.filter(|limit| !limit.is_zero()).map(|limit| limit / TICKS);
        Watchdog { manager, interval, media_progress: 0 }
    }

    /// How often to call [`tick`](Watchdog::tick); `None`: nobody watches.
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Feeds if `media_progress`, any number that moves with what the media thread gets done, has moved.
    pub fn tick(&mut self, media_progress: u64) {
        if self.interval.is_some() && media_progress != self.media_progress {
            self.media_progress = media_progress;
            self.say("WATCHDOG=1");
        }
    }

    /// The sockets are bound and the loops run; says nothing about QSS or card, which may come late.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.say(&format!("STATUS={}", line.replace('\n', " ")));
    }

    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, message: &str) {
        if let Some((socket, manager)) = &self.manager {
            // Lost is lost: the next one follows, and there is nobody to tell.
            let _ = socket.send_to_addr(message.as_bytes(), manager);
        }
    }
}

fn address(socket: &str) -> io::Result<SocketAddr> {
    match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Manager(UnixDatagram, String);

    impl Manager {
        fn new(test: &str) -> Manager {
            let name = format!("qss-endpoint-watchdog-{test}-{}", std::process::id());
            let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
            socket.set_nonblocking(true).unwrap();
            Manager(socket, format!("@{name}"))
        }

        fn heard(&self) -> Option<String> {
            let mut buffer = [0; 256];
            self.0.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned())
        }
    }

    #[test]
    fn it_is_fed_only_while_the_media_thread_gets_something_done() {
        let manager = Manager::new("progress");
        let mut watchdog = Watchdog::new(Some(&manager.1), Some(Duration::from_secs(20)));
        assert_eq!(watchdog.interval(), Some(Duration::from_secs(5)));
        let fed = [0, 0, 7, 7, 9, 9, 9].map(|progress| {
            watchdog.tick(progress);
            manager.heard().is_some_and(|heard| heard == "WATCHDOG=1")
        });
        assert_eq!(fed, [false, false, true, false, true, false, false]);
    }

    #[test]
    fn states_are_told_and_without_a_manager_nothing_happens() {
        let manager = Manager::new("states");
        let mut watchdog = Watchdog::new(Some(&manager.1), None);
        watchdog.tick(1);
        watchdog.ready();
        watchdog.status("in room\nlobby");
        watchdog.stopping();
        let heard: Vec<_> = std::iter::from_fn(|| manager.heard()).collect();
        assert_eq!(heard, ["READY=1", "STATUS=in room lobby", "STOPPING=1"]);
        let mut nobody = Watchdog::new(None, Some(Duration::from_secs(1)));
        nobody.ready();
        nobody.tick(1);
        Watchdog::new(Some("/nonexistent/notify"), None).ready();
    }
}
