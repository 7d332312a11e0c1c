//! RTP and RTCP (RFC 3550), sans IO, on `rtp-types` and `rtcp-types`; nothing here allocates.
//!
//! Out: [`sender`] numbers packets. In: [`packet`] is a view over bytes, [`receiver`] extends its numbers ([`seq`]) and
//! keeps the statistics ([`runs`] of losses) of which [`rtcp`] tells the other side; where that asks for more, [`xr`] tells of bursts ([`gaps`]) and of
//! how it sounds. [`event`] is a payload that is no sound, [`red`] one that has earlier ones in it.

pub mod event;
pub mod gaps;
pub mod packet;
pub mod receiver;
pub mod red;
pub mod rtcp;
pub mod runs;
pub mod sender;
pub mod seq;
pub mod xr;

/// RTP clock of Opus, whatever the card runs at (RFC 7587 4.1): ticks, and samples, per second.
pub const CLOCK_RATE: u32 = 48_000;
