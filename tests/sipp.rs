//! The SIP core on a real UDP socket against Debian's `sipp`, which plays what no mixer does: `tests/sipp/*.xml`.
//!
//! Each scenario checks on its own side what the device sends (`sipp` ends with an error when something else comes, or
//! nothing); each test checks what the device made of it. T1 is 20 ms, so that 64 T1 pass in 1.3 s.
#![allow(clippy::disallowed_types)]

use qss_endpoint::config::{Config, Incoming, Secret, Sip};
use qss_endpoint::dtmf::Digits;
use qss_endpoint::random::Rng;
use qss_endpoint::sdp::Local;
use qss_endpoint::sip::endpoint::{CallId, EndCause, Endpoint, Event, Outbox, Output};
use qss_endpoint::sip::transport::{Flow, Route};
use qss_endpoint::time::{Span, Time};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

const V4: &str = "127.0.0.1";
/// A loaded machine may take so long for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(40);

// --- what the mixer may do when it is called ---------------------------------------------------------------------------

#[test]
fn a_plain_call_over_both_families() {
    for ip in [V4, "::1"] {
        let mut play = Play::called("plain", ip, config());
        play.confirmed();
        play.hang_up();
        play.ends(&EndCause::Local);
    }
}

#[test]
fn the_second_branch_of_a_fork_gets_ack_and_bye() {
    let mut play = Play::called("forks", V4, config());
    play.confirmed();
    play.until("the other branch is hung up", |play| play.sent_first("BYE") == 1);
    play.hang_up();
    play.ends(&EndCause::Local);
    assert_eq!(play.count(|event| matches!(event, Event::Confirmed { .. })), 1);
}

#[test]
fn a_200_that_crosses_the_cancel() {
    let mut play = Play::called("late-200-after-cancel", V4, config());
    play.until("it rings", |play| play.count(|event| matches!(event, Event::Progress { status: 180, .. })) > 0);
    play.hang_up();
    play.ends(&EndCause::Local);
    assert_eq!(play.count(|event| matches!(event, Event::Confirmed { .. })), 0);
}

#[test]
fn a_200_that_is_repeated_gets_its_ack_each_time() {
    // The INVITE is not to come twice.
    let mut play = Play::called("repeated-200", V4, Sip { t1: Span::from_millis(500), ..config() });
    play.ends(&EndCause::Remote { reason: None });
    assert!(play.sent_first("ACK") >= 8);
    assert_eq!(play.count(|event| matches!(event, Event::Confirmed { .. })), 1);
}

#[test]
fn a_200_after_timer_b() {
    let mut play = Play::called("late-200-after-timer-b", V4, config());
    play.ends(&EndCause::Timeout);
    assert_eq!(play.count(|event| matches!(event, Event::Confirmed { .. })), 0);
}

#[test]
fn a_stale_nonce_and_the_strongest_challenge() {
    for scenario in ["stale-nonce", "sha-256"] {
        let mut play = Play::called(scenario, V4, config());
        play.confirmed();
        play.hang_up();
        play.ends(&EndCause::Local);
    }
}

#[test]
fn chains_of_redirects() {
    let mut play = Play::called("redirects", V4, config());
    play.confirmed();
    play.hang_up();
    play.ends(&EndCause::Local);
    drop(play);
    let mut play = Play::called("redirect-loop", V4, config());
    play.ends(&EndCause::Refused { status: 302, reason: "Moved Temporarily".into() });
}

#[test]
fn reliable_provisional_responses() {
    let mut play = Play::called("reliable-183", V4, config());
    play.confirmed();
    assert_eq!(play.count(|event| matches!(event, Event::Early { .. })), 1);
    play.hang_up();
    play.ends(&EndCause::Local);
}

