//! The whole voice path in real time: virtual card, Opus, RTP over loopback, virtual card.
//!
//! Stations are media threads as the product starts them. What is asserted in milliseconds is measured on the cards'
//! common frame axis; a run in which a card reports an xrun that nobody ordered (the machine was late) is repeated.
#![cfg(feature = "io")]
#![allow(clippy::wildcard_enum_match_arm)] // a test looks for one event among all

#[path = "lab/vsnd/rig.rs"]
mod rig;

use qss_endpoint::config::Config;
use qss_endpoint::io::alsa::machine::Machine;
use qss_endpoint::io::clock;
use qss_endpoint::io::media_thread::{MediaHandle, MediaThread};
use qss_endpoint::media::command::{CardError, CardEvent, Command, Event, Stats, StreamParams};
use qss_endpoint::media::governor::Economy;
use qss_endpoint::media::histogram::Stage;
use qss_endpoint::media::tone::Tone;
use qss_endpoint::rtp::xr::Asked;
use qss_endpoint::time::{Span, Time};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One test at a time: each wants its wake-ups on time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A media thread, its card, and the events it has sent so far.
struct Station {
    handle: MediaHandle,
    seen: Vec<(Time, Event)>,
}

impl Station {
    fn new(card: &rig::VirtualCard) -> Station {
        Station::with(&card.pcm(), &card.pcm())
    }

