//! Stretches of a log that were found faulty, marked as such and left as they are.
//!
//! The mark is the header of the segment in which the log was resumed: it says up to where the log
//! was whole before. Owns which of those marks count. Never: decides that something is faulty, or
//! changes a byte of it.

use crate::identity::Identity;
use crate::position::{LogOffset, RecordIndex};
use crate::segment::{Gap, SegmentHeader};

/// A stretch of the log that no start reads through: part of it is faulty. Its records may be read
/// one by one, where they still check ([`crate::Reader::salvage`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkedFaulty {
    /// Where it begins: up to here the log is whole.
    pub from: LogOffset,
    /// Index of the first record in it.
    pub index: RecordIndex,
    /// Number of the segment in which the log goes on.
    pub resumed_in: u32,
    /// Index of the first record there; above that of every record in the stretch.
    pub resumed_at: RecordIndex,
}

/// All of them that count, by rising place, none inside another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps(Vec<MarkedFaulty>);

impl Gaps {
    /// Reads the marks of a log's segments, by rising number. A mark that names a later place than
    /// another of a higher segment lies in that one's stretch and does not count any more, nor
    /// does one of a place before the segment `first`, which was pruned.
    pub(crate) fn collect<'a>(
        identity: &Identity,
        first: u32,
        segments: impl Iterator<Item = (u32, &'a [u8])>,
    ) -> Self {
        let mut gaps: Vec<MarkedFaulty> = Vec::new();
        for (number, bytes) in segments {
            let Ok(header) = SegmentHeader::decode(bytes) else {
                continue;
            };
            let is_ours = header.genesis_hash == identity.genesis_hash
                && header.salt == identity.salt
                && header.number == number;
            let is_kept = |gap: &Gap| is_ours && gap.from.segment() >= first;
            let Some(Gap { from, index }) = header.gap.filter(is_kept) else {
                continue;
            };
            while gaps.pop_if(|inner| inner.from >= from).is_some() {}
            let follows = gaps
                .last()
                .is_none_or(|before| before.resumed_in <= from.segment());
            if follows && from.segment() < number {
                gaps.push(MarkedFaulty {
                    from,
                    index,
                    resumed_in: number,
                    resumed_at: header.first_index,
                });
            }
        }
        Self(gaps)
    }

    /// The stretch that begins at this place.
    pub(crate) fn at(&self, place: LogOffset) -> Option<MarkedFaulty> {
        let found = self.0.binary_search_by_key(&place, |gap| gap.from).ok()?;
        self.0.get(found).copied()
    }

    pub(crate) fn all(&self) -> &[MarkedFaulty] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::ChainHash;
    use crate::segment::FORMAT_VERSION;

    fn identity() -> Identity {
        Identity::new([1; 32], [2; 32])
    }

    fn header(number: u32, from: Option<(u32, u32)>) -> Vec<u8> {
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            number,
            segment_bytes: 4096,
            first_index: RecordIndex::new(u64::from(number) * 10),
            synced_index: RecordIndex::GENESIS,
            genesis_hash: [1; 32],
            salt: [2; 32],
            chain_start: ChainHash::from_bytes([3; 32]),
            gap: from.map(|(segment, bytes)| Gap {
                from: LogOffset::new(segment, bytes),
                index: RecordIndex::new(1),
            }),
        };
        header.encode().to_vec()
    }

    fn resumed(marks: &[Option<(u32, u32)>]) -> Vec<u32> {
        let headers: Vec<Vec<u8>> = (0..).zip(marks).map(|(n, mark)| header(n, *mark)).collect();
        let views = (0..).zip(headers.iter().map(Vec::as_slice));
        let gaps = Gaps::collect(&identity(), 0, views);
        gaps.all().iter().map(|gap| gap.resumed_in).collect()
    }

    #[test]
    fn an_outer_stretch_swallows_those_inside_it_and_nothing_else_counts() {
        assert_eq!(
            resumed(&[None, Some((0, 600)), None, Some((1, 700))]),
            [1, 3]
        );
        assert_eq!(resumed(&[None, Some((0, 600)), Some((0, 600))]), [2]);
        assert_eq!(
            resumed(&[None, Some((0, 600)), Some((1, 700)), Some((0, 512))]),
            [3]
        );
        // A place that another stretch has left out cannot be where the log was whole.
        assert_eq!(resumed(&[None, None, Some((0, 600)), Some((1, 700))]), [2]);
        assert_eq!(resumed(&[None, Some((1, 600))]), [0; 0]);
    }
}
