//! What a control of a card's mixer is set to: decibels, a switch, or one of its items.

/// A value of `audio.controls`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ControlValue<'a> {
    /// `12 dB`, in 1/100 dB.
    Decibels(i32),
    /// `on`, `off`
    Switch(bool),
    /// Anything else: what the control is to choose, by its name.
    Item(&'a str),
}

impl<'a> ControlValue<'a> {
    /// # Errors
    /// What a value looks like.
    pub fn parse(text: &'a str) -> Result<ControlValue<'a>, &'static str> {
        const FORM: &str = "must be decibels, such as \"-6.5 dB\", or on, or off, or the name of an item";
        let lower = text.to_ascii_lowercase();
        let number = lower.strip_suffix("db").map(str::trim_end);
        match (lower.as_str(), number) {
            ("", _) => Err(FORM),
            ("on", _) => Ok(ControlValue::Switch(true)),
            ("off", _) => Ok(ControlValue::Switch(false)),
            (_, Some(number)) if number.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) => {
                match number.parse::<f32>() {
                    // No mixer has more.
                    Ok(number) if number.abs() <= 200.0 => Ok(ControlValue::Decibels((number * 100.0).round() as i32)),
                    _ => Err(FORM),
                }
            }
            (_, _) => Ok(ControlValue::Item(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decibels_switches_or_items() {
        for (text, hundredths) in [("12 dB", 1_200), ("-6.5dB", -650), ("+0.25 DB", 25), ("0db", 0)] {
            assert_eq!(ControlValue::parse(text), Ok(ControlValue::Decibels(hundredths)), "{text}");
        }
        assert_eq!(ControlValue::parse("On"), Ok(ControlValue::Switch(true)));
        assert_eq!(ControlValue::parse("off"), Ok(ControlValue::Switch(false)));
        for text in ["ADC", "IN1L", "Stereo dB", "12"] {
            assert_eq!(ControlValue::parse(text), Ok(ControlValue::Item(text)));
        }
        for text in ["", "300 dB", "1.2.3 dB", "-inf dB"] {
            assert!(ControlValue::parse(text).is_err(), "{text}");
        }
    }
}
