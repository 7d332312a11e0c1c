//! A small world on virtual time: the real agent (with the real SIP endpoint), a QSS, a mixer and a media thread, all
//! in one process, seeded. Each step checks what must hold always ([`invariants`]).
//!
//! * [`qss`], [`idp`], [`mixer`], [`voice`]: the parties.
//! * [`net`]: what happens to messages on their way.
//! * [`storm`]: seeded faults for hours.
//! * [`fleet`]: the session cores of many devices at one QSS.
//! * [`memory`]: bytes held.

pub mod fleet;
pub mod idp;
pub mod invariants;
pub mod memory;
pub mod mixer;
pub mod net;
pub mod qss;
pub mod storm;
pub mod voice;

use idp::Idp;
use invariants::{Until, Watch};
use mixer::Mixer;
use net::{Fate, Net};
use qss::Qss;
use qss_endpoint::agent::{Agent, Input, LinkError, LinkErrorKind, Outbox, Output};
use qss_endpoint::config::{Config, Rejoin, Room, RoomTarget, Secret};
use qss_endpoint::media::command::{self, Command};
use qss_endpoint::qss::token;
use qss_endpoint::random::Rng;
use qss_endpoint::sip::endpoint::RouteError;
use qss_endpoint::sip::transport::{Flow, Route, Target};
use qss_endpoint::time::{Span, Time, WallTime};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use voice::Voice;

pub const DEVICE: &str = "127.0.0.1:5070";
pub const MIXER: &str = "127.0.0.1:5080";
/// What the sample room of the seed is called here.
pub const ROOM: &str = "2f11c520";
pub const SIP_URI: &str = "sip:88826777033@audiomixer-sfu1:5080";

/// Something on its way between two parties.
#[derive(Debug)]
pub enum Delivery {
    Opened(u32),
    Frame(u32, String),
    Alive(u32, u64),
    Closed(u32, LinkError),
    Sip(Vec<u8>),
    Routed(Target),
    Media(Box<command::Event>),
    ToQss(u32, String),
    ToMixer(Vec<u8>),
    /// The mixer misses the packets of a device that is gone.
    MixerMisses,
    Connect(u32),
    Ping(u32, u64),
    /// The answer to the question of this number.
    Token(u32, token::Answer),
    VoiceTick,
}

impl Delivery {
    pub fn media(event: command::Event) -> Self {
        Self::Media(Box::new(event))
    }
}

pub struct World {
    pub agent: Agent,
    pub now: Time,
    pub qss: Qss,
    pub idp: Idp,
    pub mixer: Mixer,
    pub voice: Voice,
    pub seed: u64,
    /// Every status event, in order.
    pub events: Vec<Value>,
    pub replies: Vec<Value>,
    pub exited_at: Option<Time>,
    /// The device's disk.
    pub kept: Option<String>,
    pub net: Net,
    pub watch: Watch,
    /// What the device's wall clock is wrong by, in milliseconds.
    pub wall_error: i64,
    /// What the device sends SIP from.
    pub address: IpAddr,
    /// What the agent asked the link to do; counts attempts to connect.
    pub connects: Vec<Time>,
    pub rng: Rng,
    queue: BTreeMap<(Time, u64), Delivery>,
    order: u64,
    /// The link that the agent believes to be open or opening.
    link: Option<u32>,
    /// The last link that it was told is open.
    opened: Option<u32>,
    links: u32,
    /// Questions for a token; only the last one waits for its answer.
    questions: u32,
    /// What a black hole holds back: a connection repeats it until it is over.
    held: Vec<Delivery>,
    config: Config,
    /// What the device has kept where a crash does not reach it.
    pub remembered: Option<String>,
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.device.id = "dev1".into();
    config.qss.url = Some("wss://qss.example/ws".into());
    config.qss.username = "lobby".into();
    config.qss.token = Secret("t0k".into());
    config.rooms = vec![Room::new("lobby", RoomTarget::Id(ROOM.into()))];
    config.status.heartbeat = Span::ZERO;
    config
}

