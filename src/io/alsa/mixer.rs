//! The controls of a card's mixer, by name: set when the card is opened, and read back.
//!
//! They are set before the first sample is played, so nobody hears a jump; drivers that clamp a value do so without a
//! word, so what they made of it is compared with what was asked. A control has the name that `amixer scontrols` shows;
//! where it has a side for each direction, ` Capture` or ` Playback` behind it says which, and capture is meant otherwise.
//!
//! The amplifier's switch is on from the start of the card until it is closed, and off otherwise.

use crate::config::control_value::ControlValue;
use alsa::Round;
use alsa::mixer::{MilliBel, Mixer, Selem, SelemChannelId, SelemId};

/// The switch of an amplifier; dropped, it is off.
pub(super) struct Amplifier {
    mixer: Mixer,
    control: String,
}

/// Further off than this, in 1/100 dB, a control has not taken its value: steps are 1.5 dB wide at the most, mostly.
const NEAR: i64 = 150;

/// Sets the controls in order. What is wrong with them, in words; empty if nothing is.
pub(super) fn set(mixer_name: &str, controls: &[(String, String)]) -> Vec<String> {
    if controls.is_empty() {
        return Vec::new();
    }
    let mixer = match Mixer::new(mixer_name, true) {
        Ok(mixer) => mixer,
        Err(error) => return vec![format!("mixer {mixer_name}: {error}")],
    };
    let set = |(control, value): &(String, String)| {
        let value = ControlValue::parse(value).map_err(str::to_owned);
        let done = value.and_then(|value| Control::find(&mixer, control)?.set(value));
        done.err().map(|why| format!("{control}: {why}"))
    };
    controls.iter().filter_map(set).collect()
}

impl Amplifier {
    /// Finds the switch, and leaves it off.
    ///
    /// # Errors
    /// No such mixer, or no such switch; in words.
    pub(super) fn find(mixer_name: &str, control: &str) -> Result<Amplifier, String> {
        let mixer = Mixer::new(mixer_name, true).map_err(|error| format!("mixer {mixer_name}: {error}"))?;
        Control::find(&mixer, control)?.set(ControlValue::Switch(false)).map_err(|why| format!("{control}: {why}"))?;
        Ok(Amplifier { mixer, control: control.to_owned() })
    }

    pub(super) fn switch(&self, on: bool) {
        // It was there a moment ago; if the card has gone meanwhile, its next call says so.
        let _ = Control::find(&self.mixer, &self.control).and_then(|control| control.set(ControlValue::Switch(on)));
    }
}

impl Drop for Amplifier {
    fn drop(&mut self) {
        self.switch(false);
    }
}

/// One side of a control.
struct Control<'m> {
    element: Selem<'m>,
    side: Side,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Capture,
    Playback,
    /// Whichever it has.
    Either,
}

impl<'m> Control<'m> {
    fn find(mixer: &'m Mixer, name: &str) -> Result<Control<'m>, String> {
        // A NUL would end the name early.
        if name.contains('\0') {
            return Err("a name holds no NUL".to_owned());
        }
        let sides = [(" Capture", Side::Capture), (" Playback", Side::Playback), ("", Side::Either)];
        let named = sides.into_iter().rev().find_map(|(suffix, side)| {
            let element = mixer.find_selem(&SelemId::new(name.strip_suffix(suffix)?, 0))?;
            Some(Control { element, side })
        });
        named.ok_or_else(|| {
            let names = mixer.iter().filter_map(Selem::new).map(|it| it.get_id().get_name().unwrap_or("?").to_owned());
            format!("there is no such control; there are {}", names.collect::<Vec<_>>().join(", "))
        })
    }

    fn set(&self, value: ControlValue<'_>) -> Result<(), String> {
        match value {
            ControlValue::Decibels(hundredths) => self.set_decibels(MilliBel(hundredths.into())),
            ControlValue::Switch(on) => self.set_switch(on),
            ControlValue::Item(name) => self.set_item(name),
        }
    }

    fn set_decibels(&self, wanted: MilliBel) -> Result<(), String> {
        let element = &self.element;
        let capture = element.has_capture_volume() && self.side != Side::Playback;
        let playback = element.has_playback_volume() && self.side != Side::Capture;
        if !(capture || playback) {
            return Err("it has no volume".to_owned());
        }
        let failed = |error: alsa::Error| format!("{error}");
        let ask = |round| {
            if capture { element.ask_capture_db_vol(wanted, round) } else { element.ask_playback_db_vol(wanted, round) }
        };
        let decibels =
            |step| if capture { element.ask_capture_vol_db(step) } else { element.ask_playback_vol_db(step) };
        // The step that is nearest.
        let steps = [ask(Round::Floor).map_err(failed)?, ask(Round::Ceil).map_err(failed)?];
        let off = |step: &i64| decibels(*step).map_or(i64::MAX, |is| (is.0 - wanted.0).abs());
        let step = if off(&steps[1]) < off(&steps[0]) { steps[1] } else { steps[0] };
        let is = if capture {
            element.set_capture_volume_all(step).map_err(failed)?;
            element.get_capture_vol_db(SelemChannelId::FrontLeft)
        } else {
            element.set_playback_volume_all(step).map_err(failed)?;
            element.get_playback_vol_db(SelemChannelId::FrontLeft)
        }
        .map_err(failed)?;
        if (is.0 - wanted.0).abs() <= NEAR {
            return Ok(());
        }
        let (least, most) = if capture { element.get_capture_db_range() } else { element.get_playback_db_range() };
        let (wanted, is) = (wanted.to_db(), is.to_db());
        Err(format!("asked for {wanted} dB, it has {is}; it can do {} to {} dB", least.to_db(), most.to_db()))
    }

    fn set_switch(&self, on: bool) -> Result<(), String> {
        let element = &self.element;
        let capture = element.has_capture_switch() && self.side != Side::Playback;
        let playback = element.has_playback_switch() && self.side != Side::Capture;
        if !(capture || playback) {
            return Err("it has no switch".to_owned());
        }
        let failed = |error: alsa::Error| format!("{error}");
        let is = if capture {
            element.set_capture_switch_all(on.into()).map_err(failed)?;
            element.get_capture_switch(SelemChannelId::FrontLeft)
        } else {
            element.set_playback_switch_all(on.into()).map_err(failed)?;
            element.get_playback_switch(SelemChannelId::FrontLeft)
        }
        .map_err(failed)?;
        if (is != 0) == on { Ok(()) } else { Err("the switch stays as it was".to_owned()) }
    }

    fn set_item(&self, wanted: &str) -> Result<(), String> {
        let failed = |error: alsa::Error| format!("{error}");
        if !self.element.is_enumerated() {
            return Err(format!("it has no items, so not {wanted} either"));
        }
        let count = self.element.get_enum_items().map_err(failed)?;
        let items: Vec<String> = (0..count).filter_map(|index| self.element.get_enum_item_name(index).ok()).collect();
        let Some(index) = items.iter().position(|item| item == wanted) else {
            return Err(format!("{wanted} is none of its items: {}", items.join(", ")));
        };
        self.element.set_enum_item(SelemChannelId::FrontLeft, index as u32).map_err(failed)?;
        match self.element.get_enum_item(SelemChannelId::FrontLeft).map_err(failed)? {
            is if is as usize == index => Ok(()),
            _ => Err(format!("it does not change to {wanted}")),
        }
    }
}
