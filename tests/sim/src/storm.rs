//! Seeded lives of one device: hours of trouble and calm, in turns. Whatever happened, once it is over audio is back
//! within [`RECOVERY`] and stays; what must hold always is checked at each step (see [`crate::invariants`]).
//!
//! Trouble is what happens by itself ([`faults`]) and what people do meanwhile ([`people`]).

mod faults;
mod people;

use crate::idp;
use crate::invariants::{PAGER, RINGER, STRANGER};
use crate::mixer::Manner;
use crate::qss::Door;
use crate::{ROOM, SIP_URI, World, config, memory};
use faults::fault;
use people::act;
use qss_endpoint::agent::Input;
use qss_endpoint::config::{Button, Caller, CallerAction, Config, RequestRoom, Room, RoomTarget};
use qss_endpoint::random::Rng;
use qss_endpoint::time::Span;
use std::collections::BTreeMap;

/// How long after the last fault audio must be back: the longest `Retry-After` of the simulation, the longest pauses
/// of QSS and room, a lost INVITE's patience, and the time to notice a dead link or a dead mixer.
pub const RECOVERY: Span = Span::from_secs(240);
/// A device that sounds in its second room goes back to the first once that has been possible for long enough; the more
/// often it failed, the longer.
const HOME: Span = Span::from_secs(6_000);
/// Calls that come after one another when each ends: what was interrupted is gone back to.
const CALLS_AT_MOST: u32 = 4;
/// The latest that a slow QSS says something.
const LATEST: Span = Span::from_secs(16);
/// What an agent may hold when nothing has happened for a while: most of it are queues that were full once.
const CALM_BYTES: i64 = 160 * 1_024;
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
    /// How often trouble was over, and how often of these nobody had to help the device.
    pub recoveries: u64,
    pub alone: u64,
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
    // Of their own generator: the faults of a seed stay what they are, whatever people do.
    let mut people = Rng::from_u64(seed ^ 0xca11);
    let mut config = policy(&mut chance, &mut people);
    // Of a generator of its own, too.
    config.calls.limit = 1 + Rng::from_u64(seed ^ 0x2ca1).below(3) as usize;
    let mut world = World::new(seed, config);
    world.mixer.insists = chance.below(2) == 0;
    furnish(&mut world, &mut people);
    world.start();
    let born = world.now;
    let end = born + Span::from_secs(hours * 3_600);
    let mut life = Life::default();
    while world.now < end {
        trouble(&mut world, &mut chance, &mut people, &mut life.faults);
        let healed = world.now;
        heal(&mut world);
        let mut helped = let_in(&mut world);
        helped |= wait(&mut world, RECOVERY, |_| true);
        let recovery = world.now.since(healed);
        life.worst_recovery = life.worst_recovery.max(recovery);
        helped |= go_home(&mut world);
        life.recoveries += 1;
        life.alone += u64::from(!helped);
        calm(&mut world, chance.below(1_800_000));
        show(&world.events);
    }
    life.lived = world.now.since(born);
    life.steps = world.watch.steps;
    life.most_bytes = world.watch.most_bytes;
    life
}

fn is_home(w: &World) -> bool {
    ["lobby", "yard"].contains(&w.watch.room())
}

