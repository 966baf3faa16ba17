//! An allocator that counts what each thread holds, so that a decoder can be held to a cap.
//!
//! Owns three numbers a thread. Stands in this crate's binary and its tests alone. Never: in
//! anything that ships.
#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; it hands everything to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use quorate_decoders::decoder::Meter;

thread_local! {
    // Without a destructor and made at compile time: reading them never allocates.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted.
#[derive(Debug)]
pub(crate) struct Counting;

fn add(bytes: usize) {
    let held = HELD.get().saturating_add_unsigned(bytes);
    HELD.set(held);
    COUNT.set(COUNT.get().wrapping_add(1));
    PEAK.set(PEAK.get().max(held));
}

fn remove(bytes: usize) {
    HELD.set(HELD.get().saturating_sub_unsigned(bytes));
}

// SAFETY: every call goes to the system's allocator with the arguments it came with, and the
// counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        remove(layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Old and new may be there at once.
        add(bytes);
        remove(layout.size());
        // SAFETY: the caller keeps the contract of `realloc`, which is the same.
        unsafe { System.realloc(place, layout, bytes) }
    }
}

/// Reads what the calling thread holds.
#[derive(Debug)]
pub(crate) struct ThreadMeter;

impl Meter for ThreadMeter {
    fn start(&self) {
        HELD.set(0);
        PEAK.set(0);
        COUNT.set(0);
    }

    fn peak_bytes(&self) -> usize {
        usize::try_from(PEAK.get()).unwrap_or(0)
    }

    fn allocations(&self) -> u64 {
        COUNT.get()
    }
}
