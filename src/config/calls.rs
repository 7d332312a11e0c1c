//! Calls out: who is called, how long each rings, and what the device does around it.

use crate::time::Span;

/// `[calls]`: what calls out have in common.
#[derive(Clone, PartialEq, Debug)]
pub struct Calls {
    /// Calls at a time, of any kind; all but one are on hold.
    pub limit: usize,
    /// How a call to users named on the spot rings; a `[[call]]` has its own.
    pub plain: Call,
    /// How long the busy tone of a call that nobody answered is heard.
    pub busy_tone: Span,
    /// Longest call; zero: no end.
    pub longest: Span,
    /// How long a call that was answered waits for somebody to be in the room; zero: for ever.
    pub alone: Span,
    /// Pause between two attempts to destroy a room of our making: the first, and the longest.
    pub destroy_retry: (Span, Span),
    /// An answer is waited for so much longer than it rings: it must travel.
    pub answer_travel: Span,
    /// A room that is ours, that this process does not know, and that nobody else is in, goes after this time; zero:
    /// never.
    pub leftover: Span,
    /// `[[call]]`.
    pub list: Vec<Call>,
}

/// `[[call]]`: somebody to call by a name, or by a button.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    pub name: String,
    /// User ids, or `user/session` for one device of a user.
    pub targets: Vec<String>,
    pub mode: HuntMode,
    /// How long each target rings.
    pub ring: Span,
    /// How long all of them together.
    pub total: Span,
    /// Ask for a room that is recorded.
    pub record: bool,
    /// Words of the device for whoever is invited (docs/qss.md, Invites).
    pub context: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HuntMode {
    /// One after the other.
    InTurn,
    /// All together; who answers first gets the call.
    AtOnce,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls {
            limit: 1,
            plain: Call::default(),
            busy_tone: Span::from_secs(3),
            longest: Span::ZERO,
            alone: Span::from_secs(60),
            destroy_retry: (Span::from_secs(1), Span::from_secs(60)),
            answer_travel: Span::from_secs(5),
            leftover: Span::from_secs(60),
            list: Vec::new(),
        }
    }
}

impl Default for Call {
    fn default() -> Call {
        Call {
            name: String::new(),
            targets: Vec::new(),
            mode: HuntMode::InTurn,
            ring: Span::from_secs(30),
            total: Span::from_secs(120),
            record: false,
            context: Vec::new(),
        }
    }
}
