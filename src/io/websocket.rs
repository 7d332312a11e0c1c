//! The link to the QSS: one task per connection that dials, upgrades, and then carries frames both ways.
//!
//! The agent decides when to open, what to send, when to ping and when to give up; this file only carries it out. A
//! link that blocks in a write (black hole) never blocks the control loop: it has its own task, which is aborted when
//! the agent closes the link.

use crate::agent::{LinkError, LinkErrorKind};
use crate::config;
use crate::config::Secret;
use crate::io::tls::{self, Trust};
use crate::time::{Span, WallTime};
use futures_util::stream::SplitStream;
use futures_util::{SinkExt, StreamExt};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use tungstenite::protocol::{CloseFrame, WebSocketConfig};

/// Frames waiting to be written; a link that takes no more of them is dead.
const SEND_QUEUE: usize = 64;
const RECEIVE_QUEUE: usize = 64;
/// How long what has arrived may take to be read from a connection that takes nothing any more.
const FAREWELL: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub enum LinkEvent {
    Opened(Security),
    Frame(String),
    /// The answer to our ping of that number.
    Pong(u64),
    /// A ping of the peer, a pong that answers none of ours, or an ignored binary frame: the peer lives.
    Alive,
    Closed(LinkError),
}

/// What the link proves about its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    None,
    /// A certificate was verified.
    Tls,
}

enum Order {
    Text(String),
    Ping(u64),
    Close,
}

/// The connection to the QSS, if there is one.
#[derive(Default)]
pub struct Link {
    connection: Option<Connection>,
}

struct Connection {
    close_timeout: Duration,
    orders: mpsc::Sender<Order>,
    events: mpsc::Receiver<LinkEvent>,
    task: JoinHandle<()>,
}

impl Link {
    /// Dials the configured URL; a connection that still stands is dropped first. `token` is for the upgrade request;
    /// certificates are judged at `not_before` if the clock shows an earlier time; `turn`: see [`connect_tcp`].
    pub fn open(&mut self, config: &config::Qss, token: Secret, not_before: WallTime, turn: usize) {
        self.abort();
        let (orders, order_queue) = mpsc::channel(SEND_QUEUE);
        let (event_queue, events) = mpsc::channel(RECEIVE_QUEUE);
        let close_timeout = duration(config.close_timeout);
        let task = tokio::spawn(run(config.clone(), token, not_before, turn, order_queue, event_queue));
        self.connection = Some(Connection { close_timeout, orders, events, task });
    }

    /// The next thing the link has to say; pends for ever while there is none. Cancel safe.
    pub async fn next(&mut self) -> LinkEvent {
        let Some(connection) = &mut self.connection else {
            return std::future::pending().await;
        };
        match connection.events.recv().await {
            Some(LinkEvent::Closed(error)) => {
                self.connection = None;
                LinkEvent::Closed(error)
            }
            Some(event) => event,
            None => {
                self.connection = None;
                LinkEvent::Closed(LinkError::new(LinkErrorKind::Closed(1006), "the link ended without a word"))
            }
        }
    }

    /// Queues a text frame. `Err` when the link takes no more: it is dropped, and the agent must be told.
    pub fn send(&mut self, text: String) -> Result<(), LinkError> {
        self.order(Order::Text(text))
    }

    /// The pong repeats the number.
    pub fn ping(&mut self, number: u64) -> Result<(), LinkError> {
        self.order(Order::Ping(number))
    }

    /// Says goodbye in the background. Nothing more is heard of this connection.
    pub fn close(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if connection.orders.try_send(Order::Close).is_err() {
            connection.task.abort();
            return;
        }
        tokio::spawn(async move {
            let Connection { close_timeout, orders: _keep_open, mut events, mut task } = connection;
            let drain = async { while events.recv().await.is_some() {} };
            if tokio::time::timeout(close_timeout, async { tokio::join!(drain, &mut task) }).await.is_err() {
                task.abort();
            }
        });
    }

    fn order(&mut self, order: Order) -> Result<(), LinkError> {
        let Some(connection) = &self.connection else { return Ok(()) };
        match connection.orders.try_send(order) {
            Ok(()) => Ok(()),
            // The task has ended; its last event still waits in the queue.
            Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.abort();
                Err(LinkError::new(LinkErrorKind::Dead, "the link takes no more data"))
            }
        }
    }

    fn abort(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.task.abort();
        }
    }
}

