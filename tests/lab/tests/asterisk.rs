//! The lab itself holds: the real mixer mixes what two of Debian's baresip say, and its faults are real.

use lab::asterisk::Asterisk;
use lab::baresip::{Baresip, Plan, Sound};
use std::f64::consts::TAU;
use std::path::Path;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Each hears the other's tone at the level it was sent with, not its own, and no 20 ms of silence in between.
#[test]
fn two_baresips_hear_each_other() {
    let mixer = Asterisk::start("two").expect("a mixer");
    let room = "88826777033";
    let mut low = Baresip::dial("low", room, mixer.sip, &Plan::new(Sound::Tone(440))).expect("baresip");
    let mut high = Baresip::dial("high", room, mixer.sip, &Plan::new(Sound::Tone(880))).expect("baresip");
    low.wait_established(10 * SECOND).expect("a call");
    high.wait_established(10 * SECOND).expect("a call");
    let there = mixer.wait_for(room, 2, 5 * SECOND).expect("both in the room");
    assert!(there.iter().all(|one| one.caller == "plain" && !one.muted), "{there:?}");
    std::thread::sleep(5 * SECOND);
    low.hang_up().expect("a proper end");
    high.hang_up().expect("a proper end");
    mixer.wait_for(room, 0, 5 * SECOND).expect("an empty room");
    for (baresip, own, other) in [(&low, 440.0, 880.0), (&high, 880.0, 440.0)] {
        let heard = Recording::read(&baresip.heard().expect("a recording"));
        // baresip sends a sine of half the full scale: -6.02 dBFS.
        assert!((heard.tone(other) + 6.02).abs() < 0.5, "the other's tone at {:.1} dBFS", heard.tone(other));
        assert!(heard.tone(own) < -60.0, "its own tone at {:.1} dBFS", heard.tone(own));
        assert_eq!(heard.silent_blocks(), 0);
    }
}

/// What the mixer does to a call by order: mute, lock, freeze, kick; and what is left of it after a crash.
#[test]
fn mixer_does_as_told() {
    let mixer = Asterisk::start("told").expect("a mixer");
    let room = "88826777034";
    let mut caller = Baresip::dial("told", room, mixer.sip, &Plan::new(Sound::Tone(440))).expect("baresip");
    caller.wait_established(10 * SECOND).expect("a call");
    let channel = mixer.wait_for(room, 1, 5 * SECOND).expect("one in the room").remove(0).channel;
    mixer.mute(room, &channel).expect("mute");
    assert!(mixer.participants(room).expect("a list")[0].muted);
    mixer.lock(room).expect("lock");
    let mut late = Baresip::dial("late", room, mixer.sip, &Plan::new(Sound::Tone(880))).expect("baresip");
    late.wait_established(10 * SECOND).expect("answered, though the room is locked");
    mixer.freeze().expect("freeze");
    mixer.thaw().expect("thaw");
    assert_eq!(mixer.wait_for(room, 1, 5 * SECOND).expect("the late one is out")[0].channel, channel);
    mixer.kick(room, &channel).expect("kick");
    mixer.wait_for(room, 0, 5 * SECOND).expect("an empty room");
    mixer.kill().expect("kill");
    assert!(mixer.participants(room).is_err(), "a dead mixer answers");
    mixer.start_again().expect("a new start");
    assert_eq!(mixer.participants(room).expect("a list"), []);
}

struct Recording {
    rate: f64,
    /// The first channel between the first and the last audible 20 ms.
    samples: Vec<f64>,
}

impl Recording {
    /// A WAV file of 16 bit samples, as baresip's filter writes it: a header of 44 bytes.
    fn read(path: &Path) -> Recording {
        let bytes = std::fs::read(path).expect("a recording");
        let channels = usize::from(bytes[22]);
        let rate = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
        let all: Vec<f64> = bytes[44..]
            .chunks_exact(2 * channels)
            .map(|frame| f64::from(i16::from_le_bytes([frame[0], frame[1]])) / 32768.0)
            .collect();
        let audible: Vec<usize> = all
            .chunks_exact(rate as usize / 50)
            .enumerate()
            .filter(|(_, block)| rms(block) > 1e-3)
            .map(|(at, _)| at)
            .collect();
        let (first, last) = (audible.first().expect("some sound"), audible.last().expect("some sound"));
        let block = rate as usize / 50;
        let samples = all[first * block..last * block].to_vec();
        assert!(samples.len() as f64 > 4.0 * f64::from(rate), "only {} samples were heard", samples.len());
        Recording { rate: rate.into(), samples }
    }

    /// Level of a sine of this frequency, dBFS of its peak, in the second half.
    fn tone(&self, hertz: f64) -> f64 {
        let window = &self.samples[self.samples.len() / 2..][..self.rate as usize];
        let (mut re, mut im) = (0.0, 0.0);
        for (at, sample) in window.iter().enumerate() {
            let angle = TAU * hertz * at as f64 / self.rate;
            re += sample * angle.cos();
            im += sample * angle.sin();
        }
        20.0 * (2.0 * re.hypot(im) / window.len() as f64).max(1e-9).log10()
    }

    fn silent_blocks(&self) -> usize {
        self.samples.chunks_exact(self.rate as usize / 50).filter(|block| rms(block) <= 1e-3).count()
    }
}

fn rms(samples: &[f64]) -> f64 {
    (samples.iter().map(|sample| sample * sample).sum::<f64>() / samples.len() as f64).sqrt()
}
