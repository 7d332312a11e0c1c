//! Protected media (RFC 3711, RFC 7714), sans IO; nothing here allocates.
//!
//! ```text
//!   Keying (SDES) ─ derivation ─▶ Transform ┬ Outbound: RTP, RTCP ─▶ SRTP, SRTCP
//!    master key       4.3          cipher   └ Inbound:  SRTP, SRTCP ─▶ RTP, RTCP, or Rejected
//!                                              index: roll-over counter (3.3.1), replay window (3.3.2)
//! ```
//!
//! The ciphers and the hash are those of RustCrypto. The packet transform on top of them is our own: the crates there are
//! return a new buffer for each packet, and a frame must not allocate. It is held against another implementation packet
//! by packet (`tests/srtp.rs`).
//!
//! Not here, because SDES does not negotiate it by default: MKI, key derivation rate, f8, unauthenticated streams.

mod context;
mod derivation;
mod index;
mod transform;

pub use context::{Inbound, Outbound, Rejected};

/// Bytes that protection adds to the longest packet: the tag of GCM and the index of SRTCP.
pub const MAX_OVERHEAD: usize = 20;
/// Sources heard under one key; packets of a further one are rejected.
pub const MAX_SOURCES: usize = 16;

/// A crypto suite by its name in SDP (RFC 4568 6.2, RFC 7714 14.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`: what everybody has, and the shortest packets.
    AesCm128HmacSha1_80,
    /// `AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`.
    AeadAes256Gcm,
}

impl Suite {
    pub const ALL: [Suite; 3] = [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm];

    pub const fn name(self) -> &'static str {
        match self {
            Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite called `name`, in any case of letters.
    pub fn named(name: &str) -> Option<Suite> {
        Suite::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of the master key.
    pub const fn key_len(self) -> usize {
        match self {
            Suite::AesCm128HmacSha1_80 | Suite::AeadAes128Gcm => 16,
            Suite::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Suite::AesCm128HmacSha1_80 => 14,
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 12,
        }
    }

    /// Bytes of key and salt together, as SDP writes them.
    pub const fn keying_len(self) -> usize {
        self.key_len() + self.salt_len()
    }

    /// Bytes that each RTP packet grows by: its tag.
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Suite::AesCm128HmacSha1_80 => 10,
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 16,
        }
    }

    /// Bytes that each RTCP packet grows by: its tag and its index.
    pub const fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + 4
    }
}

/// A master key and its salt, for one direction. `Debug` shows the suite only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keying {
    suite: Suite,
    bytes: [u8; Keying::MAX_LEN],
}

impl Keying {
    pub const MAX_LEN: usize = 44;

    /// `bytes`: key and salt, [`Suite::keying_len`] of them.
    pub fn new(suite: Suite, bytes: &[u8]) -> Option<Keying> {
        if bytes.len() != suite.keying_len() {
            return None;
        }
        let mut keying = Keying { suite, bytes: [0; Keying::MAX_LEN] };
        keying.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(keying)
    }

    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Key and salt, for SDP.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.suite.keying_len()]
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..self.suite.key_len()]
    }

    fn salt(&self) -> &[u8] {
        &self.bytes[self.suite.key_len()..self.suite.keying_len()]
    }
}

impl std::fmt::Debug for Keying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keying({}, key hidden)", self.suite.name())
    }
}

/// The keys of a stream: each side sends under its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    pub send: Keying,
    pub receive: Keying,
}

/// Random bytes of the operating system, enough for a key of each suite; for one call and no other. `Debug` hides them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entropy([u8; Entropy::LEN]);

impl Entropy {
    pub const LEN: usize = Keying::MAX_LEN * Suite::ALL.len();

    /// `bytes` come from the system's generator, not from [`crate::random::Rng`], whose other numbers are seen by everybody.
    pub const fn new(bytes: [u8; Entropy::LEN]) -> Entropy {
        Entropy(bytes)
    }

    /// The key for `suite`: each suite has bytes of its own.
    pub fn keying(&self, suite: Suite) -> Keying {
        let at = Keying::MAX_LEN
            * match suite {
                Suite::AesCm128HmacSha1_80 => 0,
                Suite::AeadAes128Gcm => 1,
                Suite::AeadAes256Gcm => 2,
            };
        let mut keying = Keying { suite, bytes: [0; Keying::MAX_LEN] };
        let len = suite.keying_len();
        keying.bytes[..len].copy_from_slice(&self.0[at..at + len]);
        keying
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suite_has_a_name_and_bytes_of_its_own() {
        let entropy = Entropy::new(std::array::from_fn(|i| i as u8));
        let mut first_bytes: Vec<u8> = Suite::ALL.map(|suite| entropy.keying(suite).bytes()[0]).into();
        first_bytes.dedup();
        assert_eq!(first_bytes.len(), Suite::ALL.len());
        for suite in Suite::ALL {
            assert_eq!(Suite::named(&suite.name().to_lowercase()), Some(suite));
            assert_eq!(entropy.keying(suite).bytes().len(), suite.keying_len());
            assert!(suite.keying_len() <= Keying::MAX_LEN && suite.rtcp_overhead() <= MAX_OVERHEAD);
        }
        assert_eq!(Suite::named("NULL_HMAC_SHA1_80"), None);
        assert_eq!(Keying::new(Suite::AeadAes128Gcm, &[0; 30]), None);
    }

    #[test]
    fn no_key_is_ever_printed() {
        let entropy = Entropy::new([0xab; Entropy::LEN]);
        let keying = entropy.keying(Suite::AesCm128HmacSha1_80);
        let text = format!("{entropy:?} {:?}", Keys { send: keying, receive: keying });
        assert!(!text.contains("171") && !text.to_lowercase().contains("ab,"), "{text}");
    }
}
