//! What the commands of the local socket do, and what they answer (docs/local-socket.md).
//!
//! A command is answered at once: a call, which takes its time, with a number that its events carry.

use super::commands::{Command, Malformed, Whom};
use super::digits::DigitsError;
use super::errands::NoErrand;
use super::hold::HoldError;
use super::hunt::{Invitee, Plan};
use super::outgoing::{NoCall, Order};
use super::parked::SwapError;
use super::transfer::TransferError;
use super::visit::{Hold, Origin, Visit};
use super::{Agent, Cx, Output, Phase};
use crate::config::Button;
use crate::evdev;
use crate::media::volume::{Decibels, Volumes};
use crate::qss::message::Room;
use crate::status::event::{Kind, MutedBy};
use crate::status::failure::{Cause, Failure};
use serde::Serialize;

/// The reply to a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
enum Reply {
    Done {
        ok: bool,
        #[serde(flatten)]
        done: Done,
    },
    Refused {
        ok: bool,
        error: Error,
    },
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
enum Done {
    Nothing {},
    Muted {
        muted: bool,
    },
    Held {
        held: bool,
    },
    Volumes {
        playback_db: Decibels,
        capture_db: Decibels,
    },
    Joining {
        room: String,
        /// The device was in it before.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        already: bool,
    },
    /// The call has this number in events; its outcome is told by them.
    Calling {
        call: u32,
    },
    /// The QSS is asked; the event `request` with this number tells the outcome.
    Asking {
        request: u32,
    },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Error {
    code: &'static str,
    detail: &'static str,
}

/// Makes the enum and its readings from one table: stable code, words for people.
macro_rules! refusals {
    ($($variant:ident => $code:literal, $detail:literal;)*) => {
        /// Why a command is refused.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        enum Refusal {
            $($variant,)*
        }

        impl Refusal {
            /// One of each.
            #[cfg(test)]
            const ALL: &'static [Refusal] = &[$(Refusal::$variant,)*];

            const fn error(self) -> Error {
                match self {
                    $(Refusal::$variant => Error { code: $code, detail: $detail },)*
                }
            }
        }
    };
}

refusals! {
    UnknownCommand => "unknown_command", "there is no such command; docs/local-socket.md has them all";
    BadArgument => "bad_argument", "the command's arguments are missing, too many or not of the right kind";
    NoCall => "no_call", "the device is in no room";
    NoSession => "no_session", "this needs the QSS, and there is no session";
    Busy => "busy", "the device is in a call; hang up first";
    NoRoom => "no_room", "the QSS gives no new room, or too many of ours could not be destroyed yet";
    NotRinging => "not_ringing", "no invite rings here, or none with this id";
    NotOurs => "not_ours", "this is for rooms that this device has made, and it has not made this one";
    NoneWaits => "none_waits", "no call waits on hold for another one, or none in that room";
    NotUp => "not_up", "the present call does not stand yet, or is being moved, and cannot be put on hold";
    NoDigits => "no_digits", "the mixer takes no digits the way the configuration wants (sip.dtmf)";
    DigitsWait => "digits_wait", "the digits before these are still being sent";
    Moving => "moving", "a transfer is under way";
    NoTransfer => "no_transfer", "no transfer of this device waits for its answer";
    NotOffered => "not_offered", "the configuration has no word for it (qss.names)";
    TooMany => "too_many", "too many requests wait for the QSS, or a call has more than 64 people";
    Stopping => "stopping", "the process is starting or stopping";
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Refusal {
        match malformed {
            Malformed::UnknownCommand => Refusal::UnknownCommand,
            Malformed::BadArgument => Refusal::BadArgument,
        }
    }
}

impl From<NoCall> for Refusal {
    fn from(why: NoCall) -> Refusal {
        match why {
            NoCall::NoSession => Refusal::NoSession,
            NoCall::Busy => Refusal::Busy,
            NoCall::NoRoom => Refusal::NoRoom,
            NoCall::TooMany => Refusal::TooMany,
        }
    }
}

impl From<NoErrand> for Refusal {
    fn from(why: NoErrand) -> Refusal {
        match why {
            NoErrand::NoRoom => Refusal::NoCall,
            NoErrand::NoSession => Refusal::NoSession,
            NoErrand::NotOffered => Refusal::NotOffered,
            NoErrand::TooMany => Refusal::TooMany,
            NoErrand::Busy => Refusal::Busy,
        }
    }
}

impl Agent {
    pub(super) fn on_local(&mut self, cx: &mut Cx<'_>, client: u32, line: &str) {
        let reply = match Command::parse(line) {
            Ok(Command::Status) => return self.reply_snapshot_soon(cx, client),
            Ok(command) => self.obey(cx, command),
            Err(malformed) => Err(malformed.into()),
        };
        let reply = match reply {
            Ok(done) => Reply::Done { ok: true, done },
            Err(refusal) => Reply::Refused { ok: false, error: refusal.error() },
        };
        self.reply(cx, client, &reply);
    }

