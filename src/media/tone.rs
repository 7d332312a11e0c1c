//! Tones for people: what the device says without words, made of sines, mixed over whatever else is played.
//!
//! ```text
//!   start ─▶ Playing ──last note──▶ Ending ──100 ms of nothing──▶ Silent
//!               │                      ▲
//!               └── stop: fades out ───┘        next one waiting: Playing again
//! ```
//!
//! Call progress follows what is heard in most of Europe (ETSI TR 101 041-2, ITU-T E.180 with its supplement 2): 425 Hz,
//! ringback 1 s on and 4 s off, busy 0.5 s on and off. The ring is the double ring of E.180, two sines that beat. The
//! tones for installers count: a rung of the ladder is as many pips as it is high, and each rung has a pitch of its own.

use crate::status::Rung;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// Somebody calls; until it is stopped.
    Ring,
    /// The other side rings; until it is stopped.
    Ringback,
    /// The other side does not want us; ends by itself after four cycles.
    Busy,
    Connected,
    Muted,
    Unmuted,
    /// For an installer without a screen: audio is proven up to this rung.
    Rung(Rung),
}

/// A sine of each frequency, in Hz, for so many ms; no frequency: a pause.
struct Note {
    hertz: &'static [u16],
    ms: u16,
}

struct Score {
    notes: &'static [Note],
    /// How often they are played; `None`: until stopped.
    times: Option<u8>,
}

/// Two sines at most sound at once.
const VOICES: usize = 2;
/// Samples of one ms.
const MS: u32 = 48;
/// A note begins and ends within 5 ms: no click.
const EDGE: u32 = 5 * MS;
/// The card has a queue: a tone is over when its last sample has surely been heard.
const TAIL: u32 = 100 * MS;

/// Plays one tone at a time, mono, 48 kHz.
pub struct Tones {
    amplitude: f32,
    state: State,
    /// Begins when the present tone has ended.
    next: Option<Tone>,
}

#[derive(Clone, Copy)]
enum State {
    Silent,
    Playing(Place),
    /// Stopped in the middle of a note: so many samples of fading are left.
    Fading(Place, u32),
    /// So many samples of nothing are left.
    Ending(u32),
}

/// Where in which score.
#[derive(Clone, Copy)]
struct Place {
    score: &'static Score,
    played: u8,
    note: usize,
    /// Samples of the note that were played.
    at: u32,
}

impl Tones {
    /// `level_db`: the peak of a tone, in dB below full scale.
    pub fn new(level_db: u8) -> Tones {
        let amplitude = 32_767.0 * 10f32.powf(-f32::from(level_db) / 20.0);
        Tones { amplitude, state: State::Silent, next: None }
    }

    /// A short tone that is being played is played to its end before; one that goes on until it is stopped gives way.
    /// Of those that wait the last one counts.
    pub fn start(&mut self, tone: Tone) {
        match self.state {
            State::Silent | State::Ending(_) => self.state = State::Playing(Place::beginning(tone)),
            State::Fading(..) => self.next = Some(tone),
            State::Playing(place) => {
                self.next = Some(tone);
                if place.score.times.is_none() {
                    self.state = State::Fading(place, EDGE);
                }
            }
        }
    }

    /// Ends what is being played, and forgets what waits.
    pub fn stop(&mut self) {
        self.next = None;
        if let State::Playing(place) = self.state {
            self.state = State::Fading(place, EDGE);
        }
    }

    /// Whether there is something to be heard yet: the card is needed until then.
    pub fn is_sounding(&self) -> bool {
        !matches!(self.state, State::Silent)
    }

    /// Adds the tone to what is played.
    pub fn mix(&mut self, samples: &mut [i16]) {
        for sample in samples {
            if matches!(self.state, State::Silent) {
                return;
            }
            let tone = self.sample() * self.amplitude;
            *sample = sample.saturating_add(tone as i16);
        }
    }

    /// The next sample, -1 to 1.
    fn sample(&mut self) -> f32 {
        match &mut self.state {
            State::Silent => 0.0,
            State::Playing(place) => {
                let sample = place.sample();
                if !place.advance() {
                    self.ended();
                }
                sample
            }
            State::Fading(place, left) => {
                *left -= 1;
                let sample = place.sample() * ramp(*left);
                if *left == 0 || !place.advance() {
                    self.ended();
                }
                sample
            }
            State::Ending(left) => {
                *left -= 1;
                if *left == 0 {
                    self.state = State::Silent;
                }
                0.0
            }
        }
    }

    fn ended(&mut self) {
        self.state = match self.next.take() {
            Some(tone) => State::Playing(Place::beginning(tone)),
            None => State::Ending(TAIL),
        };
    }
}

impl Place {
    fn beginning(tone: Tone) -> Place {
        Place { score: tone.score(), played: 0, note: 0, at: 0 }
    }

