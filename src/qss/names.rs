//! Wire words to meanings. The public pages leave several words open (docs/qss.md), so each meaning has
//! aliases; those that a site may want to change come from the configuration.

use crate::config::QssNames;

/// What a request or event of the server is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    Invite,
    /// We were removed from a room by someone.
    Expelled,
    /// The room is gone.
    Destroyed,
    /// Someone asks us to mute, or to unmute, ourselves.
    MuteRequest,
    Unknown,
}

/// What a server's `request` asks. An expulsion or destruction may come as a request too (docs/qss.md, Events of the QSS).
pub fn of_request(names: &QssNames, word: &str) -> Meaning {
    if names.invite.iter().any(|name| name == word) {
        return Meaning::Invite;
    }
    of_event(word)
}

/// What a server's event tells.
pub fn of_event(word: &str) -> Meaning {
    match word {
        "expelled" | "removedFromRoom" => Meaning::Expelled,
        "destroyed" | "destroyRoom" | "removeRoom" => Meaning::Destroyed,
        "mute-request" => Meaning::MuteRequest,
        _ => Meaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invites_have_the_configured_words() {
        let mut names = QssNames::default();
        assert_eq!(of_request(&names, "invitation"), Meaning::Invite);
        names.invite = vec!["ring".into()];
        assert_eq!(of_request(&names, "ring"), Meaning::Invite);
        assert_eq!(of_request(&names, "invite"), Meaning::Unknown);
        assert_eq!(of_request(&names, "expelled"), Meaning::Expelled);
    }
}
