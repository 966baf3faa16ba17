//! The judgement of a proof.
//!
//! Owns the order of the checks: structure and weights, signatures, the chain of headers, the
//! payload; of an output the ways from it to its block and from there to the state. Never: a
//! shortcut for a proof that looks right; what is returned was checked whole.

use quorate_consensus::attestation::{StateCertificate, StateStatement};
use quorate_consensus::certificate::{Certificate, Target};
use quorate_consensus::header::Header;
use quorate_consensus::payload::{Lane, PayloadError, PayloadView};
use quorate_consensus::types::{BlockId, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::{Claim, SignatureCheck, SignatureItem, check_claims, single};

use crate::outputs::{OUTPUTS_PLACE, history_root, outcomes_hash, output_hash, put_head};
use crate::{BlockProof, CommandProof, OutputItem, OutputProof, Proof};

/// What a good proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// A block is final.
    Block(ProvenBlock),
    /// Validators of more weight than may lie have this state after the block. Whether the block is
    /// final is not said by it, though an honest validator has executed it.
    State(StateStatement),
    /// Something was put out in a block.
    Output(ProvenOutput),
}

/// What a block put out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenOutput {
    /// Height of the block.
    pub height: u64,
    /// Its name.
    pub id: BlockId,
    /// Height of the attested state that vouches for it.
    pub attested: u64,
    /// What it is.
    pub item: OutputItem,
}

/// A final block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenBlock {
    /// Its name.
    pub id: BlockId,
    /// Its header.
    pub header: Header,
    /// The command in question.
    pub command: Option<ProvenCommand>,
}

/// A command that stands in a final block. Neither that the session sent it nor that it had an
/// effect is shown: a block whose leader lies holds forged, repeated and misplaced commands, and
/// becomes final all the same. Execution passes over what is repeated or out of its turn; with
/// signed commands also what is forged, which without signatures is executed like any other. An
/// [`OutputItem::Outcomes`] of the same height says what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenCommand {
    /// Its place among the block's commands.
    pub index: u32,
    /// Whose it says it is: the first 16 bytes of BLAKE3 of the session's public key.
    pub session: [u8; 16],
    /// Its number in the session.
    pub seq: u64,
    /// Its lane.
    pub lane: Lane,
    /// All bytes of its entry.
    pub entry: Vec<u8>,
}

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The certificate is for something else than finality.
    #[error("the certificate makes no block final")]
    NotFinal,
    /// Its records, headers, weights or signatures do not prove its target under this set.
    #[error("the certificate does not hold under this validator set")]
    Certificate,
    /// The state certificate's signers or signatures do not prove its statement.
    #[error("the state certificate does not hold under this validator set")]
    State,
    /// The state has too few sections: it is not of a build that proves outputs.
    #[error("the attested state has no section of outputs")]
    NoOutputs,
    /// The state is older than the block.
    #[error("a state of height {attested} says nothing of a block of height {height}")]
    Above {
        /// Height of the block; heights begin with 1.
        height: u64,
        /// Height of the state.
        attested: u64,
    },
    /// The way from the item to its block has not the shape of a list of this length.
    #[error("item {place} is not led to a list of {count}")]
    ListShape {
        /// Place of the item.
        place: u32,
        /// Length of the list.
        count: u32,
    },
    /// The item, or its way to the block's root, is another.
    #[error("what is shown is not what the block put out")]
    Item,
    /// The way from the block to the state has another length than between these heights.
    #[error("the way from height {height} to the state of height {attested} has another length")]
    HistoryShape {
        /// Height of the block.
        height: u64,
        /// Height of the state.
        attested: u64,
    },
    /// The block's name or root, or its way to the state, is another.
    #[error("what the block put out is not what the attested state says")]
    History,
    /// A header is not that of the parent of the one before.
    #[error("header {place} is not the parent of the one before it")]
    Chain {
        /// Its place, from 0.
        place: usize,
    },
    /// The payload is not the one that the block's header names.
    #[error("the payload is not the one that the header names")]
    Payload,
    /// The payload is the block's and malformed.
    #[error("the payload: {0}")]
    Malformed(#[from] PayloadError),
    /// The block has fewer commands.
    #[error("the block has {count} commands, and none at index {index}")]
    NoCommand {
        /// How many it has.
        count: usize,
        /// Which one was asked for.
        index: u32,
    },
}

/// Checks a proof against the validator set of a genesis, and nothing else.
///
/// # Errors
/// [`ProofError`]: nothing of it may be believed.
pub fn verify(set: &ValidatorSet, proof: &Proof) -> Result<Proven, ProofError> {
    match proof {
        Proof::Block(proof) => verify_block(set, proof).map(Proven::Block),
        Proof::State(certificate) => verify_state(set, certificate).map(Proven::State),
        Proof::Output(proof) => verify_output(set, proof).map(Proven::Output),
    }
}

