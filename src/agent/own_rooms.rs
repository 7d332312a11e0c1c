//! The rooms that this device has made. A room has no time to live (docs/qss.md, Rooms): what is not destroyed by whoever
//! made it stays for ever, so none is forgotten, not even by a crash.
//!
//! ```text
//!             answer            nobody needs it           answer, or 404
//!   Birth ------------> Needed ----------------> Doomed ----------------> forgotten
//!     | refused            ^                       | ^
//!     v                    | taken over            | | refused, no answer: after a pause
//!  forgotten      Birth, left alone <--- no answer +-+
//! ```
//!
//! An answer that comes when the question is settled may name one room more, which goes too ([`OwnRooms::born_late`]).
//! A refusal says that there is no room only if nothing was heard of an earlier question under that id ([`Past`]).
//!
//! What must outlive the process is written down *before* createRoom leaves: its `requestID`. A request that is sent again
//! under its id is the same request (docs/qss.md, Frames), so after a crash, or when no answer came, it is simply
//! repeated, and its answer names the room that would otherwise have been left behind.

use crate::qss::backoff::Backoff;
use crate::qss::message::MAX_ID;
use crate::qss::requests::Ticket;
use crate::random::Rng;
use crate::time::{Span, Time, Wakeup};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Rooms and births remembered; a device that has so many makes another only if one of them was tried often enough.
const MAX_ROOMS: usize = 32;
/// A new room matters more than an old one that could not be destroyed so often.
const ENOUGH: u32 = 8;
/// Settled questions remembered, in case another answer to one comes.
const MAX_SETTLED: usize = 8;
/// So often the QSS may say that we must not destroy a room (403), or have none under an id that it may have given one
/// already, before it is believed.
const MAX_FORBIDDEN: u32 = 5;

#[derive(Debug)]
pub(super) struct OwnRooms {
    births: Vec<Birth>,
    rooms: Vec<Own>,
    /// Questions that are settled: their ids, and the rooms that were heard of, if any.
    settled: VecDeque<(String, Option<String>)>,
    /// What the QSS calls us, where that is not our name: rooms that we have left to others are known by it after a restart.
    us: Option<String>,
    retry: (Span, Span),
    /// What was last given out to be written down.
    kept: String,
}

/// A createRoom without an answer.
#[derive(Clone, Debug)]
struct Birth {
    /// Its `requestID`.
    id: String,
    record: bool,
    state: Conception,
    past: Past,
}

/// What came of the question before.
#[derive(Clone, Copy, Debug)]
enum Past {
    New,
    /// Once no answer came: perhaps there is a room. So often it was refused for good since then.
    Doubtful {
        refusals: u32,
    },
}

#[derive(Clone, Copy, Debug)]
enum Conception {
    /// Somebody waits for the room.
    Wanted(Ticket),
    /// Nobody does: it is only asked for to be destroyed.
    Alone(Step),
}

#[derive(Debug)]
struct Own {
    id: String,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    Needed,
    Doomed { step: Step, backoff: Backoff, forbidden: u32 },
}

/// How far a request is that must be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Due,
    Asked(Ticket),
    Pausing(Time),
}

/// What is to be asked of the QSS now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Chore {
    Destroy {
        room: String,
    },
    /// createRoom once more, under this id.
    Repeat {
        id: String,
        record: bool,
    },
}

/// How to come by a new room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Conceived {
    /// createRoom is to be sent under this `requestID`; then [`OwnRooms::asked`].
    Ask(String),
    /// It is on its way already.
    Asked(Ticket),
}

/// What came of one of our requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End<'a> {
    /// Done; by a room of this id, if it was about a birth.
    Done(Option<&'a str>),
    /// It is not there any more.
    Gone,
    /// Not allowed to us.
    Forbidden,
    /// The QSS does not know the request.
    Unknown,
    /// Refused, for a reason that may pass.
    Refused,
    /// Nobody knows what has become of it.
    Unanswered,
}

/// What an answer was about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// None of our chores.
    Nothing,
    Settled,
    /// The room stays behind: the QSS does not let us destroy it.
    LeftBehind {
        room: String,
    },
}

