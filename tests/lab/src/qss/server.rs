//! The sockets of the test server: one accept loop, one task per connection, on one thread.

use super::log::{Entry, What};
use super::office::{Conn, Office};
use super::{Config, Desk, Door};
use crate::clock::mono_us;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Bytes, Message};

/// What a connection task is asked to send.
#[derive(Debug)]
pub(super) enum Wire {
    Frame(Value),
    Text(String),
    /// A text frame of any bytes, also of such as are no UTF-8.
    TextBytes(Vec<u8>),
    Binary(Vec<u8>),
    Close(u16),
}

pub(super) enum Control {
    Up,
    Down,
    Stop,
}

pub(super) struct State {
    pub(super) office: Office,
    pub(super) log: Vec<Entry>,
    pub(super) door: Door,
    links: BTreeMap<Conn, Link>,
    connections: Conn,
}

struct Link {
    to_task: mpsc::UnboundedSender<Wire>,
    task: tokio::task::AbortHandle,
}

pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    desk: watch::Sender<Desk>,
    control: mpsc::UnboundedSender<(Control, oneshot::Sender<()>)>,
}

pub(super) type Started = (Arc<Shared>, SocketAddr, std::thread::JoinHandle<()>);

pub(super) fn start(config: Config) -> io::Result<Started> {
    let listener = std::net::TcpListener::bind(config.listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let office = Office::new(config.shape, config.token, config.mixer, config.bitrate, config.rooms);
    let state = State { office, log: Vec::new(), door: Door::Open, links: BTreeMap::new(), connections: 0 };
    let (control, orders) = mpsc::unbounded_channel();
    let (desk, _) = watch::channel(Desk::Answer);
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), desk, control });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tls = config.tls.map(TlsAcceptor::from);
    let ours = shared.clone();
    let thread = std::thread::Builder::new().name("lab-qss".into()).spawn(move || {
        runtime.block_on(accept_loop(ours, listener, address, tls, orders));
    })?;
    Ok((shared, address, thread))
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of the log, at most that long.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn desk(&self, desk: Desk) {
        self.desk.send_replace(desk);
    }

    /// Gives an order to the accept loop and waits until it is carried out.
    pub(super) fn control(&self, order: Control) {
        let (done, wait) = oneshot::channel();
        if self.control.send((order, done)).is_ok() {
            let _ = wait.blocking_recv();
        }
    }

    pub(super) fn drop_connections(&self) {
        let mut state = self.lock();
        while let Some((conn, link)) = state.links.pop_first() {
            link.task.abort();
            self.note(&mut state, conn, What::Closed { code: None });
            let out = state.office.closed(conn);
            self.post(&mut state, out);
        }
    }

    pub(super) fn post(&self, state: &mut State, out: Vec<(Conn, Value)>) {
        for (conn, frame) in out {
            let frame = state.office.shape().spell(frame);
            self.post_wire(state, conn, Wire::Frame(frame));
        }
    }

    pub(super) fn post_wire(&self, state: &mut State, conn: Conn, wire: Wire) {
        if let Some(link) = state.links.get(&conn) {
            let _ = link.to_task.send(wire);
        }
    }

    fn note(&self, state: &mut State, conn: Conn, what: What) {
        let (user, device) = match state.office.peer(conn) {
            Some((user, device)) => (Some(user.to_string()), Some(device.to_string())),
            None => (None, None),
        };
        state.log.push(Entry { at_us: mono_us(), connection: conn, user, device, what });
        self.changed.notify_all();
    }

    /// The connection ended by itself: the office and the log learn of it, unless a test dropped it first.
    fn gone(&self, conn: Conn, code: Option<u16>) {
        let mut state = self.lock();
        if state.links.remove(&conn).is_none() {
            return;
        }
        self.note(&mut state, conn, What::Closed { code });
        let out = state.office.closed(conn);
        self.post(&mut state, out);
    }

    /// Logs a text frame and posts what the office answers.
    fn on_text(self: &Arc<Self>, conn: Conn, text: &str) {
        let mut state = self.lock();
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            self.note(&mut state, conn, What::GotGarbage(text.into()));
            return;
        };
        let handled = state.office.handle(conn, &frame);
        self.note(&mut state, conn, if handled.again { What::GotAgain(frame) } else { What::Got(frame) });
        match *self.desk.borrow() {
            Desk::Answer => self.post(&mut state, handled.out),
            Desk::Slow(delay) => {
                let shared = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    shared.post(&mut shared.lock(), handled.out);
                });
            }
            Desk::Mute | Desk::Deaf => {}
        }
    }
}

async fn accept_loop(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    mut orders: mpsc::UnboundedReceiver<(Control, oneshot::Sender<()>)>,
) {
    let mut listener = TcpListener::from_std(listener).ok();
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => {
                if let Ok((stream, _)) = accepted {
                    welcome(&shared, stream, tls.clone());
                }
            }
            order = orders.recv() => {
                let Some((order, done)) = order else { return };
                match order {
                    Control::Down => listener = None,
                    Control::Up => {
                        if listener.is_none() {
                            listener = Some(bind_again(address).await);
                        }
                    }
                    Control::Stop => return,
                }
                let _ = done.send(());
            }
        }
    }
}

