//! The mixer's side of offer/answer: what it reads of an offer and what it answers. RFC 3264, RFC 7587.

use std::net::{IpAddr, SocketAddr};

/// What the mixer understood of the peer's description.
#[derive(Clone, PartialEq, Debug)]
pub struct Offer {
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
    pub mux: bool,
    /// The offerer's payload type of Opus: the answer keeps it.
    pub opus: u8,
    /// `telephone-event/48000`.
    pub events: Option<u8>,
    /// The Opus `fmtp` parameters as written.
    pub fmtp: Vec<(String, String)>,
    pub ptime_ms: Option<u32>,
    pub direction: Direction,
    session: String,
}

/// As seen by the one who wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotUsable {
    Malformed,
    /// No Opus, or not over RTP/AVP: 488.
    NotAcceptable,
}

impl Offer {
    pub fn parse(sdp: &str) -> Result<Offer, NotUsable> {
        let lines: Vec<&str> = sdp.lines().map(str::trim_end).collect();
        let audio = lines.iter().position(|line| line.starts_with("m=audio ")).ok_or(NotUsable::NotAcceptable)?;
        let end = lines[audio + 1..].iter().position(|line| line.starts_with("m=")).map(|n| audio + 1 + n);
        let media = &lines[audio..end.unwrap_or(lines.len())];
        let fields: Vec<&str> = media[0].split(' ').collect();
        let [_, port, profile, types @ ..] = fields.as_slice() else { return Err(NotUsable::Malformed) };
        if *profile != "RTP/AVP" {
            return Err(NotUsable::NotAcceptable);
        }
        let port: u16 = port.parse().map_err(|_| NotUsable::Malformed)?;
        let session = &lines[..audio];
        let connection = media.iter().chain(session).find_map(|line| line.strip_prefix("c=IN IP4 "));
        let ip: IpAddr = connection.and_then(|ip| ip.trim().parse().ok()).ok_or(NotUsable::Malformed)?;
        let attribute = |name: &str| media.iter().find_map(|line| line.strip_prefix(name).map(str::trim));
        let payload_type = |codec: &str| {
            media.iter().find_map(|line| {
                let (number, name) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
                let same = name.trim().to_ascii_lowercase().starts_with(codec);
                (same && types.contains(&number)).then(|| number.parse().ok()).flatten()
            })
        };
        let opus: u8 = payload_type("opus/48000").ok_or(NotUsable::NotAcceptable)?;
        let fmtp = attribute(&format!("a=fmtp:{opus} ")).unwrap_or_default().split(';').filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim().to_string(), value.trim().to_string()))
        });
        let flag = |name: &str| media.contains(&name) || session.contains(&name);
        let direction = match () {
            () if ip.is_unspecified() || flag("a=inactive") => Direction::Inactive,
            () if flag("a=sendonly") => Direction::SendOnly,
            () if flag("a=recvonly") => Direction::RecvOnly,
            () => Direction::SendRecv,
        };
        let mux = flag("a=rtcp-mux");
        let rtcp_port = attribute("a=rtcp:").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let rtcp_port = if mux { port } else { rtcp_port.unwrap_or(port.wrapping_add(1)) };
        let origin = session.iter().find_map(|line| line.strip_prefix("o="));
        Ok(Offer {
            rtp: SocketAddr::new(ip, port),
            rtcp: SocketAddr::new(ip, rtcp_port),
            mux,
            opus,
            events: payload_type("telephone-event/48000"),
            fmtp: fmtp.collect(),
            ptime_ms: attribute("a=ptime:").and_then(|ms| ms.parse().ok()),
            direction,
            session: origin.and_then(|origin| origin.split(' ').nth(1)).unwrap_or("1").to_string(),
        })
    }

    pub fn fmtp(&self, name: &str) -> Option<&str> {
        self.fmtp.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Packet time the mixer will send: what the peer wishes, of what it can do.
    pub fn send_ptime_ms(&self) -> u32 {
        match self.ptime_ms {
            Some(40) => 40,
            Some(60) => 60,
            _ => 20,
        }
    }

    /// The answer: like Asterisk it repeats the parameters it honours and leaves out the others.
    pub fn answer(&self, ip: IpAddr, port: u16, mux: bool, version: u32) -> String {
        let mut types = self.opus.to_string();
        let mut lines = format!("a=rtpmap:{} opus/48000/2\r\n", self.opus);
        let honoured = ["maxaveragebitrate", "maxplaybackrate", "cbr", "usedtx"];
        let echoed: Vec<String> = self
            .fmtp
            .iter()
            .filter(|(key, _)| honoured.contains(&key.as_str()))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        if !echoed.is_empty() {
            lines.push_str(&format!("a=fmtp:{} {}\r\n", self.opus, echoed.join(";")));
        }
        if let Some(events) = self.events {
            types.push_str(&format!(" {events}"));
            lines.push_str(&format!("a=rtpmap:{events} telephone-event/48000\r\na=fmtp:{events} 0-16\r\n"));
        }
        if self.mux && mux {
            lines.push_str("a=rtcp-mux\r\n");
        }
        lines.push_str(&format!("a=ptime:{}\r\na=maxptime:60\r\n", self.send_ptime_ms()));
        lines.push_str(match self.direction {
            Direction::SendRecv => "a=sendrecv\r\n",
            Direction::SendOnly => "a=recvonly\r\n",
            Direction::RecvOnly => "a=sendonly\r\n",
            Direction::Inactive => "a=inactive\r\n",
        });
        format!("{}m=audio {port} RTP/AVP {types}\r\n{lines}", head(ip, &self.session, version))
    }
}

