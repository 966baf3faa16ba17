//! What every test of the rules is made of: sets, blocks, records, certificates, and a stand-in for
//! signatures. Never: a validator, or time that passes.

use quorate_consensus::attestation::StateStatement;
use quorate_consensus::certificate::{Certificate, SignatureBytes, SignedRecord, Target};
use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::input::Input;
use quorate_consensus::message::OwnAnswer;
use quorate_consensus::payload::{Entry, Lane, PayloadBuilder, encode_entry, session_of_key};
use quorate_consensus::record::Record;
use quorate_consensus::signing::{self, ValidatorKey};
use quorate_consensus::types::{
    BlockId, Epoch, Height, Index, Point, Stake, ValidatorIndex, Window,
};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
use quorate_consensus::verify::{Claim, SignatureCheck, SignatureItem, check_claims};
use std::sync::Arc;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const LINK_NS: u64 = MS / 10;

pub(crate) fn v(index: u16) -> ValidatorIndex {
    ValidatorIndex::new(index)
}

/// A set with these weights; windows of `slots` slots, `turn` windows a turn.
pub(crate) fn set_of(
    weights: &[u64],
    fault: u64,
    slack: u64,
    slots: u32,
    turn: u32,
) -> Arc<ValidatorSet> {
    let validators = weights
        .iter()
        .enumerate()
        .map(|(index, &weight)| {
            let seed = [u8::try_from(index).expect("a small set") + 1; 32];
            Validator::new(ValidatorKey::from_seed(&seed).public(), Stake::new(weight))
        })
        .collect();
    let parameters = SetParameters {
        chain_id: [7; 32],
        genesis_hash: [9; 32],
        epoch: Epoch::ZERO,
        fault: Stake::new(fault),
        slack: Stake::new(slack),
        window_slots: slots,
        turn_windows: turn,
        crash_only: fault == 0,
        genesis_time_ns: 1_000,
    };
    Arc::new(ValidatorSet::new(parameters, validators).expect("a valid set"))
}

/// The stand-in signature: a hash over the public key and the message.
pub(crate) fn sign(key: &[u8; 32], message: &[u8]) -> SignatureBytes {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(message);
    let mut signature = [0; 64];
    hasher.finalize_xof().fill(&mut signature);
    signature
}

pub(crate) fn sign_record(
    set: &ValidatorSet,
    validator: ValidatorIndex,
    window: Window,
    record: &Record,
) -> SignatureBytes {
    let mut message = Vec::new();
    signing::record_message(set, validator, window, record, &mut message);
    sign(&set.validator(validator).expect("of the set").key, &message)
}

pub(crate) fn sign_header(set: &ValidatorSet, header: &Header) -> SignatureBytes {
    let mut message = Vec::new();
    signing::header_message(set, header, &mut message);
    sign(
        &set.validator(set.leader(header.window))
            .expect("of the set")
            .key,
        &message,
    )
}

pub(crate) fn sign_answer(
    set: &ValidatorSet,
    validator: ValidatorIndex,
    answer: &OwnAnswer,
) -> SignatureBytes {
    let mut message = Vec::new();
    signing::recover_message(set, validator, answer, &mut message);
    sign(&set.validator(validator).expect("of the set").key, &message)
}

pub(crate) fn sign_state(
    set: &ValidatorSet,
    validator: ValidatorIndex,
    statement: &StateStatement,
) -> SignatureBytes {
    let mut message = Vec::new();
    signing::state_message(set, validator, statement, &mut message);
    sign(&set.validator(validator).expect("of the set").key, &message)
}

pub(crate) struct StandIn;

impl SignatureCheck for StandIn {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        items
            .iter()
            .map(|item| sign(item.key, item.message) == *item.signature)
            .collect()
    }
}

pub(crate) const fn w(number: u64) -> Window {
    Window::new(number)
}

pub(crate) const fn i(number: u32) -> Index {
    Index::new(number)
}

/// Six equal validators, F = P = 1: Q = 4, FAST = 5, FB = 3, AMP = 2. One window a turn.
pub(crate) fn six(slots: u32) -> Arc<ValidatorSet> {
    set_of(&[1; 6], 1, 1, slots, 1)
}

