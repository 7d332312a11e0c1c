//! The sound of a call: what the media thread says, and what it means for the call.

use super::digits::Way;
use super::visit::{Hearing, Leg, Up, Visit};
use super::{Agent, Cx};
use crate::media::command::{CardEvent, Command, Event as MediaEvent, PacketKind};
use crate::media::tone::Tone;
use crate::status::Rung;
use crate::status::event::{Card, Kind};
use crate::status::failure::{Cause, Failure};
use crate::time::{Span, Time};

impl Agent {
    /// Plays a tone, if the configuration wants tones of its kind.
    pub(super) fn tone(&mut self, cx: &mut Cx<'_>, tone: Tone) {
        let wanted = match tone {
            Tone::Rung(_) => self.config.audio.ladder_tones,
            Tone::Ring | Tone::Ringback | Tone::Busy | Tone::Connected | Tone::Muted | Tone::Unmuted => {
                self.config.audio.tones
            }
        };
        if wanted {
            self.media(cx, Command::Tone(tone));
        }
    }

    pub(super) fn on_media(&mut self, cx: &mut Cx<'_>, event: MediaEvent) {
        self.note_early(cx.now, event);
        match event {
            MediaEvent::Bound { rtp_port, rtcp_port } => self.voice.ports = Some((rtp_port, rtcp_port)),
            // Said before a hold reached the media thread, these three are no longer true.
            MediaEvent::Sending { call } => self.on_stream(cx, call, None, |up, _| up.sending = up.params.send),
            MediaEvent::NotSending { call } => self.on_not_sending(cx, call),
            MediaEvent::Receiving { call } => {
                self.on_stream(cx, call, None, |up, _| {
                    up.hearing = match up.hearing {
                        Hearing::Packets | Hearing::Silence(_) => Hearing::Packets,
                        held @ Hearing::Held { .. } => held,
                    }
                });
            }
            MediaEvent::Silent { call, since } => self.on_silent(cx, call, since),
            MediaEvent::Playing { call } => {
                self.on_stream(cx, call, None, |up, _| up.playing = up.hearing == Hearing::Packets);
            }
            MediaEvent::NotPlaying { call } => {
                let cause = self.card_cause(Failure::NotPlaying);
                self.on_stream(cx, call, Some(cause), |up, _| up.playing = false);
            }
            MediaEvent::Invalid { kind, more, .. } => {
                let what = match kind {
                    PacketKind::Rtp => "rtp_invalid",
                    PacketKind::Rtcp => "rtcp_invalid",
                };
                self.problems(cx, what, more);
            }
            MediaEvent::Digit { call, digit } => self.on_digit(cx, call, digit, Way::Rtp),
            MediaEvent::Unheard { call, times } => self.on_unheard(cx, call, times),
            // The SIP BYE follows, or the silence does.
            MediaEvent::PeerBye { .. } => {}
            MediaEvent::Card(event) => self.on_card(cx, event),
            MediaEvent::Economy(economy) => {
                let kind = Kind::Economy { step: economy.step, why: economy.why.word() };
                self.emit(cx, kind, None);
            }
            MediaEvent::Stats(stats) => self.on_stats(cx, stats),
            MediaEvent::Alive => {}
        }
    }

    /// What is heard before the answer is no news, but holds when the call is answered.
    fn note_early(&mut self, now: Time, event: MediaEvent) {
        let Some(Leg::Dialling { call, early: Some(early), .. }) = self.visit.as_mut().map(|visit| &mut visit.leg)
        else {
            return;
        };
        match event {
            MediaEvent::Receiving { call: of } if of == call.0 => early.hearing = Hearing::Packets,
            MediaEvent::Silent { call: of, .. } if of == call.0 => {
                (early.hearing, early.playing) = (Hearing::Silence(now), false);
            }
            MediaEvent::Playing { call: of } if of == call.0 => early.playing = true,
            MediaEvent::NotPlaying { call: of } if of == call.0 => early.playing = false,
            MediaEvent::Receiving { .. }
            | MediaEvent::Silent { .. }
            | MediaEvent::Playing { .. }
            | MediaEvent::NotPlaying { .. }
            | MediaEvent::Bound { .. }
            | MediaEvent::Sending { .. }
            | MediaEvent::NotSending { .. }
            | MediaEvent::Invalid { .. }
            | MediaEvent::Digit { .. }
            | MediaEvent::Unheard { .. }
            | MediaEvent::PeerBye { .. }
            | MediaEvent::Card(_)
            | MediaEvent::Economy(_)
            | MediaEvent::Stats(_)
            | MediaEvent::Alive => {}
        }
    }

