//! libopus as [`media::codec`](crate::media::codec): mono, 48 kHz, tuned for speech.

use crate::config::Codec;
use crate::io::sys::OpusState;
use crate::media::codec::{Band, CodecError, Decoder, Encoder};
use opus::{Application, Bandwidth, Bitrate, Channels, Signal};

const RATE: u32 = 48_000;

/// Speech encoder: VoIP mode (or the one without look-ahead), variable bitrate held by the constraint (no packet much above its share).
pub struct OpusEncoder(opus::Encoder);

impl OpusEncoder {
    /// Allocates all it will ever need.
    pub fn new(codec: &Codec) -> Result<OpusEncoder, CodecError> {
        let application = if codec.low_delay { Application::LowDelay } else { Application::Voip };
        let mut encoder = opus::Encoder::new(RATE, Channels::Mono, application).map_err(number)?;
        encoder.set_signal(Signal::Voice).map_err(number)?;
        encoder.set_vbr(true).map_err(number)?;
        encoder.set_vbr_constraint(true).map_err(number)?;
        encoder.set_dtx(codec.dtx).map_err(number)?;
        let mut encoder = OpusEncoder(encoder);
        encoder.set_bitrate(codec.bitrate)?;
        encoder.set_complexity(codec.complexity)?;
        encoder.set_fec(0)?;
        Ok(encoder)
    }
}

impl Encoder for OpusEncoder {
    fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> Result<usize, CodecError> {
        self.0.encode(pcm, packet).map_err(number)
    }

    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError> {
        let bits = i32::try_from(bits_per_second).unwrap_or(i32::MAX);
        self.0.set_bitrate(Bitrate::Bits(bits)).map_err(number)
    }

    /// libopus produces no LBRR unless it is told to expect loss: both settings go together.
    fn set_fec(&mut self, expected_loss_percent: u8) -> Result<(), CodecError> {
        self.0.set_inband_fec(expected_loss_percent > 0).map_err(number)?;
        self.0.set_packet_loss_perc(expected_loss_percent.min(100).into()).map_err(number)
    }

    fn set_complexity(&mut self, complexity: u8) -> Result<(), CodecError> {
        self.0.set_complexity(complexity.min(10).into()).map_err(number)
    }

    fn set_band(&mut self, highest: Band) -> Result<(), CodecError> {
        let highest = match highest {
            Band::Wide => Bandwidth::Wideband,
            Band::Full => Bandwidth::Fullband,
        };
        self.0.set_max_bandwidth(highest).map_err(number)
    }

    fn reset(&mut self) -> Result<(), CodecError> {
        self.0.reset_state().map_err(number)
    }
}

/// Decoder of anything an Opus sender may send (stereo is mixed down by libopus), 2.5 to 120 ms per packet.
pub struct OpusDecoder {
    state: OpusState,
    remembered: OpusState,
}

impl OpusDecoder {
    /// Allocates all it will ever need.
    pub fn new() -> Result<OpusDecoder, CodecError> {
        let state = OpusState::new(RATE).map_err(CodecError)?;
        Ok(OpusDecoder { remembered: state.clone(), state })
    }
}

impl Decoder for OpusDecoder {
    /// An empty payload is refused: to libopus it would mean "lost", for as long as `pcm`.
    fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        if payload.is_empty() {
            return Err(CodecError(opus::ErrorCode::InvalidPacket as i32));
        }
        self.state.decode(payload, pcm, false).map_err(CodecError)
    }

    fn decode_fec(&mut self, next_payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        self.state.decode(next_payload, pcm, true).map_err(CodecError)
    }

    fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, CodecError> {
        self.state.decode(&[], pcm, false).map_err(CodecError)
    }

    fn remember(&mut self) {
        self.remembered.copy_from(&self.state);
    }

    fn recall(&mut self) {
        self.state.copy_from(&self.remembered);
    }

    fn reset(&mut self) -> Result<(), CodecError> {
        self.state.reset().map_err(CodecError)
    }
}