    fn sample(&self) -> f32 {
        let note = &self.score.notes[self.note];
        let edge = ramp(self.at.min(note.samples() - 1 - self.at));
        let share = 1.0 / note.hertz.len().max(1) as f32;
        let sines = note.hertz.iter().take(VOICES).map(|hertz| {
            // Whole turns are left out: a float has too few digits for them.
            let turns = (u64::from(self.at) * u64::from(*hertz)) % 48_000;
            (turns as f32 * (std::f32::consts::TAU / 48_000.0)).sin()
        });
        sines.sum::<f32>() * share * edge
    }

    /// To the next sample; `false`: that was the last one.
    fn advance(&mut self) -> bool {
        self.at += 1;
        if self.at < self.score.notes[self.note].samples() {
            return true;
        }
        (self.at, self.note) = (0, self.note + 1);
        if self.note < self.score.notes.len() {
            return true;
        }
        self.note = 0;
        match self.score.times {
            None => true,
            Some(times) => {
                self.played += 1;
                self.played < times
            }
        }
    }
}

/// Half a cosine from 0 to 1 over the samples of an edge.
fn ramp(samples: u32) -> f32 {
    if samples >= EDGE {
        return 1.0;
    }
    0.5 - 0.5 * (samples as f32 / EDGE as f32 * std::f32::consts::PI).cos()
}

impl Note {
    const fn new(hertz: &'static [u16], ms: u16) -> Note {
        Note { hertz, ms }
    }

    const fn pause(ms: u16) -> Note {
        Note { hertz: &[], ms }
    }

    const fn samples(&self) -> u32 {
        self.ms as u32 * MS
    }
}

/// As many pips as there are notes before the pause.
macro_rules! pips {
    ($hertz:literal; $($pip:tt)*) => {
        Score { notes: &[$(pips!(@ $pip $hertz), Note::pause(90)),*], times: Some(1) }
    };
    (@ short $hertz:literal) => { Note::new(&[$hertz], 90) };
    (@ long $hertz:literal) => { Note::new(&[$hertz], 400) };
}

impl Tone {
    fn score(self) -> &'static Score {
        const fn until_stopped(notes: &'static [Note]) -> Score {
            Score { notes, times: None }
        }
        const fn once(notes: &'static [Note]) -> Score {
            Score { notes, times: Some(1) }
        }
        const RING: &Score = &until_stopped(&[
            Note::new(&[400, 450], 400),
            Note::pause(200),
            Note::new(&[400, 450], 400),
            Note::pause(2_000),
        ]);
        const RINGBACK: &Score = &until_stopped(&[Note::new(&[425], 1_000), Note::pause(4_000)]);
        const BUSY: &Score = &Score { notes: &[Note::new(&[425], 500), Note::pause(500)], times: Some(4) };
        const CONNECTED: &Score = &once(&[Note::new(&[660], 80), Note::new(&[880], 120)]);
        const MUTED: &Score = &once(&[Note::new(&[660], 60), Note::new(&[440], 90)]);
        const UNMUTED: &Score = &once(&[Note::new(&[440], 60), Note::new(&[660], 90)]);
        // A major scale from C5; the lowest has no pip to count, the highest ends in a long one.
        const OFFLINE: &Score = &once(&[Note::new(&[200], 600)]);
        const SESSION: &Score = &pips!(523; short);
        const ROOM: &Score = &pips!(587; short short);
        const CALL: &Score = &pips!(659; short short short);
        const SENDING: &Score = &pips!(698; short short short short);
        const RECEIVING: &Score = &pips!(784; short short short short short);
        const PLAYING: &Score = &pips!(880; short short short short short long);
        match self {
            Tone::Ring => RING,
            Tone::Ringback => RINGBACK,
            Tone::Busy => BUSY,
            Tone::Connected => CONNECTED,
            Tone::Muted => MUTED,
            Tone::Unmuted => UNMUTED,
            Tone::Rung(Rung::Offline) => OFFLINE,
            Tone::Rung(Rung::Session) => SESSION,
            Tone::Rung(Rung::Room) => ROOM,
            Tone::Rung(Rung::Call) => CALL,
            Tone::Rung(Rung::Sending) => SENDING,
            Tone::Rung(Rung::Receiving) => RECEIVING,
            Tone::Rung(Rung::Playing) => PLAYING,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Tone; 13] = [
        Tone::Ring,
        Tone::Ringback,
        Tone::Busy,
        Tone::Connected,
        Tone::Muted,
        Tone::Unmuted,
        Tone::Rung(Rung::Offline),
        Tone::Rung(Rung::Session),
        Tone::Rung(Rung::Room),
        Tone::Rung(Rung::Call),
        Tone::Rung(Rung::Sending),
        Tone::Rung(Rung::Receiving),
        Tone::Rung(Rung::Playing),
    ];

    fn played(tones: &mut Tones, ms: u32) -> Vec<i16> {
        let mut samples = vec![0; (ms * MS) as usize];
        for period in samples.chunks_mut(480) {
            tones.mix(period);
        }
        samples
    }

