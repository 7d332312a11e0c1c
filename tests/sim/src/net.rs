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

impl Net {
    /// How much longer it takes, in milliseconds; `None`: it does not arrive.
    pub fn carry(&self, delivery: &Delivery, rng: &mut Rng) -> Option<u64> {
        match kind(delivery) {
            Kind::Sip if self.sip_loss > 0 && rng.below(100) < self.sip_loss => None,
            Kind::Sip => Some(late(self.sip_jitter, rng)),
            Kind::Link | Kind::Message if self.black_hole => None,
            Kind::Message => Some(late(self.qss_jitter, rng)),
            Kind::Link | Kind::Inside => Some(0),
        }
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
        | Delivery::Alive(_)
        | Delivery::Closed(..)
        | Delivery::ToQss(..)
        | Delivery::Connect(_)
        | Delivery::Ping(_) => Kind::Link,
        Delivery::Routed(..) | Delivery::Media(_) | Delivery::MixerMisses | Delivery::VoiceTick => Kind::Inside,
    }
}

fn late(most: u64, rng: &mut Rng) -> u64 {
    if most == 0 { 0 } else { rng.below(most) }
}
