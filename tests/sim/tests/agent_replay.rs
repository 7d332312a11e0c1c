//! Every sample of docs/qss.md that the QSS says is replayed into the agent, and what it is for happens: a reply comes
//! under the id of a request that the agent has just made, and under another id it does nothing. What the device says
//! itself is held against what it really sends.

use qss_endpoint::config::{Caller, CallerAction, Config, Room, RoomTarget, Secret};
use qss_endpoint::qss::message::Frame;
use qss_endpoint::time::Span;
use serde_json::Value;
use sim::{SIP_URI, World, config};
use std::collections::BTreeMap;

/// What the device says, by the key of its sample: [`samples`].
const OWN: [&str; 31] = [
    "request register 1",
    "request unregister 1",
    "request ping 1",
    "request createRoom 1",
    "request createRoom 2",
    "request joinRoom 1",
    "request joinRoom 2",
    "request joinRoom 3",
    "request leaveRoom 1",
    "request leaveRoom 2",
    "request destroyRoom 1",
    "request getRooms 1",
    "request addParticipants 1",
    "request removeParticipants 1",
    "request invite 2",
    "request invite 3",
    "request inviteRequest 2",
    "request getCurrentInvitations 1",
    "request mute 1",
    "request mute 2",
    "request hold 1",
    "request callTransfer 1",
    "request acceptCallTransfer 1",
    "request attended-transfer 1",
    "answer invite 1",
    "cancel invite 1",
    "cancel invite 4",
    "cancel callTransfer 1",
    "answer endpointSnapshot 1",
    "cancel whiteboard 1",
    "event endpointStatus 1",
];

/// What a sample of the QSS is for.
struct Story {
    /// The device before it comes.
    world: fn() -> World,
    /// It is a reply to the last request of this name.
    replies_to: Option<&'static str>,
    /// It was understood: true with it, and false without.
    effect: fn(&mut World) -> bool,
}

/// The samples of the page by what they are: kind, name, and which of these in the order of the page.
fn samples() -> BTreeMap<String, Value> {
    let page = include_str!("../../../docs/qss.md");
    let texts = page.split("```json\n").skip(1).map(|rest| rest.split("\n```").next().expect("a closed fence"));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for text in texts {
        let sample: Value = serde_json::from_str(text).expect("JSON");
        let kind = ["request", "answer", "cancel"].into_iter().find(|kind| sample[*kind].is_string());
        let key = match kind {
            Some(kind) => format!("{kind} {}", sample[kind].as_str().expect("a name")),
            None => format!("event {}", sample["payload"]["eventName"].as_str().expect("a name")),
        };
        let count = counts.entry(key.clone()).or_default();
        *count += 1;
        samples.insert(format!("{key} {count}"), sample);
    }
    samples
}

