//! What each fuzz target does with its bytes. Plain functions: libFuzzer calls them while it searches, and
//! `tests/fuzz_corpus.rs` calls them with every file of `fuzz/corpus/<name>`, so that what was found stays repaired.
//!
//! A body fails by panicking: on an arithmetic overflow or an index in the code under test, or on one of its own
//! assertions about what must hold for any input.

#[path = "session.rs"]
mod session;

use qss_endpoint::agent::{self, Agent, Input, LinkError, LinkErrorKind};
use qss_endpoint::config::file::{self, FileText, Purpose, ReadError, Source};
use qss_endpoint::config::{Config, Incoming, Refer, Sip};
use qss_endpoint::dtmf::{Digits, TelephoneEvent};
use qss_endpoint::media::codec::{Band, CodecError, Decoder, Encoder};
use qss_endpoint::media::command::{Command, Event, StreamParams};
use qss_endpoint::media::stream::{Settings, Stream, Wire};
use qss_endpoint::qss::message::{self as qss_message, Frame};
use qss_endpoint::random::Rng;
use qss_endpoint::rtp::packet::Packet;
use qss_endpoint::rtp::receiver::Receiver;
use qss_endpoint::rtp::red::{Redundancy, Redundant};
use qss_endpoint::rtp::rtcp;
use qss_endpoint::rtp::xr::{Asked, RoundTrip};
use qss_endpoint::sdp::{Local, Negotiation};
use qss_endpoint::sip::endpoint::{CallId, Endpoint, Event as SipEvent, Outbox, Output};
use qss_endpoint::sip::message;
use qss_endpoint::sip::transport::service::{self, Answer, Kind};
use qss_endpoint::sip::transport::stream::{Framer, MAX_BODY, MAX_HEAD, Piece};
use qss_endpoint::sip::transport::{Flow, Route, Target};
use qss_endpoint::srtp::{Entropy, Inbound, MAX_OVERHEAD, Outbound, Suite};
use qss_endpoint::time::{Span, Time, WallTime};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// One body.
pub(crate) type Body = fn(&[u8]);

/// All of them, by the name of their target and of their corpus.
pub(crate) const ALL: &[(&str, Body)] = &[
    ("sip_message", sip_message),
    ("sip_dialog", sip_dialog),
    ("sip_stream", sip_stream),
    ("dns", dns),
    ("sdp", sdp),
    ("rtp", rtp),
    ("rtcp", rtcp_packet),
    ("srtp", srtp),
    ("qss_frame", qss_frame),
    ("qss_session", qss_session),
    ("config", config),
    ("stream", stream),
    ("agent", agent),
];

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5060);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));
const US: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// An answer to whatever it may be an answer to: servers are bounded in number, and their names are names.
pub(crate) fn dns(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else { return };
    let id = bytes.get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
    for kind in [Kind::Service, Kind::V4, Kind::V6] {
        let Some(Answer::Servers(servers)) = service::answer(bytes, id, "_sip._udp.example.com", kind) else {
            continue;
        };
        assert!(kind == Kind::Service && (1..=8).contains(&servers.len()));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        assert!(servers.iter().all(|server| server.port != 0 && server.host.chars().all(plain)));
        let ordered = service::order(servers.clone(), &mut Rng::from_u64((*seed).into()));
        assert!(ordered.len() == servers.len() && ordered.iter().all(|server| servers.contains(server)));
        assert!(ordered.is_sorted_by_key(|server| server.priority));
    }
}

/// What was read is written so that it is read again, and nothing changes any more.
pub(crate) fn sip_message(data: &[u8]) {
    if let Ok(read) = message::parse(data) {
        let written = read.to_bytes();
        let again = message::parse(&written).unwrap_or_else(|error| panic!("{error:?}: {}", written.escape_ascii()));
        assert_eq!(again.to_bytes(), written, "{}", written.escape_ascii());
    }
}

/// However a stream is cut on its way, the same comes out of it, and nothing of it is lost or made up. The first byte
/// says into pieces of what length it is cut.
pub(crate) fn sip_stream(data: &[u8]) {
    let Some((step, stream)) = data.split_first() else { return };
    let whole = cut(stream, stream.len().max(1));
    assert_eq!(cut(stream, usize::from(*step).max(1)), whole, "pieces of {step}");
    let messages: usize = whole.0.iter().map(Vec::len).sum();
    assert!(messages <= stream.len(), "{messages} bytes of {}", stream.len());
    for message in whole.0 {
        assert!(message.len() <= MAX_HEAD + MAX_BODY && !message.starts_with(b"\r") && !message.starts_with(b"\n"));
        let _ = message::parse(&message);
    }
}

