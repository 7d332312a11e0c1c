//! How late packets come, and how long each therefore has to wait: the target of the jitter buffer.
//!
//! A packet's *lag* is its arrival minus its position in the peer's time, less the lag of the fastest packet of the
//! last seconds (`base`): 0 for the fastest, 30 ms for one that was 30 ms slower on its way. The target is the lag that
//! all but the latest half percent stay within:
//!
//! * a histogram that forgets (about ten seconds) gives the quantile, so that one straggler decides nothing;
//! * the greatest lag of the last 2.5 seconds bounds it, so that a storm is forgotten as soon as it is over;
//! * a freeze of the line is one sample, not the hundred packets that come after it;
//! * when for a quarter of a second not one packet comes within what may be waited for, then the way has become longer, or the
//!   peer has paused without saying so: the fastest of that time is zero from then on.
//!
//! ```text
//!   lags    ▂█▆▃▂▁▁    ▁           ▏
//!           0     target(99.5 %)    greatest of 2.5 s
//! ```

use crate::time::{Span, Time};

/// One millisecond, in samples.
const BIN: i64 = 48;
const BINS: usize = 512;
const QUANTILE: f32 = 0.995;
/// Weight of a sample relative to the one after it: a memory of 500 samples, ten seconds.
const FORGET: f32 = 0.998;
/// The histogram gets one sample for each such time of arrivals, when it is over: its latest packet.
const SAMPLE_EVERY: i64 = 20 * 48;
/// Extremes are kept for this many buckets of this many samples: 4 s.
const BUCKETS: usize = 16;
const BUCKET: i64 = 250 * 48;
/// The last 2.5 s of them bound the target from above.
const RECENT_BUCKETS: usize = 10;
/// A bucket with fewer packets says nothing of a way that has become longer.
const FEW: u32 = 3;
/// A lag larger than this is no property of the line that a buffer could cover.
const MAX_LAG: i64 = BIN * BINS as i64;

#[derive(Clone, Debug)]
pub struct Delay {
    buckets: [Option<Extremes>; BUCKETS],
    newest: usize,
    /// Arrival at which the newest bucket ends.
    bucket_ends: i64,
    /// Lag of the fastest packet, not yet relative to anything. `None`: no packet of this source has come.
    base: Option<i64>,
    histogram: [f32; BINS],
    total: f32,
    weight: f32,
    /// As of the last packet.
    target: i64,
    /// The latest packet of the present time, and when that began.
    latest: Option<i64>,
    sampled_at: i64,
    /// The longest that packets may be waited for.
    most: i64,
}

#[derive(Clone, Copy, Debug)]
struct Extremes {
    fastest: i64,
    slowest: i64,
    packets: u32,
}

impl Delay {
    /// `most`: the longest that packets may be waited for, in samples.
    pub fn new(most: i64) -> Delay {
        Delay {
            most,
            buckets: [None; BUCKETS],
            newest: 0,
            bucket_ends: i64::MIN,
            base: None,
            histogram: [0.0; BINS],
            total: 0.0,
            weight: 1.0,
            target: 0,
            latest: None,
            sampled_at: i64::MIN,
        }
    }

    /// Another source: what is known of the line stays, the zero of its clock is new. Its first packet takes the place
    /// of the fastest, wherever its clock stands, and moves no bin.
    pub fn restart(&mut self) {
        self.buckets = [None; BUCKETS];
        self.base = None;
        self.bucket_ends = i64::MIN;
        self.latest = None;
    }

    /// From now on positions are `by` samples larger than they would have been: nothing else is new about the line.
    pub fn on_settled(&mut self, by: i64) {
        if by == 0 {
            return;
        }
        for bucket in self.buckets.iter_mut().flatten() {
            bucket.fastest -= by;
            bucket.slowest -= by;
        }
        self.base = self.base.map(|base| base - by);
        self.latest = self.latest.map(|latest| latest - by);
    }

    /// A packet arrived; both arguments in samples, of any origins. The position is the one its timestamp claims: what a
    /// packet waits for others of its burst is no property of the line.
    pub fn on_packet(&mut self, arrival: i64, position: i64) {
        let raw = arrival - position;
        self.keep_extremes(arrival, raw);
        let fastest = self.buckets.iter().flatten().map(|b| b.fastest).min().unwrap_or(raw);
        let base = self.rebase(fastest);
        if arrival >= self.sampled_at.saturating_add(SAMPLE_EVERY) {
            if let Some(latest) = self.latest.take() {
                self.sample(latest - base);
            }
            self.sampled_at = arrival;
        }
        self.latest = self.latest.max(Some(raw));
        self.target = self.quantile(QUANTILE).min(self.greatest_recent(base));
    }

    /// How long, in samples, a packet with this position has been waiting at `now`, had it been the fastest.
    pub fn waited(&self, now: i64, position: i64) -> i64 {
        now - position - self.base.unwrap_or(0)
    }

