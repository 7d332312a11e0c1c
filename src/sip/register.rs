//! REGISTER (RFC 3261 10): a server knows where the device is, so that calls to it arrive by the way it keeps open.
//!
//! ```text
//!        routes        connected       2xx
//!   Looking --> Connecting --> Asking -----> Registered --before it ends, other address--> Asking
//!      ^            | refused, late, 4xx        | way lost
//!      |            v                           v
//!      |      the next way, the next server, none left: Pausing --time, network up--> Looking (first server)
//!      '--while at another server, the first one is tried again every `home_retry`; what holds is kept until then
//! ```
//!
//! One binding is kept at one server at a time. Its Contact names the device (`+sip.instance`, `reg-id`, RFC 5626 4.1),
//! so that a server that knows RFC 5626 replaces the binding of an earlier life; others are told to remove the old
//! Contact when it changes. Paths of proxies (RFC 3327) are theirs to use; Service-Route (RFC 3608) is not followed,
//! nor is a 3xx.

use super::auth::Credentials;
use super::core::{Core, Hop};
use super::endpoint::{EndCause, Endpoint, Event, Outbox, Output, RouteError};
use super::message::name_addr::NameAddr;
use super::message::params::Params;
use super::message::uri::{Scheme, Uri, bracketed, escape_user};
use super::message::{Headers, Method, Name, Request};
use super::options::NO_CALL;
use super::transaction::{Answer, Notice, Purpose, User};
use super::transport::flows::Access;
use super::transport::{Flow, Route, Target};
use crate::config;
use crate::qss::backoff::{Backoff, LONG};
use crate::time::{Span, Time, Wakeup, soonest};
use sha1::{Digest, Sha1};
use std::collections::{BTreeMap, VecDeque};
use std::mem;

pub(super) struct Registration {
    /// Most wanted first.
    servers: Vec<String>,
    aor: Option<String>,
    /// What to ask for; grows with each 423.
    expires: Span,
    home_retry: Span,
    state: State,
    backoff: Backoff,
    credentials: Credentials,
    call_id: String,
    tag: String,
    cseq: u32,
    /// Servers that refuse the password, and until when they are left alone: whoever insists is locked out.
    barred: BTreeMap<usize, Time>,
    told: Told,
}

enum State {
    Off,
    /// The shell looks for ways to the server.
    Looking {
        attempt: Attempt,
        give_up_at: Time,
    },
    Connecting {
        attempt: Attempt,
        way: Route,
    },
    Asking {
        attempt: Attempt,
        way: Route,
        contact: String,
        refusals: u8,
    },
    Registered(Binding),
    Pausing {
        at: Time,
        /// Whatever happens to the network.
        not_before: Time,
    },
    Leaving {
        binding: Binding,
        refusals: u8,
    },
}

/// One server is asked.
struct Attempt {
    server: usize,
    hop: Hop,
    /// Not tried yet, best first.
    ways: VecDeque<Route>,
    /// What holds as long as nothing better does.
    held: Option<Binding>,
    raises: u8,
}

/// What a server has agreed to.
struct Binding {
    server: usize,
    hop: Hop,
    way: Route,
    contact: String,
    since: Time,
    refresh_at: Time,
    until: Time,
    /// The first server is tried again then.
    home_at: Option<Time>,
    steadiness: Steadiness,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Steadiness {
    New,
    /// Asked for again because the server sees us at another address than we said.
    Corrected,
    Refreshed,
}

/// What the agent has heard last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Nothing,
    Registered(usize),
    Failed,
}

/// What a 423 may ask for.
const LONGEST: Span = Span::from_secs(7 * 86_400);
const MAX_RAISES: u8 = 3;
/// A binding that stood for so long was a success: what comes after it is a first failure.
const STABLE: Span = Span::from_secs(60);
/// Namespace of the instance ids (RFC 9562 5.5): any will do, as long as it stays the same.
const INSTANCES: &[u8; 16] = b"qss-endpoint/sip";

