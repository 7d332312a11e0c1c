//! Copies of packets (RFC 2198): who agrees on them, who gets lost packets back, what they cost, and what they must not touch.

mod line;

use line::{
    Ear, FRAME, Mouth, NOTHING_LOST, OPUS, SEEDS, Sent, StreamParams, ms, params, payload, peer, peer_rtcp, report_of,
    rtp, secs, settings, spoken_at,
};
use qss_endpoint::config::{Config, FecMode};
use qss_endpoint::dtmf::Digits;
use qss_endpoint::media::autopilot::Why;
use qss_endpoint::media::codec::{Band, CodecError, Encoder};
use qss_endpoint::media::command::Stats;
use qss_endpoint::media::plan::{plan, plan_protected};
use qss_endpoint::media::stream::{Settings, Stream};
use qss_endpoint::random::Rng;
use qss_endpoint::rtp::packet::Packet;
use qss_endpoint::rtp::red::{self, Redundancy, Redundant};
use qss_endpoint::rtp::rtcp::ReportBlock;
use qss_endpoint::sdp::{Local, Negotiated, Negotiation};
use qss_endpoint::srtp::{Entropy, Inbound, Keys, Suite};
use qss_endpoint::time::{Span, Time};
use std::net::SocketAddr;

const RED: Redundancy = Redundancy { send_payload_type: 99, receive_payload_type: 99 };

/// Reports each second, so that half a minute is enough to learn a line.
fn attentive() -> Settings {
    let mut settings = settings();
    settings.rtp.rtcp_interval = secs(1);
    settings
}

/// Packets of 20 ms that say where they are from, as long as the bitrate makes them.
struct Reader {
    from: i64,
    bitrate: u32,
}

impl Encoder for Reader {
    fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> Result<usize, CodecError> {
        let said = payload(self.from, false);
        self.from += pcm.len() as i64;
        let average = self.bitrate as usize / 8 * pcm.len() / 48_000;
        let len = average.max(said.len()).min(packet.len());
        packet[..len].fill(0);
        packet.get_mut(..said.len()).ok_or(CodecError(-2))?.copy_from_slice(&said);
        Ok(len)
    }
    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError> {
        self.bitrate = bits_per_second;
        Ok(())
    }
    fn set_fec(&mut self, _: u8) -> Result<(), CodecError> {
        Ok(())
    }
    fn set_complexity(&mut self, _: u8) -> Result<(), CodecError> {
        Ok(())
    }
    fn set_band(&mut self, _: Band) -> Result<(), CodecError> {
        Ok(())
    }
    fn reset(&mut self) -> Result<(), CodecError> {
        Ok(())
    }
}

// ---- two of ours ----

fn local(redundancy: bool) -> Local {
    Local {
        address: None,
        rtp_port: 4_000,
        rtcp_port: 4_001,
        ptime: ms(20),
        max_average_bitrate: 32_000,
        fec: true,
        redundancy,
        rtcp_xr: false,
        dtx: false,
        active: true,
    }
}

/// What both make of an offer of the first.
fn negotiated(wishes: [bool; 2]) -> [Negotiated; 2] {
    let [mut calling, mut called] = [1, 2]
        .map(|host: u8| Negotiation::new(host.into(), [192, 0, 2, host].into(), local(wishes[usize::from(host) - 1])));
    let (answer, theirs) = called.answer(&calling.offer()).expect("an offer");
    [calling.accept_answer(&answer).expect("an answer"), theirs]
}

struct End {
    stream: Stream<Reader, Ear>,
    wire: Sent,
    address: SocketAddr,
    /// Periods of the loudspeaker, and those of clean sound among them.
    periods: u64,
    clean: u64,
}

/// Two of our streams and a line between them that loses packets at random, RTCP among them.
struct Pair {
    ends: [End; 2],
    now: Time,
    rng: Rng,
    loss: f64,
}

