//! The main job through the lab: a session, a room, a call, sound; and what may go wrong around it.
#![cfg(feature = "io")]
#![allow(clippy::disallowed_types)]

mod stage;

use lab::measure::{signal, wire};
use lab::mixer::{self, CallState, End, Mixer};
use lab::phone::{Phone, Plan};
use lab::process::{ConfigFile, endpoint_binary};
use lab::qss::{Log, Memory};
use serde_json::Value;
use stage::{Heard, PATIENCE, Stage, listen, undisturbed, uri};
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

const ROOM: &str = "2f11c52047f244f78e1deac1839fbd45d008d20f6eabcf2e17ede0b5d3d520e9";
const NUMBER: &str = "88826777033";

/// A caller in the room who hums for ever, straight at the mixer.
fn humming(stage: &Stage, hertz: f64) -> Phone {
    let phone = Phone::dial(&Plan::to(stage.mixer.address(), "hummer", NUMBER)).expect("the mixer answers");
    phone.say(&signal::tone(hertz, -12.0, 300.0));
    phone
}

#[test]
fn the_ladder_is_climbed_and_each_rung_reported_upstream() {
    let stage = Stage::new("ladder", &[(ROOM, NUMBER, 64)]);
    let card = stage.card("a");
    let mut config = stage.config("door-1", &card).room(ROOM);
    let socket = stage.cards.path().join("status.sock");
    config.set("status", "socket", &socket.to_string_lossy());
    let mut endpoint = stage.start("door-1", &config);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    stage.qss.wait_rung("door-1", "playing", 0, PATIENCE).unwrap();

    let log = stage.qss.log();
    let rungs = Log { entries: &log }.rungs("door-1").into_iter().map(String::from).collect::<Vec<_>>();
    let climbed = ["session", "room", "call", "sending", "receiving", "playing"];
    let mut wanted = climbed.iter().peekable();
    for rung in &rungs {
        wanted.next_if(|next| *next == rung);
    }
    assert_eq!(wanted.next(), None, "upstream saw {rungs:?}");
    let numbers: Vec<u64> = Log { entries: &log }.statuses("door-1").filter_map(|(_, it)| it["seq"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "sequence numbers have gaps: {numbers:?}");

    let answer =
        Command::new(endpoint_binary_of_this_build()).args(["status", "--socket"]).arg(&socket).output().unwrap();
    let text = String::from_utf8_lossy(&answer.stdout);
    let snapshot: Value = serde_json::from_str(text.lines().next().unwrap_or_default()).expect("status prints JSON");
    assert!(answer.status.success() && snapshot.to_string().contains("playing"), "{text}");
}

#[test]
fn what_is_said_is_heard_both_ways() {
    let stage = Stage::new("heard", &[(ROOM, NUMBER, 1024)]);
    let (a, b) = (stage.card("a"), stage.card("b"));
    let mut first = stage.start("a", &stage.config("a", &a).room(ROOM));
    let mut second = stage.start("b", &stage.config("b", &b).accept_all());
    first.wait_rung("playing", 0, PATIENCE).unwrap();
    second.wait_rung("session", 0, PATIENCE).unwrap();
    stage.qss.invite("a", "b", ROOM);
    second.wait_rung("playing", 0, PATIENCE).unwrap();
    a.say_now(&signal::tone(440.0, -12.0, 120.0)).unwrap();
    b.say_now(&signal::tone(880.0, -12.0, 120.0)).unwrap();
    lasting_tone(&a, 880.0);
    for (card, hertz) in [(&b, 440.0), (&a, 880.0)] {
        let clear = |heard: &Heard| heard.snr_db[0] >= 30.0 && heard.gaps == 0;
        let heard = undisturbed(&[&a, &b], || Heard::of(&listen(card, 5.0), &[hertz]), clear);
        assert!(clear(&heard), "{} at {hertz} Hz: {heard:?}", card.name());
    }
}

#[test]
fn the_wire_stays_under_every_cap() {
    const CAPS: [u32; 5] = [16, 24, 32, 64, 1024];
    let numbers: Vec<String> = CAPS.iter().map(|cap| format!("888{:07}", cap)).collect();
    let ids: Vec<String> = CAPS.iter().map(|cap| format!("room-{cap}")).collect();
    let rooms: Vec<(&str, &str, u32)> =
        (0..CAPS.len()).map(|at| (ids[at].as_str(), numbers[at].as_str(), CAPS[at])).collect();
    let stage = Stage::new("caps", &rooms);
    let mut running = Vec::new();
    for (at, cap) in CAPS.iter().enumerate() {
        let device = format!("cap-{cap}");
        let card = stage.card(&device);
        // Noise at full band is what a codec can do least about.
        let noise = signal::add(&signal::speech(12.0, 3), &signal::white_noise(-20.0, 12.0, 7));
        card.say_now(&noise).unwrap();
        let mut config = stage.config(&device, &card).room(&ids[at]);
        config.set_raw("codec", "bitrate", "128000").set_raw("rtp", "rtcp_interval_ms", "1000");
        running.push((stage.start(&device, &config), *cap, numbers[at].clone()));
    }
    for (endpoint, cap, number) in &mut running {
        endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
        let enough = |calls: &[mixer::CallInfo]| {
            let call = calls.iter().find(|call| call.room == *number)?;
            let seconds = call.received.last()?.at_us.saturating_sub(call.received.first()?.at_us) / 1_000_000;
            (seconds >= 6).then(|| call.call_id.clone())
        };
        let call_id = stage.mixer.wait_for("six seconds of sound", PATIENCE, enough).unwrap();
        let flows = stage.relay.calls();
        let call = flows.iter().find(|call| call.call_id == call_id).expect("the relay saw the call");
        let rate = wire::wire_rate(&call.up.all());
        assert!(rate.peak_bps <= f64::from(*cap) * 1000.0, "cap {cap} kbit/s broken: {rate:?}");
        let least = if *cap == 1024 { 64.0 } else { f64::from(*cap) * 0.6 };
        assert!(rate.mean_bps >= least * 1000.0, "cap {cap} kbit/s is not used: {rate:?}");
        // What the mixer sends follows the `maxaveragebitrate` offered; below 24 kbit/s its 20 ms packets cannot.
        let down = wire::wire_rate(&call.down.all());
        assert!(
            *cap < 24 || down.mean_bps <= f64::from(*cap) * 1000.0,
            "cap {cap} kbit/s broken by the mixer: {down:?}"
        );
        // Headers cost 16 kbit/s at 20 ms: low caps take longer packets.
        let steps = call.up.rtp.windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) / 48).min();
        match cap {
            16 => assert_eq!(steps, Some(60), "cap 16"),
            24 => assert!(steps >= Some(40), "cap 24: {steps:?}"),
            _ => assert!(steps >= Some(20), "cap {cap}: {steps:?}"),
        }
    }
}

