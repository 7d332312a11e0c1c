//! What the loudspeaker plays next: a packet, its repetition inside the next one (FEC), an invention that fades into the
//! next one, an invention alone, or silence; and how the delay is kept where [`delay`](super::delay) wants it.
//!
//! ```text
//!              due                         nothing there
//!   Waiting ─────────▶ Playing ───────────────────────────▶ Concealing
//!      ▲                  ▲  └─ a gap, later packets there:     │    │
//!      │                  │     FEC, the next, or concealment    │    │
//!      │                  └──── a packet came, and is due ──────┘    │
//!      └───────────────────── faded out ◀────────────────────────────┘
//!   Unheard: there is no loudspeaker; `Waiting` once it asks
//! ```
//!
//! Each packet has a position in the peer's time ([`timeline`](super::timeline)). A packet's *wait* is how long it has
//! been here when it is decoded, had it travelled as fast as the fastest. That is all the delay this buffer adds, and
//! the one thing that is controlled: it shall be the target, and a little more because the card asks in periods.
//!
//! * The wait shrinks by cutting periods out of the waveform, by not filling gaps, and after an interruption, which has
//!   been heard anyway, at once: what was invented for a packet that came late is not played a second time.
//! * The wait grows when a packet is late (the invention makes room), and by putting periods in.
//! * A wait beyond the maximum is cut off at once.
//! * That the peer's clock and the card's run apart is no reason for cuts: both are measured against ours
//!   ([`drift`](super::drift)), and what is played is resampled by their difference ([`resample`](super::resample)),
//!   and by a little more or less while the wait is not yet where it should be.

use crate::config::Jitter;
use crate::media::codec::Decoder;
use crate::media::delay::{self, Delay};
use crate::media::drift::{self, Rate};
use crate::media::fifo::Fifo;
use crate::media::jitter::{Content, Inserted, JitterBuffer, MAX_PAYLOAD, Meta};
use crate::media::peer_clock::PeerClock;
use crate::media::redundancy::{self, Earlier};
use crate::media::resample::{MAX_OUTPUT, Resampler};
use crate::media::stretch::{self, Similarity};
use crate::media::timeline::{Place, Timeline};
use crate::media::toc::{self, Toc};
use crate::rtp::red::Redundant;
use crate::rtp::seq::{Seq, Timestamp};
use crate::time::{Span, Time};
use heapless::{HistoryBuf, Vec};

/// Concealment is asked for in such pieces, 10 ms; libopus takes multiples of 2.5 ms.
const PIECE: usize = 480;
const UNIT: usize = 120;
/// An invention is played in full for 40 ms, then fades for 80 ms; a pause of a DTX sender is filled for a second.
const FADE_AFTER: usize = 1_920;
const FADE_AFTER_DTX: usize = 48_000;
const FADE: usize = 3_840;
/// A hole in time, without a hole in the sequence, is played as one up to 120 ms; what is longer was a pause.
const MAX_HOLE: i64 = 5_760;
/// 5 ms in which one signal becomes another.
const MERGE: usize = 240;
/// Adjustments smaller than this are not worth a cut: 5 ms.
const LEAST_CUT: i64 = 240;
/// The delay is cut when it is this much more than enough (2 ms), so that a target that wanders is not followed; and
/// lengthened when it is this much less (1 ms).
const HYSTERESIS: i64 = 96;
const TOLERANCE: i64 = 24;
/// Delays of so many packets are enough to judge by; of so many, to judge strictly.
const FEW: usize = 10;
const MANY: usize = 100;
/// Excess from which cuts need not be clean (40 ms), and from which any will do (100 ms).
const LARGE: i64 = 1_920;
const HUGE: i64 = 4_800;
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
const FRAME: usize = toc::MAX_SAMPLES + 1_440;
/// The longest packet, the longest insertion, one more packet.
const FIFO: usize = 16_384;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Arrived after its time.
    pub late: u64,
    pub undecodable: u64,
    /// Frames recovered from the packet after them.
    pub fec: u64,
    /// Frames played from a copy, because the packet itself never came, or not in time.
    pub red: u64,
    /// Samples invented by the decoder.
    pub concealed_samples: u64,
    /// Samples of sound the decoder made of packets.
    pub decoded_samples: u64,
    /// Samples cut out, and put in, to keep the delay.
    pub shortened_samples: u64,
    pub lengthened_samples: u64,
    /// Packets thrown away because they waited too long.
    pub discarded: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    Kept,
    Late,
    Duplicate,
    /// Not an Opus packet, or larger than one can be.
    Invalid,
}