#[test]
fn offers_that_meet() {
    for scenario in ["glare", "update-during-reinvite"] {
        let mut play = Play::called(scenario, V4, config());
        play.confirmed();
        play.hold();
        play.until("the media changed", |play| play.count(|event| matches!(event, Event::Modified { .. })) > 0);
        play.hang_up();
        play.ends(&EndCause::Local);
    }
}

#[test]
fn an_offerless_reinvite_moves_the_media() {
    let mut play = Play::called("offerless-reinvite", V4, config());
    play.confirmed();
    play.until("the media moved", |play| {
        play.count(|event| matches!(event, Event::Modified { media, .. } if media.remote_rtp.port() == 20_150)) > 0
    });
    play.hang_up();
    play.ends(&EndCause::Local);
}

#[test]
fn odd_messages_within_a_call() {
    for (scenario, answers) in
        [("wrong-tags", 3), ("two-via", 1), ("compact-headers", 1), ("folded-headers", 1), ("binary-bodies", 2)]
    {
        let mut play = Play::called(scenario, V4, config());
        play.confirmed();
        play.until("everything is answered", |play| play.sent_first("SIP/2.0") >= answers);
        play.hang_up();
        play.ends(&EndCause::Local);
        assert_eq!(play.count(|event| matches!(event, Event::Confirmed { .. })), 1, "{scenario}");
    }
}

#[test]
fn digits_by_info_both_ways() {
    let mut play = Play::called("digits-by-info", V4, config());
    play.confirmed();
    let (now, call) = (play.now(), play.call.expect("a call"));
    play.endpoint.press(now, call, &Digits::parse("1#").expect("digits"), &mut play.out);
    let heard = |c| move |event: &Event| matches!(event, Event::Digit { digit, .. } if digit.as_char() == c);
    play.until("both digits", |play| play.count(heard('5')) == 1 && play.count(heard('*')) == 1);
    play.hang_up();
    play.ends(&EndCause::Local);
    assert_eq!(play.count(|event| matches!(event, Event::DigitsLost { .. })), 0);
}

#[test]
fn the_peer_hangs_up_and_says_why() {
    let mut play = Play::called("peer-hangs-up", V4, config());
    play.confirmed();
    play.ends(&EndCause::Remote { reason: Some("the conference is over".into()) });
}

// --- calls to the device -----------------------------------------------------------------------------------------------

#[test]
fn called_with_and_without_an_offer() {
    for scenario in ["called", "called-without-offer"] {
        for ip in [V4, "::1"] {
            let mut play = Play::calling(scenario, ip);
            play.ring_and_answer();
            play.confirmed();
            play.ends(&EndCause::Remote { reason: None });
        }
    }
}

#[test]
fn called_reliably() {
    let mut play = Play::calling("called-reliably", V4);
    play.ring();
    play.until("PRACK is answered", |play| play.sent_first("SIP/2.0 200") == 1);
    play.answer();
    play.confirmed();
    play.ends(&EndCause::Remote { reason: None });
}

#[test]
fn a_caller_that_gives_up() {
    let mut play = Play::calling("called-and-cancelled", V4);
    play.ring();
    play.ends(&EndCause::Remote { reason: None });
}

#[test]
fn a_caller_that_never_acknowledges() {
    let mut play = Play::calling("called-and-ack-lost", V4);
    play.ring_and_answer();
    play.ends(&EndCause::Timeout);
    assert!(play.sent_first("SIP/2.0 200") > 4, "the 200 was repeated");
}

/// A scenario that no test plays would prove nothing.
#[test]
fn every_scenario_is_played() {
    let me = include_str!("sipp.rs");
    for entry in std::fs::read_dir(folder()).expect("tests/sipp") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "xml") {
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
            assert!(me.contains(&format!("\"{name}\"")), "{name} is not played");
        }
    }
}

// --- the stage ---------------------------------------------------------------------------------------------------------

/// `sipp` takes ports of its own choosing: one at a time.
static STAGE: Mutex<()> = Mutex::new(());

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sipp")
}

