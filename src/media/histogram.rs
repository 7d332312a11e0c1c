//! How long each stage of the voice path takes, in a call: how often how long, and the worst with its cause.
//!
//! ```text
//!   capture   the period was over ─▶ we are awake and have read it        late wake-up
//!   process   read ─▶ mixed, encoded, sealed: one packet's worth          encoder
//!   send      sealed ─▶ the kernel has it                                 system call
//!   receive   the kernel has it ─▶ we have read it                        waits for the card's period
//!   decode    asked for a period ─▶ it is there                           decoder
//!   write     it is there ─▶ the card has it                              system call
//! ```
//!
//! A bucket is an eighth of a doubling wide: what is told lies within 12 % of what was. Nothing allocates.

use crate::time::{Span, Time};

/// Eight buckets for each doubling, from 1 us to 16 s.
const PER_DOUBLING: u32 = 8;
const DOUBLINGS: u32 = 24;
const BUCKETS: usize = (PER_DOUBLING * DOUBLINGS) as usize;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    Capture,
    Process,
    Send,
    Receive,
    Decode,
    Write,
}

impl Stage {
    pub const ALL: [Stage; 6] =
        [Stage::Capture, Stage::Process, Stage::Send, Stage::Receive, Stage::Decode, Stage::Write];

    /// The word of the status events.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Capture => "capture",
            Stage::Process => "process",
            Stage::Send => "send",
            Stage::Receive => "receive",
            Stage::Decode => "decode",
            Stage::Write => "write",
        }
    }
}

/// What happened in the pass in which a stage took longest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Why {
    /// Nothing else: it took that long.
    #[default]
    Work,
    /// We were woken late, by a period or more: the processor was not ours.
    LateWake,
    /// The kernel had no room for what arrived.
    KernelDrop,
    /// The card stopped, and had to be started again.
    Xrun,
}

impl Why {
    /// The word of the status events.
    pub fn word(self) -> &'static str {
        match self {
            Why::Work => "work",
            Why::LateWake => "late_wake",
            Why::KernelDrop => "kernel_drop",
            Why::Xrun => "xrun",
        }
    }
}

/// A stage in a call.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Summary {
    pub count: u64,
    pub p50_us: u32,
    pub p99_us: u32,
    pub worst_us: u32,
    pub why: Why,
}

/// All stages of the voice path.
#[derive(Debug)]
pub struct Stages {
    histograms: Box<[Histogram; Stage::ALL.len()]>,
    /// What happened in this pass so far.
    present: Why,
}

#[derive(Clone, Debug)]
struct Histogram {
    buckets: [u32; BUCKETS],
    count: u64,
    worst: Span,
    why: Why,
}

impl Stages {
    pub fn new() -> Stages {
        Stages { histograms: Box::new(std::array::from_fn(|_| Histogram::new())), present: Why::Work }
    }

    /// A new call.
    pub fn clear(&mut self) {
        *self.histograms = std::array::from_fn(|_| Histogram::new());
        self.present = Why::Work;
    }

    /// Another pass of the media thread begins.
    pub fn begin_pass(&mut self) {
        self.present = Why::Work;
    }

    /// Something that explains what is recorded from now on in this pass; the graver stays.
    pub fn blame(&mut self, why: Why) {
        self.present = self.present.max(why);
    }

    pub fn record(&mut self, stage: Stage, took: Span) {
        self.histograms[stage as usize].record(took, self.present);
    }

    /// From `since` until `now`; returns `now`, where the next stage begins.
    pub fn record_until(&mut self, stage: Stage, since: Time, now: Time) -> Time {
        self.record(stage, now.since(since));
        now
    }

    pub fn summary(&self, stage: Stage) -> Summary {
        self.histograms[stage as usize].summary()
    }
}

impl Default for Stages {
    fn default() -> Stages {
        Stages::new()
    }
}

impl Histogram {
    const fn new() -> Histogram {
        Histogram { buckets: [0; BUCKETS], count: 0, worst: Span::ZERO, why: Why::Work }
    }

    fn record(&mut self, took: Span, why: Why) {
        let place = &mut self.buckets[bucket(took)];
        *place = place.saturating_add(1);
        self.count += 1;
        if took > self.worst {
            (self.worst, self.why) = (took, why);
        }
    }

    fn summary(&self) -> Summary {
        Summary {
            count: self.count,
            p50_us: self.quantile(50),
            p99_us: self.quantile(99),
            worst_us: self.worst.as_micros().min(u32::MAX.into()) as u32,
            why: self.why,
        }
    }

    /// The upper edge of the bucket in which so many percent are reached; never more than the worst.
    fn quantile(&self, percent: u64) -> u32 {
        let wanted = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        let reached = self.buckets.iter().position(|n| {
            seen += u64::from(*n);
            seen >= wanted
        });
        let edge = reached.map_or(0, |bucket| edge(bucket as u32));
        edge.min(self.worst.as_micros()) as u32
    }
}

fn bucket(took: Span) -> usize {
    let us = took.as_micros().clamp(1, (1 << DOUBLINGS) - 1);
    let doubling = us.ilog2();
    let eighth = ((us - (1 << doubling)) * u64::from(PER_DOUBLING)) >> doubling;
    ((doubling * PER_DOUBLING) as usize + eighth as usize).min(BUCKETS - 1)
}

/// The least microseconds that lie beyond a bucket.
fn edge(bucket: u32) -> u64 {
    let (doubling, eighth) = ((bucket + 1) / PER_DOUBLING, (bucket + 1) % PER_DOUBLING);
    (1 << doubling) + (u64::from(eighth) << doubling).div_ceil(PER_DOUBLING.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_an_eighth_and_the_worst_is_exact() {
        let mut stages = Stages::new();
        for us in 1..=10_000 {
            stages.record(Stage::Decode, Span::from_micros(us));
        }
        let Summary { count, p50_us, p99_us, worst_us, why } = stages.summary(Stage::Decode);
        assert_eq!((count, worst_us, why), (10_000, 10_000, Why::Work));
        assert!((5_000..=5_650).contains(&p50_us) && (9_900..=10_000).contains(&p99_us), "{p50_us} {p99_us}");
        assert_eq!(stages.summary(Stage::Send), Summary::default());
        stages.clear();
        assert_eq!(stages.summary(Stage::Decode).count, 0);
    }

    #[test]
    fn the_worst_is_blamed_on_what_happened_in_its_pass() {
        let mut stages = Stages::new();
        stages.blame(Why::Xrun);
        stages.blame(Why::LateWake);
        stages.record(Stage::Capture, Span::from_millis(30));
        stages.begin_pass();
        stages.record(Stage::Capture, Span::from_millis(2));
        assert_eq!(stages.summary(Stage::Capture).why, Why::Xrun);
        stages.blame(Why::KernelDrop);
        let at = Time::from_millis(5);
        assert_eq!(stages.record_until(Stage::Capture, at, at + Span::from_millis(40)), at + Span::from_millis(40));
        assert_eq!(stages.summary(Stage::Capture).why, Why::KernelDrop);
    }

    #[test]
    fn any_span_has_a_bucket_that_it_is_not_beyond() {
        for us in (0..200_000).chain([1 << 23, 1 << 30, u64::MAX]) {
            let bucket = bucket(Span::from_micros(us));
            assert!(us < edge(bucket as u32) || bucket == BUCKETS - 1, "{us}");
            assert!(bucket == 0 || us.max(1) >= edge(bucket as u32 - 1), "{us}");
        }
    }
}
