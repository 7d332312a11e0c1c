//! The one source of randomness of the core: seeded by the caller, so that a test replays with its seed.
//!
//! ChaCha is used because the ids made here (SIP tags and branches, SSRC, digest cnonce, request ids) must not be
//! guessable by a neighbour on the network (RFC 3261 19.3, RFC 3550 8.1).

use crate::time::Span;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A seeded random number generator; cheap to [`fork`](Rng::fork) for each component.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// A generator from 32 bytes of the system's entropy (in tests: of the test's seed).
    pub fn from_seed(seed: [u8; 32]) -> Rng {
        Rng(ChaCha8Rng::from_seed(seed))
    }

    /// A generator for tests and simulations.
    pub fn from_u64(seed: u64) -> Rng {
        Rng(ChaCha8Rng::seed_from_u64(seed))
    }

    /// An independent generator, derived from this one.
    pub fn fork(&mut self) -> Rng {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        Rng::from_seed(seed)
    }

    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..n`, without modulo bias; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// A span in `0..=max`: "full jitter" of a back-off.
    pub fn span_up_to(&mut self, max: Span) -> Span {
        Span::from_micros(self.below(max.as_micros().saturating_add(1)))
    }

    /// A QSS `requestID`: 21 symbols of `A-Za-z0-9_-`, the shape of the platform's own ids (docs/qss.md, Frames).
    pub fn request_id(&mut self) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
        (0..21).map(|_| char::from(ALPHABET[(self.next_u32() & 63) as usize])).collect()
    }

    /// `2 * bytes` lower-case hexadecimal digits: SIP tags, branches, Call-IDs, cnonces.
    pub fn hex(&mut self, bytes: usize) -> String {
        use std::fmt::Write;
        (0..bytes).fold(String::with_capacity(bytes * 2), |mut s, _| {
            let _ = write!(s, "{:02x}", self.next_u32() as u8);
            s
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        assert_eq!(Rng::from_u64(7).request_id(), Rng::from_u64(7).request_id());
        assert_ne!(Rng::from_u64(7).request_id(), Rng::from_u64(8).request_id());
        assert_eq!(Rng::from_u64(7).request_id().len(), 21);
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::from_u64(1);
        assert!((0..1000).all(|_| rng.below(3) < 3));
        assert_eq!(rng.below(0), 0);
    }
}
