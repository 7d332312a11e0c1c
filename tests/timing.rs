//! When what is said leaves, and with which timestamps: by the microphone's clock or the mixer's, between the mixer's ticks, and
//! when the card was lost or restarted.

mod line;

use line::booth::Booth;
use line::{Ear, Mouth, Sent, ms, params, payload, peer, rtp, secs, settings};
use qss_endpoint::media::command::{Event, StreamParams};
use qss_endpoint::media::stream::Stream;
use qss_endpoint::rtp::packet::Packet;
use qss_endpoint::time::{Span, Time};

/// A stream in a call at this time.
fn called(now: Time) -> Stream<Mouth, Ear> {
    let mut stream = Stream::new(settings(), Mouth::new(), Ear);
    stream.start(now, params());
    stream
}

/// So many seconds of a microphone that is 300 ppm slow.
fn record(stream: &mut Stream<Mouth, Ear>, now: &mut Time, seconds: u64) {
    for _ in 0..seconds * 100 {
        *now += Span::from_micros(10_003);
        stream.capture(*now, &[0; 480], &mut Sent::default());
    }
}

/// Whether that is what the call says of it.
fn assert_slow(stream: &Stream<Mouth, Ear>, now: Time) {
    let told = stream.stats(now).clocks.capture.unwrap_or(f32::NAN);
    assert!((told + 300.0).abs() < 10.0, "{told}");
}

/// It is not known anew from our own clock, and a card that comes and goes is no slow one.
#[test]
fn the_microphones_clock_is_what_it_was_after_minutes_without_a_card() {
    let mut now = Time::from_millis(5_000);
    let mut stream = called(now);
    let mut silence = Sent::default();
    let mut nothing = |stream: &mut Stream<Mouth, Ear>, now: &mut Time, seconds: u64| {
        for _ in 0..seconds * 50 {
            *now += ms(20);
            stream.capture_nothing(*now, &[0; 960], &mut silence);
        }
    };
    record(&mut stream, &mut now, 60);
    nothing(&mut stream, &mut now, 240);
    assert_slow(&stream, now);
    for _ in 0..10 {
        record(&mut stream, &mut now, 15);
        nothing(&mut stream, &mut now, 15);
    }
    assert_slow(&stream, now);
    assert_eq!(silence.rtp.len(), 390 * 50, "silence is sent meanwhile");
}

#[test]
fn the_microphones_clock_is_told_and_the_next_call_begins_with_it() {
    let mut now = Time::from_millis(5_000);
    let mut stream = called(now);
    assert_eq!(stream.stats(now).clocks.capture, None);
    record(&mut stream, &mut now, 30);
    assert_slow(&stream, now);
    stream.stop(now, &mut Sent::default());
    stream.start(now, params());
    assert_slow(&stream, now);
    let clocks = stream.stats(now).clocks;
    let mut reborn = Stream::new(settings(), Mouth::new(), Ear);
    reborn.recall(clocks);
    reborn.start(now, params());
    assert_eq!(reborn.stats(now).clocks, clocks, "and after a restart");
}

