//! One session description: from bytes to the facts we act on, and from our facts to bytes.
//!
//! Reading is tolerant (RFC 8866 9 and what peers really send): attributes in any order, unknown ones ignored,
//! addresses at either level, `a=` lines at session level as defaults for the stream. Writing is strict.

use super::security::Line;
use super::{Error, Local};
use crate::rtp::xr::Asked;
use crate::time::Span;
use sdp_types::{Attribute, Connection, Crypto, Fmtp, FmtpParam, Media, MediaType, RtpMap, Session, TransportProto};
use std::net::{IpAddr, SocketAddr};

/// Stream direction, seen by the one who wrote it.
pub use sdp_types::Direction;

/// What the description says about the one audio stream we can use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
    pub rtcp_mux: bool,
    /// Payload type of Opus.
    pub opus: u8,
    /// `telephone-event` (RFC 4733) in the clock of Opus, or else in that of a telephone.
    pub telephone_event: Option<EventType>,
    /// `red` (RFC 2198) of this Opus and nothing else.
    pub red: Option<u8>,
    pub ptime: Option<Span>,
    pub max_ptime: Option<Span>,
    /// bit/s.
    pub max_average_bitrate: Option<u32>,
    pub direction: Direction,
    /// Extended reports that are asked for; `None`: there is no word of them.
    pub extended: Option<Asked>,
    pub(super) profile: Profile,
    /// Each `m=` line in order, because an answer must have the same ones (RFC 3264 6).
    pub(super) streams: Vec<Stream>,
}

/// A payload type of telephone events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventType {
    pub payload_type: u8,
    pub clock_rate: u32,
}

/// What carries the stream (RFC 3551, RFC 3711).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Profile {
    /// `RTP/AVP`, `RTP/AVPF`.
    Plain,
    /// `RTP/SAVP`, `RTP/SAVPF`, with the `a=crypto` lines that we understand.
    Protected(Vec<Line>),
}

/// An `m=` line as an answer has to repeat it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stream {
    /// The stream this description is about, with the transport as offered.
    Ours { proto: String },
    /// Any other: answered with port 0.
    Other { media: String, proto: String, formats: String },
}

/// What we write about our side of the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ours<'a> {
    pub(super) session_id: u64,
    pub(super) address: IpAddr,
    pub(super) local: &'a Local,
    pub(super) opus: u8,
    pub(super) telephone_events: &'a [EventType],
    pub(super) red: Option<u8>,
    pub(super) direction: Direction,
    pub(super) rtcp_mux: bool,
    pub(super) crypto: &'a [Line],
    /// Value of `a=rtcp-xr`.
    pub(super) extended: Option<&'static str>,
}

/// Clocks that events may have, the best first: one stream has one clock (RFC 7160 3).
pub(super) const EVENT_CLOCKS: [u32; 2] = [48_000, 8_000];

/// RFC 7587 6.1: `maxaveragebitrate` is 6000..=510000 bit/s.
const OPUS_BITRATES: std::ops::RangeInclusive<u32> = 6_000..=510_000;

/// Reads a description; the first audio stream that has Opus over plain RTP is the one it is about.
///
/// # Errors
/// See [`Error`]; when several audio streams fail, the error of the first.
pub fn parse(bytes: &[u8]) -> Result<Description, Error> {
    parse_offer(bytes, |profile| match profile {
        Profile::Plain => Ok(()),
        Profile::Protected(_) => Err(Error::NoAudio),
    })
}

/// Reads an offer; the first audio stream that has Opus and a profile that is `wanted` is the one it is about.
pub(super) fn parse_offer(bytes: &[u8], wanted: impl Fn(&Profile) -> Result<(), Error>) -> Result<Description, Error> {
    let session = Session::parse(bytes).map_err(|_| Error::Malformed)?;
    let mut failure = Error::NoAudio;
    for (index, media) in session.medias.iter().enumerate() {
        let read = read_stream(&session, media, None).and_then(|read| wanted(&read.profile).map(|()| read));
        match read {
            Ok(description) => return Ok(Description { streams: streams(&session, index), ..description }),
            Err(Error::NoAudio) => {}
            Err(error) if failure == Error::NoAudio => failure = error,
            Err(_) => {}
        }
    }
    Err(failure)
}

/// Reads the answer to an offer of ours, in which the `m=` line `ours` had Opus with the payload type `offered`.
pub(super) fn parse_answer(bytes: &[u8], ours: usize, offered: u8) -> Result<Description, Error> {
    let session = Session::parse(bytes).map_err(|_| Error::Malformed)?;
    read_stream(&session, session.medias.get(ours).ok_or(Error::NoAudio)?, Some(offered))
}

