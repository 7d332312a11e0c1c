//! A little name server on loopback, over UDP and TCP: it knows what it is told, and can be made slow or broken.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a name may have.
#[derive(Clone, Debug)]
pub enum Record {
    Address(IpAddr),
    Service { priority: u16, weight: u16, port: u16, host: String },
}

/// How the server behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    Good,
    /// By datagram it only says that the answer does not fit.
    Truncating,
    /// SERVFAIL.
    Failing,
    Silent,
    /// First somebody else who has to guess the number says that there is no such name.
    Forged,
}

/// A running server. Dropping it ends it.
pub struct NameServer {
    pub address: SocketAddr,
    questions: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

type Zone = BTreeMap<String, Vec<Record>>;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const LISTEN: Duration = Duration::from_millis(20);

impl NameServer {
    /// # Errors
    /// No socket on loopback.
    pub fn start(manner: Manner, zone: &[(&str, Record)]) -> io::Result<NameServer> {
        let (datagrams, streams) = one_port()?;
        let address = datagrams.local_addr()?;
        datagrams.set_read_timeout(Some(LISTEN))?;
        streams.set_nonblocking(true)?;
        let mut names = Zone::new();
        for (name, record) in zone {
            names.entry(name.to_lowercase()).or_default().push(record.clone());
        }
        let (questions, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (asked, stop, zone) = (questions.clone(), over.clone(), names.clone());
        let by_datagram = std::thread::spawn(move || {
            let mut buffer = [0; 1_024];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = datagrams.recv_from(&mut buffer) else { continue };
                let question = &buffer[..length];
                asked.lock().expect("nobody panics with it").extend(asked_for(question).map(|(name, _, _)| name));
                if manner == Manner::Silent {
                    continue;
                }
                let Some(reply) = reply(question, &zone, manner) else { continue };
                if manner == Manner::Forged {
                    let _ = datagrams.send_to(&forged(question), from);
                }
                let _ = datagrams.send_to(&reply, from);
            }
        });
        let stop = over.clone();
        let by_stream = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match streams.accept() {
                    Ok((mut stream, _)) => drop(serve(&mut stream, &names)),
                    Err(_) => std::thread::sleep(LISTEN),
                }
            }
        });
        Ok(NameServer { address, questions, over, threads: vec![by_datagram, by_stream] })
    }

    /// Every name that was asked for by datagram.
    pub fn questions(&self) -> Vec<String> {
        self.questions.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn serve(stream: &mut std::net::TcpStream, zone: &Zone) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut question = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut question)?;
    let reply = reply(&question, zone, Manner::Good).unwrap_or_default();
    stream.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat())
}

/// Name, type, and where the question ends (RFC 1035 4.1.2).
fn asked_for(bytes: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(bytes.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

fn reply(question: &[u8], zone: &Zone, manner: Manner) -> Option<Vec<u8>> {
    let (name, kind, end) = asked_for(question)?;
    let records = zone.get(&name);
    let answers: Vec<Vec<u8>> = records.into_iter().flatten().filter_map(|record| data(record, kind)).collect();
    let (flags, code, answers) = match manner {
        Manner::Truncating => (0x86, 0x80, Vec::new()),
        Manner::Failing => (0x84, 0x82, Vec::new()),
        Manner::Good | Manner::Silent | Manner::Forged => (0x84, if records.is_some() { 0x80 } else { 0x83 }, answers),
    };
    let mut bytes = question.get(..2)?.to_vec();
    bytes.extend([flags, code, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0]);
    bytes.extend(question.get(12..end)?);
    for data in answers {
        // The name is a pointer to the question's.
        bytes.extend([0xc0, 12]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    Some(bytes)
}

fn forged(question: &[u8]) -> Vec<u8> {
    let mut bytes = reply(question, &Zone::new(), Manner::Good).unwrap_or_default();
    bytes.iter_mut().take(2).for_each(|byte| *byte = !*byte);
    bytes
}

fn data(record: &Record, kind: u16) -> Option<Vec<u8>> {
    match (record, kind) {
        (Record::Address(IpAddr::V4(ip)), A) => Some(ip.octets().to_vec()),
        (Record::Address(IpAddr::V6(ip)), AAAA) => Some(ip.octets().to_vec()),
        (Record::Service { priority, weight, port, host }, SRV) => {
            let mut bytes: Vec<u8> = [priority, weight, port].into_iter().flat_map(|n| n.to_be_bytes()).collect();
            for label in host.split('.').filter(|label| !label.is_empty()) {
                bytes.push(label.len() as u8);
                bytes.extend(label.as_bytes());
            }
            bytes.push(0);
            Some(bytes)
        }
        (Record::Address(_) | Record::Service { .. }, _) => None,
    }
}

/// Both kinds of socket at one port: where the other kind has it already, another is taken.
fn one_port() -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let datagrams = UdpSocket::bind("127.0.0.1:0")?;
        match TcpListener::bind(datagrams.local_addr()?) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && tries < 32 => tries += 1,
            streams => return Ok((datagrams, streams?)),
        }
    }
}
