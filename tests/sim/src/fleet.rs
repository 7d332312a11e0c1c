//! Many devices at one QSS: their session cores through a restart of the server, and through the return of the power
//! after which all of them start in the same instant. What counts is how evenly they come, and how soon.

use crate::{config, memory};
use qss_endpoint::agent::{LinkError, LinkErrorKind};
use qss_endpoint::qss::session::{Event, Outbox, Output, Session};
use qss_endpoint::random::Rng;
use qss_endpoint::time::{Span, Time};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Attempts are counted by the second.
const BIN: Span = Span::from_secs(1);
/// Names, TCP, TLS and upgrade; then as long again for the registration.
const TRIP: Span = Span::from_millis(100);
/// How long the server is away when it restarts.
pub const DOWN: Span = Span::from_secs(30);

/// How one of the two stories went.
#[derive(Clone, Debug)]
pub struct Story {
    /// Attempts in the busiest second, over `endpoints / window`.
    pub peak_over_even: f64,
    pub attempts: u64,
    /// From the moment at which it was possible until 99 of 100 had their session again, in seconds.
    pub p99_back_s: f64,
    pub all_back_s: f64,
    /// Most bytes held at once, over the endpoints.
    pub bytes_per_core: f64,
}

/// The server closes every link, is away for [`DOWN`], and returns.
pub fn restart(endpoints: usize, seed: u64) -> Story {
    let machine_started_long_ago = Time::from_millis(86_400_000);
    let mut fleet = Fleet::new(endpoints, seed);
    for device in 0..endpoints {
        let minute = fleet.rng.span_up_to(Span::from_secs(60));
        fleet.post(machine_started_long_ago + minute, device, Happening::Start);
    }
    let lost = machine_started_long_ago + Span::from_secs(600);
    fleet.run(lost);
    assert_eq!(fleet.registered_at.iter().flatten().count(), endpoints, "everybody is there before the restart");
    fleet.lose_all(lost, lost + DOWN);
    fleet.run(lost + DOWN + Span::from_secs(600));
    fleet.story(lost + DOWN)
}

/// Every machine starts in the same instant, and the server is there.
pub fn power_return(endpoints: usize, seed: u64) -> Story {
    let mut fleet = Fleet::new(endpoints, seed);
    let up = Time::from_millis(5_000);
    for device in 0..endpoints {
        fleet.post(up, device, Happening::Start);
    }
    fleet.run(up + Span::from_secs(600));
    fleet.story(up)
}

/// What the devices are configured to spread their attempts over.
pub fn window() -> Span {
    config().qss.spread
}

struct Fleet {
    rng: Rng,
    now: Time,
    cores: Vec<Session>,
    /// The number of each device's present link; what is told of an earlier one finds it gone.
    links: Vec<u32>,
    registered_at: Vec<Option<Time>>,
    /// The server is away until then.
    returns: Time,
    attempts: BTreeMap<u64, u64>,
    queue: BTreeMap<(Time, u64), (usize, Happening)>,
    order: u64,
    /// The wake-up that is in the queue for each device.
    wakeups: Vec<Option<Time>>,
    most_bytes: i64,
}

#[derive(Clone, Debug)]
enum Happening {
    Start,
    WakeUp,
    /// The server, or its machine, hears of a new link.
    Connect(u32),
    Opened(u32),
    Refused(u32),
    Request(u32, String),
    Frame(u32, String),
    Alive(u32),
}

impl Fleet {
    fn new(endpoints: usize, seed: u64) -> Fleet {
        memory::reset();
        let mut rng = Rng::from_u64(seed);
        let config = config();
        let mut cores = Vec::with_capacity(endpoints);
        for _ in 0..endpoints {
            let chance = rng.fork();
            cores.push(memory::inside(|| Session::new(&config, chance)));
        }
        Fleet {
            rng,
            now: Time::ZERO,
            cores,
            links: vec![0; endpoints],
            registered_at: vec![None; endpoints],
            returns: Time::ZERO,
            attempts: BTreeMap::new(),
            queue: BTreeMap::new(),
            order: 0,
            wakeups: vec![None; endpoints],
            most_bytes: 0,
        }
    }

