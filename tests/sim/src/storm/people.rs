//! What people do, near the device and far from it: they call, page, press buttons, move, mute and expel, revoke and update.

use super::faults::door;
use crate::idp::Manner;
use crate::invariants::{PAGER, RINGER, STRANGER, STRANGERS_ROOM};
use crate::qss::Door;
use crate::{ROOM, World, addr};
use qss_endpoint::agent::Input;
use qss_endpoint::random::Rng;
use serde_json::json;

/// The button of the device: where it is, and the number of its key.
pub(super) const BUTTON: (&str, u16) = ("/dev/input/button", 169);

/// Somebody does something, or nobody does.
pub(super) fn act(w: &mut World, chance: &mut Rng) -> Option<&'static str> {
    let press = |w: &mut World, line| w.input(Input::Local { client: 1, line });
    Some(match chance.below(40) {
        0 => {
            press(w, "call ann bob");
            "call of our own"
        }
        1 => {
            w.input(Input::Pressed { device: BUTTON.0, code: BUTTON.1 });
            "button"
        }
        2 => {
            press(w, "call bob eve mute");
            "call that nobody answers"
        }
        3 => {
            press(w, "create");
            press(w, "invite ann");
            "room of our own"
        }
        4 => {
            press(w, ["hangup", "destroy"][chance.below(2) as usize]);
            "end of a call of our own"
        }
        5 => {
            says_invite(w, &format!("FIRE{}", chance.next_u32()), PAGER);
            "emergency"
        }
        6 | 7 => {
            says_invite(w, &chance.request_id(), RINGER);
            "it rings"
        }
        8 => {
            press(w, ["answer", "reject"][chance.below(2) as usize]);
            "what rings is answered"
        }
        9 => {
            let from = ["visitor", STRANGER][chance.below(2) as usize];
            let id = chance.request_id();
            let payload = json!({"id": id, "from": from, "to": "lobby"});
            w.qss_says(&json!({"request": "inviteRequest", "requestID": id, "payload": payload}).to_string());
            "somebody asks to be invited"
        }
        10 | 11 => {
            for status in ["IN_CALL", "GONE"] {
                let payload = json!({"userId": "ann", "status": status});
                let event = json!({"eventName": "participant", "payload": payload});
                w.qss_says(&json!({"type": "event", "payload": event}).to_string());
            }
            "the other hangs up"
        }
        12 => {
            let name = ["expelled", "destroyed"][chance.below(2) as usize];
            let here = w.events.last().and_then(|event| event["room"]["id"].as_str()).unwrap_or(ROOM).to_owned();
            if name == "destroyed" && here.starts_with("created") {
                w.qss.rooms.remove(&here);
            }
            let event = json!({"eventName": name, "payload": {"room": here}});
            w.qss_says(&json!({"type": "event", "payload": event}).to_string());
            "sent away from where it is"
        }
        13 => {
            let revoked = w.idp.revoke();
            w.qss.revoked.extend(revoked);
            w.hang_up_link(4401);
            "session and token revoked"
        }
        14 => {
            w.hang_up_link(4401);
            "session revoked"
        }
        15 => {
            w.idp.manner =
                [Manner::Grant, Manner::Refuse(401), Manner::Refuse(503), Manner::Silent][chance.below(4) as usize];
            "token server"
        }
        16 => {
            w.stop_and_start_device();
            "device updated"
        }
        17 => {
            w.restart_device_without_memory();
            "device replaced"
        }
        18 => {
            if chance.below(2) == 0 {
                w.address = addr(&format!("127.0.1.{}:0", 1 + chance.below(9))).ip();
            }
            for _ in 0..=chance.below(4) {
                w.input(Input::LinkUp);
            }
            "network comes up"
        }
        19 => {
            w.qss.tongueless = chance.below(2) == 0;
            "qss does and does not answer"
        }
        20 => {
            let name = ["destroyRoom", "leaveRoom", "invite", "getCurrentInvitations"][chance.below(4) as usize];
            w.qss.refuse.insert(name.into(), ([500, 0][chance.below(2) as usize], "no"));
            "requests refused"
        }
        21 => {
            w.qss.door = Door::Slow(chance.below(20_000));
            "qss is slow to let in"
        }
        22 => {
            w.qss.door = door(chance);
            w.hang_up_link(1012);
            "qss overloaded"
        }
        23 => {
            w.qss.door = Door::Open;
            "qss lets in"
        }
        24 => {
            press(w, "swap");
            "another call goes on"
        }
        _ => return None,
    })
}

fn says_invite(w: &mut World, id: &str, from: &str) {
    // All pages are into one room.
    let number = if from == PAGER { "" } else { id };
    let uri = format!("sip:112{from}{number}@audiomixer-sfu1:5080");
    let room = json!({"uuid": format!("room of {from}{number}"), "sipUri": uri});
    let payload = json!({"id": id, "from": from, "room": room});
    w.qss_says(&json!({"request": "invite", "requestID": id, "payload": payload}).to_string());
}

/// What a person does to a device in a room: at its socket, or from afar.
pub(super) fn person(w: &mut World, chance: &mut Rng) -> &'static str {
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
            let words = ["expelled", "destroyed"][chance.below(2) as usize];
            w.input(Input::QssFrame(&format!(
                r#"{{"type":"event","payload":{{"eventName":"{words}","payload":{{"room":"{ROOM}"}}}}}}"#
            )));
            "sent away"
        }
        _ => {
            w.input(Input::Local { client: 1, line: "join lobby" });
            "let in"
        }
    }
}

/// An invite of alice or of a stranger, half of them withdrawn again, some of those before they come.
pub(super) fn invite(w: &mut World, chance: &mut Rng) {
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

/// Others move the device: blind or attended, to rooms that are and are not, some taken back; or it moves others.
pub(super) fn transfer(w: &mut World, chance: &mut Rng) {
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
pub(super) fn participants(w: &mut World, chance: &mut Rng) {
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
