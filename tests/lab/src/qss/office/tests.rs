//! What the office says, frame by frame.

use super::*;

fn office(shape: Shape) -> Office {
    let closed = RoomSpec { acl: Some(vec!["bob".into()]), ..RoomSpec::open("r2", "sip:8882@mixer:5080", 24) };
    let rooms = vec![RoomSpec::open("r1", "sip:88826777033@mixer:5080", 64), closed];
    let mut office = Office::new(shape, Some("secret".into()), "mixer:5080".into(), 1024, rooms);
    for (conn, user) in [(1, "alice"), (2, "bob")] {
        let frame = request("register", "reg", json!({"username": user, "token": "secret", "deviceId": user}));
        assert_eq!(office.handle(conn, &frame).out[0].1["answer"], "register");
    }
    office
}

fn request(name: &str, id: &str, payload: Value) -> Value {
    json!({"request": name, "requestID": id, "payload": payload})
}

#[test]
fn a_room_has_every_field_of_the_sample_in_both_shapes() {
    let fields = [
        "id",
        "uuid",
        "owner",
        "record",
        "number",
        "sipUri",
        "bitrate",
        "serverUuid",
        "server",
        "timestamp",
        "participantsLimit",
        "ice",
        "room",
        "token",
        "participants",
    ];
    for shape in [Shape::default(), Shape { leave_slip: false, ..Shape::other() }] {
        let reply = office(shape).handle(1, &request("createRoom", "c1", json!({}))).out.remove(0).1;
        assert_eq!((&reply["answer"], &reply["requestID"]), (&json!("createRoom"), &json!("c1")));
        let room = if shape.nested { &reply["payload"] } else { &reply };
        fields.iter().for_each(|field| assert!(room.get(field).is_some(), "{field} is missing in {room}"));
        assert_eq!(room["server"].is_array(), shape.server_array);
        assert_eq!(room["participants"], json!(["alice"]));
        let number = room["number"].as_str().expect("a string");
        assert_eq!(room["sipUri"], format!("sip:888{number}@mixer:5080"));
    }
}

#[test]
fn joining_and_leaving_follow_the_acl_and_tell_the_others() {
    let mut office = office(Shape::default());
    office.handle(2, &request("joinRoom", "1", json!({"room": "r1"})));
    let out = office.handle(1, &request("joinRoom", "2", json!({"room": "r1"}))).out;
    assert_eq!(out[0].1["payload"]["sipUri"], "sip:88826777033@mixer:5080");
    assert_eq!(out[0].1["payload"]["number"], "26777033");
    assert_eq!((out[1].0, &out[1].1["payload"]["payload"]["status"]), (2, &json!("IN_CALL")));
    let refused = office.handle(1, &request("joinRoom", "3", json!({"room": "r2"}))).out.remove(0).1;
    assert_eq!(refused, cancel("joinRoom", "3", 403, "user not included into ACL"));
    assert_eq!(office.handle(1, &request("joinRoom", "4", json!({"room": "?"}))).out[0].1["error"], 404);
    let left = office.handle(1, &request("leaveRoom", "5", json!({"room": "r1"}))).out;
    assert_eq!(left[0].1, json!({"requestID": "5", "answer": "leaveRoom"}));
    assert_eq!(left[1].1["payload"]["payload"]["status"], "GONE");
    assert_eq!(office.handle(1, &request("leaveRoom", "6", json!({"room": "r1"}))).out[0].1["error"], 403);
}

#[test]
fn a_repeated_id_gets_the_same_answer_and_makes_no_second_room() {
    let mut office = office(Shape::default());
    let first = office.handle(1, &request("createRoom", "x", json!({})));
    let second = office.handle(1, &request("createRoom", "x", json!({})));
    assert_eq!(first.out, second.out);
    assert!(second.again && !first.again);
    assert_eq!(office.rooms.len(), 3);
}

