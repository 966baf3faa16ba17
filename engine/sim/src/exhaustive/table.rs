//! Every record that occurred in a window, by number.
//!
//! Owns the numbering, and the records that a Byzantine validator can show. Never: judges.

use std::collections::BTreeMap;

use quorate_consensus::record::Record;

use super::said::Said;
use super::tree::Tree;

/// Number of a record in its window's table.
pub(super) type RecordNumber = u16;

/// The empty record.
pub(super) const NOTHING: RecordNumber = 0;

/// The records of one window.
#[derive(Debug, Default)]
pub(super) struct Table {
    said: Vec<Said>,
    records: Vec<Record>,
    /// The first votes of each, and every earlier stage of them, the empty one first.
    stages: Vec<Vec<RecordNumber>>,
    numbers: BTreeMap<Said, RecordNumber>,
}

impl Table {
    pub(super) fn new(tree: &Tree) -> Self {
        let mut table = Self::default();
        table.number(tree, &Said::default());
        table
    }

    /// The number of a record, given now if it is new.
    pub(super) fn number(&mut self, tree: &Tree, said: &Said) -> RecordNumber {
        if let Some(&number) = self.numbers.get(said) {
            return number;
        }
        // 3 slots and 8 blocks have fewer reachable records than a u16 counts.
        let number = RecordNumber::try_from(self.said.len()).unwrap_or(RecordNumber::MAX);
        self.said.push(*said);
        self.records.push(said.record(tree));
        self.stages.push(Vec::new());
        self.numbers.insert(*said, number);
        let mut stages = Vec::new();
        let bare = said.bare();
        stages.push(self.number(tree, &bare));
        let mut earlier = if bare.stop {
            Some(Said {
                stop: false,
                ..bare
            })
        } else {
            shorter(tree, &bare)
        };
        while let Some(stage) = earlier {
            stages.push(self.number(tree, &stage));
            earlier = shorter(tree, &stage);
        }
        stages.reverse();
        self.stages[usize::from(number)] = stages;
        number
    }

    pub(super) fn said(&self, number: RecordNumber) -> &Said {
        &self.said[usize::from(number)]
    }

    pub(super) fn record(&self, number: RecordNumber) -> &Record {
        &self.records[usize::from(number)]
    }

    /// The first votes of a record at every stage, the empty one first.
    pub(super) fn stages(&self, number: RecordNumber) -> &[RecordNumber] {
        &self.stages[usize::from(number)]
    }

    /// The first votes of a record.
    pub(super) fn bare(&self, number: RecordNumber) -> RecordNumber {
        self.stages(number).last().copied().unwrap_or(NOTHING)
    }

    /// Every record of first votes alone: none, then each that can be.
    pub(super) fn first_votes(&mut self, tree: &Tree) -> Vec<RecordNumber> {
        let mut all = vec![Said::default()];
        all.extend(closed_first_votes(tree));
        all.extend(tree.numbers().map(|tip| Said {
            tip: Some(tip),
            ..Said::default()
        }));
        let mut numbers: Vec<_> = all.iter().map(|said| self.number(tree, said)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

/// First votes that leave no slot open.
pub(super) fn closed_first_votes(tree: &Tree) -> Vec<Said> {
    let of_tip = |tip| Said {
        tip,
        stop: tip.is_none_or(|tip| tree.block(tip).slot + 1 < tree.slots),
        ..Said::default()
    };
    let tips = std::iter::once(None).chain(tree.numbers().map(Some));
    tips.map(of_tip).collect()
}

/// First votes before the last one.
fn shorter(tree: &Tree, said: &Said) -> Option<Said> {
    let tip = said.tip?;
    Some(Said {
        tip: tree.block(tip).parent,
        ..*said
    })
}
