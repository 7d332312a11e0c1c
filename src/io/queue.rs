//! The two bounded queues between the control thread and the media thread, each with an eventfd to wake its reader.
//!
//! ```text
//!   control thread   Sender<Command> --[16]--> Receiver<Command>   media thread
//!                    Receiver<Event> <--[64]-- Sender<Event>
//! ```
//!
//! Neither side ever waits for the other. When a queue is full the newest entry is refused; [`Sender::refused`]
//! counts.

use crate::io::sys::EventFd;
use heapless::spsc::{Consumer, Producer, Queue};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Sender<T: 'static> {
    queue: Producer<'static, T>,
    wake: Arc<EventFd>,
    refused: Arc<AtomicU64>,
    pushed: bool,
}

pub struct Receiver<T: 'static> {
    queue: Consumer<'static, T>,
    wake: Arc<EventFd>,
    refused: Arc<AtomicU64>,
}

/// A queue for `N - 1` entries. Its memory is never given back: there is one pair of them per process.
pub fn queue<T: 'static, const N: usize>() -> io::Result<(Sender<T>, Receiver<T>)> {
    let wake = Arc::new(EventFd::new()?);
    let refused = Arc::new(AtomicU64::new(0));
    let memory: &'static mut Queue<T, N> = Box::leak(Box::new(Queue::new()));
    let (producer, consumer) = memory.split();
    Ok((
        Sender { queue: producer, wake: wake.clone(), refused: refused.clone(), pushed: false },
        Receiver { queue: consumer, wake, refused },
    ))
}

impl<T> Sender<T> {
    /// Puts `item` in without waking the reader; gives it back if the queue is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        let result = self.queue.enqueue(item);
        match result {
            Ok(()) => self.pushed = true,
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        result
    }

    /// Wakes the reader if anything was pushed since the last time: one system call for a whole batch.
    pub fn flush(&mut self) {
        if std::mem::take(&mut self.pushed) {
            self.wake.signal();
        }
    }
}

impl<T> Receiver<T> {
    /// The oldest entry. Call it until `None` after each wake-up of [`Receiver::fd`].
    pub fn pop(&mut self) -> Option<T> {
        self.queue.dequeue().or_else(|| {
            // Clear first, look again second: what is pushed in between wakes the reader once more.
            self.wake.clear();
            self.queue.dequeue()
        })
    }

    /// Readable while entries (may) wait.
    pub fn fd(&self) -> RawFd {
        self.wake.fd()
    }

    /// The same descriptor, for a waiter that keeps its own.
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.wake.try_clone()
    }

    /// Entries lost because the queue was full.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sys;
    use crate::time::Span;

    fn readable(fd: RawFd) -> bool {
        let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
        sys::poll(&mut fds, Some(Span::ZERO)).unwrap();
        fds[0].revents != 0
    }

    #[test]
    fn the_newest_entry_is_refused_and_counted() {
        let (mut sender, mut receiver) = queue::<u32, 3>().unwrap();
        assert_eq!((sender.push(1), sender.push(2), sender.push(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!((receiver.pop(), receiver.pop(), receiver.pop()), (Some(1), Some(2), None));
        assert_eq!(receiver.refused(), 1);
    }

    #[test]
    fn the_reader_is_woken_by_flush_and_rests_when_empty() {
        let (mut sender, mut receiver) = queue::<u32, 4>().unwrap();
        sender.push(1).unwrap();
        assert!(!readable(receiver.fd()));
        sender.flush();
        assert!(readable(receiver.fd()));
        assert_eq!((receiver.pop(), receiver.pop()), (Some(1), None));
        assert!(!readable(receiver.fd()));
    }
}
