//! Answers on their way from the thread that makes them to the clients that read them.
//!
//! Owns how many bytes of them there may be, of all clients and of one. A question costs a few
//! bytes and its answer may be a mebibyte, so what was asked is no bound on what is made of it:
//! whoever has not read what it was answered is told to ask again, and is not cut off for what it
//! asked while it reads. Never: what an answer says.

use crate::queues::{Counted, StageBytes};
use quorate_net::ClientId;
use std::collections::BTreeMap;

/// Bytes of answers on their way from which on no more is made: of all together until the net
/// thread has them, and of one client until it has read them. One answer more, each. A client's
/// bound is a quarter of what may wait for it.
const ANSWERS_BYTES_MAX: usize = 1024 * 1024;

/// Answers of fewer bytes count until the net thread has them, and no longer.
const WAITED_BYTES_MIN: usize = 4 * 1024;

/// Whether there is room for the answers to one client. Goes with its question.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerRoom {
    all: StageBytes,
    client: StageBytes,
}

impl AnswerRoom {
    /// Whether one more answer may be made.
    pub(crate) fn is_open(&self) -> bool {
        self.all.bytes() < ANSWERS_BYTES_MAX && self.client.bytes() < ANSWERS_BYTES_MAX
    }

    /// Sends an answer on its way.
    pub(crate) fn take(&self, frame: Vec<u8>) -> Answer {
        let bytes = frame.len();
        Answer {
            _all: self.all.take(bytes),
            client: self.client.take(bytes),
            frame,
        }
    }
}

/// An answer on its way to the net thread.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The encoded frame.
    pub(crate) frame: Vec<u8>,
    client: Counted,
    _all: Counted,
}

/// What the net thread knows of all of them.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    all: StageBytes,
    /// Of whom a question or an answer is on its way.
    clients: BTreeMap<ClientId, StageBytes>,
    /// Handed to the sockets. Bound: what waits there.
    unread: Vec<(ClientId, Counted)>,
}

impl Answers {
    /// The room that a question of this client takes with it; none when there is none.
    pub(crate) fn room(&mut self, client: ClientId) -> AnswerRoom {
        AnswerRoom {
            all: self.all.clone(),
            client: self.clients.entry(client).or_default().clone(),
        }
    }

    /// Whether a question of this client would be answered.
    pub(crate) fn has_room(&self, client: ClientId) -> bool {
        let own = self.clients.get(&client).map_or(0, StageBytes::bytes);
        self.all.bytes() < ANSWERS_BYTES_MAX && own < ANSWERS_BYTES_MAX
    }

    /// An answer is handed to the socket of its client. Short ones are not waited for: of these
    /// there may be many, and what waits for a client bounds them as it does all else.
    pub(crate) fn hand_over(&mut self, client: ClientId, answer: Answer) {
        if answer.frame.len() >= WAITED_BYTES_MIN {
            self.unread.push((client, answer.client));
        }
    }

    /// Looks who has read what it was answered: `waiting` says how many bytes wait for a client,
    /// and nothing when it is gone.
    pub(crate) fn settle(&mut self, waiting: impl Fn(ClientId) -> Option<usize>) {
        self.unread.retain(|(client, _)| {
            let bytes = waiting(*client);
            bytes.is_some_and(|bytes| bytes >= ANSWERS_BYTES_MAX)
        });
        // One whose question is on its way keeps its count.
        self.clients.retain(|_, bytes| !bytes.is_alone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(bits: u64) -> ClientId {
        ClientId::from_bits(bits)
    }

    #[test]
    fn no_more_answers_are_made_than_wait_for_the_net_thread_or_for_their_client() {
        let mut answers = Answers::default();
        let (one, other) = (answers.room(client(1)), answers.room(client(2)));
        let mut made = Vec::new();
        while one.is_open() && made.len() < 9 {
            made.push(one.take(vec![0; ANSWERS_BYTES_MAX / 3]));
        }
        assert_eq!(made.len(), 4, "one more at most");
        assert!(!other.is_open() && !answers.has_room(client(3)), "of all");
        for answer in made {
            answers.hand_over(client(1), answer);
        }
        assert!(other.is_open() && answers.has_room(client(3)));
        answers.settle(|_| Some(ANSWERS_BYTES_MAX));
        assert!(!one.is_open() && !answers.has_room(client(1)), "unread");
        answers.settle(|_| Some(ANSWERS_BYTES_MAX - 1));
        assert!(one.is_open() && answers.has_room(client(1)));
    }

    /// Each turn looks through all that is waited for.
    #[test]
    fn short_answers_are_not_waited_for() {
        let mut answers = Answers::default();
        for _ in 0..10_000 {
            let answer = answers.room(client(1)).take(vec![0; 14]);
            answers.hand_over(client(1), answer);
        }
        let least = answers.room(client(1)).take(vec![0; WAITED_BYTES_MIN]);
        answers.hand_over(client(1), least);
        assert_eq!(answers.unread.len(), 1);
        assert_eq!(answers.clients[&client(1)].bytes(), WAITED_BYTES_MIN);
    }

    #[test]
    fn who_is_gone_or_asks_no_more_is_forgotten_and_a_question_on_its_way_is_not() {
        let mut answers = Answers::default();
        let room = answers.room(client(1));
        answers.hand_over(client(1), room.take(vec![0; 2 * ANSWERS_BYTES_MAX]));
        answers.settle(|_| Some(usize::MAX));
        assert!(!answers.room(client(1)).is_open(), "the same count");
        answers.settle(|_| None);
        assert!(answers.unread.is_empty());
        assert_eq!(answers.clients.len(), 1);
        drop(room);
        answers.settle(|_| None);
        assert!(answers.clients.is_empty());
    }
}
