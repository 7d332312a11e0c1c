//! A call's stream while it is changed, held, parked and taken up again, and what of the packets that come is of no use.

mod line;

use line::{
    Ear, Line, Mouth, NOTHING_LOST, OPUS, Room, Sent, StreamParams, ms, params, payload, peer, peer_rtcp, report_of,
    rtp, secs, settings,
};
use qss_endpoint::dtmf::{Digit, Digits};
use qss_endpoint::media::codec::{Band, CodecError, Encoder};
use qss_endpoint::media::command::{Event, PacketKind};
use qss_endpoint::media::governor::{Board, Deadline, Pass};
use qss_endpoint::media::stream::Stream;
use qss_endpoint::media::tone::Tone;
use qss_endpoint::media::turn::Side;
use qss_endpoint::rtp::event::NamedEvent;
use qss_endpoint::rtp::packet::{HEADER_LEN, Header, Packet};
use qss_endpoint::rtp::rtcp::ReportBlock;
use qss_endpoint::time::{Span, Time};

/// A stream, its microphone and its loudspeaker, 10 ms at a time.
struct Call {
    stream: Stream<Mouth, Ear>,
    wire: Sent,
    now: Time,
    events: Vec<Event>,
    /// What the microphone hears all the time.
    voice: i16,
}

impl Call {
    /// None runs yet.
    fn idle() -> Call {
        let stream = Stream::new(settings(), Mouth::new(), Ear);
        let now = Time::from_millis(1_000_000);
        Call { stream, wire: Sent::default(), now, events: Vec::new(), voice: 1_000 }
    }

    fn new(params: StreamParams) -> Call {
        let mut call = Call::idle();
        call.stream.start(call.now, params);
        call.stream.card_moves(call.now, true);
        call
    }

    fn talk(&mut self, span: Span) -> &mut Call {
        for _ in 0..span.as_millis() / 10 {
            self.now += ms(10);
            self.wire.now = self.now;
            self.stream.capture(self.now, &[self.voice; 480], &mut self.wire);
            self.stream.playback(self.now, &mut [0; 480]);
            if self.stream.poll_timeout().is_some_and(|wakeup| wakeup.at <= self.now) {
                self.stream.handle_timeout(self.now, &mut self.wire);
            }
            self.events.extend(std::iter::from_fn(|| self.stream.poll_event()));
        }
        self
    }

    fn update(&mut self, params: StreamParams) {
        self.stream.update(self.now, params);
    }

    /// So many packets of the peer, one each 20 ms.
    fn hear(&mut self, numbers: std::ops::Range<u16>, ssrc: u32, body: &[u8]) {
        for n in numbers {
            self.talk(ms(20));
            self.stream.handle_rtp(self.now, peer(), &rtp(n, u32::from(n) * 960, ssrc, false, body));
        }
    }

    fn headers(&self) -> Vec<Header> {
        self.wire.rtp.iter().map(|(_, bytes)| Packet::parse(bytes).expect("ours").header).collect()
    }

    /// The peer's report on our stream.
    fn report(&mut self, fraction_lost: u8, highest_seq: u32) {
        let report = report_of(ReportBlock { fraction_lost, highest_seq, ..NOTHING_LOST });
        self.stream.handle_rtcp(self.now, peer_rtcp(), &report);
    }
}

fn held() -> StreamParams {
    StreamParams { send: false, receive: false, ..params() }
}

// ---- start, update, park ----

#[test]
fn a_call_that_begins_muted_has_no_sound_in_it() {
    let mut call = Call::idle();
    call.stream.mute(true);
    call.stream.start(call.now, params());
    call.talk(ms(20));
    assert_eq!(call.stream.encoder().heard, [0; 960], "from the first sample on");
}

#[test]
fn the_level_told_is_that_of_the_microphone_whatever_is_sent_of_it_and_begins_anew_with_a_call() {
    let mut call = Call::new(params());
    call.voice = 16_384;
    call.stream.mute(true);
    call.talk(secs(1));
    assert_eq!(call.stream.stats(call.now).capture_level, -60);
    call.stream.stop(call.now, &mut call.wire);
    call.stream.start(call.now, params());
    assert_eq!(call.stream.stats(call.now).capture_level, -1_000);
}

