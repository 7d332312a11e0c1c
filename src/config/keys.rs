//! Every key there is: one row each, with its place in [`Config`](super::Config), what it allows and what it means.
//!
//! Parsing, error messages, `check`, `docs/config.md` and `docs/endpoint.toml` are all made from these rows. Defaults
//! are those of `Config::default()`; only what is worked out at load time (a device id, a socket) says so in its text.

pub(super) mod buttons;
pub(super) mod callers;
pub(super) mod calls;
mod names;
mod register;
mod session;

use super::file::{Draft, RoomDraft};
use super::shape;
use super::value::{Field, Rule};

/// A row: the key's name in its section, where its value goes, what it allows, what it means.
pub(super) struct Key<T: 'static> {
    pub(super) name: &'static str,
    pub(super) field: fn(&mut T) -> &mut dyn Field,
    pub(super) rule: Rule,
    pub(super) doc: &'static str,
}

pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    /// A board may set it: it depends on the hardware, not on the site.
    pub(super) board: bool,
    pub(super) keys: &'static [Key<Draft>],
}

pub(super) const fn key<T>(
    name: &'static str,
    field: fn(&mut T) -> &mut dyn Field,
    rule: Rule,
    doc: &'static str,
) -> Key<T> {
    Key { name, field, rule, doc }
}

const HOSTS: Rule = Rule::Pairs("host or host:port on both sides", shape::host_port, shape::host_port);
const HEADERS: Rule = Rule::Pairs("header name = its value", shape::sip_header_name, shape::sip_header_value);
const SUITE: Rule = Rule::Text(shape::SUITES, shape::srtp_suite);
const PCM: Rule = Rule::Text("an ALSA PCM name, no card number", shape::pcm);
const IPS: Rule = Rule::Text("IP addresses", shape::ip);
const NAMESERVERS: Rule = Rule::Text("IP addresses, each with or without :port", shape::nameserver);
const VOLUME: Rule = Rule::Signed(-60, 30);
const WORD: Rule = Rule::Text("not empty", shape::word);
pub(super) const WORDS: Rule = Rule::Text("none of them empty", shape::word);

