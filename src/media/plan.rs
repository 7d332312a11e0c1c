//! The bitrate cap: which packet time and which codec bitrate fit under it, headers counted.

use crate::config::Codec;
use crate::time::Span;

/// Bytes of IPv4 (20), UDP (8) and RTP (12) headers on each packet; IPv6 has 20 more.
pub const HEADER_BYTES: u32 = 40;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    pub ptime: Span,
    /// Opus payload bitrate in bit/s.
    pub bitrate: u32,
    /// What we ask the mixer for in `maxaveragebitrate`; it sends 20 ms packets whatever we say.
    pub max_average_bitrate: u32,
}

/// `cap` in bit/s on the wire, RTCP included; 0: none.
pub fn plan(_codec: &Codec, _cap: u32) -> Plan {
    unimplemented!()
}
