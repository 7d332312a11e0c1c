//! Who the other side of the stream is: where packets come from and go to, and under which keys.
//!
//! The offer/answer exchange names an address. Behind some NAT packets come from another one, and answers have to go there
//! (symmetric RTP, RFC 4961). Whoever may say "I am the mixer now" could take over a call, so an address is taken on trust
//! (a *latch*) only as long as nothing better is known:
//!
//! ```text
//!   Nothing ──2 packets in a row from another port of the host,      ──▶ Elsewhere ──the negotiated address──▶ Negotiated
//!      │       from anywhere if the mixer is behind NAT, or authentic         ▲                                   │
//!      └──────the negotiated address────────▶ Negotiated ──────── silence, then RELATCH in a row ─────────────────┘
//!                                                                 that go on with source and numbers, or authentic
//! ```
//!
//! Back from `Elsewhere` one packet suffices if it goes on with source and numbers, comes after silence, or is authentic.
//! While one source speaks no other is heard. With SRTP only authentic packets count at all (RFC 3711 3.3).
//!
//! When another address is negotiated all of this begins anew, but for a while the old stream is not believed from where it was: its
//! packets are on their way, and its sender goes on until it has heard of the agreement.

use crate::config::Rtp;
use crate::media::command::StreamParams;
use crate::media::stream::Wire;
use crate::rtp::packet::Header;
use crate::srtp::{Inbound, Keys, Outbound, Rejected};
use crate::time::{Span, Time};
use std::net::SocketAddr;

/// Packets in a row, from one address and with one SSRC, before the first other source is believed, and a later one.
const LATCH: u32 = 2;
const RELATCH: u32 = 5;
/// RFC 3550 A.1: numbers further ahead are not of the same stream.
const MAX_DROPOUT: u16 = 3_000;

pub(super) struct Peer {
    negotiated: SocketAddr,
    negotiated_rtcp: SocketAddr,
    rtcp_mux: bool,
    heard: Heard,
    candidate: Option<Candidate>,
    left: Option<Left>,
    /// Kept once there was any, though the call may be plain meanwhile: under one key no number is to be used twice.
    protected: Option<Protected>,
    /// A source that is silent for this long may have moved.
    silence: Span,
    behind_nat: bool,
}

/// What became of a packet that was to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Sent,
    /// The network did not take it. Its number is used up, since it may have been sealed under it: to the far end it is lost.
    Refused,
    /// It could not be protected.
    Withheld,
}

/// What is kept for both directions under SRTP.
pub(super) struct Protected {
    outbound: Outbound,
    inbound: Inbound,
    in_use: bool,
}

/// The source of valid packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Nothing,
    Negotiated(Last),
    /// Not where it should be; packets to the peer go there as well.
    Elsewhere {
        from: SocketAddr,
        rtcp_from: Option<SocketAddr>,
        last: Last,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Last {
    at: Time,
    ssrc: u32,
    sequence_number: u16,
}

/// The stream that was heard before another address was negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Left {
    from: SocketAddr,
    ssrc: u32,
    /// If it still comes then, it has not moved.
    until: Time,
}

/// An address that would be believed after some more packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Candidate {
    from: SocketAddr,
    ssrc: u32,
    sequence_number: u16,
    packets: u32,
}

impl Peer {
    pub(super) fn new(params: &StreamParams, config: &Rtp) -> Peer {
        Peer {
            negotiated: params.remote_rtp,
            negotiated_rtcp: params.remote_rtcp,
            rtcp_mux: params.rtcp_mux,
            heard: Heard::Nothing,
            candidate: None,
            left: None,
            protected: params.srtp.map(Protected::new),
            silence: config.silence_timeout,
            behind_nat: config.mixer_behind_nat,
        }
    }

    /// The call goes on after its stream has ended for another one's: what was protected goes on where it was.
    pub(super) fn resume(&mut self, params: &StreamParams, protected: Option<Protected>) {
        self.protected = protected.or(self.protected.take());
        self.set_keys(params.srtp);
    }

    /// The source that is heard, and what it takes to go on later.
    pub(super) fn part(self) -> (Option<u32>, Option<Protected>) {
        let heard = match self.heard {
            Heard::Nothing => None,
            Heard::Negotiated(last) | Heard::Elsewhere { last, .. } => Some(last.ssrc),
        };
        (heard, self.protected)
    }

    /// Whether packets of the peer are to come from there, by what was negotiated.
    pub(super) fn is_negotiated(&self, from: SocketAddr) -> bool {
        same_address(from, self.negotiated)
    }

