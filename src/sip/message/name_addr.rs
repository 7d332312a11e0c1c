//! `name-addr` and `addr-spec` of From, To, Contact, Route and Record-Route (RFC 3261 20.10, 25.1).

use super::params::Params;
use std::fmt;

/// A URI with display name and header parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameAddr {
    /// As written, quotes included.
    pub display: Option<String>,
    /// Whatever stood between the brackets, of any scheme.
    pub uri: String,
    /// The parameters after the brackets: those of the header, not of the URI.
    pub params: Params,
}

impl NameAddr {
    /// # Errors
    /// Unbalanced quotes or brackets, an empty URI, broken parameters.
    pub fn parse(text: &str) -> Result<NameAddr, &'static str> {
        let text = text.trim();
        let Some(open) = find_unquoted(text, '<')? else { return NameAddr::parse_bare(text) };
        let display = text[..open].trim();
        let rest = &text[open + 1..];
        let close = rest.find('>').ok_or("unclosed < in an address")?;
        // RFC 4475 3.1.2.14: no white space within the brackets.
        let uri = &rest[..close];
        if uri.is_empty() || uri.contains(['<', '"', ' ', '\t']) {
            return Err("no URI between < and >");
        }
        let after = rest[close + 1..].trim();
        let params = match after.strip_prefix(';') {
            Some(params) => Params::parse(params)?,
            None if after.is_empty() => Params::default(),
            None => return Err("text after > in an address"),
        };
        Ok(NameAddr { display: (!display.is_empty()).then(|| display.to_string()), uri: uri.into(), params })
    }

    /// Without brackets the parameters belong to the header, and the URI may hold no `,` `;` `?` (RFC 3261 20).
    fn parse_bare(text: &str) -> Result<NameAddr, &'static str> {
        let (uri, params) = text.split_once(';').unwrap_or((text, ""));
        let uri = uri.trim();
        if uri.is_empty() || uri.contains(|c: char| c.is_whitespace() || "?,\">".contains(c)) {
            return Err("no URI in an address");
        }
        Ok(NameAddr { display: None, uri: uri.into(), params: Params::parse(params)? })
    }

    /// The tag of From and To (RFC 3261 19.3); empty counts as none.
    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }
}

/// `text` as a quoted display name (RFC 3261 25.1 `quoted-string`).
pub fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Undoes [`quote`]; text without quotes comes back as it is.
pub fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return text.into() };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

fn find_unquoted(text: &str, wanted: char) -> Result<Option<usize>, &'static str> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == wanted && !quoted => return Ok(Some(at)),
            _ => {}
        }
    }
    if quoted { Err("unbalanced quote in an address") } else { Ok(None) }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{display} ")?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}