impl World {
    pub fn new(seed: u64, config: Config) -> World {
        let mut rng = Rng::from_u64(seed);
        let mut watch = Watch::new(seed, config.qss.url.is_some());
        watch.most_calls = config.calls.limit;
        World {
            agent: memory::inside(|| Agent::new(config.clone(), rng.fork())),
            // Of a machine that runs for an hour.
            now: Time::from_millis(3_600_000),
            qss: Qss::default(),
            idp: Idp::default(),
            mixer: Mixer::default(),
            voice: Voice::default(),
            seed,
            events: Vec::new(),
            replies: Vec::new(),
            exited_at: None,
            kept: None,
            net: Net::default(),
            watch,
            address: addr(DEVICE).ip(),
            wall_error: 0,
            connects: Vec::new(),
            rng,
            queue: BTreeMap::new(),
            order: 0,
            link: None,
            opened: None,
            links: 0,
            questions: 0,
            held: Vec::new(),
            config,
            remembered: None,
        }
    }

    /// Sockets are bound, the process runs.
    pub fn started(seed: u64, config: Config) -> World {
        let mut world = World::new(seed, config);
        world.start();
        world
    }

    /// The process runs, in a world that a test has furnished first.
    pub fn start(&mut self) {
        if let Some(kept) = self.kept.clone() {
            self.input(Input::Kept(&kept));
        }
        if let Some(text) = self.remembered.clone() {
            self.input(Input::Recalled(&text));
        }
        self.input(Input::Start { sip_port: 5070 });
        self.input(Input::Media(command::Event::Bound { rtp_port: 4000, rtcp_port: 4001 }));
    }

    /// The process dies without a word and is started again; what is on its way to it stays on its way.
    pub fn restart_device(&mut self) {
        if let Some(link) = self.link.take() {
            self.qss.disconnected(link);
        }
        self.mixer.orphan();
        self.post(30_000, Delivery::MixerMisses);
        let (config, rng) = (&self.config, self.rng.fork());
        let old = std::mem::replace(&mut self.agent, memory::inside(|| Agent::new(config.clone(), rng)));
        memory::inside(|| drop(old));
        self.queue.retain(|_, delivery| !matches!(delivery, Delivery::Media(_) | Delivery::VoiceTick));
        self.voice = Voice::default();
        self.questions += 1;
        self.exited_at = None;
        self.events.clear();
        self.replies.clear();
        self.qss.heard.clear();
        self.qss.lost = 0;
        self.watch.restarted(self.now);
        self.start();
    }

    /// The same, with an empty disk.
    pub fn restart_device_without_memory(&mut self) {
        (self.kept, self.remembered) = (None, None);
        self.qss.orphan_rooms();
        self.restart_device();
    }

    /// The process is told to stop, and is started again.
    pub fn stop_and_start_device(&mut self) {
        let told = self.now;
        self.input(Input::Stop);
        self.run(2_000);
        let exited = self.exited_at.unwrap_or_else(|| panic!("seed {}: no exit", self.seed));
        assert!(exited.since(told).as_millis() <= 1_500, "seed {}: a stop took {}", self.seed, exited.since(told));
        self.restart_device();
    }

