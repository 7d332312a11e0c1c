//! The only place that waits: sockets, clocks, sound card, signals.

pub mod alsa;
pub mod board;
pub mod buttons;
pub mod clock;
pub mod disk;
mod media_engine;
pub mod media_thread;
mod media_timing;
mod media_xruns;
mod name_server;
mod network;
pub mod opus;
pub mod queue;
mod rtp_sockets;
pub mod run;
pub mod sip_routes;
pub mod sip_socket;
pub mod sip_transport;
pub mod status_socket;
#[allow(unsafe_code)]
mod sys;
pub mod tls;
pub mod token;
pub mod watchdog;
pub mod websocket;
