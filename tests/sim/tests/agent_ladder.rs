//! The main job on virtual time: session, room, call, audio, and every way to lose them again.

use qss_endpoint::agent::{Input, LinkErrorKind};
use qss_endpoint::config::{Config, Room, RoomTarget};
use qss_endpoint::media::command::{CardError, CardEvent, Command, Event, Words};
use qss_endpoint::media::tone::Tone;
use qss_endpoint::status::Rung;
use qss_endpoint::time::{Span, Time};
use serde_json::json;
use sim::mixer::Manner;
use sim::{ROOM, SIP_URI, World, config};

fn direct() -> Config {
    let mut config = config();
    config.rooms = vec![Room::new("lobby", RoomTarget::SipUri(SIP_URI.into()))];
    config
}

#[test]
fn from_nothing_to_sound_rung_by_rung() {
    let w = World::playing(1, config());
    assert_eq!(w.rungs(), ["session", "room", "call", "sending", "receiving", "playing"]);
    assert!(w.now < Time::from_millis(3_600_300), "invite to audio without needless waiting: {}", w.now);
    let last = w.events.last().expect("an event");
    assert_eq!(last["room"], json!({"name": "lobby", "id": ROOM}));
    assert_eq!(w.qss.requests("register").len(), 1);
    assert_eq!(w.qss.requests("joinRoom")[0]["payload"], json!({"room": ROOM}));
    assert!(w.mixer.last_invite.starts_with("INVITE sip:88826777033@audiomixer-sfu1:5080 SIP/2.0"));
}

#[test]
fn every_event_goes_upstream_in_order_with_the_backlog_first() {
    let mut w = World::playing(1, config());
    w.run(1_000);
    let upstream: Vec<_> = w.qss.events().iter().map(|e| e["seq"].as_u64().expect("seq")).collect();
    assert_eq!(upstream, (1..=w.events.len() as u64).collect::<Vec<_>>());
    assert_eq!(w.events_of("snapshot").len(), 1, "one after the registration");
}

#[test]
fn the_room_at_top_level_works_too() {
    let mut w = World::started(1, config());
    w.qss.flat = true;
    w.run_until(3_000, |w| w.rung() == "playing");
}

#[test]
fn the_media_thread_gets_what_was_negotiated_under_the_rooms_cap() {
    let w = World::playing(1, config());
    let start = w.commands().iter().find_map(|(_, c)| if let Command::Start(p) = c { Some(*p) } else { None });
    let params = start.expect("a Start");
    assert_eq!(params.remote_rtp, sim::addr("127.0.0.1:20000"));
    assert_eq!(params.cap, 64_000);
    assert!(params.bitrate <= 64_000 && params.send && params.receive);
    let order: Vec<_> = w.commands().iter().map(|(_, c)| std::mem::discriminant(c)).collect();
    let open = std::mem::discriminant(&Command::Open);
    assert_eq!(order[0], open, "the card opens while the INVITE is on its way");
}