    /// Power at a frequency against all power (Goertzel).
    fn share(samples: &[i16], hertz: f64) -> f64 {
        let (mut sine, mut cosine, mut all) = (0.0, 0.0, 1e-9);
        for (n, sample) in samples.iter().enumerate() {
            let angle = n as f64 * hertz * std::f64::consts::TAU / 48_000.0;
            sine += f64::from(*sample) * angle.sin();
            cosine += f64::from(*sample) * angle.cos();
            all += f64::from(*sample).powi(2);
        }
        2.0 * (sine * sine + cosine * cosine) / samples.len() as f64 / all
    }

    /// Ms of sound and of pause, in turn; a zero crossing is no pause.
    fn cadence(samples: &[i16]) -> Vec<usize> {
        let loud: Vec<bool> = samples.chunks(480).map(|c| c.iter().any(|s| s.unsigned_abs() > 300)).collect();
        loud.chunk_by(|a, b| a == b).map(|run| run.len() * 10).collect()
    }

    #[test]
    fn call_progress_has_the_frequencies_and_cadences_of_the_standard() {
        let mut tones = Tones::new(20);
        tones.start(Tone::Ringback);
        let heard = played(&mut tones, 11_000);
        assert_eq!(cadence(&heard), [1_000, 4_000, 1_000, 4_000, 1_000]);
        assert!(share(&heard[480..47_520], 425.0) > 0.99);
        let mut tones = Tones::new(20);
        tones.start(Tone::Busy);
        assert_eq!(cadence(&played(&mut tones, 5_000)), [500, 500, 500, 500, 500, 500, 500, 1_500]);
        assert!(!tones.is_sounding(), "busy ends by itself");
        let mut tones = Tones::new(20);
        tones.start(Tone::Ring);
        let heard = played(&mut tones, 3_000);
        let shares = [400.0, 450.0].map(|hertz| share(&heard[480..18_720], hertz));
        assert!(shares.iter().sum::<f64>() > 0.95 && shares.iter().all(|share| *share > 0.4), "{shares:?}");
    }

    #[test]
    fn the_level_is_what_was_asked_for_and_nothing_clicks() {
        for tone in ALL {
            let mut tones = Tones::new(20);
            tones.start(tone);
            let heard = played(&mut tones, 3_000);
            let peak = heard.iter().map(|s| s.unsigned_abs()).max().unwrap();
            assert!((3_000..=3_277).contains(&peak), "{tone:?}: {peak}");
            // A sine of 900 Hz at this level moves by 386 from one sample to the next.
            let step = heard.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap();
            assert!(step < 400, "{tone:?}: {step}");
        }
    }

    #[test]
    fn stopped_anywhere_it_fades_and_soon_needs_no_card() {
        for ms in [1, 3, 7, 500, 998, 1_500, 4_999] {
            let mut tones = Tones::new(20);
            tones.start(Tone::Ringback);
            let mut heard = played(&mut tones, ms);
            tones.stop();
            heard.extend(played(&mut tones, 20));
            assert!(heard.windows(2).all(|w| (i32::from(w[1]) - i32::from(w[0])).abs() < 400), "{ms}");
            assert_eq!(heard[heard.len() - 240..], [0; 240], "{ms}");
            assert!(tones.is_sounding(), "the card plays its queue yet");
            played(&mut tones, 100);
            assert!(!tones.is_sounding());
        }
    }

    #[test]
    fn a_short_tone_is_played_to_its_end_and_a_long_one_gives_way() {
        let mut tones = Tones::new(20);
        tones.start(Tone::Connected);
        played(&mut tones, 10);
        for tone in [Tone::Muted, Tone::Busy, Tone::Ringback] {
            tones.start(tone);
        }
        let heard = played(&mut tones, 6_190);
        assert_eq!(cadence(&heard), [1_190, 4_000, 1_000], "the last of those that waited");
        tones.start(Tone::Busy);
        assert_eq!(cadence(&played(&mut tones, 1_000)), [510, 490], "faded, then at once");
    }

    #[test]
    fn the_rungs_are_told_apart_by_counting() {
        let pips = |rung| {
            let mut tones = Tones::new(20);
            tones.start(Tone::Rung(rung));
            cadence(&played(&mut tones, 2_000)).len() / 2
        };
        use Rung::*;
        assert_eq!([Session, Room, Call, Sending, Receiving, Playing].map(pips), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn it_is_added_to_what_is_played_and_never_wraps() {
        let mut tones = Tones::new(0);
        tones.start(Tone::Ringback);
        let mut loud = [i16::MAX; 4_800];
        tones.mix(&mut loud);
        assert!(loud.iter().all(|s| *s >= 0), "clipped, not wrapped");
        let mut silent = Tones::new(0);
        let mut quiet = [7; 480];
        silent.mix(&mut quiet);
        assert_eq!(quiet, [7; 480]);
    }
}
