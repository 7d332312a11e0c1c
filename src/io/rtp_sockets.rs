//! The two UDP sockets of the media thread: RTP on an even port, RTCP on the next (RFC 3550 11).
//!
//! The sockets are not polled. While a card runs, nothing can be done with a packet before the card's next period
//! anyway, so they are drained then, just before playback is filled: that saves a wake-up per packet and costs no
//! latency. The true instant of arrival, which the jitter estimate needs, is the kernel's stamp. Reports are few and
//! nobody waits for them: they are looked for each [`REPORTS_EVERY`].
//!
//! An unspecified address means both families: one socket carries them, and addresses of IPv4 are written on it as
//! `::ffff:192.0.2.1` (RFC 4291 2.5.5.2). Nobody else sees them like that.

use crate::config::Rtp;
use crate::io::sys;
use crate::media::stream::Wire;
use crate::time::{Span, Time};
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

/// A datagram on one of the sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Datagram {
    Rtp,
    Rtcp,
}

pub(super) struct RtpSockets {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    ports: (u16, u16),
    speaks: Speaks,
    /// Datagrams that the kernel had no room for, on each socket.
    dropped: [Cell<u32>; 2],
    /// When RTCP is looked for again.
    reports_at: Cell<Time>,
}

/// What addresses the sockets take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speaks {
    OneFamily,
    Both,
}

impl RtpSockets {
    /// Binds the first free pair of the configured range, or any pair the system gives.
    pub(super) fn bind(config: &Rtp) -> io::Result<RtpSockets> {
        let (first, last) = config.ports;
        if first == 0 {
            return bind_any_pair(config);
        }
        let mut error = io::Error::from(io::ErrorKind::AddrInUse);
        for port in (first..last).filter(|port| port % 2 == 0) {
            match bind_pair(config, port) {
                Ok(sockets) => return Ok(sockets),
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    /// Local ports of RTP and RTCP.
    pub(super) const fn ports(&self) -> (u16, u16) {
        self.ports
    }

    /// Hands out what has arrived, with the instant of arrival, at most [`MAX_BATCH`] datagrams of each kind; RTCP only
    /// when it is time to.
    pub(super) fn drain(&self, now: Time, buffer: &mut [u8], mut take: impl FnMut(Datagram, Time, SocketAddr, &[u8])) {
        self.drain_one(Datagram::Rtp, now, buffer, &mut take);
        if now >= self.reports_at.get() {
            self.reports_at.set(now + REPORTS_EVERY);
            self.drain_one(Datagram::Rtcp, now, buffer, &mut take);
        }
    }

    fn drain_one(
        &self,
        kind: Datagram,
        now: Time,
        buffer: &mut [u8],
        take: &mut impl FnMut(Datagram, Time, SocketAddr, &[u8]),
    ) {
        let (socket, dropped) = match kind {
            Datagram::Rtp => (&self.rtp, &self.dropped[0]),
            Datagram::Rtcp => (&self.rtcp, &self.dropped[1]),
        };
        for _ in 0..MAX_BATCH {
            let Some(got) = sys::receive(socket, buffer) else { break };
            dropped.set(got.dropped.unwrap_or(dropped.get()));
            let arrived = Time::from_micros(now.as_micros().saturating_sub(got.age.as_micros()));
            let from = SocketAddr::new(got.from.ip().to_canonical(), got.from.port());
            take(kind, arrived, from, &buffer[..got.length]);
        }
    }

    /// Forgets what has arrived while there was no call.
    pub(super) fn discard(&self, buffer: &mut [u8]) {
        for (socket, dropped) in [&self.rtp, &self.rtcp].into_iter().zip(&self.dropped) {
            // Bounded: somebody may be sending faster than we read.
            for _ in 0..10_000 {
                let Some(got) = sys::receive(socket, buffer) else { break };
                dropped.set(got.dropped.unwrap_or(dropped.get()));
            }
        }
    }

    /// Datagrams that the kernel had no room for, since the sockets were bound, as far as it has said so: it does beside
    /// the next one that it has room for.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.iter().map(|dropped| u64::from(dropped.get())).sum()
    }
}

/// Never blocks: a full socket drops, as the network would.
impl Wire for &RtpSockets {
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]) -> bool {
        self.rtp.send_to(packet, self.speaks.written(to)).is_ok()
    }

