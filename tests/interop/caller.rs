//! The SIP core with the program's own sockets and connections, a clock, and nothing else.

use lab::asterisk::Asterisk;
use qss_endpoint::config::{Config, Sip};
use qss_endpoint::io::sip_routes::Lookup;
use qss_endpoint::io::sip_socket::{DATAGRAM, SipSocket};
use qss_endpoint::io::sip_transport::{SipConnections, SipEvent};
use qss_endpoint::qss::clock::BUILT;
use qss_endpoint::random::Rng;
use qss_endpoint::sdp::Local;
use qss_endpoint::sip::endpoint::{CallId, EndCause, Endpoint, Event, Outbox, Output};
use qss_endpoint::sip::transport::{Flow, Transport};
use qss_endpoint::time::{Span, Time};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

pub(crate) const ROOM: &str = "88826777033";
const PATIENCE: Duration = Duration::from_secs(15);

/// A user agent, and everything that was said.
pub(crate) struct Caller {
    runtime: Runtime,
    socket: SipSocket,
    lookup: Lookup,
    connections: SipConnections,
    pub(crate) endpoint: Endpoint,
    out: Outbox,
    since: Instant,
    /// What the system is said to send from, whatever it says itself.
    pub(crate) local: Option<IpAddr>,
    pub(crate) events: Vec<Event>,
    pub(crate) sent: Vec<(Flow, String)>,
    pub(crate) received: Vec<(Flow, String)>,
}

