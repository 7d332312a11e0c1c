//! The 49 cases of RFC 4475 by their names: messages of our own, each with exactly the trait the RFC's has.
//!
//! `reject`: the request is answered with that status, as malformed or for what it asks. `served`: it is not malformed,
//! and answered as any other of its method. `dropped`: nothing is answered.

use super::*;

const REQUEST: &str = "OPTIONS sip:user@example.com SIP/2.0\r\nVia: SIP/2.0/UDP host.example.net;branch=z9hG4bKtorture\r\n\
    Max-Forwards: 70\r\nFrom: <sip:caller@example.net>;tag=torture\r\nTo: <sip:user@example.com>\r\n\
    Call-ID: torture@example.net\r\nCSeq: 7 OPTIONS\r\nContact: <sip:caller@host.example.net>\r\n\
    Content-Length: 0\r\n\r\n";
const RESPONSE: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKtorture\r\nFrom: <sip:x@y>;tag=1\r\n\
    To: <sip:y@x>;tag=2\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

/// `text` with the line of `header` replaced by `lines`.
fn with(text: &str, header: &str, lines: &str) -> String {
    let start = text.find(&format!("\r\n{header}:")).expect("the header is there") + 2;
    let end = start + text[start..].find("\r\n").unwrap() + 2;
    let lines = if lines.is_empty() { String::new() } else { format!("{lines}\r\n") };
    format!("{}{lines}{}", &text[..start], &text[end..])
}

/// [`REQUEST`] with another method.
fn of(method: &str) -> String {
    REQUEST.replace("OPTIONS", method)
}

/// [`REQUEST`] with `body` of that type.
fn carrying(method: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let lines = format!("Content-Type: {content_type}\r\nContent-Length: {}", body.len());
    [with(&of(method), "Content-Length", &lines).as_bytes(), body].concat()
}

/// The responses to `bytes`, and whether they were reported as malformed.
fn outcome(bytes: &[u8]) -> (World, Vec<String>, bool) {
    let mut world = World::new();
    world.receive_from("198.51.100.7:5060", bytes);
    let malformed = world.events.iter().any(|event| matches!(event, Event::Malformed { .. }));
    // A refusal repeats what was wrong, so it may be as unreadable.
    let statuses = world.sent.iter().map(|(_, bytes)| String::from_utf8_lossy(&bytes[8..11]).into_owned()).collect();
    (world, statuses, malformed)
}

/// The request itself is in order, and its answer is `status`.
#[track_caller]
fn served(bytes: impl AsRef<[u8]>, status: u16) -> Sent {
    let (mut world, statuses, malformed) = outcome(bytes.as_ref());
    assert_eq!((statuses, malformed), (vec![status.to_string()], false));
    world.next_sent()
}

#[track_caller]
fn reject(bytes: impl AsRef<[u8]>, status: u16) {
    let (_, statuses, malformed) = outcome(bytes.as_ref());
    assert_eq!((statuses, malformed), (vec![status.to_string()], true));
}

#[track_caller]
fn dropped(bytes: impl AsRef<[u8]>) {
    let (_, statuses, _) = outcome(bytes.as_ref());
    assert!(statuses.is_empty(), "{statuses:?}");
}

