//! What the listening half of the voice path asks the decoder for: packets, inventions, and to forget.

mod line;

use line::{Ear, FRAME, StreamParams, ms, params, payload, peer, rtp, settings, shipped};
use qss_endpoint::config::Jitter;
use qss_endpoint::media::codec::{CodecError, Decoder};
use qss_endpoint::media::stream::{Settings, Stream};
use qss_endpoint::time::{Span, Time};
use std::cell::Cell;
use std::rc::Rc;

/// Plays as loud as a packet says, invents what is a little louder, and notes what it was asked for.
struct Hum {
    loudness: i16,
    asked: Rc<Asked>,
}

#[derive(Default)]
struct Asked {
    /// What it would go on from is an invention.
    invented: Cell<bool>,
    remembered: Cell<bool>,
    /// Packets that were decoded after one.
    after_inventions: Cell<u32>,
    resets: Cell<u32>,
}

const LOUD: i16 = 8_000;
/// The first byte of a packet of 2.5 ms.
const SHORT: u8 = 28 << 3;
const INVENTED: i16 = LOUD + 500;

impl Decoder for Hum {
    fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        let after_inventions = &self.asked.after_inventions;
        after_inventions.set(after_inventions.get() + u32::from(self.asked.invented.replace(false)));
        self.loudness = Ear::position(payload).map_or(self.loudness, |loudness| loudness as i16);
        let samples = if payload[0] == SHORT { 120 } else { FRAME as usize };
        pcm[..samples].fill(self.loudness);
        Ok(samples)
    }
    fn decode_fec(&mut self, _next_payload: &[u8], _pcm: &mut [i16]) -> Result<usize, CodecError> {
        Err(CodecError(-1))
    }
    fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, CodecError> {
        self.asked.invented.set(true);
        pcm.fill(self.loudness + INVENTED - LOUD);
        Ok(pcm.len())
    }
    fn remember(&mut self) {
        self.asked.remembered.set(self.asked.invented.get());
    }
    fn recall(&mut self) {
        self.asked.invented.set(self.asked.remembered.get());
    }
    fn reset(&mut self) -> Result<(), CodecError> {
        self.asked.resets.set(self.asked.resets.get() + 1);
        Ok(())
    }
}

struct Listener {
    stream: Stream<line::Mouth, Hum>,
    asked: Rc<Asked>,
    now: Time,
}

impl Listener {
    fn new() -> Listener {
        Listener::with(settings())
    }

    fn with(settings: Settings) -> Listener {
        let (asked, now) = (Rc::new(Asked::default()), Time::from_millis(1_000));
        let mut stream = Stream::new(settings, line::Mouth::new(), Hum { loudness: 0, asked: Rc::clone(&asked) });
        stream.start(now, params());
        Listener { stream, asked, now }
    }

    fn take(&mut self, n: u16, ssrc: u32, payload: &[u8]) {
        // Sources have nothing in common.
        let timestamp = (u32::from(n) * 960).wrapping_sub(ssrc << 25);
        self.stream.handle_rtp(self.now, peer(), &rtp(n, timestamp, ssrc, false, payload));
    }

    /// Packets of these numbers, one each 20 ms, and what is heard meanwhile.
    fn hear(&mut self, numbers: std::ops::Range<u16>, mut packet: impl FnMut(&mut Listener, u16)) -> Vec<i16> {
        let mut heard = Vec::new();
        for n in numbers {
            packet(self, n);
            for _ in 0..2 {
                let mut period = [0; 480];
                self.now += ms(10);
                self.stream.playback(self.now, &mut period);
                heard.extend(period);
            }
        }
        heard
    }
}

fn loud(loudness: i16) -> [u8; 10] {
    payload(loudness.into(), false)
}

#[test]
fn an_invention_is_played_for_forty_ms_or_in_a_pause_of_the_peer_for_a_second_and_fades_for_eighty() {
    for (last, full) in [(&loud(LOUD)[..], 1_920), (&loud(LOUD)[..2], 48_000)] {
        let mut listener = Listener::new();
        listener.hear(0..49, |listener, n| listener.take(n, 9, &loud(LOUD)));
        listener.take(49, 9, last);
        let heard = listener.hear(50..130, |_, _| {});
        let invented = heard.iter().filter(|sample| **sample == INVENTED).count();
        let fading = heard.iter().filter(|sample| (1..INVENTED).contains(*sample) && **sample != LOUD).count();
        assert!(invented.abs_diff(full) <= 2 && (3_800..=3_840).contains(&fading), "{invented}, {fading}");
        assert!(heard.ends_with(&[0; 4_800]), "and then there is silence");
    }
}

#[test]
fn the_decoder_goes_on_from_what_it_knew_before_an_invention_if_the_next_packet_is_there() {
    let mut listener = Listener::new();
    let lossy = |listener: &mut Listener, n: u16| {
        if n % 20 != 3 {
            listener.take(n, 9, &loud(LOUD));
        }
    };
    listener.hear(0..600, lossy);
    assert!(listener.stream.playout().target() >= ms(20), "the next packet is waited for");
    let concealed = listener.stream.stats(listener.now).frames_concealed;
    let before = listener.asked.after_inventions.get();
    listener.hear(600..1_000, lossy);
    assert!(listener.stream.stats(listener.now).frames_concealed >= concealed + 19);
    assert_eq!(listener.asked.after_inventions.get(), before);
}

