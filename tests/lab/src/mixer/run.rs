//! The mixer's thread: one `poll` over every socket, a tick each 20 ms on an absolute grid.

use super::call::{Call, Due, Phase, Resend};
use super::leg::{Leg, Packet, TICK};
use super::message::{Message, authorised, parameter, user};
use super::sdp::{NotUsable, Offer, own_offer};
use super::{CallInfo, CallState, Config, End, Reception};
use crate::clock::mono_us;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const TICK_US: u64 = 20_000;
/// Later than this the grid starts anew instead of catching up.
const CATCH_UP_US: u64 = 200_000;
const TRACE_MAX: usize = 1_000_000;

pub(super) enum Command {
    Kick(Option<String>),
    Ring(Duration),
    Reception(Reception),
    Freeze(Duration),
    Stop,
    Kill,
}

#[derive(Default)]
pub(super) struct Shared {
    pub(super) calls: Mutex<Vec<CallInfo>>,
    pub(super) changed: Condvar,
}

pub(super) type Started = (Arc<Shared>, Sender<Command>, SocketAddr, std::thread::JoinHandle<()>);

pub(super) fn start(config: Config) -> io::Result<Started> {
    let sip = UdpSocket::bind(config.listen)?;
    sip.set_nonblocking(true)?;
    let address = sip.local_addr()?;
    let shared = Arc::new(Shared::default());
    let (commands, orders) = channel();
    let bridge = Bridge {
        sip,
        address,
        shared: shared.clone(),
        calls: Vec::new(),
        said: VecDeque::new(),
        finals: Vec::new(),
        counter: 0,
        reception: Reception::ByNumber,
        config,
    };
    let thread = std::thread::Builder::new().name("lab-mixer".into()).spawn(move || bridge.run(orders))?;
    Ok((shared, commands, address, thread))
}

struct Bridge {
    config: Config,
    sip: UdpSocket,
    address: SocketAddr,
    shared: Arc<Shared>,
    calls: Vec<Call>,
    /// Responses given, by Via branch and CSeq: a repeated request gets the same bytes (17.2).
    said: VecDeque<(String, Vec<u8>)>,
    /// Refusals of an INVITE, repeated until their ACK: (Call-ID, CSeq number, bytes, to, timer).
    finals: Vec<(String, u32, Vec<u8>, SocketAddr, Resend)>,
    counter: u32,
    reception: Reception,
}

/// Where a dialled number leads.
enum Destination {
    Room,
    RingForever,
    Refused(u16),
}

impl Bridge {
    fn run(mut self, orders: Receiver<Command>) {
        if self.config.realtime_priority > 0 {
            crate::clock::become_realtime(self.config.realtime_priority);
        }
        let mut next_tick_us = mono_us() + TICK_US;
        let mut buffer = vec![0_u8; 65_536];
        loop {
            self.wait_readable(next_tick_us);
            self.read_sockets(&mut buffer);
            loop {
                match orders.try_recv() {
                    Ok(Command::Kill) | Err(TryRecvError::Disconnected) => return,
                    Ok(Command::Stop) => {
                        self.kick(None);
                        return;
                    }
                    Ok(Command::Kick(user)) => self.kick(user.as_deref()),
                    Ok(Command::Ring(delay)) => self.config.ring = delay,
                    Ok(Command::Reception(reception)) => self.reception = reception,
                    Ok(Command::Freeze(how_long)) => std::thread::sleep(how_long),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let now = mono_us();
            if now >= next_tick_us {
                self.tick(now, &mut buffer);
                self.timers(now);
                next_tick_us += TICK_US;
                if now > next_tick_us + CATCH_UP_US {
                    next_tick_us = now + TICK_US;
                }
            }
        }
    }

    fn wait_readable(&self, until_us: u64) {
        let media = self.calls.iter().flat_map(|call| [&call.leg.rtp, &call.leg.rtcp]);
        let sockets = std::iter::once(&self.sip).chain(media);
        let mut polled: Vec<libc::pollfd> =
            sockets.map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
        let left = until_us.saturating_sub(mono_us());
        let timeout = libc::timespec { tv_sec: 0, tv_nsec: (left * 1000) as libc::c_long };
        // SAFETY: `polled` is a valid array of that length for the duration of the call.
        unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &timeout, std::ptr::null()) };
    }