#[test]
fn a_qss_that_restarts_mid_call_is_not_heard() {
    let stage = Stage::new("qss-restart", &[(ROOM, NUMBER, 64)]);
    let card = stage.card("a");
    let mut endpoint = stage.start("a", &stage.config("a", &card).room(ROOM));
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    let _hummer = humming(&stage, 440.0);
    lasting_tone(&card, 440.0);
    let clear = |heard: &Heard| heard.gaps == 0 && heard.snr_db[0] > 25.0;
    let measure = || {
        let from = card.frame_now();
        stage.qss.down(Memory::Rooms);
        let mark = stage.qss.mark();
        let piece = listen(&card, 1.5);
        stage.qss.up();
        stage.qss.wait_request("register", mark, PATIENCE).unwrap();
        stage.qss.wait_request("joinRoom", mark, PATIENCE).unwrap();
        stage.qss.wait_rung("a", "playing", mark, PATIENCE).unwrap();
        let rest = listen(&card, 1.5);
        drop((piece, rest));
        Heard::of(&card.loudspeaker()[from..from + (card.frame_now() - from - 4800)], &[440.0])
    };
    let heard = undisturbed(&[&card], measure, clear);
    assert!(clear(&heard), "{heard:?}");
    let calls = stage.mixer.calls().into_iter().filter(|call| call.user == "a").count();
    assert_eq!(calls, 1, "the call was dialled again");
    assert_eq!(stage.qss.participants(ROOM), ["a"]);
}

#[test]
fn a_mixer_that_dies_is_dialled_until_it_is_back() {
    let mut stage = Stage::new("mixer-dies", &[(ROOM, NUMBER, 64)]);
    let card = stage.card("a");
    // Straight to the mixer: the relay would keep the port alive.
    let mut config = stage.config("a", &card).room(ROOM).host_map(stage::MIXER_HOST, stage.mixer.address());
    config.set_raw("rtp", "dead_timeout_ms", "3000").set_raw("rtp", "silence_timeout_ms", "1000");
    config.set_raw("sip", "t1_ms", "100");
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    let address = stage.mixer.address();
    let mark = endpoint.mark();
    let other = Mixer::start(mixer::Config::default()).unwrap();
    drop(std::mem::replace(&mut stage.mixer, other));
    endpoint
        .wait_for("the loss", PATIENCE, |lines| {
            lines.get(mark..)?.iter().find(|line| line.rung() == Some("room")).map(drop)
        })
        .unwrap();
    let mark = endpoint.mark();
    stage.mixer = Mixer::start(mixer::Config { listen: address, ..mixer::Config::default() }).unwrap();
    endpoint.wait_rung("playing", mark, PATIENCE).unwrap();
    let _hummer = humming(&stage, 440.0);
    lasting_tone(&card, 440.0);
}

