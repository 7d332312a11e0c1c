//! The program as an operator meets it: certificates, the service manager, the demo.
#![cfg(feature = "io")]
#![allow(clippy::disallowed_types)]

mod stage;

use lab::cards::workspace;
use lab::process::Endpoint;
use lab::qss::{Authority, CertificateKind, Config};
use stage::{MIXER_HOST, PATIENCE, Stage, start};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

const ROOM: &str = "2f11c52047f244f78e1deac1839fbd45d008d20f6eabcf2e17ede0b5d3d520e9";
const NUMBER: &str = "88826777033";

/// A device whose QSS shows a certificate of this kind; it trusts the authority, by file or by the system's roots.
fn against(kind: CertificateKind, by_file: bool) -> (Stage, Endpoint) {
    let authority = Authority::new();
    let qss = Config { tls: Some(authority.server(kind)), ..Config::default() };
    let stage = Stage::with("tls", &[(ROOM, NUMBER, 64)], lab::mixer::Config::default(), qss);
    let ca = stage.cards.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let card = stage.card("a");
    let mut config = stage.config("a", &card).room(ROOM);
    if by_file {
        config.set("qss", "ca_file", &ca.to_string_lossy());
    } else {
        // SAFETY: the tests of this program take turns, and nobody reads the environment meanwhile.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("SSL_CERT_FILE", &ca);
        }
    }
    let endpoint = stage.start("a", &config);
    (stage, endpoint)
}

#[test]
fn wss_carries_the_whole_job_with_a_ca_file_and_with_the_systems_roots() {
    for by_file in [true, false] {
        let (_stage, mut endpoint) = against(CertificateKind::Good, by_file);
        endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    }
}

#[test]
fn a_wrong_certificate_is_refused_and_the_reason_is_said() {
    let kinds = [
        (CertificateKind::WrongIssuer, "tls_unknown_issuer"),
        (CertificateKind::WrongName, "tls_wrong_name"),
        (CertificateKind::Expired, "tls_clock"),
        (CertificateKind::NotYetValid, "tls_clock"),
    ];
    for (kind, code) in kinds {
        let (stage, mut endpoint) = against(kind, true);
        let cause = endpoint.wait_for("the reason", PATIENCE, |lines| {
            lines.iter().find_map(|line| line.event["cause"]["code"].as_str().map(String::from))
        });
        assert_eq!(cause.unwrap(), code, "{kind:?}");
        assert!(endpoint.lines().iter().all(|line| line.rung() == Some("offline")), "{kind:?}");
        assert!(stage.qss.participants(ROOM).is_empty(), "{kind:?}");
    }
}

#[test]
fn the_service_manager_is_told_ready_alive_and_stopping() {
    let stage = Stage::new("notify", &[(ROOM, NUMBER, 64)]);
    let path = stage.cards.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    // SAFETY: as above.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var("NOTIFY_SOCKET", &path);
        std::env::set_var("WATCHDOG_USEC", "400000");
    }
    let card = stage.card("a");
    let config = stage.config("a", &card).room(ROOM).host_map(MIXER_HOST, stage.mixer.address());
    let endpoint = start("a", &config, &stage.cards);
    // SAFETY: as above.
    #[allow(unsafe_code)]
    unsafe {
        std::env::remove_var("NOTIFY_SOCKET");
        std::env::remove_var("WATCHDOG_USEC");
    }
    let next = || {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).expect("the manager is told something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let until = |wanted: &str| (0..200).any(|_| next().contains(wanted));
    assert!(until("READY=1"));
    assert!(until("STATUS=playing"));
    assert!(until("WATCHDOG=1"), "nothing in a call");
    // A process that stands still feeds nobody.
    endpoint.freeze(true);
    manager.set_nonblocking(true).unwrap();
    let mut buffer = [0; 512];
    while manager.recv(&mut buffer).is_ok() {}
    manager.set_nonblocking(false).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    assert!(manager.recv(&mut buffer).is_err(), "a stopped process was said to be alive");
    endpoint.freeze(false);
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    endpoint.terminate();
    assert!(until("STOPPING=1"));
}

#[test]
fn the_demo_succeeds_with_a_mixer_and_fails_without() {
    let stage = Stage::new("demo", &[]);
    let heard = stage.cards.path().join("heard.wav");
    let demo = |mixer: &str| {
        Command::new(lab::cards::target_folder().join("debug/lab-demo"))
            .args(["--endpoint", env!("CARGO_BIN_EXE_qss-endpoint"), "--mixer", mixer, "--out"])
            .arg(&heard)
            .current_dir(workspace())
            .output()
            .expect("make builds lab-demo")
    };
    let shown = demo("lab");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned() + &String::from_utf8_lossy(&shown.stderr);
    assert!(shown.status.success(), "{text}");
    for row in [
        "receiving -> playing",
        "seen: a talk, and 6 scenes",
        "mouth to ear p50",
        "SNR",
        "wire up",
        "invite to audio",
        "CPU",
        "memory, private",
    ] {
        assert!(text.contains(row), "the demo does not show {row:?}:\n{text}");
    }
    assert!(std::fs::metadata(&heard).is_ok_and(|file| file.len() > 100_000), "heard.wav is missing or empty");
    stage.mixer.reception(lab::mixer::Reception::Refuse(503));
    let shown = demo(&stage.mixer.address().to_string());
    assert!(!shown.status.success(), "nobody heard anything, and the demo is content");
}
