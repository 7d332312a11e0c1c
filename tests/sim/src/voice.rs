//! The media thread of the simulated world: obeys commands and says what a real one would.

use super::Delivery;
use qss_endpoint::media::command::{CardEvent, Clocks, Command, Event, Stats, StreamParams};
use qss_endpoint::time::{Span, Time};

const SILENCE: Span = Span::from_secs(2);

#[derive(Default)]
pub struct Voice {
    pub commands: Vec<(Time, Command)>,
    /// The running stream.
    pub stream: Option<StreamParams>,
    pub muted: bool,
    /// The thread does not answer questions for numbers.
    pub deaf: bool,
    card_open: bool,
    heard: Option<Time>,
    silent_said: u64,
    receiving: bool,
    last: Option<StreamParams>,
    next_tick: Time,
}

impl Voice {
    /// Checks the order of commands: one stream at a time, nothing after the end.
    pub fn obey(&mut self, now: Time, command: Command, seed: &u64) -> Vec<(u64, Delivery)> {
        self.commands.push((now, command));
        match command {
            Command::Open => {
                assert!(!self.card_open, "seed {seed}: Open while open");
                self.card_open = true;
                let opened = CardEvent::Opened { rate: 48_000, period: 480, buffer: 1_440 };
                vec![(20, Delivery::media(Event::Card(opened)))]
            }
            Command::Start(params) => {
                assert!(self.stream.is_none(), "seed {seed}: two streams");
                assert!(self.card_open, "seed {seed}: Start before Open");
                self.stream = Some(params);
                self.last = Some(params);
                self.heard = Some(now);
                self.receiving = false;
                self.silent_said = 0;
                self.next_tick = now + Span::from_millis(10);
                let mut out = vec![(10, Delivery::VoiceTick)];
                if params.send {
                    out.push((20, Delivery::media(Event::Sending { call: params.call })));
                }
                out
            }
            Command::Update(params) => {
                assert_eq!(self.stream.map(|s| s.ssrc), Some(params.ssrc), "seed {seed}: one stream, one SSRC");
                let before = self.stream.replace(params);
                self.last = Some(params);
                if before.is_some_and(|before| !before.receive) && params.receive {
                    (self.heard, self.receiving, self.silent_said) = (Some(now), false, 0);
                }
                match before {
                    Some(before) if !before.send && params.send => {
                        vec![(20, Delivery::media(Event::Sending { call: params.call }))]
                    }
                    Some(_) | None => Vec::new(),
                }
            }
            Command::Mute(muted) => {
                self.muted = muted;
                Vec::new()
            }
            Command::Volume(_)
            | Command::Tone(_)
            | Command::ToneStop
            | Command::Digits { .. }
            | Command::Board(_)
            | Command::Recall(_)
            | Command::Forget(_) => Vec::new(),
            Command::Stop | Command::Park => {
                assert!(self.card_open, "seed {seed}: Stop of nothing");
                self.card_open = false;
                self.stream = None;
                vec![(5, Delivery::media(Event::Card(CardEvent::Closed)))]
            }
            Command::Stats => match self.last {
                Some(params) if !self.deaf => {
                    let clocks = Clocks { network: Some(42.0), ..Clocks::default() };
                    let stats =
                        Stats { call: params.call, packets_sent: 50, packets_received: 49, clocks, ..Stats::default() };
                    vec![(2, Delivery::media(Event::Stats(stats)))]
                }
                _ => Vec::new(),
            },
            Command::Shutdown => Vec::new(),
        }
    }

    /// Every 100 ms of a stream; while packets flow there is less to see.
    pub fn tick(&mut self, now: Time, mixer_sends: bool) -> Vec<(u64, Delivery)> {
        let Some(StreamParams { call, receive, .. }) = self.stream else { return Vec::new() };
        if now < self.next_tick {
            return Vec::new();
        }
        let next = if mixer_sends && self.receiving { 500 } else { 100 };
        self.next_tick = now + Span::from_millis(next);
        let mut out = vec![(next, Delivery::VoiceTick)];
        if !receive {
            // Nothing is expected, and what comes is dropped.
            (self.heard, self.receiving, self.silent_said) = (Some(now), false, 0);
            return out;
        }
        if mixer_sends {
            self.heard = Some(now);
            self.silent_said = 0;
            if !self.receiving {
                self.receiving = true;
                out.push((1, Delivery::media(Event::Receiving { call })));
                out.push((40, Delivery::media(Event::Playing { call })));
            }
            return out;
        }
        let since = now.since(self.heard.unwrap_or(now));
        if since >= SILENCE.times(self.silent_said + 1) {
            self.silent_said += 1;
            self.receiving = false;
            out.push((0, Delivery::media(Event::Silent { call, since })));
        }
        out
    }
}
