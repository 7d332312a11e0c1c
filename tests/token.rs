//! The token's errands, and a device that gets its token from a server: right, slow, refusing and gone.
#![cfg(feature = "io")]
#![allow(clippy::disallowed_types)]

mod stage;

use lab::qss::{Authority, CertificateKind, Config as QssConfig};
use qss_endpoint::agent::LinkErrorKind;
use qss_endpoint::config::{Config, Qss, Secret};
use qss_endpoint::io::token::Errand;
use qss_endpoint::qss::clock::BUILT;
use qss_endpoint::qss::token::{Answer, Ask, MAX_ANSWER};
use qss_endpoint::time::Span;
use stage::{PATIENCE, Stage};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An HTTP server of one thread: gives each request to the test, and answers it with what the test says.
struct TokenServer {
    address: SocketAddr,
    secure: bool,
    requests: Receiver<String>,
    answers: Sender<String>,
}

impl TokenServer {
    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> TokenServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (to_test, requests) = channel();
        let (answers, from_test) = channel::<String>();
        let from_test = Mutex::new(from_test);
        let secure = tls.is_some();
        std::thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let from_test = from_test.lock().expect("one thread");
                let served = match &tls {
                    None => serve(tcp, &to_test, &from_test),
                    Some(config) => {
                        let session = rustls::ServerConnection::new(config.clone()).expect("a good configuration");
                        serve(rustls::StreamOwned::new(session, tcp), &to_test, &from_test)
                    }
                };
                let _ = served;
            }
        });
        TokenServer { address, secure, requests, answers }
    }

    fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://localhost:{}/realms/q/token?x=1", self.address.port())
    }

    /// Says beforehand what the next request is answered with.
    fn will_say(&self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
        self.answers.send(answer).expect("the server runs");
    }

    fn will_grant(&self, token: &str, expires_in: u32) {
        let body = format!(r#"{{"access_token":"{token}","expires_in":{expires_in},"refresh_token":"r-{token}"}}"#);
        self.will_say("200 OK", "Content-Type: application/json\r\n", &body);
    }

    fn request(&self) -> String {
        self.requests.recv_timeout(PATIENCE).expect("a request for a token")
    }
}

/// One request and its answer; an answer that the test does not give is silence.
fn serve(mut stream: impl Read + Write, to_test: &Sender<String>, from_test: &Receiver<String>) -> Option<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0usize) {
                to_test.send(text.clone()).ok()?;
                break;
            }
        }
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            n => request.extend(&buffer[..n]),
        }
    }
    let answer = from_test.recv().ok()?;
    stream.write_all(answer.as_bytes()).ok()?;
    stream.flush().ok()
}

fn errand(ask: Ask, qss: &Qss) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut errand = Errand::default();
        errand.set_out(ask, qss, BUILT, 0);
        tokio::time::timeout(PATIENCE, errand.next()).await.expect("an answer of some kind")
    })
}

fn asking(url: String) -> Qss {
    let mut qss = Config::default().qss;
    qss.auth.token_url = Some(url);
    qss
}

fn form() -> Ask {
    Ask::Form(Secret("grant_type=password&password=p%26ss".into()))
}

