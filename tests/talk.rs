//! The talking half of the voice path: what leaves, when, with which numbers, and never more than the cap.

mod line;

use line::booth::Booth;
use line::{OPUS, Sent, ms, params, payload, peer, rtp, secs};
use qss_endpoint::config::{Codec, Config, FecMode};
use qss_endpoint::dtmf::{Digit, Digits, TelephoneEvent};
use qss_endpoint::media::command::{Event, StreamParams};
use qss_endpoint::media::plan::plan;
use qss_endpoint::media::volume::{Decibels, Volumes};
use qss_endpoint::rtp::event::NamedEvent;
use qss_endpoint::rtp::packet::{HEADER_LEN, Header, Packet};
use qss_endpoint::rtp::rtcp::{self, CNAME_LEN, Farewell, MAX_LEN, Part};
use qss_endpoint::rtp::xr::Report;
use qss_endpoint::time::Span;

fn planned(cap: u32) -> StreamParams {
    let plan = plan(&Config::default().codec, cap);
    StreamParams { ptime: plan.ptime, bitrate: plan.bitrate, cap, ..params() }
}

// ---- the cap ----

#[test]
fn no_second_exceeds_the_cap_and_nothing_is_withheld_by_a_plan() {
    for cap in [16_000, 24_000, 32_000, 64_000, 1_024_000] {
        for unsteady in [0, 3] {
            let mut booth = Booth::new(planned(cap));
            booth.unsteady = ms(unsteady);
            booth.talk(secs(120));
            let busiest = booth.busiest_second(28);
            assert!(busiest <= cap as usize, "cap {cap}: {busiest}");
            let stats = booth.stream.stats(booth.now);
            assert_eq!(stats.wire_bits_max_second as usize, busiest, "and the stream knows it");
            assert_eq!(stats.packets_withheld, 0, "cap {cap}");
            assert!(booth.wire.rtcp.len() >= 18, "reports go out: {}", booth.wire.rtcp.len());
            if cap < 64_000 {
                assert!(busiest as f64 >= 0.8 * f64::from(cap), "the cap {cap} is used: {busiest}");
            }
        }
    }
}

#[test]
fn the_cap_holds_against_an_encoder_that_does_not_listen_and_over_ipv6() {
    for cap in [16_000, 24_000, 32_000, 64_000] {
        let v6 = "[2001:db8::1]:4000".parse().unwrap();
        let params = StreamParams { bitrate: 500_000, ptime: ms(20), remote_rtp: v6, cap, ..params() };
        let mut booth = Booth::new(params);
        booth.talk(secs(60));
        let busiest = booth.busiest_second(48);
        assert!(busiest <= cap as usize, "cap {cap}: {busiest}");
        assert!(booth.packets().len() > 500, "and yet there is a voice");
    }
}

#[test]
fn short_packets_keep_the_cap_too_and_are_never_repeated() {
    for (ptime, cap) in [(2_500, 176_000), (2_500, 156_000), (5_000, 100_000), (5_000, 92_000)] {
        let codec = Codec { ptime: Span::from_micros(ptime).max(ms(3)), ..Config::default().codec };
        let plan = plan(&codec, cap);
        assert_eq!(plan.ptime.as_micros(), ptime);
        let mut booth = Booth::new(StreamParams { ptime: plan.ptime, bitrate: plan.bitrate, cap, ..params() });
        booth.unsteady = ms(3);
        booth.talk(secs(20));
        assert!(booth.busiest_second(28) <= cap as usize, "{ptime}: {}", booth.busiest_second(28));
        let sent = booth.packets().len() as u64;
        let stats = booth.stream.stats(booth.now);
        assert!(
            sent * ptime > 19_900_000 && stats.packets_withheld * 1_000 < sent,
            "{ptime}, {cap}: {sent}, and {stats:?}"
        );
        booth.report(30);
        booth.talk(secs(2));
        let choice = booth.stream.stats(booth.now).uplink.unwrap();
        assert!(choice.expected_loss == 0 || choice.ptime >= ms(10), "{choice:?}");
    }
}

#[test]
fn a_cap_that_comes_during_the_call_holds_from_then_on() {
    let mut booth = Booth::new(planned(0));
    booth.talk(secs(5));
    booth.stream.update(booth.now, planned(24_000));
    booth.talk(secs(2));
    booth.wire = Sent::default();
    booth.talk(secs(30));
    assert!(booth.busiest_second(28) <= 24_000);
    assert!(booth.packets().len() > 700, "25 packets a second: {}", booth.packets().len());
}

