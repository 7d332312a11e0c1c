//! Offer/answer over the life of one call (RFC 3264): our session id and version, the payload types and keys we hold to,
//! and what the two sides agreed on.

use super::description::{self, Description, Direction, EVENT_CLOCKS, EventType, Ours, Profile, Stream};
use super::security::{Line, Protection};
use super::{Error, Local, Negotiated};
use crate::dtmf::TelephoneEvent;
use crate::rtp::red::Redundancy;
use crate::rtp::xr::{Asked, RoundTrip};
use crate::srtp::Keys;
use std::net::IpAddr;

/// Our end of the negotiation.
#[derive(Clone, Debug)]
pub struct Negotiation {
    session_id: u64,
    /// Version of `o=` in `last`.
    version: u64,
    address: IpAddr,
    local: Local,
    /// Boxed: it is larger than all the rest.
    protection: Box<Protection>,
    agreed: Agreed,
    /// The `a=crypto` lines of our last offer: until its answer is settled, each fork may choose another one.
    offered: Vec<Line>,
    /// Payload types we announce; kept from one offer to the next (RFC 3264 8.3.2).
    opus: u8,
    /// One for each of [`EVENT_CLOCKS`].
    events: [EventType; 2],
    /// Of copies (RFC 2198).
    red: u8,
    /// The `m=` lines of the peer's last offer: ours has the same ones in the same places (RFC 3264 8). Empty: it made none.
    streams: Vec<Stream>,
    /// The extended reports that our next description asks for.
    wanted: Option<&'static str>,
    /// The description sent last, to see whether the next one differs.
    last: Vec<u8>,
}

/// What protects the stream since the last answer. Offers repeat it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Agreed {
    Nothing,
    Plain,
    /// Our `a=crypto` line: while it is the same, key and packet index go on (RFC 4568 7.1.4).
    Protected(Line),
}

/// Extended reports that we ask for (RFC 3611 5.1).
const WANTED: &str = "rcvr-rtt=all voip-metrics";
/// Of somebody who takes no part in round trips.
const WANTED_OF_ONE: &str = "voip-metrics";

/// The first of the dynamic payload types (RFC 3551 6); those of events follow, and that of copies.
const OPUS: u8 = 96;
const RED: u8 = 99;

impl Negotiation {
    /// `session_id` must differ between calls (RFC 8866 5.2); `address` is advertised for RTP unless `local` has another.
    /// Media are plain unless [`protected`](Negotiation::protected).
    pub fn new(session_id: u64, address: IpAddr, local: Local) -> Negotiation {
        Negotiation {
            // RFC 3264 5: both numbers of `o=` fit in 63 bits.
            session_id: session_id >> 1,
            version: 0,
            address,
            local,
            protection: Box::default(),
            agreed: Agreed::Nothing,
            offered: Vec::new(),
            opus: OPUS,
            events: [1, 2].map(|n| EventType { payload_type: OPUS + n, clock_rate: EVENT_CLOCKS[usize::from(n) - 1] }),
            red: RED,
            streams: Vec::new(),
            wanted: None,
            last: Vec::new(),
        }
    }

    /// The same with SRTP as `protection` says.
    pub fn protected(self, protection: Protection) -> Negotiation {
        Negotiation { protection: Box::new(protection), ..self }
    }

    /// The peer has refused an offer of ours: whether plain RTP may be offered instead, and was not yet. If so, it is.
    pub fn fall_back_to_plain(&mut self) -> bool {
        match (*self.protection, self.agreed) {
            (Protection::Offer(_), Agreed::Nothing) => {
                self.agreed = Agreed::Plain;
                true
            }
            (Protection::Off | Protection::Offer(_) | Protection::Require(_), _) => false,
        }
    }

    /// What we want from now on; it takes effect with the next offer or answer.
    pub fn set_local(&mut self, local: Local) {
        self.local = local;
    }

    /// The device has another address; it takes effect with the next offer or answer.
    pub fn set_address(&mut self, address: IpAddr) {
        self.address = address;
    }

    pub fn local(&self) -> Local {
        self.local
    }

    /// An offer of everything we can do.
    pub fn offer(&mut self) -> Vec<u8> {
        let direction = if self.local.active { Direction::SendRecv } else { Direction::Inactive };
        let crypto = self.offered_lines();
        let proto = if crypto.is_empty() { "RTP/AVP" } else { "RTP/SAVP" };
        let streams = match self.streams.is_empty() {
            true => vec![Stream::Ours { proto: proto.into() }],
            false => self.streams.clone(),
        };
        self.offered.clone_from(&crypto);
        self.wanted = self.local.rtcp_xr.then_some(WANTED);
        let red = Some(self.red);
        self.describe(direction, &self.events.clone(), red, true, &crypto, &streams)
    }

    fn offered_lines(&self) -> Vec<Line> {
        match (self.agreed, self.protection.sdes()) {
            (Agreed::Protected(line), _) => vec![line],
            (Agreed::Nothing, Some(sdes)) => sdes.lines(),
            (Agreed::Nothing, None) | (Agreed::Plain, _) => Vec::new(),
        }
    }

