//! What the device says about itself: the ladder, its events, their backlog. The shapes are in
//! `docs/status-events.md`.
//!
//! * [`ladder`]: facts to rung, each fact with since-when and cause.
//! * [`failure`]: every way to fail, with a stable code and the next step for a person.
//! * [`event`]: one status event as JSON. * [`snapshot`]: everything at one moment.
//! * [`conference`]: the vendor's room events.
//! * [`backlog`]: events kept for the QSS while it is away.
//! * [`tally`]: repeats folded into counts, so that neither log nor link is flooded.

pub mod backlog;
pub mod conference;
pub mod event;
pub mod failure;
pub mod flood;
pub mod ladder;
pub mod outcome;
pub mod snapshot;
pub mod tally;

pub use ladder::Rung;
