//! SDP offer/answer (RFC 3264, RFC 8866) for one Opus stream, plain or protected (RFC 4568), on `sdp-types`.
//!
//! * `description`: bytes to the few facts we act on ([`parse`]), and our own facts to bytes.
//! * `security`: the keys of SRTP in it.
//! * `negotiation`: who offered what: [`Negotiation`] writes our offers and answers and reads the peer's.

mod description;
mod negotiation;
mod security;

pub use description::{Description, Direction, EventType, parse};
pub use negotiation::Negotiation;
pub use security::{Protection, Sdes, Suites};

use crate::dtmf::TelephoneEvent;
use crate::rtp::red::Redundancy;
use crate::rtp::xr::Asked;
use crate::srtp::Keys;
use crate::time::Span;
use std::net::{IpAddr, SocketAddr};

/// What a completed offer/answer exchange says about the audio stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    pub remote_rtp: SocketAddr,
    pub remote_rtcp: SocketAddr,
    pub rtcp_mux: bool,
    /// Payload type the peer wants for Opus, and the one we announced.
    pub send_payload_type: u8,
    pub receive_payload_type: u8,
    pub telephone_event: Option<TelephoneEvent>,
    /// Copies of packets (RFC 2198); `None`: Opus alone, both ways.
    pub redundancy: Option<Redundancy>,
    /// The peer's `a=ptime`, a wish (RFC 8866 6.4).
    pub ptime: Option<Span>,
    /// Its `a=maxptime`, which is law (RFC 8866 6.5).
    pub max_ptime: Option<Span>,
    /// The peer's `maxaveragebitrate` in bit/s (RFC 7587 6.1): we must not send more.
    pub max_average_bitrate: Option<u32>,
    pub send: bool,
    pub receive: bool,
    /// Of SRTP; `None`: the stream is plain.
    pub srtp: Option<Keys>,
    /// Extended reports that the peer wants to have.
    pub extended: Asked,
}

/// What we offer. Times and rates are after the room's cap has been looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    /// Where RTP is received; `None`: at the address that SIP goes out from.
    pub address: Option<IpAddr>,
    pub rtp_port: u16,
    pub rtcp_port: u16,
    pub ptime: Span,
    pub max_average_bitrate: u32,
    pub fec: bool,
    /// Whether copies of packets may be sent and received.
    pub redundancy: bool,
    pub dtx: bool,
    /// Extended reports go both ways, as far as asked for.
    pub rtcp_xr: bool,
    /// `false`: hold (`a=inactive`).
    pub active: bool,
}

/// Why a description cannot be used. In an answer each ends the call; to an offer each is a 488 (RFC 3261 21.4.26).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Not SDP: sender's fault.
    Malformed,
    /// No audio stream over the RTP we may use, plain or protected, or port 0: the stream was refused.
    NoAudio,
    /// Audio without Opus.
    NoOpus,
    /// No connection address, or one that is no unicast IP address.
    NoAddress,
    /// Protected audio without a key that we can use.
    NoKey,
}
