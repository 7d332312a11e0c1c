//! The voice path with the real codec: what the core believes about Opus packets is what libopus makes of them.
#![cfg(feature = "io")]

mod line;

use lab::measure::quality::{passages, wideband_mos};
use lab::measure::signal;
use line::{Sent, params, peer, settings};
use qss_endpoint::config::{Config, FecMode};
use qss_endpoint::io::opus::{OpusDecoder, OpusEncoder};
use qss_endpoint::media::codec::{Decoder, Encoder};
use qss_endpoint::media::command::Stats;
use qss_endpoint::media::plan::plan;
use qss_endpoint::media::stream::Stream;
use qss_endpoint::media::toc;
use qss_endpoint::random::Rng;
use qss_endpoint::rtp::red::Redundancy;
use qss_endpoint::time::{Span, Time};

type Station = Stream<OpusEncoder, OpusDecoder>;

fn station(now: Time, fec: FecMode, params: line::StreamParams) -> Station {
    let mut settings = settings();
    settings.codec.fec = fec;
    settings.rtp.rtcp_interval = Span::from_millis(1_000);
    let encoder = OpusEncoder::new(&settings.codec).unwrap();
    let mut stream = Stream::new(settings, encoder, OpusDecoder::new().unwrap());
    stream.start(now, params);
    stream
}

/// Something like a vowel: a pulse train of a gliding pitch through two resonances, in syllables.
struct Voice {
    at: f32,
    phase: f32,
    resonators: [[f32; 2]; 2],
    rng: Rng,
}

impl Voice {
    fn new() -> Voice {
        Voice { at: 0.0, phase: 0.0, resonators: [[0.0; 2]; 2], rng: Rng::from_u64(4) }
    }

    fn speak(&mut self, samples: &mut [i16]) {
        for sample in samples {
            self.at += 1.0 / 48_000.0;
            let pitch = 120.0 + 30.0 * (self.at * 2.1).sin();
            self.phase += pitch / 48_000.0;
            let pulse = if self.phase >= 1.0 { 1.0 } else { 0.0 };
            self.phase -= self.phase.floor();
            let breath = (self.rng.next_u32() as f32 / u32::MAX as f32 - 0.5) * 0.02;
            let mut x = pulse + breath;
            for (state, hertz) in self.resonators.iter_mut().zip([600.0, 1_700.0]) {
                let (r, w) = (0.995f32, hertz * std::f32::consts::TAU / 48_000.0);
                let y = x + 2.0 * r * w.cos() * state[0] - r * r * state[1];
                *state = [y, state[0]];
                x = y * 0.12;
            }
            let syllable = (0.5 + 0.5 * (self.at * 18.0).sin()).powi(2);
            *sample = (x * syllable * 60_000.0).clamp(-32_000.0, 32_000.0) as i16;
        }
    }
}

/// A talker, a line that loses packets, a listener, for half a minute; what the listener counted.
fn call(fec: FecMode, loss: f64) -> Stats {
    let mut now = Time::from_millis(1_000);
    let mut rng = Rng::from_u64(8);
    let mut talker = station(now, fec, params());
    let mut listener = station(now, FecMode::Off, line::StreamParams { ssrc: 5, ..params() });
    let (mut voice, mut wire, mut sent) = (Voice::new(), Sent::default(), 0);
    for _ in 0..3_000 {
        now += Span::from_millis(10);
        let mut samples = [0; 480];
        voice.speak(&mut samples);
        talker.capture(now, &samples, &mut wire);
        for (_, packet) in &wire.rtp[sent..] {
            if rng.below(1_000) as f64 >= loss * 1_000.0 {
                listener.handle_rtp(now, peer(), packet);
            }
        }
        sent = wire.rtp.len();
        listener.playback(now + Span::from_millis(3), &mut samples);
    }
    listener.stats(now)
}

#[test]
fn fec_of_libopus_is_recognised_and_used() {
    let with = call(FecMode::On, 0.1);
    assert!(with.packets_lost > 100);
    assert!(with.frames_fec * 2 > with.packets_lost, "{with:?}");
    let without = call(FecMode::Off, 0.1);
    assert_eq!(without.frames_fec, 0);
    assert!(with.frames_concealed < without.frames_concealed / 2, "{with:?}\n{without:?}");
    assert_eq!(with.packets_invalid, 0);
}

