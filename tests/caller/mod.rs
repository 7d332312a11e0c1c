//! The SIP core as a caller: only a socket and a clock stand between it and a mixer. It sends no audio.
#![allow(dead_code)] // Each test binary uses its own part.

use lab::asterisk::Asterisk;
use qss_endpoint::config::{Config, Sip};
use qss_endpoint::random::Rng;
use qss_endpoint::sdp::Local;
use qss_endpoint::sip::endpoint::{CallId, EndCause, Endpoint, Event, Outbox, Output};
use qss_endpoint::sip::transport::{Flow, Route, Target, Transport};
use qss_endpoint::time::{Span, Time};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// A user agent on a socket of its own, and everything that was said.
pub(crate) struct Caller {
    pub(crate) socket: UdpSocket,
    pub(crate) endpoint: Endpoint,
    pub(crate) out: Outbox,
    pub(crate) since: Instant,
    pub(crate) events: Vec<Event>,
    pub(crate) sent: Vec<String>,
    pub(crate) received: Vec<String>,
}

impl Caller {
    /// `profile` is the user of From, by which this mixer picks the profile.
    pub(crate) fn new(profile: &str, change: impl FnOnce(&mut Sip)) -> Caller {
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

    pub(crate) fn now(&self) -> Time {
        Time::from_micros(1_000_000 + self.since.elapsed().as_micros() as u64)
    }

    pub(crate) fn dial(&mut self, mixer: &Asterisk, number: &str) -> CallId {
        let local = Local {
            address: None,
            rtp_port: 40_000,
            rtcp_port: 40_001,
            ptime: Span::from_millis(20),
            max_average_bitrate: 32_000,
            fec: false,
            redundancy: true,
            dtx: false,
            rtcp_xr: true,
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
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Caller) -> bool) {
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
    pub(crate) fn confirm(&mut self) {
        self.until("answer", |caller| caller.events.iter().any(|event| matches!(event, Event::Confirmed { .. })));
    }

    pub(crate) fn ended(&self) -> Option<&EndCause> {
        self.events.iter().find_map(|event| match event {
            Event::Ended { cause, .. } => Some(cause),
            Event::Progress { .. }
            | Event::Incoming { .. }
            | Event::Early { .. }
            | Event::Confirmed { .. }
            | Event::Modified { .. }
            | Event::Referred { .. }
            | Event::Digit { .. }
            | Event::DigitsLost { .. }
            | Event::Registered { .. }
            | Event::NotRegistered { .. }
            | Event::Unregistered
            | Event::Malformed { .. } => None,
        })
    }

    #[track_caller]
    pub(crate) fn hang_up(&mut self, call: CallId) {
        self.endpoint.hang_up(self.now(), call, None, &mut self.out);
        self.until("end", |caller| caller.ended().is_some());
        assert_eq!(self.ended(), Some(&EndCause::Local));
    }

    /// The value of `header` in the first 200 to an INVITE.
    pub(crate) fn of_answer(&self, header: &str) -> Option<&str> {
        let is_answer = |text: &&String| text.starts_with("SIP/2.0 200") && text.contains(" INVITE\r\n");
        let answer = self.received.iter().find(is_answer)?;
        answer.lines().find_map(|line| line.strip_prefix(header)?.strip_prefix(": "))
    }

    pub(crate) fn refused_with(&self, status: u16) -> bool {
        self.received.iter().any(|text| text.starts_with(&format!("SIP/2.0 {status} ")))
    }
}
