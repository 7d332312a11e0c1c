//! The session to the QSS: where it is, who we are there, and every pause of it.

use super::{QssCodes, QssNames, QssReads, Secret};
use crate::time::Span;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone, PartialEq, Debug)]
pub struct Qss {
    /// `ws://` or `wss://` URL; `None`: the device works without a QSS (rooms by `sip_uri` only).
    pub url: Option<String>,
    pub username: String,
    /// Our id inside the QSS (`gatewayUsername`), if it is another than `username`; empty: the same.
    pub user_id: String,
    /// The token, unless `auth` gets one; what `token_file` held when the program started.
    pub token: Secret,
    /// Read again before each attempt.
    pub token_file: Option<PathBuf>,
    /// How long reading it may take: a network file system may hang.
    pub token_file_timeout: Span,
    /// PEM file of the CA to trust *instead of* the system's roots.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our own certificate (with its chain) and its key, for a QSS that asks for one: both or none.
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    /// Extra header lines of the upgrade request.
    pub headers: Vec<(String, String)>,
    /// Send the token as `Authorization: Bearer` in the upgrade request too.
    pub bearer: bool,
    /// Send the token as this parameter of the URL's query too; empty: not.
    pub token_query: String,
    pub transport: QssTransport,
    /// WebSocket subprotocol to ask for (RFC 6455 1.9); empty: none.
    pub subprotocol: String,
    pub connect_timeout: Span,
    /// How long a goodbye may take before the connection is dropped.
    pub close_timeout: Span,
    /// Data that the peer has not acknowledged for so long ends the connection; zero: whatever the kernel does.
    pub tcp_user_timeout: Span,
    pub ping_interval: Span,
    /// Pings without any frame back after which the link counts as dead.
    pub ping_misses: u32,
    /// Between two pings in JSON; zero: none.
    pub json_ping_interval: Span,
    pub request_timeout: Span,
    pub request_resend: Span,
    pub request_resends: u32,
    pub reconnect_min: Span,
    pub reconnect_max: Span,
    /// Longest `Retry-After` obeyed.
    pub retry_after_max: Span,
    /// How long a session must last before the back-off starts again from `reconnect_min`.
    pub stable_after: Span,
    /// What all devices of a server spread their attempts over when they lose it, or start, in the same instant.
    pub spread: Span,
    /// A start so soon after that of the machine is one of many: the power has returned.
    pub power_return: Span,
    /// An attempt that waits is made within this time after the network has come up.
    pub link_up_spread: Span,
    /// WebSocket close codes by which the QSS ends one session for good: the token is renewed before the next attempt.
    pub revoked_codes: Vec<u16>,
    /// Largest message read, in bytes; a larger one is dropped, and counted.
    pub max_message: usize,
    /// A message of more bytes ends the connection; never less than `max_message`.
    pub max_link_message: usize,
    /// How long a call outlives the QSS session that led to it, from the first attempt at another; zero: not at all.
    pub call_grace: Span,
    /// How long a room that needs no QSS waits at the start for the first session.
    pub first_session: Span,
    /// How long a more wanted room must have been possible before a less wanted one is left for it.
    pub better_room_after: Span,
    /// What one of a room's `bitrate` stands for, in bit/s.
    pub bitrate_unit: u32,
    /// Where the code of our `cancel` stands.
    pub cancel_code: CancelCode,
    pub own_gone: OwnGone,
    pub transfer_done: TransferDone,
    /// Who was sent away comes back later than told by up to so many percent of the time.
    pub rejoin_spread: u8,
    /// A report of mute or hold that was not taken is made again after this time.
    pub report_retry: Span,
    /// Most time until a meeting that has not begun is asked for again.
    pub meeting_retry: Span,
    /// A room that does not admit us, or that is not there, is asked for again in the second half of this time.
    pub forbidden_retry: Span,
    pub not_found_retry: Span,
    /// Fields and words that mean nothing to us are counted as problems.
    pub report_unknown: bool,
    pub unknown: QssUnknown,
    /// An unknown request of the server is refused with 501, or ignored.
    pub refuse_unknown: bool,
    pub auth: QssAuth,
    pub names: QssNames,
    /// Shared with every message that was read by it.
    pub reads: Arc<QssReads>,
    pub codes: QssCodes,
}

