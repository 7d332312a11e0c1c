//! What the media thread does.
//!
//! It waits in one `poll` on the card's descriptors and on the command queue, until the microphone has filled a packet
//! (or for as much of it as the card's buffer lets us), and does one pass: read the
//! microphone, encode and send; drain the sockets; decode, fill the loudspeaker. So a call costs one wake-up per
//! packet, and packets leave in the wake-up that completed them. Packets that come are not waited for:
//! see [`rtp_sockets`](crate::io::rtp_sockets). Only before a card begins again in the
//! course of a call, up to a period or the silence that was sent ahead (40 ms) is slept through.
//! The decisions are the [`Stream`]'s; here is only the life of the card:
//!
//! ```text
//!            Open, Tone          Start, Tone
//!        Idle --------> Prepared ------------> Running <---+        no call, no tone: from anywhere to Idle
//!          |               |  ^                 |          |
//!          |          no card |returned    lost |          | returned
//!          |               v  |                 v          |
//!          +---------> Unprepared ----------> Silent ------+
//!                               Start, Tone
//! ```
//!
//! While a card is away during a call (`Silent`), the monotonic clock paces the stream, once a packet: silence is sent
//! with continuous timestamps, what arrives is counted and dropped, and the card is looked for each
//! [`Audio::reopen_interval`]. A card whose clock stands still counts as away. What becomes of cards that come and go
//! all the time is told in [`life`](crate::io::alsa::life); the arrows are in `media_engine/card.rs`.
//!
//! Nothing here allocates, locks or logs per period; when the event queue is full the newest event is dropped and
//! counted.

mod card;

use crate::config::Audio;
use crate::io::alsa::life::{Away, Life, Moved, STALL};
use crate::io::alsa::machine::Machine;
use crate::io::alsa::{Card, Loudspeaker, MAX_DESCRIPTORS, MAX_FRAMES, Remembered, Trouble};
use crate::io::media_timing::{TimedWire, Timing};
use crate::io::media_xruns::Xruns;
use crate::io::opus::{OpusDecoder, OpusEncoder};
use crate::io::queue::{Receiver, Sender};
use crate::io::rtp_sockets::{Datagram, RtpSockets};
use crate::io::{alsa, clock, sys};
use crate::media::command::{CardError, CardEvent, Command, Event, Words};
use crate::media::delay::span_in_samples;
use crate::media::histogram::Stage;
use crate::media::stream::Stream;
use crate::time::{Span, Time};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Everything the thread owns.
pub(super) struct Engine {
    audio: Audio,
    machine: Machine,
    remembered: Remembered,
    /// The trouble with the card that was told last, and when.
    told: Option<(CardError, Time)>,
    /// What was told of the mixer.
    complaints: Words,
    commands: Receiver<Command>,
    events: Sender<Event>,
    sockets: RtpSockets,
    stream: Stream<OpusEncoder, OpusDecoder>,
    samples: Vec<i16>,
    datagram: Vec<u8>,
    progress: Arc<AtomicU64>,
    state: State,
    call: Call,
    xruns: Xruns,
    timing: Timing,
    alive_at: Time,
}

enum State {
    /// No call, no tone; no card, no timer.
    Idle,
    /// A call is on its way; the card is open.
    Prepared { card: Card, life: Life },
    /// A call is on its way; there is no card.
    Unprepared { away: Away },
    /// In a call or a tone, paced by the card.
    Running { card: Card, moved: Moved, life: Life },
    /// In a call or a tone, paced by the monotonic clock.
    Silent { away: Away, tick_at: Time },
}

/// What the commands said of calls; a tone may need the card beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    None,
    /// On its way: the card is kept for it.
    Coming,
    Streaming,
}

enum Next {
    GoOn,
    End,
}

/// Nothing in RTP is larger; a longer datagram is not ours.
const MAX_DATAGRAM: usize = 2048;
/// A card that has to be restarted so often is not usable.
const MAX_XRUNS_PER_SECOND: u32 = 20;
const ALIVE_INTERVAL: Span = Span::from_secs(1);

impl Engine {
    pub(super) fn new(
        audio: Audio,
        machine: Machine,
        sockets: RtpSockets,
        stream: Stream<OpusEncoder, OpusDecoder>,
        commands: Receiver<Command>,
        events: Sender<Event>,
        progress: Arc<AtomicU64>,
    ) -> Engine {
        Engine {
            audio,
            machine,
            remembered: Remembered::default(),
            told: None,
            complaints: Words::NONE,
            commands,
            events,
            sockets,
            stream,
            samples: vec![0; MAX_FRAMES],
            datagram: vec![0; MAX_DATAGRAM],
            progress,
            state: State::Idle,
            call: Call::None,
            xruns: Xruns::default(),
            timing: Timing::new(),
            alive_at: Time::ZERO,
        }
    }