    /// Reads the answer to our last [`offer`](Negotiation::offer), and holds to it.
    ///
    /// # Errors
    /// The answer is no SDP, refuses the stream, has no Opus, or not the key it must have.
    pub fn accept_answer(&mut self, answer: &[u8]) -> Result<Negotiated, Error> {
        let media = self.preview(answer)?;
        self.settle(&media);
        Ok(media)
    }

    /// Reads what may become the answer: other forks may still answer otherwise.
    ///
    /// # Errors
    /// As of [`accept_answer`](Negotiation::accept_answer).
    pub fn preview(&self, answer: &[u8]) -> Result<Negotiated, Error> {
        let ours = self.streams.iter().position(|stream| matches!(stream, Stream::Ours { .. })).unwrap_or(0);
        let peer = description::parse_answer(answer, ours, self.opus)?;
        let srtp = match &peer.profile {
            Profile::Plain if self.offered.is_empty() => None,
            // RFC 3264 6: an answer has the profile of its offer.
            Profile::Protected(_) if self.offered.is_empty() => return Err(Error::NoAudio),
            Profile::Plain => return Err(Error::NoKey),
            // RFC 4568 5.1.3: one line, with tag and suite of one of ours.
            Profile::Protected(lines) => {
                let [theirs] = lines[..] else { return Err(Error::NoKey) };
                let is_its = |ours: &&Line| ours.tag == theirs.tag && ours.keying.suite() == theirs.keying.suite();
                let ours = self.offered.iter().find(is_its).ok_or(Error::NoKey)?;
                Some(Keys { send: ours.keying, receive: theirs.keying })
            }
        };
        let wanted = if self.local.active { Direction::SendRecv } else { Direction::Inactive };
        Ok(self.agreed(&peer, wanted.intersect_with_remote(peer.direction), srtp))
    }

    /// What was read in a [`preview`](Negotiation::preview) is the answer.
    pub fn settle(&mut self, media: &Negotiated) {
        self.agreed = match (media.srtp, self.agreed) {
            (None, _) => Agreed::Plain,
            (Some(keys), Agreed::Protected(line)) if line.keying == keys.send => Agreed::Protected(line),
            (Some(keys), agreed) => {
                let line = self.offered.iter().find(|line| line.keying == keys.send);
                line.map_or(agreed, |line| Agreed::Protected(*line))
            }
        };
    }

    /// Answers an offer of the peer with its own payload types.
    ///
    /// # Errors
    /// The offer is no SDP, or has no Opus stream that is protected, or plain, as it has to be: nothing has changed then.
    pub fn answer(&mut self, offer: &[u8]) -> Result<(Vec<u8>, Negotiated), Error> {
        let peer = self.read_offer(offer)?;
        let (agreed, srtp) = match (&peer.profile, self.protection.sdes()) {
            (Profile::Protected(lines), Some(sdes)) => {
                let theirs = sdes.choose(lines).ok_or(Error::NoKey)?;
                let ours = Line { tag: theirs.tag, keying: sdes.entropy.keying(theirs.keying.suite()) };
                (Agreed::Protected(ours), Some(Keys { send: ours.keying, receive: theirs.keying }))
            }
            (Profile::Protected(_) | Profile::Plain, _) => (Agreed::Plain, None),
        };
        self.agreed = agreed;
        let wanted = if self.local.active { Direction::SendRecv } else { Direction::Inactive };
        let direction = wanted.intersect_with_remote(peer.direction);
        self.adopt_numbers(&peer);
        // Who has no word of it is not bothered with it; a round trip takes two (5.2).
        self.wanted = peer.extended.filter(|_| self.local.rtcp_xr).map(|asked| match asked.round_trip {
            RoundTrip::Nobody => WANTED_OF_ONE,
            RoundTrip::Senders | RoundTrip::All => WANTED,
        });
        let (events, crypto) = (peer.telephone_event.as_slice(), self.offered_lines());
        let answer = self.describe(direction, events, peer.red, peer.rtcp_mux, &crypto, &peer.streams);
        self.streams.clone_from(&peer.streams);
        Ok((answer, self.agreed(&peer, direction, srtp)))
    }

    /// The peer's payload types become ours; a number of ours that it has given away is replaced.
    fn adopt_numbers(&mut self, peer: &Description) {
        self.opus = peer.opus;
        let theirs = |event: &EventType| peer.telephone_event.filter(|theirs| theirs.clock_rate == event.clock_rate);
        let mut taken = vec![peer.opus];
        taken.extend(peer.telephone_event.map(|event| event.payload_type));
        taken.extend(peer.red);
        for event in &mut self.events {
            if let Some(theirs) = theirs(event) {
                *event = theirs;
                continue;
            }
            if taken.contains(&event.payload_type) {
                event.payload_type = free(&taken);
            }
            taken.push(event.payload_type);
        }
        let taken_away = || if taken.contains(&self.red) { free(&taken) } else { self.red };
        self.red = peer.red.unwrap_or_else(taken_away);
    }

    /// The protected stream of an offer, if there is one that we can use, else the plain one.
    fn read_offer(&self, offer: &[u8]) -> Result<Description, Error> {
        let sdes = self.protection.sdes();
        let protected = description::parse_offer(offer, |profile| match (profile, sdes) {
            (Profile::Protected(lines), Some(sdes)) => sdes.choose(lines).map(drop).ok_or(Error::NoKey),
            (Profile::Protected(_), None) | (Profile::Plain, _) => Err(Error::NoAudio),
        });
        match protected {
            Err(Error::NoAudio | Error::NoKey) if self.protection.allows_plain() => description::parse(offer),
            read => read,
        }
    }