#[test]
fn without_a_cap_nothing_is_held_back() {
    let mut booth = Booth::new(StreamParams { bitrate: 128_000, ..params() });
    booth.talk(secs(10));
    assert_eq!(booth.packets().len(), 500);
    assert_eq!(booth.stream.stats(booth.now).packets_withheld, 0);
}

// ---- numbers ----

#[test]
fn every_packet_time_makes_packets_of_its_length() {
    for ptime in [2_500, 5_000, 10_000, 20_000, 40_000, 60_000] {
        let mut booth = Booth::new(StreamParams { ptime: Span::from_micros(ptime), ..params() });
        booth.talk(secs(6));
        let packets = booth.packets();
        assert_eq!(packets.len() as u64, 6_000_000 / ptime);
        for pair in packets.windows(2) {
            let (a, b) = (pair[0].1.header, pair[1].1.header);
            assert_eq!(b.sequence_number, a.sequence_number.wrapping_add(1));
            assert_eq!(b.timestamp, a.timestamp.wrapping_add((ptime * 6 / 125) as u32));
            assert_eq!((b.ssrc, b.payload_type), (params().ssrc, OPUS));
        }
        assert_eq!(packets.iter().filter(|(_, p)| p.header.marker).count(), 1);
    }
}

#[test]
fn mute_sends_silence_and_time_runs_on() {
    let mut booth = Booth::new(params());
    booth.talk(secs(1));
    booth.stream.mute(true);
    booth.talk(secs(1));
    assert!(booth.stream.stats(booth.now).muted);
    booth.stream.mute(false);
    booth.talk(secs(1));
    let packets = booth.packets();
    assert_eq!(packets.len(), 150);
    let sound: Vec<bool> = packets.iter().map(|(_, p)| p.payload[1] == 1).collect();
    assert!(sound[..50].iter().all(|s| *s));
    assert!(sound[51..100].iter().all(|s| !*s), "digital silence");
    assert!(sound[101..].iter().all(|s| *s));
    let (first, last) = (packets[0].1.header, packets[149].1.header);
    assert_eq!(last.timestamp.wrapping_sub(first.timestamp), 149 * 960);
}

#[test]
fn the_microphones_volume_is_in_what_is_sent_and_mute_is_mute_at_any_volume() {
    let mut booth = Booth::new(params());
    booth.talk(secs(1));
    assert_eq!(booth.stream.encoder().heard, [1_000; 960]);
    booth.stream.set_volumes(Volumes { capture: Decibels(20), playback: Decibels(-40) });
    booth.talk(secs(1));
    assert_eq!(booth.stream.encoder().heard, [10_000; 960]);
    booth.stream.mute(true);
    booth.talk(ms(100));
    assert_eq!(booth.stream.encoder().heard, [0; 960]);
}

#[test]
fn a_long_silence_costs_packets_and_no_encoder() {
    let mut booth = Booth::new(params());
    let mut minute = |muted| {
        booth.stream.mute(muted);
        let (packets, encoded) = (booth.wire.rtp.len(), booth.stream.encoder().packets);
        booth.talk(secs(60));
        (booth.wire.rtp.len() - packets, booth.stream.encoder().packets - encoded)
    };
    assert_eq!(minute(false), (3_000, 3_000));
    let (sent, encoded) = minute(true);
    assert!(sent == 3_000 && encoded <= 15, "{encoded} of {sent}");
    assert_eq!(minute(false), (3_000, 3_000));
    let headers: Vec<_> = booth.packets().iter().map(|(_, packet)| packet.header).collect();
    let in_order = |pair: &[Header]| pair[1].timestamp.wrapping_sub(pair[0].timestamp) == 960;
    assert!(headers.windows(2).all(in_order), "and time runs on");
}

#[test]
fn on_hold_only_reports_leave_and_time_runs_on() {
    let mut booth = Booth::new(params());
    booth.talk(secs(1));
    booth.stream.update(booth.now, StreamParams { send: false, receive: false, ..params() });
    booth.wire.rtcp.clear();
    booth.events.clear();
    booth.talk(secs(20));
    assert_eq!(booth.packets().len(), 50);
    assert!(!booth.wire.rtcp.is_empty());
    assert_eq!(booth.events, [], "hold is no fault");
    booth.stream.update(booth.now, params());
    booth.talk(secs(1));
    let packets = booth.packets();
    let (before, after) = (packets[49].1.header, packets[50].1.header);
    assert_eq!(after.sequence_number, before.sequence_number.wrapping_add(1));
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 960 * 1_001);
    assert!(after.marker);
}

