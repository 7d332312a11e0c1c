//! How a frame is made: out of its packet, out of the one after it, or out of nothing.

use super::{FADE, FADE_AFTER, FADE_AFTER_DTX, MERGE, Playout, State};
use crate::media::codec::Decoder;
use crate::media::jitter::{Content, Meta};
use crate::media::stretch;
use crate::media::toc;
use crate::rtp::seq::Seq;

impl<D: Decoder> Playout<D> {
    /// Decodes `seq` into the frame; if it cannot be decoded, invents it.
    pub(super) fn decode(&mut self, seq: Seq, samples: u32) -> usize {
        let packet = self.jitter.get(seq);
        let decoded = packet.and_then(|(_, payload)| {
            self.fade_after = if payload.len() <= 2 { FADE_AFTER_DTX } else { FADE_AFTER };
            self.decoder.decode(payload, &mut self.frame[..toc::MAX_SAMPLES]).ok()
        });
        match decoded.filter(|n| (1..=toc::MAX_SAMPLES).contains(n)) {
            Some(n) => {
                self.samples = n as u32;
                self.invented = 0;
                self.counters.decoded_samples += n as u64;
                n
            }
            None => {
                self.counters.undecodable += 1;
                let n = (samples as usize).min(toc::MAX_SAMPLES);
                invent(&mut self.decoder, &mut self.frame[..n]);
                n
            }
        }
    }

    /// Recovers the `samples` before `meta` into the frame, if it repeats them.
    pub(super) fn recover(&mut self, meta: Meta, samples: usize) -> bool {
        let Some((Meta { content: Content::Audio { repeats_previous: true, .. }, .. }, payload)) =
            self.jitter.get(meta.seq)
        else {
            return false;
        };
        let recovered = self.decoder.decode_fec(payload, &mut self.frame[..samples]) == Ok(samples);
        if recovered {
            self.counters.fec += 1;
            self.mended.write(meta.seq.before(1));
            self.invented = 0;
        }
        recovered
    }

    /// Lets what would have gone on fade into `meta`, which comes next, decoded in the place of the one before it, and
    /// later once more in its own. An invention out of the past is right at first, what comes next is right at last; and the
    /// decoder then has a past to go on from that is of its kind. For a decoder goes wrong not only in the hole, but for
    /// about three packets after it.
    pub(super) fn borrow(&mut self, meta: Meta, samples: usize) -> bool {
        let Some((Meta { content: Content::Audio { samples: same, .. }, .. }, payload)) = self.jitter.get(meta.seq)
        else {
            return false;
        };
        if same as usize != samples {
            return false;
        }
        let gone_on = &mut self.gone_on[..samples];
        self.decoder.remember();
        invent(&mut self.decoder, gone_on);
        fade(gone_on, self.invented, self.fade_after);
        self.decoder.recall();
        let borrowed = self.decoder.decode(payload, &mut self.frame[..samples]) == Ok(samples);
        if borrowed {
            stretch::merge(&mut self.frame[..samples], gone_on);
            self.counters.concealed_samples += samples as u64;
            self.invented = 0;
        }
        borrowed
    }

    /// Puts `samples` of invention into the FIFO.
    pub(super) fn conceal(&mut self, samples: usize) {
        let n = samples.min(toc::MAX_SAMPLES);
        let frame = &mut self.frame[..n];
        if self.invented < self.fade_after + FADE {
            invent(&mut self.decoder, frame);
            fade(frame, self.invented, self.fade_after);
        } else {
            frame.fill(0);
        }
        stretch::merge(frame, &self.merge);
        self.merge.clear();
        self.invented += n;
        self.counters.concealed_samples += n as u64;
        self.fifo.push(&self.frame[..n]);
    }

    /// What comes next does not continue what is being played: let it fade in from what would have come.
    pub(super) fn fade_from_present(&mut self) {
        if !self.merge.is_empty() || matches!(self.state, State::Unheard | State::Waiting) {
            return;
        }
        self.merge.resize(MERGE, 0).expect("the capacity is MERGE");
        if self.invented < self.fade_after + FADE {
            invent(&mut self.decoder, &mut self.merge);
            fade(&mut self.merge, self.invented, self.fade_after);
        }
    }
}

/// Concealment cannot fail for the listener: without the decoder's help it is silence.
fn invent(decoder: &mut impl Decoder, pcm: &mut [i16]) {
    if decoder.conceal(pcm) != Ok(pcm.len()) {
        pcm.fill(0);
    }
}

/// Fades samples of which `before` have been played already.
fn fade(samples: &mut [i16], before: usize, after: usize) {
    if before + samples.len() <= after {
        return;
    }
    for (i, sample) in samples.iter_mut().enumerate() {
        let faded = (before + i).saturating_sub(after).min(FADE);
        *sample = (i32::from(*sample) * (FADE - faded) as i32 / FADE as i32) as i16;
    }
}
