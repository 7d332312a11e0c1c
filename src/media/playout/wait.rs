//! How long packets wait: what they shall, what they do, and by what the one is brought to the other.

use super::{FEW, MANY, NextWait, Playout, Request};
use crate::media::codec::Decoder;
use crate::media::drift;
use crate::media::jitter::{Meta, SLOTS};
use crate::media::stretch::Similarity;
use crate::rtp::seq::Timestamp;

/// Adjustments smaller than this are not worth a cut: 5 ms.
const LEAST_CUT: i64 = 240;
/// The delay is cut when it is this much more than enough (2 ms), so that a target that wanders is not followed; and
/// lengthened when it is this much less (1 ms).
const HYSTERESIS: i64 = 96;
const TOLERANCE: i64 = 24;
/// Excess from which cuts need not be clean (40 ms), and from which any will do (100 ms).
const LARGE: i64 = 1_920;
const HUGE: i64 = 4_800;
/// So many packets wait at most: an eighth of the room is left to those that come in a bunch.
const MOST_WAITING: i64 = SLOTS as i64 * 7 / 8;
/// Loss above which waiting one packet longer is worth the delay, because the next packet mends the hole: for its FEC;
/// for its sound. Below the third it no longer is.
const FEC_AT: f32 = 0.01;
const BORROW_AT: f32 = 0.03;
const NEXT_UNTIL: f32 = 0.003;
/// So many packets without repetition, and there is none: an encoder leaves it out where there is no voice.
const FEC_MISSED: u32 = 250;
/// Each packet counts for this much of the loss estimate: about five seconds.
const LOSS_GAIN: f32 = 1.0 / 256.0;
/// The wait that is aimed at beyond what is needed (1 ms), how many ppm for each ms off it, and at most.
const AIM: i64 = 48;
const PPM_PER_MS: f64 = 10.0;
const MOST_TRIM: f64 = 60.0;

impl<D: Decoder> Playout<D> {
    /// Lets the resampler follow the clocks, and bring the wait to where it shall be.
    pub(super) fn steer(&mut self) {
        // Clocks that are nearly alike are left to a cut each few minutes: one who does not resample knows what the FIFO holds
        // when a packet is decoded, and needs no period of the card more delay for not knowing it.
        let Some(drift) = drift::apart(self.peer.rate(), &self.card, self.resampler.ppm() != 0.0) else {
            return self.resampler.set_ppm(0.0);
        };
        let off = match self.delays.oldest_ordered().copied().min() {
            Some(lowest) if self.delays.len() >= FEW => self.to_spare(lowest) - AIM,
            Some(_) | None => 0,
        };
        let trim = (off as f64 / 48.0 * PPM_PER_MS).clamp(-MOST_TRIM, MOST_TRIM);
        self.resampler.set_ppm(drift + trim);
    }

    /// Samples to cut out (negative) or put in, and how clean the cut has to be.
    pub(super) fn adjustment(&self) -> (i64, Similarity) {
        let known = self.delays.len();
        let Some(lowest) = self.delays.oldest_ordered().rev().take(FEW).copied().min() else {
            return (0, Similarity::GOOD);
        };
        let missing = -self.to_spare(lowest);
        if missing > TOLERANCE {
            let step = self.request.step;
            let put = (missing + step - 1) / step * step - self.rest() % step;
            return (if known >= FEW { put.max(LEAST_CUT) } else { 0 }, Similarity::GOOD);
        }
        // The more a line jitters, the more its estimate wanders.
        let slack = self.target_wait() / 16;
        let excess = self.superfluous(lowest - HYSTERESIS - slack);
        if excess >= HUGE {
            return (-excess, Similarity::ANY);
        }
        if excess >= LARGE {
            return (-excess, Similarity::FAIR);
        }
        if known >= FEW && excess >= LEAST_CUT {
            return (-excess, Similarity::GOOD);
        }
        let lowest = self.delays.oldest_ordered().copied().min().unwrap_or(lowest);
        if known == MANY {
            (-self.superfluous(lowest + TOLERANCE - slack), Similarity::GOOD)
        } else {
            (0, Similarity::GOOD)
        }
    }