/// Where the code of a `cancel` of ours stands; of theirs it is read in both places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CancelCode {
    Both,
    Top,
    Payload,
}

/// What carries the frames of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QssTransport {
    /// RFC 6455.
    WebSocket,
}

/// What it means when the QSS says that we are not in the room any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnGone {
    /// We were sent away; in a young session it is asked all the same.
    Expelled,
    /// It is asked whether we may be there.
    Ask,
}

/// What becomes of messages that the device does not understand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QssUnknown {
    /// So many events are passed on in each interval.
    pub events: u32,
    pub interval: Span,
    /// What is kept or passed on of one.
    pub bytes: usize,
    /// So many are kept for people.
    pub kept: usize,
}

/// What tells that a transfer of the device has succeeded, so that it leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferDone {
    /// The answer to the request.
    Answer,
    /// The word that the transfer is accepted.
    Accepted,
}

impl Qss {
    /// Whether this is us, by either name.
    pub fn is_us(&self, user: &str) -> bool {
        user == self.username || (!self.user_id.is_empty() && user == self.user_id)
    }
}

/// The OpenID server that gives tokens for a name and a password (docs/qss.md, Session).
#[derive(Clone, PartialEq, Debug)]
pub struct QssAuth {
    /// `None`: the token is `qss.token`.
    pub token_url: Option<String>,
    pub client_id: String,
    pub client_secret: Secret,
    /// Empty: `qss.username`.
    pub username: String,
    pub password: Secret,
    /// Empty: none is asked for.
    pub scope: String,
    /// PEM file of the CA to trust; `None`: as for the QSS.
    pub ca_file: Option<PathBuf>,
    /// When a token is renewed, in percent of its life.
    pub renew_at: u8,
    pub timeout: Span,
    pub retry_min: Span,
    pub retry_max: Span,
    /// A new token is registered at once, not only with the next session.
    pub register_again: bool,
}

impl Default for Qss {
    fn default() -> Qss {
        Qss {
            url: None,
            username: String::new(),
            user_id: String::new(),
            token: Secret::default(),
            token_file: None,
            token_file_timeout: Span::from_secs(10),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            headers: Vec::new(),
            bearer: false,
            token_query: String::new(),
            transport: QssTransport::WebSocket,
            subprotocol: String::new(),
            connect_timeout: Span::from_secs(10),
            close_timeout: Span::from_millis(300),
            tcp_user_timeout: Span::from_secs(30),
            ping_interval: Span::from_secs(25),
            ping_misses: 2,
            json_ping_interval: Span::ZERO,
            request_timeout: Span::from_secs(10),
            request_resend: Span::from_secs(3),
            request_resends: 3,
            reconnect_min: Span::from_secs(1),
            reconnect_max: Span::from_secs(60),
            retry_after_max: Span::from_secs(3_600),
            stable_after: Span::from_secs(60),
            spread: Span::from_secs(10),
            power_return: Span::from_secs(120),
            link_up_spread: Span::from_secs(2),
            revoked_codes: vec![1008, 4001, 4401, 4403],
            max_message: 262_144,
            max_link_message: 1_048_576,
            call_grace: Span::from_secs(30),
            first_session: Span::from_secs(3),
            better_room_after: Span::from_secs(10),
            bitrate_unit: 1_000,
            cancel_code: CancelCode::Both,
            own_gone: OwnGone::Expelled,
            transfer_done: TransferDone::Answer,
            rejoin_spread: 20,
            report_retry: Span::from_secs(30),
            meeting_retry: Span::from_secs(600),
            forbidden_retry: Span::from_secs(60),
            not_found_retry: Span::from_secs(30),
            report_unknown: true,
            unknown: QssUnknown { events: 10, interval: Span::from_secs(60), bytes: 1_024, kept: 8 },
            refuse_unknown: true,
            auth: QssAuth {
                token_url: None,
                client_id: String::new(),
                client_secret: Secret::default(),
                username: String::new(),
                password: Secret::default(),
                scope: String::new(),
                ca_file: None,
                renew_at: 80,
                timeout: Span::from_secs(10),
                retry_min: Span::from_secs(5),
                retry_max: Span::from_secs(300),
                register_again: false,
            },
            names: QssNames::default(),
            reads: Arc::default(),
            codes: QssCodes::default(),
        }
    }
}
