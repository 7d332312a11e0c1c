//! CLOCK_MONOTONIC in microseconds: the axis that processes, recordings and packet logs have in common.

/// Microseconds since an arbitrary instant that is the same in every process of this machine.
pub fn mono_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec and CLOCK_MONOTONIC always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

/// Gives the calling thread SCHED_FIFO, so that what is measured is not the lab's own lateness. Without permission
/// (false) the ordinary scheduler has to do. Threads started later inherit it.
pub fn become_realtime(priority: u8) -> bool {
    let parameter = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameter) == 0 }
}

/// Sleeps until [`mono_us`] has reached `deadline_us`; returns at once if it has.
pub fn sleep_until(deadline_us: u64) {
    let now = mono_us();
    if deadline_us > now {
        std::thread::sleep(std::time::Duration::from_micros(deadline_us - now));
    }
}
