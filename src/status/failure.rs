//! Every way to fail, once: the same stable code in status events, in the log, in `status` and in the documentation
//! (`docs/status-events.md`), with what happened, what proves it, and what a person should do next.

use crate::agent::LinkErrorKind;
use crate::media::command::CardError;
use crate::sip::endpoint::{EndCause, RouteError};
use serde::Serialize;

/// Makes the enum and its readings from one table, by group: variant, code, what happened, what proves it, next step.
/// `(status)` is the number of whoever refused: HTTP, QSS, SIP or WebSocket code, or the system's error number.
macro_rules! failures {
    ($($group:ident {
        $($variant:ident $(($status:ident))? => $code:literal, $what:literal, $evidence:literal, $next:literal;)*
    })*) => {
        /// A way to fail.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Failure {
            $($($variant $((failures!(@type $status)))?,)*)*
        }

        impl Failure {
            /// One of each, numbers zero.
            pub const ALL: &'static [Failure] = &[$($(Failure::$variant $((failures!(@zero $status)))?,)*)*];

            /// Where it happened.
            pub const fn group(self) -> Group {
                match self {
                    $($(Failure::$variant $((failures!(@ignore $status)))? => Group::$group,)*)*
                }
            }

            /// Stable, for machines.
            pub const fn code(self) -> &'static str {
                match self {
                    $($(Failure::$variant $((failures!(@ignore $status)))? => $code,)*)*
                }
            }

            /// What happened.
            pub const fn what(self) -> &'static str {
                match self {
                    $($(Failure::$variant $((failures!(@ignore $status)))? => $what,)*)*
                }
            }

            /// What it is known from.
            pub const fn evidence(self) -> &'static str {
                match self {
                    $($(Failure::$variant $((failures!(@ignore $status)))? => $evidence,)*)*
                }
            }

            /// What a person should look at next.
            pub const fn next_step(self) -> &'static str {
                match self {
                    $($(Failure::$variant $((failures!(@ignore $status)))? => $next,)*)*
                }
            }

            pub const fn status(self) -> Option<i32> {
                match self {
                    $($(Failure::$variant $(($status))? => failures!(@status $($status)?),)*)*
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

/// What a failure belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// The link to the QSS.
    Link,
    /// What the QSS is shown.
    Token,
    /// What the QSS says, or does not.
    Qss,
    Invite,
    /// The call to the mixer.
    Call,
    /// Packets and the sound card.
    Audio,
    /// What somebody, or the device, wants.
    Ourselves,
}

failures! {
    Link {
        QssNotConfigured => "qss_not_configured",
            "no QSS is configured",
            "`qss.url` is empty",
            "set qss.url if the device shall report to a QSS";
        DnsFailed => "dns_failed",
            "the QSS's host name has no address",
            "the resolver's answer",
            "check the host name in qss.url and the device's name server";
        ConnectionRefused => "connection_refused",
            "nobody listens at the QSS's address",
            "TCP reset, or ICMP port unreachable",
            "check that the QSS runs and that the port in qss.url is right";
        HostUnreachable => "host_unreachable",
            "there is no way to the QSS",
            "the kernel's or a router's word: no route",
            "check cable, Wi-Fi, address and gateway of the device";
        ConnectTimedOut => "connect_timed_out",
            "the QSS does not answer the connection",
            "no answer within qss.connect_timeout_ms",
            "check firewalls between the device and the QSS";
        TlsUnknownIssuer => "tls_unknown_issuer",
            "the QSS shows a certificate of an issuer that is not trusted",
            "the certificate chain ends outside the trusted roots",
            "set qss.ca_file to the CA that signed the QSS certificate";
        TlsWrongName => "tls_wrong_name",
            "the QSS shows a certificate for another name",
            "the names in the certificate",
            "use the name of the QSS certificate in qss.url";
        TlsClock => "tls_clock",
            "the QSS's certificate is not valid at the time of the device's clock",
            "the certificate's dates against the clock",
            "set the device's clock, or renew the QSS certificate";
        TlsFailed => "tls_failed",
            "TLS with the QSS failed",
            "an alert of the QSS, or a handshake that breaks the rules",
            "compare the TLS versions and certificates of both sides";
        TlsClientCertificate => "tls_client_certificate",
            "the QSS refuses the device's own certificate, or misses one",
            "its TLS alert, which under TLS 1.3 comes after the handshake",
            "set qss.client_cert_file and qss.client_key_file to what the QSS accepts, or renew them";
        HttpStatus(status) => "http_status",
            "the WebSocket upgrade was refused",
            "the HTTP status, in `status`",
            "check path, token and headers of the upgrade against the reverse proxy";
        QssOverloaded(status) => "qss_overloaded",
            "the QSS asks to come back later",
            "429 or 503 to the upgrade, or close code 1013",
            "nothing, if it passes: the device waits as long as Retry-After says, and comes back by itself";
        QssProtocolError => "qss_protocol_error",
            "what came is no WebSocket",
            "a frame that breaks RFC 6455, a message over the limit, or close code 1002, 1003, 1007 or 1009",
            "check that qss.url is the signalling WebSocket; see qss.max_link_message_bytes";
        QssClosed(status) => "qss_closed",
            "the QSS closed the link",
            "the close code, in `status`; 1006: none was sent",
            "look into the log of the QSS; the device comes back by itself";
        QssSilent => "qss_silent",
            "the link is dead",
            "pings without any frame back, qss.ping_misses in a row",
            "check the network between device and QSS; the device comes back by itself";
    }
    Token {
        TokenUnreadable => "token_unreadable",
            "the token file cannot be used",
            "the system's word, or what the file holds, in `detail`",
            "check that the file of qss.token_file is there, readable, and has one line; systemd copies a credential at the start of \
             the service: restart it";
        TokenRefused(status) => "token_refused",
            "the token server gives no token",
            "its HTTP status, in `status`, and its words, in `detail`",
            "check qss.auth.username, qss.auth.password and qss.auth.client_id at the token server";
        TokenUnavailable(status) => "token_unavailable",
            "the token server cannot answer now",
            "its HTTP status, in `status`: 429 or 5xx",
            "check the health of the token server; the device tries again";
        TokenUnreachable => "token_unreachable",
            "there is no way to the token server, or no answer of it",
            "what broke on the way, in `detail`; or qss.auth.timeout_ms is over",
            "check qss.auth.token_url and the network between the device and the token server";
    }
    Qss {
        QssRevoked(status) => "qss_revoked",
            "the QSS ended this one session on purpose",
            "a close code of qss.revoked_codes, in `status`",
            "ask the administrator who ended it; the device comes back with a new token";
        QssUnauthorized(status) => "qss_unauthorized",
            "the QSS does not accept the credentials",
            "401 or 403 to the upgrade or to `register`, also for a token that was just renewed",
            "renew qss.token, check qss.username";
        RegisterRefused(status) => "register_refused",
            "the QSS refused the registration",
            "its `cancel`; the code in `status`",
            "look up the code in the QSS log; check qss.names.register";
        RegisterTimedOut => "register_timed_out",
            "the QSS did not answer the registration",
            "no reply within qss.request_timeout_ms",
            "check the health of the QSS and qss.names.register";
        RoomForbidden => "room_forbidden",
            "the user may not enter the room",
            "`cancel` 403 of the QSS",
            "add the user to the room's access list";
        RoomNotFound => "room_not_found",
            "the QSS does not know the room",
            "`cancel` 404 of the QSS",
            "check the room id; the room may have been destroyed";
        RoomTooEarly => "room_too_early",
            "the meeting has not begun",
            "`cancel` of the QSS, by qss.codes.too_early",
            "nothing: the device enters when the meeting begins";
        RoomWrongPassword => "room_wrong_password",
            "the meeting's password is wrong",
            "`cancel` of the QSS, by qss.codes.wrong_password",
            "correct the room's password; `join` on the device lets it try again";
        RoomFull => "room_full",
            "the room has as many participants as it may",
            "`cancel` of the QSS, by qss.codes.room_full",
            "raise the room's limit of participants; the device tries again by itself";
        RoomRefused(status) => "room_refused",
            "the QSS refused the room",
            "its `cancel`; the code in `status`",
            "look up the code in the QSS log; check qss.names.join_room";
        RoomTimedOut => "room_timed_out",
            "the QSS did not say whether the room admits us",
            "no reply within qss.request_timeout_ms",
            "check the health of the QSS and qss.names.join_room";
        RoomWithoutSipUri => "room_without_sip_uri",
            "nobody says where the room's audio is",
            "no `sipUri` in the room, none in the configuration",
            "give the room a sip_uri in the configuration, or ask for one in the QSS";
        RoomExpelled => "room_expelled",
            "somebody removed the device from the room",
            "the QSS's event",
            "ask the moderator; `join` on the device lets it try again";
        RoomAbsent => "room_absent",
            "the QSS says that the device is not in its room any more",
            "`GONE` for the device itself, or a list of participants without it (qss.own_gone)",
            "ask the moderator; it comes back within the hour, or as rejoin_after_expel_ms of the room says, or with `join` on the device";
        RoomNotDestroyed => "room_not_destroyed",
            "a room that the device has made stays behind",
            "the QSS refuses to destroy it, or does not know the request",
            "destroy it by hand; check qss.names.destroy_room and who owns rooms";
        RoomDestroyed => "room_destroyed",
            "the room is gone",
            "the QSS's event",
            "configure another room; `join` on the device lets it try again";
        QssLostTooLong => "qss_lost_too_long",
            "the call ended because nobody confirmed the membership",
            "no QSS session, or no answer, for qss.call_grace_ms",
            "restore the QSS; qss.call_grace_ms says how long a call outlives it";
    }
    Invite {
        TransferRefused(status) => "transfer_refused",
            "the QSS refused a transfer",
            "its `cancel` or its event; the code in `status`",
            "look up the code in the QSS log; check qss.names.transfer and qss.names.accept_transfer";
        TransferTimedOut => "transfer_timed_out",
            "nobody answered a transfer",
            "no reply within qss.request_timeout_ms, or a lost session",
            "check the health of the QSS; try again";
        RequestRefused(status) => "request_refused",
            "the QSS, or whoever was asked, refused the request of a local command",
            "its `cancel`; the code in `status`",
            "look up the code in the QSS log; check qss.names.add_participants, qss.names.mute and qss.names.send_invite_request";
        RequestTimedOut => "request_timed_out",
            "nothing came of the request of a local command",
            "no reply in time, no invite after the consent, or a lost session",
            "check the health of the QSS; try again";
        InviteDeclined(status) => "invite_declined",
            "the inviter is not on the list",
            "the invite's `from` against invites.accept; the code we gave in `status`",
            "add the inviter to invites.accept if the device shall come";
        InviteBusy(status) => "invite_busy",
            "the device was in a call",
            "the call at the time; the code we gave in `status`",
            "set invites.replaces_call if an invite shall end the present call";
        InviteUnanswered => "invite_unanswered",
            "an invite has rung for its time",
            "nobody said `answer` or `reject`",
            "nothing: nobody was there; ring_ms of the [[caller]] says how long it rings";
        InviteWithdrawn => "invite_withdrawn",
            "the inviter withdrew the invite",
            "the QSS's `cancel`",
            "nothing: the inviter changed their mind, or another device answered";
        InviteUnusable => "invite_unusable",
            "the invite cannot be followed",
            "no inviter or no room in it",
            "the invite names no room; see docs/qss.md for what is understood";
    }
    Call {
        SipBadUri => "sip_bad_uri",
            "the room's address is no SIP URI",
            "the URI, in `detail`",
            "check the sip_uri of the room";
        SipUnknownHost => "sip_unknown_host",
            "the mixer's name has no address",
            "the resolver's answer",
            "map the mixer's internal name in sip.host_map, or set sip.outbound_proxy";
        SipUnreachable => "sip_unreachable",
            "there is no way to the mixer",
            "the kernel's word: no route",
            "check route and firewall to the mixer; see sip.host_map";
        SipTimeout => "sip_timeout",
            "the mixer does not answer",
            "no response to the INVITE within 64 T1, or a 408",
            "check that the mixer runs and that UDP reaches its SIP port";
        SipNoAnswer => "sip_no_answer",
            "the mixer rings and does not pick up",
            "provisional responses only, for sip.invite_timeout_ms",
            "the mixer rings but does not answer: check its dialplan";
        SipAuthFailed => "sip_auth_failed",
            "the mixer does not accept the credentials",
            "401 or 407 to a request with credentials, or without any to give",
            "set sip.auth_user and sip.password, or have the mixer know the device by its address; it tries again within the hour, or with \
             `join` on the device";
        SipNoCommonMedia => "sip_no_common_media",
            "the mixer and the device have no codec in common, or no protection",
            "488, or an answer without Opus, or without the key of SRTP",
            "enable Opus on the mixer; compare its encryption with rtp.srtp";
        SipSignallingUnprotected => "sip_signalling_unprotected",
            "audio has to be protected, and the keys would travel in the open",
            "rtp.srtp is \"require\", and the way to the mixer is UDP, TCP or ws",
            "reach the mixer by TLS or wss, or set rtp.srtp_over_plain_signalling on a network that is protected otherwise";
        SipRegisterRefused(status) => "sip_register_refused",
            "no SIP server registers the device",
            "the response of the last one asked, in `status` and `detail`",
            "look up the status in that server's log; check sip.register.aor and sip.auth_user; the device tries again";
        SipRegisterAuthFailed => "sip_register_auth_failed",
            "the SIP servers do not accept the credentials",
            "401 or 407 to a REGISTER with credentials, or without any to give",
            "set sip.auth_user and sip.password; it tries again within the hour";
        SipRegisterUnreachable => "sip_register_unreachable",
            "there is no way to a SIP server, or no answer of it",
            "what broke on the way to the last one asked, in `detail`; or 64 T1 are over",
            "check sip.register.servers and the network between the device and them; the device tries again";
        SipForbidden => "sip_forbidden",
            "the mixer does not let the device in",
            "403 to the INVITE",
            "allow the device's SIP user on the mixer";
        SipNotFound => "sip_not_found",
            "the mixer does not know the conference",
            "404 to the INVITE",
            "the mixer does not know this number: check the room's sipUri and the dialplan";
        SipBusy(status) => "sip_busy",
            "the mixer is busy",
            "486 or 600 to the INVITE",
            "the mixer is busy; the device tries again";
        SipRefused(status) => "sip_refused",
            "the mixer refused the call",
            "the final response, in `status` and `detail`",
            "look up the status in the mixer's log; the device tries again";
        SipRefusedByBye => "sip_refused_by_bye",
            "the mixer hung up at once",
            "BYE within two seconds of the 200",
            "the mixer hung up at once: the room is locked or full";
        SipCallGone => "sip_call_gone",
            "the mixer does not know the call any more",
            "481 to a request of the call",
            "the mixer forgot the call, probably in a restart; the device dials again";
        SipRemoteBye => "sip_remote_bye",
            "the mixer ended the call",
            "BYE; its Reason in `detail`",
            "the mixer ended the call; the device dials again";
    }
    Audio {
        MediaNotReady => "media_not_ready",
            "there is no RTP socket",
            "the media thread has not said that it is bound",
            "the media thread has no RTP socket: check rtp.bind, rtp.port_min and rtp.port_max";
        NoMedia => "no_media",
            "the call brings no audio",
            "no packet for rtp.dead_timeout_ms",
            "check that UDP reaches the device's RTP port from the mixer";
        MediaUnheard => "media_unheard",
            "the mixer hears nothing of the device",
            "its RTCP reports name no new packet, although many left, also after a re-INVITE",
            "check that UDP from the device reaches the mixer's RTP port; the device dials again";
        MediaSilent => "media_silent",
            "nothing arrives from the mixer",
            "no packet for rtp.silence_timeout_ms",
            "nothing arrives from the mixer: check network and mixer";
        NotSending => "not_sending",
            "no packet leaves",
            "the capture clock has not moved for rtp.silence_timeout_ms",
            "the microphone's clock stands still: check the sound card";
        NotPlaying => "not_playing",
            "nothing is played",
            "the playback pointer does not move although packets arrive",
            "packets arrive but the loudspeaker stands still: check the sound card";
        CardAbsent => "card_absent",
            "the sound card is not there",
            "no such card in the kernel's list, or ENODEV or ENOENT at opening or in use",
            "plug the sound card in; compare audio.capture and audio.playback with `qss-endpoint devices`";
        CardBusy => "card_busy",
            "another process holds the sound card",
            "EBUSY at opening; who holds it stands in `detail`",
            "stop the process that holds the sound card: `qss-endpoint devices` names it, run as root";
        CardForbidden => "card_forbidden",
            "the service may not open the sound card",
            "EACCES or EPERM at opening; the group stands in `detail`",
            "add the service's user to the group of the device: audio (SupplementaryGroups=); if it is in it, restart the service: \
             DeviceAllow=char-alsa holds for drivers that are loaded when it starts";
        CardUnsuitable => "card_unsuitable",
            "the sound card cannot do what is configured",
            "its own list of rates, periods and channels",
            "choose rate, period and channels the card can do, or a plug device";
        CardStalled => "card_stalled",
            "the sound card's clock stands still",
            "no period within many times its length",
            "replug or power-cycle the sound card";
        CardControls => "card_controls",
            "the sound card's mixer is not as configured",
            "what was set is read back; the controls stand in `detail`",
            "compare audio.controls and audio.amplifier_control with `amixer scontents`";
        CardError(status) => "card_error",
            "the sound card fails",
            "the system's error number, in `status`",
            "look up the system error number; replug the sound card";
    }
    Ourselves {
        HungUp => "hung_up",
            "somebody hung up on the device",
            "a local command",
            "nothing: asked for on the device; `join` brings it back";
        Replaced => "replaced",
            "another room took over",
            "an accepted invite or transfer, a `join`, or a new address of the room",
            "nothing: an accepted invite took over";
        NobodyAnswered => "nobody_answered",
            "nobody whom the device called has come",
            "each invite was refused, or rang for its time",
            "nothing: try again, or add somebody to the targets of the call";
        OthersGone => "others_gone",
            "the last of the others has left a room of the device's own",
            "the QSS tells who is in the room",
            "nothing: the call is over, and its room is destroyed";
        CallTooLong => "call_too_long",
            "a call of the device has lasted as long as it may",
            "calls.longest_ms is over",
            "raise calls.longest_ms if calls shall last longer";
        MoreWanted => "more_wanted",
            "a more wanted room can be visited",
            "its pause is over, and what it needs is there",
            "nothing: a room that stands before this one in the configuration can be visited again";
        OnHold => "on_hold",
            "the other side holds the call",
            "its re-INVITE, or its answer to ours: `sendonly`, `inactive`",
            "nothing: the other side holds the call";
        Transferred => "transferred",
            "the device has moved to another room, or somebody has taken its place",
            "a transfer that was accepted",
            "nothing: `join` brings it back";
        HeldHere => "held_here",
            "the device holds the call",
            "a local command",
            "nothing: asked for on the device; `hold off` resumes";
        HeldForAnother => "held_for_another",
            "the call waits on hold: the device is in another one",
            "an accepted invite, a SIP call or `swap`, under `calls.limit`",
            "nothing: it goes on when the other call is over, or with `swap`";
        Stopping => "stopping",
            "the service ends",
            "SIGTERM",
            "nothing: the service was asked to stop";
    }
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
            LinkErrorKind::TlsClientCertificate => Failure::TlsClientCertificate,
            LinkErrorKind::TlsOther => Failure::TlsFailed,
            LinkErrorKind::Http(401) => Failure::QssUnauthorized(401),
            LinkErrorKind::Http(403) => Failure::QssUnauthorized(403),
            LinkErrorKind::Http(status @ (429 | 503)) => Failure::QssOverloaded(status.into()),
            LinkErrorKind::Http(status) => Failure::HttpStatus(status.into()),
            LinkErrorKind::Protocol => Failure::QssProtocolError,
            // RFC 6455 7.4.1, and the IANA registry: what the peer thinks of our frames; 1013 is "try again later".
            LinkErrorKind::Closed(1002 | 1003 | 1007 | 1009) => Failure::QssProtocolError,
            LinkErrorKind::Closed(1013) => Failure::QssOverloaded(1013),
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
                // Gone, and nowhere at all: the room may have another number.
                404 | 410 | 604 => Failure::SipNotFound,
                408 => Failure::SipTimeout,
                481 => Failure::SipCallGone,
                486 | 600 => Failure::SipBusy((*status).into()),
                415 | 488 | 606 => Failure::SipNoCommonMedia,
                other => Failure::SipRefused((*other).into()),
            },
            EndCause::Timeout => Failure::SipTimeout,
            EndCause::NoAnswer => Failure::SipNoAnswer,
            EndCause::Unroutable(RouteError::UnknownHost) => Failure::SipUnknownHost,
            EndCause::Unroutable(RouteError::Unreachable | RouteError::NoConnection(_)) => Failure::SipUnreachable,
            EndCause::AuthenticationFailed => Failure::SipAuthFailed,
            EndCause::NoCommonMedia => Failure::SipNoCommonMedia,
            EndCause::SignallingUnprotected => Failure::SipSignallingUnprotected,
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
            what: &'a str,
            evidence: &'a str,
            next: &'a str,
        }
        let f = self.failure;
        let (code, status, what) = (f.code(), f.status(), f.what());
        Wire { code, status, detail: &self.detail, what, evidence: f.evidence(), next: f.next_step() }
            .serialize(serializer)
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
    fn each_key_that_the_table_names_exists() {
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
            let said = [failure.what(), failure.evidence(), failure.next_step()].join(" ");
            let words = said.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '/'));
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
    fn close_codes_and_http_statuses_are_told_apart() {
        let rows = [
            (LinkErrorKind::Http(401), Failure::QssUnauthorized(401)),
            (LinkErrorKind::Http(404), Failure::HttpStatus(404)),
            (LinkErrorKind::Http(429), Failure::QssOverloaded(429)),
            (LinkErrorKind::Http(503), Failure::QssOverloaded(503)),
            (LinkErrorKind::Closed(1000), Failure::QssClosed(1000)),
            (LinkErrorKind::Closed(1009), Failure::QssProtocolError),
            (LinkErrorKind::Closed(1012), Failure::QssClosed(1012)),
            (LinkErrorKind::Closed(1013), Failure::QssOverloaded(1013)),
        ];
        for (kind, failure) in rows {
            assert_eq!(Failure::from(kind), failure, "{kind:?}");
        }
    }

    #[test]
    fn sip_statuses_are_told_apart() {
        let of = |status| Failure::from(&EndCause::Refused { status, reason: String::new() });
        for status in 300..=699 {
            let expected = match status {
                401 | 407 => Failure::SipAuthFailed,
                403 => Failure::SipForbidden,
                404 | 410 | 604 => Failure::SipNotFound,
                408 => Failure::SipTimeout,
                415 | 488 | 606 => Failure::SipNoCommonMedia,
                481 => Failure::SipCallGone,
                486 | 600 => Failure::SipBusy(status.into()),
                other => Failure::SipRefused(other.into()),
            };
            assert_eq!((of(status), expected.group()), (expected, Group::Call), "{status}");
        }
    }
}
