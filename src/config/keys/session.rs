//! `[qss]` and `[qss.auth]`: the session and its token.

use super::{Section, key, most};
use crate::config::shape;
use crate::config::value::Rule;

const URL: Rule = Rule::Text("ws://host[:port][/path] or wss://…", shape::qss_url);
const HEADERS: Rule = Rule::Pairs("header names and their values", shape::header_name, shape::header_value);

pub(super) const QSS: Section = Section {
    name: "qss",
    doc: "The session to the QSS.",
    board: false,
    keys: &[
        key(
            "url",
            |d| &mut d.config.qss.url,
            URL,
            "Where the QSS listens. Without it the device works alone, and only rooms by `sip_uri` can be joined.",
        ),
        key("username", |d| &mut d.config.qss.username, Rule::Any, "User name to register with."),
        key(
            "user_id",
            |d| &mut d.config.qss.user_id,
            Rule::Any,
            "The user's id inside the QSS (`gatewayUsername`), by which participants and owners of rooms are told. If not \
             given: `username`.",
        ),
        key(
            "token",
            |d| &mut d.config.qss.token,
            Rule::Any,
            "Token to register with. Prefer `token_file`, so that this file holds no secret.",
        ),
        key(
            "token_file",
            |d| &mut d.config.qss.token_file,
            Rule::Any,
            "File with the token on its only line, read again before each attempt. `${CREDENTIALS_DIRECTORY}/qss-token` \
             is a systemd credential: a copy that is made when the service starts, so that a new token takes a `systemctl \
             restart qss-endpoint`.",
        ),
        key(
            "token_file_timeout_ms",
            |d| &mut d.config.qss.token_file_timeout,
            Rule::Range(100, 600_000),
            "Reading the token file has failed after this time: a network file system may hang.",
        ),
        key(
            "token_env",
            |d| &mut d.token_env,
            Rule::Text("the name of a variable", shape::word),
            "Variable of the environment that holds the token.",
        ),
        key(
            "ca_file",
            |d| &mut d.config.qss.ca_file,
            Rule::Any,
            "PEM file with the CA to trust for `wss`, instead of the system's roots.",
        ),
        key(
            "client_cert_file",
            |d| &mut d.config.qss.client_cert_file,
            Rule::Any,
            "PEM file with the device's own certificate and its chain, for a QSS that asks for one ...",
        ),
        key(
            "client_key_file",
            |d| &mut d.config.qss.client_key_file,
            Rule::Any,
            "... and with its private key. Both are read again for each connection.",
        ),
        key("headers", |d| &mut d.config.qss.headers, HEADERS, "Extra header lines of the upgrade request."),
        key(
            "bearer",
            |d| &mut d.config.qss.bearer,
            Rule::Any,
            "Send the token as `Authorization: Bearer` in the upgrade request, too.",
        ),
        key(
            "token_query",
            |d| &mut d.config.qss.token_query,
            Rule::Text("a name of letters, digits and _", shape::query_name),
            "Send the token as this parameter of the URL's query, too; empty: not. It may end up in logs of the server.",
        ),
        key(
            "transport",
            |d| &mut d.config.qss.transport,
            Rule::Any,
            "What carries the messages. There is one way; the socket.io of old servers (4.x) is not spoken.",
        ),
        key(
            "subprotocol",
            |d| &mut d.config.qss.subprotocol,
            Rule::Text("a WebSocket subprotocol", shape::subprotocol),
            "Subprotocol to ask for; a QSS that does not speak it is not taken. Empty: none.",
        ),
        key(
            "connect_timeout_ms",
            |d| &mut d.config.qss.connect_timeout,
            Rule::Range(100, 120_000),
            "Longest time for name lookup, TCP, TLS and upgrade together.",
        ),
        key(
            "close_timeout_ms",
            |d| &mut d.config.qss.close_timeout,
            Rule::Range(10, 60_000),
            "A goodbye that takes longer is cut short.",
        ),
        key(
            "tcp_user_timeout_ms",
            |d| &mut d.config.qss.tcp_user_timeout,
            Rule::ZeroOr(100, 3_600_000),
            "Data that the other side has not acknowledged for so long ends the connection; 0: whatever the kernel does.",
        ),
        key(
            "ping_interval_ms",
            |d| &mut d.config.qss.ping_interval,
            Rule::Range(100, 3_600_000),
            "A WebSocket ping is sent this often.",
        ),
        key(
            "ping_misses",
            |d| &mut d.config.qss.ping_misses,
            Rule::Range(1, 20),
            "After so many pings without any frame back the link counts as dead.",
        ),
        key(
            "json_ping_interval_ms",
            |d| &mut d.config.qss.json_ping_interval,
            Rule::ZeroOr(100, 3_600_000),
            "A request `qss.names.json_ping` is sent this often too, for a QSS that wants one, or behind a proxy that \
             answers WebSocket pings itself: after `ping_misses` of them without any message back the link counts as \
             dead. 0: never.",
        ),
        key(
            "request_timeout_ms",
            |d| &mut d.config.qss.request_timeout,
            Rule::Range(100, 600_000),
            "A request without an answer has failed after this time.",
        ),
        key(
            "request_resend_ms",
            |d| &mut d.config.qss.request_resend,
            Rule::Range(50, 600_000),
            "Until then it is sent again, under the same id, this often ...",
        ),
        key("request_resends", |d| &mut d.config.qss.request_resends, Rule::Range(0, 20), "... at most so many times."),
        key(
            "reconnect_min_ms",
            |d| &mut d.config.qss.reconnect_min,
            Rule::Range(10, 600_000),
            "The first pause before connecting again is random, up to this; it doubles with each failure ...",
        ),
        most("reconnect_max_ms", |d| &mut d.config.qss.reconnect_max),
        key(
            "retry_after_max_ms",
            |d| &mut d.config.qss.retry_after_max,
            Rule::Range(0, 86_400_000),
            "A `Retry-After` of the QSS is obeyed up to this: a server must not silence a device for ever.",
        ),
        key(
            "stable_after_ms",
            |d| &mut d.config.qss.stable_after,
            Rule::Range(0, 3_600_000),
            "A session that lasted this long lets the pauses begin anew.",
        ),
        key(
            "spread_ms",
            |d| &mut d.config.qss.spread,
            Rule::ZeroOr(10, 600_000),
            "After a lost session, and after a start of the machine, the first attempt comes within this time and \
             the next ones this far apart, so that many devices come back evenly; 0: the pauses above.",
        ),
        key(
            "power_return_ms",
            |d| &mut d.config.qss.power_return,
            Rule::Range(0, 3_600_000),
            "A start so soon after that of the machine is one of many: the power has returned.",
        ),
        key(
            "link_up_spread_ms",
            |d| &mut d.config.qss.link_up_spread,
            Rule::Range(10, 600_000),
            "When the network comes up, an attempt that waits is made within this time, and at most once in it.",
        ),
        key(
            "revoked_codes",
            |d| &mut d.config.qss.revoked_codes,
            Rule::Range(1_000, 4_999),
            "WebSocket close codes by which the QSS ends this one session for good, as an administrator may: the token \
             is renewed or read again before the next attempt, which does not wait for the others.",
        ),
        key(
            "max_message_bytes",
            |d| &mut d.config.qss.max_message,
            Rule::Range(1_024, 16_777_216),
            "A longer message of the QSS is dropped, and counted.",
        ),
        key(
            "max_link_message_bytes",
            |d| &mut d.config.qss.max_link_message,
            Rule::Range(1_024, 67_108_864),
            "A message longer than this (and than `max_message_bytes`) ends the connection.",
        ),
        key(
            "first_session_ms",
            |d| &mut d.config.qss.first_session,
            Rule::Range(0, 600_000),
            "At the start a room that needs no QSS waits this long for the first session, which may make a more wanted \
             one possible.",
        ),
        key(
            "better_room_after_ms",
            |d| &mut d.config.qss.better_room_after,
            Rule::Range(100, 3_600_000),
            "A more wanted room must have been possible for this long before a less wanted one is left for it; doubled \
             with each failure of the former.",
        ),
        key(
            "bitrate_unit",
            |d| &mut d.config.qss.bitrate_unit,
            Rule::Range(1, 1_000_000),
            "What a room's `bitrate` counts, in bit/s: 1000 for kbit/s.",
        ),
        key(
            "cancel_code",
            |d| &mut d.config.qss.cancel_code,
            Rule::Any,
            "Where the code of the device's own `cancel` stands: at top level, under `payload`, or both.",
        ),
        key(
            "meeting_retry_ms",
            |d| &mut d.config.qss.meeting_retry,
            Rule::Range(10, 86_400_000),
            "A meeting that has not begun is asked for when it begins, and at least this often.",
        ),
        key(
            "forbidden_retry_ms",
            |d| &mut d.config.qss.forbidden_retry,
            Rule::Range(10, 86_400_000),
            "A room that does not admit the device (403) is asked for again after this time, or after as little as half \
             of it.",
        ),
        key(
            "not_found_retry_ms",
            |d| &mut d.config.qss.not_found_retry,
            Rule::Range(10, 86_400_000),
            "So is a room that is not there (404).",
        ),
        key(
            "report_unknown",
            |d| &mut d.config.qss.report_unknown,
            Rule::Any,
            "Fields and words of the QSS that the device does not know are ignored; they are counted as problems, too \
             (true), or not (false).",
        ),
        key(
            "unknown_events",
            |d| &mut d.config.qss.unknown.events,
            Rule::Range(0, 10_000),
            "So many events of the QSS that the device does not know are passed on as they came, by the status event \
             `unknown_event`, in each `unknown_interval_ms`; the others are counted only. 0: none.",
        ),
        key(
            "unknown_interval_ms",
            |d| &mut d.config.qss.unknown.interval,
            Rule::Range(10, 86_400_000),
            "See `unknown_events`.",
        ),
        key(
            "unknown_bytes",
            |d| &mut d.config.qss.unknown.bytes,
            Rule::Range(0, 65_536),
            "So many bytes of a message that the device does not understand are passed on, or kept.",
        ),
        key(
            "unknown_kept",
            |d| &mut d.config.qss.unknown.kept,
            Rule::Range(0, 1_000),
            "So many of the last messages that the device did not understand, or not all of, are kept as they came: \
             `qss-endpoint status` shows them under `unknown`.",
        ),
        key(
            "refuse_unknown",
            |d| &mut d.config.qss.refuse_unknown,
            Rule::Any,
            "A request of the QSS that the device does not know is refused with 501 (true), or ignored (false).",
        ),
        key(
            "call_grace_ms",
            |d| &mut d.config.qss.call_grace,
            Rule::Range(0, 86_400_000),
            "How long a call outlives the session that led to it, counted from the first attempt at another; 0: not at all.",
        ),
        key(
            "own_gone",
            |d| &mut d.config.qss.own_gone,
            Rule::Any,
            "What it means that the device itself is `GONE`, or no longer in the list of participants: it was expelled \
             (and comes back within the hour, since nobody has said so), or the QSS is asked by joinRoom. A session younger \
             than `stable_after_ms` is always asked: the word may be about the one before it.",
        ),
        key(
            "transfer_done",
            |d| &mut d.config.qss.transfer_done,
            Rule::Any,
            "What tells that a transfer of the device has succeeded, so that it leaves: the QSS's answer, or its event \
             that says `ACCEPTED`.",
        ),
        key(
            "rejoin_spread_percent",
            |d| &mut d.config.qss.rejoin_spread,
            Rule::Range(0, 1_000),
            "All devices that were sent away come back, but not in the same instant: to `rejoin_after_expel_ms` and \
             `rejoin_after_destroy_ms` of a room a random part of up to so many percent is added.",
        ),
        key(
            "report_retry_ms",
            |d| &mut d.config.qss.report_retry,
            Rule::Range(10, 3_600_000),
            "A report of mute or hold that was refused or not answered is made again after this time; not if the QSS \
             does not know the request.",
        ),
    ],
};