    fn read_sockets(&mut self, buffer: &mut [u8]) {
        while let Ok((length, from)) = self.sip.recv_from(buffer) {
            if self.reception != Reception::Silent
                && let Some(message) = Message::parse(&buffer[..length])
            {
                self.on_sip(message, from);
            }
        }
        let mut traces = Vec::new();
        for call in &mut self.calls {
            while let Ok(length) = call.leg.rtp.recv(buffer) {
                let now = mono_us();
                call.leg.on_rtp(now, &buffer[..length]);
                traces.push((call.id, Packet { at_us: now, bytes: length as u16 }));
            }
            while let Ok(length) = call.leg.rtcp.recv(buffer) {
                call.leg.on_rtcp(mono_us(), &buffer[..length]);
            }
        }
        if !traces.is_empty() {
            let mut infos = self.infos();
            for (id, packet) in traces {
                let info = &mut infos[id as usize - 1];
                if info.received.len() < TRACE_MAX {
                    info.received.push(packet);
                }
            }
        }
    }

    /// Pops every participant once, then gives each the sum of the others in its room.
    fn tick(&mut self, now: u64, buffer: &mut [u8]) {
        let mut voices = vec![[0_i16; TICK]; self.calls.len()];
        for (call, voice) in self.calls.iter_mut().zip(&mut voices) {
            if call.is_up() {
                call.leg.pop(now, voice);
            }
        }
        let rooms: Vec<String> = self.calls.iter().map(|call| call.room.clone()).collect();
        let mut sent = Vec::new();
        for (at, call) in self.calls.iter_mut().enumerate().filter(|(_, call)| call.is_up()) {
            let mut sum = [0_i32; TICK];
            let others =
                voices.iter().zip(&rooms).enumerate().filter(|(other, (_, room))| *other != at && **room == call.room);
            for (_, (voice, _)) in others {
                sum.iter_mut().zip(voice).for_each(|(sum, sample)| *sum += i32::from(*sample));
            }
            let mix = sum.map(|sample| sample.clamp(-32_768, 32_767) as i16);
            if let Some(packet) = call.leg.push(now, &mix, buffer) {
                sent.push((call.id, packet));
            }
            call.leg.report(now, self.config.rtcp_mux);
        }
        let mut infos = self.infos();
        for (id, packet) in sent {
            let info = &mut infos[id as usize - 1];
            if info.sent.len() < TRACE_MAX {
                info.sent.push(packet);
            }
        }
        for call in &self.calls {
            infos[call.id as usize - 1].counters = call.leg.counters;
        }
    }

    fn timers(&mut self, now: u64) {
        let mut to_answer = Vec::new();
        let mut ended = Vec::new();
        for call in &mut self.calls {
            match &mut call.phase {
                Phase::Ringing { answer_at_us } => {
                    if answer_at_us.is_some_and(|at| now >= at) {
                        to_answer.push(call.id);
                    }
                }
                Phase::Answered { response: bytes, resend } | Phase::Closing { bye: bytes, resend } => {
                    match resend.poll(now) {
                        Due::NotYet => {}
                        Due::Now => drop(self.sip.send_to(bytes, call.peer)),
                        Due::GiveUp => ended.push(call.id),
                    }
                }
                Phase::Confirmed | Phase::Ended => {}
            }
        }
        to_answer.into_iter().for_each(|id| self.answer(id));
        for id in ended {
            let was_up = self.call(id).is_some_and(|call| call.is_up());
            self.end(id, if was_up { End::NoAck } else { End::ByMixer });
        }
        let sip = &self.sip;
        self.finals.retain_mut(|(_, _, bytes, to, resend)| match resend.poll(now) {
            Due::NotYet => true,
            Due::Now => sip.send_to(bytes, *to).is_ok(),
            Due::GiveUp => false,
        });
        self.calls.retain(|call| !matches!(call.phase, Phase::Ended));
    }

