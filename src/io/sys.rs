//! The system calls that no safe crate of ours offers: the only unsafe code of the project.

use crate::time::Span;
use libc::{c_int, c_void};
use socket2::SockAddr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::{MaybeUninit, size_of};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// CLOCK_MONOTONIC in microseconds.
pub(super) fn monotonic_us() -> u64 {
    let t = read_clock(libc::CLOCK_MONOTONIC);
    t.tv_sec as u64 * 1_000_000 + t.tv_nsec as u64 / 1_000
}

/// Sets a variable of the environment, unless there is another thread already, which might be reading one.
pub(super) fn set_variable(name: &str, value: &str) {
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    if alone {
        // SAFETY: nobody else can be in the environment.
        unsafe { std::env::set_var(name, value) };
    }
}

/// An eventfd: a counter that makes `poll` return while it is not zero.
#[derive(Debug)]
pub(super) struct EventFd(File);

impl EventFd {
    pub(super) fn new() -> io::Result<EventFd> {
        // SAFETY: no pointers; on success the descriptor is ours alone.
        unsafe {
            match libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) {
                fd if fd < 0 => Err(io::Error::last_os_error()),
                fd => Ok(EventFd(File::from_raw_fd(fd))),
            }
        }
    }

    pub(super) fn signal(&self) {
        // It can only fail when the counter is full, and then the reader is awake already.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        let _ = (&self.0).read(&mut [0; 8]);
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(super) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

/// Lets the control thread's runtime wait until `fd` is readable.
pub(super) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped, and the `AsyncFd` owns it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}

/// A non-blocking socket that tells of links and addresses that come and go (rtnetlink(7)).
pub(super) fn route_news() -> io::Result<OwnedFd> {
    let addresses = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
    let groups = libc::RTMGRP_LINK | addresses | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE;
    // SAFETY: on success the descriptor is ours alone; all-zero is a valid sockaddr_nl, and `bind` is given its length.
    unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let fd = match libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) {
            fd if fd < 0 => return Err(io::Error::last_os_error()),
            fd => OwnedFd::from_raw_fd(fd),
        };
        let mut address: libc::sockaddr_nl = std::mem::zeroed();
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = groups as u32;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        match libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) {
            0 => Ok(fd),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Whether the kernel says that the wall clock is synchronised (adjtimex(2), without changing anything).
pub(super) fn clock_is_synchronised() -> bool {
    // SAFETY: all-zero is a valid timex that changes nothing (`modes` is 0), and outlives the call.
    unsafe {
        let mut state: libc::timex = std::mem::zeroed();
        libc::adjtimex(&mut state) >= 0 && state.status & libc::STA_UNSYNC == 0
    }
}

/// `ppoll`; a signal counts as waking with nothing ready.
pub(super) fn poll(fds: &mut [libc::pollfd], timeout: Option<Span>) -> io::Result<()> {
    let timeout = timeout.map(|span| libc::timespec {
        tv_sec: (span.as_micros() / 1_000_000) as _,
        tv_nsec: (span.as_micros() % 1_000_000 * 1_000) as _,
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `fds` is a valid array of that length; `timeout` is null or points to a value that outlives the call.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout, std::ptr::null()) };
    if ready >= 0 {
        return Ok(());
    }
    fds.iter_mut().for_each(|fd| fd.revents = 0);
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error => Err(error),
    }
}

/// Puts the calling thread under SCHED_FIFO; `Err` is the system's error number.
pub(super) fn use_realtime_scheduler(priority: u8) -> Result<(), i32> {
    // SAFETY: all-zero is a valid sched_param, and `pthread_self` is the calling thread.
    unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        parameters.sched_priority = c_int::from(priority);
        match libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_FIFO, &parameters) {
            0 => Ok(()),
            error => Err(error),
        }
    }
}

/// Keeps every page of the process in memory once it has been touched; `Err` is the system's error number.
///
/// Pages are locked as they are used (MCL_ONFAULT), so that locking does not make the process larger. Pages yet to be
/// mapped are included only without a limit on locked memory: under a limit a later `mmap` would fail.
pub(super) fn lock_memory() -> Result<(), i32> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid out parameter; the rest are plain numbers.
    unsafe {
        let unlimited = libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) == 0 && limit.rlim_cur == libc::RLIM_INFINITY;
        let future = if unlimited { libc::MCL_FUTURE } else { 0 };
        match libc::mlockall(libc::MCL_CURRENT | MCL_ONFAULT | future) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        }
    }
}

