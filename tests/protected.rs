//! The voice path under SRTP: what leaves is sealed and stays under the cap, and only the peer's own packets are heard.

mod line;

use line::{Ear, Mouth, Sent, StreamParams, params, payload, peer, peer_rtcp, rtp, settings};
use qss_endpoint::config::Config;
use qss_endpoint::media::plan::plan_protected;
use qss_endpoint::media::stream::Stream;
use qss_endpoint::rtp::rtcp::{self, CNAME_LEN, Farewell, MAX_LEN, Part};
use qss_endpoint::rtp::xr::Report;
use qss_endpoint::srtp::{Entropy, Inbound, Keying, Keys, MAX_OVERHEAD, Outbound, Suite};
use qss_endpoint::time::{Span, Time};
use std::net::SocketAddr;

fn keying(suite: Suite, seed: u8) -> Keying {
    Entropy::new([seed; Entropy::LEN]).keying(suite)
}

fn keys(suite: Suite) -> Keys {
    Keys { send: keying(suite, 1), receive: keying(suite, 2) }
}

/// A stream and, behind the wire, a peer with the same keys the other way round.
struct Call {
    stream: Stream<Mouth, Ear>,
    wire: Sent,
    now: Time,
    sealer: Outbound,
    opener: Inbound,
    next: u16,
}

impl Call {
    fn new(params: StreamParams) -> Call {
        let now = Time::from_millis(1_000_000);
        let mut stream = Stream::new(settings(), Mouth::new(), Ear);
        stream.start(now, params);
        let keys = params.srtp.expect("a protected call");
        Call {
            stream,
            wire: Sent::default(),
            now,
            sealer: Outbound::new(keys.receive),
            opener: Inbound::new(keys.send),
            next: 100,
        }
    }

    fn talk(&mut self, span: Span) {
        for _ in 0..span.as_millis() / 10 {
            self.now += Span::from_millis(10);
            self.wire.now = self.now;
            self.stream.capture(self.now, &[1_000; 480], &mut self.wire);
            if self.stream.poll_timeout().is_some_and(|wakeup| wakeup.at <= self.now) {
                self.stream.handle_timeout(self.now, &mut self.wire);
            }
        }
    }

    fn plain(&mut self) -> Vec<u8> {
        self.next += 1;
        rtp(self.next, u32::from(self.next) * 960, 9, false, &payload(i64::from(self.next) * 960, false))
    }

    /// The next packet of the peer.
    fn sealed(&mut self) -> Vec<u8> {
        let mut packet = self.plain();
        let len = packet.len();
        packet.resize(len + MAX_OVERHEAD, 0);
        let len = self.sealer.seal_rtp(&mut packet, len).expect("sealed");
        packet.truncate(len);
        packet
    }

    fn hear(&mut self, from: SocketAddr, packet: &[u8]) {
        self.now += Span::from_millis(20);
        self.stream.handle_rtp(self.now, from, packet);
    }

    /// Received, invalid, forged, replayed.
    fn counted(&self) -> [u64; 4] {
        let stats = self.stream.stats(self.now);
        [stats.packets_received, stats.packets_invalid, stats.packets_forged, stats.packets_replayed]
    }
}

#[test]
fn everything_that_leaves_is_sealed_and_the_tags_are_under_the_cap() {
    for suite in Suite::ALL {
        for cap in [16_000, 24_000, 32_000, 64_000] {
            let plan = plan_protected(&Config::default().codec, cap, [suite].into_iter());
            let params =
                StreamParams { ptime: plan.ptime, bitrate: plan.bitrate, cap, srtp: Some(keys(suite)), ..params() };
            let mut call = Call::new(params);
            call.talk(Span::from_secs(60));
            let sent: Vec<(Time, usize)> =
                call.wire.rtp.iter().chain(&call.wire.rtcp).map(|(at, bytes)| (*at, (bytes.len() + 28) * 8)).collect();
            let second =
                |end: Time| sent.iter().filter(move |(at, _)| *at <= end && end.since(*at) < Span::from_secs(1));
            let busiest = sent.iter().map(|(end, _)| second(*end).map(|sent| sent.1).sum::<usize>()).max().unwrap();
            assert!(busiest <= cap as usize, "{suite:?} under {cap}: {busiest}");
            let stats = call.stream.stats(call.now);
            assert_eq!(stats.wire_bits_max_second as usize, busiest, "{suite:?} under {cap}");
            assert_eq!(stats.packets_withheld, 0, "{suite:?} under {cap}");
            for (_, packet) in &mut call.wire.rtp {
                assert!(call.opener.open_rtp(packet).is_ok(), "{suite:?}");
            }
            assert!(call.wire.rtcp.len() >= 9);
            for (_, report) in &mut call.wire.rtcp {
                let len = call.opener.open_rtcp(report).expect("an authentic report");
                assert!(rtcp::read(&report[..len], |_| {}).is_ok());
            }
        }
    }
}