async fn run(
    config: config::Qss,
    token: Secret,
    not_before: WallTime,
    turn: usize,
    mut orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<LinkEvent>,
) {
    let dialled = tokio::time::timeout(duration(config.connect_timeout), dial(&config, &token, not_before, turn)).await;
    let error = match dialled {
        Err(_) => LinkError::new(LinkErrorKind::TimedOut, "no connection within connect_timeout_ms"),
        Ok(Err(error)) => error,
        Ok(Ok(Dialled::Plain(socket))) => carry(*socket, Security::None, &mut orders, &events).await,
        Ok(Ok(Dialled::Tls(socket))) => carry(*socket, Security::Tls, &mut orders, &events).await,
    };
    let _ = events.send(LinkEvent::Closed(error)).await;
}

enum Dialled {
    Plain(Box<WebSocketStream<TcpStream>>),
    Tls(Box<WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>>),
}

async fn dial(config: &config::Qss, token: &Secret, not_before: WallTime, turn: usize) -> Result<Dialled, LinkError> {
    let url = config.url.as_deref().unwrap_or_default();
    let request = upgrade_request(url, config, token)?;
    let (host, port, secure) = target(request.uri())?;
    let tcp = connect_tcp((&host, port), turn, duration(config.connect_timeout), config.tcp_user_timeout).await?;
    if secure {
        let identity = config.client_cert_file.as_deref().zip(config.client_key_file.as_deref());
        let trust = Trust { ca_file: config.ca_file.as_deref(), identity, not_before };
        let stream = tls::connect(&host, tcp, trust).await?;
        Ok(Dialled::Tls(Box::new(upgrade(request, stream, config).await?)))
    } else {
        Ok(Dialled::Plain(Box::new(upgrade(request, tcp, config).await?)))
    }
}

async fn upgrade<S>(request: Request<()>, stream: S, config: &config::Qss) -> Result<WebSocketStream<S>, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // What is longer than `max_message` only is the session's to drop.
    let longest = config.max_link_message.max(config.max_message);
    let limits = WebSocketConfig::default()
        .max_message_size(Some(longest))
        .max_frame_size(Some(longest))
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(1024 * 1024);
    let upgraded = tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await;
    upgraded.map(|(socket, _)| socket).map_err(|e| classify(&e))
}

fn upgrade_request(url: &str, config: &config::Qss, token: &Secret) -> Result<Request<()>, LinkError> {
    let wrong = |what: String| LinkError::new(LinkErrorKind::Protocol, what);
    let full = with_token(url, &config.token_query, token);
    // The message names the URL of the configuration: the other one has the token in it.
    let mut request = full.into_client_request().map_err(|e| wrong(format!("[qss] url {url:?}: {e}")))?;
    let headers = request.headers_mut();
    if !config.subprotocol.is_empty() {
        let value = HeaderValue::try_from(&config.subprotocol).map_err(|e| wrong(format!("[qss] subprotocol: {e}")))?;
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    for (name, value) in &config.headers {
        let name = HeaderName::try_from(name).map_err(|e| wrong(format!("[qss.headers] {name}: {e}")))?;
        let value = HeaderValue::try_from(value).map_err(|e| wrong(format!("[qss.headers] {name}: {e}")))?;
        headers.insert(name, value);
    }
    if config.bearer {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.0))
            .map_err(|_| wrong("the token holds characters that no HTTP header may carry".into()))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

/// The URL with the token as parameter `name` of its query, percent-encoded (RFC 3986 2.1); without a name as it is.
fn with_token(url: &str, name: &str, token: &Secret) -> String {
    if name.is_empty() {
        return url.to_owned();
    }
    let mut full = format!("{url}{}{name}=", if url.contains('?') { '&' } else { '?' });
    for byte in token.0.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => full.push(char::from(byte)),
            _ => full.push_str(&format!("%{byte:02X}")),
        }
    }
    full
}

