//! How soon a room that failed is tried again: one row for each failure.

use crate::config::{Qss, Rejoin};
use crate::qss::backoff::LONG;
use crate::status::failure::Failure;
use crate::time::Span;

/// How soon a room that failed is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// Back-off from `retry_min`.
    Normal,
    /// A refusal that will hardly change soon.
    Slow,
    /// Somewhere in the second half of this time, however often it was tried.
    Within(Span),
    /// After this time at least.
    After(Span),
    Never,
}

/// What the configuration says of refusals and of being sent away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// Of the room.
    pub(super) rejoin: Rejoin,
    pub(super) forbidden: Span,
    pub(super) not_found: Span,
}

impl Manners {
    pub(super) fn of(qss: &Qss, rejoin: Rejoin) -> Manners {
        Manners { rejoin, forbidden: qss.forbidden_retry, not_found: qss.not_found_retry }
    }
}

impl Pace {
    pub(super) fn after(failure: Failure, Manners { rejoin, forbidden, not_found }: Manners) -> Pace {
        match failure {
            Failure::RoomExpelled => Pace::unless_never(rejoin.after_expel),
            Failure::RoomDestroyed => Pace::unless_never(rejoin.after_destroy),
            // What is only concluded may be wrong.
            Failure::RoomAbsent => match rejoin.after_expel {
                Span::ZERO => Pace::Within(LONG),
                after_expel => Pace::After(after_expel),
            },
            // A password that was refused is refused again, and servers lock out who insists.
            Failure::RoomWrongPassword | Failure::HungUp => Pace::Never,
            // But a mixer that knows its devices by their addresses, or passwords from a database, says so when it has lost those.
            Failure::SipAuthFailed => Pace::Within(LONG),
            Failure::RoomForbidden => Pace::Within(forbidden),
            Failure::RoomNotFound => Pace::Within(not_found),
            Failure::RoomTooEarly | Failure::Transferred | Failure::RoomWithoutSipUri | Failure::SipBadUri => {
                Pace::Slow
            }
            Failure::QssNotConfigured
            | Failure::DnsFailed
            | Failure::ConnectionRefused
            | Failure::HostUnreachable
            | Failure::ConnectTimedOut
            | Failure::TlsUnknownIssuer
            | Failure::TlsWrongName
            | Failure::TlsClock
            | Failure::TlsClientCertificate
            | Failure::TlsFailed
            | Failure::HttpStatus(_)
            | Failure::QssOverloaded(_)
            | Failure::QssProtocolError
            | Failure::QssClosed(_)
            | Failure::QssSilent
            | Failure::QssRevoked(_)
            | Failure::TokenUnreadable
            | Failure::TokenRefused(_)
            | Failure::TokenUnavailable(_)
            | Failure::TokenUnreachable
            | Failure::QssUnauthorized(_)
            | Failure::RegisterRefused(_)
            | Failure::RegisterTimedOut
            | Failure::RoomRefused(_)
            | Failure::RoomFull
            | Failure::RoomTimedOut
            | Failure::QssLostTooLong
            | Failure::InviteDeclined(_)
            | Failure::InviteBusy(_)
            | Failure::InviteWithdrawn
            | Failure::InviteUnusable
            | Failure::SipUnknownHost
            | Failure::SipUnreachable
            | Failure::SipTimeout
            | Failure::SipNoAnswer
            | Failure::SipNoCommonMedia
            | Failure::SipSignallingUnprotected
            | Failure::SipRegisterRefused(_)
            | Failure::SipRegisterAuthFailed
            | Failure::SipRegisterUnreachable
            | Failure::SipForbidden
            | Failure::SipNotFound
            | Failure::SipBusy(_)
            | Failure::SipRefused(_)
            | Failure::SipRefusedByBye
            | Failure::SipCallGone
            | Failure::SipRemoteBye
            | Failure::MediaNotReady
            | Failure::NoMedia
            | Failure::MediaUnheard
            | Failure::MediaSilent
            | Failure::NotSending
            | Failure::NotPlaying
            | Failure::CardAbsent
            | Failure::CardBusy
            | Failure::CardForbidden
            | Failure::CardUnsuitable
            | Failure::CardStalled
            | Failure::CardControls
            | Failure::CardError(_)
            | Failure::RoomNotDestroyed
            | Failure::NobodyAnswered
            | Failure::InviteUnanswered
            | Failure::OthersGone
            | Failure::CallTooLong
            | Failure::Replaced
            | Failure::MoreWanted
            | Failure::OnHold
            | Failure::HeldHere
            | Failure::HeldForAnother
            | Failure::TransferRefused(_)
            | Failure::TransferTimedOut
            | Failure::RequestRefused(_)
            | Failure::RequestTimedOut
            | Failure::Stopping => Pace::Normal,
        }
    }

    fn unless_never(span: Span) -> Pace {
        if span > Span::ZERO { Pace::After(span) } else { Pace::Never }
    }
}
