//! The five headers by which a message finds its transaction and its dialog (RFC 3261 8.1.1, 12, 17).

use super::name_addr::NameAddr;
use super::via::Via;
use super::{Headers, Method, Name};
use std::fmt;

/// Via (topmost), From, To, Call-ID and CSeq of a received message, read once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub via: Via,
    pub from: NameAddr,
    pub to: NameAddr,
    pub call_id: String,
    pub cseq: CSeq,
}

/// CSeq (RFC 3261 20.16).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CSeq {
    pub number: u32,
    pub method: Method,
}

impl Identity {
    /// # Errors
    /// The first header of the five that is missing, repeated or broken.
    pub fn of(headers: &Headers) -> Result<Identity, &'static str> {
        let (via, _) = Via::first_of(headers.first(&Name::Via).ok_or("no Via")?)?;
        let from = NameAddr::parse(headers.only(&Name::From, "no From")?)?;
        let to = NameAddr::parse(headers.only(&Name::To, "no To")?)?;
        let call_id = headers.only(&Name::CallId, "no Call-ID")?;
        if call_id.is_empty() || call_id.contains(char::is_whitespace) {
            return Err("bad Call-ID");
        }
        let cseq = CSeq::parse(headers.only(&Name::CSeq, "no CSeq")?)?;
        Ok(Identity { via, from, to, call_id: call_id.into(), cseq })
    }
}

impl CSeq {
    /// # Errors
    /// No number below 2^31 (RFC 3261 8.1.1.5), or no method after it.
    pub fn parse(text: &str) -> Result<CSeq, &'static str> {
        let (number, method) = text.trim().split_once([' ', '\t']).ok_or("bad CSeq")?;
        let number = super::number::<u32>(number).filter(|number| *number < 1 << 31).ok_or("CSeq out of range")?;
        let method = method.trim();
        if method.is_empty() || !method.chars().all(super::wire::is_token) {
            return Err("bad CSeq");
        }
        Ok(CSeq { number, method: Method::of(method) })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}
