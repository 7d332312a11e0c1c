//! When a datagram really came: by the kernel's stamp, not by when somebody got round to reading it.

use crate::clock::mono_us;
use std::mem::size_of;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Room for one control message with a timespec, aligned as control messages are.
#[repr(align(8))]
struct Control([u8; 64]);

/// Asks the kernel to stamp what comes from now on.
pub fn stamp(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is an int that outlives the call. Without a stamp a datagram came when it is read.
    unsafe {
        let value = std::ptr::from_ref(&on).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, value, length);
    }
}

/// The next datagram's length and when it came, on the axis of [`mono_us`]; `None`: there is none.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, u64)> {
    let mut control = Control([0; 64]);
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero is a valid msghdr; every pointer put into it outlives the call, with its true length. CMSG_FIRSTHDR
    // looks at the control bytes the kernel wrote, and a timespec is read only if there is one, from any alignment.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len();
        let length = usize::try_from(libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_DONTWAIT)).ok()?;
        let header = libc::CMSG_FIRSTHDR(&message);
        let stamped = !header.is_null()
            && ((*header).cmsg_level, (*header).cmsg_type) == (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS);
        let age = if stamped { age_us(libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned()) } else { 0 };
        Some((length, mono_us().saturating_sub(age)))
    }
}

/// The stamp is of the wall clock.
fn age_us(stamp: libc::timespec) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec and CLOCK_REALTIME always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    let us = |time: libc::timespec| time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    // What is older was stamped before the clock was set.
    u64::try_from(us(now) - us(stamp)).ok().filter(|age| *age < 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_datagram_came_when_it_came_however_late_it_is_read() {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        stamp(&to);
        assert_eq!(receive(&to, &mut [0; 8]), None);
        // The kernel begins to stamp a moment after it was asked to.
        let known = (0..100).any(|_| {
            let before = mono_us();
            from.send_to(b"abc", to.local_addr().unwrap()).unwrap();
            let after = mono_us();
            std::thread::sleep(Duration::from_millis(5));
            let (length, came) = receive(&to, &mut [0; 8]).unwrap();
            assert_eq!(length, 3);
            // The two clocks are not read in the same instant.
            (before.saturating_sub(100)..after + 1_000).contains(&came)
        });
        assert!(known);
    }
}