pub(super) static SECTIONS: &[Section] = &[
    Section {
        name: "device",
        doc: "Who this device is.",
        board: false,
        keys: &[
            key(
                "id",
                |d| &mut d.config.device.id,
                Rule::Text("1 to 64 letters, digits or . - _ :", shape::device_id),
                "Stable id, given to the QSS as `deviceId` and in each status event. If not given: a hash of \
             `/etc/machine-id` (not the machine id itself), or else the host name.",
            ),
            key(
                "state_dir",
                |d| &mut d.config.device.state_dir,
                Rule::Any,
                "Directory for what must outlive a crash: the rooms that the device made and must destroy, how many \
                 attempts at a session came to nothing, a time that has certainly passed, and how fast the clocks of \
                 card and mixer run. If not given: systemd's \
                 `StateDirectory`, or nothing is kept.",
            ),
            key(
                "stop_timeout_ms",
                |d| &mut d.config.device.stop_timeout,
                Rule::Range(0, 60_000),
                "How long a stop waits for its goodbyes to mixer and QSS to be answered.",
            ),
            key(
                "board_interval_ms",
                |d| &mut d.config.device.board_interval,
                Rule::Range(0, 3_600_000),
                "Heat and supply of the board are looked at this often: when it is too hot or lacks voltage, the encoder is \
                 asked for less (event `economy`). 0: never.",
            ),
        ],
    },
    session::QSS,
    session::AUTH,
    names::NAMES,
    super::reads::READS,
    names::CODES,
    Section {
        name: "invites",
        doc: "What happens when somebody invites the device into a room.",
        board: false,
        keys: &[
            key(
                "accept",
                |d| &mut d.config.invites.accept,
                WORDS,
                "User ids whose invites are accepted; `\"*\"` stands for everyone. All others are declined.",
            ),
            key(
                "decline_code",
                |d| &mut d.config.invites.decline_code,
                Rule::Range(400, 699),
                "Code of the refusal to those who are not on the list.",
            ),
            key(
                "busy_code",
                |d| &mut d.config.invites.busy_code,
                Rule::Range(400, 699),
                "Code of the refusal while the device is in a call.",
            ),
            key(
                "unanswered_code",
                |d| &mut d.config.invites.unanswered_code,
                Rule::Range(400, 699),
                "Code of the refusal when nobody has answered in time.",
            ),
            key(
                "withdraw_code",
                |d| &mut d.config.invites.withdraw_code,
                Rule::Range(400, 699),
                "Code by which the device takes an invite or a request of its own back.",
            ),
            key(
                "returns",
                |d| &mut d.config.invites.returns,
                Rule::Any,
                "A call whose place was taken by an invite of a higher priority is gone back to when that is over (true), or \
                 not (false). Configured rooms are gone back to anyway; a room of the device's own is destroyed when it is \
                 left.",
            ),
            key(
                "replaces_call",
                |d| &mut d.config.invites.replaces_call,
                Rule::Any,
                "An accepted invite ends a present call of the same priority (true), or is refused as busy (false).",
            ),
            key(
                "requests",
                |d| &mut d.config.invites.requests,
                WORDS,
                "User ids that are invited when they ask for it (`inviteRequest`: visitors of a personal URL, calls from \
                 outside); `\"*\"` stands for everyone. All others are declined.",
            ),
            key(
                "request_room",
                |d| &mut d.config.invites.request_room,
                Rule::Any,
                "They are invited into a new room, or into the one the device is in; while it is in another call, they \
                 are told that it is busy.",
            ),
        ],
    },
    calls::SECTION,
    Section {
        name: "control",
        doc: "What others in a room may do with the device.",
        board: false,
        keys: &[
            key("remote_mute", |d| &mut d.config.control.remote_mute, Rule::Any, "They may mute it."),
            key(
                "remote_unmute",
                |d| &mut d.config.control.remote_unmute,
                Rule::Any,
                "They may unmute it: whoever is in the room opens the microphone.",
            ),
            key(
                "transfer",
                |d| &mut d.config.control.transfer,
                Rule::Any,
                "A transfer, blind or attended, moves it to another room.",
            ),
            key(
                "transfer_priority",
                |d| &mut d.config.control.transfer_priority,
                Rule::Range(0, 9),
                "... unless its call has a higher priority than this (`[[caller]] priority`): 8 keeps a page of priority 9 \
                 where it is. A call that is moved keeps its priority.",
            ),
        ],
    },
    Section {
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
                 `{room}` is the room's id at the QSS, `{user}` is `qss.username`, `{device}` is `device.id`; a header \
                 whose value is not known is left out.",
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
                "keepalive_ms",
                |d| &mut d.config.sip.keepalive_interval,
                Rule::ZeroOr(1_000, 3_600_000),
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
                "t1_ms",
                |d| &mut d.config.sip.t1,
                Rule::Range(10, 10_000),
                "Timer T1 of RFC 3261: the round trip assumed.",
            ),
            key(
                "t2_ms",
                |d| &mut d.config.sip.t2,
                Rule::Range(10, 60_000),
                "Timer T2: longest pause between repetitions.",
            ),
            key(
                "t4_ms",
                |d| &mut d.config.sip.t4,
                Rule::Range(10, 60_000),
                "Timer T4: how long a message lives in the network.",
            ),
            key(
                "invite_timeout_ms",
                |d| &mut d.config.sip.invite_timeout,
                Rule::Range(1_000, 600_000),
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
            key("retry_max_ms", |d| &mut d.config.sip.retry_max, Rule::Range(10, 3_600_000), "... up to this."),
            key(
                "refused_by_bye_ms",
                |d| &mut d.config.sip.refused_by_bye,
                Rule::Range(0, 60_000),
                "A BYE so soon after the answer is a refusal: a locked or full conference answers before it refuses.",
            ),
            key(
                "hold_probe_ms",
                |d| &mut d.config.sip.hold_probe,
                Rule::Range(1_000, 86_400_000),
                "How often the mixer is asked whether it still knows a call on hold, of which nothing arrives.",
            ),
            key("user_agent", |d| &mut d.config.sip.user_agent, WORD, "The `User-Agent` header."),
        ],
    },
    register::REGISTER,
    Section {
        name: "rtp",
        doc: "Audio on the network.",
        board: true,
        keys: &[
            key(
                "bind",
                |d| &mut d.config.rtp.bind,
                Rule::Any,
                "Local address of the RTP sockets, and the one offered to the mixer unless unspecified: that takes IPv4 and IPv6.",
            ),
            key(
                "port_min",
                |d| &mut d.config.rtp.ports.0,
                Rule::ZeroOr(1_024, 65_534),
                "First port for RTP, even; 0: any.",
            ),
            key(
                "port_max",
                |d| &mut d.config.rtp.ports.1,
                Rule::ZeroOr(1_024, 65_534),
                "Last port for RTP, even; RTCP takes the next. 0: any.",
            ),
            key("dscp", |d| &mut d.config.rtp.dscp, Rule::Range(0, 63), "DSCP of RTP packets; 46 is EF (RFC 3246)."),
            key(
                "silence_timeout_ms",
                |d| &mut d.config.rtp.silence_timeout,
                Rule::Range(100, 600_000),
                "Nothing arrives for this long: the status falls below `receiving`.",
            ),
            key(
                "dead_timeout_ms",
                |d| &mut d.config.rtp.dead_timeout,
                Rule::Range(500, 3_600_000),
                "Nothing arrives for this long: the call is hung up and dialled again.",
            ),
            key(
                "rtcp_interval_ms",
                |d| &mut d.config.rtp.rtcp_interval,
                Rule::Range(100, 60_000),
                "RTCP is sent this often.",
            ),
            key(
                "mixer_behind_nat",
                |d| &mut d.config.rtp.mixer_behind_nat,
                Rule::Any,
                "Believe plain audio from another host than the mixer names, until it comes from there. Another port of its \
                 host, and protected audio, are believed anyway.",
            ),
            key(
                "srtp",
                |d| &mut d.config.rtp.srtp,
                Rule::Any,
                "Protected audio with keys in SDP (RFC 4568): not at all, plain if the mixer has none, or no call without.",
            ),
            key("srtp_suites", |d| &mut d.config.rtp.srtp_suites, SUITE, "What is offered, most wanted first."),
            key(
                "srtp_over_plain_signalling",
                |d| &mut d.config.rtp.srtp_over_plain_signalling,
                Rule::Any,
                "Send the keys over UDP, TCP and `ws` as well, where everybody on the way can read them. Only for networks \
                 that are protected otherwise.",
            ),
        ],
    },
    Section {
        name: "codec",
        doc: "Opus.",
        board: true,
        keys: &[
            key(
                "bitrate",
                |d| &mut d.config.codec.bitrate,
                Rule::Range(6_000, 510_000),
                "Wanted bit/s of the payload; the room's cap may lower it.",
            ),
            key(
                "cap_kbps",
                |d| &mut d.config.codec.cap_kbps,
                Rule::ZeroOr(12, 100_000),
                "Cap in kbit/s of everything on the wire, headers included, when the room gives none. 0: none.",
            ),
            key(
                "ptime_ms",
                |d| &mut d.config.codec.ptime,
                Rule::OneOf(&[10, 20, 40, 60]),
                "Wanted length of a packet; a low cap may lengthen it.",
            ),
            key(
                "complexity",
                |d| &mut d.config.codec.complexity,
                Rule::Range(0, 10),
                "Effort of the encoder: 0 is cheapest, 10 sounds best.",
            ),
            key(
                "fec",
                |d| &mut d.config.codec.fec,
                Rule::Any,
                "In-band forward error correction; `auto`: while the other side reports loss.",
            ),
            key("dtx", |d| &mut d.config.codec.dtx, Rule::Any, "Send nearly nothing while nobody speaks."),
        ],
    },
    Section {
        name: "audio",
        doc: "The sound card.",
        board: true,
        keys: &[
            key(
                "capture",
                |d| &mut d.config.audio.capture,
                PCM,
                "ALSA PCM of the microphone. The card is named by its id (`plughw:CARD=<id>`), by vendor, product and perhaps \
                 serial number of a USB device (`hw:USB=0d8c:0014`, `hw:USB=0d8c:0014:A1B2`), or by where it is plugged in \
                 (`hw:BUS=platform-3f980000.usb-usb-0:1.2:1.0`); `qss-endpoint devices` lists them. It is looked for anew \
                 each time it is opened. A number (`hw:1`) is refused: it changes from boot to boot.",
            ),
            key(
                "playback",
                |d| &mut d.config.audio.playback,
                PCM,
                "ALSA PCM of the loudspeaker, named likewise; it may be another card.",
            ),
            key(
                "mixer",
                |d| &mut d.config.audio.mixer,
                Rule::Text("an ALSA control name, no card number", shape::mixer),
                "Mixer of `controls`, such as `hw:CARD=<id>`, named as `capture` is. Empty: that of the playback card.",
            ),
            key(
                "controls",
                |d| &mut d.config.audio.controls,
                Rule::Pairs("decibels, on, off or an item", shape::control, shape::control_value),
                "Controls of the mixer and what they are set to when the card is opened, before anything is played, such as \
                 `{ Mic = \"12 dB\", \"Mic Boost\" = \"on\", \"Capture Input\" = \"ADC\" }`. Names are those of `amixer \
                 scontrols`; of a control with two sides capture is meant, unless ` Playback` stands behind its name. They are \
                 read back, and what was not taken is told.",
            ),
            key(
                "amplifier_control",
                |d| &mut d.config.audio.amplifier_control,
                Rule::Text("the name of a switch", shape::control_or_none),
                "Switch of the mixer that turns the loudspeaker's amplifier on: on while the card runs, off otherwise. Empty: \
                 none.",
            ),
            key(
                "playback_db",
                |d| &mut d.config.audio.playback_volume.start,
                VOLUME,
                "The loudspeaker is so much louder, or softer, than the card's mixer makes it: at the start, until the command \
                 `volume` says otherwise. Tones are, too. It glides, half a decibel a millisecond; what becomes too loud is \
                 clipped.",
            ),
            key(
                "playback_min_db",
                |d| &mut d.config.audio.playback_volume.min,
                VOLUME,
                "The command goes no lower ...",
            ),
            key("playback_max_db", |d| &mut d.config.audio.playback_volume.max, VOLUME, "... and no higher."),
            key("capture_db", |d| &mut d.config.audio.capture_volume.start, VOLUME, "The same for the microphone ..."),
            key("capture_min_db", |d| &mut d.config.audio.capture_volume.min, VOLUME, "... at the least ..."),
            key("capture_max_db", |d| &mut d.config.audio.capture_volume.max, VOLUME, "... and at the most."),
            key(
                "rate",
                |d| &mut d.config.audio.rate,
                Rule::OneOf(&[8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000]),
                "Samples per second to ask of the card. 48000 is what Opus has; a card that cannot do it gives what is nearest, \
                 and the endpoint converts. A lower rate spares nothing but a slow bus.",
            ),
            key(
                "period_ms",
                |d| &mut d.config.audio.period,
                Rule::Range(1, 100),
                "Wanted time between two interrupts of the card. Short: less delay, more load.",
            ),
            key(
                "periods",
                |d| &mut d.config.audio.periods,
                Rule::Range(2, 32),
                "Wanted size of the card's buffer, in periods.",
            ),
            key(
                "capture_channels",
                |d| &mut d.config.audio.capture_channels,
                Rule::Range(1, 32),
                "Channels the card captures.",
            ),
            key(
                "capture_channel",
                |d| &mut d.config.audio.capture_channel,
                Rule::Range(0, 31),
                "Which of them carries the microphone, from 0. The others are ignored, not mixed in.",
            ),
            key(
                "playback_channels",
                |d| &mut d.config.audio.playback_channels,
                Rule::Range(1, 32),
                "Channels the card plays; all get the same.",
            ),
            key(
                "realtime_priority",
                |d| &mut d.config.audio.realtime_priority,
                Rule::Range(0, 99),
                "`SCHED_FIFO` priority of the audio thread; 0: an ordinary thread.",
            ),
            key(
                "lock_memory",
                |d| &mut d.config.audio.lock_memory,
                Rule::Any,
                "Keep the process in memory, so that audio never waits for a disk.",
            ),
            key(
                "reopen_interval_ms",
                |d| &mut d.config.audio.reopen_interval,
                Rule::Range(50, 60_000),
                "A card that is gone or busy is tried again this often.",
            ),
            key("mute_at_start", |d| &mut d.config.audio.mute_at_start, Rule::Any, "Start with the microphone muted."),
            key(
                "tones",
                |d| &mut d.config.audio.tones,
                Rule::Any,
                "Play tones: ring, ringback, busy, connected, muted and unmuted.",
            ),
            key(
                "ladder_tones",
                |d| &mut d.config.audio.ladder_tones,
                Rule::Any,
                "For installers without a screen: play a tone whenever audio is proven a rung further or less far: one pip \
                 for the session, two for the room, three for the call, four when packets leave, five when they arrive, six \
                 when the loudspeaker plays; a low one for nothing.",
            ),
            key(
                "tone_level_db",
                |d| &mut d.config.audio.tone_level,
                Rule::Range(0, 60),
                "Peak of the tones, in dB below full scale.",
            ),
        ],
    },
    Section {
        name: "jitter",
        doc: "The buffer between network and loudspeaker. It adapts by itself between these two.",
        board: true,
        keys: &[
            key("min_ms", |d| &mut d.config.jitter.min, Rule::Range(0, 500), "Least delay it aims at."),
            key("max_ms", |d| &mut d.config.jitter.max, Rule::Range(20, 2_000), "Most delay it may add."),
        ],
    },
    Section {
        name: "status",
        doc: "What the device says about itself.",
        board: true,
        keys: &[
            key(
                "socket",
                |d| &mut d.config.status.socket,
                Rule::Any,
                "Unix socket that serves `qss-endpoint status`. If not given: `status.sock` in systemd's \
                 `RuntimeDirectory`, or none.",
            ),
            key(
                "stdout",
                |d| &mut d.config.status.stdout,
                Rule::Any,
                "Write each event as a JSON line to standard output.",
            ),
            key(
                "heartbeat_ms",
                |d| &mut d.config.status.heartbeat,
                Rule::ZeroOr(1_000, 86_400_000),
                "A full snapshot is sent this often, even if nothing changes; 0: never.",
            ),
            key(
                "snapshot_interval_ms",
                |d| &mut d.config.status.snapshot_interval,
                Rule::Range(10, 3_600_000),
                "Of the snapshots that the QSS asks for one is sent this often at most.",
            ),
            key(
                "stats_timeout_ms",
                |d| &mut d.config.status.stats_timeout,
                Rule::Range(10, 60_000),
                "How long a snapshot waits for the numbers of the running call.",
            ),
            key(
                "backlog",
                |d| &mut d.config.status.backlog,
                Rule::Range(1, 100_000),
                "Events kept for the QSS while it is away; beyond it the oldest are dropped, and counted.",
            ),
            key(
                "room_events",
                |d| &mut d.config.status.room_events,
                Rule::Any,
                "Tell the room events of the vendor's SDK too (`participantAdded` and the like), besides the device's own.",
            ),
            key(
                "participants",
                |d| &mut d.config.status.participants,
                Rule::Range(0, 1_000),
                "So many participants of a room are kept by name; the others are counted.",
            ),
            key(
                "participants_interval_ms",
                |d| &mut d.config.status.participants_interval,
                Rule::Range(10, 3_600_000),
                "The list of participants is told at most this often, and at most 16 of its changes one by one.",
            ),
            key(
                "page_spelling",
                |d| &mut d.config.status.page_spelling,
                Rule::Any,
                "The event of a stream that ended is `remoteStreamRemove`, as the vendor's page spells it (true), or \
                 `remoteStreamRemoved`, as the SDK does (false).",
            ),
        ],
    },
];

