//! `[sip.register]`.

use super::{Section, key, most};
use crate::config::shape;
use crate::config::value::Rule;

pub(super) const REGISTER: Section = Section {
    name: "sip.register",
    doc: "Being known to a SIP server, so that calls to the device arrive (see `sip.incoming`).",
    board: false,
    keys: &[
        key(
            "servers",
            |d| &mut d.config.sip.register.servers,
            Rule::Text("SIP URIs", shape::sip_uri),
            "Where to register, most wanted first: the others stand in while the first cannot be had. Empty: nowhere. \
             Name and password are `sip.auth_user` and `sip.password`.",
        ),
        key(
            "aor",
            |d| &mut d.config.sip.register.aor,
            Rule::Text("a SIP URI with a user", shape::sip_address),
            "The device's public address, as others call it and as its own calls name it. Empty: `sip.user` at the host \
             of the server.",
        ),
        key(
            "expires_ms",
            |d| &mut d.config.sip.register.expires,
            Rule::Range(60_000, 86_400_000),
            "How long a registration shall hold without being refreshed; the server has the last word.",
        ),
        key(
            "home_retry_ms",
            |d| &mut d.config.sip.register.home_retry,
            Rule::Range(5_000, 86_400_000),
            "While registered at another server than the first, the first is tried again this often.",
        ),
        key(
            "retry_min_ms",
            |d| &mut d.config.sip.register.retry_min,
            Rule::Range(10, 600_000),
            "When all servers have failed they are tried again after a random pause: at least this, the first time at \
             most twice this. The most doubles each time ...",
        ),
        most("retry_max_ms", |d| &mut d.config.sip.register.retry_max),
        key(
            "least_ms",
            |d| &mut d.config.sip.register.least,
            Rule::Range(1_000, 3_600_000),
            "A registration that the server grants for less is refreshed as if it held for this long.",
        ),
        key(
            "lead_ms",
            |d| &mut d.config.sip.register.lead,
            Rule::Range(100, 3_600_000),
            "It is refreshed so long before it ends, or a tenth of its life if that is more, but not before half of it.",
        ),
    ],
};
