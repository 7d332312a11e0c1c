//! A relay between endpoints and a mixer that sees every packet and can lose, delay, repeat or swallow it.
//!
//! ```text
//!   endpoint ── SIP ──► listen ─ rewrites Contact, c=, m= ─► uplink of that endpoint ──► mixer
//!   endpoint ── RTP ──► near   ─ count, harm ──────────────► far                     ──► mixer
//! ```
//! The endpoint's `host_map` points to [`Relay::address`]; nothing else changes. Works with any mixer that answers to
//! where a request came from. Harm is drawn from a seed, so a run repeats itself as far as timing lets it.

use crate::clock::mono_us;
use crate::measure::signal::Chance;
use crate::mixer::Packet;
use crate::mixer::leg::bind_pair;
use crate::mixer::message::Message;
use crate::stamps::{receive, stamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens to packets of one direction. The default lets everything pass.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Harm {
    /// Probabilities, 0 to 1.
    pub loss: f64,
    pub duplicate: f64,
    /// Held back by [`Harm::held_ms`] more than the others, so that it arrives behind its successors.
    pub reorder: f64,
    pub held_ms: f64,
    /// Packets that are lost in a row, on average (Gilbert's model); up to 1 each has its own luck.
    pub burst: f64,
    pub delay_ms: f64,
    /// Uniform addition to the delay, up to this. Order is kept only by chance.
    pub jitter_ms: f64,
    pub black_hole: bool,
}

/// Harm in every direction.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Weather {
    /// Media from the endpoint to the mixer, and back.
    pub up: Harm,
    pub down: Harm,
    /// SIP, both ways.
    pub sip: Harm,
}

/// One RTP packet as it passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rtp {
    pub packet: Packet,
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    /// First byte of the payload; for Opus its TOC.
    pub first_byte: u8,
}

/// Media of one call in one direction, as sent, before any harm.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Flow {
    pub rtp: Vec<Rtp>,
    pub rtcp: Vec<Packet>,
}

impl Flow {
    /// RTP alone.
    pub fn packets(&self) -> Vec<Packet> {
        self.rtp.iter().map(|rtp| rtp.packet).collect()
    }