#[test]
fn a_packet_is_as_long_as_its_first_byte_says() {
    let mut decoder = OpusDecoder::new().unwrap();
    let mut voice = Voice::new();
    for bitrate in [6_000, 12_000, 24_000, 64_000, 128_000] {
        let mut encoder = OpusEncoder::new(&Config::default().codec).unwrap();
        encoder.set_bitrate(bitrate).unwrap();
        for samples in [480, 960, 1_920, 2_880] {
            for _ in 0..20 {
                let (mut pcm, mut packet, mut heard) = (vec![0; samples], [0; 1_276], [0; toc::MAX_SAMPLES]);
                voice.speak(&mut pcm);
                let len = encoder.encode(&pcm, &mut packet).unwrap();
                let said = toc::read(&packet[..len]).unwrap();
                assert!(!said.repeats_previous, "no FEC was asked for");
                assert_eq!(said.samples as usize, samples);
                assert_eq!(decoder.decode(&packet[..len], &mut heard), Ok(samples));
            }
        }
    }
}

#[test]
fn concealment_may_be_asked_for_in_the_pieces_we_use() {
    let (mut encoder, mut decoder) = (OpusEncoder::new(&Config::default().codec).unwrap(), OpusDecoder::new().unwrap());
    let mut voice = Voice::new();
    for bitrate in [8_000, 32_000, 96_000] {
        encoder.set_bitrate(bitrate).unwrap();
        let (mut pcm, mut packet, mut heard) = ([0; 960], [0; 1_276], [0; toc::MAX_SAMPLES]);
        for piece in [120, 240, 360, 480, 960, 1_920, 2_880] {
            voice.speak(&mut pcm);
            let len = encoder.encode(&pcm, &mut packet).unwrap();
            decoder.decode(&packet[..len], &mut heard).unwrap();
            assert_eq!(decoder.conceal(&mut heard[..piece]), Ok(piece), "{piece} samples at {bitrate}");
        }
    }
}

#[test]
fn every_cap_holds_with_the_real_encoder_and_no_frame_is_withheld() {
    for cap in [16_000, 24_000, 32_000, 64_000, 1_024_000] {
        for fec in [FecMode::Off, FecMode::On] {
            let plan = plan(&Config::default().codec, cap);
            let mut now = Time::from_millis(1_000);
            let limits = line::StreamParams { ptime: plan.ptime, bitrate: plan.bitrate, cap, ..params() };
            let mut talker = station(now, fec, limits);
            let (mut voice, mut wire, mut samples) = (Voice::new(), Sent::default(), [0; 480]);
            for _ in 0..3_000 {
                now += Span::from_millis(10);
                voice.speak(&mut samples);
                talker.capture(now, &samples, &mut wire);
                if talker.poll_timeout().is_some_and(|w| w.at <= now) {
                    talker.handle_timeout(now, &mut wire);
                }
            }
            let stats = talker.stats(now);
            println!("cap {cap} fec {fec:?}: busiest {}", stats.wire_bits_max_second);
            assert!(stats.wire_bits_max_second <= cap, "{cap}: {stats:?}");
            assert_eq!(stats.packets_withheld, 0, "{cap}: {stats:?}");
        }
    }
}

/// What a listener hears of `said` over a line that loses packets at random. Its reports reach the talker.
fn heard_of(said: &[i16], fec: FecMode, params: line::StreamParams, loss: f64, seed: u64) -> (Vec<i16>, [Stats; 2]) {
    let mut now = Time::from_millis(1_000);
    let mut rng = Rng::from_u64(seed);
    let mut talker = station(now, fec, params);
    let mut listener = station(now, FecMode::Off, line::StreamParams { ssrc: 5, cap: 0, ..params });
    let (mut up, mut down, mut sent, mut heard) = (Sent::default(), Sent::default(), 0, Vec::new());
    for samples in said.chunks_exact(480) {
        now += Span::from_millis(10);
        talker.capture(now, samples, &mut up);
        for (_, packet) in &up.rtp[sent..] {
            if rng.below(1_000) as f64 >= loss * 1_000.0 {
                listener.handle_rtp(now, peer(), packet);
            }
        }
        sent = up.rtp.len();
        let mut period = [0; 480];
        listener.playback(now + Span::from_millis(3), &mut period);
        heard.extend(period);
        for (station, wire) in [(&mut talker, &mut up), (&mut listener, &mut down)] {
            if station.poll_timeout().is_some_and(|wakeup| wakeup.at <= now) {
                station.handle_timeout(now, wire);
            }
        }
        for (_, report) in down.rtcp.drain(..) {
            talker.handle_rtcp(now, line::peer_rtcp(), &report);
        }
    }
    (heard, [talker.stats(now), listener.stats(now)])
}

