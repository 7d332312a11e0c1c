//! One call's audio: frames of the card in, packets out; packets in, frames for the card out.
//!
//! ```text
//!   capture ─▶ Level ─▶ Volume, Mute ─▶ Microphone, 20 ms ─▶ Keypad or Encoder ─▶ Sender ─▶ Budget ─▶ Wire
//!   playback ◀─ Volume ◀─ Tones ◀─ Level ◀─ Playout (Decoder, jitter buffer) ◀─ Receiver ◀─ handle_rtp
//!                                                                  digits ◀─ Ear ◀─'
//! ```
//!
//! The two ways are `up` and `down`; `reports` is what is known of both. Nothing here allocates after [`Stream::new`],
//! waits, or logs.

mod down;
mod reports;
mod up;

use crate::config::{Codec, Config, Jitter, Rtp};
use crate::dtmf::{Digit, Digits};
use crate::media::autopilot::{Autopilot, Choice, Limits};
use crate::media::budget::{Budget, Overhead};
use crate::media::codec::{Decoder, Encoder};
use crate::media::command::{Clocks, Event, StreamParams};
use crate::media::delay;
use crate::media::extended::Extended;
use crate::media::gain::{Level, Mute};
use crate::media::governor::{Board, Economy, Governor, Pass};
use crate::media::hush::Hush;
use crate::media::jitter::MAX_PAYLOAD;
use crate::media::keypad::{Ear, Keypad};
use crate::media::lag::Lag;
use crate::media::liveness::Liveness;
use crate::media::microphone::Microphone;
use crate::media::parted::{Parted, Past};
use crate::media::pause::Pause;
use crate::media::peer::Peer;
use crate::media::playout::Playout;
use crate::media::redundancy::Echo;
use crate::media::slack::Slack;
use crate::media::tone::{Tone, Tones};
use crate::media::turn::{Side, Turn};
use crate::media::uplink::Uplink;
use crate::media::volume::{Decibels, Volume, Volumes};
use crate::random::Rng;
use crate::rtp::packet::HEADER_LEN;
use crate::rtp::receiver::Receiver;
use crate::rtp::rtcp::{self, Farewell, Schedule};
use crate::rtp::sender::Sender;
use crate::srtp;
use crate::time::{Span, Time, Wakeup, soonest};
use heapless::Deque;
use std::net::SocketAddr;

/// The longest packet we send, 60 ms.
const MAX_FRAME: usize = 2_880;
/// More digits than can be heard between two looks of the media thread; those beyond are dropped.
const MAX_HEARD: usize = 16;
/// Nothing in a call is longer.
const MAX_DATAGRAM: usize = 2_048;

/// Where a stream's packets go: the sockets of the media thread, or a test. Never blocks; a full socket drops.
pub trait Wire {
    /// `false`: the packet certainly has not left: there is no route, a filter forbids it, the socket is full.
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]) -> bool;
    fn send_rtcp(&mut self, to: SocketAddr, packet: &[u8]);
}

pub struct Settings {
    pub codec: Codec,
    pub jitter: Jitter,
    pub rtp: Rtp,
    /// [`Audio::tone_level`](crate::config::Audio::tone_level).
    pub tone_level: u8,
    /// At the start.
    pub volumes: Volumes,
    /// From when on the far end speaks, and for how long it is waited for afterwards, on a card of one direction.
    pub far_speech: (Decibels, Span),
}

impl Settings {
    pub fn of(config: &Config) -> Settings {
        Settings {
            codec: config.codec.clone(),
            jitter: config.jitter.clone(),
            rtp: config.rtp.clone(),
            tone_level: config.audio.tone_level,
            volumes: config.audio.volumes(),
            far_speech: (config.audio.far_speech, config.audio.far_speech_hang),
        }
    }

    fn turn(&self) -> Turn {
        Turn::new(self.far_speech.0, self.far_speech.1)
    }
}

