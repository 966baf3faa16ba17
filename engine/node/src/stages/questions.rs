//! How many questions of clients one turn takes.
//!
//! Owns the counts of one turn. A question is answered from the state by the thread that also votes
//! or executes, and any key may ask, without a session: what one client asks must not be what the
//! others wait for. What is beyond the bounds is told to ask again. Never: what an answer says.

use quorate_net::ClientId;

/// Questions that one turn takes.
const QUESTIONS_PER_TURN: usize = 64;
/// Questions that one turn takes from one client.
const QUESTIONS_PER_CLIENT: usize = 16;
/// Bytes of answers that one turn makes, but for the last one.
const ANSWER_BYTES_PER_TURN: usize = 1024 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: Vec<ClientId>,
}

impl Questions {
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

#[cfg(test)]
mod tests {
    use super::*;

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
