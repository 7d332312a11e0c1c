//! What is offered to the mixer, and what its answer makes of it.

use super::visit::{Hold, Origin, Visit};
use crate::config::{self, Config};
use crate::media::command::StreamParams;
use crate::media::plan::{LONGEST_PTIME, Plan};
use crate::sdp::{Local, Negotiated};
use crate::sip::endpoint::CallId;
use crate::sip::message::{Headers, Name};
use crate::time::Span;

/// RFC 7587 6.1: the range of `maxaveragebitrate`.
const MIN_BITRATE: u32 = 6_000;

/// The cap in bit/s: the room's, the configuration's, or the smaller of both; 0: none.
pub(super) fn cap(visit: &Visit, config: &Config) -> u32 {
    let configured = Some(config.codec.cap_kbps).filter(|kbps| *kbps > 0).map(|kbps| kbps.saturating_mul(1_000));
    let room = visit.room.bitrate.map(|bitrate| bitrate.saturating_mul(config.qss.bitrate_unit));
    let smaller = match (room, configured) {
        (Some(room), Some(own)) => Some(room.min(own)),
        (room, own) => room.or(own),
    };
    smaller.unwrap_or(0)
}

pub(super) fn local(config: &Config, (rtp_port, rtcp_port): (u16, u16), plan: Plan, hold: Hold) -> Local {
    let codec = &config.codec;
    Local {
        address: Some(config.rtp.bind).filter(|bind| !bind.is_unspecified()),
        rtp_port,
        rtcp_port,
        ptime: plan.ptime,
        max_average_bitrate: plan.max_average_bitrate,
        fec: match codec.fec {
            config::FecMode::Off => false,
            config::FecMode::On | config::FecMode::Auto => true,
        },
        redundancy: codec.redundancy,
        dtx: codec.dtx,
        rtcp_xr: config.rtp.rtcp_xr,
        active: hold == Hold::Off,
    }
}

/// What a visit is, for its streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    pub(super) cap: u32,
    pub(super) hold: Hold,
    pub(super) follows: bool,
}

pub(super) fn terms(visit: &Visit, config: &Config) -> Terms {
    // Whoever calls us may do what we do where we call.
    let follows = config.rtp.follow_clock && visit.origin != Origin::Called;
    Terms { cap: cap(visit, config), hold: visit.hold, follows }
}

/// The headers of an INVITE to the room of `visit`: those of the configuration whose fields are known.
pub(super) fn headers(config: &Config, visit: &Visit) -> Headers {
    let room = visit.room.id.as_deref().unwrap_or_default();
    let token = visit.room.token.as_ref().map_or("", |token| token.0.as_str());
    let (user, device) = (config.qss.username.as_str(), config.device.id.as_str());
    let fields = [("{room}", room), ("{user}", user), ("{device}", device), ("{token}", token)];
    let fill = |(name, value): &(String, String)| {
        let known = fields.iter().all(|(field, known)| !value.contains(field) || !known.is_empty());
        let value = || fields.iter().fold(value.clone(), |value, (field, known)| value.replace(field, known));
        known.then(|| (Name::of(name), value()))
    };
    config.sip.headers.iter().filter_map(fill).collect()
}

/// The plan under the peer's limits. Its `maxaveragebitrate` is law (RFC 7587 6.1), unless it is the very number we
/// offered: Asterisk copies ours into its answer, and ours limits what it sends, not what it takes. Its `ptime` is a
/// wish (RFC 8866 6.4), granted when longer than the plan's; 20 ms is what every mixer says and wishes nothing. Its
/// `maxptime` is law, but for the cap.
///
/// A hold of ours counts at once, whatever the mixer has agreed to so far.
pub(super) fn stream_params(call: CallId, ssrc: u32, media: &Negotiated, plan: Plan, terms: Terms) -> StreamParams {
    let longer = [40, 60].map(Span::from_millis);
    let wish = media.ptime.filter(|wish| longer.contains(wish) && *wish > plan.ptime);
    let own_limit = |limit: &u32| *limit != plan.max_average_bitrate;
    let limit = media.max_average_bitrate.filter(own_limit).unwrap_or(u32::MAX).max(MIN_BITRATE);
    StreamParams {
        call: call.0,
        remote_rtp: media.remote_rtp,
        remote_rtcp: media.remote_rtcp,
        rtcp_mux: media.rtcp_mux,
        send_payload_type: media.send_payload_type,
        receive_payload_type: media.receive_payload_type,
        telephone_event: media.telephone_event,
        redundancy: media.redundancy,
        ssrc,
        ptime: wish.unwrap_or(plan.ptime),
        max_ptime: media.max_ptime.unwrap_or(LONGEST_PTIME),
        bitrate: plan.bitrate.min(limit),
        cap: terms.cap,
        follows: terms.follows,
        send: media.send && terms.hold == Hold::Off,
        receive: media.receive && terms.hold == Hold::Off,
        srtp: media.srtp,
        extended: media.extended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::xr::Asked;

    #[test]
    fn a_peer_that_says_nothing_takes_the_longest_packets() {
        let plan = Plan { ptime: Span::from_millis(20), bitrate: 32_000, max_average_bitrate: 24_000 };
        let takes = |max_ptime: Option<u64>| {
            let media = Negotiated { max_ptime: max_ptime.map(Span::from_millis), ..negotiated(None, None) };
            let terms = Terms { cap: 0, hold: Hold::Off, follows: true };
            stream_params(CallId(1), 7, &media, plan, terms).max_ptime.as_millis()
        };
        assert_eq!([takes(None), takes(Some(20))], [60, 20]);
    }

    fn negotiated(ptime_ms: Option<u64>, max_average_bitrate: Option<u32>) -> Negotiated {
        let remote = "192.0.2.1:20000".parse().expect("an address");
        Negotiated {
            remote_rtp: remote,
            remote_rtcp: remote,
            rtcp_mux: true,
            send_payload_type: 107,
            receive_payload_type: 96,
            telephone_event: None,
            redundancy: None,
            ptime: ptime_ms.map(Span::from_millis),
            max_ptime: None,
            max_average_bitrate,
            send: true,
            receive: true,
            srtp: None,
            extended: Asked::NOTHING,
        }
    }

    #[test]
    fn the_peers_limits_bend_the_plan_and_its_echo_does_not() {
        let plan = Plan { ptime: Span::from_millis(20), bitrate: 32_000, max_average_bitrate: 24_000 };
        let params = |ptime, limit| {
            let terms = Terms { cap: 64_000, hold: Hold::Off, follows: true };
            let params = stream_params(CallId(1), 7, &negotiated(ptime, limit), plan, terms);
            (params.ptime.as_millis(), params.bitrate)
        };
        assert_eq!(params(None, None), (20, 32_000));
        assert_eq!(params(Some(20), Some(16_000)), (20, 16_000));
        assert_eq!(params(Some(20), Some(24_000)), (20, 32_000), "our own number came back");
        assert_eq!(params(Some(60), Some(1)), (60, MIN_BITRATE));
        assert_eq!(params(Some(10), None), (20, 32_000), "the cap may need the longer packet");
        assert_eq!(params(Some(50), None), (20, 32_000), "Opus has no such packet here");
    }
}
