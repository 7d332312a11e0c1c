//! Seeded lives of one device: hours of trouble and calm, in turns. Whatever happened, once it is over audio is back
//! within [`RECOVERY`] and stays; what must hold always is checked at each step (see [`crate::invariants`]).

use crate::invariants::{STRANGER, STRANGERS_ROOM};
use crate::mixer::Manner;
use crate::qss::Door;
use crate::{DEVICE, MIXER, ROOM, SIP_URI, World, addr, config, memory};
use qss_endpoint::agent::{Input, LinkError, LinkErrorKind};
use qss_endpoint::config::{Config, Room, RoomTarget};
use qss_endpoint::media::command::{CardError, CardEvent, Event, Words};
use qss_endpoint::random::Rng;
use qss_endpoint::sip::transport::Flow;
use qss_endpoint::time::{Span, Time};
use std::collections::BTreeMap;

/// How long after the last fault audio must be back: the longest `Retry-After` of the simulation, the longest pauses
/// of QSS and room, a lost INVITE's patience, and the time to notice a dead link or a dead mixer.
pub const RECOVERY: Span = Span::from_secs(240);
/// A device that sounds in its second room goes back to the first once that has been possible for long enough; the more
/// often it failed, the longer.
const HOME: Span = Span::from_secs(6_000);
/// For so long nothing of the past may come up again.
const AFTERMATH: Span = Span::from_secs(120);

/// What one life had in it.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// Of the device.
    pub lived: Span,
    pub faults: BTreeMap<&'static str, u64>,
    /// Inputs, wake-ups and deliveries after each of which everything was checked.
    pub steps: u64,
    pub worst_recovery: Span,
    /// Most that the agent held; 0 if nobody counts.
    pub most_bytes: i64,
}

/// Lives through `hours`. Panics, naming the seed, when something that must hold does not.
pub fn live(seed: u64, hours: u64) -> Life {
    live_and_show(seed, hours, |_| {})
}

/// The same, and the events of the device's last process are shown after each calm.
pub fn live_and_show(seed: u64, hours: u64, mut show: impl FnMut(&[serde_json::Value])) -> Life {
    memory::reset();
    let mut chance = Rng::from_u64(seed ^ 0x5151);
    let mut world = World::started(seed, policy(&mut chance));
    world.mixer.insists = chance.below(2) == 0;
    let born = world.now;
    let end = born + Span::from_secs(hours * 3_600);
    let mut life = Life::default();
    while world.now < end {
        trouble(&mut world, &mut chance, &mut life.faults);
        let healed = heal(&mut world);
        world.run_until(RECOVERY.as_millis(), |w| w.rung() == "playing");
        let recovery = world.now.since(healed);
        life.worst_recovery = life.worst_recovery.max(recovery);
        let in_yard = |w: &World| w.events_of("ladder").last().is_some_and(|event| event["room"]["name"] == "yard");
        if in_yard(&world) {
            world.run_until(HOME.as_millis(), |w| !in_yard(w) && w.rung() == "playing");
        }
        calm(&mut world, chance.below(1_800_000));
        show(&world.events);
    }
    life.lived = world.now.since(born);
    life.steps = world.watch.steps;
    life.most_bytes = world.watch.most_bytes;
    life
}

/// What this device is configured to do.
fn policy(chance: &mut Rng) -> Config {
    let mut config = config();
    let lobby = |target| Room::new("lobby", target);
    config.rooms = match chance.below(6) {
        0 => vec![lobby(RoomTarget::SipUri(SIP_URI.into()))],
        1 => vec![lobby(RoomTarget::Create)],
        2 => vec![
            lobby(RoomTarget::Id(ROOM.into())),
            Room::new("yard", RoomTarget::SipUri("sip:777@audiomixer-sfu1:5080".into())),
        ],
        _ => vec![lobby(RoomTarget::Id(ROOM.into()))],
    };
    config.invites.accept = if chance.below(4) == 0 { Vec::new() } else { vec!["alice".into()] };
    config.invites.replaces_call = chance.below(2) == 0;
    config.audio.mute_at_start = chance.below(4) == 0;
    config.status.heartbeat = Span::from_secs(60 * chance.below(3));
    config
}

fn trouble(w: &mut World, chance: &mut Rng, faults: &mut BTreeMap<&'static str, u64>) {
    for _ in 0..5 + chance.below(30) {
        let name = fault(w, chance);
        *faults.entry(name).or_default() += 1;
        let most = 1 << chance.below(17);
        w.run(chance.below(most));
    }
}

