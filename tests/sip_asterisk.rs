//! The SIP core against a real Asterisk: only a socket and a clock stand between them.
#![allow(clippy::disallowed_types)]

use lab::asterisk::Asterisk;
use qss_endpoint::config::{Config, Sip};
use qss_endpoint::random::Rng;
use qss_endpoint::sdp::Local;
use qss_endpoint::sip::endpoint::{CallId, EndCause, Endpoint, Event, Outbox, Output};
use qss_endpoint::sip::transport::{Flow, Route, Target, Transport};
use qss_endpoint::time::{Span, Time};
use std::net::UdpSocket;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const ROOM: &str = "88826777033";
const PATIENCE: Duration = Duration::from_secs(10);
static TURN: Mutex<()> = Mutex::new(());

/// A user agent on a socket of its own, and everything that was said.
struct Caller {
    socket: UdpSocket,
    endpoint: Endpoint,
    out: Outbox,
    since: Instant,
    events: Vec<Event>,
    sent: Vec<String>,
    received: Vec<String>,
}

impl Caller {
    /// `profile` is the user of From, by which this mixer picks the profile.
    fn new(profile: &str, change: impl FnOnce(&mut Sip)) -> Caller {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut sip = Config::default().sip;
        sip.user = profile.into();
        change(&mut sip);
        let mut endpoint = Endpoint::new(&sip, Rng::from_u64(port.into()));
        endpoint.set_local_port(port);
        let (out, since) = (Outbox::new(), Instant::now());
        Caller { socket, endpoint, out, since, events: Vec::new(), sent: Vec::new(), received: Vec::new() }
    }

    fn now(&self) -> Time {
        Time::from_micros(1_000_000 + self.since.elapsed().as_micros() as u64)
    }

    fn dial(&mut self, mixer: &Asterisk, number: &str) -> CallId {
        let local = Local {
            address: None,
            rtp_port: 40_000,
            rtcp_port: 40_001,
            ptime: Span::from_millis(20),
            max_average_bitrate: 32_000,
            fec: false,
            dtx: false,
            active: true,
        };
        let call = self.endpoint.call(self.now(), &mixer.uri(number), local, &mut self.out).unwrap();
        let route = Route { flow: Flow::udp(mixer.sip), local: [127, 0, 0, 1].into() };
        let (host, port) = (mixer.sip.ip().to_string(), Some(mixer.sip.port()));
        let target = Target { host, port, transport: Transport::Udp };
        self.endpoint.handle_route(self.now(), &target, Ok(vec![route]), &mut self.out);
        call
    }

    /// Serves socket and timers until `done`.
    #[track_caller]
    fn until(&mut self, what: &str, done: impl Fn(&Caller) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut datagram = [0; 8_192];
        loop {
            while let Some(output) = self.out.pop_front() {
                match output {
                    Output::Send { flow, bytes } => {
                        self.socket.send_to(&bytes, flow.remote).unwrap();
                        self.sent.push(String::from_utf8(bytes).unwrap());
                    }
                    Output::Event(event) => self.events.push(event),
                    Output::Resolve(_) | Output::Connect { .. } | Output::Disconnect { .. } => {}
                }
            }
            if done(self) {
                return;
            }
            assert!(Instant::now() < end, "no {what}: {:?}\n{}", self.events, self.received.join("\n"));
            if let Ok((length, from)) = self.socket.recv_from(&mut datagram) {
                self.received.push(String::from_utf8_lossy(&datagram[..length]).into_owned());
                self.endpoint.handle_received(self.now(), Flow::udp(from), &datagram[..length], &mut self.out);
            }
            if self.endpoint.poll_timeout().is_some_and(|wakeup| wakeup.at <= self.now()) {
                self.endpoint.handle_timeout(self.now(), &mut self.out);
            }
        }
    }

    #[track_caller]
    fn confirm(&mut self) {
        self.until("answer", |caller| caller.events.iter().any(|event| matches!(event, Event::Confirmed { .. })));
    }

    fn ended(&self) -> Option<&EndCause> {
        self.events.iter().find_map(|event| match event {
            Event::Ended { cause, .. } => Some(cause),
            Event::Progress { .. }
            | Event::Incoming { .. }
            | Event::Early { .. }
            | Event::Confirmed { .. }
            | Event::Modified { .. }
            | Event::Malformed { .. } => None,
        })
    }

