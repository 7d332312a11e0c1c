//! A caller without sound card: dials a room, says what it is given, keeps what it hears. One thread per phone.
//!
//! It is the smallest peer a mixer can have, ours or a real one, and a known-good third ear in tests of the endpoint.

use crate::clock::{mono_us, sleep_until};
use crate::mixer::leg::bind_pair;
use crate::mixer::message::{Message, hex_md5};
use opus::{Application, Bitrate, Channels, Decoder, Encoder};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Plan {
    /// Where SIP goes.
    pub server: SocketAddr,
    /// User part of From.
    pub user: String,
    /// User part of the Request-URI.
    pub room: String,
    /// Answer a digest challenge with this password.
    pub password: Option<String>,
    /// Opus parameters offered, e.g. `maxaveragebitrate=16000`.
    pub fmtp: String,
    /// Packet time wished and sent: 20, 40 or 60.
    pub ptime_ms: u32,
    /// Bit/s of what is sent.
    pub bitrate: i32,
    /// Give up dialling after this.
    pub patience: Duration,
}

impl Plan {
    pub fn to(server: SocketAddr, user: &str, room: &str) -> Plan {
        Plan {
            server,
            user: user.into(),
            room: room.into(),
            password: None,
            fmtp: String::new(),
            ptime_ms: 20,
            bitrate: 64_000,
            patience: Duration::from_secs(5),
        }
    }
}

#[derive(Debug)]
pub enum DialError {
    Io(io::Error),
    Refused(u16),
    NoAnswer,
    /// The answer had no usable address.
    BadAnswer(String),
}

impl std::fmt::Display for DialError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for DialError {}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> DialError {
        DialError::Io(error)
    }
}

/// A call in progress; dropped, it hangs up.
pub struct Phone {
    shared: Arc<Mutex<Ear>>,
    orders: Sender<Order>,
    pub answer: String,
    thread: Option<std::thread::JoinHandle<()>>,
}

enum Order {
    Say(Vec<i16>),
    Invite { direction: &'static str },
    HangUp,
    Vanish,
}

/// What the phone noticed.
#[derive(Default)]
struct Ear {
    heard: Vec<i16>,
    first_packet_us: Option<u64>,
    /// Headers of the BYE that ended the call.
    bye: Option<Message>,
    responses: Vec<Message>,
}

impl Phone {
    pub fn dial(plan: &Plan) -> Result<Phone, DialError> {
        let sip = UdpSocket::bind((plan.server.ip(), 0)).or_else(|_| UdpSocket::bind(("127.0.0.1", 0)))?;
        sip.set_read_timeout(Some(Duration::from_millis(20)))?;
        let local = sip.local_addr()?;
        let (rtp, _rtcp, port) = bind_pair(local.ip())?;
        let mut dialog = Dialog { plan: plan.clone(), local, port, cseq: 1, to: String::new(), version: 1 };
        let ok = dialog.invite_until_answered(&sip)?;
        dialog.to = ok.header("To").unwrap_or_default().into();
        let _ = sip.send_to(&dialog.request("ACK", dialog.cseq).to_bytes(), plan.server);
        let remote = media_address(&ok.body).ok_or_else(|| DialError::BadAnswer(ok.body.clone()))?;
        let shared = Arc::new(Mutex::new(Ear::default()));
        let (orders, received) = channel();
        let line = Line::new(dialog, sip, rtp, remote, shared.clone())?;
        let thread = std::thread::Builder::new().name("lab-phone".into()).spawn(move || line.run(received))?;
        Ok(Phone { shared, orders, answer: ok.body, thread: Some(thread) })
    }

    /// Appends to what is still to be said; silence follows the last sample.
    pub fn say(&self, samples: &[i16]) {
        let _ = self.orders.send(Order::Say(samples.to_vec()));
    }

    /// Everything heard so far. Lost packets are left out, gaps of the other side's clock too.
    pub fn heard(&self) -> Vec<i16> {
        self.ear(|ear| ear.heard.clone())
    }

