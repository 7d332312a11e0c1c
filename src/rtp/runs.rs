//! How many packets are lost in a row, of late.

/// Of one that is longer only so much counts: an outage of seconds is no burst that longer packets would bridge.
const MOST: i64 = 8;
/// What each new run leaves of those before it: about the last 32 decide.
const KEPT: f32 = 31.0 / 32.0;

/// Runs of losses and the packets in them; the older weigh less.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    runs: f32,
    packets: f32,
}

impl Runs {
    /// A packet has come. `missed`: how many were left out just before it; -1: it was one of those.
    pub fn on_packet(&mut self, missed: i64) {
        if missed > 0 {
            self.runs = self.runs * KEPT + 1.0;
            self.packets = self.packets * KEPT + missed.min(MOST) as f32;
        } else {
            self.packets = (self.packets + missed as f32).max(0.0);
        }
    }

    /// Mean number of packets lost in a row; 0: none. Packets that were overtaken and lost ones together make it smaller
    /// than it is.
    pub fn mean(&self) -> f32 {
        if self.packets == 0.0 { 0.0 } else { (self.packets / self.runs).max(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(runs: &[i64]) -> f32 {
        let mut all = Runs::default();
        runs.iter().for_each(|missed| all.on_packet(*missed));
        all.mean()
    }

    #[test]
    fn runs_are_as_long_as_most_are() {
        assert_eq!(after(&[]), 0.0);
        assert_eq!(after(&[0, 1, 0, 0]), 1.0);
        assert_eq!(after(&[2, -1, -1]), 0.0, "overtaken, not lost");
        assert!((after(&[1, 3].repeat(30)) - 2.0).abs() < 0.1);
    }

    #[test]
    fn one_outage_of_seconds_does_not_decide_for_the_rest_of_a_call() {
        let with_singles = |singles| after(&[&[250][..], &vec![1; singles]].concat());
        assert_eq!(with_singles(0), MOST as f32);
        assert!(with_singles(10) < 1.7, "{}", with_singles(10));
    }

    #[test]
    fn bursts_that_are_over_are_forgotten() {
        let line = |bursts, singles| after(&[vec![4; bursts], vec![1; singles]].concat());
        assert!(line(1_000, 0) > 3.9 && line(1_000, 20) > 1.7 && line(1_000, 60) < 1.7);
        assert!(after(&[vec![1; 1_000], vec![4; 60]].concat()) > 3.0, "and new ones are learnt");
    }
}
