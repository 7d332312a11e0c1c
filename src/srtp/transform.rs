//! One packet, one cipher: seal and open RTP and RTCP with session keys and a known index.
//!
//! ```text
//!   SRTP    header │ payload, encrypted │ tag                       RFC 3711 3.1, RFC 7714 8
//!   SRTCP   8 bytes │ rest, encrypted │ E + index │ tag             RFC 3711 3.4: AES-CM and HMAC-SHA1
//!           8 bytes │ rest, encrypted │ tag │ E + index             RFC 7714 9.2: AES-GCM
//! ```
//!
//! Authenticated is everything before the tag, and the roll-over counter (RFC 3711 4.2), or the index with its E bit.
//! A packet whose tag is wrong is left as it was.

use super::derivation::{Label, SALT_LEN, apply_keystream, derive};
use super::{Keying, Suite};
use aes::Aes128;
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha1::Sha1;

/// What stays readable of an RTCP packet: its first header and SSRC.
pub(super) const RTCP_HEADER: usize = 8;
/// Index and E bit of SRTCP.
pub(super) const INDEX: usize = 4;
/// RFC 3711 3.4: set when the packet is encrypted.
pub(super) const ENCRYPTED: u32 = 0x8000_0000;

/// Not sealed under this key and index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unauthentic;

/// The session keys of RTP, or of RTCP, in one direction.
pub(super) struct Transform {
    cipher: Cipher,
    salt: [u8; SALT_LEN],
}

// One or two of each live as long as a call; boxing them would be an allocation at its start.
#[allow(clippy::large_enum_variant)]
enum Cipher {
    AesCm { cipher: Aes128, mac: Hmac<Sha1> },
    AesGcm128(Aes128Gcm),
    AesGcm256(Aes256Gcm),
}

impl Transform {
    pub(super) fn rtp(master: &Keying) -> Transform {
        Transform::derived(master, Label::RtpCipher, Label::RtpAuthentication, Label::RtpSalt)
    }

    pub(super) fn rtcp(master: &Keying) -> Transform {
        Transform::derived(master, Label::RtcpCipher, Label::RtcpAuthentication, Label::RtcpSalt)
    }

    fn derived(master: &Keying, cipher: Label, authentication: Label, salt: Label) -> Transform {
        let derived_salt: [u8; SALT_LEN] = derive(master, salt);
        let mut session_salt = [0; SALT_LEN];
        session_salt[..master.suite().salt_len()].copy_from_slice(&derived_salt[..master.suite().salt_len()]);
        let cipher = match master.suite() {
            Suite::AesCm128HmacSha1_80 => Cipher::AesCm {
                cipher: Aes128::new(&derive::<16>(master, cipher).into()),
                mac: Hmac::new_from_slice(&derive::<20>(master, authentication)).expect("a key of any length"),
            },
            Suite::AeadAes128Gcm => Cipher::AesGcm128(Aes128Gcm::new(&derive::<16>(master, cipher).into())),
            Suite::AeadAes256Gcm => Cipher::AesGcm256(Aes256Gcm::new(&derive::<32>(master, cipher).into())),
        };
        Transform { cipher, salt: session_salt }
    }

    /// Seals the `len` bytes of RTP at the beginning of `packet`, which has room for the tag. `index`: roll-over counter
    /// and sequence number, 48 bits.
    pub(super) fn seal_rtp(&self, packet: &mut [u8], header: usize, len: usize, ssrc: u32, index: u64) {
        let (message, tag) = packet.split_at_mut(len);
        match &self.cipher {
            Cipher::AesCm { cipher, mac } => {
                apply_keystream(cipher, &self.counter_block(ssrc, index), &mut message[header..]);
                tag.copy_from_slice(&mac_of(mac, message, roll_over(index))[..tag.len()]);
            }
            Cipher::AesGcm128(aead) => gcm_seal(aead, &self.nonce(ssrc, index), message, header, tag),
            Cipher::AesGcm256(aead) => gcm_seal(aead, &self.nonce(ssrc, index), message, header, tag),
        }
    }

