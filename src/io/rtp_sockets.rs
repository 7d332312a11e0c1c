//! The two UDP sockets of the media thread: RTP on an even port, RTCP on the next (RFC 3550 11).
//!
//! The sockets are not polled. While a card runs, nothing can be done with a packet before the card's next period
//! anyway, so they are drained then, just before playback is filled: that saves a wake-up per packet and costs no
//! latency. The true instant of arrival, which the jitter estimate needs, is the kernel's stamp.

use crate::config::Rtp;
use crate::io::sys;
use crate::media::stream::Wire;
use crate::time::Time;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

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

    /// Hands out what has arrived, with the instant of arrival, at most [`MAX_BATCH`] datagrams of each kind.
    pub(super) fn drain(&self, now: Time, buffer: &mut [u8], mut take: impl FnMut(Datagram, Time, SocketAddr, &[u8])) {
        for (kind, socket) in [(Datagram::Rtp, &self.rtp), (Datagram::Rtcp, &self.rtcp)] {
            for _ in 0..MAX_BATCH {
                let Some(got) = sys::receive(socket, buffer) else { break };
                let arrived = Time::from_micros(now.as_micros().saturating_sub(got.age.as_micros()));
                take(kind, arrived, got.from, &buffer[..got.length]);
            }
        }
    }

    /// Forgets what has arrived while there was no call.
    pub(super) fn discard(&self, buffer: &mut [u8]) {
        for socket in [&self.rtp, &self.rtcp] {
            // Bounded: somebody may be sending faster than we read.
            for _ in 0..10_000 {
                if sys::receive(socket, buffer).is_none() {
                    break;
                }
            }
        }
    }
}

/// Never blocks: a full socket drops, as the network would.
impl Wire for &RtpSockets {
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]) {
        let _ = self.rtp.send_to(packet, to);
    }

    fn send_rtcp(&mut self, to: SocketAddr, packet: &[u8]) {
        let _ = self.rtcp.send_to(packet, to);
    }
}

/// Work per wake-up is bounded, under a flood too: this is 32 times what a call brings in 20 ms.
const MAX_BATCH: usize = 32;
/// Holds a second of packets if the thread is held up.
const RECEIVE_BUFFER: usize = 256 * 1024;

fn bind_any_pair(config: &Rtp) -> io::Result<RtpSockets> {
    let mut error = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let probe = bind_one(config, 0)?;
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
    let rtp = bind_one(config, port)?;
    let rtcp = bind_one(config, port + 1)?;
    Ok(RtpSockets { rtp, rtcp, ports: (port, port + 1) })
}

fn bind_one(config: &Rtp, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address((config.bind, port).into()), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    // Marking is a wish: some containers forbid it, and the call works without.
    let traffic_class = u32::from(config.dscp) << 2;
    let _ = match config.bind {
        IpAddr::V4(_) => socket.set_tos_v4(traffic_class),
        IpAddr::V6(_) => socket.set_tclass_v6(traffic_class),
    };
    socket.bind(&SocketAddr::new(config.bind, port).into())?;
    let socket = UdpSocket::from(socket);
    // So is the stamp, which an emulator may not know: a packet then arrives when it is read.
    let _ = sys::stamp_arrivals(&socket);
    Ok(socket)
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
}