impl Pair {
    fn new(seed: u64, wishes: [bool; 2]) -> Pair {
        let now = Time::from_millis(1_000_000);
        let agreed = negotiated(wishes);
        let from = (now.as_micros() as i64) * 6 / 125;
        let ends = [0, 1].map(|index: usize| {
            let media = agreed[index];
            let mut stream = Stream::new(attentive(), Reader { from, bitrate: 32_000 }, Ear);
            let params = StreamParams {
                ssrc: 7 + index as u32,
                remote_rtp: media.remote_rtp,
                remote_rtcp: media.remote_rtcp,
                rtcp_mux: media.rtcp_mux,
                send_payload_type: media.send_payload_type,
                receive_payload_type: media.receive_payload_type,
                redundancy: media.redundancy,
                ..params()
            };
            stream.start(now, params);
            let address = agreed[1 - index].remote_rtp;
            End { stream, wire: Sent::default(), address, periods: 0, clean: 0 }
        });
        Pair { ends, now, rng: Rng::from_u64(seed), loss: 0.0 }
    }

    fn pass(&mut self, span: Span) -> &mut Pair {
        for _ in 0..span.as_millis() / 10 {
            self.now += ms(10);
            for (from, to) in [(0, 1), (1, 0)] {
                let end = &mut self.ends[from];
                end.wire.now = self.now;
                end.stream.capture(self.now, &[1_000; 480], &mut end.wire);
                if end.stream.poll_timeout().is_some_and(|wakeup| wakeup.at <= self.now) {
                    end.stream.handle_timeout(self.now, &mut end.wire);
                }
                let address = end.address;
                let packets: Vec<Vec<u8>> = end.wire.rtp.drain(..).map(|(_, packet)| packet).collect();
                end.wire.to.clear();
                for packet in packets {
                    let is_lost = (self.rng.below(1 << 30) as f64) < self.loss * f64::from(1 << 30);
                    if !is_lost {
                        self.ends[to].stream.handle_rtp(self.now, address, &packet);
                    }
                }
            }
            let here = self.now.as_micros() as i64 * 6 / 125;
            for end in &mut self.ends {
                let mut samples = [0; 480];
                end.stream.playback(self.now + ms(3), &mut samples);
                end.periods += 1;
                // Beyond where one signal fades into another.
                end.clean += u64::from(spoken_at(&samples[250..310], here + 48_000).is_some());
            }
        }
        self
    }

    fn stats(&self) -> [Stats; 2] {
        [0, 1].map(|end: usize| self.ends[end].stream.stats(self.now))
    }

    /// What was lost, brought back by copies and invented during so long, with the share of clean periods.
    fn measured(&mut self, span: Span) -> [(u64, u64, u64, f64); 2] {
        let before = self.stats();
        self.ends.iter_mut().for_each(|end| (end.periods, end.clean) = (0, 0));
        self.pass(span);
        let after = self.stats();
        [0, 1].map(|n: usize| {
            let (a, b, end) = (&after[n], &before[n], &self.ends[n]);
            let clean = end.clean as f64 / end.periods as f64;
            (
                a.packets_lost - b.packets_lost,
                a.frames_red - b.frames_red,
                a.frames_concealed - b.frames_concealed,
                clean,
            )
        })
    }

    fn targets(&self) -> [u64; 2] {
        [0, 1].map(|end: usize| self.ends[end].stream.playout().target().as_millis())
    }
}

#[test]
fn two_of_ours_agree_on_copies_and_get_lost_packets_back() {
    for seed in SEEDS {
        let mut pair = Pair::new(seed, [true, true]);
        pair.loss = 0.1;
        pair.pass(secs(20));
        for (lost, red, concealed, clean) in pair.measured(secs(60)) {
            println!("seed {seed}: {lost} lost, {red} from copies, {concealed} concealed, {clean:.3} clean");
            assert!(lost > 200 && red * 10 > lost * 8, "{red} of {lost}");
            assert!(concealed * 5 < lost && clean > 0.96, "{concealed} concealed of {lost}, {clean}");
        }
        for stats in pair.stats() {
            assert!(stats.uplink.is_some_and(|choice| choice.redundancy && choice.why == Why::Loss));
            assert_eq!((stats.packets_duplicate, stats.packets_invalid, stats.packets_late), (0, 0, 0));
        }
        pair.loss = 0.0;
        pair.pass(secs(60));
        assert!(pair.stats().iter().all(|stats| stats.uplink.is_some_and(|choice| !choice.redundancy)));
        assert!(
            pair.measured(secs(10)).iter().all(|(_, red, concealed, clean)| (*red, *concealed, *clean) == (0, 0, 1.0))
        );
    }
}