#[test]
fn a_form_is_posted_and_the_answer_brought_back_over_http_and_https() {
    let authority = Authority::new();
    let ca = std::env::temp_dir().join(format!("qss-endpoint-token-ca-{}.pem", std::process::id()));
    std::fs::write(&ca, authority.pem()).expect("the temporary directory is writable");
    for tls in [None, Some(authority.server(CertificateKind::Good))] {
        let server = TokenServer::start(tls);
        server.will_say("429 Too Many Requests", "Retry-After: 9\r\n", r#"{"error":"slow_down"}"#);
        let answer = errand(form(), &Qss { ca_file: Some(ca.clone()), ..asking(server.url()) });
        let body = Secret(r#"{"error":"slow_down"}"#.into());
        assert_eq!(answer, Answer::Http { status: 429, retry_after: Some(9), body });
        let request = server.request();
        assert!(request.starts_with("POST /realms/q/token?x=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.to_ascii_lowercase().contains("content-type: application/x-www-form-urlencoded\r\n"));
        assert!(request.ends_with("\r\n\r\ngrant_type=password&password=p%26ss"), "{request}");
    }
    let _ = std::fs::remove_file(ca);
}

#[test]
fn what_goes_wrong_on_the_way_is_told_apart() {
    let kind = |qss: &Qss| match errand(form(), qss) {
        Answer::Failed(error) => error.kind,
        other @ (Answer::File(_) | Answer::Http { .. }) => panic!("a failure expected: {other:?}"),
    };
    let authority = Authority::new();
    let stranger = TokenServer::start(Some(authority.server(CertificateKind::Good)));
    let system_roots = asking(stranger.url());
    assert!(matches!(kind(&system_roots), LinkErrorKind::TlsUnknownIssuer | LinkErrorKind::TlsOther));

    let silent = TokenServer::start(None);
    let mut qss = asking(silent.url());
    qss.auth.timeout = Span::from_millis(200);
    assert_eq!(kind(&qss), LinkErrorKind::TimedOut);

    let rude = TokenServer::start(None);
    rude.answers.send("what?\r\n\r\n".into()).expect("the server runs");
    assert_eq!(kind(&asking(rude.url())), LinkErrorKind::Protocol);

    let endless = TokenServer::start(None);
    endless.will_say("200 OK", "", &"x".repeat(MAX_ANSWER + 1));
    assert_eq!(kind(&asking(endless.url())), LinkErrorKind::Protocol);

    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("loopback has free ports");
    assert_eq!(kind(&asking(format!("http://{nobody}/"))), LinkErrorKind::Refused);
    assert_eq!(kind(&asking("http://nowhere.invalid/".into())), LinkErrorKind::Dns);
    drop(TcpStream::connect(silent.address));
}

#[test]
fn a_token_file_is_read_each_time() {
    let path = std::env::temp_dir().join(format!("qss-endpoint-token-{}", std::process::id()));
    let qss = Qss { token_file: Some(path.clone()), ..Config::default().qss };
    for text in ["one\n", "two\n"] {
        std::fs::write(&path, text).expect("the temporary directory is writable");
        assert_eq!(errand(Ask::File, &qss), Answer::File(Ok(Secret(text.into()))));
    }
    std::fs::remove_file(&path).expect("it was there");
    let Answer::File(Err(why)) = errand(Ask::File, &qss) else { panic!("the file is gone") };
    assert!(why.contains(&path.display().to_string()), "{why}");
}

/// A pipe that nobody writes to is as slow as a file system can be.
#[test]
fn a_token_file_that_hangs_stops_nothing_else_and_costs_one_thread() {
    let path = std::env::temp_dir().join(format!("qss-endpoint-slow-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("coreutils has it").success());
    let qss = Qss { token_file: Some(path.clone()), ..Config::default().qss };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let mut errand = Errand::default();
    let (passed, watched) = channel::<()>();
    let pipe = path.clone();
    let watchdog = std::thread::spawn(move || {
        while watched.recv_timeout(Duration::from_secs(10)).is_err() {
            let _ = std::fs::write(&pipe, "all hangs\n");
        }
    });
    runtime.block_on(async {
        for _ in 0..3 {
            errand.set_out(Ask::File, &qss, BUILT, 0);
            let waited = tokio::time::timeout(Duration::from_millis(20), errand.next()).await;
            assert!(waited.is_err(), "the clock goes on");
        }
        std::fs::write(&path, "late\n").expect("somebody reads");
        assert_eq!(errand.next().await, Answer::File(Ok(Secret("late\n".into()))));
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "soon\n").expect("a file, now");
        errand.set_out(Ask::File, &qss, BUILT, 0);
        assert_eq!(errand.next().await, Answer::File(Ok(Secret("soon\n".into()))), "no reader of the pipe is left");
    });
    std::fs::remove_file(&path).expect("it is there");
    passed.send(()).expect("it watches");
    watchdog.join().expect("it has nothing to do");
}

/// The program, a token server, and a QSS that knows one token only.
#[test]
fn the_program_gets_a_token_and_another_when_the_first_is_refused() {
    let stage = Stage::with("token", &[], lab::mixer::Config::default(), QssConfig::default());
    let server = TokenServer::start(None);
    let card = stage.card("a");
    let mut config = stage.config("a", &card);
    config.set("qss", "token", "").set("qss.auth", "token_url", &server.url());
    config.set("qss.auth", "client_id", "intercom").set("qss.auth", "password", "secret");
    server.will_grant("stale", 4_200);
    server.will_grant(stage::TOKEN, 2);
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_rung("session", 0, PATIENCE).unwrap();
    for _ in 0..2 {
        let request = server.request();
        assert!(request.ends_with("grant_type=password&username=a&password=secret"), "{request}");
    }
    assert!(!endpoint.lines().iter().any(|line| line.event["cause"]["code"] == "qss_unauthorized"), "it never counted");
    // 80 % of two seconds later, but not before retry_min_ms.
    server.will_grant("renewed", 4_200);
    let renewal = server.request();
    assert!(renewal.contains(&format!("grant_type=refresh_token&refresh_token=r-{}", stage::TOKEN)), "{renewal}");
    assert!(!endpoint.errors().contains("secret") && !endpoint.errors().contains("renewed"));
}

/// A crash loop counts on in the state directory, and a token file that is replaced is used.
#[test]
fn the_program_reads_its_token_file_again_and_remembers_its_attempts() {
    let stage = Stage::with("token-file", &[], lab::mixer::Config::default(), QssConfig::default());
    let card = stage.card("a");
    let folder: PathBuf = stage.cards.path().into();
    let file = folder.join("token");
    std::fs::write(&file, "wrong\n").unwrap();
    let mut config = stage.config("a", &card);
    config.set("qss", "token", "").set("qss", "token_file", &file.to_string_lossy());
    config.set("device", "state_dir", &folder.to_string_lossy());
    let mut endpoint = stage.start("a", &config);
    let refused = endpoint.wait_for("the refusal", PATIENCE, |lines| {
        lines.iter().find_map(|line| (line.event["cause"]["code"] == "qss_unauthorized").then_some(()))
    });
    refused.unwrap();
    endpoint.kill();
    let kept = std::fs::read_to_string(folder.join("session.json")).expect("the attempt was counted");
    assert!(kept.contains(r#""attempts":1"#), "{kept}");
    std::fs::write(&file, format!("{}\n", stage::TOKEN)).unwrap();
    let mut endpoint = stage.start("a", &config);
    endpoint.wait_rung("session", 0, PATIENCE).unwrap();
    let kept = std::fs::read_to_string(folder.join("session.json")).expect("and the second life's");
    assert!(kept.contains(r#""attempts":2"#), "{kept}");
    drop(endpoint);
}
