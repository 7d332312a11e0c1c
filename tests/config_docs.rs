//! The pages of `docs/` that are made from the table of keys are up to date, the example works, every board is right.
//!
//! `REWRITE=1 cargo test --test config_docs` writes the pages anew.

mod memory;

use memory::{Memory, minimal};
use qss_endpoint::config::{Config, board, describe};

fn must_be_current(name: &str, text: &str) {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/{name} is stale: REWRITE=1 cargo test --test config_docs");
}

#[test]
fn the_reference_is_current() {
    must_be_current("config.md", &describe::reference());
}

#[test]
fn the_example_is_current_and_right() {
    must_be_current("endpoint.toml", &describe::example());
    let loaded = Memory::with(&describe::example()).load().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!(loaded.config.rooms.len(), 1);
}

/// The example without the `#` of whatever can be uncommented, in parts: each `[section]` and `[[list]]` with what it holds.
fn uncommented() -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in describe::example().lines() {
        let line = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
        if line.starts_with('[') {
            parts.push(String::new());
        }
        let part = parts.last_mut().expect("begins with one");
        *part += line;
        part.push('\n');
    }
    parts
}

/// Every key that is commented out can be uncommented, and is the default.
#[test]
fn the_example_shows_the_defaults() {
    let not_defaults = ["url", "username", "token", "board", "capture", "playback"];
    // Empty is how "not set" is written; a device id cannot be empty.
    let skip = |line: &str| not_defaults.iter().any(|key| line.starts_with(&format!("{key} ="))) || line == "id = \"\"";
    let sections = uncommented().into_iter().filter(|part| !part.starts_with("[["));
    let text: String =
        sections.collect::<String>().lines().filter(|line| !skip(line)).map(|line| format!("{line}\n")).collect();
    let mut config = Memory::with(&text).load().unwrap_or_else(|errors| panic!("{errors}\n{text}")).config;
    config.device.id.clear();
    assert_eq!(config, Config::default());
    assert!(text.lines().filter(|line| line.contains(" = ")).count() > 70, "{text}");
}

/// So can every list, each kind of room by itself.
#[test]
fn the_lists_of_the_example_are_right() {
    let kinds = ["id", "sip_uri", "meeting", "quick_conference", "create"];
    let lists: Vec<String> = uncommented().into_iter().filter(|part| part.starts_with("[[")).collect();
    assert_eq!(lists.len(), 4, "{lists:?}");
    for kind in kinds {
        let mut text = minimal().split("[[room]]").next().expect("there is something before").to_owned();
        for line in lists.concat().lines() {
            let key = line.split(" = ").next().expect("a first word");
            let other = kinds.contains(&key) && key != kind || key == "password" && kind != "meeting";
            text += match line {
                _ if other => "",
                "create = false" => "create = true",
                line => line,
            };
            text.push('\n');
        }
        let config = Memory::with(&text).load().unwrap_or_else(|errors| panic!("{kind}: {errors}\n{text}")).config;
        let counts = [config.rooms.len(), config.invites.callers.len(), config.calls.list.len(), config.buttons.len()];
        assert_eq!(counts, [1; 4], "{kind}");
    }
}

/// All keys of the reference are in the example.
#[test]
fn the_example_has_every_key() {
    let parts = uncommented();
    let reference = describe::reference();
    for section in reference.split("\n## ").filter(|section| section.starts_with('[')) {
        let name = section.lines().next().expect("its heading");
        let part =
            parts.iter().find(|part| part.starts_with(&format!("{name}\n"))).unwrap_or_else(|| panic!("no {name}"));
        for key in section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
            assert!(part.contains(&format!("\n{key} = ")), "{name} {key}");
        }
    }
}

#[test]
fn every_board_is_built_in_and_passes() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/boards");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter_map(|name| Some(name.strip_suffix(".toml")?.to_owned())).collect();
    names.sort();
    assert_eq!(names, board::BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    for name in names {
        let text = format!("board = '{name}'\n{}", minimal());
        let loaded = Memory::with(&text).load().unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.warnings, [""; 0], "{name}");
    }
}

#[test]
fn boards_differ_where_they_say_they_do() {
    let audio = |board: &str| Memory::with(&format!("board = '{board}'\n{}", minimal())).load().unwrap().config.audio;
    assert_eq!(audio("lab").reopen_interval.as_millis(), 200);
    assert_eq!(audio("imx-wm8904").capture_channels, 2);
    assert!(audio("raspberry-pi-usb").capture.starts_with("hw:CARD="));
}

#[test]
fn the_configuration_of_the_readme_is_right() {
    let readme = include_str!("../README.md");
    let device = readme.split("## On a device").nth(1).expect("the section");
    let block = device.lines().skip_while(|line| !line.starts_with("    ")).take_while(|line| line.starts_with("    "));
    let text = block.map(|line| format!("{}\n", line.trim_start())).collect::<String>();
    let text = text.replace("${CREDENTIALS_DIRECTORY}/qss-token", "/etc/token");
    let mut memory = Memory::with(&text);
    memory.file("/etc/token", "secret");
    let loaded = memory.load().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.config.rooms.len(), 1);
    assert_eq!(loaded.config.sip.host_map.len(), 1);
}
