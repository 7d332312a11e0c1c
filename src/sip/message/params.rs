//! `;name=value` lists of URIs and header values (RFC 3261 25.1 `generic-param`, `uri-parameter`).

use super::headers::split;
use std::fmt;

/// Parameters in order. Values keep their quotes, so that writing gives back what was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Reads what follows the first `;` of a value; an empty text is an empty list.
    ///
    /// # Errors
    /// An unbalanced quote, or a separator with nothing before the next one.
    pub fn parse(text: &str) -> Result<Params, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Params::default());
        }
        split(text, ';').into_iter().map(Params::parse_one).collect::<Result<_, _>>().map(Params)
    }

    fn parse_one(text: &str) -> Result<(String, Option<String>), &'static str> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
            None => (text, None),
        };
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || "\"<>,".contains(c)) {
            return Err("parameter without a name");
        }
        if let Some(value) = value {
            let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
            if !quoted && value.contains(|c: char| c.is_whitespace() || "\"<>,".contains(c)) {
                return Err("parameter value is no token");
            }
        }
        Ok((name.into(), value.map(String::from)))
    }

    /// `None`: no such parameter; `Some("")`: it stands without a value. Names ignore case (RFC 3261 7.3.1).
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_deref().unwrap_or(""))
    }

    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Sets or adds a parameter.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = Some(value.into());
        match self.0.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name.into(), value)),
        }
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| match value {
            Some(value) => write!(f, ";{name}={value}"),
            None => write!(f, ";{name}"),
        })
    }
}
