//! Wire words to meanings. The public pages leave most words open (docs/qss.md, Open questions), so each meaning has a
//! list of words in the configuration, and none here.

use crate::config::QssNames;
use crate::qss::message::ParticipantStatus;

/// What a request or event of the server is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    Invite,
    /// Somebody asks to be invited.
    InviteRequest,
    /// We were removed from a room by someone.
    Expelled,
    /// The room is gone.
    Destroyed,
    /// Someone asks us to mute, or to unmute, ourselves.
    MuteRequest,
    /// A participant is muted, or is not any more.
    MuteChange,
    /// What has become of a participant; the word itself may say what.
    Participant(Option<ParticipantStatus>),
    /// All participants there are.
    Participants,
    ActiveSpeaker,
    /// We are transferred blindly, or a transfer changes its state.
    CallTransfer,
    AttendedTransfer,
    TransferError,
    /// The status of the device is wanted.
    Snapshot,
    /// A status event: ours, come back, or another device's.
    StatusEvent,
    Unknown,
}

impl Meaning {
    /// What `word` means, as an event's name or as a request: a server may send most of them as either.
    pub fn of(names: &QssNames, word: &str) -> Meaning {
        let table: [(&[String], Meaning); 17] = [
            (&names.invite, Meaning::Invite),
            (&names.invite_request, Meaning::InviteRequest),
            (&names.expelled, Meaning::Expelled),
            (&names.destroyed, Meaning::Destroyed),
            (&names.mute_request, Meaning::MuteRequest),
            (&names.mute_change, Meaning::MuteChange),
            (&names.participant, Meaning::Participant(None)),
            (&names.participant_in_call, Meaning::Participant(Some(ParticipantStatus::InCall))),
            (&names.participant_on_hold, Meaning::Participant(Some(ParticipantStatus::Hold))),
            (&names.participant_gone, Meaning::Participant(Some(ParticipantStatus::Gone))),
            (&names.participants, Meaning::Participants),
            (&names.active_speaker, Meaning::ActiveSpeaker),
            (&names.call_transfer, Meaning::CallTransfer),
            (&names.incoming_attended_transfer, Meaning::AttendedTransfer),
            (&names.transfer_error, Meaning::TransferError),
            (&names.snapshot, Meaning::Snapshot),
            (std::slice::from_ref(&names.status_event), Meaning::StatusEvent),
        ];
        let is_one_of = |words: &[String]| words.iter().any(|known| known == word);
        table.into_iter().find(|(words, _)| is_one_of(words)).map_or(Meaning::Unknown, |(_, meaning)| meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_of_words_has_a_meaning_of_its_own() {
        let names = QssNames::default();
        let mut seen = Vec::new();
        for (key, words) in names.aliases() {
            let meanings: Vec<_> = words.iter().map(|word| Meaning::of(&names, word)).collect();
            assert!(meanings.iter().all(|meaning| *meaning == meanings[0] && *meaning != Meaning::Unknown), "{key}");
            assert!(!seen.contains(&meanings[0]), "{key}");
            seen.push(meanings[0]);
        }
        assert_eq!(Meaning::of(&names, "whatever"), Meaning::Unknown);
        assert_eq!(Meaning::of(&names, ""), Meaning::Unknown);
    }

    #[test]
    fn the_words_are_the_configured_ones() {
        let mut names = QssNames::default();
        assert_eq!(Meaning::of(&names, "invitation"), Meaning::Invite);
        names.invite = vec!["ring".into()];
        assert_eq!(Meaning::of(&names, "ring"), Meaning::Invite);
        assert_eq!(Meaning::of(&names, "invite"), Meaning::Unknown);
    }
}
