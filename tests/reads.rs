//! `[qss.reads]`: each key has an effect, and no reader has a name of its own. The samples of docs/qss.md, and what they
//! lack, are read under the usual names, under others, and with one key at a time pointing to nothing.

mod memory;

use memory::{Memory, minimal};
use qss_endpoint::config::{Config, QssCodes, QssReads, describe};
use qss_endpoint::qss::message::{self, Body, Frame, Refusal};
use serde_json::{Map, Value};
use std::sync::Arc;

const PAGE: &str = include_str!("../docs/qss.md");

/// The only fixed names, and words that are no fields.
const FIXED: [&str; 6] = ["request", "answer", "cancel", "type", "eventName", "payload"];
const MAPS: [&str; 5] = ["context", "contextInfo", "participants", "remoteParticipants", "users"];

const FURTHER: [&str; 13] = [
    r#"{"cancel":"joinRoom","requestID":"a","error":403,"name":"WrongPasswordError"}"#,
    r#"{"cancel":"joinRoom","requestID":"a","error":"AccessBeforeTimeError","meeting":{"validSince":7}}"#,
    r#"{"request":"invite","requestID":"a","requestId":"b","id":"c","from":"d","room":"r","context":{"contextInfo":{"door":"north"}},"mediatypes":{"audio":false,"video":true,"screen":true}}"#,
    r#"{"answer":"invite","requestID":"a","results":[{"code":486,"whoAccepted":"eve"}]}"#,
    r#"{"answer":"invite","requestID":"a","payload":{"whoAccepted":"bob"}}"#,
    r#"{"type":"event","payload":{"eventName":"callTransfer","payload":{"callTransferId":"T","state":"INVITED","idInvite":"I","from":"a"}}}"#,
    r#"{"type":"event","payload":{"eventName":"callTransfer","payload":{"callTransferId":"T","state":"DECLINED"}}}"#,
    r#"{"type":"event","payload":{"eventName":"mute-request","payload":{"roomId":"r","requestedBy":"a","media":"audio","muted":false}}}"#,
    r#"{"type":"event","payload":{"eventName":"mute-request","payload":{"roomId":"r","media":"video"}}}"#,
    r#"{"type":"event","payload":{"eventName":"mute","payload":{"roomId":"r","userId":"a","muted":false}}}"#,
    r#"{"type":"event","payload":{"eventName":"participant","payload":{"roomId":"r","userId":"a","status":"GONE"}}}"#,
    r#"{"type":"event","payload":{"eventName":"expelled","payload":{"userId":"a"}}}"#,
    r#"{"answer":"createRoom","requestID":"a","payload":{"room":"r","owner":"o","record":true,"participantsLimit":7}}"#,
];

fn samples() -> Vec<&'static str> {
    let fences = PAGE.split("```json\n").skip(1).map(|rest| rest.split("\n```").next().expect("a closed fence"));
    fences.chain(FURTHER).collect()
}

/// Whatever any reader makes of a frame.
fn reading(text: &str, reads: &QssReads) -> String {
    let read = |body: &Body| {
        let fields = body.fields();
        let rooms = (message::Room::read(fields), message::Room::read_all(fields));
        let invites = (
            message::Invite::read(fields),
            message::InviteRequest::read(fields),
            message::InviteReply::read_all(fields),
            message::read_current_invitations(fields),
            message::lists_invitations(fields),
        );
        let transfers = (
            message::CallTransfer::read(fields),
            message::AttendedTransfer::read(fields),
            message::AttendedTransferReply::read(fields),
            message::TransferError::read(fields),
        );
        let mute = (message::MuteRequest::read(fields), message::MuteChange::read(fields));
        let roster = message::Roster::read(fields, None);
        let users = (message::active_speaker(fields), message::expelled_user(fields));
        let secrets =
            message::Room::read(fields).map(|room| (room.token, room.acl, room.ice)).map(|(token, acl, ice)| {
                let acl: Vec<_> = acl.into_iter().map(|(user, token)| (user, token.0)).collect();
                let ice: Vec<_> = ice.into_iter().map(|server| server.credential.map(|secret| secret.0)).collect();
                (token.map(|token| token.0), acl, ice)
            });
        format!("{rooms:?} {invites:?} {transfers:?} {mute:?} {roster:?} {users:?} {secrets:?}")
    };
    match Frame::read(text, 262_144, &Arc::new(reads.clone())) {
        Ok(Frame::Cancel { id, code, message, body, .. }) => {
            let refusal = Refusal::of(&QssCodes::default(), code, &message, &body);
            format!("{id} {code:?} {message} {refusal:?} {}", read(&body))
        }
        Ok(Frame::Request { id, body, .. } | Frame::Answer { id, body, .. }) => format!("{id} {}", read(&body)),
        Ok(Frame::Event { body, .. }) => read(&body),
        Err(why) => format!("{why:?}"),
    }
}

fn loaded(section: &str) -> Config {
    let text = format!("{}\n[qss.reads]\n{section}", minimal());
    Memory::with(&text).load().unwrap_or_else(|errors| panic!("{errors}")).config
}

/// The keys of the section with their defaults, as the example shows them.
fn table() -> Vec<(String, Vec<String>)> {
    let example = describe::example();
    let section = example.split("\n[qss.reads]\n").nth(1).and_then(|rest| rest.split("\n[").next()).expect("a section");
    let row = |line: &str| {
        let (key, names) = line.strip_prefix('#')?.split_once(" = ")?;
        let names: Vec<String> = serde_json::from_str(names).ok()?;
        Some((key.to_owned(), names))
    };
    section.lines().filter_map(row).collect()
}

fn other(name: &str) -> String {
    format!("x{name}")
}

/// Every field under another name; not the words of people.
fn renamed(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let rename = |(name, value): (&String, &Value)| {
                let is_map = MAPS.contains(&name.as_str()) && value.is_object();
                let name = if FIXED.contains(&name.as_str()) { name.clone() } else { other(name) };
                (name, if is_map { inner_map_renamed(value) } else { renamed(value) })
            };
            Value::Object(fields.iter().map(rename).collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.iter().map(renamed).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Of a map of people's words, only the name of a map in it.
fn inner_map_renamed(map: &Value) -> Value {
    let rename = |(word, value): (&String, &Value)| {
        let word = if MAPS.contains(&word.as_str()) { other(word) } else { word.clone() };
        (word, value.clone())
    };
    Value::Object(map.as_object().into_iter().flatten().map(rename).collect())
}

#[test]
fn no_reader_has_a_name_of_its_own() {
    let words =
        ["in_call", "on_hold", "gone", "mute_audio", "transfer_invited", "transfer_accepted", "transfer_declined"];
    let names = |(key, names): &(String, Vec<String>)| {
        let names: Vec<_> =
            if words.contains(&key.as_str()) { names.clone() } else { names.iter().map(|n| other(n)).collect() };
        format!("{key} = {names:?}\n")
    };
    let reads = loaded(&table().iter().map(names).collect::<String>()).qss.reads;
    for sample in samples() {
        let text = renamed(&serde_json::from_str(sample).expect("JSON")).to_string();
        assert_eq!(reading(&text, &reads), reading(sample, &QssReads::default()), "{text}");
    }
}

#[test]
fn each_key_has_an_effect() {
    let table = table();
    assert!(table.len() > 70, "{} keys", table.len());
    for (key, _) in table {
        let reads = loaded(&format!("{key} = ['elsewhere']")).qss.reads;
        let differs = |sample: &&str| reading(sample, &reads) != reading(sample, &QssReads::default());
        assert!(samples().iter().any(differs), "qss.reads.{key} has no effect");
    }
}