#[test]
fn what_is_on_hold_is_not_heard() {
    let mut booth = Booth::new(StreamParams { receive: false, ..params() });
    for n in 0..50u16 {
        booth.idle(ms(20));
        let packet = rtp(n, u32::from(n) * 960, 9, false, &payload(0, false));
        booth.stream.handle_rtp(booth.now, peer(), &packet);
        let mut heard = [1; 960];
        booth.stream.playback(booth.now, &mut heard);
        assert_eq!(heard, [0; 960]);
    }
    assert_eq!(booth.events, []);
}

// ---- reports ----

#[test]
fn reports_tell_what_was_sent_and_heard() {
    let mut booth = Booth::new(params());
    for n in 0..500u16 {
        booth.talk(ms(20));
        if n % 10 != 3 {
            let packet = rtp(n, u32::from(n) * 960, 9, false, &payload(i64::from(n) * 960, false));
            booth.stream.handle_rtp(booth.now, peer(), &packet);
        }
    }
    let (at, last) = booth.wire.rtcp.last().unwrap();
    let mut parts = Vec::new();
    rtcp::read(last, |part| parts.push(part)).unwrap();
    let [Part::SenderReport { ssrc, ntp }, Part::Block(block)] = parts[..] else { panic!("{parts:?}") };
    assert_eq!((ssrc, ntp), (params().ssrc, rtcp::middle(rtcp::ntp(*at))));
    assert_eq!(block.ssrc, 9);
    assert!((20..32).contains(&block.fraction_lost), "10 % of 256: {}", block.fraction_lost);
    assert_eq!(booth.stream.stats(booth.now).packets_lost, 50);
}

#[test]
fn reports_share_the_port_when_that_was_agreed() {
    let mut booth = Booth::new(StreamParams { rtcp_mux: true, ..params() });
    booth.talk(secs(10));
    assert!(booth.wire.rtcp.is_empty());
    assert!(booth.wire.rtp.iter().any(|(_, bytes)| qss_endpoint::rtp::packet::is_rtcp(bytes)));
    let mut packet = [0; MAX_LEN];
    let len = rtcp::write(&mut packet, 5, None, None, &[b'x'; CNAME_LEN], &Report::NOTHING, Farewell::Bye);
    booth.stream.handle_rtp(booth.now, peer(), &packet[..len]);
    booth.idle(ms(10));
    assert!(booth.events.contains(&Event::PeerBye { call: 1 }));
}

#[test]
fn fec_goes_on_and_off_with_what_the_receiver_reports() {
    let fec = |mode| {
        let mut booth = Booth::with(params(), mode);
        booth.talk(secs(1));
        let before = booth.stream.encoder().expected_loss;
        booth.report(26);
        let lossy = booth.stream.encoder().expected_loss;
        (0..20).for_each(|_| booth.report(0));
        (before, lossy, booth.stream.encoder().expected_loss)
    };
    assert_eq!(fec(FecMode::Auto), (0, 15, 0));
    assert_eq!(fec(FecMode::Off), (0, 0, 0));
    assert_eq!(fec(FecMode::On), (15, 15, 15));
}

#[test]
fn a_far_end_that_is_elsewhere_now_may_be_further_away() {
    let mut booth = Booth::new(params());
    let mut reported = |trip| {
        booth.report_over(26, trip);
        let uplink = booth.stream.stats(booth.now).uplink.expect("a call");
        booth.stream.update(booth.now, StreamParams { remote_rtp: "192.0.2.9:4000".parse().unwrap(), ..params() });
        uplink.why.word()
    };
    assert_eq!([reported(ms(20)), reported(ms(200)), reported(ms(600))], ["loss", "loss", "congestion"]);
}

