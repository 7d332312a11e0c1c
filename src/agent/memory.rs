//! What outlives the process: how many attempts at a session came to nothing, a time that has certainly passed, and how
//! fast the clocks of card and mixer run.
//!
//! One small JSON text, written seldom: see [`crate::qss::attempts`]; the time is written once a day at most, the clocks at
//! the end of a call that has found another rate.

use super::{Agent, Cx, Output};
use crate::media::command::{Clocks, Command};
use crate::qss::clock::{Floor, Reading};
use crate::time::WallTime;
use serde_json::{Value, json};

/// A rate that differs by less, in ppm, is as good: a crystal wanders by as much with the temperature.
const SAME_RATE: f32 = 5.0;
/// No clock is further off.
const MOST_PPM: f64 = 5_000.0;

#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    attempts: u32,
    floor: Floor,
    clocks: Clocks,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { attempts: 0, floor: Floor::new(None), clocks: Clocks::default() }
    }
}

impl Memory {
    /// Tolerant: what cannot be read was never kept.
    fn read(text: &str) -> Memory {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let attempts = value["attempts"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
        let rate = |name: &str| value["ppm"][name].as_f64().filter(|ppm| ppm.abs() <= MOST_PPM).map(|ppm| ppm as f32);
        let clocks = Clocks { network: rate("network"), capture: rate("capture"), playback: rate("playback") };
        Memory { attempts, floor: Floor::new(value["proven_ms"].as_u64().map(WallTime)), clocks }
    }

    pub(super) fn floor(self) -> Floor {
        self.floor
    }

    fn write(self) -> String {
        let Clocks { network, capture, playback } = self.clocks;
        let ppm = json!({"network": network, "capture": capture, "playback": playback});
        json!({"attempts": self.attempts, "proven_ms": self.floor.at().0, "ppm": ppm}).to_string()
    }
}

impl Agent {
    pub(super) fn recall(&mut self, cx: &mut Cx<'_>, text: &str) {
        self.memory = Memory::read(text);
        self.session.recall(self.memory.attempts);
        self.media(cx, Command::Recall(self.memory.clocks));
    }

    /// A call has ended with these.
    pub(super) fn remember_clocks(&mut self, cx: &mut Cx<'_>, clocks: Clocks) {
        let kept = &mut self.memory.clocks;
        let mut news = false;
        for (kept, found) in [
            (&mut kept.network, clocks.network),
            (&mut kept.capture, clocks.capture),
            (&mut kept.playback, clocks.playback),
        ] {
            let Some(found) = found else { continue };
            if kept.is_none_or(|kept| (kept - found).abs() > SAME_RATE) {
                *kept = Some(found);
                news = true;
            }
        }
        if news {
            cx.out.push_back(Output::Remember(self.memory.write()));
        }
    }

    pub(super) fn remember_attempts(&mut self, cx: &mut Cx<'_>, attempts: u32) {
        self.memory.attempts = attempts;
        cx.out.push_back(Output::Remember(self.memory.write()));
    }

    pub(super) fn clock_proven(&mut self, cx: &mut Cx<'_>) {
        if cx.wall.at.0 >= self.memory.floor.at().0.saturating_add(self.config.device.clock_kept.as_millis()) {
            self.memory.floor.proven(cx.wall.at);
            cx.out.push_back(Output::Remember(self.memory.write()));
        }
    }

    /// The earliest time at which a certificate may be judged. A clock behind it is wrong, which is said.
    pub(super) fn floor(&mut self, cx: &mut Cx<'_>) -> WallTime {
        match self.memory.floor.judge(cx.wall.at) {
            Reading::Behind => self.problem(cx, "clock_behind"),
            Reading::Possible => {}
        }
        self.memory.floor.at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qss::clock::BUILT;

    #[test]
    fn what_is_written_is_read_and_garbage_is_nothing() {
        let clocks = Clocks { network: Some(-12.5), capture: None, playback: Some(300.0) };
        let memory = Memory { attempts: 7, floor: Floor::new(Some(WallTime(BUILT.0 + 5))), clocks };
        let read = Memory::read(&memory.write());
        assert_eq!((read.attempts, read.floor.at(), read.clocks), (7, WallTime(BUILT.0 + 5), clocks));
        let absurd = Memory::read(r#"{"ppm":{"network":1e9,"capture":"x","playback":3}}"#).clocks;
        assert_eq!(absurd, Clocks { network: None, capture: None, playback: Some(3.0) });
        for garbage in ["", "null", "[1]", "{", r#"{"attempts":-1,"proven_ms":"x"}"#, r#"{"attempts":1e99}"#] {
            let read = Memory::read(garbage);
            assert_eq!((read.attempts, read.floor.at()), (0, BUILT), "{garbage}");
        }
    }
}
