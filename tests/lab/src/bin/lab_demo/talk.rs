//! A talk: A joins by itself, B is invited; A says something, B answers, each loudspeaker is recorded and measured.

use super::show::{Show, plain, reached, stuck};
use super::stage::Stage;
use super::{AUDIBLE_DBFS, Options, PATIENCE, ROOM};
use lab::cards::Card;
use lab::clock::{mono_us, sleep_until};
use lab::measure::likeness::{Likeness, likeness, twice_through_opus};
use lab::measure::{level, signal, sound_file, tone, wire};
use lab::mixer::Mixer;
use lab::process::{Endpoint, Usage};
use lab::qss::QssServer;
use std::error::Error;
use std::time::Duration;

/// What A and B hum before they speak.
const HUM_HZ: [f64; 2] = [440.0, 660.0];

/// Prints a table at the end. An error says what did not happen.
pub fn run(options: &Options, stage: &Stage, qss: &QssServer, show: &mut Show) -> Result<(), Box<dyn Error>> {
    let start = |name: &str, card: &Card, joins: bool| -> Result<Endpoint, Box<dyn Error>> {
        let file = stage.config(qss, name, card);
        let file = if joins { file.room(ROOM) } else { file };
        Ok(Endpoint::start(&options.endpoint, name, &file, &stage.cards)?)
    };
    let mut a = start("A", &stage.card_a, true)?;
    let mut b = start("B", &stage.card_b, false)?;
    show.until(&[&a, &b], PATIENCE, || reached(&a, "playing") && reached(&b, "session"))
        .map_err(|_| stuck(&[("A", &a), ("B", &b)]))?;

    // A hums, so that B's first sound tells when the invite became audio. Once B is there it hums too, and two tones
    // tell how clean each way is.
    let hum_at = stage.card_a.say_now(&signal::tone(HUM_HZ[0], -20.0, 20.0))?;
    sleep_until(mono_us() + 300_000);
    let invited_us = mono_us();
    qss.invite("A", "B", ROOM);
    show.note(invited_us, "QSS", "invites B into the room");
    show.until(&[&a, &b], PATIENCE, || reached(&b, "playing")).map_err(|_| stuck(&[("A", &a), ("B", &b)]))?;
    let clean_at = stage.card_b.say_now(&signal::tone(HUM_HZ[1], -20.0, 2.5))?;
    show.wait(&[&a, &b], Duration::from_millis(2700));
    stage.card_a.say(hum_at, &vec![0; 20 * 48_000])?;

    let words = signal::espeak(
        "Good morning, this is the kitchen. The delivery is here, shall I open the gate? Please answer when you hear me.",
    );
    let (voice, words) = match words {
        Some(words) => ("espeak-ng", words),
        None => ("synthetic voice", signal::speech(7.0, 1)),
    };
    let reply = signal::speech(3.0, 2);
    let before = [a.usage(), b.usage()];
    let measured_us = mono_us();
    let said_at = stage.card_a.say_now(&words)?;
    show.note(mono_us(), "A", &format!("speaks for {:.1} s ({voice})", words.len() as f64 / 48_000.0));
    show.wait(&[&a, &b], seconds(words.len()) + Duration::from_millis(500));
    let replied_at = stage.card_b.say_now(&reply)?;
    show.note(mono_us(), "B", &format!("answers for {:.1} s", reply.len() as f64 / 48_000.0));
    show.wait(&[&a, &b], seconds(reply.len()) + Duration::from_millis(700));
    let elapsed = Duration::from_micros(mono_us() - measured_us);
    let costs = [(a.usage(), before[0]), (b.usage(), before[1])].map(|(now, then)| Cost::new(now, then, elapsed));

    let left_us = mono_us();
    show.note(left_us, "both", "SIGTERM");
    a.terminate();
    b.terminate();
    let exits = [&mut a, &mut b].map(|endpoint| endpoint.wait_exit(Duration::from_secs(4)));
    let leaving = Duration::from_micros(mono_us() - left_us);
    show.lines(&[&a, &b]);
    let log = qss.log();
    let said_goodbye = lab::qss::Log { entries: &log }.requests("leaveRoom").count() >= 2;

    let heard_by_b = stage.card_b.loudspeaker();
    let heard_by_a = stage.card_a.loudspeaker();
    let first_sound = first_audible(&heard_by_b, stage.card_b.frame_at(invited_us));
    let invite_to_audio = first_sound.map(|frame| (frame - stage.card_b.frame_at(invited_us)) as f64 / 48.0);
    // The second second of the humming, when every buffer has settled.
    let hummed = |heard: &[i16], hz: f64| {
        let part = heard.get(clean_at + 48_000..clean_at + 96_000).unwrap_or(&[]);
        let tone = tone::tone(part, hz);
        format!("{:.1} ({:.1}) dB", tone.median_snr_db, tone.worst_snr_db)
    };
    let a_to_b = Heard::new(&words, &heard_by_b, said_at);
    let b_to_a = Heard::new(&reply, &heard_by_a, replied_at);
    let recorded = heard_by_b.get(said_at..(said_at + words.len() + 48_000).min(heard_by_b.len())).unwrap_or(&[]);
    sound_file::write_wav(&options.out, recorded)?;

    let rates: Vec<(wire::WireRate, wire::WireRate)> = stage
        .relay
        .calls()
        .iter()
        .map(|call| (wire::wire_rate(&call.up.all()), wire::wire_rate(&call.down.all())))
        .collect();
    let cap = f64::from(options.cap_kbps) * 1000.0;
    let rate = |at: usize| rates.get(at).copied().unwrap_or_default();
    let kbps = |bps: f64| format!("{:.1} kbit/s", bps / 1000.0);
    println!();
    row("", "A to B", "B to A");
    row("mouth to ear p50", &a_to_b.ms(0.5), &b_to_a.ms(0.5));
    row("mouth to ear p95", &a_to_b.ms(0.95), &b_to_a.ms(0.95));
    row(
        "level said",
        &format!("{:.1} dBFS", level::active_dbfs(&words)),
        &format!("{:.1} dBFS", level::active_dbfs(&reply)),
    );
    row("level heard", &format!("{:.1} dBFS", a_to_b.level), &format!("{:.1} dBFS", b_to_a.level));
    row("SNR of a tone (worst 0.1 s)", &hummed(&heard_by_b, HUM_HZ[0]), &hummed(&heard_by_a, HUM_HZ[1]));
    row("SNR of speech, coherence", &a_to_b.coherence(), &b_to_a.coherence());
    row("  of which Opus alone", &codecs_alone(&words), &codecs_alone(&reply));
    row("pieces lost", &a_to_b.lost(), &b_to_a.lost());
    row("", "A", "B");
    row("wire up, mean", &kbps(rate(0).0.mean_bps), &kbps(rate(1).0.mean_bps));
    row("wire up, worst second", &kbps(rate(0).0.peak_bps), &kbps(rate(1).0.peak_bps));
    row("wire down, worst second", &kbps(rate(0).1.peak_bps), &kbps(rate(1).1.peak_bps));
    row("cap of the room", &kbps(cap), &kbps(cap));
    row("invite to audio", "", &invite_to_audio.map_or("-".into(), |ms| format!("{ms:.0} ms")));
    row("CPU", &costs[0].cpu(), &costs[1].cpu());
    row("memory, resident", &costs[0].resident(), &costs[1].resident());
    row("memory, private", &costs[0].private(), &costs[1].private());
    row("context switches", &costs[0].switches(), &costs[1].switches());
    let goodbye = if said_goodbye { "left the room" } else { "did NOT leave the room" };
    println!("\n   SIGTERM to exit {} ms, {goodbye}; exit codes {}", leaving.as_millis(), codes(&exits));
    println!("   what B heard: {}", options.out.display());
    for (who, endpoint) in [("A", &a), ("B", &b)] {
        let lines = endpoint.lines();
        if let Some(media) = lines.iter().rev().map(|line| &line.event["media"]).find(|media| media.is_object()) {
            let keys = ["packets_lost", "packets_late", "frames_concealed", "xruns", "jitter_ms", "buffer_ms"];
            let told = keys.map(|key| format!("{key} {}", plain(&media[key])));
            println!("   {who} itself: {}", told.join(", "));
        }
    }
    for call in stage.ours.iter().flat_map(Mixer::calls) {
        let (user, it) = (&call.user, call.counters);
        println!(
            "   the mixer from {user}: {} packets, {} lost, {} late, {} starved, {} trimmed",
            it.packets, it.lost, it.late, it.starved, it.trimmed
        );
    }
    if stage.card_a.spoilt() || stage.card_b.spoilt() {
        println!("   note: this machine stalled during the run (xruns of the virtual card)");
    }
    let deaf: Vec<&str> =
        [("B", &a_to_b), ("A", &b_to_a)].iter().filter(|(_, heard)| !heard.something()).map(|(who, _)| *who).collect();
    if !deaf.is_empty() {
        return Err(format!("{} heard nothing", deaf.join(" and ")).into());
    }
    if rate(0).0.peak_bps.max(rate(1).0.peak_bps) > cap {
        return Err("the cap of the room was broken".into());
    }
    Ok(())
}

