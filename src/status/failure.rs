//! Every way to fail, once: the same stable code in status events, in the log, in `status` and in the documentation
//! (`docs/status-events.md`), with what a person should do next.

use crate::agent::LinkErrorKind;
use crate::media::command::CardError;
use crate::sip::endpoint::{EndCause, RouteError};
use serde::Serialize;

/// Makes the enum and its readings from one table: variant, code, next step. `(status)` is the number of whoever
/// refused: HTTP, QSS, SIP or WebSocket code, or the system's error number.
macro_rules! failures {
    ($($variant:ident $(($status:ident))? => $code:literal, $next:literal;)*) => {
        /// A way to fail.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Failure {
            $($variant $((failures!(@type $status)))?,)*
        }

        impl Failure {
            /// One of each, numbers zero.
            pub const ALL: &'static [Failure] = &[$(Failure::$variant $((failures!(@zero $status)))?,)*];

            /// Stable, for machines.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Failure::$variant $((failures!(@ignore $status)))? => $code,)*
                }
            }

            /// What a person should look at next.
            pub const fn next_step(self) -> &'static str {
                match self {
                    $(Failure::$variant $((failures!(@ignore $status)))? => $next,)*
                }
            }

            pub const fn status(self) -> Option<i32> {
                match self {
                    $(Failure::$variant $(($status))? => failures!(@status $($status)?),)*
                }
            }
        }
    };
    (@type $status:ident) => { i32 };
    (@zero $status:ident) => { 0 };
    (@ignore $status:ident) => { _ };
    (@status $status:ident) => { Some($status) };
    (@status) => { None };
}

