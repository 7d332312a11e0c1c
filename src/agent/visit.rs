//! A visit: the one room the device is in, or on its way to. Two things are true of it at once: whether the QSS admits
//! us ([`Membership`]) and how far the SIP call has come ([`Leg`]). Each changes without the other: a QSS that is away
//! ends no call, a call that is redialled ends no membership.

use crate::media::command::StreamParams;
use crate::media::plan::Plan;
use crate::qss::backoff::Backoff;
use crate::qss::message;
use crate::qss::requests::Ticket;
use crate::sip::endpoint::CallId;
use crate::status::event::RoomRef;
use crate::time::{Span, Time, Wakeup, soonest};

#[derive(Debug)]
pub(super) struct Visit {
    /// For logs and status.
    pub(super) name: String,
    pub(super) origin: Origin,
    /// What is known of the room; grows with the answer of joinRoom.
    pub(super) room: message::Room,
    pub(super) membership: Membership,
    pub(super) leg: Leg,
    pub(super) redial: Backoff,
    pub(super) hold: Hold,
    /// What the QSS was told of our microphone in this room; `None`: it may have forgotten.
    pub(super) believed_muted: Option<bool>,
    /// What it was told of our holding the call.
    pub(super) believed_hold: Option<Hold>,
    pub(super) reports: Reports,
    /// When the QSS last said that we are not in the room, and was asked.
    pub(super) doubted: Option<Time>,
    /// What leaveRoom says: a code as in SIP.
    pub(super) leave_cause: u16,
    /// joinRoom is out once more, because the room may have moved to another mixer.
    pub(super) inquiry: Option<Ticket>,
}

/// Reports of mute and hold that wait for their answer; without one the QSS may not know.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Reports {
    pub(super) mute: Option<Ticket>,
    pub(super) hold: Option<Ticket>,
    /// One was not answered: nothing is reported before then.
    pub(super) again_at: Option<Time>,
}

/// Why we are here; decides what happens when the visit ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// Room number `.0` of the configuration: tried again for ever.
    Configured(usize),
    /// Invited by request `id`, accepted at `accepted_at`: over when the call is. Only an invite of a higher `priority`
    /// ends it.
    Invited { id: String, accepted_at: Time, priority: u8 },
    /// We made the room, for a call of our own: over when the call is.
    Made,
    /// A transfer has moved us: over when the call is. It is as important as the call that was moved.
    Transferred { priority: u8 },
    /// Somebody said `join` with a room that is not configured: over when the call is.
    Asked,
    /// Somebody called the device: over when the call is, and nobody to dial again.
    Called,
}

/// Whether somebody holds the call here. Of the room, not of the call: it outlives redials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    Off,
    /// Nothing is sent and nothing is played until `hold off`.
    On,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Membership {
    /// No QSS is asked: the SIP URI is all there is to know.
    Direct,
    /// joinRoom or createRoom is on its way; there is no call yet.
    Asked(Ticket),
    Admitted,
    /// The QSS session that admitted us is gone. The call goes on, at most until `until`.
    Unproven {
        until: Time,
        proof: Proof,
    },
}

/// What is being done to prove a membership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// Nothing can be done before the next registration.
    NoSession,
    /// joinRoom is on its way.
    Asked(Ticket),
    /// The QSS could not say (it may be starting up): asked again then.
    Again(Time),
}

#[derive(Clone, Debug)]
pub(super) enum Leg {
    /// To be dialled as soon as the rest allows it.
    Due,
    /// Dialled again at `at`.
    Pausing {
        at: Time,
    },
    /// Of a call to the device: answered, and not yet acknowledged.
    Dialling {
        call: CallId,
        target: String,
        plan: Plan,
        /// What the peer lets us hear before it answers.
        early: Option<Early>,
    },
    Up(Up),
}

/// Media before the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Early {
    pub(super) params: StreamParams,
    pub(super) hearing: Hearing,
    pub(super) playing: bool,
}

/// A confirmed call.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) call: CallId,
    pub(super) target: String,
    pub(super) plan: Plan,
    pub(super) params: StreamParams,
    pub(super) since: Time,
    pub(super) sending: bool,
    pub(super) playing: bool,
    pub(super) hearing: Hearing,
}

