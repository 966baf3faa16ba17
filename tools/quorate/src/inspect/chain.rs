//! What the records of a log say: blocks, finality marks, proofs. Checks all of it.
//!
//! Owns the links from mark to mark, from mark to block and from proof to mark. A proof counts
//! only when its structure, its weights and every one of its signatures are good under the
//! genesis of the log itself. Never: trusts an id that it has not computed.

use std::collections::BTreeMap;
use std::path::Path;

use quorate::genesis::Genesis;
use quorate::journal::{FinalMark, JournalEntry, decode};
use quorate_consensus::certificate::Certificate;
use quorate_consensus::header::Header;
use quorate_consensus::types::{BlockId, Point, ValidatorIndex, Window};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::{
    Claim, Fact, SignatureCheck, SignatureItem, check_claims, judge, single,
};
use quorate_log::{LogOffset, RecordIndex, RecordKind, RecordRef, Verification};

use super::records::{self, Record};
use super::replay::genesis_of;
use super::{Finding, Trouble, require_beginning, unreadable};
use crate::failure::Failure;

/// One finalized block of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finalized {
    /// Its name, computed from its header.
    pub(crate) id: BlockId,
    /// Its header.
    pub(crate) header: Header,
    /// Where its body stands, if the log has it.
    pub(crate) body: Option<LogOffset>,
}

/// A log, read.
#[derive(Debug)]
pub(crate) struct Chain {
    /// The genesis of the log.
    pub(crate) genesis: Genesis,
    /// Height below the lowest block of the chain: that of the genesis, or more when the log was
    /// pruned or goes on from a snapshot of peers.
    pub(crate) below: u64,
    /// The block of the snapshot of peers that the chain goes on from; it is of height `below`.
    pub(crate) base: Option<Header>,
    /// Finalized blocks by height; what stands before the last base is no part of the chain.
    pub(crate) blocks: BTreeMap<u64, Finalized>,
    /// Highest block of this chain that a good proof in this log makes final for anybody, and with
    /// it all below; the genesis if none.
    pub(crate) proven: u64,
    /// Proofs that hold.
    pub(crate) certificates_verified: u64,
    /// Own vote records.
    pub(crate) vote_records: u64,
    /// What is wrong with what the records say.
    pub(crate) findings: Vec<Finding>,
}

/// Reads the log of a folder as far as `quorate_log` found it whole.
///
/// # Errors
/// A file cannot be read, the beginning of the log is missing, or record 0 is no genesis.
pub(crate) fn read(folder: &Path, found: &Verification) -> Result<Chain, Failure> {
    require_beginning(folder, found)?;
    read_with(genesis_of(folder)?, folder, found)
}

/// The same with a genesis from elsewhere, which is that of the log.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn read_with(
    genesis: Genesis,
    folder: &Path,
    found: &Verification,
) -> Result<Chain, Failure> {
    let mut reading = Reading::start(genesis, found);
    records::visit(folder, found, &mut |record| {
        if record.kind != RecordKind::GENESIS {
            reading.take(record);
        }
    })
    .map_err(|error| unreadable(folder, &error))?;
    Ok(reading.finish())
}

struct Reading {
    chain: Chain,
    /// Bodies that a mark may still name, by their place: the block's name and window.
    bodies: BTreeMap<LogOffset, (BlockId, Window)>,
    /// Of the newest mark.
    window: Window,
    /// Blocks that good proofs name.
    proven: Vec<(Point, LogOffset)>,
    /// Where the log begins.
    start: RecordRef,
}

/// Checks one signature after the other: offline, time matters less than simplicity.
pub(crate) struct OneByOne;

impl SignatureCheck for OneByOne {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        items
            .iter()
            .map(|item| single(item.key, item.message, item.signature))
            .collect()
    }
}

/// Whether a claim holds, with every signature of it, by the validator set alone.
pub(crate) fn holds(set: &ValidatorSet, claim: Claim) -> bool {
    let own = ValidatorIndex::new(0);
    check_claims(set, own, vec![(own, claim)], &mut OneByOne)
        .iter()
        .all(Result::is_ok)
}

impl Reading {
    fn start(genesis: Genesis, found: &Verification) -> Self {
        let first = genesis.validator_set().genesis().height.number();
        let chain = Chain {
            genesis,
            below: first,
            base: None,
            blocks: BTreeMap::new(),
            proven: first,
            certificates_verified: 0,
            vote_records: 0,
            findings: Vec::new(),
        };
        Self {
            chain,
            bodies: BTreeMap::new(),
            window: Window::ZERO,
            proven: Vec::new(),
            start: found.start,
        }
    }