    /// In the room, playing.
    pub fn playing(seed: u64, config: Config) -> World {
        let mut world = World::started(seed, config);
        world.run_until(5_000, |w| w.rung() == "playing");
        world
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The room of that name in the configuration.
    fn configured(&self, room: &str) -> Option<&Room> {
        self.config.rooms.iter().find(|configured| configured.name == room)
    }

    // --- running -------------------------------------------------------------------------------------------------

    pub fn input(&mut self, input: Input<'_>) {
        self.watch.on_input(self.now, &input);
        let leaves = match &input {
            Input::Local { line, .. } if line.contains("join") => {
                self.let_in(line);
                false
            }
            Input::Local { line, .. } => ["hangup", "leave", "destroy"].iter().any(|word| line.starts_with(word)),
            _ => false,
        };
        let (here, replies) = (self.watch.room().to_owned(), self.replies.len());
        let mut out = Outbox::new();
        memory::inside(|| self.agent.handle(self.now, wall(self.now, self.wall_error), input, &mut out));
        self.act(out);
        if leaves && self.replies[replies..].iter().any(|reply| reply["ok"] == true) && self.configured(&here).is_some()
        {
            self.watch.hung_up(&here);
        }
    }

    /// The configured room that this `join` names is open to the device again.
    fn let_in(&mut self, line: &str) {
        for room in &self.config.rooms {
            let other = match &room.target {
                RoomTarget::Id(id) | RoomTarget::Meeting { id, .. } => id,
                RoomTarget::SipUri(uri) | RoomTarget::QuickConference(uri) => uri,
                RoomTarget::Create { .. } => &room.name,
            };
            if line.contains(&room.name) || line.contains(other) {
                self.watch.let_in(&room.name);
            }
        }
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
            assert!(self.step(end), "seed {}: not within {ms} ms; rung {}{}", self.seed, self.rung(), self.tail());
        }
    }

    /// The last events, a line each.
    fn tail(&self) -> String {
        self.events[self.events.len().saturating_sub(6)..].iter().map(|event| format!("\n  {event}")).collect()
    }