    fn with(capture: &str, playback: &str) -> Station {
        let mut config = Config::default();
        (config.audio.capture, config.audio.playback) = (capture.into(), playback.into());
        config.rtp.bind = [127, 0, 0, 1].into();
        let handle = MediaThread::start(&config).unwrap();
        Station { handle, seen: Vec::new() }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.handle.ports().0))
    }

    fn call(&mut self, remote: SocketAddr, ssrc: u32) {
        self.handle.send(Command::Open).unwrap();
        self.handle.send(Command::Start(params(remote, ssrc))).unwrap();
    }

    /// Takes events until one of them is `wanted`, for at most three seconds.
    fn expect(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let deadline = clock::now() + Span::from_secs(3);
        while clock::now() < deadline {
            while let Some(event) = self.handle.poll_event() {
                self.seen.push((clock::now(), event));
                if wanted(&event) {
                    return event;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no {what} among {:?}", self.seen);
    }

    fn stats(&mut self) -> Stats {
        self.handle.send(Command::Stats).unwrap();
        match self.expect("Stats", |event| matches!(event, Event::Stats(_))) {
            Event::Stats(stats) => stats,
            _ => unreachable!("expected by its shape"),
        }
    }

    fn count(&mut self, wanted: impl Fn(&Event) -> bool) -> usize {
        while let Some(event) = self.handle.poll_event() {
            self.seen.push((clock::now(), event));
        }
        self.seen.iter().filter(|(_, event)| wanted(event)).count()
    }
}

fn params(remote: SocketAddr, ssrc: u32) -> StreamParams {
    StreamParams {
        call: 1,
        remote_rtp: remote,
        remote_rtcp: SocketAddr::new(remote.ip(), remote.port() + 1),
        rtcp_mux: false,
        send_payload_type: 107,
        receive_payload_type: 107,
        telephone_event: None,
        redundancy: None,
        ssrc,
        ptime: Span::from_millis(20),
        max_ptime: Span::from_millis(60),
        bitrate: 32_000,
        cap: 0,
        follows: false,
        send: true,
        receive: true,
        srtp: None,
        extended: Asked::NOTHING,
    }
}

const TONE_HZ: f64 = 440.0;

/// Silence up to frame `onset`, then the tone.
fn tone_from(onset: usize, frames: usize) -> Vec<i16> {
    let tone = |n: usize| (8_000.0 * (n as f64 * TONE_HZ * std::f64::consts::TAU / 48_000.0).sin()) as i16;
    (0..frames).map(|n| if n < onset { 0 } else { tone(n) }).collect()
}

/// Level of the tone against everything else, in dB.
fn tone_snr(samples: &[i16]) -> f64 {
    let step = TONE_HZ * std::f64::consts::TAU / 48_000.0;
    let (mut sine, mut cosine, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let sample = f64::from(*sample);
        sine += sample * (n as f64 * step).sin();
        cosine += sample * (n as f64 * step).cos();
        power += sample * sample;
    }
    let n = samples.len() as f64;
    let tone = 2.0 * (sine * sine + cosine * cosine) / (n * n);
    10.0 * (tone / (power / n - tone).max(1e-9)).log10()
}

fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn a_tone_in_one_microphone_comes_out_of_the_other_loudspeaker_soon_and_clean() {
    let _alone = alone();
    let _ = rig::directory();
    for attempt in 0..5 {
        let (near, far) = (rig::card(&format!("near{attempt}"), ""), rig::card(&format!("far{attempt}"), ""));
        let onset = rig::frame_now() as usize + 2 * 48_000;
        near.set_mic(&tone_from(onset, onset + 6 * 48_000));
        let (mut a, mut b) = (Station::new(&near), Station::new(&far));
        a.call(b.address(), 1);
        b.call(a.address(), 2);
        b.expect("Playing", |event| matches!(event, Event::Playing { call: 1 }));
        pause(4_500);
        let (sent, heard) = (a.stats(), b.stats());
        drop((a, b));
        let speaker = far.speaker();
        if near.spoilt() || far.spoilt() {
            continue;
        }
        let first = speaker[onset..].iter().position(|sample| sample.unsigned_abs() > 2_000).unwrap();
        let delay_ms = first as f64 / 48.0;
        let snr = tone_snr(&speaker[onset + 48_000..onset + 2 * 48_000]);
        println!("mouth to ear {delay_ms:.1} ms, SNR {snr:.1} dB, {heard:?}");
        assert!(delay_ms < 110.0, "{delay_ms} ms");
        assert!(snr > 25.0, "{snr} dB");
        assert!(heard.packets_received > 150 && heard.packets_lost == 0 && heard.packets_invalid == 0, "{heard:?}");
        assert!((200..=400).contains(&sent.packets_sent), "{sent:?}");
        for (stage, took) in Stage::ALL.iter().zip(heard.stages) {
            assert!(took.count > 150 && took.worst_us > 0 && took.p50_us <= took.worst_us, "{stage:?}: {took:?}");
        }
        return;
    }
    panic!("the machine was late five times");
}

/// The other end as a plain socket: sees each packet with its time.
struct Peer(UdpSocket);

struct Sent {
    at: Time,
    sequence: u16,
    timestamp: u32,
}

impl Peer {
    fn new() -> Peer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        Peer(socket)
    }

    fn listen(&self, milliseconds: u64) -> Vec<Sent> {
        let end = clock::now() + Span::from_millis(milliseconds);
        let mut packets = Vec::new();
        let mut buffer = [0; 2048];
        while clock::now() < end {
            if let Ok(length) = self.0.recv(&mut buffer)
                && length > 12
            {
                packets.push(Sent {
                    at: clock::now(),
                    sequence: u16::from_be_bytes([buffer[2], buffer[3]]),
                    timestamp: u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]),
                });
            }
        }
        packets
    }
}

/// One after the other, never a long pause, and the timestamps are the time that passed.
fn assert_continuous(packets: &[Sent]) {
    let (first, last) = (&packets[0], &packets[packets.len() - 1]);
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert!(pair[1].at.since(pair[0].at) < Span::from_millis(450), "a pause of {}", pair[1].at.since(pair[0].at));
    }
    let passed = last.at.since(first.at).as_micros() as i64;
    let told = i64::from(last.timestamp.wrapping_sub(first.timestamp)) * 1_000 / 48;
    assert!((passed - told).abs() < 60_000, "{passed} us passed, {told} us told");
}

