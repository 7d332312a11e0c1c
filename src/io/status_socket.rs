//! The local socket: programs on the device ask for the status, send commands, and follow events, line by line.
//!
//! ```text
//! client                          server
//!   status                  ->    (client 7, "status")        goes up to the agent
//!                           <-    {"rung":"room", ...}         the agent's one reply to that line
//!   follow                  ->    from now on every event, too (answered here, not by the agent)
//! ```
//!
//! A client sees events only after it sent `follow`, so that the first line after a question is its answer. A client
//! that shuts down its sending half (`echo status | nc -U ...`) still gets the replies owed to it, and is then closed.
//!
//! No task is spawned: [`StatusSocket::next`] does all the work while it is awaited, keeps its state in `self`, and may
//! be dropped and called again. Memory is bounded: [`MAX_CLIENTS`], [`MAX_LINE`], [`MAX_QUEUE`]. Whoever exceeds one is
//! closed; nobody is waited for.

use crate::status::outcome::{Pending, Verdict};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, BufRead, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};

/// Where `qss-endpoint status` looks when nothing else is said: what systemd's `RuntimeDirectory=` gives.
pub const DEFAULT_PATH: &str = "/run/qss-endpoint/status.sock";
pub const MAX_CLIENTS: usize = 8;
/// Longest line a client may send, in bytes.
pub const MAX_LINE: usize = 64 * 1024;
/// Bytes that may wait for a client that does not read.
pub const MAX_QUEUE: usize = 256 * 1024;

/// Owner and group only: the socket can mute a microphone.
const MODE: u32 = 0o660;
/// How long `qss-endpoint status` waits for its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The server. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct StatusSocket {
    listener: UnixListener,
    clients: Vec<Client>,
    /// Lines that wait to be returned by [`next`](StatusSocket::next).
    lines: VecDeque<(u32, String)>,
    next_id: u32,
    path: PathBuf,
    /// Device and inode of the socket file: the proof that it is still ours.
    identity: (u64, u64),
}

#[derive(Debug)]
struct Client {
    id: u32,
    stream: UnixStream,
    input: Vec<u8>,
    output: VecDeque<u8>,
    follows: bool,
    /// It will send nothing more.
    finished: bool,
    /// Lines of it that have no reply yet.
    owed: usize,
}

impl StatusSocket {
    /// Listens at `path`. What a killed process left there is replaced; a socket somebody listens on, or any other
    /// kind of file, is an error (`AddrInUse`, `AlreadyExists`). Must be called within a tokio runtime.
    pub fn bind(path: &Path) -> io::Result<StatusSocket> {
        make_room(path)?;
        let listener = UnixListener::bind(path)?;
        let metadata = std::fs::symlink_metadata(path)?;
        let (path, identity) = (path.to_owned(), (metadata.dev(), metadata.ino()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(MODE))?;
        Ok(StatusSocket { listener, clients: Vec::new(), lines: VecDeque::new(), next_id: 0, path, identity })
    }

    /// The next line of a client, with the client's number. Cancel safe.
    pub async fn next(&mut self) -> (u32, String) {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Sends one event to every client that follows.
    pub fn broadcast(&mut self, line: &str) {
        for client in self.clients.iter_mut().filter(|client| client.follows) {
            client.say(line);
        }
        self.flush();
    }

    /// Answers a line of `client`; a client that left meanwhile misses it.
    pub fn reply(&mut self, client: u32, line: &str) {
        if let Some(client) = self.clients.iter_mut().find(|c| c.id == client) {
            client.owed = client.owed.saturating_sub(1);
            client.say(line);
        }
        self.flush();
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(u32, String)> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Poll::Ready(line);
            }
            self.accept(cx);
            self.clients.retain_mut(|client| client.poll(cx, &mut self.lines).is_ok());
            if self.lines.is_empty() {
                return Poll::Pending;
            }
        }
    }

    fn accept(&mut self, cx: &mut Context<'_>) {
        // An error concerns the one client that was to come; being out of descriptors passes, too.
        while let Poll::Ready(Ok((stream, _))) = self.listener.poll_accept(cx) {
            if self.clients.len() < MAX_CLIENTS {
                self.clients.push(Client::new(self.next_id, stream));
                self.next_id = self.next_id.wrapping_add(1);
            }
        }
    }

    fn flush(&mut self) {
        self.clients.retain_mut(|client| client.flush().is_ok());
    }
}

/// The client is to be closed.
struct Close;

impl Client {
    fn new(id: u32, stream: UnixStream) -> Client {
        Client { id, stream, input: Vec::new(), output: VecDeque::new(), follows: false, finished: false, owed: 0 }
    }

