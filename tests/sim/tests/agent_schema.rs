//! Every event is what `docs/status-events.schema.json` says: those of the page, of a long story, and of a storm.

use boon::{Compiler, Schemas};
use qss_endpoint::media::autopilot::{Choice, Why};
use qss_endpoint::media::codec::Band;
use qss_endpoint::media::command::Stats;
use qss_endpoint::media::histogram::{self, Stage, Summary};
use qss_endpoint::rtp::xr::VoipMetrics;
use qss_endpoint::status::snapshot::Media;
use qss_endpoint::time::Span;
use serde_json::Value;
use sim::{ROOM, World, config, storm};

const PAGE: &str = include_str!("../../../docs/status-events.md");
const SCHEMA: &str = include_str!("../../../docs/status-events.schema.json");

fn check<'a>(events: impl IntoIterator<Item = &'a Value>) -> usize {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    compiler.add_resource("status-events.schema.json", schema).expect("a schema");
    let index = compiler.compile("status-events.schema.json", &mut schemas).expect("a valid schema");
    let mut checked = 0;
    for event in events {
        if let Err(error) = schemas.validate(event, index) {
            panic!("{event}\n{error:#}");
        }
        checked += 1;
    }
    checked
}

#[test]
fn the_samples_of_the_page_are_events() {
    let fences = PAGE.split("```json\n").skip(1).map(|rest| rest.split("\n```").next().expect("a closed fence"));
    let samples: Vec<Value> = fences.map(|sample| serde_json::from_str(sample).expect("JSON")).collect();
    assert!(check(&samples) >= 4);
}

#[test]
fn an_unknown_field_and_a_wrong_type_are_noticed() {
    let w = World::playing(1, config());
    for (key, value) in [("colour", Value::from("red")), ("rung", Value::from("roof")), ("seq", Value::from(-1))] {
        let mut event = w.events[0].clone();
        event[key] = value;
        assert!(std::panic::catch_unwind(|| check([&event])).is_err(), "{key}");
    }
}

#[test]
fn the_events_of_a_long_story_keep_to_the_schema_here_and_upstream() {
    let mut config = config();
    config.invites.accept = vec!["*".into()];
    let mut w = World::playing(2, config);
    w.qss_says("garbage");
    w.local("hold on");
    w.local("hold off");
    w.local("mute on");
    let digit = w.mixer.press('5');
    w.post_all(digit);
    w.local("transfer bob");
    w.run(5_000);
    w.local("join lobby");
    w.run(5_000);
    for word in ["participantHold", "participantRemoved"] {
        w.qss_says(&format!(
            r#"{{"type":"event","payload":{{"eventName":"{word}","payload":{{"roomId":"{ROOM}","userId":"5da6"}}}}}}"#
        ));
    }
    w.qss_says(r#"{"type":"event","payload":{"eventName":"callTransfer","payload":{"callTransferId":"T","roomId":"nowhere"}}}"#);
    w.qss_says(r#"{"request":"invite","requestID":"I","payload":{"from":"a","room":{"room":"r","sipUri":"sip:1@m"}}}"#);
    w.run(5_000);
    w.qss_says(r#"{"type":"event","payload":{"eventName":"weather","payload":{"sun":true}}}"#);
    w.qss_says(r#"{"type":"event","payload":{"eventName":"expelled","payload":{}}}"#);
    w.run(5_000);
    assert!(check(&w.events) > 40);
    assert!(check(w.qss.events()) > 40);
    let told = |kind: &str| w.events.iter().any(|e| e["event"] == kind);
    let kinds = [
        "participantHold",
        "participantRemoved",
        "transferError",
        "callTransfer",
        "expelled",
        "hold",
        "snapshot",
        "unknown_event",
    ];
    assert!(kinds.iter().all(|kind| told(kind)), "{:?}", w.events.iter().map(|e| &e["event"]).collect::<Vec<_>>());
}

#[test]
fn how_the_mixer_hears_us_keeps_to_the_schema_and_stands_on_the_page() {
    let ptime = Span::from_millis(20);
    let choice =
        Choice { why: Why::Clean, ptime, bitrate: 32_000, expected_loss: 0, redundancy: false, band: Band::Full };
    let known = VoipMetrics { loss_rate: 26, r_factor: 88, mos_lq: 43, mos_cq: 42, ..VoipMetrics::unheard(1) };
    let event = World::playing(1, config()).events_of("snapshot")[0].clone();
    let mut seen = Vec::new();
    for heard in [known, VoipMetrics::unheard(1)] {
        let took = Summary { count: 3, p50_us: 40, p99_us: 90, worst_us: 95, why: histogram::Why::Work };
        let stages = [took; Stage::ALL.len()];
        let stats = Stats { uplink: Some(choice), heard: Some(heard), burst_density: 128, stages, ..Stats::default() };
        let mut event = event.clone();
        event["media"] = serde_json::to_value(Media::from(&stats)).expect("JSON");
        check([&event]);
        let heard = event["media"]["uplink"]["heard"].as_object().expect("an object").clone();
        assert!(heard.keys().all(|key| PAGE.contains(&format!("`{key}`"))), "{heard:?}");
        assert_eq!(event["media"]["burst_density"], 0.5);
        let words = event["media"]["stages"].as_object().expect("an object").keys().collect::<Vec<_>>();
        assert!(
            words.len() == Stage::ALL.len() && words.iter().all(|word| PAGE.contains(&format!("`{word}`"))),
            "{words:?}"
        );
        seen.push(heard);
    }
    assert_eq!((&seen[0]["loss"], &seen[0]["r_factor"], &seen[0]["mos_lq"]), (&0.102.into(), &88.into(), &4.3.into()));
    assert!(!seen[1].contains_key("r_factor") && !seen[1].contains_key("mos_cq"), "not known: {:?}", seen[1]);
}

#[test]
fn the_events_of_storms_keep_to_the_schema() {
    for seed in 1..=3 {
        let mut checked = 0;
        storm::live_and_show(seed, 4, |events| checked += check(events));
        assert!(checked > 300, "{checked} events");
    }
}