/// PESQ-WB of the second half: the first one is for the buffer and the autopilot to learn the line.
fn score(fec: FecMode, loss: f64) -> f64 {
    scored(fec, params(), loss, 3).0
}

fn scored(fec: FecMode, params: line::StreamParams, loss: f64, seed: u64) -> (f64, [Stats; 2]) {
    let said = match passages() {
        Some(passages) => passages.sound.repeat(2),
        None => signal::speech(30.0, 1),
    };
    let (heard, stats) = heard_of(&said, fec, params, loss, seed);
    let half = said.len() / 2;
    (wideband_mos(&said[half..], &heard[half..]).expect("speech"), stats)
}

/// Under a cap in bit/s, with copies agreed on or not, for as many bit/s as fit.
fn capped(cap: u32, copies: bool) -> line::StreamParams {
    let plan = plan(&Config::default().codec, cap);
    let redundancy = copies.then_some(Redundancy { send_payload_type: 99, receive_payload_type: 99 });
    line::StreamParams { ptime: plan.ptime, bitrate: plan.bitrate, cap, redundancy, ..params() }
}

#[test]
fn copies_bring_more_back_than_fec_does_under_the_same_cap() {
    let (fec, _) = scored(FecMode::Auto, capped(64_000, false), 0.1, 3);
    let (copies, [talker, listener]) = scored(FecMode::Auto, capped(64_000, true), 0.1, 3);
    println!("10 %: {fec:.2} with FEC, {copies:.2} with copies; {listener:?}");
    assert!(talker.uplink.is_some_and(|choice| choice.redundancy) && talker.wire_bits_max_second <= 64_000);
    assert!(listener.frames_red * 10 > listener.packets_lost * 7 && listener.packets_invalid == 0);
    assert!(copies > fec, "{fec} {copies}");
}

#[test]
fn speech_over_a_lossy_line_is_better_with_what_the_autopilot_chooses_and_no_worse_on_a_clean_one() {
    let (plain, adapted) = (score(FecMode::Off, 0.1), score(FecMode::Auto, 0.1));
    println!("10 %: {plain:.2} without FEC, {adapted:.2} as the autopilot chooses");
    assert!(adapted > plain + 0.5, "{plain} {adapted}");
    let (plain, adapted) = (score(FecMode::Off, 0.0), score(FecMode::Auto, 0.0));
    assert!((plain - adapted).abs() < 1e-6, "{plain} {adapted}");
}

/// `make figures`
#[test]
#[ignore = "prints, asserts nothing"]
fn figures() {
    for fec in [FecMode::Off, FecMode::Auto, FecMode::On] {
        let scores: Vec<_> = [0.0, 0.02, 0.05, 0.1, 0.2, 0.3].iter().map(|loss| (loss, score(fec, *loss))).collect();
        println!("{fec:?}: {scores:.2?}");
    }
}

/// `make figures`
#[test]
#[ignore = "prints, asserts nothing"]
fn copies_against_fec() {
    let losses = [0.0, 0.05, 0.1, 0.2];
    for (cap, copies) in [64_000, 56_000, 0].into_iter().flat_map(|cap| [(cap, false), (cap, true)]) {
        let scores = losses.map(|loss| {
            let calls = [3, 4, 5].map(|seed| scored(FecMode::Auto, capped(cap, copies), loss, seed));
            let busiest = calls.iter().map(|(_, [talker, _])| talker.wire_bits_max_second).max().unwrap_or(0);
            let bitrate = calls[0].1[0].uplink.map_or(0, |choice| choice.bitrate);
            (calls.iter().map(|(score, _)| score).sum::<f64>() / calls.len() as f64, bitrate, busiest)
        });
        println!("cap {cap}, copies {copies}: score, bit/s of the encoder, busiest second at {losses:?}: {scores:.2?}");
    }
}