/// Stakes 40, 25, 15, 10 and 10, F = 15, P = 18: Q = 67, AMP = 16. Heads are not stakes here.
pub(crate) fn five_stakes() -> Arc<ValidatorSet> {
    set_of(&[40, 25, 15, 10, 10], 15, 18, 64, 1)
}

/// A set in a chain that goes on from another one, after its height 700.
pub(crate) fn onward(set: &ValidatorSet) -> Arc<ValidatorSet> {
    Arc::new(set.clone().with_genesis_height(Height::new(700)))
}

/// A block with its name.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) id: BlockId,
    pub(crate) header: Header,
    pub(crate) payload: Arc<[u8]>,
}

impl Block {
    /// A block with every field as its leader would write it; `salt` makes it unlike any other.
    fn new(
        set: &ValidatorSet,
        parent: (BlockId, Height, u64),
        at: (Window, Index),
        salt: u32,
    ) -> Self {
        let payload = payload_numbered(salt);
        let header = Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: *set.chain_id(),
            epoch: set.epoch(),
            set_hash: *set.set_hash(),
            window: at.0,
            index: at.1,
            height: parent.1.next(),
            time_ns: parent.2 + 1,
            parent_id: parent.0,
            payload_hash: *blake3::hash(&payload).as_bytes(),
            payload_bytes: u32::try_from(payload.len()).expect("a small payload"),
        };
        Self {
            id: header.id(),
            header,
            payload,
        }
    }

    /// The first block of window 0, on genesis.
    pub(crate) fn first(set: &ValidatorSet, salt: u32) -> Self {
        let genesis = set.genesis();
        Self::new(
            set,
            (genesis.id, genesis.height, set.genesis_time_ns()),
            (w(0), i(0)),
            salt,
        )
    }

    /// The first block of another window, on this one.
    pub(crate) fn opening(&self, set: &ValidatorSet, window: u64, salt: u32) -> Self {
        let parent = (self.id, self.header.height, self.header.time_ns);
        Self::new(set, parent, (w(window), i(0)), salt)
    }

    /// The next block of the same window.
    pub(crate) fn child(&self, set: &ValidatorSet, salt: u32) -> Self {
        let parent = (self.id, self.header.height, self.header.time_ns);
        Self::new(
            set,
            parent,
            (self.header.window, self.header.index.next()),
            salt,
        )
    }

    /// The same block with another header.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Header)) -> Self {
        let mut header = self.header;
        change(&mut header);
        Self {
            id: header.id(),
            header,
            payload: Arc::clone(&self.payload),
        }
    }

    /// The same place with one command of this body.
    pub(crate) fn carrying(&self, body: &[u8]) -> Self {
        let entry = Entry {
            lane: Lane::Order,
            session: &[0; 16],
            seq: 2,
            signature: None,
            body,
        };
        let mut bytes = Vec::new();
        encode_entry(&entry, &mut bytes);
        let mut builder = PayloadBuilder::new();
        builder.push_entry(&bytes).expect("a valid entry");
        self.naming(&builder.finish())
    }

    /// The same place with a payload that no decoder takes, named by its header.
    pub(crate) fn undecodable(&self) -> Self {
        self.naming(&[0xff; 8])
    }

    /// The same place with these bytes as its payload, named by its header.
    pub(crate) fn naming(&self, payload: &[u8]) -> Self {
        let block = self.with(|header| {
            header.payload_hash = *blake3::hash(payload).as_bytes();
            header.payload_bytes = u32::try_from(payload.len()).expect("below a MiB");
        });
        Self {
            payload: Arc::from(payload),
            ..block
        }
    }

    pub(crate) fn at(&self) -> (Index, BlockId) {
        (self.header.index, self.id)
    }

    pub(crate) fn point(&self) -> Point {
        self.header.point(self.id)
    }
}

/// A chain of window 0 from genesis, `count` blocks, salted from `salt` on.
pub(crate) fn chain(set: &ValidatorSet, count: u32, salt: u32) -> Vec<Block> {
    let mut blocks = vec![Block::first(set, salt)];
    for further in 1..count {
        blocks.push(blocks[blocks.len() - 1].child(set, salt + further));
    }
    blocks
}

