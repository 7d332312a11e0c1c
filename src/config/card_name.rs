//! Names of sound cards that are the same after the next boot, and what they mean at present.
//!
//! `audio.capture` and `audio.playback` are names of ALSA PCMs, `plug-in:arguments`. Which card is meant may be said in
//! three ways; the last two are ours, and are replaced by the card's present id before libasound sees the name:
//!
//! ```text
//!   hw:CARD=UC03,DEV=0                              the id, [] in /proc/asound/cards: made of the product's name
//!   plughw:USB=0d8c:0014                            vendor and product of a USB device
//!   plughw:USB=0d8c:0014:A1B2C3                     and its serial number, where two of a kind are plugged in
//!   plughw:BUS=platform-3f980000.usb-usb-0:1.2:1.0  where it sits: a name of /dev/snd/by-path
//! ```
//!
//! An id is not enough for two of a kind: which of them becomes `Device` and which `Device_1` is decided anew at each
//! boot, and by who is plugged in first.

use std::borrow::Cow;

/// A card that is present.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardIdentity {
    /// Its number today.
    pub index: u32,
    pub id: String,
    /// For people: the product, or the driver's name for it.
    pub title: String,
    pub usb: Option<UsbIdentity>,
    /// As udev's `ID_PATH`.
    pub bus: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsbIdentity {
    pub vendor: u16,
    pub product: u16,
    pub serial: Option<String>,
}

/// The PCM of a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcmName<'a> {
    text: &'a str,
    /// What stands in `text` for the card.
    argument: &'a str,
    pub card: CardKey<'a>,
}

/// Which card is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardKey<'a> {
    /// Its number of today: refused by the configuration.
    Index(u32),
    Id(&'a str),
    Usb {
        vendor: u16,
        product: u16,
        serial: Option<&'a str>,
    },
    Bus(&'a str),
}

/// Why a name has no card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotPresent;

impl<'a> PcmName<'a> {
    /// `Ok(None)`: a PCM that is not the card's own, such as `default`; only libasound knows what is behind it.
    ///
    /// # Errors
    /// What a `USB=` or `BUS=` must look like.
    pub fn parse(text: &'a str) -> Result<Option<PcmName<'a>>, &'static str> {
        // `plug:'hw:1,0'` and `plug:SLAVE="hw:1"`: the name inside is the card's.
        let inner = text.find(['\'', '"']).map_or(text, |quote| &text[quote + 1..]);
        let Some((_, arguments)) = inner.split_once(':') else { return Ok(None) };
        let arguments = arguments.trim_end_matches(['\'', '"', ' ']);
        let Some(argument) = arguments.split(',').find(names_card) else { return Ok(None) };
        let card = match argument.split_once('=') {
            Some(("USB", value)) => usb(value)?,
            Some(("BUS", "")) => return Err("after BUS= a name of /dev/snd/by-path must follow"),
            Some(("BUS", value)) => CardKey::Bus(value),
            Some((_, value)) => index_or_id(value),
            // `plug:hw:1`
            None => index_or_id(argument.rsplit(':').next().unwrap_or_default()),
        };
        Ok(Some(PcmName { text, argument, card }))
    }

    /// The same PCM in words that libasound knows, for the cards that are present.
    ///
    /// # Errors
    /// None of them is meant. Not said of ids: libasound's own configuration may know more names than the kernel.
    pub fn resolve(&self, cards: &[CardIdentity]) -> Result<Cow<'a, str>, NotPresent> {
        match self.card {
            CardKey::Index(_) | CardKey::Id(_) => Ok(Cow::Borrowed(self.text)),
            CardKey::Usb { .. } | CardKey::Bus(_) => {
                let card = self.find(cards).ok_or(NotPresent)?;
                Ok(Cow::Owned(self.text.replacen(self.argument, &format!("CARD={}", card.id), 1)))
            }
        }
    }

    /// The card that is meant. Of several that are, the first by the place where it is plugged in: the same each time.
    pub fn find<'c>(&self, cards: &'c [CardIdentity]) -> Option<&'c CardIdentity> {
        cards.iter().filter(|card| card.is(self.card)).min_by_key(|card| (&card.bus, card.index))
    }
}

impl CardIdentity {
    fn is(&self, key: CardKey<'_>) -> bool {
        match key {
            CardKey::Index(index) => self.index == index,
            CardKey::Id(id) => self.id == id,
            CardKey::Usb { vendor, product, serial } => self.usb.as_ref().is_some_and(|usb| {
                (usb.vendor, usb.product) == (vendor, product) && (serial.is_none() || serial == usb.serial.as_deref())
            }),
            CardKey::Bus(bus) => self.bus.as_deref() == Some(bus),
        }
    }

