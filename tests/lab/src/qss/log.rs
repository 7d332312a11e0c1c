//! What the server saw, in order, and the questions a test asks about it.

use serde_json::Value;

/// One thing that happened at the server.
#[derive(Clone, Debug)]
pub struct Entry {
    /// [`crate::clock::mono_us`] when it happened.
    pub at_us: u64,
    /// Number of the connection, counted from 1 over the whole life of the server; 0: none yet.
    pub connection: u64,
    /// User and device of the connection, once registered.
    pub user: Option<String>,
    pub device: Option<String>,
    pub what: What,
}

#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// The upgrade was accepted; the headers of its request, names in lower case.
    Opened {
        path: String,
        headers: Vec<(String, String)>,
    },
    /// The door was not open: HTTP status answered, or 0 if the connection was only dropped.
    TurnedAway {
        status: u16,
    },
    TlsFailed {
        reason: String,
    },
    /// A text frame that is JSON.
    Got(Value),
    /// A frame that is not.
    GotGarbage(String),
    /// A request seen before under the same id by the same user; it was answered from memory.
    GotAgain(Value),
    Pinged,
    Ponged,
    Sent(Value),
    SentRaw(String),
    /// The connection is over. `code` is the close code the client gave, if it said goodbye at all.
    Closed {
        code: Option<u16>,
    },
}

/// A view of the entries, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    pub entries: &'a [Entry],
}

impl<'a> Log<'a> {
    /// Only what came after the first `mark` entries (see [`Log::len`]).
    pub fn after(self, mark: usize) -> Log<'a> {
        Log { entries: self.entries.get(mark..).unwrap_or(&[]) }
    }

    pub fn len(self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(self) -> bool {
        self.entries.is_empty()
    }

    /// Everything one device sent or was sent.
    pub fn of_device(self, device: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.device.as_deref() == Some(device))
    }

    /// Frames received, with repetitions.
    pub fn got(self) -> impl Iterator<Item = (&'a Entry, &'a Value)> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Got(frame) | What::GotAgain(frame) => Some((entry, frame)),
            _ => None,
        })
    }

    /// Requests received by name, with repetitions.
    pub fn requests(self, name: &'a str) -> impl Iterator<Item = (&'a Entry, &'a Value)> {
        self.got().filter(move |(_, frame)| frame["request"] == name)
    }

    /// Answers received to requests of ours, by name.
    pub fn answers(self, name: &'a str) -> impl Iterator<Item = (&'a Entry, &'a Value)> {
        self.got().filter(move |(_, frame)| frame["answer"] == name)
    }

    /// Refusals and withdrawals received, by name.
    pub fn cancels(self, name: &'a str) -> impl Iterator<Item = (&'a Entry, &'a Value)> {
        self.got().filter(move |(_, frame)| frame["cancel"] == name)
    }

    /// Events received in the documented envelope: (entry, `eventName`, inner payload).
    pub fn events(self) -> impl Iterator<Item = (&'a Entry, &'a str, &'a Value)> {
        self.got().filter(|(_, frame)| frame["type"] == "event").filter_map(|(entry, frame)| {
            Some((entry, frame["payload"]["eventName"].as_str()?, &frame["payload"]["payload"]))
        })
    }

    /// Status events of one device: inner payloads that name a rung.
    pub fn statuses(self, device: &'a str) -> impl Iterator<Item = (&'a Entry, &'a Value)> {
        self.events().filter_map(move |(entry, _, payload)| {
            (payload["device"] == device && payload["rung"].is_string()).then_some((entry, payload))
        })
    }

    /// The rungs a device reported, in order, equal neighbours merged.
    pub fn rungs(self, device: &'a str) -> Vec<&'a str> {
        let mut rungs: Vec<&str> = self.statuses(device).filter_map(|(_, status)| status["rung"].as_str()).collect();
        rungs.dedup();
        rungs
    }

    pub fn opened(self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.what, What::Opened { .. })).count()
    }

    pub fn closed(self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.what, What::Closed { .. })).count()
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:10.3} #{} ", self.at_us as f64 / 1e6, self.connection)?;
        if let Some(device) = &self.device {
            write!(f, "{device} ")?;
        }
        match &self.what {
            What::Got(frame) => write!(f, "> {frame}"),
            What::GotAgain(frame) => write!(f, ">> {frame}"),
            What::Sent(frame) => write!(f, "< {frame}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl Entry {
    /// The entry as one JSON object, for `lab-qss`.
    pub fn to_json(&self) -> Value {
        let (what, detail) = match &self.what {
            What::Opened { path, .. } => ("opened", Value::from(path.as_str())),
            What::TurnedAway { status } => ("turned-away", Value::from(*status)),
            What::TlsFailed { reason } => ("tls-failed", Value::from(reason.as_str())),
            What::Got(frame) => ("got", frame.clone()),
            What::GotAgain(frame) => ("got-again", frame.clone()),
            What::GotGarbage(text) => ("got-garbage", Value::from(text.as_str())),
            What::Pinged => ("pinged", Value::Null),
            What::Ponged => ("ponged", Value::Null),
            What::Sent(frame) => ("sent", frame.clone()),
            What::SentRaw(text) => ("sent-raw", Value::from(text.as_str())),
            What::Closed { code } => ("closed", Value::from(*code)),
        };
        serde_json::json!({"mono_us": self.at_us, "connection": self.connection, "user": self.user,
            "device": self.device, "what": what, "detail": detail})
    }
}
