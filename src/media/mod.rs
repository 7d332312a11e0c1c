//! The voice path, as values: what the media thread does with frames and packets, without waiting for either.
//!
//! [`command`] is the border between the control thread and the media thread.

pub mod codec;
pub mod command;
pub mod plan;
pub mod stream;
