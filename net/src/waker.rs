//! The handle by which other threads wake the loop. Owns: the system call behind [`Park`].

use std::sync::Arc;

use crate::park::Park;

/// Wakes a [`crate::Net`] or a [`crate::ClientLinks`] out of its turn. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waker {
    park: Arc<Park>,
    waker: Arc<mio::Waker>,
}

impl Waker {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        Self {
            park: Arc::new(Park::default()),
            waker: Arc::new(waker),
        }
    }

    /// Makes the loop's current or next turn return without sleeping. Call it after the work is
    /// where the loop will look for it. A system call only if the loop sleeps.
    pub fn wake(&self) {
        self.park.notify(|| {
            if let Err(error) = self.waker.wake() {
                tracing::warn!(%error, "cannot wake the event loop");
            }
        });
    }

    pub(crate) fn park(&self) -> &Park {
        &self.park
    }
}
