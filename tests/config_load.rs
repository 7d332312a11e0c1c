//! What a technician sees when a configuration is right, and when it is wrong.

mod memory;

use memory::{Memory, minimal};
use proptest::prelude::*;
use qss_endpoint::config::card_name::{CardIdentity, UsbIdentity};
use qss_endpoint::config::error::{Errors, Fault};
use qss_endpoint::config::file::{Loaded, ReadError};
use qss_endpoint::config::{FecMode, RoomTarget, describe};
use qss_endpoint::time::Span;
use std::path::{Path, PathBuf};

fn errors(text: &str) -> Errors {
    Memory::with(text).load().expect_err("must be refused")
}

/// The messages without the name of the file.
fn lines(text: &str) -> Vec<String> {
    errors(text).to_string().lines().map(|line| line.replacen("/etc/endpoint.toml", "", 1)).collect()
}

fn loaded(text: &str) -> Loaded {
    Memory::with(text).load().unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_small_file_is_enough() {
    let config = loaded(minimal()).config;
    assert_eq!(config.qss.url.as_deref(), Some("wss://qss.example.com/"));
    assert_eq!(config.rooms[0].target, RoomTarget::Id("b7f0".into()));
    assert_eq!(config.rooms[0].name, "b7f0");
    assert_eq!(config.qss.connect_timeout, Span::from_secs(10), "the default");
}

#[test]
fn each_kind_of_value_arrives() {
    let config = loaded(
        "[device]\nid = 'door-3'\n[qss]\nheaders = { X-Site = 'north' }\n[qss.names]\ninvite = ['invite']\njoin_room = ''\n\
         [[room]]\nname = 'a'\nsip_uri = 'sip:a@mixer'\n[sip]\nbind = '192.0.2.7:5060'\nt1_ms = 1_000\n\
         [sip.host_map]\n'audiomixer-0.audiomixer' = '10.0.0.9:5062'\n[rtp]\nbind = '::'\nport_min = 0x4e20\nport_max = 20_098\n\
         [codec]\nfec = 'on'\nptime_ms = 60\ndtx = true\n",
    )
    .config;
    assert_eq!(config.device.id, "door-3");
    assert_eq!(config.qss.headers, [("X-Site".to_owned(), "north".to_owned())]);
    assert_eq!((config.qss.names.invite.len(), config.qss.names.join_room.as_str()), (1, ""));
    assert_eq!(config.sip.bind, "192.0.2.7:5060".parse().unwrap());
    assert_eq!(config.sip.t1, Span::from_secs(1));
    assert_eq!(config.sip.host_map, [("audiomixer-0.audiomixer".to_owned(), "10.0.0.9:5062".to_owned())]);
    assert_eq!(config.rtp.ports, (20_000, 20_098));
    assert_eq!((config.codec.fec, config.codec.ptime, config.codec.dtx), (FecMode::On, Span::from_millis(60), true));
}

#[test]
fn a_misspelt_key_is_shown_with_its_place_and_the_nearest_spelling() {
    let text = "[audio]\ncapture = 'mic'\n  perod_ms = 5\n";
    assert_eq!(
        lines(text),
        [":3:3: [audio] perod_ms: unknown key; did you mean period_ms? allowed: capture, playback, duplex, \
          far_speech_dbfs, far_speech_hang_ms, mixer, controls, amplifier_control, playback_db, playback_min_db, playback_max_db, capture_db, capture_min_db, \
          capture_max_db, rate, period_ms, periods, capture_channels, capture_channel, playback_channels, realtime_priority, lock_memory, \
          reopen_interval_ms, mute_at_start, tones, ladder_tones, tone_level_db"]
    );
}

#[test]
fn a_card_by_number_is_refused_and_its_lasting_name_offered() {
    let mut machine = Memory::with("[audio]\ncapture = 'plughw:1,0'\nplayback = 'hw:CARD=7'\n");
    let text = |machine: &Memory| machine.load().unwrap_err().to_string();
    assert!(text(&machine).contains("as `qss-endpoint devices` has them"), "{}", text(&machine));
    let usb = UsbIdentity { vendor: 0x0d8c, product: 0x0014, serial: None };
    machine.sound_cards = vec![
        CardIdentity { index: 0, id: "PCH".into(), title: "HDA Intel".into(), usb: None, bus: None },
        CardIdentity { index: 1, id: "Device".into(), title: "USB PnP Audio".into(), usb: Some(usb), bus: None },
    ];
    let text = text(&machine);
    assert!(text.contains(
        ":2:1: [audio] capture: \"plughw:1,0\" is not allowed: a card's number changes from boot to boot; number 1 is \
         hw:USB=0d8c:0014 (USB PnP Audio) now"
    ), "{text}");
    assert!(
        text.contains("playback: \"hw:CARD=7\" is not allowed")
            && text.contains("present are hw:CARD=PCH (HDA Intel), hw:USB")
    );
    for name in ["default", "hw:CARD=UC03,DEV=0", "plughw:wm8904audio", "a", "plug:mic0", "hw:USB=0d8c:0014,DEV=0"] {
        loaded(&format!("[audio]\ncapture = \"{name}\"\n"));
    }
    assert!(lines("[audio]\ncapture = 'hw:USB=0d8c'\n")[0].contains("after USB= vendor:product must follow"));
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_text() {
    let text = "board = 'raspbery-pi-usb'\n[audio]\nperiods = 'three'\ncapture = 'hw:1'\n[codec]\nptime_ms = 30\n\
                fec = 'onn'\n[[room]]\nsip_uri = 'x'\n[rtp]\ndscp = 64\n[adio]\nx = 1\n";
    let all = lines(text);
    let starts: Vec<&str> = all.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(starts, [":1:9", ":3:11", ":4:1", ":6:12", ":7:7", ":9:11", ":11:8", ":12:2"]);
    assert!(
        all[0].contains("did you mean raspberry-pi-usb? known: base, imx-wm8904, lab, raspberry-pi-usb"),
        "{}",
        all[0]
    );
    assert_eq!(all[1], ":3:11: [audio] periods: is a string; allowed: an integer");
    assert!(all[2].contains("number changes from boot to boot; write hw:CARD=<id>, hw:USB="), "{}", all[2]);
    assert_eq!(all[3], ":6:12: [codec] ptime_ms: 30 is out of range; allowed: 3, 5, 10, 20, 40, 60");
    assert_eq!(all[4], ":7:7: [codec] fec: \"onn\" is not known; did you mean on? allowed: off, on, auto");
    assert_eq!(all[5], ":9:11: [[room]] 1, sip_uri: \"x\" is not allowed: must begin with sip: or sips:");
    assert_eq!(all[6], ":11:8: [rtp] dscp: 64 is out of range; allowed: 0 to 63");
    assert!(
        all[7].starts_with(":12:2: [adio]: unknown section; did you mean [audio]? allowed: [device], [qss],"),
        "{}",
        all[7]
    );
}

#[test]
fn a_key_in_the_wrong_section_is_sent_home() {
    assert!(lines("period_ms = 5\n")[0].starts_with(":1:1: period_ms: unknown key; it belongs to [audio]"));
    assert!(lines("[sip]\nptime_ms = 20\n")[0].starts_with(":2:1: [sip] ptime_ms: unknown key; it belongs to [codec]"));
}

#[test]
fn wrong_types() {
    for (text, message) in [
        ("audio = 3", ":1:9: [audio]: is an integer; allowed: a table"),
        ("[room]\nid = 'a'", ":1:1: [[room]]: is a table; allowed: a list of tables, each under its own [[heading]]"),
        ("room = [3]", ":1:9: [[room]] 1: is an integer; allowed: a list of tables, each under its own [[heading]]"),
        ("board = 3", ":1:9: board: is an integer; allowed: a string, the name of a board"),
        ("[codec]\ndtx = 1", ":2:7: [codec] dtx: is an integer; allowed: true or false"),
        (
            "[codec]\nptime_ms = 20.5",
            ":2:12: [codec] ptime_ms: is a number with a fraction; allowed: an integer, milliseconds",
        ),
        (
            "[qss]\nping_interval_ms = '25s'",
            ":2:20: [qss] ping_interval_ms: is a string; allowed: an integer, milliseconds",
        ),
        ("[qss]\nheaders = 'X: y'", ":2:11: [qss] headers: is a string; allowed: a table of strings"),
        ("[qss.headers]\nX-A = 1", ":2:7: [qss] headers.X-A: is an integer; allowed: a string for each name"),
        (
            "[invites]\naccept = ['a',\n 2]",
            ":3:2: [invites] accept: is an integer; allowed: a string in each place of the list",
        ),
        ("[invites]\naccept = '*'", ":2:10: [invites] accept: is a string; allowed: a list of strings"),
        (
            "[rtp]\nbind = 'eth0'",
            ":2:8: [rtp] bind: \"eth0\" is not allowed: must be an IP address, such as \"0.0.0.0\" or \"192.0.2.7\"",
        ),
        ("[qss]\nnames = 1", ":2:9: [qss.names]: is an integer; allowed: a table"),
    ] {
        assert_eq!(lines(text), [message], "{text}");
    }
}

#[test]
fn numbers_out_of_range_however_large() {
    for number in ["-1", "0", "101", "99999999999999999999999999999999999999999999999999", "0xffffffffffffffff"] {
        let errors = errors(&format!("[audio]\nperiod_ms = {number}\n"));
        assert!(
            matches!(&errors.problems[0].fault, Fault::OutOfRange { allowed, .. } if allowed == "1 to 100"),
            "{errors}"
        );
    }
    assert!(matches!(errors("[codec]\ncap_kbps = 11").problems[0].fault, Fault::OutOfRange { .. }));
    assert_eq!(loaded(&format!("{}[codec]\ncap_kbps = 0", minimal())).config.codec.cap_kbps, 0);
}

#[test]
fn text_that_would_break_a_header_is_refused() {
    for text in ["[sip]\ndisplay_name = \"a\\r\\nVia: x\"", "[qss.headers]\nX = \"a\\nb\"", "[qss.headers]\nHost = 'a'"]
    {
        assert!(matches!(errors(text).problems[0].fault, Fault::NotAllowed { .. }), "{text}");
    }
    let shown = errors("[qss]\ntoken = \"secret\\u0007\"").to_string();
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn broken_toml_says_where() {
    let errors = errors("[audio]\nperiods = \n[codec\n");
    assert!(errors.problems.iter().all(|p| matches!(p.fault, Fault::Syntax(_))), "{errors}");
    assert_eq!(errors.problems[0].at, Some((2, 11)));
    assert!(lines("[audio]\nperiods = 3\nperiods = 4\n")[0].starts_with(":3:1: not valid TOML: duplicate key"));
}

#[test]
fn the_file_itself() {
    let mut memory = Memory::default();
    assert_eq!(
        memory.load().unwrap_err().to_string(),
        "/etc/endpoint.toml: cannot read /etc/endpoint.toml: there is no such file"
    );
    memory.unreadable.insert("/etc/endpoint.toml".into(), ReadError::Forbidden);
    assert!(memory.load().unwrap_err().to_string().contains("permission denied"));
    let nothing = loaded("[device]\nid = 'a'");
    assert!(nothing.warnings[0].contains("never be in a call"), "{:?}", nothing.warnings);
}

#[test]
fn a_room_is_exactly_one_room() {
    let qss = "[qss]\nurl = 'wss://qss'\nusername = 'u'\ntoken = 't'\n";
    for (rooms, message) in [
        (
            "[[room]]\nname = 'a'\n",
            "says no room; needed: one of id, sip_uri, meeting, quick_conference or create = true",
        ),
        ("[[room]]\nid = 'a'\ncreate = true\n", "says more than one room"),
        ("[[room]]\nid = 'a'\n[[room]]\nid = 'a'\nname = 'b'\n", "given twice: room \"a\" is the same one"),
        ("[[room]]\nid = 'a'\n[[room]]\nid = 'b'\nname = 'a'\n", "given twice: \"a\" is the name of room 1 already"),
        ("[[room]]\nsip_uri = 'tel:+34'\n", "must begin with sip: or sips:"),
    ] {
        let errors = errors(&format!("{qss}{rooms}"));
        assert_eq!(errors.problems.len(), 1, "{errors}");
        assert!(errors.to_string().contains(message), "{errors}");
        assert!(errors.problems[0].at.is_some_and(|(line, _)| line > 4));
    }
    assert!(errors("[[room]]\nid = 'a'\n").to_string().contains("only a QSS can give this room"));
    let created = |more: &str| loaded(&format!("{qss}[[room]]\ncreate = true\n{more}")).config.rooms[0].target.clone();
    assert_eq!(created(""), RoomTarget::Create { record: false });
    assert_eq!(created("record = true\n"), RoomTarget::Create { record: true });
    let theirs = errors(&format!("{qss}[[room]]\nid = 'a'\nrecord = true\n"));
    assert!(theirs.to_string().contains("only a room of our own making"), "{theirs}");
}

#[test]
fn keys_that_contradict_each_other() {
    for (text, message) in [
        ("[qss]\nreconnect_min_ms = 90000", "qss.reconnect_min_ms (90000) is more than qss.reconnect_max_ms (60000)"),
        ("[sip]\nreconnect_min_ms = 20000", "sip.reconnect_min_ms (20000) is more than sip.reconnect_max_ms (15000)"),
        ("[qss]\ntransport = 'socket.io'", "is not known; allowed: websocket"),
        ("[qss]\nunknown_kept = 1001", "1001 is out of range; allowed: 0 to 1000"),
        ("[qss]\njson_ping_interval_ms = 50", "50 is out of range; allowed: 0, or 100 to 3600000"),
        ("[qss.reads]\nroom = ['room', '']", "is not allowed"),
        ("[qss.reads]\nroom = ['room', 'room']", "given twice"),
        ("[jitter]\nmax_ms = 20\nmin_ms = 60", "jitter.min_ms (60) is more than jitter.max_ms (20)"),
        ("[rtp]\ndead_timeout_ms = 1000", "rtp.silence_timeout_ms (2000) is more than rtp.dead_timeout_ms (1000)"),
        ("[rtp]\nport_min = 20000", "port_min and port_max must both be 0 or both be given"),
        ("[rtp]\nport_min = 20001\nport_max = 20099", "RTP ports are even"),
        ("[rtp]\nport_min = 20010\nport_max = 20000", "port_min is more than port_max"),
        (
            "[audio]\nplayback_db = 9",
            "audio.playback_db (9) is not between audio.playback_min_db (-40) and audio.playback",
        ),
        ("[audio]\ncapture_min_db = 3", "audio.capture_db (0) is not between audio.capture_min_db (3) and"),
        ("[audio]\ncapture_db = -61", "-60 to 30"),
        ("[audio]\ncapture = 'none'\nplayback = 'none'", "neither microphone nor loudspeaker"),
        ("[audio]\ncapture_channel = 1", "there are 1 channels, counted from 0"),
        ("[qss]\nurl = 'ws://h'", "[qss] username: missing"),
        ("[qss]\nurl = 'wss://q'\nusername = 'u'\n[[room]]\nid = 'r'\npassword = 'p'", "only a meeting has one"),
        ("[qss.names]\ninvite = []", "must name at least one word"),
        ("[qss.names]\nexpelled = ['status']", "stands in expelled already: a word means one thing"),
        ("[qss]\ntoken = 'a'\ntoken_file = '/t'", "qss.token is given too"),
        (
            "[qss]\nurl = 'ws://h'\nusername = 'u'\ntoken = 'ä'\nbearer = true",
            "characters that no HTTP header may have",
        ),
        (
            "[qss]\nurl = 'ws://h'\nusername = 'u'\nbearer = true\nheaders = { authorization = 'x' }",
            "has an Authorization already",
        ),
    ] {
        let errors = errors(text);
        assert_eq!(errors.problems.len(), 1, "{text}: {errors}");
        assert!(errors.to_string().contains(message), "{errors}");
    }
}

#[test]
fn what_is_allowed_but_hardly_meant_is_warned_of() {
    for (text, warning) in [
        (
            "[qss]\nurl = 'ws://qss.example.com'\nusername = 'u'\ntoken = 't'\n",
            ":2:1: [qss] url: ws:// sends the token in clear",
        ),
        ("[qss]\nurl = 'wss://q'\nusername = 'u'\n", ": [qss] token: no token"),
        ("[invites]\naccept = ['*', 'a']\n", ":2:1: [invites] accept: \"*\" stands for everyone"),
        ("", ": neither a [[room]] to join nor a [[call]] nor invites.accept"),
    ] {
        let warnings = loaded(text).warnings;
        let expected = format!("/etc/endpoint.toml{warning}");
        assert!(warnings.iter().any(|line| line.starts_with(&expected)), "{expected}\n{warnings:?}");
    }
    let lab = "[qss]\nurl = 'ws://127.0.0.1:8080/'\nusername = 'u'\ntoken = 't'\n[invites]\naccept = ['*']\n";
    assert_eq!(loaded(lab).warnings, [""; 0]);
}

#[test]
fn one_mistake_is_one_message() {
    // The url is wrong, not missing; the username is of the wrong type, not missing; the maximum is unknown, not low.
    let text =
        "[qss]\nurl = 'http://h'\nusername = 3\nreconnect_min_ms = 90000\nreconnect_max_ms = 'x'\n[[room]]\nid = 'a'\n";
    assert_eq!(errors(text).problems.len(), 3, "{}", errors(text));
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let text = "[qss]\nurl = 'wss://q'\nusername = 'u'\ntoken_file = '${CREDENTIALS_DIRECTORY}/token'\n\
                [sip]\npassword_file = 'password'\n[[room]]\nid = 'a'\n";
    let mut memory = Memory::with(text);
    memory.variables.insert("CREDENTIALS_DIRECTORY".into(), "/run/credentials/x".into());
    memory.file("/run/credentials/x/token", "geheim\n");
    memory.file("/etc/password", "hunter2");
    memory.world_readable.push("/etc/password".into());
    let loaded = memory.load().unwrap();
    assert_eq!((loaded.config.qss.token.0.as_str(), loaded.config.sip.password.0.as_str()), ("geheim", "hunter2"));
    assert_eq!(
        loaded.warnings,
        [
            "/etc/password: everybody may read this secret: chmod 600 /etc/password, and let systemd hand it over (LoadCredential)"
        ]
    );
    let shown = format!("{}{:?}", describe::effective(&loaded), loaded);
    assert!(!shown.contains("geheim") && !shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("token = \"(set)\"  # /etc/endpoint.toml:4"), "{shown}");

    for (content, message) in
        [("", "is empty"), ("\n", "is empty"), ("a\nb", "more than one line"), ("a\tb", "control character")]
    {
        memory.file("/etc/password", content);
        let errors = memory.load().unwrap_err();
        assert!(errors.to_string().contains(message), "{errors}");
        assert_eq!(errors.problems[0].at, Some((6, 1)));
    }
    // A token is read again before each attempt, and a device that waits for it is better than one that has given up.
    memory.file("/etc/password", "hunter2");
    memory.file("/run/credentials/x/token", "");
    let loaded = memory.load().unwrap();
    assert_eq!(loaded.config.qss.token_file.as_deref(), Some(Path::new("/run/credentials/x/token")));
    assert_eq!(
        loaded.warnings[0],
        "/etc/endpoint.toml:4:1: [qss] token_file: /run/credentials/x/token: is empty; it is tried again before each attempt"
    );
    let errors = memory.check().unwrap_err().to_string();
    assert!(errors.contains("/run/credentials/x/token: is empty"), "who looks at it is told: {errors}");
    memory.file("/run/credentials/x/token", "geheim");
    memory.files.remove(Path::new("/etc/password"));
    assert!(memory.load().unwrap_err().to_string().contains("cannot read /etc/password: there is no such file"));
    memory.variables.clear();
    assert!(memory.load().unwrap_err().to_string().contains("no variable \"CREDENTIALS_DIRECTORY\" (systemd sets it"));
    // From a shell, `check` must not call a file wrong that is right for the service.
    memory.file("/etc/password", "hunter2");
    let warnings = memory.check().unwrap().warnings;
    assert!(warnings[0].starts_with("/etc/endpoint.toml:4:1: [qss] token_file: not looked at"), "{warnings:?}");
    assert_eq!(warnings.len(), 2, "and the password everybody may read: {warnings:?}");
}

#[test]
fn the_token_may_come_from_the_environment() {
    let mut memory =
        Memory::with("[qss]\nurl = 'wss://q'\nusername = 'u'\ntoken_env = 'QSS_TOKEN'\n[[room]]\nid = 'a'\n");
    memory.variables.insert("QSS_TOKEN".into(), "geheim".into());
    assert_eq!(memory.load().unwrap().config.qss.token.0, "geheim");
    memory.variables.insert("QSS_TOKEN".into(), "two\nlines".into());
    assert!(memory.load().unwrap_err().to_string().contains("has more than one line"));
    memory.variables.clear();
    assert!(memory.load().unwrap_err().to_string().contains("no variable \"QSS_TOKEN\""));
}

#[test]
fn secrets_in_a_file_for_everybody_are_warned_of() {
    let mut memory = Memory::with(minimal());
    assert_eq!(memory.load().unwrap().warnings, [""; 0]);
    memory.world_readable.push("/etc/endpoint.toml".into());
    assert!(
        memory.load().unwrap().warnings[0]
            .contains("holds qss.token: put that into a file of its own (qss.token_file)")
    );
}

#[test]
fn the_ca_file_must_be_one() {
    let mut memory = Memory::with(&minimal().replace("[qss]", "[qss]\nca_file = 'ca.pem'"));
    assert!(memory.load().unwrap_err().to_string().contains("[qss] ca_file: cannot read /etc/ca.pem"));
    memory.file("/etc/ca.pem", "-----BEGIN PRIVATE KEY-----");
    assert!(memory.load().unwrap_err().to_string().contains("holds no PEM certificate"));
    memory.file("/etc/ca.pem", "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n");
    assert_eq!(memory.load().unwrap().config.qss.ca_file, Some(PathBuf::from("/etc/ca.pem")));
}

#[test]
fn the_device_id_is_stable_and_does_not_give_the_machine_id_away() {
    let mut memory = Memory::with(minimal());
    let id = memory.load().unwrap().config.device.id;
    assert_eq!(id, memory.load().unwrap().config.device.id);
    assert!(id.starts_with("ep-") && id.len() == 19 && !id.contains(&memory::MACHINE_ID[..8]), "{id}");
    memory.file("/etc/machine-id", "uninitialized\n");
    assert_eq!(memory.load().unwrap().config.device.id, "kitchen");
    memory.file("/proc/sys/kernel/hostname", "localhost\n");
    assert!(memory.load().unwrap_err().to_string().starts_with("/etc/endpoint.toml: [device] id: missing"));
    memory.file("/etc/endpoint.toml", &format!("{}[device]\nid = 'x'\n", minimal()));
    assert_eq!(memory.load().unwrap().config.device.id, "x");
}

#[test]
fn the_status_socket_is_where_systemd_made_room() {
    let mut memory = Memory::with(minimal());
    assert_eq!(memory.load().unwrap().config.status.socket, None);
    memory.variables.insert("RUNTIME_DIRECTORY".into(), "/run/qss-endpoint".into());
    assert_eq!(memory.load().unwrap().config.status.socket, Some("/run/qss-endpoint/status.sock".into()));
    memory.file("/etc/endpoint.toml", &format!("{}[status]\nsocket = ''\n", minimal()));
    assert_eq!(memory.load().unwrap().config.status.socket, None);
    memory.file("/etc/endpoint.toml", &format!("{}[status]\nsocket = '/run/{}'\n", minimal(), "x".repeat(103)));
    assert!(memory.load().unwrap_err().to_string().contains("at most 107 bytes"));
    // `status --config` must find it even if the rest is unreadable for the one who asks.
    memory.file("/etc/endpoint.toml", "[qss]\ntoken_file = '/root/t'\nurl = 3\n[status]\nsocket = '/run/x.sock'\n");
    assert_eq!(memory.status_socket(), Some("/run/x.sock".into()));
}

#[test]
fn a_board_lies_under_the_file_and_over_its_own_base() {
    let mut memory = Memory::with(&format!("board = 'door'\n{}[audio]\nperiods = 5\n", minimal()));
    memory.file("/etc/boards/door.toml", "inherit = 'common'\n[audio]\nperiods = 4\nperiod_ms = 20\n");
    memory.file("/usr/share/qss-endpoint/boards/common.toml", "[audio]\nperiod_ms = 40\ncapture = 'mic'\n");
    let loaded = memory.load().unwrap();
    let audio = &loaded.config.audio;
    assert_eq!((audio.periods, audio.period, audio.capture.as_str()), (5, Span::from_millis(20), "mic"));
    let shown = describe::effective(&loaded);
    assert!(shown.contains("period_ms = 20  # /etc/boards/door.toml:4"), "{shown}");
    assert!(shown.contains("capture = \"mic\"  # /usr/share/qss-endpoint/boards/common.toml:3"), "{shown}");
    assert!(shown.contains("playback = \"default\"\n"), "{shown}");

    // A directory that was asked for is the only one looked into, before what is built in.
    memory.variables.insert("QSS_ENDPOINT_BOARDS".into(), "/srv".into());
    assert!(matches!(memory.load().unwrap_err().problems[0].fault, Fault::UnknownBoard { .. }));
    memory.file("/srv/door.toml", "[audio]\nperiod_ms = 5\n");
    assert_eq!(memory.load().unwrap().config.audio.period, Span::from_millis(5));
}

#[test]
fn boards_that_are_wrong() {
    let mut memory = Memory::with(&format!("board = 'a'\n{}", minimal()));
    memory.file("/etc/boards/a.toml", "inherit = 'b'");
    memory.file("/etc/boards/b.toml", "inherit = 'a'");
    let errors = memory.load().unwrap_err();
    assert_eq!(errors.to_string(), "/etc/boards/b.toml:1:11: inherit: boards inherit in a circle: a -> b -> a");

    memory.file("/etc/boards/b.toml", "[qss]\nurl = 'ws://h'\n[[room]]\nid = 'a'\n[audio]\nperiod = 3\n");
    let errors = memory.load().unwrap_err();
    let faults: Vec<_> = errors.problems.iter().map(|p| (p.file.to_str().unwrap(), p.at.unwrap().0)).collect();
    assert_eq!(faults, [("/etc/boards/b.toml", 1), ("/etc/boards/b.toml", 3), ("/etc/boards/b.toml", 6)]);

    memory.unreadable.insert("/etc/boards/a.toml".into(), ReadError::Forbidden);
    assert!(
        memory.load().unwrap_err().to_string().contains("board: cannot read /etc/boards/a.toml: permission denied")
    );
    for name in ["../a", "", "/etc/passwd", "lab "] {
        let text = format!("board = '{name}'\n");
        assert!(
            matches!(Memory::with(&text).load().unwrap_err().problems[0].fault, Fault::UnknownBoard { .. }),
            "{name}"
        );
    }
}

#[test]
fn a_file_that_is_no_configuration_does_not_flood_the_screen() {
    let text: String = (0..5000).map(|i| format!("key{i} = {i}\n")).collect();
    let errors = errors(&text);
    assert_eq!((errors.problems.len(), errors.more), (100, 4900));
    assert!(errors.to_string().ends_with("... and 4900 more"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_whatsoever_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Memory::with(&String::from_utf8_lossy(&bytes)).load().map_err(|errors| errors.to_string());
    }

    /// Right words in wrong places, wrong values behind right keys.
    #[test]
    fn no_toml_whatsoever_makes_it_panic(lines in proptest::collection::vec((word(), value()), 0..30)) {
        let text: String = lines.iter().map(|(word, value)| match value.as_str() {
            "[" => format!("[{word}]\n"),
            "[[" => format!("[[{word}]]\n"),
            value => format!("{word} = {value}\n"),
        }).collect();
        if let Err(errors) = Memory::with(&text).load() {
            prop_assert!(!errors.problems.is_empty());
            prop_assert!(errors.to_string().lines().all(|line| line.len() < 2000));
        }
    }

    /// What is accepted prints as TOML that is accepted again.
    #[test]
    fn what_is_in_effect_is_a_configuration(period in 1u64..=100, capture in "[ -~]{0,20}", port in 512u16..32_000) {
        let quoted = serde_json::Value::from(capture);
        let (first, last) = (port * 2, port * 2 + 20);
        let text = format!(
            "{}[audio]\nperiod_ms = {period}\ncapture = {quoted}\n[rtp]\nport_min = {first}\nport_max = {last}\n", minimal());
        if let Ok(loaded) = Memory::with(&text).load() {
            let again = Memory::with(&describe::effective(&loaded)).load();
            let again = again.map_err(|errors| TestCaseError::fail(errors.to_string()))?.config;
            prop_assert_eq!(again.audio, loaded.config.audio);
            prop_assert_eq!(again.rtp, loaded.config.rtp);
        }
    }
}

fn word() -> impl Strategy<Value = String> {
    let words =
        describe::reference().lines().filter_map(|line| Some(line.split('`').nth(1)?.to_owned())).collect::<Vec<_>>();
    let sections =
        ["audio", "qss", "qss.names", "room", "sip", "rtp", "codec", "jitter", "status", "device", "invites"];
    let known = words.into_iter().chain(sections.map(str::to_owned)).collect::<Vec<_>>();
    prop_oneof![4 => proptest::sample::select(known), 1 => "[a-z._\"-]{1,12}"]
}

fn value() -> impl Strategy<Value = String> {
    let fixed = ["[", "[[", "true", "1", "-1", "20", "1.5", "'x'", "''", "[]", "{}", "['a', 1]", "{ a = 1 }", "nan"];
    let more = ["1979-05-27", "'${'", "'${A}'", "'hw:1'", "'sip:a@b'", "'ws://h'", "'lab'", "[[1]]", "\"\\u0000\""];
    let all: Vec<String> = fixed.into_iter().chain(more).map(str::to_owned).collect();
    prop_oneof![6 => proptest::sample::select(all), 1 => "[ -~]{0,12}"]
}

#[test]
fn headers_of_the_invite_may_not_be_those_of_the_device_itself() {
    let with = |pair: &str| format!("{}\n[sip.headers]\n{pair}\n", minimal());
    let config = loaded(&with("X-Room = 'room {room} of {user}'")).config;
    assert_eq!(config.sip.headers, [("X-Room".to_owned(), "room {room} of {user}".to_owned())]);
    for name in ["Via", "call-id", "i", "CONTACT", "Content-Disposition", "Replaces", "'X Room'", "'X:'", "''"] {
        assert_eq!(errors(&with(&format!("{name} = 'x'"))).problems.len(), 1, "{name}");
    }
    for value in ["''", "'{colour}'", r#""a\nVia: x""#] {
        assert_eq!(errors(&with(&format!("X-Room = {value}"))).problems.len(), 1, "{value}");
    }
}