pub struct Stream<E, D> {
    settings: Settings,
    encoder: E,
    playout: Playout<D>,
    mute: Mute,
    capture_volume: Volume,
    playback_volume: Volume,
    tones: Tones,
    turn: Turn,
    capture_level: Level,
    playback_level: Level,
    microphone: Microphone,
    budget: Budget,
    liveness: Liveness,
    governor: Governor,
    hush: Hush,
    frame: Box<[i16; MAX_FRAME]>,
    packet: Box<[u8; HEADER_LEN + MAX_PAYLOAD + srtp::MAX_OVERHEAD]>,
    /// Where a protected datagram is opened.
    opened: Box<[u8; MAX_DATAGRAM]>,
    call: Option<Call>,
    parted: Parted,
}

/// What lives as long as a call.
struct Call {
    params: StreamParams,
    peer: Peer,
    sender: Sender,
    receiver: Receiver,
    keypad: Keypad,
    ear: Ear,
    uplink: Uplink,
    extended: Extended,
    digits: Deque<Digit, MAX_HEARD>,
    autopilot: Autopilot,
    /// What the encoder has been told.
    choice: Choice,
    echo: Echo,
    pause: Pause,
    slack: Slack,
    schedule: Schedule,
    cname: [u8; rtcp::CNAME_LEN],
    /// Samples that the next packet takes.
    frame_samples: usize,
    /// When the last samples that were read had been recorded, as far as wake-ups show.
    recorded_until: Option<Time>,
    lag: Lag,
    /// The last sender report of the peer: its source, its NTP time, its arrival.
    sender_report: Option<(u32, u32, Time)>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    packets_received: u64,
    bytes_received: u64,
    invalid_rtp: u64,
    invalid_rtcp: u64,
    forged: u64,
    replayed: u64,
    withheld: u64,
    round_trip: Span,
    peer_fraction_lost: u8,
}

impl<E: Encoder, D: Decoder> Stream<E, D> {
    /// Allocates all that the stream will ever need.
    pub fn new(settings: Settings, encoder: E, decoder: D) -> Stream<E, D> {
        Stream {
            encoder,
            playout: Playout::new(&settings.jitter, decoder),
            mute: Mute::new(false),
            capture_volume: Volume::new(settings.volumes.capture),
            playback_volume: Volume::new(settings.volumes.playback),
            tones: Tones::new(settings.tone_level),
            turn: settings.turn(),
            capture_level: Level::default(),
            playback_level: Level::default(),
            microphone: Microphone::new(),
            budget: Budget::new(),
            liveness: Liveness::new(settings.rtp.silence_timeout),
            governor: Governor::new(),
            hush: Hush::new(),
            frame: Box::new([0; MAX_FRAME]),
            packet: Box::new([0; HEADER_LEN + MAX_PAYLOAD + srtp::MAX_OVERHEAD]),
            opened: Box::new([0; MAX_DATAGRAM]),
            call: None,
            parted: Parted::default(),
            settings,
        }
    }

    /// Begins a call. Sequence number and timestamp begin at random, but the same for the same SSRC and call; those of one
    /// that was [parked](Stream::park) go on.
    pub fn start(&mut self, now: Time, params: StreamParams) {
        let mut rng = Rng::from_u64(u64::from(params.ssrc) << 32 | u64::from(params.call));
        let autopilot = Autopilot::new(self.settings.codec.usable_fec(), limits(&params));
        let choice = autopilot.choice();
        self.playout.reset();
        self.budget = Budget::new();
        self.capture_level = Level::default();
        self.playback_level = Level::default();
        self.microphone.start();
        // Muted from the first sample on.
        self.mute = Mute::new(self.mute.is_on());
        self.turn = self.settings.turn();
        self.governor.start(now);
        self.liveness.start(now, params.call, params.send, params.receive);
        // An encoder that cannot forget goes on as it was.
        let _ = self.encoder.reset();
        self.budget.set_cap(params.cap, overhead(&params));
        let mut peer = Peer::new(&params, &self.settings.rtp);
        let mut sender = Sender::new(params.ssrc, params.send_payload_type, &mut rng);
        if let Some(past) = self.parted.take(params.call).filter(|past| past.sender.ssrc() == params.ssrc) {
            peer.resume(&params, past.protected);
            sender = past.sender;
            sender.set_payload_type(params.send_payload_type);
            sender.on_skipped(samples_in(now.since(past.at)));
        }
        self.call = Some(Call {
            peer,
            sender,
            receiver: Receiver::default(),
            keypad: Keypad::default(),
            ear: Ear::default(),
            uplink: Uplink::default(),
            extended: Extended::new(params.extended),
            digits: Deque::new(),
            autopilot,
            choice,
            echo: Echo::default(),
            pause: Pause::default(),
            slack: Slack::new(now),
            schedule: Schedule::new(now, self.settings.rtp.rtcp_interval, rng.fork()),
            cname: rtcp::cname(&mut rng),
            frame_samples: frame_samples(choice.ptime),
            recorded_until: None,
            lag: Lag::new(),
            sender_report: None,
            counters: Counters::default(),
            params,
        });
        self.set_encoder(choice);
    }

