//! Keys of SRTP in session descriptions (RFC 4568, SDES): whether, and what an `a=crypto` line says.
//!
//! ```text
//!   offer   m=audio 40000 RTP/SAVP 96      a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:<key and salt of the offerer>
//!                                          a=crypto:2 AEAD_AES_128_GCM inline:...
//!   answer  m=audio 20140 RTP/SAVP 96      a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:<key and salt of the answerer>
//! ```
//!
//! Each side sends under the key it wrote. A line with a master key identifier or a session parameter that changes the
//! packets is passed over, as one of an unknown suite is (6.1, 6.3.7).

use crate::srtp::{Entropy, Keying, Suite};
use data_encoding::BASE64_NOPAD;
use sdp_types::{Crypto, CryptoSuite, SrtpKeyParam, SrtpSessionParam};

/// What is done about SRTP in a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protection {
    /// Plain RTP only.
    #[default]
    Off,
    /// Offered; plain RTP to who has none.
    Offer(Sdes),
    /// Protected, or no call.
    Require(Sdes),
}

/// The keys of one call, and the suites to use them with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sdes {
    pub entropy: Entropy,
    pub suites: Suites,
}

/// Suites in the order of preference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suites([Option<Suite>; Suite::ALL.len()]);

impl Suites {
    /// Those of `names` that are known, in their order; all if there is none, because none would mean plain.
    pub fn named(names: &[String]) -> Suites {
        let mut known = names.iter().filter_map(|name| Suite::named(name));
        match known.next() {
            Some(first) => Suites(std::array::from_fn(|n| if n == 0 { Some(first) } else { known.next() })),
            None => Suites(Suite::ALL.map(Some)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Suite> {
        self.0.into_iter().flatten()
    }
}

impl Protection {
    /// The keys, if there may be protected media.
    pub(super) fn sdes(&self) -> Option<&Sdes> {
        match self {
            Protection::Off => None,
            Protection::Offer(sdes) | Protection::Require(sdes) => Some(sdes),
        }
    }

    pub(super) fn allows_plain(&self) -> bool {
        match self {
            Protection::Off | Protection::Offer(_) => true,
            Protection::Require(_) => false,
        }
    }
}

impl Sdes {
    /// What is offered: a line for each suite, each with a key of its own.
    pub(super) fn lines(&self) -> Vec<Line> {
        let line = |(tag, suite)| Line { tag, keying: self.entropy.keying(suite) };
        (1..).zip(self.suites.iter()).map(line).collect()
    }

    /// The first of the peer's lines that we can use (RFC 4568 5.1.2).
    pub(super) fn choose<'a>(&self, lines: &'a [Line]) -> Option<&'a Line> {
        lines.iter().find(|line| self.suites.iter().any(|suite| suite == line.keying.suite()))
    }
}

/// An `a=crypto` line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub(super) tag: u32,
    /// Key of the one who wrote it.
    pub(super) keying: Keying,
}

impl Line {
    /// `None`: not for us.
    pub(super) fn read(crypto: &Crypto) -> Option<Line> {
        let suite = Suite::named(crypto.crypto_suite.as_str())?;
        let [key] = &crypto.key_params[..] else { return None };
        let understood = |param: &SrtpSessionParam| match param {
            // How large a window we keep is our own business (6.3.6).
            SrtpSessionParam::Wsh(_) => true,
            SrtpSessionParam::Kdr(rate) => *rate == 0,
            // "-": may be ignored (6.3.7).
            SrtpSessionParam::Extension(text) => text.is_empty() || text.starts_with('-'),
            SrtpSessionParam::UnencryptedSrtp
            | SrtpSessionParam::UnencryptedSrtcp
            | SrtpSessionParam::UnauthenticatedSrtp
            | SrtpSessionParam::FecOrder(_)
            | SrtpSessionParam::FecKey(_) => false,
        };
        if key.mki_and_length.is_some() || !crypto.session_params.iter().all(understood) {
            return None;
        }
        // With its padding or without: both are seen for keys of 28 and 44 bytes.
        let bytes = BASE64_NOPAD.decode(key.key_and_salt.trim_end_matches('=').as_bytes()).ok()?;
        Some(Line { tag: crypto.tag, keying: Keying::new(suite, &bytes)? })
    }

    pub(super) fn write(&self) -> Crypto {
        let mut crypto = Crypto::new(self.tag, CryptoSuite::new(self.keying.suite().name()));
        crypto.add_key_param(SrtpKeyParam::new(data_encoding::BASE64.encode(self.keying.bytes())));
        crypto
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Line> {
        Line::read(&text.parse().ok()?)
    }

    #[test]
    fn what_is_written_is_read() {
        let entropy = Entropy::new(std::array::from_fn(|i| i as u8));
        let names = ["aead_aes_256_gcm", "AES_CM_128_HMAC_SHA1_80", "NULL", "AEAD_AES_128_GCM"].map(String::from);
        let sdes = Sdes { entropy, suites: Suites::named(&names) };
        let lines = sdes.lines();
        assert_eq!(lines.iter().map(|line| line.tag).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(lines[0].keying.suite(), Suite::AeadAes256Gcm, "in the order of preference");
        for line in lines {
            assert_eq!(read(&line.write().to_string()), Some(line));
        }
    }

    #[test]
    fn the_line_of_a_real_mixer() {
        let line = read("1 AES_CM_128_HMAC_SHA1_80 inline:F01KBzIqNA8ZQhY3LL0KJAQikas0rTG5P4LRfxzr").unwrap();
        assert_eq!((line.tag, line.keying.suite()), (1, Suite::AesCm128HmacSha1_80));
        assert_eq!(line.keying.bytes()[..3], [0x17, 0x4d, 0x4a]);
    }

    #[test]
    fn lines_that_are_not_for_us_are_passed_over() {
        let key = "inline:F01KBzIqNA8ZQhY3LL0KJAQikas0rTG5P4LRfxzr";
        for good in ["", "|2^31", "|1048576"] {
            assert!(read(&format!("1 AES_CM_128_HMAC_SHA1_80 {key}{good}")).is_some(), "{good}");
        }
        for good in [" WSH=64", " -unknown", " KDR=0"] {
            assert!(read(&format!("1 AES_CM_128_HMAC_SHA1_80 {key}{good}")).is_some(), "{good}");
        }
        for bad in [
            format!("1 AES_CM_128_HMAC_SHA1_32 {key}"),
            format!("1 AEAD_AES_128_GCM {key}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 {key}|2^31|1:1"),
            format!("1 AES_CM_128_HMAC_SHA1_80 {key};{key}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 {key} UNENCRYPTED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 {key} UNAUTHENTICATED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 {key} KDR=3"),
            format!("1 AES_CM_128_HMAC_SHA1_80 {key} unknown"),
            format!("1 AES_CM_128_HMAC_SHA1_80 {}", &key[..46]),
            "1 AES_CM_128_HMAC_SHA1_80 inline:!".into(),
            "1 AES_CM_128_HMAC_SHA1_80".into(),
            "x AES_CM_128_HMAC_SHA1_80 inline:".into(),
            String::new(),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }
}
