//! What is kept of calls that wait on hold, whose stream has ended for another call's: so much that theirs goes on where it
//! was, and that packets of their peers, should some still come, are not taken for the other call's.
//!
//! A stream that began anew would do by RFC 3550, but Asterisk 22 mixes nothing of one whose source and numbers have changed
//! in the middle of a call.
//!
//! All calls share one port. A mixer that has not heard yet that it is to be silent would otherwise be believed to be the
//! peer of the new call, from another port, and be sent what is said there.

use crate::media::peer::Protected;
use crate::rtp::sender::Sender;
use crate::time::Time;
use heapless::Vec;

/// No more calls are kept at a time; beyond that the one that waits longest is forgotten. Three wait, and when one of them
/// changes places with the present call, that one is kept before it goes on.
const MAX: usize = 4;

/// Boxed: it is long, and the media thread's stack is short.
#[derive(Default)]
pub(super) struct Parted(Box<Vec<Past, MAX>>);

/// A call whose stream is to go on.
pub(super) struct Past {
    pub(super) call: u32,
    /// When it ended.
    pub(super) at: Time,
    pub(super) sender: Sender,
    /// Source of its peer.
    pub(super) heard: Option<u32>,
    /// The roll-over counters go on while a key does (RFC 3711 3.3.1), no number is used twice under one, and what has come
    /// stays refused.
    pub(super) protected: Option<Protected>,
}

impl Parted {
    pub(super) fn keep(&mut self, past: Past) {
        self.take(past.call);
        if self.0.is_full() {
            self.0.remove(0);
        }
        let _ = self.0.push(past);
    }

    pub(super) fn take(&mut self, call: u32) -> Option<Past> {
        let i = self.0.iter().position(|past| past.call == call)?;
        Some(self.0.remove(i))
    }

    /// Whether packets of this source belong to a call that waits.
    pub(super) fn knows(&self, ssrc: u32) -> bool {
        self.0.iter().any(|past| past.heard == Some(ssrc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    #[test]
    fn the_last_few_are_kept_and_each_once() {
        let mut parted = Parted::default();
        let keep = |parted: &mut Parted, call| {
            let sender = Sender::new(call, 96, &mut Rng::from_u64(1));
            parted.keep(Past { call, at: Time::ZERO, sender, heard: Some(call * 10), protected: None });
        };
        [1, 2, 2, 3, 4].into_iter().for_each(|call| keep(&mut parted, call));
        assert!([10, 20, 30, 40].iter().all(|ssrc| parted.knows(*ssrc)), "who waits again takes no other's place");
        keep(&mut parted, 5);
        assert_eq!([10, 20, 30, 40, 50].map(|ssrc| parted.knows(ssrc)), [false, true, true, true, true]);
        assert_eq!(parted.take(3).and_then(|past| past.heard), Some(30));
        assert!(parted.take(3).is_none() && !parted.knows(30));
    }
}
