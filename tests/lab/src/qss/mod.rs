//! A signalling server for tests, on its own thread: documented shapes, everything logged, bad manners on command.
//!
//! ```text
//!   test ── QssServer ──┐ (mutex: Office, log, senders; condvar wakes wait_for)
//!                       │
//!   accept loop ── one task per connection ── ws / wss ── device
//! ```
//! A frame is logged before it is answered, so a test that saw the effect also finds the cause.

mod authority;
mod log;
mod office;
mod server;

pub use authority::{Authority, CertificateKind};
pub use log::{Entry, Log, What};
pub use office::{CodePlace, Conn, Meeting, News, Notices, Office, Refusal, RoomSpec, Shape};

use serde_json::{Value, json};
use server::{Control, Shared, Wire};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the server is set up.
#[derive(Clone)]
pub struct Config {
    /// Port 0: any free one.
    pub listen: SocketAddr,
    /// wss instead of ws.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub rooms: Vec<RoomSpec>,
    pub shape: Shape,
    /// Token every register must carry; `None`: any.
    pub token: Option<String>,
    /// `host:port` in the `sipUri` of rooms made by createRoom.
    pub mixer: String,
    /// kbit/s of rooms made by createRoom.
    pub bitrate: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            rooms: Vec::new(),
            shape: Shape::default(),
            token: None,
            mixer: "audiomixer-sfu1:5080".into(),
            bitrate: 1024,
        }
    }
}

/// What happens to a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    Open,
    /// The upgrade is answered with this HTTP status, and `Retry-After` in seconds if given.
    Refuse {
        status: u16,
        retry_after: Option<u32>,
    },
    /// The upgrade succeeds, then the server closes with this WebSocket code.
    CloseAfterUpgrade {
        code: u16,
    },
    /// TCP is accepted and dropped.
    HangUp,
    /// TCP is accepted, nothing is ever said.
    Silent,
}

/// What happens to frames of open connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Desk {
    Answer,
    /// Answer each frame this much later.
    Slow(Duration),
    /// Read, log and pong, but send nothing else.
    Mute,
    /// Do not read at all: a black hole. Pings stay unanswered, TCP stays open.
    Deaf,
}

/// What survives a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Rooms are kept, without their participants.
    Rooms,
    /// Nothing.
    Nothing,
}

/// What a test waited for did not come; prints the end of the log.
#[derive(Debug)]
pub struct Missed {
    pub what: String,
    pub waited: Duration,
    pub transcript: String,
}

impl std::fmt::Display for Missed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no {} within {:?}; the server saw:\n{}", self.what, self.waited, self.transcript)
    }
}

impl std::error::Error for Missed {}

