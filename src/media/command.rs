//! What the control thread and the media thread say to each other: small `Copy` values on two bounded queues.
//!
//! The media thread owns the sound card, the codec, the jitter buffer and the RTP sockets; it binds the sockets once,
//! when it starts, and says [`Event::Bound`]. Around a call it is told `Open` (the card is prepared while the INVITE
//! is on its way), `Start` (the answer is known), perhaps `Update` (re-INVITE), and `Stop`.

use crate::dtmf::{Digit, Digits, TelephoneEvent};
use crate::media::autopilot::Choice;
use crate::media::governor::{Board, Economy};
use crate::media::histogram::{Stage, Summary};
use crate::media::tone::Tone;
use crate::media::volume::Volumes;
use crate::rtp::red::Redundancy;
use crate::rtp::xr::{Asked, VoipMetrics};
use crate::srtp::Keys;
use crate::time::Span;
use std::net::SocketAddr;

/// Everything the media thread needs of an offer/answer exchange (RFC 3264).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamParams {
    /// Number of the call, so that late events of an earlier call can be told apart.
    pub call: u32,
    pub remote_rtp: SocketAddr,
    pub remote_rtcp: SocketAddr,
    /// RTCP shares the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// Opus payload type to send, and to accept.
    pub send_payload_type: u8,
    pub receive_payload_type: u8,
    /// How digits travel in the stream, when that is negotiated.
    pub telephone_event: Option<TelephoneEvent>,
    /// Payload types of packets with copies in them, when that is negotiated.
    pub redundancy: Option<Redundancy>,
    pub ssrc: u32,
    /// Packet time to send, after the cap has been looked at.
    pub ptime: Span,
    /// What the peer takes at most: packets become longer than that only where the cap asks for it.
    pub max_ptime: Span,
    /// Opus bitrate in bit/s, after the cap has been looked at.
    pub bitrate: u32,
    /// Bits per second on the wire (payload + RTP + UDP + IP) never to be exceeded; 0: none.
    pub cap: u32,
    /// What we send keeps to the clock of what comes, because that is a mixer's ([`crate::media::microphone`]).
    pub follows: bool,
    /// May we send; may the other side (`a=sendrecv`, `sendonly`, `recvonly`, `inactive`).
    pub send: bool,
    pub receive: bool,
    /// Keys of both directions (RFC 3711); `None`: plain RTP.
    pub srtp: Option<Keys>,
    /// Extended reports that the peer asks for (RFC 3611).
    pub extended: Asked,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Command {
    /// A call is on its way: open the card, start nothing.
    Open,
    Start(StreamParams),
    /// The same call goes on with other parameters (hold, new address); sequence numbers continue.
    Update(StreamParams),
    Mute(bool),
    /// Glide to these levels.
    Volume(Volumes),
    /// Play a tone over what is played, in a call or not: the card is opened for it, and closed after it, unless a call
    /// has it; so a tone for the end of a call is asked for before `Stop`. A tone that goes on until it is stopped gives
    /// way at once, a short one is played to its end before.
    Tone(Tone),
    /// Fade the tone out.
    ToneStop,
    /// Send digits in the stream, each `tone` long with `gap` after it, once those before them are sent; nothing without a
    /// stream that has telephone events.
    Digits {
        digits: Digits,
        tone: Span,
        gap: Span,
    },
    /// End the stream (RTCP BYE) and close the card, once no tone needs it.
    Stop,
    /// The call waits on hold for another one: end its stream without a farewell, keep what it goes on with when it is
    /// started again under its number, and close the card as with `Stop`.
    Park,
    /// The call of this number is over, which waited.
    Forget(u32),
    /// How fast clocks ran in an earlier life of the process: the next call begins with it.
    Recall(Clocks),
    /// What the board says of its heat and its supply, when that changes.
    Board(Board),
    /// Ask for an [`Event::Stats`].
    Stats,
    Shutdown,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event {
    /// RTP and RTCP sockets are bound to these local ports. First event of the thread.
    Bound {
        rtp_port: u16,
        rtcp_port: u16,
    },
    /// The first packet of the call has left.
    Sending {
        call: u32,
    },
    /// A valid packet of the peer has arrived after none had for a while.
    Receiving {
        call: u32,
    },
    /// The decoder produced sound and the card has played it.
    Playing {
        call: u32,
    },
    /// No packet for [`crate::config::Rtp::silence_timeout`]; repeated for each further such time. Nothing plays any
    /// more either; [`Event::Playing`] comes again after [`Event::Receiving`].
    Silent {
        call: u32,
        since: Span,
    },
    /// Playback stopped although packets arrive (card gone or stuck).
    NotPlaying {
        call: u32,
    },
    /// No packet left for [`crate::config::Rtp::silence_timeout`] although we may send: none any more, or not even a
    /// first one (mute does not stop them; a dead clock or a dead network does).
    NotSending {
        call: u32,
    },
    /// `more` packets that are of no use have come since this was last said of their kind. It is said of the first
    /// packet of a call, the tenth, the hundredth ...
    Invalid {
        call: u32,
        kind: PacketKind,
        more: u64,
    },
    /// The peer has pressed a key.
    Digit {
        call: u32,
        digit: Digit,
    },
    /// Nothing of ours arrives at the peer any more, says its RTCP; told again, with `times` growing, as long as it is so.
    Unheard {
        call: u32,
        times: u32,
    },
    /// RTCP BYE of the peer.
    PeerBye {
        call: u32,
    },
    Card(CardEvent),
    /// The machine does not keep up, or does again: the encoder is asked for less, or for more.
    Economy(Economy),
    Stats(Stats),
    /// The thread makes progress; sent about once a second. The watchdog is fed from it.
    Alive,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketKind {
    Rtp,
    Rtcp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardEvent {
    Opened {
        rate: u32,
        period: u32,
        buffer: u32,
    },
    /// So many since the last of these. Told at once, then at most once a second.
    Xrun {
        count: u32,
    },
    Lost {
        error: CardError,
        /// What else is known: who holds the card, which group is missing, what libasound said.
        words: Words,
    },
    Returned {
        away: Span,
    },
    /// The card is open, but its mixer is not as configured.
    Controls {
        words: Words,
    },
    Closed,
}

/// Why a card cannot be used, by the system's error number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardError {
    /// `ENODEV`, `ENOENT`: not there (unplugged, not yet probed, misspelt).
    Absent,
    /// `EBUSY`: another process holds it.
    Busy,
    /// `EACCES`, `EPERM`: the user is not in the group of the device, `audio` mostly.
    Forbidden,
    /// The hardware cannot do what the configuration asks.
    Unsuitable,
    /// Its clock stands still.
    Stalled,
    Other(i32),
}

/// A short text for people, by value: what does not fit is cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Words {
    length: u8,
    bytes: [u8; Words::MOST],
}

impl Words {
    const MOST: usize = 200;
    pub const NONE: Words = Words { length: 0, bytes: [0; Words::MOST] };

    pub fn new(text: &str) -> Words {
        let mut length = text.len().min(Words::MOST);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        let mut words = Words { length: length as u8, ..Words::NONE };
        words.bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        words
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Counters of the running call; all since its start.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Stats {
    pub call: u32,
    pub packets_sent: u64,
    pub bytes_sent: u64,
    /// Frames that were not sent because the cap left no room for them.
    pub packets_withheld: u64,
    pub packets_received: u64,
    pub bytes_received: u64,
    /// Never arrived, by sequence number.
    pub packets_lost: u64,
    /// Mean number lost in a row, of late; 0: none.
    pub loss_burst: f32,
    pub packets_late: u64,
    pub packets_duplicate: u64,
    /// Not RTP, wrong source, wrong payload type, undecodable, not authentic.
    pub packets_invalid: u64,
    /// Of them: under no key of the peer's (RFC 3711 4.2).
    pub packets_forged: u64,
    /// Protected packets that had come before, or are too old to know (RFC 3711 3.3.2).
    pub packets_replayed: u64,
    pub frames_concealed: u64,
    pub frames_fec: u64,
    /// Frames of packets that were lost and of which a copy came (RFC 2198).
    pub frames_red: u64,
    pub xruns: u32,
    /// Datagrams for which the kernel had no room.
    pub kernel_drops: u64,
    /// Largest number of wire bits sent in any one second.
    pub wire_bits_max_second: u32,
    pub wire_bits_last_second: u32,
    pub jitter_us: u32,
    pub buffer_us: u32,
    pub round_trip_us: u32,
    /// Fraction lost that the peer last reported, in 1/256 (RFC 3550 6.4.1).
    pub peer_fraction_lost: u8,
    pub muted: bool,
    /// Peak of the last second, in dBFS * 10.
    pub capture_level: i16,
    pub playback_level: i16,
    pub clocks: Clocks,
    /// How the encoder is set, and why; `None`: there is no call.
    pub uplink: Option<Choice>,
    /// What the encoder is spared.
    pub economy: Economy,
    /// How long each stage takes, in the order of [`Stage::ALL`].
    pub stages: [Summary; Stage::ALL.len()],
    /// Rating R of the E-model, 0 to 93 (ITU-T G.107): see [`quality`](crate::media::quality). 0 before any sound came.
    pub rating: u8,
    /// Losses in bursts and in the gaps between them (RFC 3611 4.7.2), in 1/256, and how long both last on average.
    pub burst_density: u8,
    pub gap_density: u8,
    pub burst_ms: u32,
    pub gap_ms: u32,
    /// How the peer says that it hears us, if it does.
    pub heard: Option<VoipMetrics>,
}

/// How much faster than ours other clocks run, in ppm; `None`: not known yet. It is learnt in 15 s, and a call begins
/// with what the one before has learnt.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Clocks {
    /// Of the peer's timestamps.
    pub network: Option<f32>,
    /// Of the card, each direction.
    pub capture: Option<f32>,
    pub playback: Option<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_between_characters() {
        assert_eq!(Words::new("held by pipewire (812)").as_str(), "held by pipewire (812)");
        assert_eq!(Words::NONE.as_str(), "");
        let long = format!("x{}", "ä".repeat(200));
        let words = Words::new(&long);
        assert!(words.as_str().len() == 199 && long.starts_with(words.as_str()));
    }
}
