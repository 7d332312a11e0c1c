//! The lab itself holds: the real mixer mixes what two of Debian's baresip say, and its faults are real.

use lab::asterisk::Asterisk;
use lab::baresip::{Baresip, Plan, Sound, Tuning};
use lab::cards::Cards;
use lab::measure::{level, signal, sound_file, tone};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Each hears the other's tone at the level it was sent with, and not its own.
#[test]
fn two_baresips_hear_each_other() {
    let mixer = Asterisk::start("two").expect("a mixer");
    let room = "88826777033";
    let mut low = Baresip::dial("low", room, mixer.sip, &Plan::new(Sound::Tone(440))).expect("baresip");
    let mut high = Baresip::dial("high", room, mixer.sip, &Plan::new(Sound::Tone(880))).expect("baresip");
    low.wait_established(10 * SECOND).expect("a call");
    high.wait_established(10 * SECOND).expect("a call");
    let there = mixer.wait_for(room, 2, 5 * SECOND).expect("both in the room");
    assert!(there.iter().all(|one| one.caller == "plain" && !one.muted), "{there:?}");
    std::thread::sleep(8 * SECOND);
    low.hang_up().expect("a proper end");
    high.hang_up().expect("a proper end");
    mixer.wait_for(room, 0, 5 * SECOND).expect("an empty room");
    for (baresip, own, other) in [(&low, 440.0, 880.0), (&high, 880.0, 440.0)] {
        let (samples, rate) = sound_file::read_wav(&baresip.heard().expect("a recording")).expect("a WAV file");
        assert_eq!(rate, 48_000);
        assert_clean(&samples, own, other);
    }
}

/// The same through virtual cards, as an endpoint of ours would be measured, with both ways to set baresip up.
#[test]
fn baresips_on_cards_hear_each_other() {
    let mixer = Asterisk::start("cards").expect("a mixer");
    let room = "88826777035";
    let cards = Cards::new("baresips").expect("cards");
    for attempt in 0..5 {
        let mut baresips = [(440.0, Tuning::Best), (880.0, Tuning::Shipped)].map(|(hertz, tuning)| {
            let name = format!("{tuning:?}{attempt}");
            let card = cards.card(&name, "").expect("a card");
            card.say(0, &signal::tone(hertz, -6.02, 30.0)).expect("a voice");
            let plan = Plan { tuning, ..Plan::new(Sound::card(&cards, &card)) };
            (Baresip::dial(&name, room, mixer.sip, &plan).expect("baresip"), card)
        });
        for (baresip, _) in &mut baresips {
            baresip.wait_established(10 * SECOND).expect("a call");
        }
        std::thread::sleep(8 * SECOND);
        let heard = baresips.each_ref().map(|(_, card)| card.loudspeaker());
        // A machine that stood still for as long as a card's buffer lasts leaves a baresip that stutters for the rest of its call.
        if !baresips.iter().any(|(_, card)| card.spoilt()) {
            assert_clean(&heard[0], 440.0, 880.0);
            return assert_clean(&heard[1], 880.0, 440.0);
        }
    }
    panic!("the machine stood still five times");
}

/// Judged by the median tenth of a second: a stall of a busy machine spoils some, and says nothing about the lab.
fn assert_clean(samples: &[i16], own: f64, other: f64) {
    let audible = level::envelope_dbfs(samples, 960).iter().position(|level| *level > -60.0).expect("some sound") * 960;
    let heard = &samples[audible + 24_000..];
    assert!(heard.len() > 5 * 48_000, "{} samples of sound", heard.len());
    let [other, own] = tone::tones(heard, &[other, own])[..] else { panic!("two tones") };
    // Both voices are sines of half the full scale: -6.02 dBFS.
    assert!((other.median_dbfs + 6.02).abs() < 1.5 && other.median_snr_db > 30.0, "{other:?}");
    assert!(own.median_dbfs < -45.0, "{own:?}");
    let silent = level::silent_blocks(heard, 960, -60.0);
    assert!(silent.len() * 20 < heard.len() / 480, "silence at {silent:?}");
}

/// What the mixer does to a call by order: mute, lock, freeze, kick; and what is left of it after a crash.
#[test]
fn mixer_does_as_told() {
    let mixer = Asterisk::start("told").expect("a mixer");
    let room = "88826777034";
    let mut caller = Baresip::dial("told", room, mixer.sip, &Plan::new(Sound::Tone(440))).expect("baresip");
    caller.wait_established(10 * SECOND).expect("a call");
    let channel = mixer.wait_for(room, 1, 5 * SECOND).expect("one in the room").remove(0).channel;
    mixer.mute(room, &channel).expect("mute");
    assert!(mixer.participants(room).expect("a list")[0].muted);
    mixer.lock(room).expect("lock");
    let mut late = Baresip::dial("late", room, mixer.sip, &Plan::new(Sound::Tone(880))).expect("baresip");
    late.wait_established(10 * SECOND).expect("answered, though the room is locked");
    mixer.freeze().expect("freeze");
    mixer.thaw().expect("thaw");
    assert_eq!(mixer.wait_for(room, 1, 5 * SECOND).expect("the late one is out")[0].channel, channel);
    mixer.kick(room, &channel).expect("kick");
    mixer.wait_for(room, 0, 5 * SECOND).expect("an empty room");
    mixer.kill().expect("kill");
    assert!(mixer.participants(room).is_err(), "a dead mixer answers");
    mixer.start_again().expect("a new start");
    assert_eq!(mixer.participants(room).expect("a list"), []);
}
