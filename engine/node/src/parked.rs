//! Queues of threads that sleep while nothing comes.
//!
//! Owns the sleep. Crossbeam's own blocking receive looks again and again for a while and gives its
//! core up in between, some eight times before it sleeps. Where validators have fewer cores than
//! threads, each of these looks takes a core from the way of a vote, and hides from the system that
//! the core was free. Here a thread that finds nothing sleeps at once, and a sender makes a system
//! call only when it does. Never: a queue of its own; what waits is in crossbeam's.

use crossbeam::channel::{self, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use crossbeam::sync::{Parker, Unparker};
use std::time::{Duration, Instant};

/// Where one thread sleeps, whose queues all wake it.
#[derive(Debug, Default)]
pub(crate) struct Bed(Parker);

impl Bed {
    /// A queue without a bound whose sender wakes who sleeps here.
    pub(crate) fn unbounded<T>(&self) -> (Sender<T>, channel::Receiver<T>) {
        let (sender, receiver) = channel::unbounded();
        (self.waking(sender), receiver)
    }

    fn waking<T>(&self, sender: channel::Sender<T>) -> Sender<T> {
        Sender {
            sender: Some(sender),
            sleeper: self.0.unparker().clone(),
        }
    }

    /// Sleeps until something is sent or a sender ends, not at all if that was since it slept last.
    /// May return without either.
    pub(crate) fn sleep(&self) {
        self.0.park();
    }
}

/// A queue without a bound.
pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    with(channel::unbounded())
}

/// A queue that takes at most so many items.
pub(crate) fn bounded<T>(items_max: usize) -> (Sender<T>, Receiver<T>) {
    with(channel::bounded(items_max))
}

fn with<T>(
    (sender, receiver): (channel::Sender<T>, channel::Receiver<T>),
) -> (Sender<T>, Receiver<T>) {
    let bed = Bed::default();
    (bed.waking(sender), Receiver { receiver, bed })
}

/// The sending end. The receiver is woken when an item comes and when a sender ends.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    /// Gone only while it is dropped: the receiver must not be woken before.
    sender: Option<channel::Sender<T>>,
    sleeper: Unparker,
}

impl<T> Sender<T> {
    /// Sends and wakes; waits for room in a queue with a bound.
    ///
    /// # Errors
    /// The receiver is gone.
    pub(crate) fn send(&self, item: T) -> Result<(), SendError<T>> {
        match &self.sender {
            Some(sender) => sender.send(item)?,
            None => return Err(SendError(item)),
        }
        self.sleeper.unpark();
        Ok(())
    }

    /// Sends and wakes, if there is room.
    ///
    /// # Errors
    /// There is none, or the receiver is gone.
    pub(crate) fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.leave(item)?;
        self.sleeper.unpark();
        Ok(())
    }

    /// Sends, if there is room, what has time until the receiver is awake for something else.
    ///
    /// # Errors
    /// As of [`Self::try_send`].
    pub(crate) fn leave(&self, item: T) -> Result<(), TrySendError<T>> {
        match &self.sender {
            Some(sender) => sender.try_send(item),
            None => Err(TrySendError::Disconnected(item)),
        }
    }

    /// Items that wait.
    pub(crate) fn len(&self) -> usize {
        self.sender.as_ref().map_or(0, channel::Sender::len)
    }

    /// Whether none do.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            sleeper: self.sleeper.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.sender = None;
        self.sleeper.unpark();
    }
}

/// The receiving end, and where its thread sleeps.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    receiver: channel::Receiver<T>,
    bed: Bed,
}

impl<T> Receiver<T> {
    /// The next item, without waiting.
    ///
    /// # Errors
    /// There is none now, or there will never be one.
    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        self.receiver.try_recv()
    }

    /// Items that wait, without waiting for more.
    pub(crate) fn try_iter(&self) -> channel::TryIter<'_, T> {
        self.receiver.try_iter()
    }

    /// The next item; `None` when there will never be one.
    pub(crate) fn recv(&self) -> Option<T> {
        loop {
            match self.receiver.try_recv() {
                Ok(item) => return Some(item),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.bed.sleep(),
            }
        }
    }

    /// The next item, if it comes within `timeout`.
    ///
    /// # Errors
    /// None came, or there will never be one.
    pub(crate) fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let mut until = None;
        loop {
            match self.receiver.try_recv() {
                Ok(item) => return Ok(item),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            let now = Instant::now();
            let until = *until.get_or_insert_with(|| now + timeout);
            if now >= until {
                return Err(RecvTimeoutError::Timeout);
            }
            self.bed.0.park_deadline(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_sent_is_received_and_an_end_is_told_to_who_sleeps() {
        let (sender, receiver) = bounded(2);
        let (seen_in, seen) = channel::unbounded();
        let sleeper = std::thread::spawn(move || {
            while let Some(item) = receiver.recv() {
                seen_in.send(item).unwrap();
            }
        });
        for item in 0..1_000 {
            sender.send(item).unwrap();
            assert_eq!(seen.recv_timeout(LONG), Ok(item));
        }
        let other = sender.clone();
        drop(sender);
        other.send(1_000).unwrap();
        assert_eq!(seen.recv_timeout(LONG), Ok(1_000));
        drop(other);
        sleeper.join().unwrap();
    }

    #[test]
    fn what_is_left_wakes_nobody_and_is_there_at_the_next_look() {
        let (sender, receiver) = bounded(1);
        sender.leave(1).unwrap();
        assert_eq!(sender.leave(2), Err(TrySendError::Full(2)));
        assert_eq!(sender.len(), 1);
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok(1));
        sender.leave(3).unwrap();
        // Nothing but the time ends this sleep: nobody was woken.
        receiver.bed.0.park_timeout(Duration::from_millis(1));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_wait_ends_at_its_time_and_tells_an_end_from_nothing() {
        let (sender, receiver) = unbounded::<u8>();
        let waited = receiver.recv_timeout(Duration::from_millis(1));
        assert_eq!(waited, Err(RecvTimeoutError::Timeout));
        drop(sender);
        assert_eq!(
            receiver.recv_timeout(LONG),
            Err(RecvTimeoutError::Disconnected)
        );
        assert_eq!(receiver.recv(), None);
    }

    #[test]
    fn a_send_without_a_receiver_gives_the_item_back() {
        let (sender, receiver) = bounded(1);
        drop(receiver);
        assert_eq!(sender.send(1), Err(SendError(1)));
        assert_eq!(sender.try_send(2), Err(TrySendError::Disconnected(2)));
    }

    #[test]
    fn all_queues_of_a_bed_wake_it() {
        let bed = Bed::default();
        let ((first, firsts), (second, seconds)) = (bed.unbounded(), bed.unbounded());
        let sleeper = std::thread::spawn(move || {
            let mut sum = 0;
            while sum < 2_000 {
                sum += firsts.try_iter().chain(seconds.try_iter()).sum::<u32>();
                if sum < 2_000 {
                    bed.sleep();
                }
            }
        });
        for _ in 0..1_000 {
            first.send(1).unwrap();
            second.send(1).unwrap();
        }
        sleeper.join().unwrap();
    }
}
