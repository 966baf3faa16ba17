//! The handle by which other threads wake the loop, and the sleep out of which they do. Owns: the
//! system calls behind [`Park`].

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::error::NetError;
use crate::linger::Linger;
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
    /// since it slept last. Before the sleep it looks for what comes soon, as `linger` says.
    pub(crate) fn sleep(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        timeout: Option<Duration>,
        linger: &mut Linger,
    ) -> Result<Slept, NetError> {
        let mut wait = |timeout| poll.poll(events, timeout).map(|()| !events.is_empty());
        self.sleep_by(&mut wait, timeout, linger)
    }

    /// The same, where `wait` is the system's: it says whether there are events.
    fn sleep_by(
        &self,
        wait: &mut Wait<'_>,
        timeout: Option<Duration>,
        linger: &mut Linger,
    ) -> Result<Slept, NetError> {
        let time = linger.before(timeout);
        let mut left = timeout;
        if !time.is_zero() {
            let began = Instant::now();
            if let Some(looked) = self.linger(wait, time, linger)? {
                return Ok(looked);
            }
            // What is due comes no later for the looks, of which each may take a slice of others.
            left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
        }
        let may_sleep = left != Some(Duration::ZERO);
        let (polled, rest) = self.park.wait(may_sleep, |sleeps| {
            wait(if sleeps { left } else { Some(Duration::ZERO) })
        });
        Ok(Slept {
            for_a_while: rest.slept || !time.is_zero(),
            came: came(polled)?.is_some(),
            was_woken: rest.was_notified,
        })
    }

    /// Looks again and again, and gives the core up in between, until something has come; nothing
    /// when `time` is over, or others have the core.
    fn linger(
        &self,
        wait: &mut Wait<'_>,
        time: Duration,
        linger: &mut Linger,
    ) -> Result<Option<Slept>, NetError> {
        let began = Instant::now();
        loop {
            let (polled, was_woken) = self.park.look(|| wait(Some(Duration::ZERO)));
            let came = came(polled)?;
            if was_woken || came != Some(false) {
                return Ok(Some(Slept {
                    for_a_while: true,
                    came: came.is_some(),
                    was_woken,
                }));
            }
            if linger.is_over() || began.elapsed() >= time {
                return Ok(None);
            }
            linger.give_core();
        }
    }
}

/// The system's wait for events: for so long at most. Says whether there are any.
type Wait<'a> = dyn FnMut(Option<Duration>) -> io::Result<bool> + 'a;

/// Whether there are events; nothing when a signal has interrupted the wait for them.
fn came(polled: io::Result<bool>) -> Result<Option<bool>, NetError> {
    match polled {
        Ok(any) => Ok(Some(any)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(NetError::Poll(error)),
    }
}

/// How [`Waker::sleep`] ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slept {
    /// It may have taken a while: the time is to be read again.
    pub(crate) for_a_while: bool,
    /// Events may have come; a signal has interrupted it otherwise.
    pub(crate) came: bool,
    /// Another thread has work for the loop, whatever the events say. It is told once.
    pub(crate) was_woken: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: mio::Token = mio::Token(0);

    /// One that lingers for longer than any test may take.
    fn sleeper() -> (Poll, Events, Waker, Linger) {
        let poll = Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), TOKEN).unwrap();
        let linger = Linger::new(Duration::from_secs(600));
        (poll, Events::with_capacity(1), Waker::new(waker), linger)
    }

    #[test]
    fn who_lingers_is_told_of_work_and_does_not_sleep() {
        let (mut poll, mut events, waker, mut linger) = sleeper();
        waker.wake();
        let slept = waker.sleep(&mut poll, &mut events, None, &mut linger);
        let slept = slept.unwrap();
        assert!(slept.for_a_while && slept.came);
        assert!(events.is_empty(), "nobody wrote to wake it");
    }

    #[test]
    fn work_of_another_thread_ends_the_lingering_or_the_sleep() {
        let (mut poll, mut events, waker, mut linger) = sleeper();
        let other = waker.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || other.wake());
            let slept = waker.sleep(&mut poll, &mut events, None, &mut linger);
            assert!(slept.unwrap().came);
        });
    }

    #[test]
    fn what_comes_from_the_system_ends_the_lingering() {
        let (mut poll, mut events, waker, mut linger) = sleeper();
        waker.waker.wake().unwrap();
        let slept = waker.sleep(&mut poll, &mut events, None, &mut linger);
        let slept = slept.unwrap();
        assert!(slept.for_a_while && slept.came);
        assert_eq!(events.iter().count(), 1);
    }

    #[test]
    fn lingering_takes_of_the_time_that_the_caller_has() {
        let (.., waker, mut linger) = sleeper();
        let mut waits = Vec::new();
        let [none, soon] = [Duration::ZERO, Duration::from_millis(1)].map(Some);
        // A look that takes all of it, since others have the core for so long.
        let mut nothing = |timeout| {
            waits.push(timeout);
            let began = Instant::now();
            while Some(began.elapsed()) < soon {}
            Ok(false)
        };
        let slept = waker.sleep_by(&mut nothing, soon, &mut linger).unwrap();
        assert!(slept.came && slept.for_a_while);
        // To sleep for as long again would be too late for what is due.
        assert_eq!(waits, [none, none]);
        waits.clear();
        // Who does not linger has all of it.
        let mut nothing = |timeout| {
            waits.push(timeout);
            Ok(false)
        };
        let mut parks = Linger::new(Duration::ZERO);
        let slept = waker.sleep_by(&mut nothing, soon, &mut parks).unwrap();
        assert!(slept.for_a_while);
        let slept = waker.sleep_by(&mut nothing, none, &mut parks).unwrap();
        assert!(!slept.for_a_while, "nothing to wait for");
        assert_eq!(waits, [soon, none]);
    }
}
