//! Extended reports (RFC 3611): two ends tell each other how they hear, on virtual time; who asks for nothing is told nothing.

mod line;

use line::{Ear, Mouth, Sent, params, payload, peer, peer_rtcp, rtp, settings};
use qss_endpoint::config::{Config, FecMode};
use qss_endpoint::media::autopilot::Why;
use qss_endpoint::media::command::{Stats, StreamParams};
use qss_endpoint::media::plan::plan;
use qss_endpoint::media::stream::Stream;
use qss_endpoint::rtp::rtcp::{self, CNAME_LEN, Farewell, MAX_LEN, Part};
use qss_endpoint::rtp::xr::{Asked, Block, Report, RoundTrip, UNKNOWN, VoipMetrics};
use qss_endpoint::time::{Span, Time};

const ALL: Asked = Asked { round_trip: RoundTrip::All, voip_metrics: true };
const LATENCY: Span = Span::from_millis(20);

/// One end, and what it has sent.
struct End {
    stream: Stream<Mouth, Ear>,
    wire: Sent,
    /// Of that, what has arrived.
    rtp: usize,
    rtcp: usize,
    /// Packet n of its audio is lost.
    loses: fn(usize) -> bool,
}

/// Two ends and the line between them.
struct Pair {
    now: Time,
    ends: [End; 2],
}

impl End {
    fn new(now: Time, fec: FecMode, params: StreamParams) -> End {
        let mut settings = settings();
        settings.rtp.rtcp_interval = Span::from_millis(2_500);
        settings.codec.fec = fec;
        let mut stream = Stream::new(settings, Mouth::new(), Ear);
        stream.start(now, params);
        End { stream, wire: Sent::default(), rtp: 0, rtcp: 0, loses: |_| false }
    }

    fn live(&mut self, now: Time) {
        self.wire.now = now;
        self.stream.capture(now, &[1_000; 480], &mut self.wire);
        self.stream.playback(now, &mut [0; 480]);
        if self.stream.poll_timeout().is_some_and(|wakeup| wakeup.at <= now) {
            self.stream.handle_timeout(now, &mut self.wire);
        }
        while self.stream.poll_event().is_some() {}
    }

    /// What is due of it reaches `other`.
    fn arrive(&mut self, now: Time, other: &mut Stream<Mouth, Ear>) {
        while let Some((at, packet)) = self.wire.rtp.get(self.rtp).filter(|(at, _)| now.since(*at) >= LATENCY) {
            if !(self.loses)(self.rtp) {
                other.handle_rtp(*at + LATENCY, peer(), packet);
            }
            self.rtp += 1;
        }
        while let Some((at, packet)) = self.wire.rtcp.get(self.rtcp).filter(|(at, _)| now.since(*at) >= LATENCY) {
            other.handle_rtcp(*at + LATENCY, peer_rtcp(), packet);
            self.rtcp += 1;
        }
    }

    /// The extended reports it has sent.
    fn told(&self) -> Vec<Block> {
        let mut told = Vec::new();
        for (_, packet) in &self.wire.rtcp {
            let mut on = |part| {
                if let Part::Extended(block) = part {
                    told.push(block);
                }
            };
            rtcp::read(packet, &mut on).unwrap();
        }
        told
    }
}

impl Pair {
    fn new(fec: FecMode, first: StreamParams, second: StreamParams) -> Pair {
        let now = Time::from_millis(1_000_000);
        let second = StreamParams { ssrc: 0x2222_2222, ..second };
        Pair { now, ends: [End::new(now, fec, first), End::new(now, fec, second)] }
    }

    fn run(&mut self, span: Span) -> &mut Pair {
        for _ in 0..span.as_millis() / 10 {
            self.now += Span::from_millis(10);
            let [first, second] = &mut self.ends;
            first.arrive(self.now, &mut second.stream);
            second.arrive(self.now, &mut first.stream);
            first.live(self.now);
            second.live(self.now);
        }
        self
    }

    fn stats(&self) -> [Stats; 2] {
        [0, 1].map(|n| self.ends[n].stream.stats(self.now))
    }
}

fn asking(extended: Asked) -> StreamParams {
    StreamParams { extended, ..params() }
}

fn in_pairs(n: usize) -> bool {
    n % 25 == 10 || n % 25 == 11
}

