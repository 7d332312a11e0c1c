//! `[qss.reads]`: under which names the fields of what the QSS says are looked for, and what its words mean. The public
//! pages show some of them, differ about others, and leave most open (docs/qss.md, Open questions), so the readers of
//! `qss::message` have none of their own: this is the only table. A row is a key, its default and its meaning.

use super::file::Draft;
use super::keys::{Section, WORDS, key};
use super::value::Field;
use std::sync::Arc;

macro_rules! table {
    (fields { $($field:ident = $names:expr, $of:literal;)+ } words { $($word:ident = $said:expr, $means:literal;)+ }) => {
        /// The names of each field and the words of each meaning, most wanted first; of an empty list nothing is read.
        #[derive(Clone, PartialEq, Debug)]
        pub struct QssReads {
            $(#[doc = $of] pub $field: Vec<String>,)+
            $(#[doc = $means] pub $word: Vec<String>,)+
        }

        impl Default for QssReads {
            fn default() -> QssReads {
                QssReads {
                    $($field: $names.map(str::to_owned).to_vec(),)+
                    $($word: $said.map(str::to_owned).to_vec(),)+
                }
            }
        }

        impl QssReads {
            /// The names of every field.
            pub fn fields(&self) -> impl Iterator<Item = &[String]> {
                [$(self.$field.as_slice()),+].into_iter()
            }
        }

        pub(super) const READS: Section = Section {
            name: "qss.reads",
            doc: "The names under which fields of what the QSS says are looked for, most wanted first, under `payload` \
                  and beside it; and its words for a state. An empty list: not read. Change them only if the log shows \
                  that the QSS uses others (`qss_unknown_field`, `qss_unknown_value`).",
            board: false,
            keys: &[
                $(key(stringify!($field), |d: &mut Draft| -> &mut dyn Field { &mut reads(d).$field }, WORDS, $of),)+
                $(key(stringify!($word), |d: &mut Draft| -> &mut dyn Field { &mut reads(d).$word }, WORDS, $means),)+
            ],
        };
    };
}

fn reads(draft: &mut Draft) -> &mut QssReads {
    Arc::make_mut(&mut draft.config.qss.reads)
}

table! {
    fields {
        request_id = ["requestID", "requestId"], "Id of a request and of its reply.";
        code = ["error", "code"], "Code of a refusal, of an invite's answer, or of a transfer that failed.";
        message = ["message", "reason"], "Text of a refusal.";
        refusal_words = ["error", "name", "reason"], "Further texts of a refusal that may have a word of `[qss.codes]`.";

        room_object = ["queryRoom", "targetRoom", "room"], "Object that has a room's fields; one may lie in another.";
        room = ["room", "roomId", "uuid"], "Id of a room.";
        document = ["id"], "Id of a room's document, which is not the room's.";
        owner = ["owner"], "Who owns a room.";
        record = ["record"], "Whether it is recorded.";
        number = ["number"], "Its number inside the platform.";
        sip_uri = ["sipUri"], "Where its audio is.";
        bitrate = ["bitrate"], "Its largest bitrate per user, in units of `qss.bitrate_unit`.";
        server_uuid = ["serverUuid"], "Id of its media server.";
        server = ["server"], "Addresses of its media server: an object or a list of objects ...";
        http = ["http"], "... and in it the one by http, ...";
        https = ["https"], "... by https, ...";
        ws = ["ws"], "... by ws ...";
        wss = ["wss"], "... and by wss.";
        timestamp = ["timestamp"], "When a room was made.";
        participants_limit = ["participantsLimit"], "How many participants it may have.";
        ice = ["ice"], "Its ICE servers: a list of objects ...";
        ice_urls = ["urls"], "... each with addresses, ...";
        ice_username = ["username"], "... a user name ...";
        ice_credential = ["credential"], "... and a credential.";
        token = ["token"], "Token for a room's media server.";
        acl = ["acl"], "Who may come: a list of objects ...";
        acl_user = ["username"], "... each with a user ...";
        acl_token = ["token"], "... and a token for the media server.";
        rooms = ["rooms"], "List of rooms in the answer to `get_rooms`; a list right under `payload` is read too.";
        meeting = ["meeting"], "Object that describes a meeting, in a refusal.";
        valid_since = ["validSince"], "When a meeting begins, in a refusal or in its `meeting`.";
        participants = ["participants", "remoteParticipants", "users"], "Who is in a room: a list or a map.";
        user = ["userId", "user", "username", "participant", "speaker", "id"], "Who a participant or a speaker is.";
        speaker = ["participant", "speaker"], "Object that says who speaks.";
        status = ["status", "state"], "A participant's status.";
        muted = ["muted"], "Whether somebody is muted, or is to be.";
        muted_user = ["userId", "user", "to"], "Whose change of mute is told.";
        expelled_user = ["userId"], "Who was expelled; nobody named: the device.";

        invite = ["id"], "Id of an invite.";
        from = ["from"], "Who invites, asks or transfers.";
        from_details = ["fromDetails"], "Object that says more of who invites ...";
        from_username = ["username"], "... such as the user name ...";
        from_name = ["displayName", "contactName"], "... and how they are called.";
        media = ["mediatypes", "mediaTypes"], "Object that says what is to be shared ...";
        audio = ["audio"], "... audio, ...";
        video = ["video"], "... video, ...";
        screen = ["screen"], "... the screen.";
        context = ["context"], "Words of the inviter: a map ...";
        context_info = ["contextInfo"], "... and another map in it.";
        invite_request = ["requestId"], "The request of the device that an invite answers.";
        asked_id = ["requestId", "id"], "Id of a request to be invited.";
        invitations = ["currentInvitations"], "List in the answer to `current_invitations`; one right under `payload` is \
                                               read too.";
        invitation_id = ["requestID", "requestId", "id"], "Id of an invite in that list.";
        who_accepted = ["whoAccepted", "from"], "Who has accepted an invite of the device.";
        results = ["results"], "List of answers when several were invited; one right under `payload` is read too.";

        mute_to = ["to"], "Who is asked to mute or unmute.";
        requested_by = ["requestedBy", "from"], "Who asks it.";
        mute_media = ["media"], "What is to be muted.";

        transfer_id = ["callTransferId", "callTransferID", "transferId"], "Id of a transfer.";
        transfer_state = ["state"], "Its state.";
        transfer_to = ["to"], "Its new party.";
        transfer_invite = ["idInvite"], "The invite that belongs to it.";
        attended_id = ["requestID", "requestId"], "Id of an attended transfer that moves the device.";
        target_user = ["targetUserId", "target", "to"], "Its new party.";
        target = ["target"], "The new party in the answer to an attended transfer of the device ...";
        transferee = ["transferee"], "... who is moved ...";
        transferor = ["transferor"], "... and who has asked for it.";
    }
    words {
        in_call = ["IN_CALL", "1"], "A participant is in the call. As a word or as a number.";
        on_hold = ["HOLD", "2"], "A participant holds the call.";
        gone = ["GONE"], "A participant has left.";
        mute_audio = ["audio"], "In `mute_media`: the microphone is meant, as it is if nothing is said.";
        transfer_invited = ["INVITED"], "A transfer is offered.";
        transfer_accepted = ["ACCEPTED"], "A transfer was accepted.";
        transfer_declined = ["DECLINED"], "A transfer was declined.";
    }
}

impl QssReads {
    /// Whether any field has this name.
    pub fn has_field(&self, name: &str) -> bool {
        self.fields().flatten().any(|known| known == name)
    }
}
