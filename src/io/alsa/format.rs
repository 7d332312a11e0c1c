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

    /// The upper 16 bits of the sample in `bytes`, which has the length of one.
    pub(super) fn get(self, bytes: &[u8]) -> i16 {
        let (low, high) = self.upper();
        let upper = [bytes[low], bytes[high]];
        if cfg!(target_endian = "little") {
            i16::from_le_bytes(upper)
        } else {
            i16::from_be_bytes([upper[1], upper[0]])
        }
    }

    /// Writes `sample` as the upper 16 bits of the one in `bytes`.
    pub(super) fn put(self, sample: i16, bytes: &mut [u8]) {
        bytes.fill(0);
        let (low, high) = self.upper();
        [bytes[low], bytes[high]] = sample.to_le_bytes();
        // ALSA wants the sign in the byte that it does not use.
        if self == SampleFormat::S24 {
            let unused = if cfg!(target_endian = "little") { 3 } else { 0 };
            bytes[unused] = if sample < 0 { 0xff } else { 0 };
        }
    }

    /// Where the lower and the higher byte of the upper 16 bits lie.
    const fn upper(self) -> (usize, usize) {
        let (low, high) = match self {
            SampleFormat::S16 => (0, 1),
            SampleFormat::S24Packed | SampleFormat::S24 => (1, 2),
            SampleFormat::S32 => (2, 3),
        };
        let last = self.bytes() - 1;
        if cfg!(target_endian = "little") { (low, high) } else { (last - low, last - high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_comes_back_from_every_format() {
        for format in SampleFormat::ALL {
            let mut bytes = vec![0xaa; format.bytes()];
            for sample in [0, 1, -1, 0x1234, i16::MIN, i16::MAX] {
                format.put(sample, &mut bytes);
                assert_eq!(format.get(&bytes), sample, "{format:?}");
            }
        }
        if cfg!(target_endian = "little") {
            let mut bytes = [0; 4];
            SampleFormat::S24.put(-2, &mut bytes);
            assert_eq!(bytes, [0, 0xfe, 0xff, 0xff]);
            SampleFormat::S32.put(0x1234, &mut bytes);
            assert_eq!(bytes, [0, 0, 0x34, 0x12]);
        }
    }
}
