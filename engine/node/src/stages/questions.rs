//! How many questions of clients one turn takes.
//!
//! Owns the counts of one turn. A question is answered from the state by the thread that also votes
//! or executes, and any key may ask, without a session: what one client asks must not be what the
//! others wait for. What is beyond the bounds is told to ask again. It owns the bound of an answer,
//! too. Never: what an answer says.

use crate::executor::Executor;
use crate::state_machine::{ANSWER_BYTES_MAX, SessionId, StateMachine};
use quorate_net::ClientId;

/// Questions that one turn takes.
const QUESTIONS_PER_TURN: usize = 64;
/// Questions that one turn takes from one client.
const QUESTIONS_PER_CLIENT: usize = 16;
/// Of these such as walk over what is kept for others too: each may take as long as some tens of
/// the rest.
const WALKS_PER_TURN: usize = 8;
/// Bytes of answers that one turn makes, but for the last one.
const ANSWER_BYTES_PER_TURN: usize = 1024 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: Vec<ClientId>,
    walks: usize,
}

impl Questions {
    /// Whether there is time for one more that walks.
    pub(super) const fn admit_walk(&mut self) -> bool {
        let is_admitted = self.walks < WALKS_PER_TURN;
        self.walks += is_admitted as usize;
        is_admitted
    }

    /// Whether one more of this client is taken, while so many bytes of answers wait.
    pub(super) fn admit(&mut self, client: ClientId, waiting_bytes: usize) -> bool {
        let by_client = self.asked.iter().filter(|one| **one == client);
        let is_admitted = self.asked.len() < QUESTIONS_PER_TURN
            && by_client.count() < QUESTIONS_PER_CLIENT
            && waiting_bytes < ANSWER_BYTES_PER_TURN;
        if is_admitted {
            self.asked.push(client);
        }
        is_admitted
    }
}

/// What a client's question is answered. One that is too long is left out: a part of it could be
/// taken for the whole.
pub(super) fn answer_of<S: StateMachine>(
    executor: &Executor<S>,
    asker: SessionId,
    question: &[u8],
) -> Vec<u8> {
    let mut answer = Vec::new();
    executor.query_from(asker, question, &mut answer);
    if answer.len() > ANSWER_BYTES_MAX {
        tracing::debug!(bytes = answer.len(), "an answer is too long and left out");
        answer = Vec::new();
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::{Context, Output};

    const ASKER: SessionId = SessionId([1; 16]);

    /// Answers with as many bytes as it is asked for, to one session.
    struct Long;

    impl StateMachine for Long {
        fn sections(&self) -> &'static [&'static str] {
            &[]
        }

        fn apply(&mut self, _: &Context, _: &[u8], _: &mut Output) {}

        fn section_root(&mut self, _: usize) -> [u8; 32] {
            [0; 32]
        }

        fn snapshot_section(&self, _: usize, _: &mut Vec<u8>) {}

        fn restore_section(&mut self, _: usize, _: &[u8]) -> Result<(), String> {
            Ok(())
        }

        fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
            let bytes = question.first_chunk().copied().map(u32::from_le_bytes);
            answer.resize(bytes.unwrap_or(0) as usize, 7);
        }

        fn query_from(&self, asker: SessionId, question: &[u8], answer: &mut Vec<u8>) {
            if asker == ASKER {
                self.query(question, answer);
            }
        }
    }

    #[test]
    fn an_answer_is_given_whole_or_not_at_all() {
        let executor = Executor::new(Long, 8, 0);
        let bytes_max = u32::try_from(ANSWER_BYTES_MAX).unwrap();
        let bytes_of = |bytes: u32| answer_of(&executor, ASKER, &bytes.to_le_bytes()).len();
        assert_eq!(bytes_of(3), 3);
        assert_eq!(bytes_of(bytes_max), ANSWER_BYTES_MAX);
        assert_eq!(bytes_of(bytes_max + 1), 0);
    }

    #[test]
    fn the_application_is_told_who_asks() {
        let executor = Executor::new(Long, 8, 0);
        let other = SessionId([2; 16]);
        assert!(answer_of(&executor, other, &3_u32.to_le_bytes()).is_empty());
    }

    #[test]
    fn a_turn_takes_few_questions_that_walk() {
        let mut questions = Questions::default();
        let admitted = (0..3 * WALKS_PER_TURN).filter(|_| questions.admit_walk());
        assert_eq!(admitted.count(), WALKS_PER_TURN);
    }

    #[test]
    fn one_client_and_all_together_have_their_bounds_and_so_have_answers() {
        let mut questions = Questions::default();
        let client = ClientId::from_bits;
        for _ in 0..QUESTIONS_PER_CLIENT {
            assert!(questions.admit(client(1), 0));
        }
        assert!(!questions.admit(client(1), 0));
        assert!(questions.admit(client(2), ANSWER_BYTES_PER_TURN - 1));
        assert!(!questions.admit(client(2), ANSWER_BYTES_PER_TURN));
        let more = (3..100).filter(|bits| questions.admit(client(*bits), 0));
        assert_eq!(more.count(), QUESTIONS_PER_TURN - QUESTIONS_PER_CLIENT - 1);
    }
}