    /// How long, in samples, a packet has to wait so that the next ones will be there in time.
    pub fn target(&self) -> i64 {
        self.target
    }

    fn keep_extremes(&mut self, arrival: i64, raw: i64) {
        if self.bucket_ends == i64::MIN {
            self.bucket_ends = arrival + BUCKET;
        }
        // A long silence shows nothing new: only one bucket is given up for it.
        if arrival >= self.bucket_ends {
            self.follow_a_longer_way();
            self.bucket_ends = arrival + BUCKET;
            self.newest = (self.newest + 1) % BUCKETS;
            self.buckets[self.newest] = None;
        }
        let bucket = self.buckets[self.newest].get_or_insert(Extremes { fastest: raw, slowest: raw, packets: 0 });
        bucket.fastest = bucket.fastest.min(raw);
        bucket.slowest = bucket.slowest.max(raw);
        bucket.packets = bucket.packets.saturating_add(1);
    }

    /// What was before the bucket that ends tells nothing any more if nothing in it came in time.
    fn follow_a_longer_way(&mut self) {
        let ends = self.buckets[self.newest].filter(|bucket| bucket.packets >= FEW);
        if let Some((bucket, base)) = ends.zip(self.base)
            && bucket.fastest - base > self.most
        {
            self.buckets = [None; BUCKETS];
            self.buckets[self.newest] = Some(bucket);
            // It moves no bin.
            self.base = Some(bucket.fastest);
        }
    }

    /// The fastest packet defines zero; when it changes, the histogram moves with it. The base then is what comes back.
    fn rebase(&mut self, fastest: i64) -> i64 {
        let before = match self.base {
            Some(before) if self.total > 0.0 => before,
            Some(_) | None => {
                self.base = Some(fastest);
                return fastest;
            }
        };
        let moved = (fastest - before) / BIN;
        if moved == 0 {
            return before;
        }
        let base = before + moved * BIN;
        self.base = Some(base);
        let by = (moved.unsigned_abs() as usize).min(BINS);
        if moved > 0 {
            let below: f32 = self.histogram[..by].iter().sum();
            self.histogram.copy_within(by.., 0);
            self.histogram[BINS - by..].fill(0.0);
            self.histogram[0] += below;
        } else {
            let above: f32 = self.histogram[BINS - by..].iter().sum();
            self.histogram.copy_within(..BINS - by, by);
            self.histogram[..by].fill(0.0);
            self.total -= above;
        }
        base
    }

    fn sample(&mut self, lag: i64) {
        if lag >= MAX_LAG {
            return;
        }
        self.weight /= FORGET;
        if self.weight > 1e20 {
            let scale = 1.0 / self.weight;
            self.histogram.iter_mut().for_each(|bin| *bin *= scale);
            self.total = self.histogram.iter().sum();
            self.weight = 1.0;
        }
        self.histogram[(lag.max(0) / BIN) as usize] += self.weight;
        self.total += self.weight;
    }

    fn quantile(&self, q: f32) -> i64 {
        let allowed = self.total * (1.0 - q);
        let mut above = 0.0;
        for (bin, weight) in self.histogram.iter().enumerate().rev() {
            above += weight;
            if above > allowed {
                return (bin as i64 + 1) * BIN;
            }
        }
        0
    }

    fn greatest_recent(&self, base: i64) -> i64 {
        let recent = (0..RECENT_BUCKETS).filter_map(|n| self.buckets[(self.newest + BUCKETS - n) % BUCKETS]);
        recent.map(|b| b.slowest - base).max().map_or(0, |lag| lag + BIN)
    }
}

/// A moment in samples of the 48 kHz clock.
pub fn in_samples(now: Time) -> i64 {
    (now.as_micros() as i128 * 48 / 1_000) as i64
}

/// How long so many samples of the 48 kHz clock last.
pub fn samples_last(samples: u64) -> Span {
    Span::from_micros(samples * 125 / 6)
}