#[test]
fn what_is_adapted_to_loss_is_told_and_keeps_the_cap() {
    for cap in [0, 24_000, 32_000, 64_000] {
        let mut booth = Booth::new(planned(cap));
        booth.unsteady = ms(3);
        let mut told = Vec::new();
        for lost in [0, 26, 26, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60] {
            booth.report(lost);
            booth.talk(secs(6));
            let uplink = booth.stream.stats(booth.now).uplink.expect("a call");
            let encoder = booth.stream.encoder();
            assert_eq!((encoder.expected_loss, encoder.band), (uplink.expected_loss, uplink.band));
            told.push((uplink.why.word(), uplink.ptime.as_millis(), uplink.bitrate / 1_000));
        }
        told.dedup();
        let (clean, much, less) = match cap {
            0 => (("clean", 20, 32), ("loss", 20, 96), ("loss", 20, 64)),
            64_000 => (("clean", 20, 32), ("loss", 20, 45), ("loss", 20, 45)),
            32_000 => (("clean", 20, 14), ("loss", 40, 21), ("loss", 40, 21)),
            _ => (("clean", 40, 14), ("no_room", 40, 14), ("no_room", 40, 14)),
        };
        let mut expected = vec![clean, much, less, clean, much];
        expected.dedup();
        assert_eq!(told, expected, "cap {cap}");
        assert_eq!(booth.stream.stats(booth.now).packets_withheld, 0, "cap {cap}");
        assert!(cap == 0 || booth.busiest_second(28) <= cap as usize, "cap {cap}: {}", booth.busiest_second(28));
    }
}

#[test]
fn bursts_make_longer_packets_without_a_gap() {
    let mut booth = Booth::new(params());
    for n in (0..500u16).filter(|n| n % 20 > 1) {
        let packet = rtp(n, u32::from(n) * 960, 9, false, &payload(i64::from(n) * 960, false));
        booth.stream.handle_rtp(booth.now, peer(), &packet);
        booth.talk(ms(10));
        booth.stream.playback(booth.now, &mut [0; 960]);
    }
    booth.report(26);
    booth.talk(secs(2));
    assert!((1.9..2.1).contains(&booth.stream.stats(booth.now).loss_burst));
    let stamps: Vec<_> = booth.packets().iter().map(|(_, p)| p.header.timestamp).collect();
    let lengths: Vec<_> = stamps.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    let longer = lengths.iter().position(|length| *length == 1_920).expect("packets of 40 ms");
    assert!(lengths[..longer].iter().all(|length| *length == 960) && lengths[longer..].iter().all(|l| *l == 1_920));
}

#[test]
fn only_the_source_that_is_heard_ends_the_call_and_only_from_its_address() {
    let mut booth = Booth::new(params());
    for n in 0..5u16 {
        booth.stream.handle_rtp(booth.now, peer(), &rtp(n, u32::from(n) * 960, 9, false, &payload(0, false)));
    }
    let bye = |booth: &mut Booth, ssrc, from: &str| {
        let mut packet = [0; MAX_LEN];
        let len = rtcp::write(&mut packet, ssrc, None, None, &[b'x'; CNAME_LEN], &Report::NOTHING, Farewell::Bye);
        booth.events.clear();
        booth.stream.handle_rtcp(booth.now, from.parse().unwrap(), &packet[..len]);
        booth.idle(ms(10));
        booth.events.contains(&Event::PeerBye { call: 1 })
    };
    assert!(!bye(&mut booth, 8, "192.0.2.1:4001"), "a source that nobody hears");
    assert!(!bye(&mut booth, 9, "198.51.100.1:4001"), "a stranger");
    assert!(bye(&mut booth, 9, "192.0.2.1:4001"));
}

#[test]
fn the_call_ends_with_a_bye_and_the_next_one_begins_afresh() {
    let mut booth = Booth::new(params());
    booth.talk(secs(1));
    booth.stream.stop(booth.now, &mut booth.wire);
    let (_, last) = booth.wire.rtcp.last().unwrap();
    let mut said_bye = false;
    rtcp::read(last, |part| said_bye |= part == Part::Bye { ssrc: params().ssrc }).unwrap();
    assert!(said_bye);
    let sent = booth.wire.rtp.len();
    booth.talk(secs(10));
    assert_eq!(booth.wire.rtp.len(), sent, "idle");
    assert_eq!(booth.stream.poll_timeout(), None);
    booth.stream.start(booth.now, StreamParams { call: 2, ssrc: 3, ..params() });
    booth.events.clear();
    booth.talk(secs(1));
    assert_eq!(booth.stream.stats(booth.now).packets_sent, 50);
    assert!(booth.events.contains(&Event::Sending { call: 2 }));
}