    fn story(&self, possible: Time) -> Story {
        let endpoints = self.cores.len() as f64;
        let peak = self.attempts.values().max().copied().unwrap_or_default() as f64;
        let mut back: Vec<Span> = self.registered_at.iter().flatten().map(|at| at.since(possible)).collect();
        back.sort_unstable();
        assert_eq!(back.len(), self.cores.len(), "everybody is back in the end");
        Story {
            peak_over_even: peak / (endpoints * BIN.as_secs_f64() / window().as_secs_f64()),
            attempts: self.attempts.values().sum(),
            p99_back_s: back[back.len() * 99 / 100].as_secs_f64(),
            all_back_s: back[back.len() - 1].as_secs_f64(),
            bytes_per_core: size_of::<Session>() as f64 + self.most_bytes as f64 / endpoints,
        }
    }

    /// The server closes all links at once, and is away until `returns`.
    fn lose_all(&mut self, at: Time, returns: Time) {
        self.now = at;
        self.returns = returns;
        self.attempts.clear();
        for device in 0..self.cores.len() {
            self.registered_at[device] = None;
            self.links[device] += 1;
            self.step(device, |core, now, out| core.closed(now, LinkErrorKind::Closed(1012).into(), out));
        }
    }

    fn run(&mut self, end: Time) {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            let ((at, _), (device, happening)) = self.queue.pop_first().expect("there is a first");
            self.now = at;
            self.happen(device, happening);
        }
        self.now = end;
    }

    fn happen(&mut self, device: usize, happening: Happening) {
        let (now, here) = (self.now, self.links[device]);
        match happening {
            Happening::Start => self.step(device, |core, now, out| core.start(now, out)),
            // A later wake-up has taken the place of this one.
            Happening::WakeUp if self.wakeups[device] != Some(now) => {}
            Happening::WakeUp => {
                self.wakeups[device] = None;
                self.step(device, |core, now, out| core.handle_timeout(now, out));
            }
            Happening::Connect(link) if now < self.returns => self.post(now + TRIP, device, Happening::Refused(link)),
            Happening::Connect(link) => self.post(now + TRIP, device, Happening::Opened(link)),
            Happening::Opened(link) if link == here => self.step(device, |core, now, out| core.opened(now, out)),
            Happening::Refused(link) if link == here => {
                let error = LinkError { kind: LinkErrorKind::Refused, detail: "refused".into(), retry_after: None };
                self.step(device, |core, now, out| core.closed(now, error, out));
            }
            Happening::Request(link, text) if link == here => {
                let request: Value = serde_json::from_str(&text).expect("the session writes JSON");
                let answer = json!({"answer": request["request"], "requestID": request["requestID"], "payload": {}});
                self.post(now + TRIP, device, Happening::Frame(link, answer.to_string()));
            }
            Happening::Frame(link, text) if link == here => {
                self.step(device, |core, now, out| core.handle_frame(now, &text, out));
            }
            Happening::Alive(link) if link == here => self.step(device, |core, _, _| core.handle_alive()),
            Happening::Opened(_)
            | Happening::Refused(_)
            | Happening::Request(..)
            | Happening::Frame(..)
            | Happening::Alive(_) => {}
        }
    }

    fn step(&mut self, device: usize, step: impl FnOnce(&mut Session, Time, &mut Outbox)) {
        let (now, core) = (self.now, &mut self.cores[device]);
        let mut out = Outbox::new();
        memory::inside(|| step(core, now, &mut out));
        // What leaves the core leaves its account.
        let outputs = out.clone();
        memory::inside(|| drop(out));
        self.most_bytes = self.most_bytes.max(memory::balance());
        for output in outputs {
            let link = self.links[device];
            match output {
                Output::Open(_) => {
                    self.links[device] += 1;
                    *self.attempts.entry(now.as_micros() / BIN.as_micros()).or_default() += 1;
                    self.post(now, device, Happening::Connect(link + 1));
                }
                Output::Send(text) => self.post(now, device, Happening::Request(link, text)),
                Output::Ping => self.post(now + TRIP, device, Happening::Alive(link)),
                Output::Close => self.links[device] += 1,
                Output::Event(Event::Registered) => self.registered_at[device] = Some(now),
                Output::Ask(_) | Output::Attempts(_) | Output::Event(_) => {}
            }
        }
        let next = self.cores[device].poll_timeout().map(|wakeup| wakeup.at);
        if next != self.wakeups[device] {
            self.wakeups[device] = next;
            if let Some(at) = next {
                self.post(at, device, Happening::WakeUp);
            }
        }
    }

    fn post(&mut self, at: Time, device: usize, happening: Happening) {
        self.order += 1;
        self.queue.insert((at, self.order), (device, happening));
    }
}