/// The messages of a stream that arrives in pieces, the number of line ends between them, and whether it broke.
fn cut(stream: &[u8], step: usize) -> (Vec<Vec<u8>>, usize, bool) {
    let (mut framer, mut messages, mut ends) = (Framer::default(), Vec::new(), 0);
    for piece in stream.chunks(step) {
        framer.push(piece);
        loop {
            match framer.cut() {
                Ok(Some(Piece::Message(message))) => messages.push(message),
                Ok(Some(Piece::Ping | Piece::Pong)) => ends += 1,
                Ok(None) => break,
                Err(_) => return (messages, ends, true),
            }
        }
    }
    (messages, ends, false)
}

/// A call against a peer that says anything at any time. The input is a script of steps, a line `---` between two; the
/// first letter is the step:
///
/// ```text
/// c                 place a call            h   hang up             m   modify (hold, resume)
/// C                 place a call over TCP   u   the connection asked for last stands    x   it is lost
/// n                 the device has another address
/// A                 from here on another device: one that takes calls and follows REFER
/// i                 let the last call that came ring  a   answer it           f486  refuse it
/// k12#              press digits                      F486  say what came of a REFER
/// r                 answer what was asked to be resolved
/// t500              500 ms pass, and the timers that are due fire
/// sSIP/2.0 ...      bytes come by that connection, as they stand
/// dSIP/2.0 ...      a datagram comes; line ends may be bare; $v $f $c $n stand for the Via value, From value, Call-ID
///                   and CSeq number of the last request that we sent, $t for the To value of our last response
/// ```
pub(crate) fn sip_dialog(data: &[u8]) {
    let mut play = Play::new();
    for step in steps(data).take(64) {
        let (Some(letter), rest) = (step.first(), step.get(1..).unwrap_or_default()) else { continue };
        match letter {
            b'c' => play.call("sip:88826777033@192.0.2.1"),
            b'C' => play.call("sip:88826777033@192.0.2.1;transport=tcp"),
            b'u' => play.connected(),
            b'x' => play.disconnected(),
            b'n' => play.moved(),
            b's' => play.stream(rest),
            b'h' => play.hang_up(),
            b'm' => play.modify(),
            b'A' => play = Play::open(),
            b'i' => play.last(|endpoint, now, call, out| endpoint.ring(now, call, out)),
            b'a' => play.last(|endpoint, now, call, out| endpoint.answer(now, call, local(true), out)),
            b'f' => play.last(|endpoint, now, call, out| endpoint.refuse(now, call, number(rest), out)),
            b'F' => play.last(|endpoint, now, call, out| endpoint.tell_referrer(now, call, number(rest), out)),
            b'k' => {
                if let Some(digits) = std::str::from_utf8(rest).ok().and_then(|text| Digits::parse(text.trim())) {
                    play.last(|endpoint, now, call, out| endpoint.press(now, call, &digits, out));
                }
            }
            b'r' => play.resolve(),
            b't' => play.pass(String::from_utf8_lossy(rest).trim().parse::<u32>().unwrap_or(1)),
            b'd' => play.datagram(rest),
            _ => {}
        }
        play.drain();
    }
}

struct Play {
    endpoint: Endpoint,
    now: Time,
    out: Outbox,
    calls: Vec<CallId>,
    asked: Vec<Target>,
    /// The one asked for last.
    connection: Option<Flow>,
    local: IpAddr,
    said: Said,
    held: bool,
}

impl Play {
    fn new() -> Play {
        Play::with(&Config::default().sip)
    }

    /// Open to whoever calls, and to whoever sends it elsewhere.
    fn open() -> Play {
        Play::with(&Sip { incoming: Incoming::Accept, refer: Refer::Follow, ..Config::default().sip })
    }

    fn with(config: &Sip) -> Play {
        let mut endpoint = Endpoint::new(config, Rng::from_u64(1));
        endpoint.set_local_port(5060);
        Play {
            endpoint,
            now: Time::ZERO,
            out: Outbox::new(),
            calls: Vec::new(),
            asked: Vec::new(),
            connection: None,
            local: US,
            said: Said::default(),
            held: false,
        }
    }

