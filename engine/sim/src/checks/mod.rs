//! The checkers: what must never happen, and what must happen in the end.
//!
//! Owns the judgement of a run. Each checker is a file, is told what could be seen from outside,
//! and is written apart from the code that it judges: it shares the product's data types and
//! nothing of its rules. Never: looks into a validator, or changes a run.

pub(crate) mod acknowledged;
pub(crate) mod authors;
pub(crate) mod certificates;
pub(crate) mod chain;
pub(crate) mod conduct;
pub(crate) mod durable;
pub(crate) mod handed;
pub(crate) mod headers;
pub(crate) mod held;
pub(crate) mod leases;
pub(crate) mod progress;
pub(crate) mod proposals;
pub(crate) mod records;
pub(crate) mod results;
pub(crate) mod returns;
pub(crate) mod roots;
pub(crate) mod times;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate::state_machine::SessionId;
use quorate_consensus::header::Header;
use quorate_consensus::types::BlockId;
use quorate_consensus::validators::ValidatorSet;

/// A header for the tests of checkers; each changes what it is about.
#[cfg(test)]
pub(crate) const SAMPLE: Header = Header {
    version: quorate_consensus::header::HEADER_VERSION,
    flags: 0,
    chain_id: [0; 32],
    epoch: quorate_consensus::types::Epoch::ZERO,
    set_hash: [0; 32],
    window: quorate_consensus::types::Window::ZERO,
    index: quorate_consensus::types::Index::ZERO,
    height: quorate_consensus::types::Height::new(1),
    time_ns: 1,
    parent_id: BlockId::new([0; 32]),
    payload_hash: [0; 32],
    payload_bytes: 4,
};

/// Something that must never happen has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker says so.
    pub check: &'static str,
    /// What happened.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            check,
            what: what.into(),
        }
    }
}

/// Violations of one run kept at most: the first ones tell the story.
const VIOLATIONS_MAX: usize = 32;

/// All checkers of one run.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) headers: headers::HeaderBook,
    pub(crate) authors: authors::Authors,
    pub(crate) handed: handed::Handed,
    pub(crate) proposals: proposals::Proposals,
    pub(crate) records: records::Records,
    pub(crate) chain: chain::Chain,
    pub(crate) results: results::Results,
    pub(crate) roots: roots::Roots,
    pub(crate) acknowledged: acknowledged::Acknowledged,
    pub(crate) progress: progress::Progress,
    pub(crate) returns: returns::Returns,
    pub(crate) times: times::Times,
    pub(crate) certificates: certificates::Certificates,
    pub(crate) durable: durable::Durable,
    found: Vec<Violation>,
}

impl Checks {
    /// `progress` says how many windows, and for how long, may pass without a final block,
    /// `patience` how long whoever comes back may not vote, and `last_seqs` where the sessions
    /// stand with which the chain begins.
    pub(crate) fn new(
        validators: usize,
        set: &Arc<ValidatorSet>,
        progress: (u64, u64),
        patience: returns::Patience,
        last_seqs: &BTreeMap<SessionId, u64>,
    ) -> Self {
        let genesis = set.genesis();
        let height = genesis.height.number();
        Self {
            headers: headers::HeaderBook::default(),
            authors: authors::Authors::default(),
            handed: handed::Handed::default(),
            proposals: proposals::Proposals::default(),
            records: records::Records::new(set.slots()),
            chain: chain::Chain::new(validators, height, genesis.id, set.genesis_time_ns()),
            results: results::Results::new(height, last_seqs),
            roots: roots::Roots::default(),
            acknowledged: acknowledged::Acknowledged::default(),
            progress: progress::Progress::new(progress.0, progress.1),
            returns: returns::Returns::new(validators, set.turn_windows(), patience),
            times: times::Times::default(),
            certificates: certificates::Certificates::new(set),
            durable: durable::Durable::new(set.thresholds().fault.amount(), height),
            found: Vec::new(),
        }
    }

    /// Takes what a checker says.
    pub(crate) fn take(&mut self, outcome: Result<(), Violation>) {
        if let Err(violation) = outcome
            && self.found.len() < VIOLATIONS_MAX
        {
            self.found.push(violation);
        }
    }

    /// A header was seen on the wire. Gives its name.
    pub(crate) fn see_header(&mut self, header: &Header) -> BlockId {
        self.headers.add(header)
    }

    /// Whether something was found so far.
    pub(crate) const fn has_found(&self) -> bool {
        !self.found.is_empty()
    }

    /// What can only be judged when all headers are known.
    pub(crate) fn finish(&mut self) -> Vec<Violation> {
        let ordered = self.records.finish(&self.headers);
        ordered.into_iter().for_each(|found| self.take(Err(found)));
        let proven = self.certificates.finish(&self.chain, &self.headers);
        proven.into_iter().for_each(|found| self.take(Err(found)));
        let linked = self.chain.finish(&self.headers);
        self.take(linked);
        let in_time = self.times.finish(&self.headers);
        self.take(in_time);
        let kept = self.acknowledged.finish(&self.results);
        self.take(kept);
        std::mem::take(&mut self.found)
    }
}
