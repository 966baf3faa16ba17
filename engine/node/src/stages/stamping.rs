//! When what was published in a turn is on its way to the sockets, and which blocks count for
//! the comparison of validators.
//!
//! Owns the blocks of a turn and whether this validator is level with the others. Never: a clock
//! of its own, or a judgement beyond that.

use crate::metrics::Metrics;
use crate::results::BlockResults;
use crate::roots::ROOT_HEIGHTS;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Stamping {
    /// Heights published in this turn, and when they became final.
    fresh: Vec<(u64, u64)>,
    /// What a validator publishes that was down says for how long it was, and nothing of who
    /// learns first: it counts again from where the others are.
    is_level: bool,
}

impl Stamping {
    /// A block was handed to the clients' buffers.
    pub(crate) fn note(&mut self, results: &BlockResults) {
        self.fresh.push((results.height, results.final_ns));
    }

    /// What was noted is on its way to the sockets, `now` by the monotonic clock and the wall's.
    pub(crate) fn stamp(&mut self, metrics: &Metrics, now: impl FnOnce() -> (u64, u64)) {
        if self.fresh.is_empty() {
            return;
        }
        let (at_ns, wall_ns) = now();
        // After a start nobody knows how far the others are before they have spoken.
        let is_heard = metrics.peers_heard.read() > 0;
        let peers = is_heard.then(|| metrics.height_peers.read());
        for (height, final_ns) in self.fresh.drain(..) {
            let was_level = self.is_level;
            let ahead_max = if was_level { ROOT_HEIGHTS - 1 } else { 0 };
            let reach = height.saturating_add(ahead_max);
            self.is_level = peers.is_some_and(|peers| peers <= reach);
            // The block by which it got level was not published in time either.
            if was_level && self.is_level {
                metrics.publication.stamp(height, wall_ns);
            }
            if final_ns > 0 {
                metrics.publish.record(at_ns.saturating_sub(final_ns));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    /// Publishes these heights in one turn; which of all have a stamp then?
    fn publish(
        stamping: &mut Stamping,
        metrics: &Metrics,
        heights: impl IntoIterator<Item = u64>,
    ) -> Vec<u64> {
        for height in heights {
            let mut results = BlockResults::new();
            (results.height, results.final_ns) = (height, 1);
            stamping.note(&results);
        }
        stamping.stamp(metrics, || (2, 3));
        let stamps = metrics.publication.read();
        stamps.into_iter().map(|(height, _)| height).collect()
    }

    /// Else the skew over validators is, for 4,096 heights, for how long one of them was down.
    #[test]
    fn what_is_published_behind_the_others_has_no_stamp_until_it_is_level() {
        let (mut stamping, metrics) = (Stamping::default(), Metrics::default());
        assert_eq!(publish(&mut stamping, &metrics, [640]), NONE, "none told");
        metrics.peers_heard.set(1);
        metrics.height_peers.set(645);
        assert_eq!(publish(&mut stamping, &metrics, [641, 642]), NONE);
        metrics.height_peers.set(650);
        assert_eq!(publish(&mut stamping, &metrics, 643..=650), NONE);
        assert_eq!(publish(&mut stamping, &metrics, [651]), [651]);
        assert_eq!(metrics.publish.summary().count, 12, "each took its time");
        // Being a little later than the others is what is measured.
        metrics.height_peers.set(651 + ROOT_HEIGHTS);
        assert_eq!(publish(&mut stamping, &metrics, [652]), [651, 652]);
        // Having been cut off from them is not.
        metrics.height_peers.set(653 + ROOT_HEIGHTS);
        let late = 653..=653 + ROOT_HEIGHTS;
        assert_eq!(publish(&mut stamping, &metrics, late), [651, 652]);
        let next = 654 + ROOT_HEIGHTS;
        assert_eq!(publish(&mut stamping, &metrics, [next]), [651, 652, next]);
    }
}
