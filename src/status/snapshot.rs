//! Everything the device knows about itself, at one moment: sent after each registration, on request, and from time to
//! time.

use crate::media::autopilot::Choice;
use crate::media::codec::Band;
use crate::media::command::Stats;
use crate::media::histogram::{Stage, Summary};
use crate::media::volume::Decibels;
use crate::rtp::xr::{UNKNOWN, VoipMetrics};
use crate::status::conference::Participant;
use crate::status::event::RoomRef;
use crate::status::failure::Cause;
use crate::status::ladder::{Ladder, Rung};
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything the device knows about itself.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Snapshot {
    pub version: &'static str,
    /// When the present rung was reached, on the clock of `mono_ms`.
    pub since_ms: u64,
    pub facts: Vec<FactState>,
    pub muted: bool,
    /// How much louder the loudspeaker, and the microphone, are than the card's mixer makes them.
    pub playback_db: Decibels,
    pub capture_db: Decibels,
    /// The call of the present room is on hold here.
    pub held: bool,
    /// The rooms whose calls wait on hold for the present one, longest wait first.
    pub held_calls: Vec<RoomRef>,
    /// Who else is in the room, and how many more than are kept.
    pub participants: Vec<Participant>,
    pub participants_more: u64,
    pub counters: Counters,
    /// Of the running call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FactState {
    pub fact: Rung,
    pub holds: bool,
    pub since_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// Since the process began.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Counters {
    pub sessions: u64,
    pub calls: u64,
    pub call_failures: u64,
    pub invites: u64,
    /// Calls of the device itself.
    pub calls_out: u32,
    pub xruns: u64,
    pub card_losses: u64,
    /// Events that could not be kept for the QSS.
    pub events_lost: u64,
    /// Input that nobody could use, by kind.
    pub problems: BTreeMap<&'static str, u64>,
}

/// Counters and gauges of a call (see [`Stats`]).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Media {
    pub packets_sent: u64,
    /// Frames that the cap left no room for.
    pub packets_withheld: u64,
    pub bytes_sent: u64,
    pub packets_received: u64,
    pub bytes_received: u64,
    pub packets_lost: u64,
    /// Mean number of packets lost in a row.
    pub loss_burst: f64,
    /// The part of the packets that is missed in bursts (RFC 3611 4.7.2) and between them, 0 to 1, and how long both last.
    pub burst_density: f64,
    pub burst_ms: u32,
    pub gap_density: f64,
    pub gap_ms: u32,
    pub packets_late: u64,
    pub packets_duplicate: u64,
    pub packets_invalid: u64,
    /// Of SRTP: under no key of the mixer's, and come before.
    pub packets_forged: u64,
    pub packets_replayed: u64,
    pub frames_concealed: u64,
    pub frames_fec: u64,
    pub frames_red: u64,
    pub xruns: u32,
    /// Datagrams for which the kernel had no room.
    pub kernel_drops: u64,
    /// Bits on the wire, headers counted, in the worst and in the last second.
    pub wire_bits_max_second: u32,
    pub wire_bits_last_second: u32,
    pub jitter_ms: f64,
    pub buffer_ms: f64,
    pub round_trip_ms: f64,
    /// What the peer reports as lost, 0 to 1.
    pub peer_fraction_lost: f64,
    pub muted: bool,
    pub capture_dbfs: f64,
    pub playback_dbfs: f64,
    /// How much faster than the device's own clock others run, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_ppm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_ppm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub playback_ppm: Option<f64>,
    /// E-model, 0 to 93.
    pub rating: u8,
    /// How much the encoder is spared, 0 to 3.
    pub economy: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// How long each stage takes, if it has been passed at all.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<&'static str, StageTimes>,
}

/// How long a stage takes (see [`histogram`](crate::media::histogram)).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StageTimes {
    pub count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub worst_ms: f64,
    /// What happened when it took longest.
    pub why: &'static str,
}

impl From<Summary> for StageTimes {
    fn from(summary: Summary) -> StageTimes {
        let Summary { count, p50_us, p99_us, worst_us, why } = summary;
        let ms = |us: u32| f64::from(us) / 1e3;
        StageTimes { count, p50_ms: ms(p50_us), p99_ms: ms(p99_us), worst_ms: ms(worst_us), why: why.word() }
    }
}

/// How the encoder is set, and why (see [`autopilot`](crate::media::autopilot)).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Uplink {
    pub why: &'static str,
    pub ptime_ms: u64,
    pub bitrate: u32,
    /// In percent; 0: no FEC.
    pub expected_loss: u8,
    /// Each packet has a copy of the one before in it.
    pub redundancy: bool,
    pub band: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
}

