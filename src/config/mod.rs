//! The configuration as the rest of the program sees it: every value present, checked, in its own unit.
//!
//! A [`Config`] cannot be wrong: it is only made by [`load`](file::load) from text (board merged under the file, unknown
//! keys refused, ranges checked) or by [`Config::default`] plus literal changes in tests. Nobody re-checks it.
//! The keys, their defaults and their units are listed in `docs/config.md`.
//!
//! [`mod@file`] reads and merges, [`board`] finds the hardware's defaults, `keys` is the one table of all keys, `value`
//! and `shape` say what each may hold, `check` compares them, [`error`] says what is wrong, [`describe`] explains.

pub mod board;
mod buttons;
mod callers;
mod calls;
pub mod card_name;
mod check;
pub mod control_value;
pub mod describe;
pub mod error;
pub mod file;
mod keys;
mod names;
mod qss;
mod reads;
mod register;
mod shape;
mod value;

pub use buttons::Button;
pub use callers::{Caller, CallerAction, RequestRoom};
pub use calls::{Call, Calls, HuntMode};
pub(crate) use check::secret_line;
pub use names::{QssCodes, QssNames};
pub use qss::{CancelCode, OwnGone, Qss, QssAuth, QssTransport, QssUnknown, TransferDone};
pub use reads::QssReads;
pub use register::Register;

use crate::media::volume::{Decibels, Volumes};
use crate::sip::transport::Transport;
use crate::srtp::Suite;
use crate::time::Span;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    pub device: Device,
    pub qss: Qss,
    /// Rooms to join by themselves, most wanted first. One at a time is in audio: there is one sound card.
    pub rooms: Vec<Room>,
    pub invites: Invites,
    pub control: Control,
    pub calls: Calls,
    pub buttons: Vec<Button>,
    pub sip: Sip,
    pub rtp: Rtp,
    pub codec: Codec,
    pub audio: Audio,
    pub jitter: Jitter,
    pub status: Status,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Device {
    /// Stable id of this device, given to QSS as `deviceId` and in each status event.
    pub id: String,
    /// Directory for what must outlive the process; `None`: nothing does.
    pub state_dir: Option<PathBuf>,
    /// How long a stop waits for BYE, leaveRoom and unregister to be answered.
    pub stop_timeout: Span,
    /// Heat and supply of the board are looked at this often; zero: never.
    pub board_interval: Span,
    /// How often an input device that cannot be read is looked for.
    pub input_retry: Span,
    /// The time that has certainly passed is kept anew when it has grown by this.
    pub clock_kept: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Room {
    /// Short name for logs and status; default: the id or the URI.
    pub name: String,
    pub target: RoomTarget,
    pub rejoin: Rejoin,
}

/// Whether the device comes back by itself to a room that it was sent away from, and how soon (docs/qss.md, Open
/// questions).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rejoin {
    /// After an expulsion; zero: not at all.
    pub after_expel: Span,
    /// After the room was destroyed; zero: not at all.
    pub after_destroy: Span,
}

impl Rejoin {
    /// What a room does that does not say: an expulsion is obeyed; a meeting or a quick conference can be there again
    /// under its name, a room that is gone by its id cannot.
    pub fn usual(target: &RoomTarget) -> Rejoin {
        let after_destroy = match target {
            RoomTarget::Meeting { .. } | RoomTarget::QuickConference(_) => Span::from_secs(60),
            RoomTarget::Id(_) | RoomTarget::SipUri(_) | RoomTarget::Create { .. } => Span::ZERO,
        };
        Rejoin { after_expel: Span::ZERO, after_destroy }
    }
}