    /// The same call goes on with other parameters: numbers, statistics and the buffer continue.
    pub fn update(&mut self, now: Time, params: StreamParams) {
        let Some(call) = &mut self.call else {
            return self.start(now, params);
        };
        let held = call.params.receive && !params.receive;
        if !call.params.send && params.send {
            // What was said while nobody was to hear it stays here.
            call.sender.on_skipped(self.microphone.drop_waiting() as u32);
        }
        call.sender.set_payload_type(params.send_payload_type);
        call.autopilot.set_limits(limits(&params));
        if params.remote_rtp != call.params.remote_rtp {
            call.autopilot.on_moved();
        }
        call.uplink.restart();
        call.extended.set_asked(params.extended);
        call.peer.update(now, &params);
        call.params = params;
        self.liveness.expect_packets(now, params.receive);
        self.liveness.expect_sending(now, params.send);
        if held {
            call.receiver.end_source();
            self.playout.restart();
        }
        self.budget.set_cap(params.cap, overhead(&params));
        self.steer();
    }

    /// Sends RTCP BYE. After it the stream is idle until the next `start`.
    pub fn stop(&mut self, now: Time, wire: &mut impl Wire) {
        self.send_report(now, Farewell::Bye, wire);
        self.liveness.stop();
        self.playout.restart();
        self.call = None;
    }

    /// The call waits for another one: its stream ends without a farewell, until the `start` with its number.
    pub fn park(&mut self, now: Time) {
        self.liveness.stop();
        self.playout.restart();
        if let Some(Call { params, peer, mut sender, .. }) = self.call.take() {
            sender.on_skipped(self.microphone.drop_waiting() as u32);
            let (heard, protected) = peer.part();
            self.parted.keep(Past { call: params.call, at: now, sender, heard, protected });
        }
    }

    /// The call of this number, which waits, is over.
    pub fn forget(&mut self, call: u32) {
        self.parted.take(call);
    }

    /// Muted, packets of digital silence are sent.
    pub fn mute(&mut self, muted: bool) {
        self.mute.set(muted);
    }

    /// What the microphone gives, and all that the loudspeaker gets, is louder or softer by this.
    pub fn set_volumes(&mut self, volumes: Volumes) {
        self.capture_volume.set(volumes.capture);
        self.playback_volume.set(volumes.playback);
    }

    /// Plays a tone over the far end, or alone when no call runs. Tones outlive calls.
    pub fn tone(&mut self, tone: Tone) {
        self.tones.start(tone);
    }

    pub fn stop_tone(&mut self) {
        self.tones.stop();
    }

    /// Whether a tone needs the card.
    pub fn is_sounding(&self) -> bool {
        self.tones.is_sounding()
    }

    /// Sends digits in place of audio, if the peer has telephone events and we may send.
    pub fn press(&mut self, digits: &Digits, tone: Span, gap: Span) {
        if let Some(call) = &mut self.call
            && call.params.send
            && call.params.telephone_event.is_some()
        {
            call.keypad.press(digits, tone, gap);
        }
    }

