//! Dialogs (RFC 3261 12): tags, sequence numbers, remote target and route set.
//!
//! Both roles: our INVITE makes one by its 2xx or by a provisional response with a tag, the peer's by our first answer.
//! A dialog is matched by Call-ID and tags alone (12.2.2): mixers rewrite the URIs of From and To.

use super::message::name_addr::NameAddr;
use super::message::uri::Uri;
use super::message::{CSeq, Headers, Identity, Method, Name, Request};
use super::transaction::Answer;
use crate::random::Rng;
use crate::time::Span;

#[derive(Clone, Debug)]
pub(super) struct Dialog {
    call_id: String,
    /// Our From value, tag included.
    local: String,
    local_tag: String,
    /// The peer's To value, tag included.
    remote: String,
    remote_tag: String,
    local_seq: u32,
    /// None until the peer sends its first request.
    remote_seq: Option<u32>,
    /// The peer's Contact.
    target: String,
    /// Route values, nearest first.
    routes: Vec<String>,
    caller: Caller,
}

/// Who made the Call-ID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Caller {
    Us,
    Peer,
}

impl Dialog {
    /// The dialog a 2xx makes out of our INVITE (RFC 3261 12.1.2). A peer without Contact is reached as it was dialled.
    pub(super) fn of_answer(answer: &Answer) -> Dialog {
        let Answer { request, response, identity, .. } = answer;
        let routes: Vec<String> = response.headers.elements(&Name::RecordRoute).map(String::from).collect();
        let mut dialog = Dialog {
            call_id: identity.call_id.clone(),
            local: request.headers.first(&Name::From).unwrap_or_default().into(),
            local_tag: identity.from.tag().unwrap_or_default().into(),
            remote: response.headers.first(&Name::To).unwrap_or_default().into(),
            remote_tag: identity.to.tag().unwrap_or_default().into(),
            local_seq: identity.cseq.number,
            remote_seq: None,
            target: request.uri.clone(),
            routes: routes.into_iter().rev().collect(),
            caller: Caller::Us,
        };
        dialog.refresh_target(&response.headers);
        dialog
    }

    /// The dialog that our answer with `tag` makes out of an INVITE of the peer (RFC 3261 12.1.1).
    pub(super) fn of_invite(request: &Request, identity: &Identity, tag: &str) -> Dialog {
        let mut dialog = Dialog {
            call_id: identity.call_id.clone(),
            local: format!("{};tag={tag}", request.headers.first(&Name::To).unwrap_or_default()),
            local_tag: tag.into(),
            remote: request.headers.first(&Name::From).unwrap_or_default().into(),
            remote_tag: identity.from.tag().unwrap_or_default().into(),
            local_seq: 0,
            remote_seq: Some(identity.cseq.number),
            target: identity.from.uri.clone(),
            routes: request.headers.elements(&Name::RecordRoute).map(String::from).collect(),
            caller: Caller::Peer,
        };
        dialog.refresh_target(&request.headers);
        dialog
    }

    /// The numbers go on from the early dialog that this one was.
    pub(super) fn resume(&mut self, early: &Dialog) {
        self.local_seq = self.local_seq.max(early.local_seq);
        self.remote_seq = self.remote_seq.max(early.remote_seq);
    }

    /// RFC 3261 14.1: after a 491 who made the Call-ID waits 2.1 to 4 s, the other up to 2 s, in units of 10 ms.
    pub(super) fn pause_after_glare(&self, rng: &mut Rng) -> Span {
        let (least, steps) = match self.caller {
            Caller::Us => (Span::from_millis(2_100), 191),
            // Not 0: the timer must lie ahead.
            Caller::Peer => (Span::from_millis(10), 200),
        };
        least + Span::from_millis(10).times(rng.below(steps))
    }

    /// Our From value, or To in what we answer to its INVITE.
    pub(super) fn local(&self) -> &str {
        &self.local
    }

    /// Whether a request of the peer belongs to this dialog.
    pub(super) fn matches(&self, identity: &Identity) -> bool {
        identity.call_id == self.call_id
            && identity.to.tag() == Some(self.local_tag.as_str())
            && identity.from.tag().unwrap_or_default() == self.remote_tag
    }

    pub(super) fn remote_tag(&self) -> &str {
        &self.remote_tag
    }

    /// RFC 3261 12.2.2: a request older than the last one is refused.
    ///
    /// # Errors
    /// The number is not above the last one.
    pub(super) fn note_remote_seq(&mut self, cseq: &CSeq) -> Result<(), OutOfOrder> {
        if self.remote_seq.is_some_and(|last| cseq.number <= last) {
            return Err(OutOfOrder);
        }
        self.remote_seq = Some(cseq.number);
        Ok(())
    }

    /// A Contact in a target refresh request or its 2xx moves the peer (RFC 3261 12.2).
    pub(super) fn refresh_target(&mut self, headers: &Headers) {
        let contact = headers.elements(&Name::Contact).next().and_then(|value| NameAddr::parse(value).ok());
        if let Some(contact) = contact.filter(|contact| Uri::parse(&contact.uri).is_ok()) {
            self.target = contact.uri;
        }
    }

    /// The URI that decides where requests of this dialog are sent (RFC 3261 12.2.1.1).
    pub(super) fn next_hop(&self) -> String {
        let route = self.routes.first().and_then(|route| NameAddr::parse(route).ok());
        route.map_or_else(|| self.target.clone(), |route| route.uri)
    }

    /// A new request, with the next sequence number; Via and whatever the method needs are still to come.
    pub(super) fn request(&mut self, method: Method) -> Request {
        self.local_seq += 1;
        self.request_with_seq(method, self.local_seq)
    }

    /// The ACK of a 2xx has the number of its INVITE (RFC 3261 13.2.2.4).
    pub(super) fn ack(&self, cseq: u32) -> Request {
        self.request_with_seq(Method::Ack, cseq)
    }

    fn request_with_seq(&self, method: Method, cseq: u32) -> Request {
        let cseq = CSeq { number: cseq, method: method.clone() };
        let first = self.routes.first().and_then(|route| NameAddr::parse(route).ok());
        let strict = first.filter(|first| !Uri::parse(&first.uri).is_ok_and(|uri| uri.params.has("lr")));
        let (uri, routes) = match &strict {
            None => (self.target.clone(), self.routes.clone()),
            // An RFC 2543 router wants to be the Request-URI, and the target to be the last route (12.2.1.1).
            Some(first) => {
                let rest = self.routes.iter().skip(1).cloned();
                (first.uri.clone(), rest.chain([format!("<{}>", self.target)]).collect())
            }
        };
        let mut request = Request::new(method, uri);
        let headers = &mut request.headers;
        headers.push(Name::MaxForwards, "70");
        for route in routes {
            headers.push(Name::Route, route);
        }
        headers.push(Name::From, self.local.clone());
        headers.push(Name::To, self.remote.clone());
        headers.push(Name::CallId, self.call_id.clone());
        headers.push(Name::CSeq, cseq.to_string());
        request
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OutOfOrder;
