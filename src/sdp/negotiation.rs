//! Offer/answer over the life of one call (RFC 3264): our session id and version, the payload types we hold to, and
//! what the two sides agreed on.

use super::description::{self, Description, Direction, Ours, Stream};
use super::{Error, Local, Negotiated};
use std::net::IpAddr;

/// Our end of the negotiation.
#[derive(Clone, Debug)]
pub struct Negotiation {
    session_id: u64,
    /// Version of `o=` in `last`.
    version: u64,
    address: IpAddr,
    local: Local,
    /// Payload types we announce; kept from one offer to the next (RFC 3264 8.3.2).
    opus: u8,
    telephone_event: u8,
    /// The description sent last, to see whether the next one differs.
    last: Vec<u8>,
}

const OPUS: u8 = 96;
const TELEPHONE_EVENT: u8 = 97;

impl Negotiation {
    /// `session_id` must differ between calls (RFC 8866 5.2); `address` is advertised for RTP.
    pub fn new(session_id: u64, address: IpAddr, local: Local) -> Negotiation {
        Negotiation {
            // RFC 3264 5: both numbers of `o=` fit in 63 bits.
            session_id: session_id >> 1,
            version: 0,
            address,
            local,
            opus: OPUS,
            telephone_event: TELEPHONE_EVENT,
            last: Vec::new(),
        }
    }

    /// What we want from now on; it takes effect with the next offer or answer.
    pub fn set_local(&mut self, local: Local) {
        self.local = local;
    }

    pub fn local(&self) -> Local {
        self.local
    }

    /// An offer of everything we can do.
    pub fn offer(&mut self) -> Vec<u8> {
        let direction = if self.local.active { Direction::SendRecv } else { Direction::Inactive };
        let streams = [Stream::Ours { proto: "RTP/AVP".into() }];
        self.describe(direction, Some(self.telephone_event), true, &streams)
    }

    /// Reads the answer to our last [`offer`](Negotiation::offer).
    ///
    /// # Errors
    /// The answer is no SDP, refuses the stream or has no Opus.
    pub fn accept_answer(&self, answer: &[u8]) -> Result<Negotiated, Error> {
        let peer = description::parse_answer(answer, self.opus)?;
        let wanted = if self.local.active { Direction::SendRecv } else { Direction::Inactive };
        Ok(self.agreed(&peer, wanted.intersect_with_remote(peer.direction)))
    }

    /// Answers an offer of the peer with its own payload types.
    ///
    /// # Errors
    /// The offer is no SDP, or has no Opus stream over plain RTP: nothing has changed then.
    pub fn answer(&mut self, offer: &[u8]) -> Result<(Vec<u8>, Negotiated), Error> {
        let peer = description::parse(offer)?;
        let wanted = if self.local.active { Direction::SendRecv } else { Direction::Inactive };
        let direction = wanted.intersect_with_remote(peer.direction);
        self.opus = peer.opus;
        if let Some(event) = peer.telephone_event {
            self.telephone_event = event;
        } else if self.telephone_event == self.opus {
            self.telephone_event = if self.opus == TELEPHONE_EVENT { OPUS } else { TELEPHONE_EVENT };
        }
        let answer = self.describe(direction, peer.telephone_event, peer.rtcp_mux, &peer.streams);
        Ok((answer, self.agreed(&peer, direction)))
    }

    /// RFC 3264 8: the version grows by one exactly when the description differs from the one before.
    fn describe(&mut self, direction: Direction, event: Option<u8>, rtcp_mux: bool, streams: &[Stream]) -> Vec<u8> {
        let ours = Ours {
            session_id: self.session_id,
            address: self.address,
            local: &self.local,
            opus: self.opus,
            telephone_event: event,
            direction,
            rtcp_mux,
        };
        let same = description::write(ours, streams, self.version);
        if same != self.last {
            self.version += 1;
            self.last = description::write(ours, streams, self.version);
        }
        self.last.clone()
    }

    fn agreed(&self, peer: &Description, direction: Direction) -> Negotiated {
        Negotiated {
            remote_rtp: peer.rtp,
            remote_rtcp: peer.rtcp,
            rtcp_mux: peer.rtcp_mux,
            send_payload_type: peer.opus,
            receive_payload_type: self.opus,
            telephone_event: peer.telephone_event,
            ptime: peer.ptime,
            max_average_bitrate: peer.max_average_bitrate,
            send: direction.has_send(),
            receive: direction.has_recv(),
        }
    }
}
