//! A peer, a bad line and a listener, on virtual time: every packet says where in time its sound was spoken, every
//! sample says the same, so that what is heard can be placed to a fraction of a millisecond.

#![allow(dead_code)] // Each test binary uses its own part.

pub(crate) mod booth;

use qss_endpoint::config::{Config, Jitter};
use qss_endpoint::dtmf::TelephoneEvent;
use qss_endpoint::media::codec::{Band, CodecError, Decoder, Encoder};
use qss_endpoint::media::command::Event;
pub(crate) use qss_endpoint::media::command::StreamParams;
use qss_endpoint::media::stream::{Settings, Stream, Wire};
use qss_endpoint::random::Rng;
use qss_endpoint::rtp::rtcp::{self, CNAME_LEN, Farewell, MAX_LEN, ReportBlock};
use qss_endpoint::rtp::xr::{Asked, Report};
use qss_endpoint::time::{Span, Time};
use std::collections::VecDeque;
use std::net::SocketAddr;

pub(crate) const FRAME: i64 = 960;
pub(crate) const OPUS: u8 = 96;

pub(crate) fn secs(s: u64) -> Span {
    Span::from_secs(s)
}

pub(crate) fn ms(ms: u64) -> Span {
    Span::from_millis(ms)
}

pub(crate) fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4000))
}

pub(crate) fn peer_rtcp() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4001))
}

pub(crate) fn params() -> StreamParams {
    StreamParams {
        call: 1,
        remote_rtp: peer(),
        remote_rtcp: peer_rtcp(),
        rtcp_mux: false,
        send_payload_type: OPUS,
        receive_payload_type: OPUS,
        telephone_event: Some(TelephoneEvent { send_payload_type: 101, receive_payload_type: 101, clock_rate: 48_000 }),
        redundancy: None,
        ssrc: 0x1111_1111,
        ptime: Span::from_millis(20),
        max_ptime: Span::from_millis(60),
        bitrate: 32_000,
        cap: 0,
        follows: false,
        send: true,
        receive: true,
        srtp: None,
        extended: Asked::NOTHING,
    }
}

pub(crate) fn settings() -> Settings {
    let config = Config::default();
    // No margin: what these tests bound is the delay that the buffer adds by itself.
    let jitter = Jitter { min: Span::from_millis(20), ..config.jitter };
    Settings { jitter, ..Settings::of(&Config::default()) }
}

/// With the margin of the shipped configuration.
pub(crate) fn shipped() -> Settings {
    Settings { jitter: Config::default().jitter, ..settings() }
}

// ---- sound that knows its time ----

/// The sample spoken at `position`: a slow ramp, so that neighbours are alike and each is different.
pub(crate) fn spoken(position: i64) -> i16 {
    (1_000 + (position / 10).rem_euclid(30_000)) as i16
}

/// When `samples` were spoken, if they are a clean piece of the ramp, spoken at most 5 s before `now`.
pub(crate) fn spoken_at(samples: &[i16], now: i64) -> Option<i64> {
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let rise = i64::from(last) - i64::from(first);
    if first < 1_000 || (rise - samples.len() as i64 / 10).abs() > 1 {
        return None;
    }
    let phase = (i64::from(first) - 1_000) * 10;
    let age = (now - phase).rem_euclid(300_000);
    (age < 240_000).then_some(now - age)
}

/// Opus as far as its first byte goes: 20 ms SILK, with or without LBRR, then the position of its first sample.
pub(crate) fn payload(position: i64, fec: bool) -> [u8; 10] {
    let mut payload = [0; 10];
    payload[0] = 9 << 3;
    payload[1] = if fec { 0x40 } else { 0 };
    payload[2..].copy_from_slice(&position.to_be_bytes());
    payload
}

pub(crate) struct Ear;

impl Ear {
    pub(crate) fn position(payload: &[u8]) -> Result<i64, CodecError> {
        let bytes = payload.get(2..10).and_then(|b| b.try_into().ok()).ok_or(CodecError(-4))?;
        Ok(i64::from_be_bytes(bytes))
    }
}

impl Decoder for Ear {
    fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        let from = Ear::position(payload)?;
        for (i, sample) in pcm[..FRAME as usize].iter_mut().enumerate() {
            *sample = spoken(from.wrapping_add(i as i64));
        }
        Ok(FRAME as usize)
    }
    fn decode_fec(&mut self, next_payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        let from = Ear::position(next_payload)? - pcm.len() as i64;
        for (i, sample) in pcm.iter_mut().enumerate() {
            *sample = spoken(from + i as i64);
        }
        Ok(pcm.len())
    }
    /// Silence: not a piece of the ramp.
    fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, CodecError> {
        assert_eq!(pcm.len() % 120, 0, "libopus conceals in units of 2.5 ms");
        pcm.fill(0);
        Ok(pcm.len())
    }
    fn remember(&mut self) {}
    fn recall(&mut self) {}
    fn reset(&mut self) -> Result<(), CodecError> {
        Ok(())
    }
}