#[test]
fn the_call_survives_the_card_being_unplugged_and_audio_is_back_within_a_second_of_its_return() {
    let _alone = alone();
    let card = rig::card("pulled", "");
    card.set_mic(&tone_from(0, 60 * 48_000));
    let peer = Peer::new();
    let mut station = Station::new(&card);
    station.call(peer.0.local_addr().unwrap(), 7);
    station.expect("Opened", |event| matches!(event, Event::Card(CardEvent::Opened { rate: 48_000, .. })));
    let mut packets = peer.listen(500);
    card.unplug();
    packets.extend(peer.listen(1_700));
    let lost = |event: &Event| matches!(event, Event::Card(CardEvent::Lost { error: CardError::Absent, .. }));
    assert_eq!(station.count(lost), 1, "told once");
    let starts = card.logged("start").len();
    card.replug();
    // Packets are read as they come.
    packets.extend(peer.listen(1_700));
    let returned = station.expect("Returned", |event| matches!(event, Event::Card(CardEvent::Returned { .. })));
    let Event::Card(CardEvent::Returned { away }) = returned else { unreachable!() };
    assert!((1_600..2_700).contains(&away.as_millis()), "{away}");
    assert!(card.logged("start").len() >= starts + 2, "both directions run again");
    packets.extend(peer.listen(500));
    assert_continuous(&packets);
    assert_eq!(station.count(|event| matches!(event, Event::Sending { .. })), 1, "it never stopped");
}

/// A mixer's ticks do not move: packets that come at another moment of them than before are heard sooner or later, or too late.
#[test]
fn packets_keep_their_step_when_the_card_comes_and_goes() {
    let _alone = alone();
    let mut seen: Vec<Vec<i64>> = Vec::new();
    for attempt in 0..5 {
        let card = rig::card(&format!("step{attempt}"), "");
        let peer = Peer::new();
        let mut station = Station::new(&card);
        station.call(peer.0.local_addr().unwrap(), 7);
        let mut parts = vec![peer.listen(500)];
        let begun = parts[0][0].at;
        // Where they are within 20 ms; the machine may be late now and then.
        let middle = |part: &[Sent], from: i64| {
            let mut off: Vec<i64> = part
                .iter()
                .map(|sent| (sent.at.since(begun).as_micros() as i64 - from + 10_000).rem_euclid(20_000) - 10_000)
                .collect();
            off.sort_unstable();
            off[off.len() / 2]
        };
        for _ in 0..3 {
            card.unplug();
            // Most of them are silence that needs no encoder any more, which takes longer for longer packets.
            parts.push(peer.listen(1_330));
            card.replug();
            // One that dies within a second would be tried less often.
            parts.extend([peer.listen(1_300), peer.listen(300)]);
        }
        drop(station);
        if card.spoilt() {
            continue;
        }
        assert_eq!(card.logged("start").len(), 8, "two directions, four times");
        let from = middle(&parts[0], 0);
        let off: Vec<i64> = parts.iter().map(|part| middle(part, from)).collect();
        if off.iter().all(|us| us.abs() < 800) {
            return;
        }
        seen.push(off);
    }
    panic!("the machine was late five times, or {seen:?} us off");
}

#[test]
fn a_card_whose_clock_stands_still_is_treated_like_one_that_left() {
    let _alone = alone();
    let card = rig::card("stuck", "");
    let peer = Peer::new();
    let mut station = Station::new(&card);
    station.call(peer.0.local_addr().unwrap(), 7);
    let mut packets = peer.listen(300);
    card.set_stalled(true);
    let before = station.handle.progress();
    packets.extend(peer.listen(700));
    let passes = station.handle.progress() - before;
    assert!(passes < 110, "it is looked at less and less often: {passes} passes");
    let stalled = |event: &Event| matches!(event, Event::Card(CardEvent::Lost { error: CardError::Stalled, .. }));
    station.expect("Lost", stalled);
    card.set_stalled(false);
    packets.extend(peer.listen(1_500));
    let mark = station.seen.len();
    let late_losses = station.count(|_| true) - mark;
    packets.extend(peer.listen(500));
    assert_continuous(&packets);
    assert!(late_losses < 8, "{:?}", station.seen);
    let returned = |event: &Event| matches!(event, Event::Card(CardEvent::Returned { .. }));
    if station.count(returned) == 0 {
        station.expect("Returned", returned);
    }
}

