//! Faults, on the card's own frame axis so that a run repeats to the frame, or by control files: now.
//!
//! `kind[.p|.c]@frame[+frames]`, separated by `;` or newlines; `.p` and `.c` limit a fault to playback or capture:
//!
//! | kind | what happens |
//! |---|---|
//! | `xrun` | the direction stops with EPIPE, once |
//! | `suspend` | it stops with ESTRPIPE, once; resume is ENOSYS |
//! | `stall` | the pointer stands still for the given length, then jumps to where it should be |
//! | `unplug` | ENODEV while running and on open, for the given length (0: for good) |
//! | `busy` | open is EBUSY, for the given length |

use crate::card::Direction;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Xrun,
    Suspend,
    Stall,
    Unplug,
    Busy,
}

/// What stops a running direction once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    Xrun,
    Suspend,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fault {
    kind: Kind,
    only: Option<Direction>,
    at: i64,
    frames: i64,
}

impl Fault {
    fn lasts_at(&self, frame: i64) -> bool {
        let endless = self.kind == Kind::Unplug && self.frames == 0;
        frame >= self.at && (endless || frame < self.at + self.frames)
    }
}

/// The faults of one direction of a card.
#[derive(Debug)]
pub(crate) struct Faults {
    list: Vec<Fault>,
    unplugged: ControlFile,
    stalled: ControlFile,
    busy: ControlFile,
}

impl Faults {
    /// `None` if `text` is not understood: a test must not pass because its fault was misspelt.
    pub(crate) fn parse(text: &str, direction: Direction, dir: &Path, card: &str) -> Option<Faults> {
        let entries = text.split([';', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
        let list: Option<Vec<Fault>> = entries.map(parse_one).collect();
        let file = |what| ControlFile { path: dir.join(format!("{card}.{what}")), exists: false, looked_ns: 0 };
        Some(Faults {
            list: list?.into_iter().filter(|fault| fault.only.is_none_or(|only| only == direction)).collect(),
            unplugged: file("unplugged"),
            stalled: file("stalled"),
            busy: file("busy"),
        })
    }

    pub(crate) fn unplugged(&mut self, ns: i64, frame: i64) -> bool {
        self.unplugged.exists(ns) || self.lasts(Kind::Unplug, frame)
    }

    pub(crate) fn busy(&mut self, ns: i64, frame: i64) -> bool {
        self.busy.exists(ns) || self.lasts(Kind::Busy, frame)
    }

    /// The clock stands still because of the control file: nobody knows until when.
    pub(crate) fn stalled_now(&mut self, ns: i64) -> bool {
        self.stalled.exists(ns)
    }

    /// The pointer's frame: `frame`, or where a stall holds it.
    pub(crate) fn held(&self, frame: i64) -> i64 {
        let stall = self.list.iter().find(|fault| fault.kind == Kind::Stall && fault.lasts_at(frame));
        stall.map_or(frame, |stall| stall.at)
    }

    /// When the pointer can next reach `frame`: later than it says if a stall is in the way, and earlier if a fault
    /// between `position` and it has to be noticed.
    pub(crate) fn next_interrupt(&self, position: i64, frame: i64) -> i64 {
        self.list.iter().fold(frame, |next, fault| match fault.kind {
            Kind::Stall if fault.lasts_at(next) => fault.at + fault.frames,
            Kind::Xrun | Kind::Suspend | Kind::Unplug if fault.at > position && fault.at < next => fault.at,
            Kind::Xrun | Kind::Suspend | Kind::Stall | Kind::Unplug | Kind::Busy => next,
        })
    }

    /// A one-time fault whose frame has come since the direction started; it is forgotten.
    pub(crate) fn take_stop(&mut self, started: i64, frame: i64) -> Option<Stop> {
        let stop = |kind| match kind {
            Kind::Xrun => Some(Stop::Xrun),
            Kind::Suspend => Some(Stop::Suspend),
            Kind::Stall | Kind::Unplug | Kind::Busy => None,
        };
        let due = |fault: &Fault| stop(fault.kind).is_some() && fault.at > started && frame >= fault.at;
        let index = self.list.iter().position(due)?;
        stop(self.list.remove(index).kind)
    }

    fn lasts(&self, kind: Kind, frame: i64) -> bool {
        self.list.iter().any(|fault| fault.kind == kind && fault.lasts_at(frame))
    }
}

/// A file whose existence is the fault. It is looked for at most each 20 ms: libasound asks for the pointer
/// often, and the looking is charged to the program under test.
#[derive(Debug)]
struct ControlFile {
    path: PathBuf,
    exists: bool,
    looked_ns: i64,
}

impl ControlFile {
    fn exists(&mut self, ns: i64) -> bool {
        if ns - self.looked_ns > 20_000_000 {
            self.exists = self.path.exists();
            self.looked_ns = ns;
        }
        self.exists
    }
}

fn parse_one(entry: &str) -> Option<Fault> {
    let (what, span) = entry.split_once('@')?;
    let (at, frames) = span.split_once('+').unwrap_or((span, "0"));
    let (kind, only) = match what.split_once('.') {
        None => (what, None),
        Some((kind, "p")) => (kind, Some(Direction::Playback)),
        Some((kind, "c")) => (kind, Some(Direction::Capture)),
        Some(_) => return None,
    };
    let kind = match kind {
        "xrun" => Kind::Xrun,
        "suspend" => Kind::Suspend,
        "stall" => Kind::Stall,
        "unplug" => Kind::Unplug,
        "busy" => Kind::Busy,
        _ => return None,
    };
    Some(Fault { kind, only, at: at.trim().parse().ok()?, frames: frames.trim().parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playback(text: &str) -> Faults {
        Faults::parse(text, Direction::Playback, Path::new("/nonexistent"), "x").expect("the test's faults parse")
    }

    #[test]
    fn a_misspelt_fault_is_refused() {
        for text in ["xrum@1", "xrun", "xrun.q@1", "stall@1+x"] {
            assert!(Faults::parse(text, Direction::Capture, Path::new("/"), "x").is_none(), "{text}");
        }
    }

    #[test]
    fn a_stop_happens_once_and_only_in_its_direction() {
        let mut faults = playback("xrun.p@100; xrun.c@50\nsuspend@200");
        assert_eq!(faults.take_stop(0, 99), None);
        assert_eq!(faults.take_stop(0, 150), Some(Stop::Xrun));
        assert_eq!(faults.take_stop(0, 150), None);
        assert_eq!(faults.take_stop(0, 200), Some(Stop::Suspend));
    }

    #[test]
    fn a_stall_holds_the_pointer_and_delays_the_interrupt() {
        let faults = playback("stall@100+50");
        assert_eq!((faults.held(99), faults.held(120), faults.held(150)), (99, 100, 150));
        assert_eq!(faults.next_interrupt(90, 110), 150);
    }

    #[test]
    fn an_unplug_wakes_the_program_at_its_frame_and_ends() {
        let mut faults = playback("unplug@100+50");
        assert_eq!(faults.next_interrupt(10, 480), 100);
        assert!(!faults.unplugged(1, 99) && faults.unplugged(1, 100) && !faults.unplugged(1, 150));
        assert!(playback("unplug@100").unplugged(1, 1_000_000));
    }
}