    fn find(&mut self, place: LogOffset, height: Option<u64>, kind: Trouble, what: String) {
        self.chain.findings.push(Finding {
            segment: place.segment(),
            offset: place.bytes(),
            height,
            what,
            kind,
        });
    }

    fn take(&mut self, record: Record<'_>) {
        let place = record.place;
        match decode(record.kind, record.payload) {
            Err(error) => self.find(place, None, Trouble::Faulty, error.to_string()),
            Ok(JournalEntry::Block { header, payload }) => self.take_block(place, &header, payload),
            Ok(JournalEntry::Record { .. }) => self.chain.vote_records += 1,
            Ok(JournalEntry::Answer { .. }) => {}
            Ok(JournalEntry::Base { header, .. }) => self.take_base(place, &header),
            Ok(JournalEntry::Finalized(mark)) => self.take_mark(place, &mark),
            Ok(JournalEntry::Proof { point, proof }) => self.take_proof(place, point, proof),
            Ok(JournalEntry::Evidence(evidence)) => {
                if !self.holds(Claim::Evidence(evidence)) {
                    let what = "evidence does not hold".to_owned();
                    self.find(place, None, Trouble::Faulty, what);
                }
            }
        }
    }

    fn take_block(&mut self, place: LogOffset, header: &Header, payload: &[u8]) {
        let height = Some(header.height.number());
        if header.chain_id != *self.chain.genesis.chain_id() {
            let what = "block of another chain".to_owned();
            self.find(place, height, Trouble::Foreign, what);
        }
        let is_whole = payload.len() == header.payload_bytes as usize
            && blake3::hash(payload) == header.payload_hash;
        if is_whole {
            self.bodies.insert(place, (header.id(), header.window));
        } else {
            let what = "payload is not the one that the header names".to_owned();
            self.find(place, height, Trouble::Faulty, what);
        }
    }

    /// The chain goes on from a snapshot of peers, above everything before.
    fn take_base(&mut self, place: LogOffset, header: &Header) {
        let height = header.height.number();
        let tip = self.chain.tip().map_or(self.chain.below, |(tip, _)| tip);
        if height <= tip {
            let what = "a base is not above the blocks before it".to_owned();
            self.find(place, Some(height), Trouble::Faulty, what);
            return;
        }
        self.chain.blocks.clear();
        self.chain.below = height;
        self.chain.base = Some(*header);
    }

    fn take_mark(&mut self, place: LogOffset, mark: &FinalMark) {
        let (id, height) = (mark.header.id(), mark.header.height.number());
        let body_at = mark.block.offset;
        let found = self.bodies.get(&body_at).map(|&(found, _)| found);
        // A mark that is told again names what it named before.
        let told = self.chain.blocks.get(&height);
        let told = told.filter(|told| told.body == Some(body_at));
        let found = found.or_else(|| told.map(|told| told.id));
        let body = (found == Some(id)).then_some(body_at);
        // No block of an earlier window becomes final any more.
        let window = mark.header.window;
        if std::mem::replace(&mut self.window, window) != window {
            self.bodies.retain(|_, (_, of)| *of >= window);
        }
        // Its mark may stand in a kept segment, and the body in a pruned one.
        if body.is_none() && body_at >= self.start.offset {
            let what = "finalized block has no whole body in the log".to_owned();
            self.find(place, Some(height), Trouble::Faulty, what);
        }
        let is_first = self.chain.blocks.is_empty();
        let is_open =
            is_first && self.chain.base.is_none() && self.start.index != RecordIndex::GENESIS;
        if is_open && mark.below.is_none_or(|below| below < self.start) {
            self.chain.below = height.saturating_sub(1);
        }
        let genesis = self.chain.genesis.validator_set().genesis();
        let is_cut = is_open && self.chain.below > genesis.height.number();
        let base = self.chain.base.filter(|_| is_first);
        let below = match height.checked_sub(1) {
            Some(below) if base.is_some() && self.chain.below == below => {
                base.map(|header| header.id())
            }
            // What stood below was pruned.
            Some(_) if is_cut => Some(mark.header.parent_id),
            Some(below) if below == genesis.height.number() => Some(genesis.id),
            Some(below) => self.chain.blocks.get(&below).map(|block| block.id),
            None => None,
        };
        if below != Some(mark.header.parent_id) {
            let what = "finalized block does not follow the one below it".to_owned();
            self.find(place, Some(height), Trouble::Faulty, what);
        }
        let finalized = Finalized {
            id,
            header: mark.header,
            body,
        };
        let before = self.chain.blocks.insert(height, finalized);
        if before.is_some_and(|before| before.id != id) {
            let what = "two different blocks are finalized at one height".to_owned();
            self.find(place, Some(height), Trouble::Faulty, what);
        }
    }

