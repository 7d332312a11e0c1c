//! What travels over a session: our requests under their ids, those of the server, and the replies to both. The life of
//! the link and of the registration is the parent's.

use super::{Event, Outbox, Output, Reply, Session, State};
use crate::config::CancelCode;
use crate::qss::message::{self, Body};
use crate::qss::requests::Ticket;
use crate::qss::transactions::{Arrival, Withdrawal};
use crate::time::{Span, Time};
use serde_json::{Value, json};

/// Replies and withdrawals kept for the next session; the oldest are forgotten first.
const MAX_OWED: usize = 16;

impl Session {
    /// Sends a request; its end is an [`Event::Replied`] with this ticket. `None`: there is no session, or the table
    /// of requests is full.
    pub fn request(&mut self, now: Time, name: &str, payload: Value, out: &mut Outbox) -> Option<Ticket> {
        if !self.is_registered() {
            return None;
        }
        self.send_request(now, name, payload, out)
    }

    /// Sends a request under an id of the caller's, perhaps once more: under its id it is the same request.
    pub fn request_as(&mut self, now: Time, id: &str, name: &str, payload: Value, out: &mut Outbox) -> Option<Ticket> {
        if !self.is_registered() {
            return None;
        }
        self.send_request_as(now, id.to_owned(), name, payload, None, out)
    }

    /// Sends a request that a person answers, under an id of the caller's, and waits for its answer as long as
    /// `patience`.
    pub fn request_patiently(
        &mut self,
        now: Time,
        id: &str,
        name: &str,
        payload: Value,
        patience: Span,
        out: &mut Outbox,
    ) -> Option<Ticket> {
        if !self.is_registered() {
            return None;
        }
        self.send_request_as(now, id.to_owned(), name, payload, Some(patience), out)
    }

    /// Takes one of our requests back. An answer that crosses it is still told.
    pub fn withdraw(&mut self, now: Time, ticket: Ticket, name: &str, code: u16, payload: Value, out: &mut Outbox) {
        let registered = self.is_registered();
        if let Some(id) = self.requests.withdraw(now, ticket)
            && registered
        {
            let id = id.to_owned();
            out.push_back(Output::Send(self.cancel(name, &id, code, "withdrawn", payload)));
        }
    }

    /// Takes back what was asked under this id, perhaps in a session before this one: without a session, as soon as
    /// there is one again.
    pub fn withdraw_id(&mut self, now: Time, id: &str, name: &str, code: u16, payload: Value, out: &mut Outbox) {
        self.requests.withdraw_id(now, id);
        let text = self.cancel(name, id, code, "withdrawn", payload);
        self.say(text, out);
    }

    /// A request of the server that was told of in another way than by its frame. True: it is new; a known one is
    /// treated as if its frame had been repeated.
    pub fn arrived(&mut self, id: &str, out: &mut Outbox) -> bool {
        match self.transactions.request(id) {
            Arrival::New => true,
            Arrival::Answered(text) => {
                out.push_back(Output::Send(text));
                false
            }
            Arrival::Repeated | Arrival::Withdrawn => false,
        }
    }

    /// Answers a request of the server positively. Nothing is sent if it was withdrawn meanwhile.
    pub fn answer(&mut self, name: &str, id: &str, payload: Value, out: &mut Outbox) {
        self.reply(id, message::write_answer(name, id, payload), out);
    }

    /// Refuses a request of the server. `payload` null: left out.
    pub fn refuse(&mut self, name: &str, id: &str, code: u16, message: &str, payload: Value, out: &mut Outbox) {
        let text = self.cancel(name, id, code, message, payload);
        self.reply(id, text, out);
    }

    // --- what comes in, and what is left undone -------------------------------------------------------------------

    pub(super) fn on_request(&mut self, name: String, id: String, body: Body, out: &mut Outbox) {
        match self.transactions.request(&id) {
            Arrival::New => out.push_back(Output::Event(Event::Request { name, id, body })),
            Arrival::Answered(text) => out.push_back(Output::Send(text)),
            Arrival::Repeated | Arrival::Withdrawn => {}
        }
    }