fn story(key: &str) -> Option<Story> {
    let event = |world, effect| Some(Story { world, replies_to: None, effect });
    let reply = |world, name, effect| Some(Story { world, replies_to: Some(name), effect });
    match key {
        "answer register 1" => reply(unregistered, "register", |w| {
            w.run(100);
            w.rung() != "offline"
        }),
        "cancel register 1" => reply(unregistered, "register", |w| has_cause(w, "qss_unauthorized")),

        "answer ping 1" => reply(pinging, "ping", |w| is_settled(w, "ping")),

        "answer createRoom 1" | "answer createRoom 2" => reply(making_a_room, "createRoom", |w| calls(w, SIP_URI)),
        "cancel joinRoom 1" => reply(joining, "joinRoom", |w| has_cause(w, "room_forbidden")),
        "cancel joinRoom 2" => reply(joining_a_meeting, "joinRoom", |w| has_cause(w, "room_too_early")),
        // Either means that we are out: nothing is said again.
        "cancel leaveRoom 1" | "answer leaveRoom 1" => reply(leaving, "leaveRoom", |w| is_settled(w, "leaveRoom")),
        "answer getRooms 1" => reply(asking_for_rooms, "getRooms", |w| is_settled(w, "getRooms")),

        "event participant 1" => event(playing, |w| tells(w, "participantAdded", "userId", "bob")),
        "event participants 1" => event(playing, |w| {
            tells(w, "participantHold", "userId", "bob") && tells(w, "participantAdded", "userId", "alice")
        }),
        "event roomUpdated 1" => event(playing, |w| tells(w, "participantAdded", "userId", "bob")),
        "event participantRemoved 1" => event(with_bob, |w| tells(w, "participantRemoved", "userId", "bob")),
        "event activeSpeaker 1" => event(playing, |w| tells(w, "activeSpeaker", "userId", "bob")),

        "request invite 1" => event(open_to_all, |w| {
            w.run(3_000);
            w.rung() == "playing" && w.qss.replies_to("INV1") == [&samples()["answer invite 1"]]
        }),
        "request invitation 1" => event(open_to_all, |w| {
            w.run(3_000);
            w.rung() == "playing" && w.qss.replies_to("INV2").iter().any(|reply| reply["answer"] == "invitation")
        }),
        "cancel invite 2" => event(ringing, |w| tells(w, "invite", "outcome", "withdrawn")),
        "answer invite 2" | "answer invite 3" => reply(calling_bob, "invite", |w| tells(w, "call", "step", "answered")),
        "cancel invite 3" => reply(calling_bob, "invite", |w| tells(w, "call", "outcome", "not_connected")),
        "request inviteRequest 1" => event(open_to_all, |w| {
            w.run(3_000);
            let invited = w.qss.requests("invite").iter().any(|invite| invite["payload"]["requestId"] == "REQ1");
            invited && w.qss.replies_to("REQ1").iter().any(|reply| reply["answer"] == "inviteRequest")
        }),
        "answer getCurrentInvitations 1" => reply(asking_for_invites, "getCurrentInvitations", |w| {
            w.qss.replies_to("INV1").len() == 1 && w.qss.replies_to("INV2").len() == 1
        }),

        "event mute-request 1" => event(playing, |w| w.voice.muted && tells(w, "muteRequest", "event", "muteRequest")),
        "event mute 1" => event(with_bob, |w| tells(w, "muteChange", "userId", "bob")),

        "event callTransfer 1" => event(playing, |w| {
            w.run(3_000);
            w.qss.requests("acceptCallTransfer").len() == 1 && tells(w, "callTransfer", "state", "DONE")
        }),
        "event callTransfer 2" => event(playing, |w| tells(w, "callTransfer", "state", "ACCEPTED")),
        "event transferError 1" => event(transferring, |w| has_cause(w, "transfer_refused")),
        "request transferring-attended-transfer 1" => event(playing, |w| {
            w.run(3_000);
            calls(w, "sip:88826777034@audiomixer-sfu1:5080") && tells(w, "callTransfer", "state", "DONE")
        }),
        "cancel transferring-attended-transfer 1" => event(being_moved, |w| {
            w.mixer.up = true;
            w.run(40_000);
            tells(w, "callTransfer", "state", "CANCELED") && w.watch.room() == "lobby" && w.rung() == "playing"
        }),
        "answer attended-transfer 1" => reply(moving_eve, "attended-transfer", |w| {
            tells(w, "callTransfer", "state", "DONE") && w.mixer.confirmed_calls() == 0
        }),

        "event expelled 1" => event(playing, |w| {
            w.run(100);
            !w.events_of("expelled").is_empty() && w.rung() == "session"
        }),
        "request destroyRoom 2" => event(playing, |w| {
            w.run(100);
            !w.events_of("destroyed").is_empty() && w.rung() == "session"
        }),
        "request endpointSnapshot 1" => event(playing, |w| {
            w.run(1_000);
            let before = playing().events_of("snapshot").len();
            w.events_of("snapshot").len() > before
                && w.qss.replies_to("S1") == [&samples()["answer endpointSnapshot 1"]]
        }),
        "request whiteboard 1" => event(playing, |w| w.qss.replies_to("U1") == [&samples()["cancel whiteboard 1"]]),
        _ => None,
    }
}

#[test]
fn every_sample_of_the_server_does_what_it_is_for() {
    let mut replayed = 0;
    for (key, sample) in samples() {
        let Some(Story { world, replies_to, effect }) = story(&key) else {
            assert!(OWN.contains(&key.as_str()), "{key}: of the QSS, and not replayed");
            continue;
        };
        assert!(!OWN.contains(&key.as_str()), "{key}: who says it?");
        // A reply to a question that nobody has asked is none; anything else does not come at all.
        let mut w = world();
        if replies_to.is_some() {
            w.qss_says(&under("of-nobody-anywhere-00", &sample));
        }
        assert!(!effect(&mut w), "{key}: the effect is there without it");

        let mut w = world();
        let text = match replies_to {
            Some(name) => under(&id_of(&w, name), &sample),
            None => sample.to_string(),
        };
        w.qss_says(&text);
        assert!(effect(&mut w), "{key}: not understood: {:?}", w.events.last());
        let unknown = w.events_of("problem");
        assert!(unknown.is_empty() || key == "request whiteboard 1", "{key}: {unknown:?}");
        if let Ok(Frame::Request { id, .. }) = Frame::parse(&text, 262_144) {
            assert_eq!(w.qss.replies_to(&id).len(), 1, "{key}: a request is always answered");
        }
        replayed += 1;
    }
    assert!(replayed >= 31, "{replayed} samples");
}

