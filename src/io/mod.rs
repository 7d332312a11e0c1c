//! The only place that waits: sockets, clocks, sound card, signals.

pub mod disk;
pub mod sip_socket;
pub mod status_socket;
pub mod tls;
pub mod watchdog;
pub mod websocket;