#[test]
fn unless_both_agree_there_are_no_copies() {
    for wishes in [[true, false], [false, true], [false, false]] {
        let mut pair = Pair::new(3, wishes);
        pair.loss = 0.1;
        pair.pass(secs(20));
        for (lost, red, concealed, _) in pair.measured(secs(30)) {
            assert!(lost > 80 && red == 0 && concealed * 2 > lost, "{lost} {red} {concealed}");
        }
        assert!(pair.stats().iter().all(|stats| stats.uplink.is_some_and(|choice| !choice.redundancy)));
    }
}

/// What a copy repairs would be concealed again if the loss it hides were no reason to wait for it.
#[test]
fn copies_are_waited_for_while_packets_are_lost_and_not_on_a_clean_line() {
    for seed in SEEDS {
        let mut pair = Pair::new(seed, [true, true]);
        pair.loss = 0.025;
        pair.pass(secs(30));
        let mut waiting = 0;
        for _ in 0..60 {
            pair.pass(secs(1));
            waiting += pair.targets().iter().filter(|target| **target >= 20).count();
        }
        assert!(waiting >= 100, "seed {seed}: {waiting} of 120");
        pair.loss = 0.0;
        pair.pass(secs(60));
        assert!(pair.targets().iter().all(|target| *target < 10), "{:?}", pair.targets());
    }
}

// ---- what comes ----

fn repeating(n: u16, behind: u32, marker: bool) -> Vec<u8> {
    let at = |n: u16| payload(i64::from(n) * FRAME, false);
    let copy = at(n.wrapping_sub((behind / FRAME as u32) as u16));
    let block = [&red::header(OPUS, behind, copy.len())[..], &copy, &at(n)].concat();
    let mut packet = rtp(n, u32::from(n) * FRAME as u32, 9, marker, &block);
    packet[1] = RED.receive_payload_type | u8::from(marker) << 7;
    packet
}

fn listener(redundancy: Option<Redundancy>) -> Stream<Mouth, Ear> {
    let mut stream = Stream::new(settings(), Mouth::new(), Ear);
    stream.start(Time::from_millis(1_000), StreamParams { redundancy, ..params() });
    stream
}

/// The same packets at the same times, with copies and without.
#[test]
fn a_copy_is_no_arrival() {
    for seed in SEEDS {
        let counted = [true, false].map(|copies| {
            let mut rng = Rng::from_u64(seed);
            let mut stream = listener(Some(RED));
            let mut arrivals: Vec<(Time, u16)> = (1..3_000u16)
                .map(|n| (rng.below(10), Time::from_millis(1_000 + u64::from(n) * 20) + rng.span_up_to(ms(30)), n))
                .filter_map(|(luck, at, n)| (luck > 0).then_some((at, n)))
                .collect();
            arrivals.sort();
            let mut now = Time::from_millis(1_000);
            let mut arrivals = arrivals.into_iter().peekable();
            while arrivals.peek().is_some() {
                now += ms(10);
                while let Some((at, n)) = arrivals.next_if(|(at, _)| *at <= now) {
                    let plain = rtp(n, u32::from(n) * 960, 9, false, &payload(i64::from(n) * 960, false));
                    stream.handle_rtp(at, peer(), &if copies { repeating(n, 960, false) } else { plain });
                }
                stream.playback(now, &mut [0; 480]);
            }
            let stats = stream.stats(now);
            assert_eq!(stats.frames_red > 50, copies, "{}", stats.frames_red);
            (
                (stats.packets_received, stats.packets_lost, stats.packets_duplicate, stats.packets_invalid),
                (stats.jitter_us, stats.loss_burst, stats.clocks.network, stream.playout().target()),
            )
        });
        assert_eq!(counted[0], counted[1], "seed {seed}");
    }
}

#[test]
fn what_is_no_opus_with_copies_is_refused_and_what_was_not_agreed_on_too() {
    let good = repeating(2, 960, false);
    let mut other = good.clone();
    // The packet's own block is something else.
    other[12 + 4] = 8;
    for (redundancy, packet, invalid) in
        [(Some(RED), &good[..], 0), (Some(RED), &good[..20], 1), (Some(RED), &other[..], 1), (None, &good[..], 1)]
    {
        let mut stream = listener(redundancy);
        let now = Time::from_millis(1_040);
        stream.handle_rtp(now, peer(), packet);
        let stats = stream.stats(now);
        assert_eq!((stats.packets_invalid, stats.packets_received), (invalid, 1 - invalid), "{packet:?}");
    }
}