/// The port was ours a moment ago; connections of then may linger for an instant.
async fn bind_again(address: SocketAddr) -> TcpListener {
    let mut attempts = 0;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if attempts == 100 => panic!("the server's own port {address} is taken: {error}"),
            Err(_) => attempts += 1,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts the connection's task; its link is registered before its first step runs.
fn welcome(shared: &Arc<Shared>, stream: TcpStream, tls: Option<TlsAcceptor>) {
    let _ = stream.set_nodelay(true);
    let mut state = shared.lock();
    state.connections += 1;
    let (conn, door) = (state.connections, state.door);
    let (to_task, from_test) = mpsc::unbounded_channel();
    let ours = shared.clone();
    let task = tokio::spawn(async move {
        let ended = match tls {
            Some(acceptor) if door != Door::HangUp && door != Door::Silent => match acceptor.accept(stream).await {
                Ok(stream) => connection(&ours, conn, door, stream, from_test).await,
                Err(error) => {
                    ours.note(&mut ours.lock(), conn, What::TlsFailed { reason: error.to_string() });
                    None
                }
            },
            _ => connection(&ours, conn, door, stream, from_test).await,
        };
        match ended {
            Some(code) => ours.gone(conn, code),
            None => drop(ours.lock().links.remove(&conn)),
        }
    });
    state.links.insert(conn, Link { to_task, task: task.abort_handle() });
}

/// A connection's whole life. `None`: it never became a WebSocket; else the close code, if the client gave one.
async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    conn: Conn,
    door: Door,
    stream: S,
    mut from_test: mpsc::UnboundedReceiver<Wire>,
) -> Option<Option<u16>> {
    match door {
        Door::HangUp => {
            shared.note(&mut shared.lock(), conn, What::TurnedAway { status: 0 });
            return None;
        }
        Door::Silent => {
            shared.note(&mut shared.lock(), conn, What::TurnedAway { status: 0 });
            std::future::pending::<()>().await;
        }
        Door::Open | Door::Refuse { .. } | Door::CloseAfterUpgrade { .. } => {}
    }
    let mut socket = upgrade(shared, conn, door, stream).await?;
    if let Door::CloseAfterUpgrade { code } = door {
        let _ = socket.close(Some(CloseFrame { code: code.into(), reason: "lab".into() })).await;
        return Some(None);
    }
    let mut desk = shared.desk.subscribe();
    loop {
        if *desk.borrow_and_update() == Desk::Deaf {
            desk.changed().await.ok()?;
            continue;
        }
        tokio::select! {
            _ = desk.changed() => {}
            wire = from_test.recv() => {
                if send(shared, conn, &mut socket, wire?).await.is_err() {
                    return Some(None);
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => shared.on_text(conn, &text),
                Some(Ok(Message::Binary(bytes))) => {
                    shared.note(&mut shared.lock(), conn, What::GotGarbage(format!("{} bytes", bytes.len())));
                }
                Some(Ok(Message::Ping(_))) => shared.note(&mut shared.lock(), conn, What::Pinged),
                Some(Ok(Message::Pong(_))) => shared.note(&mut shared.lock(), conn, What::Ponged),
                Some(Ok(Message::Close(frame))) => {
                    let _ = socket.close(None).await;
                    return Some(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(Message::Frame(_))) => {}
                Some(Err(_)) | None => return Some(None),
            }
        }
    }
}

async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    conn: Conn,
    door: Door,
    stream: S,
) -> Option<WebSocketStream<S>> {
    let mut opened = None;
    #[allow(clippy::result_large_err, reason = "the callback's type is the library's")]
    let decide = |request: &Request, mut response: Response| {
        if let Some(wanted) = request.headers().get("sec-websocket-protocol") {
            response.headers_mut().insert("sec-websocket-protocol", wanted.clone());
        }
        let headers = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        opened = Some(What::Opened { path: request.uri().to_string(), headers: headers.collect() });
        match door {
            Door::Refuse { status, retry_after } => Err(refusal(status, retry_after)),
            Door::Open | Door::CloseAfterUpgrade { .. } | Door::HangUp | Door::Silent => Ok(response),
        }
    };
    let accepted = tokio_tungstenite::accept_hdr_async(stream, decide).await;
    let what = match (&accepted, opened, door) {
        (Ok(_), Some(opened), _) => opened,
        (_, _, Door::Refuse { status, .. }) => What::TurnedAway { status },
        _ => What::TurnedAway { status: 400 },
    };
    shared.note(&mut shared.lock(), conn, what);
    accepted.ok()
}

fn refusal(status: u16, retry_after: Option<u32>) -> ErrorResponse {
    let mut builder = tungstenite::http::Response::builder().status(status);
    if let Some(seconds) = retry_after {
        builder = builder.header("Retry-After", seconds.to_string());
    }
    builder.body(Some("refused by the lab".into())).expect("a test gives a valid status")
}

/// Logs one thing and sends it.
async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    conn: Conn,
    socket: &mut WebSocketStream<S>,
    wire: Wire,
) -> Result<(), tungstenite::Error> {
    let (message, what) = match wire {
        Wire::Frame(frame) => (Message::text(frame.to_string()), What::Sent(frame)),
        Wire::Text(text) => {
            let shown = text.chars().take(200).collect();
            (Message::text(text), What::SentRaw(shown))
        }
        Wire::TextBytes(bytes) => {
            let shown = format!("{} bytes as text", bytes.len());
            let frame = Frame::message(bytes, OpCode::Data(Data::Text), true);
            (Message::Frame(frame), What::SentRaw(shown))
        }
        Wire::Binary(bytes) => {
            let shown = format!("{} bytes", bytes.len());
            (Message::Binary(Bytes::from(bytes)), What::SentRaw(shown))
        }
        Wire::Close(code) => return socket.close(Some(CloseFrame { code: code.into(), reason: "lab".into() })).await,
    };
    shared.note(&mut shared.lock(), conn, what);
    socket.send(message).await
}
