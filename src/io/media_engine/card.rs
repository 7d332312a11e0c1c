//! How the card enters the states of the [`Engine`] and leaves them, and what is told of it.

use super::{Call, Engine, State};
use crate::io::alsa::life::{Away, LONGEST_PAUSE, Life, Moved, Trial};
use crate::io::alsa::{Card, OpenError};
use crate::io::{alsa, clock};
use crate::media::command::{CardError, CardEvent, Event, Words};
use crate::media::delay::span_in_samples;
use crate::time::{Span, Time};

impl Engine {
    /// `Idle` to `Prepared` or `Unprepared`; nothing otherwise.
    pub(super) fn open(&mut self, now: Time) {
        if !matches!(self.state, State::Idle) {
            return;
        }
        self.told = None;
        self.remembered.refresh(&self.machine);
        self.state = match Card::open(&self.audio, &self.machine) {
            Ok(card) => {
                self.tell_complaints(&card);
                let granted = card.granted();
                let (rate, period, buffer) = (granted.rate, granted.period, granted.buffer);
                self.tell(Event::Card(CardEvent::Opened { rate, period, buffer }));
                State::Prepared { card, life: Life::first(now) }
            }
            Err(why) => {
                self.stream.card_moves(now, false);
                self.tell_trouble(now, why);
                State::Unprepared { away: Away::first(clock::now(), self.audio.reopen_interval) }
            }
        };
    }

    /// The call or the tone begins (or its card is back): `Prepared` to `Running`, `Unprepared` to `Silent`.
    pub(super) fn start(&mut self, now: Time) {
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Prepared { card, life } => self.begin(now, card, life),
            State::Unprepared { away } => State::Silent { away, tick_at: self.stream.stand_in(now) },
            other @ (State::Idle | State::Running { .. } | State::Silent { .. }) => other,
        };
    }

    /// The same for a call, whose packets may be longer or shorter than what a tone was started for.
    pub(super) fn start_call(&mut self, now: Time) {
        self.start(now);
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Running { card, life, .. } if !card.is_for(self.packet()) => self.begin(now, card, life),
            other => other,
        };
    }

    fn begin(&mut self, now: Time, mut card: Card, mut life: Life) -> State {
        match self.restart(&mut card) {
            Ok(started) => {
                life.since = started;
                State::Running { card, moved: Moved::at(started), life }
            }
            Err(error) => {
                life.since = now;
                self.lost(card, life, error)
            }
        }
    }

    /// Starts the card, in step with a call that goes on, and tells the stream. Returns when that was.
    pub(super) fn restart(&mut self, card: &mut Card) -> Result<Time, CardError> {
        let period = card.period();
        let started = card.start(self.packet(), |ready| self.stream.in_step(ready, period))?;
        self.stream.make_up(started);
        self.sleep(card)?;
        Ok(started)
    }

    /// Has the card wake us when the next packet is full.
    pub(super) fn sleep(&mut self, card: &mut Card) -> Result<(), CardError> {
        let awaited = card.wake_after(self.stream.missing())?;
        self.stream.on_awaited(awaited);
        Ok(())
    }

    /// Samples that are given and taken at once.
    pub(super) fn packet(&self) -> usize {
        span_in_samples(self.stream.period()) as usize
    }

    /// The other direction of a card that can do one at a time has its turn.
    pub(super) fn change_sides(&mut self, card: Card, mut life: Life) -> State {
        let words = |error| OpenError { error, words: alsa::last_words() };
        let turned = card.turned(self.stream.side(), &self.audio, &self.machine);
        match turned.and_then(|mut card| self.restart(&mut card).map(|started| (card, started)).map_err(words)) {
            Ok((card, started)) => {
                life.restarted(started);
                State::Running { card, moved: Moved::at(started), life }
            }
            Err(why) => self.gone(life, why),
        }
    }

    pub(super) fn lost(&mut self, card: Card, life: Life, error: CardError) -> State {
        drop(card);
        self.gone(life, OpenError { error, words: alsa::last_words() })
    }

    /// There is no card any more.
    fn gone(&mut self, life: Life, why: OpenError) -> State {
        // To open it may have taken long.
        let now = clock::now();
        self.stream.card_moves(now, false);
        let away = life.over(now, why.error, self.audio.reopen_interval);
        match life.trial {
            Trial::Passed => self.tell_trouble(now, why),
            // It was never told that it had returned.
            Trial::Pending { .. } => {}
        }
        State::Silent { away, tick_at: self.stream.stand_in(now) }
    }

    /// Looks for the card if it is time to: `Prepared` if it is back, else `still_away`.
    pub(super) fn retry(&mut self, now: Time, mut away: Away, still_away: impl FnOnce(Away) -> State) -> State {
        if now < away.retry_at {
            return still_away(away);
        }
        self.remembered.refresh(&self.machine);
        match Card::open(&self.audio, &self.machine) {
            Ok(card) => {
                self.tell_complaints(&card);
                State::Prepared { card, life: away.life(now) }
            }
            Err(why) => {
                away.still(clock::now(), why.error, self.audio.reopen_interval);
                self.tell_trouble(now, why);
                still_away(away)
            }
        }
    }

    /// Nothing is to be played yet: that the card opens is all that can be known.
    pub(super) fn returned_unused(&mut self, now: Time) {
        if let State::Prepared { life: Life { trial, .. }, .. } = &mut self.state
            && let Trial::Pending { lost } = *trial
        {
            *trial = Trial::Passed;
            self.tell_returned(now.since(lost));
        }
    }

    /// Asked when all commands have been obeyed.
    pub(super) fn close_unused(&mut self) {
        if self.call == Call::None && !self.stream.is_sounding() {
            self.close();
        }
    }

    pub(super) fn close(&mut self) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Prepared { card, .. } | State::Running { card, .. } => {
                drop(card);
                self.tell(Event::Card(CardEvent::Closed));
            }
            State::Idle | State::Unprepared { .. } | State::Silent { .. } => {}
        }
    }

    /// Once for each kind of trouble; a card in whose way it is now this, now that, is told about every few seconds.
    fn tell_trouble(&mut self, now: Time, OpenError { error, words }: OpenError) {
        if self.told.is_none_or(|(told, at)| told != error && now.since(at) >= LONGEST_PAUSE) {
            self.told = Some((error, now));
            self.tell(Event::Card(CardEvent::Lost { error, words: Words::new(&words) }));
        }
    }

    /// Once for each set of them.
    fn tell_complaints(&mut self, card: &Card) {
        let words = Words::new(&card.complaints().join("; "));
        if words != std::mem::replace(&mut self.complaints, words) && words != Words::NONE {
            self.tell(Event::Card(CardEvent::Controls { words }));
        }
    }

    pub(super) fn tell_returned(&mut self, away: Span) {
        self.told = None;
        self.tell(Event::Card(CardEvent::Returned { away }));
    }
}