    /// RFC 3264 8: the version grows by one exactly when the description differs from the one before.
    fn describe(
        &mut self,
        direction: Direction,
        telephone_events: &[EventType],
        red: Option<u8>,
        rtcp_mux: bool,
        crypto: &[Line],
        streams: &[Stream],
    ) -> Vec<u8> {
        let ours = Ours {
            session_id: self.session_id,
            address: self.local.address.unwrap_or(self.address),
            local: &self.local,
            opus: self.opus,
            telephone_events,
            red: red.filter(|_| self.local.redundancy),
            direction,
            rtcp_mux,
            crypto,
            extended: self.wanted,
        };
        let same = description::write(ours, streams, self.version);
        if same != self.last {
            self.version += 1;
            self.last = description::write(ours, streams, self.version);
        }
        self.last.clone()
    }

    /// The event type of the peer together with ours in the same clock.
    fn event(&self, theirs: EventType) -> Option<TelephoneEvent> {
        let ours = self.events.iter().find(|ours| ours.clock_rate == theirs.clock_rate)?;
        Some(TelephoneEvent {
            send_payload_type: theirs.payload_type,
            receive_payload_type: ours.payload_type,
            clock_rate: theirs.clock_rate,
        })
    }

    fn agreed(&self, peer: &Description, direction: Direction, srtp: Option<Keys>) -> Negotiated {
        Negotiated {
            remote_rtp: peer.rtp,
            remote_rtcp: peer.rtcp,
            rtcp_mux: peer.rtcp_mux,
            send_payload_type: peer.opus,
            receive_payload_type: self.opus,
            telephone_event: peer.telephone_event.and_then(|theirs| self.event(theirs)),
            redundancy: peer
                .red
                .filter(|_| self.local.redundancy)
                .map(|theirs| Redundancy { send_payload_type: theirs, receive_payload_type: self.red }),
            ptime: peer.ptime,
            max_ptime: peer.max_ptime,
            max_average_bitrate: peer.max_average_bitrate,
            send: direction.has_send(),
            receive: direction.has_recv(),
            srtp,
            extended: peer.extended.filter(|_| self.local.rtcp_xr).unwrap_or(Asked::NOTHING),
        }
    }
}

