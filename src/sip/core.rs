//! What every verb needs besides its call: configuration, chance, our own address, and the transactions.

use super::endpoint::{CallId, Outbox, Output, Refreshes};
use super::media_keys::MediaKeys;
use super::message::name_addr::{NameAddr, quote};
use super::message::uri::{Scheme, Uri, bracketed_ip, escape_user, parse_host_port};
use super::message::via::{MAGIC_COOKIE, Via};
use super::message::{Identity, Method, Name, Refusal, Request, Response};
use super::transaction::{Timing, Transactions, User, change_transport};
use super::transport::flows::Flows;
use super::transport::{Flow, Route, Target, Transport};
use crate::config;
use crate::random::Rng;
use crate::time::{Span, Time};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

pub(super) struct Core {
    pub(super) config: config::Sip,
    pub(super) rng: Rng,
    pub(super) transactions: Transactions,
    pub(super) flows: Flows,
    /// Why the last connection was lost or did not come about, for people.
    pub(super) last_loss: String,
    /// Stands for us where no address does (RFC 7118 5: WebSocket clients have none).
    nowhere: String,
    /// Peers that took no TCP, and until when that is believed.
    udp_only: BTreeMap<SocketAddr, Time>,
    /// UUID of this device (RFC 5626 4.1).
    pub(super) instance: String,
    /// Port of our socket.
    pub(super) port: u16,
    pub(super) refreshes: Refreshes,
    pub(super) media_keys: MediaKeys,
}

/// Of so many peers it is remembered that they refused TCP.
const MAX_UDP_ONLY: usize = 16;
/// Methods we answer with more than 405, and with them those of `sip.refer = "follow"`.
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO";
const ALLOW_REFER: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, REFER";
/// Extensions we know: RFC 3262 and RFC 4028.
pub(super) const SUPPORTED: &str = "100rel, timer";
pub(super) const ACCEPT: &str = "application/sdp";

/// A request as it arrived.
pub(super) struct Incoming<'a> {
    pub(super) now: Time,
    pub(super) flow: Flow,
    pub(super) request: &'a Request,
    pub(super) identity: &'a Identity,
}

/// Where requests for a URI go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Hop {
    /// The outbound proxy, whatever the URI says.
    Proxy(Target),
    /// Named by the host map.
    Mapped(Target),
    /// The URI's own host.
    Direct(Target),
}

impl Hop {
    pub(super) fn target(&self) -> &Target {
        match self {
            Hop::Proxy(target) | Hop::Mapped(target) | Hop::Direct(target) => target,
        }
    }
}

/// Where the requests within a dialog go, compared with its INVITE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NextHop {
    Same,
    At(Flow),
    /// To be looked up.
    Named(Target),
}

impl Core {
    pub(super) fn new(config: &config::Sip, mut rng: Rng) -> Core {
        let some = |span: Span| if span == Span::ZERO { Span::from_millis(1) } else { span };
        let timing = Timing { t1: some(config.t1), t2: some(config.t2), t4: config.t4 };
        let transactions = Transactions::new(timing);
        let refreshes = Refreshes::default();
        Core {
            config: config.clone(),
            nowhere: format!("{}.invalid", rng.hex(6)),
            rng,
            transactions,
            flows: Flows::new(config),
            last_loss: String::new(),
            udp_only: BTreeMap::new(),
            instance: super::register::instance(""),
            port: config.bind.port(),
            refreshes,
            media_keys: MediaKeys::default(),
        }
    }

    /// Proxy first, then the host map by `host:port` and by `host`, then the host itself. The Request-URI is not changed.
    pub(super) fn hop(&self, uri: &Uri) -> Hop {
        self.hop_by(uri, self.config.transport)
    }