/// What is kept on disk.
#[derive(Serialize, Deserialize, Default)]
struct Kept {
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    births: Vec<KeptBirth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    us: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptBirth {
    id: String,
    #[serde(default)]
    record: bool,
}

impl OwnRooms {
    pub(super) fn new(retry: (Span, Span)) -> OwnRooms {
        let (births, rooms, settled) = (Vec::new(), Vec::new(), VecDeque::new());
        let mut own = OwnRooms { births, rooms, settled, us: None, retry, kept: String::new() };
        own.kept = own.to_text();
        own
    }

    /// What an earlier life of the process has left: all of it is to go. What cannot be read is taken as nothing.
    pub(super) fn restore(&mut self, text: &str) {
        let kept: Kept = serde_json::from_str(text).unwrap_or_default();
        let usable = |id: &String| (1..=MAX_ID).contains(&id.len());
        self.us = kept.us.filter(usable);
        for id in kept.rooms.into_iter().filter(usable).take(MAX_ROOMS) {
            self.doom(&id);
        }
        for KeptBirth { id, record } in kept.births.into_iter().filter(|birth| usable(&birth.id)).take(MAX_ROOMS) {
            let past = Past::Doubtful { refusals: 0 };
            self.births.push(Birth { id, record, state: Conception::Alone(Step::Due), past });
        }
    }

    /// What must outlive the process, if it has changed since it was last asked for.
    pub(super) fn changed(&mut self) -> Option<String> {
        let text = self.to_text();
        if text == self.kept {
            return None;
        }
        self.kept.clone_from(&text);
        Some(text)
    }

    fn to_text(&self) -> String {
        let births = self.births.iter().map(|b| KeptBirth { id: b.id.clone(), record: b.record });
        let rooms = self.rooms.iter().map(|r| r.id.clone()).collect();
        let kept = Kept { rooms, births: births.collect(), us: self.us.clone() };
        serde_json::to_string(&kept).expect("strings and lists have no failing serializer")
    }

    /// What the QSS calls us, as far as it was heard.
    pub(super) fn us(&self) -> Option<&str> {
        self.us.as_deref()
    }

    pub(super) fn learn_us(&mut self, id: &str) {
        self.us = Some(id.to_owned());
    }

    // --- making ----------------------------------------------------------------------------------------------------

    /// How to get a new room: by a question that was left without an answer, or by a new one. What it changes is to be
    /// kept before anything is sent. `None`: there are too many rooms already.
    pub(super) fn conceive(&mut self, record: bool, rng: &mut Rng) -> Option<Conceived> {
        let left_alone = |b: &&mut Birth| b.record == record && matches!(b.state, Conception::Alone(_));
        if let Some(birth) = self.births.iter_mut().find(left_alone) {
            return Some(match birth.state {
                Conception::Alone(Step::Asked(ticket)) => {
                    birth.state = Conception::Wanted(ticket);
                    Conceived::Asked(ticket)
                }
                Conception::Alone(Step::Due | Step::Pausing(_)) | Conception::Wanted(_) => {
                    Conceived::Ask(birth.id.clone())
                }
            });
        }
        if self.births.len() + self.rooms.len() >= MAX_ROOMS {
            return None;
        }
        let birth = Birth { id: rng.request_id(), record, state: Conception::Alone(Step::Due), past: Past::New };
        self.births.push(birth.clone());
        Some(Conceived::Ask(birth.id))
    }

    /// Where there are too many rooms for another one, the one that was tried most often, if that was often, is given up: it stays behind.
    pub(super) fn make_space(&mut self) -> Option<String> {
        let attempts = |own: &Own| match &own.fate {
            Fate::Doomed { backoff, .. } => backoff.attempts(),
            Fate::Needed => 0,
        };
        let most = (0..self.rooms.len()).rev().max_by_key(|i| attempts(&self.rooms[*i]))?;
        let is_full = self.births.len() + self.rooms.len() >= MAX_ROOMS;
        (is_full && attempts(&self.rooms[most]) >= ENOUGH).then(|| self.rooms.remove(most).id)
    }

    /// The question with that id has been sent for somebody who waits for the room.
    pub(super) fn asked(&mut self, id: &str, ticket: Ticket) {
        if let Some(birth) = self.births.iter_mut().find(|b| b.id == id) {
            birth.state = Conception::Wanted(ticket);
        }
    }

    /// Nobody waits for the room any more.
    pub(super) fn unwanted(&mut self, ticket: Ticket) {
        for birth in &mut self.births {
            match birth.state {
                Conception::Wanted(asked) if asked == ticket => birth.state = Conception::Alone(Step::Asked(ticket)),
                Conception::Wanted(_) | Conception::Alone(_) => {}
            }
        }
    }

