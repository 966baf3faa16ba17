//! Every certificate that an honest validator hands out proves what it says, and none of them
//! denies what is final (protocol.md 2.2 and I3).
//!
//! Owns the judgement of one certificate on its own records alone (distinct signers, signatures,
//! links, weight), in code of its own; and of all of them together against the final chain. Never:
//! what a validator believes of a certificate, or who was right to ask for it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use quorate_consensus::certificate::{Certificate, SignedRecord, Target};
use quorate_consensus::header::Header;
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Index, Point, Window};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::{SignatureCheck, SignatureItem};
use quorate_consensus::wire;

use super::Violation;
use super::chain::Chain;
use super::headers::HeaderBook;

/// What the signature of a record begins with, as protocol.md 2.3 writes it.
const RECORD_DOMAIN: &[u8] = b"bft/record/v1";

/// A place in the windows of an epoch.
type Position = (Window, Index);

/// What a certificate that is good proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proven {
    /// The block may be a parent.
    Certified(Point),
    /// Everything of the window from this index on may be bypassed.
    Skip(Window, Index),
    /// The block is final.
    Final(Point),
}

impl Proven {
    /// What `reached` calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Certified(_) => "judged_certified",
            Self::Skip(..) => "judged_skip",
            Self::Final(_) => "judged_final",
        }
    }
}

/// All that honest validators have shown or said to be final.
#[derive(Debug)]
pub(crate) struct Certificates {
    set: Arc<ValidatorSet>,
    /// Certificates that were judged and found good, by hash of their bytes.
    good: HashSet<[u8; 32]>,
    /// Signed records that were found good, by hash of message, key and signature.
    signed: HashSet<[u8; 32]>,
    /// The lowest index that is skipped, by window.
    skips: BTreeMap<Window, Index>,
    certified: BTreeMap<(Position, BlockId), u64>,
    /// What is final by count or by proof and not for a descendant's sake in a later window, by
    /// height: no certificate may deny that. Of what is final for a descendant's sake there may be
    /// a Skip, or a certified sibling (protocol.md 4, the theorem of safety).
    direct: BTreeMap<u64, BTreeSet<(Position, BlockId)>>,
    /// Height at which each validator's present life began: it says of that block that it is
    /// final, and of which later one that comes is not known.
    begun: BTreeMap<usize, u64>,
}

impl Certificates {
    pub(crate) fn new(set: &Arc<ValidatorSet>) -> Self {
        Self {
            set: Arc::clone(set),
            good: HashSet::new(),
            signed: HashSet::new(),
            skips: BTreeMap::new(),
            certified: BTreeMap::new(),
            direct: BTreeMap::new(),
            begun: BTreeMap::new(),
        }
    }

    /// A validator begins a life at this height.
    pub(crate) fn start(&mut self, validator: usize, height: u64) {
        self.begun.insert(validator, height);
    }

    /// A validator says that this is the highest block that is final to it.
    pub(crate) fn finalize(&mut self, validator: usize, point: &Point) {
        let begun = self.begun.get(&validator).copied();
        let begun = begun.unwrap_or_else(|| self.set.genesis().height.number());
        if point.height.number() > begun {
            self.note_final(point);
        }
    }

    /// An honest validator shows this certificate. What it proves is told when it is seen for the
    /// first time.
    ///
    /// # Errors
    /// It does not prove what it says.
    pub(crate) fn see(
        &mut self,
        validator: usize,
        certificate: &Certificate,
        check: &mut impl SignatureCheck,
    ) -> Result<Option<Proven>, Violation> {
        let mut bytes = Vec::new();
        wire::encode_certificate(certificate, &mut bytes);
        let hash = *blake3::hash(&bytes).as_bytes();
        if self.good.contains(&hash) {
            return Ok(None);
        }
        let proven = self.judge(certificate, check).map_err(|why| {
            let what = format!("v{validator} shows a certificate: {why}: {certificate:?}");
            Violation::new("certificates", what)
        })?;
        self.good.insert(hash);
        match proven {
            Proven::Skip(window, from) => {
                let lowest = self.skips.entry(window).or_insert(from);
                *lowest = from.min(*lowest);
            }
            Proven::Certified(point) => self.note_certified(&point),
            Proven::Final(point) => {
                self.note_certified(&point);
                self.note_final(&point);
            }
        }
        Ok(Some(proven))
    }

    fn note_certified(&mut self, point: &Point) {
        let position = (point.window, point.index);
        let height = point.height.number();
        self.certified.insert((position, point.id), height);
    }

    fn note_final(&mut self, point: &Point) {
        let known = self.direct.entry(point.height.number()).or_default();
        known.insert(((point.window, point.index), point.id));
    }

