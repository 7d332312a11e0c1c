//! A virtual sound card: an ALSA plug-in (PCM ioplug and control) that libasound loads into the program under test.
//!
//! The program opens `hw:CARD=x,DEV=0` as ever; only `ALSA_CONFIG_PATH` points to `asound.conf.in` with its
//! `@LIB@` filled in. A card is a handful of files in one directory, preferably on tmpfs:
//!
//! ```text
//!   $VSND_DIR/epoch            CLOCK_MONOTONIC ns at which every card of the directory had played 0 frames
//!            /x.card           settings of card x, one `key value` per line (see `settings.rs`)
//!            /x.mic.raw        what its microphone hears: S16LE; frame n is heard n frames after the epoch
//!            /x.spk.raw        what its loudspeaker played, on the same axis
//!            /x.log            one JSON line per event: start, stop (min_headroom), xrun (at, late), unplug ...
//!            /x.ctl            mixer values, shared memory
//!            /x.faults         faults at given frames, e.g. `xrun.p@96000;stall@144000+4800` (see `faults.rs`)
//!            /x.unplugged  /x.busy  /x.stalled      exist = it is so now
//! ```
//!
//! Reading order: [`clock`] (frames and nanoseconds), [`faults`], [`card`] (one direction of a card: where its pointer
//! is and why it stopped), [`tape`] (the raw files), [`pcm`] and [`ctl`] (what libasound calls), [`ffi`].
//!
//! The card's pointer is computed from the clock each time libasound asks; nothing runs in the background. Samples
//! are moved at that moment too, so `x.spk.raw` trails by up to one period.

mod card;
mod clock;
mod ctl;
mod faults;
mod ffi;
mod pcm;
mod settings;
mod tape;
