//! OPTIONS (RFC 3261 11): what we can do, in a dialog and out of it. Servers use it to see whether we live.

use super::core::{ACCEPT, ALLOW, Core, Incoming, SUPPORTED};
use super::endpoint::Outbox;
use super::message::Name;

pub(super) fn answer(core: &mut Core, incoming: &Incoming<'_>, out: &mut Outbox) {
    let mut response = core.response(incoming, 200);
    response.headers.push(Name::Allow, ALLOW);
    response.headers.push(Name::Accept, ACCEPT);
    response.headers.push(Name::Supported, SUPPORTED);
    response.headers.push(Name::AcceptEncoding, "identity");
    core.respond(incoming, &response, None, out);
}