    fn call(&mut self, uri: &str) {
        if self.calls.len() < 4 {
            self.calls.extend(self.endpoint.call(self.now, uri, local(true), &mut self.out));
        }
    }

    fn connected(&mut self) {
        if let Some(flow) = self.connection {
            self.endpoint.handle_connected(self.now, flow, SocketAddr::new(self.local, 49_152), &mut self.out);
        }
    }

    fn disconnected(&mut self) {
        if let Some(flow) = self.connection {
            self.endpoint.handle_disconnected(self.now, flow, "gone", &mut self.out);
        }
    }

    fn moved(&mut self) {
        self.local = if self.local == US { ELSEWHERE } else { US };
        self.endpoint.handle_addresses_changed(self.now, &mut self.out);
    }

    fn stream(&mut self, template: &[u8]) {
        if let Some(flow) = self.connection {
            let bytes = self.said.fill(template);
            self.endpoint.handle_received(self.now, flow, &bytes, &mut self.out);
        }
    }

    fn hang_up(&mut self) {
        self.last(|endpoint, now, call, out| endpoint.hang_up(now, call, None, out));
    }

    /// With the last call there is, ours or theirs.
    fn last(&mut self, act: impl FnOnce(&mut Endpoint, Time, CallId, &mut Outbox)) {
        if let Some(call) = self.calls.last() {
            act(&mut self.endpoint, self.now, *call, &mut self.out);
        }
    }

    fn modify(&mut self) {
        self.held = !self.held;
        if let Some(call) = self.calls.last() {
            self.endpoint.modify(self.now, *call, local(!self.held), &mut self.out);
        }
    }

    fn resolve(&mut self) {
        for target in std::mem::take(&mut self.asked) {
            let route = Route { flow: Flow { transport: target.transport, remote: PEER }, local: self.local };
            self.endpoint.handle_route(self.now, &target, Ok(vec![route]), &mut self.out);
        }
    }

    /// Fires what is due, at most until the end of the span; every deadline must then lie in the future.
    fn pass(&mut self, ms: u32) {
        let end = self.now + Span::from_millis(u64::from(ms));
        for _ in 0..1000 {
            let Some(due) = self.endpoint.poll_timeout().filter(|wakeup| wakeup.at <= end) else { break };
            self.now = self.now.max(due.at);
            self.endpoint.handle_timeout(self.now, &mut self.out);
            assert!(self.endpoint.poll_timeout().is_none_or(|next| next.at > self.now), "a timer does not go out");
            self.drain();
        }
        self.now = end;
    }

    fn datagram(&mut self, template: &[u8]) {
        let bytes = self.said.fill(template);
        self.endpoint.handle_received(self.now, Flow::udp(PEER), &bytes, &mut self.out);
    }

    fn drain(&mut self) {
        while let Some(output) = self.out.pop_front() {
            match output {
                Output::Send { bytes, .. } => self.said.sip(&bytes),
                Output::Resolve(target) => self.asked.push(target),
                Output::Connect { flow, .. } => self.connection = Some(flow),
                Output::Event(SipEvent::Incoming { call, .. }) if self.calls.len() < 8 => self.calls.push(call),
                Output::Disconnect { .. } | Output::Event(_) => {}
            }
        }
    }
}

fn number(text: &[u8]) -> u16 {
    String::from_utf8_lossy(text).trim().parse().unwrap_or(486)
}

/// What we said last, so that a script can answer it.
#[derive(Default)]
struct Said {
    request: String,
    response: String,
    /// `requestID` of our last QSS request.
    qss: String,
}

impl Said {
    fn sip(&mut self, bytes: &[u8]) {
        let head = String::from_utf8_lossy(bytes).into_owned();
        // A keep-alive is all line ends.
        if head.trim().is_empty() {
            return;
        }
        // A refusal of nonsense repeats the nonsense (RFC 3261 8.2.6.2).
        let refusal = ["SIP/2.0 400", "SIP/2.0 505"].iter().any(|start| head.starts_with(start));
        assert!(refusal || message::parse(bytes).is_ok(), "we sent {head}");
        if head.starts_with("SIP/2.0") {
            self.response = head;
        } else if !head.starts_with("ACK") {
            self.request = head;
        }
    }

