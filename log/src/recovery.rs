//! The decision table of recovery: what a log's state at start means, and what to do about it.
//!
//! Pure: from what the walk saw and what is proved to have been synced, to one row of the table.
//! docs/log-format.md argues the rows. The rule behind them: a crash loses only what was not
//! synced, so damage below a proof of sync is never torn, and what cannot be told is damage.

use crate::fault::{Damage, Fault};
use crate::position::RecordIndex;
use crate::walk::Walk;
use crate::watermark::WatermarkRead;

/// A row of the decision table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Row {
    /// Every record up to the end is whole, only zeros follow, and all that was synced is there.
    CleanEnd,
    /// The last record is torn: it was not known synced and nothing valid follows.
    TornTail,
    /// Several unsynced records were lost in part: valid ones follow, and none of them, nor the
    /// watermark, proves that the faulty one had been synced.
    TornGroup,
    /// The log ends cleanly before a record that had been synced.
    LostEnd,
    /// A faulty record that had been synced.
    SyncedDamage,
    /// Damage of a kind that no crash leaves behind.
    NotACrash,
    /// The first segments are missing, and nothing says that they were pruned.
    LostBeginning,
    /// A faulty record, and no watermark that could tell what it is.
    NoWatermark,
}

/// What opening a log does about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go on at the end.
    Continue,
    /// Write zeros from the end on, sync them, go on there.
    Cut,
    /// Mark what is faulty, keep every byte of it, go on in a new segment.
    Resume,
    /// Change nothing, open nothing, report.
    Refuse,
}

impl Row {
    /// What opening does about it.
    #[must_use]
    pub fn action(self) -> Action {
        match self {
            Self::CleanEnd => Action::Continue,
            Self::TornTail | Self::TornGroup => Action::Cut,
            Self::LostEnd | Self::SyncedDamage | Self::NoWatermark => Action::Resume,
            Self::NotACrash | Self::LostBeginning => Action::Refuse,
        }
    }
}

/// What is known from outside the records about what had been synced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    pub(crate) watermark: WatermarkRead,
    /// The index in the clean-stop marker, if there is a whole one.
    pub(crate) clean_stop: Option<RecordIndex>,
}

/// The verdict over a log.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) row: Row,
    /// Records below it had been synced.
    pub(crate) synced_index: RecordIndex,
    /// What is wrong, in the order of the log.
    pub(crate) faults: Vec<Fault>,
}

/// Finds the row. The log exists, so its genesis had been synced.
pub(crate) fn judge(walk: &Walk, proof: Proof) -> Verdict {
    let watermark = match proof.watermark {
        WatermarkRead::Unknown => None,
        WatermarkRead::Synced { index, .. } => Some(index),
    };
    let synced_index = RecordIndex::GENESIS
        .next()
        .max(walk.synced_index)
        .max(watermark.unwrap_or_default())
        .max(proof.clean_stop.unwrap_or_default());
    let was_synced = walk.end.index < synced_index;
    let first = walk.faults.first().map(|fault| fault.damage);
    let lost_beginning = first == Some(Damage::BeginningMissing);
    let is_faulty = !walk.faults.is_empty();
    let row = match (is_faulty, walk.can_be_torn, was_synced) {
        (false, _, false) => Row::CleanEnd,
        (false, _, true) => Row::LostEnd,
        (true, false, _) if lost_beginning => Row::LostBeginning,
        (true, false, _) => Row::NotACrash,
        (true, true, true) => Row::SyncedDamage,
        (true, true, false) if watermark.is_none() => Row::NoWatermark,
        (true, true, false) if walk.has_valid_after_fault => Row::TornGroup,
        (true, true, false) => Row::TornTail,
    };
    let mut faults = walk.faults.clone();
    if row == Row::LostEnd {
        faults.push(Fault {
            segment: walk.end.offset.segment(),
            offset: walk.end.offset.bytes(),
            index: Some(walk.end.index),
            damage: Damage::EndsBeforeSynced {
                synced: synced_index,
            },
        });
    }
    Verdict {
        row,
        synced_index,
        faults,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{ChainHash, LogEnd, LogOffset};

    fn walk(end: u64, damage: Option<Damage>, valid_after: bool, stamped: u64) -> Walk {
        let index = RecordIndex::new(end);
        let fault = |damage| Fault {
            segment: 0,
            offset: 512,
            index: Some(index),
            damage,
        };
        Walk {
            record_count: end,
            end: LogEnd {
                offset: LogOffset::new(0, 512),
                index,
                hash: ChainHash::from_bytes([0; 32]),
            },
            faults: damage.map(fault).into_iter().collect(),
            can_be_torn: damage.is_none_or(Damage::can_be_torn),
            has_valid_after_fault: valid_after,
            synced_index: RecordIndex::new(stamped),
            index_end: index,
            segment_ends: vec![512],
        }
    }

    fn row(walk: &Walk, watermark: Option<u64>, clean_stop: Option<u64>) -> Row {
        let watermark = watermark.map_or(WatermarkRead::Unknown, |index| WatermarkRead::Synced {
            index: RecordIndex::new(index),
            slot: 0,
        });
        judge(
            walk,
            Proof {
                watermark,
                clean_stop: clean_stop.map(RecordIndex::new),
            },
        )
        .row
    }

    #[test]
    fn each_row_is_reached_and_each_proof_alone_suffices() {
        let torn = Some(Damage::RecordBody);
        assert_eq!(row(&walk(5, None, false, 5), Some(5), None), Row::CleanEnd);
        assert_eq!(row(&walk(5, None, false, 5), None, None), Row::CleanEnd);
        assert_eq!(row(&walk(5, None, false, 4), Some(6), None), Row::LostEnd);
        assert_eq!(row(&walk(5, None, false, 4), None, Some(6)), Row::LostEnd);
        assert_eq!(row(&walk(5, torn, false, 4), Some(5), None), Row::TornTail);
        assert_eq!(row(&walk(5, torn, true, 5), Some(5), None), Row::TornGroup);
        assert_eq!(
            row(&walk(5, torn, true, 6), Some(5), None),
            Row::SyncedDamage
        );
        assert_eq!(
            row(&walk(5, torn, false, 4), Some(6), None),
            Row::SyncedDamage
        );
        assert_eq!(
            row(&walk(5, torn, false, 4), Some(4), Some(6)),
            Row::SyncedDamage
        );
        assert_eq!(row(&walk(5, torn, false, 4), None, None), Row::NoWatermark);
        let missing = Some(Damage::SegmentMissing);
        assert_eq!(
            row(&walk(5, missing, true, 4), Some(4), None),
            Row::NotACrash
        );
        let missing = Some(Damage::BeginningMissing);
        assert_eq!(
            row(&walk(5, missing, true, 4), Some(4), None),
            Row::LostBeginning
        );
    }

    #[test]
    fn the_genesis_is_never_torn() {
        let torn = Some(Damage::RecordHeader);
        assert_eq!(
            row(&walk(0, torn, false, 0), Some(0), None),
            Row::SyncedDamage
        );
        assert_eq!(row(&walk(0, None, false, 0), Some(0), None), Row::LostEnd);
    }
}
