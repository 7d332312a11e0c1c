//! Who may call the device, and what becomes of it.

use crate::time::Span;

/// `[[caller]]`: what becomes of an invite. The first rule that fits decides.
#[derive(Clone, PartialEq, Debug)]
pub struct Caller {
    /// User ids, user names, `user@domain`; `*` is everyone.
    pub from: Vec<String>,
    /// Ids of the rooms invited to; empty: any.
    pub rooms: Vec<String>,
    pub does: CallerAction,
    /// An accepted invite is answered after this time.
    pub after: Span,
    /// How long it rings.
    pub ring: Span,
    /// Play the ring tone meanwhile.
    pub tone: bool,
    /// Refuse with 408 when the ring time is over, or say nothing.
    pub decline: bool,
    /// An invite takes the place of a call with a lower priority. Configured rooms and calls of the device have 0.
    pub priority: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallerAction {
    Accept,
    Ring,
    Reject,
    Busy,
}

/// Where who asks to be invited is invited to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestRoom {
    /// A room made for the two.
    New,
    /// The room the device is in; a new one if it is in none.
    Present,
}

impl Default for Caller {
    fn default() -> Caller {
        Caller {
            from: vec!["*".into()],
            rooms: Vec::new(),
            does: CallerAction::Accept,
            after: Span::ZERO,
            ring: Span::from_secs(45),
            tone: true,
            decline: true,
            priority: 0,
        }
    }
}
