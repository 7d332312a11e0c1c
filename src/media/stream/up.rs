//! Frames of the microphone become packets: silence, digits or Opus, as long as the line asks for and as large as the cap
//! leaves room for. What the card has lost is time that passed, and stays in the timestamps.

use super::{Call, Stream, Wire, duration, frame_samples, overhead, samples_in};
use crate::dtmf::TelephoneEvent;
use crate::media::autopilot::Choice;
use crate::media::budget::{Budget, Kind};
use crate::media::codec::{Decoder, Encoder};
use crate::media::command::StreamParams;
use crate::media::jitter::MAX_PAYLOAD;
use crate::media::keypad::Press;
use crate::media::microphone::MAX_PIECE;
use crate::media::pause::{NEEDLESS, Pause};
use crate::media::peer::Fate;
use crate::media::plan::LONGEST_PTIME;
use crate::media::slack::TICK;
use crate::rtp::event;
use crate::rtp::packet::{HEADER_LEN, Header};
use crate::time::{Span, Time};

/// Shorter packets leave several at once.
const SHORTEST_PERIOD: Span = Span::from_millis(10);
static SILENCE: [i16; MAX_PIECE] = [0; MAX_PIECE];
/// A payload of 20 ms or more that is shorter than this is not worth its headers: the frame is withheld.
const LEAST_PAYLOAD: usize = 10;
/// Under a cap one frame may be this many times the average: enough for an onset, and the second is not eaten at once.
const BURST: usize = 3;
/// No card buffers more: if capture was silent for this much longer than what it then gave, the samples are lost and
/// their time passes without them.
const CAPTURE_GAP: Span = Span::from_millis(200);

impl<E: Encoder, D: Decoder> Stream<E, D> {
    /// Takes microphone samples (mono, 48 kHz, any number) and sends each packet that becomes full.
    pub fn capture(&mut self, now: Time, samples: &[i16], wire: &mut impl Wire) {
        self.microphone.on_given(now, samples.len());
        if let Some(call) = &self.call {
            self.microphone.follow(call.params.follows.then(|| self.playout.peer_clock()));
        }
        self.on_recorded(now, samples.len());
        self.take(now, samples, wire);
    }

    /// The same while there is no card: it is our clock that says how many. They are a packet, if it can be as long.
    pub fn capture_nothing(&mut self, now: Time, silence: &[i16], wire: &mut impl Wire) {
        self.microphone.pause();
        self.microphone.follow(None);
        if let Some(call) = &mut self.call {
            let passed = duration(silence.len());
            call.recorded_until = Some(call.recorded_until.map_or(now, |before| before + passed));
            if self.microphone.waiting() == 0 {
                call.frame_samples = frame_samples(passed);
            }
        }
        self.take(now, silence, wire);
    }