/// What arrives from the mixer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hearing {
    Packets,
    /// Nothing since then.
    Silence(Time),
    /// Nothing is to be expected: the mixer holds the call. It is asked at `probe_at` whether it still knows it.
    Held {
        probe_at: Time,
    },
}

impl Origin {
    /// Only an invite of a higher one takes the place of the call.
    pub(super) fn priority(&self) -> u8 {
        match self {
            Origin::Invited { priority, .. } | Origin::Transferred { priority } => *priority,
            Origin::Configured(_) | Origin::Made | Origin::Asked | Origin::Called => 0,
        }
    }
}

impl Visit {
    /// Takes in how the QSS describes the room; what it leaves out is as it was.
    pub(super) fn describe(&mut self, described: message::Room) {
        let known = std::mem::take(&mut self.room);
        self.room = message::Room {
            id: described.id.clone().or(known.id),
            sip_uri: described.sip_uri.clone().or(known.sip_uri),
            bitrate: described.bitrate.or(known.bitrate),
            ..described
        };
    }

    /// The session that admitted us is gone, and with it what it was told. A membership that was only asked for stays so.
    pub(super) fn lose_session(&mut self, grace_ends: Time) {
        self.believed_muted = self.believed_muted.filter(|muted| !muted);
        self.believed_hold = self.believed_hold.filter(|hold| *hold == Hold::Off);
        self.membership = match self.membership {
            Membership::Admitted => Membership::Unproven { until: grace_ends, proof: Proof::NoSession },
            Membership::Unproven { until, .. } => Membership::Unproven { until, proof: Proof::NoSession },
            before @ (Membership::Direct | Membership::Asked(_)) => before,
        };
    }

    pub(super) fn room_ref(&self) -> RoomRef {
        RoomRef { name: self.name.clone(), id: self.room.id.clone() }
    }

    pub(super) fn is_admitted(&self) -> bool {
        match self.membership {
            Membership::Direct | Membership::Admitted => true,
            Membership::Asked(_) | Membership::Unproven { .. } => false,
        }
    }

    /// There is a call, or one is being set up.
    pub(super) fn has_call(&self) -> Option<CallId> {
        match &self.leg {
            Leg::Dialling { call, .. } => Some(*call),
            Leg::Up(up) => Some(up.call),
            Leg::Due | Leg::Pausing { .. } => None,
        }
    }

    pub(super) fn up(&self) -> Option<&Up> {
        match &self.leg {
            Leg::Up(up) => Some(up),
            Leg::Due | Leg::Pausing { .. } | Leg::Dialling { .. } => None,
        }
    }

    pub(super) fn up_mut(&mut self) -> Option<&mut Up> {
        match &mut self.leg {
            Leg::Up(up) => Some(up),
            Leg::Due | Leg::Pausing { .. } | Leg::Dialling { .. } => None,
        }
    }

    pub(super) fn poll_timeout(&self, dead_timeout: Span) -> Option<Wakeup> {
        let membership = match self.membership {
            Membership::Unproven { until, proof: Proof::Again(at) } if at < until => Some(Wakeup::new(at, "rejoin")),
            Membership::Unproven { until, .. } => Some(Wakeup::new(until, "call grace without qss")),
            Membership::Direct | Membership::Asked(_) | Membership::Admitted => None,
        };
        let leg = match &self.leg {
            Leg::Pausing { at } => Some(Wakeup::new(*at, "redial")),
            Leg::Up(Up { hearing: Hearing::Silence(since), .. }) => {
                Some(Wakeup::new(*since + dead_timeout, "no media"))
            }
            Leg::Up(Up { hearing: Hearing::Held { probe_at }, .. }) => Some(Wakeup::new(*probe_at, "hold probe")),
            Leg::Up(_) | Leg::Due | Leg::Dialling { .. } => None,
        };
        let reports = self.reports.again_at.map(|at| Wakeup::new(at, "report again"));
        soonest(soonest(membership, leg), reports)
    }
}