    /// A button is a line that nobody waits for the answer of: an event tells it.
    pub(super) fn on_pressed(&mut self, cx: &mut Cx<'_>, device: &str, code: u16) {
        let is_it = |button: &&Button| button.device == device && evdev::code(&button.key) == Some(code);
        let Some(button) = self.config.buttons.iter().find(is_it) else { return };
        let does = if button.toggle && (self.is_engaged() || self.asks_for_invitation()) {
            "hangup".to_owned()
        } else {
            button.does.clone()
        };
        let done = Command::parse(&does).map_err(Refusal::from).and_then(|command| self.obey(cx, command));
        let refused = done.err().map(|refusal| refusal.error().code);
        self.emit(cx, Kind::Button { does, refused }, None);
    }

    fn obey(&mut self, cx: &mut Cx<'_>, command: Command) -> Result<Done, Refusal> {
        if self.phase != Phase::Running {
            return Err(Refusal::Stopping);
        }
        match command {
            // Answered by whoever has a client; a button wants no answer.
            Command::Status => Ok(Done::Nothing {}),
            Command::Mute(muted) => {
                self.set_muted(cx, muted, MutedBy::Local);
                Ok(Done::Muted { muted })
            }
            Command::Volume(order) => {
                let Volumes { capture, playback } = match order {
                    Some(order) => self.set_volume(cx, order),
                    None => self.voice.volumes,
                };
                Ok(Done::Volumes { playback_db: playback, capture_db: capture })
            }
            Command::MuteOther { user, muted } => Ok(Done::Asking { request: self.mute_other(cx, user, muted)? }),
            Command::Add(users) => Ok(Done::Asking { request: self.change_participants(cx, true, users)? }),
            Command::Remove(users) => Ok(Done::Asking { request: self.change_participants(cx, false, users)? }),
            Command::Request { user, room } => {
                Ok(Done::Asking { request: self.ask_for_invitation(cx, user, room.as_deref())? })
            }
            Command::Hold(wanted) => match self.hold(cx, wanted) {
                Ok(()) => Ok(Done::Held { held: wanted == Hold::On }),
                Err(HoldError::NoCall) => Err(Refusal::NoCall),
            },
            Command::Swap(name) => match self.swap(cx, name.as_deref()) {
                Ok(room) => Ok(Done::Joining { room, already: false }),
                Err(SwapError::NoneWaits) => Err(Refusal::NoneWaits),
                Err(SwapError::NotUp) => Err(Refusal::NotUp),
            },
            Command::Digits(digits) => match self.press(cx, &digits) {
                Ok(()) => Ok(Done::Nothing {}),
                Err(DigitsError::NoCall) => Err(Refusal::NoCall),
                Err(DigitsError::NoWay) => Err(Refusal::NoDigits),
                Err(DigitsError::TooMany) => Err(Refusal::DigitsWait),
            },
            Command::Transfer(order) => match self.transfer(cx, &order) {
                Ok(()) => Ok(Done::Nothing {}),
                Err(TransferError::NoCall) => Err(Refusal::NoCall),
                Err(TransferError::NoSession) => Err(Refusal::NoSession),
                Err(TransferError::Moving) => Err(Refusal::Moving),
                Err(TransferError::NotOffered) => Err(Refusal::NotOffered),
            },
            Command::CancelTransfer => match self.cancel_transfer(cx) {
                true => Ok(Done::Nothing {}),
                false => Err(Refusal::NoTransfer),
            },
            // What was wanted last ends first.
            Command::HangUp if self.withdraw_invitation_request(cx) => Ok(Done::Nothing {}),
            Command::HangUp => self.on_leave(cx, 200),
            Command::Leave(cause) => self.on_leave(cx, cause),
            Command::Join(name) => self.on_join(cx, &name),
            Command::Create { record } => {
                let plan = Plan::of(&self.config.calls.plain, Vec::new(), Vec::new());
                self.on_call(cx, Order { name: "own".to_owned(), plan, record, request_id: None, frame_id: None })
            }
            Command::Destroy(room) => self.on_destroy(cx, room.as_deref()),
            Command::Call(whom) => {
                let order = self.order(whom);
                self.on_call(cx, order)
            }
            Command::Answer(id) => match self.answer_pending(cx, id.as_deref()) {
                true => Ok(Done::Nothing {}),
                false => Err(Refusal::NotRinging),
            },
            Command::Reject { id, code } => match self.reject_pending(cx, id.as_deref(), code) {
                true => Ok(Done::Nothing {}),
                false => Err(Refusal::NotRinging),
            },
            Command::Invite(whom) => self.on_invite_command(cx, whom),
        }
    }

