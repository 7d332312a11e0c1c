//! The UDP sockets of the SIP endpoint: one for each address family, with one port.
//!
//! An unspecified address means both families; a device without IPv6 then has the one.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use tokio::net::UdpSocket;

/// Largest datagram UDP can carry; a SIP message is never cut by us.
pub const DATAGRAM: usize = 65_535;

pub struct SipSocket {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    bound: Bound,
}

/// Where we are reached, and from where we send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub port: u16,
}

/// The port the system gave for one family may be taken in the other.
const TRIES: usize = 20;

impl SipSocket {
    /// # Errors
    /// The address is not ours, or the port is taken.
    pub async fn bind(address: SocketAddr) -> io::Result<SipSocket> {
        if !address.ip().is_unspecified() {
            let socket = one(address)?;
            return Ok(if address.is_ipv4() { Self::of(Some(socket), None)? } else { Self::of(None, Some(socket))? });
        }
        for _ in 0..TRIES {
            let v4 = one((Ipv4Addr::UNSPECIFIED, address.port()).into())?;
            match one((Ipv6Addr::UNSPECIFIED, v4.local_addr()?.port()).into()) {
                Ok(v6) => return Self::of(Some(v4), Some(v6)),
                Err(taken) if taken.kind() == io::ErrorKind::AddrInUse && address.port() == 0 => {}
                Err(taken) if taken.kind() == io::ErrorKind::AddrInUse => return Err(taken),
                Err(_) => return Self::of(Some(v4), None),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn of(v4: Option<UdpSocket>, v6: Option<UdpSocket>) -> io::Result<SipSocket> {
        let mut bound = Bound { v4: None, v6: None, port: 0 };
        for socket in v4.iter().chain(&v6) {
            let local = socket.local_addr()?;
            bound.port = local.port();
            match local.ip() {
                IpAddr::V4(ip) => bound.v4 = Some(ip),
                IpAddr::V6(ip) => bound.v6 = Some(ip),
            }
        }
        Ok(SipSocket { v4, v6, bound })
    }

    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// The next datagram. An ICMP error of an earlier send is not the socket's end: retransmission timers judge.
    /// Cancel safe.
    pub async fn receive(&self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        loop {
            let socket = tokio::select! {
                socket = readable(&self.v4) => socket,
                socket = readable(&self.v6) => socket,
            };
            match socket.try_recv_from(buffer) {
                Ok(received) => return received,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // Also keeps an error that does not go away from taking the whole core.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    }

    /// Sends without waiting; a full socket drops, as the network would.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket {
            let _ = socket.try_send_to(bytes, to);
        }
    }
}

impl Bound {
    /// The address that packets to `remote` come from.
    ///
    /// # Errors
    /// There is no socket of its family, or no way to it.
    pub(super) fn source(self, remote: SocketAddr) -> io::Result<IpAddr> {
        let ours = match remote {
            SocketAddr::V4(_) => self.v4.map(IpAddr::V4),
            SocketAddr::V6(_) => self.v6.map(IpAddr::V6),
        };
        match ours {
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
            Some(ours) if !ours.is_unspecified() => Ok(ours),
            Some(any) => {
                // Connecting a UDP socket sends nothing; it only makes the kernel choose a route.
                let probe = StdUdpSocket::bind((any, 0))?;
                probe.connect(remote)?;
                Ok(probe.local_addr()?.ip())
            }
        }
    }
}

fn one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

async fn readable(socket: &Option<UdpSocket>) -> &UdpSocket {
    match socket {
        Some(socket) => {
            let _ = socket.readable().await;
            socket
        }
        None => std::future::pending().await,
    }
}