// ---- what leaves ----

fn report(lost: u8) -> Vec<u8> {
    report_of(ReportBlock { fraction_lost: lost, ..NOTHING_LOST })
}

/// Number, timestamp and own block of a packet, with its copy's timestamp and bytes.
type Left = (u16, u32, Vec<u8>, Option<(u32, Vec<u8>)>);

fn left(bytes: &[u8]) -> Option<Left> {
    let Packet { header, payload } = Packet::parse(bytes).expect("a packet");
    let (number, timestamp) = (header.sequence_number, header.timestamp);
    if header.payload_type == OPUS {
        return Some((number, timestamp, payload.to_vec(), None));
    }
    if header.payload_type != RED.send_payload_type {
        return None;
    }
    let red = Redundant::parse(payload).expect("blocks");
    let mut copies = red.copies().map(|copy| {
        assert_eq!(copy.payload_type, OPUS);
        (timestamp.wrapping_sub(copy.behind), copy.payload.to_vec())
    });
    let copy = copies.next().expect("a copy");
    assert!(copies.next().is_none() && red.payload_type == OPUS);
    Some((number, timestamp, red.payload.to_vec(), Some(copy)))
}

#[test]
fn no_second_exceeds_the_cap_while_copies_come_and_go_protected_or_not() {
    let suites = Suite::ALL.map(Some).into_iter().chain([None]);
    for (suite, cap) in suites.flat_map(|suite| [32_000, 56_000, 64_000, 96_000].map(|cap| (suite, cap))) {
        let codec = Config::default().codec;
        let plan = match suite {
            Some(suite) => plan_protected(&codec, cap, [suite].into_iter()),
            None => plan(&codec, cap),
        };
        let keying = |suite| Entropy::new([7; Entropy::LEN]).keying(suite);
        let srtp = suite.map(|suite| Keys { send: keying(suite), receive: keying(suite) });
        let mut stream = Stream::new(attentive(), Mouth::new(), Ear);
        let (mut wire, mut now, mut rng) =
            (Sent::default(), Time::from_millis(1_000_000), Rng::from_u64(u64::from(cap)));
        stream.start(
            now,
            StreamParams { redundancy: Some(RED), ptime: plan.ptime, bitrate: plan.bitrate, cap, srtp, ..params() },
        );
        let mut sealer = srtp.map(|keys| qss_endpoint::srtp::Outbound::new(keys.receive));
        let mut repeated = Vec::new();
        for lost in [0, 30, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 60, 0] {
            let mut bytes = report(lost);
            if let Some(sealer) = &mut sealer {
                let len = bytes.len();
                bytes.resize(len + qss_endpoint::srtp::MAX_OVERHEAD, 0);
                let len = sealer.seal_rtcp(&mut bytes, len).expect("sealed");
                bytes.truncate(len);
            }
            stream.handle_rtcp(now, peer_rtcp(), &bytes);
            for _ in 0..500 {
                now += ms(10);
                wire.now = now + rng.span_up_to(ms(3));
                stream.capture(wire.now, &[1_000; 480], &mut wire);
                if stream.poll_timeout().is_some_and(|wakeup| wakeup.at <= wire.now) {
                    stream.handle_timeout(wire.now, &mut wire);
                }
            }
            repeated.push(stream.stats(now).uplink.is_some_and(|choice| choice.redundancy));
        }
        let sent: Vec<(Time, usize)> =
            wire.rtp.iter().chain(&wire.rtcp).map(|(at, bytes)| (*at, (bytes.len() + 28) * 8)).collect();
        let second = |end: Time| sent.iter().filter(move |(at, _)| *at <= end && end.since(*at) < secs(1));
        let busiest = sent.iter().map(|(end, _)| second(*end).map(|(_, bits)| bits).sum()).max().unwrap_or(0);
        let stats = stream.stats(now);
        println!("{suite:?} {cap}: {busiest}");
        assert!(busiest <= cap as usize, "{suite:?} {cap}: {busiest}");
        assert_eq!(stats.wire_bits_max_second as usize, busiest);
        // A packet that is twice as long as the one before may find no room.
        assert!(stats.packets_withheld * 1_000 < stats.packets_sent, "{suite:?} {cap}: {stats:?}");
        let room = cap >= 56_000;
        assert_eq!(
            (repeated[0], repeated[1], repeated[14], repeated[15]),
            (false, room, false, room),
            "{suite:?} {cap}"
        );
        let mut opener = srtp.map(|keys| Inbound::new(keys.send));
        let copies = wire.rtp.iter().filter_map(|(_, bytes)| {
            let mut bytes = bytes.clone();
            if let Some(opener) = &mut opener {
                let len = opener.open_rtp(&mut bytes).expect("ours");
                bytes.truncate(len);
            }
            left(&bytes)?.3
        });
        assert_eq!(copies.count() > 1_000, room, "{suite:?} {cap}");
    }
}