#[test]
fn a_call_that_waited_goes_on_with_its_numbers_and_the_time_that_has_passed() {
    for ssrc in [params().ssrc, 77] {
        let mut call = Call::new(params());
        // Half a packet waits for its other half.
        call.talk(ms(1_010));
        call.stream.park(call.now);
        call.now += secs(10);
        call.stream.start(call.now, StreamParams { ssrc, ..params() });
        call.talk(ms(20));
        let [.., before, after] = call.headers()[..] else { panic!("packets") };
        let (numbers, ticks) = (
            after.sequence_number.wrapping_sub(before.sequence_number),
            after.timestamp.wrapping_sub(before.timestamp),
        );
        assert!(after.marker);
        if ssrc == params().ssrc {
            assert_eq!((numbers, ticks), (1, 960 + 480 + 480_000));
        } else {
            assert!(numbers != 1 && ticks > 600_000, "another source begins at random");
        }
    }
}

#[test]
fn of_a_call_that_is_over_nothing_is_kept() {
    for over in [true, false] {
        let mut call = Call::new(params());
        call.hear(10..20, 9, &payload(0, false));
        call.stream.park(call.now);
        if over {
            call.stream.forget(1);
        }
        let mut other = StreamParams { call: 2, ssrc: 3, ..params() };
        other.remote_rtp.set_port(peer().port() + 100);
        call.stream.start(call.now, other);
        call.hear(20..30, 9, &payload(0, false));
        assert_eq!(call.stream.stats(call.now).packets_received, if over { 9 } else { 0 });
    }
}

#[test]
fn what_is_said_on_hold_is_not_sent_after_it() {
    let mut call = Call::new(params());
    call.talk(secs(1)).update(held());
    call.voice = 5_000;
    // Half a packet waits when the hold is over.
    call.talk(ms(1_030)).update(params());
    call.voice = 1_000;
    call.talk(ms(20));
    // The resampler is eight samples behind.
    let heard = &call.stream.encoder().heard;
    assert!(
        heard[..8].iter().all(|sample| *sample == 0) && heard[8..].iter().all(|sample| *sample == 1_000),
        "{heard:?}"
    );
    let [.., before, after] = call.headers()[..] else { panic!("packets") };
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 960 + 1_030 * 48);
}

#[test]
fn a_reinvite_may_change_payload_type_and_packet_time() {
    let mut call = Call::new(params());
    call.talk(secs(1)).update(StreamParams { send_payload_type: 111, ptime: ms(40), ..params() });
    call.talk(secs(1));
    let headers = call.headers();
    let types: Vec<u8> = headers.iter().map(|header| header.payload_type).collect();
    assert!(types[..50].iter().all(|number| *number == OPUS) && types[50..].iter().all(|number| *number == 111));
    assert!(headers.windows(2).all(|pair| pair[0].sequence_number.wrapping_add(1) == pair[1].sequence_number));
    let [.., before, after] = headers[..] else { panic!("packets") };
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 1_920);
}

#[test]
fn what_waits_in_the_buffer_when_a_hold_begins_is_not_played() {
    let mut room = Room::new(1);
    room.line = Line { jitter: 80_000, ..Line::default() };
    room.run(secs(10)).mark().run(secs(1));
    assert!(room.clean() > 0.9, "{}", room.clean());
    assert!(room.stream.stats(room.now).buffer_us > 60_000, "much waits");
    let now = room.now;
    room.stream.update(now, StreamParams { receive: false, ..params() });
    room.mark().run(secs(1));
    let clean = room.heard.iter().filter(|heard| heard.age_us.is_some()).count();
    assert!(clean <= 1, "{clean} periods of the hundred after it");
}

#[test]
fn what_comes_during_a_hold_is_not_lost() {
    let mut room = Room::new(1);
    room.run(secs(5));
    for hold in [ms(100), secs(10)] {
        let now = room.now;
        room.stream.update(now, StreamParams { receive: false, ..params() });
        room.run(hold);
        let now = room.now;
        room.stream.update(now, params());
        room.run(ms(200)).mark().run(secs(5));
        assert!(room.clean() >= 0.995, "after {hold:?}: {}", room.clean());
        let stats = room.stream.stats(room.now);
        assert_eq!((stats.packets_lost, stats.burst_density, stats.gap_density), (0, 0, 0), "after {hold:?}");
        assert_eq!((stats.loss_burst, stats.packets_late), (0.0, 0), "after {hold:?}");
    }
}