fn read_stream(session: &Session, media: &Media, offered: Option<u8>) -> Result<Description, Error> {
    if !media.media.eq_ignore_ascii_case("audio") || media.port == 0 {
        return Err(Error::NoAudio);
    }
    let profile = profile(media).ok_or(Error::NoAudio)?;
    let formats: Vec<u8> = media.fmt.split_ascii_whitespace().filter_map(|format| format.parse().ok()).collect();
    let maps: Vec<RtpMap> = media.attributes_typed::<RtpMap>().filter_map(Result::ok).collect();
    let find = |name: &str, rate: u32| {
        formats.iter().copied().find(|format| {
            maps.iter().any(|map| {
                map.payload_type == *format && map.encoding_name.eq_ignore_ascii_case(name) && map.clock_rate == rate
            })
        })
    };
    let mapped = |format: u8| maps.iter().any(|map| map.payload_type == format);
    // An answer may leave out the rtpmap of a number that our offer already bound (seen with small gateways).
    let bound_by_offer = || offered.filter(|pt| formats.contains(pt) && !mapped(*pt));
    let opus = find("opus", 48_000).or_else(bound_by_offer).ok_or(Error::NoOpus)?;

    let address = address(media.connections.first().or(session.connection.as_ref()).ok_or(Error::NoAddress)?)?;
    let rtp = SocketAddr::new(address, media.port);
    let rtcp_mux = media.has_attribute("rtcp-mux");
    let mut direction = direction(session, media);
    if address.is_unspecified() {
        // RFC 2543 hold (RFC 3264 8.4). Nothing is sent there; what comes could be anybody's, and nobody counts on any.
        direction = Direction::Inactive;
    }
    Ok(Description {
        rtp,
        rtcp: if rtcp_mux { rtp } else { rtcp(media, rtp) },
        rtcp_mux,
        opus,
        telephone_event: EVENT_CLOCKS.iter().find_map(|rate| {
            find("telephone-event", *rate).map(|payload_type| EventType { payload_type, clock_rate: *rate })
        }),
        red: find("red", 48_000).filter(|red| repeats(media, *red, opus)),
        ptime: ptime(session, media),
        max_ptime: millis(session, media, "maxptime"),
        max_average_bitrate: max_average_bitrate(media, opus),
        direction,
        extended: extended(session, media),
        profile,
        streams: Vec::new(),
    })
}

fn profile(media: &Media) -> Option<Profile> {
    let is = |names: [&str; 2]| names.iter().any(|name| media.proto.eq_ignore_ascii_case(name));
    if is(["RTP/AVP", "RTP/AVPF"]) {
        return Some(Profile::Plain);
    }
    let lines = || media.attributes_typed::<Crypto>().filter_map(|crypto| Line::read(&crypto.ok()?)).collect();
    is(["RTP/SAVP", "RTP/SAVPF"]).then(|| Profile::Protected(lines()))
}

fn streams(session: &Session, ours: usize) -> Vec<Stream> {
    let stream = |(index, media): (usize, &Media)| match index == ours {
        true => Stream::Ours { proto: media.proto.clone() },
        false => Stream::Other { media: media.media.clone(), proto: media.proto.clone(), formats: media.fmt.clone() },
    };
    session.medias.iter().enumerate().map(stream).collect()
}

fn address(connection: &Connection) -> Result<IpAddr, Error> {
    let ip = connection.try_address().map_err(|_| Error::NoAddress)?.ip;
    if ip.is_multicast() { Err(Error::NoAddress) } else { Ok(ip) }
}

/// RFC 3605: port, and perhaps address, of RTCP; without it the port after RTP's (RFC 3550 11).
fn rtcp(media: &Media, rtp: SocketAddr) -> SocketAddr {
    let next = SocketAddr::new(rtp.ip(), rtp.port().checked_add(1).unwrap_or(rtp.port()));
    let Some(Ok(rtcp)) = media.get_first_attribute_typed::<sdp_types::Rtcp>() else { return next };
    if rtcp.port == 0 {
        return next;
    }
    let ip = rtcp.try_address().and_then(Result::ok).map(|address| address.ip).filter(|ip| !ip.is_multicast());
    SocketAddr::new(ip.unwrap_or(rtp.ip()), rtcp.port)
}

fn direction(session: &Session, media: &Media) -> Direction {
    let of = |attributes: &[Attribute]| attributes.iter().find_map(|a| a.attribute.parse::<Direction>().ok());
    of(&media.attributes).or_else(|| of(&session.attributes)).unwrap_or_default()
}

/// `a=ptime`, shortened to `a=maxptime` where that is less (RFC 8866 6.4, 6.5); values no codec has are ignored.
fn ptime(session: &Session, media: &Media) -> Option<Span> {
    let ptime = millis(session, media, "ptime")?;
    Some(millis(session, media, "maxptime").map_or(ptime, |max| ptime.min(max)))
}

fn millis(session: &Session, media: &Media, name: &str) -> Option<Span> {
    let value = media.get_first_attribute_value(name).or_else(|| session.get_first_attribute_value(name));
    let whole = value.flatten()?.trim().split('.').next()?.parse::<u64>().ok()?;
    (1..=200).contains(&whole).then(|| Span::from_millis(whole))
}

/// RFC 3611 5.1. It may be there without a value: known, and nothing asked for.
fn extended(session: &Session, media: &Media) -> Option<Asked> {
    let of = |attributes: &[Attribute]| {
        let line = attributes.iter().find(|a| a.attribute.eq_ignore_ascii_case("rtcp-xr"))?;
        Some(Asked::parse(line.value.as_deref().unwrap_or_default()))
    };
    of(&media.attributes).or_else(|| of(&session.attributes))
}

