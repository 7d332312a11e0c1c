//! How many bytes a value under test holds: an allocator that keeps accounts while [`inside`] runs.
//!
//! A program or test that wants numbers installs [`Accountant`] as its global allocator; without it every balance is 0.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub struct Accountant;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static BALANCE: Cell<i64> = const { Cell::new(0) };
}

/// Runs `work` on the account: what it allocates is added to this thread's balance, what it frees is taken off.
/// What leaves the account (results) must be freed in another `inside`.
pub fn inside<R>(work: impl FnOnce() -> R) -> R {
    INSIDE.set(true);
    let result = work();
    INSIDE.set(false);
    result
}

/// Bytes on this thread's account.
pub fn balance() -> i64 {
    BALANCE.get()
}

/// A new account.
pub fn reset() {
    INSIDE.set(false);
    BALANCE.set(0);
}

fn book(bytes: i64) {
    // A thread that is being torn down keeps no accounts any more.
    if INSIDE.try_with(Cell::get).unwrap_or(false) {
        let _ = BALANCE.try_with(|balance| balance.set(balance.get() + bytes));
    }
}

#[allow(unsafe_code)] // A global allocator cannot be written without.
unsafe impl GlobalAlloc for Accountant {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        book(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        book(-(layout.size() as i64));
        unsafe { System.dealloc(ptr, layout) }
    }
}
