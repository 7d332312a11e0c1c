//! Bytes that break rules: the traits of RFC 4475, and mutations of real traffic. Nothing panics, nothing grows.

use super::*;
use proptest::prelude::*;

const GOOD: &str = "OPTIONS sip:device7@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7;rport;branch=z9hG4bKt\r\n\
    From: <sip:x@198.51.100.7>;tag=s1\r\nTo: <sip:device7@192.0.2.1>\r\nCall-ID: abc@x\r\nCSeq: 7 OPTIONS\r\n\
    Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

/// The statuses sent in answer to `bytes`, and what was reported as malformed.
fn outcome(bytes: &[u8]) -> (Vec<String>, Option<&'static str>) {
    let mut world = World::new();
    world.receive_from("198.51.100.7:5060", bytes);
    let statuses = world.sent.iter().map(|(_, bytes)| String::from_utf8_lossy(&bytes[8..11]).into_owned()).collect();
    let what = world.events.iter().find_map(|event| match event {
        Event::Malformed { what, .. } => Some(*what),
        _ => None,
    });
    (statuses, what)
}

#[test]
fn unusual_but_right_requests_are_served() {
    let cases: [(&str, String); 15] = [
        ("as it is", GOOD.into()),
        ("line ends first", format!("\r\n\r\n{GOOD}")),
        ("bare LF", GOOD.replace("\r\n", "\n")),
        ("last line end missing", GOOD.trim_end().into()),
        ("folding", GOOD.replace("To: <", "To:\r\n \t<")),
        ("space before the colon", GOOD.replace("Via:", "Via \t:")),
        ("mixed case", GOOD.replace("Call-ID", "cAll-iD").replace("CSeq", "cseq")),
        ("compact names", GOOD.replace("Via", "v").replace("From", "f").replace("To:", "t:").replace("Call-ID", "i")),
        ("white space in Via", GOOD.replace("SIP/2.0/UDP 198.51.100.7;", "SIP / 2.0 / UDP 198.51.100.7 : 5060 ; ")),
        ("white space in parameters", GOOD.replace(";tag=s1", " ;\r\n  tag    = s1")),
        ("escapes and a quoted name", GOOD.replace("From: <", "From: \"J Rosenberg \\\\\\\"\" <")),
        ("%00", GOOD.replace("sip:x@", "sip:null-%00-null@")),
        ("parameters in the user part", GOOD.replace("sip:device7@", "sip:user;par=u%40example.net@")),
        ("a second request behind it", format!("{GOOD}{}", GOOD.replace("tag=s1", "tag=s2"))),
        ("unknown transport", GOOD.replace("SIP/2.0/UDP", "SIP/2.0/UNKNOWN")),
    ];
    for (trait_, text) in cases {
        assert_eq!(outcome(text.as_bytes()), (vec!["200".to_string()], None), "{trait_}");
    }
    let mut odd = GOOD.as_bytes().to_vec();
    let at = odd.windows(4).position(|window| window == b"Max-").unwrap();
    odd.splice(at..at, b"Subject: caf\xe9\r\nX-Long: ".iter().copied().chain([b'x'; 9_000]).chain(*b"\r\n"));
    assert_eq!(outcome(&odd).0, ["200"], "bytes that are not UTF-8, and a very long value");
}

#[test]
fn wrong_requests_are_told_so() {
    let cases: [(&str, String, &str); 19] = [
        ("badinv01", GOOD.replace(";rport", ";;,;,,"), "400"),
        ("clerr", GOOD.replace("Length: 0", "Length: 9999"), "400"),
        ("ncl", GOOD.replace("Length: 0", "Length: -999"), "400"),
        ("mcl01", GOOD.replace("Content-Length: 0", "Content-Length: 0\r\nl: 5"), "400"),
        ("scalar02 CSeq", GOOD.replace("CSeq: 7", "CSeq: 36893488147419103232"), "400"),
        ("scalar02 Max-Forwards", GOOD.replace("Forwards: 70", "Forwards: 300"), "400"),
        ("quotbal", GOOD.replace("To: <", "To: \"Mr. J. User <"), "400"),
        ("ltgtruri", GOOD.replace("sip:device7@192.0.2.1 SIP", "<sip:device7@192.0.2.1> SIP"), "400"),
        ("lwsruri", GOOD.replace("192.0.2.1 SIP", "192.0.2.1; lr SIP"), "400"),
        ("lwsstart", GOOD.replace("OPTIONS sip", "OPTIONS  sip"), "400"),
        ("badaspec", GOOD.replace("To: <sip", "To: \"W\" < sip"), "400"),
        ("badvers", GOOD.replacen("SIP/2.0", "SIP/7.0", 1), "505"),
        ("mismatch01", GOOD.replace("7 OPTIONS", "7 INVITE"), "400"),
        ("mismatch02", GOOD.replace("OPTIONS sip", "NEWMETHOD sip"), "400"),
        ("insuf", GOOD.replace("Call-ID: abc@x\r\n", ""), "400"),
        ("multi01", GOOD.replace("To: ", "To: <sip:other@x>\r\nTo: "), "400"),
        ("header without a colon", GOOD.replace("Max-Forwards: 70", "Max-Forwards 70"), "400"),
        ("header without a name", GOOD.replace("Max-Forwards:", ":"), "400"),
        ("CSeq without a method", GOOD.replace("7 OPTIONS\r\n", "7\r\n"), "400"),
    ];
    for (name, text, status) in cases {
        let (statuses, what) = outcome(text.as_bytes());
        assert_eq!(statuses, [status], "{name}");
        assert!(what.is_some(), "{name}");
    }
}

