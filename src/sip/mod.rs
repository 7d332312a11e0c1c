//! SIP user agent of one device (RFC 3261), sans IO, for the calls this device makes and, by policy, takes.
//!
//! A packet trace names the file to open: [`endpoint`] sorts what arrives, `transaction` repeats and absorbs, `call`
//! holds the states of one call, and each verb has its file for both directions: `invite`, `cancel`, `bye`, `modify`
//! (re-INVITE, UPDATE), `prack`, `options`, `info` (digits), `refer`. `incoming` is for who calls us. [`transport`] is what carries messages, and
//! `moving` what becomes of a call when that changes. `redirect` follows 3xx, `timer` keeps a call from outliving its
//! peer, `register` makes the device known to a server, `dialog` knows tags and routes, `auth` answers challenges, `media_keys` gives each call its SRTP keys,
//! [`message`] reads and writes.

mod auth;
mod bye;
mod call;
mod cancel;
mod core;
mod dialog;
pub mod endpoint;
mod incoming;
mod info;
mod invite;
mod media_keys;
pub mod message;
mod modify;
mod moving;
mod options;
mod prack;
mod redirect;
mod refer;
mod register;
#[cfg(test)]
mod tests;
mod timer;
mod transaction;
pub mod transport;