    /// Reads and writes what can be, and leaves a waker for the rest.
    fn poll(&mut self, cx: &mut Context<'_>, lines: &mut VecDeque<(u32, String)>) -> Result<(), Close> {
        let mut reads = 0;
        while !self.finished && self.stream.poll_read_ready(cx).is_ready() {
            if reads == MAX_READS {
                // Whoever writes without end gets its turn again, after the others.
                cx.waker().wake_by_ref();
                break;
            }
            reads += 1;
            let mut chunk = [0; 4096];
            match self.stream.try_read(&mut chunk) {
                Ok(0) => (self.finished, self.follows) = (true, false),
                Ok(n) => {
                    self.input.extend_from_slice(&chunk[..n]);
                    self.take_lines(lines)?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(Close),
            }
        }
        self.flush()?;
        while !self.output.is_empty() && self.stream.poll_write_ready(cx).is_ready() {
            self.flush()?;
        }
        Ok(())
    }

    fn take_lines(&mut self, lines: &mut VecDeque<(u32, String)>) -> Result<(), Close> {
        while let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if line.len() > MAX_LINE {
                return Err(Close);
            }
            match String::from_utf8_lossy(&line).trim() {
                "" => {}
                "follow" => self.follows = true,
                // A client that asks faster than it is answered is as bad as one that does not read.
                _ if self.owed == MAX_OWED => return Err(Close),
                line => {
                    self.owed += 1;
                    lines.push_back((self.id, line.to_owned()));
                }
            }
        }
        if self.input.len() > MAX_LINE { Err(Close) } else { Ok(()) }
    }

    fn say(&mut self, line: &str) {
        self.output.extend(line.as_bytes());
        self.output.push_back(b'\n');
    }

    /// Writes what the socket takes now.
    fn flush(&mut self) -> Result<(), Close> {
        while !self.output.is_empty() {
            match self.stream.try_write(self.output.as_slices().0) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Err(Close),
            }
        }
        let done = self.finished && self.owed == 0 && self.output.is_empty();
        if done || self.output.len() > MAX_QUEUE { Err(Close) } else { Ok(()) }
    }
}

/// Lines of one client that may wait for their replies.
const MAX_OWED: usize = 64;
/// Chunks read from one client in a row.
const MAX_READS: usize = 8;

fn make_room(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file of this name, and it is no socket"));
    }
    match BlockingStream::connect(path) {
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another process serves this socket")),
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(e) => Err(e),
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // A successor may have put its own socket there already.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Sends a command and prints the lines that follow, until it is known what came of it; `None`: it is not, after
/// `patience`.
///
/// # Errors
/// As of [`ask`].
pub fn ask_and_wait(
    path: &Path,
    command: &str,
    patience: Duration,
    mut print: impl FnMut(&str) -> io::Result<()>,
) -> io::Result<Option<Verdict>> {
    let mut stream = BlockingStream::connect(path)?;
    let ends = Instant::now() + patience;
    let mut pending = Pending::of(command);
    stream.write_all(format!("{command}\nfollow\n").as_bytes())?;
    let mut reader = io::BufReader::new(stream.try_clone()?);
    loop {
        let Some(left) = ends.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
            return Ok(None);
        };
        stream.set_read_timeout(Some(left))?;
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed without an outcome")),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
            Err(e) => return Err(e),
        }
        print(line.trim_end())?;
        match pending.line(&line) {
            Verdict::Open => {}
            verdict @ (Verdict::Done | Verdict::Failed) => return Ok(Some(verdict)),
        }
    }
}

