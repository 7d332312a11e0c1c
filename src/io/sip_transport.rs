//! The connections of the SIP endpoint: TCP, TLS, and WebSocket over either (RFC 7118). One task each, with a bounded
//! queue; the core decides when to connect, what to send and when to give up.
//!
//! ```text
//!   open ---> task: TCP - [TLS] - [upgrade] ---Connected---> reads ---Received---> one queue of events for all
//!   send ---> its queue ---> writes                             '--Closed
//! ```
//!
//! Peers may connect by TCP too, a few at a time (RFC 3261 18.2.1): they have what does not fit a datagram.
//!
//! A peer that takes nothing more fills its queue, and that ends the connection: SIP has its own repetitions.

use crate::config;
use crate::io::sip_socket::Bound;
use crate::io::tls::{self, Trust};
use crate::io::websocket::duration;
use crate::sip::transport::{Flow, Transport};
use crate::time::{Span, WallTime};
use futures_util::{SinkExt, StreamExt};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::{HeaderValue, header};
use tungstenite::protocol::WebSocketConfig;

/// Messages waiting to be written.
const SEND_QUEUE: usize = 64;
const RECEIVE_QUEUE: usize = 64;
/// Bytes read at once.
const CHUNK: usize = 16 * 1024;
/// Longest WebSocket message: one SIP message.
const LONGEST: usize = 128 * 1024;
/// Connections that peers have made; more are refused.
const MAX_ACCEPTED: usize = 8;
/// Before the next is accepted, after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection has to say.
#[derive(Debug)]
pub enum SipEvent {
    /// `local` is our end.
    Connected { flow: Flow, local: SocketAddr },
    /// A peer has connected.
    Accepted { flow: Flow, local: SocketAddr },
    /// Bytes of a stream, or a WebSocket message.
    Received { flow: Flow, bytes: Vec<u8> },
    /// It is over, or never came about; why, for people.
    Closed { flow: Flow, why: String },
}

pub struct SipConnections {
    config: config::Sip,
    open: BTreeMap<Flow, Connection>,
    /// Number of the connection made last: events of one that is gone are not taken for its successor's.
    last: u64,
    events: (mpsc::Sender<Numbered>, mpsc::Receiver<Numbered>),
    arrivals: (mpsc::Sender<TcpStream>, mpsc::Receiver<TcpStream>),
}

/// What the connection of that number says.
type Numbered = (u64, SipEvent);

struct Connection {
    number: u64,
    made_by: MadeBy,
    orders: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum MadeBy {
    Us,
    Peer,
}

impl SipConnections {
    pub fn new(config: &config::Sip) -> SipConnections {
        let (events, arrivals) = (mpsc::channel(RECEIVE_QUEUE), mpsc::channel(1));
        SipConnections { config: config.clone(), open: BTreeMap::new(), last: 0, events, arrivals }
    }

    /// Lets peers connect to where the datagrams come.
    ///
    /// # Errors
    /// The port is taken.
    pub fn listen(&self, bound: Bound) -> io::Result<()> {
        for ip in bound.v4.map(IpAddr::V4).into_iter().chain(bound.v6.map(IpAddr::V6)) {
            let listener = listener(SocketAddr::new(ip, bound.port))?;
            tokio::spawn(accept(listener, self.arrivals.0.clone()));
        }
        Ok(())
    }

    /// Connects; a connection of that flow that still stands is dropped first. `host` is the name the certificate must
    /// bear and the WebSocket upgrade asks for; the certificate is judged at `not_before` if the clock shows an earlier time.
    pub fn open(&mut self, flow: Flow, host: String, not_before: WallTime) {
        self.abort(flow);
        self.last += 1;
        let (orders, order_queue) = mpsc::channel(SEND_QUEUE);
        let voice = Voice { number: self.last, flow, events: self.events.0.clone() };
        let task = tokio::spawn(run(self.config.clone(), flow, (host, not_before), order_queue, voice));
        self.open.insert(flow, Connection { number: self.last, made_by: MadeBy::Us, orders, task });
    }