    /// Forgets what was heard until now.
    pub fn forget(&self) {
        self.ear(|ear| ear.heard.clear());
    }

    pub fn first_packet_us(&self) -> Option<u64> {
        self.ear(|ear| ear.first_packet_us)
    }

    /// The BYE of the other side, once it came.
    pub fn bye(&self) -> Option<Message> {
        self.ear(|ear| ear.bye.clone())
    }

    /// Every final response to a request sent after the call was up.
    pub fn responses(&self) -> Vec<Message> {
        self.ear(|ear| ear.responses.clone())
    }

    /// Sends a re-INVITE with this direction (`sendrecv`, `sendonly`, `inactive`).
    pub fn reinvite(&self, direction: &'static str) {
        let _ = self.orders.send(Order::Invite { direction });
    }

    pub fn hang_up(mut self) {
        self.end(Order::HangUp);
    }

    /// Goes away without a BYE.
    pub fn vanish(mut self) {
        self.end(Order::Vanish);
    }

    fn end(&mut self, order: Order) {
        let _ = self.orders.send(order);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn ear<T>(&self, look: impl FnOnce(&mut Ear) -> T) -> T {
        look(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.end(Order::HangUp);
    }
}

/// Enough of a dialog to write its requests.
struct Dialog {
    plan: Plan,
    local: SocketAddr,
    port: u16,
    cseq: u32,
    to: String,
    version: u32,
}

impl Dialog {
    fn request(&self, method: &str, cseq: u32) -> Message {
        let target = format!("sip:{}@{}", self.plan.room, self.plan.server);
        let to = if self.to.is_empty() { format!("<{target}>") } else { self.to.clone() };
        let message = Message { start: format!("{method} {target} SIP/2.0"), headers: Vec::new(), body: String::new() };
        message
            .with("Via", format!("SIP/2.0/UDP {};rport;branch=z9hG4bKph{:x}{cseq:x}{method}", self.local, self.port))
            .with("Max-Forwards", "70")
            .with("From", format!("<sip:{}@{}>;tag=ph{:x}", self.plan.user, self.local, self.port))
            .with("To", to)
            .with("Call-ID", format!("{:x}-{:x}@lab", self.local.port(), self.port))
            .with("CSeq", format!("{cseq} {method}"))
            .with("Contact", format!("<sip:{}@{}>", self.plan.user, self.local))
    }

    fn sdp(&self, direction: &str) -> String {
        let (ip, port, ptime) = (self.local.ip(), self.port, self.plan.ptime_ms);
        let fmtp = &self.plan.fmtp;
        let fmtp = if fmtp.is_empty() { String::new() } else { format!("a=fmtp:111 {fmtp}\r\n") };
        format!(
            "v=0\r\no=- {port} {} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 111\r\n\
             a=rtpmap:111 opus/48000/2\r\n{fmtp}a=ptime:{ptime}\r\na={direction}\r\n",
            self.version
        )
    }

    /// INVITE, repeated each half second, through one challenge, until a final response.
    fn invite_until_answered(&mut self, sip: &UdpSocket) -> Result<Message, DialError> {
        let deadline = mono_us() + self.plan.patience.as_micros() as u64;
        let mut invite = self.request("INVITE", self.cseq).with_sdp(&self.sdp("sendrecv"));
        let (mut resend_at, mut provisional) = (0, false);
        let mut buffer = [0_u8; 4096];
        while mono_us() < deadline {
            if mono_us() >= resend_at && !provisional {
                sip.send_to(&invite.to_bytes(), self.plan.server)?;
                resend_at = mono_us() + 500_000;
            }
            let Ok(length) = sip.recv(&mut buffer) else { continue };
            let Some(response) = Message::parse(&buffer[..length]) else { continue };
            let answers_us = response.cseq() == Some((self.cseq, "INVITE"));
            match (response.status(), &self.plan.password) {
                _ if !answers_us => {}
                (Some(100..=199), _) => provisional = true,
                (Some(200..=299), _) => return Ok(response),
                (Some(401), Some(password)) if self.cseq == 1 => {
                    self.ack_refusal(sip, &response)?;
                    let authorization = answer_challenge(&response, &self.plan.user, password, invite.request_uri());
                    self.cseq = 2;
                    invite =
                        self.request("INVITE", 2).with("Authorization", authorization).with_sdp(&self.sdp("sendrecv"));
                    (resend_at, provisional) = (0, false);
                }
                (Some(status), _) => {
                    self.ack_refusal(sip, &response)?;
                    return Err(DialError::Refused(status));
                }
                (None, _) => {}
            }
        }
        let mut cancel = self.request("CANCEL", self.cseq);
        cancel.headers[0] = invite.headers[0].clone();
        sip.send_to(&cancel.to_bytes(), self.plan.server)?;
        Err(DialError::NoAnswer)
    }

    /// RFC 3261 17.1.1.3: same branch, the To of the response.
    fn ack_refusal(&self, sip: &UdpSocket, response: &Message) -> io::Result<()> {
        let mut ack = self.request("ACK", self.cseq);
        for (name, value) in &mut ack.headers {
            match name.as_str() {
                "Via" => *value = value.replace("ACK", "INVITE"),
                "To" => *value = response.header("To").unwrap_or_default().into(),
                _ => {}
            }
        }
        sip.send_to(&ack.to_bytes(), self.plan.server).map(drop)
    }
}

/// The call's thread: sends a packet per packet time, decodes what comes, answers BYE and OPTIONS.
struct Line {
    dialog: Dialog,
    sip: UdpSocket,
    rtp: UdpSocket,
    remote: SocketAddr,
    shared: Arc<Mutex<Ear>>,
    encoder: Encoder,
    decoder: Decoder,
    to_say: Vec<i16>,
    said: usize,
    sequence: u16,
    timestamp: u32,
}

impl Line {
    fn new(
        dialog: Dialog,
        sip: UdpSocket,
        rtp: UdpSocket,
        remote: SocketAddr,
        shared: Arc<Mutex<Ear>>,
    ) -> Result<Line, DialError> {
        sip.set_nonblocking(true)?;
        let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip).map_err(io::Error::other)?;
        encoder.set_bitrate(Bitrate::Bits(dialog.plan.bitrate)).map_err(io::Error::other)?;
        encoder.set_complexity(5).map_err(io::Error::other)?;
        let decoder = Decoder::new(48_000, Channels::Mono).map_err(io::Error::other)?;
        let timestamp = u32::from(dialog.port) << 8;
        Ok(Line {
            dialog,
            sip,
            rtp,
            remote,
            shared,
            encoder,
            decoder,
            to_say: Vec::new(),
            said: 0,
            sequence: 1,
            timestamp,
        })
    }

    fn run(mut self, orders: Receiver<Order>) {
        // Its pace is part of what is measured.
        crate::clock::become_realtime(16);
        let period = u64::from(self.dialog.plan.ptime_ms) * 1000;
        let mut next = mono_us();
        loop {
            loop {
                match orders.try_recv() {
                    Ok(Order::Say(samples)) => self.to_say.extend(samples),
                    Ok(Order::Invite { direction }) => self.reinvite(direction),
                    Ok(Order::Vanish) => return,
                    Ok(Order::HangUp) | Err(TryRecvError::Disconnected) => return self.hang_up(),
                    Err(TryRecvError::Empty) => break,
                }
            }
            self.read();
            self.send();
            next += period;
            sleep_until(next);
        }
    }

    fn send(&mut self) {
        let wanted = self.dialog.plan.ptime_ms as usize * 48;
        let mut frame = vec![0_i16; wanted];
        let ready = wanted.min(self.to_say.len() - self.said);
        frame[..ready].copy_from_slice(&self.to_say[self.said..self.said + ready]);
        self.said += ready;
        let mut packet = [0_u8; 1500];
        let length = self.encoder.encode(&frame, &mut packet[12..]).expect("a legal frame fits");
        packet[..2].copy_from_slice(&[0x80, 111]);
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&u32::from(self.dialog.port).to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(wanted as u32);
        let _ = self.rtp.send_to(&packet[..12 + length], self.remote);
    }

    fn read(&mut self) {
        let mut buffer = [0_u8; 4096];
        while let Ok(length) = self.rtp.recv(&mut buffer) {
            if length <= 12 || buffer[1] & 0x7f != 111 {
                continue;
            }
            let mut pcm = [0_i16; 5760];
            if let Ok(decoded) = self.decoder.decode(&buffer[12..length], &mut pcm, false) {
                let mut ear = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                ear.first_packet_us.get_or_insert_with(mono_us);
                ear.heard.extend_from_slice(&pcm[..decoded]);
            }
        }
        while let Ok((length, from)) = self.sip.recv_from(&mut buffer) {
            let Some(message) = Message::parse(&buffer[..length]) else { continue };
            self.on_sip(message, from);
        }
    }

    fn on_sip(&mut self, message: Message, from: SocketAddr) {
        let mut ear = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match (message.method(), message.status()) {
            (Some("BYE" | "OPTIONS"), _) => {
                let _ = self.sip.send_to(&message.reply("200 OK", "ph", from).to_bytes(), from);
                if message.method() == Some("BYE") {
                    ear.bye.get_or_insert(message);
                }
            }
            (None, Some(status)) if status >= 200 => {
                if let Some((cseq, "INVITE")) = message.cseq() {
                    let _ = self.sip.send_to(&self.dialog.request("ACK", cseq).to_bytes(), from);
                }
                ear.responses.push(message);
            }
            _ => {}
        }
    }

    fn reinvite(&mut self, direction: &str) {
        self.dialog.cseq += 1;
        self.dialog.version += 1;
        let invite = self.dialog.request("INVITE", self.dialog.cseq).with_sdp(&self.dialog.sdp(direction));
        let _ = self.sip.send_to(&invite.to_bytes(), self.dialog.plan.server);
    }

    fn hang_up(&mut self) {
        if self.shared.lock().unwrap_or_else(PoisonError::into_inner).bye.is_none() {
            self.dialog.cseq += 1;
            let bye = self.dialog.request("BYE", self.dialog.cseq);
            let _ = self.sip.send_to(&bye.to_bytes(), self.dialog.plan.server);
        }
    }
}

fn media_address(sdp: &str) -> Option<SocketAddr> {
    let ip = sdp.lines().find_map(|line| line.strip_prefix("c=IN IP4 "))?;
    let port = sdp.lines().find_map(|line| line.strip_prefix("m=audio "))?.split(' ').next()?;
    Some(SocketAddr::new(ip.trim().parse().ok()?, port.parse().ok()?))
}

/// RFC 2617 with MD5, and qop=auth if offered.
fn answer_challenge(challenge: &Message, user: &str, password: &str, uri: &str) -> String {
    let value = challenge.header("WWW-Authenticate").unwrap_or_default();
    let field = |name: &str| {
        let at = value.find(&format!("{name}=")).map(|at| at + name.len() + 1);
        at.map(|at| value[at..].trim_start_matches('"').split(['"', ',']).next().unwrap_or_default())
            .unwrap_or_default()
    };
    let (realm, nonce, opaque) = (field("realm"), field("nonce"), field("opaque"));
    let ha1 = hex_md5(&format!("{user}:{realm}:{password}"));
    let ha2 = hex_md5(&format!("INVITE:{uri}"));
    let head =
        format!("Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm=MD5");
    let opaque = if opaque.is_empty() { String::new() } else { format!(", opaque=\"{opaque}\"") };
    if value.contains("qop=") {
        let response = hex_md5(&format!("{ha1}:{nonce}:00000001:lab:auth:{ha2}"));
        return format!("{head}, qop=auth, nc=00000001, cnonce=\"lab\", response=\"{response}\"{opaque}");
    }
    format!("{head}, response=\"{}\"{opaque}", hex_md5(&format!("{ha1}:{nonce}:{ha2}")))
}