/// What this device is configured to do.
fn policy(chance: &mut Rng, people: &mut Rng) -> Config {
    let mut config = config();
    let lobby = |target| Room::new("lobby", target);
    config.rooms = match chance.below(6) {
        0 => vec![lobby(RoomTarget::SipUri(SIP_URI.into()))],
        1 => vec![lobby(RoomTarget::Create { record: false })],
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

    let rule = |from: &str, does| Caller { from: vec![from.into()], does, ..Caller::default() };
    config.invites.callers = vec![
        rule(STRANGER, CallerAction::Reject),
        Caller { priority: 9, ..rule(PAGER, CallerAction::Accept) },
        Caller { ring: Span::from_secs(20), decline: people.below(2) == 0, ..rule(RINGER, CallerAction::Ring) },
    ];
    config.invites.requests = vec!["visitor".into()];
    config.invites.request_room = if people.below(2) == 0 { RequestRoom::New } else { RequestRoom::Present };
    config.control.transfer = people.below(4) > 0;
    config.calls.plain.ring = Span::from_secs(5);
    config.calls.plain.total = Span::from_secs(12);
    // Where the QSS is asked for rooms left behind, it hides who forgets them.
    if people.below(2) == 0 {
        config.calls.leftover = Span::ZERO;
    }
    config.buttons = vec![Button {
        device: people::BUTTON.0.into(),
        key: people::BUTTON.1.to_string(),
        does: "call ann bob".into(),
        toggle: people.below(2) == 0,
    }];
    match people.below(4) {
        0 => config.qss.token_file = Some("/run/token".into()),
        1 => {
            config.qss.auth.token_url = Some("https://idp.example/token".into());
            config.qss.auth.register_again = people.below(2) == 0;
        }
        _ => {}
    }
    config
}

/// Who is there, and what they do.
fn furnish(w: &mut World, people: &mut Rng) {
    w.watch.movable = w.config().control.transfer;
    w.qss.sweeps = w.config().calls.leftover > Span::ZERO;
    w.idp.life = [120, 900, 5_400][people.below(3) as usize];
    let habits = [(500, 486), (2_000, 200), (4_900, 200), (300, 603), (0, 0)];
    let mut habit = || habits[people.below(5) as usize];
    w.qss.people = ["ann", "bob", "visitor"].map(|user| (user.to_owned(), habit())).into();
}

fn trouble(w: &mut World, chance: &mut Rng, people: &mut Rng, faults: &mut BTreeMap<&'static str, u64>) {
    for _ in 0..5 + chance.below(30) {
        let names = [Some(fault(w, chance)), act(w, people)];
        for name in names.into_iter().flatten() {
            *faults.entry(name).or_default() += 1;
        }
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
    // A room that the configuration has made stays, no other does.
    let makes = w.config().rooms.iter().filter(|room| matches!(room.target, RoomTarget::Create { .. })).count();
    let left = w.qss.rooms_left();
    assert!(left.len() <= makes, "seed {seed}: rooms of the device are left behind: {left:?}");
    told(w);
    // Nothing waits any more, and what the storm has filled is empty.
    let held = memory::balance();
    assert!(held <= CALM_BYTES, "seed {seed}: the agent holds {held} bytes in perfect calm");
    // What the parties wrote down is not needed any more.
    w.qss.log.clear();
    w.mixer.log.clear();
    w.voice.commands.clear();
    w.connects.clear();
}

/// The QSS has heard every event of the device's present process, or how many it has missed.
fn told(w: &World) {
    let old = |event: &&serde_json::Value| event["mono_ms"].as_u64().is_some_and(|at| at + 60_000 < w.now.as_millis());
    let old = w.events.iter().take_while(old).filter_map(|event| event["seq"].as_u64());
    let missing = old.filter(|seq| !w.qss.heard.contains(seq)).count() as u64;
    assert!(missing <= w.qss.lost, "seed {}: {missing} events are missing, {} were told", w.seed, w.qss.lost);
}

/// Every fault ends, and nothing of them is on its way any more.
fn heal(w: &mut World) {
    w.qss.up = true;
    w.qss.mute = false;
    w.qss.tongueless = false;
    w.idp.manner = idp::Manner::Grant;
    w.qss.door = Door::Open;
    w.qss.refuse.clear();
    w.mixer.up = true;
    w.mixer.manner = Manner::Answer;
    w.mixer.pause(false);
    w.black_hole(false);
    w.net = crate::net::Net::default();
    w.run(LATEST.as_millis());
}

/// Where the device was sent away, or somebody hung up, only a person lets it in. Whether that was so.
fn let_in(w: &mut World) -> bool {
    let away = w.watch.is_away("lobby");
    if away {
        w.input(Input::Local { client: 1, line: "join lobby" });
    }
    away
}

/// Until it plays in the right room. A call that somebody has put on hold is resumed by somebody: whether that was so.
fn wait(w: &mut World, most: Span, right: fn(&World) -> bool) -> bool {
    let is_held = |w: &World| w.watch.may_be_held() && w.voice.stream.is_some_and(|s| !s.send && !s.receive);
    let plays = |w: &World| w.rung() == "playing" && right(w);
    w.run_until(most.as_millis(), |w| plays(w) || is_held(w));
    let held = !plays(w);
    if held {
        w.input(Input::Local { client: 1, line: "hold off" });
        w.run_until(most.as_millis(), plays);
    }
    held
}

/// Calls of another kind, and those that wait on hold, end as they do, by the other side; and from its second room the device goes back to the first.
fn go_home(w: &mut World) -> bool {
    let mut helped = false;
    for _ in 0..CALLS_AT_MOST {
        if is_home(w) && w.watch.open_calls() <= 1 {
            break;
        }
        w.mixer_hangs_up();
        w.run(1_000);
        helped |= wait(w, RECOVERY, |_| true);
    }
    if w.watch.room() == "yard" {
        helped |= wait(w, HOME, |w| w.watch.room() != "yard");
    }
    assert_eq!(w.watch.room(), "lobby", "seed {}: not where it belongs", w.seed);
    helped
}