/// Decodes into something like a voice, which is not alike everywhere: a gliding pitch with eight harmonics, hisses
/// without a pitch, pauses; each sample a function of its position alone.
#[derive(Default)]
pub(crate) struct VoiceEar {
    concealed: i64,
    remembered: i64,
}

impl VoiceEar {
    pub(crate) fn sample(position: i64) -> i16 {
        let t = position as f64 / 48_000.0;
        let tau = std::f64::consts::TAU;
        // 110 to 190 Hz, up and down each 2.3 s: the phase is the integral.
        let phase = tau * (150.0 * t) - 40.0 * 2.3 * (tau * t / 2.3).cos();
        // Syllables of 230 ms: of seven, one is a hiss and one a pause.
        let (syllable, within) = ((t / 0.23) as i64, (t / 0.23).fract());
        let loudness = (std::f64::consts::PI * within).sin();
        let sound = match syllable.rem_euclid(7) {
            2 => {
                let mixed = (position as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f64 / f64::from(1 << 24) - 0.5
            }
            5 => 0.0,
            _ => (1..=8).map(|n| (phase * f64::from(n)).sin() / f64::from(n)).sum::<f64>() * 0.5,
        };
        (8_000.0 * loudness * sound) as i16
    }
}

impl Decoder for VoiceEar {
    fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        let from = Ear::position(payload)?;
        for (i, sample) in pcm[..FRAME as usize].iter_mut().enumerate() {
            *sample = VoiceEar::sample(from.wrapping_add(i as i64));
        }
        self.concealed = from + FRAME;
        Ok(FRAME as usize)
    }
    fn decode_fec(&mut self, _next_payload: &[u8], _pcm: &mut [i16]) -> Result<usize, CodecError> {
        Err(CodecError(-1))
    }
    /// A perfect invention: what would have come.
    fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, CodecError> {
        for sample in pcm.iter_mut() {
            *sample = VoiceEar::sample(self.concealed);
            self.concealed += 1;
        }
        Ok(pcm.len())
    }
    fn remember(&mut self) {
        self.remembered = self.concealed;
    }
    fn recall(&mut self) {
        self.concealed = self.remembered;
    }
    fn reset(&mut self) -> Result<(), CodecError> {
        Ok(())
    }
}

/// An encoder of variable rate: frames of half to one and a half times the average, or what the slice allows.
pub(crate) struct Mouth {
    pub(crate) rng: Rng,
    pub(crate) bitrate: u32,
    pub(crate) expected_loss: u8,
    pub(crate) band: Band,
    pub(crate) complexity: u8,
    /// How often it was asked, and about what at last.
    pub(crate) packets: u64,
    pub(crate) heard: Vec<i16>,
}

impl Mouth {
    pub(crate) fn new() -> Mouth {
        let rng = Rng::from_u64(5);
        Mouth {
            rng,
            bitrate: 32_000,
            expected_loss: 0,
            band: Band::Full,
            complexity: 10,
            packets: 0,
            // What the test double keeps is no allocation of the stream.
            heard: Vec::with_capacity(48_000 * 60 / 1_000),
        }
    }
}

impl Encoder for Mouth {
    fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> Result<usize, CodecError> {
        self.packets += 1;
        self.heard.clear();
        self.heard.extend(pcm);
        let average = self.bitrate as usize / 8 * pcm.len() / 48_000;
        let sound = pcm.iter().any(|s| *s != 0);
        let voiced = (average / 2 + self.rng.below(average as u64 + 1) as usize).max(2);
        let len = if sound { voiced } else { 3 }.min(packet.len());
        packet[..len].fill(0);
        packet[0] = 31 << 3;
        // Whether there was sound at all.
        packet[1] = u8::from(sound);
        Ok(len)
    }
    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError> {
        self.bitrate = bits_per_second;
        Ok(())
    }
    fn set_fec(&mut self, expected_loss_percent: u8) -> Result<(), CodecError> {
        self.expected_loss = expected_loss_percent;
        Ok(())
    }
    fn set_complexity(&mut self, complexity: u8) -> Result<(), CodecError> {
        self.complexity = complexity;
        Ok(())
    }
    fn set_band(&mut self, highest: Band) -> Result<(), CodecError> {
        self.band = highest;
        Ok(())
    }
    fn reset(&mut self) -> Result<(), CodecError> {
        Ok(())
    }
}