/// Three packets of two hundred are lost: the next one is worth waiting for only if it repeats the one before.
#[test]
fn fec_is_waited_for_from_less_loss_on_and_while_there_is_any() {
    let mut listener = Listener::new();
    let mut waits = |numbers, fec| {
        listener.hear(numbers, |listener, n| {
            if n % 64 != 3 {
                listener.take(n, 9, &payload(LOUD.into(), fec));
            }
        });
        listener.stream.playout().target() >= ms(20)
    };
    assert!(!waits(0..1_000, false));
    assert!(waits(1_000..1_500, true));
    assert!(!waits(1_500..2_000, false));
    let put_in = listener.stream.playout().counters().lengthened_samples;
    assert!(put_in >= 900, "the sound is made longer by the packet that is waited for: {put_in}");
}

#[test]
fn the_next_packet_is_waited_for_though_every_tenth_is_lost() {
    let mut listener = Listener::new();
    listener.hear(0..1_000, |listener, n| {
        if n % 10 != 3 {
            listener.take(n, 9, &loud(LOUD));
        }
    });
    let put_in = listener.stream.playout().counters().lengthened_samples;
    assert!(put_in >= 900, "the sound is made longer by the packet that is waited for: {put_in}");
}

#[test]
fn another_source_is_faded_into_at_once_with_a_decoder_that_knows_nothing_of_the_first() {
    let mut listener = Listener::new();
    listener.hear(0..50, |listener, n| listener.take(n, 9, &loud(LOUD)));
    // 100 ms wait when the other one begins.
    (50..55).for_each(|n| listener.take(n, 9, &loud(LOUD)));
    let resets = listener.asked.resets.get();
    let heard = listener.hear(30_000..30_010, |listener, n| listener.take(n, 10, &loud(-LOUD)));
    assert_eq!(listener.asked.resets.get(), resets + 1);
    let begins = heard.iter().position(|sample| *sample == -LOUD).expect("it is heard");
    assert!(begins <= 48 * 60, "after {begins} samples");
    assert_no_click(&heard);
}

fn assert_no_click(heard: &[i16]) {
    let steepest = heard.windows(2).map(|pair| i32::from(pair[1]).abs_diff(pair[0].into())).max().expect("samples");
    assert!(steepest < 1_000, "a click: {steepest}");
}

/// The margin of the shipped configuration lets the first packet of another source wait.
#[test]
fn what_was_played_fades_into_the_silence_before_another_source_and_after_the_last() {
    let mut listener = Listener::with(shipped());
    let mut heard = listener.hear(0..50, |listener, n| listener.take(n, 9, &loud(LOUD)));
    heard.drain(..48_000 / 2);
    heard.extend(listener.hear(30_000..30_050, |listener, n| listener.take(n, 10, &loud(-LOUD))));
    listener.stream.update(listener.now, StreamParams { receive: false, ..params() });
    heard.extend(listener.hear(30_050..30_060, |_, _| {}));
    assert!(heard.ends_with(&[0; 4_800]), "on hold there is silence");
    listener.stream.update(listener.now, params());
    heard.extend(listener.hear(60..80, |listener, n| listener.take(n, 9, &loud(LOUD))));
    assert!(heard.ends_with(&[LOUD; 4_800]));
    assert_no_click(&heard);
}

/// 200 ms of them are more than there is room for.
#[test]
fn packets_of_two_and_a_half_ms_are_heard_however_long_they_shall_wait() {
    for (least, most) in [(200, 200), (500, 500), (20, 200)] {
        let jitter = Jitter { min: ms(least), max: ms(most) };
        let mut listener = Listener::with(Settings { jitter, ..settings() });
        let mut heard = Vec::new();
        for n in 0..4_000_u16 {
            let packet = [&[SHORT], &loud(LOUD)[1..]].concat();
            listener.stream.handle_rtp(listener.now, peer(), &rtp(n, u32::from(n) * 120, 9, false, &packet));
            let mut period = [0; 120];
            listener.now += Span::from_micros(2_500);
            listener.stream.playback(listener.now, &mut period);
            heard.extend(period);
        }
        assert!(heard.ends_with(&[LOUD; 48_000]), "{least} to {most} ms");
        assert_eq!(listener.stream.playout().counters().discarded, 0);
        (4_000..4_100).for_each(|n| {
            listener.stream.handle_rtp(listener.now, peer(), &rtp(n, u32::from(n) * 120, 9, false, &[SHORT, 0, 0]));
        });
        assert!(listener.stream.playout().counters().discarded >= 36, "64 of 100 at once have room");
    }
}

#[test]
fn what_was_heard_at_the_end_of_a_call_is_not_heard_in_the_next() {
    let mut listener = Listener::with(shipped());
    listener.hear(0..50, |listener, n| listener.take(n, 9, &loud(LOUD)));
    listener.stream.stop(listener.now, &mut line::Sent::default());
    listener.stream.start(listener.now, StreamParams { call: 2, ..params() });
    let heard = listener.hear(0..50, |listener, n| listener.take(n, 10, &loud(-LOUD)));
    assert!(heard.ends_with(&[-LOUD; 4_800]) && heard.iter().all(|sample| *sample <= 0));
}

#[test]
fn the_decoder_knows_nothing_of_what_came_before_there_was_no_card() {
    let mut listener = Listener::new();
    listener.hear(0..50, |listener, n| listener.take(n, 9, &loud(LOUD)));
    let resets = listener.asked.resets.get();
    listener.stream.play_unheard(&mut [0; 960]);
    listener.stream.play_unheard(&mut [0; 960]);
    listener.hear(60..70, |listener, n| listener.take(n, 9, &loud(LOUD)));
    assert_eq!(listener.asked.resets.get(), resets + 1);
}
