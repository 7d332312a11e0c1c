//! Restarts of the card in a call, told at most once a second.

use crate::time::{Span, Time};

#[derive(Default)]
pub(super) struct Xruns {
    count: u32,
    told: u32,
    second: Time,
    this_second: u32,
}

impl Xruns {
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Counts one more and returns how many there were in this second.
    pub(super) fn add(&mut self, now: Time) -> u32 {
        self.count += 1;
        if now.since(self.second) >= Span::from_secs(1) {
            self.second = now;
            self.this_second = 0;
        }
        self.this_second += 1;
        self.this_second
    }

    /// How many more there are, if that is news and the last news was not in this second.
    pub(super) fn take_news(&mut self, now: Time) -> Option<u32> {
        let news = self.count != self.told && (self.told == 0 || now.since(self.second) >= Span::from_secs(1));
        news.then(|| self.count - std::mem::replace(&mut self.told, self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xruns_are_told_at_once_and_then_once_a_second() {
        let mut xruns = Xruns::default();
        let at = Time::from_millis;
        assert_eq!(xruns.take_news(at(10_000)), None);
        assert_eq!(xruns.add(at(10_000)), 1);
        assert_eq!(xruns.take_news(at(10_000)), Some(1));
        assert_eq!((xruns.add(at(10_100)), xruns.add(at(10_200))), (2, 3));
        assert_eq!(xruns.take_news(at(10_200)), None);
        assert_eq!(xruns.take_news(at(11_000)), Some(2), "only those not told yet");
        assert_eq!(xruns.take_news(at(12_000)), None);
        assert_eq!(xruns.add(at(11_500)), 1);
    }
}