pub struct Playout<D> {
    decoder: D,
    jitter: JitterBuffer,
    timeline: Timeline,
    delay: Delay,
    bounds: Bounds,
    state: State,
    fifo: Fifo<FIFO>,
    frame: Box<[i16; FRAME]>,
    /// What would have been played, had it gone on as before.
    gone_on: Box<[i16; toc::MAX_SAMPLES]>,
    /// What the next decoded samples fade in from; empty: nothing.
    merge: Vec<i16, MERGE>,
    /// Samples of the coming packets that their concealment has already played.
    skip: usize,
    /// Samples invented since the last packet, and how many of these are not faded.
    invented: usize,
    fade_after: usize,
    /// Delays of the last packets: what each waited, and what was decoded before it.
    delays: HistoryBuf<i64, MANY>,
    next_wait: NextWait,
    loss: f32,
    resampler: Resampler,
    /// The peer's clock, and that of the loudspeaker with the samples it has asked for.
    peer: PeerClock,
    card: Rate,
    asked: i64,
    /// Length of the last packet, and of the last request.
    samples: u32,
    request: Request,
    counters: Counters,
}

/// How the card asks: a packet is decoded at the first request that the FIFO cannot fill.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// Samples asked for at once, at most.
    period: i64,
    /// In what steps the moments of decoding move against the packets: the greatest common divisor of both, if the
    /// card asks regularly.
    step: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nobody could hear: packets tell the time, and are not kept.
    Unheard,
    /// Nothing is being played.
    Waiting,
    /// `next` is the packet to decode, `at` where the one before it ended.
    Playing { next: Seq, at: Timestamp },
    /// `next` and all after it are missing; the time since `at` is being filled.
    Concealing { next: Seq, at: Timestamp, filled: i64 },
}

/// Whether packets wait one packet time longer, so that the next one is there when one is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NextWait {
    No,
    /// So many packets ago it was seen to be worth it.
    Yes {
        ago: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    min: i64,
    max: i64,
}

impl<D: Decoder> Playout<D> {
    pub fn new(jitter: &Jitter, decoder: D) -> Playout<D> {
        let min = delay::span_in_samples(jitter.min);
        Playout {
            decoder,
            jitter: JitterBuffer::new(),
            timeline: Timeline::default(),
            delay: Delay::new(),
            bounds: Bounds { min, max: delay::span_in_samples(jitter.max).max(min) },
            state: State::Waiting,
            fifo: Fifo::new(),
            frame: Box::new([0; FRAME]),
            gone_on: Box::new([0; toc::MAX_SAMPLES]),
            merge: Vec::new(),
            skip: 0,
            invented: 0,
            fade_after: FADE_AFTER,
            delays: HistoryBuf::new(),
            next_wait: NextWait::No,
            loss: 0.0,
            resampler: Resampler::new(),
            peer: PeerClock::default(),
            card: Rate::new(),
            asked: 0,
            samples: 960,
            request: Request { period: PIECE as i64, step: PIECE as i64 },
            counters: Counters::default(),
        }
    }

    /// A new call: nothing is known.
    pub fn reset(&mut self) {
        self.restart();
        self.delay = Delay::new();
        self.card.restart();
        self.fifo.clear();
        self.next_wait = NextWait::No;
        self.loss = 0.0;
        self.counters = Counters::default();
    }

    /// Another source in the same call: what waits is dropped, what is decoded is played.
    pub fn restart(&mut self) {
        self.jitter.clear();
        self.timeline.restart();
        self.delay.restart();
        self.peer.restart();
        self.fade_from_present();
        self.state = State::Waiting;
        self.skip = 0;
        // A decoder that cannot forget goes on as it was.
        let _ = self.decoder.reset();
    }

    /// Keeps one packet of the present source, seen for the first time, and what it has of those that are missing.
    pub fn insert(
        &mut self,
        now: Time,
        seq: Seq,
        timestamp: Timestamp,
        marker: bool,
        sound: &Redundant<'_>,
    ) -> Arrival {
        let payload = sound.payload;
        let Some(toc) = toc::read(payload).filter(|_| payload.len() <= MAX_PAYLOAD) else {
            return Arrival::Invalid;
        };
        let now = delay::in_samples(now);
        let Place { position, slip, settled } = self.timeline.place(seq, timestamp, toc.samples, now);
        self.delay.on_settled(settled);
        self.delay.on_packet(now, position.ticks() - slip);
        self.peer.shift_stamps(settled);
        self.peer.on_packet(now, seq, toc.samples, position.ticks() - slip);
        let mut mends_previous = toc.repeats_previous;
        for copy in redundancy::earlier(sound) {
            mends_previous = true;
            self.keep_copy(seq, position, &copy);
        }
        self.judge_next(mends_previous);
        let content = Content::Audio {
            samples: toc.samples,
            repeats_previous: toc.repeats_previous,
            begins: marker,
            is_copy: false,
        };
        self.keep(Meta { seq, position, content }, payload)
    }

