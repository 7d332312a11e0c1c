//! The user agent against a scripted peer, on virtual time: each test reads like a packet trace.
#![allow(clippy::wildcard_enum_match_arm)] // a test looks for one thing and panics on all others

mod auth;
mod call;
mod digits;
mod fixtures;
mod hangup;
mod incoming;
mod loss;
mod malformed;
mod modify;
mod prack;
mod redirect;
mod refer;
mod register;
mod requests;
mod routing;
mod silence;
mod sips;
mod timers;
mod torture;
mod transport;
mod week;

use super::endpoint::{CallId, EndCause, Endpoint, Event, Outbox, Output, RouteError};
use super::message::{self, Identity, Message, Method, Name, Request};
use super::transport::{Flow, Route, Target, Transport};
use crate::config;
use crate::random::Rng;
use crate::sdp::Local;
use crate::time::{Span, Time};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Media address of the scripted mixer in [`ANSWER`].
const ANSWER: &str = "v=0\r\no=- 1 3 IN IP4 192.0.2.9\r\ns=audiomixer\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 20140 RTP/AVP 96 97\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 maxaveragebitrate=24000\r\na=ptime:20\r\n\
    a=maxptime:60\r\na=sendrecv\r\na=rtpmap:97 telephone-event/48000\r\na=fmtp:97 0-16\r\n";
const OFFER: &str = "v=0\r\no=- 7 7 IN IP4 192.0.2.9\r\ns=audiomixer\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 20140 RTP/AVP 107 101\r\na=rtpmap:107 opus/48000/2\r\na=rtpmap:101 telephone-event/48000\r\na=sendrecv\r\n";
const TARGET: &str = "sip:88826777033@mixer.example:5080";
const MIXER: &str = "192.0.2.9:5080";

/// The agent under test and the moment it is in.
struct World {
    endpoint: Endpoint,
    out: Outbox,
    now: Time,
    sent: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
    connects: VecDeque<(Flow, String)>,
    disconnects: VecDeque<Flow>,
    resolves: VecDeque<(String, u16)>,
    /// Everything that was ever looked up.
    targets: Vec<Target>,
}

fn ms(ms: u64) -> Span {
    Span::from_millis(ms)
}

fn local() -> Local {
    Local {
        address: None,
        rtp_port: 40_000,
        rtcp_port: 40_001,
        ptime: ms(20),
        max_average_bitrate: 32_000,
        fec: true,
        redundancy: true,
        dtx: false,
        rtcp_xr: true,
        active: true,
    }
}

fn held() -> Local {
    Local { active: false, ..local() }
}

