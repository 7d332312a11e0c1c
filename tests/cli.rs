//! The program from the outside: what it prints, and with which exit code it ends.
#![cfg(feature = "io")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of its own for each test, gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("qss-endpoint-cli-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn endpoint(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qss-endpoint"));
    command.args(arguments).env_remove("QSS_ENDPOINT_BOARDS").env_remove("RUNTIME_DIRECTORY").output().unwrap()
}

fn ends_with(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {stdout}\nstderr: {stderr}");
    (stdout, stderr)
}

fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}

const GOOD: &str =
    "[device]\nid = 'door'\n[qss]\nurl = 'wss://q'\nusername = 'u'\ntoken_file = 't'\n[[room]]\nid = 'a'\n";

#[test]
fn help_and_version() {
    assert!(ends_with(&endpoint(&["help"]), 0).0.contains("usage: qss-endpoint run --config FILE"));
    assert_eq!(endpoint(&["--help"]).stdout, endpoint(&["help"]).stdout);
    assert_eq!(ends_with(&endpoint(&["version"]), 0).0, format!("qss-endpoint {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn devices_lists_sound_cards_or_says_that_there_are_none() {
    let (stdout, _) = ends_with(&endpoint(&["devices"]), 0);
    assert!(stdout.contains("no sound card is present") || stdout.contains("hw:"), "{stdout}");
}

#[test]
fn wrong_usage_is_64() {
    for arguments in
        [&[][..], &["jump"], &["run"], &["check"], &["check", "--volume"], &["check", "a", "b"], &["run", "--config"]]
    {
        let (stdout, stderr) = ends_with(&endpoint(arguments), 64);
        assert!(stdout.is_empty() && !stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn check_prints_what_is_in_effect_without_the_secret() {
    let scratch = Scratch::new("good");
    let file = scratch.file("endpoint.toml", GOOD);
    scratch.file("t", "geheim\n");
    let (stdout, stderr) = ends_with(&endpoint(&["check", utf8(&file)]), 0);
    assert!(stdout.contains("token = \"(set)\"") && stdout.contains("period_ms = 10\n"), "{stdout}");
    assert!(!stdout.contains("geheim"));
    assert!(stderr.contains("warning: ") && stderr.contains("everybody may read this secret"), "{stderr}");
    assert_eq!(ends_with(&endpoint(&["check", "--quiet", utf8(&file)]), 0).0, "");
}

#[test]
fn a_wrong_configuration_is_78_and_says_where() {
    let scratch = Scratch::new("wrong");
    let file = scratch.file("endpoint.toml", "[audio]\nperod_ms = 3\ncapture = 'hw:1'\n");
    for arguments in [["check", utf8(&file)].as_slice(), &["run", "--config", utf8(&file)]] {
        let (stdout, stderr) = ends_with(&endpoint(arguments), 78);
        assert!(stdout.is_empty());
        assert!(
            stderr.starts_with(&format!("{}:2:1: [audio] perod_ms: unknown key; did you mean period_ms?", utf8(&file))),
            "{stderr}"
        );
        assert!(stderr.contains(":3:1: [audio] capture: \"hw:1\" is not allowed"), "{stderr}");
    }
    assert!(ends_with(&endpoint(&["check", "/nonexistent"]), 78).1.contains("there is no such file"));
    assert!(ends_with(&endpoint(&["check", "/"]), 78).1.contains("it is a directory"));
    assert!(ends_with(&endpoint(&["check", "/dev/zero"]), 78).1.contains("larger than 1 MiB"));
}

#[test]
fn boards_come_from_beside_the_file_or_from_where_one_says() {
    let scratch = Scratch::new("boards");
    let file = scratch.file("endpoint.toml", &format!("board = 'mine'\n{GOOD}"));
    scratch.file("t", "x");
    assert!(ends_with(&endpoint(&["check", utf8(&file)]), 78).1.contains("unknown board \"mine\"; known: base,"));
    let beside = scratch.file("boards/mine.toml", "inherit = 'base'\n[audio]\nperiods = 7\n");
    let (stdout, _) = ends_with(&endpoint(&["check", utf8(&file)]), 0);
    assert!(stdout.contains(&format!("periods = 7  # {}:3", utf8(&beside))), "{stdout}");
    scratch.file("other/mine.toml", "[audio]\nperiods = 8\n");
    let other = scratch.0.join("other");
    assert!(ends_with(&endpoint(&["check", utf8(&file), "--boards", utf8(&other)]), 0).0.contains("periods = 8"));
}

#[test]
fn status_without_an_endpoint_is_69() {
    let scratch = Scratch::new("status");
    let socket = scratch.0.join("status.sock");
    let (_, stderr) = ends_with(&endpoint(&["status", "--socket", utf8(&socket)]), 69);
    assert!(stderr.contains("is the endpoint running"), "{stderr}");
    let file = scratch.file("endpoint.toml", "[status]\nsocket = 'status.sock'\n");
    assert!(ends_with(&endpoint(&["status", "--config", utf8(&file)]), 69).1.contains(utf8(&socket)));
}

#[test]
fn status_prints_the_answer_and_with_follow_the_events_after_it() {
    let scratch = Scratch::new("answer");
    let socket = scratch.0.join("status.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for lines in [1, 2] {
            let (mut stream, _) = listener.accept().unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            asked.extend(reader.lines().take(lines).map(Result::unwrap));
            stream.write_all(b"{\"rung\":\"room\"}\n{\"rung\":\"call\"}\n").unwrap();
        }
        asked
    });
    assert_eq!(ends_with(&endpoint(&["status", "--socket", utf8(&socket)]), 0).0, "{\"rung\":\"room\"}\n");
    let (stdout, _) = ends_with(&endpoint(&["status", "--follow", "--socket", utf8(&socket)]), 0);
    assert_eq!(stdout, "{\"rung\":\"room\"}\n{\"rung\":\"call\"}\n");
    assert_eq!(server.join().unwrap(), ["status", "status", "follow"]);
}

#[test]
fn ctl_sends_a_command_and_a_refusal_is_1() {
    let scratch = Scratch::new("ctl");
    let socket = scratch.0.join("status.sock");
    assert!(ends_with(&endpoint(&["ctl"]), 64).1.contains("COMMAND"));
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        let answers =
            ["{\"ok\":true,\"call\":1}\n", "{\"ok\":false,\"error\":{\"code\":\"no_call\"}}\n", "{\"ok\":true}\n"];
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            asked.extend(BufReader::new(stream.try_clone().unwrap()).lines().next().map(Result::unwrap));
            stream.write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    let ctl = |words: &[&str]| endpoint(&[&["ctl", "--socket", utf8(&socket)], words].concat());
    assert_eq!(ends_with(&ctl(&["call", "front-desk"]), 0).0, "{\"ok\":true,\"call\":1}\n");
    assert!(ends_with(&ctl(&["hangup"]), 1).0.contains("no_call"));
    // What looks like a number is none of our options; what looks like an option is.
    ends_with(&ctl(&["volume", "playback", "-12.5"]), 0);
    assert!(ends_with(&ctl(&["volume", "playback", "-x"]), 64).1.contains("'-x'"));
    assert!(ends_with(&ctl(&["follow"]), 64).1.contains("status --follow"));
    assert_eq!(server.join().unwrap(), ["call front-desk", "hangup", "volume playback -12.5"]);
}

#[test]
fn ctl_waits_for_the_outcome_of_a_command() {
    let scratch = Scratch::new("wait");
    let socket = scratch.0.join("status.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let answers = [
            "{\"ok\":true,\"request\":1}\n{\"seq\":1,\"event\":\"request\",\"request\":1,\"outcome\":\"done\"}\n",
            "{\"ok\":true,\"request\":2}\n{\"seq\":2,\"event\":\"request\",\"request\":2,\"outcome\":\"refused\"}\n",
            "{\"ok\":true,\"request\":3}\n",
        ];
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let asked: Vec<_> =
                BufReader::new(stream.try_clone().unwrap()).lines().take(2).map(Result::unwrap).collect();
            assert_eq!(asked, ["add bob", "follow"]);
            stream.write_all(answer.as_bytes()).unwrap();
            // The last client hears nothing more, until it has gone.
            let _ = BufReader::new(stream).lines().next();
        }
    });
    for (code, lines) in [(0, 2), (1, 2), (75, 1)] {
        let (stdout, _) = ends_with(&endpoint(&["ctl", "--socket", utf8(&socket), "--wait", "1", "add", "bob"]), code);
        assert_eq!(stdout.lines().count(), lines, "{stdout}");
    }
    server.join().unwrap();
    assert!(ends_with(&endpoint(&["ctl", "--wait", "soon", "add", "bob"]), 64).1.contains("soon"));
}
