//! The voice path, as values: what the media thread does with frames and packets, without waiting for either.
//!
//! [`stream`] composes the rest. Up: [`volume`], [`gain`] (mute, level), `microphone` (frames in the time of the mixer), the codec ([`codec`]) as [`autopilot`] sets it (by `shortest` it knows a full line), or [`hush`] where
//! there is nothing to encode, `pause` where nothing need be sent, `slack` where a mixer has too much of it, [`redundancy`] (copies), [`budget`] (the cap). Down: [`playout`] over [`timeline`] (where a packet belongs), [`delay`] (how late packets come), [`jitter`] (the packets
//! that wait), [`stretch`] (time without clicks), [`drift`], `peer_clock`
//! and [`resample`] (clocks that run apart). [`keypad`] sends and hears digits. [`uplink`] knows whether we are heard, [`extended`] how. [`liveness`] turns what happens into events, [`tone`] speaks to those
//! who have no screen, [`turn`] knows who may speak on a card of one direction. [`command`] is the
//! border between the control thread and the media thread, [`histogram`] how long each stage takes, [`governor`] what is given
//! up when the machine does not keep up, [`plan`] what fits under a cap, [`quality`] a
//! rating.

pub mod autopilot;
pub mod budget;
pub mod codec;
pub mod command;
pub mod convert;
pub mod delay;
pub mod drift;
pub mod extended;
mod fifo;
pub mod gain;
pub mod governor;
pub mod histogram;
pub mod hush;
pub mod jitter;
mod kaiser;
pub mod keypad;
mod lag;
pub mod liveness;
mod microphone;
mod parted;
mod pause;
mod peer;
mod peer_clock;
pub mod plan;
pub mod playout;
pub mod quality;
pub mod redundancy;
pub mod resample;
mod shortest;
mod slack;
pub mod stream;
pub mod stretch;
pub mod timeline;
pub mod toc;
pub mod tone;
pub mod turn;
pub mod uplink;
pub mod volume;
