//! The documents are held against the program: every sample is a frame, every code is in the table.

use qss_endpoint::agent::Input;
use qss_endpoint::config::{QssNames, Secret};
use qss_endpoint::qss::message::{self, Frame, InviteOffer, MediaTypes, Room};
use qss_endpoint::status::failure::Failure;
use serde_json::Value;
use sim::{World, config};

const QSS: &str = include_str!("../../../docs/qss.md");
const CONFIG: &str = include_str!("../../../docs/config.md");
const STATUS: &str = include_str!("../../../docs/status-events.md");
const SCHEMA: &str = include_str!("../../../docs/status-events.schema.json");

/// The bodies of the ```json fences.
fn samples(page: &str) -> Vec<&str> {
    page.split("```json\n").skip(1).map(|rest| rest.split("\n```").next().expect("a closed fence")).collect()
}

fn table() -> String {
    let row = |f: &Failure| {
        let status = if f.status().is_some() { "yes" } else { "" };
        format!("| `{}` | {status} | {} | {} | {} |\n", f.code(), f.what(), f.evidence(), f.next_step())
    };
    format!(
        "| code | has a `status` | what happened | evidence | next step |\n|---|---|---|---|---|\n{}",
        Failure::ALL.iter().map(row).collect::<String>()
    )
}

#[test]
fn every_sample_is_a_frame() {
    let samples = samples(QSS);
    assert!(samples.len() >= 61, "{} samples", samples.len());
    for sample in samples {
        let frame = Frame::parse(sample, 262_144);
        assert!(frame.is_ok(), "{frame:?}: {sample}");
    }
}

#[test]
fn both_spellings_of_the_room_are_the_same_kind_of_room() {
    let rooms: Vec<_> = samples(QSS)
        .into_iter()
        .filter_map(|sample| match Frame::parse(sample, 262_144) {
            Ok(Frame::Answer { name, body, .. }) if name == "createRoom" => Room::read(body.fields()),
            Ok(_) | Err(_) => None,
        })
        .collect();
    assert_eq!(rooms.len(), 2);
    assert!(rooms.iter().all(|r| r.id.is_some() && r.sip_uri.as_deref() == Some(sim::SIP_URI)));
    assert!(rooms.iter().all(|r| r.bitrate.is_some() && !r.servers.is_empty() && !r.ice.is_empty()));
}

/// What the device writes has the documented keys: each of its own samples is compared with a frame it really sent.
#[test]
fn what_the_device_sends_looks_like_its_sample() {
    let mut config = config();
    config.invites.accept = vec!["nobody".into()];
    let mut w = World::playing(1, config);
    let invite = samples(QSS).into_iter().find(|s| s.contains("\"request\":\"invite\"")).expect("an invite");
    w.qss_says(invite);
    w.qss_says(samples(QSS).into_iter().find(|s| s.contains("\"request\":\"whiteboard")).expect("an unknown request"));
    w.input(Input::Stop);
    w.run(100);
    for (kind, name) in [
        ("request", "register"),
        ("request", "joinRoom"),
        ("request", "leaveRoom"),
        ("request", "unregister"),
        ("cancel", "invite"),
        ("cancel", "whiteboard"),
    ] {
        let sent =
            w.qss.log.iter().map(|(_, f)| f).find(|f| f[kind] == name).unwrap_or_else(|| panic!("{name} unsent"));
        let documented = samples(QSS)
            .into_iter()
            .map(|s| serde_json::from_str::<Value>(s).expect("JSON"))
            .find(|s| s[kind] == name)
            .unwrap_or_else(|| panic!("{name} undocumented"));
        assert_eq!(shape(sent), shape(&documented), "{name}");
    }
}

/// Every request that can be written stands in the page, word for word.
#[test]
fn every_request_of_the_device_is_documented() {
    let mut names = QssNames::default();
    (names.hold, names.unhold) = ("hold".into(), "unhold".into());
    let n = &names;
    let north = [("door".to_owned(), "north".to_owned())];
    let bob = InviteOffer {
        from: "lobby",
        to: "bob",
        room: "2f11c520",
        media: MediaTypes::default(),
        request_id: None,
        context: &north,
    };
    let phone = InviteOffer { to: "bob/phone-4", request_id: Some("REQ1"), context: &[], ..bob };
    let users = ["bob".to_owned()];
    let written = [
        message::create_room(n, false),
        message::create_room(n, true),
        message::join_room(n, "2f11c52047f244f78e1deac1839fbd45d008d20f6eabcf2e17ede0b5d3d520e9"),
        message::join_meeting(n, "standup", &Secret("open sesame".into())),
        message::join_quick_conference(n, "wac-conf01234567890123456789"),
        message::leave_room(n, "6d3fa58b1ecfdffd621a3a4e7fbc26d284b6c5e8c8098a0099fa90d95dd86f9a", 200),
        message::leave_room(n, "2f11c520", 480),
        message::destroy_room(n, "2f11c520"),
        message::get_rooms(n),
        message::add_participants(n, "2f11c520", &users),
        message::remove_participants(n, "2f11c520", &users),
        message::send_invite(n, &bob),
        message::send_invite(n, &phone),
        message::send_invite_request(n, "lobby", "desk", Some("2f11c520")),
        message::current_invitations(n),
        message::mute(n, "2f11c520", "bob", "lobby", true),
        message::report_mute(n, "2f11c520", "lobby", true),
        message::report_hold(n, "2f11c520", true),
        message::transfer(n, "2f11c520", "bob"),
        message::accept_transfer(n, "T1"),
        message::attended_transfer(n, "2f11c520", "eve", "bob"),
    ];
    let documented: Vec<Value> = samples(QSS).into_iter().map(|s| serde_json::from_str(s).expect("JSON")).collect();
    for request in written {
        let request = request.expect("there is a word for it");
        let found = documented.iter().any(|s| s["request"] == request.name && s["payload"] == request.payload);
        assert!(found, "{} {}", request.name, request.payload);
    }
}