/// A `[[room]]`, repeatable. Most wanted first; one at a time is in audio.
pub(super) static ROOM: &[Key<RoomDraft>] = &[
    key("name", |r| &mut r.name, Rule::Any, "Short name for logs and status. If not given: the id, the URI, or `new`."),
    key("id", |r| &mut r.id, WORD, "Join the room with this id through the QSS."),
    key(
        "sip_uri",
        |r| &mut r.sip_uri,
        Rule::Text("sip:user@host[:port]", shape::sip_uri),
        "Dial this address directly, with or without a QSS.",
    ),
    key("meeting", |r| &mut r.meeting, WORD, "Join the meeting with this id; before it begins, wait for it."),
    key("password", |r| &mut r.password, Rule::Any, "Password of the meeting."),
    key(
        "quick_conference",
        |r| &mut r.quick_conference,
        Rule::Text("wac-conf and 20 digits", shape::quick_conference),
        "Join the quick conference with this URI; it need not exist before.",
    ),
    key(
        "rejoin_after_expel_ms",
        |r| &mut r.after_expel,
        Rule::ZeroOr(1_000, 86_400_000),
        "Somebody has removed the device from the room: it comes back by itself after this time; 0: not before `join`.",
    ),
    key(
        "rejoin_after_destroy_ms",
        |r| &mut r.after_destroy,
        Rule::ZeroOr(1_000, 86_400_000),
        "Somebody has destroyed the room: it is asked for again after this time, and then more and more slowly; 0: not \
         before `join`. If not given: 60000 for a meeting and a quick conference, which can be there again, 0 for the \
         others. A room of the device's own making is made anew whatever this says.",
    ),
    key("create", |r| &mut r.create, Rule::Any, "Ask the QSS for a new room at each start, and join that one."),
    key("record", |r| &mut r.record, Rule::Any, "Ask for a room that is recorded; only with `create = true`."),
];

