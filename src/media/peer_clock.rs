//! The clock of whoever sends to us, which tells the time in two ways. Each can lie.
//!
//! * *Timestamps* are right through every pause. But after a tick that came late Asterisk stamps its packets anew, makes up
//!   for ticks, and never takes that back: on a busy machine its timestamps run ahead by 30 ms in ten seconds.
//! * *Numbers*: a mixer sends a packet at each of its ticks, however late. But who is silent between words sends none.
//!
//! The one that keeps better to a straight line is believed.

use crate::media::drift::Rate;
use crate::rtp::seq::Seq;

/// No clock is further off: a sender that left packets out is.
const MOST_PPM: f64 = 2_500.0;

#[derive(Debug, Default)]
pub(super) struct PeerClock {
    by_stamps: Rate,
    by_numbers: Rate,
    /// The last number, and the samples of all packets until then.
    newest: Option<(Seq, i64)>,
}

impl PeerClock {
    /// Another source of the same peer.
    pub(super) fn restart(&mut self) {
        self.by_stamps.restart();
        self.by_numbers.restart();
        self.newest = None;
    }

    pub(super) fn recall(&mut self, ppm: f64) {
        self.by_stamps.recall(ppm);
        self.by_numbers.recall(ppm);
    }

    /// From now on timestamps show `by` samples more than they would have.
    pub(super) fn shift_stamps(&mut self, by: i64) {
        self.by_stamps.shift(by);
    }

    /// At `now` of our clock came the packet of this number, `samples` long and stamped `stamp`.
    pub(super) fn on_packet(&mut self, now: i64, seq: Seq, samples: u32, stamp: i64) {
        self.by_stamps.observe(now, stamp);
        let (last, shown) = self.newest.unwrap_or((seq, 0));
        let steps = seq.after(last);
        if steps < 0 {
            return;
        }
        let shown = shown.saturating_add(steps.saturating_mul(i64::from(samples)));
        self.by_numbers.observe(now, shown);
        self.newest = Some((seq, shown));
    }

    pub(super) fn rate(&self) -> &Rate {
        let doubt = |rate: &Rate| rate.seen().map_or(f64::INFINITY, |(_, error)| error);
        let can_be = self.by_numbers.seen().is_some_and(|(ppm, _)| ppm.abs() <= MOST_PPM);
        if can_be && doubt(&self.by_numbers) < doubt(&self.by_stamps) { &self.by_numbers } else { &self.by_stamps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: i64 = 960;

    /// Five minutes of a mixer that is 200 ppm fast: what is known then. `at`: by how much the timestamp of a tick is wrong,
    /// or that it sends no packet.
    fn known(mut at: impl FnMut(i64) -> Option<i64>) -> Option<f64> {
        let (mut clock, mut seq) = (PeerClock::default(), Seq::first(65_000));
        for tick in 0..15_000 {
            let Some(wrong) = at(tick) else { continue };
            let now = (tick * TICK) as f64 / 1.000_2;
            clock.on_packet(now as i64 + tick % 3 * 10, seq, TICK as u32, tick * TICK + wrong);
            seq = seq.next();
        }
        clock.rate().ppm()
    }

    #[test]
    fn a_mixer_whose_timestamps_run_ahead_at_every_late_tick_is_known_by_its_numbers() {
        let mut rng = crate::random::Rng::from_u64(1);
        let mut ahead = 0;
        let found = known(|_| {
            ahead += if rng.below(100) == 0 { rng.below(1_000) as i64 } else { 0 };
            Some(ahead)
        });
        assert!((found.expect("known") - 200.0).abs() < 3.0, "{found:?}");
    }

    #[test]
    fn one_who_sends_nothing_between_words_is_known_by_its_timestamps() {
        let mut rng = crate::random::Rng::from_u64(2);
        let mut talks = true;
        let found = known(|_| {
            talks ^= rng.below(60) == 0;
            talks.then_some(0)
        });
        assert!((found.expect("known") - 200.0).abs() < 3.0, "{found:?}");
    }

    #[test]
    fn one_who_leaves_out_every_other_packet_is_not_taken_for_half_as_fast() {
        let mut rng = crate::random::Rng::from_u64(3);
        let found = known(|tick| (tick % 2 == 0).then(|| rng.below(50) as i64));
        assert!((found.expect("known") - 200.0).abs() < 10.0, "{found:?}");
    }

    #[test]
    fn lost_and_late_packets_are_no_drift() {
        let mut clock = PeerClock::default();
        let first = Seq::first(7);
        for tick in (0..15_000_i64).filter(|tick| tick % 10 != 3) {
            // Each twentieth one is overtaken.
            let shown = if tick % 20 == 0 { tick - 2 } else { tick }.max(0);
            clock.on_packet(tick * TICK, first + shown as u64, TICK as u32, shown * TICK);
        }
        let (ppm, error) = clock.by_numbers.seen().expect("known");
        assert!(ppm.abs() < 1.0 && error < 1.0, "{ppm} {error}");
    }
}