/// Host, port, and whether TLS is spoken there.
pub(super) fn target(uri: &Uri) -> Result<(String, u16, bool), LinkError> {
    let tls = matches!(uri.scheme_str(), Some("wss" | "https"));
    let host = uri.host().ok_or_else(|| LinkError::new(LinkErrorKind::Protocol, "the URL has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, uri.port_u16().unwrap_or(if tls { 443 } else { 80 }), tls))
}

/// `turn`: of the host's addresses, the one to begin with, counted round. `user_timeout`: of the connection, once it stands; zero: the kernel's.
pub(super) async fn connect_tcp(
    (host, port): (&str, u16),
    turn: usize,
    timeout: Duration,
    user_timeout: Span,
) -> Result<TcpStream, LinkError> {
    let addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(|e| LinkError::new(LinkErrorKind::Dns, format!("{host}: {e}")))?;
    let tcp = connect_any(&addresses.collect::<Vec<_>>(), turn, timeout).await?;
    let _ = tcp.set_nodelay(true);
    let socket = socket2::SockRef::from(&tcp);
    if user_timeout > Span::ZERO {
        // Unacknowledged data older than this ends the connection, whatever the kernel's retransmission says.
        let _ = socket.set_tcp_user_timeout(Some(duration(user_timeout)));
    }
    let _ = socket.set_keepalive(true);
    Ok(tcp)
}

/// Tries every address in the order the resolver gives them, from this one on; the last failure is told. Each gets its share of
/// the time that is left, so that one that swallows packets does not hide the others.
async fn connect_any(addresses: &[SocketAddr], first: usize, timeout: Duration) -> Result<TcpStream, LinkError> {
    let deadline = Instant::now() + timeout;
    let mut last = LinkError::new(LinkErrorKind::Dns, "the host has no address");
    let first = first % addresses.len().max(1);
    for (tried, address) in addresses[first..].iter().chain(&addresses[..first]).enumerate() {
        // The upgrade behind it wants time too: one share more than there are addresses.
        let share = (deadline - Instant::now()) / (addresses.len() - tried + 1) as u32;
        let connected = tokio::time::timeout(share, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(tcp) => return Ok(tcp),
            Err(e) => {
                let error = LinkError::from_io(&e);
                last = LinkError { detail: format!("{address}: {}", error.detail), ..error };
            }
        }
    }
    Err(last)
}

/// Carries frames until one side ends the connection; returns why.
async fn carry<S>(
    socket: WebSocketStream<S>,
    security: Security,
    orders: &mut mpsc::Receiver<Order>,
    events: &mpsc::Sender<LinkEvent>,
) -> LinkError
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let local = || LinkError::new(LinkErrorKind::Closed(1000), "closed by the device");
    if events.send(LinkEvent::Opened(security)).await.is_err() {
        return local();
    }
    let (mut sink, mut stream) = socket.split();
    loop {
        let event = tokio::select! {
            order = orders.recv() => {
                let sent = match order {
                    Some(Order::Text(text)) => sink.send(Message::text(text)).await,
                    Some(Order::Ping(number)) => {
                        sink.send(Message::Ping(number.to_be_bytes().to_vec().into())).await
                    },
                    Some(Order::Close) | None => {
                        let _ = sink.send(Message::Close(None)).await;
                        while let Some(Ok(_)) = stream.next().await {}
                        return local();
                    }
                };
                match sent {
                    Ok(()) => continue,
                    Err(error) => return farewell(&mut stream).await.unwrap_or_else(|| classify(&error)),
                }
            }
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => LinkEvent::Frame(text.as_str().to_owned()),
                Some(Ok(Message::Close(frame))) => {
                    let _ = sink.flush().await;
                    return closed(frame);
                }
                Some(Ok(Message::Pong(payload))) => {
                    payload[..].try_into().map_or(LinkEvent::Alive, |number| LinkEvent::Pong(u64::from_be_bytes(number)))
                }
                Some(Ok(Message::Ping(_) | Message::Binary(_) | Message::Frame(_))) => LinkEvent::Alive,
                Some(Err(error)) => return classify(&error),
                None => return LinkError::new(LinkErrorKind::Closed(1006), "connection lost"),
            }
        };
        if events.send(event).await.is_err() {
            return local();
        }
    }
}

/// A server that says why it closes may be gone when we write next: its reason still stands in what was received.
async fn farewell<S>(stream: &mut SplitStream<WebSocketStream<S>>) -> Option<LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let read = async {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Close(frame) = message {
                return Some(closed(frame));
            }
        }
        None
    };
    // What has arrived is there at once; a peer that still sends after it took no more from us is not waited for.
    tokio::time::timeout(FAREWELL, read).await.ok().flatten()
}

fn closed(frame: Option<CloseFrame>) -> LinkError {
    let (code, reason) = frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
    LinkError::new(LinkErrorKind::Closed(code), reason)
}

