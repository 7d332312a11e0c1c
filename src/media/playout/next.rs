//! What comes next: the machine of [`playout`](super), a step at a time.

use super::{FADE, MAX_HOLE, MERGE, PIECE, Playout, State, UNIT};
use crate::media::codec::Decoder;
use crate::media::jitter::{Content, Meta};
use crate::media::stretch;
use crate::media::toc;
use crate::rtp::seq::{Seq, Timestamp};

impl<D: Decoder> Playout<D> {
    /// Either fills the FIFO by at least one sample, or consumes a packet, or leaves `Playing`.
    pub(super) fn produce(&mut self, now: i64, missing: usize) {
        match self.state {
            State::Unheard | State::Waiting => self.begin(now, missing),
            State::Playing { next, at } => match self.jitter.first_from(next) {
                Some(meta) if meta.seq == next => self.on_present(now, meta, at),
                Some(later) => self.on_missing(now, next, at, later),
                None => self.state = State::Concealing { next, at, filled: 0 },
            },
            State::Concealing { next, at, filled } => match self.jitter.first_from(next) {
                Some(meta) => self.on_resumed(now, next, at, filled, meta),
                None if self.invented >= self.fade_after + FADE => {
                    self.jitter.clear();
                    self.state = State::Waiting;
                }
                None => self.fill(next, at, filled, PIECE),
            },
        }
    }

    /// Waits until the first packet is due, or throws away what has waited longer than need be.
    fn begin(&mut self, now: i64, missing: usize) {
        let Some(first) = self.jitter.first() else {
            return self.rest_in_silence(missing);
        };
        let Content::Audio { samples, .. } = first.content else {
            return self.jitter.remove(first.seq);
        };
        self.samples = samples;
        let early = self.target_wait() - self.waited(now, first.position);
        if early > 0 {
            return self.rest_in_silence(missing);
        }
        if self.jitter.len() > 1 && (-early >= i64::from(samples) || self.is_overdue(now, first.position)) {
            self.counters.discarded += 1;
            return self.jitter.remove(first.seq);
        }
        if self.jitter.len() > 1 {
            self.skip = self.superfluous(-early + self.target_wait() + self.rest()) as usize;
        }
        if self.merge.is_empty() {
            self.merge.resize(MERGE, 0).expect("the capacity is MERGE");
        }
        self.delays.clear();
        self.state = State::Playing { next: first.seq, at: first.position };
    }

    /// Silence, into which what was being played fades first.
    fn rest_in_silence(&mut self, missing: usize) {
        let samples = missing.max(self.merge.len());
        let silence = self.fifo.room(samples);
        silence.fill(0);
        stretch::merge(silence, &self.merge);
        self.merge.clear();
    }

    fn on_present(&mut self, now: i64, meta: Meta, at: Timestamp) {
        let (seq, next) = (meta.seq, meta.seq.next());
        let Content::Audio { samples, begins, .. } = meta.content else {
            self.jitter.remove(seq);
            self.state = State::Playing { next, at };
            return;
        };
        let wait = self.waited(now, meta.position);
        if self.jitter.len() > 1 && self.is_overdue(now, meta.position) {
            self.fade_from_present();
            self.state = State::Waiting;
            return;
        }
        let hole = meta.position.after(at);
        let pause = begins || hole > MAX_HOLE;
        let due = wait >= self.target_wait();
        if hole >= UNIT as i64 && !(due && (pause || self.can_spare(hole, wait))) {
            // The peer left time out. Its pause is ours, except where we would rather be rid of some delay.
            self.state = State::Concealing { next: seq, at, filled: 0 };
            return self.fill(seq, at, 0, PIECE.min(hole as usize / UNIT * UNIT));
        }
        let n = self.decode(seq, samples);
        self.jitter.remove(seq);
        self.note_played(meta, n);
        self.delays.write(wait + self.rest());
        self.state = State::Playing { next, at: meta.position.shifted(n as i64) };
        self.deliver(n);
    }