    /// How much longer than the target the packet that waits least will wait, if the delay stays as it is.
    ///
    /// What is in the FIFO when a packet is decoded is delay that serves nothing, and differs from packet to packet
    /// unless the card's periods fit into them.
    fn to_spare(&self, delay: i64) -> i64 {
        let Request { period, step } = self.request;
        delay - self.rest() % step - (period - step) - self.target_wait()
    }

    /// By how much a delay can be cut so that every packet still waits for the target.
    pub(super) fn superfluous(&self, delay: i64) -> i64 {
        let step = self.request.step;
        match self.to_spare(delay) {
            spare if spare < 0 => 0,
            spare => spare / step * step + self.rest() % step,
        }
    }

    /// Whether `samples` need not be played at all: this packet waits for `wait`, which is more than enough by as much.
    pub(super) fn can_spare(&self, samples: i64, wait: i64) -> bool {
        self.superfluous(wait + self.rest() - HYSTERESIS) >= samples
    }

    /// Samples decoded and not yet played.
    pub(super) fn rest(&self) -> i64 {
        self.fifo.len() as i64
    }

    pub(super) fn note_request(&mut self, asked: i64) {
        let asked = asked.clamp(1, 4_800);
        let regular = asked == self.request.period && self.resampler.ppm() == 0.0;
        let step = if regular { gcd(asked, i64::from(self.samples)) } else { 1 };
        // Who asks for less once may ask for more again.
        let period = if asked < self.request.period { self.request.period - 1 } else { asked };
        self.request = Request { period, step };
    }

    /// The delays seen before an adjustment say nothing about those after it.
    pub(super) fn on_adjusted(&mut self, samples: usize) {
        if samples > 0 {
            self.delays.clear();
        }
    }

    /// It waits longer than the configuration allows.
    pub(super) fn is_overdue(&self, now: i64, position: Timestamp) -> bool {
        self.waited(now, position) > self.bounds.max + self.request.period
    }

    pub(super) fn waited(&self, now: i64, position: Timestamp) -> i64 {
        self.delay.waited(now, position.ticks())
    }

    /// The configured bounds include the packet itself: a buffer of 20 ms holds one packet of 20 ms. Short packets are not
    /// waited for until there is no room for the next ones.
    pub(super) fn target_wait(&self) -> i64 {
        let packet = i64::from(self.samples);
        let next = match self.next_wait {
            NextWait::No => 0,
            NextWait::Yes { .. } => packet + TOLERANCE,
        };
        let least = (self.bounds.min - packet).max(0);
        let wait = (self.delay.target() + next).clamp(least, self.bounds.max.max(least));
        wait.min(MOST_WAITING * packet)
    }

    /// Waiting longer pays while packets are lost, and more so if they are repeated: by FEC, or as a copy.
    pub(super) fn judge_next(&mut self, repeats_previous: bool) {
        self.next_wait = match self.next_wait {
            _ if self.loss < NEXT_UNTIL => NextWait::No,
            _ if self.loss > BORROW_AT || (repeats_previous && self.loss > FEC_AT) => NextWait::Yes { ago: 0 },
            NextWait::No => NextWait::No,
            NextWait::Yes { .. } if repeats_previous => NextWait::Yes { ago: 0 },
            NextWait::Yes { ago } if ago >= FEC_MISSED => NextWait::No,
            NextWait::Yes { ago } => NextWait::Yes { ago: ago + 1 },
        };
    }

    /// Of a packet of which only a copy came, the loss is as true as without one: it is what waiting is for.
    pub(super) fn note_played(&mut self, meta: Meta, samples: usize) {
        self.note_loss(if meta.is_copy() { 1.0 } else { 0.0 });
        if meta.is_copy() && self.skip < samples {
            self.counters.red += 1;
            self.mended.write(meta.seq);
        }
    }

    /// It was missed, and counted as lost: the next one would not have been in time either.
    pub(super) fn note_late(&mut self) {
        self.loss = (self.loss - LOSS_GAIN).max(0.0);
    }

    pub(super) fn note_losses(&mut self, lost: i64) {
        for _ in 0..lost.min(25) {
            self.note_loss(1.0);
        }
    }

    pub(super) fn note_loss(&mut self, lost: f32) {
        self.loss += (lost - self.loss) * LOSS_GAIN;
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
