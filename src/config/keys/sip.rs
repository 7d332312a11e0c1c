//! `[sip]`: the call to the audiomixer.

use super::{Section, WORD, WORDS, key, most};
use crate::config::shape;
use crate::config::value::Rule;

const HOSTS: Rule = Rule::Pairs("host or host:port on both sides", shape::host_port, shape::host_port);
const HEADERS: Rule = Rule::Pairs("header name = its value", shape::sip_header_name, shape::sip_header_value);
const IPS: Rule = Rule::Text("IP addresses", shape::ip);
const NAMESERVERS: Rule = Rule::Text("IP addresses, each with or without :port", shape::nameserver);

pub(super) const SIP: Section = Section {
    name: "sip",
    doc: "The call to the audiomixer.",
    board: false,
    keys: &[
        key(
            "bind",
            |d| &mut d.config.sip.bind,
            Rule::Any,
            "Local address of the SIP socket: an unspecified one stands for IPv4 and IPv6. Port 0: any free one.",
        ),
        key(
            "user",
            |d| &mut d.config.sip.user,
            Rule::Text("the user part of a SIP URI", shape::sip_user),
            "User part of the own SIP address.",
        ),
        key("display_name", |d| &mut d.config.sip.display_name, Rule::Any, "Name shown to the others."),
        key("auth_user", |d| &mut d.config.sip.auth_user, Rule::Any, "User name for digest; empty: `user`."),
        key("password", |d| &mut d.config.sip.password, Rule::Any, "Password for digest. Prefer `password_file`."),
        key("password_file", |d| &mut d.password_file, Rule::Any, "File with the password on its only line."),
        key(
            "host_map",
            |d| &mut d.config.sip.host_map,
            HOSTS,
            "Where requests for a host of a `sipUri` really go, since that name is often internal to a cluster. \
             The request itself keeps the name.",
        ),
        key(
            "headers",
            |d| &mut d.config.sip.headers,
            HEADERS,
            "Headers to add to each INVITE, such as `{ X-Room = \"{room}\" }`, for a mixer that wants to know who comes. \
             `{room}` is the room's id at the QSS, `{user}` is `qss.username`, `{device}` is `device.id`, `{token}` is the \
             device's token for the room's media server, a secret; a header whose value is not known is left out.",
        ),
        key(
            "outbound_proxy",
            |d| &mut d.config.sip.outbound_proxy,
            Rule::Text("host or host:port, or a sip: URI", shape::proxy),
            "Send every request here instead. A URI, such as `sip:proxy.example;transport=tls;lr`, also stands in \
             the Route header of new calls.",
        ),
        key(
            "transport",
            |d| &mut d.config.sip.transport,
            Rule::Any,
            "What carries requests to a URI without `;transport=`. A `sips:` URI goes by `tls` or `wss` whatever stands here.",
        ),
        key(
            "tcp_listen",
            |d| &mut d.config.sip.tcp_listen,
            Rule::Any,
            "Let a peer connect by TCP to the port of `bind`, for what does not fit a datagram (RFC 3261 18.2.1); \
             eight at a time.",
        ),
        key(
            "nameservers",
            |d| &mut d.config.sip.nameservers,
            NAMESERVERS,
            "Asked for the service records (SRV) of a host without a port, and for addresses. None: the system's \
             name servers, and the system's own way to addresses.",
        ),
        key(
            "dns_timeout_ms",
            |d| &mut d.config.sip.dns_timeout,
            Rule::Range(100, 30_000),
            "A name server that has not answered by then is passed over for the next; each is asked twice.",
        ),
        key(
            "ca_file",
            |d| &mut d.config.sip.ca_file,
            Rule::Any,
            "PEM file with the CA to trust for `tls` and `wss`, instead of the system's roots.",
        ),
        key(
            "client_cert_file",
            |d| &mut d.config.sip.client_cert_file,
            Rule::Any,
            "PEM file with the own certificate and its chain, for a server that wants one ...",
        ),
        key("client_key_file", |d| &mut d.config.sip.client_key_file, Rule::Any, "... and with its private key."),
        key(
            "ws_path",
            |d| &mut d.config.sip.ws_path,
            Rule::Text("a path", shape::path),
            "Path of the WebSocket, for `ws` and `wss`.",
        ),
        key(
            "connect_timeout_ms",
            |d| &mut d.config.sip.connect_timeout,
            Rule::Range(100, 120_000),
            "Longest time for a connection to come about, TLS and upgrade included. Then the next address is tried.",
        ),
        key(
            "tcp_user_timeout_ms",
            |d| &mut d.config.sip.tcp_user_timeout,
            Rule::ZeroOr(100, 3_600_000),
            "Data that the other side has not acknowledged for so long ends a connection; 0: whatever the \
             kernel does.",
        ),
        key(
            "close_timeout_ms",
            |d| &mut d.config.sip.close_timeout,
            Rule::Range(10, 60_000),
            "How long what was sent before a connection is closed has to leave.",
        ),
        key(
            "idle_timeout_ms",
            |d| &mut d.config.sip.idle_timeout,
            Rule::Range(100, 86_400_000),
            "A connection that no call and no registration lives by is closed when nothing has used it for \
             this long: longer than any transaction lasts.",
        ),
        key(
            "reconnect_min_ms",
            |d| &mut d.config.sip.reconnect_min,
            Rule::Range(10, 600_000),
            "A connection that a call lives by is made again after this pause when it is lost; it doubles \
             with each failure ...",
        ),
        most("reconnect_max_ms", |d| &mut d.config.sip.reconnect_max),
        key(
            "keepalive_ms",
            |d| &mut d.config.sip.keepalive_interval,
            Rule::ZeroOr(10, 3_600_000),
            "Between two keep-alives while a call or a registration needs the way to the mixer; 0: none.",
        ),
        key(
            "keepalive",
            |d| &mut d.config.sip.keepalive,
            Rule::Any,
            "What a keep-alive is: empty lines, or an OPTIONS that has to be answered.",
        ),
        key(
            "udp_limit_bytes",
            |d| &mut d.config.sip.udp_limit,
            Rule::ZeroOr(500, 65_000),
            "A longer request goes over TCP instead of UDP, if the peer takes TCP (RFC 3261 18.1.1); 0: never.",
        ),
        key(
            "udp_only_ms",
            |d| &mut d.config.sip.udp_only,
            Rule::Range(0, 86_400_000),
            "A peer that has refused TCP gets longer requests by UDP for this long.",
        ),
        key(
            "rewrite_contact",
            |d| &mut d.config.sip.rewrite_contact,
            Rule::Any,
            "Behind a NAT: give the address the mixer sees in Contact, once it has told.",
        ),
        key(
            "incoming",
            |d| &mut d.config.sip.incoming,
            Rule::Any,
            "What becomes of SIP calls to the device: refused, or answered when `callers` and `peers` allow it. An \
             answered call is the room the device is in; one at a time, the next caller hears 486.",
        ),
        key(
            "callers",
            |d| &mut d.config.sip.callers,
            WORDS,
            "Who may call: user, `user@host` or whole URI as his From names it; `\"*\"` stands for everyone. From \
             proves nothing: see `peers`.",
        ),
        key(
            "peers",
            |d| &mut d.config.sip.peers,
            IPS,
            "IP addresses that calls may come from: those of mixer or proxy. Empty: any.",
        ),
        key(
            "ring_ms",
            |d| &mut d.config.sip.ring,
            Rule::Range(0, 120_000),
            "An accepted caller hears this much ringing before the device answers.",
        ),
        key(
            "refer",
            |d| &mut d.config.sip.refer,
            Rule::Any,
            "What becomes of a REFER of the mixer within the call: refused, or followed to whatever `sip:` URI it names. \
             If nobody takes the call there, the device comes back.",
        ),
        key(
            "dtmf",
            |d| &mut d.config.sip.dtmf,
            Rule::Any,
            "What carries digits to the mixer: telephone events in RTP, INFO requests, or events if the mixer has them and \
             else INFO. Heard are both.",
        ),
        key("dtmf_tone_ms", |d| &mut d.config.sip.dtmf_tone, Rule::Range(40, 1_000), "A digit sounds this long."),
        key(
            "dtmf_gap_ms",
            |d| &mut d.config.sip.dtmf_gap,
            Rule::Range(40, 1_000),
            "At least this long after it nothing does.",
        ),
        key(
            "dtmf_twice_ms",
            |d| &mut d.config.sip.dtmf_twice,
            Rule::Range(0, 10_000),
            "A mixer that sends digits both ways: the same digit by RTP and by INFO within this time is one.",
        ),
        key(
            "t1_ms",
            |d| &mut d.config.sip.t1,
            Rule::Range(10, 10_000),
            "Timer T1 of RFC 3261: the round trip assumed.",
        ),
        key("t2_ms", |d| &mut d.config.sip.t2, Rule::Range(10, 60_000), "Timer T2: longest pause between repetitions."),
        key(
            "t4_ms",
            |d| &mut d.config.sip.t4,
            Rule::Range(10, 60_000),
            "Timer T4: how long a message lives in the network.",
        ),
        key(
            "invite_timeout_ms",
            |d| &mut d.config.sip.invite_timeout,
            Rule::Range(10, 600_000),
            "A call that is not answered is given up, also while it rings.",
        ),
        key(
            "session_expires_ms",
            |d| &mut d.config.sip.session_expires,
            Rule::ZeroOr(90_000, 86_400_000),
            "Session interval to ask for (RFC 4028): the call is refreshed at half of it, and ends when its peer \
             is gone. 0: whatever the mixer wants.",
        ),
        key(
            "refresh_retry_ms",
            |d| &mut d.config.sip.refresh_retry,
            Rule::Range(100, 60_000),
            "A refresh of the session (RFC 4028) that was refused for the moment is made again after this.",
        ),
        key(
            "min_se_ms",
            |d| &mut d.config.sip.min_se,
            Rule::Range(90_000, 86_400_000),
            "The shortest session interval to accept.",
        ),
        key(
            "retry_min_ms",
            |d| &mut d.config.sip.retry_min,
            Rule::Range(10, 600_000),
            "A lost call is dialled again after a random pause: at least this, the first time at most twice this. \
             The most doubles each time ...",
        ),
        most("retry_max_ms", |d| &mut d.config.sip.retry_max),
        key(
            "refused_by_bye_ms",
            |d| &mut d.config.sip.refused_by_bye,
            Rule::Range(0, 60_000),
            "A BYE so soon after the answer is a refusal: a locked or full conference answers before it refuses.",
        ),
        key(
            "hold_probe_ms",
            |d| &mut d.config.sip.hold_probe,
            Rule::Range(10, 86_400_000),
            "How often the mixer is asked whether it still knows a call on hold, of which nothing arrives.",
        ),
        key("user_agent", |d| &mut d.config.sip.user_agent, WORD, "The `User-Agent` header."),
    ],
};
