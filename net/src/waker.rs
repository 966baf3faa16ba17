//! The handle by which other threads wake the loop, and the sleep out of which they do. Owns: the
//! system calls behind [`Park`].

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use rustix::event::{PollFd, PollFlags, Timespec};

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

    /// The same without a look before, and to the nanosecond, as far as the thread's timers are.
    pub(crate) fn sleep_precisely(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> Result<Slept, NetError> {
        let mut wait = |timeout| wait_precisely(poll, events, timeout);
        self.sleep_by(&mut wait, timeout, &mut Linger::new(Duration::ZERO))
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

/// Waits for events as `poll` would, which rounds time-outs up to whole milliseconds: by a wait for
/// its descriptor, after which it has nothing to wait for.
fn wait_precisely(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    if timeout != Some(Duration::ZERO) {
        // What the system cannot count is for ever.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut any = [PollFd::new(poll.registry(), PollFlags::IN)];
        if rustix::event::poll(&mut any, timeout.as_ref())? == 0 {
            events.clear();
            return Ok(false);
        }
    }
    poll.poll(events, Some(Duration::ZERO))?;
    Ok(!events.is_empty())
}

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
    fn a_precise_sleep_ends_at_its_time_and_not_in_a_later_millisecond() {
        let (mut poll, mut events, waker, _) = sleeper();
        let time = Duration::from_micros(50);
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let began = Instant::now();
            let slept = waker.sleep_precisely(&mut poll, &mut events, Some(time));
            let took = began.elapsed();
            assert!(slept.unwrap().for_a_while && events.is_empty());
            assert!(took >= time, "{took:?}");
            // Others may have the core; with whole milliseconds it never is so short.
            if took < Duration::from_millis(1) {
                return;
            }
            assert!(began < end, "never within a millisecond");
        }
    }

    #[test]
    fn a_precise_sleep_ends_with_what_comes_and_does_not_begin_when_something_is_there() {
        let (mut poll, mut events, waker, _) = sleeper();
        // An event of the system, before and meanwhile.
        waker.waker.wake().unwrap();
        for timeout in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            let slept = waker.sleep_precisely(&mut poll, &mut events, timeout);
            assert!(slept.unwrap().came);
            assert_eq!(events.iter().count(), 1);
            waker.waker.wake().unwrap();
        }
        assert!(wait_precisely(&mut poll, &mut events, None).unwrap());
        let other = Arc::clone(&waker.waker);
        std::thread::scope(|scope| {
            scope.spawn(move || other.wake().unwrap());
            assert!(wait_precisely(&mut poll, &mut events, None).unwrap());
        });
        // Work of another thread, before and meanwhile.
        waker.wake();
        let slept = waker.sleep_precisely(&mut poll, &mut events, None);
        assert!(slept.unwrap().was_woken && events.is_empty());
        let other = waker.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || other.wake());
            let slept = waker.sleep_precisely(&mut poll, &mut events, None);
            assert!(slept.unwrap().was_woken);
        });
        // All of it was taken.
        let soon = Some(Duration::from_millis(1));
        assert!(!wait_precisely(&mut poll, &mut events, soon).unwrap());
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