/// Asks the kernel to stamp each datagram with its arrival, and to say how many it had no room for: see [`receive`].
pub(super) fn stamp_arrivals(socket: &UdpSocket) -> io::Result<()> {
    let on: c_int = 1;
    let length = size_of::<c_int>() as libc::socklen_t;
    let value = std::ptr::from_ref(&on).cast::<c_void>();
    for option in [libc::SO_TIMESTAMPNS, libc::SO_RXQ_OVFL] {
        // SAFETY: the value is an int that outlives the call.
        if unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, length) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A datagram that has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// 0 if it did not fit into the buffer.
    pub(super) length: usize,
    pub(super) from: SocketAddr,
    /// How long it has waited in the kernel; zero if the kernel did not stamp it.
    pub(super) age: Span,
    /// Datagrams that this socket has had no room for, all in all, as the kernel says it beside this one.
    pub(super) dropped: Option<u32>,
}

/// The next datagram of a non-blocking socket; `None` if there is none (or nothing but an error to be skipped).
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<Received> {
    /// Room for control messages with a timespec and a number, aligned as control messages are.
    #[repr(align(8))]
    struct Control([u8; 64]);

    let mut control = Control([0; 64]);
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero is a valid msghdr; every pointer put into it outlives the call, with its true length. The
    // kernel writes a socket address of the length it reports. CMSG_* walk the control bytes it wrote.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        let (length, from) = SockAddr::try_init(|storage, address_length| {
            message.msg_name = storage.cast();
            message.msg_namelen = *address_length;
            match libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) {
                length if length < 0 => Err(io::Error::last_os_error()),
                length => {
                    *address_length = message.msg_namelen;
                    Ok(length as usize)
                }
            }
        })
        .ok()?;
        let truncated = message.msg_flags & libc::MSG_TRUNC != 0;
        let (mut age, mut dropped) = (Span::ZERO, None);
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => age = content::<libc::timespec>(header).map_or(age, age_of),
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => dropped = content::<u32>(header),
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
        Some(Received { length: if truncated { 0 } else { length }, from: from.as_socket()?, age, dropped })
    }
}

/// What a control message carries, if it is as long as that.
///
/// # Safety
/// `header` is one that `CMSG_FIRSTHDR` or `CMSG_NXTHDR` has given for bytes that the kernel wrote, and every pattern of
/// bits is a `T`.
#[allow(clippy::unnecessary_cast)] // the length is narrower on 32-bit machines
unsafe fn content<T>(header: *const libc::cmsghdr) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as the caller promises; the length is checked before so many bytes are copied, from any alignment.
    unsafe {
        if ((*header).cmsg_len as usize) < libc::CMSG_LEN(size_of::<T>() as u32) as usize {
            return None;
        }
        std::ptr::copy_nonoverlapping(libc::CMSG_DATA(header), value.as_mut_ptr().cast(), size_of::<T>());
        Some(value.assume_init())
    }
}

/// A decoder of libopus in memory of ours: it has no pointers to itself, so a copy of its bytes is a decoder in the same state
/// (opus_decoder_get_size(3)). Negative numbers are libopus' errors.
#[derive(Clone)]
pub(super) struct OpusState(Box<[u128]>);

impl OpusState {
    /// Mono.
    pub(super) fn new(rate: u32) -> Result<OpusState, c_int> {
        // SAFETY: a number in, a number out.
        let bytes = unsafe { opusic_sys::opus_decoder_get_size(1) };
        let bytes = usize::try_from(bytes).map_err(|_| bytes)?;
        let mut state = OpusState(vec![0; bytes.div_ceil(size_of::<u128>())].into());
        // SAFETY: the memory is as large as libopus wants it, and aligned as `malloc` aligns.
        match unsafe { opusic_sys::opus_decoder_init(state.decoder(), rate as i32, 1) } {
            0 => Ok(state),
            error => Err(error),
        }
    }

    /// Samples decoded into `pcm`. An empty packet is one that was lost; `fec`: the frame before the packet's.
    pub(super) fn decode(&mut self, packet: &[u8], pcm: &mut [i16], fec: bool) -> Result<usize, c_int> {
        let bytes = if packet.is_empty() { std::ptr::null() } else { packet.as_ptr() };
        let (length, room) = (packet.len() as i32, pcm.len() as i32);
        // SAFETY: packet and samples are valid for their lengths; the state was initialised by `new`.
        let samples =
            unsafe { opusic_sys::opus_decode(self.decoder(), bytes, length, pcm.as_mut_ptr(), room, c_int::from(fec)) };
        usize::try_from(samples).map_err(|_| samples)
    }

