//! Bits on the wire: UDP payload + 8 (UDP) + 20 (IPv4) bytes per packet, in windows of one second.

use crate::mixer::Packet;

/// Bytes of UDP and IPv4 header of each packet.
pub const OVERHEAD: u64 = 28;

#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct WireRate {
    pub packets: usize,
    /// Mean over the whole time, in bit/s.
    pub mean_bps: f64,
    /// The most in any window of one second that begins with a packet.
    pub peak_bps: f64,
    /// Median time between packets, in ms: the packet time in use.
    pub interval_ms: f64,
}

/// Judges packets in order of time.
pub fn wire_rate(packets: &[Packet]) -> WireRate {
    let (Some(first), Some(last)) = (packets.first(), packets.last()) else { return WireRate::default() };
    let bits = |packet: &Packet| (u64::from(packet.bytes) + OVERHEAD) * 8;
    let (mut peak, mut window, mut end) = (0, 0, 0);
    for (start, packet) in packets.iter().enumerate() {
        while end < packets.len() && packets[end].at_us < packet.at_us + 1_000_000 {
            window += bits(&packets[end]);
            end += 1;
        }
        peak = peak.max(window);
        window -= bits(&packets[start]);
    }
    let intervals: Vec<f64> = packets.windows(2).map(|pair| (pair[1].at_us - pair[0].at_us) as f64 / 1000.0).collect();
    let interval_ms = super::percentile(&intervals, 0.5).unwrap_or(0.0);
    let seconds = (last.at_us - first.at_us) as f64 / 1e6 + interval_ms / 1e3;
    let total: u64 = packets.iter().map(bits).sum();
    let mean_bps = if seconds > 0.0 { total as f64 / seconds } else { 0.0 };
    WireRate { packets: packets.len(), mean_bps, peak_bps: peak as f64, interval_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_count_and_a_burst_shows_in_the_peak() {
        let mut packets: Vec<Packet> = (0..200).map(|n| Packet { at_us: n * 20_000, bytes: 52 }).collect();
        let steady = wire_rate(&packets);
        assert_eq!((steady.packets, steady.interval_ms), (200, 20.0));
        assert!((steady.mean_bps - 32_000.0).abs() < 1.0 && (steady.peak_bps - 32_000.0).abs() < 1.0, "{steady:?}");
        packets[100].bytes = 1052;
        assert_eq!(wire_rate(&packets).peak_bps, 40_000.0);
        assert_eq!(wire_rate(&[]), WireRate::default());
    }
}
