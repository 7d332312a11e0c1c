//! Repeats folded into counts: a kind of thing is reported the first time, and then on powers of ten.

use std::collections::BTreeMap;

/// Most kinds counted one by one; further kinds share the count of `other`. Kinds are named in code or bounded here,
/// never by a peer alone.
const MAX_KINDS: usize = 64;

#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts one more `kind`; the total if it is worth a report now.
    pub fn count(&mut self, kind: &'static str) -> Option<u64> {
        self.add(kind, 1)
    }

    /// Counts `more` of a kind at once; the total if it has reached or passed a number worth a report.
    pub fn add(&mut self, kind: &'static str, more: u64) -> Option<u64> {
        let kind = if self.counts.len() >= MAX_KINDS && !self.counts.contains_key(kind) { "other" } else { kind };
        let n = self.counts.entry(kind).or_default();
        let before = n.checked_ilog10();
        *n = n.saturating_add(more);
        (n.checked_ilog10() != before).then_some(*n)
    }

    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }
}

/// The same thing again and again: how often, and whether to say so.
#[derive(Clone, Debug)]
pub struct Repeats<K> {
    last: Option<(K, u64)>,
}

impl<K: PartialEq> Repeats<K> {
    pub fn new() -> Repeats<K> {
        Repeats { last: None }
    }

    /// How often `kind` has come in a row, if that is worth a report now.
    pub fn count(&mut self, kind: K) -> Option<u64> {
        let n = match &self.last {
            Some((last, n)) if *last == kind => n + 1,
            Some(_) | None => 1,
        };
        self.last = Some((kind, n));
        is_power_of_ten(n).then_some(n)
    }

    /// Something else happened: the next is a first one again.
    pub fn clear(&mut self) {
        self.last = None;
    }
}

impl<K: PartialEq> Default for Repeats<K> {
    fn default() -> Repeats<K> {
        Repeats::new()
    }
}

fn is_power_of_ten(n: u64) -> bool {
    n > 0 && 10_u64.checked_pow(n.ilog10()) == Some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_repeats_make_five_reports() {
        let mut tally = Tally::default();
        let reports: Vec<_> = (0..10_000).filter_map(|_| tally.count("qss_not_json")).collect();
        assert_eq!(reports, [1, 10, 100, 1000, 10_000]);
        assert_eq!(tally.count("sip"), Some(1));
        assert_eq!(tally.counts()["qss_not_json"], 10_000);
    }

    #[test]
    fn another_kind_starts_again() {
        let mut repeats = Repeats::new();
        assert_eq!(
            [repeats.count(1), repeats.count(1), repeats.count(2), repeats.count(1)],
            [Some(1), None, Some(1), Some(1)]
        );
        repeats.clear();
        assert_eq!(repeats.count(1), Some(1));
    }
}
