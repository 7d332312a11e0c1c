//! Whether the peer hears us: its reports say which of our packets came last (RFC 3550 6.4.1).
//!
//! ```text
//!   Unknown --first report--> Untried(n) --a later packet came--> Heard(n) --nothing new, though much was sent--> Deaf
//!                                                                   ^------------ a later packet came --------------'
//! ```
//!
//! A peer whose reports never count is never believed deaf.

/// What the reports have said so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uplink {
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    /// Extended number of the last packet of ours that had come.
    highest: u32,
    /// Packets that had been sent then.
    sent: u64,
    counts: Counts,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counts {
    /// The number has not moved yet: perhaps it never does.
    Untried,
    Heard,
    /// So many reports without anything new.
    Deaf(u32),
}

/// Fewer packets between two reports may all be lost by chance, or be the pause of a silent microphone.
const MUCH: u64 = 25;
/// So many reports in a row are told of as one: a burst of loss is shorter.
const IN_A_ROW: u32 = 2;

impl Uplink {
    /// A report of the peer on our stream, of which `sent` packets have left. So many times in a row nothing of ours has
    /// arrived: told at the first and each further one.
    pub fn on_report(&mut self, highest: u32, sent: u64) -> Option<u32> {
        let Some(last) = &mut self.last else {
            self.last = Some(Last { highest, sent, counts: Counts::Untried });
            return None;
        };
        if highest != last.highest {
            *last = Last { highest, sent, counts: Counts::Heard };
            return None;
        }
        if sent < last.sent + MUCH {
            return None;
        }
        last.sent = sent;
        let reports = match last.counts {
            Counts::Untried => return None,
            Counts::Heard => 1,
            Counts::Deaf(reports) => reports.saturating_add(1),
        };
        last.counts = Counts::Deaf(reports);
        (reports % IN_A_ROW == 0).then_some(reports / IN_A_ROW)
    }

    /// The stream goes elsewhere, or on after a hold: what was deaf may hear again.
    pub fn restart(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_heard_us_and_does_not_any_more_is_deaf_after_two_reports() {
        let mut uplink = Uplink::default();
        let mut told = |highest, sent| uplink.on_report(highest, sent);
        assert_eq!([told(100, 100), told(350, 350), told(600, 600)], [None; 3]);
        assert_eq!([told(600, 850), told(600, 1_100)], [None, Some(1)]);
        assert_eq!([told(600, 1_350), told(600, 1_600)], [None, Some(2)]);
        assert_eq!([told(601, 1_850), told(601, 2_100), told(700, 2_350)], [None; 3], "it hears again");
        assert_eq!([told(700, 2_600), told(700, 2_850)], [None, Some(1)]);
    }

    #[test]
    fn pauses_of_ours_and_reports_that_never_count_mean_nothing() {
        let mut uplink = Uplink::default();
        uplink.on_report(100, 100);
        uplink.on_report(200, 200);
        for n in 0..24 {
            assert_eq!(uplink.on_report(200, 200 + n), None, "hold, or silence");
        }
        let mut uplink = Uplink::default();
        for n in 0..100 {
            assert_eq!(uplink.on_report(0, 250 * n), None, "it does not count");
        }
    }
}
