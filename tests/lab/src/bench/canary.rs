//! Whether the machine kept pace: a thread on each processor that does nothing but wake up on time, with the priority
//! that mixer and baresip have. When it comes late, so may have they.

use crate::clock::{become_realtime, mono_us, sleep_until};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Wakes each millisecond until dropped.
pub struct Canary {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// The system let no thread be real-time: then lateness is that of ordinary threads.
    ordinary: AtomicBool,
    /// When it should have woken, and how much later it did, µs.
    stalls: Mutex<Vec<(u64, u64)>>,
}

const PERIOD_US: u64 = 1_000;
/// Lateness below this is not worth remembering.
const NOTED_US: u64 = 1_000;
const PRIORITY: u8 = 10;
/// A machine of many processors is watched on the first few.
const MOST: usize = 8;

impl Canary {
    pub fn start() -> std::io::Result<Canary> {
        let shared = Arc::new(Shared::default());
        let processors = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let thread = |processor| {
            let shared = shared.clone();
            std::thread::Builder::new().name("lab-canary".into()).spawn(move || watch(processor, &shared))
        };
        let threads = (0..processors).map(thread).collect::<std::io::Result<_>>()?;
        Ok(Canary { shared, threads })
    }

    /// The longest it overslept between two instants of [`mono_us`], in ms.
    pub fn worst_ms(&self, from_us: u64, to_us: u64) -> f64 {
        let stalls = self.shared.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        let within = stalls.iter().filter(|(at, late)| *at < to_us && at + late > from_us);
        within.map(|(_, late)| *late as f64 / 1000.0).fold(0.0, f64::max)
    }

    pub fn is_realtime(&self) -> bool {
        !self.shared.ordinary.load(Ordering::Relaxed)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn watch(processor: usize, shared: &Shared) {
    if !stand_on(processor) {
        shared.ordinary.store(true, Ordering::Relaxed);
    }
    let mut due = mono_us() + PERIOD_US;
    while !shared.stop.load(Ordering::Relaxed) {
        sleep_until(due);
        let late = mono_us().saturating_sub(due);
        if late > NOTED_US {
            shared.stalls.lock().unwrap_or_else(PoisonError::into_inner).push((due, late));
        }
        due += PERIOD_US.max(late);
    }
}

/// Ties the calling thread to a processor and puts it above everything ordinary; whether that was allowed.
fn stand_on(processor: usize) -> bool {
    // SAFETY: all-zero is a valid set; it outlives the call, which takes it with its size; 0 is the calling thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
    become_realtime(PRIORITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_for_the_time_it_lasted() {
        let canary = Canary { shared: Arc::default(), threads: Vec::new() };
        canary.shared.stalls.lock().expect("not poisoned").extend([(1_000_000, 4_000), (2_000_000, 9_000)]);
        assert_eq!(canary.worst_ms(0, 900_000), 0.0);
        assert_eq!(canary.worst_ms(1_003_000, 1_500_000), 4.0);
        assert_eq!(canary.worst_ms(0, 3_000_000), 9.0);
    }
}
