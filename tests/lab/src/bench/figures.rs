//! From visits to numbers. Every number of the report that comes from visits is a line of [`FIGURES`].

use super::report::{Aim, PEER, Row};
use super::station::Kind;
use super::visit::{Cost, Seen, Visit};
use crate::measure::latency::Latency;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A number that two kinds are compared by: the median over all stations of all their visits.
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    pub aim: Option<Aim>,
    pub of: fn(&Seen) -> Option<f64>,
}

pub const FIGURES: &[Figure] = &[
    figure("mouth_to_ear_p50", "ms", Some(Aim::Ratio(0.6)), |seen| seen.delay.as_ref().and_then(Latency::p50_ms)),
    figure("mouth_to_ear_p95", "ms", Some(Aim::Ratio(0.7)), |seen| seen.delay.as_ref().and_then(Latency::p95_ms)),
    figure("chirps_lost", "percent", None, |seen| seen.delay.as_ref().map(lost_percent)),
    figure("invite_to_audio", "ms", None, |seen| seen.invite_to_audio_ms),
    figure("cpu_per_call", "percent of a core", Some(Aim::Ratio(1.0)), |seen| seen.call.map(|it| it.cpu_percent)),
    figure("context_switches", "per second", Some(Aim::AtMost(250.0)), |seen| {
        seen.call.map(|it| it.switches_per_second)
    }),
    figure("context_switches_idle", "per second", Some(Aim::AtMost(1.0)), |seen| {
        seen.call.map(|_| seen.idle.switches_per_second)
    }),
    figure("rss_idle", "KiB", None, |seen| Some(seen.idle.resident_kib as f64)),
    figure("rss_call", "KiB", None, |seen| seen.call.map(|it: Cost| it.resident_kib as f64)),
    figure("private_memory", "KiB", Some(Aim::AtMost(2048.0)), |seen| seen.call.map(|it| it.private_kib as f64)),
    figure("private_memory_idle", "KiB", None, |seen| Some(seen.idle.private_kib as f64)),
];

const fn figure(name: &'static str, unit: &'static str, aim: Option<Aim>, of: fn(&Seen) -> Option<f64>) -> Figure {
    Figure { name, unit, aim, of }
}

/// What a report is not worth its name without.
pub const REQUIRED: [&str; 8] = [
    "mouth_to_ear_p50",
    "mouth_to_ear_p95",
    "cpu_per_call",
    "rss_idle",
    "rss_call",
    "private_memory",
    "binary_stripped",
    "invite_to_audio",
];

/// The names among [`REQUIRED`] of which not both numbers are there.
pub fn missing(rows: &[Row]) -> Vec<&'static str> {
    let has = |name: &str| rows.iter().any(|row| row.name == name && row.ours.is_some() && row.peer.is_some());
    REQUIRED.into_iter().filter(|name| !has(name)).collect()
}

impl Figure {
    /// The median of what was measured of this kind, if anything was.
    pub fn median(&self, visits: &[Visit], kind: Kind) -> Option<f64> {
        let stations = visits.iter().filter(|visit| visit.kind == kind).flat_map(|visit| &visit.stations);
        median(stations.filter_map(self.of).collect())
    }
}

/// All rows: ours against the peer at its best, then against the peer as it is shipped.
pub fn rows(visits: &[Visit]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, suffix, peer_name) in
        [(Kind::Peer, "", PEER.to_string()), (Kind::PeerAsShipped, "_shipped", format!("{PEER} as shipped"))]
    {
        for figure in FIGURES {
            let (ours, peer) = (figure.median(visits, Kind::Ours), figure.median(visits, kind));
            if ours.is_some() && peer.is_some() {
                let aim = figure.aim.filter(|_| kind == Kind::Peer);
                rows.push(Row::new(&format!("{}{suffix}", figure.name), figure.unit, ours, peer, &peer_name).aim(aim));
            }
        }
        rows.extend(code_rows(visits, kind, suffix, &peer_name));
    }
    rows
}

/// `binary_stripped`: our program against the peer's program, its own libraries and the modules it has loaded;
/// `binary_with_libraries`: every file of code that only one of the two needs, so that libopus and TLS, which are
/// inside our program, count for the peer as well.
fn code_rows(visits: &[Visit], kind: Kind, suffix: &str, peer_name: &str) -> Vec<Row> {
    let code = |kind| visits.iter().find(|visit| visit.kind == kind).map(|visit| &visit.stations[0].code);
    let (Some(ours), Some(peer)) = (code(Kind::Ours), code(kind)) else { return Vec::new() };
    let bytes = |files: &BTreeSet<PathBuf>, without: &BTreeSet<PathBuf>, wanted: fn(&Path) -> bool| {
        let sizes =
            files.difference(without).filter(|file| wanted(file)).map(|file| file.metadata().map(|it| it.len()));
        sizes.sum::<std::io::Result<u64>>().ok().map(|sum| sum as f64)
    };
    let [own, all]: [fn(&Path) -> bool; 2] = [is_baresips, |_| true];
    let name = |name: &str| format!("{name}{suffix}");
    vec![
        Row::new(&name("binary_stripped"), "bytes", bytes(ours, peer, is_endpoint), bytes(peer, ours, own), peer_name),
        Row::new(&name("binary_with_libraries"), "bytes", bytes(ours, peer, all), bytes(peer, ours, all), peer_name),
    ]
}