    /// Packets stopped leaving; or none has ever left, which changes no rung: a snapshot says why.
    fn on_not_sending(&mut self, cx: &mut Cx<'_>, call: u32) {
        let cause = self.card_cause(Failure::NotSending);
        let Some(up) = self.visit.as_mut().and_then(Visit::up_mut).filter(|up| up.call.0 == call) else { return };
        if std::mem::replace(&mut up.sending, false) {
            self.observe(cx, Some(&cause));
        } else {
            self.reporter.explain(Rung::Sending, &cause);
            self.snapshot_soon(cx);
        }
    }

    /// The first silence counts, its repetitions only confirm it. A mixer that was restarted says 481 to the probe, and
    /// need not be waited for.
    fn on_silent(&mut self, cx: &mut Cx<'_>, call: u32, since: Span) {
        let Some(up) = self.visit.as_mut().and_then(Visit::up_mut).filter(|up| up.call.0 == call) else { return };
        match up.hearing {
            Hearing::Packets => up.hearing = Hearing::Silence(cx.now - since),
            Hearing::Silence(_) | Hearing::Held { .. } => return,
        }
        up.playing = false;
        self.observe(cx, Some(&Failure::MediaSilent.into()));
        self.probe(cx);
    }

    /// The mixer hears nothing of us. A re-INVITE tells it once more where we are; if that does not help, another call may.
    fn on_unheard(&mut self, cx: &mut Cx<'_>, call: u32, times: u32) {
        let Some(up) = self.visit.as_ref().and_then(Visit::up).filter(|up| up.call.0 == call && up.params.send) else {
            return;
        };
        match times {
            0 | 1 => self.probe(cx),
            _ => self.give_up_call(cx, up.call, Failure::MediaUnheard),
        }
    }

    /// Events of an earlier call's stream find none.
    fn on_stream(&mut self, cx: &mut Cx<'_>, call: u32, cause: Option<Cause>, change: impl FnOnce(&mut Up, Time)) {
        if let Some(up) = self.visit.as_mut().and_then(Visit::up_mut).filter(|up| up.call.0 == call) {
            change(up, cx.now);
            self.observe(cx, cause.as_ref());
        }
    }

    fn on_card(&mut self, cx: &mut Cx<'_>, event: CardEvent) {
        let (card, cause) = match event {
            CardEvent::Opened { rate, period, buffer } => {
                self.voice.trouble = None;
                (Card::Opened { rate, period, buffer }, None)
            }
            CardEvent::Lost { error, words } => {
                let before = self.voice.trouble.replace(error);
                // Another error on the way back is the same loss.
                self.reporter.counters.card_losses += u64::from(before.is_none());
                if before == Some(error) {
                    return;
                }
                (Card::Lost, Some(Cause::new(error.into(), words.as_str())))
            }
            CardEvent::Returned { away } => {
                self.voice.trouble = None;
                (Card::Returned { away_ms: away.as_millis() }, None)
            }
            CardEvent::Controls { words } => (Card::Controls, Some(Cause::new(Failure::CardControls, words.as_str()))),
            CardEvent::Xrun { count } => {
                self.reporter.counters.xruns += u64::from(count);
                return;
            }
            CardEvent::Closed => return,
        };
        self.emit(cx, Kind::Card { card }, cause);
    }

    /// A card in trouble explains more than what follows from it.
    fn card_cause(&self, otherwise: Failure) -> Cause {
        self.voice.trouble.map_or(otherwise, Failure::from).into()
    }
}
