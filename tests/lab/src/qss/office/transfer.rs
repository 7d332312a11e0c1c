//! Transfers. Blind: the others of a room are told of a new one, and who accepts is joined there by the target, who is
//! invited. Attended: the transferor has talked to the target in a room of theirs, and the transferee is sent there.

use super::shape::{answer, cancel, event, request};
use super::{Conn, Frames, Office};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Transfers {
    blind: BTreeMap<String, Blind>,
    attended: BTreeMap<String, Attended>,
}

#[derive(Clone, Debug)]
struct Blind {
    /// `None`: a test.
    transferor: Option<Conn>,
    from: String,
    to: String,
    room: String,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Offered,
    /// The transferee goes; the target rings.
    Invited,
}

#[derive(Clone, Debug)]
struct Attended {
    /// The transferor's connection and the id of its request; `None`: a test.
    transferor: Option<(Conn, String)>,
    transferee: String,
    from: String,
    target: String,
    room: String,
}

impl Office {
    /// `callTransfer {roomId, to}`: everybody else in the room is transferred.
    pub(super) fn on_transfer(&mut self, conn: Conn, user: &str, id: &str, payload: &Value, out: &mut Frames) -> Value {
        let (name, room) = ("callTransfer", super::room::room_id(payload));
        let to = payload["to"].as_str().unwrap_or_default();
        let Some(entry) = self.rooms.get(room) else { return cancel(name, id, 404, "room not found") };
        if !entry.participants.contains(user) {
            return cancel(name, id, 403, "user not included into ACL");
        }
        if self.connections_of(to).is_empty() {
            return cancel(name, id, self.absence(to), "user not available");
        }
        let transferees: Vec<String> = entry.participants.iter().filter(|name| *name != user).cloned().collect();
        let Some(transferee) = transferees.first() else { return cancel(name, id, 404, "nobody to transfer") };
        let transfer = self.offer(Some(conn), user, transferee, to, out);
        answer(name, id, json!({"callTransferId": transfer}))
    }

    /// A test transfers `transferee` to `to`, in the name of `from`. Returns the transfer's id and its new room.
    pub fn transfer(&mut self, from: &str, transferee: &str, to: &str) -> (String, String, Frames) {
        let mut out = Vec::new();
        let id = self.offer(None, from, transferee, to, &mut out);
        (id.clone(), self.transfers.blind[&id].room.clone(), out)
    }

    fn offer(&mut self, transferor: Option<Conn>, from: &str, transferee: &str, to: &str, out: &mut Frames) -> String {
        let room = self.new_room(vec![transferee.into(), to.into()]);
        let id = self.next_id();
        let notice = json!({"callTransferId": id, "roomId": room, "to": to,
            "mediaTypes": {"audio": true, "video": false, "screen": false}});
        self.notify(transferee, "callTransfer", notice, out);
        let blind = Blind { transferor, from: from.into(), to: to.into(), room, stage: Stage::Offered };
        self.transfers.blind.insert(id.clone(), blind);
        id
    }

    /// `acceptCallTransfer {callTransferId}`, by the transferee.
    pub(super) fn on_transfer_accepted(&mut self, user: &str, id: &str, payload: &Value, out: &mut Frames) -> Value {
        let name = "acceptCallTransfer";
        let transfer = ["callTransferId", "callTransferID"].iter().find_map(|key| payload[*key].as_str());
        let transfer = transfer.unwrap_or_default().to_owned();
        let Some(blind) = self.transfers.blind.get_mut(&transfer) else {
            return cancel(name, id, 404, "no such transfer");
        };
        if blind.stage == Stage::Invited {
            return cancel(name, id, 409, "accepted already");
        }
        blind.stage = Stage::Invited;
        let blind = blind.clone();
        if blind.to != user {
            self.invite_for_transfer(&transfer, &blind.from, &blind.to, &blind.room, out);
        }
        self.room_answer(name, id, &blind.room, user)
    }

    /// The target of a blind transfer has accepted or declined the invite.
    pub(super) fn transfer_decided(&mut self, transfer: &str, invite: &str, code: u16, out: &mut Frames) {
        let Some(blind) = self.transfers.blind.remove(transfer) else { return };
        let Some(conn) = blind.transferor else { return };
        let state = if code == 200 { "ACCEPTED" } else { "DECLINED" };
        out.push((
            conn,
            event(
                "callTransfer",
                json!({"callTransferId": transfer, "from": blind.from, "to": blind.to,
            "roomId": blind.room, "idInvite": invite, "state": state}),
            ),
        ));
        if code != 200 {
            out.push((conn, transfer_error(transfer, code)));
        }
    }