    /// What a certificate proves by its own records, or why it proves nothing.
    pub(crate) fn judge(
        &mut self,
        certificate: &Certificate,
        check: &mut impl SignatureCheck,
    ) -> Result<Proven, String> {
        if certificate.epoch != self.set.epoch() {
            return Err("another epoch".to_owned());
        }
        let mut signers = BTreeSet::new();
        for signed in &certificate.records {
            if !signers.insert(signed.validator) {
                return Err(format!("{:?} has signed twice", signed.validator));
            }
            if !self.is_signed(certificate.window, signed, check) {
                return Err(format!("{:?} has not signed that", signed.validator));
            }
        }
        let total = self.weigh(self.set.indices());
        let thresholds = self.set.thresholds();
        let (fault, slack) = (
            u128::from(thresholds.fault.amount()),
            u128::from(thresholds.slack.amount()),
        );
        let (quorum, fast) = (total - fault - slack, total - slack);
        let weight = |stands: &dyn Fn(&Record) -> bool| {
            let standing = certificate.records.iter().filter(|signed| {
                is_sound(&signed.record, self.set.slots()) && stands(&signed.record)
            });
            self.weigh(standing.map(|signed| signed.validator))
        };
        match certificate.target {
            Target::Skip { from } => {
                let skips = weight(&|record| skipped_from(record).is_some_and(|low| low <= from));
                let is_inside = from.number() < self.set.slots();
                reach(skips, quorum)?;
                if !is_inside {
                    return Err("nothing is there to be skipped".to_owned());
                }
                Ok(Proven::Skip(certificate.window, from))
            }
            Target::Certified { index, id } => {
                let links = Links::new(&self.set, certificate, (index, id))?;
                let stands = |record: &Record| {
                    let mut named = record.tip.iter().chain(&record.also);
                    named.any(|&block| links.reach(block))
                };
                reach(weight(&stands), quorum)?;
                Ok(Proven::Certified(links.point))
            }
            Target::Final { index, id } => {
                let links = Links::new(&self.set, certificate, (index, id))?;
                let first = |record: &Record| record.tip.is_some_and(|tip| links.reach(tip));
                let last =
                    |record: &Record| first(record) && record.fin.is_some_and(|fin| fin >= index);
                if weight(&first) < fast {
                    reach(weight(&last), quorum)?;
                }
                Ok(Proven::Final(links.point))
            }
        }
    }

    fn weigh(
        &self,
        validators: impl IntoIterator<Item = quorate_consensus::types::ValidatorIndex>,
    ) -> u128 {
        let stakes = validators.into_iter().map(|one| self.set.stake(one));
        stakes.map(|stake| u128::from(stake.amount())).sum()
    }

    /// Whether this is the signature of a record of this window, by a validator of the set.
    fn is_signed(
        &mut self,
        window: Window,
        signed: &SignedRecord,
        check: &mut impl SignatureCheck,
    ) -> bool {
        let Some(validator) = self.set.validator(signed.validator) else {
            return false;
        };
        let key = &validator.key;
        let mut message = RECORD_DOMAIN.to_vec();
        message.extend_from_slice(self.set.chain_id());
        message.extend_from_slice(self.set.genesis_hash());
        message.extend_from_slice(&self.set.epoch().number().to_le_bytes());
        message.extend_from_slice(self.set.set_hash());
        message.extend_from_slice(&signed.validator.number().to_le_bytes());
        message.extend_from_slice(&window.number().to_le_bytes());
        wire::encode_record(&signed.record, &mut message);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&message).update(key);
        let hash = *hasher.update(&signed.signature).finalize().as_bytes();
        if self.signed.contains(&hash) {
            return true;
        }
        let item = SignatureItem {
            key,
            message: &message,
            signature: &signed.signature,
            abscissa: None,
        };
        let is_good = check.check(&[item]) == [true];
        if is_good {
            self.signed.insert(hash);
        }
        is_good
    }

    /// Judges what a validator would give to whoever asks for a proof of the chain's end, at a good
    /// end, where it has said that it can: `end` is the height, and the block where it is known.
    ///
    /// # Errors
    /// It is no proof of that block; the certificate itself is judged by [`see`](Self::see).
    pub(crate) fn judge_end(
        &self,
        validator: usize,
        (height, known): (u64, Option<BlockId>),
        proof: Option<&Certificate>,
    ) -> Result<(), Violation> {
        if proof.is_none() && height == self.set.genesis().height.number() {
            return Ok(());
        }
        let target = proof.map(|proof| proof.target);
        let shown = match target {
            Some(Target::Final { id, .. }) => self.final_height(id).map(|height| (height, id)),
            _ => None,
        };
        if shown.is_some_and(|(at, id)| at == height && known.is_none_or(|known| known == id)) {
            return Ok(());
        }
        let what =
            format!("v{validator} can prove {target:?}, the chain ends at {height} {known:?}");
        Err(Violation::new("certificates", what))
    }

    /// The height of a block that is shown to be final.
    fn final_height(&self, id: BlockId) -> Option<u64> {
        let of = |blocks: &BTreeSet<(Position, BlockId)>| blocks.iter().any(|&(_, one)| one == id);
        let mut newest_first = self.direct.iter().rev();
        newest_first.find_map(|(&height, blocks)| of(blocks).then_some(height))
    }

    /// Judges all of them, now that the final chain and all headers are known.
    pub(crate) fn finish(&self, chain: &Chain, headers: &HeaderBook) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut fail = |what: String| found.push(Violation::new("certificates", what));
        let mut direct: BTreeMap<Position, u64> = BTreeMap::new();
        for (&height, blocks) in &self.direct {
            for &(position, id) in blocks {
                let known = chain.block(height);
                if blocks.len() > 1 || known.is_some_and(|known| known != id) {
                    fail(format!("{id:?} is final at height {height}, {known:?} too"));
                }
                direct.insert(position, height);
            }
        }
        let end_of = |window: Window| (window, Index::new(u32::MAX));
        for (&window, &from) in &self.skips {
            if let Some((at, _)) = direct.range((window, from)..=end_of(window)).next_back() {
                fail(format!(
                    "{window:?} is skipped from {from:?}, {at:?} is final"
                ));
            }
        }
        for (&(position, id), &height) in &self.certified {
            let Some(common) = common_height(id, chain, headers) else {
                continue;
            };
            let below = direct.range(..=position).next_back();
            let above = direct.range(position..=end_of(position.0)).next();
            let is_beside = below.is_some_and(|(_, &final_height)| common < final_height)
                || (above.is_some() && common < height);
            if is_beside {
                fail(format!(
                    "{id:?} at {position:?} is certified beside the final chain, from which it \
                     differs above height {common}; final is {below:?}, {above:?}"
                ));
            }
        }
        found
    }
}

