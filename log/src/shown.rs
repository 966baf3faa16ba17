//! What readers see of a segment while what the disk has of it is looked at.
//!
//! Owns the one way from mending to the mapping: where the disk does not give a page, memory may
//! not hold it either, and whoever touches it there gets a signal and not an error. Never: says
//! whether what is seen is right.

use std::ops::Range;
use std::sync::Arc;

use crate::map::Region;

/// A mapped segment without the pages that the disk does not give.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    region: Arc<Region>,
    /// By rising place.
    lost: Arc<[Range<usize>]>,
}

impl Shown {
    pub(crate) fn new(region: Arc<Region>, lost: Vec<Range<usize>>) -> Self {
        Self {
            region,
            lost: lost.into(),
        }
    }

    /// Whether the disk gives every page of the segment.
    pub(crate) fn is_all(&self) -> bool {
        self.lost.is_empty()
    }

    /// Whether the disk gives every page that holds these bytes.
    pub(crate) fn is_given(&self, range: &Range<usize>) -> bool {
        let behind = self.lost.partition_point(|page| page.end <= range.start);
        self.lost
            .get(behind)
            .is_none_or(|page| range.end <= page.start)
    }

    /// What readers see of these bytes; none where a page of them is lost, or where not all of them
    /// were published.
    pub(crate) fn get(&self, range: &Range<usize>) -> Option<&[u8]> {
        let given = self.is_given(range).then_some(&self.region)?;
        given.published().get(range.clone())
    }

    /// How many bytes were published.
    pub(crate) fn published_bytes(&self) -> usize {
        self.region.published_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Claim;
    use crate::map::RegionWriter;
    use crate::memory::MemoryBackend;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn nothing_is_shown_of_a_stretch_that_touches_a_lost_page_and_all_of_every_other() {
        let claim = Claim::take(&Arc::new(AtomicBool::new(false))).unwrap();
        let file = MemoryBackend::new().file_for_test(&[7; 80]);
        let mut writer = RegionWriter::simulated(file, claim);
        writer.publish(72);
        let lost = vec![16..24, 40..48];
        let shown = Shown::new(Arc::clone(writer.region()), lost.clone());
        assert!(!shown.is_all());
        for from in 0..80 {
            for to in from + 1..=80 {
                let is_lost = lost.iter().any(|page| from < page.end && page.start < to);
                let expected = (!is_lost && to <= 72).then(|| vec![7; to - from]);
                let found = shown.get(&(from..to)).map(<[u8]>::to_vec);
                assert_eq!(found, expected, "{from}..{to}");
            }
        }
        let whole = Shown::new(Arc::clone(writer.region()), Vec::new());
        assert!(whole.is_all() && whole.get(&(0..72)).is_some());
    }
}