/// Packets that left, with their time.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) now: Time,
    pub(crate) rtp: Vec<(Time, Vec<u8>)>,
    pub(crate) rtcp: Vec<(Time, Vec<u8>)>,
    /// Where RTP went.
    pub(crate) to: Vec<SocketAddr>,
    /// There is no route.
    pub(crate) is_cut: bool,
}

impl Wire for Sent {
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]) -> bool {
        if self.is_cut {
            return false;
        }
        self.to.push(to);
        self.rtp.push((self.now, packet.to_vec()));
        true
    }
    fn send_rtcp(&mut self, _to: SocketAddr, packet: &[u8]) {
        self.rtcp.push((self.now, packet.to_vec()));
    }
}

pub(crate) fn rtp(seq: u16, timestamp: u32, ssrc: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, OPUS | u8::from(marker) << 7];
    packet.extend(seq.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

// ---- the line ----

/// What the line does to packets, at the time they are sent.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) loss: f64,
    /// Packets lost in a row when one is lost.
    pub(crate) burst: u32,
    /// Uniform extra delay, microseconds.
    pub(crate) jitter: u64,
    /// Probability that a packet is held back, and by how much.
    pub(crate) held: f64,
    pub(crate) held_by: Span,
    pub(crate) duplicate: f64,
    /// Constant delay.
    pub(crate) latency: Span,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            loss: 0.0,
            burst: 1,
            jitter: 0,
            held: 0.0,
            held_by: Span::ZERO,
            duplicate: 0.0,
            latency: Span::from_millis(5),
        }
    }
}

/// How the peer sends.
#[derive(Clone, Copy)]
pub(crate) struct Talker {
    pub(crate) fec: bool,
    /// Packets of one tick of the mixer leave together, with one timestamp and the marker on each.
    pub(crate) per_tick: i64,
    /// Its clock, relative to the true one.
    pub(crate) ppm: i64,
    pub(crate) ssrc: u32,
}

impl Default for Talker {
    fn default() -> Talker {
        Talker { fec: false, per_tick: 1, ppm: 0, ssrc: 0x2222_2222 }
    }
}

/// What one period of the loudspeaker was: when it began, and how old its sound was (`None`: no clean sound).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Time,
    pub(crate) age_us: Option<i64>,
}

pub(crate) struct Room<D = Ear> {
    pub(crate) stream: Stream<Mouth, D>,
    pub(crate) wire: Sent,
    pub(crate) now: Time,
    pub(crate) line: Line,
    pub(crate) talker: Talker,
    pub(crate) heard: Vec<Heard>,
    /// What the loudspeaker played, if it is kept.
    pub(crate) keep: bool,
    pub(crate) played_samples: Vec<i16>,
    pub(crate) events: Vec<(Time, Event)>,
    /// Asks of the card: period, and how much its clock is off.
    pub(crate) period: usize,
    pub(crate) card_ppm: i64,
    /// So many fewer the next time, though a whole period has passed.
    pub(crate) fewer: usize,
    /// Until then nothing passes the line, and then everything at once.
    pub(crate) frozen_until: Time,
    /// Until then the card does not ask.
    pub(crate) card_stalled_until: Time,
    /// There is no card.
    pub(crate) deaf: bool,
    rng: Rng,
    next_frame: i64,
    seq: u16,
    timestamp_origin: u32,
    losing: u32,
    played: i64,
    on_the_way: VecDeque<(Time, u64, Vec<u8>)>,
    order: u64,
}

impl Room {
    pub(crate) fn new(seed: u64) -> Room {
        Room::with(seed, params(), settings())
    }

    pub(crate) fn with(seed: u64, params: StreamParams, settings: Settings) -> Room {
        Room::hearing(seed, params, settings, Ear)
    }
}

