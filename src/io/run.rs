//! The control thread: waits for whatever comes next, hands it to the [`Agent`], and carries out what it answers.
//!
//! ```text
//!   WebSocket ──┐                       ┌── QssOpen/Send/Ping/Close → websocket::Link
//!   SIP socket ─┤                       ├── SipSend → SipSocket, SipConnections     Resolve → Lookup
//!   media ──────┼→ Input → Agent → Output ── Media → MediaHandle (heapless queue + eventfd)
//!   status ─────┤                       ├── Status, Reply → StatusSocket, standard output
//!   signals ────┘                       └── Exit
//! ```
//! Nothing here decides anything but the order in which ready things are read.

use crate::agent::{Agent, Input, Outbox, Output};
use crate::config::{Config, QssTransport};
use crate::io::buttons::{self, ButtonEvent};
use crate::io::disk::Keepsake;
use crate::io::media_thread::{Grant, MediaHandle, MediaThread, Privileges};
use crate::io::network::{Network, News};
use crate::io::sip_routes::Lookup;
use crate::io::sip_socket::{DATAGRAM, SipSocket};
use crate::io::sip_transport::{SipConnections, SipEvent};
use crate::io::status_socket::StatusSocket;
use crate::io::token::Errand;
use crate::io::watchdog::Watchdog;
use crate::io::websocket::{self, Link, LinkEvent, Security};
use crate::io::{board, clock, disk, sys};
use crate::media::command::Command;
use crate::media::governor::Board;
use crate::random::Rng;
use crate::sip::endpoint::RouteError;
use crate::sip::transport::{Flow, Route, Target, Transport};
use crate::srtp::Entropy;
use crate::time::Span;
use std::fmt;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Why the program could not start. Once started, it only ends when told to.
#[derive(Debug)]
pub enum RunError {
    Entropy(String),
    SipSocket { bind: std::net::SocketAddr, error: std::io::Error },
    Media(String),
    StatusSocket { path: std::path::PathBuf, error: std::io::Error },
    System(std::io::Error),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A socket that cannot be bound, or a system that refuses threads or signals.
pub fn run(config: Config) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The helper threads of the resolver and of the token file; with locked memory each stack is resident.
        .thread_stack_size(256 * 1024)
        .max_blocking_threads(3)
        .build()
        .map_err(RunError::System)?;
    let result = runtime.block_on(Control::start(config)).and_then(|control| runtime.block_on(control.run()));
    // A resolver or a file system that hangs must not hold up the exit.
    runtime.shutdown_background();
    result
}

struct Control {
    config: Config,
    agent: Agent,
    outbox: Outbox,
    link: Link,
    errand: Errand,
    network: Option<Network>,
    sip: SipSocket,
    lookup: Lookup,
    connections: SipConnections,
    media: MediaHandle,
    media_ready: AsyncFd<OwnedFd>,
    routes: (mpsc::Sender<Routed>, mpsc::Receiver<Routed>),
    buttons: mpsc::Receiver<ButtonEvent>,
    status: Option<StatusSocket>,
    watchdog: Watchdog,
    /// As the media thread knows it.
    board: Board,
    exit: bool,
}

struct Routed {
    target: Target,
    routes: Result<Vec<Route>, RouteError>,
}