    fn send_rtcp(&mut self, to: SocketAddr, packet: &[u8]) {
        let _ = self.rtcp.send_to(packet, self.speaks.written(to));
    }
}

/// Work per wake-up is bounded, under a flood too: this is 32 times what a call brings in 20 ms.
const MAX_BATCH: usize = 32;
/// An arrival is known from its stamp, which is believed for twice as long.
const REPORTS_EVERY: Span = Span::from_millis(100);
/// Holds a second of packets if the thread is held up.
const RECEIVE_BUFFER: usize = 256 * 1024;

fn bind_any_pair(config: &Rtp) -> io::Result<RtpSockets> {
    let mut error = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let (probe, _) = bind_one(config, 0)?;
        let port = probe.local_addr()?.port() & !1;
        drop(probe);
        match bind_pair(config, port) {
            Ok(sockets) => return Ok(sockets),
            Err(why) => error = why,
        }
    }
    Err(error)
}

fn bind_pair(config: &Rtp, port: u16) -> io::Result<RtpSockets> {
    let (rtp, speaks) = bind_one(config, port)?;
    let (rtcp, _) = bind_one(config, port + 1)?;
    Ok(RtpSockets {
        rtp,
        rtcp,
        ports: (port, port + 1),
        speaks,
        dropped: Default::default(),
        reports_at: Cell::new(Time::ZERO),
    })
}

fn bind_one(config: &Rtp, port: u16) -> io::Result<(UdpSocket, Speaks)> {
    if config.bind.is_unspecified() {
        match bind_at(config, (Ipv6Addr::UNSPECIFIED, port).into(), Speaks::Both) {
            Err(taken) if taken.kind() == io::ErrorKind::AddrInUse => return Err(taken),
            // A system without IPv6.
            Err(_) => {}
            Ok(socket) => return Ok((socket, Speaks::Both)),
        }
    }
    Ok((bind_at(config, (config.bind, port).into(), Speaks::OneFamily)?, Speaks::OneFamily))
}

fn bind_at(config: &Rtp, address: SocketAddr, speaks: Speaks) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    // Marking is a wish: some containers forbid it, and the call works without.
    let traffic_class = u32::from(config.dscp) << 2;
    if address.is_ipv6() {
        socket.set_only_v6(speaks == Speaks::OneFamily)?;
        let _ = socket.set_tclass_v6(traffic_class);
    }
    if address.is_ipv4() || speaks == Speaks::Both {
        let _ = socket.set_tos_v4(traffic_class);
    }
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    // So is the stamp, which an emulator may not know: a packet then arrives when it is read.
    let _ = sys::stamp_arrivals(&socket);
    Ok(socket)
}