    fn take_proof(&mut self, place: LogOffset, said: Point, proof: Certificate) {
        // No signature covers what the log says of the block: only the proof itself tells which
        // it is of, and of which height.
        let verdict = judge(self.chain.genesis.validator_set(), &proof);
        let certificates = vec![proof];
        let point = match verdict {
            Ok(Fact::Final(point)) if self.holds(Claim::Certificates { certificates }) => point,
            _ => {
                let what = "finality proof does not hold".to_owned();
                self.find(place, Some(said.height.number()), Trouble::Faulty, what);
                return;
            }
        };
        self.chain.certificates_verified += 1;
        self.proven.push((point, place));
        if point != said {
            let what = "finality proof is of another block than the log says".to_owned();
            self.find(place, Some(said.height.number()), Trouble::Faulty, what);
        }
    }

    fn holds(&self, claim: Claim) -> bool {
        holds(self.chain.genesis.validator_set(), claim)
    }

    /// Holds the proofs against the marks: a proof counts when its block is here, and every block
    /// below names the one under it, so that the proof is of all of them. Whoever logs a proof has
    /// logged the marks up to it.
    fn finish(mut self) -> Chain {
        let linked = self.linked();
        for (point, place) in std::mem::take(&mut self.proven) {
            let height = point.height.number();
            let base = self.chain.base.filter(|base| base.height == point.height);
            let block = self.chain.blocks.get(&height).map(|block| block.id);
            match block.or_else(|| base.map(|base| base.id())) {
                Some(id) if id != point.id => {
                    let what = "a proof makes another block final than the log does".to_owned();
                    self.find(place, Some(height), Trouble::Faulty, what);
                }
                Some(_) if height <= linked => {
                    self.chain.proven = self.chain.proven.max(height);
                }
                _ => {}
            }
        }
        self.chain
    }

    /// The highest block from which names lead down to where the chain begins.
    fn linked(&self) -> u64 {
        let chain = &self.chain;
        let genesis = chain.genesis.validator_set().genesis();
        let (mut top, mut id) = (chain.below, chain.base.map(|base| base.id()));
        if id.is_none() && top == genesis.height.number() {
            id = Some(genesis.id);
        }
        for (&height, block) in chain.blocks.range(top.saturating_add(1)..) {
            // What stood below the first one of a pruned log is not here to be compared.
            let follows = id.is_none_or(|id| id == block.header.parent_id);
            if height != top.saturating_add(1) || !follows {
                break;
            }
            (top, id) = (height, Some(block.id));
        }
        top
    }
}

impl Chain {
    /// The header of a block of this height, or of the base that the chain goes on from.
    pub(crate) fn header(&self, height: u64) -> Option<Header> {
        let block = self.blocks.get(&height).map(|block| block.header);
        block.or_else(|| self.base.filter(|base| base.height.number() == height))
    }

    /// The highest finalized block.
    pub(crate) fn tip(&self) -> Option<(u64, &Finalized)> {
        self.blocks
            .last_key_value()
            .map(|(height, block)| (*height, block))
    }
}

/// The lowest height at which each chain differs from one before it, in words, and chains that lack
/// blocks between where their log begins and their own tip. The base of a chain is one of its
/// blocks: it may be all there is of it.
pub(crate) fn differences(chains: &[(usize, Chain)]) -> Vec<String> {
    let mut found = Vec::new();
    // The first that has each height: the logs need not begin alike.
    let mut known: BTreeMap<u64, (usize, BlockId)> = BTreeMap::new();
    for (index, chain) in chains {
        let tip = chain.tip().map_or(chain.below, |(height, _)| height);
        if chain.blocks.len() as u64 != tip.saturating_sub(chain.below) {
            found.push(format!(
                "validator {index}: {} blocks above height {} up to {tip}",
                chain.blocks.len(),
                chain.below,
            ));
        }
        let mut differs = None;
        let base = chain.base.map(|base| (base.height.number(), base.id()));
        let blocks = chain
            .blocks
            .iter()
            .map(|(height, block)| (*height, block.id));
        for (height, id) in base.into_iter().chain(blocks) {
            let (other, first) = *known.entry(height).or_insert((*index, id));
            if first != id {
                differs = differs.or(Some((height, other)));
            }
        }
        if let Some((height, other)) = differs {
            found.push(format!(
                "validators {other} and {index} finalized different blocks at height {height}"
            ));
        }
    }
    found
}

#[cfg(test)]
#[path = "chain_tests.rs"]
pub(crate) mod tests;
