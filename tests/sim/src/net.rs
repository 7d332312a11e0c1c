//! The way between the parties: what is lost, late, doubled or out of order.

use super::Delivery;
use qss_endpoint::random::Rng;

#[derive(Clone, Debug, Default)]
pub struct Net {
    /// Datagrams of SIP lost, in percent; each way.
    pub sip_loss: u64,
    /// Datagrams of SIP that come twice, in percent.
    pub sip_doubles: u64,
    /// Most that a datagram of SIP is late, in milliseconds; later ones overtake it.
    pub sip_jitter: u64,
    /// Messages of the QSS that come twice, in percent.
    pub qss_doubles: u64,
    /// Most that the QSS takes longer than usual for a message, in milliseconds; later ones overtake it.
    pub qss_jitter: u64,
    /// Nothing passes between the device and the QSS, and nobody is told.
    pub black_hole: bool,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// So much later than usual.
    Arrives {
        late_ms: u64,
    },
    /// As long as the hole is there.
    Held,
    Lost,
}

impl Net {
    pub fn carry(&self, delivery: &Delivery, rng: &mut Rng) -> Fate {
        let late_ms = match kind(delivery) {
            Kind::Sip if self.sip_loss > 0 && rng.below(100) < self.sip_loss => return Fate::Lost,
            Kind::Sip => late(self.sip_jitter, rng),
            Kind::Link | Kind::Message if self.black_hole => return Fate::Held,
            Kind::Message => late(self.qss_jitter, rng),
            Kind::Link | Kind::Inside => 0,
        };
        Fate::Arrives { late_ms }
    }

    /// The same once more.
    pub fn duplicate(&self, delivery: &Delivery, rng: &mut Rng) -> Option<Delivery> {
        let mut happens = |percent: u64| percent > 0 && rng.below(100) < percent;
        match delivery {
            Delivery::Sip(bytes) if happens(self.sip_doubles) => Some(Delivery::Sip(bytes.clone())),
            Delivery::ToMixer(bytes) if happens(self.sip_doubles) => Some(Delivery::ToMixer(bytes.clone())),
            Delivery::Frame(link, text) if happens(self.qss_doubles) => Some(Delivery::Frame(*link, text.clone())),
            _ => None,
        }
    }
}

enum Kind {
    Sip,
    Link,
    /// The server answers requests and tells events in any order.
    Message,
    Inside,
}

fn kind(delivery: &Delivery) -> Kind {
    match delivery {
        Delivery::Sip(_) | Delivery::ToMixer(_) => Kind::Sip,
        Delivery::Frame(..) => Kind::Message,
        Delivery::Opened(_)
        | Delivery::Alive(..)
        | Delivery::Closed(..)
        | Delivery::ToQss(..)
        | Delivery::Connect(_)
        | Delivery::Ping(..) => Kind::Link,
        Delivery::Routed(..)
        | Delivery::Media(_)
        | Delivery::MixerMisses
        | Delivery::Token(..)
        | Delivery::VoiceTick => Kind::Inside,
    }
}

/// The connection to the QSS that it travels on.
pub(super) fn link(delivery: &Delivery) -> Option<u32> {
    match delivery {
        Delivery::Opened(link)
        | Delivery::Frame(link, _)
        | Delivery::Alive(link, _)
        | Delivery::Closed(link, _)
        | Delivery::ToQss(link, _)
        | Delivery::Connect(link)
        | Delivery::Ping(link, _) => Some(*link),
        Delivery::Sip(_)
        | Delivery::ToMixer(_)
        | Delivery::Routed(..)
        | Delivery::Media(_)
        | Delivery::MixerMisses
        | Delivery::Token(..)
        | Delivery::VoiceTick => None,
    }
}

fn late(most: u64, rng: &mut Rng) -> u64 {
    if most == 0 { 0 } else { rng.below(most) }
}