impl Control {
    async fn start(config: Config) -> Result<Control, RunError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|e| RunError::Entropy(e.to_string()))?;
        let bind = config.sip.bind;
        let sip = SipSocket::bind(bind).await.map_err(|error| RunError::SipSocket { bind, error })?;
        let mut rng = Rng::from_seed(seed);
        let lookup = Lookup::new(&config.sip, sip.bound(), rng.fork());
        let connections = SipConnections::new(&config.sip);
        if config.sip.tcp_listen
            && let Err(error) = connections.listen(sip.bound())
        {
            // Calls work without: what does not fit a datagram then has to come in one all the same.
            let port = sip.bound().port;
            let _ = writeln!(std::io::stderr(), "warning: SIP port {port} is not open for TCP: {error}");
        }
        let status = match &config.status.socket {
            Some(path) => {
                Some(StatusSocket::bind(path).map_err(|error| RunError::StatusSocket { path: path.clone(), error })?)
            }
            None => None,
        };
        let media = MediaThread::start(&config).map_err(|e| RunError::Media(e.to_string()))?;
        warn_of_refusals(media.privileges());
        let media_ready = media.event_fd().and_then(sys::readable).map_err(RunError::System)?;
        Ok(Control {
            agent: Agent::new(config.clone(), rng),
            outbox: Outbox::new(),
            link: Link::default(),
            errand: Errand::default(),
            // Without its news an attempt waits its full pause.
            network: Network::watch().ok(),
            sip,
            lookup,
            connections,
            media,
            media_ready,
            routes: mpsc::channel(8),
            buttons: buttons::follow(
                config.buttons.iter().map(|button| button.device.clone()).collect(),
                websocket::duration(config.device.input_retry),
            ),
            config,
            status,
            watchdog: Watchdog::from_env(),
            board: Board::Fine,
            exit: false,
        })
    }

    async fn run(mut self) -> Result<(), RunError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(RunError::System)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::System)?;
        let mut datagram = vec![0; DATAGRAM];
        let watchdog_period = self.watchdog.interval();
        let mut watchdog_tick = tokio::time::interval(watchdog_period.unwrap_or(Duration::from_secs(3600)));
        watchdog_tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let board_interval = self.config.device.board_interval;
        let mut board_tick = tokio::time::interval(Duration::from_micros(board_interval.as_micros().max(1_000)));
        board_tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

        if let Some(directory) = self.config.device.state_dir.clone() {
            if let Some(kept) = disk::kept(&directory, Keepsake::Rooms) {
                self.feed(Input::Kept(&kept));
            }
            if let Some(text) = disk::kept(&directory, Keepsake::Session) {
                self.feed(Input::Recalled(&text));
            }
        }
        self.feed(Input::Start { sip_port: self.sip.bound().port });
        self.watchdog.ready();
        while !self.exit {
            let sleep = self.until_wakeup();
            tokio::select! {
                ready = self.media_ready.readable() => {
                    // Cleared before the queue is drained: an event that comes in between wakes us again.
                    if let Ok(mut guard) = ready { guard.clear_ready() }
                    while let Some(event) = self.media.poll_event() {
                        self.feed(Input::Media(event));
                    }
                }
                (length, from) = self.sip.receive(&mut datagram) => {
                    self.feed(Input::Sip { flow: Flow::udp(from), bytes: &datagram[..length] });
                }
                event = self.connections.next() => match event {
                    SipEvent::Connected { flow, local } => self.feed(Input::SipConnected { flow, local }),
                    SipEvent::Accepted { flow, local } => self.feed(Input::SipAccepted { flow, local }),
                    SipEvent::Received { flow, bytes } => self.feed(Input::Sip { flow, bytes: &bytes }),
                    SipEvent::Closed { flow, why } => self.feed(Input::SipDisconnected { flow, why: &why }),
                },
                Some(event) = self.buttons.recv() => match event {
                    ButtonEvent::Pressed { device, code } => self.feed(Input::Pressed { device: &device, code }),
                    ButtonEvent::There { device } => self.feed(Input::ButtonDevice { device: &device, state: Ok(()) }),
                    ButtonEvent::Gone { device, why } => {
                        self.feed(Input::ButtonDevice { device: &device, state: Err(&why) });
                    }
                },
                event = self.link.next() => match event {
                    LinkEvent::Opened(security) => {
                        if security == Security::Tls && sys::clock_is_synchronised() {
                            self.feed(Input::ClockProven);
                        }
                        self.feed(Input::QssOpened);
                    }
                    LinkEvent::Frame(text) => self.feed(Input::QssFrame(&text)),
                    LinkEvent::Pong(ping) => self.feed(Input::QssPong(ping)),
                    LinkEvent::Alive => self.feed(Input::QssAlive),
                    LinkEvent::Closed(error) => self.feed(Input::QssClosed(error)),
                },
                answer = self.errand.next() => self.feed(Input::QssToken(answer)),
                news = network_news(&mut self.network) => match news {
                    News::Up => self.feed(Input::LinkUp),
                    News::Changed => self.feed(Input::NetworkChanged),
                },
                Some(Routed { target, routes }) = self.routes.1.recv() => {
                    self.feed(Input::Routed { target: &target, routes });
                }
                (client, line) = next_line(&mut self.status) => self.feed(Input::Local { client, line: &line }),
                _ = terminate.recv() => self.stop(),
                _ = interrupt.recv() => self.stop(),
                _ = watchdog_tick.tick() => self.feed_watchdog(),
                _ = board_tick.tick(), if board_interval > Span::ZERO => self.look_at_board(),
                () = tokio::time::sleep(sleep) => self.wake(),
            }
        }
        // Lets the close frame and the last SIP message leave; both have been handed over already.
        // Dropping the media handle ends its thread.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    }

    fn feed(&mut self, input: Input<'_>) {
        self.agent.handle(clock::now(), clock::wall(), input, &mut self.outbox);
        self.carry_out();
    }

    fn wake(&mut self) {
        let now = clock::now();
        if self.agent.poll_timeout().is_some_and(|wakeup| wakeup.at <= now) {
            self.agent.handle_timeout(now, clock::wall(), &mut self.outbox);
            self.carry_out();
        }
    }

    fn stop(&mut self) {
        self.watchdog.stopping();
        self.feed(Input::Stop);
    }

    fn until_wakeup(&self) -> Duration {
        const IDLE: Duration = Duration::from_secs(3600);
        let now = clock::now();
        self.agent.poll_timeout().map_or(IDLE, |wakeup| Duration::from_micros(wakeup.at.since(now).as_micros()))
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.outbox.pop_front() {
            let sent = match output {
                Output::QssOpen { token, not_before, turn } => {
                    match self.config.qss.transport {
                        QssTransport::WebSocket => self.link.open(&self.config.qss, token, not_before, turn),
                    }
                    Ok(())
                }
                Output::QssToken { ask, not_before, turn } => {
                    self.errand.set_out(ask, &self.config.qss, not_before, turn);
                    Ok(())
                }
                Output::Remember(text) => {
                    self.keep(Keepsake::Session, &text);
                    Ok(())
                }
                Output::QssSend(text) => self.link.send(text),
                Output::QssPing(ping) => self.link.ping(ping),
                Output::QssClose => {
                    self.link.close();
                    Ok(())
                }
                Output::SipSend { flow, bytes } => {
                    self.send_sip(flow, bytes);
                    Ok(())
                }
                Output::SipConnect { flow, host, not_before } => {
                    self.connections.open(flow, host, not_before);
                    Ok(())
                }
                Output::SipDisconnect { flow } => {
                    self.connections.close(flow);
                    Ok(())
                }
                Output::Resolve(target) => {
                    self.resolve(target);
                    Ok(())
                }
                Output::DrawKeys => {
                    self.draw_keys();
                    Ok(())
                }
                Output::Media(command) => {
                    // The queue holds many times what one decision can produce; a full one means a stuck media
                    // thread, and then the watchdog is not fed.
                    let _ = self.media.send(command);
                    Ok(())
                }
                Output::Status(line) => {
                    self.publish(&line);
                    Ok(())
                }
                Output::Reply { client, line } => {
                    if let Some(status) = &mut self.status {
                        status.reply(client, &line);
                    }
                    Ok(())
                }
                Output::Keep(text) => {
                    self.keep(Keepsake::Rooms, &text);
                    Ok(())
                }
                Output::Exit => {
                    self.exit = true;
                    Ok(())
                }
            };
            if let Err(error) = sent {
                let (now, wall) = (clock::now(), clock::wall());
                self.agent.handle(now, wall, Input::QssClosed(error), &mut self.outbox);
            }
        }
    }

    /// What cannot be drawn now is asked for again.
    fn draw_keys(&mut self) {
        let mut bytes = [0; Entropy::LEN];
        if getrandom::fill(&mut bytes).is_ok() {
            let keys = Input::Keys(Entropy::new(bytes));
            self.agent.handle(clock::now(), clock::wall(), keys, &mut self.outbox);
        }
    }

    fn send_sip(&mut self, flow: Flow, bytes: Vec<u8>) {
        let sent = match flow.transport {
            Transport::Udp => {
                self.sip.send(flow.remote, &bytes);
                Ok(())
            }
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => self.connections.send(flow, bytes),
        };
        if sent.is_err() {
            let why = "the peer takes nothing any more";
            self.agent.handle(clock::now(), clock::wall(), Input::SipDisconnected { flow, why }, &mut self.outbox);
        }
    }

    fn publish(&mut self, line: &str) {
        self.tell_manager(line);
        if self.config.status.stdout {
            let mut stdout = std::io::stdout().lock();
            let _ = writeln!(stdout, "{line}");
            let _ = stdout.flush();
        }
        if let Some(status) = &mut self.status {
            status.broadcast(line);
        }
    }

    /// `systemctl status` shows the rung.
    fn tell_manager(&self, line: &str) {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { return };
        if event["event"] == "ladder" {
            let room = event["room"]["name"].as_str().map_or_else(String::new, |name| format!(", room {name}"));
            self.watchdog.status(&format!("{}{room}", event["rung"].as_str().unwrap_or_default()));
        }
    }

    /// Before anything else is carried out: what is sent next may make a room.
    fn keep(&self, what: Keepsake, text: &str) {
        let Some(directory) = &self.config.device.state_dir else { return };
        if let Err(error) = disk::keep(directory, what, text) {
            let directory = directory.display();
            let _ = writeln!(
                std::io::stderr(),
                "warning: {directory}: {error}; nothing that must outlive a crash is kept: see device.state_dir"
            );
        }
    }

    fn resolve(&mut self, target: Target) {
        let (lookup, answers) = (self.lookup.fork(), self.routes.0.clone());
        tokio::spawn(async move {
            let routes = lookup.routes(&target).await;
            let _ = answers.send(Routed { target, routes }).await;
        });
    }

    fn look_at_board(&mut self) {
        let board = board::look(Path::new("/sys"));
        if board != self.board && self.media.send(Command::Board(board)).is_ok() {
            self.board = board;
        }
    }

    /// That this runs proves the control thread; the watchdog asks for the media thread's progress itself.
    fn feed_watchdog(&mut self) {
        self.watchdog.tick(self.media.progress());
        // An idle media thread moves only when asked to.
        let _ = self.media.send(Command::Stats);
    }
}