#[test]
fn what_was_said_at_the_end_of_a_call_is_not_heard_in_the_next() {
    let mut booth = Booth::new(params());
    // Half of a packet has been read.
    booth.most = 1;
    booth.talk(ms(1_010));
    booth.stream.stop(booth.now, &mut booth.wire);
    booth.stream.start(booth.now, StreamParams { call: 2, ..params() });
    booth.voice = 2_000;
    booth.wire = Sent::default();
    booth.talk(ms(10));
    assert_eq!(booth.packets().len(), 0, "half of a packet is no packet");
    booth.talk(ms(10));
    // The resampler is eight samples behind.
    let heard = &booth.stream.encoder().heard;
    assert!(heard[..8].iter().all(|sample| *sample == 0) && heard[8..].iter().all(|sample| *sample == 2_000));
}

#[test]
fn a_peer_whose_reports_stand_still_is_told_of_until_it_hears_again() {
    let mut booth = Booth::new(params());
    let last = |booth: &mut Booth, highest| {
        booth.talk(secs(5)).report_up_to(0, highest);
        booth.talk(ms(10));
        booth.events.iter().filter(|event| matches!(event, Event::Unheard { .. })).copied().collect::<Vec<_>>()
    };
    for highest in [250, 500, 750, 750] {
        assert_eq!(last(&mut booth, highest), []);
    }
    let first = Event::Unheard { call: 1, times: 1 };
    assert_eq!(last(&mut booth, 750), [first]);
    assert_eq!(last(&mut booth, 750), [first]);
    assert_eq!(last(&mut booth, 750), [first, Event::Unheard { call: 1, times: 2 }]);
    for highest in [800, 1_000] {
        assert_eq!(last(&mut booth, highest).len(), 2);
    }
    booth.stream.update(booth.now, StreamParams { send: false, ..params() });
    for _ in 0..6 {
        assert_eq!(last(&mut booth, 1_000).len(), 2, "on hold nothing leaves");
    }
}

#[test]
fn a_stream_that_is_negotiated_anew_may_take_its_time_to_be_heard() {
    let told = |anew: bool| {
        let mut booth = Booth::new(params());
        for (n, highest) in [250, 500, 500, 500].into_iter().enumerate() {
            if anew && n == 3 {
                booth.stream.update(booth.now, params());
            }
            booth.talk(secs(5)).report_up_to(0, highest);
        }
        booth.talk(ms(10));
        booth.events.iter().any(|event| matches!(event, Event::Unheard { .. }))
    };
    assert!(told(false) && !told(true));
}

// ---- digits ----

#[test]
fn digits_take_the_place_of_audio_and_the_clock_runs_on() {
    let event = TelephoneEvent { send_payload_type: 98, receive_payload_type: 97, clock_rate: 8_000 };
    for event in [params().telephone_event.expect("events"), event] {
        let mut booth = Booth::new(StreamParams { telephone_event: Some(event), ..params() });
        booth.talk(ms(200));
        booth.stream.mute(true);
        booth.stream.press(&Digits::parse("1#").expect("digits"), ms(100), ms(100));
        booth.talk(secs(1));
        let packets = booth.packets();
        let digits: Vec<_> = packets.iter().filter(|(_, p)| p.header.payload_type == event.send_payload_type).collect();
        assert_eq!(digits.len(), 14);
        for press in digits.chunks(7) {
            let event_of = |p: &Packet<'_>| NamedEvent::parse(p.payload).expect("an event");
            let first = &press[0].1;
            assert!(press.iter().all(|(_, p)| p.header.timestamp == first.header.timestamp));
            let markers: Vec<bool> = press.iter().map(|(_, p)| p.header.marker).collect();
            assert_eq!(markers, [true, false, false, false, false, false, false]);
            let ends: Vec<bool> = press.iter().map(|(_, p)| event_of(p).end).collect();
            assert_eq!(ends, [false, false, false, false, true, true, true]);
            let tick = event.clock_rate / 50;
            let held: Vec<u32> = press.iter().map(|(_, p)| u32::from(event_of(p).duration) / tick).collect();
            assert_eq!(held, [1, 2, 3, 4, 5, 5, 5]);
        }
        let codes: Vec<u8> = digits.iter().step_by(7).map(|(_, p)| p.payload[0]).collect();
        assert_eq!(codes, [1, 11]);
        for pair in packets.windows(2) {
            let numbers = [pair[0].1.header.sequence_number, pair[1].1.header.sequence_number];
            assert_eq!(numbers[0].wrapping_add(1), numbers[1], "events are packets of the stream");
        }
        let audio: Vec<_> = packets.iter().filter(|(_, p)| p.header.payload_type == OPUS).collect();
        for pair in audio.windows(2) {
            let samples = pair[1].1.header.timestamp.wrapping_sub(pair[0].1.header.timestamp);
            let passed = pair[1].0.since(pair[0].0).as_micros() * 6 / 125;
            assert_eq!(u64::from(samples), passed, "the timestamps keep up with the time");
            assert_eq!(pair[1].1.header.marker, samples > 960, "audio begins again after a digit");
        }
    }
}