/// The client side, for `qss-endpoint status` and `ctl`: the answer to `command`, and with `follow` every event after it, one line
/// at a time to `print`, until the server goes or `print` fails.
///
/// # Errors
/// No server, no answer within five seconds, or what `print` said.
pub fn ask(path: &Path, command: &str, follow: bool, mut print: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut stream = BlockingStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(format!("{command}\n{}", if follow { "follow\n" } else { "" }).as_bytes())?;
    let mut lines = io::BufReader::new(stream.try_clone()?).lines();
    match lines.next() {
        Some(Ok(line)) => print(&line)?,
        Some(Err(e)) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            return Err(io::Error::new(ErrorKind::TimedOut, "no answer within 5 s"));
        }
        Some(Err(e)) => return Err(e),
        None => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed without an answer")),
    }
    if follow {
        stream.set_read_timeout(None)?;
        for line in lines {
            print(&line?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    struct Bench {
        path: PathBuf,
        socket: StatusSocket,
    }

    impl Bench {
        fn new(test: &str) -> Bench {
            let path = std::env::temp_dir().join(format!("qss-endpoint-{test}-{}.sock", std::process::id()));
            let _ = std::fs::remove_file(&path);
            Bench { socket: StatusSocket::bind(&path).unwrap(), path }
        }

        fn connect(&self) -> BlockingStream {
            let stream = BlockingStream::connect(&self.path).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream
        }

        /// Lets the server do what it can do now, and gives back the lines that came, a thousand at most.
        async fn turn(&mut self) -> Vec<(u32, String)> {
            let mut lines = Vec::new();
            while lines.len() < 1000
                && let Ok(line) = tokio::time::timeout(Duration::from_millis(50), self.socket.next()).await
            {
                lines.push(line);
            }
            lines
        }
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    fn line_of(stream: &mut BlockingStream) -> String {
        let mut line = String::new();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(char::from(byte[0]));
        }
        line
    }

    #[test]
    fn a_line_goes_up_and_its_answer_comes_down_to_the_asker_only() {
        run(async {
            let mut bench = Bench::new("ask");
            let (mut asker, mut other) = (bench.connect(), bench.connect());
            asker.write_all(b"status\n").unwrap();
            other.write_all(b"mute on\n").unwrap();
            let lines = bench.turn().await;
            assert_eq!(lines, [(0, "status".to_owned()), (1, "mute on".to_owned())]);
            bench.socket.broadcast("event nobody follows");
            bench.socket.reply(1, "muted");
            bench.socket.reply(0, "fine");
            assert_eq!((line_of(&mut asker), line_of(&mut other)), ("fine".into(), "muted".into()));
            bench.socket.reply(99, "nobody");
        });
    }

    #[test]
    fn events_come_to_those_who_follow() {
        run(async {
            let mut bench = Bench::new("follow");
            let mut follower = bench.connect();
            follower.write_all(b"follow\n").unwrap();
            assert_eq!(bench.turn().await, []);
            bench.socket.broadcast("one");
            bench.socket.broadcast("two");
            assert_eq!((line_of(&mut follower), line_of(&mut follower)), ("one".into(), "two".into()));
        });
    }

    #[test]
    fn a_client_that_said_all_is_answered_and_then_closed() {
        run(async {
            let mut bench = Bench::new("halfclose");
            let mut client = bench.connect();
            client.write_all(b"status\n").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(bench.turn().await, [(0, "status".to_owned())]);
            bench.socket.reply(0, "fine");
            let mut all = String::new();
            client.read_to_string(&mut all).unwrap();
            assert_eq!(all, "fine\n");
            assert!(bench.socket.clients.is_empty());
        });
    }

    #[test]
    fn who_floods_or_does_not_read_is_closed() {
        run(async {
            let mut bench = Bench::new("flood");
            let mut flooder = bench.connect();
            flooder.set_nonblocking(true).unwrap();
            let mut slow = bench.connect();
            slow.write_all(b"follow\n").unwrap();
            for _ in 0..20 {
                let _ = flooder.write(&[b'x'; 8192]);
                bench.turn().await;
            }
            assert_eq!(bench.socket.clients.iter().map(|c| c.id).collect::<Vec<_>>(), [1]);
            let event = "e".repeat(10_000);
            for _ in 0..200 {
                bench.socket.broadcast(&event);
            }
            assert!(bench.socket.clients.is_empty());
        });
    }

    #[test]
    fn who_asks_without_end_is_closed_and_the_others_are_heard() {
        run(async {
            let mut bench = Bench::new("endless");
            let mut endless = bench.connect();
            let mut other = bench.connect();
            let writer = std::thread::spawn(move || while endless.write_all(&b"status\n".repeat(100)).is_ok() {});
            other.write_all(b"mute on\n").unwrap();
            let lines = bench.turn().await;
            assert!(lines.contains(&(1, "mute on".to_owned())));
            assert_eq!(bench.socket.clients.iter().map(|c| c.id).collect::<Vec<_>>(), [1]);
            writer.join().unwrap();
        });
    }

    #[test]
    fn there_is_room_for_eight_and_a_place_is_free_again() {
        run(async {
            let mut bench = Bench::new("eight");
            let mut clients: Vec<_> = (0..10).map(|_| bench.connect()).collect();
            bench.turn().await;
            assert_eq!(bench.socket.clients.len(), MAX_CLIENTS);
            assert_eq!(clients[9].read(&mut [0]).unwrap(), 0, "the ninth and tenth are closed at once");
            clients.clear();
            bench.turn().await;
            assert!(bench.socket.clients.is_empty());
        });
    }

    #[test]
    fn a_stale_socket_is_replaced_a_living_one_and_a_file_are_not() {
        run(async {
            let bench = Bench::new("stale");
            assert_eq!(StatusSocket::bind(&bench.path).unwrap_err().kind(), ErrorKind::AddrInUse);
            assert_eq!(std::fs::metadata(&bench.path).unwrap().mode() & 0o777, 0o660);
            let path = bench.path.clone();
            drop(bench);
            assert!(!path.exists(), "removed at exit");

            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            assert!(path.exists(), "what kill -9 leaves");
            drop(StatusSocket::bind(&path).unwrap());

            std::fs::write(&path, "precious").unwrap();
            assert_eq!(StatusSocket::bind(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
            std::fs::remove_file(&path).unwrap();
        });
    }

    #[test]
    fn the_client_prints_the_answer_and_then_what_follows() {
        let mut server = None;
        run(async {
            let mut bench = Bench::new("client");
            let path = bench.path.clone();
            let client = std::thread::spawn(move || {
                let mut lines = Vec::new();
                ask(&path, "status", true, |line| {
                    lines.push(line.to_owned());
                    if lines.len() == 2 { Err(ErrorKind::BrokenPipe.into()) } else { Ok(()) }
                })
                .unwrap_err();
                lines
            });
            let (id, line) = bench.socket.next().await;
            assert_eq!(line, "status");
            bench.socket.reply(id, "answer");
            bench.turn().await;
            bench.socket.broadcast("event");
            server = Some(bench);
            assert_eq!(client.join().unwrap(), ["answer", "event"]);
        });
    }
}