    /// Opens a whole SRTP packet in place; its last bytes are the tag.
    pub(super) fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), Unauthentic> {
        let (message, tag) = packet.split_at_mut(packet.len() - self.tag_len());
        match &self.cipher {
            Cipher::AesCm { cipher, mac } => {
                verify(mac, message, roll_over(index), tag)?;
                apply_keystream(cipher, &self.counter_block(ssrc, index), &mut message[header..]);
                Ok(())
            }
            Cipher::AesGcm128(aead) => gcm_open(aead, &self.nonce(ssrc, index), message, header, tag),
            Cipher::AesGcm256(aead) => gcm_open(aead, &self.nonce(ssrc, index), message, header, tag),
        }
    }

    /// Seals the `len` bytes of RTCP at the beginning of `packet`, which has room for tag and index.
    pub(super) fn seal_rtcp(&self, packet: &mut [u8], len: usize, ssrc: u32, index: u32) {
        let marked = (index | ENCRYPTED).to_be_bytes();
        match &self.cipher {
            Cipher::AesCm { cipher, mac } => {
                let (message, trailer) = packet.split_at_mut(len);
                apply_keystream(cipher, &self.counter_block(ssrc, index.into()), &mut message[RTCP_HEADER..]);
                let (place, tag) = trailer.split_at_mut(INDEX);
                place.copy_from_slice(&marked);
                tag.copy_from_slice(&mac_of(mac, message, marked)[..tag.len()]);
            }
            Cipher::AesGcm128(aead) => self.gcm_seal_rtcp(aead, packet, len, ssrc, index),
            Cipher::AesGcm256(aead) => self.gcm_seal_rtcp(aead, packet, len, ssrc, index),
        }
    }

    /// Opens a whole SRTCP packet in place. `marked`: index and E bit as [`marked_index`](Transform::marked_index) reads them.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, marked: u32) -> Result<(), Unauthentic> {
        let index = marked & !ENCRYPTED;
        let tag_at = packet.len() - self.tag_len();
        match &self.cipher {
            Cipher::AesCm { cipher, mac } => {
                let (message, tag) = packet.split_at_mut(tag_at);
                let (body, _) = message.split_at_mut(message.len() - INDEX);
                verify(mac, body, marked.to_be_bytes(), tag)?;
                if marked & ENCRYPTED != 0 {
                    apply_keystream(cipher, &self.counter_block(ssrc, index.into()), &mut body[RTCP_HEADER..]);
                }
                Ok(())
            }
            Cipher::AesGcm128(aead) => self.gcm_open_rtcp(aead, packet, ssrc, marked),
            Cipher::AesGcm256(aead) => self.gcm_open_rtcp(aead, packet, ssrc, marked),
        }
    }

    /// Index and E bit of an SRTCP packet that is long enough to have them.
    pub(super) fn marked_index(&self, packet: &[u8]) -> Option<u32> {
        let end = match &self.cipher {
            Cipher::AesCm { .. } => packet.len().checked_sub(self.tag_len())?,
            Cipher::AesGcm128(_) | Cipher::AesGcm256(_) => packet.len(),
        };
        packet.get(..end)?.last_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn tag_len(&self) -> usize {
        match &self.cipher {
            Cipher::AesCm { .. } => Suite::AesCm128HmacSha1_80.rtp_overhead(),
            Cipher::AesGcm128(_) | Cipher::AesGcm256(_) => Suite::AeadAes128Gcm.rtp_overhead(),
        }
    }

    /// RFC 7714 9.2: the index is authenticated with the header, and stands last.
    fn gcm_seal_rtcp<A: AeadInOut<NonceSize = U12, TagSize = U16>>(
        &self,
        aead: &A,
        packet: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) {
        let marked = (index | ENCRYPTED).to_be_bytes();
        let (message, trailer) = packet.split_at_mut(len);
        let (header, body) = message.split_at_mut(RTCP_HEADER);
        let aad = with_index(header, marked);
        let sealed = aead.encrypt_inout_detached(&self.nonce(ssrc, index.into()), &aad, body.into());
        let tag = sealed.expect("a packet is shorter than 64 GB");
        let (tag_place, index_place) = trailer.split_at_mut(tag.len());
        tag_place.copy_from_slice(&tag);
        index_place.copy_from_slice(&marked);
    }

    fn gcm_open_rtcp<A: AeadInOut<NonceSize = U12, TagSize = U16>>(
        &self,
        aead: &A,
        packet: &mut [u8],
        ssrc: u32,
        marked: u32,
    ) -> Result<(), Unauthentic> {
        let (rest, index) = packet.split_at_mut(packet.len() - INDEX);
        let (message, tag) = rest.split_at_mut(rest.len() - self.tag_len());
        let nonce = self.nonce(ssrc, (marked & !ENCRYPTED).into());
        if marked & ENCRYPTED != 0 {
            let (header, body) = message.split_at_mut(RTCP_HEADER);
            let aad = with_index(header, marked.to_be_bytes());
            return aead.decrypt_inout_detached(&nonce, &aad, body.into(), &tag_of(tag)).map_err(|_| Unauthentic);
        }
        // RFC 7714 9.3: everything is associated data, so it has to stand in one piece.
        let mut whole = [0; MAX_CLEAR_RTCP];
        let aad = whole.get_mut(..message.len() + INDEX).ok_or(Unauthentic)?;
        aad[..message.len()].copy_from_slice(message);
        aad[message.len()..].copy_from_slice(index);
        aead.decrypt_inout_detached(&nonce, aad, (&mut [][..]).into(), &tag_of(tag)).map_err(|_| Unauthentic)
    }

    /// RFC 3711 4.1.1: `salt * 2^16 XOR SSRC * 2^64 XOR index * 2^16`.
    fn counter_block(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let mut block = [0; 16];
        block[..SALT_LEN].copy_from_slice(&self.salt);
        xor(&mut block[4..8], &ssrc.to_be_bytes());
        xor(&mut block[8..14], &index.to_be_bytes()[2..]);
        block
    }

    /// RFC 7714 8.1, 9.1: `(00 00, SSRC, index in 48 bits) XOR salt`.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce<U12> {
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&self.salt[..12]);
        xor(&mut nonce[2..6], &ssrc.to_be_bytes());
        xor(&mut nonce[6..], &index.to_be_bytes()[2..]);
        nonce.into()
    }
}