    /// Puts what we said into the places that a template has for it, and carriage returns where they are missing.
    fn fill(&self, template: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(template.len());
        let mut rest = template;
        while let [first, after @ ..] = rest {
            rest = after;
            let value = match (first, after.first()) {
                (b'$', Some(b'v')) => header(&self.request, "Via"),
                (b'$', Some(b'f')) => header(&self.request, "From"),
                (b'$', Some(b'c')) => header(&self.request, "Call-ID"),
                (b'$', Some(b'n')) => header(&self.request, "CSeq").split(' ').next().unwrap_or_default(),
                (b'$', Some(b't')) => header(&self.response, "To"),
                (b'$', Some(b'i')) => &self.qss,
                (b'\n', _) if bytes.last() != Some(&b'\r') => {
                    bytes.extend(b"\r\n");
                    continue;
                }
                _ => {
                    bytes.push(*first);
                    continue;
                }
            };
            bytes.extend(value.as_bytes());
            rest = &rest[1..];
        }
        bytes
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

fn steps(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let now = rest?;
        match now.windows(5).position(|window| window == b"\n---\n") {
            Some(at) => {
                rest = Some(&now[at + 5..]);
                Some(&now[..at])
            }
            None => rest.take(),
        }
    })
}

fn local(active: bool) -> Local {
    Local {
        address: None,
        rtp_port: 4000,
        rtcp_port: 4001,
        ptime: Span::from_millis(20),
        max_average_bitrate: 32_000,
        fec: true,
        redundancy: true,
        dtx: false,
        rtcp_xr: true,
        active,
    }
}

/// As an offer, as an answer, and whatever is answered can be read.
pub(crate) fn sdp(data: &[u8]) {
    let mut calling = Negotiation::new(1, US, local(true));
    calling.offer();
    let _ = calling.accept_answer(data);
    let mut called = Negotiation::new(2, US, local(true));
    if let Ok((answer, agreed)) = called.answer(data) {
        assert!(answer.starts_with(b"v=0\r\n"));
        assert!(agreed.send_payload_type < 128 && agreed.receive_payload_type < 128);
    }
}

/// Packets with two bytes of length before each, 20 ms apart, through the receiver's counters.
pub(crate) fn rtp(data: &[u8]) {
    let mut receiver = Receiver::default();
    for (index, bytes) in chunks(data).enumerate() {
        let now = Time::ZERO + Span::from_millis(20 * index as u64);
        if let Ok(packet) = Packet::parse(bytes) {
            assert!(packet.payload.len() < bytes.len());
            receiver.handle(now, &packet.header);
            if let Ok(sound) = Redundant::parse(packet.payload) {
                let copies: usize = sound.copies().map(|copy| copy.payload.len()).sum();
                assert!(copies + sound.payload.len() < packet.payload.len());
            }
        }
        let _ = receiver.report();
    }
    let _ = (receiver.lost(), receiver.duplicates(), receiver.jitter());
}

pub(crate) fn rtcp_packet(data: &[u8]) {
    let mut parts = 0;
    let _ = rtcp::read(data, |_| parts += 1);
    assert!(parts <= data.len() / 4, "{parts} parts of {} bytes", data.len());
}

/// The first byte picks the suite and what the rest is: a packet of somebody without the key, which is refused and left as
/// it was, or one of ours, which comes out as it went in, once.
pub(crate) fn srtp(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let suite = Suite::ALL[usize::from(first % 3)];
    let keying = Entropy::new([0x5a; Entropy::LEN]).keying(suite);
    let (mut sender, mut receiver) = (Outbound::new(keying), Inbound::new(keying));
    let mut packet = rest.to_vec();
    if first / 3 % 2 == 0 {
        assert!(receiver.open_rtp(&mut packet).is_err());
        assert!(receiver.open_rtcp(&mut packet).is_err());
        assert_eq!(packet, rest);
        return;
    }
    packet.resize(rest.len() + MAX_OVERHEAD, 0);
    let mut report = packet.clone();
    if let Some(len) = sender.seal_rtp(&mut packet, rest.len()) {
        let opened = receiver.open_rtp(&mut packet[..len]).unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(packet[..opened], *rest);
        sender = Outbound::new(keying);
        packet[..rest.len()].copy_from_slice(rest);
        let again = sender.seal_rtp(&mut packet, rest.len()).map(|len| receiver.open_rtp(&mut packet[..len]));
        assert!(again.is_some_and(|again| again.is_err()), "replayed");
    }
    if let Some(len) = sender.seal_rtcp(&mut report, rest.len()) {
        let opened = receiver.open_rtcp(&mut report[..len]).unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(report[..opened], *rest);
    }
}

