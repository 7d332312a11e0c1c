//! The microphone's samples on their way into packets, in the time of whoever takes these.
//!
//! ```text
//!   card, any number ─▶ waiting ─▶ Resampler ─▶ a frame, as soon as there is enough for one
//! ```
//!
//! A mixer takes a packet of each speaker at each of its own ticks. A microphone that runs faster than the mixer's clock fills
//! the queue that it has there: the delay grows, and is thrown away at once when it is too much (Asterisk: at 80 ms, which
//! 300 ppm make in less than five minutes). One that runs slower leaves holes. So what is sent keeps to the clock of what
//! comes ([`drift`]), and timestamps with it: both count what was sent.
//!
//! Only who has called does so. Two who follow each other would have no clock at all.

use crate::media::delay;
use crate::media::drift::{self, Rate};
use crate::media::fifo::Fifo;
use crate::media::resample::Resampler;
use crate::time::Time;

/// The longest frame, the longest piece that is taken, and a little.
const WAITING: usize = 8_192;
/// The longest piece that [`Microphone::take`] takes.
pub(super) const MAX_PIECE: usize = 2_880;
/// No two clocks are further apart: what looks like it is not followed.
const MOST_PPM: f64 = 2_000.0;

pub(super) struct Microphone {
    clock: Rate,
    given: i64,
    waiting: Fifo<WAITING>,
    resampler: Resampler,
}

impl Microphone {
    pub(super) fn new() -> Microphone {
        Microphone { clock: Rate::new(), given: 0, waiting: Fifo::new(), resampler: Resampler::new() }
    }

    /// A call begins: nothing waits.
    pub(super) fn start(&mut self) {
        self.clock.restart();
        self.drop_waiting();
        self.resampler.set_ppm(0.0);
    }

    /// The card has just given so many samples.
    pub(super) fn on_given(&mut self, now: Time, samples: usize) {
        self.given += samples as i64;
        self.clock.observe(delay::in_samples(now), self.given);
    }

    /// There is no card that could give any. What it will have given then is not the time that has passed.
    pub(super) fn pause(&mut self) {
        self.clock.restart();
    }

    pub(super) fn clock(&self) -> &Rate {
        &self.clock
    }

    pub(super) fn recall(&mut self, ppm: f64) {
        self.clock.recall(ppm);
    }

    /// Keeps to this clock from now on; `None`: to its own.
    pub(super) fn follow(&mut self, peer: Option<&Rate>) {
        let following = self.resampler.ppm() != 0.0;
        let apart = peer.and_then(|peer| drift::apart(&self.clock, peer, following));
        self.resampler.set_ppm(apart.filter(|ppm| ppm.abs() <= MOST_PPM).unwrap_or(0.0));
    }

    /// Takes at most [`MAX_PIECE`] samples, and gives the place in which they wait.
    pub(super) fn take(&mut self, samples: &[i16]) -> &mut [i16] {
        let place = self.waiting.room(samples.len());
        place.copy_from_slice(samples);
        place
    }

    /// Fills the frame, if there is enough for it.
    pub(super) fn fill(&mut self, frame: &mut [i16]) -> bool {
        let needed = self.resampler.needed(frame.len());
        if self.waiting.len() < needed {
            return false;
        }
        self.resampler.process(self.waiting.pop(needed), frame);
        true
    }

    /// Samples that such a frame still lacks.
    pub(super) fn missing(&self, frame: usize) -> usize {
        self.resampler.needed(frame).saturating_sub(self.waiting.len())
    }

    /// Samples that wait for their frame to be full.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// They wait no longer; how many they were.
    pub(super) fn drop_waiting(&mut self) -> usize {
        let waiting = self.waiting.len();
        self.waiting.clear();
        self.resampler.restart();
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 48_000;

    /// A microphone that is `ppm` fast hears a sine for so many seconds, beside a peer that is `peers` fast; what is sent of
    /// it in frames of 20 ms.
    fn sent(ppm: f64, peers: Option<f64>, seconds: i64) -> Vec<i16> {
        let (mut microphone, mut peer, mut sent, mut heard) = (Microphone::new(), Rate::new(), Vec::new(), 0_i64);
        for n in 1..=seconds * 100 {
            let now = n * SECOND / 100;
            let shown = |ppm: f64| (now as f64 * (1.0 + ppm * 1e-6)) as i64;
            if n % 2 == 0 {
                peer.observe(now, shown(peers.unwrap_or(0.0)));
            }
            let samples: Vec<i16> =
                (heard..shown(ppm)).map(|at| (10_000.0 * (at as f64 * 0.05).sin()) as i16).collect();
            heard += samples.len() as i64;
            microphone.on_given(Time::from_micros((now * 125 / 6) as u64), samples.len());
            microphone.follow(peers.map(|_| &peer));
            microphone.take(&samples);
            let mut frame = [0; 960];
            while microphone.fill(&mut frame) {
                sent.extend(frame);
            }
        }
        sent
    }

    /// How far what was sent in the last five minutes of six is from what the peer takes in that time, ms.
    fn queue_grows_ms(ppm: f64, peers: Option<f64>, takes: f64) -> f64 {
        let [before, all] = [60, 360].map(|seconds| sent(ppm, peers, seconds).len());
        (all as f64 - before as f64 - 300.0 * SECOND as f64 * (1.0 + takes * 1e-6)) / 48.0
    }

    #[test]
    fn a_call_begins_with_nothing_of_the_one_before() {
        let mut microphone = Microphone::new();
        let mut frame = [0; 960];
        microphone.take(&[10_000; 1_000]);
        assert!(microphone.fill(&mut frame));
        microphone.start();
        microphone.take(&[0; 960]);
        assert!(microphone.fill(&mut frame));
        assert_eq!(frame, [0; 960]);
    }

    #[test]
    fn what_is_sent_keeps_to_the_clock_of_what_comes() {
        for (ppm, peers) in [(1_500.0, 0.0), (-1_500.0, 0.0), (300.0, -50.0), (-40.0, 40.0)] {
            let (alone, following) = (queue_grows_ms(ppm, None, peers), queue_grows_ms(ppm, Some(peers), peers));
            assert!((alone - (ppm - peers) * 0.3).abs() < 21.0, "{ppm} to {peers}: {alone:.0} ms");
            // A packet is sent or not.
            assert!(following.abs() < 21.0, "{ppm} to {peers}: {following:.0} ms");
        }
    }

    #[test]
    fn a_sine_stays_one() {
        let sine = sent(300.0, Some(0.0), 60);
        let foretold = |three: &[i16]| f64::from(three[1]) * 2.0 * 0.05_f64.cos() - f64::from(three[0]);
        let worst =
            sine[480..].windows(3).map(|three| (f64::from(three[2]) - foretold(three)).abs()).fold(0.0, f64::max);
        assert!(worst < 20.0, "{worst:.0}");
    }

    #[test]
    fn clocks_that_cannot_be_are_not_followed() {
        assert!((queue_grows_ms(0.0, Some(5_000.0), 0.0)).abs() < 21.0);
    }
}
