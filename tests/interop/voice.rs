//! Rows about audio: the program itself, with a virtual card, and a phone in the same room.

use crate::World;
use crate::stage::{Heard, PATIENCE, listen, start};
use lab::cards::Card;
use lab::measure::{level, signal, tone};
use lab::phone::{self, Phone};
use lab::process::{ConfigFile, Endpoint, Line, endpoint_binary, free_port};
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the device says, and what the phone says, in Hz.
const DEVICE: f64 = 440.0;
const PHONE: f64 = 700.0;
/// A tone is heard when it stands so far above everything else, dB.
const CLEAR: f64 = 20.0;
/// Seconds that are listened to before a tone counts as missing.
const TRIES: usize = 10;

/// A device in a room, and a phone.
struct Visit {
    endpoint: Endpoint,
    card: Card,
    phone: Phone,
    room: String,
}

/// Dials a room of its own, `prefix` before its number, by `profile`; then the phone comes, and both speak.
fn visit(world: &World, profile: &str, prefix: &str, change: impl FnOnce(&mut ConfigFile)) -> Visit {
    let room = world.room();
    visit_at(world, profile, room.clone(), &format!("sip:{prefix}{room}@{}", world.mixer.sip), change)
}

fn visit_at(world: &World, user: &str, room: String, uri: &str, change: impl FnOnce(&mut ConfigFile)) -> Visit {
    let name = format!("card{room}");
    let card = world.cards.card(&name, "").expect("a card");
    let mut config = ConfigFile::lab(&name, &card).sip_uri(uri);
    config.set("sip", "user", user).set_raw("codec", "bitrate", "64000");
    change(&mut config);
    let mut endpoint = start(&name, &config, &world.cards);
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    meet(world, endpoint, card, room)
}

fn meet(world: &World, endpoint: Endpoint, card: Card, room: String) -> Visit {
    let phone = Phone::dial(&phone::Plan::to(world.mixer.sip, "phone", &room)).expect("the phone is let in");
    world.mixer.wait_for(&room, 2, PATIENCE).unwrap();
    card.say_now(&signal::tone(DEVICE, -14.0, 120.0)).unwrap();
    phone.say(&signal::tone(PHONE, -14.0, 120.0));
    Visit { endpoint, card, phone, room }
}

impl Visit {
    /// Each hears the other's tone, for a whole second.
    #[track_caller]
    fn hears_both(&self) -> String {
        let down = self.device_hears();
        let up = self.phone_hears();
        format!("down {down:.0} dB, up {up:.0} dB")
    }

    /// SNR of the phone's tone out of the device's loudspeaker.
    #[track_caller]
    fn device_hears(&self) -> f64 {
        let mut last = None;
        for _ in 0..TRIES {
            let heard = Heard::of(&listen(&self.card, 1.0), &[PHONE]);
            if heard.gaps == 0 && heard.snr_db[0] >= CLEAR {
                return heard.snr_db[0];
            }
            last = Some(heard);
        }
        panic!("the device does not hear the phone: {last:?}\n{}", self.endpoint.errors());
    }

    #[track_caller]
    fn phone_hears(&self) -> f64 {
        let mut last = 0.0;
        for _ in 0..TRIES {
            last = tone::tone(&self.phone_second(), DEVICE).snr_db;
            if last >= CLEAR {
                return last;
            }
        }
        panic!("the phone does not hear the device: {last} dB\n{}", self.endpoint.errors());
    }