#[test]
fn a_call_begins_without_a_card_and_gets_it_when_it_comes() {
    let _alone = alone();
    let card = rig::card("later", "");
    card.unplug();
    let peer = Peer::new();
    let mut station = Station::new(&card);
    station.handle.send(Command::Open).unwrap();
    station.expect("Lost", |event| matches!(event, Event::Card(CardEvent::Lost { error: CardError::Absent, .. })));
    station.handle.send(Command::Start(params(peer.0.local_addr().unwrap(), 7))).unwrap();
    let packets = peer.listen(500);
    assert!(packets.len() >= 7, "silence is sent: {}", packets.len());
    assert_continuous(&packets);
    card.replug();
    station.expect("Returned", |event| matches!(event, Event::Card(CardEvent::Returned { .. })));
    pause(200);
    assert!(card.logged("start").len() >= 2, "both directions run");
    station.handle.send(Command::Stop).unwrap();
    station.expect("Closed", |event| matches!(event, Event::Card(CardEvent::Closed)));
}

/// Whether the tone is in most of a piece of a recording.
fn sounds(recording: &[i16], from: usize, frames: usize) -> bool {
    let loud =
        recording[from..from + frames].chunks(480).filter(|block| block.iter().any(|s| s.unsigned_abs() > 2_000));
    loud.count() * 2 > frames / 480
}

#[test]
fn a_card_of_one_direction_plays_while_the_far_end_speaks_and_records_otherwise() {
    const SECOND: usize = 48_000;
    let _alone = alone();
    let _ = rig::directory();
    for attempt in 0..5 {
        let half = rig::card(&format!("half{attempt}"), "half_duplex 1\n");
        let far = rig::card(&format!("whole{attempt}"), "");
        let spoken = rig::frame_now() as usize + 4 * SECOND;
        half.set_mic(&tone_from(0, spoken + 10 * SECOND));
        far.set_mic(&tone_from(spoken, spoken + 2 * SECOND));
        let (mut a, mut b) = (Station::new(&half), Station::new(&far));
        a.call(b.address(), 1);
        b.call(a.address(), 2);
        b.expect("Playing", |event| matches!(event, Event::Playing { call: 1 }));
        let losses = |event: &Event| matches!(event, Event::Card(CardEvent::Lost { .. }));
        while (rig::frame_now() as usize) < spoken + 5 * SECOND {
            pause(20);
        }
        assert_eq!(a.count(losses), 0, "{:?}", a.seen);
        drop((a, b));
        if half.spoilt() || far.spoilt() {
            continue;
        }
        let (near, away) = (half.speaker(), far.speaker());
        assert!(sounds(&away, spoken - SECOND, SECOND / 2), "nobody else speaks: the microphone is open");
        assert!(sounds(&near, spoken + SECOND, SECOND / 2), "the far end is heard");
        assert!(!sounds(&away, spoken + SECOND, SECOND / 2), "and the microphone is closed");
        assert!(sounds(&away, spoken + 4 * SECOND, SECOND / 2), "it is opened again");
        return;
    }
    panic!("the machine was late five times");
}

