//! Our requests by `requestID` (docs/qss.md, Frames): while no reply comes, the same message goes out again under
//! the same id; after the time-out the request is over, and for a late reply nobody waits.

use crate::time::{Span, Time, Wakeup};

/// Most requests in flight; more are refused to the caller. The agent itself never has more than a handful.
pub const MAX_PENDING: usize = 32;

/// Names one of our requests towards the agent; never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// The rhythm of repetition.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    pub timeout: Span,
    pub resend: Span,
    pub resends: u32,
}

/// The table of requests that wait for their reply.
#[derive(Debug)]
pub struct Requests {
    rhythm: Rhythm,
    pending: Vec<Pending>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    id: String,
    text: String,
    gives_up: Time,
    resend: Option<Resend>,
}

#[derive(Debug)]
struct Resend {
    at: Time,
    left: u32,
}

/// What time made of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Due {
    /// Send this again.
    Resend(String),
    TimedOut(Ticket),
}

impl Requests {
    pub fn new(rhythm: Rhythm) -> Requests {
        Requests { rhythm, pending: Vec::new(), next_ticket: 0 }
    }

    /// Remembers a request that is being sent now. `None`: the table is full.
    pub fn add(&mut self, now: Time, id: String, text: String) -> Option<Ticket> {
        self.add_patient(now, id, text, self.rhythm.timeout)
    }

    /// A request whose answer is that of a person: it is waited for as long as `patience`.
    pub fn add_patient(&mut self, now: Time, id: String, text: String, patience: Span) -> Option<Ticket> {
        if self.pending.len() >= MAX_PENDING {
            return None;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let gives_up = now + patience;
        let resend = Resend::next(now, self.rhythm, self.rhythm.resends, gives_up);
        self.pending.push(Pending { ticket, id, text, gives_up, resend });
        Some(ticket)
    }

    /// The reply to `id` has come. `None`: nobody waits for it.
    pub fn take(&mut self, id: &str) -> Option<Ticket> {
        let i = self.pending.iter().position(|p| p.id == id)?;
        Some(self.pending.remove(i).ticket)
    }

    /// We take a request back: it is not repeated any more, but a reply that is on its way is still told, for as long
    /// as one usually takes. Its id; `None`: it is over already.
    pub fn withdraw(&mut self, now: Time, ticket: Ticket) -> Option<&str> {
        let pending = self.pending.iter_mut().find(|p| p.ticket == ticket)?;
        pending.take_back(now, self.rhythm);
        Some(&pending.id)
    }

    /// The same, by its id.
    pub fn withdraw_id(&mut self, now: Time, id: &str) {
        if let Some(pending) = self.pending.iter_mut().find(|p| p.id == id) {
            pending.take_back(now, self.rhythm);
        }
    }

    /// The link is gone, and with it every reply.
    pub fn drain(&mut self) -> impl Iterator<Item = Ticket> + '_ {
        self.pending.drain(..).map(|p| p.ticket)
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub fn poll_timeout(&self) -> Option<Wakeup> {
        let resends = self.pending.iter().filter_map(|p| p.resend.as_ref()).map(|r| Wakeup::new(r.at, "qss resend"));
        let ends = self.pending.iter().map(|p| Wakeup::new(p.gives_up, "qss request timeout"));
        resends.chain(ends).min_by_key(|w| w.at)
    }

    /// Takes out one thing that is due; call again until `None`.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Due> {
        if let Some(i) = self.pending.iter().position(|p| p.gives_up <= now) {
            return Some(Due::TimedOut(self.pending.remove(i).ticket));
        }
        let rhythm = self.rhythm;
        let pending = self.pending.iter_mut().find(|p| p.resend.as_ref().is_some_and(|r| r.at <= now))?;
        let left = pending.resend.take().map_or(0, |r| r.left - 1);
        pending.resend = Resend::next(now, rhythm, left, pending.gives_up);
        Some(Due::Resend(pending.text.clone()))
    }
}

impl Pending {
    fn take_back(&mut self, now: Time, rhythm: Rhythm) {
        self.resend = None;
        self.gives_up = now + rhythm.timeout;
    }
}

impl Resend {
    /// Counted from `now`, not from when it was due: a process that slept does not catch up in a burst.
    fn next(now: Time, rhythm: Rhythm, left: u32, gives_up: Time) -> Option<Resend> {
        let at = now + rhythm.resend;
        (left > 0 && at > now && at < gives_up).then_some(Resend { at, left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm { timeout: Span::from_secs(10), resend: Span::from_secs(3), resends: 3 };

    #[test]
    fn the_same_text_goes_out_at_3_6_9_and_gives_up_at_10() {
        let mut requests = Requests::new(RHYTHM);
        let ticket = requests.add(Time::ZERO, "a".into(), "text".into()).expect("room in the table");
        let mut log = Vec::new();
        while let Some(wakeup) = requests.poll_timeout() {
            while let Some(due) = requests.handle_timeout(wakeup.at) {
                log.push((wakeup.at.as_millis(), due));
            }
            assert!(requests.poll_timeout().is_none_or(|next| next.at > wakeup.at));
        }
        let again = || Due::Resend("text".into());
        assert_eq!(log, [(3000, again()), (6000, again()), (9000, again()), (10_000, Due::TimedOut(ticket))]);
        assert_eq!(requests.take("a"), None, "a late reply has nobody to go to");
    }

    #[test]
    fn a_reply_stops_the_repetition() {
        let mut requests = Requests::new(RHYTHM);
        let ticket = requests.add(Time::ZERO, "a".into(), "text".into());
        assert_eq!(requests.take("b"), None);
        assert_eq!(requests.take("a"), ticket);
        assert_eq!(requests.poll_timeout(), None);
    }

    #[test]
    fn a_withdrawn_request_is_not_repeated_and_its_late_reply_is_heard() {
        let mut requests = Requests::new(RHYTHM);
        let ticket = requests.add_patient(Time::ZERO, "a".into(), "text".into(), Span::from_secs(60)).expect("room");
        assert_eq!(requests.withdraw(Time::from_millis(1_000), ticket), Some("a"));
        assert_eq!(requests.poll_timeout().map(|w| w.at.as_millis()), Some(11_000));
        assert_eq!(requests.take("a"), Some(ticket));
        assert_eq!(requests.withdraw(Time::from_millis(1_000), ticket), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut requests = Requests::new(RHYTHM);
        for i in 0..MAX_PENDING {
            assert!(requests.add(Time::ZERO, i.to_string(), String::new()).is_some());
        }
        assert_eq!(requests.add(Time::ZERO, "one more".into(), String::new()), None);
        assert_eq!(requests.drain().count(), MAX_PENDING);
    }
}
