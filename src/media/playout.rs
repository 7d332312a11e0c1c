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

mod frame;
mod next;
mod wait;

use crate::config::Jitter;
use crate::media::codec::Decoder;
use crate::media::delay::{self, Delay};
use crate::media::drift::Rate;
use crate::media::fifo::Fifo;
use crate::media::jitter::{Content, Inserted, JitterBuffer, MAX_PAYLOAD, Meta};
use crate::media::peer_clock::PeerClock;
use crate::media::redundancy::{self, Earlier};
use crate::media::resample::{MAX_OUTPUT, Resampler};
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
/// Delays of so many packets are enough to judge by; of so many, to judge strictly.
const FEW: usize = 10;
const MANY: usize = 100;
/// As many numbers may still come, to the statistics of bursts.
const MENDED: usize = 64;
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
    /// Of both, those whose packet came after all: they were late, not lost.
    pub mended_late: u64,
    /// Samples invented by the decoder.
    pub concealed_samples: u64,
    /// Samples of sound the decoder made of packets.
    pub decoded_samples: u64,
    /// Samples cut out, and put in, to keep the delay.
    pub shortened_samples: u64,
    pub lengthened_samples: u64,
    /// Packets thrown away because they waited too long, or more came than there is room for.
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
    /// The last packets that were played from another one.
    mended: HistoryBuf<Seq, MENDED>,
    resampler: Resampler,
    /// The peer's clock, and that of the loudspeaker with the samples it has asked for.
    peer: PeerClock,
    card: Rate,
    asked: i64,
    /// Length of the last packet, or of the first that waits, and of the last request.
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
        let bounds = Bounds { min, max: delay::span_in_samples(jitter.max).max(min) };
        Playout {
            decoder,
            jitter: JitterBuffer::new(),
            timeline: Timeline::default(),
            delay: Delay::new(bounds.max),
            bounds,
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
            mended: HistoryBuf::new(),
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
        self.delay = Delay::new(self.bounds.max);
        self.card.restart();
        self.fifo.clear();
        self.merge.clear();
        self.resampler.restart();
        self.next_wait = NextWait::No;
        self.loss = 0.0;
        self.counters = Counters::default();
    }

    /// Another source in the same call: what waits is dropped, what is decoded is played, and fades out.
    pub fn restart(&mut self) {
        self.jitter.clear();
        self.timeline.restart();
        self.delay.restart();
        self.peer.restart();
        self.mended.clear();
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
            self.counters.mended_late += u64::from(self.mended.contains(&meta.seq));
            self.note_late();
            return Arrival::Late;
        }
        match self.jitter.insert(meta, payload) {
            Inserted::Kept => Arrival::Kept,
            Inserted::InPlaceOfOlder => {
                self.counters.discarded += 1;
                Arrival::Kept
            }
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
        delay::samples_last(self.samples.into())
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

    /// What this buffer adds to the delay at present.
    pub fn delay(&self, now: Time) -> Span {
        let at = match self.state {
            State::Unheard | State::Waiting => return Span::ZERO,
            State::Playing { at, .. } => at,
            State::Concealing { at, filled, .. } => at.shifted(filled),
        };
        let waited = self.delay.waited(delay::in_samples(now), at.ticks()) + self.fifo.len() as i64;
        delay::samples_last(waited.max(0) as u64)
    }

    pub fn target(&self) -> Span {
        delay::samples_last(self.target_wait() as u64)
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }
}
