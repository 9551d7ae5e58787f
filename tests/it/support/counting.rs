//! An allocator that counts for each thread.
#![allow(dead_code, unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn count(added: usize, freed: usize) {
    ALLOCATIONS.with(|count| count.set(count.get() + u64::from(added > 0)));
    LIVE.with(|live| {
        live.set(live.get().wrapping_add(added).wrapping_sub(freed));
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // If the bytes move, the old and the new block exist at the same time.
        count(size, 0);
        count(0, layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread so far.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// Bytes that this thread has allocated and not freed.
pub(crate) fn live() -> usize {
    LIVE.with(Cell::get)
}

/// The maximum of [`live`] since [`forget_peak`].
pub(crate) fn peak() -> usize {
    PEAK.with(Cell::get)
}

pub(crate) fn forget_peak() {
    PEAK.with(|peak| peak.set(live()));
}