#[allow(clippy::needless_pass_by_value)] // the shape `map_err` wants
fn number(error: opus::Error) -> CodecError {
    CodecError(error.code() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::media::hush;

    fn tone(from: usize, samples: usize) -> Vec<i16> {
        let sample = |n: usize| (8_000.0 * (n as f64 * 440.0 * std::f64::consts::TAU / 48_000.0).sin()) as i16;
        (from..from + samples).map(sample).collect()
    }

    fn level(pcm: &[i16]) -> f64 {
        (pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len() as f64).sqrt()
    }

    #[test]
    fn the_slice_is_a_hard_cap_of_the_packet() {
        let mut encoder = OpusEncoder::new(&Config::default().codec).unwrap();
        for frame in 0..50 {
            let length = encoder.encode(&tone(frame * 960, 960), &mut [0; 30]).unwrap();
            assert!((1..=30).contains(&length), "{length}");
        }
    }

    #[test]
    fn a_lost_packet_is_recovered_from_the_next_one_only_with_fec() {
        let recovered = |loss| {
            let mut encoder = OpusEncoder::new(&Config::default().codec).unwrap();
            encoder.set_bitrate(24_000).unwrap();
            encoder.set_fec(loss).unwrap();
            let mut decoder = OpusDecoder::new().unwrap();
            let (mut packet, mut pcm) = ([0; 400], [0; 960]);
            for frame in 0..20 {
                let length = encoder.encode(&vec![0; 960], &mut packet).unwrap();
                assert_eq!(decoder.decode(&packet[..length], &mut pcm), Ok(960), "{frame}");
            }
            // The packet that carries the onset of the tone is lost: only LBRR of the next one knows of it.
            encoder.encode(&tone(0, 960), &mut packet).unwrap();
            let length = encoder.encode(&tone(960, 960), &mut packet).unwrap();
            assert_eq!(decoder.decode_fec(&packet[..length], &mut pcm), Ok(960));
            level(&pcm)
        };
        let (with, without) = (recovered(20), recovered(0));
        assert!(with > 1_000.0 && without < 100.0, "with {with}, without {without}");
    }

    /// Samples between a click and its echo out of the decoder.
    fn look_ahead(low_delay: bool, samples: usize) -> usize {
        let codec = Codec { low_delay, bitrate: 64_000, ..Config::default().codec };
        let (mut encoder, mut decoder) = (OpusEncoder::new(&codec).unwrap(), OpusDecoder::new().unwrap());
        let (mut heard, mut packet, mut pcm) = (Vec::new(), [0; 400], vec![0; samples]);
        for frame in 0..9_600 / samples {
            let mut spoken = vec![0; samples];
            if frame == 4_800 / samples {
                spoken[..24].fill(30_000);
            }
            let length = encoder.encode(&spoken, &mut packet).unwrap();
            assert_eq!(decoder.decode(&packet[..length], &mut pcm), Ok(samples));
            heard.extend_from_slice(&pcm);
        }
        let loudest = heard.iter().enumerate().max_by_key(|(_, sample)| sample.unsigned_abs()).unwrap().0;
        loudest - 4_800 / samples * samples
    }

    #[test]
    fn without_look_ahead_every_packet_is_four_milliseconds_earlier() {
        for samples in [120, 240, 480, 960] {
            let (usual, low) = (look_ahead(false, samples), look_ahead(true, samples));
            assert!((160..=232).contains(&(usual - low)), "{samples}: {usual} and {low}");
        }
    }

    /// What [`hush`](crate::media::hush) relies upon.
    #[test]
    fn the_packet_of_a_long_silence_may_be_sent_again_and_again() {
        for (bitrate, loss, samples, low_delay) in [
            (32_000, 0, 960, false),
            (24_000, 20, 960, false),
            (64_000, 0, 480, false),
            (12_000, 0, 1_920, false),
            (32_000, 0, 2_880, false),
            (64_000, 0, 120, true),
            (64_000, 0, 240, true),
        ] {
            let mut encoder = OpusEncoder::new(&Codec { low_delay, ..Config::default().codec }).unwrap();
            encoder.set_bitrate(bitrate).unwrap();
            encoder.set_fec(loss).unwrap();
            let mut decoder = OpusDecoder::new().unwrap();
            let (mut packet, mut silent, mut pcm) = ([0; 1_276], 0, vec![0; samples]);
            // As many of silence as hush wants, the last of which is kept.
            let (loud, all) = (30, 41.max(31 + 9_600 / samples));
            for frame in 0..all {
                // A microphone has an offset.
                let offset = |sample: &i16| sample + 500;
                let spoken = if frame < loud {
                    tone(frame * samples, samples).iter().map(offset).collect()
                } else {
                    vec![0; samples]
                };
                silent = encoder.encode(&spoken, &mut packet).unwrap();
                assert_eq!(decoder.decode(&packet[..silent], &mut pcm), Ok(samples));
            }
            assert!(silent <= hush::MOST, "{silent} bytes at {bitrate}");
            for _ in 0..200 {
                assert_eq!(decoder.decode(&packet[..silent], &mut pcm), Ok(samples));
                let (least, most) = (pcm.iter().min().unwrap(), pcm.iter().max().unwrap());
                // Short packets keep a little of the offset, at -72 dBFS: it is no sound.
                assert!(most - least <= 4 && -10 < *least && *most < 10, "{bitrate}, {samples}: {least} to {most}");
            }
            for frame in all..all + 9 {
                let length = encoder.encode(&tone(frame * samples, samples), &mut packet).unwrap();
                assert_eq!(decoder.decode(&packet[..length], &mut pcm), Ok(samples));
            }
            assert!(level(&pcm) > 3_000.0, "{bitrate}, {samples}: and sound is back");
        }
    }

    #[test]
    fn what_was_decoded_meanwhile_is_forgotten_by_a_decoder_that_recalls() {
        let mut encoder = OpusEncoder::new(&Config::default().codec).unwrap();
        let mut decoders = [OpusDecoder::new().unwrap(), OpusDecoder::new().unwrap()];
        for frame in 0..30 {
            let mut packet = [0; 400];
            let length = encoder.encode(&tone(frame * 960, 960), &mut packet).unwrap();
            let [strayed, straight] = &mut decoders;
            strayed.remember();
            strayed.conceal(&mut [0; 960]).unwrap();
            strayed.decode(&packet[..length], &mut [0; 960]).unwrap();
            strayed.recall();
            let (mut left, mut right) = ([0; 960], [0; 960]);
            assert_eq!(strayed.decode(&packet[..length], &mut left), Ok(960));
            assert_eq!(straight.decode(&packet[..length], &mut right), Ok(960));
            assert!(left == right, "frame {frame}");
        }
    }

    #[test]
    fn rubbish_is_refused_not_played() {
        let mut decoder = OpusDecoder::new().unwrap();
        assert!(decoder.decode(&[], &mut [0; 5760]).is_err());
        assert!(decoder.decode(&[0xff, 0xff, 0xff], &mut [0; 5760]).is_err());
        assert_eq!(decoder.conceal(&mut [0; 480]), Ok(480));
    }
}