    /// Keeps a copy that came in the packet at `position`, if the one it is of is missed. It is no arrival: nothing is learnt
    /// from it, and nothing counted.
    fn keep_copy(&mut self, seq: Seq, position: Timestamp, copy: &Earlier<'_>) {
        let of = seq.before(copy.back);
        let is_missed = match self.state {
            State::Unheard => false,
            // What came before the first packet was never waited for.
            State::Waiting => self.jitter.first().is_some_and(|first| first.seq < of),
            State::Playing { next, .. } | State::Concealing { next, .. } => of >= next,
        };
        if is_missed {
            let Toc { samples, repeats_previous } = copy.toc;
            let content = Content::Audio { samples, repeats_previous, begins: false, is_copy: true };
            let position = position.shifted(-i64::from(copy.behind));
            // Whether it was here already is all the same.
            let _ = self.jitter.insert(Meta { seq: of, position, content }, copy.payload);
        }
    }

    /// Notes a packet that is no audio, so that its number is not missed.
    pub fn insert_event(&mut self, now: Time, seq: Seq, timestamp: Timestamp) -> Arrival {
        let Place { position, settled, .. } = self.timeline.place(seq, timestamp, 0, delay::in_samples(now));
        self.delay.on_settled(settled);
        self.peer.shift_stamps(settled);
        self.keep(Meta { seq, position, content: Content::Event }, &[])
    }

    fn keep(&mut self, meta: Meta, payload: &[u8]) -> Arrival {
        let late = match self.state {
            State::Unheard => return Arrival::Kept,
            State::Waiting => false,
            State::Playing { next, .. } | State::Concealing { next, .. } => meta.seq < next,
        };
        if late {
            self.counters.late += 1;
            // It was missed, and counted as lost: the next one would not have been in time either.
            self.loss = (self.loss - LOSS_GAIN).max(0.0);
            return Arrival::Late;
        }
        match self.jitter.insert(meta, payload) {
            Inserted::Kept => Arrival::Kept,
            Inserted::Duplicate => Arrival::Duplicate,
            Inserted::TooOld => Arrival::Late,
            Inserted::TooLong => Arrival::Invalid,
        }
    }

    /// Until the next [`Playout::play`] there is no loudspeaker: nothing is decoded, but how late packets come goes on being
    /// learnt, so that sound is back at once.
    pub fn pause(&mut self) {
        if self.state == State::Unheard {
            return;
        }
        self.jitter.clear();
        self.fifo.clear();
        self.merge.clear();
        self.delays.clear();
        (self.skip, self.invented) = (0, 0);
        // What it will have asked for then is not the time that has passed.
        self.card.restart();
        self.state = State::Unheard;
    }

    /// Fills `out`.
    pub fn play(&mut self, now: Time, out: &mut [i16]) {
        if self.state == State::Unheard {
            self.state = State::Waiting;
            // A decoder that cannot forget goes on as it was.
            let _ = self.decoder.reset();
        }
        let now = delay::in_samples(now);
        self.card.observe(now, self.asked);
        self.asked += out.len() as i64;
        self.steer();
        self.note_request(out.len() as i64);
        for chunk in out.chunks_mut(MAX_OUTPUT) {
            let needed = self.resampler.needed(chunk.len());
            while self.fifo.len() < needed {
                let missing = needed - self.fifo.len();
                self.produce(now, missing);
            }
            self.resampler.process(self.fifo.pop(needed), chunk);
        }
    }

    /// How long the packets are that come.
    pub fn packet_time(&self) -> Span {
        Span::from_micros(u64::from(self.samples) * 125 / 6)
    }

    /// What [`Playout::clocks`] was in an earlier life of the process.
    pub fn recall_clocks(&mut self, peer: Option<f64>, card: Option<f64>) {
        peer.into_iter().for_each(|ppm| self.peer.recall(ppm));
        card.into_iter().for_each(|ppm| self.card.recall(ppm));
    }