#[test]
fn an_invite_goes_through_and_its_result_comes_back() {
    let mut office = office(Shape::default());
    let wish = json!({"to": "bob", "room": "r1"});
    let ring = office.handle(1, &request("invite", "i1", wish.clone())).out;
    assert_eq!((ring.len(), ring[0].0), (1, 2));
    assert_eq!(ring[0].1["payload"]["from"], "alice");
    assert_eq!(ring[0].1["payload"]["room"]["sipUri"], "sip:88826777033@mixer:5080");
    let id = ring[0].1["requestID"].as_str().expect("an id").to_string();
    let out = office.handle(2, &json!({"answer": "invite", "requestID": id, "payload": {}})).out;
    assert_eq!(out, [(1, answer("invite", "i1", json!({"code": 200, "whoAccepted": "bob"})))]);

    let id = office.handle(1, &request("invite", "i2", wish.clone())).out[0].1["requestID"].clone();
    let out = office.handle(2, &json!({"cancel": "invite", "requestID": id, "error": 486})).out;
    assert_eq!(out, [(1, cancel("invite", "i2", 486, "declined"))]);

    office.handle(1, &request("invite", "i3", wish));
    let out = office.handle(1, &json!({"cancel": "invite", "requestID": "i3", "error": 487})).out;
    assert_eq!((out[0].0, &out[0].1["error"]), (2, &json!(487)));
    let error_of = |office: &mut Office, id: &str, to: &str| {
        office.handle(1, &request("invite", id, json!({"to": to, "room": "r1"}))).out[0].1["error"].clone()
    };
    assert_eq!(error_of(&mut office, "i4", "zoe"), 404, "nobody knows her");
    office.closed(2);
    assert_eq!(error_of(&mut office, "i5", "bob"), 480, "he is not here");
}

#[test]
fn a_stranger_is_refused_and_a_lost_connection_leaves_its_rooms() {
    let mut office = office(Shape::default());
    assert_eq!(office.handle(9, &request("joinRoom", "1", json!({"room": "r1"}))).out[0].1["error"], 401);
    let bad = request("register", "2", json!({"username": "eve", "token": "guess"}));
    assert_eq!(office.handle(9, &bad).out[0].1["error"], 403);
    office.handle(1, &request("joinRoom", "3", json!({"room": "r1"})));
    office.closed(1);
    assert!(office.participants("r1").is_empty());
}

#[test]
fn a_standing_refusal_counts_down() {
    let mut office = office(Shape::default());
    office.refuse(Refusal { request: "joinRoom".into(), error: 503, message: "busy".into(), times: 1 });
    assert_eq!(office.handle(1, &request("joinRoom", "1", json!({"room": "r1"}))).out[0].1["error"], 503);
    assert_eq!(office.handle(1, &request("joinRoom", "2", json!({"room": "r1"}))).out[0].1["answer"], "joinRoom");
}

fn register(office: &mut Office, conn: Conn, user: &str, device: &str) {
    let frame = request("register", "reg", json!({"username": user, "token": "secret", "deviceId": device}));
    assert_eq!(office.handle(conn, &frame).out[0].1["answer"], "register");
}

fn words(out: &Frames) -> Vec<(Conn, String)> {
    let word = |frame: &Value| {
        let event = frame["payload"]["eventName"].as_str().filter(|_| frame["type"] == "event");
        let other = ["request", "answer", "cancel"].iter().find_map(|key| frame[*key].as_str());
        event.or(other).unwrap_or("?").to_owned()
    };
    out.iter().map(|(conn, frame)| (*conn, word(frame))).collect()
}

#[test]
fn meetings_and_quick_conferences_have_their_own_refusals() {
    let mut office = office(Shape::default());
    let meeting = |id: &str, password: &str, valid_since_ms| RoomSpec {
        meeting: Some(Meeting { password: password.into(), valid_since_ms }),
        limit: 1,
        ..RoomSpec::open(id, "sip:8883@mixer:5080", 24)
    };
    office.add_room(meeting("now", "pw", 0));
    office.add_room(meeting("later", "", u64::MAX));
    let mut join =
        |conn, id: &str, payload: Value| office.handle(conn, &request("joinRoom", id, payload)).out.remove(0).1;
    assert_eq!(join(1, "1", json!({"room": "now"}))["message"], "WrongPasswordError");
    assert_eq!(join(1, "2", json!({"room": "now", "password": "pw"}))["answer"], "joinRoom");
    assert_eq!(join(2, "3", json!({"room": "now", "password": "pw"}))["error"], 486, "it is full");
    let early = join(1, "4", json!({"room": "later"}));
    assert_eq!(
        (&early["message"], &early["payload"]["validSince"]),
        (&json!("AccessBeforeTimeError"), &json!(u64::MAX))
    );
    assert_eq!(join(1, "5", json!({"room": "wac-conf01234567890123456789"}))["payload"]["number"], "23456789");
    assert_eq!(join(1, "6", json!({"room": "wac-conf0123"}))["error"], 404);
}

