//! Who calls the device by SIP, and what is heard before a call is answered, on virtual time.

use qss_endpoint::config::{Config, Incoming};
use qss_endpoint::media::command::Command;
use qss_endpoint::media::tone::Tone;
use qss_endpoint::time::Span;
use sim::mixer::Manner;
use sim::{World, config};

/// An intercom without a room of its own, which the mixer may call.
fn intercom() -> Config {
    let mut config = config();
    config.rooms.clear();
    config.sip.incoming = Incoming::Accept;
    config.sip.callers = vec!["door".into()];
    config.sip.peers = vec!["127.0.0.1".into()];
    config
}

fn called(config: Config, user: &str, headers: &str) -> World {
    let mut world = World::started(1, config);
    world.run(200);
    let invite = world.mixer.call_device(user, headers);
    world.post_all(invite);
    world
}

#[test]
fn an_allowed_caller_is_answered_and_heard_and_its_bye_ends_the_visit() {
    let mut w = called(intercom(), "door", "");
    w.run_until(1_000, |w| w.rung() == "playing");
    assert_eq!(w.events_of("invite")[0]["outcome"], "accepted");
    assert_eq!(w.events_of("invite")[0]["from"], "sip:door@127.0.0.1");
    assert_eq!(w.events.last().expect("an event")["room"]["name"], "sip:door@127.0.0.1");
    w.mixer_hangs_up();
    w.run(100);
    assert_eq!(w.rung(), "session");
    w.run(60_000);
    assert_eq!(w.mixer.invites(), 0, "nobody is called back");
}

#[test]
fn others_hear_403_and_by_default_everybody_480() {
    let mut w = called(intercom(), "stranger", "");
    w.run(100);
    assert_eq!(w.mixer.answers, ["403 1 INVITE"]);
    assert_eq!(w.events_of("invite")[0]["outcome"], "declined");
    let mut closed = intercom();
    closed.sip.incoming = Incoming::Refuse;
    let mut w = called(closed, "door", "");
    w.run(100);
    assert_eq!(w.mixer.answers, ["480 1 INVITE"]);
    assert!(w.events_of("invite").is_empty());
}

#[test]
fn a_second_caller_hears_486_and_the_first_is_not_disturbed() {
    let mut w = called(intercom(), "door", "");
    w.run_until(1_000, |w| w.rung() == "playing");
    let second = w.mixer.call_device("door", "");
    w.post_all(second);
    w.run(100);
    assert!(w.mixer.answers.contains(&"486 1 INVITE".to_owned()), "{:?}", w.mixer.answers);
    assert_eq!(w.rung(), "playing");
    assert_eq!(w.events_of("invite")[1]["outcome"], "busy");
}

#[test]
fn it_rings_before_it_is_answered_and_a_caller_may_give_up() {
    let mut config = intercom();
    config.sip.ring = Span::from_secs(3);
    let mut w = called(config.clone(), "door", "");
    w.run(2_900);
    assert_eq!(w.mixer.answers, ["180 1 INVITE"]);
    assert_eq!(w.rung(), "session");
    let bell = |w: &World| {
        w.commands().iter().filter(|(_, c)| [Command::Tone(Tone::Ring), Command::ToneStop].contains(c)).count()
    };
    assert_eq!(bell(&w), 1, "the bell");
    w.run_until(1_000, |w| w.rung() == "playing");
    assert_eq!(bell(&w), 2, "and its end");
    let mut w = called(config.clone(), "door", "");
    w.run(1_000);
    let cancel = w.mixer.cancel();
    w.post_all(cancel);
    w.run(5_000);
    assert_eq!(w.mixer.answers[..3], ["180 1 INVITE", "200 1 CANCEL", "487 1 INVITE"]);
    assert_eq!((w.rung(), w.events_of("invite")[0]["outcome"].as_str()), ("session", Some("withdrawn")));
    let mut w = called(config, "door", "");
    w.run(1_000);
    w.input(qss_endpoint::agent::Input::Stop);
    w.run(100);
    assert!(w.mixer.answers.contains(&"480 1 INVITE".to_owned()), "{:?}", w.mixer.answers);
}

#[test]
fn a_mixer_that_plays_before_it_answers_is_heard_and_does_not_hear_us() {
    let mut w = World::started(1, config());
    w.mixer.manner = Manner::PlayThenAnswer;
    let streams = |w: &World| -> Vec<(bool, bool)> {
        let params = w.commands().iter().filter_map(|(_, command)| match command {
            Command::Start(params) => Some((true, params.send)),
            Command::Update(params) => Some((false, params.send)),
            _ => None,
        });
        params.collect()
    };
    w.run(2_000);
    assert_eq!(streams(&w), [(true, false)], "heard, and not sending");
    assert_eq!(w.rung(), "room", "not in the call yet");
    w.run_until(5_000, |w| w.rung() == "playing");
    assert_eq!(streams(&w), [(true, false), (false, true)], "one stream goes on");
    w.run(60_000);
    assert_eq!((w.rung(), w.mixer.invites()), ("playing", 1), "what was heard early still counts");
}

#[test]
fn early_media_of_a_call_that_is_never_answered_stop() {
    let mut w = World::started(1, config());
    w.mixer.manner = Manner::PlayThenAnswer;
    w.run(1_000);
    w.mixer.kill();
    w.local("hangup");
    w.run(200);
    let stops = w.commands().iter().filter(|(_, command)| *command == Command::Stop).count();
    assert_eq!(stops, 1);
}