pub(super) const AUTH: Section = Section {
    name: "qss.auth",
    doc: "An OpenID server that gives tokens for a name and a password (the resource owner password grant), instead of \
          `qss.token`. The token is renewed in good time, and at once when the QSS refuses it.",
    board: false,
    keys: &[
        key(
            "token_url",
            |d| &mut d.config.qss.auth.token_url,
            Rule::Text("http://host[:port]/path or https://…", shape::token_url),
            "Where tokens are given, such as `https://host/auth/realms/realm/protocol/openid-connect/token`.",
        ),
        key("client_id", |d| &mut d.config.qss.auth.client_id, Rule::Any, "The client that the server knows."),
        key(
            "client_secret",
            |d| &mut d.config.qss.auth.client_secret,
            Rule::Any,
            "Its secret, if it has one. Prefer `client_secret_file`.",
        ),
        key(
            "client_secret_file",
            |d| &mut d.client_secret_file,
            Rule::Any,
            "File with the client's secret on its only line.",
        ),
        key(
            "username",
            |d| &mut d.config.qss.auth.username,
            Rule::Any,
            "Name to ask with. If not given: `qss.username`.",
        ),
        key(
            "password",
            |d| &mut d.config.qss.auth.password,
            Rule::Any,
            "Password to ask with. Prefer `password_file`.",
        ),
        key("password_file", |d| &mut d.auth_password_file, Rule::Any, "File with the password on its only line."),
        key("scope", |d| &mut d.config.qss.auth.scope, Rule::Any, "Scope to ask for; empty: the server's choice."),
        key(
            "ca_file",
            |d| &mut d.config.qss.auth.ca_file,
            Rule::Any,
            "PEM file with the CA to trust for `https`. If not given: as for the QSS.",
        ),
        key(
            "renew_at_percent",
            |d| &mut d.config.qss.auth.renew_at,
            Rule::Range(10, 95),
            "A token is renewed when so much of its life (`expires_in`) is over.",
        ),
        key(
            "timeout_ms",
            |d| &mut d.config.qss.auth.timeout,
            Rule::Range(100, 120_000),
            "Longest time for a request to the token server, name lookup included.",
        ),
        key(
            "retry_min_ms",
            |d| &mut d.config.qss.auth.retry_min,
            Rule::Range(10, 600_000),
            "A renewal that failed is tried again after a random pause up to this; it doubles with each failure ...",
        ),
        most("retry_max_ms", |d| &mut d.config.qss.auth.retry_max),
        key(
            "register_again",
            |d| &mut d.config.qss.auth.register_again,
            Rule::Any,
            "Register a renewed token at once (true), or with the next session (false).",
        ),
    ],
};