failures! {
    // The link to the QSS.
    QssNotConfigured => "qss_not_configured",
        "set qss.url if the device shall report to a QSS";
    DnsFailed => "dns_failed",
        "check the host name in qss.url and the device's name server";
    ConnectionRefused => "connection_refused",
        "check that the QSS runs and that the port in qss.url is right";
    HostUnreachable => "host_unreachable",
        "check cable, Wi-Fi, address and gateway of the device";
    ConnectTimedOut => "connect_timed_out",
        "check firewalls between the device and the QSS";
    TlsUnknownIssuer => "tls_unknown_issuer",
        "set qss.ca_file to the CA that signed the QSS certificate";
    TlsWrongName => "tls_wrong_name",
        "use the name of the QSS certificate in qss.url";
    TlsClock => "tls_clock",
        "set the device's clock, or renew the QSS certificate";
    TlsFailed => "tls_failed",
        "compare the TLS versions and certificates of both sides";
    HttpStatus(status) => "http_status",
        "check path, token and headers of the upgrade against the reverse proxy";
    QssProtocolError => "qss_protocol_error",
        "check that qss.url is the signalling WebSocket; see qss.max_message_bytes";
    QssClosed(status) => "qss_closed",
        "look into the log of the QSS; the device comes back by itself";
    QssSilent => "qss_silent",
        "check the network between device and QSS; the device comes back by itself";
    // What the QSS says.
    QssUnauthorized(status) => "qss_unauthorized",
        "renew qss.token, check qss.username";
    RegisterRefused(status) => "register_refused",
        "look up the code in the QSS log; check qss.names.register";
    RegisterTimedOut => "register_timed_out",
        "check the health of the QSS and qss.names.register";
    RoomForbidden => "room_forbidden",
        "add the user to the room's access list";
    RoomNotFound => "room_not_found",
        "check the room id; the room may have been destroyed";
    RoomRefused(status) => "room_refused",
        "look up the code in the QSS log; check qss.names.join_room";
    RoomTimedOut => "room_timed_out",
        "check the health of the QSS and qss.names.join_room";
    RoomWithoutSipUri => "room_without_sip_uri",
        "give the room a sip_uri in the configuration, or ask for one in the QSS";
    RoomExpelled => "room_expelled",
        "ask the moderator; `join` on the device lets it try again";
    RoomDestroyed => "room_destroyed",
        "configure another room; `join` on the device lets it try again";
    QssLostTooLong => "qss_lost_too_long",
        "restore the QSS; qss.call_grace_ms says how long a call outlives it";
    // Invites.
    InviteDeclined(status) => "invite_declined",
        "add the inviter to invites.accept if the device shall come";
    InviteBusy(status) => "invite_busy",
        "set invites.replaces_call if an invite shall end the present call";
    InviteWithdrawn => "invite_withdrawn",
        "nothing: the inviter changed their mind, or another device answered";
    InviteUnusable => "invite_unusable",
        "the invite names no room; see docs/qss.md for what is understood";
    // The SIP call.
    SipBadUri => "sip_bad_uri",
        "check the sip_uri of the room";
    SipUnknownHost => "sip_unknown_host",
        "map the mixer's internal name in sip.host_map, or set sip.outbound_proxy";
    SipUnreachable => "sip_unreachable",
        "check route and firewall to the mixer; see sip.host_map";
    SipTimeout => "sip_timeout",
        "check that the mixer runs and that UDP reaches its SIP port";
    SipNoAnswer => "sip_no_answer",
        "the mixer rings but does not answer: check its dialplan";
    SipAuthFailed => "sip_auth_failed",
        "set sip.auth_user and sip.password; `join` on the device lets it try again";
    SipNoCommonMedia => "sip_no_common_media",
        "enable Opus on the mixer";
    SipForbidden => "sip_forbidden",
        "allow the device's SIP user on the mixer";
    SipNotFound => "sip_not_found",
        "the mixer does not know this number: check the room's sipUri and the dialplan";
    SipBusy(status) => "sip_busy",
        "the mixer is busy; the device tries again";
    SipRefused(status) => "sip_refused",
        "look up the status in the mixer's log; the device tries again";
    SipRefusedByBye => "sip_refused_by_bye",
        "the mixer hung up at once: the room is locked or full";
    SipCallGone => "sip_call_gone",
        "the mixer forgot the call, probably in a restart; the device dials again";
    SipRemoteBye => "sip_remote_bye",
        "the mixer ended the call; the device dials again";
    // Audio.
    MediaNotReady => "media_not_ready",
        "the media thread has no RTP socket: check rtp.bind, rtp.port_min and rtp.port_max";
    NoMedia => "no_media",
        "check that UDP reaches the device's RTP port from the mixer";
    MediaSilent => "media_silent",
        "nothing arrives from the mixer: check network and mixer";
    NotSending => "not_sending",
        "the microphone's clock stands still: check the sound card";
    NotPlaying => "not_playing",
        "packets arrive but the loudspeaker stands still: check the sound card";
    CardAbsent => "card_absent",
        "plug the sound card in; check audio.capture and audio.playback";
    CardBusy => "card_busy",
        "stop the process that holds the sound card";
    CardForbidden => "card_forbidden",
        "add the service's user to group audio";
    CardUnsuitable => "card_unsuitable",
        "choose rate, period and channels the card can do, or a plug device";
    CardStalled => "card_stalled",
        "replug or power-cycle the sound card";
    CardError(status) => "card_error",
        "look up the system error number; replug the sound card";
    // Ourselves.
    HungUp => "hung_up",
        "nothing: asked for on the device; `join` brings it back";
    Replaced => "replaced",
        "nothing: an accepted invite took over";
    MoreWanted => "more_wanted",
        "nothing: a room that stands before this one in the configuration can be visited again";
    OnHold => "on_hold",
        "nothing: the other side holds the call";
    Stopping => "stopping",
        "nothing: the service was asked to stop";
}

impl From<LinkErrorKind> for Failure {
    fn from(kind: LinkErrorKind) -> Failure {
        match kind {
            LinkErrorKind::Dns => Failure::DnsFailed,
            LinkErrorKind::Refused => Failure::ConnectionRefused,
            LinkErrorKind::Unreachable => Failure::HostUnreachable,
            LinkErrorKind::TimedOut => Failure::ConnectTimedOut,
            LinkErrorKind::TlsUnknownIssuer => Failure::TlsUnknownIssuer,
            LinkErrorKind::TlsWrongName => Failure::TlsWrongName,
            LinkErrorKind::TlsWrongDate => Failure::TlsClock,
            LinkErrorKind::TlsOther => Failure::TlsFailed,
            LinkErrorKind::Http(401) => Failure::QssUnauthorized(401),
            LinkErrorKind::Http(403) => Failure::QssUnauthorized(403),
            LinkErrorKind::Http(status) => Failure::HttpStatus(status.into()),
            LinkErrorKind::Protocol => Failure::QssProtocolError,
            LinkErrorKind::Closed(code) => Failure::QssClosed(code.into()),
            LinkErrorKind::Dead => Failure::QssSilent,
        }
    }
}

