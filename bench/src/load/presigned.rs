//! Commands that a session has signed before the run's clock began.
//!
//! A client signs on a machine of its own; here it shares the validators' cores, and a signature
//! costs more than checking one in a batch. So commands that mean nothing are made and signed
//! ahead, as those of the bare verifier are. Owns their signatures and the noise that their bodies
//! come from. Never: gives a number; the ledger does, and what stands under another number than was
//! signed is signed when it is sent.

use quorate::keys::KeyPair;
use quorate_consensus::payload::{FLAG_OPEN, Lane, flagged_entry_unsigned, session_of_key};
use quorate_consensus::signing::command_message;
use quorate_net::ChainIds;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// What is signed ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct SigningPlan {
    pub(super) seed: u64,
    pub(super) lane: Lane,
    /// Bytes of a command.
    pub(super) size: usize,
    /// How many of each session.
    pub(super) count: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Presigned {
    lane: Lane,
    first_seq: u64,
    /// 64 bytes a command.
    signatures: Vec<[u8; 64]>,
    /// How many bodies have been taken.
    taken: usize,
    noise: ChaCha8Rng,
    body: Vec<u8>,
}

impl Presigned {
    /// Signs the commands of a session from `first_seq` on, which opens it or not.
    pub(super) fn new(
        plan: &SigningPlan,
        key: &KeyPair,
        ids: &ChainIds,
        (first_seq, opens): (u64, bool),
    ) -> Self {
        let mut made = Self {
            lane: plan.lane,
            first_seq,
            signatures: Vec::with_capacity(plan.count),
            taken: 0,
            noise: ChaCha8Rng::seed_from_u64(plan.seed),
            body: vec![0; plan.size.max(1)],
        };
        let noise = made.noise.clone();
        let session = session_of_key(&key.public());
        for seq in (first_seq..).take(plan.count) {
            made.fill();
            // The command that opens a session begins with the session's key.
            let opened = [&key.public(), &made.body[..]].concat();
            let is_opening = opens && seq == first_seq;
            let (body, flags) = match is_opening {
                true => (&opened, FLAG_OPEN),
                false => (&made.body, 0),
            };
            let unsigned = flagged_entry_unsigned(plan.lane, &session, seq, body, flags);
            let message = command_message(&ids.chain_id, &ids.genesis_hash, &unsigned);
            made.signatures.push(key.sign(&message));
        }
        made.noise = noise;
        made
    }

    fn fill(&mut self) {
        self.noise.fill_bytes(&mut self.body);
    }

    /// The body that was signed for this number, if it is the next one.
    pub(super) fn next_body(&mut self, seq: u64, lane: Lane) -> Option<&[u8]> {
        let is_next = seq == self.first_seq + self.taken as u64;
        if !is_next || lane != self.lane || self.taken >= self.signatures.len() {
            return None;
        }
        self.taken += 1;
        self.fill();
        Some(&self.body)
    }

    /// The signature of a number whose body was taken.
    pub(super) fn signature(&self, seq: u64) -> Option<[u8; 64]> {
        let index = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        let taken = &self.signatures[..self.taken];
        taken.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_consensus::payload::entry_unsigned;
    use quorate_consensus::verify;

    const IDS: ChainIds = ChainIds {
        chain_id: [1; 32],
        genesis_hash: [2; 32],
    };

    #[test]
    fn each_body_has_its_signature_and_nothing_else_has_one() {
        let key = KeyPair::from_seed(&[3; 32]);
        let plan = SigningPlan {
            seed: 7,
            lane: Lane::Order,
            size: 40,
            count: 3,
        };
        let mut made = Presigned::new(&plan, &key, &IDS, (1, true));
        assert_eq!(made.signature(1), None, "its body was not taken");
        assert_eq!(made.next_body(1, Lane::Cancel), None);
        assert_eq!(made.next_body(2, Lane::Order), None);
        let session = session_of_key(&key.public());
        for seq in 1..=3 {
            let mut body = made.next_body(seq, Lane::Order).unwrap().to_vec();
            if seq == 1 {
                body.splice(..0, key.public());
            }
            let unsigned = entry_unsigned(Lane::Order, &session, seq, &body);
            let message = command_message(&IDS.chain_id, &IDS.genesis_hash, &unsigned);
            let signature = made.signature(seq).unwrap();
            assert!(verify::single(&key.public(), &message, &signature));
        }
        assert_eq!(made.next_body(4, Lane::Order), None);
        assert_eq!((made.signature(4), made.signature(0)), (None, None));
    }
}
