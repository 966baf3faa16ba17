//! The time of a final block is never far ahead of every well-kept clock.
//!
//! Owns the latest time that any honest validator's good clock has shown. Validators whose clocks
//! are wrong, or who lie about them, weigh at most F, so one of those who voted for a final block
//! had a good clock and an objection to a header from too far ahead (protocol.md 2.1). Never: a
//! bound from below, since a chain that makes no blocks has no new time.

use super::Violation;
use super::headers::HeaderBook;
use quorate_consensus::types::BlockId;

/// How far ahead of a voter's clock a header may be, as protocol.md 2.1 states it.
const AHEAD_MAX_NS: u64 = 500_000_000;

/// The latest good clock.
#[derive(Debug, Default)]
pub(crate) struct Times {
    latest_ns: u64,
    /// Everything up to this height was judged when the first validator delivered it.
    height: u64,
    /// Blocks whose headers nobody has shown yet, with the latest good clock at their delivery.
    waiting: Vec<(u64, BlockId, u64)>,
}

impl Times {
    /// A good clock shows this.
    pub(crate) fn see_clock(&mut self, wall_ns: u64) {
        self.latest_ns = self.latest_ns.max(wall_ns);
    }

    /// A validator delivers a block; good clocks were seen just before.
    pub(crate) fn deliver(
        &mut self,
        height: u64,
        id: &BlockId,
        headers: &HeaderBook,
    ) -> Result<(), Violation> {
        if height <= self.height {
            return Ok(());
        }
        self.height = height;
        if headers.get(id).is_none() {
            self.waiting.push((height, *id, self.latest_ns));
            return Ok(());
        }
        Self::judge((height, id, self.latest_ns), headers)
    }

    /// Judges what was delivered before its header was seen. What never was on the wire is for the
    /// checker of the chain.
    pub(crate) fn finish(&self, headers: &HeaderBook) -> Result<(), Violation> {
        let mut waiting = self.waiting.iter();
        waiting
            .try_for_each(|(height, id, clock_ns)| Self::judge((*height, id, *clock_ns), headers))
    }

    fn judge(
        (height, id, clock_ns): (u64, &BlockId, u64),
        headers: &HeaderBook,
    ) -> Result<(), Violation> {
        let Some(known) = headers.get(id) else {
            return Ok(());
        };
        let ahead_ns = known.time_ns.saturating_sub(clock_ns);
        if ahead_ns > AHEAD_MAX_NS {
            let what = format!(
                "the final block {id:?} of height {height} is {} ms ahead of every good clock",
                ahead_ns / 1_000_000
            );
            return Err(Violation::new("times", what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::SAMPLE;
    use quorate_consensus::header::Header;

    #[test]
    fn a_header_that_comes_after_its_block_is_judged_by_the_clocks_of_then() {
        let judge = |time_ns: u64| {
            let mut headers = HeaderBook::default();
            let mut times = Times::default();
            times.see_clock(1_000_000_000);
            let header = Header { time_ns, ..SAMPLE };
            assert_eq!(times.deliver(1, &header.id(), &headers), Ok(()));
            times.see_clock(9_000_000_000);
            headers.add(&header);
            times.finish(&headers)
        };
        assert_eq!(judge(1_500_000_000), Ok(()));
        assert!(judge(1_500_000_001).is_err());
    }

    #[test]
    fn a_final_block_from_the_future_is_found() {
        let mut headers = HeaderBook::default();
        let mut judge = |time_ns: u64, clock_ns: u64| {
            let mut times = Times::default();
            times.see_clock(clock_ns);
            let id = headers.add(&Header { time_ns, ..SAMPLE });
            times.deliver(1, &id, &headers)
        };
        assert_eq!(judge(1_500_000_000, 1_000_000_000), Ok(()));
        assert_eq!(judge(1, 1_000_000_000), Ok(()), "old time is no fault");
        assert!(judge(1_500_000_001, 1_000_000_000).is_err());
    }
}