    pub(super) fn on_cancel(&mut self, now: Time, id: String, reply: Reply, code: Option<u16>, out: &mut Outbox) {
        if let Some(ticket) = self.requests.take(&id) {
            return self.finish(now, ticket, reply, out);
        }
        let accepted = &self.settings.withdrawn;
        if !accepted.is_empty() && code.is_some_and(|code| !accepted.contains(&code)) {
            return;
        }
        match self.transactions.withdraw(&id) {
            Withdrawal::BeforeReply => out.push_back(Output::Event(Event::Withdrawn { id, code, replied: false })),
            Withdrawal::AfterReply => out.push_back(Output::Event(Event::Withdrawn { id, code, replied: true })),
            Withdrawal::Nothing => {}
        }
    }

    pub(super) fn on_answer(&mut self, now: Time, id: String, body: Body, out: &mut Outbox) {
        match self.requests.take(&id) {
            Some(ticket) => self.finish(now, ticket, Reply::Answer(body), out),
            None => out.push_back(Output::Event(Event::Late { id, body })),
        }
    }

    pub(super) fn fail_requests(&mut self, out: &mut Outbox) {
        let ping = self.json_ping.take();
        let lost = |ticket| Output::Event(Event::Replied { ticket, reply: Reply::LinkLost });
        out.extend(self.requests.drain().filter(|ticket| Some(*ticket) != ping).map(lost));
    }

    pub(super) fn send_request(&mut self, now: Time, name: &str, payload: Value, out: &mut Outbox) -> Option<Ticket> {
        let id = self.rng.request_id();
        self.send_request_as(now, id, name, payload, None, out)
    }

    /// `patience`: how long the answer may take; `None`: as long as any.
    fn send_request_as(
        &mut self,
        now: Time,
        id: String,
        name: &str,
        payload: Value,
        patience: Option<Span>,
        out: &mut Outbox,
    ) -> Option<Ticket> {
        let text = message::write_request(name, &id, payload);
        let ticket = match patience {
            None => self.requests.add(now, id, text.clone())?,
            Some(patience) => self.requests.add_patient(now, id, text.clone(), patience)?,
        };
        out.push_back(Output::Send(text));
        Some(ticket)
    }

    /// A `cancel` with its code where it is wanted; `payload` null: it has nothing else in it.
    fn cancel(&self, name: &str, id: &str, code: u16, message: &str, mut payload: Value) -> String {
        let (top, inside) = match self.settings.cancel_code {
            CancelCode::Both => (Some(code), true),
            CancelCode::Top => (Some(code), false),
            CancelCode::Payload => (None, true),
        };
        match (&mut payload, inside) {
            (Value::Object(fields), true) => drop(fields.insert("error".to_owned(), code.into())),
            (Value::Object(fields), false) => drop(fields.remove("error")),
            (_, true) => payload = json!({ "error": code }),
            (_, false) => {}
        }
        message::write_cancel(name, id, top, message, payload)
    }

    fn reply(&mut self, id: &str, text: String, out: &mut Outbox) {
        if !self.transactions.reply(id, &text) {
            return;
        }
        self.say(text, out);
    }

    /// Sends what expects no reply, now or right after the next registration.
    fn say(&mut self, text: String, out: &mut Outbox) {
        match self.state {
            State::Registering { .. } | State::Registered { .. } | State::Leaving { .. } => {
                out.push_back(Output::Send(text));
            }
            State::Idle | State::AwaitingToken(_) | State::Connecting { .. } | State::Waiting { .. } => {
                if self.owed.len() >= MAX_OWED {
                    self.owed.pop_front();
                }
                self.owed.push_back(text);
            }
        }
    }

    /// There is a session again: what was to be said without one.
    pub(super) fn say_what_is_owed(&mut self, out: &mut Outbox) {
        out.extend(self.owed.drain(..).map(Output::Send));
    }
}
