//! REFER (RFC 3515) of the peer within a call, by policy: the agent calls somebody else and the peer hears how it went.
//!
//! ```text
//!   REFER --> 202, NOTIFY "100 Trying" --> Referral --what came of it--> NOTIFY "200 OK", "486 Busy Here" ..
//!        '--> 405 by policy; 400, 603 what cannot be followed
//! ```
//!
//! One at a time: a second one meanwhile gets 603. A Replaces header in Refer-To (RFC 3891) goes into the new INVITE.

use super::call::{Call, Session, State};
use super::core::{Core, Incoming};
use super::endpoint::{Event, Outbox, Output};
use super::message::name_addr::NameAddr;
use super::message::uri::{Uri, unescape};
use super::message::{Headers, Method, Name, Response};
use super::transaction::{Purpose, User};
use crate::config::Refer;
use crate::time::Time;

/// A REFER whose outcome the peer is to be told.
#[derive(Debug)]
pub(super) struct Referral {
    /// CSeq of the REFER: the id of its subscription (2.4.6).
    id: u32,
}

/// What a Refer-To wants.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Wish {
    target: String,
    headers: Headers,
}

/// How long the subscription lasts at most, in seconds: longer than any INVITE may ring.
const EXPIRES: u32 = 600;

impl Call {
    pub(super) fn on_refer(&mut self, core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
        match core.config.refer {
            Refer::Refuse => return core.refuse(incoming, 405, out),
            Refer::Follow => {}
        }
        let State::Confirmed(session) = &mut self.state else { return core.refuse(incoming, 481, out) };
        // 2.4.1: exactly one.
        let wish = match incoming.request.headers.only(&Name::ReferTo, "") {
            Ok(value) => NameAddr::parse(value),
            Err(_) => return core.refuse(incoming, 400, out),
        };
        let Ok(wish) = wish else { return core.refuse(incoming, 400, out) };
        let (Some(mut wish), None) = (wish_of(&wish.uri), &session.referral) else {
            return core.refuse(incoming, 603, out);
        };
        // RFC 3892 2.2: the new peer may want to know who sent us.
        if let Some(by) = incoming.request.headers.first(&Name::ReferredBy) {
            wish.headers.push(Name::ReferredBy, by);
        }
        session.referral = Some(Referral { id: incoming.identity.cseq.number });
        let mut response = core.response(incoming, 202);
        response.headers.push(Name::Contact, core.contact_for(session.leg.route, incoming.request));
        core.respond(incoming, &response, None, out);
        session.notify(core, incoming.now, &Response::new(100), User { call: self.id, purpose: Purpose::Notify }, out);
        let Wish { target, headers } = wish;
        out.push_back(Output::Event(Event::Referred { call: self.id, target, headers }));
    }

    /// Tells the peer what came of its REFER: a final status.
    pub(super) fn tell_referrer(&mut self, core: &mut Core, now: Time, status: u16, out: &mut Outbox) {
        let State::Confirmed(session) = &mut self.state else { return };
        if session.referral.is_some() {
            let user = User { call: self.id, purpose: Purpose::Notify };
            session.notify(core, now, &Response::new(status), user, out);
            session.referral = None;
        }
    }
}

impl Session {
    /// 2.4.4, 2.4.5: each NOTIFY has the status line so far as its body.
    fn notify(&mut self, core: &mut Core, now: Time, outcome: &Response, user: User, out: &mut Outbox) {
        let Some(Referral { id }) = self.referral else { return };
        let mut notify = self.dialog.request(Method::Notify);
        notify.headers.push(Name::Event, format!("refer;id={id}"));
        let state = match outcome.status {
            ..=199 => format!("active;expires={EXPIRES}"),
            _ => "terminated;reason=noresource".into(),
        };
        notify.headers.push(Name::SubscriptionState, state);
        notify.headers.push(Name::Contact, core.contact_in(self.leg.route, &notify));
        notify.headers.push(Name::ContentType, "message/sipfrag;version=2.0");
        notify.body = format!("SIP/2.0 {} {}\r\n", outcome.status, outcome.reason).into_bytes();
        self.leg.credentials.authorize(&mut notify);
        core.send(now, notify, self.leg.route, user, out);
    }
}

/// A `sip:` or `sips:` URI to INVITE, with no header but Replaces. None: something else is wanted.
fn wish_of(uri: &str) -> Option<Wish> {
    let mut parsed = Uri::parse(uri).ok()?;
    let is_invite = parsed.params.value("method").is_none_or(|method| method == Method::Invite.as_str());
    let mut headers = Headers::default();
    for pair in parsed.headers.take().iter().flat_map(|all| all.split('&')) {
        let (name, value) = pair.split_once('=')?;
        if Name::of(name) != Name::Replaces {
            return None;
        }
        headers.push(Name::Replaces, unescape(value)?);
    }
    is_invite.then(|| Wish { target: parsed.to_string(), headers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed_and_what_is_not() {
        let wish = wish_of("sip:bob@b.example;transport=tcp?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2").unwrap();
        assert_eq!(wish.target, "sip:bob@b.example;transport=tcp");
        assert_eq!(wish.headers.first(&Name::Replaces), Some("a@b;to-tag=1;from-tag=2"));
        assert!(wish_of("sip:bob@b.example;method=INVITE").is_some() && wish_of("sips:bob@b.example").is_some());
        for bad in [
            "tel:+49",
            "sip:bob@b.example;method=BYE",
            "sip:bob@b.example?Subject=x",
            "sip:bob@b.example?Replaces",
            "sip:bob@b.example?Replaces=%zz",
            "sip:bob@b.example?Replaces=%ff",
        ] {
            assert_eq!(wish_of(bad), None, "{bad}");
        }
    }
}
