//! What may be asked of the signature workers for one peer, and how much evidence is told of one.
//!
//! Owns the bounds: whoever floods its channel with signatures, good or bad, keeps its own checks
//! waiting and nobody else's, and fills no log with proofs of its own misbehaviour. Never: what a
//! verdict means (votes, proofs, restart).

use crate::effect::{Effect, Effects};
use crate::evidence::Evidence;
use crate::limits;
use crate::machine::Consensus;
use crate::types::ValidatorIndex;
use crate::verify::Claim;

impl Consensus {
    /// Asks for the signatures of a claim to be checked; `false` when too many of this peer's are
    /// being checked already. What is not checked now comes again (R10, 5.6).
    pub(crate) fn ask_check(
        &mut self,
        from: ValidatorIndex,
        claim: Claim,
        effects: &mut Effects,
    ) -> bool {
        let peer = &mut self.peers[from.place()];
        let bytes = peer.check_bytes.saturating_add(claim.bytes_len());
        let is_long = peer.checks > 0 && bytes > limits::CHECKS_BYTES_PER_PEER_MAX;
        if is_long || peer.checks >= limits::CHECKS_PER_PEER_MAX {
            return false;
        }
        peer.checks = peer.checks.saturating_add(1);
        peer.check_bytes = bytes;
        effects.push(Effect::Verify { from, claim });
        true
    }

    /// A verdict on a claim of this peer has come; the claim with it, where it is good.
    pub(crate) fn note_checked(&mut self, from: ValidatorIndex, claim: Option<&Claim>) {
        if let Some(peer) = self.peers.get_mut(from.place()) {
            peer.checks = peer.checks.saturating_sub(1);
            let bytes = claim.map_or(0, Claim::bytes_len);
            peer.check_bytes = match peer.checks {
                0 => 0,
                _ => peer.check_bytes.saturating_sub(bytes),
            };
            // Whatever came of its certificates is known by now, over any number of connections.
            peer.certificates_checked &= peer.checks > 0;
            peer.evidence_checked &= peer.checks > 0;
        }
    }

    /// Whether more evidence against the validator that this one accuses would be told.
    pub(crate) fn wants_evidence(&self, evidence: &Evidence) -> bool {
        let accused = self.accused(evidence);
        self.peers
            .get(accused.place())
            .is_some_and(|peer| peer.evidence < limits::EVIDENCE_PER_VALIDATOR_MAX)
    }

    /// Hands out evidence, a bounded number a validator and run.
    pub(crate) fn tell_evidence(&mut self, evidence: Evidence, effects: &mut Effects) {
        if !self.wants_evidence(&evidence) {
            return;
        }
        let accused = self.accused(&evidence);
        let peer = &mut self.peers[accused.place()];
        peer.evidence = peer.evidence.saturating_add(1);
        effects.push(Effect::Evidence(evidence));
    }

    fn accused(&self, evidence: &Evidence) -> ValidatorIndex {
        match evidence {
            Evidence::TwoHeaders(signed) => self.config.set.leader(signed[0].header.window),
            Evidence::TwoRecords { validator, .. } => *validator,
            Evidence::OneRecord { record, .. } => record.validator,
        }
    }
}