    pub(super) fn reset(&mut self) -> Result<(), c_int> {
        // SAFETY: the state was initialised by `new`; this request takes no further argument.
        match unsafe { opusic_sys::opus_decoder_ctl(self.decoder(), opusic_sys::OPUS_RESET_STATE) } {
            0 => Ok(()),
            error => Err(error),
        }
    }

    /// Goes on as `other`; both are of one size.
    pub(super) fn copy_from(&mut self, other: &OpusState) {
        self.0.copy_from_slice(&other.0);
    }

    fn decoder(&mut self) -> *mut opusic_sys::OpusDecoder {
        self.0.as_mut_ptr().cast()
    }
}

/// `MCL_ONFAULT` of Linux 4.4; the libc crate has it only for some targets.
const MCL_ONFAULT: c_int = 4;

/// The wall clock may step between stamp and now: an age is believed up to a fifth of a second.
#[allow(clippy::unnecessary_cast)] // both fields are narrower on 32-bit machines
fn age_of(stamp: libc::timespec) -> Span {
    let now = read_clock(libc::CLOCK_REALTIME);
    let microseconds = |t: libc::timespec| t.tv_sec as i64 * 1_000_000 + t.tv_nsec as i64 / 1_000;
    let age = microseconds(now) - microseconds(stamp);
    match u64::try_from(age) {
        Ok(age) if age <= 200_000 => Span::from_micros(age),
        Ok(_) | Err(_) => Span::ZERO,
    }
}

fn read_clock(clock: libc::clockid_t) -> libc::timespec {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid out parameter. The clocks used here exist on every Linux.
    unsafe { libc::clock_gettime(clock, &mut t) };
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_comes_with_its_sender_and_its_age() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        stamp_arrivals(&b).unwrap();
        let mut buffer = [0; 4];
        assert!(receive(&b, &mut buffer).is_none());
        // The kernel begins to stamp a moment after it was asked to.
        let aged = (0..100).any(|_| {
            a.send_to(b"abc", b.local_addr().unwrap()).unwrap();
            let sent = monotonic_us();
            while monotonic_us() < sent + 5_000 {
                std::thread::yield_now();
            }
            let got = receive(&b, &mut buffer).unwrap();
            assert_eq!((got.length, got.from), (3, a.local_addr().unwrap()));
            got.age.as_micros() >= 4_900
        });
        assert!(aged);
        a.send_to(b"too long", b.local_addr().unwrap()).unwrap();
        assert_eq!(receive(&b, &mut buffer).unwrap().length, 0);
    }

    #[test]
    fn the_kernel_says_what_it_had_no_room_for() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        stamp_arrivals(&b).unwrap();
        let mut buffer = [0; 2_000];
        (0..2_000).for_each(|_| drop(a.send_to(&[0; 1_000], b.local_addr().unwrap())));
        let got = std::iter::from_fn(|| receive(&b, &mut buffer)).count();
        assert!(got < 2_000, "{got}");
        // It says so beside the next one that it has room for.
        a.send_to(b"next", b.local_addr().unwrap()).unwrap();
        assert_eq!(receive(&b, &mut buffer).unwrap().dropped, Some(2_000 - got as u32));
    }

    #[test]
    fn the_kernel_can_be_asked_about_clock_and_network() {
        let _ = clock_is_synchronised();
        let mut news = File::from(route_news().unwrap());
        assert_eq!(news.read(&mut [0; 64]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn poll_returns_after_its_timeout_and_at_an_event() {
        let event = EventFd::new().unwrap();
        let mut fds = [libc::pollfd { fd: event.fd(), events: libc::POLLIN, revents: 0 }];
        let before = monotonic_us();
        poll(&mut fds, Some(Span::from_millis(3))).unwrap();
        assert!(monotonic_us() - before >= 3_000 && fds[0].revents == 0);
        event.signal();
        poll(&mut fds, None).unwrap();
        assert_eq!(fds[0].revents, libc::POLLIN);
        event.clear();
        poll(&mut fds, Some(Span::ZERO)).unwrap();
        assert_eq!(fds[0].revents, 0);
    }
}
