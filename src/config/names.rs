//! The words and codes of the QSS wire that the public pages do not fix (docs/qss.md, Open questions): each is a key of
//! `[qss.names]` or `[qss.codes]`, none is a constant of the logic. Defaults are the documented or deduced words.

/// `[qss.names]`. A request whose word is empty is never sent.
#[derive(Clone, PartialEq, Debug)]
pub struct QssNames {
    // Requests of the device.
    pub register: String,
    pub unregister: String,
    pub create_room: String,
    pub join_room: String,
    pub join_meeting: String,
    pub join_quick_conference: String,
    pub leave_room: String,
    pub destroy_room: String,
    pub get_rooms: String,
    pub add_participants: String,
    pub remove_participants: String,
    pub send_invite: String,
    pub send_invite_request: String,
    pub current_invitations: String,
    /// Asks another participant to mute or unmute.
    pub mute: String,
    /// Tells that the device is muted or unmuted.
    pub mute_report: String,
    pub hold: String,
    pub unhold: String,
    /// Asks for nothing but a reply.
    pub json_ping: String,
    pub transfer: String,
    pub accept_transfer: String,
    pub attended_transfer: String,
    /// `eventName` of the device's own status events.
    pub status_event: String,

    // Requests and events of the QSS, under any of these words.
    pub invite: Vec<String>,
    pub invite_request: Vec<String>,
    pub expelled: Vec<String>,
    pub destroyed: Vec<String>,
    pub mute_request: Vec<String>,
    pub mute_change: Vec<String>,
    /// One participant's status, or several.
    pub participant: Vec<String>,
    /// The whole list of participants.
    pub participants: Vec<String>,
    pub participant_in_call: Vec<String>,
    pub participant_on_hold: Vec<String>,
    pub participant_gone: Vec<String>,
    pub active_speaker: Vec<String>,
    pub call_transfer: Vec<String>,
    pub incoming_attended_transfer: Vec<String>,
    pub transfer_error: Vec<String>,
    /// The status of the device is wanted.
    pub snapshot: Vec<String>,

    // Keys in requests of the device.
    pub username_key: String,
    pub token_key: String,
    pub device_id_key: String,
    /// The room of create, join, leave, destroy, invite and the list of participants.
    pub room_key: String,
    /// The room of mute, hold and transfer.
    pub room_id_key: String,
    pub meeting_key: String,
    pub quick_conference_key: String,
    pub password_key: String,
    pub record_key: String,
    pub leave_cause_key: String,
    /// Who invites and who is invited, in invites of either side and in their replies.
    pub from_key: String,
    pub to_key: String,
    /// What the invited side is asked to share.
    pub media_key: String,
    pub context_key: String,
    /// The request for an invite that an invite answers.
    pub invite_request_key: String,
    pub participants_key: String,
    pub transfer_id_key: String,
    /// Who is to be talked to, in a blind transfer and in an attended one.
    pub transfer_to_key: String,
    pub transfer_media_key: String,
    pub attended_target_key: String,
    /// Who is moved.
    pub attended_transferee_key: String,
}

/// `[qss.codes]`: what a refusal means. An entry is a code as in SIP or HTTP, or a word looked for in the reply's texts.
#[derive(Clone, PartialEq, Debug)]
pub struct QssCodes {
    /// Of `register`: another token may help.
    pub unauthorized: Vec<u16>,
    pub forbidden: Vec<String>,
    pub not_found: Vec<String>,
    pub too_early: Vec<String>,
    pub wrong_password: Vec<String>,
    pub room_full: Vec<String>,
    pub unknown_request: Vec<String>,
    // Why somebody whom the device has invited does not come.
    pub busy: Vec<String>,
    pub no_answer: Vec<String>,
    pub not_connected: Vec<String>,
    pub unknown_user: Vec<String>,
    pub not_allowed: Vec<String>,
    pub elsewhere: Vec<String>,
    pub failed: Vec<String>,
    /// Which codes end a ringing invite; empty: any.
    pub withdrawn: Vec<u16>,
    // What the device says itself: to a request that lacks what it needs, to a transfer without a call, and to a
    // request that it does not know.
    pub say_malformed: u16,
    pub say_no_call: u16,
    pub say_unknown: u16,
}

