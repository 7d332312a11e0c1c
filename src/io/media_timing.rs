//! How long the media thread takes for what, measured where it calls: the clock is read without a system call.

use crate::io::clock;
use crate::io::rtp_sockets::RtpSockets;
use crate::media::command::Stats;
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

    /// `frames` have just been read, after waking up at `now`; the reading before was at `before`. Returns when the
    /// next stage begins.
    pub(super) fn on_captured(&mut self, now: Time, before: Time, frames: usize, period: usize) -> Time {
        let read = clock::now();
        // What has been recorded since then was complete so long after it.
        let due = before + Span::from_micros(frames as u64 * 125 / 6);
        if frames > period {
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
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]) {
        let before = clock::now();
        let mut sockets = self.sockets;
        sockets.send_rtp(to, packet);
        self.sending = Some(self.sending.unwrap_or_default() + clock::now().since(before));
    }

    fn send_rtcp(&mut self, to: SocketAddr, packet: &[u8]) {
        let mut sockets = self.sockets;
        sockets.send_rtcp(to, packet);
    }
}
