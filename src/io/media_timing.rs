//! How long the media thread takes for what, measured where it calls: the clock is read without a system call.

use crate::io::clock;
use crate::io::rtp_sockets::RtpSockets;
use crate::media::command::Stats;
use crate::media::delay::samples_last;
use crate::media::governor::{Deadline, Pass};
use crate::media::histogram::{Stage, Stages, Why};
use crate::media::stream::Wire;
use crate::time::{Span, Time};
use std::net::SocketAddr;

/// The stages of the running call, and what the kernel dropped in it.
pub(super) struct Timing {
    pub(super) stages: Stages,
    /// What the kernel had dropped when the call began, and when that was last looked at.
    dropped_before: u64,
    dropped: u64,
    deadline: Deadline,
}

impl Timing {
    pub(super) fn new() -> Timing {
        Timing { stages: Stages::new(), dropped_before: 0, dropped: 0, deadline: Deadline::Kept }
    }

    /// A new call.
    pub(super) fn clear(&mut self, sockets: &RtpSockets) {
        self.stages.clear();
        (self.dropped_before, self.dropped) = (sockets.dropped(), sockets.dropped());
    }

    pub(super) fn begin_pass(&mut self) {
        self.stages.begin_pass();
        self.deadline = Deadline::Kept;
    }

    /// The pass that began at `now` is over.
    pub(super) fn end_pass(&self, now: Time) -> Pass {
        Pass { took: clock::now().since(now), deadline: self.deadline }
    }

    /// `frames` have just been read, after waking up at `now`, and more than `most` are too many; the reading before was at
    /// `before`. Returns when the next stage begins.
    pub(super) fn on_captured(&mut self, now: Time, before: Time, frames: usize, most: usize) -> Time {
        let read = clock::now();
        // What has been recorded since then was complete so long after it.
        let due = before + samples_last(frames as u64);
        if frames > most {
            self.stages.blame(Why::LateWake);
            self.deadline = Deadline::Missed;
        }
        self.stages.record_until(Stage::Capture, due.min(now), read)
    }

    /// The card stopped; it had been read at `before`.
    pub(super) fn on_stopped(&mut self, now: Time, before: Time) {
        self.stages.blame(Why::Xrun);
        self.deadline = Deadline::Missed;
        self.stages.record_until(Stage::Capture, before, now);
    }

    /// What was read at `since` has been encoded and sent, if it filled a packet.
    pub(super) fn on_sent(&mut self, since: Time, sending: Option<Span>) {
        if let Some(sending) = sending {
            self.stages.record(Stage::Process, clock::now().since(since) - sending);
            self.stages.record(Stage::Send, sending);
        }
    }

    /// The sockets have been drained.
    pub(super) fn on_drained(&mut self, sockets: &RtpSockets) {
        if std::mem::replace(&mut self.dropped, sockets.dropped()) != self.dropped {
            self.stages.blame(Why::KernelDrop);
        }
    }

    pub(super) fn tell(&self, stats: &mut Stats) {
        stats.stages = Stage::ALL.map(|stage| self.stages.summary(stage));
        stats.kernel_drops = self.dropped - self.dropped_before;
    }
}

/// The sockets, and how long the kernel took for the RTP packets that left.
pub(super) struct TimedWire<'a> {
    sockets: &'a RtpSockets,
    pub(super) sending: Option<Span>,
}

impl TimedWire<'_> {
    pub(super) fn new(sockets: &RtpSockets) -> TimedWire<'_> {
        TimedWire { sockets, sending: None }
    }
}

impl Wire for TimedWire<'_> {
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]) -> bool {
        let before = clock::now();
        let mut sockets = self.sockets;
        let has_left = sockets.send_rtp(to, packet);
        self.sending = Some(self.sending.unwrap_or_default() + clock::now().since(before));
        has_left
    }

    fn send_rtcp(&mut self, to: SocketAddr, packet: &[u8]) {
        let mut sockets = self.sockets;
        sockets.send_rtcp(to, packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: usize = 480;
    const MOST: usize = PERIOD + PERIOD / 2;

    /// What a pass comes to in which so many frames were read, `late` after they were complete.
    fn pass(timing: &mut Timing, frames: usize, most: usize, late: Span) -> (Deadline, u32, Why) {
        timing.begin_pass();
        let now = clock::now();
        let recorded = samples_last(frames as u64);
        timing.on_captured(now, Time::from_micros(now.as_micros() - (recorded + late).as_micros()), frames, most);
        let capture = timing.stages.summary(Stage::Capture);
        (timing.end_pass(now).deadline, capture.worst_us, capture.why)
    }

    #[test]
    fn more_than_a_period_at_once_is_a_deadline_missed_by_a_late_wake_up() {
        let mut timing = Timing::new();
        let (deadline, worst, why) = pass(&mut timing, PERIOD, MOST, Span::from_secs(3));
        assert!(deadline == Deadline::Kept && worst >= 3_000_000 && why == Why::Work, "{worst}");
        let (deadline, ..) = pass(&mut timing, PERIOD + 1, MOST, Span::from_secs(4));
        assert_eq!(deadline, Deadline::Kept, "a converted period");
        let (deadline, worst, why) = pass(&mut timing, 2 * PERIOD - 1, MOST, Span::from_secs(6));
        assert!(deadline == Deadline::Missed && worst >= 6_000_000 && why == Why::LateWake, "{worst}");
        assert_eq!(pass(&mut timing, PERIOD, MOST, Span::ZERO).0, Deadline::Kept, "the next pass is another one");
    }

    #[test]
    fn a_card_that_stopped_is_a_deadline_missed_and_the_worst_is_blamed_on_it() {
        let mut timing = Timing::new();
        timing.begin_pass();
        let now = clock::now();
        timing.on_stopped(now, Time::from_micros(now.as_micros() - 5_000));
        assert_eq!(timing.end_pass(now).deadline, Deadline::Missed);
        let capture = timing.stages.summary(Stage::Capture);
        assert_eq!((capture.worst_us, capture.why), (5_000, Why::Xrun));
    }
}