    #[track_caller]
    fn hang_up(&mut self, call: CallId) {
        self.endpoint.hang_up(self.now(), call, None, &mut self.out);
        self.until("end", |caller| caller.ended().is_some());
        assert_eq!(self.ended(), Some(&EndCause::Local));
    }

    /// The value of `header` in the first 200 to an INVITE.
    fn of_answer(&self, header: &str) -> Option<&str> {
        let is_answer = |text: &&String| text.starts_with("SIP/2.0 200") && text.contains(" INVITE\r\n");
        let answer = self.received.iter().find(is_answer)?;
        answer.lines().find_map(|line| line.strip_prefix(header)?.strip_prefix(": "))
    }

    fn refused_with(&self, status: u16) -> bool {
        self.received.iter().any(|text| text.starts_with(&format!("SIP/2.0 {status} ")))
    }
}

/// Asks for `expires`, and then says who has to refresh what, as the mixer sees it.
fn negotiated(mixer: &Asterisk, profile: &str, expires: u64) -> (Option<String>, Option<String>) {
    let mut caller = Caller::new(profile, |sip| sip.session_expires = Span::from_secs(expires));
    let call = caller.dial(mixer, ROOM);
    caller.confirm();
    assert!(!caller.refused_with(421) && !caller.refused_with(422));
    let answer = ["Session-Expires", "Require"].map(|header| caller.of_answer(header).map(String::from));
    caller.hang_up(call);
    answer.into()
}

#[test]
fn session_timers_are_agreed_on_with_each_profile_of_the_mixer() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mixer = Asterisk::start("timers").unwrap();
    let some = |text: &str| Some(text.to_string());
    for profile in ["timers", "timersalways"] {
        assert_eq!(negotiated(&mixer, profile, 90), (some("90;refresher=uac"), some("timer")), "{profile}");
        let (unasked, _) = negotiated(&mixer, profile, 0);
        assert!(unasked.is_some_and(|value| value.starts_with("90;refresher=")), "{profile} wants one by itself");
    }
    assert_eq!(negotiated(&mixer, "timersno", 90), (None, None), "never");
    assert_eq!(negotiated(&mixer, "plain", 0), (None, None), "nobody asked");
}

#[test]
fn the_mixer_takes_our_refresh() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mixer = Asterisk::start("refresh").unwrap();
    let mut caller = Caller::new("timers", |sip| sip.session_expires = Span::from_secs(90));
    let call = caller.dial(&mixer, ROOM);
    caller.confirm();
    // 44 of the 45 s until the refresh pass at once for us; for the mixer they do not pass at all.
    caller.since -= Duration::from_secs(44);
    caller.until("refresh", |caller| caller.endpoint.refreshes().ours == 1);
    assert!(caller.sent.iter().any(|text| text.starts_with("UPDATE ") && text.contains("90;refresher=uac")));
    assert_eq!(caller.ended(), None);
    caller.hang_up(call);
}

#[test]
fn a_full_room_and_a_locked_one_answer_and_hang_up_at_once() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mixer = Asterisk::start("full").unwrap();
    let full = format!("small{ROOM}");
    let turned_away = |number: &str| {
        let mut caller = Caller::new("plain", |_| {});
        caller.dial(&mixer, number);
        caller.confirm();
        let confirmed = Instant::now();
        caller.until("BYE", |caller| caller.ended().is_some());
        assert!(matches!(caller.ended(), Some(EndCause::Remote { .. })), "{:?}", caller.events);
        assert!(confirmed.elapsed() < Duration::from_secs(1), "{:?}", confirmed.elapsed());
        assert!(caller.endpoint.is_idle());
    };
    let mut inside: Vec<(Caller, CallId)> = Vec::new();
    for _ in 0..2 {
        let mut caller = Caller::new("plain", |_| {});
        let call = caller.dial(&mixer, &full);
        caller.confirm();
        inside.push((caller, call));
        mixer.wait_for(ROOM, inside.len(), PATIENCE).unwrap();
    }
    turned_away(&full);
    inside.drain(1..).for_each(|(mut caller, call)| caller.hang_up(call));
    mixer.wait_for(ROOM, 1, PATIENCE).unwrap();
    mixer.lock(ROOM).unwrap();
    turned_away(ROOM);
    inside.into_iter().for_each(|(mut caller, call)| caller.hang_up(call));
}