/// What one side made of the other's words.
struct Heard {
    found: Option<Likeness>,
    level: f64,
}

impl Heard {
    fn new(said: &[i16], heard: &[i16], at: usize) -> Heard {
        let mut part: Vec<i16> = heard.get(at..).unwrap_or(&[]).iter().copied().take(said.len() + 24_000).collect();
        let level = level::active_dbfs(&part);
        part.resize(said.len() + 48_000, 0);
        Heard { found: likeness(said, &part, 450.0), level }
    }

    fn something(&self) -> bool {
        self.found.is_some() && self.level > AUDIBLE_DBFS
    }

    fn ms(&self, fraction: f64) -> String {
        let delays = self.found.as_ref().map(|found| found.latency.delays());
        let value = delays.and_then(|delays| lab::measure::percentile(&delays, fraction));
        value.map_or("-".into(), |ms| format!("{ms:.1} ms"))
    }

    fn coherence(&self) -> String {
        self.found.as_ref().map_or("-".into(), |found| format!("{:.1} dB", found.coherence_snr_db))
    }

    fn lost(&self) -> String {
        let count = |found: &Likeness| {
            format!("{} of {}", found.latency.missed.len(), found.latency.missed.len() + found.latency.found.len())
        };
        self.found.as_ref().map_or("all".into(), count)
    }
}

