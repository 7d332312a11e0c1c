//! What the tests and the demo need around the endpoint. Nothing here is ever linked into the product, and nothing here
//! uses the product's parsers: a mistake must not be made on both sides of the wire.
//!
//! * [`qss`]: a signalling server that speaks the documented shapes, slips included, and misbehaves on command.
//! * [`mixer`]: a small Opus conference bridge behind SIP, for a machine with nothing installed.
//! * [`measure`]: tones, levels, silence, latency, bitrate: the numbers the tests assert on.
//! * [`cards`], [`process`]: the endpoint as a process on virtual sound cards.
//! * [`wire`]: a relay that counts and harms what passes between endpoint and mixer.
//! * [`phone`]: a caller without sound card, to sit in a room and listen.
//! * [`asterisk`], [`baresip`]: the real ones, from Debian's packages.
//! * [`name_server`]: service records and addresses, from a name server that may be broken.
//! * [`bench`]: endpoints measured side by side.
//! * [`clock`]: the one time axis that recordings, packets and frames share; [`stamps`]: when a datagram came.
#![allow(clippy::disallowed_types)]

pub mod asterisk;
pub mod baresip;
pub mod bench;
pub mod button;
pub mod cards;
pub mod clock;
pub mod folder;
pub mod measure;
pub mod mixer;
pub mod name_server;
pub mod phone;
pub mod process;
pub mod qss;
pub mod stamps;
pub mod wire;
