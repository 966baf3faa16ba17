//! The work with signatures, which no turn waits for.
//!
//! Owns the jobs and how they are done: everything of one call in one batch, ZIP-215 or whatever
//! `check` is. Never: counts, decides, or knows who asked.

use quorate_consensus::attestation::StateStatement;
use quorate_consensus::header::Header;
use quorate_consensus::input::Input;
use quorate_consensus::message::OwnAnswer;
use quorate_consensus::record::Record;
use quorate_consensus::signing::{
    Signer, header_message, record_message, recover_message, state_message,
};
use quorate_consensus::types::{BlockId, ValidatorIndex, Window};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::{Claim, SignatureCheck, check_claims};

/// One piece of work with signatures.
#[derive(Clone, Debug)]
pub enum Job {
    /// Sign an own record.
    SignRecord {
        /// Its window.
        window: Window,
        /// The record.
        record: Record,
    },
    /// Sign an own header.
    SignHeader {
        /// Name of the block.
        id: BlockId,
        /// The header.
        header: Header,
    },
    /// Sign an own answer to a validator that lost its disk.
    SignAnswer(OwnAnswer),
    /// Sign the own state.
    SignState(StateStatement),
    /// Check a claim.
    Verify {
        /// The peer whose channel brought it.
        from: ValidatorIndex,
        /// The claim.
        claim: Claim,
    },
}

impl Job {
    /// Whether it makes a signature of this validator.
    pub(crate) const fn is_signature(&self) -> bool {
        !matches!(self, Self::Verify { .. })
    }
}

/// Does all `jobs`; the answers are appended to `inputs`, for the replica's `input`.
pub fn run_jobs(
    set: &ValidatorSet,
    own: ValidatorIndex,
    signer: &impl Signer,
    check: &mut impl SignatureCheck,
    jobs: impl IntoIterator<Item = Job>,
    inputs: &mut Vec<Input>,
) {
    let mut message = Vec::new();
    let mut claims = Vec::new();
    for job in jobs {
        message.clear();
        match job {
            Job::SignRecord { window, record } => {
                record_message(set, own, window, &record, &mut message);
                let signature = signer.sign(&message);
                inputs.push(Input::RecordSigned {
                    window,
                    record,
                    signature,
                });
            }
            Job::SignHeader { id, header } => {
                header_message(set, &header, &mut message);
                inputs.push(Input::HeaderSigned {
                    id,
                    signature: signer.sign(&message),
                });
            }
            Job::SignAnswer(answer) => {
                recover_message(set, own, &answer, &mut message);
                let signature = signer.sign(&message);
                inputs.push(Input::AnswerSigned { answer, signature });
            }
            Job::SignState(statement) => {
                state_message(set, own, &statement, &mut message);
                let signature = signer.sign(&message);
                inputs.push(Input::StateSigned {
                    statement,
                    signature,
                });
            }
            Job::Verify { from, claim } => claims.push((from, claim)),
        }
    }
    if claims.is_empty() {
        return;
    }
    inputs.extend(
        check_claims(set, own, claims, check)
            .into_iter()
            .map(|answer| match answer {
                Ok((from, claim)) => Input::Verified { from, claim },
                Err(refusal) => Input::Refused {
                    from: refusal.from,
                    own_record: refusal.own_record,
                },
            }),
    );
}
