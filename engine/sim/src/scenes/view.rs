//! What one validator has heard, counted apart from the product: which certificates form there.
//!
//! Owns the sums of protocol.md 2.2 over the records and headers that reached one validator. Never:
//! what a certificate allows; the shipped rules decide, and a trace shows both side by side.

use std::collections::{BTreeMap, BTreeSet};

use quorate_consensus::header::Header;
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Index, Stake, ValidatorIndex, Window};
use quorate_consensus::validators::ValidatorSet;

/// A certificate that a validator holds by its own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Formed {
    Notarized(Window, Index, BlockId),
    Certified(Window, Index, BlockId),
    FastFinal(Window, Index, BlockId),
    SlowFinal(Window, Index, BlockId),
    /// The lowest index that is skipped.
    Skip(Window, Index),
}

/// Records and headers that reached one validator in one run of it.
#[derive(Debug, Default)]
pub(crate) struct View {
    headers: BTreeMap<BlockId, Header>,
    /// For each validator the records it said, in order.
    records: BTreeMap<Window, BTreeMap<ValidatorIndex, Vec<Record>>>,
    told: BTreeSet<Formed>,
    skipped: BTreeMap<Window, Index>,
}

/// Who stands behind one block.
#[derive(Debug, Default)]
struct Behind {
    first: Vec<ValidatorIndex>,
    support: Vec<ValidatorIndex>,
    finals: Vec<ValidatorIndex>,
}

impl View {
    pub(crate) fn hear_header(&mut self, header: &Header) {
        self.headers.insert(header.id(), *header);
    }

    pub(crate) fn hear_record(&mut self, from: ValidatorIndex, window: Window, record: &Record) {
        let said = self
            .records
            .entry(window)
            .or_default()
            .entry(from)
            .or_default();
        if said.last().is_none_or(|last| last.may_extend_to(record)) {
            said.push(record.clone());
        }
    }

    /// Certificates that hold now and did not before, each with those whose records make it. Of a
    /// chain only the highest block is told.
    pub(crate) fn formed(&mut self, set: &ValidatorSet) -> Vec<(Formed, Vec<ValidatorIndex>)> {
        let windows: Vec<Window> = self.records.keys().copied().collect();
        let mut formed = Vec::new();
        for window in windows {
            self.formed_in(set, window, &mut formed);
        }
        formed
    }

    fn formed_in(
        &mut self,
        set: &ValidatorSet,
        window: Window,
        formed: &mut Vec<(Formed, Vec<ValidatorIndex>)>,
    ) {
        let (blocks, skips) = self.count(window);
        let quorum = set.thresholds().quorum;
        let fast = set.thresholds().fast;
        let reaches = |who: &[ValidatorIndex], needed| stake_of(set, who) >= needed;
        let mut fresh = Vec::new();
        for (&(index, id), behind) in &blocks {
            let kinds = [
                (Formed::Notarized(window, index, id), &behind.first, quorum),
                (
                    Formed::Certified(window, index, id),
                    &behind.support,
                    quorum,
                ),
                (Formed::FastFinal(window, index, id), &behind.first, fast),
                (Formed::SlowFinal(window, index, id), &behind.finals, quorum),
            ];
            for (kind, who, needed) in kinds {
                // What is notarized is certified too: said once.
                let is_plain =
                    !matches!(kind, Formed::Certified(..)) || !reaches(&behind.first, quorum);
                if is_plain && reaches(who, needed) && self.told.insert(kind) {
                    fresh.push((kind, who.clone()));
                }
            }
        }
        fresh.sort_by_key(|&(kind, _)| kind);
        let tops = fresh.iter().enumerate().filter(|(place, (kind, _))| {
            let above = &fresh[place + 1..];
            !above.iter().any(|(other, _)| self.is_above(*other, *kind))
        });
        formed.extend(tops.map(|(_, top)| top.clone()));
        self.skip_formed(set, window, skips, formed);
    }

