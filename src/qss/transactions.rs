//! The server's requests: answered once, and the same again for every duplicate, because the server repeats a request
//! under its id until it hears the answer (docs/qss.md, Frames).
//!
//! ```text
//!            request            reply
//! (unknown) ---------> Open ------------> Replied(text)   a duplicate gets `text` again
//!     |                  | cancel            | cancel
//!     | cancel           v                   v
//!     +------------> Withdrawn <-------------+             a request under a withdrawn id is never acted upon
//! ```
//!
//! A cancel may overtake its invite (docs/qss.md, Invites), so a withdrawn id is remembered even if it was never seen.

use std::collections::VecDeque;

/// How many of the server's requests are remembered; the oldest are forgotten first.
pub const MEMORY: usize = 64;

#[derive(Debug, Default)]
pub struct Transactions {
    known: VecDeque<Transaction>,
}

#[derive(Debug)]
struct Transaction {
    id: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    Replied(String),
    Withdrawn,
}

/// What to do with a request of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrival {
    New,
    /// We are still thinking: the reply will come.
    Repeated,
    /// Say this again.
    Answered(String),
    /// It was withdrawn before it came.
    Withdrawn,
}

/// What a withdrawal did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Withdrawal {
    BeforeReply,
    AfterReply,
    /// Its request has not come (yet), or the withdrawal is a duplicate.
    Nothing,
}

impl Transactions {
    pub fn request(&mut self, id: &str) -> Arrival {
        match self.find(id) {
            Some(Transaction { state: State::Open, .. }) => Arrival::Repeated,
            Some(Transaction { state: State::Replied(text), .. }) => Arrival::Answered(text.clone()),
            Some(Transaction { state: State::Withdrawn, .. }) => Arrival::Withdrawn,
            None => {
                self.remember(id, State::Open);
                Arrival::New
            }
        }
    }

    /// Keeps the reply for duplicates. False: the request was withdrawn or already answered, so nothing is to be sent.
    #[must_use]
    pub fn reply(&mut self, id: &str, text: &str) -> bool {
        match self.find(id) {
            Some(transaction @ Transaction { state: State::Open, .. }) => {
                transaction.state = State::Replied(text.to_owned());
                true
            }
            Some(Transaction { state: State::Replied(_) | State::Withdrawn, .. }) => false,
            // Forgotten under a flood: the answer is still owed, only duplicates of the request are not recognised.
            None => true,
        }
    }

    pub fn withdraw(&mut self, id: &str) -> Withdrawal {
        let Some(transaction) = self.find(id) else {
            self.remember(id, State::Withdrawn);
            return Withdrawal::Nothing;
        };
        match std::mem::replace(&mut transaction.state, State::Withdrawn) {
            State::Open => Withdrawal::BeforeReply,
            State::Replied(_) => Withdrawal::AfterReply,
            State::Withdrawn => Withdrawal::Nothing,
        }
    }

    fn find(&mut self, id: &str) -> Option<&mut Transaction> {
        self.known.iter_mut().find(|t| t.id == id)
    }

    fn remember(&mut self, id: &str, state: State) {
        if self.known.len() >= MEMORY {
            self.known.pop_front();
        }
        self.known.push_back(Transaction { id: id.to_owned(), state });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_gets_the_same_reply() {
        let mut t = Transactions::default();
        assert_eq!(t.request("a"), Arrival::New);
        assert_eq!(t.request("a"), Arrival::Repeated);
        assert!(t.reply("a", "yes"));
        assert!(!t.reply("a", "no"), "one request, one reply");
        assert_eq!(t.request("a"), Arrival::Answered("yes".into()));
    }

    #[test]
    fn a_withdrawn_id_never_comes_back() {
        let mut t = Transactions::default();
        assert_eq!(t.withdraw("early"), Withdrawal::Nothing);
        assert_eq!(t.request("early"), Arrival::Withdrawn, "the cancel overtook its invite");
        t.request("a");
        assert_eq!(t.withdraw("a"), Withdrawal::BeforeReply);
        assert!(!t.reply("a", "yes"));
        t.request("b");
        assert!(t.reply("b", "yes"));
        assert_eq!(t.withdraw("b"), Withdrawal::AfterReply);
        assert_eq!(t.withdraw("b"), Withdrawal::Nothing);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten() {
        let mut t = Transactions::default();
        for i in 0..=MEMORY {
            t.request(&i.to_string());
        }
        assert_eq!(t.known.len(), MEMORY);
        assert_eq!(t.request("0"), Arrival::New);
    }
}
