//! How SIP messages travel (RFC 3261 18, RFC 3263, RFC 7118): by what, where to, and what is looked up to know it.
//!
//! ```text
//!   URI --host map, proxy--> Target --Resolve--> Routes, best first --> Flow --Send-->
//! ```

pub(in crate::sip) mod flows;
pub mod service;
pub mod stream;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What carries messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    /// SIP over WebSocket (RFC 7118), plain and over TLS.
    Ws,
    Wss,
}

/// A way to a peer. Where the transport has connections, there is at most one for each flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Flow {
    pub transport: Transport,
    pub remote: SocketAddr,
}

/// What has to be looked up before something can be sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Target {
    /// Name or address; an IPv6 address stands without brackets.
    pub host: String,
    /// None: the URI names none, and the name's service records may (RFC 3263 4.2).
    pub port: Option<u16>,
    pub transport: Transport,
}

/// One way to a [`Target`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    pub flow: Flow,
    /// The local address the system would send from; goes into Via, Contact and SDP.
    pub local: IpAddr,
}

impl Transport {
    /// Of the `transport` parameter of a URI (RFC 3261 19.1.1, RFC 7118 5.3), in any case.
    pub fn of(word: &str) -> Option<Transport> {
        const ALL: [Transport; 5] = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
        ALL.into_iter().find(|transport| transport.token().eq_ignore_ascii_case(word))
    }

    /// As Via writes it.
    pub fn token(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// What is sent arrives, or the connection breaks: nothing is repeated (RFC 3261 17).
    pub fn is_reliable(self) -> bool {
        match self {
            Transport::Udp => false,
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => true,
        }
    }

    /// Nobody between the two ends of a connection can read what it carries.
    pub fn is_protected(self) -> bool {
        match self {
            Transport::Udp | Transport::Tcp | Transport::Ws => false,
            Transport::Tls | Transport::Wss => true,
        }
    }

    /// What a `sips:` URI makes of it (RFC 3261 26.2.2): TLS, under a WebSocket too.
    pub fn secured(self) -> Transport {
        match self {
            Transport::Udp | Transport::Tcp | Transport::Tls => Transport::Tls,
            Transport::Ws | Transport::Wss => Transport::Wss,
        }
    }

    /// RFC 3261 19.1.2, RFC 6455 3.
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }
}

impl Flow {
    /// To look up again how this peer is reached.
    pub fn target(self) -> Target {
        Target { host: self.remote.ip().to_string(), port: Some(self.remote.port()), transport: self.transport }
    }

    pub fn udp(remote: SocketAddr) -> Flow {
        Flow { transport: Transport::Udp, remote }
    }
}

impl Target {
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(self.transport.default_port())
    }

    /// Whether both mean one place. A name without a port may have servers at any port, an address has not.
    pub fn is_same(&self, other: &Target) -> bool {
        let of_one_kind = self.port.is_some() == other.port.is_some() || self.flow().is_some();
        self.transport == other.transport
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port_or_default() == other.port_or_default()
            && of_one_kind
    }

    /// The flow to a target that needs no lookup, because its host is an address.
    pub fn flow(&self) -> Option<Flow> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(Flow { transport: self.transport, remote: SocketAddr::new(ip, self.port_or_default()) })
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport.token(), self.remote)
    }
}