// ---- a card of one direction ----

#[test]
fn a_card_of_one_direction_is_the_loudspeakers_while_nobody_is_to_be_heard_and_while_the_far_end_speaks() {
    let mut call = Call::idle();
    assert_eq!(call.stream.side(), Side::Playback, "no call, no microphone");
    call.stream.start(call.now, params());
    assert_eq!(call.stream.side(), Side::Capture);
    call.stream.mute(true);
    assert_eq!(call.stream.side(), Side::Playback, "muted");
    call.stream.mute(false);
    call.stream.tone(Tone::Connected);
    assert_eq!(call.stream.side(), Side::Playback, "a tone is to be heard");
    call.talk(secs(1));
    assert_eq!(call.stream.side(), Side::Capture, "and is over");
    for n in 0..10 {
        call.hear(n..n + 1, 9, &payload(i64::from(n) * 960, false));
    }
    assert_eq!(call.stream.side(), Side::Playback, "the far end speaks");
    call.stream.stop(call.now, &mut call.wire);
    call.stream.start(call.now, StreamParams { call: 2, ..params() });
    assert_eq!(call.stream.side(), Side::Capture, "the call before says nothing of this one");
}

#[test]
fn a_tone_that_nobody_hears_ends_all_the_same() {
    let mut call = Call::idle();
    call.stream.tone(Tone::Busy);
    (0..500).for_each(|_| call.stream.play_unheard(&mut [0; 480]));
    assert!(!call.stream.is_sounding());
}

// ---- what leaves ----

#[test]
fn a_frame_that_the_cap_has_no_room_for_is_withheld_and_counted_and_its_time_passes() {
    let mut call = Call::new(StreamParams { bitrate: 500_000, cap: 16_000, ..params() });
    call.talk(secs(20));
    let (headers, withheld) = (call.headers(), call.stream.stats(call.now).packets_withheld);
    assert!(withheld > 50, "{withheld}");
    assert_eq!(headers.len() as u64 + withheld, 1_000);
    for pair in headers.windows(2) {
        let (frames, rest) = {
            let ticks = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            (ticks / 960, ticks % 960)
        };
        assert_eq!(rest, 0);
        assert_eq!(pair[1].marker, frames > 1, "a hole is marked");
        assert_eq!(pair[1].sequence_number, pair[0].sequence_number.wrapping_add(1), "and is no loss");
    }
    let first_to_last = headers[headers.len() - 1].timestamp.wrapping_sub(headers[0].timestamp);
    assert!((999 * 960 - first_to_last) / 960 < 50, "{first_to_last}");
}

/// An encoder that takes all the room it is given.
struct Greedy;

impl Encoder for Greedy {
    fn encode(&mut self, _pcm: &[i16], packet: &mut [u8]) -> Result<usize, CodecError> {
        packet.fill(1);
        Ok(packet.len())
    }
    fn set_bitrate(&mut self, _bits_per_second: u32) -> Result<(), CodecError> {
        Ok(())
    }
    fn set_fec(&mut self, _expected_loss_percent: u8) -> Result<(), CodecError> {
        Ok(())
    }
    fn set_complexity(&mut self, _complexity: u8) -> Result<(), CodecError> {
        Ok(())
    }
    fn set_band(&mut self, _highest: Band) -> Result<(), CodecError> {
        Ok(())
    }
    fn reset(&mut self) -> Result<(), CodecError> {
        Ok(())
    }
}

#[test]
fn what_is_left_under_the_cap_is_not_used_for_a_packet_that_is_not_worth_its_headers() {
    let mut shortest = usize::MAX;
    for cap in (16_000..24_000).step_by(40) {
        let mut stream = Stream::new(settings(), Greedy, Ear);
        let (mut now, mut wire) = (Time::from_millis(1_000_000), Sent::default());
        stream.start(now, StreamParams { bitrate: 500_000, cap, ..params() });
        for _ in 0..100 {
            now += ms(20);
            stream.capture(now, &[1_000; 960], &mut wire);
        }
        shortest = wire.rtp.iter().map(|(_, bytes)| bytes.len() - HEADER_LEN).fold(shortest, usize::min);
    }
    assert!((10..14).contains(&shortest), "{shortest} bytes");
}

