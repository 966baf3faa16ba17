//! The atomics that `park` is written over.
//!
//! Owns nothing: the model of the protocol (`tests/loom.rs`) compiles the same file with loom's
//! atomics under this name, so that no switch stands in what ships.

pub(crate) use std::sync::atomic::{AtomicU32, Ordering, fence};