/// Timestamps count what the microphone gives, at its own pace; a report pairs them with our clock (RFC 3550 6.4.1), and
/// whoever receives them resamples. Nothing is left out or put in on the way.
#[test]
fn a_microphone_with_another_clock_is_sent_as_it_is_and_reports_tell_its_rate() {
    for ppm in [-1_500, -300, 300, 1_500] {
        let mut stream = Stream::new(settings(), Mouth::new(), Ear);
        let mut wire = Sent::default();
        let start = Time::from_millis(5_000);
        stream.start(start, params());
        for period in 1..=30_000_u64 {
            let now = start + Span::from_micros((period * 10_000) * 1_000_000 / (1_000_000 + ppm) as u64);
            wire.now = now;
            stream.capture(now, &[1_000; 480], &mut wire);
            if stream.poll_timeout().is_some_and(|w| w.at <= now) {
                stream.handle_timeout(now, &mut wire);
            }
        }
        let headers: Vec<_> = wire.rtp.iter().map(|(_, bytes)| Packet::parse(bytes).unwrap().header).collect();
        assert_eq!(headers.len(), 15_000);
        assert!(headers.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) == 960), "{ppm}");
        assert_eq!(headers.iter().filter(|header| header.marker).count(), 1, "{ppm}");
        // NTP and RTP timestamps of a sender report.
        let pair = |bytes: &[u8]| {
            let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            (f64::from(word(8)) + f64::from(word(12)) / 2f64.powi(32), word(16))
        };
        let ((first, at_first), (last, at_last)) = (pair(&wire.rtcp[0].1), pair(&wire.rtcp.last().unwrap().1));
        let found = (f64::from(at_last.wrapping_sub(at_first)) / 48_000.0 / (last - first) - 1.0) * 1e6;
        assert!((found - f64::from(ppm)).abs() < 40.0, "{ppm}: {found}");
        let told = stream.stats(wire.now).clocks.capture.unwrap_or(f32::NAN);
        assert!((told - ppm as f32).abs() < 5.0, "{ppm}: {told}");
    }
}

#[test]
fn a_lost_card_leaves_a_hole_in_time_and_none_in_sequence() {
    let mut booth = Booth::new(params());
    booth.talk(secs(1)).idle(secs(3)).talk(secs(1));
    let packets = booth.packets();
    assert_eq!(packets.len(), 100);
    let (before, after) = (packets[49].1.header, packets[50].1.header);
    assert_eq!(after.sequence_number, before.sequence_number.wrapping_add(1));
    let hole = after.timestamp.wrapping_sub(before.timestamp);
    assert!((144_000..=146_000).contains(&hole), "three seconds are {hole} ticks");
    assert!(after.marker);
    let call = 1;
    let seen: Vec<_> = booth.events.iter().filter(|e| !matches!(e, Event::Silent { .. })).collect();
    assert_eq!(seen, [&Event::Sending { call }, &Event::NotSending { call }, &Event::Sending { call }]);
}

#[test]
fn what_the_network_does_not_take_is_not_told_as_sent() {
    let mut booth = Booth::new(params());
    booth.talk(secs(1));
    booth.wire.is_cut = true;
    booth.talk(secs(3));
    booth.wire.is_cut = false;
    booth.talk(secs(1));
    let call = 1;
    let seen: Vec<_> = booth.events.iter().filter(|e| !matches!(e, Event::Silent { .. })).collect();
    assert_eq!(seen, [&Event::Sending { call }, &Event::NotSending { call }, &Event::Sending { call }]);
    let packets = booth.packets();
    let (before, after) = (packets[49].1.header, packets[50].1.header);
    let numbers = after.sequence_number.wrapping_sub(before.sequence_number);
    assert_eq!(numbers, 151, "under SRTP no number is used twice, whatever became of the packet");
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 151 * 960);
}

#[test]
fn a_call_that_begins_on_a_card_that_runs_already_knows_no_lag() {
    let mut wire = Sent { now: Time::from_millis(9_000_000), ..Sent::default() };
    let mut stream = called(wire.now);
    for _ in 0..50 {
        wire.now += ms(20);
        stream.capture(wire.now, &[1_000; 960], &mut wire);
    }
    let ready = wire.now + ms(33);
    let started = stream.in_step(ready, 480);
    assert!(started >= ready && started.since(ready) < ms(10), "{started:?}");
    stream.make_up(started);
    wire.now = started + ms(20);
    stream.capture(wire.now, &[1_000; 960], &mut wire);
    let stamps: Vec<u32> = wire.rtp.iter().map(|(_, bytes)| Packet::parse(bytes).unwrap().header.timestamp).collect();
    assert!(stamps.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) <= 4 * 960), "{stamps:?}");
}