/// Each open question is answered once, by keys that exist; each word of the wire that is a key stands in the page.
#[test]
fn every_open_question_has_its_keys() {
    let table = QSS.split("## Open questions").nth(1).expect("a section");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let numbers: Vec<usize> = rows.iter().map(|row| row[0].parse().expect("a number")).collect();
    assert_eq!(numbers, (1..=34).collect::<Vec<_>>());
    for key in rows.iter().flat_map(|row| row[3].split('`').skip(1).step_by(2)) {
        let (section, name) = key.rsplit_once('.').expect("section.key");
        let is_list = ["room", "caller", "call"].contains(&section);
        let heading = if is_list { format!("[[{section}]]") } else { format!("[{section}]") };
        let keys = CONFIG.split(&format!("## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no section for {key}"));
        let keys = keys.split("\n## ").next().expect("a first part");
        assert!(keys.contains(&format!("| `{name}` |")), "{key} is no key");
    }
    let names = CONFIG.split("## [qss.names]\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    for row in names.lines().filter(|line| line.starts_with("| `")) {
        let key = row.split('`').nth(1).expect("a key");
        assert!(QSS.contains(&format!(".{key}`")), "qss.names.{key} is not in docs/qss.md");
    }
}

/// The keys, one level deep.
fn shape(value: &Value) -> Vec<String> {
    let keys = |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut all = keys(value);
    all.extend(keys(&value["payload"]).into_iter().map(|k| format!("payload.{k}")));
    all
}

/// `REWRITE=1 cargo test --package sim --test agent_docs` puts the table into the page.
#[test]
fn every_code_is_in_the_table() {
    let start = STATUS.find("| code | has a").unwrap_or_else(|| STATUS.find("CODES").expect("a place for the table"));
    if std::env::var_os("REWRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/status-events.md");
        std::fs::write(path, format!("{}{}", &STATUS[..start], table())).expect("the page can be written");
        return;
    }
    assert_eq!(&STATUS[start..], table(), "REWRITE=1 cargo test --package sim --test agent_docs");
}

/// Each kind of the schema has a row that names it and all its own fields.
#[test]
fn every_kind_of_the_schema_has_a_row() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let mut kinds = 0;
    for kind in schema["oneOf"].as_array().expect("kinds") {
        let fields = kind["properties"].as_object().expect("fields");
        let event = &fields["event"];
        let one = event.get("const").into_iter();
        for name in one.chain(event["enum"].as_array().into_iter().flatten()) {
            let word = format!("`{}`", name.as_str().expect("a kind"));
            let mut rows = STATUS.lines().filter(|line| line.starts_with("| `") && line.contains(&word));
            assert!(rows.next().is_some(), "{word} has no row");
            for field in fields.keys() {
                assert!(STATUS.contains(&format!("`{field}`")), "{field} of {word} is not documented");
            }
            kinds += 1;
        }
    }
    assert!(kinds > 30, "{kinds} kinds");
}

/// Each event that a long story produces has the documented fields, and each kind and field is on the page.
#[test]
fn every_kind_and_field_is_on_the_page() {
    let mut config = config();
    config.invites.accept = vec!["*".into()];
    let mut w = World::playing(2, config);
    w.qss_says(r#"{"request":"invite","requestID":"I","payload":{"from":"a","room":{"room":"r","sipUri":"sip:1@m"}}}"#);
    w.qss_says("garbage");
    w.local("mute on");
    w.local("volume playback -3");
    w.local("hold on");
    w.local("status");
    w.mixer.manner = sim::mixer::Manner::Refuse(503);
    w.mixer_hangs_up();
    w.run(5_000);
    let mut kinds: Vec<_> = w.events.iter().map(|e| e["event"].as_str().expect("a kind").to_owned()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let own = ["attempt", "call_ended", "card", "hold", "invite", "ladder", "mute", "problem", "snapshot", "volume"];
    assert!(own.iter().all(|kind| kinds.iter().any(|k| k == kind)), "{kinds:?}");
    for event in &w.events {
        for key in event.as_object().expect("an object").keys() {
            assert!(STATUS.contains(&format!("`{key}`")), "{key} is not documented");
        }
        let row = format!("`{}`", event["event"].as_str().expect("a kind"));
        assert!(STATUS.lines().any(|line| line.starts_with("| `") && line.contains(&row)), "{row} has no row");
    }
    let ended = w.events_of("call_ended")[0]["media"].as_object().expect("numbers");
    assert!(ended.keys().all(|key| STATUS.contains(&format!("`{key}`"))), "{ended:?}");
    for sample in samples(STATUS) {
        assert!(serde_json::from_str::<Value>(sample).is_ok_and(|e| e["seq"].is_u64()), "{sample}");
    }
}
