//! Traffic captured at a real mixer: read, written back, and played with our agent in the client's place.

use super::*;
use crate::sdp;
use proptest::prelude::*;

const OPUS: &str = include_str!("../../../tests/fixtures/sip/opus.txt");
const DIGEST: &str = include_str!("../../../tests/fixtures/sip/digest.txt");
const HOLD: &str = include_str!("../../../tests/fixtures/sip/hold.txt");
const CANCEL: &str = include_str!("../../../tests/fixtures/sip/cancel.txt");
const NO_OFFER: &str = include_str!("../../../tests/fixtures/sip/no-offer.txt");
const TIMERS: &str = include_str!("../../../tests/fixtures/sip/timers-too-small.txt");
const MIXER_HANGS_UP: &str = include_str!("../../../tests/fixtures/sip/mixer-hangs-up.txt");
const WEBRTC: &str = include_str!("../../../tests/fixtures/sip/webrtc.txt");
const ALL: [&str; 8] = [OPUS, DIGEST, HOLD, CANCEL, NO_OFFER, TIMERS, MIXER_HANGS_UP, WEBRTC];

/// `(sent by the mixer, message)` in order, with the line ends of the wire.
fn messages(trace: &str) -> Vec<(bool, String)> {
    let blocks = trace.split("=== ").skip(1);
    let block = |block: &str| {
        let (head, message) = block.split_once('\n').unwrap();
        let message = message.trim_end_matches('\n').to_string();
        // A message with a body ends with the last line of the body, one without with an empty line.
        let end = if message.contains("\n\n") { "\n" } else { "\n\n" };
        (head.starts_with("mixer"), format!("{message}{end}").replace('\n', "\r\n"))
    };
    blocks.map(block).collect()
}

#[test]
fn everything_a_mixer_and_its_clients_said_is_read_and_written_back() {
    let mut count = 0;
    for (_, text) in ALL.iter().flat_map(|trace| messages(trace)) {
        let first = message::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error:?} in {text}"));
        let second = message::parse(&first.to_bytes()).expect("what we write is well formed");
        let parts = |message: &Message| match message.clone() {
            Message::Request { mut request, identity } => {
                request.headers.remove(&Name::ContentLength);
                (format!("{} {}", request.method, request.uri), request.headers, request.body, identity)
            }
            Message::Response { mut response, identity } => {
                response.headers.remove(&Name::ContentLength);
                (format!("{} {}", response.status, response.reason), response.headers, response.body, identity)
            }
        };
        assert_eq!(parts(&first), parts(&second));
        let (.., body, _) = parts(&first);
        assert!(text.ends_with(&String::from_utf8(body).unwrap()), "the body is byte-exact");
        count += 1;
    }
    assert_eq!(count, 52);
}

#[test]
fn every_opus_answer_of_the_mixer_is_understood() {
    for (from_mixer, text) in [OPUS, DIGEST, HOLD, MIXER_HANGS_UP].iter().flat_map(|trace| messages(trace)) {
        let Ok(Message::Response { response, .. }) = message::parse(text.as_bytes()) else { continue };
        if !from_mixer || response.body.is_empty() {
            continue;
        }
        let description = sdp::parse(&response.body).unwrap();
        assert_eq!(
            (description.opus, description.telephone_event),
            (111, Some(sdp::EventType { payload_type: 112, clock_rate: 48_000 }))
        );
        assert_eq!((description.ptime, description.rtcp_mux), (Some(ms(20)), false));
        assert_eq!(description.rtp.ip(), address(MIXER).ip());
        assert_eq!(description.rtcp.port(), description.rtp.port() + 1);
    }
    let secure = messages(WEBRTC).into_iter().find(|(from_mixer, text)| *from_mixer && text.contains("m=audio"));
    let Ok(Message::Response { response, .. }) = message::parse(secure.unwrap().1.as_bytes()) else { panic!() };
    assert_eq!(sdp::parse(&response.body), Err(sdp::Error::NoAudio), "not plain RTP");
}