#[test]
fn an_invite_rings_at_every_device_and_the_losers_are_told() {
    let mut office = office(Shape::default());
    register(&mut office, 3, "bob", "bob-2");
    let ring = office.handle(1, &request("invite", "i1", json!({"to": "bob", "room": "r1"}))).out;
    assert_eq!(words(&ring), [(2, "invite".into()), (3, "invite".into())]);
    let id = ring[0].1["requestID"].clone();
    let out = office.handle(3, &json!({"answer": "invite", "requestID": id})).out;
    assert_eq!((out[0].0, &out[0].1["error"]), (2, &json!(487)));
    assert_eq!(out[1].1["payload"]["whoAccepted"], "bob");
    assert!(office.handle(2, &json!({"answer": "invite", "requestID": id})).out.is_empty(), "too late");

    let one = office.handle(1, &request("invite", "i2", json!({"to": "bob/bob-2", "room": "r1"}))).out;
    assert_eq!(words(&one), [(3, "invite".into())]);
    let again = office.handle(1, &request("invite", "i3", json!({"to": "bob", "room": "r1"}))).out;
    assert_eq!(again[0].1["error"], 409, "invited already");
}

#[test]
fn several_are_invited_at_once_and_answered_with_a_list() {
    let mut office = office(Shape::default());
    register(&mut office, 3, "eve", "eve-1");
    let ring = office.handle(1, &request("invite", "i1", json!({"to": ["bob", "eve", "zoe"], "room": "r1"}))).out;
    assert_eq!(words(&ring), [(2, "invite".into()), (3, "invite".into())]);
    let id = ring[0].1["requestID"].clone();
    assert!(office.handle(2, &json!({"cancel": "invite", "requestID": id, "error": 603})).out.is_empty());
    let out = office.handle(3, &json!({"answer": "invite", "requestID": id})).out;
    let codes: Vec<_> = out[0].1["payload"].as_array().expect("a list").iter().map(|r| r["code"].clone()).collect();
    assert_eq!(codes, [603, 200, 404]);
}

#[test]
fn what_still_rings_is_told_to_who_asks() {
    let mut office = office(Shape::default());
    let (id, _) = office.invite("alice", "bob", "r1");
    office.closed(2);
    register(&mut office, 3, "bob", "bob");
    let pending = office.handle(3, &request("getCurrentInvitations", "c", json!({}))).out.remove(0).1;
    assert_eq!(pending["payload"]["currentInvitations"][0]["id"], id);
    assert_eq!(words(&office.cancel_invite(&id, 487)), [(3, "invite".into())]);
}

#[test]
fn who_is_transferred_blindly_accepts_and_the_target_is_invited() {
    for (reply, state) in [("answer", "ACCEPTED"), ("cancel", "DECLINED")] {
        let mut office = office(Shape::default());
        register(&mut office, 3, "eve", "eve-1");
        office.handle(1, &request("joinRoom", "1", json!({"room": "r1"})));
        office.handle(2, &request("joinRoom", "1", json!({"room": "r1"})));
        let out = office.handle(1, &request("callTransfer", "2", json!({"roomId": "r1", "to": "eve"}))).out;
        assert_eq!(words(&out), [(1, "callTransfer".into()), (2, "callTransfer".into())]);
        let told = &out[1].1["payload"]["payload"];
        let out = office
            .handle(2, &request("acceptCallTransfer", "3", json!({"callTransferId": told["callTransferId"]})))
            .out;
        assert_eq!(words(&out), [(2, "acceptCallTransfer".into()), (3, "invite".into())]);
        assert_eq!(out[0].1["payload"]["room"], told["roomId"]);
        let out = office.handle(3, &json!({reply: "invite", "requestID": out[1].1["requestID"], "error": 486})).out;
        assert_eq!((out[0].0, &out[0].1["payload"]["payload"]["state"]), (1, &json!(state)));
        assert_eq!(out.len(), if state == "ACCEPTED" { 1 } else { 2 }, "a failure is told as an error, too");
    }
}

#[test]
fn an_attended_transfer_is_answered_declined_or_withdrawn() {
    let started = || {
        let mut office = office(Shape::default());
        register(&mut office, 3, "eve", "eve-1");
        for conn in [1, 3] {
            office.handle(conn, &request("joinRoom", "1", json!({"room": "r1"})));
        }
        let wish = json!({"roomId": "r9", "transferee": "bob", "target": "eve"});
        let out = office.handle(1, &request("attended-transfer", "T", wish)).out;
        assert_eq!(words(&out), [(2, "transferring-attended-transfer".into())]);
        let id = out[0].1["requestID"].clone();
        assert_eq!(out[0].1["payload"]["targetRoom"]["roomId"], "r1");
        (office, id)
    };
    let (mut office, id) = started();
    let out = office.handle(2, &json!({"answer": "transferring-attended-transfer", "requestID": id})).out;
    assert_eq!(out[0].1["payload"]["queryRoom"]["queryRoom"]["uuid"], "r1");
    let (mut office, id) = started();
    let out = office.handle(2, &json!({"cancel": "transferring-attended-transfer", "requestID": id, "error": 486})).out;
    assert_eq!(words(&out), [(1, "attended-transfer".into()), (1, "transferError".into())]);
    let (mut office, _) = started();
    let out = office.handle(1, &json!({"cancel": "attended-transfer", "requestID": "T", "error": 487})).out;
    assert_eq!(words(&out), [(2, "transferring-attended-transfer".into())]);
}