use aes::cipher::consts::{U12, U16};

/// An RTCP packet that is authenticated and not encrypted may have so many bytes; longer ones do not exist in a call.
const MAX_CLEAR_RTCP: usize = 512;

fn gcm_seal<A: AeadInOut<NonceSize = U12, TagSize = U16>>(
    aead: &A,
    nonce: &Nonce<U12>,
    message: &mut [u8],
    header: usize,
    tag: &mut [u8],
) {
    let (header, payload) = message.split_at_mut(header);
    let sealed = aead.encrypt_inout_detached(nonce, header, payload.into()).expect("a packet is shorter than 64 GB");
    tag.copy_from_slice(&sealed);
}

fn gcm_open<A: AeadInOut<NonceSize = U12, TagSize = U16>>(
    aead: &A,
    nonce: &Nonce<U12>,
    message: &mut [u8],
    header: usize,
    tag: &[u8],
) -> Result<(), Unauthentic> {
    let (header, payload) = message.split_at_mut(header);
    aead.decrypt_inout_detached(nonce, header, payload.into(), &tag_of(tag)).map_err(|_| Unauthentic)
}

fn tag_of(bytes: &[u8]) -> Tag {
    let bytes: [u8; 16] = bytes.try_into().expect("cut at the length of the tag");
    bytes.into()
}

fn with_index(header: &[u8], marked: [u8; INDEX]) -> [u8; RTCP_HEADER + INDEX] {
    let mut aad = [0; RTCP_HEADER + INDEX];
    aad[..RTCP_HEADER].copy_from_slice(header);
    aad[RTCP_HEADER..].copy_from_slice(&marked);
    aad
}

