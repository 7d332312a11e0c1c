//! What the device says about itself: the ladder, its events, their backlog.

use serde::Serialize;

/// How far audio is *proven*, from nothing to sound out of the loudspeaker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rung {
    /// Nothing.
    Offline,
    /// Registered with the QSS.
    Session,
    /// The room is known and admits us (or a `sip_uri` stands in the configuration and is being dialled).
    Room,
    /// The SIP dialog is confirmed.
    Call,
    /// RTP leaves.
    Sending,
    /// RTP arrives.
    Receiving,
    /// The decoder produces and the card's pointer moves.
    Playing,
}
