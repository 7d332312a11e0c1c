//! Pauses: what leaves of a silence with `codec.dtx`, as libopus makes it, and what comes in the pauses of a far end.
#![cfg(feature = "io")]

mod line;

use line::{NOTHING_LOST, Room, Sent, StreamParams, ms, params, peer, peer_rtcp, report_of, rtp, secs, settings};
use qss_endpoint::io::opus::{OpusDecoder, OpusEncoder};
use qss_endpoint::media::command::{Event, Stats};
use qss_endpoint::media::stream::Stream;
use qss_endpoint::random::Rng;
use qss_endpoint::rtp::packet::{HEADER_LEN, Packet};
use qss_endpoint::rtp::red::Redundancy;
use qss_endpoint::rtp::rtcp::ReportBlock;
use qss_endpoint::time::{Span, Time};

type Station = Stream<OpusEncoder, OpusDecoder>;

/// Two ends, of which one speaks and pauses and the other listens.
struct Pair {
    now: Time,
    talker: Station,
    listener: Station,
    wire: Sent,
    arrived: usize,
    events: Vec<Event>,
    rng: Rng,
}

fn station(now: Time, dtx: bool, params: StreamParams) -> Station {
    let mut settings = settings();
    settings.codec.dtx = dtx;
    let encoder = OpusEncoder::new(&settings.codec).unwrap();
    let mut stream = Stream::new(settings, encoder, OpusDecoder::new().unwrap());
    stream.start(now, params);
    stream
}

impl Pair {
    fn new(dtx: bool, params: StreamParams) -> Pair {
        let now = Time::from_millis(1_000_000);
        let talker = station(now, dtx, StreamParams { receive: false, ..params });
        let listener = station(now, dtx, StreamParams { ssrc: 5, send: false, ..params });
        Pair { now, talker, listener, wire: Sent::default(), arrived: 0, events: Vec::new(), rng: Rng::from_u64(1) }
    }

    /// For so long, with noise of this level; the packets that left.
    fn noise(&mut self, span: Span, level: u64) -> usize {
        let before = self.wire.rtp.len();
        for _ in 0..span.as_millis() / 10 {
            self.now += ms(10);
            self.wire.now = self.now;
            let mut samples: [i16; 480] = std::array::from_fn(|_| self.rng.below(2 * level + 1) as i16 - level as i16);
            self.talker.capture(self.now, &samples, &mut self.wire);
            for (_, packet) in &self.wire.rtp[self.arrived..] {
                self.listener.handle_rtp(self.now, peer(), packet);
            }
            self.arrived = self.wire.rtp.len();
            self.listener.playback(self.now, &mut samples);
            for end in [&mut self.talker, &mut self.listener] {
                end.handle_timeout(self.now, &mut Sent::default());
                self.events.extend(std::iter::from_fn(|| end.poll_event()));
            }
        }
        self.wire.rtp.len() - before
    }

    fn stats(&self) -> [Stats; 2] {
        [self.talker.stats(self.now), self.listener.stats(self.now)]
    }
}

#[test]
fn of_a_quiet_room_hardly_a_packet_leaves_and_nobody_takes_that_for_loss() {
    for (dtx, ptime, quiet, muted) in
        [(false, 20, 500..=500, 500..=500), (true, 20, 40..=70, 20..=30), (true, 60, 30..=60, 20..=30)]
    {
        let mut pair = Pair::new(dtx, StreamParams { ptime: ms(ptime), ..params() });
        let packets = (3_000 / ptime) as usize;
        let loud = pair.noise(secs(3), 8_000);
        pair.noise(secs(1), 10);
        let all = [loud, pair.noise(secs(10), 10), pair.noise(secs(3), 8_000)];
        assert!(quiet.contains(&all[1]), "{dtx}, {ptime} ms: {all:?}");
        assert!(all[0] + 3 >= packets && all[2] + 3 >= packets, "sound leaves at once: {all:?}");
        pair.talker.mute(true);
        pair.noise(secs(1), 8_000);
        let silent = pair.noise(secs(10), 8_000);
        assert!(muted.contains(&silent), "{dtx}, {ptime} ms: {silent}");
        let [sent, heard] = pair.stats();
        assert_eq!((sent.packets_withheld, heard.packets_lost, heard.packets_late), (0, 0, 0), "{dtx}, {ptime} ms");
        assert_eq!(heard.packets_received as usize, pair.wire.rtp.len());
        let fallen = |event: &&Event| matches!(event, Event::NotSending { .. } | Event::Silent { .. });
        assert_eq!(pair.events.iter().find(fallen), None);
    }
}