/// Nothing is wrong, and nothing may go wrong: no attempt of any kind, the call of the beginning still there.
fn calm(w: &mut World, ms: u64) {
    let seed = w.seed;
    w.run(AFTERMATH.as_millis());
    assert_eq!(w.rung(), "playing", "seed {seed}: audio came back and went again");
    assert_eq!(w.mixer.confirmed_calls(), 1, "seed {seed}: calls at the mixer");
    let before = (w.connects.len(), w.mixer.invites());
    w.run(ms);
    assert_eq!(w.rung(), "playing", "seed {seed}: audio went in perfect calm");
    assert_eq!((w.connects.len(), w.mixer.invites()), before, "seed {seed}: attempts in perfect calm");
    // What the parties wrote down is not needed any more.
    w.qss.log.clear();
    w.mixer.log.clear();
    w.voice.commands.clear();
    w.connects.clear();
}

/// Every fault ends, and a person lets the device back in where it was sent away. The moment it is done.
fn heal(w: &mut World) -> Time {
    w.qss.up = true;
    w.qss.mute = false;
    w.qss.door = Door::Open;
    w.qss.refuse.clear();
    w.mixer.up = true;
    w.mixer.manner = Manner::Answer;
    w.mixer.pause(false);
    w.net = crate::net::Net::default();
    w.input(Input::Local { client: 1, line: "join lobby" });
    w.input(Input::Local { client: 1, line: "hold off" });
    w.now
}

fn fault(w: &mut World, chance: &mut Rng) -> &'static str {
    match chance.below(31) {
        0 => {
            w.kill_qss(Some(LinkErrorKind::Closed(1006)));
            "qss dies"
        }
        1 => {
            w.kill_qss(None);
            "qss vanishes"
        }
        2 => {
            w.kill_qss(Some(LinkErrorKind::Closed(1012)));
            w.qss.up = true;
            "qss restarts with memory"
        }
        3 => {
            w.kill_qss(Some(LinkErrorKind::Closed(1012)));
            w.qss.up = true;
            w.qss.forget_rooms();
            "qss restarts without memory"
        }
        4 => {
            w.qss.up = true;
            w.qss.mute = false;
            "qss returns"
        }
        5 => {
            w.qss.mute = true;
            "qss falls silent"
        }
        6 => {
            w.qss.door = door(chance);
            "qss refuses links"
        }
        7 => {
            w.qss.door = Door::Revolving(chance.below(2_000));
            w.kill_qss(Some(LinkErrorKind::Closed(1001)));
            w.qss.up = true;
            "qss flaps"
        }
        8 => {
            let code = [403, 404, 500, 501, 0][chance.below(5) as usize];
            w.qss.refuse.insert(["joinRoom", "createRoom"][chance.below(2) as usize].into(), (code, "no"));
            "rooms refused"
        }
        9 => {
            w.qss.refuse.insert("register".into(), ([401, 500, 0][chance.below(3) as usize], "no"));
            "registration refused"
        }
        10 => {
            w.net.black_hole = chance.below(2) == 0;
            "black hole"
        }
        11 => {
            w.net.qss_jitter = chance.below(15_000);
            "slow qss"
        }
        12 => {
            w.net.qss_doubles = chance.below(60);
            "doubled messages"
        }
        13 => {
            w.net.sip_loss = chance.below(60);
            "sip lost"
        }
        14 => {
            w.net.sip_jitter = chance.below(1_500);
            "sip late and out of order"
        }
        15 => {
            w.net.sip_doubles = chance.below(60);
            "sip doubled"
        }
        16 => {
            w.mixer.kill();
            "mixer dies"
        }
        17 => {
            w.mixer.up = true;
            "mixer returns"
        }
        18 => {
            w.mixer.manner = match chance.below(7) {
                0 => Manner::Refuse(503),
                1 => Manner::Refuse(404),
                2 => Manner::Refuse(486),
                3 => Manner::AnswerThenBye,
                4 => Manner::AnswerSilently,
                _ => Manner::Answer,
            };
            "mixer's manner"
        }
        19 => {
            w.mixer_hangs_up();
            "mixer hangs up"
        }
        20 => {
            w.mixer.pause(chance.below(2) == 0);
            "mixer sends nothing"
        }
        21 => {
            for _ in 0..1 << chance.below(7) {
                invite(w, chance);
            }
            "storm of invites"
        }
        22 => {
            garbage(w, chance);
            "garbage"
        }
        23 => {
            w.restart_device();
            "device restarts"
        }
        24 => {
            let decades = chance.below(60_000_000_000) as i64 * 60;
            w.wall_error = if chance.below(2) == 0 { decades / 100 } else { -decades / 100 };
            "clock steps"
        }
        25 => {
            // Everything is late by as much.
            w.now += Span::from_millis(chance.below(90_000));
            "device sleeps"
        }
        26 => {
            w.voice_trouble(chance);
            "sound card"
        }
        27 => {
            transfer(w, chance);
            "transfers"
        }
        28 => {
            participants(w, chance);
            "storm of participants"
        }
        29 => {
            let line = if chance.below(3) == 0 { "hold off" } else { "hold on" };
            w.input(Input::Local { client: 1, line });
            "hold"
        }
        _ => person(w, chance),
    }
}

