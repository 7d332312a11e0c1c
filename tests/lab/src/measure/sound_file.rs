//! Raw S16LE and WAV files.

use super::RATE;
use std::io;
use std::path::Path;

/// Reads raw S16LE. Of several interleaved channels only `channel` is kept. A half sample at the end is dropped.
pub fn read_raw(path: &Path, channels: usize, channel: usize) -> io::Result<Vec<i16>> {
    let bytes = std::fs::read(path)?;
    let frames = bytes.chunks_exact(2 * channels);
    Ok(frames.map(|frame| i16::from_le_bytes([frame[2 * channel], frame[2 * channel + 1]])).collect())
}

/// Writes raw S16LE with every channel the same.
pub fn write_raw(path: &Path, samples: &[i16], channels: usize) -> io::Result<()> {
    let each = samples.iter().flat_map(|sample| std::iter::repeat_n(sample.to_le_bytes(), channels));
    std::fs::write(path, each.flatten().collect::<Vec<u8>>())
}

/// Writes mono, 48 kHz, 16 bit.
pub fn write_wav(path: &Path, samples: &[i16]) -> io::Result<()> {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: RATE, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(path, spec).map_err(io::Error::other)?;
    for sample in samples {
        writer.write_sample(*sample).map_err(io::Error::other)?;
    }
    writer.finalize().map_err(io::Error::other)
}

/// First channel and rate of a 16-bit WAV file.
pub fn read_wav(path: &Path) -> io::Result<(Vec<i16>, u32)> {
    parse_wav(&std::fs::read(path)?).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a 16-bit WAV"))
}

/// The same from memory. A streamed WAV, whose header promises more than there is, is read as far as it goes.
pub fn parse_wav(bytes: &[u8]) -> Option<(Vec<i16>, u32)> {
    let reader = hound::WavReader::new(bytes).ok()?;
    let spec = reader.spec();
    if spec.bits_per_sample != 16 || spec.channels == 0 {
        return None;
    }
    let samples = reader.into_samples::<i16>().map_while(Result::ok).step_by(spec.channels.into());
    Some((samples.collect(), spec.sample_rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_as_they_went() {
        let folder = std::env::temp_dir().join(format!("lab-sound-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let sound = [1_i16, -2, 32_767, -32_768];
        write_raw(&folder.join("x.raw"), &sound, 2).expect("written");
        assert_eq!(read_raw(&folder.join("x.raw"), 2, 1).expect("read"), sound);
        write_wav(&folder.join("x.wav"), &sound).expect("written");
        assert_eq!(read_wav(&folder.join("x.wav")).expect("read"), (sound.to_vec(), RATE));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
