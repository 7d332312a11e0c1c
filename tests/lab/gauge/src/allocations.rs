//! Counts a program's heap allocations and locks, each thread's by itself, in the very binary that is shipped: preloaded
//! (`LD_PRELOAD`), it stands before the C library's `malloc` and its siblings, and `pthread_mutex_lock`, and hands every call on.
//!
//! The counts lie in a file that is mapped, `$GAUGE_FILE`, made with [`SLOTS`] slots of zeros beforehand: per thread four
//! native 64-bit words, the thread's id, the program's allocations, those of the virtual card, which lives in the same
//! process and is told by the stack, and locks, free ones as well (Rust's own are not among them: they are system calls where
//! anybody waits). Who reads the file sees them grow.
#![allow(unsafe_code)] // An allocator cannot be stood in for without.

use libc::{c_int, c_void, size_t};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that can be told apart; further ones are not counted.
const SLOTS: usize = 256;
const VARIABLE: &std::ffi::CStr = c"GAUGE_FILE";

#[repr(C)]
struct Slot {
    thread: AtomicU64,
    programs: AtomicU64,
    cards: AtomicU64,
    locks: AtomicU64,
}

unsafe extern "C" {
    // The C library's own, under the names it keeps for those who stand in for the usual ones.
    fn __libc_malloc(size: size_t) -> *mut c_void;
    fn __libc_calloc(count: size_t, size: size_t) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: size_t) -> *mut c_void;
    fn __libc_memalign(alignment: size_t, size: size_t) -> *mut c_void;
}

/// 0: not looked for yet; 1: there is none; else its address.
static TABLE: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// Where threads without a slot count.
static NOBODYS: Slot =
    Slot { thread: AtomicU64::new(0), programs: AtomicU64::new(0), cards: AtomicU64::new(0), locks: AtomicU64::new(0) };
/// The C library's `pthread_mutex_lock`; 0: not looked for yet.
static LOCK: AtomicUsize = AtomicUsize::new(0);
/// In the file name of the virtual card's code.
const CARD: &[u8] = b"libasound_module_pcm_vsnd";
/// So far up the stack it is looked for.
const DEPTH: usize = 24;

thread_local! {
    static MINE: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    /// Looking at the stack may allocate, the first time.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

fn mine() -> &'static Slot {
    let slot = MINE.try_with(|mine| {
        mine.get().unwrap_or_else(|| {
            let slot = take_slot();
            mine.set(Some(slot));
            slot
        })
    });
    slot.unwrap_or(&NOBODYS)
}

fn count() {
    let slot = mine();
    let whose = if is_cards() { &slot.cards } else { &slot.programs };
    whose.fetch_add(1, Ordering::Relaxed);
}

/// Whether the virtual card's code is among the callers.
fn is_cards() -> bool {
    if LOOKING.try_with(|looking| looking.replace(true)).unwrap_or(true) {
        return false;
    }
    let mut callers = [null_mut(); DEPTH];
    // SAFETY: there is room for as many as are asked for.
    let found = unsafe { libc::backtrace(callers.as_mut_ptr(), DEPTH as c_int) };
    let is = callers.iter().take(usize::try_from(found).unwrap_or(0)).any(|caller| is_in_card(*caller));
    let _ = LOOKING.try_with(|looking| looking.set(false));
    is
}

fn is_in_card(address: *const c_void) -> bool {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be asked for; the name, where there is one, lives as long as its file is loaded, and we are
    // called from it.
    unsafe {
        if libc::dladdr(address, info.as_mut_ptr()) == 0 {
            return false;
        }
        let name = info.assume_init().dli_fname;
        !name.is_null() && std::ffi::CStr::from_ptr(name).to_bytes().windows(CARD.len()).any(|part| part == CARD)
    }
}

/// Allocates nothing: it is called from inside `malloc`.
fn take_slot() -> &'static Slot {
    let table = match TABLE.load(Ordering::Acquire) {
        0 => {
            let found = map_table().map_or(1, |address| address as usize);
            // Two threads at once map it twice, to the same file: either will do.
            TABLE.store(found, Ordering::Release);
            found
        }
        known => known,
    };
    let at = TAKEN.fetch_add(1, Ordering::Relaxed);
    if table == 1 || at >= SLOTS {
        return &NOBODYS;
    }
    // SAFETY: the mapping is SLOTS slots long, aligned to a page, and never unmapped; atomics may be shared.
    let slot = unsafe { &*(table as *const Slot).add(at) };
    // SAFETY: takes no arguments.
    slot.thread.store(unsafe { libc::gettid() } as u64, Ordering::Relaxed);
    slot
}

fn map_table() -> Option<*mut c_void> {
    // SAFETY: the name ends with a zero; what getenv gives is used at once; the descriptor is ours.
    unsafe {
        let path = libc::getenv(VARIABLE.as_ptr());
        if path.is_null() {
            return None;
        }
        let file = libc::open(path, libc::O_RDWR | libc::O_CLOEXEC);
        if file < 0 {
            return None;
        }
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let mapped = libc::mmap(null_mut(), SLOTS * size_of::<Slot>(), rights, libc::MAP_SHARED, file, 0);
        libc::close(file);
        (mapped != libc::MAP_FAILED).then_some(mapped)
    }
}

// SAFETY of all below: arguments are handed on as they came, to functions with the same contract.

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: size_t) -> *mut c_void {
    count();
    unsafe { __libc_malloc(size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(number: size_t, size: size_t) -> *mut c_void {
    count();
    unsafe { __libc_calloc(number, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(old: *mut c_void, size: size_t) -> *mut c_void {
    count();
    unsafe { __libc_realloc(old, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memalign(alignment: size_t, size: size_t) -> *mut c_void {
    count();
    unsafe { __libc_memalign(alignment, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn aligned_alloc(alignment: size_t, size: size_t) -> *mut c_void {
    count();
    unsafe { __libc_memalign(alignment, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(to: *mut *mut c_void, alignment: size_t, size: size_t) -> c_int {
    count();
    let memory = unsafe { __libc_memalign(alignment, size) };
    if memory.is_null() {
        return libc::ENOMEM;
    }
    unsafe { *to = memory };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_lock(mutex: *mut libc::pthread_mutex_t) -> c_int {
    mine().locks.fetch_add(1, Ordering::Relaxed);
    let mut lock = LOCK.load(Ordering::Relaxed);
    if lock == 0 {
        lock = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_mutex_lock".as_ptr()) } as usize;
        LOCK.store(lock, Ordering::Relaxed);
    }
    // SAFETY: the C library has it, and that is its type.
    let lock: unsafe extern "C" fn(*mut libc::pthread_mutex_t) -> c_int = unsafe { std::mem::transmute(lock) };
    unsafe { lock(mutex) }
}