#[test]
fn each_end_learns_how_the_other_hears_it() {
    let mut pair = Pair::new(FecMode::Off, asking(ALL), asking(ALL));
    pair.ends[0].loses = in_pairs;
    pair.run(Span::from_secs(60));
    let [first, second] = pair.stats();
    let (bad, good) = (first.heard.expect("told"), second.heard.expect("told"));
    // Two of 25 packets of 20 ms are lost, and 23 come.
    assert_eq!((bad.burst_density, bad.burst_duration, bad.gap_density), (255, 40, 0));
    assert!((18..=21).contains(&bad.loss_rate) && (400..=460).contains(&bad.gap_duration), "{bad:?}");
    assert_eq!((second.burst_density, second.burst_ms), (255, 40), "and the other end shows the same");
    assert!((400..=460).contains(&second.gap_ms));
    assert_eq!((good.loss_rate, good.discard_rate, good.burst_density, good.burst_duration), (0, 0, 0, 0));
    assert!(good.gap_duration > 50_000, "all is one gap: {good:?}");
    for metrics in [bad, good] {
        assert!((40..=42).contains(&metrics.round_trip), "{metrics:?}");
        assert!((26..=100).contains(&metrics.end_system_delay), "{metrics:?}");
        assert_eq!((metrics.signal_level, metrics.echo_return_loss, metrics.gmin), (UNKNOWN, UNKNOWN, 16));
        assert!(metrics.buffer_nominal < metrics.buffer_maximum);
    }
    assert!(bad.r_factor < 75 && bad.mos_lq < 38 && bad.mos_cq <= bad.mos_lq, "{bad:?}");
    assert!((90..=93).contains(&good.r_factor) && good.mos_lq == 44, "{good:?}");
    assert!([first, second].iter().all(|stats| stats.packets_invalid == 0));
}

#[test]
fn packets_that_come_too_late_are_discards_and_no_losses() {
    let mut pair = Pair::new(FecMode::Off, asking(ALL), asking(ALL));
    pair.run(Span::from_secs(5));
    // One packet in twenty waits for 400 ms on the way.
    let mut held = Vec::new();
    for n in 0..600 {
        let sent = pair.ends[0].wire.rtp.len();
        pair.ends[0].loses = |n| n % 20 == 7;
        pair.run(Span::from_millis(20));
        if let Some((at, packet)) = pair.ends[0].wire.rtp.get(sent).filter(|_| sent % 20 == 7) {
            held.push((*at + Span::from_millis(400), packet.clone()));
        }
        held.retain(|(at, packet)| {
            if *at <= pair.now {
                pair.ends[1].stream.handle_rtp(pair.now, peer(), packet);
            }
            *at > pair.now
        });
        assert!(n < 600);
    }
    pair.run(Span::from_secs(3));
    let heard = pair.stats()[0].heard.expect("told");
    assert!((4..=12).contains(&heard.discard_rate), "some, until the buffer gives in: {heard:?}");
    assert!(heard.loss_rate <= 3, "{heard:?}");
}

#[test]
fn a_packet_that_was_mended_and_comes_too_late_makes_up_for_no_loss() {
    let mut end = End::new(Time::from_millis(1_000_000), FecMode::Off, asking(ALL));
    let packet = |n: u16| rtp(n, u32::from(n) * 960, 9, false, &payload(i64::from(n) * 960, true));
    for n in 0..3_000u16 {
        let now = Time::from_millis(1_000_000 + u64::from(n) * 20);
        let arrives: &[u16] = match n % 50 {
            17 | 18 | 42 | 43 | 10 => &[],
            30 => &[n - 20, n],
            _ => &[n],
        };
        arrives.iter().for_each(|n| end.stream.handle_rtp(now, peer(), &packet(*n)));
        end.live(now);
        end.live(now + Span::from_millis(10));
    }
    let told = end.told();
    let Some(Block::Metrics(metrics)) = told.iter().rfind(|block| matches!(block, Block::Metrics(_))) else {
        panic!("{told:?}")
    };
    // Of fifty, four are lost, of which FEC mends two; a fifth is mended as well, and comes late.
    assert!((9..=13).contains(&metrics.loss_rate) && (4..=6).contains(&metrics.discard_rate), "{metrics:?}");
}