fn config() -> Sip {
    let mut sip = Config::default().sip;
    sip.user = "device7".into();
    sip.password = Secret("secret".into());
    (sip.t1, sip.t2) = (Span::from_millis(20), Span::from_millis(160));
    sip
}

fn local(active: bool) -> Local {
    Local {
        address: None,
        rtp_port: 40_000,
        rtcp_port: 40_001,
        ptime: Span::from_millis(20),
        max_average_bitrate: 32_000,
        fec: true,
        redundancy: true,
        dtx: false,
        rtcp_xr: true,
        active,
    }
}

/// The device, its peer, and what has happened so far.
struct Play {
    name: &'static str,
    endpoint: Endpoint,
    socket: UdpSocket,
    began: Instant,
    out: Outbox,
    events: Vec<Event>,
    /// First line of everything sent.
    sent: Vec<String>,
    call: Option<CallId>,
    sipp: Child,
    errors: PathBuf,
    _stage: MutexGuard<'static, ()>,
}

impl Play {
    /// `sipp` is called by the device.
    fn called(name: &'static str, ip: &str, config: Sip) -> Play {
        let ip: IpAddr = ip.parse().expect("an address");
        let peer = free_port(ip);
        let mut play = Play::begin(name, ip, config, |_, sipp| {
            sipp.arg("-p").arg(peer.port().to_string());
            // Else it takes one ACK after the other for a repetition, and never looks at it.
            if name == "repeated-200" {
                sipp.arg("-nr");
            }
        });
        let target = format!("sip:88826777033@{peer}");
        let call = play.endpoint.call(play.now(), &target, local(true), &mut play.out);
        play.call = Some(call.expect("a URI to dial"));
        play
    }

    /// `sipp` calls the device.
    fn calling(name: &'static str, ip: &str) -> Play {
        let ip: IpAddr = ip.parse().expect("an address");
        let config = Sip { incoming: Incoming::Accept, ..config() };
        let port = free_port(ip).port().to_string();
        let mut play = Play::begin(name, ip, config, |device, sipp| {
            sipp.arg("-p").arg(port).arg(device.to_string());
        });
        play.until("the call comes", |play| play.call.is_some());
        play
    }

    fn begin(name: &'static str, ip: IpAddr, config: Sip, arguments: impl FnOnce(SocketAddr, &mut Command)) -> Play {
        let stage = STAGE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let socket = UdpSocket::bind((ip, 0)).expect("a socket");
        let device = socket.local_addr().expect("bound");
        let mut endpoint = Endpoint::new(&config, Rng::from_u64(7));
        endpoint.set_local_port(device.port());
        let errors = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sipp-{name}.log"));
        let _ = std::fs::remove_file(&errors);
        let mut sipp = Command::new("sipp");
        let written = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        sipp.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sipp.arg("-sf")
            .arg(folder().join(format!("{name}.xml")))
            .args(["-m", "1", "-l", "1", "-nostdin", "-i", &written]);
        sipp.args(["-timeout", "30s", "-timeout_error", "-trace_err", "-error_file"]).arg(&errors);
        arguments(device, &mut sipp);
        Play {
            name,
            endpoint,
            socket,
            began: Instant::now(),
            out: Outbox::new(),
            events: Vec::new(),
            sent: Vec::new(),
            call: None,
            sipp: sipp.spawn().expect("Debian's sip-tester is installed"),
            errors,
            _stage: stage,
        }
    }

    fn now(&self) -> Time {
        Time::from_millis(1_000 + self.began.elapsed().as_millis() as u64)
    }