#[test]
fn a_station_may_have_no_microphone_and_another_no_loudspeaker() {
    let _alone = alone();
    let _ = rig::directory();
    for attempt in 0..5 {
        let (help, pager) = (rig::card(&format!("help{attempt}"), ""), rig::card(&format!("pager{attempt}"), ""));
        help.set_mic(&tone_from(0, 600 * 48_000));
        let (mut a, mut b) = (Station::with(&help.pcm(), "none"), Station::with("none", &pager.pcm()));
        a.call(b.address(), 1);
        b.call(a.address(), 2);
        b.expect("Playing", |event| matches!(event, Event::Playing { call: 1 }));
        a.expect("Receiving", |event| matches!(event, Event::Receiving { call: 1 }));
        pause(1_500);
        let (sent, heard) = (a.stats(), b.stats());
        assert_eq!(a.count(|event| matches!(event, Event::Playing { .. })), 0, "nobody hears it");
        let at = rig::frame_now() as usize;
        drop((a, b));
        if help.spoilt() || pager.spoilt() {
            continue;
        }
        assert!(sent.packets_received > 50 && heard.packets_sent > 50, "both send: {sent:?}, {heard:?}");
        assert!(sounds(&pager.speaker(), at - 48_000, 24_000));
        let directions =
            |card: &rig::VirtualCard| card.logged("start").iter().map(|start| start["dir"].clone()).collect::<Vec<_>>();
        assert_eq!((directions(&help), directions(&pager)), (vec!["c".into()], vec!["p".into()]));
        return;
    }
    panic!("the machine was late five times");
}

#[test]
fn a_card_that_returns_in_a_call_under_another_number_and_name_is_heard_within_a_second() {
    let _alone = alone();
    let late = (0..5).all(|attempt| {
        let (before, after) =
            (rig::card(&format!("Headset{attempt}"), ""), rig::card(&format!("Headset{attempt}_1"), ""));
        let packets = heard_again_as(&rig::CardList::new(&format!("in-call{attempt}")), &before, &after);
        if before.spoilt() || after.spoilt() {
            return true;
        }
        assert_eq!(after.logged("start").len(), 2, "both directions of the other card run");
        assert_continuous(&packets);
        false
    });
    assert!(!late, "the machine was late five times");
}

/// Unplugs `before` in a call and plugs `after` in, and returns the packets of all that.
fn heard_again_as(list: &rig::CardList, before: &rig::VirtualCard, after: &rig::VirtualCard) -> Vec<Sent> {
    let mut config = Config::default();
    (config.audio.capture, config.audio.playback) = ("hw:USB=0d8c:0014,DEV=0".into(), "hw:USB=0d8c:0014,DEV=0".into());
    config.rtp.bind = [127, 0, 0, 1].into();
    list.plug(0, before, ("0d8c", "0014"));
    let handle = MediaThread::start_on(&config, Machine::below(list.root())).unwrap();
    let mut station = Station { handle, seen: Vec::new() };
    let peer = Peer::new();
    station.call(peer.0.local_addr().unwrap(), 7);
    let mut packets = peer.listen(500);
    before.unplug();
    list.unplug(0);
    packets.extend(peer.listen(1_700));
    station.expect("Lost", |event| matches!(event, Event::Card(CardEvent::Lost { error: CardError::Absent, .. })));
    assert_eq!(after.logged("start").len(), 0);
    list.plug(3, after, ("0d8c", "0014"));
    packets.extend(peer.listen(1_000));
    assert!(after.logged("start").len() >= 2, "within a second");
    // What it has to prove takes a second; packets are read as they come.
    packets.extend(peer.listen(1_300));
    station.expect("Returned", |event| matches!(event, Event::Card(CardEvent::Returned { .. })));
    packets
}

#[test]
fn without_a_card_it_wakes_once_per_packet_and_these_are_long() {
    let _alone = alone();
    let card = rig::card("nowhere", "");
    card.unplug();
    let peer = Peer::new();
    let mut station = Station::new(&card);
    station.call(peer.0.local_addr().unwrap(), 7);
    peer.listen(200);
    let before = station.handle.progress();
    let packets = peer.listen(2_000).len() as u64;
    let passes = station.handle.progress() - before;
    assert!((30..=35).contains(&packets) && passes <= packets + packets / 5, "{passes} passes for {packets} packets");
}

#[test]
fn a_busy_card_is_told_and_taken_when_it_is_free() {
    let _alone = alone();
    let card = rig::card("taken", "");
    card.set_busy(true);
    let mut station = Station::new(&card);
    station.handle.send(Command::Open).unwrap();
    station.expect("Lost", |event| matches!(event, Event::Card(CardEvent::Lost { error: CardError::Busy, .. })));
    card.set_busy(false);
    station.expect("Returned", |event| matches!(event, Event::Card(CardEvent::Returned { .. })));
}

