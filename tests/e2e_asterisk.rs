//! The main job on the real thing: an Asterisk ConfBridge, and in the same room an endpoint somebody else wrote.
#![cfg(feature = "io")]
#![allow(clippy::disallowed_types)]

mod stage;

use lab::asterisk::{Asterisk, SIP_SECRET};
use lab::baresip::{Baresip, Plan, Sound};
use lab::cards::{Card, Cards};
use lab::measure::signal;
use lab::phone::{self, Phone};
use lab::process::{ConfigFile, Line};
use lab::qss::{Config, QssServer, RoomSpec};
use stage::{Heard, MIXER_HOST, PATIENCE, TOKEN, listen, start, undisturbed, uri};
use std::sync::{Mutex, PoisonError};

const ROOM: &str = "2f11c52047f244f78e1deac1839fbd45d008d20f6eabcf2e17ede0b5d3d520e9";
const NUMBER: &str = "88826777033";
static TURN: Mutex<()> = Mutex::new(());

fn device(qss: &QssServer, mixer: &Asterisk, name: &str, card: &Card) -> ConfigFile {
    let mut config = ConfigFile::lab(name, card).session(&qss.url(), name, TOKEN);
    config.set_raw("codec", "bitrate", "96000");
    config.host_map(MIXER_HOST, mixer.sip)
}

fn qss() -> QssServer {
    let rooms = vec![RoomSpec::open(ROOM, &uri(NUMBER), 1024)];
    QssServer::start(Config { rooms, token: Some(TOKEN.into()), ..Config::default() }).expect("a QSS")
}

#[test]
fn two_endpoints_and_baresip_hear_each_other_through_confbridge() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mixer, qss, cards) = (Asterisk::start("three").unwrap(), qss(), Cards::new("three").unwrap());
    let [a, b, c] = ["a", "b", "c"].map(|name| cards.card(name, "").unwrap());
    let mut first = start("a", &device(&qss, &mixer, "a", &a).room(ROOM), &cards);
    let mut second = start("b", &device(&qss, &mixer, "b", &b).accept_all(), &cards);
    first.wait_rung("playing", 0, PATIENCE).unwrap();
    second.wait_rung("session", 0, PATIENCE).unwrap();
    qss.invite("a", "b", ROOM);
    second.wait_rung("playing", 0, PATIENCE).unwrap();
    let sound = Sound::Card {
        alsa_config: cards.path().join("asound.conf"),
        folder: cards.path().to_path_buf(),
        card: c.name().to_string(),
    };
    let mut peer = Baresip::dial("three", NUMBER, mixer.sip, &Plan::new(sound)).unwrap();
    peer.wait_established(PATIENCE).unwrap();
    mixer.wait_for(NUMBER, 3, PATIENCE).unwrap();

    let voices = [(&a, 440.0), (&b, 700.0), (&c, 1100.0)];
    for (card, hertz) in voices {
        card.say_now(&signal::tone(hertz, -14.0, 240.0)).unwrap();
    }
    let cards = [&a, &b, &c];
    for (card, own) in voices {
        let others: Vec<f64> = voices.iter().map(|(_, hertz)| *hertz).filter(|hertz| *hertz != own).collect();
        // The first second may hold the beginning of a tone.
        listen(card, 1.0);
        // What the peer's jitter buffer does to a tone on a machine that stalls is not ours: that the tones left in good order is
        // heard by the other one of ours.
        let least = if card.name() == "c" { 10.0 } else { 30.0 };
        let clear = |heard: &Heard| heard.gaps == 0 && heard.snr_db.iter().all(|snr| *snr >= least);
        // Short pieces: a machine that stalls leaves few long ones alone.
        let piece = || Heard::of(&listen(card, 1.5), &others);
        let heard = undisturbed(&cards, piece, clear);
        let name = card.name();
        assert!(clear(&heard), "{name} heard {others:?} as {heard:?}");
        assert!(heard.level_dbfs.iter().all(|level| (-17.0..-11.0).contains(level)), "{name}: {heard:?}");
    }
    peer.hang_up().unwrap();
}

