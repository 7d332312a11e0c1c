//! One value of the file: from TOML into a field of [`Config`](super::Config), and back into text.
//!
//! Each Rust type that stands behind a key implements [`Field`] once; what a particular key allows beyond its type is
//! its [`Rule`]. Durations are whole milliseconds everywhere.

use super::error::{Fault, excerpt, nearest};
use super::{
    CallerAction, CancelCode, Dtmf, Duplex, FecMode, HuntMode, Incoming, Keepalive, OwnGone, QssTransport, Refer,
    RequestRoom, Secret, SrtpMode, TransferDone,
};
use crate::media::volume::Decibels;
use crate::sip::transport::Transport;
use crate::time::Span;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::DeValue;

/// A place in the configuration that a key fills.
pub(super) trait Field {
    /// Takes the value over if it is right; says what is wrong (perhaps several things) if not.
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, wrong: &mut Vec<Wrong>);
    /// The value in TOML syntax, secrets masked; `None` if nothing is set.
    fn show(&self) -> Option<String>;
    /// What the file must give, for messages and documentation.
    fn kind(&self) -> &'static str;
}

/// What a key allows beyond its type.
pub(super) enum Rule {
    Any,
    Range(u64, u64),
    /// Zero (with a meaning of its own) or a range.
    ZeroOr(u64, u64),
    OneOf(&'static [u64]),
    /// A range that may begin below zero.
    Signed(i64, i64),
    /// For texts, each text of a list, each value of a table: the shape in words, and the check that says what is wrong.
    Text(&'static str, fn(&str) -> Result<(), &'static str>),
    /// For tables of texts: the shape in words, the check of each key, the check of each value.
    Pairs(&'static str, fn(&str) -> Result<(), &'static str>, fn(&str) -> Result<(), &'static str>),
}

/// A problem with a value, and where in the text it is.
pub(super) struct Wrong {
    pub(super) at: Range<usize>,
    /// The key inside a table-valued key.
    pub(super) entry: Option<String>,
    pub(super) fault: Fault,
}

impl Rule {
    /// For documentation; empty when the type says it all.
    pub(super) fn in_words(&self) -> String {
        match self {
            Rule::Any => String::new(),
            Rule::Range(min, max) => format!("{min} to {max}"),
            Rule::ZeroOr(min, max) => format!("0, or {min} to {max}"),
            Rule::OneOf(values) => values.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
            Rule::Signed(min, max) => format!("{min} to {max}"),
            Rule::Text(words, _) | Rule::Pairs(words, ..) => (*words).to_owned(),
        }
    }

    fn allows_number(&self, n: i128) -> bool {
        let within = |min: u64, max: u64| (i128::from(min)..=i128::from(max)).contains(&n);
        match self {
            Rule::Range(min, max) => within(*min, *max),
            Rule::ZeroOr(min, max) => n == 0 || within(*min, *max),
            Rule::OneOf(values) => values.iter().any(|&v| i128::from(v) == n),
            Rule::Signed(min, max) => (i128::from(*min)..=i128::from(*max)).contains(&n),
            Rule::Any | Rule::Text(..) | Rule::Pairs(..) => n >= 0,
        }
    }

    fn allows_text(&self, text: &str) -> Result<(), &'static str> {
        if text.chars().count() > MAX_TEXT {
            return Err("longer than 1024 characters");
        }
        // Texts end up in SIP, HTTP and JSON headers and in logs: a line break in one would be an injection.
        if text.chars().any(char::is_control) {
            return Err("has a control character in it");
        }
        match self {
            Rule::Text(_, check) | Rule::Pairs(_, _, check) => check(text),
            Rule::Any | Rule::Range(..) | Rule::ZeroOr(..) | Rule::OneOf(_) | Rule::Signed(..) => Ok(()),
        }
    }
}

const MAX_TEXT: usize = 1024;

/// A string in TOML syntax. JSON's escapes are a subset of TOML's.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a TOML value is, in words.
pub(super) fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn wrong(value: &Spanned<DeValue<'_>>, fault: Fault) -> Wrong {
    Wrong { at: value.span(), entry: None, fault }
}

fn wrong_type(value: &Spanned<DeValue<'_>>, expected: &'static str) -> Wrong {
    wrong(value, Fault::WrongType { expected, found: found(value.get_ref()) })
}

fn integer<T: TryFrom<i128>>(value: &Spanned<DeValue<'_>>, rule: &Rule, kind: &'static str) -> Result<T, Wrong> {
    let Some(written) = value.get_ref().as_integer() else { return Err(wrong_type(value, kind)) };
    let out_of_range = || {
        let (value_text, allowed) = (written.to_string().chars().take(40).collect(), rule.in_words());
        wrong(value, Fault::OutOfRange { value: value_text, allowed })
    };
    // Digits beyond 128 bits do not parse, and are out of every range.
    let number = i128::from_str_radix(written.as_str(), written.radix()).map_err(|_| out_of_range())?;
    if !rule.allows_number(number) {
        return Err(out_of_range());
    }
    T::try_from(number).map_err(|_| out_of_range())
}

fn text(value: &Spanned<DeValue<'_>>, rule: &Rule, kind: &'static str) -> Result<String, Wrong> {
    let Some(text) = value.get_ref().as_str() else { return Err(wrong_type(value, kind)) };
    rule.allows_text(text).map_err(|why| wrong(value, Fault::not_allowed(text, why)))?;
    Ok(text.to_owned())
}

/// Puts a good value in its place, or the problem on the list.
fn keep<T>(place: &mut T, result: Result<T, Wrong>, list: &mut Vec<Wrong>) {
    match result {
        Ok(value) => *place = value,
        Err(problem) => list.push(problem),
    }
}

macro_rules! integer_field {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
                keep(self, integer(value, rule, self.kind()), list);
            }
            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
            fn kind(&self) -> &'static str {
                "an integer"
            }
        }
    )*};
}
integer_field!(u8 u16 u32 usize);

