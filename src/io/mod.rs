//! The only place that waits: sockets, clocks, sound card, signals.

pub mod disk;
pub mod status_socket;
pub mod watchdog;
