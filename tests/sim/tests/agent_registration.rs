//! The agent at a SIP registrar: from its start to its stop, and what it says about it.

use qss_endpoint::agent::{Agent, Input, Outbox, Output};
use qss_endpoint::config::Config;
use qss_endpoint::random::Rng;
use qss_endpoint::sip::endpoint::RouteError;
use qss_endpoint::sip::transport::{Flow, Route};
use qss_endpoint::time::{Time, WallTime};
use serde_json::Value;

const SERVER: &str = "sip:registrar.example";
const WALL: WallTime = WallTime(1_700_000_000_000);

/// An agent that has begun, and everything it said and sent since.
struct World {
    agent: Agent,
    now: Time,
    events: Vec<Value>,
    sent: Vec<String>,
    gone: bool,
    server: Result<Flow, RouteError>,
}

impl World {
    fn new(server: Result<Flow, RouteError>) -> World {
        let mut config = Config::default();
        config.device.id = "door-3".into();
        config.sip.register.servers = vec![SERVER.into()];
        let agent = Agent::new(config, Rng::from_u64(1));
        let (events, sent) = (Vec::new(), Vec::new());
        let mut world = World { agent, now: Time::from_millis(1_000), events, sent, gone: false, server };
        world.input(Input::Start { sip_port: 5062 });
        world
    }

    fn input(&mut self, input: Input<'_>) {
        let mut out = Outbox::new();
        self.agent.handle(self.now, WALL, input, &mut out);
        self.carry_out(out);
    }

    #[allow(clippy::wildcard_enum_match_arm)] // neither card nor QSS is of interest
    fn carry_out(&mut self, out: Outbox) {
        for output in out {
            match output {
                Output::SipSend { bytes, .. } => self.sent.push(String::from_utf8(bytes).unwrap()),
                Output::Resolve(target) => {
                    let routes = self.server.clone().map(|flow| vec![Route { flow, local: [192, 0, 2, 1].into() }]);
                    self.input(Input::Routed { target: &target, routes });
                }
                Output::Status(line) => self.events.push(serde_json::from_str(&line).unwrap()),
                Output::Exit => self.gone = true,
                _ => {}
            }
        }
    }

    fn next_timer(&mut self) {
        self.now = self.agent.poll_timeout().expect("a timer").at;
        let mut out = Outbox::new();
        self.agent.handle_timeout(self.now, WALL, &mut out);
        self.carry_out(out);
    }

    fn answer(&mut self, status: u16) {
        let request = self.sent.last().unwrap();
        assert!(request.starts_with("REGISTER "), "{request}");
        let copied = ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| {
            let line = request.lines().find(|line| line.starts_with(&format!("{name}: "))).unwrap();
            format!("{line}\r\n")
        });
        let text = format!("SIP/2.0 {status} Word\r\n{}Expires: 600\r\nContent-Length: 0\r\n\r\n", copied.concat());
        let flow = self.server.clone().expect("a server");
        self.input(Input::Sip { flow, bytes: text.as_bytes() });
    }

    fn of(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == kind).collect()
    }
}

fn server() -> Result<Flow, RouteError> {
    Ok(Flow::udp("192.0.2.50:5060".parse().unwrap()))
}

#[test]
fn the_device_registers_when_it_begins_and_takes_that_back_when_it_ends() {
    let mut world = World::new(server());
    world.answer(200);
    assert_eq!(world.of("sip_registered")[0]["server"], SERVER);
    world.input(Input::Stop);
    assert!(world.sent.last().unwrap().contains("Expires: 0\r\n") && !world.gone, "the answer is waited for");
    world.answer(200);
    assert!(world.gone);
}

#[test]
fn a_registrar_that_does_not_answer_holds_up_no_stop() {
    let mut world = World::new(server());
    world.answer(200);
    world.input(Input::Stop);
    let stopped = world.now;
    while !world.gone {
        world.next_timer();
    }
    assert!(world.now.since(stopped).as_millis() <= 2_000);
}

#[test]
fn each_failure_has_its_code() {
    let refused = |status| {
        let mut world = World::new(server());
        world.answer(status);
        world.of("attempt")[0].clone()
    };
    let event = refused(403);
    assert_eq!((&event["what"], &event["cause"]["code"]), (&"registration".into(), &"sip_register_refused".into()));
    assert_eq!(
        (&event["cause"]["status"], &event["cause"]["detail"]),
        (&403.into(), &format!("{SERVER}: 403 Word").into())
    );
    assert!(event["retry_in_ms"].as_u64().is_some());
    let event = refused(401);
    assert_eq!(event["cause"]["code"], "sip_register_auth_failed");
    let pause = event["retry_in_ms"].as_u64().expect("a time");
    assert!((1_800_000..=3_600_000).contains(&pause), "nobody insists: {pause}");

    let mut world = World::new(Err(RouteError::UnknownHost));
    for _ in 0..20 {
        world.next_timer();
    }
    let folded: Vec<_> = world.of("attempt").iter().map(|event| event["repeats"].as_u64().unwrap()).collect();
    assert_eq!(folded, [1, 10]);
    assert_eq!(world.of("attempt")[0]["cause"]["code"], "sip_register_unreachable");
}