#[track_caller]
fn read_request(bytes: impl AsRef<[u8]>) -> (Request, Identity) {
    match message::parse(bytes.as_ref()) {
        Ok(Message::Request { request, identity }) => (request, identity),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn reason_phrase(text: &str) -> String {
    match message::parse(text.as_bytes()) {
        Ok(Message::Response { response, .. }) => response.reason,
        other => panic!("{other:?}"),
    }
}

// --- 3.1.1 valid messages ----------------------------------------------------------------------------------------------

#[test]
fn rfc4475_wsinv() {
    let text = format!(
        "INVITE sip:user@example.com;unknownparam SIP/2.0\r\nTO :\r\n sip:user@example.com ;   other    = 1\r\n\
         from   : \"J Caller \\\\\\\"\"       <sip:caller@example.net>\r\n  ;\r\n  tag = 98asjd8\r\nMaX-fOrWaRdS: 0068\r\n\
         Call-ID: wsinv.x@192.0.2.1\r\ncseq: 0009\r\n  INVITE\r\n\
         Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\ns :\r\nNewFangled:   new\r\n value\r\n more\r\n\
         Route: <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n\
         v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n \
         SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n\
         m:\"Quoted \\\"\\\"\" <sip:caller@example.com> ; newparam =\r\n      newvalue ;\r\n  second ; q = 0.33\r\n\
         c: application/sdp\r\nl: {}\r\n\r\n{OFFER}",
        OFFER.len()
    );
    let (request, identity) = read_request(&text);
    assert_eq!((identity.cseq.number, identity.from.tag(), identity.to.tag()), (9, Some("98asjd8"), None));
    assert_eq!(identity.to.params.value("other"), Some("1"));
    assert_eq!(identity.from.display.as_deref(), Some("\"J Caller \\\\\\\"\""));
    assert_eq!((identity.via.host.as_str(), request.body.as_slice()), ("192.0.2.2", OFFER.as_bytes()));
    assert_eq!(request.headers.elements(&Name::Via).count(), 3);
    assert_eq!(request.headers.first(&Name::of("newfangled")), Some("new value more"));
    let answer = served(&text, 480);
    assert!(answer.text().contains("z9hG4bK30239"), "every Via goes back: {}", answer.text());
}

#[test]
fn rfc4475_intmeth() {
    let method = "!odd-Method0123456789_*+`.%indeed'~";
    let text = with(
        &of(method).replace(
            "sip:user@example.com SIP",
            "sip:1_odd.URI~(be!sure)&isn't+it$/,?;;*:&it+1,weird!*(x)@example.com SIP",
        ),
        "From",
        "From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"\u{4f60}\u{597d}\";tag=_token~1'+`*%!-.",
    );
    let text = with(&text, "Call-ID", "Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    let (request, identity) = read_request(&text);
    assert_eq!((request.method.as_str(), identity.from.tag()), (method, Some("_token~1'+`*%!-.")));
    let refused = served(&text, 405);
    assert_eq!(refused.identity().call_id, "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
}

#[test]
fn rfc4475_esc01() {
    let text = REQUEST.replace("sip:user@example.com SIP", "sip:sips%3Auser%40example.com@example.net SIP");
    let text = with(&text, "To", "To: sip:%75se%72@example.com");
    let text = with(&text, "Contact", "Contact: <sip:cal%6Cer@host.example.net;%6C%72;n%61me=v%61lue%25%34%31>");
    let (request, identity) = read_request(&text);
    assert_eq!(request.uri, "sip:sips%3Auser%40example.com@example.net");
    assert_eq!(identity.to.uri, "sip:%75se%72@example.com");
    served(&text, 200);
}

#[test]
fn rfc4475_escnull() {
    let text = with(REQUEST, "From", "From: sip:null-%00-null@example.com;tag=839923423");
    let text = with(&text, "To", "To: sip:null-%00-null@example.com");
    let text =
        with(&text, "Contact", "Contact: <sip:%00@host5.example.com>\r\nContact: <sip:%00%00@host5.example.com>");
    let (request, identity) = read_request(&text);
    assert_eq!((identity.from.uri.as_str(), identity.from.tag()), ("sip:null-%00-null@example.com", Some("839923423")));
    assert_eq!(request.headers.all(&Name::Contact).last(), Some("<sip:%00%00@host5.example.com>"));
    assert!(served(&text, 200).header("To").unwrap().starts_with("sip:null-%00-null@example.com;tag="));
}

#[test]
fn rfc4475_esc02() {
    let text = with(&of("OP%54IONS"), "Contact", "Contact: \"%Z%45\" <sip:resource@example.com>");
    let (request, identity) = read_request(&text);
    assert_eq!((request.method, identity.cseq.method), (Method::Other("OP%54IONS".into()), Method::of("OP%54IONS")));
    assert_eq!(request.headers.first(&Name::Contact), Some("\"%Z%45\" <sip:resource@example.com>"));
    served(&text, 405);
}

#[test]
fn rfc4475_lwsdisp() {
    let text = with(REQUEST, "From", "From: caller<sip:caller@example.com>;tag=323");
    let (_, identity) = read_request(&text);
    assert_eq!((identity.from.display.as_deref(), identity.from.tag()), (Some("caller"), Some("323")));
    served(&text, 200);
}

#[test]
fn rfc4475_longreq() {
    let long = |text: &str| text.repeat(40);
    let text = with(
        REQUEST,
        "To",
        &format!(
            "To: \"I have a user name of {} proportion\" <sip:{}@example.com>;p{}=v{}",
            long("extreme"),
            long("user"),
            long("very"),
            long("long")
        ),
    );
    let vias: Vec<String> = (0..34).map(|n| format!("Via: SIP/2.0/TCP sip{n}.example.com;branch=z9hG4bK{n}")).collect();
    let text = with(&text, "Contact", &format!("{}\r\nUnknown-{}: {}", vias.join("\r\n"), long("Long"), long("value")));
    let text = with(&text, "Call-ID", &format!("Call-ID: longreq.one{}callid", long("really")));
    let answer = served(&text, 200);
    assert_eq!(answer.text().matches("\r\nVia:").count(), 35);
    assert!(answer.identity().call_id.ends_with("reallycallid"));
}

#[test]
fn rfc4475_dblreq() {
    let second = REQUEST.replace("CSeq: 7", "CSeq: 8").replace("z9hG4bKtorture", "z9hG4bKsecond");
    let answer = served(format!("{REQUEST}{second}"), 200);
    assert_eq!(answer.identity().cseq.number, 7);
}

#[test]
fn rfc4475_semiuri() {
    let text = REQUEST.replace("sip:user@example.com SIP", "sip:user;par=u%40example.net@example.com SIP");
    let (request, _) = read_request(&text);
    let uri = message::uri::Uri::parse(&request.uri).unwrap();
    assert_eq!((uri.user.as_deref(), uri.host.as_str()), (Some("user;par=u%40example.net"), "example.com"));
    assert!(!uri.params.has("par"));
    served(&text, 200);
}

#[test]
fn rfc4475_transports() {
    for transport in ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP", "WS"] {
        let lines = format!(
            "Via: SIP/2.0/{transport} t1.example.com;branch=z9hG4bK{transport}\r\n\
            Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKb\r\nVia: SIP/2.0/NEW t3.example.com;branch=z9hG4bKc"
        );
        served(with(REQUEST, "Via", &lines), 200);
    }
}

#[test]
fn rfc4475_mpart01() {
    let mut body =
        b"--7a9cbec02ceef655\r\nContent-Type: text/plain\r\n\r\nHello\r\n--7a9cbec02ceef655\r\n\r\n".to_vec();
    body.extend(0..=255u8);
    body.extend_from_slice(b"\r\n--7a9cbec02ceef655--\r\n");
    let bytes = carrying("MESSAGE", "multipart/mixed;boundary=7a9cbec02ceef655", &body);
    let (request, _) = read_request(&bytes);
    assert_eq!(request.body, body);
    assert!(request.to_bytes().ends_with(&body));
    served(&bytes, 405);
}

#[test]
fn rfc4475_unreason() {
    let phrase = "= 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e}";
    assert_eq!(reason_phrase(&RESPONSE.replace("200 OK", &format!("200 {phrase}"))), phrase);
}

#[test]
fn rfc4475_noreason() {
    assert_eq!(reason_phrase(&RESPONSE.replace("200 OK", "100 ")), "");
}

// --- 3.1.2 invalid messages --------------------------------------------------------------------------------------------

#[test]
fn rfc4475_badinv01() {
    reject(with(REQUEST, "Via", "Via: SIP/2.0/UDP 192.0.2.15;;,;,,"), 400);
    reject(with(REQUEST, "To", "To: \"Joe\" <sip:joe@example.org>;;;;"), 400);
    reject(with(REQUEST, "Contact", "Contact: \"Joe\" <sip:joe@example.org>;;;;"), 400);
    reject(with(REQUEST, "Contact", "Contact: \"\" <> ;,\"Joe\" <sip:joe@example.org>"), 400);
}

#[test]
fn rfc4475_clerr() {
    reject(with(&of("INVITE"), "Content-Length", "Content-Length: 9999") + "v=0\r\n", 400);
}

#[test]
fn rfc4475_ncl() {
    reject(with(&of("INVITE"), "Content-Length", "Content-Length: -999") + "v=0\r\n", 400);
}

#[test]
fn rfc4475_scalar02() {
    for (header, line) in [
        ("CSeq", "CSeq: 36893488147419103232 OPTIONS"),
        ("CSeq", "CSeq: 2147483648 OPTIONS"),
        ("Max-Forwards", "Max-Forwards: 300"),
        ("Contact", "Expires: 10000000000000000000000000000000000000000000000"),
        ("Content-Length", "Content-Length: 36893488147419103232"),
        ("Via", "Via: SIP/2.0/UDP host.example.net:65536;branch=z9hG4bKtorture"),
    ] {
        reject(with(REQUEST, header, line), 400);
    }
}

#[test]
fn rfc4475_scalarlg() {
    dropped(with(RESPONSE, "CSeq", "CSeq: 9292394834772304023312 INVITE"));
    dropped(with(RESPONSE, "Content-Length", "Content-Length: 9292394834772304023312"));
}

#[test]
fn rfc4475_quotbal() {
    reject(with(REQUEST, "To", "To: \"Mr. J. User <sip:j.user@example.com>"), 400);
}

#[test]
fn rfc4475_ltgtruri() {
    reject(REQUEST.replace("sip:user@example.com SIP", "<sip:user@example.com> SIP"), 400);
}

#[test]
fn rfc4475_lwsruri() {
    reject(REQUEST.replace("sip:user@example.com SIP", "sip:user@example.com; lr SIP"), 400);
}

#[test]
fn rfc4475_lwsstart() {
    reject(REQUEST.replace("sip:user@example.com SIP", "  sip:user@example.com  SIP"), 400);
}

/// Tolerated: white space at a line's end means nothing anywhere else either.
#[test]
fn rfc4475_trws() {
    served(REQUEST.replacen("SIP/2.0\r\n", "SIP/2.0  \r\n", 1), 200);
}

/// Ignored: nobody puts headers of a Request-URI into anything here.
#[test]
fn rfc4475_escruri() {
    let uri = "sip:user@example.com?Route=%3Csip:example.com%3E";
    let answer = served(REQUEST.replace("sip:user@example.com SIP", &format!("{uri} SIP")), 200);
    assert_eq!(answer.header("Route"), None);
}

/// Ignored: a date is not read.
#[test]
fn rfc4475_baddate() {
    served(with(REQUEST, "Contact", "Date: Fri, 01 Jan 2010 16:00:00 EST"), 200);
}

#[test]
fn rfc4475_regbadct() {
    let contact = "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E";
    reject(with(&of("REGISTER"), "Contact", contact), 400);
    let in_brackets = "Contact: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>";
    served(with(REQUEST, "Contact", in_brackets), 200);
}

#[test]
fn rfc4475_badaspec() {
    reject(with(REQUEST, "To", "To: \"Watson, Thomas\" < sip:t.watson@example.org >"), 400);
}

/// Tolerated: the brackets say where the URI is.
#[test]
fn rfc4475_baddn() {
    let text = with(REQUEST, "From", "From: Bell, Alexander <sip:a.g.bell@example.com>;tag=43");
    assert_eq!(read_request(&text).1.from.uri, "sip:a.g.bell@example.com");
    served(text, 200);
}

#[test]
fn rfc4475_badvers() {
    reject(REQUEST.replacen(" SIP/2.0", " SIP/7.0", 1), 505);
}

#[test]
fn rfc4475_mismatch01() {
    reject(with(REQUEST, "CSeq", "CSeq: 8 INVITE"), 400);
}

#[test]
fn rfc4475_mismatch02() {
    reject(with(&of("NEWMETHOD"), "CSeq", "CSeq: 8 INVITE"), 400);
}

#[test]
fn rfc4475_bigcode() {
    dropped(RESPONSE.replace("200 OK", "4294967301 better not break the receiver"));
}

// --- 3.2 and 3.3: transactions and what an application makes of it -----------------------------------------------------

/// Two requests whose branch is the bare cookie are two, not one and its repetition; and no response is ours by it.
#[test]
fn rfc4475_badbranch() {
    let text = REQUEST.replace("z9hG4bKtorture", "z9hG4bK");
    let mut world = World::new();
    world.receive(&text);
    let first = world.expect_status(200);
    world.receive(&text.replace("torture@", "another@"));
    assert_eq!(world.expect_status(200).identity().call_id, "another@example.net");
    world.receive(&text);
    assert_eq!(world.expect_status(200).bytes, first.bytes, "matched as RFC 2543 did");
    dropped(RESPONSE.replace("z9hG4bKtorture", "z9hG4bK"));
}

#[test]
fn rfc4475_insuf() {
    for header in ["From", "To", "Call-ID", "CSeq"] {
        reject(with(REQUEST, header, ""), 400);
    }
    dropped(with(REQUEST, "Via", ""));
}

#[test]
fn rfc4475_unkscm() {
    served(REQUEST.replace("sip:user@example.com SIP", "nobodyKnowsThisScheme:totallyopaquecontent SIP"), 416);
    served(REQUEST.replace("sip:user@example.com SIP", "sip:user@exa$mple.com SIP"), 400);
}

#[test]
fn rfc4475_novelsc() {
    served(REQUEST.replace("sip:user@example.com SIP", "soap.beep://192.0.2.103:3002 SIP"), 416);
}

#[test]
fn rfc4475_unksm2() {
    let text = with(REQUEST, "To", "To: isbn:2983792873");
    let text = with(&text, "From", "From: <http://www.example.com>;tag=3234233");
    served(with(&text, "Contact", "Contact: <name:John_Smith>"), 200);
}

#[test]
fn rfc4475_bext01() {
    let lines = "Require: nothingSupportsThis, nothingSupportsThisEither\r\nProxy-Require: noProxiesSupportThis";
    let refused = served(with(REQUEST, "Contact", lines), 420);
    assert_eq!(refused.header("Unsupported"), Some("nothingSupportsThis, nothingSupportsThisEither"));
}

#[test]
fn rfc4475_invut() {
    let refused = served(carrying("INVITE", "application/unknownformat", b"<audio><pcmu port=\"443\"/></audio>"), 415);
    assert_eq!(refused.header("Accept"), Some("application/sdp"));
}

#[test]
fn rfc4475_regaut01() {
    let line = "Authorization: NoOneKnowsThisScheme opaque-data=here";
    served(with(REQUEST, "Contact", line), 200);
    served(with(&of("REGISTER"), "Contact", line), 405);
}

#[test]
fn rfc4475_multi01() {
    for (header, second) in [
        ("CSeq", "CSeq: 59 OPTIONS"),
        ("Call-ID", "Call-ID: another@example.net"),
        ("Max-Forwards", "Max-Forwards: 5"),
        ("From", "From: <sip:other@example.net>;tag=3413415"),
        ("To", "To: <sip:other.user@example.com>"),
    ] {
        let line = REQUEST.lines().find(|line| line.starts_with(header)).unwrap();
        reject(with(REQUEST, header, &format!("{line}\r\n{second}")), 400);
    }
    let twice = "Content-Type: application/sdp\r\nContent-Type: application/other";
    reject(with(REQUEST, "Contact", twice), 400);
}

#[test]
fn rfc4475_mcl01() {
    reject(with(REQUEST, "Content-Length", "Content-Length: 13\r\nContent-Length: 5") + "There's no way to know", 400);
}

#[test]
fn rfc4475_bcast() {
    let (_, statuses, malformed) = outcome(RESPONSE.replace("192.0.2.1;", "255.255.255.255;").as_bytes());
    assert!(statuses.is_empty() && !malformed, "well formed, and answers nothing we asked");
}

#[test]
fn rfc4475_zeromf() {
    served(with(REQUEST, "Max-Forwards", "Max-Forwards: 0"), 200);
}

#[test]
fn rfc4475_cparam01() {
    let line = "Contact: <sip:+19725552222@gw1.example.net>;unknownparam";
    let (request, _) = read_request(with(&of("REGISTER"), "Contact", line));
    let contact = message::name_addr::NameAddr::parse(request.headers.first(&Name::Contact).unwrap()).unwrap();
    assert!(contact.params.has("unknownparam") && contact.uri == "sip:+19725552222@gw1.example.net");
}

#[test]
fn rfc4475_cparam02() {
    let line = "Contact: <sip:+19725552222@gw1.example.net;unknownparam>";
    let (request, _) = read_request(with(&of("REGISTER"), "Contact", line));
    let contact = message::name_addr::NameAddr::parse(request.headers.first(&Name::Contact).unwrap()).unwrap();
    assert!(contact.uri.ends_with(";unknownparam") && !contact.params.has("unknownparam"));
}

#[test]
fn rfc4475_regescrt() {
    let uri = "sip:user@example.com?Route=%3Csip:sip.example.com%3E;esc%61ped=%41";
    let (request, _) = read_request(with(&of("REGISTER"), "Contact", &format!("Contact: <{uri}>")));
    assert_eq!(request.headers.first(&Name::Contact), Some(format!("<{uri}>").as_str()));
    assert!(String::from_utf8(request.to_bytes()).unwrap().contains(uri));
}

#[test]
fn rfc4475_sdp01() {
    let text = with(&of("INVITE"), "Contact", "Contact: <sip:caller@host.example.net>\r\nAccept: text/nobodyKnowsThis");
    assert_eq!(served(text, 406).header("Accept"), Some("application/sdp"));
}

#[test]
fn rfc4475_inv2543() {
    let old = with(&of("INVITE"), "Via", "Via: SIP/2.0/UDP iftgw.example.com");
    let old = with(&with(&old, "From", "From: <sip:+13035551111@ift.example.net;user=phone>"), "Max-Forwards", "");
    served(with(&old, "Call-ID", "Call-ID: inv2543.1717@ift.example.com"), 480);
}