    /// Until [`Command::Shutdown`].
    pub(super) fn run(&mut self) {
        self.events.flush();
        loop {
            let Woken { by_control, card_fds } = self.wait();
            let now = clock::now();
            self.progress.fetch_add(1, Ordering::Relaxed);
            if by_control && matches!(self.obey(now), Next::End) {
                self.events.flush();
                return;
            }
            self.timing.begin_pass();
            self.pass(now, card_fds.as_ref());
            if card_fds.is_some() && self.in_call() {
                self.stream.on_pass(now, self.timing.end_pass(now));
            }
            self.tend_stream(now);
            self.close_unused();
            self.events.flush();
        }
    }

    /// Sleeps until the card, a command or the time has something for us.
    fn wait(&self) -> Woken {
        let now = clock::now();
        let command = libc::pollfd { fd: self.commands.fd(), events: libc::POLLIN, revents: 0 };
        let mut fds = [command; 1 + MAX_DESCRIPTORS];
        let (deadline, count) = match &self.state {
            State::Idle | State::Prepared { .. } => (None, 0),
            State::Unprepared { away } => (Some(away.retry_at), 0),
            State::Silent { tick_at, .. } => (Some(*tick_at), 0),
            // The stream's own timers are looked at in each pass: a packet is fine enough for RTCP.
            State::Running { card, moved, .. } => match moved.deaf_for(self.audio.period) {
                Some(pause) => (Some(now + pause), 0),
                None => (Some(moved.capture.min(moved.playback) + STALL), card.descriptors(&mut fds[1..]).unwrap_or(0)),
            },
        };
        let timeout = deadline.map(|deadline| deadline.since(now));
        let by_control = match sys::poll(&mut fds[..=count], timeout) {
            Ok(()) => fds[0].revents != 0,
            Err(_) => {
                // Only a lack of kernel memory is left as a reason; going round at once would not help.
                std::thread::sleep(std::time::Duration::from_millis(1));
                true
            }
        };
        let by_card = matches!(self.state, State::Running { .. }) && fds[1..=count].iter().any(|fd| fd.revents != 0);
        Woken { by_control, card_fds: by_card.then_some(CardFds { fds, count }) }
    }

    /// Does what the control thread asks for.
    fn obey(&mut self, now: Time) -> Next {
        while let Some(command) = self.commands.pop() {
            match command {
                Command::Open => {
                    if self.call == Call::None {
                        self.call = Call::Coming;
                    }
                    self.open(now);
                }
                Command::Start(params) => {
                    self.end_call(now);
                    self.call = Call::Streaming;
                    self.open(now);
                    // Opening takes as long as the hardware takes, and the time of a call that goes on runs meanwhile.
                    let now = clock::now();
                    self.sockets.discard(&mut self.datagram);
                    self.xruns = Xruns::default();
                    self.timing.clear(&self.sockets);
                    self.alive_at = now + ALIVE_INTERVAL;
                    self.stream.start(now, params);
                    self.start_call(now);
                }
                Command::Update(params) if self.in_call() => self.stream.update(now, params),
                Command::Update(_) => {}
                Command::Mute(muted) => self.stream.mute(muted),
                Command::Volume(volumes) => self.stream.set_volumes(volumes),
                Command::Tone(tone) => {
                    self.stream.tone(tone);
                    self.open(now);
                    self.start(now);
                }
                Command::Digits { digits, tone, gap } => self.stream.press(&digits, tone, gap),
                Command::ToneStop => self.stream.stop_tone(),
                Command::Stop => self.end_call(now),
                Command::Park => {
                    self.stream.park(now);
                    self.call = Call::None;
                }
                Command::Forget(call) => self.stream.forget(call),
                Command::Recall(clocks) => self.stream.recall(clocks),
                Command::Board(board) => self.stream.on_board(now, board),
                Command::Stats => {
                    let mut stats = self.stream.stats(now);
                    stats.xruns = self.xruns.count();
                    self.timing.tell(&mut stats);
                    self.tell(Event::Stats(stats));
                }
                Command::Shutdown => {
                    self.end_call(now);
                    self.close();
                    return Next::End;
                }
            }
        }
        Next::GoOn
    }

