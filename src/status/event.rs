//! One status event as JSON: the same line for the journal, the local socket and (as an event's payload) the QSS.
//! `docs/status-events.md` lists the kinds and fields.

use crate::agent::Way;
use crate::media::volume::Decibels;
use crate::status::conference::RoomEvent;
use crate::status::failure::Cause;
use crate::status::ladder::Rung;
use crate::status::snapshot::{Media, Snapshot};
use crate::time::{Clock, Time, Wall};
use serde::Serialize;

/// What happened, with the circumstances common to every event.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Event {
    /// Counts up from 1 without gaps while the process lives.
    pub seq: u64,
    /// Wall clock, milliseconds since the Unix epoch ...
    pub time_ms: u64,
    /// ... and how far to trust it.
    pub clock: Clock,
    /// Monotonic clock in milliseconds: for distances between events of one process.
    pub mono_ms: u64,
    pub device: String,
    #[serde(flatten)]
    pub kind: Kind,
    pub rung: Rung,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// So many events before this one were not told ([`flood`](super::flood)); upstream with those that could not be kept for
    /// the QSS.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost: u64,
}

/// The room an event is about.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RoomRef {
    pub name: String,
    /// The room's id at the QSS; a room dialled by its `sip_uri` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The kinds of event, named by the field `event`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Kind {
    /// A fact of the ladder changed; the rung may have changed with it.
    Ladder {
        previous: Rung,
        proven: Vec<Rung>,
    },
    /// An attempt failed and will be repeated. Repeats are folded: `repeats` is 1, 10, 100, ...
    Attempt {
        what: Attempt,
        repeats: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
    },
    Invite {
        outcome: InviteOutcome,
        id: String,
        from: String,
    },
    /// A call of the device itself, by its number: how far it is.
    Call {
        call: u32,
        name: String,
        #[serde(flatten)]
        step: CallStep,
    },
    /// What a local command asked of the QSS, by its number, and what came of it.
    Request {
        request: u32,
        what: Asked,
        users: Vec<String>,
        outcome: RequestOutcome,
    },
    /// A button was pressed: the command it stands for, and why it was refused.
    Button {
        does: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<&'static str>,
    },
    /// A SIP server knows the device now: it can be called by it.
    SipRegistered {
        server: String,
    },
    /// The input device of a button can be read again, or not.
    ButtonDevice {
        input: String,
        there: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// A room that the device has made stays behind: the QSS does not let it be destroyed.
    RoomLeft {
        id: String,
    },
    /// A confirmed call is over.
    CallEnded {
        duration_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        media: Option<Box<Media>>,
    },
    Card {
        card: Card,
    },
    /// The machine does not keep up, or does again.
    Economy {
        step: u8,
        why: &'static str,
    },
    Mute {
        muted: bool,
        by: MutedBy,
    },
    /// The loudspeaker, or the microphone, is louder or softer now.
    Volume {
        playback_db: Decibels,
        capture_db: Decibels,
    },
    /// The call of this room was put on hold here, or goes on.
    Hold {
        held: bool,
    },
    /// The mixer has pressed a key.
    Digit {
        digit: char,
        by: Way,
    },
    /// Input that nobody can use, folded like `attempt`.
    Problem {
        what: &'static str,
        count: u64,
        /// What was not understood, such as an event's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// An event of the QSS that means nothing to the device, as it came.
    UnknownEvent {
        name: String,
        raw: String,
        /// All of it, of which `raw` may be the beginning.
        bytes: usize,
        /// So many before it were not passed on.
        #[serde(skip_serializing_if = "is_zero")]
        skipped: u64,
    },
    Snapshot(Box<Snapshot>),
    /// An event of the vendor's SDK, under its own name.
    #[serde(untagged)]
    Room(RoomEvent),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attempt {
    /// To renew a token that still holds.
    Token,
    Session,
    Room,
    Call,
    /// At a SIP server.
    Registration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InviteOutcome {
    /// It rings until a person, or time, decides.
    Ringing,
    /// Nobody has answered it here.
    Unanswered,
    Accepted,
    Declined,
    Busy,
    Withdrawn,
    Unusable,
}

/// What a local command asks of the QSS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Asked {
    /// To admit users to the room.
    Add,
    /// To put them out.
    Remove,
    Mute,
    Unmute,
    /// To invite somebody into the room of others.
    Invite,
    /// To be invited by somebody.
    Invitation,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestOutcome {
    Done,
    Refused,
    /// No reply in time, or none before the session was lost; or no invite after the consent.
    Unanswered,
    /// Nobody wanted it any more.
    Withdrawn,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum CallStep {
    /// Its room is being made and joined.
    Making,
    /// This user is invited.
    Ringing {
        user: String,
    },
    /// This user does not come.
    Refused {
        user: String,
        outcome: Outcome,
    },
    /// `user` was invited; `who` accepted: their id, as the QSS writes it.
    Answered {
        user: String,
        who: String,
    },
    /// Nobody comes.
    Nobody {
        outcome: Outcome,
    },
    Ended,
}

/// Why somebody does not come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Answered,
    /// 603 and other refusals of a person.
    Declined,
    /// 486, 600.
    Busy,
    /// Their ring time is over, or 408.
    NoAnswer,
    /// 480: known, not connected.
    NotConnected,
    /// 404: no such user.
    Unknown,
    /// 403: the room or the user is not for us.
    Forbidden,
    /// 487 that we did not ask for: taken by somebody else.
    Elsewhere,
    /// The QSS does not know or could not carry out the request.
    Failed,
    /// We hung up, or somebody else answered first.
    Withdrawn,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MutedBy {
    /// The local socket.
    Local,
    /// A `mute-request` of the QSS.
    Remote,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Card {
    /// What the card granted: samples per second, and frames of a period and of the buffer.
    Opened {
        rate: u32,
        period: u32,
        buffer: u32,
    },
    Lost,
    /// Its mixer does not do what is configured.
    Controls,
    Returned {
        away_ms: u64,
    },
}

/// Stamps events: who, when, which number.
#[derive(Clone, Debug)]
pub struct Stamp {
    device: String,
    seq: u64,
}

impl Stamp {
    pub fn new(device: &str) -> Stamp {
        Stamp { device: device.to_owned(), seq: 0 }
    }

    pub fn event(
        &mut self,
        now: Time,
        wall: impl Into<Wall>,
        kind: Kind,
        rung: Rung,
        room: Option<RoomRef>,
        cause: Option<Cause>,
    ) -> Event {
        self.seq += 1;
        let Wall { at, clock } = wall.into();
        let (time_ms, mono_ms) = (at.0, now.as_millis());
        Event { seq: self.seq, time_ms, clock, mono_ms, device: self.device.clone(), kind, rung, room, cause, lost: 0 }
    }
}

impl Event {
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("events have string keys and no failing serializer")
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::failure::Failure;
    use crate::time::WallTime;

    #[test]
    fn an_event_is_one_flat_line() {
        let mut stamp = Stamp::new("dev1");
        let kind = Kind::Ladder { previous: Rung::Playing, proven: vec![Rung::Session, Rung::Room] };
        let room = RoomRef { name: "lobby".into(), id: Some("2f11".into()) };
        let cause = Cause::new(Failure::SipRefused(503), "Service Unavailable");
        let now = Time::from_millis(1500);
        let event = stamp.event(now, WallTime(1_700_000_000_000), kind, Rung::Room, Some(room), Some(cause));
        assert_eq!(
            event.line(),
            r#"{"seq":1,"time_ms":1700000000000,"clock":"kept","mono_ms":1500,"device":"dev1","event":"ladder","previous":"playing","proven":["session","room"],"rung":"room","room":{"name":"lobby","id":"2f11"},"cause":{"code":"sip_refused","status":503,"detail":"Service Unavailable","what":"the mixer refused the call","evidence":"the final response, in `status` and `detail`","next":"look up the status in the mixer's log; the device tries again"}}"#
        );
    }

    #[test]
    fn nothing_empty_is_written() {
        let mut stamp = Stamp::new("d");
        let kind = Kind::Card { card: Card::Lost };
        let line = stamp.event(Time::ZERO, WallTime(0), kind, Rung::Call, None, None).line();
        assert_eq!(
            line,
            r#"{"seq":1,"time_ms":0,"clock":"kept","mono_ms":0,"device":"d","event":"card","card":{"state":"lost"},"rung":"call"}"#
        );
    }
}
