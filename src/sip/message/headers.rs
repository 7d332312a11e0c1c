//! Header names and values as text, in the order of the wire.

use std::fmt;

/// The headers of one message. Values hold no line ends, whoever made them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Headers(Vec<(Name, String)>);

impl Headers {
    /// Appends a header. Control characters of `value` become spaces: a value never ends its own line.
    pub fn push(&mut self, name: Name, value: impl Into<String>) {
        let mut value = value.into();
        if value.contains(|c: char| c.is_control() && c != '\t') {
            value = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        }
        self.0.push((name, value));
    }

    /// Puts a header before all others: where Via goes.
    pub fn push_front(&mut self, name: Name, value: impl Into<String>) {
        self.push(name, value);
        self.0.rotate_right(1);
    }

    /// The value of the first header of that name.
    pub fn first(&self, name: &Name) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all headers of that name, in order.
    pub fn all<'a>(&'a self, name: &Name) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = name.clone();
        self.0.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    /// The elements of a comma-separated header which may also be repeated (RFC 3261 7.3.1).
    pub fn elements<'a>(&'a self, name: &Name) -> impl Iterator<Item = &'a str> + use<'a> {
        self.all(name).flat_map(|value| split(value, ',')).filter(|element| !element.is_empty())
    }

    /// The value of a header that must stand exactly once (RFC 3261 7.3.1, 8.1.1).
    ///
    /// # Errors
    /// `missing` when it is absent, a note on repetition when a different second one follows.
    pub fn only(&self, name: &Name, missing: &'static str) -> Result<&str, &'static str> {
        let mut all = self.all(name);
        let first = all.next().ok_or(missing)?;
        if all.any(|other| other != first) {
            return Err("a header that must stand once is repeated");
        }
        Ok(first)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Name, &str)> {
        self.0.iter().map(|(name, value)| (name, value.as_str()))
    }

    /// Gives the headers of that name another value.
    pub fn replace(&mut self, name: &Name, value: &str) {
        for (_, old) in self.0.iter_mut().filter(|(other, _)| other == name) {
            *old = value.into();
        }
    }

    pub fn remove(&mut self, name: &Name) {
        self.0.retain(|(other, _)| other != name);
    }
}

impl FromIterator<(Name, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (Name, String)>>(pairs: I) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in pairs {
            headers.push(name, value);
        }
        headers
    }
}

/// Cuts `value` at each `separator` outside quotes and angle brackets; the parts are trimmed.
pub fn split(value: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped, mut angle) = (0, false, false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !angle => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            c if c == separator && !quoted && !angle => {
                parts.push(value[start..at].trim());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(value[start..].trim());
    parts
}

macro_rules! names {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// A header name. Comparison ignores case, as RFC 3261 7.3.1 wants.
        #[derive(Clone, Debug)]
        pub enum Name {
            $($name,)*
            /// A header this agent neither reads nor writes.
            Other(String),
        }

        impl Name {
            /// The name that `text`, in any case, spells.
            pub fn of(text: &str) -> Name {
                $(if text.eq_ignore_ascii_case($text) { return Name::$name; })*
                Name::Other(text.into())
            }

            pub fn as_str(&self) -> &str {
                match self {
                    $(Name::$name => $text,)*
                    Name::Other(text) => text,
                }
            }
        }
    };
}

names! {
    Accept = "Accept", AcceptEncoding = "Accept-Encoding", Allow = "Allow", Authorization = "Authorization",
    CallId = "Call-ID", Contact = "Contact", ContentDisposition = "Content-Disposition",
    ContentEncoding = "Content-Encoding", ContentLength = "Content-Length", ContentType = "Content-Type",
    CSeq = "CSeq", Event = "Event", Expires = "Expires", From = "From", InfoPackage = "Info-Package", MaxForwards = "Max-Forwards", MinSe = "Min-SE",
    ProxyAuthenticate = "Proxy-Authenticate", ProxyAuthorization = "Proxy-Authorization",
    ProxyRequire = "Proxy-Require", RAck = "RAck", Reason = "Reason", ReferTo = "Refer-To", ReferredBy = "Referred-By", Replaces = "Replaces", RecordRoute = "Record-Route",
    RecvInfo = "Recv-Info",
    Require = "Require", RetryAfter = "Retry-After", Route = "Route", RSeq = "RSeq", Server = "Server",
    SessionExpires = "Session-Expires", SubscriptionState = "Subscription-State", Supported = "Supported", Timestamp = "Timestamp", To = "To",
    Unsupported = "Unsupported", UserAgent = "User-Agent", Via = "Via", Warning = "Warning",
    WwwAuthenticate = "WWW-Authenticate",
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl Eq for Name {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