    /// The call goes on with other parameters: keys that are the same go on, and so does a latch while the address that was
    /// negotiated is the same.
    pub(super) fn update(&mut self, now: Time, params: &StreamParams) {
        if (self.negotiated, self.negotiated_rtcp) != (params.remote_rtp, params.remote_rtcp) {
            let until = now + self.silence;
            self.left = match self.heard {
                Heard::Nothing => self.left,
                Heard::Negotiated(last) => Some(Left { from: self.negotiated, ssrc: last.ssrc, until }),
                Heard::Elsewhere { from, last, .. } => Some(Left { from, ssrc: last.ssrc, until }),
            };
            self.heard = Heard::Nothing;
            self.candidate = None;
        }
        self.negotiated = params.remote_rtp;
        self.negotiated_rtcp = params.remote_rtcp;
        self.rtcp_mux = params.rtcp_mux;
        self.set_keys(params.srtp);
    }

    /// `None`: the call is plain from now on.
    fn set_keys(&mut self, keys: Option<Keys>) {
        match &mut self.protected {
            Some(protected) => protected.set_keys(keys),
            None => self.protected = keys.map(Protected::new),
        }
    }

    /// Sends the RTP packet in the first `len` bytes of `packet`, whose rest is room for what SRTP adds.
    pub(super) fn send_rtp(&mut self, packet: &mut [u8], len: usize, wire: &mut impl Wire) -> Fate {
        let sealed = match &mut self.protected {
            Some(protected) if protected.in_use => protected.outbound.seal_rtp(packet, len),
            Some(protected) => {
                protected.outbound.on_plain(&packet[..len]);
                Some(len)
            }
            None => Some(len),
        };
        match sealed {
            None => Fate::Withheld,
            Some(len) if wire.send_rtp(self.rtp_target(), &packet[..len]) => Fate::Sent,
            Some(_) => Fate::Refused,
        }
    }

    /// Sends an RTCP packet likewise. `false`: it could not be protected.
    pub(super) fn send_rtcp(&mut self, packet: &mut [u8], len: usize, wire: &mut impl Wire) -> bool {
        let sealed = match self.srtp() {
            Some(protected) => protected.outbound.seal_rtcp(packet, len),
            None => Some(len),
        };
        if let Some(len) = sealed {
            match self.rtcp_mux {
                true => _ = wire.send_rtp(self.rtp_target(), &packet[..len]),
                false => wire.send_rtcp(self.rtcp_target(), &packet[..len]),
            }
        }
        sealed.is_some()
    }

    /// The RTP packet in a datagram; under SRTP it is opened in `room`.
    pub(super) fn open_rtp<'a>(&mut self, datagram: &'a [u8], room: &'a mut [u8]) -> Result<&'a [u8], Rejected> {
        let Some(protected) = self.srtp() else { return Ok(datagram) };
        let copy = copied(datagram, room)?;
        let len = protected.inbound.open_rtp(copy)?;
        Ok(&copy[..len])
    }

    /// The same for RTCP.
    pub(super) fn open_rtcp<'a>(&mut self, datagram: &'a [u8], room: &'a mut [u8]) -> Result<&'a [u8], Rejected> {
        let Some(protected) = self.srtp() else { return Ok(datagram) };
        let copy = copied(datagram, room)?;
        let len = protected.inbound.open_rtcp(copy)?;
        Ok(&copy[..len])
    }

    /// Whether a valid packet (under SRTP: an authentic one) that came from `from` is the peer's.
    pub(super) fn admits(&mut self, now: Time, from: SocketAddr, header: &Header) -> bool {
        let heard = Last { at: now, ssrc: header.ssrc, sequence_number: header.sequence_number };
        if same_address(from, self.negotiated) && self.may_return(now, header) {
            self.heard = Heard::Negotiated(heard);
            self.candidate = None;
            return true;
        }
        let (last, needed) = match &mut self.heard {
            Heard::Elsewhere { from: known, last, .. } if same_address(*known, from) => {
                *last = heard;
                self.candidate = None;
                return true;
            }
            Heard::Nothing => (None, LATCH),
            Heard::Negotiated(last) | Heard::Elsewhere { last, .. } => (Some(*last), RELATCH),
        };
        let is_left = |left: Left| now < left.until && left.ssrc == header.ssrc && same_address(left.from, from);
        if self.left.is_some_and(is_left) || !self.may_move(now, from, header, last) {
            return false;
        }
        let packets = match self.candidate {
            Some(candidate)
                if same_address(candidate.from, from)
                    && candidate.ssrc == header.ssrc
                    && candidate.sequence_number.wrapping_add(1) == header.sequence_number =>
            {
                candidate.packets + 1
            }
            Some(_) | None => 1,
        };
        let Header { ssrc, sequence_number, .. } = *header;
        self.candidate = Some(Candidate { from, ssrc, sequence_number, packets });
        if packets < needed {
            return false;
        }
        self.candidate = None;
        self.heard = Heard::Elsewhere { from, rtcp_from: None, last: heard };
        true
    }