/// Packets that leave in four minutes of a microphone that is 1500 ppm too fast, beside a mixer whose clock is right.
fn packets_beside_a_mixer(follows: bool) -> usize {
    let mut booth = Booth::new(StreamParams { follows, ..params() });
    let (begun, mut given, mut before) = (booth.now, 0, 0);
    for n in 1..=30_000_u64 {
        booth.now += ms(10);
        let samples = n * 480 * 1_001_500 / 1_000_000 - given;
        given += samples;
        booth.wire.now = booth.now;
        booth.stream.capture(booth.now, &vec![1_000; samples as usize], &mut booth.wire);
        if n % 2 == 0 {
            let at = n / 2;
            booth.stream.handle_rtp(booth.now, peer(), &rtp(at as u16, at as u32 * 960, 5, false, &payload(0, false)));
        }
        if booth.now.since(begun) == secs(60) {
            before = booth.wire.rtp.len();
        }
    }
    booth.wire.rtp.len() - before
}

#[test]
fn in_a_room_the_microphone_keeps_to_the_mixers_clock_and_elsewhere_to_its_own() {
    let (following, alone) = (packets_beside_a_mixer(true), packets_beside_a_mixer(false));
    assert!((11_999..=12_001).contains(&following), "{following}");
    assert!((12_017..=12_019).contains(&alone), "{alone}");
}

#[test]
fn what_a_card_loses_when_it_is_restarted_is_time_that_passes_and_no_packet_leaves_late() {
    for lost in [ms(10), ms(20), ms(30), ms(100), ms(110), ms(1_000)] {
        let mut booth = Booth::new(params());
        booth.talk(secs(1)).idle(lost);
        booth.stream.make_up(booth.now);
        booth.talk(secs(1));
        let late = lost.as_millis() / 20;
        assert_eq!(booth.packets().len() as u64, (2_000 + lost.as_millis()) / 20 - late, "{lost:?}");
        let packets = booth.packets();
        let (first, last) = (packets[0].1.header, packets[packets.len() - 1].1.header);
        let (ticks, passed) = (u64::from(last.timestamp.wrapping_sub(first.timestamp)), secs(2) + lost);
        let expected = (passed.as_micros() * 6 / 125) - 960;
        assert!(expected - ticks < 960, "{lost:?}: {ticks} of {expected}");
    }
}

#[test]
fn packets_of_a_card_that_was_restarted_leave_in_step_with_those_before() {
    for lost in [ms(2), ms(33), ms(64), ms(101), ms(307), ms(2_004)] {
        let mut booth = Booth::new(params());
        // The last packet is half full, and the last wake-up was late.
        booth.talk(secs(1));
        let beat = booth.now + ms(10);
        booth.stream.capture(beat + ms(4), &[1_000; 480], &mut booth.wire);
        let ready = beat + ms(4) + lost;
        let started = booth.stream.in_step(ready, 480);
        assert!(started >= ready && started.since(ready) < ms(10), "{lost:?}");
        assert_eq!(booth.stream.in_step(ready, 1_024), ready, "such periods have no step: one waits for nothing");
        booth.stream.make_up(started);
        booth.now = beat + Span::from_micros((started.since(beat).as_micros() + 5_000) / 10_000 * 10_000);
        let off = started.as_micros().abs_diff(booth.now.as_micros());
        assert!(off < 600, "{lost:?}: {off} us off the beat");
        let restarted = booth.now;
        booth.talk(secs(1));
        let packets = booth.packets();
        let (first_at, first) = &packets[0];
        for (at, packet) in packets.iter().filter(|(at, _)| *at > restarted) {
            let ticks = packet.header.timestamp.wrapping_sub(first.header.timestamp);
            let apart = (u64::from(ticks) * 125 / 6).abs_diff(at.since(*first_at).as_micros());
            assert!(apart < 600, "{lost:?}: {apart} us apart");
        }
    }
    let stream = Stream::new(settings(), Mouth::new(), Ear);
    assert_eq!(stream.in_step(Time::from_millis(5), 480), Time::from_millis(5), "no packet left before");
}