    /// Every argument that means this card today, the one that will longest first.
    pub fn names(&self, cards: &[CardIdentity]) -> Vec<String> {
        let mut names = Vec::new();
        if let Some(usb) = &self.usb {
            let kind = format!("USB={:04x}:{:04x}", usb.vendor, usb.product);
            let usable = |serial: &&String| !serial.is_empty() && !serial.contains([',', '\'', '"']);
            names.extend(usb.serial.as_ref().filter(usable).map(|serial| format!("{kind}:{serial}")));
            names.push(kind);
        }
        names.extend(self.bus.as_ref().filter(|bus| !bus.contains(',')).map(|bus| format!("BUS={bus}")));
        let id = format!("CARD={}", self.id);
        // A card that cannot be unplugged has one id for ever.
        if self.usb.is_some() {
            names.push(id)
        } else {
            names.insert(0, id)
        }
        let means_one = |name: &String| {
            let pcm = format!("hw:{name}");
            let key = PcmName::parse(&pcm).ok().flatten().map(|pcm| pcm.card);
            key.is_some_and(|key| cards.iter().filter(|card| card.is(key)).count() <= 1)
        };
        names.retain(means_one);
        names
    }
}

/// What udev calls the place of a device (`ID_PATH`, the names of `/dev/snd/by-path`), from its path below
/// `/sys/devices`: the nearest device of each bus on the way, numbers that depend on the order of discovery left out.
pub fn bus_path(device: &str) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut below = None;
    for name in device.split('/').rev() {
        let Some(bus) = Bus::of(name) else { continue };
        if below.replace(bus) == Some(bus) {
            continue;
        }
        parts.push(match bus {
            // `1-1.2:1.0`: the bus' number, the ports on the way, the interface.
            Bus::Usb => format!("usb-0:{}", name.split_once('-').map_or(name, |(_, ports)| ports)),
            Bus::Pci => format!("pci-{name}"),
            Bus::Platform => format!("platform-{name}"),
        });
    }
    parts.reverse();
    (!parts.is_empty()).then(|| parts.join("-"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bus {
    Usb,
    Pci,
    Platform,
}

impl Bus {
    /// `None`: the directory of a bus, or its controller's number, which is no place.
    fn of(name: &str) -> Option<Bus> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_pci = |(address, function): (&str, &str)| digits(function) && address.split(':').all(hex);
        // The ports of USB count from 1; `1-001a` is a device on I2C.
        let is_usb =
            |(bus, ports): (&str, &str)| digits(bus) && !ports.starts_with('0') && ports.split(['.', ':']).all(digits);
        if ["", "platform", "virtual"].contains(&name)
            || name.strip_prefix("usb").is_some_and(digits)
            || name.strip_prefix("pci").is_some_and(|rest| rest.split(':').all(hex))
        {
            None
        } else if name.split_once('-').is_some_and(is_usb) {
            Some(Bus::Usb)
        } else if name.matches(':').count() == 2 && name.rsplit_once('.').is_some_and(is_pci) {
            Some(Bus::Pci)
        } else {
            Some(Bus::Platform)
        }
    }
}

fn names_card(argument: &&str) -> bool {
    match argument.split_once('=') {
        Some((key, _)) => ["CARD", "USB", "BUS"].contains(&key),
        None => !argument.is_empty(),
    }
}

fn index_or_id(value: &str) -> CardKey<'_> {
    value.parse().map_or(CardKey::Id(value), CardKey::Index)
}