impl<D: Decoder> Room<D> {
    pub(crate) fn hearing(seed: u64, params: StreamParams, settings: Settings, decoder: D) -> Room<D> {
        let mut rng = Rng::from_u64(seed);
        let now = Time::from_micros(1_000_000_000 + rng.below(20_000));
        let mut stream = Stream::new(settings, Mouth::new(), decoder);
        stream.start(now, params);
        stream.card_moves(now, true);
        Room {
            stream,
            wire: Sent::default(),
            now,
            line: Line::default(),
            talker: Talker::default(),
            heard: Vec::new(),
            keep: false,
            played_samples: Vec::new(),
            events: Vec::new(),
            period: 480,
            card_ppm: 0,
            fewer: 0,
            frozen_until: Time::ZERO,
            card_stalled_until: Time::ZERO,
            deaf: false,
            next_frame: micros_to_samples(now.as_micros()) / FRAME + 1,
            seq: rng.next_u32() as u16,
            timestamp_origin: rng.next_u32(),
            losing: 0,
            played: micros_to_samples(now.as_micros()),
            on_the_way: VecDeque::new(),
            order: 0,
            rng,
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Span) -> &mut Self {
        let end = self.now + span;
        loop {
            let next_send = self.true_time((self.next_frame + self.talker.per_tick) * FRAME, self.talker.ppm);
            let next_pull =
                self.true_time(self.played + self.period as i64, self.card_ppm).max(self.card_stalled_until);
            let arrival = self.on_the_way.front().map_or(Time::from_micros(u64::MAX), |p| p.0);
            let next = next_send.min(next_pull).min(arrival);
            if next > end {
                self.now = end;
                return self;
            }
            self.now = self.now.max(next);
            self.wire.now = self.now;
            if arrival == next {
                let (_, _, packet) = self.on_the_way.pop_front().unwrap();
                self.stream.handle_rtp(self.now, peer(), &packet);
            } else if next_send == next {
                self.talk();
            } else {
                self.listen();
            }
            while self.stream.poll_timeout().is_some_and(|w| w.at <= self.now) {
                self.stream.handle_timeout(self.now, &mut self.wire);
                assert!(self.stream.poll_timeout().is_none_or(|w| w.at > self.now), "no progress");
            }
            while let Some(event) = self.stream.poll_event() {
                self.events.push((self.now, event));
            }
        }
    }

    /// The true time at which a clock that is `ppm` fast shows `samples`.
    fn true_time(&self, samples: i64, ppm: i64) -> Time {
        let origin = 1_000_000_000i64;
        let shown = samples * 125 / 6 - origin;
        Time::from_micros((origin + shown - shown * ppm / 1_000_000) as u64)
    }

    fn talk(&mut self) {
        let first = self.next_frame;
        for n in 0..self.talker.per_tick {
            let position = (first + n) * FRAME;
            let timestamp = self.timestamp_origin.wrapping_add((first * FRAME) as u32);
            let marker = self.talker.per_tick > 1;
            let payload = payload(position, self.talker.fec);
            let packet = rtp(self.take_number(), timestamp, self.talker.ssrc, marker, &payload);
            self.post(packet);
        }
        self.next_frame += self.talker.per_tick;
    }

    /// Puts a packet on the line.
    pub(crate) fn post(&mut self, packet: Vec<u8>) {
        if self.losing > 0 {
            self.losing -= 1;
            return;
        }
        if self.chance(self.line.loss / f64::from(self.line.burst)) {
            self.losing = self.line.burst - 1;
            return;
        }
        let copies = if self.chance(self.line.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut at = self.now + self.line.latency + self.rng.span_up_to(Span::from_micros(self.line.jitter));
            if self.chance(self.line.held) {
                at += self.line.held_by;
            }
            let at = at.max(self.frozen_until);
            self.order += 1;
            let place = self.on_the_way.partition_point(|p| (p.0, p.1) < (at, self.order));
            self.on_the_way.insert(place, (at, self.order, packet.clone()));
        }
    }

    /// The talker says nothing for a while: its timestamps run on, its sequence numbers do not.
    pub(crate) fn talker_pauses(&mut self, span: Span) {
        self.next_frame += span.as_millis() as i64 / 20;
    }

    /// The same, and its timestamps do not run on either: it goes on as if no time had passed.
    pub(crate) fn talker_stops(&mut self, span: Span) {
        let before = self.next_frame;
        self.talker_pauses(span);
        self.timestamp_origin = self.timestamp_origin.wrapping_sub(((self.next_frame - before) * FRAME) as u32);
    }

    /// The mixer stands still for `span` and then makes up for its ticks at once, as Asterisk does: it stamps a packet
    /// with the time at which it leaves, unless that is within a tick of what was to be expected. So the packets of the
    /// burst share one timestamp, all marked, and those after it are stamped right.
    pub(crate) fn mixer_stalls(&mut self, span: Span) {
        let missed = span.as_millis() as i64 / 20;
        let first = self.next_frame;
        let stalled = self.next_frame + missed;
        self.next_frame = stalled + 1_000_000;
        self.run(span);
        for n in 0..missed {
            let payload = payload((first + n) * FRAME, self.talker.fec);
            let timestamp = self.timestamp_origin.wrapping_add(((stalled - 1) * FRAME) as u32);
            let packet = rtp(self.take_number(), timestamp, self.talker.ssrc, true, &payload);
            self.post(packet);
        }
        self.next_frame = stalled;
    }

    /// The talker begins anew, with numbers from anywhere.
    pub(crate) fn restart_numbers(&mut self) {
        self.seq = self.rng.next_u32() as u16;
        self.timestamp_origin = self.rng.next_u32();
    }

    /// Uses up one sequence number of the talker.
    pub(crate) fn take_number(&mut self) -> u16 {
        self.seq = self.seq.wrapping_add(1);
        self.seq.wrapping_sub(1)
    }

    /// What is on the way is held up too.
    pub(crate) fn freeze(&mut self, span: Span) {
        self.frozen_until = self.now + span;
        for packet in &mut self.on_the_way {
            packet.0 = packet.0.max(self.frozen_until);
        }
    }

    fn listen(&mut self) {
        let mut samples = vec![0; self.period - std::mem::take(&mut self.fewer)];
        if self.deaf {
            self.stream.play_unheard(&mut samples);
        } else {
            self.stream.playback(self.now, &mut samples);
        }
        if self.keep {
            self.played_samples.extend(&samples);
        }
        let here = micros_to_samples(self.now.as_micros());
        // Beyond where one signal fades into another, which is half a period and the resampler's delay.
        let from = (self.period / 2 + 8).min(self.period - 1);
        let middle = &samples[from..(from + 60).min(self.period)];
        // A fast clock of the talker may be ahead of ours.
        let age = spoken_at(middle, here + 48_000);
        let spoken = age.map(|at| self.true_time(at, self.talker.ppm).as_micros() as i64);
        let age_us = spoken.map(|at| (here + from as i64) * 125 / 6 - at);
        self.heard.push(Heard { at: self.now, age_us });
        let period = self.period as i64;
        // A card that stalled does not ask for what it missed.
        let missed = (micros_to_samples(self.now.as_micros()) - self.true_played()) / period;
        self.played += period * missed.max(1);
    }

    fn true_played(&self) -> i64 {
        micros_to_samples(self.true_time(self.played, self.card_ppm).as_micros())
    }

    fn chance(&mut self, p: f64) -> bool {
        (self.rng.below(1 << 30) as f64) < p * f64::from(1 << 30)
    }

    /// Forgets what has been heard.
    pub(crate) fn mark(&mut self) -> &mut Self {
        self.heard.clear();
        self
    }

    /// Share of periods with clean sound.
    pub(crate) fn clean(&self) -> f64 {
        self.heard.iter().filter(|h| h.age_us.is_some()).count() as f64 / self.heard.len().max(1) as f64
    }

    /// Median age of what has been heard since the mark, in ms.
    pub(crate) fn age_ms(&self) -> f64 {
        self.age_quantile(0.5)
    }

    pub(crate) fn age_quantile(&self, q: f64) -> f64 {
        let mut ages: Vec<i64> = self.heard.iter().filter_map(|h| h.age_us).collect();
        ages.sort_unstable();
        ages.get(((ages.len() as f64 - 1.0) * q) as usize).map_or(f64::NAN, |us| *us as f64 / 1_000.0)
    }
}

fn micros_to_samples(us: u64) -> i64 {
    (us as i128 * 6 / 125) as i64
}

/// What a listener reports of our stream that hears all of it.
pub(crate) const NOTHING_LOST: ReportBlock = ReportBlock {
    ssrc: 0x1111_1111,
    fraction_lost: 0,
    cumulative_lost: 0,
    highest_seq: 0,
    jitter: 0,
    last_sender_report: 0,
    since_sender_report: 0,
};

/// The packet in which a listener reports this.
pub(crate) fn report_of(block: ReportBlock) -> Vec<u8> {
    let mut packet = [0; MAX_LEN];
    let len = rtcp::write(&mut packet, 5, None, Some(block), &[b'x'; CNAME_LEN], &Report::NOTHING, Farewell::None);
    packet[..len].to_vec()
}

// ---- what many tests begin with ----

pub(crate) const SEEDS: std::ops::Range<u64> = 0..8;
/// The packet itself, and the line.
pub(crate) const LEAST_AGE: f64 = 25.0;

/// A room that has listened to the line for five seconds.
pub(crate) fn settled(seed: u64, line: Line, talker: Talker) -> Room {
    let mut room = Room::new(seed);
    room.line = line;
    room.talker = talker;
    room.run(secs(5)).mark();
    room
}

pub(crate) fn each_seed(test: impl Fn(u64)) {
    for seed in SEEDS {
        println!("seed {seed}");
        test(seed);
    }
}