#[test]
fn plain_forged_and_replayed_packets_are_counted_and_not_heard() {
    for suite in Suite::ALL {
        let mut call = Call::new(StreamParams { srtp: Some(keys(suite)), ..params() });
        let first = call.sealed();
        call.hear(peer(), &first);
        assert_eq!(call.counted(), [1, 0, 0, 0], "{suite:?}");
        call.hear(peer(), &first);
        assert_eq!(call.counted(), [1, 0, 0, 1], "{suite:?}: replayed");
        for _ in 0..10 {
            let plain = call.plain();
            call.hear(peer(), &plain);
        }
        assert_eq!(call.counted(), [1, 10, 10, 1], "{suite:?}: plain");
        let mut forged = call.sealed();
        forged[15] ^= 1;
        call.hear(peer(), &forged);
        assert_eq!(call.counted(), [1, 11, 11, 1], "{suite:?}: changed on the way");
        forged[15] ^= 1;
        call.hear(peer(), &forged);
        assert_eq!(call.counted(), [2, 11, 11, 1], "{suite:?}: and yet nothing was lost");
    }
}

/// The numbers roll over every 22 minutes; a stream that knew nothing of that would find everything forged.
#[test]
fn a_call_that_waited_goes_on_under_its_keys_however_often_the_numbers_have_rolled_over() {
    for suite in Suite::ALL {
        let params = StreamParams { srtp: Some(keys(suite)), ..params() };
        let mut call = Call::new(params);
        for next in [100, 30_000, 60_000, 20_000, 50_000, 10_000, 40_000] {
            call.next = next;
            let packet = call.sealed();
            call.hear(peer(), &packet);
        }
        let last = call.sealed();
        call.hear(peer(), &last);
        assert_eq!(call.counted()[2..], [0, 0], "{suite:?}");
        call.talk(Span::from_secs(1));
        call.stream.park(call.now);
        let others = Keys { send: keying(suite, 3), receive: keying(suite, 4) };
        call.stream.start(call.now, StreamParams { call: 2, ssrc: 5, srtp: Some(others), ..params });
        let late = call.sealed();
        call.hear(peer(), &late);
        assert_eq!(call.counted(), [0, 1, 1, 0], "{suite:?}: nothing of another call is heard");
        call.stream.stop(call.now, &mut call.wire);
        call.stream.start(call.now, params);
        call.hear(peer(), &last);
        assert_eq!(call.counted(), [0, 0, 0, 1], "{suite:?}: what has come before");
        let packet = call.sealed();
        call.hear(peer(), &packet);
        assert_eq!(call.counted(), [1, 0, 0, 1], "{suite:?}");
        // What leaves goes on, too: under one key no number comes twice.
        let before = call.wire.rtp.len();
        call.talk(Span::from_secs(1));
        assert!(before >= 50 && call.wire.rtp.len() >= before + 50);
        assert!(call.wire.rtp.iter_mut().all(|(_, packet)| call.opener.open_rtp(packet).is_ok()), "{suite:?}");
    }
}

/// A re-INVITE may take the protection away and bring it back, a call that waits as well; the keys are those of the call.
#[test]
fn a_call_that_was_plain_for_a_while_uses_no_number_twice_and_refuses_what_has_come() {
    for suite in Suite::ALL {
        let sealed = StreamParams { srtp: Some(keys(suite)), ..params() };
        let plain = StreamParams { srtp: None, ..sealed };
        let mut call = Call::new(sealed);
        let mut old = call.sealed();
        call.hear(peer(), &old);
        for parked in [false, true] {
            call.talk(Span::from_secs(12));
            let (rtp, rtcp) = (call.wire.rtp.len(), call.wire.rtcp.len());
            call.stream.update(call.now, plain);
            call.talk(Span::from_secs(12));
            if parked {
                call.stream.park(call.now);
                call.stream.start(call.now, plain);
                call.talk(Span::from_secs(12));
            }
            assert!(
                call.wire
                    .rtp
                    .drain(rtp..)
                    .all(|(_, packet)| packet.len() > 12 && call.opener.open_rtp(&mut packet.clone()).is_err())
            );
            assert!(call.wire.rtcp.drain(rtcp..).count() >= 2);
            let heard = call.counted()[0];
            let unprotected = call.plain();
            call.hear(peer(), &unprotected);
            assert_eq!(call.counted()[0], heard + 1, "{suite:?}: it is plain");
            call.stream.update(call.now, sealed);
            let replayed = call.counted()[3];
            call.hear(peer(), &old);
            assert_eq!(call.counted()[3], replayed + 1, "{suite:?}: what has come before");
            old = call.sealed();
            call.hear(peer(), &old);
            assert_eq!(call.counted()[0], heard + 2, "{suite:?}");
        }
        call.talk(Span::from_secs(12));
        assert!(call.wire.rtp.len() > 1_500 && call.wire.rtcp.len() >= 6);
        assert!(call.wire.rtp.iter_mut().all(|(_, packet)| call.opener.open_rtp(packet).is_ok()), "{suite:?}");
        assert!(call.wire.rtcp.iter_mut().all(|(_, packet)| call.opener.open_rtcp(packet).is_ok()), "{suite:?}");
    }
}

