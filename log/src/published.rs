//! How far the bytes of a region may be read.
//!
//! Owns the one word by which a region's writer shows its bytes to readers on other threads.
//! Never: the bytes. Written over `crate::atomics`, so that the model in `tests/loom.rs` is of this
//! very file.

use crate::atomics::{AtomicUsize, Ordering};

/// The end of what was published. One writer raises it; anybody reads it, and then sees every
/// byte that was written below it.
#[derive(Debug, Default)]
pub(crate) struct Published(AtomicUsize);

impl Published {
    /// Everything below is readable, and never changes.
    pub(crate) fn end(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// The writer, after it has written everything below `end`.
    pub(crate) fn raise(&self, end: usize) {
        self.0.store(end, Ordering::Release);
    }
}