    /// Takes a connection in, unless there are too many or it is gone already.
    fn adopt(&mut self, stream: TcpStream) -> Option<SipEvent> {
        let (remote, local) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
        if self.open.values().filter(|connection| connection.made_by == MadeBy::Peer).count() >= MAX_ACCEPTED {
            return None;
        }
        prepare(&self.config, &stream);
        let flow = Flow { transport: Transport::Tcp, remote };
        self.abort(flow);
        self.last += 1;
        let (orders, mut order_queue) = mpsc::channel(SEND_QUEUE);
        let voice = Voice { number: self.last, flow, events: self.events.0.clone() };
        let task = tokio::spawn(async move {
            let why = match carry_stream(stream, &mut order_queue, &voice).await {
                Ok(()) => "closed".to_owned(),
                Err(e) => e.to_string(),
            };
            voice.say(SipEvent::Closed { flow, why }).await;
        });
        self.open.insert(flow, Connection { number: self.last, made_by: MadeBy::Peer, orders, task });
        Some(SipEvent::Accepted { flow, local })
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// There is no such connection (any more), or its queue is full; it is closed then.
    pub fn send(&mut self, flow: Flow, bytes: Vec<u8>) -> Result<(), SendError> {
        let sent = self.open.get(&flow).is_some_and(|connection| connection.orders.try_send(bytes).is_ok());
        if sent {
            return Ok(());
        }
        self.abort(flow);
        Err(SendError)
    }

    /// Closes once what was sent has left, or after a moment.
    pub fn close(&mut self, flow: Flow) {
        let Some(Connection { orders, mut task, .. }) = self.open.remove(&flow) else { return };
        drop(orders);
        let patience = duration(self.config.close_timeout);
        tokio::spawn(async move {
            if tokio::time::timeout(patience, &mut task).await.is_err() {
                task.abort();
            }
        });
    }

    fn abort(&mut self, flow: Flow) {
        if let Some(connection) = self.open.remove(&flow) {
            connection.task.abort();
        }
    }

    /// The next thing any connection has to say. Cancel safe.
    pub async fn next(&mut self) -> SipEvent {
        loop {
            let (number, event) = tokio::select! {
                Some(numbered) = self.events.1.recv() => numbered,
                Some(stream) = self.arrivals.1.recv() => match self.adopt(stream) {
                    Some(event) => return event,
                    None => continue,
                },
                else => return std::future::pending().await,
            };
            let flow = event.flow();
            if self.open.get(&flow).is_some_and(|connection| connection.number == number) {
                if matches!(event, SipEvent::Closed { .. }) {
                    self.open.remove(&flow);
                }
                return event;
            }
        }
    }
}

/// The connection takes nothing (any more).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SendError;

impl SipEvent {
    fn flow(&self) -> Flow {
        match self {
            SipEvent::Connected { flow, .. }
            | SipEvent::Accepted { flow, .. }
            | SipEvent::Received { flow, .. }
            | SipEvent::Closed { flow, .. } => *flow,
        }
    }
}

/// How a task is heard.
struct Voice {
    number: u64,
    flow: Flow,
    events: mpsc::Sender<Numbered>,
}

impl Voice {
    async fn connected(&self, local: SocketAddr) {
        self.say(SipEvent::Connected { flow: self.flow, local }).await;
    }

    async fn received(&self, bytes: Vec<u8>) {
        self.say(SipEvent::Received { flow: self.flow, bytes }).await;
    }

