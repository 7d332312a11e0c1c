//! "How do I reach this host": service records, then addresses (RFC 3263 4.2), then the address we would send from.
//!
//! ```text
//!   Target --port said, address, no service records--> addresses of its host ----.
//!      '--servers, best first (RFC 2782)--> addresses of each, with its port -----+--> those the system has a way to
//! ```

use crate::config;
use crate::io::name_server::NameServers;
use crate::io::sip_socket::Bound;
use crate::random::Rng;
use crate::sip::endpoint::RouteError;
use crate::sip::transport::service::{self, Answer, Kind};
use crate::sip::transport::{Flow, Route, Target};
use std::net::{IpAddr, SocketAddr};

/// Looks routes up; one for each question.
#[derive(Clone)]
pub struct Lookup {
    bound: Bound,
    name_servers: NameServers,
    rng: Rng,
}

/// Ways tried for one target.
const MAX_ROUTES: usize = 16;

impl Lookup {
    pub fn new(config: &config::Sip, bound: Bound, rng: Rng) -> Lookup {
        Lookup { bound, name_servers: NameServers::new(config), rng }
    }

    /// Another one, that draws its own lots among servers of equal rank.
    pub fn fork(&mut self) -> Lookup {
        Lookup { bound: self.bound, name_servers: self.name_servers.clone(), rng: self.rng.fork() }
    }

    /// The ways to `target`, best first.
    ///
    /// # Errors
    /// Nobody knows the host, or the system has no way to any of its addresses.
    pub async fn routes(mut self, target: &Target) -> Result<Vec<Route>, RouteError> {
        let remotes = self.remotes(target).await;
        if remotes.is_empty() {
            return Err(RouteError::UnknownHost);
        }
        let route = |remote| {
            let local = self.bound.source(remote).ok()?;
            Some(Route { flow: Flow { transport: target.transport, remote }, local })
        };
        match remotes.into_iter().filter_map(route).take(MAX_ROUTES).collect::<Vec<_>>() {
            routes if routes.is_empty() => Err(RouteError::Unreachable),
            routes => Ok(routes),
        }
    }

    async fn remotes(&mut self, target: &Target) -> Vec<SocketAddr> {
        let answer = match service::service(target) {
            Some(name) => self.name_servers.ask(&name, Kind::Service).await,
            None => Answer::Nothing,
        };
        match answer {
            Answer::Servers(servers) => {
                let mut remotes = Vec::new();
                for server in service::order(servers, &mut self.rng) {
                    remotes.extend(self.addresses(&server.host, server.port).await);
                }
                remotes
            }
            Answer::Refused => Vec::new(),
            Answer::Nothing | Answer::Failed | Answer::Truncated | Answer::Addresses(_) => {
                self.addresses(&target.host, target.port_or_default()).await
            }
        }
    }

    /// As the system knows them, in its order (RFC 6724), unless the configuration says whom to ask.
    async fn addresses(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return vec![SocketAddr::new(ip, port)];
        }
        if !self.name_servers.are_configured() {
            return tokio::net::lookup_host((host, port)).await.map(Iterator::collect).unwrap_or_default();
        }
        let (v6, v4) = tokio::join!(self.name_servers.ask(host, Kind::V6), self.name_servers.ask(host, Kind::V4));
        let found = [v6, v4].into_iter().flat_map(|answer| match answer {
            Answer::Addresses(addresses) => addresses,
            Answer::Servers(_) | Answer::Nothing | Answer::Refused | Answer::Truncated | Answer::Failed => Vec::new(),
        });
        found.map(|ip| SocketAddr::new(ip, port)).collect()
    }
}