    /// Whose turn it is, where a card can do one direction at a time: nobody speaks into a muted microphone, and a tone is to be
    /// heard.
    pub fn side(&self) -> Side {
        if self.call.is_none() || self.mute.is_on() || self.tones.is_sounding() {
            return Side::Playback;
        }
        self.turn.side()
    }

    /// The card has really played what `playback` gave (its pointer moves); `false` while there is no card.
    pub fn card_moves(&mut self, _now: Time, moves: bool) {
        self.liveness.on_card(moves);
    }

    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let call = self.call.as_ref()?;
        soonest(Some(Wakeup::new(call.schedule.next(), "RTCP report")), self.liveness.poll_timeout())
    }

    /// Sends due RTCP reports and looks for silence.
    pub fn handle_timeout(&mut self, now: Time, wire: &mut impl Wire) {
        if let Some(call) = &mut self.call
            && call.schedule.next() <= now
        {
            call.schedule.on_reported(now);
            self.send_report(now, Farewell::None, wire);
        }
        self.liveness.handle_timeout(now);
    }

    /// The encoder, to be asked what it was told.
    pub fn encoder(&self) -> &E {
        &self.encoder
    }

    /// The jitter buffer, for its counters.
    pub fn playout(&self) -> &Playout<D> {
        &self.playout
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        let heard = self.call.as_mut().and_then(Call::poll_digit);
        let news = || self.governor.take_news().map(Event::Economy);
        heard.or_else(news).or_else(|| self.liveness.poll_event())
    }

    /// How fast clocks ran in an earlier life of the process.
    pub fn recall(&mut self, clocks: Clocks) {
        self.playout.recall_clocks(clocks.network.map(f64::from), clocks.playback.map(f64::from));
        clocks.capture.into_iter().for_each(|ppm| self.microphone.recall(ppm.into()));
    }

    /// How the media thread keeps up; what the encoder is spared follows from it.
    pub fn on_pass(&mut self, now: Time, pass: Pass) {
        let before = self.governor.economy();
        self.governor.on_pass(now, pass);
        self.spare(before);
    }

    pub fn on_board(&mut self, now: Time, board: Board) {
        let before = self.governor.economy();
        self.governor.on_board(now, board);
        self.spare(before);
    }

    fn spare(&mut self, before: Economy) {
        if self.governor.economy() != before
            && let Some(choice) = self.call.as_ref().map(|call| call.choice)
        {
            self.set_encoder(choice);
        }
    }
}

impl Call {
    fn poll_digit(&mut self) -> Option<Event> {
        let digit = self.digits.pop_front()?;
        Some(Event::Digit { call: self.params.call, digit })
    }
}

fn limits(params: &StreamParams) -> Limits {
    Limits {
        ptime: params.ptime,
        max_ptime: params.max_ptime.max(params.ptime),
        bitrate: params.bitrate,
        cap: params.cap,
        overhead: overhead(params),
        redundancy: params.redundancy.is_some(),
    }
}

/// What surrounds the payload of one packet.
fn overhead(params: &StreamParams) -> Overhead {
    Overhead::new(params.remote_rtp.is_ipv6(), params.srtp.map(|keys| keys.send.suite())).telling(params.extended)
}

/// At 48 kHz.
fn samples_in(span: Span) -> u32 {
    (span.as_micros() * 6 / 125) as u32
}

/// Samples of one packet: the longest of 2.5, 5, 10, 20, 40, 60 ms that is not longer than asked, at least 2.5 ms.
fn frame_samples(ptime: Span) -> usize {
    match ptime.as_millis() {
        0..5 => 120,
        5..10 => 240,
        10..20 => 480,
        20..40 => 960,
        40..60 => 1_920,
        _ => MAX_FRAME,
    }
}

/// How long so many samples last.
fn duration(samples: usize) -> Span {
    delay::samples_last(samples as u64)
}