impl Default for QssCodes {
    fn default() -> QssCodes {
        let words = |list: &[&str]| list.iter().copied().map(str::to_owned).collect();
        QssCodes {
            unauthorized: vec![401, 403],
            forbidden: words(&["403"]),
            not_found: words(&["404"]),
            too_early: words(&["425", "AccessBeforeTimeError"]),
            wrong_password: words(&["WrongPasswordError", "wrong password"]),
            room_full: words(&["486", "participantsLimit"]),
            unknown_request: words(&["501", "unknown request"]),
            busy: words(&["486", "600", "UserBusy"]),
            no_answer: words(&["408", "NotAnswered", "Timeout"]),
            not_connected: words(&["480", "UserNotAvailable"]),
            unknown_user: words(&["404", "UserNotFound"]),
            not_allowed: words(&["403", "Forbidden"]),
            elsewhere: words(&["487"]),
            failed: words(&["400", "405", "500"]),
            withdrawn: Vec::new(),
            say_malformed: 400,
            say_no_call: 481,
            say_unknown: 501,
        }
    }
}

impl Default for QssNames {
    fn default() -> QssNames {
        let word = str::to_owned;
        let words = |list: &[&str]| list.iter().copied().map(str::to_owned).collect();
        QssNames {
            register: word("register"),
            unregister: word("unregister"),
            create_room: word("createRoom"),
            join_room: word("joinRoom"),
            join_meeting: word("joinRoom"),
            join_quick_conference: word("joinRoom"),
            leave_room: word("leaveRoom"),
            destroy_room: word("destroyRoom"),
            get_rooms: word("getRooms"),
            add_participants: word("addParticipants"),
            remove_participants: word("removeParticipants"),
            send_invite: word("invite"),
            send_invite_request: word("inviteRequest"),
            current_invitations: word("getCurrentInvitations"),
            mute: word("mute"),
            mute_report: word("mute"),
            hold: String::new(),
            unhold: String::new(),
            json_ping: word("ping"),
            transfer: word("callTransfer"),
            accept_transfer: word("acceptCallTransfer"),
            attended_transfer: word("attended-transfer"),
            status_event: word("endpointStatus"),

            invite: words(&["invite", "invitation"]),
            invite_request: words(&["inviteRequest", "invitationRequest"]),
            expelled: words(&["expelled", "removedFromRoom"]),
            destroyed: words(&["destroyed", "destroyRoom", "removeRoom"]),
            mute_request: words(&["mute-request", "muteRequest"]),
            mute_change: words(&["mute", "mute-change", "muteChange"]),
            participant: words(&["participant", "participantStatus", "participant-status", "status"]),
            participants: words(&["participants", "remoteParticipants", "roomUpdated"]),
            participant_in_call: words(&["participantAdded", "participantUnhold"]),
            participant_on_hold: words(&["participantHold"]),
            participant_gone: words(&["participantRemoved"]),
            active_speaker: words(&["activeSpeaker", "speakerChanged"]),
            call_transfer: words(&["callTransfer", "call-transfer", "transfer"]),
            incoming_attended_transfer: words(&["transferring-attended-transfer"]),
            transfer_error: words(&["transferError", "transfer-error"]),
            snapshot: words(&["endpointSnapshot"]),

            username_key: word("username"),
            token_key: word("token"),
            device_id_key: word("deviceId"),
            room_key: word("room"),
            room_id_key: word("roomId"),
            meeting_key: word("room"),
            quick_conference_key: word("room"),
            password_key: word("password"),
            record_key: word("record"),
            leave_cause_key: word("error"),
            from_key: word("from"),
            to_key: word("to"),
            media_key: word("mediatypes"),
            context_key: word("context"),
            invite_request_key: word("requestId"),
            participants_key: word("participants"),
            transfer_id_key: word("callTransferId"),
            transfer_to_key: word("to"),
            transfer_media_key: word("mediaTypes"),
            attended_target_key: word("target"),
            attended_transferee_key: word("transferee"),
        }
    }
}

impl QssNames {
    /// The lists of words by which the QSS may name one thing, with their keys. No word may stand in two of them.
    pub fn aliases(&self) -> [(&'static str, &[String]); 16] {
        [
            ("invite", &self.invite),
            ("invite_request", &self.invite_request),
            ("expelled", &self.expelled),
            ("destroyed", &self.destroyed),
            ("mute_request", &self.mute_request),
            ("mute_change", &self.mute_change),
            ("participant", &self.participant),
            ("participants", &self.participants),
            ("participant_in_call", &self.participant_in_call),
            ("participant_on_hold", &self.participant_on_hold),
            ("participant_gone", &self.participant_gone),
            ("active_speaker", &self.active_speaker),
            ("call_transfer", &self.call_transfer),
            ("incoming_attended_transfer", &self.incoming_attended_transfer),
            ("transfer_error", &self.transfer_error),
            ("snapshot", &self.snapshot),
        ]
    }
}