/// The mixer's own offer, for an INVITE that came without one. It names Opus 107, as Asterisk does.
pub fn own_offer(ip: IpAddr, port: u16, version: u32) -> String {
    format!(
        "{}m=audio {port} RTP/AVP 107\r\na=rtpmap:107 opus/48000/2\r\na=ptime:20\r\na=maxptime:60\r\na=sendrecv\r\n",
        head(ip, "1", version)
    )
}

fn head(ip: IpAddr, session: &str, version: u32) -> String {
    format!("v=0\r\no=- {session} {version} IN IP4 {ip}\r\ns=lab-mixer\r\nc=IN IP4 {ip}\r\nt=0 0\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 77 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 96 0 101\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1; maxaveragebitrate=16000\r\n\
        a=rtpmap:101 telephone-event/48000\r\na=ptime:60\r\n";

    #[test]
    fn the_answer_keeps_the_payload_type_and_the_cap() {
        let offer = Offer::parse(OFFER).expect("usable");
        assert_eq!((offer.opus, offer.events, offer.send_ptime_ms()), (96, Some(101), 60));
        assert_eq!(offer.rtcp.port(), 4001);
        let answer = offer.answer(IpAddr::from([127, 0, 0, 1]), 5000, true, 2);
        assert!(answer.contains("m=audio 5000 RTP/AVP 96 101\r\n"), "{answer}");
        assert!(answer.contains("a=fmtp:96 maxaveragebitrate=16000\r\n"), "{answer}");
        assert!(answer.contains("a=sendrecv\r\n") && !answer.contains("rtcp-mux"), "{answer}");
    }

    #[test]
    fn hold_is_answered_and_foreign_offers_are_refused() {
        let hold = Offer::parse(&format!("{OFFER}a=sendonly\r\n")).expect("usable");
        assert!(hold.answer(IpAddr::from([127, 0, 0, 1]), 5000, true, 2).contains("a=recvonly\r\n"));
        assert_eq!(Offer::parse(&OFFER.replace("opus", "speex")), Err(NotUsable::NotAcceptable));
        assert_eq!(Offer::parse(&OFFER.replace("RTP/AVP", "RTP/SAVPF")), Err(NotUsable::NotAcceptable));
        assert_eq!(Offer::parse(&OFFER.replace("c=IN IP4 10.0.0.9", "c=?")), Err(NotUsable::Malformed));
    }
}