/// What an endpoint used while it talked and listened.
struct Cost {
    now: Usage,
    cpu_percent: f64,
    switches_per_second: f64,
}

impl Cost {
    fn new(now: Usage, then: Usage, elapsed: Duration) -> Cost {
        let switches = now.voluntary_switches + now.involuntary_switches;
        let switches = switches.saturating_sub(then.voluntary_switches + then.involuntary_switches);
        Cost {
            now,
            cpu_percent: 100.0 * now.cpu.saturating_sub(then.cpu).as_secs_f64() / elapsed.as_secs_f64(),
            switches_per_second: switches as f64 / elapsed.as_secs_f64(),
        }
    }

    fn cpu(&self) -> String {
        format!("{:.1} % of a core", self.cpu_percent)
    }

    fn resident(&self) -> String {
        format!("{:.1} MiB", self.now.resident_kib as f64 / 1024.0)
    }

    fn private(&self) -> String {
        format!("{:.1} MiB", self.now.private_kib as f64 / 1024.0)
    }

    fn switches(&self) -> String {
        format!("{:.0} /s", self.switches_per_second)
    }
}

/// The coherence that is left when nothing but Opus, twice, stands between mouth and ear.
fn codecs_alone(said: &[i16]) -> String {
    let mut heard = twice_through_opus(said, 32_000);
    heard.resize(said.len() + 48_000, 0);
    Heard::new(said, &heard, 0).coherence()
}

/// First frame from `from` on where 2 ms are louder than [`AUDIBLE_DBFS`].
fn first_audible(samples: &[i16], from: usize) -> Option<usize> {
    let mut starts = (from..samples.len().saturating_sub(96)).step_by(24);
    starts.find(|start| level::rms_dbfs(&samples[*start..start + 96]) > AUDIBLE_DBFS)
}

fn row(name: &str, left: &str, right: &str) {
    println!("   {name:<28}{left:>18}{right:>18}");
}

fn seconds(samples: usize) -> Duration {
    Duration::from_secs_f64(samples as f64 / 48_000.0)
}

fn codes(exits: &[Option<std::process::ExitStatus>]) -> String {
    let code = |exit: &Option<std::process::ExitStatus>| exit.map_or("none (killed)".into(), |exit| exit.to_string());
    exits.iter().map(code).collect::<Vec<_>>().join(", ")
}