impl Speaks {
    /// How the sockets want an address.
    fn written(self, to: SocketAddr) -> SocketAddr {
        match (self, to.ip()) {
            (Speaks::Both, IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            (Speaks::Both, IpAddr::V6(_)) | (Speaks::OneFamily, _) => to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn local(ports: (u16, u16)) -> Rtp {
        Rtp { bind: IpAddr::from([127, 0, 0, 1]), ports, ..Config::default().rtp }
    }

    #[test]
    fn the_rtp_port_is_even_and_rtcp_follows() {
        for ports in [(0, 0), (47_121, 47_199)] {
            let (rtp, rtcp) = RtpSockets::bind(&local(ports)).unwrap().ports();
            assert!(rtp % 2 == 0 && rtcp == rtp + 1);
        }
    }

    #[test]
    fn a_taken_pair_is_passed_over_and_a_full_range_is_an_error() {
        let first = RtpSockets::bind(&local((47_300, 47_303))).unwrap();
        let second = RtpSockets::bind(&local((47_300, 47_303))).unwrap();
        assert_eq!((first.ports(), second.ports()), ((47_300, 47_301), (47_302, 47_303)));
        assert_eq!(RtpSockets::bind(&local((47_300, 47_303))).err().unwrap().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn what_arrived_between_calls_is_forgotten() {
        let sockets = RtpSockets::bind(&local((0, 0))).unwrap();
        let mut buffer = [0; 2048];
        let to = SocketAddr::from(([127, 0, 0, 1], sockets.ports().0));
        let mut wire = &sockets;
        wire.send_rtp(to, b"stray");
        sockets.discard(&mut buffer);
        wire.send_rtp(to, b"rtp");
        wire.send_rtcp(SocketAddr::new(to.ip(), to.port() + 1), b"rtcp");
        let mut got = Vec::new();
        sockets.drain(Time::ZERO, &mut buffer, |kind, _, _, bytes| got.push((kind, bytes.to_vec())));
        assert_eq!(got, [(Datagram::Rtp, b"rtp".to_vec()), (Datagram::Rtcp, b"rtcp".to_vec())]);
    }

    #[test]
    fn reports_are_looked_for_now_and_then_and_sound_each_time() {
        let sockets = RtpSockets::bind(&local((0, 0))).unwrap();
        let to = SocketAddr::from(([127, 0, 0, 1], sockets.ports().0));
        let mut kinds = Vec::new();
        for ms in (0..300).step_by(10) {
            let mut wire = &sockets;
            wire.send_rtp(to, b"rtp");
            wire.send_rtcp(SocketAddr::new(to.ip(), to.port() + 1), b"rtcp");
            let now = Time::from_millis(ms);
            sockets.drain(now, &mut [0; 64], |kind, _, _, _| kinds.push((ms, kind)));
        }
        let at = |wanted| kinds.iter().filter(|(_, kind)| *kind == wanted).map(|(ms, _)| *ms).collect::<Vec<_>>();
        assert_eq!(at(Datagram::Rtp), (0..300).step_by(10).collect::<Vec<_>>());
        assert_eq!(at(Datagram::Rtcp), [vec![0], vec![100; 10], vec![200; 10]].concat());
    }

    #[test]
    fn packets_are_marked_with_the_configured_class() {
        for bind in [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0])] {
            let sockets = RtpSockets::bind(&Rtp { bind, dscp: 46, ..local((0, 0)) }).unwrap();
            for socket in [&sockets.rtp, &sockets.rtcp] {
                let socket = socket2::SockRef::from(socket);
                assert_eq!(socket.tos_v4().unwrap(), 46 << 2);
                if sockets.speaks == Speaks::Both {
                    assert_eq!(socket.tclass_v6().unwrap(), 46 << 2);
                }
            }
        }
    }

    #[test]
    fn an_unspecified_address_takes_both_families() {
        let any = Rtp { bind: IpAddr::from([0, 0, 0, 0]), ports: (0, 0), ..Config::default().rtp };
        let sockets = RtpSockets::bind(&any).unwrap();
        let peers = ["127.0.0.1:0", "[::1]:0"].map(|address| UdpSocket::bind(address).unwrap());
        let mut buffer = [0; 2048];
        for peer in peers {
            peer.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            let theirs = peer.local_addr().unwrap();
            let mut wire = &sockets;
            wire.send_rtp(theirs, b"there");
            let (length, ours) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], ours.port()), (&b"there"[..], sockets.ports().0));
            peer.send_to(b"back", ours).unwrap();
            let mut got = Vec::new();
            while got.is_empty() {
                sockets.drain(Time::ZERO, &mut buffer, |_, _, from, _| got.push(from));
            }
            assert_eq!(got, [theirs], "as others write it");
        }
    }
}