fn is_endpoint(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "qss-endpoint")
}

/// Of Debian's packages baresip-core, libre0 and librem0.
fn is_baresips(file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name == "baresip"
        || name.starts_with("libre.so")
        || name.starts_with("librem.so")
        || file.components().any(|part| part.as_os_str() == "baresip")
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some((values[low] + values[high]) / 2.0)
}

fn lost_percent(delay: &Latency) -> f64 {
    let all = delay.missed.len() + delay.found.len();
    100.0 * delay.missed.len() as f64 / all.max(1) as f64
}

/// Where our milliseconds go, each with its name and what it is; the last is what is left over. Empty without a
/// measurement.
pub fn milliseconds(visits: &[Visit]) -> Vec<(&'static str, &'static str, f64)> {
    let Some(total) = FIGURES[0].median(visits, Kind::Ours) else { return Vec::new() };
    let ours = || visits.iter().filter(|visit| visit.kind == Kind::Ours).flat_map(|visit| &visit.stations);
    let queued = median(ours().filter_map(|seen| seen.queued).map(|frames| frames as f64 / 48.0).collect());
    let buffer = median(ours().filter_map(|seen| seen.media.as_ref()?["buffer_ms"].as_f64()).collect());
    let queued = queued.unwrap_or(0.0);
    let mut parts = vec![
        ("packet", "packet: its first sample waits for its last", PACKET_MS),
        ("look_ahead", "codec look-ahead, ours and the mixer's (312 samples each)", 2.0 * 312.0 / 48.0),
        ("buffer", "jitter buffer, as the endpoint itself says", buffer.unwrap_or(0.0)),
        ("period", "loudspeaker's queue: what plays until the next wake-up", queued.min(PACKET_MS)),
        ("playback", "loudspeaker's queue: the margin behind it", (queued - PACKET_MS).max(0.0)),
    ];
    let rest = total - parts.iter().map(|(_, _, ms)| ms).sum::<f64>();
    parts.push(("mixer", "mixer (0 to 20 ms until its tick, then its frame), wake-ups, network", rest));
    parts
}

const PACKET_MS: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    fn visit(kind: Kind, program: &Path) -> Visit {
        let cost = Cost { cpu_percent: 2.0, switches_per_second: 100.0, resident_kib: 7_000, private_kib: 1_000 };
        let found = crate::measure::latency::Found { at: 0, delay_ms: 70.0, likeness: 1.0 };
        let seen = || Seen {
            invite_to_audio_ms: Some(60.0),
            delay: Some(Latency { found: vec![found], missed: Vec::new() }),
            idle: cost,
            call: Some(cost),
            queued: None,
            code: BTreeSet::from([program.to_path_buf()]),
            media: None,
        };
        Visit { kind, stations: [seen(), seen()], stall_ms: 0.0, early_stall_ms: 0.0, xruns: 0, machine_busy: 0.0 }
    }

    #[test]
    fn a_report_has_every_number_that_was_promised_or_there_is_none() {
        let folder = crate::folder::Folder::new("figures").expect("a folder");
        let [ours, peer] = ["qss-endpoint", "baresip"].map(|name| folder.path().join(name));
        for program in [&ours, &peer] {
            std::fs::write(program, "code").expect("a file");
        }
        let mut visits = vec![visit(Kind::Ours, &ours), visit(Kind::Peer, &peer)];
        assert_eq!(missing(&rows(&visits)), Vec::<&str>::new());
        visits[1].stations.iter_mut().for_each(|seen| seen.call = None);
        assert_eq!(missing(&rows(&visits)), ["cpu_per_call", "rss_call", "private_memory"]);
        assert_eq!(missing(&rows(&visits[..1])), REQUIRED);
    }

    #[test]
    fn what_belongs_to_baresip_is_told_from_what_belongs_to_the_system() {
        let is = |path: &str| is_baresips(Path::new(path));
        assert!(is("/usr/bin/baresip") && is("/usr/lib/baresip/modules/opus.so"));
        assert!(is("/usr/lib/x86_64-linux-gnu/libre.so.0.1.0") && is("/usr/lib/x86_64-linux-gnu/librem.so.0"));
        assert!(!is("/usr/lib/x86_64-linux-gnu/libresolv.so.2") && !is("/usr/lib/x86_64-linux-gnu/libopus.so.0"));
    }
}