    /// An answer to the question with this id, for which nobody waits any more, names this room.
    pub(super) fn born_late(&mut self, id: &str, room: &str) {
        let asked = self.births.iter().position(|birth| birth.id == id);
        let settled = self.settled.iter().any(|(known, born)| known == id && born.as_deref() != Some(room));
        if let Some(i) = asked {
            self.settle(i, Some(room));
        }
        if (asked.is_some() || settled) && !self.knows(room) && room.len() <= MAX_ID {
            self.doom(room);
        }
    }

    /// Nothing more has to be asked of a birth.
    fn settle(&mut self, i: usize, room: Option<&str>) {
        let birth = self.births.remove(i);
        if self.settled.len() >= MAX_SETTLED {
            self.settled.pop_front();
        }
        self.settled.push_back((birth.id, room.map(str::to_owned)));
    }

    // --- needing ---------------------------------------------------------------------------------------------------

    /// Nobody needs the room any more; unknown rooms are added, to be destroyed. False: it was doomed already.
    pub(super) fn doom(&mut self, id: &str) -> bool {
        let (min, max) = self.retry;
        let doomed = || Fate::Doomed { step: Step::Due, backoff: Backoff::new(min, max), forbidden: 0 };
        match self.rooms.iter_mut().find(|own| own.id == id) {
            Some(own) => match own.fate {
                Fate::Needed => own.fate = doomed(),
                Fate::Doomed { .. } => return false,
            },
            None => self.rooms.push(Own { id: id.to_owned(), fate: doomed() }),
        }
        true
    }

    /// Every room goes: the process stops.
    pub(super) fn doom_all(&mut self) {
        let ids: Vec<_> = self.rooms.iter().map(|own| own.id.clone()).collect();
        for id in ids {
            self.doom(&id);
        }
    }

    /// Made by us, and not doomed.
    pub(super) fn needs(&self, id: &str) -> bool {
        self.rooms.iter().any(|own| own.id == id && matches!(own.fate, Fate::Needed))
    }

    /// Made by us, whatever is to become of it.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.rooms.iter().any(|own| own.id == id)
    }

    /// A question for a new room has this ticket.
    pub(super) fn is_birth(&self, ticket: Ticket) -> bool {
        self.births.iter().any(|birth| birth.state.is_asked(ticket))
    }

    /// Made by us, and to be destroyed.
    pub(super) fn is_doomed(&self, id: &str) -> bool {
        self.rooms.iter().any(|own| own.id == id && matches!(own.fate, Fate::Doomed { .. }))
    }

    /// Somebody else has destroyed the room. True: it was one of ours.
    pub(super) fn gone(&mut self, id: &str) -> bool {
        let before = self.rooms.len();
        self.rooms.retain(|own| own.id != id);
        self.rooms.len() != before
    }

    // --- the QSS ---------------------------------------------------------------------------------------------------

    /// What is to be asked next; [`OwnRooms::started`] says that it was.
    pub(super) fn next_chore(&self) -> Option<Chore> {
        let doomed = self.rooms.iter().find_map(|own| match &own.fate {
            Fate::Doomed { step: Step::Due, .. } => Some(Chore::Destroy { room: own.id.clone() }),
            Fate::Doomed { .. } | Fate::Needed => None,
        });
        let alone = self.births.iter().find_map(|birth| match birth.state {
            Conception::Alone(Step::Due) => Some(Chore::Repeat { id: birth.id.clone(), record: birth.record }),
            Conception::Alone(_) | Conception::Wanted(_) => None,
        });
        doomed.or(alone)
    }

    /// `None`: it could not be sent, and is tried again later.
    pub(super) fn started(&mut self, now: Time, chore: &Chore, ticket: Option<Ticket>) {
        let next = ticket.map_or(Step::Pausing(now + self.retry.0), Step::Asked);
        match chore {
            Chore::Destroy { room } => {
                for own in self.rooms.iter_mut().filter(|own| own.id == *room) {
                    if let Fate::Doomed { step, .. } = &mut own.fate {
                        *step = next;
                    }
                }
            }
            Chore::Repeat { id, .. } => {
                for birth in self.births.iter_mut().filter(|birth| birth.id == *id) {
                    birth.state = Conception::Alone(next);
                }
            }
        }
    }

