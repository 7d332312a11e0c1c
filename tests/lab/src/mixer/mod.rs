//! A small conference bridge: SIP over UDP, Opus, N-1 mixing every 20 ms, on one real-time thread.
//!
//! It imitates what was seen of a ConfBridge: the offerer's payload type is kept, `maxaveragebitrate` is honoured, a
//! number of seven or more digits is a room, a few names refuse in their own way (`busy`, `reject`, ...), a kick is a
//! BYE with `Reason: Q.850;cause=16`. Beyond it, `a=ptime` 40 and 60 are honoured too, because a low cap on the wire
//! needs them.

mod call;
pub mod leg;
pub mod message;
mod run;
pub mod sdp;

pub use leg::{Counters, Packet};

use run::{Command, Shared};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Config {
    /// SIP address; its IP carries RTP too. Port 0: any free one.
    pub listen: SocketAddr,
    /// User and password every INVITE must prove (digest MD5, qop=auth); `None`: anonymous.
    pub digest: Option<(String, String)>,
    /// How long a room rings (180) before it answers.
    pub ring: Duration,
    /// Accept `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// Send in-band FEC to peers that offer `useinbandfec=1` (Asterisk never does).
    pub fec: bool,
    /// SCHED_FIFO priority of the thread; 0, or no permission: the ordinary scheduler.
    pub realtime_priority: u8,
}

impl Default for Config {
    fn default() -> Config {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Config { listen, digest: None, ring: Duration::ZERO, rtcp_mux: true, fec: false, realtime_priority: 15 }
    }
}

/// One call as the mixer sees it, kept after its end.
#[derive(Clone, PartialEq, Debug)]
pub struct CallInfo {
    pub id: u32,
    pub call_id: String,
    /// User part of From.
    pub user: String,
    /// User part of the Request-URI.
    pub room: String,
    pub state: CallState,
    pub offer: String,
    pub answer: String,
    pub counters: Counters,
    pub invited_us: u64,
    pub answered_us: Option<u64>,
    pub confirmed_us: Option<u64>,
    pub ended_us: Option<u64>,
    /// RTP packets, oldest first; at most a million each way.
    pub received: Vec<Packet>,
    pub sent: Vec<Packet>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallState {
    Ringing,
    Answered,
    Confirmed,
    Ended(End),
}

/// Who ended a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Cancelled,
    ByPeer,
    ByMixer,
    NoAck,
    Refused(u16),
}

/// How INVITEs are treated, whatever number they dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reception {
    /// By the number: rooms, refusing names, 404.
    ByNumber,
    /// Refuse all with this status.
    Refuse(u16),
    /// Swallow SIP without a word.
    Silent,
}

/// A running mixer; dropped, it is gone without a goodbye, as after kill -9.
pub struct Mixer {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    address: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Mixer {
    pub fn start(config: Config) -> std::io::Result<Mixer> {
        let (shared, commands, address, thread) = run::start(config)?;
        Ok(Mixer { shared, commands, address, thread: Some(thread) })
    }

    /// Where SIP is answered.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every call so far, oldest first.
    pub fn calls(&self) -> Vec<CallInfo> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the probe finds what it looks for among the calls.
    pub fn wait_for<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut probe: impl FnMut(&[CallInfo]) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + timeout;
        let mut calls = self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = probe(&calls) {
                return Ok(found);
            }
            let now = Instant::now();
            if now >= deadline {
                let seen = calls
                    .iter()
                    .map(|call| format!("  {} {} {:?} {:?}\n", call.user, call.room, call.state, call.counters));
                return Err(format!("no {what} within {timeout:?}; the mixer has:\n{}", seen.collect::<String>()));
            }
            let step = (deadline - now).min(Duration::from_millis(20));
            calls = self.shared.changed.wait_timeout(calls, step).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Hangs up every call of a user (`None`: all), with BYE.
    pub fn kick(&self, user: Option<&str>) {
        self.command(Command::Kick(user.map(String::from)));
    }

    /// From now on rooms ring this long before they answer.
    pub fn ring(&self, delay: Duration) {
        self.command(Command::Ring(delay));
    }

    pub fn reception(&self, reception: Reception) {
        self.command(Command::Reception(reception));
    }

    /// Stops everything for a while: no RTP, no SIP, as a stopped process does.
    pub fn freeze(&self, how_long: Duration) {
        self.command(Command::Freeze(how_long));
    }

    /// Ends with BYE to everyone.
    pub fn stop(mut self) {
        self.command(Command::Stop);
        self.join();
    }

    fn command(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Mixer {
    fn drop(&mut self) {
        self.command(Command::Kill);
        self.join();
    }
}