    /// One wait: for a datagram or the next timer.
    fn step(&mut self) {
        let now = self.now();
        if self.endpoint.poll_timeout().is_some_and(|wakeup| wakeup.at <= now) {
            self.endpoint.handle_timeout(now, &mut self.out);
        }
        self.drain();
        let wait = self.endpoint.poll_timeout().map_or(20, |wakeup| wakeup.at.since(now).as_millis().clamp(1, 20));
        self.socket.set_read_timeout(Some(Duration::from_millis(wait))).expect("a timeout");
        let mut buffer = [0; 65_536];
        if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            let now = self.now();
            self.endpoint.handle_received(now, Flow::udp(from), &buffer[..len], &mut self.out);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.out.pop_front() {
            match output {
                Output::Send { flow, bytes } => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    self.sent.extend(text.lines().next().map(str::to_owned));
                    self.socket.send_to(&bytes, flow.remote).expect("loopback takes it");
                }
                Output::Resolve(target) => {
                    let local = self.socket.local_addr().expect("bound").ip();
                    let routes = target.flow().map(|flow| vec![Route { flow, local }]).expect("an address");
                    let now = self.now();
                    self.endpoint.handle_route(now, &target, Ok(routes), &mut self.out);
                }
                Output::Connect { flow, .. } | Output::Disconnect { flow } => panic!("no connection is made: {flow}"),
                Output::Event(event) => {
                    if let Event::Incoming { call, .. } = &event {
                        self.call = Some(*call);
                    }
                    self.events.push(event);
                }
            }
        }
    }

    #[track_caller]
    fn until(&mut self, what: &str, done: impl Fn(&Play) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            self.step();
            if begin.elapsed() > PATIENCE {
                self.fail(what);
            }
        }
    }

    #[track_caller]
    fn fail(&mut self, what: &str) -> ! {
        let _ = self.sipp.kill();
        let log = std::fs::read_to_string(&self.errors).unwrap_or_default();
        panic!("{}: {what}; sent {:#?}, events {:#?}, sipp says:\n{log}", self.name, self.sent, self.events);
    }

    #[track_caller]
    fn confirmed(&mut self) {
        self.until("confirmed", |play| play.count(|event| matches!(event, Event::Confirmed { .. })) > 0);
    }

    /// The call is over for the device and for `sipp`, which is content.
    #[track_caller]
    fn ends(&mut self, with: &EndCause) {
        self.until("ended", |play| play.cause().is_some());
        let begin = Instant::now();
        let content = loop {
            self.step();
            match self.sipp.try_wait().expect("a child") {
                Some(status) => break status.success(),
                None if begin.elapsed() > PATIENCE => break false,
                None => {}
            }
        };
        if !content || self.cause() != Some(with) {
            self.fail("the end");
        }
    }

    fn cause(&self) -> Option<&EndCause> {
        self.events.iter().find_map(|event| if let Event::Ended { cause, .. } = event { Some(cause) } else { None })
    }

    fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| which(event)).count()
    }

    /// How many messages sent begin like this.
    fn sent_first(&self, start: &str) -> usize {
        self.sent.iter().filter(|line| line.starts_with(start)).count()
    }

    fn hang_up(&mut self) {
        let (now, call) = (self.now(), self.call.expect("a call"));
        self.endpoint.hang_up(now, call, None, &mut self.out);
    }

    fn hold(&mut self) {
        let (now, call) = (self.now(), self.call.expect("a call"));
        self.endpoint.modify(now, call, local(false), &mut self.out);
    }

    fn ring(&mut self) {
        let (now, call) = (self.now(), self.call.expect("a call"));
        self.endpoint.ring(now, call, &mut self.out);
    }

    fn answer(&mut self) {
        let (now, call) = (self.now(), self.call.expect("a call"));
        self.endpoint.answer(now, call, local(true), &mut self.out);
    }

    fn ring_and_answer(&mut self) {
        self.ring();
        self.drain();
        self.answer();
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        let _ = self.sipp.kill();
        let _ = self.sipp.wait();
    }
}

fn free_port(ip: IpAddr) -> SocketAddr {
    UdpSocket::bind((ip, 0)).and_then(|socket| socket.local_addr()).expect("a free port")
}