impl Caller {
    /// `profile` is the user of From, by which the mixer picks the profile.
    pub(crate) fn new(profile: &str, change: impl FnOnce(&mut Sip)) -> Caller {
        let mut sip = Config::default().sip;
        sip.user = profile.into();
        change(&mut sip);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connections = SipConnections::new(&sip);
        // Somebody's TCP connection may have the number that UDP was given.
        let both = || {
            let socket = runtime.block_on(SipSocket::bind(sip.bind)).expect("a socket");
            runtime.block_on(async { connections.listen(socket.bound()) }).ok().map(|()| socket)
        };
        let socket = (0..32).find_map(|_| both()).expect("a port that UDP and TCP have free");
        let port = socket.bound().port;
        let lookup = Lookup::new(&sip, socket.bound(), Rng::from_u64(port.into()));
        let mut endpoint = Endpoint::new(&sip, Rng::from_u64(port.into()));
        endpoint.set_local_port(port);
        Caller {
            runtime,
            socket,
            lookup,
            connections,
            endpoint,
            out: Outbox::new(),
            since: Instant::now(),
            local: None,
            events: Vec::new(),
            sent: Vec::new(),
            received: Vec::new(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.bound().port
    }

    fn now(&self) -> Time {
        Time::from_micros(1_000_000 + self.since.elapsed().as_micros() as u64)
    }

    pub(crate) fn dial(&mut self, uri: &str) -> CallId {
        self.endpoint.call(self.now(), uri, local(true), &mut self.out).expect("a SIP URI")
    }

    /// Dials and is in the room.
    pub(crate) fn join(&mut self, mixer: &Asterisk, uri: &str) -> CallId {
        let call = self.dial(uri);
        self.until("answer", |caller| caller.events.iter().any(|event| matches!(event, Event::Confirmed { .. })));
        mixer.wait_for(ROOM, 1, PATIENCE).expect("one in the room");
        call
    }

    pub(crate) fn hold(&mut self, call: CallId) {
        self.endpoint.modify(self.now(), call, local(false), &mut self.out);
    }

    pub(crate) fn hang_up(&mut self, mixer: &Asterisk, call: CallId) {
        self.endpoint.hang_up(self.now(), call, None, &mut self.out);
        self.until("end", |caller| caller.ended().is_some());
        assert_eq!(self.ended(), Some(&EndCause::Local));
        mixer.wait_for(ROOM, 0, PATIENCE).expect("an empty room");
    }

    /// Is known to the mixer, or hears that it is not.
    pub(crate) fn register(&mut self) {
        self.endpoint.register(self.now(), &mut self.out);
        self.until("word about the registration", |caller| {
            let said = |event: &Event| matches!(event, Event::Registered { .. } | Event::NotRegistered { .. });
            caller.events.iter().any(said)
        });
    }

    pub(crate) fn unregister(&mut self) {
        self.endpoint.unregister(self.now(), &mut self.out);
        self.until("end of the registration", |caller| caller.events.contains(&Event::Unregistered));
    }

    /// Somebody calls, and is answered.
    pub(crate) fn take_call(&mut self) -> CallId {
        let incoming = |event: &Event| if let Event::Incoming { call, .. } = event { Some(*call) } else { None };
        self.until("call", |caller| caller.events.iter().any(|event| incoming(event).is_some()));
        let call = self.events.iter().find_map(incoming).expect("it has come");
        self.endpoint.answer(self.now(), call, local(true), &mut self.out);
        self.until("ACK", |caller| caller.events.iter().any(|event| matches!(event, Event::Confirmed { .. })));
        call
    }

    pub(crate) fn addresses_changed(&mut self) {
        self.endpoint.handle_addresses_changed(self.now(), &mut self.out);
    }

    /// The network cuts a connection.
    pub(crate) fn cut(&mut self, flow: Flow) {
        self.runtime.block_on(async { self.connections.close(flow) });
        self.endpoint.handle_disconnected(self.now(), flow, "cut", &mut self.out);
    }

    /// Serves sockets and timers until `done`.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Caller) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut datagram = vec![0; DATAGRAM];
        loop {
            self.carry_out();
            if done(self) {
                return;
            }
            let said: Vec<&str> = self.received.iter().map(|(_, text)| text.as_str()).collect();
            assert!(Instant::now() < end, "no {what}: {:?}\n{}", self.events, said.join("\n"));
            let Caller { runtime, socket, connections, .. } = self;
            let heard = runtime.block_on(async {
                tokio::select! {
                    (length, from) = socket.receive(&mut datagram) => {
                        Some(SipEvent::Received { flow: Flow::udp(from), bytes: datagram[..length].to_vec() })
                    }
                    event = connections.next() => Some(event),
                    () = tokio::time::sleep(Duration::from_millis(10)) => None,
                }
            });
            let now = self.now();
            match heard {
                Some(SipEvent::Connected { flow, local }) => {
                    self.endpoint.handle_connected(now, flow, local, &mut self.out);
                }
                Some(SipEvent::Accepted { flow, local }) => {
                    self.endpoint.handle_accepted(now, flow, local, &mut self.out);
                }
                Some(SipEvent::Received { flow, bytes }) => {
                    self.received.push((flow, String::from_utf8_lossy(&bytes).into_owned()));
                    self.endpoint.handle_received(now, flow, &bytes, &mut self.out);
                }
                Some(SipEvent::Closed { flow, why }) => {
                    self.endpoint.handle_disconnected(now, flow, &why, &mut self.out);
                }
                None => {}
            }
            if self.endpoint.poll_timeout().is_some_and(|wakeup| wakeup.at <= self.now()) {
                self.endpoint.handle_timeout(self.now(), &mut self.out);
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.out.pop_front() {
            match output {
                Output::Send { flow, bytes } => {
                    self.sent.push((flow, String::from_utf8_lossy(&bytes).into_owned()));
                    match flow.transport {
                        Transport::Udp => {
                            let _guard = self.runtime.enter();
                            self.socket.send(flow.remote, &bytes);
                        }
                        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                            self.connections.send(flow, bytes).expect("a connection that takes it");
                        }
                    }
                }
                Output::Connect { flow, host } => {
                    self.runtime.block_on(async { self.connections.open(flow, host, BUILT) });
                }
                Output::Disconnect { flow } => self.runtime.block_on(async { self.connections.close(flow) }),
                Output::Resolve(target) => {
                    let mut found = self.runtime.block_on(self.lookup.fork().routes(&target));
                    if let (Ok(routes), Some(local)) = (&mut found, self.local) {
                        routes.iter_mut().for_each(|route| route.local = local);
                    }
                    self.endpoint.handle_route(self.now(), &target, found, &mut self.out);
                }
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    pub(crate) fn ended(&self) -> Option<&EndCause> {
        #[allow(clippy::wildcard_enum_match_arm)] // one event of many
        self.events.iter().find_map(|event| match event {
            Event::Ended { cause, .. } => Some(cause),
            _ => None,
        })
    }

    /// How many messages were sent that begin like this.
    pub(crate) fn sent(&self, start: &str) -> usize {
        self.sent.iter().filter(|(_, text)| text.starts_with(start)).count()
    }

    /// How many responses came to requests of that method.
    pub(crate) fn answers(&self, status: &str, method: &str) -> usize {
        // A stream may bring several at once.
        let all = self.received.iter().flat_map(|(_, text)| text.split("SIP/2.0 "));
        all.filter(|text| text.starts_with(status) && text.contains(&format!(" {method}\r\n"))).count()
    }
}

fn local(active: bool) -> Local {
    Local {
        address: None,
        rtp_port: 40_000,
        rtcp_port: 40_001,
        ptime: Span::from_millis(20),
        max_average_bitrate: 32_000,
        fec: false,
        redundancy: true,
        dtx: false,
        rtcp_xr: true,
        active,
    }
}