#[test]
fn packets_stay_in_step_however_often_a_card_begins_again_that_is_read_late() {
    let mut booth = Booth::new(params());
    let (late, mut started) = (Span::from_micros(400), booth.now);
    for _ in 0..10 {
        let mut recorded = 0;
        while recorded < 48_000 {
            let samples = booth.stream.missing().next_multiple_of(480);
            recorded += samples;
            booth.wire.now = started + ms(recorded as u64 / 48) + late;
            booth.stream.capture(booth.wire.now, &vec![1_000; samples], &mut booth.wire);
        }
        started = booth.stream.in_step(booth.wire.now + Span::from_micros(33_300), 480);
        booth.stream.make_up(started);
    }
    let packets = booth.packets();
    let (begun, first) = &packets[0];
    for (at, packet) in &packets {
        let told = u64::from(packet.header.timestamp.wrapping_sub(first.header.timestamp)) * 125 / 6;
        let off = at.since(*begun).as_micros().abs_diff(told);
        assert!(off < 200, "{off} us off");
    }
}

/// Whether packets of so many ms leave in step, and are told as old as they are. The card is lost when the last of them is as far as
/// `waiting`, for as long as `away`; what stands in for it is not called for `late` once.
fn keeps_step(ptime: Span, waiting: Span, away: Span, late: Span) {
    let mut booth = Booth::new(StreamParams { ptime, ..params() });
    booth.talk(secs(1) + ptime.times(12) + waiting);
    let (lost, packet) = (booth.now + ms(3), ptime.as_micros());
    let mut tick = booth.stream.stand_in(lost);
    assert!(tick > lost && tick.since(lost) <= ptime.max(ms(10)), "{ptime} {waiting}: {}", tick.since(lost));
    let (mut silent, period) = (0, booth.stream.silent_period());
    let mut is_late = late > Span::ZERO;
    while tick <= lost + away {
        let mut now = tick;
        if std::mem::take(&mut is_late) {
            assert_eq!(booth.stream.stand_in_still(tick, tick + ms(9)), tick, "what is hardly late leaves");
            tick = booth.stream.stand_in_still(tick, tick + late);
            now = tick.max(now + late);
        }
        booth.wire.now = now;
        booth.stream.capture_nothing(now, &vec![0; period.as_micros() as usize * 6 / 125], &mut booth.wire);
        tick += period;
        silent += 1;
    }
    let back = lost + away;
    let odd = booth.stream.in_step(back, 1_024);
    assert_eq!(
        odd,
        back.max(Time::from_micros((tick - ptime.max(ms(10))).as_micros())),
        "not before the silence is over"
    );
    let started = booth.stream.in_step(back, 480.min(packet as usize * 6 / 125));
    assert!(started >= odd);
    booth.restart(started);
    booth.talk(secs(1));
    let packets = booth.packets();
    let (begun, first) = &packets[0];
    for (at, packet_sent) in &packets {
        let ticks = packet_sent.header.timestamp.wrapping_sub(first.header.timestamp);
        let (passed, told) = (at.since(*begun).as_micros(), u64::from(ticks) * 125 / 6);
        // Short ones leave several at once.
        let behind = passed as i64 - told as i64;
        let most = 10_000 - packet.min(10_000) as i64;
        assert!(
            (-most..=most).contains(&behind) && passed % packet == 0,
            "{ptime} {waiting} {away} {late}: {passed} {told}"
        );
    }
    let sent = (packets.len() as u64 - silent) * packet + silent * period.as_micros();
    let all = booth.now.since(*begun).as_micros() + packet;
    let (least, most) = (all - late.as_micros() - 4 * packet, all + 10_000 - packet.min(10_000));
    assert!((least..=most).contains(&sent), "{ptime} {waiting} {away} {late}: {sent} us of {all}");
}