#[test]
fn news_come_in_four_forms_and_notices_in_two() {
    for (news, word) in [
        (News::Single, "participant"),
        (News::List, "participants"),
        (News::Map, "roomUpdated"),
        (News::Names, "participantHold"),
    ] {
        let mut office = office(Shape { news, ..Shape::default() });
        for conn in [1, 2] {
            office.handle(conn, &request("joinRoom", "1", json!({"room": "r1"})));
        }
        assert_eq!(words(&office.hold("r1", "bob", true)), [(1, word.into())]);
        assert!(office.hold("r1", "bob", true).is_empty(), "nothing new");
    }
    let mut office = office(Shape::other());
    office.handle(2, &request("joinRoom", "1", json!({"room": "r1"})));
    let out = office.expel("r1", "bob");
    assert_eq!(out[0].1["request"], "removedFromRoom");
    let mut office = office_with_bob(Shape { expelled: "", ..Shape::default() });
    let gone = json!({"roomId": "r1", "userId": "bob", "status": "GONE"});
    assert_eq!(office.expel("r1", "bob")[0].1["payload"], json!({"eventName": "participant", "payload": gone}));
}

fn office_with_bob(shape: Shape) -> Office {
    let mut office = office(shape);
    office.handle(2, &request("joinRoom", "1", json!({"room": "r1"})));
    office
}

#[test]
fn a_list_of_participants_mixes_ids_and_objects_and_a_map_has_all_of_them() {
    let told = |news| {
        let mut office = office_with_bob(Shape { news, ..Shape::default() });
        office.hold("r1", "bob", true);
        office.handle(1, &request("joinRoom", "1", json!({"room": "r1"}))).out.remove(1).1["payload"]["payload"].clone()
    };
    assert_eq!(told(News::List)["participants"], json!(["alice", {"userId": "bob", "status": "HOLD"}]));
    assert_eq!(told(News::Map)["room"]["participants"], json!({"alice": "IN_CALL", "bob": "HOLD"}));
}

#[test]
fn who_speaks_is_told_to_the_room_and_a_status_is_asked_for_either_way() {
    let mut office = office_with_bob(Shape::default());
    let out = office.active_speaker("r1", Some("alice"));
    assert_eq!(words(&out), [(2, "activeSpeaker".into())]);
    assert_eq!(out[0].1["payload"]["payload"]["participant"]["userId"], "alice");
    assert_eq!(office.active_speaker("r1", None)[0].1["payload"]["payload"]["participant"], Value::Null);
    assert_eq!(office.ask_for_snapshot("bob")[0].1["type"], "event");
    let asked = office_with_bob(Shape::other()).ask_for_snapshot("bob");
    assert_eq!(asked[0].1["request"], "endpointSnapshot");
}

#[test]
fn the_other_spelling_says_less_and_says_it_elsewhere() {
    let mut office = office_with_bob(Shape::other());
    office.handle(2, &request("createRoom", "c", json!({})));
    let list = office.handle(2, &request("getRooms", "l", json!({}))).out.remove(0).1["payload"].clone();
    let ids = list.as_array().expect("a list").iter().filter(|room| room.is_string()).count();
    assert_eq!((list.as_array().map(Vec::len), ids), (Some(2), 1), "the room of others by its id only: {list}");
    let (_, ring) = office.invite("alice", "bob", "r1");
    assert_eq!(ring[0].1["payload"]["room"], "r1");
    let refused = office.handle(1, &request("joinRoom", "x", json!({"room": "nowhere"}))).out.remove(0).1;
    let spelt = office.shape().spell(refused.clone());
    assert_eq!((&spelt["payload"]["code"], spelt.get("error")), (&json!(404), None));
    assert_eq!(Shape::default().spell(refused.clone()), refused);
}

#[test]
fn a_revoked_session_cannot_register_again() {
    let mut office = office(Shape::default());
    office.revoke("bob");
    let frame = request("register", "reg", json!({"username": "bob", "token": "secret", "deviceId": "d"}));
    assert_eq!(office.handle(7, &frame).out[0].1["error"], 401);
    office.reinstate("bob");
    assert_eq!(office.handle(8, &frame).out[0].1["answer"], "register");
}