#[test]
fn an_xrun_is_told_and_costs_no_time_on_the_wire() {
    let _alone = alone();
    let _ = rig::directory();
    let at = rig::frame_now() + 48_000;
    let card = rig::card("hiccup", &format!("faults xrun.p@{at};xrun.c@{}\n", at + 24_000));
    let peer = Peer::new();
    let mut station = Station::new(&card);
    station.call(peer.0.local_addr().unwrap(), 7);
    let packets = peer.listen(2_500);
    assert_continuous(&packets);
    assert!(station.count(|event| matches!(event, Event::Card(CardEvent::Xrun { .. }))) >= 1);
    let told = station.stats().xruns;
    assert!(told >= 2, "{told}");
}

/// Else each of them would move what is said to another moment of the mixer's tick, and be heard sooner or later than before.
#[test]
fn after_an_xrun_the_card_begins_again_in_step() {
    let _alone = alone();
    let _ = rig::directory();
    let at = rig::frame_now() + 24_000;
    let faults: Vec<String> = (0..6).map(|n| format!("xrun.c@{}", at + n * 14_500)).collect();
    let card = rig::card("step", &format!("faults {}\n", faults.join(";")));
    let peer = Peer::new();
    let mut station = Station::new(&card);
    station.call(peer.0.local_addr().unwrap(), 7);
    assert_continuous(&peer.listen(2_800));
    let starts: Vec<i64> = card.logged("start").iter().filter_map(|start| start["at"].as_i64()).collect();
    let off: Vec<i64> = starts.windows(2).map(|two| (two[1] - two[0] + 240).rem_euclid(480) - 240).collect();
    // Two directions, seven times; the machine may be late once.
    let in_step = off.iter().filter(|off| off.abs() <= 48).count();
    assert!(starts.len() >= 14 && in_step + 2 >= off.len(), "{starts:?}: {off:?}");
}

/// Their periods have another length in their own frames than in ours; the last card has one length only, and it is odd.
#[test]
fn cards_of_other_rates_are_not_taken_for_a_machine_that_does_not_keep_up() {
    let _alone = alone();
    let settings = ["rate 16000\n", "rate 44100\n", "rate 96000\n", "rate 44100\nperiod_min 1024\nperiod_max 1024\n"];
    let peer = Peer::new();
    let mut stations: Vec<Station> = settings
        .iter()
        .enumerate()
        .map(|(n, settings)| {
            let mut station = Station::new(&rig::card(&format!("other{n}"), settings));
            station.call(peer.0.local_addr().unwrap(), n as u32);
            station
        })
        .collect();
    // As long as the governor takes for its first two steps.
    pause(4_000);
    for (station, settings) in stations.iter_mut().zip(settings) {
        let stats = station.stats();
        assert_eq!(stats.economy, Economy::default(), "{settings}");
        assert_eq!(stats.xruns, 0, "{settings}");
    }
    let opened = |event: &Event| match event {
        Event::Card(CardEvent::Opened { period, buffer, .. }) => Some((*period, *buffer)),
        _ => None,
    };
    let granted: Vec<_> =
        stations.iter().map(|station| station.seen.iter().find_map(|(_, event)| opened(event))).collect();
    assert_eq!(granted, [Some((160, 640)), Some((441, 1_764)), Some((960, 3_840)), Some((1_024, 4_096))]);
}