#[test]
fn who_only_listens_learns_the_round_trip_as_well() {
    for (round_trip, known) in [(RoundTrip::All, true), (RoundTrip::Senders, true), (RoundTrip::Nobody, false)] {
        let extended = Asked { round_trip, voip_metrics: false };
        let listener = StreamParams { send: false, ..asking(extended) };
        let mut pair = Pair::new(FecMode::Off, asking(extended), listener);
        pair.run(Span::from_secs(10));
        let trip = pair.stats()[1].round_trip_us;
        assert_eq!((39_000..42_000).contains(&trip), known, "{round_trip:?}: {trip}");
        assert_eq!(trip > 0, known);
        let [sender, listener] = [0, 1].map(|n| pair.ends[n].told());
        assert!(sender.iter().all(|block| matches!(block, Block::Delay(_))), "who sends has its sender reports");
        assert!(listener.iter().all(|block| matches!(block, Block::ReferenceTime { .. })));
    }
    // Two that only listen: one that answers senders alone says nothing.
    for (round_trip, answers) in [(RoundTrip::All, true), (RoundTrip::Senders, false)] {
        let silent = StreamParams { send: false, ..asking(Asked { round_trip, voip_metrics: false }) };
        let mut pair = Pair::new(FecMode::Off, silent, silent);
        pair.run(Span::from_secs(10));
        assert_eq!(pair.stats().map(|stats| stats.round_trip_us > 0), [answers; 2], "{round_trip:?}");
    }
}

#[test]
fn a_peer_is_told_what_it_asks_for_and_no_more() {
    let metrics = Asked { voip_metrics: true, ..Asked::NOTHING };
    for asked in [Asked::NOTHING, metrics, ALL] {
        // The other end tells and asks all it can.
        let mut pair = Pair::new(FecMode::Off, asking(asked), StreamParams { send: true, ..asking(ALL) });
        let reference = Report { reference_time: Some(77 << 32), ..Report::NOTHING };
        for _ in 0..6 {
            pair.run(Span::from_secs(5));
            let mut packet = [0; MAX_LEN];
            let len = rtcp::write(&mut packet, 9, None, None, &[b'x'; CNAME_LEN], &reference, Farewell::None);
            pair.ends[0].stream.handle_rtcp(pair.now, peer_rtcp(), &packet[..len]);
        }
        pair.run(Span::from_secs(5));
        let told = pair.ends[0].told();
        let count = |wanted: fn(&Block) -> bool| told.iter().filter(|block| wanted(block)).count();
        let delays = count(|block| matches!(block, Block::Delay(delay) if delay.ssrc == 9));
        let metrics = count(|block| matches!(block, Block::Metrics(metrics) if metrics.ssrc == 0x2222_2222));
        assert_eq!(delays, if asked == ALL { 6 } else { 0 }, "each time is answered once");
        assert_eq!(metrics > 8, asked.voip_metrics);
        assert_eq!(told.len(), delays + metrics);
        let longest = pair.ends[0].wire.rtcp.iter().map(|(_, packet)| packet.len()).max().unwrap();
        assert_eq!(longest, rtcp::max_len(asked) - 8, "{asked:?}: all but the farewell");
    }
}

#[test]
fn a_peer_may_ask_for_more_or_for_nothing_in_the_middle_of_a_call() {
    let mut pair = Pair::new(FecMode::Off, params(), params());
    let mut told = |asked| {
        let (now, [first, _]) = (pair.now, &mut pair.ends);
        first.stream.update(now, asking(asked));
        let before = first.told().len();
        pair.run(Span::from_secs(10));
        pair.ends[0].told().len() > before
    };
    assert_eq!([Asked::NOTHING, ALL, Asked::NOTHING].map(&mut told), [false, true, false]);
}