    /// [`hop`](Core::hop), by `transport` when the URI names none.
    fn hop_by(&self, uri: &Uri, transport: Transport) -> Hop {
        let named = |uri: &Uri| uri.params.value("transport").and_then(Transport::of);
        // Each hop of a request to a `sips:` URI is protected (RFC 3261 26.2.2), the first one too.
        let secure = |transport: Transport, scheme: Scheme| match scheme {
            Scheme::Sip => transport,
            Scheme::Sips => transport.secured(),
        };
        if let Some(proxy) = self.config.outbound_proxy.as_deref() {
            let proxy_uri = Uri::parse(proxy).ok();
            let transport = proxy_uri.as_ref().and_then(named).unwrap_or(self.config.transport);
            let transport = secure(transport, proxy_uri.as_ref().map_or(Scheme::Sip, |uri| uri.scheme));
            let transport = secure(transport, uri.scheme);
            let place = proxy_uri.map(|uri| (uri.host, uri.port)).or_else(|| host_port(proxy));
            if let Some((host, port)) = place {
                return Hop::Proxy(Target { host, port, transport });
            }
        }
        let transport = secure(named(uri).unwrap_or(transport), uri.scheme);
        let target = |host, port| Target { host, port, transport };
        let entry = |wanted: Option<u16>| {
            self.config.host_map.iter().find_map(|(from, to)| {
                let (host, from_port) = host_port(from)?;
                (host.eq_ignore_ascii_case(&uri.host) && from_port == wanted).then(|| host_port(to))?
            })
        };
        match entry(Some(uri.port.unwrap_or(transport.default_port()))).or_else(|| entry(None)) {
            Some((host, mapped_port)) => Hop::Mapped(target(host, mapped_port.or(uri.port))),
            None => Hop::Direct(target(uri.host.clone(), uri.port)),
        }
    }

    /// Follows the Contact or Route `uri` of a dialog whose INVITE went to `first` (RFC 3261 12.2.1.1).
    pub(super) fn next_hop(&self, first: &Hop, uri: &str) -> NextHop {
        let Ok(uri) = Uri::parse(uri) else { return NextHop::Same };
        // Deviation from RFC 3263 4.1: a URI without a transport means the one the dialog already has.
        let transport = first.target().transport;
        match (first, self.hop_by(&uri, transport)) {
            (_, Hop::Proxy(..)) => NextHop::Same,
            // A WebSocket leads to one server, whatever addresses that server has (RFC 7118 5.5).
            _ if matches!(transport, Transport::Ws | Transport::Wss) => NextHop::Same,
            // Deviation from 12.2.1.1: a host map stands for a network we are not in, and addresses of that network
            // which the map does not name cannot be reached. The element that answered can.
            (Hop::Mapped(..), Hop::Direct(..)) => NextHop::Same,
            (first, hop) if first.target().is_same(hop.target()) => NextHop::Same,
            (_, Hop::Mapped(target) | Hop::Direct(target)) => match target.flow() {
                Some(flow) => NextHop::At(flow),
                None => NextHop::Named(target),
            },
        }
    }