#[test]
fn after_a_tone_a_call_in_short_packets_has_a_queue_of_its_own() {
    let _alone = alone();
    let card = rig::card("short", "");
    let peer = Peer::new();
    let mut station = Station::new(&card);
    station.handle.send(Command::Tone(Tone::Ringback)).unwrap();
    pause(100);
    assert_eq!(card.logged("start").len(), 2);
    let ptime = Span::from_millis(10);
    station.handle.send(Command::Start(StreamParams { ptime, ..params(peer.0.local_addr().unwrap(), 7) })).unwrap();
    assert!(!peer.listen(300).is_empty());
    let starts = card.logged("start");
    let queued: Vec<_> = starts.iter().filter(|it| it["dir"] == "p").map(|it| it["queued"].as_u64()).collect();
    // 20 ms, or 10, and a quarter of the rest of the buffer.
    assert_eq!(queued, [Some(960 + 240), Some(480 + 360)]);
}

#[test]
fn a_tone_opens_the_card_for_itself_and_leaves_it_open_for_a_call() {
    let _alone = alone();
    let card = rig::card("bell", "");
    let mut station = Station::new(&card);
    let opened = |event: &Event| matches!(event, Event::Card(CardEvent::Opened { .. }));
    let closed = |event: &Event| matches!(event, Event::Card(CardEvent::Closed));
    station.handle.send(Command::Tone(Tone::Connected)).unwrap();
    station.expect("Closed", closed);
    assert_eq!(station.count(opened), 1);
    let heard = card.speaker().iter().filter(|sample| sample.unsigned_abs() > 1_000).count();
    assert!(heard > 48 * 100, "200 ms of tone: {heard}");
    // The end of a call, and its tone: the card stays open between them.
    let peer = Peer::new();
    station.handle.send(Command::Tone(Tone::Ringback)).unwrap();
    pause(100);
    station.call(peer.0.local_addr().unwrap(), 7);
    station.handle.send(Command::ToneStop).unwrap();
    assert!(!peer.listen(300).is_empty());
    station.handle.send(Command::Tone(Tone::Connected)).unwrap();
    station.handle.send(Command::Stop).unwrap();
    pause(100);
    assert_eq!((station.count(opened), station.count(closed)), (2, 1), "{:?}", station.seen);
    station.expect("Closed", closed);
    let before = station.handle.progress();
    pause(300);
    assert_eq!(station.handle.progress(), before, "and sleeps again");
}

#[test]
fn idle_it_sleeps_and_in_a_call_it_wakes_once_per_packet() {
    let _alone = alone();
    let card = rig::card("quiet", "");
    let peer = Peer::new();
    let mut station = Station::new(&card);
    pause(50);
    let before = station.handle.progress();
    pause(500);
    assert_eq!(station.handle.progress(), before, "nothing wakes it");
    station.stats();
    assert_eq!(station.handle.progress(), before + 1, "a question does");
    station.call(peer.0.local_addr().unwrap(), 7);
    pause(300);
    let (before, switches) = (station.handle.progress(), context_switches("media"));
    pause(1_000);
    let (passes, switches) = (station.handle.progress() - before, context_switches("media") - switches);
    println!("{passes} passes and {switches} context switches a second, {:?}", station.handle.privileges());
    assert!((45..=60).contains(&passes), "{passes} passes");
    assert!(switches <= 80, "{switches} context switches");
    station.expect("Alive", |event| matches!(event, Event::Alive));
    station.handle.send(Command::Stop).unwrap();
    station.expect("Closed", |event| matches!(event, Event::Card(CardEvent::Closed)));
}

#[test]
fn events_nobody_takes_are_dropped_and_counted_and_the_thread_goes_on() {
    let _alone = alone();
    let card = rig::card("ignored", "");
    let mut station = Station::new(&card);
    for _ in 0..100 {
        while station.handle.send(Command::Stats).is_err() {
            pause(1);
        }
    }
    pause(50);
    assert!(station.handle.events_lost() >= 30, "{}", station.handle.events_lost());
    assert!(station.count(|event| matches!(event, Event::Stats(_))) >= 60);
    station.stats();
}

/// How often the process's threads of this name, together, went to sleep.
fn context_switches(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let named =
        tasks.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name));
    let switches = |status: String| {
        let counts = status.lines().filter(|line| line.starts_with("voluntary_ctxt_switches"));
        counts.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum::<u64>()
    };
    named.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok()).map(switches).sum()
}