    fn take(&mut self, now: Time, samples: &[i16], wire: &mut impl Wire) {
        self.capture_level.measure(samples);
        if self.call.is_none() {
            return;
        }
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

    /// When a card with periods of so many samples that can be started `now`, in a call that goes on, best begins again: so that it
    /// is read whole periods after it was read last. Packets then leave in step with the mixer's ticks as before, and are heard as late
    /// as before. Where a packet is not a number of whole periods they have no step.
    pub fn in_step(&self, now: Time, period: usize) -> Time {
        match &self.call {
            Some(Call { recorded_until: Some(before), frame_samples, lag, .. }) => {
                let step = if frame_samples.is_multiple_of(period) { period } else { 1 };
                let lost = samples_in((now + lag.lag()).since(*before)) as usize;
                // Silence may have been sent for a while that is not over.
                now.max(*before + duration(lost.next_multiple_of(step)) - lag.lag())
            }
            Some(_) | None => now,
        }
    }

    /// How many samples more fill the next packet: so many are best given at once, next.
    pub fn missing(&self) -> usize {
        self.call.as_ref().map_or(TICK, |call| self.microphone.missing(call.frame_samples))
    }

    /// They will be given when the card has so many.
    pub fn on_awaited(&mut self, samples: usize) {
        if let Some(call) = &mut self.call {
            call.slack.on_awaited(samples);
        }
    }

    /// What is best given and taken at once: a packet, or several that are short.
    pub fn period(&self) -> Span {
        let packet = self.call.as_ref().map_or(TICK, |call| frame_samples(call.choice.ptime));
        duration(packet).max(SHORTEST_PERIOD)
    }

    /// The same of the clock that stands in for a card, as often as it fits into the longest packet that the peer takes. Of silence
    /// nobody hears how long its packets are, and they need not wait for their end: each leaves when one of sound would, and the next
    /// one when it is over.
    pub fn silent_period(&self) -> Span {
        let period = self.period();
        let longest = self.call.as_ref().map_or(LONGEST_PTIME, |call| call.params.max_ptime.min(LONGEST_PTIME));
        period.times((longest.as_micros() / period.as_micros()).max(1))
    }

    /// The card is lost. Returns when the clock that stands in for it is to give its next samples: packets leave in step with those
    /// before. Those that would have left by now are left out.
    pub fn stand_in(&mut self, now: Time) -> Time {
        let period = self.period();
        let Some(call) = &mut self.call else { return now };
        let packet = frame_samples(call.choice.ptime);
        let begun = call.recorded_until.map_or(now, |before| before - duration(self.microphone.drop_waiting()));
        let skipped = samples_in(now.since(begun)) as usize / packet * packet;
        call.sender.on_skipped(skipped as u32);
        call.slack.on_lost();
        let begun = begun + duration(skipped);
        call.recorded_until = Some(begun);
        begun + period
    }

    /// The same when that clock was `due` to give some. What was missed is not made up for: it would be a burst of old silence.
    pub fn stand_in_still(&mut self, due: Time, now: Time) -> Time {
        if due + self.period() > now { due } else { self.stand_in(now) }
    }

    /// The card was restarted, and what it has recorded since the last `capture` is lost.
    pub fn make_up(&mut self, started: Time) {
        let Some(call) = &mut self.call else { return };
        call.lag.on_started(started);
        let now = started + call.lag.lag();
        let Some(before) = call.recorded_until.replace(now) else { return };
        let lost = now.since(before);
        self.microphone.on_given(now, samples_in(lost) as usize);
        call.slack.on_restarted(now);
        self.skip(lost);
    }

    /// So many samples more have been recorded by now. Those that the card lost are time that passed.
    fn on_recorded(&mut self, now: Time, given: usize) {
        let Some(call) = &mut self.call else { return };
        let passed = call.recorded_until.map_or(Span::ZERO, |before| now.since(before));
        call.slack.on_recorded(now, passed, given);
        let Some(before) = call.recorded_until else {
            call.recorded_until = Some(now);
            return;
        };
        let due = before + duration(given);
        let late = now.since(due);
        if late > CAPTURE_GAP {
            call.lag.on_gap();
            call.recorded_until = Some(now);
            self.skip(late);
        } else {
            // Earlier than thought is certain; later may be a late wake-up.
            let until = now.min(due + Span::from_micros(late.as_micros() / 8));
            call.lag.on_read(given, until);
            call.recorded_until = Some(until);
        }
    }

    /// So much was recorded and is lost. Packets that would have left by now are left out, and only their time passes: late ones would
    /// make the queue longer that a mixer keeps for us, and for good. The next one is as long as ever: what is left is silence.
    fn skip(&mut self, lost: Span) {
        let Some(call) = &mut self.call else { return };
        let mut left = samples_in(lost) as usize;
        if self.microphone.waiting() + left >= call.frame_samples {
            let all = self.microphone.drop_waiting() + left;
            left = all % call.frame_samples;
            call.sender.on_skipped((all - left) as u32);
        }
        self.microphone.take(&SILENCE[..left]);
    }

    fn send_frame(&mut self, now: Time, samples: usize, wire: &mut impl Wire) {
        let Some(call) = &mut self.call else {
            return;
        };
        if !call.params.send {
            call.keypad.release();
            call.pause = Pause::default();
            return call.sender.on_skipped(samples as u32);
        }
        if let Some(event) = call.params.telephone_event
            && let Some(press) = call.keypad.next(call.sender.timestamp(), samples as u32)
        {
            return self.send_event(now, event, press, samples as u32, wire);
        }
        if call.params.follows && call.slack.leaves_out(now, &self.frame[..samples]) {
            return call.sender.on_skipped(samples as u32);
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
        if self.settings.codec.dtx && call.pause.withholds(samples as u32, len <= NEEDLESS) {
            return call.sender.on_skipped(samples as u32);
        }
        if let Some(red) = red {
            call.echo.keep(&numbers, samples as u32, &payload[..len]);
            numbers.payload_type = if before > 0 { red.send_payload_type } else { numbers.payload_type };
        }
        numbers.write(header.first_chunk_mut().expect("split at HEADER_LEN"));
        let len = before + len;
        let fate = call.peer.send_rtp(&mut self.packet[..], HEADER_LEN + len, wire);
        if fate == Fate::Withheld {
            call.counters.withheld += 1;
            return call.sender.on_skipped(samples as u32);
        }
        call.sender.on_sent(samples as u32, len);
        if call.params.follows && call.sender.packets() == 1 {
            // A mixer's ticks come right after the first packet: the others come between them. See `slack`.
            let half = samples.min(TICK) / 2;
            self.microphone.take(&SILENCE[..half]);
        }
        self.budget.on_sent(now, (overhead(&call.params).of_rtp() + len as u32) * 8, Kind::Media);
        self.on_fate(now, fate);
    }

    fn on_fate(&mut self, now: Time, fate: Fate) {
        match fate {
            Fate::Sent => self.liveness.on_sent(now),
            Fate::Refused | Fate::Withheld => {}
        }
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
        let fate = match self.budget.allowed(now, Kind::Media) >= bits {
            true => call.peer.send_rtp(&mut self.packet[..], HEADER_LEN + event::PAYLOAD_LEN, wire),
            false => Fate::Withheld,
        };
        if fate == Fate::Withheld {
            call.counters.withheld += 1;
            return call.sender.on_skipped(samples);
        }
        call.sender.on_event_sent(samples, event::PAYLOAD_LEN);
        self.budget.on_sent(now, bits, Kind::Media);
        self.on_fate(now, fate);
    }

    /// Sets the encoder anew if what is known of the line asks for it; packets of another length begin after this one.
    pub(super) fn steer(&mut self) {
        let Some(call) = &mut self.call else { return };
        let choice = call.autopilot.choice();
        if choice != call.choice {
            call.choice = choice;
            self.set_encoder(choice);
        }
    }

    /// An encoder that refuses a setting goes on with the one it has: the budget still holds the cap.
    pub(super) fn set_encoder(&mut self, choice: Choice) {
        self.hush.forget();
        let _ = self.encoder.set_bitrate(choice.bitrate.max(500));
        let _ = self.encoder.set_fec(choice.expected_loss);
        let economy = self.governor.economy();
        let _ = self.encoder.set_band(economy.band(choice.band));
        let _ = self.encoder.set_complexity(economy.complexity(self.settings.codec.complexity));
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
