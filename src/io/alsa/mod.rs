//! The sound card: one capture and one playback direction, driven together and without ever blocking; or one of them, where
//! there is no other, or where the card can only do one at a time (see [`sides`]).
//!
//! ```text
//!           open           start            underrun, overrun, suspend
//!   (none) -----> Card ----------> running ---------------------------> start again (both directions)
//!                                  running --- ENODEV and the like ---> Trouble::Gone, close, open later
//! ```
//!
//! The rest of the program knows mono 48 kHz only. A card with more channels gives the configured one and plays the
//! same on all; 24 and 32 bits are taken and given, and other rates converted here, better than ALSA's `plug` does it.
//! What the card granted is read back, never assumed: a forced period of 1024 works as well as 480.
//!
//! Capture sets the pace: at the interrupt that fills the next packet (see [`wake`]) the whole periods recorded so far are read,
//! and as many are written, so that the playback queue is a packet and a margin long again. Late frames of a period are left
//! for the next interrupt: the rhythm stays the card's. When two cards with two clocks serve
//! one device, the queue grows or shrinks; then a period is written less or more (see [`Slip`]), and the stream's
//! jitter buffer takes up the difference.

mod format;
mod half;
pub(super) mod life;
pub mod listing;
pub mod machine;
mod margin;
mod mixer;
mod sides;
mod slip;
mod wake;
mod words;

use crate::config::card_name::{CardIdentity, CardKey, PcmName};
use crate::config::{Audio, Duplex, NO_PCM};
use crate::io::{clock, sys};
use crate::media::command::CardError;
use crate::media::turn::Side;
use crate::time::{Span, Time};
use alsa::Direction;
use alsa::poll::{Descriptors, Flags};
pub use half::Granted;
use machine::Machine;
use margin::Margin;
use mixer::Amplifier;
use sides::Sides;
use slip::{Owed, Slip};
use wake::Wake;

/// Why the card did not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It stopped because we were late (or was suspended): [`Card::start`] it again.
    Stopped(Stopped),
    /// It must be closed.
    Gone(CardError),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// EPIPE of capture: samples were lost.
    Overrun,
    /// EPIPE of playback: silence was heard.
    Underrun,
    Suspended,
}

/// Descriptors a card may have; real ones have one.
pub const MAX_DESCRIPTORS: usize = 8;

/// Most frames that [`Card::read`] gives and [`Card::room`] asks for at once.
pub const MAX_FRAMES: usize = 4_800;

/// Why a card cannot be opened, and what a person may want to know about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenError {
    pub error: CardError,
    pub words: String,
}

pub struct Card {
    sides: Sides,
    /// Whether it can do both directions at once.
    duplex: Duplex,
    /// One start starts both.
    linked: bool,
    wake: Wake,
    margin: Margin,
    owed: Owed,
    slip: Slip,
    amplifier: Option<Amplifier>,
    complaints: Vec<String>,
}

/// Whether what is written is heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loudspeaker {
    Open,
    /// It is the microphone's turn.
    Waiting,
    None,
}

impl Card {
    /// Opens what there is; nothing runs. Takes as long as the hardware takes: call it outside of a call if possible.
    ///
    /// libasound's own messages are kept from standard error, and told with the error.
    pub fn open(config: &Audio, machine: &Machine) -> Result<Card, OpenError> {
        words::listen();
        let cards = machine.cards();
        let (sides, duplex) = Sides::open(config, machine, &cards)?;
        let (amplifier, complaints) = set_mixer(config, &cards);
        Ok(Card::of(sides, duplex, amplifier, complaints))
    }

    fn of(sides: Sides, duplex: Duplex, amplifier: Option<Amplifier>, complaints: Vec<String>) -> Card {
        let (linked, wake) = (sides.link(), sides.wake(1));
        let (margin, owed, slip) = (sides.margin(wake), Owed::default(), Slip::default());
        Card { sides, duplex, linked, wake, margin, owed, slip, amplifier, complaints }
    }

    /// Whose turn it is; `None`: this card takes no turns.
    pub fn side(&self) -> Option<Side> {
        match (self.duplex, &self.sides) {
            (Duplex::Full, _) | (Duplex::Half, Sides::Both { .. }) => None,
            (Duplex::Half, Sides::Capture(_)) => Some(Side::Capture),
            (Duplex::Half, Sides::Playback(_)) => Some(Side::Playback),
        }
    }