impl Field for Span {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
        keep(self, integer(value, rule, self.kind()).map(Span::from_millis), list);
    }
    fn show(&self) -> Option<String> {
        Some(self.as_millis().to_string())
    }
    fn kind(&self) -> &'static str {
        "an integer, milliseconds"
    }
}

/// Without one the meaning depends on the rest.
impl Field for Option<Span> {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
        keep(self, integer(value, rule, self.kind()).map(|ms| Some(Span::from_millis(ms))), list);
    }
    fn show(&self) -> Option<String> {
        self.map(|span| span.as_millis().to_string())
    }
    fn kind(&self) -> &'static str {
        "an integer, milliseconds"
    }
}

impl Field for Decibels {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
        keep(self, integer(value, rule, self.kind()).map(Decibels), list);
    }
    fn show(&self) -> Option<String> {
        Some(self.0.to_string())
    }
    fn kind(&self) -> &'static str {
        "an integer, decibels"
    }
}

impl Field for bool {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, _: &Rule, list: &mut Vec<Wrong>) {
        keep(self, value.get_ref().as_bool().ok_or_else(|| wrong_type(value, self.kind())), list);
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
    fn kind(&self) -> &'static str {
        "true or false"
    }
}

impl Field for String {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
        keep(self, text(value, rule, self.kind()), list);
    }
    fn show(&self) -> Option<String> {
        Some(quoted(self))
    }
    fn kind(&self) -> &'static str {
        "a string"
    }
}

/// The empty string takes back what a board has set.
impl Field for Option<String> {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
        let rule = if value.get_ref().as_str() == Some("") { &Rule::Any } else { rule };
        keep(self, text(value, rule, self.kind()).map(|text| (!text.is_empty()).then_some(text)), list);
    }
    fn show(&self) -> Option<String> {
        self.as_deref().map(quoted)
    }
    fn kind(&self) -> &'static str {
        "a string"
    }
}

impl Field for Option<PathBuf> {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
        let path = text(value, rule, self.kind()).map(|text| (!text.is_empty()).then(|| PathBuf::from(text)));
        keep(self, path, list);
    }
    fn show(&self) -> Option<String> {
        self.as_ref().map(|path| quoted(&path.to_string_lossy()))
    }
    fn kind(&self) -> &'static str {
        "a path"
    }
}

impl Field for Secret {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
        let secret = text(value, rule, self.kind()).map(Secret).map_err(|mut wrong| {
            if let Fault::NotAllowed { value, .. } = &mut wrong.fault {
                *value = "the value".into();
            }
            wrong
        });
        keep(self, secret, list);
    }
    fn show(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| quoted(&format!("{self:?}")))
    }
    fn kind(&self) -> &'static str {
        "a string"
    }
}

