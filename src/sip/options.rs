//! OPTIONS (RFC 3261 11): what we can do, in a dialog and out of it. Servers use it to see whether we live, and we to
//! keep a flow alive.

use super::core::{ACCEPT, Core, Incoming, SUPPORTED};
use super::endpoint::{CallId, Outbox};
use super::message::uri::bracketed;
use super::message::{Method, Name, Request};
use super::transaction::{Purpose, User};
use super::transport::Route;
use crate::time::Time;

/// Asks the peer of `route` what it can do. Whatever it answers, it has answered.
pub(super) fn probe(core: &mut Core, now: Time, route: Route, out: &mut Outbox) {
    let (host, port) = (bracketed(&route.flow.remote.ip().to_string()), route.flow.remote.port());
    let uri = format!("sip:{host}:{port}");
    let mut request = Request::new(Method::Options, uri.clone());
    let headers = &mut request.headers;
    headers.push(Name::MaxForwards, "70");
    if let Some(proxy) = core.preloaded_route() {
        headers.push(Name::Route, proxy);
    }
    let tag = core.rng.hex(8);
    headers.push(Name::From, core.identity_value(route.local, &tag));
    headers.push(Name::To, format!("<{uri}>"));
    headers.push(Name::CallId, core.rng.hex(16));
    headers.push(Name::CSeq, "1 OPTIONS");
    headers.push(Name::Accept, ACCEPT);
    core.send(now, request, route, User { call: NO_CALL, purpose: Purpose::Probe(route.flow) }, out);
}

/// No call has this number.
pub(super) const NO_CALL: CallId = CallId(0);

pub(super) fn answer(core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
    let mut response = core.response(incoming, 200);
    response.headers.push(Name::Allow, core.allow());
    response.headers.push(Name::Accept, ACCEPT);
    response.headers.push(Name::Supported, SUPPORTED);
    response.headers.push(Name::AcceptEncoding, "identity");
    core.respond(incoming, &response, None, out);
}