/// A BYE that anybody could write would end the call.
#[test]
fn reports_are_believed_only_when_sealed() {
    let suite = Suite::AesCm128HmacSha1_80;
    let mut call = Call::new(StreamParams { srtp: Some(keys(suite)), ..params() });
    let mut report = [0; MAX_LEN];
    let len = rtcp::write(&mut report, 9, None, None, &[b'x'; CNAME_LEN], &Report::NOTHING, Farewell::Bye);
    assert!(matches!(rtcp::read(&report[..len], |part| assert!(matches!(part, Part::Bye { .. }))), Ok(())));
    call.stream.handle_rtcp(call.now, peer_rtcp(), &report[..len]);
    assert_eq!(call.stream.poll_event().filter(|event| format!("{event:?}").contains("PeerBye")), None);
    assert_eq!(call.counted(), [0, 1, 1, 0]);
    let mut sealed = report.to_vec();
    sealed.resize(MAX_LEN + MAX_OVERHEAD, 0);
    let len = call.sealer.seal_rtcp(&mut sealed, len).unwrap();
    call.stream.handle_rtcp(call.now, peer_rtcp(), &sealed[..len]);
    let events: Vec<String> =
        std::iter::from_fn(|| call.stream.poll_event()).map(|event| format!("{event:?}")).collect();
    assert!(events.iter().any(|event| event.contains("PeerBye")), "{events:?}");
}

/// Who repeats our peer's packets from elsewhere gets nothing; the peer itself may come from elsewhere.
#[test]
fn only_authentic_packets_move_the_address() {
    let thief: SocketAddr = "203.0.113.9:4000".parse().unwrap();
    let mut call = Call::new(StreamParams { srtp: Some(keys(Suite::AeadAes128Gcm)), ..params() });
    for _ in 0..5 {
        let (plain, sealed) = (call.plain(), call.sealed());
        call.hear(thief, &plain);
        call.hear(peer(), &sealed);
        call.hear(thief, &sealed);
    }
    call.talk(Span::from_millis(100));
    assert_eq!(call.counted(), [5, 5, 5, 5]);
    assert!(call.wire.to.iter().all(|to| *to == peer()), "{:?}", call.wire.to);
    let moved: SocketAddr = "198.51.100.4:6000".parse().unwrap();
    let mut call = Call::new(StreamParams { srtp: Some(keys(Suite::AeadAes128Gcm)), ..params() });
    for _ in 0..3 {
        let sealed = call.sealed();
        call.hear(moved, &sealed);
    }
    call.talk(Span::from_millis(100));
    assert!(!call.wire.to.is_empty() && call.wire.to.iter().all(|to| *to == moved), "{:?}", call.wire.to);
}

#[test]
fn a_reinvite_keeps_or_renews_keys_without_a_gap() {
    let suite = Suite::AesCm128HmacSha1_80;
    let first = StreamParams { srtp: Some(keys(suite)), ..params() };
    let mut call = Call::new(first);
    let mut heard = 0;
    let mut listen = |call: &mut Call| {
        for _ in 0..50 {
            let sealed = call.sealed();
            call.hear(peer(), &sealed);
            heard += 1;
        }
        assert_eq!(call.counted(), [heard, 0, 0, 0]);
    };
    listen(&mut call);
    call.stream.update(call.now, StreamParams { ptime: Span::from_millis(40), ..first });
    listen(&mut call);
    let renewed = Keys { receive: keying(Suite::AeadAes128Gcm, 3), ..keys(suite) };
    call.sealer.set_keying(renewed.receive);
    call.stream.update(call.now, StreamParams { srtp: Some(renewed), ..first });
    listen(&mut call);
    call.talk(Span::from_secs(1));
    for (_, packet) in &mut call.wire.rtp {
        assert!(call.opener.open_rtp(packet).is_ok(), "our own key has not changed");
    }
}
