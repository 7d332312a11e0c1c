//! One SIP dialog of the mixer, always the called side of the INVITE.
//!
//! ```text
//!   INVITE ─► Ringing ─ answer_at ─► Answered ─ ACK ─► Confirmed ─ BYE either way ─► Ended
//!                │ CANCEL / refuse       │ no ACK in 64 T1
//!                └───────────────────────┴──────────────────────────────────────────► Ended
//! ```

use super::leg::Leg;
use super::message::{Message, parameter, uri};
use std::net::SocketAddr;

/// RFC 3261 T1 and 64 T1, in microseconds.
pub const T1_US: u64 = 500_000;
pub const TIMEOUT_US: u64 = 32_000_000;

pub struct Call {
    pub id: u32,
    pub invite: Message,
    /// Where requests of the caller come from and everything to it goes: like rport, and it survives a relay.
    pub peer: SocketAddr,
    pub tag: String,
    pub room: String,
    pub phase: Phase,
    pub leg: Leg,
    pub sdp_version: u32,
    cseq: u32,
}

pub enum Phase {
    Ringing {
        answer_at_us: Option<u64>,
    },
    Answered {
        response: Vec<u8>,
        resend: Resend,
    },
    Confirmed,
    /// Our BYE is out and not yet answered.
    Closing {
        bye: Vec<u8>,
        resend: Resend,
    },
    Ended,
}

/// Timer of a retransmission: doubling from T1 to 4 s, given up at the deadline.
#[derive(Clone, Copy, Debug)]
pub struct Resend {
    at_us: u64,
    interval_us: u64,
    give_up_us: u64,
}

pub enum Due {
    NotYet,
    Now,
    GiveUp,
}

impl Resend {
    pub fn new(now_us: u64) -> Resend {
        Resend { at_us: now_us + T1_US, interval_us: T1_US, give_up_us: now_us + TIMEOUT_US }
    }

    pub fn poll(&mut self, now_us: u64) -> Due {
        if now_us >= self.give_up_us {
            return Due::GiveUp;
        }
        if now_us < self.at_us {
            return Due::NotYet;
        }
        self.interval_us = (self.interval_us * 2).min(4_000_000);
        self.at_us = now_us + self.interval_us;
        Due::Now
    }
}

impl Call {
    pub fn new(id: u32, invite: Message, peer: SocketAddr, room: String, leg: Leg, answer_at_us: Option<u64>) -> Call {
        let tag = format!("lab{id:x}");
        Call { id, invite, peer, tag, room, phase: Phase::Ringing { answer_at_us }, leg, sdp_version: 2, cseq: 100 }
    }

    pub fn call_id(&self) -> &str {
        self.invite.header("Call-ID").unwrap_or_default()
    }

    /// True if the request belongs to this dialog: Call-ID and our tag.
    pub fn owns(&self, request: &Message) -> bool {
        request.header("Call-ID") == Some(self.call_id())
            && request.header("To").and_then(|to| parameter(to, "tag")) == Some(&self.tag)
    }

    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Answered { .. } | Phase::Confirmed)
    }

    pub fn caller(&self) -> &str {
        super::message::user(uri(self.invite.header("From").unwrap_or_default()))
    }

    /// Our BYE, RFC 3261 12.2.1.1 and 15.1.1, with the reason Asterisk gives.
    pub fn bye(&mut self, local: SocketAddr) -> Vec<u8> {
        self.cseq += 1;
        let header = |name: &str| self.invite.header(name).unwrap_or_default();
        let target = uri(self.invite.header("Contact").unwrap_or(header("From")));
        let to = header("To");
        let branch = format!("z9hG4bKlab{:x}{:x}", self.id, self.cseq);
        let mut message = Message { start: format!("BYE {target} SIP/2.0"), headers: Vec::new(), body: String::new() }
            .with("Via", format!("SIP/2.0/UDP {local};rport;branch={branch}"))
            .with("Max-Forwards", "70")
            .with("From", format!("{to};tag={}", self.tag))
            .with("To", header("From"))
            .with("Call-ID", header("Call-ID"))
            .with("CSeq", format!("{} BYE", self.cseq))
            .with("Reason", "Q.850;cause=16");
        message.headers.extend(self.invite.all("Record-Route").map(|route| ("Route".into(), route.into())));
        message.to_bytes()
    }
}
