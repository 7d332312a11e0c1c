//! The card under the media thread, on virtual hardware: what is read is what was heard, what is written is what is
//! played, at which delay; and what happens when the machine is late or the card is taken away.
//!
//! The cards' clocks run slow (`speed`), so that a busy test machine is not late; nothing here is measured in seconds.
#![cfg(feature = "io")]

#[path = "lab/vsnd/rig.rs"]
mod rig;

use alsa::mixer::{MilliBel, Mixer, SelemId};
use alsa::poll::poll;
use qss_endpoint::config::{Audio, Config};
use qss_endpoint::io::alsa::machine::Machine;
use qss_endpoint::io::alsa::{Card, MAX_DESCRIPTORS, MAX_FRAMES, OpenError, Stopped, Trouble};
use qss_endpoint::media::command::CardError;
use std::collections::VecDeque;

const SLOW: &str = "speed 0.1\n";
const PERIOD: usize = 480;
const HEADROOM: usize = 16;

fn audio(card: &rig::VirtualCard) -> Audio {
    Audio { capture: card.pcm(), playback: card.pcm(), ..Config::default().audio }
}

fn open(audio: &Audio) -> Result<Card, OpenError> {
    Card::open(audio, &Machine::default())
}

fn error(audio: &Audio) -> Option<CardError> {
    open(audio).err().map(|why| why.error)
}

/// Samples of which no 32 in a row come twice.
fn noise(samples: usize) -> Vec<i16> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 18) as i16 - 8192
    };
    (0..samples).map(|_| next()).collect()
}

/// Copies the microphone to the loudspeaker until `frames` were read; the card must be running.
fn copy_through(card: &mut Card, frames: usize) -> Result<(), Trouble> {
    listen_and_copy(card, frames, &mut Vec::new())
}

fn listen_and_copy(card: &mut Card, frames: usize, heard: &mut Vec<i16>) -> Result<(), Trouble> {
    let mut samples = vec![0; MAX_FRAMES];
    // The two directions are looked at some microseconds apart, so playback may want a frame that is not there yet.
    let mut between = VecDeque::from(vec![0; HEADROOM]);
    let mut read = 0;
    while read < frames {
        let mut fds = [alsa::poll::pollfd { fd: -1, events: 0, revents: 0 }; MAX_DESCRIPTORS];
        let count = card.descriptors(&mut fds).map_err(Trouble::Gone)?;
        assert!(poll(&mut fds[..count], 5_000).unwrap() > 0, "the card's clock stands still");
        if !card.is_ready(&fds[..count]) {
            continue;
        }
        let got = card.read(&mut samples)?;
        read += got;
        between.extend(&samples[..got]);
        heard.extend(&samples[..got]);
        let room = card.room()?;
        for sample in &mut samples[..room] {
            *sample = between.pop_front().expect("playback is as fast as capture");
        }
        card.write(&samples[..room])?;
    }
    Ok(())
}

/// Frames between a sample at the microphone and the same sample at the loudspeaker, at several places.
fn delays(mic: &[i16], card: &rig::VirtualCard) -> Vec<usize> {
    let speaker = card.speaker();
    let start = card.logged("start")[0]["at"].as_u64().unwrap() as usize;
    let found = (start + 2 * PERIOD..speaker.len().saturating_sub(3 * PERIOD)).step_by(PERIOD / 3).filter_map(|at| {
        let piece = &mic[at..at + 32];
        (0..3 * PERIOD).find(|delay| &speaker[at + delay..at + delay + 32] == piece)
    });
    found.collect()
}

/// Runs a measurement again if the machine was late meanwhile.
fn unspoilt(name: &str, settings: &str, mut run: impl FnMut(&rig::VirtualCard)) {
    for attempt in 0..5 {
        let card = rig::card(&format!("{name}{attempt}"), settings);
        run(&card);
        if !card.spoilt() {
            return;
        }
    }
    panic!("{name}: the machine was late five times");
}

