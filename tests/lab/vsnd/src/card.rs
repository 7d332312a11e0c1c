//! One direction of a card: where its pointer is, what moved since, and why it stopped. Pure but for files.
//!
//! ```text
//!            start                  queue empty / ring full, fault
//!   Stopped -------> Running(start, done) -----------------------> Stopped (libasound's state says XRUN, ...)
//! ```
//!
//! `start + done` is the card's absolute frame; the ring position of `done` is `done % buffer`.

use crate::clock::{Clock, epoch_of, monotonic_ns};
use crate::ctl::Mixer;
use crate::faults::{Faults, Stop};
use crate::settings::Settings;
use crate::tape::Tape;
use libc::c_int;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Playback,
    Capture,
}

/// What the pointer did since it was last asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Motion {
    /// So many frames have to be moved between ring and tape.
    Moved(i64),
    /// The same, and then the direction stopped: nothing was left to play, or no room to record.
    Xrun(i64),
    /// A fault of the list.
    Stopped(Stop),
    Unplugged,
}

/// The ring as libasound sees it now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    pub(crate) buffer: i64,
    /// Frames the card may still move: filled ones of playback, free ones of capture.
    pub(crate) movable: i64,
    /// `avail` at which the card stops; `None`: never.
    pub(crate) stop_threshold: Option<i64>,
    pub(crate) draining: bool,
}

#[derive(Debug)]
struct Run {
    start: i64,
    done: i64,
    least_headroom: Option<i64>,
    /// Time spent in the plug-in's own code.
    own_ns: i64,
}

pub(crate) struct Card {
    pub(crate) settings: Settings,
    direction: Direction,
    clock: Clock,
    faults: Faults,
    tape: Tape,
    mixer: Mixer,
    log: File,
    /// Held while open: one process per substream.
    _lock: File,
    run: Option<Run>,
    /// Where a live stall holds the pointer.
    frozen: Option<i64>,
    granularity: i64,
    random: u32,
}

