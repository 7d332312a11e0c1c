//! After `Stream::new` nothing on the path of a frame allocates: capture, playback, packets, reports, events.

mod line;

use line::{Ear, Mouth, params, payload, peer, peer_rtcp, rtp, settings};
use qss_endpoint::dtmf::Digits;
use qss_endpoint::media::command::Clocks;
use qss_endpoint::media::stream::{Stream, Wire};
use qss_endpoint::media::tone::Tone;
use qss_endpoint::random::Rng;
use qss_endpoint::rtp::red::{self, Redundancy};
use qss_endpoint::rtp::rtcp::{self, CNAME_LEN, Farewell, MAX_LEN, ReportBlock};
use qss_endpoint::rtp::xr::{Asked, Delay, Report, RoundTrip, VoipMetrics};
use qss_endpoint::srtp::{Entropy, Keys, MAX_OVERHEAD, Outbound, Suite};
use qss_endpoint::time::{Span, Time};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

const ALL: Asked = Asked { round_trip: RoundTrip::All, voip_metrics: true };

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[allow(unsafe_code)] // A global allocator cannot be written without.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is being torn down counts no more.
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// A wire that forgets.
struct Nowhere(u64);

impl Wire for Nowhere {
    fn send_rtp(&mut self, _to: SocketAddr, packet: &[u8]) -> bool {
        self.0 += packet.len() as u64;
        true
    }
    fn send_rtcp(&mut self, _to: SocketAddr, packet: &[u8]) {
        self.0 += packet.len() as u64;
    }
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    std::hint::black_box(vec![0u8; 100]);
    assert!(allocations() > before);
}

#[test]
fn no_frame_allocates_on_a_good_line_or_a_bad_one() {
    for_ten_seconds(None);
}

#[test]
fn no_protected_frame_allocates() {
    for suite in Suite::ALL {
        for_ten_seconds(Some(suite));
    }
}

#[test]
fn no_frame_with_a_copy_allocates() {
    let packets: Vec<Vec<u8>> = (1..500u16)
        .map(|n| {
            let at = |n: u16| payload(i64::from(n) * 960, false);
            let blocks = [&red::header(96, 960, 10)[..], &at(n - 1), &at(n)].concat();
            let mut packet = rtp(n, u32::from(n) * 960, 9, false, &blocks);
            packet[1] = 99;
            packet
        })
        .collect();
    let block = ReportBlock {
        ssrc: params().ssrc,
        fraction_lost: 30,
        cumulative_lost: 0,
        highest_seq: 0,
        jitter: 0,
        last_sender_report: 0,
        since_sender_report: 0,
    };
    let mut report = [0; MAX_LEN];
    let len = rtcp::write(&mut report, 9, None, Some(block), &[b'x'; CNAME_LEN], &Report::NOTHING, Farewell::None);
    let redundancy = Some(Redundancy { send_payload_type: 99, receive_payload_type: 99 });
    let mut now = Time::from_millis(10);
    let mut stream = Stream::new(settings(), Mouth::new(), Ear);
    let (mut wire, mut heard) = (Nowhere(0), [0i16; 480]);

    let before = allocations();
    stream.start(now, line::StreamParams { cap: 64_000, redundancy, ..params() });
    stream.handle_rtcp(now, peer_rtcp(), &report[..len]);
    for (n, packet) in packets.iter().enumerate() {
        for _ in 0..2 {
            now += Span::from_millis(10);
            stream.capture(now, &[1_000; 480], &mut wire);
            stream.playback(now, &mut heard);
        }
        if n % 9 != 5 {
            stream.handle_rtp(now, peer(), packet);
        }
    }
    let allocated = allocations() - before;

    let stats = stream.stats(now);
    assert!(stats.frames_red > 20 && stats.uplink.is_some_and(|choice| choice.redundancy), "{stats:?}");
    assert_eq!(allocated, 0);
}