    /// One turn of the card, or of the clock that stands in for it.
    fn pass(&mut self, now: Time, woken: Option<&CardFds>) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {}
            State::Prepared { card, life } => self.state = State::Prepared { card, life },
            State::Unprepared { away } => {
                self.state = self.retry(now, away, |away| State::Unprepared { away });
                self.returned_unused(now);
            }
            State::Running { card, moved, life } => self.state = self.turn(now, card, moved, life, woken),
            State::Silent { away, mut tick_at } => {
                tick_at = self.stream.stand_in_still(tick_at, now);
                if tick_at <= now {
                    self.silent_packet(now);
                    tick_at += self.stream.silent_period();
                }
                self.state = self.retry(now, away, |away| State::Silent { away, tick_at });
                self.start(now);
            }
        }
    }

    /// A period of the card: microphone to network, network to loudspeaker.
    fn turn(&mut self, now: Time, mut card: Card, mut moved: Moved, mut life: Life, woken: Option<&CardFds>) -> State {
        let ready = woken.is_some_and(|fds| card.is_ready(fds.card()));
        if ready || moved.deaf_for(self.audio.period).is_some() {
            match self.exchange(now, &mut card, &mut moved) {
                Ok(()) => {}
                Err(Trouble::Gone(error)) => return self.lost(card, life, error),
                Err(Trouble::Stopped(why)) => {
                    card.on_stopped(why, now.since(moved.capture));
                    if self.xruns.add(now) > MAX_XRUNS_PER_SECOND {
                        return self.lost(card, life, CardError::Other(libc::EPIPE));
                    }
                    self.timing.on_stopped(now, moved.capture);
                    match self.restart(&mut card) {
                        Ok(started) => {
                            moved = Moved::at(started);
                            life.restarted(started);
                        }
                        Err(error) => return self.lost(card, life, error),
                    }
                }
            }
        } else if woken.is_some() {
            moved.on_false_alarm();
        }
        if now.since(moved.capture.min(moved.playback)) >= STALL {
            return self.lost(card, life, CardError::Stalled);
        }
        if let Some(away) = life.proven(now, moved) {
            self.tell_returned(away);
        }
        match card.side() {
            Some(side) if side != self.stream.side() => self.change_sides(card, life),
            Some(_) | None => State::Running { card, moved, life },
        }
    }

    fn exchange(&mut self, now: Time, card: &mut Card, moved: &mut Moved) -> Result<(), Trouble> {
        let recorded = card.read(&mut self.samples)?;
        if recorded > 0 {
            let read = self.timing.on_captured(now, moved.capture, recorded, card.slept_over());
            moved.on_captured(now);
            let mut wire = TimedWire::new(&self.sockets);
            self.stream.capture(now, &self.samples[..recorded], &mut wire);
            self.timing.on_sent(read, wire.sending);
        } else {
            moved.on_false_alarm();
        }
        self.drain(now);
        let room = card.room()?;
        if room > 0 {
            moved.playback = now;
            let asked = clock::now();
            match card.loudspeaker() {
                Loudspeaker::Open => {
                    self.stream.playback(now, &mut self.samples[..room]);
                    let decoded = self.timing.stages.record_until(Stage::Decode, asked, clock::now());
                    card.write(&self.samples[..room])?;
                    self.timing.stages.record_until(Stage::Write, decoded, clock::now());
                    self.stream.card_moves(now, true);
                }
                // Whether the far end speaks is to be known.
                Loudspeaker::Waiting => self.stream.playback(now, &mut self.samples[..room]),
                Loudspeaker::None => self.stream.play_unheard(&mut self.samples[..room]),
            }
        }
        self.sleep(card).map_err(Trouble::Gone)
    }

    /// A packet without a card: silence leaves, what arrives is counted.
    fn silent_packet(&mut self, now: Time) {
        let frames = (span_in_samples(self.stream.silent_period()) as usize).min(MAX_FRAMES);
        self.samples[..frames].fill(0);
        self.stream.capture_nothing(now, &self.samples[..frames], &mut &self.sockets);
        self.drain(now);
        self.stream.play_unheard(&mut self.samples[..frames]);
    }

    fn drain(&mut self, now: Time) {
        let (stream, timing) = (&mut self.stream, &mut self.timing);
        self.sockets.drain(now, &mut self.datagram, |kind, arrived, from, bytes| match kind {
            Datagram::Rtp => {
                timing.stages.record_until(Stage::Receive, arrived, now);
                stream.handle_rtp(arrived, from, bytes);
            }
            Datagram::Rtcp => stream.handle_rtcp(arrived, from, bytes),
        });
        timing.on_drained(&self.sockets);
    }

    fn tend_stream(&mut self, now: Time) {
        if !self.in_call() {
            return;
        }
        if self.stream.poll_timeout().is_some_and(|wakeup| wakeup.at <= now) {
            self.stream.handle_timeout(now, &mut &self.sockets);
        }
        while let Some(event) = self.stream.poll_event() {
            self.tell(event);
        }
        if let Some(count) = self.xruns.take_news(now) {
            self.tell(Event::Card(CardEvent::Xrun { count }));
        }
        if now >= self.alive_at {
            self.alive_at = now + ALIVE_INTERVAL;
            alsa::trim_words();
            self.tell(Event::Alive);
        }
    }

    fn end_call(&mut self, now: Time) {
        if self.in_call() {
            self.stream.stop(now, &mut &self.sockets);
            while let Some(event) = self.stream.poll_event() {
                self.tell(event);
            }
        }
        self.call = Call::None;
    }

    fn in_call(&self) -> bool {
        match self.call {
            Call::Streaming => true,
            Call::None | Call::Coming => false,
        }
    }

    fn tell(&mut self, event: Event) {
        // Refused events are counted by the queue.
        let _ = self.events.push(event);
    }
}

/// What `poll` said.
struct Woken {
    /// There may be commands.
    by_control: bool,
    /// `None`: the card has nothing for us.
    card_fds: Option<CardFds>,
}

/// What `poll` said of the card's descriptors (the first entry is the command queue's).
struct CardFds {
    fds: [libc::pollfd; 1 + MAX_DESCRIPTORS],
    count: usize,
}

impl CardFds {
    fn card(&self) -> &[libc::pollfd] {
        &self.fds[1..=self.count]
    }
}
