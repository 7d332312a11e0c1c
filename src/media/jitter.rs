//! The packets that wait: a ring of preallocated slots, keyed by extended sequence number.
//!
//! It decides nothing: when a packet is due, and what stands in for one that is not here, is [`playout`](super::playout)'s
//! business. When packets come faster than they are played, the oldest give way.

use crate::rtp::seq::{Seq, Timestamp};

/// 1.28 s of 20 ms packets.
pub const SLOTS: usize = 64;
/// The largest Opus frame (RFC 6716 3.4); no mixer sends more in one packet.
pub const MAX_PAYLOAD: usize = 1_276;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    pub seq: Seq,
    /// Position of its first sample in the peer's time.
    pub position: Timestamp,
    pub content: Content,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    Audio {
        samples: u32,
        /// It carries the frame before it once more.
        repeats_previous: bool,
        /// First after a pause (RTP marker).
        begins: bool,
        /// It came in a later packet (RFC 2198).
        is_copy: bool,
    },
    /// Something else with a number of its own (RFC 4733): nothing is missing here, and it takes no time.
    Event,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted {
    Kept,
    /// In the place of an older one, which nobody had asked for yet.
    InPlaceOfOlder,
    /// It was here already.
    Duplicate,
    /// Its place is taken by a newer packet.
    TooOld,
    TooLong,
}

pub struct JitterBuffer {
    slots: Box<[Slot]>,
    waiting: usize,
}

#[derive(Clone)]
struct Slot {
    meta: Option<Meta>,
    len: u16,
    payload: [u8; MAX_PAYLOAD],
}

impl Meta {
    pub fn is_copy(&self) -> bool {
        match self.content {
            Content::Audio { is_copy, .. } => is_copy,
            Content::Event => false,
        }
    }
}

impl JitterBuffer {
    pub fn new() -> JitterBuffer {
        JitterBuffer { slots: vec![Slot { meta: None, len: 0, payload: [0; MAX_PAYLOAD] }; SLOTS].into(), waiting: 0 }
    }

    /// Keeps a packet. An older one in the same slot gives way, and a copy to the packet itself.
    pub fn insert(&mut self, meta: Meta, payload: &[u8]) -> Inserted {
        let slot = &mut self.slots[meta.seq.slot(SLOTS)];
        let Some(room) = slot.payload.get_mut(..payload.len()) else {
            return Inserted::TooLong;
        };
        let inserted = match slot.meta {
            Some(old) if old.seq == meta.seq && (meta.is_copy() || !old.is_copy()) => return Inserted::Duplicate,
            Some(newer) if newer.seq > meta.seq => return Inserted::TooOld,
            Some(older) if older.seq < meta.seq => Inserted::InPlaceOfOlder,
            Some(_) => Inserted::Kept,
            None => {
                self.waiting += 1;
                Inserted::Kept
            }
        };
        room.copy_from_slice(payload);
        slot.len = payload.len() as u16;
        slot.meta = Some(meta);
        inserted
    }

    pub fn get(&self, seq: Seq) -> Option<(Meta, &[u8])> {
        let slot = &self.slots[seq.slot(SLOTS)];
        let meta = slot.meta.filter(|meta| meta.seq == seq)?;
        Some((meta, &slot.payload[..usize::from(slot.len)]))
    }

    /// The first packet with this number or a later one.
    pub fn first_from(&self, seq: Seq) -> Option<Meta> {
        if self.waiting == 0 {
            return None;
        }
        self.get(seq).map(|(meta, _)| meta).or_else(|| self.metas().filter(|m| m.seq >= seq).min_by_key(|m| m.seq))
    }

    pub fn first(&self) -> Option<Meta> {
        if self.waiting == 0 {
            return None;
        }
        self.metas().min_by_key(|meta| meta.seq)
    }

    /// Drops all packets before `seq`.
    pub fn forget_before(&mut self, seq: Seq) {
        self.retain(|meta| meta.seq >= seq);
    }

    pub fn remove(&mut self, seq: Seq) {
        let slot = &mut self.slots[seq.slot(SLOTS)];
        if slot.meta.is_some_and(|meta| meta.seq == seq) {
            slot.meta = None;
            self.waiting -= 1;
        }
    }