    /// The same card, closed and opened for the other direction; it is to be started.
    pub fn turned(self, to: Side, config: &Audio, machine: &Machine) -> Result<Card, OpenError> {
        let Card { sides, duplex, amplifier, complaints, .. } = self;
        drop(sides);
        let sides = Sides::open_one(config, machine, &machine.cards(), to)?;
        Ok(Card::of(sides, duplex, amplifier, complaints))
    }

    pub fn loudspeaker(&self) -> Loudspeaker {
        match (&self.sides, self.duplex) {
            (Sides::Both { .. } | Sides::Playback(_), _) => Loudspeaker::Open,
            (Sides::Capture(_), Duplex::Half) => Loudspeaker::Waiting,
            (Sides::Capture(_), Duplex::Full) => Loudspeaker::None,
        }
    }

    /// What of the mixer is not as configured, in words.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Rate and period of what paces us, which is capture if it is open; buffer of playback.
    pub fn granted(&self) -> Granted {
        self.sides.granted()
    }

    /// A period of what paces us, in the frames that are read and written.
    pub fn period(&self) -> usize {
        self.sides.pace().period()
    }

    /// Starts what is open from an empty ring, with silence queued for playback, and returns when that was: at once, or when
    /// `at` says, which is asked once all is ready. Packets take `packet` frames.
    pub fn start(&mut self, packet: usize, at: impl FnOnce(Time) -> Time) -> Result<Time, CardError> {
        if !self.is_for(packet) {
            self.wake = self.sides.wake(packet);
            self.margin = self.sides.margin(self.wake);
            self.sides.pace().wake_after(self.wake.next())?;
        }
        for half in [self.sides.playback(), self.sides.capture()].into_iter().flatten() {
            let _ = half.pcm.drop();
            half.pcm.prepare().map_err(card_error)?;
        }
        self.owed = Owed::default();
        self.slip = Slip::default();
        let silence = self.level();
        match self.sides.playback_mut().map_or(Ok(()), |playback| playback.write_silence(silence)) {
            Ok(()) => {}
            Err(Trouble::Gone(error)) => return Err(error),
            Err(Trouble::Stopped(_)) => return Err(CardError::Other(libc::EPIPE)),
        }
        if let Some(amplifier) = &self.amplifier {
            amplifier.switch(self.sides.playback().is_some());
        }
        let started = at(clock::now());
        clock::wait_until(started);
        if let Some(playback) = self.sides.playback() {
            playback.pcm.start().map_err(card_error)?;
        }
        match self.sides.capture() {
            Some(capture) if !self.linked => capture.pcm.start().map_err(card_error)?,
            Some(_) | None => {}
        }
        Ok(started)
    }

    /// Whether it was started for packets that take as many periods.
    pub fn is_for(&self, packet: usize) -> bool {
        self.wake.most() == self.sides.wake(packet).most()
    }

    /// So many frames more fill the next packet. Returns after how many it wakes us: whole periods.
    pub fn wake_after(&mut self, missing: usize) -> Result<usize, CardError> {
        let wake = self.wake.after(missing, self.period());
        if wake != self.wake {
            self.sides.pace().wake_after(wake.next())?;
            self.wake = wake;
        }
        Ok(self.awaited())
    }

    /// After how many frames it wakes us.
    fn awaited(&self) -> usize {
        self.wake.next() * self.period()
    }

    /// If there are more than so many frames, a period has been slept over. From a card of another rate one gives a frame more or less.
    pub fn slept_over(&self) -> usize {
        self.awaited() + self.period() / 2
    }

    /// It has stopped, so long after it was read last.
    pub fn on_stopped(&mut self, why: Stopped, after: Span) {
        self.margin.on_stopped(why, after);
    }

    /// Fills in what to `poll` for and returns how many entries.
    pub fn descriptors(&self, fds: &mut [libc::pollfd]) -> Result<usize, CardError> {
        let pcm = &self.sides.pace().pcm;
        match pcm.count() {
            count if count <= fds.len() => pcm.fill(&mut fds[..count]).map_err(card_error),
            _ => Err(CardError::Unsuitable),
        }
    }

    /// Whether the wake-up was the card's: a period is there, or an error to be met by reading.
    pub fn is_ready(&self, fds: &[libc::pollfd]) -> bool {
        let wanted = Flags::IN | Flags::OUT | Flags::ERR | Flags::HUP | Flags::NVAL;
        self.sides.pace().pcm.revents(fds).map_or(true, |flags| flags.intersects(wanted))
    }