/// The limit holds, and nothing that a frame says is larger than the frame.
pub(crate) fn qss_frame(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = Frame::parse(&text, 16);
    if let Ok(frame) = Frame::parse(&text, 65_536) {
        let fields = match &frame {
            Frame::Request { body, .. } | Frame::Answer { body, .. } | Frame::Event { body, .. } => body.fields(),
            Frame::Cancel { message, code, body, .. } => {
                assert!(message.len() <= text.len());
                let codes = qss_endpoint::config::QssCodes::default();
                let _ = qss_message::Refusal::of(&codes, *code, message, body);
                return;
            }
        };
        let _ = (qss_message::Room::read(fields), qss_message::Room::read_all(fields));
        let _ = (qss_message::Invite::read(fields), qss_message::InviteRequest::read(fields));
        let _ = (qss_message::InviteReply::read_all(fields), qss_message::read_current_invitations(fields));
        let _ = (qss_message::CallTransfer::read(fields), qss_message::AttendedTransfer::read(fields));
        let _ = (qss_message::AttendedTransferReply::read(fields), qss_message::TransferError::read(fields));
        let _ = (qss_message::MuteRequest::read(fields), qss_message::MuteChange::read(fields));
        let _ = (qss_message::Roster::read(fields, None), qss_message::active_speaker(fields));
    }
}

/// Operations of a session, not only its bytes.
pub(crate) fn qss_session(data: &[u8]) {
    session::run(data);
}

