//! What a thread does while nothing comes.

use crate::parked::Receiver;
use crate::profiles::Idle;
use crossbeam::channel::{RecvTimeoutError, TryRecvError};
use quorate_net::LINGER;
use std::time::{Duration, Instant};

impl Idle {
    /// How long it looks for what comes soon, giving its core up, before it sleeps.
    pub(crate) const fn linger(self) -> Duration {
        match self {
            Self::Linger => LINGER,
            Self::Park | Self::Yield | Self::Spin => Duration::ZERO,
        }
    }
}

/// What came of waiting.
#[derive(Debug)]
pub(crate) enum Received<T> {
    /// Something came.
    Item(T),
    /// Nothing did, within the time or the one look that idling allows.
    Nothing,
    /// Nothing ever will: all senders are gone.
    Closed,
}

/// Waits for the next item: parked at most `timeout`, or one look and a pause.
pub(crate) fn receive<T>(receiver: &Receiver<T>, idle: Idle, timeout: Duration) -> Received<T> {
    let linger = idle.linger().min(timeout);
    let began = (!linger.is_zero()).then(Instant::now);
    if let Some(found) = look(receiver, linger) {
        return found;
    }
    // What is due comes no later for the looks.
    let left = began.map_or(timeout, |began| timeout.saturating_sub(began.elapsed()));
    match idle {
        Idle::Linger | Idle::Park => match receiver.recv_timeout(left) {
            Ok(item) => return Received::Item(item),
            Err(RecvTimeoutError::Disconnected) => return Received::Closed,
            Err(RecvTimeoutError::Timeout) => {}
        },
        Idle::Yield => std::thread::yield_now(),
        Idle::Spin => std::hint::spin_loop(),
    }
    Received::Nothing
}

/// Looks once, and again for as long as `linger`, giving the core up in between.
fn look<T>(receiver: &Receiver<T>, linger: Duration) -> Option<Received<T>> {
    let mut began = None;
    loop {
        match receiver.try_recv() {
            Ok(item) => return Some(Received::Item(item)),
            Err(TryRecvError::Disconnected) => return Some(Received::Closed),
            Err(TryRecvError::Empty) => {}
        }
        if linger.is_zero() || began.get_or_insert_with(Instant::now).elapsed() >= linger {
            return None;
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parked::unbounded;

    #[test]
    fn who_lingers_looks_again_before_it_sleeps() {
        let (sender, receiver) = unbounded::<u8>();
        let long = Duration::from_secs(600);
        let found = std::thread::scope(|scope| {
            scope.spawn(move || sender.send(7));
            look(&receiver, long)
        });
        assert!(matches!(found, Some(Received::Item(7))));
        let (sender, receiver) = unbounded::<u8>();
        assert!(look(&receiver, Duration::ZERO).is_none());
        assert!(look(&receiver, Duration::from_micros(1)).is_none());
        drop(sender);
        assert!(matches!(look(&receiver, long), Some(Received::Closed)));
    }

    #[test]
    fn what_waits_is_taken_and_an_end_is_told_in_every_way_of_idling() {
        for idle in [Idle::Linger, Idle::Park, Idle::Yield, Idle::Spin] {
            let (sender, receiver) = unbounded();
            assert!(matches!(
                receive::<u8>(&receiver, idle, Duration::ZERO),
                Received::Nothing
            ));
            sender.send(7).unwrap();
            assert!(matches!(
                receive(&receiver, idle, Duration::ZERO),
                Received::Item(7)
            ));
            drop(sender);
            assert!(matches!(
                receive(&receiver, idle, Duration::ZERO),
                Received::Closed
            ));
        }
    }
}
