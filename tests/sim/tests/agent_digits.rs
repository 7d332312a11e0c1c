//! Digits of the agent: by which way they leave, and each that comes told once.

use qss_endpoint::agent::Input;
use qss_endpoint::config::{Config, Dtmf};
use qss_endpoint::dtmf::{Digit, Digits};
use qss_endpoint::media::command::{Command, Event};
use qss_endpoint::time::Span;
use sim::{World, config};

fn configured(dtmf: Dtmf) -> Config {
    let mut config = config();
    config.sip.dtmf = dtmf;
    config
}

fn pressed(w: &World) -> Vec<Digits> {
    let digits = |command: &Command| if let Command::Digits { digits, .. } = command { Some(*digits) } else { None };
    w.commands().iter().filter_map(|(_, command)| digits(command)).collect()
}

/// As the media thread hears it.
fn heard(w: &mut World, digit: char) {
    let starts = |command: &Command| if let Command::Start(params) = command { Some(params.call) } else { None };
    let call = w.commands().iter().rev().find_map(|(_, command)| starts(command)).expect("a stream");
    w.input(Input::Media(Event::Digit { call, digit: Digit::of_char(digit).expect("a key") }));
}

fn told(w: &World) -> Vec<String> {
    let word = |e: &serde_json::Value| format!("{} {}", e["digit"], e["by"]).replace('"', "");
    w.events_of("digit").iter().map(|event| word(event)).collect()
}

#[test]
fn digits_leave_by_rtp_if_the_mixer_has_events_or_else_by_info() {
    let digits = Digits::parse("12#").expect("digits");
    for (mode, by_rtp) in [(Dtmf::Auto, true), (Dtmf::Rtp, true), (Dtmf::Info, false)] {
        let mut w = World::playing(1, configured(mode));
        assert_eq!(w.local("dtmf 12#"), serde_json::json!({"ok": true}), "{mode:?}");
        w.run(5_000);
        assert_eq!(pressed(&w), if by_rtp { vec![digits] } else { Vec::new() }, "{mode:?}");
        assert_eq!(w.mixer.count("INFO"), if by_rtp { 0 } else { 3 }, "{mode:?}");
    }
    // A held stream carries nothing.
    let mut w = World::playing(1, configured(Dtmf::Auto));
    w.local("hold on");
    w.local("dtmf 5");
    w.run(1_000);
    assert_eq!((pressed(&w).len(), w.mixer.count("INFO")), (0, 1));
    let mut w = World::playing(1, configured(Dtmf::Rtp));
    w.local("hold on");
    assert_eq!(w.local("dtmf 5")["error"]["code"], "no_digits");
}

#[test]
fn what_cannot_be_sent_is_refused_with_its_reason() {
    let mut w = World::playing(1, config());
    for line in ["dtmf", "dtmf 1x", r#"{"command":"dtmf","digits":7}"#] {
        assert_eq!(w.local(line)["error"]["code"], "bad_argument", "{line}");
    }
    let long = format!("dtmf {}", "7".repeat(32));
    assert_eq!(w.local(&long)["ok"], true);
    assert_eq!(w.local("dtmf 123456")["error"]["code"], "digits_wait");
    w.run(10_000);
    assert_eq!(w.local("dtmf 123456")["ok"], true, "the first have left");
    w.local("hangup");
    assert_eq!(w.local("dtmf 1")["error"]["code"], "no_call");
}

#[test]
fn each_digit_of_the_mixer_is_one_event_even_if_it_comes_both_ways() {
    let mut w = World::playing(1, config());
    heard(&mut w, '5');
    let info = w.mixer.press('5');
    w.post_all(info);
    w.run(100);
    assert_eq!(told(&w), ["5 rtp"]);
    heard(&mut w, '5');
    let info = w.mixer.press('6');
    w.post_all(info);
    w.run(2_000);
    let info = w.mixer.press('6');
    w.post_all(info);
    w.run(100);
    assert_eq!(told(&w), ["5 rtp", "5 rtp", "6 info", "6 info"]);
    let mut patient = config();
    patient.sip.dtmf_twice = Span::from_secs(3);
    let mut other = World::playing(1, patient);
    let info = other.mixer.press('6');
    other.post_all(info);
    other.run(2_000);
    heard(&mut other, '6');
    assert_eq!(told(&other), ["6 info"], "sip.dtmf_twice_ms");
    w.local("hangup");
    w.input(Input::Media(Event::Digit { call: 1, digit: Digit::of_char('9').expect("a key") }));
    w.run(100);
    assert_eq!(told(&w).len(), 4, "a straggler of a call that is over is nobody's");
}
