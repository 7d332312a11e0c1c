//! The UDP socket of the SIP endpoint, and the answer to "how do I reach this host".

use crate::sip::endpoint::RouteError;
use crate::sip::transport::{Flow, Route, Target};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use tokio::net::UdpSocket;

/// Largest datagram UDP can carry; a SIP message is never cut by us.
pub const DATAGRAM: usize = 65_535;

pub struct SipSocket {
    socket: UdpSocket,
}

impl SipSocket {
    /// # Errors
    /// The address is not ours, or the port is taken.
    pub async fn bind(address: SocketAddr) -> io::Result<SipSocket> {
        Ok(SipSocket { socket: UdpSocket::bind(address).await? })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next datagram. An ICMP error of an earlier send is not the socket's end: retransmission timers judge.
    pub async fn receive(&self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        loop {
            match self.socket.recv_from(buffer).await {
                Ok(received) => return received,
                // Also keeps an error that does not go away from taking the whole core.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    }

    /// Sends without waiting; a full socket drops, as the network would.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let _ = self.socket.try_send_to(bytes, to);
    }
}

/// Resolves `target` in the address family of `bound` and asks the system which local address it would send from.
pub async fn routes(bound: SocketAddr, target: &Target) -> Result<Vec<Route>, RouteError> {
    let remotes = tokio::net::lookup_host((target.host.as_str(), target.port_or_default()))
        .await
        .map_err(|_| RouteError::UnknownHost)?
        .filter(|address| address.is_ipv4() == bound.is_ipv4());
    let mut found = Err(RouteError::UnknownHost);
    for remote in remotes {
        let local = if bound.ip().is_unspecified() { source_address(remote) } else { Ok(bound.ip()) };
        let flow = Flow { transport: target.transport, remote };
        match (local, &mut found) {
            (Ok(local), Ok(routes)) => Vec::push(routes, Route { flow, local }),
            (Ok(local), Err(_)) => found = Ok(vec![Route { flow, local }]),
            (Err(_), Ok(_)) => {}
            (Err(_), Err(error)) => *error = RouteError::Unreachable,
        }
    }
    found
}

/// Connecting a UDP socket sends nothing; it only makes the kernel choose a route.
fn source_address(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = StdUdpSocket::bind((any, 0))?;
    probe.connect(remote)?;
    Ok(probe.local_addr()?.ip())
}