fn classify(error: &tungstenite::Error) -> LinkError {
    use tungstenite::Error;
    match error {
        Error::Http(response) => LinkError {
            kind: LinkErrorKind::Http(response.status().as_u16()),
            detail: format!("the upgrade was answered with {}", response.status()),
            retry_after: retry_after(response.headers()),
        },
        Error::Io(e) => tls::classify(e),
        Error::ConnectionClosed | Error::AlreadyClosed => {
            LinkError::new(LinkErrorKind::Closed(1006), "connection lost")
        }
        other => LinkError::new(LinkErrorKind::Protocol, other.to_string()),
    }
}

/// `Retry-After` in seconds (RFC 9110 10.2.3). A date is measured against the server's own `Date`: our clock may be wrong.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<u32> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let value = text(header::RETRY_AFTER)?;
    value.parse().ok().or_else(|| {
        let until = httpdate::parse_http_date(value).ok()?;
        let now = httpdate::parse_http_date(text(header::DATE)?).ok()?;
        u32::try_from(until.duration_since(now).unwrap_or_default().as_secs()).ok()
    })
}

pub(super) fn duration(span: Span) -> Duration {
    Duration::from_micros(span.as_micros())
}

impl LinkError {
    pub fn new(kind: LinkErrorKind, detail: impl Into<String>) -> LinkError {
        LinkError { kind, detail: detail.into(), retry_after: None }
    }

    pub(crate) fn from_io(error: &io::Error) -> LinkError {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => LinkErrorKind::Refused,
            io::ErrorKind::TimedOut => LinkErrorKind::TimedOut,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
                LinkErrorKind::Unreachable
            }
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                LinkErrorKind::Closed(1006)
            }
            io::ErrorKind::UnexpectedEof => LinkErrorKind::Closed(1006),
            _ => LinkErrorKind::Protocol,
        };
        LinkError::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, TcpListener};

    /// An address that swallows connection attempts: its queue is full and nobody accepts.
    fn black_hole() -> (SocketAddr, Vec<Socket>) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = vec![listener];
        for _ in 0..4 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address);
            held.push(filler);
        }
        (address.as_socket().unwrap(), held)
    }

    #[test]
    fn an_address_that_swallows_packets_does_not_hide_the_next() {
        let (hole, _held) = black_hole();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let short = Duration::from_millis(300);
            let alone = connect_any(&[hole], 0, short).await.expect_err("nobody accepts there");
            assert_eq!(alone.kind, LinkErrorKind::TimedOut);
            let tcp = connect_any(&[hole, listener.local_addr().unwrap()], 0, short).await.expect("the second answers");
            assert_eq!(tcp.peer_addr().unwrap(), listener.local_addr().unwrap());
        });
    }

    #[test]
    fn each_address_of_a_name_has_its_turn() {
        let listeners = [0; 3].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let addresses = listeners.map(|listener| (listener.local_addr().unwrap(), listener));
        let known: Vec<SocketAddr> = addresses.iter().map(|(address, _)| *address).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for first in 0..6 {
                let tcp = connect_any(&known, first, Duration::from_secs(5)).await.expect("all answer");
                assert_eq!(tcp.peer_addr().unwrap(), known[first % 3]);
            }
        });
    }

    #[test]
    fn the_kernel_is_told_how_long_data_may_stay_unacknowledged() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (configured, told) in [(Span::from_millis(700), Some(Duration::from_millis(700))), (Span::ZERO, None)] {
                let tcp = connect_tcp(("127.0.0.1", port), 0, Duration::from_secs(5), configured).await.unwrap();
                let socket = socket2::SockRef::from(&tcp);
                assert_eq!(socket.tcp_user_timeout().unwrap().filter(|t| !t.is_zero()), told);
                assert!(tcp.nodelay().unwrap() && socket.keepalive().unwrap());
            }
        });
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_own_clock() {
        let read = |pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            retry_after(&pairs.iter().map(pair).collect())
        };
        let (date, later) = ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:29:30 GMT");
        assert_eq!(read(&[("retry-after", " 17 ")]), Some(17));
        assert_eq!(read(&[("retry-after", later), ("date", date)]), Some(90));
        assert_eq!(read(&[("retry-after", date), ("date", later)]), Some(0), "it is over already");
        assert_eq!(read(&[("retry-after", later)]), None, "our own clock is not asked");
        for wrong in ["", "-1", "soon", "99999999999999999999", "Wed, 99 Oct 2015"] {
            assert_eq!(read(&[("retry-after", wrong), ("date", date)]), None, "{wrong}");
        }
    }
}