/// Others move the device: blind or attended, to rooms that are and are not, some taken back; or it moves others.
fn transfer(w: &mut World, chance: &mut Rng) {
    let id = chance.request_id();
    let number = chance.below(1_000);
    let (room, uri) = (format!("t{number}"), format!("sip:999{number:03}@audiomixer-sfu1:5080"));
    if chance.below(2) == 0 {
        w.qss.rooms.insert(room.clone(), crate::qss::room(&room, &uri));
    }
    match chance.below(4) {
        0 => w.qss_says(&format!(
            r#"{{"type":"event","payload":{{"eventName":"callTransfer","payload":{{"callTransferId":"{id}","roomId":"{room}","to":"bob"}}}}}}"#
        )),
        1 => {
            w.input(Input::Local { client: 1, line: "transfer bob" });
            if chance.below(2) == 0 {
                w.qss_says(r#"{"type":"event","payload":{"eventName":"transferError","payload":{"code":486}}}"#);
            }
        }
        _ => {
            w.qss_says(&format!(
                r#"{{"request":"transferring-attended-transfer","requestID":"{id}","payload":{{"targetUserId":"bob","targetRoom":{{"roomId":"{room}","sipUri":"{uri}"}}}}}}"#
            ));
            w.run(chance.below(300));
            if chance.below(2) == 0 {
                w.qss_says(&format!(r#"{{"cancel":"transferring-attended-transfer","requestID":"{id}","error":487}}"#));
            }
        }
    }
    w.run(chance.below(3_000));
    w.qss.rooms.remove(&room);
}

/// Crowds come, go and hold; now and then the device itself is said to be gone.
fn participants(w: &mut World, chance: &mut Rng) {
    let users: Vec<String> = (0..chance.below(2_000)).map(|n| format!(r#""user{n:05}""#)).collect();
    w.qss_says(&format!(
        r#"{{"type":"event","payload":{{"eventName":"participants","payload":{{"participants":[{}]}}}}}}"#,
        users.join(",")
    ));
    for _ in 0..1 << chance.below(8) {
        let user = if chance.below(50) == 0 { "lobby".to_owned() } else { format!("user{:05}", chance.below(3_000)) };
        let status = ["IN_CALL", "HOLD", "GONE"][chance.below(3) as usize];
        w.input(Input::QssFrame(&format!(
            r#"{{"type":"event","payload":{{"eventName":"participant","payload":{{"userId":"{user}","status":"{status}"}}}}}}"#
        )));
    }
}

fn door(chance: &mut Rng) -> Door {
    let kinds = [
        LinkErrorKind::Dns,
        LinkErrorKind::Refused,
        LinkErrorKind::Unreachable,
        LinkErrorKind::TlsWrongDate,
        LinkErrorKind::TlsOther,
        LinkErrorKind::Http(401),
        LinkErrorKind::Http(429),
        LinkErrorKind::Http(503),
    ];
    let kind = kinds[chance.below(8) as usize];
    let retry_after = match kind {
        LinkErrorKind::Http(_) if chance.below(2) == 0 => Some(chance.below(30) as u32),
        _ => None,
    };
    Door::Shut(LinkError { kind, detail: String::new(), retry_after })
}

/// An invite of alice or of a stranger, half of them withdrawn again, some of those before they come.
fn invite(w: &mut World, chance: &mut Rng) {
    let id = chance.request_id();
    let number = chance.below(1_000);
    let (from, uri) = match chance.below(2) {
        0 => ("alice", format!("sip:888{number:03}@audiomixer-sfu1:5080")),
        _ => (STRANGER, format!("{STRANGERS_ROOM}{number:03}@audiomixer-sfu1:5080")),
    };
    let invite = format!(
        r#"{{"request":"invite","requestID":"{id}","payload":{{"from":"{from}","room":{{"room":"r{number}","sipUri":"{uri}"}}}}}}"#
    );
    let withdrawal = format!(r#"{{"cancel":"invite","requestID":"{id}","error":487}}"#);
    match chance.below(4) {
        0 => {
            w.qss_says(&withdrawal);
            w.qss_says(&invite);
        }
        1 => {
            w.qss_says(&invite);
            w.run(chance.below(300));
            w.qss_says(&withdrawal);
        }
        _ => w.qss_says(&invite),
    }
}

/// Noise, and messages that are nearly right.
fn garbage(w: &mut World, chance: &mut Rng) {
    let mut frame =
        format!(r#"{{"answer":"joinRoom","requestID":"{}","payload":{{"sipUri":"{SIP_URI}"}}}}"#, chance.request_id())
            .into_bytes();
    let mut datagram = format!(
        "BYE sip:endpoint@{DEVICE} SIP/2.0\r\nVia: SIP/2.0/UDP {MIXER};branch=z9hG4bK{}\r\nFrom: <sip:x@y>;tag=1\r\n\
         To: <sip:endpoint@{DEVICE}>;tag=2\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        chance.hex(8),
        chance.hex(8)
    )
    .into_bytes();
    for bytes in [&mut frame, &mut datagram] {
        for _ in 0..chance.below(12) {
            let at = chance.below(bytes.len() as u64) as usize;
            bytes[at] = chance.next_u32() as u8;
        }
    }
    w.qss_says(&String::from_utf8_lossy(&frame));
    w.qss_says(&chance.hex(40));
    let from = if chance.below(2) == 0 { addr(MIXER) } else { addr("192.0.2.7:5060") };
    w.input(Input::Sip { flow: Flow::udp(from), bytes: &datagram });
}

/// What a person does to the device: at its socket, or from a room.
fn person(w: &mut World, chance: &mut Rng) -> &'static str {
    match chance.below(6) {
        0 => {
            w.input(Input::Local { client: 1, line: "mute on" });
            "muted"
        }
        1 => {
            w.input(Input::Local { client: 1, line: "mute off" });
            w.watch.unmuted();
            "unmuted"
        }
        2 => {
            for muted in ["true", "false"] {
                w.qss_says(&format!(
                    r#"{{"type":"event","payload":{{"eventName":"mute-request","payload":{{"muted":{muted}}}}}}}"#
                ));
            }
            "muted from afar"
        }
        3 => {
            w.input(Input::Local { client: 1, line: "hangup" });
            "hung up"
        }
        4 => {
            let in_lobby = w.rung() == "playing" && w.mixer.last_invite.starts_with(&format!("INVITE {SIP_URI} "));
            let words = ["expelled", "destroyed"][chance.below(2) as usize];
            w.input(Input::QssFrame(&format!(
                r#"{{"type":"event","payload":{{"eventName":"{words}","payload":{{"room":"{ROOM}"}}}}}}"#
            )));
            if in_lobby && w.voice.stream.is_none() {
                w.watch.barred = Some(SIP_URI.to_owned());
            }
            "sent away"
        }
        _ => {
            w.input(Input::Local { client: 1, line: "join lobby" });
            "let in"
        }
    }
}

impl World {
    fn voice_trouble(&mut self, chance: &mut Rng) {
        let Some(stream) = self.voice.stream else { return };
        let call = stream.call;
        self.input(Input::Media(Event::Card(CardEvent::Lost { error: CardError::Absent, words: Words::NONE })));
        self.input(Input::Media(Event::NotPlaying { call }));
        self.input(Input::Media(Event::NotSending { call }));
        let away = Span::from_millis(chance.below(20_000));
        self.run(away.as_millis());
        if self.voice.stream.is_some_and(|stream| stream.call == call) {
            self.input(Input::Media(Event::Card(CardEvent::Returned { away })));
            self.input(Input::Media(Event::Sending { call }));
            self.input(Input::Media(Event::Playing { call }));
        }
    }
}