    /// Into a call of our own, or into the room of others.
    fn on_invite_command(&mut self, cx: &mut Cx<'_>, Whom { users, context }: Whom) -> Result<Done, Refusal> {
        if self.are_too_many(&users) {
            return Err(Refusal::TooMany);
        }
        let invitees = Invitee::all(&self.config.calls.plain, users, context);
        match self.outgoing {
            // Of a call that is over but for its busy tone there is no more.
            Some(_) => self.invite_more(cx, invitees).map(|call| Done::Calling { call }).ok_or(Refusal::Busy),
            None => Ok(Done::Asking { request: self.invite_others(cx, invitees)? }),
        }
    }

    /// Who is called by one word may have a `[[call]]` of that name.
    fn order(&self, Whom { users, context }: Whom) -> Order {
        let calls = &self.config.calls;
        let named = match &users[..] {
            [name] => calls.list.iter().find(|call| call.name == *name),
            _ => None,
        };
        let name = users.join(" ");
        match named {
            Some(call) => Order {
                name,
                plan: Plan::of(call, call.targets.clone(), context),
                record: call.record,
                request_id: None,
                frame_id: None,
            },
            None => Order {
                name,
                plan: Plan::of(&calls.plain, users, context),
                record: calls.plain.record,
                request_id: None,
                frame_id: None,
            },
        }
    }

    fn on_call(&mut self, cx: &mut Cx<'_>, order: Order) -> Result<Done, Refusal> {
        Ok(Done::Calling { call: self.call_out(cx, order)? })
    }

    fn on_leave(&mut self, cx: &mut Cx<'_>, cause: u16) -> Result<Done, Refusal> {
        let visit = self.visit.as_mut().ok_or(Refusal::NoCall)?;
        visit.leave_cause = cause;
        self.fail_visit(cx, &Failure::HungUp.into());
        Ok(Done::Nothing {})
    }

    fn on_destroy(&mut self, cx: &mut Cx<'_>, room: Option<&str>) -> Result<Done, Refusal> {
        let here = self.visit.as_ref().and_then(|visit| visit.room.id.clone());
        let room = room.map(str::to_owned).or_else(|| here.clone()).ok_or(Refusal::NoCall)?;
        if !self.own.needs(&room) {
            return Err(Refusal::NotOurs);
        }
        if here.as_ref() == Some(&room) {
            self.fail_visit(cx, &Cause::new(Failure::HungUp, "the room is destroyed"));
        } else if let Some(i) = self.parked_in_room(Some(&room)) {
            self.fail_parked(cx, i, &Cause::new(Failure::HungUp, "the room is destroyed"));
        }
        self.forget_room(&room);
        Ok(Done::Nothing {})
    }

