//! Says when the network comes up or changes: the kernel's news of links, addresses and routes (rtnetlink(7)).
//!
//! Only what was not there before is [`News::Up`]. A router repeats its advertisements, and the kernel its messages, for as long
//! as all is well; what to do about real news is decided in `qss/session.rs`. What goes, and routes, may mean that
//! packets leave from another address: `sip/moving.rs` asks which.

use crate::io::sys;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// More interfaces or addresses than any device has; beyond it all are news again.
const MOST_KNOWN: usize = 256;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
/// Of `struct rtmsg`: the table that is not local.
const RT_TABLE_MAIN: u8 = 254;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFF_RUNNING: u32 = 1 << 6;
const IFA_ADDRESS: u16 = 1;
const IFA_F_TENTATIVE: u8 = 0x40;
/// Link-local, host and nowhere reach no QSS.
const RT_SCOPE_LINK: u8 = 253;

/// What the kernel says, in its order of weight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum News {
    /// Something is gone, or goes another way.
    Changed,
    /// Something has come up.
    Up,
}

/// The socket, and what is known of the network.
pub(super) struct Network {
    ready: AsyncFd<OwnedFd>,
    socket: File,
    known: Known,
}

impl Network {
    /// # Errors
    /// A system without netlink, or that forbids it.
    pub(super) fn watch() -> io::Result<Network> {
        let socket = sys::route_news()?;
        let file = File::from(socket.try_clone()?);
        Ok(Network { ready: sys::readable(socket)?, socket: file, known: Known::default() })
    }

