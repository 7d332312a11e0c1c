//! The media thread, seen from the control thread: started once, then only commands in and events out.
//!
//! It is the only owner of sound card, codec, jitter buffer and RTP sockets; what it does with them is told in
//! [`media_engine`](crate::io::media_engine). Between the threads lie two bounded queues and nothing else: no lock is
//! shared, neither waits for the other.

use crate::config::Config;
use crate::io::alsa::machine::Machine;
use crate::io::media_engine::Engine;
use crate::io::opus::{OpusDecoder, OpusEncoder};
use crate::io::queue::{Receiver, Sender, queue};
use crate::io::rtp_sockets::RtpSockets;
use crate::io::sys;
use crate::media::codec::CodecError;
use crate::media::command::{Command, Event};
use crate::media::stream::{Settings, Stream};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

pub struct MediaThread;

impl MediaThread {
    /// Binds the sockets, makes the codec, starts the thread. The card is not touched before [`Command::Open`].
    ///
    /// # Errors
    /// No ports, no codec, no thread.
    pub fn start(config: &Config) -> Result<MediaHandle, StartError> {
        MediaThread::start_on(config, Machine::default())
    }

    /// The same with the sound cards of another machine.
    ///
    /// # Errors
    /// As [`start`](MediaThread::start).
    pub fn start_on(config: &Config, machine: Machine) -> Result<MediaHandle, StartError> {
        let sockets = RtpSockets::bind(&config.rtp).map_err(StartError::Sockets)?;
        let (rtp_port, rtcp_port) = sockets.ports();
        let encoder = OpusEncoder::new(&config.codec).map_err(StartError::Codec)?;
        let decoder = OpusDecoder::new().map_err(StartError::Codec)?;
        let (commands, command_receiver) = queue::<Command, COMMANDS>().map_err(StartError::System)?;
        let (mut event_sender, events) = queue::<Event, EVENTS>().map_err(StartError::System)?;
        let _ = event_sender.push(Event::Bound { rtp_port, rtcp_port });
        let progress = Arc::new(AtomicU64::new(0));
        let mut stream = Stream::new(Settings::of(config), encoder, decoder);
        stream.mute(config.audio.mute_at_start);
        // On the heap: the stack of the thread is small, and libopus needs a good part of it.
        let mut engine = Box::new(Engine::new(
            config.audio.clone(),
            machine,
            sockets,
            stream,
            command_receiver,
            event_sender,
            progress.clone(),
        ));
        let (tell, told) = mpsc::channel();
        let (priority, lock) = (config.audio.realtime_priority, config.audio.lock_memory);
        let thread = std::thread::Builder::new()
            .name("media".into())
            .stack_size(STACK)
            .spawn(move || {
                let _ = tell.send(Privileges::acquire(priority, lock));
                engine.run();
            })
            .map_err(StartError::System)?;
        let gone = || StartError::System(io::Error::from(io::ErrorKind::BrokenPipe));
        let privileges = told.recv().map_err(|_| gone())?;
        Ok(MediaHandle { commands, events, progress, privileges, ports: (rtp_port, rtcp_port), thread: Some(thread) })
    }
}

/// The control thread's end. Dropping it ends the thread (and a call with it: RTCP BYE is sent).
pub struct MediaHandle {
    commands: Sender<Command>,
    events: Receiver<Event>,
    progress: Arc<AtomicU64>,
    privileges: Privileges,
    ports: (u16, u16),
    thread: Option<JoinHandle<()>>,
}

impl MediaHandle {
    /// Hands over a command; never waits.
    #[expect(clippy::result_large_err, reason = "what did not fit comes back, to be handed over later")]
    pub fn send(&mut self, command: Command) -> Result<(), Full> {
        self.commands.push(command).map_err(Full)?;
        self.commands.flush();
        Ok(())
    }

    /// The oldest event not yet taken. Call it until `None` each time [`MediaHandle::event_fd`] is readable.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Readable while events wait.
    pub fn event_fd(&self) -> io::Result<OwnedFd> {
        self.events.try_clone_fd()
    }

    /// Grows with each pass of the thread: each packet in a call; while idle only when a command is answered.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Events lost because nobody took them.
    pub fn events_lost(&self) -> u64 {
        self.events.refused()
    }

    /// What the system allowed; a refusal is not fatal.
    pub fn privileges(&self) -> Privileges {
        self.privileges
    }

    /// Local ports of RTP and RTCP.
    pub fn ports(&self) -> (u16, u16) {
        self.ports
    }
}

impl Drop for MediaHandle {
    fn drop(&mut self) {
        // A full queue means that the thread is stuck: then it is not waited for.
        if self.send(Command::Shutdown).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// The command queue is full; the command comes back.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Full(pub Command);

#[derive(Debug)]
pub enum StartError {
    /// No free pair of ports, or an address that is not ours.
    Sockets(io::Error),
    Codec(CodecError),
    /// No thread or descriptor to be had.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Sockets(error) => write!(f, "RTP sockets: {error}"),
            StartError::Codec(CodecError(number)) => write!(f, "libopus: error {number}"),
            StartError::System(error) => write!(f, "media thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Whether the system let the thread have what it wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// The configuration does not ask for it.
    NotAsked,
    Given,
    /// The system's error number: `EPERM` without the limits of the unit file.
    Refused(i32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Privileges {
    /// SCHED_FIFO for the media thread.
    pub realtime: Grant,
    /// No page of the process is ever swapped out.
    pub locked_memory: Grant,
}

impl Privileges {
    fn acquire(priority: u8, lock: bool) -> Privileges {
        let grant = |result| match result {
            Ok(()) => Grant::Given,
            Err(number) => Grant::Refused(number),
        };
        Privileges {
            realtime: if priority > 0 { grant(sys::use_realtime_scheduler(priority)) } else { Grant::NotAsked },
            locked_memory: if lock { grant(sys::lock_memory()) } else { Grant::NotAsked },
        }
    }
}

/// Room for the commands of one wake-up of the control thread, several times.
const COMMANDS: usize = 16;
const EVENTS: usize = 64;
/// libopus needs up to some 100 KiB, alsa-lib's configuration parser some 10.
const STACK: usize = 256 * 1024;
