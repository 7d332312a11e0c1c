//! One call's audio: frames of the card in, packets out; packets in, frames for the card out.

use crate::config::{Codec, Jitter, Rtp};
use crate::media::codec::{Decoder, Encoder};
use crate::media::command::{Event, Stats, StreamParams};
use crate::time::{Time, Wakeup};
use std::net::SocketAddr;

/// Where a stream's packets go: the sockets of the media thread, or a test. Never blocks; a full socket drops.
pub trait Wire {
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]);
    fn send_rtcp(&mut self, to: SocketAddr, packet: &[u8]);
}

pub struct Settings {
    pub codec: Codec,
    pub jitter: Jitter,
    pub rtp: Rtp,
}

pub struct Stream<E, D> {
    _encoder: E,
    _decoder: D,
}

impl<E: Encoder, D: Decoder> Stream<E, D> {
    /// Allocates all that the stream will ever need.
    pub fn new(_settings: Settings, _encoder: E, _decoder: D) -> Stream<E, D> {
        unimplemented!()
    }
    pub fn start(&mut self, _now: Time, _params: StreamParams) {
        unimplemented!()
    }
    pub fn update(&mut self, _now: Time, _params: StreamParams) {
        unimplemented!()
    }
    /// Sends RTCP BYE. After it the stream is idle until the next `start`.
    pub fn stop(&mut self, _now: Time, _wire: &mut impl Wire) {
        unimplemented!()
    }
    pub fn mute(&mut self, _muted: bool) {
        unimplemented!()
    }
    /// Takes microphone samples (mono, 48 kHz, any number) and sends each packet that becomes full.
    pub fn capture(&mut self, _now: Time, _samples: &[i16], _wire: &mut impl Wire) {
        unimplemented!()
    }
    /// Fills `samples` with what the loudspeaker shall play next (mono, 48 kHz, any number).
    pub fn playback(&mut self, _now: Time, _samples: &mut [i16]) {
        unimplemented!()
    }
    /// The card has really played what `playback` gave (its pointer moves); `false` while there is no card.
    pub fn card_moves(&mut self, _now: Time, _moves: bool) {
        unimplemented!()
    }
    pub fn handle_rtp(&mut self, _now: Time, _from: SocketAddr, _packet: &[u8]) {
        unimplemented!()
    }
    pub fn handle_rtcp(&mut self, _now: Time, _from: SocketAddr, _packet: &[u8]) {
        unimplemented!()
    }
    pub fn poll_timeout(&self) -> Option<Wakeup> {
        unimplemented!()
    }
    /// Sends due RTCP reports and looks for silence.
    pub fn handle_timeout(&mut self, _now: Time, _wire: &mut impl Wire) {
        unimplemented!()
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }
    pub fn stats(&self, _now: Time) -> Stats {
        unimplemented!()
    }
}