    /// The next second that the phone hears.
    fn phone_second(&self) -> Vec<i16> {
        self.phone.forget();
        let end = Instant::now() + PATIENCE;
        loop {
            let heard = self.phone.heard();
            if heard.len() >= 48_000 {
                return heard;
            }
            assert!(Instant::now() < end, "the phone hears nothing");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn tone_both_ways(world: &World, profile: &str, change: impl FnOnce(&mut ConfigFile)) -> String {
    visit(world, profile, "", change).hears_both()
}

pub(crate) fn udp(world: &World) -> String {
    tone_both_ways(world, "plain", |_| {})
}

fn by_transport(world: &World, transport: &str, address: SocketAddr, change: impl FnOnce(&mut ConfigFile)) -> String {
    let room = world.room();
    let uri = format!("sip:{room}@{address};transport={transport}");
    let ca = world.mixer.ca();
    let with_ca = |config: &mut ConfigFile| {
        config.set("sip", "ca_file", &ca.to_string_lossy());
        change(config);
    };
    let seen = visit_at(world, "plain", room, &uri, with_ca).hears_both();
    format!("{transport}: {seen}")
}

pub(crate) fn tcp(world: &World) -> String {
    by_transport(world, "tcp", world.mixer.sip, |_| {})
}

pub(crate) fn tls(world: &World) -> String {
    by_transport(world, "tls", world.mixer.tls, |_| {})
}

pub(crate) fn ws(world: &World) -> String {
    by_transport(world, "ws", world.mixer.ws, |_| {})
}

pub(crate) fn wss(world: &World) -> String {
    by_transport(world, "wss", world.mixer.wss, |_| {})
}

/// Protected media; packets in the clear, which anybody on loopback can send, are counted and not heard.
pub(crate) fn sdes(world: &World) -> String {
    let port = (0..100).map(|_| free_port() & !1).find(|port| UdpSocket::bind(("127.0.0.1", *port + 1)).is_ok());
    let port = port.expect("a free pair of ports");
    let visit = visit(world, "sdes", "", |config| {
        config.set("rtp", "srtp", "require").set_raw("rtp", "srtp_over_plain_signalling", "true");
        config.set_raw("rtp", "port_min", &port.to_string()).set_raw("rtp", "port_max", &(port + 2).to_string());
    });
    let before = visit.hears_both();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..100_u16 {
        let mut packet = vec![0x80, 96];
        packet.extend(n.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend([9; 84]);
        stranger.send_to(&packet, ("127.0.0.1", port)).unwrap();
    }
    let refused = |lines: &[Line]| lines.iter().find(|line| line.event["what"] == "rtp_invalid").map(drop);
    let mut endpoint = visit.endpoint;
    endpoint.wait_for("packets in the clear, refused", PATIENCE, refused).unwrap();
    let visit = Visit { endpoint, ..visit };
    visit.device_hears();
    format!("AES_CM_128_HMAC_SHA1_80: {before}; packets in the clear are refused")
}

/// As it should be used: the keys travel inside TLS.
pub(crate) fn sdes_over_tls(world: &World) -> String {
    let room = world.room();
    // Over TLS, too, the profile is that of the user in From.
    let uri = format!("sip:{room}@{};transport=tls", world.mixer.tls);
    let ca = world.mixer.ca();
    let visit = visit_at(world, "sdes", room, &uri, |config| {
        config.set("rtp", "srtp", "require").set("sip", "ca_file", &ca.to_string_lossy());
    });
    visit.hears_both()
}

pub(crate) fn mux(world: &World) -> String {
    tone_both_ways(world, "mux", |_| {})
}

pub(crate) fn nat(world: &World) -> String {
    tone_both_ways(world, "nat", |_| {})
}

pub(crate) fn keepalive(world: &World) -> String {
    tone_both_ways(world, "keepalive", |config| {
        config.set("sip", "keepalive", "options").set_raw("sip", "keepalive_ms", "1000");
    })
}

pub(crate) fn one_codec(world: &World) -> String {
    tone_both_ways(world, "onecodec", |_| {})
}

pub(crate) fn ulaw_first(world: &World) -> String {
    tone_both_ways(world, "ulawfirst", |_| {})
}

/// It repeats our 40 ms and sends 20 ms all the same.
pub(crate) fn ptime(world: &World) -> String {
    tone_both_ways(world, "ptime", |config| {
        config.set_raw("codec", "ptime_ms", "40");
    })
}

/// The mixer sends back what it is sent: each digit once.
fn digits_come_back(world: &World, profile: &str, way: &str) -> String {
    let room = world.room();
    let name = format!("card{room}");
    let card = world.cards.card(&name, "").expect("a card");
    let mut config = ConfigFile::lab(&name, &card).sip_uri(&format!("sip:digits@{}", world.mixer.sip));
    let socket = world.cards.path().join(format!("{name}.sock"));
    config.set("sip", "user", profile).set("status", "socket", &socket.to_string_lossy());
    let mut endpoint = start(&name, &config, &world.cards);
    endpoint.wait_rung("sending", 0, PATIENCE).unwrap();
    let pressed = "15*5";
    let ctl = ["ctl", "--socket", &socket.to_string_lossy(), "dtmf", pressed];
    let reply = Command::new(endpoint_binary()).args(ctl).output().unwrap();
    assert!(reply.status.success(), "{}", String::from_utf8_lossy(&reply.stdout));
    let told = |lines: &[Line]| -> String {
        let digits = lines.iter().filter(|line| line.event["event"] == "digit" && line.event["by"] == way);
        digits.filter_map(|line| line.event["digit"].as_str()).collect()
    };
    endpoint.wait_for("the digits", PATIENCE, |lines| (told(lines).len() >= pressed.len()).then_some(())).unwrap();
    // A fifth one would follow within this time.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(told(&endpoint.lines()), pressed);
    format!("{pressed} there and back by {way}")
}

pub(crate) fn dtmf(world: &World) -> String {
    digits_come_back(world, "plain", "rtp")
}

pub(crate) fn dtmf_by_info(world: &World) -> String {
    digits_come_back(world, "info", "info")
}

pub(crate) fn mute(world: &World) -> String {
    let visit = visit(world, "device", "", |_| {});
    visit.phone_hears();
    let there = world.mixer.participants(&visit.room).unwrap();
    let channel = &there.iter().find(|participant| participant.caller == "device").expect("it is there").channel;
    world.mixer.mute(&visit.room, channel).unwrap();
    let quietest = (0..TRIES).map(|_| level::rms_dbfs(&visit.phone_second())).fold(0.0, f64::min);
    assert!(quietest < -60.0, "muted, and yet {quietest:.0} dBFS");
    world.mixer.unmute(&visit.room, channel).unwrap();
    visit.phone_hears();
    format!("{quietest:.0} dBFS while muted, and back")
}

/// The mixer calls the device.
pub(crate) fn call_out(world: &World) -> String {
    let (room, port) = (world.room(), free_port());
    let name = format!("card{room}");
    let card = world.cards.card(&name, "").expect("a card");
    let mut config = ConfigFile::lab(&name, &card);
    config.set("sip", "bind", &format!("127.0.0.1:{port}")).set("sip", "incoming", "accept");
    config.set_raw("sip", "callers", "[\"*\"]").set_raw("sip", "peers", "[\"127.0.0.1\"]");
    let mut endpoint = start(&name, &config, &world.cards);
    answers_options(port);
    world.mixer.call_out(&format!("sip:{name}@127.0.0.1:{port}"), &room, "plain").unwrap();
    endpoint.wait_rung("playing", 0, PATIENCE).unwrap();
    meet(world, endpoint, card, room).hears_both()
}

/// Waits until somebody speaks SIP at this port.
fn answers_options(port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let local = socket.local_addr().unwrap();
    let options = format!(
        "OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKlife\r\nMax-Forwards: 70\r\n\
         From: <sip:lab@{local}>;tag=life\r\nTo: <sip:127.0.0.1:{port}>\r\nCall-ID: life@{local}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let _ = socket.send_to(options.as_bytes(), ("127.0.0.1", port));
        if socket.recv(&mut [0; 2_048]).is_ok() {
            return;
        }
    }
    panic!("nobody answers at port {port}");
}

fn burst(world: &World, prefix: &str) -> String {
    visit(world, "plain", prefix, |_| {}).hears_both()
}

pub(crate) fn burst_40(world: &World) -> String {
    burst(world, "frame40*")
}

pub(crate) fn burst_80(world: &World) -> String {
    burst(world, "frame80*")
}

fn impatient(config: &mut ConfigFile) {
    config.set_raw("rtp", "silence_timeout_ms", "500").set_raw("rtp", "dead_timeout_ms", "10000");
}

fn fell_from_playing(mark: usize) -> impl Fn(&[Line]) -> Option<()> {
    move |lines| {
        let fell = |line: &&Line| line.rung().is_some_and(|rung| rung != "playing");
        lines.get(mark..)?.iter().find(fell).map(drop)
    }
}

/// Everything stands still for a while, and goes on: the same call.
pub(crate) fn freeze_and_thaw(world: &World) -> String {
    let mut visit = visit(world, "plain", "", impatient);
    visit.hears_both();
    let mark = visit.endpoint.mark();
    world.mixer.freeze().unwrap();
    visit.endpoint.wait_for("silence", PATIENCE, fell_from_playing(mark)).unwrap();
    world.mixer.thaw().unwrap();
    visit.endpoint.wait_rung("playing", mark, PATIENCE).unwrap();
    world.mixer.wait_for(&visit.room, 2, PATIENCE).unwrap();
    format!("silence noticed, then {}", visit.hears_both())
}

/// The mixer dies without a word and comes back; nobody touches the device.
pub(crate) fn kill_and_restart(world: &World) -> String {
    let mut visit = visit(world, "plain", "", |config| {
        config.set_raw("rtp", "silence_timeout_ms", "500").set_raw("rtp", "dead_timeout_ms", "2000");
    });
    visit.hears_both();
    let mark = visit.endpoint.mark();
    world.mixer.kill().unwrap();
    visit.endpoint.wait_for("the loss", PATIENCE, fell_from_playing(mark)).unwrap();
    let mark = visit.endpoint.mark();
    world.mixer.start_again().unwrap();
    visit.endpoint.wait_rung("playing", mark, PATIENCE).unwrap();
    let Visit { endpoint, card, phone, room } = visit;
    phone.vanish();
    meet(world, endpoint, card, room).hears_both()
}