    /// There is no word for this request: nothing can be done.
    pub(super) fn give_up(&mut self, chore: &Chore) {
        match chore {
            Chore::Destroy { room } => self.rooms.retain(|own| own.id != *room),
            Chore::Repeat { id, .. } => self.births.retain(|birth| birth.id != *id),
        }
    }

    /// A request of ours has ended.
    pub(super) fn ended(&mut self, now: Time, ticket: Ticket, end: End<'_>, rng: &mut Rng) -> Told {
        if let Some(i) = self.births.iter().position(|b| b.state.is_asked(ticket)) {
            return self.birth_ended(now, i, end, rng);
        }
        let is_asked = |own: &Own| matches!(own.fate, Fate::Doomed { step: Step::Asked(t), .. } if t == ticket);
        let Some(i) = self.rooms.iter().position(is_asked) else { return Told::Nothing };
        let Fate::Doomed { step, backoff, forbidden } = &mut self.rooms[i].fate else { return Told::Nothing };
        let left = match end {
            End::Done(_) | End::Gone => false,
            End::Unknown => true,
            End::Forbidden => {
                *forbidden += 1;
                *forbidden >= MAX_FORBIDDEN
            }
            End::Refused | End::Unanswered => false,
        };
        match end {
            End::Forbidden | End::Refused | End::Unanswered if !left => {
                *step = Step::Pausing(backoff.next_with_floor(now, rng));
                Told::Settled
            }
            End::Done(_) | End::Gone | End::Unknown | End::Forbidden | End::Refused | End::Unanswered => {
                let room = self.rooms.remove(i).id;
                if left { Told::LeftBehind { room } } else { Told::Settled }
            }
        }
    }

    fn birth_ended(&mut self, now: Time, i: usize, end: End<'_>, rng: &mut Rng) -> Told {
        let wanted = match self.births[i].state {
            Conception::Wanted(_) => true,
            Conception::Alone(_) => false,
        };
        let (min, max) = self.retry;
        let again = Conception::Alone(Step::Pausing(Backoff::new(min, max).slow(now, rng)));
        let birth = &mut self.births[i];
        match (end, birth.past) {
            (End::Unanswered, past) => {
                let refusals = match past {
                    Past::New => 0,
                    Past::Doubtful { refusals } => refusals,
                };
                (birth.state, birth.past) = (again, Past::Doubtful { refusals });
            }
            (End::Done(Some(room)), _) => {
                self.settle(i, Some(room));
                self.doom(room);
                if wanted && let Some(own) = self.rooms.iter_mut().find(|own| own.id == room) {
                    own.fate = Fate::Needed;
                }
            }
            (End::Refused, Past::Doubtful { .. }) => birth.state = again,
            (End::Gone | End::Forbidden | End::Unknown, Past::Doubtful { refusals }) if refusals < MAX_FORBIDDEN => {
                (birth.state, birth.past) = (again, Past::Doubtful { refusals: refusals + 1 });
            }
            (End::Done(None) | End::Gone | End::Forbidden | End::Unknown | End::Refused, _) => {
                self.settle(i, None);
            }
        }
        Told::Settled
    }

    // --- time ------------------------------------------------------------------------------------------------------

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        let of_rooms = self.rooms.iter().filter_map(|own| match own.fate {
            Fate::Doomed { step: Step::Pausing(at), .. } => Some(at),
            Fate::Doomed { .. } | Fate::Needed => None,
        });
        let of_births = self.births.iter().filter_map(|birth| match birth.state {
            Conception::Alone(Step::Pausing(at)) => Some(at),
            Conception::Alone(_) | Conception::Wanted(_) => None,
        });
        of_rooms.chain(of_births).min().map(|at| Wakeup::new(at, "room to destroy"))
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        let due = |step: &mut Step| {
            if matches!(step, Step::Pausing(at) if *at <= now) {
                *step = Step::Due;
            }
        };
        for own in &mut self.rooms {
            if let Fate::Doomed { step, .. } = &mut own.fate {
                due(step);
            }
        }
        for birth in &mut self.births {
            if let Conception::Alone(step) = &mut birth.state {
                due(step);
            }
        }
    }
}

impl Conception {
    fn is_asked(self, ticket: Ticket) -> bool {
        match self {
            Conception::Wanted(asked) | Conception::Alone(Step::Asked(asked)) => asked == ticket,
            Conception::Alone(Step::Due | Step::Pausing(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests;
