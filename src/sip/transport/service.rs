//! Service records: the servers behind a name that says no port (RFC 3263 4.2, RFC 2782), and the DNS messages that
//! tell them (RFC 1035).
//!
//! ```text
//!   Target --service--> _sip._udp.name --question--> bytes ... bytes --answer--> Servers --order--> best first
//! ```
//!
//! Which transport carries a request is configured or said by the URI, never looked up: there is no NAPTR here. Names
//! without a dot are known to the system (`/etc/hosts`) or to nobody.

use super::{Target, Transport};
use crate::random::Rng;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a question is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// SRV.
    Service,
    /// A.
    V4,
    /// AAAA.
    V6,
}

/// One server of a service; `host` may hold nothing but letters, digits, `-`, `_` and dots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// The lowest comes first.
    pub priority: u16,
    /// Its share among those of one priority.
    pub weight: u16,
    pub port: u16,
    pub host: String,
}

/// What a name server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Servers(Vec<Server>),
    Addresses(Vec<IpAddr>),
    /// The name is not there, or has nothing of that kind.
    Nothing,
    /// The name has decidedly no such service: its one record points to the root (RFC 2782, "Target").
    Refused,
    /// It does not fit a datagram: ask over TCP (RFC 7766 5).
    Truncated,
    /// This name server cannot say; another one may.
    Failed,
}

/// Records taken from one answer.
const MAX_RECORDS: usize = 8;
/// Records that an answer may claim in one section: memory is reserved for them before they are looked at.
const MAX_CLAIMED: u16 = 256;

/// The name whose SRV records tell the servers of `target`; None: its port is said, or it is no name, or its transport
/// has none (RFC 7118 7: a WebSocket has a URL).
pub fn service(target: &Target) -> Option<String> {
    let host = target.host.trim_end_matches('.');
    if target.port.is_some() || host.parse::<IpAddr>().is_ok() || !host.contains('.') {
        return None;
    }
    match target.transport {
        Transport::Udp => Some(format!("_sip._udp.{host}")),
        Transport::Tcp => Some(format!("_sip._tcp.{host}")),
        Transport::Tls => Some(format!("_sips._tcp.{host}")),
        Transport::Ws | Transport::Wss => None,
    }
}