#[test]
fn nothing_answers_garbage_wrong_responses_or_a_wrong_ack() {
    let response = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKt\r\nFrom: <sip:x@y>;tag=1\r\n\
        To: <sip:y@x>;tag=2\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\n\r\n";
    let cases: [(&str, String); 10] = [
        ("garbage", "hello".into()),
        ("zeros and a letter", "\0\0\0x".into()),
        ("only a start line", "OPTIONS sip:a@b SIP/2.0".into()),
        ("no Via", GOOD.replace("Via:", "X:")),
        ("bigcode", response.replace("200", "4294967301")),
        ("status 99", response.replace("200", "099")),
        ("scalarlg", response.replace("CSeq: 1", "CSeq: 9292394834772304023312")),
        ("response of another version", response.replacen("2.0", "3.0", 1)),
        ("method is no token", GOOD.replace("OPTIONS sip", "OPT@IONS sip")),
        ("ACK", GOOD.replace("OPTIONS", "ACK").replace("7 ACK", "x ACK")),
    ];
    for (name, text) in cases {
        let (statuses, what) = outcome(text.as_bytes());
        assert!(statuses.is_empty(), "{name}: {statuses:?}");
        assert!(what.is_some(), "{name}");
    }
    assert_eq!(outcome(response.as_bytes()), (vec![], None), "bcast: a stray");
}

#[test]
fn a_value_never_ends_its_own_line() {
    let mut world = World::new();
    world.receive(&GOOD.replace("abc@x", "abc\rX-Evil:1"));
    world.receive(&GOOD.replace("tag=s1", "tag=s1\rX-Evil: 1"));
    for (_, bytes) in &world.sent {
        assert!(!String::from_utf8_lossy(bytes).replace("\r\n", "").contains('\r'));
    }
}

/// One thing that happens to the agent.
#[derive(Clone, Debug)]
enum Step {
    /// Mutated bytes of a template: which one, where, what to put there, how much to cut.
    Mutated {
        template: usize,
        at: usize,
        put: Vec<u8>,
        cut: usize,
    },
    Pass(u64),
    HangUp,
    Modify(bool),
    Dial,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..10usize, any::<prop::sample::Index>(), prop::collection::vec(hostile(), 0..6), 0..40usize)
            .prop_map(|(template, at, put, cut)| Step::Mutated { template, at: at.index(4_096), put, cut }),
        2 => (0..5_000u64).prop_map(Step::Pass),
        1 => Just(Step::HangUp),
        1 => any::<bool>().prop_map(Step::Modify),
        1 => Just(Step::Dial),
    ]
}

fn hostile() -> impl Strategy<Value = u8> {
    prop_oneof![prop::sample::select(b"\r\n :;,<>\"\\@=?&[]%0z\xff\x00".to_vec()), any::<u8>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = message::parse(&bytes);
        let _ = crate::sdp::parse(&bytes);
    }

    #[test]
    fn whatever_arrives_in_a_call_it_neither_panics_nor_hangs_nor_grows(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::with(config(), seed);
        let (mut id, invite, _) = world.confirmed();
        let mut last = invite.clone();
        for (cseq, step) in (1..).zip(steps) {
            match step {
                Step::Mutated { template, at, put, cut } => {
                    let text = match template {
                        0 => invite.peer_request("INVITE", cseq, "", OFFER),
                        1 => invite.peer_request("INVITE", cseq, "", ""),
                        2 => invite.peer_request("ACK", cseq, "", ANSWER),
                        3 => invite.peer_request("BYE", cseq, "Reason: Q.850;cause=16;text=\"a, \\\"b\\\"\"\r\n", ""),
                        4 => invite.peer_request("UPDATE", cseq, "", OFFER),
                        5 => last.response(200, "peer", "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER),
                        6 => last.response(401, "peer", "WWW-Authenticate: Digest realm=\"a\", nonce=\"b\"\r\n", ""),
                        7 => last.response(491, "peer", "", ""),
                        8 => invite.response(200, "fork", "Record-Route: <sip:192.0.2.7;lr>, <sip:x>\r\n", ANSWER),
                        _ => GOOD.to_string(),
                    };
                    let mut bytes = text.into_bytes();
                    let at = at % (bytes.len() + 1);
                    let end = (at + cut).min(bytes.len());
                    bytes.splice(at..end, put);
                    world.receive_from(MIXER, &bytes);
                }
                Step::Pass(span) => world.pass(ms(span)),
                Step::HangUp => world.hang_up(id),
                Step::Modify(active) => world.modify(id, Local { active, ..local() }),
                Step::Dial => {
                    id = world.endpoint.call(world.now, TARGET, local(), &mut world.out).unwrap();
                    world.route("mixer.example", 5080, Ok(MIXER));
                }
            }
            prop_assert!(world.sent.len() < 200, "a storm");
            while let Some((to, bytes)) = world.sent.pop_front() {
                let Ok(message) = message::parse(&bytes) else { continue };
                let sent = Sent { to, bytes, message };
                if matches!(sent.message, Message::Request { .. }) && sent.to == address(MIXER) {
                    last = sent;
                }
            }
        }
        // Nobody answers any more: everything comes to its end by itself once we hang up.
        let last_call = id.0;
        for call in 1..=last_call {
            world.hang_up(CallId(call));
        }
        world.pass(Span::from_secs(200));
        prop_assert!(world.endpoint.is_idle());
        prop_assert_eq!(world.endpoint.poll_timeout(), None);
        let ended = world.events.iter().filter(|event| matches!(event, Event::Ended { .. })).count();
        prop_assert_eq!(ended, last_call as usize, "each call ends exactly once");
    }
}