/// A span in samples of the 48 kHz clock.
pub fn span_in_samples(span: Span) -> i64 {
    (span.as_micros() as i128 * 48 / 1_000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    const MS: i64 = 48;
    const MOST: i64 = 200 * MS;

    /// One packet each 20 ms, with the given lag in ms; target in ms afterwards.
    fn after(delay: &mut Delay, at: &mut i64, lags: impl Iterator<Item = i64>) -> i64 {
        for lag in lags {
            delay.on_packet(*at + lag * MS, *at);
            *at += 20 * MS;
        }
        delay.target() / MS
    }

    #[test]
    fn a_calm_line_needs_no_wait() {
        let (mut delay, mut at) = (Delay::new(MOST), 0);
        assert!(after(&mut delay, &mut at, std::iter::repeat_n(5, 200)) <= 1);
    }

    #[test]
    fn uniform_jitter_is_covered_and_forgotten_within_four_seconds() {
        let (mut delay, mut at) = (Delay::new(MOST), 0);
        let mut rng = Rng::from_u64(1);
        let stormy = after(&mut delay, &mut at, (0..500).map(|_| rng.below(80) as i64));
        assert!((70..=80).contains(&stormy), "{stormy}");
        let calm = after(&mut delay, &mut at, std::iter::repeat_n(0, 200));
        assert!(calm <= 2, "{calm}");
    }

    #[test]
    fn one_packet_of_a_pause_that_comes_late_is_no_longer_way() {
        let (mut delay, mut at) = (Delay::new(MOST), 0);
        after(&mut delay, &mut at, std::iter::repeat_n(5, 2_000));
        for lag in [300, 5, 5] {
            at += 1_000 * MS;
            assert!(after(&mut delay, &mut at, std::iter::once(lag)) <= 2, "{lag} ms");
        }
    }

    #[test]
    fn another_source_on_the_same_line_keeps_what_is_known_of_it() {
        let mut rng = Rng::from_u64(1);
        for clock in [-7_000_000, 7_000_000] {
            let (mut delay, mut at) = (Delay::new(MOST), 0);
            after(&mut delay, &mut at, (0..500).map(|_| rng.below(80) as i64));
            delay.restart();
            for lag in [0, 60, 0] {
                delay.on_packet(at + lag * MS, at + clock);
                at += 20 * MS;
            }
            let target = delay.target() / MS;
            assert!((60..=80).contains(&target), "the line is as it was: {target}");
        }
    }

    #[test]
    fn one_freeze_is_one_sample() {
        let (mut delay, mut at) = (Delay::new(MOST), 0);
        after(&mut delay, &mut at, std::iter::repeat_n(0, 500));
        // 300 ms of packets in one burst.
        let burst = after(&mut delay, &mut at, (0..15).map(|n| 280 - n * 20));
        assert!(burst <= 2, "{burst}");
    }

    #[test]
    fn five_in_a_hundred_packets_late_are_worth_waiting_for() {
        let (mut delay, mut at) = (Delay::new(MOST), 0);
        let held = after(&mut delay, &mut at, (0..500).map(|n| if n % 20 == 7 { 45 } else { 0 }));
        assert!((44..=47).contains(&held), "{held}");
    }

    #[test]
    fn a_longer_path_becomes_the_new_zero() {
        let (mut delay, mut at) = (Delay::new(MOST), 0);
        after(&mut delay, &mut at, std::iter::repeat_n(0, 500));
        let longer = after(&mut delay, &mut at, std::iter::repeat_n(100, 300));
        assert!(longer <= 2, "{longer}");
        assert!((delay.waited(at + 100 * MS, at)).abs() <= 2 * MS);
        let shorter = after(&mut delay, &mut at, std::iter::repeat_n(20, 10));
        assert!(delay.waited(at + 20 * MS, at).abs() <= MS, "a faster packet counts at once; target {shorter}");
    }

    #[test]
    fn what_is_known_is_measured_by_the_fastest_packet_as_soon_as_it_comes() {
        let (mut delay, mut at) = (Delay::new(MOST), 0);
        let unaware = after(&mut delay, &mut at, (0..100).map(|n| 60 + n % 2 * 20));
        assert!((20..=22).contains(&unaware), "{unaware}");
        let aware = after(&mut delay, &mut at, std::iter::once(0));
        assert!((80..=82).contains(&aware), "{aware}");
    }

    #[test]
    fn the_zero_moves_along_with_positions_that_are_settled() {
        let (mut delay, mut at) = (Delay::new(MOST), 0);
        after(&mut delay, &mut at, std::iter::repeat_n(0, 500));
        delay.on_settled(100 * MS);
        assert_eq!(delay.waited(at, at + 100 * MS), 0);
        delay.on_packet(at, at + 100 * MS);
        assert!(delay.target() <= 2 * MS, "{}", delay.target());
    }

    #[test]
    fn a_long_silence_leaves_the_zero_where_it_was() {
        let (mut delay, mut at) = (Delay::new(MOST), 0);
        after(&mut delay, &mut at, std::iter::repeat_n(0, 500));
        at += 60_000 * MS;
        after(&mut delay, &mut at, std::iter::repeat_n(30, 3));
        assert!((29..=31).contains(&(delay.waited(at + 30 * MS, at) / MS)));
    }

    #[test]
    fn clocks_that_drift_are_followed() {
        let (mut delay, mut at) = (Delay::new(MOST), 0);
        // 1500 ppm for ten minutes: 900 ms in all.
        for _ in 0..30_000 {
            delay.on_packet(at + at * 15 / 10_000, at);
            at += 20 * MS;
        }
        assert!(delay.target() <= 8 * MS, "{}", delay.target());
    }
}