/// Wire bits of the busiest second.
fn busiest_second(wire: &Sent) -> usize {
    let all = || wire.rtp.iter().chain(&wire.rtcp);
    let second = |end: Time| all().filter(move |(at, _)| *at <= end && end.since(*at) < secs(1));
    let bits = |end: Time| second(end).map(|(_, bytes)| (bytes.len() + 28) * 8).sum();
    all().map(|(end, _)| bits(*end)).max().unwrap_or(0)
}

#[test]
fn a_farewell_that_the_cap_has_no_room_for_is_left_out() {
    let mut call = Call::new(StreamParams { bitrate: 500_000, cap: 16_000, ..params() });
    call.hear(0..5, 9, &payload(0, false));
    call.talk(secs(10));
    // Right after a report its place is taken.
    let reports = call.wire.rtcp.len();
    while call.wire.rtcp.len() == reports {
        call.talk(ms(10));
    }
    call.stream.stop(call.now, &mut call.wire);
    assert_eq!(call.wire.rtcp.len(), reports + 1);
    assert!((15_000..=16_000).contains(&busiest_second(&call.wire)), "{}", busiest_second(&call.wire));
}

#[test]
fn digits_between_packets_that_take_all_the_room_are_under_the_cap_too() {
    let mut call = Call::new(StreamParams { bitrate: 500_000, cap: 16_000, ..params() });
    call.talk(secs(5));
    call.stream.press(&Digits::parse(&"5".repeat(32)).expect("digits"), ms(100), ms(100));
    call.talk(secs(15));
    let (busiest, digits) =
        (busiest_second(&call.wire), call.headers().iter().filter(|h| h.payload_type == 101).count());
    assert!((15_000..=16_000).contains(&busiest), "{busiest}");
    assert!(digits > 150, "of 224 packets: {digits}");
}

#[test]
fn a_silence_is_encoded_anew_when_the_encoder_was_told_something_new() {
    let mut call = Call::new(params());
    call.stream.mute(true);
    let mut encoded = |lost| {
        call.report(lost, 0);
        let before = call.stream.encoder().packets;
        call.talk(secs(2));
        call.stream.encoder().packets - before
    };
    assert!(encoded(0) > 0);
    assert_eq!(encoded(0), 0);
    assert!(encoded(26) > 0, "the encoder makes FEC now");
    assert_eq!(encoded(26), 0);
}

#[test]
fn a_machine_that_does_not_keep_up_or_is_hot_spares_the_encoder_and_tells() {
    let mut call = Call::new(params());
    let asked = |call: &Call| (call.stream.encoder().complexity, call.stream.encoder().band);
    assert_eq!(asked(&call), (5, Band::Full));
    let mut steps = Vec::new();
    for _ in 0..350 {
        call.talk(ms(10));
        call.stream.on_pass(call.now, Pass { took: ms(9), deadline: Deadline::Kept });
        steps.push(asked(&call));
    }
    call.talk(ms(10));
    steps.dedup();
    assert_eq!(steps, [(5, Band::Full), (2, Band::Full), (0, Band::Full), (0, Band::Wide)]);
    let told = |call: &Call| {
        let step = |event: &Event| if let Event::Economy(economy) = event { Some(economy.step) } else { None };
        call.events.iter().filter_map(step).collect::<Vec<_>>()
    };
    assert_eq!(told(&call), [1, 2, 3]);
    let mut call = Call::new(params());
    call.stream.on_board(call.now, Board::Hot);
    call.talk(ms(10));
    assert_eq!((asked(&call), told(&call)), ((0, Band::Full), vec![2]));
}