/// A call works without them; an overloaded board drops sound, and then somebody will look into the journal.
fn warn_of_refusals(privileges: Privileges) {
    let wanted = [
        ("real-time priority", privileges.realtime, "LimitRTPRIO=30"),
        ("locked memory", privileges.locked_memory, "LimitMEMLOCK=infinity"),
    ];
    for (what, grant, limit) in wanted {
        if let Grant::Refused(number) = grant {
            let error = std::io::Error::from_raw_os_error(number);
            let _ =
                writeln!(std::io::stderr(), "warning: no {what} for the media thread: {error}; the unit wants {limit}");
        }
    }
}

async fn network_news(network: &mut Option<Network>) -> News {
    match network {
        Some(network) => network.next().await,
        None => std::future::pending().await,
    }
}

async fn next_line(status: &mut Option<StatusSocket>) -> (u32, String) {
    match status {
        Some(status) => status.next().await,
        None => std::future::pending().await,
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Entropy(e) => write!(f, "the system gives no random numbers: {e}"),
            RunError::SipSocket { bind, error } => {
                write!(f, "SIP socket {bind}: {error}; set [sip] bind to a free address")
            }
            RunError::Media(e) => write!(f, "media thread: {e}"),
            RunError::StatusSocket { path, error } => {
                write!(
                    f,
                    "status socket {}: {error}; set [status] socket to a path this user may create",
                    path.display()
                )
            }
            RunError::System(e) => write!(f, "system: {e}"),
        }
    }
}

impl std::error::Error for RunError {}
