//! Who talks, and the wire behind the microphone.

use super::{Ear, Mouth, NOTHING_LOST, Sent, ms, peer_rtcp, report_of, secs, settings};
use qss_endpoint::config::FecMode;
use qss_endpoint::media::command::{Event, StreamParams};
use qss_endpoint::media::stream::Stream;
use qss_endpoint::random::Rng;
use qss_endpoint::rtp::packet::Packet;
use qss_endpoint::rtp::rtcp::{self, ReportBlock};
use qss_endpoint::time::{Span, Time};

/// A microphone on the beat, and the wire behind it.
pub(crate) struct Booth {
    pub(crate) stream: Stream<Mouth, Ear>,
    pub(crate) wire: Sent,
    pub(crate) now: Time,
    pub(crate) events: Vec<Event>,
    /// Each period comes this much late, at most.
    pub(crate) unsteady: Span,
    pub(crate) rng: Rng,
    pub(crate) voice: i16,
    /// Most periods of 10 ms after which the card wakes us.
    pub(crate) most: usize,
    /// Periods that wait to be read.
    recorded: usize,
}

impl Booth {
    pub(crate) fn new(params: StreamParams) -> Booth {
        Booth::with(params, FecMode::Auto)
    }

    pub(crate) fn with(params: StreamParams, fec: FecMode) -> Booth {
        let now = Time::from_millis(1_000_000);
        let mut settings = settings();
        settings.codec.fec = fec;
        let mut stream = Stream::new(settings, Mouth::new(), Ear);
        stream.start(now, params);
        // As the media thread starts the card.
        stream.make_up(stream.in_step(now, 480));
        let rng = Rng::from_u64(1);
        Booth {
            stream,
            wire: Sent::default(),
            now,
            events: Vec::new(),
            unsteady: Span::ZERO,
            rng,
            voice: 1_000,
            most: 2,
            recorded: 0,
        }
    }

    /// Talks for a while; the card wakes us for each packet.
    pub(crate) fn talk(&mut self, span: Span) -> &mut Booth {
        self.pass(span, true)
    }

    /// Time passes without a microphone.
    pub(crate) fn idle(&mut self, span: Span) -> &mut Booth {
        self.pass(span, false)
    }

    /// Nobody wakes up for what is recorded meanwhile; then all is read.
    pub(crate) fn oversleep(&mut self, span: Span) -> &mut Booth {
        self.now += span;
        self.recorded += span.as_millis() as usize / 10;
        self.wire.now = self.now;
        self.read();
        self
    }

    /// The card is started again at this time.
    pub(crate) fn restart(&mut self, started: Time) {
        (self.now, self.recorded) = (started, 0);
        self.stream.make_up(started);
    }

    fn read(&mut self) {
        let samples = std::mem::take(&mut self.recorded) * 480;
        self.stream.capture(self.wire.now, &vec![self.voice; samples], &mut self.wire);
        self.stream.on_awaited(480 * self.periods());
    }

    fn pass(&mut self, span: Span, talking: bool) -> &mut Booth {
        for _ in 0..span.as_millis() / 10 {
            self.now += ms(10);
            let at = self.now + self.rng.span_up_to(self.unsteady);
            self.wire.now = at;
            self.recorded = if talking { self.recorded + 1 } else { 0 };
            if talking && self.recorded >= self.periods() {
                self.read();
            }
            if self.stream.poll_timeout().is_some_and(|w| w.at <= at) {
                self.stream.handle_timeout(at, &mut self.wire);
            }
            self.events.extend(std::iter::from_fn(|| self.stream.poll_event()));
        }
        self
    }

    /// After how many periods the card wakes us.
    fn periods(&self) -> usize {
        self.stream.missing().div_ceil(480).clamp(1, self.most)
    }

    pub(crate) fn packets(&self) -> Vec<(Time, Packet<'_>)> {
        self.wire.rtp.iter().map(|(at, bytes)| (*at, Packet::parse(bytes).unwrap())).collect()
    }

    /// Wire bits of the busiest second, counted from what left and not from what the stream says.
    pub(crate) fn busiest_second(&self, ip_udp: usize) -> usize {
        let all: Vec<(Time, usize)> = (self.wire.rtp.iter().chain(&self.wire.rtcp))
            .map(|(at, bytes)| (*at, (bytes.len() + ip_udp) * 8))
            .collect();
        let second = |end: Time| all.iter().filter(move |(at, _)| *at <= end && end.since(*at) < secs(1));
        all.iter().map(|(end, _)| second(*end).map(|(_, bits)| bits).sum()).max().unwrap_or(0)
    }

    /// The peer's report about our stream.
    pub(crate) fn report(&mut self, fraction_lost: u8) {
        self.report_up_to(fraction_lost, 0);
    }

    pub(crate) fn report_up_to(&mut self, fraction_lost: u8, highest_seq: u32) {
        self.report_in(ReportBlock { fraction_lost, highest_seq, ..NOTHING_LOST });
    }

    /// A report that proves this round trip.
    pub(crate) fn report_over(&mut self, fraction_lost: u8, trip: Span) {
        let sent = Time::from_micros(self.now.as_micros() - trip.as_micros());
        let last_sender_report = rtcp::middle(rtcp::ntp(sent));
        self.report_in(ReportBlock { fraction_lost, last_sender_report, ..NOTHING_LOST });
    }

    fn report_in(&mut self, block: ReportBlock) {
        self.stream.handle_rtcp(self.now, peer_rtcp(), &report_of(block));
    }
}