#[test]
fn digits_cost_no_more_than_the_cap() {
    for cap in [16_000, 24_000, 64_000] {
        let mut booth = Booth::new(planned(cap));
        booth.talk(secs(5));
        booth.stream.press(&Digits::parse(&"5".repeat(32)).expect("digits"), ms(100), ms(100));
        booth.talk(secs(20));
        let (busiest, withheld) = (booth.busiest_second(28), booth.stream.stats(booth.now).packets_withheld);
        assert!(busiest <= cap as usize && withheld == 0, "cap {cap}: {busiest}, {withheld} withheld");
    }
}

#[test]
fn without_events_or_on_hold_no_digit_leaves_and_none_is_made_up_for() {
    let silent = StreamParams { telephone_event: None, ..params() };
    let held = StreamParams { send: false, ..params() };
    for quiet in [silent, held] {
        let mut booth = Booth::new(quiet);
        booth.stream.press(&Digits::parse("5").expect("a digit"), ms(100), ms(100));
        booth.talk(ms(500));
        booth.stream.update(booth.now, params());
        booth.talk(ms(500));
        assert!(booth.packets().iter().all(|(_, p)| p.header.payload_type == OPUS));
    }
    let mut booth = Booth::new(params());
    booth.stream.press(&Digits::parse("55").expect("digits"), ms(100), ms(100));
    booth.talk(ms(50));
    booth.stream.update(booth.now, held);
    booth.talk(ms(500));
    booth.stream.update(booth.now, params());
    let before = booth.packets().len();
    booth.talk(ms(500));
    assert!(booth.packets()[before..].iter().all(|(_, p)| p.header.payload_type == OPUS), "a hold ends the press");
}

#[test]
fn a_digit_is_heard_once_and_the_audio_around_it_is_not_missed() {
    let mut booth = Booth::new(params());
    let event_type = params().telephone_event.expect("events").receive_payload_type;
    let mut number = 0;
    let mut receive = |booth: &mut Booth, payload_type: u8, timestamp: u32, marker: bool, payload: &[u8]| {
        let header = Header { marker, payload_type, sequence_number: number, timestamp, ssrc: 0x2222 };
        let mut bytes = vec![0; HEADER_LEN];
        header.write(bytes.first_chunk_mut().expect("its length"));
        bytes.extend_from_slice(payload);
        booth.stream.handle_rtp(booth.now, peer(), &bytes);
        number += 1;
        booth.talk(ms(20));
    };
    let sound = payload(0, false);
    for n in 0..20 {
        receive(&mut booth, OPUS, n * 960, false, &sound);
    }
    let press = |n: u32| NamedEvent { code: 9, end: n >= 5, duration: (960 * (n.min(4) + 1)) as u16 };
    for n in 0..7 {
        receive(&mut booth, event_type, 20 * 960, n == 0, &press(n).write());
    }
    for n in 27..50 {
        receive(&mut booth, OPUS, n * 960, n == 27, &sound);
    }
    receive(&mut booth, event_type, 50 * 960, true, &[9]);
    booth.talk(ms(10));
    let digits: Vec<_> = booth.events.iter().filter(|event| matches!(event, Event::Digit { .. })).collect();
    assert_eq!(digits, [&Event::Digit { call: 1, digit: Digit::of_char('9').expect("a key") }]);
    let stats = booth.stream.stats(booth.now);
    assert_eq!((stats.packets_lost, stats.packets_received, stats.packets_invalid), (0, 50, 1));
    assert!(stats.jitter_us < 1_000, "{}", stats.jitter_us);
}
