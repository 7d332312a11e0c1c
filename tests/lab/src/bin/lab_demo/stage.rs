//! What stands around the endpoints: cards, mixer and wire.

use super::{Options, TOKEN, USAGE};
use lab::asterisk::Asterisk;
use lab::cards::{Card, Cards};
use lab::mixer::{self, Mixer};
use lab::process::ConfigFile;
use lab::qss::QssServer;
use lab::wire::Relay;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything that is neither endpoint nor QSS.
pub struct Stage {
    pub cards: Cards,
    pub card_a: Card,
    pub card_b: Card,
    pub sip: SocketAddr,
    pub relay: Relay,
    pub ours: Option<Mixer>,
    _asterisk: Option<Asterisk>,
}

impl Stage {
    pub fn build(options: &Options) -> Result<Stage, Box<dyn Error>> {
        if !options.endpoint.exists() {
            return Err(format!("there is no {}: cargo build", options.endpoint.display()).into());
        }
        let cards = Cards::new("demo")?;
        let (mut ours, mut asterisk) = (None, None);
        let sip = match options.mixer.as_str() {
            "lab" => ours.insert(Mixer::start(mixer::Config::default())?).address(),
            "asterisk" => asterisk.insert(Asterisk::start("demo")?).sip,
            address => address.parse().map_err(|_| USAGE)?,
        };
        let relay = Relay::start(sip, 1)?;
        let (card_a, card_b) = (cards.card("a", "")?, cards.card("b", "")?);
        Ok(Stage { cards, card_a, card_b, sip, relay, ours, _asterisk: asterisk })
    }

    /// The configuration of an endpoint that has a session at this QSS.
    pub fn config(&self, qss: &QssServer, name: &str, card: &Card) -> ConfigFile {
        let mut file = ConfigFile::lab(name, card).session(&qss.url(), name, TOKEN).accept_all();
        file = file.host_map("audiomixer-sfu1:5080", self.relay.address());
        file.set("qss", "ca_file", &self.ca_file().to_string_lossy());
        file
    }

    pub fn ca_file(&self) -> PathBuf {
        self.cards.path().join("ca.pem")
    }
}
