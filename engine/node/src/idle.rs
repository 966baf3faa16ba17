//! What a thread does while nothing comes.

use crate::parked::Receiver;
use crate::profiles::Idle;
use crossbeam::channel::{RecvTimeoutError, TryRecvError};
use std::time::Duration;

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
    match receiver.try_recv() {
        Ok(item) => return Received::Item(item),
        Err(TryRecvError::Disconnected) => return Received::Closed,
        Err(TryRecvError::Empty) => {}
    }
    match idle {
        Idle::Park => match receiver.recv_timeout(timeout) {
            Ok(item) => return Received::Item(item),
            Err(RecvTimeoutError::Disconnected) => return Received::Closed,
            Err(RecvTimeoutError::Timeout) => {}
        },
        Idle::Yield => std::thread::yield_now(),
        Idle::Spin => std::hint::spin_loop(),
    }
    Received::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parked::unbounded;

    #[test]
    fn what_waits_is_taken_and_an_end_is_told_in_every_way_of_idling() {
        for idle in [Idle::Park, Idle::Yield, Idle::Spin] {
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