    /// Reads the whole periods that were recorded, as far as they fit into `samples`; 0 if none is complete. Without a
    /// microphone they are silent, and complete when as much has been played.
    pub fn read(&mut self, samples: &mut [i16]) -> Result<usize, Trouble> {
        let most = samples.len().min(MAX_FRAMES);
        let (periods, got) = match &mut self.sides {
            Sides::Both { capture, .. } | Sides::Capture(capture) => {
                let there = capture.periods()?;
                capture.read(there, &mut samples[..most])?
            }
            Sides::Playback(playback) => {
                let period = playback.period();
                let periods = playback.avail(Stopped::Underrun)?.min(most) / period;
                samples[..periods * period].fill(0);
                (periods, periods * period)
            }
        };
        self.owed.periods += periods;
        self.owed.frames += got;
        Ok(got)
    }

    /// Frames to write now: about as many as were read. See [`slip`].
    pub fn room(&mut self) -> Result<usize, Trouble> {
        let owed = std::mem::take(&mut self.owed);
        let Sides::Both { capture, playback } = &self.sides else {
            return Ok(owed.frames.min(MAX_FRAMES));
        };
        let free = playback.avail_now(Stopped::Underrun)?;
        let period = capture.period();
        let after = (playback.buffer().saturating_sub(free) + owed.frames) as isize;
        let wanted = self.level().saturating_sub(capture.avail(Stopped::Overrun)?) as isize;
        let frames = self.slip.frames(owed, after - wanted, &mut self.margin, period);
        Ok(frames.min(free).min(MAX_FRAMES))
    }

    /// Writes mono samples, as many as [`Card::room`] said; nobody hears them if there is no loudspeaker.
    pub fn write(&mut self, samples: &[i16]) -> Result<(), Trouble> {
        self.sides.playback_mut().map_or(Ok(()), |playback| playback.write(samples))
    }

    fn level(&self) -> usize {
        match &self.sides {
            Sides::Both { capture, playback } => {
                (self.wake.most() * capture.period() + self.margin.frames()).min(playback.buffer())
            }
            Sides::Playback(playback) => playback.buffer(),
            Sides::Capture(_) => 0,
        }
    }
}

/// Sets the controls, and finds the amplifier's switch.
fn set_mixer(config: &Audio, cards: &[CardIdentity]) -> (Option<Amplifier>, Vec<String>) {
    if config.controls.is_empty() && config.amplifier_control.is_empty() {
        return (None, Vec::new());
    }
    let name = mixer_name(config, cards);
    let mut complaints = mixer::set(&name, &config.controls);
    let amplifier = match config.amplifier_control.as_str() {
        "" => None,
        control => Amplifier::find(&name, control).map_err(|why| complaints.push(why)).ok(),
    };
    (amplifier, complaints)
}

/// The one configured, or that of the playback card, or of the only one.
fn mixer_name(config: &Audio, cards: &[CardIdentity]) -> String {
    if !config.mixer.is_empty() {
        return present_name(&config.mixer, cards).unwrap_or_else(|| config.mixer.clone());
    }
    let pcm = if config.playback == NO_PCM { &config.capture } else { &config.playback };
    match PcmName::parse(pcm).ok().flatten() {
        Some(pcm) => match (pcm.card, pcm.find(cards)) {
            (_, Some(card)) => format!("hw:{}", card.id),
            (CardKey::Id(id), None) => format!("hw:{id}"),
            (CardKey::Index(_) | CardKey::Usb { .. } | CardKey::Bus(_), None) => "default".to_owned(),
        },
        None => "default".to_owned(),
    }
}

/// What libasound remembers of its configuration, and for which cards it was made.
///
/// It has parts for each card, made when it is first read; cards that came since then are unknown to it. To read it
/// again costs more than everything else about a card that is not there, so it is done when the cards have changed.
/// That its files have changed it sees by itself.
#[derive(Default)]
pub struct Remembered {
    seen: Option<Seen>,
}

/// The cards, and when a device of theirs came or went last: not every machine shows us a list of them.
#[derive(PartialEq, Eq)]
struct Seen {
    cards: Vec<CardIdentity>,
    changed: Option<(i64, i64)>,
}

impl Remembered {
    /// Drops it if it may be outdated. Not while a card is open.
    pub fn refresh(&mut self, machine: &Machine) {
        if self.is_outdated(machine) {
            let _ = alsa::config::update_free_global();
        }
    }