/// A good configuration prints, and what it prints is good again; a bad one has an error to show.
pub(crate) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    match file::load(Path::new("endpoint.toml"), None, Purpose::Run, &Alone(text)) {
        Ok(loaded) => drop(qss_endpoint::config::describe::effective(&loaded)),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

/// A machine with one file.
struct Alone(String);

impl Source for Alone {
    fn read(&self, path: &Path) -> Result<FileText, ReadError> {
        if path == Path::new("endpoint.toml") {
            Ok(FileText { text: self.0.clone(), world_readable: false })
        } else {
            Err(ReadError::Missing)
        }
    }

    fn boards_in(&self, _: &Path) -> Vec<String> {
        Vec::new()
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

/// A call's audio under any packets at any time: chunks (two bytes of length before each) whose first byte is the step:
/// 0 RTP as it is, 1 RTP with a good header of ours around it, 2 RTCP, 3 time passes, 4 the loudspeaker plays,
/// 5 the microphone speaks, 6 parameters change.
pub(crate) fn stream(data: &[u8]) {
    let config = Config::default();
    let settings = Settings::of(&config);
    let mut stream = Stream::new(settings, Mute, Mute);
    let mut now = Time::ZERO;
    let mut wire = Nowhere;
    let mut params = params();
    stream.start(now, params);
    let (mut sequence, mut timestamp) = (0_u16, 0_u32);
    for step in chunks(data).take(512) {
        let Some((kind, rest)) = step.split_first() else { continue };
        let number = u64::from(rest.first().copied().unwrap_or_default());
        match kind % 7 {
            0 => stream.handle_rtp(now, PEER, rest),
            1 => {
                // The first bytes move sequence number and time stamp, the others are the payload.
                let (moves, payload) = rest.split_at(rest.len().min(2));
                sequence = sequence.wrapping_add_signed(moves.first().map_or(1, |step| i16::from(*step as i8)));
                timestamp =
                    timestamp.wrapping_add_signed(moves.get(1).map_or(960, |step| i32::from(*step as i8) * 120));
                let payload_type = if *kind < 128 { params.receive_payload_type } else { 98 };
                let mut packet = vec![0x80, payload_type];
                packet.extend(sequence.to_be_bytes());
                packet.extend(timestamp.to_be_bytes());
                packet.extend(7_u32.to_be_bytes());
                packet.extend(payload);
                stream.handle_rtp(now, PEER, &packet);
            }
            2 => stream.handle_rtcp(now, PEER, rest),
            3 => now += Span::from_millis(number),
            4 => stream.playback(now, &mut [0; 480]),
            5 => stream.capture(now, &[100; 480], &mut wire),
            _ => {
                params.cap = [0, 16_000, 32_000][number as usize % 3];
                params.receive = number & 4 == 0;
                params.send = number & 8 == 0;
                stream.update(now, params);
            }
        }
        if stream.poll_timeout().is_some_and(|wakeup| wakeup.at <= now) {
            stream.handle_timeout(now, &mut wire);
            assert!(stream.poll_timeout().is_none_or(|next| next.at > now), "a timer does not go out");
        }
        while stream.poll_event().is_some() {}
    }
    let _ = stream.stats(now);
    stream.stop(now, &mut wire);
}

/// The whole device against a QSS and a mixer that say anything at any time. A script as in [`sip_dialog`], with
///
/// ```text
/// o   the WebSocket is open          x   it is closed           a   a pong comes
/// q{"answer":...}                    a frame of the QSS; $i stands for the requestID of our last request
/// d   t   r                          as there
/// b   the RTP sockets are bound      p   sound is sent, received and played
/// l{...}                             a line of the status socket
/// s   SIGTERM
/// k{...}  as first step: what an earlier life has kept
/// D   as first step: the room is dialled directly, without the QSS
/// ```
pub(crate) fn agent(data: &[u8]) {
    let room = if data.first() == Some(&b'D') { r#"sip_uri = "sip:88826777033@192.0.2.1""# } else { r#"id = "2f11""# };
    let text = format!(
        r#"
        device.id = "door-1"
        qss = {{ url = "ws://192.0.2.3/", username = "door", token = "t" }}
        invites.accept = ["*"]
        [[room]]
        name = "lobby"
        {room}
        "#
    );
    let config = file::load(Path::new("endpoint.toml"), None, Purpose::Run, &Alone(text));
    let mut device = Device {
        agent: Agent::new(config.unwrap_or_else(|errors| panic!("{errors}")).config, Rng::from_u64(1)),
        now: Time::ZERO,
        out: agent::Outbox::new(),
        asked: Vec::new(),
        said: Said::default(),
        call: 0,
    };
    if let Some(kept) = data.strip_prefix(b"k") {
        let kept = steps(kept).next().unwrap_or_default();
        device.hear(Input::Kept(&String::from_utf8_lossy(kept)));
    }
    device.hear(Input::Start { sip_port: 5060 });
    for step in steps(data).take(64) {
        let (Some(letter), rest) = (step.first(), step.get(1..).unwrap_or_default()) else { continue };
        match letter {
            b'o' => device.hear(Input::QssOpened),
            b'x' => {
                let kind = if rest.is_empty() { LinkErrorKind::Closed(1006) } else { LinkErrorKind::Refused };
                device.hear(Input::QssClosed(LinkError { kind, detail: String::new(), retry_after: None }));
            }
            b'a' => device.hear(Input::QssAlive),
            b'q' => {
                let frame = device.said.fill(rest);
                device.hear(Input::QssFrame(&String::from_utf8_lossy(&frame)));
            }
            b'd' => {
                let bytes = device.said.fill(rest);
                device.hear(Input::Sip { flow: Flow::udp(PEER), bytes: &bytes });
            }
            b't' => device.pass(String::from_utf8_lossy(rest).trim().parse::<u32>().unwrap_or(1)),
            b'r' => {
                for target in std::mem::take(&mut device.asked) {
                    let route = Route { flow: Flow { transport: target.transport, remote: PEER }, local: US };
                    device.hear(Input::Routed { target: &target, routes: Ok(vec![route]) });
                }
            }
            b'b' => device.hear(Input::Media(Event::Bound { rtp_port: 4000, rtcp_port: 4001 })),
            b'p' => {
                let call = device.call;
                device.hear(Input::Media(Event::Sending { call }));
                device.hear(Input::Media(Event::Receiving { call }));
                device.hear(Input::Media(Event::Playing { call }));
            }

            b'l' => device.hear(Input::Local { client: 1, line: &String::from_utf8_lossy(rest) }),
            b's' => device.hear(Input::Stop),
            _ => {}
        }
    }
}

struct Device {
    agent: Agent,
    now: Time,
    out: agent::Outbox,
    asked: Vec<Target>,
    said: Said,
    /// The call the media thread was last told of.
    call: u32,
}

impl Device {
    fn wall(&self) -> WallTime {
        WallTime(1_700_000_000_000 + self.now.as_micros() / 1000)
    }

    fn hear(&mut self, input: Input<'_>) {
        self.agent.handle(self.now, self.wall(), input, &mut self.out);
        self.drain();
    }

    fn pass(&mut self, ms: u32) {
        let end = self.now + Span::from_millis(u64::from(ms));
        for _ in 0..1000 {
            let Some(due) = self.agent.poll_timeout().filter(|wakeup| wakeup.at <= end) else { break };
            self.now = self.now.max(due.at);
            self.agent.handle_timeout(self.now, self.wall(), &mut self.out);
            assert!(self.agent.poll_timeout().is_none_or(|next| next.at > self.now), "a timer does not go out");
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        assert!(self.out.len() < 1000, "{} outputs at once", self.out.len());
        while let Some(output) = self.out.pop_front() {
            match output {
                agent::Output::SipSend { bytes, .. } => self.said.sip(&bytes),
                agent::Output::Resolve(target) => self.asked.push(target),
                agent::Output::QssSend(text) => {
                    assert!(Frame::parse(&text, 65_536).is_ok(), "we sent {text}");
                    if let Some((_, id)) = text.split_once(r#""requestID":""#) {
                        self.said.qss = id.split('"').next().unwrap_or_default().to_owned();
                    }
                }
                agent::Output::Media(Command::Start(params) | Command::Update(params)) => self.call = params.call,
                agent::Output::Status(line) | agent::Output::Reply { line, .. } => assert!(!line.contains('\n')),
                agent::Output::QssOpen { .. }
                | agent::Output::QssToken { .. }
                | agent::Output::Remember(_)
                | agent::Output::QssPing(_)
                | agent::Output::QssClose
                | agent::Output::Keep(_)
                | agent::Output::SipConnect { .. }
                | agent::Output::SipDisconnect { .. }
                | agent::Output::Media(_)
                | agent::Output::DrawKeys
                | agent::Output::Exit => {}
            }
        }
    }
}

fn params() -> StreamParams {
    StreamParams {
        call: 1,
        remote_rtp: PEER,
        remote_rtcp: PEER,
        rtcp_mux: true,
        send_payload_type: 96,
        receive_payload_type: 96,
        telephone_event: Some(TelephoneEvent { send_payload_type: 97, receive_payload_type: 97, clock_rate: 48_000 }),
        redundancy: Some(Redundancy { send_payload_type: 98, receive_payload_type: 98 }),
        ssrc: 1,
        ptime: Span::from_millis(20),
        max_ptime: Span::from_millis(60),
        bitrate: 32_000,
        follows: true,
        cap: 0,
        send: true,
        receive: true,
        srtp: None,
        extended: Asked { round_trip: RoundTrip::All, voip_metrics: true },
    }
}

/// A codec of silence: the real one is C, and has fuzzers of its own.
struct Mute;

impl Encoder for Mute {
    fn encode(&mut self, _: &[i16], packet: &mut [u8]) -> Result<usize, CodecError> {
        Ok(packet.len().min(80))
    }
    fn set_bitrate(&mut self, _: u32) -> Result<(), CodecError> {
        Ok(())
    }
    fn set_fec(&mut self, _: u8) -> Result<(), CodecError> {
        Ok(())
    }
    fn set_complexity(&mut self, _: u8) -> Result<(), CodecError> {
        Ok(())
    }
    fn set_band(&mut self, _: Band) -> Result<(), CodecError> {
        Ok(())
    }
    fn reset(&mut self) -> Result<(), CodecError> {
        Ok(())
    }
}

impl Decoder for Mute {
    /// The first byte of a payload says whether libopus would have liked it.
    fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        if payload.first().is_some_and(|toc| toc & 7 == 7) { Err(CodecError(-4)) } else { Ok(pcm.len().min(960)) }
    }
    fn decode_fec(&mut self, _: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        Ok(pcm.len())
    }
    fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, CodecError> {
        Ok(pcm.len())
    }
    fn remember(&mut self) {}
    fn recall(&mut self) {}
    fn reset(&mut self) -> Result<(), CodecError> {
        Ok(())
    }
}

struct Nowhere;

impl Wire for Nowhere {
    fn send_rtp(&mut self, _: SocketAddr, packet: &[u8]) -> bool {
        assert!(packet.len() > 12 && packet.len() <= 1500);
        packet.len().is_multiple_of(2)
    }
    fn send_rtcp(&mut self, _: SocketAddr, packet: &[u8]) {
        assert!(packet.len() >= 8);
    }
}

/// Byte strings with two bytes of length before each; the last may be cut short.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (chunk, after) = after.split_at(after.len().min(usize::from(u16::from_be_bytes(*length))));
        rest = after;
        Some(chunk)
    })
}
