//! Gives up quality before sound: when the machine does not keep up, is too hot or lacks voltage, the encoder is asked for
//! less, in a fixed order, and for more again when that has been over for a while.
//!
//! ```text
//!   step 0 ◀──▶ 1: complexity 2 at most ◀──▶ 2: complexity 0 ◀──▶ 3: and wide band, 8 kHz
//!          down: a second in which we were busy for 70 % of it, or missed two deadlines
//!          up:   half a minute of seconds without misses, busy for less than 40 %
//! ```
//!
//! A step up that is taken back within that time makes the next one wait twice as long, eight minutes at most. Low voltage
//! holds at step 1 or beyond, heat at step 2 or beyond: what the encoder does not compute, the processor does not burn.

use crate::media::codec::Band;
use crate::time::{Span, Time};

const SECOND: Span = Span::from_millis(1_000);
/// Busy for so many percent of a second is too much; for so many it is little.
const MUCH: u64 = 70;
const LITTLE: u64 = 40;
/// Deadlines that may be missed in a second: one is an accident.
const MISSES: u32 = 1;
/// What is better is tried after so long.
const PATIENCE: Span = Span::from_secs(30);
const MOST_PATIENCE: Span = Span::from_secs(480);
const LAST: u8 = 3;

/// What the board says of itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Board {
    #[default]
    Fine,
    /// The supply gives less than the processor needs.
    LowVoltage,
    /// It is at the temperature from which the kernel or the firmware slows it down.
    Hot,
}

/// Why a step was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Why {
    /// Nothing is in the way.
    #[default]
    Calm,
    /// Periods of the card were not answered in time.
    Deadlines,
    /// They were, with too little time to spare.
    Busy,
    LowVoltage,
    Hot,
}

impl Why {
    /// The word of the status events.
    pub fn word(self) -> &'static str {
        match self {
            Why::Calm => "calm",
            Why::Deadlines => "deadlines",
            Why::Busy => "busy",
            Why::LowVoltage => "low_voltage",
            Why::Hot => "hot",
        }
    }
}

/// How much is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Economy {
    /// 0 to 3.
    pub step: u8,
    /// Why it was taken.
    pub why: Why,
}

impl Economy {
    /// The encoder's complexity, of the configured one.
    pub fn complexity(self, configured: u8) -> u8 {
        match self.step {
            0 => configured,
            1 => configured.min(2),
            _ => 0,
        }
    }

    pub fn band(self, wanted: Band) -> Band {
        if self.step < LAST { wanted } else { Band::Wide }
    }
}

/// One pass of the media thread in a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pass {
    /// From waking up until everything was done.
    pub took: Span,
    pub deadline: Deadline,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadline {
    Kept,
    /// A whole period too late, or so late that the card stopped.
    Missed,
}

#[derive(Clone, Debug)]
pub struct Governor {
    economy: Economy,
    board: Board,
    second: Option<Second>,
    calm_since: Time,
    raised_at: Option<Time>,
    patience: Span,
    news: Option<Economy>,
}

#[derive(Clone, Copy, Debug)]
struct Second {
    since: Time,
    busy: Span,
    missed: u32,
}

impl Governor {
    pub fn new() -> Governor {
        Governor {
            economy: Economy::default(),
            board: Board::Fine,
            second: None,
            calm_since: Time::ZERO,
            raised_at: None,
            patience: PATIENCE,
            news: None,
        }
    }

    pub fn economy(&self) -> Economy {
        self.economy
    }

    /// The step that was taken, once.
    pub fn take_news(&mut self) -> Option<Economy> {
        self.news.take()
    }

    /// A call begins: the time between calls was neither busy nor calm.
    pub fn start(&mut self, now: Time) {
        (self.second, self.calm_since) = (None, now);
    }

    pub fn on_board(&mut self, now: Time, board: Board) {
        if board != self.board {
            self.calm_since = now;
        }
        self.board = board;
        let (least, why) = self.least();
        if self.economy.step < least {
            self.take(least, why);
        }
    }

    pub fn on_pass(&mut self, now: Time, pass: Pass) {
        let second = self.second.get_or_insert(Second { since: now, busy: Span::ZERO, missed: 0 });
        second.busy = second.busy + pass.took;
        match pass.deadline {
            Deadline::Kept => {}
            Deadline::Missed => second.missed += 1,
        }
        let length = now.since(second.since);
        if length < SECOND {
            return;
        }
        let Second { busy, missed, .. } = *second;
        self.second = None;
        let percent = busy.as_micros() * 100 / length.as_micros();
        if missed > MISSES {
            self.lower(now, Why::Deadlines);
        } else if percent >= MUCH {
            self.lower(now, Why::Busy);
        } else if missed > 0 || percent >= LITTLE {
            self.calm_since = now;
        } else if self.economy.step > self.least().0 && now.since(self.calm_since) >= self.patience {
            let step = self.economy.step - 1;
            (self.calm_since, self.raised_at) = (now, Some(now));
            self.take(step, if step > 0 { self.economy.why } else { Why::Calm });
        } else if self.raised_at.is_some_and(|at| now.since(at) >= self.patience) {
            (self.raised_at, self.patience) = (None, PATIENCE);
        }
    }

