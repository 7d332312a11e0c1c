//! Endpoints measured side by side: two stations of one kind in one room of a real mixer, on virtual cards.
//!
//! ```text
//!   station A ─ card a      said into one card, found again in the other
//!        │                  ─────────────────────────────────────────────► delay
//!     Asterisk              /proc of both processes, idle and while both talk ► CPU, memory, wake-ups
//!        │                  order to call, first sound from the loudspeaker ► invite to audio
//!   station B ─ card b
//! ```
//!
//! [`station`] is what a program must be able to do to be measured, [`visit`] the run itself, [`programme`] whose turn it
//! is, [`canary`] tells whether the machine kept pace meanwhile, [`codec`] how much it carries at once, [`figures`] turns visits into numbers (a new number is a new line there), and
//! [`report`] writes them down. `docs/bench.md` says what each number means.

pub mod canary;
pub mod card;
pub mod codec;
pub mod figures;
pub mod gauge;
pub mod inside;
pub mod minutes;
pub mod programme;
pub mod recovery;
pub mod report;
pub mod scores;
pub mod station;
pub mod sweep;
pub mod visit;
