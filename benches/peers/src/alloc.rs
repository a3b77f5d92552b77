//! An allocator that counts, for rows whose promise is a number of allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Const and without a destructor: reading it can neither allocate nor come too late.
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static ASKED: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, counting the allocations of each thread.
pub(crate) struct Counting;

/// Allocations, reallocations included, that one run of `work` makes on this thread.
pub(crate) fn allocations_of(mut work: impl FnMut()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// Bytes this thread has asked for so far, whether it has given them back or not.
pub(crate) fn asked_bytes() -> u64 {
    ASKED.get()
}

/// Bytes this thread has asked for and not given back: of what it allocates and frees itself.
pub(crate) fn live_bytes() -> i64 {
    LIVE.get()
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        ASKED.set(ASKED.get() + layout.size() as u64);
        LIVE.set(LIVE.get() + layout.size() as i64);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as i64);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        ASKED.set(ASKED.get() + layout.size() as u64);
        LIVE.set(LIVE.get() + layout.size() as i64);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        ASKED.set(ASKED.get() + size as u64);
        LIVE.set(LIVE.get() + size as i64 - layout.size() as i64);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_allocation_is_counted_and_nothing_else() {
        assert_eq!(allocations_of(|| drop(std::hint::black_box(Box::new(7)))), 1);
        let mut grown = Vec::<u8>::with_capacity(1);
        assert_eq!(allocations_of(|| grown.reserve_exact(100)), 1);
        assert_eq!(allocations_of(|| grown.clear()), 0);
    }

    #[test]
    fn what_is_freed_is_no_longer_counted() {
        let before = live_bytes();
        let boxed = std::hint::black_box(Box::new([0u8; 100]));
        assert_eq!(live_bytes() - before, 100);
        drop(boxed);
        assert_eq!(live_bytes(), before);
    }
}
