//! What the demo prints while it runs: the ladder of each endpoint, and what else is worth knowing.

use lab::clock::mono_us;
use lab::process::{Endpoint, Line};
use std::time::Duration;

/// Prints each new status line of the endpoints once, with the time since the start.
pub struct Show {
    begun_us: u64,
    shown: [usize; 2],
    rungs: [String; 2],
}

impl Show {
    pub fn new() -> Show {
        Show { begun_us: mono_us(), shown: [0; 2], rungs: ["offline".into(), "offline".into()] }
    }

    pub fn note(&self, at_us: u64, who: &str, what: &str) {
        println!("{:7.3} s  {who:4}  {what}", at_us.saturating_sub(self.begun_us) as f64 / 1e6);
    }

    pub fn lines(&mut self, endpoints: &[&Endpoint; 2]) {
        let mut fresh = Vec::new();
        for (at, endpoint) in endpoints.iter().enumerate() {
            let lines = endpoint.lines();
            fresh.extend(lines[self.shown[at]..].iter().cloned().map(|line| (at, line)));
            self.shown[at] = lines.len();
        }
        fresh.sort_by_key(|(_, line)| line.at_us);
        fresh.iter().for_each(|(at, line)| self.line(*at, line));
    }

    /// A change of the rung, or something else worth knowing.
    fn line(&mut self, at: usize, line: &Line) {
        let who = ["A", "B"][at];
        let event = &line.event;
        let cause = event["cause"]["code"].as_str().map_or(String::new(), |code| format!("  ({code})"));
        let rung = line.rung().unwrap_or(&self.rungs[at]).to_string();
        if rung != self.rungs[at] {
            self.note(line.at_us, who, &format!("{} -> {rung}{cause}", self.rungs[at]));
            self.rungs[at] = rung;
        } else if let Some(kind @ ("attempt" | "invite" | "call_ended" | "card" | "problem")) = event["event"].as_str()
        {
            let fields = ["what", "outcome", "from", "retry_in_ms", "state", "rate", "period", "buffer"];
            let value = |key: &str| [&event[key], &event["card"][key]].into_iter().find(|value| !value.is_null());
            let detail = fields.iter().filter_map(|key| value(key).map(|value| format!(" {key} {}", plain(value))));
            self.note(line.at_us, who, &format!("{kind}{}{cause}", detail.collect::<String>()));
        }
    }

    pub fn until(&mut self, endpoints: &[&Endpoint; 2], patience: Duration, done: impl Fn() -> bool) -> Result<(), ()> {
        let deadline = mono_us() + patience.as_micros() as u64;
        loop {
            self.lines(endpoints);
            match done() {
                true => return Ok(()),
                false if mono_us() > deadline => return Err(()),
                false => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    pub fn wait(&mut self, endpoints: &[&Endpoint; 2], how_long: Duration) {
        let _ = self.until(endpoints, how_long, || false);
    }
}

pub fn reached(endpoint: &Endpoint, rung: &str) -> bool {
    endpoint.lines().last().and_then(|line| line.rung().map(String::from)).as_deref() == Some(rung)
}

pub fn stuck(endpoints: &[(&str, &Endpoint)]) -> String {
    let mut text = "the ladder was not climbed in time\n".to_string();
    for (name, endpoint) in endpoints {
        let last = endpoint.lines().last().map_or("nothing".into(), |line| line.event.to_string());
        text.push_str(&format!("   {name} said last: {last}\n{}", endpoint.errors()));
    }
    text
}

pub fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}
