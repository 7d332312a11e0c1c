//! The speech codec as the media core sees it; `io::opus` implements it with libopus.
//!
//! All PCM is mono, signed 16 bit, 48 kHz. Nothing here allocates after construction.

/// libopus refused: its (negative) error number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodecError(pub i32);

/// The highest frequency that is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Band {
    /// 8 kHz.
    Wide,
    /// 20 kHz; what the bitrate allows.
    #[default]
    Full,
}

pub trait Encoder {
    /// Encodes one packet of 2.5, 5, 10, 20, 40 or 60 ms (120 to 2880 samples) into `packet` and returns its length,
    /// which never exceeds `packet.len()`: the slice is the hard cap of the frame.
    fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> Result<usize, CodecError>;
    /// Payload bitrate in bit/s.
    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError>;
    /// In-band FEC (LBRR), and the loss in percent the encoder shall expect; 0 switches LBRR off.
    fn set_fec(&mut self, expected_loss_percent: u8) -> Result<(), CodecError>;
    /// 0 to 10: how much computing a packet may cost.
    fn set_complexity(&mut self, complexity: u8) -> Result<(), CodecError>;
    fn set_band(&mut self, highest: Band) -> Result<(), CodecError>;
    /// Forget the past: the next packet starts a new stream.
    fn reset(&mut self) -> Result<(), CodecError>;
}

pub trait Decoder {
    /// Decodes one packet into `pcm` and returns the number of samples.
    fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError>;
    /// Recovers the frame *before* `next_payload` from its in-band FEC; `pcm.len()` is the length of the lost frame.
    fn decode_fec(&mut self, next_payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError>;
    /// Conceals `pcm.len()` lost samples.
    fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, CodecError>;
    /// Remembers its state, in place of what it remembered before.
    fn remember(&mut self);
    /// Goes on in the state remembered: what it has decoded since then has not been.
    fn recall(&mut self);
    fn reset(&mut self) -> Result<(), CodecError>;
}
