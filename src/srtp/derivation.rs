//! Session keys from a master key (RFC 3711 4.3), key derivation rate 0.
//!
//! The pseudo-random function is AES in counter mode (4.3.3; AES-256 by RFC 6188 3): its key is the master key, its
//! counter block `(label * 2^48 XOR salt) * 2^16`.

use super::Keying;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use aes::{Aes128, Aes256};
use ctr::{CtrCore, flavors};

/// Bytes of a session salt; a salt of 96 bits has two zeros behind it (RFC 7714 11).
pub(super) const SALT_LEN: usize = 14;

/// What a session key is for (RFC 3711 4.3.1, 4.3.2).
#[derive(Clone, Copy)]
pub(super) enum Label {
    RtpCipher = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpCipher = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// `N` bytes of key for `label`.
pub(super) fn derive<const N: usize>(master: &Keying, label: Label) -> [u8; N] {
    let mut block = [0; 16];
    block[..master.salt().len()].copy_from_slice(master.salt());
    block[7] ^= label as u8;
    let mut key = [0; N];
    match master.key().len() {
        16 => apply_keystream(&Aes128::new_from_slice(master.key()).expect("16 bytes"), &block, &mut key),
        _ => apply_keystream(&Aes256::new_from_slice(master.key()).expect("16 or 32 bytes"), &block, &mut key),
    }
    key
}

/// AES in counter mode from `block` on (RFC 3711 4.1.1); the cipher's key schedule is not copied.
pub(super) fn apply_keystream<'a, C>(cipher: &'a C, block: &[u8; 16], data: &mut [u8])
where
    C: aes::cipher::BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    let core = CtrCore::<&'a C, flavors::Ctr128BE>::inner_iv_init(cipher, &(*block).into());
    StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::Suite;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn rfc3711_b2_the_keystream() {
        let cipher = Aes128::new_from_slice(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
        let mut block = [0; 16];
        block[..14].copy_from_slice(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
        let mut stream = vec![0; 16 * 0xff03];
        apply_keystream(&cipher, &block, &mut stream);
        for (n, expected) in [
            (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
            (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
            (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
            (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
            (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
            (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
        ] {
            assert_eq!(stream[n * 16..n * 16 + 16], hex(expected), "block {n:x}");
        }
    }

    #[test]
    fn rfc3711_b3_the_session_keys() {
        let bytes = hex("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6");
        let master = Keying::new(Suite::AesCm128HmacSha1_80, &bytes).unwrap();
        assert_eq!(derive::<16>(&master, Label::RtpCipher)[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derive::<14>(&master, Label::RtpSalt)[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        let expected = "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF7227098\
            6371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2";
        assert_eq!(derive::<94>(&master, Label::RtpAuthentication)[..], hex(expected));
    }
}