fn mac_of(mac: &Hmac<Sha1>, message: &[u8], tail: [u8; 4]) -> [u8; 20] {
    let mut mac = mac.clone();
    mac.update(message);
    mac.update(&tail);
    mac.finalize().into_bytes().into()
}

fn verify(mac: &Hmac<Sha1>, message: &[u8], tail: [u8; 4], tag: &[u8]) -> Result<(), Unauthentic> {
    let mut mac = mac.clone();
    mac.update(message);
    mac.update(&tail);
    mac.verify_truncated_left(tag).map_err(|_| Unauthentic)
}

fn roll_over(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn xor(place: &mut [u8], with: &[u8]) {
    place.iter_mut().zip(with).for_each(|(a, b)| *a ^= b);
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTP: &str =
        "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
    const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeef\
        deadbeef";
    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    /// With session keys given as they are, as the vectors of RFC 7714 give them.
    fn vector(suite: Suite) -> Transform {
        let key = hex(KEY);
        let cipher = match suite {
            Suite::AeadAes128Gcm => Cipher::AesGcm128(Aes128Gcm::new_from_slice(&key[..16]).unwrap()),
            Suite::AeadAes256Gcm => Cipher::AesGcm256(Aes256Gcm::new_from_slice(&key).unwrap()),
            Suite::AesCm128HmacSha1_80 => unreachable!("not in RFC 7714"),
        };
        let mut salt = [0; SALT_LEN];
        salt[..12].copy_from_slice(b"Quid pro quo");
        Transform { cipher, salt }
    }

    #[test]
    fn rfc7714_16_rtp() {
        let cases = [
            (
                Suite::AeadAes128Gcm,
                "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf\
                 8833899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                Suite::AeadAes256Gcm,
                "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799\
                 b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ];
        for (suite, sealed) in cases {
            let (transform, plain, sealed) = (vector(suite), hex(RTP), hex(&sealed.replace([' ', '\n'], "")));
            let mut packet = plain.clone();
            packet.resize(plain.len() + 16, 0);
            transform.seal_rtp(&mut packet, 12, plain.len(), 0x5501_a0b2, 0xf17b);
            assert_eq!(packet, sealed, "{suite:?}");
            transform.open_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b).unwrap();
            assert_eq!(packet[..plain.len()], plain, "{suite:?}");
        }
    }

    #[test]
    fn rfc7714_17_rtcp() {
        let cases = [
            (
                Suite::AeadAes128Gcm,
                "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded\
                 0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
            ),
            (
                Suite::AeadAes256Gcm,
                "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047\
                 6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
            ),
        ];
        for (suite, sealed) in cases {
            let (transform, plain, sealed) = (vector(suite), hex(RTCP), hex(&sealed.replace([' ', '\n'], "")));
            let mut packet = plain.clone();
            packet.resize(plain.len() + 20, 0);
            transform.seal_rtcp(&mut packet, plain.len(), 0x4d61_7273, 0x5d4);
            assert_eq!(packet, sealed, "{suite:?}");
            assert_eq!(transform.marked_index(&packet), Some(0x8000_05d4));
            transform.open_rtcp(&mut packet, 0x4d61_7273, 0x8000_05d4).unwrap();
            assert_eq!(packet[..plain.len()], plain, "{suite:?}");
        }
    }

    #[test]
    fn rfc7714_17_rtcp_that_is_only_authenticated() {
        let mut packet = hex(RTCP);
        packet.extend(hex("841dd9683dd78ec92ae58790125f62b3000005d4"));
        let transform = vector(Suite::AeadAes128Gcm);
        assert_eq!(transform.open_rtcp(&mut packet, 0x4d61_7273, 0x5d4), Ok(()));
        packet[20] ^= 1;
        assert_eq!(transform.open_rtcp(&mut packet, 0x4d61_7273, 0x5d4), Err(Unauthentic));
    }
}
