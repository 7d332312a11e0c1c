//! INFO (RFC 6086): digits as `application/dtmf-relay`, one after the other, for peers without telephone events.
//!
//! ```text
//!   Idle --digits--> Asked --2xx--> Pause --tone and gap over, more digits--> Asked ...
//!                      '--refused: the rest is dropped, and said so
//! ```
//!
//! One request at a time keeps the digits in order over UDP. What the peer sends is understood in both forms that are
//! found in the field, `application/dtmf-relay` (`Signal=5`) and `application/dtmf` (the digit alone).

use super::call::{Call, Session, State};
use super::core::{Core, Incoming};
use super::endpoint::{EndCause, Event, Outbox, Output};
use super::invite::media_type_is;
use super::message::{Method, Name, Request};
use super::transaction::{Answer, Purpose, User};
use crate::dtmf::{Digit, Digits, MAX_DIGITS};
use crate::time::{Time, Wakeup};
use std::collections::VecDeque;

const RELAY: &str = "application/dtmf-relay";
const PLAIN: &str = "application/dtmf";
/// Two full commands; more is dropped.
const QUEUE: usize = 2 * MAX_DIGITS;

/// Digits of a call on their way out.
#[derive(Debug, Default)]
pub(super) struct Keypad {
    left: VecDeque<Digit>,
    step: Step,
}

#[derive(Clone, Copy, Debug, Default)]
enum Step {
    #[default]
    Idle,
    /// This digit is out; so often it was refused with a challenge.
    Asked { digit: Digit, since: Time, refusals: u8 },
    /// The peer plays the last digit, and a gap.
    Pause { until: Time },
}

impl Keypad {
    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        match self.step {
            Step::Pause { until } if !self.left.is_empty() => Some(Wakeup::new(until, "sip: next digit")),
            Step::Pause { .. } | Step::Idle | Step::Asked { .. } => None,
        }
    }
}

impl Call {
    /// Sends digits after those that still wait.
    pub(super) fn press(&mut self, core: &mut Core, now: Time, digits: &Digits, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        let room = QUEUE - session.keypad.left.len().min(QUEUE);
        session.keypad.left.extend(digits.iter().take(room));
        self.press_next(core, now, out);
    }

    /// The next digit goes out if nothing is in its way.
    pub(super) fn press_next(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        match session.keypad.step {
            Step::Idle => {}
            Step::Pause { until } if until <= now => {}
            Step::Asked { .. } | Step::Pause { .. } => return,
        }
        session.keypad.step = Step::Idle;
        if let Some(digit) = session.keypad.left.pop_front() {
            session.keypad.step = Step::Asked { digit, since: now, refusals: 0 };
            session.send_digit(core, now, digit, User { call: self.id, purpose: Purpose::Digit }, out);
        }
    }

    pub(super) fn on_digit_response(&mut self, core: &mut Core, now: Time, answer: &Answer, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        let Step::Asked { digit, since, refusals } = session.keypad.step else { return };
        let response = &answer.response;
        match response.status {
            ..=199 => {}
            200..=299 => {
                // The answer may have taken its time: then there is nothing to wait for.
                let over = since + core.config.dtmf_tone + core.config.dtmf_gap;
                session.keypad.step = Step::Pause { until: over };
                self.press_next(core, now, out);
            }
            401 | 407 if session.leg.credentials.learn(response, refusals, &mut core.rng).is_ok() => {
                session.keypad.step = Step::Asked { digit, since: now, refusals: refusals + 1 };
                session.send_digit(core, now, digit, User { call: self.id, purpose: Purpose::Digit }, out);
            }
            // RFC 5057 5.1: the dialog is gone.
            408 | 481 => {
                let cause = EndCause::Refused { status: response.status, reason: response.reason.clone() };
                self.leave_session(core, now, cause, out);
            }
            _ => self.on_digits_lost(out),
        }
    }

    /// The peer takes no digits, or none arrive there: the rest would be half a code.
    pub(super) fn on_digits_lost(&mut self, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        session.keypad = Keypad::default();
        out.push_back(Output::Event(Event::DigitsLost { call: self.id }));
    }

    /// INFO of the peer. What is no digit is acknowledged too: mixers send other things, and some end the call when
    /// they are refused.
    pub(super) fn on_info(&mut self, core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
        // RFC 6086 4.2.2: an Info Package that we have not asked for.
        if incoming.request.headers.first(&Name::InfoPackage).is_some() {
            return core.refuse(incoming, 469, out);
        }
        core.refuse(incoming, 200, out);
        if let (State::Confirmed(_), Some(digit)) = (&self.state, digit_of(incoming.request)) {
            out.push_back(Output::Event(Event::Digit { call: self.id, digit }));
        }
    }
}

impl Session {
    fn send_digit(&mut self, core: &mut Core, now: Time, digit: Digit, user: User, out: &mut Outbox) {
        let mut info = self.dialog.request(Method::Info);
        info.headers.push(Name::ContentType, RELAY);
        let millis = core.config.dtmf_tone.as_millis();
        info.body = format!("Signal={}\r\nDuration={millis}\r\n", digit.as_char()).into_bytes();
        self.leg.credentials.authorize(&mut info);
        core.send(now, info, self.leg.route, user, out);
    }
}

/// The digit that an INFO carries.
fn digit_of(request: &Request) -> Option<Digit> {
    let kind = request.headers.first(&Name::ContentType)?;
    if ![RELAY, PLAIN].iter().any(|known| media_type_is(kind, known)) {
        return None;
    }
    let body = std::str::from_utf8(&request.body).ok()?;
    let value_of = |line: &str| {
        let (key, value) = line.split_once('=')?;
        key.trim().eq_ignore_ascii_case("signal").then(|| value.trim().to_owned())
    };
    let value = body.lines().find_map(value_of).unwrap_or_else(|| body.trim().to_owned());
    let mut chars = value.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Digit::of_char(c),
        // Some write the event code: 10 is the star.
        _ => value.parse().ok().and_then(Digit::of_event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_found_in_every_form_of_the_field() {
        let digit = |kind: &str, body: &str| {
            let mut info = Request::new(Method::Info, "sip:a@b");
            info.headers.push(Name::ContentType, kind);
            info.body = body.into();
            digit_of(&info).map(Digit::as_char)
        };
        for (body, expected) in [
            ("Signal=5\r\nDuration=160\r\n", Some('5')),
            ("Signal= *\nDuration= 250", Some('*')),
            ("Duration=100\r\nsignal = #", Some('#')),
            ("Signal=11\r\n", Some('#')),
            ("Signal=d", Some('D')),
            ("7", Some('7')),
            ("12\r\n", Some('A')),
            ("Signal=16", None),
            ("Signal=", None),
            ("", None),
            ("hookflash", None),
        ] {
            assert_eq!(digit("application/dtmf-relay", body), expected, "{body:?}");
            assert_eq!(digit("Application/DTMF; charset=utf-8", body), expected, "{body:?}");
            assert_eq!(digit("text/plain", body), None);
        }
        assert_eq!(digit_of(&Request::new(Method::Info, "sip:a@b")), None);
    }
}