/// A sender report pairs our clock with the timestamp of the sample that is recorded at that moment (RFC 3550 6.4.1).
#[test]
fn a_report_between_two_periods_tells_the_timestamp_of_that_moment() {
    let mut call = Call::new(params());
    let begun = call.now;
    for n in 1..=6_000 {
        let period = begun + ms(10 * n);
        while let Some(wakeup) = call.stream.poll_timeout().filter(|wakeup| wakeup.at < period) {
            call.wire.now = wakeup.at;
            call.stream.handle_timeout(wakeup.at, &mut call.wire);
        }
        call.wire.now = period;
        call.stream.capture(period, &[1_000; 480], &mut call.wire);
    }
    let first = call.headers()[0].timestamp;
    assert!(call.wire.rtcp.len() > 8);
    // Silence is sent ahead of the time that it lasts.
    let lost = begun + ms(60_003);
    let mut tick = call.stream.stand_in(lost);
    for _ in 0..500 {
        call.stream.capture_nothing(tick, &[0; 2_880], &mut call.wire);
        tick += ms(60);
        while let Some(wakeup) = call.stream.poll_timeout().filter(|wakeup| wakeup.at < tick) {
            call.wire.now = wakeup.at;
            call.stream.handle_timeout(wakeup.at, &mut call.wire);
        }
    }
    assert!(call.wire.rtcp.len() > 12);
    for (at, report) in &call.wire.rtcp {
        let told = u32::from_be_bytes(report[16..20].try_into().expect("four bytes")).wrapping_sub(first);
        let passed = at.since(begun).as_micros() * 6 / 125;
        assert!(passed.abs_diff(told.into()) <= 1, "{told} after {passed}");
    }
}

// ---- what comes ----

#[test]
fn packets_of_no_use_are_told_of_at_the_first_the_tenth_and_the_hundredth() {
    let mut call = Call::new(params());
    for _ in 0..150 {
        call.stream.handle_rtp(call.now, peer(), b"no RTP at all");
        call.stream.handle_rtcp(call.now, peer_rtcp(), b"no RTCP");
        call.talk(ms(10));
    }
    let told = |wanted: PacketKind| -> Vec<u64> {
        let more = |event: &Event| {
            if let Event::Invalid { kind, more, .. } = event { Some((*kind, *more)) } else { None }
        };
        call.events.iter().filter_map(more).filter(|(kind, _)| *kind == wanted).map(|(_, more)| more).collect()
    };
    assert_eq!([told(PacketKind::Rtp), told(PacketKind::Rtcp)], [[1, 9, 90]; 2], "how many more each time");
    assert_eq!(call.stream.stats(call.now).packets_invalid, 300);
}

#[test]
fn our_own_packets_that_come_back_are_not_heard() {
    let mut call = Call::new(params());
    call.hear(0..10, params().ssrc, &payload(0, false));
    let stats = call.stream.stats(call.now);
    assert_eq!((stats.packets_received, stats.packets_invalid), (0, 10));
}

#[test]
fn what_cannot_be_decoded_is_received_and_not_played() {
    let mut call = Call::new(params());
    call.hear(0..50, 9, &payload(0, false)[..3]);
    assert!(call.events.contains(&Event::Receiving { call: 1 }));
    assert!(!call.events.contains(&Event::Playing { call: 1 }));
    assert!(call.stream.stats(call.now).packets_invalid > 40);
}

#[test]
fn a_digit_of_another_source_is_another_digit_whatever_its_timestamp() {
    let mut call = Call::new(params());
    let event = NamedEvent { code: 9, end: false, duration: 960 };
    let mut press = |ssrc, number| {
        let mut packet = rtp(number, 5_000, ssrc, true, &event.write());
        packet[1] = 0x80 | params().telephone_event.expect("events").receive_payload_type;
        call.talk(ms(20));
        call.stream.handle_rtp(call.now, peer(), &packet);
    };
    // The second source has to show a second packet.
    for (ssrc, number) in [(9, 1), (9, 2), (10, 700), (10, 701), (10, 702)] {
        press(ssrc, number);
    }
    call.talk(ms(10));
    let digits: Vec<_> = call.events.iter().filter(|event| matches!(event, Event::Digit { .. })).collect();
    assert_eq!(digits, [&Event::Digit { call: 1, digit: Digit::of_char('9').expect("a key") }; 2]);
}