impl Endpoint {
    /// Begins to keep the device registered, if a server is configured. [`Event::Registered`] or
    /// [`Event::NotRegistered`] follows.
    pub fn register(&mut self, now: Time, out: &mut Outbox) {
        self.step(now, out, |endpoint, out| {
            let Endpoint { registration, core, .. } = endpoint;
            if matches!(registration.state, State::Off) {
                registration.begin_at(core, now, 0, out);
            }
        });
    }

    /// Removes the binding; [`Event::Unregistered`] follows, at once or when the server has answered.
    pub fn unregister(&mut self, now: Time, out: &mut Outbox) {
        self.step(now, out, |endpoint, out| {
            let Endpoint { registration, core, .. } = endpoint;
            registration.leave(core, now, out);
        });
    }

    /// Something is registered, or about to be, or about to be removed.
    pub fn is_registering(&self) -> bool {
        !matches!(self.registration.state, State::Off)
    }
}

impl Registration {
    pub(super) fn new(config: &config::Sip, core: &mut Core) -> Registration {
        let register = &config.register;
        Registration {
            servers: register.servers.clone(),
            aor: register.aor.clone(),
            expires: register.expires,
            home_retry: register.home_retry,
            state: State::Off,
            backoff: Backoff::new(register.retry_min, register.retry_max),
            credentials: Credentials::new(config),
            call_id: core.rng.hex(16),
            tag: core.rng.hex(8),
            cseq: 0,
            barred: BTreeMap::new(),
            told: Told::Nothing,
        }
    }

