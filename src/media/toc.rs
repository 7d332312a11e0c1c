//! What an Opus packet says about itself (RFC 6716 3): how long it is, and whether it repeats the frame before.
//!
//! Neither `a=ptime` nor timestamps can be trusted for the length: the mixer announces what it likes and sends 20 ms.

/// No Opus packet is longer (RFC 6716 3.2.5, R5): 120 ms.
pub const MAX_SAMPLES: usize = 5_760;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Toc {
    /// Length in samples at 48 kHz.
    pub samples: u32,
    /// The packet carries the previous frame once more (LBRR, "in-band FEC").
    pub repeats_previous: bool,
}

/// Reads the first bytes of a payload; `None` if no Opus packet can begin so.
pub fn read(payload: &[u8]) -> Option<Toc> {
    let &toc = payload.first()?;
    let frame = frame_samples(toc >> 3);
    let (frames, first_frame) = match toc & 3 {
        0 => (1, 1),
        1 => (2, 1),
        2 => (2, 1 + length_bytes(payload.get(1).copied())),
        _ => code_3(payload)?,
    };
    let samples = frame * frames;
    if samples as usize > MAX_SAMPLES {
        return None;
    }
    let repeats_previous = is_silk(toc) && payload.get(first_frame).is_some_and(|header| has_lbrr(*header, toc, frame));
    Some(Toc { samples, repeats_previous })
}

/// Number of frames, and where the first one begins, of a packet with code 3 (RFC 6716 3.2.5).
fn code_3(payload: &[u8]) -> Option<(u32, usize)> {
    let &count = payload.get(1)?;
    let frames = u32::from(count & 0x3f);
    if frames == 0 {
        return None;
    }
    let mut at = 2;
    if count & 0x40 != 0 {
        while *payload.get(at)? == 255 {
            at += 1;
        }
        at += 1;
    }
    if count & 0x80 != 0 {
        for _ in 1..frames {
            at += length_bytes(payload.get(at).copied());
        }
    }
    Some((frames, at))
}

/// A frame length takes one byte, or two from 252 on (RFC 6716 3.2.1).
fn length_bytes(first: Option<u8>) -> usize {
    if first.is_some_and(|byte| byte >= 252) { 2 } else { 1 }
}

/// RFC 6716 3.1, table 2.
fn frame_samples(config: u8) -> u32 {
    match config {
        0..12 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        12..16 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    }
}

/// SILK or hybrid: CELT has no LBRR.
fn is_silk(toc: u8) -> bool {
    toc >> 3 < 16
}

/// RFC 6716 4.2.3: a voice-activity bit for each 20 ms, then the LBRR flag; with two channels the same again.
fn has_lbrr(header: u8, toc: u8, frame: u32) -> bool {
    let silk_frames = (frame / 960).max(1);
    let mid = header >> (7 - silk_frames) & 1;
    let side = if toc & 4 != 0 && silk_frames < 4 { header >> (6 - 2 * silk_frames) & 1 } else { 0 };
    mid | side != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples(payload: &[u8]) -> Option<u32> {
        read(payload).map(|toc| toc.samples)
    }

    #[test]
    fn lengths() {
        assert_eq!(samples(&[]), None);
        assert_eq!(samples(&[0 << 3, 0]), Some(480), "SILK NB 10 ms");
        assert_eq!(samples(&[3 << 3, 0]), Some(2_880), "SILK NB 60 ms");
        assert_eq!(samples(&[15 << 3, 0]), Some(960), "hybrid FB 20 ms");
        assert_eq!(samples(&[28 << 3, 0]), Some(120), "CELT FB 2.5 ms");
        assert_eq!(samples(&[31 << 3, 0]), Some(960), "CELT FB 20 ms");
        assert_eq!(samples(&[31 << 3 | 1, 0, 0]), Some(1_920), "two frames");
        assert_eq!(samples(&[31 << 3 | 3, 3, 0, 0, 0]), Some(2_880), "three frames");
        assert_eq!(samples(&[31 << 3 | 3, 0]), None, "no frame");
        assert_eq!(samples(&[31 << 3 | 3]), None, "cut off");
        assert_eq!(samples(&[3 << 3 | 3, 3, 0]), None, "180 ms");
    }

    #[test]
    fn lbrr_is_seen_where_silk_puts_it() {
        let lbrr = |payload: &[u8]| read(payload).unwrap().repeats_previous;
        assert!(lbrr(&[1 << 3, 0b1100_0000]), "20 ms: one activity bit, then LBRR");
        assert!(!lbrr(&[1 << 3, 0b1000_0000]));
        assert!(lbrr(&[3 << 3, 0b0001_0000]), "60 ms: three activity bits");
        assert!(lbrr(&[1 << 3 | 4, 0b0001_0000]), "stereo: side channel");
        assert!(!lbrr(&[31 << 3, 0xff]), "CELT");
        assert!(lbrr(&[1 << 3 | 3, 0x41, 2, 0b0100_0000, 0, 0, 0]), "behind a padding length");
        assert!(!lbrr(&[1 << 3]), "DTX");
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_length_or_none(payload in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some(toc) = read(&payload) {
                prop_assert!(toc.samples >= 120 && toc.samples as usize <= MAX_SAMPLES);
            }
        }
    }
}
