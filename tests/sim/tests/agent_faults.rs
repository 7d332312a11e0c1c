//! Random faults on virtual time: whatever happens, in whatever order, once it is over audio is back within a bound,
//! and nothing that must never happen has happened (see `sim::World::check`). A failure prints its seed.

use qss_endpoint::agent::{Input, LinkErrorKind};
use qss_endpoint::config::{Config, Room, RoomTarget};
use qss_endpoint::media::command::Event;
use qss_endpoint::sip::transport::Flow;
use qss_endpoint::time::Span;
use sim::mixer::Manner;
use sim::{World, config};

/// How long after the last fault audio must be back: the longest pause of QSS and room, a lost INVITE's patience, and
/// the time to notice a dead link or a dead mixer.
const RECOVERY_MS: u64 = 240_000;

fn random_fault(w: &mut World) {
    match w.rng.below(15) {
        0 => w.kill_qss(Some(LinkErrorKind::Closed(1006))),
        1 => w.kill_qss(None),
        2 => w.qss.up = true,
        3 => w.qss.mute = w.rng.below(2) == 0,
        4 => drop(w.qss.refuse.insert("joinRoom".into(), ([403, 404, 500, 501, 0][w.rng.below(5) as usize], "no"))),
        5 => drop(w.qss.refuse.insert("register".into(), ([401, 500, 0][w.rng.below(3) as usize], "no"))),
        6 => w.mixer.kill(),
        7 => w.mixer.up = true,
        8 => {
            let manners = [
                Manner::Answer,
                Manner::Refuse(503),
                Manner::Refuse(404),
                Manner::Refuse(486),
                Manner::AnswerThenBye,
                Manner::AnswerSilently,
            ];
            w.mixer.manner = manners[w.rng.below(6) as usize];
        }
        9 => w.mixer_hangs_up(),
        10 => w.net.sip_loss = w.rng.below(60),
        11 => {
            let id = w.rng.request_id();
            let from = if w.rng.below(2) == 0 { "alice" } else { "mallory" };
            w.qss_says(&format!(
                r#"{{"request":"invite","requestID":"{id}","payload":{{"from":"{from}","room":{{"room":"r{}","sipUri":"sip:888{}@audiomixer-sfu1:5080"}}}}}}"#,
                id.len(),
                w.now.as_millis(),
            ));
            if w.rng.below(2) == 0 {
                let pause = w.rng.below(300);
                w.run(pause);
                w.qss_says(&format!(r#"{{"cancel":"invite","requestID":"{id}","error":487}}"#));
            }
        }
        12 => {
            let text = w.rng.hex(40);
            w.qss_says(&text);
        }
        13 => {
            if let Some(stream) = w.voice.stream {
                w.input(Input::Media(Event::NotPlaying { call: stream.call }));
                w.input(Input::Media(Event::Playing { call: stream.call }));
            }
        }
        _ => {
            let (bytes, from) = (w.rng.hex(60).into_bytes(), sim::addr(sim::MIXER));
            w.input(Input::Sip { flow: Flow::udp(from), bytes: &bytes });
        }
    }
}

fn heal(w: &mut World) {
    w.qss.up = true;
    w.qss.mute = false;
    w.qss.refuse.clear();
    w.mixer.up = true;
    w.mixer.manner = Manner::Answer;
    w.net.sip_loss = 0;
}

fn storm(seed: u64, config: Config) -> World {
    let mut w = World::started(seed, config);
    w.mixer.insists = true;
    for _ in 0..60 {
        random_fault(&mut w);
        let pause = 1 << w.rng.below(16);
        w.run(pause);
    }
    heal(&mut w);
    w.run_until(RECOVERY_MS, |w| w.rung() == "playing");
    // And it lasts: nothing of the past comes up again.
    w.run(120_000);
    assert_eq!(w.rung(), "playing", "seed {seed}");
    assert_eq!(w.mixer.confirmed_calls(), 1, "seed {seed}");
    w
}

#[test]
fn audio_is_back_after_any_sequence_of_faults() {
    for seed in 0..300 {
        let mut config = config();
        config.invites.accept = vec!["alice".into()];
        config.invites.replaces_call = seed % 2 == 0;
        storm(seed, config);
    }
}

#[test]
fn a_direct_room_is_back_too_whatever_the_qss_does() {
    for seed in 1_000..1_150 {
        let mut config = config();
        config.rooms = vec![Room::new("lobby", RoomTarget::SipUri(sim::SIP_URI.into()))];
        storm(seed, config);
    }
}

#[test]
fn the_server_can_rebuild_the_story_whatever_was_lost_on_the_way() {
    for seed in 2_000..2_050 {
        let mut w = storm(seed, config());
        w.run(60_000);
        let mut seqs: Vec<u64> = w.qss.events().iter().map(|e| e["seq"].as_u64().expect("seq")).collect();
        let lost: u64 = w.qss.events().iter().filter_map(|e| e["lost"].as_u64()).sum();
        seqs.sort_unstable();
        seqs.dedup();
        let missing = w.events.len() as u64 - seqs.len() as u64;
        assert!(missing <= lost, "seed {seed}: {missing} missing, {lost} told");
    }
}

#[test]
fn attempts_do_not_storm_while_nothing_works() {
    for seed in 0..20 {
        let mut w = World::started(seed, config());
        w.qss.up = false;
        w.run(3_600_000);
        let n = w.connects.len();
        assert!((60..400).contains(&n), "seed {seed}: {n} attempts in an hour");
        assert!(w.events.len() < 10, "seed {seed}: {} lines", w.events.len());
        let burst = w.connects.windows(10).filter(|ten| ten[9].since(ten[0]).as_millis() < 2_000).count();
        assert_eq!(burst, 0, "seed {seed}");
    }
}

/// Each life ends with its first attempt.
#[test]
fn a_device_that_crashes_again_and_again_tries_ever_more_rarely() {
    for seed in 0..10 {
        let mut w = World::new(seed, config());
        w.qss.up = false;
        w.start();
        let born = w.now;
        for lives in 2..=10 {
            w.restart_device();
            w.run_until(61_000, |w| w.connects.len() == lives);
        }
        assert!(w.now.since(born) >= Span::from_secs(30), "seed {seed}: ten attempts in {}", w.now.since(born));
    }
}

#[test]
fn stop_ends_in_time_at_any_moment() {
    for seed in 0..200 {
        let mut w = World::started(seed, config());
        w.net.sip_loss = seed % 3 * 30;
        for _ in 0..(seed % 7) {
            random_fault(&mut w);
            let pause = 1 << w.rng.below(12);
            w.run(pause);
        }
        let stopped = w.now;
        w.input(Input::Stop);
        w.run(3_000);
        let exited = w.exited_at.unwrap_or_else(|| panic!("seed {seed}: no exit"));
        assert!(exited.since(stopped).as_millis() <= 1_500, "seed {seed}: {}", exited.since(stopped));
        assert!(w.agent.poll_timeout().is_none(), "seed {seed}: nothing is waited for any more");
    }
}

#[test]
fn a_call_moves_with_the_device_from_address_to_address() {
    let mut w = World::playing(11, config());
    let call = w.mixer.log[0].1.clone();
    for (moves, seen_by_link) in [(1, true), (2, false), (3, true), (4, false), (5, true)] {
        w.address = sim::addr(&format!("127.0.1.{moves}:0")).ip();
        if seen_by_link {
            w.kill_qss(Some(LinkErrorKind::Closed(1006)));
            w.qss.up = true;
        }
        // Without a link that tells, the next keep-alive finds out.
        w.run_until(60_000, |w| w.mixer.log.iter().filter(|(method, _)| method == "INVITE").count() == moves + 1);
        w.run(10_000);
    }
    assert!(w.mixer.log.iter().all(|(_, id)| *id == call), "one call: {:?}", w.mixer.log);
    assert!(w.mixer.log.iter().all(|(method, _)| method != "BYE"));
    assert_eq!(w.rung(), "playing");
}