#[test]
fn tones_tell_what_is_configured_to_be_told() {
    let tones = |w: &World| -> Vec<Tone> {
        w.commands().iter().filter_map(|(_, c)| if let Command::Tone(tone) = c { Some(*tone) } else { None }).collect()
    };
    let mut w = World::playing(1, config());
    w.local(r#"{"command":"mute","on":true}"#);
    w.local("unmute");
    w.run(100);
    assert_eq!(tones(&w), [Tone::Connected, Tone::Muted, Tone::Unmuted]);
    let mut all = config();
    (all.audio.tones, all.audio.ladder_tones) = (false, true);
    let mut w = World::playing(1, all.clone());
    // Packets arrive here before ours have left: who climbs two rungs at once is told the upper one.
    let rungs = [Rung::Session, Rung::Room, Rung::Call, Rung::Receiving, Rung::Playing];
    assert_eq!(tones(&w), rungs.map(Tone::Rung), "each rung on the way up, and nothing else");
    w.mixer.manner = sim::mixer::Manner::Refuse(503);
    w.mixer_hangs_up();
    w.run(100);
    assert_eq!(tones(&w).last(), Some(&Tone::Rung(Rung::Room)), "and the one it has fallen to");
    (all.audio.tones, all.audio.ladder_tones) = (false, false);
    assert_eq!(tones(&World::playing(1, all)), []);
}

#[test]
fn the_smaller_of_room_cap_and_own_cap_rules() {
    let mut config = config();
    config.codec.cap_kbps = 32;
    let w = World::playing(1, config);
    assert_eq!(w.voice.stream.expect("a stream").cap, 32_000);
}

#[test]
fn a_sip_uri_works_without_any_qss_and_is_reported_when_it_is_back() {
    let mut w = World::started(2, direct());
    w.qss.up = false;
    w.run_until(3_000, |w| w.rung() == "playing");
    assert_eq!(w.rungs(), ["room", "call", "sending", "receiving", "playing"]);
    assert!(w.qss.events().is_empty());
    w.run(60_000);
    w.qss.up = true;
    w.run(61_000);
    let upstream: Vec<_> = w.qss.events().iter().map(|e| e["seq"].as_u64().expect("seq")).collect();
    assert_eq!(upstream, (1..=w.events.len() as u64).collect::<Vec<_>>());
    assert_eq!(w.events.last().expect("an event")["event"], "snapshot");
    assert_eq!(w.mixer.invites(), 1);
    assert_eq!(w.rung(), "playing");
}

#[test]
fn without_a_qss_in_the_configuration_none_is_tried() {
    let mut config = direct();
    config.qss.url = None;
    let mut w = World::started(2, config);
    w.run_until(3_000, |w| w.rung() == "playing");
    w.run(600_000);
    assert!(w.connects.is_empty());
}

#[test]
fn a_room_is_created_once_and_joined_again() {
    let mut config = config();
    config.rooms[0].target = RoomTarget::Create { record: false };
    let mut w = World::playing(3, config);
    assert_eq!(w.qss.requests("createRoom").len(), 1);
    w.kill_qss(Some(LinkErrorKind::Closed(1006)));
    w.qss.up = true;
    w.run(5_000);
    assert_eq!(w.qss.requests("createRoom").len(), 1);
    assert_eq!(w.qss.requests("joinRoom")[0]["payload"], json!({"room": "created1"}));
    assert_eq!(w.rung(), "playing");
}

// --- the QSS goes away ---------------------------------------------------------------------------------------------

#[test]
fn a_qss_that_dies_in_mid_call_costs_no_audio_and_the_room_is_joined_again() {
    for seed in 0..20 {
        let mut w = World::playing(seed, config());
        let before = w.commands().len();
        w.kill_qss(Some(LinkErrorKind::Closed(1006)));
        w.run(3_000);
        assert_eq!(w.rung(), "playing", "the call proves itself");
        w.qss.up = true;
        w.run(20_000);
        let after: Vec<_> = w.commands()[before..].iter().map(|(_, c)| *c).collect();
        assert!(!after.contains(&Command::Stop), "seed {seed}: {after:?}");
        assert_eq!(w.qss.requests("joinRoom").len(), 2, "seed {seed}");
        assert_eq!(w.mixer.invites(), 1);
        assert_eq!(w.events_of("snapshot").len(), 2);
        let lost = w.events.iter().find(|e| e["cause"]["code"] == "qss_closed").expect("the loss is told");
        assert_eq!((&lost["event"], &lost["rung"]), (&json!("ladder"), &json!("playing")));
        let proven = w.events_of("ladder").last().expect("a ladder event")["proven"].clone();
        assert_eq!(proven.as_array().expect("a list").len(), 6, "seed {seed}: session and room are proven again");
    }
}

#[test]
fn a_black_hole_is_noticed_by_pings_and_the_call_survives_it() {
    let mut w = World::playing(4, config());
    w.kill_qss(None);
    w.run(80_000);
    assert!(w.causes().contains(&"qss_silent"));
    w.qss.up = true;
    w.run(30_000);
    assert_eq!(w.rung(), "playing");
    assert_eq!(w.mixer.invites(), 1);
}

#[test]
fn a_qss_that_stays_away_ends_the_call_after_the_grace_and_a_new_session_starts_it_again() {
    let mut w = World::playing(5, config());
    w.kill_qss(Some(LinkErrorKind::Closed(1006)));
    w.run(29_000);
    assert_eq!(w.rung(), "playing");
    // From the first attempt on, which comes within the spread.
    w.run_until(12_000, |w| w.rung() == "offline");
    w.run(10);
    assert!(w.causes().contains(&"qss_lost_too_long"));
    assert_eq!(w.mixer.count("BYE"), 1);
    w.qss.up = true;
    w.run_until(61_000, |w| w.rung() == "playing");
}

/// A late place in the spread is no reason to lose the call.
#[test]
fn the_grace_begins_with_the_first_attempt() {
    for seed in 0..20 {
        let mut config = config();
        config.qss.spread = Span::from_secs(60);
        config.qss.call_grace = Span::from_secs(5);
        let mut w = World::playing(seed, config);
        w.kill_qss(Some(LinkErrorKind::Closed(1012)));
        w.qss.up = true;
        w.run(80_000);
        assert_eq!((w.rung(), w.mixer.invites(), w.mixer.count("BYE")), ("playing", 1, 0), "seed {seed}");
    }
    let mut config = config();
    config.qss.call_grace = Span::ZERO;
    let mut w = World::playing(1, config);
    w.kill_qss(Some(LinkErrorKind::Closed(1012)));
    w.run(10);
    assert_eq!((w.rung(), w.mixer.count("BYE")), ("offline", 1), "none at all");
}

#[test]
fn a_call_by_sip_uri_outlives_any_absence_of_the_qss() {
    let mut w = World::playing(5, direct());
    w.kill_qss(Some(LinkErrorKind::Closed(1006)));
    w.run(3_600_000);
    assert_eq!(w.rung(), "playing");
    assert_eq!(w.mixer.invites(), 1);
    assert!(w.events.len() < 30, "{} events in an hour of the same failure", w.events.len());
}

#[test]
fn a_rejoin_that_is_refused_ends_the_call() {
    let mut w = World::playing(6, config());
    w.kill_qss(Some(LinkErrorKind::Closed(1006)));
    w.qss.refuse.insert("joinRoom".into(), (403, "user not included into ACL"));
    w.qss.up = true;
    w.run(11_000);
    assert_eq!(w.rung(), "session");
    assert_eq!(w.mixer.count("BYE"), 1);
    assert!(w.causes().contains(&"room_forbidden"));
    w.qss.refuse.clear();
    w.run_until(31_000, |w| w.rung() == "playing");
}

#[test]
fn a_qss_that_cannot_say_yet_is_asked_again_within_the_grace() {
    for answer in [(503, "starting"), (0, "")] {
        let mut w = World::playing(6, config());
        w.kill_qss(Some(LinkErrorKind::Closed(1006)));
        w.qss.refuse.insert("joinRoom".into(), answer);
        w.qss.up = true;
        w.run(13_000);
        w.qss.refuse.clear();
        w.run(14_000);
        assert_eq!((w.rung(), w.mixer.invites()), ("playing", 1), "{answer:?}");
        let proven = w.events_of("ladder").last().expect("a ladder event")["proven"].clone();
        assert_eq!(proven.as_array().expect("a list").len(), 6, "{answer:?}");
    }
    let mut w = World::playing(6, config());
    w.kill_qss(Some(LinkErrorKind::Closed(1006)));
    w.qss.refuse.insert("joinRoom".into(), (503, "starting"));
    w.qss.up = true;
    w.run(41_000);
    assert_eq!((w.rung(), w.mixer.count("BYE")), ("session", 1), "the grace is over");
}

#[test]
fn a_room_that_moved_while_the_qss_was_away_is_followed() {
    let mut w = World::playing(6, config());
    w.kill_qss(Some(LinkErrorKind::Closed(1006)));
    w.qss.rooms.insert(ROOM.into(), sim::qss::room(ROOM, "sip:88899999999@audiomixer-sfu2:5080"));
    w.qss.up = true;
    w.run(8_000);
    assert!(w.mixer.last_invite.starts_with("INVITE sip:88899999999@audiomixer-sfu2:5080"));
    assert_eq!((w.rung(), w.mixer.confirmed_calls()), ("playing", 1));
}

// --- refusals --------------------------------------------------------------------------------------------------------

#[test]
fn a_refused_registration_says_why_and_is_tried_again() {
    let mut w = World::started(7, config());
    w.qss.refuse.insert("register".into(), (401, "token expired"));
    w.run(120_000);
    assert_eq!(w.rung(), "offline");
    let attempts = w.events_of("attempt");
    assert_eq!(attempts[0]["cause"]["code"], "qss_unauthorized");
    assert_eq!(attempts[0]["cause"]["detail"], "token expired");
    assert_eq!(attempts[0]["what"], "session");
    let n = w.connects.len();
    assert!((5..60).contains(&n), "{n} attempts in two minutes");
    w.qss.refuse.clear();
    w.run_until(61_000, |w| w.rung() == "playing");
}

#[test]
fn a_forbidden_room_is_tried_slowly() {
    let mut w = World::started(8, config());
    w.qss.rooms.clear();
    w.run(300_000);
    let n = w.qss.requests("joinRoom").len();
    assert!((5..=11).contains(&n), "{n} joins in five minutes");
    assert_eq!(w.rung(), "session");
    let attempt = w.events_of("attempt")[0];
    assert_eq!((&attempt["what"], &attempt["cause"]["code"]), (&json!("room"), &json!("room_forbidden")));
    assert_eq!(attempt["cause"]["detail"], "user not included into ACL");
    assert!(attempt["retry_in_ms"].as_u64().expect("a time") >= 15_000);
}

#[test]
fn a_join_without_any_answer_is_repeated_under_its_id_and_then_tried_anew() {
    let mut w = World::started(8, config());
    w.qss.refuse.insert("joinRoom".into(), (0, ""));
    w.run(9_900);
    let ids: Vec<_> = w.qss.requests("joinRoom").iter().map(|r| r["requestID"].clone()).collect();
    assert_eq!(ids, vec![ids[0].clone(); 4]);
    w.run(2_000);
    assert!(w.causes().contains(&"room_timed_out"));
    w.qss.refuse.clear();
    w.run_until(12_000, |w| w.rung() == "playing");
}

#[test]
fn each_refusal_of_the_mixer_has_its_cause_and_the_call_is_dialled_again() {
    for (status, code) in [
        (403, "sip_forbidden"),
        (404, "sip_not_found"),
        (486, "sip_busy"),
        (488, "sip_no_common_media"),
        (503, "sip_refused"),
    ] {
        let mut w = World::started(9, config());
        w.mixer.manner = Manner::Refuse(status);
        w.run(2_000);
        let attempt = w.events_of("attempt")[0].clone();
        assert_eq!(attempt["cause"]["code"], code, "{status}");
        assert!(attempt["retry_in_ms"].as_u64().expect("a time") > 0);
        w.run(300_000);
        let n = w.mixer.invites();
        assert!((10..40).contains(&n), "{status}: {n} calls in five minutes");
        w.mixer.manner = Manner::Answer;
        w.run_until(31_000, |w| w.rung() == "playing");
    }
}

#[test]
fn a_refused_password_is_told_and_not_tried_again_soon() {
    let mut w = World::started(9, config());
    w.mixer.manner = Manner::Refuse(401);
    w.run(2_000);
    let attempt = w.events_of("attempt")[0].clone();
    assert_eq!(attempt["cause"]["code"], "sip_auth_failed");
    let pause = attempt["retry_in_ms"].as_u64().expect("a time");
    assert!((1_800_000..=3_600_000).contains(&pause), "{attempt}");
    w.run(1_790_000);
    assert_eq!(w.mixer.invites(), 1, "one call, and none in half an hour: who insists is locked out");
    w.mixer.manner = Manner::Answer;
    w.run_until(1_810_000, |w| w.rung() == "playing");
}

#[test]
fn a_200_with_a_bye_at_once_is_a_refusal_and_backs_off() {
    let mut w = World::started(10, config());
    w.mixer.manner = Manner::AnswerThenBye;
    w.run(300_000);
    assert!(w.causes().contains(&"sip_refused_by_bye"));
    let n = w.mixer.invites();
    assert!((10..40).contains(&n), "{n} calls in five minutes");
}

#[test]
fn an_unknown_mixer_is_told_as_such() {
    let mut config = direct();
    config.rooms[0].target = RoomTarget::SipUri("sip:1@nowhere.example".into());
    let mut w = World::started(11, config);
    w.run(5_000);
    assert_eq!(w.events_of("attempt")[0]["cause"]["code"], "sip_unknown_host");
}

#[test]
fn another_room_gets_its_turn_when_the_first_does_not_answer() {
    let mut config = config();
    config.rooms.push(Room::new("spare", RoomTarget::SipUri("sip:2@127.0.0.1:5080".into())));
    let mut w = World::started(12, config);
    w.qss.rooms.clear();
    w.run_until(5_000, |w| w.rung() == "playing");
    assert_eq!(w.events.last().expect("an event")["room"]["name"], "spare");
}

// --- the mixer goes away ---------------------------------------------------------------------------------------------

#[test]
fn a_mixer_that_hangs_up_is_dialled_again() {
    let mut w = World::playing(13, config());
    w.run(60_000);
    w.mixer_hangs_up();
    w.run(20);
    assert_eq!(w.rung(), "room", "still admitted");
    w.run_until(1_500, |w| w.rung() == "playing");
    let ended = w.events_of("call_ended")[0];
    assert_eq!(ended["cause"]["code"], "sip_remote_bye");
    assert_eq!(ended["media"]["packets_sent"], 50);
    assert!(ended["duration_ms"].as_u64().expect("a time") >= 60_000);
    assert_eq!(w.qss.requests("joinRoom").len(), 1, "no need to ask the QSS");
    let recalled = |w: &World| {
        w.voice.commands.iter().find_map(
            |(_, command)| {
                if let Command::Recall(clocks) = command { clocks.network } else { None }
            },
        )
    };
    assert_eq!(recalled(&w), None);
    w.restart_device();
    w.run(1_000);
    assert_eq!(recalled(&w), Some(42.0), "clocks are what they were");
}

#[test]
fn a_mixer_that_dies_without_a_word_is_hung_up_and_dialled_again() {
    let mut w = World::playing(14, config());
    w.run(10_000);
    w.mixer.kill();
    w.run_until(3_000, |w| w.rung() == "sending");
    assert!(w.causes().contains(&"media_silent"));
    w.run(6_000);
    assert!(w.causes().contains(&"no_media"));
    w.mixer.up = true;
    w.run_until(40_000, |w| w.rung() == "playing");
}

#[test]
fn a_mixer_that_was_restarted_is_noticed_before_the_silence_is_deadly() {
    for seed in 0..20 {
        let mut w = World::playing(seed, config());
        w.run(60_000);
        w.mixer.kill();
        w.run(1_000);
        w.mixer.up = true;
        w.run(1_200);
        w.run_until(2_000, |w| w.rung() == "playing");
        assert!(w.causes().contains(&"sip_call_gone"), "seed {seed}: {:?}", w.causes());
        assert_eq!(w.mixer.confirmed_calls(), 1);
    }
}

#[test]
fn a_mixer_that_hears_nothing_is_told_where_we_are_and_then_dialled_again() {
    let mut w = World::playing(15, config());
    w.run(10_000);
    let unheard = |w: &mut World, times| {
        let starts = |command: &Command| if let Command::Start(params) = command { Some(params.call) } else { None };
        let call = w.commands().iter().rev().find_map(|(_, command)| starts(command)).expect("a stream");
        w.input(Input::Media(Event::Unheard { call, times }));
        w.run(1_000);
    };
    unheard(&mut w, 1);
    assert_eq!(
        (w.mixer.count("INVITE"), w.mixer.invites(), w.rung()),
        (2, 1, "playing"),
        "a re-INVITE, and the call stands"
    );
    unheard(&mut w, 2);
    w.run_until(5_000, |w| w.rung() == "playing");
    assert_eq!((w.mixer.invites(), w.mixer.count("BYE")), (2, 1));
    assert_eq!(w.events_of("call_ended")[0]["cause"]["code"], "media_unheard");
}

#[test]
fn a_mixer_that_paused_keeps_the_call() {
    let mut w = World::playing(14, config());
    w.mixer.pause(true);
    w.run_until(3_000, |w| w.rung() == "sending");
    let updates = |w: &World| w.commands().iter().filter(|(_, c)| matches!(c, Command::Update(_))).count();
    w.run(2_000);
    w.mixer.pause(false);
    w.run_until(1_000, |w| w.rung() == "playing");
    assert_eq!((w.mixer.invites(), w.mixer.confirmed_calls(), updates(&w)), (1, 1, 0));
}

#[test]
fn a_mixer_that_answers_but_never_sends_is_given_up_too() {
    let mut w = World::started(14, config());
    w.mixer.manner = Manner::AnswerSilently;
    w.run(12_000);
    assert!(w.causes().contains(&"no_media"));
    assert!(w.mixer.count("BYE") >= 1);
}

#[test]
fn sip_that_is_lost_on_the_way_is_repeated() {
    for seed in 0..30 {
        let mut w = World::started(seed, config());
        w.net.sip_loss = 40;
        w.mixer.insists = true;
        w.run_until(60_000, |w| w.rung() == "playing");
    }
}

// --- the card goes away ------------------------------------------------------------------------------------------------

#[test]
fn a_card_that_is_unplugged_costs_a_rung_but_not_the_call() {
    let mut w = World::playing(15, config());
    let call = w.voice.stream.expect("a stream").call;
    w.input(Input::Media(Event::Card(CardEvent::Lost { error: CardError::Absent, words: Words::NONE })));
    for _ in 0..50 {
        w.input(Input::Media(Event::Card(CardEvent::Lost { error: CardError::Absent, words: Words::NONE })));
    }
    w.input(Input::Media(Event::NotPlaying { call }));
    assert_eq!(w.rung(), "receiving");
    let last = w.events.last().expect("an event");
    assert_eq!(last["cause"]["code"], "card_absent");
    assert_eq!(w.events_of("card").len(), 2, "opened, and lost once");
    w.input(Input::Media(Event::Card(CardEvent::Returned { away: Span::from_secs(3) })));
    w.input(Input::Media(Event::Playing { call }));
    assert_eq!(w.rung(), "playing");
    assert_eq!(w.mixer.invites(), 1);
}

// --- the end ---------------------------------------------------------------------------------------------------------

#[test]
fn stop_says_bye_leaves_unregisters_and_exits_at_once() {
    let mut w = World::playing(16, config());
    let stopped = w.now;
    w.input(Input::Stop);
    w.run(2_000);
    let exited = w.exited_at.expect("an exit");
    assert!(exited.since(stopped) < Span::from_millis(100), "all answered: {}", exited.since(stopped));
    assert_eq!(w.mixer.count("BYE"), 1);
    assert_eq!(w.qss.requests("leaveRoom")[0]["payload"], json!({"room": ROOM}));
    assert_eq!(w.qss.requests("unregister").len(), 1);
    assert!(w.qss.events().iter().any(|e| e["event"] == "call_ended"));
    let offline = *w.events_of("ladder").last().expect("a ladder event");
    assert_eq!((&offline["rung"], &offline["cause"]["code"]), (&json!("offline"), &json!("stopping")));
    assert!(w.qss.events().contains(&offline), "the QSS hears it too");
}

#[test]
fn stop_ends_within_two_seconds_though_nobody_answers() {
    let mut w = World::playing(17, config());
    w.qss.mute = true;
    w.mixer.kill();
    w.voice.deaf = true;
    let stopped = w.now;
    w.input(Input::Stop);
    w.run(5_000);
    assert!(w.exited_at.expect("an exit").since(stopped) <= Span::from_millis(1_500));
    assert!(matches!(w.commands().last(), Some((_, Command::Shutdown))));
    assert_eq!(w.events_of("call_ended").len(), 1, "the call is accounted for");
}

#[test]
fn stop_while_nothing_is_up_exits() {
    let mut w = World::new(18, config());
    w.input(Input::Stop);
    assert!(w.exited_at.is_some());
    let mut w = World::started(18, config());
    w.qss.up = false;
    w.run(100);
    w.input(Input::Stop);
    w.run(1_600);
    assert!(w.exited_at.is_some());
}

// --- most wanted first -------------------------------------------------------------------------------------------------

fn with_spare() -> Config {
    let mut config = config();
    config.rooms.push(Room::new("spare", RoomTarget::SipUri("sip:2@127.0.0.1:5080".into())));
    config
}

fn room_of(w: &World) -> &str {
    w.events.last().and_then(|e| e["room"]["name"].as_str()).unwrap_or("none")
}

#[test]
fn a_spare_room_waits_for_the_first_session_and_no_longer() {
    let w = World::playing(20, with_spare());
    assert_eq!((room_of(&w), w.mixer.invites()), ("lobby", 1), "the spare room was never dialled");
    let mut w = World::started(20, with_spare());
    w.qss.up = false;
    w.run_until(1_000, |w| w.rung() == "playing");
    assert_eq!(room_of(&w), "spare", "a refused link decides at once");
    let mut w = World::started(20, with_spare());
    w.qss.mute = true;
    w.run_until(4_000, |w| w.rung() == "playing");
    assert!(w.now >= Time::from_millis(4_000), "a silent one after a moment: {}", w.now);
}

#[test]
fn a_more_wanted_room_is_gone_back_to_once_it_has_been_possible_for_a_while() {
    let mut w = World::started(21, with_spare());
    w.qss.up = false;
    w.run_until(5_000, |w| w.rung() == "playing");
    assert_eq!(room_of(&w), "spare");
    w.run(20_000);
    w.qss.up = true;
    w.run_until(61_000, |w| w.rung() == "playing" && w.events_of("snapshot").len() == 1);
    w.run(8_000);
    assert_eq!(room_of(&w), "spare", "a session that flaps moves nobody");
    w.run(5_000);
    assert_eq!((w.rung(), room_of(&w)), ("playing", "lobby"));
    assert!(w.causes().contains(&"more_wanted"));
    // The user's word counts for more than the order.
    w.local("join spare");
    w.run(120_000);
    assert_eq!((w.rung(), room_of(&w)), ("playing", "spare"));
}

#[test]
fn a_spare_conference_is_left_ever_more_rarely_for_a_room_that_fails() {
    let mut w = World::started(22, with_spare());
    w.qss.rooms.clear();
    w.run(3_600_000);
    let tries = w.qss.requests("joinRoom").len();
    assert!((3..=12).contains(&tries), "{tries} interruptions in an hour");
    assert_eq!((w.rung(), room_of(&w)), ("playing", "spare"));
}

// --- rooms that move, calls that are lost --------------------------------------------------------------------------------

#[test]
fn a_mixer_that_does_not_answer_any_more_makes_the_qss_say_where_the_room_is() {
    let mut w = World::playing(23, config());
    w.mixer.manner = Manner::Refuse(503);
    w.qss.rooms.insert(ROOM.into(), sim::qss::room(ROOM, "sip:88899999999@audiomixer-sfu2:5080"));
    w.mixer_hangs_up();
    w.run(4_000);
    assert!(w.mixer.last_invite.starts_with("INVITE sip:88899999999@audiomixer-sfu2:5080"), "{}", w.mixer.last_invite);
    w.mixer.manner = Manner::Answer;
    w.run_until(10_000, |w| w.rung() == "playing");
    let mut w = World::playing(23, config());
    w.mixer.manner = Manner::Refuse(503);
    w.kill_qss(Some(LinkErrorKind::Closed(1006)));
    w.mixer_hangs_up();
    w.run(20_000);
    assert!(w.mixer.invites() > 3, "without a QSS the old address is dialled on: {}", w.mixer.invites());
    let mut w = World::playing(23, config());
    w.mixer.manner = Manner::Refuse(503);
    w.mixer_hangs_up();
    w.run(300_000);
    let (dials, asked) = (w.mixer.invites(), w.qss.requests("joinRoom").len());
    assert!(asked <= dials + 1, "{asked} questions for {dials} dials");
}

#[test]
fn a_held_call_that_the_mixer_forgot_is_noticed_and_dialled_again() {
    let mut w = World::playing(24, config());
    w.run(1_000);
    let hold = w.mixer.reinvite("inactive");
    w.post_all(hold);
    w.run(300_000);
    assert_eq!((w.rung(), w.mixer.invites()), ("call", 1), "a hold may last");
    assert!(w.mixer.count("INVITE") >= 10, "and is asked for");
    w.mixer.kill();
    w.mixer.up = true;
    w.run_until(35_000, |w| w.rung() == "playing");
    assert!(w.causes().contains(&"sip_call_gone"));
}

#[test]
fn after_a_silence_or_a_hold_nothing_is_claimed_that_is_not_told_anew() {
    let mut w = World::playing(25, config());
    let call = w.voice.stream.expect("a stream").call;
    w.input(Input::Media(Event::Silent { call, since: Span::from_secs(2) }));
    w.input(Input::Media(Event::Receiving { call }));
    assert_eq!(w.rung(), "receiving", "playing is proven anew");
    w.run(50);
    w.input(Input::Media(Event::Playing { call }));
    assert_eq!(w.rung(), "playing");
    let hold = w.mixer.reinvite("inactive");
    w.post_all(hold);
    w.run(20);
    for late in [Event::Sending { call }, Event::Receiving { call }, Event::Playing { call }] {
        w.input(Input::Media(late));
    }
    assert_eq!(w.rung(), "call", "stragglers of before the hold prove nothing");
}

#[test]
fn a_call_of_which_nothing_leaves_says_why_in_a_snapshot() {
    let mut w = World::started(26, config());
    w.run_until(5_000, |w| w.rung() == "call");
    let call = w.voice.stream.expect("a stream").call;
    w.input(Input::Media(Event::NotSending { call }));
    w.run(10);
    let facts = w.events_of("snapshot").last().expect("a snapshot")["facts"].clone();
    assert_eq!((&facts[3]["fact"], &facts[3]["cause"]["code"]), (&json!("sending"), &json!("not_sending")));
}

#[test]
fn xruns_are_added_up() {
    let mut w = World::playing(27, config());
    for count in [3, 2] {
        w.input(Input::Media(Event::Card(CardEvent::Xrun { count })));
    }
    assert_eq!(w.local("status")["counters"]["xruns"], 5);
}

#[test]
fn a_created_room_that_was_destroyed_is_created_anew() {
    let mut config = config();
    config.rooms[0].target = RoomTarget::Create { record: false };
    let mut w = World::playing(28, config);
    w.qss_says(r#"{"type":"event","payload":{"eventName":"destroyed","payload":{"room":"created1"}}}"#);
    w.run_until(5_000, |w| w.rung() == "playing" && w.events.last().is_some_and(|e| e["room"]["id"] == "created2"));
    assert_eq!(w.qss.requests("createRoom").len(), 2);
}

#[test]
fn the_address_that_rtp_is_bound_to_is_offered() {
    let mut config = config();
    config.rtp.bind = "198.51.100.7".parse().expect("an address");
    let w = World::playing(29, config);
    assert!(w.mixer.last_invite.contains("c=IN IP4 198.51.100.7\r\n"), "{}", w.mixer.last_invite);
}