/// Lists of tables: each may be given again and again.
pub(super) const LISTS: &[&str] = &["room", "caller", "call", "button"];

/// Keys outside every section, with their meaning.
pub(super) const TOP: &[(&str, &str)] = &[(
    "board",
    "Name of a board: a file of defaults for this hardware, below this file's own values. Looked for in the directory \
     given by `--boards` or `QSS_ENDPOINT_BOARDS`, in `boards` beside this file, in `/usr/share/qss-endpoint/boards`, \
     and among those built in. A board file has the sections rtp, codec, audio, jitter and status; with \
     `inherit = \"base\"` at its top it says only how it differs from another board.",
)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_stands_twice() {
        for section in SECTIONS {
            for (i, key) in section.keys.iter().enumerate() {
                assert!(section.keys[..i].iter().all(|k| k.name != key.name), "[{}] {}", section.name, key.name);
            }
        }
    }

    /// A default outside its own range could not be written into a file.
    #[test]
    fn each_default_passes_its_own_rule() {
        use crate::config::file::{Draft, RoomDraft};
        let mut draft = Draft::default();
        for section in SECTIONS {
            for key in section.keys {
                let field = (key.field)(&mut draft);
                let Some(shown) = field.show() else { continue };
                if key.name == "id" {
                    continue;
                }
                let value = toml::de::DeValue::parse(&shown).expect("show writes TOML");
                let mut wrong = Vec::new();
                field.set(&value, &key.rule, &mut wrong);
                assert!(wrong.is_empty(), "[{}] {} = {shown}: {}", section.name, key.name, wrong[0].fault);
                assert_eq!(field.show(), Some(shown));
            }
        }
        assert_eq!(draft.config, crate::config::Config::default());
        let _ = RoomDraft::default();
    }
}
