//! Asks name servers (RFC 1035 4.2, RFC 7766): a datagram with a random number from a random port, TCP for what does not
//! fit one. What is asked, and what an answer means, is said in `sip/transport/service.rs`.

use crate::config;
use crate::sip::transport::service::{Answer, Kind, answer, question};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Whom to ask.
#[derive(Clone, Debug)]
pub(super) struct NameServers {
    /// Of the configuration; none: those of [`SYSTEM`].
    configured: Vec<SocketAddr>,
    patience: Duration,
}

/// Read anew for each question: it changes with the network (resolv.conf(5)).
const SYSTEM: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// As many as the C library asks, each twice.
const MAX_SERVERS: usize = 3;
const ROUNDS: usize = 2;
/// Without EDNS an answer of more than 512 bytes comes by TCP; some servers do not care.
const DATAGRAM: usize = 4_096;
/// Answers to other questions that are thrown away before a server is given up.
const MAX_STRAYS: usize = 32;

impl NameServers {
    pub(super) fn new(config: &config::Sip) -> NameServers {
        let configured = config.nameservers.iter().filter_map(|text| address(text)).collect();
        NameServers { configured, patience: Duration::from_millis(config.dns_timeout.as_millis()) }
    }

    /// Whether the configuration says whom to ask; then they are asked for addresses too.
    pub(super) fn are_configured(&self) -> bool {
        !self.configured.is_empty()
    }

    /// The first answer that says something.
    pub(super) async fn ask(&self, name: &str, kind: Kind) -> Answer {
        let servers = if self.are_configured() { self.configured.clone() } else { system() };
        for server in servers.iter().take(MAX_SERVERS).cycle().take(servers.len().min(MAX_SERVERS) * ROUNDS) {
            match tokio::time::timeout(self.patience, ask(*server, name, kind)).await {
                Ok(Ok(Answer::Failed | Answer::Truncated) | Err(_)) | Err(_) => {}
                Ok(Ok(answer)) => return answer,
            }
        }
        Answer::Failed
    }
}

async fn ask(server: SocketAddr, name: &str, kind: Kind) -> io::Result<Answer> {
    let mut id = [0; 2];
    getrandom::fill(&mut id)?;
    let id = u16::from_ne_bytes(id);
    let question = question(id, name, kind).ok_or(io::ErrorKind::InvalidInput)?;
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut buffer = [0; DATAGRAM];
    for _ in 0..MAX_STRAYS {
        let length = socket.recv(&mut buffer).await?;
        match answer(&buffer[..length], id, name, kind) {
            Some(Answer::Truncated) => return ask_at_length(server, &question, id, name, kind).await,
            Some(answer) => return Ok(answer),
            None => {}
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// By TCP: two bytes of length before each message (RFC 1035 4.2.2).
async fn ask_at_length(server: SocketAddr, question: &[u8], id: u16, name: &str, kind: Kind) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    answer(&bytes, id, name, kind).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn system() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(SYSTEM).unwrap_or_default();
    listed(&text)
}

fn listed(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("nameserver"));
    lines.filter(|rest| rest.starts_with([' ', '\t'])).filter_map(|rest| address(rest.trim())).collect()
}

/// `ip` or `ip:port`, the address of version 6 in brackets then.
fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_lists_its_name_servers_by_line() {
        let text = "# nameserver 192.0.2.1\nnameserver 192.0.2.2 \n search x.example\n\tnameserver\t2001:db8::1\n\
            nameservers 192.0.2.3\nnameserver no-address\n";
        let expected: [SocketAddr; 2] = ["192.0.2.2:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(listed(text), expected);
        assert_eq!(address("192.0.2.2:5300"), Some("192.0.2.2:5300".parse().unwrap()));
    }
}