fn usb(value: &str) -> Result<CardKey<'_>, &'static str> {
    const FORM: &str = "after USB= vendor:product must follow, four hexadecimal digits each, and perhaps :serial";
    let number = |text: &str| match text.len() {
        4 if text.bytes().all(|byte| byte.is_ascii_hexdigit()) => u16::from_str_radix(text, 16).map_err(|_| FORM),
        _ => Err(FORM),
    };
    let mut parts = value.splitn(3, ':');
    let mut next = || number(parts.next().unwrap_or_default());
    let (vendor, product) = (next()?, next()?);
    match parts.next() {
        Some("") => Err(FORM),
        serial => Ok(CardKey::Usb { vendor, product, serial }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(index: u32, id: &str, bus: &str, usb: Option<(u16, u16, &str)>) -> CardIdentity {
        let serial = |serial: &str| (!serial.is_empty()).then(|| serial.to_owned());
        let usb = usb.map(|(vendor, product, s)| UsbIdentity { vendor, product, serial: serial(s) });
        CardIdentity { index, id: id.into(), title: String::new(), usb, bus: Some(bus.into()) }
    }

    /// A codec, two of a kind, and a headset with a serial number.
    fn desk() -> Vec<CardIdentity> {
        vec![
            card(0, "Device_1", "platform-xhci-usb-0:2:1.0", Some((0x0d8c, 0x0014, ""))),
            card(1, "rockchipes8388", "platform-es8388-sound", None),
            card(2, "Device", "platform-xhci-usb-0:1:1.0", Some((0x0d8c, 0x0014, ""))),
            card(3, "H340", "platform-xhci-usb-0:3:1.0", Some((0x046d, 0x0a38, "A1B2"))),
        ]
    }

    fn resolved(name: &str) -> Result<String, NotPresent> {
        let name = PcmName::parse(name).expect("well formed").expect("a card's");
        name.resolve(&desk()).map(Cow::into_owned)
    }

    #[test]
    fn the_card_is_found_whatever_its_number_and_the_rest_of_the_name_stays() {
        assert_eq!(resolved("plughw:USB=046d:0a38,DEV=0").as_deref(), Ok("plughw:CARD=H340,DEV=0"));
        assert_eq!(resolved("hw:USB=046D:0A38:A1B2").as_deref(), Ok("hw:CARD=H340"));
        assert_eq!(resolved("hw:DEV=1,BUS=platform-xhci-usb-0:2:1.0").as_deref(), Ok("hw:DEV=1,CARD=Device_1"));
        assert_eq!(resolved("plug:'hw:USB=046d:0a38,DEV=0'").as_deref(), Ok("plug:'hw:CARD=H340,DEV=0'"));
        assert_eq!(resolved("hw:USB=046d:0a38:other"), Err(NotPresent));
        assert_eq!(resolved("hw:USB=1234:0a38"), Err(NotPresent));
        assert_eq!(resolved("hw:USB=0d8c:0014").as_deref(), Ok("hw:CARD=Device"), "of two, the first by place");
        assert_eq!(resolved("hw:CARD=nobody,DEV=0").as_deref(), Ok("hw:CARD=nobody,DEV=0"), "libasound may know more");
    }

    #[test]
    fn what_names_a_card_and_what_does_not() {
        let key = |text| PcmName::parse(text).map(|name| name.map(|name| name.card));
        for name in ["hw:1", "plughw:1,0", "hw:CARD=1,DEV=0", "plug:'hw:1'", "plug:SLAVE=\"hw:1,0\"", "plug:hw:1"] {
            assert_eq!(key(name), Ok(Some(CardKey::Index(1))), "{name}");
        }
        for name in ["hw:UC03", "plughw:CARD=UC03,DEV=0", "sysdefault:UC03", "hw:DEV=0,CARD=UC03"] {
            assert_eq!(key(name), Ok(Some(CardKey::Id("UC03"))), "{name}");
        }
        for name in ["default", "hw", "", "hw:", "hw:DEV=0", "'"] {
            assert_eq!(key(name), Ok(None), "{name}");
        }
        for name in ["hw:USB=", "hw:USB=0d8c", "hw:USB=0d8c:14", "hw:USB=0d8c:0014:", "hw:USB=+123:0014", "hw:BUS="] {
            assert!(key(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_names_offered_for_a_card_mean_it_alone() {
        let desk = desk();
        assert_eq!(desk[1].names(&desk), ["CARD=rockchipes8388", "BUS=platform-es8388-sound"]);
        assert_eq!(desk[2].names(&desk), ["BUS=platform-xhci-usb-0:1:1.0", "CARD=Device"]);
        assert_eq!(desk[3].names(&desk)[..2], ["USB=046d:0a38:A1B2", "USB=046d:0a38"]);
        for card in &desk {
            for name in card.names(&desk) {
                let name = format!("hw:{name}");
                assert_eq!(PcmName::parse(&name).unwrap().unwrap().find(&desk), Some(card), "{name}");
            }
        }
    }

    #[test]
    fn places_are_those_of_udev() {
        for (device, path) in [
            ("platform/soc/3f980000.usb/usb1/1-1/1-1.2/1-1.2:1.0", "platform-3f980000.usb-usb-0:1.2:1.0"),
            (
                "platform/scb/fd500000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/usb2/2-1/2-1.4/2-1.4:1.0",
                "platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.4:1.0",
            ),
            ("pci0000:00/0000:00:1f.3", "pci-0000:00:1f.3"),
            ("pci0000:00/0000:00:14.0/usb1/1-7/1-7:1.0", "pci-0000:00:14.0-usb-0:7:1.0"),
            ("pci0000:00/0000:00:1f.3/skl_hda_dsp_generic", "pci-0000:00:1f.3-platform-skl_hda_dsp_generic"),
            ("platform/soc/soc:sound", "platform-soc:sound"),
        ] {
            assert_eq!(bus_path(device).as_deref(), Some(path));
        }
        assert_eq!(bus_path("virtual"), None);
    }
}