fn config() -> config::Sip {
    let mut sip = config::Config::default().sip;
    sip.user = "device7".into();
    // Tests of keep-alives switch them on.
    sip.keepalive_interval = Span::ZERO;
    sip.display_name = "Room \"A\"".into();
    sip
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl World {
    fn new() -> World {
        World::with(config(), 1)
    }

    fn with(config: config::Sip, seed: u64) -> World {
        let mut endpoint = Endpoint::new(&config, Rng::from_u64(seed));
        endpoint.set_local_port(5062);
        World {
            endpoint,
            out: Outbox::new(),
            now: Time::from_millis(1_000),
            sent: VecDeque::new(),
            events: VecDeque::new(),
            connects: VecDeque::new(),
            disconnects: VecDeque::new(),
            resolves: VecDeque::new(),
            targets: Vec::new(),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.out.pop_front() {
            match output {
                Output::Send { flow, bytes } => self.sent.push_back((flow.remote, bytes)),
                Output::Resolve(target) => {
                    self.resolves.push_back((target.host.clone(), target.port_or_default()));
                    self.targets.push(target);
                }
                Output::Connect { flow, host } => self.connects.push_back((flow, host)),
                Output::Disconnect { flow } => self.disconnects.push_back(flow),
                Output::Event(event) => self.events.push_back(event),
            }
        }
    }

    /// Dials and resolves; the INVITE is on the wire.
    fn dial(&mut self) -> CallId {
        let id = self.endpoint.call(self.now, TARGET, local(), &mut self.out).unwrap();
        self.drain();
        let (host, port) = self.resolves.pop_front().expect("the host is looked up");
        self.route(&host, port, Ok(MIXER));
        id
    }

    fn route(&mut self, host: &str, port: u16, remote: Result<&str, RouteError>) {
        let asked = self.targets.iter().find(|target| target.host == host && target.port_or_default() == port);
        let other = Target { host: host.into(), port: Some(port), transport: Transport::Udp };
        let target = asked.unwrap_or(&other);
        let flow = |remote| Flow { transport: target.transport, remote: address(remote) };
        let routes = remote.map(|remote| vec![Route { flow: flow(remote), local: "192.0.2.1".parse().unwrap() }]);
        self.endpoint.handle_route(self.now, target, routes, &mut self.out);
        self.drain();
    }

    /// Dials, is answered, acknowledges: the call is confirmed. Returns the INVITE and the ACK too.
    fn confirmed(&mut self) -> (CallId, Sent, Sent) {
        let id = self.dial();
        let invite = self.expect(Method::Invite);
        self.reply(&invite, 100, "", "");
        self.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
        let ack = self.expect(Method::Ack);
        assert!(matches!(self.events.pop_front(), Some(Event::Progress { status: 100, .. })));
        assert!(matches!(self.events.pop_front(), Some(Event::Confirmed { .. })));
        (id, invite, ack)
    }

    fn receive(&mut self, text: &str) {
        self.receive_from(MIXER, text.as_bytes());
    }

    fn receive_from(&mut self, from: &str, bytes: &[u8]) {
        self.endpoint.handle_received(self.now, Flow::udp(address(from)), bytes, &mut self.out);
        self.drain();
    }

    /// The scripted peer answers `request` (with the To tag `peer`, unless `headers` bring a To of their own).
    fn reply(&mut self, request: &Sent, status: u16, headers: &str, body: &str) {
        let text = request.response(status, "peer", headers, body);
        self.receive(&text);
    }

    /// The next thing sent must be a request with that method.
    #[track_caller]
    fn expect(&mut self, method: Method) -> Sent {
        let sent = self.next_sent();
        assert_eq!(sent.request().method, method, "{}", sent.text());
        sent
    }

    /// The next thing sent must be a response with that status.
    #[track_caller]
    fn expect_status(&mut self, status: u16) -> Sent {
        let sent = self.next_sent();
        assert!(sent.text().starts_with(&format!("SIP/2.0 {status} ")), "{}", sent.text());
        sent
    }

    #[track_caller]
    fn next_sent(&mut self) -> Sent {
        let (to, bytes) = self.sent.pop_front().expect("something is sent");
        let message = message::parse(&bytes).expect("what we send is well formed");
        Sent { to, bytes, message }
    }

    #[track_caller]
    fn expect_silence(&mut self) {
        let text = self.sent.front().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(text, None, "nothing more is sent");
    }

    #[track_caller]
    fn expect_event(&mut self) -> Event {
        self.events.pop_front().expect("an event")
    }

    #[track_caller]
    fn expect_ended(&mut self) -> EndCause {
        match self.expect_event() {
            Event::Ended { cause, .. } => cause,
            other => panic!("not Ended but {other:?}"),
        }
    }

    /// The end, whatever was told before it.
    #[track_caller]
    fn expect_ended_at_last(&mut self) -> EndCause {
        match self.events.pop_back() {
            Some(Event::Ended { cause, .. }) => cause,
            other => panic!("not Ended but {other:?}"),
        }
    }

    /// Lets time pass, timer by timer; each must move the next deadline on.
    fn pass(&mut self, span: Span) {
        let until = self.now + span;
        for _ in 0..100_000 {
            match self.endpoint.poll_timeout() {
                Some(wakeup) if wakeup.at <= until => {
                    self.now = wakeup.at.max(self.now);
                    self.endpoint.handle_timeout(self.now, &mut self.out);
                    self.drain();
                    assert!(self.endpoint.poll_timeout().is_none_or(|next| next.at > self.now), "stuck: {wakeup:?}");
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("time does not pass");
    }

    /// Passes time until only `count` of the requests sent meanwhile are left to look at.
    fn drop_sent(&mut self) -> usize {
        let count = self.sent.len();
        self.sent.clear();
        count
    }

    fn hang_up(&mut self, id: CallId) {
        self.endpoint.hang_up(self.now, id, Some("bye"), &mut self.out);
        self.drain();
    }

    fn modify(&mut self, id: CallId, local: Local) {
        self.endpoint.modify(self.now, id, local, &mut self.out);
        self.drain();
    }
}

/// Something the agent sent, and its meaning.
#[derive(Clone, Debug)]
struct Sent {
    to: SocketAddr,
    bytes: Vec<u8>,
    message: Message,
}

impl Sent {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn request(&self) -> &Request {
        match &self.message {
            Message::Request { request, .. } => request,
            Message::Response { response, .. } => panic!("a response, {}", response.status),
        }
    }

    fn identity(&self) -> &Identity {
        match &self.message {
            Message::Request { identity, .. } | Message::Response { identity, .. } => identity,
        }
    }

    fn body(&self) -> String {
        let body = match &self.message {
            Message::Request { request, .. } => &request.body,
            Message::Response { response, .. } => &response.body,
        };
        String::from_utf8_lossy(body).into_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = match &self.message {
            Message::Request { request, .. } => &request.headers,
            Message::Response { response, .. } => &response.headers,
        };
        headers.first(&Name::of(name))
    }

    fn branch(&self) -> &str {
        self.identity().via.branch().expect("a branch")
    }

    /// What a real mixer answers: it drops the port from From and To, and adds `received`.
    fn response(&self, status: u16, tag: &str, headers: &str, body: &str) -> String {
        let from = self.header("From").unwrap().replace(":5062", "");
        let mut to = self.header("To").unwrap().replace(":5080", "");
        if !tag.is_empty() && status != 100 && !to.contains(";tag=") {
            to = format!("{to};tag={tag}");
        }
        let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "SIP/2.0 {status} Some Reason\r\nVia: {};received=192.0.2.1\r\nCall-ID: {}\r\nFrom: {from}\r\nTo: {to}\r\n\
             CSeq: {}\r\n{headers}{content}Content-Length:  {}\r\n\r\n{body}",
            self.header("Via").unwrap(),
            self.identity().call_id,
            self.identity().cseq,
            body.len()
        )
    }

    /// A request of the peer in the dialog of this INVITE, as answered by [`World::confirmed`].
    fn peer_request(&self, method: &str, cseq: u32, headers: &str, body: &str) -> String {
        let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:device7@192.0.2.1:5062 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.9:5080;rport;branch=z9hG4bKpeer{method}{cseq}\r\n\
             From: <sip:88826777033@mixer.example>;tag=peer\r\nTo: <sip:device7@192.0.2.1>;tag={}\r\n\
             Call-ID: {}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContact: <sip:192.0.2.9:5080>\r\n\
             {headers}{content}Content-Length: {}\r\n\r\n{body}",
            self.identity().from.tag().unwrap(),
            self.identity().call_id,
            body.len()
        )
    }
}