    /// The methods there are to name.
    pub(super) fn allow(&self) -> &'static str {
        match self.config.refer {
            config::Refer::Refuse => ALLOW,
            config::Refer::Follow => ALLOW_REFER,
        }
    }

    /// Our From value for a new call.
    pub(super) fn identity_value(&self, local: IpAddr, tag: &str) -> String {
        let ours = || format!("sip:{}@{}", escape_user(&self.config.user), bracketed_ip(local));
        let address = format!("<{}>;tag={tag}", self.config.register.aor.clone().unwrap_or_else(ours));
        match self.config.display_name.as_str() {
            "" => address,
            name => format!("{} {address}", quote(name)),
        }
    }

    /// The Route of requests outside dialogs: the proxy, if it was given as a URI (RFC 3261 8.1.2).
    pub(super) fn preloaded_route(&self) -> Option<String> {
        let proxy = self.config.outbound_proxy.as_deref().filter(|proxy| Uri::is_sip(proxy))?;
        Some(format!("<{proxy}>"))
    }

    /// Under which address the peer of `route` can send us requests.
    pub(super) fn contact(&self, route: Route, scheme: Scheme) -> String {
        let transport = match (route.flow.transport, scheme) {
            (Transport::Udp, _) | (Transport::Tls, Scheme::Sips) => "",
            (Transport::Tcp, _) => ";transport=tcp",
            (Transport::Tls, Scheme::Sip) => ";transport=tls",
            (Transport::Ws | Transport::Wss, _) => ";transport=ws",
        };
        let scheme = scheme.as_str();
        let public = self.flows.public(route.flow).filter(|_| self.config.rewrite_contact);
        let place = public.map_or_else(|| self.sent_by(route), |seen| seen.to_string());
        format!("<{scheme}:{}@{place}{transport}>", escape_user(&self.config.user))
    }

    /// [`contact`](Core::contact) in a request of ours (RFC 3261 8.1.1.8).
    pub(super) fn contact_in(&self, route: Route, request: &Request) -> String {
        let next = request.headers.elements(&Name::Route).next().map_or(Scheme::Sip, scheme_of);
        self.contact(route, next.max(scheme_of(&request.uri)))
    }

    /// [`contact`](Core::contact) in a response that makes or refreshes a dialog (RFC 3261 12.1.1, RFC 5630 5.1).
    pub(super) fn contact_for(&self, route: Route, request: &Request) -> String {
        let first = |name| request.headers.elements(&name).next();
        let asked = first(Name::RecordRoute).or_else(|| first(Name::Contact)).unwrap_or_default();
        self.contact(route, scheme_of(&request.uri).max(scheme_of(asked)))
    }

    /// Who we are to the peer of `route`, as host and port of Via.
    fn sent_by(&self, route: Route) -> String {
        let port = match route.flow.transport {
            Transport::Udp => self.port,
            Transport::Tcp | Transport::Tls => self.flows.local(route.flow).map_or(self.port, |local| local.port()),
            Transport::Ws | Transport::Wss => return self.nowhere.clone(),
        };
        SocketAddr::new(route.local, port).to_string()
    }

    /// Completes a request of ours: Via with a new branch, which is returned, and who we are.
    pub(super) fn stamp(&mut self, request: &mut Request, route: Route) -> String {
        let branch = format!("{MAGIC_COOKIE}{}", self.rng.hex(12));
        let (transport, sent_by) = (route.flow.transport.token(), self.sent_by(route));
        request.headers.push_front(Name::Via, format!("SIP/2.0/{transport} {sent_by};branch={branch};rport"));
        if matches!(request.method, Method::Invite | Method::Update) {
            request.headers.push(Name::Contact, self.contact_in(route, request));
            request.headers.push(Name::Allow, self.allow());
            request.headers.push(Name::Supported, SUPPORTED);
        }
        request.headers.push(Name::UserAgent, self.config.user_agent.clone());
        branch
    }

    /// [`stamp`](Core::stamp), then a transaction of its own.
    pub(super) fn send(
        &mut self,
        now: Time,
        mut request: Request,
        route: Route,
        user: User,
        out: &mut Outbox,
    ) -> String {
        let branch = self.stamp(&mut request, route);
        let way = self.way(now, &mut request, route);
        self.transactions.start(now, request, &branch, way, user, out);
        branch
    }

    /// RFC 3261 18.1.1: what is too long for a datagram goes over TCP, and by UDP all the same if there is no TCP.
    fn way(&mut self, now: Time, request: &mut Request, route: Route) -> (Route, Option<Route>) {
        let remote = route.flow.remote;
        self.udp_only.retain(|_, until| *until > now);
        let short = || self.config.udp_limit == 0 || request.to_bytes().len() <= self.config.udp_limit;
        if route.flow.transport != Transport::Udp || self.udp_only.contains_key(&remote) || short() {
            return (route, None);
        }
        change_transport(request, Transport::Tcp);
        (Route { flow: Flow { transport: Transport::Tcp, remote }, ..route }, Some(route))
    }

    /// Nobody takes connections there: long requests go by UDP for a while.
    pub(super) fn note_refusal(&mut self, now: Time, flow: Flow) {
        if flow.transport == Transport::Tcp && self.udp_only.len() < MAX_UDP_ONLY {
            self.udp_only.insert(flow.remote, now + self.config.udp_only);
        }
    }

    /// How the peer sees us, from the topmost Via of an answer (RFC 3261 18.2.1, RFC 3581 4).
    pub(super) fn learn_public(&mut self, route: Route, via: &Via) {
        // RFC 5118 4.5: some write an IPv6 address in brackets.
        let ip = via.params.value("received").map_or(via.host.as_str(), |ip| ip.trim_matches(['[', ']']));
        let port = via.params.value("rport").and_then(|port| port.parse().ok());
        let (Ok(ip), Some(port)) = (ip.parse(), port) else { return };
        let seen = SocketAddr::new(ip, port);
        match route.flow.transport {
            Transport::Ws | Transport::Wss => {}
            // There is no NAT, or none any more.
            _ if seen.to_string() == self.sent_by(route) => self.flows.forget_public(route.flow),
            Transport::Udp | Transport::Tcp | Transport::Tls => self.flows.learn_public(route.flow, seen),
        }
    }

    /// A response to `incoming` with what RFC 3261 8.2.6.2 wants copied.
    pub(super) fn response(&mut self, incoming: &Incoming<'_>, status: u16) -> Response {
        self.response_to(incoming.request, incoming.flow, status)
    }

    fn response_to(&mut self, request: &Request, flow: Flow, status: u16) -> Response {
        let mut response = Response::new(status);
        let headers = &mut response.headers;
        let mut vias = request.headers.all(&Name::Via);
        let top = vias.next().unwrap_or_default();
        match Via::first_of(top) {
            Ok((mut via, rest)) => {
                via.note_source(flow.remote);
                headers.push(Name::Via, via.to_string());
                rest.into_iter().for_each(|rest| headers.push(Name::Via, rest));
            }
            Err(_) => headers.push(Name::Via, top),
        }
        vias.for_each(|via| headers.push(Name::Via, via));
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq, Name::Timestamp] {
            let Some(value) = request.headers.first(&name) else { continue };
            let untagged = name == Name::To && NameAddr::parse(value).is_ok_and(|to| to.tag().is_none());
            let tag = if untagged { format!(";tag={}", self.rng.hex(8)) } else { String::new() };
            headers.push(name, format!("{value}{tag}"));
        }
        headers.push(Name::Server, self.config.user_agent.clone());
        response
    }

    /// Sends a final response where RFC 3261 18.2.2 and RFC 3581 want it.
    pub(super) fn respond(
        &mut self,
        incoming: &Incoming<'_>,
        response: &Response,
        call: Option<CallId>,
        out: &mut Outbox,
    ) {
        let flow = reply_to(&incoming.identity.via, incoming.flow);
        self.transactions.respond(incoming.now, incoming.request, incoming.identity, response, flow, call, out);
    }

    /// [`respond`](Core::respond) with nothing but a status.
    pub(super) fn refuse(&mut self, incoming: &Incoming<'_>, status: u16, out: &mut Outbox) {
        let mut response = self.response(incoming, status);
        match status {
            405 | 501 => response.headers.push(Name::Allow, self.allow()),
            469 => response.headers.push(Name::RecvInfo, ""),
            406 | 415 => response.headers.push(Name::Accept, ACCEPT),
            _ => {}
        }
        self.respond(incoming, &response, None, out);
    }

    /// Answers a request outside every transaction, once; to its source if its Via cannot be read.
    pub(super) fn refuse_malformed(&mut self, flow: Flow, refusal: &Refusal, out: &mut Outbox) {
        let Refusal { status, request } = refusal;
        let via = request.headers.first(&Name::Via).and_then(|value| Via::first_of(value).ok());
        let reply = via.map_or(flow, |(via, _)| reply_to(&via, flow));
        let bytes = self.response_to(request, flow, *status).to_bytes();
        out.push_back(Output::Send { flow: reply, bytes });
    }
}

/// Where the response to a request goes that came by `flow`: over a connection it goes back (RFC 3261 18.2.2).
pub(super) fn reply_to(via: &Via, flow: Flow) -> Flow {
    match flow.transport {
        Transport::Udp => Flow::udp(via.reply_to(flow.remote)),
        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => flow,
    }
}

/// Of a URI, or of an address with one.
fn scheme_of(text: &str) -> Scheme {
    let uri = NameAddr::parse(text).map_or_else(|_| text.to_owned(), |address| address.uri);
    Uri::parse(&uri).map_or(Scheme::Sip, |uri| uri.scheme)
}

/// Entries were checked when the configuration was read; one that is wrong all the same maps nothing.
fn host_port(text: &str) -> Option<(String, Option<u16>)> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some((address.to_string(), None)),
        Err(_) => parse_host_port(text).ok(),
    }
}
