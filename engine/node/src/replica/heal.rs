//! Healing: what the log has lost comes back by the way on which it came first.
//!
//! Owns the answers that this validator gives itself out of the damaged parts of its own log, so
//! that only what is really lost is asked of peers, and the proof that tells it how far the chain
//! had come. An answer passes through the same checks as a peer's. Never: believes a record for
//! being its own.

use std::sync::Arc;

use quorate_consensus::effect::Destination;
use quorate_consensus::header::Header;
use quorate_consensus::input::Input;
use quorate_consensus::message::{BlockRef, Get, Message};
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::{Height, Now, ValidatorIndex};

use super::order::{OrderOut, OrderStage};
use crate::store::LoggedBlock;

impl OrderStage {
    /// Sends a message, less what it can answer itself.
    pub(super) fn send(&mut self, to: Destination, message: Message, out: &mut OrderOut) {
        if let Some(message) = self.ask_itself(to, message) {
            out.frames.push(to, &message);
            self.trace.queued(&message);
        }
    }

    /// Answers what it can of a question to a peer; gives what is still to be asked.
    fn ask_itself(&mut self, to: Destination, message: Message) -> Option<Message> {
        let (Some(salvage), Destination::Peer(peer)) = (self.store.salvage(), to) else {
            return Some(message);
        };
        let answers = &mut self.answers;
        match message {
            Message::Get(Get::Bodies(mut blocks)) => {
                blocks.retain(|wanted| match salvage.block(&wanted.id) {
                    Some(block) => {
                        let (header, payload) = (block.header, block.payload);
                        answers.push((peer, Message::Block { header, payload }));
                        false
                    }
                    None => true,
                });
                (!blocks.is_empty()).then_some(Message::Get(Get::Bodies(blocks)))
            }
            Message::Get(Get::History { top, count }) => {
                let headers = salvage.history(&top, count as usize);
                let rest = rest_of((top, count), &headers, self.consensus.delivered());
                if !headers.is_empty() {
                    answers.push((peer, Message::History(headers)));
                }
                rest.map(Message::Get)
            }
            Message::Get(Get::Finality { at_least }) => {
                // The peer may have a nearer one.
                if let Some(proof) = salvage.proof(at_least) {
                    answers.push((peer, Message::Certificates(vec![proof])));
                }
                Some(Message::Get(Get::Finality { at_least }))
            }
            other => Some(other),
        }
    }

    /// Takes the answers that it gave itself since the last turn.
    pub(super) fn take_own_answers(&mut self, now: Now) {
        for (peer, message) in std::mem::take(&mut self.answers) {
            let message = Authenticated::assert_authenticated(peer, message);
            self.input(now, Input::Message(message));
        }
    }

    /// These blocks are for the repair of the log alone, when they come.
    pub(super) fn expect_mended(&mut self, blocks: &[BlockRef]) {
        self.mending = blocks.iter().map(|block| block.id).collect();
    }

    /// Keeps back a block that the repair of the log asked for. It is final or given up here, so
    /// the consensus has no use for it, and the log's own chain says whether it is the right one.
    pub(super) fn keep_mended(&mut self, message: &Authenticated<Message>) -> bool {
        let Message::Block { header, payload } = message.get() else {
            return false;
        };
        let is_wanted = !self.mending.is_empty() && self.mending.remove(&header.id());
        if is_wanted {
            self.mended.push(LoggedBlock {
                header: *header,
                payload: Arc::clone(payload),
            });
        }
        is_wanted
    }

    /// A peer is there to be asked: says how far the chain had come before the log was damaged.
    pub(super) fn tell_lost_proof(&mut self, peer: ValidatorIndex) {
        let Some((height, proof)) = self.store.salvage().and_then(|it| it.newest_proof()) else {
            return;
        };
        if height > self.consensus.finalized().height {
            self.answers
                .push((peer, Message::Certificates(vec![proof])));
        }
    }
}

/// What is left of a question for history that these headers answer: they end where the damage
/// begins, and the question stands until all of it is here, so nobody would be asked for the rest
/// before it is put again.
fn rest_of((top, count): (BlockRef, u32), headers: &[Header], delivered: Height) -> Option<Get> {
    let Some(lowest) = headers.last() else {
        return Some(Get::History { top, count });
    };
    let count = count.saturating_sub(u32::try_from(headers.len()).unwrap_or(u32::MAX));
    let top = BlockRef {
        height: lowest.height.previous()?,
        id: lowest.parent_id,
    };
    (count > 0 && top.height > delivered).then_some(Get::History { top, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{final_block, sample_genesis};
    use quorate_consensus::types::BlockId;

    #[test]
    fn what_is_left_of_a_question_ends_with_what_was_asked_for_and_with_what_is_delivered() {
        let (genesis, _) = sample_genesis(4);
        let parent = BlockId::new([3; 32]);
        let header = |height| final_block(genesis.validator_set(), height, parent, &[]).header;
        let headers: Vec<Header> = (6..=10).rev().map(header).collect();
        let top = BlockRef {
            height: Height::new(10),
            id: headers[0].id(),
        };
        let rest = |count, delivered| match rest_of((top, count), &headers, Height::new(delivered))
        {
            Some(Get::History { top, count }) => {
                assert_eq!(top.id, parent);
                Some((top.height.number(), count))
            }
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(rest(8, 0), Some((5, 3)));
        assert_eq!(rest(6, 4), Some((5, 1)));
        assert_eq!(rest(8, 5), None, "the block below is delivered");
        assert_eq!(rest(5, 0), None, "all that was asked for");
        assert_eq!(rest(4, 0), None, "and more");
        let all = rest_of((top, 8), &[], Height::new(5));
        assert_eq!(all, Some(Get::History { top, count: 8 }));
    }
}
