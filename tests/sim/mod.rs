//! A small world on virtual time: the real agent (with the real SIP endpoint), a QSS, a mixer and a media thread, all
//! in one process, seeded. Each step checks what must hold always; see [`World::check`].
#![allow(dead_code, unreachable_pub)]

pub mod mixer;
pub mod qss;
pub mod voice;

use mixer::Mixer;
use qss::Qss;
use qss_endpoint::agent::{Agent, Input, LinkError, LinkErrorKind, Outbox, Output};
use qss_endpoint::config::{Config, Room, RoomTarget, Secret};
use qss_endpoint::media::command::{self, Command};
use qss_endpoint::random::Rng;
use qss_endpoint::sip::endpoint::{Route, RouteError};
use qss_endpoint::time::{Span, Time, WallTime};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use voice::Voice;

pub const DEVICE: &str = "127.0.0.1:5070";
pub const MIXER: &str = "127.0.0.1:5080";
/// What the sample room of the seed is called here.
pub const ROOM: &str = "2f11c520";
pub const SIP_URI: &str = "sip:88826777033@audiomixer-sfu1:5080";

/// More outputs than this in one step is a storm.
const MAX_OUTPUTS: usize = 400;

/// Something on its way between two parties.
#[derive(Debug)]
pub enum Delivery {
    Opened(u32),
    Frame(u32, String),
    Alive(u32),
    Closed(u32, LinkError),
    Sip(Vec<u8>),
    Routed(String, u16),
    Media(command::Event),
    ToQss(u32, String),
    ToMixer(Vec<u8>),
    Connect(u32),
    Ping(u32),
    VoiceTick,
}

pub struct World {
    pub agent: Agent,
    pub now: Time,
    pub qss: Qss,
    pub mixer: Mixer,
    pub voice: Voice,
    pub seed: u64,
    /// Every status event, in order.
    pub events: Vec<Value>,
    pub replies: Vec<Value>,
    pub exited_at: Option<Time>,
    /// Datagrams of SIP lost on the way, in percent.
    pub sip_loss: u64,
    /// What the agent asked the link to do; counts attempts to connect.
    pub connects: Vec<Time>,
    pub rng: Rng,
    queue: BTreeMap<(Time, u64), Delivery>,
    order: u64,
    /// The link that the agent believes to be open or opening.
    link: Option<u32>,
    links: u32,
    ids: BTreeMap<String, String>,
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.device.id = "dev1".into();
    config.qss.url = Some("wss://qss.example/ws".into());
    config.qss.username = "lobby".into();
    config.qss.token = Secret("t0k".into());
    config.rooms = vec![Room { name: "lobby".into(), target: RoomTarget::Id(ROOM.into()) }];
    config.status.heartbeat = Span::ZERO;
    config
}

impl World {
    pub fn new(seed: u64, config: Config) -> World {
        let mut rng = Rng::from_u64(seed);
        World {
            agent: Agent::new(config, rng.fork()),
            now: Time::from_millis(1_000),
            qss: Qss::new(),
            mixer: Mixer::new(),
            voice: Voice::default(),
            seed,
            events: Vec::new(),
            replies: Vec::new(),
            exited_at: None,
            sip_loss: 0,
            connects: Vec::new(),
            rng,
            queue: BTreeMap::new(),
            order: 0,
            link: None,
            links: 0,
            ids: BTreeMap::new(),
        }
    }

    /// Sockets are bound, the process runs.
    pub fn started(seed: u64, config: Config) -> World {
        let mut world = World::new(seed, config);
        world.input(Input::Start { sip_port: 5070 });
        world.input(Input::Media(command::Event::Bound { rtp_port: 4000, rtcp_port: 4001 }));
        world
    }

    /// In the room, playing.
    pub fn playing(seed: u64, config: Config) -> World {
        let mut world = World::started(seed, config);
        world.run_until(5_000, |w| w.rung() == "playing");
        world
    }

    // --- running -------------------------------------------------------------------------------------------------

    pub fn input(&mut self, input: Input<'_>) {
        let mut out = Outbox::new();
        self.agent.handle(self.now, wall(self.now), input, &mut out);
        self.act(out);
    }

    pub fn local(&mut self, line: &str) -> Value {
        self.input(Input::Local { client: 1, line });
        self.run(400);
        self.replies.last().cloned().expect("a reply")
    }

