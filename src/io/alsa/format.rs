//! How a sample lies in the card's memory, in the machine's byte order.

use alsa::pcm::{Format, HwParams};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SampleFormat {
    S16,
    S32,
    /// Three bytes: USB cards of 24 bits.
    S24Packed,
    /// The lower three of four bytes: I2S codecs of 24 bits.
    S24,
}

impl SampleFormat {
    /// Those the voice path can use, the cheapest first.
    const ALL: [SampleFormat; 4] = [SampleFormat::S16, SampleFormat::S32, SampleFormat::S24Packed, SampleFormat::S24];

    /// Settles on the first that the card can do.
    pub(super) fn choose(hardware: &HwParams<'_>) -> alsa::Result<SampleFormat> {
        let mut refused = alsa::Error::new("snd_pcm_hw_params_set_format", libc::EINVAL);
        for format in SampleFormat::ALL {
            match hardware.set_format(format.of_alsa()) {
                Ok(()) => return Ok(format),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    const fn of_alsa(self) -> Format {
        match self {
            SampleFormat::S16 => Format::s16(),
            SampleFormat::S32 => Format::s32(),
            SampleFormat::S24Packed => Format::s24_3(),
            SampleFormat::S24 => Format::s24(),
        }
    }

    pub(super) const fn bytes(self) -> usize {
        match self {
            SampleFormat::S16 => 2,
            SampleFormat::S24Packed => 3,
            SampleFormat::S32 | SampleFormat::S24 => 4,
        }
    }

    /// Takes the upper 16 bits of one channel of interleaved frames, as many as there are samples for.
    pub(super) fn read(self, frames: &[u8], channels: usize, channel: usize, samples: &mut [i16]) {
        match self {
            SampleFormat::S16 => read(frames, channels, channel, samples, i16::from_ne_bytes),
            SampleFormat::S32 => {
                read(frames, channels, channel, samples, |slot| (i32::from_ne_bytes(slot) >> 16) as i16)
            }
            SampleFormat::S24Packed => read(frames, channels, channel, samples, |[a, b, c]| {
                if cfg!(target_endian = "little") { i16::from_le_bytes([b, c]) } else { i16::from_be_bytes([a, b]) }
            }),
            SampleFormat::S24 => {
                read(frames, channels, channel, samples, |slot| (i32::from_ne_bytes(slot) >> 8) as i16)
            }
        }
    }

    /// Writes each sample to all channels of a frame, as its upper 16 bits.
    pub(super) fn write(self, samples: &[i16], channels: usize, frames: &mut [u8]) {
        match self {
            SampleFormat::S16 => write(samples, channels, frames, i16::to_ne_bytes),
            SampleFormat::S32 => write(samples, channels, frames, |sample| (i32::from(sample) << 16).to_ne_bytes()),
            SampleFormat::S24Packed => write(samples, channels, frames, |sample| {
                let [a, b] = sample.to_ne_bytes();
                if cfg!(target_endian = "little") { [0, a, b] } else { [a, b, 0] }
            }),
            // ALSA wants the sign in the byte that it does not use.
            SampleFormat::S24 => write(samples, channels, frames, |sample| (i32::from(sample) << 8).to_ne_bytes()),
        }
    }
}

// A loop for each format, and not a look at the format for each sample: the compiler then knows how long a sample is.
fn read<const N: usize>(
    frames: &[u8],
    channels: usize,
    channel: usize,
    samples: &mut [i16],
    value: impl Fn([u8; N]) -> i16,
) {
    let (slots, _) = frames.as_chunks();
    for (sample, slot) in samples.iter_mut().zip(slots.iter().skip(channel).step_by(channels)) {
        *sample = value(*slot);
    }
}

fn write<const N: usize>(samples: &[i16], channels: usize, frames: &mut [u8], value: impl Fn(i16) -> [u8; N]) {
    let (slots, _) = frames.as_chunks_mut();
    for (sample, frame) in samples.iter().zip(slots.chunks_exact_mut(channels)) {
        frame.fill(value(*sample));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [i16; 6] = [0, 1, -1, 0x1234, i16::MIN, i16::MAX];

    #[test]
    fn a_sample_comes_back_from_every_format_and_channel() {
        for format in SampleFormat::ALL {
            for channels in 1..=3 {
                let mut frames = vec![0xaa; SAMPLES.len() * channels * format.bytes()];
                format.write(&SAMPLES, channels, &mut frames);
                for channel in 0..channels {
                    let mut samples = [0; SAMPLES.len()];
                    format.read(&frames, channels, channel, &mut samples);
                    assert_eq!(samples, SAMPLES, "{format:?}, channel {channel} of {channels}");
                }
            }
        }
    }

    #[test]
    fn one_channel_of_several_is_taken() {
        let frames: Vec<u8> =
            [[1i16, 2], [3, 4]].as_flattened().iter().flat_map(|sample| sample.to_ne_bytes()).collect();
        let mut samples = [0; 2];
        SampleFormat::S16.read(&frames, 2, 1, &mut samples);
        assert_eq!(samples, [2, 4]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn samples_lie_in_memory_as_alsa_says() {
        let bytes = |format: SampleFormat, sample| {
            let mut bytes = vec![0xaa; format.bytes()];
            format.write(&[sample], 1, &mut bytes);
            bytes
        };
        assert_eq!(bytes(SampleFormat::S24, -2), [0, 0xfe, 0xff, 0xff]);
        assert_eq!(bytes(SampleFormat::S24Packed, -2), [0, 0xfe, 0xff]);
        assert_eq!(bytes(SampleFormat::S32, 0x1234), [0, 0, 0x34, 0x12]);
        assert_eq!(bytes(SampleFormat::S16, 0x1234), [0x34, 0x12]);
    }
}
