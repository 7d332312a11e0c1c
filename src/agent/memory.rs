//! What outlives the process: how many attempts at a session came to nothing, and a time that has certainly passed.
//!
//! One small JSON text, written seldom: see [`crate::qss::attempts`]; the time is written once a day at most.

use super::{Agent, Cx, Output};
use crate::qss::clock::{Floor, Reading};
use crate::time::WallTime;
use serde_json::{Value, json};

/// A floor that lags by less is as good.
const DAY_MS: u64 = 86_400_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    attempts: u32,
    floor: Floor,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { attempts: 0, floor: Floor::new(None) }
    }
}

impl Memory {
    /// Tolerant: what cannot be read was never kept.
    fn read(text: &str) -> Memory {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let attempts = value["attempts"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
        Memory { attempts, floor: Floor::new(value["proven_ms"].as_u64().map(WallTime)) }
    }

    pub(super) fn floor(self) -> Floor {
        self.floor
    }

    fn write(self) -> String {
        json!({"attempts": self.attempts, "proven_ms": self.floor.at().0}).to_string()
    }
}

impl Agent {
    pub(super) fn recall(&mut self, text: &str) {
        self.memory = Memory::read(text);
        self.session.recall(self.memory.attempts);
    }

    pub(super) fn remember_attempts(&mut self, cx: &mut Cx<'_>, attempts: u32) {
        self.memory.attempts = attempts;
        cx.out.push_back(Output::Remember(self.memory.write()));
    }

    pub(super) fn clock_proven(&mut self, cx: &mut Cx<'_>) {
        if cx.wall.at.0 >= self.memory.floor.at().0.saturating_add(DAY_MS) {
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
        let memory = Memory { attempts: 7, floor: Floor::new(Some(WallTime(BUILT.0 + 5))) };
        let read = Memory::read(&memory.write());
        assert_eq!((read.attempts, read.floor.at()), (7, WallTime(BUILT.0 + 5)));
        for garbage in ["", "null", "[1]", "{", r#"{"attempts":-1,"proven_ms":"x"}"#, r#"{"attempts":1e99}"#] {
            let read = Memory::read(garbage);
            assert_eq!((read.attempts, read.floor.at()), (0, BUILT), "{garbage}");
        }
    }
}