    fn skip_formed(
        &mut self,
        set: &ValidatorSet,
        window: Window,
        mut skips: Vec<(Index, ValidatorIndex)>,
        formed: &mut Vec<(Formed, Vec<ValidatorIndex>)>,
    ) {
        skips.sort_unstable();
        let mut who = Vec::new();
        for (from, validator) in skips {
            who.push(validator);
            if stake_of(set, &who) < set.thresholds().quorum {
                continue;
            }
            if self.skipped.get(&window).is_none_or(|held| from < *held) {
                self.skipped.insert(window, from);
                who.sort_unstable();
                formed.push((Formed::Skip(window, from), who));
            }
            return;
        }
    }

    /// Whether one certificate is of the same kind as another and for a block above its.
    fn is_above(&self, upper: Formed, lower: Formed) -> bool {
        let ((Formed::Notarized(_, _, top), Formed::Notarized(_, _, id))
        | (Formed::Certified(_, _, top), Formed::Certified(_, _, id))
        | (Formed::FastFinal(_, _, top), Formed::FastFinal(_, _, id))
        | (Formed::SlowFinal(_, _, top), Formed::SlowFinal(_, _, id))) = (upper, lower)
        else {
            return false;
        };
        let window = self.headers.get(&top).map(|header| header.window);
        window.is_some_and(|window| self.chain(window, top).contains(&id))
    }

    /// A block and what is known of its chain in one window, highest first.
    fn chain(&self, window: Window, top: BlockId) -> Vec<BlockId> {
        let mut chain = vec![top];
        let mut at = top;
        while let Some(header) = self.headers.get(&at)
            && header.index > Index::ZERO
        {
            at = header.parent_id;
            let is_here = self
                .headers
                .get(&at)
                .is_none_or(|below| below.window == window);
            if !is_here {
                break;
            }
            chain.push(at);
        }
        chain
    }

    /// The record that counts: the newest whose tip is known by header, or the first without
    /// `also`, which counts at its tip.
    fn counting<'a>(&self, said: &'a [Record]) -> Option<&'a Record> {
        let is_known = |record: &&Record| {
            record
                .tip
                .is_none_or(|(_, id)| self.headers.contains_key(&id))
        };
        let first = said.first().filter(|first| first.also.is_empty());
        said.iter().rev().find(is_known).or(first)
    }

    #[expect(
        clippy::type_complexity,
        reason = "two sums over one walk; a name for the pair would say no more"
    )]
    fn count(
        &self,
        window: Window,
    ) -> (
        BTreeMap<(Index, BlockId), Behind>,
        Vec<(Index, ValidatorIndex)>,
    ) {
        let mut blocks: BTreeMap<(Index, BlockId), Behind> = BTreeMap::new();
        let mut skips = Vec::new();
        let said = self.records.get(&window).into_iter().flatten();
        for (&who, said) in said {
            let Some(record) = self.counting(said) else {
                continue;
            };
            skips.extend(record.skip_from().map(|from| (from, who)));
            let mut supported = BTreeSet::new();
            for place in self.places(window, record.tip) {
                let behind = blocks.entry(place).or_default();
                behind.first.push(who);
                if record.fin.is_some_and(|fin| fin >= place.0) {
                    behind.finals.push(who);
                }
                supported.insert(place);
            }
            for &entry in &record.also {
                supported.extend(self.places(window, Some(entry)));
            }
            for place in supported {
                blocks.entry(place).or_default().support.push(who);
            }
        }
        (blocks, skips)
    }

    fn places(&self, window: Window, top: Option<(Index, BlockId)>) -> Vec<(Index, BlockId)> {
        let Some((index, id)) = top else {
            return Vec::new();
        };
        let chain = self.chain(window, id);
        let indices = (0..=index.number()).rev().map(Index::new);
        indices.zip(chain).collect()
    }
}

fn stake_of(set: &ValidatorSet, who: &[ValidatorIndex]) -> Stake {
    who.iter().map(|&one| set.stake(one)).sum()
}
