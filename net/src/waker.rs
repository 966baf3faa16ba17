//! The handle by which other threads wake the loop, and the sleep out of which they do. Owns: the
//! system calls behind [`Park`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};

use crate::error::NetError;
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

    /// Waits for events, for as long as `timeout` at most: not at all when the loop was woken
    /// since it slept last.
    pub(crate) fn sleep(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> Result<Slept, NetError> {
        let may_sleep = timeout != Some(Duration::ZERO);
        let (polled, for_a_while) = self.park.wait(may_sleep, |sleeps| {
            let timeout = if sleeps {
                timeout
            } else {
                Some(Duration::ZERO)
            };
            poll.poll(events, timeout)
        });
        let came = match polled {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
            Err(error) => return Err(NetError::Poll(error)),
        };
        Ok(Slept { for_a_while, came })
    }
}

/// How [`Waker::sleep`] ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slept {
    /// It may have taken a while: the time is to be read again.
    pub(crate) for_a_while: bool,
    /// Events may have come; a signal has interrupted it otherwise.
    pub(crate) came: bool,
}