#[test]
fn the_cap_holds_with_extended_reports_and_nothing_is_withheld_for_them() {
    for cap in [16_000, 24_000, 32_000, 64_000] {
        for asked in [Asked::NOTHING, ALL] {
            let plan = plan(&Config::default().codec, cap);
            let capped = StreamParams { ptime: plan.ptime, bitrate: plan.bitrate, cap, ..asking(asked) };
            let mut pair = Pair::new(FecMode::Auto, capped, asking(ALL));
            let reference = Report { reference_time: Some(77 << 32), ..Report::NOTHING };
            for _ in 0..120 {
                pair.run(Span::from_secs(1));
                let mut packet = [0; MAX_LEN];
                let len = rtcp::write(&mut packet, 9, None, None, &[b'x'; CNAME_LEN], &reference, Farewell::None);
                pair.ends[0].stream.handle_rtcp(pair.now, peer_rtcp(), &packet[..len]);
            }
            assert_eq!(pair.stats()[0].packets_withheld, 0, "cap {cap}, {asked:?}");
            let now = pair.now;
            let end = &mut pair.ends[0];
            end.stream.stop(now, &mut end.wire);
            let busiest = busiest_second(&end.wire);
            assert!(busiest <= cap as usize, "cap {cap}, {asked:?}: {busiest}");
            assert!(busiest as f64 > 0.8 * f64::from(cap.min(50_000)), "cap {cap}, {asked:?}: {busiest} is used");
            let reports = end.wire.rtcp.len();
            assert!(reports > 35, "cap {cap}: {reports} reports");
            let metrics = end.told().iter().filter(|block| matches!(block, Block::Metrics(_))).count();
            assert!(metrics + 2 >= if asked == ALL { reports } else { 0 }, "cap {cap}: {metrics} of {reports}");
            assert!(asked == ALL || metrics == 0);
        }
    }
    // Not asked for, they cost no bit.
    let bitrate = |asked| {
        let mut pair = Pair::new(FecMode::Off, StreamParams { cap: 16_000, ..asking(asked) }, asking(ALL));
        pair.run(Span::from_secs(20));
        let withheld = pair.stats()[0].packets_withheld;
        (pair.stats()[0].bytes_sent, withheld)
    };
    assert!(bitrate(Asked::NOTHING).0 > bitrate(ALL).0);
}

/// Wire bits of the busiest second, counted from what left.
fn busiest_second(wire: &Sent) -> usize {
    let bits = |(at, bytes): &(Time, Vec<u8>)| (*at, (bytes.len() + 28) * 8);
    let all: Vec<(Time, usize)> = wire.rtp.iter().chain(&wire.rtcp).map(bits).collect();
    let second = |end: Time| all.iter().filter(move |(at, _)| *at <= end && end.since(*at) < Span::from_secs(1));
    all.iter().map(|(end, _)| second(*end).map(|(_, bits)| bits).sum()).max().unwrap_or(0)
}

#[test]
fn bursts_on_the_way_there_are_met_although_the_way_here_is_clean() {
    for (asked, why, ptime) in [(ALL, Why::Bursts, 40), (Asked::NOTHING, Why::Loss, 20)] {
        // What is asked of the second end is what the first is told.
        let mut pair = Pair::new(FecMode::Auto, asking(Asked::NOTHING), asking(asked));
        pair.ends[0].loses = in_pairs;
        pair.run(Span::from_secs(30));
        let choice = pair.stats()[0].uplink.expect("a call");
        assert_eq!((choice.why, choice.ptime.as_millis()), (why, ptime), "{asked:?}");
        assert_eq!(pair.stats()[0].packets_lost, 0);
    }
    // And single losses are no bursts, whatever the way here is like.
    for (asked, why) in [(ALL, Why::Loss), (Asked::NOTHING, Why::Bursts)] {
        let mut pair = Pair::new(FecMode::Auto, asking(Asked::NOTHING), asking(asked));
        pair.ends[0].loses = |n| n % 20 == 10;
        pair.ends[1].loses = in_pairs;
        pair.run(Span::from_secs(30));
        assert_eq!(pair.stats()[0].uplink.expect("a call").why, why, "{asked:?}");
    }
}

#[test]
fn what_is_said_of_others_or_cannot_be_read_is_not_ours() {
    let mut pair = Pair::new(FecMode::Off, params(), params());
    pair.run(Span::from_secs(2));
    let mut say = |ssrc: u32, cut: usize| {
        let metrics = VoipMetrics { loss_rate: 99, ..VoipMetrics::unheard(ssrc) };
        let report = Report { metrics: Some(metrics), ..Report::NOTHING };
        let mut packet = [0; MAX_LEN];
        let len = rtcp::write(&mut packet, 5, None, None, &[b'x'; CNAME_LEN], &report, Farewell::None);
        // The block's own length, in its last byte but 33.
        packet[len - 33] -= cut as u8;
        pair.ends[0].stream.handle_rtcp(pair.now, peer_rtcp(), &packet[..len]);
        let stats = pair.ends[0].stream.stats(pair.now);
        (stats.heard.map(|heard| heard.loss_rate), stats.packets_invalid)
    };
    assert_eq!(say(0x3333_3333, 0), (None, 0), "of somebody else");
    assert_eq!(say(params().ssrc, 1), (None, 1), "a block of seven words");
    assert_eq!(say(params().ssrc, 0), (Some(99), 1));
}
