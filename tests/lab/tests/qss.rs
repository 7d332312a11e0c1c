//! The lab's signalling server over real sockets: it answers, logs, refuses, vanishes and comes back.
#![allow(clippy::disallowed_types)]

use lab::qss::{Authority, CertificateKind, Config, Desk, Door, Memory, QssServer, RoomSpec, What};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

const SOON: Duration = Duration::from_secs(5);

fn server() -> QssServer {
    let rooms = vec![RoomSpec::open("r1", "sip:88826777033@mixer:5080", 64)];
    QssServer::start(Config { rooms, ..Config::default() }).expect("loopback is there")
}

struct Client(WebSocket<TcpStream>);

impl Client {
    fn open(server: &QssServer) -> Result<Client, tungstenite::Error> {
        let stream = TcpStream::connect(server.address()).map_err(tungstenite::Error::Io)?;
        stream.set_read_timeout(Some(SOON)).expect("a legal time");
        let request = server.url().into_client_request()?;
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Client(socket)),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
            Err(tungstenite::HandshakeError::Interrupted(_)) => {
                Err(tungstenite::Error::Io(std::io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn registered(server: &QssServer, user: &str) -> Client {
        let mut client = Client::open(server).expect("the door is open");
        let reply =
            client.ask("register", "reg", json!({"username": user, "token": "t", "deviceId": format!("{user}-1")}));
        assert_eq!(reply["answer"], "register");
        client
    }

    fn ask(&mut self, name: &str, id: &str, payload: Value) -> Value {
        self.tell(&json!({"request": name, "requestID": id, "payload": payload}));
        self.hear()
    }

    fn tell(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).expect("the link is up");
    }

    fn hear(&mut self) -> Value {
        serde_json::from_str(&self.hear_text()).expect("JSON")
    }

    fn hear_text(&mut self) -> String {
        loop {
            match self.0.read().expect("a message in time") {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn join_invite_and_status_go_through_and_stand_in_the_log() {
    let server = server();
    let mut client = Client::registered(&server, "bob");
    let joined = client.ask("joinRoom", "j1", json!({"room": "r1"}));
    assert_eq!(joined["payload"]["sipUri"], "sip:88826777033@mixer:5080");
    assert_eq!(server.participants("r1"), ["bob"]);
    let id = server.invite("alice", "bob", "r1");
    let invite = client.hear();
    assert_eq!((&invite["request"], &invite["requestID"]), (&json!("invite"), &json!(id)));
    client.tell(&json!({"answer": "invite", "requestID": id, "payload": {"from": "alice"}}));
    for rung in ["call", "sending"] {
        let status = json!({"device": "bob-1", "rung": rung, "seq": 1});
        client.tell(&json!({"type": "event", "payload": {"eventName": "endpointStatus", "payload": status}}));
    }
    server.wait_rung("bob-1", "sending", 0, SOON).expect("reported");
    let rungs = server.wait_for("the answer", SOON, |log| {
        log.answers("invite").next().map(|_| log.rungs("bob-1").into_iter().map(String::from).collect::<Vec<_>>())
    });
    assert_eq!(rungs.expect("answered"), ["call", "sending"]);
    let missed = server.wait_request("leaveRoom", 0, Duration::from_millis(20)).expect_err("never sent");
    assert!(missed.to_string().contains("joinRoom"), "the transcript is shown: {missed}");
}

#[test]
fn the_door_refuses_with_status_and_retry_after() {
    let server = server();
    server.door(Door::Refuse { status: 503, retry_after: Some(7) });
    match Client::open(&server).err().expect("refused") {
        tungstenite::Error::Http(response) => {
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()["Retry-After"], "7");
        }
        other => panic!("{other}"),
    }
    server
        .wait_for("the refusal", SOON, |log| {
            log.entries.iter().find(|entry| entry.what == What::TurnedAway { status: 503 }).map(|_| ())
        })
        .expect("logged");
    server.door(Door::HangUp);
    assert!(Client::open(&server).is_err());
    server.door(Door::CloseAfterUpgrade { code: 1013 });
    let mut client = Client::open(&server).expect("upgraded");
    assert!(matches!(client.0.read(), Ok(Message::Close(Some(frame))) if u16::from(frame.code) == 1013));
}

#[test]
fn a_restart_drops_everyone_and_the_port_comes_back() {
    let server = server();
    let mut client = Client::registered(&server, "bob");
    client.ask("joinRoom", "j1", json!({"room": "r1"}));
    server.down(Memory::Rooms);
    assert!(client.0.read().is_err());
    assert!(Client::open(&server).is_err(), "the port refuses");
    server.up();
    assert!(server.participants("r1").is_empty());
    let mut client = Client::registered(&server, "bob");
    assert_eq!(client.ask("joinRoom", "j2", json!({"room": "r1"}))["answer"], "joinRoom");
    server.down(Memory::Nothing);
    server.up();
    let mut client = Client::registered(&server, "bob");
    assert_eq!(client.ask("joinRoom", "j3", json!({"room": "r1"}))["error"], 404);
}

#[test]
fn a_deaf_desk_answers_neither_frames_nor_pings_until_it_wakes() {
    let server = server();
    let mut client = Client::registered(&server, "bob");
    server.desk(Desk::Deaf);
    // The order may reach the task while it waits for a frame: the ping after it is the one that goes unheard.
    std::thread::sleep(Duration::from_millis(50));
    client.0.send(Message::Ping(b"x".as_slice().into())).expect("sent");
    client.0.get_ref().set_read_timeout(Some(Duration::from_millis(200))).expect("a legal time");
    assert!(client.0.read().is_err(), "no pong");
    server.desk(Desk::Answer);
    client.0.get_ref().set_read_timeout(Some(SOON)).expect("a legal time");
    assert!(matches!(client.0.read(), Ok(Message::Pong(_))));
    server.desk(Desk::Slow(Duration::from_millis(150)));
    let before = std::time::Instant::now();
    client.ask("joinRoom", "j", json!({"room": "r1"}));
    assert!(before.elapsed() >= Duration::from_millis(150));
}

#[test]
fn garbage_is_sent_as_it_is_and_received_without_harm() {
    let server = server();
    let mut client = Client::registered(&server, "bob");
    assert_eq!(server.send_text("bob", "{\"half\":"), 1);
    assert_eq!(client.hear_text(), "{\"half\":");
    client.0.send(Message::text("not json")).expect("sent");
    server
        .wait_for("the garbage", SOON, |log| {
            log.entries.iter().find(|entry| entry.what == What::GotGarbage("not json".into())).map(|_| ())
        })
        .expect("logged");
    assert_eq!(client.ask("nonsense", "n", json!({}))["error"], 501);
}

fn tls_client(server: &QssServer, authority: &Authority) -> Result<String, String> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.pem().as_bytes().to_vec();
    let certificate = rustls::pki_types::pem::PemObject::from_pem_slice(&pem).expect("a certificate");
    roots.add(certificate).expect("an authority");
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let stream = rustls::StreamOwned::new(connection, TcpStream::connect(server.address()).expect("listening"));
    match tungstenite::client(server.url(), stream) {
        Ok((mut socket, _)) => {
            let register = json!({"request": "register", "requestID": "1", "payload": {"username": "bob"}});
            socket.send(Message::text(register.to_string())).map_err(|error| error.to_string())?;
            Ok(socket.read().map_err(|error| error.to_string())?.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn wss_works_with_the_right_certificate_only() {
    let authority = Authority::new();
    let with = |kind| {
        let tls = Some(authority.server(kind));
        let server = QssServer::start(Config { tls, ..Config::default() }).expect("loopback is there");
        tls_client(&server, &authority)
    };
    assert!(with(CertificateKind::Good).expect("trusted").contains("\"answer\":\"register\""));
    for (kind, word) in [
        (CertificateKind::WrongIssuer, "UnknownIssuer"),
        (CertificateKind::ForgedIssuer, "BadSignature"),
        (CertificateKind::WrongName, "not valid for name"),
        (CertificateKind::Expired, "expired"),
        (CertificateKind::NotYetValid, "not valid yet"),
    ] {
        let reason = with(kind).expect_err("refused");
        assert!(reason.contains(word), "{kind:?}: {reason}");
    }
}