    fn lower(&mut self, now: Time, why: Why) {
        self.calm_since = now;
        if self.raised_at.take().is_some_and(|at| now.since(at) < self.patience) {
            self.patience = self.patience.times(2).min(MOST_PATIENCE);
        }
        if self.economy.step < LAST {
            self.take(self.economy.step + 1, why);
        }
    }

    fn take(&mut self, step: u8, why: Why) {
        self.economy = Economy { step, why };
        self.news = Some(self.economy);
    }

    /// The step that the board allows.
    fn least(&self) -> (u8, Why) {
        match self.board {
            Board::Fine => (0, Why::Calm),
            Board::LowVoltage => (1, Why::LowVoltage),
            Board::Hot => (2, Why::Hot),
        }
    }
}

impl Default for Governor {
    fn default() -> Governor {
        Governor::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Span = Span::from_millis(10);

    /// A machine that is busy for so many percent, and misses one period in `misses` (0: none).
    fn run(governor: &mut Governor, now: &mut Time, seconds: u64, percent: u64, misses: u64) -> Vec<(u8, Why)> {
        let mut told = Vec::new();
        for n in 1..=seconds * 100 {
            *now += PERIOD;
            let deadline = if misses > 0 && n % misses == 0 { Deadline::Missed } else { Deadline::Kept };
            governor.on_pass(*now, Pass { took: Span::from_micros(PERIOD.as_micros() * percent / 100), deadline });
            told.extend(governor.take_news().map(|economy| (economy.step, economy.why)));
        }
        told
    }

    #[test]
    fn it_steps_down_in_order_and_back_when_it_is_over() {
        let (mut governor, mut now) = (Governor::new(), Time::from_millis(5_000));
        assert_eq!(run(&mut governor, &mut now, 60, 20, 0), []);
        assert_eq!(run(&mut governor, &mut now, 10, 80, 0), [(1, Why::Busy), (2, Why::Busy), (3, Why::Busy)]);
        assert_eq!(run(&mut governor, &mut now, 25, 20, 0), [], "not at once");
        let up = run(&mut governor, &mut now, 120, 20, 0);
        assert_eq!(up, [(2, Why::Busy), (1, Why::Busy), (0, Why::Calm)]);
    }

    #[test]
    fn one_late_period_is_an_accident_and_two_in_a_second_are_not() {
        let (mut governor, mut now) = (Governor::new(), Time::from_millis(5_000));
        assert_eq!(run(&mut governor, &mut now, 20, 20, 150), []);
        assert_eq!(run(&mut governor, &mut now, 2, 20, 30)[0], (1, Why::Deadlines));
        run(&mut governor, &mut now, 2, 50, 0);
        assert_eq!(run(&mut governor, &mut now, 300, 50, 0), [], "half busy is neither too much nor little");
    }

    #[test]
    fn what_does_not_hold_is_tried_ever_more_rarely() {
        let (mut governor, mut now) = (Governor::new(), Time::from_millis(5_000));
        // Too much at step 0 only.
        let mut ups = Vec::new();
        for _ in 0..360_000 {
            now += PERIOD;
            let took = Span::from_millis(if governor.economy().step == 0 { 8 } else { 3 });
            governor.on_pass(now, Pass { took, deadline: Deadline::Kept });
            ups.extend(governor.take_news().filter(|economy| economy.step == 0).map(|_| now));
        }
        let pauses: Vec<_> = ups.windows(2).map(|pair| pair[1].since(pair[0]).as_millis() / 1_000).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]) && ups.len() < 15, "{pauses:?}");
        assert!((470..=500).contains(pauses.last().expect("tries")), "{pauses:?}");
    }

    #[test]
    fn heat_and_low_voltage_hold_it_down_as_long_as_they_last() {
        let (mut governor, mut now) = (Governor::new(), Time::from_millis(5_000));
        for (board, told) in [(Board::LowVoltage, (1, Why::LowVoltage)), (Board::Hot, (2, Why::Hot))] {
            governor.on_board(now, board);
            assert_eq!(governor.take_news().map(|economy| (economy.step, economy.why)), Some(told));
            assert_eq!(run(&mut governor, &mut now, 100, 10, 0), [], "{board:?}");
        }
        governor.on_board(now, Board::Fine);
        assert_eq!(run(&mut governor, &mut now, 100, 10, 0), [(1, Why::Hot), (0, Why::Calm)]);
    }

    #[test]
    fn the_time_between_calls_is_neither_busy_nor_calm() {
        let (mut governor, mut now) = (Governor::new(), Time::from_millis(5_000));
        assert_eq!(run(&mut governor, &mut now, 2, 80, 0)[0], (1, Why::Busy));
        run(&mut governor, &mut now, 1, 50, 0);
        now += Span::from_secs(100);
        governor.start(now);
        assert_eq!(run(&mut governor, &mut now, 25, 20, 0), [], "calm for 25 s");
        assert_eq!(run(&mut governor, &mut now, 10, 20, 0).len(), 1);
    }

    #[test]
    fn each_step_asks_the_encoder_for_less() {
        let asked = |step| {
            let economy = Economy { step, why: Why::Busy };
            (economy.complexity(5), economy.complexity(1), economy.band(Band::Full))
        };
        let steps = [(5, 1, Band::Full), (2, 1, Band::Full), (0, 0, Band::Full), (0, 0, Band::Wide)];
        assert_eq!([0, 1, 2, 3].map(asked), steps);
    }
}
