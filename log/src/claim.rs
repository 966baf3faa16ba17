//! Who may write a folder's files: one opening at a time.
//!
//! Owns the one flag between openings of a folder in one process. Never: locks against other
//! processes (`lock` does). Written over `crate::atomics`, so that the model in `tests/loom.rs` is
//! of this very file.

use std::sync::Arc;

use crate::atomics::{AtomicBool, Ordering};

/// The right to map the files of one folder for writing; there is one at a time.
///
/// Two logs opened over one folder in one process would be two writers over the same bytes. The
/// claim is shared by everything that came out of one opening and is free again when all of it
/// is gone.
#[derive(Debug)]
pub(crate) struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Takes the claim, or says that it is taken. Whoever takes it sees everything that the
    /// holder before has done.
    pub(crate) fn take(taken: &Arc<AtomicBool>) -> Option<Arc<Self>> {
        taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then(|| Arc::new(Self(Arc::clone(taken))))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