    /// `attended-transfer {roomId, transferee, target}`. `None`: the answer comes with the transferee's.
    pub(super) fn on_attended(
        &mut self,
        conn: Conn,
        user: &str,
        id: &str,
        payload: &Value,
        out: &mut Frames,
    ) -> Option<Value> {
        let name = "attended-transfer";
        let text = |key: &str| payload[key].as_str().unwrap_or_default();
        let (transferee, target) = (text("transferee"), text("target"));
        let both = |users: &std::collections::BTreeSet<String>| users.contains(user) && users.contains(target);
        let Some(room) = self.rooms.iter().find(|(_, room)| both(&room.participants)).map(|(id, _)| id.clone()) else {
            return Some(cancel(name, id, 404, "no room with the target"));
        };
        if self.connections_of(transferee).is_empty() {
            return Some(cancel(name, id, self.absence(transferee), "user not available"));
        }
        self.send_over(Some((conn, id.into())), user, transferee, target, &room, out);
        None
    }

    /// A test sends `transferee` to `room`, where `target` is. Returns the `requestID` used.
    pub fn attended_transfer(&mut self, from: &str, transferee: &str, target: &str, room: &str) -> (String, Frames) {
        let mut out = Vec::new();
        let id = self.send_over(None, from, transferee, target, room, &mut out);
        (id, out)
    }

    fn send_over(
        &mut self,
        transferor: Option<(Conn, String)>,
        from: &str,
        transferee: &str,
        target: &str,
        room: &str,
        out: &mut Frames,
    ) -> String {
        if let Some(acl) = self.rooms.get_mut(room).and_then(|room| room.spec.acl.as_mut()) {
            acl.push(transferee.into());
        }
        let id = self.next_id();
        let payload = json!({"requestID": id, "targetUserId": target, "targetRoom": self.room_with_acl(room)});
        for conn in self.connections_of(transferee) {
            out.push((conn, request("transferring-attended-transfer", &id, payload.clone())));
        }
        let attended = Attended {
            transferor,
            transferee: transferee.into(),
            from: from.into(),
            target: target.into(),
            room: room.into(),
        };
        self.transfers.attended.insert(id.clone(), attended);
        id
    }

    /// The transferee goes.
    pub(super) fn on_attended_accepted(&mut self, id: &str, out: &mut Frames) {
        let Some(attended) = self.transfers.attended.remove(id) else { return };
        let Some((conn, their_id)) = attended.transferor else { return };
        let mut room = self.room_with_acl(&attended.room);
        room["server"] =
            json!([{"http": "http://h/sfu1", "https": "https://h/sfu1", "ws": "ws://h/ws", "wss": "wss://h/ws"}]);
        out.push((
            conn,
            answer(
                "attended-transfer",
                &their_id,
                json!({
                    "uuid": attended.room, "roomId": attended.room, "target": attended.target,
                    "transferee": attended.transferee, "transferor": attended.from,
                    "queryRoom": {"queryRoom": room},
                }),
            ),
        ));
    }

    /// The transferee declines, or the transferor withdraws.
    pub(super) fn on_attended_cancel(&mut self, conn: Conn, id: &str, error: u16, out: &mut Frames) {
        if let Some(attended) = self.transfers.attended.remove(id) {
            if let Some((conn, their_id)) = attended.transferor {
                out.push((conn, cancel("attended-transfer", &their_id, error, "declined")));
                out.push((conn, transfer_error(id, error)));
            }
            return;
        }
        let is_theirs = |attended: &Attended| attended.transferor == Some((conn, id.to_owned()));
        let ours =
            self.transfers.attended.iter().find(|(_, attended)| is_theirs(attended)).map(|(ours, _)| ours.clone());
        if let Some(ours) = ours {
            out.extend(self.cancel_attended(&ours, error));
        }
    }

    /// A test withdraws an attended transfer.
    pub fn cancel_attended(&mut self, id: &str, error: u16) -> Frames {
        let Some(attended) = self.transfers.attended.remove(id) else { return Vec::new() };
        let to = self.connections_of(&attended.transferee);
        to.into_iter().map(|conn| (conn, cancel("transferring-attended-transfer", id, error, "cancelled"))).collect()
    }
}

fn transfer_error(transfer: &str, code: u16) -> Value {
    event("transferError", json!({"callTransferId": transfer, "code": code, "message": "the transfer failed"}))
}