    /// Whether an RTCP packet from `from` is the peer's: of the address negotiated, of the host that is heard, or authentic.
    pub(super) fn admits_rtcp(&mut self, from: SocketAddr) -> bool {
        let negotiated = if self.rtcp_mux { self.negotiated } else { self.negotiated_rtcp };
        if same_address(from, negotiated) {
            return true;
        }
        match &mut self.heard {
            Heard::Elsewhere { from: heard, rtcp_from, .. } if same_host(*heard, from) => {
                *rtcp_from = Some(from);
                true
            }
            Heard::Nothing | Heard::Negotiated(_) | Heard::Elsewhere { .. } => self.is_protected(),
        }
    }

    /// Whether one packet that bears the negotiated address is the peer's. While somebody else was believed and speaks, the
    /// address alone proves nothing: anybody can write it into a datagram, who does not hear the stream cannot continue it.
    fn may_return(&self, now: Time, header: &Header) -> bool {
        match &self.heard {
            Heard::Nothing | Heard::Negotiated(_) => true,
            Heard::Elsewhere { last, .. } => {
                self.is_protected() || now.since(last.at) >= self.silence || last.goes_on_with(header)
            }
        }
    }

    /// Whether another source could be the peer, if it went on like this.
    fn may_move(&self, now: Time, from: SocketAddr, header: &Header, last: Option<Last>) -> bool {
        let is_silent = last.is_none_or(|last| now.since(last.at) >= self.silence);
        let goes_on = last.is_none_or(|last| last.goes_on_with(header));
        let is_trusted = self.is_protected() || (goes_on && (self.behind_nat || same_host(from, self.negotiated)));
        is_silent && is_trusted
    }

    fn is_protected(&self) -> bool {
        self.protected.as_ref().is_some_and(|protected| protected.in_use)
    }

    fn srtp(&mut self) -> Option<&mut Protected> {
        self.protected.as_mut().filter(|protected| protected.in_use)
    }

    fn rtp_target(&self) -> SocketAddr {
        match self.heard {
            Heard::Nothing | Heard::Negotiated(_) => self.negotiated,
            Heard::Elsewhere { from, .. } => from,
        }
    }

    fn rtcp_target(&self) -> SocketAddr {
        match self.heard {
            Heard::Nothing | Heard::Negotiated(_) => self.negotiated_rtcp,
            Heard::Elsewhere { rtcp_from: Some(rtcp_from), .. } => rtcp_from,
            Heard::Elsewhere { from, rtcp_from: None, .. } if same_host(from, self.negotiated) => self.negotiated_rtcp,
            // RFC 3550 11.
            Heard::Elsewhere { from, rtcp_from: None, .. } => {
                SocketAddr::new(from.ip(), from.port().checked_add(1).unwrap_or(from.port()))
            }
        }
    }
}

impl Last {
    /// The same stream, a little later.
    fn goes_on_with(&self, header: &Header) -> bool {
        let ahead = header.sequence_number.wrapping_sub(self.sequence_number);
        header.ssrc == self.ssrc && (1..MAX_DROPOUT).contains(&ahead)
    }
}

impl Protected {
    fn new(keys: Keys) -> Protected {
        Protected { outbound: Outbound::new(keys.send), inbound: Inbound::new(keys.receive), in_use: true }
    }

    /// Keys that are the same go on, as do all numbers; without keys it rests.
    fn set_keys(&mut self, keys: Option<Keys>) {
        self.in_use = keys.is_some();
        let Some(keys) = keys else { return };
        self.outbound.set_keying(keys.send);
        self.inbound.set_keying(keys.receive);
    }
}

fn copied<'a>(datagram: &[u8], room: &'a mut [u8]) -> Result<&'a mut [u8], Rejected> {
    let copy = room.get_mut(..datagram.len()).ok_or(Rejected::Malformed)?;
    copy.copy_from_slice(datagram);
    Ok(copy)
}