/// First votes up to a block.
pub(crate) fn tip(block: &Block) -> Record {
    Record {
        tip: Some(block.at()),
        ..Record::default()
    }
}

/// First votes up to a block, Skip above.
pub(crate) fn stop_at(block: &Block) -> Record {
    Record {
        stop: true,
        ..tip(block)
    }
}

/// Skip for the whole window.
pub(crate) fn stop() -> Record {
    Record {
        stop: true,
        ..Record::default()
    }
}

/// The record of a validator, signed.
pub(crate) fn signed(set: &ValidatorSet, from: u16, window: u64, record: Record) -> SignedRecord {
    let signature = sign_record(set, v(from), w(window), &record);
    SignedRecord {
        validator: v(from),
        record,
        signature,
    }
}

/// A certificate of the records of these validators, all of them the same.
pub(crate) fn certificate(
    set: &ValidatorSet,
    window: u64,
    target: Target,
    (voters, record): (&[u16], &Record),
    headers: Vec<Header>,
) -> Certificate {
    let records = voters
        .iter()
        .map(|&from| signed(set, from, window, record.clone()))
        .collect();
    Certificate {
        epoch: set.epoch(),
        window: w(window),
        target,
        records,
        headers,
    }
}

/// Skip of a whole window, by the stops of these validators.
pub(crate) fn skip_of(set: &ValidatorSet, window: u64, voters: &[u16]) -> Certificate {
    certificate(
        set,
        window,
        Target::Skip { from: i(0) },
        (voters, &stop()),
        Vec::new(),
    )
}

/// Certified(block), by the first votes of these validators.
pub(crate) fn certified(set: &ValidatorSet, block: &Block, voters: &[u16]) -> Certificate {
    let (index, id) = block.at();
    let window = block.header.window.number();
    let target = Target::Certified { index, id };
    certificate(
        set,
        window,
        target,
        (voters, &tip(block)),
        vec![block.header],
    )
}

/// Final(block), by the first votes of these validators.
pub(crate) fn final_of(set: &ValidatorSet, block: &Block, voters: &[u16]) -> Certificate {
    let (index, id) = block.at();
    let window = block.header.window.number();
    let target = Target::Final { index, id };
    certificate(
        set,
        window,
        target,
        (voters, &tip(block)),
        vec![block.header],
    )
}

/// The payload with this number: one command that opens a session of its own.
pub(crate) fn payload_numbered(number: u32) -> Arc<[u8]> {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    let session = session_of_key(&key);
    let entry = Entry {
        lane: Lane::Order,
        session: &session,
        seq: 1,
        signature: None,
        body: &key,
    };
    let mut bytes = Vec::new();
    encode_entry(&entry, &mut bytes);
    let mut builder = PayloadBuilder::new();
    builder.push_entry(&bytes).expect("a valid entry");
    builder.finish()
}

/// What the signature workers answer to a claim.
pub(crate) fn verdict(
    set: &ValidatorSet,
    own: ValidatorIndex,
    from: ValidatorIndex,
    claim: Claim,
) -> Option<Input> {
    let verdict = check_claims(set, own, vec![(from, claim)], &mut StandIn).pop()?;
    Some(match verdict {
        Ok((from, claim)) => Input::Verified { from, claim },
        Err(refusal) => Input::Refused {
            from: refusal.from,
            own_record: refusal.own_record,
        },
    })
}

/// A payload of one command for each lane and length given, in this order.
pub(crate) fn payload_of(commands: &[(Lane, usize)]) -> Vec<u8> {
    let count = u32::try_from(commands.len()).expect("few");
    let mut bytes = count.to_le_bytes().to_vec();
    for (&(lane, length), session) in commands.iter().zip(1..) {
        let entry = Entry {
            lane,
            session: &[session; 16],
            seq: 2,
            signature: None,
            body: &vec![0; length],
        };
        encode_entry(&entry, &mut bytes);
    }
    bytes
}