/// A page comes into a call: as long as it lasts, the room that waits hears nothing of the device and the device nothing of
/// that room; then both hear each other again, in the same call.
#[test]
fn a_call_waits_on_hold_for_a_page_and_is_heard_again_after_it() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mixer, cards) = (Asterisk::start("page").unwrap(), Cards::new("page").unwrap());
    let page = "88826777034";
    let rooms = vec![RoomSpec::open(ROOM, &uri(NUMBER), 1024), RoomSpec::open("page", &uri(page), 1024)];
    let qss = QssServer::start(Config { rooms, token: Some(TOKEN.into()), ..Config::default() }).expect("a QSS");
    let enter = |user, number, hertz| {
        let phone = Phone::dial(&phone::Plan::to(mixer.sip, user, number)).expect("a place");
        phone.say(&signal::tone(hertz, -14.0, 240.0));
        phone
    };
    let (resident, pager) = (enter("resident", NUMBER, 440.0), enter("pager", page, 1100.0));
    let card = cards.card("a", "").unwrap();
    let mut config = device(&qss, &mixer, "a", &card).room(ROOM).accept_all();
    config.set_raw("calls", "limit", "2");
    let mut endpoint = start("a", &config, &cards);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    card.say_now(&signal::tone(700.0, -14.0, 240.0)).unwrap();
    // Levels, because a phone without a jitter buffer hears a busy machine.
    let level_at = |phone: &Phone| {
        phone.forget();
        let end = std::time::Instant::now() + PATIENCE;
        while phone.heard().len() < 48_000 {
            assert!(std::time::Instant::now() < end, "the mixer sends nothing");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Heard::of(&phone.heard(), &[700.0]).level_dbfs[0]
    };
    let eventually = |what: &str, measure: &dyn Fn() -> f64, good: &dyn Fn(f64) -> bool| {
        let mut measured = Vec::new();
        let reached = (0..30).any(|_| {
            measured.push(measure());
            measured.last().is_some_and(|level| good(*level))
        });
        assert!(reached, "{what}: {measured:?}");
    };
    let (loud, silent) = (|level: f64| level > -25.0, |level: f64| level < -50.0);
    // How much louder one is than the other at our loudspeaker.
    let lead = |hertz: f64, other: f64| {
        let heard = Heard::of(&listen(&card, 1.0), &[hertz, other]);
        heard.level_dbfs[0] - heard.level_dbfs[1]
    };
    let clear = |lead: f64| lead > 25.0;
    eventually("the resident is heard", &|| lead(440.0, 1100.0), &clear);
    eventually("and hears", &|| level_at(&resident), &loud);

    let mark = endpoint.mark();
    qss.invite("fire", "a", "page");
    endpoint.wait_rung("playing", mark, PATIENCE).unwrap();
    eventually("the pager alone is heard", &|| lead(1100.0, 440.0), &clear);
    eventually("and hears", &|| level_at(&pager), &loud);
    // Still in the room, and silent.
    let there = mixer.wait_for(NUMBER, 2, PATIENCE).unwrap();
    eventually("the resident hears nobody", &|| level_at(&resident), &silent);
    assert!((0..3).all(|_| silent(level_at(&resident))), "the resident hears what is meant for the pager");

    let mark = endpoint.mark();
    let paged = mixer.wait_for(page, 2, PATIENCE).unwrap();
    let ours = paged.iter().find(|it| it.caller == "a").expect("the device is there");
    mixer.kick(page, &ours.channel).unwrap();
    endpoint.wait_rung("playing", mark, PATIENCE).unwrap();
    eventually("the resident is heard again", &|| lead(440.0, 1100.0), &clear);
    eventually("and hears again", &|| level_at(&resident), &loud);
    let mut channels = [there, mixer.wait_for(NUMBER, 2, PATIENCE).unwrap()]
        .map(|all| all.into_iter().map(|it| it.channel).collect::<Vec<_>>());
    channels.iter_mut().for_each(|all| all.sort());
    assert_eq!(channels[0], channels[1], "it is the same call");
}

