//! Turns `host:port` into addresses without holding up the loop.
//!
//! Owns: one thread, started when the first name has to be looked up. Never: a cache; every dial
//! looks again, because an address is only a hint. Numeric addresses never get here.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::error::NetError;
use crate::waker::Waker;

/// Names that wait to be looked up.
const QUESTIONS_MAX: usize = 64;

/// How a name is looked up, which may take long.
pub(crate) type LookUp = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// A question and its answer carry what the caller knows it by. No address means not found.
#[derive(Debug)]
pub(crate) struct Answer<K> {
    pub(crate) of: K,
    pub(crate) addresses: Vec<SocketAddr>,
}

#[derive(Debug)]
pub(crate) struct Resolver<K> {
    questions: SyncSender<(K, String)>,
    answers: Receiver<Answer<K>>,
}

impl<K: Send + 'static> Resolver<K> {
    /// # Errors
    /// [`NetError::Resolver`] if the thread cannot be started.
    pub(crate) fn start(waker: Waker, look_up: LookUp) -> Result<Self, NetError> {
        let (questions, asked) = sync_channel::<(K, String)>(QUESTIONS_MAX);
        let (answer, answers) = sync_channel(QUESTIONS_MAX);
        let run = move || {
            while let Ok((of, name)) = asked.recv() {
                let addresses = look_up(&name).unwrap_or_default();
                if answer.send(Answer { of, addresses }).is_err() {
                    break;
                }
                waker.wake();
            }
        };
        std::thread::Builder::new()
            .name("quorate-resolve".to_owned())
            .spawn(run)
            .map_err(NetError::Resolver)?;
        Ok(Self { questions, answers })
    }

    /// Asks for `name`. False if too many questions wait: ask again later.
    pub(crate) fn ask(&self, of: K, name: &str) -> bool {
        match self.questions.try_send((of, name.to_owned())) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    pub(crate) fn answer(&self) -> Option<Answer<K>> {
        self.answers.try_recv().ok()
    }
}

/// The address, if `text` is a numeric one.
pub(crate) fn numeric(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

/// Every address of `text`, looked up on this thread.
///
/// # Errors
/// What the operating system said.
pub(crate) fn resolve_now(text: &str) -> io::Result<Vec<SocketAddr>> {
    text.to_socket_addrs().map(Iterator::collect)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;
    use crate::linger::Linger;

    /// Whoever dials a name sleeps meanwhile, and has nothing else that would end its sleep.
    #[test]
    fn an_answer_ends_the_sleep_of_the_loop_that_has_asked() {
        let mut poll = Poll::new().unwrap();
        let waker = Waker::new(mio::Waker::new(poll.registry(), Token(2)).unwrap());
        let nowhere: LookUp = Arc::new(|_: &str| Ok(Vec::new()));
        let resolver = Resolver::start(waker.clone(), nowhere).unwrap();
        assert!(resolver.ask(7, "nobody.test:1"));
        let (mut events, mut at_once) = (Events::with_capacity(8), Linger::new(Duration::ZERO));
        let timeout = Some(Duration::from_secs(20));
        let slept = waker.sleep(&mut poll, &mut events, timeout, &mut at_once);
        assert!(slept.unwrap().was_woken);
        assert_eq!(resolver.answer().map(|answer| answer.of), Some(7));
    }
}