    pub fn run(&mut self, ms: u64) {
        let end = self.now + Span::from_millis(ms);
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `done`, at most `ms`.
    #[track_caller]
    pub fn run_until(&mut self, ms: u64, done: impl Fn(&World) -> bool) {
        let end = self.now + Span::from_millis(ms);
        while !done(self) {
            assert!(self.step(end), "seed {}: not within {ms} ms; rung {}, {:#?}", self.seed, self.rung(), self.tail());
        }
    }

    fn tail(&self) -> &[Value] {
        &self.events[self.events.len().saturating_sub(6)..]
    }

    /// The next thing that happens before `end`; false: nothing.
    fn step(&mut self, end: Time) -> bool {
        let wakeup = self.agent.poll_timeout().map(|w| w.at.max(self.now));
        let delivery = self.queue.keys().next().map(|(at, _)| *at);
        match (wakeup, delivery) {
            (Some(at), other) if at <= end && other.is_none_or(|d| at < d) => {
                self.now = at;
                let mut out = Outbox::new();
                self.agent.handle_timeout(at, wall(at), &mut out);
                let next = self.agent.poll_timeout();
                assert!(next.is_none_or(|n| n.at > at), "seed {}: no progress: {next:?} at {at}", self.seed);
                self.act(out);
                true
            }
            (_, Some(at)) if at <= end => {
                let ((at, _), delivery) = self.queue.pop_first().expect("there is a first");
                self.now = self.now.max(at);
                self.deliver(delivery);
                true
            }
            _ => false,
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.now;
        let current = |link: u32, open: Option<u32>| open == Some(link);
        match delivery {
            Delivery::Opened(link) if current(link, self.link) => self.input(Input::QssOpened),
            Delivery::Frame(link, text) if current(link, self.link) => self.input(Input::QssFrame(&text)),
            Delivery::Alive(link) if current(link, self.link) => self.input(Input::QssPong),
            Delivery::Closed(link, error) if current(link, self.link) => {
                self.link = None;
                self.input(Input::QssClosed(error));
            }
            Delivery::Opened(_) | Delivery::Frame(..) | Delivery::Alive(_) | Delivery::Closed(..) => {}
            Delivery::Sip(bytes) => self.input(Input::Sip { from: addr(MIXER), bytes: &bytes }),
            Delivery::Routed(host, port) => {
                let route = if host == "nowhere.example" {
                    Err(RouteError::UnknownHost)
                } else {
                    Ok(Route { remote: SocketAddr::new(addr(MIXER).ip(), port), local: addr(DEVICE).ip() })
                };
                self.input(Input::Routed { host: &host, port, route });
            }
            Delivery::Media(event) => self.input(Input::Media(event)),
            Delivery::ToQss(link, text) => {
                self.remember_id(&text);
                let out = self.qss.handle(link, &text, now);
                self.post_all(out);
            }
            Delivery::Connect(link) => {
                let out = self.qss.connect(link);
                self.post_all(out);
            }
            Delivery::Ping(link) => {
                let out = self.qss.ping(link);
                self.post_all(out);
            }
            Delivery::ToMixer(bytes) => {
                let out = self.mixer.handle(&bytes);
                self.post_all(out);
            }
            Delivery::VoiceTick => {
                let out = self.voice.tick(now, self.mixer.is_sending());
                self.post_all(out);
            }
        }
    }

    pub fn post(&mut self, after_ms: u64, delivery: Delivery) {
        self.order += 1;
        self.queue.insert((self.now + Span::from_millis(after_ms), self.order), delivery);
    }

    pub fn post_all(&mut self, deliveries: Vec<(u64, Delivery)>) {
        for (after_ms, delivery) in deliveries {
            let lossy = matches!(delivery, Delivery::Sip(_) | Delivery::ToMixer(_));
            if !(lossy && self.rng.below(100) < self.sip_loss) {
                self.post(after_ms, delivery);
            }
        }
    }

    fn act(&mut self, out: Outbox) {
        assert!(out.len() <= MAX_OUTPUTS, "seed {}: {} outputs in one step", self.seed, out.len());
        for output in out {
            assert!(self.exited_at.is_none(), "seed {}: {output:?} after Exit", self.seed);
            match output {
                Output::QssOpen => {
                    self.links += 1;
                    self.link = Some(self.links);
                    self.connects.push(self.now);
                    self.post(5, Delivery::Connect(self.links));
                }
                Output::QssSend(text) => {
                    if let Some(link) = self.link {
                        self.post(5, Delivery::ToQss(link, text));
                    }
                }
                Output::QssPing => {
                    if let Some(link) = self.link {
                        self.post(5, Delivery::Ping(link));
                    }
                }
                Output::QssClose => {
                    if let Some(link) = self.link.take() {
                        self.qss.disconnected(link);
                    }
                }
                Output::SipSend { to, bytes } => {
                    assert!(bytes.len() < 1_400, "seed {}: {} bytes of SIP", self.seed, bytes.len());
                    if to == addr(MIXER) {
                        self.post_all(vec![(2, Delivery::ToMixer(bytes))]);
                    }
                }
                Output::Resolve { host, port } => self.post(1, Delivery::Routed(host, port)),
                Output::Media(command) => {
                    let out = self.voice.obey(self.now, command, &self.seed);
                    self.post_all(out);
                }
                Output::Status(line) => self.on_status(&line),
                Output::Reply { line, .. } => self.replies.push(serde_json::from_str(&line).expect("a JSON reply")),
                Output::Exit => self.exited_at = Some(self.now),
            }
        }
        self.check();
    }

    /// What must hold after every step.
    fn check(&self) {
        assert!(self.mixer.confirmed_calls() <= 2, "seed {}: {} calls", self.seed, self.mixer.confirmed_calls());
        assert!(self.queue.len() < 2_000, "seed {}: {} things on their way", self.seed, self.queue.len());
    }

    fn on_status(&mut self, line: &str) {
        let event: Value = serde_json::from_str(line).expect("a JSON event");
        let seq = event["seq"].as_u64().expect("a sequence number");
        assert_eq!(seq, self.events.len() as u64 + 1, "seed {}: sequence numbers have no gaps", self.seed);
        assert_eq!(event["device"], "dev1");
        self.events.push(event);
    }

    /// One id, one message: a repetition is the same text (docs/qss.md, Frames).
    fn remember_id(&mut self, text: &str) {
        let value: Value = serde_json::from_str(text).expect("the agent writes JSON");
        if value.get("request").is_some() {
            let id = value["requestID"].as_str().expect("an id").to_owned();
            let known = self.ids.entry(id).or_insert_with(|| text.to_owned());
            assert_eq!(known, text, "seed {}: an id stands for one message", self.seed);
        }
    }

    // --- looking ---------------------------------------------------------------------------------------------------

    pub fn rung(&self) -> &str {
        self.events.last().map_or("offline", |e| e["rung"].as_str().expect("a rung"))
    }

    /// The rungs in the order in which they were reached.
    pub fn rungs(&self) -> Vec<&str> {
        let ladder = self.events.iter().filter(|e| e["event"] == "ladder" && e["previous"] != e["rung"]);
        ladder.map(|e| e["rung"].as_str().expect("a rung")).collect()
    }

    pub fn events_of(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|e| e["event"] == kind).collect()
    }

    pub fn causes(&self) -> Vec<&str> {
        self.events.iter().filter_map(|e| e["cause"]["code"].as_str()).collect()
    }

    // --- doing ---------------------------------------------------------------------------------------------------

    /// The QSS says something by itself.
    pub fn qss_says(&mut self, text: &str) {
        if let Some(link) = self.link {
            self.post(5, Delivery::Frame(link, text.to_owned()));
        }
        self.run(10);
    }

    /// The QSS process dies; the link is reset at once, or (black hole) nothing is heard any more.
    pub fn kill_qss(&mut self, kind: Option<LinkErrorKind>) {
        self.qss.up = false;
        self.qss.forget_links();
        if let (Some(link), Some(kind)) = (self.link, kind) {
            self.post(1, Delivery::Closed(link, LinkError { kind, detail: String::new(), retry_after: None }));
        }
    }

    pub fn mixer_hangs_up(&mut self) {
        let out = self.mixer.hang_up();
        self.post_all(out);
    }

    pub fn commands(&self) -> &[(Time, Command)] {
        &self.voice.commands
    }
}

pub fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn wall(now: Time) -> WallTime {
    WallTime(1_700_000_000_000 + now.as_millis())
}
