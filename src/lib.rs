//! A lean headless conference endpoint: QSS session, room, SIP call to the audiomixer, Opus over RTP, ALSA.
//!
//! One idea rules: everything that decides is pure, everything that waits is thin. Only [`io`] may block, read a
//! clock, open a socket or a sound card; every other module is ordinary values and `&mut self`, takes the time as an
//! argument and answers with values. `docs/ARCHITECTURE.md` follows one audio frame and one invite through the files.
//!
//! * [`config`]: text to a [`config::Config`] that cannot be wrong.
//! * [`agent`]: the decisions; composes [`qss`] (session), [`sip`] (call) and [`status`] (ladder, events).
//! * [`sdp`], [`rtp`], [`media`]: offer/answer, packets, and the voice path from card frames to packets and back.
//! * [`srtp`]: what protects the packets.
//! * [`dtmf`]: keys of a telephone, by RTP or by INFO.
//! * [`evdev`]: bytes of input devices to presses of buttons.
//! * [`time`], [`random`]: time and chance as arguments.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod agent;
pub mod config;
pub mod dtmf;
pub mod evdev;
#[cfg(feature = "io")]
// Errors of other crates are open enums: a wildcard arm is their contract.
#[allow(clippy::disallowed_types, clippy::wildcard_enum_match_arm)]
pub mod io;
pub mod media;
pub mod qss;
pub mod random;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod srtp;
pub mod status;
pub mod time;
