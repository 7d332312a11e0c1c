//! Digits: keys that are pressed here, and those that the mixer sends, each one event.
//!
//! | `sip.dtmf` | telephone events agreed on, and we may send | otherwise |
//! |------------|---------------------------------------------|-----------|
//! | `auto`     | RTP                                         | INFO      |
//! | `rtp`      | RTP                                         | refused   |
//! | `info`     | INFO                                        | INFO      |

use super::visit::Visit;
use super::{Agent, Cx};
use crate::config::Dtmf;
use crate::dtmf::{Digit, Digits, MAX_DIGITS};
use crate::media::command::Command;
use crate::sip::endpoint::CallId;
use crate::status::event::Kind;
use crate::time::Time;
use serde::Serialize;

/// How a digit travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// As telephone event (RFC 4733).
    Rtp,
    /// As SIP INFO.
    Info,
}

/// Why digits are not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DigitsError {
    NoCall,
    /// The mixer has no telephone events, and nothing else is allowed; or the call is on hold.
    NoWay,
    /// Those before them take too long.
    TooMany,
}

/// What is known of the keys of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    call: CallId,
    /// Until then digits are being sent, as far as we know.
    busy_until: Time,
    /// The last digit that was heard.
    heard: Option<(Digit, Way, Time)>,
}

impl Keys {
    fn of(call: CallId, now: Time) -> Keys {
        Keys { call, busy_until: now, heard: None }
    }
}

impl Agent {
    /// Sends digits to the mixer.
    ///
    /// # Errors
    /// See [`DigitsError`]: none of them is sent.
    pub(super) fn press(&mut self, cx: &mut Cx<'_>, digits: &Digits) -> Result<(), DigitsError> {
        let up = self.visit.as_ref().and_then(Visit::up).ok_or(DigitsError::NoCall)?;
        let by_rtp = up.params.send && up.params.telephone_event.is_some();
        let way = match (self.config.sip.dtmf, by_rtp) {
            (Dtmf::Auto | Dtmf::Rtp, true) => Way::Rtp,
            (Dtmf::Auto, false) | (Dtmf::Info, _) => Way::Info,
            (Dtmf::Rtp, false) => return Err(DigitsError::NoWay),
        };
        let (call, tone, gap) = (up.call, self.config.sip.dtmf_tone, self.config.sip.dtmf_gap);
        let keys = self.keys_of(call, cx.now);
        let busy_until = keys.busy_until.max(cx.now) + (tone + gap).times(digits.iter().count() as u64);
        if busy_until > cx.now + (tone + gap).times(MAX_DIGITS as u64) {
            return Err(DigitsError::TooMany);
        }
        keys.busy_until = busy_until;
        let digits = *digits;
        match way {
            Way::Rtp => self.media(cx, Command::Digits { digits, tone, gap }),
            Way::Info => self.with_sip(cx, |sip, now, out| sip.press(now, call, &digits, out)),
        }
        Ok(())
    }

    /// The mixer has pressed a key.
    pub(super) fn on_digit(&mut self, cx: &mut Cx<'_>, call: u32, digit: Digit, way: Way) {
        let Some(call) = self.visit.as_ref().and_then(Visit::up).map(|up| up.call).filter(|up| up.0 == call) else {
            return;
        };
        let now = cx.now;
        let before = self.keys_of(call, now).heard.replace((digit, way, now));
        // A mixer that sends digits both ways sends each of them within this time; nobody presses a key again so that it
        // comes the other way.
        let twice = self.config.sip.dtmf_twice;
        let again = |(known, by, at): (Digit, Way, Time)| known == digit && by != way && now.since(at) < twice;
        if before.is_some_and(again) {
            self.keys_of(call, now).heard = before;
            return;
        }
        self.emit(cx, Kind::Digit { digit: digit.as_char(), by: way }, None);
    }

    fn keys_of(&mut self, call: CallId, now: Time) -> &mut Keys {
        let keys = self.keys.get_or_insert_with(|| Keys::of(call, now));
        if keys.call != call {
            *keys = Keys::of(call, now);
        }
        keys
    }
}