    async fn say(&self, event: SipEvent) {
        let _ = self.events.send((self.number, event)).await;
    }
}

async fn run(
    config: config::Sip,
    flow: Flow,
    (host, not_before): (String, WallTime),
    mut orders: mpsc::Receiver<Vec<u8>>,
    voice: Voice,
) {
    let why = match converse(&config, flow, (&host, not_before), &mut orders, &voice).await {
        Ok(()) => "closed".to_owned(),
        Err(why) => why,
    };
    voice.say(SipEvent::Closed { flow, why }).await;
}

/// Ends well when we or the peer close. There is no time limit here: the core has one.
async fn converse(
    config: &config::Sip,
    flow: Flow,
    (host, not_before): (&str, WallTime),
    orders: &mut mpsc::Receiver<Vec<u8>>,
    voice: &Voice,
) -> Result<(), String> {
    let tcp = connect(config, flow.remote).await.map_err(|e| e.to_string())?;
    let local = tcp.local_addr().map_err(|e| e.to_string())?;
    match flow.transport {
        Transport::Udp => Err("datagrams need no connection".into()),
        Transport::Tcp => {
            voice.connected(local).await;
            carry_stream(tcp, orders, voice).await.map_err(|e| e.to_string())
        }
        Transport::Tls => {
            let stream = tls::connect(host, tcp, trust(config, not_before)).await.map_err(|e| e.detail)?;
            voice.connected(local).await;
            carry_stream(stream, orders, voice).await.map_err(|e| tls::classify(&e).detail)
        }
        Transport::Ws => {
            let socket = upgrade("ws", config, flow, host, tcp).await?;
            voice.connected(local).await;
            carry_socket(socket, orders, voice).await
        }
        Transport::Wss => {
            let stream = tls::connect(host, tcp, trust(config, not_before)).await.map_err(|e| e.detail)?;
            let socket = upgrade("wss", config, flow, host, stream).await?;
            voice.connected(local).await;
            carry_socket(socket, orders, voice).await
        }
    }
}

/// From the address of the SIP socket, if that is bound to one.
async fn connect(config: &config::Sip, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let bind = config.bind.ip();
    if !bind.is_unspecified() && bind.is_ipv4() == remote.is_ipv4() {
        socket.bind((bind, 0).into())?;
    }
    let tcp = socket.connect(remote).await?;
    prepare(config, &tcp);
    Ok(tcp)
}

fn prepare(config: &config::Sip, tcp: &TcpStream) {
    let _ = tcp.set_nodelay(true);
    let options = socket2::SockRef::from(tcp);
    if config.tcp_user_timeout > Span::ZERO {
        let _ = options.set_tcp_user_timeout(Some(duration(config.tcp_user_timeout)));
    }
    let _ = options.set_keepalive(true);
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier life may still be closing at this port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(MAX_ACCEPTED as i32)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, arrivals: mpsc::Sender<TcpStream>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if arrivals.send(stream).await.is_err() {
                    return;
                }
            }
            // Out of descriptors, or a peer that has left already: neither shall take the whole core.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn carry_stream<S>(stream: S, orders: &mut mpsc::Receiver<Vec<u8>>, voice: &Voice) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut read, mut write) = tokio::io::split(stream);
    let mut chunk = vec![0; CHUNK];
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(bytes) => {
                    write.write_all(&bytes).await?;
                    write.flush().await?;
                }
                None => return write.shutdown().await,
            },
            length = read.read(&mut chunk) => match length? {
                0 => return Ok(()),
                length => voice.received(chunk[..length].to_vec()).await,
            }
        }
    }
}

/// RFC 7118 4.1: a client says the sub-protocol `sip`, and so does the server.
async fn upgrade<S>(
    scheme: &str,
    config: &config::Sip,
    flow: Flow,
    host: &str,
    stream: S,
) -> Result<WebSocketStream<S>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let url = format!("{scheme}://{host}:{}{}", flow.remote.port(), config.ws_path);
    let mut request = url.as_str().into_client_request().map_err(|e| format!("{url}: {e}"))?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("sip"));
    let limits = WebSocketConfig::default()
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST))
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(1024 * 1024);
    let upgraded = tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await;
    upgraded.map(|(socket, _)| socket).map_err(|e| format!("{url}: {e}"))
}

async fn carry_socket<S>(
    mut socket: WebSocketStream<S>,
    orders: &mut mpsc::Receiver<Vec<u8>>,
    voice: &Voice,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            order = orders.recv() => {
                // RFC 7118 5: text, if the message is text.
                let message = match order.map(String::from_utf8) {
                    Some(Ok(text)) => Message::text(text),
                    Some(Err(bytes)) => Message::binary(bytes.into_bytes()),
                    None => return socket.close(None).await.map_err(|e| e.to_string()),
                };
                socket.send(message).await.map_err(|e| e.to_string())?;
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => voice.received(text.as_bytes().to_vec()).await,
                Some(Ok(Message::Binary(bytes))) => voice.received(bytes.to_vec()).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Err(e)) => return Err(e.to_string()),
            }
        }
    }
}

fn trust(config: &config::Sip, not_before: WallTime) -> Trust<'_> {
    let identity = config.client_cert_file.as_deref().zip(config.client_key_file.as_deref());
    Trust { ca_file: config.ca_file.as_deref(), identity, not_before }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_told_how_long_data_may_stay_unacknowledged() {
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = peer.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (configured, told) in [(Span::from_millis(700), Some(Duration::from_millis(700))), (Span::ZERO, None)] {
                let mut config = config::Config::default().sip;
                config.tcp_user_timeout = configured;
                let tcp = connect(&config, address).await.unwrap();
                let socket = socket2::SockRef::from(&tcp);
                assert_eq!(socket.tcp_user_timeout().unwrap().filter(|timeout| !timeout.is_zero()), told);
            }
        });
    }
}