/// How the peer hears the device, in its own words (RFC 3611 4.7).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Heard {
    /// E-model, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r_factor: Option<u8>,
    /// Mean opinion scores, 1 to 5: listening, and with the delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos_lq: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos_cq: Option<f64>,
    /// Packets that did not come, and that came too late, 0 to 1.
    pub loss: f64,
    pub discard: f64,
    pub burst_density: f64,
    pub burst_ms: u16,
    /// What its jitter buffer adds.
    pub buffer_ms: u16,
}

impl From<VoipMetrics> for Heard {
    fn from(m: VoipMetrics) -> Heard {
        let known = |value: u8| Some(value).filter(|value| *value != UNKNOWN);
        let score = |score_10: u8| known(score_10).map(|score_10| f64::from(score_10) / 10.0);
        Heard {
            r_factor: known(m.r_factor),
            mos_lq: score(m.mos_lq),
            mos_cq: score(m.mos_cq),
            loss: part(m.loss_rate),
            discard: part(m.discard_rate),
            burst_density: part(m.burst_density),
            burst_ms: m.burst_duration,
            buffer_ms: m.buffer_nominal,
        }
    }
}

/// Of 256, to a thousandth.
fn part(of_256: u8) -> f64 {
    (f64::from(of_256) / 256.0 * 1e3).round() / 1e3
}

impl From<Choice> for Uplink {
    fn from(choice: Choice) -> Uplink {
        Uplink {
            why: choice.why.word(),
            // As in SDP, 2.5 ms are 3 (RFC 7587 6.1).
            ptime_ms: choice.ptime.as_micros().div_ceil(1_000),
            bitrate: choice.bitrate,
            expected_loss: choice.expected_loss,
            redundancy: choice.redundancy,
            band: match choice.band {
                Band::Wide => "wide",
                Band::Full => "full",
            },
            heard: None,
        }
    }
}

impl From<&Stats> for Media {
    fn from(s: &Stats) -> Media {
        let ms = |us: u32| f64::from(us) / 1e3;
        let ppm = |ppm: Option<f32>| ppm.map(|ppm| (f64::from(ppm) * 10.0).round() / 10.0);
        Media {
            packets_sent: s.packets_sent,
            packets_withheld: s.packets_withheld,
            bytes_sent: s.bytes_sent,
            packets_received: s.packets_received,
            bytes_received: s.bytes_received,
            packets_lost: s.packets_lost,
            loss_burst: (f64::from(s.loss_burst) * 10.0).round() / 10.0,
            burst_density: part(s.burst_density),
            burst_ms: s.burst_ms,
            gap_density: part(s.gap_density),
            gap_ms: s.gap_ms,
            packets_late: s.packets_late,
            packets_duplicate: s.packets_duplicate,
            packets_invalid: s.packets_invalid,
            packets_forged: s.packets_forged,
            packets_replayed: s.packets_replayed,
            frames_concealed: s.frames_concealed,
            frames_fec: s.frames_fec,
            frames_red: s.frames_red,
            xruns: s.xruns,
            kernel_drops: s.kernel_drops,
            wire_bits_max_second: s.wire_bits_max_second,
            wire_bits_last_second: s.wire_bits_last_second,
            jitter_ms: ms(s.jitter_us),
            buffer_ms: ms(s.buffer_us),
            round_trip_ms: ms(s.round_trip_us),
            peer_fraction_lost: part(s.peer_fraction_lost),
            muted: s.muted,
            capture_dbfs: f64::from(s.capture_level) / 10.0,
            playback_dbfs: f64::from(s.playback_level) / 10.0,
            network_ppm: ppm(s.clocks.network),
            capture_ppm: ppm(s.clocks.capture),
            playback_ppm: ppm(s.clocks.playback),
            rating: s.rating,
            economy: s.economy.step,
            uplink: s.uplink.map(|choice| Uplink { heard: s.heard.map(Heard::from), ..choice.into() }),
            stages: (Stage::ALL.iter().zip(s.stages))
                .filter(|(_, summary)| summary.count > 0)
                .map(|(stage, summary)| (stage.word(), summary.into()))
                .collect(),
        }
    }
}

/// The facts of the ladder, for a snapshot.
pub fn fact_states(ladder: &Ladder) -> Vec<FactState> {
    let state = |(fact, f): (Rung, &crate::status::ladder::Fact)| FactState {
        fact,
        holds: f.holds,
        since_ms: f.since.as_millis(),
        cause: f.cause.clone(),
    };
    ladder.facts().map(state).collect()
}