    /// Cancel safe.
    pub(super) async fn next(&mut self) -> News {
        let mut buffer = [0; 8 * 1024];
        loop {
            let Ok(mut guard) = self.ready.readable().await else { return std::future::pending().await };
            match self.socket.read(&mut buffer) {
                Ok(length) => {
                    if let Some(news) = self.known.news(&buffer[..length]) {
                        return news;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                // Some messages were lost (ENOBUFS): among them may be the one that matters.
                Err(_) => return News::Up,
            }
        }
    }
}

/// What was said to be there.
#[derive(Debug, Default)]
struct Known {
    /// Interfaces by index, and whether they run.
    links: BTreeMap<u32, Runs>,
    /// Interface and address.
    addresses: BTreeSet<(u32, Vec<u8>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Runs {
    Yes,
    No,
}

impl Known {
    /// Takes in one datagram of messages. The weightiest counts.
    fn news(&mut self, mut datagram: &[u8]) -> Option<News> {
        let mut news = None;
        while let Some((kind, body, rest)) = message(datagram) {
            news = news.max(match kind {
                RTM_NEWLINK => self.link(body).then_some(News::Up),
                RTM_NEWADDR => self.address(body).then_some(News::Up),
                RTM_DELLINK => {
                    self.links.retain(|link, _| number(body, 4) != Some(*link));
                    None
                }
                RTM_DELADDR => {
                    self.addresses.retain(|known| address(body).as_ref() != Some(known));
                    address(body).map(|_| News::Changed)
                }
                // `struct rtmsg`: family, two prefixes, type of service, table ...
                RTM_NEWROUTE | RTM_DELROUTE => (body.get(4) == Some(&RT_TABLE_MAIN)).then_some(News::Changed),
                _ => None,
            });
            datagram = rest;
        }
        news
    }

    /// `struct ifinfomsg`: family, type, index, flags, change.
    fn link(&mut self, body: &[u8]) -> bool {
        let (Some(index), Some(flags)) = (number(body, 4), number(body, 8)) else { return false };
        if flags & IFF_LOOPBACK != 0 {
            return false;
        }
        let runs = if flags & IFF_RUNNING != 0 { Runs::Yes } else { Runs::No };
        if self.links.len() >= MOST_KNOWN {
            self.links.clear();
        }
        let before = self.links.insert(index, runs);
        runs == Runs::Yes && before != Some(Runs::Yes)
    }

    /// `struct ifaddrmsg`: family, prefix, flags, scope, index; then attributes.
    fn address(&mut self, body: &[u8]) -> bool {
        let usable = matches!(body, [_, _, flags, scope, ..] if flags & IFA_F_TENTATIVE == 0 && *scope < RT_SCOPE_LINK);
        let Some(address) = address(body).filter(|_| usable) else { return false };
        if self.addresses.len() >= MOST_KNOWN {
            self.addresses.clear();
        }
        self.addresses.insert(address)
    }
}

/// The first message of a datagram: its type, its body, and what follows (`struct nlmsghdr`, aligned to 4).
fn message(datagram: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = number(datagram, 0)? as usize;
    let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
    let body = datagram.get(16..length)?;
    Some((kind, body, datagram.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Interface and address of an `ifaddrmsg`.
fn address(body: &[u8]) -> Option<(u32, Vec<u8>)> {
    let (index, mut attributes) = (number(body, 4)?, body.get(8..)?);
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..length)?;
        if kind == IFA_ADDRESS {
            return Some((index, value.to_vec()));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    fn link(kind: u16, index: u32, flags: u32) -> Vec<u8> {
        datagram(kind, &[[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), [0; 4]].concat())
    }

    fn inet(kind: u16, flags: u8, scope: u8, last: u8) -> Vec<u8> {
        let attributes =
            [8u16.to_ne_bytes(), 3u16.to_ne_bytes(), *b"et", *b"h0", 8u16.to_ne_bytes(), 1u16.to_ne_bytes()];
        let body = [&[2, 24, flags, scope, 2, 0, 0, 0], attributes.concat().as_slice(), &[192, 0, 2, last]].concat();
        datagram(kind, &body)
    }

    const UP: Option<News> = Some(News::Up);
    const CHANGED: Option<News> = Some(News::Changed);

    #[test]
    fn a_cable_that_is_plugged_in_is_news_once() {
        let mut known = Known::default();
        let (up, down) = (link(RTM_NEWLINK, 2, IFF_RUNNING | 1), link(RTM_NEWLINK, 2, 1));
        let rows = [(&up, UP), (&up, None), (&down, None), (&down, None), (&up, UP)];
        assert_eq!(rows.map(|(bytes, _)| known.news(bytes)), rows.map(|(_, news)| news));
        assert_eq!(known.news(&link(RTM_NEWLINK, 1, IFF_RUNNING | IFF_LOOPBACK)), None);
        known.news(&link(RTM_DELLINK, 2, 0));
        assert_eq!(known.news(&up), UP, "an adapter that was pulled and is back");
        assert_eq!(known.news(&[down.clone(), up].concat()), UP, "both in one datagram");
    }

    #[test]
    fn an_address_is_news_once_and_again_after_it_was_lost() {
        let mut known = Known::default();
        assert_eq!(known.news(&inet(RTM_NEWADDR, IFA_F_TENTATIVE, 0, 7)), None);
        assert_eq!(known.news(&inet(RTM_NEWADDR, 0, RT_SCOPE_LINK, 7)), None);
        assert_eq!(known.news(&inet(RTM_NEWADDR, 0, 0, 7)), UP);
        assert_eq!(known.news(&inet(RTM_NEWADDR, 0, 0, 7)), None, "a lease renewed");
        assert_eq!(known.news(&inet(RTM_NEWADDR, 0, 0, 8)), UP);
        assert_eq!(known.news(&inet(RTM_DELADDR, 0, 0, 7)), CHANGED);
        assert_eq!(known.news(&inet(RTM_NEWADDR, 0, 0, 7)), UP);
        let both = [inet(RTM_DELADDR, 0, 0, 7), inet(RTM_NEWADDR, 0, 0, 7)].concat();
        assert_eq!(known.news(&both), UP, "what has come up weighs more");
    }

    #[test]
    fn another_route_is_a_change() {
        let route = |kind, table| datagram(kind, &[2, 0, 0, 0, table, 3, 0, 1, 0, 0, 0, 0]);
        let mut known = Known::default();
        assert_eq!(known.news(&route(RTM_NEWROUTE, RT_TABLE_MAIN)), CHANGED);
        assert_eq!(known.news(&route(RTM_DELROUTE, RT_TABLE_MAIN)), CHANGED);
        assert_eq!(known.news(&route(RTM_NEWROUTE, 255)), None, "an address says that itself");
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut known = Known::default();
        let whole = [inet(RTM_NEWADDR, 0, 0, 7), link(RTM_NEWLINK, 2, IFF_RUNNING)].concat();
        for cut in 0..whole.len() {
            known.news(&whole[..cut]);
            let mut broken = whole.clone();
            for value in [0, 1, 3, 0xff] {
                broken[cut] = value;
                known.news(&broken);
            }
        }
        for index in 0..2_000 {
            known.news(&link(RTM_NEWLINK, index, IFF_RUNNING));
        }
        assert!(known.links.len() <= MOST_KNOWN);
    }
}
