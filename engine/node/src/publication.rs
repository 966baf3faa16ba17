//! When this validator published which block.
//!
//! Owns stamps of the wall clock for the newest blocks, and for every 64th one over a longer time,
//! so that two validators asked at different moments have blocks in common. Never: a lock, or a
//! judgement; the spread over validators is for whoever asks all of them.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The newest blocks that have a stamp.
const NEWEST: usize = 64;
/// Blocks with a stamp besides: those whose height is a multiple of [`STEP`].
const SPARSE: usize = 64;
const STEP: u64 = 64;

/// Height and time of one block. One thread writes; a reader sees both or none.
#[derive(Debug, Default)]
struct Stamp {
    height: AtomicU64,
    at_ns: AtomicU64,
}

impl Stamp {
    fn set(&self, height: u64, at_ns: u64) {
        self.height.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        self.at_ns.store(at_ns, Ordering::Relaxed);
        self.height.store(height, Ordering::Release);
    }

    fn get(&self) -> Option<(u64, u64)> {
        let height = self.height.load(Ordering::Acquire);
        let at_ns = self.at_ns.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let is_whole = height > 0 && self.height.load(Ordering::Relaxed) == height;
        is_whole.then_some((height, at_ns))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Publication {
    newest: [Stamp; NEWEST],
    sparse: [Stamp; SPARSE],
}

impl Default for Publication {
    fn default() -> Self {
        Self {
            newest: std::array::from_fn(|_| Stamp::default()),
            sparse: std::array::from_fn(|_| Stamp::default()),
        }
    }
}

impl Publication {
    /// Stamps a block. One thread alone may call this.
    pub fn stamp(&self, height: u64, wall_ns: u64) {
        let set = |stamps: &[Stamp], place: u64| {
            if let Some(stamp) = stamps.get((place % stamps.len().max(1) as u64) as usize) {
                stamp.set(height, wall_ns);
            }
        };
        set(&self.newest, height);
        if height.is_multiple_of(STEP) {
            set(&self.sparse, height / STEP);
        }
    }

    /// Heights and when they were published, nanoseconds since the Unix epoch, by height.
    #[must_use]
    pub fn read(&self) -> Vec<(u64, u64)> {
        let all = self.newest.iter().chain(&self.sparse);
        let mut stamps: Vec<(u64, u64)> = all.filter_map(Stamp::get).collect();
        stamps.sort_unstable();
        stamps.dedup();
        stamps
    }
}

/// From the first to the last validator that published a block, nanoseconds, for each block that
/// all of `validators` have a stamp of. Their wall clocks are compared: between machines the
/// difference of these is in it.
#[must_use]
pub fn spreads_ns(validators: &[Vec<(u64, u64)>]) -> Vec<u64> {
    let Some((first, others)) = validators.split_first() else {
        return Vec::new();
    };
    let spread = |&(height, at_ns): &(u64, u64)| {
        let (mut least, mut most) = (at_ns, at_ns);
        for stamps in others {
            let place = stamps.binary_search_by_key(&height, |stamp| stamp.0).ok()?;
            let (_, at_ns) = *stamps.get(place)?;
            (least, most) = (least.min(at_ns), most.max(at_ns));
        }
        Some(most - least)
    };
    first.iter().filter_map(spread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_blocks_and_some_older_ones_have_stamps() {
        let publication = Publication::default();
        assert!(publication.read().is_empty());
        for height in 1..=10_000 {
            publication.stamp(height, height * 10);
        }
        let stamps = publication.read();
        assert!(stamps.iter().all(|(height, at_ns)| *at_ns == height * 10));
        assert!(stamps.is_sorted());
        let newest = stamps
            .iter()
            .filter(|(height, _)| *height > 10_000 - NEWEST as u64);
        assert_eq!(newest.count(), NEWEST);
        assert!(stamps.len() > NEWEST + SPARSE / 2);
        assert!(stamps[0].0 <= 10_000 - (SPARSE as u64 - 1) * STEP);
    }

    #[test]
    fn the_spread_is_over_all_validators_and_only_of_blocks_that_all_have() {
        let one = vec![(1, 100), (2, 200), (4, 400)];
        let two = vec![(2, 150), (4, 400)];
        let three = vec![(1, 90), (2, 230), (4, 401), (5, 1)];
        assert_eq!(spreads_ns(&[one.clone(), two, three]), [80, 1]);
        assert_eq!(spreads_ns(&[one, Vec::new()]), Vec::<u64>::new());
        assert!(spreads_ns(&[]).is_empty());
    }
}