/// Whether a certificate says of this block that it is final.
pub(crate) fn is_final(certificate: &Certificate, point: &Point) -> bool {
    let Target::Final { index, id } = certificate.target else {
        return false;
    };
    (certificate.window, index, id) == (point.window, point.index, point.id)
}

/// The highest block of the final chain at or below this one; none when that cannot be told.
fn common_height(id: BlockId, chain: &Chain, headers: &HeaderBook) -> Option<u64> {
    let mut at = id;
    loop {
        let Some(known) = headers.get(&at) else {
            let (height, begin) = chain.begin();
            return (at == begin).then_some(height);
        };
        match chain.block(known.height) {
            Some(block) if block == at => return Some(known.height),
            // Nobody who outlived it has delivered this height.
            None if known.height <= chain.height() => return None,
            _ => at = known.parent,
        }
    }
}

fn reach(weight: u128, needed: u128) -> Result<(), String> {
    if weight >= needed {
        return Ok(());
    }
    Err(format!("it weighs {weight}, {needed} is needed"))
}

/// The lowest index that a record gives up.
fn skipped_from(record: &Record) -> Option<Index> {
    let stopped = match record.tip {
        _ if !record.stop => None,
        None => Some(Index::ZERO),
        Some((index, _)) => Some(Index::new(index.number().saturating_add(1))),
    };
    stopped.into_iter().chain(record.skip_fallback).min()
}

/// Whether a record does not contradict itself, as far as that shows without headers.
fn is_sound(record: &Record, slots: u32) -> bool {
    let is_full = |(index, _): (Index, BlockId)| index.number() + 1 == slots;
    let falls_back = record.skip_fallback.is_some() || !record.also.is_empty();
    let is_closed = record.stop || record.tip.is_some_and(is_full);
    let fits = |fin: Index| {
        record.tip.is_some_and(|(tip, _)| fin <= tip)
            && record.skip_fallback.is_none_or(|skip| fin < skip)
    };
    (!falls_back || is_closed) && record.fin.is_none_or(fits)
}

/// The headers of a certificate, by name.
struct Links<'a> {
    point: Point,
    headers: BTreeMap<BlockId, &'a Header>,
}

impl<'a> Links<'a> {
    fn new(
        set: &ValidatorSet,
        certificate: &'a Certificate,
        (index, id): (Index, BlockId),
    ) -> Result<Self, String> {
        let window = certificate.window;
        let named = certificate.headers.iter().map(|one| (one.id(), one));
        let headers: BTreeMap<BlockId, &Header> = named.collect();
        let is_ours = |header: &Header| {
            header.window == window
                && header.epoch == set.epoch()
                && header.chain_id == *set.chain_id()
                && header.set_hash == *set.set_hash()
        };
        if !headers.values().all(|header| is_ours(header)) {
            return Err("a header of another window, set or chain".to_owned());
        }
        let target = headers.get(&id).filter(|header| header.index == index);
        let Some(target) = target else {
            return Err("the header of its target is missing".to_owned());
        };
        Ok(Self {
            point: Point {
                window,
                index,
                height: target.height,
                id,
            },
            headers,
        })
    }

    /// Whether a named block is the target, or stands above it by these headers.
    fn reach(&self, (mut index, mut id): (Index, BlockId)) -> bool {
        while (index, id) != (self.point.index, self.point.id) {
            let header = self.headers.get(&id).filter(|one| one.index == index);
            let below = index.number().checked_sub(1);
            let (Some(header), Some(below)) = (header, below) else {
                return false;
            };
            let above = u64::from(index.number()).checked_sub(u64::from(self.point.index.number()));
            let height = above.and_then(|above| self.point.height.number().checked_add(above));
            if height != Some(header.height.number()) {
                return false;
            }
            (index, id) = (Index::new(below), header.parent_id);
        }
        true
    }
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
