//! One call's audio: frames of the card in, packets out; packets in, frames for the card out.
//!
//! ```text
//!   capture ─▶ Level ─▶ Volume, Mute ─▶ Microphone, 20 ms ─▶ Keypad or Encoder ─▶ Sender ─▶ Budget ─▶ Wire
//!   playback ◀─ Volume ◀─ Tones ◀─ Level ◀─ Playout (Decoder, jitter buffer) ◀─ Receiver ◀─ handle_rtp
//!                                                                  digits ◀─ Ear ◀─'
//! ```
//!
//! Nothing here allocates after [`Stream::new`], waits, or logs.

use crate::config::{Codec, Config, Jitter, Rtp};
use crate::dtmf::{Digit, Digits, TelephoneEvent};
use crate::media::autopilot::{Autopilot, Choice, Limits};
use crate::media::budget::{Budget, Kind, Overhead};
use crate::media::codec::{Decoder, Encoder};
use crate::media::command::{Clocks, Event, PacketKind, Stats, StreamParams};
use crate::media::extended::{Extended, Listening};
use crate::media::gain::{Level, Mute};
use crate::media::governor::{Board, Economy, Governor, Pass};
use crate::media::hush::Hush;
use crate::media::jitter::MAX_PAYLOAD;
use crate::media::keypad::{Ear, Keypad, Press};
use crate::media::liveness::Liveness;
use crate::media::microphone::{MAX_PIECE, Microphone};
use crate::media::parted::{Parted, Past};
use crate::media::peer::Peer;
use crate::media::playout::{Arrival, Playout};
use crate::media::quality;
use crate::media::redundancy::{self, Echo};
use crate::media::tone::{Tone, Tones};
use crate::media::turn::{Side, Turn};
use crate::media::uplink::Uplink;
use crate::media::volume::{Decibels, Volume, Volumes};
use crate::random::Rng;
use crate::rtp::event::{self, NamedEvent};
use crate::rtp::packet::{HEADER_LEN, Header, Malformed, Packet, is_rtcp};
use crate::rtp::receiver::{Receiver, SourceIs, Verdict};
use crate::rtp::rtcp::{self, Farewell, Part, ReportBlock, Schedule, SenderInfo};
use crate::rtp::sender::Sender;
use crate::rtp::xr::VoipMetrics;
use crate::srtp::{self, Rejected};
use crate::time::{Span, Time, Wakeup, soonest};
use heapless::Deque;
use std::net::SocketAddr;

/// The longest packet we send, 60 ms.
const MAX_FRAME: usize = 2_880;
/// A packet of 20 ms and libopus' look-ahead.
const CODEC_DELAY: Span = Span::from_micros(26_500);
const LOOK_AHEAD: Span = Span::from_micros(6_500);
/// A payload of 20 ms or more that is shorter than this is not worth its headers: the frame is withheld.
const LEAST_PAYLOAD: usize = 10;
/// A gap in what was recorded up to which silence is sent in its place.
const LONGEST_MADE_UP: Span = Span::from_millis(100);
/// Under a cap one frame may be this many times the average: enough for an onset, and the second is not eaten at once.
const BURST: usize = 3;
/// No card buffers more: if capture was silent for this much longer than what it then gave, the samples are lost and
/// their time passes without them.
const CAPTURE_GAP: Span = Span::from_millis(200);

/// More digits than can be heard between two looks of the media thread; those beyond are dropped.
const MAX_HEARD: usize = 16;

/// Nothing in a call is longer.
const MAX_DATAGRAM: usize = 2_048;