    fn on_sip(&mut self, message: Message, from: SocketAddr) {
        let Some(method) = message.method().map(String::from) else {
            return self.on_response(&message);
        };
        let key = format!("{} {}", message.branch(), message.header("CSeq").unwrap_or_default());
        if method != "ACK"
            && let Some((_, bytes)) = self.said.iter().find(|(said, _)| *said == key)
        {
            let _ = self.sip.send_to(bytes, from);
            return;
        }
        let dialog = self.calls.iter().find(|call| call.owns(&message)).map(|call| call.id);
        match (method.as_str(), dialog) {
            ("ACK", dialog) => self.on_ack(&message, dialog),
            ("INVITE", Some(id)) => self.on_reinvite(id, &message, from),
            ("INVITE", None) if message.header("To").and_then(|to| parameter(to, "tag")).is_none() => {
                self.on_invite(message, from);
            }
            ("CANCEL", _) => self.on_cancel(&message, from),
            ("BYE", Some(id)) => {
                self.say(&message, from, message.reply("200 OK", "", from));
                self.end(id, End::ByPeer);
            }
            ("OPTIONS", _) => {
                let allow = "INVITE, ACK, CANCEL, BYE, OPTIONS";
                let reply =
                    message.reply("200 OK", "labopt", from).with("Allow", allow).with("Accept", "application/sdp");
                self.say(&message, from, reply);
            }
            ("INVITE" | "BYE" | "UPDATE" | "INFO", None) => {
                self.say(&message, from, message.reply("481 Call/Transaction Does Not Exist", "lab481", from));
            }
            _ => self.say(&message, from, message.reply("405 Method Not Allowed", "lab405", from)),
        }
    }

