//! In-band FEC, steered by what the receiver reports (RFC 3550 6.4.1, fraction lost).
//!
//! Without an expected loss libopus produces no FEC at all, and with it each packet pays: so it is on while there is
//! loss, and off on a clean line.

use crate::config::FecMode;

/// Reported loss above which FEC is worth its bits, and below which it goes off again, in percent.
const ON_AT: f32 = 2.0;
const OFF_AT: f32 = 0.5;
/// Each report counts for this much of a falling estimate; a rising one is believed at once.
const FALL: f32 = 0.3;
/// What an encoder shall expect at least when FEC is on, in percent: libopus hardly protects below.
const LEAST: u8 = 10;
const MOST: u8 = 30;

#[derive(Clone, Debug)]
pub struct Protection {
    mode: FecMode,
    /// Smoothed loss in percent.
    loss: f32,
    expected: u8,
}

impl Protection {
    pub fn new(mode: FecMode) -> Protection {
        let expected = match mode {
            FecMode::On => LEAST,
            FecMode::Off | FecMode::Auto => 0,
        };
        Protection { mode, loss: 0.0, expected }
    }

    /// The loss in percent that the encoder shall expect; 0: no FEC.
    pub fn expected_loss(&self) -> u8 {
        self.expected
    }

    /// A report about our stream; the new expected loss if it changed.
    pub fn on_report(&mut self, fraction_lost: u8) -> Option<u8> {
        let reported = f32::from(fraction_lost) * 100.0 / 256.0;
        self.loss = reported.max(self.loss + (reported - self.loss) * FALL);
        let measured = (self.loss.round() as u8).clamp(LEAST, MOST);
        let expected = match self.mode {
            FecMode::Off => 0,
            FecMode::On => measured,
            FecMode::Auto if self.loss >= ON_AT || (self.expected > 0 && self.loss > OFF_AT) => measured,
            FecMode::Auto => 0,
        };
        let changed = expected != self.expected;
        self.expected = expected;
        changed.then_some(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_while_the_receiver_reports_loss_and_off_on_a_clean_line() {
        let mut auto = Protection::new(FecMode::Auto);
        assert_eq!(auto.on_report(0), None);
        assert_eq!(auto.on_report(26), Some(10));
        assert_eq!(auto.on_report(51), Some(20));
        assert_eq!(auto.on_report(51), None);
        let until_off = (0..20).position(|_| auto.on_report(0) == Some(0));
        assert!(until_off.is_some_and(|n| (5..15).contains(&n)), "{until_off:?}");
    }

    #[test]
    fn the_other_modes_keep_to_their_word() {
        let mut off = Protection::new(FecMode::Off);
        assert_eq!(off.on_report(128), None);
        let mut on = Protection::new(FecMode::On);
        assert_eq!(on.expected_loss(), LEAST);
        assert_eq!(on.on_report(0), None);
        assert_eq!(on.on_report(255), Some(MOST));
    }
}