#[test]
fn a_card_that_is_pulled_out_costs_the_sound_but_not_the_call() {
    let stage = Stage::new("unplugged", &[(ROOM, NUMBER, 64)]);
    let card = stage.card("a");
    let mut endpoint = stage.start("a", &stage.config("a", &card).room(ROOM));
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    let _hummer = humming(&stage, 440.0);
    lasting_tone(&card, 440.0);
    let mark = endpoint.mark();
    card.unplug().unwrap();
    endpoint.wait_for("word of the lost card", PATIENCE, |lines| mentions(lines.get(mark..)?, "card_absent")).unwrap();
    let sent = stage.relay.calls()[0].up.rtp.len();
    let goes_on = |calls: &[mixer::CallInfo]| {
        let call = calls.iter().find(|call| call.user == "a")?;
        (call.received.len() > sent + 50).then_some(())
    };
    stage.mixer.wait_for("packets without a card", PATIENCE, goes_on).unwrap();
    let mark = endpoint.mark();
    card.replug().unwrap();
    endpoint.wait_rung("playing", mark, PATIENCE).unwrap();
    lasting_tone(&card, 440.0);

    let calls: Vec<_> = stage.mixer.calls().into_iter().filter(|call| call.user == "a").collect();
    assert!(calls.len() == 1 && calls[0].state == CallState::Confirmed, "{:?}", calls[0].state);
    let flow = stage.relay.calls().into_iter().find(|flow| flow.call_id == calls[0].call_id).unwrap();
    for pair in flow.up.rtp.windows(2) {
        let (sequence, time) =
            (pair[1].sequence.wrapping_sub(pair[0].sequence), pair[1].timestamp.wrapping_sub(pair[0].timestamp));
        assert!(sequence == 1 && (960..96_000).contains(&time), "the stream broke: {pair:?}");
    }
}

#[test]
fn sigterm_says_goodbye_to_mixer_and_qss_within_two_seconds() {
    let stage = Stage::new("sigterm", &[(ROOM, NUMBER, 64)]);
    let card = stage.card("a");
    let mut endpoint = stage.start("a", &stage.config("a", &card).room(ROOM));
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    let mark = stage.qss.mark();
    endpoint.terminate();
    let status = endpoint.wait_exit(Duration::from_secs(2)).expect("gone within two seconds");
    assert!(status.success(), "{status}");
    stage.qss.wait_request("leaveRoom", mark, PATIENCE).unwrap();
    stage.qss.wait_request("unregister", mark, PATIENCE).unwrap();
    let ended =
        |calls: &[mixer::CallInfo]| calls.iter().find(|call| call.state == CallState::Ended(End::ByPeer)).map(drop);
    stage.mixer.wait_for("BYE", PATIENCE, ended).unwrap();
}

#[test]
fn a_killed_endpoint_is_back_in_its_room_when_it_is_started_again() {
    let stage = Stage::new("killed", &[(ROOM, NUMBER, 64)]);
    let card = stage.card("a");
    let config = stage.config("a", &card).room(ROOM);
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    endpoint.kill();
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    assert_eq!(stage.qss.participants(ROOM), ["a"]);
}

#[test]
fn a_sip_uri_is_dialled_without_a_qss_and_reported_when_there_is_one() {
    let stage = Stage::new("island", &[]);
    stage.qss.down(Memory::Nothing);
    let card = stage.card("a");
    let mut endpoint = stage.start("a", &stage.config("a", &card).sip_uri(&uri(NUMBER)));
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    assert!(stage.qss.log().is_empty() || Log { entries: &stage.qss.log() }.statuses("a").count() == 0);
    stage.qss.up();
    stage.qss.wait_rung("a", "playing", 0, PATIENCE).unwrap();
    assert_eq!(stage.mixer.calls().len(), 1, "the call was dialled again");
}