fn for_ten_seconds(suite: Option<Suite>) {
    let keying = |suite| Entropy::new([7; Entropy::LEN]).keying(suite);
    let srtp = suite.map(|suite| Keys { send: keying(suite), receive: keying(suite) });
    let mut sealer = srtp.map(|keys| Outbound::new(keys.receive));
    // Everything the world says is prepared beforehand: ten seconds with loss, disorder, strangers, reports.
    let mut rng = Rng::from_u64(1);
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for n in 0..500u16 {
        let mut packet = rtp(n, u32::from(n) * 960, 9, n % 50 == 0, &payload(i64::from(n) * 960, n % 3 == 0));
        match rng.below(20) {
            0 => packet.truncate(rng.below(20) as usize),
            1 => packet[8] = 7,
            2 => packet[1] = 101,
            _ => {}
        }
        // What is too short to be sealed comes as it is.
        if let Some(sealer) = &mut sealer {
            let len = packet.len();
            packet.resize(len + MAX_OVERHEAD, 0);
            let sealed = sealer.seal_rtp(&mut packet, len);
            packet.truncate(sealed.unwrap_or(len));
        }
        packets.push(packet);
    }
    for _ in 0..50 {
        let at = rng.below(499) as usize;
        packets.swap(at, at + 1);
    }
    let mut report = [0; MAX_LEN + MAX_OVERHEAD];
    let ours = params().ssrc;
    let told = Report {
        reference_time: Some(1 << 32),
        delay: Some(Delay { ssrc: ours, reference_time: 1, since: 1 }),
        metrics: Some(VoipMetrics::unheard(ours)),
    };
    let len = rtcp::write(report.first_chunk_mut().unwrap(), 9, None, None, &[b'x'; CNAME_LEN], &told, Farewell::Bye);

    let len = sealer.as_mut().map_or(len, |sealer| sealer.seal_rtcp(&mut report, len).unwrap());

    let mut now = Time::from_millis(10);
    let mut stream = Stream::new(settings(), Mouth::new(), Ear);
    // Clocks that run apart: all that is heard goes through the resampler.
    stream.recall(Clocks { network: Some(300.0), capture: None, playback: Some(-300.0) });
    let mut wire = Nowhere(0);
    let digits = Digits::parse("0123456789*#ABCD").unwrap();
    let (mut heard, spoken) = ([0i16; 480], [1_000i16; 480]);

    let before = allocations();
    stream.start(now, line::StreamParams { cap: 32_000, bitrate: 14_000, srtp, extended: ALL, ..params() });
    stream.card_moves(now, true);
    stream.press(&digits, Span::from_millis(100), Span::from_millis(100));
    for (n, packet) in packets.iter().enumerate() {
        for half in 0..2 {
            now += Span::from_millis(10);
            stream.capture(now, &spoken, &mut wire);
            stream.playback(now, &mut heard);
            // Now and then a packet is lost, and half of the time nothing comes in this period.
            if half == 0 && n % 17 != 0 && !(200..260).contains(&n) {
                stream.handle_rtp(now, peer(), packet);
            }
            if n % 100 == 99 {
                stream.handle_rtcp(now, peer_rtcp(), &report[..len]);
                stream.handle_rtcp(now, peer_rtcp(), packet);
            }
            if stream.poll_timeout().is_some_and(|w| w.at <= now) {
                stream.handle_timeout(now, &mut wire);
            }
            while stream.poll_event().is_some() {}
            std::hint::black_box(stream.stats(now));
        }
    }
    let received = stream.stats(now).packets_received;
    let resampled = stream.playout().resampled_ppm();
    stream.update(now, params());
    stream.mute(true);
    stream.tone(Tone::Busy);
    stream.stop(now, &mut wire);
    while stream.is_sounding() {
        now += Span::from_millis(10);
        stream.playback(now, &mut heard);
    }
    let allocated = allocations() - before;

    assert!(wire.0 > 10_000 && received > 300, "packets left and came: {}, {received}", wire.0);
    assert!((500.0..700.0).contains(&resampled), "{resampled} ppm");
    assert_eq!(allocated, 0);
}
