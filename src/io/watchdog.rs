//! What systemd is told: ready, stopping, and that both threads still make progress (sd_notify(3)).
//!
//! The protocol is one datagram of `KEY=value` lines, so it is spoken here rather than by a crate: those read the
//! environment at each call and cannot be tested without changing that of the whole test process.
//!
//! A watchdog that a timer feeds proves that a timer runs. This one is fed only when, since it was last fed, both the
//! control and the media thread have said that they got something done.

use crate::time::{Span, Time};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The line to the service manager; without one (no systemd) every call does nothing.
#[derive(Debug)]
pub struct Watchdog {
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// Half of what systemd allows; `None`: it does not watch.
    interval: Option<Span>,
    fed: Option<Time>,
    control: bool,
    media: bool,
}

/// Who made progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Control,
    Media,
}

impl Watchdog {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_env() -> Watchdog {
        let variable = |name: &str| std::env::var(name).ok();
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let limit = variable("WATCHDOG_USEC").filter(|_| ours).and_then(|us| us.parse().ok());
        Watchdog::new(variable("NOTIFY_SOCKET").as_deref(), limit)
    }

    /// `socket` is a path, or `@name` of an abstract socket; `limit` is in microseconds.
    pub fn new(socket: Option<&str>, limit: Option<u64>) -> Watchdog {
        let manager = socket.and_then(|socket| Some((UnixDatagram::unbound().ok()?, address(socket).ok()?)));
        if let Some((socket, _)) = &manager {
            // A service manager that does not read must not hold up a call.
            let _ = socket.set_nonblocking(true);
        }
        let interval = limit.filter(|&us| us > 0).map(|us| Span::from_micros(us / 2));
        Watchdog { manager, interval, fed: None, control: false, media: false }
    }

    /// How often [`progress`](Watchdog::progress) must come from both parts; `None`: nobody watches.
    pub fn interval(&self) -> Option<Span> {
        self.interval
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

    /// `part` got something done. Feeds the watchdog if the other part did, too, and half the allowed time is over.
    pub fn progress(&mut self, now: Time, part: Part) {
        match part {
            Part::Control => self.control = true,
            Part::Media => self.media = true,
        }
        let Some(interval) = self.interval else { return };
        let due = self.fed.is_none_or(|fed| now.since(fed) >= interval);
        if due && self.control && self.media {
            self.say("WATCHDOG=1");
            (self.fed, self.control, self.media) = (Some(now), false, false);
        }
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
    fn one_thread_alone_does_not_feed_it() {
        let manager = Manager::new("alone");
        let mut watchdog = Watchdog::new(Some(&manager.1), Some(10_000_000));
        assert_eq!(watchdog.interval(), Some(Span::from_secs(5)));
        for second in 1..60 {
            watchdog.progress(Time::from_millis(second * 1000), Part::Media);
        }
        assert_eq!(manager.heard(), None);
        watchdog.progress(Time::from_millis(60_000), Part::Control);
        assert_eq!(manager.heard().as_deref(), Some("WATCHDOG=1"));
        watchdog.progress(Time::from_millis(70_000), Part::Control);
        assert_eq!(manager.heard(), None, "the media thread has done nothing since");
    }

    #[test]
    fn it_is_fed_about_twice_per_allowed_time() {
        let manager = Manager::new("pace");
        let mut watchdog = Watchdog::new(Some(&manager.1), Some(10_000_000));
        let mut fed = Vec::new();
        for second in 1..=30 {
            watchdog.progress(Time::from_millis(second * 1000), Part::Control);
            watchdog.progress(Time::from_millis(second * 1000 + 1), Part::Media);
            fed.extend(manager.heard().map(|_| second));
        }
        assert_eq!(fed, [1, 6, 11, 16, 21, 26]);
    }

    #[test]
    fn states_are_told_and_without_a_manager_nothing_happens() {
        let manager = Manager::new("states");
        let watchdog = Watchdog::new(Some(&manager.1), None);
        watchdog.ready();
        watchdog.status("in room\nlobby");
        watchdog.stopping();
        let heard: Vec<_> = std::iter::from_fn(|| manager.heard()).collect();
        assert_eq!(heard, ["READY=1", "STATUS=in room lobby", "STOPPING=1"]);
        let mut nobody = Watchdog::new(None, Some(1_000_000));
        nobody.ready();
        nobody.progress(Time::from_millis(1), Part::Control);
        Watchdog::new(Some("/nonexistent/notify"), None).ready();
    }
}
