//! Telling a client where its session stands.
//!
//! Owns from when on a validator that is behind tells nothing. Never: whether a question is let
//! through at all; the wire stage judges that, by what is delivered.
//!
//! What is told is what is executed, and that may be far behind what is delivered. Whoever told it
//! all the same would let a client number new commands like old ones.

use quorate_consensus::types::ValidatorIndex;

use crate::client_wire;
use crate::executor::Executor;
use crate::metrics::Metrics;
use crate::roots::ROOT_HEIGHTS;
use crate::state_machine::{SessionId, StateMachine};

/// After how long a client may ask again, microseconds.
const RETRY_US: u32 = 1_000;

/// Appends the answer to question `id` of a session's client; `busy` where peers are far ahead of
/// what is executed here.
pub(super) fn encode<S: StateMachine>(
    executor: &Executor<S>,
    metrics: &Metrics,
    leader: Option<ValidatorIndex>,
    (session, id): (&SessionId, u64),
    bytes: &mut Vec<u8>,
) {
    if metrics.height_peers.read() >= executor.height().saturating_add(ROOT_HEIGHTS) {
        metrics.questions_busy.add(1);
        return client_wire::encode_busy(leader, id, RETRY_US, bytes);
    }
    let sessions = executor.sessions();
    let seq_last = sessions.session(session).map_or(0, |known| known.last_seq);
    let has_ended = sessions.has_ended(session);
    client_wire::encode_session(leader, id, (seq_last, has_ended), bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::{Context, Output};

    struct Nothing;

    impl StateMachine for Nothing {
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

        fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
    }

    #[test]
    fn who_has_executed_far_less_than_the_others_have_tells_nothing_of_a_session() {
        let executor = Executor::new(Nothing, 8, 0);
        let metrics = Metrics::default();
        let told = || {
            let (mut told, session) = (Vec::new(), SessionId([1; 16]));
            encode(&executor, &metrics, None, (&session, 7), &mut told);
            told
        };
        let (mut busy, mut none) = (Vec::new(), Vec::new());
        client_wire::encode_busy(None, 7, RETRY_US, &mut busy);
        client_wire::encode_session(None, 7, (0, false), &mut none);
        metrics.height_peers.set(ROOT_HEIGHTS - 1);
        assert_eq!(told(), none);
        // All of it is delivered here.
        metrics.height.set(1_000);
        metrics.height_peers.set(1_000);
        assert_eq!(told(), busy);
        assert_eq!(metrics.questions_busy.read(), 1);
    }
}