/// A running server; dropped, it is gone with all its connections.
pub struct QssServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    secure: bool,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl QssServer {
    /// Binds and runs on a thread of its own.
    pub fn start(config: Config) -> std::io::Result<QssServer> {
        let secure = config.tls.is_some();
        let (shared, address, thread) = server::start(config)?;
        Ok(QssServer { shared, address, secure, thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for the client's configuration.
    pub fn url(&self) -> String {
        format!("{}://localhost:{}/qss", if self.secure { "wss" } else { "ws" }, self.address.port())
    }

    /// How many entries the log has now: a mark for [`Log::after`].
    pub fn mark(&self) -> usize {
        self.shared.lock().log.len()
    }

    /// A copy of the log.
    pub fn log(&self) -> Vec<Entry> {
        self.shared.lock().log.clone()
    }

    /// Waits until the probe finds what it looks for in the log.
    pub fn wait_for<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut probe: impl FnMut(Log<'_>) -> Option<T>,
    ) -> Result<T, Missed> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = probe(Log { entries: &state.log }) {
                return Ok(found);
            }
            let now = Instant::now();
            if now >= deadline {
                let tail = state.log.len().saturating_sub(40);
                let transcript = state.log[tail..].iter().map(|entry| format!("{entry}\n")).collect();
                return Err(Missed { what: what.into(), waited: timeout, transcript });
            }
            state = self.shared.wait(state, deadline - now);
        }
    }

    /// Waits for a request after `mark`; returns its payload.
    pub fn wait_request(&self, name: &str, mark: usize, timeout: Duration) -> Result<Value, Missed> {
        self.wait_for(&format!("request {name}"), timeout, |log| {
            log.after(mark).requests(name).next().map(|(_, frame)| frame["payload"].clone())
        })
    }

    /// Waits for a device's status event with this rung after `mark`; returns the event.
    pub fn wait_rung(&self, device: &str, rung: &str, mark: usize, timeout: Duration) -> Result<Value, Missed> {
        self.wait_for(&format!("rung {rung} of {device}"), timeout, |log| {
            log.after(mark)
                .statuses(device)
                .find(|(_, status)| status["rung"] == rung)
                .map(|(_, status)| status.clone())
        })
    }

    pub fn participants(&self, room: &str) -> Vec<String> {
        self.shared.lock().office.participants(room)
    }

    pub fn add_room(&self, room: RoomSpec) {
        self.shared.lock().office.add_room(room);
    }

    /// From now on (or until counted down) requests of that name are refused.
    pub fn refuse_requests(&self, refusal: Refusal) {
        self.shared.lock().office.refuse(refusal);
    }

    pub fn door(&self, door: Door) {
        self.shared.lock().door = door;
    }

    pub fn desk(&self, desk: Desk) {
        self.shared.desk(desk);
    }

    /// Invites every device of `to` into `room`; returns the `requestID`.
    pub fn invite(&self, from: &str, to: &str, room: &str) -> String {
        let mut state = self.shared.lock();
        let (id, out) = state.office.invite(from, to, room);
        self.shared.post(&mut state, out);
        id
    }

    /// Withdraws an invite made by [`QssServer::invite`].
    pub fn cancel_invite(&self, id: &str, error: u16) {
        let mut state = self.shared.lock();
        let out = state.office.cancel_invite(id, error);
        self.shared.post(&mut state, out);
    }

    pub fn destroy_room(&self, room: &str) {
        let mut state = self.shared.lock();
        let out = state.office.destroy(room);
        self.shared.post(&mut state, out);
    }

    pub fn expel(&self, room: &str, user: &str) {
        let mut state = self.shared.lock();
        let out = state.office.expel(room, user);
        self.shared.post(&mut state, out);
    }

    /// Asks every device of `to`, in the name of `from`, for an invite; returns the `requestID`.
    pub fn ask_for_invite(&self, from: &str, to: &str) -> String {
        let mut state = self.shared.lock();
        let (id, out) = state.office.ask_for_invite(from, to);
        self.shared.post(&mut state, out);
        id
    }

    /// The media server tells that a participant holds or resumes.
    pub fn hold(&self, room: &str, user: &str, held: bool) {
        let mut state = self.shared.lock();
        let out = state.office.hold(room, user, held);
        self.shared.post(&mut state, out);
    }

    /// Tells everybody in the room who speaks; `None`: nobody does.
    pub fn active_speaker(&self, room: &str, user: Option<&str>) {
        let mut state = self.shared.lock();
        let out = state.office.active_speaker(room, user);
        self.shared.post(&mut state, out);
    }

    /// Wants to know how every device of a user is.
    pub fn ask_for_snapshot(&self, user: &str) {
        let mut state = self.shared.lock();
        let out = state.office.ask_for_snapshot(user);
        self.shared.post(&mut state, out);
    }

    /// Transfers `transferee` blindly to `to`; returns the id of the transfer and its new room.
    pub fn transfer(&self, from: &str, transferee: &str, to: &str) -> (String, String) {
        let mut state = self.shared.lock();
        let (id, room, out) = state.office.transfer(from, transferee, to);
        self.shared.post(&mut state, out);
        (id, room)
    }

    /// Sends `transferee` to `room`, where `target` is; returns the `requestID`.
    pub fn attended_transfer(&self, from: &str, transferee: &str, target: &str, room: &str) -> String {
        let mut state = self.shared.lock();
        let (id, out) = state.office.attended_transfer(from, transferee, target, room);
        self.shared.post(&mut state, out);
        id
    }

    /// Withdraws a transfer made by [`QssServer::attended_transfer`].
    pub fn cancel_attended(&self, id: &str, error: u16) {
        let mut state = self.shared.lock();
        let out = state.office.cancel_attended(id, error);
        self.shared.post(&mut state, out);
    }

    /// Ends a user's sessions; they cannot register again until [`QssServer::reinstate`].
    pub fn revoke(&self, user: &str) {
        self.shared.lock().office.revoke(user);
        self.close(user, 1008);
    }

    pub fn reinstate(&self, user: &str) {
        self.shared.lock().office.reinstate(user);
    }

    /// The rooms there are.
    pub fn rooms(&self) -> Vec<String> {
        self.shared.lock().office.rooms()
    }

    /// Sends a frame to every device of a user. Returns how many there were.
    pub fn send(&self, user: &str, frame: &Value) -> usize {
        let mut state = self.shared.lock();
        let out: Vec<(Conn, Value)> =
            state.office.connections_of(user).into_iter().map(|conn| (conn, frame.clone())).collect();
        let count = out.len();
        self.shared.post(&mut state, out);
        count
    }

    /// Sends an event in the documented envelope.
    pub fn send_event(&self, user: &str, name: &str, payload: Value) -> usize {
        self.send(user, &json!({"type": "event", "payload": {"eventName": name, "payload": payload}}))
    }

    /// Sends a text frame as it is: garbage, halves of JSON, megabytes.
    pub fn send_text(&self, user: &str, text: &str) -> usize {
        self.send_wire(user, |_| Wire::Text(text.into()))
    }

    /// Sends a text frame of any bytes, also of such as are no UTF-8.
    pub fn send_text_bytes(&self, user: &str, bytes: &[u8]) -> usize {
        self.send_wire(user, |_| Wire::TextBytes(bytes.into()))
    }

    pub fn send_binary(&self, user: &str, bytes: &[u8]) -> usize {
        self.send_wire(user, |_| Wire::Binary(bytes.into()))
    }

    /// Closes a user's connections with a WebSocket close code.
    pub fn close(&self, user: &str, code: u16) -> usize {
        self.send_wire(user, |_| Wire::Close(code))
    }

    /// Drops every connection without a goodbye; new ones are welcome at once.
    pub fn drop_connections(&self) {
        self.shared.drop_connections();
    }

    /// Like kill -9: connections die, the port refuses.
    pub fn down(&self, memory: Memory) {
        self.shared.control(Control::Down);
        self.shared.drop_connections();
        self.shared.lock().office.forget(memory == Memory::Rooms);
    }

    /// Listens again on the same port.
    pub fn up(&self) {
        self.shared.control(Control::Up);
    }

    fn send_wire(&self, user: &str, wire: impl Fn(Conn) -> Wire) -> usize {
        let mut state = self.shared.lock();
        let connections = state.office.connections_of(user);
        connections.iter().for_each(|conn| self.shared.post_wire(&mut state, *conn, wire(*conn)));
        connections.len()
    }
}

impl Drop for QssServer {
    fn drop(&mut self) {
        self.shared.control(Control::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