    fn on_join(&mut self, cx: &mut Cx<'_>, name: &str) -> Result<Done, Refusal> {
        let configured = self.rooms.admit_again(name);
        let is_uri = name.starts_with("sip:");
        let here = self.visit.as_ref().is_some_and(|visit| is_in(visit, configured, name));
        let waits = self.parked.iter().position(|parked| is_in(&parked.visit, configured, name));
        let possible = self.session.is_registered() || configured.map_or(is_uri, |i| self.rooms.is_direct(i));
        if !(here || waits.is_some() || possible) {
            return Err(Refusal::NoSession);
        }
        if let Some(i) = configured {
            self.rooms.ask_for(i);
        }
        if let Some(parked) = waits.map(|i| self.parked.remove(i)) {
            self.leave_all(cx);
            self.resume(cx, parked);
            self.forgive();
            return Ok(Done::Joining { room: name.to_owned(), already: false });
        }
        if here {
            self.interrupted = None;
            self.end_all_parked(cx, &Failure::Replaced.into());
            // Whoever asks for it wants it whatever it did before.
            self.forgive();
            return Ok(Done::Joining { room: name.to_owned(), already: true });
        }
        self.leave_all(cx);
        match configured {
            Some(i) => self.visit_configured(cx, i),
            None => {
                let (id, sip_uri) = if is_uri { (None, Some(name.to_owned())) } else { (Some(name.to_owned()), None) };
                self.begin_visit(cx, name.to_owned(), Origin::Asked, Room { id, sip_uri, ..Room::default() });
            }
        }
        Ok(Done::Joining { room: name.to_owned(), already: false })
    }

    /// Whoever wants to be elsewhere does not want to be taken back.
    fn leave_all(&mut self, cx: &mut Cx<'_>) {
        self.interrupted = None;
        self.end_all_parked(cx, &Failure::Replaced.into());
        self.end_visit(cx, &Failure::Replaced.into());
    }

    pub(super) fn reply(&self, cx: &mut Cx<'_>, client: u32, reply: &impl Serialize) {
        let line = serde_json::to_string(reply).expect("replies have string keys and no failing serializer");
        cx.out.push_back(Output::Reply { client, line });
    }
}

fn is_in(visit: &Visit, configured: Option<usize>, name: &str) -> bool {
    match (&visit.origin, configured) {
        (Origin::Configured(i), Some(wanted)) => *i == wanted,
        (Origin::Configured(_), None)
        | (Origin::Invited { .. } | Origin::Asked | Origin::Called | Origin::Made | Origin::Transferred { .. }, _) => {
            visit.room.id.as_deref() == Some(name) || visit.room.sip_uri.as_deref() == Some(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented() {
        let page = include_str!("../../docs/local-socket.md");
        for refusal in Refusal::ALL {
            let Error { code, detail } = refusal.error();
            assert!(page.contains(&format!("| `{code}` | {detail} |")), "docs/local-socket.md: {code}");
        }
    }

    #[test]
    fn replies_are_flat_objects() {
        let text = |reply: &Reply| serde_json::to_string(reply).expect("a reply");
        let done = |done| text(&Reply::Done { ok: true, done });
        assert_eq!(done(Done::Nothing {}), r#"{"ok":true}"#);
        assert_eq!(done(Done::Calling { call: 3 }), r#"{"ok":true,"call":3}"#);
        assert_eq!(done(Done::Joining { room: "r".into(), already: false }), r#"{"ok":true,"room":"r"}"#);
        let refused = text(&Reply::Refused { ok: false, error: Refusal::NoCall.error() });
        assert_eq!(refused, r#"{"ok":false,"error":{"code":"no_call","detail":"the device is in no room"}}"#);
    }
}
