//! What a leader tells the others of the signatures in its blocks.
//!
//! A leader has checked each command before it proposes it, and knows the abscissa of each R by
//! then (`quorate-curve`); with it the others' checks cost half. Owns when that is said, behind the
//! proposal and never before it, and of whom it is taken. Never: believes it, waits for it, or
//! reads the log for it. It may be lost, late or wrong: then somebody decodes.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_consensus::effect::Destination;
use quorate_consensus::header::Header;
use quorate_consensus::limits::PIPELINE_BLOCKS;
use quorate_consensus::message::{Message, Propose};
use quorate_consensus::types::{BlockId, ValidatorIndex};

use super::order::{OrderOut, OrderStage};
use crate::auth::CommandAuth;

/// See the module. Says and takes nothing in a chain without signatures.
#[derive(Debug, Default)]
pub(super) struct Telling {
    auth: Option<Arc<CommandAuth>>,
    /// Own blocks whose proposals have not left. Bound: `PIPELINE_BLOCKS`.
    proposed: VecDeque<(BlockId, Header)>,
    /// How much more is listened to: once for each block that came. So whoever tells the same again
    /// and again costs nobody more than its blocks do. Bound: `PIPELINE_BLOCKS`.
    due: u32,
}

impl Telling {
    pub(super) fn of(auth: &Arc<CommandAuth>) -> Self {
        Self {
            auth: auth.is_signed().then(|| Arc::clone(auth)),
            proposed: VecDeque::new(),
            due: 0,
        }
    }

    /// A block is about to be logged; an own one is sent then.
    pub(super) fn note(&mut self, id: BlockId, header: Header, is_own: bool) {
        if self.auth.is_none() {
            return;
        }
        if !is_own {
            self.due = PIPELINE_BLOCKS.min(self.due + 1);
            return;
        }
        if self.proposed.len() >= PIPELINE_BLOCKS as usize {
            self.proposed.pop_front();
        }
        self.proposed.push_back((id, header));
    }

    /// What is to be said behind a proposal: once, however often that is sent.
    fn behind(&mut self, propose: &Propose) -> Option<Message> {
        let auth = self.auth.as_ref()?;
        let is_it = |(_, header): &(BlockId, Header)| *header == propose.header;
        let (block, _) = self
            .proposed
            .remove(self.proposed.iter().position(is_it)?)?;
        let told = auth.tell_abscissas(&propose.payload)?.into();
        Some(Message::Abscissas { block, told })
    }
}

impl OrderStage {
    /// How often a leader is still listened to about its blocks' signatures: once for each block
    /// that came, and 64 times at most.
    #[must_use]
    pub const fn tellings_due(&self) -> u32 {
        self.telling.due
    }

    /// Sends a message, and behind a proposal what makes the check of its commands cheaper.
    pub(super) fn send_effect(&mut self, to: Destination, message: Message, out: &mut OrderOut) {
        let behind = match &message {
            Message::Propose(propose) => self.telling.behind(propose),
            _ => None,
        };
        self.send(to, message, out);
        if let Some(message) = behind {
            out.frames.push(to, &message);
        }
    }

    /// Takes what the leader says of a block that is in memory, which all are that are still to be
    /// checked.
    pub(super) fn take_told(&mut self, from: ValidatorIndex, block: &BlockId, told: &[u8]) {
        let Some(left) = self.telling.due.checked_sub(1) else {
            return;
        };
        if self.leader != Some(from) {
            return;
        }
        let payload = self.store.payload_in_memory(block);
        if let (Some(auth), Some(payload)) = (&self.telling.auth, payload) {
            self.telling.due = left;
            auth.note_told(*block, payload, told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::BatchSeed;
    use crate::testing::sample_genesis;
    use quorate_consensus::header::HEADER_VERSION;
    use quorate_consensus::types::{Epoch, Height, Index, Window};

    fn header(height: u64) -> Header {
        Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: [1; 32],
            epoch: Epoch::ZERO,
            set_hash: [2; 32],
            window: Window::ZERO,
            index: Index::ZERO,
            height: Height::new(height),
            time_ns: height,
            parent_id: BlockId::new([3; 32]),
            payload_hash: [4; 32],
            payload_bytes: 2,
        }
    }

    #[test]
    fn proposals_that_never_leave_are_kept_up_to_a_bound_and_of_a_chain_without_signatures_none() {
        let (genesis, _) = sample_genesis(4);
        let set = genesis.validator_set();
        let seed = BatchSeed::assert_unpredictable([4; 32]);
        let bound = PIPELINE_BLOCKS as usize;
        for (auth, kept) in [
            (CommandAuth::signed(set, seed), bound),
            (CommandAuth::session(), 0),
        ] {
            let mut telling = Telling::of(&Arc::new(auth));
            for height in 1..=3 * u64::from(PIPELINE_BLOCKS) {
                telling.note(BlockId::new([1; 32]), header(height), true);
            }
            assert_eq!(telling.proposed.len(), kept);
            let newest = telling.proposed.back().map(|(_, header)| header.height);
            let expected = Height::new(3 * u64::from(PIPELINE_BLOCKS));
            assert_eq!(newest, (kept > 0).then_some(expected));
            assert_eq!(telling.due, 0, "nobody tells it of its own");
            for height in 1..=3 * u64::from(PIPELINE_BLOCKS) {
                telling.note(BlockId::new([1; 32]), header(height), false);
            }
            assert_eq!(telling.due as usize, kept);
        }
    }
}