/// Whether all blocks of this `red` are of Opus (RFC 2198 5): `a=fmtp:99 96/96`.
fn repeats(media: &Media, red: u8, opus: u8) -> bool {
    let mut lines = media.attributes.iter().filter(|a| a.attribute.eq_ignore_ascii_case("fmtp"));
    let blocks = lines.find_map(|a| {
        let (format, blocks) = a.value.as_deref()?.trim().split_once(' ')?;
        (format.parse() == Ok(red)).then_some(blocks.trim())
    });
    let is_opus = |block: &str| block.parse() == Ok(opus);
    blocks.is_some_and(|blocks| blocks.contains('/') && blocks.split('/').all(is_opus))
}

fn max_average_bitrate(media: &Media, opus: u8) -> Option<u32> {
    let fmtp = media.attributes_typed::<Fmtp>().filter_map(Result::ok).find(|fmtp| fmtp.fmt == opus)?;
    let param =
        fmtp.format_specific_params.iter().find(|p| p.param.trim().eq_ignore_ascii_case("maxaveragebitrate"))?;
    let rate: u32 = param.val.as_deref()?.trim().parse().ok()?;
    (rate > 0).then(|| rate.clamp(*OPUS_BITRATES.start(), *OPUS_BITRATES.end()))
}

/// Our description as text, with the `o=` version `version`. `streams` are the `m=` lines of the peer's last offer, or
/// just ours.
pub(super) fn write(ours: Ours<'_>, streams: &[Stream], version: u64) -> Vec<u8> {
    let mut origin = sdp_types::Origin::with_ip_addr(ours.session_id, version, ours.address);
    origin.set_username("-");
    let mut session = Session::new(origin, "-");
    session.set_connection(Connection::from_ip_addr(ours.address));
    session.add_time(sdp_types::Time::new(0, 0));
    for stream in streams {
        session.add_media(match stream {
            Stream::Ours { proto } => audio(ours, proto),
            Stream::Other { media, proto, formats } => {
                let mut refused = Media::new(MediaType::Audio, 0, TransportProto::RtpAvp, formats);
                refused.media.clone_from(media);
                refused.proto.clone_from(proto);
                refused
            }
        });
    }
    let mut bytes = Vec::with_capacity(512);
    session.write(&mut bytes).expect("writing to a Vec does not fail");
    bytes
}

fn audio(ours: Ours<'_>, proto: &str) -> Media {
    let local = ours.local;
    let events = || ours.telephone_events.iter();
    let others = events().map(|event| event.payload_type).chain(ours.red);
    let formats = others.fold(ours.opus.to_string(), |formats, other| format!("{formats} {other}"));
    let mut media = Media::new(MediaType::Audio, local.rtp_port, TransportProto::RtpAvp, formats);
    media.proto = proto.into();
    ours.crypto.iter().for_each(|line| media.add_attribute(line.write()));
    media.add_attribute(RtpMap::with_encoding_params(ours.opus, "opus", 48_000, "2"));
    media.add_attribute(opus_parameters(ours.opus, local));
    for event in events() {
        media.add_attribute(RtpMap::new(event.payload_type, "telephone-event", event.clock_rate));
        media.add_attribute_with_value("fmtp", format!("{} 0-15", event.payload_type));
    }
    if let Some(red) = ours.red {
        media.add_attribute(RtpMap::with_encoding_params(red, "red", 48_000, "2"));
        media.add_attribute_with_value("fmtp", format!("{red} {0}/{0}", ours.opus));
    }
    // 2.5 ms are 3 (RFC 7587 6.1).
    media.add_attribute_with_value("ptime", local.ptime.as_micros().div_ceil(1_000));
    media.add_attribute_with_value("maxptime", 60);
    if local.rtp_port.checked_add(1) != Some(local.rtcp_port) {
        media.add_attribute(sdp_types::Rtcp::with_port(local.rtcp_port));
    }
    if ours.rtcp_mux {
        media.add_attribute_from_str("rtcp-mux");
    }
    if let Some(wanted) = ours.extended {
        media.add_attribute_with_value("rtcp-xr", wanted);
    }
    media.add_attribute(ours.direction);
    media
}

/// RFC 7587 6.1. What stays at its default is not written.
fn opus_parameters(payload_type: u8, local: &Local) -> Fmtp {
    let mut fmtp = Fmtp::new(payload_type);
    let rate = local.max_average_bitrate.clamp(*OPUS_BITRATES.start(), *OPUS_BITRATES.end());
    fmtp.add_format_specific_param(FmtpParam::with_value("minptime", 10));
    fmtp.add_format_specific_param(FmtpParam::with_value("maxaveragebitrate", rate));
    if local.fec {
        fmtp.add_format_specific_param(FmtpParam::with_value("useinbandfec", 1));
    }
    if local.dtx {
        fmtp.add_format_specific_param(FmtpParam::with_value("usedtx", 1));
    }
    fmtp
}