    /// The way the registration lives by: calls come by it.
    pub(super) fn lives_by(&self) -> Option<Route> {
        match &self.state {
            State::Asking { way, .. } => Some(*way),
            State::Registered(binding) | State::Leaving { binding, .. } => Some(binding.way),
            State::Looking { attempt, .. } | State::Connecting { attempt, .. } => {
                attempt.held.as_ref().map(|binding| binding.way)
            }
            State::Off | State::Pausing { .. } => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Wakeup> {
        match &self.state {
            State::Looking { give_up_at, .. } => Some(Wakeup::new(*give_up_at, "sip: no route to the registrar")),
            State::Registered(binding) => soonest(
                Some(Wakeup::new(binding.refresh_at, "sip: refresh of the registration")),
                binding.home_at.map(|at| Wakeup::new(at, "sip: first registrar again")),
            ),
            State::Pausing { at, .. } => Some(Wakeup::new(*at, "sip: register again")),
            State::Off | State::Connecting { .. } | State::Asking { .. } | State::Leaving { .. } => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        if self.poll_timeout().is_none_or(|wakeup| wakeup.at > now) {
            return;
        }
        match mem::replace(&mut self.state, State::Off) {
            State::Looking { attempt, .. } => {
                self.fail(core, now, attempt, EndCause::Unroutable(RouteError::UnknownHost), None, out);
            }
            State::Registered(binding) if binding.refresh_at <= now => self.renew(core, now, binding, out),
            State::Registered(binding) => self.begin(core, now, 0, Some(binding), out),
            State::Pausing { .. } => self.begin_at(core, now, 0, out),
            state @ (State::Off | State::Connecting { .. } | State::Asking { .. } | State::Leaving { .. }) => {
                self.state = state;
            }
        }
    }

    // --- ways -----------------------------------------------------------------------------------------------------

    pub(super) fn on_route(
        &mut self,
        core: &mut Core,
        now: Time,
        target: &Target,
        routes: &Result<Vec<Route>, RouteError>,
        out: &mut Outbox,
    ) {
        match (mem::replace(&mut self.state, State::Off), routes) {
            (State::Looking { mut attempt, .. }, Ok(routes)) if attempt.hop.target() == target => {
                attempt.ways = routes.iter().copied().collect();
                self.take_way(core, now, attempt, EndCause::Unroutable(RouteError::Unreachable), out);
            }
            (State::Looking { attempt, .. }, Err(error)) if attempt.hop.target() == target => {
                self.fail(core, now, attempt, EndCause::Unroutable(error.clone()), None, out);
            }
            // Datagrams would leave from another address now. A lost connection is told otherwise.
            (State::Registered(mut binding), Ok(routes)) => {
                let same = routes.iter().find(|route| route.flow == binding.way.flow);
                match same.filter(|route| route.local != binding.way.local && !route.flow.transport.is_reliable()) {
                    Some(route) => {
                        core.flows.forget_public(route.flow);
                        binding.way.local = route.local;
                        self.renew(core, now, binding, out);
                    }
                    None => self.state = State::Registered(binding),
                }
            }
            (state, _) => self.state = state,
        }
    }

    pub(super) fn on_flow_up(&mut self, core: &mut Core, now: Time, flow: Flow, out: &mut Outbox) {
        if !matches!(&self.state, State::Connecting { way, .. } if way.flow == flow) {
            return;
        }
        if let State::Connecting { attempt, way } = mem::replace(&mut self.state, State::Off) {
            self.ask(core, now, attempt, way, 0, out);
        }
    }

    pub(super) fn on_flow_lost(&mut self, core: &mut Core, now: Time, flow: Flow, out: &mut Outbox) {
        if let Some(attempt) = self.state.attempt_mut() {
            // What was held as long as nothing better came is no more.
            attempt.held.take_if(|held| held.way.flow == flow);
        }
        match mem::replace(&mut self.state, State::Off) {
            State::Connecting { attempt, way } if way.flow == flow => {
                let why = RouteError::NoConnection(core.last_loss.clone());
                self.take_way(core, now, attempt, EndCause::Unroutable(why), out);
            }
            // RFC 5626 4.5: the server reaches us by this connection only.
            State::Registered(binding) if binding.way.flow == flow => {
                if now.since(binding.since) >= STABLE {
                    self.backoff.reset();
                }
                self.pause(core, now, None);
            }
            state @ (State::Off
            | State::Looking { .. }
            | State::Connecting { .. }
            | State::Asking { .. }
            | State::Registered(_)
            | State::Pausing { .. }
            | State::Leaving { .. }) => self.state = state,
        }
    }

    /// The flow of the registration may begin at another address now; who waits need not any longer, but for what a server wants.
    pub(super) fn on_network(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        match &mut self.state {
            State::Registered(binding) => out.push_back(Output::Resolve(binding.way.flow.target())),
            State::Pausing { not_before, .. } if *not_before <= now => self.begin_at(core, now, 0, out),
            State::Pausing { at, not_before } => *at = *not_before,
            State::Off
            | State::Looking { .. }
            | State::Connecting { .. }
            | State::Asking { .. }
            | State::Leaving { .. } => {}
        }
    }

    /// Until the next attempt. Returns when that is.
    fn pause(&mut self, core: &mut Core, now: Time, retry_after: Option<Span>) -> Time {
        let not_before = (self.all_barred_until(now)).unwrap_or_else(|| {
            let least = now + core.config.register.retry_min;
            self.backoff.not_before(now, retry_after).max(least)
        });
        let at = self.backoff.next_with_floor(now, &mut core.rng).max(not_before);
        self.state = State::Pausing { at, not_before };
        at
    }

    fn is_barred(&self, server: usize, now: Time) -> bool {
        self.barred.get(&server).is_some_and(|until| now < *until)
    }

    /// `None`: there is a server that does not refuse the password.
    fn all_barred_until(&self, now: Time) -> Option<Time> {
        let is_free = (0..self.servers.len()).any(|server| !self.is_barred(server, now));
        if is_free { None } else { self.barred.values().min().copied() }
    }

    /// When the first server is to be tried again, while another one holds.
    fn home_at(&self, now: Time) -> Time {
        let free = self.barred.get(&0).copied().unwrap_or(now);
        free.max(now + self.home_retry)
    }

    /// Turns to the first server from `server` on that has not refused the password; none: pauses.
    fn begin_at(&mut self, core: &mut Core, now: Time, server: usize, out: &mut Outbox) {
        match (server..self.servers.len()).find(|server| !self.is_barred(*server, now)) {
            Some(server) => self.begin(core, now, server, None, out),
            None => self.state = State::Off,
        }
    }

    fn begin(&mut self, core: &mut Core, now: Time, server: usize, held: Option<Binding>, out: &mut Outbox) {
        let Some(uri) = self.servers.get(server).and_then(|uri| Uri::parse(uri).ok()) else { return };
        let attempt = Attempt { server, hop: core.hop(&uri), ways: VecDeque::new(), held, raises: 0 };
        out.push_back(Output::Resolve(attempt.hop.target().clone()));
        self.state = State::Looking { attempt, give_up_at: now + core.transactions.timing().timeout() };
    }

    /// The same server, the same way.
    fn renew(&mut self, core: &mut Core, now: Time, binding: Binding, out: &mut Outbox) {
        let (server, hop, way) = (binding.server, binding.hop.clone(), binding.way);
        let attempt = Attempt { server, hop, ways: VecDeque::new(), held: Some(binding), raises: 0 };
        self.ask(core, now, attempt, way, 0, out);
    }

    fn take_way(&mut self, core: &mut Core, now: Time, mut attempt: Attempt, cause: EndCause, out: &mut Outbox) {
        let Some(way) = attempt.ways.pop_front() else { return self.fail(core, now, attempt, cause, None, out) };
        match core.flows.open(now, way.flow, &attempt.hop.target().host, out) {
            Access::Ready => self.ask(core, now, attempt, way, 0, out),
            Access::Connecting => self.state = State::Connecting { attempt, way },
        }
    }

    // --- REGISTER and its answers -----------------------------------------------------------------------------------

    fn ask(&mut self, core: &mut Core, now: Time, attempt: Attempt, mut way: Route, refusals: u8, out: &mut Outbox) {
        way.local = core.flows.local(way.flow).map_or(way.local, |local| local.ip());
        let contact = core.contact(way, self.scheme(attempt.server));
        let mut request = self.request(core, attempt.server, self.expires);
        let named = format!("{contact};+sip.instance=\"<urn:uuid:{}>\";reg-id=1", core.instance);
        request.headers.push(Name::Contact, named);
        let held = attempt.held.as_ref().filter(|held| held.server == attempt.server && held.contact != contact);
        if let Some(held) = held {
            request.headers.push(Name::Contact, format!("{};expires=0", held.contact));
        }
        self.send(core, now, request, way, Purpose::Register, out);
        self.state = State::Asking { attempt, way, contact, refusals };
    }

    fn request(&mut self, core: &Core, server: usize, expires: Span) -> Request {
        let aor = self.aor(core, server);
        // The domain of the location service has no user (RFC 3261 10.2).
        let domain = Uri::parse(&aor).map(|uri| Uri { user: None, params: Params::default(), headers: None, ..uri });
        self.cseq += 1;
        let mut request = Request::new(Method::Register, domain.map_or_else(|_| aor.clone(), |uri| uri.to_string()));
        let headers = &mut request.headers;
        headers.push(Name::MaxForwards, "70");
        if let Some(proxy) = core.preloaded_route() {
            headers.push(Name::Route, proxy);
        }
        headers.push(Name::From, format!("<{aor}>;tag={}", self.tag));
        headers.push(Name::To, format!("<{aor}>"));
        headers.push(Name::CallId, self.call_id.clone());
        headers.push(Name::CSeq, format!("{} REGISTER", self.cseq));
        headers.push(Name::Expires, (expires.as_millis() / 1_000).to_string());
        headers.push(Name::Supported, "path, outbound");
        request
    }

    fn send(
        &mut self,
        core: &mut Core,
        now: Time,
        mut request: Request,
        way: Route,
        purpose: Purpose,
        out: &mut Outbox,
    ) {
        self.credentials.authorize(&mut request);
        core.send(now, request, way, User { call: NO_CALL, purpose }, out);
    }

    /// Who we are to that server.
    fn aor(&self, core: &Core, server: usize) -> String {
        let server = self.servers.get(server).and_then(|uri| Uri::parse(uri).ok());
        match (&self.aor, server) {
            (Some(aor), _) => aor.clone(),
            (None, Some(uri)) => {
                let scheme = uri.scheme.as_str();
                format!("{scheme}:{}@{}", escape_user(&core.config.user), bracketed(&uri.host))
            }
            (None, None) => String::new(),
        }
    }

    fn scheme(&self, server: usize) -> Scheme {
        let uri = self.servers.get(server).and_then(|uri| Uri::parse(uri).ok());
        uri.map_or(Scheme::Sip, |uri| uri.scheme)
    }

    pub(super) fn on_notice(&mut self, core: &mut Core, now: Time, notice: Notice, out: &mut Outbox) {
        let state = mem::replace(&mut self.state, State::Off);
        match (state, notice) {
            (state, Notice::Answered { answer, .. }) if answer.identity.cseq.number != self.cseq => self.state = state,
            (state, Notice::Answered { answer, .. }) if answer.response.status < 200 => self.state = state,
            (State::Asking { attempt, way, contact, refusals }, Notice::Answered { answer, .. }) => {
                self.on_answer(core, now, (attempt, way, contact, refusals), &answer, out);
            }
            (State::Asking { attempt, .. }, Notice::TimedOut { .. }) => {
                self.take_way(core, now, attempt, EndCause::Timeout, out);
            }
            (State::Asking { attempt, .. }, Notice::Failed { .. }) => {
                let why = RouteError::NoConnection(core.last_loss.clone());
                self.take_way(core, now, attempt, EndCause::Unroutable(why), out);
            }
            (State::Leaving { binding, refusals }, Notice::Answered { answer, .. })
                if matches!(answer.response.status, 401 | 407)
                    && self.credentials.learn(&answer.response, refusals, &mut core.rng).is_ok() =>
            {
                self.remove(core, now, &binding, Purpose::Register, out);
                self.state = State::Leaving { binding, refusals: refusals + 1 };
            }
            (State::Leaving { .. }, _) => out.push_back(Output::Event(Event::Unregistered)),
            (state, _) => self.state = state,
        }
    }

    fn on_answer(
        &mut self,
        core: &mut Core,
        now: Time,
        (mut attempt, way, contact, refusals): (Attempt, Route, String, u8),
        answer: &Answer,
        out: &mut Outbox,
    ) {
        let (status, headers) = (answer.response.status, &answer.response.headers);
        let refused = || EndCause::Refused { status, reason: answer.response.reason.clone() };
        match status {
            200..=299 => match granted(headers, &contact, &core.instance).unwrap_or(self.expires) {
                Span::ZERO => self.fail(core, now, attempt, refused(), None, out),
                expires => self.on_granted(core, now, attempt, (way, contact), expires, out),
            },
            401 | 407 => match self.credentials.learn(&answer.response, refusals, &mut core.rng) {
                Ok(()) => self.ask(core, now, attempt, way, refusals + 1, out),
                Err(_) => {
                    let until = self.backoff.within(LONG, now, &mut core.rng);
                    self.barred.insert(attempt.server, until);
                    self.fail(core, now, attempt, EndCause::AuthenticationFailed, None, out);
                }
            },
            // RFC 3261 10.2.8.
            423 => match seconds(headers, &Name::of("Min-Expires")) {
                Some(least) if least > self.expires && least <= LONGEST && attempt.raises < MAX_RAISES => {
                    self.expires = least;
                    attempt.raises += 1;
                    self.ask(core, now, attempt, way, refusals, out);
                }
                Some(_) | None => self.fail(core, now, attempt, refused(), None, out),
            },
            // RFC 3263 4.3: this server cannot, another of the same name may.
            503 if !attempt.ways.is_empty() => self.take_way(core, now, attempt, refused(), out),
            _ => self.fail(core, now, attempt, refused(), seconds(headers, &Name::RetryAfter), out),
        }
    }

    fn on_granted(
        &mut self,
        core: &mut Core,
        now: Time,
        attempt: Attempt,
        (way, contact): (Route, String),
        expires: Span,
        out: &mut Outbox,
    ) {
        let expires = expires.max(core.config.register.least);
        let Attempt { server, hop, held, .. } = attempt;
        let steadiness = match &held {
            Some(held) if held.server == server => {
                self.backoff.reset();
                Steadiness::Refreshed
            }
            Some(old) => {
                self.remove(core, now, old, Purpose::Unregister, out);
                Steadiness::New
            }
            None => Steadiness::New,
        };
        let lead = Span::from_micros(expires.as_micros() / 10).max(core.config.register.lead);
        let lead = lead.min(Span::from_micros(expires.as_micros() / 2));
        let same = held.as_ref().filter(|held| held.server == server);
        let since = same.map_or(now, |held| held.since);
        let home_at = same.map_or_else(|| (server > 0).then(|| self.home_at(now)), |held| held.home_at);
        let corrected = held.as_ref().is_some_and(|held| held.steadiness == Steadiness::Corrected);
        let refresh_at = now + (expires - lead);
        let until = now + expires;
        let mut binding = Binding { server, hop, way, contact, since, refresh_at, until, home_at, steadiness };
        if self.told != Told::Registered(server) {
            self.told = Told::Registered(server);
            let server = self.servers.get(server).cloned().unwrap_or_default();
            out.push_back(Output::Event(Event::Registered { server }));
        }
        // The server sees us elsewhere (RFC 3581): calls would be sent to where nobody is. Said once, since there are
        // networks where it is another place each time.
        if core.contact(way, self.scheme(binding.server)) != binding.contact && !corrected {
            binding.steadiness = Steadiness::Corrected;
            return self.renew(core, now, binding, out);
        }
        self.state = State::Registered(binding);
    }

    /// This server will not do: what holds elsewhere goes on, or another server is tried, or later again.
    fn fail(
        &mut self,
        core: &mut Core,
        now: Time,
        attempt: Attempt,
        cause: EndCause,
        retry_after: Option<Span>,
        out: &mut Outbox,
    ) {
        let Attempt { server, held, .. } = attempt;
        if let Some(binding) = held.filter(|held| held.server != server && held.until > now) {
            let binding = Binding { home_at: Some(self.home_at(now)), ..binding };
            if binding.refresh_at <= now {
                return self.renew(core, now, binding, out);
            }
            self.state = State::Registered(binding);
            return;
        }
        self.begin_at(core, now, server + 1, out);
        if !matches!(self.state, State::Off) {
            return;
        }
        let retry_at = self.pause(core, now, retry_after);
        self.told = Told::Failed;
        let server = self.servers.get(server).cloned().unwrap_or_default();
        out.push_back(Output::Event(Event::NotRegistered { server, cause, retry_at }));
    }

    // --- the end ----------------------------------------------------------------------------------------------------

    fn leave(&mut self, core: &mut Core, now: Time, out: &mut Outbox) {
        let binding = match mem::replace(&mut self.state, State::Off) {
            State::Registered(binding) => Some(binding),
            State::Looking { attempt, .. } | State::Connecting { attempt, .. } | State::Asking { attempt, .. } => {
                attempt.held
            }
            State::Off | State::Pausing { .. } => None,
            state @ State::Leaving { .. } => {
                self.state = state;
                return;
            }
        };
        match binding {
            Some(binding) => {
                self.remove(core, now, &binding, Purpose::Register, out);
                self.state = State::Leaving { binding, refusals: 0 };
            }
            None => out.push_back(Output::Event(Event::Unregistered)),
        }
    }

    /// Takes a binding back (RFC 3261 10.2.2).
    fn remove(&mut self, core: &mut Core, now: Time, binding: &Binding, purpose: Purpose, out: &mut Outbox) {
        let mut request = self.request(core, binding.server, Span::ZERO);
        request.headers.push(Name::Contact, binding.contact.clone());
        self.send(core, now, request, binding.way, purpose, out);
    }
}

impl State {
    fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match self {
            State::Looking { attempt, .. } | State::Connecting { attempt, .. } | State::Asking { attempt, .. } => {
                Some(attempt)
            }
            State::Off | State::Registered(_) | State::Pausing { .. } | State::Leaving { .. } => None,
        }
    }
}

/// What the server has granted to our Contact, or to all. Some registrars rewrite the URI, so that the instance id tells
/// better which is ours (RFC 5626 6); where neither does, the shortest time is safe for all.
fn granted(headers: &Headers, contact: &str, instance: &str) -> Option<Span> {
    let ours = contact.trim_matches(['<', '>']);
    let contacts: Vec<NameAddr> =
        headers.elements(&Name::Contact).filter_map(|value| NameAddr::parse(value).ok()).collect();
    let expires = |contact: &NameAddr| contact.params.value("expires")?.parse().ok().map(Span::from_secs);
    let is_instance =
        |contact: &NameAddr| contact.params.value("+sip.instance").is_some_and(|id| id.contains(instance));
    let shortest =
        |all: &mut dyn Iterator<Item = &NameAddr>| all.filter_map(expires).filter(|span| *span > Span::ZERO).min();
    let own = contacts.iter().find(|contact| contact.uri == ours).and_then(expires);
    own.or_else(|| shortest(&mut contacts.iter().filter(|contact| is_instance(contact))))
        .or_else(|| seconds(headers, &Name::Expires))
        .or_else(|| shortest(&mut contacts.iter()))
        .map(|span| span.min(LONGEST))
}

fn seconds(headers: &Headers, name: &Name) -> Option<Span> {
    let value = headers.first(name)?;
    let digits = value.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse::<u32>().ok().map(|seconds| Span::from_secs(seconds.into()))
}

/// A UUID that is always the same for this device (RFC 5626 4.1; RFC 9562 5.5, version 5).
pub(super) fn instance(device: &str) -> String {
    let hash = Sha1::new().chain_update(INSTANCES).chain_update(device).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_a_uuid_of_version_5_and_stays_the_same() {
        let id = instance("door-3");
        assert_eq!((id.len(), &id[14..15], id.as_bytes()[19]), (36, "5", id.as_bytes()[19]));
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_eq!(id, instance("door-3"));
        assert_ne!(id, instance("door-4"));
    }

    #[test]
    fn the_time_granted_is_that_of_our_contact() {
        let mut headers = Headers::default();
        headers.push(Name::Contact, "<sip:other@h>;expires=7, <sip:a@h:1;transport=tcp>;q=1;expires=60");
        let granted =
            |headers: &Headers, contact: &str| granted(headers, contact, "1-2-3").map(|span| span.as_millis() / 1_000);
        assert_eq!(granted(&headers, "<sip:a@h:1;transport=tcp>"), Some(60));
        assert_eq!(granted(&headers, "<sip:b@h>"), Some(7), "rewritten: the shortest is safe");
        headers.push(Name::Expires, "120");
        assert_eq!(granted(&headers, "<sip:b@h>"), Some(120));
        headers.push(Name::Contact, "<sip:x@nat:9>;+sip.instance=\"<urn:uuid:1-2-3>\";expires=30");
        assert_eq!(granted(&headers, "<sip:b@h>"), Some(30), "rewritten, but our instance");
        assert_eq!(granted(&headers, "<sip:a@h:1;transport=tcp>"), Some(60));
        let mut headers = Headers::default();
        headers.push(Name::Expires, "99999999999");
        assert_eq!(granted(&headers, "<sip:b@h>"), None);
    }
}