#[test]
fn sound_goes_through_unchanged_at_a_constant_delay_of_a_packet_and_the_margin() {
    let mic = noise(400_000);
    for (name, packet, settings) in [
        ("exact", PERIOD, ""),
        ("two", 2 * PERIOD, ""),
        ("wide", PERIOD, "format S32_LE\n"),
        ("packed", PERIOD, "format S24_3LE\n"),
        ("loose", PERIOD, "format S24_LE\n"),
        ("coarse", 2 * PERIOD, "granularity 48\n"),
    ] {
        unspoilt(name, &format!("{SLOW}{settings}"), |virtual_card| {
            virtual_card.set_mic(&mic);
            let mut card = open(&audio(virtual_card)).unwrap();
            assert_eq!((card.granted().rate, card.granted().period, card.granted().buffer), (48_000, 480, 1920));
            card.start(packet, |ready| ready).unwrap();
            let result = copy_through(&mut card, 20 * PERIOD);
            drop(card);
            if virtual_card.spoilt() {
                return;
            }
            result.unwrap();
            let delays = delays(&mic, virtual_card);
            // A packet and a quarter of the rest of the buffer, less the frames between the two starts.
            let wanted = packet + (1_920 - packet) / 4 + HEADROOM;
            assert!(delays.len() > 30, "{delays:?}");
            let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
            assert!(most == least && *most <= wanted && *least > wanted - 60, "{name}: {delays:?}");
        });
    }
}

/// Frames read at each wake-up, when so many are missing in the next packet.
fn read_at_wake_ups(card: &mut Card, missing: &[usize]) -> Vec<usize> {
    let mut samples = vec![0; MAX_FRAMES];
    let mut read = |missing: &usize| {
        card.wake_after(*missing).unwrap();
        let got = loop {
            let mut fds = [alsa::poll::pollfd { fd: -1, events: 0, revents: 0 }; MAX_DESCRIPTORS];
            let count = card.descriptors(&mut fds).unwrap();
            assert!(poll(&mut fds[..count], 5_000).unwrap() > 0, "the card's clock stands still");
            if card.is_ready(&fds[..count]) {
                break card.read(&mut samples).unwrap();
            }
        };
        let room = card.room().unwrap();
        card.write(&samples[..room]).unwrap();
        got
    };
    missing.iter().map(&mut read).collect()
}

#[test]
fn a_card_wakes_us_when_a_packet_is_full_and_not_for_a_part_of_it() {
    unspoilt("wakes", SLOW, |virtual_card| {
        let mut card = open(&audio(virtual_card)).unwrap();
        let read = |card: &mut Card, packet, missing: &[usize]| {
            card.start(packet, |ready| ready).unwrap();
            assert!(card.is_for(packet));
            read_at_wake_ups(card, missing)
        };
        let two = read(&mut card, 960, &[960, 960, 480, 960, 1_920, 1]);
        assert_eq!(card.slept_over(), 480 + 240, "one period was awaited last");
        let one = read(&mut card, 480, &[960, 480]);
        let again = read(&mut card, 960, &[960, 960]);
        assert!(!card.is_for(480) && card.slept_over() == 960 + 240);
        drop(card);
        if !virtual_card.spoilt() {
            assert_eq!((two, one), (vec![960, 960, 480, 960, 960, 480], vec![480, 480]));
            assert_eq!(again, [960, 960]);
        }
    });
}

/// A tone of the microphone, 20 periods of it, in the words of the card's own rate.
fn tone(hertz: f64, rate: f64, samples: usize) -> Vec<i16> {
    (0..samples).map(|n| (8_000.0 * (n as f64 * hertz * std::f64::consts::TAU / rate).sin()) as i16).collect()
}