    /// Whether the cards have changed since it was asked last.
    fn is_outdated(&mut self, machine: &Machine) -> bool {
        let seen = Some(Seen { cards: machine.cards(), changed: machine.devices_changed() });
        std::mem::replace(&mut self.seen, seen) != self.seen
    }
}

/// libasound takes a lock in each call, for programs that use a card in several threads; ours has one for it. To be called before there
/// are threads, and before a card is opened.
pub fn leave_out_locks() {
    sys::set_variable("LIBASOUND_THREAD_SAFE", "0");
}

/// What libasound has said since the card was opened.
pub fn last_words() -> String {
    words::heard()
}

/// Throws away what libasound has said, if that is much. Once in a while, by the thread that has the card.
pub fn trim_words() {
    words::trim();
}

/// The PCM's name for libasound, or none if its card is not there.
fn present_name(name: &str, cards: &[CardIdentity]) -> Option<String> {
    match PcmName::parse(name) {
        Ok(Some(pcm)) => pcm.resolve(cards).ok().map(|name| name.into_owned()),
        Ok(None) | Err(_) => Some(name.to_owned()),
    }
}

fn explain(error: CardError, name: &str, direction: Direction, machine: &Machine, cards: &[CardIdentity]) -> String {
    let card = PcmName::parse(name).ok().flatten().and_then(|pcm| pcm.find(cards));
    let letter = match direction {
        Direction::Playback => 'p',
        Direction::Capture => 'c',
    };
    let known = match (error, card) {
        (CardError::Busy, Some(card)) => match machine.holders(card, letter) {
            holders if holders.is_empty() => None,
            holders => Some(format!("{name} is held by {}", holders.join(", "))),
        },
        (CardError::Forbidden, Some(card)) => {
            machine.missing_group(card).map(|group| format!("{name} is for group {group}, and we are not in it"))
        }
        (
            CardError::Absent
            | CardError::Busy
            | CardError::Forbidden
            | CardError::Unsuitable
            | CardError::Stalled
            | CardError::Other(_),
            _,
        ) => None,
    };
    known.unwrap_or_else(|| match words::heard() {
        said if said.is_empty() => name.to_owned(),
        said => format!("{name}: {said}"),
    })
}

fn trouble(error: alsa::Error, xrun: Stopped) -> Trouble {
    match error.errno() {
        libc::EPIPE => Trouble::Stopped(xrun),
        libc::ESTRPIPE => Trouble::Stopped(Stopped::Suspended),
        _ => Trouble::Gone(card_error(error)),
    }
}

/// The error number in words; crate `alsa` gives it with either sign.
fn card_error(error: alsa::Error) -> CardError {
    match error.errno().abs() {
        // A wrong state (EBADFD) and a lost ioctl (ENOTTY) are how some drivers say that the device has left.
        libc::ENODEV | libc::ENOENT | libc::ENXIO | libc::ENOTTY | libc::EBADFD => CardError::Absent,
        // A non-blocking open of a card in use is EAGAIN with some drivers.
        libc::EBUSY | libc::EAGAIN => CardError::Busy,
        libc::EACCES | libc::EPERM => CardError::Forbidden,
        libc::EINVAL => CardError::Unsuitable,
        other => CardError::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libasound_remembers_is_dropped_when_the_cards_have_changed() {
        let machine = machine::fake::Fake::new("remembered");
        machine.headset(1, "Device");
        let mut remembered = Remembered::default();
        let mut outdated = || remembered.is_outdated(&machine.machine());
        assert_eq!([outdated(), outdated()], [true, false]);
        machine.codec(0, "rockchipes8388");
        assert_eq!([outdated(), outdated()], [true, false]);
    }

    #[test]
    fn error_numbers_become_advice_whatever_their_sign() {
        let of = |number| card_error(alsa::Error::new("test", number));
        assert_eq!((of(libc::ENODEV), of(-libc::ENODEV)), (CardError::Absent, CardError::Absent));
        assert_eq!((of(libc::EBUSY), of(libc::EACCES)), (CardError::Busy, CardError::Forbidden));
        assert_eq!((of(libc::EINVAL), of(libc::EIO)), (CardError::Unsuitable, CardError::Other(libc::EIO)));
        let while_running = |number| trouble(alsa::Error::new("test", number), Stopped::Overrun);
        assert_eq!(while_running(libc::EPIPE), Trouble::Stopped(Stopped::Overrun));
        assert_eq!(while_running(libc::ESTRPIPE), Trouble::Stopped(Stopped::Suspended));
        assert_eq!(while_running(libc::ENODEV), Trouble::Gone(CardError::Absent));
    }
}