/// A socket for both families shows IPv4 senders as mapped IPv6 addresses.
fn same_address(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && same_host(a, b)
}

fn same_host(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip().to_canonical() == b.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::rtp::xr::Asked;
    use crate::srtp::{Entropy, Suite};

    const NEGOTIATED: &str = "192.0.2.1:4000";
    const OTHER_PORT: &str = "192.0.2.1:7000";
    const ELSEWHERE: &str = "198.51.100.7:4000";
    const THIEF: &str = "203.0.113.9:4000";

    fn params(srtp: bool) -> StreamParams {
        let keying = Entropy::new([1; Entropy::LEN]).keying(Suite::AeadAes128Gcm);
        StreamParams {
            call: 1,
            remote_rtp: NEGOTIATED.parse().unwrap(),
            remote_rtcp: "192.0.2.1:4001".parse().unwrap(),
            rtcp_mux: false,
            send_payload_type: 96,
            receive_payload_type: 96,
            telephone_event: None,
            redundancy: None,
            ssrc: 1,
            ptime: Span::from_millis(20),
            max_ptime: Span::from_millis(60),
            bitrate: 24_000,
            cap: 0,
            follows: false,
            send: true,
            receive: true,
            srtp: srtp.then_some(Keys { send: keying, receive: keying }),
            extended: Asked::NOTHING,
        }
    }

    struct Scene {
        peer: Peer,
        now: Time,
    }

    impl Scene {
        fn new(srtp: bool, mixer_behind_nat: bool) -> Scene {
            let config = Rtp { mixer_behind_nat, ..Config::default().rtp };
            Scene { peer: Peer::new(&params(srtp), &config), now: Time::from_millis(1_000) }
        }

        fn packet(&mut self, from: &str, ssrc: u32, sequence_number: u16) -> bool {
            self.now += Span::from_millis(20);
            let header = Header { marker: false, payload_type: 96, sequence_number, timestamp: 0, ssrc };
            self.peer.admits(self.now, from.parse().unwrap(), &header)
        }

        /// How many of five packets in a row are taken.
        fn five(&mut self, from: &str, ssrc: u32, first: u16) -> usize {
            (first..first + 5).filter(|n| self.packet(from, ssrc, *n)).count()
        }

        fn target(&self) -> String {
            self.peer.rtp_target().to_string()
        }
    }

    #[test]
    fn the_negotiated_address_is_heard_at_once_and_nobody_else_while_it_speaks() {
        for (srtp, nat) in [(false, false), (false, true), (true, false)] {
            let mut scene = Scene::new(srtp, nat);
            assert_eq!(scene.five(NEGOTIATED, 9, 100), 5);
            for (n, thief) in [OTHER_PORT, ELSEWHERE, THIEF].into_iter().enumerate() {
                for at in 0..20 {
                    assert!(scene.packet(NEGOTIATED, 9, 105 + n as u16 * 20 + at));
                    assert!(!scene.packet(thief, 9, 106 + n as u16 * 20 + at), "{thief}");
                }
            }
            assert_eq!(scene.target(), NEGOTIATED);
        }
    }

    #[test]
    fn before_it_speaks_another_port_of_its_host_is_believed_after_two_packets() {
        let mut scene = Scene::new(false, false);
        assert!(!scene.packet(OTHER_PORT, 9, 1));
        assert_eq!(scene.target(), NEGOTIATED);
        assert!(scene.packet(OTHER_PORT, 9, 2));
        assert_eq!(scene.target(), OTHER_PORT);
        assert_eq!(scene.peer.rtcp_target().to_string(), "192.0.2.1:4001");
        assert_eq!(scene.five(THIEF, 9, 3), 0);
        assert!(!scene.packet(NEGOTIATED, 8, 3) && !scene.packet(NEGOTIATED, 9, 1), "an address alone is no proof");
        assert_eq!(scene.target(), OTHER_PORT);
        assert!(scene.packet(NEGOTIATED, 9, 3), "the stream goes on from where it was negotiated to come from");
        assert_eq!(scene.target(), NEGOTIATED);
        assert_eq!(scene.five(OTHER_PORT, 9, 4), 0, "and stays so");
    }

    #[test]
    fn another_host_is_believed_only_behind_nat_or_when_authentic() {
        for (srtp, nat, believed) in [(false, false, false), (false, true, true), (true, false, true)] {
            let mut scene = Scene::new(srtp, nat);
            assert_eq!(scene.five(ELSEWHERE, 9, 1) > 0, believed);
            assert_eq!(scene.target(), if believed { ELSEWHERE } else { NEGOTIATED });
            assert_eq!(scene.peer.admits_rtcp("198.51.100.7:5555".parse().unwrap()), believed);
            let rtcp = scene.peer.rtcp_target().to_string();
            assert_eq!(rtcp, if believed { "198.51.100.7:5555" } else { "192.0.2.1:4001" });
            assert_eq!(scene.five(THIEF, 9, 6), 0, "no second latch");
        }
    }

    #[test]
    fn a_peer_that_fell_silent_may_come_back_from_elsewhere_if_it_goes_on_where_it_was() {
        for (what, ssrc, first, taken) in [
            ("the same stream", 9, 200, 1),
            ("another source", 8, 200, 0),
            ("numbers from before", 9, 90, 0),
            ("numbers far ahead", 9, 9_000, 0),
        ] {
            let mut scene = Scene::new(false, true);
            assert_eq!(scene.five(NEGOTIATED, 9, 100), 5);
            assert_eq!(scene.five(ELSEWHERE, ssrc, first), 0, "{what}, while it spoke just now");
            scene.now += scene.peer.silence;
            assert_eq!(scene.five(ELSEWHERE, ssrc, first + 5), taken, "{what}");
            assert_eq!(scene.target() == ELSEWHERE, taken > 0, "{what}");
        }
        let mut scene = Scene::new(true, false);
        scene.five(NEGOTIATED, 9, 100);
        scene.now += scene.peer.silence;
        assert_eq!(scene.five(ELSEWHERE, 8, 4_000), 1, "an authentic one may have another SSRC");
    }

    #[test]
    fn when_the_other_source_is_silent_the_negotiated_address_is_believed_at_once() {
        let mut scene = Scene::new(false, false);
        scene.five(OTHER_PORT, 9, 1);
        scene.now += scene.peer.silence;
        assert!(scene.packet(NEGOTIATED, 8, 700));
        assert_eq!(scene.target(), NEGOTIATED);
    }

    #[test]
    fn two_strangers_in_turns_are_no_stream() {
        let mut scene = Scene::new(false, true);
        for n in 0..50 {
            assert!(!scene.packet(ELSEWHERE, 9, n) && !scene.packet(THIEF, 9, n + 1));
        }
    }

    #[test]
    fn a_new_negotiated_address_forgets_the_latch_and_the_same_one_does_not() {
        let mut scene = Scene::new(false, true);
        scene.five(ELSEWHERE, 9, 1);
        scene.peer.update(scene.now, &params(false));
        assert_eq!(scene.target(), ELSEWHERE);
        scene.peer.update(scene.now, &StreamParams { remote_rtp: THIEF.parse().unwrap(), ..params(false) });
        assert_eq!(scene.target(), THIEF);
        assert!(scene.packet(THIEF, 9, 500));
    }

    #[test]
    fn the_last_packets_from_the_old_address_are_not_believed_after_another_was_negotiated() {
        let moved = StreamParams { remote_rtp: OTHER_PORT.parse().unwrap(), ..params(false) };
        for (srtp, nat, before) in
            [(false, false, NEGOTIATED), (false, true, NEGOTIATED), (false, true, ELSEWHERE), (true, false, ELSEWHERE)]
        {
            let mut scene = Scene::new(srtp, nat);
            assert!(scene.five(before, 9, 100) > 0);
            scene.peer.update(scene.now, &StreamParams { srtp: params(srtp).srtp, ..moved });
            assert_eq!(scene.five(before, 9, 105), 0, "{before}");
            assert_eq!(scene.target(), OTHER_PORT);
            assert!(scene.packet(OTHER_PORT, 8, 1), "{before}");
            assert_eq!((scene.five(before, 9, 110), scene.target()), (0, OTHER_PORT.into()));
        }
        // Who goes on for longer has not moved, whatever was said; a new stream from there has begun since.
        let mut scene = Scene::new(false, false);
        scene.five(NEGOTIATED, 9, 100);
        scene.peer.update(scene.now, &moved);
        scene.now += scene.peer.silence;
        assert_eq!(scene.five(NEGOTIATED, 9, 200), 4);
        let mut scene = Scene::new(false, false);
        scene.five(NEGOTIATED, 9, 100);
        scene.peer.update(scene.now, &moved);
        assert_eq!(scene.five(NEGOTIATED, 8, 1), 4);
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        let mut scene = Scene::new(false, false);
        assert!(scene.packet("[::ffff:192.0.2.1]:4000", 9, 1));
    }
}