/// A key whose values are a few words.
macro_rules! word_field {
    ($type:ident, $kind:literal, $($variant:ident = $word:literal),+) => {
        impl Field for $type {
            fn set(&mut self, value: &Spanned<DeValue<'_>>, _: &Rule, list: &mut Vec<Wrong>) {
                let Some(word) = value.get_ref().as_str() else { return list.push(wrong_type(value, self.kind())) };
                match word {
                    $($word => *self = $type::$variant,)+
                    other => {
                        let words = [$($word),+];
                        let (value_text, nearest) = (excerpt(other), nearest(other, words));
                        let allowed = words.map(str::to_owned).to_vec();
                        list.push(wrong(value, Fault::UnknownWord { value: value_text, nearest, allowed }));
                    }
                }
            }
            fn show(&self) -> Option<String> {
                Some(quoted(match self {
                    $($type::$variant => $word,)+
                }))
            }
            fn kind(&self) -> &'static str {
                $kind
            }
        }
    };
}
word_field!(FecMode, "\"off\", \"on\" or \"auto\"", Off = "off", On = "on", Auto = "auto");
word_field!(Duplex, "\"full\" or \"half\"", Full = "full", Half = "half");
word_field!(Refer, "\"refuse\" or \"follow\"", Refuse = "refuse", Follow = "follow");
word_field!(Dtmf, "\"auto\", \"rtp\" or \"info\"", Auto = "auto", Rtp = "rtp", Info = "info");
word_field!(Keepalive, "\"crlf\" or \"options\"", Crlf = "crlf", Options = "options");
word_field!(
    Transport,
    "\"udp\", \"tcp\", \"tls\", \"ws\" or \"wss\"",
    Udp = "udp",
    Tcp = "tcp",
    Tls = "tls",
    Ws = "ws",
    Wss = "wss"
);
word_field!(Incoming, "\"refuse\" or \"accept\"", Refuse = "refuse", Accept = "accept");
word_field!(
    CallerAction,
    "\"accept\", \"ring\", \"reject\" or \"busy\"",
    Accept = "accept",
    Ring = "ring",
    Reject = "reject",
    Busy = "busy"
);
word_field!(RequestRoom, "\"new\" or \"present\"", New = "new", Present = "present");
word_field!(TransferDone, "\"answer\" or \"accepted\"", Answer = "answer", Accepted = "accepted");
word_field!(OwnGone, "\"expelled\" or \"ask\"", Expelled = "expelled", Ask = "ask");
word_field!(QssTransport, "\"websocket\"", WebSocket = "websocket");
word_field!(CancelCode, "\"both\", \"top\" or \"payload\"", Both = "both", Top = "top", Payload = "payload");
word_field!(HuntMode, "\"in_turn\" or \"at_once\"", InTurn = "in_turn", AtOnce = "at_once");
word_field!(SrtpMode, "\"off\", \"offer\" or \"require\"", Off = "off", Offer = "offer", Require = "require");

macro_rules! address_field {
    ($type:ty, $kind:literal, $example:literal) => {
        impl Field for $type {
            fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
                let address = text(value, rule, self.kind()).and_then(|text| {
                    text.parse().map_err(|_| wrong(value, Fault::not_allowed(&text, concat!("must be ", $example))))
                });
                keep(self, address, list);
            }
            fn show(&self) -> Option<String> {
                Some(quoted(&self.to_string()))
            }
            fn kind(&self) -> &'static str {
                $kind
            }
        }
    };
}
address_field!(IpAddr, "an address", "an IP address, such as \"0.0.0.0\" or \"192.0.2.7\"");
address_field!(SocketAddr, "address:port", "an IP address and a port, such as \"0.0.0.0:0\" or \"192.0.2.7:5060\"");

impl Field for Vec<String> {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
        let Some(items) = value.get_ref().as_array() else { return list.push(wrong_type(value, self.kind())) };
        let mut texts: Vec<String> = Vec::new();
        for item in items.iter() {
            match text(item, rule, "a string in each place of the list") {
                Ok(text) if texts.contains(&text) => list.push(wrong(item, Fault::Duplicate(excerpt(&text)))),
                Ok(text) => texts.push(text),
                Err(problem) => list.push(problem),
            }
        }
        *self = texts;
    }
    fn show(&self) -> Option<String> {
        Some(format!("[{}]", self.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")))
    }
    fn kind(&self) -> &'static str {
        "a list of strings"
    }
}

impl Field for Vec<u16> {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
        let Some(items) = value.get_ref().as_array() else { return list.push(wrong_type(value, self.kind())) };
        let mut numbers: Vec<u16> = Vec::new();
        for item in items.iter() {
            match integer(item, rule, "an integer in each place of the list") {
                Ok(number) if numbers.contains(&number) => {
                    list.push(wrong(item, Fault::Duplicate(number.to_string())));
                }
                Ok(number) => numbers.push(number),
                Err(problem) => list.push(problem),
            }
        }
        *self = numbers;
    }
    fn show(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
    fn kind(&self) -> &'static str {
        "a list of integers"
    }
}

impl Field for Vec<(String, String)> {
    fn set(&mut self, value: &Spanned<DeValue<'_>>, rule: &Rule, list: &mut Vec<Wrong>) {
        let Some(table) = value.get_ref().as_table() else { return list.push(wrong_type(value, self.kind())) };
        let mut pairs = Vec::new();
        for (name, item) in table {
            let entry = Some(name.get_ref().to_string());
            if let Rule::Pairs(_, check, _) = rule
                && let Err(why) = check(name.get_ref())
            {
                let fault = Fault::not_allowed(name.get_ref(), why);
                list.push(Wrong { at: name.span(), entry: entry.clone(), fault });
            }
            match text(item, rule, "a string for each name") {
                Ok(text) => pairs.push((name.get_ref().to_string(), text)),
                Err(problem) => list.push(Wrong { entry, ..problem }),
            }
        }
        *self = pairs;
    }
    fn show(&self) -> Option<String> {
        let pairs: Vec<_> = self.iter().map(|(name, text)| format!("{} = {}", quoted(name), quoted(text))).collect();
        Some(if pairs.is_empty() { "{}".into() } else { format!("{{ {} }}", pairs.join(", ")) })
    }
    fn kind(&self) -> &'static str {
        "a table of strings"
    }
}