impl Card {
    /// Fails like a kernel card: ENODEV unplugged, EBUSY in use; EINVAL for settings that make no sense.
    pub(crate) fn open(settings: Settings, direction: Direction) -> Result<Card, c_int> {
        let clock = Clock::new(epoch_of(&settings.dir), settings.rate, settings.ppm, settings.speed);
        let mut faults =
            Faults::parse(&settings.faults, direction, &settings.dir, &settings.card).ok_or(-libc::EINVAL)?;
        let ns = monotonic_ns();
        let frame = clock.frame_at(ns);
        if faults.unplugged(ns, frame) {
            return Err(-libc::ENODEV);
        }
        if faults.busy(ns, frame) {
            return Err(-libc::EBUSY);
        }
        let lock = match settings.half_duplex {
            true => open_to_append(&settings, "lock")?,
            false => open_to_append(&settings, &format!("{}.lock", direction.letter()))?,
        };
        // SAFETY: plain flock on a descriptor we own.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } < 0 {
            return Err(-libc::EBUSY);
        }
        let tape = match direction {
            Direction::Capture => Tape::microphone(&settings),
            Direction::Playback => Tape::loudspeaker(&settings).map_err(|_| -libc::EACCES)?,
        };
        let mixer = Mixer::open(&settings)?;
        let log = open_to_append(&settings, "log")?;
        Ok(Card {
            granularity: settings.granularity,
            settings,
            direction,
            clock,
            faults,
            tape,
            mixer,
            log,
            _lock: lock,
            run: None,
            frozen: None,
            random: 1,
        })
    }

    pub(crate) const fn direction(&self) -> Direction {
        self.direction
    }

    pub(crate) const fn frame_bytes(&self) -> usize {
        self.tape.frame_bytes()
    }

    /// Frames since `start`.
    pub(crate) fn position(&self) -> i64 {
        self.run.as_ref().map_or(0, |run| run.done)
    }

    pub(crate) fn configured(&mut self, period: i64, buffer: i64) {
        self.granularity = if self.settings.granularity == 0 { period } else { self.settings.granularity };
        self.note("hw_params", &format!(r#","period":{period},"buffer":{buffer}"#));
    }

    /// Back to the beginning of the ring; `Err` if the card is gone.
    pub(crate) fn prepare(&mut self) -> Result<(), c_int> {
        self.run = None;
        let ns = monotonic_ns();
        if self.faults.unplugged(ns, self.clock.frame_at(ns)) { Err(-libc::ENODEV) } else { Ok(()) }
    }

    pub(crate) fn start(&mut self, queued: i64) -> Result<(), c_int> {
        self.prepare()?;
        let start = self.clock.frame_at(monotonic_ns());
        self.run = Some(Run { start, done: 0, least_headroom: None, own_ns: 0 });
        self.note("start", &format!(r#","at":{start},"queued":{queued}"#));
        Ok(())
    }

    pub(crate) fn stop(&mut self) {
        if let Some(run) = self.run.take() {
            let headroom = run.least_headroom.map_or("null".into(), |frames| frames.to_string());
            let (at, frames, own_us) = (run.start + run.done, run.done, run.own_ns / 1000);
            let more = format!(r#","at":{at},"min_headroom":{headroom},"frames":{frames},"own_us":{own_us}"#);
            self.note("stop", &more);
        }
    }

    /// So long the plug-in's own code took just now: it runs inside the program under test and is charged to it.
    pub(crate) fn worked(&mut self, ns: i64) {
        if let Some(run) = &mut self.run {
            run.own_ns += ns;
        }
    }

    /// Asks the clock. The caller moves the frames with [`Card::transfer`].
    pub(crate) fn look(&mut self, ring: Ring) -> Motion {
        let ns = monotonic_ns();
        let frame = self.clock.frame_at(ns);
        let Some(run) = &mut self.run else { return Motion::Moved(0) };
        if self.faults.unplugged(ns, frame) {
            self.note("unplug", "");
            return Motion::Unplugged;
        }
        if let Some(stop) = self.faults.take_stop(run.start, frame) {
            self.note(if stop == Stop::Xrun { "xrun" } else { "suspend" }, r#","injected":true"#);
            return Motion::Stopped(stop);
        }
        self.frozen = self.faults.stalled_now(ns).then(|| self.frozen.unwrap_or(frame));
        let mut position = self.frozen.unwrap_or_else(|| self.faults.held(frame)) - run.start;
        position -= position.rem_euclid(self.granularity.max(1));
        let advance = (position - run.done).max(0);
        if advance == 0 {
            return Motion::Moved(0);
        }
        let left = ring.movable - advance;
        if !ring.draining {
            run.least_headroom = Some(run.least_headroom.map_or(left, |least| least.min(left)));
        }
        match ring.stop_threshold {
            Some(threshold) if left <= ring.buffer - threshold => {
                let at = run.start + run.done;
                if !ring.draining {
                    self.note("xrun", &format!(r#","at":{at},"late":{}"#, -left));
                }
                Motion::Xrun(ring.movable.clamp(0, advance))
            }
            Some(_) | None => Motion::Moved(advance),
        }
    }

    /// Moves as many frames as `ring` (a contiguous piece at the present position) holds.
    pub(crate) fn transfer(&mut self, ring: &mut [u8]) {
        let Some(run) = &mut self.run else { return };
        let at = run.start + run.done;
        run.done += (ring.len() / self.tape.frame_bytes()) as i64;
        match self.direction {
            Direction::Playback => self.tape.play(at + self.settings.delay_play, self.mixer.speaker_gain(), ring),
            Direction::Capture => self.tape.hear(at - self.settings.delay_cap, self.mixer.mic_gain(), ring),
        }
    }

    /// The CLOCK_MONOTONIC nanosecond at which `frames` more will have moved, as an interrupt would tell it.
    pub(crate) fn when(&mut self, frames: i64) -> i64 {
        let Some(run) = &self.run else { return monotonic_ns() };
        if self.frozen.is_some() {
            // The end of a live stall is not known: look again now and then.
            return monotonic_ns() + 20_000_000;
        }
        let step = self.granularity.max(1);
        let goal = (run.done + frames + step - 1) / step * step;
        let frame = self.faults.next_interrupt(run.start + run.done, run.start + goal);
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let late = i64::from(self.random >> 8) % (self.settings.irq_jitter_us * 1_000).max(1);
        self.clock.ns_of(frame) + late
    }

    fn note(&mut self, event: &str, more: &str) {
        let ns = monotonic_ns();
        let (frame, direction, pid) = (self.clock.frame_at(ns), self.direction.letter(), std::process::id());
        let line = format!(r#"{{"t":{ns},"n":{frame},"pid":{pid},"dir":"{direction}","ev":"{event}"{more}}}"#);
        let _ = self.log.write_all(format!("{line}\n").as_bytes());
    }
}

impl Direction {
    const fn letter(self) -> char {
        match self {
            Direction::Playback => 'p',
            Direction::Capture => 'c',
        }
    }
}

fn open_to_append(settings: &Settings, what: &str) -> Result<File, c_int> {
    OpenOptions::new().append(true).create(true).open(settings.file(what)).map_err(|_| -libc::EACCES)
}