/// What else the device says is what the page shows.
#[test]
fn what_the_device_replies_and_takes_back_is_its_sample() {
    let samples = samples();
    let mut w = playing();
    w.qss_says(&samples["request invite 1"].to_string());
    assert_eq!(w.qss.replies_to("INV1"), [&samples["cancel invite 1"]], "nobody may invite");

    let mut w = calling_bob();
    let id = id_of(&w, "invite");
    w.local("hangup");
    assert_eq!(w.qss.replies_to(&id)[0].to_string(), under(&id, &samples["cancel invite 4"]));

    let mut w = transferring();
    let id = id_of(&w, "callTransfer");
    w.local("transfer cancel");
    assert_eq!(w.qss.replies_to(&id)[0].to_string(), under(&id, &samples["cancel callTransfer 1"]));
}

// --- devices --------------------------------------------------------------------------------------------------------------

fn playing() -> World {
    let mut w = World::playing(1, config());
    w.qss.rooms.insert("6d3fa58b".into(), sim::qss::room("6d3fa58b", "sip:88826777034@audiomixer-sfu1:5080"));
    w.run(2_000);
    w
}

fn with_bob() -> World {
    let mut w = playing();
    w.qss_says(&samples()["event participant 1"].to_string());
    w.run(2_000);
    w
}

/// A QSS that never replies to requests of this name.
fn asking(name: &str, config: Config) -> World {
    let mut w = World::new(1, config);
    w.qss.refuse.insert(name.into(), (0, ""));
    w.start();
    w.run(1_000);
    w
}

fn unregistered() -> World {
    asking("register", config())
}

/// Long before the next ping.
fn pinging() -> World {
    let mut config = config();
    config.qss.json_ping_interval = Span::from_secs(100);
    let mut w = asking("ping", config);
    w.run_until(110_000, |w| w.qss.requests("ping").len() == 1);
    w
}

fn in_a(target: RoomTarget) -> Config {
    let mut config = config();
    config.rooms = vec![Room::new("lobby", target)];
    config
}

fn making_a_room() -> World {
    asking("createRoom", in_a(RoomTarget::Create { record: false }))
}

fn joining() -> World {
    asking("joinRoom", config())
}

fn joining_a_meeting() -> World {
    asking("joinRoom", in_a(RoomTarget::Meeting { id: "standup".into(), password: Secret("open sesame".into()) }))
}

fn leaving() -> World {
    let mut w = playing();
    w.qss.refuse.insert("leaveRoom".into(), (0, ""));
    w.local("hangup");
    w
}

fn asking_for_rooms() -> World {
    asking("getRooms", config())
}

fn asking_for_invites() -> World {
    asking("getCurrentInvitations", config())
}

/// In no room, and whoever wants to talk to the device may.
fn open_to_all() -> World {
    let mut config = config();
    config.rooms.clear();
    config.invites.accept = vec!["*".into()];
    config.invites.requests = vec!["*".into()];
    let mut w = World::started(1, config);
    w.run(1_000);
    w
}

/// Alice's invite rings.
fn ringing() -> World {
    let mut config = config();
    config.invites.callers = vec![Caller { from: vec!["alice".into()], does: CallerAction::Ring, ..Caller::default() }];
    config.rooms.clear();
    let mut w = World::started(1, config);
    w.run(1_000);
    w.qss_says(&samples()["request invite 1"].to_string());
    w
}

fn calling_bob() -> World {
    let mut w = playing();
    w.qss.refuse.insert("invite".into(), (0, ""));
    w.local("call bob");
    w.run_until(5_000, |w| w.qss.requests("invite").len() == 1);
    w
}

fn transferring() -> World {
    let mut w = playing();
    w.qss.refuse.insert("callTransfer".into(), (0, ""));
    w.local("transfer bob");
    w
}

fn moving_eve() -> World {
    let mut w = playing();
    w.qss.refuse.insert("attended-transfer".into(), (0, ""));
    w.local("transfer bob eve");
    w
}

/// On its way to another room, where the mixer does not answer yet.
fn being_moved() -> World {
    let mut w = playing();
    w.mixer.up = false;
    w.qss_says(&samples()["request transferring-attended-transfer 1"].to_string());
    w
}

// --- looking --------------------------------------------------------------------------------------------------------------

fn id_of(w: &World, name: &str) -> String {
    let asked = w.qss.requests(name);
    asked.last().unwrap_or_else(|| panic!("{name} was not asked"))["requestID"].as_str().expect("an id").to_owned()
}

fn under(id: &str, sample: &Value) -> String {
    let mut sample = sample.clone();
    sample["requestID"] = id.into();
    sample.to_string()
}

fn tells(w: &World, kind: &str, key: &str, value: &str) -> bool {
    w.events_of(kind).iter().any(|event| event[key] == value)
}

fn has_cause(w: &World, code: &str) -> bool {
    w.causes().contains(&code)
}

fn calls(w: &mut World, uri: &str) -> bool {
    w.run(1_000);
    w.mixer.last_invite.starts_with(&format!("INVITE {uri} "))
}

/// It is not asked again.
fn is_settled(w: &mut World, name: &str) -> bool {
    let asked = w.qss.requests(name).len();
    w.run(30_000);
    w.qss.requests(name).len() == asked
}