/// The tone's level against everything else, in dB.
fn purity(samples: &[i16], hertz: f64, rate: f64) -> f64 {
    let step = hertz * std::f64::consts::TAU / rate;
    let sum =
        |of: &dyn Fn(usize, f64) -> f64| samples.iter().enumerate().map(|(n, s)| of(n, f64::from(*s))).sum::<f64>();
    let (ss, cc) = (sum(&|n, _| (n as f64 * step).sin().powi(2)), sum(&|n, _| (n as f64 * step).cos().powi(2)));
    let sc = sum(&|n, _| (n as f64 * step).sin() * (n as f64 * step).cos());
    let (sy, cy) = (sum(&|n, y| y * (n as f64 * step).sin()), sum(&|n, y| y * (n as f64 * step).cos()));
    let (a, b) = ((sy * cc - cy * sc) / (ss * cc - sc * sc), (cy * ss - sy * sc) / (ss * cc - sc * sc));
    let rest = sum(&|n, y| (y - a * (n as f64 * step).sin() - b * (n as f64 * step).cos()).powi(2));
    10.0 * ((a * a + b * b) * samples.len() as f64 / 2.0 / rest.max(1e-9)).log10()
}

#[test]
fn a_card_of_another_rate_is_converted_cleanly() {
    const HERTZ: f64 = 3_000.0;
    for rate in [16_000u32, 44_100, 96_000] {
        unspoilt(&format!("rate{rate}x"), &format!("{SLOW}rate {rate}\n"), |virtual_card| {
            virtual_card.set_mic(&tone(HERTZ, f64::from(rate), 30 * rate as usize / 2));
            let mut card = open(&audio(virtual_card)).unwrap();
            assert_eq!((card.granted().rate, card.granted().period), (rate, rate / 100));
            card.start(PERIOD, |ready| ready).unwrap();
            let mut heard = Vec::new();
            let result = listen_and_copy(&mut card, 25 * PERIOD, &mut heard);
            drop(card);
            if virtual_card.spoilt() {
                return;
            }
            result.unwrap();
            let speaker = virtual_card.speaker();
            let first = speaker.iter().position(|sample| sample.unsigned_abs() > 4_000).unwrap() + rate as usize / 50;
            let there = purity(&heard[8 * PERIOD..16 * PERIOD], HERTZ, 48_000.0);
            let and_back = purity(&speaker[first..first + rate as usize / 10], HERTZ, f64::from(rate));
            println!("{rate} Hz: {there:.0} dB, and back {and_back:.0} dB");
            assert!(there > 70.0 && and_back > 70.0, "{rate} Hz: {there:.0} dB, and back {and_back:.0} dB");
        });
    }
}

#[test]
fn of_a_card_with_more_channels_one_is_heard_and_all_are_played() {
    let left_silent: Vec<i16> = noise(200_000).into_iter().flat_map(|sample| [0, sample]).collect();
    unspoilt("stereo", &format!("{SLOW}channels 2\n"), |virtual_card| {
        virtual_card.set_mic(&left_silent);
        let config = Audio { capture_channels: 1, capture_channel: 1, ..audio(virtual_card) };
        let mut card = open(&config).unwrap();
        card.start(PERIOD, |ready| ready).unwrap();
        let result = copy_through(&mut card, 10 * PERIOD);
        drop(card);
        if virtual_card.spoilt() {
            return;
        }
        result.unwrap();
        let speaker = virtual_card.speaker();
        let heard: Vec<_> = speaker.chunks_exact(2).skip_while(|frame| frame[1] == 0).collect();
        assert!(heard.len() > 5 * PERIOD);
        assert!(heard.iter().all(|frame| frame[0] == frame[1]));
        assert!(left_silent.chunks_exact(2).any(|frame| frame[1] == heard[0][1]));
    });
}

#[test]
fn after_an_xrun_of_either_direction_both_start_again() {
    for (direction, stopped) in [("p", Stopped::Underrun), ("c", Stopped::Overrun)] {
        stopped_and_started(&format!("xrun.{direction}"), stopped);
    }
}

#[test]
fn a_suspended_card_is_started_again() {
    stopped_and_started("suspend", Stopped::Suspended);
}

/// Runs a card into a fault, and on after it.
fn stopped_and_started(fault: &str, stopped: Stopped) {
    unspoilt(&fault.replace('.', ""), SLOW, |virtual_card| {
        virtual_card.set_faults(&format!("{fault}@{}", slow_frame_now() + 5 * PERIOD as i64));
        let mut card = open(&audio(virtual_card)).unwrap();
        card.start(PERIOD, |ready| ready).unwrap();
        let trouble = copy_through(&mut card, 100 * PERIOD);
        let again =
            card.start(PERIOD, |ready| ready).map_err(Trouble::Gone).and_then(|_| copy_through(&mut card, 2 * PERIOD));
        drop(card);
        if virtual_card.spoilt() {
            return;
        }
        assert_eq!(trouble, Err(Trouble::Stopped(stopped)));
        assert_eq!(again, Ok(()));
        assert_eq!(virtual_card.logged("start").len(), 4, "two directions, twice");
    });
}