fn verify_state(
    set: &ValidatorSet,
    certificate: &StateCertificate,
) -> Result<StateStatement, ProofError> {
    let claim = Claim::StateCertificate(certificate.clone());
    match holds(set, claim) {
        true => Ok(certificate.statement.clone()),
        false => Err(ProofError::State),
    }
}

fn verify_output(set: &ValidatorSet, proof: &OutputProof) -> Result<ProvenOutput, ProofError> {
    let state = verify_state(set, &proof.certificate)?;
    let (height, attested) = (proof.height, state.height.number());
    let section = state.sections.get(OUTPUTS_PLACE);
    let section = section.ok_or(ProofError::NoOutputs)?;
    if height == 0 || height > attested {
        return Err(ProofError::Above { height, attested });
    }
    let count = proof.list.count;
    // The outcomes stand behind the last output.
    let last = count.saturating_sub(1);
    let (place, hash) = match &proof.item {
        OutputItem::Output {
            number,
            command,
            session,
            bytes,
        } => {
            let mut encoded = Vec::with_capacity(bytes.len() + 25);
            put_head(*number, *command, session.as_ref(), &mut encoded);
            encoded.extend_from_slice(bytes);
            (*number, output_hash(&encoded))
        }
        OutputItem::Outcomes(outcomes) => (last, outcomes_hash(outcomes)),
    };
    let list = proof.list.root(place, &hash);
    let list = list.ok_or(ProofError::ListShape { place, count })?;
    if list.hash != proof.root {
        return Err(ProofError::Item);
    }
    let way = (height, attested);
    let top = history_root(way, proof.id.as_bytes(), &list, &proof.history);
    if top.ok_or(ProofError::HistoryShape { height, attested })? != *section {
        return Err(ProofError::History);
    }
    Ok(ProvenOutput {
        height,
        id: proof.id,
        attested,
        item: proof.item.clone(),
    })
}

fn verify_block(set: &ValidatorSet, proof: &BlockProof) -> Result<ProvenBlock, ProofError> {
    let (mut id, mut header) = certified(set, &proof.certificate)?;
    for (place, below) in proof.headers.iter().enumerate() {
        // The name is the hash of all of the header: nothing else of it can be another.
        if below.id() != header.parent_id || below.height.next() != header.height {
            return Err(ProofError::Chain { place });
        }
        (id, header) = (header.parent_id, *below);
    }
    let command = proof.command.as_ref();
    let command = command.map(|command| find_command(&header, command));
    Ok(ProvenBlock {
        id,
        header,
        command: command.transpose()?,
    })
}

/// The block that a certificate makes final.
fn certified(
    set: &ValidatorSet,
    certificate: &Certificate,
) -> Result<(BlockId, Header), ProofError> {
    let Target::Final { id, .. } = certificate.target else {
        return Err(ProofError::NotFinal);
    };
    let claim = Claim::Certificates {
        certificates: vec![certificate.clone()],
    };
    if !holds(set, claim) {
        return Err(ProofError::Certificate);
    }
    let header = certificate.headers.first().copied();
    let header = header.filter(|header| header.id() == id);
    Ok((id, header.ok_or(ProofError::Certificate)?))
}

fn find_command(header: &Header, proof: &CommandProof) -> Result<ProvenCommand, ProofError> {
    let payload = &proof.payload;
    if payload.len() != header.payload_bytes as usize
        || *blake3::hash(payload).as_bytes() != header.payload_hash
    {
        return Err(ProofError::Payload);
    }
    let view = PayloadView::parse(payload)?;
    let (count, index) = (view.len(), proof.index);
    let command = view.iter().nth(index as usize);
    let command = command.ok_or(ProofError::NoCommand { count, index })?;
    Ok(ProvenCommand {
        index,
        session: *command.session,
        seq: command.seq,
        lane: command.lane,
        entry: command.entry.to_vec(),
    })
}

fn holds(set: &ValidatorSet, claim: Claim) -> bool {
    // Only claims about this validator's own words ask who it is: a light verifier is none.
    let nobody = ValidatorIndex::new(0);
    let checked = check_claims(set, nobody, vec![(nobody, claim)], &mut OneByOne);
    !checked.is_empty() && checked.iter().all(Result::is_ok)
}

/// One signature after the other: simplicity over speed.
struct OneByOne;

impl SignatureCheck for OneByOne {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        let good = |item: &SignatureItem<'_>| single(item.key, item.message, item.signature);
        items.iter().map(good).collect()
    }
}