#[test]
fn an_invite_of_a_stranger_is_declined() {
    let stage = Stage::new("stranger", &[(ROOM, NUMBER, 64)]);
    let card = stage.card("a");
    let mut config = stage.config("a", &card);
    config.set_raw("invites", "accept", r#"["alice"]"#);
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_rung("session", 0, PATIENCE).unwrap();
    let mark = stage.qss.mark();
    stage.qss.invite("mallory", "a", ROOM);
    let declined = |log: Log<'_>| log.after(mark).cancels("invite").next().map(|(_, frame)| frame["error"].as_u64());
    assert_eq!(stage.qss.wait_for("refusal", PATIENCE, declined).unwrap(), Some(603));
    stage.qss.invite("alice", "a", ROOM);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
}

#[test]
fn a_digest_challenge_is_met_and_a_wrong_password_said() {
    let mixer = mixer::Config { digest: Some(("door".into(), "open sesame".into())), ..mixer::Config::default() };
    let stage = Stage::with("digest", &[(ROOM, NUMBER, 64)], mixer, lab::qss::Config::default());
    let card = stage.card("a");
    let mut config = stage.config("a", &card).room(ROOM);
    config.set("sip", "auth_user", "door").set("sip", "password", "open sesame");
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    endpoint.terminate();
    endpoint.wait_exit(PATIENCE);
    config.set("sip", "password", "wrong");
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_for("the reason", PATIENCE, |lines| mentions(lines, "sip_auth_failed")).unwrap();
}

#[test]
fn garbage_on_every_socket_stops_nothing_and_is_reported_once() {
    let stage = Stage::new("garbage", &[(ROOM, NUMBER, 64)]);
    let card = stage.card("a");
    let mut config = stage.config("a", &card).room(ROOM);
    let sip_port = lab::process::free_port();
    config.set("sip", "bind", &format!("127.0.0.1:{sip_port}"));
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    let _hummer = humming(&stage, 440.0);
    lasting_tone(&card, 440.0);
    let rtp = rtp_port(&stage.mixer.calls()[0].offer);
    let attacker = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut chance = signal::Chance(11);
    let mark = endpoint.mark();
    let clear = |heard: &Heard| heard.gaps == 0 && heard.snr_db[0] > 25.0;
    let measure = || {
        let from = card.frame_now();
        for round in 0..400 {
            let junk: Vec<u8> = (0..round).map(|_| chance.bits() as u8).collect();
            for port in [sip_port, rtp, rtp + 1] {
                let _ = attacker.send_to(&junk, SocketAddr::from(([127, 0, 0, 1], port)));
            }
            let almost =
                format!("INVITE sip:x SIP/2.0\r\nVia: {}\r\nContent-Length: 99999\r\n\r\n", "a,".repeat(round));
            let _ = attacker.send_to(almost.as_bytes(), SocketAddr::from(([127, 0, 0, 1], sip_port)));
            stage.qss.send_text("a", &"{\"type\":[".repeat(round + 1));
            stage.qss.send_text("a", &String::from_utf8_lossy(&junk));
            if round % 8 == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        listen(&card, 1.0);
        Heard::of(&card.loudspeaker()[from..card.frame_now() - 9600], &[440.0])
    };
    let heard = undisturbed(&[&card], measure, clear);
    assert!(clear(&heard), "{heard:?}");
    let lines = endpoint.lines();
    let problems: Vec<&Value> =
        lines[mark..].iter().map(|line| &line.event).filter(|it| it["event"] == "problem").collect();
    let mut kinds: Vec<String> = problems.iter().map(|it| format!("{} {}", it["what"], it["count"])).collect();
    let said = kinds.len();
    kinds.sort();
    kinds.dedup();
    assert!(kinds.len() == said && (3..60).contains(&said), "thousands of bad messages were reported as {problems:?}");
    for boundary in ["rtp_invalid", "rtcp_invalid", "qss_not_json"] {
        assert!(problems.iter().any(|it| it["what"] == boundary), "nothing of {boundary} in {kinds:?}");
    }
    let is_sip = |it: &&Value| {
        it["what"].as_str().is_some_and(|what| !["qss_", "rtp_", "rtcp_"].iter().any(|other| what.starts_with(other)))
    };
    assert!(problems.iter().any(is_sip), "nothing of SIP in {kinds:?}");
    assert_eq!(stage.mixer.calls().iter().filter(|call| call.user == "a").count(), 1, "the call was dialled again");
}

/// Waits until a tone has been heard for half a second without a gap.
fn lasting_tone(card: &lab::cards::Card, hertz: f64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let heard = Heard::of(&listen(card, 0.5), &[hertz]);
        if heard.gaps == 0 && heard.snr_db[0] > 20.0 {
            return;
        }
        assert!(Instant::now() < end, "no lasting tone of {hertz} Hz: {heard:?}");
    }
}

fn mentions(lines: &[lab::process::Line], word: &str) -> Option<()> {
    lines.iter().find(|line| line.event.to_string().contains(word)).map(drop)
}

fn rtp_port(sdp: &str) -> u16 {
    let media = sdp.lines().find_map(|line| line.strip_prefix("m=audio ")).expect("the offer has audio");
    media.split(' ').next().and_then(|port| port.parse().ok()).expect("a port")
}

fn endpoint_binary_of_this_build() -> &'static str {
    let _ = (endpoint_binary, ConfigFile::default);
    env!("CARGO_BIN_EXE_qss-endpoint")
}