#[test]
fn an_unplugged_card_is_gone_and_can_be_opened_when_it_is_back() {
    let virtual_card = rig::card("unplug", SLOW);
    let mut card = open(&audio(&virtual_card)).unwrap();
    card.start(PERIOD, |ready| ready).unwrap();
    copy_through(&mut card, 2 * PERIOD).unwrap();
    virtual_card.unplug();
    assert_eq!(copy_through(&mut card, 100 * PERIOD), Err(Trouble::Gone(CardError::Absent)));
    drop(card);
    assert_eq!(error(&audio(&virtual_card)), Some(CardError::Absent));
    virtual_card.replug();
    let mut card = open(&audio(&virtual_card)).unwrap();
    card.start(PERIOD, |ready| ready).unwrap();
    assert!(matches!(copy_through(&mut card, 2 * PERIOD), Ok(()) | Err(Trouble::Stopped(_))));
}

#[test]
fn why_a_card_cannot_be_opened_is_told_apart() {
    let virtual_card = rig::card("errors", "");
    let config = audio(&virtual_card);
    let _mine = open(&config).unwrap();
    assert_eq!(error(&config), Some(CardError::Busy), "in use by somebody");
    let other = rig::card("errors2", "");
    other.set_busy(true);
    assert_eq!(error(&audio(&other)), Some(CardError::Busy), "busy by control file");
    let odd = rig::card("errors3", "rate 47999\n");
    assert_eq!(error(&audio(&odd)), Some(CardError::Unsuitable), "no simple ratio");
    let converted = Audio { capture: "plughw:CARD=errors3".into(), playback: "plughw:CARD=errors3".into(), ..config };
    assert_eq!(error(&converted), None, "plughw: does");
    assert_eq!(error(&Audio { capture: "nosuch".into(), ..audio(&rig::card("errors4", "")) }), Some(CardError::Absent));
    assert_eq!(error(&Audio { playback: "a\0b".into(), ..converted }), Some(CardError::Absent));
}

#[test]
fn a_card_known_by_what_it_is_is_found_whatever_it_is_called_today() {
    let list = rig::CardList::new("renamed");
    let (before, after) = (rig::card("Device", SLOW), rig::card("Device_1", SLOW));
    let name = "hw:USB=0d8c:0014,DEV=0".to_owned();
    let audio = Audio { capture: name.clone(), playback: name, ..Config::default().audio };
    let machine = Machine::below(list.root());
    let error = |machine: &Machine| Card::open(&audio, machine).err().map(|why| why.error);
    assert_eq!(error(&machine), Some(CardError::Absent));
    for (index, card) in [(0, &before), (3, &after)] {
        list.plug(index, card, ("0d8c", "0014"));
        drop(Card::open(&audio, &machine).unwrap());
        assert_eq!(card.logged("hw_params").len(), 2, "{index}");
        list.unplug(index);
        assert_eq!(error(&machine), Some(CardError::Absent));
    }
}

#[test]
fn who_holds_a_card_and_what_libasound_says_is_told_with_the_error() {
    let list = rig::CardList::new("holder");
    let card = rig::card("held", "");
    list.plug(2, &card, ("0d8c", "0014"));
    list.write("proc/asound/card2/pcm0p/sub0/status", "state: RUNNING\nowner_pid   : 812");
    list.write("proc/812/comm", "pipewire");
    card.set_busy(true);
    let why = |name: &str| {
        let audio = Audio { playback: name.into(), ..audio(&card) };
        Card::open(&audio, &Machine::below(list.root())).err().map(|why| (why.error, why.words))
    };
    let held = "hw:CARD=held,DEV=0 is held by pipewire (812)".to_owned();
    assert_eq!(why(&card.pcm()), Some((CardError::Busy, held)));
    let (error, words) = why("nosuch").unwrap();
    assert!(
        error == CardError::Absent && words.starts_with("nosuch: ") && words.contains("Unknown PCM nosuch"),
        "{words}"
    );
}