    /// RTP and RTCP, in order of time.
    pub fn all(&self) -> Vec<Packet> {
        let mut all: Vec<Packet> = self.packets().into_iter().chain(self.rtcp.iter().copied()).collect();
        all.sort_by_key(|packet| packet.at_us);
        all
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct CallFlow {
    pub call_id: String,
    pub up: Flow,
    pub down: Flow,
}

/// A running relay; dropped, it is gone and with it every path.
pub struct Relay {
    shared: Arc<Mutex<State>>,
    address: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct State {
    weather: Weather,
    seed: u64,
    fates: [Fate; LANES],
    calls: Vec<CallFlow>,
    stop: bool,
}

impl Relay {
    /// Relays to the mixer's SIP address.
    pub fn start(mixer: SocketAddr, seed: u64) -> io::Result<Relay> {
        let listen = UdpSocket::bind((mixer.ip(), 0))?;
        listen.set_nonblocking(true)?;
        let address = listen.local_addr()?;
        let weather = Weather::default();
        let state = State { weather, seed, fates: Fate::all(seed), calls: Vec::new(), stop: false };
        let shared = Arc::new(Mutex::new(state));
        let exchange = Exchange {
            listen,
            address,
            mixer,
            shared: shared.clone(),
            uplinks: Vec::new(),
            paths: Vec::new(),
            queue: BinaryHeap::new(),
            counter: 0,
        };
        let thread = std::thread::Builder::new().name("lab-wire".into()).spawn(move || exchange.run())?;
        Ok(Relay { shared, address, thread: Some(thread) })
    }

    /// Where endpoints send their SIP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next packet on.
    pub fn weather(&self, weather: Weather) {
        let mut state = self.lock();
        state.weather = weather;
        state.fates = Fate::all(state.seed);
    }

    /// Every call so far, oldest first.
    pub fn calls(&self) -> Vec<CallFlow> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.lock().stop = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The relay's thread.
struct Exchange {
    listen: UdpSocket,
    address: SocketAddr,
    mixer: SocketAddr,
    shared: Arc<Mutex<State>>,
    uplinks: Vec<Uplink>,
    paths: Vec<Path>,
    queue: BinaryHeap<Reverse<Waiting>>,
    counter: u64,
}

/// One endpoint's way to the mixer: to the mixer it looks like the endpoint.
struct Uplink {
    endpoint: SocketAddr,
    /// `host:port` of the endpoint's own Contact.
    contact: String,
    socket: UdpSocket,
    local: SocketAddr,
}

/// Media of one call. RTP is pair 0, RTCP pair 1.
struct Path {
    call: usize,
    near: [UdpSocket; 2],
    near_port: u16,
    far: [UdpSocket; 2],
    far_port: u16,
    /// Where the endpoint and the mixer want their media.
    endpoint: Option<[SocketAddr; 2]>,
    mixer: Option<[SocketAddr; 2]>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due_us: u64,
    order: u64,
    by: By,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// SIP, RTP and RTCP, each way.
const LANES: usize = 6;

/// What becomes of the packets of one lane.
#[derive(Clone, Copy)]
struct Fate {
    chance: Chance,
    /// In a burst of losses.
    losing: bool,
}

struct Drawn {
    delay_us: u64,
    copies: usize,
}

impl Fate {
    fn all(seed: u64) -> [Fate; LANES] {
        std::array::from_fn(|lane| Fate { chance: Chance(seed.wrapping_mul(64) + lane as u64), losing: false })
    }

    /// `None`: lost.
    fn draw(&mut self, harm: &Harm) -> Option<Drawn> {
        // The same number of draws for every packet, so that one probability does not shift the others' fate.
        let [lost, twice, held, late] = [(); 4].map(|()| self.chance.unit());
        // Gilbert's two states, left at rates that give the wanted mean run and the wanted share of losses.
        let leave = 1.0 / harm.burst.max(1.0);
        self.losing = match (harm.burst > 1.0, self.losing) {
            (false, _) => lost < harm.loss,
            (true, false) => lost < harm.loss * leave / (1.0 - harm.loss).max(1e-9),
            (true, true) => lost >= leave,
        };
        if harm.black_hole || self.losing {
            return None;
        }
        let extra = if held < harm.reorder { harm.held_ms } else { 0.0 };
        let delay_us = ((harm.delay_ms + late * harm.jitter_ms + extra) * 1000.0) as u64;
        Some(Drawn { delay_us, copies: if twice < harm.duplicate { 2 } else { 1 } })
    }
}

/// The socket a packet leaves by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Listen,
    Uplink(usize),
    Near(usize, usize),
    Far(usize, usize),
}

impl Exchange {
    fn run(mut self) {
        // What it delays would be blamed on the endpoint.
        crate::clock::become_realtime(16);
        let mut buffer = vec![0_u8; 65_536];
        loop {
            if self.state().stop {
                return;
            }
            self.wait();
            self.read(&mut buffer);
            let now = mono_us();
            while self.queue.peek().is_some_and(|Reverse(waiting)| waiting.due_us <= now) {
                if let Some(Reverse(waiting)) = self.queue.pop() {
                    self.send(&waiting);
                }
            }
        }
    }

    fn wait(&self) {
        let media = self.paths.iter().flat_map(|path| path.near.iter().chain(&path.far));
        let sockets =
            std::iter::once(&self.listen).chain(self.uplinks.iter().map(|uplink| &uplink.socket)).chain(media);
        let mut polled: Vec<libc::pollfd> =
            sockets.map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
        let due = self.queue.peek().map_or(u64::MAX, |Reverse(waiting)| waiting.due_us);
        let left_us = due.saturating_sub(mono_us()).min(50_000);
        let timeout = libc::timespec { tv_sec: 0, tv_nsec: (left_us * 1000) as libc::c_long };
        // SAFETY: `polled` is a valid array of that length for the duration of the call.
        unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &timeout, std::ptr::null()) };
    }

    fn read(&mut self, buffer: &mut [u8]) {
        while let Ok((length, from)) = self.listen.recv_from(buffer) {
            self.on_endpoint_sip(&buffer[..length], from);
        }
        for at in 0..self.uplinks.len() {
            while let Ok(length) = self.uplinks[at].socket.recv(buffer) {
                self.on_mixer_sip(at, &buffer[..length]);
            }
        }
        for at in 0..self.paths.len() {
            for half in 0..2 {
                while let Some((length, came_us)) = receive(&self.paths[at].near[half], buffer) {
                    self.note(at, true, came_us, &buffer[..length]);
                    if let Some(to) = self.paths[at].mixer {
                        self.harm(By::Far(at, half), to[half], &buffer[..length]);
                    }
                }
                while let Some((length, came_us)) = receive(&self.paths[at].far[half], buffer) {
                    self.note(at, false, came_us, &buffer[..length]);
                    if let Some(to) = self.paths[at].endpoint {
                        self.harm(By::Near(at, half), to[half], &buffer[..length]);
                    }
                }
            }
        }
    }

    fn on_endpoint_sip(&mut self, bytes: &[u8], from: SocketAddr) {
        let Some(mut message) = Message::parse(bytes) else { return };
        let Some(uplink) = self.uplink(from) else { return };
        let (mine, theirs) = (self.address.to_string(), self.mixer.to_string());
        if message.method().is_some() {
            message.start = message.start.replace(&mine, &theirs);
        }
        for (name, value) in &mut message.headers {
            if name.eq_ignore_ascii_case("Contact") {
                self.uplinks[uplink].contact = host_port(value).into();
                *value = value.replace(host_port(value), &self.uplinks[uplink].local.to_string());
            } else if name.eq_ignore_ascii_case("Route") {
                *value = value.replace(&mine, &theirs);
            }
        }
        if let Some(path) = self.path(&message) {
            let wanted = media_addresses(&message.body);
            self.paths[path].endpoint = wanted.or(self.paths[path].endpoint);
            message.body = readdress(&message.body, self.address, self.paths[path].far_port);
        }
        self.harm(By::Uplink(uplink), self.mixer, &message.to_bytes());
    }

    fn on_mixer_sip(&mut self, uplink: usize, bytes: &[u8]) {
        let Some(mut message) = Message::parse(bytes) else { return };
        let local = self.uplinks[uplink].local.to_string();
        if message.method().is_some() {
            message.start = message.start.replace(&local, &self.uplinks[uplink].contact);
        }
        for (name, value) in &mut message.headers {
            if name.eq_ignore_ascii_case("Contact") {
                *value = value.replace(host_port(value), &self.address.to_string());
            }
        }
        if let Some(path) = self.path(&message) {
            let wanted = media_addresses(&message.body);
            self.paths[path].mixer = wanted.or(self.paths[path].mixer);
            message.body = readdress(&message.body, self.address, self.paths[path].near_port);
        }
        self.harm(By::Listen, self.uplinks[uplink].endpoint, &message.to_bytes());
    }

    fn uplink(&mut self, endpoint: SocketAddr) -> Option<usize> {
        if let Some(known) = self.uplinks.iter().position(|uplink| uplink.endpoint == endpoint) {
            return Some(known);
        }
        let socket = UdpSocket::bind((self.address.ip(), 0)).ok()?;
        socket.set_nonblocking(true).ok()?;
        let local = socket.local_addr().ok()?;
        self.uplinks.push(Uplink { endpoint, contact: String::new(), socket, local });
        Some(self.uplinks.len() - 1)
    }

    /// The media path of a message that carries SDP; made at the first one of a call.
    fn path(&mut self, message: &Message) -> Option<usize> {
        if !message.body.contains("m=audio") {
            return None;
        }
        let call_id = message.header("Call-ID")?.to_string();
        let known = self.state().calls.iter().position(|call| call.call_id == call_id);
        if let Some(call) = known {
            return self.paths.iter().position(|path| path.call == call);
        }
        let (near, near_rtcp, near_port) = bind_pair(self.address.ip()).ok()?;
        let (far, far_rtcp, far_port) = bind_pair(self.address.ip()).ok()?;
        let mut state = self.state();
        state.calls.push(CallFlow { call_id, up: Flow::default(), down: Flow::default() });
        let call = state.calls.len() - 1;
        drop(state);
        let (near, far) = ([near, near_rtcp], [far, far_rtcp]);
        near.iter().chain(&far).for_each(stamp);
        self.paths.push(Path { call, near, near_port, far, far_port, endpoint: None, mixer: None });
        Some(self.paths.len() - 1)
    }

    fn note(&self, path: usize, up: bool, came_us: u64, bytes: &[u8]) {
        let call = self.paths[path].call;
        let mut state = self.state();
        let flow = if up { &mut state.calls[call].up } else { &mut state.calls[call].down };
        let packet = Packet { at_us: came_us, bytes: bytes.len() as u16 };
        match bytes {
            [_, kind, ..] if (192..=223).contains(kind) => flow.rtcp.push(packet),
            [_, kind, s0, s1, t0, t1, t2, t3, _, _, _, _, rest @ ..] => flow.rtp.push(Rtp {
                packet,
                payload_type: kind & 0x7f,
                marker: kind & 0x80 != 0,
                sequence: u16::from_be_bytes([*s0, *s1]),
                timestamp: u32::from_be_bytes([*t0, *t1, *t2, *t3]),
                first_byte: rest.first().copied().unwrap_or(0),
            }),
            _ => {}
        }
    }

    fn harm(&mut self, by: By, to: SocketAddr, bytes: &[u8]) {
        let drawn = {
            let mut state = self.state();
            let (harm, lane) = match by {
                By::Listen => (state.weather.sip, 0),
                By::Uplink(_) => (state.weather.sip, 1),
                By::Near(_, half) => (state.weather.down, 2 + half),
                By::Far(_, half) => (state.weather.up, 4 + half),
            };
            state.fates[lane].draw(&harm)
        };
        let Some(Drawn { delay_us, copies }) = drawn else { return };
        for _ in 0..copies {
            self.counter += 1;
            let waiting = Waiting { due_us: mono_us() + delay_us, order: self.counter, by, to, bytes: bytes.into() };
            if delay_us == 0 { self.send(&waiting) } else { self.queue.push(Reverse(waiting)) }
        }
    }

    fn send(&self, waiting: &Waiting) {
        let socket = match waiting.by {
            By::Listen => &self.listen,
            By::Uplink(at) => &self.uplinks[at].socket,
            By::Near(at, half) => &self.paths[at].near[half],
            By::Far(at, half) => &self.paths[at].far[half],
        };
        let _ = socket.send_to(&waiting.bytes, waiting.to);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `host:port` of the URI in a Contact.
fn host_port(value: &str) -> &str {
    let uri = crate::mixer::message::uri(value);
    let rest = uri.split_once('@').or(uri.split_once(':')).map_or(uri, |(_, rest)| rest);
    rest.split(';').next().unwrap_or_default()
}

/// RTP and RTCP address of a description's audio.
fn media_addresses(sdp: &str) -> Option<[SocketAddr; 2]> {
    let ip = sdp.lines().find_map(|line| line.strip_prefix("c=IN IP4 "))?.trim().parse().ok()?;
    let port: u16 = sdp.lines().find_map(|line| line.strip_prefix("m=audio "))?.split(' ').next()?.parse().ok()?;
    let rtcp = sdp.lines().find_map(|line| line.strip_prefix("a=rtcp:")?.split(' ').next()?.trim().parse().ok());
    Some([SocketAddr::new(ip, port), SocketAddr::new(ip, rtcp.unwrap_or(port.wrapping_add(1)))])
}

/// The same description with our address and port.
fn readdress(sdp: &str, address: SocketAddr, port: u16) -> String {
    let line = |line: &str| match line {
        _ if line.starts_with("c=IN IP4 ") && !line.contains("0.0.0.0") => format!("c=IN IP4 {}\r\n", address.ip()),
        _ if line.starts_with("m=audio ") => {
            let rest = line.splitn(3, ' ').nth(2).unwrap_or_default();
            format!("m=audio {port} {rest}\r\n")
        }
        _ if line.starts_with("a=rtcp:") => format!("a=rtcp:{}\r\n", port + 1),
        _ => format!("{line}\r\n"),
    };
    sdp.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(harm: &Harm, seed: u64) -> Vec<bool> {
        let mut fate = Fate::all(seed)[3];
        (0..100_000).map(|_| fate.draw(harm).is_none()).collect()
    }

    #[test]
    fn losses_come_as_often_and_in_runs_as_long_as_asked_for() {
        for (loss, burst) in [(0.05, 1.0), (0.2, 1.0), (0.05, 3.0), (0.3, 4.0)] {
            let lost = fates(&Harm { loss, burst, ..Harm::default() }, 5);
            let share = lost.iter().filter(|lost| **lost).count() as f64 / lost.len() as f64;
            let runs = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            let mean = share * lost.len() as f64 / runs as f64;
            let wanted = if burst > 1.0 { burst } else { 1.0 / (1.0 - loss) };
            assert!(
                (share - loss).abs() < 0.02 && (mean - wanted).abs() < 0.15 * wanted,
                "{loss} {burst}: {share} {mean}"
            );
        }
        assert!(fates(&Harm { burst: 3.0, ..Harm::default() }, 5).iter().all(|lost| !lost));
    }

    #[test]
    fn a_seed_is_a_fate_and_another_another() {
        let harm = Harm { loss: 0.3, ..Harm::default() };
        assert_eq!(fates(&harm, 7), fates(&harm, 7));
        assert_ne!(fates(&harm, 7), fates(&harm, 8));
    }
}
