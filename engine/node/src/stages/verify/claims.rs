//! Claims that wait for the verify worker: whose is next.
//!
//! Owns one queue for each peer and the ring in which those with something waiting have their
//! turns. A turn is worth so many signatures, and what a peer's next claim costs beyond that it
//! saves up over turns: so of any two peers with claims waiting neither gets more checked than the
//! other, but for one claim, however many it sends and whatever they cost. Never: the bound of what
//! waits for a peer, which is the consensus' (`ask_check`).

use crate::replica::Job;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::verify::Claim;
use std::collections::VecDeque;

/// What a turn is worth: most claims bring one signature, and one certificate of a large set brings
/// some hundred.
const TURN_SIGNATURES: usize = 16;

/// One peer's claims, in the order in which they came.
#[derive(Debug, Default)]
struct Line {
    claims: VecDeque<Claim>,
    /// Signatures that it may have checked before its next turn.
    saved: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// By the place of the peer.
    lines: Vec<Line>,
    /// Peers with claims waiting, each once.
    ring: VecDeque<ValidatorIndex>,
}

impl Claims {
    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    pub(super) fn push(&mut self, from: ValidatorIndex, claim: Claim) {
        let place = from.place();
        if self.lines.len() <= place {
            self.lines.resize_with(place + 1, Line::default);
        }
        let claims = &mut self.lines[place].claims;
        claims.push_back(claim);
        if claims.len() == 1 {
            self.ring.push_back(from);
        }
    }

    /// The claims that are checked together next, up to the one with which they have so many
    /// signatures. Of a peer always those first that came first.
    pub(super) fn next_batch(&mut self, signatures_max: usize) -> Vec<Job> {
        let (mut batch, mut signatures) = (Vec::new(), 0);
        while signatures < signatures_max
            && let Some(from) = self.ring.pop_front()
        {
            let line = &mut self.lines[from.place()];
            line.saved = line.saved.saturating_add(TURN_SIGNATURES);
            while signatures < signatures_max
                && let Some(cost) = line.claims.front().map(cost)
                && cost <= line.saved
                && let Some(claim) = line.claims.pop_front()
            {
                line.saved -= cost;
                signatures += cost;
                batch.push(Job::Verify { from, claim });
            }
            match line.claims.is_empty() {
                // Nothing is saved up by silence.
                true => line.saved = 0,
                false => self.ring.push_back(from),
            }
        }
        batch
    }
}

/// One that brings no signature costs something all the same.
fn cost(claim: &Claim) -> usize {
    claim.signatures_len().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_consensus::certificate::{Certificate, SignedRecord, Target};
    use quorate_consensus::record::Record;
    use quorate_consensus::types::{Epoch, Index, Window};

    const FLOOD: ValidatorIndex = ValidatorIndex::new(3);
    const HONEST: ValidatorIndex = ValidatorIndex::new(1);
    const BATCH: usize = 64;

    fn signed() -> SignedRecord {
        SignedRecord {
            validator: FLOOD,
            record: Record::default(),
            signature: [1; 64],
        }
    }

    /// A claim with one signature, of this window.
    fn short(window: u64) -> Claim {
        let window = Window::new(window);
        let signed = signed();
        Claim::Record { window, signed }
    }

    fn long(signatures: usize) -> Claim {
        let certificates = vec![Certificate {
            epoch: Epoch::ZERO,
            window: Window::ZERO,
            target: Target::Skip { from: Index::ZERO },
            records: vec![signed(); signatures],
            headers: Vec::new(),
        }];
        Claim::Certificates { certificates }
    }

    /// Of whom the claims of a batch are, and which.
    fn batch(claims: &mut Claims) -> Vec<(ValidatorIndex, u64)> {
        let told = |job: Job| match job {
            Job::Verify {
                from,
                claim: Claim::Record { window, .. },
            } => (from, window.number()),
            Job::Verify { from, .. } => (from, u64::MAX),
            other => panic!("{other:?}"),
        };
        claims.next_batch(BATCH).into_iter().map(told).collect()
    }

    #[test]
    fn of_two_peers_neither_gets_more_checked_however_many_claims_it_has() {
        let mut claims = Claims::default();
        (0..500).for_each(|window| claims.push(FLOOD, short(window)));
        (0..40).for_each(|window| claims.push(HONEST, short(window)));
        let (mut honest, mut flood) = (Vec::new(), Vec::new());
        while !claims.is_empty() {
            let batch = batch(&mut claims);
            assert!(batch.len() <= BATCH);
            for (from, window) in batch {
                if from == HONEST {
                    assert!(flood.len() <= honest.len() + TURN_SIGNATURES, "{window}");
                    honest.push(window);
                } else {
                    flood.push(window);
                }
            }
        }
        assert_eq!(honest, (0..40).collect::<Vec<u64>>(), "in their order");
        assert_eq!(flood, (0..500).collect::<Vec<u64>>());
    }

    #[test]
    fn a_claim_with_many_signatures_waits_until_others_have_had_as_many() {
        let mut claims = Claims::default();
        (0..3).for_each(|_| claims.push(FLOOD, long(1_000)));
        (0..2_000).for_each(|window| claims.push(HONEST, short(window)));
        let mut before = Vec::new();
        while !claims.is_empty() {
            let batch = batch(&mut claims);
            before.extend(batch.into_iter().map(|(from, _)| from));
        }
        let is_long = |from: &ValidatorIndex| *from == FLOOD;
        let first = before.iter().position(is_long).expect("it has its turn");
        assert!((900..=1_100).contains(&first), "{first}");
        assert_eq!(
            before.iter().copied().filter(|from| is_long(from)).count(),
            3
        );
        // Alone it waits for nobody.
        claims.push(FLOOD, long(1_000));
        assert_eq!(batch(&mut claims), [(FLOOD, u64::MAX)]);
        // What was not needed is not kept.
        claims.push(FLOOD, short(0));
        claims.push(FLOOD, short(1));
        claims.push(HONEST, short(2));
        assert_eq!(batch(&mut claims), [(FLOOD, 0), (FLOOD, 1), (HONEST, 2)]);
    }
}