#[test]
fn asterisk_killed_and_restarted_brings_the_sound_back_without_a_restart_of_the_device() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mixer, qss, cards) = (Asterisk::start("killed").unwrap(), qss(), Cards::new("killed").unwrap());
    let card = cards.card("a", "").unwrap();
    let mut config = device(&qss, &mixer, "a", &card).room(ROOM);
    config.set_raw("rtp", "silence_timeout_ms", "1000").set_raw("rtp", "dead_timeout_ms", "3000");
    let mut endpoint = start("a", &config, &cards);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    let mark = endpoint.mark();
    mixer.kill().unwrap();
    let lost =
        |lines: &[lab::process::Line]| lines.get(mark..)?.iter().find(|line| line.rung() == Some("room")).map(drop);
    endpoint.wait_for("the loss", PATIENCE, lost).unwrap();
    let mark = endpoint.mark();
    mixer.start_again().unwrap();
    endpoint.wait_rung("playing", mark, PATIENCE).unwrap();
    mixer.wait_for(NUMBER, 1, PATIENCE).unwrap();
    mixer.play_tone(NUMBER, 440, 60).unwrap();
    let heard = std::iter::repeat_with(|| Heard::of(&listen(&card, 1.0), &[440.0])).take(20);
    assert!(heard.into_iter().any(|heard| heard.gaps == 0 && heard.snr_db[0] > 20.0), "no tone after the restart");
}

/// A full or locked room answers 200 and hangs up 20 ms later: refused, dialled again after a pause that grows, and
/// let in when there is a place.
#[test]
fn a_full_and_a_locked_room_are_refusals_that_back_off() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mixer, cards) = (Asterisk::start("full").unwrap(), Cards::new("full").unwrap());
    let number = format!("small{NUMBER}");
    let rooms = vec![RoomSpec::open(ROOM, &uri(&number), 1024)];
    let qss = QssServer::start(Config { rooms, token: Some(TOKEN.into()), ..Config::default() }).expect("a QSS");
    let enter = |user| Phone::dial(&phone::Plan::to(mixer.sip, user, &number)).expect("a place");
    let (first, second) = (enter("one"), enter("two"));
    mixer.wait_for(NUMBER, 2, PATIENCE).unwrap();
    let card = cards.card("a", "").unwrap();
    let mut config = device(&qss, &mixer, "a", &card).room(ROOM);
    config.set_raw("sip", "retry_min_ms", "100").set_raw("sip", "retry_max_ms", "1000");
    let mut endpoint = start("a", &config, &cards);
    let refused = |lines: &[Line]| {
        let cause = |line: &&Line| line.event["cause"]["code"] == "sip_refused_by_bye";
        lines.iter().filter(cause).find_map(|line| line.event["retry_in_ms"].as_u64())
    };
    let pause = endpoint.wait_for("the refusal", PATIENCE, refused).unwrap();
    assert!((1..=1_000).contains(&pause), "{pause} ms");
    mixer.lock(NUMBER).unwrap();
    second.hang_up();
    mixer.wait_for(NUMBER, 1, PATIENCE).unwrap();
    let mark = endpoint.mark();
    mixer.unlock(NUMBER).unwrap();
    endpoint.wait_rung("playing", mark, PATIENCE).unwrap();
    first.hang_up();
}

#[test]
fn a_challenge_of_asterisk_is_met_and_sigterm_empties_the_room() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mixer, qss, cards) = (Asterisk::start("digest").unwrap(), qss(), Cards::new("digest").unwrap());
    let card = cards.card("a", "").unwrap();
    let mut config = device(&qss, &mixer, "a", &card).room(ROOM);
    config.set("sip", "user", "digest").set("sip", "auth_user", "digest").set("sip", "password", SIP_SECRET);
    let mut endpoint = start("a", &config, &cards);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    mixer.wait_for(NUMBER, 1, PATIENCE).unwrap();
    endpoint.terminate();
    assert!(endpoint.wait_exit(std::time::Duration::from_secs(2)).is_some_and(|status| status.success()));
    mixer.wait_for(NUMBER, 0, PATIENCE).unwrap();
}