impl Room {
    /// A room with the usual rest.
    pub fn new(name: impl Into<String>, target: RoomTarget) -> Room {
        Room { name: name.into(), rejoin: Rejoin::usual(&target), target }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub enum RoomTarget {
    /// Joined through QSS; its `sipUri` comes with the answer.
    Id(String),
    /// Dialled directly, QSS or not.
    SipUri(String),
    /// Ask QSS for a new room at each start and join that one.
    Create {
        /// Have it recorded.
        record: bool,
    },
    /// Joined through QSS by the meeting's id; an empty password is none.
    Meeting { id: String, password: Secret },
    /// Joined through QSS by its URI, `wac-conf` and 20 digits; whoever comes first opens it.
    QuickConference(String),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Invites {
    /// User ids whose invites are accepted; `"*"` for everyone. Anyone else is declined with `decline_code`.
    pub accept: Vec<String>,
    pub decline_code: u16,
    pub busy_code: u16,
    /// Of an invite that nobody answers, and of our own that is taken back.
    pub unanswered_code: u16,
    pub withdraw_code: u16,
    /// The call of an accepted invite that the mixer has lost is dialled again so often.
    pub redials: u32,
    /// An accepted invite ends a present call of the same priority (true), or is refused with `busy_code` (false).
    pub replaces_call: bool,
    /// A call that an invite of a higher priority has ended is gone back to.
    pub returns: bool,
    /// User ids that are invited when they ask for it (`inviteRequest`); `"*"` for everyone.
    pub requests: Vec<String>,
    pub request_room: RequestRoom,
    /// Rules that come before `accept`: `[[caller]]`.
    pub callers: Vec<Caller>,
}

/// What others in a room may do with the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control {
    pub remote_mute: bool,
    pub remote_unmute: bool,
    /// A transfer moves the device to another room.
    pub transfer: bool,
    /// Calls of a higher priority stay where they are.
    pub transfer_priority: u8,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Sip {
    /// Local address of the SIP socket; unspecified: both families. Port 0: any free one.
    pub bind: SocketAddr,
    pub user: String,
    pub display_name: String,
    pub auth_user: String,
    pub password: Secret,
    /// `host` or `host:port` of a `sipUri` -> `host` or `host:port` to send to; the Request-URI stays as it was.
    pub host_map: Vec<(String, String)>,
    /// Added to each INVITE; `{room}`, `{user}`, `{device}` and `{token}` in values are filled in.
    pub headers: Vec<(String, String)>,
    /// Send every request here instead: `host[:port]`, or a `sip:` URI, which then stands in Route as well.
    pub outbound_proxy: Option<String>,
    /// What becomes of calls to the device.
    pub incoming: Incoming,
    /// Who may call: the user, `user@host` or whole URI of From; `"*"` for everyone.
    pub callers: Vec<String>,
    /// IP addresses that calls may come from; empty: any.
    pub peers: Vec<String>,
    /// How long a call that is accepted rings before it is answered.
    pub ring: Span,
    /// What carries requests when a URI does not say.
    pub transport: Transport,
    /// Peers may connect by TCP to the port of the SIP socket.
    pub tcp_listen: bool,
    /// Name servers, `ip` or `ip:port`; none: those of the system.
    pub nameservers: Vec<String>,
    /// Longest time for a name server to answer; then the next is asked.
    pub dns_timeout: Span,
    /// PEM file of the CA to trust for TLS *instead of* the system's roots.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our own certificate (chain) and its key, for servers that want one.
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    /// Path of the WebSocket (RFC 7118 names none).
    pub ws_path: String,
    /// Longest time for a connection to come about, TLS and upgrade included.
    pub connect_timeout: Span,
    /// Between keep-alives on each flow a call or a registration lives by; zero: none.
    pub keepalive_interval: Span,
    pub keepalive: Keepalive,
    /// A longer request goes over TCP instead of UDP (RFC 3261 18.1.1); zero: never.
    pub udp_limit: usize,
    /// Give the address the peer sees us by in Contact, once it has told.
    pub rewrite_contact: bool,
    /// What becomes of a REFER of the mixer.
    pub refer: Refer,
    /// How digits are sent, how long each sounds, and the pause after it.
    pub dtmf: Dtmf,
    pub dtmf_tone: Span,
    pub dtmf_gap: Span,
    /// RFC 3261 T1, T2 and T4.
    pub t1: Span,
    pub t2: Span,
    pub t4: Span,
    /// Give up an INVITE that nobody answers (also while it rings).
    pub invite_timeout: Span,
    /// Session interval to ask for (RFC 4028); zero: whatever the mixer wants.
    pub session_expires: Span,
    /// The shortest session interval to accept, at least 90 s.
    pub min_se: Span,
    /// Pause before a failed or ended call is dialled again: first value, cap (full jitter between).
    pub retry_min: Span,
    pub retry_max: Span,
    /// A BYE this soon after the 200 is a refusal: a locked or full ConfBridge answers before it refuses.
    pub refused_by_bye: Span,
    /// How often the mixer is asked whether it still knows a call on hold, of which nothing arrives.
    pub hold_probe: Span,
    pub user_agent: String,
    /// The same digit by RTP and by INFO within this time is one.
    pub dtmf_twice: Span,
    /// Data that a peer has not acknowledged for so long ends a connection; zero: whatever the kernel does.
    pub tcp_user_timeout: Span,
    /// How long what was sent before a close has to leave.
    pub close_timeout: Span,
    /// A connection that nobody wants is closed when nothing has used it for this long.
    pub idle_timeout: Span,
    /// Pause before a connection that a call lives by is made again: first value, cap.
    pub reconnect_min: Span,
    pub reconnect_max: Span,
    /// How long a peer that refused TCP gets long requests by UDP.
    pub udp_only: Span,
    /// Between a refresh of the session that was refused for the moment and the next.
    pub refresh_retry: Span,
    pub register: Register,
}

/// Whether the mixer may send the device elsewhere (RFC 3515).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refer {
    Refuse,
    Follow,
}

/// What carries digits to the mixer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtmf {
    /// Telephone events if the mixer has them, INFO if not.
    Auto,
    /// RFC 4733.
    Rtp,
    /// RFC 6086.
    Info,
}

/// What keeps a flow alive (RFC 5626 4.4.1, RFC 3261 11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keepalive {
    Crlf,
    Options,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Rtp {
    /// Address to bind and, unless unspecified, to advertise.
    pub bind: IpAddr,
    /// First and last port tried for RTP (even; RTCP on the next). 0..=0: any free pair.
    pub ports: (u16, u16),
    /// DSCP of RTP, 46 = EF.
    pub dscp: u8,
    /// What the microphone gives is sent in the time of the mixer that is called.
    pub follow_clock: bool,
    /// Nothing arrives for this long: the `receiving` rung is lost.
    pub silence_timeout: Span,
    /// Nothing arrives for this long: the call is hung up and dialled again.
    pub dead_timeout: Span,
    pub rtcp_interval: Span,
    /// Extended reports are offered (RFC 3611).
    pub rtcp_xr: bool,
    /// The mixer's audio may come from another host than it names, as long as it does not come from there.
    pub mixer_behind_nat: bool,
    pub srtp: SrtpMode,
    /// Names of RFC 4568 and RFC 7714, most wanted first.
    pub srtp_suites: Vec<String>,
    /// Keys may travel over UDP, TCP and `ws`, where everybody on the way can read them.
    pub srtp_over_plain_signalling: bool,
}

/// Whether media are protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SrtpMode {
    Off,
    /// If the mixer has SRTP.
    Offer,
    /// Or there is no call.
    Require,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Codec {
    /// Wanted Opus bitrate in bit/s, payload only; the room's cap may lower it.
    pub bitrate: u32,
    /// Cap in kbit/s of everything on the wire when the room gives none; 0: none.
    pub cap_kbps: u32,
    /// Wanted packet time; a low cap may lengthen it. One of 3 (which means 2.5), 5, 10, 20, 40, 60 ms.
    pub ptime: Span,
    /// Opus without its look-ahead and its speech coder.
    pub low_delay: bool,
    pub complexity: u8,
    pub fec: FecMode,
    /// Copies of packets (RFC 2198) are offered and taken.
    pub redundancy: bool,
    pub dtx: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// The device only dials.
    Refuse,
    /// Callers on the list are answered.
    Accept,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FecMode {
    Off,
    On,
    /// On while the receiver reports loss.
    Auto,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Audio {
    /// ALSA PCM names, or [`NO_PCM`]; the card as in [`card_name`]; never a bare card index (`hw:1`), which changes from boot to boot.
    pub capture: String,
    pub playback: String,
    /// ALSA control name of the mixer; empty: that of the playback card.
    pub mixer: String,
    /// Whether both are used at once.
    pub duplex: Duplex,
    /// If not: the far end speaks from this level on, relative to full scale, and is waited for so long afterwards.
    pub far_speech: Decibels,
    pub far_speech_hang: Span,
    /// Controls of the mixer and their values, set when the card is opened (see [`control_value`]).
    pub controls: Vec<(String, String)>,
    /// How much louder the loudspeaker, and the microphone, shall be at the start, and how far a command may go.
    pub playback_volume: VolumeRange,
    pub capture_volume: VolumeRange,
    /// A switch that is on only while the card runs; empty: none.
    pub amplifier_control: String,
    pub rate: u32,
    pub period: Span,
    pub periods: u32,
    /// Channels of the card, and which of them carries the microphone.
    pub capture_channels: u16,
    pub capture_channel: u16,
    pub playback_channels: u16,
    /// SCHED_FIFO priority of the media thread; 0: leave the scheduler alone.
    pub realtime_priority: u8,
    pub lock_memory: bool,
    /// How often a vanished or busy card is tried again.
    pub reopen_interval: Span,
    pub mute_at_start: bool,
    /// Ring, ringback, busy, connected, muted; and a tone for each rung of the ladder.
    pub tones: bool,
    pub ladder_tones: bool,
    /// Peak of a tone, in dB below full scale.
    pub tone_level: u8,
}

/// In place of a PCM: there is no microphone, or no loudspeaker.
pub const NO_PCM: &str = "none";

/// How a card is used that may be unable to record and play at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duplex {
    /// Both directions at once, if it can.
    Full,
    /// One at a time.
    Half,
}

impl Codec {
    /// Only the speech coder can repeat what was lost.
    pub fn usable_fec(&self) -> FecMode {
        if self.low_delay { FecMode::Off } else { self.fec }
    }
}

/// A volume at the start, and its limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VolumeRange {
    pub start: Decibels,
    pub min: Decibels,
    pub max: Decibels,
}

impl Audio {
    /// At the start.
    pub fn volumes(&self) -> Volumes {
        Volumes { capture: self.capture_volume.start, playback: self.playback_volume.start }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Jitter {
    /// From arrival to the card, the packet's own length included. 10 ms more than a packet spare a mixer's uneven ticks
    /// the cuts and stretches that would follow them.
    pub min: Span,
    pub max: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Status {
    /// Unix socket that serves `qss-endpoint status`; `None`: no socket.
    pub socket: Option<PathBuf>,
    /// Write each event as one JSON line to standard output (journald).
    pub stdout: bool,
    /// A full snapshot is sent this often even if nothing changes; zero: never.
    pub heartbeat: Span,
    /// Events kept for QSS while it is away; the oldest go first, and are counted.
    pub backlog: usize,
    /// Tell the vendor's room events too.
    pub room_events: bool,
    /// `remoteStreamRemove`, as the vendor's page spells it; else `remoteStreamRemoved`, as its SDK does.
    pub page_spelling: bool,
    /// Participants of a room kept by name.
    pub participants: usize,
    /// How often the list of participants is told at most.
    pub participants_interval: Span,
    /// So many changes of participants are told one by one in each interval.
    pub participant_changes: u32,
    /// Of each sort of events that others provoke so many are told in each interval.
    pub provoked: u32,
    pub provoked_interval: Span,
    /// Of snapshots that the QSS asks for one is sent this often at most.
    pub snapshot_interval: Span,
    /// How long a snapshot waits for the numbers of the media thread.
    pub stats_timeout: Span,
}

/// A value that is never printed: its `Debug` is a mask.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(set)" })
    }
}

impl Default for Config {
    /// The defaults of `docs/config.md`; the device id is empty until [`file::load`] fills it.
    fn default() -> Config {
        let unspecified = IpAddr::from([0, 0, 0, 0]);
        Config {
            device: Device {
                id: String::new(),
                state_dir: None,
                stop_timeout: Span::from_millis(1_500),
                board_interval: Span::from_secs(10),
                input_retry: Span::from_secs(1),
                clock_kept: Span::from_secs(86_400),
            },
            qss: Qss::default(),
            rooms: Vec::new(),
            invites: Invites {
                accept: Vec::new(),
                decline_code: 603,
                busy_code: 486,
                unanswered_code: 408,
                withdraw_code: 487,
                redials: 3,
                replaces_call: false,
                returns: true,
                requests: Vec::new(),
                request_room: RequestRoom::New,
                callers: Vec::new(),
            },
            control: Control { remote_mute: true, remote_unmute: false, transfer: true, transfer_priority: 9 },
            calls: Calls::default(),
            buttons: Vec::new(),
            sip: Sip {
                bind: SocketAddr::new(unspecified, 0),
                user: "endpoint".into(),
                display_name: String::new(),
                auth_user: String::new(),
                password: Secret::default(),
                host_map: Vec::new(),
                headers: Vec::new(),
                outbound_proxy: None,
                incoming: Incoming::Refuse,
                callers: Vec::new(),
                peers: Vec::new(),
                ring: Span::ZERO,
                transport: Transport::Udp,
                tcp_listen: true,
                nameservers: Vec::new(),
                dns_timeout: Span::from_millis(1_500),
                ca_file: None,
                client_cert_file: None,
                client_key_file: None,
                ws_path: "/ws".into(),
                connect_timeout: Span::from_secs(5),
                keepalive_interval: Span::from_secs(25),
                keepalive: Keepalive::Crlf,
                udp_limit: 1_300,
                rewrite_contact: true,
                refer: Refer::Refuse,
                dtmf: Dtmf::Auto,
                dtmf_tone: Span::from_millis(100),
                dtmf_gap: Span::from_millis(100),
                t1: Span::from_millis(500),
                t2: Span::from_secs(4),
                t4: Span::from_secs(5),
                invite_timeout: Span::from_secs(60),
                session_expires: Span::from_secs(1_800),
                min_se: Span::from_secs(90),
                retry_min: Span::from_millis(500),
                retry_max: Span::from_secs(30),
                refused_by_bye: Span::from_secs(2),
                hold_probe: Span::from_secs(30),
                user_agent: concat!("qss-endpoint/", env!("CARGO_PKG_VERSION")).into(),
                dtmf_twice: Span::from_secs(1),
                tcp_user_timeout: Span::from_secs(15),
                close_timeout: Span::from_millis(300),
                idle_timeout: Span::from_secs(64),
                reconnect_min: Span::from_millis(200),
                reconnect_max: Span::from_secs(15),
                udp_only: Span::from_secs(600),
                refresh_retry: Span::from_secs(5),
                register: Register::default(),
            },
            rtp: Rtp {
                bind: unspecified,
                ports: (0, 0),
                dscp: 46,
                follow_clock: true,
                silence_timeout: Span::from_secs(2),
                dead_timeout: Span::from_secs(8),
                rtcp_interval: Span::from_secs(5),
                rtcp_xr: true,
                mixer_behind_nat: false,
                srtp: SrtpMode::Off,
                srtp_suites: Suite::ALL.map(|suite| suite.name().into()).into(),
                srtp_over_plain_signalling: false,
            },
            codec: Codec {
                bitrate: 32_000,
                cap_kbps: 0,
                ptime: Span::from_millis(20),
                low_delay: false,
                complexity: 5,
                fec: FecMode::Auto,
                redundancy: true,
                dtx: false,
            },
            audio: Audio {
                capture: "default".into(),
                playback: "default".into(),
                mixer: String::new(),
                duplex: Duplex::Full,
                far_speech: Decibels(-40),
                far_speech_hang: Span::from_millis(600),
                controls: Vec::new(),
                playback_volume: VolumeRange { start: Decibels(0), min: Decibels(-40), max: Decibels(6) },
                capture_volume: VolumeRange { start: Decibels(0), min: Decibels(-40), max: Decibels(20) },
                amplifier_control: String::new(),
                rate: 48_000,
                period: Span::from_millis(10),
                periods: 4,
                capture_channels: 1,
                capture_channel: 0,
                playback_channels: 1,
                realtime_priority: 20,
                lock_memory: true,
                reopen_interval: Span::from_millis(500),
                mute_at_start: false,
                tones: true,
                ladder_tones: false,
                tone_level: 20,
            },
            jitter: Jitter { min: Span::from_millis(30), max: Span::from_millis(200) },
            status: Status {
                socket: None,
                stdout: true,
                heartbeat: Span::from_secs(300),
                backlog: 256,
                room_events: true,
                participants: 64,
                participants_interval: Span::from_secs(1),
                participant_changes: 16,
                provoked: 300,
                provoked_interval: Span::from_secs(60),
                snapshot_interval: Span::from_secs(1),
                stats_timeout: Span::from_millis(300),
                page_spelling: true,
            },
        }
    }
}