#[test]
fn time_runs_on_in_a_pause_and_what_comes_after_it_is_marked() {
    let mut pair = Pair::new(true, params());
    pair.noise(secs(2), 8_000);
    pair.noise(secs(5), 10);
    pair.noise(secs(1), 8_000);
    let packets: Vec<_> = pair.wire.rtp.iter().map(|(at, packet)| (*at, Packet::parse(packet).unwrap())).collect();
    let mut pauses = 0;
    for pair in packets.windows(2) {
        let [(before, first), (at, second)] = pair else { panic!("two") };
        let (first, second) = (first.header, second.header);
        assert_eq!(second.sequence_number, first.sequence_number.wrapping_add(1));
        assert_eq!(u64::from(second.timestamp.wrapping_sub(first.timestamp)), at.since(*before).as_micros() * 6 / 125);
        assert!(at.since(*before) <= ms(400));
        assert_eq!(second.marker, at.since(*before) > ms(20));
        pauses += usize::from(second.marker);
    }
    assert!(pauses > 8, "{pauses}");
    // The last packet before each pause says that it is one.
    for pair in packets.windows(2).filter(|pair| pair[1].1.header.marker) {
        assert!(pair[0].1.payload.len() <= 2, "{}", pair[0].1.payload.len());
    }
}

#[test]
fn a_packet_after_a_pause_has_no_copy_of_one_before_it() {
    let red = Redundancy { send_payload_type: 63, receive_payload_type: 63 };
    let mut pair = Pair::new(true, StreamParams { redundancy: Some(red), ..params() });
    pair.noise(secs(2), 8_000);
    let report = report_of(ReportBlock { fraction_lost: 60, ..NOTHING_LOST });
    pair.talker.handle_rtcp(pair.now, peer_rtcp(), &report);
    pair.noise(secs(1), 8_000);
    pair.noise(secs(5), 10);
    let packets: Vec<_> = pair.wire.rtp.iter().map(|(_, packet)| Packet::parse(packet).unwrap()).collect();
    let copies = packets.iter().filter(|packet| packet.header.payload_type == 63).count();
    let marked = packets.iter().filter(|packet| packet.header.marker);
    assert!(copies > 40 && marked.clone().count() > 8, "{copies}");
    assert!(marked.clone().all(|packet| packet.header.payload_type != 63));
    assert_eq!(pair.stats()[1].packets_invalid, 0);
    assert!(pair.wire.rtp.iter().all(|(_, packet)| packet.len() > HEADER_LEN));
}

#[test]
fn comfort_noise_is_neither_lost_nor_invalid_and_begins_no_stream() {
    let noise = |number: u16, ssrc| {
        // Its time is not that of the sound, and runs anyhow.
        let mut packet = rtp(number, u32::from(number).wrapping_mul(0x6000_0000), ssrc, false, &[40]);
        packet[1] = 13;
        packet
    };
    let mut room = Room::new(1);
    let counted = |room: &Room| {
        let stats = room.stream.stats(room.now);
        [stats.packets_received, stats.packets_invalid, stats.packets_lost]
    };
    (0..5).for_each(|n| room.stream.handle_rtp(room.now, peer(), &noise(n, 5)));
    assert_eq!(counted(&room), [0, 5, 0], "nobody speaks yet");
    room.run(secs(10)).mark();
    let [received, ..] = counted(&room);
    let (jitter, concealed) = (room.stream.stats(room.now).jitter_us, room.stream.stats(room.now).frames_concealed);
    for _ in 0..25 {
        for _ in 0..2 {
            let packet = noise(room.take_number(), room.talker.ssrc);
            room.post(packet);
        }
        room.run(ms(200));
    }
    let stats = room.stream.stats(room.now);
    assert_eq!(counted(&room), [received + 300, 5, 0], "fifty of noise among those of sound");
    assert!(
        stats.frames_concealed == concealed && stats.jitter_us <= jitter + 100 && stats.burst_density == 0,
        "{stats:?}"
    );
    assert!(room.clean() >= 0.995, "{}", room.clean());
    (0..5).for_each(|n| room.stream.handle_rtp(room.now, peer(), &noise(n, 5)));
    assert_eq!(counted(&room)[1], 10, "of another source");
    room.run(ms(20));
    assert_eq!(counted(&room)[0], received + 301);
}
