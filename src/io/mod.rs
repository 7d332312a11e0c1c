//! The only place that waits: sockets, clocks, sound card, signals.