    pub fn clear(&mut self) {
        self.retain(|_| false);
    }

    /// Number of packets that wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    fn metas(&self) -> impl Iterator<Item = Meta> {
        self.slots.iter().filter_map(|slot| slot.meta)
    }

    fn retain(&mut self, keep: impl Fn(&Meta) -> bool) {
        if self.waiting == 0 {
            return;
        }
        for slot in &mut self.slots {
            if slot.meta.is_some_and(|meta| !keep(&meta)) {
                slot.meta = None;
                self.waiting -= 1;
            }
        }
    }
}

impl Default for JitterBuffer {
    fn default() -> JitterBuffer {
        JitterBuffer::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(seq: Seq) -> Meta {
        let position = Timestamp::first(u32::from(seq.wire()) * 960);
        Meta {
            seq,
            position,
            content: Content::Audio { samples: 960, repeats_previous: false, begins: false, is_copy: false },
        }
    }

    #[test]
    fn packets_come_out_in_order_of_their_numbers_across_the_wrap() {
        let mut buffer = JitterBuffer::new();
        let first = Seq::first(65_534);
        for wire in [0, 65_535, 1, 65_534] {
            let seq = first.extend(wire);
            assert_eq!(buffer.insert(meta(seq), &wire.to_be_bytes()), Inserted::Kept);
        }
        let mut next = first;
        let mut order = Vec::new();
        while let Some((found, payload)) = buffer.get(next) {
            order.push(u16::from_be_bytes(payload.try_into().unwrap()));
            buffer.remove(found.seq);
            next = next.next();
        }
        assert_eq!(order, [65_534, 65_535, 0, 1]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn duplicates_and_giants_are_refused() {
        let mut buffer = JitterBuffer::new();
        let seq = Seq::first(1);
        assert_eq!(buffer.insert(meta(seq), b"a"), Inserted::Kept);
        assert_eq!(buffer.insert(meta(seq), b"b"), Inserted::Duplicate);
        assert_eq!(buffer.get(seq).unwrap().1, b"a");
        assert_eq!(buffer.insert(meta(seq.next()), &[0; MAX_PAYLOAD + 1]), Inserted::TooLong);
        assert_eq!(buffer.len(), 1);
    }

    #[test]
    fn a_copy_fills_a_hole_and_gives_way_to_the_packet_itself() {
        let mut buffer = JitterBuffer::new();
        let original = meta(Seq::first(1));
        let content = Content::Audio { samples: 960, repeats_previous: false, begins: false, is_copy: true };
        let copy = Meta { content, ..original };
        assert_eq!(buffer.insert(copy, b"copy"), Inserted::Kept);
        assert_eq!(buffer.insert(copy, b"again"), Inserted::Duplicate);
        assert_eq!(buffer.get(copy.seq), Some((copy, &b"copy"[..])));
        assert_eq!(buffer.insert(original, b"itself"), Inserted::Kept);
        assert_eq!(buffer.insert(copy, b"copy"), Inserted::Duplicate);
        assert_eq!(buffer.get(copy.seq), Some((original, &b"itself"[..])));
        assert_eq!(buffer.len(), 1);
    }

    #[test]
    fn the_newest_win_when_it_overflows() {
        let mut buffer = JitterBuffer::new();
        let first = Seq::first(0);
        for n in 0..200 {
            let inserted = if n < SLOTS as u64 { Inserted::Kept } else { Inserted::InPlaceOfOlder };
            assert_eq!(buffer.insert(meta(first + n), b"x"), inserted);
        }
        assert_eq!(buffer.len(), SLOTS);
        assert_eq!(buffer.first().unwrap().seq, first + (200 - SLOTS as u64));
        assert_eq!(buffer.insert(meta(first), b"x"), Inserted::TooOld);
        buffer.forget_before(first + 190);
        assert_eq!(buffer.len(), 10);
        assert_eq!(buffer.first_from(first).unwrap().seq, first + 190);
        buffer.clear();
        assert_eq!(buffer.first(), None);
    }
}