/// Whatever happens between two packets: mute, digits, hold, a card that is away, frames withheld, longer packets, a line
/// that becomes clean and lossy again, a call that waited.
#[test]
fn a_copy_is_of_the_packet_just_before_it_or_is_left_out() {
    for seed in SEEDS {
        let mut rng = Rng::from_u64(seed);
        let mut stream = Stream::new(settings(), Reader { from: 0, bitrate: 32_000 }, Ear);
        let (mut wire, mut now) = (Sent::default(), Time::from_millis(1_000_000));
        let mut params = StreamParams { redundancy: Some(RED), ..params() };
        stream.start(now, params);
        for _ in 0..20_000 {
            now += ms(10);
            wire.now = now;
            match rng.below(400) {
                0 => stream.mute(true),
                1 => stream.mute(false),
                2 => stream.press(&Digits::parse("5").expect("a digit"), ms(100), ms(100)),
                3..6 => {
                    params.send = rng.below(4) > 0;
                    params.cap = [0, 64_000, 14_000][rng.below(3) as usize];
                    stream.update(now, params);
                }
                6 => now += rng.span_up_to(ms(500)),
                7 => {
                    stream.park(now);
                    stream.start(now, params);
                }
                8..20 => stream.handle_rtcp(now, peer_rtcp(), &report(30)),
                20..26 => stream.handle_rtcp(now, peer_rtcp(), &report(0)),
                _ => {}
            }
            stream.capture(now, &[1_000; 480], &mut wire);
        }
        let packets: Vec<_> = wire.rtp.iter().map(|(_, bytes)| left(bytes)).collect();
        let mut copies = 0;
        for pair in packets.windows(2) {
            let Some((number, _, _, Some((timestamp, copy)))) = &pair[1] else { continue };
            let (before, recorded, own, _) = pair[0].as_ref().expect("no event");
            assert_eq!((before.wrapping_add(1), recorded, own), (*number, timestamp, copy));
            copies += 1;
        }
        println!("seed {seed}: {copies} copies in {} packets", packets.len());
        assert!(copies > 500 && copies < packets.len() - 200, "{copies} of {}", packets.len());
    }
}

/// Without Opus' speech coder there is no FEC: copies are all there is.
#[test]
fn copies_need_no_fec_and_give_way_where_it_is_all_that_fits() {
    let choice = |fec, cap: u32| {
        let mut settings = settings();
        settings.codec.fec = fec;
        let plan = plan(&Config::default().codec, cap);
        let mut stream = Stream::new(settings, Mouth::new(), Ear);
        let now = Time::from_millis(1_000);
        stream.start(
            now,
            StreamParams { redundancy: Some(RED), ptime: plan.ptime, bitrate: plan.bitrate, cap, ..params() },
        );
        stream.handle_rtcp(now, peer_rtcp(), &report(30));
        let choice = stream.stats(now).uplink.expect("a call");
        (choice.redundancy, choice.expected_loss > 0)
    };
    assert_eq!(
        [0, 64_000, 32_000].map(|cap| choice(FecMode::Off, cap)),
        [(true, false), (true, false), (false, false)]
    );
    assert_eq!(
        [0, 64_000, 32_000].map(|cap| choice(FecMode::Auto, cap)),
        [(true, false), (true, false), (false, true)]
    );
}