    /// `next` is missing, `later` is there: it is lost, or will be late.
    fn on_missing(&mut self, now: i64, next: Seq, at: Timestamp, later: Meta) {
        let lost = later.seq.after(next);
        let gap = later.position.after(at);
        self.note_loss(1.0);
        if gap < UNIT as i64 || gap > 4 * MAX_HOLE {
            self.fade_from_present();
            self.state = State::Playing { next: later.seq, at: later.position };
            return;
        }
        let length = (gap / lost).clamp(UNIT as i64, toc::MAX_SAMPLES as i64) / UNIT as i64 * UNIT as i64;
        let onwards = State::Playing { next: next.next(), at: at.shifted(length) };
        if self.can_spare(length, self.waited(now, at)) {
            self.fade_from_present();
            self.state = onwards;
            return;
        }
        if lost == 1 && (self.recover(later, length as usize) || self.borrow(later, length as usize)) {
            self.state = onwards;
            return self.deliver(length as usize);
        }
        self.conceal(length as usize);
        self.state = onwards;
    }

    /// Something came while its time was being filled.
    fn on_resumed(&mut self, now: i64, next: Seq, at: Timestamp, filled: i64, meta: Meta) {
        let Content::Audio { samples, .. } = meta.content else {
            self.jitter.remove(meta.seq);
            self.jitter.forget_before(meta.seq);
            self.state = State::Concealing { next: meta.seq.next().max(next), at, filled };
            return;
        };
        let here = at.shifted(filled);
        let target = self.target_wait();
        let ahead = meta.position.after(here);
        // The frame before it may be recovered, if most of it has not been played yet.
        let lost = meta.seq.after(next);
        let before = meta.position.shifted(-i64::from(samples));
        let recoverable = lost > 0 && (i64::from(samples) / 2..i64::from(samples) + UNIT as i64).contains(&ahead);
        if recoverable && self.recover(meta, samples as usize) {
            self.note_losses(lost);
            self.skip =
                self.superfluous(self.waited(now, before) + self.rest()).clamp(0, here.after(before).max(0)) as usize;
            self.fade_from_present();
            self.state = State::Playing { next: meta.seq, at: meta.position };
            return self.deliver(samples as usize);
        }
        if ahead >= UNIT as i64 && self.waited(now, meta.position) < target {
            let until = if ahead > i64::from(samples) { ahead - i64::from(samples) } else { ahead } as usize;
            return self.fill(next, at, filled, PIECE.min(until.next_multiple_of(UNIT)));
        }
        self.note_losses(lost);
        // What its concealment has played of it, it need not play again; unless we want to be later.
        self.skip = self.superfluous(self.waited(now, meta.position) + self.rest()).clamp(0, (-ahead).max(0)) as usize;
        self.fade_from_present();
        // Where exactly its hole was filled, the packets before it tell the delay of those after it.
        if ahead + self.skip as i64 != 0 {
            self.delays.clear();
        }
        self.state = State::Playing { next: meta.seq, at: meta.position };
    }

    fn fill(&mut self, next: Seq, at: Timestamp, filled: i64, samples: usize) {
        self.conceal(samples);
        self.state = State::Concealing { next, at, filled: filled + samples as i64 };
    }

    /// Puts the first `n` samples of the frame into the FIFO: less what has been played, merged, and stretched if the
    /// delay asks for it.
    fn deliver(&mut self, n: usize) {
        let skip = self.skip.min(n);
        self.skip -= skip;
        let frame = &mut self.frame[skip..];
        let mut n = n - skip;
        if n == 0 {
            return;
        }
        stretch::merge(&mut frame[..n], &self.merge);
        self.merge.clear();
        let (change, alike) = self.adjustment();
        if change < 0 {
            let cut = stretch::shorten(&mut self.frame[skip..skip + n], -change as usize, alike);
            self.counters.shortened_samples += cut as u64;
            n -= cut;
            self.on_adjusted(cut);
        } else if change > 0 {
            let put = stretch::lengthen(&mut self.frame[skip..], n, change as usize, alike);
            self.counters.lengthened_samples += put as u64;
            n += put;
            self.on_adjusted(put);
        }
        self.fifo.push(&self.frame[skip..skip + n]);
    }
}