/// Plays the client's part of a trace: at each message of the client ours must send the same method, brought about by
/// what a user would do; the mixer's messages come with our branch, tag and Call-ID in place of the captured ones.
fn replay(trace: &str, password: &str) -> (World, Vec<Event>) {
    let mut sip = config();
    sip.password = config::Secret(password.into());
    let mut world = World::with(sip, 11);
    let id = world.endpoint.call(world.now, "sip:88826777033@192.0.2.9:5080", local(), &mut world.out).unwrap();
    world.drain();
    world.route("192.0.2.9", 5080, Ok(MIXER));
    let mut captured: Vec<(String, String)> = Vec::new();
    for (from_mixer, text) in messages(trace) {
        if from_mixer {
            let text = captured.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours));
            world.receive(&text);
            continue;
        }
        let theirs = match message::parse(text.as_bytes()).unwrap() {
            // Our own answer to the mixer's BYE.
            Message::Response { response, .. } => {
                world.expect_status(response.status);
                continue;
            }
            Message::Request { request, identity } => (request, identity),
        };
        match theirs.0.method {
            Method::Bye | Method::Cancel => world.hang_up(id),
            Method::Invite if theirs.1.to.tag().is_some() => world.modify(id, held()),
            _ => {}
        }
        let ours = world.expect(theirs.0.method);
        assert_eq!(ours.identity().cseq, theirs.1.cseq);
        captured.push((theirs.1.via.branch().unwrap().into(), ours.branch().into()));
        captured.push((theirs.1.from.tag().unwrap().into(), ours.identity().from.tag().unwrap().into()));
        captured.push((theirs.1.call_id, ours.identity().call_id.clone()));
    }
    world.expect_silence();
    let events = world.events.drain(..).collect();
    (world, events)
}

#[test]
fn our_agent_in_the_clients_place() {
    let cases = [
        (OPUS, "", EndCause::Local, true),
        (DIGEST, "mixpass", EndCause::Local, true),
        (HOLD, "", EndCause::Local, true),
        (CANCEL, "", EndCause::Local, false),
        (MIXER_HANGS_UP, "", EndCause::Remote { reason: Some("Q.850;cause=16".into()) }, true),
    ];
    for (trace, password, cause, confirmed) in cases {
        let (world, events) = replay(trace, password);
        assert!(world.endpoint.is_idle());
        assert_eq!(events.iter().any(|event| matches!(event, Event::Confirmed { .. })), confirmed);
        assert!(matches!(events.last(), Some(Event::Ended { cause: last, .. }) if *last == cause), "{events:?}");
    }
}

#[test]
fn a_422_of_the_mixer_is_met_with_the_interval_it_wants() {
    let mut world = World::new();
    world.dial();
    let invite = world.expect(Method::Invite);
    let (_, refusal) = messages(TIMERS).into_iter().find(|(_, text)| text.starts_with("SIP/2.0 422")).unwrap();
    let refusal = refusal
        .replace("z9hG4bKecf24d8c7b", invite.branch())
        .replace("tag=71464476", &format!("tag={}", invite.identity().from.tag().unwrap()))
        .replace("b792b805856d@device", &invite.identity().call_id)
        .replace("Min-SE: 90", "Min-SE: 2000");
    world.receive(&refusal);
    world.expect(Method::Ack);
    assert_eq!(world.expect(Method::Invite).header("Session-Expires"), Some("2000"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A few bytes of a captured message replaced: nothing panics, what is accepted can be written and read again, and
    /// its description is read or refused.
    #[test]
    fn captured_messages_with_some_bytes_changed(
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(
            b"\r\n :;,<>\"\\@=?&[]%019aZz/\xff\x00\t".to_vec())), 1..5),
    ) {
        let all: Vec<String> = ALL.iter().flat_map(|trace| messages(trace)).map(|(_, text)| text).collect();
        let mut bytes = pick.get(&all).clone().into_bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(message) = message::parse(&bytes) {
            let (Message::Request { request: Request { body, .. }, .. }
            | Message::Response { response: message::Response { body, .. }, .. }) = &message;
            let _ = sdp::parse(body);
            let _ = sdp::Negotiation::new(1, address(MIXER).ip(), local()).answer(body);
            let again = message::parse(&message.to_bytes());
            prop_assert!(again.is_ok(), "{again:?}");
        }
    }
}
