//! The atomics and locks that `claim`, `published` and `handover` are written over.
//!
//! Owns nothing: the models of these protocols (`tests/loom.rs`) compile the same files with
//! loom's under this name, so that no switch stands in what ships.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
