//! From a draft to a [`Config`]: secrets read, what was left out filled in, keys compared with each other.

mod calls;
mod qss;
mod rooms;
mod volumes;

use super::card_name::{CardIdentity, CardKey, PcmName};
use super::error::{Fault, Problem};
use super::file::{Draft, Origins, Place, Problems, Purpose, Source};
use super::{Config, NO_PCM, Secret, Sip};
use md5::{Digest, Md5};
use std::path::{Path, PathBuf};

pub(super) struct Check<'a> {
    file: &'a Path,
    source: &'a dyn Source,
    purpose: Purpose,
    origins: &'a Origins,
    problems: &'a mut Problems,
    pub(super) warnings: Vec<String>,
}

/// `sun_path` of Linux holds 108 bytes, the last of them zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Where systemd puts what `LoadCredential=` names.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// What a PEM file is to hold.
#[derive(Clone, Copy)]
enum Pem {
    Certificate,
    PrivateKey,
}

impl<'a> Check<'a> {
    pub(super) fn new(
        file: &'a Path,
        source: &'a dyn Source,
        purpose: Purpose,
        origins: &'a Origins,
        problems: &'a mut Problems,
    ) -> Check<'a> {
        Check { file, source, purpose, origins, problems, warnings: Vec::new() }
    }

    /// The configuration; only to be used if `problems` stayed empty.
    pub(super) fn finish(&mut self, mut draft: Draft, world_readable: bool) -> Config {
        if world_readable {
            self.secrets_in_the_open(&draft.config);
        }
        self.token(&mut draft);
        let auth = &mut draft.config.qss.auth;
        self.secret("qss.auth.client_secret", &mut auth.client_secret, draft.client_secret_file.take());
        self.secret("qss.auth.password", &mut auth.password, draft.auth_password_file.take());
        self.secret("sip.password", &mut draft.config.sip.password, draft.password_file.take());
        self.socket(&mut draft);
        self.device_id(&mut draft.config);
        let rooms = std::mem::take(&mut draft.rooms);
        draft.config.rooms = self.rooms(rooms);
        let buttons = std::mem::take(&mut draft.buttons);
        draft.config.buttons = self.buttons(buttons);
        let callers = std::mem::take(&mut draft.callers);
        draft.config.invites.callers = callers.into_iter().map(|listed| listed.item).collect();
        let calls = std::mem::take(&mut draft.calls);
        draft.config.calls.list = self.calls(calls);
        self.state_dir(&mut draft.config);
        self.qss(&mut draft.config);
        self.sip_files(&mut draft.config.sip);
        self.cards(&draft.config);
        self.order(&draft.config);
        self.rtp_ports(draft.config.rtp.ports);
        self.srtp_suites(&draft.config.rtp.srtp_suites);
        self.purpose(&draft.config);
        draft.config
    }

    /// The path of the status socket: as given, or in systemd's runtime directory.
    pub(super) fn socket(&mut self, draft: &mut Draft) {
        let socket = &mut draft.config.status.socket;
        match socket.take() {
            Some(path) => *socket = self.path("status.socket", &path),
            None if !self.origins.contains_key("status.socket") => {
                *socket = self.source.variable("RUNTIME_DIRECTORY").map(|dirs| {
                    let first = dirs.split(':').next().unwrap_or_default();
                    PathBuf::from(first).join("status.sock")
                });
            }
            None => {}
        }
        if let Some(path) = socket
            && path.as_os_str().len() > LONGEST_SOCKET_PATH
        {
            let fault = Fault::not_allowed(&path.to_string_lossy(), "the path of a socket has at most 107 bytes");
            self.at("status.socket", fault);
        }
    }

    fn secrets_in_the_open(&mut self, config: &Config) {
        let secrets = [
            ("qss.token", &config.qss.token),
            ("qss.auth.client_secret", &config.qss.auth.client_secret),
            ("qss.auth.password", &config.qss.auth.password),
            ("sip.password", &config.sip.password),
        ];
        for (key, _) in secrets.iter().filter(|(_, secret)| !secret.0.is_empty()) {
            let file = self.file.display();
            self.warnings.push(format!(
                "{file}: everybody may read this file, and it holds {key}: put that into a file of its own ({key}_file)"
            ));
        }
    }

    /// The token itself, from the file, from a file of its own, or from the environment.
    fn token(&mut self, draft: &mut Draft) {
        let Draft { config, token_env, .. } = draft;
        if let Some(name) = token_env {
            if !config.qss.token.0.is_empty() || config.qss.token_file.is_some() {
                let what = "qss.token or qss.token_file is given too: one of them must go";
                return self.at("qss.token_env", Fault::Conflict(what.into()));
            }
            match (self.source.variable(name), self.purpose) {
                (Some(value), _) => match secret_line(&value) {
                    Ok(token) => config.qss.token = Secret(token.to_owned()),
                    Err(why) => {
                        let what = format!("the variable {} {why}", super::error::excerpt(name));
                        self.at("qss.token_env", Fault::Conflict(what));
                    }
                },
                (None, Purpose::Check) => {
                    self.warn("qss.token_env", "not looked at: this environment has no such variable");
                }
                (None, Purpose::Run) => {
                    let why = format!("the environment has no variable {}", super::error::excerpt(name));
                    self.at("qss.token_env", Fault::not_allowed(name, why));
                }
            }
        }
        if let Some(file) = config.qss.token_file.take() {
            let Some(path) = self.secret_file("qss.token", &config.qss.token, &file) else { return };
            match (self.line_of(&path), self.purpose) {
                (Ok(token), _) => config.qss.token = token,
                // It is read again before each attempt, and may be there by then.
                (Err(fault), Purpose::Run) => {
                    self.warn("qss.token_file", &format!("{fault}; it is tried again before each attempt"));
                }
                (Err(fault), Purpose::Check) => self.at("qss.token_file", fault),
            }
            config.qss.token_file = Some(path);
        }
    }

    /// Fills `secret` from `file`, if one is given; its full path.
    fn secret(&mut self, key: &str, secret: &mut Secret, file: Option<PathBuf>) -> Option<PathBuf> {
        let path = self.secret_file(key, secret, &file?)?;
        match self.line_of(&path) {
            Ok(line) => *secret = line,
            Err(fault) => {
                self.at(&format!("{key}_file"), fault);
                return None;
            }
        }
        Some(path)
    }

    /// Where the file is that `secret` is in; none if that is in the configuration, too.
    fn secret_file(&mut self, key: &str, secret: &Secret, file: &Path) -> Option<PathBuf> {
        let file_key = format!("{key}_file");
        if !secret.0.is_empty() {
            self.at(&file_key, Fault::Conflict(format!("{key} is given too: one of the two must go")));
            return None;
        }
        self.path(&file_key, file)
    }

    fn line_of(&mut self, path: &Path) -> Result<Secret, Fault> {
        let read = self.source.read(path).map_err(|why| Fault::Unreadable { path: path.into(), why })?;
        let line = secret_line(&read.text).map_err(|why| Fault::BadContent { path: path.into(), why })?;
        if read.world_readable {
            self.open_to_all(path);
        }
        Ok(Secret(line.to_owned()))
    }

    fn open_to_all(&mut self, path: &Path) {
        let path = path.display();
        self.warnings.push(format!(
            "{path}: everybody may read this secret: chmod 600 {path}, and let systemd hand it over (LoadCredential)"
        ));
    }

    fn device_id(&mut self, config: &mut Config) {
        if !config.device.id.is_empty() || self.origins.contains_key("device.id") {
            return;
        }
        match self.machine_id().or_else(|| self.host_name()) {
            Some(id) => config.device.id = id,
            None => {
                let why = "missing: this machine has neither /etc/machine-id nor a host name to make one from";
                self.at("device.id", Fault::Missing(why.into()));
            }
        }
    }

    /// machine-id(5) asks not to show the id itself to the network but a keyed hash of it.
    fn machine_id(&self) -> Option<String> {
        let id = self.source.read(Path::new("/etc/machine-id")).ok()?.text;
        let id = id.trim();
        if id.len() != 32 || !id.chars().all(|c| c.is_ascii_hexdigit()) || id.chars().all(|c| c == '0') {
            return None;
        }
        let digest = Md5::new().chain_update("qss-endpoint device id\0").chain_update(id).finalize();
        Some(digest.iter().take(8).fold("ep-".to_owned(), |text, byte| format!("{text}{byte:02x}")))
    }

    fn host_name(&self) -> Option<String> {
        let name = self.source.read(Path::new("/proc/sys/kernel/hostname")).ok()?.text;
        let name = name.trim();
        // Names that half of a fleet has.
        let common = ["localhost", "(none)", "debian", "raspberrypi"].contains(&name);
        (!common && super::shape::device_id(name).is_ok()).then(|| name.to_owned())
    }

    fn sip_files(&mut self, sip: &mut Sip) {
        if let Some(file) = sip.ca_file.take() {
            sip.ca_file = self.pem("sip.ca_file", &file, Pem::Certificate);
        }
        let together = "a certificate and its key are given together: sip.client_cert_file, sip.client_key_file";
        match (sip.client_cert_file.take(), sip.client_key_file.take()) {
            (Some(cert), Some(key)) => {
                sip.client_cert_file = self.pem("sip.client_cert_file", &cert, Pem::Certificate);
                sip.client_key_file = self.pem("sip.client_key_file", &key, Pem::PrivateKey);
            }
            (Some(_), None) => self.at("sip.client_cert_file", Fault::Missing(together.into())),
            (None, Some(_)) => self.at("sip.client_key_file", Fault::Missing(together.into())),
            (None, None) => {}
        }
    }

    /// The full path of a PEM file that holds what it should.
    fn pem(&mut self, key: &str, given: &Path, holds: Pem) -> Option<PathBuf> {
        let path = self.path(key, given)?;
        let read = match self.source.read(&path) {
            Ok(read) => read,
            Err(why) => {
                self.at(key, Fault::Unreadable { path, why });
                return None;
            }
        };
        let (mark, why) = match holds {
            Pem::Certificate => ("-----BEGIN CERTIFICATE-----", "holds no PEM certificate"),
            Pem::PrivateKey => ("PRIVATE KEY-----", "holds no PEM private key"),
        };
        if !read.text.contains(mark) {
            self.at(key, Fault::BadContent { path, why });
            return None;
        }
        if matches!(holds, Pem::PrivateKey) && read.world_readable {
            self.open_to_all(&path);
        }
        Some(path)
    }

    /// A card's number is decided anew at each boot: the name must hold longer, and one that does is offered.
    fn cards(&mut self, config: &Config) {
        let audio = &config.audio;
        let names =
            [("audio.capture", &audio.capture), ("audio.playback", &audio.playback), ("audio.mixer", &audio.mixer)];
        if audio.capture == NO_PCM && audio.playback == NO_PCM {
            self.at(
                "audio.playback",
                Fault::Conflict("neither microphone nor loudspeaker: nothing is left".to_owned()),
            );
        }
        for (key, name) in names {
            let Ok(Some(PcmName { card: CardKey::Index(index), .. })) = PcmName::parse(name) else { continue };
            let cards = self.source.sound_cards();
            let offered = |card: &CardIdentity| {
                let name = card.names(&cards).into_iter().next();
                format!("hw:{} ({})", name.unwrap_or_else(|| format!("CARD={}", card.id)), card.title)
            };
            let instead = match cards.iter().find(|card| card.index == index) {
                Some(card) => format!("number {index} is {} now", offered(card)),
                None if cards.is_empty() => {
                    "write hw:CARD=<id>, hw:USB=<vendor>:<product> or hw:BUS=<path>, as `qss-endpoint devices` has them"
                        .to_owned()
                }
                None => format!("present are {}", cards.iter().map(offered).collect::<Vec<_>>().join(", ")),
            };
            let why = format!("a card's number changes from boot to boot; {instead}");
            self.at(key, Fault::not_allowed(name, why));
        }
    }

    /// Pairs of keys of which the first must not exceed the second.
    fn order(&mut self, config: &Config) {
        let Config { qss, calls, sip, rtp, audio, jitter, .. } = config;
        let pairs = [
            ("qss.reconnect_min_ms", qss.reconnect_min, "qss.reconnect_max_ms", qss.reconnect_max),
            ("calls.ring_ms", calls.plain.ring, "calls.total_ms", calls.plain.total),
            ("calls.destroy_retry_min_ms", calls.destroy_retry.0, "calls.destroy_retry_max_ms", calls.destroy_retry.1),
            ("qss.auth.retry_min_ms", qss.auth.retry_min, "qss.auth.retry_max_ms", qss.auth.retry_max),
            ("sip.retry_min_ms", sip.retry_min, "sip.retry_max_ms", sip.retry_max),
            ("sip.register.retry_min_ms", sip.register.retry_min, "sip.register.retry_max_ms", sip.register.retry_max),
            ("sip.t1_ms", sip.t1, "sip.t2_ms", sip.t2),
            ("sip.reconnect_min_ms", sip.reconnect_min, "sip.reconnect_max_ms", sip.reconnect_max),
            ("rtp.silence_timeout_ms", rtp.silence_timeout, "rtp.dead_timeout_ms", rtp.dead_timeout),
            ("jitter.min_ms", jitter.min, "jitter.max_ms", jitter.max),
        ];
        for (low, low_value, high, high_value) in pairs {
            let known = !self.problems.has(&heading(low)) && !self.problems.has(&heading(high));
            if known && low_value > high_value {
                let (low_value, high_value) = (low_value.as_millis(), high_value.as_millis());
                let key = if self.origins.contains_key(low) { low } else { high };
                self.at(key, Fault::Conflict(format!("{low} ({low_value}) is more than {high} ({high_value})")));
            }
        }
        self.volumes(audio);
        let known = !self.problems.has(&heading("audio.capture_channels"));
        if known && audio.capture_channel >= audio.capture_channels {
            let what = format!("there are {} channels, counted from 0", audio.capture_channels);
            self.at("audio.capture_channel", Fault::not_allowed(&audio.capture_channel.to_string(), what));
        }
    }

    fn rtp_ports(&mut self, (min, max): (u16, u16)) {
        if self.problems.has("[rtp] port_min") || self.problems.has("[rtp] port_max") {
            return;
        }
        let what = match () {
            () if (min == 0) != (max == 0) => "port_min and port_max must both be 0 or both be given",
            () if min > max => "port_min is more than port_max",
            () if min % 2 == 1 || max % 2 == 1 => "RTP ports are even: RTCP takes the odd port above (RFC 3550 11)",
            () => return,
        };
        let key = if self.origins.contains_key("rtp.port_min") { "rtp.port_min" } else { "rtp.port_max" };
        self.at(key, Fault::Conflict(what.into()));
    }

    fn srtp_suites(&mut self, suites: &[String]) {
        if suites.is_empty() && !self.problems.has("[rtp] srtp_suites") {
            let what = "one suite is the least; plain audio is srtp = \"off\"";
            self.at("rtp.srtp_suites", Fault::Conflict(what.into()));
        }
    }

    fn purpose(&mut self, config: &Config) {
        if config.rooms.is_empty()
            && config.calls.list.is_empty()
            && (config.qss.url.is_none() || (config.invites.accept.is_empty() && config.invites.callers.is_empty()))
        {
            let file = self.file.display();
            let hint =
                "neither a [[room]] to join nor a [[call]] nor invites.accept: this device will never be in a call";
            self.warnings.push(format!("{file}: {hint}"));
        }
        if config.invites.accept.iter().any(|who| who == "*") && config.invites.accept.len() > 1 {
            self.warn("invites.accept", "\"*\" stands for everyone: the other entries have no effect");
        }
    }

    /// `${NAME}` put in, and relative to the directory of the configuration file.
    fn path(&mut self, key: &str, given: &Path) -> Option<PathBuf> {
        let given = given.to_string_lossy();
        let (mut full, mut rest) = (String::new(), given.as_ref());
        while let Some((before, after)) = rest.split_once("${") {
            full.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                self.at(key, Fault::not_allowed(&given, "the } after ${ is missing"));
                return None;
            };
            let Some(value) = self.source.variable(name) else {
                match (name, self.purpose) {
                    (CREDENTIALS, Purpose::Check) => {
                        self.warn(key, "not looked at: systemd gives credentials to the running service only");
                    }
                    _ => {
                        let hint = if name == CREDENTIALS { " (systemd sets it with LoadCredential=)" } else { "" };
                        let why = format!("the environment has no variable {}{hint}", super::error::excerpt(name));
                        self.at(key, Fault::not_allowed(&given, why));
                    }
                }
                return None;
            };
            full.push_str(&value);
            rest = after;
        }
        full.push_str(rest);
        Some(self.file.parent().unwrap_or(Path::new("")).join(full))
    }

    /// Reports at the place where `key` is set; if it is not, for the file. One complaint about a key is enough.
    fn at(&mut self, key: &str, fault: Fault) {
        let label = heading(key);
        if !self.problems.has(&label) {
            self.push(self.origins.get(key), &label, fault);
        }
    }

    fn push(&mut self, place: Option<&Place>, key: &str, fault: Fault) {
        let (file, at) = match place {
            Some(place) => (place.file.clone(), Some(place.at)),
            None => (self.file.to_owned(), None),
        };
        self.problems.push(Problem { file, at, key: key.to_owned(), fault });
    }

    fn warn(&mut self, key: &str, what: &str) {
        let place = match self.origins.get(key) {
            Some(Place { file, at: (line, column) }) => format!("{}:{line}:{column}", file.display()),
            None => self.file.display().to_string(),
        };
        self.warnings.push(format!("{place}: {}: {what}", heading(key)));
    }
}

/// The one line of a file that holds a secret; `Err` completes "the file ...".
pub(crate) fn secret_line(text: &str) -> Result<&str, &'static str> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match () {
        () if line.is_empty() => Err("is empty"),
        () if line.contains('\n') => Err("has more than one line"),
        () if line.chars().any(char::is_control) => Err("has a control character in it"),
        () => Ok(line),
    }
}

/// Of what stands after `scheme://`: nobody else hears it.
fn is_local(rest: &str) -> bool {
    ["localhost", "127.", "[::1]"].iter().any(|local| rest.starts_with(local))
}

/// `qss.names.invite` as `[qss.names] invite`.
fn heading(key: &str) -> String {
    key.rsplit_once('.').map_or_else(|| key.to_owned(), |(section, name)| format!("[{section}] {name}"))
}
