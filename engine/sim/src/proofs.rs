//! What validators can show when a run has come to a good end: the proof that each would give to a
//! stranger, and those in its log.
//!
//! Owns the reading of them. Never: judges one (`checks::certificates`), or takes a validator's
//! word for what it could prove.

use quorate::journal::{JournalEntry, KIND_PROOF, decode};
use quorate::state_machine::StateMachine;
use quorate_consensus::certificate::Certificate;
use quorate_consensus::types::Point;
use quorate_log::Reader;

use crate::checks::Violation;
use crate::world::World;

impl<S: StateMachine> World<S> {
    /// Judges what every honest validator that runs has to show of the end of the chain.
    pub(crate) fn judge_proofs(&mut self) {
        let height = self.checks.chain.height();
        for at in 0..self.members.len() {
            let life = self.members[at].life.as_ref();
            let Some(life) = life.filter(|_| !self.is_byzantine(at)) else {
                continue;
            };
            let served = life.replica.consensus().proof().cloned();
            let logged = logged_proofs(&life.companions.reader);
            for (point, proof) in &logged {
                self.watch_certificate(at, proof);
                if !crate::checks::certificates::is_final(proof, point) {
                    let what = format!("v{at} has for a proof of {point:?} in its log: {proof:?}");
                    self.checks.take(Err(Violation::new("certificates", what)));
                }
            }
            if let Some(proof) = &served {
                self.watch_certificate(at, proof);
            }
            let known = self.checks.chain.block(height);
            let certificates = &self.checks.certificates;
            let outcome = certificates.judge_end(at, (height, known), served.as_ref());
            self.checks.take(outcome);
        }
    }
}

/// The proofs of a log with what each is said to be of, as far as the log can be read: what stands
/// above rotten bytes is for the scrubber.
pub(crate) fn logged_proofs(reader: &Reader) -> Vec<(Point, Certificate)> {
    let records = reader.iter().map_while(Result::ok);
    let proofs = records.filter(|record| record.kind() == KIND_PROOF);
    let decoded = proofs.filter_map(|record| match decode(KIND_PROOF, &record) {
        Ok(JournalEntry::Proof { point, proof }) => Some((point, proof)),
        _ => None,
    });
    decoded.collect()
}
