//! The session to the QSS, sans IO: what is said ([`message`], [`names`]) and how it is kept up ([`session`]).
//!
//! * [`message`]: the four frames, the room description, the invite; read tolerantly, written as documented.
//! * [`names`]: wire words to meanings, so that a word the public pages do not fix is never a constant of the logic.
//! * [`requests`]: our requests by `requestID`, repeated under the same id until answered.
//! * [`transactions`]: the server's requests, answered once and the same again for each duplicate.
//! * [`backoff`]: when to try again. * [`attempts`]: what of it outlives the process.
//! * [`token`]: where the token comes from. * [`clock`]: what time it is at least.
//! * [`session`]: puts them together; `docs/qss.md` has a sample of each message.

pub mod attempts;
pub mod backoff;
pub mod clock;
pub mod message;
pub mod names;
pub mod requests;
pub mod session;
pub mod token;
pub mod transactions;