    /// The next thing that happens before `end`; false: nothing.
    fn step(&mut self, end: Time) -> bool {
        let wakeup = self.agent.poll_timeout().map(|w| w.at.max(self.now));
        let delivery = self.queue.keys().next().map(|(at, _)| *at);
        match (wakeup, delivery) {
            (Some(at), other) if at <= end && other.is_none_or(|d| at < d) => {
                self.now = at;
                let mut out = Outbox::new();
                self.watch.on_wakeup(at);
                memory::inside(|| self.agent.handle_timeout(at, wall(at, self.wall_error), &mut out));
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
            Delivery::Opened(link) if current(link, self.link) => {
                self.opened = Some(link);
                self.input(Input::QssOpened);
            }
            Delivery::Frame(link, text) if current(link, self.link) && current(link, self.opened) => {
                self.input(Input::QssFrame(&text));
            }
            Delivery::Alive(link, ping) if current(link, self.link) => self.input(Input::QssPong(ping)),
            Delivery::Closed(link, error) if current(link, self.link) => {
                self.link = None;
                self.watch.on_closed(now, &error);
                self.input(Input::QssClosed(memory::inside(|| error.clone())));
            }
            Delivery::Token(question, answer) => {
                if question == self.questions {
                    self.watch.on_token(false);
                    // What the agent frees is on its account.
                    self.input(Input::QssToken(memory::inside(|| answer.clone())));
                }
            }
            Delivery::Opened(_) | Delivery::Frame(..) | Delivery::Alive(..) | Delivery::Closed(..) => {}
            Delivery::Sip(bytes) => self.input(Input::Sip { flow: Flow::udp(addr(MIXER)), bytes: &bytes }),
            Delivery::Routed(target) => {
                let routes = if target.host == "nowhere.example" {
                    Err(RouteError::UnknownHost)
                } else {
                    let remote = SocketAddr::new(addr(MIXER).ip(), target.port_or_default());
                    Ok(vec![Route { flow: Flow { transport: target.transport, remote }, local: self.address }])
                };
                let routes = memory::inside(|| routes.clone());
                self.input(Input::Routed { target: &target, routes });
            }
            Delivery::Media(event) => self.input(Input::Media(*event)),
            Delivery::ToQss(link, text) => {
                let out = self.qss.handle(link, &text, now);
                self.post_all(out);
            }
            Delivery::Connect(link) => {
                let out = self.qss.connect(link);
                self.post_all(out);
            }
            Delivery::Ping(link, ping) => {
                let out = self.qss.ping(link, ping);
                self.post_all(out);
            }
            Delivery::ToMixer(bytes) => {
                let out = self.mixer.handle(&bytes);
                self.post_all(out);
            }
            Delivery::MixerMisses => {
                let out = self.mixer.miss_orphans();
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
            let again = self.net.duplicate(&delivery, &mut self.rng);
            for delivery in std::iter::once(delivery).chain(again) {
                match self.net.carry(&delivery, &mut self.rng) {
                    Fate::Arrives { late_ms } => self.post(after_ms + late_ms, delivery),
                    Fate::Held => self.held.push(delivery),
                    Fate::Lost => {}
                }
            }
        }
    }

    /// Nothing passes between the device and the QSS any more, or what was held back comes through; of connections that
    /// were given up meanwhile nothing does.
    pub fn black_hole(&mut self, black: bool) {
        self.net.black_hole = black;
        if !black {
            let held = std::mem::take(&mut self.held);
            let open = self.link;
            let live = held.into_iter().filter(|delivery| open.is_some() && net::link(delivery) == open);
            self.post_all(live.map(|delivery| (5, delivery)).collect());
        }
    }

    fn act(&mut self, out: Outbox) {
        // What leaves the agent leaves its account.
        let outputs = out.clone();
        memory::inside(|| drop(out));
        self.watch.on_outputs(self.now, &outputs);
        for output in outputs {
            assert!(self.exited_at.is_none(), "seed {}: {output:?} after Exit", self.seed);
            match output {
                Output::QssToken { ask, .. } => {
                    self.questions += 1;
                    self.watch.on_token(true);
                    if let Some(answer) = self.idp.answer(&ask) {
                        self.post(40, Delivery::Token(self.questions, answer));
                    }
                }
                Output::Remember(text) => self.remembered = Some(text),
                Output::QssOpen { .. } => {
                    self.links += 1;
                    self.link = Some(self.links);
                    self.connects.push(self.now);
                    self.post_all(vec![(5, Delivery::Connect(self.links))]);
                }
                Output::QssSend(text) => {
                    self.check_written_down(&text);
                    if let Some(link) = self.link {
                        self.post_all(vec![(5, Delivery::ToQss(link, text))]);
                    }
                }
                Output::QssPing(ping) => {
                    if let Some(link) = self.link {
                        self.post_all(vec![(5, Delivery::Ping(link, ping))]);
                    }
                }
                Output::QssClose => {
                    if let Some(link) = self.link.take() {
                        self.qss.disconnected(link);
                    }
                }
                Output::SipSend { flow, bytes } => {
                    assert!(bytes.len() < 1_400, "seed {}: {} bytes of SIP", self.seed, bytes.len());
                    if flow.remote == addr(MIXER) {
                        self.post_all(vec![(2, Delivery::ToMixer(bytes))]);
                    }
                }
                Output::SipConnect { flow, .. } | Output::SipDisconnect { flow } => {
                    panic!("seed {}: this network has no connections, asked for {flow}", self.seed)
                }
                Output::Resolve(target) => self.post(1, Delivery::Routed(target)),
                Output::DrawKeys => unreachable!("media are plain here"),
                Output::Media(command) => {
                    let out = self.voice.obey(self.now, command, &self.seed);
                    self.post_all(out);
                }
                Output::Status(line) => self.on_status(&line),
                Output::Reply { line, .. } => self.replies.push(serde_json::from_str(&line).expect("a JSON reply")),
                Output::Keep(text) => {
                    assert!(text.len() < 16_384, "seed {}: {} bytes are kept", self.seed, text.len());
                    self.kept = Some(text);
                }
                Output::Exit => self.exited_at = Some(self.now),
            }
        }
        self.check();
    }

    /// What must hold after every step.
    fn check(&mut self) {
        let on_their_way = self.queue.len() + self.held.len();
        assert!(on_their_way < 2_000, "seed {}: {on_their_way} things on their way", self.seed);
        let rung = self.events.last().map_or("offline", |e| e["rung"].as_str().expect("a rung"));
        let deadline = self.agent.poll_timeout().map(|w| w.at);
        self.watch.after_step(self.now, deadline, rung, self.voice.stream, memory::balance());
    }

    /// A room that is asked for is on the disk already: a crash in the next instant leaves none behind.
    fn check_written_down(&self, text: &str) {
        if text.contains(r#""request":"createRoom""#) {
            let request: Value = serde_json::from_str(text).expect("the agent writes JSON");
            let id = request["requestID"].as_str().expect("an id");
            let there = self.kept.as_ref().is_some_and(|kept| kept.contains(id));
            assert!(there, "seed {}: a room is asked for before it is written down", self.seed);
        }
    }

    fn on_status(&mut self, line: &str) {
        let event: Value = serde_json::from_str(line).expect("a JSON event");
        let seq = event["seq"].as_u64().expect("a sequence number");
        assert_eq!(seq, self.events.len() as u64 + 1, "seed {}: sequence numbers have no gaps", self.seed);
        assert_eq!(event["device"], "dev1");
        if event["event"] == "hold" {
            self.watch.on_hold(event["held"] == true, self.voice.stream);
        }
        if let Some(room) = event["room"]["name"].as_str() {
            let rejoin = self.configured(room).map(|configured| configured.rejoin);
            let makes = self.configured(room).is_some_and(|room| matches!(room.target, RoomTarget::Create { .. }));
            let never = |after: fn(&Rejoin) -> Span| rejoin.as_ref().is_some_and(|rejoin| after(rejoin) == Span::ZERO);
            match event["event"].as_str() {
                Some("expelled") => {
                    // What the device only concludes is not for good.
                    let until = match event["cause"]["code"].as_str() {
                        _ if !never(|rejoin| rejoin.after_expel) => Until::Soon,
                        Some("room_absent") => Until::WithinTheHour,
                        _ => Until::SomebodyLetsItIn,
                    };
                    self.watch.sent_away(room, until);
                }
                Some("destroyed") => {
                    let for_good = !makes && never(|rejoin| rejoin.after_destroy);
                    self.watch.sent_away(room, if for_good { Until::SomebodyLetsItIn } else { Until::Soon });
                }
                // Connecting.
                Some("status") if event["new"] == 1 => self.watch.enters(room),
                _ => {}
            }
        }
        if event["event"] == "invite" && event["outcome"] == "accepted" {
            self.watch.on_accepted(event["id"].as_str().expect("an id"));
        }
        self.watch.on_event(&event);
        self.events.push(event);
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
            self.post_all(vec![(5, Delivery::Frame(link, text.to_owned()))]);
        }
        self.run(10);
    }

    /// The QSS process dies; the link is reset at once, or (black hole) nothing is heard any more.
    pub fn kill_qss(&mut self, kind: Option<LinkErrorKind>) {
        self.qss.up = false;
        self.qss.forget_links();
        if let (Some(link), Some(kind)) = (self.link, kind) {
            let error = LinkError { kind, detail: String::new(), retry_after: None };
            self.post_all(vec![(1, Delivery::Closed(link, error))]);
        }
    }

    /// The QSS, which lives on, closes the link with this code.
    pub fn hang_up_link(&mut self, code: u16) {
        self.qss.forget_links();
        if let Some(link) = self.link {
            self.post_all(vec![(1, Delivery::Closed(link, LinkErrorKind::Closed(code).into()))]);
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

/// What a wall clock shows that is wrong by so many milliseconds.
pub fn wall(now: Time, error_ms: i64) -> WallTime {
    WallTime((1_800_000_000_000 + now.as_millis()).saturating_add_signed(error_ms))
}