    /// How much faster than ours the clocks are, in ppm, as far as known: the peer's and the loudspeaker's.
    pub fn clocks(&self) -> (Option<f64>, Option<f64>) {
        (self.peer_clock().ppm(), self.card.ppm())
    }

    /// The clock of what comes.
    pub fn peer_clock(&self) -> &Rate {
        self.peer.rate()
    }

    /// How much faster than it came what came is played, in ppm; 0: as it came.
    pub fn resampled_ppm(&self) -> f64 {
        self.resampler.ppm()
    }

    /// Lets the resampler follow the clocks, and bring the wait to where it shall be.
    fn steer(&mut self) {
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

    /// What this buffer adds to the delay at present.
    pub fn delay(&self, now: Time) -> Span {
        let at = match self.state {
            State::Unheard | State::Waiting => return Span::ZERO,
            State::Playing { at, .. } => at,
            State::Concealing { at, filled, .. } => at.shifted(filled),
        };
        let waited = self.delay.waited(delay::in_samples(now), at.ticks()) + self.fifo.len() as i64;
        Span::from_micros((waited.max(0) * 125 / 6) as u64)
    }

    pub fn target(&self) -> Span {
        Span::from_micros((self.target_wait() * 125 / 6) as u64)
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Either fills the FIFO by at least one sample, or consumes a packet, or leaves `Playing`.
    fn produce(&mut self, now: i64, missing: usize) {
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
            return self.fifo.push_silence(missing);
        };
        let Content::Audio { samples, .. } = first.content else {
            return self.jitter.remove(first.seq);
        };
        let early = self.target_wait() - self.waited(now, first.position);
        if early > 0 {
            return self.fifo.push_silence(missing);
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
        if hole >= UNIT as i64 && !(due && (pause || self.superfluous(wait + self.rest() - HYSTERESIS) >= hole)) {
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
        if self.superfluous(self.waited(now, at) + self.rest() - HYSTERESIS) >= length {
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
        self.delays.clear();
        self.state = State::Playing { next: meta.seq, at: meta.position };
    }

    fn fill(&mut self, next: Seq, at: Timestamp, filled: i64, samples: usize) {
        self.conceal(samples);
        self.state = State::Concealing { next, at, filled: filled + samples as i64 };
    }

    /// Decodes `seq` into the frame; if it cannot be decoded, invents it.
    fn decode(&mut self, seq: Seq, samples: u32) -> usize {
        let packet = self.jitter.get(seq);
        let decoded = packet.and_then(|(_, payload)| {
            self.fade_after = if payload.len() <= 2 { FADE_AFTER_DTX } else { FADE_AFTER };
            self.decoder.decode(payload, &mut self.frame[..toc::MAX_SAMPLES]).ok()
        });
        match decoded.filter(|n| (1..=toc::MAX_SAMPLES).contains(n)) {
            Some(n) => {
                self.samples = n as u32;
                self.invented = 0;
                self.counters.decoded_samples += n as u64;
                n
            }
            None => {
                self.counters.undecodable += 1;
                let n = (samples as usize).min(toc::MAX_SAMPLES);
                invent(&mut self.decoder, &mut self.frame[..n]);
                n
            }
        }
    }

    /// Recovers the `samples` before `meta` into the frame, if it repeats them.
    fn recover(&mut self, meta: Meta, samples: usize) -> bool {
        let Some((Meta { content: Content::Audio { repeats_previous: true, .. }, .. }, payload)) =
            self.jitter.get(meta.seq)
        else {
            return false;
        };
        let recovered = self.decoder.decode_fec(payload, &mut self.frame[..samples]) == Ok(samples);
        if recovered {
            self.counters.fec += 1;
            self.invented = 0;
        }
        recovered
    }

    /// Lets what would have gone on fade into `meta`, which comes next, decoded in the place of the one before it, and
    /// later once more in its own. An invention out of the past is right at first, what comes next is right at last; and the
    /// decoder then has a past to go on from that is of its kind. For a decoder goes wrong not only in the hole, but for
    /// about three packets after it.
    fn borrow(&mut self, meta: Meta, samples: usize) -> bool {
        let Some((Meta { content: Content::Audio { samples: same, .. }, .. }, payload)) = self.jitter.get(meta.seq)
        else {
            return false;
        };
        if same as usize != samples {
            return false;
        }
        let gone_on = &mut self.gone_on[..samples];
        self.decoder.remember();
        invent(&mut self.decoder, gone_on);
        fade(gone_on, self.invented, self.fade_after);
        self.decoder.recall();
        let borrowed = self.decoder.decode(payload, &mut self.frame[..samples]) == Ok(samples);
        if borrowed {
            stretch::merge(&mut self.frame[..samples], gone_on);
            self.counters.concealed_samples += samples as u64;
            self.invented = 0;
        }
        borrowed
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

    /// Samples to cut out (negative) or put in, and how clean the cut has to be.
    fn adjustment(&self) -> (i64, Similarity) {
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
    fn superfluous(&self, delay: i64) -> i64 {
        let step = self.request.step;
        match self.to_spare(delay) {
            spare if spare < 0 => 0,
            spare => spare / step * step + self.rest() % step,
        }
    }

    /// Samples decoded and not yet played.
    fn rest(&self) -> i64 {
        self.fifo.len() as i64
    }

    fn note_request(&mut self, asked: i64) {
        let asked = asked.clamp(1, 4_800);
        let regular = asked == self.request.period && self.resampler.ppm() == 0.0;
        let step = if regular { gcd(asked, i64::from(self.samples)) } else { 1 };
        // Who asks for less once may ask for more again.
        let period = if asked < self.request.period { self.request.period - 1 } else { asked };
        self.request = Request { period, step };
    }

    /// The delays seen before an adjustment say nothing about those after it.
    fn on_adjusted(&mut self, samples: usize) {
        if samples > 0 {
            self.delays.clear();
        }
    }

    /// It waits longer than the configuration allows.
    fn is_overdue(&self, now: i64, position: Timestamp) -> bool {
        self.waited(now, position) > self.bounds.max + self.request.period
    }

    fn waited(&self, now: i64, position: Timestamp) -> i64 {
        self.delay.waited(now, position.ticks())
    }

    /// The configured bounds include the packet itself: a buffer of 20 ms holds one packet of 20 ms.
    fn target_wait(&self) -> i64 {
        let packet = i64::from(self.samples);
        let next = match self.next_wait {
            NextWait::No => 0,
            NextWait::Yes { .. } => packet + TOLERANCE,
        };
        let least = (self.bounds.min - packet).max(0);
        (self.delay.target() + next).clamp(least, self.bounds.max.max(least))
    }

    /// Waiting longer pays while packets are lost, and more so if they are repeated: by FEC, or as a copy.
    fn judge_next(&mut self, repeats_previous: bool) {
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
    fn note_played(&mut self, meta: Meta, samples: usize) {
        self.note_loss(if meta.is_copy() { 1.0 } else { 0.0 });
        self.counters.red += u64::from(meta.is_copy() && self.skip < samples);
    }

    fn note_losses(&mut self, lost: i64) {
        for _ in 0..lost.min(25) {
            self.note_loss(1.0);
        }
    }

    fn note_loss(&mut self, lost: f32) {
        self.loss += (lost - self.loss) * LOSS_GAIN;
    }

    /// Puts `samples` of invention into the FIFO.
    fn conceal(&mut self, samples: usize) {
        let n = samples.min(toc::MAX_SAMPLES);
        let frame = &mut self.frame[..n];
        if self.invented < self.fade_after + FADE {
            invent(&mut self.decoder, frame);
            fade(frame, self.invented, self.fade_after);
        } else {
            frame.fill(0);
        }
        stretch::merge(frame, &self.merge);
        self.merge.clear();
        self.invented += n;
        self.counters.concealed_samples += n as u64;
        self.fifo.push(&self.frame[..n]);
    }

    /// What comes next does not continue what is being played: let it fade in from what would have come.
    fn fade_from_present(&mut self) {
        if !self.merge.is_empty() || matches!(self.state, State::Unheard | State::Waiting) {
            return;
        }
        self.merge.resize(MERGE, 0).expect("the capacity is MERGE");
        if self.invented < self.fade_after + FADE {
            invent(&mut self.decoder, &mut self.merge);
            fade(&mut self.merge, self.invented, self.fade_after);
        }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Concealment cannot fail for the listener: without the decoder's help it is silence.
fn invent(decoder: &mut impl Decoder, pcm: &mut [i16]) {
    if decoder.conceal(pcm) != Ok(pcm.len()) {
        pcm.fill(0);
    }
}

/// Fades samples of which `before` have been played already.
fn fade(samples: &mut [i16], before: usize, after: usize) {
    if before + samples.len() <= after {
        return;
    }
    for (i, sample) in samples.iter_mut().enumerate() {
        let faded = (before + i).saturating_sub(after).min(FADE);
        *sample = (i32::from(*sample) * (FADE - faded) as i32 / FADE as i32) as i16;
    }
}
