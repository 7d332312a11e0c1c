//! Keys for protected media (RFC 4568): a set is kept ready, each call takes it, and nothing shows it to a listener.

use super::transport::Transport;
use crate::config::{self, SrtpMode};
use crate::sdp::{Protection, Sdes, Suites};
use crate::srtp::Entropy;

/// What the configuration wants, and the keys of the next call.
#[derive(Clone, Debug)]
pub(super) struct MediaKeys {
    mode: SrtpMode,
    suites: Suites,
    over_plain_signalling: bool,
    stock: Option<Entropy>,
}

impl Default for MediaKeys {
    /// Plain media.
    fn default() -> MediaKeys {
        MediaKeys { mode: SrtpMode::Off, suites: Suites::named(&[]), over_plain_signalling: false, stock: None }
    }
}

impl MediaKeys {
    pub(super) fn new(config: &config::Rtp) -> MediaKeys {
        MediaKeys {
            mode: config.srtp,
            suites: Suites::named(&config.srtp_suites),
            over_plain_signalling: config.srtp_over_plain_signalling,
            stock: None,
        }
    }

    /// The next call has no keys yet.
    pub(super) fn wanted(&self) -> bool {
        match self.mode {
            SrtpMode::Off => false,
            SrtpMode::Offer | SrtpMode::Require => self.stock.is_none(),
        }
    }

    pub(super) fn give(&mut self, entropy: Entropy) {
        self.stock = Some(entropy);
    }

    /// For a call whose messages travel by `transport`. `None`: its media would have to be protected and cannot be, because
    /// everybody on the way could read the keys (RFC 4568 8.3), or because there are none.
    pub(super) fn take(&mut self, transport: Transport) -> Option<Protection> {
        let may_carry_keys = transport.is_protected() || self.over_plain_signalling;
        let mut sdes = || {
            let entropy = self.stock.take_if(|_| may_carry_keys)?;
            Some(Sdes { entropy, suites: self.suites })
        };
        match self.mode {
            SrtpMode::Off => Some(Protection::Off),
            SrtpMode::Offer => Some(sdes().map_or(Protection::Off, Protection::Offer)),
            SrtpMode::Require => sdes().map(Protection::Require),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn keys(mode: SrtpMode, over_plain: bool) -> MediaKeys {
        let config = config::Rtp { srtp: mode, srtp_over_plain_signalling: over_plain, ..Config::default().rtp };
        let mut keys = MediaKeys::new(&config);
        assert_eq!(keys.wanted(), mode != SrtpMode::Off);
        keys.give(Entropy::new([7; Entropy::LEN]));
        keys
    }

    #[test]
    fn keys_travel_only_where_nobody_reads_them_unless_told_otherwise() {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Ws] {
            assert_eq!(keys(SrtpMode::Offer, false).take(transport), Some(Protection::Off));
            assert_eq!(keys(SrtpMode::Require, false).take(transport), None);
            assert!(matches!(keys(SrtpMode::Offer, true).take(transport), Some(Protection::Offer(_))));
        }
        for transport in [Transport::Tls, Transport::Wss] {
            assert!(matches!(keys(SrtpMode::Offer, false).take(transport), Some(Protection::Offer(_))));
            assert!(matches!(keys(SrtpMode::Require, false).take(transport), Some(Protection::Require(_))));
        }
        assert_eq!(keys(SrtpMode::Off, true).take(Transport::Tls), Some(Protection::Off));
    }

    #[test]
    fn no_two_calls_get_the_same_keys() {
        let mut keys = keys(SrtpMode::Require, false);
        assert!(!keys.wanted() && keys.take(Transport::Tls).is_some());
        assert!(keys.wanted() && keys.take(Transport::Tls).is_none());
    }
}