/// A dynamic payload type that is not taken.
fn free(taken: &[u8]) -> u8 {
    (OPUS..).find(|number| !taken.contains(number)).unwrap_or(OPUS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::{Sdes, Suites};
    use crate::srtp::{Entropy, Suite};
    use crate::time::Span;

    const ANSWER: &str = "v=0\r\no=- 1 3 IN IP4 192.0.2.9\r\ns=audiomixer\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
        m=audio 20140 RTP/AVP 96 97\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 maxaveragebitrate=24000\r\na=ptime:20\r\n\
        a=maxptime:60\r\na=sendrecv\r\na=rtpmap:97 telephone-event/48000\r\na=fmtp:97 0-16\r\n";

    fn local() -> Local {
        Local {
            address: None,
            rtp_port: 40_000,
            rtcp_port: 40_001,
            ptime: Span::from_millis(20),
            max_average_bitrate: 32_000,
            fec: true,
            redundancy: false,
            dtx: false,
            rtcp_xr: true,
            active: true,
        }
    }

    fn negotiation(local: Local) -> Negotiation {
        let mut negotiation = Negotiation::new(u64::MAX, "192.0.2.1".parse().unwrap(), local);
        negotiation.offer();
        negotiation
    }

    fn offer_of(local: Local) -> String {
        String::from_utf8(Negotiation::new(8, "192.0.2.1".parse().unwrap(), local).offer()).unwrap()
    }

    fn accept(answer: &str) -> Result<Negotiated, Error> {
        negotiation(local()).accept_answer(answer.as_bytes())
    }

    #[test]
    fn the_offer_in_full() {
        let expected = "v=0\r\no=- 4 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
            m=audio 40000 RTP/AVP 96 97 98\r\na=rtpmap:96 opus/48000/2\r\n\
            a=fmtp:96 minptime=10;maxaveragebitrate=32000;useinbandfec=1\r\na=rtpmap:97 telephone-event/48000\r\n\
            a=fmtp:97 0-15\r\na=rtpmap:98 telephone-event/8000\r\na=fmtp:98 0-15\r\na=ptime:20\r\na=maxptime:60\r\na=rtcp-mux\r\n\
            a=rtcp-xr:rcvr-rtt=all voip-metrics\r\na=sendrecv\r\n";
        assert_eq!(offer_of(local()), expected);
    }

    #[test]
    fn each_wish_shows_in_the_offer() {
        let text = offer_of(Local { fec: false, dtx: true, active: false, rtcp_port: 41_000, ..local() });
        assert!(!text.contains("useinbandfec") && text.contains(";usedtx=1\r\n"));
        assert!(text.contains("a=inactive\r\n") && text.contains("a=rtcp:41000\r\n"), "{text}");
        let long = Local { ptime: Span::from_millis(60), max_average_bitrate: 1_000, ..local() };
        assert!(offer_of(long).contains("a=ptime:60\r\n"));
        assert!(offer_of(long).contains("maxaveragebitrate=6000;"), "RFC 7587 6.1 knows no less");
        let elsewhere = offer_of(Local { address: Some("198.51.100.7".parse().unwrap()), ..local() });
        assert!(elsewhere.contains("c=IN IP4 198.51.100.7\r\n") && !elsewhere.contains("192.0.2.1"), "{elsewhere}");
        let six = Negotiation::new(8, "2001:db8::1".parse().unwrap(), local()).offer();
        assert!(String::from_utf8(six).unwrap().contains("c=IN IP6 2001:db8::1\r\n"));
    }

    #[test]
    fn the_version_grows_only_when_something_changed() {
        let version = |bytes: Vec<u8>| -> u64 {
            let text = String::from_utf8(bytes).unwrap();
            text.lines().nth(1).unwrap().split(' ').nth(2).unwrap().parse().unwrap()
        };
        let mut negotiation = Negotiation::new(8, "192.0.2.1".parse().unwrap(), local());
        assert_eq!([version(negotiation.offer()), version(negotiation.offer())], [1, 1]);
        negotiation.set_local(Local { active: false, ..local() });
        assert_eq!([version(negotiation.offer()), version(negotiation.offer())], [2, 2]);
        let (answer, _) = negotiation.answer(ANSWER.as_bytes()).unwrap();
        assert_eq!(version(answer), 3, "an answer without rtcp-mux differs");
    }

    /// RFC 3264 8: an `m=` line keeps its place for the whole session.
    #[test]
    fn our_offer_after_an_answer_has_all_its_streams_in_their_places() {
        let mut negotiation = negotiation(local());
        let video = "m=video 30000 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n";
        let (head, audio) = ANSWER.split_at(ANSWER.find("m=audio").unwrap());
        negotiation.answer(format!("{head}{video}{audio}").as_bytes()).unwrap();
        negotiation.set_local(Local { active: false, ..local() });
        let offer = String::from_utf8(negotiation.offer()).unwrap();
        let lines: Vec<&str> = offer.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(lines[0], "m=video 0 RTP/AVP 99");
        assert!(lines.len() == 2 && lines[1].starts_with("m=audio 40000 RTP/AVP "), "{offer}");
        let refused = "m=video 0 RTP/AVP 99\r\n";
        let media = negotiation.accept_answer(format!("{head}{refused}{audio}").as_bytes()).unwrap();
        assert_eq!(media.remote_rtp.port(), 20_140);
        assert_eq!(negotiation.accept_answer(ANSWER.as_bytes()), Err(Error::NoAudio), "a stream is missing");
    }

    #[test]
    fn a_plain_answer() {
        let media = accept(ANSWER).unwrap();
        let expected = Negotiated {
            remote_rtp: "192.0.2.9:20140".parse().unwrap(),
            remote_rtcp: "192.0.2.9:20141".parse().unwrap(),
            rtcp_mux: false,
            send_payload_type: 96,
            receive_payload_type: 96,
            telephone_event: Some(TelephoneEvent {
                send_payload_type: 97,
                receive_payload_type: 97,
                clock_rate: 48_000,
            }),
            redundancy: None,
            ptime: Some(Span::from_millis(20)),
            max_ptime: Some(Span::from_millis(60)),
            max_average_bitrate: Some(24_000),
            send: true,
            receive: true,
            srtp: None,
            extended: Asked::NOTHING,
        };
        assert_eq!(media, expected);
    }

    #[test]
    fn what_answers_may_say_differently() {
        let with = |from: &str, to: &str| accept(&ANSWER.replace(from, to)).unwrap();
        let moved = ANSWER.replace(":96", ":111").replace("AVP 96", "AVP 111");
        let media = accept(&moved).unwrap();
        assert_eq!((media.send_payload_type, media.receive_payload_type), (111, 96), "its number and ours");
        assert_eq!(media.max_average_bitrate, Some(24_000));
        assert_eq!(with("opus/48000/2", "OPUS/48000").send_payload_type, 96);
        assert_eq!(with("a=rtpmap:96 opus/48000/2\r\n", "").send_payload_type, 96, "bound by our offer");
        let both = ANSWER.replace("AVP 96 97", "AVP 0 8 96 97");
        assert_eq!(accept(&both).unwrap().send_payload_type, 96);
        let media_level =
            ANSWER.replace("c=IN IP4 192.0.2.9\r\n", "").replace("a=ptime", "c=IN IP4 192.0.2.77\r\na=ptime");
        assert_eq!(accept(&media_level).unwrap().remote_rtp, "192.0.2.77:20140".parse().unwrap());
        let six = ANSWER.replace("c=IN IP4 192.0.2.9", "c=IN IP6 2001:db8::9");
        assert_eq!(accept(&six).unwrap().remote_rtp, "[2001:db8::9]:20140".parse().unwrap());
        let mux = with("a=sendrecv", "a=rtcp-mux\r\na=sendrecv");
        assert!(mux.rtcp_mux && mux.remote_rtcp == mux.remote_rtp);
        assert_eq!(with("a=sendrecv", "a=rtcp:30000").remote_rtcp, "192.0.2.9:30000".parse().unwrap());
        let elsewhere = with("a=sendrecv", "a=rtcp:30000 IN IP4 192.0.2.10");
        assert_eq!(elsewhere.remote_rtcp, "192.0.2.10:30000".parse().unwrap());
        assert_eq!(with("telephone-event/48000", "telephone-event/16000").telephone_event, None);
        let slow = with("telephone-event/48000", "telephone-event/8000").telephone_event.unwrap();
        assert_eq!((slow.send_payload_type, slow.receive_payload_type, slow.clock_rate), (97, 98, 8_000));
        assert_eq!(with("ptime:20", "ptime:abc").ptime, None);
        assert_eq!(with("a=ptime:20", "a=ptime:120").ptime, Some(Span::from_millis(60)), "not above maxptime");
        assert_eq!(with("a=maxptime:60", "a=maxptime:30").max_ptime, Some(Span::from_millis(30)));
        assert_eq!(with("a=maxptime:60", "a=maxptime:0").max_ptime, None);
        assert_eq!(with("=24000", "=0").max_average_bitrate, None);
        assert_eq!(with("=24000", "=1").max_average_bitrate, Some(6_000));
        assert_eq!(
            with("maxaveragebitrate=24000", "stereo=1; MaxAverageBitrate = 9000").max_average_bitrate,
            Some(9_000)
        );
        assert_eq!(with("\r\n", "\n").send_payload_type, 96, "bare LF");
    }

    #[test]
    fn extended_reports_are_told_who_asks_and_asked_of_who_knows_them() {
        let asking = |line: &str| ANSWER.replace("a=sendrecv\r\n", &format!("{line}a=sendrecv\r\n"));
        let of_session = ANSWER.replace("t=0 0\r\n", "t=0 0\r\na=rtcp-xr:voip-metrics\r\n");
        let off = Local { rtcp_xr: false, ..local() };
        let both = Asked { round_trip: RoundTrip::All, voip_metrics: true };
        let metrics = Asked { voip_metrics: true, ..Asked::NOTHING };
        // What the peer says; what it is told then, and what it is asked for in turn.
        for (text, told, asked) in [
            (ANSWER.to_owned(), Asked::NOTHING, None),
            (asking("a=rtcp-xr:rcvr-rtt=all voip-metrics\r\n"), both, Some("a=rtcp-xr:rcvr-rtt=all voip-metrics\r\n")),
            (asking("a=rtcp-xr:stat-summary=TTL voip-metrics\r\n"), metrics, Some("a=rtcp-xr:voip-metrics\r\n")),
            (of_session, metrics, Some("a=rtcp-xr:voip-metrics\r\n")),
            (asking("a=rtcp-xr\r\n"), Asked::NOTHING, Some("a=rtcp-xr:voip-metrics\r\n")),
            (asking("a=rtcp-xr:\r\n"), Asked::NOTHING, Some("a=rtcp-xr:voip-metrics\r\n")),
        ] {
            assert_eq!(accept(&text).unwrap().extended, told, "{text}");
            let answered = |local| {
                let mut called = Negotiation::new(9, "192.0.2.1".parse().unwrap(), local);
                let (answer, media) = called.answer(text.as_bytes()).unwrap();
                (String::from_utf8(answer).unwrap(), media.extended)
            };
            let (answer, extended) = answered(local());
            assert_eq!((extended, answer.contains("rtcp-xr")), (told, asked.is_some()), "{answer}");
            assert!(asked.is_none_or(|line| answer.contains(line)), "{answer}");
            let (answer, extended) = answered(off);
            assert_eq!((extended, answer.contains("rtcp-xr")), (Asked::NOTHING, false), "turned off");
        }
        assert!(!offer_of(off).contains("rtcp-xr"));
    }

    #[test]
    fn directions_are_the_overlap_of_both_wishes() {
        let cases = [
            (true, "sendrecv", (true, true)),
            (true, "sendonly", (false, true)),
            (true, "recvonly", (true, false)),
            (true, "inactive", (false, false)),
            (false, "sendrecv", (false, false)),
            (false, "sendonly", (false, false)),
        ];
        for (active, direction, expected) in cases {
            let mut negotiation = negotiation(Local { active, ..local() });
            let media = negotiation.accept_answer(ANSWER.replace("sendrecv", direction).as_bytes()).unwrap();
            assert_eq!((media.send, media.receive), expected, "{active} {direction}");
        }
        let session_level = ANSWER.replace("a=sendrecv\r\n", "").replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n");
        assert!(!accept(&session_level).unwrap().receive);
        let old_hold = accept(&ANSWER.replace("c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0")).unwrap();
        assert!(!old_hold.send && !old_hold.receive, "RFC 3264 8.4");
    }

    #[test]
    fn answers_that_cannot_be_used() {
        let cases = [
            (String::new(), Error::Malformed),
            ("nonsense".into(), Error::Malformed),
            (ANSWER.replace("20140", "99999"), Error::Malformed),
            (ANSWER.split("m=").next().unwrap().into(), Error::NoAudio),
            (ANSWER.replace("20140", "0"), Error::NoAudio),
            (ANSWER.replace("RTP/AVP", "RTP/SAVP"), Error::NoAudio),
            (ANSWER.replace("m=audio", "m=video"), Error::NoAudio),
            (ANSWER.replace("opus/48000/2", "PCMU/8000"), Error::NoOpus),
            (ANSWER.replace("opus/48000/2", "opus/16000/2"), Error::NoOpus),
            (ANSWER.replace("c=IN IP4 192.0.2.9\r\n", ""), Error::NoAddress),
            (ANSWER.replace("c=IN IP4 192.0.2.9", "c=IN IP4 host.example"), Error::NoAddress),
            (ANSWER.replace("c=IN IP4 192.0.2.9", "c=IN IP4 224.2.1.1/127"), Error::NoAddress),
        ];
        for (text, error) in cases {
            assert_eq!(accept(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn an_offer_is_answered_with_its_own_numbers_which_we_then_keep() {
        let offer = ANSWER.replace(":96", ":107").replace("AVP 96", "AVP 107 0").replace("a=sendrecv", "a=sendonly");
        let mut negotiation = negotiation(local());
        let (answer, media) = negotiation.answer(offer.as_bytes()).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("m=audio 40000 RTP/AVP 107 97\r\n") && answer.contains("a=recvonly\r\n"));
        assert!(!answer.contains("rtcp-mux"), "it was not offered");
        assert_eq!((media.receive_payload_type, media.send), (107, false));
        let next = String::from_utf8(negotiation.offer()).unwrap();
        assert!(next.contains("RTP/AVP 107 97 98\r\n") && next.contains("a=sendrecv\r\n"), "RFC 3264 8.3.2: {next}");
    }

    #[test]
    fn our_numbers_never_clash() {
        let offer = ANSWER
            .replace(":96", ":97")
            .replace("AVP 96 97", "AVP 97")
            .replace("a=rtpmap:97 telephone-event/48000\r\n", "");
        let mut negotiation = negotiation(local());
        let (answer, _) = negotiation.answer(offer.as_bytes()).unwrap();
        assert!(!String::from_utf8(answer).unwrap().contains("telephone-event"), "not offered, not answered");
        assert!(String::from_utf8(negotiation.offer()).unwrap().contains("m=audio 40000 RTP/AVP 97 96 98\r\n"));
    }

    #[test]
    fn telephone_events_have_the_clock_of_opus_or_else_the_one_there_is() {
        let offered = |lines: &str| {
            let offer = ANSWER.replace("a=rtpmap:97 telephone-event/48000\r\n", lines).replace("96 97", "96 101 102");
            let mut negotiation = negotiation(local());
            let (answer, media) = negotiation.answer(offer.as_bytes()).unwrap();
            let answer = String::from_utf8(answer).unwrap();
            let formats =
                answer.lines().find_map(|line| line.strip_prefix("m=audio 40000 RTP/AVP ")).unwrap().to_string();
            let next = String::from_utf8(negotiation.offer()).unwrap();
            let next = next.lines().find_map(|line| line.strip_prefix("m=audio 40000 RTP/AVP ")).unwrap().to_string();
            (formats, media.telephone_event, next)
        };
        let event = |number, clock_rate| {
            Some(TelephoneEvent { send_payload_type: number, receive_payload_type: number, clock_rate })
        };
        let (slow, fast) = ("a=rtpmap:102 telephone-event/8000\r\n", "a=rtpmap:101 telephone-event/48000\r\n");
        assert_eq!(offered(&format!("{slow}{fast}")), ("96 101".into(), event(101, 48_000), "96 101 98".into()));
        assert_eq!(offered(slow), ("96 102".into(), event(102, 8_000), "96 97 102".into()));
        assert_eq!(offered(&slow.replace("102", "101")), ("96 101".into(), event(101, 8_000), "96 97 101".into()));
        assert_eq!(offered(""), ("96".into(), None, "96 97 98".into()));
    }

    const RED: &str = "a=rtpmap:99 red/48000/2\r\na=fmtp:99 96/96\r\n";

    fn repeating() -> Negotiation {
        negotiation(Local { redundancy: true, ..local() })
    }

    #[test]
    fn copies_are_offered_after_opus_and_held_to_through_every_offer() {
        let mut calling = repeating();
        let offer = String::from_utf8(calling.offer()).unwrap();
        assert!(offer.contains("m=audio 40000 RTP/AVP 96 97 98 99\r\n") && offer.contains(RED), "{offer}");
        let mut called = repeating();
        let (answer, theirs) = called.answer(offer.as_bytes()).unwrap();
        let text = String::from_utf8(answer.clone()).unwrap();
        assert!(text.contains(" RTP/AVP 96 97 99\r\n") && text.contains(RED), "{text}");
        let agreed = Some(Redundancy { send_payload_type: 99, receive_payload_type: 99 });
        assert_eq!(theirs.redundancy, agreed);
        assert_eq!(calling.accept_answer(&answer).unwrap().redundancy, agreed);
        for active in [false, true] {
            called.set_local(Local { redundancy: true, active, ..local() });
            let (answer, media) = calling.answer(&called.offer()).unwrap();
            assert_eq!((media.redundancy, media.send), (agreed, active));
            assert_eq!(called.accept_answer(&answer).unwrap().redundancy, agreed);
        }
    }

    /// Asterisk leaves out what it does not know.
    #[test]
    fn an_answer_without_copies_leaves_plain_opus_both_ways() {
        let mut negotiation = repeating();
        assert!(String::from_utf8(negotiation.offer()).unwrap().contains(RED));
        assert_eq!(negotiation.accept_answer(ANSWER.as_bytes()).unwrap().redundancy, None);
        let (answer, media) = negotiation.answer(ANSWER.as_bytes()).unwrap();
        assert!(media.redundancy.is_none() && !String::from_utf8(answer).unwrap().contains("red/"));
    }

    #[test]
    fn copies_are_of_our_opus_only_and_of_nobody_who_does_not_want_them() {
        let answered = |negotiation: Negotiation, lines: &str| {
            let offer = ANSWER.replace("96 97", "96 97 99").replace("a=ptime", &format!("{lines}a=ptime"));
            let (answer, media) = { negotiation }.answer(offer.as_bytes()).unwrap();
            assert_eq!(media.redundancy.is_some(), String::from_utf8(answer).unwrap().contains("red/48000"), "{lines}");
            media.redundancy.map(|red| (red.send_payload_type, red.receive_payload_type))
        };
        assert_eq!(answered(repeating(), RED), Some((99, 99)));
        assert_eq!(answered(repeating(), &RED.replace("96/96", "96/96/96")), Some((99, 99)));
        assert_eq!(answered(negotiation(local()), RED), None, "codec.redundancy");
        for other in ["97/97", "96/97", "96", "", "96/", "/", "x"] {
            assert_eq!(answered(repeating(), &RED.replace("96/96", other)), None, "{other}");
        }
        assert_eq!(answered(repeating(), "a=rtpmap:99 red/48000/2\r\n"), None, "of what?");
        assert_eq!(answered(repeating(), &RED.replace("48000", "8000")), None);
        let theirs =
            ANSWER.replace("96 97", "96 97 63").replace("a=ptime", &format!("{}a=ptime", RED.replace("99", "63")));
        let media = repeating().accept_answer(theirs.as_bytes()).unwrap();
        assert_eq!(media.redundancy, Some(Redundancy { send_payload_type: 63, receive_payload_type: 99 }));
        let taken = ANSWER.replace(":96", ":99").replace("AVP 96", "AVP 99");
        let mut negotiation = repeating();
        negotiation.answer(taken.as_bytes()).unwrap();
        let next = String::from_utf8(negotiation.offer()).unwrap();
        assert!(next.contains("RTP/AVP 99 97 98 96\r\n") && next.contains("a=fmtp:96 99/99\r\n"), "{next}");
    }

    #[test]
    fn an_answer_repeats_every_stream_of_the_offer() {
        let offer =
            ANSWER.replace("m=audio", "m=video 5000 RTP/AVP 31\r\na=sendonly\r\nm=audio 0 RTP/AVP 0\r\nm=audio");
        let offer = format!(
            "{offer}m=audio 6000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\nm=application 9 UDP/DTLS/SCTP x\r\n"
        );
        let (answer, _) = negotiation(local()).answer(offer.as_bytes()).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let streams: Vec<&str> = answer.lines().filter(|line| line.starts_with("m=")).collect();
        let expected = [
            "m=video 0 RTP/AVP 31",
            "m=audio 0 RTP/AVP 0",
            "m=audio 40000 RTP/AVP 96 97",
            "m=audio 0 RTP/AVP 96",
            "m=application 0 UDP/DTLS/SCTP x",
        ];
        assert_eq!(streams, expected);
    }

    fn protected(protection: fn(Sdes) -> Protection) -> Negotiation {
        let entropy = Entropy::new(std::array::from_fn(|i| i as u8));
        let suites = Suites::named(&Suite::ALL.map(|suite| suite.name().to_string()));
        Negotiation::new(8, "192.0.2.1".parse().unwrap(), local()).protected(protection(Sdes { entropy, suites }))
    }

    const KEY: &str = "F01KBzIqNA8ZQhY3LL0KJAQikas0rTG5P4LRfxzr";

    fn secure(tag: u32) -> String {
        let line = format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n");
        ANSWER.replace("RTP/AVP", "RTP/SAVP") + &line
    }

    fn crypto_lines(description: &[u8]) -> Vec<String> {
        let lines = std::str::from_utf8(description).unwrap().lines();
        lines.filter(|line| line.starts_with("a=crypto")).map(String::from).collect()
    }

    #[test]
    fn a_protected_stream_keeps_its_keys_through_every_offer_of_either_side() {
        let mut negotiation = protected(Protection::Require);
        let offer = negotiation.offer();
        assert!(String::from_utf8_lossy(&offer).contains("m=audio 40000 RTP/SAVP 96 97 98\r\n"));
        let offered = crypto_lines(&offer);
        assert_eq!(offered.len(), 3);
        let media = negotiation.accept_answer(secure(1).as_bytes()).unwrap();
        let keys = media.srtp.unwrap();
        assert_eq!(keys.send.suite(), Suite::AesCm128HmacSha1_80);
        assert_eq!(keys.receive.bytes()[..3], [0x17, 0x4d, 0x4a]);
        assert_eq!(crypto_lines(&negotiation.offer()), offered[..1], "the line that was agreed on, and no other");
        assert_eq!(negotiation.accept_answer(secure(1).as_bytes()).unwrap().srtp, Some(keys));
        let (answer, media) = negotiation.answer(secure(7).as_bytes()).unwrap();
        assert_eq!(crypto_lines(&answer), [offered[0].replace("crypto:1", "crypto:7")], "their tag, our key");
        assert_eq!(media.srtp, Some(keys));
        let renewed = secure(1).replace("F01K", "AAAA");
        let (_, media) = negotiation.answer(renewed.as_bytes()).unwrap();
        assert_eq!(media.srtp.unwrap().send, keys.send);
        assert_ne!(media.srtp.unwrap().receive, keys.receive);
    }

    #[test]
    fn each_fork_may_choose_a_key_of_the_offer_until_one_is_settled() {
        let mut negotiation = protected(Protection::Require);
        let offered = crypto_lines(&negotiation.offer());
        let first = negotiation.preview(secure(1).as_bytes()).unwrap();
        let gcm =
            format!("inline:{}", crypto_lines(&protected(Protection::Require).offer())[1].rsplit(':').next().unwrap());
        let suite = offered[1].split(' ').nth(1).unwrap();
        let other = secure(2).replace("AES_CM_128_HMAC_SHA1_80", suite).replace(&format!("inline:{KEY}"), &gcm);
        let second = negotiation.accept_answer(other.as_bytes()).unwrap();
        assert_ne!(first.srtp.unwrap().send, second.srtp.unwrap().send);
        assert_eq!(crypto_lines(&negotiation.offer()), offered[1..2]);
        negotiation.settle(&second);
        assert_eq!(crypto_lines(&negotiation.offer()), offered[1..2]);
    }

    #[test]
    fn an_answer_without_the_right_key_is_refused() {
        let cases = [
            (ANSWER.to_string(), Error::NoKey),
            (ANSWER.replace("RTP/AVP", "RTP/SAVP"), Error::NoKey),
            (secure(2), Error::NoKey),
            (secure(1).replace("SHA1_80", "SHA1_32"), Error::NoKey),
            (secure(1).replace(KEY, "AAAA"), Error::NoKey),
            (secure(1).replace("20140", "0"), Error::NoAudio),
        ];
        for (answer, error) in cases {
            let mut negotiation = protected(Protection::Offer);
            negotiation.offer();
            assert_eq!(negotiation.accept_answer(answer.as_bytes()), Err(error), "{answer}");
        }
        let mut plain = negotiation(local());
        assert_eq!(plain.accept_answer(secure(1).as_bytes()), Err(Error::NoAudio), "plain was offered");
    }

    #[test]
    fn who_has_no_srtp_gets_a_plain_offer_once_if_that_is_allowed() {
        let mut negotiation = protected(Protection::Offer);
        negotiation.offer();
        assert!(negotiation.fall_back_to_plain());
        assert!(String::from_utf8(negotiation.offer()).unwrap().contains("RTP/AVP 96"));
        assert!(!negotiation.fall_back_to_plain(), "plain was refused, too");
        assert_eq!(negotiation.accept_answer(ANSWER.as_bytes()).unwrap().srtp, None);
        assert!(!protected(Protection::Require).fall_back_to_plain());
        let mut agreed = protected(Protection::Offer);
        agreed.offer();
        agreed.accept_answer(secure(1).as_bytes()).unwrap();
        assert!(!agreed.fall_back_to_plain(), "a protected call stays protected");
    }

    #[test]
    fn an_offer_of_the_peer_is_taken_protected_if_it_can_be_and_plain_if_it_may() {
        let both = format!("{}{}", ANSWER, &secure(1)[secure(1).find("m=").unwrap()..]);
        let proto = |mut negotiation: Negotiation, offer: &str| {
            let (answer, media) = negotiation.answer(offer.as_bytes())?;
            let answer = String::from_utf8(answer).unwrap();
            let ours = answer.lines().find(|line| line.starts_with("m=audio 40000")).unwrap();
            assert_eq!(media.srtp.is_some(), answer.contains("a=crypto"));
            Ok(ours.split(' ').nth(2).unwrap().to_string())
        };
        let (plain, safe) = (Ok("RTP/AVP".to_string()), Ok("RTP/SAVP".to_string()));
        let off = |_| Protection::Off;
        assert_eq!(proto(protected(off), &both), plain);
        assert_eq!(proto(protected(off), &secure(1)), Err(Error::NoAudio));
        assert_eq!(proto(protected(Protection::Offer), &both), safe);
        assert_eq!(proto(protected(Protection::Offer), ANSWER), plain);
        assert_eq!(proto(protected(Protection::Require), &both), safe);
        assert_eq!(proto(protected(Protection::Require), ANSWER), Err(Error::NoAudio));
        assert_eq!(proto(protected(Protection::Require), &secure(1).replace(KEY, "x")), Err(Error::NoKey));
    }

    #[test]
    fn an_offer_that_cannot_be_used_changes_nothing() {
        let mut negotiation = negotiation(local());
        let before = negotiation.offer();
        assert_eq!(negotiation.answer(ANSWER.replace("opus", "G722").as_bytes()).err(), Some(Error::NoOpus));
        assert_eq!(negotiation.offer(), before);
    }
}