impl From<CardError> for Failure {
    fn from(error: CardError) -> Failure {
        match error {
            CardError::Absent => Failure::CardAbsent,
            CardError::Busy => Failure::CardBusy,
            CardError::Forbidden => Failure::CardForbidden,
            CardError::Unsuitable => Failure::CardUnsuitable,
            CardError::Stalled => Failure::CardStalled,
            CardError::Other(errno) => Failure::CardError(errno),
        }
    }
}

impl From<&EndCause> for Failure {
    fn from(cause: &EndCause) -> Failure {
        match cause {
            EndCause::Local => Failure::HungUp,
            EndCause::Remote { .. } => Failure::SipRemoteBye,
            EndCause::Refused { status, .. } => match status {
                401 | 407 => Failure::SipAuthFailed,
                403 => Failure::SipForbidden,
                404 => Failure::SipNotFound,
                481 => Failure::SipCallGone,
                486 | 600 => Failure::SipBusy((*status).into()),
                488 => Failure::SipNoCommonMedia,
                other => Failure::SipRefused((*other).into()),
            },
            EndCause::Timeout => Failure::SipTimeout,
            EndCause::NoAnswer => Failure::SipNoAnswer,
            EndCause::Unroutable(RouteError::UnknownHost) => Failure::SipUnknownHost,
            EndCause::Unroutable(RouteError::Unreachable) => Failure::SipUnreachable,
            EndCause::AuthenticationFailed => Failure::SipAuthFailed,
            EndCause::NoCommonMedia => Failure::SipNoCommonMedia,
        }
    }
}

/// A failure that happened: its code, and in whose words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    pub failure: Failure,
    /// For people; may be empty.
    pub detail: String,
}

impl Cause {
    pub fn new(failure: Failure, detail: impl Into<String>) -> Cause {
        Cause { failure, detail: detail.into() }
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Cause {
        Cause { failure, detail: String::new() }
    }
}

impl Serialize for Cause {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<i32>,
            #[serde(skip_serializing_if = "str::is_empty")]
            detail: &'a str,
            next: &'a str,
        }
        let (code, status, next) = (self.failure.code(), self.failure.status(), self.failure.next_step());
        Wire { code, status, detail: &self.detail, next }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_snake_case() {
        let mut codes: Vec<_> = Failure::ALL.iter().map(|f| f.code()).collect();
        assert!(codes.iter().all(|c| c.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Failure::ALL.len());
    }

    #[test]
    fn each_key_that_a_next_step_names_exists() {
        let reference = crate::config::describe::reference();
        let mut keys = std::collections::BTreeSet::new();
        let mut section = "";
        for line in reference.lines() {
            if let Some(name) = line.strip_prefix("## [") {
                section = name.trim_matches(['[', ']']);
            } else if let Some(row) = line.strip_prefix("| `") {
                keys.insert(format!("{section}.{}", row.split('`').next().unwrap_or_default()));
            }
        }
        assert!(keys.contains("qss.url") && keys.contains("qss.names.register"), "{keys:?}");
        let sections: Vec<_> = keys.iter().filter_map(|key| key.split('.').next()).collect();
        for failure in Failure::ALL {
            let words =
                failure.next_step().split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '/'));
            for word in words.map(|word| word.trim_matches('.')) {
                if word.split_once('.').is_some_and(|(section, _)| sections.contains(&section)) {
                    assert!(keys.contains(word), "{}: there is no {word}", failure.code());
                }
            }
        }
    }

    #[test]
    fn a_wrong_date_says_clock() {
        let failure = Failure::from(LinkErrorKind::TlsWrongDate);
        assert!(failure.code().contains("clock") && failure.next_step().contains("clock"));
    }

    #[test]
    fn sip_statuses_are_told_apart() {
        let of = |status| Failure::from(&EndCause::Refused { status, reason: String::new() });
        assert_eq!(of(403), Failure::SipForbidden);
        assert_eq!(of(404), Failure::SipNotFound);
        assert_eq!(of(486), Failure::SipBusy(486));
        assert_eq!(of(503), Failure::SipRefused(503));
    }
}