    fn on_invite(&mut self, invite: Message, from: SocketAddr) {
        self.counter += 1;
        let id = self.counter;
        let room = user(invite.request_uri()).to_string();
        let offer = if invite.body.is_empty() { None } else { Some(Offer::parse(&invite.body)) };
        self.infos().push(CallInfo {
            id,
            call_id: invite.header("Call-ID").unwrap_or_default().into(),
            user: user(super::message::uri(invite.header("From").unwrap_or_default())).into(),
            room: room.clone(),
            state: CallState::Ringing,
            offer: invite.body.clone(),
            answer: String::new(),
            counters: super::Counters::default(),
            invited_us: mono_us(),
            answered_us: None,
            confirmed_us: None,
            ended_us: None,
            received: Vec::new(),
            sent: Vec::new(),
        });
        if let Some((name, password)) = &self.config.digest {
            let nonce = format!("{:x}", u64::from(self.address.port()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            if !authorised(&invite, name, password, &nonce) {
                let challenge = format!("Digest realm=\"audiomixer\",nonce=\"{nonce}\",algorithm=MD5,qop=\"auth\"");
                let reply = invite.reply("401 Unauthorized", &format!("lab{id:x}"), from);
                return self.refuse(id, &invite, from, reply.with("WWW-Authenticate", challenge), 401);
            }
        }
        let destination = match self.reception {
            Reception::ByNumber | Reception::Silent => destination(&room),
            Reception::Refuse(status) => Destination::Refused(status),
        };
        let status = match (&destination, &offer) {
            (Destination::Refused(status), _) => Some(*status),
            (_, Some(Err(NotUsable::NotAcceptable))) => Some(488),
            (_, Some(Err(NotUsable::Malformed))) => Some(400),
            (Destination::Room | Destination::RingForever, Some(Ok(_)) | None) => None,
        };
        if let Some(status) = status {
            let reply = invite.reply(&format!("{status} {}", phrase(status)), &format!("lab{id:x}"), from);
            return self.refuse(id, &invite, from, reply, status);
        }
        let Ok(mut leg) = Leg::bind(self.address.ip(), 0x1ab0_0000 + id) else {
            let reply = invite.reply("500 No Ports", &format!("lab{id:x}"), from);
            return self.refuse(id, &invite, from, reply, 500);
        };
        if let Some(Ok(offer)) = offer {
            leg.agree(offer, self.config.fec);
        }
        let now = mono_us();
        let answer_at_us = match destination {
            Destination::RingForever => None,
            Destination::Room | Destination::Refused(_) => Some(now + self.config.ring.as_micros() as u64),
        };
        let call = Call::new(id, invite.clone(), from, room, leg, answer_at_us);
        let tag = call.tag.clone();
        self.calls.push(call);
        if answer_at_us == Some(now) {
            self.say(&invite, from, invite.reply("100 Trying", "", from));
            self.answer(id);
        } else {
            let ringing = invite.reply("180 Ringing", &tag, from);
            self.say(&invite, from, ringing.with("Contact", format!("<sip:{}>", self.address)));
        }
    }

    fn answer(&mut self, id: u32) {
        let (address, mux) = (self.address, self.config.rtcp_mux);
        let Some(call) = self.call(id) else { return };
        let sdp = match call.leg.remote() {
            Some(offer) => offer.answer(address.ip(), call.leg.port, mux, call.sdp_version),
            None => own_offer(address.ip(), call.leg.port, call.sdp_version),
        };
        let (invite, peer) = (call.invite.clone(), call.peer);
        let ok = invite.reply("200 OK", &call.tag, peer).with("Contact", format!("<sip:{address}>"));
        let ok = ok.with("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS").with_sdp(&sdp);
        call.phase = Phase::Answered { response: ok.to_bytes(), resend: Resend::new(mono_us()) };
        self.say(&invite, peer, ok);
        self.note(id, |info| {
            info.state = CallState::Answered;
            info.answered_us = Some(mono_us());
            info.answer = sdp;
        });
    }

    fn on_ack(&mut self, ack: &Message, dialog: Option<u32>) {
        let call_id = ack.header("Call-ID").unwrap_or_default();
        let number = ack.cseq().map(|(number, _)| number);
        self.finals.retain(|(known, cseq, ..)| !(known == call_id && Some(*cseq) == number));
        let fec = self.config.fec;
        let Some(call) = dialog.and_then(|id| self.call(id)) else { return };
        let Phase::Answered { .. } = call.phase else { return };
        call.phase = Phase::Confirmed;
        if call.leg.remote().is_none()
            && let Ok(answer) = Offer::parse(&ack.body)
        {
            call.leg.agree(answer, fec);
        }
        let id = call.id;
        self.note(id, |info| {
            info.state = CallState::Confirmed;
            info.confirmed_us.get_or_insert(mono_us());
        });
    }

    /// A new offer inside the dialog: hold, resume, a changed address.
    fn on_reinvite(&mut self, id: u32, invite: &Message, from: SocketAddr) {
        let (address, mux, fec) = (self.address, self.config.rtcp_mux, self.config.fec);
        let Some(call) = self.call(id) else { return };
        let tag = call.tag.clone();
        call.peer = from;
        let sdp = match Offer::parse(&invite.body) {
            Ok(offer) => {
                call.sdp_version += 1;
                call.leg.agree(offer.clone(), fec);
                offer.answer(address.ip(), call.leg.port, mux, call.sdp_version)
            }
            Err(_) => {
                let reply = invite.reply("488 Not Acceptable Here", &tag, from);
                return self.say(invite, from, reply);
            }
        };
        let ok = invite.reply("200 OK", &tag, from).with("Contact", format!("<sip:{address}>")).with_sdp(&sdp);
        if let Some(call) = self.call(id) {
            call.phase = Phase::Answered { response: ok.to_bytes(), resend: Resend::new(mono_us()) };
        }
        self.say(invite, from, ok);
        self.note(id, |info| {
            info.offer = invite.body.clone();
            info.answer = sdp;
        });
    }

    fn on_cancel(&mut self, cancel: &Message, from: SocketAddr) {
        let ringing = self
            .calls
            .iter()
            .find(|call| matches!(call.phase, Phase::Ringing { .. }) && call.invite.branch() == cancel.branch());
        let Some((id, invite, tag)) = ringing.map(|call| (call.id, call.invite.clone(), call.tag.clone())) else {
            let reply = cancel.reply("481 Call/Transaction Does Not Exist", "lab481", from);
            return self.say(cancel, from, reply);
        };
        self.say(cancel, from, cancel.reply("200 OK", &tag, from));
        self.refuse(id, &invite, from, invite.reply("487 Request Terminated", &tag, from), 487);
        self.end(id, End::Cancelled);
    }

    fn on_response(&mut self, response: &Message) {
        let Some((_, "BYE")) = response.cseq() else { return };
        let call_id = response.header("Call-ID").unwrap_or_default();
        let closing =
            self.calls.iter().find(|call| matches!(call.phase, Phase::Closing { .. }) && call.call_id() == call_id);
        if let Some(id) = closing.map(|call| call.id).filter(|_| response.status().is_some_and(|status| status >= 200))
        {
            self.end(id, End::ByMixer);
        }
    }

    fn kick(&mut self, name: Option<&str>) {
        let address = self.address;
        let mut kicked = Vec::new();
        for call in self.calls.iter_mut().filter(|call| call.is_up()) {
            if name.is_none_or(|name| name == call.caller()) {
                let bye = call.bye(address);
                let _ = self.sip.send_to(&bye, call.peer);
                call.phase = Phase::Closing { bye, resend: Resend::new(mono_us()) };
                kicked.push(call.id);
            }
        }
        for id in kicked {
            self.note(id, |info| {
                info.state = CallState::Ended(End::ByMixer);
                info.ended_us = Some(mono_us());
            });
        }
    }

    fn refuse(&mut self, id: u32, invite: &Message, from: SocketAddr, reply: Message, status: u16) {
        let number = invite.cseq().map_or(0, |(number, _)| number);
        let call_id = invite.header("Call-ID").unwrap_or_default().to_string();
        self.finals.push((call_id, number, reply.to_bytes(), from, Resend::new(mono_us())));
        self.say(invite, from, reply);
        self.note(id, |info| {
            info.state = CallState::Ended(End::Refused(status));
            info.ended_us = Some(mono_us());
        });
    }

    /// Sends a response and remembers it for a repetition of the request.
    fn say(&mut self, request: &Message, to: SocketAddr, response: Message) {
        let bytes = response.to_bytes();
        let _ = self.sip.send_to(&bytes, to);
        let key = format!("{} {}", request.branch(), request.header("CSeq").unwrap_or_default());
        self.said.retain(|(said, _)| *said != key);
        self.said.push_back((key, bytes));
        if self.said.len() > 256 {
            self.said.pop_front();
        }
    }

    fn end(&mut self, id: u32, end: End) {
        if let Some(call) = self.call(id) {
            call.phase = Phase::Ended;
        }
        self.note(id, |info| {
            if !matches!(info.state, CallState::Ended(End::ByMixer)) {
                info.state = CallState::Ended(end);
                info.ended_us = Some(mono_us());
            }
        });
    }

    fn call(&mut self, id: u32) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.id == id)
    }

    fn infos(&self) -> MutexGuard<'_, Vec<CallInfo>> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: u32, change: impl FnOnce(&mut CallInfo)) {
        if let Some(info) = self.infos().get_mut(id as usize - 1) {
            change(info);
        }
        self.shared.changed.notify_all();
    }
}

/// Numbers as the ConfBridge of the lab knows them.
fn destination(user: &str) -> Destination {
    let digits = !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit());
    match user {
        _ if digits && user.len() >= 7 => Destination::Room,
        _ if digits => Destination::Refused(484),
        "forever" => Destination::RingForever,
        "busy" => Destination::Refused(486),
        "reject" => Destination::Refused(403),
        "unavailable" => Destination::Refused(480),
        "congested" => Destination::Refused(503),
        "gone" => Destination::Refused(410),
        "badmedia" => Destination::Refused(488),
        "error" => Destination::Refused(500),
        _ => Destination::Refused(404),
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        410 => "Gone",
        480 => "Temporarily Unavailable",
        484 => "Address Incomplete",
        486 => "Busy Here",
        488 => "Not Acceptable Here",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        _ => "Refused",
    }
}