/// Where a stream's packets go: the sockets of the media thread, or a test. Never blocks; a full socket drops.
pub trait Wire {
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]);
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
    schedule: Schedule,
    cname: [u8; rtcp::CNAME_LEN],
    /// Samples that the next packet takes.
    frame_samples: usize,
    captured_at: Option<Time>,
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
            schedule: Schedule::new(now, self.settings.rtp.rtcp_interval, rng.fork()),
            cname: rtcp::cname(&mut rng),
            frame_samples: frame_samples(choice.ptime),
            captured_at: None,
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
        call.uplink.restart();
        call.extended.set_asked(params.extended);
        call.peer.update(&params);
        call.params = params;
        self.liveness.expect_packets(now, params.receive);
        self.liveness.expect_sending(now, params.send);
        if held {
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

    /// Takes microphone samples (mono, 48 kHz, any number) and sends each packet that becomes full.
    pub fn capture(&mut self, now: Time, samples: &[i16], wire: &mut impl Wire) {
        self.capture_level.measure(samples);
        self.microphone.on_given(now, samples.len());
        self.skip_lost_capture(now, samples.len());
        let Some(call) = &self.call else { return };
        self.microphone.follow(call.params.follows.then(|| self.playout.peer_clock()));
        for piece in samples.chunks(MAX_PIECE) {
            let place = self.microphone.take(piece);
            self.capture_volume.apply(place);
            self.mute.apply(place);
            while let Some(call) = &mut self.call
                && self.microphone.fill(&mut self.frame[..call.frame_samples])
            {
                let full = std::mem::replace(&mut call.frame_samples, frame_samples(call.choice.ptime));
                self.send_frame(now, full, wire);
            }
        }
    }

    /// The card was restarted, and what it has recorded since the last `capture` is lost. A little of it leaves as silence;
    /// of more only the time does.
    pub fn make_up(&mut self, now: Time, wire: &mut impl Wire) {
        let Some(call) = &mut self.call else { return };
        let Some(before) = call.captured_at else { return };
        let lost = now.since(before);
        if lost > LONGEST_MADE_UP {
            call.captured_at = Some(now);
            return self.skip(lost);
        }
        let mut samples = samples_in(lost) as usize;
        while samples > 0 {
            let silence = &[0; 480][..samples.min(480)];
            self.capture(now, silence, wire);
            samples -= silence.len();
        }
    }

    /// Fills `samples` with what the loudspeaker shall play next (mono, 48 kHz, any number).
    pub fn playback(&mut self, now: Time, samples: &mut [i16]) {
        self.play_far_end(now, samples);
        self.tones.mix(samples);
        self.playback_volume.apply(samples);
    }

    /// Time passes in which nobody can hear anything, because there is no card: as much as `samples` take. What arrives
    /// is counted and not decoded.
    pub fn play_unheard(&mut self, samples: &mut [i16]) {
        samples.fill(0);
        self.playout.pause();
        self.playback_level.measure(samples);
        self.tones.mix(samples);
    }

    /// How long the packets are that leave now; `None`: there is no call.
    pub fn packet_time(&self) -> Option<Span> {
        self.call.as_ref().map(|call| duration(call.frame_samples))
    }

    fn play_far_end(&mut self, now: Time, samples: &mut [i16]) {
        if self.call.is_none() {
            samples.fill(0);
            return;
        }
        let before = self.playout.counters().decoded_samples;
        self.playout.play(now, samples);
        self.turn.on_far_end(now, self.playback_level.measure(samples));
        if self.playout.counters().decoded_samples > before {
            self.liveness.on_decoded(now);
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

    pub fn handle_rtp(&mut self, now: Time, from: SocketAddr, packet: &[u8]) {
        let Some(call) = &mut self.call else {
            return;
        };
        if call.params.rtcp_mux && is_rtcp(packet) {
            return self.handle_rtcp(now, from, packet);
        }
        // Opened on hold, too: the roll-over counter has to follow.
        let packet = match call.peer.open_rtp(packet, &mut self.opened[..]) {
            Ok(packet) => packet,
            Err(rejected) => return self.on_rejected(PacketKind::Rtp, rejected),
        };
        if !call.params.receive {
            return;
        }
        let Ok(packet) = Packet::parse(packet) else {
            return self.on_invalid(PacketKind::Rtp);
        };
        let header = packet.header;
        let Ok(sound) = redundancy::sound(&call.params, &packet) else {
            return self.on_invalid(PacketKind::Rtp);
        };
        let event = call.params.telephone_event.filter(|event| sound.is_none() && event.has(header.payload_type));
        let strange = self.parted.knows(header.ssrc) && !call.peer.is_negotiated(from);
        // Our own SSRC is a packet of ours that somebody sent back.
        let ours = header.ssrc == call.sender.ssrc();
        if !(sound.is_some() || event.is_some()) || ours || strange || !call.peer.admits(now, from, &header) {
            return self.on_invalid(PacketKind::Rtp);
        }
        let verdict = match event {
            None => call.receiver.handle(now, &header),
            Some(event) => call.receiver.handle_event(now, &header, event.clock_rate),
        };
        let Verdict::Accepted { seq, timestamp, source } = verdict else {
            return;
        };
        match source {
            SourceIs::New => {
                self.playout.restart();
                call.ear.restart();
                call.extended.restart();
            }
            SourceIs::Known => {}
        }
        let arrival = match sound {
            Some(sound) => self.playout.insert(now, seq, timestamp, header.marker, &sound),
            None => match call.hear(&packet) {
                // Heard however late it comes: a digit is not played.
                Ok(()) => self.playout.insert_event(now, seq, timestamp),
                Err(Malformed) => Arrival::Invalid,
            },
        };
        call.extended.on_packet(seq, arrival);
        match arrival {
            Arrival::Invalid => self.on_invalid(PacketKind::Rtp),
            Arrival::Kept | Arrival::Late | Arrival::Duplicate => {
                call.counters.packets_received += 1;
                call.counters.bytes_received += packet.payload.len() as u64;
                self.liveness.on_received(now);
            }
        }
    }

    pub fn handle_rtcp(&mut self, now: Time, from: SocketAddr, packet: &[u8]) {
        let Some(call) = &mut self.call else {
            return;
        };
        match call.peer.open_rtcp(packet, &mut self.opened[..]) {
            Ok(packet) if call.peer.admits_rtcp(from) => {
                if call.read_report(now, packet, &mut self.liveness).is_err() {
                    self.on_invalid(PacketKind::Rtcp);
                }
                self.steer();
            }
            Ok(_) => self.on_invalid(PacketKind::Rtcp),
            Err(rejected) => self.on_rejected(PacketKind::Rtcp, rejected),
        }
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

    pub fn stats(&self, now: Time) -> Stats {
        let Some(call) = &self.call else {
            return Stats { muted: self.mute.is_on(), ..Stats::default() };
        };
        let played = self.playout.counters();
        let (tally, packet) = (call.extended.tally(), self.playout.packet_time());
        Stats {
            call: call.params.call,
            packets_sent: call.sender.packets(),
            bytes_sent: call.sender.payload_bytes(),
            packets_withheld: call.counters.withheld,
            packets_received: call.counters.packets_received,
            bytes_received: call.counters.bytes_received,
            packets_lost: call.receiver.lost(),
            packets_late: played.late,
            packets_duplicate: call.receiver.duplicates(),
            packets_invalid: call.counters.invalid_rtp + call.counters.invalid_rtcp + played.undecodable,
            packets_forged: call.counters.forged,
            packets_replayed: call.counters.replayed,
            frames_concealed: played.concealed_samples / 960,
            frames_fec: played.fec,
            frames_red: played.red,
            xruns: 0,
            kernel_drops: 0,
            stages: Default::default(),
            wire_bits_max_second: self.budget.busiest_second(),
            wire_bits_last_second: self.budget.last_second(now),
            jitter_us: call.receiver.jitter().as_micros() as u32,
            buffer_us: self.playout.delay(now).as_micros() as u32,
            round_trip_us: call.counters.round_trip.as_micros() as u32,
            peer_fraction_lost: call.counters.peer_fraction_lost,
            muted: self.mute.is_on(),
            capture_level: self.capture_level.dbfs_10(),
            playback_level: self.playback_level.dbfs_10(),
            clocks: self.clocks(),
            loss_burst: call.receiver.burst(),
            uplink: Some(call.choice),
            economy: self.governor.economy(),
            rating: self.concealed().map_or(0, |concealed| quality::rating(self.one_way(now, call), concealed)),
            burst_density: tally.burst_density(),
            gap_density: tally.gap_density(),
            burst_ms: tally.mean_burst(packet).as_millis() as u32,
            gap_ms: tally.mean_gap(packet).as_millis() as u32,
            heard: call.extended.heard(),
        }
    }

    fn clocks(&self) -> Clocks {
        let (network, playback) = self.playout.clocks();
        let short = |ppm: Option<f64>| ppm.map(|ppm| ppm as f32);
        Clocks { network: short(network), capture: short(self.microphone.clock().ppm()), playback: short(playback) }
    }

    /// From mouth to ear.
    fn one_way(&self, now: Time, call: &Call) -> Span {
        Span::from_micros(call.counters.round_trip.as_micros() / 2) + self.playout.delay(now) + CODEC_DELAY
    }

    /// The part of the sound that was invented; `None`: there was no sound.
    fn concealed(&self) -> Option<f32> {
        let played = self.playout.counters();
        let all = played.decoded_samples + played.concealed_samples;
        (all > 0).then(|| played.concealed_samples as f32 / all as f32)
    }

    /// How the peer is heard, if it is.
    fn metrics(&self, now: Time, call: &Call) -> Option<VoipMetrics> {
        let played = self.playout.counters();
        let rate = |one_way| self.concealed().map(|concealed| quality::rating(one_way, concealed));
        Some(call.extended.metrics(&Listening {
            ssrc: call.receiver.ssrc()?,
            packet: self.playout.packet_time(),
            recovered: played.fec + played.red,
            outwaited: played.discarded,
            round_trip: call.counters.round_trip,
            end_system: duration(call.frame_samples) + LOOK_AHEAD + self.playout.delay(now),
            rating: rate(self.one_way(now, call)),
            listening: rate(Span::ZERO),
            buffer: self.playout.target(),
            buffer_most: self.settings.jitter.max,
        }))
    }

    /// Sets the encoder anew if what is known of the line asks for it; packets of another length begin after this one.
    fn steer(&mut self) {
        let Some(call) = &mut self.call else { return };
        let choice = call.autopilot.choice();
        if choice != call.choice {
            call.choice = choice;
            self.set_encoder(choice);
        }
    }

    /// An encoder that refuses a setting goes on with the one it has: the budget still holds the cap.
    fn set_encoder(&mut self, choice: Choice) {
        self.hush.forget();
        let _ = self.encoder.set_bitrate(choice.bitrate.max(500));
        let _ = self.encoder.set_fec(choice.expected_loss);
        let economy = self.governor.economy();
        let _ = self.encoder.set_band(economy.band(choice.band));
        let _ = self.encoder.set_complexity(economy.complexity(self.settings.codec.complexity));
    }

    /// Samples that the card lost are time that passed.
    fn skip_lost_capture(&mut self, now: Time, given: usize) {
        let Some(call) = &mut self.call else {
            return;
        };
        let before = call.captured_at.replace(now);
        let given = duration(given);
        if let Some(before) = before
            && now.since(before) > given + CAPTURE_GAP
        {
            self.skip(now.since(before) - given);
        }
    }

    /// So much was recorded and is lost: the timestamps run on without it.
    fn skip(&mut self, lost: Span) {
        if let Some(call) = &mut self.call {
            call.sender.on_skipped(self.microphone.drop_waiting() as u32 + samples_in(lost));
        }
    }

    fn send_frame(&mut self, now: Time, samples: usize, wire: &mut impl Wire) {
        let Some(call) = &mut self.call else {
            return;
        };
        if !call.params.send {
            call.keypad.release();
            return call.sender.on_skipped(samples as u32);
        }
        if let Some(event) = call.params.telephone_event
            && let Some(press) = call.keypad.next(call.sender.timestamp(), samples as u32)
        {
            return self.send_event(now, event, press, samples as u32, wire);
        }
        let bitrate = call.choice.payload_bitrate().max(call.params.bitrate);
        let limit = payload_limit(now, &mut self.budget, &call.params, bitrate, samples);
        let mut numbers = call.sender.header();
        let (header, payload) = self.packet.split_at_mut(HEADER_LEN);
        let red = call.params.redundancy.filter(|_| call.choice.redundancy);
        let least = least_with_copy(&call.choice, samples);
        let before = red.map_or(0, |_| call.echo.write(&numbers, least, &mut payload[..limit]));
        let (payload, limit) = (&mut payload[before..], limit - before);
        let frame = &self.frame[..samples];
        let len = match self.hush.payload(frame) {
            _ if limit < least_payload(samples) => None,
            Some(known) if known.len() <= limit => {
                payload[..known.len()].copy_from_slice(known);
                Some(known.len())
            }
            Some(_) | None => {
                self.encoder.encode(frame, &mut payload[..limit]).ok().filter(|n| (1..=limit).contains(n))
            }
        };
        let Some(len) = len else {
            call.counters.withheld += 1;
            return call.sender.on_skipped(samples as u32);
        };
        self.hush.on_encoded(&payload[..len]);
        if let Some(red) = red {
            call.echo.keep(&numbers, samples as u32, &payload[..len]);
            numbers.payload_type = if before > 0 { red.send_payload_type } else { numbers.payload_type };
        }
        numbers.write(header.first_chunk_mut().expect("split at HEADER_LEN"));
        let len = before + len;
        if !call.peer.send_rtp(&mut self.packet[..], HEADER_LEN + len, wire) {
            call.counters.withheld += 1;
            return call.sender.on_skipped(samples as u32);
        }
        call.sender.on_sent(samples as u32, len);
        self.budget.on_sent(now, (overhead(&call.params).of_rtp() + len as u32) * 8, Kind::Media);
        self.liveness.on_sent(now);
    }

    /// A packet of an event, shorter than any of audio: under a cap there is room for it wherever audio had some.
    fn send_event(&mut self, now: Time, event: TelephoneEvent, press: Press, samples: u32, wire: &mut impl Wire) {
        let Some(call) = &mut self.call else { return };
        let bits = (overhead(&call.params).of_rtp() + event::PAYLOAD_LEN as u32) * 8;
        let (timestamp, payload) = press.in_clock(event.clock_rate);
        let header = call.sender.header();
        let header = Header { marker: press.marker, payload_type: event.send_payload_type, timestamp, ..header };
        let (head, body) = self.packet.split_at_mut(HEADER_LEN);
        header.write(head.first_chunk_mut().expect("split at HEADER_LEN"));
        body[..event::PAYLOAD_LEN].copy_from_slice(&payload.write());
        let allowed = self.budget.allowed(now, Kind::Media) >= bits;
        if !allowed || !call.peer.send_rtp(&mut self.packet[..], HEADER_LEN + event::PAYLOAD_LEN, wire) {
            call.counters.withheld += 1;
            return call.sender.on_skipped(samples);
        }
        call.sender.on_event_sent(samples, event::PAYLOAD_LEN);
        self.budget.on_sent(now, bits, Kind::Media);
        self.liveness.on_sent(now);
    }

    /// One compound packet, if the cap leaves room for it: it always does, except for a BYE right after a report.
    fn send_report(&mut self, now: Time, farewell: Farewell, wire: &mut impl Wire) {
        let metrics = self.call.as_ref().and_then(|call| self.metrics(now, call));
        let Some(call) = &mut self.call else {
            return;
        };
        let sender =
            (call.params.send && call.sender.packets() > 0).then(|| call.sender_info(now, self.microphone.waiting()));
        let block = call.report_block(now);
        let extended = call.extended.report(now, sender.is_some(), metrics);
        let mut packet = [0; rtcp::MAX_LEN + srtp::MAX_OVERHEAD];
        let place = packet.first_chunk_mut().expect("longer than MAX_LEN");
        let len = rtcp::write(place, call.sender.ssrc(), sender, block, &call.cname, &extended, farewell);
        let bits = (len as u32 + overhead(&call.params).of_rtcp()) * 8;
        if self.budget.allowed(now, Kind::Rtcp) < bits {
            return;
        }
        if call.peer.send_rtcp(&mut packet, len, wire) {
            self.budget.on_sent(now, bits, Kind::Rtcp);
        }
    }

    fn on_rejected(&mut self, kind: PacketKind, rejected: Rejected) {
        let Some(call) = &mut self.call else { return };
        match rejected {
            // The network doubles packets as well: that is nobody's fault.
            Rejected::Replayed => call.counters.replayed += 1,
            Rejected::Forged => {
                call.counters.forged += 1;
                self.on_invalid(kind);
            }
            Rejected::Malformed | Rejected::TooManySources => self.on_invalid(kind),
        }
    }

    fn on_invalid(&mut self, kind: PacketKind) {
        let Some(call) = &mut self.call else { return };
        let total = match kind {
            PacketKind::Rtp => &mut call.counters.invalid_rtp,
            PacketKind::Rtcp => &mut call.counters.invalid_rtcp,
        };
        *total += 1;
        if 10_u64.checked_pow(total.ilog10()) == Some(*total) {
            self.liveness.on_invalid(kind, (*total - *total / 10).max(1));
        }
    }
}

impl Call {
    /// A packet of the peer's telephone events.
    fn hear(&mut self, packet: &Packet<'_>) -> Result<(), Malformed> {
        let event = NamedEvent::parse(packet.payload)?;
        if let Some(digit) = self.ear.hear(packet.header.timestamp, packet.header.marker, event) {
            let _ = self.digits.push_back(digit);
        }
        Ok(())
    }

    fn poll_digit(&mut self) -> Option<Event> {
        let digit = self.digits.pop_front()?;
        Some(Event::Digit { call: self.params.call, digit })
    }

    fn read_report(&mut self, now: Time, packet: &[u8], liveness: &mut Liveness) -> Result<(), Malformed> {
        let (ssrc, peer) = (self.sender.ssrc(), self.receiver.ssrc());
        rtcp::read(packet, |part| match part {
            Part::SenderReport { ssrc, ntp } => self.sender_report = Some((ssrc, ntp, now)),
            Part::Block(block) if block.ssrc == ssrc => {
                self.counters.peer_fraction_lost = block.fraction_lost;
                let trip = rtcp::round_trip(now, &block);
                self.counters.round_trip = trip.unwrap_or(self.counters.round_trip);
                self.autopilot.on_report(block.fraction_lost, trip, self.extended.burst(self.receiver.burst()));
                if let Some(times) = self.uplink.on_report(block.highest_seq, self.sender.packets()) {
                    liveness.on_unheard(times);
                }
            }
            Part::Block(_) => {}
            Part::Extended(block) => {
                let trip = self.extended.on_block(now, ssrc, self.choice.ptime, block);
                self.counters.round_trip = trip.unwrap_or(self.counters.round_trip);
            }
            // A source that was replaced may say goodbye; only the one that is heard ends the call.
            Part::Bye { ssrc } => {
                if peer.is_none_or(|peer| peer == ssrc) {
                    liveness.on_bye();
                }
            }
        })
    }

    fn sender_info(&self, now: Time, waiting: usize) -> SenderInfo {
        // The timestamp that a sample captured right now would get.
        let since_capture = self.captured_at.map_or(0, |at| samples_in(now.since(at)));
        SenderInfo {
            ntp: rtcp::ntp(now),
            rtp_timestamp: self.sender.timestamp().wrapping_add(waiting as u32).wrapping_add(since_capture),
            packets: self.sender.packets() as u32,
            payload_bytes: self.sender.payload_bytes() as u32,
        }
    }

    fn report_block(&mut self, now: Time) -> Option<ReportBlock> {
        let block = self.receiver.report()?;
        Some(match self.sender_report {
            Some((ssrc, ntp, arrived)) if ssrc == block.ssrc => {
                ReportBlock { last_sender_report: ntp, since_sender_report: rtcp::short(now.since(arrived)), ..block }
            }
            Some(_) | None => block,
        })
    }
}

/// The bytes that the next frame may have. Under a cap it leaves room for half a frame each after it, so that a loud second
/// ends in short frames and not in missing ones.
fn payload_limit(now: Time, budget: &mut Budget, params: &StreamParams, bitrate: u32, samples: usize) -> usize {
    let headers = overhead(params).of_rtp();
    let allowed = budget.allowed(now, Kind::Media) / 8;
    if params.cap == 0 {
        return MAX_PAYLOAD;
    }
    let average = (bitrate as usize / 8 * samples / 48_000).max(least_payload(samples));
    let half = headers + average as u32 / 2;
    let kept = budget.needed_later(now, duration(samples), half * 8) / 8;
    let limit = allowed.saturating_sub(kept).max(allowed.min(half)).saturating_sub(headers) as usize;
    limit.min(BURST * average).min(MAX_PAYLOAD)
}

/// Of a packet of so many samples; libopus makes no sound of less than three bytes.
fn least_payload(samples: usize) -> usize {
    (LEAST_PAYLOAD * samples / 960).clamp(3, LEAST_PAYLOAD)
}

/// What the packet itself must have left beside a copy: else that would be loss, too.
fn least_with_copy(choice: &Choice, samples: usize) -> usize {
    (choice.bitrate as usize / 16 * samples / 48_000).max(least_payload(samples))
}

fn limits(params: &StreamParams) -> Limits {
    Limits {
        ptime: params.ptime,
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
    Span::from_micros(samples as u64 * 125 / 6)
}