/// The datagram that asks. None: `name` is none.
pub fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(name).ok()?, kind.code().into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// What `bytes` answer to that question; None: they answer another one, or none.
pub fn answer(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Option<Answer> {
    let claims = bytes.get(4..12)?.chunks(2).map(|count| u16::from_be_bytes([count[0], count[1]]));
    if claims.into_iter().any(|count| count > MAX_CLAIMED) {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    let asked = packet.questions.first()?;
    let ours = Name::new(name).is_ok_and(|name| name == asked.qname) && asked.qtype == kind.code().into();
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !ours {
        return None;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(Answer::Truncated);
    }
    // Every other answer, NXDOMAIN and "no such records" among them, is the same from the next name server.
    if !matches!(packet.rcode(), RCODE::NoError | RCODE::NameError) {
        return Some(Answer::Failed);
    }
    Some(match kind {
        Kind::Service => servers(&packet),
        Kind::V4 | Kind::V6 => match addresses(&packet, kind) {
            addresses if addresses.is_empty() => Answer::Nothing,
            addresses => Answer::Addresses(addresses),
        },
    })
}

/// The order of RFC 2782: by priority, and within one by chance in proportion to the weights.
pub fn order(mut servers: Vec<Server>, rng: &mut Rng) -> Vec<Server> {
    // Those without weight come first in the draw, so that they have a small chance.
    servers.sort_by_key(|server| (server.priority, server.weight));
    let mut ordered = Vec::with_capacity(servers.len());
    while let Some(priority) = servers.first().map(|server| server.priority) {
        let group = servers.iter().take_while(|server| server.priority == priority);
        let weights: Vec<u64> = group.map(|server| server.weight.into()).collect();
        let mut drawn = rng.below(weights.iter().sum::<u64>() + 1);
        let at = weights.iter().position(|weight| match drawn.checked_sub(*weight) {
            None | Some(0) => true,
            Some(rest) => {
                drawn = rest;
                false
            }
        });
        ordered.push(servers.remove(at.unwrap_or(0)));
    }
    ordered
}

impl Kind {
    fn code(self) -> TYPE {
        match self {
            Kind::Service => TYPE::SRV,
            Kind::V4 => TYPE::A,
            Kind::V6 => TYPE::AAAA,
        }
    }
}

/// A chain of aliases stands before them in the answer; they count by their kind.
#[allow(clippy::wildcard_enum_match_arm)] // of the many kinds of record there are, one
fn servers(packet: &Packet<'_>) -> Answer {
    let records = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::SRV(service) => Some((service, service.target.to_string())),
        _ => None,
    });
    let records: Vec<_> = records.take(MAX_RECORDS).collect();
    if !records.is_empty() && records.iter().all(|(_, host)| host.is_empty()) {
        return Answer::Refused;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good =
        records.into_iter().filter(|(record, host)| record.port != 0 && !host.is_empty() && host.chars().all(plain));
    let servers =
        good.map(|(record, host)| Server { priority: record.priority, weight: record.weight, port: record.port, host });
    match servers.collect::<Vec<_>>() {
        servers if servers.is_empty() => Answer::Nothing,
        servers => Answer::Servers(servers),
    }
}

#[allow(clippy::wildcard_enum_match_arm)]
fn addresses(packet: &Packet<'_>, kind: Kind) -> Vec<IpAddr> {
    let addresses = packet.answers.iter().filter_map(|record| match (&record.rdata, kind) {
        (RData::A(a), Kind::V4) => Some(IpAddr::from(Ipv4Addr::from(a.address))),
        (RData::AAAA(a), Kind::V6) => Some(IpAddr::from(Ipv6Addr::from(a.address))),
        _ => None,
    });
    addresses.take(MAX_RECORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, CNAME, SRV};

    fn target(host: &str, port: Option<u16>, transport: Transport) -> Target {
        Target { host: host.into(), port, transport }
    }

    fn server(priority: u16, weight: u16, host: &str) -> Server {
        Server { priority, weight, port: 5060, host: host.into() }
    }

    const NAME: &str = "_sip._udp.example.com";

    fn reply(id: u16, change: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        packet.questions.push(Question::new(Name::new_unchecked(NAME), TYPE::SRV.into(), CLASS::IN.into(), false));
        change(&mut packet);
        packet.build_bytes_vec().unwrap()
    }

    fn srv(priority: u16, weight: u16, port: u16, target: &'static str) -> ResourceRecord<'static> {
        let target = Name::new_unchecked(target);
        let data = RData::SRV(SRV { priority, weight, port, target });
        ResourceRecord::new(Name::new_unchecked(NAME), CLASS::IN, 60, data)
    }

    #[test]
    fn only_a_name_without_a_port_has_services() {
        let rows = [
            (target("example.com", None, Transport::Udp), Some("_sip._udp.example.com")),
            (target("example.com.", None, Transport::Tcp), Some("_sip._tcp.example.com")),
            (target("example.com", None, Transport::Tls), Some("_sips._tcp.example.com")),
            (target("example.com", None, Transport::Ws), None),
            (target("example.com", Some(5060), Transport::Udp), None),
            (target("192.0.2.9", None, Transport::Udp), None),
            (target("2001:db8::9", None, Transport::Udp), None),
            (target("mixer", None, Transport::Udp), None),
        ];
        for (target, name) in rows {
            assert_eq!(service(&target).as_deref(), name, "{target:?}");
        }
    }

    #[test]
    fn a_question_reads_as_one() {
        let bytes = question(0x1234, NAME, Kind::Service).unwrap();
        assert_eq!(&bytes[..6], [0x12, 0x34, 1, 0, 0, 1], "recursion is wanted");
        assert!(bytes.ends_with(b"\x03com\x00\x00\x21\x00\x01"));
        assert_eq!(question(1, &"x".repeat(64), Kind::V4), None);
        assert_eq!(answer(&bytes, 0x1234, NAME, Kind::Service), None, "our own question is no answer");
    }

    #[test]
    fn an_answer_is_believed_by_id_and_question() {
        let bytes = reply(7, |packet| packet.answers.push(srv(1, 2, 5070, "a.example.com")));
        let found = Server { priority: 1, weight: 2, port: 5070, host: "a.example.com".into() };
        assert_eq!(answer(&bytes, 7, NAME, Kind::Service), Some(Answer::Servers(vec![found])));
        assert_eq!(answer(&bytes, 8, NAME, Kind::Service), None);
        assert_eq!(answer(&bytes, 7, "_sip._udp.example.org", Kind::Service), None);
        assert_eq!(answer(&bytes, 7, NAME, Kind::V4), None);
        assert!(answer(&bytes, 7, &NAME.to_uppercase(), Kind::Service).is_some());
    }

    #[test]
    fn refusals_and_failures_are_told_apart() {
        let nothing = reply(7, |packet| *packet.rcode_mut() = RCODE::NameError);
        assert_eq!(answer(&nothing, 7, NAME, Kind::Service), Some(Answer::Nothing));
        let failed = reply(7, |packet| *packet.rcode_mut() = RCODE::ServerFailure);
        assert_eq!(answer(&failed, 7, NAME, Kind::Service), Some(Answer::Failed));
        let cut = reply(7, |packet| packet.set_flags(PacketFlag::TRUNCATION));
        assert_eq!(answer(&cut, 7, NAME, Kind::Service), Some(Answer::Truncated));
        let root = reply(7, |packet| packet.answers.push(srv(0, 0, 0, "")));
        assert_eq!(answer(&root, 7, NAME, Kind::Service), Some(Answer::Refused));
        let odd = reply(7, |packet| packet.answers.push(srv(0, 0, 5060, "a b.example")));
        assert_eq!(answer(&odd, 7, NAME, Kind::Service), Some(Answer::Nothing), "no host has a space");
    }

    #[test]
    fn aliases_are_passed_over_and_records_are_bounded() {
        let name = "host.example";
        let mut packet = Packet::new_reply(9);
        packet.questions.push(Question::new(Name::new_unchecked(name), TYPE::A.into(), CLASS::IN.into(), false));
        let alias = RData::CNAME(CNAME(Name::new_unchecked("other.example")));
        packet.answers.push(ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 60, alias));
        for last in 1..=20 {
            let data = RData::A(A::from(Ipv4Addr::new(192, 0, 2, last)));
            packet.answers.push(ResourceRecord::new(Name::new_unchecked("other.example"), CLASS::IN, 60, data));
        }
        match answer(&packet.build_bytes_vec().unwrap(), 9, name, Kind::V4) {
            Some(Answer::Addresses(addresses)) => {
                assert_eq!((addresses[0], addresses.len()), (IpAddr::from([192, 0, 2, 1]), MAX_RECORDS));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn priorities_first_and_weights_by_chance() {
        let mut rng = Rng::from_u64(1);
        let servers = || {
            vec![server(20, 0, "spare"), server(10, 60, "big"), server(10, 20, "small"), server(10, 0, "never-quite")]
        };
        let (mut big, mut none) = (0, 0);
        for _ in 0..10_000 {
            let ordered = order(servers(), &mut rng);
            assert_eq!((ordered.len(), ordered[3].host.as_str()), (4, "spare"));
            big += u32::from(ordered[0].host == "big");
            none += u32::from(ordered[0].host == "never-quite");
        }
        assert!((7_100..7_800).contains(&big), "60 of 81: {big}");
        assert!((60..250).contains(&none), "1 of 81: {none}");
        assert_eq!(order(Vec::new(), &mut rng), []);
        let heavy = (0..8).map(|_| server(u16::MAX, u16::MAX, "x")).collect();
        assert_eq!(order(heavy, &mut rng).len(), 8);
    }

    #[test]
    fn any_bytes_are_survived() {
        let whole = reply(7, |packet| {
            packet.answers.push(srv(1, 2, 5070, "a.example.com"));
            packet.answers.push(srv(1, 2, 5071, "b.example.com"));
        });
        for at in 0..whole.len() {
            answer(&whole[..at], 7, NAME, Kind::Service);
            for value in [0, 1, 0x3f, 0xc0, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                answer(&broken, 7, NAME, Kind::Service);
            }
        }
        let mut boastful = whole;
        boastful[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
        assert_eq!(answer(&boastful, 7, NAME, Kind::Service), None);
    }
}