#[test]
fn packets_leave_in_step_while_the_card_is_away_and_when_it_is_back() {
    let ptime = ms(20);
    for away in [ms(7), ms(333), ms(350), ms(3_333)] {
        for waiting in [ms(0), ms(10)] {
            keeps_step(ptime, waiting, away, Span::ZERO);
            keeps_step(ptime, waiting, away, ms(20));
            keeps_step(ptime, waiting, away, ms(250));
        }
    }
    for (ptime, waiting) in [(5, 0), (10, 0), (40, 30), (60, 50)] {
        keeps_step(ms(ptime), ms(waiting), ms(333), Span::ZERO);
    }
    keeps_step(Span::from_micros(2_500), Span::ZERO, ms(333), Span::ZERO);
    for (ptime, silence) in [(3, 60), (5, 60), (10, 60), (20, 60), (40, 40), (60, 60)] {
        let booth = Booth::new(StreamParams { ptime: ms(ptime), ..params() });
        assert_eq!(booth.stream.silent_period(), ms(silence), "{ptime}");
    }
    for (max, silence) in [(5, 20), (20, 20), (50, 40), (120, 60)] {
        let booth = Booth::new(StreamParams { max_ptime: ms(max), ..params() });
        assert_eq!(booth.stream.silent_period(), ms(silence), "the peer takes {max} ms");
    }
    let mut stream = Stream::new(settings(), Mouth::new(), Ear);
    assert_eq!(stream.stand_in(Time::from_millis(5)), Time::from_millis(5), "nothing was recorded before");
}

/// Packets that are missing in ten seconds after one, in the course of a call, left so late.
fn left_out_after(late: Span, follows: bool, voice: i16) -> usize {
    let mut booth = Booth::new(StreamParams { follows, ..params() });
    booth.voice = voice;
    // The last packet has just left.
    booth.talk(secs(60) + ms(10)).oversleep(ms(20) + late);
    let before = booth.packets().len();
    booth.talk(secs(10));
    let packets = booth.packets();
    let ((began, first), (ended, last)) = (&packets[1], &packets[packets.len() - 1]);
    let ticks = u64::from(last.header.timestamp.wrapping_sub(first.header.timestamp));
    assert_eq!(ticks / 48, ended.since(*began).as_millis(), "time runs on");
    let since = last.header.timestamp.wrapping_sub(packets[before - 1].1.header.timestamp);
    since as usize / 960 + before - packets.len()
}

/// Asterisk's ticks begin a moment after the first packet: later ones are not to come at that moment, too.
#[test]
fn in_a_room_the_second_packet_comes_half_a_packet_after_the_first() {
    for (follows, ptime, second_ms) in [(true, 20, 10), (false, 20, 20), (true, 40, 30), (true, 60, 50)] {
        let mut booth = Booth::new(StreamParams { follows, ptime: ms(ptime), ..params() });
        booth.talk(secs(1));
        let packets = booth.packets();
        let since_first = |n: usize| {
            let ticks = packets[n].1.header.timestamp.wrapping_sub(packets[0].1.header.timestamp);
            (packets[n].0.since(packets[0].0).as_millis(), u64::from(ticks) / 48)
        };
        assert_eq!([since_first(1), since_first(2)], [(second_ms, ptime), (second_ms + ptime, 2 * ptime)]);
    }
}

#[test]
fn a_packet_of_silence_is_left_out_in_a_room_after_one_left_late() {
    assert_eq!(left_out_after(ms(10), true, 50), 1);
    assert_eq!(left_out_after(ms(20), true, 50), 1);
    assert_eq!(left_out_after(ms(0), true, 50), 0, "it was in time, as half a packet was before");
    assert_eq!(left_out_after(ms(20), true, 5_000), 0, "nobody loses a word");
    assert_eq!(left_out_after(ms(20), false, 50), 0, "who is no mixer has a jitter buffer");
}