#[test]
fn a_forced_period_is_accepted_and_read_back() {
    let virtual_card = rig::card("forced", &format!("{SLOW}period_min 1024\nperiod_max 1024\n"));
    let mut card = open(&audio(&virtual_card)).unwrap();
    assert_eq!(card.granted().period, 1024);
    card.start(PERIOD, |ready| ready).unwrap();
    assert!(matches!(copy_through(&mut card, 4096), Ok(()) | Err(Trouble::Stopped(_))));
}

#[test]
fn the_virtual_mixer_is_seen_through_alsa_and_changes_the_samples() {
    let mic = noise(200_000);
    let played = |switch: i32| {
        let mut played = Vec::new();
        unspoilt(&format!("mixer{switch}"), SLOW, |virtual_card| {
            virtual_card.set_mic(&mic);
            let mixer = Mixer::new(&virtual_card.mixer(), false).unwrap();
            let microphone = mixer.find_selem(&SelemId::new("Mic", 0)).unwrap();
            microphone.set_capture_db_all(MilliBel::from_db(-6.0), alsa::Round::Floor).unwrap();
            let speaker = mixer.find_selem(&SelemId::new("Speaker", 0)).unwrap();
            speaker.set_playback_switch_all(switch).unwrap();
            let mut card = open(&audio(virtual_card)).unwrap();
            card.start(PERIOD, |ready| ready).unwrap();
            let _ = copy_through(&mut card, 5 * PERIOD);
            drop(card);
            played = virtual_card.speaker();
        });
        played
    };
    assert!(played(0).iter().all(|sample| *sample == 0));
    let loudest = |samples: &[i16]| samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    let ratio = f32::from(loudest(&played(1))) / f32::from(loudest(&mic));
    assert!((ratio - 0.501).abs() < 0.01, "{ratio}");
}

#[test]
fn controls_are_set_before_the_card_runs_and_what_they_do_not_take_is_told() {
    let card = rig::card("controls", SLOW);
    let with = |controls: &[(&str, &str)], amplifier: &str| Audio {
        controls: controls.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        amplifier_control: amplifier.into(),
        ..audio(&card)
    };
    let values = || card.controls();
    let good = open(&with(&[("Mic", "12 dB"), ("Speaker", "-6.2 dB"), ("Mic Capture", "on")], "Speaker")).unwrap();
    assert!(good.complaints().is_empty(), "{:?}", good.complaints());
    assert_eq!(values(), [12, 1, -6, 0], "the amplifier is off until the card runs");
    let mut good = good;
    good.start(PERIOD, |ready| ready).unwrap();
    assert_eq!(values()[3], 1);
    drop(good);
    assert_eq!(values()[3], 0, "and off again");
    let bad = open(&with(
        &[("Mic", "40 dB"), ("Mik", "0 dB"), ("Speaker Capture", "0 dB"), ("Mic Playback", "on"), ("Speaker", "loud")],
        "Beep",
    ));
    let complaints = bad.unwrap().complaints().join("; ");
    for part in [
        "Mic: asked for 40 dB, it has 30; it can do -30 to 30 dB",
        "Mik: there is no such control; there are Speaker, Mic",
        "Speaker Capture: it has no volume",
        "Mic Playback: it has no switch",
        "Speaker: it has no items",
        "there is no such control",
    ] {
        assert!(complaints.contains(part), "{part}: {complaints}");
    }
    assert_eq!(values()[0], 30);
    let nowhere = Audio { mixer: "hw:CARD=a,b".into(), ..with(&[("Mic", "0 dB")], "") };
    assert!(!open(&nowhere).unwrap().complaints().is_empty());
}

/// The frame number of a card with [`SLOW`], now.
fn slow_frame_now() -> i64 {
    let _ = rig::directory();
    rig::frame_now() / 10
}
